//! A transaction that only reads, on a replica: what it has done there, and whether it can go on elsewhere. Pure.
//!
//! A replica may not do all that the primary does in such a transaction: it refuses NOTIFY, and gives advisory locks
//! that nobody else sees. What needs the primary then takes its transaction there, if nothing of it holds on its
//! node only. Under READ COMMITTED each statement has a snapshot of its own, so that the client sees no
//! difference. Owns the modes with which it begins anew. Never knows servers.

use crate::routing::{Isolation, Mode, Modes, Reason};

/// What is known of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReadTransaction {
    isolation: Option<Isolation>,
    is_deferrable: Option<bool>,
    /// All its statements see one snapshot, by a default of the session's too.
    has_one_snapshot: bool,
    has_read: bool,
    /// It has a savepoint, a cursor or a setting there.
    has_left: bool,
}

impl ReadTransaction {
    /// With these modes. `is_repeatable`: what a transaction is that does not say.
    pub(super) fn begin(modes: Modes, is_repeatable: bool) -> Self {
        let new = Self { has_one_snapshot: is_repeatable, ..Self::default() };
        new.with(modes)
    }

    /// Its modes are changed, as long as it has not read.
    pub(super) fn with(mut self, modes: Modes) -> Self {
        if let Some(Mode::To(isolation)) = modes.isolation {
            self.isolation = Some(isolation);
            self.has_one_snapshot =
                matches!(isolation, Isolation::RepeatableRead | Isolation::Serializable);
        }
        if let Some(Mode::To(is_deferrable)) = modes.deferrable {
            self.is_deferrable = Some(is_deferrable);
        }
        self
    }

    /// Another one begins with the same modes.
    pub(super) fn again(self) -> Self {
        Self { has_read: false, has_left: false, ..self }
    }

    /// A statement has read.
    pub(super) fn record_read(&mut self) {
        self.has_read = true;
    }

    /// Something of it is on its node only.
    pub(super) fn record_left(&mut self) {
        self.has_left = true;
    }

    /// Whether its modes can still be changed.
    pub(super) fn has_read(self) -> bool {
        self.has_read
    }

    /// Whether it can go on somewhere else.
    pub(super) fn may_move(self) -> bool {
        !(self.has_left || self.has_one_snapshot && self.has_read)
    }

    /// What begins it there.
    pub(super) fn statement(self) -> String {
        let mut statement = "BEGIN READ ONLY".to_owned();
        if let Some(isolation) = self.isolation {
            statement.push_str(match isolation {
                Isolation::ReadUncommitted => ", ISOLATION LEVEL READ UNCOMMITTED",
                Isolation::ReadCommitted => ", ISOLATION LEVEL READ COMMITTED",
                Isolation::RepeatableRead => ", ISOLATION LEVEL REPEATABLE READ",
                Isolation::Serializable => ", ISOLATION LEVEL SERIALIZABLE",
            });
        }
        match self.is_deferrable {
            Some(true) => statement.push_str(", DEFERRABLE"),
            Some(false) => statement.push_str(", NOT DEFERRABLE"),
            None => {}
        }
        statement
    }
}

/// Whether a statement that would need the primary stays with such a transaction: it fails on both nodes, or is
/// answered by the transaction's own view of the catalog.
pub(super) fn stays(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Write | Reason::Into | Reason::Definition | Reason::Catalog | Reason::PlanOfWrite
    )
}

/// A transaction on its way to the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// What begins it there.
    pub(super) begin: String,
    /// Why it goes.
    pub(super) reason: Reason,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(isolation: Isolation) -> Modes {
        Modes { isolation: Some(Mode::To(isolation)), ..Modes::default() }
    }

    #[test]
    fn what_may_move() {
        let plain = ReadTransaction::begin(Modes::default(), false);
        let read = |mut transaction: ReadTransaction| {
            transaction.record_read();
            transaction
        };
        assert!(plain.may_move() && read(plain).may_move());
        let mut left = plain;
        left.record_left();
        assert!(!left.may_move() && left.again().may_move());
        for (begun, expected) in [
            (ReadTransaction::begin(Modes::default(), true), false),
            (plain.with(modes(Isolation::RepeatableRead)), false),
            (ReadTransaction::begin(modes(Isolation::ReadCommitted), true), true),
            (ReadTransaction::begin(modes(Isolation::ReadUncommitted), true), true),
        ] {
            assert!(begun.may_move(), "nothing is read");
            assert_eq!(read(begun).may_move(), expected, "{begun:?}");
        }
    }

    #[test]
    fn how_it_begins_anew() {
        let plain = ReadTransaction::begin(Modes::default(), true);
        assert_eq!(plain.statement(), "BEGIN READ ONLY");
        let deferrable = Modes { deferrable: Some(Mode::To(true)), ..Modes::default() };
        assert_eq!(
            plain.with(modes(Isolation::RepeatableRead)).with(deferrable).statement(),
            "BEGIN READ ONLY, ISOLATION LEVEL REPEATABLE READ, DEFERRABLE"
        );
    }
}
