//! What the catalog queries say, row by row.
//!
//! Owns plain structs and the numbers of PostgreSQL's catalogs. Never knows how the rows came here.

use crate::sql::Meaning;

/// An object of a database: the OID of its catalog, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    /// The OID of the catalog that it is in.
    pub class: u32,
    /// Its own OID.
    pub oid: u32,
}

/// `pg_type`.
pub const TYPE: u32 = 1247;
/// `pg_proc`.
pub const PROC: u32 = 1255;
/// `pg_class`.
pub const RELATION: u32 = 1259;
/// `pg_operator`.
pub const OPERATOR: u32 = 2617;

/// Stands for every text: it cannot be told which texts reach what this depends on.
pub const EVERY_TEXT: Object = Object { class: 0, oid: 0 };
/// Stands for every statement that changes the catalog.
pub const EVERY_DEFINITION: Object = Object { class: 0, oid: 1 };

/// Stands for everything that locks rows without being an object that can.
pub const ROW_LOCK: Object = Object { class: 0, oid: 2 };
/// Stands for PostgreSQL's own relations.
pub const CATALOG_RELATION: Object = Object { class: 0, oid: 3 };

/// A function of `pg_catalog` that is not known to be harmless.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinRow<'a> {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: &'a [u8],
    /// Its name in the server's program.
    pub symbol: &'a [u8],
}

/// An object that a text can name.
#[derive(Clone, Copy, Debug)]
pub struct NameRow<'a> {
    /// The object.
    pub object: Object,
    /// Its name, without a schema.
    pub name: &'a [u8],
    /// What it does by itself: an identity column moves a sequence.
    pub meaning: Meaning,
}

/// A function and its source.
#[derive(Clone, Copy, Debug)]
pub struct FunctionRow<'a> {
    /// Its OID.
    pub oid: u32,
    /// The name of its language; `aggregate` for an aggregate, `handler` for one that only hands out
    /// the addresses of others.
    pub language: &'a [u8],
    /// The extension that owns it; empty for none.
    pub extension: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// The text of its body; empty if it was parsed when it was created. For C and internal
    /// functions: the name of the symbol.
    pub source: &'a [u8],
}

/// A part of an object: a rule, a trigger, a default, a constraint, an index.
#[derive(Clone, Copy, Debug)]
pub struct PartRow<'a> {
    /// The part.
    pub part: Object,
    /// What it is a part of.
    pub owner: Object,
    /// It takes part only when the owner is written to.
    pub when_written: bool,
    /// Its expression, if that calls a function of `pg_catalog` with an effect; else empty.
    pub text: &'a [u8],
}

/// What one object does, another does.
#[derive(Clone, Copy, Debug)]
pub struct EdgeRow {
    /// The object that is used.
    pub used: Object,
    /// The object that uses it.
    pub user: Object,
}
