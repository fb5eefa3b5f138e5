//! Statements that name a prepared statement: PREPARE, EXECUTE, DEALLOCATE, and DISCARD ALL, which
//! drops all of them; wherever they stand in a text.

use super::boundary::statements;
use super::lex::{Kind, Lexer, Token};
use super::rules::Rules;
use super::words::{NAME_MAX, is_word};
use std::ops::Range;

/// What a text does with prepared statements, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mention {
    /// `PREPARE name [(types)] AS query`.
    Prepare {
        /// The name.
        name: Name,
        /// The parenthesis with the types, if there is one.
        types: Option<Range<usize>>,
        /// The query.
        query: Range<usize>,
    },
    /// `EXECUTE name`, alone, in EXPLAIN, or in CREATE TABLE … AS.
    Execute(Name),
    /// `DEALLOCATE [PREPARE] name`.
    Deallocate(Name),
    /// `DEALLOCATE [PREPARE] ALL`.
    DeallocateAll,
    /// `DISCARD ALL`.
    DiscardAll,
}

/// A prepared statement's name in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As PostgreSQL reads it: folded to lower case unless quoted, and cut to its longest length.
    pub bytes: Vec<u8>,
    /// The name before it was cut, if it was.
    pub uncut: Option<Vec<u8>>,
    /// Where it stands.
    pub place: Range<usize>,
}

impl Name {
    /// Cuts a name where PostgreSQL does: not inside of a character.
    fn cut(bytes: Vec<u8>, place: Range<usize>) -> Self {
        if bytes.len() <= NAME_MAX {
            return Self { bytes, uncut: None, place };
        }
        let mut end = NAME_MAX;
        while end > 0 && bytes.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end = end.saturating_sub(1);
        }
        let cut = bytes.get(..end).unwrap_or_default().to_vec();
        Self { bytes: cut, uncut: Some(bytes), place }
    }
}

/// Everything that a text does with prepared statements, in the order in which it stands there.
pub fn mentions(text: &[u8], rules: Rules) -> Vec<Mention> {
    let all = statements(text, rules.are_conforming());
    all.filter_map(|place| Reader::new(text, place, rules).mention()).collect()
}

/// Tokens but for comments and white space.
type Tokens<'a> = std::iter::Peekable<std::iter::Filter<Lexer<'a>, fn(&Token) -> bool>>;

/// One statement.
struct Reader<'a> {
    text: &'a [u8],
    place: Range<usize>,
    lexer: Tokens<'a>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8], place: Range<usize>, rules: Rules) -> Self {
        let own = text.get(place.clone()).unwrap_or_default();
        let is_significant: fn(&Token) -> bool = Token::is_significant;
        let lexer = Lexer::new(own, rules.are_conforming()).filter(is_significant).peekable();
        Self { text: own, place, lexer }
    }

    fn is(&self, token: Option<Token>, word: &[u8]) -> bool {
        token.is_some_and(|t| t.kind == Kind::Word && is_word(t.bytes(self.text), word))
    }

    fn accept(&mut self, word: &[u8]) -> bool {
        let next = self.lexer.peek().copied();
        let found = self.is(next, word);
        if found {
            self.lexer.next();
        }
        found
    }

    fn mention(&mut self) -> Option<Mention> {
        let first = self.lexer.next()?;
        match first.bytes(self.text).to_ascii_lowercase().as_slice() {
            b"prepare" => self.prepare(),
            b"execute" => self.name().map(Mention::Execute),
            b"deallocate" => self.deallocate(),
            b"discard" => self.accept(b"all").then_some(Mention::DiscardAll),
            b"explain" => self.explain(),
            b"create" => self.create(),
            _ => None,
        }
    }

    /// Where a token stands in the whole text.
    fn outer(&self, token: Token) -> Range<usize> {
        let start = self.place.start;
        start.saturating_add(token.start)..start.saturating_add(token.end)
    }

    fn name(&mut self) -> Option<Name> {
        let token = self.lexer.next()?;
        let bytes = token.bytes(self.text);
        let bytes = match token.kind {
            Kind::Word => bytes.to_ascii_lowercase(),
            Kind::QuotedName => unquoted(bytes),
            _ => return None,
        };
        Some(Name::cut(bytes, self.outer(token)))
    }

    /// Behind PREPARE. `PREPARE TRANSACTION 'x'` is another command.
    fn prepare(&mut self) -> Option<Mention> {
        let name = self.name()?;
        let mut types = None;
        let token = self.lexer.next()?;
        if token.kind == Kind::OpenParen {
            let start = self.outer(token).start;
            types = Some(start..self.group()?);
            let next = self.lexer.next();
            if !self.is(next, b"as") {
                return None;
            }
        } else if !self.is(Some(token), b"as") {
            return None;
        }
        let query = self.lexer.peek().copied()?;
        let query = self.outer(query).start..self.place.end;
        Some(Mention::Prepare { name, types, query })
    }

    /// Behind an open parenthesis: where its group ends.
    fn group(&mut self) -> Option<usize> {
        let mut depth = 1_u32;
        while let Some(token) = self.lexer.next() {
            match token.kind {
                Kind::OpenParen => depth = depth.saturating_add(1),
                Kind::CloseParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return Some(self.outer(token).end);
            }
        }
        None
    }

    fn deallocate(&mut self) -> Option<Mention> {
        let mut token = self.lexer.peek().copied();
        if self.is(token, b"prepare") {
            self.lexer.next();
            let Some(next) = self.lexer.peek().copied() else {
                // A statement of that name.
                let place = self.outer(token?);
                return Some(Mention::Deallocate(Name::cut(b"prepare".to_vec(), place)));
            };
            token = Some(next);
        }
        if self.is(token, b"all") {
            return Some(Mention::DeallocateAll);
        }
        self.name().map(Mention::Deallocate)
    }

    /// `EXPLAIN [(options)] [ANALYZE] [VERBOSE] EXECUTE name`
    fn explain(&mut self) -> Option<Mention> {
        if self.lexer.peek().is_some_and(|token| token.kind == Kind::OpenParen) {
            self.lexer.next();
            self.group()?;
        }
        while self.accept(b"analyze") || self.accept(b"analyse") || self.accept(b"verbose") {}
        if self.accept(b"execute") {
            return self.name().map(Mention::Execute);
        }
        if self.accept(b"create") { self.create() } else { None }
    }

    /// `CREATE … TABLE name … AS EXECUTE name`
    fn create(&mut self) -> Option<Mention> {
        while let Some(token) = self.lexer.next() {
            if token.kind == Kind::OpenParen {
                self.group()?;
            } else if self.is(Some(token), b"as") && self.accept(b"execute") {
                return self.name().map(Mention::Execute);
            }
        }
        None
    }
}

