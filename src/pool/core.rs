//! The core of the pool: who holds which server, who waits, and when a server is opened or closed.
//!
//! Owns every pool of the process, since limits are shared between pools; it sits behind one short
//! lock. A server is opening, idle, granted (handed to a waiter that has not taken it yet) or leased,
//! and is counted from the moment its opening is ordered until it is gone.
//!
//! Never waits, reads a clock, or touches a socket: moments are passed in, and what is to be woken,
//! closed or opened is collected in [`Effects`] for the caller to do after it let go of the lock.
//!
//! Keeps: opening + idle + granted + leased = servers of the pool, their sums within the limits of
//! database and user; a pool that serves has no idle server while a client waits for one; each
//! worker's line is first come, first served. [`Core::check`] proves it in tests.
//!
//! This file hands servers over. `open`: openings and limits; `manage`: adding and removing pools;
//! `upkeep`: age and idleness; `retire`: servers that are
//! closed before their time; `sweep`: idle servers that have something to say; `look`: what a console
//! sees of each; `check`: the proof.

mod arena;
mod backoff;
mod fuzz;
mod invariants;
mod look;
mod manage;
mod model;
mod open;
mod pin_counts;
mod pins;
mod retire;
mod sweep;
mod types;
mod upkeep;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use slab::Slab;

use crate::backend::server_handle::ServerHandle;

use arena::Arena;
use backoff::Jitter;
#[doc(hidden)]
pub use fuzz::fuzz_ops;
pub use look::{ServerSnapshot, Stand};
use model::{Phase, Pool, Share, ShareKey, Slot, State, Waiter, Waiting, pool_id};
pub use pins::Holders;
pub use types::{
    At, Checkout, CloseReason, Closing, DatabaseId, Effects, FailureClass, Kind, NodeId, Opening,
    Origin, Place, Placed, PoolId, PoolKey, PoolOptions, PoolSnapshot, PoolStats, Ready, Refusal,
    Request, SlotId, Tick, UserId, Wait, WaiterId, WorkerId,
};

/// A server that comes back goes to another worker's line only if somebody there has waited this
/// much longer: moving a socket between workers costs more than a short unfairness.
const MIGRATION_PATIENCE: u64 = 2_000;

/// Servers of a pool are retired for their age at least this far apart, so that their successors do
/// not log in all at once.
const RETIREMENT_SPACING: u64 = 100_000;
/// A lifetime so short that every server is used once: such retirements are not spread.
const USED_ONCE: u64 = 1;

/// All pools of the process. `S` is a server at rest, `F` the failure told to those who waited.
#[derive(Debug)]
pub struct Core<S, F> {
    workers: u8,
    pools: Arena<Pool<F>>,
    slots: Arena<Slot<S>>,
    waiters: Arena<Waiter<F>>,
    shares: Slab<Share>,
    by_key: HashMap<PoolKey, PoolId>,
    shares_by_key: HashMap<ShareKey, usize>,
    effects: Effects<S>,
    /// Pools of which somebody is to be told that clients keep all their servers.
    held_pools: Vec<PoolId>,
    jitter: Jitter,
    next_sequence: u64,
    /// Where the next round of upkeep begins.
    upkeep_from: u32,
    /// Where the sweep of idle servers goes on.
    sweep_from: u32,
}

impl<S, F> Core<S, F> {
    /// A core without pools, for workers numbered from 0 to `workers` - 1 (at least one). Operations
    /// panic when given a worker outside this range.
    #[must_use]
    pub fn new(workers: u8, seed: u64) -> Self {
        Self {
            workers: workers.max(1),
            pools: Arena::default(),
            slots: Arena::default(),
            waiters: Arena::default(),
            shares: Slab::new(),
            by_key: HashMap::new(),
            shares_by_key: HashMap::new(),
            effects: Effects::default(),
            held_pools: Vec::new(),
            jitter: Jitter::new(seed),
            next_sequence: 0,
            upkeep_from: 0,
            sweep_from: 0,
        }
    }

