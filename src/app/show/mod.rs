//! What SHOW shows, from counters, cards and the pools' own counts. The page and `/metrics` read it too.

mod figures;
mod lists;
mod memory;
mod sockets;
mod source;
mod statements;
mod views;

pub(super) use source::{Row, cards, snapshots};
pub(super) use views::rows;
