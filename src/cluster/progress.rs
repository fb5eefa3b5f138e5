//! How far one replica is.
//!
//! Owns what the last probes of the replica said, and the horizon that follows from them and from the
//! primary's log. The horizon never goes back while the replica is the same and goes on; it is unknown
//! again when the replica was started anew, when its position falls, or when the log begins anew.
//!
//! Never counts a replica whose timeline is not the primary's: it keeps the horizon that it had, as what
//! was replayed stays, and gets no later one. Only positions count. What PostgreSQL says of delays
//! and of its receiver's state goes on unchanged while nothing is replayed.

use super::lsn::Lsn;
use super::moment::Moment;
use super::primary_log::{Horizon, PrimaryLog};
use super::report::Report;
use std::time::Duration;

/// How far a replica is, as far as its last probe could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// What is visible there.
    pub horizon: Horizon,
    /// The position that it follows from.
    pub replayed: Lsn,
    /// Before the replica was asked for it.
    pub asked: Moment,
}

impl Sight {
    /// Whether it holds for a server that was opened at `opened`, a moment behind its login.
    ///
    /// A replica that crashes replays again from an earlier point, and may let sessions in before it is
    /// where it was. A crash ends every connection. So the sight holds for a server that was there
    /// before the probe and still is. A later one has to be asked itself whether it has replayed
    /// [`replayed`](Self::replayed), or waits for the next probe.
    #[must_use]
    pub fn is_valid_for(&self, opened: Moment) -> bool {
        opened < self.asked
    }
}

/// How far a replica is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// The log that it has not replayed, of what the primary had on disk at its last probe.
    pub bytes: Option<u64>,
    /// The age of what it shows. It counts the time since the primary was asked, so it is never zero.
    pub time: Option<Duration>,
}

/// What is known of one replica.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// System identifier and start of the node.
    identity: Option<(u64, i64)>,
    /// The timeline of the last report.
    timeline: Option<u32>,
    generation: u64,
    sight: Option<Sight>,
}

impl Progress {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An answer of the replica; `asked` was read before the question was written.
    pub fn observe(&mut self, asked: Moment, report: &Report, log: &PrimaryLog) {
        let replica = report.replica().filter(|_| log.is_of_system(report.system));
        let Some((replica, replayed)) = replica.and_then(|r| r.replayed.map(|lsn| (r, lsn))) else {
            self.clear();
            return;
        };
        let identity = Some((report.system, report.started));
        if self.sight.is_some_and(|sight| asked <= sight.asked) {
            return;
        }
        let has_fallen = self.sight.is_some_and(|sight| replayed < sight.replayed);
        if has_fallen || identity != self.identity || self.generation != log.generation() {
            self.clear();
        }
        let horizon = self.sight.map(|sight| sight.horizon).unwrap_or_default();
        self.identity = identity;
        self.generation = log.generation();
        self.timeline = replica.timeline;
        self.sight = Some(Sight { horizon, replayed, asked });
        self.refresh(log);
    }

    /// The primary has answered: what was replayed may reach further in its time.
    pub fn refresh(&mut self, log: &PrimaryLog) {
        if self.generation != log.generation() {
            // What was replayed has to be asked for again: it may belong to the history that ended.
            self.clear();
        } else if let Some(sight) = &mut self.sight
            && self.timeline.is_some()
            && self.timeline == log.timeline()
        {
            sight.horizon = sight.horizon.max(log.horizon(sight.replayed));
        }
    }

    /// The node is no replica any more, or its servers have ended all at once.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// How far it is.
    #[must_use]
    pub fn sight(&self) -> Option<&Sight> {
        self.sight.as_ref()
    }

    /// What is visible there; unknown in both ways if nothing is known.
    #[must_use]
    pub fn horizon(&self) -> Horizon {
        self.sight.map(|sight| sight.horizon).unwrap_or_default()
    }

