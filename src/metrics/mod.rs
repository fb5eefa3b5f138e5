//! Counting what happens, cheaply enough to count everything.
//!
//! A cell is written by one thread and read by any: plain loads and stores, no locked instruction.
//! The reader adds up the cells of all threads. What happens seldom is counted by the `metrics` crate, whose
//! recorder is [`Registry`]. This module does not know its users.

pub mod counted;
mod events;
mod histogram;
mod kinds;
mod queries;
mod registry;
mod traffic;

pub use events::{EVENTS_MAX, Event, EventKind, Events};
pub use histogram::{BUCKETS, Distribution, Histogram};
pub use kinds::KindCounts;
pub use queries::{Cost, Queries, QueryTotals, Recorder, Run, fingerprint};
pub use registry::{Family, Reading, Registry};
pub use traffic::{PoolTraffic, Totals, Traffic};

use std::sync::atomic::{AtomicU64, Ordering};

/// A figure that one thread writes and any reads.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds to it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Makes it at least this.
    #[inline]
    pub fn raise(&self, n: u64) {
        if n > self.get() {
            self.0.store(n, Ordering::Relaxed);
        }
    }

    /// Makes it this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Its value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
