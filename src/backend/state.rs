//! What one server connection still owes, as a pure state machine.
//!
//! Owns a queue with one entry for each message sent that will be answered, and what to do with
//! the answer. Never touches a socket. Keeps the invariant that a server whose [`Replies::rest`]
//! is [`Rest::AtRest`] owes nothing to anybody: no reply is outstanding, no batch is open, and
//! its last ReadyForQuery said idle. Counting Syncs is not enough, because PostgreSQL ignores a
//! Sync that arrives during COPY (manual, "COPY Operations"); where nobody outside can tell
//! whether it did, the answer is [`Rest::Unprovable`] and the connection must be closed.
//!
//! ```text
//!   sent(kind) ──▶ [ entry, entry, … ] ──▶ received(tag) settles the front entry
//!                    │ error in a batch: entries up to the next Sync are dropped,
//!                    ▼ and so is what is sent until a Sync (skipping)
//! ```

use crate::wire::{self, client, server};
use std::collections::VecDeque;

/// Messages whose answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Parse, answered by ParseComplete.
    Parse,
    /// Bind, answered by BindComplete.
    Bind,
    /// Describe of a statement: ParameterDescription, then RowDescription or NoData.
    DescribeStatement,
    /// Describe of a portal: RowDescription or NoData.
    DescribePortal,
    /// Execute: rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Close, answered by CloseComplete.
    Close,
    /// Sync, answered by ReadyForQuery.
    Sync,
    /// Query: anything, then ReadyForQuery.
    Query,
    /// FunctionCall: a result, then ReadyForQuery.
    FunctionCall,
    /// CopyDone or CopyFail, which has no answer of its own but ends the copy in front of it.
    CopyEnd,
}

impl Kind {
    /// Whether ReadyForQuery, and nothing else, settles it.
    fn ends_with_ready(self) -> bool {
        matches!(self, Self::Sync | Self::Query | Self::FunctionCall)
    }
}

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The client asked: it gets the answer.
    Forward,
    /// We asked: the client never sees it.
    Swallow,
    /// The client asked and the server was never told: the answer is made up at this place.
    Fake,
}

/// One awaited answer. `note` is the caller's: what to commit when the answer comes, or to undo
/// when it does not.
#[derive(Debug, PartialEq, Eq)]
pub struct Expected<N> {
    /// The message.
    pub kind: Kind,
    /// What to do with its answer.
    pub reply: Reply,
    /// The caller's.
    pub note: Option<N>,
}

/// May this server be given to somebody else?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It owes nothing and is outside a transaction.
    AtRest,
    /// It owes something, or is in a transaction.
    Busy,
    /// Nobody can tell: close it.
    Unprovable,
}

/// What a frame from the server means.
#[derive(Debug, PartialEq, Eq)]
pub struct Received<N> {
    /// Whether the client gets it.
    pub reply: Reply,
    /// The entry that it settled: its note may be committed.
    pub settled: Option<Expected<N>>,
}

/// The server sent something that answers nothing we asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server sent message type {tag:?} where it answers nothing", tag = char::from(*.tag))]
pub struct OutOfStep {
    /// The message type.
    pub tag: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    No,
    /// The server reads CopyData. `ended`: CopyDone or CopyFail has been sent.
    In {
        ended: bool,
    },
    /// A replication stream; both sides send CopyData.
    Both,
}

/// The awaited answers of one server connection.
#[derive(Debug)]
pub struct Replies<N> {
    queue: VecDeque<Expected<N>>,
    copy: Copy,
    /// The server discards everything up to the next Sync.
    skipping: bool,
    /// Messages of an extended batch were sent after the last Sync, Query or FunctionCall.
    open_batch: bool,
    /// Syncs that the server ignored, if it read them during the copy that goes on.
    swallowed_syncs: u32,
    unprovable: bool,
    status: u8,
}

impl<N> Default for Replies<N> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            copy: Copy::No,
            skipping: false,
            open_batch: false,
            swallowed_syncs: 0,
            unprovable: false,
            status: wire::IDLE,
        }
    }
}

impl<N> Replies<N> {
    /// Whether the server may be given back.
    pub fn rest(&self) -> Rest {
        let owes = !self.queue.is_empty() || self.copy != Copy::No;
        if self.unprovable {
            // Still owed to the client: what is certain to come.
            return if owes || self.skipping { Rest::Busy } else { Rest::Unprovable };
        }
        let idle = self.status == wire::IDLE;
        if owes || self.open_batch || self.skipping || !idle { Rest::Busy } else { Rest::AtRest }
    }

    /// The status byte of the last ReadyForQuery.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Whether what is sent now, up to a Sync, will be discarded by the server.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Whether the server reads CopyData.
    pub fn is_copying_in(&self) -> bool {
        self.copy != Copy::No
    }

    /// Answers outstanding.
    pub fn outstanding(&self) -> usize {
        self.queue.len()
    }

    /// Whether messages of a batch were sent and its Sync was not.
    pub fn has_open_batch(&self) -> bool {
        self.open_batch
    }

