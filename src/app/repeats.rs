//! Rate limit for log lines: the same line more than a few times in a second is counted, not
//! written.
//!
//! "The same" means the same place in the code and the same message; fields may differ. A fixed
//! table of slots holds what was seen; two lines that fall on one slot displace each other, which
//! lets a line through but never hides one.

use parking_lot::Mutex;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// Slots of the table: lines that can be told apart at one time.
const SLOTS: usize = 512;

/// Length of a window.
const WINDOW_MS: u64 = 1000;

/// Longest message kept for the summary, in bytes.
const MAX_MESSAGE: usize = 200;

/// How often a line was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) message: String,
    pub(super) times: u32,
}

#[derive(Debug, Default)]
struct Slot {
    line: u64,
    window: u64,
    seen: u32,
    left_out: Option<Repeated>,
}

/// What was logged lately. Time is passed in, as milliseconds from any start.
#[derive(Debug)]
pub(super) struct Repeats {
    slots: Box<[Mutex<Slot>]>,
    allowed: u32,
}

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) write: bool,
    /// A summary that is due because its slot is needed.
    pub(super) displaced: Option<Repeated>,
}

impl Repeats {
    /// Lets `allowed` equal lines a second through.
    pub(super) fn new(allowed: u32) -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::new(Slot::default())).collect();
        Self { slots, allowed: allowed.max(1) }
    }

    /// Counts `event` at `now_ms`. Allocates only for the first line that is left out of a window.
    pub(super) fn check(&self, event: &Event<'_>, now_ms: u64) -> Verdict {
        let line = identity(event);
        let index = usize::try_from(line % SLOTS as u64).unwrap_or(0);
        let mut slot = self.slots[index].lock();
        let mut displaced = None;
        if slot.line != line || now_ms.saturating_sub(slot.window) >= WINDOW_MS {
            displaced = slot.left_out.take();
            *slot = Slot { line, window: now_ms, seen: 0, left_out: None };
        }
        slot.seen = slot.seen.saturating_add(1);
        if slot.seen <= self.allowed {
            return Verdict { write: true, displaced };
        }
        let repeated = slot.left_out.get_or_insert_with(|| Repeated {
            level: *event.metadata().level(),
            target: event.metadata().target(),
            message: message(event),
            times: 0,
        });
        repeated.times = repeated.times.saturating_add(1);
        Verdict { write: false, displaced }
    }

    /// Takes the summaries of windows that are over.
    pub(super) fn sweep(&self, now_ms: u64) -> Vec<Repeated> {
        let over = |slot: &mut Slot| {
            let over = now_ms.saturating_sub(slot.window) >= WINDOW_MS;
            if over { slot.left_out.take() } else { None }
        };
        self.slots.iter().filter_map(|slot| over(&mut slot.lock())).collect()
    }

    /// Takes every summary: the process ends.
    pub(super) fn drain(&self) -> Vec<Repeated> {
        let lock = |slot: &Mutex<Slot>| slot.lock().left_out.take();
        self.slots.iter().filter_map(lock).collect()
    }
}

/// A hash of the place in the code and the message.
fn identity(event: &Event<'_>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    std::hash::Hash::hash(&event.metadata().callsite(), &mut hasher);
    event.record(&mut MessageOnly(&mut HashText(&mut hasher)));
    hasher.finish()
}

fn message(event: &Event<'_>) -> String {
    let mut text = Bounded(String::new());
    event.record(&mut MessageOnly(&mut text));
    text.0
}

/// Passes the message to a writer, formatted but not collected.
struct MessageOnly<'a>(&'a mut dyn Write);

impl Visit for MessageOnly<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // An error here is the bound of the writer.
            _ = write!(self.0, "{value:?}");
        }
    }
}

/// Hashes text as it is written. Pieces are chained bytewise, so that how a text is cut into
/// pieces does not matter.
struct HashText<'a, H: Hasher>(&'a mut H);

impl<H: Hasher> Write for HashText<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Text up to [`MAX_MESSAGE`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_MESSAGE.saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;

    /// Asks [`Repeats`] about every event and keeps the verdicts.
    #[derive(Clone)]
    struct Probe {
        repeats: Arc<Repeats>,
        now: Arc<AtomicU64>,
        verdicts: Arc<Mutex<Vec<Verdict>>>,
    }

    impl<S: tracing::Subscriber> Layer<S> for Probe {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let verdict = self.repeats.check(event, self.now.load(Ordering::Relaxed));
            self.verdicts.lock().push(verdict);
        }
    }

    impl Probe {
        fn new(allowed: u32) -> Self {
            Self {
                repeats: Arc::new(Repeats::new(allowed)),
                now: Arc::default(),
                verdicts: Arc::default(),
            }
        }

        fn at(&self, now: u64, log: impl FnOnce()) -> Vec<Verdict> {
            // Which places log at all is kept for the whole process and worked out anew when a
            // subscriber comes or goes: one at a time.
            static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
            let _alone = ONE_AT_A_TIME.lock();
            self.now.store(now, Ordering::Relaxed);
            let subscriber = tracing_subscriber::registry().with(self.clone());
            tracing::subscriber::with_default(subscriber, log);
            std::mem::take(&mut *self.verdicts.lock())
        }
    }

    fn line(user: u32) {
        tracing::warn!(user, "login failed");
    }

    fn repeated(message: &str, times: u32) -> Repeated {
        Repeated { level: Level::WARN, target: module_path!(), message: message.into(), times }
    }

    #[test]
    fn equal_lines_beyond_the_allowance_are_counted() {
        let probe = Probe::new(2);
        let written: Vec<bool> =
            probe.at(0, || (0..5).for_each(line)).iter().map(|v| v.write).collect();
        assert_eq!(written, [true, true, false, false, false]);
        assert_eq!(probe.repeats.sweep(999), []);
        assert_eq!(probe.repeats.sweep(1000), [repeated("login failed", 3)]);
        assert_eq!(probe.repeats.sweep(2000), [], "once");
    }

    #[test]
    fn the_next_window_starts_afresh_and_brings_the_summary() {
        let probe = Probe::new(1);
        probe.at(0, || (0..3).for_each(line));
        let verdicts = probe.at(1000, || line(1));
        assert_eq!(
            verdicts,
            [Verdict { write: true, displaced: Some(repeated("login failed", 2)) }]
        );
    }

    #[test]
    fn other_messages_of_the_same_place_are_other_lines() {
        let probe = Probe::new(1);
        let verdicts = probe.at(0, || {
            for name in ["a", "b", "a"] {
                tracing::warn!("node {name} is down");
            }
        });
        let written: Vec<bool> = verdicts.iter().map(|v| v.write).collect();
        assert_eq!(written, [true, true, false]);
        assert_eq!(probe.repeats.drain(), [repeated("node a is down", 1)]);
    }

    #[test]
    fn a_long_message_is_cut() {
        let probe = Probe::new(1);
        let long = "é".repeat(500);
        probe.at(0, || (0..2).for_each(|_| tracing::warn!("{long}")));
        assert_eq!(probe.repeats.drain(), [repeated(&"é".repeat(100), 1)]);
    }
}
