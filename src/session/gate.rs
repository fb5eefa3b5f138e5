//! A question to the server that the client's bytes wait behind.

/// A question to the server.
#[derive(Debug)]
pub(super) enum Gate {
    /// `server_check_query`: is it alive?
    Alive(Answer),
    /// Be given the session's settings.
    Align(Answer),
    /// Begin the transaction that was on a replica.
    Begin(Answer),
    /// Which settings and objects does the session have there now?
    Check(Answer),
    /// What do a statement's rows look like? The answer goes to the statements.
    Shape,
    /// No question: what the client has sent changes what the messages behind it mean.
    Answers,
}

impl Gate {
    /// Where the answer to a question of ours goes.
    pub(super) fn answer(&mut self) -> Option<&mut Answer> {
        match self {
            Self::Alive(answer)
            | Self::Align(answer)
            | Self::Begin(answer)
            | Self::Check(answer) => Some(answer),
            Self::Shape | Self::Answers => None,
        }
    }

    /// Whether all that is awaited was asked by us.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self, Self::Shape | Self::Answers)
    }
}

/// An answer to one of our own queries.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The columns of each row.
    pub(super) rows: Vec<Vec<Option<Vec<u8>>>>,
    /// The whole ErrorResponse, if it failed.
    pub(super) error: Option<Vec<u8>>,
}
