//! The records the core keeps: pools, slots, waiters, and the shares that pools have in common.

use std::sync::Arc;
use std::task::Waker;

use crate::backend::server_handle::ServerHandle;

use super::arena::{Arena, List};
use super::backoff::Backoff;
use super::pin_counts::Pins;
use super::types::{
    DatabaseId, FailureClass, Kind, NodeId, Origin, Place, PoolId, PoolKey, PoolOptions, PoolStats,
    Refusal, Request, SlotId, Tick, UserId, WaiterId, WorkerId, micros,
};

/// A slot: one server connection, in whatever state.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub(super) pool: u32,
    /// Pool epoch it was opened in.
    pub(super) epoch: u32,
    pub(super) home: WorkerId,
    pub(super) dedicated: bool,
    /// It is closed as soon as it is free.
    pub(super) is_retired: bool,
    /// Why the client that has it keeps it between transactions.
    pub(super) pinned: Option<&'static str>,
    /// Its lifetime in thousandths of the pool's `server_lifetime`.
    pub(super) lifetime_permille: u16,
    /// When its opening began, later when it was opened.
    pub(super) born: Tick,
    /// Since when it rests, or is out.
    pub(super) since: Tick,
    pub(super) state: State<S>,
    /// Its handle, once its opening has begun.
    pub(super) handle: Option<Arc<ServerHandle>>,
}

#[derive(Debug)]
pub(super) enum State<S> {
    /// `waiter`: the one it is for, if dedicated; `None` also once that waiter has left.
    Opening {
        waiter: Option<WaiterId>,
    },
    Idle(S),
    Granted(S, WaiterId),
    Leased,
}

#[derive(Debug)]
pub(super) struct Waiter<F> {
    pub(super) pool: u32,
    pub(super) worker: WorkerId,
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// It asks again, with the place that it had before.
    pub(super) is_back: bool,
    pub(super) waker: Option<Waker>,
    pub(super) state: Waiting<F>,
}

#[derive(Debug)]
pub(super) enum Waiting<F> {
    /// In the worker's line, or the pool's line for dedicated servers.
    InLine,
    /// Its own server is being opened.
    Opening(SlotId),
    Granted(SlotId),
    Refused(Refusal<F>),
}

/// What one worker has of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Longest idle first.
    pub(super) idle: List,
    /// Longest waiting first.
    pub(super) waiting: List,
    /// Shared openings it was given.
    pub(super) opening: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) opening_shared: u32,
    pub(super) opening_dedicated: u32,
    pub(super) idle: u32,
    pub(super) granted: u32,
    pub(super) leased: u32,
    /// Shared waiters in lines.
    pub(super) waiting: u32,
}

impl Counts {
    pub(super) fn opening(&self) -> u32 {
        self.opening_shared + self.opening_dedicated
    }

    pub(super) fn working(&self) -> u32 {
        self.idle + self.granted + self.leased
    }

    pub(super) fn servers(&self) -> u32 {
        self.opening() + self.working()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    Paused,
    Removed,
}

/// [`PoolOptions`] in microseconds, with "unlimited" as the largest number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) pool_size: u32,
    pub(super) min_pool_size: u32,
    pub(super) reserve: u32,
    pub(super) reserve_timeout: u64,
    pub(super) idle_timeout: u64,
    pub(super) lifetime: u64,
    pub(super) login_retry: u64,
    pub(super) parallel: u32,
    pub(super) keep_warm: bool,
}

/// 0 means unlimited.
pub(super) fn limit(configured: u32) -> u32 {
    if configured == 0 { u32::MAX } else { configured }
}

impl From<&PoolOptions> for Rules {
    fn from(options: &PoolOptions) -> Self {
        let reserve_timeout = micros(options.reserve_pool_timeout);
        Self {
            pool_size: limit(options.pool_size),
            min_pool_size: options.min_pool_size.min(limit(options.pool_size)),
            reserve: if reserve_timeout == 0 { 0 } else { options.reserve_pool_size },
            reserve_timeout,
            idle_timeout: micros(options.server_idle_timeout),
            lifetime: micros(options.server_lifetime),
            login_retry: micros(options.server_login_retry),
            parallel: options.max_parallel_openings.max(1),
            keep_warm: options.keep_warm,
        }
    }
}

impl Rules {
    /// The most servers the pool may ever have.
    pub(super) fn most(&self) -> u32 {
        self.pool_size.saturating_add(self.reserve)
    }
}

#[derive(Debug)]
pub(super) struct Pool<F> {
    pub(super) key: PoolKey,
    pub(super) rules: Rules,
    pub(super) phase: Phase,
    pub(super) epoch: u32,
    pub(super) lines: Box<[Line]>,
    /// Waiters for a dedicated server whose opening has not begun.
    pub(super) dedicated: List,
    pub(super) counts: Counts,
    /// Indexes of its database's and its user's share.
    pub(super) shares: [usize; 2],
    pub(super) backoff: Backoff<F>,
    /// Dedicated openings fail for reasons of their own (`max_wal_senders`, the session's startup
    /// parameters), which say nothing about the pool.
    pub(super) dedicated_backoff: Backoff<F>,
    /// Openings allowed in flight: 1 after a failure, doubled by each success.
    pub(super) ramp: u32,
    /// No server is retired for its age before this.
    pub(super) next_retirement: Tick,
    pub(super) last_used: Option<Tick>,
    /// What its servers are connected to, once that is said.
    pub(super) origin: Option<Arc<Origin>>,
    /// No server is opened before this that nobody waits for, and none becomes idle: the database is to
    /// have no connection.
    pub(super) no_spare_before: Tick,
    /// Leases that their clients keep.
    pub(super) pins: Pins,
    /// Nobody is told before this that clients keep all servers.
    pub(super) next_notice: Option<Tick>,
    pub(super) stats: PoolStats,
}

