//! What a session asks a server on its own account before the client's bytes go on.
//!
//! While a gate is closed the client is not read. It opens when the server owes nothing any more:
//! each question is answered before the next byte of the client's is looked at, so that a failed
//! alignment can never let a query run under somebody else's settings.

use super::bound::Bound;
use super::client::Client;
use super::clock::Clock;
use super::effects::Effects;
use super::flow::{End, Flow, Leave, Stop};
use super::gate::{Answer, Gate};
use super::reading::Reading;
use super::route::StatePolicy;
use super::run::{Phase, Session};
use super::state_check::{self, Pin, Unknown};
use crate::backend::server::Server;
use crate::backend::state::{Kind, Reply};
use crate::wire::{self, client, server};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// Longest wait for an answer to a question of ours, where `query_wait_timeout` sets no limit.
const GATE_MAX: Duration = Duration::from_secs(60);
/// Questions that a `statement_timeout` may cut off, one after the other, before the server is given
/// up.
const CUT_OFF_MAX: u8 = 4;

impl Client {
    /// Sends statements of our own.
    pub(super) fn ask(
        &mut self,
        bound: &mut Bound,
        cx: &mut Context<'_>,
        gate: Gate,
        sql: &[Vec<u8>],
    ) {
        let keeps_unnamed = bound.is_used && self.keeps_server();
        // A cancel request is not meant for a query of ours, but for the client's that waits behind
        // it; when that was answered before, the request is late.
        if bound.is_used || matches!(gate, Gate::Check(_)) {
            self.handle.clear_server();
        } else {
            self.handle.set_waiting();
        }
        bound.gate = Some(gate);
        let limit = self.options.query_wait_timeout.unwrap_or(GATE_MAX);
        self.set_clock(Clock::Gate, Some(limit));
        let server = bound.server();
        let out = if keeps_unnamed { named(server, sql) } else { simple(server, sql) };
        if server.stream.write(cx, &out).is_err() {
            // What the server said last is still to be read.
            cx.waker().wake_by_ref();
        }
    }

    /// Gives the server the session's settings, if it has others.
    pub(super) fn align(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        let (settings, id) = (&self.state.settings, self.handle.id);
        let server = bound.server();
        let strange = server.tainted_by.is_some_and(|client| client != id);
        let is_whole = server.baseline.is_whole() && !strange;
        if is_whole && Arc::ptr_eq(&server.settings, settings) {
            return self.aligned(bound, cx);
        }
        match server.baseline.alignment(&server.settings, settings, strange) {
            sql if sql.is_empty() => {
                server.settings = Arc::clone(settings);
                server.baseline.restored();
                self.aligned(bound, cx)
            }
            sql => {
                let sql = if bound.cut_off == 0 { sql } else { state_check::without_limit(sql) };
                self.ask(bound, cx, Gate::Align(Answer::default()), &sql);
                Ok(())
            }
        }
    }

    /// The server has the session's settings.
    fn aligned(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        if std::mem::take(&mut bound.owes_ready) {
            bound.withheld = Vec::new();
            let mut out = Vec::new();
            server::ready(&mut out, wire::IDLE);
            self.send_to_client(cx, &out).map_err(End::ClientLost)?;
            bound.settle_is_due = true;
        }
        if let Some(moving) = &self.moving {
            let begin = moving.begin.as_bytes().to_vec();
            self.ask(bound, cx, Gate::Begin(Answer::default()), &[begin]);
            return Ok(());
        }
        if !self.is_logging_in {
            return Ok(());
        }
        if !self.is_dedicated() && self.target.read.is_none() {
            self.route.account.reported_parameters.remember(bound.server());
        }
        let reported = Arc::clone(&bound.server().reported);
        if let Some(fault) = self.login_refusal(&reported) {
            return Err(Stop::End(End::fault(fault)));
        }
        self.complete_login(cx, &reported)?;
        bound.settle_is_due = true;
        Ok(())
    }

