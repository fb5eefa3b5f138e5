//! Logs: text or JSON lines on standard error or in a file, written by a thread of their own.
//!
//! Whoever logs never waits: lines go into a bounded queue, and what does not fit is counted; the
//! count is logged when there is room again. Equal lines that repeat are counted too
//! (`repeats`). A session names its fields `connection`, `client`, `user` and `database`, in its
//! span or in the event. Secrets do not get here: their types show `***`.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
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
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use crate::config::{LogFormat, LogLevel};

use super::repeats::{Repeated, Repeats};

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

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The writer's thread could not be started.
    #[error("cannot start the log writer: {0}")]
    Thread(#[from] io::Error),
    /// The file cannot be opened.
    #[error("cannot open the log {}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Something in this process logs already.
    #[error("logging is set up already")]
    Twice(#[from] tracing::dispatcher::SetGlobalDefaultError),
}

/// Starts logging to `destination` for the whole process. Keep what is returned: dropping it
/// writes the last lines.
///
/// # Errors
/// No thread, a file that cannot be opened, or called twice.
pub fn start(
    level: LogLevel,
    format: LogFormat,
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
    let (mut logging, dispatch) = build(level, format, style, output)?;
    logging.reopen = reopen;
    tracing::dispatcher::set_global_default(dispatch)?;
    Ok(logging)
}

/// Bytes of a line's priority.
const PRIORITY_LEN: usize = 3;

/// How lines look.
#[derive(Debug, Clone, Copy, Default)]
struct Style {
    colours: bool,
    /// Each begins with its priority, as systemd's journal reads it.
    priorities: bool,
}

/// Whether standard error goes to systemd's journal (systemd.exec, `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let told = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(io::stderr())
        .is_ok_and(|found| told == format!("{}:{}", found.st_dev, found.st_ino))
}

/// Lines with their priorities in front (sd-daemon(3)).
struct Prioritised<F> {
    inner: F,
    on: bool,
}

impl<S, N, F> FormatEvent<S, N> for Prioritised<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: fmt::format::Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if self.on {
            writer.write_str(match *event.metadata().level() {
                Level::ERROR => "<3>",
                Level::WARN => "<4>",
                Level::INFO => "<6>",
                Level::DEBUG | Level::TRACE => "<7>",
            })?;
        }
        self.inner.format_event(context, writer, event)
    }
}

/// Where lines go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Destination<'a> {
    /// A file that they are appended to.
    pub file: Option<&'a Path>,
    /// Not to standard error.
    pub quiet: bool,
}

/// A file that lines are appended to. It is opened anew when asked for, so that it can be moved away.
struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
}

impl LogFile {
    fn open(path: &Path, reopen: Arc<AtomicBool>) -> Result<Self, LoggingError> {
        let file =
            append(path).map_err(|error| LoggingError::File { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file, reopen })
    }

