//! The process's figures, summed over its workers.

use crate::session::worker::Figures;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Sums since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    queries: u64,
    transactions: u64,
    received: u64,
    sent: u64,
}

impl Totals {
    /// The sums of these workers.
    pub(super) fn of<'a>(workers: impl Iterator<Item = &'a Figures>) -> Self {
        workers.fold(Self::default(), |sum, figures| Self {
            queries: sum.queries + figures.queries.load(Ordering::Relaxed),
            transactions: sum.transactions + figures.transactions.load(Ordering::Relaxed),
            received: sum.received + figures.received.load(Ordering::Relaxed),
            sent: sum.sent + figures.sent.load(Ordering::Relaxed),
        })
    }

    /// Logs what happened in the period since `before`, per second.
    pub(super) fn log_since(&self, before: &Self, period: Duration) {
        let seconds = period.as_secs().max(1);
        tracing::info!(
            "stats: {} xacts/s, {} queries/s, client in {} B/s, client out {} B/s",
            (self.transactions - before.transactions) / seconds,
            (self.queries - before.queries) / seconds,
            (self.received - before.received) / seconds,
            (self.sent - before.sent) / seconds,
        );
    }
}
