//! Asks a server on our own account, by the crate `postgres-protocol`.
//!
//! Owns one conversation at a time on a leased server: a Query, its rows, its end. Tells the server's
//! queue of expected replies everything, so that the server can prove that it is at rest. A frame is
//! handed to the crate only when it is whole and of a bounded length, because the crate reserves what
//! a header claims. Never knows what the question is about.

use crate::backend::server::Server;
use crate::backend::state::{Kind, OutOfStep, Reply};
use bytes::BytesMut;
use postgres_protocol::message::backend::{
    DATA_ROW_TAG, ERROR_RESPONSE_TAG, Header, Message, PARAMETER_STATUS_TAG, READY_FOR_QUERY_TAG,
};
use postgres_protocol::message::frontend;
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use thiserror::Error;

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// Longest frame that is taken: the source of a function is in one.
const FRAME_MAX: usize = 64 * 1024 * 1024;

/// Why a question has no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended.
    #[error("the server closed the connection")]
    Closed,
    /// A frame that answers nothing.
    #[error("{0}")]
    OutOfStep(#[from] OutOfStep),
    /// A frame or a row that makes no sense.
    #[error("the server sent a row that was not asked for")]
    Malformed,
    /// A frame that is longer than anything the catalog holds.
    #[error("the server sent a frame of {0} bytes")]
    TooLong(usize),
    /// The server refused the question.
    #[error("{message} (SQLSTATE {code})")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// The message.
        message: String,
    },
    /// The server is older than the questions.
    #[error("PostgreSQL {0} has another catalog; 11 is the oldest that is understood")]
    TooOld(u32),
}

/// One row: the values of its columns. NULL is empty.
pub(super) type Values<'a> = &'a [&'a [u8]];

/// Most columns of a question.
const COLUMNS_MAX: usize = 8;

/// A leased server that is asked.
pub(super) struct Conversation<'a> {
    server: &'a mut Server,
    read: BytesMut,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(server: &'a mut Server) -> Self {
        Self { server, read: BytesMut::new() }
    }

    /// Runs statements and gives each row to `row`. Not cancel safe: drop the server with the future.
    pub(super) async fn ask(
        &mut self,
        sql: &str,
        row: &mut dyn FnMut(Values<'_>) -> Result<(), AskError>,
    ) -> Result<(), AskError> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        drop(self.server.replies.sent(Kind::Query, Reply::Swallow, None));
        // A Query drops the unnamed statement.
        self.server.unnamed = 0;
        self.send(&out).await?;
        let mut refused = None;
        let mut chunk = vec![0; CHUNK];
        loop {
            let n = poll_fn(|cx| self.server.stream.poll_read(cx, &mut chunk)).await?;
            if n == 0 {
                return Err(AskError::Closed);
            }
            self.read.extend_from_slice(chunk.get(..n).unwrap_or_default());
            while let Some(frame) = self.frame()? {
                let ends = frame.first() == Some(&READY_FOR_QUERY_TAG);
                self.take(frame, &mut refused, row)?;
                if ends {
                    return refused.map_or(Ok(()), Err);
                }
            }
            // Rows are read and understood on a thread that others need.
            tokio::task::yield_now().await;
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (stream, mut unsent) = (&mut self.server.stream, Some(bytes));
        poll_fn(|cx| {
            if let Some(bytes) = unsent.take() {
                stream.write(cx, bytes)?;
            }
            stream.flush(cx)?;
            if stream.is_blocked() { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
        .await
    }

    /// The next frame, if it is whole.
    fn frame(&mut self) -> Result<Option<BytesMut>, AskError> {
        let Some(header) = Header::parse(&self.read)? else { return Ok(None) };
        let len = usize::try_from(header.len()).map_err(|_| AskError::Malformed)? + 1;
        if len > FRAME_MAX {
            return Err(AskError::TooLong(len));
        }
        Ok((self.read.len() >= len).then(|| self.read.split_to(len)))
    }

    fn take(
        &mut self,
        mut frame: BytesMut,
        refused: &mut Option<AskError>,
        row: &mut dyn FnMut(Values<'_>) -> Result<(), AskError>,
    ) -> Result<(), AskError> {
        let tag = frame.first().copied().unwrap_or_default();
        match tag {
            PARAMETER_STATUS_TAG => self.server.report(frame.get(5..).unwrap_or_default()),
            READY_FOR_QUERY_TAG => {
                self.server.replies.ready(frame.get(5).copied().unwrap_or_default())?;
            }
            ERROR_RESPONSE_TAG => {
                let Some(Message::ErrorResponse(body)) = Message::parse(&mut frame)? else {
                    return Err(AskError::Malformed);
                };
                *refused = Some(refusal(&body)?);
                self.server.replies.failed(|_| ());
            }
            DATA_ROW_TAG => {
                self.server.replies.received(tag)?;
                let Some(Message::DataRow(body)) = Message::parse(&mut frame)? else {
                    return Err(AskError::Malformed);
                };
                give(&body, row)?;
            }
            _ => {
                self.server.replies.received(tag)?;
            }
        }
        Ok(())
    }
}

fn refusal(
    body: &postgres_protocol::message::backend::ErrorResponseBody,
) -> Result<AskError, AskError> {
    use fallible_iterator::FallibleIterator;
    let (mut code, mut message, mut fields) = (String::new(), String::new(), body.fields());
    while let Some(field) = fields.next()? {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = value,
            b'M' => message = value,
            b'V' if value != "ERROR" => return Ok(AskError::Closed),
            _ => {}
        }
    }
    Ok(AskError::Refused { code, message })
}

fn give(
    body: &postgres_protocol::message::backend::DataRowBody,
    row: &mut dyn FnMut(Values<'_>) -> Result<(), AskError>,
) -> Result<(), AskError> {
    use fallible_iterator::FallibleIterator;
    let mut values = [&b""[..]; COLUMNS_MAX];
    let (mut count, mut ranges) = (0, body.ranges());
    while let Some(range) = ranges.next()? {
        let Some(value) = values.get_mut(count) else { return Err(AskError::Malformed) };
        *value = range.and_then(|range| body.buffer().get(range)).unwrap_or_default();
        count += 1;
    }
    row(values.get(..count).unwrap_or_default())
}
