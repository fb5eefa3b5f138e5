//! What the primary's log held, and when.
//!
//! Owns *pairs*: a moment before a probe of the primary was written, and the positions that the probe
//! came back with. Everything that was acknowledged before the moment lies before the positions: before
//! the insert position in any case, before the flush position if it was committed synchronously. A
//! replica that has replayed a position therefore shows everything up to the moment: its *horizon*.
//!
//! Never holds pairs of two histories: all belong to one system, timeline and address, and they are
//! dropped as soon as one of these changes or a position falls. Moments and positions rise from pair
//! to pair, and there are at most [`PAIRS_MAX`]; leaving one out makes a horizon earlier, never later.

use super::lsn::Lsn;
use super::moment::Moment;
use super::report::{PrimaryStand, Report};

/// Most pairs that are kept.
pub const PAIRS_MAX: usize = 512;

/// What one probe of the primary has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Before the question was written.
    pub at: Moment,
    /// The end of the log.
    pub insert: Lsn,
    /// The end of what was on disk.
    pub flush: Lsn,
}

/// How far a replica is, in the primary's time. `None` is unknown: earlier than everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// Everything acknowledged before it is visible.
    pub insert: Option<Moment>,
    /// Everything committed to disk before it is visible. Later than `insert` while an open
    /// transaction keeps a quiet primary from writing its log out, or after asynchronous commits.
    pub flush: Option<Moment>,
}

impl Horizon {
    /// The later of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { insert: self.insert.max(other.insert), flush: self.flush.max(other.flush) }
    }
}

/// What became of a probe's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the log.
    Kept,
    /// It is in the log, alone: what was there belongs to another history.
    Began(Break),
    /// It is of no use: no primary's, or older than what is known.
    Ignored,
}

/// Why a log begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// It is the first answer.
    First,
    /// The system identifier, the timeline or the address is another.
    OtherOrigin,
    /// A position has fallen: the primary has crashed, or is not what it was.
    Fell,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    system: u64,
    timeline: u32,
    address: Box<str>,
}

/// The pairs of one primary.
#[derive(Clone, Debug, Default)]
pub struct PrimaryLog {
    origin: Option<Origin>,
    pairs: Vec<Pair>,
    /// How often it began. A horizon of another generation is void.
    generation: u64,
}

