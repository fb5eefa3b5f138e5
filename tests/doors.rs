//! How clients come in and how servers are reached: start-up packets, passwords, TLS, Unix sockets,
//! limits of clients.

mod support;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use support::behaviour::{
    await_statement, client, eventually, hint, last_words, refusal, settings, succeeded, the_error,
    told, until_closed, value,
};
use support::howdah::{Howdah, Settings};
use support::postgres::{APP, APP_MD5, APP_PLAIN, Options, PASSWORD, Postgres, RIDER, SUPERUSER};
use support::relay::{Manner, Relay};
use support::tls::{self, Certificates};
use support::wire::{Received, Wire, lines};
use support::{deadline, messages};

/// Only for clients of howdah: the servers of [`trusting`] do not ask.
const SECRET: &str = "s3cret \"quoted\" \\ 'too'";

/// An `auth_file` with these lines.
fn auth_file(lines: &[(&str, &str)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let lines: String =
        lines.iter().map(|(user, secret)| format!("{} {}\n", quote(user), quote(secret))).collect();
    std::fs::write(file.path(), lines).expect("a writable file");
    file
}

fn with_users(settings: Settings, auth_type: &str, file: &tempfile::NamedTempFile) -> Settings {
    settings
        .set("auth.auth_type", auth_type)
        .set("auth.auth_file", file.path().to_str().expect("UTF-8"))
}

/// What PostgreSQL itself keeps of a user's password.
fn stored(user: &str) -> String {
    let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'");
    value(&mut Postgres::shared().admin("postgres"), &sql)
}

/// The kinds of authentication request that a login met, and whether it got in.
fn try_login(howdah: &Howdah, who: &[(&str, &str)], password: &str) -> (Vec<u8>, bool) {
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(who, password);
    let requests = frames.iter().filter(|frame| frame.tag == b'R').map(|frame| frame.body[3]);
    let ready = frames.last().is_some_and(|frame| frame.tag == b'Z');
    if ready {
        wire.run("SELECT 1");
    } else {
        let error = the_error(&frames);
        let user = who[0].1;
        let words = format!("FATAL 28P01 password authentication failed for user \"{user}\"");
        assert_eq!(told(&error), words);
    }
    (requests.collect(), ready)
}

/// Each method with each kind of secret. MD5 asks for SCRAM where the secret is a verifier.
#[test]
fn clients_prove_who_they_are() {
    let md5 = format!("md5{:x}", md5_of(&format!("{SECRET}hashed")));
    let verifier = verifier_of("verified", SECRET);
    let users = auth_file(&[("plain", SECRET), ("hashed", &md5), ("verified", &verifier)]);
    let base = settings("prove", "transaction").set("databases.prove.user", RIDER);
    let scram: &[u8] = &[10, 11, 12, 0];
    let cases: &[(&str, &str, &[u8])] = &[
        ("password", "plain", &[3, 0]),
        ("password", "hashed", &[3, 0]),
        ("password", "verified", &[3, 0]),
        ("md5", "plain", &[5, 0]),
        ("md5", "hashed", &[5, 0]),
        ("md5", "verified", scram),
        ("scram-sha-256", "plain", scram),
        ("scram-sha-256", "verified", scram),
    ];
    for auth_type in ["password", "md5", "scram-sha-256"] {
        let settings = with_users(base.clone(), auth_type, &users);
        let howdah = Howdah::start(&settings.set("auth.scram_iterations", 5000));
        for (_, user, requests) in cases.iter().filter(|case| case.0 == auth_type) {
            let who = [("user", *user), ("database", "prove")];
            let good = try_login(&howdah, &who, SECRET);
            assert_eq!(good, (requests.to_vec(), true), "{auth_type} {user}");
            assert!(!try_login(&howdah, &who, "wrong").1, "{auth_type} {user}");
        }
        // Somebody unknown is asked like everybody else.
        let (asked, ready) = try_login(&howdah, &[("user", "nobody"), ("database", "prove")], "x");
        assert!(!ready && !asked.is_empty(), "{auth_type}");
        eventually("a line in the log", || howdah.log().contains("login failed"));
        let log = howdah.log();
        assert!(!log.contains("s3cret") && !log.contains(&md5), "a secret in the log: {log}");
    }
}

/// What PostgreSQL would store for this password.
fn verifier_of(user: &str, password: &str) -> String {
    let mut admin = Postgres::shared().admin("postgres");
    let password = password.replace('\'', "''");
    admin.run(&format!("CREATE ROLE {user} PASSWORD '{password}'"));
    stored(user)
}

struct Digest(Vec<u8>);

impl std::fmt::LowerHex for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn md5_of(text: &str) -> Digest {
    use md5::Digest as _;
    Digest(md5::Md5::digest(text.as_bytes()).to_vec())
}

#[test]
fn scram_iterations_are_what_a_verifier_of_ours_asks_for() {
    let users = auth_file(&[("plain", SECRET)]);
    let settings = settings("prove", "transaction").set("auth.scram_iterations", 5432);
    let howdah = Howdah::start(&with_users(settings, "scram-sha-256", &users));
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(&[("user", "plain"), ("database", "prove")], "wrong");
    let first = frames.iter().find(|frame| frame.body.get(3) == Some(&11)).expect("a challenge");
    assert!(first.body.ends_with(b",i=5432"), "{}", first.line());
}

#[test]
fn trust_lets_in_whoever_the_file_names() {
    let users = auth_file(&[(RIDER, "")]);
    let howdah = Howdah::start(&with_users(settings("trusted", "transaction"), "trust", &users));
    client(&howdah, "trusted").run("SELECT 1");
    let mut wire = Wire::tcp(howdah.address());
    let error = refusal(&mut wire, &[("user", SUPERUSER), ("database", "trusted")], "");
    assert!(told(&error).starts_with("FATAL 28000 "), "{}", error.line());
}

#[test]
fn a_database_or_role_that_is_not_there_is_reported_at_login() {
    let howdah = Howdah::start(
        &settings("there", "transaction").database("phantom", Postgres::shared().address()),
    );
    let words = |user: &str, database: &str| {
        let mut wire = Wire::tcp(howdah.address());
        refusal(&mut wire, &[("user", user), ("database", database)], "")
    };
    let unknown = words(RIDER, "nowhere");
    assert_eq!(told(&unknown), "FATAL 3D000 database \"nowhere\" does not exist");
    assert!(hint(&unknown).contains("[databases]"), "{}", unknown.line());
    // These two are PostgreSQL's own words.
    let error = words(RIDER, "phantom");
    assert_eq!(told(&error), "FATAL 3D000 database \"phantom\" does not exist");
    let error = words("nobody_at_all", "there");
    assert_eq!(told(&error), "FATAL 28000 role \"nobody_at_all\" does not exist");
}

/// howdah knows the password: as the entry's own, or from `auth_file`.
#[test]
fn servers_are_logged_in_to_by_every_method() {
    let users = auth_file(&[(APP, PASSWORD), (APP_MD5, PASSWORD), (APP_PLAIN, PASSWORD)]);
    let base = settings("app", "transaction");
    let howdah = Howdah::start(&with_users(base.clone(), "trust", &users));
    for user in [APP, APP_MD5, APP_PLAIN] {
        let mut wire = Wire::login(howdah.address(), user, "app");
        assert_eq!(value(&mut wire, "SELECT current_user"), user);
        let forced =
            base.clone().set("databases.app.user", user).set("databases.app.password", PASSWORD);
        let howdah = Howdah::start(&forced);
        let mut wire = Wire::login(howdah.address(), "whoever", "app");
        assert_eq!(value(&mut wire, "SELECT current_user"), user);
        let howdah = Howdah::start(&forced.set("databases.app.password", "wr0ng"));
        let mut wire = Wire::tcp(howdah.address());
        let error = refusal(&mut wire, &[("user", "whoever"), ("database", "app")], "");
        let words = format!(
            "FATAL 28P01 the pooler could not log in to the server: password authentication failed \
             for user \"{user}\""
        );
        assert_eq!(told(&error), words);
        assert!(!howdah.log().contains("wr0ng"), "{}", howdah.log());
    }
}

/// An MD5 hash opens an MD5 server, a SCRAM verifier that is the server's own a SCRAM server, with
/// the keys that the client's login shows.
#[test]
fn secrets_that_are_no_passwords_are_passed_through() {
    let users = auth_file(&[(APP, &stored(APP)), (APP_MD5, &stored(APP_MD5))]);
    let base = settings("app", "transaction");
    let howdah = Howdah::start(&with_users(base.clone(), "scram-sha-256", &users));
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(&[("user", APP), ("database", "app")], PASSWORD);
    assert!(succeeded(&frames), "{}", lines(&frames));
    assert_eq!(value(&mut wire, "SELECT current_user"), APP);
    let howdah = Howdah::start(&with_users(base, "md5", &users));
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(&[("user", APP_MD5), ("database", "app")], PASSWORD);
    assert!(succeeded(&frames), "{}", lines(&frames));
    assert_eq!(value(&mut wire, "SELECT current_user"), APP_MD5);
}

fn with_certificate(settings: Settings, certificates: &Certificates, mode: &str) -> Settings {
    settings
        .set("tls.client.sslmode", mode)
        .set("tls.client.cert_file", certificates.text("leaf.crt"))
        .set("tls.client.key_file", certificates.text("leaf.key"))
}

#[test]
fn clients_are_encrypted_as_sslmode_says() {
    let certificates = Certificates::new(&["localhost"]);
    let ca = certificates.path("ca.crt");
    let who = [("user", RIDER), ("database", "tls_client")];
    for mode in ["disable", "allow", "prefer", "require"] {
        let settings = settings("tls_client", "transaction");
        let howdah = Howdah::start(&with_certificate(settings, &certificates, mode));
        let mut plain = Wire::tcp(howdah.address());
        if mode == "require" {
            let error = refusal(&mut plain, &who, "");
            assert_eq!(told(&error), "FATAL 28000 SSL connection is required");
            assert!(hint(&error).contains("sslmode"), "{}", error.line());
        } else {
            assert!(succeeded(&plain.start(&who, "")), "{mode}");
        }
        let mut unix =
            Wire::unix(&howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port())));
        assert!(succeeded(&unix.start(&who, "")), "{mode}: TLS is not for Unix sockets");
        if mode == "disable" {
            let mut wire = Wire::tcp(howdah.address());
            assert_eq!(tls::ask(&mut wire), b"N");
            assert!(succeeded(&wire.start(&who, "")), "the client may go on without");
        } else {
            let mut wire = tls::begin(Wire::tcp(howdah.address()), &ca, "localhost");
            assert!(succeeded(&wire.start(&who, "")), "{mode}");
            wire.run("SELECT repeat('x', 100000)");
            eventually("a line in the log", || howdah.log().contains("tls=true"));
        }
    }
}

