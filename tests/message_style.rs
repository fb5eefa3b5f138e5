//! Run with PgBouncer's own file, howdah says what PgBouncer says: to clients, in its log, on its
//! console, and at signals.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use support::behaviour::{eventually, hint, last_words, refusal, the_error, told, value};
use support::console::{console, the_row};
use support::howdah::Howdah;
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::wire::Wire;

const BINARY: &str = env!("CARGO_BIN_EXE_howdah");
const PASSWORD: &str = "secret";

/// Runs PgBouncer's file: one database behind `more` of `[pgbouncer]`.
fn start(database: &str, more: &str) -> Howdah {
    Postgres::shared().create_database(database);
    Howdah::start_with(&|folder, port| {
        write(folder, port, database, more);
        let mut command = Command::new(BINARY);
        command.arg("run").arg(folder.join("pgbouncer.ini"));
        command
    })
}

fn write(folder: &Path, port: u16, database: &str, more: &str) {
    let users = folder.join("users.txt");
    let known = format!("\"{RIDER}\" \"{PASSWORD}\"\n\"looker\" \"{PASSWORD}\"\n");
    fs::write(&users, known).expect("a writable folder");
    let node = Postgres::shared().port();
    let text = format!(
        "[databases]\n{database} = host=127.0.0.1 port={node} user={RIDER}\n\
         {database}_nobody = host=127.0.0.1 port={node} user=no_such_role\n\
         [users]\nlooker = max_user_client_connections=1\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir = {}\n\
         auth_type = trust\nauth_file = {}\nadmin_users = {RIDER}\nstats_users = looker\n\
         pool_mode = transaction\n{more}",
        folder.display(),
        users.display()
    );
    fs::write(folder.join("pgbouncer.ini"), text).expect("a writable folder");
}

fn refused(howdah: &Howdah, user: &str, database: &str, password: &str) -> String {
    let mut wire = Wire::tcp(howdah.address());
    let error = refusal(&mut wire, &[("user", user), ("database", database)], password);
    assert_eq!(hint(&error), "", "PgBouncer gives no hints");
    told(&error)
}

#[test]
fn logins_are_refused_in_its_words() {
    let howdah = start("words_logins", "auth_type = scram-sha-256\nmax_client_conn = 2\n");
    let refused =
        |user: &str, database: &str, password: &str| refused(&howdah, user, database, password);
    let sasl = "FATAL 08P01 SASL authentication failed";
    assert_eq!(refused(RIDER, "words_logins", "wrong"), sasl);
    assert_eq!(refused("stranger", "words_logins", PASSWORD), sasl);
    assert_eq!(refused(RIDER, "nowhere", PASSWORD), "FATAL 08P01 no such database: nowhere");
    let mut admin = Wire::tcp(howdah.address());
    admin.start(&[("user", RIDER), ("database", "pgbouncer")], PASSWORD);
    admin.run("DISABLE words_logins");
    let disabled = "FATAL 08P01 database \"words_logins\" is disabled";
    assert_eq!(refused(RIDER, "words_logins", PASSWORD), disabled);
    admin.run("ENABLE words_logins");
    let enter = |user: &str| {
        let mut wire = Wire::tcp(howdah.address());
        wire.start(&[("user", user), ("database", "words_logins")], PASSWORD);
        wire
    };
    let first = enter("looker");
    assert_eq!(
        refused("looker", "words_logins", PASSWORD),
        "FATAL 08P01 client connections exceeded (max_user_client_connections)"
    );
    let second = enter(RIDER);
    assert_eq!(
        refused(RIDER, "words_logins", PASSWORD),
        "FATAL 08P01 no more connections allowed (max_client_conn)"
    );
    // The server's own words stay as they are.
    drop((first, second));
    eventually("there is room", || {
        the_row(&mut admin, "lists", &[("list", "used_clients")]).get("items") == "0"
    });
    let denied = refused(RIDER, "words_logins_nobody", PASSWORD);
    assert!(denied.starts_with("FATAL 28") && denied.contains("no_such_role"), "{denied}");
}

#[test]
fn sessions_end_in_its_words() {
    let howdah = start(
        "words_sessions",
        "default_pool_size = 1\nquery_wait_timeout = 1\nquery_timeout = 2\n\
         idle_transaction_timeout = 3\nclient_idle_timeout = 3\n",
    );
    let enter = || Wire::login(howdah.address(), RIDER, "words_sessions");
    let (mut one, mut two) = (enter(), enter());
    one.run("BEGIN");
    let waited = the_error(&two.query("SELECT 1"));
    assert_eq!((told(&waited).as_str(), &*hint(&waited)), ("ERROR 08P01 query_wait_timeout", ""));
    assert_eq!(told(&last_words(&mut one)), "FATAL 08P01 idle transaction timeout");
    assert_eq!(told(&the_error(&two.query("SELECT pg_sleep(60)"))), "ERROR 08P01 query timeout");
    assert_eq!(told(&last_words(&mut two)), "FATAL 08P01 client_idle_timeout");
    let mut killed = enter();
    let mut admin = console(&howdah);
    let id = the_row(&mut admin, "clients", &[("database", "words_sessions")]).get("id");
    admin.run(&format!("KILL_CLIENT {id}"));
    assert_eq!(told(&last_words(&mut killed)), "FATAL 08P01 admin forced disconnect");
    let mut odd = enter();
    odd.send(b"~\0\0\0\x04");
    assert_eq!(told(&last_words(&mut odd)), "FATAL 08P01 unknown pkt");
}

