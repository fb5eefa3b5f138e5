//! Many clients, few servers, and random deaths: each answer must belong to its question.
//!
//! Every client knows exactly what each of its messages will be answered, and compares. A relay
//! between howdah and PostgreSQL ends servers at chosen moments, clients leave at chosen moments,
//! and only those concerned may notice. At the end nothing is left behind: no slot is lost, no
//! transaction, lock or connection stays.
//!
//! `HOWDAH_SOAK=full` (that is `make soak`) runs a million batches, a number runs that many, and
//! otherwise a short sample is run. `HOWDAH_SOAK_SEED` repeats the choices of a run, though not its
//! timing. `HOWDAH_SOAK_DEEDS` plays only some of the rarer deeds (`soak/deeds.rs`).

mod support;

#[path = "soak/carriers.rs"]
mod carriers;
#[path = "soak/coverage.rs"]
mod coverage;
#[path = "soak/crowd.rs"]
mod crowd;
#[path = "soak/deaths.rs"]
mod deaths;
#[path = "soak/deeds.rs"]
mod deeds;
#[path = "soak/errands.rs"]
mod errands;
#[path = "soak/evil.rs"]
mod evil;
#[path = "soak/expect.rs"]
mod expect;
#[path = "soak/frames.rs"]
mod frames;
#[path = "soak/link.rs"]
mod link;
#[path = "soak/losses.rs"]
mod losses;
#[path = "soak/model.rs"]
mod model;
#[path = "soak/random.rs"]
mod random;
#[path = "soak/rider.rs"]
mod rider;
#[path = "soak/shapes.rs"]
mod shapes;
#[path = "soak/texts.rs"]
mod texts;
#[path = "soak/tickets.rs"]
mod tickets;

use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use coverage::{Coverage, Moment, Victim};
use evil::{Evil, lock};
use rider::{Mode, Rider, Run, Trouble};
use shapes::Shapes;
use support::howdah::{Howdah, Settings};
use support::postgres::{Postgres, RIDER};
use support::wire::Wire;
use support::{deadline, look_again, messages};

/// Repeated when nothing else is asked for.
const SEED: u64 = 0x5eed_8047_da48;
/// Batches of all runs together.
const FULL: usize = 1_000_000;
const SAMPLE: usize = 5_000;
const POOL: usize = 5;
const CLIENTS: usize = 20;
/// One batch in so many ends with a death.
const DEATH_EVERY: usize = 30;

/// How one run differs from another.
struct Kind {
    name: &'static str,
    mode: Mode,
    workers: i64,
    /// Its part of all batches, in percent.
    share: usize,
}

fn batches() -> usize {
    match std::env::var("HOWDAH_SOAK").ok().as_deref() {
        None | Some("") => SAMPLE,
        Some("full") => FULL,
        Some(number) => number.parse().expect("HOWDAH_SOAK is `full` or a number of batches"),
    }
}

fn seed() -> u64 {
    match std::env::var("HOWDAH_SOAK_SEED").ok().filter(|text| !text.is_empty()) {
        None => SEED,
        Some(text) => text.parse().expect("HOWDAH_SOAK_SEED is a number"),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Transaction => "transaction",
        Mode::Session => "session",
        Mode::Statement => "statement",
    }
}

fn start(kind: &Kind, evil: &Evil) -> Howdah {
    let pool = i64::try_from(POOL).expect("small");
    let settings = Settings::new(mode_name(kind.mode))
        .set("howdah.workers", kind.workers)
        .set("howdah.admin_users", vec![RIDER])
        .set("pool.default_pool_size", pool)
        .set("pool.max_prepared_statements", 12)
        .set("timeouts.server_login_retry", "50ms")
        .set("log.level", "warn")
        .set("log.log_connections", false)
        .set("log.log_disconnections", false)
        .set("tls.server.sslmode", "disable")
        .database(kind.name, evil.address());
    Howdah::start(&settings)
}

