//! Who is served when there is not enough for all.

use super::super::*;
use super::harness::*;

fn size(pool_size: u32) -> PoolOptions {
    PoolOptions { pool_size, ..PoolOptions::default() }
}

/// Clients that ask again as soon as they are done share one server for a while.
fn shares_of_one_server(clients: &[WorkerId], hold: u64) -> Vec<u32> {
    let (mut bench, pool) = Bench::with(size(1));
    bench.fill(pool, 1, HERE);
    let mut lease = bench.take(pool, clients[0]);
    let mut holder = 0;
    let mut waiting: Vec<Option<WaiterId>> = vec![None; clients.len()];
    for (client, worker) in clients.iter().enumerate().skip(1) {
        waiting[client] = Some(bench.wait(pool, *worker));
    }
    let mut turns = vec![0; clients.len()];
    for _ in 0..4_000 {
        turns[holder] += 1;
        bench.pass(hold);
        assert_eq!(bench.give(lease, clients[holder]), Placed::Handed);
        waiting[holder] = Some(bench.wait(pool, clients[holder]));
        let served = (0..clients.len()).find_map(|client| {
            match waiting[client].and_then(|waiter| bench.poll(waiter)) {
                Some(Asked::Ready(ready)) => Some((client, ready)),
                _ => None,
            }
        });
        (holder, lease) = served.expect("somebody was served");
        waiting[holder] = None;
    }
    turns
}

#[test]
fn the_preferred_server_is_taken_if_it_is_idle_and_of_this_pool() {
    let (mut bench, pool) = Bench::with(size(3));
    let other_pool = bench.add(key(2, 1), size(1));
    bench.fill(pool, 3, HERE);
    bench.fill(other_pool, 1, HERE);
    let (first, last) = (bench.take(pool, HERE), bench.take(pool, HERE));
    let (slot, other) = (first.slot, bench.take(other_pool, HERE));
    let elsewhere = other.slot;
    for lease in [first, last] {
        assert_eq!(bench.give(lease, HERE), Placed::Idle);
    }
    assert_eq!(bench.give(other, HERE), Placed::Idle);
    let prefer = |slot| Request { preferred: Some(slot), ..Kind::Shared.into() };
    let Asked::Ready(best) = bench.ask(pool, prefer(slot), THERE) else { panic!("it is idle") };
    assert_eq!((best.slot, best.was_home), (slot, HERE));
    for (preferred, why) in [(slot, "it is leased"), (elsewhere, "it is another pool's")] {
        let Asked::Ready(ready) = bench.ask(pool, prefer(preferred), HERE) else { panic!("{why}") };
        assert_ne!(ready.slot, preferred, "{why}");
    }
    bench.discard(slot);
    let Asked::Waiting(_) = bench.ask(pool, prefer(slot), HERE) else { panic!("it is gone") };
}

#[test]
fn two_looping_clients_on_two_workers_get_half_each() {
    for hold in [10, 500, 5 * MS] {
        let turns = shares_of_one_server(&[HERE, THERE], hold);
        assert!(turns.iter().all(|t| (1_900..=2_100).contains(t)), "hold {hold}: {turns:?}");
    }
}

#[test]
fn clients_on_the_same_worker_get_equal_shares() {
    let turns = shares_of_one_server(&[HERE; 4], 200);
    assert!(turns.iter().all(|t| (950..=1_050).contains(t)), "{turns:?}");
}

#[test]
fn a_lonely_client_on_the_other_worker_does_not_starve() {
    let clients = [HERE, HERE, HERE, HERE, HERE, HERE, HERE, THERE];
    for hold in [50, 500, 5 * MS] {
        let turns = shares_of_one_server(&clients, hold);
        // The patience costs it at most 2 ms per turn; with long leases nothing.
        let turn = clients.len() as u64 * hold;
        let least = 4_000 * hold / (turn + 2 * MS + 2 * hold);
        assert!(u64::from(turns[7]) >= least, "hold {hold}: {turns:?}, least {least}");
    }
}

#[test]
fn the_same_workers_line_comes_first_within_two_milliseconds() {
    let (mut bench, pool) = Bench::with(size(1));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let there = bench.wait(pool, THERE);
    bench.pass(2 * MS);
    let here = bench.wait(pool, HERE);
    bench.give(lease, HERE);
    let lease = bench.served(here);
    bench.pass(1);
    let late = bench.wait(pool, HERE);
    bench.give(lease, HERE);
    let moved = bench.served(there);
    assert_eq!(moved.was_home, HERE);
    assert_eq!(bench.look(pool).stats.migrations, 1);
    assert_eq!(bench.poll(late), None);
}

