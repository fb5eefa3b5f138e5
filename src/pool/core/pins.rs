//! Leases that their clients keep between transactions, and pools that are held by nothing else.
//!
//! The holder of a lease says why it keeps the server. When clients wait and every server of the
//! pool is kept, the pool is put on a list, at most once a minute. The upkeep reads the list and
//! logs it.

use std::fmt;

use super::Core;
use super::model::{Phase, State};
use super::pool_id;
use super::types::{PoolId, SlotId, Tick};

/// A pool is put on the list at most this often.
const NOTICE_SPACING: u64 = 60_000_000;

/// Who holds the servers of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Servers, those that are being opened included.
    pub servers: u32,
    /// Servers that their clients keep between transactions.
    pub pinned: u32,
    /// Clients that wait for one.
    pub waiting: u32,
    /// How many are kept for each reason, the most frequent first.
    pub reasons: Vec<(&'static str, u32)>,
}

impl Holders {
    /// Whether clients keep every server, so that nobody else gets one.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.pinned > 0 && self.pinned == self.servers
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} servers are kept by their clients", self.pinned, self.servers)?;
        for (number, (reason, count)) in self.reasons.iter().enumerate() {
            f.write_str(if number == 0 { ": " } else { ", " })?;
            write!(f, "{count} for {reason}")?;
        }
        Ok(())
    }
}

impl<S, F> Core<S, F> {
    /// The client that has this lease keeps the server between its transactions, for this reason; or
    /// does not any more. Ends with the lease.
    pub fn set_pinned(&mut self, slot: SlotId, reason: Option<&'static str>, now: Tick) {
        let Some(record) = self.slots.get_mut(slot.0) else { return };
        if !matches!(record.state, State::Leased) {
            return;
        }
        let before = std::mem::replace(&mut record.pinned, reason);
        let index = record.pool;
        let pool = self.pools.at_mut(index);
        if let Some(before) = before {
            pool.pins.remove(before);
        }
        if let Some(reason) = reason {
            pool.pins.add(reason);
            self.record_held(index, now);
        }
    }

    /// A leased server is back, or gone.
    pub(super) fn end_lease(&mut self, slot: SlotId, now: Tick) {
        let record = self.slots.at_mut(slot.0.index);
        let (pinned, held) = (record.pinned.take(), now.since(record.since));
        let pool = self.pools.at_mut(record.pool);
        pool.counts.leased -= 1;
        pool.stats.held += held;
        if let Some(reason) = pinned {
            pool.pins.remove(reason);
        }
    }

    /// Puts the pool on the list if clients wait and every server is kept. While none can be opened
    /// it is the failure that is told.
    pub(super) fn record_held(&mut self, index: u32, now: Tick) {
        let record = self.pools.at_mut(index);
        let waits = record.counts.waiting > 0 || record.dedicated.first().is_some();
        let pinned = record.pins.total();
        let is_held = waits
            && record.phase == Phase::Serving
            && pinned > 0
            && pinned == record.counts.servers()
            && record.backoff.failures() == 0;
        if is_held && record.next_notice.is_none_or(|next| now >= next) {
            record.next_notice = Some(now.after(NOTICE_SPACING));
            self.held_pools.push(pool_id(&self.pools, index));
        }
    }

    /// The pools that were put on the list since the last call, and who holds them.
    pub fn take_held(&mut self) -> Vec<(PoolId, Holders)> {
        let held = std::mem::take(&mut self.held_pools);
        held.into_iter().filter_map(|pool| Some((pool, self.holders(pool)?))).collect()
    }

    /// Who holds the servers of the pool.
    #[must_use]
    pub fn holders(&self, pool: PoolId) -> Option<Holders> {
        let record = self.pools.get(pool.0)?;
        let mut reasons = record.pins.reasons();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Some(Holders {
            servers: record.counts.servers(),
            pinned: record.pins.total(),
            waiting: record.counts.waiting + record.dedicated.len(),
            reasons,
        })
    }
}
