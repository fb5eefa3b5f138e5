//! What names ask of the node that uses them.
//!
//! PostgreSQL's own names are in lists beside this file (`names/*.txt`, printed by `names/names.sql`).
//! Of all others the caller knows: see [`Names`].

use super::functions::Functions;
use super::verdict::Reason;
use crate::sql::{self, Words};

/// Functions that answer on a hot standby as on the primary.
static READS: Words<4096> = Words::new(include_bytes!("names/reads.txt"));
/// All other functions of PostgreSQL's.
static PRIMARY: Words<1024> = Words::new(include_bytes!("names/primary.txt"));
/// Relations of `pg_catalog` that are the same on every node.
static CATALOGS: Words<256> = Words::new(include_bytes!("names/catalogs.txt"));
/// Settings of a session.
static SETTINGS: Words<512> = Words::new(include_bytes!("names/settings.txt"));

/// What using a name asks of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: a standby answers as the primary does.
    Read,
    /// The primary.
    Primary(Reason),
    /// The database does not have it, as far as is known.
    Unknown,
}

/// Knows the names of one database as one session sees them: by its search path, with its temporary
/// tables. Without a schema a name stands for all that may be meant, and the worst of them counts: of
/// the overloads of a function, of the operators of one symbol. Names are as PostgreSQL stores them.
///
/// PostgreSQL's own are asked for too, because another of the same name may be meant; for those the
/// answer may be [`Standing::Unknown`].
pub trait Names {
    /// Of a function, an aggregate or a window function that is called.
    fn function(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing;
    /// Of a table, a view, a sequence and so on that is read.
    fn relation(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing;
    /// Of an operator.
    fn operator(&self, schema: Option<&[u8]>, symbol: &[u8]) -> Standing;
    /// Of a type that something is cast to.
    fn type_name(&self, schema: Option<&[u8]>, name: &[u8]) -> Standing;
}

/// Of a database whose catalog is not known now: any function or operator may be one of its own that has the name
/// of one of PostgreSQL's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unread;

impl Names for Unread {
    fn function(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
        Standing::Primary(Reason::UnknownFunction)
    }

    fn relation(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
        Standing::Unknown
    }

    fn operator(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
        Standing::Primary(Reason::UnknownOperator)
    }

    fn type_name(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
        Standing::Unknown
    }
}

/// What the operator of the pool has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy<'a> {
    /// Relations of `pg_catalog` and `information_schema` may be read on a standby, but for those that
    /// show the node itself.
    pub catalog_reads: bool,
    /// Foreign tables may be read on a standby.
    pub foreign_reads: bool,
    /// What is said of functions beside the catalog.
    pub functions: Option<&'a Functions>,
}

/// A name with its schema, if that is given.
#[derive(Clone, Copy)]
pub(super) struct Qualified<'a> {
    pub(super) schema: Option<&'a [u8]>,
    pub(super) name: &'a [u8],
}

/// All that is known of names.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) names: &'a dyn Names,
    pub(super) policy: Policy<'a>,
}

fn is_temporary(schema: &[u8]) -> bool {
    schema.starts_with(b"pg_temp")
}

/// Whether a setting is one of the session, which each of its servers is given.
pub(super) fn is_session_setting(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    SETTINGS.contains(&name) || name.contains(&b'.')
}

/// Whether attribute notation with this name calls a function of PostgreSQL's that needs the primary.
pub(super) fn is_own_primary_attribute(name: &[u8]) -> bool {
    PRIMARY.contains(name)
}

/// Whether PostgreSQL has a function of this name that needs the primary.
pub fn is_primary_builtin(name: &[u8]) -> bool {
    PRIMARY.contains(name)
}

/// Whether PostgreSQL has a function of this name that answers on a hot standby as on the primary.
pub fn is_read_builtin(name: &[u8]) -> bool {
    READS.contains(name)
}