    /// The first messages behind AuthenticationOk (manual, "Start-up").
    fn complete_login(
        &mut self,
        cx: &mut Context<'_>,
        reported: &crate::backend::server::Reported,
    ) -> Flow {
        let mut out = Vec::new();
        for (name, value) in reported {
            // The client's own user decides what it may do, not the user of the server's login.
            server::parameter_status(&mut out, name, value);
        }
        self.state.reading = Reading::of(|name| {
            reported.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
        });
        server::backend_key(&mut out, self.handle.key());
        server::ready(&mut out, wire::IDLE);
        self.is_logging_in = false;
        self.set_idle_clock();
        self.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))
    }

    /// Before the server goes back: asks what the transaction has done to the session.
    pub(super) fn check(&mut self, bound: &mut Bound, cx: &mut Context<'_>) {
        // A cancel request that began a moment ago must not hit a question of ours. From here on
        // none begins.
        self.handle.clear_server();
        if bound.server().cancel.wake_when_clear(cx.waker()) {
            bound.settle_is_due = true;
            return;
        }
        let sql = self.check_query(bound);
        self.worker.checks.increment(1);
        take_back(bound, cx);
        self.ask(bound, cx, Gate::Check(Answer::default()), &sql);
    }

    fn check_query(&self, bound: &mut Bound) -> Vec<Vec<u8>> {
        let is_opaque = bound.effects.contains(Effects::UNKNOWN_SETTINGS);
        let has_own_seed =
            bound.pin == Some(Pin::State) || bound.effects.contains(Effects::LEAVES_STATE);
        let snapshot = self.route.catalog.snapshot().filter(|_| is_opaque);
        let others = snapshot.as_ref().map_or(&[][..], |snapshot| snapshot.custom_settings());
        let baseline = bound.lease.server().baseline.settings();
        let unknown = match is_opaque {
            false => Unknown::Nothing,
            true if has_own_seed => Unknown::Settings,
            true => random_seed().map_or(Unknown::Settings, Unknown::SettingsAndSeed),
        };
        let sql = state_check::query(&self.state.custom, baseline, others, unknown);
        if bound.cut_off == 0 { vec![sql] } else { state_check::without_limits(sql) }
    }

    /// The server owes nothing any more: what it was asked is answered.
    pub(super) fn open_gate(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        self.set_clock(Clock::Off, None);
        self.handle.set_server(&bound.server().cancel);
        bound.settle_is_due = true;
        match bound.gate.take() {
            None | Some(Gate::Shape | Gate::Answers) => {}
            Some(Gate::Alive(answer)) if answer.error.is_some() => {
                return Err(Stop::Leave(Leave::TryAnother("test query failed")));
            }
            Some(Gate::Alive(_)) => self.align(bound, cx)?,
            Some(Gate::Begin(answer)) if answer.error.is_some() => {
                return Err(Stop::Leave(Leave::TryAnother("a transaction could not be begun")));
            }
            Some(Gate::Begin(_)) => self.moving = None,
            Some(Gate::Align(answer)) => {
                if let Some(error) = answer.error {
                    return self.not_aligned(bound, cx, error);
                }
                bound.cut_off = 0;
                let id = self.handle.id;
                let server = bound.lease.server();
                server.settings = Arc::clone(&self.state.settings);
                server.baseline.restored();
                server.tainted_by = server.tainted_by.filter(|client| *client == id);
                self.aligned(bound, cx)?;
            }
            Some(Gate::Check(answer)) => self.checked(bound, cx, answer)?,
        }
        if bound.gate.is_none() && bound.is_cancelled {
            return Err(Stop::Leave(Leave::Cancelled));
        }
        Ok(())
    }

    /// The server did not take the settings. One that still has the `statement_timeout` of the session
    /// before is asked again without it.
    fn not_aligned(&mut self, bound: &mut Bound, cx: &mut Context<'_>, error: Vec<u8>) -> Flow {
        let fields = wire::error_fields(error.get(wire::HEADER_LEN..).unwrap_or_default());
        if fields.code != b"57014" {
            return Err(Stop::Leave(Leave::NotAligned(error.into())));
        }
        if bound.cut_off < CUT_OFF_MAX {
            bound.cut_off += 1;
            return self.align(bound, cx);
        }
        if bound.is_used || bound.owes_ready {
            return Err(Stop::Leave(Leave::NotAligned(error.into())));
        }
        Err(Stop::Leave(Leave::TryAnother("var change failed")))
    }

    fn checked(&mut self, bound: &mut Bound, cx: &mut Context<'_>, answer: Answer) -> Flow {
        let state = match answer.error {
            None => state_check::read(answer.rows),
            Some(error) => return self.check_failed(bound, cx, &error),
        };
        let Some(mut state) = state else {
            return Err(self.check_is_unusable("its answer cannot be understood"));
        };
        bound.cut_off = 0;
        bound.has_checked_again = false;
        bound.acknowledged = Effects::empty();
        let effects = bound.effects;
        bound.effects &= Effects::KEEPS_SERVER;
        let may_pin = self.state_policy() != StatePolicy::Ignore;
        let for_good = match effects {
            effects if effects.contains(Effects::LOADS) => Some(Pin::Library),
            effects if effects.contains(Effects::LEAVES_STATE) => Some(Pin::State),
            effects if effects.contains(Effects::COMPUTES_SETTING) => Some(Pin::CustomSetting),
            _ => bound.pin.filter(|pin| pin.is_for_good()),
        };
        bound.pin = match for_good {
            // What no question finds outlasts what it finds now.
            Some(Pin::UnknownSettings) => for_good,
            _ => state.pin.or(for_good).filter(|_| may_pin),
        };
        let server = bound.lease.server();
        if state.statements != server.prepared.len() {
            // Something has dropped statements behind our back.
            server.prepared.doubt_all();
        }
        // A function may have named it; from now on it is asked for.
        for (name, _) in &state.settings {
            self.state.custom.add(name);
        }
        let resets = effects.contains(Effects::RESETS);
        server.baseline.take_from(&mut state.settings, &self.state.settings, resets);
        let table = &self.worker.common.settings;
        let now = table.intern(state.settings);
        let startup = &self.state.startup;
        let wanted =
            if resets { state_check::with_startup(table, &now, startup) } else { Arc::clone(&now) };
        server.settings = now;
        if effects.contains(Effects::UNKNOWN_SETTINGS) {
            server.tainted_by = Some(self.handle.id);
        }
        self.set_settings(wanted);
        if bound.pin.is_some() || self.keeps_server() || bound.owes_ready {
            // The session stays here, so what RESET returned to has to be right here too.
            return self.align(bound, cx);
        }
        Ok(())
    }

    /// A check failed. One that ran into the session's own `statement_timeout` is asked again without
    /// it.
    fn check_failed(&mut self, bound: &mut Bound, cx: &mut Context<'_>, error: &[u8]) -> Flow {
        let fields = wire::error_fields(error.get(wire::HEADER_LEN..).unwrap_or_default());
        if fields.code == b"57014" && bound.cut_off < CUT_OFF_MAX {
            bound.cut_off += 1;
            let sql = self.check_query(bound);
            self.ask(bound, cx, Gate::Check(Answer::default()), &sql);
            return Ok(());
        }
        // What others have just dropped may be missing for a moment.
        let may_pass = fields.code != b"57014" && bound.cut_off == 0;
        if may_pass && !std::mem::replace(&mut bound.has_checked_again, true) {
            let sql = self.check_query(bound);
            self.ask(bound, cx, Gate::Check(Answer::default()), &sql);
            return Ok(());
        }
        let reason = String::from_utf8_lossy(fields.message).into_owned();
        Err(self.check_is_unusable(&reason))
    }

    /// The server is closed, and with it goes what only the server knows of the session.
    fn check_is_unusable(&self, reason: &str) -> Stop {
        let text = format!("what the session has set on its server is not known: {reason}");
        self.record_event(crate::metrics::EventKind::Server, &text);
        let fault = crate::fault::Fault::session(crate::fault::Side::Server, "08006", text);
        Stop::End(End::fault(fault.pgbouncer("server conn crashed?")))
    }
}