    /// How far it is behind.
    #[must_use]
    pub fn lag(&self, log: &PrimaryLog, now: Moment) -> Lag {
        let is_counted = self.timeline.is_some() && self.timeline == log.timeline();
        let replayed = self.sight.filter(|_| is_counted).map(|sight| sight.replayed);
        Lag {
            bytes: replayed.zip(log.last()).map(|(lsn, last)| last.flush.bytes_since(lsn)),
            time: self.horizon().flush.map(|horizon| now.since(horizon)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{primary, replica};

    struct Pair {
        log: PrimaryLog,
        progress: Progress,
    }

    impl Pair {
        fn new() -> Self {
            let mut pair = Self { log: PrimaryLog::new(), progress: Progress::new() };
            pair.log.record("a", Moment(10), &primary(1, 100, 100));
            pair.log.record("a", Moment(20), &primary(1, 200, 150));
            pair
        }

        fn observe(&mut self, asked: u64, report: &Report) -> Option<u64> {
            self.progress.observe(Moment(asked), report, &self.log);
            self.insert()
        }

        fn insert(&self) -> Option<u64> {
            self.progress.horizon().insert.map(|moment| moment.0)
        }
    }

    #[test]
    fn a_horizon_rises_with_the_replica_and_with_the_primary() {
        let mut pair = Pair::new();
        assert_eq!(pair.observe(21, &replica(Some(1), 99)), None);
        assert_eq!(pair.observe(22, &replica(Some(1), 100)), Some(10));
        assert_eq!(pair.observe(23, &replica(Some(1), 260)), Some(20));
        pair.log.record("a", Moment(30), &primary(1, 250, 250));
        pair.progress.refresh(&pair.log);
        assert_eq!(pair.insert(), Some(30));
        let lag = pair.progress.lag(&pair.log, Moment(1_030));
        assert_eq!(lag, Lag { bytes: Some(0), time: Some(Duration::from_micros(1)) });
    }

    #[test]
    fn a_replica_that_lags_says_by_how_much() {
        let mut pair = Pair::new();
        pair.observe(21, &replica(Some(1), 110));
        let lag = pair.progress.lag(&pair.log, Moment(110));
        assert_eq!(lag, Lag { bytes: Some(40), time: Some(Duration::from_nanos(100)) });
        pair.observe(22, &replica(None, 110));
        assert_eq!(pair.progress.lag(&pair.log, Moment(110)).bytes, None);
    }

    #[test]
    fn a_replica_on_another_or_an_unknown_timeline_gets_no_later_horizon() {
        for timeline in [None, Some(2)] {
            let mut pair = Pair::new();
            assert_eq!(pair.observe(21, &replica(timeline, 100)), None);
            assert_eq!(pair.observe(22, &replica(Some(1), 100)), Some(10));
            assert_eq!(pair.observe(23, &replica(timeline, 200)), Some(10), "what it had stays");
            pair.log.record("a", Moment(30), &primary(1, 200, 200));
            pair.progress.refresh(&pair.log);
            assert_eq!(pair.insert(), Some(10));
        }
    }

    #[test]
    fn a_node_that_is_not_what_it_was_begins_anew() {
        let mut rebuilt = replica(None, 300);
        rebuilt.started += 1;
        let mut foreign = replica(Some(1), 300);
        foreign.system += 1;
        for report in [replica(None, 199), rebuilt, foreign, primary(1, 300, 300)] {
            let mut pair = Pair::new();
            assert_eq!(pair.observe(21, &replica(Some(1), 200)), Some(20));
            assert_eq!(pair.observe(22, &report), None, "{report:?}");
        }
    }

    #[test]
    fn a_log_that_begins_anew_makes_every_horizon_unknown() {
        let mut pair = Pair::new();
        assert_eq!(pair.observe(21, &replica(Some(1), 200)), Some(20));
        pair.log.record("b", Moment(30), &primary(2, 150, 150));
        pair.progress.refresh(&pair.log);
        assert_eq!(pair.insert(), None);
        assert_eq!(pair.observe(31, &replica(Some(1), 210)), None, "it has not followed yet");
        assert_eq!(pair.observe(32, &replica(Some(2), 210)), Some(30));
    }

    #[test]
    fn an_answer_that_was_overtaken_counts_for_nothing() {
        let mut pair = Pair::new();
        assert_eq!(pair.observe(22, &replica(Some(1), 200)), Some(20));
        assert_eq!(pair.observe(21, &replica(Some(1), 100)), Some(20));
    }

    #[test]
    fn a_sight_holds_for_servers_that_were_there_before_it() {
        let sight = Sight { asked: Moment(5), ..Sight::default() };
        assert!(sight.is_valid_for(Moment(4)) && !sight.is_valid_for(Moment(5)));
    }
}
