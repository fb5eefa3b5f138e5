//! The whole way from text to [`Config`]: errors, environment, secrets, precedence, differences.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const BARE: &str = "[auth]\nauth_type = \"trust\"\n[databases.app]\nnodes = [\"h\"]\n";

fn config(text: &str) -> Config {
    parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// `text` in front of what every configuration needs.
fn with(text: &str) -> Config {
    config(&format!("{text}\n{BARE}"))
}

fn errors(text: &str) -> Vec<String> {
    match parse_bytes(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.to_string().lines().map(str::to_owned).collect(),
    }
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn with_environment(text: &str, list: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    parse(Path::new("howdah.toml"), text.as_bytes(), &variables(list), &NoFiles)
        .map_err(|errors| errors.to_string().lines().map(str::to_owned).collect())
}

/// A directory with these files; the first is the configuration.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        fs::write(directory.path().join(name), text).expect("a file");
    }
    let path = directory.path().join(files[0].0);
    (directory, path)
}

/// Each mistake alone: the line of the file it stands on, what is said about it.
#[test]
fn each_mistake_has_its_line_key_and_text() {
    let top = [
        ("x = 1", "x: a key outside any section; it belongs in a section"),
        ("pool_mode = \"session\"", "pool_mode: a key outside any section; it belongs in [pool]"),
        ("pool = 3", "pool: expected a section [pool], found a number"),
        ("[pol]", "pol: unknown section; did you mean [pool]?"),
        ("[weather]", "weather: unknown section; `howdah config reference` lists the sections"),
        ("[routing]", "routing: unknown section; `howdah config reference` lists the sections"),
        ("[tls.clients]", "tls.clients: unknown; the sections are [tls.client] and [tls.server]"),
        ("tls = 1", "tls: expected [tls.client] and [tls.server], found a number"),
        ("users = []", "users: expected [users.NAME], found a list"),
        ("users.bob = 1", "users.bob: expected a table [users.bob], found a number"),
        (
            "[users.\"*\"]",
            "users.\"*\": there is no user \"*\"; what counts for every user goes into [pool] and [timeouts]",
        ),
        ("users.\"\" = {}", "users.\"\": the name is empty"),
        ("x =", "string values must be quoted, expected literal string"),
    ];
    for (line, message) in top {
        let found = errors(&format!("\n{line}\n{BARE}"));
        assert_eq!(found, [format!("howdah.toml:2: {message}")], "{line}");
    }
}

