//! The periodic line of figures.

use crate::metrics::Totals;
use crate::pool::PoolId;
use std::collections::HashMap;
use std::time::Duration;

/// What each database and pool did in the last whole period. One that did nothing costs what it had
/// done before.
#[derive(Debug, Default)]
pub(super) struct Period {
    /// How long it really was: who measures is not always there in time.
    pub length: Duration,
    /// By database; of those that did something.
    pub databases: HashMap<String, Totals>,
    /// By pool; of those that did something.
    pools: HashMap<PoolId, Totals>,
    /// Microseconds that servers of each pool were out, all together.
    pub held: HashMap<PoolId, u64>,
    at_end: HashMap<PoolId, Box<Totals>>,
    none: Totals,
    held_at_end: HashMap<PoolId, u64>,
}

impl Period {
    /// What a pool did, if it was there at the end of the period.
    pub(super) fn of_pool(&self, pool: PoolId) -> Option<&Totals> {
        let did_nothing = || self.at_end.contains_key(&pool).then_some(&self.none);
        self.pools.get(&pool).or_else(did_nothing)
    }

    /// A period of this length ends, with these totals of all pools, and servers of each pool were out
    /// for so long since it was added. `database`: the one that the clients of a pool ask for.
    pub(super) fn end<'a>(
        &mut self,
        length: Duration,
        totals: impl Iterator<Item = (PoolId, Totals)>,
        database: impl Fn(PoolId) -> Option<&'a str>,
        held: HashMap<PoolId, u64>,
    ) {
        self.length = length;
        self.databases = HashMap::new();
        self.pools = HashMap::new();
        let mut before = std::mem::take(&mut self.at_end);
        for (pool, now) in totals {
            let earlier = before.remove(&pool);
            let happened = now.since(earlier.as_deref().unwrap_or(&self.none));
            match earlier {
                Some(earlier) if happened.is_silent() => _ = self.at_end.insert(pool, earlier),
                Some(_) | None => _ = self.at_end.insert(pool, Box::new(now)),
            }
            if happened.is_silent() {
                continue;
            }
            if let Some(name) = database(pool) {
                self.databases.entry(name.to_owned()).or_default().merge(&happened);
            }
            self.pools.insert(pool, happened);
        }
        let before = |pool| self.held_at_end.get(pool).copied().unwrap_or(0);
        self.held =
            held.iter().map(|(pool, now)| (*pool, now.saturating_sub(before(pool)))).collect();
        self.held_at_end = held;
    }
}

/// How often a second something happened that happened so often in a period, to the nearest.
pub(super) fn per_second(count: u64, period: Duration) -> u64 {
    let micros = period.as_micros().max(1);
    u64::try_from((u128::from(count) * 1_000_000 + micros / 2) / micros).unwrap_or(u64::MAX)
}

/// Logs what happened in a period, per second.
pub(super) fn log(happened: &Totals, period: Duration) {
    let rate = |count| per_second(count, period);
    tracing::info!(
        "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, \
         {} client logins/s, in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
        rate(happened.transaction.count()),
        rate(happened.query.count()),
        rate(happened.client_parses),
        rate(happened.server_parses),
        rate(happened.binds),
        rate(happened.logins),
        rate(happened.received),
        rate(happened.sent),
        happened.transaction.mean(),
        happened.query.mean(),
        happened.wait.mean(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_did_nothing_in_a_period_is_known_and_costs_nothing_more() {
        let mut core = crate::pool::core::Core::<(), ()>::new(1, 7);
        let mut id = |number| {
            let key = crate::pool::PoolKey {
                database: crate::pool::DatabaseId(number),
                node: crate::pool::NodeId(0),
                user: crate::pool::UserId(0),
            };
            core.add_pool(key, &crate::pool::PoolOptions::default(), Default::default())
        };
        let (busy, idle) = (id(0), id(1));
        let did = |binds| Totals { binds, ..Totals::default() };
        let mut period = Period::default();
        for round in 1..3 {
            let totals = [(busy, did(5 * round)), (idle, did(2))];
            let one = Duration::from_secs(1);
            period.end(one, totals.into_iter(), |_| Some("app"), HashMap::new());
        }
        assert_eq!(period.of_pool(busy), Some(&did(5)));
        assert_eq!(period.of_pool(idle), Some(&did(0)));
        assert_eq!(period.databases.get("app"), Some(&did(5)));
        assert_eq!((period.pools.len(), period.at_end.len()), (1, 2));
        period.end(Duration::ZERO, [].into_iter(), |_| Some("app"), HashMap::new());
        assert_eq!((period.of_pool(busy), period.at_end.len()), (None, 0), "forgotten");
    }

    #[test]
    fn rates_are_of_the_time_that_has_passed() {
        let late = Duration::from_micros(1_250_000);
        for (count, period, rate) in [
            (600, Duration::from_micros(60_000_400), 10),
            (100, late, 80),
            (0, late, 0),
            (u64::MAX, Duration::from_secs(1), u64::MAX),
            (5, Duration::ZERO, 5_000_000),
        ] {
            assert_eq!(per_second(count, period), rate, "{count} in {period:?}");
        }
    }
}
