//! What a console sees of the servers, each by itself.

use std::sync::Arc;

use crate::backend::server_handle::ServerHandle;

use super::Core;
use super::model::{Phase, State};
use super::types::{Kind, PoolKey, SlotId, Tick};
use super::{PoolId, pool_id};
use std::collections::HashMap;

/// Where a server stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It is being opened.
    Opening,
    /// It rests.
    Idle,
    /// It was handed to a waiter who has not taken it yet.
    Granted,
    /// It is out.
    Leased,
}

/// One server at one moment. `V` is what the caller wanted to know of one at rest.
#[derive(Clone, Debug)]
pub struct ServerSnapshot<V> {
    /// Its name.
    pub slot: SlotId,
    /// Its pool.
    pub pool: PoolId,
    /// Its pool's key.
    pub key: PoolKey,
    /// Where it stands.
    pub stand: Stand,
    /// Since when it rests or is out, or has been opened.
    pub since: Tick,
    /// It is closed as soon as it is free.
    pub is_outdated: bool,
    /// Its handle.
    pub handle: Arc<ServerHandle>,
    /// Of one at rest.
    pub seen: Option<V>,
}

impl<S, F> Core<S, F> {
    /// The opening of this server has begun, and this is its handle from here on. False if there is no
    /// such server.
    pub fn introduce(&mut self, slot: SlotId, handle: &Arc<ServerHandle>) -> bool {
        let Some(record) = self.slots.get_mut(slot.0) else { return false };
        record.handle = Some(Arc::clone(handle));
        true
    }

    /// Why the last attempt to open a server of this kind failed, if none has succeeded since.
    #[must_use]
    pub fn last_failure(&self, pool: PoolId, kind: Kind) -> Option<Arc<F>> {
        let failed = self.pools.get(pool.0)?.backoff(kind).last()?;
        Some(Arc::clone(&failed.failure))
    }

    /// Whether this server is still there.
    #[must_use]
    pub fn has(&self, slot: SlotId) -> bool {
        self.slots.get(slot.0).is_some()
    }

    /// For how many microseconds servers of each pool were out since it was added, up to now:
    /// those too that are out.
    #[must_use]
    pub fn held(&self, now: Tick) -> HashMap<PoolId, u64> {
        let id = |index| pool_id(&self.pools, index);
        let back = self.pools.iter().map(|(index, pool)| (id(index), pool.stats.held));
        let mut held: HashMap<PoolId, u64> = back.collect();
        let out = self.slots.iter().filter(|(_, slot)| matches!(slot.state, State::Leased));
        for (_, slot) in out {
            *held.entry(id(slot.pool)).or_default() += now.since(slot.since);
        }
        held
    }

    /// Every server whose opening has begun. `look` is called under the lock, with those at rest.
    pub fn servers<V>(&self, mut look: impl FnMut(&S) -> V) -> Vec<ServerSnapshot<V>> {
        let one = |(index, slot): (u32, &super::Slot<S>)| {
            let pool = self.pools.at(slot.pool);
            let (stand, seen) = match &slot.state {
                State::Opening { .. } => (Stand::Opening, None),
                State::Idle(server) => (Stand::Idle, Some(look(server))),
                State::Granted(server, _) => (Stand::Granted, Some(look(server))),
                State::Leased => (Stand::Leased, None),
            };
            Some(ServerSnapshot {
                slot: SlotId(self.slots.key(index)),
                pool: pool_id(&self.pools, slot.pool),
                key: pool.key,
                stand,
                since: slot.since,
                is_outdated: slot.epoch != pool.epoch
                    || slot.is_retired
                    || pool.phase == Phase::Removed,
                handle: Arc::clone(slot.handle.as_ref()?),
                seen,
            })
        };
        self.slots.iter().filter_map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{
        At, Checkout, DatabaseId, NodeId, PoolOptions, UserId, Wait, WorkerId,
    };
    use super::*;
    use std::task::Waker;

    fn stands(core: &Core<u32, ()>) -> Vec<(Stand, bool, Option<u32>)> {
        let one = |one: ServerSnapshot<u32>| (one.stand, one.is_outdated, one.seen);
        core.servers(|server| *server).into_iter().map(one).collect()
    }

    #[test]
    fn a_server_is_seen_from_its_introduction_to_its_end() {
        let mut core = Core::<u32, ()>::new(1, 7);
        let at = At { worker: WorkerId(0), now: Tick(5) };
        let key = PoolKey { database: DatabaseId(1), node: NodeId(1), user: UserId(1) };
        let pool = core.add_pool(key, &PoolOptions::default(), at.now);
        let Checkout::Waiting(waiter) = core.checkout(pool, Kind::Shared, at, Waker::noop()) else {
            panic!("there is no server yet")
        };
        let slot = core.take_effects().openings[0].slot;
        assert!(stands(&core).is_empty(), "not introduced");
        assert!(core.introduce(slot, &Arc::new(ServerHandle::new(3))));
        assert_eq!(stands(&core), [(Stand::Opening, false, None)]);
        core.opened(slot, 9, at);
        assert_eq!(stands(&core), [(Stand::Granted, false, Some(9))]);
        let Wait::Ready(ready) = core.poll_wait(waiter, Waker::noop(), || at.now) else {
            panic!("granted")
        };
        assert_eq!(stands(&core), [(Stand::Leased, false, None)]);
        core.put_back(slot, ready.server, at);
        assert_eq!(stands(&core), [(Stand::Idle, false, Some(9))]);
        let Checkout::Ready(ready) = core.checkout(pool, Kind::Shared, at, Waker::noop()) else {
            panic!("it is idle")
        };
        core.reconnect(pool, at.now);
        assert_eq!(stands(&core), [(Stand::Leased, true, None)]);
        assert!(core.has(slot));
        core.put_back(slot, ready.server, at);
        assert!(!core.has(slot) && stands(&core).is_empty());
        assert!(!core.introduce(slot, &Arc::new(ServerHandle::new(4))), "it is gone");
    }
}
