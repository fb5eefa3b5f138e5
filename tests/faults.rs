//! Faults that a conversation alone cannot show: many clients at once, large messages, memory,
//! servers that are gone for a while, clients that leave. Scripts of `tests/scripts` show the others.
//!
//! Every wait ends with an event or fails at its deadline. Figures that say how much work something
//! was are processor time and memory of the process under test, or counts, so that a busy machine
//! does not change them.

mod support;

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use support::behaviour::{
    await_statement, client, eventually, kill_server, server_of, servers, settings, succeeded,
    the_error, told, value,
};
use support::howdah::{Howdah, Settings};
use support::messages::{self, Bind};
use support::postgres::{Postgres, RIDER};
use support::process::{memory, processor_seconds};
use support::relay::{Manner, Relay};
use support::transcript::Frame;
use support::wire::{Received, Wire, lines};

const MEGABYTE: u64 = 1 << 20;

/// Parse, Bind, Execute and Sync of a statement in one write.
fn batch(name: &str, sql: &str) -> Vec<u8> {
    let bind = Bind { statement: name.to_owned(), ..Bind::default() };
    let parts = [
        messages::parse(name, sql, &[]),
        messages::bind(&bind),
        messages::execute("", 0),
        messages::sync(),
    ];
    parts.concat()
}

/// The first value of the first row.
fn first_value(frames: &[Frame]) -> Option<String> {
    let row = frames.iter().find(|frame| frame.tag == b'D').and_then(Frame::columns)?;
    row.into_iter().next()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A client whose startup packet has an application name.
fn named_client(howdah: &Howdah, database: &str, name: &str) -> Wire {
    let mut wire = Wire::tcp(howdah.address());
    let who = [("user", RIDER), ("database", database), ("application_name", name)];
    let frames = wire.start(&who, "");
    assert!(succeeded(&frames), "{}", lines(&frames));
    wire
}

/// Sends `bytes`, whose answer has one message of 64 MB, and gives what came first of type `tag`.
/// The process passes the message on and does not read it again and again, and a neighbour on the
/// same worker is answered meanwhile.
fn large_answer(database: &str, bytes: &[u8], tag: u8) -> Frame {
    let howdah = Howdah::start(&settings(database, "transaction"));
    let mut neighbour = client(&howdah, database);
    neighbour.run("SELECT 1");
    let before = processor_seconds(&howdah);
    let (answers, frame) = std::thread::scope(|scope| {
        let mut large = client(&howdah, database);
        large.send(bytes);
        let reader = scope.spawn(move || {
            let frames = large.until(b'Z');
            frames.into_iter().find(|frame| frame.tag == tag).expect("the large message")
        });
        let mut answers = 0;
        while !reader.is_finished() {
            neighbour.run("SELECT 1");
            answers += 1;
        }
        (answers, reader.join().expect("a reader"))
    });
    let used = processor_seconds(&howdah) - before;
    assert!(used < 3.0, "{used} seconds of processor time for one message");
    assert!(answers >= 10, "{answers} answers for the neighbour in the time of one message");
    frame
}

#[test]
fn an_error_of_64_megabytes_costs_no_more_than_its_bytes_and_neighbours_go_on() {
    let query = messages::query("SELECT repeat('x', 64000000)::int");
    let error = large_answer("large_error", &query, b'E');
    assert_eq!(error.field(b'C').as_deref(), Some("22P02"));
    assert!(error.body.len() > 64_000_000);
}

#[test]
fn an_error_of_64_megabytes_in_a_batch_costs_no_more_than_its_bytes() {
    let error =
        large_answer("large_batch", &batch("s1", "SELECT repeat('x', 64000000)::int"), b'E');
    assert_eq!(error.field(b'C').as_deref(), Some("22P02"));
}

#[test]
fn a_notice_of_64_megabytes_costs_no_more_than_its_bytes() {
    let raise = "DO $$BEGIN RAISE NOTICE '%', repeat('x', 64000000); END$$";
    let notice = large_answer("large_notice", &messages::query(raise), b'N');
    assert!(notice.body.len() > 64_000_000);
}

#[test]
fn a_row_of_64_megabytes_costs_no_more_than_its_bytes() {
    let row = large_answer("large_row", &messages::query("SELECT repeat('x', 64000000)"), b'D');
    assert!(row.body.len() > 64_000_000);
}

/// Eight clients, each with its own application name, ask on two servers, which must be given other
/// settings first. `ask` makes the bytes of a question with a message of a size.
fn large_messages(database: &str, ask: impl Fn(usize, usize) -> Vec<u8> + Sync) {
    let settings = settings(database, "transaction")
        .set("pool.default_pool_size", 2)
        .set("timeouts.query_wait_timeout", "8s");
    let howdah = Howdah::start(&settings);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (howdah, ask) = (&howdah, &ask);
            scope.spawn(move || {
                let name = format!("client {number}");
                let mut wire = named_client(howdah, database, &name);
                for (round, size) in SIZES.into_iter().enumerate() {
                    wire.send(&ask(round, size));
                    let frames = wire.until(b'Z');
                    assert_eq!(first_value(&frames), Some(name.clone()), "{}", lines(&frames));
                }
            });
        }
    });
}