#[test]
fn a_query_is_cancelled_over_tls() {
    let certificates = Certificates::new(&["localhost"]);
    let ca = certificates.path("ca.crt");
    let settings =
        with_certificate(settings("tls_cancel", "transaction"), &certificates, "require");
    let howdah = Howdah::start(&settings);
    let mut wire = tls::begin(Wire::tcp(howdah.address()), &ca, "localhost");
    wire.start(&[("user", RIDER), ("database", "tls_cancel")], "");
    wire.send(&messages::query("SELECT pg_sleep(60)"));
    let mut admin = Postgres::shared().admin("postgres");
    await_statement(&mut admin, "tls_cancel", "pg_sleep");
    let mut request = tls::begin(Wire::tcp(howdah.address()), &ca, "localhost");
    request.send(&messages::cancel_request(wire.key().expect("a key")));
    until_closed(&mut request);
    assert_eq!(told(&the_error(&wire.until(b'Z'))).split(' ').nth(1), Some("57014"));
}

/// A server with a certificate, and one that only speaks TLS to some.
#[test]
fn servers_are_encrypted_as_sslmode_says() {
    let postgres = Postgres::start(&Options {
        hba: vec![
            "hostssl all only_tls 127.0.0.1/32 trust".to_owned(),
            "hostnossl all only_tls 127.0.0.1/32 reject".to_owned(),
            "hostssl all only_plain 127.0.0.1/32 reject".to_owned(),
        ],
        ..Options::default()
    });
    let certificates = Certificates::new(&["127.0.0.1"]);
    let other = Certificates::new(&["elsewhere.example"]);
    offer_tls(&postgres, &certificates);
    let mut admin = postgres.admin("postgres");
    admin.run("CREATE ROLE only_tls LOGIN; CREATE ROLE only_plain LOGIN");
    let encrypted = |mode: &str, ca: Option<&Path>, user: &str, node: SocketAddr| {
        let mut settings =
            Settings::new("transaction").database("app", node).set("tls.server.sslmode", mode);
        if let Some(ca) = ca {
            settings = settings.set("tls.server.ca_file", ca.to_str().expect("UTF-8"));
        }
        let howdah = Howdah::start(&settings);
        let mut wire = Wire::tcp(howdah.address());
        let frames = wire.start(&[("user", user), ("database", "app")], "");
        succeeded(&frames).then(|| {
            value(&mut wire, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
        })
    };
    let (good, bad) = (certificates.path("ca.crt"), other.path("ca.crt"));
    let here = postgres.address();
    assert_eq!(encrypted("disable", None, RIDER, here), Some(false));
    assert_eq!(encrypted("allow", None, RIDER, here), Some(false));
    assert_eq!(encrypted("prefer", None, RIDER, here), Some(true));
    assert_eq!(encrypted("require", None, RIDER, here), Some(true));
    // The second attempt of allow and prefer.
    assert_eq!(encrypted("disable", None, "only_tls", here), None);
    assert_eq!(encrypted("allow", None, "only_tls", here), Some(true));
    assert_eq!(encrypted("prefer", None, "only_plain", here), Some(false));
    assert_eq!(encrypted("require", None, "only_plain", here), None);
    // Whose certificate, and for whom.
    assert_eq!(encrypted("verify-ca", Some(&good), RIDER, here), Some(true));
    assert_eq!(encrypted("verify-ca", Some(&bad), RIDER, here), None);
    assert_eq!(encrypted("verify-full", Some(&good), RIDER, here), Some(true));
    offer_tls(&postgres, &other);
    assert_eq!(encrypted("verify-ca", Some(&bad), RIDER, here), Some(true));
    assert_eq!(encrypted("verify-full", Some(&bad), RIDER, here), None);
    // A server that does not offer TLS.
    let plain = Postgres::shared().address();
    assert_eq!(encrypted("prefer", None, RIDER, plain), Some(false));
    assert_eq!(encrypted("require", None, RIDER, plain), None);
}

/// A server that asks for a certificate of ours (manual: "Certificate Authentication").
#[test]
fn howdah_shows_its_certificate_to_servers() {
    let postgres = Postgres::start(&Options {
        hba: vec!["hostssl all shown 127.0.0.1/32 trust clientcert=verify-ca".to_owned()],
        ..Options::default()
    });
    let certificates = Certificates::new(&["127.0.0.1"]);
    offer_tls(&postgres, &certificates);
    postgres.admin("postgres").run("CREATE ROLE shown LOGIN");
    let settings = Settings::new("transaction")
        .database("app", postgres.address())
        .set("tls.server.sslmode", "require");
    let who = [("user", "shown"), ("database", "app")];
    let howdah = Howdah::start(&settings);
    let error = the_error(&Wire::tcp(howdah.address()).start(&who, ""));
    assert!(told(&error).starts_with("FATAL 28000 "), "{}", error.line());
    let settings = settings
        .set("tls.server.cert_file", certificates.text("leaf.crt"))
        .set("tls.server.key_file", certificates.text("leaf.key"));
    let howdah = Howdah::start(&settings);
    let frames = Wire::tcp(howdah.address()).start(&who, "");
    assert!(succeeded(&frames), "{}", lines(&frames));
}

/// Gives a running server a certificate; the key has to belong to the server's own user.
fn offer_tls(postgres: &Postgres, certificates: &Certificates) {
    let data = postgres.socket_dir().join("data");
    let owner = std::fs::metadata(&data).expect("its folder");
    for (from, to) in [("leaf.crt", "server.crt"), ("leaf.key", "server.key"), ("ca.crt", "ca.crt")]
    {
        let path = data.join(to);
        std::fs::remove_file(&path).ok();
        std::fs::copy(certificates.path(from), &path).expect("a writable folder");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("permissions");
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    }
    let mut admin = postgres.admin("postgres");
    admin.run("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'");
    admin.run("ALTER SYSTEM SET ssl = on");
    admin.run("SELECT pg_reload_conf()");
    let expected = std::fs::read(certificates.path("ca.crt")).expect("a certificate");
    // The postmaster reloads in its own time; new connections show what it has.
    eventually("TLS is offered", || {
        let mut wire = Wire::tcp(postgres.address());
        tls::ask(&mut wire) == b"S" && {
            let connection = tls::connection(&certificates.path("ca.crt"), "127.0.0.1");
            let name = tls::connection(&certificates.path("ca.crt"), "elsewhere.example");
            let mut again = Wire::tcp(postgres.address());
            tls::ask(&mut again);
            !expected.is_empty() && (is_trusted(wire, connection) || is_trusted(again, name))
        }
    });
}

fn is_trusted(wire: Wire, connection: rustls::ClientConnection) -> bool {
    let mut wire = wire.encrypt(connection);
    wire.send(&messages::startup(
        messages::PROTOCOL_3_0,
        &[("user", SUPERUSER), ("database", "postgres")],
    ));
    matches!(wire.next(deadline()), Received::Frame(_))
}

#[test]
fn bytes_behind_an_ssl_request_are_refused() {
    let certificates = Certificates::new(&["localhost"]);
    let settings = settings("smuggle", "transaction");
    let howdah = Howdah::start(&with_certificate(settings, &certificates, "prefer"));
    let who = [("user", RIDER), ("database", "smuggle")];
    let startup = messages::startup(messages::PROTOCOL_3_0, &who);
    for request in [messages::ssl_request(), messages::gssenc_request()] {
        let mut wire = Wire::tcp(howdah.address());
        wire.send(&[request, startup.clone()].concat());
        let error = last_words(&mut wire);
        assert!(
            told(&error).starts_with("FATAL 08P01 received unencrypted data after"),
            "{}",
            error.line()
        );
    }
}

#[test]
fn gssapi_encryption_is_declined_and_the_client_goes_on() {
    let howdah = Howdah::start(&settings("gss", "transaction"));
    let mut wire = Wire::tcp(howdah.address());
    wire.send(&messages::gssenc_request());
    assert_eq!(wire.raw(1, deadline()), b"N");
    assert_eq!(tls::ask(&mut wire), b"N");
    assert!(succeeded(&wire.start(&[("user", RIDER), ("database", "gss")], "")));
}

#[test]
fn nonsense_instead_of_a_startup_packet_is_refused() {
    let howdah = Howdah::start(&settings("nonsense", "transaction"));
    // As PostgreSQL does: nobody who sends such a length would understand an error.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0], &[0, 0, 39, 17]] {
        let mut wire = Wire::tcp(howdah.address());
        wire.send(bytes);
        assert_eq!(until_closed(&mut wire), [], "{bytes:?}");
    }
    let cases: [(&[u8], &str); 2] = [
        (&messages::packet(&[0, 4, 0, 0, 0]), "FATAL 0A000 "),
        (&messages::startup(messages::PROTOCOL_3_0, &[("database", "x")]), "FATAL 28000 "),
    ];
    for (bytes, words) in cases {
        let mut wire = Wire::tcp(howdah.address());
        wire.send(bytes);
        let error = last_words(&mut wire);
        assert!(told(&error).starts_with(words), "{words}: {}", error.line());
    }
    client(&howdah, "nonsense").run("SELECT 1");
}