#[test]
fn nobody_overtakes_within_a_line() {
    let (mut bench, pool) = Bench::with(size(1));
    bench.fill(pool, 1, HERE);
    let mut lease = bench.take(pool, HERE);
    let waiters: Vec<_> = (0..20).map(|_| bench.wait(pool, HERE)).collect();
    for waiter in waiters {
        assert_eq!(bench.give(lease, HERE), Placed::Handed);
        // The server is on its way to the head of the line: who comes now queues behind all.
        assert!(matches!(bench.ask(pool, Kind::Shared, HERE), Asked::Waiting(_)));
        lease = bench.served(waiter);
    }
}

#[test]
fn idle_servers_are_used_last_in_first_out_the_own_workers_first() {
    let (mut bench, pool) = Bench::with(size(4));
    let waiters: Vec<_> = [HERE, HERE, THERE, THERE].map(|w| bench.wait(pool, w)).into();
    bench.open_all();
    for (waiter, worker) in waiters.into_iter().zip([HERE, HERE, THERE, THERE]) {
        let lease = bench.served(waiter);
        bench.pass(MS);
        bench.give(lease, worker);
    }
    let order: Vec<_> = (0..4).map(|_| bench.take(pool, HERE)).collect();
    assert_eq!(order.iter().map(|r| r.server).collect::<Vec<_>>(), [2, 1, 4, 3]);
    assert_eq!(order.iter().map(|r| r.was_home).collect::<Vec<_>>(), [HERE, HERE, THERE, THERE]);
    assert_eq!(bench.look(pool).stats.migrations, 2);
    assert_eq!(bench.now.since(order[0].idle_since), 2 * MS);
}

#[test]
fn a_pool_whose_rival_never_rests_gets_its_server_under_a_shared_limit() {
    let options = PoolOptions { max_db_connections: 2, ..size(2) };
    let mut bench = Bench::new();
    let (busy, starved) = (bench.add(key(1, 1), options), bench.add(key(1, 2), options));
    bench.fill(busy, 2, HERE);
    let mut leases = [bench.take(busy, HERE), bench.take(busy, HERE)];
    let mut line = std::collections::VecDeque::new();
    (0..4).for_each(|_| line.push_back(bench.wait(busy, HERE)));
    bench.pass(MS);
    let waiter = bench.wait(starved, HERE);
    let mut served_after = None;
    for round in 0..60 {
        bench.pass(10 * MS);
        if round % 10 == 9 {
            bench.upkeep();
        }
        let [first, second] = leases;
        bench.give(first, HERE);
        bench.open_all();
        if let Some(Asked::Ready(_)) = bench.poll(waiter) {
            served_after = Some(round * 10);
            break;
        }
        line.push_back(bench.wait(busy, HERE));
        let next = line.pop_front().map(|waiter| bench.served(waiter));
        leases = [second, next.expect("the line is never empty")];
    }
    let after = served_after.expect("the starved pool was served");
    assert!((250..450).contains(&after), "after {after} ms");
    assert_eq!(bench.closed.len(), 0, "the server was closed by who put it back");
    assert_eq!(bench.look(busy).stats.evictions, 1);
}

#[test]
fn room_under_a_shared_limit_goes_to_the_pool_whose_waiter_is_oldest() {
    let options = PoolOptions { max_db_connections: 1, ..size(2) };
    let mut bench = Bench::new();
    let pools: Vec<_> = (1..=3).map(|user| bench.add(key(1, user), options)).collect();
    bench.fill(pools[0], 1, HERE);
    let lease = bench.take(pools[0], HERE);
    let old = bench.wait(pools[2], HERE);
    bench.pass(MS);
    let young = bench.wait(pools[1], HERE);
    bench.discard(lease.slot);
    bench.open_all();
    let lease = bench.served(old);
    assert_eq!(bench.poll(young), None);
    bench.give(lease, HERE);
    assert_eq!(bench.closed, [(2, CloseReason::Evicted)], "it idles where nobody waits");
    bench.open_all();
    bench.served(young);
}
