//! Howdah's own settings of a session: `howdah.consistency`, `howdah.route`, `howdah.group` and
//! `howdah.notice`, and the statements about them.
//!
//! Owns their values, how long they last, and the statements that set and show them, which no server ever
//! gets: without a server they are answered at once, and with one in their place among the server's
//! answers. A session that has none of it has no place in memory for it either.

mod answer;
mod choice;
mod hinted;
mod login;
mod registry;
mod scope;
mod statement;
mod steps;
mod terms;
mod values;

pub(super) use answer::not_alone;
pub(super) use choice::REFUSED;
pub(super) use statement::{is_own_name, mentions_own};
pub(super) use terms::UnitTerms;
pub(super) use values::SESSION_ATTRS;
pub use values::{Values, Wish};

use crate::wire;
use hinted::Hinted;
use registry::Registry;
use scope::Scope;

/// What a session has of it.
#[derive(Debug, Default)]
pub(super) struct Own {
    scope: Scope,
    registry: Registry,
    hinted: Hinted,
}

impl Own {
    /// Of a session whose startup packet says this.
    pub(super) fn at_startup(values: Values) -> Option<Box<Self>> {
        let is_empty = values == Values::default();
        (!is_empty).then(|| Box::new(Self { scope: Scope::new(values), ..Self::default() }))
    }

    /// Something of the client's has failed.
    pub(super) fn failed(&mut self) {
        self.scope.failed();
    }

    /// A command of the client's is complete, with this tag.
    pub(super) fn completed(&mut self, tag: &[u8]) {
        if matches!(tag, b"DISCARD ALL" | b"DEALLOCATE ALL") {
            self.registry.forget_statements();
        }
        self.scope.completed(tag);
    }

    /// The client gets ReadyForQuery with this status.
    pub(super) fn ready(&mut self, status: u8) {
        self.scope.ready(status);
        if status == wire::IDLE {
            self.registry.forget_portals();
        }
    }
}
