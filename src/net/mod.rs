//! Sockets: listen, dial, resolve, TLS, and the stream both sides use.
//!
//! Owns transports. Never knows what a message means.

mod address;
mod dial;
mod ends;
mod framed;
mod http_get;
mod listen;
mod socket;
mod stream;
mod tls;

pub use address::{NodeAddress, NodeHost};
pub use dial::{Resolver, TcpOptions, dial};
pub use ends::Endpoints;
pub use framed::{Frame, FrameError, Framed};
pub use http_get::{GetError, HttpUrl};
pub use listen::{ListenOptions, Listener, Peer};
pub use socket::{SCRATCH, Socket};
pub use stream::{Stream, handshake};
pub use tls::{
    ClientSslMode, ClientTls, DIRECT_TLS_BYTE, Identity, ServerTls, SslMode, TlsError, TlsFile,
    tls_server_end_point,
};
