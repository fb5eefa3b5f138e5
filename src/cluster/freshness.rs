//! Whether a session may read from a replica.
//!
//! Owns the levels of consistency and what each demands. A session carries a [`Floor`]: what it has
//! done and seen. From it, from what it shares with others, and from the level follows a [`Demand`],
//! which a replica's horizon meets or not. All comparisons are strict, as two things may happen in one
//! tick of the clock. Never waits: a session whose demand is not met takes the primary, or waits for
//! [`PrimaryLog::goal`](super::primary_log::PrimaryLog::goal).
//!
//! Not promised at any level but `primary`: under synchronous replication a replica may show a row that
//! the primary does not show yet, because its writer still waits.

use super::NodeId;
use super::moment::Moment;
use super::primary_log::Horizon;
use super::progress::Sight;
use crate::word::word_enum;
use std::time::Duration;

word_enum! {
    /// What a read may rely on.
    pub Level {
        /// Nothing: any replica that is well. Even one whose progress is unknown.
        Eventual = "eventual",
        /// What was committed to disk longer ago than `max_lag`.
        Bounded = "bounded",
        /// What the session has written, and its group. Its reads on replicas do not run backwards: a
        /// row that one replica has shown is there on the next. What it has read on the primary may
        /// still be missing.
        Session = "session",
        /// As `session`, and what the session has read on the primary or was notified of.
        Monotonic = "monotonic",
        /// As `session`, and what anybody has written through this process to the tables that are
        /// read, if that was acknowledged before the read came. A row that the primary has shown before
        /// its writer was told may still be missing.
        Global = "global",
        /// What anybody has written anywhere, if that was acknowledged or could be seen before the read
        /// came: through other proxies too, and past all of them. Costs a probe of the primary, which
        /// all reads share that came before it was sent.
        Strict = "strict",
        /// What the primary shows, because it is asked.
        Primary = "primary",
    }
}

/// What a session has done and seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    written: Option<Moment>,
    observed: Option<Moment>,
    read: Option<(NodeId, Moment)>,
}

impl Floor {
    /// A write was acknowledged. Read the clock behind the read that brought ReadyForQuery, and before
    /// the client is told. COMMIT PREPARED is a write. A write whose answer was lost counts from when
    /// its connection broke.
    pub fn wrote(&mut self, acknowledged: Moment) {
        self.written = self.written.max(Some(acknowledged));
    }

    /// The primary has answered a read or sent a notification. Read the clock behind the read that
    /// brought the last of it.
    pub fn observed(&mut self, answered: Moment) {
        self.observed = self.observed.max(Some(answered));
    }

    /// A replica has answered. Read the clock behind the read that brought the last of it.
    ///
    /// Its horizon does not say what it has shown, which may be more. At most that is what the primary
    /// had when the answer came, so another replica has to be as far as this; the same one is, as long
    /// as it was not started again.
    /// Only the last answer counts: its replica was itself chosen so that it shows what the ones
    /// before have shown.
    pub fn read(&mut self, node: NodeId, answered: Moment) {
        self.read = Some((node, answered));
    }

    /// The node of the last answer of a replica.
    #[must_use]
    pub fn last_replica(&self) -> Option<NodeId> {
        self.read.map(|(node, _)| node)
    }
}

/// What a read depends on beside its own session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// When the read came. For `strict`.
    pub arrived: Moment,
    /// The floor of the session's group.
    pub group: Option<Moment>,
    /// The last write of anybody to what is read. For `global`.
    pub others: Option<Moment>,
}

/// What a read demands of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    level: Level,
    after: Option<Moment>,
    read: Option<(NodeId, Moment)>,
    max_lag: Option<Duration>,
}

impl Demand {
    /// Of a read. `max_lag` bounds every level but `eventual` and `primary`.
    #[must_use]
    pub fn new(
        level: Level,
        floor: &Floor,
        circumstances: &Circumstances,
        max_lag: Option<Duration>,
    ) -> Self {
        let own = floor.written.max(circumstances.group);
        let after = match level {
            Level::Eventual | Level::Bounded | Level::Primary => None,
            Level::Session => own,
            Level::Monotonic => own.max(floor.observed),
            Level::Global => own.max(circumstances.others),
            // Whatever was done or seen was so before the read came.
            Level::Strict => Some(circumstances.arrived),
        };
        let is_in_order = matches!(level, Level::Session | Level::Monotonic | Level::Global);
        Self { level, after, read: floor.read.filter(|_| is_in_order), max_lag }
    }

    /// Whether a replica with this horizon meets it.
    #[must_use]
    pub fn is_fresh(&self, node: NodeId, horizon: &Horizon, now: Moment) -> bool {
        match self.level {
            Level::Eventual => return true,
            Level::Primary => return false,
            Level::Bounded => return self.is_within_lag(horizon, now),
            Level::Session | Level::Monotonic | Level::Global | Level::Strict => {}
        }
        let Some(reached) = horizon.insert else { return false };
        let is_in_order =
            self.read.is_none_or(|(last, answered)| last == node || reached > answered);
        self.after.is_none_or(|after| reached > after)
            && is_in_order
            && self.is_within_lag(horizon, now)
    }

