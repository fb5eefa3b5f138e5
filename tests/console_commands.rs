//! What the console's commands do to clients and servers that are at work, and what signals do.

mod support;

use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use support::behaviour::{
    await_statement, client, eventually, is_silent, kill_server, last_words, refusal, server_of,
    servers, settings, the_error, told, until_closed,
};
use support::console::{console, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::tls::Certificates;
use support::wire::{Received, Wire};

fn admin_settings(database: &str) -> Settings {
    settings(database, "transaction").set("howdah.admin_users", vec![RIDER])
}

fn howdah(database: &str) -> Howdah {
    Howdah::start(&admin_settings(database))
}

fn refused(console: &mut Wire, sql: &str) -> String {
    told(&the_error(&console.query(sql)))
}

/// Clients that run one short transaction after another until they are told to stop, or an error
/// comes.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<u32, String>>>,
}

/// One transaction; the error, if it ends with one.
fn transaction(wire: &mut Wire) -> Result<(), String> {
    wire.send(&messages::query("SELECT 1"));
    loop {
        match wire.next(support::deadline()) {
            Received::Frame(frame) if frame.tag == b'Z' => return Ok(()),
            Received::Frame(frame) if frame.tag == b'E' => return Err(told(&frame)),
            Received::Frame(_) => {}
            got @ (Received::Closed | Received::Silence) => return Err(format!("{got:?}")),
        }
    }
}

fn work(mut wire: Wire, stop: &AtomicBool) -> Result<u32, String> {
    let mut done = 0;
    while !stop.load(Ordering::Relaxed) {
        transaction(&mut wire)?;
        done += 1;
    }
    Ok(done)
}

impl Load {
    fn start(howdah: &Howdah, database: &str, count: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let one = |_| {
            let (stop, wire) = (Arc::clone(&stop), client(howdah, database));
            std::thread::spawn(move || work(wire, &stop))
        };
        let clients = (0..count).map(one).collect();
        Self { stop, clients }
    }

    /// Stops it; how many transactions each client did, or its error.
    fn end(self) -> Vec<Result<u32, String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until each client has ended by itself.
    fn join(self) -> Vec<Result<u32, String>> {
        self.clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    }
}

fn transactions(console: &mut Wire, database: &str) -> f64 {
    the_row(console, "stats", &[("database", database)]).number("total_xact_count")
}

#[test]
fn pause_stops_a_busy_pool_and_resume_lets_it_go_on_without_an_error() {
    let howdah = howdah("busy");
    let mut console = console(&howdah);
    let load = Load::start(&howdah, "busy", 4);
    for round in 0..3 {
        eventually("work", || transactions(&mut console, "busy") > f64::from(round) * 10.0);
        console.run("PAUSE");
        let pool = [("database", "busy")];
        shows(&mut console, &pool, &[("pools.sv_active", "0"), ("pools.cl_waiting", "4")]);
        let mut admin = Postgres::shared().admin("postgres");
        eventually("no server is left", || servers(&mut admin, "busy").is_empty());
        console.run("RESUME");
    }
    let done = load.end();
    assert!(done.iter().all(|one| one.as_ref().is_ok_and(|count| *count > 0)), "{done:?}");
}

#[test]
fn reconnect_replaces_every_server_of_a_busy_pool_once_and_wait_close_waits_for_it() {
    let howdah = howdah("renewed");
    let mut console = console(&howdah);
    let mut holder = client(&howdah, "renewed");
    holder.run("BEGIN");
    let held = server_of(&mut holder);
    let load = Load::start(&howdah, "renewed", 4);
    eventually("work", || transactions(&mut console, "renewed") > 20.0);
    let key = [("database", "renewed")];
    let ids = |console: &mut Wire| -> Vec<String> {
        rows_with(console, "servers", &key).iter().map(|row| row.get("id")).collect()
    };
    let before = ids(&mut console);
    console.run("RECONNECT renewed");
    let mut waiting = support::console::console(&howdah);
    waiting.send(&messages::query("WAIT_CLOSE renewed"));
    eventually("the others are replaced", || {
        let outdated = rows_with(&mut console, "servers", &[("close_needed", "1")]);
        outdated.len() == 1 && outdated[0].get("remote_pid") == held
    });
    assert!(is_silent(&mut waiting), "WAIT_CLOSE has not waited");
    holder.run("COMMIT");
    waiting.until(b'Z');
    let after = ids(&mut console);
    assert!(after.iter().all(|id| !before.contains(id)), "{before:?} {after:?}");
    let before = transactions(&mut console, "renewed");
    eventually("work", || transactions(&mut console, "renewed") > before + 50.0);
    let last = ids(&mut console);
    assert!(after.iter().all(|id| last.contains(id)), "replaced twice: {after:?} {last:?}");
    assert!(load.end().iter().all(Result::is_ok));
    // With nothing to wait for it answers at once.
    console.run("WAIT_CLOSE");
    assert_eq!(
        refused(&mut console, "WAIT_CLOSE nowhere"),
        "ERROR 3D000 no such database: nowhere"
    );
    let error = refused(&mut console, "WAIT_CLOSE pgbouncer");
    assert_eq!(error, "ERROR 0A000 cannot wait in admin db: pgbouncer");
}

