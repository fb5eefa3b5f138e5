//! The loop of one client.
//!
//! [`Session::poll`] is the only place where a session waits. It reads both sockets, whichever
//! phase the session is in, and stops reading one while the other cannot take more: no queue
//! stands in between. One poll moves a bounded amount and then yields.

use super::bound::Bound;
use super::client::{Client, Passing, Pipe, Presence, SequenceState, State};
use super::client_handle::{ClientHandle, Order};
use super::clock::{Clock, Timer};
use super::custom_settings::CustomSettings;
use super::flow::{End, Flow, Leave, Stop};
use super::kept::{Keeping, Kept};
use super::own::{Own, Values};
use super::reading::Reading;
use super::route::Route;
use super::state_check;
use super::statements::Statements;
use super::target::{AwaitedRead, Target};
use super::worker::Worker;
use crate::backend::settings::Settings;
use crate::backend::state::Rest;
use crate::cluster::freshness::Floor;
use crate::cluster::shared::{View, WaitingRead, Watch};
use crate::fault::{Fault, Side};
use crate::net::Stream;
use crate::pool::{Extras, Waiter};
use std::cell::Cell;
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
    Waiting(Waiting),
    /// With a server. What belongs to it comes and goes with each transaction: it has a place of its
    /// own in memory, and is not moved about.
    Bound(Box<Bound>),
}

