//! Whole files through the tables and the loader.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::super::files::Files;

/// Files of a test.
pub(super) struct Folder(BTreeMap<PathBuf, Vec<u8>>);

impl Folder {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec())).collect())
    }
}

impl Files for Folder {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

use super::super::Config;
use super::pgbouncer_table::{Becomes, DATABASES, PEERS, PGBOUNCER, Row, USERS};
use super::pgpool_table::{Fated, GROUPS};
use super::translate::translate_with;
use super::{Fate, Ground, Source, Translation};
use crate::auth::Method;
use crate::cluster::freshness::Level;
use crate::cluster::policy::RouteReads;
use crate::session::route::Mode;

/// Files that a configuration may name.
fn disk() -> Folder {
    let named =
        ["userlist.txt", "client.key", "client.crt", "server.key", "server.crt", "root.crt"];
    let mut files: Vec<(String, &str)> =
        named.iter().map(|name| (format!("/etc/pgbouncer/{name}"), "\"a\" \"b\"\n")).collect();
    files.push(("/etc/pgpool2/server.key".to_owned(), "key"));
    files.push(("/etc/pgpool2/server.crt".to_owned(), "certificate"));
    files.push(("/etc/pgbouncer/other.ini".to_owned(), "[databases]\nincluded = host=10.0.0.9\n"));
    files.push(("/folder/userlist.txt".to_owned(), "\"a\" \"b\"\n"));
    Folder::new(&files.iter().map(|(name, text)| (name.as_str(), *text)).collect::<Vec<_>>())
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.as_bytes().to_vec() }
}

