//! Every mistake with its line, its key and its text.

use super::*;

/// The rows of a table of text, split at the arrows. `\n` is written out.
fn rows<const N: usize>(table: &'static str) -> Vec<[String; N]> {
    let rows: Vec<[String; N]> = table
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let cells: Vec<String> =
                line.split(" => ").map(|cell| cell.replace("\\n", "\n")).collect();
            cells.try_into().unwrap_or_else(|cells| panic!("{cells:?}"))
        })
        .collect();
    assert!(rows.len() > 10, "the table was read");
    rows
}

/// A line of the file, and what is said about it.
const AT_THE_TOP: &str = r#"
x = 1 => x: a key outside any section; it belongs in a section
pool_mode = "session" => pool_mode: a key outside any section; it belongs in [pool]
pool = 3 => pool: expected a section [pool], found a number
[pol] => pol: unknown section; did you mean [pool]?
[weather] => weather: unknown section; `howdah config reference` lists the sections
[weather] => weather: unknown section; `howdah config reference` lists the sections
[tls.clients] => tls.clients: unknown; the sections are [tls.client] and [tls.server]
tls = 1 => tls: expected [tls.client] and [tls.server], found a number
users = [] => users: expected [users.NAME], found a list
users.bob = 1 => users.bob: expected a table [users.bob], found a number
[users."*"] => users."*": there is no user "*"; what counts for every user goes into [pool] and [timeouts]
users."" = {} => users."": the name is empty
x = => string values must be quoted, expected literal string
"#;

#[test]
fn each_mistake_has_its_line_key_and_text() {
    for [line, message] in rows(AT_THE_TOP) {
        let found = errors(&format!("\n{line}\n{BARE}"));
        assert_eq!(found, [format!("howdah.toml:2: {message}")], "{line}");
    }
}

