//! SIGHUP: what changed comes to bear, on whom, and what is wrong changes nothing.

mod support;

use rustix::process::Signal;

use support::behaviour::{
    capacity, client, eventually, last_words, refusal, server_of, settings, succeeded, the_error,
    told, value,
};
use support::console::{console, rows_with, the_row};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::relay::{Manner, Relay};
use support::tls::{self, Certificates};
use support::wire::Wire;

/// Gives the process another configuration and waits until it has it.
fn reload(howdah: &Howdah, settings: &Settings) {
    let count = || howdah.log().matches("configuration reloaded").count();
    let before = count();
    howdah.configure(settings);
    howdah.signal(Signal::HUP);
    eventually("the reload", || count() > before);
}

#[test]
fn mistakes_change_nothing_and_are_all_named() {
    let good = settings("mistakes", "transaction");
    let howdah = Howdah::start(&good);
    let mut wire = client(&howdah, "mistakes");
    let bad = good
        .clone()
        .set("pool.default_pool_size", "many")
        .set("pool.poll_mode", "session")
        .set("timeouts.query_timeout", "100ms");
    howdah.configure(&bad);
    howdah.signal(Signal::HUP);
    eventually("both mistakes", || {
        let log = howdah.log();
        log.contains("not reloaded: ")
            && log.contains("default_pool_size")
            && log.contains("poll_mode")
    });
    wire.run("SELECT pg_sleep(0.3)");
    assert!(!howdah.log().contains("configuration reloaded"), "{}", howdah.log());
    // A file that the configuration names counts as well.
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), "\"rider\n").expect("a writable file");
    howdah.configure(&good.clone().set("auth.auth_file", users.path().to_str().expect("UTF-8")));
    howdah.signal(Signal::HUP);
    eventually("the file is named", || {
        howdah.log().contains(users.path().to_str().expect("UTF-8"))
    });
    // And so does the limit of open files.
    howdah.configure(&good.clone().set("howdah.max_client_conn", 1_000_000));
    let mistakes = howdah.log().matches("not reloaded").count();
    howdah.signal(Signal::HUP);
    eventually("an answer", || {
        howdah.log().matches("not reloaded").count() > mistakes
            || howdah.log().contains("howdah.max_client_conn changed")
    });
    client(&howdah, "mistakes").run("SELECT 1");
}

#[test]
fn every_difference_is_logged_and_a_secret_is_not() {
    let before = settings("logged", "transaction").set("databases.logged.user", RIDER);
    let howdah = Howdah::start(&before);
    let after = before
        .set("pool.default_pool_size", 7)
        .set("databases.logged.password", "t0p s3cret")
        .set("log.stats_period", "30s")
        .set("log.level", "debug");
    reload(&howdah, &after);
    for line in [
        "pool.default_pool_size changed from 20 to 7 (applies: now)",
        "log.stats_period changed from",
        "it needs a restart",
        "configuration reloaded: 4 change(s)",
    ] {
        eventually(line, || howdah.log().contains(line));
    }
    let log = howdah.log();
    assert!(!log.contains("t0p s3cret"), "{log}");
    Wire::tcp(howdah.address()).disconnect();
    eventually("debug lines", || howdah.log().contains("ended before its startup packet"));
}

#[test]
fn limits_hold_at_once() {
    let before = settings("limits", "transaction")
        .set("pool.default_pool_size", 1)
        .set("howdah.max_client_conn", 20)
        .set("timeouts.query_wait_timeout", "600ms");
    let howdah = Howdah::start(&before);
    let who = [(RIDER, "limits")];
    assert_eq!(capacity(&howdah, &who, 3), 1);
    // More room is given to who waits already.
    let (mut holder, mut waiting) = (client(&howdah, "limits"), client(&howdah, "limits"));
    holder.run("BEGIN; SELECT 1");
    waiting.send(&messages::query("SELECT 1"));
    let wider = before.clone().set("pool.default_pool_size", 2);
    reload(&howdah, &wider.clone().set("howdah.max_client_conn", 2));
    assert!(succeeded(&waiting.until(b'Z')));
    let mut third = Wire::tcp(howdah.address());
    let error = refusal(&mut third, &[("user", RIDER), ("database", "limits")], "");
    assert!(told(&error).ends_with("(max_client_conn)"), "{}", error.line());
    drop((holder, waiting));
    reload(&howdah, &wider);
    assert_eq!(capacity(&howdah, &who, 4), 2);
    reload(&howdah, &before);
    assert_eq!(capacity(&howdah, &who, 3), 1);
}

