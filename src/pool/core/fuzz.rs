//! Random operations on a core, checked after each: for property tests and the fuzz target.
//!
//! Plays all callers of a core at once and keeps its own account of servers, waiters and openings.
//! Panics when the core and the account differ, when a limit is passed, when somebody is woken for
//! nothing or not woken, and when in the end somebody is left waiting.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use super::{
    At, Checkout, Core, DatabaseId, FailureClass, Kind, NodeId, Opening, Origin, Place, Placed,
    PoolId, PoolKey, PoolOptions, PoolSnapshot, Ready, Refusal, Request, ServerHandle, SlotId,
    Tick, UserId, Wait, WaiterId, WorkerId,
};

const WORKERS: u8 = 3;
const POOLS: u8 = 4;
/// Longer than any pause, with upkeep every 100 ms, and enough for every waiter to be served.
const ROUNDS_TO_SERVE_ALL: usize = 4_000;

/// Decodes bytes to operations and runs them.
///
/// # Panics
/// When the core breaks a promise.
#[doc(hidden)]
pub fn fuzz_ops(bytes: &[u8]) {
    let mut world = World::new();
    let mut bytes = bytes.iter().copied();
    while let (Some(operation), Some(argument)) = (bytes.next(), bytes.next()) {
        world.step(operation, argument);
        world.settle();
    }
    world.serve_all();
    world.close_all();
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        let before = self.0.swap(true, Ordering::Relaxed);
        assert!(!before, "a waiter was woken twice");
    }
}

struct Client {
    waiter: WaiterId,
    worker: WorkerId,
    woken: Arc<Flag>,
}

struct Lease {
    slot: SlotId,
    server: u32,
    worker: WorkerId,
    place: Place,
}

/// Told of failures that no waiting heals.
const LASTING: &str = "wrong password";

struct World {
    core: Core<u32, &'static str>,
    now: Tick,
    pools: Vec<PoolId>,
    options: Vec<PoolOptions>,
    clients: Vec<Client>,
    leases: Vec<Lease>,
    openings: Vec<Opening>,
    alive: BTreeSet<u32>,
    /// The server that came back last, which may be gone.
    last_back: Option<SlotId>,
    next_server: u32,
    next_handle: u64,
    before: Vec<PoolSnapshot>,
}

fn key(pool: u8) -> PoolKey {
    PoolKey {
        database: DatabaseId(u32::from(pool & 1)),
        node: NodeId(0),
        user: UserId(u32::from(pool >> 1 & 1)),
    }
}

fn options(argument: u8) -> PoolOptions {
    let bit = |number: u8| u32::from(argument >> number & 1);
    PoolOptions {
        pool_size: 1 + 2 * bit(0) + bit(1),
        min_pool_size: bit(2),
        reserve_pool_size: bit(3),
        reserve_pool_timeout: Duration::from_millis(300),
        max_db_connections: 3 * bit(4),
        max_user_connections: 2 * bit(5),
        server_idle_timeout: Duration::from_millis(u64::from(500 * bit(6))),
        server_lifetime: Duration::from_millis(u64::from(2_000 * bit(7))),
        server_login_retry: Duration::from_secs(1),
        max_parallel_openings: 1 + bit(1),
        keep_warm: argument & 3 == 0,
    }
}

impl World {
    fn new() -> Self {
        let mut core = Core::new(WORKERS, 7);
        let now = Tick(1_000_000);
        let options: Vec<_> = (0..POOLS).map(|_| options(0)).collect();
        let pools: Vec<_> =
            (0..POOLS).map(|pool| core.add_pool(key(pool), &options[0], now)).collect();
        let origin = |database: &str| Origin { node: "db".into(), database: database.into() };
        pools.iter().for_each(|pool| core.set_origin(*pool, origin("y")));
        core.set_origin(pools[0], origin("x"));
        Self {
            core,
            now,
            pools,
            options,
            clients: Vec::new(),
            leases: Vec::new(),
            openings: Vec::new(),
            alive: BTreeSet::new(),
            last_back: None,
            next_server: 0,
            next_handle: 0,
            before: Vec::new(),
        }
    }

    fn at(&self, worker: u8) -> At {
        At { worker: WorkerId(worker % WORKERS), now: self.now }
    }

