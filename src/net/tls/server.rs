//! TLS towards servers: libpq's six modes.

use super::error::{TlsError, TlsFile};
use super::modes::SslMode;
use super::pem::{self, Identity};
use super::verify::{Check, Verifier};
use super::{ALPN, provider};
use crate::net::NodeHost;
use rustls::client::Resumption;
use rustls::pki_types::{DnsName, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, Connection};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The settings of one group of servers. Cheap to clone; connections keep the settings they began
/// with when a reload replaces them.
#[derive(Clone)]
pub struct ServerTls {
    mode: SslMode,
    check: Check,
    config: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, check, config: _ } = self;
        f.debug_struct("ServerTls")
            .field("mode", mode)
            .field("check", check)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// `ca_pem` holds the trusted certificates, `identity` what a server that asks for a
    /// certificate is shown. With a CA, `require` checks like `verify-ca`, as in libpq.
    ///
    /// # Errors
    /// When a text is not what it should be, key and certificate do not belong together, or a
    /// verifying mode has no CA. The texts are checked in every mode but `disable`.
    pub fn new(
        mode: SslMode,
        ca_pem: Option<&[u8]>,
        identity: Option<Identity<'_>>,
    ) -> Result<Self, TlsError> {
        let check = match (mode, ca_pem) {
            (SslMode::Disable, _) => {
                return Ok(Self { mode, check: Check::Nothing, config: None });
            }
            (SslMode::Allow | SslMode::Prefer, _) | (SslMode::Require, None) => Check::Nothing,
            (SslMode::VerifyCa | SslMode::VerifyFull, None) => {
                return Err(TlsError::MissingCa(mode));
            }
            (SslMode::Require | SslMode::VerifyCa, Some(_)) => Check::Chain,
            (SslMode::VerifyFull, Some(_)) => Check::ChainAndHost,
        };
        let provider = provider();
        let trusted = match ca_pem {
            Some(pem) => pem::certificates(pem, TlsFile::ServerCa)?,
            None => Vec::new(),
        };
        let verifier = Verifier::new(check, trusted, &provider)
            .map_err(|reason| TlsError::Unusable { file: TlsFile::ServerCa, reason })?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(TlsError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let files = (TlsFile::ServerCert, TlsFile::ServerKey);
                let key = pem::certified_key(identity, &provider, files)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { mode, check, config: Some(Arc::new(config)) })
    }

    /// The mode.
    pub fn mode(&self) -> SslMode {
        self.mode
    }

    /// A connection to `host`, for [`crate::net::Stream::start_tls`] after the server has answered
    /// `S` to SSLRequest.
    ///
    /// # Errors
    /// When the mode is `disable`, `host` is a Unix socket, or a name that must be checked can be in
    /// no certificate.
    pub fn connection(&self, host: &NodeHost) -> Result<Connection, TlsError> {
        let config = self.config.as_ref().ok_or(TlsError::Disabled)?;
        let name = match host {
            NodeHost::SocketDir(_) => return Err(TlsError::UnixSocket),
            NodeHost::Ip(ip) => ServerName::from(*ip),
            NodeHost::Name(name) => match DnsName::try_from(name.clone()) {
                Ok(name) => ServerName::DnsName(name),
                // Nobody compares it, so an address stands in for it: that sends no SNI.
                Err(_) if self.check != Check::ChainAndHost => {
                    ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
                }
                Err(_) => return Err(TlsError::HostName(name.clone())),
            },
        };
        let connection =
            ClientConnection::new(Arc::clone(config), name).map_err(TlsError::Setup)?;
        Ok(Connection::Client(connection))
    }
}
