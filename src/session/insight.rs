//! Which statement a client runs, and what it cost.
//!
//! Owns the statements that portals run, and what was counted of the one that is being answered. A
//! statement travels with its message through the server's queue of expected replies, so that what
//! answers it is counted for it. Figures only: nothing here decides what a client gets.

use super::names::Names;
use super::run::Session;
use super::worker::Worker;
use crate::backend::server::{Note, Server};
use crate::backend::state::Kind;
use crate::metrics::{Cost, Queries, Recorder, Run};
use crate::pool::core::Tick;
use crate::{sql, wire};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use wire::client;

/// Bytes of a text that tell statements apart.
const READ_MAX: usize = 64 * 1024;
/// Characters of a statement that are shown.
const SHOWN_MAX: usize = 1000;
/// Named portals, and in session mode prepared statements, that are remembered for one client.
const NAMES_MAX: usize = 256;
/// Stands for texts that pass without being read.
const UNREAD: &[u8] = b"(a statement too long to be read)";

/// One worker's statements.
#[derive(Debug)]
pub(super) struct Book {
    recorder: Recorder,
    seed: foldhash::fast::RandomState,
    scratch: Vec<u8>,
}

impl Book {
    pub(super) fn new(queries: &Arc<Queries>, thread: usize) -> Self {
        Self {
            recorder: Recorder::new(queries, thread),
            seed: foldhash::fast::RandomState::default(),
            scratch: Vec::new(),
        }
    }

    /// The statement that this text is in this database.
    fn statement(&mut self, database: &str, text: &[u8], conforming: bool) -> Option<Run> {
        let text = text.get(..READ_MAX).unwrap_or(text);
        self.scratch.clear();
        let mut hasher = self.seed.build_hasher();
        if sql::skeleton(text, &mut self.scratch) {
            hasher.write(&self.scratch);
        } else {
            hasher.write(text);
            hasher.write_u8(if conforming { 1 } else { 2 });
        }
        hasher.write(database.as_bytes());
        let key = hasher.finish();
        if let Some(run) = self.recorder.find(key) {
            return Some(run);
        }
        self.scratch.clear();
        sql::normalise(text, conforming, &mut self.scratch);
        self.recorder.add(key, database, &self.scratch, || shown(&self.scratch))
    }
}

/// A normal form to be read by people, in one line.
fn shown(normal: &[u8]) -> String {
    let text = sql::readable(normal.get(..4 * SHOWN_MAX).unwrap_or(normal));
    let one_line = |sign: char| if sign.is_control() { ' ' } else { sign };
    text.chars().take(SHOWN_MAX).map(one_line).collect()
}

/// A name, and what it stands for.
type Named = (Box<[u8]>, Run);

fn set(names: &mut Vec<Named>, name: &[u8], run: Option<Run>) {
    let known = names.iter().position(|(known, _)| **known == *name);
    match (known, run) {
        (Some(at), Some(run)) => {
            if let Some(named) = names.get_mut(at) {
                named.1 = run;
            }
        }
        (Some(at), None) => drop(names.swap_remove(at)),
        (None, Some(run)) if names.len() < NAMES_MAX => names.push((name.into(), run)),
        (None, _) => {}
    }
}

fn get(names: &[Named], name: &[u8]) -> Option<Run> {
    names.iter().find(|(known, _)| **known == *name).map(|(_, run)| *run)
}

/// What one session runs.
#[derive(Debug, Default)]
pub(super) struct Insight {
    /// What the unnamed portal runs.
    bound: Option<Run>,
    portals: Vec<Named>,
    /// In session mode, where names pass unread: what they stand for.
    statements: Vec<Named>,
    /// An Execute that was answered, and whose end the next ReadyForQuery tells.
    answered: Option<Run>,
    failed: bool,
    rows: u64,
    /// Bytes that the server has sent, and how many of them were counted.
    pub position: u64,
    counted: u64,
    /// When the statement before this one ended.
    since: Tick,
    /// How long the server was waited for.
    pub waited: u64,
}

impl Insight {
    /// Any message, in session mode.
    pub(super) fn sees(
        &mut self,
        worker: &Worker,
        database: &str,
        (tag, body): (u8, &[u8]),
        conforming: bool,
    ) -> Option<Note> {
        if !worker.common.queries.is_on() {
            return None;
        }
        let find = |text: &[u8]| worker.book.borrow_mut().statement(database, text, conforming);
        match tag {
            client::QUERY => return find(body.strip_suffix(&[0]).unwrap_or(UNREAD)).map(Note::Run),
            client::PARSE => {
                let view = client::read_parse(body)?;
                set(&mut self.statements, view.name, find(view.sql));
            }
            client::BIND => {
                let view = client::read_bind(body)?;
                let run = get(&self.statements, view.statement);
                self.binds(view.portal, run);
            }
            client::EXECUTE => return self.executes(body),
            _ => {}
        }
        None
    }

    fn binds(&mut self, portal: &[u8], run: Option<Run>) {
        if portal.is_empty() {
            self.bound = run;
        } else {
            set(&mut self.portals, portal, run);
        }
    }

    /// Execute, whose body may not be whole.
    pub(super) fn executes(&self, body: &[u8]) -> Option<Note> {
        let portal = wire::cstring(body).map_or(&[][..], |(name, _)| name);
        let run = if portal.is_empty() { self.bound } else { get(&self.portals, portal) };
        run.map(Note::Run)
    }
}

/// The number at the end of a command's tag: the rows that it gave or changed.
fn rows_of(tag: &[u8]) -> u64 {
    let tag = tag.strip_suffix(&[0]).unwrap_or(tag);
    let start = tag.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    let digits = tag.get(start..).unwrap_or_default();
    digits.iter().fold(0, |sum: u64, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit.wrapping_sub(b'0')))
    })
}

