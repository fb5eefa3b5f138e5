//! Who holds which server, and when.
//!
//! [`core`] decides and [`Pools`] acts: it owns the one lock around the core, wakes who was
//! granted a server, closes what was given up, and queues what has to be opened. Never reads what a
//! server says to a session; what an idle one says is read by the server itself.

pub mod admission;
pub mod core;
mod lease;
mod pools;
mod sweep;

pub use self::core::{
    DatabaseId, Holders, NodeId, Place, PoolId, PoolKey, PoolOptions, PoolSnapshot, ServerSnapshot,
    SlotId, Stand, UserId, WorkerId,
};
pub use lease::{KERNEL_ASKED_AFTER, Lease, Line, Outcome, Refused, Waiter};
pub use pools::{Extras, Pools};

#[cfg(test)]
mod tests;
