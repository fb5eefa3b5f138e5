//! What a unit of the client's messages usually takes: the price of not waiting for a replica.
//!
//! Known where statements are counted, of texts that this thread has seen run. A unit is gone through only
//! when no replica is fresh enough.

use super::client::Client;
use super::node_choice::ClientJudge;
use super::text_cache::Text;
use super::unbound::HOLD_MAX;
use super::unit::{Front, Judge, front, plan};
use crate::routing::{Reason, Verdict};
use std::rc::Rc;
use std::time::Duration;

/// Adds up what the texts of a unit usually take.
struct Pricing<'a> {
    judge: ClientJudge<'a>,
    usual: Option<Duration>,
}

impl Pricing<'_> {
    fn add(&mut self, sql: &[u8]) {
        let client = self.judge.client();
        let Some(readable) = client.state.reading.read(sql) else { return };
        let (database, catalog) = (&*client.route.database, Some(&*client.route.catalog));
        let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
        let usual = client.worker.texts.borrow_mut().usual_time(text);
        self.usual = match (self.usual, usual) {
            (Some(sum), Some(usual)) => Some(sum.saturating_add(usual)),
            (one, other) => one.or(other),
        };
    }
}

impl Judge for Pricing<'_> {
    fn text(&mut self, sql: &[u8]) -> Rc<Verdict> {
        self.add(sql);
        self.judge.text(sql)
    }

    fn parameter(&mut self, oid: u32) -> Result<(), Reason> {
        self.judge.parameter(oid)
    }

    fn statement(&mut self, name: &[u8]) -> Rc<Verdict> {
        if let Some((sql, _)) = self.judge.client().state.statements.text_and_rules_of(name) {
            let sql: Box<[u8]> = sql.into();
            self.add(&sql);
        }
        self.judge.statement(name)
    }
}

impl Client {
    /// What the unit in front usually takes, if that is known.
    pub(super) fn usual_time(&self, data: &[u8]) -> Option<Duration> {
        let Front::Whole(unit) = front(data, HOLD_MAX) else { return None };
        let mut pricing = Pricing { judge: ClientJudge::new(self), usual: None };
        _ = plan(unit, self.transaction_defaults(), &mut pricing);
        pricing.usual
    }
}
