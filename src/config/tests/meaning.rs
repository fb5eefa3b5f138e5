//! What a valid configuration means: precedence, secrets, differences.

use super::*;
use crate::net::SslMode;
use crate::session::route::Mode;

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
    assert_eq!(config.tls_server.sslmode, SslMode::Disable);
    assert_eq!(config.databases["app"].nodes[0].to_string(), "10.0.0.1:5433");
    assert_eq!(config.databases["my-db"].pool_size.flatten().map(|n| n.get()), Some(7));
    let names: Vec<&str> = config.databases.keys().map(String::as_str).collect();
    assert_eq!(names, ["Mixed", "app", "my-db", "other"]);
    assert_eq!(config.users["bob"].pool_mode, Some(Mode::Session));
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

#[test]
fn nodes_have_roles_weights_and_zones_and_reads_have_levels() {
    let config = config(
        "[auth]\nauth_type = \"trust\"\n[routing]\nmax_lag = \"5s\"\nzone = \"a\"\n\
         [databases.two]\nconsistency = \"global\"\nmax_lag = 0\nnodes = [\"g:1\", \
         { host = \"h\", role = \"replica\", weight = 3, zone = \"b\" }]\n\
         [databases.one]\nroute = \"off\"\nnodes = [\"h\"]\n\
         [users.bob]\nroute = \"on\"\nconsistency = \"eventual\"\n",
    );
    let two = config.effective("two", "amy").expect("known");
    let shown: Vec<String> = two.nodes.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["g:1", "h:5432 role=replica weight=3 zone=b"]);
    let row = |database: &str, user: &str| {
        let options = config.effective(database, user).expect("known");
        (options.route.as_str(), options.consistency.as_str(), options.max_lag.map(|l| l.as_secs()))
    };
    assert_eq!(row("two", "amy"), ("on", "global", None));
    assert_eq!(row("two", "bob"), ("on", "eventual", None));
    assert_eq!(row("one", "amy"), ("off", "session", Some(5)));
    assert_eq!(row("one", "bob"), ("on", "eventual", Some(5)));
    assert_eq!(config.routing.zone.as_deref(), Some("a"));
}
