//! The periodic line of figures.

use crate::metrics::Totals;
use std::time::Duration;

/// Logs what happened in a period, per second.
pub(super) fn log(happened: &Totals, period: Duration) {
    let seconds = period.as_secs().max(1);
    tracing::info!(
        "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, \
         in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
        happened.transaction.count() / seconds,
        happened.query.count() / seconds,
        happened.client_parses / seconds,
        happened.server_parses / seconds,
        happened.binds / seconds,
        happened.received / seconds,
        happened.sent / seconds,
        happened.transaction.mean(),
        happened.query.mean(),
        happened.wait.mean(),
    );
}
