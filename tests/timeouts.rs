//! Everything that ends by time, by a cancel request, or because one side went away.

mod support;

use std::time::Duration;

use tokio::time::Instant;

use support::behaviour::{
    await_statement, capacity, client, eventually, hint, is_silent, kill_server, last_words,
    server_of, servers, settings, settle, succeeded, the_error, told, until_closed, value,
};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::relay::{Manner, Relay};
use support::wire::{Received, Wire, lines};

const BEGIN: &str = "BEGIN; SELECT 1";

fn admin() -> Wire {
    Postgres::shared().admin("postgres")
}

/// Sends a cancel request over a connection of its own and waits until it is through.
fn cancel(howdah: &Howdah, key: &[u8]) {
    let mut wire = Wire::tcp(howdah.address());
    wire.send(&messages::cancel_request(key));
    assert_eq!(until_closed(&mut wire), [], "a cancel request has no answer");
}

fn key(wire: &Wire) -> Vec<u8> {
    wire.key().expect("a key at login").to_vec()
}

/// A second entry for the same database, with a setting of its own.
fn with_entry(settings: Settings, entry: &str, dbname: &str) -> Settings {
    settings
        .database(entry, Postgres::shared().address())
        .set(&format!("databases.{entry}.dbname"), dbname)
}

#[test]
fn waiting_for_a_server_ends_with_an_error_and_the_session_goes_on() {
    admin().run("CREATE ROLE patient LOGIN");
    let settings = settings("wait", "transaction")
        .set("pool.default_pool_size", 1)
        .set("timeouts.query_wait_timeout", "200ms");
    let settings = with_entry(settings, "wait_own", "wait")
        .set("databases.wait_own.query_wait_timeout", "1h")
        .set("databases.wait_own.pool_size", 1)
        .set("users.patient.query_wait_timeout", "250ms");
    let howdah = Howdah::start(&settings);
    let (mut holder, mut waiting) = (client(&howdah, "wait"), client(&howdah, "wait"));
    holder.run(BEGIN);
    let frames = waiting.query("SELECT 1");
    let error = the_error(&frames);
    assert_eq!(told(&error), "ERROR 53300 no server connection became available in time");
    assert!(hint(&error).contains("query_wait_timeout"), "{}", error.line());
    // An extended batch is refused as a whole, up to its Sync.
    waiting.send(
        &[
            messages::parse("", "SELECT 1", &[]),
            messages::bind(&messages::Bind::default()),
            messages::execute("", 0),
            messages::sync(),
        ]
        .concat(),
    );
    let frames = waiting.until(b'Z');
    assert_eq!(told(&the_error(&frames)).split(' ').nth(1), Some("53300"));
    assert_eq!(frames.len(), 2, "{}", lines(&frames));
    holder.run("COMMIT");
    waiting.run("SELECT 1");
    // The database's own value, then the user's.
    let (mut holder, mut waiting) = (client(&howdah, "wait_own"), client(&howdah, "wait_own"));
    holder.run(BEGIN);
    waiting.send(&messages::query("SELECT 1"));
    assert!(waiting.next(Instant::now() + Duration::from_millis(600)) == Received::Silence);
    holder.run("COMMIT");
    assert!(succeeded(&waiting.until(b'Z')));
    let who = [("patient", "wait_own")];
    assert_eq!(capacity(&howdah, &who, 2), 1);
}

#[test]
fn a_statement_that_takes_too_long_is_cancelled_and_the_session_goes_on() {
    admin().run("CREATE ROLE quick LOGIN");
    let general = settings("query_timeout", "transaction").set("timeouts.query_timeout", "300ms");
    let own = settings("query_timeout", "transaction").set("users.quick.query_timeout", "300ms");
    for (settings, user) in [(general, RIDER), (own, "quick")] {
        let howdah = Howdah::start(&settings);
        let mut wire = Wire::login(howdah.address(), user, "query_timeout");
        let pid = server_of(&mut wire);
        let frames = wire.query("SELECT pg_sleep(60)");
        let error = the_error(&frames);
        assert_eq!(told(&error), "ERROR 57014 canceling statement due to query timeout");
        assert!(hint(&error).contains("query_timeout"), "{}", error.line());
        assert_eq!(server_of(&mut wire), pid, "the server is used again");
        // In a transaction the rest of it is aborted, as after any error.
        wire.run(BEGIN);
        let frames = wire.query("SELECT pg_sleep(60)");
        assert_eq!(frames.last().map(|frame| frame.body.clone()), Some(b"E".to_vec()));
        wire.run("ROLLBACK");
        wire.run("SELECT pg_sleep(0.1)");
    }
}