    fn step(&mut self, operation: u8, argument: u8) {
        self.now = self.now.after(u64::from(operation >> 4) * 300);
        let pick = usize::from(argument);
        match operation & 15 {
            0..=3 => self.checkout(argument, Kind::Shared),
            4 => self.checkout(argument, Kind::Dedicated),
            5 if argument >= 192 && !self.leases.is_empty() => {
                let slot = self.leases[pick % self.leases.len()].slot;
                let reasons = [None, Some("LISTEN"), Some("advisory lock")];
                self.core.set_pinned(slot, reasons[usize::from(operation >> 4) % 3], self.now);
                for (pool, holders) in self.core.take_held() {
                    assert_eq!(self.core.holders(pool), Some(holders), "another's holders");
                }
            }
            5 | 6 if !self.leases.is_empty() => {
                let lease = self.leases.swap_remove(pick % self.leases.len());
                self.put_back(lease);
            }
            7 if !self.leases.is_empty() => {
                let lease = self.leases.swap_remove(pick % self.leases.len());
                self.close(lease.server);
                assert!(self.core.discard(lease.slot, self.now), "a lease was not known");
                if operation >> 4 != 0 {
                    // It was dead: whoever had it asks again.
                    self.ask(argument, lease.worker, Kind::Shared, Some(lease.place));
                }
            }
            8 | 9 if !self.openings.is_empty() => {
                let opening = self.openings.swap_remove(pick % self.openings.len());
                self.finish(opening, operation, argument);
            }
            10 if !self.clients.is_empty() => {
                let client = self.clients.swap_remove(pick % self.clients.len());
                self.core.leave(client.waiter, self.now);
                self.core.leave(client.waiter, self.now);
            }
            11 | 12 => self.poll_all(),
            13 => {
                self.now = self.now.after(u64::from(argument) * 10_000);
                self.core.upkeep(self.now);
                self.settle();
                assert!(!self.core.could_open(self.now), "an opening was forgotten");
            }
            14 => {
                let pool = argument % POOLS;
                self.options[usize::from(pool)] = options(argument.rotate_left(3));
                // Shared limits are those set last: let all pools agree.
                for (id, options) in self.pools.iter().zip(&mut self.options) {
                    options.max_db_connections = 3 * u32::from(argument >> 4 & 1);
                    options.max_user_connections = 2 * u32::from(argument >> 5 & 1);
                    assert!(self.core.set_options(*id, options, self.now), "a pool was not known");
                }
                self.before.clear();
            }
            15 if argument >= 240 => self.sweep(argument),
            15 => self.administer(argument),
            _ => {}
        }
    }

    /// Every idle server that the argument suspects is taken out and put back, or has died.
    fn sweep(&mut self, argument: u8) {
        let suspects = self.core.suspects(self.now, |server| server % 2 == u32::from(argument & 1));
        for suspect in suspects {
            let worker = suspect.was_home;
            self.lease(suspect, worker);
            let Some(lease) = self.leases.pop() else { return };
            if argument & 2 == 0 {
                self.put_back(lease);
            } else {
                self.close(lease.server);
                assert!(self.core.discard(lease.slot, self.now), "a lease was not known");
            }
        }
    }

    fn administer(&mut self, argument: u8) {
        let pool = argument % POOLS;
        let index = usize::from(pool);
        let id = self.pools[index];
        match argument / POOLS % 6 {
            4 => {
                let is_meant = |_, handle: &ServerHandle| handle.id % 3 == u64::from(argument & 1);
                self.core.retire(self.now, is_meant);
            }
            5 => {
                self.core.vacate("x", None, self.now);
                let idle = |pool: &PoolSnapshot| pool.idle == 0 || pool.pool != self.pools[0];
                assert!(self.core.snapshot(self.now).iter().all(idle), "an idle server is left");
            }
            0 => {
                assert!(self.core.remove_pool(id, self.now), "a pool was not known");
                assert!(!self.core.remove_pool(id, self.now), "a pool was removed twice");
                self.pools[index] = self.core.add_pool(key(pool), &self.options[index], self.now);
                let database = if pool == 0 { "x" } else { "y" };
                let origin = Origin { node: "db".into(), database: database.into() };
                self.core.set_origin(self.pools[index], origin);
                assert_ne!(self.pools[index], id, "a removed pool came back");
                self.before.clear();
            }
            1 => assert!(self.core.reconnect(id, self.now), "a pool was not known"),
            2 => {
                self.core.pause(id);
            }
            _ => {
                self.core.resume(id, self.now);
            }
        }
    }

