//! What SHOW ADVICE shows: what could go to replicas, what cannot, and what to do about it.

use super::inputs::{Row, millis};
use crate::admin::Value;
use crate::app::pooler::Pooler;
use crate::routing::Reason;
use crate::session::advice::{Advised, Counted, Sum};
use crate::session::decision::Decision;

/// Statements of each database that are named.
const NAMED: usize = 10;

/// SHOW ADVICE; `by_calls`: the most frequent statements in the place of those that took longest.
pub(super) fn rows(pooler: &Pooler, by_calls: bool) -> Vec<Row> {
    let routes = pooler.routes.borrow();
    let mut databases: Vec<(&str, Counted)> = routes.advice().collect();
    databases.sort_unstable_by_key(|(database, _)| *database);
    let advised =
        databases.into_iter().flat_map(|(database, counted)| of(database, counted, by_calls));
    let distrusted = routes.distrusted().flat_map(|(database, names)| {
        names.iter().map(move |name| distrusted(database, &String::from_utf8_lossy(name)))
    });
    advised.chain(distrusted).collect()
}

/// A function or relation that the self-check has kept off the replicas.
fn distrusted(database: &str, name: &str) -> Row {
    let decision = Decision::Primary(Reason::Distrusted);
    let mut row: Row = vec![database.into(), decision.target().into(), decision.word().into()];
    row.extend(std::iter::repeat_n(Value::Null, 5));
    row.extend([name.into(), Value::maybe(decision.remedy())]);
    row
}

fn of(database: &str, counted: Counted, by_calls: bool) -> Vec<Row> {
    let Counted { reads, mut statements, mut others } = counted;
    let all = |sum: fn(&Sum) -> u128| {
        let listed: u128 = statements.iter().map(|one| sum(&one.sum)).sum();
        listed + sum(&reads) + sum(&others)
    };
    let (calls, time) = (all(|sum| u128::from(sum.calls)), all(|sum| sum.time.as_micros()));
    if calls == 0 {
        return Vec::new();
    }
    if by_calls {
        statements.sort_by_key(|one| std::cmp::Reverse(one.sum.calls));
    }
    for one in statements.iter().skip(NAMED) {
        others.calls += one.sum.calls;
        others.time = others.time.saturating_add(one.sum.time);
    }
    statements.truncate(NAMED);
    let row = |target: &str, decision: Option<Decision>, sum: Sum| -> Row {
        vec![
            database.into(),
            target.into(),
            Value::maybe(decision.map(Decision::word)),
            Value::count(sum.calls),
            percent(u128::from(sum.calls), calls),
            millis(u64::try_from(sum.time.as_micros()).unwrap_or(u64::MAX)),
            percent(sum.time.as_micros(), time),
        ]
    };
    let statement = |one: &Advised| -> Row {
        let mut row = row("primary", Some(one.decision), one.sum);
        row.push(format!("{:016x}", one.fingerprint).into());
        row.push((&*one.text).into());
        row.push(Value::maybe(one.decision.remedy()));
        row
    };
    let mut rows = Vec::new();
    let total = |target: &str, decision, sum, what: &str, remedy| {
        let mut row = row(target, decision, sum);
        row.extend([Value::Null, what.into(), Value::maybe(remedy)]);
        row
    };
    let advised = Decision::Advised;
    rows.push(total("replica", Some(advised), reads, "(all reads)", advised.remedy()));
    rows.extend(statements.iter().map(statement));
    if others.calls > 0 {
        rows.push(total("primary", None, others, "(all other statements)", None));
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "a share to be read by people")]
fn percent(part: u128, whole: u128) -> Value {
    let share = if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    Value::Float((share * 10_000.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ten_statements_are_named_and_the_rest_is_one_row() {
        let sum = |calls, millis| Sum { calls, time: Duration::from_millis(millis) };
        let statement = |number: u64| Advised {
            fingerprint: number,
            text: format!("select {number}").into(),
            decision: Decision::Primary(Reason::Lock),
            sum: sum(number, 100 - number),
        };
        let counted = Counted {
            reads: sum(34, 100),
            statements: (0..12).map(statement).collect(),
            others: sum(0, 0),
        };
        let rows = of("app", counted.clone(), false);
        assert_eq!(rows.len(), 12);
        assert_eq!(
            rows[0][1..5],
            ["replica".into(), "advise".into(), Value::count(34), Value::Float(34.0)]
        );
        assert_eq!(rows[1][8], "select 0".into());
        assert_eq!(rows[11][3], Value::count(21), "the two that took least");
        let rows = of("app", counted, true);
        assert_eq!((&rows[1][8], &rows[11][3]), (&"select 11".into(), &Value::count(1)));
        assert!(rows[1][9] != Value::Null, "what to do about a lock");
        assert_eq!(of("app", Counted::default(), false), Vec::<Row>::new());
    }
}
