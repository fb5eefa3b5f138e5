//! A stream read one whole frame at a time: for logins, resets and cancels, never for queries.
//!
//! Owns what was read and not yet asked for. Keeps the invariant that a stream given back has
//! nothing left in it.

use super::stream::Stream;
use crate::wire::{self, MalformedFrame};
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use thiserror::Error;

/// Bytes asked for at a time: logins are small, and one thread runs thousands of them.
const CHUNK: usize = 4096;

/// Why no frame came.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The connection ended.
    #[error("the connection was closed")]
    Closed,
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A length out of bounds.
    #[error("{0}")]
    Malformed(#[from] MalformedFrame),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The message type.
    pub tag: u8,
    /// The body.
    pub body: Vec<u8>,
}

/// A stream and what was read from it.
#[derive(Debug)]
pub struct Framed {
    stream: Stream,
    held: Vec<u8>,
}

impl Framed {
    /// Starts with nothing read.
    pub fn new(stream: Stream) -> Self {
        Self { stream, held: Vec::new() }
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Sends all of it. Not cancel safe: a part may have been sent.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = Some(bytes);
        poll_fn(|cx| {
            if let Some(bytes) = rest.take() {
                self.stream.write(cx, bytes)?;
            }
            self.stream.flush(cx)?;
            if self.stream.is_blocked() { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
        .await
    }

    /// The next frame. Cancel safe: what was read stays.
    ///
    /// # Errors
    /// When the connection ends, or a length is below four or above `max`.
    pub async fn frame(&mut self, max: usize) -> Result<Frame, FrameError> {
        loop {
            if let Some(header) = wire::header(&self.held, max)?
                && self.held.len() >= header.total()
            {
                let rest = self.held.split_off(header.total());
                let mut whole = std::mem::replace(&mut self.held, rest);
                let body = whole.split_off(wire::HEADER_LEN);
                return Ok(Frame { tag: header.tag, body });
            }
            self.read_more().await?;
        }
    }

    /// At least `count` untagged bytes, still held. Cancel safe.
    ///
    /// # Errors
    /// When the connection ends first.
    pub async fn peek(&mut self, count: usize) -> Result<&[u8], FrameError> {
        while self.held.len() < count {
            self.read_more().await?;
        }
        Ok(&self.held)
    }

    /// How the connection ends. What comes meanwhile is held, but not more than `max` bytes of it:
    /// then nobody can tell. Cancel safe: what was read stays.
    pub async fn ended(&mut self, max: usize) -> FrameError {
        while self.held.len() < max {
            if let Err(error) = self.read_more().await {
                return error;
            }
        }
        std::future::pending().await
    }

    /// Removes the first `count` bytes of what is held.
    pub fn consume(&mut self, count: usize) -> Vec<u8> {
        let rest = self.held.split_off(count.min(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether bytes were read that nobody asked for yet.
    pub fn has_more(&self) -> bool {
        !self.held.is_empty()
    }

    /// Gives the stream back, with what was read beyond the last frame.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.held)
    }

    async fn read_more(&mut self) -> Result<(), FrameError> {
        let mut chunk = [0u8; CHUNK];
        let n = poll_fn(|cx| {
            // TLS may have something to say first.
            self.stream.flush(cx)?;
            self.stream.poll_read(cx, &mut chunk)
        })
        .await?;
        if n == 0 {
            return Err(FrameError::Closed);
        }
        self.held.extend_from_slice(chunk.get(..n).unwrap_or_default());
        Ok(())
    }
}
