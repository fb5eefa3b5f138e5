//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677, 5929) as PostgreSQL speaks them.
//!
//! [`server`] is our part when a client logs in to us, [`client`] when we log in to a server; both
//! are chains of consumed types, so that no step can be taken twice or out of order. Messages are
//! bytes: PostgreSQL ignores the user name inside them, which need not be UTF-8.

mod attributes;
pub mod client;
mod keys;
pub mod server;

pub(in crate::auth) use keys::hmac;
pub use keys::{Key, KeyRequest, ScramKeys, Verifier, VerifierError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The mechanism without channel binding.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The mechanism with channel binding.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// The only channel binding PostgreSQL knows (RFC 5929 section 4).
const BINDING_TYPE: &str = "tls-server-end-point";

/// Longest message read from either side, in bytes: PostgreSQL's own limit for SASL messages.
pub const MAX_MESSAGE_BYTES: usize = 1024;
/// Most iterations we compute because a server told us so, unless the caller raises it: 24 times
/// PostgreSQL's default, 12 ms. Without a cap an impostor could keep a core busy for minutes.
pub const MAX_ITERATIONS: u32 = 100_000;
/// Most iterations accepted in a stored verifier. The operator wrote it, and SCRAM itself does not
/// compute them; only the cleartext method does, for a second at most.
pub const MAX_STORED_ITERATIONS: u32 = 10_000_000;
/// Random bytes in a nonce, as many as PostgreSQL takes.
pub const NONCE_BYTES: usize = 18;

/// The nonce as it is sent: base64 has no comma and only printable characters.
fn nonce_text(random: &[u8; NONCE_BYTES]) -> String {
    STANDARD.encode(random)
}

/// The `c=` field: the GS2 header again, followed by the hash of the server's certificate if bound.
fn binding_field(gs2_header: &[u8], binding: &[u8]) -> String {
    STANDARD.encode([gs2_header, binding].concat())
}
