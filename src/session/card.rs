//! What other threads may know of a client, and how they reach it.
//!
//! Owns the client's cancel key, the server it is linked to, its alarm and the orders for it.
//! Keeps the invariant that only the session itself begins a cancel request for the server that it has:
//! it does not give the server away before the request is through.

use super::peers::{self, Key};
use super::route::Route;
use crate::backend::cancel::{CancelInFlight, CancelTarget};
use crate::metrics::Cell;
use crate::net::{Endpoints, Peer};
use crate::pool::core::Tick;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::task::Waker;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// Orders for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Its alarm went off.
    Alarm = 1,
    /// A cancel request came.
    Cancel = 2,
    /// Leave at the next transaction boundary.
    Drain = 4,
    /// Leave now.
    Stop = 8,
    /// Leave now, and take the server along.
    Kill = 16,
    /// All sessions were suspended, or may go on.
    Look = 32,
}

#[derive(Debug, Default)]
enum Link {
    #[default]
    Idle,
    Waiting,
    On(Arc<CancelTarget>),
}

#[derive(Debug, Default)]
struct Shared {
    link: Link,
    waker: Option<Waker>,
    application_name: Box<str>,
    /// Cancel requests on which the session has not decided yet.
    cancels: Vec<CancelDecision>,
    is_over: bool,
}

/// Who a client is; never changes.
#[derive(Debug)]
pub struct About {
    /// Its database and user; `None` for a client of the console.
    pub route: Option<Arc<Route>>,
    /// Its end of the connection.
    pub peer: Peer,
    /// Both ends, as the system knows them.
    pub ends: Endpoints,
    /// When it logged in.
    pub since: SystemTime,
    /// TLS version and cipher, if it is encrypted.
    pub tls: Option<Box<str>>,
    /// How it replicates.
    pub replication: Replication,
}

/// How a client replicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Not at all.
    None,
    /// By rows of its database.
    Logical,
    /// By blocks of the whole server.
    Physical,
}

/// What a client does at this moment.
#[derive(Clone, Debug)]
pub enum Doing {
    /// Nothing that needs a server.
    Idle,
    /// It waits for a server.
    Waiting,
    /// It has this server.
    Active(Arc<CancelTarget>),
}

/// One client, as other threads see it.
#[derive(Debug)]
pub struct Card {
    /// Unique in this process; in the log.
    pub id: u64,
    /// Who it is.
    pub about: About,
    /// When it last asked for a server, as [`Tick`]s.
    requested: AtomicU64,
    /// Statements that it has prepared by name.
    pub prepared: Cell,
    key: Key,
    shared: Mutex<Shared>,
    alarm: AtomicU64,
    orders: AtomicU8,
    rests: AtomicBool,
}

/// The alarm of a client that has none.
pub(super) const NEVER: Tick = Tick(u64::MAX);

impl Card {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    /// The client's cancel key.
    pub fn key(&self) -> Key {
        self.key
    }

    /// The session runs on this task from now on.
    pub fn attend(&self, waker: &Waker) {
        self.lock().waker = Some(waker.clone());
    }

    /// Gives the session an order and wakes it.
    pub fn order(&self, order: Order) {
        self.order_locked(order, self.lock());
    }

