//! Recent events that an operator should know, for the console.
//!
//! A bounded list. The same event again is counted, not listed again; where one more is needed, the
//! oldest of the kind that has most goes, so that a flood of one kind leaves the others.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::time::SystemTime;

/// Events that are kept.
pub const EVENTS_MAX: usize = 1000;
/// Newest events among which the same one is looked for.
const LOOK_BACK: usize = 100;
/// Characters of a name and of a message that are kept.
const NAME_MAX: usize = 64;
const MESSAGE_MAX: usize = 300;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each says it")]
pub enum EventKind {
    Start,
    Reload,
    Pause,
    Shutdown,
    Login,
    Limit,
    Server,
    Timeout,
    Node,
    Check,
}

impl EventKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Start,
        Self::Reload,
        Self::Pause,
        Self::Shutdown,
        Self::Login,
        Self::Limit,
        Self::Server,
        Self::Timeout,
        Self::Node,
        Self::Check,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reload => "reload",
            Self::Pause => "pause",
            Self::Shutdown => "shutdown",
            Self::Login => "login",
            Self::Limit => "limit",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Node => "node",
            Self::Check => "check",
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened last.
    pub time: SystemTime,
    /// How often it has happened.
    pub count: u64,
    /// `info`, `warn` or `error`.
    pub level: &'static str,
    /// What it is.
    pub kind: EventKind,
    /// The database that it is about; empty for none.
    pub database: String,
    /// The user that it is about; empty for none.
    pub user: String,
    /// What happened.
    pub message: String,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    /// How many there have been of each kind.
    totals: [u64; EventKind::ALL.len()],
}

/// The list. A lock, taken where something rare happens.
#[derive(Debug, Default)]
pub struct Events(Mutex<Ring>);

fn cut(text: &str, max: usize) -> String {
    let one_line = |sign: char| if sign.is_control() { ' ' } else { sign };
    text.chars().take(max).map(one_line).collect()
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock()
    }

    /// Records an event of this time, level and kind, for this database and user.
    pub fn record(
        &self,
        time: SystemTime,
        (level, kind): (&'static str, EventKind),
        (database, user): (&str, &str),
        message: &str,
    ) {
        let (database, user) = (cut(database, NAME_MAX), cut(user, NAME_MAX));
        let event = Event {
            time,
            count: 1,
            level,
            kind,
            database,
            user,
            message: cut(message, MESSAGE_MAX),
        };
        let mut ring = self.lock();
        if let Some(total) = ring.totals.get_mut(kind as usize) {
            *total += 1;
        }
        let events = &mut ring.events;
        let is_it = |known: &Event| Event { time, count: 1, ..known.clone() } == event;
        let known = events.iter().rev().take(LOOK_BACK).position(is_it);
        if let Some(known) = known.and_then(|back| events.len().checked_sub(back + 1)) {
            let again = events.remove(known);
            let count = again.map_or(1, |again| again.count.saturating_add(1));
            events.push_back(Event { count, ..event });
            return;
        }
        if events.len() >= EVENTS_MAX {
            let count = |kind: &EventKind| events.iter().filter(|e| e.kind == *kind).count();
            let most = EventKind::ALL.iter().copied().max_by_key(count);
            let oldest = events.iter().position(|event| Some(event.kind) == most);
            events.remove(oldest.unwrap_or(0));
        }
        events.push_back(event);
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<Event> {
        self.lock().events.iter().rev().cloned().collect()
    }

    /// How many there have been of each kind since the start.
    pub fn totals(&self) -> Vec<(EventKind, u64)> {
        EventKind::ALL.iter().copied().zip(self.lock().totals).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn record(events: &Events, at: u64, kind: EventKind, user: &str, message: &str) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        events.record(time, ("warn", kind), ("a", user), message);
    }

    #[test]
    fn the_same_again_is_counted() {
        let events = Events::default();
        record(&events, 1, EventKind::Login, "u", "no");
        record(&events, 2, EventKind::Login, "v", "no");
        record(&events, 3, EventKind::Login, "u", "no");
        let list = events.list();
        let told: Vec<_> = list.iter().map(|event| (&*event.user, event.count)).collect();
        assert_eq!(told, [("u", 2), ("v", 1)]);
        assert_eq!(list[0].time, SystemTime::UNIX_EPOCH + Duration::from_secs(3));
        assert!(events.totals().contains(&(EventKind::Login, 3)));
    }

    #[test]
    fn a_flood_of_one_kind_leaves_the_others() {
        let events = Events::default();
        record(&events, 0, EventKind::Reload, "", "reloaded");
        (0..5000).for_each(|n| record(&events, n, EventKind::Login, &n.to_string(), "no"));
        let list = events.list();
        assert_eq!(list.len(), EVENTS_MAX);
        assert_eq!(list[0].user, "4999");
        assert!(list.iter().any(|event| event.kind == EventKind::Reload));
    }

    #[test]
    fn an_event_is_one_line_of_some_length() {
        let events = Events::default();
        record(&events, 0, EventKind::Login, &"u".repeat(9000), &"a\nb".repeat(9000));
        let event = events.list().remove(0);
        assert_eq!((event.user.len(), event.message.len()), (NAME_MAX, MESSAGE_MAX));
        assert!(!event.message.contains('\n'));
    }
}
