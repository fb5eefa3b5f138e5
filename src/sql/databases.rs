//! Databases that PostgreSQL wants nobody else to be connected to.
//!
//! DROP DATABASE, ALTER DATABASE … RENAME and … SET TABLESPACE fail with 55006 while others are
//! connected, and so does CREATE DATABASE while others are connected to its template. Finds the
//! names in a text of any number of statements. A name too many costs some idle connections, so a
//! text that PostgreSQL refuses may give names too.

use super::lex::{Kind, Lexer, Token};
use super::words::{NAME_MAX, is_word};

/// What CREATE DATABASE copies unless it is told otherwise.
const DEFAULT_TEMPLATE: &str = "template1";

/// The databases that the statements of the text need to be empty of others, in the order of the text.
/// Names are as PostgreSQL stores them: folded, unquoted, and cut after 63 bytes. A name that is not
/// UTF-8 is left out.
pub fn databases_vacated(text: &[u8], standard_conforming_strings: bool) -> Vec<String> {
    let mut words =
        Words { text, tokens: Lexer::new(text, standard_conforming_strings), next: None };
    words.advance();
    let mut names = Vec::new();
    while words.next.is_some() {
        names.extend(words.statement());
        words.skip_statement();
    }
    names
}

/// The significant tokens of a text.
struct Words<'a> {
    text: &'a [u8],
    tokens: Lexer<'a>,
    next: Option<Token>,
}

impl Words<'_> {
    fn advance(&mut self) {
        self.next = self.tokens.find(Token::is_significant);
    }

    /// The next token of this statement, which is taken.
    fn take(&mut self) -> Option<Token> {
        let token = self.next.filter(|token| token.kind != Kind::Semicolon)?;
        self.advance();
        Some(token)
    }

    /// Whether the next token is this unquoted word, which is taken then.
    fn accept(&mut self, keyword: &[u8]) -> bool {
        let is_it = self.next.is_some_and(|token| {
            token.kind == Kind::Word && is_word(token.bytes(self.text), keyword)
        });
        if is_it {
            self.advance();
        }
        is_it
    }

    fn accept_operator(&mut self, operator: &[u8]) {
        let is_it =
            |token: Token| token.kind == Kind::Operator && token.bytes(self.text) == operator;
        if self.next.is_some_and(is_it) {
            self.advance();
        }
    }

    fn skip_statement(&mut self) {
        while self.take().is_some() {}
        self.advance();
    }

    /// The database that the statement, which begins here, needs for itself.
    fn statement(&mut self) -> Option<String> {
        if self.accept(b"drop") && self.accept(b"database") {
            // A database may be called "if".
            let first = self.name();
            let is_if = first.as_deref() == Some("if");
            return if is_if && self.accept(b"exists") { self.name() } else { first };
        }
        if self.accept(b"alter") && self.accept(b"database") {
            let name = self.name();
            let empties =
                self.accept(b"rename") || self.accept(b"set") && self.accept(b"tablespace");
            return name.filter(|_| empties);
        }
        if self.accept(b"create") && self.accept(b"database") {
            self.name();
            return self.template();
        }
        None
    }

    /// The template among the options of CREATE DATABASE.
    fn template(&mut self) -> Option<String> {
        self.accept(b"with");
        let mut template = Some(DEFAULT_TEMPLATE.to_owned());
        while self.next.is_some_and(|token| token.kind != Kind::Semicolon) {
            let is_limit = self.accept(b"connection") && self.accept(b"limit");
            let option = if is_limit { None } else { self.name() };
            self.accept_operator(b"=");
            if option.as_deref() != Some("template") {
                self.accept_operator(b"-");
                self.take()?;
            } else if !self.accept(b"default") {
                template = self.name();
            }
        }
        template
    }

    /// The next token as a name; strings stand for names among options.
    fn name(&mut self) -> Option<String> {
        let token = self.take()?;
        let bytes = token.bytes(self.text);
        let decoded = match token.kind {
            Kind::Word => std::str::from_utf8(bytes).ok()?.to_ascii_lowercase(),
            Kind::QuotedName => unquoted(bytes.get(1..)?, '"')?,
            Kind::Text | Kind::EscapeText => {
                let quote = bytes.iter().position(|byte| *byte == b'\'')?;
                unquoted(bytes.get(quote + 1..)?, '\'')?
            }
            Kind::UnicodeName => {
                let name = unquoted(bytes.get(3..)?, '"')?;
                let escape = self.unicode_escape().unwrap_or('\\');
                unescaped(&name, escape)?
            }
            _ => return None,
        };
        Some(cut(decoded))
    }

    /// Behind a `U&"…"`: the character of `UESCAPE '!'`.
    fn unicode_escape(&mut self) -> Option<char> {
        if !self.accept(b"uescape") {
            return None;
        }
        let token = self.take()?;
        let text = std::str::from_utf8(token.bytes(self.text)).ok()?;
        text.trim_matches('\'').chars().next()
    }
}