    fn order_locked(&self, order: Order, shared: MutexGuard<'_, Shared>) {
        self.orders.fetch_or(order as u8, Ordering::AcqRel);
        let waker = shared.waker.clone();
        drop(shared);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the session was given this order; it is done with then, except for good-byes.
    #[inline]
    pub fn take(&self, order: Order) -> bool {
        let orders = self.orders.load(Ordering::Acquire);
        if orders & order as u8 == 0 {
            return false;
        }
        if matches!(order, Order::Alarm | Order::Cancel | Order::Look) {
            self.orders.fetch_and(!(order as u8), Ordering::AcqRel);
        }
        true
    }

    /// Whether there is any order.
    #[inline]
    pub fn has_orders(&self) -> bool {
        self.orders.load(Ordering::Acquire) != 0
    }

    /// The client asked for a server at this moment.
    #[inline]
    pub fn requests(&self, at: Tick) {
        self.requested.store(at.0, Ordering::Relaxed);
    }

    /// When it last asked for a server; zero before the first time.
    pub fn requested(&self) -> Tick {
        Tick(self.requested.load(Ordering::Relaxed))
    }

    /// What it does.
    pub fn doing(&self) -> Doing {
        match &self.lock().link {
            Link::Idle => Doing::Idle,
            Link::Waiting => Doing::Waiting,
            Link::On(target) => Doing::Active(Arc::clone(target)),
        }
    }

    /// What its `application_name` is from here on; nothing when nobody has said.
    pub fn calls_itself(&self, name: Option<&str>) {
        self.lock().application_name = name.unwrap_or_default().into();
    }

    /// Its `application_name`.
    pub fn application_name(&self) -> String {
        self.lock().application_name.clone().into()
    }

    /// Whether it was told to leave.
    pub fn is_leaving(&self) -> bool {
        let leave = Order::Drain as u8 | Order::Stop as u8 | Order::Kill as u8;
        self.orders.load(Ordering::Acquire) & leave != 0
    }

    /// The session, which is suspended, has written what was to be written; or it has not, or goes on.
    pub fn rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Release);
    }

    /// Whether it reads nothing and has nothing to write.
    pub fn is_resting(&self) -> bool {
        self.rests.load(Ordering::Acquire)
    }

    /// Sets or stops the alarm.
    #[inline]
    pub(super) fn set_alarm(&self, at: Option<Tick>) {
        self.alarm.store(at.unwrap_or(NEVER).0, Ordering::Relaxed);
    }

    /// When it rings.
    pub(super) fn alarm(&self) -> Tick {
        Tick(self.alarm.load(Ordering::Relaxed))
    }

    /// Rings if the alarm's time has come.
    pub fn ring(&self, now: Tick) {
        if self.alarm.load(Ordering::Relaxed) <= now.0 {
            self.alarm.store(NEVER.0, Ordering::Relaxed);
            self.order(Order::Alarm);
        }
    }

    /// The client's statement waits in the session. Whoever links a server afterwards finds the
    /// order of each cancel request that came meanwhile.
    pub fn waits(&self) {
        self.lock().link = Link::Waiting;
    }

    /// The session was given this server.
    pub fn links(&self, target: &Arc<CancelTarget>) {
        self.lock().link = Link::On(Arc::clone(target));
    }

    /// The session has no server any more. After this no new cancel request reaches the one it had.
    pub fn unlinks(&self) {
        self.lock().link = Link::Idle;
    }

    /// A cancel request for this client came. The session decides, when it has read what the client
    /// had sent before: gives the request to be delivered, if something of the client's runs on a
    /// server. Cancel safe.
    pub async fn cancel(&self) -> Option<CancelInFlight> {
        let (sender, receiver) = oneshot::channel();
        let mut shared = self.lock();
        if shared.is_over {
            return None;
        }
        shared.cancels.push(sender);
        self.order_locked(Order::Cancel, shared);
        receiver.await.ok().flatten()
    }

    /// The cancel requests that wait for the session's decision.
    pub(super) fn take_cancels(&self) -> Vec<CancelDecision> {
        std::mem::take(&mut self.lock().cancels)
    }

    /// The session is over: nothing of its client's runs any more.
    pub(super) fn is_over(&self) {
        let mut shared = self.lock();
        shared.is_over = true;
        let cancels = std::mem::take(&mut shared.cancels);
        drop(shared);
        drop(cancels);
    }
}

/// Where the session's decision on a cancel request goes.
pub(super) type CancelDecision = oneshot::Sender<Option<CancelInFlight>>;

/// All clients of the process by their cancel keys. One lock, taken at login, logout and cancel.
#[derive(Debug, Default)]
pub struct Clients {
    by_key: Mutex<HashMap<Key, Arc<Card>, foldhash::fast::RandomState>>,
    last: AtomicU64,
    /// The number of this process among its peers; zero when it has none.
    peer_id: AtomicU16,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Card>, foldhash::fast::RandomState>> {
        self.by_key.lock()
    }

    /// A number for a new connection.
    pub fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// A card with a key nobody else has.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn register(&self, id: u64, about: About) -> Result<Arc<Card>, getrandom::Error> {
        let mut card = Card {
            id,
            about,
            requested: AtomicU64::new(0),
            prepared: Cell::default(),
            key: Key::default(),
            shared: Mutex::default(),
            alarm: AtomicU64::new(NEVER.0),
            orders: AtomicU8::new(0),
            rests: AtomicBool::new(false),
        };
        loop {
            let mut key = Key::default();
            getrandom::fill(&mut key)?;
            // Drivers read the process id as a signed number, and some take zero for "none".
            key[0] &= 0x7f;
            key[3] |= 1;
            peers::mark(&mut key, self.peer_id());
            card.key = key;
            if let hashbrown::hash_map::Entry::Vacant(free) = self.lock().entry(key) {
                let card = Arc::new(card);
                free.insert(Arc::clone(&card));
                return Ok(card);
            }
        }
    }

    /// The client left.
    pub fn forget(&self, card: &Card) {
        self.lock().remove(&card.key);
    }

    /// The number of this process among its peers; zero when it has none.
    pub fn peer_id(&self) -> u16 {
        self.peer_id.load(Ordering::Relaxed)
    }

    /// From now on new keys name this process.
    pub fn set_peer_id(&self, number: u16) {
        self.peer_id.store(number, Ordering::Relaxed);
    }

    /// The client with exactly this key.
    pub fn find(&self, key: &Key) -> Option<Arc<Card>> {
        self.lock().get(key).cloned()
    }

    /// All of them, in the order in which they came.
    pub fn list(&self) -> Vec<Arc<Card>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_unstable_by_key(|card| card.id);
        all
    }

    /// How many clients there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
