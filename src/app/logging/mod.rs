//! Logs: text or JSON lines on standard error or in a file, written by a thread of their own.
//!
//! Logging never waits: lines go into a bounded queue. Lines that do not fit are counted, and the
//! count is logged when there is room again. Equal lines that repeat are counted too (`repeats`). A
//! session names its fields `connection`, `client`, `user` and `database`, in its span or in the
//! event. Secrets do not get here: their types show `***`.

mod error;
mod fields;
mod output;
mod pgbouncer;
#[cfg(test)]
mod tests;

pub use error::LoggingError;
pub(super) use fields::as_one_word;
pub use output::Destination;

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tracing::dispatcher::{Dispatch, WeakDispatch};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use crate::config::{LogFormat, LogLevel};

use super::repeats::{Repeated, Repeats};
use fields::TextFields;
use output::{LogFile, Output, Prioritised, Style, is_journal};
use pgbouncer::PgBouncerLines;

/// Lines that wait for standard error.
const QUEUE_LINES: usize = 4096;

/// Equal lines a second that are written.
const EQUAL_LINES: u32 = 10;

/// How often summaries of repeated lines are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// Longest wait for the last lines when the process ends.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Target of the lines that the log writes about itself.
const OWN_TARGET: &str = "howdah::log";

/// What lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// As the configuration says.
    Own(LogFormat),
    /// As PgBouncer's.
    PgBouncer,
}

/// Starts logging to `destination` for the whole process. Keep what is returned: dropping it
/// writes the last lines.
///
/// # Errors
/// No thread, a file that cannot be opened, or called twice.
pub fn start(
    level: LogLevel,
    lines: Lines,
    destination: Destination<'_>,
) -> Result<Logging, LoggingError> {
    let reopen = Arc::new(AtomicBool::new(false));
    let file = match destination.file {
        Some(path) => Some(LogFile::open(path, Arc::clone(&reopen))?),
        None => None,
    };
    let colours = file.is_none() && io::stderr().is_terminal();
    let style = Style { colours, priorities: is_journal() };
    let stderr = (!destination.quiet).then(io::stderr);
    let output = Output { stderr, file, priorities: style.priorities };
    let (mut logging, dispatch) = build(level, lines, style, output)?;
    logging.reopen = reopen;
    tracing::dispatcher::set_global_default(dispatch)?;
    Ok(logging)
}

/// The running log.
pub struct Logging {
    level: reload::Handle<Targets, Registry>,
    shared: Arc<Shared>,
    queue: SyncSender<Entry>,
    done: Receiver<()>,
    /// Asks the file to be opened anew.
    reopen: Arc<AtomicBool>,
}

impl Logging {
    /// Opens the log's file anew before its next line: it may have been moved away.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
    }

    /// Changes the least important level that is written, at once.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, and then nothing is written anyway.
        _ = self.level.reload(targets(level));
    }

    /// Lines that were lost because standard error was too slow, since the start.
    pub fn dropped_lines(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Release);
        // Wakes the writer; when the queue is full it is awake and sees `ending` by itself.
        _ = self.queue.try_send(Entry::End);
        // A blocked reader costs the last lines: ending is more important.
        _ = self.done.recv_timeout(LAST_LINES);
    }
}

/// What the threads that log share with the writer.
struct Shared {
    dropped: AtomicU64,
    /// The writer ends when its queue is empty.
    ending: AtomicBool,
    repeats: Repeats,
    start: Instant,
    /// For the writer's own lines. Weak, because the subscriber holds this.
    dispatch: OnceLock<WeakDispatch>,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What waits in the queue.
enum Entry {
    Line(Box<[u8]>),
    Repeated(Repeated),
    End,
}

fn build(
    level: LogLevel,
    form: Lines,
    style: Style,
    output: impl Write + Send + 'static,
) -> Result<(Logging, Dispatch), LoggingError> {
    let (queue, lines) = sync_channel(QUEUE_LINES);
    let (end, done) = sync_channel(1);
    let shared = Arc::new(Shared {
        dropped: AtomicU64::new(0),
        ending: AtomicBool::new(false),
        // Tools that read PgBouncer's log count its lines, so equal lines are all written.
        repeats: Repeats::new(if form == Lines::PgBouncer { u32::MAX } else { EQUAL_LINES }),
        start: Instant::now(),
        dispatch: OnceLock::new(),
    });
    let lines_out = Queue { queue: queue.clone(), shared: shared.clone() };
    let (filter, level) = reload::Layer::new(targets(level));
    let subscriber = Registry::default().with(filter).with(OncePerWindow(lines_out.clone()));
    let layer = fmt::layer().with_writer(lines_out);
    let on = style.priorities;
    let dispatch = match form {
        Lines::PgBouncer => {
            let inner = PgBouncerLines::new();
            let layer = layer.with_ansi(false).event_format(Prioritised { inner, on });
            Dispatch::new(subscriber.with(layer))
        }
        Lines::Own(LogFormat::Text) => {
            let layer = layer.with_ansi(style.colours).fmt_fields(TextFields);
            let layer = layer.map_event_format(|inner| Prioritised { inner, on });
            Dispatch::new(subscriber.with(layer))
        }
        Lines::Own(LogFormat::Json) => Dispatch::new(
            subscriber.with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_span_list(false)
                    .with_ansi(false)
                    .map_event_format(|inner| Prioritised { inner, on }),
            ),
        ),
    };
    // Set once, here.
    _ = shared.dispatch.set(dispatch.downgrade());
    let writer = Writer { output, shared: shared.clone(), reported: 0 };
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        writer.run(&lines);
        // The one who waits may have given up.
        _ = end.try_send(());
    })?;
    let reopen = Arc::default();
    Ok((Logging { level, shared, queue, done, reopen }, dispatch))
}

