//! The words of the pool core: names of things, options, results, and what is left to do after an
//! operation.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use super::arena::Key;

/// A moment on a monotonic clock that the caller reads: microseconds since an epoch of its choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// Microseconds from `earlier` to here; 0 if `earlier` is later (threads read the clock before
    /// they get the lock, so moments may arrive out of order).
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment so many microseconds later.
    #[must_use]
    pub const fn after(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// A `Duration` in microseconds, saturating.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A worker thread, numbered from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u8);

/// Where and when an operation happens.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The calling worker; below the number given to [`Core::new`](super::Core::new).
    pub worker: WorkerId,
    /// The moment.
    pub now: Tick,
}

/// A database entry of the configuration, numbered by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseId(pub u32);

/// A PostgreSQL instance, numbered by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A user, numbered by the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u32);

/// What makes two servers interchangeable. `max_db_connections` counts over all pools of the same
/// database and node, `max_user_connections` over all pools of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolKey {
    /// The database entry.
    pub database: DatabaseId,
    /// The node.
    pub node: NodeId,
    /// The user the servers log in as.
    pub user: UserId,
}

/// A pool; an id kept after the pool was removed finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub(super) Key);

/// A server connection that exists in any state, from the start of its opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub(super) Key);

/// Someone who waits for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub(super) Key);

/// What the servers of a pool are connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The node, as the configuration writes it.
    pub node: Box<str>,
    /// The database on the node, whatever clients call it.
    pub database: Box<str>,
}

/// The settings of one pool. A size or limit of 0 means unlimited, a timeout of 0 means off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Servers the pool may have.
    pub pool_size: u32,
    /// Servers kept while the pool is in use (or always, with `keep_warm`).
    pub min_pool_size: u32,
    /// Servers beyond `pool_size` once the oldest waiter waited `reserve_pool_timeout`.
    pub reserve_pool_size: u32,
    /// See `reserve_pool_size`; also how long a reserve server must idle before it is given back.
    pub reserve_pool_timeout: Duration,
    /// Servers over all pools of this database and node; the value set last counts for all.
    pub max_db_connections: u32,
    /// Servers over all pools of this user; the value set last counts for all.
    pub max_user_connections: u32,
    /// An idle server above `min_pool_size` is closed after this.
    pub server_idle_timeout: Duration,
    /// A free server this old (±10 %, drawn per server) is closed.
    pub server_lifetime: Duration,
    /// Longest pause between attempts while servers cannot be opened. Pauses start at 250 ms and
    /// double up to this; less than 100 ms counts as 100 ms.
    pub server_login_retry: Duration,
    /// Openings in flight at once. Each costs the node a fork and a login; four fill a pool of 20
    /// in five logins' time and cannot occupy more than four of the node's cores.
    pub max_parallel_openings: u32,
    /// Keep `min_pool_size` even when nobody uses the pool.
    pub keep_warm: bool,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            pool_size: 20,
            min_pool_size: 0,
            reserve_pool_size: 0,
            reserve_pool_timeout: Duration::from_secs(5),
            max_db_connections: 0,
            max_user_connections: 0,
            server_idle_timeout: Duration::from_secs(600),
            server_lifetime: Duration::from_secs(3600),
            server_login_retry: Duration::from_secs(15),
            max_parallel_openings: 4,
            keep_warm: false,
        }
    }
}

/// What kind of server a session asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any server of the pool.
    Shared,
    /// A new server of its own (replication, or parameters only startup can set), closed afterwards.
    Dedicated,
}

/// A place among all who ask for servers: who asked first is served first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Order of arrival.
    pub(super) sequence: u64,
    /// When it asked.
    pub(super) since: Tick,
}

impl Place {
    /// When the holder of the place asked for a server.
    #[must_use]
    pub fn since(self) -> Tick {
        self.since
    }

    /// The same for who asks then.
    #[must_use]
    pub(in crate::pool) fn asked_at(self, since: Tick) -> Self {
        Self { since, ..self }
    }
}

/// What is asked for, and who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which kind of server.
    pub kind: Kind,
    /// The client is logging in: while nobody answers at the node it is refused at once, where a
    /// statement waits.
    pub is_login: bool,
    /// Its earlier place, if it had a server that turned out to be dead: it keeps the place.
    pub place: Option<Place>,
    /// The server that it would like best: it gets that one if it is idle.
    pub preferred: Option<SlotId>,
}

impl From<Kind> for Request {
    /// A statement asks for the first time.
    fn from(kind: Kind) -> Self {
        Self { kind, is_login: false, place: None, preferred: None }
    }
}

/// A server handed to the caller, who must give it back with `put_back` or `discard`.
#[derive(Debug, PartialEq, Eq)]
pub struct Ready<S> {
    /// Its name.
    pub slot: SlotId,
    /// The server.
    pub server: S,
    /// The worker its socket is registered with. If it is not the caller, the socket must move.
    pub was_home: WorkerId,
    /// Since when it rests (the moment of the hand-over, if it never idled).
    pub idle_since: Tick,
    /// The caller's place: to ask again with, if the server turns out to be dead.
    pub place: Place,
}

/// Why there will be no server.
#[derive(Debug)]
pub enum Refusal<F> {
    /// The pool was removed, or never existed.
    Removed,
    /// No server of this pool works, and the last attempt failed like this: waiting does not help.
    Failing(Arc<F>),
    /// This waiter has already been answered or has left.
    Answered,
}

