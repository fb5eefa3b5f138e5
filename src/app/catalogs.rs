//! Looks after the catalogs of the databases that are used.
//!
//! Owns one task for each database in use: it takes a server of one of the database's pools by an
//! ordinary lease, asks it, and gives it back. What to ask and when is decided elsewhere. Keeps the
//! invariants that at most [`AT_A_TIME`] catalogs are read at a time, one of each database at most, and
//! that a failure ends in one line of the log, however often it comes again.

use super::pooler::Pooler;
use crate::catalog::load::{self, Fingerprint};
use crate::catalog::schedule::{Schedule, Step};
use crate::catalog::{AskError, Builder, Catalog};
use crate::metrics::{EventKind, counted};
use crate::pool::{Lease, Line, Outcome, PoolId, Refused, Waiter, WorkerId};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};

/// Catalogs that are read at a time: a reading may hold a few megabytes.
const AT_A_TIME: usize = 4;
/// Longest wait for a server that is idle; behind it the reading stands in line as clients do, so long.
const IDLE_WAIT: Duration = Duration::from_secs(10);
/// The same while nothing is known of the database: until then every text is checked.
const UNKNOWN_IDLE_WAIT: Duration = Duration::from_millis(200);
const SERVER_WAIT: Duration = Duration::from_secs(10);
/// How often the task looks for an idle server. A session that gives one back does not know that
/// the task wants it.
const LOOK: Duration = Duration::from_millis(50);
/// Longest statement of a reading.
const STATEMENT: Duration = Duration::from_secs(20);
/// Longest reading.
const READING: Duration = Duration::from_secs(60);

/// Begins a task for each database that comes to be used.
pub(super) async fn maintain_catalogs(pooler: Rc<Pooler>) {
    let newcomers = pooler.routes.borrow().newcomers();
    let turns = Rc::new(Semaphore::new(AT_A_TIME));
    loop {
        for catalog in newcomers.next().await {
            let wake = catalog.wake();
            let (catalog, turns) = (Arc::downgrade(&catalog), Rc::clone(&turns));
            tokio::task::spawn_local(maintain_catalog(Rc::clone(&pooler), catalog, wake, turns));
        }
    }
}

/// Looks after one catalog until it is dropped, or its database is not used any more.
async fn maintain_catalog(
    pooler: Rc<Pooler>,
    watched: Weak<Catalog>,
    wake: Arc<Notify>,
    turns: Rc<Semaphore>,
) {
    let (mut schedule, begun) = (Schedule::new(), Instant::now());
    while let Some(catalog) = watched.upgrade() {
        let requests = catalog.take_requests();
        if requests.changed {
            schedule.request();
        }
        if requests.suspected {
            schedule.suspect();
        }
        let interval = pooler.current().config.pool.catalog_refresh;
        // Without an interval nothing is ever too old.
        let is_used = || interval.is_none() || catalog.take_use();
        match schedule.step(begun.elapsed(), is_used) {
            Step::Ask => match ask(&pooler, &catalog, &turns).await {
                Ok((names, took)) => {
                    counted::catalog_reading(Some(took), names.is_some());
                    schedule.answered(begun.elapsed(), took, interval);
                    log_success(&catalog, names, took);
                }
                Err(failure) => {
                    counted::catalog_reading(None, false);
                    catalog.take_failure();
                    log_failure(&pooler, &catalog, &failure, schedule.failures());
                    schedule.failed(begun.elapsed());
                }
            },
            Step::WaitUntil(due) => {
                drop(catalog);
                let due = due.map(|due| due.saturating_sub(begun.elapsed()));
                tokio::select! {
                    () = wake.notified() => {}
                    () = sleep(due.unwrap_or_default()), if due.is_some() => {}
                }
            }
            Step::Rest if catalog.rest() => return,
            Step::Rest => schedule.request(),
        }
    }
}

/// Why a catalog was not read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no pool of the database is left")]
    NoPool,
    #[error("the database is paused")]
    Paused,
    #[error("the database has no server")]
    Unused,
    #[error("no server came free within {} s", SERVER_WAIT.as_secs())]
    NoServer,
    #[error("{0}")]
    Login(String),
    #[error("the server was lost")]
    Lost,
    #[error("it takes longer than {} s", READING.as_secs())]
    Slow,
    #[error("{0}")]
    Ask(#[from] AskError),
}