/// Around what a session reads at a time, and beyond.
const SIZES: [usize; 6] = [100_000, 65_530, 70_000, 300_000, 65_536, 100_000];
const WHO: &str = "SELECT current_setting('application_name')";

#[test]
fn large_statements_of_clients_with_different_settings_make_progress_on_few_servers() {
    large_messages("large_parse", |round, size| {
        batch(&format!("s{round}"), &format!("{WHO} /* {} */", "x".repeat(size)))
    });
}

#[test]
fn large_queries_of_clients_with_different_settings_make_progress_on_few_servers() {
    large_messages("large_query", |_, size| {
        messages::query(&format!("{WHO} /* {} */", "x".repeat(size)))
    });
}

#[test]
fn large_values_of_clients_with_different_settings_make_progress_on_few_servers() {
    large_messages("large_bind", |_, size| {
        let values = vec![Some(vec![b'x'; size])];
        let parts = [
            messages::parse("", &format!("{WHO}, length($1::text)"), &[]),
            messages::bind(&Bind { values, ..Bind::default() }),
            messages::execute("", 0),
            messages::sync(),
        ];
        parts.concat()
    });
}

#[test]
fn many_statements_in_one_write_of_clients_with_different_settings_make_progress() {
    large_messages("many_parses", |round, size| {
        let made = (0..size / 100).map(|number| {
            messages::parse(&format!("s{round}_{number}"), &format!("SELECT {number}"), &[])
        });
        let mut bytes = batch("", WHO);
        let sync = bytes.split_off(bytes.len() - messages::sync().len());
        bytes.extend(made.flatten());
        bytes.extend(sync);
        bytes
    });
}

/// As many idle servers as `count`.
fn fill_pool(howdah: &Howdah, database: &str, count: usize) {
    let mut holders: Vec<Wire> = (0..count).map(|_| client(howdah, database)).collect();
    holders.iter_mut().for_each(|wire| wire.run("BEGIN; SELECT 1"));
    holders.iter_mut().for_each(|wire| wire.run("COMMIT"));
}

/// Whether no thread of the process runs: a signal that stops it does so a moment later.
fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // Behind the name, which may hold anything.
        status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

/// The process stands still, so it hears of the deaths and of the query at the same moment.
fn ask_after_idle_deaths(database: &str, setting: Option<&str>) {
    let howdah =
        Howdah::start(&settings(database, "transaction").set("pool.default_pool_size", 10));
    let mut admin = Postgres::shared().admin("postgres");
    let mut asking = client(&howdah, database);
    for round in 0..5 {
        fill_pool(&howdah, database, 10);
        if let Some(sql) = setting {
            asking.run(&sql.replace('N', &round.to_string()));
            // The server that was asked what the SET has done is idle again.
            asking.run("SELECT 1");
        }
        let question = messages::query("SELECT 'answered'");
        howdah.signal(Signal::STOP);
        eventually("every thread stands still", || stands_still(howdah.pid()));
        // What came first is often seen first.
        let asks_first = round % 2 == 0;
        if asks_first {
            asking.send(&question);
        }
        for pid in servers(&mut admin, database) {
            kill_server(&mut admin, &pid);
        }
        if !asks_first {
            asking.send(&question);
        }
        howdah.signal(Signal::CONT);
        let frames = asking.until(b'Z');
        assert_eq!(
            first_value(&frames).as_deref(),
            Some("answered"),
            "{round}: {}",
            lines(&frames)
        );
    }
}

#[test]
fn ten_idle_servers_die_while_the_process_is_busy_and_a_client_with_its_own_settings_asks() {
    ask_after_idle_deaths("idle_deaths_own", Some("SET work_mem = '1NMB'"));
}

#[test]
fn ten_idle_servers_die_while_the_process_is_busy_and_a_client_asks() {
    ask_after_idle_deaths("idle_deaths_same", None);
}

/// A relay in front of the shared server, and settings of a pool behind it.
fn behind_a_relay(database: &str) -> (Relay, Settings) {
    Postgres::shared().create_database(database);
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    let settings = Settings::new("transaction")
        .set("howdah.workers", 1)
        .set("timeouts.server_login_retry", "200ms")
        .database(database, relay.address());
    (relay, settings)
}

/// PostgreSQL is down: nobody gets through, and those who were there are cut off.
fn take_down(relay: &Relay, manner: Manner) {
    relay.set(manner);
    relay.cut();
}

