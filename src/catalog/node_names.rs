//! What the names of a database say about the node where a text may run.
//!
//! A name counts for all objects that have it, in whatever schema. Never looks at a text.

use super::snapshot::Snapshot;
use super::standing::CAUSES;
use crate::routing::{Names, Reason, Standing};
use crate::sql::{Meaning, Use, Vocabulary};

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