/// What the server's queue says is being answered: the message in front, or the Execute behind it
/// that its failure takes along.
fn asked(server: &Server) -> Option<Run> {
    let run = |note: &Note| if let Note::Run(run) = note { Some(*run) } else { None };
    let front = server.replies.front()?;
    if matches!(front.kind, Kind::Query | Kind::Sync | Kind::FunctionCall) {
        return front.note.as_ref().and_then(run);
    }
    server.replies.notes().find_map(run)
}

impl Session {
    /// The statement of a Query.
    pub(super) fn query_note(
        worker: &Worker,
        database: &str,
        text: Option<&[u8]>,
        conforming: bool,
    ) -> Option<Note> {
        if !worker.common.queries.is_on() {
            return None;
        }
        let text = text.unwrap_or(UNREAD);
        worker.book.borrow_mut().statement(database, text, conforming).map(Note::Run)
    }

    /// A Bind was sent.
    pub(super) fn sees_bind(&mut self, view: &client::Bind<'_>, conforming: bool) {
        if !self.worker.common.queries.is_on() {
            return;
        }
        let names: &Names = &self.names;
        let text = names.text_of(view.statement);
        let mut book = self.worker.book.borrow_mut();
        let run = text.and_then(|text| book.statement(&self.route.database, text, conforming));
        drop(book);
        self.insight.binds(view.portal, run);
    }

    /// CommandComplete for the client.
    pub(super) fn counts_rows(&mut self, tag: &[u8]) {
        if self.worker.common.queries.is_on() {
            self.insight.rows = self.insight.rows.saturating_add(rows_of(tag));
        }
    }

    /// An Execute was answered. If nothing but the end of its batch is behind it, ReadyForQuery
    /// brings the moment.
    pub(super) fn executed(&mut self, run: Run) {
        let front = self.lease.as_mut().and_then(|lease| lease.server().replies.front());
        if front.is_some_and(|front| front.kind == Kind::Sync) {
            self.insight.answered = Some(run);
        } else {
            let now = self.worker.common.pools.now();
            self.finishes(run, now);
        }
    }

    /// ReadyForQuery came for the client; with the statement, if it ends a Query.
    pub(super) fn ends_statement(&mut self, note: Option<Note>, now: Tick) {
        let run = if let Some(Note::Run(run)) = note { Some(run) } else { None };
        if let Some(run) = run.or(self.insight.answered.take()) {
            self.finishes(run, now);
        }
        self.insight.counted = self.insight.position;
        self.insight.rows = 0;
        self.insight.failed = false;
        if !self.insight.portals.is_empty() {
            self.insight.portals.clear();
        }
    }

    /// ErrorResponse came for the client. A Query goes on to its ReadyForQuery.
    pub(super) fn fails_statement(&mut self, is_fatal: bool) {
        let Some(lease) = &mut self.lease else { return };
        let server = lease.server();
        let Some(run) = asked(server) else { return };
        self.insight.failed = true;
        let is_query = server.replies.front().is_some_and(|front| front.kind == Kind::Query);
        if !is_query || is_fatal {
            let now = self.worker.common.pools.now();
            self.finishes(run, now);
        }
    }

    fn finishes(&mut self, run: Run, now: Tick) {
        let insight = &mut self.insight;
        let since = Tick(self.moments.query.0.max(insight.since.0));
        let cost = Cost {
            micros: now.since(since),
            waited: std::mem::take(&mut insight.waited),
            rows: std::mem::take(&mut insight.rows),
            bytes: insight.position.saturating_sub(insight.counted),
            failed: std::mem::take(&mut insight.failed),
        };
        insight.counted = insight.position;
        insight.since = now;
        let mut book = self.worker.book.borrow_mut();
        book.recorder.record(run, &cost);
        let Some(limit) = self.options.log_min_duration else { return };
        if u128::from(cost.micros) < limit.as_micros() {
            return;
        }
        let text = book.recorder.text(run).unwrap_or_default();
        let (millis, rest) = (cost.micros / 1000, cost.micros % 1000);
        tracing::info!(
            client = self.card.id, user = %self.route.user, database = %self.route.database,
            "duration: {millis}.{rest:03} ms  statement: {text}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_tags() {
        for (tag, rows) in [
            (&b"SELECT 5\0"[..], 5),
            (b"INSERT 0 12\0", 12),
            (b"BEGIN\0", 0),
            (b"", 0),
            (b"99999999999999999999999\0", u64::MAX),
        ] {
            assert_eq!(rows_of(tag), rows, "{tag:?}");
        }
    }

    #[test]
    fn what_is_shown_is_one_line_of_some_length() {
        assert_eq!(shown(b"select \"a\nb\" = \x01"), "select \"a b\" = $1");
        assert_eq!(shown(&[b'x'; 9000]).len(), SHOWN_MAX);
    }

    #[test]
    fn names_are_remembered_up_to_a_number() {
        let queries = Arc::new(Queries::new(1, 9));
        let run = Book::new(&queries, 0).statement("a", b"SELECT 1", true);
        let mut names = Vec::new();
        (0..1000u32).for_each(|n| set(&mut names, &n.to_be_bytes(), run));
        assert_eq!(names.len(), NAMES_MAX);
        assert_eq!(get(&names, &7u32.to_be_bytes()), run);
        set(&mut names, &7u32.to_be_bytes(), None);
        assert_eq!(get(&names, &7u32.to_be_bytes()), None);
    }
}
