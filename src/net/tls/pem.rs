//! Certificates and keys from PEM text.

use super::error::{TlsError, TlsFile};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;

/// A certificate with its private key, as PEM text.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, followed by the intermediate ones.
    pub cert_pem: &'a [u8],
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key_pem: &'a [u8],
}

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// All certificates of `pem`, at least one.
pub(super) fn certificates(
    pem: &[u8],
    file: TlsFile,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::DamagedPem(file))?;
    if found.is_empty() { Err(TlsError::EmptyPem(file)) } else { Ok(found) }
}

fn private_key(pem: &[u8], file: TlsFile) -> Result<PrivateKeyDer<'static>, TlsError> {
    // PKCS#8 says it in the section's name, OpenSSL's older form in a header.
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| memchr::memmem::find(pem, mark).is_some()) {
        return Err(TlsError::EncryptedKey(file));
    }
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::EmptyPem(file)),
        Err(_) => Err(TlsError::DamagedPem(file)),
    }
}

/// Certificates and key, proven to belong together.
pub(super) fn certified_key(
    identity: Identity<'_>,
    provider: &CryptoProvider,
    (cert, key): (TlsFile, TlsFile),
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(identity.cert_pem, cert)?;
    let secret = private_key(identity.key_pem, key)?;
    let signing_key = provider
        .key_provider
        .load_private_key(secret)
        .map_err(|reason| TlsError::Unusable { file: key, reason })?;
    let certified = CertifiedKey::new(chain, signing_key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch { cert, key }),
        Err(reason) => Err(TlsError::Unusable { file: cert, reason }),
    }
}
