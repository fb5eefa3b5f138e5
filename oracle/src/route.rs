//! Whether what howdah calls a read is one to PostgreSQL's own grammar.
//!
//! To `src/routing` every name of the text is harmless here, so only the form of the text is left to
//! decide. It must never call a read what has a statement that writes, a lock, or INTO anywhere in its
//! tree; and it must have asked for every function, relation and operator of the tree.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::compare::Difference;
use crate::routing::{Names, Policy, Standing, Verdict, read_text};
use crate::sql::Rules;

/// What the tree of a read must not have. The names are those of PostgreSQL's nodes, as the tree is
/// printed.
const FORBIDDEN: &[&str] = &[
    "(InsertStmt ",
    "(UpdateStmt ",
    "(DeleteStmt ",
    "(MergeStmt ",
    "(LockingClause ",
    "into_clause: Some(",
    "(TransactionStmt ",
    "(CallStmt ",
    "(DoStmt ",
    "(LockStmt ",
    "(CreateTableAsStmt ",
    "(RefreshMatViewStmt ",
    "(TruncateStmt ",
    "(NotifyStmt ",
    "(ListenStmt ",
    "(VacuumStmt ",
    "is_from: true",
    "is_program: true",
];

/// Every name is there, is harmless, and is remembered.
#[derive(Default)]
struct Every {
    asked: RefCell<HashSet<Vec<u8>>>,
}

impl Every {
    fn ask(&self, name: &[u8]) -> Standing {
        self.asked.borrow_mut().insert(name.to_vec());
        Standing::Read
    }
}

impl Names for Every {
    fn function(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        self.ask(name)
    }

    fn relation(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        self.ask(name)
    }

    fn operator(&self, _: Option<&[u8]>, symbol: &[u8]) -> Standing {
        self.ask(symbol)
    }

    fn type_name(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        self.ask(name)
    }
}

/// Whether the text was called a read, or the difference.
pub fn check(text: &str) -> Result<bool, Difference> {
    let every = Every::default();
    let verdict =
        read_text(text.as_bytes(), Rules::STANDARD, Policy { catalog_reads: true, ..Policy::default() }, &every);
    if verdict != Verdict::Read {
        return Ok(false);
    }
    // What PostgreSQL refuses does nothing anywhere; and pg_query gives up on deep trees.
    let Ok(parsed) = pg_query::parse(text, pg_query::ParserOptions::DEFAULT) else {
        return Ok(true);
    };
    let tree = format!("{:?}", parsed.protobuf);
    let difference = |detail: String| Difference { check: "route", detail };
    if let Some(found) = FORBIDDEN.iter().find(|node| tree.contains(**node)) {
        return Err(difference(format!("called a read, but the tree has {found}")));
    }
    // As the tree shows them.
    let asked: HashSet<String> = every.asked.borrow().iter().map(|name| escaped(name)).collect();
    let entries: HashSet<_> = values(&tree, "ctename: \"").collect();
    let called = last_parts(&tree, "funcname: [");
    let operators = last_parts(&tree, "kind: AexprOp, name: [");
    for name in called.chain(operators).chain(relations(&tree)) {
        let is_own = crate::sql::is_keyword(name.as_bytes()) || entries.contains(name);
        // The grammar itself calls these.
        let is_grammars = matches!(
            name,
            "timezone"
                | "like_escape"
                | "similar_to_escape"
                | "is_normalized"
                | "xmlexists"
                | "overlaps"
                | "btrim"
                | "ltrim"
                | "rtrim"
        );
        if !is_own && !is_grammars && !asked.contains(name) {
            return Err(difference(format!("called a read, but {name} was not asked for")));
        }
    }
    Ok(true)
}

/// The strings behind every `key` of a printed tree; escapes in them are left.
fn values<'a>(tree: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    tree.split(key).skip(1).filter_map(|rest| rest.split('"').next())
}

/// The last part of every name behind `key` in a printed tree.
fn last_parts<'a>(tree: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    tree.split(key).skip(1).filter_map(|rest| {
        let name = rest.split(']').next()?;
        name.rsplit("sval: \"").next()?.split('"').next()
    })
}

/// The relations of a printed tree, but for those of the catalog: of them `routing` knows by itself.
fn relations(tree: &str) -> impl Iterator<Item = &str> {
    tree.split("schemaname: \"").skip(1).filter_map(|rest| {
        let (schema, rest) = rest.split_once('"')?;
        let relation = rest.strip_prefix(", relname: \"")?.split('"').next()?;
        let is_catalog = matches!(schema, "pg_catalog" | "information_schema");
        (!is_catalog).then_some(relation)
    })
}

fn escaped(name: &[u8]) -> String {
    let quoted = format!("{:?}", String::from_utf8_lossy(name));
    quoted.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned()
}
