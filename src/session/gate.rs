//! What a session asks a server on its own account before the client's bytes go on.
//!
//! While a gate is closed the client is not read. It opens when the server owes nothing any more:
//! each question is answered before the next byte of the client's is looked at, so that a failed
//! alignment can never let a query run under somebody else's settings.

use super::card::Order;
use super::route::StatePolicy;
use super::run::{Clock, End, Phase, Session};
use super::settings;
use super::timing::{Moments, cancelled};
use crate::backend::server::Server;
use crate::backend::state::{Kind, Reply};
use crate::pool::Lease;
use crate::wire::{self, client, server};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// Longest wait for an answer to a question of ours, where `query_wait_timeout` sets no limit.
const GATE_MAX: Duration = Duration::from_secs(60);

/// A question to the server.
#[derive(Debug)]
pub(super) enum Gate {
    /// `server_check_query`: is it alive?
    Check(Answer),
    /// Be given the session's settings.
    Align(Answer),
    /// Which settings and possessions does the session have there now?
    Probe(Answer),
    /// What do a statement's rows look like? The answer goes to the statements.
    Shape,
    /// No question: the client's own batch changes what the messages behind it mean.
    Batch,
}

impl Gate {
    /// Where the answer to a question of ours goes.
    pub(super) fn answer(&mut self) -> Option<&mut Answer> {
        match self {
            Self::Check(answer) | Self::Align(answer) | Self::Probe(answer) => Some(answer),
            Self::Shape | Self::Batch => None,
        }
    }

    /// Whether all that is awaited was asked by us.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self, Self::Shape | Self::Batch)
    }
}

/// An answer to one of our own queries.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The columns of each row.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
    /// The whole ErrorResponse, if it failed.
    pub error: Option<Vec<u8>>,
}

impl Session {
    /// Binds a leased server to the session; false when it turned out to be dead.
    pub(super) fn attach(
        &mut self,
        cx: &mut Context<'_>,
        mut lease: Lease,
    ) -> ControlFlow<End, bool> {
        let must_move = lease.must_move();
        let idle = lease.idle();
        let server = lease.server();
        if must_move && server.stream.rehome().is_err() {
            self.place = Some(lease.place());
            return ControlFlow::Continue(false);
        }
        if !lease.is_alive(cx) {
            self.place = Some(lease.place());
            return ControlFlow::Continue(false);
        }
        let server = lease.server();
        server.prepared.begin_batch();
        self.card.links(&server.cancel);
        self.moments = Moments::at(lease.since());
        self.card.requests(lease.since());
        self.traffic().assignments.add(1);
        self.traffic().wait.record(lease.waited());
        self.insight.waited = lease.waited();
        self.lease = Some(lease);
        self.phase = Phase::Bound;
        self.server_said = false;
        self.touched = false;
        if self.dedicated {
            // Its startup packet has given it everything, but connect_query came behind.
            if let Some(lease) = &mut self.lease
                && lease.server().baseline.settings().is_empty()
            {
                lease.server().settings = Arc::clone(&self.settings);
            }
        }
        match &self.options.server_check_query {
            Some(sql) if idle >= self.options.server_check_delay => {
                let sql = sql.as_bytes().to_vec();
                self.ask(cx, Gate::Check(Answer::default()), &[sql])?;
            }
            Some(_) | None => self.align(cx)?,
        }
        ControlFlow::Continue(true)
    }

