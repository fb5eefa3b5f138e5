//! Bytes to frames and message views, and encoders that append to a buffer.
//!
//! Owns the vocabulary of PostgreSQL's protocol 3.0 (manual, "Frontend/Backend Protocol"). Never
//! does IO, never decides, and never rejects an unknown tag: what it does not know is forwarded.
//! Every length is checked before anything is allocated or sliced.

pub mod client;
mod error;
mod frame;
pub mod server;
mod startup;

pub use error::{
    ErrorFields, as_fatal, error_fields, fault, notice, warning, with_fields, with_message,
    with_texts, without_field,
};
pub use frame::{HEADER_LEN, Header, MalformedFrame, header};
pub use startup::{
    CANCEL_BODY_MAX, First, MalformedStartup, STARTUP_MAX, StartupParameters, cancel_request,
    first, ssl_request, startup_length, startup_message,
};

/// Transaction status in ReadyForQuery: idle, not in a transaction block.
pub const IDLE: u8 = b'I';
/// Transaction status in ReadyForQuery: in a transaction block.
pub const IN_TRANSACTION: u8 = b'T';
/// Transaction status in ReadyForQuery: in a failed transaction block.
pub const FAILED: u8 = b'E';

/// The text of a zero-terminated string at the start of `bytes`, and what follows it.
pub fn cstring(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end.checked_add(1)?..)?))
}
