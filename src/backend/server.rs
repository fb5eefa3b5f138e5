//! One connection to PostgreSQL, logged in.
//!
//! Owns the socket, what the server still owes, the statements it has prepared and the settings
//! it has been given. Never knows pools or clients. Keeps the invariant that [`Server::rest`] says
//! at rest only when nothing at all is left: in the queue, in the buffers, or on its way from a
//! cancel request.

use super::cancel::CancelTarget;
use super::connection_log::ConnectionLog;
use super::note::Note;
use super::settings::{Baseline, Settings};
use super::state::{Replies, Rest};
use super::statements::Prepared;
use crate::net::Stream;
use crate::wire::client;
use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Waker};

/// What a server reported of itself at login, as ParameterStatus.
pub type Reported = Vec<(Box<[u8]>, Box<[u8]>)>;

/// Whose use of sequences the server's session remembers for `currval` and `lastval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sequences {
    /// Nobody's.
    #[default]
    None,
    /// At most those of one use, by its number.
    Of(u64),
    /// Those of several.
    Mixed,
}

impl Sequences {
    /// What they are when this use may have moved one.
    pub fn moved_by(self, user: u64) -> Self {
        match self {
            Self::None => Self::Of(user),
            Self::Of(other) if other == user => self,
            Self::Of(_) | Self::Mixed => Self::Mixed,
        }
    }

    /// Whether no other use has moved a sequence.
    pub fn are_of(self, user: u64) -> bool {
        match self {
            Self::None => true,
            Self::Of(other) => other == user,
            Self::Mixed => false,
        }
    }
}

/// One connection to PostgreSQL, logged in.
#[derive(Debug)]
pub struct Server {
    /// The socket.
    pub stream: Stream,
    /// What it owes.
    pub replies: Replies<Note>,
    /// The named statements it has prepared for us.
    pub prepared: Prepared,
    /// The serial of the unnamed statement it holds; zero when it holds none.
    pub unnamed: u64,
    /// The entry of the queue that has made it so.
    pub unnamed_by: u64,
    /// The last entry of the queue that changes which named statements it has prepared for us.
    pub prepared_by: u64,
    /// The settings it has been given since login, counted from its baseline.
    pub settings: Arc<Settings>,
    /// What `connect_query` has set.
    pub baseline: Baseline,
    /// The client that may have changed settings which cannot be listed: everybody else resets
    /// all of them first.
    pub tainted_by: Option<u64>,
    /// It has said that it closes the connection: it will answer nothing more.
    pub is_closing: bool,
    /// A part of a frame that has to be whole.
    pub held: Vec<u8>,
    /// Bytes that are still to come of a frame that passes by length.
    pub rest_of_frame: usize,
    /// How to cancel what it runs.
    pub cancel: Arc<CancelTarget>,
    /// What it has said of its parameters.
    pub reported: Arc<Reported>,
    /// When it was logged in: nanoseconds of a clock that counts while the machine sleeps.
    pub opened: u64,
    /// The timeline of which its node has said, over this connection, that it is the primary; zero if it
    /// was not asked.
    pub timeline: u32,
    /// Whose calls of `nextval` its session remembers.
    pub sequences: Sequences,
    /// The entry of the queue that has made it forget others'.
    pub sequences_by: u64,
    /// Its log entry, once it is logged in.
    pub connection_log: Option<Box<ConnectionLog>>,
}

impl Server {
    /// Sets the reason that the log gives when the connection is closed.
    pub fn set_close_reason(&mut self, reason: impl Into<Cow<'static, str>>) {
        if let Some(connection_log) = &mut self.connection_log {
            connection_log.set_close_reason(reason);
        }
    }

    /// Closes the connection for this reason. A server at rest is told, so that its process ends at
    /// once. Does not wait: what the kernel does not take at once is not sent, and the connection is
    /// closed all the same.
    pub fn terminate(mut self: Box<Self>, reason: impl Into<Cow<'static, str>>) {
        self.set_close_reason(reason);
        if self.rest() != Rest::AtRest {
            return;
        }
        let (mut cx, mut out) = (Context::from_waker(Waker::noop()), Vec::new());
        client::bare(&mut out, client::TERMINATE);
        if self.stream.write(&mut cx, &out).is_ok() {
            _ = self.stream.poll_close(&mut cx);
        }
    }

    /// May it be given to somebody else?
    pub fn rest(&self) -> Rest {
        match self.replies.rest() {
            Rest::AtRest if self.is_closing => Rest::Unprovable,
            Rest::AtRest if self.is_clear() => Rest::AtRest,
            Rest::AtRest | Rest::Busy => Rest::Busy,
            Rest::Unprovable => Rest::Unprovable,
        }
    }

    /// What it last said of the parameter of this name.
    pub fn reported_parameter(&self, name: &[u8]) -> Option<&[u8]> {
        self.reported.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }

    /// Whether it answers a question asked now.
    pub fn may_ask(&self) -> bool {
        self.replies.may_ask() && !self.is_closing
    }

    /// What the server last said of the parameter that this ParameterStatus is about.
    pub fn reported_value(&self, body: &[u8]) -> Option<Box<[u8]>> {
        let (name, _) = crate::wire::server::read_parameter_status(body)?;
        self.reported_parameter(name).map(Into::into)
    }

    /// Whether no buffer holds anything and no cancel request is on its way.
    fn is_clear(&self) -> bool {
        self.held.is_empty()
            && self.rest_of_frame == 0
            && self.stream.is_quiet()
            && !self.cancel.is_in_flight()
    }
}