#[test]
fn a_message_larger_than_max_packet_size_is_refused() {
    let howdah =
        Howdah::start(&settings("packet", "transaction").set("howdah.max_packet_size", 20_000));
    let mut wire = client(&howdah, "packet");
    wire.run(&format!("SELECT '{}'", "x".repeat(10_000)));
    wire.send(&messages::query(&format!("SELECT '{}'", "x".repeat(30_000))));
    let error = last_words(&mut wire);
    assert!(told(&error).starts_with("FATAL 08P01 "), "{}", error.line());
    assert!(hint(&error).contains("max_packet_size"), "{}", error.line());
}

#[test]
fn startup_parameters_and_options_take_effect() {
    let howdah = Howdah::start(
        &settings("startup", "transaction")
            .set("pool.ignore_startup_parameters", vec!["extra_float_digits", "Statement_Timeout"]),
    );
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(
        &[
            ("user", RIDER),
            ("database", "startup"),
            ("application_name", "tests"),
            ("DateStyle", "German"),
            ("extra_float_digits", "-5"),
            ("options", "-c geqo=off -c search_path=a,b --work-mem=7MB -c statement_timeout=77"),
        ],
        "",
    );
    assert!(succeeded(&frames), "{}", lines(&frames));
    for (name, expected) in [
        ("application_name", "tests"),
        ("DateStyle", "German, DMY"),
        ("geqo", "off"),
        ("search_path", "a,b"),
        ("work_mem", "7MB"),
        ("extra_float_digits", "1"),
        ("statement_timeout", "0"),
    ] {
        assert_eq!(value(&mut wire, &format!("SHOW {name}")), expected, "{name}");
    }
    // Its neighbour on the same server has none of it.
    assert_eq!(value(&mut client(&howdah, "startup"), "SHOW work_mem"), "4MB");
    let mut wire = Wire::tcp(howdah.address());
    let who = [("user", RIDER), ("database", "startup"), ("work_mem", "nonsense")];
    let error = refusal(&mut wire, &who, "");
    assert!(told(&error).starts_with("FATAL 22023 "), "{}", error.line());
}

