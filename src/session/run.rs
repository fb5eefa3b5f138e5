//! The loop of one client.
//!
//! [`Session::poll`] is the only place where a session waits. It reads both sockets, whichever
//! phase the session is in, and stops reading one while the other cannot take more: no queue
//! stands in between. One poll moves a bounded amount and then yields.

use super::card::{Card, Order};
use super::gate::Gate;
use super::insight::Insight;
use super::names::{Effects, Names};
use super::route::{Options, Route};
use super::timing::Moments;
use super::worker::Worker;
use crate::backend::settings::Settings;
use crate::backend::state::Rest;
use crate::fault::{Fault, Side, Words};
use crate::metrics::EventKind;
use crate::net::Stream;
use crate::pool::core::Tick;
use crate::pool::{Extras, Lease, Line, Outcome, Refused, Waiter};
use crate::wire::{self, server};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// Rounds of reading in one poll.
const ROUNDS: usize = 8;
/// Answers outstanding beyond which the client is not read.
const PIPELINE_MAX: usize = 16 * 1024;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client said so, or closed its connection.
    Left,
    /// The client's connection broke.
    ClientLost(std::io::Error),
    /// The client does not speak the protocol; there is nothing to say to it.
    Quietly(String),
    /// The client is told why.
    Fault(Fault),
    /// The client is told in a server's own words: the whole message, and the text for the log.
    Told(Vec<u8>, String),
    /// The client has been told by the server itself.
    ServerSaid,
}

/// What a pending time-out is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Nothing.
    Off,
    /// The client waits for a server.
    Wait,
    /// A statement runs.
    Query,
    /// A statement was cancelled and does not end.
    Cancelled,
    /// The client is silent inside a transaction.
    IdleTransaction,
    /// The client is silent outside.
    Idle,
    /// The client has closed its sending side.
    Parting,
    /// The server was asked something by us.
    Gate,
}

/// Where a session stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// No server.
    Idle,
    /// In line for one.
    Waiting(Waiter),
    /// With a server.
    Bound,
}

/// What becomes of the rest of the client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    /// The server gets it.
    Forward,
    /// Nobody gets it.
    Drop,
}

/// Everything that a session is started with.
#[derive(Debug)]
pub struct Arrival {
    /// The client's socket.
    pub stream: Stream,
    /// What it sent behind its startup packet and password.
    pub held: Vec<u8>,
    /// Its card.
    pub card: Arc<Card>,
    /// Its database and user.
    pub route: Arc<Route>,
    /// The settings it asked for at startup.
    pub settings: Arc<Settings>,
    /// Startup parameters that nothing else can set: its server is its own.
    pub extras: Option<Arc<Extras>>,
    /// Dropped when the session is over.
    pub guard: Box<dyn std::any::Any + Send>,
}

/// A parameter's name and what the client knew of it.
pub(super) type Withheld = (Box<[u8]>, Option<Box<[u8]>>);

/// Bytes of a session, which stands behind its future in a box of its own.
#[doc(hidden)]
pub const SESSION_BYTES: usize = size_of::<Session>();