#[test]
fn statements_and_logins_wait_for_a_postgresql_that_is_down_for_a_while() {
    let (relay, settings) = behind_a_relay("down");
    let howdah = Howdah::start(&settings);
    let mut one = client(&howdah, "down");
    let mut two = named_client(&howdah, "down", "other settings");
    for manner in [Manner::StartingUp, Manner::Close] {
        one.run("SELECT 1");
        two.run("SELECT 1");
        take_down(&relay, manner);
        one.send(&messages::query("SELECT 'one'"));
        two.send(&batch("", "SELECT current_setting('application_name')"));
        let mut login = Wire::tcp(howdah.address());
        let who = [("user", RIDER), ("database", "down")];
        login.send(&messages::startup(messages::PROTOCOL_3_0, &who));
        let tries = relay.came().len();
        eventually("four attempts", || relay.came().len() >= tries + 4);
        relay.set(Manner::Pass);
        let frames = one.until(b'Z');
        assert_eq!(first_value(&frames).as_deref(), Some("one"), "{manner:?}: {}", lines(&frames));
        let frames = two.until(b'Z');
        assert_eq!(first_value(&frames).as_deref(), Some("other settings"), "{}", lines(&frames));
        let frames = login.until(b'Z');
        assert!(succeeded(&frames), "{manner:?}: {}", lines(&frames));
    }
}

#[test]
fn a_postgresql_that_stays_down_fails_the_statement_and_the_session_goes_on() {
    let (relay, settings) = behind_a_relay("stays_down");
    let howdah = Howdah::start(&settings.set("timeouts.query_wait_timeout", "1s"));
    let mut wire = client(&howdah, "stays_down");
    wire.run("SET work_mem = '7MB'");
    // The server that was asked what the SET has done is idle again.
    wire.run("SELECT 1");
    take_down(&relay, Manner::Close);
    for _ in 0..2 {
        let frames = wire.query("SELECT 1");
        assert!(told(&the_error(&frames)).starts_with("ERROR "), "{}", lines(&frames));
    }
    relay.set(Manner::Pass);
    eventually("an answer", || succeeded(&wire.query("SELECT 1")));
    assert_eq!(value(&mut wire, "SHOW work_mem"), "7MB", "the session is the same");
}

/// How a client leaves behind what it has sent.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    Terminate,
    Close,
    HalfClose,
}

/// Gives the connection if it can still be read.
fn leave(mut wire: Wire, way: Leaving) -> Option<Wire> {
    match way {
        Leaving::Terminate => {
            wire.send(&messages::terminate());
            wire.disconnect();
            None
        }
        Leaving::Close => {
            wire.disconnect();
            None
        }
        Leaving::HalfClose => {
            wire.finish_sending();
            Some(wire)
        }
    }
}

