//! What is noted of a unit where the route is `advise`.
//!
//! Owns the step from a decision to what is counted of it: which of the unit's texts has decided, in its normal
//! form. Decides nothing: the unit goes to the primary.

use super::advice::{Running, Unit};
use super::client::Client;
use super::decision::Decision;
use super::node_choice::ClientJudge;
use super::route::RouteNodes;
use super::text_cache::shown;
use super::unit::Judge;
use crate::metrics::fingerprint;
use crate::routing::Verdict;
use crate::sql;
use std::rc::Rc;

/// Bytes of a text that tell statements apart.
const READ_MAX: usize = 64 * 1024;

/// Judges, and keeps the text that it was asked about last: a plan ends with the one that decides.
pub(super) struct Noting<'a> {
    judge: ClientJudge<'a>,
    last: Vec<u8>,
}

impl<'a> Noting<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { judge: ClientJudge(client), last: Vec::new() }
    }

    /// What is counted of the unit. In `advise`, `decision` is never [`Decision::Replica`].
    pub(super) fn running(self, nodes: &RouteNodes, decision: Decision) -> Box<Running> {
        let has_statement = decision != Decision::Advised && !self.last.is_empty();
        let statement = has_statement.then(|| {
            let mut normal = Vec::new();
            sql::normalise(&self.last, true, &mut normal);
            (fingerprint(&normal), shown(&normal).into())
        });
        let thread = usize::from(self.judge.0.worker.id.0);
        Running::new(&nodes.advice, thread, Unit { decision, statement })
    }

    fn note(&mut self, text: &[u8]) {
        self.last.clear();
        self.last.extend_from_slice(text.get(..READ_MAX).unwrap_or(text));
    }
}

impl Judge for Noting<'_> {
    fn text(&mut self, sql: &[u8]) -> Rc<Verdict> {
        self.note(sql);
        self.judge.text(sql)
    }

    fn statement(&mut self, name: &[u8]) -> Rc<Verdict> {
        let client = self.judge.0;
        if let Some((sql, _)) = client.state.statements.text_and_rules_of(name) {
            self.note(sql);
        }
        self.judge.statement(name)
    }
}
