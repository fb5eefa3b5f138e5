//! A server in the log: that it came, and why it went.
//!
//! Owns what the log calls the server. A server that goes, wherever that may be, is logged once.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// One server's place in the log; dropped with it.
#[derive(Debug)]
pub struct Life {
    id: u64,
    pid: u32,
    database: Box<str>,
    user: Box<str>,
    address: Box<str>,
    since: Instant,
    reason: Cow<'static, str>,
    /// Whether its end is logged (`log_disconnections`), which may change meanwhile.
    is_told: Arc<AtomicBool>,
}

/// What a server is, for [`Life::begin`].
#[derive(Debug)]
pub struct Name<'a> {
    /// The number of its card.
    pub id: u64,
    /// Its process on the server.
    pub pid: u32,
    /// The database that clients ask for.
    pub database: &'a str,
    /// The user.
    pub user: &'a str,
    /// Where it is.
    pub address: &'a str,
}

impl Life {
    /// A server has logged in, from `local`; whether that is logged.
    pub fn begin(name: &Name<'_>, local: &str, told: (bool, &Arc<AtomicBool>)) -> Self {
        let Name { id, pid, database, user, address } = *name;
        if told.0 {
            tracing::info!(
                server = id,
                peer = address,
                user,
                database,
                pid,
                "new connection to server (from {local})"
            );
        }
        Self {
            id,
            pid,
            database: database.into(),
            user: user.into(),
            address: address.into(),
            since: Instant::now(),
            // What nobody decides.
            reason: Cow::Borrowed("server conn crashed?"),
            is_told: Arc::clone(told.1),
        }
    }

    /// Why it is about to be closed.
    pub fn ends(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.reason = reason.into();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if self.is_told.load(Ordering::Relaxed) {
            tracing::info!(
                server = self.id,
                peer = &*self.address,
                user = &*self.user,
                database = &*self.database,
                age = self.since.elapsed().as_secs(),
                pid = self.pid,
                "closing because: {}",
                self.reason
            );
        }
    }
}
