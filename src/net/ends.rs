//! Who is at the two ends of a connection, in words for people.

use super::socket::Socket;
use super::stream::Stream;
use std::net::SocketAddr;

/// The two ends of a connection; without addresses where it is not TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The other end.
    pub remote: Option<SocketAddr>,
    /// Our own.
    pub local: Option<SocketAddr>,
    /// The process at the other end of a Unix socket.
    pub process: Option<i32>,
}

impl Stream {
    /// The two ends, as far as the system knows them.
    pub fn endpoints(&self) -> Endpoints {
        match self.socket() {
            Some(Socket::Tcp(socket)) => Endpoints {
                remote: socket.peer_addr().ok(),
                local: socket.local_addr().ok(),
                process: None,
            },
            Some(Socket::Unix(socket)) => Endpoints {
                process: socket.peer_cred().ok().and_then(|peer| peer.pid()),
                ..Endpoints::default()
            },
            Some(Socket::Memory(_)) | None => Endpoints::default(),
        }
    }

    /// TLS version and cipher, as PgBouncer writes them, if it is encrypted.
    pub fn tls_words(&self) -> Option<Box<str>> {
        let tls = self.tls()?;
        let version = match tls.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLS",
        };
        let suite = tls.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        Some(format!("{version}/{}", suite.unwrap_or_default()).into())
    }
}
