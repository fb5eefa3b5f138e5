//! How a session takes a server and leaves it.

use super::bound::Bound;
use super::client::{Client, Passing, Presence};
use super::clock::Clock;
use super::decision::Decision;
use super::effects::Effects;
use super::flow::{End, Flow, Leave, Stop};
use super::gate::Gate;
use super::held_read::HeldRead;
use super::node_choice::{Chosen, Suits};
use super::route::Mode;
use super::run::{Phase, Session, Waiting};
use super::server_lost::{Asked, LostServer, Verdict};
use super::settle::{Settle, Situation, settle};
use super::state_check::Pin;
use super::target::AwaitedRead;
use super::timing::cancelled;
use super::unbound::HOLD_MAX;
use super::unit::{Front, front};
use crate::backend::state::Rest;
use crate::cluster::shared::{View, now};
use crate::cluster::waiters::Wish;
use crate::fault::{Fault, MessageStyle, Side};
use crate::pool::{Lease, Line, Outcome, Refused};
use crate::wire::{self, server};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// Servers that may fail their test one after the other before the client is told.
const FAILED_TESTS_MAX: u32 = 3;

fn lost() -> Fault {
    Fault::session(Side::Server, "08006", "server closed the connection unexpectedly")
        .pgbouncer("server conn crashed?")
}

fn no_transactions() -> Fault {
    Fault::session(
        Side::Client,
        "0A000",
        "transaction blocks not allowed in statement pooling mode",
    )
    .hint("Set pool_mode = \"transaction\" for this database or user.")
}

impl Session {
    /// The line in which the session stands for a server that takes what is in front of `data`: the
    /// one place where that is chosen.
    fn choose_line(&mut self, data: &[u8]) -> Line {
        Line {
            pool: self.client.target.pool,
            worker: self.client.worker.id,
            is_login: self.client.is_logging_in && !self.client.came_first,
            place: self.client.place.take(),
            preferred: self.client.server_of_sequences(data),
        }
    }

