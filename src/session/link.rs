//! What a server is told on a client's behalf: the bytes, and what it owes for them.
//!
//! Owns nothing; keeps the invariant that every message sent is entered in the server's queue of
//! expected replies.

use crate::backend::server::{Note, Server};
use crate::backend::state::{Kind, Reply};
use crate::backend::statements::{NAME_PREFIX, Statement};
use crate::fault::Fault;
use crate::metrics::Traffic;
use crate::wire::client;
use std::sync::Arc;

/// Marks a name that must not be found on a server, though it looks like one of ours.
pub(super) const UNKNOWN_MARK: u8 = b'?';

/// The server's side of a translation.
pub(super) struct Link<'a> {
    /// The leased server.
    pub server: &'a mut Server,
    /// Bytes for it.
    pub out: &'a mut Vec<u8>,
    /// Statements it may keep.
    pub max: usize,
    /// `session_state_policy = "error"`.
    pub refuses_ties: bool,
    /// What is counted.
    pub traffic: &'a Traffic,
}

impl Link<'_> {
    pub(super) fn sent(&mut self, kind: Kind, reply: Reply, note: Option<Note>) {
        // As PgBouncer counts: the unnamed statement passes.
        let is_named = !matches!(note, Some(Note::Unnamed { .. } | Note::Shape(_)));
        if kind == Kind::Parse && reply != Reply::Fake && is_named {
            self.traffic.server_parses.add(1);
        }
        // Callers never send into a batch that the server discards.
        let unsent = self.server.replies.sent(kind, reply, note);
        debug_assert!(unsent.is_none(), "sent while the server skips");
    }

    pub(super) fn frame(&mut self, tag: u8, body: &[u8]) {
        let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
        self.out.push(tag);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(body);
    }

    /// Prepares the statement under our name, the answer going to nobody.
    pub(super) fn prepare(&mut self, statement: &Arc<Statement>) {
        self.close_outdated(statement.id);
        client::parse(self.out, &statement.name, &statement.sql, &statement.types);
        let note = Note::Parse { name: None, on_server: Some(statement.id) };
        self.sent(Kind::Parse, Reply::Swallow, Some(note));
        self.record(statement);
    }

    /// The server is being told to prepare it: remember so, and make room.
    pub(super) fn record(&mut self, statement: &Arc<Statement>) {
        self.server.prepared.insert(statement);
        while let Some(known) = self.server.prepared.evict(self.max) {
            client::target(self.out, client::CLOSE, b'S', &known.statement.name);
            self.sent(Kind::Close, Reply::Swallow, Some(Note::Evict(Box::new(known))));
        }
    }

    /// Prepares a text under the statement's name, in a batch of its own. If it fails, nobody is
    /// told: what is sent behind it fails too, and says so.
    pub(super) fn try_parse(&mut self, statement: &Arc<Statement>, sql: &[u8], types: &[u8]) {
        client::parse(self.out, &statement.name, sql, types);
        client::bare(self.out, client::SYNC);
        self.sent(Kind::Parse, Reply::Swallow, Some(Note::Try(statement.id)));
        self.sent(Kind::Sync, Reply::Swallow, None);
        self.record(statement);
    }

    /// Closes what the server has under the statement's name, if anything.
    pub(super) fn close_outdated(&mut self, id: u64) {
        if let Some(known) = self.server.prepared.remove(id) {
            client::target(self.out, client::CLOSE, b'S', &known.statement.name);
            self.sent(Kind::Close, Reply::Swallow, Some(Note::Evict(Box::new(known))));
        }
    }

    /// Asks what the statement's rows look like on this server.
    pub(super) fn ask_shape(&mut self, statement: &Statement) {
        client::target(self.out, client::DESCRIBE, b'S', &statement.name);
        self.sent(Kind::DescribeStatement, Reply::Swallow, Some(Note::Shape(statement.id)));
        client::bare(self.out, client::FLUSH);
    }

    /// Sends a Query that fails in the place of the client's, and makes `fault` what it is told.
    pub(super) fn refuse_query(&mut self, fault: Fault) {
        let text = [NAME_PREFIX.as_bytes(), &[UNKNOWN_MARK]].concat();
        client::query(self.out, &text);
        self.sent(Kind::Query, Reply::Forward, Some(Note::Refuse(Box::new(fault))));
    }

    /// Makes the batch fail on the server, and `fault` what the client is told.
    pub(super) fn refuse(&mut self, fault: Fault) {
        let name = [NAME_PREFIX.as_bytes(), &[UNKNOWN_MARK]].concat();
        client::target(self.out, client::DESCRIBE, b'S', &name);
        self.sent(Kind::DescribeStatement, Reply::Forward, Some(Note::Refuse(Box::new(fault))));
    }
}
