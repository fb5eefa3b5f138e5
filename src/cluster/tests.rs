//! What the tests of this module share.

use super::lsn::{Lsn, WalLayout};
use super::report::{PrimaryStand, ReplicaStand, Report, Stand};

/// The cluster of the tests.
pub(super) const SYSTEM: u64 = 7_713_000_527_004_500_938;

fn report(stand: Stand) -> Report {
    Report { system: SYSTEM, version: 150_018, started: 1, layout: WalLayout::default(), stand }
}

/// A primary says that it is so far.
pub(super) fn primary(timeline: u32, insert: u64, flush: u64) -> Report {
    report(Stand::Primary(PrimaryStand {
        timeline,
        insert: Lsn(insert),
        flush: Lsn(flush),
        is_synchronous: false,
    }))
}

/// A replica says that it is so far.
pub(super) fn replica(timeline: Option<u32>, replayed: u64) -> Report {
    report(Stand::Replica(ReplicaStand {
        timeline,
        replayed: Some(Lsn(replayed)),
        ..ReplicaStand::default()
    }))
}
