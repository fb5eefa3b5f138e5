//! What one server connection still owes, as a pure state machine.
//!
//! Owns a queue with one entry for each message sent that will be answered, and what to do with
//! the answer. Never touches a socket. Keeps the invariant that a server whose [`Replies::rest`]
//! is [`Rest::AtRest`] owes nothing to anybody: no reply is outstanding, no batch is open, and
//! its last ReadyForQuery said idle. Counting Syncs is not enough, because PostgreSQL ignores a
//! Sync that arrives during COPY (manual, "COPY Operations"); where nobody outside can tell
//! whether it did, the answer is [`Rest::Unprovable`] and the connection must be closed, unless an
//! answer to a new question proves that everything before it has been answered.
//!
//! ```text
//!   sent(kind) ──▶ [ entry, entry, … ] ──▶ received(tag) settles the front entry
//!                    │ error in a batch: entries up to the next Sync are dropped,
//!                    ▼ and so is what is sent until a Sync (skipping)
//! ```

mod kind;

pub use kind::{Kind, kind_of};

use crate::wire::{self, server};
use kind::{Answer, answer};
use std::collections::VecDeque;

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
/// when it does not. Each note comes back exactly once: from [`Replies::sent`],
/// [`Replies::received`], [`Replies::ready`], [`Replies::take_fake`] or through the argument of
/// [`Replies::failed`]; but a Sync has none, since a copy may ignore it.
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
    /// Nobody can tell: close it, or ask ([`Replies::may_ask`]).
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
    /// Syncs were sent that the server ignored, if it read them during the copy that goes on.
    sync_in_copy: bool,
    /// The notes of those Syncs: the model gives notes to Syncs too.
    #[cfg(any(test, fuzzing))]
    ignored: Vec<Expected<N>>,
    /// What is in front has been answered in part.
    begun: bool,
    doubt: Doubt,
    status: u8,
    /// Entries that were ever made.
    entered: u64,
    /// The serial of the last that ends with ReadyForQuery.
    last_end: u64,
}

/// What the server may still send that no entry of the queue expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    No,
    /// ReadyForQuery, for Syncs that it ignored if it read them before its copy failed. All of it
    /// comes before the answer to whatever is asked now.
    Readys,
    /// The same, when the Query whose copy failed has got its own ReadyForQuery.
    ReadysBehind,
    /// Anything: messages stood between those Syncs, or it said that it goes away.
    Anything,
}

impl<N> Default for Replies<N> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            copy: Copy::No,
            skipping: false,
            open_batch: false,
            sync_in_copy: false,
            #[cfg(any(test, fuzzing))]
            ignored: Vec::new(),
            begun: false,
            doubt: Doubt::No,
            status: wire::IDLE,
            entered: 0,
            last_end: 0,
        }
    }
}

impl<N> Replies<N> {
    /// Whether the server may be given back.
    pub fn rest(&self) -> Rest {
        let owes = !self.queue.is_empty() || self.copy != Copy::No || self.skipping;
        if owes || self.open_batch || self.status != wire::IDLE {
            // Doubt or not, the client still has a claim on it.
            Rest::Busy
        } else if self.doubt != Doubt::No {
            Rest::Unprovable
        } else {
            Rest::AtRest
        }
    }

