//! What is noted of a unit where the route is `advise`.
//!
//! Owns the step from a decision to what is counted of it: which of the unit's texts has decided, in its normal
//! form. Decides nothing: the unit goes to the primary.

use super::advice::{Running, Unit};
use super::client::Client;
use super::decision::Decision;
use super::route::RouteNodes;
use super::text_cache::shown;
use crate::cluster::policy::RouteReads;
use crate::metrics::fingerprint;
use crate::sql;

/// Bytes of a text that tell statements apart.
const READ_MAX: usize = 64 * 1024;

impl Client {
    /// Whether everything goes to the primary, and is counted.
    pub(super) fn is_advising(&self) -> bool {
        self.options.routing.route == RouteReads::Advise
    }

    /// A text is judged: the last one of a unit is the one that decides.
    #[inline]
    pub(super) fn note_judged(&self, text: &[u8]) {
        if self.is_advising() {
            let mut judged = self.worker.judged.borrow_mut();
            judged.clear();
            judged.extend_from_slice(text.get(..READ_MAX).unwrap_or(text));
        }
    }

    /// The unit in front goes to the primary, for this reason.
    pub(super) fn advise(&self, nodes: &RouteNodes, decision: Decision) {
        if !self.is_advising() {
            return;
        }
        let judged = std::mem::take(&mut *self.worker.judged.borrow_mut());
        let has_statement = decision != Decision::Advised && !judged.is_empty();
        let statement = has_statement.then(|| {
            let mut normal = Vec::new();
            sql::normalise(&judged, true, &mut normal);
            (fingerprint(&normal), shown(&normal).into())
        });
        let thread = usize::from(self.worker.id.0);
        let running = Running::new(&nodes.advice, thread, Unit { decision, statement });
        self.advised.set(Some(running));
    }
}