fn prepare(postgres: &Postgres, database: &str) {
    postgres.create_database(database);
    postgres.admin(database).run(&format!(
        "SET ROLE {RIDER}; \
         CREATE TABLE ledger (client int PRIMARY KEY, n int8) WITH (fillfactor = 10); \
         INSERT INTO ledger SELECT g, 0 FROM generate_series(0, {CLIENTS}) g; \
         CREATE TABLE landing (client int, number int, line text); \
         RESET ROLE; GRANT CREATE ON SCHEMA public TO {RIDER}; \
         ALTER TABLE ledger OWNER TO {RIDER}; ALTER TABLE landing OWNER TO {RIDER}; \
         SET ROLE {RIDER}; {}",
        carriers::OBJECTS
    ));
}

/// One client from its first login to its last goodbye.
fn ride(run: &Run, id: usize, seed: u64) -> Result<(), String> {
    let mut rider = Rider::new(run, id, seed)?;
    // Each client begins with another death, so that all are seen in a short run too.
    let (mut deaths, mut stay) = (0, rider.random.between(20, 80));
    let mut has_cancelled = false;
    while rider.answered < run.batches && !run.failed.load(Ordering::Relaxed) {
        let overdue = deaths == 0 && rider.answered >= run.batches / 2;
        // So that a short run has it too.
        let cancels = !has_cancelled && rider.answered >= run.batches / 3;
        let done = if cancels {
            let cancelled = rider.cancel_a_query();
            has_cancelled = cancelled.is_ok();
            cancelled.map(|()| false)
        } else if overdue || rider.random.once_in(DEATH_EVERY) {
            deaths += 1;
            let died = rider.die(id + deaths);
            if matches!(died, Err(Trouble::Unlucky)) {
                // The same again, so that none is missing at the end.
                deaths -= 1;
            }
            if !matches!(died, Ok(false)) {
                run.evil.losses().forget(rider.session());
            }
            died
        } else {
            rider.do_something()
        };
        let mut over = match done {
            Ok(over) => over,
            Err(Trouble::Unlucky) => {
                rider.lost_count();
                true
            }
            Err(Trouble::Wrong(what)) => return Err(what),
        };
        stay -= 1;
        if !over && stay == 0 {
            say_goodbye(&mut rider)?;
            over = true;
        }
        if over {
            rider.log_in()?;
            stay = rider.random.between(20, 80);
        }
    }
    say_goodbye(&mut rider)
}

fn say_goodbye(rider: &mut Rider<'_>) -> Result<(), String> {
    match rider.leave() {
        Ok(()) | Err(Trouble::Unlucky) => Ok(()),
        Err(Trouble::Wrong(what)) => Err(what),
    }
}

fn all_ride(run: &Run, seed: u64) {
    std::thread::scope(|scope| {
        for id in 0..CLIENTS {
            scope.spawn(move || {
                let rode = catch_unwind(AssertUnwindSafe(|| ride(run, id, seed)));
                match rode {
                    Ok(Ok(())) => {}
                    Ok(Err(failure)) => run.fail(failure),
                    Err(_) => run.fail(format!("client {id} panicked; see above")),
                }
            });
        }
    });
}

/// What PostgreSQL says of the servers of a pool.
fn servers(admin: &mut Wire, database: &str) -> Vec<Vec<String>> {
    admin.rows(&format!(
        "SELECT pid, state, usename, (SELECT count(*) FROM pg_locks l \
         WHERE l.pid = a.pid AND locktype IN ('advisory', 'transactionid')), left(query, 80), \
         coalesce(wait_event, 'runs') \
         FROM pg_stat_activity a WHERE datname = '{database}' AND usename = '{RIDER}' ORDER BY pid"
    ))
}

/// Everybody has left: in a moment all servers rest, and there are not too many.
fn comes_to_rest(run: &Run, admin: &mut Wire) -> Result<(), String> {
    let end = deadline();
    loop {
        let servers = servers(admin, &run.database);
        let rests = |server: &Vec<String>| server[1] == "idle" && server[3] == "0";
        if servers.len() <= POOL && servers.iter().all(rests) {
            return Ok(());
        }
        if !look_again(end) {
            let cancels = run.evil.cancels();
            return Err(format!(
                "the pool does not come to rest: {servers:?}; cancel requests by pid: {cancels:?}"
            ));
        }
    }
}

