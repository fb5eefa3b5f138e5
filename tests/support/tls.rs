//! Certificates for tests, and a client's side of TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

use super::deadline;
use super::messages;
use super::wire::Wire;

/// A certificate authority and one certificate by it, as files.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// For these host names and addresses.
    pub(crate) fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        // Equal names would make OpenSSL take the leaf for its own issuer.
        authority.distinguished_name.push(DnType::CommonName, "authority of a test");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(names).expect("names").signed_by(&key, &authority);
        let leaf = leaf.expect("a certificate");
        for (name, text) in [
            ("ca.crt", authority.pem()),
            ("leaf.crt", leaf.pem()),
            ("leaf.key", key.serialize_pem()),
        ] {
            std::fs::write(folder.path().join(name), text).expect("a writable folder");
        }
        Self { folder }
    }

    /// `ca.crt`, `leaf.crt` or `leaf.key`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text for a configuration.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a UTF-8 path").to_owned()
    }
}

/// A client that trusts the authority in `ca` and asks for `name`.
pub(crate) fn connection(ca: &Path, name: &str) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(ca).expect("a certificate");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a connection")
}

/// Asks a server for TLS; its answer is the byte.
pub(crate) fn ask(wire: &mut Wire) -> Vec<u8> {
    wire.send(&messages::ssl_request());
    wire.raw(1, deadline())
}

/// Asks for TLS, which must be granted, and begins it.
pub(crate) fn begin(mut wire: Wire, ca: &Path, name: &str) -> Wire {
    assert_eq!(ask(&mut wire), b"S", "TLS was refused");
    wire.encrypt(connection(ca, name))
}
