//! The periodic line of figures.

use crate::metrics::Totals;
use crate::pool::PoolId;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// What each database did in the last whole period.
#[derive(Debug, Default)]
pub(super) struct Period {
    /// How long it really was: who measures is not always there in time.
    pub length: Duration,
    /// By database.
    pub databases: HashMap<String, Totals>,
    /// By pool.
    pub pools: HashMap<PoolId, Totals>,
    /// Microseconds that servers of each pool were out, all together.
    pub held: HashMap<PoolId, u64>,
    at_end: (HashMap<String, Totals>, HashMap<PoolId, Totals>),
    held_at_end: HashMap<PoolId, u64>,
}

/// What happened to each since it was `before`.
fn differences<K: Clone + Eq + Hash>(
    now: &HashMap<K, Totals>,
    before: &HashMap<K, Totals>,
) -> HashMap<K, Totals> {
    let none = Totals::default();
    let since =
        |(key, now): (&K, &Totals)| (key.clone(), now.since(before.get(key).unwrap_or(&none)));
    now.iter().map(since).collect()
}

impl Period {
    /// A period of this length ends, with these totals by database and by pool, and servers of each
    /// pool were out for so long since it was added.
    pub(super) fn end(
        &mut self,
        length: Duration,
        totals: (HashMap<String, Totals>, HashMap<PoolId, Totals>),
        held: HashMap<PoolId, u64>,
    ) {
        self.length = length;
        self.databases = differences(&totals.0, &self.at_end.0);
        self.pools = differences(&totals.1, &self.at_end.1);
        self.at_end = totals;
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
