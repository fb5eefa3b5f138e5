//! A database for tests: tables, functions, types of every standing.

use crate::routing::{Names, Reason, Standing};

/// The names of a session in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Schema {
    /// A temporary table that the session has.
    pub(super) temporary: Option<&'static str>,
}

const TABLES: &[&str] = &[
    "t",
    "u",
    "x",
    "y",
    "a",
    "b",
    "d",
    "users",
    "jobs",
    "audit",
    "other_table",
    "matview",
    "parent",
    "update",
    "テーブル",
    "pgbench_accounts",
    "orders",
    "items",
    "Mixed",
    "emp",
    "dept",
    "docs",
    "words",
];
const READING: &[&str] = &["my_immutable_fn", "my_stable_fn", "similarity", "st_x"];
const VOLATILE: &[&str] = &[
    "write_fn",
    "myfunc",
    "overloaded",
    "proc_language_fn",
    "compute",
    "op_fn",
    "cast_fn",
    "agg_fn",
    "my_agg",
    "my_stable_calls_volatile",
    "dblink_exec",
    "crosstab",
    "pg_stat_statements_reset",
];

impl Names for Schema {
    fn function(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing {
        let name = str::from_utf8(name).unwrap_or_default();
        match schema {
            None | Some(b"public") if READING.contains(&name) => Standing::Read,
            None | Some(b"public") if VOLATILE.contains(&name) => {
                Standing::Primary(Reason::Function)
            }
            Some(b"myschema") if ["myfunc", "now"].contains(&name) => {
                Standing::Primary(Reason::Function)
            }
            _ => Standing::Unknown,
        }
    }

    fn relation(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing {
        let name = str::from_utf8(name).unwrap_or_default();
        match schema {
            None if self.temporary == Some(name) => Standing::Primary(Reason::Temporary),
            None | Some(b"public") => match name {
                "s" => Standing::Primary(Reason::Sequence),
                "unlogged_t" | "v_over_unlogged" | "parent_with_unlogged_child" => {
                    Standing::Primary(Reason::Unlogged)
                }
                "v_for_update" | "v_nextval" | "v_calls_volatile" | "t_with_rls" => {
                    Standing::Primary(Reason::Relation)
                }
                _ if TABLES.contains(&name) => Standing::Read,
                _ => Standing::Unknown,
            },
            _ => Standing::Unknown,
        }
    }

    fn operator(&self, _: Option<&[u8]>, symbol: &[u8]) -> Standing {
        match symbol {
            b"###" => Standing::Primary(Reason::Operator),
            b"<->>" | b"===" => Standing::Read,
            _ => Standing::Unknown,
        }
    }

    fn type_name(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing {
        match (schema, name) {
            (None | Some(b"public"), b"mytype") => Standing::Primary(Reason::Type),
            (None | Some(b"public"), b"mood" | b"geometry") => Standing::Read,
            _ => Standing::Unknown,
        }
    }
}
