//! Accounting bugs that poolers have had, each as a scenario.

use std::sync::Arc;
use std::time::Duration;

use super::super::*;
use super::harness::*;
use FailureClass::{Lasting, Passing, Unreachable};

fn size(pool_size: u32) -> PoolOptions {
    PoolOptions { pool_size, ..PoolOptions::default() }
}

#[test]
fn a_waiter_that_leaves_at_the_hand_over_passes_the_server_on() {
    let (mut bench, pool) = Bench::with(size(1));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let (first, second) = (bench.wait(pool, HERE), bench.wait(pool, HERE));
    assert_eq!(bench.give(lease, HERE), Placed::Handed);
    assert_eq!(bench.counts(pool), [0, 0, 1, 0, 1]);
    bench.leave(first);
    assert_eq!(bench.counts(pool), [0, 0, 1, 0, 0], "the next in line has it");
    bench.leave(second);
    assert_eq!(bench.counts(pool), [0, 1, 0, 0, 0], "nobody wants it: it idles");
    assert_eq!(bench.poll(first), Some(Asked::Refused("answered")));
    bench.take(pool, HERE);
}

#[test]
fn a_client_that_aborts_during_the_connect_leaks_no_slot() {
    let (mut bench, pool) = Bench::with(size(1));
    let waiter = bench.wait(pool, HERE);
    bench.leave(waiter);
    assert_eq!(bench.counts(pool), [1, 0, 0, 0, 0]);
    bench.open_all();
    assert_eq!(bench.counts(pool), [0, 1, 0, 0, 0]);

    let dedicated = bench.wait_dedicated(pool);
    assert_eq!(bench.closed, [(1, CloseReason::Evicted)], "it makes room in its own pool");
    let opening = bench.openings.remove(0);
    assert_eq!(opening.waiter, Some(dedicated));
    bench.leave(dedicated);
    assert_eq!(bench.open(opening), Placed::Close(2, CloseReason::Dedicated));
    assert_eq!(bench.counts(pool), [0; 5]);
}

#[test]
fn an_opener_that_dies_leaves_nobody_hanging() {
    let (mut bench, pool) = Bench::with(size(1));
    let waiter = bench.wait(pool, HERE);
    let opening = bench.openings.remove(0);
    bench.discard(opening.slot);
    assert_eq!(bench.openings.len(), 1, "the opening is ordered again");
    bench.open_all();
    bench.served(waiter);

    bench.core.set_options(pool, &size(2), bench.now);
    let dedicated = bench.wait_dedicated(pool);
    let opening = bench.openings.remove(0);
    bench.discard(opening.slot);
    assert_eq!(bench.openings.len(), 1);
    bench.open_all();
    bench.served(dedicated);
}

#[test]
fn a_lease_that_dies_makes_room_for_a_waiter() {
    let (mut bench, pool) = Bench::with(size(1));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiter = bench.wait(pool, THERE);
    bench.discard(lease.slot);
    assert_eq!(bench.openings.len(), 1);
    assert_eq!(bench.openings[0].worker, THERE);
    bench.open_all();
    bench.served(waiter);
    assert_eq!(bench.give(lease, HERE), Placed::Close(1, CloseReason::Unknown));
}

#[test]
fn a_server_that_returns_between_the_check_and_the_wait_wakes_the_waiter() {
    let (mut bench, pool) = Bench::with(size(1));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiter = bench.wait(pool, HERE);
    // The server returns before the waiter is polled for the first time.
    bench.give(lease, HERE);
    assert_eq!(bench.woken(), 2, "once for the fill, once now");
    bench.served(waiter);
    assert_eq!(bench.woken(), 2);
}

#[test]
fn more_clients_than_servers_sleep() {
    let (mut bench, pool) = Bench::with(size(1));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiters: Vec<_> = (0..50).map(|_| bench.wait(pool, HERE)).collect();
    let before = bench.woken();
    bench.pass_with_upkeep(SECOND);
    assert_eq!(bench.woken(), before, "nobody is woken while there is nothing to have");
    assert!(bench.openings.is_empty());
    bench.give(lease, HERE);
    assert_eq!(bench.woken(), before + 1, "one server wakes one client");
    bench.served(waiters[0]);
}

