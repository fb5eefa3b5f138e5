//! The handle by which other threads see a client and reach it.
//!
//! Owns the client's cancel key, the server it is linked to, its alarm and the orders for it.
//! Keeps the invariant that only the session itself begins a cancel request for the server that it has:
//! it does not give the server away before the request is through.

use super::peers::{self, Key};
use super::route::Route;
use super::target::Purpose;
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
    /// All sessions were suspended or resumed.
    SuspendChanged = 32,
    /// A cancel request was delivered a moment ago: has it hit?
    CancelAgain = 64,
    /// A node was given up: leave its server.
    NodeLost = 128,
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
    /// The servers that it has aside: one for writes and one for reads.
    aside: [Option<Arc<CancelTarget>>; 2],
    waker: Option<Waker>,
    application_name: Box<str>,
    /// Cancel requests on which the session has not decided yet.
    cancels: Vec<CancelDecision>,
    is_over: bool,
}

/// What is known of a client since its login. It never changes.
#[derive(Debug)]
pub struct ClientInfo {
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

/// What a client is doing.
#[derive(Clone, Debug)]
pub enum ClientState {
    /// Nothing that needs a server.
    Idle,
    /// It waits for a server.
    Waiting,
    /// It has this server, in use or aside.
    Active(Arc<CancelTarget>),
}

/// One client, as other threads see it.
#[derive(Debug)]
pub struct ClientHandle {
    /// Unique in this process; in the log.
    pub id: u64,
    /// Its user, address and the like.
    pub info: ClientInfo,
    /// When it last asked for a server, as [`Tick`]s.
    requested: AtomicU64,
    /// Statements that it has prepared by name.
    pub prepared: Cell,
    key: Key,
    shared: Mutex<Shared>,
    alarm: AtomicU64,
    orders: AtomicU8,
    is_resting: AtomicBool,
}

/// The alarm of a client that has none.
pub(super) const NEVER: Tick = Tick(u64::MAX);

impl ClientHandle {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock()
    }

