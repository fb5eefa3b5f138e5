//! TLS: who is believed, what is offered, and how `rustls` is driven over a non-blocking socket.
//!
//! Owns the configuration towards servers ([`ServerTls`]) and towards clients ([`ClientTls`]), and
//! the bytes inside one TLS connection. Never reads files: PEM text is handed in. Keeps the
//! invariant that no key and no certificate appears in an error or in `Debug`.
//!
//! Sessions are never resumed, as in PostgreSQL itself: a resumed session would outlive a change of
//! certificate, and its tickets would be bytes that wait unread in idle connections.

mod binding;
mod client;
mod error;
mod host_name;
mod layer;
mod modes;
mod pem;
mod records;
mod server;
mod verify;

#[cfg(test)]
pub(in crate::net) mod certificates;
#[cfg(test)]
mod tests;

pub use binding::tls_server_end_point;
pub use client::{ClientTls, DIRECT_TLS_BYTE};
pub use error::{TlsError, TlsFile};
pub(super) use layer::TlsLayer;
pub use modes::{ClientSslMode, SslMode};
pub use pem::Identity;
pub use server::ServerTls;

use rustls::crypto::CryptoProvider;
use std::sync::Arc;

/// The protocol name PostgreSQL registered; libpq 17 and later offers it.
const ALPN: &[u8] = b"postgresql";

/// Passed explicitly: with two providers in one build the default look-up of `rustls` panics.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