impl Session {
    /// Completes the login if the parameters are known; otherwise takes a server that reports them.
    pub(super) fn begin_login(&mut self, cx: &mut Context<'_>) -> Flow {
        let client = &mut self.client;
        if client.logs_in_to_replica() {
            return match self.phase {
                Phase::Idle => self.acquire_for_login(cx),
                Phase::Waiting(_) | Phase::Bound(_) => Ok(()),
            };
        }
        if !client.is_dedicated()
            && let Some(reported) =
                client.route.account.reported_parameters.find(&client.state.settings)
        {
            if let Some(fault) = client.login_refusal(&reported) {
                return Err(Stop::End(End::fault(fault)));
            }
            return client.complete_login(cx, &reported);
        }
        match self.phase {
            Phase::Idle => self.acquire_of_primary(cx),
            Phase::Waiting(_) | Phase::Bound(_) => Ok(()),
        }
    }
}

/// Takes away the statements that the server has under the client's own names.
fn take_back(bound: &mut Bound, cx: &mut Context<'_>) {
    let names = std::mem::take(&mut bound.lent);
    if names.is_empty() {
        return;
    }
    let (server, mut out) = (bound.server(), Vec::new());
    for name in &names {
        client::target(&mut out, client::CLOSE, b'S', name);
        expect_reply(server, Kind::Close);
    }
    client::bare(&mut out, client::SYNC);
    expect_reply(server, Kind::Sync);
    if server.stream.write(cx, &out).is_err() {
        cx.waker().wake_by_ref();
    }
}

/// A seed that nobody can guess; `None` when the system has no randomness.
fn random_seed() -> Option<i32> {
    let mut seed = [0; 4];
    getrandom::fill(&mut seed).ok()?;
    Some(i32::from_ne_bytes(seed))
}

/// The statement of ours that a client's own names must not meet.
const OURS: &[u8] = b"howdah: the session's settings";

/// Our statements as one Query, which costs the server its unnamed statement.
fn simple(server: &mut Server, sql: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    client::query(&mut out, &sql.join(&b';'));
    server.unnamed = 0;
    expect_reply(server, Kind::Query);
    out
}

/// Our statements as a batch that leaves the unnamed statement alone, which is the client's (manual,
/// "Extended Query").
fn named(server: &mut Server, sql: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for sql in sql {
        client::parse(&mut out, OURS, sql, &[0; 2]);
        expect_reply(server, Kind::Parse);
        client::bind_head(&mut out, b"", OURS, 6);
        out.extend_from_slice(&[0; 6]);
        expect_reply(server, Kind::Bind);
        client::execute(&mut out, b"");
        expect_reply(server, Kind::Execute);
        client::target(&mut out, client::CLOSE, b'S', OURS);
        expect_reply(server, Kind::Close);
    }
    client::bare(&mut out, client::SYNC);
    expect_reply(server, Kind::Sync);
    out
}

fn expect_reply(server: &mut Server, kind: Kind) {
    let discarded = server.replies.sent(kind, Reply::Swallow, None);
    debug_assert!(discarded.is_none(), "asked while the server skips");
}