    /// Whether that holds on a server of the node which was opened at `opened`, a moment behind its
    /// login. Asked when the server is taken; [`Sight::is_valid_for`] says why. That the session has
    /// read from the same node counts only for a server that was there then.
    #[must_use]
    pub fn is_fresh_on(&self, node: NodeId, sight: &Sight, opened: Moment) -> bool {
        match self.level {
            Level::Eventual => true,
            Level::Primary => false,
            Level::Bounded | Level::Session | Level::Monotonic | Level::Global | Level::Strict => {
                let is_in_order = self.read.is_none_or(|(last, answered)| {
                    let is_same = last == node && opened < answered;
                    is_same || sight.horizon.insert > Some(answered)
                });
                is_in_order && sight.is_valid_for(opened)
            }
        }
    }

    /// What a horizon has to be later than, for a node that the session has not read last. `None` if no
    /// moment is demanded.
    #[must_use]
    pub fn moment(&self) -> Option<Moment> {
        self.after.max(self.read.map(|(_, answered)| answered))
    }

    fn is_within_lag(&self, horizon: &Horizon, now: Moment) -> bool {
        let Some(reached) = horizon.flush else { return false };
        self.max_lag.is_none_or(|max| now.since(reached) <= max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(1_000);
    const CALM: Circumstances = Circumstances { arrived: Moment(900), group: None, others: None };

    fn horizon(insert: u64, flush: u64) -> Horizon {
        Horizon { insert: Some(Moment(insert)), flush: Some(Moment(flush)) }
    }

    fn is_fresh(level: Level, floor: &Floor, around: &Circumstances, insert: u64) -> bool {
        Demand::new(level, floor, around, None).is_fresh(NodeId(1), &horizon(insert, insert), NOW)
    }

    /// For each level the horizon that is just not enough.
    #[test]
    fn each_level_demands_its_own_moments() {
        let mut floor = Floor::default();
        floor.wrote(Moment(100));
        floor.wrote(Moment(50));
        floor.observed(Moment(300));
        let around = Circumstances {
            arrived: Moment(900),
            group: Some(Moment(200)),
            others: Some(Moment(400)),
        };
        for (level, demanded) in [
            (Level::Session, 200),
            (Level::Monotonic, 300),
            (Level::Global, 400),
            (Level::Strict, 900),
        ] {
            assert!(
                !is_fresh(level, &floor, &around, demanded),
                "{level}: the comparison is strict"
            );
            assert!(is_fresh(level, &floor, &around, demanded + 1), "{level}");
            let demand = Demand::new(level, &floor, &around, None);
            assert_eq!(demand.moment(), Some(Moment(demanded)), "{level}");
        }
        assert!(is_fresh(Level::Eventual, &floor, &around, 0));
        assert!(is_fresh(Level::Bounded, &floor, &around, 0));
        assert!(!is_fresh(Level::Primary, &floor, &around, 1_000));
    }

    #[test]
    fn a_replica_of_unknown_progress_is_only_for_eventual() {
        for word in Level::WORDS {
            let level = crate::word::Word::from_word(word).expect("a level");
            let demand = Demand::new(level, &Floor::default(), &CALM, None);
            let is_fresh = demand.is_fresh(NodeId(1), &Horizon::default(), NOW);
            assert_eq!(is_fresh, level == Level::Eventual, "{level}");
        }
    }

    #[test]
    fn reads_do_not_run_backwards_among_replicas() {
        let mut floor = Floor::default();
        floor.read(NodeId(1), Moment(500));
        for level in [Level::Session, Level::Monotonic, Level::Global] {
            let demand = Demand::new(level, &floor, &CALM, None);
            assert!(demand.is_fresh(NodeId(1), &horizon(10, 10), NOW), "{level}: the same node");
            assert!(!demand.is_fresh(NodeId(2), &horizon(500, 500), NOW), "{level}");
            assert!(demand.is_fresh(NodeId(2), &horizon(501, 501), NOW), "{level}");
        }
        let demand = Demand::new(Level::Bounded, &floor, &CALM, None);
        assert!(demand.is_fresh(NodeId(2), &horizon(10, 10), NOW));
    }

    #[test]
    fn a_replica_that_was_started_again_is_as_any_other() {
        let mut floor = Floor::default();
        floor.read(NodeId(1), Moment(500));
        let demand = Demand::new(Level::Session, &floor, &CALM, None);
        let sight = |insert| Sight {
            horizon: horizon(insert, insert),
            asked: Moment(600),
            ..Sight::default()
        };
        assert!(demand.is_fresh_on(NodeId(1), &sight(10), Moment(499)));
        assert!(!demand.is_fresh_on(NodeId(1), &sight(10), Moment(500)), "it was opened later");
        assert!(!demand.is_fresh_on(NodeId(2), &sight(10), Moment(499)), "it is another");
        assert!(demand.is_fresh_on(NodeId(1), &sight(501), Moment(550)));
        assert!(!demand.is_fresh_on(NodeId(1), &sight(501), Moment(600)), "no probe since");
        let demand = Demand::new(Level::Eventual, &floor, &CALM, None);
        assert!(demand.is_fresh_on(NodeId(1), &sight(10), Moment(900)));
    }

    #[test]
    fn the_lag_is_bounded_by_the_flush_horizon() {
        let lag = Some(Duration::from_nanos(100));
        for level in [Level::Bounded, Level::Session, Level::Monotonic, Level::Global] {
            let demand = Demand::new(level, &Floor::default(), &CALM, lag);
            assert!(demand.is_fresh(NodeId(1), &horizon(10, 900), NOW), "{level}");
            assert!(!demand.is_fresh(NodeId(1), &horizon(10, 899), NOW), "{level}");
        }
        let demand = Demand::new(Level::Eventual, &Floor::default(), &CALM, lag);
        assert!(demand.is_fresh(NodeId(1), &horizon(0, 0), NOW));
    }
}
