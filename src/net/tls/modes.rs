//! The values of `sslmode`, towards clients and towards servers.

use crate::word::word_enum;

word_enum! {
    /// `sslmode` towards clients, as PgBouncer defines `client_tls_sslmode`.
    pub ClientSslMode {
        /// SSLRequest is answered `N`.
        Disable = "disable",
        /// TLS for clients that ask for it.
        Allow = "allow",
        /// The same as `allow`.
        Prefer = "prefer",
        /// Clients without TLS are refused.
        Require = "require",
    }
}

word_enum! {
    /// `sslmode` towards servers, as libpq defines it.
    pub SslMode {
        /// Never TLS.
        Disable = "disable",
        /// Plain first, TLS if the server refuses that.
        Allow = "allow",
        /// TLS first, plain if the server has none.
        Prefer = "prefer",
        /// TLS or nothing; the certificate is checked only if a CA is given.
        Require = "require",
        /// TLS by a server whose certificate comes from the CA.
        VerifyCa = "verify-ca",
        /// The same, and the certificate names the host.
        VerifyFull = "verify-full",
    }
}

impl SslMode {
    /// Whether a connection without TLS must be refused.
    pub fn requires_tls(self) -> bool {
        match self {
            Self::Disable | Self::Allow | Self::Prefer => false,
            Self::Require | Self::VerifyCa | Self::VerifyFull => true,
        }
    }
}
