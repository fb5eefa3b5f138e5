//! What time does to pools: servers grow old, waiters reach the reserve, pauses end.

use smallvec::SmallVec;

use super::types::{CloseReason, Tick};
use super::{Core, RETIREMENT_SPACING, USED_ONCE};

/// Pools looked at in one call, so that the lock is held briefly; the next call goes on behind them.
const POOLS_PER_CALL: usize = 256;
/// Servers closed per pool and call, so that no pool makes the others wait.
const CLOSINGS_PER_POOL: usize = 16;
/// A waiter held up this long by a shared limit, while other pools keep their servers busy, gets
/// the next server that comes free in any of them.
const SHARE_PATIENCE: u64 = 250_000;

impl<S, F> Core<S, F> {
    /// To be called about every 100 ms. Closes what is too old, idle too long, or too many; opens
    /// what a pause, the reserve or `min_pool_size` held back. Bounded work per call, fair over
    /// pools.
    pub fn upkeep(&mut self, now: Tick) {
        let bound = self.pools.bound();
        let mut done = 0;
        for step in 0..bound {
            let index = (self.upkeep_from + step) % bound;
            if !self.pools.contains(index) {
                continue;
            }
            if done == POOLS_PER_CALL {
                self.upkeep_from = index;
                return;
            }
            done += 1;
            self.upkeep_pool(index, now);
        }
    }

    fn upkeep_pool(&mut self, pool: u32, now: Tick) {
        let outdated = self.outdated(pool, now);
        let shares = self.pools.at(pool).shares;
        if outdated.is_empty() {
            self.settle(pool, now);
        } else {
            for (slot, reason) in outdated {
                if reason == CloseReason::Lifetime {
                    self.pools.at_mut(pool).next_retirement = now.after(RETIREMENT_SPACING);
                }
                self.drop_idle(slot, reason);
            }
            self.refill(pool, shares, now);
        }
        self.record_starving(pool, now);
        self.record_held(pool, now);
        self.keep_minimum(pool, now);
    }

    /// The idle servers to close in this round, the longest idle of each worker first.
    fn outdated(&self, index: u32, now: Tick) -> SmallVec<[(u32, CloseReason); CLOSINGS_PER_POOL]> {
        let pool = self.pools.at(index);
        let rules = &pool.rules;
        let servers = pool.counts.servers();
        let mut excess = self.excess(index, 0);
        let mut spare =
            servers.saturating_sub(if pool.is_warm(now) { rules.min_pool_size } else { 0 });
        let mut reserve = servers.saturating_sub(rules.pool_size);
        let mut retired = false;
        let mut closing = SmallVec::new();
        for slot in pool.lines.iter().flat_map(|line| self.slots.walk(&line.idle)) {
            let idle = now.since(self.slots.at(slot).since);
            let reason = if excess > 0 {
                CloseReason::OverLimit
            } else if !retired && rules.lifetime > USED_ONCE && self.is_expired(slot, now) {
                retired = true;
                CloseReason::Lifetime
            } else if rules.idle_timeout > 0 && idle >= rules.idle_timeout && spare > 0 {
                CloseReason::IdleTimeout
            } else if reserve > 0 && idle >= rules.reserve_timeout {
                CloseReason::Reserve
            } else {
                continue;
            };
            excess = excess.saturating_sub(1);
            spare = spare.saturating_sub(1);
            reserve = reserve.saturating_sub(1);
            closing.push((slot, reason));
            if closing.len() == CLOSINGS_PER_POOL {
                break;
            }
        }
        closing
    }

    /// Tells the shares that hold up a waiter of this pool.
    fn record_starving(&mut self, index: u32, now: Tick) {
        let starves =
            self.wanted(index, now).is_some_and(|want| now.since(want.since) >= SHARE_PATIENCE);
        if starves {
            for share in self.pools.at(index).shares {
                let share = &mut self.shares[share];
                share.starving |= share.is_full();
            }
        }
    }

    /// Opens at most one server towards `min_pool_size`; a pause after failures holds here too.
    fn keep_minimum(&mut self, index: u32, now: Tick) {
        let pool = self.pools.at(index);
        if pool.counts.servers() < pool.rules.min_pool_size && pool.is_warm(now) {
            self.open_spare(index, now);
        }
    }
}
