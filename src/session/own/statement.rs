//! Statements about howdah's own settings: `SET`, `RESET` and `SHOW` of `howdah.…`. Pure.
//!
//! Owns which texts are such statements and what they say. Whether a value is one that its setting takes
//! is said when it runs, as PostgreSQL does. A text is read as PostgreSQL's scanner reads it; a backslash
//! in a value is refused, as what it means depends on the session.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the few kinds of token that matter to it"
)]

use super::values::PREFIX;
use crate::fault::{Fault, Side};
use crate::sql::{Kind, Lexer, Token, is_word};
use smallvec::SmallVec;

/// Statements about our own settings in one text, at most.
const STATEMENTS_MAX: usize = 64;
/// Tokens of one such statement that are looked at. It has no more than seven with a meaning.
const TOKENS_MAX: usize = 16;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) enum Statement {
    /// SET; without a value to its default.
    Set {
        /// The setting, in lower case, with its prefix.
        name: Box<str>,
        /// Its value.
        value: Option<Box<str>>,
        /// Until the transaction ends.
        is_local: bool,
    },
    /// RESET of this.
    Reset(Box<str>),
    /// SHOW of this.
    Show(Box<str>),
    /// It is about one of them, and makes no sense.
    Malformed(Box<Fault>),
}

pub(super) type Tokens = SmallVec<[Token; TOKENS_MAX]>;

/// Whether a text may be about our own settings, by how it begins.
#[inline]
pub(in crate::session) fn may_be_own(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    match text {
        [b'/', b'*', ..] | [b'-', b'-', ..] | [b';', ..] => true,
        [one, two, three, ..] => {
            let lower = |byte: &u8| byte.to_ascii_lowercase();
            matches!(
                [lower(one), lower(two), lower(three)],
                [b's', b'e', b't'] | [b's', b'h', b'o'] | [b'r', b'e', b's']
            )
        }
        _ => false,
    }
}

/// The statements of a text that is about our own settings and nothing else.
pub(in crate::session) fn own_statements(text: &[u8]) -> Option<Vec<Statement>> {
    let mut all = Vec::new();
    for tokens in statements(text) {
        all.push(statement(&tokens, text)?);
        if all.len() > STATEMENTS_MAX {
            return None;
        }
    }
    (!all.is_empty()).then_some(all)
}

/// Whether some statement of a text is about our own settings, or calls `set_config` for one.
pub(in crate::session) fn mentions_own(text: &[u8]) -> bool {
    has_prefix_somewhere(text)
        && (statements(text).any(|tokens| statement(&tokens, text).is_some())
            || calls_set_config(text))
}

/// Nearly no text does.
fn has_prefix_somewhere(text: &[u8]) -> bool {
    let prefix = PREFIX.trim_end_matches('.').as_bytes();
    memchr::memchr2_iter(b'h', b'H', text).any(|at| {
        let word = text.get(at..at + prefix.len());
        word.is_some_and(|word| word.eq_ignore_ascii_case(prefix))
    })
}

fn calls_set_config(text: &[u8]) -> bool {
    let mut tokens = Lexer::new(text, true).filter(Token::is_significant);
    while let Some(token) = tokens.find(|token| is_word(token.bytes(text), b"set_config")) {
        debug_assert!(token.kind != Kind::Space, "a word");
        let (open, name) = (tokens.next(), tokens.next());
        let opens = open.is_some_and(|token| token.kind == Kind::OpenParen);
        if opens && name.is_some_and(|name| is_own_name(&literal(name, text).unwrap_or_default())) {
            return true;
        }
    }
    false
}

/// Whether this is the name of one of our own settings.
pub(in crate::session) fn is_own_name(name: &str) -> bool {
    let front = name.get(..PREFIX.len());
    front.is_some_and(|front| front.eq_ignore_ascii_case(PREFIX))
}

/// The tokens with a meaning of each statement, as far as they are looked at; empty ones are left out.
pub(super) fn statements(text: &[u8]) -> impl Iterator<Item = Tokens> {
    let mut tokens = Lexer::new(text, true).filter(Token::is_significant).peekable();
    std::iter::from_fn(move || {
        while tokens.next_if(|token| token.kind == Kind::Semicolon).is_some() {}
        tokens.peek()?;
        let mut found = Tokens::new();
        for token in tokens.by_ref().take_while(|token| token.kind != Kind::Semicolon) {
            if found.len() < TOKENS_MAX {
                found.push(token);
            }
        }
        Some(found)
    })
}

