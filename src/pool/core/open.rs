//! When a server is opened, for whom, and who has to make room for it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Core;
use super::backoff::{Failed, Pause};
use super::model::{Phase, Pool, Share, Slot, State, Waiting, pool_id};
use super::types::{
    At, CloseReason, Closing, FailureClass, Kind, Opening, Placed, Refusal, SlotId, Tick, WaiterId,
};

/// Whom the next opening of a pool is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) since: Tick,
    pub(super) waiter: u32,
    pub(super) kind: Kind,
}

impl<S, F> Core<S, F> {
    /// A server was opened and is at rest. It counts as the worker's own from here on.
    pub fn opened(&mut self, slot: SlotId, server: S, at: At) -> Placed<S> {
        let Some(record) = self.slots.get_mut(slot.0) else {
            return Placed::Close(server, CloseReason::Unknown);
        };
        let State::Opening { waiter } = record.state else {
            return Placed::Close(server, CloseReason::Unknown);
        };
        let (pool, dedicated, epoch) = (record.pool, record.dedicated, record.epoch);
        self.end_opening(slot);
        let record = self.slots.at_mut(slot.0.index);
        record.born = at.now;
        record.since = at.now;
        record.home = at.worker;
        let record = self.pools.at_mut(pool);
        if record.epoch == epoch {
            let backoff =
                if dedicated { &mut record.dedicated_backoff } else { &mut record.backoff };
            backoff.succeed();
            record.ramp = record.ramp.saturating_mul(2).min(record.rules.parallel);
        }
        let current = record.epoch == epoch;
        if let (Some(waiter), true) = (waiter, current) {
            self.grant(slot, server, waiter.0.index);
            self.settle(pool, at.now);
            return Placed::Handed;
        }
        if let Some(waiter) = waiter {
            self.rejoin_line(waiter);
        }
        let placed = self.place(slot, server, at);
        self.settle(pool, at.now);
        placed
    }

    /// An opening failed. Starts or prolongs the pool's pause. If no server of the pool works, the others in
    /// flight have ended too, and the failure lasts, all its waiters are refused with it; a dedicated opening
    /// concerns its own waiter only. A client that waits for another reason goes on waiting. The waiter
    /// itself decides how long.
    pub fn open_failed(&mut self, slot: SlotId, failure: Arc<F>, class: FailureClass, now: Tick) {
        let Some(record) = self.slots.get(slot.0) else { return };
        let State::Opening { waiter } = record.state else { return };
        let (pool, born, dedicated) = (record.pool, record.born, record.dedicated);
        // An old epoch's address or password says nothing about today's.
        let current = record.epoch == self.pools.at(pool).epoch;
        self.end_opening(slot);
        let permille = self.jitter.permille();
        let record = self.pools.at_mut(pool);
        record.stats.failures += 1;
        let pause = Pause { now, retry: record.rules.login_retry, permille };
        let failed = Failed { failure: Arc::clone(&failure), class };
        match (current, dedicated, class) {
            (false, _, _) | (true, true, FailureClass::Lasting) => {}
            (true, true, FailureClass::Passing | FailureClass::Unreachable) => {
                record.dedicated_backoff.fail(failed, born, pause);
            }
            (true, false, _) => {
                record.backoff.fail(failed, born, pause);
                record.ramp = 1;
            }
        }
        match waiter {
            Some(waiter) if current && class == FailureClass::Lasting => {
                self.refuse(waiter.0.index, Refusal::Failing(failure));
            }
            Some(waiter) => self.rejoin_line(waiter),
            None => {}
        }
        self.release(slot, now);
    }

    /// From opening to no state.
    pub(super) fn end_opening(&mut self, id: SlotId) {
        let slot = self.slots.at_mut(id.0.index);
        slot.state = State::Leased;
        let (home, pool) = (slot.home, self.pools.at_mut(slot.pool));
        if slot.dedicated {
            pool.counts.opening_dedicated -= 1;
        } else {
            pool.counts.opening_shared -= 1;
            pool.line(home).opening -= 1;
        }
    }

    /// Frees a slot that is counted in no state, and its pool if it was the last of a removed one.
    pub(super) fn free(&mut self, id: SlotId) {
        let Some(slot) = self.slots.remove(id.0.index) else { return };
        let pool = self.pools.at(slot.pool);
        for share in pool.shares {
            self.shares[share].servers -= 1;
        }
        if pool.phase == Phase::Removed && pool.counts.servers() == 0 {
            self.forget_pool(slot.pool);
        }
    }

    /// Frees a slot that is counted in no state; the pools that share the room it had are served by
    /// age, then its own pool.
    pub(super) fn release(&mut self, id: SlotId, now: Tick) {
        let pool = self.slots.at(id.0.index).pool;
        let shares = self.pools.at(pool).shares;
        self.free(id);
        self.refill(pool, shares, now);
    }

