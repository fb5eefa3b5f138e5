//! Sockets: listen, dial, resolve, TLS, and the stream both sides use.
//!
//! Owns transports. Never knows what a message means.

mod stream;

pub use stream::{SCRATCH, Socket, Stream};
