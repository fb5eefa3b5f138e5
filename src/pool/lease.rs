//! The right to use a server for a while.
//!
//! A [`Lease`] is dirty by default: dropping it closes the connection and frees its slot. Only
//! [`Lease::try_return`] gives the server back, and only when the server itself says that it is at
//! rest.

use super::core::{
    At, Checkout, Kind, Place, Placed, PoolId, Ready, Refusal, Request, SlotId, Tick, Wait,
    WaiterId, WorkerId,
};
use super::pools::{Extras, Pools, ServerCore};
use crate::backend::login::LoginFailure;
use crate::backend::server::Server;
use crate::backend::state::Rest;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A server that was idle this long may have ended without the event loop having heard of it: a
/// worker that is busy looks at its sockets only every few milliseconds.
pub const KERNEL_ASKED_AFTER: Duration = Duration::from_millis(1);

/// The same for a server that went from one client straight to the next: it waits for its turn in a
/// busy worker, and only a process that stood still lets it wait so long.
const HANDED_OVER_ASKED_AFTER: Duration = Duration::from_millis(10);

/// Whether the kernel is asked about a server before the first byte of a lease, after this idle time.
/// A socket that has moved is new to the worker's event loop, which knows nothing of it.
fn must_ask_kernel(idle: Duration, has_moved: bool, is_handed_over: bool) -> bool {
    let limit = if is_handed_over { HANDED_OVER_ASKED_AFTER } else { KERNEL_ASKED_AFTER };
    has_moved || idle >= limit
}

/// Which line to stand in.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The pool.
    pub pool: PoolId,
    /// The worker that the socket is to live on.
    pub worker: WorkerId,
    /// The client is logging in: while nobody answers at the node it is refused at once.
    pub is_login: bool,
    /// The place of a client whose server turned out to be dead before it was of use: it keeps the
    /// place, and the time that it has waited. See [`Lease::place`].
    pub place: Option<Place>,
    /// The server that is to be taken if it is idle. See [`Lease::slot`].
    pub preferred: Option<SlotId>,
}

/// Why there will be no server.
#[derive(Clone, Debug)]
pub enum Refused {
    /// The database was removed from the configuration.
    Removed,
    /// No server of the pool works, and waiting does not help; or, for a login, nobody answers.
    Failing(Arc<LoginFailure>),
}

impl Refused {
    fn from(refusal: Refusal<LoginFailure>) -> Self {
        match refusal {
            Refusal::Failing(failure) => Self::Failing(failure),
            Refusal::Removed | Refusal::Answered => Self::Removed,
        }
    }
}

/// The answer to a request for a server.
#[derive(Debug)]
pub enum Outcome {
    /// Here it is.
    Leased(Lease),
    /// In line.
    Waiting(Waiter),
    /// No.
    Refused(Refused),
}

/// A leased server.
#[derive(Debug)]
pub struct Lease {
    pools: Arc<Pools>,
    slot: SlotId,
    worker: WorkerId,
    server: Option<Box<Server>>,
    /// The worker its socket is registered with.
    was_home: WorkerId,
    /// How long it had been idle.
    idle: Duration,
    /// It came straight from another client.
    is_handed_over: bool,
    /// When it was leased.
    since: Tick,
    /// Microseconds that the client waited for it.
    waited: u64,
    /// The client's place in line.
    place: Place,
    /// Why the client keeps the server between transactions.
    pinned: Option<&'static str>,
}

impl Lease {
    pub(super) fn new(pools: &Arc<Pools>, at: At, ready: Ready<Box<Server>>) -> Self {
        let (idle, worker) = (at.now.since(ready.idle_since), at.worker);
        Self {
            pools: Arc::clone(pools),
            slot: ready.slot,
            worker,
            server: Some(ready.server),
            was_home: ready.was_home,
            idle: Duration::from_micros(idle),
            is_handed_over: false,
            since: at.now,
            waited: at.now.since(ready.place.since()),
            place: ready.place,
            pinned: None,
        }
    }

