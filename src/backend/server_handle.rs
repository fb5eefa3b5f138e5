//! The handle by which other threads see a server, from the moment its opening begins.
//!
//! Owns nothing of the connection. The handle shows the two ends of the connection and how many
//! statements are prepared. The session that has the server writes that count.

use super::cancel::CancelTarget;
use super::server::Server;
use crate::metrics::Cell;
use crate::net::Endpoints;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// One server, as other threads see it.
#[derive(Debug)]
pub struct ServerHandle {
    /// Unique in this process, among clients too.
    pub id: u64,
    /// When its opening began.
    pub since: SystemTime,
    login: OnceLock<LoggedIn>,
}

/// What is known of a server that is logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The two ends of the connection.
    pub ends: Endpoints,
    /// TLS version and cipher, if it is encrypted.
    pub tls: Option<Box<str>>,
    /// How to cancel what it runs: a client that has the server is linked to the same.
    pub cancel: Arc<CancelTarget>,
    /// Statements that it has prepared for us.
    pub prepared: Arc<Cell>,
}

impl ServerHandle {
    /// Of a server whose opening begins now.
    pub fn new(id: u64) -> Self {
        Self { id, since: SystemTime::now(), login: OnceLock::new() }
    }

    /// Sets what is known once the server is logged in.
    pub fn set_logged_in(&self, server: &Server) {
        let stream = &server.stream;
        let known = LoggedIn {
            ends: stream.endpoints(),
            tls: stream.tls_words(),
            cancel: Arc::clone(&server.cancel),
            prepared: server.prepared.count(),
        };
        // Once: a handle belongs to one connection.
        drop(self.login.set(known));
    }

    /// What is known of its connection, once it is logged in.
    pub fn login(&self) -> Option<&LoggedIn> {
        self.login.get()
    }
}