fn thirty_inserts(database: &str, way: Leaving) {
    let settings = settings(database, "transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings);
    let mut owner = Wire::login(Postgres::shared().address(), RIDER, database);
    owner.run("CREATE TABLE t (a int)");
    for number in 0..30 {
        let mut wire = client(&howdah, database);
        // The process sees the statement and the end at the same moment.
        howdah.signal(Signal::STOP);
        let insert = format!("INSERT INTO t SELECT {number} FROM pg_sleep(0.02)");
        let before = match way {
            Leaving::HalfClose => messages::query("SELECT pg_sleep(0.2)"),
            Leaving::Terminate | Leaving::Close => Vec::new(),
        };
        wire.send(&[before, messages::query(&insert)].concat());
        let half_open = leave(wire, way);
        howdah.signal(Signal::CONT);
        if let Some(mut wire) = half_open {
            for _ in 0..2 {
                let frames = wire.until(b'Z');
                assert!(succeeded(&frames), "{}", lines(&frames));
            }
        }
    }
    let end = support::deadline();
    let mut count = String::new();
    while count != "30" && support::look_again(end) {
        count = value(&mut owner, "SELECT count(*) FROM t");
    }
    assert_eq!(count, "30", "rows of 30 clients that left by {way:?}");
}

#[test]
fn thirty_inserts_whose_clients_say_terminate_at_once() {
    thirty_inserts("insert_terminate", Leaving::Terminate);
}

#[test]
fn thirty_inserts_whose_clients_close_at_once() {
    thirty_inserts("insert_close", Leaving::Close);
}

#[test]
fn thirty_inserts_whose_clients_close_their_sending_side_at_once() {
    thirty_inserts("insert_half_close", Leaving::HalfClose);
}

/// The client leaves while its statement runs; gives the process id of the server before.
/// What the session had read of the server's next frame when its client was found to be gone belongs to
/// the answer all the same: the server is in step, and is given back at once.
#[test]
fn clients_that_leave_in_the_middle_of_many_rows_leave_their_servers_to_the_next() {
    let database = "left_in_rows";
    let settings = settings(database, "transaction")
        .set("pool.default_pool_size", 1)
        .set("timeouts.cancel_wait_timeout", "1h");
    let howdah = Howdah::start(&settings);
    let mut next = client(&howdah, database);
    let server = next.rows("SELECT pg_backend_pid()");
    let copy = messages::query("COPY (SELECT generate_series(1, 20000)) TO STDOUT");
    let rows = [messages::parse("", "SELECT generate_series(1, 4000)", &[])];
    let run = [messages::bind(&Bind::default()), messages::execute("", 0), messages::sync()];
    let rows = [&rows[..], &run].concat().concat().repeat(4);
    for round in 0..60 {
        let mut wire = client(&howdah, database);
        wire.send(if round % 2 == 0 { &copy } else { &rows });
        let way = [Leaving::Close, Leaving::Terminate][round / 2 % 2];
        drop(leave(wire, way));
        assert_eq!(next.rows("SELECT pg_backend_pid()"), server, "round {round}");
    }
}

fn leave_while_it_runs(howdah: &Howdah, database: &str, (first, sql): (&str, &str)) -> String {
    let mut wire = client(howdah, database);
    wire.run(first);
    let pid = server_of(&mut wire);
    wire.send(&messages::query(sql));
    let mut admin = Postgres::shared().admin("postgres");
    await_statement(&mut admin, database, sql.split('(').next().unwrap_or(sql));
    wire.disconnect();
    pid
}

#[test]
fn what_a_client_that_has_gone_was_doing_is_finished_only_if_it_would_last() {
    let settings = settings("abandoned", "transaction").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings);
    let mut owner = Wire::login(Postgres::shared().address(), RIDER, "abandoned");
    owner.run("CREATE TABLE t (a int)");
    let mut other = client(&howdah, "abandoned");
    // A read: nobody wants its answer.
    let pid = leave_while_it_runs(&howdah, "abandoned", ("SELECT 1", "SELECT pg_sleep(3600)"));
    assert_eq!(server_of(&mut other), pid, "the server was cleaned, not replaced");
    // A write inside a transaction: it would be rolled back anyway.
    let slow = "INSERT INTO t SELECT 1 FROM pg_sleep(3600)";
    let pid = leave_while_it_runs(&howdah, "abandoned", ("BEGIN", slow));
    assert_eq!(server_of(&mut other), pid, "the server was cleaned, not replaced");
    assert_eq!(value(&mut other, "SELECT count(*) FROM t"), "0");
    // A write that commits by itself.
    let slow = "INSERT INTO t SELECT 2 FROM pg_sleep(1)";
    leave_while_it_runs(&howdah, "abandoned", ("SELECT 1", slow));
    assert_eq!(value(&mut other, "SELECT count(*) FROM t"), "1");
}

/// Nobody reads, so the server cannot write; then everybody is gone.
#[test]
fn a_pool_is_free_again_soon_after_clients_that_did_not_read_have_reset() {
    let settings = settings("unread", "transaction").set("pool.default_pool_size", 4);
    let howdah = Howdah::start(&settings);
    let query = messages::query("SELECT repeat('x', 1000000)");
    for round in 0..3 {
        let mut crowd: Vec<Wire> = (0..20).map(|_| client(&howdah, "unread")).collect();
        for wire in &mut crowd {
            wire.send(&query.repeat(1000));
        }
        let mut admin = Postgres::shared().admin("postgres");
        let blocked = "SELECT 1 FROM pg_stat_activity WHERE datname = 'unread' \
                       AND wait_event = 'ClientWrite'";
        eventually("four servers that cannot write", || admin.rows(blocked).len() == 4);
        crowd.into_iter().for_each(Wire::abort);
        let begin = Instant::now();
        let mut holders: Vec<Wire> = (0..4).map(|_| client(&howdah, "unread")).collect();
        holders.iter_mut().for_each(|wire| wire.run("BEGIN; SELECT 1"));
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(5), "round {round}: the pool was free after {took:?}");
    }
}

/// Runs something of [`LARGE`], whose client leaves then.
fn large_text(database: &str, bytes: Vec<u8>) {
    let howdah = Howdah::start(&settings(database, "transaction"));
    let mut wire = client(&howdah, database);
    wire.run("SELECT 1");
    let before = memory(&howdah, "VmRSS");
    wire.send(&bytes);
    drop(bytes);
    // PostgreSQL itself takes seconds for it.
    let end = Instant::now() + Duration::from_secs(60);
    let mut frames = Vec::new();
    while let Received::Frame(frame) = wire.next(end) {
        frames.push(frame);
        if frames.last().is_some_and(|frame| frame.tag == b'Z') {
            break;
        }
    }
    assert_eq!(first_value(&frames).as_deref(), Some("run"), "{}", lines(&frames));
    let peak = memory(&howdah, "VmHWM") - before;
    wire.disconnect();
    let mut other = client(&howdah, database);
    let end = support::deadline();
    let mut kept = u64::MAX;
    while kept > 50 * MEGABYTE && support::look_again(end) {
        other.run("SELECT 1");
        kept = memory(&howdah, "VmRSS").saturating_sub(before);
    }
    assert!(kept <= 50 * MEGABYTE, "{} MB are kept", kept / MEGABYTE);
    let (peak, size) = (peak / MEGABYTE, LARGE / MEGABYTE);
    assert!(peak < 3 * size, "{peak} MB for a text of {size} MB");
}

