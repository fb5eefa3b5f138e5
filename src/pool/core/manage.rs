//! Pools come, change and go; what a console or an exporter sees of them.

use super::Core;
use super::backoff::Backoff;
use super::model::{Phase, Pool, Rules, Share, ShareKey, State, Waiting, limit, pool_id};
use super::types::{
    CloseReason, PoolId, PoolKey, PoolOptions, PoolSnapshot, Refusal, Tick, WaiterId,
};

impl<S, F> Core<S, F> {
    /// The pool with this key, with these options; added if there is none. While a removed pool of
    /// the same key waits for its last servers, this is a new one.
    pub fn add_pool(&mut self, key: PoolKey, options: &PoolOptions, now: Tick) -> PoolId {
        if let Some(&pool) = self.by_key.get(&key) {
            self.set_options(pool, options, now);
            return pool;
        }
        let database = self.share(ShareKey::Database(key.database, key.node));
        let user = self.share(ShareKey::User(key.user));
        let shares = [database, user];
        let record = Pool::new(key, Rules::from(options), usize::from(self.workers), shares);
        let id = PoolId(self.pools.insert(record));
        for share in shares {
            self.shares[share].pools.push(id.0.index);
        }
        self.by_key.insert(key, id);
        self.set_options(id, options, now);
        id
    }

    /// The pool with this key, if it was added and not removed.
    #[cfg(test)]
    pub fn find_pool(&self, key: &PoolKey) -> Option<PoolId> {
        self.by_key.get(key).copied()
    }

    /// New options, in force at once: more room is used at once, servers beyond the limits are
    /// closed when they are free. Pauses after failures stay as they are. False if there is no such
    /// pool.
    pub fn set_options(&mut self, pool: PoolId, options: &PoolOptions, now: Tick) -> bool {
        let Some(record) = self.pools.get_mut(pool.0) else { return false };
        if record.phase == Phase::Removed {
            return false;
        }
        record.rules = Rules::from(options);
        record.ramp = if record.backoff.failures() == 0 { record.rules.parallel } else { 1 };
        let limits = [options.max_db_connections, options.max_user_connections];
        for (share, configured) in record.shares.into_iter().zip(limits) {
            self.shares[share].limit = limit(configured);
        }
        for share in self.pools.at(pool.0.index).shares {
            self.open_for_share(share, now);
        }
        self.settle(pool.0.index, now);
        true
    }

    /// Removes a pool: its waiters are refused, idle servers closed now, leased ones when they are
    /// put back. False if there is no such pool (any more).
    pub fn remove_pool(&mut self, pool: PoolId, now: Tick) -> bool {
        let Some(record) = self.pools.get_mut(pool.0) else { return false };
        if record.phase == Phase::Removed {
            return false;
        }
        record.phase = Phase::Removed;
        let (key, shares) = (record.key, record.shares);
        self.by_key.remove(&key);
        self.refuse_shared(pool.0.index, &Refusal::Removed);
        self.refuse_dedicated(pool.0.index);
        if self.pools.at(pool.0.index).counts.servers() == 0 {
            self.forget_pool(pool.0.index);
        } else {
            self.drop_all_idle(pool.0.index, CloseReason::PoolRemoved);
        }
        for share in shares {
            // A share goes with the last of its pools.
            if self.shares.contains(share) {
                self.open_for_share(share, now);
            }
        }
        true
    }

    /// Every server opened before this moment is closed as soon as it is free, and the failures so
    /// far are forgotten: the address or the password may have changed. False if there is no such pool.
    pub fn reconnect(&mut self, pool: PoolId, now: Tick) -> bool {
        let Some(record) = self.pools.get_mut(pool.0) else { return false };
        if record.phase == Phase::Removed {
            return false;
        }
        record.epoch = record.epoch.wrapping_add(1);
        record.backoff = Backoff::default();
        record.dedicated_backoff = Backoff::default();
        record.ramp = record.rules.parallel;
        self.drop_all_idle(pool.0.index, CloseReason::Reconnect);
        let shares = self.pools.at(pool.0.index).shares;
        self.refill(pool.0.index, shares, now);
        true
    }

    /// Hands out and opens nothing until `resume`; who asks, waits.
    pub fn pause(&mut self, pool: PoolId) -> bool {
        self.change_phase(pool, Phase::Serving, Phase::Paused)
    }

    /// Ends a pause: who waited is served.
    pub fn resume(&mut self, pool: PoolId, now: Tick) -> bool {
        if !self.change_phase(pool, Phase::Paused, Phase::Serving) {
            return false;
        }
        while let Some(waiter) = self.pools.at(pool.0.index).oldest_shared(&self.waiters) {
            let worker = self.waiters.at(waiter).worker;
            let Some((slot, server)) = self.idle_for(pool.0.index, worker) else { break };
            self.leave_line(waiter);
            self.grant(slot, server, waiter);
        }
        self.settle(pool.0.index, now);
        true
    }

