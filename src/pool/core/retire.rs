//! Servers that somebody wants to be gone although they are young and idle.
//!
//! A server at an address that its node's name no longer has is retired: closed now if it is idle,
//! else when it comes back. Idle servers that would keep PostgreSQL from dropping their database are
//! closed, and none is opened in their place for a moment unless a client waits for it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Core;
use super::model::State;
use super::types::{CloseReason, Origin, PoolId, SlotId, Tick};
use super::{ServerHandle, pool_id};

/// Idle servers that are retired in one call, so that their successors do not log in all at once.
const RETIREMENTS_PER_CALL: usize = 16;
/// So long no server is opened that nobody waits for, once somebody wants the database for himself:
/// PostgreSQL's DROP DATABASE waits 5 seconds for others to leave.
const VACANCY: u64 = 6_000_000;

impl<S, F> Core<S, F> {
    /// What the servers of the pool are connected to from now on.
    pub fn set_origin(&mut self, pool: PoolId, origin: Origin) {
        if let Some(record) = self.pools.get_mut(pool.0) {
            record.origin = Some(Arc::new(origin));
        }
    }

    /// Retires each server that `is_meant`: one that is out is closed when it comes back, of those
    /// that are idle a few now and others in later calls. How many were closed. `is_meant` is called
    /// under the lock.
    pub fn retire(&mut self, now: Tick, is_meant: impl Fn(PoolId, &ServerHandle) -> bool) -> usize {
        let mut closing: SmallVec<[u32; RETIREMENTS_PER_CALL]> = SmallVec::new();
        for index in 0..self.slots.bound() {
            if !self.slots.contains(index) {
                continue;
            }
            let slot = self.slots.at_mut(index);
            let pool = pool_id(&self.pools, slot.pool);
            if !slot.handle.as_ref().is_some_and(|handle| is_meant(pool, handle)) {
                continue;
            }
            slot.is_retired = true;
            if matches!(slot.state, State::Idle(_)) && closing.len() < RETIREMENTS_PER_CALL {
                closing.push(index);
            }
        }
        for &index in &closing {
            let pool = self.slots.at(index).pool;
            let shares = self.pools.at(pool).shares;
            self.drop_idle(index, CloseReason::Obsolete);
            self.refill(pool, shares, now);
        }
        closing.len()
    }

    /// Closes the idle servers of every pool that are connected to this database, on this node if one
    /// is given, and opens none for a few seconds but for clients that wait. How many were closed.
    pub fn vacate(&mut self, database: &str, node: Option<&str>, now: Tick) -> usize {
        let is_meant = |origin: &Origin| {
            *origin.database == *database && node.is_none_or(|node| *origin.node == *node)
        };
        let pools = self.pools.iter();
        let meant = pools.filter(|(_, pool)| pool.origin.as_deref().is_some_and(is_meant));
        let meant: Vec<u32> = meant.map(|(index, _)| index).collect();
        let mut closed = 0;
        for pool in meant {
            let record = self.pools.at_mut(pool);
            record.no_spare_before = now.after(VACANCY);
            closed += record.counts.idle as usize;
            let (shares, spare) = (record.shares, record.counts.waiting == 0);
            if spare && record.counts.opening_shared > 0 {
                self.retire_openings(pool);
            }
            self.drop_all_idle(pool, CloseReason::Vacated);
            self.refill(pool, shares, now);
        }
        closed
    }

    /// Servers that are being opened without a waiter do not become idle.
    fn retire_openings(&mut self, pool: u32) {
        for index in 0..self.slots.bound() {
            if self.slots.contains(index) {
                let slot = self.slots.at_mut(index);
                slot.is_retired |= slot.pool == pool && matches!(slot.state, State::Opening { .. });
            }
        }
    }

    /// Whether the server is closed as soon as it is free.
    #[must_use]
    pub fn is_retired(&self, slot: SlotId) -> bool {
        self.slots.get(slot.0).is_some_and(|slot| slot.is_retired)
    }
}
