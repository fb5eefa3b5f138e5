//! How many servers there may be, and which must go.

use std::time::Duration;

use super::super::*;
use super::harness::*;

fn size(pool_size: u32) -> PoolOptions {
    PoolOptions { pool_size, ..PoolOptions::default() }
}

#[test]
fn zero_is_unlimited() {
    let (mut bench, pool) = Bench::with(size(0));
    bench.fill(pool, 500, HERE);
    assert_eq!(bench.look(pool).idle, 500);
}

#[test]
fn a_crowd_is_met_by_a_few_openings_at_once() {
    let (mut bench, pool) = Bench::with(size(20));
    let waiters: Vec<_> = (0..30).map(|_| bench.wait(pool, HERE)).collect();
    let mut rounds = 0;
    while !bench.openings.is_empty() {
        assert_eq!(bench.openings.len(), 4);
        let openings = mem::take(&mut bench.openings);
        for opening in openings {
            bench.open(opening);
        }
        rounds += 1;
    }
    assert_eq!(rounds, 5);
    assert_eq!(bench.counts(pool), [0, 0, 20, 0, 10]);
    let answered = waiters.into_iter().filter_map(|waiter| bench.poll(waiter)).count();
    assert_eq!(answered, 20);
}

#[test]
fn one_waiter_orders_one_server() {
    let (mut bench, pool) = Bench::with(size(20));
    bench.wait(pool, HERE);
    bench.pass_with_upkeep(10 * SECOND);
    assert_eq!(bench.openings.len(), 1);
}

#[test]
fn the_longest_idle_server_of_another_pool_is_evicted() {
    let options = PoolOptions { max_db_connections: 3, ..size(3) };
    let mut bench = Bench::new();
    let pools: Vec<_> = (1..=3).map(|user| bench.add(key(1, user), options)).collect();
    let elsewhere = bench.add(key(2, 9), options);
    bench.fill(elsewhere, 1, HERE);
    bench.pass(MS);
    bench.fill(pools[1], 1, THERE);
    bench.pass(MS);
    bench.fill(pools[0], 2, HERE);
    bench.pass(MS);
    bench.wait(pools[2], HERE);
    assert_eq!(bench.closed, [(2, CloseReason::Evicted)], "not the older one of another database");
    assert_eq!(bench.look(pools[1]).stats.evictions, 1);
    bench.wait(pools[2], HERE);
    assert_eq!(bench.closed[1].0, 3);
    assert_eq!(bench.openings.len(), 2);
}

#[test]
fn two_full_limits_take_a_victim_each() {
    let options = PoolOptions { max_db_connections: 1, max_user_connections: 1, ..size(2) };
    let mut bench = Bench::new();
    let same_database = bench.add(key(1, 2), options);
    let same_user = bench.add(key(2, 1), options);
    let pool = bench.add(key(1, 1), options);
    bench.fill(same_database, 1, HERE);
    bench.fill(same_user, 1, HERE);
    let lease = bench.take(same_user, HERE);
    let waiter = bench.wait(pool, HERE);
    assert!(bench.closed.is_empty(), "one victim alone would not help");
    bench.give(lease, HERE);
    assert_eq!(bench.closed.len(), 2);
    bench.open_all();
    bench.served(waiter);
}

#[test]
fn the_nodes_of_a_database_are_limited_each_on_its_own() {
    let options = PoolOptions { max_db_connections: 1, ..size(2) };
    let mut bench = Bench::new();
    for node in 0..2 {
        let pool = bench.add(PoolKey { node: NodeId(node), ..key(1, 1) }, options);
        bench.fill(pool, 1, HERE);
    }
    assert!(bench.closed.is_empty());
}

#[test]
fn the_reserve_is_used_after_its_timeout_and_given_back() {
    let options = PoolOptions {
        reserve_pool_size: 1,
        reserve_pool_timeout: Duration::from_secs(5),
        ..size(1)
    };
    let (mut bench, pool) = Bench::with(options);
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiter = bench.wait(pool, HERE);
    let second = bench.wait(pool, HERE);
    bench.pass_with_upkeep(4_900 * MS);
    assert!(bench.openings.is_empty());
    bench.pass_with_upkeep(100 * MS);
    assert_eq!(bench.openings.len(), 1, "one, however many wait");
    bench.open_all();
    assert_eq!(bench.look(pool).stats.reserve_uses, 1);
    let reserve = bench.served(waiter);
    bench.give(reserve, HERE);
    let reserve = bench.served(second);
    bench.give(reserve, HERE);
    bench.give(lease, HERE);
    bench.pass_with_upkeep(4_900 * MS);
    assert_eq!(bench.look(pool).idle, 2);
    bench.pass_with_upkeep(100 * MS);
    assert_eq!(bench.look(pool).idle, 1);
    assert_eq!(bench.closed[0].1, CloseReason::Reserve);
}