/// A section, a line in it, and what is said about it.
const VALUES: &str = r#"
howdah => listen_port = 0 => expected a whole number from 1 to 65535, found the number 0
howdah => listen_port = "6432" => expected a whole number from 1 to 65535, found the text "6432"
howdah => max_client_conn = 0 => expected a whole number from 1 to 1000000, found the number 0
howdah => workers = 65 => expected a whole number from 1 to 64, found the number 65
howdah => so_reuseport = 1 => expected true or false, found the number 1
howdah => listen_addr = "*" => expected a list of addresses, such as ["127.0.0.1"] or ["*"], found the text "*"
howdah => listen_addr = ["*", "::1"] => "*" covers "::1"; list one or the other
howdah => listen_addr = ["::1", "::1"] => "::1" is listed twice
howdah => listen_addr = ["a b"] => "a b" is neither an address nor a host name
howdah => unix_socket_mode = "0888" => expected octal digits in a text, such as "0777", found the text "0888"
howdah => unix_socket_mode = 777 => expected octal digits in a text, such as "0777", found the number 777
howdah => unix_socket_mode = "10000" => expected octal digits in a text, such as "0777", found the text "10000"
howdah => unix_socket_dir = "@x" => abstract Unix sockets are not available in this version; give a directory
howdah => unix_socket_dir = 1 => expected the path of a directory, found the number 1
howdah => max_packet_size = "64kB" => expected a size from 10000 to 2147483647 bytes, such as "64KiB", found the text "64kB"
howdah => max_packet_size = 99 => expected a size from 10000 to 2147483647 bytes, such as "64KiB", found the number 99
howdah => tcp_user_timeout = 500 => write the unit: PgBouncer counts milliseconds here, so 500 would be "500ms"
howdah => tcp_user_timeout = "x" => expected a duration with its unit, such as "30s" or "500ms", found the text "x"
howdah => tcp_keepidle = "1500ms" => the system counts whole seconds here
pool => pool_mode = "sesion" => expected one of session, transaction, statement, found the text "sesion"
pool => default_pool_size = -1 => expected a whole number, 0 or more, found the number -1
pool => default_pool_size = 1.5 => expected a whole number, 0 or more, found the number 1.5
pool => default_pool_size = 99999999999999999999 => expected a whole number, 0 or more, found the number 99999999999999999999
pool => min_pool_size = 21 => 21 is more than the pool's size, 20
pool => ignore_startup_parameters = ["a,b"] => "a,b" is not a name; write each name in its own quotes
pool => ignore_startup_parameters = [1] => expected a list of names, such as ["a", "b"], found the number 1
pool => server_reset_query = "a\u0000" => a text may not contain a zero byte
pool => server_reset_query = 1979-05-27 => expected a text, found a date
timeouts => query_timeout = "5 minutes" => expected a duration such as "15s", "250ms", "10m", "1h" or a number of seconds, found the text "5 minutes"
timeouts => query_timeout = true => expected a duration such as "15s", "250ms", "10m", "1h" or a number of seconds, found true
timeouts => query_timeout = nan => expected a duration such as "15s", "250ms", "10m", "1h" or a number of seconds, found the number nan
log => stats_period = 0.5 => expected a duration of at least 1s, such as "15s", "10m", "1h" or a number of seconds, found the number 0.5
tls.client => sslmode = "verify-full" => "verify-full" is not available towards clients in this version; use one of disable, allow, prefer, require
tls.client => sslmode = "require" => "require" needs a certificate; set cert_file and key_file
tls.server => sslmode = "verify-ca" => "verify-ca" needs the certificates to trust; set ca_file
tls.server => ca_file = "/x.crt" => cannot read /x.crt: entity not found
howdah => max_tracked_queries = 100001 => expected a whole number from 0 to 100000, found the number 100001
http => listen = "0.0.0.0:9930" => 0.0.0.0:9930 can be reached from elsewhere; set token_file, or listen on 127.0.0.1
http => listen = "localhost" => "localhost" is not an address and a port, such as "127.0.0.1:9930" or "[::1]:9930"
http => token_file = "/x.token" => cannot read /x.token: entity not found
routing => route = "maybe" => expected one of off, advise, on, found the text "maybe"
routing => consistency = "strong" => expected one of eventual, bounded, session, monotonic, global, strict, primary, found the text "strong"
routing => probe_interval = "1ms" => expected a duration of at least 10ms, such as "15s", "10m", "1h" or a number of seconds, found the text "1ms"
routing => probe_password = "" => is empty; leave the key out instead
users.bob => pool_mode = [] => expected one of session, transaction, statement, found a list
"#;

#[test]
fn each_value_of_a_wrong_kind_is_refused() {
    for [section, line, message] in rows(VALUES) {
        let key = line.split(" =").next().unwrap_or_default();
        assert_eq!(
            errors(&format!("{BARE}[{section}]\n{line}\n")),
            [format!("howdah.toml:6: {section}.{key}: {message}")]
        );
    }
}

