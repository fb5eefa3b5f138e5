//! How far a server's certificate is checked: libpq's modes as one verifier.

use super::host_name::verify_host;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Encrypt only.
    Nothing,
    /// The chain up to a trusted certificate.
    Chain,
    /// The chain, and that the certificate names the host.
    ChainAndHost,
}

/// A server's certificate against what the operator trusts. The handshake's signature is checked in
/// every mode: it is what ties the certificate to the peer's key, and so channel binding to it.
#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    roots: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// # Errors
    /// When one of `trusted` cannot be a trust anchor.
    pub(super) fn new(
        check: Check,
        trusted: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &trusted {
            roots.add(certificate.clone())?;
        }
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { check, roots, trusted, algorithms })
    }

    fn verify_chain(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trusted.contains(certificate) && is_self_issued(certificate)? {
            return verify_dates(certificate, now);
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check != Check::Nothing {
            self.verify_chain(certificate, intermediates, now)?;
        }
        if self.check == Check::ChainAndHost {
            verify_host(certificate, host)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.algorithms;
        match old_public_key(certificate) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, algorithms),
            None => verify_tls13_signature(message, certificate, signature, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let (_, x509) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(x509)
}

/// `openssl req -x509`, PostgreSQL's recipe for a self-signed certificate, marks it as an authority,
/// and operators give that same file as `ca_file`. OpenSSL, hence libpq, trusts it; path building
/// would refuse it as the end of a chain.
fn is_self_issued(certificate: &CertificateDer<'_>) -> Result<bool, Error> {
    let x509 = parse(certificate)?;
    Ok(x509.subject().as_raw() == x509.issuer().as_raw())
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let x509 = parse(certificate)?;
    let now = i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .ok_or(Error::FailedToGetCurrentTime)?;
    if now < x509.validity().not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > x509.validity().not_after {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// The key of an X.509 version 1 certificate, which `rustls` reads in no other way. `openssl x509
/// -req` made these for decades, and servers that nobody verifies still show them.
fn old_public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let x509 = parse(certificate).ok()?;
    (x509.version() == X509Version::V1)
        .then(|| SubjectPublicKeyInfoDer::from(x509.public_key().raw.to_vec()))
}