/// The size of a text that is rare.
const LARGE: u64 = 150 * MEGABYTE;

/// A text of that size.
fn filled(sql: &str) -> String {
    format!("{sql} /* {} */", "x".repeat(usize::try_from(LARGE).expect("a size")))
}

#[test]
fn the_memory_of_a_large_statement_is_given_back() {
    large_text("large_text", batch("large", &filled("SELECT 'run'")));
}

#[test]
fn the_memory_of_a_large_query_is_given_back() {
    large_text("large_simple", messages::query(&filled("SELECT 'run'")));
}

/// Sends `bytes` and at once the cancel request, forty times.
fn cancel_at_once(database: &str, bytes: &[u8]) {
    let howdah = Howdah::start(&settings(database, "transaction"));
    let mut wire = client(&howdah, database);
    let key = wire.key().expect("a key at login").to_vec();
    let mut missed = Vec::new();
    for number in 0..40 {
        wire.send(bytes);
        let mut request = Wire::tcp(howdah.address());
        request.send(&messages::cancel_request(&key));
        let frames = wire.until(b'Z');
        let error = frames.iter().find(|frame| frame.tag == b'E').and_then(|f| f.field(b'C'));
        if error.as_deref() != Some("57014") {
            missed.push(number);
        }
        assert_eq!(request.next(support::deadline()), Received::Closed);
    }
    assert!(missed.is_empty(), "{} of 40 ran to their end: {missed:?}", missed.len());
}

#[test]
fn a_cancel_request_at_once_behind_its_query_cancels_it_forty_times_of_forty() {
    cancel_at_once("cancel_query", &messages::query("SELECT pg_sleep(1)"));
}

#[test]
fn a_cancel_request_at_once_behind_its_batch_cancels_it_forty_times_of_forty() {
    cancel_at_once("cancel_batch", &batch("", "SELECT pg_sleep(1)"));
}

#[test]
fn a_statement_that_has_run_for_a_while_is_cancelled_once() {
    let howdah = Howdah::start(&settings("cancel_once", "transaction"));
    let mut wire = client(&howdah, "cancel_once");
    let key = wire.key().expect("a key at login").to_vec();
    let catches = "DO $$BEGIN PERFORM pg_sleep(10); EXCEPTION WHEN query_canceled THEN \
                   PERFORM pg_sleep(0.5); RAISE NOTICE 'caught'; END$$";
    wire.send(&messages::query(catches));
    let mut admin = Postgres::shared().admin("cancel_once");
    let runs = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %' \
                AND query_start < clock_timestamp() - interval '1.2 s' AND datname = 'cancel_once'";
    eventually("it runs for a while", || !admin.rows(runs).is_empty());
    let mut request = Wire::tcp(howdah.address());
    request.send(&messages::cancel_request(&key));
    assert_eq!(request.next(support::deadline()), Received::Closed);
    let frames = wire.until(b'Z');
    let (tags, lines) = (frames.iter().map(|frame| frame.tag), lines(&frames));
    assert_eq!(tags.collect::<Vec<_>>(), b"NCZ", "{lines}");
}

#[test]
fn a_statement_that_is_not_dropped_after_all_is_still_itself_on_a_server_that_never_had_it() {
    let settings = settings("not_dropped", "transaction").set("pool.default_pool_size", 2);
    let howdah = Howdah::start(&settings);
    let (mut first, mut second) = (client(&howdah, "not_dropped"), client(&howdah, "not_dropped"));
    first.run("BEGIN");
    let mut wire = client(&howdah, "not_dropped");
    wire.send(&[messages::parse("two", "SELECT 'two'", &[]), messages::sync()].concat());
    wire.until(b'Z');
    // Now the server that has it is taken, and the other one is free.
    second.run("BEGIN");
    first.run("COMMIT");
    let frames = wire.query("SELECT 1/0; DEALLOCATE two");
    assert!(frames.iter().any(|frame| frame.field(b'C').as_deref() == Some("22012")));
    let bind = messages::bind(&Bind { statement: "two".to_owned(), ..Bind::default() });
    wire.send(&[bind, messages::execute("", 0), messages::sync()].concat());
    let frames = wire.until(b'Z');
    assert_eq!(first_value(&frames).as_deref(), Some("two"), "{}", lines(&frames));
}

