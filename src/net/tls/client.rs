//! TLS towards clients.

use super::error::{TlsError, TlsFile};
use super::modes::ClientSslMode;
use super::pem::{self, Identity};
use super::{ALPN, provider, tls_server_end_point};
use crate::net::Stream;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{Connection, ServerConfig, ServerConnection};
use std::fmt;
use std::sync::Arc;

/// The first byte of a client that begins with TLS instead of SSLRequest (PostgreSQL 17,
/// `sslnegotiation=direct`): a TLS handshake record. No startup packet begins with it, as its
/// length would be above the limit.
pub const DIRECT_TLS_BYTE: u8 = 0x16;

/// The settings of a listener. Cheap to clone; a client keeps the snapshot it was accepted with, so
/// that certificate and channel binding belong together across a reload.
#[derive(Clone)]
pub struct ClientTls {
    mode: ClientSslMode,
    config: Option<Arc<ServerConfig>>,
    end_point: Option<Arc<[u8]>>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, config: _, end_point: _ } = self;
        f.debug_struct("ClientTls").field("mode", mode).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// `identity` is what clients are shown; `disable` ignores it.
    ///
    /// # Errors
    /// When a text is not what it should be, key and certificate do not belong together, or there
    /// is no certificate.
    pub fn new(mode: ClientSslMode, identity: Option<Identity<'_>>) -> Result<Self, TlsError> {
        if mode == ClientSslMode::Disable {
            return Ok(Self { mode, config: None, end_point: None });
        }
        let identity = identity.ok_or(TlsError::MissingCertificate(mode))?;
        let provider = provider();
        let files = (TlsFile::ClientCert, TlsFile::ClientKey);
        let key = pem::certified_key(identity, &provider, files)?;
        let end_point = key.cert.first().and_then(|leaf| tls_server_end_point(leaf));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { mode, config: Some(Arc::new(config)), end_point: end_point.map(Arc::from) })
    }

    /// Whether SSLRequest is answered `S` and a direct TLS connection is taken.
    pub fn is_offered(&self) -> bool {
        self.config.is_some()
    }

    /// Whether clients without TLS are refused.
    pub fn is_required(&self) -> bool {
        self.mode == ClientSslMode::Require
    }

    /// `tls-server-end-point` of our certificate; without it SCRAM-SHA-256-PLUS is not offered.
    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// A connection for [`Stream::start_tls`] or [`Stream::start_direct_tls`].
    ///
    /// # Errors
    /// When the mode is `disable`.
    pub fn connection(&self) -> Result<Connection, TlsError> {
        let config = self.config.as_ref().ok_or(TlsError::Disabled)?;
        let connection = ServerConnection::new(Arc::clone(config)).map_err(TlsError::Setup)?;
        Ok(Connection::Server(connection))
    }

    /// What PostgreSQL demands of a direct TLS connection after the handshake ("SSL Session
    /// Encryption", 54.2.11): ALPN `postgresql`. `rustls` refuses another name by itself, but not
    /// its absence.
    ///
    /// # Errors
    /// When the client did not name the protocol; it must be disconnected.
    pub fn check_direct(stream: &Stream) -> Result<(), TlsError> {
        match stream.tls().and_then(|tls| tls.alpn_protocol()) {
            Some(ALPN) => Ok(()),
            _ => Err(TlsError::MissingAlpn),
        }
    }
}
