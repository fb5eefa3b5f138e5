//! Where statements end.
//!
//! A semicolon ends a statement unless it lies in parentheses (`CREATE RULE … DO (a; b)`) or in
//! the `BEGIN ATOMIC … END` body of a function. Each statement of a body ends in a semicolon and
//! none begins with END, so the END that follows one is the body's; others belong to a CASE, or are
//! labels as in `SELECT 1 end`. A statement of a body may create a function with a body of its own.

use std::ops::Range;

use super::lex::{Kind, Lexer, Token};
use super::words::is_word;

/// How deep in parentheses and bodies the next token lies. Fed with every significant token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Boundary {
    depth: u32,
    body: u32,
    lead: Lead,
    last: Last,
}

/// How far the statement's first words spell `CREATE [OR REPLACE] {FUNCTION | PROCEDURE}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Lead {
    #[default]
    Start,
    Create,
    CreateOr,
    CreateOrReplace,
    Routine,
    Plain,
}

/// What the token before this one says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    Any,
    /// BEGIN, after which ATOMIC opens a body.
    Begin,
    /// A statement of a body begins here, or the body ends.
    InBody,
}

impl Boundary {
    /// Open parentheses.
    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// Whether a semicolon here would end no statement.
    pub(super) fn is_inside(&self) -> bool {
        self.depth > 0 || self.body > 0
    }

    /// Takes the next significant token; true if it ends a statement.
    #[inline]
    pub(super) fn feed(&mut self, token: Token, text: &[u8]) -> bool {
        if self.lead != Lead::Plain {
            self.follow(token, text);
        }
        match token.kind {
            Kind::OpenParen => self.depth = self.depth.saturating_add(1),
            Kind::CloseParen => self.depth = self.depth.saturating_sub(1),
            Kind::Semicolon if !self.is_inside() => {
                *self = Self::default();
                return true;
            }
            Kind::Semicolon if self.depth == 0 => {
                (self.lead, self.last) = (Lead::Start, Last::InBody);
            }
            _ => {}
        }
        false
    }

    fn follow(&mut self, token: Token, text: &[u8]) {
        let word = token.bytes(text);
        let is = |wanted: &[u8]| token.kind == Kind::Word && is_word(word, wanted);
        let last = std::mem::take(&mut self.last);
        if last == Last::InBody && is(b"end") {
            self.body = self.body.saturating_sub(1);
        }
        self.lead = match self.lead {
            Lead::Start if is(b"create") => Lead::Create,
            Lead::Create if is(b"or") => Lead::CreateOr,
            Lead::CreateOr if is(b"replace") => Lead::CreateOrReplace,
            Lead::Create | Lead::CreateOrReplace if is(b"function") || is(b"procedure") => {
                Lead::Routine
            }
            Lead::Routine if last == Last::Begin && is(b"atomic") => {
                self.body = self.body.saturating_add(1);
                self.last = Last::InBody;
                Lead::Start
            }
            Lead::Routine => {
                if self.depth == 0 && is(b"begin") {
                    self.last = Last::Begin;
                }
                Lead::Routine
            }
            Lead::Start | Lead::Create | Lead::CreateOr | Lead::CreateOrReplace | Lead::Plain => {
                Lead::Plain
            }
        };
    }
}

/// Iterator over the statements of a text, from [`statements`].
#[derive(Clone, Debug)]
pub struct Statements<'a> {
    text: &'a [u8],
    lexer: Lexer<'a>,
    boundary: Boundary,
}

/// The byte ranges of the statements of a text that are not empty, each from its first token to
/// its last, without the semicolon and without the space and comments around it.
pub fn statements(text: &[u8], standard_conforming_strings: bool) -> Statements<'_> {
    let lexer = Lexer::new(text, standard_conforming_strings);
    Statements { text, lexer, boundary: Boundary::default() }
}

impl Iterator for Statements<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let mut range: Option<Range<usize>> = None;
        for token in self.lexer.by_ref().filter(Token::is_significant) {
            let ends = self.boundary.feed(token, self.text);
            if ends && range.is_some() {
                break;
            }
            if !ends {
                let start = range.map_or(token.start, |range| range.start);
                range = Some(start..token.end);
            }
        }
        range
    }
}