#[test]
fn rows_that_a_server_knows_of_an_older_table_are_asked_for_again() {
    let settings = settings("older_table", "transaction").set("pool.default_pool_size", 2);
    let howdah = Howdah::start(&settings);
    let (mut first, mut second) = (client(&howdah, "older_table"), client(&howdah, "older_table"));
    let mut wire = client(&howdah, "older_table");
    let describe = [
        messages::parse("s", "SELECT * FROM t", &[]),
        messages::describe(b'S', "s"),
        messages::sync(),
    ]
    .concat();
    let bind = messages::bind(&Bind { statement: "s".to_owned(), ..Bind::default() });
    let run = [bind, messages::execute("", 0), messages::sync()].concat();
    let mut admin = Postgres::shared().admin("older_table");
    admin.run(&format!("CREATE TABLE t (a text, b text); ALTER TABLE t OWNER TO {RIDER}"));
    // One of the servers learns of this table's rows, for a client that is told of them and asks again.
    let mut before = client(&howdah, "older_table");
    second.run("BEGIN");
    before.send(&describe);
    before.until(b'Z');
    second.run("COMMIT");
    first.run("BEGIN");
    before.send(&run);
    before.until(b'Z');
    first.run("COMMIT");
    before.disconnect();
    admin.run(&format!("DROP TABLE t; CREATE TABLE t (a int); ALTER TABLE t OWNER TO {RIDER}"));
    admin.run("INSERT INTO t VALUES (7)");
    // Told by the one server, run on the other, whichever of them knows the older table.
    for (round, name) in ["one", "two"].into_iter().enumerate() {
        let (holder, other) =
            if round == 0 { (&mut first, &mut second) } else { (&mut second, &mut first) };
        holder.run("BEGIN");
        wire.send(&[messages::close(b'S', "s"), describe.clone()].concat());
        wire.until(b'Z');
        other.run("BEGIN");
        holder.run("COMMIT");
        wire.send(&run);
        let frames = wire.until(b'Z');
        other.run("COMMIT");
        assert_eq!(first_value(&frames).as_deref(), Some("7"), "{name}: {}", lines(&frames));
    }
}

/// Messages of a batch that ran `failing` and so skipped `skipped`, and at once of one that runs `then`.
fn two_batches(failing: &[Vec<u8>], skipped: &[Vec<u8>], then: &[Vec<u8>]) -> Vec<u8> {
    let sync = [messages::sync()];
    [failing, skipped, &sync, then, &sync].concat().concat()
}

/// A server skips what stands behind an error, and what the pooler has put in between with it.
#[test]
fn a_batch_that_fails_does_not_let_the_next_one_run_another_clients_statement() {
    let database = "skipped_offer";
    let howdah = Howdah::start(&settings(database, "transaction").set("pool.default_pool_size", 1));
    let (mut one, mut other) = (client(&howdah, database), client(&howdah, database));
    let bind = |statement: &str| {
        let bind = Bind { statement: statement.to_owned(), ..Bind::default() };
        [messages::bind(&bind), messages::execute("", 0)].concat()
    };
    let parse = |name: &str, sql: &str| messages::parse(name, sql, &[]);
    let run = |wire: &mut Wire, bytes: &[u8], ends: usize| {
        wire.send(bytes);
        (0..ends).flat_map(|_| wire.until(b'Z')).collect::<Vec<_>>()
    };
    let own = [parse("broken", "SELECT 1/0"), parse("named", "SELECT 'mine'"), messages::sync()];
    run(&mut one, &own.concat(), 1);
    run(&mut one, &messages::query("PREPARE in_sql AS SELECT 'mine'"), 1);
    let others = [parse("", "SELECT 'not mine'"), messages::sync()].concat();
    let forget = messages::query("DEALLOCATE ALL");
    let mine = [parse("", "SELECT 'mine'"), messages::sync()].concat();
    let execute = [parse("", "EXECUTE in_sql"), bind("")].concat();
    for (what, failing, skipped, then) in [
        ("a name that is not there", bind("nobody"), bind(""), bind("")),
        ("a division", bind("broken"), bind(""), bind("")),
        ("a name that is taken", parse("named", "SELECT 1"), bind(""), bind("")),
        ("a description", bind("nobody"), messages::describe(b'S', ""), bind("")),
        ("a Parse of its own", bind("nobody"), parse("", "SELECT 'never'"), bind("")),
        ("a Close", bind("nobody"), messages::close(b'S', ""), bind("")),
        ("a named statement", bind("broken"), bind("named"), bind("named")),
        ("a statement of SQL", bind("broken"), execute.clone(), execute),
    ] {
        run(&mut one, &mine, 1);
        run(&mut other, &forget, 1);
        run(&mut other, &others, 1);
        let frames = run(&mut one, &two_batches(&[failing], &[skipped], &[then]), 2);
        let tags: Vec<u8> = frames.iter().map(|frame| frame.tag).collect();
        assert!(tags.contains(&b'E'), "{what}: {}", lines(&frames));
        assert_eq!(first_value(&frames).as_deref(), Some("mine"), "{what}: {}", lines(&frames));
    }
    run(&mut one, &mine, 1);
    let never = [bind("nobody"), parse("", "SELECT 'never'"), messages::sync()].concat();
    let frames = run(&mut one, &[&never, &never, &bind(""), &messages::sync()[..]].concat(), 3);
    assert_eq!(first_value(&frames).as_deref(), Some("mine"), "two that fail: {}", lines(&frames));
}

