//! The rows of SHOW, from counters, handles and the pools' own counts. The page and `/metrics` read
//! it too.

mod advice;
mod figures;
mod inputs;
mod lists;
mod memory;
mod nodes;
mod queries_and_events;
mod sockets;
mod view_rows;

pub(super) use inputs::{Row, handles, snapshots};
pub(super) use nodes::{Node, nodes};
pub(super) use view_rows::rows;
