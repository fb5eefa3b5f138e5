//! What a database's own objects may do to a session.
//!
//! A text shows only a part of what it does: a view, a trigger, a default, an operator may call a
//! function that sets something or leaves something behind. Owns a *snapshot* for each database: the
//! names that may do so. Most of it is pure: rows of the catalog ([`rows`]) go into a graph
//! ([`graph`]), sources are read by the rules of clients' texts, and what comes out is a
//! [`Snapshot`]. [`Catalog`] is what sessions hold. [`load`] asks a server; when, [`schedule`] says.
//!
//! Never knows pools or sessions. When it is unsure, a name may touch the session.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod ask;
mod extensions;
mod graph;
pub mod load;
mod node_names;
mod queries;
pub mod rows;
pub mod schedule;
mod shared;
mod snapshot;
mod source;
mod standing;

#[cfg(test)]
mod tests;

pub use ask::AskError;
pub use graph::Builder;
pub use shared::{Catalog, CatalogRequests, Newcomers};
pub use snapshot::Snapshot;