#[test]
fn each_value_of_a_wrong_kind_is_refused() {
    let cases = [
        (
            "howdah",
            "listen_port = 0",
            "expected a whole number from 1 to 65535, found the number 0",
        ),
        (
            "howdah",
            "listen_port = \"6432\"",
            "expected a whole number from 1 to 65535, found the text \"6432\"",
        ),
        (
            "howdah",
            "max_client_conn = 0",
            "expected a whole number from 1 to 1000000, found the number 0",
        ),
        ("howdah", "workers = 65", "expected a whole number from 1 to 64, found the number 65"),
        ("howdah", "so_reuseport = 1", "expected true or false, found the number 1"),
        (
            "howdah",
            "listen_addr = \"*\"",
            "expected a list of addresses, such as [\"127.0.0.1\"] or [\"*\"], found the text \"*\"",
        ),
        ("howdah", "listen_addr = [\"*\", \"::1\"]", "\"*\" covers \"::1\"; list one or the other"),
        ("howdah", "listen_addr = [\"::1\", \"::1\"]", "\"::1\" is listed twice"),
        ("howdah", "listen_addr = [\"a b\"]", "\"a b\" is neither an address nor a host name"),
        (
            "howdah",
            "unix_socket_mode = \"0888\"",
            "expected octal digits in a text, such as \"0777\", found the text \"0888\"",
        ),
        (
            "howdah",
            "unix_socket_mode = 777",
            "expected octal digits in a text, such as \"0777\", found the number 777",
        ),
        (
            "howdah",
            "unix_socket_mode = \"10000\"",
            "expected octal digits in a text, such as \"0777\", found the text \"10000\"",
        ),
        (
            "howdah",
            "unix_socket_dir = \"@x\"",
            "abstract Unix sockets are not available in this version; give a directory",
        ),
        ("howdah", "unix_socket_dir = 1", "expected the path of a directory, found the number 1"),
        (
            "howdah",
            "max_packet_size = \"64kB\"",
            "expected a size from 10000 to 2147483647 bytes, such as \"64KiB\", found the text \"64kB\"",
        ),
        (
            "howdah",
            "max_packet_size = 99",
            "expected a size from 10000 to 2147483647 bytes, such as \"64KiB\", found the number 99",
        ),
        (
            "howdah",
            "tcp_user_timeout = 500",
            "write the unit: PgBouncer counts milliseconds here, so 500 would be \"500ms\"",
        ),
        (
            "howdah",
            "tcp_user_timeout = \"x\"",
            "expected a duration with its unit, such as \"30s\" or \"500ms\", found the text \"x\"",
        ),
        ("howdah", "tcp_keepidle = \"1500ms\"", "the system counts whole seconds here"),
        (
            "pool",
            "pool_mode = \"sesion\"",
            "expected one of session, transaction, statement, found the text \"sesion\"",
        ),
        (
            "pool",
            "default_pool_size = -1",
            "expected a whole number, 0 or more, found the number -1",
        ),
        (
            "pool",
            "default_pool_size = 1.5",
            "expected a whole number, 0 or more, found the number 1.5",
        ),
        (
            "pool",
            "default_pool_size = 99999999999999999999",
            "expected a whole number, 0 or more, found the number 99999999999999999999",
        ),
        ("pool", "min_pool_size = 21", "21 is more than the pool's size, 20"),
        (
            "pool",
            "ignore_startup_parameters = [\"a,b\"]",
            "\"a,b\" is not a name; write each name in its own quotes",
        ),
        (
            "pool",
            "ignore_startup_parameters = [1]",
            "expected a list of names, such as [\"a\", \"b\"], found the number 1",
        ),
        ("pool", "server_reset_query = \"a\\u0000\"", "a text may not contain a zero byte"),
        ("pool", "server_reset_query = 1979-05-27", "expected a text, found a date"),
        (
            "timeouts",
            "query_timeout = \"5 minutes\"",
            "expected a duration such as \"15s\", \"250ms\", \"10m\", \"1h\" or a number of seconds, found the text \"5 minutes\"",
        ),
        (
            "timeouts",
            "query_timeout = true",
            "expected a duration such as \"15s\", \"250ms\", \"10m\", \"1h\" or a number of seconds, found true",
        ),
        (
            "timeouts",
            "query_timeout = nan",
            "expected a duration such as \"15s\", \"250ms\", \"10m\", \"1h\" or a number of seconds, found the number nan",
        ),
        (
            "log",
            "stats_period = 0.5",
            "expected a duration of at least 1s, such as \"15s\", \"10m\", \"1h\" or a number of seconds, found the number 0.5",
        ),
        (
            "tls.client",
            "sslmode = \"verify-full\"",
            "\"verify-full\" is not available towards clients in this version; use one of disable, allow, prefer, require",
        ),
        (
            "tls.client",
            "sslmode = \"require\"",
            "\"require\" needs a certificate; set cert_file and key_file",
        ),
        (
            "tls.server",
            "sslmode = \"verify-ca\"",
            "\"verify-ca\" needs the certificates to trust; set ca_file",
        ),
        ("tls.server", "ca_file = \"/x.crt\"", "cannot read /x.crt: entity not found"),
        (
            "users.bob",
            "pool_mode = []",
            "expected one of session, transaction, statement, found a list",
        ),
    ];
    for (section, line, message) in cases {
        let key = line.split(" =").next().unwrap_or_default();
        assert_eq!(
            errors(&format!("{BARE}[{section}]\n{line}\n")),
            [format!("howdah.toml:6: {section}.{key}: {message}")]
        );
    }
}