#[test]
fn kill_ends_clients_and_servers_and_leaves_the_database_paused() {
    let howdah = howdah("killed");
    let mut console = console(&howdah);
    let load = Load::start(&howdah, "killed", 3);
    let (mut idle, mut busy) = (client(&howdah, "killed"), client(&howdah, "killed"));
    busy.send(&messages::query("SELECT pg_sleep(600)"));
    let mut admin = Postgres::shared().admin("postgres");
    await_statement(&mut admin, "killed", "pg_sleep");
    eventually("work", || transactions(&mut console, "killed") > 10.0);
    console.run("KILL killed");
    let end = "FATAL 57P01 terminating connection due to administrator command";
    assert!(load.join().iter().all(|one| *one == Err(end.to_owned())));
    assert_eq!(told(&last_words(&mut idle)), end);
    assert_eq!(told(&last_words(&mut busy)), end);
    eventually("its servers are gone", || servers(&mut admin, "killed").is_empty());
    shows(&mut console, &[("name", "killed")], &[("databases.paused", "1")]);
    // Clients that come back wait.
    let mut next = client_that_waits(&howdah, "killed");
    assert!(is_silent(&mut next));
    console.run("RESUME killed");
    next.until(b'Z');
    next.run("SELECT 1");
    for (sql, says) in [
        ("KILL nowhere", "ERROR 3D000 no such database: nowhere"),
        ("KILL howdah", "ERROR 0A000 cannot kill admin db: howdah"),
    ] {
        assert_eq!(refused(&mut console, sql), says);
    }
    // Without a name each database for itself: it is not the whole that is paused.
    console.run("KILL");
    assert_eq!(told(&last_words(&mut next)), end);
    assert_eq!(refused(&mut console, "RESUME"), "ERROR 55000 pooler is not paused/suspended");
    console.run("RESUME killed");
    console.run("PAUSE");
    assert_eq!(refused(&mut console, "KILL killed"), "ERROR 55000 already suspended/paused");
}

/// A login that may not be answered yet, to a pool that has told howdah already what it says.
fn client_that_waits(howdah: &Howdah, database: &str) -> Wire {
    let mut wire = Wire::tcp(howdah.address());
    let who = [("user", RIDER), ("database", database)];
    wire.send(&messages::startup(196_608, &who));
    wire.until(b'Z');
    wire.send(&messages::query("SELECT 1"));
    wire
}

#[test]
fn disable_refuses_newcomers_and_nobody_else() {
    let howdah = howdah("closed");
    let mut console = console(&howdah);
    let load = Load::start(&howdah, "closed", 2);
    console.run("DISABLE closed");
    let who = [("user", RIDER), ("database", "closed")];
    let refusal = || refusal(&mut Wire::tcp(howdah.address()), &who, "");
    assert_eq!(told(&refusal()), "FATAL 55000 database \"closed\" is disabled");
    let before = transactions(&mut console, "closed");
    eventually("work", || transactions(&mut console, "closed") > before + 10.0);
    // A reload that still has the database changes nothing.
    console.query("RELOAD");
    assert_eq!(told(&refusal()), "FATAL 55000 database \"closed\" is disabled");
    console.run("ENABLE closed");
    client(&howdah, "closed").run("SELECT 1");
    assert!(load.end().iter().all(Result::is_ok));
    for (sql, says) in [
        ("DISABLE", "ERROR 42601 a database is required"),
        ("DISABLE nowhere", "ERROR 3D000 no such database: nowhere"),
        ("ENABLE pgbouncer", "ERROR 0A000 cannot enable admin db: pgbouncer"),
    ] {
        assert_eq!(refused(&mut console, sql), says);
    }
}

