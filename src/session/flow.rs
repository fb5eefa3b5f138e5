//! What interrupts the work of a session, and how far: the server is left, or the session ends.

use crate::fault::Fault;

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client sent Terminate or closed its connection.
    Left,
    /// The client's connection broke.
    ClientLost(std::io::Error),
    /// The client does not speak the protocol, so no answer is sent.
    ProtocolError(Box<str>),
    /// The client is told why.
    Fault(Box<Fault>),
    /// The client gets a server's error.
    ServerError(Box<ServerError>),
    /// The server itself has sent the client the error that ends the session.
    ServerSentFatal,
}

/// A server's error for a client whose session it ends.
#[derive(Debug)]
pub(super) struct ServerError {
    /// The whole message.
    pub(super) message: Vec<u8>,
    /// The text for the log.
    pub(super) reason: String,
}

impl End {
    /// The client is told why.
    pub(super) fn fault(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }

    /// The client gets a server's error, whose text this is.
    pub(super) fn server_error(message: Vec<u8>, reason: String) -> Self {
        Self::ServerError(Box::new(ServerError { message, reason }))
    }
}

/// How a session leaves its server before it ends.
#[derive(Debug)]
pub(super) enum Leave {
    /// The server is at rest and clean, and goes back.
    GiveBack,
    /// It is closed, for this reason.
    Close(&'static str),
    /// Its connection has ended.
    Lost,
    /// It is closed, for this reason, and the client's statement gets another one.
    TryAnother(&'static str),
    /// It could not be given the session's settings, for which it sent this error.
    NotAligned(Box<[u8]>),
    /// It is a replica and has refused a read, or was lost in it; the primary gets the read.
    Repeat,
    /// It is a replica with a transaction that goes on on the primary.
    Move,
    /// A cancel request came before it got anything of the client's.
    Cancelled,
}

/// What interrupts the work on a phase. Small: every step returns it, and nearly none does.
#[derive(Debug)]
pub(super) enum Stop {
    /// The session ends.
    End(End),
    /// The session leaves its server.
    Leave(Leave),
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// The outcome of a step.
pub(super) type Flow<T = ()> = Result<T, Stop>;