impl PrimaryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An answer of the primary at `address`, resolved; `at` was read before the question was written.
    /// Probes of one node must not overlap, or a position seems to fall.
    pub fn record(&mut self, address: &str, at: Moment, report: &Report) -> Recorded {
        let Some(PrimaryStand { timeline, insert, flush, .. }) = report.primary().copied() else {
            return Recorded::Ignored;
        };
        let is_same = |origin: &Origin| {
            (origin.system, origin.timeline) == (report.system, timeline)
                && *origin.address == *address
        };
        let pair = Pair { at, insert, flush };
        if !self.origin.as_ref().is_some_and(is_same) {
            let why = if self.origin.is_none() { Break::First } else { Break::OtherOrigin };
            self.origin = Some(Origin { system: report.system, timeline, address: address.into() });
            return self.begin(pair, why);
        }
        let Some(last) = self.pairs.last_mut() else { return self.begin(pair, Break::First) };
        if at <= last.at {
            return Recorded::Ignored;
        }
        if insert < last.insert || flush < last.flush {
            return self.begin(pair, Break::Fell);
        }
        if (insert, flush) == (last.insert, last.flush) {
            last.at = at;
            return Recorded::Kept;
        }
        if self.pairs.len() >= PAIRS_MAX {
            self.thin();
        }
        self.pairs.push(pair);
        Recorded::Kept
    }

    fn begin(&mut self, pair: Pair, why: Break) -> Recorded {
        self.pairs.clear();
        self.pairs.push(pair);
        self.generation += 1;
        Recorded::Began(why)
    }

    /// Every second of the older half goes. The first stays, so that a replica far behind has a horizon.
    fn thin(&mut self) {
        let half = self.pairs.len() / 2;
        let mut index = 0;
        self.pairs.retain(|_| {
            index += 1;
            index > half || index % 2 == 1
        });
    }

    /// How far a replica is that has replayed `replayed` of this log's history.
    #[must_use]
    pub fn horizon(&self, replayed: Lsn) -> Horizon {
        let latest = |position: fn(&Pair) -> Lsn| {
            let reached = self.pairs.partition_point(|pair| position(pair) <= replayed);
            reached.checked_sub(1).and_then(|last| self.pairs.get(last)).map(|pair| pair.at)
        };
        Horizon { insert: latest(|pair| pair.insert), flush: latest(|pair| pair.flush) }
    }

    /// What a replica has to replay so that its horizon is later than `moment`; `None` if no probe that
    /// was written later has been answered.
    #[must_use]
    pub fn goal(&self, moment: Moment) -> Option<Lsn> {
        let later = self.pairs.partition_point(|pair| pair.at <= moment);
        self.pairs.get(later).map(|pair| pair.insert)
    }

    /// Since when everything may be lost that was acknowledged, if the log was cut at `end`: the latest
    /// moment before which nothing is. `None` if that is before the first pair.
    #[must_use]
    pub fn safe_until(&self, end: Lsn) -> Option<Moment> {
        self.horizon(end).insert
    }

    /// The last pair.
    #[must_use]
    pub fn last(&self) -> Option<Pair> {
        self.pairs.last().copied()
    }

    /// How many pairs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether a node belongs to this log's system.
    #[must_use]
    pub fn is_of_system(&self, system: u64) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.system == system)
    }

    /// The timeline that the positions are on.
    #[must_use]
    pub fn timeline(&self) -> Option<u32> {
        self.origin.as_ref().map(|origin| origin.timeline)
    }

    /// How often it began anew.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::primary;
    use proptest::prelude::*;

    fn log(pairs: &[(u64, u64, u64)]) -> PrimaryLog {
        let mut log = PrimaryLog::new();
        for (at, insert, flush) in pairs {
            log.record("a", Moment(*at), &primary(1, *insert, *flush));
        }
        log
    }

    fn horizon(insert: Option<u64>, flush: Option<u64>) -> Horizon {
        Horizon { insert: insert.map(Moment), flush: flush.map(Moment) }
    }

    #[test]
    fn a_horizon_is_the_latest_moment_whose_position_was_replayed() {
        let log = log(&[(10, 100, 90), (20, 200, 150), (30, 300, 300)]);
        for (replayed, expected) in [
            (89, horizon(None, None)),
            (90, horizon(None, Some(10))),
            (100, horizon(Some(10), Some(10))),
            (199, horizon(Some(10), Some(20))),
            (200, horizon(Some(20), Some(20))),
            (300, horizon(Some(30), Some(30))),
            (900, horizon(Some(30), Some(30))),
        ] {
            assert_eq!(log.horizon(Lsn(replayed)), expected, "{replayed}");
        }
        assert_eq!(log.goal(Moment(19)), Some(Lsn(200)));
        assert_eq!(log.goal(Moment(20)), Some(Lsn(300)));
        assert_eq!(log.goal(Moment(30)), None);
    }

    #[test]
    fn an_open_writer_on_a_quiet_primary_stops_only_the_insert_horizon() {
        let log = log(&[(10, 100, 100), (20, 180, 100), (30, 180, 100), (4000, 180, 100)]);
        assert_eq!(log.len(), 2, "an answer that tells nothing new takes no place");
        assert_eq!(log.horizon(Lsn(100)), horizon(Some(10), Some(4000)));
    }

    #[test]
    fn another_history_ends_a_log() {
        let mut log = log(&[(10, 100, 100), (20, 200, 200)]);
        let other = Recorded::Began(Break::OtherOrigin);
        let mut foreign = primary(2, 290, 290);
        foreign.system += 1;
        for (address, at, report, expected) in [
            ("a", 30, primary(1, 190, 190), Recorded::Began(Break::Fell)),
            ("a", 40, primary(1, 200, 189), Recorded::Began(Break::Fell)),
            ("a", 50, primary(2, 210, 210), other),
            ("b", 60, primary(2, 220, 220), other),
            ("b", 70, foreign, other),
        ] {
            let generation = log.generation();
            assert_eq!(log.record(address, Moment(at), &report), expected, "{at}");
            assert_eq!((log.len(), log.generation()), (1, generation + 1));
        }
        assert_eq!(log.record("b", Moment(70), &primary(2, 1, 1)), other);
        assert_eq!(log.record("b", Moment(70), &primary(2, 9, 9)), Recorded::Ignored);
    }

    proptest! {
        #[test]
        fn a_thinned_log_is_bounded_and_never_promises_more(
            steps in prop::collection::vec((1u64..50, 0u64..90, 0u64..90), 1..3000),
            replayed in prop::collection::vec(0u64..200_000, 20),
        ) {
            let (mut log, mut all) = (PrimaryLog::new(), Vec::new());
            let (mut at, mut insert, mut flush) = (0, 0, 0);
            for (pause, written, flushed) in steps {
                at += pause;
                insert += written;
                flush = (flush + flushed).min(insert);
                log.record("a", Moment(at), &primary(1, insert, flush));
                all.push(Pair { at: Moment(at), insert: Lsn(insert), flush: Lsn(flush) });
                prop_assert!(log.len() <= PAIRS_MAX);
                prop_assert_eq!(log.horizon(Lsn(insert)).insert, Some(Moment(at)));
            }
            for replayed in replayed.into_iter().map(Lsn) {
                let exact = |position: fn(&Pair) -> Lsn| {
                    all.iter().filter(|pair| position(pair) <= replayed).map(|pair| pair.at).max()
                };
                let horizon = log.horizon(replayed);
                prop_assert!(horizon.insert <= exact(|pair| pair.insert));
                prop_assert!(horizon.flush <= exact(|pair| pair.flush));
                prop_assert_eq!(
                    horizon.insert.is_some(),
                    log.pairs.first().is_some_and(|pair| pair.insert <= replayed)
                );
            }
            prop_assert!(log.pairs.windows(2).all(|two| two[0].at < two[1].at
                && two[0].insert <= two[1].insert && two[0].flush <= two[1].flush));
        }
    }
}