#[test]
fn its_console_has_its_version_its_code_and_itself() {
    let howdah = start("words_console", "");
    let mut admin = console(&howdah);
    let version = the_row(&mut admin, "version", &[]).get("version");
    assert!(version.starts_with("PgBouncer 1."), "{version}");
    let own = the_row(&mut admin, "databases", &[("name", "pgbouncer")]);
    let shown = ["database", "force_user", "pool_size", "pool_mode", "current_client_connections"];
    let shown = shown.map(|column| own.get(column));
    assert_eq!(shown, ["pgbouncer", "pgbouncer", "2", "statement", "1"]);
    assert_eq!(own.get("port"), howdah.address().port().to_string());
    let pool = the_row(&mut admin, "pools", &[("database", "pgbouncer")]);
    let shown = ["user", "cl_active", "sv_idle", "maxwait", "pool_mode"];
    let shown = shown.map(|column| pool.get(column));
    assert_eq!(shown, ["pgbouncer", "1", "0", "0", "statement"]);
    let second = console(&howdah);
    let count =
        |admin: &mut Wire| the_row(admin, "pools", &[("database", "pgbouncer")]).get("cl_active");
    assert_eq!(count(&mut admin), "2");
    drop(second);
    let error = the_error(&admin.query("FOO"));
    assert_eq!(told(&error), "ERROR 08P01 invalid command 'FOO', use SHOW HELP;");
    let mut looker = Wire::login(howdah.address(), "looker", "pgbouncer");
    assert_eq!(told(&the_error(&looker.query("PAUSE"))), "ERROR 08P01 admin access needed");
    let users = howdah.folder().join("users.txt");
    let more = format!("{}\"other\" \"\"\n", fs::read_to_string(&users).expect("readable"));
    fs::write(&users, more).expect("writable");
    admin.run("RELOAD");
    assert_eq!(refused(&howdah, "other", "pgbouncer", ""), "FATAL 08P01 not allowed");
}