    /// Whether operations left something to do.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// What operations left to do since the last call. To be carried out without the lock: wakers
    /// run foreign code, and closing a TLS connection may block.
    #[must_use = "waiters are not woken and servers not opened or closed until the effects are run"]
    pub fn take_effects(&mut self) -> Effects<S> {
        mem::take(&mut self.effects)
    }

    /// Asks for a server. The preferred one comes first, then an idle one of the same worker, then
    /// another worker's; the one used last is taken, so that those not needed grow old. Clients do not overtake: a client
    /// that finds others waiting joins the line. A client that asks again because its server was
    /// dead keeps its place.
    pub fn checkout(
        &mut self,
        pool: PoolId,
        request: impl Into<Request>,
        at: At,
        waker: &Waker,
    ) -> Checkout<S, F> {
        let request = request.into();
        let place = request.place.unwrap_or_else(|| self.new_place(at.now));
        let Some(record) = self.pools.get_mut(pool.0) else {
            return Checkout::Refused(Refusal::Removed);
        };
        record.last_used = Some(at.now);
        match (record.phase, request.kind) {
            (Phase::Removed, _) => return Checkout::Refused(Refusal::Removed),
            (Phase::Serving, Kind::Shared) if record.counts.waiting == 0 => {
                if let Some(ready) = self.take_idle(pool.0.index, request.preferred, at, place) {
                    return Checkout::Ready(ready);
                }
            }
            (Phase::Serving | Phase::Paused, Kind::Shared | Kind::Dedicated) => {}
        }
        let record = self.pools.at(pool.0.index);
        if record.refuses(request, at.now)
            && let Some(failed) = record.backoff(request.kind).last()
        {
            return Checkout::Refused(Refusal::Failing(Arc::clone(&failed.failure)));
        }
        let waiter = self.join_line(Waiter {
            pool: pool.0.index,
            worker: at.worker,
            kind: request.kind,
            place,
            is_back: request.place.is_some(),
            waker: Some(waker.clone()),
            state: Waiting::InLine,
        });
        self.settle(pool.0.index, at.now);
        self.record_held(pool.0.index, at.now);
        Checkout::Waiting(waiter)
    }

    /// A place among all who ask for servers, of somebody who does not know yet where.
    pub fn new_place(&mut self, now: Tick) -> Place {
        self.next_sequence += 1;
        Place { sequence: self.next_sequence, since: now }
    }

    /// The place of somebody who is in line.
    #[must_use]
    pub fn place_of(&self, waiter: WaiterId) -> Option<Place> {
        self.waiters.get(waiter.0).map(|waiter| waiter.place)
    }

    /// Has the waiter's turn come? Any answer but pending ends the wait and forgets the waiter. `now`
    /// is asked for if it has.
    pub fn poll_wait(
        &mut self,
        waiter: WaiterId,
        waker: &Waker,
        now: impl FnOnce() -> Tick,
    ) -> Wait<S, F> {
        let Some(record) = self.waiters.get_mut(waiter.0) else {
            return Wait::Refused(Refusal::Answered);
        };
        if matches!(record.state, Waiting::InLine | Waiting::Opening(_)) {
            match &mut record.waker {
                Some(known) if known.will_wake(waker) => {}
                slot => *slot = Some(waker.clone()),
            }
            return Wait::Pending;
        }
        let (worker, place) = (record.worker, record.place);
        match self.waiters.remove(waiter.0.index).map(|waiter| waiter.state) {
            Some(Waiting::Granted(slot)) => {
                match self.pick_up(slot, At { worker, now: now() }, place) {
                    Some(ready) => Wait::Ready(ready),
                    None => Wait::Refused(Refusal::Answered),
                }
            }
            Some(Waiting::Refused(refusal)) => Wait::Refused(refusal),
            Some(Waiting::InLine | Waiting::Opening(_)) | None => Wait::Refused(Refusal::Answered),
        }
    }

