//! What others are told of a session's writes, for the levels of consistency that count them.
//!
//! Errs on the side of more: what may have written has written. Costs a database of one node one look
//! at a flag for each text and each answer of a statement that writes.

use super::client::Client;
use super::effects::Effects;
use super::text_cache::Text;
use crate::cluster::shared::now;
use crate::routing::Verdict;
use crate::sql::Readable;

impl Client {
    /// The server has sent something to a session that may have written: others may see it before the answer
    /// is whole. To be told before the client gets any of it.
    #[inline]
    pub(super) fn tell_others(&self, effects: Effects) {
        if effects.contains(Effects::WRITES) && self.route.writes.is_watched() {
            self.route.writes.raise(now());
        }
    }

    /// The server's connection broke, or is given up. What was written there may have been committed.
    pub(super) fn record_loss(&mut self, effects: Effects) {
        self.tell_others(effects);
        if effects.contains(Effects::WRITES) && self.target.read.is_none() {
            let lost = now();
            self.state.floor.wrote(lost);
            if let Some(nodes) = &self.route.nodes {
                nodes.cluster.record_write(lost);
            }
        }
    }

    /// The effects of a text, with those that do not stand in it: a view, an operator, a cast or a policy may
    /// run a function that writes. Asked of the primary's texts only, and remembered with them.
    #[inline]
    pub(super) fn with_hidden_writes(
        &self,
        effects: Effects,
        readable: Option<&Readable<'_>>,
    ) -> Effects {
        let is_told = self.route.writes.is_watched() && self.target.read.is_none();
        if !is_told
            || effects.contains(Effects::WRITES)
            || !readable.is_some_and(|text| self.hides_write(text))
        {
            return effects;
        }
        effects | Effects::WRITES
    }

    fn hides_write(&self, readable: &Readable<'_>) -> bool {
        let (database, catalog) = (&*self.route.database, Some(&*self.route.catalog));
        let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
        let verdict =
            self.worker.texts.borrow_mut().judge_without_hint(text, &self.options.routing.rules);
        matches!(&*verdict, Verdict::Primary(reason) if reason.may_hide_write())
    }
}
