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
    if let Note::Run(run) = note {
        return Some(*run);
    }
    let Note::Texts(texts) = note else { return None };
    texts.run
}

impl Client {
    /// CommandComplete for the client.
    #[inline]
    pub(super) fn count_rows(&self, bound: &mut Bound, tag: &[u8]) {
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
            self.finish_statement(bound, run, now);
        }
    }

    /// ReadyForQuery came for the client; with the statement, if it ends a Query.
    #[inline]
    pub(super) fn end_statement(&self, bound: &mut Bound, run: Option<Run>, now: Tick) {
        if let Some(run) = run.or(bound.running.answered.take()) {
            self.finish_statement(bound, run, now);
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
    pub(super) fn fail_statement(&self, bound: &mut Bound, is_fatal: bool) {
        let Some(run) = asked(bound.server()) else { return };
        bound.running.failed = true;
        let front = bound.server().replies.front();
        let is_query = front.is_some_and(|front| front.kind == Kind::Query);
        if !is_query || is_fatal {
            let now = self.worker.common.pools.now();
            self.finish_statement(bound, run, now);
        }
    }

    fn finish_statement(&self, bound: &mut Bound, run: Run, now: Tick) {
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
            client = self.handle.id, user = %self.route.user, database = %self.route.database,
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
}