    /// The waiter gives up, at any instant. A server granted to it goes to the next in line. Does
    /// nothing for a waiter that has had its answer.
    pub fn leave(&mut self, waiter: WaiterId, now: Tick) {
        let Some(record) = self.waiters.get(waiter.0) else { return };
        match record.state {
            Waiting::InLine => self.leave_line(waiter.0.index),
            Waiting::Opening(slot) => {
                if let Some(slot) = self.slots.get_mut(slot.0) {
                    slot.state = State::Opening { waiter: None };
                }
            }
            Waiting::Granted(slot) => self.pass_on(slot, now),
            Waiting::Refused(_) => {}
        }
        self.waiters.remove(waiter.0.index);
    }

    /// Gives a server back that is at rest, at the worker its socket is registered with.
    pub fn put_back(&mut self, slot: SlotId, server: S, at: At) -> Placed<S> {
        let Some(record) = self.slots.get(slot.0) else {
            return Placed::Close(server, CloseReason::Unknown);
        };
        if !matches!(record.state, State::Leased) {
            return Placed::Close(server, CloseReason::Unknown);
        }
        self.end_lease(slot, at.now);
        self.place(slot, server, at)
    }

    /// The leased server is gone, or the opening is given up (without blaming the node): the slot
    /// is free. False if there was no such lease or opening.
    pub fn discard(&mut self, slot: SlotId, now: Tick) -> bool {
        let Some(record) = self.slots.get(slot.0) else { return false };
        match record.state {
            State::Leased => self.end_lease(slot, now),
            State::Opening { waiter } => {
                self.end_opening(slot);
                if let Some(waiter) = waiter {
                    self.rejoin_line(waiter);
                }
            }
            State::Idle(_) | State::Granted(..) => return false,
        }
        self.release(slot, now);
        true
    }

    /// Hands a rested server to a waiter or to the idle list, or retires it. The slot is counted in
    /// no state when this is called.
    fn place(&mut self, id: SlotId, server: S, at: At) -> Placed<S> {
        let slot = self.slots.at_mut(id.0.index);
        slot.home = at.worker;
        slot.since = at.now;
        let pool = slot.pool;
        if let Some(reason) = self.retirement(id, at.now) {
            self.release(id, at.now);
            return Placed::Close(server, reason);
        }
        let record = self.pools.at(pool);
        let is_vacated = at.now < record.no_spare_before;
        if record.counts.waiting > 0
            && record.phase == Phase::Serving
            && let Some(waiter) = self.next_waiter(pool, at.worker)
        {
            self.leave_line(waiter);
            self.grant(id, server, waiter);
            return Placed::Handed;
        }
        if is_vacated {
            self.release(id, at.now);
            return Placed::Close(server, CloseReason::Vacated);
        }
        self.push_idle(id, server);
        self.offer_to_shares(pool, at.now);
        Placed::Idle
    }

    /// The head of this worker's line, unless another worker's has waited much longer.
    fn next_waiter(&self, pool: u32, worker: WorkerId) -> Option<u32> {
        let record = self.pools.at(pool);
        if let [only] = &record.lines[..] {
            return only.waiting.first();
        }
        let oldest = record.oldest_shared(&self.waiters)?;
        let Some(own) = record.lines[usize::from(worker.0)].waiting.first() else {
            return Some(oldest);
        };
        let (own_since, oldest_since) =
            (self.waiters.at(own).place.since, self.waiters.at(oldest).place.since);
        Some(if own_since.since(oldest_since) > MIGRATION_PATIENCE { oldest } else { own })
    }

    /// Why this server may not be used again, if so.
    fn retirement(&mut self, id: SlotId, now: Tick) -> Option<CloseReason> {
        let slot = self.slots.at(id.0.index);
        let pool = self.pools.at(slot.pool);
        if pool.phase == Phase::Removed {
            return Some(CloseReason::PoolRemoved);
        }
        if slot.epoch != pool.epoch {
            return Some(CloseReason::Reconnect);
        }
        if slot.is_retired {
            return Some(CloseReason::Obsolete);
        }
        if slot.dedicated {
            return Some(CloseReason::Dedicated);
        }
        if self.excess(slot.pool, 1) > 0 {
            return Some(CloseReason::OverLimit);
        }
        if self.is_expired(id.0.index, now) {
            let spaced = now.after(RETIREMENT_SPACING);
            self.pools.at_mut(self.slots.at(id.0.index).pool).next_retirement = spaced;
            return Some(CloseReason::Lifetime);
        }
        let pool = slot.pool;
        self.owes_its_server(pool, now).then_some(CloseReason::Evicted)
    }