#[test]
fn mistakes_in_databases() {
    let long = "x".repeat(64);
    let nodes = "nodes = [\"h\"]";
    let cases = [
        ("a", "dbname = \"a\"", "5: databases.a.nodes: required; write nodes = [\"host:port\"]"),
        (
            "a",
            "nodes = []",
            "6: databases.a.nodes: 0 nodes; a database has exactly one in this version, lists of nodes come with read routing",
        ),
        (
            "a",
            "nodes = [\"g\", \"h\"]",
            "6: databases.a.nodes: 2 nodes; a database has exactly one in this version, lists of nodes come with read routing",
        ),
        (
            "a",
            "nodes = [{ port = 1 }]",
            "6: databases.a.nodes: a node needs a host: write { host = \"10.0.0.1\", port = 5432 }",
        ),
        (
            "a",
            "nodes = [{ host = \"h\", port = 0 }]",
            "6: databases.a.nodes: port: expected a number from 1 to 65535, found the number 0",
        ),
        (
            "a",
            "nodes = [{ host = 1 }]",
            "6: databases.a.nodes: host: expected a text, found the number 1",
        ),
        (
            "a",
            "nodes = [{ host = \"h\", weight = 2 }]",
            "6: databases.a.nodes: unknown key \"weight\" of a node; it has host and port",
        ),
        (
            "a",
            &format!("{nodes}\nhost = \"h\""),
            "7: databases.a.host: unknown key; write nodes = [\"host:port\"]",
        ),
        (
            "a",
            &format!("{nodes}\npassword = \"hunter2\""),
            "7: databases.a.password: whose? Set user, or leave the password to auth_file",
        ),
        (
            "a",
            &format!("{nodes}\nuser = \"u\"\npassword = 4711"),
            "8: databases.a.password: expected a text, found a number",
        ),
        (
            "a",
            &format!("{nodes}\nuser = \"u\"\npassword = \"\""),
            "8: databases.a.password: is empty; leave the key out instead",
        ),
        (
            "a",
            &format!("{nodes}\nuser = \"u\"\npassword = \"a\"\npassword_file = \"b\""),
            "9: databases.a.password_file: set either password or password_file, not both",
        ),
        (
            "a",
            &format!("{nodes}\nuser = \"{long}\""),
            "7: databases.a.user: longer than PostgreSQL's 63 bytes",
        ),
        (
            "a",
            &format!("{nodes}\nmin_pool_size = 3\npool_size = 2"),
            "7: databases.a.min_pool_size: 3 is more than the pool's size, 2",
        ),
        (
            "a",
            &format!("{nodes}\nserver_lifetime = 0"),
            "7: databases.a.server_lifetime: expected a duration of at least 1us, such as \"15s\", \"10m\", \"1h\" or a number of seconds, found the number 0",
        ),
        (
            "a",
            &format!("{nodes}\npool_sise = 1"),
            "7: databases.a.pool_sise: unknown key; did you mean pool_size?",
        ),
        (
            "a",
            &format!("{nodes}\npasswordfile = \"x\""),
            "7: databases.a.passwordfile: unknown key; did you mean password_file?",
        ),
        (
            "pgbouncer",
            nodes,
            "5: databases.pgbouncer: the name belongs to the console; choose another and set dbname",
        ),
        (
            &long,
            nodes,
            &format!("5: databases.{long}: the name is longer than PostgreSQL's 63 bytes"),
        ),
    ];
    for (name, text, message) in cases {
        let found = errors(&format!("{BARE}[databases.{name}]\n{text}\n"));
        assert_eq!(found, [format!("howdah.toml:{message}")]);
    }
}

