//! What is known of the names that a text mentions.
//!
//! Owns the question and the shape of its answer. The catalog snapshot answers it. The reader of
//! texts asks it for every identifier and operator. Never reads a text.

bitflags::bitflags! {
    /// What using a name may do. Empty: nothing beyond its transaction.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Meaning: u16 {
        /// It may change the session: a setting, a temporary table, a lock, a role, and so on.
        const TOUCHES = 1;
        /// Reading or calling it may run `nextval` or `setval`.
        const MOVES_SEQUENCE = 1 << 1;
        /// Writing to it may: a default, an identity column, a trigger.
        const MOVES_SEQUENCE_ON_WRITE = 1 << 2;
        /// It may read `currval` or `lastval`.
        const READS_SEQUENCE = 1 << 3;
        /// It may leave state that nobody can ask for, as `setseed` does.
        const LEAVES_STATE = 1 << 4;
        /// It may set something until the end of the transaction.
        const SETS_LOCAL = 1 << 5;
        /// Its source has a statement that changes the catalog.
        const CHANGES_CATALOG = 1 << 6;
        /// It is volatile: it may write, or its answer holds for one node only.
        const VOLATILE = 1 << 7;
        /// It reads an unlogged table.
        const UNLOGGED = 1 << 8;
        /// It reads a sequence as a table.
        const READS_SEQUENCE_TABLE = 1 << 9;
        /// It reads a foreign table.
        const FOREIGN = 1 << 10;
        /// It locks rows.
        const LOCKS_ROWS = 1 << 11;
        /// It reads PostgreSQL's own catalog.
        const READS_CATALOG = 1 << 12;
    }
}

impl Meaning {
    /// What it may do to the session that uses it.
    pub const TO_SESSION: Self = Self::from_bits_truncate((1 << 7) - 1);
    /// What only the primary may do, or answers right.
    pub const OF_PRIMARY: Self = Self::from_bits_truncate(0x1fff & !((1 << 7) - 1));
}

/// What a text uses a name as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// It calls a function, an aggregate or a procedure.
    Function,
    /// It reads or writes a table, a view and the like.
    Relation,
    /// It casts to a type.
    Type,
    /// It applies an operator.
    Operator,
}

/// Knows what the names of one database mean.
pub trait Vocabulary {
    /// Whether the database's objects are known. If not, every name that is not PostgreSQL's own may do
    /// anything.
    fn is_known(&self) -> bool;

    /// Whether the database has something of that kind with this name, in any schema. What it does is
    /// the answer of [`Self::word`] and [`Self::operator`]; what is not there may do anything, because
    /// somebody may just have created it. PostgreSQL's own names are not asked for.
    fn has(&self, name: &[u8], used_as: Use) -> bool;

    /// Of an identifier, as PostgreSQL compares it: folded, without quotes, cut to 63 bytes. The bytes
    /// of one that is not ASCII are in the client's encoding.
    fn word(&self, name: &[u8]) -> Meaning;

    /// Of an operator.
    fn operator(&self, symbol: &[u8]) -> Meaning;

    /// Of an identifier that cannot be compared, because it is written with `U&`.
    fn unreadable_word(&self) -> Meaning;

    /// Of every statement that changes the catalog: event triggers run then.
    fn definition(&self) -> Meaning;

    /// Of a statement that runs expressions of tables it does not name: `ANALYZE`, `REINDEX`.
    fn maintenance(&self) -> Meaning;
}

/// Nothing is known of the database.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoVocabulary;

impl Vocabulary for NoVocabulary {
    fn is_known(&self) -> bool {
        false
    }

    fn has(&self, _: &[u8], _: Use) -> bool {
        false
    }

    fn word(&self, _: &[u8]) -> Meaning {
        Meaning::empty()
    }

    fn operator(&self, _: &[u8]) -> Meaning {
        Meaning::empty()
    }

    fn unreadable_word(&self) -> Meaning {
        Meaning::empty()
    }

    fn definition(&self) -> Meaning {
        // An event trigger may do anything.
        Meaning::TOUCHES | Meaning::MOVES_SEQUENCE | Meaning::SETS_LOCAL
    }

    fn maintenance(&self) -> Meaning {
        Meaning::empty()
    }
}

/// The database has every name, and none does anything beyond its transaction: what is left is what the
/// text itself says.
#[derive(Clone, Copy, Debug, Default)]
pub struct EveryName;

impl Vocabulary for EveryName {
    fn is_known(&self) -> bool {
        true
    }

    fn has(&self, _: &[u8], _: Use) -> bool {
        true
    }

    fn word(&self, _: &[u8]) -> Meaning {
        Meaning::empty()
    }

    fn operator(&self, _: &[u8]) -> Meaning {
        Meaning::empty()
    }

    fn unreadable_word(&self) -> Meaning {
        Meaning::empty()
    }

    fn definition(&self) -> Meaning {
        Meaning::empty()
    }

    fn maintenance(&self) -> Meaning {
        Meaning::empty()
    }
}