    /// Is the server past its lifetime, and may one be retired now? While openings fail no server
    /// is: it might be the last for a while.
    fn is_expired(&self, slot: u32, now: Tick) -> bool {
        let slot = self.slots.at(slot);
        let pool = self.pools.at(slot.pool);
        let lifetime = pool.rules.lifetime;
        lifetime != 0
            && now.since(slot.born).saturating_mul(1000)
                >= lifetime.saturating_mul(u64::from(slot.lifetime_permille))
            && (lifetime <= USED_ONCE || now >= pool.next_retirement)
            && pool.backoff.failures() == 0
    }

    /// By how many servers the pool, or what it shares, is over the limit. `in_hand` of them are
    /// counted in no state just now.
    fn excess(&self, pool: u32, in_hand: u32) -> u32 {
        let pool = self.pools.at(pool);
        let own = (pool.counts.servers() + in_hand).saturating_sub(pool.rules.most());
        pool.shares
            .iter()
            .map(|&share| &self.shares[share])
            .map(|share| share.servers.saturating_sub(share.limit))
            .fold(own, u32::max)
    }

    fn take_idle(
        &mut self,
        pool: u32,
        preferred: Option<SlotId>,
        at: At,
        place: Place,
    ) -> Option<Ready<S>> {
        if self.pools.at(pool).counts.idle == 0 {
            return None;
        }
        let (slot, server) = match preferred.filter(|&slot| self.is_idle_in(slot, pool)) {
            Some(slot) => (slot, self.pop_idle(slot.0.index)?),
            None => self.idle_for(pool, at.worker)?,
        };
        Some(self.lease(slot, server, at, place))
    }

    fn is_idle_in(&self, slot: SlotId, pool: u32) -> bool {
        let slot = self.slots.get(slot.0);
        slot.is_some_and(|slot| slot.pool == pool && matches!(slot.state, State::Idle(_)))
    }

    /// The idle server this worker should use: its own used last, else one of the worker that has
    /// most. It is counted in no state afterwards.
    fn idle_for(&mut self, pool: u32, worker: WorkerId) -> Option<(SlotId, S)> {
        let record = self.pools.at_mut(pool);
        let index = match record.line(worker).idle.last() {
            Some(index) => index,
            None => record.lines.iter().max_by_key(|line| line.idle.len())?.idle.last()?,
        };
        let slot = SlotId(self.slots.key(index));
        Some((slot, self.pop_idle(index)?))
    }

    /// Takes a slot out of the idle list; it is counted in no state afterwards.
    fn pop_idle(&mut self, index: u32) -> Option<S> {
        let slot = self.slots.at_mut(index);
        let State::Idle(server) = mem::replace(&mut slot.state, State::Leased) else {
            return None;
        };
        let pool = self.pools.at_mut(slot.pool);
        let home = slot.home;
        self.slots.unlink(&mut pool.line(home).idle, index);
        pool.counts.idle -= 1;
        for share in pool.shares {
            self.shares[share].idle -= 1;
        }
        Some(server)
    }

    fn push_idle(&mut self, id: SlotId, server: S) {
        let slot = self.slots.at_mut(id.0.index);
        slot.state = State::Idle(server);
        let home = slot.home;
        let pool = self.pools.at_mut(slot.pool);
        self.slots.push_back(&mut pool.line(home).idle, id.0.index);
        pool.counts.idle += 1;
        for share in pool.shares {
            self.shares[share].idle += 1;
        }
    }

    /// From no state to leased.
    fn lease(&mut self, id: SlotId, server: S, at: At, place: Place) -> Ready<S> {
        let slot = self.slots.at_mut(id.0.index);
        slot.state = State::Leased;
        let was_home = mem::replace(&mut slot.home, at.worker);
        let idle_since = mem::replace(&mut slot.since, at.now);
        let pool = self.pools.at_mut(slot.pool);
        pool.counts.leased += 1;
        pool.stats.checkouts += 1;
        pool.stats.migrations += u64::from(was_home != at.worker);
        Ready { slot: id, server, was_home, idle_since, place }
    }