#[test]
fn errors_during_the_ramp_do_not_stop_it() {
    let (mut bench, pool) = Bench::with(size(20));
    let waiters: Vec<_> = (0..20).map(|_| bench.wait(pool, HERE)).collect();
    assert_eq!(bench.openings.len(), 4, "max_parallel_openings");
    // Half of the attempts fail, again and again.
    for round in 0..400 {
        let openings = mem::take(&mut bench.openings);
        for (number, opening) in openings.into_iter().enumerate() {
            if (round + number) % 2 == 0 {
                bench.open(opening);
            } else {
                let failure = Arc::new("full");
                bench.core.open_failed(opening.slot, failure, Passing, bench.now);
                bench.run();
            }
        }
        bench.pass(100 * MS);
        bench.upkeep();
    }
    assert_eq!(bench.look(pool).leased + bench.look(pool).granted, 20);
    for waiter in waiters {
        bench.served(waiter);
    }
}

#[test]
fn a_refusing_node_is_not_stormed_and_waiters_are_served_by_what_there_is() {
    let (mut bench, pool) = Bench::with(size(3));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiters: Vec<_> = (0..10).map(|_| bench.wait(pool, HERE)).collect();
    assert_eq!(bench.fail_all("too many connections", Passing), 2);
    let before = bench.look(pool).stats.openings;
    for _ in 0..600 {
        bench.pass_with_upkeep(100 * MS);
        bench.fail_all("too many connections", Passing);
    }
    let attempts = bench.look(pool).stats.openings - before;
    assert!((5..=12).contains(&attempts), "{attempts} attempts in a minute");
    let mut lease = lease;
    for waiter in waiters {
        assert_eq!(bench.give(lease, HERE), Placed::Handed);
        lease = bench.served(waiter);
    }
}

#[test]
fn the_first_glitch_fails_nobody_while_other_attempts_are_in_flight() {
    let (mut bench, pool) = Bench::with(size(2));
    let (first, second) = (bench.wait(pool, HERE), bench.wait(pool, HERE));
    let [one, two] = [bench.openings.remove(0), bench.openings.remove(0)];
    bench.core.open_failed(one.slot, Arc::new("reset"), Lasting, bench.now);
    bench.run();
    assert_eq!(bench.poll(first), None);
    bench.open(two);
    let lease = bench.served(first);
    bench.give(lease, HERE);
    bench.served(second);
}

#[test]
fn a_dead_node_fails_all_waiters_at_once_and_later_ones_during_the_pause() {
    let (mut bench, pool) = Bench::with(size(2));
    let waiters: Vec<_> = (0..5).map(|_| bench.wait(pool, HERE)).collect();
    bench.fail_all("refused", Lasting);
    for waiter in waiters {
        assert_eq!(bench.poll(waiter), Some(Asked::Refused("refused")));
    }
    assert_eq!(bench.ask(pool, Kind::Shared, HERE), Asked::Refused("refused"));
    assert!(bench.openings.is_empty());
    bench.pass(300 * MS);
    let probe = bench.wait(pool, HERE);
    bench.wait(pool, HERE);
    assert_eq!(bench.openings.len(), 1, "one probe after the pause, not a crowd");
    bench.open_all();
    bench.served(probe);
}

#[test]
fn a_node_that_starts_up_keeps_its_waiters() {
    let (mut bench, pool) = Bench::with(size(2));
    let waiter = bench.wait(pool, HERE);
    bench.fail_all("starting up", Passing);
    assert_eq!(bench.poll(waiter), None);
    let later = bench.wait(pool, HERE);
    bench.pass_with_upkeep(SECOND);
    bench.open_all();
    bench.served(waiter);
    bench.served(later);
}

/// A client whose server is dead asks again.
fn again(bench: &mut Bench, pool: PoolId, dead: &Ready<u32>, worker: WorkerId) -> Asked {
    bench.discard(dead.slot);
    let place = Some(dead.place);
    bench.ask(pool, Request { place, ..Kind::Shared.into() }, worker)
}

