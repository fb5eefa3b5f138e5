//! The tokens of a text, without space and comments, and within bounds.

use super::verdict::Reason;
use crate::sql::{Kind, Lexer, Rules, Stored, Token, is_word};

/// Bytes of text that are read. What is longer is one long list as a rule.
pub(super) const TEXT_MAX: usize = 16 * 1024;
/// Parentheses and brackets inside of one another.
pub(super) const DEPTH_MAX: usize = 64;
/// Operators and the words that act like them, between two commas of one parenthesis. A parser makes a
/// tree of them that is as deep as the chain is long.
pub(super) const CHAIN_MAX: usize = 256;

/// A run of tokens: a text, or a part of it.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    list: &'a [Token],
}

/// Cuts a text. It has no token that PostgreSQL would refuse, no name with Unicode escapes, and is not
/// too long, too deep, or too long a chain.
pub(super) fn cut(text: &[u8], rules: Rules) -> Result<Vec<Token>, Reason> {
    if text.len() > TEXT_MAX {
        return Err(Reason::TooLong);
    }
    let lexer = Lexer::new(text, rules.are_conforming());
    let mut list = Vec::with_capacity(text.len() / 4);
    let mut chains: Vec<usize> = vec![0];
    for token in lexer.filter(Token::is_significant) {
        match token.kind {
            Kind::Other | Kind::Unterminated => return Err(Reason::Unparsed),
            Kind::UnicodeName => return Err(Reason::EscapedName),
            Kind::OpenParen | Kind::OpenBracket => {
                grow(&mut chains)?;
                chains.push(0);
            }
            Kind::CloseParen | Kind::CloseBracket => {
                chains.pop();
                if chains.is_empty() {
                    return Err(Reason::Unparsed);
                }
            }
            Kind::Comma => reset(&mut chains),
            Kind::Semicolon if chains.len() > 1 => return Err(Reason::Unparsed),
            Kind::Semicolon => reset(&mut chains),
            Kind::Operator | Kind::Cast | Kind::Dot | Kind::Colon => grow(&mut chains)?,
            Kind::Word if is_chained(token.bytes(text)) => grow(&mut chains)?,
            _ => {}
        }
        if chains.len() > DEPTH_MAX {
            return Err(Reason::TooDeep);
        }
        list.push(token);
    }
    if chains.len() == 1 { Ok(list) } else { Err(Reason::Unparsed) }
}

fn grow(chains: &mut [usize]) -> Result<(), Reason> {
    let Some(last) = chains.last_mut() else { return Ok(()) };
    *last = last.saturating_add(1);
    if *last > CHAIN_MAX { Err(Reason::TooDeep) } else { Ok(()) }
}

fn reset(chains: &mut [usize]) {
    if let Some(last) = chains.last_mut() {
        *last = 0;
    }
}

/// Whether a word makes a tree deeper, as an operator does.
fn is_chained(word: &[u8]) -> bool {
    const WORDS: [&[u8]; 17] = [
        b"and",
        b"or",
        b"not",
        b"is",
        b"in",
        b"like",
        b"ilike",
        b"similar",
        b"between",
        b"collate",
        b"union",
        b"except",
        b"intersect",
        b"case",
        b"at",
        b"isnull",
        b"notnull",
    ];
    word.len() <= 9 && WORDS.iter().any(|other| is_word(word, other))
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a [u8], list: &'a [Token]) -> Self {
        Self { text, list }
    }

    pub(super) fn len(self) -> usize {
        self.list.len()
    }

    pub(super) fn get(self, at: usize) -> Option<Token> {
        self.list.get(at).copied()
    }

    pub(super) fn kind(self, at: usize) -> Option<Kind> {
        self.get(at).map(|token| token.kind)
    }

    pub(super) fn bytes(self, at: usize) -> &'a [u8] {
        self.get(at).and_then(|token| self.text.get(token.start..token.end)).unwrap_or_default()
    }

    /// From here to the end.
    pub(super) fn from(self, at: usize) -> Self {
        Self { text: self.text, list: self.list.get(at..).unwrap_or_default() }
    }

    /// Up to here.
    pub(super) fn to(self, at: usize) -> Self {
        Self { text: self.text, list: self.list.get(..at).unwrap_or(self.list) }
    }

    /// Whether a token is this keyword (lower case), without quotes.
    pub(super) fn is(self, at: usize, word: &[u8]) -> bool {
        self.kind(at) == Some(Kind::Word) && is_word(self.bytes(at), word)
    }

    /// Whether the tokens from here on are these keywords.
    pub(super) fn are(self, at: usize, words: &[&[u8]]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.is(at.saturating_add(offset), word))
    }

    pub(super) fn is_name(self, at: usize) -> bool {
        matches!(self.kind(at), Some(Kind::Word | Kind::QuotedName))
    }

    /// The name that a token is, as PostgreSQL stores it.
    pub(super) fn name(self, at: usize) -> Stored {
        let token = self.get(at).unwrap_or(Token { kind: Kind::Other, start: 0, end: 0 });
        Stored::of(token, self.text)
    }

    /// The value of a string, if it is written plainly.
    pub(super) fn plain_text(self, at: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes(at);
        let value = match self.kind(at)? {
            Kind::Text => bytes.strip_prefix(b"'")?.strip_suffix(b"'")?,
            Kind::DollarText => bytes.strip_prefix(b"$$")?.strip_suffix(b"$$")?,
            _ => return None,
        };
        let plain = |byte: &u8| !matches!(byte, b'\'' | b'\\') && !byte.is_ascii_control();
        value.iter().all(plain).then_some(value)
    }

    pub(super) fn is_text(self, at: usize) -> bool {
        matches!(
            self.kind(at),
            Some(Kind::Text | Kind::EscapeText | Kind::DollarText | Kind::UnicodeText)
        )
    }

    /// Behind the parenthesis that opens here.
    pub(super) fn behind_group(self, at: usize) -> usize {
        let mut depth = 0_usize;
        for (offset, token) in self.from(at).list.iter().enumerate() {
            match token.kind {
                Kind::OpenParen => depth = depth.saturating_add(1),
                Kind::CloseParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return at.saturating_add(offset).saturating_add(1);
            }
        }
        self.len()
    }

    /// The statements that are not empty.
    pub(super) fn statements(self) -> impl Iterator<Item = Tokens<'a>> {
        let text = self.text;
        self.list
            .split(|token| token.kind == Kind::Semicolon)
            .filter(|list| !list.is_empty())
            .map(move |list| Tokens { text, list })
    }
}