#[test]
fn suspend_stops_everything_until_resume() {
    let howdah = howdah("still");
    let mut console = console(&howdah);
    let load = Load::start(&howdah, "still", 3);
    eventually("work", || transactions(&mut console, "still") > 10.0);
    let mut inside = client(&howdah, "still");
    inside.run("BEGIN");
    console.run("SUSPEND");
    shows(&mut console, &[("key", "suspended")], &[("state.value", "yes")]);
    inside.send(&messages::query("SELECT 1"));
    let before = transactions(&mut console, "still");
    assert!(is_silent(&mut inside), "something was read");
    assert_eq!(transactions(&mut console, "still"), before);
    for sql in ["SUSPEND", "PAUSE", "KILL still"] {
        assert_eq!(refused(&mut console, sql), "ERROR 55000 already suspended/paused", "{sql}");
    }
    console.run("RESUME");
    inside.until(b'Z');
    inside.run("COMMIT");
    eventually("work", || transactions(&mut console, "still") > before + 10.0);
    // Whoever suspends and leaves has not meant it.
    let mut leaving = support::console::console(&howdah);
    leaving.run("SUSPEND");
    leaving.disconnect();
    shows(&mut console, &[("key", "suspended")], &[("state.value", "no")]);
    assert!(load.end().iter().all(Result::is_ok));
    console.run("PAUSE still");
    let error = refused(&mut console, "SUSPEND");
    assert_eq!(error, "ERROR 55000 cannot suspend with paused databases");
}

#[test]
fn a_client_that_comes_while_all_is_suspended_is_served_afterwards() {
    let howdah = howdah("later");
    client(&howdah, "later").run("SELECT 1");
    let mut console = console(&howdah);
    console.run("SUSPEND");
    let mut wire = Wire::tcp(howdah.address());
    wire.send(&messages::startup(196_608, &[("user", RIDER), ("database", "later")]));
    wire.until(b'R');
    assert!(is_silent(&mut wire));
    console.run("RESUME");
    wire.until(b'Z');
    wire.run("SELECT 1");
}

#[test]
fn what_is_suspended_can_be_shut_down() {
    let mut howdah = howdah("ended");
    let mut inside = client(&howdah, "ended");
    inside.run("BEGIN");
    let mut console = console(&howdah);
    console.run("SUSPEND");
    howdah.signal(Signal::TERM);
    // It goes on, so that the transaction can end.
    inside.run("COMMIT");
    let end = "FATAL 57P01 terminating connection due to administrator command";
    assert_eq!(told(&last_words(&mut inside)), end);
    assert!(howdah.wait().success());
}

#[test]
fn set_changes_one_setting_until_the_next_reload() {
    let before = admin_settings("set").set("timeouts.query_timeout", "100s");
    let howdah = Howdah::start(&before);
    let mut console = console(&howdah);
    let mut wire = client(&howdah, "set");
    wire.run("SELECT 1");
    // What stands in the file by now is not looked at.
    howdah.configure(&before.clone().set("pool.default_pool_size", 3));
    console.run("SET query_timeout = '200ms'");
    shows(&mut console, &[("key", "query_timeout")], &[("config.value", "200ms")]);
    shows(&mut console, &[("key", "default_pool_size")], &[("config.value", "20")]);
    let error = the_error(&wire.query("SELECT pg_sleep(60)"));
    assert_eq!(told(&error), "ERROR 57014 canceling statement due to query timeout");
    let rows = console.rows("RELOAD");
    let keys: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(keys, ["pool.default_pool_size", "timeouts.query_timeout"]);
    shows(&mut console, &[("key", "query_timeout")], &[("config.value", "100s")]);
    wire.run("SELECT pg_sleep(0.3)");
    for (sql, says) in [
        (
            "SET nothing_such = 1",
            "ERROR 42704 unrecognized configuration parameter \"nothing_such\"",
        ),
        ("SET listen_port = 1", "ERROR 55P02 parameter \"listen_port\" cannot be changed now"),
        ("SET query_timeout = soon", "ERROR 22023 invalid value for parameter \"query_timeout\""),
        ("SET auth_file = 'absent'", "ERROR 22023 invalid value for parameter \"auth_file\""),
    ] {
        assert_eq!(refused(&mut console, sql), says);
    }
    // What drivers set for themselves stays without an effect.
    console.run("SET client_encoding TO 'UTF8'");
}

/// A certificate and its key go together, and one of them alone cannot change.
const PAIRS: &[&str] =
    &["client_tls_cert_file", "client_tls_key_file", "server_tls_cert_file", "server_tls_key_file"];

