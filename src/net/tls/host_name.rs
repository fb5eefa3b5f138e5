//! Whether a certificate is meant for a host, by libpq's rules.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Checks that `certificate` names `host`.
///
/// As libpq does (PostgreSQL manual, "SSL Support", 34.19.1): the subject alternative names decide;
/// the common name counts only if none of them is of the host's kind. Certificates made by the
/// manual's own recipe have no more than a common name.
pub(super) fn verify_host(
    certificate: &CertificateDer<'_>,
    host: &ServerName<'_>,
) -> Result<(), Error> {
    let (_, x509) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let alternatives =
        x509.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?;
    let is_address = matches!(host, ServerName::IpAddress(_));
    let of_the_kind = alternatives.iter().flat_map(|found| &found.value.general_names).any(
        |name| match is_address {
            true => matches!(name, GeneralName::IPAddress(_)),
            false => matches!(name, GeneralName::DNSName(_)),
        },
    );
    if of_the_kind {
        return rustls::client::verify_server_name(
            &ParsedCertificate::try_from(certificate)?,
            host,
        );
    }
    let host = host.to_str();
    let mut names = x509.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    if names.next().is_some_and(|name| common_name_matches(name, &host)) {
        return Ok(());
    }
    Err(CertificateError::NotValidForName.into())
}

/// One leading `*.` stands for exactly one label; never for a part of an address.
fn common_name_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((label, rest))) => {
            !is_address
                && !label.is_empty()
                && parent.contains('.')
                && parent.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::common_name_matches;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (pattern, host, expected) in [
            ("db.example.com", "DB.example.com", true),
            ("db.example.com", "db.example.org", false),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("*", "db", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("*.0.0.1", "10.0.0.1", false),
            ("db.example.com\0.evil.org", "db.example.com", false),
        ] {
            assert_eq!(common_name_matches(pattern, host), expected, "{pattern:?} {host:?}");
        }
    }
}
