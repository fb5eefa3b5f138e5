//! Password exchanges as pure state machines: bytes in, bytes out, verdict.
//!
//! Owns what a secret is ([`Secret`], [`Users`]), how a client proves it to us ([`ClientExchange`])
//! and how we prove it to a server ([`ServerLogin`]). Never touches a socket, a clock or a source of
//! randomness: the caller passes bytes in, so that every exchange can be replayed in a test. Never
//! derives a key (half a millisecond at 4,096 iterations) without saying so in the function's doc.
//!
//! Invariant: no secret, key or proof is shown by `Debug`, `Display` or an error of this module, and
//! each is overwritten when it is dropped.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

mod exchange;
mod md5;
mod saslprep;
pub mod scram;
mod server_login;
mod stored_secret;
mod users;

pub use exchange::{
    Account, Cause, Challenge, ClientExchange, Entropy, Method, MockKey, Rejection, Terms,
    UnknownShape,
};
pub use scram::{KeyRequest, ScramKeys, Verifier};
pub use server_login::{AuthRequest, Credential, LoginError, LoginStep, ServerLogin};
pub use stored_secret::{Md5Secret, Password, Secret, SecretError};
pub use users::{LineError, LineFault, Users};

/// Longest password accepted in a message or a file, in bytes: PostgreSQL's own limit for a
/// password message. Access tokens used as passwords need more than a kilobyte.
pub const MAX_PASSWORD_BYTES: usize = 65_535;

#[cfg(test)]
mod tests;
