//! Modes, certificates, channel binding and errors of TLS settings.

use super::certificates::{Authority, GOOD, Issued, Leaf};
use super::*;
use crate::net::{NodeHost, Socket, Stream, handshake};
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::task::{Context, Waker};
use tokio::io::duplex;
use tokio::net::{TcpListener, TcpStream};

fn name(host: &str) -> NodeHost {
    host.parse().map_or_else(|_| NodeHost::Name(host.to_owned()), NodeHost::Ip)
}

fn clients(identity: Identity<'_>) -> ClientTls {
    ClientTls::new(ClientSslMode::Require, Some(identity)).unwrap()
}

async fn shake(mut near: Stream, mut far: Stream) -> (io::Result<Stream>, io::Result<Stream>) {
    let (near_done, far_done) = tokio::join!(handshake(&mut near), handshake(&mut far));
    (near_done.map(|()| near), far_done.map(|()| far))
}

/// Connects by `tls` to a server that shows `issued`; the two ends, or why the connecting one
/// refused.
async fn connect(
    tls: &ServerTls,
    host: &str,
    issued: Identity<'_>,
) -> Result<(Stream, Stream), String> {
    let (near, far) = duplex(1 << 16);
    let (mut near, mut far) = (Stream::new(Socket::Memory(near)), Stream::new(Socket::Memory(far)));
    near.start_tls(tls.connection(&name(host)).map_err(|error| error.to_string())?);
    far.start_tls(clients(issued).connection().unwrap());
    match shake(near, far).await {
        (Ok(near), Ok(far)) => Ok((near, far)),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    }
}

async fn outcome(mode: SslMode, ca: Option<&str>, host: &str, issued: &Issued) -> String {
    let tls = ServerTls::new(mode, ca.map(str::as_bytes), None).unwrap();
    match connect(&tls, host, issued.identity()).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            let of_interest = ["UnknownIssuer", "not valid for", "NotValidForName", "xpired"];
            let found = of_interest.into_iter().find(|word| error.contains(word));
            found.map_or(error.clone(), str::to_owned)
        }
    }
}

#[tokio::test]
async fn each_mode_checks_what_libpq_checks() {
    use SslMode::{Allow, Prefer, Require, VerifyCa, VerifyFull};
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let good = ours.issue(GOOD);
    let foreign = other.issue(GOOD);
    let expired = ours.issue(Leaf { years: (2000, 2001), ..GOOD });
    let ca = Some(ours.pem.as_str());
    let (host, wrong) = ("db.example.com", "db.example.org");
    for (mode, ca, host, issued, expected) in [
        (Allow, ca, wrong, &foreign, "ok"),
        (Prefer, ca, wrong, &expired, "ok"),
        (Require, None, wrong, &expired, "ok"),
        (Require, None, host, &foreign, "ok"),
        (Require, ca, wrong, &good, "ok"),
        (Require, ca, host, &foreign, "UnknownIssuer"),
        (Require, ca, host, &expired, "xpired"),
        (VerifyCa, ca, host, &good, "ok"),
        (VerifyCa, ca, wrong, &good, "ok"),
        (VerifyCa, ca, "not a dns name", &good, "ok"),
        (VerifyCa, ca, host, &foreign, "UnknownIssuer"),
        (VerifyCa, ca, host, &expired, "xpired"),
        (VerifyFull, ca, host, &good, "ok"),
        (VerifyFull, ca, "DB.example.com", &good, "ok"),
        (VerifyFull, ca, "127.0.0.1", &good, "ok"),
        (VerifyFull, ca, "::1", &good, "ok"),
        (VerifyFull, ca, wrong, &good, "not valid for"),
        (VerifyFull, ca, "127.0.0.2", &good, "not valid for"),
        (VerifyFull, ca, host, &foreign, "UnknownIssuer"),
        (VerifyFull, ca, host, &expired, "xpired"),
    ] {
        let found = outcome(mode, ca, host, issued).await;
        assert_eq!(found, expected, "{mode} {host} {}", ca.is_some());
    }
}

