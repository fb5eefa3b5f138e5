//! What a server is told on a client's behalf: the bytes, and what it owes for them.
//!
//! Owns nothing; keeps the invariant that every message sent is entered in the server's queue of
//! expected replies.

use crate::backend::note::Note;
use crate::backend::server::Server;
use crate::backend::state::{Kind, Reply};
use crate::backend::statements::{NAME_PREFIX, Statement};
use crate::fault::Fault;
use crate::metrics::Traffic;
use crate::sql::ReadUnder;
use crate::wire::client;
use std::sync::Arc;

/// Marks a name that must not be found on a server, though it looks like one of ours.
pub(super) const UNKNOWN_MARK: u8 = b'?';
/// A statement and portal of our own that no client's names meet.
const OURS: &[u8] = b"howdah: prepare";

/// A name the client may use that no server has: one that looks like ours gets a mark.
pub(super) fn harmless(name: &[u8]) -> Option<Vec<u8>> {
    let rest = name.strip_prefix(NAME_PREFIX.as_bytes())?;
    Some([NAME_PREFIX.as_bytes(), &[UNKNOWN_MARK], rest].concat())
}

/// The server's side of a translation.
pub(in crate::session) struct Link<'a> {
    /// The leased server.
    pub server: &'a mut Server,
    /// Bytes for it.
    pub out: &'a mut Vec<u8>,
    /// Statements it may keep.
    pub max: usize,
    /// What is counted.
    pub traffic: &'a Traffic,
    /// What the bytes of a text mean that is sent now, if that is known.
    pub read_under: Option<ReadUnder>,
}

