//! What the names of one database may do to a session.
//!
//! Owns the verdicts: only names that matter are kept whole, so that a snapshot stays small. Of every
//! name it keeps a hash, so that one that has been created since is told apart. Immutable. A name counts for all objects that have it, in whatever schema: the worst of
//! them decides. Never looks at a text.

use super::standing::Standings;
use crate::sql::{Meaning, Use, Vocabulary};
use std::hash::BuildHasher;
use std::sync::LazyLock;

/// One for the process: names come from clients.
static SEED: LazyLock<foldhash::fast::RandomState> = LazyLock::new(Default::default);

/// The same for hashes that stand for names: two of them have to differ in all bits.
static KNOWN_SEED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);

/// Hashes of names that are kept. Names beyond that count as unknown: they touch the session.
pub(super) const KNOWN_MAX: usize = 1_000_000;

/// What stands for a name of that kind among the known ones.
pub(super) fn known(name: &[u8], used_as: Use) -> u64 {
    KNOWN_SEED.hash_one((used_as, name))
}

/// Names and what they mean, sorted, and where to look for each: three allocations.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    bytes: Box<[u8]>,
    entries: Box<[Entry]>,
    /// A name's hash says where to begin: number of its entry, from 1; 0 ends the search. Twice as many
    /// as there are entries, at least, and a power of two.
    slots: Box<[u32]>,
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.entries == other.entries
    }
}

impl Eq for Names {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    start: u32,
    len: u8,
    meaning: Meaning,
}

impl Names {
    /// Of these. A name that comes twice means both. Names are at most 63 bytes long in PostgreSQL;
    /// a longer one is cut, so that it still matches what a text is cut to.
    pub(super) fn new(mut names: Vec<(Vec<u8>, Meaning)>) -> Self {
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let total = names.iter().map(|(name, _)| name.len()).sum();
        let (mut bytes, mut entries) = (Vec::with_capacity(total), Vec::<Entry>::new());
        for (name, meaning) in &names {
            let name = name.get(..NAME_MAX).unwrap_or(name);
            let last = entries.last_mut().filter(|last| last.of(&bytes) == name);
            if let Some(last) = last {
                last.meaning |= *meaning;
                continue;
            }
            let Ok(start) = u32::try_from(bytes.len()) else { continue };
            bytes.extend_from_slice(name);
            let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
            entries.push(Entry { start, len, meaning: *meaning });
        }
        let mut names =
            Self { bytes: bytes.into(), entries: entries.into(), slots: Box::default() };
        names.index();
        names
    }

    fn index(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let mut slots = vec![0; (2 * self.entries.len()).next_power_of_two()];
        for (number, entry) in (1u32..).zip(&self.entries) {
            let mut at = first_slot(entry.of(&self.bytes), slots.len());
            while slots.get(at).is_some_and(|taken| *taken != 0) {
                at = (at + 1) & (slots.len() - 1);
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = number;
            }
        }
        self.slots = slots.into();
    }