    /// Takes a server for what is in front of `data`, or a place in line for one.
    pub(super) fn acquire(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Flow {
        let client = &mut self.client;
        if !client.route.is_current(client.options_version) {
            (client.options, client.options_version) = client.route.options();
        }
        loop {
            let line = self.choose_line(data);
            let client = &mut self.client;
            let pools = &client.worker.common.pools;
            match pools.checkout(line, client.extras.as_ref(), cx) {
                Outcome::Leased(lease) => {
                    if self.attach(cx, lease)? {
                        return Ok(());
                    }
                    if self.client.target.read.is_some() {
                        return self.acquire_instead(cx);
                    }
                    if self.client.target.node.is_some()
                        && self.client.failed_tests > FAILED_TESTS_MAX
                    {
                        // The node is no primary. Who is will be known soon.
                        self.client.failed_tests = 0;
                        self.await_primary(cx);
                        return Ok(());
                    }
                }
                Outcome::Waiting(waiter) => {
                    let since = waiter.since();
                    client.handle.set_requested(since);
                    client.handle.set_waiting();
                    // A session that asks again has waited before.
                    let waited = Duration::from_micros(client.worker.coarse_now().since(since));
                    let limit = client.options.query_wait_timeout;
                    client.set_clock(Clock::Wait, limit.map(|limit| limit.saturating_sub(waited)));
                    self.phase = Phase::Waiting(Waiting::Server(waiter));
                    self.client.watch_primary(cx);
                    return Ok(());
                }
                Outcome::Refused(refused) => return Err(Stop::End(self.client.refused(&refused))),
            }
        }
    }

    /// Takes a server of the node where what is in front of `data` may run. False while the rest of it is
    /// to come.
    pub(super) fn acquire_for(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Flow<bool> {
        let Some(chosen) = self.client.choose_target(data) else {
            self.acquire(cx, data)?;
            return Ok(true);
        };
        match chosen {
            Chosen::Target(target) => {
                self.client.target = target;
                self.client.is_refused = false;
                self.client.unit = target.read.and_then(|_| held_read(data));
                self.acquire(cx, data)?;
                Ok(true)
            }
            Chosen::Hold => Ok(false),
            Chosen::AwaitPrimary => {
                self.await_primary(cx);
                Ok(true)
            }
            Chosen::AwaitReplica(read, wish, view) => {
                self.await_replica(cx, (read, wish), view);
                Ok(true)
            }
            Chosen::Refuse => {
                self.client.count(Decision::NoReplica);
                // What is in front is being looked at: it is answered when it is held again.
                self.phase = Phase::Waiting(Waiting::Refusal);
                cx.waker().wake_by_ref();
                Ok(true)
            }
        }
    }

    /// Waits until a replica may be fresh enough. What is in front stays there, and is chosen for again.
    fn await_replica(
        &mut self,
        cx: &Context<'_>,
        (read, wish): (AwaitedRead, Wish),
        seen: Arc<View>,
    ) {
        let client = &mut self.client;
        let Some(nodes) = &client.route.nodes else { return };
        let place = nodes.cluster.wake_for(wish, cx.waker());
        client.handle.set_waiting();
        if client.must_look_again(&read, &seen) {
            cx.waker().wake_by_ref();
        }
        client.set_clock(Clock::Wait, Some(wish.until.since(now())));
        self.phase = Phase::Waiting(Waiting::Replica { read, seen, _place: place });
    }

    /// The server of a replica is of no use: the read waits for another, or goes to the primary.
    fn acquire_instead(&mut self, cx: &mut Context<'_>) -> Flow {
        match self.client.wait_for_server() {
            Some((read, wish, seen)) => {
                self.client.unit = None;
                self.await_replica(cx, (read, wish), seen);
                Ok(())
            }
            None => self.acquire_of_primary(cx),
        }
    }

    /// The same for the primary, whatever is in front.
    pub(super) fn acquire_of_primary(&mut self, cx: &mut Context<'_>) -> Flow {
        if self.client.target.read.is_some() {
            self.client.count(Decision::NoReplica);
        }
        match self.client.primary_target() {
            Some(target) => {
                self.client.target = target;
                self.client.unit = None;
                self.acquire(cx, &[])
            }
            None => {
                self.await_primary(cx);
                Ok(())
            }
        }
    }

    fn await_primary(&mut self, cx: &Context<'_>) {
        let client = &mut self.client;
        client.handle.set_waiting();
        client.set_clock(Clock::Wait, client.options.routing.primary_wait);
        self.phase = Phase::Waiting(Waiting::Primary);
        self.client.watch_primary(cx);
    }

    pub(super) fn granted(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Result<Lease, Refused>,
    ) -> Flow {
        self.client.set_clock(Clock::Off, None);
        match outcome {
            Err(refused) => Err(Stop::End(self.client.refused(&refused))),
            Ok(lease) => {
                if !self.attach(cx, lease)? {
                    self.acquire_instead(cx)?;
                }
                Ok(())
            }
        }
    }

    /// Binds a leased server to the session; false when it turned out to be dead.
    fn attach(&mut self, cx: &mut Context<'_>, mut lease: Lease) -> Flow<bool> {
        let has_moved = lease.must_move() && lease.server().stream.rehome().is_err();
        if has_moved || !lease.is_alive(cx) {
            self.client.place = Some(lease.place());
            return Ok(false);
        }
        match self.client.suits(lease.server()) {
            Suits::Yes => {}
            Suits::Others => {
                drop(lease.try_return());
                return Ok(false);
            }
            Suits::Nobody => {
                lease.server().set_close_reason(
                    "its node was the primary and is a standby, or the other way round",
                );
                self.client.failed_tests += 1;
                return Ok(false);
            }
        }
        let client = &mut self.client;
        if !client.keeps_server() {
            client.route.catalog.record_use();
        }
        client.handle.set_server(&lease.server().cancel);
        client.handle.set_requested(lease.since());
        client.traffic().assignments.add(1);
        client.traffic().wait.record(lease.waited());
        let idle = lease.idle();
        let mut bound = Box::new(Bound::new(lease));
        bound.reading = client.begin_read();
        bound.held_read = client.unit.take();
        if client.is_dedicated() && bound.server().baseline.settings().is_empty() {
            // Its startup packet has given it everything, but connect_query came behind.
            bound.server().settings = Arc::clone(&client.state.settings);
        }
        self.phase = Phase::Bound(bound);
        let Phase::Bound(bound) = &mut self.phase else { return Ok(false) };
        match &self.client.options.server_check_query {
            Some(sql) if idle >= self.client.options.server_check_delay => {
                let sql = sql.as_bytes().to_vec();
                self.client.ask(bound, cx, Gate::Alive(super::gate::Answer::default()), &[sql]);
            }
            Some(_) | None => self.client.align(bound, cx)?,
        }
        Ok(true)
    }

    /// The question whether the server may go back, if it is due.
    #[inline]
    pub(super) fn settle_if_due(&mut self, cx: &mut Context<'_>) -> Flow {
        let Phase::Bound(bound) = &mut self.phase else { return Ok(()) };
        if !bound.settle_is_due || bound.gate.is_some() {
            return Ok(());
        }
        bound.settle_is_due = false;
        self.client.settle(bound, cx)
    }

    /// Leaves the server.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>, leave: Leave) -> Flow {
        let Phase::Bound(bound) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return Ok(());
        };
        match leave {
            Leave::GiveBack => self.give_back(cx, bound),
            Leave::Close(reason) => self.client.close_server(bound, reason),
            Leave::Lost if bound.held_read.is_some() => self.repeat_on_primary(bound),
            Leave::Lost => return self.server_lost(cx, bound),
            Leave::Repeat => self.repeat_on_primary(bound),
            Leave::TryAnother(reason) => {
                self.client.place = Some(bound.lease.place());
                self.client.close_server(bound, reason);
                self.client.failed_tests += 1;
                if self.client.failed_tests > FAILED_TESTS_MAX {
                    // A test that fails on every server says nothing about them.
                    return Err(Stop::End(End::fault(lost())));
                }
                return self.acquire(cx, &[]);
            }
            Leave::NotAligned(error) => return self.alignment_failed(cx, bound, &error),
            Leave::Cancelled => {
                // It has got nothing of the client's and goes back; should it not be at rest,
                // because a request for it has just begun, it is closed.
                if let Err(mut lease) = bound.lease.try_return() {
                    lease.server().set_close_reason("client disconnect while server was not ready");
                }
                return self.refuse_batch(cx, &cancelled());
            }
        }
        Ok(())
    }

