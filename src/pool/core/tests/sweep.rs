//! Idle servers that have something to say.

use super::super::*;
use super::harness::{Asked, Bench, HERE, SECOND, THERE};

fn options(pool_size: u32, min_pool_size: u32) -> PoolOptions {
    PoolOptions { pool_size, min_pool_size, keep_warm: true, ..PoolOptions::default() }
}

/// One whole sweep in which these servers have spoken: those that were taken out.
fn sweep(bench: &mut Bench, spoken: impl Fn(u32) -> bool) -> Vec<Ready<u32>> {
    let calls = bench.core.calls_per_sweep();
    let now = bench.now;
    let all = (0..calls).flat_map(|_| bench.core.suspects(now, |&server| spoken(server)));
    let all = all.collect();
    bench.run();
    all
}

#[test]
fn only_those_that_have_rested_and_spoken_are_taken_out() {
    let (mut bench, pool) = Bench::with(options(200, 0));
    bench.fill(pool, 100, HERE);
    assert_eq!(sweep(&mut bench, |_| true), [], "they have just come back");
    bench.pass(SECOND);
    let used = bench.take(pool, HERE);
    bench.give(used, HERE);
    let busy = bench.take(pool, HERE);
    assert_eq!(sweep(&mut bench, |_| false), []);
    let suspects = sweep(&mut bench, |server| server % 2 == 0);
    let expected = (1..=100).filter(|server| server % 2 == 0 && *server != busy.server).count();
    assert_eq!(suspects.len(), expected);
    assert_eq!(bench.look(pool).leased as usize, suspects.len() + 1);
    assert_eq!(sweep(&mut bench, |server| server % 2 == 0), [], "nobody looks at one twice");
    for suspect in suspects {
        assert_eq!(suspect.was_home, HERE);
        assert_eq!(bench.give(suspect, HERE), Placed::Idle);
    }
    bench.give(busy, HERE);
    assert_eq!(bench.counts(pool), [0, 100, 0, 0, 0]);
}

#[test]
fn a_server_that_has_died_is_replaced() {
    let (mut bench, pool) = Bench::with(options(5, 2));
    bench.fill(pool, 2, THERE);
    bench.pass(SECOND);
    let mut suspects = sweep(&mut bench, |server| server == 1);
    assert_eq!(suspects.len(), 1);
    bench.discard(suspects.remove(0).slot);
    assert_eq!(bench.counts(pool), [0, 1, 0, 0, 0]);
    bench.upkeep();
    bench.open_all();
    assert_eq!(bench.counts(pool), [0, 2, 0, 0, 0]);
}

#[test]
fn who_asks_meanwhile_gets_it_when_it_has_been_looked_at() {
    let (mut bench, pool) = Bench::with(options(1, 0));
    bench.fill(pool, 1, HERE);
    bench.pass(SECOND);
    let suspect = sweep(&mut bench, |_| true).remove(0);
    let waiter = bench.wait(pool, THERE);
    assert!(bench.openings.is_empty());
    assert_eq!(bench.give(suspect, HERE), Placed::Handed);
    assert!(matches!(bench.poll(waiter), Some(Asked::Ready(_))));
}
