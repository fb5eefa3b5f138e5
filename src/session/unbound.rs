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

use crate::wire::{HEADER_LEN, Header, client};

/// Bytes of a message that are held until it is whole.
pub const HOLD_MAX: usize = 64 * 1024;
/// The same of a Parse, whose text may be needed again on another server.
pub const PARSE_MAX: usize = 1024 * 1024;

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

/// Whether a server could take its next step with these bytes of a message. Until then no server is
/// taken for it: one that waits for its client's bytes is missing elsewhere.
pub fn is_due(header: Header, bytes: &[u8]) -> bool {
    let there = bytes.len();
    if there >= header.total() {
        return true;
    }
    match header.tag {
        // It is never opened.
        client::COPY_DATA => true,
        // A longer one passes by length behind its name.
        client::PARSE => {
            let start = bytes.get(HEADER_LEN..).unwrap_or_default();
            let is_named = memchr::memchr(0, start).is_some() || there >= HOLD_MAX;
            header.total() > PARSE_MAX && is_named
        }
        // Its two names come first; what follows them passes by length.
        client::BIND => {
            let start = bytes.get(HEADER_LEN..).unwrap_or_default();
            client::read_bind(start).is_some() || there >= HOLD_MAX
        }
        _ => header.total() > HOLD_MAX,
    }
}

/// The message in front of `bytes`, with this header. `skipping`: an error of ours was sent in the
/// middle of a batch.
pub fn unbound(header: Header, bytes: &[u8], skipping: bool) -> Step {
    let Some(kind) = client::message_type(header.tag) else { return Step::Refuse };
    let acquire = if is_due(header, bytes) { Step::Acquire } else { Step::Hold };
    match header.tag {
        client::TERMINATE => Step::Leave,
        client::SYNC if header.body == 0 => Step::AnswerReady,
        client::FLUSH if header.body == 0 => Step::Drop,
        _ if skipping && header.tag != client::SYNC => Step::Drop,
        client::SYNC | client::FLUSH => acquire,
        _ if kind.needs_server => acquire,
        _ => Step::Drop,
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
            F Acquire Drop,H Acquire Drop,P Acquire Drop,Q Acquire Drop,S Acquire Acquire,\
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
        for (tag, body, step) in [
            (client::QUERY, 100, Step::Hold),
            (client::QUERY, HOLD_MAX, Step::Acquire),
            (client::PARSE, HOLD_MAX, Step::Hold),
            (client::PARSE, PARSE_MAX, Step::Acquire),
            (client::FUNCTION_CALL, 100, Step::Hold),
        ] {
            let bytes = message(tag, body);
            let found = header(&bytes, 2 * MAX).unwrap().unwrap();
            assert_eq!(unbound(found, &bytes[..6], false), step);
        }
        let mut named = message(client::PARSE, PARSE_MAX);
        named[5] = b's';
        let found = header(&named, 2 * MAX).unwrap().unwrap();
        assert_eq!(unbound(found, &named[..6], false), Step::Hold);
        assert_eq!(unbound(found, &named[..7], false), Step::Acquire);
    }

    #[test]
    fn a_bind_is_due_with_its_names() {
        let mut bytes = message(client::BIND, 100_000);
        let found = header(&bytes, MAX).unwrap().unwrap();
        assert_eq!(unbound(found, &bytes[..6], false), Step::Hold);
        assert_eq!(unbound(found, &bytes[..7], false), Step::Acquire);
        bytes[5..].fill(b'x');
        assert_eq!(unbound(found, &bytes[..HOLD_MAX - 1], false), Step::Hold);
        assert_eq!(unbound(found, &bytes[..HOLD_MAX], false), Step::Acquire);
    }
}