/// The inside of a quoted token without its first quote: doubled quotes are one.
fn unquoted(rest: &[u8], quote: char) -> Option<String> {
    let rest = std::str::from_utf8(rest).ok()?;
    let inner = rest.strip_suffix(quote)?;
    Some(inner.replace(&[quote, quote].iter().collect::<String>(), quote.encode_utf8(&mut [0; 4])))
}

/// Decodes `\0061` and `\+000061`; an escape that is doubled is itself.
fn unescaped(text: &str, escape: char) -> Option<String> {
    let (mut decoded, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(escape) {
        decoded.push_str(rest.get(..at)?);
        rest = rest.get(at + escape.len_utf8()..)?;
        if let Some(behind) = rest.strip_prefix(escape) {
            decoded.push(escape);
            rest = behind;
            continue;
        }
        let (digits, width) = match rest.strip_prefix('+') {
            Some(digits) => (digits, 6),
            None => (rest, 4),
        };
        let code = u32::from_str_radix(digits.get(..width)?, 16).ok()?;
        decoded.push(char::from_u32(code)?);
        rest = digits.get(width..)?;
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// PostgreSQL cuts names in front of the character that does not fit.
fn cut(mut name: String) -> String {
    let end = (0..=NAME_MAX.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name.truncate(end.unwrap_or(0));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> String {
        databases_vacated(text.as_bytes(), true).join(" ")
    }

    #[test]
    fn the_database_that_a_statement_needs_for_itself() {
        let long = "x".repeat(70);
        let long_name = "x".repeat(63);
        for (text, wanted) in [
            ("DROP DATABASE Shop", "shop"),
            ("drop /* now */ database if exists \"Shop\" with (force);", "Shop"),
            ("DROP DATABASE if", "if"),
            ("DROP DATABASE \"a\"\"b\"", "a\"b"),
            (&format!("DROP DATABASE {long}"), &long_name),
            ("DROP DATABASE U&\"sh\\006Fp\"", "shop"),
            ("DROP DATABASE U&\"sh!+00006Fp!!\" UESCAPE '!'", "shop!"),
            ("ALTER DATABASE shop RENAME TO store", "shop"),
            ("ALTER DATABASE shop SET TABLESPACE fast", "shop"),
            ("ALTER DATABASE shop SET work_mem = '1MB'", ""),
            ("ALTER DATABASE shop OWNER TO rename", ""),
            ("CREATE DATABASE copy TEMPLATE shop", "shop"),
            (
                "CREATE DATABASE copy WITH OWNER = template TEMPLATE = 'Shop' CONNECTION LIMIT -1",
                "Shop",
            ),
            (
                "CREATE DATABASE copy CONNECTION LIMIT = -1 TEMPLATE \"Shop\" ENCODING 'UTF8'",
                "Shop",
            ),
            ("CREATE DATABASE copy", "template1"),
            ("CREATE DATABASE copy WITH TEMPLATE DEFAULT OWNER me", "template1"),
            ("SELECT 1; DROP DATABASE a; DROP DATABASE b", "a b"),
            ("", ""),
            (";;", ""),
            ("DROP DATABASE", ""),
            ("DROP DATABASE 1", ""),
            ("DROP DATABASE \"open", ""),
            ("DROP TABLE database", ""),
            ("SELECT 'DROP DATABASE a'", ""),
            ("SELECT $$; DROP DATABASE a$$ -- ; DROP DATABASE b", ""),
            ("CREATE DATABASE copy TEMPLATE", ""),
            ("CREATE DATABASE copy OWNER", ""),
            ("COMMENT ON DATABASE a IS 'b'", ""),
        ] {
            assert_eq!(names(text), wanted, "{text}");
        }
    }

    #[test]
    fn names_that_are_not_utf_8_are_left_out() {
        assert_eq!(databases_vacated(b"DROP DATABASE \xe9", true), [""; 0]);
        assert_eq!(databases_vacated(b"DROP DATABASE \"\xe9\"; DROP DATABASE b", true), ["b"]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(0u8.., 0..200)) {
            for prefix in ["DROP DATABASE ", "CREATE DATABASE a ", "ALTER DATABASE U&\""] {
                let text = [prefix.as_bytes(), &bytes].concat();
                databases_vacated(&text, true);
                databases_vacated(&text, false);
            }
        }
    }
}
