//! A read on a replica, as long as nothing of its answer has reached the client. Pure.
//!
//! Owns the client's bytes of the read, and the start of the answer, which only says that something was
//! parsed, bound or described. If the replica refuses the read then, the primary gets it, once, and the
//! client does not notice. Never holds a row: what follows a row cannot be taken back.

use crate::wire::{HEADER_LEN, client, error_fields, header, server};

/// A read that can still be repeated.
#[derive(Debug)]
pub(super) struct HeldRead {
    unit: Box<[u8]>,
    answer: Vec<u8>,
    is_refused: bool,
}

impl HeldRead {
    /// Of these messages: a Query, or a batch with its Sync.
    pub(super) fn new(unit: &[u8]) -> Self {
        Self { unit: unit.into(), answer: Vec::new(), is_refused: false }
    }

    /// Whether these messages of the server's begin the answer: one of them is neither a whole one that can
    /// wait nor a refusal, behind which nothing of the read comes.
    pub(super) fn begins_answer(mut messages: &[u8]) -> bool {
        while let Ok(Some(header)) = header(messages, usize::MAX) {
            let body = messages.get(HEADER_LEN..header.total().min(messages.len()));
            if header.tag == server::ERROR {
                return !Self::is_refusal(error_fields(body.unwrap_or_default()).code);
            }
            match messages.get(header.total()..) {
                Some(rest) if Self::may_wait(header.tag) => messages = rest,
                Some(_) | None => return true,
            }
        }
        false
    }

    /// Whether a message of the server's can wait.
    fn may_wait(tag: u8) -> bool {
        matches!(
            tag,
            server::PARSE_COMPLETE
                | server::BIND_COMPLETE
                | server::CLOSE_COMPLETE
                | server::PARAMETER_DESCRIPTION
                | server::ROW_DESCRIPTION
                | server::NO_DATA
                | server::NOTICE
                | server::PARAMETER_STATUS
        )
    }

    /// Whether an error with this code says that the replica cannot do it now, and the primary may.
    pub(super) fn is_refusal(code: &[u8]) -> bool {
        matches!(
            code,
            // Read only; not during recovery, in two ways; in conflict with what is replayed; ended.
            b"25006" | b"0A000" | b"55000" | b"40001" | b"57P01" | b"57P02" | b"57P04"
        )
    }

    /// A part of the answer, in the place of the client.
    pub(super) fn answer(&mut self) -> &mut Vec<u8> {
        &mut self.answer
    }

    /// Whether ReadyForQuery has come: all of it was made up.
    pub(super) fn is_answered(&self) -> bool {
        let ready = self.answer.last_chunk::<6>();
        ready.is_some_and(|ready| ready.starts_with(&[server::READY, 0, 0, 0, 5]))
    }

    /// The replica has refused it.
    pub(super) fn set_refused(&mut self) {
        self.is_refused = true;
    }

    /// Whether it has.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The client's messages.
    pub(super) fn unit(&self) -> &[u8] {
        &self.unit
    }

    /// The names of the statements that it has prepared.
    pub(super) fn parsed(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.unit;
        std::iter::from_fn(move || {
            while let Ok(Some(found)) = header(rest, usize::MAX) {
                let body = rest.get(HEADER_LEN..found.total())?;
                rest = rest.get(found.total()..)?;
                if found.tag == client::PARSE {
                    return body.split(|byte| *byte == 0).next();
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend((body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn the_names_that_it_prepares() {
        let unit = [
            message(client::PARSE, b"one\0SELECT 1\0\0\0"),
            message(client::BIND, b"\0one\0\0\0\0\0\0\0"),
            message(client::PARSE, b"\0SELECT 2\0\0\0"),
            message(client::SYNC, b""),
        ];
        let held = HeldRead::new(&unit.concat());
        assert_eq!(held.parsed().collect::<Vec<_>>(), [&b"one"[..], b""]);
        let query = HeldRead::new(&message(client::QUERY, b"SELECT 1\0"));
        assert_eq!(query.parsed().count(), 0);
    }

    #[test]
    fn the_answer_begins_with_what_cannot_be_taken_back() {
        let described = [message(b'1', b""), message(b'2', b""), message(b'T', b"\0\0")].concat();
        let error = |code: &str| message(b'E', format!("SERROR\0C{code}\0Mno\0\0").as_bytes());
        assert!(!HeldRead::begins_answer(b""));
        assert!(!HeldRead::begins_answer(&described));
        assert!(HeldRead::begins_answer(&[&described[..], &message(b'D', b"\0\0")].concat()));
        // A part of a message has reached the client when the rest comes.
        assert!(HeldRead::begins_answer(&[&described[..], &message(b'T', b"12345")[..7]].concat()));
        assert!(!HeldRead::begins_answer(&[&described[..], b"D\0\0"].concat()), "no header yet");
        let refused = [&described[..], &error("25006"), &message(b'Z', b"I")].concat();
        assert!(!HeldRead::begins_answer(&refused));
        assert!(HeldRead::begins_answer(&[&described[..], &error("22012")].concat()));
        assert!(HeldRead::begins_answer(&message(b'Z', b"I")));
    }

    #[test]
    fn what_may_wait_and_what_is_a_refusal() {
        let waits: String =
            (b'0'..=b'z').filter(|tag| HeldRead::may_wait(*tag)).map(char::from).collect();
        assert_eq!(waits, "123NSTnt");
        for code in ["25006", "0A000", "55000", "40001", "57P01", "57P02", "57P04"] {
            assert!(HeldRead::is_refusal(code.as_bytes()), "{code}");
        }
        for code in ["57014", "22012", "42P01", "57P03", "53300", ""] {
            assert!(!HeldRead::is_refusal(code.as_bytes()), "{code}");
        }
    }
}