/// A statement of ours, while it is read.
struct Reader<'a> {
    text: &'a [u8],
    tokens: &'a [Token],
}

impl<'a> Reader<'a> {
    fn take_word(&mut self, word: &[u8]) -> bool {
        let is_it = self
            .tokens
            .first()
            .is_some_and(|token| token.kind == Kind::Word && is_word(token.bytes(self.text), word));
        if is_it {
            self.take();
        }
        is_it
    }

    fn take(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    /// A name of one part or more. Names of settings are compared without case, even in quotes.
    fn name(&mut self) -> Option<String> {
        let mut name = self.part()?;
        while self.tokens.first().is_some_and(|token| token.kind == Kind::Dot) {
            self.take();
            name = format!("{name}.{}", self.part()?);
        }
        Some(name)
    }

    fn part(&mut self) -> Option<String> {
        let token = self.take()?;
        let bytes = token.bytes(self.text);
        let bytes = match token.kind {
            Kind::Word => bytes,
            Kind::QuotedName => bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?,
            _ => return None,
        };
        Some(std::str::from_utf8(bytes).ok()?.to_ascii_lowercase())
    }

    fn syntax_error(&self) -> Statement {
        let near = self.tokens.first().map(|token| {
            let near = token.bytes(self.text);
            String::from_utf8_lossy(near.get(..40).unwrap_or(near)).into_owned()
        });
        let text = match near {
            Some(near) => format!("syntax error at or near \"{near}\""),
            None => "syntax error at end of input".to_owned(),
        };
        malformed("42601", text)
    }

    fn value(&mut self, name: String, is_local: bool) -> Statement {
        let is_assigned = self.take_word(b"to")
            || self.tokens.first().is_some_and(|token| token.bytes(self.text) == b"=")
                && self.take().is_some();
        if !is_assigned {
            return self.syntax_error();
        }
        if self.take_word(b"default") {
            return self.end(Statement::Set { name: name.into(), value: None, is_local });
        }
        let Some(token) = self.tokens.first().copied() else { return self.syntax_error() };
        let Some(value) = literal(token, self.text).or_else(|| word(token, self.text)) else {
            return if token.bytes(self.text).contains(&b'\\') {
                malformed("22023", format!("invalid value for parameter \"{name}\""))
            } else {
                self.syntax_error()
            };
        };
        self.take();
        if self.tokens.first().is_some_and(|token| token.kind == Kind::Comma) {
            return malformed("22023", format!("SET {name} takes only one argument"));
        }
        self.end(Statement::Set { name: name.into(), value: Some(value.into()), is_local })
    }

    fn end(&self, statement: Statement) -> Statement {
        if self.tokens.is_empty() { statement } else { self.syntax_error() }
    }
}

fn malformed(code: &'static str, text: String) -> Statement {
    Statement::Malformed(Box::new(Fault::query(Side::Client, code, text)))
}

fn statement(tokens: &[Token], text: &[u8]) -> Option<Statement> {
    let mut reader = Reader { text, tokens };
    let own = |reader: &mut Reader<'_>| reader.name().filter(|name| is_own_name(name));
    if reader.take_word(b"set") {
        let is_local = reader.take_word(b"local");
        if !is_local {
            reader.take_word(b"session");
        }
        let name = own(&mut reader)?;
        return Some(reader.value(name, is_local));
    }
    if reader.take_word(b"reset") {
        let name = own(&mut reader)?;
        return Some(reader.end(Statement::Reset(name.into())));
    }
    if reader.take_word(b"show") {
        let name = own(&mut reader)?;
        return Some(reader.end(Statement::Show(name.into())));
    }
    None
}

/// The text in quotes, if it has no backslash and no quote.
fn literal(token: Token, text: &[u8]) -> Option<String> {
    let bytes = token.bytes(text);
    let inner = match token.kind {
        Kind::Text | Kind::EscapeText => {
            let start = memchr::memchr(b'\'', bytes)?;
            bytes.get(start + 1..)?.strip_suffix(b"'")?
        }
        Kind::DollarText => {
            let tag = memchr::memchr(b'$', bytes.get(1..)?)? + 2;
            bytes.get(tag..bytes.len().checked_sub(tag)?)?
        }
        _ => return None,
    };
    let is_plain = memchr::memchr2(b'\\', b'\'', inner).is_none();
    std::str::from_utf8(inner).ok().filter(|_| is_plain).map(str::to_owned)
}

/// A word, a name in quotes or a number as a value.
fn word(token: Token, text: &[u8]) -> Option<String> {
    let bytes = token.bytes(text);
    match token.kind {
        Kind::Word | Kind::Number => {
            std::str::from_utf8(bytes).ok().map(|word| word.to_ascii_lowercase())
        }
        Kind::QuotedName => {
            let inner = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            std::str::from_utf8(inner).ok().filter(|name| !name.contains('"')).map(str::to_owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: Option<&str>, is_local: bool) -> Statement {
        Statement::Set { name: name.into(), value: value.map(Into::into), is_local }
    }

    fn of(text: &str) -> Option<Vec<Statement>> {
        let found = own_statements(text.as_bytes());
        if found.is_some() {
            assert!(may_be_own(text.as_bytes()), "{text}");
            assert!(mentions_own(text.as_bytes()), "{text}");
        }
        found
    }

    #[test]
    fn statements_about_our_own_settings() {
        let route = "howdah.route";
        for (text, expected) in [
            ("SET howdah.route = 'primary'", set(route, Some("primary"), false)),
            ("set session HOWDAH.Route to primary", set(route, Some("primary"), false)),
            ("SET LOCAL howdah.route TO \"primary\" ;", set(route, Some("primary"), true)),
            ("SET \"howdah.route\"='primary'", set(route, Some("primary"), false)),
            ("SET \"howdah\".\"route\"=$$primary$$", set(route, Some("primary"), false)),
            ("SET howdah.route = E'primary'", set(route, Some("primary"), false)),
            ("/* a */ SET -- b\n howdah.route = DEFAULT", set(route, None, false)),
            ("SET howdah.notice = on", set("howdah.notice", Some("on"), false)),
            ("SET howdah.notice = 1", set("howdah.notice", Some("1"), false)),
            ("SET howdah.group = 'Cart-42'", set("howdah.group", Some("Cart-42"), false)),
            ("SET howdah.group = ''", set("howdah.group", Some(""), false)),
            ("SET howdah.colour = 'red'", set("howdah.colour", Some("red"), false)),
            ("RESET howdah.route", Statement::Reset(route.into())),
            (" show howdah.route", Statement::Show(route.into())),
        ] {
            assert_eq!(of(text), Some(vec![expected]), "{text}");
        }
        let both = of(";SET howdah.route = auto;; SHOW howdah.route;").expect("two");
        assert_eq!(both, [set(route, Some("auto"), false), Statement::Show(route.into())]);
    }

    #[test]
    fn what_makes_no_sense_is_still_ours() {
        for (text, code) in [
            ("SET howdah.route", "42601"),
            ("SET howdah.route primary", "42601"),
            ("SET howdah.route =", "42601"),
            ("SET howdah.route = 'a' b", "42601"),
            ("SET howdah.route = (1)", "42601"),
            ("SET howdah.route = 'a', 'b'", "22023"),
            ("SET howdah.group = 'a\\b'", "22023"),
            ("SHOW howdah.route all", "42601"),
            ("RESET howdah.route.", "42601"),
        ] {
            let found = of(text);
            if text.ends_with('.') {
                assert_eq!(found, None, "PostgreSQL says what is wrong");
                continue;
            }
            let found = found.expect(text);
            let [Statement::Malformed(fault)] = &*found else { panic!("{text}: {found:?}") };
            assert_eq!(fault.code, code, "{text}");
        }
    }

    #[test]
    fn other_texts() {
        for text in [
            "",
            ";",
            "SELECT 1",
            "SET work_mem = '1MB'",
            "SET howdah = 1",
            "SET howdahs.route = 1",
            "SHOW ALL",
            "RESET ALL",
            "SET app.howdah.route = 1",
            "SET LOCAL app.x = 'howdah.route'",
            "SET howdah.route = auto; SELECT 1",
            "SET TIME ZONE 'howdah.route'",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn texts_that_do_it_among_other_things() {
        for text in [
            "SET howdah.route = auto; SELECT 1",
            "BEGIN; SET LOCAL \"howdah\".route = auto; COMMIT",
            "SELECT set_config('howdah.route', 'primary', false)",
            "SELECT pg_catalog.SET_CONFIG ( 'Howdah.Route', 'primary', true)",
        ] {
            assert!(mentions_own(text.as_bytes()), "{text}");
        }
        for text in [
            "INSERT INTO notes VALUES ('howdah.route')",
            "SELECT set_config('app.x', 'howdah.route', false)",
            "SELECT 1 /* howdah: primary */",
            "SELECT howdah.route FROM howdah",
        ] {
            assert!(!mentions_own(text.as_bytes()), "{text}");
        }
    }
}