    /// Whether a ReadyForQuery is outstanding: what the transaction's status will be is not known.
    pub fn awaits_ready(&self) -> bool {
        self.queue.iter().any(|entry| entry.kind.ends_with_ready())
    }

    /// Notes of everything that is still awaited, oldest first.
    pub fn notes(&self) -> impl DoubleEndedIterator<Item = &N> {
        self.queue.iter().filter_map(|entry| entry.note.as_ref())
    }

    /// A message was sent, or (with [`Reply::Fake`]) is to be answered in its turn without having
    /// been sent. Gives the note back when the server is going to discard the message.
    #[must_use]
    pub fn sent(&mut self, kind: Kind, reply: Reply, note: Option<N>) -> Option<N> {
        match (kind, self.copy) {
            (Kind::CopyEnd, Copy::In { .. }) => self.copy = Copy::In { ended: true },
            // Out of a copy the server ignores CopyDone and CopyFail.
            (Kind::CopyEnd, Copy::No) if self.queue.is_empty() || self.skipping => return note,
            (Kind::CopyEnd, Copy::Both) => return note,
            (Kind::Sync, Copy::In { ended: false }) => {
                self.swallowed_syncs = self.swallowed_syncs.saturating_add(1);
                return note;
            }
            (Kind::Sync, _) => self.skipping = false,
            _ if self.skipping => return note,
            _ => {}
        }
        if kind != Kind::CopyEnd {
            self.open_batch = !kind.ends_with_ready();
        }
        self.queue.push_back(Expected { kind, reply, note });
        None
    }

    /// A Flush was sent: it has no answer, but the batch it belongs to stays open.
    pub fn flushed(&mut self) {
        self.open_batch |= !self.skipping && self.copy == Copy::No;
    }

    /// The next made-up answer whose turn has come.
    pub fn take_fake(&mut self) -> Option<Expected<N>> {
        self.drop_idle_copy_ends();
        match self.queue.front() {
            Some(front) if front.reply == Reply::Fake => self.queue.pop_front(),
            Some(_) | None => None,
        }
    }

    /// What to do with a frame that answers what is in front.
    pub fn front_reply(&self) -> Reply {
        self.queue.front().map_or(Reply::Forward, |front| front.reply)
    }

    /// The front entry's message and note.
    pub fn front(&self) -> Option<&Expected<N>> {
        self.queue.front()
    }

    /// A frame came, other than ErrorResponse and ReadyForQuery.
    ///
    /// # Errors
    /// When it answers nothing that was asked: the connection is out of step and must be closed.
    #[inline]
    pub fn received(&mut self, tag: u8) -> Result<Received<N>, OutOfStep> {
        if matches!(tag, server::NOTICE | server::PARAMETER_STATUS | server::NOTIFICATION) {
            return Ok(Received { reply: self.front_reply(), settled: None });
        }
        self.drop_idle_copy_ends();
        let Some(front) = self.queue.front() else { return Err(OutOfStep { tag }) };
        let (kind, reply) = (front.kind, front.reply);
        match answer(kind, tag) {
            Answer::Part => Ok(Received { reply, settled: None }),
            Answer::Copy => {
                self.copy_begins(tag);
                Ok(Received { reply, settled: None })
            }
            Answer::CopyPart => {
                if tag == server::COMMAND_COMPLETE {
                    self.copy_ends();
                }
                Ok(Received { reply, settled: None })
            }
            Answer::Whole => {
                let settled = self.queue.pop_front();
                self.copy_ends();
                Ok(Received { reply, settled })
            }
            Answer::None => Err(OutOfStep { tag }),
        }
    }

    /// ReadyForQuery came.
    ///
    /// # Errors
    /// When no Sync, Query or FunctionCall is in front.
    pub fn ready(&mut self, status: u8) -> Result<Received<N>, OutOfStep> {
        self.drop_idle_copy_ends();
        match self.queue.front() {
            Some(front) if front.kind.ends_with_ready() => {
                self.status = status;
                self.copy = Copy::No;
                let settled = self.queue.pop_front();
                self.drop_idle_copy_ends();
                Ok(Received {
                    reply: settled.as_ref().map_or(Reply::Forward, |e| e.reply),
                    settled,
                })
            }
            _ if self.unprovable => {
                // The Sync that might have been ignored was not.
                self.status = status;
                self.skipping = false;
                Ok(Received { reply: Reply::Forward, settled: None })
            }
            Some(_) | None => Err(OutOfStep { tag: server::READY }),
        }
    }

    /// ErrorResponse came. Hands the entries that will never be answered to `dropped`, newest
    /// first, so that what they noted can be undone in that order.
    pub fn failed(&mut self, mut dropped: impl FnMut(Expected<N>)) -> Reply {
        self.drop_idle_copy_ends();
        let reply = self.front_reply();
        let in_batch = self.queue.front().is_some_and(|front| !front.kind.ends_with_ready());
        if let Copy::In { .. } = self.copy {
            // Whether the server read those Syncs before or after it failed, nobody can tell.
            self.unprovable |= self.swallowed_syncs > 0;
        }
        self.copy_ends();
        if in_batch {
            let upto = self.queue.iter().position(|entry| entry.kind == Kind::Sync);
            self.skipping = upto.is_none();
            self.open_batch &= !self.skipping;
            let tail = self.queue.split_off(upto.unwrap_or(self.queue.len()));
            self.queue.drain(..).rev().for_each(&mut dropped);
            self.queue = tail;
        }
        reply
    }

