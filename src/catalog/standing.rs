//! Which names of a database need the primary, and why.
//!
//! Owns a number for each such name: most of a hash, and in its lowest bits the reason. A schema of a
//! hundred thousand volatile functions then costs eight bytes each. Names that are not here and that the
//! database has are read alike on every node. Never looks at a text.

use crate::sql::Meaning;
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// Two names have to differ in nearly all bits.
static SEED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

/// The lowest bits of a number say why.
const WHY: u64 = 0b111;

/// Why a name needs the primary; the first that applies is told, those first that weigh most.
pub(super) const CAUSES: [Meaning; 6] = [
    Meaning::READS_SEQUENCE_TABLE,
    Meaning::UNLOGGED,
    Meaning::LOCKS_ROWS,
    Meaning::VOLATILE,
    Meaning::READS_CATALOG,
    // The only one that a setting lifts: if it is told, there is no other.
    Meaning::FOREIGN,
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

    /// Why a name needs the primary, if it does.
    pub(super) fn cause(&self, name: &[u8], is_operator: bool) -> Option<Meaning> {
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
