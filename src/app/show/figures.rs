//! Statistics, latency and capacity: from what the workers count.

use super::inputs::{Row, millis, views};
use crate::admin::{Load, Value};
use crate::app::known_pools::PoolView;
use crate::app::pooler::Pooler;
use crate::app::stats_periods::per_second;
use crate::metrics::{Distribution, Totals};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// A row for each database, from its totals and those of the last period.
pub(super) fn stats(
    pooler: &Pooler,
    row: impl Fn(&str, &Totals, (&Totals, Duration)) -> Row,
) -> Vec<Row> {
    let totals: BTreeMap<_, _> = pooler.routes.borrow().known().by_database().into_iter().collect();
    let (period, none) = (pooler.period.borrow(), Totals::default());
    let one = |(name, all): (&String, &Totals)| {
        row(name, all, (period.databases.get(name).unwrap_or(&none), period.length))
    };
    totals.iter().map(one).collect()
}

pub(super) fn totals(all: &Totals) -> [Value; 12] {
    [
        all.assignments,
        all.transaction.count(),
        all.query.count(),
        all.received,
        all.sent,
        all.transaction.sum,
        all.query.sum,
        all.wait.sum,
        all.client_parses,
        all.server_parses,
        all.binds,
        all.logins,
    ]
    .map(Value::count)
}

pub(super) fn averages((happened, period): (&Totals, Duration)) -> [Value; 12] {
    let rate = |count| per_second(count, period);
    [
        rate(happened.assignments),
        rate(happened.transaction.count()),
        rate(happened.query.count()),
        rate(happened.received),
        rate(happened.sent),
        happened.transaction.mean(),
        happened.query.mean(),
        happened.wait.mean(),
        rate(happened.client_parses),
        rate(happened.server_parses),
        rate(happened.binds),
        rate(happened.logins),
    ]
    .map(Value::count)
}

pub(super) fn all_totals(pooler: &Pooler) -> Vec<Row> {
    const NAMES: [&str; 12] = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_bytes",
        "server_bytes",
        "xact_time",
        "query_time",
        "wait_time",
        "ps_client_parse_count",
        "ps_server_parse_count",
        "ps_bind_count",
        "client_login_count",
    ];
    let all = pooler.routes.borrow().totals();
    let period = pooler.period.borrow();
    let mut happened = Totals::default();
    period.databases.values().for_each(|one| happened.merge(one));
    let averages = averages((&happened, period.length));
    let total =
        NAMES.iter().zip(totals(&all)).map(|(name, value)| (format!("total_{name}"), value));
    let average = NAMES.iter().zip(averages).map(|(name, value)| (format!("avg_{name}"), value));
    total.chain(average).map(|(name, value)| vec![name.into(), value]).collect()
}

pub(super) fn latency(pooler: &Pooler) -> Vec<Row> {
    let of = |view: &PoolView| {
        let row = |(what, all): (&str, &Distribution)| {
            vec![
                view.database.as_str().into(),
                view.user.as_str().into(),
                what.into(),
                Value::count(all.count()),
                millis(all.quantile(500)),
                millis(all.quantile(950)),
                millis(all.quantile(990)),
                millis(all.max),
            ]
        };
        let Totals { wait, query, transaction, .. } = &view.totals;
        [("wait", wait), ("query", query), ("transaction", transaction)].map(row)
    };
    views(pooler).iter().flat_map(of).collect()
}

/// Longest p99 of waits that a recommended size allows, in seconds.
const TARGET: f64 = 0.001;

#[expect(clippy::cast_precision_loss, reason = "rates and times to be read by people")]
pub(super) fn capacity(pooler: &Pooler) -> Vec<Row> {
    let period = pooler.period.borrow();
    let seconds = period.length.as_secs_f64();
    let row = |view: PoolView| {
        let happened = period.of_pool(view.pool)?;
        let size = view.options.pool_size.map_or(u32::MAX, NonZeroU32::get);
        let held = period.held.get(&view.pool).copied().unwrap_or(0) as f64 / 1e6;
        let load =
            Load { arrivals: happened.assignments as f64 / seconds, offered: held / seconds };
        let predicted = |quantile| Value::Float(load.wait(size, quantile) * 1000.0);
        Some(vec![
            view.database.into(),
            view.user.into(),
            Value::Float(load.arrivals),
            load.service().map_or(Value::Null, |service| Value::Float(service * 1000.0)),
            Value::Float(load.offered),
            Value::count(view.options.pool_size.map_or(0, NonZeroU32::get)),
            Value::Float(load.utilisation(size)),
            millis(happened.wait.quantile(500)),
            millis(happened.wait.quantile(990)),
            predicted(0.5),
            predicted(0.99),
            Value::count(load.size_for(TARGET)),
        ])
    };
    views(pooler).into_iter().filter_map(row).collect()
}
