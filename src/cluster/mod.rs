//! The nodes of a cluster: what each of them is, how far it is, and what may be read there.
//!
//! Owns the answers to four questions. Which node is the primary ([`roles`])? Which node is well
//! ([`health`])? Which replica shows a session what the session may rely on ([`primary_log`],
//! [`progress`], [`freshness`])? Which of several nodes serves a read ([`choice`])? [`questions`]
//! says what a node is asked, and [`report`] and [`features`] what it answers.
//!
//! Pure: a prober asks, sessions and the console look. Moments and random numbers are passed in.
//! Never knows pools, sessions or statements. When it is unsure, a replica is not fresh and a node
//! is not written to.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod choice;
pub mod difference;
pub mod failover;
pub mod features;
pub mod floors;
pub mod freshness;
pub mod health;
pub mod history;
pub mod lsn;
mod moment;
mod pace;
pub mod primary_log;
pub mod progress;
pub mod questions;
pub mod redirect;
pub mod report;
pub mod roles;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use moment::Moment;

/// A node of the cluster, by its place in the list of all that were ever configured or resolved. A
/// name with two addresses is two nodes. The number of a node that left is not given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);