    /// The server.
    #[expect(
        clippy::expect_used,
        reason = "only try_return and drop take the server, and end the lease"
    )]
    pub fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("a lease holds its server until it ends")
    }

    /// Whether the socket has to move to this thread's runtime first.
    pub fn must_move(&self) -> bool {
        self.was_home != self.worker
    }

    /// Takes in what the server said while it was idle; false when it is of no use any more. The
    /// session asks this before it sends the first byte, and after the socket has moved.
    pub fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let asks_kernel = must_ask_kernel(self.idle, self.must_move(), self.is_handed_over);
        let server = self.server();
        if asks_kernel { server.is_alive_in_kernel(cx) } else { server.is_alive(cx) }
    }

    /// How long the server had been idle when it was leased.
    pub fn idle(&self) -> Duration {
        self.idle
    }

    /// The server's name in its pool, which no other server will have.
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// When it was leased.
    pub fn since(&self) -> Tick {
        self.since
    }

    /// Microseconds that the client waited in line for it.
    pub fn waited(&self) -> u64 {
        self.waited
    }

    /// The client keeps the server between its transactions, for this reason, or does not any more.
    /// Cheap unless that changes.
    pub fn set_pinned(&mut self, reason: Option<&'static str>) {
        if self.pinned != reason {
            self.pinned = reason;
            let now = self.pools.now();
            self.pools.lock().set_pinned(self.slot, reason, now);
        }
    }

    /// The place in line that led to it: who finds the server dead, before it was sent anything of
    /// the client's, asks again with this place.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The client goes on with a server that it has not used since then. A place that it asks again with is
    /// as old as this.
    pub fn go_on(&mut self, unused_since: Tick) {
        let now = self.pools.now();
        self.idle = Duration::from_micros(now.since(unused_since));
        self.was_home = self.worker;
        self.is_handed_over = false;
        self.since = now;
        self.waited = 0;
        self.place = self.place.asked_at(now);
    }

    /// Gives the server back.
    ///
    /// # Errors
    /// Gives the lease back instead when the server is not at rest.
    pub fn try_return(self) -> Result<(), Self> {
        let now = self.pools.now();
        self.try_return_at(now)
    }

    /// The same at a moment that is known already, and not long past.
    ///
    /// # Errors
    /// As [`Lease::try_return`].
    pub fn try_return_at(mut self, now: Tick) -> Result<(), Self> {
        match self.server.take() {
            Some(server) if server.rest() == Rest::AtRest => {
                let at = At { worker: self.worker, now };
                let placed = self.pools.with(|core| core.put_back(self.slot, server, at));
                if let Placed::Close(server, reason) = placed {
                    server.terminate(reason.as_str());
                }
                Ok(())
            }
            server => {
                self.server = server;
                Err(self)
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            drop(server);
            let now = self.pools.now();
            self.pools.with(|core| core.discard(self.slot, now));
        }
    }
}

/// A place in line. Dropping it leaves the line, whatever has been granted meanwhile.
#[derive(Debug)]
pub struct Waiter {
    pools: Arc<Pools>,
    pool: PoolId,
    worker: WorkerId,
    id: Option<WaiterId>,
    kind: Kind,
    since: Tick,
}

impl Waiter {
    /// When its client asked first.
    pub fn since(&self) -> Tick {
        self.since
    }

    /// Its place in line, to be kept in another; `None` when its turn has come.
    pub fn place(&self) -> Option<Place> {
        self.pools.lock().place_of(self.id?)
    }

    /// Why the last attempt to open a server for it and others failed, if none has succeeded since.
    pub fn last_failure(&self) -> Option<Arc<LoginFailure>> {
        self.pools.lock().last_failure(self.pool, self.kind)
    }

    /// Whether a server is being opened for everybody in line: nobody has to give one back first.
    pub fn is_served_by_openings(&self) -> bool {
        let now = self.pools.pool_snapshot(self.pool);
        now.is_some_and(|pool| pool.opening > 0 && pool.waiting <= pool.opening)
    }

    /// Has its turn come? Cancel safe.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Lease, Refused>> {
        let Some(id) = self.id else { return Poll::Ready(Err(Refused::Removed)) };
        let mut now = Tick::default();
        let ask = || {
            now = self.pools.now();
            now
        };
        let wait = self.pools.with(|core| core.poll_wait(id, cx.waker(), ask));
        if !matches!(wait, Wait::Pending) {
            self.id = None;
            self.forget_extras(id);
        }
        match wait {
            Wait::Pending => Poll::Pending,
            Wait::Ready(ready) => {
                let at = At { worker: self.worker, now };
                let mut lease = Lease::new(&self.pools, at, ready);
                lease.is_handed_over = true;
                Poll::Ready(Ok(lease))
            }
            Wait::Refused(refusal) => Poll::Ready(Err(Refused::from(refusal))),
        }
    }
}

impl Waiter {
    fn forget_extras(&self, id: WaiterId) {
        if self.kind == Kind::Dedicated {
            self.pools.extras().remove(&id);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.forget_extras(id);
            let now = self.pools.now();
            self.pools.with(|core| core.leave(id, now));
        }
    }
}

impl Pools {
    /// Asks for a server; with `extras`, for a new one of its own that is opened with them.
    pub fn checkout(
        self: &Arc<Self>,
        line: Line,
        extras: Option<&Arc<Extras>>,
        cx: &Context<'_>,
    ) -> Outcome {
        let at = At { worker: line.worker, now: self.now() };
        let kind = if extras.is_some() { Kind::Dedicated } else { Kind::Shared };
        let request =
            Request { kind, is_login: line.is_login, place: line.place, preferred: line.preferred };
        let ask = |core: &mut ServerCore| core.checkout(line.pool, request, at, cx.waker());
        let answer = match extras {
            None => self.with(ask),
            Some(extras) => {
                // Locked around the request, so that who opens the server finds them.
                let mut all = self.extras();
                let answer = self.with(ask);
                if let Checkout::Waiting(id) = answer {
                    all.insert(id, Arc::clone(extras));
                }
                answer
            }
        };
        match answer {
            Checkout::Ready(ready) => Outcome::Leased(Lease::new(self, at, ready)),
            Checkout::Waiting(id) => {
                let (pools, Line { pool, worker, .. }) = (Arc::clone(self), line);
                let since = line.place.map_or(at.now, Place::since);
                Outcome::Waiting(Waiter { pools, pool, worker, id: Some(id), kind, since })
            }
            Checkout::Refused(refusal) => Outcome::Refused(Refused::from(refusal)),
        }
    }
}
