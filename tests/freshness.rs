//! Reads on replicas that really lag: what each level of consistency promises, what a read does for which
//! no replica is fresh enough, and what clients do not have to know of it.
//!
//! `HOWDAH_SOAK=full` (that is `make soak`) has a million writes read, a number that many; otherwise a
//! short sample is taken.

mod support;

#[path = "freshness/history.rs"]
mod history;
#[path = "freshness/registers.rs"]
mod registers;

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Duration, Instant};

use history::{Deed, Operation, check};
use registers::{Client, ask, decisions, hold_up, on_replicas, run};
use support::behaviour::{client, eventually, hint, the_error, told};
use support::console::{console, shows};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::pair::{Pair, await_node};
use support::postgres::RIDER;
use support::wire::{Wire, lines};

/// Writes of all clients together.
fn writes(sample: usize) -> usize {
    match std::env::var("HOWDAH_SOAK").ok().as_deref() {
        None | Some("") => sample,
        Some("full") => 1_000_000,
        Some(number) => number.parse().expect("HOWDAH_SOAK is `full` or a number of writes"),
    }
}

fn await_both(howdah: &Howdah, pair: &Pair) {
    let mut console = console(howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    let replica = pair.replica.address().to_string();
    shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
}

fn settings(pair: &Pair, level: &str) -> Settings {
    pair.settings().set("routing.consistency", level)
}

/// Reads wait for the replica, so that most of them are served there.
fn patient(pair: &Pair, level: &str) -> Settings {
    settings(pair, level).set("routing.no_replica", "wait").set("routing.replica_wait", "100ms")
}

fn start(pair: &Pair, settings: &Settings) -> Howdah {
    let howdah = Howdah::start(settings);
    await_both(&howdah, pair);
    howdah
}

fn with_registers() -> Pair {
    let pair = Pair::start();
    registers::create(&pair.primary);
    pair.await_replay();
    pair
}

fn pause(pair: &Pair) {
    pair.await_replay();
    pair.replica.admin("app").run("SELECT pg_wal_replay_pause()");
}

fn resume(pair: &Pair) {
    pair.replica.admin("app").run("SELECT pg_wal_replay_resume()");
}

const READ: &str = "SELECT value FROM registers WHERE id = 0";

fn write(value: u64) -> String {
    format!("UPDATE registers SET value = {value} WHERE id = 0")
}

fn value(wire: &mut Wire) -> u64 {
    wire.rows(READ).remove(0).remove(0).parse().expect("a number")
}

#[test]
fn nothing_stale_is_read_at_any_level_while_the_replica_is_held_up() {
    let pair = with_registers();
    let levels = ["session", "monotonic", "global", "strict"];
    let [session, monotonic, global, strict] =
        levels.map(|level| start(&pair, &patient(&pair, level)));
    let other = start(&pair, &settings(&pair, "strict"));
    let client = |writer, reader, register| Client { writer, reader, register, is_tolerant: false };
    let past = pair.primary.address();
    let clients = [
        client(session.address(), None, 0),
        client(monotonic.address(), None, 1),
        client(global.address(), Some(global.address()), 2),
        client(strict.address(), Some(strict.address()), 3),
        client(past, Some(strict.address()), 4),
        client(global.address(), Some(other.address()), 5),
    ];
    let rounds = writes(480) / clients.len();
    let reads = run(&clients, rounds, |going| hold_up(&pair, going));
    assert_eq!(reads, rounds * clients.len());
    for (level, howdah) in levels.iter().zip([&session, &monotonic, &global, &strict]) {
        let decisions = decisions(howdah);
        println!("{level}: {decisions:?}");
        // It is held up most of the time.
        assert!(on_replicas(howdah) > rounds as u64 / 10, "{level}: {decisions:?}");
    }
}

#[test]
fn strict_reads_of_two_processes_and_past_them_are_linearizable() {
    let pair = with_registers();
    let [one, two] = [(); 2].map(|()| start(&pair, &patient(&pair, "strict")));
    let (one_at, two_at, past) = (one.address(), two.address(), pair.primary.address());
    let written = AtomicU64::new(0);
    let begin = Instant::now();
    let now = || u64::try_from(begin.elapsed().as_nanos()).expect("not that long");
    let of_each = writes(600) / 5;
    let history = |address, writes_in: u64| {
        let mut wire = Wire::login(address, RIDER, "app");
        let mut history = Vec::new();
        for round in 0..of_each as u64 {
            let called = now();
            let deed = if round % writes_in == 0 {
                let value = written.fetch_add(1, Ordering::SeqCst) + 1;
                wire.run(&write(value));
                Deed::Wrote(value)
            } else {
                Deed::Read(value(&mut wire))
            };
            history.push(Operation { called, returned: now(), deed });
        }
        history
    };
    let mut operations = Vec::new();
    std::thread::scope(|scope| {
        let clients = [(one_at, 4), (one_at, 3), (two_at, 4), (two_at, 3), (past, 2)];
        let running = clients.map(|(at, writes_in)| scope.spawn(move || history(at, writes_in)));
        for one in running {
            operations.extend(one.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        }
    });
    check(operations, 0).unwrap_or_else(|error| unreachable!("not linearizable: {error}"));
    assert!(on_replicas(&one) > 0 && on_replicas(&two) > 0);
}

/// With every commit on the disk, so that a crash loses none.
fn durable(pair: &Pair) {
    let mut admin = pair.primary.admin("app");
    admin.run("ALTER ROLE rider SET synchronous_commit = 'on'");
    pair.await_replay();
}

fn kill_a_server(node: &support::postgres::Postgres) {
    let mut admin = node.admin("app");
    let sql = "SELECT pid FROM pg_stat_activity WHERE usename = 'rider' LIMIT 1";
    let mut pid = String::new();
    eventually("a server of a client", || {
        let mut rows = admin.rows(sql);
        pid = rows.pop().map(|mut row| row.remove(0)).unwrap_or_default();
        !pid.is_empty()
    });
    let pid = rustix::process::Pid::from_raw(pid.parse().expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
}

#[test]
fn nothing_stale_is_read_behind_a_crash_and_from_a_node_that_was_built_anew() {
    let mut pair = with_registers();
    durable(&pair);
    let levels = ["session", "monotonic", "global", "strict"];
    let howdahs = levels.map(|level| start(&pair, &patient(&pair, level)));
    let clients: Vec<Client> = howdahs
        .iter()
        .enumerate()
        .map(|(register, howdah)| Client {
            writer: howdah.address(),
            reader: (register > 1).then(|| howdah.address()),
            register,
            is_tolerant: true,
        })
        .collect();
    let rounds = writes(1200) / clients.len();
    let reads = run(&clients, rounds, |going| {
        going.for_rounds(80);
        kill_a_server(&pair.primary);
        going.for_rounds(80);
        kill_a_server(&pair.replica);
        going.for_rounds(80);
        pair.rebuild_replica();
        going.for_rounds(80);
        howdahs.iter().for_each(|howdah| await_both(howdah, &pair));
    });
    println!("{reads} reads behind {} writes", rounds * clients.len());
    assert!(reads > rounds * clients.len() / 2);
}

#[test]
fn nothing_stale_is_read_across_a_promotion() {
    let pair = with_registers();
    durable(&pair);
    let mut admin = pair.primary.admin("app");
    // What is acknowledged is on the replica's disk, so that the promotion loses nothing.
    admin.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    admin.run("SELECT pg_reload_conf()");
    let waits = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
    eventually("the replica is synchronous", || !admin.rows(waits).is_empty());
    drop(admin);
    let levels = ["session", "monotonic", "global", "strict"];
    let howdahs = levels.map(|level| start(&pair, &patient(&pair, level)));
    let clients: Vec<Client> = howdahs
        .iter()
        .enumerate()
        .map(|(register, howdah)| Client {
            writer: howdah.address(),
            reader: (register > 1).then(|| howdah.address()),
            register,
            is_tolerant: true,
        })
        .collect();
    let rounds = writes(1200) / clients.len();
    run(&clients, rounds, |going| {
        going.for_rounds(80);
        let Pair { primary, replica } = pair;
        let port = primary.port();
        drop(primary);
        replica.admin("app").run("SELECT pg_promote()");
        going.for_rounds(80);
        let pair = Pair::at(replica, port);
        going.for_rounds(80);
        howdahs.iter().for_each(|howdah| await_both(howdah, &pair));
        for howdah in &howdahs {
            let (mut one, before) = (client(howdah, "app"), on_replicas(howdah));
            eventually("a read on the node that has the old primary's address", || {
                value(&mut one);
                on_replicas(howdah) > before
            });
        }
    });
}

#[test]
fn a_read_waits_for_its_replica_and_is_woken_when_it_is_there() {
    let pair = with_registers();
    let howdah = start(&pair, &patient(&pair, "session").set("databases.app.replica_wait", "1h"));
    let mut one = client(&howdah, "app");
    // Its servers are there, and seen by a probe.
    eventually("a read on the replica", || value(&mut one) == 0 && on_replicas(&howdah) > 0);
    for round in 1..4 {
        pause(&pair);
        one.run(&write(round));
        one.send(&messages::query(READ));
        let mut console = console(&howdah);
        shows(&mut console, &[("database", "app")], &[("clients.state", "waiting")]);
        let before = on_replicas(&howdah);
        resume(&pair);
        let frames = one.until(b'Z');
        let row = frames.iter().find(|frame| frame.tag == b'D').and_then(|row| row.columns());
        let row = row.unwrap_or_else(|| unreachable!("{}", lines(&frames)));
        assert_eq!(row, [Some(round.to_string().into_bytes())]);
        assert_eq!(on_replicas(&howdah), before + 1);
        assert_eq!(decisions(&howdah).get("no_replica"), None);
    }
    // A client that waits can cancel.
    pause(&pair);
    one.run(&write(9));
    one.send(&messages::query(READ));
    shows(&mut console(&howdah), &[("database", "app")], &[("clients.state", "waiting")]);
    let mut other = Wire::tcp(howdah.address());
    other.send(&messages::cancel_request(one.key().expect("a key")));
    let error = the_error(&one.until(b'Z'));
    assert_eq!(told(&error), "ERROR 57014 canceling statement due to user request");
    resume(&pair);
    assert_eq!(value(&mut one), 9);
}

#[test]
fn a_read_that_has_waited_in_vain_goes_to_the_primary_or_fails() {
    let pair = with_registers();
    let short = |no_replica: &str| {
        settings(&pair, "session")
            .set("routing.no_replica", no_replica)
            .set("routing.replica_wait", "50ms")
    };
    let wait = start(&pair, &short("wait"));
    let error = start(&pair, &short("error"));
    let at_once = start(
        &pair,
        &short("primary")
            .set("databases.app.no_replica", "error")
            .set("databases.app.replica_wait", 0),
    );
    pause(&pair);
    let mut one = client(&wait, "app");
    one.run(&write(1));
    assert_eq!(value(&mut one), 1);
    assert_eq!(decisions(&wait).get("no_replica"), Some(&1));
    for howdah in [&error, &at_once] {
        let mut one = client(howdah, "app");
        one.run(&write(2));
        // What follows in the pipeline is answered.
        let pipeline = [messages::query(READ), messages::query("BEGIN"), messages::query("END")];
        one.send(&pipeline.concat());
        let refused = the_error(&one.until(b'Z'));
        assert_eq!(told(&refused), "ERROR 57P03 no replica is fresh enough and well");
        assert!(hint(&refused).contains("no_replica"), "{}", hint(&refused));
        let tags = |frames: Vec<support::transcript::Frame>| -> String {
            frames.iter().map(|frame| char::from(frame.tag)).collect()
        };
        assert_eq!((tags(one.until(b'Z')), tags(one.until(b'Z'))), ("CZ".into(), "CZ".into()));
        let batch = [
            messages::parse("", READ, &[]),
            messages::bind(&messages::Bind::default()),
            messages::execute("", 0),
            messages::sync(),
        ];
        one.send(&batch.concat());
        assert_eq!(tags(one.until(b'Z')), "EZ");
        assert_eq!(one.rows("SELECT value FROM registers WHERE id = 0 FOR UPDATE"), [["2"]]);
    }
    resume(&pair);
    let mut one = client(&error, "app");
    one.run(&write(3));
    eventually("the replica has caught up", || ask(&mut one, READ) == Some(vec![vec!["3".into()]]));
}

#[test]
fn a_long_read_waits_for_a_replica_that_is_soon_fresh_and_not_for_one_that_stands_still() {
    let pair = with_registers();
    let howdah = start(&pair, &settings(&pair, "session").set("routing.replica_wait", "20s"));
    let mut one = client(&howdah, "app");
    // It is counted where it runs, with other values too.
    let long = "SELECT value FROM registers, pg_sleep(1) WHERE id = 0";
    one.rows(long);
    one.run(&write(1));
    eventually("a replica has caught up once", || {
        value(&mut one) == 1 && decisions(&howdah).contains_key("read")
    });
    let missed = |howdah| decisions(howdah).get("no_replica").copied().unwrap_or_default();
    for round in 2..6 {
        let (reads, before) = (on_replicas(&howdah), missed(&howdah));
        one.run(&write(round));
        assert_eq!(one.rows(long), [[round.to_string()]]);
        assert_eq!((on_replicas(&howdah), missed(&howdah)), (reads + 1, before), "round {round}");
    }
    pause(&pair);
    one.run(&write(7));
    // It waits at most what it costs, and then nobody waits any more.
    let before = missed(&howdah);
    assert_eq!(one.rows(long), [["7"]]);
    assert_eq!(one.rows(long), [["7"]]);
    assert_eq!(missed(&howdah), before + 2);
    resume(&pair);
}

#[test]
fn a_strict_read_is_served_by_a_replica_and_shows_what_was_written_past_the_pooler() {
    let pair = with_registers();
    let howdah = start(&pair, &patient(&pair, "strict"));
    let mut past = pair.primary.admin("app");
    past.run("SET synchronous_commit = on");
    let mut one = client(&howdah, "app");
    for round in 1..100 {
        past.run(&write(round));
        assert_eq!(value(&mut one), round);
    }
    assert!(on_replicas(&howdah) > 0, "{:?}", decisions(&howdah));
    pause(&pair);
    past.run(&write(200));
    assert_eq!(value(&mut one), 200);
    resume(&pair);
}

#[test]
fn a_global_read_shows_what_others_have_written_also_through_another_entry() {
    let pair = with_registers();
    let primary = pair.primary.address().to_string();
    let settings = settings(&pair, "global")
        .set("databases.writers.nodes", vec![primary])
        .set("databases.writers.dbname", "app")
        .set("databases.writers.pool_mode", "session");
    let howdah = start(&pair, &settings);
    let mut reader = client(&howdah, "app");
    let mut others = [client(&howdah, "app"), client(&howdah, "writers")];
    for round in 1..40 {
        let held = round % 8 == 0;
        if held {
            pause(&pair);
        }
        others[(round % 2) as usize].run(&write(round));
        assert_eq!(value(&mut reader), round);
        // A transaction that goes on with the next is one that was committed.
        others[0].run("BEGIN");
        others[0].run(&write(round + 1000));
        others[0].run("COMMIT AND CHAIN");
        assert_eq!(value(&mut reader), round + 1000);
        others[0].run("ROLLBACK");
        if held {
            resume(&pair);
        }
    }
    eventually("a read on the replica", || value(&mut reader) == 1039 && on_replicas(&howdah) > 0);
}

#[test]
fn a_monotonic_session_does_not_go_back_behind_what_it_has_read_or_was_told() {
    let pair = with_registers();
    let howdah = start(&pair, &settings(&pair, "monotonic"));
    let mut one = client(&howdah, "app");
    eventually("a read on the replica", || value(&mut one) == 0 && on_replicas(&howdah) > 0);
    pause(&pair);
    let mut past = pair.primary.admin("app");
    past.run(&write(1));
    assert_eq!(value(&mut one), 0, "it has seen nothing newer");
    assert_eq!(one.rows("SELECT value FROM registers WHERE id = 0 FOR UPDATE"), [["1"]]);
    assert_eq!(value(&mut one), 1);
    let mut told = client(&howdah, "app");
    told.run("LISTEN news");
    past.run(&write(2));
    past.run("NOTIFY news");
    told.until(b'A');
    assert_eq!(value(&mut told), 2);
    told.run("UNLISTEN *");
    assert_eq!(value(&mut told), 2);
    resume(&pair);
}

#[test]
fn an_open_transaction_on_a_quiet_primary_keeps_no_read_from_the_replica() {
    let pair = with_registers();
    let strict = settings(&pair, "strict").set("routing.no_replica", "error");
    let howdah = start(&pair, &strict.set("routing.replica_wait", "5s"));
    let mut one = client(&howdah, "app");
    assert_eq!(value(&mut one), 0);
    let mut open = pair.primary.admin("app");
    open.run("BEGIN");
    for round in 1..20 {
        open.run("INSERT INTO noise SELECT 'open' FROM generate_series(1, 10)");
        // Nobody else writes, and each read wants all that was there when it came.
        assert_eq!(value(&mut one), 0, "round {round}");
    }
    assert_eq!(decisions(&howdah).get("no_replica"), None);
}

#[test]
fn a_replica_that_has_lost_its_upstream_is_known_by_its_own_word() {
    let pair = with_registers();
    let mut replica = pair.replica.admin("app");
    replica.run("ALTER SYSTEM SET primary_conninfo = ''");
    replica.run("SELECT pg_reload_conf()");
    let receives = "SELECT 1 FROM pg_stat_wal_receiver";
    eventually("the receiver has ended", || replica.rows(receives).is_empty());
    let howdah = start(&pair, &settings(&pair, "session"));
    let mut one = client(&howdah, "app");
    eventually("a read on the replica", || value(&mut one) == 0 && on_replicas(&howdah) > 0);
    one.run(&write(1));
    assert_eq!(value(&mut one), 1);
}

/// `cargo test --release --test freshness share -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, for a machine that does nothing else"]
fn the_share_of_reads_soon_after_a_write_that_replicas_serve() {
    let pair = with_registers();
    durable(&pair);
    for (consistency, pause) in [("session", 5), ("session", 2), ("global", 5), ("strict", 5)] {
        let howdah = start(&pair, &settings(&pair, consistency));
        let mut one = client(&howdah, "app");
        eventually("a read on the replica", || {
            value(&mut one) < 10_000 && on_replicas(&howdah) > 0
        });
        let (before, mut took) = (on_replicas(&howdah), Duration::ZERO);
        for round in 0..1000 {
            one.run(&write(round));
            std::thread::park_timeout(Duration::from_millis(pause));
            let begin = Instant::now();
            assert_eq!(value(&mut one), round);
            took += begin.elapsed();
        }
        let share = (on_replicas(&howdah) - before) / 10;
        println!(
            "{consistency}, {pause} ms after a write: {share} % on the replica, {took:?} for 1000 reads"
        );
        assert!(pause < 5 || share >= 90, "{:?}", decisions(&howdah));
    }
}