/// What makes a server forget what `nextval` gave others may be skipped or refused.
#[test]
fn a_batch_that_fails_does_not_let_the_next_one_read_what_nextval_gave_another_client() {
    let database = "skipped_discard";
    let howdah = Howdah::start(&settings(database, "transaction").set("pool.default_pool_size", 1));
    let mut owner = Postgres::shared().admin(database);
    owner.run(&format!("CREATE SEQUENCE q; ALTER SEQUENCE q OWNER TO {RIDER}"));
    let (mut one, mut other) = (client(&howdah, database), client(&howdah, database));
    let ask = batch("", "SELECT lastval()");
    let nobody = messages::bind(&Bind { statement: "nobody".to_owned(), ..Bind::default() });
    let asks = |texts: &[&str]| texts.iter().flat_map(|sql| messages::query(sql)).collect();
    for (what, bytes, ends) in [
        ("a batch", [nobody, ask.clone(), ask].concat(), 2),
        (
            "a failed transaction",
            asks(&["BEGIN", "SELECT 1/0", "SELECT lastval()", "ROLLBACK", "SELECT lastval()"]),
            5,
        ),
    ] {
        other.run("SELECT nextval('q')");
        one.send(&bytes);
        let frames: Vec<Frame> = (0..ends).flat_map(|_| one.until(b'Z')).collect();
        assert_eq!(first_value(&frames), None, "{what}: {}", lines(&frames));
        let last = frames.iter().rev().find_map(|frame| frame.field(b'C'));
        assert_eq!(last.as_deref(), Some("55000"), "{what}: {}", lines(&frames));
    }
}

/// Only another client's use of that server makes a session forget what `nextval` gave it.
#[test]
fn a_session_finds_what_nextval_gave_it_on_whichever_server_that_was() {
    let settings = settings("own_sequence", "transaction").set("pool.default_pool_size", 2);
    let howdah = Howdah::start(&settings);
    Postgres::shared()
        .admin("own_sequence")
        .run(&format!("CREATE SEQUENCE q; ALTER SEQUENCE q OWNER TO {RIDER}"));
    let (mut holder, mut wire) = (client(&howdah, "own_sequence"), client(&howdah, "own_sequence"));
    let known = [messages::parse("known", "SELECT lastval()", &[]), messages::sync()].concat();
    wire.send(&known);
    wire.until(b'Z');
    let bind = messages::bind(&Bind { statement: "known".to_owned(), ..Bind::default() });
    holder.run("BEGIN");
    wire.run("SELECT nextval('q')");
    holder.run("COMMIT");
    for asks in [
        messages::query("SELECT lastval()"),
        batch("", "SELECT currval('q')"),
        [bind, messages::execute("", 0), messages::sync()].concat(),
    ] {
        // The other server is the one that was used last, which is taken first.
        holder.run("SELECT 1");
        wire.send(&asks);
        let frames = wire.until(b'Z');
        assert_eq!(first_value(&frames).as_deref(), Some("1"), "{}", lines(&frames));
    }
}

/// What no question finds stays with the client that made it, and goes with it.
#[test]
fn backups_origins_temporary_slots_and_connections_of_dblink_are_nobody_elses() {
    let howdah = Howdah::start(&settings("unseen_state", "transaction"));
    let mut admin = Postgres::shared().admin("unseen_state");
    admin.run(&format!(
        "CREATE EXTENSION dblink; ALTER ROLE {RIDER} REPLICATION; \
         SELECT pg_replication_origin_create('of_the_test'); \
         GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public, pg_catalog TO {RIDER}"
    ));
    let connect = format!(
        "SELECT dblink_connect_u('mine', 'host=127.0.0.1 port={} user={RIDER} dbname=postgres')",
        Postgres::shared().address().port()
    );
    for sql in [
        "SELECT pg_backup_start('mine', true)",
        "SELECT pg_replication_origin_session_setup('of_the_test')",
        "SELECT pg_create_physical_replication_slot('of_the_test', true, true)",
        &connect,
        "SELECT setseed(0.5)",
    ] {
        let mut one = client(&howdah, "unseen_state");
        let mut other = client(&howdah, "unseen_state");
        let server = |wire: &mut Wire| wire.rows("SELECT pg_backend_pid()")[0][0].clone();
        one.run(sql);
        let kept = server(&mut one);
        assert_ne!(server(&mut other), kept, "{sql}");
        one.disconnect();
        let is_there = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {kept}");
        eventually("its server goes with it", || admin.rows(&is_there).is_empty());
    }
    admin.run(&format!(
        "ALTER ROLE {RIDER} NOREPLICATION; SELECT pg_replication_origin_drop('of_the_test')"
    ));
}