    /// Room came free in a pool, which may be gone by now, and with it its shares.
    pub(super) fn refill(&mut self, pool: u32, shares: [usize; 2], now: Tick) {
        for share in shares {
            if self.shares.get(share).is_some_and(Share::is_contended) {
                self.open_for_share(share, now);
            }
        }
        self.settle(pool, now);
    }

    /// Lets pools that share a limit with this one use what came free or idle.
    pub(super) fn offer_to_shares(&mut self, pool: u32, now: Tick) {
        for share in self.pools.at(pool).shares {
            if self.shares[share].is_contended() {
                self.open_for_share(share, now);
            }
        }
    }

    /// Opens for the pools of a share, the one whose waiter is oldest first, while there is room.
    pub(super) fn open_for_share(&mut self, share: usize, now: Tick) {
        let mut tried = None;
        while let Some(next) = self.longest_waiting(share, now, tried) {
            tried = if self.open_one(next.1, now) { None } else { Some(next) };
        }
    }

    /// The pool of the share whose waiter has been in line longest, of those that may open and
    /// come after `tried`.
    fn longest_waiting(
        &self,
        share: usize,
        now: Tick,
        tried: Option<(Tick, u32)>,
    ) -> Option<(Tick, u32)> {
        let pools = self.shares[share].pools.iter();
        pools
            .filter_map(|&pool| Some((self.wanted(pool, now)?.since, pool)))
            .filter(|&candidate| tried.is_none_or(|tried| candidate > tried))
            .min()
    }

    /// Refuses waiters for whom there is no hope, and opens for the others.
    pub(super) fn settle(&mut self, pool: u32, now: Tick) {
        if !self.pools.contains(pool) {
            return;
        }
        let record = self.pools.at(pool);
        if record.counts.waiting > 0
            && record.is_hopeless(now)
            && let Some(failure) = record.backoff.last().map(|failed| Arc::clone(&failed.failure))
        {
            self.refuse_shared(pool, &Refusal::Failing(failure));
        }
        while self.open_one(pool, now) {}
    }

    pub(super) fn refuse_shared(&mut self, pool: u32, refusal: &Refusal<F>) {
        while let Some(waiter) = self.pools.at(pool).oldest_shared(&self.waiters) {
            self.leave_line(waiter);
            self.refuse(waiter, refusal.clone());
        }
    }

    pub(super) fn refuse(&mut self, waiter: u32, refusal: Refusal<F>) {
        let waiter = self.waiters.at_mut(waiter);
        waiter.state = Waiting::Refused(refusal);
        self.effects.wakes.extend(waiter.waker.take());
    }

    /// Whom the pool would open a server for now, as far as the pool alone can tell.
    pub(super) fn wanted(&self, index: u32, now: Tick) -> Option<Want> {
        let pool = self.pools.at(index);
        if pool.phase != Phase::Serving || !self.may_attempt(pool) {
            return None;
        }
        let counts = pool.counts;
        let may_grow = counts.servers() < self.size(pool, now);
        if !may_grow && pool.dedicated.first().is_none() {
            return None;
        }
        let shared = (counts.waiting > counts.opening_shared && pool.backoff.may_try(now))
            .then(|| pool.oldest_shared(&self.waiters))
            .flatten();
        let dedicated = pool.dedicated.first().filter(|_| pool.dedicated_backoff.may_try(now));
        let want = [(shared, Kind::Shared), (dedicated, Kind::Dedicated)]
            .into_iter()
            .filter_map(|(waiter, kind)| Some((waiter?, kind)))
            .min_by_key(|&(waiter, _)| self.waiters.at(waiter).place)
            .map(|(waiter, kind)| Want {
                since: self.waiters.at(waiter).place.since,
                waiter,
                kind,
            })?;
        // One server for another leaves the count as it is, which must be right then.
        let evicts_own = want.kind == Kind::Dedicated
            && counts.idle > 0
            && counts.servers() <= pool.rules.most();
        (may_grow || evicts_own).then_some(want)
    }

    fn may_attempt(&self, pool: &Pool<F>) -> bool {
        pool.counts.opening() < pool.ramp.clamp(1, pool.rules.parallel)
    }

    /// How many servers the pool may have now: the reserve counts once somebody waited for it.
    fn size(&self, pool: &Pool<F>, now: Tick) -> u32 {
        let rules = &pool.rules;
        let waited = |since| now.since(since) >= rules.reserve_timeout;
        if rules.reserve > 0 && pool.oldest_wait(&self.waiters).is_some_and(waited) {
            rules.most()
        } else {
            rules.pool_size
        }
    }

    pub(super) fn open_one(&mut self, pool: u32, now: Tick) -> bool {
        let Some(want) = self.wanted(pool, now) else { return false };
        let Some(victims) = self.victims(pool, want.kind, now) else { return false };
        for victim in victims {
            self.drop_idle(victim, CloseReason::Evicted);
        }
        self.begin_opening(pool, Some(want), now);
        true
    }