impl Judge<'_> {
    pub(super) fn function(self, called: Qualified<'_>) -> Result<(), Reason> {
        let Qualified { schema, name } = called;
        if schema.is_some_and(is_temporary) {
            return Err(Reason::Temporary);
        }
        let may_be_own = schema.is_none_or(|schema| schema == b"pg_catalog");
        match self.function_standing(called) {
            Standing::Primary(reason) => Err(reason),
            _ if may_be_own && is_read_builtin(name) => Ok(()),
            _ if may_be_own && (PRIMARY.contains(name) || name.starts_with(b"pg_")) => {
                Err(Reason::Function)
            }
            Standing::Read => Ok(()),
            Standing::Unknown => Err(Reason::UnknownFunction),
        }
    }

    /// What the catalog says of a function, and what is said beside it.
    fn function_standing(self, called: Qualified<'_>) -> Standing {
        let Qualified { schema, name } = called;
        let standing = self.by_policy(self.names.function(schema, name));
        let Some(functions) = self.policy.functions else { return standing };
        if functions.is_distrusted(name) {
            return Standing::Primary(Reason::Distrusted);
        }
        if functions.is_write(schema, name) {
            return Standing::Primary(Reason::Listed);
        }
        match standing {
            // Not where a standby could not run it: it locks, or reads what is not there.
            Standing::Primary(Reason::Function | Reason::UnknownFunction | Reason::Catalog)
            | Standing::Unknown
                if functions.is_read(schema, name) =>
            {
                Standing::Read
            }
            standing => standing,
        }
    }

    fn by_policy(self, standing: Standing) -> Standing {
        match standing {
            Standing::Primary(Reason::Foreign) if self.policy.foreign_reads => Standing::Read,
            standing => standing,
        }
    }

    /// A word before a parenthesis that the grammar itself has; a function may have the name too.
    pub(super) fn syntax(self, name: &[u8]) -> Result<(), Reason> {
        match self.function_standing(Qualified { schema: None, name }) {
            Standing::Primary(reason) => Err(reason),
            Standing::Read | Standing::Unknown => Ok(()),
        }
    }

    /// Attribute notation, `value.name`: a column, or the call of a function with one argument. `own`:
    /// PostgreSQL's own functions may be meant.
    pub(super) fn attribute(self, name: &[u8], own: bool) -> Result<(), Reason> {
        if own && is_own_primary_attribute(name) {
            return Err(Reason::Function);
        }
        self.syntax(name)
    }

    pub(super) fn relation(self, read: Qualified<'_>) -> Result<(), Reason> {
        let Qualified { schema, name } = read;
        match schema {
            Some(schema) if is_temporary(schema) => return Err(Reason::Temporary),
            Some(b"pg_catalog") => return self.catalog(name),
            Some(b"information_schema") => {
                let allowed = self.policy.catalog_reads && sql::is_in_information_schema(name);
                return if allowed { Ok(()) } else { Err(Reason::Catalog) };
            }
            Some(schema) if schema.starts_with(b"pg_") => return Err(Reason::Catalog),
            _ => {}
        }
        if self.policy.functions.is_some_and(|functions| functions.is_distrusted(name)) {
            return Err(Reason::Distrusted);
        }
        match self.by_policy(self.names.relation(schema, name)) {
            Standing::Primary(reason) => Err(reason),
            _ if schema.is_none() && sql::is_relation(name) => self.catalog(name),
            Standing::Read => Ok(()),
            Standing::Unknown if schema.is_none() && name.starts_with(b"pg_") => Err(Reason::Node),
            Standing::Unknown => Err(Reason::UnknownRelation),
        }
    }

    fn catalog(self, name: &[u8]) -> Result<(), Reason> {
        match (CATALOGS.contains(name), self.policy.catalog_reads) {
            (false, _) => Err(Reason::Node),
            (true, false) => Err(Reason::Catalog),
            (true, true) => Ok(()),
        }
    }

    pub(super) fn operator(self, used: Qualified<'_>) -> Result<(), Reason> {
        let Qualified { schema, name } = used;
        if schema.is_some_and(is_temporary) {
            return Err(Reason::Temporary);
        }
        let may_be_own = schema.is_none_or(|schema| schema == b"pg_catalog");
        match self.by_policy(self.names.operator(schema, name)) {
            Standing::Primary(reason) => Err(reason),
            Standing::Read => Ok(()),
            Standing::Unknown if may_be_own && sql::is_operator(name) => Ok(()),
            Standing::Unknown => Err(Reason::UnknownOperator),
        }
    }

    /// `is_bare`: it has neither quotes nor a schema.
    pub(super) fn type_name(self, used: Qualified<'_>, is_bare: bool) -> Result<(), Reason> {
        let Qualified { schema, name } = used;
        if schema.is_some_and(is_temporary) {
            return Err(Reason::Temporary);
        }
        let may_be_own = schema.is_none_or(|schema| schema == b"pg_catalog");
        match self.by_policy(self.names.type_name(schema, name)) {
            Standing::Primary(reason) => Err(reason),
            Standing::Read => Ok(()),
            Standing::Unknown if may_be_own && sql::is_type(name, is_bare) => Ok(()),
            Standing::Unknown => Err(Reason::UnknownType),
        }
    }
}