    #[inline]
    fn meaning(&self, name: &[u8]) -> Meaning {
        if self.slots.is_empty() {
            return Meaning::empty();
        }
        let mut at = first_slot(name, self.slots.len());
        // Half of the slots are free, so that the search ends.
        while let Some(number) = self.slots.get(at).filter(|number| **number != 0) {
            let entry = self.entries.get(*number as usize - 1);
            if let Some(entry) = entry.filter(|entry| entry.of(&self.bytes) == name) {
                return entry.meaning;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        Meaning::empty()
    }

    fn any(&self) -> Meaning {
        self.entries.iter().fold(Meaning::empty(), |all, entry| all | entry.meaning)
    }
}

#[inline]
fn first_slot(name: &[u8], slots: usize) -> usize {
    // Truncation is what is wanted: the lowest bits.
    SEED.hash_one(name) as usize & (slots - 1)
}

/// NAMEDATALEN - 1.
const NAME_MAX: usize = 63;

impl Entry {
    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize;
        bytes.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

/// What the names of one database may do to a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub(super) words: Names,
    pub(super) operators: Names,
    /// What stands for each name of the database, sorted.
    pub(super) known: Box<[u64]>,
    /// Names that need the primary.
    pub(super) of_primary: Standings,
    /// OIDs of types whose use may touch the session, sorted.
    pub(super) types: Box<[u32]>,
    /// OIDs of types whose values may need the primary, sorted.
    pub(super) types_of_primary: Box<[u32]>,
    /// What every text may do.
    pub(super) everything: Meaning,
    /// What names may do that are not ASCII: their bytes depend on the client's encoding.
    pub(super) unreadable: Meaning,
    /// What every statement that changes the catalog may do.
    pub(super) definition: Meaning,
    pub(super) custom: Box<[Box<str>]>,
    pub(super) has_unknown_custom: bool,
    /// Everything that any name may do.
    pub(super) any: Meaning,
}

impl Snapshot {
    /// Fills in what follows from the rest.
    pub(super) fn finish(mut self) -> Self {
        self.any = self.words.any()
            | self.operators.any()
            | self.everything
            | self.unreadable
            | self.definition;
        self.any &= Meaning::TO_SESSION;
        self
    }

    /// Whether using a name may change the session. The name is as PostgreSQL stores it.
    pub fn may_touch_session(&self, name: &[u8]) -> bool {
        self.meaning(name).contains(Meaning::TOUCHES)
    }

    /// The same of an operator.
    pub fn operator_may_touch_session(&self, symbol: &[u8]) -> bool {
        self.operator(symbol).contains(Meaning::TOUCHES)
    }

    /// Whether using a name may run `nextval` or `setval`: when it is written to, for a table.
    pub fn may_move_sequence(&self, name: &[u8]) -> bool {
        let moves = Meaning::MOVES_SEQUENCE | Meaning::MOVES_SEQUENCE_ON_WRITE;
        self.meaning(name).intersects(moves)
    }

    /// Whether a value of the type with this OID may touch the session, as a parameter does whose type
    /// the text does not name.
    pub fn type_may_touch_session(&self, oid: u32) -> bool {
        self.everything.contains(Meaning::TOUCHES) || self.types.binary_search(&oid).is_ok()
    }

    /// Whether a value of the type with this OID has to be read on the primary: its check may write.
    pub fn type_needs_primary(&self, oid: u32) -> bool {
        self.everything.intersects(Meaning::OF_PRIMARY)
            || self.types_of_primary.binary_search(&oid).is_ok()
    }

    /// The names of custom settings that functions, defaults and the like set, sorted.
    pub fn custom_settings(&self) -> &[Box<str>] {
        &self.custom
    }

    /// Whether there may be others: a source computes the name, or there are too many.
    pub fn has_unknown_custom_settings(&self) -> bool {
        self.has_unknown_custom
    }

    /// How many names it keeps whole.
    pub fn len(&self) -> usize {
        self.words.entries.len() + self.operators.entries.len()
    }

    /// Whether no name of the database does anything to a session.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty()
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        let of = |names: &Names| {
            names.bytes.len() + size_of_val(&*names.entries) + size_of_val(&*names.slots)
        };
        let custom: usize = self.custom.iter().map(|name| name.len() + size_of::<Box<str>>()).sum();
        size_of::<Self>()
            + of(&self.words)
            + of(&self.operators)
            + size_of_val(&*self.known)
            + self.of_primary.size()
            + size_of_val(&*self.types)
            + size_of_val(&*self.types_of_primary)
            + custom
    }

    fn meaning(&self, name: &[u8]) -> Meaning {
        if self.any.is_empty() {
            return Meaning::empty();
        }
        let own = if name.is_ascii() { self.words.meaning(name) } else { self.unreadable };
        self.everything | own
    }
}

impl Vocabulary for Snapshot {
    fn is_known(&self) -> bool {
        true
    }

    fn has(&self, name: &[u8], used_as: Use) -> bool {
        self.known.binary_search(&known(name, used_as)).is_ok()
    }

    fn word(&self, name: &[u8]) -> Meaning {
        self.meaning(name)
    }

    fn operator(&self, symbol: &[u8]) -> Meaning {
        if self.any.is_empty() {
            return Meaning::empty();
        }
        self.everything | self.operators.meaning(symbol)
    }

    fn unreadable_word(&self) -> Meaning {
        // With U& it may be any name.
        self.any
    }

    fn definition(&self) -> Meaning {
        self.definition
    }

    fn maintenance(&self) -> Meaning {
        self.any & Meaning::TOUCHES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// A table of names answers as a map does.
        #[test]
        fn names_are_found(
            names in prop::collection::vec(("[a-c]{1,3}", 1u16..128), 0..40), asked in "[a-d]{0,4}",
        ) {
            let mut map = BTreeMap::<String, u16>::new();
            names.iter().for_each(|(name, bits)| *map.entry(name.clone()).or_default() |= bits);
            let pairs = names.iter().map(|(name, bits)| (name.as_bytes().to_vec(), Meaning::from_bits_truncate(*bits)));
            let table = Names::new(pairs.collect());
            prop_assert_eq!(table.entries.len(), map.len());
            for name in map.keys().chain([&asked]) {
                let wanted = map.get(name).copied().unwrap_or_default();
                prop_assert_eq!(table.meaning(name.as_bytes()).bits(), wanted);
            }
        }
    }

    #[test]
    fn a_name_that_is_not_ascii_counts_as_any_such_name() {
        let unreadable = Snapshot { unreadable: Meaning::TOUCHES, ..Snapshot::default() }.finish();
        assert!(unreadable.may_touch_session("é".as_bytes()));
        assert!(!unreadable.may_touch_session(b"e"));
        assert!(!Snapshot::default().may_touch_session("é".as_bytes()));
    }

    #[test]
    fn a_name_longer_than_postgresql_keeps_is_found_by_what_it_is_cut_to() {
        let long = vec![b'x'; 70];
        let words = Names::new(vec![(long.clone(), Meaning::TOUCHES)]);
        let snapshot = Snapshot { words, ..Snapshot::default() }.finish();
        assert!(snapshot.may_touch_session(&long[..63]));
    }
}
