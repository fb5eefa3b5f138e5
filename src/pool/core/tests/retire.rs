//! Servers that are closed before their time.

use std::sync::Arc;

use super::super::*;
use super::harness::*;

fn size(pool_size: u32) -> PoolOptions {
    PoolOptions { pool_size, ..PoolOptions::default() }
}

fn origin(node: &str, database: &str) -> Origin {
    Origin { node: node.into(), database: database.into() }
}

/// Gives every server that is being opened a handle with the next number.
fn introduce(bench: &mut Bench, next: &mut u64) {
    for opening in &bench.openings {
        bench.core.introduce(opening.slot, &Arc::new(ServerHandle::new(*next)));
        *next += 1;
    }
}

/// So many idle servers, whose handles are numbered from 1.
fn fill(bench: &mut Bench, pool: PoolId, servers: usize) {
    let mut next = 1;
    let waiters: Vec<_> = (0..servers).map(|_| bench.wait(pool, HERE)).collect();
    while !bench.openings.is_empty() {
        introduce(bench, &mut next);
        for opening in mem::take(&mut bench.openings) {
            bench.open(opening);
        }
    }
    let leases: Vec<_> = waiters.into_iter().map(|waiter| bench.served(waiter)).collect();
    leases.into_iter().for_each(|lease| assert_eq!(bench.give(lease, HERE), Placed::Idle));
}

#[test]
fn a_server_at_an_old_address_is_closed_now_if_it_is_idle_else_when_it_comes_back() {
    let (mut bench, pool) = Bench::with(size(4));
    fill(&mut bench, pool, 4);
    let (out, stays) = (bench.take(pool, HERE), bench.take(pool, HERE));
    let moved = |_: PoolId, handle: &ServerHandle| handle.id != u64::from(stays.server);
    assert_eq!(bench.core.retire(bench.now, moved), 2);
    bench.run();
    assert_eq!(bench.closed.len(), 2);
    assert!(bench.closed.iter().all(|(_, reason)| *reason == CloseReason::Obsolete));
    assert!(bench.core.is_retired(out.slot) && !bench.core.is_retired(stays.slot));
    let server = out.server;
    assert_eq!(bench.give(out, HERE), Placed::Close(server, CloseReason::Obsolete));
    assert_eq!(bench.give(stays, HERE), Placed::Idle);
    assert_eq!(bench.counts(pool), [0, 1, 0, 0, 0]);
}

#[test]
fn many_idle_servers_at_an_old_address_are_closed_a_few_at_a_time() {
    let (mut bench, pool) = Bench::with(size(40));
    fill(&mut bench, pool, 40);
    let mut closed = Vec::new();
    for _ in 0..4 {
        closed.push(bench.core.retire(bench.now, |_, _| true));
        bench.run();
    }
    assert_eq!(closed, [16, 16, 8, 0]);
}

#[test]
fn who_waits_gets_a_new_server_in_place_of_a_retired_one() {
    let (mut bench, pool) = Bench::with(size(1));
    fill(&mut bench, pool, 1);
    let lease = bench.take(pool, HERE);
    let waiter = bench.wait(pool, THERE);
    bench.core.retire(bench.now, |_, _| true);
    bench.run();
    assert!(matches!(bench.give(lease, HERE), Placed::Close(_, CloseReason::Obsolete)));
    bench.open_all();
    let lease = bench.served(waiter);
    assert_eq!(bench.give(lease, THERE), Placed::Idle, "the new one stays");
}

#[test]
fn a_database_that_is_to_be_dropped_loses_its_idle_servers_in_every_pool_and_gets_no_spare_ones() {
    let mut bench = Bench::new();
    let warm = PoolOptions { min_pool_size: 1, keep_warm: true, ..size(4) };
    let pools = [key(1, 1), key(1, 2), key(2, 1)].map(|key| bench.add(key, warm));
    bench.core.set_origin(pools[0], origin("db:5432", "x"));
    bench.core.set_origin(pools[1], origin("db:5432", "x"));
    bench.core.set_origin(pools[2], origin("db:5432", "y"));
    let elsewhere = bench.add(key(3, 1), warm);
    bench.core.set_origin(elsewhere, origin("other:5432", "x"));
    for pool in [pools[0], pools[1], pools[2], elsewhere] {
        fill(&mut bench, pool, 2);
    }
    let lease = bench.take(pools[0], HERE);
    assert_eq!(bench.core.vacate("x", Some("db:5432"), bench.now), 3);
    bench.run();
    assert!(bench.closed.iter().all(|(_, reason)| *reason == CloseReason::Vacated));
    assert_eq!(bench.counts(pools[0]), [0, 0, 0, 1, 0]);
    assert_eq!(bench.counts(pools[1]), [0, 0, 0, 0, 0]);
    assert_eq!(bench.counts(pools[2]), [0, 2, 0, 0, 0], "another database");
    assert_eq!(bench.counts(elsewhere), [0, 2, 0, 0, 0], "another node");
    bench.pass_with_upkeep(5 * SECOND);
    assert!(bench.openings.is_empty(), "min_pool_size waits");
    bench.wait(pools[1], HERE);
    assert_eq!(bench.openings.len(), 1, "a client does not");
    bench.open_all();
    bench.pass_with_upkeep(2 * SECOND);
    assert_eq!(bench.give(lease, HERE), Placed::Idle);
    assert_eq!(bench.core.vacate("x", None, bench.now), 3, "on every node");
    bench.run();
    bench.pass_with_upkeep(8 * SECOND);
    bench.open_all();
    assert_eq!(bench.counts(pools[0])[1], 1, "min_pool_size holds again");
}

#[test]
fn a_spare_server_that_is_on_its_way_to_a_database_that_is_to_be_dropped_does_not_stay() {
    let mut bench = Bench::new();
    let pool = bench.add(key(1, 1), PoolOptions { min_pool_size: 1, keep_warm: true, ..size(4) });
    bench.core.set_origin(pool, origin("db:5432", "x"));
    bench.upkeep();
    let opening = bench.openings.remove(0);
    bench.core.vacate("x", None, bench.now);
    bench.run();
    assert!(matches!(bench.open(opening), Placed::Close(_, CloseReason::Obsolete)));
}