#[test]
fn a_client_whose_servers_were_all_dead_keeps_its_place_and_its_waiting_time() {
    let (mut bench, pool) = Bench::with(size(10));
    bench.fill(pool, 10, HERE);
    let mut lease = bench.take(pool, HERE);
    let asked_at = bench.now;
    for _ in 0..9 {
        bench.pass(MS);
        lease = match again(&mut bench, pool, &lease, HERE) {
            Asked::Ready(ready) => ready,
            other @ (Asked::Waiting(_) | Asked::Refused(_)) => {
                panic!("there are idle ones: {other:?}")
            }
        };
        assert_eq!(lease.place.since(), asked_at);
    }
    let others: Vec<_> = (0..12).map(|_| bench.wait(pool, HERE)).collect();
    bench.pass(MS);
    let Asked::Waiting(back) = again(&mut bench, pool, &lease, HERE) else { panic!("none idle") };
    let opening = bench.openings.remove(0);
    bench.open(opening);
    assert_eq!(bench.poll(others[0]), None);
    assert_eq!(bench.served(back).place, lease.place);
    let opening = bench.openings.remove(0);
    bench.open(opening);
    bench.served(others[0]);
}

#[test]
fn who_is_back_stands_behind_whoever_came_before_it() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.fill(pool, 2, HERE);
    let (first, second) = (bench.take(pool, HERE), bench.take(pool, HERE));
    let late = bench.wait(pool, HERE);
    let Asked::Waiting(second) = again(&mut bench, pool, &second, HERE) else { panic!("it waits") };
    let Asked::Waiting(first) = again(&mut bench, pool, &first, HERE) else { panic!("it waits") };
    for waiter in [first, second, late] {
        let opening = bench.openings.remove(0);
        bench.open(opening);
        let ready = bench.served(waiter);
        bench.discard(ready.slot);
    }
}

fn login(bench: &mut Bench, pool: PoolId, kind: Kind) -> Asked {
    bench.ask(pool, Request { kind, is_login: true, place: None, preferred: None }, HERE)
}

#[test]
fn statements_wait_for_a_node_that_is_down_and_are_served_in_order_when_it_is_back() {
    let (mut bench, pool) = Bench::with(size(1));
    let first = bench.wait(pool, HERE);
    bench.fail_all("connection refused", Unreachable);
    assert_eq!(bench.poll(first), None, "how long it waits is its own decision");
    let second = bench.wait(pool, HERE);
    assert!(bench.openings.is_empty(), "the pause holds");
    for _ in 0..40 {
        bench.pass_with_upkeep(100 * MS);
        bench.fail_all("connection refused", Unreachable);
    }
    assert_eq!((bench.poll(first), bench.poll(second)), (None, None));
    let why = bench.core.last_failure(pool, Kind::Shared);
    assert_eq!(why.as_deref(), Some(&"connection refused"));
    bench.pass_with_upkeep(15 * SECOND);
    bench.open_all();
    let lease = bench.served(first);
    assert_eq!(bench.core.last_failure(pool, Kind::Shared), None, "it works again");
    assert_eq!(bench.poll(second), None);
    bench.give(lease, HERE);
    bench.served(second);
}

#[test]
fn a_login_is_refused_at_once_while_nobody_answers_and_waits_for_the_attempt_behind_the_pause() {
    let (mut bench, pool) = Bench::with(size(1));
    let Asked::Waiting(early) = login(&mut bench, pool, Kind::Shared) else { panic!("it waits") };
    bench.fail_all("connection refused", Unreachable);
    assert_eq!(bench.poll(early), None, "it came before anybody knew");
    assert_eq!(login(&mut bench, pool, Kind::Shared), Asked::Refused("connection refused"));
    bench.pass(300 * MS);
    assert!(matches!(login(&mut bench, pool, Kind::Shared), Asked::Waiting(_)));
    assert_eq!(bench.openings.len(), 1);
    bench.fail_all("starting up", Passing);
    assert!(matches!(login(&mut bench, pool, Kind::Shared), Asked::Waiting(_)), "not for long");
}

#[test]
fn a_login_that_needs_its_own_server_is_refused_at_once_while_nobody_answers() {
    let (mut bench, pool) = Bench::with(size(2));
    let dedicated = bench.wait_dedicated(pool);
    bench.fail_all("connection refused", Unreachable);
    assert_eq!(bench.poll(dedicated), None);
    let why = bench.core.last_failure(pool, Kind::Dedicated);
    assert_eq!(why.as_deref(), Some(&"connection refused"));
    assert_eq!(login(&mut bench, pool, Kind::Dedicated), Asked::Refused("connection refused"));
    bench.pass_with_upkeep(SECOND);
    bench.open_all();
    bench.served(dedicated);
}