    /// Opens a server nobody waits for, if that disturbs nobody.
    pub(super) fn open_spare(&mut self, index: u32, now: Tick) -> bool {
        let pool = self.pools.at(index);
        let fits = pool.phase == Phase::Serving
            && pool.backoff.may_try(now)
            && self.may_attempt(pool)
            && now >= pool.no_spare_before
            && pool.counts.servers() < pool.rules.pool_size
            && !pool.shares.iter().any(|&share| self.shares[share].is_full());
        if fits {
            self.begin_opening(index, None, now);
        }
        fits
    }

    /// Which idle servers must go before one more may be opened: none, or the longest idle of the
    /// pools that share a full limit (the own pool's too if the server is to be dedicated; a shared
    /// waiter would rather have used them). `None` if room cannot be made.
    fn victims(&self, index: u32, kind: Kind, now: Tick) -> Option<SmallVec<[u32; 3]>> {
        let pool = self.pools.at(index);
        let mut victims = SmallVec::new();
        if pool.counts.servers() >= self.size(pool, now) {
            victims.push(pool.longest_idle(&self.slots)?);
        }
        for share in pool.shares {
            let relieved = victims.iter().any(|&victim| self.is_in(victim, share));
            let (servers, limit) = (self.shares[share].servers, self.shares[share].limit);
            if servers > limit {
                // What a reload left over is closed as it comes free, not one by one for a waiter.
                return None;
            }
            if servers == limit && !relieved {
                victims.push(self.longest_idle_in(share, index, kind)?);
            }
        }
        Some(victims)
    }

    fn is_in(&self, slot: u32, share: usize) -> bool {
        self.pools.at(self.slots.at(slot).pool).shares.contains(&share)
    }

    fn longest_idle_in(&self, share: usize, own: u32, kind: Kind) -> Option<u32> {
        let share = &self.shares[share];
        if share.idle == 0 {
            return None;
        }
        let pools = share.pools.iter().filter(|&&pool| pool != own || kind == Kind::Dedicated);
        pools
            .filter_map(|&pool| self.pools.at(pool).longest_idle(&self.slots))
            .min_by_key(|&slot| self.slots.at(slot).since)
    }

    /// Closes an idle server.
    pub(super) fn drop_idle(&mut self, index: u32, reason: CloseReason) {
        let Some(server) = self.pop_idle(index) else { return };
        let slot = self.slots.at(index);
        let (home, pool) = (slot.home, slot.pool);
        if reason == CloseReason::Evicted {
            self.pools.at_mut(pool).stats.evictions += 1;
        }
        let id = pool_id(&self.pools, pool);
        self.effects.closes.push(Closing { server, pool: id, home, reason });
        self.free(SlotId(self.slots.key(index)));
    }

    fn begin_opening(&mut self, index: u32, want: Option<Want>, now: Tick) {
        let lifetime_permille = self.jitter.permille();
        let waiter = want
            .filter(|want| want.kind == Kind::Dedicated)
            .map(|want| WaiterId(self.waiters.key(want.waiter)));
        let worker = match waiter {
            Some(waiter) => self.waiters.at(waiter.0.index).worker,
            None => self.pools.at(index).opener(&self.waiters),
        };
        let pool = self.pools.at_mut(index);
        let slot = SlotId(self.slots.insert(Slot {
            pool: index,
            epoch: pool.epoch,
            home: worker,
            dedicated: waiter.is_some(),
            is_retired: false,
            pinned: None,
            lifetime_permille,
            born: now,
            since: now,
            state: State::Opening { waiter },
            handle: None,
        }));
        pool.stats.openings += 1;
        pool.stats.reserve_uses += u64::from(pool.counts.servers() >= pool.rules.pool_size);
        if waiter.is_some() {
            pool.counts.opening_dedicated += 1;
        } else {
            pool.counts.opening_shared += 1;
            pool.line(worker).opening += 1;
        }
        for share in pool.shares {
            self.shares[share].servers += 1;
        }
        if let Some(waiter) = waiter {
            self.leave_line(waiter.0.index);
            self.waiters.at_mut(waiter.0.index).state = Waiting::Opening(slot);
        }
        let pool = pool_id(&self.pools, index);
        self.effects.openings.push(Opening { slot, pool, worker, waiter });
    }

    /// A server that comes back under a full shared limit is given up if upkeep found that a waiter
    /// of another pool starves, and that waiter is older than any of this pool.
    pub(super) fn owes_its_server(&mut self, pool: u32, now: Tick) -> bool {
        for share in self.pools.at(pool).shares {
            if !self.shares[share].starving {
                continue;
            }
            self.shares[share].starving = false;
            let own = self.pools.at(pool).oldest_wait(&self.waiters);
            let longest_waiting = self.longest_waiting(share, now, None);
            if self.shares[share].is_full()
                && longest_waiting.is_some_and(|(since, waiting_pool)| {
                    waiting_pool != pool && own.is_none_or(|own| since < own)
                })
            {
                self.pools.at_mut(pool).stats.evictions += 1;
                return true;
            }
        }
        false
    }
}
