//! DEALLOCATE of one prepared statement.

use super::lex::{Kind, Lexer, Token};

/// The name in a text that is `DEALLOCATE [PREPARE] name` and nothing else, as PostgreSQL reads
/// it: folded to lower case unless quoted. `None` for any other text, `DEALLOCATE ALL` included.
pub fn deallocates(text: &[u8]) -> Option<Vec<u8>> {
    let first = text.iter().position(|byte| !byte.is_ascii_whitespace())?;
    // Most texts are told from it by one byte.
    if !matches!(text.get(first), Some(b'd' | b'D' | b'-' | b'/')) {
        return None;
    }
    let mut tokens = Lexer::new(text, true).filter(Token::is_significant);
    let word = |token: &Token, word: &[u8]| {
        token.kind == Kind::Word && token.bytes(text).eq_ignore_ascii_case(word)
    };
    tokens.next().filter(|token| word(token, b"deallocate"))?;
    let mut name = tokens.next()?;
    if word(&name, b"prepare")
        && let Some(next) = tokens.next().filter(|token| token.bytes(text) != b";")
    {
        name = next;
    }
    let ends = tokens.all(|token| token.bytes(text) == b";");
    let bytes = name.bytes(text);
    match name.kind {
        Kind::Word if ends && !word(&name, b"all") => Some(bytes.to_ascii_lowercase()),
        Kind::QuotedName if ends => Some(unquoted(bytes)),
        _ => None,
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
    use super::deallocates;

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        for (text, name) in [
            ("DEALLOCATE s1", Some("s1")),
            ("deallocate PREPARE S1;", Some("s1")),
            (" /* a */ DEALLOCATE \"Mixed\"\"Case\" -- b", Some("Mixed\"Case")),
            ("DEALLOCATE \"all\"", Some("all")),
            ("DEALLOCATE prepare", Some("prepare")),
            ("DEALLOCATE ALL", None),
            ("DEALLOCATE PREPARE ALL", None),
            ("DEALLOCATE a; SELECT 1", None),
            ("DEALLOCATE", None),
            ("DELETE FROM t", None),
            ("SELECT 1", None),
        ] {
            assert_eq!(deallocates(text.as_bytes()).as_deref(), name.map(str::as_bytes), "{text}");
        }
    }
}