#[test]
fn a_login_waits_while_a_server_works_though_no_other_can_be_opened() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiter = bench.wait(pool, HERE);
    bench.fail_all("connection refused", Unreachable);
    let Asked::Waiting(late) = login(&mut bench, pool, Kind::Shared) else { panic!("it waits") };
    bench.give(lease, HERE);
    let lease = bench.served(waiter);
    bench.give(lease, HERE);
    bench.served(late);
}

#[test]
fn a_password_that_turns_out_wrong_is_told_to_all_who_waited_for_the_node() {
    let (mut bench, pool) = Bench::with(size(1));
    let waiter = bench.wait(pool, HERE);
    bench.fail_all("connection refused", Unreachable);
    bench.pass_with_upkeep(300 * MS);
    assert_eq!(bench.fail_all("wrong password", Lasting), 1);
    assert_eq!(bench.poll(waiter), Some(Asked::Refused("wrong password")));
}

#[test]
fn the_last_server_that_dies_in_a_pause_fails_the_waiters() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiter = bench.wait(pool, HERE);
    bench.fail_all("refused", Lasting);
    assert_eq!(bench.poll(waiter), None, "a working server may still serve it");
    bench.discard(lease.slot);
    assert_eq!(bench.poll(waiter), Some(Asked::Refused("refused")));
}

#[test]
fn a_reload_keeps_the_pause_and_a_reconnect_ends_it() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.wait(pool, HERE);
    bench.fail_all("refused", Lasting);
    assert_eq!(bench.add(key(1, 1), size(5)), pool);
    assert_eq!(bench.ask(pool, Kind::Shared, HERE), Asked::Refused("refused"));
    assert!(bench.core.reconnect(pool, bench.now));
    bench.wait(pool, HERE);
    assert_eq!(bench.openings.len(), 1);
}

#[test]
fn a_minimum_set_while_the_node_is_down_is_reached_without_a_storm() {
    let (mut bench, pool) = Bench::with(size(10));
    let warm = PoolOptions { min_pool_size: 3, keep_warm: true, ..size(10) };
    bench.add(key(1, 1), warm);
    for _ in 0..600 {
        bench.pass_with_upkeep(100 * MS);
        bench.fail_all("refused", Lasting);
    }
    let attempts = bench.look(pool).stats.openings;
    assert!((5..=12).contains(&attempts), "{attempts} attempts in a minute");
    for _ in 0..200 {
        bench.pass_with_upkeep(100 * MS);
        bench.open_all();
    }
    assert_eq!(bench.counts(pool), [0, 3, 0, 0, 0]);
}

#[test]
fn a_minimum_holds_only_while_the_pool_is_in_use() {
    let options = PoolOptions { min_pool_size: 2, ..size(10) };
    let (mut bench, pool) = Bench::with(options);
    bench.pass_with_upkeep(SECOND);
    assert_eq!(bench.look(pool).stats.openings, 0, "nobody has used it");
    bench.fill(pool, 4, HERE);
    bench.pass(599 * SECOND);
    bench.take(pool, HERE);
    bench.pass(2 * SECOND);
    bench.upkeep();
    assert_eq!(bench.counts(pool), [0, 1, 0, 1, 0], "two idled too long, the minimum stays");
}

#[test]
fn timeouts_of_zero_are_off() {
    let options = PoolOptions {
        server_idle_timeout: Duration::ZERO,
        server_lifetime: Duration::ZERO,
        reserve_pool_size: 5,
        reserve_pool_timeout: Duration::ZERO,
        ..size(2)
    };
    let (mut bench, pool) = Bench::with(options);
    bench.fill(pool, 2, HERE);
    bench.pass(1_000_000 * SECOND);
    bench.upkeep();
    assert_eq!(bench.counts(pool), [0, 2, 0, 0, 0]);
    bench.take(pool, HERE);
    bench.take(pool, HERE);
    bench.wait(pool, HERE);
    bench.pass_with_upkeep(20 * SECOND);
    assert!(bench.openings.is_empty(), "a reserve timeout of zero means no reserve");
}