/// As many transactions as the pool has servers proceed at once: no slot is lost, and there is not
/// one too many.
fn all_slots_are_there(run: &Run, admin: &mut Wire) -> Result<(), String> {
    run.evil.forgive_logins();
    let mut clients: Vec<Wire> =
        (0..POOL).map(|_| Wire::login(run.howdah, RIDER, &run.database)).collect();
    if run.mode == Mode::Statement {
        return all_statements_run(run, admin, &mut clients);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.run("BEGIN");
        let rows = client.rows(&format!("SELECT {number}, pg_backend_pid()"));
        if rows.first().and_then(|row| row.first()) != Some(&number.to_string()) {
            return Err(format!("client {number} of the last burst was answered {rows:?}"));
        }
    }
    let open = servers(admin, &run.database);
    if open.len() != POOL || open.iter().any(|server| server[1] != "idle in transaction") {
        return Err(format!("{POOL} transactions are open on these servers: {open:#?}"));
    }
    for client in &mut clients {
        client.run("COMMIT");
    }
    Ok(())
}

/// The same with statements that end only when all of them have begun: they wait for our lock.
fn all_statements_run(run: &Run, admin: &mut Wire, clients: &mut [Wire]) -> Result<(), String> {
    let mut holder = Postgres::shared().admin(&run.database);
    holder.run("SELECT pg_advisory_lock(1)");
    for client in clients.iter_mut() {
        client.send(&messages::query("SELECT pg_advisory_xact_lock_shared(1)"));
    }
    let end = deadline();
    loop {
        let open = servers(admin, &run.database);
        if open.len() == POOL && open.iter().all(|server| server[1] == "active") {
            break;
        }
        if !look_again(end) {
            return Err(format!("{POOL} statements run on these servers: {open:#?}"));
        }
    }
    holder.run("SELECT pg_advisory_unlock(1)");
    for client in clients {
        client.until(b'Z');
    }
    Ok(())
}

/// SIGTERM ends the proxy, and PostgreSQL has no connection left.
fn ends_cleanly(run: &Run, howdah: &mut Howdah, admin: &mut Wire) -> Result<(), String> {
    howdah.signal(rustix::process::Signal::TERM);
    let status = howdah.wait();
    if !status.success() {
        return Err(format!("howdah ended with {status}"));
    }
    let end = deadline();
    while !servers(admin, &run.database).is_empty() {
        if !look_again(end) {
            let left = servers(admin, &run.database);
            return Err(format!("howdah has ended, but these servers stay: {left:#?}"));
        }
    }
    Ok(())
}