#[test]
fn time_outs_hold_from_the_next_transaction_on_and_the_mode_from_the_next_login() {
    let before = settings("next", "transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&before);
    let mut old = client(&howdah, "next");
    old.run("BEGIN; SELECT 1");
    let after = before
        .set("timeouts.query_timeout", "200ms")
        .set("timeouts.query_wait_timeout", "400ms")
        .set("pool.pool_mode", "session");
    reload(&howdah, &after);
    old.run("SELECT pg_sleep(0.5)");
    old.run("COMMIT");
    let error = the_error(&old.query("SELECT pg_sleep(60)"));
    assert_eq!(told(&error), "ERROR 57014 canceling statement due to query timeout");
    // The old session gives its server back after each transaction, a new one keeps it.
    let mut new = client(&howdah, "next");
    new.run("SELECT 1");
    assert!(told(&the_error(&old.query("SELECT 1"))).starts_with("ERROR 53300 "));
    new.send(&messages::terminate());
    eventually("the server is free", || succeeded(&old.query("SELECT 1")));
    // A second reload still reaches the old session.
    reload(&howdah, &settings("next", "transaction").set("pool.default_pool_size", 1));
    old.run("SELECT pg_sleep(0.5)");
}

#[test]
fn databases_come_and_go() {
    let postgres = Postgres::shared();
    postgres.create_database("came");
    let before = settings("goes", "transaction");
    let howdah = Howdah::start(&before);
    let mut wire = client(&howdah, "goes");
    wire.run("SELECT 1");
    reload(&howdah, &Settings::new("transaction").database("came", postgres.address()));
    wire.send(&messages::query("SELECT 1"));
    let error = last_words(&mut wire);
    assert_eq!(told(&error), "FATAL 57P01 database removed from the configuration");
    let error =
        refusal(&mut Wire::tcp(howdah.address()), &[("user", RIDER), ("database", "goes")], "");
    assert!(told(&error).starts_with("FATAL 3D000 "), "{}", error.line());
    assert_eq!(value(&mut client(&howdah, "came"), "SELECT current_database()"), "came");
    let mut admin = postgres.admin("postgres");
    eventually("its servers are closed", || {
        support::behaviour::servers(&mut admin, "goes").is_empty()
    });
}

#[test]
fn servers_are_replaced_when_they_would_be_opened_otherwise() {
    Postgres::shared().create_database("other");
    let before = settings("replaced", "transaction");
    let howdah = Howdah::start(&before);
    let mut wire = client(&howdah, "replaced");
    let pid = server_of(&mut wire);
    // Nothing that concerns a connection: the server stays.
    reload(&howdah, &before.clone().set("pool.default_pool_size", 5));
    assert_eq!(server_of(&mut wire), pid);
    let query = before.set("databases.replaced.connect_query", "SET app.word = 'new'");
    reload(&howdah, &query);
    assert_ne!(server_of(&mut wire), pid);
    assert_eq!(value(&mut wire, "SHOW app.word"), "new");
    // The same session is in the other database from its next transaction on.
    reload(&howdah, &query.clone().set("databases.replaced.dbname", "other"));
    assert_eq!(value(&mut wire, "SELECT current_database()"), "other");
    let pid = server_of(&mut wire);
    reload(
        &howdah,
        &query
            .clone()
            .set("databases.replaced.dbname", "other")
            .set("tls.server.sslmode", "disable"),
    );
    assert_ne!(server_of(&mut wire), pid, "TLS towards servers changed");
}

#[test]
fn a_database_moves_and_its_sessions_go_with_it() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    let before = settings("moves", "transaction").set("howdah.admin_users", vec![RIDER]);
    let howdah = Howdah::start(&before);
    let (mut idle, mut busy) = (client(&howdah, "moves"), client(&howdah, "moves"));
    idle.send(&[messages::parse("kept", "SELECT 'kept'", &[]), messages::sync()].concat());
    idle.until(b'Z');
    busy.run("BEGIN");
    let pid = server_of(&mut busy);
    reload(&howdah, &before.set("databases.moves.nodes", vec![relay.address().to_string()]));
    // A transaction ends where it began; the next one is there, and knows what was prepared here.
    assert_eq!(server_of(&mut busy), pid);
    busy.run("COMMIT");
    let relayed = relay.address().port().to_string();
    let mut console = console(&howdah);
    for (wire, name) in [(&mut busy, None), (&mut idle, Some("kept"))] {
        if let Some(name) = name {
            let bind = messages::Bind { statement: name.to_owned(), ..Default::default() };
            let all = [messages::bind(&bind), messages::execute("", 0), messages::sync()];
            wire.send(&all.concat());
            assert!(succeeded(&wire.until(b'Z')));
        }
        let pid = server_of(wire);
        the_row(&mut console, "servers", &[("remote_pid", &pid), ("port", &relayed)]);
    }
    let mut admin = Postgres::shared().admin("postgres");
    eventually("the servers of before are closed", || {
        !support::behaviour::servers(&mut admin, "moves").contains(&pid)
    });
}

