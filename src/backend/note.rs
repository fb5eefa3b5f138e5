//! What a message changes, kept with its entry in the queue of expected replies until its answer
//! says whether it has.
//!
//! Owns data only. A change is made when its message is sent, so that the messages behind it find
//! it, and undone, newest first, when the answer does not come.

use super::statements::{Known, Statement};
use crate::fault::Fault;
use crate::metrics::Run;
use crate::sql::Mention;
use crate::wire::server::RowShape;
use std::collections::VecDeque;
use std::sync::Arc;

/// What to commit when an answer comes, or to undo when it does not.
#[derive(Debug)]
pub enum Note {
    /// A Parse by the client: its new name for a statement.
    Parse {
        /// The client's name.
        name: Box<[u8]>,
        /// The statement that the server was asked to prepare.
        on_server: u64,
    },
    /// A Parse of the client's that must fail because it uses the name already.
    Duplicate(Box<[u8]>),
    /// Our own Parse of a statement.
    Prepare(u64),
    /// Our own Parse, which may fail: the statement behind it says so then.
    Try(u64),
    /// A Parse or Close of the unnamed statement.
    Unnamed {
        /// The serial of the new one; zero for a Close.
        serial: u64,
        /// What it was before.
        before: Option<Box<Unnamed>>,
    },
    /// A Parse of the unnamed statement, of this serial, with the text that it has already.
    Again(u64),
    /// Our own Parse or Close of the unnamed statement.
    OfferUnnamed,
    /// A Close of one of the client's statements.
    Close {
        /// The client's name for it.
        name: Box<[u8]>,
        /// What the name stood for.
        named: Box<Named>,
    },
    /// Our own Close of a statement on the server.
    Evict(Box<Known>),
    /// A Bind by the client, of its statement with this serial.
    Bind(u32),
    /// A Describe of a statement by the client.
    Describe {
        /// The serial of the client's statement.
        serial: u32,
        /// The statement.
        id: u64,
    },
    /// A Describe by the client of the unnamed portal, which runs this statement.
    DescribePortal(u64),
    /// Our own Describe, to learn what the statement's rows look like on this server.
    Shape(u64),
    /// Our own Describe behind a Parse of the client's: the types of the parameters that the server
    /// has found for its statement of this serial.
    Parameters(u32),
    /// A Query or an Execute by the client, of this statement.
    Run(Run),
    /// A Query or an Execute by the client that prepares or drops statements in SQL.
    Texts(Box<TextChanges>),
    /// A message sent only to fail: the client is told this instead.
    Refuse(Box<Fault>),
    /// Our own DISCARD SEQUENCES. `is_told`: the client hears of its failure, which is its batch's.
    ForgetSequences {
        /// See above.
        is_told: bool,
    },
    /// A made-up answer: these bytes, without the ReadyForQuery that its message may want.
    Answer(Box<[u8]>),
}

/// A name of ours, and the client's for the same.
pub type NamePair = (Box<[u8]>, Box<[u8]>);

/// What a text changes of the client's prepared statements.
#[derive(Debug, Default)]
pub struct TextChanges {
    /// The statement, for the figures.
    pub run: Option<Run>,
    /// Not yet confirmed, in the order of the text.
    pub changes: VecDeque<Change>,
    /// Where the text that the server got differs from the client's.
    pub edits: Vec<Edit>,
    /// The names in it that the server knows by others: ours, and the client's.
    pub names: Vec<NamePair>,
}

/// One change by a text.
#[derive(Debug)]
pub enum Change {
    /// PREPARE of this name.
    Prepare {
        /// The client's name.
        name: Box<[u8]>,
        /// The statement.
        id: u64,
    },
    /// DEALLOCATE of this name.
    Deallocate {
        /// The client's name.
        name: Box<[u8]>,
        /// What it stood for.
        named: Box<Named>,
        /// What the server knew of it.
        known: Option<Box<Known>>,
    },
    /// DEALLOCATE ALL or DISCARD ALL.
    All {
        /// The client's statements.
        named: Vec<(Box<[u8]>, Named)>,
        /// What the server knew.
        known: Vec<Known>,
    },
}

/// A piece of a text that the server got in another length than the client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Characters in front of the piece, in the server's text.
    pub at: usize,
    /// Characters of the piece in the server's text.
    pub sent: usize,
    /// Characters of the piece in the client's text.
    pub original: usize,
}

/// A client's prepared statement.
#[derive(Clone, Debug)]
pub struct Named {
    /// Tells it from every other statement of its client.
    pub serial: u32,
    /// The statement.
    pub statement: Arc<Statement>,
    /// What the client was told its rows look like.
    pub told: Option<RowShape>,
    /// Its text as the client wrote it, if that mentions prepared statements.
    pub original: Option<Arc<Original>>,
    /// Which statement it is, for the figures.
    pub run: Option<Run>,
    /// SQL's PREPARE has made it.
    pub is_of_sql: bool,
}

/// A text that mentions prepared statements, as its client wrote it.
#[derive(Debug)]
pub struct Original {
    /// The text.
    pub sql: Box<[u8]>,
    /// What it mentions.
    pub mentions: Vec<Mention>,
    /// The statements that it prepares, in their order.
    pub prepares: Vec<Arc<Statement>>,
}

/// A client's unnamed statement.
#[derive(Clone, Debug)]
pub struct Unnamed {
    /// The body of the Parse that made it, as the server got it.
    pub body: Vec<u8>,
    /// Tells it from every other unnamed statement of the process.
    pub serial: u64,
    /// What running it may do to the session; the caller's meaning.
    pub effects: u32,
    /// By which rules its text was read; the caller's meaning.
    pub reading: u8,
    /// Its text as the client wrote it, if that mentions prepared statements.
    pub original: Option<Arc<Original>>,
    /// Which statement it is, for the figures.
    pub run: Option<Run>,
}
