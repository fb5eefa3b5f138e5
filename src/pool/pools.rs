//! All pools of the process, and the one lock around the core that decides for them.

use super::core::{
    At, Core, Effects, FailureClass, Holders, Kind, Opening, Origin, Place, Placed, PoolId,
    PoolKey, PoolOptions, PoolSnapshot, ServerSnapshot, SlotId, Tick, WaiterId, WorkerId,
};
use crate::backend::login::{LoginFailure, Outlook};
use crate::backend::server::{Reported, Server};
use crate::backend::server_handle::ServerHandle;
use crate::net::NodeAddress;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) type ServerCore = Core<Box<Server>, LoginFailure>;

/// Startup parameters of a server that one session has to itself.
pub type Extras = Vec<(Box<str>, Box<str>)>;

/// All pools of the process.
#[derive(Debug)]
pub struct Pools {
    core: Mutex<ServerCore>,
    openings: Mutex<Vec<Opening>>,
    openings_pending: Notify,
    /// Startup parameters of dedicated servers, by who waits for them.
    extras: Mutex<HashMap<WaiterId, Arc<Extras>>>,
    /// What [`Tick`]s count from.
    start: Instant,
}

impl Pools {
    /// No pools yet, for this many workers and one more "worker" that opens servers.
    pub fn new(workers: u8, seed: u64) -> Self {
        Self {
            core: Mutex::new(Core::new(workers.saturating_add(1), seed)),
            openings: Mutex::new(Vec::new()),
            openings_pending: Notify::new(),
            extras: Mutex::default(),
            start: Instant::now(),
        }
    }