fn translated(sources: &[Source]) -> Translation {
    let ground = Ground { directory: "/folder".into(), home: None };
    translate_with(sources, &ground, &disk()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn mistakes(text: &str) -> String {
    let ground = Ground { directory: "/folder".into(), home: None };
    let made = translate_with(&[source("p.ini", text)], &ground, &disk());
    made.expect_err("a mistake").to_string()
}

fn loaded(toml: &str) -> Config {
    crate::config::parse::parse(Path::new("/folder/howdah.toml"), toml.as_bytes(), &[], &disk())
        .unwrap_or_else(|errors| panic!("{errors}\n{toml}"))
}

/// The configuration of a file of PgBouncer's, by way of a file of ours.
fn config(text: &str) -> Config {
    loaded(&translated(&[source("p.ini", text)]).toml)
}

/// The same, as a process that runs the file itself has it.
fn run(text: &str) -> Result<Config, String> {
    super::pgbouncer(Path::new("/folder/p.ini"), text.as_bytes(), &[], &disk())
        .map_err(|errors| errors.to_string())
}

const MINIMAL: &str = "[databases]\na = host=h\n[pgbouncer]\nlisten_addr = *\n\
    auth_file = /etc/pgbouncer/userlist.txt\n";

#[test]
fn every_row_has_a_text_and_a_name_of_its_own() {
    for rows in [PGBOUNCER, DATABASES, USERS, PEERS] {
        for (index, row) in rows.iter().enumerate() {
            let speaks = match row.becomes {
                Becomes::Key(section, key, _) => section.key(key).is_some(),
                Becomes::Node => row.name == "port" || !row.note.is_empty(),
                Becomes::Process | Becomes::Needless | Becomes::Missing(_) => row.note.len() > 10,
            };
            assert!(speaks, "{}: neither a key nor a text", row.name);
            assert!(!row.note.ends_with('.'), "{}", row.name);
            assert!(rows[..index].iter().all(|other| other.name != row.name), "{} twice", row.name);
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for group in GROUPS {
        let speaks = match group.fate {
            Fated::Key(section, key, _) => section.key(key).is_some(),
            Fated::Together | Fated::Needless | Fated::Missing => group.note.len() > 10,
        };
        assert!(speaks, "{:?}: neither a key nor a text", group.names);
        for name in group.names {
            assert!(!names.contains(name), "{name} twice");
            names.push(name);
        }
    }
}

/// What the row of a setting promises.
fn kept(row: &Row, fate: &Fate) -> bool {
    match row.becomes {
        Becomes::Key(..) | Becomes::Node => matches!(fate, Fate::Carried(..)),
        Becomes::Process => matches!(fate, Fate::Process(_)),
        Becomes::Needless => matches!(fate, Fate::Needless(_)),
        Becomes::Missing(_) => matches!(fate, Fate::Missing(_)),
    }
}

/// Runs one setting through a whole file, with its sample value.
fn converts(row: &Row, before: &str, after: &str) {
    let text = format!("{before}{} = {}{after}", row.name, row.sample);
    let made = translated(&[source("p.ini", &text)]);
    let line = before.matches('\n').count() + 1;
    let found: Vec<_> = made
        .findings
        .iter()
        .filter(|finding| usize::try_from(finding.place.line) == Ok(line))
        .filter(|finding| finding.setting.ends_with(&format!(" {}", row.name)))
        .collect();
    assert_eq!(found.len(), 1, "{}: {:?}", row.name, made.findings);
    assert!(kept(row, &found[0].fate), "{}: {}", row.name, found[0]);
    loaded(&made.toml);
}

#[test]
fn every_row_converts_its_sample_and_the_result_loads() {
    for row in PGBOUNCER {
        // A certificate needs its key.
        let pair = match row.name {
            "client_tls_key_file" => "client_tls_cert_file = /etc/pgbouncer/client.crt\n",
            "client_tls_cert_file" => "client_tls_key_file = /etc/pgbouncer/client.key\n",
            "server_tls_key_file" => "server_tls_cert_file = /etc/pgbouncer/server.crt\n",
            "server_tls_cert_file" => "server_tls_key_file = /etc/pgbouncer/server.key\n",
            _ => "",
        };
        converts(row, &format!("{MINIMAL}{pair}"), "\n");
    }
    for row in DATABASES {
        let user = if row.name == "password" { "user=u " } else { "" };
        converts(row, &format!("{MINIMAL}[databases]\nd = {user}"), " \n");
    }
    for row in USERS {
        converts(row, &format!("{MINIMAL}[users]\nu = "), "\n");
    }
    for row in PEERS {
        let host = if row.name == "host" { "" } else { "host=h " };
        converts(row, &format!("{MINIMAL}[peers]\n1 = {host}"), "\n");
    }
}

#[test]
fn every_setting_of_pgpool_converts_and_the_result_loads() {
    for group in GROUPS {
        for pattern in group.names {
            let name = pattern.replace("[N]", "0").replace('N', "0");
            let value = match name.as_str() {
                "backend_hostname0" => "g",
                "num_init_children" | "reserved_connections" | "listen_backlog_multiplier" => "20",
                _ => group.sample,
            };
            let pair = match name.as_str() {
                "ssl_key" => "ssl_cert = '/etc/pgpool2/server.crt'\n",
                "ssl_cert" => "ssl_key = '/etc/pgpool2/server.key'\n",
                "sr_check_password" => "sr_check_user = 'u'\n",
                "health_check_password0" => "health_check_user0 = 'u'\n",
                _ => "",
            };
            let text = format!(
                "backend_hostname0 = 'h'\nbackend_hostname1 = 'i'\n{pair}{name} = '{value}'\n"
            );
            let made = translated(&[source("pgpool.conf", &text)]);
            let found = made.findings.iter().find(|finding| finding.setting == name);
            let fate = &found.unwrap_or_else(|| panic!("{name}")).fate;
            let kept = match group.fate {
                Fated::Key(..) | Fated::Together => matches!(fate, Fate::Carried(..)),
                Fated::Needless => matches!(fate, Fate::Needless(_)),
                Fated::Missing => matches!(fate, Fate::Missing(_)),
            };
            assert!(kept, "{name}: {fate:?}");
            loaded(&made.toml);
        }
    }
}

#[test]
fn pgbouncers_defaults_count() {
    let config = config(MINIMAL);
    assert_eq!(config.pool.pool_mode, Mode::Session);
    assert_eq!(config.howdah.max_client_conn.get(), 100);
    assert_eq!(config.auth.auth_type, Method::Md5);
    assert_eq!(config.howdah.shutdown_timeout, None);
    // Whatever is not written must be the same in both.
    let toml = translated(&[source("p.ini", MINIMAL)]).toml;
    for row in PGBOUNCER {
        let (Becomes::Key(section, name, convert), Some(default)) = (row.becomes, row.default)
        else {
            continue;
        };
        let ground = Ground { directory: "/".into(), home: None };
        let Ok(super::convert::Converted::Same(expected)) = convert(default, &ground) else {
            continue;
        };
        let key = section.key(name).expect("a key of ours");
        let expected = super::super::raw::toml_value(key, &expected).expect(row.name);
        let scope = super::super::raw::Scope::section(section);
        let id = super::super::raw::SettingId { scope, name: key.name };
        let value = config.settings.get(&id).map(|setting| setting.value.clone());
        if !["listen_addr", "auth_file"].contains(&row.name) && value.is_some() {
            assert_eq!(value, Some(expected), "{}\n{toml}", row.name);
        }
    }
}

#[test]
fn without_a_setting_nobody_is_listened_to_as_in_pgbouncer() {
    let config =
        config("[databases]\na =\n[pgbouncer]\nauth_type = trust\nauth_file=userlist.txt\n");
    assert!(config.howdah.listen_addr.is_empty());
    // And a database without a host is where our own socket is.
    assert_eq!(config.databases["a"].nodes[0].to_string(), "/tmp:5432");
}

#[test]
fn debians_file_is_run_and_imported() {
    let text = include_str!("debian.ini");
    let config = config(text);
    assert_eq!(config.databases.len(), 0);
    assert_eq!(config.howdah.unix_socket_dir.as_deref(), Some(Path::new("/var/run/postgresql")));
    assert_eq!(config.wildcard, None);
    let run = run(text).expect("PgBouncer's own file");
    assert_eq!(run.databases.len(), 0);
    assert_eq!(run.process.log_file, Some("/var/log/postgresql/pgbouncer.log".into()));
    assert_eq!(run.process.pid_file, Some("/var/run/postgresql/pgbouncer.pid".into()));
    assert_eq!((run.pool, run.timeouts), (config.pool, config.timeouts));
}

#[test]
fn a_file_with_everything_is_run_and_imported() {
    let text = include_str!("everything.ini");
    let made = translated(&[source("everything.ini", text)]);
    let config = loaded(&made.toml);
    assert_eq!(config.databases.len(), 7);
    let forced = &config.databases["forced"];
    assert_eq!(forced.nodes[0].to_string(), "localhost:300");
    assert_eq!(forced.connect_query.as_deref(), Some("SELECT 'x'"));
    assert_eq!(forced.password.as_ref().map(|secret| secret.expose()), Some("f;o#o=1"));
    assert_eq!(config.databases["odd \"name\""].nodes[0].to_string(), "[::1]:5432");
    assert_eq!(config.databases["included"].nodes[0].to_string(), "10.0.0.9:5432");
    assert!(made.secret);
    assert!(!format!("{:?}", made.findings).contains("f;o#o=1"));
    let run = run(text).expect("PgBouncer's own file");
    assert_eq!(run.process.user.as_deref(), Some("postgres"));
    assert_eq!((&run.pool, &run.databases), (&config.pool, &config.databases));
    // Every row of the tables is met.
    for (title, rows) in
        [("[pgbouncer]", PGBOUNCER), ("[databases]", DATABASES), ("[users]", USERS)]
    {
        for row in rows {
            let met = made.findings.iter().any(|finding| {
                finding.setting.starts_with(title)
                    && finding.setting.ends_with(&format!(" {}", row.name))
            });
            assert!(met, "{title} {}", row.name);
        }
    }
    let place = |finding: &&super::Finding| finding.setting == "[pgbouncer] resolv_conf";
    let finding = made.findings.iter().find(place).expect("it is there");
    let warning = finding.to_string().replacen("everything.ini", "/folder/p.ini", 1);
    assert!(run.warnings.contains(&warning), "{:?}", run.warnings);
}

#[test]
fn unknown_names_and_bad_values_are_errors_with_their_line() {
    for (text, expected) in [
        (
            "[pgbouncer]\npool_mod = x",
            "p.ini:2: [pgbouncer] pool_mod: unknown setting; did you mean pool_mode?",
        ),
        ("[databses]", "p.ini:1: unknown section [databses]; did you mean [databases]?"),
        (
            "[databases]\n\na = hst=x",
            "p.ini:3: [databases] a hst: unknown setting; did you mean host?",
        ),
        (
            "[users]\nu = pool_size=x",
            "p.ini:2: [users] u pool_size: expected a whole number, found \"x\"",
        ),
        (
            "[pgbouncer]\nquery_timeout = 5s",
            "p.ini:2: [pgbouncer] query_timeout: expected a number of seconds",
        ),
        ("a = 1", "p.ini:1: a: a setting outside any section"),
    ] {
        let text = mistakes(text);
        assert!(text.contains(expected), "{text}\n{expected}");
    }
}

#[test]
fn our_own_rules_name_lines_of_the_ini() {
    let text = MINIMAL.replace("auth_file = /etc/pgbouncer/userlist.txt\n", "listen_port = 0\n");
    let error = run(&text).expect_err("no port, no users");
    assert!(
        error.contains("/folder/p.ini:5: listen_port: expected a whole number from 1"),
        "{error}"
    );
    assert!(error.contains("/folder/p.ini: auth.auth_file: "), "{error}");
    let error = run(&MINIMAL.replace("host=h", "host=a/b")).expect_err("no host");
    assert!(error.starts_with("/folder/p.ini:2: host: "), "{error}");
}

#[test]
fn what_keeps_clients_out_is_no_warning() {
    for (name, value) in
        [("auth_type", "hba"), ("auth_type", "pam"), ("client_tls_sslmode", "verify-full")]
    {
        let error = run(&format!("{MINIMAL}{name} = {value}\n")).expect_err("refused");
        assert!(
            error.starts_with(&format!("/folder/p.ini:6: [pgbouncer] {name}: {value} is not")),
            "{error}"
        );
    }
    let made = translated(&[source("p.ini", &format!("{MINIMAL}auth_type = hba\n"))]);
    assert!(
        made.toml.contains("#   p.ini:6: [pgbouncer] auth_type: no equivalent: hba"),
        "{}",
        made.toml
    );
    assert_eq!(loaded(&made.toml).auth.auth_type, Method::ScramSha256);
}

#[test]
fn later_lines_win_and_a_second_section_begins_anew() {
    let twice = config(&format!(
        "{MINIMAL}pool_mode = statement\npool_mode = transaction\n\
        [databases]\na = host=first user=u\na = host=second\n"
    ));
    assert_eq!(twice.pool.pool_mode, Mode::Transaction);
    assert_eq!(twice.databases["a"].nodes[0].to_string(), "second:5432");
    assert_eq!(twice.databases["a"].user, None);
    let text = format!("{MINIMAL}pool_mode = statement\n[pgbouncer]\nlisten_addr = *\n");
    let run = run(&text).expect("a good file");
    assert_eq!(run.pool.pool_mode, Mode::Session);
    // What has no default in PgBouncer stays.
    assert!(run.auth.auth_file.is_some());
    assert!(
        run.warnings.iter().any(|text| text.contains("pool_mode was set above")),
        "{:?}",
        run.warnings
    );
}

#[test]
fn what_pgbouncer_tolerates_is_brought_into_line() {
    let config = config(&format!(
        "{MINIMAL}tcp_keepalive = 0\ntcp_keepidle = 60\nmin_pool_size = 30\n\
        [databases]\nb = host=h password=x pool_size=5\n* = host=a,b\n"
    ));
    assert!(!config.howdah.tcp.keepalive);
    assert_eq!(config.pool.min_pool_size, 20);
    assert_eq!(config.databases["b"].min_pool_size, Some(5));
    assert_eq!(config.databases["b"].password, None);
    assert_eq!(config.wildcard.expect("*").nodes[0].to_string(), "a:5432");
}

#[test]
fn pgpool_alone_and_beside_pgbouncer() {
    let pool = "backend_hostname0 = 'a'\nbackend_port0 = 5433\nbackend_hostname1 = 'b' # c\n\
        backend_flag1 = 'ALWAYS_PRIMARY|DISALLOW_TO_FAILOVER'\nnum_init_children = 64\n\
        reserved_connections = 4\nuse_watchdog = off\nport = 9999\n";
    let made = translated(&[source("pgpool.conf", pool)]);
    let alone = loaded(&made.toml);
    assert_eq!(alone.howdah.max_client_conn.get(), 60);
    assert_eq!(alone.pool.pool_mode, Mode::Session);
    let nodes: Vec<String> =
        alone.wildcard.expect("*").nodes.iter().map(ToString::to_string).collect();
    assert_eq!(nodes, ["a:5433", "b:5432 role=primary"]);
    let fates: Vec<String> = made.findings.iter().map(ToString::to_string).collect();
    assert!(fates[2].starts_with("pgpool.conf:3: backend_hostname1: carried over"), "{fates:?}");
    let ini = "[databases]\nthrough = host=localhost port=9999\ndirect = host=a\n[pgbouncer]\n\
        listen_addr = *\nauth_file = /etc/pgbouncer/userlist.txt\n";
    let both = translated(&[source("pgpool.conf", pool), source("pgbouncer.ini", ini)]);
    let both = loaded(&both.toml);
    assert_eq!(both.howdah.max_client_conn.get(), 100);
    assert_eq!(both.databases["through"].nodes.len(), 2);
    assert_eq!(both.routing.route, RouteReads::On);
    assert_eq!(both.databases["direct"].nodes[0].to_string(), "a:5432");
}

#[test]
fn files_are_told_apart_and_users_are_checked() {
    let users = "\"rider\" \"secret\"\n";
    let rules = "# rules\nlocal all all trust\nhost all all 0.0.0.0/0 scram-sha-256\n";
    let made = translated(&[
        source("/folder/userlist.txt", users),
        source("rules", rules),
        source("p", &format!("{MINIMAL}auth_type = hba\n")),
    ]);
    let config = loaded(&made.toml);
    // Never trust: where it was granted from is lost.
    assert_eq!(config.auth.auth_type, Method::Md5);
    let file = config.auth.auth_file.expect("users");
    assert_eq!(file.path(), Path::new("/folder/userlist.txt"));
    assert!(!made.toml.contains("secret\""));
    let ground = Ground { directory: "/folder".into(), home: None };
    let refused = |sources: &[Source]| {
        translate_with(sources, &ground, &disk()).expect_err("refused").to_string()
    };
    assert_eq!(
        refused(&[source("what", "???")]).lines().next(),
        Some("what: neither pgbouncer.ini nor pgpool.conf, a list of users or HBA rules")
    );
    assert!(
        refused(&[source("a.ini", MINIMAL), source("b.ini", MINIMAL)])
            .contains("b.ini: the second")
    );
    assert!(refused(&[source("u", users)]).contains("no pgbouncer.ini"));
    let broken = [source("a.ini", MINIMAL), source("u", "\"a\" \"b\"\n\"c\n")];
    assert!(refused(&broken).starts_with("u:2: "), "{}", refused(&broken));
}

#[test]
fn pgbouncers_file_is_known_by_name_or_content() {
    let is = |path: &str, text: &str| super::is_pgbouncer(Path::new(path), text.as_bytes());
    assert!(is("a.ini", "") && is("conf", "; c\n  [pgbouncer]\n"));
    assert!(!is("a.toml", "[pgbouncer]\n") && !is("conf", "# [pgbouncer]\n"));
}

/// A cluster of three as the manual of Pgpool-II has it, with every setting of load balancing.
#[test]
fn pgpools_load_balancing_becomes_routing() {
    let text = include_str!("pgpool.conf");
    let made = translated(&[source("pgpool.conf", text)]);
    assert_eq!(made.toml.trim_end(), include_str!("pgpool.toml").trim_end(), "{}", made.toml);
    assert!(made.secret);
    let config = loaded(&made.toml);
    assert_eq!(config.routing.consistency, Level::Global);
    let nodes = &config.wildcard.expect("*").nodes;
    assert_eq!(nodes.iter().map(|node| node.weight).collect::<Vec<_>>(), [0, 2, 1]);
    let fates: Vec<String> = made.findings.iter().map(ToString::to_string).collect();
    assert_eq!(fates.len(), text.lines().filter(|line| line.contains('=')).count(), "{fates:#?}");
    assert!(!fates.iter().any(|fate| fate.contains("secret")), "{fates:#?}");
}
