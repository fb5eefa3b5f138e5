//! Which names of a database need the primary, and why.
//!
//! Owns a number for each such name: most of a hash, and in its lowest bits the reason. A schema of a
//! hundred thousand volatile functions then costs eight bytes each. Names that are not here and that the
//! database has are read alike on every node. Never looks at a text.

use super::snapshot::Snapshot;
use crate::routing::{Names, Reason, Standing};
use crate::sql::{Meaning, Use, Vocabulary};
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// Two names have to differ in nearly all bits.
static SEED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

/// The lowest bits of a number say why.
const WHY: u64 = 0b111;

/// Why a name needs the primary; the first that applies is told.
const CAUSES: [Meaning; 6] = [
    Meaning::READS_SEQUENCE_TABLE,
    Meaning::UNLOGGED,
    Meaning::FOREIGN,
    Meaning::LOCKS_ROWS,
    Meaning::VOLATILE,
    Meaning::READS_CATALOG,
];

/// The names that need the primary, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standings(Box<[u64]>);

fn number(name: &[u8], is_operator: bool) -> u64 {
    SEED.hash_one((is_operator, name)) & !WHY
}

impl Standings {
    /// What stands for a name that means this, if it needs the primary.
    pub(super) fn entry(name: &[u8], is_operator: bool, meaning: Meaning) -> Option<u64> {
        let cause = CAUSES.iter().position(|cause| meaning.contains(*cause))?;
        Some(number(name, is_operator) | cause as u64)
    }

    /// Of these.
    pub(super) fn new(mut entries: Vec<u64>) -> Self {
        entries.sort_unstable();
        Self(entries.into())
    }

    fn cause(&self, name: &[u8], is_operator: bool) -> Option<Meaning> {
        let number = number(name, is_operator);
        let at = self.0.partition_point(|entry| *entry < number);
        let entry = self.0.get(at).filter(|entry| **entry & !WHY == number)?;
        CAUSES.get((entry & WHY) as usize).copied()
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        size_of_val(&*self.0)
    }
}

fn reason(cause: Meaning, used_as: Use) -> Reason {
    match (cause, used_as) {
        (Meaning::READS_SEQUENCE_TABLE, _) => Reason::Sequence,
        (Meaning::UNLOGGED, _) => Reason::Unlogged,
        (Meaning::FOREIGN, _) => Reason::Foreign,
        (Meaning::LOCKS_ROWS, _) => Reason::Lock,
        (Meaning::READS_CATALOG, _) => Reason::Catalog,
        (_, Use::Function) => Reason::Function,
        (_, Use::Relation) => Reason::Relation,
        (_, Use::Type) => Reason::Type,
        (_, Use::Operator) => Reason::Operator,
    }
}

impl Snapshot {
    fn standing(&self, name: &[u8], used_as: Use) -> Standing {
        let of_all = self.everything & Meaning::OF_PRIMARY;
        let of_unreadable = if name.is_ascii() { Meaning::empty() } else { self.unreadable };
        let of_all = of_all | (of_unreadable & Meaning::OF_PRIMARY);
        let cause = CAUSES.iter().copied().find(|cause| of_all.contains(*cause));
        match cause.or_else(|| self.of_primary.cause(name, used_as == Use::Operator)) {
            Some(cause) => Standing::Primary(reason(cause, used_as)),
            None if self.has(name, used_as) => Standing::Read,
            None => Standing::Unknown,
        }
    }
}

/// A name counts for all objects that have it, in whatever schema.
impl Names for Snapshot {
    fn function(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        self.standing(name, Use::Function)
    }

    fn relation(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        self.standing(name, Use::Relation)
    }

    fn operator(&self, _: Option<&[u8]>, symbol: &[u8]) -> Standing {
        self.standing(symbol, Use::Operator)
    }

    fn type_name(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        self.standing(name, Use::Type)
    }
}