    /// The read is in front again, as if the client had sent it now.
    fn repeat_on_primary(&mut self, mut bound: Box<Bound>) {
        let client = &mut self.client;
        client.handle.clear_server();
        client.state.statements.forget_portals();
        if let Some(held) = bound.held_read.take() {
            held.parsed().for_each(|name| client.state.statements.forget(name));
            client.pipe.held.splice(0..0, held.unit().iter().copied());
        }
        client.is_refused = true;
        if bound.server().is_closing || bound.server().replies.outstanding() > 0 {
            bound.server().set_close_reason("lost in a read");
        } else if let Err(mut lease) = bound.lease.try_return() {
            lease.server().set_close_reason("client disconnect while server was not ready");
        }
    }

    fn give_back(&mut self, cx: &Context<'_>, bound: Box<Bound>) {
        self.client.failed_tests = 0;
        self.client.handle.clear_server();
        self.client.state.statements.forget_portals();
        let Bound { lease, moments, effects, pin, .. } = *bound;
        debug_assert!(pin.is_none() && !effects.intersects(Effects::CHECKED));
        let Err(mut lease) = lease.try_return_at(moments.known) else { return };
        // A cancel request began at the last moment.
        let target = Arc::clone(&lease.server().cancel);
        self.client.handle.set_server(&target);
        let mut bound = Box::new(Bound::new(lease));
        (bound.moments, bound.has_served, bound.settle_is_due) = (moments, true, true);
        self.phase = Phase::Bound(bound);
        if !target.wake_when_clear(cx.waker()) {
            cx.waker().wake_by_ref();
        }
    }

