//! A session's alarm and what it is about, and the moments that it measures from.

use crate::pool::core::Tick;

/// What a pending time-out is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// Nothing.
    Off,
    /// The client waits for a server.
    Wait,
    /// A statement runs.
    Query,
    /// A statement was cancelled and does not end.
    Cancelled,
    /// The client is silent inside a transaction.
    IdleTransaction,
    /// The client is silent outside.
    Idle,
    /// The client has closed its sending side: does it still hear?
    Departed,
    /// What a client that is gone has asked for still runs.
    Abandoned,
    /// The session ends when what was asked is answered.
    Ending,
    /// The server was asked something by us.
    Gate,
}

/// A session's alarm, and what it is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    pub(super) clock: Clock,
    /// When the transaction began, if there are limits for it.
    pub(super) transaction_since: Option<Tick>,
}

impl Timer {
    pub(super) fn off() -> Self {
        Self { clock: Clock::Off, transaction_since: None }
    }
}

/// The moments that a session measures from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    /// When what is being answered was sent to the server.
    pub(super) query: Tick,
    /// When the transaction began.
    pub(super) transaction: Tick,
    /// The last moment that is known.
    pub(super) known: Tick,
}

impl Moments {
    pub(super) fn at(now: Tick) -> Self {
        Self { query: now, transaction: now, known: now }
    }
}
