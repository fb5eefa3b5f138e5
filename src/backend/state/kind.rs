//! Kinds of messages that are answered, and what each answer means for its message.

use crate::wire::{client, server};

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
    pub(super) fn ends_with_ready(self) -> bool {
        matches!(self, Self::Sync | Self::Query | Self::FunctionCall)
    }
}

/// How a frame relates to the message in front.
pub(super) enum Answer {
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

pub(super) fn answer(kind: Kind, tag: u8) -> Answer {
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
        (
            Kind::Query,
            server::ROW_DESCRIPTION
            | server::DATA_ROW
            | server::EMPTY_QUERY
            | server::COPY_DATA
            | server::COPY_DONE,
        ) => Answer::Part,
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
            | server::NEGOTIATE
            | server::ERROR
            | server::NOTICE
            | server::NOTIFICATION
            | server::PARAMETER_STATUS
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