impl Link<'_> {
    pub(in crate::session) fn sent(&mut self, kind: Kind, reply: Reply, note: Option<Note>) {
        // As PgBouncer counts: the unnamed statement passes.
        let is_named =
            !matches!(note, Some(Note::Unnamed { .. } | Note::Again(_) | Note::OfferUnnamed));
        if kind == Kind::Parse && reply != Reply::Fake && is_named {
            self.traffic.server_parses.add(1);
        }
        // Callers never send into a batch that the server discards.
        let changes_prepared = matches!(
            note,
            Some(Note::Parse { .. } | Note::Prepare(_) | Note::Try(_) | Note::Evict(_))
        );
        let unsent = self.server.replies.sent(kind, reply, note);
        debug_assert!(unsent.is_none(), "sent while the server skips");
        if changes_prepared {
            self.server.prepared_by = self.server.replies.last_serial();
        }
    }

    /// A whole message with this body.
    pub(super) fn frame(&mut self, tag: u8, body: &[u8]) {
        let length = u32::try_from(body.len().saturating_add(4)).unwrap_or(u32::MAX);
        self.out.push(tag);
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(body);
    }

    /// Prepares the statement under our name, the answer going to nobody. In a batch.
    pub(super) fn prepare(&mut self, statement: &Arc<Statement>) {
        self.close(statement.id);
        let others = self.others_rules(statement);
        if let Some((then, _)) = others {
            self.set_rules(then, true);
        }
        if let Some(sql) = sql_prepare(statement) {
            self.run_in_batch(&sql, Note::Prepare(statement.id), true);
        } else {
            let types = statement.known_types();
            client::parse(self.out, &statement.name, &statement.sql, types);
            self.sent(Kind::Parse, Reply::Swallow, Some(Note::Prepare(statement.id)));
        }
        if let Some((_, now)) = others {
            self.set_rules(now, true);
        }
        self.record(statement);
    }

    /// What the statement's text was read under, and what it would be read under now, if it means
    /// something else now.
    fn others_rules(&self, statement: &Statement) -> Option<(ReadUnder, ReadUnder)> {
        let (then, now) = (statement.read_under()?, self.read_under?);
        let is_alike = then.encoding.is_empty() || then.reads_alike(now, &statement.sql);
        (!is_alike).then_some((then, now))
    }

    /// Makes the server read texts under these. In a batch.
    fn set_rules(&mut self, rules: ReadUnder, is_told: bool) {
        let note = || if is_told { Note::OfferUnnamed } else { Note::Answer(Box::default()) };
        let conforming = if rules.rules.are_conforming() { "on" } else { "off" };
        let sql = format!("SET standard_conforming_strings TO {conforming}");
        self.run_in_batch(sql.as_bytes(), note(), is_told);
        let sql = format!("SET client_encoding TO {}", rules.encoding);
        self.run_in_batch(sql.as_bytes(), note(), is_told);
    }

    /// Runs a text of ours in the client's batch, which fails if it fails. `note` comes back with the
    /// answer to its Execute. `is_told`: the client hears of the failure.
    pub(in crate::session) fn run_in_batch(&mut self, sql: &[u8], note: Note, is_told: bool) {
        let silence = || (!is_told).then(|| Note::Answer(Box::default()));
        client::parse(self.out, OURS, sql, &[0; 2]);
        self.sent(Kind::Parse, Reply::Swallow, silence());
        client::bind_head(self.out, OURS, OURS, 6);
        self.out.extend_from_slice(&[0; 6]);
        self.sent(Kind::Bind, Reply::Swallow, silence());
        client::execute(self.out, OURS);
        self.sent(Kind::Execute, Reply::Swallow, Some(note));
        for kind in [b'P', b'S'] {
            client::target(self.out, client::CLOSE, kind, OURS);
            self.sent(Kind::Close, Reply::Swallow, silence());
        }
    }

    /// Runs a text of ours as a Query. If it fails, nobody is told.
    pub(in crate::session) fn run_query(&mut self, sql: &[u8], note: Note) {
        client::query(self.out, sql);
        self.sent(Kind::Query, Reply::Swallow, Some(note));
        self.server.unnamed = 0;
    }

    /// The server is being told to prepare it: remember so, and make room. In a batch.
    pub(super) fn record(&mut self, statement: &Arc<Statement>) {
        self.server.prepared.insert(statement);
        self.make_room(self.max);
    }

    fn make_room(&mut self, max: usize) -> bool {
        let mut closed = false;
        while let Some(known) = self.server.prepared.evict(max) {
            client::target(self.out, client::CLOSE, b'S', &known.name);
            self.sent(Kind::Close, Reply::Swallow, Some(Note::Evict(Box::new(known))));
            closed = true;
        }
        closed
    }

    /// Makes the statement known to the server in front of a Query that needs it. If that fails,
    /// nobody is told: the Query fails too, and says so.
    pub(super) fn prepare_before_query(&mut self, statement: &Arc<Statement>) {
        let in_batch = self.server.replies.has_open_batch();
        let mut open = self.server.prepared.has(statement.id);
        self.close(statement.id);
        let others = self.others_rules(statement);
        if let Some((then, _)) = others {
            // Should it fail, the Query fails too.
            self.set_rules(then, false);
            open = true;
        }
        let note = Note::Try(statement.id);
        match sql_prepare(statement) {
            Some(sql) if in_batch || others.is_some() => self.run_in_batch(&sql, note, false),
            Some(sql) => {
                self.sync(std::mem::take(&mut open));
                self.run_query(&sql, note);
            }
            None => {
                let types = statement.known_types();
                client::parse(self.out, &statement.name, &statement.sql, types);
                self.sent(Kind::Parse, Reply::Swallow, Some(note));
                open = true;
            }
        }
        if let Some((_, now)) = others {
            self.set_rules(now, false);
        }
        self.server.prepared.insert(statement);
        self.sync(open && !in_batch);
    }

    /// Makes something known to the server under the statement's name, so that it can be dropped.
    /// What cannot fail, not even in a failed transaction, is a Parse of an empty text.
    pub(super) fn stand_in_before_query(&mut self, statement: &Arc<Statement>) {
        let in_batch = self.server.replies.has_open_batch();
        self.close(statement.id);
        client::parse(self.out, &statement.name, b"", &[0, 0]);
        self.sent(Kind::Parse, Reply::Swallow, Some(Note::Try(statement.id)));
        self.server.prepared.insert(statement);
        // Should it not be dropped, nobody may run it.
        self.server.prepared.doubt(statement.id);
        self.sync(!in_batch);
    }

    /// Closes what the server has beyond its limit, and beyond `needed`, in front of a Query.
    pub(super) fn make_room_before_query(&mut self, needed: usize) {
        let in_batch = self.server.replies.has_open_batch();
        let closed = self.make_room(self.max.max(needed.saturating_add(1)));
        self.sync(closed && !in_batch);
    }

    fn sync(&mut self, is_due: bool) {
        if is_due {
            client::bare(self.out, client::SYNC);
            self.sent(Kind::Sync, Reply::Swallow, None);
        }
    }

    /// Closes what the server has under the statement's name, if anything. In a batch.
    pub(super) fn close(&mut self, id: u64) {
        if let Some(known) = self.server.prepared.remove(id) {
            client::target(self.out, client::CLOSE, b'S', &known.name);
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
    pub(in crate::session) fn refuse_query(&mut self, fault: Fault) {
        let text = [NAME_PREFIX.as_bytes(), &[UNKNOWN_MARK]].concat();
        client::query(self.out, &text);
        self.sent(Kind::Query, Reply::Forward, Some(Note::Refuse(Box::new(fault))));
    }

    /// Makes the batch fail on the server, and `fault` what the client is told.
    pub(in crate::session) fn refuse(&mut self, fault: Fault) {
        let name = [NAME_PREFIX.as_bytes(), &[UNKNOWN_MARK]].concat();
        client::target(self.out, client::DESCRIBE, b'S', &name);
        self.sent(Kind::DescribeStatement, Reply::Forward, Some(Note::Refuse(Box::new(fault))));
    }
}

/// The text that prepares a statement whose types were declared in SQL.
fn sql_prepare(statement: &Statement) -> Option<Vec<u8>> {
    let types = statement.sql_types.as_deref()?;
    Some([b"PREPARE ", &*statement.name, types, b" AS ", &*statement.sql].concat())
}