/// The name of a database, the lines of its table (its header is line 5), and what is said.
const DATABASES: &str = r#"
a => dbname = "a" => 5: databases.a.nodes: required; write nodes = ["host:port"]
a => nodes = [] => 6: databases.a.nodes: no node; write nodes = ["host:port"]
a => nodes = ["g", "h", "g:5432"] => 6: databases.a.nodes: "g:5432" is listed twice
a => nodes = [{ host = "g", role = "primary" }, { host = "h", role = "primary" }] => 6: databases.a.nodes: more than one node has role = "primary"; leave the role to be found out
a => nodes = [{ host = "g", role = "replica" }] => 6: databases.a.nodes: every node has role = "replica", and writes need a primary; list it, or leave the role to be found out
a => nodes = [{ host = "h", role = "standby" }] => 6: databases.a.nodes: role: expected one of auto, primary, replica, found the text "standby"
a => nodes = [{ host = "h", weight = 1001 }] => 6: databases.a.nodes: weight: expected a number from 0 to 1000, found the number 1001
a => nodes = [{ host = "h", zone = "" }] => 6: databases.a.nodes: zone: expected the name of a zone, found the text ""
a => nodes = [{ port = 1 }] => 6: databases.a.nodes: a node needs a host: write { host = "10.0.0.1", port = 5432 }
a => nodes = [{ host = "h", port = 0 }] => 6: databases.a.nodes: port: expected a number from 1 to 65535, found the number 0
a => nodes = [{ host = 1 }] => 6: databases.a.nodes: host: expected a text, found the number 1
a => nodes = [{ host = "h", wait = 2 }] => 6: databases.a.nodes: unknown key "wait" of a node; it has host, port, role, weight and zone
a => nodes = ["h"]\nhost = "h" => 7: databases.a.host: unknown key; write nodes = ["host:port"]
a => nodes = ["h"]\npassword = "hunter2" => 7: databases.a.password: whose? Set user, or leave the password to auth_file
a => nodes = ["h"]\nuser = "u"\npassword = 4711 => 8: databases.a.password: expected a text, found a number
a => nodes = ["h"]\nuser = "u"\npassword = "" => 8: databases.a.password: is empty; leave the key out instead
a => nodes = ["h"]\nuser = "u"\npassword = "a"\npassword_file = "b" => 9: databases.a.password_file: set either password or password_file, not both
a => nodes = ["h"]\nmin_pool_size = 3\npool_size = 2 => 7: databases.a.min_pool_size: 3 is more than the pool's size, 2
a => nodes = ["h"]\nserver_lifetime = 0 => 7: databases.a.server_lifetime: expected a duration of at least 1us, such as "15s", "10m", "1h" or a number of seconds, found the number 0
a => nodes = ["h"]\npool_sise = 1 => 7: databases.a.pool_sise: unknown key; did you mean pool_size?
a => nodes = ["h"]\npasswordfile = "x" => 7: databases.a.passwordfile: unknown key; did you mean password_file?
pgbouncer => nodes = ["h"] => 5: databases.pgbouncer: the name belongs to the console; choose another and set dbname
"#;

#[test]
fn mistakes_in_databases() {
    for [name, text, message] in rows(DATABASES) {
        let found = errors(&format!("{BARE}[databases.{name}]\n{text}\n"));
        assert_eq!(found, [format!("howdah.toml:{message}")]);
    }
}

#[test]
fn names_are_as_long_as_postgresqls_at_most() {
    let long = "x".repeat(64);
    let text = format!("{BARE}[databases.{long}]\nnodes = [\"h\"]\nuser = \"{long}\"\n");
    assert_eq!(
        errors(&text),
        [
            format!(
                "howdah.toml:5: databases.{long}: the name is longer than PostgreSQL's 63 bytes"
            ),
            format!("howdah.toml:7: databases.{long}.user: longer than PostgreSQL's 63 bytes"),
        ]
    );
    assert_eq!(errors(&text.replace(&long, &long[1..])), [] as [&str; 0]);
}

#[test]
fn no_database_at_all_has_to_be_said() {
    let trust = "[auth]\nauth_type = \"trust\"\n";
    assert_eq!(errors(&format!("[databases]\n{trust}")), [] as [&str; 0]);
    assert_eq!(errors(trust).len(), 1);
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
fn a_probe_needs_a_user_only_where_there_are_several_nodes() {
    let text = |nodes: &str| {
        format!(
            "[auth]\nauth_type = \"trust\"\n[routing]\nprobe_user = \"\"\n[databases.a]\nnodes = {nodes}\n"
        )
    };
    assert_eq!(errors(&text("[\"h\"]")), [] as [String; 0]);
    assert_eq!(
        errors(&text("[\"g\", \"h\"]")),
        [
            "howdah.toml:4: routing.probe_user: is empty; databases with several nodes need it, such as \"howdah\""
        ]
    );
}
