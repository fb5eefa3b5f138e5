//! The servers of a session that has one of the primary and one of a replica.
//!
//! In session mode, where reads go to replicas, a session takes each of the two when it is first needed, and
//! keeps it until its client leaves. Owns the servers that the session does not use at the moment: they are
//! at rest, and nothing of the session is there that is not known here, so that either of them can be
//! replaced. Never takes a server from a pool, and never reads one.

use super::route::{Mode, Options};
use super::target::Purpose;
use crate::cluster::NodeId;
use crate::cluster::shared::View;
use crate::pool::Lease;
use crate::pool::core::Tick;
use std::time::Duration;

/// How long a read waits for a replica's server that is being opened for it. The primary's is there.
pub(super) const OPENING_MAX: Duration = Duration::from_millis(500);
/// How long a session that has waited in vain takes a replica's server only if it is there at once.
const IMPATIENT: Duration = Duration::from_secs(1);

/// Which servers a session keeps until its client leaves. Decided when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// What its pool mode says: one or none.
    ByMode,
    /// One of the primary and one of a replica.
    Each {
        /// The node of the replica's server that it has aside.
        replica: Option<NodeId>,
    },
}

impl Keeping {
    /// Of a session that begins now.
    pub(super) fn of(options: &Options, is_dedicated: bool) -> Self {
        if options.mode == Mode::Session && options.routing.is_on() && !is_dedicated {
            Self::Each { replica: None }
        } else {
            Self::ByMode
        }
    }

    /// Whether it keeps two.
    pub(super) fn is_each(self) -> bool {
        matches!(self, Self::Each { .. })
    }

    /// The only node that may serve its reads: the one whose server it has, as long as that serves any.
    pub(super) fn only_replica(self, view: &View) -> Option<NodeId> {
        let Self::Each { replica: Some(node) } = self else { return None };
        let one = view.nodes.get(usize::try_from(node.0).ok()?)?;
        (one.is_replica && one.may_read && !one.is_suspect && one.weight > 0).then_some(node)
    }
}

/// A server that the session does not use now.
#[derive(Debug)]
pub(super) struct Aside {
    pub(super) lease: Lease,
    pub(super) node: Option<NodeId>,
    /// Since when.
    pub(super) since: Tick,
}

/// The servers that a session has aside.
#[derive(Debug, Default)]
pub(super) struct Kept {
    primary: Option<Aside>,
    replica: Option<Aside>,
    /// Until then a replica's server is not waited for.
    impatient_until: Tick,
}

impl Kept {
    fn place(&mut self, purpose: Purpose) -> &mut Option<Aside> {
        match purpose {
            Purpose::Writes => &mut self.primary,
            Purpose::Reads => &mut self.replica,
        }
    }

    /// Takes this one.
    pub(super) fn take(&mut self, purpose: Purpose) -> Option<Aside> {
        self.place(purpose).take()
    }

    /// Puts this one aside. The place is free: it was taken from there, or there was none.
    pub(super) fn put(&mut self, purpose: Purpose, aside: Aside) {
        debug_assert!(self.place(purpose).is_none(), "one of each");
        *self.place(purpose) = Some(aside);
    }

    /// All of them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Aside> {
        [self.primary.take(), self.replica.take()].into_iter().flatten()
    }

    /// A replica's server was waited for in vain.
    pub(super) fn record_miss(&mut self, now: Tick) {
        self.impatient_until = now.after(IMPATIENT.as_micros().try_into().unwrap_or(u64::MAX));
    }

    /// Whether a replica's server is waited for, which `is_coming` if one is being opened for each who waits
    /// there. Who has a server of the primary never waits for one that another session has to give up:
    /// that session may wait for the primary.
    pub(super) fn waits(&self, now: Tick, is_coming: bool) -> bool {
        is_coming && now >= self.impatient_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::shared::NodeView;

    fn view(change: impl Fn(&mut NodeView)) -> View {
        let mut replica =
            NodeView { is_replica: true, may_read: true, weight: 1, ..NodeView::default() };
        change(&mut replica);
        View {
            primary: Some(NodeId(0)),
            timeline: Some(1),
            catch_up: None,
            nodes: [NodeView::default(), replica].into(),
        }
    }

    #[test]
    fn a_session_stays_with_its_replica_as_long_as_that_serves_reads() {
        let has = Keeping::Each { replica: Some(NodeId(1)) };
        assert_eq!(has.only_replica(&view(|_| {})), Some(NodeId(1)));
        assert_eq!(has.only_replica(&view(|node| node.may_read = false)), None);
        assert_eq!(has.only_replica(&view(|node| node.is_replica = false)), None);
        assert_eq!(has.only_replica(&view(|node| node.is_suspect = true)), None);
        assert_eq!(has.only_replica(&view(|node| node.weight = 0)), None);
        assert_eq!(has.only_replica(&View::default()), None);
        assert_eq!(Keeping::Each { replica: None }.only_replica(&view(|_| {})), None);
        assert_eq!(Keeping::ByMode.only_replica(&view(|_| {})), None);
    }

    #[test]
    fn nobody_waits_for_a_server_that_another_session_has() {
        let mut kept = Kept::default();
        assert!(kept.waits(Tick(0), true));
        assert!(!kept.waits(Tick(0), false));
        kept.record_miss(Tick(1_000));
        assert!(!kept.waits(Tick(1_000_999), true));
        assert!(kept.waits(Tick(1_001_000), true));
    }
}
