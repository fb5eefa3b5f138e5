//! What SHOW shows of statements.

use super::super::door::Door;
use super::shown::millis;
use crate::admin::Value;

/// SHOW QUERIES.
pub(super) fn queries(door: &Door) -> Vec<Vec<Value>> {
    let row = |one: crate::metrics::QueryTotals| {
        vec![
            one.database.into(),
            format!("{:016x}", one.fingerprint).into(),
            Value::count(one.calls),
            Value::count(one.rows),
            Value::count(one.bytes),
            Value::count(one.errors),
            millis(one.time.sum),
            millis(one.time.quantile(500)),
            millis(one.time.quantile(950)),
            millis(one.time.quantile(990)),
            millis(one.time.max),
            millis(one.waited),
            one.text.into(),
        ]
    };
    door.common.queries.totals().into_iter().map(row).collect()
}
