//! SQL text to tokens and facts.
//!
//! Owns PostgreSQL's lexical rules (manual, "Lexical Structure") and what a text may do to the
//! session that runs it. Never knows sessions or nodes, never parses a grammar, never allocates
//! for text that changes no setting. Time is linear in the text, depth costs no stack, and no
//! input panics. When unsure it says so: see [`Facts::taint`] and [`Facts::broken`]. What names mean in
//! a database it asks a [`Vocabulary`].

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the few kinds of token that matter to it"
)]

mod block;
mod boundary;
mod builtins;
mod calls;
mod command;
mod databases;

mod facts;
mod fingerprint;
mod lex;
mod mention;
mod outline;
mod place_state;
mod place_words;
mod places;
mod prepared;
mod routine;
mod rules;
mod scan;
mod scan_state;
mod set_command;
mod setting_names;
mod skeleton;
mod statement;
#[cfg(test)]
mod tests;
mod uses;
mod vocabulary;
mod words;

pub use block::{Block, Control, FirstStatement, block_of, first_statement};
pub use boundary::{Statements, statements};
pub use command::Command;
pub use databases::databases_vacated;
pub use facts::{Facts, Names, PinSet, Settings};
pub use fingerprint::{normalise, readable};
pub use lex::{Kind, Lexer, Token};
pub use outline::{Outline, names_moment, outline};
pub use prepared::{Mention, Name, mentions};
pub use routine::routine_facts;
pub use rules::{Encoding, ReadUnder, Readable, Rules, encoding_name, make_readable};
pub use scan::facts;
pub use setting_names::custom_setting_name;
pub use skeleton::{Skeleton, skeleton};
pub use vocabulary::{EveryName, Meaning, NoVocabulary, Use, Vocabulary};

pub use builtins::{is_in_information_schema, is_operator, is_relation, is_type, leads_literal};
pub use calls::{LEAVING_STATE, is_harmless_builtin, is_keyword, leaves_state};
pub use words::{Stored, Words, is_word};
