//! SET and RESET: which settings of the session they touch.
//!
//! Most words that begin a special form (`LOCAL`, `SESSION`, `ROLE`, `TIME`) may also begin the
//! name of a custom setting (`SET local.x = 1`); what follows the word decides.

use super::lex::{Kind, Token};
use super::scan::Scan;
use super::words::NAME_MAX;

impl Scan<'_> {
    /// Behind SET.
    pub(super) fn set(&mut self) {
        let Some(mut word) = self.next() else { return };
        if self.is(Some(word), b"session") && !self.at_assignment() {
            let Some(next) = self.next() else { return };
            word = next;
            // `SET SESSION SESSION AUTHORIZATION`
            if self.is(Some(word), b"session") && self.is(self.peek(), b"authorization") {
                self.next();
                return self.special("session_authorization");
            }
            if self.is(Some(word), b"authorization") && !self.at_assignment() {
                return self.special("session_authorization");
            }
            if self.is(Some(word), b"characteristics") && !self.at_assignment() {
                return self.characteristics();
            }
        } else if self.is_for_transaction(word) {
            self.facts.local_settings |= !self.is(Some(word), b"constraints");
            return self.skip();
        }
        self.variable(word);
        self.skip();
    }

    /// SET LOCAL, SET TRANSACTION and SET CONSTRAINTS end with the transaction.
    fn is_for_transaction(&self, word: Token) -> bool {
        !self.at_assignment()
            && (self.is(Some(word), b"local")
                || self.is(Some(word), b"transaction")
                || self.is(Some(word), b"constraints"))
    }

    /// Whether what follows shows that the last word was a setting's name.
    fn at_assignment(&self) -> bool {
        let Some(token) = self.peek() else { return false };
        match token.kind {
            Kind::Dot => true,
            Kind::Operator => token.bytes(self.text) == b"=",
            Kind::Word => self.is(Some(token), b"to"),
            _ => false,
        }
    }

    fn variable(&mut self, word: Token) {
        if word.kind == Kind::Word && !self.at_assignment() {
            let special = if self.is(Some(word), b"time") && self.accept(b"zone") {
                Some("timezone")
            } else if self.is(Some(word), b"xml") && self.accept(b"option") {
                Some("xmloption")
            } else if self.is(Some(word), b"names") {
                Some("client_encoding")
            } else if self.is(Some(word), b"schema") {
                Some("search_path")
            } else if self.is(Some(word), b"role") {
                Some("role")
            } else {
                None
            };
            if let Some(name) = special {
                return self.special(name);
            }
        }
        let name = self.dotted(word);
        let reset = self.at_assignment() && {
            self.next();
            self.is(self.peek(), b"default")
        };
        self.change(name, reset);
    }

    /// A form without `=` or TO; DEFAULT and `SET TIME ZONE LOCAL` and a bare `SET NAMES` reset.
    fn special(&mut self, name: &str) {
        let value = self.peek();
        let reset = value.is_none() || self.is(value, b"default") || self.is(value, b"local");
        self.change(Some(name.to_owned()), reset);
        self.skip();
    }

    fn characteristics(&mut self) {
        while let Some(token) = self.next() {
            let name = if self.is(Some(token), b"isolation") {
                "default_transaction_isolation"
            } else if self.is(Some(token), b"only") || self.is(Some(token), b"write") {
                "default_transaction_read_only"
            } else if self.is(Some(token), b"deferrable") {
                "default_transaction_deferrable"
            } else {
                continue;
            };
            self.change(Some(name.to_owned()), false);
        }
    }

    /// Behind RESET.
    pub(super) fn reset(&mut self) {
        let Some(word) = self.next() else { return };
        let follows = |scan: &Self, first: &[u8], second: &[u8]| {
            scan.is(Some(word), first) && scan.is(scan.peek(), second)
        };
        if self.is(Some(word), b"all") && self.peek().is_none() {
            self.facts.reset_all = true;
        } else if follows(self, b"time", b"zone") {
            self.change(Some("timezone".to_owned()), true);
        } else if follows(self, b"session", b"authorization") {
            self.change(Some("session_authorization".to_owned()), true);
        } else if !follows(self, b"transaction", b"isolation") {
            let name = self.dotted(word);
            self.change(name, true);
        }
        self.skip();
    }

    /// The name that begins with `first`: `a`, `a.b`, `"A".b`.
    fn dotted(&mut self, first: Token) -> Option<String> {
        let mut name = String::new();
        let mut part = Some(first);
        while let Some(token) = part {
            let folded = self.fold(token);
            let bytes = folded.bytes();
            if bytes.is_empty() || bytes.len() > NAME_MAX {
                return None;
            }
            // Settings are compared without regard to case, even quoted ones.
            name.push_str(&std::str::from_utf8(bytes).ok()?.to_ascii_lowercase());
            part = None;
            if self.peek().is_some_and(|token| token.kind == Kind::Dot) {
                name.push('.');
                self.next();
                part = Some(self.next()?);
            }
        }
        Some(name)
    }
}
