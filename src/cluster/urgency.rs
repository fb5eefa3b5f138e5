//! How soon a node is asked because of what sessions do. Pure.
//!
//! A probe costs a node a fraction of a millisecond. While a session waits for a replica, nodes are asked
//! without a pause worth naming; while reads miss replicas, a write makes them be asked at once, so that
//! the next read of its session finds one; where nobody reads, seldom. A node that does not get further is
//! asked less and less.

use super::moment::Moment;
use std::time::Duration;

/// Between the beginnings of two probes of a node while somebody waits for it.
pub const WAITED: Duration = Duration::from_millis(1);
/// The same while somebody misses a replica.
pub const MISSED: Duration = Duration::from_millis(2);
/// The same while somebody writes and nobody misses a replica.
pub const WRITTEN: Duration = Duration::from_millis(20);
/// So long behind a read that missed a replica, others are expected to.
pub const LATELY: Duration = Duration::from_secs(5);
/// Probes of a node that is behind, each twice as long behind the one before.
const TRIES: u32 = 7;
/// So many times a node is asked while replicas catch up, or more often.
const CATCH_UP_PART: u32 = 32;
/// Longest pause for that.
const STRETCH_MAX: Duration = Duration::from_millis(250);

/// What a node is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Urgency {
    /// A session waits for something that the node has not shown yet.
    pub is_waited_for: bool,
    /// A read has missed a replica since the last probe.
    pub is_missed: bool,
    /// Somebody has written since the last probe.
    pub has_written: bool,
    /// A read has missed a replica within [`LATELY`].
    pub was_missed_lately: bool,
    /// The node does not show the last write yet.
    pub is_behind: bool,
    /// Probes since it was asked for the first time and found behind.
    pub tries: u32,
    /// What replicas need to catch up. Where that is long, a small part of it is pause enough.
    pub catch_up: Duration,
}

impl Urgency {
    /// When a node is to be asked whose last probe began then; `None` if nobody asks for it.
    #[must_use]
    pub fn due(&self, last: Moment) -> Option<Moment> {
        let written = if self.was_missed_lately { MISSED } else { WRITTEN };
        let retries = self.is_behind && self.was_missed_lately && self.tries < TRIES;
        [
            (self.is_waited_for, WAITED),
            (self.is_missed, MISSED),
            (self.has_written, written),
            (retries, WAITED.saturating_mul(1 << self.tries.min(TRIES))),
        ]
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, pause)| last.after(pause.max(self.stretch())))
        .min()
    }

    fn stretch(&self) -> Duration {
        (self.catch_up / CATCH_UP_PART).min(STRETCH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_counts() {
        let none = Urgency::default();
        let missed = Urgency { was_missed_lately: true, ..none };
        let behind = Urgency { is_behind: true, ..missed };
        for (urgency, millis) in [
            (none, None),
            (missed, None),
            (Urgency { is_behind: true, ..none }, None),
            (Urgency { has_written: true, ..none }, Some(20)),
            (Urgency { has_written: true, ..missed }, Some(2)),
            (Urgency { is_missed: true, ..none }, Some(2)),
            (Urgency { is_waited_for: true, has_written: true, ..none }, Some(1)),
            (behind, Some(1)),
            (Urgency { tries: 3, ..behind }, Some(8)),
            (Urgency { tries: 7, ..behind }, None),
            (Urgency { tries: 70, has_written: true, ..behind }, Some(2)),
            (Urgency { catch_up: Duration::from_millis(320), ..behind }, Some(10)),
            (Urgency { catch_up: Duration::from_secs(60), is_waited_for: true, ..none }, Some(250)),
        ] {
            let last = Moment(5);
            let due = millis.map(|millis| last.after(Duration::from_millis(millis)));
            assert_eq!(urgency.due(last), due, "{urgency:?}");
        }
    }
}
