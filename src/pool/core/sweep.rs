//! Idle servers that have something to say, which may be that they are gone.
//!
//! No task waits for the socket of an idle server. The sweep asks each idle server in turn whether
//! there is anything to read. It takes those servers out and reads them without the lock.

use smallvec::SmallVec;

use super::model::State;
use super::types::{Place, Ready, Tick};
use super::{Core, SlotId};

/// Slots passed in one call, so that the lock is held briefly.
const SLOTS_PER_CALL: u32 = 64;
/// A server that came back more recently is not asked: the next session that takes it looks at it
/// anyway.
const SETTLED: u64 = 1_000_000;

impl<S, F> Core<S, F> {
    /// How many calls of [`Core::suspects`] pass all slots once.
    #[must_use]
    pub fn calls_per_sweep(&self) -> u32 {
        self.slots.bound().div_ceil(SLOTS_PER_CALL)
    }

    /// Goes on with the sweep: the idle servers among the next few slots of which `has_spoken` says
    /// so. They are leased from here on; each must be put back, at the worker it was registered
    /// with, or discarded. `has_spoken` is called under the lock and must only look.
    pub fn suspects(
        &mut self,
        now: Tick,
        mut has_spoken: impl FnMut(&S) -> bool,
    ) -> SmallVec<[Ready<S>; 4]> {
        let mut suspects = SmallVec::new();
        let bound = self.slots.bound();
        for _ in 0..SLOTS_PER_CALL.min(bound) {
            let index = self.sweep_from % bound;
            self.sweep_from = (index + 1) % bound;
            if !self.slots.contains(index) {
                continue;
            }
            let slot = self.slots.at(index);
            let State::Idle(server) = &slot.state else { continue };
            if now.since(slot.since) < SETTLED || !has_spoken(server) {
                continue;
            }
            let (home, idle_since, pool) = (slot.home, slot.since, slot.pool);
            let id = SlotId(self.slots.key(index));
            let Some(server) = self.pop_idle(index) else { continue };
            self.slots.at_mut(index).since = now;
            self.pools.at_mut(pool).counts.leased += 1;
            let place = Place::default();
            suspects.push(Ready { slot: id, server, was_home: home, idle_since, place });
        }
        suspects
    }
}