/// In each of these the server is rolled back and the next client gets it clean.
#[test]
fn a_transaction_that_is_silent_or_too_long_is_ended() {
    admin().run("CREATE ROLE lazy LOGIN; CREATE ROLE slow LOGIN");
    let idle = ("FATAL 25P03 terminating connection due to idle-in-transaction timeout", "");
    let long = ("FATAL 25P04 terminating connection due to transaction timeout", "");
    let cases = [
        ("timeouts.idle_transaction_timeout", RIDER, BEGIN, idle),
        ("users.lazy.idle_transaction_timeout", "lazy", BEGIN, idle),
        ("timeouts.transaction_timeout", RIDER, "BEGIN; SELECT pg_sleep(60)", long),
        ("users.slow.transaction_timeout", "slow", "BEGIN; SELECT pg_sleep(60)", long),
        ("timeouts.transaction_timeout", RIDER, BEGIN, long),
        ("timeouts.transaction_timeout", RIDER, "SELECT pg_sleep(60)", long),
    ];
    Postgres::shared().create_database("ended");
    let mut owner = Wire::login(Postgres::shared().address(), RIDER, "ended");
    owner.run("CREATE TABLE marks (x int); GRANT ALL ON marks TO public");
    for (path, user, sql, (words, _)) in cases {
        let settings = settings("ended", "transaction").set(path, "300ms");
        let howdah = Howdah::start(&settings.set("pool.default_pool_size", 1));
        let mut wire = Wire::login(howdah.address(), user, "ended");
        let pid = server_of(&mut wire);
        if sql.starts_with("BEGIN") {
            wire.run("BEGIN; INSERT INTO marks VALUES (1)");
            wire.send(&messages::query(sql.strip_prefix("BEGIN; ").unwrap_or(sql)));
        } else {
            wire.send(&messages::query(sql));
        }
        let error = last_words(&mut wire);
        assert_eq!(told(&error), words, "{path} {sql}");
        let name = path.rsplit('.').next().unwrap_or_default();
        assert!(hint(&error).contains(name), "{}", error.line());
        let mut next = Wire::login(howdah.address(), user, "ended");
        assert_eq!(server_of(&mut next), pid, "{path} {sql}: the server is used again");
        assert_eq!(value(&mut next, "SELECT count(*) FROM marks"), "0", "rolled back");
    }
}

#[test]
fn a_client_that_is_silent_for_long_is_told_to_go() {
    admin().run("CREATE ROLE sleepy LOGIN");
    let general =
        settings("client_idle", "transaction").set("timeouts.client_idle_timeout", "300ms");
    let own =
        settings("client_idle", "transaction").set("users.sleepy.client_idle_timeout", "300ms");
    for (settings, user) in [(general, RIDER), (own, "sleepy")] {
        let howdah = Howdah::start(&settings);
        let mut wire = Wire::login(howdah.address(), user, "client_idle");
        wire.run("SELECT pg_sleep(0.5)");
        wire.run(BEGIN);
        assert!(wire.next(Instant::now() + Duration::from_millis(600)) == Received::Silence);
        wire.run("COMMIT");
        let error = last_words(&mut wire);
        assert_eq!(told(&error), "FATAL 57P05 terminating connection due to idle-session timeout");
        assert!(hint(&error).contains("client_idle_timeout"), "{}", error.line());
    }
}