    /// From no state to granted.
    fn grant(&mut self, id: SlotId, server: S, waiter: u32) {
        let key = WaiterId(self.waiters.key(waiter));
        let slot = self.slots.at_mut(id.0.index);
        slot.state = State::Granted(server, key);
        self.pools.at_mut(slot.pool).counts.granted += 1;
        let waiter = self.waiters.at_mut(waiter);
        waiter.state = Waiting::Granted(id);
        if let Some(waker) = waiter.waker.take() {
            self.effects.wakes.push(waker);
        }
    }

    /// From granted to no state.
    fn ungrant(&mut self, id: SlotId) -> Option<S> {
        let slot = self.slots.get_mut(id.0)?;
        let State::Granted(server, _) = mem::replace(&mut slot.state, State::Leased) else {
            return None;
        };
        self.pools.at_mut(slot.pool).counts.granted -= 1;
        Some(server)
    }

    fn pick_up(&mut self, id: SlotId, at: At, place: Place) -> Option<Ready<S>> {
        let server = self.ungrant(id)?;
        Some(self.lease(id, server, at, place))
    }

    /// A granted server that was not wanted after all goes on to the next.
    fn pass_on(&mut self, id: SlotId, now: Tick) {
        let Some(server) = self.ungrant(id) else { return };
        let slot = self.slots.at(id.0.index);
        let (home, pool) = (slot.home, pool_id(&self.pools, slot.pool));
        match self.place(id, server, At { worker: home, now }) {
            Placed::Handed | Placed::Idle => {}
            Placed::Close(server, reason) => {
                self.effects.closes.push(Closing { server, pool, home, reason });
            }
        }
    }

    /// Puts a waiter into its line: at the end, or, with a place that it had before, in front of all
    /// who came later.
    fn join_line(&mut self, waiter: Waiter<F>) -> WaiterId {
        let (pool, worker, kind) = (waiter.pool, waiter.worker, waiter.kind);
        let (place, is_back) = (waiter.place, waiter.is_back);
        let key = self.waiters.insert(waiter);
        let record = self.pools.at_mut(pool);
        record.counts.waiting += u32::from(kind == Kind::Shared);
        let list = match kind {
            Kind::Shared => &mut record.line(worker).waiting,
            Kind::Dedicated => &mut record.dedicated,
        };
        // Only those who are back themselves came earlier: the walk is short.
        let later = |&other: &u32| self.waiters.at(other).place > place;
        let next = if is_back { self.waiters.walk(list).find(later) } else { None };
        match next {
            Some(next) => self.waiters.insert_before(list, key.index, next),
            None => self.waiters.push_back(list, key.index),
        }
        for share in record.shares {
            self.shares[share].waiting += 1;
        }
        WaiterId(key)
    }

    fn leave_line(&mut self, waiter: u32) {
        let record = self.waiters.at(waiter);
        let (worker, kind) = (record.worker, record.kind);
        let pool = self.pools.at_mut(record.pool);
        match kind {
            Kind::Shared => {
                self.waiters.unlink(&mut pool.line(worker).waiting, waiter);
                pool.counts.waiting -= 1;
            }
            Kind::Dedicated => self.waiters.unlink(&mut pool.dedicated, waiter),
        }
        for share in pool.shares {
            self.shares[share].waiting -= 1;
        }
    }

    /// A waiter whose dedicated opening came to nothing is first in line again.
    fn rejoin_line(&mut self, waiter: WaiterId) {
        let Some(record) = self.waiters.get_mut(waiter.0) else { return };
        record.state = Waiting::InLine;
        let pool = self.pools.at_mut(record.pool);
        self.waiters.push_front(&mut pool.dedicated, waiter.0.index);
        for share in pool.shares {
            self.shares[share].waiting += 1;
        }
    }
}

#[cfg(test)]
mod tests;
