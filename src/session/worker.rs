//! What the sessions of one worker thread share.
//!
//! Owns the thread's clock, its buffers and its list of clients. Nothing in it is shared with
//! other threads but the handles.

use super::client_handle::{ClientHandle, NEVER, Order};
use super::common::Common;
use super::text_cache::TextCache;
use crate::metrics::counted;
use crate::net::{Resolver, SCRATCH, TcpOptions};
use crate::pool::WorkerId;
use crate::pool::core::Tick;
use metrics::Counter;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// One worker thread.
#[derive(Debug)]
pub struct Worker {
    /// Its number.
    pub id: WorkerId,
    /// What all sessions share.
    pub common: Arc<Common>,
    /// Resolves names for cancel requests.
    pub resolver: Resolver,
    /// Socket options of connections to servers.
    pub tcp: TcpOptions,
    /// Questions to servers what a transaction has left of the session.
    pub(super) checks: Counter,
    handles: RefCell<Slab<Arc<ClientHandle>>>,
    coarse: Cell<Tick>,
    /// No alarm is due before: thousands of silent clients are not looked at twenty times a second.
    next_alarm: Cell<Tick>,
    draining: Cell<bool>,
    /// The state of a generator of numbers that nobody has to guess: xorshift64*.
    random: Cell<u64>,
    /// What one poll reads into.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// The texts that its clients send.
    pub(super) texts: RefCell<TextCache>,
    /// The text that was judged last, where the route is `advise`.
    pub(super) judged: RefCell<Vec<u8>>,
    /// What is put together for one write.
    pub(super) assembly: RefCell<Vec<u8>>,
}

/// Bytes that the assembly may keep for the next time.
const ASSEMBLY_KEPT: usize = 2 * SCRATCH;

impl Worker {
    /// Without clients.
    pub fn new(id: WorkerId, common: Arc<Common>, reach: (Resolver, TcpOptions)) -> Self {
        let coarse = Cell::new(common.pools.now());
        let texts = RefCell::new(TextCache::new(&common.queries, usize::from(id.0)));
        Self {
            id,
            common,
            resolver: reach.0,
            tcp: reach.1,
            checks: counted::checks(),
            handles: RefCell::default(),
            coarse,
            next_alarm: Cell::new(NEVER),
            draining: Cell::new(false),
            random: Cell::new(RandomState::new().hash_one(id.0) | 1),
            texts,
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            judged: RefCell::default(),
            assembly: RefCell::default(),
        }
    }

    /// A number at random.
    pub(super) fn random(&self) -> u64 {
        let mut state = self.random.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.random.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The moment, as of the last tick: for time-outs, which are coarse.
    #[inline]
    pub fn coarse_now(&self) -> Tick {
        self.coarse.get()
    }

    /// Time has passed: rings the alarms that are due.
    pub fn tick(&self) {
        let now = self.common.pools.now();
        self.coarse.set(now);
        if now < self.next_alarm.get() {
            return;
        }
        let mut next = NEVER;
        for (_, handle) in self.handles.borrow().iter() {
            handle.ring(now);
            next = next.min(handle.alarm());
        }
        self.next_alarm.set(next);
    }

    /// Sets a client's alarm.
    #[inline]
    pub(super) fn set_alarm(&self, handle: &ClientHandle, at: Option<Tick>) {
        handle.set_alarm(at);
        if let Some(at) = at {
            self.next_alarm.set(self.next_alarm.get().min(at));
        }
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.handles.borrow().len()
    }

    /// Adds a client.
    pub(super) fn enter(&self, handle: &Arc<ClientHandle>) -> usize {
        if self.draining.get() {
            handle.order(Order::Drain);
        }
        self.handles.borrow_mut().insert(Arc::clone(handle))
    }

    /// A client left.
    pub(super) fn leave(&self, place: usize) {
        drop(self.handles.borrow_mut().remove(place));
    }

    /// Orders clients to leave. `order`: which order each of them gets, if any.
    pub fn dismiss(&self, order: impl Fn(&ClientHandle) -> Option<Order>) {
        self.draining.set(true);
        for (_, handle) in self.handles.borrow().iter() {
            if let Some(order) = order(handle) {
                handle.order(order);
            }
        }
    }

    /// Whether every client has been ordered to leave.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Gives a large assembly's memory back.
    pub(super) fn trim(assembly: &mut Vec<u8>) {
        assembly.clear();
        if assembly.capacity() > ASSEMBLY_KEPT {
            *assembly = Vec::new();
        }
    }
}