/// Parameters that only startup can set make a server of the session's own.
#[test]
fn a_session_with_startup_only_parameters_has_a_server_of_its_own() {
    let howdah = Howdah::start(&settings("dedicated", "transaction"));
    let mut wire = Wire::tcp(howdah.address());
    let who =
        [("user", SUPERUSER), ("database", "dedicated"), ("options", "-c log_disconnections=on")];
    let frames = wire.start(&who, "");
    assert!(succeeded(&frames), "{}", lines(&frames));
    assert_eq!(value(&mut wire, "SHOW log_disconnections"), "on");
    let pid = value(&mut wire, "SELECT pg_backend_pid()");
    wire.run("CREATE TEMP TABLE mine (x int)");
    let mut other = Wire::login(howdah.address(), SUPERUSER, "dedicated");
    assert_ne!(value(&mut other, "SELECT pg_backend_pid()"), pid);
    wire.run("SELECT * FROM mine");
    wire.send(&messages::terminate());
    let gone = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
    eventually("its server is closed", || other.rows(&gone).is_empty());
}

#[test]
fn a_replication_connection_passes() {
    let howdah = Howdah::start(&settings("replicate", "transaction"));
    let mut wire = Wire::tcp(howdah.address());
    let who = [("user", SUPERUSER), ("database", "replicate"), ("replication", "database")];
    let frames = wire.start(&who, "");
    assert!(succeeded(&frames), "{}", lines(&frames));
    let rows = wire.rows("IDENTIFY_SYSTEM");
    assert_eq!(rows[0].last().map(String::as_str), Some("replicate"), "{rows:?}");
}