    /// One pool at this moment.
    #[must_use]
    pub fn pool_snapshot(&self, pool: PoolId, now: Tick) -> Option<PoolSnapshot> {
        let record = self.pools.get(pool.0)?;
        let counts = record.counts;
        let bound = self.bound_waiters(pool.0.index).map(|(_, since)| since);
        let oldest = record.oldest_wait(&self.waiters).into_iter().chain(bound).min();
        let bound = self.bound_waiters(pool.0.index).count();
        Some(PoolSnapshot {
            pool,
            key: record.key,
            opening: counts.opening(),
            idle: counts.idle,
            granted: counts.granted,
            leased: counts.leased,
            waiting: counts.waiting
                + record.dedicated.len()
                + u32::try_from(bound).unwrap_or(u32::MAX),
            oldest_wait: oldest.map_or(0, |since| now.since(since)),
            paused: record.phase == Phase::Paused,
            removed: record.phase == Phase::Removed,
            failing: record.backoff.failures(),
            stats: record.stats,
        })
    }

    /// Whether the pool has neither servers nor waiters, or does not exist.
    #[must_use]
    pub fn is_unused(&self, pool: PoolId) -> bool {
        self.pools.get(pool.0).is_none_or(|record| {
            record.counts.servers() + record.counts.waiting + record.dedicated.len() == 0
        })
    }

    /// All pools at this moment, in the order they were added (ids of removed ones are used again).
    #[must_use]
    pub fn snapshot(&self, now: Tick) -> Vec<PoolSnapshot> {
        let ids = self.pools.iter().map(|(index, _)| pool_id(&self.pools, index));
        ids.filter_map(|pool| self.pool_snapshot(pool, now)).collect()
    }

    /// The share with this key; made if there is none.
    fn share(&mut self, key: ShareKey) -> usize {
        let shares = &mut self.shares;
        *self.shares_by_key.entry(key).or_insert_with(|| {
            shares.insert(Share {
                key,
                limit: u32::MAX,
                servers: 0,
                idle: 0,
                waiting: 0,
                starving: false,
                pools: Vec::new(),
            })
        })
    }

    pub(super) fn forget_pool(&mut self, pool: u32) {
        let Some(record) = self.pools.remove(pool) else { return };
        for index in record.shares {
            let share = &mut self.shares[index];
            share.pools.retain(|&member| member != pool);
            if share.pools.is_empty() {
                self.shares_by_key.remove(&share.key);
                self.shares.remove(index);
            }
        }
    }

    fn change_phase(&mut self, pool: PoolId, from: Phase, to: Phase) -> bool {
        match self.pools.get_mut(pool.0) {
            Some(record) if record.phase == from => {
                record.phase = to;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn drop_all_idle(&mut self, pool: u32, reason: CloseReason) {
        // The pool goes with its last server.
        while let Some(idle) = self
            .pools
            .contains(pool)
            .then(|| self.pools.at(pool).longest_idle(&self.slots))
            .flatten()
        {
            self.drop_idle(idle, reason);
        }
    }

    fn refuse_dedicated(&mut self, pool: u32) {
        while let Some(waiter) = self.pools.at(pool).dedicated.first() {
            self.leave_line(waiter);
            self.refuse(waiter, Refusal::Removed);
        }
        let bound: Vec<WaiterId> = self.bound_waiters(pool).map(|(waiter, _)| waiter).collect();
        for waiter in bound {
            if let Waiting::Opening(slot) = self.waiters.at(waiter.0.index).state {
                self.slots.at_mut(slot.0.index).state = State::Opening { waiter: None };
            }
            self.refuse(waiter.0.index, Refusal::Removed);
        }
    }

    /// Waiters whose dedicated server is being opened, and since when they wait.
    fn bound_waiters(&self, pool: u32) -> impl Iterator<Item = (WaiterId, Tick)> {
        let none = self.pools.at(pool).counts.opening_dedicated == 0;
        let slots = (!none).then(|| self.slots.iter()).into_iter().flatten();
        slots.filter(move |(_, slot)| slot.pool == pool).filter_map(|(_, slot)| match slot.state {
            State::Opening { waiter: Some(waiter) } => {
                Some((waiter, self.waiters.at(waiter.0.index).place.since))
            }
            State::Opening { waiter: None }
            | State::Idle(_)
            | State::Granted(..)
            | State::Leased => None,
        })
    }
}