impl<F> Clone for Refusal<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Removed => Self::Removed,
            Self::Failing(failure) => Self::Failing(Arc::clone(failure)),
            Self::Answered => Self::Answered,
        }
    }
}

/// The answer to a checkout.
#[derive(Debug)]
pub enum Checkout<S, F> {
    /// Take it and go.
    Ready(Ready<S>),
    /// In line; the waker is called when `poll_wait` has an answer. Must end with `poll_wait`
    /// returning something else than pending, or with `leave`.
    Waiting(WaiterId),
    /// No.
    Refused(Refusal<F>),
}

/// The answer to a poll of a waiter. All but `Pending` end the wait.
#[derive(Debug)]
pub enum Wait<S, F> {
    /// Still in line; the waker given last will be called.
    Pending,
    /// Take it and go.
    Ready(Ready<S>),
    /// No.
    Refused(Refusal<F>),
}

/// Where a server went that was put back or opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Placed<S> {
    /// To a waiter, who will be woken.
    Handed,
    /// To the idle list.
    Idle,
    /// Nowhere: its slot is gone already, the caller closes it.
    Close(S, CloseReason),
}

/// Why a server is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It belonged to one session.
    Dedicated,
    /// Its pool was removed.
    PoolRemoved,
    /// The pool was told to reconnect after it was opened.
    Reconnect,
    /// There are more servers than the limits allow (now).
    OverLimit,
    /// `server_lifetime`.
    Lifetime,
    /// `server_idle_timeout`.
    IdleTimeout,
    /// The reserve is no longer needed.
    Reserve,
    /// A waiter of another pool (or one that needs a server of its own) needs the room.
    Evicted,
    /// It was retired: its node's name has other addresses now.
    Obsolete,
    /// Somebody wants its database for himself, to drop it for example.
    Vacated,
    /// The core does not know this server: it was discarded or put back already.
    Unknown,
}

impl CloseReason {
    /// PgBouncer's text for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dedicated => "replication client was closed",
            Self::PoolRemoved => "database removed",
            Self::Reconnect => "database configuration changed",
            Self::OverLimit | Self::Reserve => "too many servers in the pool",
            Self::Lifetime => "server lifetime over",
            Self::IdleTimeout => "server idle timeout",
            Self::Evicted => "evicted",
            Self::Obsolete => "obsolete connection",
            Self::Vacated => "database is about to be dropped, renamed or copied",
            Self::Unknown => "a server of nobody's",
        }
    }
}

/// A server the core gave up; its slot is gone already.
#[derive(Debug)]
pub struct Closing<S> {
    /// The server.
    pub server: S,
    /// Its pool.
    pub pool: PoolId,
    /// The worker its socket is registered with.
    pub home: WorkerId,
    /// Why.
    pub reason: CloseReason,
}

/// An order to open a server. Must end with `opened`, `open_failed` or `discard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its name.
    pub slot: SlotId,
    /// Its pool.
    pub pool: PoolId,
    /// The worker that waits for it longest.
    pub worker: WorkerId,
    /// The one waiter it is for, if it is dedicated (its startup parameters are to be used).
    pub waiter: Option<WaiterId>,
}

/// How an opening failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The next attempt will fail too, until somebody changes something (wrong password, no such
    /// database): all who wait are refused.
    Lasting,
    /// Nobody answers at the node: who waits, waits on, and attempts slow down. During a pause a new
    /// login is refused at once.
    Unreachable,
    /// The node answers, and takes us soon (57P03 the database system is starting up, 53300 too many
    /// connections): everybody waits, and attempts slow down.
    Passing,
}

/// What the caller does after it has let go of the lock.
#[derive(Debug)]
pub struct Effects<S> {
    /// Wake these.
    pub wakes: SmallVec<[Waker; 2]>,
    /// Close these.
    pub closes: Vec<Closing<S>>,
    /// Open these.
    pub openings: Vec<Opening>,
}

impl<S> Default for Effects<S> {
    fn default() -> Self {
        Self { wakes: SmallVec::new(), closes: Vec::new(), openings: Vec::new() }
    }
}

impl<S> Effects<S> {
    /// Nothing to do?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wakes.is_empty() && self.closes.is_empty() && self.openings.is_empty()
    }
}

/// What happened in a pool since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Servers handed out.
    pub checkouts: u64,
    /// Servers handed to another worker than the one that had them.
    pub migrations: u64,
    /// Openings ordered.
    pub openings: u64,
    /// Openings that failed.
    pub failures: u64,
    /// Servers given up for the sake of another pool or a dedicated one.
    pub evictions: u64,
    /// Openings beyond `pool_size`.
    pub reserve_uses: u64,
    /// Microseconds that servers were out, of those that have come back.
    pub held: u64,
}

/// One pool at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSnapshot {
    /// Its id.
    pub pool: PoolId,
    /// Its key.
    pub key: PoolKey,
    /// Openings in flight.
    pub opening: u32,
    /// Idle servers.
    pub idle: u32,
    /// Servers handed to a waiter that has not taken them yet.
    pub granted: u32,
    /// Servers out.
    pub leased: u32,
    /// Waiters that have no answer yet.
    pub waiting: u32,
    /// How long the oldest of them has waited, in microseconds.
    pub oldest_wait: u64,
    /// Waiters wait and nothing is opened.
    pub paused: bool,
    /// It only waits for its last servers.
    pub removed: bool,
    /// Attempts to open a server that failed since the last success.
    pub failing: u32,
    /// Counters.
    pub stats: PoolStats,
}