/// Asks for the catalog; how many names of it matter, if it was read anew, and how long that took.
async fn ask(
    pooler: &Rc<Pooler>,
    catalog: &Catalog,
    turns: &Semaphore,
) -> Result<(Option<usize>, Duration), Failure> {
    let pool = {
        let routes = pooler.routes.borrow();
        let paused = routes.paused();
        if paused.all || paused.databases.contains(catalog.database()) {
            return Err(Failure::Paused);
        }
        routes.pool_for(catalog.database()).ok_or(Failure::NoPool)?
    };
    await_idle(pooler, pool, catalog).await?;
    // Nothing closes it.
    let _turn = turns.acquire().await.map_err(|_| Failure::Lost)?;
    let mut lease = lease(pooler, pool, catalog).await?;
    let server = lease.server();
    let (asked, changes, known) = (Instant::now(), catalog.changes(), catalog.fingerprint());
    let reading = timeout(READING, load::read(server, known.as_ref(), STATEMENT)).await;
    let answer = match reading {
        Ok(answer) => answer,
        Err(_) => {
            server.set_close_reason("its catalog takes too long to read");
            return Err(Failure::Slow);
        }
    };
    let is_usable = matches!(answer, Ok(_) | Err(AskError::Refused { .. } | AskError::TooOld(_)));
    if !is_usable {
        lease.server().set_close_reason("its catalog could not be read");
    } else if let Err(mut lease) = lease.try_return() {
        lease.server().set_close_reason("server was not at rest after its catalog was read");
    }
    let (fingerprint, builder) = answer?;
    let names = take(catalog, changes, fingerprint, builder).await?;
    Ok((names, asked.elapsed()))
}

async fn take(
    catalog: &Catalog,
    changes: u64,
    fingerprint: Fingerprint,
    builder: Option<Builder>,
) -> Result<Option<usize>, Failure> {
    let Some(builder) = builder else {
        catalog.take_answer(changes, fingerprint, None);
        return Ok(None);
    };
    // With 100,000 functions it takes longer than the control thread may be busy.
    let snapshot = tokio::task::spawn_blocking(|| builder.finish()).await;
    let snapshot = snapshot.map_err(|_| Failure::Lost)?;
    let names = snapshot.len();
    catalog.take_answer(changes, fingerprint, Some(snapshot));
    Ok(Some(names))
}

/// Waits until a server of the pool is idle, so that none is opened for the catalog alone; if all are
/// busy, not for ever. Where a client that logs in waits for the catalog, the server will be its.
async fn await_idle(pooler: &Pooler, pool: PoolId, catalog: &Catalog) -> Result<(), Failure> {
    if catalog.is_awaited() {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        let counts = pooler.common.pools.pool_snapshot(pool).ok_or(Failure::NoPool)?;
        if counts.idle > 0 {
            return Ok(());
        }
        let (waited, has_any) = (begun.elapsed(), counts.leased + counts.granted > 0);
        let is_unknown = catalog.snapshot().is_none();
        if has_any && is_unknown && waited >= UNKNOWN_IDLE_WAIT {
            return Ok(());
        }
        if waited >= IDLE_WAIT {
            return if has_any { Ok(()) } else { Err(Failure::Unused) };
        }
        sleep(LOOK).await;
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Removed => Self::NoPool,
            Refused::Failing(failure) => Self::Login(failure.to_string()),
        }
    }
}

/// Waits in line. Where clients that log in wait for the answer, only until a server could not be opened.
async fn granted(mut waiter: Waiter, catalog: &Catalog) -> Result<Lease, Failure> {
    loop {
        if let Ok(granted) = timeout(LOOK, poll_fn(|cx| waiter.poll(cx))).await {
            return granted.map_err(Failure::from);
        }
        if let Some(failure) = waiter.last_failure().filter(|_| catalog.is_awaited()) {
            return Err(Failure::Login(failure.to_string()));
        }
    }
}

/// A server of the pool, ready to be asked.
async fn lease(pooler: &Rc<Pooler>, pool: PoolId, catalog: &Catalog) -> Result<Lease, Failure> {
    let pools = &pooler.common.pools;
    let line = Line {
        pool,
        worker: WorkerId(pooler.workers.count()),
        is_login: false,
        place: None,
        preferred: None,
    };
    let outcome = poll_fn(|cx| Poll::Ready(pools.checkout(line, None, cx))).await;
    let mut lease = match outcome {
        Outcome::Leased(lease) => lease,
        Outcome::Refused(refused) => return Err(refused.into()),
        Outcome::Waiting(waiter) => {
            let granted = timeout(SERVER_WAIT, granted(waiter, catalog)).await;
            granted.map_err(|_| Failure::NoServer)??
        }
    };
    let must_move = lease.must_move();
    let server = lease.server();
    if must_move && server.stream.rehome().is_err() {
        return Err(Failure::Lost);
    }
    let is_alive = poll_fn(|cx| Poll::Ready(server.is_alive(cx))).await;
    if is_alive { Ok(lease) } else { Err(Failure::Lost) }
}

fn log_success(catalog: &Catalog, names: Option<usize>, took: Duration) {
    if let Some(names) = names {
        let (database, took) = (catalog.database(), took.as_millis());
        tracing::debug!(database, "catalog read in {took} ms: {names} name(s) matter");
    }
}

/// Once for a row of failures.
fn log_failure(pooler: &Pooler, catalog: &Catalog, failure: &Failure, before: u32) {
    // The operator has paused the database and knows it. An unused database loses nothing.
    if before > 0 || matches!(failure, Failure::Paused | Failure::Unused) {
        return;
    }
    let database = catalog.database();
    let what = format!(
        "the catalog cannot be read: {failure}; texts that use names of the database are checked one by one"
    );
    tracing::warn!(database, "{what}");
    pooler.record_event(("warn", EventKind::Server), (database, ""), &what);
}