    /// The client's cancel key.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Sets the task that an order wakes.
    pub fn set_waker(&self, waker: &Waker) {
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

    /// Gives the order back that the session has just taken: it is awake, and looks again when it is
    /// woken next.
    pub(super) fn postpone(&self, order: Order) {
        self.orders.fetch_or(order as u8, Ordering::AcqRel);
    }

    /// Takes this order, if the session has it. Orders to leave stay.
    #[inline]
    pub fn take_order(&self, order: Order) -> bool {
        let orders = self.orders.load(Ordering::Acquire);
        if orders & order as u8 == 0 {
            return false;
        }
        let is_once = matches!(
            order,
            Order::Alarm
                | Order::Cancel
                | Order::SuspendChanged
                | Order::CancelAgain
                | Order::NodeLost
        );
        if is_once {
            self.orders.fetch_and(!(order as u8), Ordering::AcqRel);
        }
        true
    }

    /// Whether there is any order.
    #[inline]
    pub fn has_orders(&self) -> bool {
        self.orders.load(Ordering::Acquire) != 0
    }

    /// Sets when the client last asked for a server.
    #[inline]
    pub fn set_requested(&self, at: Tick) {
        self.requested.store(at.0, Ordering::Relaxed);
    }

    /// When it last asked for a server; zero before the first time.
    pub fn requested(&self) -> Tick {
        Tick(self.requested.load(Ordering::Relaxed))
    }

    /// What it does.
    pub fn state(&self) -> ClientState {
        let shared = self.lock();
        match (&shared.link, shared.aside.iter().flatten().next()) {
            (Link::Idle, None) => ClientState::Idle,
            (Link::Waiting, _) => ClientState::Waiting,
            (Link::On(target), _) | (Link::Idle, Some(target)) => {
                ClientState::Active(Arc::clone(target))
            }
        }
    }

    /// All servers that it has, in use or aside.
    pub fn servers(&self) -> impl Iterator<Item = Arc<CancelTarget>> + use<> {
        let shared = self.lock();
        let used =
            if let Link::On(target) = &shared.link { Some(Arc::clone(target)) } else { None };
        let [writes, reads] = shared.aside.clone();
        [used, writes, reads].into_iter().flatten()
    }

    /// Sets the server that the session has aside for this.
    pub(super) fn set_aside(&self, purpose: Purpose, target: Option<Arc<CancelTarget>>) {
        let [writes, reads] = &mut self.lock().aside;
        match purpose {
            Purpose::Writes => *writes = target,
            Purpose::Reads => *reads = target,
        }
    }

    /// Sets its `application_name`; `None` clears it.
    pub fn set_application_name(&self, name: Option<&str>) {
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

    /// Sets whether the session is suspended and has nothing left to write.
    pub fn set_resting(&self, is_resting: bool) {
        self.is_resting.store(is_resting, Ordering::Release);
    }

    /// Whether it reads nothing and has nothing to write.
    pub fn is_resting(&self) -> bool {
        self.is_resting.load(Ordering::Acquire)
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

    /// The client's statement waits in the session. When a server is set afterwards, the session
    /// finds the order of each cancel request that came meanwhile.
    pub fn set_waiting(&self) {
        self.lock().link = Link::Waiting;
    }

    /// Sets the server that the session has.
    pub fn set_server(&self, target: &Arc<CancelTarget>) {
        self.lock().link = Link::On(Arc::clone(target));
    }

    /// Clears the session's server. No new cancel request reaches the old server after this.
    pub fn clear_server(&self) {
        self.lock().link = Link::Idle;
    }

    /// A cancel request for this client came. The session decides, when it has read what the client
    /// had sent before: gives the request to be delivered, if something of the client's runs on a
    /// server. Cancel safe.
    pub async fn cancel(&self) -> Option<CancelInFlight> {
        let (sender, receiver) = oneshot::channel();
        if !self.push_cancel(sender) {
            return None;
        }
        receiver.await.ok().flatten()
    }

    /// Whether the session is still there to decide.
    fn push_cancel(&self, sender: oneshot::Sender<Option<CancelInFlight>>) -> bool {
        let mut shared = self.lock();
        if shared.is_over {
            return false;
        }
        shared.cancels.push(sender);
        self.order_locked(Order::Cancel, shared);
        true
    }

    /// The cancel requests that wait for the session's decision.
    pub(super) fn take_cancels(&self) -> Vec<CancelDecision> {
        std::mem::take(&mut self.lock().cancels)
    }

    /// Ends the handle: the session is over and runs nothing any more.
    pub(super) fn end(&self) {
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
    by_key: Mutex<HashMap<Key, Arc<ClientHandle>, foldhash::fast::RandomState>>,
    last: AtomicU64,
    /// The number of this process among its peers; zero when it has none.
    peer_id: AtomicU16,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<ClientHandle>, foldhash::fast::RandomState>> {
        self.by_key.lock()
    }

    /// A number for a new connection.
    pub fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Registers a client under a unique cancel key.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn register(
        &self,
        id: u64,
        info: ClientInfo,
    ) -> Result<Arc<ClientHandle>, getrandom::Error> {
        let mut handle = ClientHandle {
            id,
            info,
            requested: AtomicU64::new(0),
            prepared: Cell::default(),
            key: Key::default(),
            shared: Mutex::default(),
            alarm: AtomicU64::new(NEVER.0),
            orders: AtomicU8::new(0),
            is_resting: AtomicBool::new(false),
        };
        loop {
            let mut key = Key::default();
            getrandom::fill(&mut key)?;
            // Drivers read the process id as a signed number, and some take zero for "none".
            key[0] &= 0x7f;
            key[3] |= 1;
            peers::mark(&mut key, self.peer_id());
            handle.key = key;
            if let hashbrown::hash_map::Entry::Vacant(free) = self.lock().entry(key) {
                let handle = Arc::new(handle);
                free.insert(Arc::clone(&handle));
                return Ok(handle);
            }
        }
    }

    /// The client left.
    pub fn forget(&self, handle: &ClientHandle) {
        self.lock().remove(&handle.key);
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
    pub fn find(&self, key: &Key) -> Option<Arc<ClientHandle>> {
        self.lock().get(key).cloned()
    }

    /// All of them, in the order in which they came.
    pub fn list(&self) -> Vec<Arc<ClientHandle>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_unstable_by_key(|handle| handle.id);
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