    /// The server connection ended while it was leased, or the kernel reports its end.
    fn server_lost(&mut self, cx: &mut Context<'_>, mut bound: Box<Bound>) -> Flow {
        self.client.record_loss(bound.effects);
        let verdict = self.client.lost_server(&mut bound).verdict();
        self.client.handle.clear_server();
        match verdict {
            Verdict::EndSilently => Err(Stop::End(End::ServerSentFatal)),
            Verdict::End if self.ending.is_some() => {
                Err(Stop::End(self.ending.take().unwrap_or(End::Left)))
            }
            Verdict::End => Err(Stop::End(End::fault(lost()))),
            Verdict::TryAnother => {
                self.client.place = Some(bound.lease.place());
                drop(bound);
                self.acquire(cx, &[])
            }
            Verdict::GoOn => {
                self.client.set_idle_clock();
                Ok(())
            }
        }
    }

    /// The statement is answered with the server's error, and the server, which has a part of the
    /// settings, is closed. A client that is still logging in cannot be.
    fn alignment_failed(&mut self, cx: &mut Context<'_>, bound: Box<Bound>, error: &[u8]) -> Flow {
        let owes_ready = bound.owes_ready;
        self.client.close_server(bound, "var change failed");
        if self.client.is_logging_in || owes_ready || self.client.pipe.held.is_empty() {
            let body = error.get(wire::HEADER_LEN..).unwrap_or_default();
            let message = wire::error_fields(body).message;
            let reason = String::from_utf8_lossy(message).into_owned();
            return Err(Stop::End(End::server_error(wire::as_fatal(body), reason)));
        }
        self.answer_batch(cx, error.to_vec())
    }

    /// An error of ours in the place of the answer to what is held. The session goes on.
    pub(super) fn refuse_batch(&mut self, cx: &mut Context<'_>, fault: &Fault) -> Flow {
        let mut out = Vec::new();
        wire::fault(&mut out, &fault.clone().in_style(self.client.message_style()));
        self.client.log_fault(fault);
        self.answer_batch(cx, out)
    }

    /// Answers the message in front of what is held with the error in `out`, as PostgreSQL would:
    /// a Query gets ReadyForQuery as well, a batch is dropped until its Sync.
    fn answer_batch(&mut self, cx: &mut Context<'_>, mut out: Vec<u8>) -> Flow {
        self.phase = Phase::Idle;
        let client = &mut self.client;
        client.handle.clear_server();
        client.set_clock(Clock::Off, None);
        if client.is_logging_in {
            let text = "no server connection available for login";
            let fault = Fault::session(Side::Proxy, "57P03", text);
            return Err(Stop::End(End::fault(fault.pgbouncer("query_wait_timeout"))));
        }
        let pipe = &mut client.pipe;
        match wire::header(&pipe.held, client.options.max_packet_size) {
            Ok(Some(found))
                if matches!(found.tag, wire::client::QUERY | wire::client::FUNCTION_CALL) =>
            {
                pipe.passing = found.total();
                pipe.pass = Passing::Drop;
                server::ready(&mut out, wire::IDLE);
            }
            Ok(_) | Err(_) => pipe.skipping = true,
        }
        client.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))
    }
}

/// The unit in front, for a replica that may refuse it.
fn held_read(data: &[u8]) -> Option<Box<HeldRead>> {
    match front(data, HOLD_MAX) {
        Front::Whole(unit) => Some(Box::new(HeldRead::new(unit))),
        Front::Open | Front::Endless => None,
    }
}

