//! Everything of a session that does not depend on a server.
//!
//! Owns the client's socket, what is known of its session, and under which options it runs. Never
//! holds a server.

use super::advice;
use super::checks::Sampled;
use super::client_handle::ClientHandle;
use super::clock::Timer;
use super::custom_settings::CustomSettings;
use super::decision::Decision;
use super::held_read::HeldRead;
use super::in_flight::InFlight;
use super::kept::Keeping;
use super::lost_block::LostBlock;
use super::own::Own;
use super::read_rules::Redirected;
use super::read_transaction::{Move, ReadTransaction};
use super::reading::Reading;
use super::route::{Mode, Options, Route, StatePolicy};
use super::state_check;
use super::statements::Statements;
use super::target::{AwaitedRead, Target};
use super::worker::Worker;
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::cluster::freshness::Floor;
use crate::fault::{Fault, MessageStyle, Side};
use crate::metrics::{EventKind, Traffic, counted};
use crate::net::Stream;
use crate::pool::{Extras, Place, SlotId};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

/// What becomes of the rest of the client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    /// The server gets it.
    Forward,
    /// Nobody gets it.
    Drop,
}

/// Whether anybody is still there to hear answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// The client sends, and hears.
    Here,
    /// It sends nothing more. Perhaps it still hears: this often it was written to, to find out.
    Silent(u8),
    /// It does not hear either.
    Gone,
}

/// The client's side of the connection.
pub(super) struct Pipe {
    pub(super) stream: Stream,
    /// Bytes that wait for the rest of a message, or for a server.
    pub(super) held: Vec<u8>,
    /// Bytes still to come of a message that passes by length.
    pub(super) passing: usize,
    pub(super) pass: Passing,
    /// An error of ours was sent in the middle of a batch: what follows is dropped up to its Sync.
    pub(super) skipping: bool,
    /// The last bytes that the client got end in the middle of a message.
    pub(super) mid_frame: bool,
    pub(super) presence: Presence,
    /// The header of a frame that no client may send, for a copy that may still begin.
    pub(super) malformed: Vec<u8>,
    /// A Query that is to be taken in the place of the message that was taken last.
    pub(super) instead: Option<Vec<u8>>,
    /// The server got that header: it ends the connection.
    pub(super) is_broken: bool,
}

impl Pipe {
    /// Whether the client has to take something before more is read for it.
    #[inline]
    pub(super) fn is_blocked(&self) -> bool {
        self.stream.is_blocked() && self.presence != Presence::Gone
    }
}

/// What the session knows of the sequences that it has moved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SequenceState {
    /// It reads what `nextval` gave it: it stays with a server on which it has moved a sequence.
    pub(super) is_kept: bool,
    /// The number of its last use of sequences, on one server; 0 for none.
    pub(super) used: u64,
    /// The server of that use.
    pub(super) server: Option<SlotId>,
}

/// What follows the client from server to server.
pub(super) struct State {
    pub(super) settings: Arc<Settings>,
    /// Those of its startup packet.
    pub(super) startup: Arc<Settings>,
    /// The settings that matter to a plan.
    pub(super) plan_settings: Arc<Settings>,
    pub(super) custom: CustomSettings,
    pub(super) statements: Statements,
    pub(super) reading: Reading,
    pub(super) sequences: SequenceState,
    /// What it has done and seen.
    pub(super) floor: Floor,
    /// What it has set of howdah's own settings.
    pub(super) own: Option<Box<Own>>,
}

