//! What is remembered while a text is scanned.

use super::facts::Names;
use super::lex::Token;
use super::vocabulary::Meaning;

/// A call of `set_config` whose arguments are being read.
#[derive(Debug)]
pub(super) struct ConfigCall {
    /// Open parentheses inside it.
    pub(super) depth: u32,
    /// Number of the argument, from 0.
    pub(super) argument: u32,
    /// Tokens of the argument so far.
    pub(super) tokens: u32,
    /// The first argument, if it is one token.
    pub(super) name: Option<Token>,
    /// The third argument, if it is one token.
    pub(super) local: Option<Token>,
}

/// What the tokens of a text have shown so far.
#[derive(Default)]
pub(super) struct Mentions {
    /// What the names mean, all together.
    pub(super) meaning: Meaning,
    /// INSERT, UPDATE, DELETE, MERGE or COPY stands somewhere.
    pub(super) writes: bool,
    /// UPDATE or MERGE stands somewhere.
    pub(super) updates: bool,
    /// `pg_settings` stands somewhere, or a name that cannot be read.
    pub(super) pg_settings: bool,
    /// A string stands somewhere.
    pub(super) has_string: bool,
    /// Strings that look like the name of a custom setting.
    pub(super) literals: Names,
}

/// What a language means by its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// SQL, as a client sends it.
    Sql,
    /// PL/pgSQL.
    PlPgSql,
}

/// The bit of a depth; none beyond 63, which errs on the side of taint.
pub(super) fn bit(depth: u32) -> u64 {
    1_u64.checked_shl(depth).unwrap_or(0)
}
