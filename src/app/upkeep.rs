//! Periodic work: upkeep of the pools, and the end of each period of figures.

use super::pooler::Pooler;
use super::stats_periods;
use crate::metrics::{EventKind, Totals};
use crate::pool::{Holders, PoolId};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior};

/// How often pools are looked after.
const UPKEEP: Duration = Duration::from_millis(100);
/// So many in a second.
const UPKEEPS_A_SECOND: u64 = 10;

/// Looks after pools and routes.
pub(super) async fn maintain(pooler: Rc<Pooler>) {
    let pools = &pooler.common.pools;
    let mut tick = tokio::time::interval(UPKEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for round in 0u64.. {
        tick.tick().await;
        if round % UPKEEPS_A_SECOND == 0 {
            let current = pooler.current();
            pooler.routes.borrow_mut().forget_unused(&current.config, Instant::now());
            pooler.probes.prune(&current.config);
        }
        // First, so that the servers that are missing are opened at once.
        unconstrained(async { pools.sweep() }).await;
        pools.upkeep();
        for (pool, holders) in pools.take_held() {
            log_held_pool(&pooler, pool, &holders);
        }
    }
}

/// Clients wait, and every server of the pool is kept by another one.
fn log_held_pool(pooler: &Pooler, pool: PoolId, holders: &Holders) {
    let routes = pooler.routes.borrow();
    let Some((database, user)) = routes.names(pool) else { return };
    let waiting = holders.waiting;
    let said = format!("{waiting} client(s) wait for a server, and {holders}");
    tracing::warn!(user, database, waiting, "{said}");
    pooler.record_event(("warn", EventKind::Limit), (database, user), &said);
}

/// The periodic line of figures.
pub(super) async fn report(pooler: Rc<Pooler>) {
    let period = pooler.current().config.log.stats_period;
    if period.is_zero() {
        return;
    }
    let mut tick = tokio::time::interval(period);
    tick.tick().await;
    // A late end is not made up for by a short period.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut began) = (Totals::default(), pooler.common.pools.now());
    loop {
        tick.tick().await;
        let now = pooler.routes.borrow().totals();
        let (ends, held) = pooler.common.pools.held();
        let length = Duration::from_micros(ends.since(began));
        let routes = pooler.routes.borrow();
        let database = |pool| routes.names(pool).map(|(database, _)| database);
        pooler.period.borrow_mut().end(length, routes.known().by_pool(), database, held);
        drop(routes);
        if pooler.current().config.log.log_stats {
            stats_periods::log(&now.since(&before), length);
        }
        (before, began) = (now, ends);
    }
}