#[test]
fn timeouts_are_in_their_own_units_even_when_short() {
    let options = PoolOptions {
        server_idle_timeout: Duration::from_millis(30),
        server_lifetime: Duration::ZERO,
        ..size(2)
    };
    let (mut bench, pool) = Bench::with(options);
    bench.fill(pool, 2, HERE);
    bench.pass(29 * MS);
    bench.upkeep();
    assert_eq!(bench.look(pool).idle, 2);
    bench.pass(MS);
    bench.upkeep();
    assert_eq!(bench.look(pool).idle, 0);
    assert!(bench.closed.iter().all(|(_, reason)| *reason == CloseReason::IdleTimeout));
}

#[test]
fn a_pool_with_much_to_close_does_not_keep_the_others_waiting() {
    let mut bench = Bench::new();
    let pools: Vec<_> = (0..3).map(|n| bench.add(key(n, n), size(100))).collect();
    bench.fill(pools[0], 100, HERE);
    bench.fill(pools[1], 5, HERE);
    bench.fill(pools[2], 5, HERE);
    bench.pass(601 * SECOND);
    bench.upkeep();
    assert_eq!(pools.iter().map(|p| bench.look(*p).idle).collect::<Vec<_>>(), [84, 0, 0]);
    (0..6).for_each(|_| bench.upkeep());
    assert_eq!(bench.look(pools[0]).idle, 0);
}

#[test]
fn upkeep_reaches_every_pool_however_many_there_are() {
    let mut bench = Bench::new();
    let pools: Vec<_> = (0..600).map(|n| bench.add(key(n, n), size(1))).collect();
    for pool in &pools {
        bench.fill(*pool, 1, HERE);
    }
    bench.pass(601 * SECOND);
    bench.upkeep();
    let left = pools.iter().filter(|pool| bench.look(**pool).idle > 0).count();
    assert_eq!(left, 600 - 256, "work per call is bounded");
    bench.upkeep();
    bench.upkeep();
    assert!(pools.iter().all(|pool| bench.look(*pool).idle == 0));
}

#[test]
fn servers_opened_together_do_not_retire_together() {
    let options = PoolOptions {
        server_lifetime: Duration::from_secs(1000),
        server_idle_timeout: Duration::ZERO,
        ..size(20)
    };
    let (mut bench, pool) = Bench::with(options);
    bench.fill(pool, 20, HERE);
    bench.pass(899 * SECOND);
    bench.upkeep();
    assert_eq!(bench.look(pool).idle, 20);
    bench.pass(101 * SECOND);
    bench.upkeep();
    assert_eq!(bench.look(pool).idle, 19, "one in each round");
    bench.pass_with_upkeep(10 * SECOND);
    assert!((1..19).contains(&bench.look(pool).idle), "the others are spread over time");
    // In use, too: those that come back together do not all close at once.
    bench.pass(200 * SECOND);
    let leases: Vec<_> = (0..bench.look(pool).idle).map(|_| bench.take(pool, HERE)).collect();
    let placed: Vec<_> = leases.into_iter().map(|lease| bench.give(lease, HERE)).collect();
    let closed = placed.iter().filter(|placed| **placed != Placed::Idle).count();
    assert_eq!(closed, 1);
}

#[test]
fn no_server_retires_while_no_other_can_be_opened() {
    let options = PoolOptions { server_lifetime: Duration::from_secs(10), ..size(2) };
    let (mut bench, pool) = Bench::with(options);
    bench.fill(pool, 1, HERE);
    let lease = bench.take(pool, HERE);
    let waiter = bench.wait(pool, HERE);
    bench.fail_all("too many connections", Passing);
    bench.pass(20 * SECOND);
    assert_eq!(bench.give(lease, HERE), Placed::Handed);
    bench.served(waiter);
}

/// The shortest lifetime there is: no retirement waits for the one before it, and what nobody has
/// used yet is kept, or a pool with a minimum would open and close servers all the time.
#[test]
fn the_shortest_lifetime_uses_each_server_once() {
    let options = PoolOptions { server_lifetime: Duration::from_micros(1), ..size(3) };
    let (mut bench, pool) = Bench::with(options);
    bench.fill(pool, 3, HERE);
    bench.pass(SECOND);
    bench.upkeep();
    assert_eq!(bench.look(pool).idle, 3);
    let leases: Vec<_> = (0..3).map(|_| bench.take(pool, HERE)).collect();
    for lease in leases {
        assert_ne!(bench.give(lease, HERE), Placed::Idle);
    }
    assert_eq!(bench.look(pool).idle, 0);
}

