//! SQL text to tokens and facts.
//!
//! Owns PostgreSQL's lexical rules (manual, "Lexical Structure") and what a text may do to the
//! session that runs it. Never knows sessions or nodes, never parses a grammar, never allocates
//! for text that changes no setting. Time is linear in the text, depth costs no stack, and no
//! input panics. When unsure it says so: see [`Facts::taint`] and [`Facts::broken`].

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the few kinds of token that matter to it"
)]

mod boundary;
mod calls;
mod command;
mod databases;

mod facts;
mod fingerprint;
mod lex;
mod mentions;
mod names;
mod outline;
mod rules;
mod scan;
mod setting_names;
mod settings;
mod skeleton;
mod statement;
#[cfg(test)]
mod tests;

pub use boundary::{Statements, statements};
pub use command::Command;
pub use databases::databases_vacated;
pub use facts::{Facts, Names, PinSet, Settings};
pub use fingerprint::{normalise, readable};
pub use lex::{Kind, Lexer, Token};
pub use mentions::{Mention, Name, mentions};
pub use outline::{Outline, names_moment, outline};
pub use rules::{Encoding, Readable, Rules, make_readable};
pub use scan::facts;
pub use setting_names::{custom_setting_name, setting_names};
pub use skeleton::{Skeleton, skeleton};