impl Client {
    fn refused(&self, refused: &Refused) -> End {
        match refused {
            Refused::Removed => End::fault(
                Fault::session(Side::Operator, "57P01", "database removed from the configuration")
                    .hint("Reconnect to a database that the configuration has.")
                    .pgbouncer("database removed"),
            ),
            Refused::Failing(failure) => {
                let mut out = Vec::new();
                failure.encode(&mut out, self.message_style());
                let body = out.get(wire::HEADER_LEN..).unwrap_or_default();
                let said = String::from_utf8_lossy(wire::error_fields(body).message).into_owned();
                if self.options.log_pooler_errors && self.message_style() == MessageStyle::PgBouncer
                {
                    self.log_pooler_error("08P01", &said);
                }
                let reason = self.message_style().choose(failure.to_string(), said);
                End::server_error(out, reason)
            }
        }
    }

    /// Closes the server, for this reason.
    fn close_server(&mut self, mut bound: Box<Bound>, reason: &'static str) {
        bound.server().set_close_reason(reason);
        self.handle.clear_server();
    }

    fn situation(&self, bound: &mut Bound) -> Situation {
        let (effects, pin, owes_ready) = (bound.effects, bound.pin, bound.owes_ready);
        let server = bound.server();
        let pin = pin.or_else(|| self.state.statements.pin());
        Situation {
            rest: server.rest(),
            owed: server.replies.rest(),
            is_answering: server.replies.outstanding() > 0,
            may_ask: server.may_ask(),
            is_idle: server.replies.status() == wire::IDLE,
            by_statement: self.options.mode == Mode::Statement,
            keeps_server: self.keeps_server(),
            is_passing: self.pipe.passing > 0,
            owes_ready,
            is_worn: server.stream.is_worn(),
            effects,
            pin,
        }
    }

    /// Gives the server back if nothing holds it, and sets the clock.
    fn settle(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        match settle(self.situation(bound)) {
            Settle::Stay => {}
            Settle::StayInTransaction => self.set_transaction_clock(),
            Settle::StayIdle => {
                self.set_idle_clock();
                let pin = bound.pin.or_else(|| self.state.statements.pin());
                bound.lease.set_pinned(pin.map(Pin::as_str));
            }
            Settle::Wait => {
                if !bound.server().cancel.wake_when_clear(cx.waker()) {
                    cx.waker().wake_by_ref();
                }
                bound.settle_is_due = true;
            }
            Settle::Check => {
                self.set_idle_clock();
                self.check(bound, cx);
            }
            Settle::GiveBack => {
                self.set_idle_clock();
                return Err(Stop::Leave(Leave::GiveBack));
            }
            Settle::Close => return Err(Stop::Leave(Leave::Close("unclean server"))),
            Settle::Replace => {
                self.set_idle_clock();
                return Err(Stop::Leave(Leave::Close("its TLS connection has been used up")));
            }
            Settle::RefuseTransaction => return Err(Stop::End(End::fault(no_transactions()))),
        }
        Ok(())
    }

    /// What the client loses if its server ends now.
    pub(super) fn lost_server(&self, bound: &mut Bound) -> LostServer {
        let asked = match &bound.gate {
            None => Asked::Nothing,
            Some(Gate::Check(_)) => Asked::Check,
            Some(Gate::Shape | Gate::Answers) => Asked::Client,
            Some(Gate::Alive(_) | Gate::Align(_)) => Asked::Other,
        };
        let checked = bound.effects.intersects(Effects::CHECKED);
        let has_pin = bound.pin.is_some() || self.state.statements.pin().is_some();
        LostServer {
            server_sent_fatal: bound.has_sent_fatal,
            only_we_ask: bound.only_we_ask(),
            asked,
            owes_client: bound.owes_ready || self.pipe.mid_frame,
            is_used: bound.is_used,
            is_free: !self.keeps_server() && !has_pin && self.pipe.passing == 0 && !checked,
            is_at_rest: bound.server().replies.rest() == Rest::AtRest,
        }
    }

    /// Whether the client's connection is known to be broken.
    pub(super) fn is_gone(&self) -> bool {
        self.pipe.presence == Presence::Gone
    }
}
