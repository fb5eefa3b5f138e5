//! What every view of SHOW is made from: pools, counts, handles; and how moments and times are written.

use crate::admin::Value;
use crate::app::known_pools::PoolView;
use crate::app::pooler::Pooler;
use crate::config::Limit;
use crate::pool::{PoolId, PoolSnapshot};
use crate::session::client_handle::ClientHandle;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// One row of a view.
pub(in crate::app) type Row = Vec<Value>;

/// What PgBouncer calls the database of its console.
pub(super) const OWN: &str = "pgbouncer";

/// A limit; 0 is none.
pub(super) fn limit(limit: Limit) -> Value {
    Value::count(limit.map_or(0, std::num::NonZeroU32::get))
}

/// The pools, as the console shows them.
pub(super) fn views(pooler: &Pooler) -> Vec<PoolView> {
    pooler.routes.borrow().pools()
}

/// The counts of each pool.
pub(in crate::app) fn snapshots(pooler: &Pooler) -> HashMap<PoolId, PoolSnapshot> {
    pooler.common.pools.snapshot().into_iter().map(|one| (one.pool, one)).collect()
}

/// The clients of databases; those of the console are not among them.
pub(in crate::app) fn handles(pooler: &Pooler) -> Vec<Arc<ClientHandle>> {
    let mut all = pooler.common.clients.list();
    all.retain(|handle| handle.info.route.is_some());
    all
}

/// How many clients the console has.
pub(super) fn console_clients(pooler: &Pooler) -> usize {
    pooler.common.clients.len().saturating_sub(handles(pooler).len())
}

/// A moment, as PgBouncer writes moments: in the time zone of the system.
pub(super) fn moment(time: SystemTime) -> String {
    moment_in(time, TimeZone::system())
}

fn moment_in(time: SystemTime, zone: TimeZone) -> String {
    let moment = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Microseconds, as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds to be read by people")]
pub(super) fn millis(micros: u64) -> Value {
    Value::Float(micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_calendar_days() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(moment_in(time, TimeZone::UTC), text);
        }
    }
}