#[test]
fn a_databases_own_settings_are_those_of_who_does_not_ask() {
    let settings = settings("own", "transaction")
        .set("databases.own.client_encoding", "LATIN1")
        .set("databases.own.datestyle", "SQL, DMY")
        .set("databases.own.timezone", "Asia/Tokyo")
        .set("databases.own.application_name", "of the entry");
    let howdah = Howdah::start(&settings);
    let mut silent = client(&howdah, "own");
    let mut asking = Wire::tcp(howdah.address());
    asking.start(&[("user", RIDER), ("database", "own"), ("TimeZone", "CET")], "");
    assert_eq!(value(&mut silent, "SHOW client_encoding"), "LATIN1");
    assert_eq!(value(&mut silent, "SHOW DateStyle"), "SQL, DMY");
    assert_eq!(value(&mut silent, "SHOW TimeZone"), "Asia/Tokyo");
    assert_eq!(value(&mut silent, "SHOW application_name"), "of the entry");
    assert_eq!(value(&mut asking, "SHOW TimeZone"), "CET");
}

#[test]
fn the_clients_address_is_added_to_its_application_name() {
    let settings = settings("add_host", "transaction").set("pool.application_name_add_host", true);
    let howdah = Howdah::start(&settings);
    let mut wire = Wire::tcp(howdah.address());
    let who = [("user", RIDER), ("database", "add_host"), ("application_name", "shop")];
    wire.start(&who, "");
    let name = value(&mut wire, "SHOW application_name");
    assert!(name.starts_with("shop - 127.0.0.1:"), "{name}");
    let name = value(&mut client(&howdah, "add_host"), "SHOW application_name");
    assert!(name.starts_with("app - 127.0.0.1:"), "{name}");
}

