//! The loop of one client.
//!
//! [`Session::poll`] is the only place where a session waits. It reads both sockets, whichever
//! phase the session is in, and stops reading one while the other cannot take more: no queue
//! stands in between. One poll moves a bounded amount and then yields.

use super::bound::Bound;
use super::card::{Card, Order};
use super::check;
use super::client::{Client, Passing, Pipe, Presence, SequenceState, State};
use super::clock::{Clock, Timer};
use super::custom::CustomSettings;
use super::flow::{End, Flow, Leave, Stop};
use super::reading::Reading;
use super::route::Route;
use super::statements::Statements;
use super::worker::Worker;
use crate::backend::settings::Settings;
use crate::backend::state::Rest;
use crate::fault::{Fault, Side};
use crate::net::Stream;
use crate::pool::{Extras, Waiter};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

/// Rounds of reading in one poll.
const ROUNDS: usize = 8;
/// Answers outstanding beyond which the client is not read.
const PIPELINE_MAX: usize = 16 * 1024;

/// Where a session stands.
pub(super) enum Phase {
    /// No server.
    Idle,
    /// In line for one.
    Waiting(Waiter),
    /// With a server.
    Bound(Bound),
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

/// Bytes of a session, which stands behind its future in a box of its own.
#[doc(hidden)]
pub const SESSION_BYTES: usize = size_of::<Session>();

/// One client, logged in.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) phase: Phase,
    /// How the session ends when what was asked is answered.
    pub(super) ending: Option<End>,
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

impl Session {
    fn begin(arrival: Arrival, worker: Rc<Worker>) -> Box<Self> {
        let (options, options_version) = arrival.route.options();
        arrival.card.calls_itself(arrival.settings.value("application_name"));
        let state = State {
            plan_settings: check::for_plans(&worker.common.settings, &arrival.settings),
            custom: CustomSettings::of(&arrival.settings),
            statements: Statements::new(&arrival.card),
            startup: Arc::clone(&arrival.settings),
            settings: arrival.settings,
            // Nothing is read before the client is welcomed.
            reading: Reading::of(|_| None),
            sequences: SequenceState::default(),
        };
        let pipe = Pipe {
            stream: arrival.stream,
            held: arrival.held,
            passing: 0,
            pass: Passing::Drop,
            skipping: false,
            mid_frame: false,
            presence: Presence::Here,
            malformed: Vec::new(),
            is_broken: false,
        };
        let client = Client {
            pipe,
            state,
            route: arrival.route,
            options,
            options_version,
            card: arrival.card,
            extras: arrival.extras,
            greeting: true,
            timer: Timer::off(),
            suspended: worker.common.suspended.load(Ordering::Acquire),
            place: None,
            failed_tests: 0,
            worker,
        };
        Box::new(Self { client, phase: Phase::Idle, ending: None })
    }

