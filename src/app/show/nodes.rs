//! What SHOW shows of nodes and fail-overs.

use super::inputs::{Row, millis, moment};
use crate::admin::Value;
use crate::app::pooler::Pooler;
use crate::app::probes::{Watched, wall_time};
use crate::cluster::failover::{Account, Loss};
use crate::cluster::health::Condition;
use crate::cluster::held_up::HeldUp;
use crate::cluster::roles::Standing;
use crate::cluster::shared::{NodeView, now};
use crate::cluster::survey::NodeState;
use crate::cluster::{Moment, NodeId};
use crate::session::decision::Decision;
use crate::sql;
use std::time::Duration;

/// Bytes of a read that are shown.
const HELD_UP_MAX: usize = 200;

/// One node of one cluster, for the console and for `/metrics`.
pub(in crate::app) struct Node {
    /// The databases that have it.
    pub(in crate::app) databases: String,
    /// Where it is.
    pub(in crate::app) name: String,
    /// `primary`, `replica`, …
    pub(in crate::app) role: &'static str,
    /// `up`, `down`, …
    pub(in crate::app) state: &'static str,
    /// How far behind, in bytes of the log.
    pub(in crate::app) lag_bytes: Option<u64>,
    /// How far behind, in time.
    pub(in crate::app) lag_time: Option<Duration>,
    /// What sessions see of it.
    pub(in crate::app) view: NodeView,
    /// What it runs for us.
    pub(in crate::app) outstanding: u32,
    /// How many reads it has got as a replica.
    pub(in crate::app) reads: u64,
}

fn role(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::Primary => "primary",
        Standing::Replica => "replica",
        Standing::Fenced => "fenced",
        Standing::Refused => "refused",
    }
}

fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Untried => "untried",
        Condition::Up => "up",
        Condition::Suspect => "suspect",
        Condition::Down => "down",
        Condition::Starting => "starting",
        Condition::Refused(_) => "refused",
    }
}

/// Every node, and what else a row of SHOW NODES has.
fn all<T>(pooler: &Pooler, with: impl Fn(&Watched, NodeId, &NodeState<'_>, Node) -> T) -> Vec<T> {
    let current = pooler.current();
    let mut found = Vec::new();
    for watched in pooler.probes.list() {
        let databases = watched.databases(&current.config).join(",");
        if databases.is_empty() {
            // Only sessions have it that began before the list was changed.
            continue;
        }
        let (view, survey) = (watched.cluster.view(), watched.survey.borrow());
        for (node, view) in (0..).map(NodeId).zip(&view.nodes) {
            let Some(state) = survey.state(node, now()) else { continue };
            let one = Node {
                databases: databases.clone(),
                name: watched.name(node),
                role: role(state.standing),
                state: condition(state.condition),
                lag_bytes: state.lag.and_then(|lag| lag.bytes),
                lag_time: state.lag.and_then(|lag| lag.time),
                view: view.clone(),
                outstanding: watched.cluster.outstanding(node),
                reads: watched.cluster.reads(node),
            };
            found.push(with(&watched, node, &state, one));
        }
    }
    found
}

/// The nodes, for figures.
pub(in crate::app) fn nodes(pooler: &Pooler) -> Vec<Node> {
    all(pooler, |_, _, _, node| node)
}

fn time(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| {
        millis(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    })
}

/// Who it is, and the normal form of what it runs.
fn held_up(read: &HeldUp) -> String {
    let mut normal = Vec::new();
    sql::normalise(&read.query, true, &mut normal);
    let text = sql::readable(normal.get(..HELD_UP_MAX).unwrap_or(&normal));
    format!("{read}: {text}")
}

/// SHOW NODES.
pub(super) fn rows(pooler: &Pooler) -> Vec<Row> {
    all(pooler, |watched, id, state, node| {
        let error = watched.last_error(id);
        let differences: Vec<String> = state.differences.iter().map(ToString::to_string).collect();
        let horizon = state.horizon.and_then(|horizon| horizon.insert);
        vec![
            node.databases.into(),
            node.name.into(),
            node.role.into(),
            node.state.into(),
            moment(wall_time(state.since)).into(),
            node.lag_bytes.map_or(Value::Null, Value::count),
            time(node.lag_time),
            time(horizon.map(|horizon| now().since(horizon))),
            node.view.may_read.into(),
            node.view.is_near.into(),
            Value::count(node.view.weight),
            Value::Float(f64::from(node.view.share) / 1000.0),
            Value::count(node.outstanding),
            Value::count(node.reads),
            node.view.is_suspect.into(),
            Value::maybe(error.as_ref().map(|error| error.text.as_str())),
            Value::maybe(error.map(|error| moment(error.at))),
            Value::maybe(Some(differences.join("; ")).filter(|text| !text.is_empty())),
            Value::maybe(watched.held_up(id).map(|read| held_up(&read))),
        ]
    })
}

/// Where units went, and why: what has happened at all, by database.
pub(in crate::app) fn decisions(pooler: &Pooler) -> Vec<(String, Decision, u64)> {
    let routes = pooler.routes.borrow();
    let mut databases: Vec<_> = routes.decisions().collect();
    databases.sort_unstable();
    let counted = databases.iter().flat_map(|(database, totals)| {
        let counted = Decision::all().zip(totals).filter(|(_, count)| **count > 0);
        counted.map(move |(decision, count)| ((*database).to_owned(), decision, *count))
    });
    counted.collect()
}

/// SHOW ROUTES.
pub(super) fn routes(pooler: &Pooler) -> Vec<Row> {
    let row = |(database, decision, count): (String, Decision, u64)| {
        vec![
            database.into(),
            decision.target().into(),
            decision.word().into(),
            Value::count(count),
            decision.explanation().into(),
            Value::maybe(decision.remedy()),
        ]
    };
    decisions(pooler).into_iter().map(row).collect()
}

/// SHOW FAILOVERS.
pub(super) fn failovers(pooler: &Pooler) -> Vec<Row> {
    let current = pooler.current();
    let mut rows = Vec::new();
    for watched in pooler.probes.list() {
        let databases = watched.databases(&current.config).join(",");
        let survey = watched.survey.borrow();
        let accounts = survey.failovers().accounts();
        rows.extend(accounts.map(|account| failover(&watched, &databases, account)));
    }
    rows
}

fn failover(watched: &Watched, databases: &str, account: &Account) -> Row {
    let at = |at: Option<Moment>| Value::maybe(at.map(|at| moment(wall_time(at))));
    let (after, until, bytes) = match account.loss {
        Loss::Possible { after, until, bytes } => (after, Some(until), Value::count(bytes)),
        Loss::Unknown | Loss::Nothing(_) => (None, None, Value::Null),
    };
    let statements = account.statements;
    vec![
        databases.into(),
        at(Some(account.began)),
        at(account.ended),
        time(Some(account.gap(now()))),
        watched.name(account.from.0).into(),
        Value::count(account.from.1),
        Value::maybe(account.to.map(|(node, _)| watched.name(node))),
        account.to.map_or(Value::Null, |(_, timeline)| Value::count(timeline)),
        Value::maybe(account.switch.map(|lsn| lsn.to_string())),
        Value::count(statements.failed),
        Value::count(statements.waited),
        Value::count(statements.repeated),
        Value::count(statements.in_doubt),
        account.loss.to_string().into(),
        at(after),
        at(until),
        bytes,
    ]
}
