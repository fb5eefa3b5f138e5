//! Which statement a client runs, and what it cost.
//!
//! Owns the statements that portals run, and what was counted of the one that is being answered. A
//! statement travels with its message through the server's queue of expected replies, so that what
//! answers it is counted for it. Figures only: nothing here decides what a client gets.

use super::names::Names;
use super::run::Session;
use super::texts::Text;
use super::worker::Worker;
use crate::backend::server::{Note, Server};
use crate::backend::state::Kind;
use crate::metrics::{Cost, Run};
use crate::pool::core::Tick;
use crate::wire;
use wire::client;

/// Named portals, and in session mode prepared statements, that are remembered for one client.
const NAMES_MAX: usize = 256;
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
        let find = |sql: &[u8]| worker.texts.borrow_mut().run(Text { database, conforming, sql });
        match tag {
            client::QUERY => {
                let text = body.strip_suffix(&[0]);
                let unread = || worker.texts.borrow_mut().run_unread(database);
                return text.map_or_else(unread, find).map(Note::Run);
            }
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
    server.replies.notes_of_batch().find_map(run)
}

impl Session {
    /// A Bind was sent.
    pub(super) fn sees_bind(&mut self, view: &client::Bind<'_>, conforming: bool) {
        if !self.worker.common.queries.is_on() {
            return;
        }
        let names: &Names = &self.names;
        let database = &self.route.database;
        let text = names.text_of(view.statement).map(|sql| Text { database, conforming, sql });
        let run = text.and_then(|text| self.worker.texts.borrow_mut().run(text));
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
    use crate::session::texts::Texts;
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
        let text = Text { database: "a", conforming: true, sql: b"SELECT 1" };
        let run = Texts::new(&queries, 0).run(text);
        let mut names = Vec::new();
        (0..1000u32).for_each(|n| set(&mut names, &n.to_be_bytes(), run));
        assert_eq!(names.len(), NAMES_MAX);
        assert_eq!(get(&names, &7u32.to_be_bytes()), run);
        set(&mut names, &7u32.to_be_bytes(), None);
        assert_eq!(get(&names, &7u32.to_be_bytes()), None);
    }
}