/// A good value for a setting that has this one.
fn another(key: &str, value: &str, files: (&str, &str)) -> String {
    match (key, value) {
        ("auth_file" | "http_token_file", _) => files.0.to_owned(),
        ("server_tls_ca_file", _) => files.1.to_owned(),
        ("log_min_duration", _) => "77s".to_owned(),
        ("auth_type", _) => "scram-sha-256".to_owned(),
        ("client_tls_sslmode", _) => "prefer".to_owned(),
        ("server_tls_sslmode", _) => "disable".to_owned(),
        // PgBouncer counts it in another unit: one has to be written.
        ("tcp_user_timeout", _) => "77s".to_owned(),
        ("max_packet_size", _) => "1MiB".to_owned(),
        ("pool_mode", _) => "session".to_owned(),
        ("session_state_policy", _) => "ignore".to_owned(),
        ("log_level" | "level", _) => "debug".to_owned(),
        ("server_reset_query" | "server_check_query", _) => "SELECT 7".to_owned(),
        ("admin_users", _) => format!("{RIDER},another"),
        ("stats_users" | "ignore_startup_parameters", _) => "another".to_owned(),
        ("route", _) => "off".to_owned(),
        ("consistency", _) => "global".to_owned(),
        ("catalog_reads" | "foreign_reads", _) => "replica".to_owned(),
        ("no_replica", _) => "wait".to_owned(),
        ("route_percent", _) => "10".to_owned(),
        ("verify_reads", _) => "0.5".to_owned(),
        ("read_only_functions" | "write_functions", _) => "get_*".to_owned(),
        ("allow_differences", _) => "TimeZone".to_owned(),
        ("redirects", _) => r#"[{ user = "ann", to = "primary" }]"#.to_owned(),
        ("role_hook", _) => "/bin/true".to_owned(),
        ("primary_check", _) => "http://{host}:8008/primary".to_owned(),
        ("zone" | "probe_user" | "probe_password" | "probe_dbname", _) => "another".to_owned(),
        (_, "true") => "false".to_owned(),
        (_, "false") => "true".to_owned(),
        (_, number) if number.parse::<u64>().is_ok() => {
            (number.parse::<u64>().expect("checked") + 1).to_string()
        }
        (_, duration) => {
            assert!(duration.ends_with(|last: char| last.is_ascii_alphabetic()), "{key} {value}");
            "77s".to_owned()
        }
    }
}

#[test]
fn every_setting_that_a_reload_changes_can_be_set() {
    let certificates = Certificates::new(&["localhost"]);
    let users = || {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("\"{RIDER}\" \"secret\"\n")).expect("a writable file");
        file
    };
    let (first, second) = (users(), users());
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().expect("UTF-8").to_owned();
    let settings = admin_settings("settable")
        .set("auth.auth_file", path(&first))
        .set("http.listen", format!("127.0.0.1:{}", support::free_port()))
        .set("tls.client.cert_file", certificates.text("leaf.crt"))
        .set("tls.client.key_file", certificates.text("leaf.key"));
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let files = (path(&second), certificates.text("ca.crt"));
    for row in rows_with(&mut console, "config", &[("changeable", "yes")]) {
        let (key, value) = (row.get("key"), row.get("value"));
        if PAIRS.contains(&key.as_str()) {
            continue;
        }
        let other = another(&key, &value, (&files.0, &files.1));
        console.run(&format!("SET {key} = '{other}'"));
        let now = the_row(&mut console, "config", &[("key", &key)]).get("value");
        assert_ne!(now, value, "{key}");
        // It alone, and the next reload loses it.
        let rows = console.rows("RELOAD");
        assert_eq!(rows.len(), 1, "{key}: {rows:?}");
        assert_eq!(the_row(&mut console, "config", &[("key", &key)]).get("value"), value);
    }
    for row in rows_with(&mut console, "config", &[("changeable", "no")]) {
        let sql = format!("SET {} = '1'", row.get("key"));
        assert!(refused(&mut console, &sql).starts_with("ERROR 55P02 "), "{sql}");
    }
}

#[test]
fn signals_pause_resume_and_end() {
    let mut howdah = howdah("signals");
    let mut console = console(&howdah);
    let mut wire = client(&howdah, "signals");
    howdah.signal(Signal::USR1);
    shows(&mut console, &[("key", "paused")], &[("state.value", "yes")]);
    wire.send(&messages::query("SELECT 1"));
    shows(&mut console, &[("database", "signals")], &[("pools.cl_waiting", "1")]);
    howdah.signal(Signal::USR1);
    eventually("it is said", || howdah.log().contains("got SIGUSR1, but already paused/suspended"));
    howdah.signal(Signal::USR2);
    wire.until(b'Z');
    shows(&mut console, &[("key", "paused")], &[("state.value", "no")]);
    howdah.signal(Signal::USR2);
    eventually("it is said", || howdah.log().contains("got SIGUSR2, but not paused/suspended"));
    wire.run("BEGIN");
    howdah.signal(Signal::QUIT);
    assert!(howdah.wait().success());
    assert!(howdah.log().contains("got SIGQUIT, fast exit"));
    // Nobody was told.
    assert!(until_closed(&mut wire).is_empty());
}

