//! Pools that are held by clients which keep their servers.

use super::super::*;
use super::harness::*;

fn size(pool_size: u32) -> PoolOptions {
    PoolOptions { pool_size, ..PoolOptions::default() }
}

fn pin(bench: &mut Bench, lease: &Ready<u32>, reason: &'static str) {
    bench.core.set_pinned(lease.slot, Some(reason), bench.now);
    bench.run();
}

#[test]
fn a_pool_held_by_pinned_clients_says_so_when_somebody_begins_to_wait() {
    let (mut bench, pool) = Bench::with(size(4));
    bench.fill(pool, 4, HERE);
    let leases: Vec<_> = (0..4).map(|_| bench.take(pool, HERE)).collect();
    for (lease, reason) in leases.iter().zip(["LISTEN", "temporary table", "LISTEN", "LISTEN"]) {
        pin(&mut bench, lease, reason);
    }
    assert_eq!(bench.core.take_held(), [], "nobody waits");
    bench.wait(pool, HERE);
    let held = bench.core.take_held();
    let [(id, holders)] = &held[..] else { panic!("one pool: {held:?}") };
    assert!(*id == pool && holders.is_held());
    assert_eq!(holders.waiting, 1);
    let words = "4 of 4 servers are kept by their clients: 3 for LISTEN, 1 for temporary table";
    assert_eq!(holders.to_string(), words);
    bench.wait(pool, HERE);
    bench.pass_with_upkeep(30 * SECOND);
    assert_eq!(bench.core.take_held(), [], "not again within a minute");
    bench.pass_with_upkeep(31 * SECOND);
    assert_eq!(bench.core.take_held().len(), 1, "it still is");
}

#[test]
fn a_pool_is_held_when_the_last_free_client_pins_its_server_while_others_wait() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.fill(pool, 2, HERE);
    let (first, second) = (bench.take(pool, HERE), bench.take(pool, HERE));
    pin(&mut bench, &first, "LISTEN");
    bench.wait(pool, HERE);
    assert_eq!(bench.core.take_held(), []);
    pin(&mut bench, &second, "advisory lock");
    assert_eq!(bench.core.take_held().len(), 1);
}

#[test]
fn a_pin_ends_with_its_lease() {
    let (mut bench, pool) = Bench::with(size(2));
    bench.fill(pool, 2, HERE);
    let (first, second) = (bench.take(pool, HERE), bench.take(pool, HERE));
    pin(&mut bench, &first, "LISTEN");
    pin(&mut bench, &second, "LISTEN");
    pin(&mut bench, &second, "advisory lock");
    let slot = first.slot;
    bench.give(first, HERE);
    bench.core.set_pinned(slot, Some("too late"), bench.now);
    bench.run();
    let holders = bench.core.holders(pool).expect("the pool exists");
    assert_eq!(holders.reasons, [("advisory lock", 1)]);
    assert!(!holders.is_held());
    bench.discard(second.slot);
    assert_eq!(bench.core.holders(pool).expect("the pool exists").pinned, 0);
}