impl<F> Pool<F> {
    pub(super) fn new(key: PoolKey, rules: Rules, workers: usize, shares: [usize; 2]) -> Self {
        Self {
            key,
            rules,
            phase: Phase::Serving,
            epoch: 0,
            lines: vec![Line::default(); workers].into_boxed_slice(),
            dedicated: List::default(),
            counts: Counts::default(),
            shares,
            backoff: Backoff::default(),
            dedicated_backoff: Backoff::default(),
            ramp: rules.parallel,
            next_retirement: Tick(0),
            last_used: None,
            origin: None,
            no_spare_before: Tick(0),
            pins: Pins::default(),
            next_notice: None,
            stats: PoolStats::default(),
        }
    }

    pub(super) fn line(&mut self, worker: WorkerId) -> &mut Line {
        &mut self.lines[usize::from(worker.0)]
    }

    /// Whether the node is known to refuse our connections, for every waiter.
    pub(super) fn is_hopeless(&self, now: Tick) -> bool {
        self.has_no_server()
            && !self.backoff.may_try(now)
            && self.backoff.last().is_some_and(|failed| failed.class == FailureClass::Lasting)
    }

    /// Is somebody who asks now refused at once? As in PgBouncer, a login is refused while nobody
    /// answers at the node.
    pub(super) fn refuses(&self, request: Request, now: Tick) -> bool {
        if request.kind == Kind::Shared && self.is_hopeless(now) {
            return true;
        }
        let backoff = self.backoff(request.kind);
        request.is_login
            && self.has_no_server()
            && !backoff.may_try(now)
            && backoff.last().is_some_and(|failed| failed.class == FailureClass::Unreachable)
    }

    /// Neither a server nor an opening that any waiter could use.
    fn has_no_server(&self) -> bool {
        self.counts.servers() == self.counts.opening_dedicated
    }

    /// The failures that concern this kind of servers.
    pub(super) fn backoff(&self, kind: Kind) -> &Backoff<F> {
        match kind {
            Kind::Shared => &self.backoff,
            Kind::Dedicated => &self.dedicated_backoff,
        }
    }

    /// Is `min_pool_size` in force?
    pub(super) fn is_warm(&self, now: Tick) -> bool {
        let idle_timeout = self.rules.idle_timeout;
        self.rules.keep_warm
            || self.counts.leased + self.counts.waiting > 0
            || self
                .last_used
                .is_some_and(|used| idle_timeout == 0 || now.since(used) < idle_timeout)
    }

    /// The shared waiter in line longest, over all workers.
    pub(super) fn oldest_shared(&self, waiters: &Arena<Waiter<F>>) -> Option<u32> {
        if self.counts.waiting == 0 {
            return None;
        }
        let heads = self.lines.iter().filter_map(|line| line.waiting.first());
        heads.min_by_key(|&head| waiters.at(head).place.sequence)
    }

    /// Which worker a shared server should be opened by: the one whose head waits longest, of those
    /// with more waiters than openings; without any, the one with the fewest idle servers.
    pub(super) fn opener(&self, waiters: &Arena<Waiter<F>>) -> WorkerId {
        let lines = || (0u8..).zip(self.lines.iter());
        let short = lines().filter(|(_, line)| line.waiting.len() > line.opening);
        let oldest = short
            .filter_map(|(worker, line)| Some((waiters.at(line.waiting.first()?).place, worker)))
            .min();
        let calmest = || lines().min_by_key(|(_, line)| line.idle.len() + line.opening);
        let worker = oldest.map(|(_, worker)| worker).or_else(|| Some(calmest()?.0));
        WorkerId(worker.unwrap_or(0))
    }

    /// When the waiter in line longest, of whatever kind, joined.
    pub(super) fn oldest_wait(&self, waiters: &Arena<Waiter<F>>) -> Option<Tick> {
        let both = [self.oldest_shared(waiters), self.dedicated.first()];
        both.into_iter().flatten().map(|waiter| waiters.at(waiter).place.since).min()
    }

    /// The idle server that has idled longest.
    pub(super) fn longest_idle<S>(&self, slots: &Arena<Slot<S>>) -> Option<u32> {
        if self.counts.idle == 0 {
            return None;
        }
        let heads = self.lines.iter().filter_map(|line| line.idle.first());
        heads.min_by_key(|&head| slots.at(head).since)
    }
}

/// What pools have in common that are limited together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ShareKey {
    Database(DatabaseId, NodeId),
    User(UserId),
}

#[derive(Debug)]
pub(super) struct Share {
    pub(super) key: ShareKey,
    pub(super) limit: u32,
    pub(super) servers: u32,
    pub(super) idle: u32,
    /// Waiters in lines, of both kinds.
    pub(super) waiting: u32,
    /// A waiter of one of its pools starves while others keep their servers busy.
    pub(super) starving: bool,
    pub(super) pools: Vec<u32>,
}

impl Share {
    pub(super) fn is_full(&self) -> bool {
        self.servers >= self.limit
    }

    /// May a free server of one pool be what a waiter of another needs?
    pub(super) fn is_contended(&self) -> bool {
        self.limit != u32::MAX && self.waiting > 0
    }
}

pub(super) fn pool_id<F>(pools: &Arena<Pool<F>>, index: u32) -> PoolId {
    PoolId(pools.key(index))
}
