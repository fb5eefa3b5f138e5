//! Certificates for tests, made when they run.

use super::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
    date_time_ymd,
};

/// A certificate and its key.
pub(in crate::net) struct Issued {
    pub(in crate::net) cert_pem: String,
    pub(in crate::net) cert_der: Vec<u8>,
    pub(in crate::net) key_pem: String,
}

impl Issued {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            cert_pem: certificate.pem(),
            cert_der: certificate.der().to_vec(),
            key_pem: key.serialize_pem(),
        }
    }

    pub(in crate::net) fn identity(&self) -> Identity<'_> {
        Identity { cert_pem: self.cert_pem.as_bytes(), key_pem: self.key_pem.as_bytes() }
    }
}

/// What a certificate says.
#[derive(Clone, Copy)]
pub(in crate::net) struct Leaf<'a> {
    pub(in crate::net) alternatives: &'a [&'a str],
    pub(in crate::net) common_name: &'a str,
    pub(in crate::net) years: (i32, i32),
    pub(in crate::net) is_authority: bool,
}

/// A valid certificate for `db.example.com` and two addresses.
pub(in crate::net) const GOOD: Leaf<'_> = Leaf {
    alternatives: &["db.example.com", "127.0.0.1", "::1"],
    common_name: "db.example.com",
    years: (2000, 4000),
    is_authority: false,
};

impl Leaf<'_> {
    fn params(self) -> CertificateParams {
        let names: Vec<String> = self.alternatives.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, self.common_name);
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 1, 1);
        if self.is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }

    pub(in crate::net) fn self_signed(self) -> Issued {
        self.self_signed_by(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(in crate::net) fn self_signed_by(self, algorithm: &'static SignatureAlgorithm) -> Issued {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Issued::new(&self.params().self_signed(&key).unwrap(), &key)
    }
}

/// An authority.
pub(in crate::net) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(in crate::net) pem: String,
}

impl Authority {
    pub(in crate::net) fn new(name: &str) -> Self {
        let leaf = Leaf { alternatives: &[], common_name: name, is_authority: true, ..GOOD };
        let (params, key) = (leaf.params(), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(in crate::net) fn issue(&self, leaf: Leaf<'_>) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued::new(&leaf.params().signed_by(&key, &self.issuer).unwrap(), &key)
    }

    /// An authority below this one, and its certificate.
    pub(in crate::net) fn intermediate(&self, name: &str) -> Self {
        let leaf = Leaf { alternatives: &[], common_name: name, is_authority: true, ..GOOD };
        let (params, key) = (leaf.params(), KeyPair::generate().unwrap());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }
}
