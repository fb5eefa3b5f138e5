//! What a client's message means for a session that has no server, as pure functions.
//!
//! ```text
//!            needs a server                    granted
//!   Idle ───────────────────────▶ Waiting ───────────────▶ Bound
//!    ▲  ◀── time-out, cancel ─────────┘                      │
//!    └──────────── at rest, and nothing holds the server ────┘
//! ```
//!
//! A server is taken for the first whole message that needs one, and not for its Sync: PostgreSQL
//! reports an error at once, and a client may wait for it before it sends its Sync. What a client
//! sends behind an error of ours is dropped until its Sync, as PostgreSQL does behind an error of
//! its own (manual, "Extended Query").

use crate::wire::{Header, client};

/// Bytes of a message that are held until it is whole.
pub const HOLD_MAX: usize = 64 * 1024;

/// What to do with a message while no server is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take a server.
    Acquire,
    /// Wait for the rest of the message.
    Hold,
    /// It has no answer and no effect.
    Drop,
    /// Answer with ReadyForQuery, idle.
    AnswerReady,
    /// The client leaves.
    Leave,
    /// No client may send this.
    Refuse,
}

/// The message in front of `bytes`, with this header. `skipping`: an error of ours was sent in the
/// middle of a batch.
pub fn unbound(header: Header, bytes: &[u8], skipping: bool) -> Step {
    // What cannot be told apart from its beginning has to be whole, unless it is large.
    let due = bytes.len() >= header.total() || header.total() > HOLD_MAX;
    let acquire = if due { Step::Acquire } else { Step::Hold };
    match header.tag {
        client::TERMINATE => Step::Leave,
        client::SYNC if header.body == 0 => Step::AnswerReady,
        client::FLUSH if header.body == 0 => Step::Drop,
        client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => Step::Drop,
        client::PARSE
        | client::BIND
        | client::DESCRIBE
        | client::EXECUTE
        | client::CLOSE
        | client::QUERY
        | client::FUNCTION_CALL
            if skipping =>
        {
            Step::Drop
        }
        client::QUERY
        | client::FUNCTION_CALL
        | client::PARSE
        | client::BIND
        | client::DESCRIBE
        | client::EXECUTE
        | client::CLOSE
        | client::SYNC
        | client::FLUSH => acquire,
        _ => Step::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header;

    const MAX: usize = 1 << 20;

    fn message(tag: u8, body: usize) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend((body as u32 + 4).to_be_bytes());
        out.resize(5 + body, 0);
        out
    }

    #[test]
    fn every_message_without_a_server() {
        let table: Vec<String> = (b'A'..=b'z')
            .filter(u8::is_ascii_alphabetic)
            .map(|tag| (tag, message(tag, 3)))
            .map(|(tag, bytes)| {
                let found = header(&bytes, MAX).unwrap().unwrap();
                let (plain, behind) = (unbound(found, &bytes, false), unbound(found, &bytes, true));
                format!("{} {plain:?} {behind:?}", char::from(tag))
            })
            .filter(|line| !line.ends_with("Refuse Refuse"))
            .collect();
        let expected = "B Acquire Drop,C Acquire Drop,D Acquire Drop,E Acquire Drop,\
            F Acquire Drop,H Acquire Acquire,P Acquire Drop,Q Acquire Drop,S Acquire Acquire,\
            X Leave Leave,c Drop Drop,d Drop Drop,f Drop Drop";
        assert_eq!(table.join(","), expected);
    }

    #[test]
    fn sync_and_flush_need_no_server() {
        for (tag, step) in [(client::SYNC, Step::AnswerReady), (client::FLUSH, Step::Drop)] {
            let bytes = message(tag, 0);
            let found = header(&bytes, MAX).unwrap().unwrap();
            assert_eq!(unbound(found, &bytes, false), step);
        }
    }

    #[test]
    fn a_part_of_a_message_waits_unless_it_is_large() {
        for (body, step) in [(100, Step::Hold), (HOLD_MAX, Step::Acquire)] {
            let bytes = message(client::QUERY, body);
            let found = header(&bytes, MAX).unwrap().unwrap();
            assert_eq!(unbound(found, &bytes[..10], false), step);
        }
    }
}
