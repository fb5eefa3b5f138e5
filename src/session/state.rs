//! What a client's message means for a session that has no server, as pure functions.
//!
//! ```text
//!            needs a server                    granted
//!   Idle ───────────────────────▶ Waiting ───────────────▶ Bound
//!    ▲  ◀── time-out, cancel ─────────┘                      │
//!    └──────────── at rest, and nothing holds the server ────┘
//! ```
//!
//! A batch of extended-protocol messages is held until its Sync or Flush has been seen, so that no
//! server is taken for a client that is still composing. What a client sends behind an error of
//! ours is dropped until its Sync, as PostgreSQL does behind an error of its own (manual,
//! "Extended Query").

use crate::wire::{HEADER_LEN, client, header};

/// Bytes of a batch that are held until its end is seen.
pub const HOLD_MAX: usize = 64 * 1024;

/// What to do with a message while no server is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take a server.
    Acquire,
    /// Wait for the rest of the batch.
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

/// The first message in `bytes`, which has at least a header. `skipping`: an error of ours was
/// sent in the middle of a batch.
pub fn unbound(bytes: &[u8], skipping: bool, max: usize) -> Step {
    let Some(&tag) = bytes.first() else { return Step::Hold };
    match tag {
        client::TERMINATE => Step::Leave,
        client::SYNC => Step::AnswerReady,
        client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL | client::FLUSH => Step::Drop,
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
        client::QUERY | client::FUNCTION_CALL => Step::Acquire,
        client::PARSE | client::BIND | client::DESCRIBE | client::EXECUTE | client::CLOSE => {
            if is_batch_due(bytes, max) {
                Step::Acquire
            } else {
                Step::Hold
            }
        }
        _ => Step::Refuse,
    }
}

/// Whether a server has to see the batch now: its Sync, a Flush or a Query is there, or it is
/// larger than what is held.
fn is_batch_due(bytes: &[u8], max: usize) -> bool {
    if bytes.len() >= HOLD_MAX {
        return true;
    }
    let mut rest = bytes;
    while let Ok(Some(found)) = header(rest, max) {
        let due = matches!(
            found.tag,
            client::SYNC
                | client::FLUSH
                | client::QUERY
                | client::FUNCTION_CALL
                | client::TERMINATE
        );
        if due || found.total() > HOLD_MAX {
            return true;
        }
        match rest.get(found.total()..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    // A length out of bounds: the error has to come out.
    rest.len() >= HEADER_LEN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 1 << 20;

    fn message(tag: u8, body: usize) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend((body as u32 + 4).to_be_bytes());
        out.resize(5 + body, 0);
        out
    }

    fn batch(tags: &[u8]) -> Vec<u8> {
        tags.iter().flat_map(|tag| message(*tag, 3)).collect()
    }

    #[test]
    fn every_message_without_a_server() {
        let table: Vec<String> = (b'A'..=b'z')
            .filter(u8::is_ascii_alphabetic)
            .map(|tag| {
                let bytes = message(tag, 3);
                let (plain, behind_error) =
                    (unbound(&bytes, false, MAX), unbound(&bytes, true, MAX));
                format!("{} {plain:?} {behind_error:?}", char::from(tag))
            })
            .filter(|line| !line.ends_with("Refuse Refuse"))
            .collect();
        let expected = "B Hold Drop,C Hold Drop,D Hold Drop,E Hold Drop,F Acquire Drop,H Drop Drop,\
            P Hold Drop,Q Acquire Drop,S AnswerReady AnswerReady,X Leave Leave,c Drop Drop,\
            d Drop Drop,f Drop Drop";
        assert_eq!(table.join(","), expected);
    }

    #[test]
    fn a_batch_is_due_at_its_end() {
        assert_eq!(unbound(&batch(b"PBDE"), false, MAX), Step::Hold);
        for end in [b'S', b'H', b'Q', b'F', b'X'] {
            assert_eq!(unbound(&batch(&[b'P', b'B', end]), false, MAX), Step::Acquire);
        }
    }

    #[test]
    fn a_large_batch_does_not_wait() {
        assert_eq!(unbound(&message(b'B', HOLD_MAX), false, MAX), Step::Acquire);
        let start = &message(b'B', HOLD_MAX)[..10];
        assert_eq!(unbound(start, false, MAX), Step::Acquire);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), skipping: bool) {
            let _ = unbound(&bytes, skipping, MAX);
        }
    }
}