#[test]
fn a_login_has_to_end_in_time() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), "\"rider\" \"secret\"\n").expect("a writable file");
    let settings = settings("login_time", "transaction")
        .set("timeouts.client_login_timeout", "300ms")
        .set("auth.auth_type", "password")
        .set("auth.auth_file", users.path().to_str().expect("UTF-8"));
    let howdah = Howdah::start(&settings);
    let mut nothing = Wire::tcp(howdah.address());
    let mut half = Wire::tcp(howdah.address());
    half.send(&[0, 0, 0]);
    let mut mute = Wire::tcp(howdah.address());
    let who = [("user", RIDER), ("database", "login_time")];
    mute.send(&messages::startup(messages::PROTOCOL_3_0, &who));
    mute.until(b'R');
    assert_eq!(until_closed(&mut nothing), []);
    assert_eq!(until_closed(&mut half), []);
    let error = last_words(&mut mute);
    assert_eq!(told(&error), "FATAL 57014 canceling authentication due to timeout");
    assert!(hint(&error).contains("client_login_timeout"), "{}", error.line());
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Silence);
    let settings = Settings::new("transaction")
        .database("app", relay.address())
        .set("timeouts.server_connect_timeout", "300ms")
        .set("timeouts.server_login_retry", "200ms")
        .set("timeouts.query_wait_timeout", "5s");
    let howdah = Howdah::start(&settings);
    let mut wire = Wire::tcp(howdah.address());
    wire.send(&messages::startup(messages::PROTOCOL_3_0, &[("user", RIDER), ("database", "app")]));
    // It may pass, so the client waits, and each attempt gets its own time.
    eventually("three attempts", || relay.came().len() >= 3);
    eventually("a line in the log", || howdah.log().contains("server_connect_timeout"));
    relay.set(Manner::Pass);
    wire.until(b'Z');
}

#[test]
fn a_login_waits_for_the_first_attempt_and_is_refused_at_once_while_nobody_answers() {
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], support::free_port()));
    let settings = Settings::new("transaction")
        .database("app", nobody)
        .set("timeouts.query_wait_timeout", "60s");
    let howdah = Howdah::start(&settings);
    let mut first = Wire::tcp(howdah.address());
    first.send(&messages::startup(messages::PROTOCOL_3_0, &[("user", RIDER), ("database", "app")]));
    // Between the first attempts there are short pauses, in which others are told.
    let mut refused = None;
    eventually("a login in a pause", || {
        let mut wire = Wire::tcp(howdah.address());
        wire.send(&messages::startup(
            messages::PROTOCOL_3_0,
            &[("user", RIDER), ("database", "app")],
        ));
        wire.until(b'R');
        // One that comes behind a pause waits for the next attempt, as the first one does.
        if let Received::Frame(frame) = wire.next(Instant::now() + Duration::from_millis(100)) {
            refused = Some(frame);
        }
        refused.is_some()
    });
    let error = refused.expect("it was refused");
    assert_eq!(told(&error), "FATAL 08006 server connection failed");
    assert!(hint(&error).contains("nodes"), "{}", error.line());
    first.until(b'R');
    assert!(is_silent(&mut first), "who came before waits");
}

/// A statement does not know that PostgreSQL restarts.
#[test]
fn statements_wait_while_postgresql_is_down_and_are_answered_when_it_is_back() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    let settings = Settings::new("transaction")
        .set("timeouts.server_login_retry", "300ms")
        .set("pool.default_pool_size", 1)
        .database("app", relay.address());
    let howdah = Howdah::start(&settings);
    let mut clients: Vec<_> = (0..3).map(|_| Wire::login(howdah.address(), RIDER, "app")).collect();
    assert_eq!(value(&mut clients[0], "SELECT 1"), "1");
    relay.set(Manner::Refuse);
    relay.cut();
    for client in &mut clients {
        client.send(&messages::query("SELECT 2"));
    }
    let failures = || howdah.log().matches("server login failed").count();
    eventually("attempts that fail", || failures() >= 3);
    assert!(clients.iter_mut().all(is_silent), "they wait");
    relay.set(Manner::Pass);
    for client in &mut clients {
        let frames = client.until(b'Z');
        let row = frames.iter().find(|frame| frame.tag == b'D').and_then(|row| row.columns());
        assert_eq!(row, Some(vec![Some(b"2".to_vec())]), "{}", lines(&frames));
    }
}

#[test]
fn a_statement_is_refused_at_once_when_the_server_does_not_know_the_password() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    let settings = Settings::new("transaction").database("app", relay.address());
    let howdah = Howdah::start(&settings);
    let mut wire = Wire::login(howdah.address(), RIDER, "app");
    assert_eq!(value(&mut wire, "SELECT 1"), "1");
    relay.set(Manner::WrongPassword);
    relay.cut();
    wire.send(&messages::query("SELECT 2"));
    let error = last_words(&mut wire);
    assert!(told(&error).contains("28P01"), "{}", error.line());
}