/// One client, logged in.
pub(super) struct Session {
    pub client: Stream,
    /// Bytes of the client that wait for the rest of a message, or for a server.
    pub held: Vec<u8>,
    /// Bytes still to come of a message that passes by length.
    pub passing: usize,
    pub pass: Passing,
    /// An error of ours was sent in the middle of a batch.
    pub skipping: bool,
    pub phase: Phase,
    pub lease: Option<Lease>,
    pub gate: Option<Gate>,
    pub names: Names,
    pub settings: Arc<Settings>,
    pub startup: Arc<Settings>,
    /// The settings that matter to a plan.
    pub plan_settings: Arc<Settings>,
    pub route: Arc<Route>,
    pub options: Arc<Options>,
    pub options_version: u32,
    pub worker: Rc<Worker>,
    pub card: Arc<Card>,
    /// See [`Arrival::extras`].
    pub extras: Option<Arc<Extras>>,
    pub dedicated: bool,
    /// The client has not been welcomed.
    pub greeting: bool,
    /// What the running transaction may have done to the session.
    pub effects: Effects,
    /// Custom settings that it has named.
    pub custom: super::settings::Custom,
    /// The server holds something of this session's.
    pub pinned: bool,
    /// The server is at rest but for a cancel request on its way, or bytes that wait: to be looked
    /// at again.
    pub unsettled: bool,
    /// ReadyForQuery is due to the client when the server has been given its settings.
    pub owes_ready: bool,
    /// Parameters of which the client was not told the server's default: what it knew before.
    pub withheld: Vec<Withheld>,
    /// The server has been sent something of the client's.
    pub touched: bool,
    /// Servers that have failed their test since one was of use.
    pub lost_in_a_row: u32,
    /// The place in line of a client whose server was lost before it was of use.
    pub place: Option<crate::pool::Place>,
    /// In session mode: its statements that reset settings.
    pub resetting: super::settings::Resetting,
    /// The last bytes that the client got end in the middle of a message.
    pub mid_frame: bool,
    /// The server has said that it closes the connection.
    pub server_said: bool,
    /// How the session ends when what was asked is answered.
    pub parting: Option<End>,
    pub clock: Clock,
    pub transaction_since: Option<Tick>,
    pub moments: Moments,
    /// It reads nothing, as no session does now.
    pub suspended: bool,
    pub insight: Box<Insight>,
}

/// A client's entry in its worker's list, for as long as the session lives, however it ends.
struct Place {
    worker: Rc<Worker>,
    place: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.leave(self.place);
    }
}

/// Runs a session to its end. The future is small, and the session has one place in memory for its
/// whole life: thousands of idle clients are mostly that.
pub fn run(mut arrival: Arrival, worker: Rc<Worker>) -> impl Future<Output = ()> {
    let guard = std::mem::replace(&mut arrival.guard, Box::new(()));
    let place = Place { place: worker.enter(&arrival.card), worker: Rc::clone(&worker) };
    let mut session = Session::begin(arrival, worker);
    async move {
        let end = session.serve().await;
        // Rare and large: not a part of every client's future.
        Box::pin(session.farewell(end)).await;
        drop((place, guard));
    }
}

/// The custom settings of a startup packet.
fn custom_of(settings: &Settings) -> super::settings::Custom {
    let mut custom = super::settings::Custom::default();
    // A startup packet has no room for more than are remembered.
    settings.iter().for_each(|(name, _)| _ = custom.note(name));
    custom
}

impl Session {
    fn begin(arrival: Arrival, worker: Rc<Worker>) -> Box<Self> {
        let (options, options_version) = arrival.route.options();
        arrival.card.calls_itself(arrival.settings.value("application_name"));
        let plan_settings = super::settings::for_plans(&worker.common.settings, &arrival.settings);
        Box::new(Self {
            client: arrival.stream,
            held: arrival.held,
            passing: 0,
            pass: Passing::Drop,
            skipping: false,
            phase: Phase::Idle,
            lease: None,
            gate: None,
            names: Names::new(&arrival.card),
            startup: Arc::clone(&arrival.settings),
            plan_settings,
            settings: Arc::clone(&arrival.settings),
            route: arrival.route,
            options,
            options_version,
            card: arrival.card,
            dedicated: arrival.extras.is_some(),
            extras: arrival.extras,
            greeting: true,
            effects: 0,
            custom: custom_of(&arrival.settings),
            pinned: false,
            unsettled: false,
            owes_ready: false,
            withheld: Vec::new(),
            touched: false,
            lost_in_a_row: 0,
            place: None,
            resetting: super::settings::Resetting::default(),
            mid_frame: false,
            server_said: false,
            parting: None,
            clock: Clock::Off,
            transaction_since: None,
            moments: Moments::at(worker.coarse_now()),
            suspended: worker.common.suspended.load(Ordering::Acquire),
            insight: Box::default(),
            worker,
        })
    }

