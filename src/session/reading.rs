//! By which rules the client's texts are read, at this point of its pipeline.
//!
//! Pure. The rules are the session's: they follow it from server to server. A text that may change
//! them makes them uncertain until the server has answered everything (ReadyForQuery), because only
//! then it has said what it uses now (manual, "Asynchronous Operations"). A change inside of a
//! transaction may be undone by any statement behind it that fails, and by its end.

use super::effects::Effects;
use crate::sql::{self, Encoding, ReadUnder, Readable, Rules};

/// Whether a text is read alike whatever the rules are.
fn is_plain(sql: &[u8]) -> bool {
    sql.is_ascii() && !sql.contains(&b'\\')
}

/// How the server reads the texts of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    encoding: Encoding,
    encoding_name: &'static str,
    conforming: bool,
    /// Something on its way may change the rules.
    is_uncertain: bool,
    /// The running transaction has changed them, or may have.
    changed_in_transaction: bool,
}

impl Reading {
    /// What a server reports, by parameter.
    pub(super) fn of<'a>(reported: impl Fn(&'static [u8]) -> Option<&'a [u8]>) -> Self {
        let encoding = reported(b"client_encoding");
        Self {
            encoding: encoding.map_or(Encoding::Unknown, Encoding::of),
            encoding_name: encoding.map_or("", sql::encoding_name),
            conforming: reported(b"standard_conforming_strings") != Some(b"off"),
            is_uncertain: false,
            changed_in_transaction: false,
        }
    }

    /// What the bytes of a text that is read by these rules mean.
    pub(super) fn read_under(&self, rules: Rules) -> ReadUnder {
        ReadUnder { rules, encoding: self.encoding_name }
    }

    /// What the bytes of a text mean that is sent now, if that is known.
    pub(super) fn now(&self) -> Option<ReadUnder> {
        let is_known = !self.is_uncertain && !self.encoding_name.is_empty();
        is_known.then(|| self.read_under(Rules::safe(self.conforming)))
    }

    /// A sign of the rules: texts are read alike if it is the same.
    #[inline]
    pub(super) fn sign(&self) -> u8 {
        if self.is_uncertain {
            return u8::MAX;
        }
        (self.encoding as u8) << 1 | u8::from(self.conforming)
    }

    /// The text, to be read; `None` when the rules are not known and matter to it.
    #[inline]
    pub(super) fn read<'a>(&self, text: &'a [u8]) -> Option<Readable<'a>> {
        if self.is_uncertain {
            return is_plain(text).then(|| sql::make_readable(text, Encoding::Safe, true))?;
        }
        sql::make_readable(text, self.encoding, self.conforming)
    }

    /// Records what a message that is being sent may do.
    #[inline]
    pub(super) fn sent(&mut self, effects: Effects) {
        if effects.contains(Effects::RULES) {
            self.changed_in_transaction = true;
        }
        self.is_uncertain |= self.changed_in_transaction;
    }

    /// The server has answered everything, and reports this now.
    #[inline]
    pub(super) fn answered<'a>(
        &mut self,
        is_idle: bool,
        reported: impl Fn(&'static [u8]) -> Option<&'a [u8]>,
    ) {
        if !self.changed_in_transaction {
            return;
        }
        let changed_in_transaction = !is_idle;
        *self = Self { changed_in_transaction, ..Self::of(reported) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(
        encoding: &'static str,
        conforming: &'static str,
    ) -> impl Fn(&'static [u8]) -> Option<&'static [u8]> {
        move |name| match name {
            b"client_encoding" => Some(encoding.as_bytes()),
            b"standard_conforming_strings" => Some(conforming.as_bytes()),
            _ => None,
        }
    }

    #[test]
    fn a_change_is_uncertain_until_it_is_answered() {
        let mut reading = Reading::of(reported("UTF8", "on"));
        assert!(reading.read(b"'\\'").is_some_and(|text| text.rules.are_conforming()));
        reading.sent(Effects::WRITES);
        assert!(!reading.is_uncertain);
        reading.sent(Effects::RULES);
        assert!(reading.read(b"SELECT '\\'").is_none() && reading.read("é".as_bytes()).is_none());
        assert!(reading.read(b"SELECT 'x'").is_some(), "it means the same under all rules");
        reading.answered(true, reported("UTF8", "off"));
        assert!(reading.read(b"'\\'").is_some_and(|text| !text.rules.are_conforming()));
        reading.sent(Effects::WRITES);
        assert!(!reading.is_uncertain, "the transaction that changed it is over");
    }

    #[test]
    fn whatever_comes_behind_a_change_in_a_transaction_may_undo_it() {
        let mut reading = Reading::of(reported("UTF8", "on"));
        reading.sent(Effects::RULES);
        reading.answered(false, reported("UTF8", "off"));
        assert!(reading.read(b"SELECT 1").is_some());
        reading.sent(Effects::empty());
        assert!(reading.is_uncertain, "it may fail, or end the transaction");
        reading.answered(true, reported("UTF8", "on"));
        assert!(reading.read(b"'\\'").is_some_and(|text| text.rules.are_conforming()));
    }

    #[test]
    fn an_encoding_in_which_ascii_may_be_a_part_of_a_character() {
        let reading = Reading::of(reported("SJIS", "on"));
        let text = reading.read(b"E'\x95\\'").map(|text| text.text.into_owned());
        assert_eq!(text, Some(b"E'\x95\xff'".to_vec()));
        assert_ne!(reading.sign(), Reading::of(reported("UTF8", "on")).sign());
        let nothing = Reading::of(|_| None);
        assert!(nothing.read(b"SELECT '\\'").is_none());
    }
}