    /// Whether a Query sent now is answered whatever else the server still says, so that
    /// [`Rest::Unprovable`] ends with its answer.
    pub fn may_ask(&self) -> bool {
        let provable = self.doubt != Doubt::Anything;
        provable && matches!(self.rest(), Rest::AtRest | Rest::Unprovable)
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

    /// Whether the server waits for the end of a copy that has not been sent.
    pub fn awaits_copy_end(&self) -> bool {
        self.copy == (Copy::In { ended: false })
    }

    /// Whether the server has something to do that it can do without hearing more: not a copy
    /// whose end has not been sent, if that is all.
    pub fn has_work(&self) -> bool {
        let waits = usize::from(self.awaits_copy_end());
        let mut others = self.queue.iter().skip(waits);
        others.any(|entry| !matches!(entry.kind, Kind::CopyEnd | Kind::Sync))
    }

    /// Answers outstanding.
    pub fn outstanding(&self) -> usize {
        self.queue.len()
    }

    /// The serial of the entry that was made last; 0 before the first.
    #[inline]
    pub fn last_serial(&self) -> u64 {
        self.entered
    }

    /// The serial of the message that ends what is being answered: a Query, or a batch's Sync.
    pub fn serial_of_ready(&self) -> Option<u64> {
        let at = self.queue.iter().position(|entry| entry.kind.ends_with_ready())?;
        let behind = self.queue.len().saturating_sub(at + 1);
        Some(self.entered.saturating_sub(behind as u64))
    }

    /// Whether the entry with this serial is still outstanding.
    pub fn awaits(&self, serial: u64) -> bool {
        serial.saturating_add(self.queue.len() as u64) > self.entered
    }

    /// Whether the entry with this serial is still outstanding, and belongs to an earlier batch than
    /// what is sent now: the server may skip it, and not what is sent now.
    #[inline]
    pub fn may_be_skipped_alone(&self, serial: u64) -> bool {
        serial <= self.last_end && self.awaits(serial)
    }

    /// Whether the server has been told nothing of what is awaited.
    pub fn are_made_up(&self) -> bool {
        self.queue.iter().all(|entry| entry.reply == Reply::Fake)
    }

    /// What to do with the answer to each message on its way that ends with ReadyForQuery, oldest first.
    pub fn replies_with_ready(&self) -> impl Iterator<Item = Reply> {
        let ends = self.queue.iter().filter(|entry| entry.kind.ends_with_ready());
        ends.map(|entry| entry.reply)
    }

    /// Whether messages of a batch were sent and its Sync was not.
    pub fn has_open_batch(&self) -> bool {
        self.open_batch
    }

    /// Whether a ReadyForQuery is outstanding: what the transaction's status will be is not known.
    pub fn awaits_ready(&self) -> bool {
        self.queue.iter().any(|entry| entry.kind.ends_with_ready())
    }

    /// Whether a note of this kind is awaited in front of a ReadyForQuery that is awaited too.
    pub fn spans_ready(&self, is_such: impl Fn(&N) -> bool) -> bool {
        let mut behind = self.queue.iter();
        let found = behind.find(|entry| entry.note.as_ref().is_some_and(&is_such));
        found.is_some_and(|entry| {
            entry.kind.ends_with_ready() || behind.any(|entry| entry.kind.ends_with_ready())
        })
    }

    /// Notes of all that is still awaited, oldest first.
    pub fn notes_mut(&mut self) -> impl Iterator<Item = &mut N> {
        self.queue.iter_mut().filter_map(|entry| entry.note.as_mut())
    }

    /// Notes of what is still awaited of the batch in front, oldest first.
    pub fn notes_of_batch(&self) -> impl Iterator<Item = &N> {
        let batch = self.queue.iter().take_while(|entry| !entry.kind.ends_with_ready());
        batch.filter_map(|entry| entry.note.as_ref())
    }

    /// A message was sent, or (with [`Reply::Fake`]) is to be answered in its turn without having
    /// been sent: any answer may be made up, but one that says that the message failed would leave
    /// the server in a batch that has not failed. Gives the note back when no answer will
    /// come, because the server is going to discard the message or because it is
    /// [`Kind::CopyEnd`]. A Flush has no answer and opens no batch: it is not told.
    #[inline]
    #[must_use]
    pub fn sent(&mut self, kind: Kind, reply: Reply, note: Option<N>) -> Option<N> {
        if kind == Kind::CopyEnd {
            self.copy_end_sent();
            return note;
        }
        if kind == Kind::Sync {
            if self.copy == (Copy::In { ended: false }) {
                self.sync_in_copy = true;
                return note;
            }
            self.skipping = false;
        } else if self.skipping {
            if self.doubt != Doubt::No {
                // Unless the server has read a Sync, and answers this.
                self.doubt = Doubt::Anything;
            }
            return note;
        }
        if reply != Reply::Fake || !kind.ends_with_ready() {
            self.open_batch = !kind.ends_with_ready();
        }
        self.queue.push_back(Expected { kind, reply, note });
        self.entered += 1;
        if kind.ends_with_ready() {
            self.last_end = self.entered;
        }
        None
    }

    /// The next made-up answer whose turn has come. To be asked after each message sent and each
    /// frame received, until there is none.
    #[inline]
    pub fn take_fake(&mut self) -> Option<Expected<N>> {
        match self.queue.front() {
            Some(front) if front.reply == Reply::Fake => self.pop(),
            Some(_) | None => None,
        }
    }

    /// The next Sync, oldest first, that had been sent when the server began the copy that made it
    /// ignore it, if it has a note.
    #[cfg(any(test, fuzzing))]
    fn take_ignored(&mut self) -> Option<Expected<N>> {
        self.ignored.pop()
    }

    /// What to do with a frame that answers what is in front.
    #[inline]
    pub fn front_reply(&self) -> Reply {
        self.queue.front().map_or(Reply::Forward, |front| front.reply)
    }

    /// The note of the front entry.
    pub fn front_note_mut(&mut self) -> Option<&mut N> {
        self.queue.front_mut().and_then(|front| front.note.as_mut())
    }

    /// The front entry's message and note.
    pub fn front(&self) -> Option<&Expected<N>> {
        self.queue.front()
    }

    /// A frame came, other than ErrorResponse and ReadyForQuery. NotificationResponse is always
    /// the client's: it answers nothing.
    ///
    /// # Errors
    /// When it answers nothing that was asked: the connection is out of step and must be closed.
    #[inline]
    pub fn received(&mut self, tag: u8) -> Result<Received<N>, OutOfStep> {
        let reply = self.front_reply();
        let part = Received { reply, settled: None };
        match self.queue.front().map_or(Answer::None, |front| answer(front.kind, tag)) {
            Answer::Part => {
                self.begun = true;
                Ok(part)
            }
            Answer::Copy => {
                self.copy_begins(tag);
                Ok(part)
            }
            Answer::CopyPart => {
                self.begun = true;
                self.copy_ends();
                Ok(part)
            }
            Answer::Whole => {
                self.copy_ends();
                if self.doubt != Doubt::No {
                    self.doubt = self.doubt_behind_answer();
                }
                Ok(Received { reply, settled: self.pop() })
            }
            Answer::None => match tag {
                server::NOTICE | server::PARAMETER_STATUS => Ok(part),
                server::NOTIFICATION => Ok(Received { reply: Reply::Forward, settled: None }),
                // It may answer what follows a Sync that we took for ignored.
                _ if self.doubt != Doubt::No => {
                    Ok(Received { reply: Reply::Forward, settled: None })
                }
                _ => Err(OutOfStep { tag }),
            },
        }
    }

    /// ReadyForQuery came.
    ///
    /// # Errors
    /// When no Sync, Query or FunctionCall is in front.
    #[inline]
    pub fn ready(&mut self, status: u8) -> Result<Received<N>, OutOfStep> {
        let (ends, sync) = self.queue.front().map_or((false, false), |front| {
            (front.kind.ends_with_ready(), front.kind == Kind::Sync)
        });
        // Of the three only a Sync is answered by ReadyForQuery alone.
        if ends && (self.doubt == Doubt::No || self.begun || sync) {
            if self.doubt != Doubt::No && !sync {
                self.doubt = self.doubt_behind_answer();
            }
            let reply = self.front_reply();
            self.status = status;
            self.copy = Copy::No;
            Ok(Received { reply, settled: self.pop() })
        } else if self.doubt != Doubt::No {
            // A Sync that might have been ignored was not.
            self.status = status;
            self.skipping = false;
            Ok(Received { reply: Reply::Forward, settled: None })
        } else {
            Err(OutOfStep { tag: server::READY })
        }
    }

    /// ErrorResponse came. Hands the entries that will never be answered to `dropped`, newest
    /// first, so that what they noted can be undone in that order. After a FATAL one nothing is at
    /// rest any more.
    pub fn failed(&mut self, mut dropped: impl FnMut(Expected<N>)) -> Reply {
        let reply = self.front_reply();
        self.doubt = self.doubt.max(self.doubt_of_failure());
        self.copy_ends();
        self.begun = true;
        if self.queue.front().is_some_and(|front| !front.kind.ends_with_ready()) {
            let upto = self.queue.iter().position(|entry| entry.kind == Kind::Sync);
            self.skipping = upto.is_none();
            self.open_batch &= !self.skipping;
            let upto = upto.unwrap_or(self.queue.len());
            self.queue
                .drain(..upto)
                .rev()
                .filter(|entry| entry.kind != Kind::CopyEnd)
                .for_each(&mut dropped);
            self.begun = false;
        }
        reply
    }

    /// What an error makes unknown.
    fn doubt_of_failure(&self) -> Doubt {
        if self.queue.is_empty() {
            // A server that owes nothing sends an error only to say why it closes the connection.
            return Doubt::Anything;
        }
        if !self.sync_in_copy {
            return Doubt::No;
        }
        // Whether the server read those Syncs before or after it failed, nobody can tell, nor
        // whether it discards what stands between them and the next Sync.
        let copy_is_query = self.queue.front().is_some_and(|copy| copy.kind == Kind::Query);
        let behind = self.queue.get(1).map(|entry| entry.kind);
        let mut behind_end = self.queue.iter().skip(1).map(|entry| entry.kind);
        let next = behind_end.find(|kind| *kind != Kind::CopyEnd);
        match (behind, next) {
            (None | Some(Kind::CopyEnd), _) if copy_is_query => Doubt::ReadysBehind,
            (_, None | Some(Kind::Sync)) => Doubt::Readys,
            _ => Doubt::Anything,
        }
    }

    /// What remains unknown when a message other than Sync was answered, and with it all that was
    /// sent before.
    fn doubt_behind_answer(&self) -> Doubt {
        match self.doubt {
            Doubt::No | Doubt::Readys => Doubt::No,
            Doubt::ReadysBehind => Doubt::Readys,
            Doubt::Anything => Doubt::Anything,
        }
    }

    /// Takes the front entry out. What ends no copy must not stay in front.
    #[inline]
    fn pop(&mut self) -> Option<Expected<N>> {
        let front = self.queue.pop_front();
        self.begun = false;
        while self.queue.front().is_some_and(|front| front.kind == Kind::CopyEnd) {
            self.queue.pop_front();
        }
        front
    }

    fn copy_end_sent(&mut self) {
        match self.copy {
            Copy::In { .. } => self.copy = Copy::In { ended: true },
            // Out of a copy the server ignores CopyDone and CopyFail, but one may still begin.
            Copy::No if self.queue.is_empty() || self.skipping => return,
            Copy::No | Copy::Both => {}
        }
        let kind = Kind::CopyEnd;
        self.entered += 1;
        self.queue.push_back(Expected { kind, reply: Reply::Forward, note: None });
    }

    /// A copy begins. When it is from the client, the server ignores Syncs until CopyDone or
    /// CopyFail, those already on their way included.
    fn copy_begins(&mut self, tag: u8) {
        self.begun = true;
        match tag {
            server::COPY_BOTH => self.copy = Copy::Both,
            server::COPY_IN => {
                let end = self.queue.iter().position(|entry| entry.kind == Kind::CopyEnd);
                self.copy = Copy::In { ended: end.is_some() };
                self.ignore_syncs(end.unwrap_or(self.queue.len()));
            }
            _ => {}
        }
    }

    fn ignore_syncs(&mut self, upto: usize) {
        let before = self.queue.len();
        for index in (1..upto).rev() {
            if self.queue.get(index).is_some_and(|entry| entry.kind == Kind::Sync) {
                let sync = self.queue.remove(index);
                self.entered = self.entered.saturating_sub(1);
                #[cfg(any(test, fuzzing))]
                self.ignored.extend(sync.filter(|sync| sync.note.is_some()));
                #[cfg(not(any(test, fuzzing)))]
                debug_assert!(sync.is_none_or(|sync| sync.note.is_none()), "a Sync has no note");
            }
        }
        if self.queue.len() < before {
            self.sync_in_copy = true;
            // The batch that the last of them would have closed goes on.
            let last = self.queue.iter().rev().find(|entry| entry.kind != Kind::CopyEnd);
            self.open_batch = last.is_some_and(|last| !last.kind.ends_with_ready());
        }
    }

    /// The copy is over: what ended it stands right behind what began it, if it was sent.
    fn copy_ends(&mut self) {
        if self.copy == Copy::No {
            return;
        }
        self.copy = Copy::No;
        self.sync_in_copy = false;
        if self.queue.get(1).is_some_and(|entry| entry.kind == Kind::CopyEnd) {
            self.queue.remove(1);
            self.entered = self.entered.saturating_sub(1);
        }
    }
}

#[cfg(any(test, fuzzing))]
mod model;
#[cfg(any(test, fuzzing))]
mod simulate;
#[cfg(fuzzing)]
pub use simulate::fuzz;
#[cfg(test)]
mod tests;