    /// A copy from the client begins: the server ignores Syncs until CopyDone or CopyFail, those
    /// already on their way included.
    fn copy_begins(&mut self, tag: u8) {
        match tag {
            server::COPY_BOTH => self.copy = Copy::Both,
            server::COPY_IN => {
                let end = self.queue.iter().position(|entry| entry.kind == Kind::CopyEnd);
                self.copy = Copy::In { ended: end.is_some() };
                let (mut index, end) = (0usize, end.unwrap_or(self.queue.len()));
                let before = self.queue.len();
                self.queue.retain(|entry| {
                    let ignored = entry.kind == Kind::Sync && index < end && index > 0;
                    index = index.saturating_add(1);
                    !ignored
                });
                let ignored = before.saturating_sub(self.queue.len());
                self.swallowed_syncs = u32::try_from(ignored).unwrap_or(u32::MAX);
            }
            _ => {}
        }
    }

    /// The copy is over: what ended it stands in front, or right behind the Query it belongs to.
    fn copy_ends(&mut self) {
        if self.copy == Copy::No {
            return;
        }
        self.copy = Copy::No;
        self.swallowed_syncs = 0;
        let end = self.queue.iter().take(2).position(|entry| entry.kind == Kind::CopyEnd);
        if let Some(end) = end {
            self.queue.remove(end);
        }
    }

    fn drop_idle_copy_ends(&mut self) {
        while self.queue.front().is_some_and(|front| front.kind == Kind::CopyEnd) {
            self.queue.pop_front();
        }
    }
}

/// How a frame relates to the message in front.
enum Answer {
    /// One of several frames.
    Part,
    /// A copy begins.
    Copy,
    /// As `Part`, and it may end a copy.
    CopyPart,
    /// The last frame.
    Whole,
    /// Not an answer to it.
    None,
}

fn answer(kind: Kind, tag: u8) -> Answer {
    match (kind, tag) {
        (Kind::Execute, server::DATA_ROW | server::COPY_DATA | server::COPY_DONE) => Answer::Part,
        (
            Kind::Execute,
            server::COMMAND_COMPLETE | server::EMPTY_QUERY | server::PORTAL_SUSPENDED,
        )
        | (Kind::Parse, server::PARSE_COMPLETE)
        | (Kind::Bind, server::BIND_COMPLETE)
        | (Kind::Close, server::CLOSE_COMPLETE)
        | (
            Kind::DescribeStatement | Kind::DescribePortal,
            server::ROW_DESCRIPTION | server::NO_DATA,
        ) => Answer::Whole,
        (Kind::DescribeStatement, server::PARAMETER_DESCRIPTION)
        | (Kind::FunctionCall, server::FUNCTION_RESULT) => Answer::Part,
        (Kind::Query | Kind::Execute, server::COPY_IN | server::COPY_OUT | server::COPY_BOTH) => {
            Answer::Copy
        }
        (Kind::Query, server::COMMAND_COMPLETE) => Answer::CopyPart,
        (Kind::Query, _) => Answer::Part,
        // A tag nobody knows yet passes; a known one in the wrong place does not.
        (_, tag) if is_known(tag) => Answer::None,
        (Kind::Sync | Kind::CopyEnd, _) => Answer::None,
        _ => Answer::Part,
    }
}

fn is_known(tag: u8) -> bool {
    matches!(
        tag,
        server::PARSE_COMPLETE
            | server::BIND_COMPLETE
            | server::CLOSE_COMPLETE
            | server::COMMAND_COMPLETE
            | server::DATA_ROW
            | server::COPY_DATA
            | server::COPY_DONE
            | server::COPY_IN
            | server::COPY_OUT
            | server::COPY_BOTH
            | server::EMPTY_QUERY
            | server::FUNCTION_RESULT
            | server::NO_DATA
            | server::PARAMETER_DESCRIPTION
            | server::PORTAL_SUSPENDED
            | server::ROW_DESCRIPTION
            | server::READY
            | server::AUTHENTICATION
            | server::BACKEND_KEY
    )
}

/// The kind of a message that clients send, if it is awaited: Flush, CopyData and Terminate are
/// not. `target` is the first byte of a Describe's body.
pub fn kind_of(tag: u8, target: u8) -> Option<Kind> {
    Some(match tag {
        client::PARSE => Kind::Parse,
        client::BIND => Kind::Bind,
        client::DESCRIBE if target == b'S' => Kind::DescribeStatement,
        client::DESCRIBE => Kind::DescribePortal,
        client::EXECUTE => Kind::Execute,
        client::CLOSE => Kind::Close,
        client::SYNC => Kind::Sync,
        client::QUERY => Kind::Query,
        client::FUNCTION_CALL => Kind::FunctionCall,
        client::COPY_DONE | client::COPY_FAIL => Kind::CopyEnd,
        _ => return None,
    })
}