#[test]
fn servers_are_closed_outside_of_the_core() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.fill(pool, 2, HERE);
    bench.core.remove_pool(pool, bench.now);
    let effects = bench.core.take_effects();
    assert_eq!(effects.closes.len(), 2, "they are handed out, not dropped under the lock");
    assert!(bench.core.snapshot(bench.now).is_empty(), "their slots are free already");
}

#[test]
fn a_pool_added_while_the_old_one_drains_is_another() {
    let (mut bench, old) = Bench::with(size(2));
    bench.fill(old, 2, HERE);
    let lease = bench.take(old, HERE);
    bench.core.remove_pool(old, bench.now);
    bench.run();
    assert_eq!(bench.closed, [(1, CloseReason::PoolRemoved)]);
    assert_eq!(bench.ask(old, Kind::Shared, HERE), Asked::Refused("removed"));
    let new = bench.add(key(1, 1), size(2));
    assert_ne!(new, old);
    assert_eq!(bench.core.find_pool(&key(1, 1)), Some(new));
    bench.fill(new, 1, HERE);
    assert!(matches!(bench.give(lease, HERE), Placed::Close(2, CloseReason::PoolRemoved)));
    assert_eq!(bench.core.pool_snapshot(old, bench.now), None);
    assert_eq!(bench.counts(new), [0, 1, 0, 0, 0]);
}

#[test]
fn a_removed_pool_refuses_all_who_wait() {
    let (mut bench, pool) = Bench::with(size(1));
    let waiter = bench.wait(pool, HERE);
    let dedicated = bench.wait_dedicated(pool);
    bench.core.set_options(pool, &size(3), bench.now);
    bench.run();
    assert_eq!(bench.openings.len(), 2);
    bench.core.remove_pool(pool, bench.now);
    bench.run();
    assert_eq!(bench.poll(waiter), Some(Asked::Refused("removed")));
    assert_eq!(bench.poll(dedicated), Some(Asked::Refused("removed")));
    for opening in mem::take(&mut bench.openings) {
        assert!(matches!(bench.open(opening), Placed::Close(_, CloseReason::PoolRemoved)));
    }
    assert!(bench.core.snapshot(bench.now).is_empty());
}

#[test]
fn each_pool_has_its_own_timeouts() {
    let mut bench = Bench::new();
    let second = Duration::from_secs(1);
    let short = PoolOptions { server_idle_timeout: second, ..size(2) };
    let (long, short) = (bench.add(key(1, 1), size(2)), bench.add(key(2, 1), short));
    bench.fill(long, 1, HERE);
    bench.fill(short, 1, HERE);
    bench.pass(2 * SECOND);
    bench.upkeep();
    assert_eq!((bench.look(long).idle, bench.look(short).idle), (1, 0));
}

#[test]
fn a_reconnect_replaces_every_server_of_the_old_address() {
    let (mut bench, pool) = Bench::with(size(4));
    bench.fill(pool, 2, HERE);
    let lease = bench.take(pool, HERE);
    let before = bench.core.checkout(pool, Kind::Dedicated, bench.at(HERE), &bench.waker());
    bench.run();
    let Checkout::Waiting(dedicated) = before else { panic!("a dedicated one waits") };
    bench.core.reconnect(pool, bench.now);
    bench.run();
    assert_eq!(bench.closed, [(1, CloseReason::Reconnect)]);
    let stale = bench.openings.remove(0);
    assert!(matches!(bench.open(stale), Placed::Close(_, CloseReason::Reconnect)));
    assert!(matches!(bench.give(lease, HERE), Placed::Close(2, CloseReason::Reconnect)));
    bench.open_all();
    bench.served(dedicated);
}

#[test]
fn a_dedicated_failure_is_told_to_its_waiter_alone() {
    let (mut bench, pool) = Bench::with(size(4));
    let dedicated = bench.wait_dedicated(pool);
    bench.fail_all("no pg_hba.conf entry for replication", Lasting);
    let refused = Asked::Refused("no pg_hba.conf entry for replication");
    assert_eq!(bench.poll(dedicated), Some(refused));
    bench.wait(pool, HERE);
    assert_eq!(bench.openings.len(), 1, "the pool itself is not in a pause");
}