#[test]
fn users_and_certificates_count_from_the_next_login_on() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    let write = |text: &str| std::fs::write(users.path(), text).expect("a writable file");
    write("\"rider\" \"first\"\n");
    let (one, two) = (Certificates::new(&["localhost"]), Certificates::new(&["localhost"]));
    let with = |certificates: &Certificates| {
        settings("users", "transaction")
            .set("auth.auth_type", "scram-sha-256")
            .set("auth.auth_file", users.path().to_str().expect("UTF-8"))
            .set("tls.client.sslmode", "prefer")
            .set("tls.client.cert_file", certificates.text("leaf.crt"))
            .set("tls.client.key_file", certificates.text("leaf.key"))
    };
    let howdah = Howdah::start(&with(&one));
    let log_in = |certificates: &Certificates, password: &str| {
        let ca = certificates.path("ca.crt");
        let mut wire = tls::begin(Wire::tcp(howdah.address()), &ca, "localhost");
        let frames = wire.start(&[("user", RIDER), ("database", "users")], password);
        (!frames.is_empty() && succeeded(&frames)).then_some(wire)
    };
    let mut old = log_in(&one, "first").expect("the first password and certificate");
    write("\"rider\" \"second\"\n");
    reload(&howdah, &with(&two));
    old.run("SELECT 1");
    assert!(log_in(&two, "first").is_none(), "the old password");
    assert!(log_in(&one, "second").is_none(), "the old certificate");
    assert!(log_in(&two, "second").is_some(), "the new ones");
    eventually("a line in the log", || howdah.log().contains("(new contents)"));
}

#[test]
fn what_was_counted_stays_when_the_servers_are_elsewhere() {
    let before = settings("counted", "transaction").set("howdah.admin_users", vec![RIDER]);
    let howdah = Howdah::start(&before);
    let mut wire = client(&howdah, "counted");
    (0..5).for_each(|_| wire.run("SELECT 1"));
    let mut admin = console(&howdah);
    let count = |admin: &mut Wire| {
        the_row(admin, "stats_totals", &[("database", "counted")]).number("xact_count")
    };
    assert_eq!(count(&mut admin), 5.0);
    let postgres = Postgres::shared();
    let node = format!("{}:{}", postgres.socket_dir().display(), postgres.port());
    reload(&howdah, &before.set("databases.counted.nodes", vec![node]));
    assert_eq!(count(&mut admin), 5.0);
    // What the old session does counts too, and what the old pool counted when it is gone.
    wire.run("SELECT 1");
    assert_eq!(count(&mut admin), 6.0);
    wire.disconnect();
    let mut fresh = client(&howdah, "counted");
    fresh.run("SELECT 1");
    eventually("the old pool is gone", || {
        rows_with(&mut admin, "servers", &[("database", "counted")]).len() == 1
    });
    assert_eq!(count(&mut admin), 7.0);
}

#[test]
fn who_waits_for_a_node_that_does_not_answer_is_served_by_the_one_in_its_place() {
    // It accepts connections, as the system does for it, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("an address");
    let before = settings("silent", "transaction").set("timeouts.server_connect_timeout", "1h");
    let good = before.clone();
    let howdah = Howdah::start(&before.set("databases.silent.nodes", vec![address.to_string()]));
    let mut wire = Wire::tcp(howdah.address());
    wire.send(&messages::startup(0x0003_0000, &[("user", RIDER), ("database", "silent")]));
    let _asked = silent.accept().expect("a connection of howdah's");
    reload(&howdah, &good);
    wire.until(b'Z');
    assert_eq!(value(&mut wire, "SELECT 7"), "7");
}

#[test]
fn a_custom_setting_behind_a_reset_of_all_is_its_clients_alone() {
    let howdah =
        Howdah::start(&settings("behind_reset", "transaction").set("pool.default_pool_size", 1));
    let (mut one, mut two) = (client(&howdah, "behind_reset"), client(&howdah, "behind_reset"));
    let seen = "SELECT coalesce(current_setting('app.tenant', true), '')";
    for text in ["RESET ALL; SET app.tenant = '7'", "DISCARD TEMP; RESET ALL; SET app.tenant = '8'"]
    {
        one.run(text);
        assert_eq!(value(&mut two, seen), "", "{text}");
        assert_eq!(format!("app.tenant = '{}'", value(&mut one, seen)), text[text.len() - 16..]);
        assert_eq!(value(&mut two, seen), "", "{text}");
    }
}
