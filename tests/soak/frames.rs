//! Messages that break the rules, among good ones: the sender gets PostgreSQL's error, and nobody else notices.
//!
//! Owns no state. What PostgreSQL survives is part of a batch; what it ends the connection for ends the session, within
//! bounded time.

use tokio::time::Instant;

use super::expect::{Expect, complete, row};
use super::model::Unnamed;
use super::rider::{ANSWER_WITHIN, Rider, Trouble};
use super::support::messages;
use super::support::transcript::Frame;
use super::support::wire::Received;

/// The protocol was violated.
const VIOLATION: &str = "08P01";
/// PostgreSQL's word for a length that cannot be, in the middle of COPY.
const CONNECTION_FAILURE: &str = "08006";
/// A body that is no message of any kind, and long enough for a length to be read from it.
const BODY: &[u8] = b"body";

/// What PostgreSQL does after the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Ignores all up to the next Sync.
    Skips,
    /// Says ReadyForQuery.
    IsReady,
}

/// Messages that PostgreSQL answers with an error and survives.
const SURVIVED: [(u8, &[u8], After); 14] = [
    (b'H', BODY, After::Skips),
    (b'H', &[0], After::Skips),
    (b'S', BODY, After::IsReady),
    (b'P', b"cut", After::Skips),
    (b'P', b"cut\0SELECT", After::Skips),
    (b'P', b"cut\0SELECT 1\0\0\x02\0\0\0\x17", After::Skips),
    (b'P', b"", After::Skips),
    (b'B', b"", After::Skips),
    (b'B', b"\0cut", After::Skips),
    (b'D', b"Xname\0", After::Skips),
    (b'C', b"Xname\0", After::Skips),
    (b'E', b"\0\0\0", After::Skips),
    (b'Q', b"SELECT 1", After::IsReady),
    (b'Q', b"SELECT 1\0more", After::IsReady),
];

fn is_violation(frame: &Frame) -> bool {
    matches!(frame.field(b'C').as_deref(), Some(VIOLATION | CONNECTION_FAILURE))
}

impl Rider<'_> {
    /// One bad message, with good ones before and behind it, in one write.
    pub(crate) fn malformed(&mut self) -> Result<(), Trouble> {
        if self.random.once_in(2) {
            self.simple_select();
        }
        let (tag, body, after) = SURVIVED[self.random.below(SURVIVED.len())];
        if after == After::Skips && self.random.once_in(2) {
            let number = self.random.below(1_000);
            self.extended(&format!("SELECT {number}"), &[]);
            self.want(row(&[&number.to_string()]));
            self.want(complete("SELECT 1"));
        }
        self.push(&messages::message(tag, body));
        self.want(Expect::Error(VIOLATION));
        if matches!(tag, b'P' | b'Q') {
            // Whether PostgreSQL came so far that it dropped the statement does not matter.
            self.model.unnamed = Unnamed::Other;
        }
        self.model.fail();
        self.model.skipping = after == After::Skips;
        match after {
            After::IsReady => self.want_ready(),
            After::Skips => {
                if self.random.once_in(3) {
                    self.push(&messages::parse("", "SELECT 'never'", &[]));
                    self.push(&messages::flush());
                }
                self.sync();
            }
        }
        if self.random.once_in(2) {
            self.simple_select();
        }
        let shown = body.escape_ascii();
        self.play(&format!("malformed {}{{{shown}}}", char::from(tag)))
    }

    /// A message that PostgreSQL ends the connection for, also behind COPY.
    pub(crate) fn break_off(&mut self) -> Result<bool, Trouble> {
        let run = self.run;
        let _seat = run.evil.spare();
        if self.random.once_in(2) {
            self.push(&messages::query("COPY landing FROM STDIN WHERE false"));
        } else if self.random.once_in(2) {
            self.push(&messages::parse("", "SELECT 1", &[]));
        }
        let bad: &[u8] = match self.random.below(5) {
            0 => b"y\0\0\0\x04",
            1 => b"y\0\0\0\x08body",
            2 => b"d\0\0\0\x02",
            3 => b"H\xff\xff\xff\xf0",
            _ => b"Q\0\0\0\x03",
        };
        self.push(bad);
        self.send_only("breaks the protocol");
        let end = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.wire.next(end) {
                Received::Closed => break,
                Received::Frame(frame) if matches!(frame.tag, b'G' | b'1' | b'S') => {}
                Received::Frame(frame) if frame.tag == b'E' && is_violation(&frame) => {}
                Received::Frame(frame) if frame.tag == b'E' => return Err(self.bad_luck(&frame)),
                other @ (Received::Frame(_) | Received::Silence) => {
                    return Err(self.wrong(&format!("{other:?} after {}", bad.escape_ascii())));
                }
            }
        }
        self.run.evil.losses().forget(self.session());
        Ok(true)
    }
}
