//! What the rooms of the control thread share: one value for the whole process.
//!
//! Owns the configuration that counts, the routes, the workers and whether sessions are suspended.
//! Never imports a room: every room imports this.

use super::cancel_requests::CancelRequests;
use super::current::Current;
use super::logging::Logging;
use super::probes::Probes;
use super::routes::Routes;
use super::signals::ProcessOrder;
use super::stats_periods::Period;
use super::workers::Workers;
use crate::auth::MockKey;
use crate::metrics::{EventKind, Registry};
use crate::pool::admission::Admission;
use crate::session::client_handle::Order;
use crate::session::common::Common;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tokio::sync::mpsc::Sender;

/// The pooler: what a login, a command of the console or a request for figures needs of the process.
pub(super) struct Pooler {
    /// The configuration and what is made from it.
    pub current: RefCell<Rc<Current>>,
    /// Salts for users that do not exist.
    pub mock: MockKey,
    /// Where clients go.
    pub routes: RefCell<Routes>,
    /// What the nodes of databases with several are.
    pub probes: Rc<Probes>,
    /// Who is let in.
    pub admission: Arc<Mutex<Admission>>,
    /// The worker threads.
    pub workers: Workers,
    /// What all sessions share.
    pub common: Arc<Common>,
    /// The log.
    pub logging: Logging,
    /// Orders of the console for the whole process.
    pub orders: Sender<ProcessOrder>,
    /// The client of the console that has suspended everything.
    pub suspended_by: Cell<Option<u64>>,
    /// Cancel requests on their way.
    pub cancels: CancelRequests,
    /// What each database did in the last period of figures.
    pub period: RefCell<Period>,
    /// What is counted that happens seldom.
    pub registry: Registry,
    /// When the process started.
    pub started: SystemTime,
    /// No new client is let in any more.
    pub is_shutting_down: Cell<bool>,
    /// Whether the ends of servers are logged (`log_disconnections`).
    pub logs_server_ends: Arc<AtomicBool>,
}

impl Pooler {
    /// The configuration that counts at this moment.
    pub(super) fn current(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    /// Whether a client is there, or is about to log in.
    pub(super) fn has_clients_or_logins(&self) -> bool {
        let counts = self.admission.lock().counts();
        counts.clients > 0 || counts.logins > 0 || self.workers.clients() > 0
    }

    /// Makes every session stop to read until [`Pooler::resume`]. `by`: the client of the console that
    /// has asked for it.
    pub(super) fn suspend(&self, by: u64) {
        self.suspended_by.set(Some(by));
        self.set_suspended(true);
    }

    /// Makes suspended sessions read again. False when they were not suspended.
    pub(super) fn resume(&self) -> bool {
        let was = self.suspended_by.take().is_some();
        if was {
            self.set_suspended(false);
        }
        was
    }

    /// Whether sessions are suspended.
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended_by.get().is_some()
    }

    /// Whether this client of the console has suspended them.
    pub(super) fn is_suspended_by(&self, console: u64) -> bool {
        self.suspended_by.get() == Some(console)
    }

    /// A session that begins later reads the flag itself.
    fn set_suspended(&self, suspended: bool) {
        self.common.suspended.store(suspended, Ordering::Release);
        let clients = self.common.clients.list();
        let sessions = clients.iter().filter(|handle| handle.info.route.is_some());
        sessions.for_each(|handle| handle.order(Order::SuspendChanged));
    }

    /// Puts something that an operator should know on the list of events, with its database and user.
    pub(super) fn record_event(
        &self,
        what: (&'static str, EventKind),
        names: (&str, &str),
        message: &str,
    ) {
        self.common.events.record(SystemTime::now(), what, names, message);
    }
}
