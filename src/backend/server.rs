//! One connection to PostgreSQL, logged in.
//!
//! Owns the socket, what the server still owes, the statements it has prepared and the settings
//! it has been given. Never knows pools or clients. Keeps the invariant that [`Server::rest`] says
//! at rest only when nothing at all is left: in the queue, in the buffers, or on its way from a
//! cancel request.

use super::cancel::CancelTarget;
use super::life::Life;
use super::settings::{Baseline, Settings};
use super::state::{Replies, Rest};
use super::statements::{Known, Prepared, Statement};
use crate::fault::Fault;
use crate::metrics::Run;
use crate::net::Stream;
use std::borrow::Cow;
use std::sync::Arc;

/// What to commit when an answer comes, or to undo when it does not.
#[derive(Debug)]
pub enum Note {
    /// A Parse: the client's new name for the statement, and whether the server got it.
    Parse {
        /// The client's name for it, when the client asked.
        name: Option<Box<[u8]>>,
        /// The statement that the server was asked to prepare.
        on_server: Option<u64>,
    },
    /// A Parse that must fail because the client uses the name already.
    Duplicate(Box<[u8]>),
    /// A Parse or Close of the unnamed statement.
    Unnamed {
        /// The serial of the new one; zero for a Close.
        serial: u64,
        /// What it was before.
        before: Option<Box<Unnamed>>,
    },
    /// A Parse of the unnamed statement, of this serial, with the text that it has already.
    Again(u64),
    /// A Close of one of the client's statements.
    Close {
        /// The client's name for it.
        name: Box<[u8]>,
        /// What the name stood for.
        named: Box<Named>,
    },
    /// Our own Close of a statement on the server.
    Evict(Box<Known>),
    /// A Describe of a statement by the client.
    Describe {
        /// The client's name for it.
        name: Box<[u8]>,
        /// The statement.
        id: u64,
    },
    /// A Describe by the client of the unnamed portal, which runs this statement.
    DescribePortal(u64),
    /// Our own Describe, to learn what the statement's rows look like on this server.
    Shape(u64),
    /// Our own Parse, which may fail: the statement behind it says so then.
    Try(u64),
    /// A Query or an Execute by the client, of this statement.
    Run(Run),
    /// A message sent only to fail: the client is told this instead.
    Refuse(Box<Fault>),
}

/// A client's prepared statement.
#[derive(Clone, Debug)]
pub struct Named {
    /// The statement.
    pub statement: Arc<Statement>,
    /// What the client was told its rows look like.
    pub told: Option<crate::wire::server::RowShape>,
}

/// A client's unnamed statement.
#[derive(Clone, Debug)]
pub struct Unnamed {
    /// The body of the Parse that made it.
    pub body: Vec<u8>,
    /// Tells it from every other unnamed statement of the process.
    pub serial: u64,
    /// What running it may do to the session.
    pub effects: u32,
}

/// What a server reported of itself at login, as ParameterStatus.
pub type Reported = Vec<(Box<[u8]>, Box<[u8]>)>;

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
    /// The settings it has been given since login, counted from its baseline.
    pub settings: Arc<Settings>,
    /// What `connect_query` has set.
    pub baseline: Baseline,
    /// The client that may have changed settings which cannot be listed: everybody else resets
    /// all of them first.
    pub tainted_by: Option<u64>,
    /// It has statements that we do not know of: it must not go to anybody else.
    pub is_strange: bool,
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
    /// `standard_conforming_strings`, as of the last time it said so.
    pub conforming: bool,
    /// Its place in the log, once it has one.
    pub life: Option<Box<Life>>,
}

impl Server {
    /// It is about to be closed, for this reason: for the log.
    pub fn ends(&mut self, reason: impl Into<Cow<'static, str>>) {
        if let Some(life) = &mut self.life {
            life.ends(reason);
        }
    }

    /// May it be given to somebody else?
    pub fn rest(&self) -> Rest {
        match self.replies.rest() {
            Rest::AtRest if self.is_strange || self.is_closing => Rest::Unprovable,
            Rest::AtRest if self.is_clear() => Rest::AtRest,
            Rest::AtRest | Rest::Busy => Rest::Busy,
            Rest::Unprovable => Rest::Unprovable,
        }
    }

    /// Whether it answers a question asked now.
    pub fn may_ask(&self) -> bool {
        self.replies.may_ask() && !self.is_strange && !self.is_closing
    }

    /// What the server last said of the parameter that this ParameterStatus is about.
    pub fn reported_value(&self, body: &[u8]) -> Option<Box<[u8]>> {
        let (name, _) = crate::wire::server::read_parameter_status(body)?;
        let found = self.reported.iter().find(|(known, _)| **known == *name);
        found.map(|(_, value)| value.clone())
    }

    /// Whether no buffer holds anything and no cancel request is on its way.
    fn is_clear(&self) -> bool {
        self.held.is_empty()
            && self.rest_of_frame == 0
            && self.stream.is_quiet()
            && !self.cancel.is_in_flight()
    }
}