fn unquoted(quoted: &[u8]) -> Vec<u8> {
    let inner = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let mut out = Vec::new();
    let mut bytes = inner.unwrap_or(quoted).iter();
    while let Some(&byte) = bytes.next() {
        out.push(byte);
        if byte == b'"' {
            bytes.next();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Mention, Name, mentions};
    use crate::sql::Rules;

    /// What is mentioned, in short.
    fn seen(text: &str) -> Vec<String> {
        let bytes = text.as_bytes();
        let show = |verb: &str, name: &Name| {
            assert!(text.get(name.place.clone()).is_some());
            format!("{verb} {}", String::from_utf8_lossy(&name.bytes))
        };
        let all = mentions(bytes, Rules::STANDARD).into_iter();
        all.map(|mention| match mention {
            Mention::Prepare { name, types, query } => {
                let types = types.map_or("", |types| &text[types]);
                format!("{}{types}: {}", show("prepare", &name), &text[query])
            }
            Mention::Execute(name) => show("execute", &name),
            Mention::Deallocate(name) => show("deallocate", &name),
            Mention::DeallocateAll => "deallocate all".to_owned(),
            Mention::DiscardAll => "discard all".to_owned(),
        })
        .collect()
    }

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        for (text, name) in [
            ("DEALLOCATE s1", "s1"),
            ("deallocate PREPARE S1;", "s1"),
            (" /* a */ DEALLOCATE \"Mixed\"\"Case\" -- b", "Mixed\"Case"),
            ("DEALLOCATE \"all\"", "all"),
            ("DEALLOCATE prepare", "prepare"),
        ] {
            assert_eq!(seen(text), [format!("deallocate {name}")], "{text}");
        }
        for (text, name) in [
            ("EXECUTE s1", "s1"),
            ("execute \"A\"(1, ';');", "A"),
            ("EXPLAIN EXECUTE a", "a"),
            ("EXPLAIN (ANALYZE, COSTS off) EXECUTE a(1)", "a"),
            ("EXPLAIN ANALYZE VERBOSE EXECUTE a", "a"),
            ("CREATE TABLE x AS EXECUTE a", "a"),
            ("CREATE TEMP TABLE IF NOT EXISTS x (p, q) WITH (fillfactor = 10) AS EXECUTE a", "a"),
            ("EXPLAIN CREATE TABLE x AS EXECUTE a", "a"),
        ] {
            assert_eq!(seen(text), [format!("execute {name}")], "{text}");
        }
    }

    #[test]
    fn a_text_of_several_statements_mentions_several() {
        let text = "PREPARE a AS SELECT 1; EXECUTE a; SELECT ';'; EXECUTE b; DEALLOCATE a; DEALLOCATE ALL; DISCARD ALL";
        let expected = [
            "prepare a: SELECT 1",
            "execute a",
            "execute b",
            "deallocate a",
            "deallocate all",
            "discard all",
        ];
        assert_eq!(seen(text), expected);
    }

    #[test]
    fn prepare_has_types_and_a_query() {
        assert_eq!(
            seen("PREPARE q (int, numeric(1, 2)) AS UPDATE t SET a = $1 ; SELECT 1"),
            ["prepare q(int, numeric(1, 2)): UPDATE t SET a = $1"]
        );
    }

    #[test]
    fn other_texts_mention_none() {
        for text in [
            "DEALLOCATE",
            "DELETE FROM t",
            "SELECT 'EXECUTE a'",
            "PREPARE TRANSACTION 'a'",
            "DISCARD PLANS",
            "CREATE TABLE x AS SELECT 1",
            "CREATE TABLE x (execute int)",
            "SELECT 1",
            "",
        ] {
            assert_eq!(seen(text), [""; 0], "{text}");
        }
    }
}