/// How many statements a server keeps in these tests.
const KEPT: u64 = 100;

/// Prepares `count` names in one transaction, so many in a batch; then another client uses the same
/// server.
fn many_names(database: &str, count: u32, in_a_batch: u32) {
    let settings = settings(database, "transaction")
        .set("pool.default_pool_size", 1)
        .set("pool.max_prepared_statements", i64::try_from(KEPT).expect("a small number"));
    let howdah = Howdah::start(&settings);
    let (mut one, mut two) = (client(&howdah, database), client(&howdah, database));
    let kept = |wire: &mut Wire| -> u64 {
        let count = value(wire, "SELECT count(*) FROM pg_prepared_statements");
        count.parse().expect("a number")
    };
    one.run("BEGIN");
    for first in (0..count).step_by(usize::try_from(in_a_batch).expect("a size")) {
        let parse =
            |number: u32| messages::parse(&format!("s{number}"), &format!("SELECT {number}"), &[]);
        let mut bytes: Vec<u8> = (first..first + in_a_batch).flat_map(parse).collect();
        bytes.extend(messages::sync());
        one.send(&bytes);
        let frames = one.until(b'Z');
        assert!(succeeded(&frames), "{}", lines(&frames));
    }
    let inside = kept(&mut one);
    one.run("COMMIT");
    let before = processor_seconds(&howdah);
    two.send(&batch("s1", "SELECT 'two'"));
    let frames = two.until(b'Z');
    assert_eq!(first_value(&frames).as_deref(), Some("two"), "{}", lines(&frames));
    let used = processor_seconds(&howdah) - before;
    let outside = kept(&mut two);
    for number in [0, count - 1] {
        let bind = Bind { statement: format!("s{number}"), ..Bind::default() };
        one.send(&[messages::bind(&bind), messages::execute("", 0), messages::sync()].concat());
        let frames = one.until(b'Z');
        assert_eq!(first_value(&frames), Some(number.to_string()), "{}", lines(&frames));
    }
    assert!(inside <= KEPT, "{inside} statements on the server inside the transaction");
    assert!(outside <= KEPT, "{outside} statements on the server behind the transaction");
    assert!(used < 1.0, "{used} seconds of processor time for the next client's statement");
}

#[test]
fn eighty_thousand_names_of_one_transaction_keep_to_the_limit_of_the_server() {
    many_names("many_names", 80_000, 1000);
}

#[test]
fn ten_thousand_names_of_one_batch_keep_to_the_limit_of_the_server() {
    many_names("one_batch", 10_000, 10_000);
}

/// The login of `steered` gives it the role `helm`, so neutral is not "no role" on its servers.
#[test]
fn a_role_that_the_login_gives_is_left_on_every_server_and_kept_for_the_next_client() {
    let settings = settings("login_role", "transaction").set("pool.default_pool_size", 2);
    Postgres::shared().admin("login_role").run(
        "CREATE ROLE helm; CREATE ROLE steered LOGIN IN ROLE helm; ALTER ROLE steered SET role = helm",
    );
    let howdah = Howdah::start(&settings);
    let login = || Wire::login(howdah.address(), "steered", "login_role");
    let (mut one, mut two, mut holder) = (login(), login(), login());
    let who = "SELECT current_user";
    assert_eq!(value(&mut one, who), "helm");
    one.run("SET ROLE NONE");
    for round in 0..4 {
        holder.run("BEGIN; SELECT 1");
        assert_eq!(value(&mut one, who), "steered", "round {round}, while a server is taken");
        assert_eq!(value(&mut two, who), "helm", "round {round}, another client");
        holder.run("COMMIT");
        assert_eq!(value(&mut one, who), "steered", "round {round}");
        assert_eq!(value(&mut two, who), "helm", "round {round}, another client");
    }
    one.run("RESET ROLE");
    assert_eq!(value(&mut one, who), "helm");
    one.run("SET ROLE NONE");
    one.run("DISCARD ALL");
    assert_eq!(value(&mut one, who), "helm");
}