/// A client, logged in.
pub(super) struct Client {
    pub(super) pipe: Pipe,
    pub(super) state: State,
    pub(super) route: Arc<Route>,
    pub(super) options: Arc<Options>,
    pub(super) options_version: u32,
    pub(super) worker: Rc<Worker>,
    pub(super) handle: Arc<ClientHandle>,
    /// Startup parameters that nothing else can set: its server is its own.
    pub(super) extras: Option<Arc<Extras>>,
    /// Which servers it keeps until it leaves.
    pub(super) keeping: Keeping,
    /// Where its server comes from, or the next one.
    pub(super) target: Target,
    /// A read for a replica, in front of what is held, until there is a server for it.
    pub(super) unit: Option<Box<HeldRead>>,
    /// What is counted of what is in front, where the route is `advise`, until there is a server for it.
    pub(super) advised: Cell<Option<Box<advice::Running>>>,
    /// It is to be compared, until there is a server for it.
    pub(super) sampled: Option<Box<Sampled>>,
    /// Where its reads go, if there are redirects.
    pub(super) redirected: Option<Box<Redirected>>,
    /// What is in front goes to the primary: a replica has refused it, or its node was lost in it.
    pub(super) is_refused: bool,
    /// How often that has happened to it.
    pub(super) repeats: u8,
    /// It has waited for a primary, and has no server of one yet.
    pub(super) awaits_primary: bool,
    /// What is on its way to its server, if its database has several nodes.
    pub(super) in_flight: Option<Box<InFlight>>,
    /// Its transaction block, which was lost with its server.
    pub(super) lost_block: Option<Box<LostBlock>>,
    /// The transaction that it has on a replica.
    pub(super) read_transaction: Cell<Option<ReadTransaction>>,
    /// That transaction goes to the primary, where it has not begun yet.
    pub(super) moving: Option<Box<Move>>,
    /// No server of a replica has suited a session that insists on one.
    pub(super) is_unserved: bool,
    /// Why its server comes from its node, if that was chosen.
    pub(super) routed: Cell<Option<Decision>>,
    /// What is in front has waited for a replica, and goes on now.
    pub(super) awaited: Option<AwaitedRead>,
    /// The client is still logging in.
    pub(super) is_logging_in: bool,
    /// It waits for a server that cannot be reached, even while it logs in.
    pub(super) came_first: bool,
    pub(super) timer: Timer,
    /// It reads nothing, as no session does now.
    pub(super) suspended: bool,
    /// Its place in line, if its server was lost before it was of use.
    pub(super) place: Option<Place>,
    /// Servers that have failed their test since one was of use.
    pub(super) failed_tests: u32,
}

impl Client {
    /// Whether its server is opened for it, with its startup parameters.
    pub(super) fn is_dedicated(&self) -> bool {
        self.extras.is_some()
    }

    /// Whether the server stays until the client leaves, whatever is done there.
    #[inline]
    pub(super) fn keeps_server(&self) -> bool {
        (self.options.mode == Mode::Session && !self.keeping.is_each()) || self.is_dedicated()
    }

    /// What session state does that cannot be replayed. In session mode it is as welcome as on a connection
    /// of its own.
    pub(super) fn state_policy(&self) -> StatePolicy {
        if self.keeping.is_each() { StatePolicy::Pin } else { self.options.state_policy }
    }

    /// Whether a RESET on the server returns to something else than the session's own defaults.
    pub(super) fn has_defaults(&self, server: &Server) -> bool {
        !self.state.startup.is_empty() || !server.baseline.settings().is_empty()
    }

    /// What this thread counts of the session's pool.
    #[inline]
    pub(super) fn traffic(&self) -> &Traffic {
        self.route.traffic.of(usize::from(self.worker.id.0))
    }

    /// Sends bytes to the client that no server has sent.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) fn send_to_client(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        if self.pipe.presence == Presence::Gone {
            return Ok(());
        }
        self.traffic().sent.add(bytes.len() as u64);
        self.pipe.stream.write(cx, bytes)
    }

    /// The session's settings are these from now on.
    pub(super) fn set_settings(&mut self, settings: Arc<Settings>) {
        if !Arc::ptr_eq(&settings, &self.state.settings) {
            let table = &self.worker.common.settings;
            self.state.plan_settings = state_check::for_plans(table, &settings);
            self.state.settings = settings;
        }
    }

    /// The style of the error messages for the client.
    pub(super) fn message_style(&self) -> MessageStyle {
        self.worker.common.message_style
    }

    /// Records an event for SHOW EVENTS.
    pub(super) fn record_event(&self, kind: EventKind, message: &str) {
        let names = (&*self.route.database, &*self.route.user);
        let now = std::time::SystemTime::now();
        self.worker.common.events.record(now, ("warn", kind), names, message);
    }

    pub(super) fn log_fault(&self, fault: &Fault) {
        counted::fault(fault.code);
        let kind = match fault.code {
            "53300" => Some(EventKind::Limit),
            "08006" => Some(EventKind::Server),
            "25P03" | "25P04" | "57P05" => Some(EventKind::Timeout),
            "57014" if fault.side == Side::Operator => Some(EventKind::Timeout),
            // What clients do, and what operators know already.
            _ => None,
        };
        if let Some(kind) = kind {
            self.record_event(kind, &fault.message);
        }
        if self.options.log_pooler_errors {
            let said = fault.clone().in_style(self.message_style());
            self.log_pooler_error(said.code, &said.message);
        }
    }

    pub(super) fn log_pooler_error(&self, code: &'static str, message: &str) {
        tracing::warn!(
            client = self.handle.id, peer = %self.handle.info.peer, user = %self.route.user,
            database = %self.route.database, code, "pooler error: {message}"
        );
    }
}