#[test]
fn a_cancel_request_ends_the_query_of_its_client_only() {
    let howdah = Howdah::start(&settings("cancel", "transaction"));
    let (mut one, mut two) = (client(&howdah, "cancel"), client(&howdah, "cancel"));
    one.send(&messages::query("SELECT pg_sleep(60), 'one'"));
    two.send(&messages::query("SELECT pg_sleep(60), 'two'"));
    let mut admin = admin();
    await_statement(&mut admin, "cancel", "one");
    await_statement(&mut admin, "cancel", "two");
    // A wrong secret, a wrong process id, and a key of another length reach nobody.
    for wrong in [
        [&key(&one)[..4], &[9, 9, 9, 9]].concat(),
        [&[1, 2, 3, 4], &key(&one)[4..]].concat(),
        vec![7; 32],
    ] {
        cancel(&howdah, &wrong);
    }
    assert!(is_silent(&mut one));
    cancel(&howdah, &key(&one));
    let error = the_error(&one.until(b'Z'));
    assert_eq!(told(&error), "ERROR 57014 canceling statement due to user request");
    assert!(is_silent(&mut two), "the other client's query runs on");
    cancel(&howdah, &key(&two));
    assert_eq!(told(&the_error(&two.until(b'Z'))).split(' ').nth(1), Some("57014"));
    one.run("SELECT 1");
    two.run("SELECT 1");
}

