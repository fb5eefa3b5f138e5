//! Where a text may run: on a hot standby, or on the primary only.
//!
//! Owns the verdict over a text and its reason. What the names of a database mean it asks [`Names`].
//! Never knows sessions, nodes or their state: a transaction, a cursor and a prepared statement are
//! followed by the caller. When unsure the primary is right.
//!
//! A text is a read only if two readers agree. The first goes over PostgreSQL's own tokens
//! ([`crate::sql::Lexer`]), in which quotes and comments cannot be misread: it refuses every word that
//! writes or locks, and asks for every name that is called, read, cast to, or an operator. The
//! second is `sqlparser`, which proves that the statement has the form that the first took it for, and
//! shows every relation, function and type in its tree. It gets what the first has understood, spelled
//! anew (`spelling.rs`): without values, and with what it does not know in words that it knows. No
//! client's byte is ever replaced by that spelling.
//!
//! Time is linear in the text, which is bounded, as are depth and chains. No input panics.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the few kinds of token that matter to it"
)]

mod clauses;
mod commands;
mod functions;
mod group;
mod hint;
mod names;
mod query;
mod reader;
mod settings;
mod spelling;
mod statement;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;
mod verdict;
mod words;

pub use functions::{FunctionPattern, Functions};
pub use hint::{CONSISTENCY_WORDS, Hints, hint, hints, is_group_name};
pub use names::{Names, Policy, Standing, Unread, is_primary_builtin, is_read_builtin};
pub use statement::read_text;
pub use verdict::{Access, End, Isolation, Mode, Modes, Reason, Verdict};