/// The rest of the first line of the log with this in it, behind time, process and level.
fn line(howdah: &Howdah, wanted: &str) -> String {
    let found = || howdah.log().lines().find(|line| line.contains(wanted)).map(str::to_owned);
    eventually(&format!("a line with {wanted:?}"), || found().is_some());
    let line = found().expect("checked");
    let (stamp, rest) = line.split_at("2026-11-25 15:43:24.967".len());
    let mask: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(mask, "0000-00-00 00:00:00.000", "{line}");
    let mut words = rest.trim_start().splitn(3, ' ');
    assert!(words.next().is_some_and(|zone| !zone.is_empty()), "{line}");
    assert_eq!(words.next(), Some(&*format!("[{}]", howdah.pid())), "{line}");
    let rest = words.next().expect("a level and a text");
    // Addresses and numbers of this run.
    let shown = rest.split(' ').map(|word| match word.split_once("@127.0.0.1:") {
        Some((who, _)) => format!("{who}@127.0.0.1:PORT"),
        None if word.starts_with("C-0x") || word.starts_with("S-0x") => {
            format!("{}ID:", &word[..4])
        }
        None if word.starts_with("(age=") => "(age=".to_owned(),
        None if word.starts_with("127.0.0.1:") => "127.0.0.1:".to_owned(),
        None => word.to_owned(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn its_log_has_the_lines_that_tools_read() {
    let howdah =
        start("words_log", "stats_period = 1\nserver_idle_timeout = 1\nquery_timeout = 1\n");
    let mut wire = Wire::login(howdah.address(), RIDER, "words_log");
    assert_eq!(value(&mut wire, "SELECT 1"), "1");
    wire.query("SELECT pg_sleep(60)");
    wire.disconnect();
    let client = format!("C-0xID: words_log/{RIDER}@127.0.0.1:PORT");
    let server = format!("S-0xID: words_log/{RIDER}@127.0.0.1:PORT");
    for (wanted, expected) in [
        ("process up: ", "LOG process up: PgBouncer 1.25.".to_owned()),
        ("listening on", "LOG listening on 127.0.0.1:".to_owned()),
        (
            "login attempt",
            format!("LOG {client} login attempt: db=words_log user={RIDER} tls=no replication=no"),
        ),
        ("new connection", format!("LOG {server} new connection to server (from 127.0.0.1:")),
        ("close request", format!("LOG {client} closing because: client close request (age=")),
        ("idle timeout", format!("LOG {server} closing because: server idle timeout (age=")),
        ("stats:", "LOG stats: ".to_owned()),
    ] {
        let found = line(&howdah, wanted);
        assert!(found.starts_with(&expected), "{found:?} is not {expected:?}");
    }
    let stats = line(&howdah, "stats:");
    let mut names = stats.split_whitespace().filter(|word| word.chars().any(char::is_alphabetic));
    assert!(names.clone().count() > 10, "{stats}");
    assert_eq!(names.nth(2), Some("xacts/s,"));
    refused(&howdah, RIDER, "nowhere", "");
    let timeout = format!("WARNING {client} pooler error: query timeout");
    assert_eq!(line(&howdah, "pooler error: query timeout"), timeout);
    let nowhere = format!("C-0xID: nowhere/{RIDER}@127.0.0.1:PORT");
    let what = "no such database: nowhere";
    let refused_aloud = format!("WARNING {nowhere} pooler error: {what}");
    assert_eq!(line(&howdah, &format!("pooler error: {what}")), refused_aloud);
    let closing = line(&howdah, &format!("closing because: {what}"));
    assert_eq!(closing, format!("LOG {nowhere} closing because: {what} (age="));
    refused(&howdah, RIDER, "words_log_nobody", "");
    let failed = line(&howdah, "server login failed");
    assert!(failed.starts_with("WARNING server login failed: FATAL "), "{failed}");
}

#[test]
fn who_takes_too_long_to_log_in_is_as_old_as_that() {
    let more = "auth_type = scram-sha-256\nclient_login_timeout = 1\n";
    let howdah = start("words_deadline", more);
    let mut wire = Wire::tcp(howdah.address());
    let who = [("user", RIDER), ("database", "words_deadline")];
    wire.send(&messages::startup(messages::PROTOCOL_3_0, &who));
    assert_eq!(told(&last_words(&mut wire)), "FATAL 08P01 client_login_timeout");
    line(&howdah, "closing because: client_login_timeout");
    assert!(!howdah.log().contains("(age=0s)"), "{}", howdah.log());
}

#[test]
fn it_obeys_signals_as_it_does() {
    let mut howdah = start("words_signals", "");
    let mut wire = Wire::login(howdah.address(), RIDER, "words_signals");
    wire.run("SELECT 1");
    howdah.signal(Signal::HUP);
    assert_eq!(line(&howdah, "got SIGHUP"), "LOG got SIGHUP, re-reading config");
    howdah.signal(Signal::USR1);
    assert_eq!(line(&howdah, "got SIGUSR1"), "LOG got SIGUSR1, pausing all activity");
    howdah.signal(Signal::USR2);
    assert_eq!(line(&howdah, "got SIGUSR2"), "LOG got SIGUSR2, continuing from PAUSE");
    // SIGTERM waits for the last client to leave by itself.
    howdah.signal(Signal::TERM);
    let waiting = "LOG got SIGTERM, shutting down, waiting for all clients disconnect";
    assert_eq!(line(&howdah, "got SIGTERM"), waiting);
    assert_eq!(value(&mut wire, "SELECT 7"), "7");
    wire.disconnect();
    assert_eq!(howdah.wait().code(), Some(0));
    assert_eq!(line(&howdah, "exiting"), "LOG client connections dropped, exiting");
    // SIGINT waits for servers; a second one for nobody.
    let mut howdah = start("words_signals", "");
    let mut wire = Wire::login(howdah.address(), RIDER, "words_signals");
    wire.run("BEGIN");
    howdah.signal(Signal::INT);
    let waiting =
        "LOG got SIGINT, shutting down, waiting for all servers connections to be released";
    assert_eq!(line(&howdah, "got SIGINT"), waiting);
    howdah.signal(Signal::USR2);
    let ignoring = "WARNING got SIGUSR2 while shutting down, ignoring";
    assert_eq!(line(&howdah, "got SIGUSR2"), ignoring);
    howdah.signal(Signal::INT);
    assert_eq!(howdah.wait().code(), Some(0));
    let fast = "LOG got SIGINT while shutting down, fast exit";
    assert_eq!(line(&howdah, "got SIGINT while"), fast);
    // While everything is suspended nobody is waited for.
    let mut howdah = start("words_signals", "");
    let mut admin = console(&howdah);
    admin.run("SUSPEND");
    howdah.signal(Signal::TERM);
    assert_eq!(howdah.wait().code(), Some(1));
    let down = "ERROR got SIGTERM, suspend was in progress, going down immediately";
    assert_eq!(line(&howdah, "got SIGTERM"), down);
}