#[tokio::test]
async fn a_common_name_counts_only_without_alternative_names() {
    let ca = Authority::new("ours");
    let bare = ca.issue(Leaf { alternatives: &[], ..GOOD });
    let named = ca.issue(Leaf { alternatives: &["other.example.com"], ..GOOD });
    let pem = Some(ca.pem.as_str());
    let full = SslMode::VerifyFull;
    assert_eq!(outcome(full, pem, "db.example.com", &bare).await, "ok");
    assert_eq!(outcome(full, pem, "db.example.org", &bare).await, "NotValidForName");
    assert_eq!(outcome(full, pem, "db.example.com", &named).await, "not valid for");
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_when_it_is_the_ca() {
    for is_authority in [false, true] {
        let own = Leaf { is_authority, ..GOOD }.self_signed();
        let twin = Leaf { is_authority, ..GOOD }.self_signed();
        let old = Leaf { is_authority, years: (2000, 2001), ..GOOD }.self_signed();
        let (full, ca) = (SslMode::VerifyFull, SslMode::VerifyCa);
        let pem = Some(own.cert_pem.as_str());
        assert_eq!(outcome(SslMode::Require, None, "x", &own).await, "ok");
        assert_eq!(outcome(full, pem, "db.example.com", &own).await, "ok");
        assert_eq!(outcome(full, pem, "wrong.example.com", &own).await, "not valid for");
        assert_eq!(outcome(ca, pem, "wrong.example.com", &own).await, "ok");
        // The same subject, another key.
        assert_ne!(outcome(ca, pem, "db.example.com", &twin).await, "ok");
        assert_eq!(outcome(ca, Some(&old.cert_pem), "db.example.com", &old).await, "xpired");
    }
}

#[tokio::test]
async fn an_intermediate_certificate_comes_with_the_server() {
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let leaf = middle.issue(GOOD);
    let tls = ServerTls::new(SslMode::VerifyFull, Some(root.pem.as_bytes()), None).unwrap();
    let alone = connect(&tls, "db.example.com", leaf.identity()).await;
    assert!(alone.is_err_and(|error| error.contains("UnknownIssuer")));
    let chain = format!("{}{}", leaf.cert_pem, middle.pem);
    let identity = Identity { cert_pem: chain.as_bytes(), ..leaf.identity() };
    connect(&tls, "db.example.com", identity).await.unwrap();
}

/// An X.509 version 1 certificate: neither version nor extensions, as `openssl x509 -req` wrote it.
fn version_1() -> Issued {
    use rcgen::SigningKey;
    use x509_parser::prelude::{FromDer, X509Certificate};
    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        // DER wants the shortest form.
        let length = match length {
            [0, short @ ..=0x7f] => vec![short],
            [0, byte] => vec![0x81, byte],
            [high, low] => vec![0x82, high, low],
        };
        [&[tag], &length[..], content].concat()
    }
    let mut issued = GOOD.self_signed();
    let key = rcgen::KeyPair::from_pem(&issued.key_pem).unwrap();
    let (_, x509) = X509Certificate::from_der(&issued.cert_der).unwrap();
    // ecdsa-with-SHA256, and the years 2000 to 2040 as UTCTime.
    let algorithm = [0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let dates = [tlv(0x17, b"000101000000Z"), tlv(0x17, b"400101000000Z")].concat();
    let body = [
        &[2, 1, 7][..],
        &algorithm,
        x509.issuer().as_raw(),
        &tlv(0x30, &dates),
        x509.subject().as_raw(),
        x509.public_key().raw,
    ]
    .concat();
    let signed = tlv(0x30, &body);
    let signature = key.sign(&signed).unwrap();
    let bits = tlv(3, &[&[0][..], &signature].concat());
    issued.cert_der = tlv(0x30, &[&signed[..], &algorithm, &bits].concat());
    let pem = pem_of("CERTIFICATE", &issued.cert_der);
    issued.cert_pem = pem;
    issued
}

fn pem_of(kind: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

#[tokio::test]
async fn an_old_version_1_certificate_is_taken_where_it_may_be() {
    let old = version_1();
    // A server of ours that shows it: the loader of `rustls` cannot read it, so neither can ours.
    let refused = ClientTls::new(ClientSslMode::Require, Some(old.identity()));
    assert!(matches!(refused, Err(TlsError::Unusable { file: TlsFile::ClientCert, .. })));
    let key = rustls::pki_types::PrivateKeyDer::try_from(
        rcgen::KeyPair::from_pem(&old.key_pem).unwrap().serialize_der(),
    )
    .unwrap();
    let signing = provider().key_provider.load_private_key(key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(vec![old.cert_der.clone().into()], signing);
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    let config = Arc::new(config);
    for (mode, ca, host, expected) in [
        (SslMode::Prefer, None, "x", true),
        (SslMode::Require, None, "x", true),
        (SslMode::VerifyFull, Some(old.cert_pem.as_bytes()), "db.example.com", true),
        (SslMode::VerifyFull, Some(old.cert_pem.as_bytes()), "db.example.org", false),
        (SslMode::VerifyCa, Some(Authority::new("a").pem.as_bytes()), "db.example.com", false),
    ] {
        let tls = ServerTls::new(mode, ca, None).unwrap();
        let (near, far) = duplex(1 << 16);
        let mut near = Stream::new(Socket::Memory(near));
        let mut far = Stream::new(Socket::Memory(far));
        near.start_tls(tls.connection(&name(host)).unwrap());
        let server = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        far.start_tls(rustls::Connection::Server(server));
        let (near, _far) = shake(near, far).await;
        assert_eq!(near.is_ok(), expected, "{mode} {host}");
    }
}

#[tokio::test]
async fn sni_is_sent_for_names_only() {
    let issued = GOOD.self_signed();
    let tls = ServerTls::new(SslMode::Require, None, None).unwrap();
    let hosts = [("db.example.com", Some("db.example.com")), ("::1", None), ("a b", None)];
    for (host, expected) in hosts {
        let (_near, far) = connect(&tls, host, issued.identity()).await.unwrap();
        let Some(rustls::Connection::Server(server)) = far.tls() else { panic!("no TLS") };
        assert_eq!(server.server_name(), expected, "{host}");
        assert_eq!(server.alpn_protocol(), Some(ALPN));
    }
}

#[tokio::test]
async fn a_server_that_asks_is_shown_our_certificate() {
    let (ca, issued) = (Authority::new("ca"), GOOD.self_signed());
    let ours = ca.issue(Leaf { common_name: "howdah", ..GOOD });
    let mut roots = rustls::RootCertStore::empty();
    let trusted = pem::certificates(ca.pem.as_bytes(), TlsFile::ServerCa).unwrap();
    roots.add(trusted[0].clone()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let files = (TlsFile::ClientCert, TlsFile::ClientKey);
    let key = pem::certified_key(issued.identity(), &provider(), files).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    let config = Arc::new(config);
    for (identity, expected) in [(Some(ours.identity()), true), (None, false)] {
        let tls = ServerTls::new(SslMode::Require, None, identity).unwrap();
        let (near, far) = duplex(1 << 16);
        let mut near = Stream::new(Socket::Memory(near));
        let mut far = Stream::new(Socket::Memory(far));
        near.start_tls(tls.connection(&name("db")).unwrap());
        let server = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        far.start_tls(rustls::Connection::Server(server));
        let (_near, far) = shake(near, far).await;
        assert_eq!(far.is_ok(), expected);
        if let Ok(far) = far {
            let shown = far.tls().and_then(|tls| tls.peer_certificates()).unwrap();
            assert_eq!(shown[0].to_vec(), ours.cert_der);
        }
    }
}

#[tokio::test]
async fn direct_tls_needs_the_protocol_named() {
    let issued = GOOD.self_signed();
    let verifier = verify::Verifier::new(verify::Check::Nothing, Vec::new(), &provider()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    for (alpn, shaken, direct) in [
        (vec![], true, Err(TlsError::MissingAlpn)),
        (vec![b"postgresql".to_vec()], true, Ok(())),
        (vec![b"http/1.1".to_vec()], false, Ok(())),
    ] {
        config.alpn_protocols = alpn;
        let client =
            rustls::ClientConnection::new(Arc::new(config.clone()), "db".try_into().unwrap());
        let (near, far) = duplex(1 << 16);
        let (mut near, mut far) =
            (Stream::new(Socket::Memory(near)), Stream::new(Socket::Memory(far)));
        near.start_tls(rustls::Connection::Client(client.unwrap()));
        // What a session does: look at the first bytes, then hand them over.
        let mut hello = vec![0; 7];
        near.flush(&mut Context::from_waker(Waker::noop())).unwrap();
        let n = poll_fn(|cx| far.poll_read(cx, &mut hello)).await.unwrap();
        assert_eq!((n, hello[0]), (7, DIRECT_TLS_BYTE));
        far.start_direct_tls(clients(issued.identity()).connection().unwrap(), hello);
        let (_near, far) = shake(near, far).await;
        assert_eq!(far.is_ok(), shaken);
        if let Ok(far) = far {
            assert_eq!(ClientTls::check_direct(&far), direct);
        }
    }
    let (plain, _peer) = duplex(1);
    let plain = Stream::new(Socket::Memory(plain));
    assert_eq!(ClientTls::check_direct(&plain), Err(TlsError::MissingAlpn));
}

#[tokio::test]
async fn both_ends_compute_the_same_channel_binding() {
    let issued = GOOD.self_signed();
    let ours = clients(issued.identity());
    let tls = ServerTls::new(SslMode::Require, None, None).unwrap();
    let (near, _far) = connect(&tls, "db", issued.identity()).await.unwrap();
    let shown = near.tls().and_then(|tls| tls.peer_certificates()).unwrap();
    let theirs = tls_server_end_point(&shown[0]).unwrap();
    assert_eq!(ours.end_point(), Some(theirs.as_slice()));
    assert_eq!(theirs.len(), 32);
}

#[test]
fn the_binding_uses_the_hash_of_the_signature() {
    use sha2::Digest;
    let made = |algorithm| GOOD.self_signed_by(algorithm).cert_der;
    let der = made(&rcgen::PKCS_ECDSA_P384_SHA384);
    assert_eq!(tls_server_end_point(&der), Some(sha2::Sha384::digest(&der).to_vec()));
    let der = made(&rcgen::PKCS_ECDSA_P256_SHA256);
    assert_eq!(tls_server_end_point(&der), Some(sha2::Sha256::digest(&der).to_vec()));
    assert_eq!(tls_server_end_point(&made(&rcgen::PKCS_ED25519)), None);
    assert_eq!(tls_server_end_point(b"no certificate"), None);
    // The same certificate as if signed by ECDSA with SHA-1, -224 and -512.
    let name = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let renamed = |last: u8| {
        let mut der = der.clone();
        let found: Vec<_> = memchr::memmem::find_iter(&der, &name).collect();
        for at in found {
            der[at + 9] = last;
        }
        der
    };
    let der = renamed(4);
    assert_eq!(tls_server_end_point(&der), Some(sha2::Sha512::digest(&der).to_vec()));
    let der = renamed(1);
    assert_eq!(tls_server_end_point(&der), Some(sha2::Sha224::digest(&der).to_vec()));
    assert_eq!(tls_server_end_point(&renamed(9)), None);
}

#[test]
fn wrong_files_are_told_apart_without_their_contents() {
    let (a, b) = (GOOD.self_signed(), GOOD.self_signed());
    let (cert, key) = (TlsFile::ClientCert, TlsFile::ClientKey);
    let encrypted = pem_of("ENCRYPTED PRIVATE KEY", b"x");
    let cut = &a.key_pem[..a.key_pem.len() / 2];
    let cases = [
        (a.cert_pem.as_str(), b.key_pem.as_str(), TlsError::Mismatch { cert, key }),
        (&a.key_pem, &a.key_pem, TlsError::EmptyPem(cert)),
        (&a.cert_pem, &a.cert_pem, TlsError::EmptyPem(key)),
        ("", &a.key_pem, TlsError::EmptyPem(cert)),
        (&a.cert_pem, cut, TlsError::DamagedPem(key)),
        (&a.cert_pem, &encrypted, TlsError::EncryptedKey(key)),
    ];
    for (cert_pem, key_pem, expected) in cases {
        let identity = Identity { cert_pem: cert_pem.as_bytes(), key_pem: key_pem.as_bytes() };
        let found = ClientTls::new(ClientSslMode::Prefer, Some(identity)).unwrap_err();
        assert_eq!(found, expected);
        assert!(found.to_string().contains("[tls.client]"), "{found}");
    }
    let refused = ServerTls::new(
        SslMode::Require,
        None,
        Some(Identity { cert_pem: a.cert_pem.as_bytes(), key_pem: b.key_pem.as_bytes() }),
    );
    let (cert, key) = (TlsFile::ServerCert, TlsFile::ServerKey);
    assert_eq!(refused.unwrap_err(), TlsError::Mismatch { cert, key });
    let garbage = pem_of("CERTIFICATE", b"garbage");
    let refused = ServerTls::new(SslMode::VerifyCa, Some(garbage.as_bytes()), None).unwrap_err();
    assert!(matches!(refused, TlsError::Unusable { file: TlsFile::ServerCa, .. }), "{refused}");
    let shown = format!("{:?} {:?}", a.identity(), clients(a.identity()));
    assert_eq!(shown, "Identity(..) ClientTls { mode: Require, .. }");
}

#[test]
fn what_a_mode_needs_is_asked_for() {
    let missing = |mode| ServerTls::new(mode, None, None).map(|_| ());
    assert_eq!(missing(SslMode::VerifyCa), Err(TlsError::MissingCa(SslMode::VerifyCa)));
    assert_eq!(missing(SslMode::VerifyFull), Err(TlsError::MissingCa(SslMode::VerifyFull)));
    let off = ServerTls::new(SslMode::Disable, None, None).unwrap();
    assert_eq!(off.connection(&name("db")).map(|_| ()), Err(TlsError::Disabled));
    let on = ServerTls::new(SslMode::Prefer, None, None).unwrap();
    let directory = NodeHost::SocketDir(PathBuf::from("/tmp"));
    assert_eq!(on.connection(&directory).map(|_| ()), Err(TlsError::UnixSocket));
    let ca = Authority::new("ca");
    let full = ServerTls::new(SslMode::VerifyFull, Some(ca.pem.as_bytes()), None).unwrap();
    let unnamed = full.connection(&name("a b")).map(|_| ());
    assert_eq!(unnamed, Err(TlsError::HostName("a b".to_owned())));

    let off = ClientTls::new(ClientSslMode::Disable, None).unwrap();
    assert!(!off.is_offered() && !off.is_required() && off.end_point().is_none());
    assert_eq!(off.connection().map(|_| ()), Err(TlsError::Disabled));
    for mode in [ClientSslMode::Allow, ClientSslMode::Prefer, ClientSslMode::Require] {
        let missing = ClientTls::new(mode, None).map(|_| ());
        assert_eq!(missing, Err(TlsError::MissingCertificate(mode)));
    }
}

#[tokio::test]
async fn the_handshake_runs_over_tcp_and_leaves_both_ends_quiet() {
    let ca = Authority::new("ca");
    let issued = ca.issue(GOOD);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let mut near = Stream::new(Socket::Tcp(near.unwrap()));
    let mut far = Stream::new(Socket::Tcp(far.unwrap().0));
    let tls = ServerTls::new(SslMode::VerifyFull, Some(ca.pem.as_bytes()), None).unwrap();
    near.start_tls(tls.connection(&name("127.0.0.1")).unwrap());
    far.start_tls(clients(issued.identity()).connection().unwrap());
    assert!(!near.is_quiet() && !far.is_quiet());
    let (near, far) = shake(near, far).await;
    // Nothing like a session ticket is on its way.
    assert!(near.unwrap().is_quiet() && far.unwrap().is_quiet());
}