fn settle(run: &Run, howdah: &mut Howdah) -> Result<(), String> {
    let mut admin = Postgres::shared().admin("postgres");
    comes_to_rest(run, &mut admin)?;
    all_slots_are_there(run, &mut admin)?;
    comes_to_rest(run, &mut admin)?;
    ends_cleanly(run, howdah, &mut admin)?;
    let untold = run.evil.losses().untold();
    if !untold.is_empty() {
        return Err(format!("were not told that their server has ended:\n{}", untold.join("\n")));
    }
    for word in ["panicked", "closing both connections"] {
        if let Some(line) = howdah.log().lines().find(|line| line.contains(word)) {
            return Err(format!("howdah said: {line}"));
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures of a run are for whoever runs it")]
fn soak(kind: &Kind) {
    // One at a time: they would only slow each other down.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let (seed, batches) = (seed(), batches() * kind.share / 100);
    let begun = tokio::time::Instant::now();
    let postgres = Postgres::shared();
    prepare(postgres, kind.name);
    let coverage = Arc::new(Coverage::default());
    let evil = Evil::start(postgres.address(), Arc::clone(&coverage));
    let mut howdah = start(kind, &evil);
    // Whoever has logged in finds the catalog read. Before that any name may change the session, and
    // the relay takes most for harmless.
    Wire::login(howdah.address(), RIDER, kind.name).disconnect();
    let run = Run {
        howdah: howdah.address(),
        database: kind.name.to_owned(),
        mode: kind.mode,
        evil,
        deeds: deeds::chosen_deeds(),
        shapes: Shapes::default(),
        coverage,
        batches: batches.div_ceil(CLIENTS),
        failures: Mutex::default(),
        failed: AtomicBool::new(false),
    };
    all_ride(&run, seed);
    if !run.failed.load(Ordering::Relaxed)
        && let Err(failure) = settle(&run, &mut howdah)
    {
        run.fail(failure);
    }
    let table = run.coverage.table();
    println!("soak {}: seed {seed}, {:.1?}\n  {table}", kind.name, begun.elapsed());
    let mut failures = std::mem::take(&mut *lock(&run.failures));
    if failures.is_empty() {
        failures.extend(run.coverage.missing(&run.deeds));
    }
    let log = howdah.log();
    // A session that was told of its server's end fails a while later.
    let tells = |line: &&str| line.contains("server ended the session: terminating connection due");
    let mut last: Vec<&str> = log.lines().rev().take(15).collect();
    last.extend(log.lines().rev().skip(15).filter(tells).take(40));
    assert!(
        failures.is_empty(),
        "\n{} (HOWDAH_SOAK_SEED={seed}):\n{}\nhowdah's last words, latest first:\n{}\n",
        kind.name,
        failures.join("\n"),
        last.join("\n")
    );
}

/// A pool of two whose first server is held by a transaction, with its relay.
fn half_taken(database: &str) -> (Evil, Howdah, Wire, Arc<Coverage>) {
    let postgres = Postgres::shared();
    postgres.create_database(database);
    let coverage = Arc::new(Coverage::default());
    let evil = Evil::start(postgres.address(), Arc::clone(&coverage));
    let settings = Settings::new("transaction")
        .set("pool.default_pool_size", 2)
        .set("timeouts.server_login_retry", "50ms")
        .set("tls.server.sslmode", "disable")
        .database(database, evil.address());
    let howdah = Howdah::start(&settings);
    let mut holder = Wire::login(howdah.address(), RIDER, database);
    holder.run("BEGIN; SELECT 1");
    // The catalog was read on a server of its own.
    let mut admin = postgres.admin("postgres");
    admin.run(&format!(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE datname = '{database}' AND state = 'idle'"
    ));
    (evil, howdah, holder, coverage)
}

#[test]
fn a_server_that_dies_during_login_is_not_the_business_of_a_client_in_line() {
    let (evil, howdah, mut holder, coverage) = half_taken("soak_login");
    for (number, round) in [(1, "first"), (2, "second")] {
        let mut waiting = Wire::login(howdah.address(), RIDER, "soak_login");
        evil.end_next_login();
        assert_eq!(waiting.rows(&format!("SELECT '{round}'")), [[round]]);
        assert_eq!(coverage.times(Moment::Login, Victim::Server), number);
        // The server that was opened in the end goes, so that the next round opens one again.
        waiting.run("BEGIN");
        let plan = evil.plan(evil::Act::CutAtParse);
        waiting.send(&messages::query(&format!("{} SELECT 1", plan.marker())));
        waiting.until(b'E');
    }
    holder.run("COMMIT");
}

#[test]
fn transactions_on_one_worker() {
    soak(&Kind { name: "soak_one", mode: Mode::Transaction, workers: 1, share: 30 });
}

#[test]
fn transactions_on_two_workers() {
    soak(&Kind { name: "soak_two", mode: Mode::Transaction, workers: 2, share: 40 });
}

#[test]
fn sessions() {
    soak(&Kind { name: "soak_session", mode: Mode::Session, workers: 2, share: 15 });
}

#[test]
fn statements() {
    soak(&Kind { name: "soak_statement", mode: Mode::Statement, workers: 2, share: 15 });
}
