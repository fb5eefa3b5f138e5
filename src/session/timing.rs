//! A session's time-outs, and the cancelling of its statements. The worker's tick rings; nothing here
//! arms a timer.

use super::bound::Bound;
use super::client::{Client, Presence};
use super::clock::Clock;
use super::flow::{End, Flow, Leave, Stop};
use super::run::{Phase, Session, Waiting};
use crate::cluster::shared::StatementKind;
use crate::fault::{Fault, Side};
use crate::pool::core::Tick;
use crate::wire;
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

impl Client {
    /// Sets the alarm, or stops it where there is no limit.
    pub(super) fn set_clock(&mut self, clock: Clock, limit: Option<Duration>) {
        if limit.is_none() && self.timer.clock == Clock::Off {
            return;
        }
        let at = limit.map(|limit| {
            self.worker.coarse_now().after(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX))
        });
        self.timer.clock = if at.is_some() { clock } else { Clock::Off };
        self.worker.set_alarm(&self.handle, at);
    }

    /// What is left of `transaction_timeout`.
    fn transaction_left(&self) -> Option<Duration> {
        let limit = self.options.transaction_timeout?;
        let now: Tick = self.worker.coarse_now();
        let spent = self.timer.transaction_since.map_or(0, |since| now.since(since));
        Some(limit.saturating_sub(Duration::from_micros(spent)))
    }

    /// The client has asked for something that the server has to answer.
    #[inline]
    pub(super) fn set_query_clock(&mut self) {
        if matches!(self.timer.clock, Clock::Cancelled | Clock::Abandoned) {
            return;
        }
        let options = &self.options;
        if options.query_timeout.is_none() && options.transaction_timeout.is_none() {
            return self.set_clock(Clock::Off, None);
        }
        if self.timer.transaction_since.is_none() {
            self.timer.transaction_since = Some(self.worker.coarse_now());
        }
        let limit = smaller(self.options.query_timeout, self.transaction_left());
        self.set_clock(Clock::Query, limit);
    }

    /// The client is silent inside a transaction.
    pub(super) fn set_transaction_clock(&mut self) {
        let limit = smaller(self.options.idle_transaction_timeout, self.transaction_left());
        self.set_clock(Clock::IdleTransaction, limit);
    }

    /// The client is silent between transactions.
    pub(super) fn set_idle_clock(&mut self) {
        self.timer.transaction_since = None;
        self.set_clock(Clock::Idle, self.options.client_idle_timeout);
    }

    /// A server that owed nothing is going to be asked something. A server that was leased for it
    /// has brought the moment.
    #[inline]
    pub(super) fn begin_query(&self, bound: &mut Bound) {
        let is_used = bound.is_used;
        let replies = &bound.server().replies;
        if !is_used || replies.outstanding() > 0 || replies.has_open_batch() {
            return;
        }
        let (now, idle) = (self.worker.common.pools.now(), replies.status() == wire::IDLE);
        bound.moments.query = now;
        if idle {
            bound.moments.transaction = now;
        }
    }

    /// Whether the server has answered everything, and a cancel request for it is still on its way.
    /// What the client sends next was never meant by it, and waits: PostgreSQL signals the process
    /// twice for one request, and the second signal may come when the first has long been answered.
    /// The session is woken when the request is through.
    #[inline]
    pub(super) fn awaits_cancel(bound: &mut Bound, cx: &Context<'_>) -> bool {
        let server = bound.server();
        server.replies.outstanding() == 0
            && server.cancel.is_in_flight()
            && server.cancel.wake_when_clear(cx.waker())
    }

    /// Cancels what the server runs; its error reaches the client in its turn.
    pub(super) fn deliver_cancel(&self, bound: &mut Bound) {
        let request = bound.server().cancel.begin();
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

impl Session {
    /// The alarm went off.
    pub(super) fn alarm(&mut self, cx: &mut Context<'_>) -> Flow {
        let clock = std::mem::replace(&mut self.client.timer.clock, Clock::Off);
        let transaction_over = self.client.transaction_left().is_some_and(|left| left.is_zero());
        match clock {
            Clock::Off => Ok(()),
            Clock::Wait => self.waited_too_long(cx),
            Clock::Query | Clock::IdleTransaction if transaction_over => {
                Err(Stop::End(End::fault(transaction_timeout())))
            }
            Clock::Query => {
                if let Phase::Bound(bound) = &mut self.phase {
                    self.client.deliver_cancel(bound);
                }
                let limit = self.client.options.cancel_wait_timeout.unwrap_or(CANCEL_MAX);
                self.client.set_clock(Clock::Cancelled, Some(limit));
                Ok(())
            }
            Clock::Gate => Err(Stop::Leave(Leave::Lost)),
            Clock::Cancelled => Err(Stop::End(End::fault(cancel_failed()))),
            Clock::IdleTransaction => Err(Stop::End(End::fault(idle_transaction_timeout()))),
            Clock::Departed => self.look_for_client(cx),
            Clock::Abandoned => Err(Stop::End(End::Left)),
            Clock::Ending => Err(Stop::End(self.ending.take().unwrap_or(End::Left))),
            Clock::Idle => Err(Stop::End(End::fault(client_idle_timeout()))),
        }
    }

    /// No server came in time. A client that is gone leaves without a word.
    fn waited_too_long(&mut self, cx: &mut Context<'_>) -> Flow {
        if self.client.pipe.presence == Presence::Gone {
            return Err(Stop::End(End::Left));
        }
        if self.missed_replica() {
            self.phase = Phase::Idle;
            return self.acquire_of_primary(cx);
        }
        let failure = match &self.phase {
            Phase::Waiting(Waiting::Server(waiter, _)) => waiter.last_failure(),
            Phase::Waiting(Waiting::Primary(_)) => {
                self.client.count_lost(StatementKind::Failed);
                return self.refuse_batch(cx, &no_primary());
            }
            Phase::Waiting(Waiting::Replica { read, .. }) => {
                self.client.awaited = Some(*read);
                self.phase = Phase::Idle;
                return Ok(());
            }
            Phase::Idle | Phase::Bound(_) => None,
        };
        let mut fault = query_wait_timeout();
        if let Some(failure) = failure {
            fault.message = format!("{} (last failure: {failure})", fault.message).into();
        }
        self.refuse_batch(cx, &fault)
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
    Fault::query(Side::Proxy, "53300", "no server connection became available in time")
        .hint(
            "The statement waited for query_wait_timeout; raise default_pool_size if the server \
             has room.",
        )
        .pgbouncer("query_wait_timeout")
}

fn no_primary() -> Fault {
    let text = "no node of the database is the primary";
    Fault::query(Side::Server, "57P03", text)
        .hint("The statement waited for primary_wait; SHOW NODES says how each node is.")
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