    async fn serve(&mut self) -> End {
        if let Err(error) = self.client.rehome() {
            return End::ClientLost(error);
        }
        let mut attended = false;
        poll_fn(|cx| {
            if !attended {
                self.card.attend(cx.waker());
                attended = true;
            }
            self.poll(cx)
        })
        .await
    }
}

fn dismissed() -> Fault {
    Fault::session(Side::Operator, "57P01", "terminating connection due to administrator command")
}

fn shutdown() -> Fault {
    dismissed().pgbouncer("server shutting down")
}

impl Session {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let ControlFlow::Break(end) = self.summoned(cx) {
            return Poll::Ready(end);
        }
        for _ in 0..ROUNDS {
            match self.round(cx) {
                ControlFlow::Break(end) => return Poll::Ready(end),
                ControlFlow::Continue(false) => return self.pause(),
                ControlFlow::Continue(true) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What others did to the session. Each of it wakes the session, so once a poll is enough.
    fn summoned(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if self.card.has_orders() {
            self.obey(cx)?;
        }
        if !self.suspended
            && let Phase::Waiting(waiter) = &mut self.phase
            && let Poll::Ready(outcome) = waiter.poll(cx)
        {
            self.phase = Phase::Idle;
            self.granted(cx, outcome)?;
        }
        ControlFlow::Continue(())
    }

    /// One round; whether a socket is to be asked again, because it had something. Only one that
    /// had nothing wakes the session.
    fn round(&mut self, cx: &mut Context<'_>) -> ControlFlow<End, bool> {
        if self.suspended {
            return self.hold_still(cx);
        }
        self.flush(cx)?;
        let mut again = false;
        if self.greeting && matches!(self.phase, Phase::Idle) {
            self.greet(cx)?;
            again = true;
        }
        if self.lease.is_some() && !self.client.is_blocked() {
            // A server that was given back is somebody else's to ask.
            again |= self.read_server(cx)? && self.lease.is_some();
        }
        if self.unsettled && self.gate.is_none() {
            self.unsettled = false;
            self.settle(cx)?;
        }
        if let Some(end) = self.parting.take() {
            if self.owes_nothing() {
                return ControlFlow::Break(end);
            }
            self.parting = Some(end);
        }
        if self.wants_client(cx) {
            again |= self.read_client(cx)?;
        }
        ControlFlow::Continue(again)
    }

    /// Nothing more to do for now; a session that was told to leave may have come to the end of its
    /// transaction.
    fn pause(&mut self) -> Poll<End> {
        if self.card.take(Order::Drain) && self.is_between_transactions() {
            return Poll::Ready(End::Fault(shutdown()));
        }
        Poll::Pending
    }

    fn owes_nothing(&mut self) -> bool {
        self.lease.as_mut().is_none_or(|lease| lease.server().replies.outstanding() == 0)
    }

    fn wants_client(&mut self, cx: &mut Context<'_>) -> bool {
        let waits = self.gate.is_some() || self.owes_ready || self.suspended;
        if waits || self.parting.is_some() || self.client.is_blocked() {
            return false;
        }
        if self.awaits_cancel(cx) {
            return false;
        }
        match &self.phase {
            // Only to see whether the client leaves.
            Phase::Waiting(_) => self.held.len() < super::state::HOLD_MAX,
            Phase::Idle => !self.greeting,
            Phase::Bound => self.lease.as_mut().is_some_and(|lease| {
                let server = lease.server();
                !server.stream.is_blocked() && server.replies.outstanding() < PIPELINE_MAX
            }),
        }
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if self.client.is_blocked()
            && let Err(error) = self.client.flush(cx)
        {
            return ControlFlow::Break(End::ClientLost(error));
        }
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(()) };
        let stream = &mut lease.server().stream;
        if stream.is_blocked() && stream.flush(cx).is_err() {
            return self.server_lost(cx);
        }
        if !self.held.is_empty() && matches!(self.phase, Phase::Bound) && self.wants_client(cx) {
            // What was read before the server could take it.
            return self.process_held(cx);
        }
        ControlFlow::Continue(())
    }

    /// Orders from other threads and from the clock.
    fn obey(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if self.card.take(Order::Look) {
            self.look(cx)?;
        }
        if self.worker.is_draining() && self.card.take(Order::Stop) {
            return ControlFlow::Break(End::Fault(shutdown()));
        }
        if self.card.take(Order::Stop) || self.card.take(Order::Kill) {
            let fault = dismissed().pgbouncer("admin forced disconnect");
            return ControlFlow::Break(End::Fault(fault));
        }
        if self.card.take(Order::Drain) && self.is_between_transactions() {
            return ControlFlow::Break(End::Fault(shutdown()));
        }
        // Behind a gate it is obeyed when the gate opens.
        if !self.suspended && self.gate.is_none() && self.card.take(Order::Cancel) {
            self.cancel_ordered(cx)?;
        }
        // What goes off while nobody listens has to wait.
        if !self.suspended && self.card.take(Order::Alarm) {
            self.alarm(cx)?;
        }
        ControlFlow::Continue(())
    }

    fn is_between_transactions(&mut self) -> bool {
        let idle = match &mut self.lease {
            None => matches!(self.phase, Phase::Idle) && !self.greeting,
            Some(lease) => lease.server().rest() == Rest::AtRest && self.gate.is_none(),
        };
        idle && self.passing == 0 && self.held.is_empty()
    }

    /// Takes a server, or a place in line for one.
    pub(super) fn acquire(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if !self.route.is_current(self.options_version) {
            (self.options, self.options_version) = self.route.options();
        }
        let (pool, worker) = (self.route.pool, self.worker.id);
        loop {
            let line = Line { pool, worker, is_login: self.greeting, place: self.place.take() };
            match self.worker.common.pools.checkout(line, self.extras.as_ref(), cx) {
                Outcome::Leased(lease) => {
                    if self.attach(cx, lease)? {
                        return ControlFlow::Continue(());
                    }
                }
                Outcome::Waiting(waiter) => {
                    let since = waiter.since();
                    self.card.requests(since);
                    self.phase = Phase::Waiting(waiter);
                    self.card.waits();
                    // Who asks again has waited before.
                    let waited = self.worker.coarse_now().since(since);
                    let limit = self.options.query_wait_timeout;
                    let left = limit.map(|it| it.saturating_sub(Duration::from_micros(waited)));
                    self.set_clock(Clock::Wait, left);
                    return ControlFlow::Continue(());
                }
                Outcome::Refused(refused) => return ControlFlow::Break(self.refused(&refused)),
            }
        }
    }

    fn granted(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Result<Lease, Refused>,
    ) -> ControlFlow<End> {
        self.set_clock(Clock::Off, None);
        match outcome {
            Err(refused) => ControlFlow::Break(self.refused(&refused)),
            Ok(lease) => {
                if !self.attach(cx, lease)? {
                    self.acquire(cx)?;
                }
                self.process_held(cx)
            }
        }
    }

    fn refused(&self, refused: &Refused) -> End {
        match refused {
            Refused::Removed => End::Fault(
                Fault::session(Side::Operator, "57P01", "database removed from the configuration")
                    .hint("Reconnect to a database that the configuration has.")
                    .pgbouncer("database removed"),
            ),
            Refused::Failing(failure) => {
                let mut out = Vec::new();
                failure.encode(&mut out, self.words());
                let body = out.get(wire::HEADER_LEN..).unwrap_or_default();
                let said = String::from_utf8_lossy(wire::error_fields(body).message).into_owned();
                if self.options.log_pooler_errors && self.words() == Words::PgBouncer {
                    self.log_pooler_error("08P01", &said);
                }
                let reason = self.words().choose(failure.to_string(), said);
                End::Told(out, reason)
            }
        }
    }

    /// An error of ours in the place of the answer to what is held. The session goes on.
    pub(super) fn refuse_batch(&mut self, cx: &mut Context<'_>, fault: &Fault) -> ControlFlow<End> {
        let mut out = Vec::new();
        wire::fault(&mut out, &fault.clone().in_words(self.words()));
        self.log_fault(fault);
        self.answer_batch(cx, out)
    }

    /// Answers the message in front of what is held with the error in `out`, as PostgreSQL would:
    /// a Query gets ReadyForQuery as well, a batch is dropped until its Sync.
    pub(super) fn answer_batch(
        &mut self,
        cx: &mut Context<'_>,
        mut out: Vec<u8>,
    ) -> ControlFlow<End> {
        self.phase = Phase::Idle;
        self.card.unlinks();
        // It was for what is answered here.
        self.card.take(Order::Cancel);
        self.set_clock(Clock::Off, None);
        if self.greeting {
            let text = "no server connection available for login";
            let fault = Fault::session(Side::Proxy, "57P03", text);
            return ControlFlow::Break(End::Fault(fault.pgbouncer("query_wait_timeout")));
        }
        match wire::header(&self.held, self.options.max_packet_size) {
            Ok(Some(found))
                if matches!(found.tag, wire::client::QUERY | wire::client::FUNCTION_CALL) =>
            {
                self.passing = found.total();
                self.pass = Passing::Drop;
                server::ready(&mut out, wire::IDLE);
            }
            Ok(_) | Err(_) => self.skipping = true,
        }
        self.tell(cx, &out)?;
        self.process_held(cx)
    }

    /// Sends bytes of ours to the client.
    pub(super) fn tell(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> ControlFlow<End> {
        self.traffic().sent.add(bytes.len() as u64);
        match self.client.write(cx, bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(End::ClientLost(error)),
        }
    }

    pub(super) fn set_clock(&mut self, clock: Clock, limit: Option<Duration>) {
        if limit.is_none() && self.clock == Clock::Off {
            return;
        }
        let at = limit.map(|limit| {
            self.worker.coarse_now().after(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX))
        });
        self.clock = if at.is_some() { clock } else { Clock::Off };
        self.worker.set_alarm(&self.card, at);
    }

    /// The server is of no use to anybody, for this reason.
    pub(super) fn closes_server(&mut self, reason: &'static str) {
        if let Some(mut lease) = self.lease.take() {
            lease.server().ends(reason);
        }
    }

    /// Whose words the client is told errors in.
    pub(super) fn words(&self) -> Words {
        self.worker.common.words
    }

    pub(super) fn log_fault(&self, fault: &Fault) {
        let kind = match fault.code {
            "53300" => Some(EventKind::Limit),
            "08006" => Some(EventKind::Server),
            "25P03" | "25P04" | "57P05" => Some(EventKind::Timeout),
            "57014" if fault.side == Side::Operator => Some(EventKind::Timeout),
            // What clients do, and what operators know already.
            _ => None,
        };
        if let Some(kind) = kind {
            let names = (&*self.route.database, &*self.route.user);
            let now = std::time::SystemTime::now();
            self.worker.common.events.note(now, ("warn", kind), names, &fault.message);
        }
        if self.options.log_pooler_errors {
            let said = fault.clone().in_words(self.words());
            self.log_pooler_error(said.code, &said.message);
        }
    }

    fn log_pooler_error(&self, code: &'static str, message: &str) {
        tracing::warn!(
            client = self.card.id, peer = %self.card.about.peer, user = %self.route.user,
            database = %self.route.database, code, "pooler error: {message}"
        );
    }
}