#[test]
fn unix_sockets_on_both_sides() {
    let postgres = Postgres::shared();
    let group = rustix::process::getgid().as_raw();
    let settings = settings("unix", "transaction")
        .set("howdah.listen_addr", Vec::<String>::new())
        .set("howdah.listen_addr", vec!["127.0.0.1"])
        .set("howdah.unix_socket_mode", "0750")
        .set("howdah.unix_socket_group", group.to_string())
        .set("databases.unix.nodes", vec![node(postgres)]);
    let howdah = Howdah::start(&settings);
    let path = howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port()));
    let metadata = std::fs::metadata(&path).expect("a socket");
    assert_eq!(metadata.mode() & 0o777, 0o750);
    assert_eq!(metadata.gid(), group);
    let mut wire = Wire::unix(&path);
    let frames = wire.start(&[("user", RIDER), ("database", "unix")], "");
    assert!(succeeded(&frames), "{}", lines(&frames));
    assert_eq!(value(&mut wire, "SELECT inet_server_addr() IS NULL"), "t");
    // A cancel request takes the same way.
    wire.send(&messages::query("SELECT pg_sleep(60)"));
    await_statement(&mut postgres.admin("postgres"), "unix", "pg_sleep");
    let mut request = Wire::unix(&path);
    request.send(&messages::cancel_request(wire.key().expect("a key")));
    until_closed(&mut request);
    assert_eq!(told(&the_error(&wire.until(b'Z'))).split(' ').nth(1), Some("57014"));
}

