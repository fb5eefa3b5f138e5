//! `SHOW CAPACITY` against loads of which everything is known: how many transactions there were,
//! how long each kept a server at least, how long they waited at least. Whatever is asserted holds
//! however slow the machine is. `benches/capacity.py` measures how far predictions are right.

mod support;

use std::time::Duration;

use support::behaviour::{client, eventually, settings, settle};
use support::console::{Row, console, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::RIDER;
use support::wire::Wire;
use tokio::time::Instant;

/// Longer than a load that fits into one, many times.
const PERIOD: &str = "2s";
/// A load that a slow machine has cut in two by the end of a period is given again.
const ATTEMPTS: usize = 10;
/// p99 of waits that a recommended size allows, in seconds.
const TARGET: f64 = 0.001;

fn sized(database: &str, size: i64, period: &str) -> Settings {
    settings(database, "transaction")
        .set("howdah.admin_users", vec![RIDER])
        .set("howdah.max_client_conn", 100)
        .set("pool.default_pool_size", size)
        .set("log.stats_period", period)
}

/// The pool's row, once there was a period.
fn look(console: &mut Wire, database: &str) -> Option<Row> {
    rows_with(console, "capacity", &[("database", database), ("user", RIDER)]).pop()
}

/// Looks until the pool's row has an arrival rate that is zero, or not: the row, the moment of the
/// look before, and of this one.
fn await_rate(console: &mut Wire, database: &str, is_zero: bool) -> (Row, Instant, Instant) {
    let (mut before, mut found) = (Instant::now(), None);
    eventually("the next period", || {
        let asked = Instant::now();
        found =
            look(console, database).filter(|row| (row.number("arrival_rate") == 0.0) == is_zero);
        if found.is_none() {
            before = asked;
        }
        found.is_some()
    });
    (found.expect("checked"), before, Instant::now())
}

/// What `SHOW CAPACITY` and `SHOW STATS` said of a period that held a whole load and nothing else.
struct Seen {
    row: Row,
    stats: Row,
    /// The period was at least, and at most, so many seconds long.
    length: (f64, f64),
    /// Seconds that the load took.
    took: f64,
}

/// Gives a load to a quiet pool, all of it in one period.
fn one_period(howdah: &Howdah, database: &str, mut load: impl FnMut()) -> Seen {
    let mut console = console(howdah);
    let mut bystander = client(howdah, database);
    for _ in 0..ATTEMPTS {
        // A period with something in it is followed by an empty one, whose end begins another.
        bystander.run("SELECT 1");
        await_rate(&mut console, database, false);
        let (_, earliest, latest) = await_rate(&mut console, database, true);
        let began = Instant::now();
        load();
        // The only worker has put the servers back.
        settle(&mut bystander);
        let took = began.elapsed();
        let is_whole =
            look(&mut console, database).is_some_and(|row| row.number("arrival_rate") == 0.0);
        let (row, before, after) = await_rate(&mut console, database, false);
        let stats = the_row(&mut console, "stats", &[("database", database)]);
        let again = look(&mut console, database).expect("it was there");
        if !is_whole || format!("{again:?}") != format!("{row:?}") {
            continue;
        }
        let span = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        let length = (span(latest, before), span(earliest, after));
        return Seen { row, stats, length, took: took.as_secs_f64() };
    }
    unreachable!("no period of {PERIOD} has held the whole load")
}

/// Erlang's C formula, and the wait that a share of the clients does not exceed, as in a textbook.
fn expected_wait(arrivals: f64, service: f64, size: u32, quantile: f64) -> f64 {
    let (offered, servers) = (arrivals * service, f64::from(size));
    if offered >= servers {
        return f64::INFINITY;
    }
    let mut term = 1.0;
    let mut sum = 0.0;
    for servers in 0..size {
        sum += term;
        term *= offered / f64::from(servers + 1);
    }
    let all_busy = term * servers / (servers - offered);
    let waits = all_busy / (sum + all_busy);
    (service / (servers - offered) * (waits / (1.0 - quantile)).ln()).max(0.0)
}

fn is_about(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

/// What a row says follows from its own rate and service time.
fn follows(row: &Row, size: u32) {
    let (arrivals, service) = (row.number("arrival_rate"), row.number("service_time_ms") / 1000.0);
    let offered = row.number("offered_load");
    assert!(is_about(offered, arrivals * service), "{row:?}");
    assert_eq!(row.get("pool_size"), size.to_string());
    assert!(is_about(row.number("utilisation"), offered / f64::from(size)), "{row:?}");
    for (column, quantile) in [("predicted_p50_ms", 0.5), ("predicted_p99_ms", 0.99)] {
        let expected = expected_wait(arrivals, service, size, quantile) * 1000.0;
        assert!(is_about(row.number(column), expected), "{column} {expected}: {row:?}");
    }
    let enough = |size: &u32| expected_wait(arrivals, service, *size, 0.99) <= TARGET;
    let smallest = (1..).find(enough).expect("some size is enough");
    assert_eq!(row.get("recommended_size"), smallest.to_string(), "{row:?}");
}

#[test]
fn a_known_load_is_what_was_measured() {
    const SIZE: u32 = 3;
    const CLIENTS: u32 = 9;
    const ROUNDS: u32 = 3;
    const SLEEP: f64 = 0.04;
    let howdah = Howdah::start(&sized("known_load", i64::from(SIZE), PERIOD));
    let mut clients: Vec<Wire> = (0..CLIENTS).map(|_| client(&howdah, "known_load")).collect();
    let statement = messages::query(&format!("SELECT pg_sleep({SLEEP})"));
    let seen = one_period(&howdah, "known_load", || {
        for _ in 0..ROUNDS {
            clients.iter_mut().for_each(|one| one.send(&statement));
            clients.iter_mut().for_each(|one| drop(one.until(b'Z')));
        }
    });
    let (row, count) = (&seen.row, f64::from(CLIENTS * ROUNDS));
    // A: all of them, in the time that the period took.
    let arrivals = row.number("arrival_rate");
    let (shortest, longest) = seen.length;
    assert!(arrivals * longest >= count && arrivals * shortest <= count, "{row:?} {longest}");
    assert!((seen.stats.number("avg_xact_count") - arrivals).abs() <= 0.51, "{:?}", seen.stats);
    // S: not less than they slept, and the servers did not work longer than there was time.
    let service = row.number("service_time_ms") / 1000.0;
    assert!(service >= SLEEP * 0.99, "{row:?}");
    assert!(service * count <= f64::from(SIZE) * seen.took, "{row:?} {}", seen.took);
    // A server is out for the transaction, and a little longer.
    assert!(service >= seen.stats.number("avg_xact_time") / 1e6 - 1e-5, "{:?}", seen.stats);
    // What is offered is at least the sleep, and the servers were busy for it.
    assert!(row.number("offered_load") * longest >= count * SLEEP * 0.99, "{row:?}");
    assert!(row.number("utilisation") * shortest <= seen.took, "{row:?}");
    follows(row, SIZE);
}

#[test]
fn waits_are_as_long_as_clients_have_waited() {
    const SIZE: u32 = 2;
    const HOLD: f64 = 0.2;
    let howdah = Howdah::start(&sized("known_wait", i64::from(SIZE), PERIOD));
    let mut holders = [client(&howdah, "known_wait"), client(&howdah, "known_wait")];
    let mut waiting: Vec<Wire> = (0..6).map(|_| client(&howdah, "known_wait")).collect();
    // Both servers are there before anything is measured.
    holders.iter_mut().for_each(|one| one.run("BEGIN"));
    holders.iter_mut().for_each(|one| one.run("COMMIT"));
    let mut view = console(&howdah);
    let mut longest = Duration::ZERO;
    let seen = one_period(&howdah, "known_wait", || {
        holders.iter_mut().for_each(|one| one.run("BEGIN"));
        let began = Instant::now();
        waiting.iter_mut().for_each(|one| one.send(&messages::query("SELECT 1")));
        shows(&mut view, &[("database", "known_wait")], &[("pools.cl_waiting", "6")]);
        holders[0].run(&format!("SELECT pg_sleep({HOLD})"));
        holders.iter_mut().for_each(|one| one.run("COMMIT"));
        waiting.iter_mut().for_each(|one| drop(one.until(b'Z')));
        longest = began.elapsed();
    });
    // Six of eight have waited for that long. Quantiles are of buckets, a quarter wide at most.
    let row = &seen.row;
    let (p50, p99) = (row.number("wait_p50_ms") / 1000.0, row.number("wait_p99_ms") / 1000.0);
    assert!(p50 >= HOLD / 1.26 && p99 >= p50, "{row:?}");
    assert!(p99 <= longest.as_secs_f64() * 1.26, "{row:?} {longest:?}");
    let mean = seen.stats.number("avg_wait_time") / 1e6;
    assert!(mean >= HOLD * 0.99 * 6.0 / 8.0 && mean <= longest.as_secs_f64(), "{:?}", seen.stats);
    follows(row, SIZE);
}

#[test]
fn servers_that_clients_keep_and_a_pool_without_limit() {
    let howdah = Howdah::start(&sized("kept", 2, "1s"));
    let mut console = console(&howdah);
    let mut holders = [client(&howdah, "kept"), client(&howdah, "kept")];
    holders.iter_mut().for_each(|one| one.run("BEGIN"));
    console.run("SET default_pool_size = 1");
    // Both are out for the whole of a period in which nobody came.
    let is_kept = [
        ("capacity.pool_size", "1"),
        ("capacity.arrival_rate", "0"),
        ("capacity.offered_load", "2"),
        ("capacity.utilisation", "2"),
        ("capacity.service_time_ms", ""),
        ("capacity.predicted_p50_ms", "Infinity"),
        ("capacity.predicted_p99_ms", "Infinity"),
    ];
    let key = [("database", "kept"), ("user", RIDER)];
    shows(&mut console, &key, &is_kept);
    // Without a limit nobody waits, and no number of servers is thought about that nobody has.
    console.run("SET default_pool_size = 0");
    let is_free = [
        ("capacity.pool_size", "0"),
        ("capacity.offered_load", "2"),
        ("capacity.predicted_p50_ms", "0"),
        ("capacity.predicted_p99_ms", "0"),
    ];
    shows(&mut console, &key, &is_free);
    // A transaction that has ended is of no weight in the next period.
    holders.iter_mut().for_each(|one| one.run("COMMIT"));
    shows(&mut console, &key, &[("capacity.offered_load", "0"), ("capacity.service_time_ms", "0")]);
}
