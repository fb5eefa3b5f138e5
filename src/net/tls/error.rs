//! What can be wrong with TLS settings: the file's role and the remedy, never its contents.

use super::modes::{ClientSslMode, SslMode};
use std::fmt;
use thiserror::Error;

/// A file of the configuration, by its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// The certificates that servers are checked against.
    ServerCa,
    /// The certificate shown to servers.
    ServerCert,
    /// Its private key.
    ServerKey,
    /// The certificate shown to clients.
    ClientCert,
    /// Its private key.
    ClientKey,
}

impl TlsFile {
    /// What the file must contain.
    fn content(self) -> &'static str {
        match self {
            Self::ServerCa | Self::ServerCert | Self::ClientCert => "certificate",
            Self::ServerKey | Self::ClientKey => "private key",
        }
    }
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerCa => "[tls.server] ca_file",
            Self::ServerCert => "[tls.server] cert_file",
            Self::ServerKey => "[tls.server] key_file",
            Self::ClientCert => "[tls.client] cert_file",
            Self::ClientKey => "[tls.client] key_file",
        })
    }
}

/// Why TLS could not be set up.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum TlsError {
    /// A PEM section is damaged.
    #[error("{0} is not valid PEM: a section is damaged or cut short; write the file again")]
    DamagedPem(TlsFile),
    /// No section of the right kind.
    #[error("{0} holds no {what} in PEM form; check that it is the right file", what = .0.content())]
    EmptyPem(TlsFile),
    /// The key needs a password.
    #[error("{0} is encrypted; store the key without a password (`openssl pkey -in … -out …`)")]
    EncryptedKey(TlsFile),
    /// `rustls` cannot use the certificate or key.
    #[error("{file} holds a {what} that cannot be used ({reason}); issue a new one",
            what = .file.content())]
    Unusable {
        /// Which file.
        file: TlsFile,
        /// What `rustls` says.
        reason: rustls::Error,
    },
    /// The private key belongs to another certificate.
    #[error(
        "{key} does not belong to the first certificate of {cert}; \
             configure the key that the certificate was issued for"
    )]
    Mismatch {
        /// The certificate's file.
        cert: TlsFile,
        /// The key's file.
        key: TlsFile,
    },
    /// A verifying mode without anything to verify against.
    #[error(
        "[tls.server] sslmode = \"{0}\" needs the certificates to check servers against; \
             set [tls.server] ca_file"
    )]
    MissingCa(SslMode),
    /// TLS towards clients without a certificate.
    #[error(
        "[tls.client] sslmode = \"{0}\" needs a certificate; \
             set [tls.client] cert_file and key_file, or sslmode = \"disable\""
    )]
    MissingCertificate(ClientSslMode),
    /// A connection was asked for though `sslmode` is `disable`.
    #[error("TLS is switched off by sslmode = \"disable\"")]
    Disabled,
    /// PostgreSQL has no TLS over Unix sockets.
    #[error("PostgreSQL does not speak TLS over a Unix socket; use sslmode = \"prefer\" for it")]
    UnixSocket,
    /// The host cannot be a name in a certificate.
    #[error(
        "host \"{0}\" cannot be compared with a certificate; \
             use a DNS name or an address, or sslmode = \"verify-ca\""
    )]
    HostName(String),
    /// A client began with TLS without naming the protocol.
    #[error(
        "direct TLS connection without ALPN protocol \"postgresql\"; \
             use sslnegotiation=postgres or a client that offers it"
    )]
    MissingAlpn,
    /// `rustls` refused the settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}
