//! What sessions want of one cluster's nodes, as its tasks see it.

use super::watched::{Desk, Watched};
use crate::cluster::urgency::{LATELY, Urgency};
use crate::cluster::{Moment, NodeId};

impl Watched {
    /// A read has missed a replica.
    pub(super) fn record_miss(&self, now: Moment) {
        self.missed.set(Some(now));
    }

    /// Whether one has lately.
    pub(super) fn was_missed_lately(&self, now: Moment) -> bool {
        self.missed.get().is_some_and(|missed| now.since(missed) < LATELY)
    }

    /// How urgently a node is asked for.
    pub(super) fn urgency(&self, (node, desk): (NodeId, &Desk), now: Moment) -> Urgency {
        let survey = self.survey.borrow();
        Urgency {
            is_waited_for: survey.is_wanted(node, self.cluster.wanted()),
            is_missed: desk.is_missed.get(),
            has_written: desk.has_written.get(),
            was_missed_lately: self.was_missed_lately(now),
            is_behind: survey.is_behind(node),
            tries: desk.tries.get(),
            catch_up: survey.catch_up(now).unwrap_or_default(),
        }
    }

    /// A probe of the node begins.
    pub(super) fn begin_probe(&self, desk: &Desk) {
        let is_asked = desk.is_missed.take() | desk.has_written.take();
        desk.tries.set(if is_asked { 0 } else { desk.tries.get().saturating_add(1) });
        // What is behind is judged by the last write that is known.
        self.survey.borrow_mut().set_last_write(self.cluster.last_write());
    }
}