/// The folder of a server's Unix socket, with its port.
fn node(postgres: &Postgres) -> toml::Value {
    let mut node = toml::Table::new();
    node.insert("host".to_owned(), postgres.socket_dir().to_str().expect("UTF-8").into());
    node.insert("port".to_owned(), i64::from(postgres.port()).into());
    node.into()
}

#[test]
fn a_group_of_its_own_for_the_socket() {
    // Only root may give a file to a group it is not in.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let groups = std::fs::read_to_string("/etc/group").expect("groups");
    let line = groups.lines().find(|line| line.starts_with("daemon:")).expect("group daemon");
    let number: u32 = line.split(':').nth(2).expect("a number").parse().expect("a number");
    let settings = settings("group", "transaction").set("howdah.unix_socket_group", "daemon");
    let howdah = Howdah::start(&settings);
    let path = howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port()));
    assert_eq!(std::fs::metadata(path).expect("a socket").gid(), number);
}

/// Every limit of clients, at each level.
#[test]
fn clients_beyond_a_limit_are_told_which() {
    let cases = [
        ("howdah.max_client_conn", "no more connections allowed (max_client_conn)"),
        (
            "pool.max_db_client_connections",
            "client connections exceeded (max_db_client_connections)",
        ),
        (
            "databases.caps.max_db_client_connections",
            "client connections exceeded (max_db_client_connections)",
        ),
        (
            "pool.max_user_client_connections",
            "client connections exceeded (max_user_client_connections)",
        ),
        (
            "users.rider.max_user_client_connections",
            "client connections exceeded (max_user_client_connections)",
        ),
    ];
    for (path, words) in cases {
        let howdah = Howdah::start(&settings("caps", "transaction").set(path, 2));
        let (one, mut two) = (client(&howdah, "caps"), client(&howdah, "caps"));
        let mut wire = Wire::tcp(howdah.address());
        let error = refusal(&mut wire, &[("user", RIDER), ("database", "caps")], "");
        assert_eq!(told(&error), format!("FATAL 53300 {words}"), "{path}");
        let name = path.rsplit('.').next().expect("a name");
        assert!(hint(&error).contains(name), "{}", error.line());
        two.run("SELECT 1");
        // Who leaves makes room.
        one.disconnect();
        eventually("room", || {
            let mut wire = Wire::tcp(howdah.address());
            succeeded(&wire.start(&[("user", RIDER), ("database", "caps")], ""))
        });
    }
}

/// The user's own limit is theirs alone.
#[test]
fn a_users_limit_does_not_concern_others() {
    let settings =
        settings("caps_user", "transaction").set("users.rider.max_user_client_connections", 1);
    let howdah = Howdah::start(&settings);
    let _one = client(&howdah, "caps_user");
    let mut other = Wire::login(howdah.address(), SUPERUSER, "caps_user");
    other.run("SELECT 1");
}