    fn checkout(&mut self, argument: u8, kind: Kind) {
        self.ask(argument, self.at(argument / POOLS).worker, kind, None);
    }

    fn ask(&mut self, argument: u8, worker: WorkerId, kind: Kind, place: Option<Place>) {
        let pool = self.pools[usize::from(argument % POOLS)];
        let at = At { worker, now: self.now };
        let woken = Arc::new(Flag::default());
        let preferred = self.last_back.filter(|_| argument & 64 != 0);
        let request = Request { kind, is_login: argument & 128 != 0, place, preferred };
        let failing = self.core.last_failure(pool, kind).map(|failure| *failure);
        match self.core.checkout(pool, request, at, &Waker::from(Arc::clone(&woken))) {
            Checkout::Ready(ready) => self.lease(ready, at.worker),
            Checkout::Waiting(waiter) => {
                self.clients.push(Client { waiter, worker: at.worker, woken });
            }
            Checkout::Refused(refusal) => self.check_refusal(request, &refusal, failing),
        }
    }

    /// A request is refused only for a known failure, and a statement only for a lasting one.
    fn check_refusal(
        &self,
        request: Request,
        refusal: &Refusal<&'static str>,
        failing: Option<&'static str>,
    ) {
        let Refusal::Failing(told) = refusal else {
            return assert!(matches!(refusal, Refusal::Removed), "an asker was not heard");
        };
        assert_eq!(Some(**told), failing, "refused for another failure than the last");
        assert!(request.is_login || **told == LASTING, "a statement was refused: {told}");
    }

    fn lease(&mut self, ready: Ready<u32>, worker: WorkerId) {
        assert!(self.alive.contains(&ready.server), "a closed server was handed out");
        let twice = self.leases.iter().any(|lease| lease.server == ready.server);
        assert!(!twice, "a server was handed out twice");
        let Ready { slot, server, place, .. } = ready;
        self.leases.push(Lease { slot, server, worker, place });
    }

    fn put_back(&mut self, lease: Lease) {
        self.last_back = Some(lease.slot);
        let at = At { worker: lease.worker, now: self.now };
        match self.core.put_back(lease.slot, lease.server, at) {
            Placed::Handed | Placed::Idle => {}
            Placed::Close(server, _) => self.close(server),
        }
        let again = self.core.put_back(lease.slot, u32::MAX, at);
        assert!(matches!(again, Placed::Close(u32::MAX, _)), "a server was put back twice");
    }

    fn close(&mut self, server: u32) {
        assert!(self.alive.remove(&server), "a server was closed twice");
    }

    fn finish(&mut self, opening: Opening, operation: u8, argument: u8) {
        if operation & 15 == 8 {
            return self.open(opening);
        }
        let (class, told) = match argument & 96 {
            0 | 32 => (FailureClass::Lasting, LASTING),
            64 => (FailureClass::Unreachable, "nobody answers"),
            _ => (FailureClass::Passing, "starting up"),
        };
        if argument & 128 == 0 {
            self.core.open_failed(opening.slot, Arc::new(told), class, self.now);
        } else {
            assert!(self.core.discard(opening.slot, self.now), "an opening was not known");
        }
        assert!(!self.core.discard(opening.slot, self.now), "an opening ended twice");
    }

    fn open(&mut self, opening: Opening) {
        let server = self.next_server;
        self.next_server += 1;
        self.alive.insert(server);
        let at = At { worker: opening.worker, now: self.now };
        match self.core.opened(opening.slot, server, at) {
            Placed::Handed | Placed::Idle => {}
            Placed::Close(server, _) => self.close(server),
        }
    }