#[test]
fn a_cancel_request_takes_a_waiting_client_out_of_the_line() {
    let settings = settings("cancel_wait", "transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings);
    let mut holder = client(&howdah, "cancel_wait");
    let mut waiting = client(&howdah, "cancel_wait");
    let mut bystander = client(&howdah, "cancel_wait");
    holder.run(BEGIN);
    waiting.send(&messages::query("SELECT 1"));
    settle(&mut bystander);
    cancel(&howdah, &key(&waiting));
    let error = the_error(&waiting.until(b'Z'));
    assert_eq!(told(&error), "ERROR 57014 canceling statement due to user request");
    holder.run("SELECT 1");
    holder.run("COMMIT");
    waiting.run("SELECT 1");
}

/// The request comes when its client's statement is over: whoever has the server then is not hit.
#[test]
fn a_late_cancel_request_never_hits_the_next_user_of_the_server() {
    let settings = settings("cancel_late", "transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings);
    let (mut one, mut two) = (client(&howdah, "cancel_late"), client(&howdah, "cancel_late"));
    let key = key(&one);
    for _ in 0..30 {
        one.run("SELECT 1");
        two.send(&messages::query("SELECT pg_sleep(0.02)"));
        cancel(&howdah, &key);
        let frames = two.until(b'Z');
        assert!(succeeded(&frames), "{}", lines(&frames));
    }
    // At the same moment as the end of the statement.
    for _ in 0..30 {
        let mut request = Wire::tcp(howdah.address());
        one.send(&messages::query("SELECT 1"));
        request.send(&messages::cancel_request(&key));
        two.send(&messages::query("SELECT pg_sleep(0.02)"));
        one.until(b'Z');
        let frames = two.until(b'Z');
        assert!(succeeded(&frames), "{}", lines(&frames));
        until_closed(&mut request);
    }
}

/// The server is unreachable for the request: it is given up after `cancel_wait_timeout`.
#[test]
fn a_cancel_request_is_given_up_after_a_while() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    Postgres::shared().create_database("cancel_lost");
    let settings = Settings::new("transaction")
        .database("cancel_lost", relay.address())
        .set("timeouts.cancel_wait_timeout", "300ms");
    let howdah = Howdah::start(&settings);
    let mut wire = client(&howdah, "cancel_lost");
    wire.send(&messages::query("SELECT pg_sleep(1)"));
    await_statement(&mut admin(), "cancel_lost", "pg_sleep");
    relay.set(Manner::Silence);
    cancel(&howdah, &key(&wire));
    eventually("a line in the log", || howdah.log().contains("cancel_wait_timeout"));
    let frames = wire.until(b'Z');
    assert!(succeeded(&frames), "{}", lines(&frames));
}

#[test]
fn a_client_that_leaves_has_its_query_cancelled_and_its_server_used_again() {
    leave_in_mid_query("left", Wire::disconnect);
    leave_in_mid_query("left", Wire::abort);
}

/// As libpq's PQfinish does: Terminate, then the end of the connection.
#[test]
fn a_client_that_says_goodbye_in_mid_query_has_it_cancelled_too() {
    leave_in_mid_query("left_politely", |mut wire| {
        wire.send(&messages::terminate());
        wire.disconnect();
    });
}

/// The next client gets the same server long before the statement would have ended.
fn leave_in_mid_query(database: &str, leave: impl FnOnce(Wire)) {
    let settings = settings(database, "transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings);
    let mut wire = client(&howdah, database);
    let pid = server_of(&mut wire);
    wire.run(BEGIN);
    wire.send(&messages::query("SELECT pg_sleep(60)"));
    await_statement(&mut admin(), database, "pg_sleep");
    leave(wire);
    let mut next = client(&howdah, database);
    assert_eq!(server_of(&mut next), pid);
}

#[test]
fn a_client_that_leaves_the_line_leaves_no_gap() {
    let settings = settings("left_line", "transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings);
    let mut holder = client(&howdah, "left_line");
    let (mut gone, mut stays) = (client(&howdah, "left_line"), client(&howdah, "left_line"));
    let mut bystander = client(&howdah, "left_line");
    holder.run(BEGIN);
    gone.send(&messages::query("SELECT 1"));
    settle(&mut bystander);
    stays.send(&messages::query("SELECT 1"));
    settle(&mut bystander);
    gone.abort();
    holder.run("COMMIT");
    assert!(succeeded(&stays.until(b'Z')));
}

#[test]
fn a_server_that_dies_under_a_statement_or_a_transaction_concerns_its_client_only() {
    let howdah = Howdah::start(&settings("died", "transaction"));
    let mut admin = admin();
    let mut other = client(&howdah, "died");
    other.run(BEGIN);
    // Under a statement: PostgreSQL's own words.
    let mut wire = client(&howdah, "died");
    let pid = server_of(&mut wire);
    wire.send(&messages::query("SELECT pg_sleep(60)"));
    await_statement(&mut admin, "died", "pg_sleep");
    kill_server(&mut admin, &pid);
    let error = last_words(&mut wire);
    let words = "FATAL 57P01 terminating connection due to administrator command";
    assert_eq!(told(&error), words);
    // Between two statements of a transaction.
    let mut wire = client(&howdah, "died");
    wire.run(BEGIN);
    let pid = server_of(&mut wire);
    kill_server(&mut admin, &pid);
    assert_eq!(told(&last_words(&mut wire)), words);
    // By a crash the whole server would go, so the connection is cut instead.
    other.run("SELECT 1");
    other.run("COMMIT");
}

#[test]
fn a_connection_that_breaks_without_a_word_is_reported_at_once() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    Postgres::shared().create_database("cut");
    // One server: that another has been cut as well may be heard of later.
    let settings = Settings::new("transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings.database("cut", relay.address()));
    let (mut idle, mut busy) = (client(&howdah, "cut"), client(&howdah, "cut"));
    busy.run(BEGIN);
    relay.cut();
    let error = last_words(&mut busy);
    assert_eq!(told(&error), "FATAL 08006 server closed the connection unexpectedly");
    idle.run("SELECT 1");
}

/// What the client does not read stays with the server: our memory does not grow.
#[test]
fn a_slow_reader_holds_back_its_server() {
    let howdah = Howdah::start(&settings("slow", "transaction"));
    let resident = || {
        let path = format!("/proc/{}/statm", howdah.pid());
        let text = std::fs::read_to_string(path).expect("a running process");
        let pages: usize = text.split(' ').nth(1).expect("a field").parse().expect("a number");
        pages * 4096
    };
    let mut wire = client(&howdah, "slow");
    wire.run("SELECT 1");
    let before = resident();
    wire.send(&messages::query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"));
    let mut admin = admin();
    let blocked = "SELECT 1 FROM pg_stat_activity WHERE datname = 'slow' \
                   AND wait_event = 'ClientWrite'";
    eventually("the server is held back", || !admin.rows(blocked).is_empty());
    assert!(resident() < before + (4 << 20), "{before} bytes before, {} now", resident());
    let mut other = client(&howdah, "slow");
    other.run("SELECT 1");
    let frames = wire.until(b'Z');
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 100_000);
    assert!(resident() < before + (8 << 20), "{before} bytes before, {} now", resident());
    assert_eq!(servers(&mut admin, "slow").len(), 2);
}