/// What a session without a server waits for.
pub(super) enum Waiting {
    /// Its turn in the line of a pool. It is woken if that leads nowhere any more.
    Server(Waiter, #[expect(dead_code, reason = "it ends with the wait")] Option<Watch>),
    /// A primary.
    Primary(#[expect(dead_code, reason = "it ends with the wait")] Option<Watch>),
    /// A replica that is fresh enough.
    Replica {
        read: AwaitedRead,
        /// What it has chosen by in vain.
        seen: Arc<View>,
        _place: WaitingRead,
    },
}

/// Everything that a session is started with.
#[derive(Debug)]
pub struct SessionStart {
    /// The client's socket.
    pub stream: Stream,
    /// What it sent behind its startup packet and password.
    pub held: Vec<u8>,
    /// Its handle.
    pub handle: Arc<ClientHandle>,
    /// Its database and user.
    pub route: Arc<Route>,
    /// The settings it asked for at startup.
    pub settings: Arc<Settings>,
    /// Those of howdah's own.
    pub own: Values,
    /// It came before anybody had asked the server for anything: it waits for a server that cannot be
    /// reached, where others that log in are refused at once.
    pub came_first: bool,
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
    /// If it has one server of the primary and one of a replica: those that it does not use now.
    pub(super) kept: Option<Box<Kept>>,
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
pub fn run(mut session_start: SessionStart, worker: Rc<Worker>) -> impl Future<Output = ()> {
    let guard = std::mem::replace(&mut session_start.guard, Box::new(()));
    let place = Place { place: worker.enter(&session_start.handle), worker: Rc::clone(&worker) };
    let mut session = Session::begin(session_start, worker);
    async move {
        let end = session.serve().await;
        // Rare and large: not a part of every client's future.
        Box::pin(session.finish(end)).await;
        drop((place, guard));
    }
}

impl Session {
    fn begin(session_start: SessionStart, worker: Rc<Worker>) -> Box<Self> {
        let (options, options_version) = session_start.route.options();
        session_start.handle.set_application_name(session_start.settings.value("application_name"));
        let state = State {
            plan_settings: state_check::for_plans(&worker.common.settings, &session_start.settings),
            custom: CustomSettings::of(&session_start.settings),
            statements: Statements::new(&session_start.handle),
            startup: Arc::clone(&session_start.settings),
            settings: session_start.settings,
            // Nothing is read before the client is logged in.
            reading: Reading::of(|_| None),
            sequences: SequenceState::default(),
            floor: Floor::default(),
            own: Own::at_startup(session_start.own),
        };
        let pipe = Pipe {
            stream: session_start.stream,
            held: session_start.held,
            passing: 0,
            pass: Passing::Drop,
            skipping: false,
            mid_frame: false,
            presence: Presence::Here,
            malformed: Vec::new(),
            instead: None,
            is_broken: false,
        };
        let keeping = Keeping::of(&options, session_start.extras.is_some());
        let target = Target { pool: session_start.route.pool, node: None, read: None };
        let in_flight = session_start.route.nodes.as_ref().map(|_| Box::default());
        let client = Client {
            pipe,
            state,
            target,
            unit: None,
            advised: Cell::default(),
            sampled: None,
            redirected: None,
            is_refused: false,
            repeats: 0,
            awaits_primary: false,
            in_flight,
            lost_block: None,
            read_transaction: Cell::new(None),
            moving: None,
            is_unserved: false,
            routed: Cell::new(None),
            awaited: None,
            route: session_start.route,
            options,
            options_version,
            handle: session_start.handle,
            extras: session_start.extras,
            keeping,
            is_logging_in: true,
            came_first: session_start.came_first,
            timer: Timer::off(),
            suspended: worker.common.suspended.load(Ordering::Acquire),
            place: None,
            failed_tests: 0,
            worker,
        };
        let kept = keeping.is_each().then(Box::default);
        Box::new(Self { client, phase: Phase::Idle, kept, ending: None })
    }

    async fn serve(&mut self) -> End {
        if let Err(error) = self.client.pipe.stream.rehome() {
            return End::ClientLost(error);
        }
        let mut attended = false;
        poll_fn(|cx| {
            if !attended {
                self.client.handle.set_waker(cx.waker());
                attended = true;
            }
            self.poll(cx)
        })
        .await
    }
}

fn terminated_by_administrator() -> Fault {
    Fault::session(Side::Operator, "57P01", "terminating connection due to administrator command")
}

fn shutdown() -> Fault {
    terminated_by_administrator().pgbouncer("server shutting down")
}

impl Session {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let process_events = self.process_events(cx);
        if let Err(end) = self.after(cx, process_events) {
            return Poll::Ready(end);
        }
        for _ in 0..ROUNDS {
            let round = self.round(cx);
            match self.after(cx, round) {
                Err(end) => return Poll::Ready(end),
                Ok(Some(false)) => return self.pause(cx),
                // A session that has left its server looks at once for what it can do without.
                Ok(None) if self.has_nothing_to_do(cx) => return self.pause(cx),
                Ok(Some(true) | None) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the session has no server and waits for its client, of which nothing has come.
    fn has_nothing_to_do(&self, cx: &Context<'_>) -> bool {
        let client = &self.client;
        let pipe = &client.pipe;
        let waits = matches!(self.phase, Phase::Idle) && self.ending.is_none();
        let is_calm = !client.is_logging_in && !client.suspended && !pipe.is_blocked();
        let reads = pipe.held.is_empty() && pipe.presence == Presence::Here;
        waits && is_calm && reads && pipe.stream.is_awaited_by(cx) && !client.handle.has_orders()
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

    /// Takes orders and a granted server. Each of them wakes the session, so once a poll is enough.
    fn process_events(&mut self, cx: &mut Context<'_>) -> Flow {
        if self.client.handle.has_orders() {
            self.process_orders(cx)?;
        }
        if self.client.suspended {
            return Ok(());
        }
        match &mut self.phase {
            Phase::Waiting(waiting) if self.client.waits_in_vain(waiting) => {
                self.leave_line();
                Ok(())
            }
            Phase::Waiting(Waiting::Server(waiter, _)) => match waiter.poll(cx) {
                Poll::Ready(outcome) => {
                    self.phase = Phase::Idle;
                    self.granted(cx, outcome)
                }
                Poll::Pending => Ok(()),
            },
            Phase::Waiting(Waiting::Replica { read, seen, .. }) => {
                if self.client.must_look_again(read, seen) {
                    self.client.awaited = Some(*read);
                    self.phase = Phase::Idle;
                    self.client.set_clock(Clock::Off, None);
                }
                Ok(())
            }
            Phase::Waiting(Waiting::Primary(_)) | Phase::Idle | Phase::Bound(_) => Ok(()),
        }
    }

    /// One round; whether a socket is to be asked again, because it had something. Only one that
    /// had nothing wakes the session.
    fn round(&mut self, cx: &mut Context<'_>) -> Flow<bool> {
        if self.client.suspended {
            return self.flush_while_suspended(cx);
        }
        self.flush(cx)?;
        let mut again = false;
        if self.client.is_logging_in && matches!(self.phase, Phase::Idle) {
            self.begin_login(cx)?;
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
    fn pause(&mut self, cx: &Context<'_>) -> Poll<End> {
        debug_assert!(self.will_be_woken(cx), "a socket that nobody watches");
        if self.client.handle.take_order(Order::Drain) && self.is_between_transactions() {
            return Poll::Ready(End::fault(shutdown()));
        }
        Poll::Pending
    }

    /// Whether each socket that is to be read wakes the session.
    fn will_be_woken(&mut self, cx: &Context<'_>) -> bool {
        if self.client.suspended {
            return true;
        }
        let reads_client = self.reads_client(cx);
        let pipe = &self.client.pipe;
        let server = match &mut self.phase {
            Phase::Bound(bound) if !pipe.is_blocked() => {
                bound.server().stream.may_be_awaited_by(cx)
            }
            Phase::Bound(_) | Phase::Idle | Phase::Waiting(_) => true,
        };
        server && (!reads_client || self.client.pipe.stream.may_be_awaited_by(cx))
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
            Phase::Idle => !self.client.is_logging_in,
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
        let waits = match &self.phase {
            Phase::Waiting(_) => true,
            Phase::Bound(bound) => bound.gate.as_ref().is_some_and(|gate| !gate.is_ours()),
            Phase::Idle => false,
        };
        if waits {
            // Only to see whether the client leaves.
            return pipe.held.len() < super::unbound::HOLD_MAX && !self.client.suspended;
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
    fn process_orders(&mut self, cx: &mut Context<'_>) -> Flow {
        let handle = Arc::clone(&self.client.handle);
        if handle.take_order(Order::SuspendChanged) {
            self.update_suspended(cx)?;
        }
        if self.client.worker.is_draining() && handle.take_order(Order::Stop) {
            return Err(Stop::End(End::fault(shutdown())));
        }
        if handle.take_order(Order::Stop) || handle.take_order(Order::Kill) {
            let fault = terminated_by_administrator().pgbouncer("admin forced disconnect");
            return Err(Stop::End(End::fault(fault)));
        }
        if handle.take_order(Order::Drain) && self.is_between_transactions() {
            return Err(Stop::End(End::fault(shutdown())));
        }
        if !self.client.suspended && handle.take_order(Order::CancelAgain) {
            self.cancel_again();
        }
        if !self.client.suspended && handle.take_order(Order::Cancel) {
            self.decide_cancels(cx)?;
        }
        if !self.client.suspended && handle.take_order(Order::NodeLost) {
            self.leave_lost_node()?;
        }
        // A time-out of a suspended session has to wait.
        if !self.client.suspended && handle.take_order(Order::Alarm) {
            self.alarm(cx)?;
        }
        Ok(())
    }

    fn is_between_transactions(&mut self) -> bool {
        let idle = match &mut self.phase {
            Phase::Idle => !self.client.is_logging_in && self.client.lost_block.is_none(),
            Phase::Waiting(_) => false,
            Phase::Bound(bound) => bound.server().rest() == Rest::AtRest && bound.gate.is_none(),
        };
        idle && self.client.pipe.passing == 0 && self.client.pipe.held.is_empty()
    }

    /// All sessions were suspended or resumed.
    fn update_suspended(&mut self, cx: &mut Context<'_>) -> Flow {
        let suspended = self.client.worker.common.suspended.load(Ordering::Acquire);
        let was = std::mem::replace(&mut self.client.suspended, suspended);
        if !was || suspended {
            return Ok(());
        }
        self.client.handle.set_resting(false);
        if !self.client.handle.take_order(Order::Alarm) {
            return Ok(());
        }
        match self.client.timer.clock {
            // The session read nothing, so the idle time starts again.
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

    /// Flushes both sockets and reads nothing.
    fn flush_while_suspended(&mut self, cx: &mut Context<'_>) -> Flow<bool> {
        self.flush(cx)?;
        let server = match &mut self.phase {
            Phase::Bound(bound) => bound.server().stream.is_blocked(),
            Phase::Idle | Phase::Waiting(_) => false,
        };
        self.client.handle.set_resting(!server && !self.client.pipe.is_blocked());
        Ok(false)
    }
}
