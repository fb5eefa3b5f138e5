//! Sockets: listen, dial, resolve, TLS, and the stream both sides use.
//!
//! Owns transports. Never knows what a message means.

mod address;
mod dial;
mod framed;
mod stream;

pub use address::{NodeAddress, NodeHost};
pub use dial::{Resolver, TcpOptions, dial};
pub use framed::{Frame, FrameError, Framed};
pub use stream::{SCRATCH, Socket, Stream};
