//! Each token of a text as it passes: which names it mentions, and which of its strings look like
//! the name of a setting.
//!
//! Owns the questions to the [`Vocabulary`](super::vocabulary::Vocabulary). A name counts wherever it
//! stands: as a table, a function, a column that is a call, a type. Never decides what a statement is.

use super::lex::{Kind, Token};
use super::scan::Scan;
use super::words::{NAME_MAX, Stored, is_word};

/// Strings that look like names of settings and are kept: PostgreSQL takes any number.
const LITERALS_MAX: usize = 64;
/// Longest of them.
const LITERAL_MAX: usize = 2 * NAME_MAX + 1;

impl Scan<'_> {
    /// Every significant token of a statement passes here once.
    #[inline]
    pub(super) fn mention(&mut self, token: Token) {
        match token.kind {
            Kind::Word => self.mention_word(token),
            Kind::QuotedName => self.mention_quoted(token),
            Kind::UnicodeName => {
                self.mentions.pg_settings = true;
                self.mentions.meaning |= self.vocabulary.unreadable_word();
                self.place(token, b"");
            }
            Kind::Operator => {
                let symbol = token.bytes(self.text);
                self.mentions.meaning |= self.vocabulary.operator(symbol);
                self.place(token, symbol);
            }
            Kind::Text | Kind::DollarText | Kind::EscapeText | Kind::UnicodeText => {
                self.mention_string(token);
                self.place(token, b"");
            }
            _ => self.place(token, b""),
        }
    }

    #[inline]
    fn mention_word(&mut self, token: Token) {
        let word = token.bytes(self.text);
        if matches!(word.len(), 4 | 5 | 6 | 11) {
            self.keyword(word);
        }
        let name = Stored::of_word(word);
        if self.is_known {
            self.identifier(name.bytes());
        } else {
            self.foreign_word(name.bytes());
        }
        self.place(token, name.bytes());
    }

    fn keyword(&mut self, word: &[u8]) {
        let mentions = &mut self.mentions;
        match word.first().map(|byte| byte | 0x20) {
            Some(b'u') if is_word(word, b"update") => {
                (mentions.writes, mentions.updates) = (true, true);
            }
            Some(b'm') if is_word(word, b"merge") => {
                (mentions.writes, mentions.updates) = (true, true);
            }
            Some(b'i') => mentions.writes |= is_word(word, b"insert"),
            Some(b'd') => mentions.writes |= is_word(word, b"delete"),
            Some(b'c') => mentions.writes |= is_word(word, b"copy"),
            Some(b'p') => mentions.pg_settings |= is_word(word, b"pg_settings"),
            _ => {}
        }
    }

    fn mention_quoted(&mut self, token: Token) {
        let bytes = token.bytes(self.text);
        let inner = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
        self.mentions.pg_settings |= inner == b"pg_settings";
        let name = Stored::of_quoted(inner);
        self.identifier(name.bytes());
        self.here.places.is_unknown |= !self.is_known;
        self.place(token, name.bytes());
    }

    fn identifier(&mut self, name: &[u8]) {
        self.mentions.meaning |= self.vocabulary.word(name);
    }

    fn mention_string(&mut self, token: Token) {
        self.mentions.has_string = true;
        let bytes = token.bytes(self.text);
        if bytes.len() > LITERAL_MAX + 4 || self.mentions.literals.len() >= LITERALS_MAX {
            return;
        }
        let Some(name) = self.literal(token).filter(|name| is_custom_setting(name)) else { return };
        self.literal_setting(&name);
    }

    /// A string, or a name in a body, that may be the name of a custom setting.
    pub(super) fn literal_setting(&mut self, name: &str) {
        let literals = &mut self.mentions.literals;
        let fits = literals.len() < LITERALS_MAX;
        if fits && !literals.iter().any(|known| **known == *name) {
            literals.push(name.into());
        }
    }
}

/// Whether a lower-case name is that of a custom setting: two or more names with dots between.
pub(super) fn is_custom_setting(name: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|sign: char| sign.is_ascii_alphabetic() || sign == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
    };
    name.contains('.') && name.split('.').all(is_name)
}