#[test]
fn what_is_missing_altogether() {
    assert_eq!(
        errors(""),
        [
            "howdah.toml: auth.auth_file: auth_type = \"scram-sha-256\" needs the users; name their file",
            "howdah.toml: databases: no database; add [databases.NAME] with nodes = [\"host:port\"]",
        ]
    );
    assert_eq!(
        errors(&format!("[howdah]\nlisten_addr = []\nunix_socket_dir = \"\"\n{BARE}")),
        [
            "howdah.toml:2: howdah.listen_addr: nothing to listen on; give an address here or a directory in unix_socket_dir"
        ]
    );
    assert_eq!(
        errors(&format!("[pool]\nmin_pool_size = 5\n{BARE}pool_size = 4\n")),
        ["howdah.toml:7: databases.app.pool_size: 4 is less than [pool] min_pool_size, 5"]
    );
    assert_eq!(
        errors(&format!("[howdah]\ntcp_keepalive = false\ntcp_keepcnt = 3\n{BARE}")),
        ["howdah.toml:3: howdah.tcp_keepcnt: has no effect while tcp_keepalive = false"]
    );
    for word in ["cert", "hba"] {
        assert_eq!(
            errors(&BARE.replace("trust", word)),
            [format!(
                "howdah.toml:2: auth.auth_type: \"{word}\" is not available in this version; \
                      use one of trust, password, md5, scram-sha-256"
            )]
        );
    }
    assert_eq!(
        parse_bytes(b"[pool]\n# \xff\n").map_err(|e| e.to_string()),
        Err("howdah.toml:2: not text in UTF-8".to_owned())
    );
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_file() {
    let text = "[pool]\ndefault_pool_siez = 3\nmin_pool_size = \"x\"\n[log]\nlevel = 3\n\
                [auth]\nauth_type = \"hba\"\n[databases.a]\nnodes = [\"h:0\"]\n";
    let text = format!("{text}[databases.b]\n");
    let found = with_environment(&text, &[("HOWDAH_POOL__POOL_MODE", "x")]).expect_err("errors");
    assert_eq!(
        found,
        [
            "howdah.toml:2: pool.default_pool_siez: unknown key; did you mean default_pool_size?",
            "howdah.toml:3: pool.min_pool_size: expected a whole number, 0 or more, found the text \"x\"",
            "howdah.toml:5: log.level: expected one of error, warn, info, debug, trace, found the number 3",
            "howdah.toml:7: auth.auth_type: \"hba\" is not available in this version; use one of trust, password, md5, scram-sha-256",
            "howdah.toml:9: databases.a.nodes: \"0\" is not a port; expected a number from 1 to 65535",
            "howdah.toml:10: databases.b.nodes: required; write nodes = [\"host:port\"]",
            "HOWDAH_POOL__POOL_MODE: pool.pool_mode: expected one of session, transaction, statement, found the text \"x\"",
        ]
    );
}

#[test]
fn broken_toml_does_not_hide_other_mistakes_nor_invent_any() {
    assert_eq!(
        errors("[pool]\npool_mode = \"sesion\"\nmin_pool_size = \"open\n"),
        [
            "howdah.toml:2: pool.pool_mode: expected one of session, transaction, statement, found the text \"sesion\"",
            "howdah.toml:3: invalid basic string, expected `\"`",
        ]
    );
    assert_eq!(
        errors("[pool\nmin_pool_size = 1\n"),
        ["howdah.toml:1: unclosed table, expected `]`"]
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let text =
        format!("[pool]\ndefault_pool_size = 5\n{BARE}[databases.\"my-db\"]\nnodes = [\"h\"]\n");
    let config = with_environment(
        &text,
        &[
            ("HOWDAH_POOL__DEFAULT_POOL_SIZE", "40"),
            ("HOWDAH_HOWDAH__LISTEN_ADDR", "127.0.0.1, ::1"),
            ("HOWDAH_HOWDAH__SO_REUSEPORT", "true"),
            ("HOWDAH_TIMEOUTS__QUERY_TIMEOUT", "90"),
            ("HOWDAH_TLS__SERVER__SSLMODE", "disable"),
            ("HOWDAH_DATABASES__APP__NODES", "10.0.0.1:5433"),
            ("HOWDAH_DATABASES__MY-DB__POOL_SIZE", "7"),
            ("HOWDAH_DATABASES__OTHER__NODES", "o"),
            ("HOWDAH_DATABASES__Mixed__NODES", "m"),
            ("HOWDAH_USERS__BOB__POOL_MODE", "session"),
            ("HOWDAH_NOTHING", "ignored: no section"),
            ("PATH", "/bin"),
        ],
    )
    .expect("valid");
    assert_eq!(config.pool.default_pool_size.map(|n| n.get()), Some(40));
    assert_eq!(config.howdah.listen_addr.len(), 2);
    assert!(config.howdah.so_reuseport);
    assert_eq!(config.timeouts.query_timeout, Some(Duration::from_secs(90)));
    assert_eq!(config.tls_server.sslmode, ServerSslMode::Disable);
    assert_eq!(config.databases["app"].nodes[0].to_string(), "10.0.0.1:5433");
    assert_eq!(config.databases["my-db"].pool_size.flatten().map(|n| n.get()), Some(7));
    let names: Vec<&str> = config.databases.keys().map(String::as_str).collect();
    assert_eq!(names, ["Mixed", "app", "my-db", "other"]);
    assert_eq!(config.users["bob"].pool_mode, Some(PoolMode::Session));
}

#[test]
fn mistakes_in_the_environment() {
    let cases = [
        ("HOWDAH_POL__POOL_MODE", "unknown setting; did you mean HOWDAH_POOL__POOL_MODE?"),
        ("HOWDAH_POOL__POOLMODE", "unknown setting; did you mean HOWDAH_POOL__POOL_MODE?"),
        (
            "HOWDAH_TLS__CLIENT__SSLMOD",
            "unknown setting; did you mean HOWDAH_TLS__CLIENT__SSLMODE?",
        ),
        (
            "HOWDAH_DATABASES__APP__NODE",
            "unknown setting; did you mean HOWDAH_DATABASES__APP__NODES?",
        ),
        (
            "HOWDAH_WEATHER__RAIN",
            "unknown setting; the name is HOWDAH_<SECTION>__<KEY>, and `howdah config reference` lists the keys",
        ),
        ("HOWDAH_USERS__POOL_MODE", "a name is missing; write HOWDAH_USERS__<NAME>__POOL_MODE"),
        (
            "HOWDAH_POOL__MIN_POOL_SIZE",
            "pool.min_pool_size: expected a whole number, 0 or more, found the text \"x\"",
        ),
        (
            "HOWDAH_HOWDAH__SO_REUSEPORT",
            "howdah.so_reuseport: expected true or false, found the text \"x\"",
        ),
        ("HOWDAH_DATABASES__AB__NODES", "AB may be any of aB, Ab: spell it as it is"),
    ];
    let text = format!("{BARE}[databases.aB]\nnodes = [\"h\"]\n[databases.Ab]\nnodes = [\"h\"]\n");
    for (name, message) in cases {
        let found = with_environment(&text, &[(name, "x")]);
        assert_eq!(found.expect_err("an error"), [format!("{name}: {message}")]);
    }
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let text = "[auth]\nauth_file = \"users\"\n[databases.app]\nnodes = [\"h\"]\nuser = \"u\"\n\
                password_file = \"pw\"\n";
    let (_directory, path) = directory(&[
        ("howdah.toml", text),
        ("pw", "hunter2\r\n"),
        ("users", "\"u\" \"hunter2\"\n"),
    ]);
    let config = load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    let options = config.effective("app", "bob").expect("known");
    assert_eq!(options.password.as_ref().map(Secret::expose), Some("hunter2"));
    assert_eq!((options.server_user.as_str(), options.forced_user), ("u", true));
    let users = config.auth.auth_file.as_ref().expect("given");
    assert_eq!(users.contents(), b"\"u\" \"hunter2\"\n");
    let shown = format!("{config:?} {options:?} {:?}", config.shown());
    assert!(!shown.contains("hunter2"), "{shown}");

    let over = variables(&[("HOWDAH_DATABASES__APP__PASSWORD", "from outside")]);
    let config = load(&path, &over).unwrap_or_else(|errors| panic!("{errors}"));
    let password = config.databases["app"].password.clone();
    assert_eq!(password.as_ref().map(Secret::expose), Some("from outside"));
}

#[test]
fn files_that_cannot_be_used() {
    let text = "[auth]\nauth_file = \"gone\"\n[databases.app]\nnodes = [\"h\"]\nuser = \"u\"\n\
                password_file = \"empty\"\n[databases.two]\nnodes = [\"h\"]\nuser = \"u\"\n\
                password_file = \"lines\"\n";
    let (directory, path) =
        directory(&[("howdah.toml", text), ("empty", "\n"), ("lines", "hunter2\nhunter3\n")]);
    let found = load(&path, &[]).expect_err("three errors");
    let folder = directory.path().display();
    assert_eq!(
        found.to_string(),
        format!(
            "{folder}/howdah.toml:2: auth.auth_file: cannot read {folder}/gone: No such file or \
             directory (os error 2); relative paths start at the directory of the configuration file\n\
             {folder}/howdah.toml:6: databases.app.password_file: {folder}/empty is empty\n\
             {folder}/howdah.toml:10: databases.two.password_file: {folder}/lines holds more than \
             one line; expected the secret alone"
        )
    );
    let missing = load(&directory.path().join("none.toml"), &[]).expect_err("no file");
    assert_eq!(
        missing.to_string(),
        format!(
            "{folder}/none.toml: cannot read the configuration: No such file or directory (os error 2)"
        )
    );
    let folder_error = load(directory.path(), &[]).expect_err("a folder");
    assert!(folder_error.to_string().ends_with("is a directory"), "{folder_error}");
}

#[test]
fn certificates_need_their_keys() {
    let text = format!(
        "[tls.client]\nsslmode = \"require\"\ncert_file = \"c\"\n[tls.server]\nkey_file = \"k\"\n{BARE}"
    );
    let (_directory, path) = directory(&[("howdah.toml", &text), ("c", "CERT"), ("k", "KEY")]);
    let file = path.display();
    assert_eq!(
        load(&path, &[]).expect_err("two errors").to_string(),
        format!(
            "{file}:3: tls.client.cert_file: needs key_file too\n\
             {file}:5: tls.server.key_file: needs cert_file too"
        )
    );
    let key =
        variables(&[("HOWDAH_TLS__CLIENT__KEY_FILE", "k"), ("HOWDAH_TLS__SERVER__CERT_FILE", "c")]);
    let config = load(&path, &key).unwrap_or_else(|errors| panic!("{errors}"));
    let identity = config.tls_client.identity.expect("both files");
    assert_eq!(
        (identity.cert_file.contents(), identity.key_file.contents()),
        (&b"CERT"[..], &b"KEY"[..])
    );
    assert!(config.tls_server.identity.is_some());
}

/// general < database < user, for each option that exists on more than one level.
#[test]
fn user_wins_over_database_and_database_over_general() {
    let text = "[auth]\nauth_type = \"trust\"\n\
        [pool]\npool_mode = \"session\"\ndefault_pool_size = 10\nreserve_pool_size = 1\nmin_pool_size = 4\n\
        max_user_connections = 100\n\
        [timeouts]\nquery_wait_timeout = 100\nquery_timeout = 100\nserver_lifetime = 100\n\
        [databases.plain]\nnodes = [\"h\"]\n\
        [databases.own]\nnodes = [\"h\"]\npool_mode = \"transaction\"\npool_size = 20\n\
        reserve_pool_size = 2\nquery_wait_timeout = 200\nserver_lifetime = 200\nmin_pool_size = 6\n\
        [databases.forced]\nnodes = [\"h\"]\nuser = \"service\"\n\
        [databases.\"*\"]\nnodes = [\"other\"]\n\
        [users.bob]\npool_mode = \"statement\"\npool_size = 0\nreserve_pool_size = 3\n\
        query_wait_timeout = 0\nquery_timeout = 300\nmax_user_connections = 30\n\
        [users.service]\npool_size = 3\nmax_user_connections = 33\nquery_timeout = 333\n";
    let config = config(text);
    let row = |database: &str, user: &str| {
        let e = config.effective(database, user).expect("the wildcard answers");
        let seconds = |timeout: Timeout| timeout.map(|t| t.as_secs());
        let sizes = [e.pool_size, e.max_user_connections].map(|l| l.map(|n| n.get()));
        (
            (e.pool_mode.as_str(), sizes, e.reserve_pool_size, e.min_pool_size),
            (seconds(e.query_wait_timeout), seconds(e.query_timeout), e.server_lifetime.as_secs()),
        )
    };
    let table = [
        ("plain", "amy", (("session", [Some(10), Some(100)], 1, 4), (Some(100), Some(100), 100))),
        ("own", "amy", (("transaction", [Some(20), Some(100)], 2, 6), (Some(200), Some(100), 200))),
        ("plain", "bob", (("statement", [None, Some(30)], 3, 4), (None, Some(300), 100))),
        ("own", "bob", (("statement", [None, Some(30)], 3, 6), (None, Some(300), 200))),
        // The pool is the forced user's, the client's timeouts are its own.
        ("forced", "amy", (("session", [Some(3), Some(33)], 1, 3), (Some(100), Some(100), 100))),
        ("forced", "bob", (("session", [Some(3), Some(33)], 1, 3), (None, Some(300), 100))),
        ("unknown", "amy", (("session", [Some(10), Some(100)], 1, 4), (Some(100), Some(100), 100))),
    ];
    for (database, user, expected) in table {
        assert_eq!(row(database, user), expected, "{user} in {database}");
    }
    assert_eq!(config.effective("unknown", "amy").map(|e| e.dbname).as_deref(), Some("unknown"));
    assert!(with("").effective("unknown", "amy").is_none());
}

#[test]
fn differences() {
    let before = format!(
        "[pool]\ndefault_pool_size = 5\n{BARE}user = \"u\"\npassword = \"one\"\n\
         [databases.old]\nnodes = [\"h\"]\n[log]\nlevel = \"info\"\n"
    );
    let after = format!(
        "\n[log]\nlevel = \"debug\"\n{BARE}user = \"u\"\npassword = \"two\"\npool_size = 3\n\
         [users.bob]\npool_size = 3\n[howdah]\nlisten_port = 7000\n"
    );
    let (before, after) = (config(&before), config(&after));
    assert_eq!(difference(&before, &before), []);
    let lines: Vec<String> = difference(&before, &after)
        .iter()
        .map(|c| format!("{}: {} -> {} ({})", c.key, c.old, c.new, c.applies))
        .collect();
    assert_eq!(
        lines,
        [
            "databases.old: present -> absent (now)",
            "users.bob: absent -> present (next connect)",
            "howdah.listen_port: 6432 -> 7000 (restart)",
            "pool.default_pool_size: 5 -> 20 (now)",
            "log.level: info -> debug (now)",
            "databases.app.password: *** -> *** (changed) (now)",
            "databases.app.pool_size: ([pool] default_pool_size) -> 3 (now)",
        ]
    );
}

#[test]
fn new_contents_of_a_file_are_a_difference() {
    let text = "[auth]\nauth_file = \"users\"\n[databases.app]\nnodes = [\"h\"]\n";
    let (directory, path) = directory(&[("howdah.toml", text), ("users", "one")]);
    let before = load(&path, &[]).expect("valid");
    fs::write(directory.path().join("users"), "two").expect("a file");
    let after = load(&path, &[]).expect("valid");
    let users = directory.path().join("users").display().to_string();
    assert_eq!(
        difference(&before, &after),
        [Change {
            key: "auth.auth_file".into(),
            new: format!("{users} (new contents)"),
            old: users,
            applies: Applies::NextConnect,
        }]
    );
}

#[test]
fn the_console_shows_pgbouncers_names() {
    let shown = with("[pool]\nserver_check_delay = \"90s\"\n").shown();
    let find = |name| shown.iter().find(|s| s.name == name).expect(name);
    let delay = find("server_check_delay");
    assert_eq!((delay.value.as_str(), delay.default.as_str()), ("90s", "30s"));
    assert_eq!(find("server_tls_sslmode").value, "prefer");
    assert_eq!(find("unix_socket_mode").value, "0777");
    assert_ne!(find("workers").value, "");
    assert!(shown.is_sorted_by_key(|s| s.name));
}

/// Every key, set to what is not its default, changes the typed configuration.
#[test]
fn every_key_reaches_the_configuration() {
    let base =
        "[auth]\nauth_type = \"trust\"\n[users.u]\n[databases.d]\nnodes = [\"h\"]\nuser = \"f\"\n";
    let (_directory, path) = directory(&[("howdah.toml", base), ("file", "x"), ("pair", "y")]);
    let typed = |config: Config| {
        let rest = (config.auth, config.tls_client, config.tls_server, config.log);
        let entries = (config.databases, config.users);
        format!("{:?}", (config.howdah, config.pool, config.timeouts, rest, entries))
    };
    for section in Section::ALL {
        let table = match section {
            Section::Database => "databases.d",
            Section::User => "users.u",
            other => other.name(),
        };
        let prefix = table.replace('.', "__").to_uppercase();
        for key in section.keys() {
            let name = |key: &str| format!("HOWDAH_{prefix}__{}", key.to_uppercase());
            let value = match (key.kind, key.default) {
                (Kind::Flag, DefaultValue::Toml("true")) => "false",
                (Kind::Flag, _) => "true",
                (Kind::Count { .. }, _) if key.name == "workers" => "63",
                (Kind::Count { .. }, _) if key.name == "min_pool_size" => "3",
                (Kind::Count { .. }, _) => "5432",
                (Kind::Duration { .. }, _) => "77s",
                (Kind::Size { .. }, _) => "64KiB",
                (Kind::Text | Kind::Secret | Kind::Names, _) => "something",
                (Kind::Word { words, .. }, DefaultValue::Toml(default)) => {
                    let other = |word: &&&str| !default.contains(**word) && **word != "trust";
                    words.iter().find(other).expect("another word")
                }
                (Kind::Word { words, .. }, DefaultValue::Words(_)) => words[0],
                (Kind::File, _) => "file",
                (Kind::Directory, _) => "/run",
                (Kind::Mode, _) => "0700",
                (Kind::Listen, _) => "10.1.1.1",
                (Kind::Nodes, _) => "other",
            };
            let mut list = vec![(name(key.name), value)];
            match (section, key.name) {
                (Section::TlsClient | Section::TlsServer, "cert_file") => {
                    list.push((name("key_file"), "pair"))
                }
                (Section::TlsClient | Section::TlsServer, "key_file") => {
                    list.push((name("cert_file"), "pair"))
                }
                (Section::TlsClient, "sslmode") => {
                    list.extend([(name("cert_file"), "file"), (name("key_file"), "file")]);
                }
                (Section::Auth, "auth_type") => list.push((name("auth_file"), "file")),
                _ => {}
            }
            let list: Vec<(&str, &str)> = list.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            let changed =
                load(&path, &variables(&list)).unwrap_or_else(|errors| panic!("{errors}"));
            // The companions alone, to compare with.
            let without = load(&path, &variables(&list[1..]));
            let without = match without {
                Ok(config) => config,
                Err(_) => load(&path, &[]).expect("valid"),
            };
            assert_ne!(
                typed(changed.clone()),
                typed(without),
                "{table}.{} has no effect",
                key.name
            );
            assert!(
                difference(&load(&path, &[]).expect("valid"), &changed)
                    .iter()
                    .any(|change| change.key == format!("{table}.{}", key.name)),
                "{table}.{} is not in the difference",
                key.name
            );
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_configuration_or_errors(bytes: Vec<u8>) {
        _ = parse_bytes(&bytes);
    }

    #[test]
    fn any_text_of_toml_words_is_a_configuration_or_errors(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "[", "]", "pool", "tls", ".", "client", "databases", "=", "\n", "\"", "'", "1",
                "nodes", "{", "}", ",", "host", "users", "#", "é", "\"\"\"", "sslmode", "1e9", "[[", "]]",
            ]),
            0..60,
        )
    ) {
        if let Err(errors) = parse_bytes(words.concat().as_bytes()) {
            prop_assert!(!errors.errors().is_empty());
        }
    }
}
