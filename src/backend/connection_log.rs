//! The log lines of a server connection: when it is opened, and why it is closed.
//!
//! Owns the server's names in the log. A closed server connection is logged once, wherever it is
//! closed.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// The log entry of one server connection. It is dropped with the connection.
#[derive(Debug)]
pub struct ConnectionLog {
    id: u64,
    pid: u32,
    database: Box<str>,
    user: Box<str>,
    address: Box<str>,
    since: Instant,
    reason: Cow<'static, str>,
    /// Whether its end is logged (`log_disconnections`), which may change meanwhile.
    is_logged: Arc<AtomicBool>,
}

/// What a server is, for [`ConnectionLog::begin`].
#[derive(Debug)]
pub struct ServerName<'a> {
    /// The number of its handle.
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

impl ConnectionLog {
    /// A server has logged in, from `local`. `told`: whether that is logged, and whether its end
    /// is.
    pub fn begin(name: &ServerName<'_>, local: &str, told: (bool, &Arc<AtomicBool>)) -> Self {
        let ServerName { id, pid, database, user, address } = *name;
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
            // The reason when the connection ends by itself.
            reason: Cow::Borrowed("server conn crashed?"),
            is_logged: Arc::clone(told.1),
        }
    }

    /// Sets the reason that is logged when the connection is closed.
    pub fn set_close_reason(&mut self, reason: impl Into<Cow<'static, str>>) {
        self.reason = reason.into();
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        if self.is_logged.load(Ordering::Relaxed) {
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
