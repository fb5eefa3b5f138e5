//! Where a session's next server is taken from.

use crate::cluster::freshness::Demand;
use crate::cluster::progress::Sight;
use crate::cluster::{Moment, NodeId};
use crate::pool::PoolId;

/// What a session has a server for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Writes, and all that only the primary can tell.
    Writes,
    /// Reads, on a replica.
    Reads,
}

/// Where the next server is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The pool.
    pub(super) pool: PoolId,
    /// The node, if there are several.
    pub(super) node: Option<NodeId>,
    /// What has to be true of the server, if the node is a replica.
    pub(super) read: Option<ReadTerms>,
}

impl Target {
    /// What its server is for.
    pub(super) fn purpose(&self) -> Purpose {
        if self.read.is_some() { Purpose::Reads } else { Purpose::Writes }
    }
}

/// A read on a replica: what it has to show, and what the replica showed when it was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadTerms {
    pub(super) demand: Demand,
    pub(super) sight: Sight,
}

impl ReadTerms {
    /// Whether a server of the node that was opened then shows it.
    pub(super) fn are_met(&self, node: NodeId, opened: Moment) -> bool {
        self.demand.is_fresh_on(node, &self.sight, opened)
    }
}
