//! What roles are spoken of in.
//!
//! Owns what the decision looks at and what comes out of it. Decides nothing.

use crate::cluster::NodeId;
use crate::cluster::health::Reach;
use crate::cluster::history::History;
use crate::cluster::lsn::Lsn;
use crate::cluster::moment::Moment;
use crate::cluster::report::Report;
use crate::word::word_enum;
use std::time::Duration;

word_enum! {
    /// What the configuration says of a node's role.
    pub FixedRole {
        /// Nothing: it is found out.
        Auto = "auto",
        /// It is the primary, and no other node ever is.
        Primary = "primary",
        /// It never is the primary.
        Replica = "replica",
    }
}

/// What is known of one node.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The node.
    pub node: NodeId,
    /// Its last answer, however old.
    pub report: Option<&'a Report>,
    /// When that was asked for.
    pub heard: Moment,
    /// Whether it answers now.
    pub reach: Reach,
    /// How long it has been down.
    pub is_down_for: Duration,
    /// The history of the timeline of this report, if it could be asked for.
    pub history: Option<&'a History>,
    /// What the configuration says.
    pub fixed: FixedRole,
    /// What `primary_check` says; `None` if it is not set or says nothing.
    pub verdict: Option<bool>,
}

/// What a node counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not answer, or has not yet.
    Unknown,
    /// It holds the office: writes go there.
    Primary,
    /// It is in recovery.
    Replica,
    /// It takes writes and must not get any. Nor is it read from: it goes its own way.
    Fenced,
    /// It belongs to another cluster.
    Refused,
}

/// Why a claim is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Its timeline is lower than one that had the office: a primary that was replaced has returned.
    OldTimeline,
    /// Another node on the same timeline holds the office and answers.
    SameTimeline,
    /// It is on the timeline of the last primary but does not have all that this had written.
    Behind,
    /// Its timeline does not come from that of the last primary.
    Diverged,
    /// Nobody knows where its timeline comes from: the history could not be read, which takes a role
    /// with REPLICATION, and the node was not seen as a replica of the last primary.
    Unproven,
    /// The last primary still answers, and most replicas do not follow the new one.
    Contested,
    /// It was promoted while the primary went on. The primary fails now, and what it wrote meanwhile would be
    /// lost.
    Forked,
    /// More than one node is the primary by hand, or by `primary_check`.
    Several,
    /// The configuration says that it is a replica, but it is not in recovery.
    FixedReplica,
    /// The configuration says that it is the primary, but it is in recovery.
    FixedPrimary,
}

/// Something that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node is one of the cluster's from now on.
    Joined(NodeId),
    /// It is none any more.
    Left(NodeId),
    /// It belongs to another cluster and is not used.
    Refused {
        /// The node.
        node: NodeId,
        /// The system identifier that the cluster has.
        expected: u64,
        /// The one that it has.
        found: u64,
    },
    /// It does not any more.
    Admitted(NodeId),
    /// The node is the primary from now on.
    Promoted {
        /// The node.
        node: NodeId,
        /// Its timeline.
        timeline: u32,
        /// The last primary, if there was one.
        from: Option<NodeId>,
    },
    /// The primary is in recovery now.
    Demoted(NodeId),
    /// There is no primary; this was the last one.
    NoPrimary(NodeId),
    /// The last primary is the primary again.
    Restored(NodeId),
    /// A node claims to be the primary, or should, and is not. An alarm unless the doubt is
    /// [`Doubt::OldTimeline`].
    Disputed {
        /// The node that claims.
        node: NodeId,
        /// Why it is not believed.
        doubt: Doubt,
        /// The primary, if there is one.
        held_by: Option<NodeId>,
    },
    /// No claim is disputed any more.
    Settled,
}

impl Event {
    /// The nodes whose servers were opened for something else than what the nodes are now.
    pub fn changed_nodes(self) -> impl Iterator<Item = NodeId> {
        let [one, other] = match self {
            // The first of all was never anything else.
            Self::Promoted { from: None, .. } => [None, None],
            Self::Promoted { node, from, .. } => [Some(node), from.filter(|from| *from != node)],
            Self::Refused { node, .. } | Self::Demoted(node) | Self::Left(node) => {
                [Some(node), None]
            }
            Self::Joined(_)
            | Self::Admitted(_)
            | Self::NoPrimary(_)
            | Self::Restored(_)
            | Self::Disputed { .. }
            | Self::Settled => [None, None],
        };
        one.into_iter().chain(other)
    }
}

/// Who holds the office, or held it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Held {
    pub(in crate::cluster) node: NodeId,
    pub(in crate::cluster) timeline: u32,
    /// What it had on disk when it was heard of last.
    pub(in crate::cluster) flush: Lsn,
}
