//! What SHOW shows of statements and events.

use super::inputs::{Row, millis, moment};
use crate::admin::Value;
use crate::app::pooler::Pooler;
use crate::metrics::{Event, QueryTotals};

/// SHOW QUERIES.
pub(super) fn queries(pooler: &Pooler) -> Vec<Row> {
    let row = |one: QueryTotals| {
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
    pooler.common.queries.totals().into_iter().map(row).collect()
}

/// SHOW EVENTS.
pub(super) fn events(pooler: &Pooler) -> Vec<Row> {
    let row = |event: Event| {
        vec![
            moment(event.time).into(),
            event.level.into(),
            event.kind.as_str().into(),
            Value::count(event.count),
            event.database.into(),
            event.user.into(),
            event.message.into(),
        ]
    };
    pooler.common.events.list().into_iter().map(row).collect()
}
