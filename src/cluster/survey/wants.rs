//! What sessions want of the nodes: who has it, what the others have to replay, and what keeps them from it.

use super::{Standing, Survey};
use crate::cluster::NodeId;
use crate::cluster::lsn::Lsn;
use crate::cluster::moment::Moment;
use crate::cluster::waiters::Wanted;
use std::time::Duration;

/// So long the log may be ahead of what is on disk: a commit writes it out at once.
const UNWRITTEN: Duration = Duration::from_millis(5);
/// Least time between two nudges: the log is written out within `wal_writer_delay`.
const NUDGE_EVERY: Duration = Duration::from_millis(50);

impl Survey {
    /// Whether another probe of the node may bring a session what it waits for.
    #[must_use]
    pub fn is_wanted(&self, node: NodeId, wanted: Option<Wanted>) -> bool {
        let Some(wanted) = wanted else { return false };
        match self.roles.standing(node) {
            // One that began later serves all, if what it finds is on disk.
            Standing::Primary => {
                self.unwritten.is_some()
                    || self.log.last().is_none_or(|pair| pair.at <= wanted.last)
            }
            Standing::Replica => {
                let horizon = self.member(node).map(|member| member.progress.horizon());
                let is_short = horizon.is_none_or(|horizon| horizon.insert <= Some(wanted.last));
                is_short && self.log.goal(wanted.first).is_some()
            }
            Standing::Unknown | Standing::Fenced | Standing::Refused => false,
        }
    }

    /// Whether a node does not show yet what was written to it last, and may.
    #[must_use]
    pub fn is_behind(&self, node: NodeId) -> bool {
        let Some(last) = self.last_write else { return false };
        let Some(member) = self.member(node) else { return false };
        match self.roles.standing(node) {
            Standing::Primary => {
                self.unwritten.is_some() || self.log.last().is_none_or(|pair| pair.at <= last)
            }
            Standing::Replica => {
                member.progress.horizon().insert <= Some(last) && self.log.goal(last).is_some()
            }
            Standing::Unknown | Standing::Fenced | Standing::Refused => false,
        }
    }

    /// What a replica has to replay next for those who wait, and its version.
    #[must_use]
    pub fn goal(&self, node: NodeId, wanted: Option<Wanted>) -> Option<(Lsn, u32)> {
        let member = self.member(node)?;
        let report = member.report.as_ref()?;
        report.replica()?;
        let goal = self.log.goal(wanted?.first)?;
        let replayed = member.progress.sight()?.replayed;
        (replayed < goal && member.is_on_timeline_of(&self.log)).then_some((goal, report.version))
    }

    /// The primary has answered. Its version, if it is to be made to write its log out: somebody misses a
    /// replica, and an open transaction keeps the end of the log off the disk, which nobody else forces
    /// there.
    pub fn take_nudge_due(&mut self, is_missed: bool, now: Moment) -> Option<u32> {
        let last = self.log.last()?;
        let stuck = self.unwritten.filter(|(end, _)| last.flush < *end);
        self.unwritten = stuck.or((last.flush < last.insert).then_some((last.insert, now)));
        let (_, since) = self.unwritten?;
        let is_due = self.nudged.is_none_or(|nudged| now.since(nudged) >= NUDGE_EVERY);
        if !is_missed || !is_due || now.since(since) < UNWRITTEN {
            return None;
        }
        let version = self.member(self.roles.primary()?)?.report.as_ref()?.version;
        self.nudged = Some(now);
        Some(version)
    }

    /// What replicas need to catch up, if that is known.
    #[must_use]
    pub fn catch_up(&self, now: Moment) -> Option<Duration> {
        self.catch_up.expected(now)
    }

