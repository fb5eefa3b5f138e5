//! What a sample calls and reads, and whether its answers can be compared at all.
//!
//! Pure. The names are those that the database itself has: PostgreSQL's own functions are known.

use crate::catalog::Snapshot;
use crate::routing::{Names, Policy, Standing, Verdict, read_text};
use crate::sql::{Lexer, Rules};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Words by which a right answer may be one of several: which rows, or in which order they are put together.
const OPEN: [&str; 14] = [
    "limit",
    "offset",
    "fetch",
    "tablesample",
    "over",
    "array_agg",
    "string_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "json_arrayagg",
    "json_objectagg",
    "xmlagg",
];

/// The functions or, where there are none, the relations that texts name. `None`: the answers of a text cannot be
/// compared, or it is not a plain read by this policy.
pub(super) fn named(
    texts: &[(Box<[u8]>, Rules)],
    policy: Policy<'_>,
    snapshot: &Snapshot,
) -> Option<Vec<Box<[u8]>>> {
    let noting = Noting { snapshot, functions: RefCell::default(), relations: RefCell::default() };
    for (text, rules) in texts {
        let is_read = read_text(text, *rules, policy, &noting) == Verdict::Read;
        if !is_read || has_several_answers(text) {
            return None;
        }
    }
    let functions = noting.functions.into_inner();
    let names = if functions.is_empty() { noting.relations.into_inner() } else { functions };
    Some(names.into_iter().collect())
}

fn has_several_answers(text: &[u8]) -> bool {
    let mut before = false;
    Lexer::new(text, true).filter(|token| token.is_significant()).any(|token| {
        let word = token.bytes(text).to_ascii_lowercase();
        let is_distinct_on = before && word == b"on";
        before = word == b"distinct";
        is_distinct_on || OPEN.iter().any(|open| open.as_bytes() == word)
    })
}

/// Answers as the snapshot does, and keeps the names.
struct Noting<'a> {
    snapshot: &'a Snapshot,
    functions: RefCell<BTreeSet<Box<[u8]>>>,
    relations: RefCell<BTreeSet<Box<[u8]>>>,
}

impl Names for Noting<'_> {
    fn function(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing {
        let standing = self.snapshot.function(schema, name);
        if standing != Standing::Unknown {
            self.functions.borrow_mut().insert(name.into());
        }
        standing
    }

    fn relation(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing {
        let standing = self.snapshot.relation(schema, name);
        if standing != Standing::Unknown {
            self.relations.borrow_mut().insert(name.into());
        }
        standing
    }

    fn operator(&self, schema: Option<&[u8]>, symbol: &[u8]) -> Standing {
        self.snapshot.operator(schema, symbol)
    }

    fn type_name(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing {
        self.snapshot.type_name(schema, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_may_be_one_of_several_are_not_compared() {
        for text in [
            "SELECT a FROM t LIMIT 1",
            "SELECT a FROM t OFFSET 2",
            "SELECT row_number() OVER () FROM t",
            "SELECT Array_Agg(a) FROM t",
            "SELECT DISTINCT ON (a) a, b FROM t",
            "TABLE t FETCH FIRST ROW ONLY",
        ] {
            assert!(has_several_answers(text.as_bytes()), "{text}");
        }
        for text in ["SELECT DISTINCT a FROM t JOIN u ON true", "SELECT 'limit', \"over\" FROM t"] {
            assert!(!has_several_answers(text.as_bytes()), "{text}");
        }
    }
}
