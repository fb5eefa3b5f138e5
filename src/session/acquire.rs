//! How a session takes a server and leaves it.

use super::bound::Bound;
use super::client::{Client, Presence};
use super::clock::Clock;
use super::decision::Decision;
use super::effects::Effects;
use super::flow::{End, Flow, Leave, Stop};
use super::gate::Gate;
use super::held_read::HeldRead;
use super::keeping::Resumed;
use super::node_choice::{Chosen, Suits};
use super::route::Mode;
use super::run::{Phase, Session, Waiting};
use super::server_lost::{Asked, LostServer, Verdict};
use super::settle::{Settle, Situation, settle};
use super::state_check::Pin;
use super::timing::cancelled;
use super::unbound::HOLD_MAX;
use super::unit::{Front, front};
use crate::backend::state::Rest;
use crate::cluster::shared::StatementKind;
use crate::fault::{Fault, Side};
use crate::pool::{Lease, Line, Outcome, Refused};
use crate::wire;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// How often a read is repeated that a node refuses or is lost in: servers of a node that dies end one
/// after the other.
const REPEATS_MAX: u8 = 4;
/// Servers that may fail their test one after the other before the client is told.
const FAILED_TESTS_MAX: u32 = 3;

fn lost() -> Fault {
    Fault::session(Side::Server, "08006", "server closed the connection unexpectedly")
        .pgbouncer("server conn crashed?")
}