    /// A node has answered: perhaps a replica has caught up.
    pub(super) fn follow_catch_up(&mut self, now: Moment) {
        let horizons = self.members.iter().filter_map(|member| member.progress.horizon().insert);
        match horizons.max() {
            Some(best) => self.catch_up.reached(best, now),
            None => self.catch_up.is_over(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::health;
    use crate::cluster::report::Report;
    use crate::cluster::roles::FixedRole;
    use crate::cluster::survey::Options;
    use crate::cluster::tests::{primary, replica};

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    const fn ms(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn hear(survey: &mut Survey, node: NodeId, at: u64, report: Report) {
        survey.answered((node, ["a", "b"][node.0 as usize]), (ms(at), ms(at)), report);
    }

    fn pair() -> Survey {
        let options =
            Options { health: health::Options::default(), max_lag: None, allowed: Vec::new() };
        let mut survey = Survey::new(&[FixedRole::Auto; 2], options, 1, ms(0));
        hear(&mut survey, B, 1, replica(Some(1), 100));
        hear(&mut survey, A, 2, primary(1, 100, 100));
        hear(&mut survey, B, 3, replica(Some(1), 100));
        survey
    }

    fn wanted(first: u64, last: u64) -> Option<Wanted> {
        Some(Wanted { first: ms(first), last: ms(last) })
    }

    #[test]
    fn who_is_asked_for_what_sessions_wait_for() {
        let mut survey = pair();
        assert!(!survey.is_wanted(A, None) && !survey.is_wanted(B, None));
        assert!(survey.is_wanted(A, wanted(2, 5)), "its probe began too early");
        assert!(!survey.is_wanted(B, wanted(2, 5)), "nobody knows what it has to replay");
        assert_eq!(survey.goal(B, wanted(2, 5)), None);
        hear(&mut survey, A, 6, primary(1, 200, 200));
        assert!(!survey.is_wanted(A, wanted(2, 5)) && survey.is_wanted(B, wanted(2, 5)));
        assert_eq!(survey.goal(B, wanted(2, 5)), Some((Lsn(200), 150_018)));
        assert_eq!(survey.goal(A, wanted(2, 5)), None);
        assert!(survey.is_wanted(A, wanted(2, 6)), "the comparison is strict");
        hear(&mut survey, B, 7, replica(Some(2), 150));
        assert_eq!(survey.goal(B, wanted(2, 5)), None, "it is on another timeline");
        hear(&mut survey, B, 8, replica(Some(1), 200));
        assert!(!survey.is_wanted(B, wanted(2, 5)));
        assert_eq!(survey.goal(B, wanted(2, 5)), None);
    }

    #[test]
    fn who_does_not_show_the_last_write() {
        let mut survey = pair();
        assert!(!survey.is_behind(A) && !survey.is_behind(B));
        survey.set_last_write(Some(ms(4)));
        assert!(survey.is_behind(A) && !survey.is_behind(B));
        hear(&mut survey, A, 6, primary(1, 200, 200));
        assert!(!survey.is_behind(A) && survey.is_behind(B));
        hear(&mut survey, B, 7, replica(Some(1), 200));
        assert!(!survey.is_behind(B));
    }

    #[test]
    fn a_log_that_nobody_writes_out_is_nudged_now_and_then() {
        let mut survey = pair();
        assert_eq!(survey.take_nudge_due(true, ms(2)), None);
        let mut at = |at: u64, insert: u64, flush: u64, is_missed: bool| {
            hear(&mut survey, A, at, primary(1, insert, flush));
            survey.take_nudge_due(is_missed, ms(at)).is_some()
        };
        assert!(!at(10, 200, 100, true), "a commit may be on its way");
        assert!(!at(14, 210, 100, true));
        assert!(!at(15, 210, 100, false), "nobody misses anything");
        assert!(at(16, 210, 100, true));
        assert!(!at(17, 210, 100, true) && !at(65, 210, 100, true));
        assert!(at(66, 210, 100, true));
        // It was written out up to what was seen first, and more is there.
        assert!(!at(130, 300, 205, true));
        assert!(!at(134, 300, 205, true) && at(135, 300, 205, true));
        assert!(survey.is_wanted(A, wanted(2, 3)), "it is looked at until it is written out");
        hear(&mut survey, A, 300, primary(1, 300, 300));
        assert!(survey.take_nudge_due(true, ms(300)).is_none());
        assert!(!survey.is_wanted(A, wanted(2, 3)));
    }
}
