//! A session's time-outs, and the cancelling of its statements. The worker's tick rings; nothing here
//! arms a timer.

use super::run::{Clock, End, Phase, Session};
use crate::backend::server::Note;
use crate::fault::{Fault, Side};
use crate::metrics::Traffic;
use crate::pool::core::Tick;
use crate::wire;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

/// Longest wait for the end of a cancelled statement, where `cancel_wait_timeout` sets no limit.
const CANCEL_MAX: Duration = Duration::from_secs(60);

fn smaller(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// The moments that a session measures from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    /// When what is being answered was sent to the server.
    pub query: Tick,
    /// When the transaction began.
    pub transaction: Tick,
    /// The last moment that is known.
    pub known: Tick,
}

impl Moments {
    pub(super) fn at(now: Tick) -> Self {
        Self { query: now, transaction: now, known: now }
    }
}

impl Session {
    /// What this thread counts of the session's pool.
    #[inline]
    pub(super) fn traffic(&self) -> &Traffic {
        self.route.traffic.of(usize::from(self.worker.id.0))
    }

    /// A server that owed nothing is going to be asked something. A server that was leased for it
    /// has brought the moment.
    pub(super) fn begins_query(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let replies = &lease.server().replies;
        if !self.touched || replies.outstanding() > 0 || replies.has_open_batch() {
            return;
        }
        let (now, idle) = (self.worker.common.pools.now(), replies.status() == wire::IDLE);
        self.moments.query = now;
        if idle {
            self.moments.transaction = now;
        }
    }

    /// ReadyForQuery came for the client. What is behind it in a pipeline begins now.
    pub(super) fn ends_query(&mut self, status: u8, note: Option<Note>) {
        let now = self.worker.common.pools.now();
        if self.worker.common.queries.is_on() {
            self.ends_statement(note, now);
        }
        let before = self.moments;
        self.moments = Moments { query: now, known: now, ..before };
        self.traffic().query.record(now.since(before.query));
        if status == wire::IDLE {
            self.traffic().transaction.record(now.since(before.transaction));
            self.moments.transaction = now;
        }
    }

    /// What is left of `transaction_timeout`.
    fn transaction_left(&self) -> Option<Duration> {
        let limit = self.options.transaction_timeout?;
        let now: Tick = self.worker.coarse_now();
        let spent = self.transaction_since.map_or(0, |since| now.since(since));
        Some(limit.saturating_sub(Duration::from_micros(spent)))
    }

    /// The client has asked for something that the server has to answer.
    #[inline]
    pub(super) fn set_query_clock(&mut self) {
        if self.clock == Clock::Cancelled {
            return;
        }
        let options = &self.options;
        if options.query_timeout.is_none() && options.transaction_timeout.is_none() {
            return self.set_clock(Clock::Off, None);
        }
        if self.transaction_since.is_none() {
            self.transaction_since = Some(self.worker.coarse_now());
        }
        let limit = smaller(self.options.query_timeout, self.transaction_left());
        self.set_clock(Clock::Query, limit);
    }

    /// The client is silent inside a transaction.
    pub(super) fn set_transaction_clock(&mut self) {
        let limit = smaller(self.options.idle_transaction_timeout, self.transaction_left());
        self.set_clock(Clock::IdleTransaction, limit);
    }

    /// The alarm went off.
    pub(super) fn alarm(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        let clock = std::mem::replace(&mut self.clock, Clock::Off);
        let transaction_over = self.transaction_left().is_some_and(|left| left.is_zero());
        match clock {
            Clock::Off => ControlFlow::Continue(()),
            Clock::Wait => self.refuse_batch(cx, &query_wait_timeout()),
            Clock::Query | Clock::IdleTransaction if transaction_over => {
                ControlFlow::Break(End::Fault(transaction_timeout()))
            }
            Clock::Query => {
                self.deliver_cancel();
                let limit = self.options.cancel_wait_timeout.unwrap_or(CANCEL_MAX);
                self.set_clock(Clock::Cancelled, Some(limit));
                ControlFlow::Continue(())
            }
            Clock::Gate => self.server_lost(cx),
            Clock::Cancelled => ControlFlow::Break(End::Fault(cancel_failed())),
            Clock::IdleTransaction => ControlFlow::Break(End::Fault(idle_transaction_timeout())),
            Clock::Parting => ControlFlow::Break(self.parting.take().unwrap_or(End::Left)),
            Clock::Idle => ControlFlow::Break(End::Fault(client_idle_timeout())),
        }
    }

    /// Whether the server has answered everything, and a cancel request for it is still on its way.
    /// What the client sends next was never meant by it, and waits: PostgreSQL signals the process
    /// twice for one request, and the second signal may come when the first has long been answered.
    /// The session is woken when the request is through.
    pub(super) fn awaits_cancel(&mut self, cx: &mut Context<'_>) -> bool {
        self.lease.as_mut().is_some_and(|lease| {
            let server = lease.server();
            server.replies.outstanding() == 0
                && server.cancel.is_in_flight()
                && server.cancel.wake_when_clear(cx.waker())
        })
    }

    /// A cancel request came while the client's statement waited for a server.
    pub(super) fn cancel_ordered(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        match self.phase {
            Phase::Waiting(_) => self.refuse_batch(cx, &cancelled())?,
            // It came while a server was being granted.
            Phase::Bound => self.deliver_cancel(),
            Phase::Idle => {}
        }
        ControlFlow::Continue(())
    }

    /// Cancels what the server runs; its error reaches the client in its turn.
    pub(super) fn deliver_cancel(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let request = lease.server().cancel.begin();
        let worker = Rc::clone(&self.worker);
        let limit = self.options.cancel_wait_timeout;
        tokio::task::spawn_local(async move {
            let delivery = request.deliver(&worker.resolver, &worker.tcp);
            if let Err(error) = within(limit, delivery).await {
                tracing::warn!("cancel request failed: {error}");
            }
        });
    }
}

/// Runs an operation for a limited time.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    operation: impl Future<Output = std::io::Result<T>>,
) -> std::io::Result<T> {
    let Some(limit) = limit else { return operation.await };
    match tokio::time::timeout(limit, operation).await {
        Ok(done) => done,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// Of a statement that no server has seen.
pub(super) fn cancelled() -> Fault {
    Fault::query(Side::Client, "57014", "canceling statement due to user request")
}

fn query_wait_timeout() -> Fault {
    Fault::query(Side::Proxy, "53300", "no server connection became available in time").hint(
        "The statement waited for query_wait_timeout; raise default_pool_size if the server has \
         room.",
    )
    .pgbouncer("query_wait_timeout")
}

fn transaction_timeout() -> Fault {
    Fault::session(Side::Operator, "25P04", "terminating connection due to transaction timeout")
        .hint("The transaction took longer than transaction_timeout.")
        .pgbouncer("transaction timeout")
}

fn idle_transaction_timeout() -> Fault {
    Fault::session(
        Side::Operator,
        "25P03",
        "terminating connection due to idle-in-transaction timeout",
    )
    .hint("The client was silent inside a transaction for idle_transaction_timeout.")
    .pgbouncer("idle transaction timeout")
}

fn client_idle_timeout() -> Fault {
    Fault::session(Side::Operator, "57P05", "terminating connection due to idle-session timeout")
        .hint("The client was silent for client_idle_timeout.")
        .pgbouncer("client_idle_timeout")
}

fn cancel_failed() -> Fault {
    Fault::session(Side::Server, "57014", "canceling statement due to query timeout")
        .hint("The server did not end the statement within cancel_wait_timeout.")
        .pgbouncer("query timeout")
}
