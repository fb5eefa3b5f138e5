//! The periodic line of figures.

use crate::metrics::Totals;
use crate::pool::PoolId;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// What each database did in the last whole period.
#[derive(Debug, Default)]
pub(super) struct Period {
    /// How long it was.
    pub length: Duration,
    /// By database.
    pub databases: HashMap<String, Totals>,
    /// By pool.
    pub pools: HashMap<PoolId, Totals>,
    at_end: (HashMap<String, Totals>, HashMap<PoolId, Totals>),
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
    /// A period of this length ends, with these totals by database and by pool.
    pub(super) fn end(
        &mut self,
        length: Duration,
        totals: (HashMap<String, Totals>, HashMap<PoolId, Totals>),
    ) {
        self.length = length;
        self.databases = differences(&totals.0, &self.at_end.0);
        self.pools = differences(&totals.1, &self.at_end.1);
        self.at_end = totals;
    }
}

/// Logs what happened in a period, per second.
pub(super) fn log(happened: &Totals, period: Duration) {
    let seconds = period.as_secs().max(1);
    tracing::info!(
        "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, \
         {} client logins/s, in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
        happened.transaction.count() / seconds,
        happened.query.count() / seconds,
        happened.client_parses / seconds,
        happened.server_parses / seconds,
        happened.binds / seconds,
        happened.logins / seconds,
        happened.received / seconds,
        happened.sent / seconds,
        happened.transaction.mean(),
        happened.query.mean(),
        happened.wait.mean(),
    );
}
