//! One pool core with its callers: counts wakes, numbers servers, and checks after each step.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};

use super::super::*;

pub(super) const MS: u64 = 1_000;
pub(super) const SECOND: u64 = 1_000 * MS;
pub(super) const HERE: WorkerId = WorkerId(0);
pub(super) const THERE: WorkerId = WorkerId(1);

#[derive(Debug, Default)]
pub(super) struct Wakes(AtomicU32);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A core, its clock, and what it ordered.
pub(super) struct Bench {
    pub(super) core: Core<u32, &'static str>,
    pub(super) now: Tick,
    pub(super) openings: Vec<Opening>,
    pub(super) closed: Vec<(u32, CloseReason)>,
    pub(super) wakes: Arc<Wakes>,
    next_server: u32,
}

pub(super) fn key(database: u32, user: u32) -> PoolKey {
    PoolKey { database: DatabaseId(database), node: NodeId(0), user: UserId(user) }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            core: Core::new(2, 42),
            now: Tick(1_000 * SECOND),
            openings: Vec::new(),
            closed: Vec::new(),
            wakes: Arc::default(),
            next_server: 0,
        }
    }

    /// A bench with one pool.
    pub(super) fn with(options: PoolOptions) -> (Self, PoolId) {
        let mut bench = Self::new();
        let pool = bench.add(key(1, 1), options);
        (bench, pool)
    }

    pub(super) fn add(&mut self, key: PoolKey, options: PoolOptions) -> PoolId {
        let pool = self.core.add_pool(key, &options, self.now);
        self.run();
        pool
    }

    pub(super) fn at(&self, worker: WorkerId) -> At {
        At { worker, now: self.now }
    }

    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.wakes))
    }

    pub(super) fn woken(&self) -> u32 {
        self.wakes.0.load(Ordering::Relaxed)
    }

    /// Carries out the effects and checks the books.
    pub(super) fn run(&mut self) {
        let effects = self.core.take_effects();
        self.openings.extend(effects.openings);
        self.closed.extend(effects.closes.iter().map(|c| (c.server, c.reason)));
        effects.wakes.into_iter().for_each(Waker::wake);
        assert_eq!(self.core.check(), Ok(()));
    }

    pub(super) fn ask(
        &mut self,
        pool: PoolId,
        request: impl Into<Request>,
        worker: WorkerId,
    ) -> Asked {
        let answer = self.core.checkout(pool, request, self.at(worker), &self.waker());
        self.run();
        match answer {
            Checkout::Ready(ready) => Asked::Ready(ready),
            Checkout::Waiting(waiter) => Asked::Waiting(waiter),
            Checkout::Refused(Refusal::Failing(failure)) => Asked::Refused(*failure),
            Checkout::Refused(Refusal::Removed) => Asked::Refused("removed"),
            Checkout::Refused(Refusal::Answered) => Asked::Refused("answered"),
        }
    }

    pub(super) fn take(&mut self, pool: PoolId, worker: WorkerId) -> Ready<u32> {
        match self.ask(pool, Kind::Shared, worker) {
            Asked::Ready(ready) => ready,
            other @ (Asked::Waiting(_) | Asked::Refused(_)) => {
                panic!("expected a server, got {other:?}")
            }
        }
    }

    pub(super) fn wait(&mut self, pool: PoolId, worker: WorkerId) -> WaiterId {
        match self.ask(pool, Kind::Shared, worker) {
            Asked::Waiting(waiter) => waiter,
            other @ (Asked::Ready(_) | Asked::Refused(_)) => {
                panic!("expected to wait, got {other:?}")
            }
        }
    }

    pub(super) fn wait_dedicated(&mut self, pool: PoolId) -> WaiterId {
        match self.ask(pool, Kind::Dedicated, HERE) {
            Asked::Waiting(waiter) => waiter,
            other @ (Asked::Ready(_) | Asked::Refused(_)) => {
                panic!("expected to wait, got {other:?}")
            }
        }
    }

    /// `None` while pending.
    pub(super) fn poll(&mut self, waiter: WaiterId) -> Option<Asked> {
        let waker = self.waker();
        let answer = self.core.poll_wait(waiter, &waker, || self.now);
        self.run();
        match answer {
            Wait::Pending => None,
            Wait::Ready(ready) => Some(Asked::Ready(ready)),
            Wait::Refused(Refusal::Failing(failure)) => Some(Asked::Refused(*failure)),
            Wait::Refused(Refusal::Removed) => Some(Asked::Refused("removed")),
            Wait::Refused(Refusal::Answered) => Some(Asked::Refused("answered")),
        }
    }

    pub(super) fn served(&mut self, waiter: WaiterId) -> Ready<u32> {
        match self.poll(waiter) {
            Some(Asked::Ready(ready)) => ready,
            other => panic!("expected a server, got {other:?}"),
        }
    }

    pub(super) fn leave(&mut self, waiter: WaiterId) {
        self.core.leave(waiter, self.now);
        self.run();
    }

    pub(super) fn give(&mut self, ready: Ready<u32>, worker: WorkerId) -> Placed<u32> {
        let placed = self.core.put_back(ready.slot, ready.server, self.at(worker));
        self.run();
        placed
    }

    pub(super) fn discard(&mut self, slot: SlotId) {
        assert!(self.core.discard(slot, self.now));
        self.run();
    }

    pub(super) fn open(&mut self, opening: Opening) -> Placed<u32> {
        self.next_server += 1;
        let at = self.at(opening.worker);
        let placed = self.core.opened(opening.slot, self.next_server, at);
        self.run();
        placed
    }

    pub(super) fn open_all(&mut self) {
        while !self.openings.is_empty() {
            for opening in mem::take(&mut self.openings) {
                self.open(opening);
            }
        }
    }

    pub(super) fn fail_all(&mut self, failure: &'static str, class: FailureClass) -> usize {
        let openings = mem::take(&mut self.openings);
        for opening in &openings {
            self.core.open_failed(opening.slot, Arc::new(failure), class, self.now);
            self.run();
        }
        openings.len()
    }

    pub(super) fn pass(&mut self, micros: u64) {
        self.now = self.now.after(micros);
    }

    pub(super) fn upkeep(&mut self) {
        self.core.upkeep(self.now);
        self.run();
    }

    /// Lets time pass with upkeep every 100 ms.
    pub(super) fn pass_with_upkeep(&mut self, micros: u64) {
        for _ in 0..micros / (100 * MS) {
            self.pass(100 * MS);
            self.upkeep();
        }
    }

    /// Fills the pool with so many idle servers, all at this worker.
    pub(super) fn fill(&mut self, pool: PoolId, servers: usize, worker: WorkerId) {
        let waiters: Vec<_> = (0..servers).map(|_| self.wait(pool, worker)).collect();
        self.open_all();
        let ready: Vec<_> = waiters.into_iter().map(|waiter| self.served(waiter)).collect();
        for ready in ready {
            assert_eq!(self.give(ready, worker), Placed::Idle);
        }
    }

    pub(super) fn look(&self, pool: PoolId) -> PoolSnapshot {
        self.core.pool_snapshot(pool, self.now).expect("the pool exists")
    }

    /// (opening, idle, granted, leased, waiting)
    pub(super) fn counts(&self, pool: PoolId) -> [u32; 5] {
        let look = self.look(pool);
        [look.opening, look.idle, look.granted, look.leased, look.waiting]
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Ready(Ready<u32>),
    Waiting(WaiterId),
    Refused(&'static str),
}