#[test]
fn a_smaller_limit_closes_what_is_idle_and_what_comes_back() {
    let (mut bench, pool) = Bench::with(size(4));
    bench.fill(pool, 4, HERE);
    let leases = [bench.take(pool, HERE), bench.take(pool, HERE), bench.take(pool, HERE)];
    assert!(bench.core.set_options(pool, &size(1), bench.now));
    bench.run();
    bench.upkeep();
    assert_eq!(bench.counts(pool), [0, 0, 0, 3, 0]);
    let [one, two, three] = leases;
    assert!(matches!(bench.give(one, HERE), Placed::Close(_, CloseReason::OverLimit)));
    assert!(matches!(bench.give(two, HERE), Placed::Close(_, CloseReason::OverLimit)));
    assert_eq!(bench.give(three, HERE), Placed::Idle);
}

#[test]
fn a_larger_limit_is_used_at_once() {
    let (mut bench, pool) = Bench::with(size(1));
    for _ in 0..3 {
        bench.wait(pool, HERE);
    }
    assert_eq!(bench.openings.len(), 1);
    bench.core.set_options(pool, &size(2), bench.now);
    bench.run();
    assert_eq!(bench.openings.len(), 2);
}

#[test]
fn a_dedicated_server_is_counted_and_never_shared() {
    let options = PoolOptions { max_db_connections: 2, ..size(2) };
    let (mut bench, pool) = Bench::with(options);
    bench.fill(pool, 2, HERE);
    let dedicated = bench.wait_dedicated(pool);
    assert_eq!(bench.closed.len(), 1);
    bench.open_all();
    let lease = bench.served(dedicated);
    bench.take(pool, HERE);
    let waiter = bench.wait(pool, HERE);
    assert!(bench.openings.is_empty(), "the pool is full");
    assert!(matches!(bench.give(lease, HERE), Placed::Close(_, CloseReason::Dedicated)));
    bench.open_all();
    bench.served(waiter);
}

#[test]
fn a_paused_pool_hands_out_nothing_until_it_resumes() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    assert!(bench.core.pause(pool));
    let waiters = [bench.wait(pool, HERE), bench.wait(pool, THERE)];
    assert_eq!(bench.give(lease, HERE), Placed::Idle);
    bench.pass_with_upkeep(SECOND);
    assert!(bench.openings.is_empty());
    assert_eq!(bench.counts(pool), [0, 1, 0, 0, 2]);
    assert!(bench.core.resume(pool, bench.now));
    bench.run();
    bench.open_all();
    for waiter in waiters {
        bench.served(waiter);
    }
}

#[test]
fn the_time_that_servers_are_out_is_counted_up_to_now() {
    let (mut bench, pool) = Bench::with(size(2));
    let held = |bench: &Bench| bench.core.held(bench.now)[&pool];
    bench.fill(pool, 2, HERE);
    let before = held(&bench);
    bench.pass(50 * MS);
    assert_eq!(held(&bench), before, "at rest is not out");
    let (one, two) = (bench.take(pool, HERE), bench.take(pool, THERE));
    bench.pass(3 * MS);
    assert_eq!(held(&bench), before + 6 * MS);
    // Who waits has a server from the moment on that it is taken.
    let waiter = bench.wait(pool, HERE);
    bench.give(one, HERE);
    bench.pass(2 * MS);
    let third = bench.served(waiter);
    bench.pass(MS);
    bench.discard(two.slot);
    bench.pass(7 * MS);
    assert_eq!(held(&bench), before + (3 + 6 + 8) * MS);
    bench.give(third, HERE);
    bench.pass(SECOND);
    assert_eq!(held(&bench), before + (3 + 6 + 8) * MS);
}
