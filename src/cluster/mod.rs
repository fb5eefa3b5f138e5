//! The nodes of a cluster: what each of them is, how far it is, and what may be read there.
//!
//! Owns the answers to four questions: which node is the primary, which is well, which replica shows a
//! session what the session may rely on, and which of several serves a read. Pure: moments and random
//! numbers are passed in. Never knows pools, sessions or statements. When it is unsure, a replica is
//! not fresh and a node is not written to.
//!
//! A prober asks [`questions`] when [`health`] says so, reads a [`report`], and tells health, [`roles`], and
//! then the [`primary_log`] or the replica's [`progress`]; once for each database it compares
//! [`features`] by [`difference`]. A session keeps a floor of [`freshness`], makes a demand for a read, and
//! asks it about each candidate of [`choice`], and again about the server that it got. What changes
//! of the primary have cost is in [`failover`].

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod choice;
pub mod difference;
pub mod failover;
pub mod features;
pub mod floors;
pub mod freshness;
pub mod health;
pub mod held_up;
pub mod history;
pub mod last_writes;
pub mod lsn;
mod moment;
mod pace;
pub mod policy;
pub mod primary_log;
pub mod progress;
pub mod questions;
pub mod redirect;
pub mod report;
pub mod roles;
pub mod shared;
#[cfg(test)]
mod simulation;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod urgency;
pub mod waiters;
pub mod waiting;

pub use moment::Moment;

/// A node of the cluster, by its place in the list of all that were ever configured or resolved. A
/// name with two addresses is two nodes. The number of a node that left is not given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);
