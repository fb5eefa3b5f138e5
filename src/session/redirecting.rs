//! What the operator says of a session's reads: whether, how many and where.
//!
//! Owns the questions that the choice of a node asks. The rules are in [`read_rules`](super::read_rules).

use super::client::Client;
use super::decision::Decision;
use super::read_rules::{Allowed, Redirected};
use crate::cluster::NodeId;
use crate::cluster::shared::{NodeView, View};

impl Client {
    /// Whether the options of its route are those that it has, and nothing depends on nodes.
    #[inline]
    pub(super) fn has_options(&self) -> bool {
        self.route.nodes.is_none()
            && self.route.is_current(self.options_version)
            && !self.route.is_over()
    }

    /// Brings what the operator says of the session up to date.
    pub(super) fn renew_options(&mut self) {
        if !self.route.is_current(self.options_version) {
            (self.options, self.options_version) = self.route.options();
        }
        if self.route.nodes.is_none() {
            return;
        }
        let (rules, settings) = (&self.options.routing.rules, &self.state.settings);
        let names = (&*self.route.database, &*self.route.user);
        match &mut self.redirected {
            Some(redirected) => redirected.update(rules, settings, names),
            None if rules.redirects.is_empty() => {}
            None => {
                let random = self.worker.random();
                self.redirected = Some(Box::new(Redirected::new(rules, settings, names, random)));
            }
        }
    }

    /// Whether a redirect sends its reads to the primary.
    pub(super) fn is_redirected(&self) -> bool {
        self.redirected.as_ref().is_some_and(|redirected| redirected.is_to_primary())
    }

    /// Whether `route_percent` keeps this read on the primary: drawn for each.
    pub(super) fn is_withheld(&self) -> bool {
        let percent = u64::from(self.options.routing.percent);
        percent < 100 && !self.is_advising() && self.worker.random() % 100 >= percent
    }

    /// Where reads go that a replica could have, for people: with some percent nobody can tell.
    pub(super) fn place_of_reads(&self) -> (&'static str, Decision) {
        match self.options.routing.percent {
            _ if self.is_advising() => ("primary", Decision::Advised),
            0 => ("primary", Decision::Withheld),
            1..100 => ("any", Decision::Replica),
            _ => ("replica", Decision::Replica),
        }
    }

    /// The nodes that its reads may go to: those that a redirect names while one of them can take them.
    pub(super) fn allowed(
        &self,
        view: &View,
        is_fresh: impl Fn(NodeId, &NodeView) -> bool,
    ) -> Allowed<'_> {
        match &self.redirected {
            Some(redirected) => redirected.allowed(view, is_fresh),
            None => Allowed::All,
        }
    }
}