/// Strangers who say nothing are counted before they are known, and cancel requests still pass.
#[test]
fn unfinished_logins_are_capped() {
    let settings = settings("strangers", "transaction").set("howdah.max_client_conn", 3);
    let howdah = Howdah::start(&settings);
    eventually("the first connections are gone", || {
        let mut strangers: Vec<Wire> = (0..3).map(|_| Wire::tcp(howdah.address())).collect();
        let mut last = Wire::tcp(howdah.address());
        let Received::Frame(frame) = last.next(tokio::time::Instant::now() + support::PATIENCE)
        else {
            return false;
        };
        let _held = &mut strangers;
        told(&frame).starts_with("FATAL 53300 ")
    });
}

#[test]
fn a_name_that_resolves_to_several_addresses_is_tried_at_each() {
    let postgres = Postgres::shared();
    // localhost may be ::1 first, where nobody listens.
    let node = format!("localhost:{}", postgres.port());
    let settings = settings("resolved", "transaction")
        .set("databases.resolved.nodes", vec![node])
        .set("howdah.dns_max_ttl", "100ms");
    let howdah = Howdah::start(&settings);
    client(&howdah, "resolved").run("SELECT 1");
    let settings =
        Settings::new("transaction").set("databases.lost.nodes", vec!["no-such-host.invalid"]);
    let howdah = Howdah::start(&settings);
    let names = [("user", RIDER), ("database", "lost")];
    let mut waiting = Wire::tcp(howdah.address());
    waiting.send(&messages::startup(messages::PROTOCOL_3_0, &names));
    // The first login waits. The pause after four attempts is long enough for another one.
    let failures = || howdah.log().matches("server login failed").count();
    eventually("attempts", || failures() >= 4);
    let error = refusal(&mut Wire::tcp(howdah.address()), &names, "");
    assert_eq!(told(&error), "FATAL 08006 server connection failed");
}

/// The kernel shows the options of a socket in /proc/net/tcp: the timer `02` is keepalive.
#[test]
fn tcp_options_are_set_on_both_sides() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    Postgres::shared().create_database("keepalive");
    let settings = |keepalive: bool| {
        let settings = Settings::new("transaction")
            .database("keepalive", relay.address())
            .set("howdah.tcp_user_timeout", "30s");
        if keepalive {
            settings
                .set("howdah.tcp_keepidle", "77s")
                .set("howdah.tcp_keepintvl", "7s")
                .set("howdah.tcp_keepcnt", 3)
        } else {
            settings.set("howdah.tcp_keepalive", false)
        }
    };
    for keepalive in [true, false] {
        let howdah = Howdah::start(&settings(keepalive));
        let mut wire = client(&howdah, "keepalive");
        wire.run("SELECT 1");
        let listening = howdah.address().port();
        let node = relay.address().port();
        eventually("the timers are as configured", || {
            let to_client = timers(howdah.pid(), |local, _| local == listening);
            let to_server = timers(howdah.pid(), |_, remote| remote == node);
            let expected = |(kind, ticks): &(u8, u64)| match keepalive {
                true => *kind == 2 && (6000..=7700).contains(ticks),
                false => *kind == 0,
            };
            let expected = |all: &[(u8, u64)]| !all.is_empty() && all.iter().all(expected);
            expected(&to_client) && expected(&to_server)
        });
    }
}

/// Kind and remaining hundredths of a second of the timers of a process's established TCP sockets.
fn timers(pid: u32, wanted: impl Fn(u16, u16) -> bool) -> Vec<(u8, u64)> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("a process of our own")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).expect("a table");
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = |text: &str| u16::from_str_radix(text.split(':').nth(1)?, 16).ok();
        let own = sockets.iter().any(|inode| inode == fields.get(9).copied().unwrap_or_default());
        let established = *fields.get(3)? == "01";
        if !own || !established || !wanted(port(fields.get(1)?)?, port(fields.get(2)?)?) {
            return None;
        }
        let (kind, left) = fields.get(5)?.split_once(':')?;
        Some((u8::from_str_radix(kind, 16).ok()?, u64::from_str_radix(left, 16).ok()?))
    };
    table.lines().skip(1).filter_map(line).collect()
}
