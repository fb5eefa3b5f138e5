//! What a text does to transactions and savepoints, and whether it resets all settings. Pure.
//!
//! Looked at only while a session has something of howdah's own settings to lose. The server says by its
//! tags what has happened; the text says to which savepoint.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the few kinds of token that matter to it"
)]

use super::statement::{Tokens, statements};
use crate::sql::{Kind, Token, is_word};

/// One statement that matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) enum Step {
    /// SAVEPOINT of this name.
    Savepoint(Box<[u8]>),
    /// RELEASE of it.
    Release(Box<[u8]>),
    /// ROLLBACK TO it.
    RollbackTo(Box<[u8]>),
    /// COMMIT or ROLLBACK of the whole transaction.
    End,
    /// RESET ALL.
    ResetAll,
    /// RESET of one setting.
    Reset,
}

/// What a text does, in its order.
pub(in crate::session) fn steps(text: &[u8]) -> Vec<Step> {
    statements(text).filter_map(|tokens| step(&tokens, text)).collect()
}

/// The name that a DEALLOCATE names, which is one statement alone; not for ALL.
pub(in crate::session) fn deallocated(text: &[u8]) -> Option<Box<[u8]>> {
    let mut all = statements(text);
    let (tokens, more) = (all.next()?, all.next());
    let mut words = Words { text, tokens: &tokens };
    if more.is_some() || !words.take(b"deallocate") {
        return None;
    }
    words.take(b"prepare");
    let name = words.name()?;
    (words.tokens.is_empty() && *name != *b"all").then_some(name)
}

struct Words<'a> {
    text: &'a [u8],
    tokens: &'a [Token],
}

impl Words<'_> {
    fn take(&mut self, word: &[u8]) -> bool {
        let Some((first, rest)) = self.tokens.split_first() else { return false };
        let is_it = first.kind == Kind::Word && is_word(first.bytes(self.text), word);
        if is_it {
            self.tokens = rest;
        }
        is_it
    }

    /// A name as PostgreSQL compares it.
    fn name(&mut self) -> Option<Box<[u8]>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        let bytes = first.bytes(self.text);
        match first.kind {
            Kind::Word => Some(bytes.to_ascii_lowercase().into()),
            Kind::QuotedName => Some(bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?.into()),
            Kind::UnicodeName => Some(bytes.into()),
            _ => None,
        }
    }
}

fn step(tokens: &Tokens, text: &[u8]) -> Option<Step> {
    let mut words = Words { text, tokens };
    if words.take(b"savepoint") {
        return words.name().map(Step::Savepoint);
    }
    if words.take(b"release") {
        words.take(b"savepoint");
        return words.name().map(Step::Release);
    }
    if words.take(b"rollback") || words.take(b"abort") {
        if words.take(b"prepared") {
            return None;
        }
        let _ = words.take(b"work") || words.take(b"transaction");
        if !words.take(b"to") {
            return Some(Step::End);
        }
        words.take(b"savepoint");
        return words.name().map(Step::RollbackTo);
    }
    if words.take(b"commit") || words.take(b"end") {
        return (!words.take(b"prepared")).then_some(Step::End);
    }
    if words.take(b"prepare") {
        return words.take(b"transaction").then_some(Step::End);
    }
    if words.take(b"reset") {
        return Some(if words.take(b"all") { Step::ResetAll } else { Step::Reset });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_matter() {
        let name = |name: &str| Box::from(name.as_bytes());
        for (text, expected) in [
            ("SELECT 1", vec![]),
            ("SAVEPOINT A", vec![Step::Savepoint(name("a"))]),
            ("release savepoint \"A\"", vec![Step::Release(name("A"))]),
            ("RELEASE a", vec![Step::Release(name("a"))]),
            ("ROLLBACK WORK TO SAVEPOINT a", vec![Step::RollbackTo(name("a"))]),
            ("ABORT", vec![Step::End]),
            ("rollback to a", vec![Step::RollbackTo(name("a"))]),
            ("ROLLBACK TRANSACTION AND CHAIN", vec![Step::End]),
            ("ROLLBACK PREPARED 'a'", vec![]),
            ("COMMIT PREPARED 'a'", vec![]),
            ("COMMIT; BEGIN; END WORK", vec![Step::End, Step::End]),
            ("PREPARE TRANSACTION 'x'", vec![Step::End]),
            ("PREPARE x AS SELECT 1", vec![]),
            ("RESET ALL; RESET a.b", vec![Step::ResetAll, Step::Reset]),
        ] {
            assert_eq!(steps(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_deallocated() {
        let of = |text: &str| deallocated(text.as_bytes());
        assert_eq!(of("DEALLOCATE PREPARE S1;").as_deref(), Some(&b"s1"[..]));
        assert_eq!(of("deallocate \"S1\"").as_deref(), Some(&b"S1"[..]));
        for text in ["DEALLOCATE ALL", "DEALLOCATE a; SELECT 1", "SELECT 1", "DEALLOCATE"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
