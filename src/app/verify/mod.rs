//! The self-check: a share of the reads that replicas have answered is run again on both, at the same state of
//! the data, and compared.
//!
//! Owns the order of the questions, and what is done about a difference: the functions that the read names are
//! kept off the replicas until a reload, and reported. One check at a time, over two connections of its own, in
//! READ ONLY transactions, with a pause behind it that is many times as long as it took. A read is accused only if
//! the primary has answered alike before and behind the replica, and the replica otherwise, three times.

mod compare;
mod link;
mod names;

use self::compare::{Finding, compare};
use self::link::{Link, Trouble};
use self::names::named;
use super::pooler::Pooler;
use crate::cluster::NodeId;
use crate::cluster::lsn::{Lsn, WalLayout};
use crate::metrics::EventKind;
use crate::metrics::counted::{self, ReadCheck};
use crate::session::checks::{Checks, Sample};
use crate::session::route::Route;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Differences in a row before a read is accused.
const ATTEMPTS: u32 = 3;
/// Longest check, and longest wait for the replica in it.
const CHECK_MAX: Duration = Duration::from_secs(30);
const REPLAY_MAX: Duration = Duration::from_secs(3);
/// How often the replica is asked how far it is.
const LOOK: Duration = Duration::from_millis(5);
/// Between two attempts: what is visible on one node and about to be on the other has time to be so.
const BETWEEN: Duration = Duration::from_millis(150);
/// Pause behind a check: at least so long, and so many times as long as it took.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_TIMES: u32 = 10;
/// The same where a node could not be asked.
const PAUSE_FAILED: Duration = Duration::from_secs(5);

/// Compares one sample after the other, for ever.
pub(super) async fn verify_reads(pooler: Rc<Pooler>, checks: Arc<Checks>) {
    loop {
        let sample = checks.next().await;
        let begun = Instant::now();
        let outcome = verify(&pooler, &sample).await;
        counted::read_check(outcome);
        let (database, word) = (&*sample.names.0, outcome.as_str());
        tracing::debug!(database, "a read was compared with the primary: {word}");
        let least = if outcome == ReadCheck::Failed { PAUSE_FAILED } else { PAUSE_MIN };
        sleep((begun.elapsed() * PAUSE_TIMES).max(least)).await;
        checks.done();
    }
}

async fn verify(pooler: &Rc<Pooler>, sample: &Sample) -> ReadCheck {
    let (database, user) = (&*sample.names.0, &*sample.names.1);
    let route = pooler.routes.borrow().route(database, user);
    let snapshot = route.as_ref().and_then(|route| route.catalog.snapshot());
    let Some((route, snapshot)) = route.zip(snapshot) else { return ReadCheck::Skipped };
    if pooler.is_suspended() || pooler.routes.borrow().is_paused(database) {
        return ReadCheck::Skipped;
    }
    let rules = Arc::clone(&route.options().0.routing.rules);
    let Some(names) = named(&sample.texts, rules.policy(), &snapshot) else {
        return ReadCheck::Skipped;
    };
    let checked = timeout(CHECK_MAX, check(pooler, &route, sample)).await;
    let outcome = match checked {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(trouble)) => {
            tracing::debug!(database, "a read cannot be compared: {trouble}");
            ReadCheck::Failed
        }
        Err(_) => ReadCheck::Late,
    };
    if matches!(outcome, ReadCheck::Different | ReadCheck::Writes) {
        accuse(pooler, (&route, sample.node), outcome, &names);
    }
    outcome
}

/// Compares a sample on both nodes.
async fn check(pooler: &Pooler, route: &Route, sample: &Sample) -> Result<ReadCheck, Trouble> {
    let Some(nodes) = &route.nodes else { return Ok(ReadCheck::Skipped) };
    let account = |node: NodeId| nodes.pools.get(node.0 as usize).map(|one| &one.account);
    let primary = nodes.cluster.view().primary.filter(|primary| *primary != sample.node);
    let accounts = primary.and_then(account).zip(account(sample.node));
    let Some((primary, replica)) = accounts else { return Ok(ReadCheck::Skipped) };
    let current = pooler.current();
    let mut primary = Link::open(primary, &current, &sample.settings).await?;
    let mut replica = Link::open(replica, &current, &sample.settings).await?;
    let mut differences = 0;
    let outcome = loop {
        match attempt(&mut primary, &mut replica, &sample.unit).await? {
            None => break ReadCheck::Late,
            Some(Finding::Same) => break ReadCheck::Same,
            Some(Finding::Writes) => break ReadCheck::Writes,
            Some(Finding::Unstable | Finding::Disturbed) => break ReadCheck::Unstable,
            Some(Finding::Different) => differences += 1,
        }
        if differences == ATTEMPTS {
            break ReadCheck::Different;
        }
        sleep(BETWEEN).await;
    };
    // What was one of both at the beginning may not be it any more.
    let (is_standby, is_other) = (primary.is_in_recovery().await?, replica.is_in_recovery().await?);
    primary.close();
    replica.close();
    Ok(if is_standby || !is_other { ReadCheck::Failed } else { outcome })
}

/// Runs the messages on the primary, on the replica, and on the primary again. `None`: the replica is too far
/// behind.
async fn attempt(
    primary: &mut Link,
    replica: &mut Link,
    unit: &[u8],
) -> Result<Option<Finding>, Trouble> {
    let first = primary.begin(unit).await?;
    primary.end().await?;
    // Behind the answer: all that it shows was written by then.
    let shown = primary.lsn("SELECT pg_catalog.pg_current_wal_insert_lsn()").await?;
    if !replayed(replica, shown.before_header(WalLayout::default())).await? {
        return Ok(None);
    }
    let between = replica.begin(unit).await?;
    replica.end().await?;
    let second = primary.begin(unit).await?;
    primary.end().await?;
    Ok(Some(compare(&first, &between, &second)))
}

/// Waits until the replica has replayed the log up to there.
async fn replayed(replica: &mut Link, lsn: Lsn) -> Result<bool, Trouble> {
    let end = Instant::now() + REPLAY_MAX;
    while replica.lsn("SELECT pg_catalog.pg_last_wal_replay_lsn()").await? < lsn {
        if Instant::now() >= end {
            return Ok(false);
        }
        sleep(LOOK).await;
    }
    Ok(true)
}

/// What the read names is kept off the replicas, and reported.
fn accuse(
    pooler: &Pooler,
    (route, node): (&Route, NodeId),
    outcome: ReadCheck,
    names: &[Box<[u8]>],
) {
    let database = &*route.database;
    let nodes = route.nodes.as_ref();
    let node = nodes.and_then(|nodes| nodes.pools.get(node.0 as usize));
    let node = node.map_or_else(String::new, |node| node.account.address.to_string());
    let kept = pooler.routes.borrow_mut().distrust(database, names);
    let named: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name)).collect();
    let did = if outcome == ReadCheck::Writes {
        "writes"
    } else {
        "is answered otherwise there than on the primary, at the same state of the data"
    };
    let what = if names.is_empty() {
        format!("a read on the replica {node} {did}, and names nothing of the database")
    } else {
        let done =
            if kept { "is kept off the replicas until RELOAD" } else { "has no place in the list" };
        let named = named.join(", ");
        format!(
            "a read on the replica {node} {did}: {named} {done}; correct the volatility of its functions"
        )
    };
    tracing::warn!(database, "{what}");
    pooler.record_event(("warn", EventKind::Check), (database, ""), &what);
}