    /// Sends statements of our own.
    fn ask(&mut self, cx: &mut Context<'_>, gate: Gate, sql: &[Vec<u8>]) -> ControlFlow<End> {
        let keeps_unnamed = self.touched && self.keeps_server();
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(()) };
        let server = lease.server();
        let out = if keeps_unnamed { named(server, sql) } else { simple(server, sql) };
        self.gate = Some(gate);
        // A cancel request is not meant for a query of ours, but for the client's that waits behind
        // it; when that was answered before, the request is late.
        if self.touched || matches!(self.gate, Some(Gate::Probe(_))) {
            self.card.unlinks();
        } else {
            self.card.waits();
        }
        let limit = self.options.query_wait_timeout.unwrap_or(GATE_MAX);
        self.set_clock(Clock::Gate, Some(limit));
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(()) };
        let server = lease.server();
        if server.stream.write(cx, &out).is_err() {
            return self.server_lost(cx);
        }
        ControlFlow::Continue(())
    }

    /// Gives the server the session's settings, if it has others.
    fn align(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(()) };
        let server = lease.server();
        let strange = server.tainted_by.is_some_and(|client| client != self.card.id);
        let is_whole = server.baseline.is_whole() && !strange;
        if is_whole && Arc::ptr_eq(&server.settings, &self.settings) {
            return self.aligned(cx);
        }
        match server.baseline.alignment(&server.settings, &self.settings, strange) {
            sql if sql.is_empty() => {
                server.settings = Arc::clone(&self.settings);
                server.baseline.restored();
                self.aligned(cx)
            }
            sql => self.ask(cx, Gate::Align(Answer::default()), &sql),
        }
    }

    /// The server has the session's settings.
    fn aligned(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if std::mem::take(&mut self.owes_ready) {
            self.withheld = Vec::new();
            let mut out = Vec::new();
            server::ready(&mut out, wire::IDLE);
            self.tell(cx, &out)?;
        }
        if !self.greeting {
            return ControlFlow::Continue(());
        }
        if let (Some(lease), false) = (&mut self.lease, self.dedicated) {
            self.route.account.welcomes.remember(lease.server());
        }
        self.welcome(cx)?;
        self.settle(cx)
    }

    /// Greets the client, or asks a server how to.
    pub(super) fn greet(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if !self.dedicated && self.route.account.welcomes.find(&self.settings).is_some() {
            return self.welcome(cx);
        }
        self.acquire(cx)
    }

    /// The first messages behind AuthenticationOk (manual, "Start-up").
    fn welcome(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        let reported = match &mut self.lease {
            Some(lease) => Some(Arc::clone(&lease.server().reported)),
            None => self.route.account.welcomes.find(&self.settings),
        };
        let mut out = Vec::new();
        for (name, value) in reported.iter().flat_map(|reported| reported.iter()) {
            // Who is asked for decides what the client may do, not whom we log in as.
            server::parameter_status(&mut out, name, value);
        }
        server::backend_key(&mut out, self.card.key());
        server::ready(&mut out, wire::IDLE);
        self.greeting = false;
        self.set_clock(Clock::Idle, self.options.client_idle_timeout);
        self.tell(cx, &out)?;
        self.process_held(cx)
    }

    /// The server owes nothing any more: what it was asked is answered.
    pub(super) fn gate_opens(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        self.set_clock(Clock::Off, None);
        if let Some(lease) = &mut self.lease {
            self.card.links(&lease.server().cancel);
        }
        match self.gate.take() {
            None => {}
            Some(Gate::Shape | Gate::Batch) if self.owes_ready => {
                // The defaults come first.
                self.settle(cx)?;
                if self.owes_ready {
                    return ControlFlow::Continue(());
                }
            }
            Some(Gate::Shape | Gate::Batch) => {}
            Some(Gate::Check(answer)) if answer.error.is_some() => {
                return self.test_failed(cx);
            }
            Some(Gate::Check(_)) => self.align(cx)?,
            Some(Gate::Align(answer)) => match answer.error {
                None => {
                    if let Some(lease) = &mut self.lease {
                        let server = lease.server();
                        server.settings = Arc::clone(&self.settings);
                        server.baseline.restored();
                        server.tainted_by = server.tainted_by.filter(|id| *id == self.card.id);
                    }
                    self.aligned(cx)?;
                }
                Some(error) => return self.alignment_failed(cx, error),
            },
            Some(Gate::Probe(answer)) => self.probed(cx, answer)?,
        }
        if self.gate.is_some() {
            return ControlFlow::Continue(());
        }
        if !self.touched && self.card.take(Order::Cancel) {
            return self.cancelled_in_line(cx);
        }
        self.process_held(cx)?;
        self.settle(cx)
    }

    /// A cancel request came while the server was made ready. It has got nothing of the client's
    /// and goes back; should it not be at rest, because a request for it has just begun, it is
    /// closed.
    fn cancelled_in_line(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if let Some(Err(mut lease)) = self.lease.take().map(Lease::try_return) {
            lease.server().ends("client disconnect while server was not ready");
        }
        self.refuse_batch(cx, &cancelled())
    }

    /// The statement is answered with the server's error, and the server, which has a part of the
    /// settings, is closed. A client that has not been welcomed cannot be.
    fn alignment_failed(&mut self, cx: &mut Context<'_>, error: Vec<u8>) -> ControlFlow<End> {
        self.closes_server("var change failed");
        let body = error.get(wire::HEADER_LEN..).unwrap_or_default();
        if self.greeting || self.owes_ready || self.held.is_empty() {
            let message = wire::error_fields(body).message;
            let reason = String::from_utf8_lossy(message).into_owned();
            return ControlFlow::Break(End::Told(wire::as_fatal(body), reason));
        }
        self.answer_batch(cx, error)
    }

    /// Before the server goes back: asks what the transaction has done to the session.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        // A cancel request that began a moment ago must not hit a question of ours. From here on
        // none begins.
        self.card.unlinks();
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(()) };
        if lease.server().cancel.wake_when_clear(cx.waker()) {
            self.unsettled = true;
            return ControlFlow::Continue(());
        }
        let sql = settings::probe(&self.custom, lease.server().baseline.settings());
        self.ask(cx, Gate::Probe(Answer::default()), &[sql])
    }

    fn probed(&mut self, cx: &mut Context<'_>, answer: Answer) -> ControlFlow<End> {
        let state = match answer.error {
            None => settings::read_probe(answer.rows),
            Some(_) => None,
        };
        let Some(mut state) = state else {
            // What cannot be known must not be given to anybody else, nor be taken away.
            self.pinned = true;
            self.effects = settings::PINS_FOR_GOOD;
            return self.aligned(cx);
        };
        let may_pin = self.options.state_policy != StatePolicy::Ignore;
        let for_good = self.effects & settings::PINS_FOR_GOOD != 0;
        self.pinned = may_pin && (state.pinned || for_good);
        if let Some(lease) = &mut self.lease {
            lease.set_pinned(self.pinned.then_some("session state"));
        }
        let reset = self.effects & settings::RESETS != 0;
        let unknown = self.effects & settings::UNKNOWN != 0;
        self.effects &= settings::PINS_FOR_GOOD;
        if let Some(lease) = &mut self.lease {
            lease.server().baseline.take_from(&mut state.settings, &self.settings);
        }
        let table = &self.worker.common.settings;
        let now = table.intern(state.settings);
        let wanted =
            if reset { settings::with_startup(table, &now, &self.startup) } else { now.clone() };
        if let Some(lease) = &mut self.lease {
            let server = lease.server();
            server.settings = now;
            if unknown {
                server.tainted_by = Some(self.card.id);
            }
        }
        if !Arc::ptr_eq(&wanted, &self.settings) {
            self.plan_settings = settings::for_plans(table, &wanted);
            self.settings = wanted;
        }
        if (self.pinned || self.keeps_server() || self.owes_ready) && self.lease.is_some() {
            // The session stays here, so what RESET returned to has to be right here too.
            return self.align(cx);
        }
        self.settle(cx)
    }
}

/// The statement of ours that a client's own names must not meet.
const OURS: &[u8] = b"howdah: the session's settings";

/// Our statements as one Query, which costs the server its unnamed statement.
fn simple(server: &mut Server, sql: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    client::query(&mut out, &sql.join(&b';'));
    server.unnamed = 0;
    expects(server, Kind::Query);
    out
}

/// Our statements as a batch that leaves the unnamed statement alone, which is the client's (manual,
/// "Extended Query").
fn named(server: &mut Server, sql: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for sql in sql {
        client::parse(&mut out, OURS, sql, &[0; 2]);
        expects(server, Kind::Parse);
        client::bind_head(&mut out, b"", OURS, 6);
        out.extend_from_slice(&[0; 6]);
        expects(server, Kind::Bind);
        client::execute(&mut out, b"");
        expects(server, Kind::Execute);
        client::target(&mut out, client::CLOSE, b'S', OURS);
        expects(server, Kind::Close);
    }
    client::bare(&mut out, client::SYNC);
    expects(server, Kind::Sync);
    out
}

fn expects(server: &mut Server, kind: Kind) {
    let discarded = server.replies.sent(kind, Reply::Swallow, None);
    debug_assert!(discarded.is_none(), "asked while the server skips");
}
