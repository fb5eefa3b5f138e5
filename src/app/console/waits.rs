//! Commands that answer later: PAUSE, SUSPEND, WAIT_CLOSE.
//!
//! Each looks again and again whether what it waits for has come. A cancel request ends the wait, and
//! undoes what the command has done.

use super::database::is_console;
use crate::admin::Outcome;
use crate::app::pooler::Pooler;
use crate::fault::{Fault, Side};
use crate::metrics::EventKind;
use crate::pool::SlotId;
use crate::session::client_handle::{ClientHandle, Order};
use std::borrow::Cow;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often a command that waits looks again.
const LOOK: Duration = Duration::from_millis(20);
/// How long SUSPEND waits for clients that do not read what is written to them.
const SUSPEND_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn refused(code: &'static str, message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::query(Side::Operator, code, message)
}

/// A database that a command names has to be there.
pub(super) fn check(pooler: &Pooler, database: Option<&str>, command: &str) -> Result<(), Fault> {
    let Some(name) = database else { return Ok(()) };
    if is_console(name) {
        return Err(refused("0A000", format!("cannot {command} admin db: {name}")));
    }
    let known = pooler.current().config.database(name).is_some();
    if known { Ok(()) } else { Err(refused("3D000", format!("no such database: {name}"))) }
}

/// Answers when it is done; a cancel request ends the wait.
pub(super) async fn until(
    own: &ClientHandle,
    mut is_done: impl FnMut() -> bool,
) -> Result<(), Fault> {
    let done = async {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            look.tick().await;
            if is_done() {
                break;
            }
        }
    };
    let ended = tokio::select! {
        () = done => Ok(()),
        () = cancelled(own) => Err(refused("57014", "canceling statement due to user request")),
    };
    own.clear_server();
    ended
}

/// Nobody gets a server any more. False when that is so already.
pub(super) fn begin_pause(pooler: &Pooler, database: Option<&str>) -> bool {
    let begins = !pooler.is_suspended() && pooler.routes.borrow_mut().pause(database);
    if begins {
        let what = format!("paused {}", database.unwrap_or("all databases"));
        pooler.record_event(("info", EventKind::Pause), (database.unwrap_or_default(), ""), &what);
        tracing::info!("{what}");
    }
    begins
}

/// Answers when no server is out any more.
pub(super) async fn pause(
    pooler: &Rc<Pooler>,
    database: Option<&str>,
    own: &ClientHandle,
) -> Result<Outcome, Fault> {
    check(pooler, database, "pause")?;
    if !begin_pause(pooler, database) {
        return Err(refused("55000", "already suspended/paused"));
    }
    let settled = until(own, || {
        let pools = pooler.routes.borrow().pools_of(database);
        let snapshot = pooler.common.pools.snapshot();
        let of = snapshot.iter().filter(|one| pools.contains(&one.pool));
        of.map(|one| one.leased + one.granted + one.opening).sum::<u32>() == 0
    });
    settled.await.map_err(|fault| {
        pooler.routes.borrow_mut().resume(database);
        fault.hint("What was paused has been resumed.")
    })?;
    Ok(Outcome::Done)
}

/// Answers when every session has written what was to be written, and reads nothing more. Those
/// that cannot write in time are ended.
pub(super) async fn suspend(pooler: &Rc<Pooler>, own: &ClientHandle) -> Result<Outcome, Fault> {
    let (all, some) = {
        let routes = pooler.routes.borrow();
        (routes.paused().all, !routes.paused().databases.is_empty())
    };
    if all || pooler.is_suspended() {
        return Err(refused("55000", "already suspended/paused"));
    }
    if some {
        return Err(refused("55000", "cannot suspend with paused databases"));
    }
    pooler.suspend(own.id);
    tracing::info!("suspended");
    let restless = || {
        let mut all = pooler.common.clients.list();
        all.retain(|handle| handle.info.route.is_some() && !handle.is_resting());
        all
    };
    match timeout(SUSPEND_TIMEOUT, until(own, || restless().is_empty())).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => {
            pooler.resume();
            return Err(fault.hint("What was suspended goes on."));
        }
        Err(_) => {
            own.clear_server();
            restless().iter().for_each(|handle: &Arc<ClientHandle>| handle.order(Order::Stop));
        }
    }
    Ok(Outcome::Done)
}

/// Answers when every server that is to be replaced now is closed.
pub(super) async fn wait_close(
    pooler: &Rc<Pooler>,
    database: Option<&str>,
    own: &ClientHandle,
) -> Result<Outcome, Fault> {
    if database.is_some_and(is_console) {
        let name = database.unwrap_or_default();
        return Err(refused("0A000", format!("cannot wait in admin db: {name}")));
    }
    check(pooler, database, "wait in")?;
    let pools = pooler.routes.borrow().pools_of(database);
    let servers = pooler.common.pools.servers().into_iter();
    let outdated = servers.filter(|one| one.is_outdated && pools.contains(&one.pool));
    let outdated: Vec<SlotId> = outdated.map(|one| one.slot).collect();
    until(own, || !pooler.common.pools.have_any(&outdated)).await?;
    Ok(Outcome::Done)
}

/// Until a cancel request comes for this client.
async fn cancelled(handle: &ClientHandle) {
    // One that came too late for an earlier command is not for this one.
    handle.take_order(Order::Cancel);
    handle.set_waiting();
    poll_fn(|cx| {
        handle.set_waker(cx.waker());
        if handle.take_order(Order::Cancel) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
