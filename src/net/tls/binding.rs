//! Channel binding data for SCRAM-SHA-256-PLUS.

use sha2::Digest;
use x509_parser::prelude::{FromDer, X509Certificate};

/// `tls-server-end-point` (RFC 5929 section 4.1): the hash of a server's certificate, by the hash
/// of the algorithm that signed it, but SHA-256 instead of MD5 and SHA-1.
///
/// `None` when the algorithm names no single hash (Ed25519, RSASSA-PSS) or the certificate cannot
/// be read: then SCRAM-SHA-256-PLUS must not be offered.
pub fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let algorithm = parsed.signature_algorithm.algorithm.to_id_string();
    Some(match algorithm.as_str() {
        // RSA (RFC 8017 appendix C) and ECDSA (RFC 5758 section 3.2, RFC 3279): MD5 and SHA-1 are
        // replaced.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => sha2::Sha256::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => {
            sha2::Sha224::digest(certificate).to_vec()
        }
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => {
            sha2::Sha384::digest(certificate).to_vec()
        }
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => {
            sha2::Sha512::digest(certificate).to_vec()
        }
        _ => return None,
    })
}