fn other_nodes() -> Fault {
    let text = "terminating connection because the database has other nodes now";
    Fault::session(Side::Operator, "57P01", text)
        .hint("Connect again.")
        .pgbouncer("database configuration changed")
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
    /// Takes the options that its route has now, if the route goes on.
    #[inline]
    fn renew(&mut self) -> Flow {
        if self.client.has_options() {
            return Ok(());
        }
        self.client.renew_options();
        if self.client.route.is_over() {
            return Err(Stop::End(End::fault(other_nodes())));
        }
        Ok(())
    }

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
        match self.resume(cx)? {
            Resumed::Yes => return Ok(()),
            Resumed::None => {}
            Resumed::NotThis => return self.acquire_instead(cx),
        }
        self.renew()?;
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
                    let Some(limit) = self.patience(&waiter) else {
                        drop(waiter);
                        return self.acquire_instead(cx);
                    };
                    let client = &mut self.client;
                    let since = waiter.since();
                    client.handle.set_requested(since);
                    client.handle.set_waiting();
                    // A session that asks again has waited before.
                    let waited = Duration::from_micros(client.worker.coarse_now().since(since));
                    client.set_clock(Clock::Wait, limit.map(|limit| limit.saturating_sub(waited)));
                    self.wait(cx, |watch| Waiting::Server(waiter, watch));
                    return Ok(());
                }
                Outcome::Refused(_) if self.client.target.read.is_some() => {
                    return self.acquire_instead(cx);
                }
                Outcome::Refused(refused) => return Err(Stop::End(self.client.refused(&refused))),
            }
        }
    }

    /// Takes a server of the node where what is in front of `data` may run. False while the rest of it is
    /// to come.
    pub(super) fn acquire_for(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Flow<bool> {
        self.renew()?;
        let Some(chosen) = self.client.choose_target(data) else {
            self.acquire(cx, data)?;
            return Ok(true);
        };
        match chosen {
            Chosen::Target(target) | Chosen::PrimaryRead(target) | Chosen::Unrepeated(target) => {
                let is_on_replica = target.read.is_some();
                let is_read = match chosen {
                    Chosen::Target(_) => is_on_replica,
                    Chosen::PrimaryRead(_) => true,
                    Chosen::Unrepeated(_)
                    | Chosen::Refuse(_)
                    | Chosen::Hold
                    | Chosen::AwaitPrimary
                    | Chosen::AwaitReplica(..) => false,
                };
                let client = &mut self.client;
                client.target = target;
                if !std::mem::take(&mut client.is_refused) {
                    client.repeats = 0;
                }
                let may_repeat = is_read && client.repeats < REPEATS_MAX;
                client.unit = if may_repeat { held_read(data, is_on_replica) } else { None };
                let unit = client.unit.as_ref().filter(|_| is_on_replica);
                client.sampled = unit.and_then(|held| client.draw_sample(held.unit()));
                self.acquire(cx, data)?;
                Ok(true)
            }
            Chosen::Refuse(fault) => {
                self.refuse_front(cx, data, &fault)?;
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
        }
    }

    /// The same for the primary, whatever is in front.
    pub(super) fn acquire_of_primary(&mut self, cx: &mut Context<'_>) -> Flow {
        self.renew()?;
        if self.client.target.read.is_some() {
            self.client.count(Decision::NoReplica);
        }
        match self.client.primary_target() {
            Some(target) => {
                self.client.target = target;
                // The primary is in no conflict.
                self.client.unit = None;
                self.client.sampled = None;
                self.acquire(cx, &[])
            }
            None => {
                self.await_primary(cx);
                Ok(())
            }
        }
    }

    pub(super) fn granted(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Result<Lease, Refused>,
    ) -> Flow {
        self.client.set_clock(Clock::Off, None);
        self.renew()?;
        match outcome {
            Err(_) if self.client.target.read.is_some() => self.acquire_instead(cx),
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
            Suits::Others | Suits::NotYet => {
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
        if std::mem::take(&mut client.awaits_primary) {
            client.count_lost(StatementKind::Waited);
        }
        client.handle.set_requested(lease.since());
        client.traffic().assignments.add(1);
        client.traffic().wait.record(lease.waited());
        self.bind(cx, lease)?;
        Ok(true)
    }

    /// Goes on with a server that suits the session.
    pub(super) fn bind(&mut self, cx: &mut Context<'_>, mut lease: Lease) -> Flow {
        let client = &mut self.client;
        if !client.keeps_server() {
            client.route.catalog.record_use();
        }
        client.handle.set_server(&lease.server().cancel);
        if let Some(in_flight) = &mut client.in_flight {
            in_flight.clear();
        }
        let idle = lease.idle();
        let mut bound = Box::new(Bound::new(lease));
        bound.reading = client.begin_read();
        bound.held_read = client.unit.take();
        bound.sampled = client.sampled.take();
        bound.advised = client.advised.take();
        if let Some(advised) = &mut bound.advised {
            advised.begin();
        }
        client.tell_route(&mut bound, cx)?;
        if client.is_dedicated() && bound.server().baseline.settings().is_empty() {
            // Its startup packet has given it everything, but connect_query came behind.
            bound.server().settings = Arc::clone(&client.state.settings);
        }
        self.phase = Phase::Bound(bound);
        let Phase::Bound(bound) = &mut self.phase else { return Ok(()) };
        match &self.client.options.server_check_query {
            Some(sql) if idle >= self.client.options.server_check_delay => {
                let sql = sql.as_bytes().to_vec();
                self.client.ask(bound, cx, Gate::Alive(super::gate::Answer::default()), &[sql]);
            }
            Some(_) | None => self.client.align(bound, cx)?,
        }
        Ok(())
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
        let Phase::Bound(mut bound) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return Ok(());
        };
        match leave {
            Leave::GiveBack => self.give_back(cx, bound),
            Leave::Close(reason) => self.client.close_server(bound, reason),
            Leave::Lost if bound.held_read.is_some() => {
                bound.server().is_closing = true;
                self.repeat_on_primary(bound);
            }
            Leave::Lost => return self.server_lost(cx, bound),
            Leave::Repeat => self.repeat_on_primary(bound),
            Leave::Move => self.client.move_to_primary(*bound),
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
                self.part_or_close(bound.lease);
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
            if held.is_refused() {
                client.put_refused(held.unit());
            }
            held.parsed().for_each(|name| client.state.statements.forget(name));
            // What was not taken of it is still there.
            let left = held.left().min(client.pipe.held.len());
            client.pipe.held.splice(0..left, held.unit().iter().copied());
        }
        client.is_refused = true;
        client.repeats = client.repeats.saturating_add(1);
        if let Some(nodes) = &client.route.nodes {
            nodes.cluster.count_statement(StatementKind::Repeated);
        }
        if bound.server().is_closing {
            client.note_lost_server();
        }
        if bound.server().is_closing || bound.server().replies.outstanding() > 0 {
            bound.server().set_close_reason("lost in a read");
        } else {
            self.part_or_close(bound.lease);
        }
    }

    /// Parts with a server that should be at rest.
    fn part_or_close(&mut self, lease: Lease) {
        let now = self.client.worker.common.pools.now();
        if let Err(mut lease) = self.part_with(lease, now) {
            lease.server().set_close_reason("client disconnect while server was not ready");
        }
    }

    fn give_back(&mut self, cx: &Context<'_>, bound: Box<Bound>) {
        self.client.failed_tests = 0;
        self.client.handle.clear_server();
        self.client.state.statements.forget_portals();
        let Bound { lease, moments, effects, pin, reading, sampled, .. } = *bound;
        if let Some(sampled) = sampled {
            self.client.put_sample(*sampled);
        }
        debug_assert!(pin.is_none() && !effects.intersects(Effects::CHECKED));
        let Err(mut lease) = self.part_with(lease, moments.known) else { return };
        // A cancel request began at the last moment.
        let target = Arc::clone(&lease.server().cancel);
        self.client.handle.set_server(&target);
        let mut bound = Box::new(Bound::new(lease));
        (bound.moments, bound.has_served, bound.settle_is_due) = (moments, true, true);
        bound.reading = reading;
        self.phase = Phase::Bound(bound);
        if !target.wake_when_clear(cx.waker()) {
            cx.waker().wake_by_ref();
        }
    }

    /// The server connection ended while it was leased, or the kernel reports its end.
    fn server_lost(&mut self, cx: &mut Context<'_>, mut bound: Box<Bound>) -> Flow {
        let (effects, status) = (bound.effects, bound.server().replies.status());
        self.client.lose_own(effects, status);
        self.client.record_loss(effects);
        let verdict = self.client.lost_server(&mut bound).verdict();
        self.client.handle.clear_server();
        self.client.note_lost_server();
        match verdict {
            Verdict::Fail if self.ending.is_some() => {
                Err(Stop::End(self.ending.take().unwrap_or(End::Left)))
            }
            Verdict::EndSilently => Err(Stop::End(End::ServerSentFatal)),
            Verdict::End if self.ending.is_some() => {
                Err(Stop::End(self.ending.take().unwrap_or(End::Left)))
            }
            Verdict::End => Err(Stop::End(End::fault(lost()))),
            Verdict::TryAnother => {
                self.client.place = Some(bound.lease.place());
                drop(bound);
                if self.client.route.nodes.is_some() {
                    // It chooses again what is in front.
                    return Ok(());
                }
                self.acquire(cx, &[])
            }
            Verdict::GoOn => {
                self.client.set_idle_clock();
                Ok(())
            }
            Verdict::Fail => self.outlive(cx, bound),
        }
    }
}

/// The unit in front, for a replica that may refuse it or a node that may be lost in it. What stands behind
/// it goes to the primary at once, so that it could not be repeated there.
fn held_read(data: &[u8], is_on_replica: bool) -> Option<Box<HeldRead>> {
    match front(data, HOLD_MAX) {
        Front::Whole(unit) if !is_on_replica && unit.len() < data.len() => None,
        Front::Whole(unit) => Some(Box::new(HeldRead::new(unit, is_on_replica))),
        Front::Open(_) | Front::Endless => None,
    }
}

impl Client {
    /// The transaction on a replica ends there, and what is in front comes behind another one on the primary.
    fn move_to_primary(&mut self, bound: Bound) {
        self.handle.clear_server();
        self.read_transaction.set(None);
        self.state.statements.forget_portals();
        self.release(bound);
    }

    /// No server of the replica has suited a session that insists on one: it chooses again, some times.
    pub(super) fn choose_again(&mut self) {
        self.failed_tests += 1;
        if self.failed_tests > FAILED_TESTS_MAX {
            (self.failed_tests, self.is_unserved) = (0, true);
        }
    }

    /// Closes the server, for this reason.
    pub(super) fn close_server(&mut self, mut bound: Box<Bound>, reason: &'static str) {
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
            is_left_on_replica: bound.reading.is_some() && bound.pin.is_some(),
        }
    }

    /// Gives the server back if nothing holds it, and sets the clock.
    fn settle(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        if self.moving.is_some() && bound.reading.is_some() {
            return Err(Stop::Leave(Leave::Move));
        }
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
            Settle::LeaveBehind => {
                self.set_idle_clock();
                self.record_left_behind(bound);
                return Err(Stop::Leave(Leave::Close("its session left state on a replica")));
            }
            Settle::Replace => {
                self.set_idle_clock();
                return Err(Stop::Leave(Leave::Close("its TLS connection has been used up")));
            }
            Settle::RefuseTransaction => return Err(Stop::End(End::fault(no_transactions()))),
        }
        Ok(())
    }

    /// A read only transaction has left something on a replica that no text showed.
    fn record_left_behind(&self, bound: &Bound) {
        let what = bound.pin.map_or("state", Pin::as_str);
        let text = format!("a session has left on a replica, where it does not stay: {what}");
        tracing::warn!(
            client = self.handle.id, user = %self.route.user, database = %self.route.database, "{text}"
        );
        self.record_event(crate::metrics::EventKind::Server, &text);
    }

    /// What the client loses if its server ends now.
    pub(super) fn lost_server(&self, bound: &mut Bound) -> LostServer {
        let asked = match &bound.gate {
            None => Asked::Nothing,
            Some(Gate::Check(_)) => Asked::Check,
            Some(Gate::Shape | Gate::Answers) => Asked::Client,
            Some(Gate::Alive(_) | Gate::Align(_) | Gate::Begin(_)) => Asked::Other,
        };
        let checked = bound.effects.intersects(Effects::CHECKED);
        let has_pin = bound.pin.is_some() || self.state.statements.pin().is_some();
        let is_tied = self.route.nodes.is_some() && self.is_tied(bound, has_pin);
        LostServer {
            server_sent_fatal: bound.has_sent_fatal,
            only_we_ask: bound.only_we_ask(),
            asked,
            owes_client: bound.owes_ready || self.pipe.mid_frame,
            is_used: bound.is_used,
            is_free: !self.keeps_server() && !has_pin && self.pipe.passing == 0 && !checked,
            is_at_rest: bound.server().replies.rest() == Rest::AtRest,
            has_other_nodes: self.route.nodes.is_some(),
            is_tied,
        }
    }

    /// Whether the client's connection is known to be broken.
    pub(super) fn is_gone(&self) -> bool {
        self.pipe.presence == Presence::Gone
    }
}