    async fn serve(&mut self) -> End {
        if let Err(error) = self.client.pipe.stream.rehome() {
            return End::ClientLost(error);
        }
        let mut attended = false;
        poll_fn(|cx| {
            if !attended {
                self.client.card.attend(cx.waker());
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
        let summoned = self.summoned(cx);
        if let Err(end) = self.after(cx, summoned) {
            return Poll::Ready(end);
        }
        for _ in 0..ROUNDS {
            let round = self.round(cx);
            match self.after(cx, round) {
                Err(end) => return Poll::Ready(end),
                Ok(Some(false)) => return self.pause(),
                // A session that has left its server looks at once for what it can do without.
                Ok(Some(true) | None) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Carries out how the session leaves its server; `None` if it did.
    fn after<T>(&mut self, cx: &mut Context<'_>, flow: Flow<T>) -> Result<Option<T>, End> {
        match flow {
            Ok(value) => Ok(Some(value)),
            Err(Stop::End(end)) => Err(end),
            Err(Stop::Leave(leave)) => match self.leave(cx, leave) {
                Ok(()) => Ok(None),
                Err(Stop::End(end)) => Err(end),
                Err(Stop::Leave(_)) => {
                    // Only a session with a server leaves one, and it has none now.
                    debug_assert!(false, "left twice");
                    Ok(None)
                }
            },
        }
    }

    /// What others did to the session. Each of it wakes the session, so once a poll is enough.
    fn summoned(&mut self, cx: &mut Context<'_>) -> Flow {
        if self.client.card.has_orders() {
            self.obey(cx)?;
        }
        if !self.client.suspended
            && let Phase::Waiting(waiter) = &mut self.phase
            && let Poll::Ready(outcome) = waiter.poll(cx)
        {
            self.phase = Phase::Idle;
            self.granted(cx, outcome)?;
        }
        Ok(())
    }

    /// One round; whether a socket is to be asked again, because it had something. Only one that
    /// had nothing wakes the session.
    fn round(&mut self, cx: &mut Context<'_>) -> Flow<bool> {
        if self.client.suspended {
            return self.hold_still(cx);
        }
        self.flush(cx)?;
        let mut again = false;
        if self.client.greeting && matches!(self.phase, Phase::Idle) {
            self.greet(cx)?;
            again = true;
        }
        if let Phase::Bound(bound) = &mut self.phase {
            if !self.client.pipe.is_blocked() {
                again |= self.client.read_server(bound, cx)?;
            }
            if bound.has_served {
                // Others come first, even if the client has sent more.
                self.settle_if_due(cx)?;
            }
        }
        self.end_if_answered()?;
        again |= self.process_held(cx)?;
        self.settle_if_due(cx)?;
        if self.reads_client(cx) {
            again |= self.read_client(cx)?;
            self.settle_if_due(cx)?;
        } else if self.client.pipe.presence != Presence::Here {
            self.end_if_departed(cx)?;
        }
        Ok(again)
    }

    /// Nothing more to do for now; a session that was told to leave may have come to the end of its
    /// transaction.
    fn pause(&mut self) -> Poll<End> {
        if self.client.card.take(Order::Drain) && self.is_between_transactions() {
            return Poll::Ready(End::Fault(shutdown()));
        }
        Poll::Pending
    }

    /// A session that ends does so when what it asked is answered.
    fn end_if_answered(&mut self) -> Flow {
        let owes = match &mut self.phase {
            Phase::Idle => false,
            Phase::Waiting(_) => true,
            Phase::Bound(bound) => {
                self.client.pipe.is_broken || bound.server().replies.outstanding() > 0
            }
        };
        match self.ending.take() {
            Some(end) if !owes => Err(Stop::End(end)),
            end => {
                self.ending = end;
                Ok(())
            }
        }
    }

    /// Whether messages of the client's can be taken now.
    pub(super) fn can_process(&mut self, cx: &Context<'_>) -> bool {
        if self.client.suspended || self.ending.is_some() {
            return false;
        }
        match &mut self.phase {
            Phase::Waiting(_) => false,
            Phase::Idle => !self.client.greeting,
            Phase::Bound(bound) => {
                let waits = bound.gate.is_some() || bound.owes_ready;
                if waits || Client::awaits_cancel(bound, cx) {
                    return false;
                }
                let server = bound.server();
                !server.stream.is_blocked() && server.replies.outstanding() < PIPELINE_MAX
            }
        }
    }

    /// Whether the client is read now.
    pub(super) fn reads_client(&mut self, cx: &Context<'_>) -> bool {
        let pipe = &self.client.pipe;
        if pipe.presence != Presence::Here || pipe.is_blocked() {
            return false;
        }
        if matches!(self.phase, Phase::Waiting(_)) {
            // Only to see whether the client leaves.
            return pipe.held.len() < super::state::HOLD_MAX && !self.client.suspended;
        }
        self.can_process(cx)
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Flow {
        let pipe = &mut self.client.pipe;
        if pipe.is_blocked()
            && let Err(error) = pipe.stream.flush(cx)
        {
            self.client_is_gone(error)?;
        }
        let Phase::Bound(bound) = &mut self.phase else { return Ok(()) };
        let stream = &mut bound.server().stream;
        if stream.is_blocked() && stream.flush(cx).is_err() {
            return Err(Stop::Leave(Leave::Lost));
        }
        Ok(())
    }

    /// Orders from other threads and from the clock.
    fn obey(&mut self, cx: &mut Context<'_>) -> Flow {
        let card = Arc::clone(&self.client.card);
        if card.take(Order::Look) {
            self.look(cx)?;
        }
        if self.client.worker.is_draining() && card.take(Order::Stop) {
            return Err(Stop::End(End::Fault(shutdown())));
        }
        if card.take(Order::Stop) || card.take(Order::Kill) {
            let fault = dismissed().pgbouncer("admin forced disconnect");
            return Err(Stop::End(End::Fault(fault)));
        }
        if card.take(Order::Drain) && self.is_between_transactions() {
            return Err(Stop::End(End::Fault(shutdown())));
        }
        if !self.client.suspended && card.take(Order::Cancel) {
            self.decide_cancels(cx)?;
        }
        // What goes off while nobody listens has to wait.
        if !self.client.suspended && card.take(Order::Alarm) {
            self.alarm(cx)?;
        }
        Ok(())
    }

    fn is_between_transactions(&mut self) -> bool {
        let idle = match &mut self.phase {
            Phase::Idle => !self.client.greeting,
            Phase::Waiting(_) => false,
            Phase::Bound(bound) => bound.server().rest() == Rest::AtRest && bound.gate.is_none(),
        };
        idle && self.client.pipe.passing == 0 && self.client.pipe.held.is_empty()
    }

    /// All sessions were suspended, or may go on.
    fn look(&mut self, cx: &mut Context<'_>) -> Flow {
        let suspended = self.client.worker.common.suspended.load(Ordering::Acquire);
        let was = std::mem::replace(&mut self.client.suspended, suspended);
        if !was || suspended {
            return Ok(());
        }
        self.client.card.rests(false);
        if !self.client.card.take(Order::Alarm) {
            return Ok(());
        }
        match self.client.timer.clock {
            // Nobody has listened: the silence begins anew.
            Clock::Idle => {
                let limit = self.client.options.client_idle_timeout;
                self.client.set_clock(Clock::Idle, limit);
                Ok(())
            }
            Clock::IdleTransaction => {
                self.client.set_transaction_clock();
                Ok(())
            }
            Clock::Off
            | Clock::Wait
            | Clock::Query
            | Clock::Cancelled
            | Clock::Departed
            | Clock::Abandoned
            | Clock::Ending
            | Clock::Gate => self.alarm(cx),
        }
    }

    /// Writes what is to be written, and nothing else.
    fn hold_still(&mut self, cx: &mut Context<'_>) -> Flow<bool> {
        self.flush(cx)?;
        let server = match &mut self.phase {
            Phase::Bound(bound) => bound.server().stream.is_blocked(),
            Phase::Idle | Phase::Waiting(_) => false,
        };
        self.client.card.rests(!server && !self.client.pipe.is_blocked());
        Ok(false)
    }
}