    /// The file under its path now; the one before while that cannot be opened.
    fn current(&mut self) -> &mut File {
        if self.reopen.swap(false, Ordering::AcqRel)
            && let Ok(file) = append(&self.path)
        {
            self.file = file;
        }
        &mut self.file
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Standard error, a file, both, or neither.
struct Output {
    stderr: Option<io::Stderr>,
    file: Option<LogFile>,
    /// Lines begin with their priorities, which no file needs.
    priorities: bool,
}

impl Write for Output {
    /// Takes all of `line`, or fails; one destination does not wait for the other's fault.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let plain = line.get(PRIORITY_LEN..).filter(|_| self.priorities).unwrap_or(line);
        let to_file = self.file.as_mut().map_or(Ok(()), |file| file.current().write_all(plain));
        let to_stderr = self.stderr.as_mut().map_or(Ok(()), |stderr| stderr.write_all(line));
        to_file.and(to_stderr).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    format: LogFormat,
    style: Style,
    output: impl Write + Send + 'static,
) -> Result<(Logging, Dispatch), LoggingError> {
    let (queue, lines) = sync_channel(QUEUE_LINES);
    let (end, done) = sync_channel(1);
    let shared = Arc::new(Shared {
        dropped: AtomicU64::new(0),
        ending: AtomicBool::new(false),
        repeats: Repeats::new(EQUAL_LINES),
        start: Instant::now(),
        dispatch: OnceLock::new(),
    });
    let lines_out = Queue { queue: queue.clone(), shared: shared.clone() };
    let (filter, level) = reload::Layer::new(targets(level));
    let subscriber = Registry::default().with(filter).with(OncePerWindow(lines_out.clone()));
    let layer = fmt::layer().with_writer(lines_out);
    let dispatch = match format {
        LogFormat::Text => {
            let layer = layer.with_ansi(style.colours);
            let on = style.priorities;
            let layer = layer.map_event_format(|inner| Prioritised { inner, on });
            Dispatch::new(subscriber.with(layer))
        }
        LogFormat::Json => Dispatch::new(
            subscriber.with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_span_list(false)
                    .with_ansi(false)
                    .map_event_format(|inner| Prioritised { inner, on: style.priorities }),
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
            self.send(Entry::Line(line.into()));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::Sender;

    use tracing::dispatcher::with_default;

    use super::*;
    use crate::config::Secret;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Memory {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
        }
    }

    /// Everything written while `log` ran, the end included.
    fn logged(level: LogLevel, format: LogFormat, log: impl FnOnce(&Logging)) -> String {
        let memory = Memory::default();
        let (logging, dispatch) =
            build(level, format, Style::default(), memory.clone()).expect("starts");
        with_default(&dispatch, || log(&logging));
        drop(logging);
        memory.text()
    }

    #[test]
    fn text_lines_carry_the_fields_of_their_session() {
        let text = logged(LogLevel::Info, LogFormat::Text, |_| {
            let span = tracing::info_span!("session", connection = 7, client = "10.0.0.9:4711");
            let _entered = span.enter();
            let password = Secret::new("hunter2".into());
            tracing::info!(user = "bob", database = "app", %password, "login");
        });
        let (_, rest) = text.split_once(' ').expect("a time");
        assert_eq!(
            rest.trim_start(),
            "INFO session{connection=7 client=\"10.0.0.9:4711\"}: howdah::app::logging::tests: \
             login user=\"bob\" database=\"app\" password=***\n"
        );
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let text = logged(LogLevel::Info, LogFormat::Json, |_| {
            let _entered = tracing::info_span!("session", connection = 7).entered();
            tracing::warn!(user = "b\"ob", "a\nb");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        for part in [
            r#""level":"WARN""#,
            r#""message":"a\nb""#,
            r#""user":"b\"ob""#,
            r#""span":{"connection":7,"name":"session"}"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn lines_for_the_journal_begin_with_their_priorities() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let memory = Memory::default();
            let style = Style { priorities: true, ..Style::default() };
            let (logging, dispatch) =
                build(LogLevel::Debug, format, style, memory.clone()).expect("starts");
            with_default(&dispatch, || {
                tracing::error!("one");
                tracing::warn!("two");
                tracing::info!("three");
                tracing::debug!("four");
            });
            drop(logging);
            let text = memory.text();
            let starts: Vec<_> = text.lines().filter_map(|line| line.get(..3)).collect();
            assert_eq!(starts, ["<3>", "<4>", "<6>", "<7>"], "{text}");
        }
    }

    #[test]
    fn the_level_counts_and_can_be_changed() {
        let text = logged(LogLevel::Warn, LogFormat::Text, |logging| {
            tracing::info!("one");
            tracing::warn!("two");
            logging.set_level(LogLevel::Debug);
            tracing::debug!("three");
            tracing::info!(target: "rustls", "four");
            tracing::warn!(target: "rustls", "five");
            logging.set_level(LogLevel::Error);
            tracing::warn!("six");
        });
        let words: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(words, ["two", "three", "five"], "{text}");
    }

    #[test]
    fn equal_lines_are_summed_up_at_the_end() {
        let text = logged(LogLevel::Info, LogFormat::Text, |_| {
            for connection in 0..EQUAL_LINES + 30 {
                tracing::info!(connection, "client connected");
            }
        });
        let lines: Vec<&str> = text.lines().collect();
        let summed: u32 = lines
            .iter()
            .filter_map(|line| {
                line.split_once("repeated ")?.1.split(' ').next()?.parse::<u32>().ok()
            })
            .sum();
        let plain = lines.iter().filter(|line| !line.contains("repeated ")).count();
        // A window may end in the middle, so only the sum is certain.
        assert_eq!(u32::try_from(plain).expect("few") + summed, EQUAL_LINES + 30, "{text}");
        assert!(summed > 0 && text.contains("times: client connected from="), "{text}");
    }

    /// Blocks in its first write until it is told to go on.
    struct Blocked {
        entered: Sender<()>,
        go_on: Receiver<()>,
        blocked: bool,
        memory: Memory,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.blocked {
                self.blocked = false;
                self.entered.send(()).expect("the test waits");
                self.go_on.recv().expect("the test goes on");
            }
            self.memory.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "two single messages of a test")]
    fn a_blocked_reader_costs_lines_and_the_loss_is_logged() {
        let (entered, has_entered) = std::sync::mpsc::channel();
        let (let_go, go_on) = std::sync::mpsc::channel();
        let memory = Memory::default();
        let output = Blocked { entered, go_on, blocked: true, memory: memory.clone() };
        let (logging, dispatch) =
            build(LogLevel::Info, LogFormat::Text, Style::default(), output).expect("starts");
        with_default(&dispatch, || {
            tracing::info!("first");
            has_entered.recv().expect("the writer writes");
            // Each message is another, so that none counts as repeated.
            for number in 0..QUEUE_LINES + 5 {
                tracing::info!("line {number}");
            }
            assert_eq!(logging.dropped_lines(), 5);
            let_go.send(()).expect("the writer waits");
        });
        drop(logging);
        let text = memory.text();
        assert!(text.contains("log lines lost: standard error is slow lines=5"), "{text}");
        assert!(text.contains(&format!("line {}\n", QUEUE_LINES - 1)), "the queue was written");
    }
}
