//! Statements that name a prepared statement: DEALLOCATE and EXECUTE.

use super::lex::{Kind, Lexer, Token};
use std::ops::Range;

/// What a text does with a prepared statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// DEALLOCATE.
    Deallocate,
    /// EXECUTE.
    Execute,
}

/// A prepared statement in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStatement {
    /// What is done with it.
    pub verb: Verb,
    /// Its name, as PostgreSQL reads it: folded to lower case unless quoted.
    pub name: Vec<u8>,
    /// Where the name stands in the text.
    pub place: Range<usize>,
}

/// The prepared statement that a text names which is one DEALLOCATE or one EXECUTE and nothing
/// else. `None` for any other text, `DEALLOCATE ALL` included.
pub fn named_statement(text: &[u8]) -> Option<NamedStatement> {
    let first = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    // Most texts are told from them by one byte.
    if !matches!(text.get(first), Some(b'd' | b'D' | b'e' | b'E' | b'-' | b'/')) {
        return None;
    }
    let mut tokens = Lexer::new(text, true).filter(Token::is_significant);
    let word = |token: &Token, word: &[u8]| {
        token.kind == Kind::Word && token.bytes(text).eq_ignore_ascii_case(word)
    };
    let is_end = |token: &Token| token.bytes(text) == b";";
    let start = tokens.next()?;
    let verb = if word(&start, b"deallocate") {
        Verb::Deallocate
    } else if word(&start, b"execute") {
        Verb::Execute
    } else {
        return None;
    };
    let mut name = tokens.next()?;
    if verb == Verb::Deallocate
        && word(&name, b"prepare")
        && let Some(next) = tokens.next().filter(|token| !is_end(token))
    {
        name = next;
    }
    let mut ended = false;
    for token in tokens {
        let end = is_end(&token);
        if !end && (ended || verb == Verb::Deallocate) {
            return None;
        }
        ended |= end;
    }
    let bytes = name.bytes(text);
    let read = match name.kind {
        Kind::Word if verb == Verb::Deallocate && word(&name, b"all") => return None,
        Kind::Word => bytes.to_ascii_lowercase(),
        Kind::QuotedName => unquoted(bytes),
        _ => return None,
    };
    Some(NamedStatement { verb, name: read, place: name.start..name.end })
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
    use super::{Verb, named_statement};

    fn seen(text: &str) -> Option<(Verb, String)> {
        let found = named_statement(text.as_bytes())?;
        assert!(text.get(found.place).is_some());
        Some((found.verb, String::from_utf8(found.name).unwrap()))
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
            assert_eq!(seen(text), Some((Verb::Deallocate, name.to_owned())), "{text}");
        }
        for (text, name) in [("EXECUTE s1", "s1"), ("execute \"A\"(1, ';');", "A")] {
            assert_eq!(seen(text), Some((Verb::Execute, name.to_owned())), "{text}");
        }
    }

    #[test]
    fn other_texts_name_none() {
        for text in [
            "DEALLOCATE ALL",
            "DEALLOCATE PREPARE ALL",
            "DEALLOCATE a; SELECT 1",
            "DEALLOCATE",
            "DELETE FROM t",
            "EXECUTE a; SELECT 1",
            "EXPLAIN EXECUTE a",
            "SELECT 1",
            "",
        ] {
            assert_eq!(seen(text), None, "{text}");
        }
    }
}
