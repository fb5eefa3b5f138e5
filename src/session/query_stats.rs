//! Which statement a client runs, and what it cost.
//!
//! Owns the statements that portals run, and what was counted of the one that is being answered. A
//! statement travels with its message through the server's queue of expected replies, so that what
//! answers it is counted for it. Figures only: nothing here decides what a client gets.

use super::bound::Bound;
use super::client::Client;
use crate::backend::note::Note;
use crate::backend::server::Server;
use crate::backend::state::Kind;
use crate::metrics::{Cost, Run};
use crate::pool::core::Tick;
use crate::wire;

/// Named portals, and in session mode prepared statements, that are remembered for one client.
const NAMES_MAX: usize = 256;
/// A name, and what it stands for.
type NamedRun = (Box<[u8]>, Run);

fn set(names: &mut Vec<NamedRun>, name: &[u8], run: Option<Run>) {
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

fn get(names: &[NamedRun], name: &[u8]) -> Option<Run> {
    names.iter().find(|(known, _)| **known == *name).map(|(_, run)| *run)
}

/// What runs on one leased server.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// What the unnamed portal runs.
    bound: Option<Run>,
    portals: Vec<NamedRun>,
    /// In session mode, where names pass unread: what they stand for.
    statements: Vec<NamedRun>,
    /// An Execute that was answered, and whose end the next ReadyForQuery tells.
    answered: Option<Run>,
    failed: bool,
    rows: u64,
    /// Bytes that the server has sent, and how many of them were counted.
    pub(super) position: u64,
    counted: u64,
    /// When the statement before this one ended.
    since: Tick,
    /// Microseconds that the server was waited for.
    waited: u64,
}

impl Running {
    /// On a server that the client waited for so many microseconds.
    pub(super) fn new(waited: u64) -> Self {
        Self { waited, ..Self::default() }
    }

    /// In session mode: a statement was prepared.
    pub(super) fn prepares(&mut self, name: &[u8], run: Option<Run>) {
        set(&mut self.statements, name, run);
    }

    /// In session mode: which statement has this name.
    pub(super) fn run_of(&self, name: &[u8]) -> Option<Run> {
        get(&self.statements, name)
    }

    #[inline]
    pub(super) fn binds(&mut self, portal: &[u8], run: Option<Run>) {
        if portal.is_empty() {
            self.bound = run;
        } else {
            set(&mut self.portals, portal, run);
        }
    }

    /// Execute, whose body may not be whole.
    #[inline]
    pub(super) fn executes(&self, body: &[u8]) -> Option<Run> {
        let portal = wire::cstring(body).map_or(&[][..], |(name, _)| name);
        if portal.is_empty() { self.bound } else { get(&self.portals, portal) }
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
    let front = server.replies.front()?;
    if matches!(front.kind, Kind::Query | Kind::Sync | Kind::FunctionCall) {
        return front.note.as_ref().and_then(run_of);
    }
    server.replies.notes_of_batch().find_map(run_of)
}

/// The statement that a note is about.
pub(super) fn run_of(note: &Note) -> Option<Run> {
    match note {
        Note::Run(run) => Some(*run),
        Note::Texts(texts) => texts.run,
        _ => None,
    }
}

impl Client {
    /// CommandComplete for the client.
    #[inline]
    pub(super) fn counts_rows(&self, bound: &mut Bound, tag: &[u8]) {
        if self.worker.common.queries.is_on() {
            bound.running.rows = bound.running.rows.saturating_add(rows_of(tag));
        }
    }

    /// An Execute was answered. If nothing but the end of its batch is behind it, ReadyForQuery
    /// brings the moment.
    #[inline]
    pub(super) fn executed(&self, bound: &mut Bound, run: Run) {
        let front = bound.server().replies.front();
        if front.is_some_and(|front| front.kind == Kind::Sync) {
            bound.running.answered = Some(run);
        } else {
            let now = self.worker.common.pools.now();
            self.finishes(bound, run, now);
        }
    }

    /// ReadyForQuery came for the client; with the statement, if it ends a Query.
    #[inline]
    pub(super) fn ends_statement(&self, bound: &mut Bound, run: Option<Run>, now: Tick) {
        if let Some(run) = run.or(bound.running.answered.take()) {
            self.finishes(bound, run, now);
        }
        let running = &mut bound.running;
        running.counted = running.position;
        running.rows = 0;
        running.failed = false;
        if !running.portals.is_empty() {
            running.portals.clear();
        }
    }

    /// ErrorResponse came for the client. A Query goes on to its ReadyForQuery.
    pub(super) fn fails_statement(&self, bound: &mut Bound, is_fatal: bool) {
        let Some(run) = asked(bound.server()) else { return };
        bound.running.failed = true;
        let front = bound.server().replies.front();
        let is_query = front.is_some_and(|front| front.kind == Kind::Query);
        if !is_query || is_fatal {
            let now = self.worker.common.pools.now();
            self.finishes(bound, run, now);
        }
    }

    fn finishes(&self, bound: &mut Bound, run: Run, now: Tick) {
        let running = &mut bound.running;
        let since = Tick(bound.moments.query.0.max(running.since.0));
        let cost = Cost {
            micros: now.since(since),
            waited: std::mem::take(&mut running.waited),
            rows: std::mem::take(&mut running.rows),
            bytes: running.position.saturating_sub(running.counted),
            failed: std::mem::take(&mut running.failed),
        };
        running.counted = running.position;
        running.since = now;
        let mut texts = self.worker.texts.borrow_mut();
        texts.record(run, &cost);
        let Some(limit) = self.options.log_min_duration else { return };
        if u128::from(cost.micros) < limit.as_micros() {
            return;
        }
        let text = texts.shown(run).unwrap_or_default();
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
    use crate::metrics::Queries;
    use crate::session::texts::{Text, Texts};
    use crate::sql::Rules;
    use std::sync::Arc;

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
    fn names_are_remembered_up_to_a_number() {
        let queries = Arc::new(Queries::new(1, 9));
        let text = Text { database: "a", rules: Rules::STANDARD, catalog: None, sql: b"SELECT 1" };
        let run = Texts::new(&queries, 0).run(text);
        let mut names = Vec::new();
        (0..1000u32).for_each(|n| set(&mut names, &n.to_be_bytes(), run));
        assert_eq!(names.len(), NAMES_MAX);
        assert_eq!(get(&names, &7u32.to_be_bytes()), run);
        set(&mut names, &7u32.to_be_bytes(), None);
        assert_eq!(get(&names, &7u32.to_be_bytes()), None);
    }
}