#[test]
fn a_login_to_the_console_that_takes_too_long_leaves_nothing_behind() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), format!("\"{RIDER}\" \"secret\"\n")).expect("a writable file");
    let settings = admin_settings("slow")
        .set("auth.auth_type", "scram-sha-256")
        .set("auth.auth_file", users.path().to_str().expect("UTF-8"));
    let limited = settings.clone().set("timeouts.client_login_timeout", "300ms");
    let howdah = Howdah::start(&limited);
    let mut slow = Wire::tcp(howdah.address());
    slow.send(&messages::startup(196_608, &[("user", RIDER), ("database", "howdah")]));
    until_closed(&mut slow);
    // Who looks afterwards may take its time.
    howdah.configure(&settings);
    howdah.signal(Signal::HUP);
    eventually("the reload", || howdah.log().contains("configuration reloaded"));
    let mut console = Wire::tcp(howdah.address());
    console.start(&[("user", RIDER), ("database", "howdah")], "secret");
    shows(&mut console, &[("list", "login_clients")], &[("lists.items", "0")]);
    // The keys of those that are listed can be cancelled by; there is only the one of ours.
    let listed = rows_with(&mut console, "lists", &[("list", "console_clients")]);
    assert_eq!(listed[0].get("items"), "1");
}

#[test]
fn a_cancel_request_that_comes_too_late_ends_no_later_pause() {
    let howdah = howdah("late");
    let mut busy = client(&howdah, "late");
    let mut console = console(&howdah);
    let key = console.key().expect("a key").to_vec();
    console.run("PAUSE");
    // The pause has settled: there is nothing to cancel any more.
    let mut late = Wire::tcp(howdah.address());
    late.send(&messages::cancel_request(&key));
    until_closed(&mut late);
    console.run("RESUME");
    busy.run("BEGIN");
    console.send(&messages::query("PAUSE"));
    assert!(is_silent(&mut console), "the second pause was ended");
    busy.run("COMMIT");
    console.until(b'Z');
    console.run("RESUME");
}

#[test]
fn a_client_of_the_console_is_no_client_to_kill() {
    let howdah = howdah("selves");
    let mut first = console(&howdah);
    let mut second = console(&howdah);
    second.run("SHOW STATE");
    // Numbers are given in order, and a client of the console has one too.
    let mut wire = client(&howdah, "selves");
    let id = the_row(&mut first, "clients", &[("database", "selves")]).number("id");
    wire.run("SELECT 1");
    for own in [id - 1.0, id - 2.0] {
        for sql in [format!("KILL_CLIENT {own}"), format!("CANCEL {own}")] {
            let says = format!("ERROR 22023 client {own} is a client of the console");
            assert_eq!(refused(&mut first, &sql), says);
        }
    }
    let error = refused(&mut first, "KILL_CLIENT 999999");
    assert_eq!(error, "ERROR 22023 client not found");
    second.run("SHOW STATE");
}

#[test]
fn who_leaves_during_its_pause_is_noticed() {
    let howdah = howdah("gone");
    let mut busy = client(&howdah, "gone");
    busy.run("BEGIN");
    let mut console = console(&howdah);
    let mut leaving = support::console::console(&howdah);
    leaving.send(&messages::query("PAUSE gone"));
    shows(&mut console, &[("name", "gone")], &[("databases.paused", "1")]);
    shows(&mut console, &[("list", "console_clients")], &[("lists.items", "2")]);
    leaving.disconnect();
    shows(&mut console, &[("list", "console_clients")], &[("lists.items", "1")]);
    // What it has paused stays so.
    shows(&mut console, &[("name", "gone")], &[("databases.paused", "1")]);
    console.run("RESUME gone");
}

#[test]
fn a_server_that_dies_is_not_shown_any_more() {
    let howdah = howdah("dead");
    let mut wire = client(&howdah, "dead");
    let pid = server_of(&mut wire);
    let mut console = console(&howdah);
    shows(&mut console, &[("remote_pid", &pid)], &[("servers.state", "idle")]);
    kill_server(&mut Postgres::shared().admin("postgres"), &pid);
    eventually("it is gone", || {
        rows_with(&mut console, "servers", &[("remote_pid", &pid)]).is_empty()
    });
}