    /// Everybody looks: who was woken has an answer, who was not has none.
    fn poll_all(&mut self) {
        for client in mem::take(&mut self.clients) {
            let woken = client.woken.0.load(Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&client.woken));
            let answer = self.core.poll_wait(client.waiter, &waker, || self.now);
            assert_eq!(woken, !matches!(answer, Wait::Pending), "woken and answered differ");
            match answer {
                Wait::Pending => self.clients.push(client),
                Wait::Ready(ready) => self.lease(ready, client.worker),
                Wait::Refused(Refusal::Failing(told)) => {
                    assert_eq!(*told, LASTING, "a waiter was refused though the failure passes");
                }
                Wait::Refused(_) => {}
            }
        }
    }

    /// Runs the effects and compares accounts.
    fn settle(&mut self) {
        let effects = self.core.take_effects();
        for opening in &effects.openings {
            self.next_handle += 1;
            let handle = Arc::new(ServerHandle::new(self.next_handle));
            assert!(self.core.introduce(opening.slot, &handle), "an opening was not known");
        }
        self.openings.extend(effects.openings);
        for closing in effects.closes {
            self.close(closing.server);
        }
        effects.wakes.into_iter().for_each(Waker::wake);
        if let Err(broken) = self.core.check() {
            assert!(broken.is_empty(), "{broken}");
        }
        let pools = self.core.snapshot(self.now);
        let open: u32 = pools.iter().map(|p| p.idle + p.granted + p.leased).sum();
        let opening: u32 = pools.iter().map(|p| p.opening).sum();
        let leased: u32 = pools.iter().map(|p| p.leased).sum();
        assert_eq!(open as usize, self.alive.len(), "servers were lost or invented");
        assert_eq!(opening as usize, self.openings.len(), "openings were lost or invented");
        assert_eq!(leased as usize, self.leases.len(), "leases were lost or invented");
        self.check_limits(&pools);
        self.before = pools;
    }

    /// No limit is passed; one lowered by a reload may be, as long as nothing is opened.
    fn check_limits(&self, pools: &[PoolSnapshot]) {
        let servers = |p: &PoolSnapshot| p.opening + p.idle + p.granted + p.leased;
        let openings = |pools: &[PoolSnapshot]| pools.iter().map(|p| p.stats.openings).sum::<u64>();
        if self.before.is_empty() || openings(pools) <= openings(&self.before) {
            return;
        }
        for (id, options) in self.pools.iter().zip(&self.options) {
            let Some(pool) = pools.iter().find(|p| p.pool == *id) else { continue };
            let before = self.before.iter().find(|p| p.pool == *id);
            if before.is_none_or(|p| p.stats.openings == pool.stats.openings) {
                continue;
            }
            let most = options.pool_size + options.reserve_pool_size;
            assert!(servers(pool) <= most, "pool_size is passed: {pool:?}");
            let of = |same: &dyn Fn(&PoolKey) -> bool| -> u32 {
                pools.iter().filter(|p| same(&p.key)).map(servers).sum()
            };
            let (database, user) = (options.max_db_connections, options.max_user_connections);
            let in_database = of(&|key| key.database == pool.key.database);
            let of_user = of(&|key| key.user == pool.key.user);
            assert!(database == 0 || in_database <= database, "max_db_connections is passed");
            assert!(user == 0 || of_user <= user, "max_user_connections is passed");
        }
    }

    /// From here on all goes well: everybody must be served, soon.
    fn serve_all(&mut self) {
        for pool in self.pools.clone() {
            self.core.resume(pool, self.now);
        }
        self.settle();
        let mut rounds = 0;
        while !(self.clients.is_empty() && self.openings.is_empty() && self.leases.is_empty()) {
            rounds += 1;
            assert!(rounds < ROUNDS_TO_SERVE_ALL, "{} clients wait for ever", self.clients.len());
            for opening in mem::take(&mut self.openings) {
                self.open(opening);
            }
            self.settle();
            self.poll_all();
            for lease in mem::take(&mut self.leases) {
                self.put_back(lease);
            }
            self.settle();
            self.now = self.now.after(100_000);
            self.core.upkeep(self.now);
            self.settle();
        }
    }

    fn close_all(&mut self) {
        for pool in self.pools.clone() {
            assert!(self.core.remove_pool(pool, self.now), "a pool was not known");
            self.settle();
        }
        assert_eq!(self.core.population(), (0, 0), "slots or waiters were left behind");
        assert!(self.core.snapshot(self.now).is_empty(), "pools were left behind");
        assert!(self.alive.is_empty(), "servers were left behind");
    }
}
