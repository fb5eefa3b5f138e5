//! A query as the parser is given it: PostgreSQL's tokens as our lexer cuts them, without values, and
//! with what the parser does not know in words that it knows.
//!
//! So quotes, escapes and comments cannot be misread, and no literal is long. What a value is matters
//! to no verdict but by [`super::reader`], which has seen it.

use super::tokens::Tokens;
use super::verdict::Reason;
use crate::sql::Kind;

/// How one token is spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Spell {
    /// As it is, without its value.
    #[default]
    Same,
    /// Not at all.
    Nothing,
    /// Like this.
    As(&'static str),
    /// As it is, and this behind it.
    With(&'static str),
}

/// How each token is spelled.
#[derive(Clone, Debug)]
pub(super) struct Spelling {
    list: Vec<Spell>,
}

impl Spelling {
    pub(super) fn new(count: usize) -> Self {
        Self { list: vec![Spell::Same; count] }
    }

    pub(super) fn set(&mut self, at: usize, spell: Spell) {
        if let Some(slot) = self.list.get_mut(at) {
            *slot = spell;
        }
    }

    /// The text for the parser.
    pub(super) fn render(&self, tokens: Tokens<'_>) -> Result<String, Reason> {
        let mut text = String::with_capacity(self.list.len().saturating_mul(6));
        let mut after_dot = true;
        for (at, spell) in self.list.iter().enumerate() {
            let kind = tokens.kind(at).ok_or(Reason::Unparsed)?;
            let word = match (spell, kind) {
                (Spell::Nothing, _) => continue,
                (Spell::As(other), _) => other,
                (_, Kind::Text | Kind::EscapeText | Kind::DollarText) => "''",
                (_, Kind::UnicodeText | Kind::BitText) => "''",
                (_, Kind::Number) => "1",
                (Spell::Same | Spell::With(_), _) => {
                    std::str::from_utf8(tokens.bytes(at)).map_err(|_| Reason::Unparsed)?
                }
            };
            if !after_dot && kind != Kind::Dot {
                text.push(' ');
            }
            text.push_str(word);
            if let Spell::With(more) = spell {
                text.push(' ');
                text.push_str(more);
            }
            after_dot = kind == Kind::Dot;
        }
        Ok(text)
    }
}