/// Our own lines at `level`, those of libraries at `warn` at most: theirs explain theirs.
fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("howdah", own)
}

/// Leaves out equal lines beyond a number in each second.
struct OncePerWindow(Queue);

impl<S: Subscriber> Layer<S> for OncePerWindow {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if event.metadata().target() == OWN_TARGET {
            return true;
        }
        let shared = &self.0.shared;
        let verdict = shared.repeats.check(event, shared.now_ms());
        if let Some(repeated) = verdict.displaced {
            self.0.send(Entry::Repeated(repeated));
        }
        verdict.write
    }
}

thread_local! {
    /// On the writer's thread: the lines it logs itself, which must not wait in its own queue.
    static OWN_LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The way into the queue. One `write` is one line: the formatter hands over whole lines.
#[derive(Clone)]
struct Queue {
    queue: SyncSender<Entry>,
    shared: Arc<Shared>,
}

impl Queue {
    fn send(&self, entry: Entry) {
        if self.queue.try_send(entry).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let own = OWN_LINES.with_borrow_mut(|own| match own {
            Some(lines) => {
                lines.extend_from_slice(line);
                true
            }
            None => false,
        });
        if !own {
            self.send(Entry::Line(one_line(line)));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line without what would begin another: a client may have put it into a name.
fn one_line(line: &[u8]) -> Box<[u8]> {
    let mut line: Box<[u8]> = line.into();
    if let Some((_, text)) = line.split_last_mut() {
        text.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b'?');
    }
    line
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// The thread that writes.
struct Writer<W> {
    output: W,
    shared: Arc<Shared>,
    /// Lost lines that were reported.
    reported: u64,
}

impl<W: Write> Writer<W> {
    fn run(mut self, lines: &Receiver<Entry>) {
        let mut next_sweep = self.shared.start + SWEEP;
        loop {
            let ending = self.shared.ending.load(Ordering::Acquire);
            let until_sweep = next_sweep.saturating_duration_since(Instant::now());
            match lines.recv_timeout(if ending { Duration::ZERO } else { until_sweep }) {
                Ok(Entry::Line(line)) => self.write(&line),
                Ok(Entry::Repeated(repeated)) => self.summary(&repeated),
                Err(RecvTimeoutError::Timeout) if !ending => {}
                Ok(Entry::End) | Err(_) => break,
            }
            self.report_dropped();
            if Instant::now() >= next_sweep {
                let summaries = self.shared.repeats.sweep(self.shared.now_ms());
                summaries.iter().for_each(|repeated| self.summary(repeated));
                next_sweep = Instant::now() + SWEEP;
            }
        }
        let summaries = self.shared.repeats.drain();
        summaries.iter().for_each(|repeated| self.summary(repeated));
        self.report_dropped();
    }

    fn write(&mut self, line: &[u8]) {
        // Nobody is left to tell that the log cannot be written; it is counted as lost.
        if self.output.write_all(line).and_then(|()| self.output.flush()).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let lines = dropped - self.reported;
        if lines > 0 {
            self.reported = dropped;
            self.own_line(|| {
                tracing::error!(target: OWN_TARGET, lines, "log lines lost: standard error is slow");
            });
        }
    }

    fn summary(&mut self, repeated: &Repeated) {
        let Repeated { level, target, message, times } = repeated;
        macro_rules! log {
            ($level:expr) => {
                tracing::event!(
                    target: OWN_TARGET, $level, from = target, "repeated {times} times: {message}"
                )
            };
        }
        self.own_line(|| match *level {
            Level::ERROR => log!(Level::ERROR),
            Level::WARN => log!(Level::WARN),
            Level::INFO => log!(Level::INFO),
            Level::DEBUG => log!(Level::DEBUG),
            Level::TRACE => log!(Level::TRACE),
        });
    }

    /// Writes what `log` logs, past the queue.
    fn own_line(&mut self, log: impl FnOnce()) {
        let Some(dispatch) = self.shared.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return;
        };
        OWN_LINES.set(Some(Vec::new()));
        tracing::dispatcher::with_default(&dispatch, log);
        if let Some(lines) = OWN_LINES.take()
            && !lines.is_empty()
        {
            self.write(&lines);
        }
    }
}