    /// The moment, as the core counts it.
    pub fn now(&self) -> Tick {
        Tick(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn extras(&self) -> MutexGuard<'_, HashMap<WaiterId, Arc<Extras>>> {
        self.extras.lock()
    }

    /// The startup parameters that an opening for this waiter needs.
    pub fn extras_of(&self, waiter: WaiterId) -> Option<Arc<Extras>> {
        self.extras().get(&waiter).cloned()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ServerCore> {
        self.core.lock()
    }

    /// Runs one operation on the core and then, without the lock, what it left to do.
    pub(super) fn with<R>(&self, operation: impl FnOnce(&mut ServerCore) -> R) -> R {
        let mut core = self.lock();
        let result = operation(&mut core);
        if core.has_effects() {
            let effects = core.take_effects();
            drop(core);
            self.run(effects);
        }
        result
    }

    fn run(&self, effects: Effects<Box<Server>>) {
        for waker in effects.wakes {
            waker.wake();
        }
        for closing in effects.closes {
            closing.server.terminate(closing.reason.as_str());
        }
        if !effects.openings.is_empty() {
            let mut queue = self.openings.lock();
            queue.extend(effects.openings);
            drop(queue);
            self.openings_pending.notify_one();
        }
    }

    /// Adds a pool, or gives the one with this key new options.
    pub fn add(&self, key: PoolKey, options: &PoolOptions) -> PoolId {
        let now = self.now();
        self.with(|core| core.add_pool(key, options, now))
    }

    /// Servers to be opened. Bounded by the pools' sizes. Cancel safe.
    pub async fn openings(&self) -> Vec<Opening> {
        loop {
            let due = {
                let mut queue = self.openings.lock();
                std::mem::take(&mut *queue)
            };
            if !due.is_empty() {
                return due;
            }
            self.openings_pending.notified().await;
        }
    }

    /// The opening of a server begins, and this is its handle.
    pub fn introduce(&self, slot: SlotId, handle: &Arc<ServerHandle>) {
        self.lock().introduce(slot, handle);
    }

    /// A server was opened, by the thread that counts as `worker`.
    pub fn opened(&self, slot: SlotId, server: Box<Server>, worker: WorkerId) {
        let at = At { worker, now: self.now() };
        if let Placed::Close(server, reason) = self.with(|core| core.opened(slot, server, at)) {
            server.terminate(reason.as_str());
        }
    }

    /// A server could not be opened.
    pub fn open_failed(&self, slot: SlotId, failure: Arc<LoginFailure>) {
        let class = match failure.outlook() {
            Outlook::Lasting => FailureClass::Lasting,
            Outlook::Unreachable => FailureClass::Unreachable,
            Outlook::Passing => FailureClass::Passing,
        };
        let now = self.now();
        self.with(|core| core.open_failed(slot, failure, class, now));
    }

    /// Why the last attempt to open a server of the pool failed, if none has succeeded since.
    /// [`Waiter::last_failure`] tells the same of the server that somebody waits for.
    pub fn last_failure(&self, pool: PoolId) -> Option<Arc<LoginFailure>> {
        self.lock().last_failure(pool, Kind::Shared)
    }

    /// An opening is given up without blaming the node.
    pub fn abandon(&self, slot: SlotId) {
        let now = self.now();
        self.with(|core| core.discard(slot, now));
    }

    /// Whatever time does to pools; to be called about every 100 ms.
    pub fn upkeep(&self) {
        let now = self.now();
        self.with(|core| core.upkeep(now));
    }

    /// Every server of the pool is replaced when it is free.
    pub fn reconnect(&self, pool: PoolId) {
        let now = self.now();
        self.with(|core| core.reconnect(pool, now));
    }

    /// Who holds the servers of the pool: for the error of a client that has waited too long.
    pub fn holders(&self, pool: PoolId) -> Option<Holders> {
        self.lock().holders(pool)
    }

    /// The pools of which an operator is to be told that clients keep every server while others wait:
    /// each at most once a minute.
    pub fn take_held(&self) -> Vec<(PoolId, Holders)> {
        self.lock().take_held()
    }

    /// What the servers of the pool are connected to from now on.
    pub fn set_origin(&self, pool: PoolId, node: &NodeAddress, database: &str) {
        let origin = Origin { node: node.to_string().into(), database: database.into() };
        self.lock().set_origin(pool, origin);
    }

    /// Closes the idle servers of every pool that are connected to this database, on this node or, if
    /// none is given, on any; for a few seconds none becomes idle, and none is opened that no client waits
    /// for. To be called
    /// before a DROP DATABASE and the like: PostgreSQL then waits for a moment until they are gone. How
    /// many there were. Does not wait.
    pub fn close_idle_servers_of(&self, database: &str, node: Option<&NodeAddress>) -> usize {
        let (node, now) = (node.map(NodeAddress::to_string), self.now());
        self.with(|core| core.vacate(database, node.as_deref(), now))
    }

    /// Retires the servers of these pools that are at other addresses than these: idle ones are closed
    /// now, a few in each call, others when they come back. How many were closed.
    pub fn retire_moved(&self, addresses: &HashMap<PoolId, Arc<[IpAddr]>>) -> usize {
        let now = self.now();
        let has_moved = |pool: PoolId, handle: &ServerHandle| {
            let Some(current) = addresses.get(&pool) else { return false };
            let remote = handle.login().and_then(|login| login.ends.remote);
            remote.is_some_and(|remote| {
                let ip = remote.ip().to_canonical();
                !current.iter().any(|known| known.to_canonical() == ip)
            })
        };
        self.with(|core| core.retire(now, has_moved))
    }

    /// Nobody gets a server of the pool until it is resumed; free servers are closed, others when
    /// they come free. False when it was paused already.
    pub fn pause(&self, pool: PoolId) -> bool {
        let now = self.now();
        self.with(|core| core.pause(pool) && core.reconnect(pool, now))
    }

    /// Ends a pause: who waited is served. False when there was none.
    pub fn resume(&self, pool: PoolId) -> bool {
        let now = self.now();
        self.with(|core| core.resume(pool, now))
    }

    /// Nobody gets a server of the pool any more.
    pub fn remove(&self, pool: PoolId) {
        let now = self.now();
        self.with(|core| core.remove_pool(pool, now));
    }

    /// A place among all who ask for servers, for somebody who does not know yet which pool to ask: see
    /// [`Line::place`](super::Line::place).
    pub fn new_place(&self) -> Place {
        let now = self.now();
        self.lock().new_place(now)
    }

    /// Whether the pool has neither servers nor waiters.
    pub fn is_unused(&self, pool: PoolId) -> bool {
        self.lock().is_unused(pool)
    }

    /// Every server whose opening has begun, and what those at rest have reported of themselves.
    pub fn servers(&self) -> Vec<ServerSnapshot<Arc<Reported>>> {
        self.lock().servers(|server| Arc::clone(&server.reported))
    }

    /// Whether any of these servers is still there.
    pub fn have_any(&self, slots: &[SlotId]) -> bool {
        let core = self.lock();
        slots.iter().any(|slot| core.has(*slot))
    }

    /// Whether the pool is there, perhaps only until its last servers are closed.
    pub fn has_pool(&self, pool: PoolId) -> bool {
        let now = self.now();
        self.lock().pool_snapshot(pool, now).is_some()
    }

    /// The counts of one pool.
    pub fn pool_snapshot(&self, pool: PoolId) -> Option<PoolSnapshot> {
        let now = self.now();
        self.lock().pool_snapshot(pool, now)
    }

    /// Now, and for how many microseconds servers of each pool were out up to now.
    pub fn held(&self) -> (Tick, HashMap<PoolId, u64>) {
        let now = self.now();
        (now, self.lock().held(now))
    }

    /// The counts of all pools.
    pub fn snapshot(&self) -> Vec<PoolSnapshot> {
        let now = self.now();
        self.lock().snapshot(now)
    }
}
