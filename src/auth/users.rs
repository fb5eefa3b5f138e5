//! The user list (`auth_file`) in PgBouncer's format.
//!
//! Each line holds `"name" "secret"`; two double quotes inside stand for one. Lines that begin with
//! `;` and empty lines are skipped, and so is whatever stands between and behind the two strings.
//! Where a name occurs twice the last line counts. Unlike PgBouncer, which stops at the first broken
//! line and goes on with the users above it, a broken list is refused as a whole with all its errors,
//! and a string may not span lines (a forgotten quote would swallow the users below it).

use std::collections::HashMap;
use std::fmt;

use memchr::memchr;
use thiserror::Error;
use zeroize::Zeroizing;

use super::stored_secret::{Secret, SecretError};

/// Longest name in a user list, in bytes, as in PgBouncer.
const MAX_NAME_BYTES: usize = 127;

/// Who may log in, with which secret. A reload makes a new value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Users {
    secrets: HashMap<Box<[u8]>, Secret>,
}

impl Users {
    /// Reads a user list. The caller should overwrite `text` afterwards.
    ///
    /// # Errors
    /// Every line that cannot be read, with its number; never with any of its text.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<LineError>> {
        let mut users = Self::default();
        let mut errors = Vec::new();
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            match parse_line(line) {
                Ok(Some((name, secret))) => {
                    users.insert(&name, secret);
                }
                Ok(None) => {}
                Err(fault) => errors.push(LineError { line: number, fault }),
            }
        }
        if errors.is_empty() { Ok(users) } else { Err(errors) }
    }

    /// The secret of the user with exactly this name.
    #[must_use]
    pub fn secret(&self, user: &[u8]) -> Option<&Secret> {
        self.secrets.get(user)
    }

    /// Adds a user, or replaces the secret of one.
    pub fn insert(&mut self, user: &[u8], secret: Secret) {
        self.secrets.insert(user.into(), secret);
    }

    /// All users with their secrets, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Secret)> {
        self.secrets.iter().map(|(name, secret)| (name.as_ref(), secret))
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether there are no users.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Whether most users log in by SCRAM when the method is `md5`, so that one who does not exist
    /// should be asked for it as well.
    #[must_use]
    pub fn unknown_shape(&self) -> super::UnknownShape {
        let scram =
            self.secrets.values().filter(|secret| matches!(secret, Secret::Scram(_))).count();
        if scram.saturating_mul(2) > self.len() {
            super::UnknownShape::Scram
        } else {
            super::UnknownShape::Md5
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn parse_line(line: &[u8]) -> Result<Option<(Vec<u8>, Secret)>, LineFault> {
    // C's isspace, which also skips a vertical tab.
    let blanks = line.iter().take_while(|b| b.is_ascii_whitespace() || **b == 0x0b).count();
    let line = line.get(blanks..).unwrap_or_default();
    if line.is_empty() || line.starts_with(b";") {
        return Ok(None);
    }
    let rest = line.strip_prefix(b"\"").ok_or(LineFault::NoOpeningQuote)?;
    let (name, rest) = quoted(rest).ok_or(LineFault::NameUnclosed)?;
    check_name(&name)?;
    let quote = memchr(b'"', rest).ok_or(LineFault::SecretMissing)?;
    let rest = rest.get(quote..).and_then(|rest| rest.strip_prefix(b"\"")).unwrap_or_default();
    let (secret, _) = quoted(rest).ok_or(LineFault::SecretUnclosed)?;
    Ok(Some((name.to_vec(), Secret::parse(&secret)?)))
}

fn check_name(name: &[u8]) -> Result<(), LineFault> {
    if name.is_empty() {
        return Err(LineFault::NameEmpty);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(LineFault::NameTooLong);
    }
    if name.contains(&0) {
        return Err(LineFault::NameNul);
    }
    Ok(())
}

/// The string up to the closing quote, and what follows it.
fn quoted(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, &[u8])> {
    // Room for all of it at once: a vector that grows would leave copies behind.
    let mut string = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    loop {
        let (chunk, tail) = rest.split_at_checked(memchr(b'"', rest)?)?;
        string.extend_from_slice(chunk);
        match tail {
            [b'"', b'"', after @ ..] => {
                string.push(b'"');
                rest = after;
            }
            [_, after @ ..] => return Some((string, after)),
            [] => return None,
        }
    }
}

/// A line of a user list that cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {fault}")]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: LineFault,
}

/// What is wrong with a line. Never holds any of it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LineFault {
    /// Neither a string nor a comment.
    #[error("expected \"name\" \"secret\" in double quotes, or a comment beginning with ;")]
    NoOpeningQuote,
    /// The name goes on to the end of the line.
    #[error("the closing double quote of the name is missing on this line")]
    NameUnclosed,
    /// PostgreSQL has no such user.
    #[error("the name is empty")]
    NameEmpty,
    /// More than 127 bytes.
    #[error("the name is longer than 127 bytes")]
    NameTooLong,
    /// A startup packet could not carry it.
    #[error("the name contains a zero byte")]
    NameNul,
    /// Only one string.
    #[error("the secret is missing: put it in double quotes behind the name, on the same line")]
    SecretMissing,
    /// The secret goes on to the end of the line.
    #[error(
        "the closing double quote of the secret is missing on this line (a quote inside is doubled)"
    )]
    SecretUnclosed,
    /// The secret itself.
    #[error("the secret {0}")]
    Secret(#[from] SecretError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Password, UnknownShape};
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let users = Users::parse(text.as_bytes()).expect("a valid list");
        assert_eq!(users.len(), expect.len(), "{text}");
        for (name, password) in expect {
            let expect = Secret::Plain(Password::new(password.as_bytes()));
            assert_eq!(users.secret(name.as_bytes()), Some(&expect), "{name}");
        }
    }

    fn check_fault(text: &[u8], line: usize, fault: LineFault) {
        assert_eq!(Users::parse(text), Err(vec![LineError { line, fault }]), "{text:?}");
    }

    #[test]
    fn what_pgbouncer_reads_is_read() {
        check("", &[]);
        check("\"bob\" \"x\"", &[("bob", "x")]);
        check(
            "; users\n\n  \t\"bob\" \"x\"\r\n\x0b;c\n\"eve\"\"y\" \"z\"\n",
            &[("bob", "x"), ("eve\"y", "z")],
        );
        check("\"bob\" \"say \"\"hi\"\"\" ; trailing \"junk\"\n", &[("bob", "say \"hi\"")]);
        check("\"bob\" md5 \"x\"\n", &[("bob", "x")]);
        check("\"bob\" \"\"\n", &[("bob", "")]);
        check("\"bob\" \"old\"\n\"bob\" \"new\"\n", &[("bob", "new")]);
        check("\"Zoë ;#\" \"pä ss\"", &[("Zoë ;#", "pä ss")]);
    }

    #[test]
    fn what_is_broken_is_named_by_its_line() {
        check_fault(b"\n\nbob \"x\"", 3, LineFault::NoOpeningQuote);
        check_fault(b"# no comment", 1, LineFault::NoOpeningQuote);
        check_fault(b"\"bob", 1, LineFault::NameUnclosed);
        check_fault(b"\"bob\"\"", 1, LineFault::NameUnclosed);
        check_fault(b"\"\" \"x\"", 1, LineFault::NameEmpty);
        check_fault(b"\"b\0b\" \"x\"", 1, LineFault::NameNul);
        check_fault(b"\"bob\" x", 1, LineFault::SecretMissing);
        check_fault(b"\"bob\" \"x\n\"eve\" \"y\"", 1, LineFault::SecretUnclosed);
        check_fault(b"\"bob\" \"x\0\"", 1, LineFault::Secret(SecretError::Nul));
        let long = [b"\"".as_slice(), &[b'n'; 128], b"\" \"x\""].concat();
        check_fault(&long, 1, LineFault::NameTooLong);
    }

    #[test]
    fn all_errors_come_at_once_and_show_nothing() {
        let text = b"\"a\" \"hunter2\n\"b\" \"SCRAM-SHA-256$hunter2\"\n\"c\" \"ok\"";
        let errors = Users::parse(text).expect_err("broken");
        assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [1, 2]);
        for error in errors {
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let users = Users::parse(b"\"c\" \"hunter2\"").expect("valid");
        assert_eq!(format!("{users:?}"), "Users { len: 1, .. }");
    }

    #[test]
    fn the_unknown_look_like_most() {
        let scram = Secret::parse(b"x").expect("plain").to_verifier(1, b"salt").expect("verifier");
        let line = |name: &str| format!("\"{name}\" \"{}\"\n", scram.to_text().as_str());
        let shape = |text: String| Users::parse(text.as_bytes()).expect("valid").unknown_shape();
        assert_eq!(shape(String::new()), UnknownShape::Md5);
        assert_eq!(shape(line("a")), UnknownShape::Scram);
        assert_eq!(shape(line("a") + "\"b\" \"x\""), UnknownShape::Md5);
        assert_eq!(shape(line("a") + &line("b") + "\"c\" \"x\""), UnknownShape::Scram);
    }

    proptest! {
        #[test]
        fn quoting_is_undone(name in "[^\n\0]{1,30}", password in "[^\n\0]{0,30}") {
            let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let text = format!(";\n{} {}\n", quote(&name), quote(&password));
            let users = Users::parse(text.as_bytes()).expect("valid");
            let expect = Secret::parse(password.as_bytes()).expect("a secret");
            prop_assert_eq!(users.secret(name.as_bytes()), Some(&expect));
        }

        #[test]
        fn parsing_never_panics(text in "[\"; a\n\r\0]{0,60}") {
            let lines = text.split('\n').count();
            if let Err(errors) = Users::parse(text.as_bytes()) {
                prop_assert!(errors.iter().all(|error| (1..=lines).contains(&error.line)));
            }
        }
    }
}
