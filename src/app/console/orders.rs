//! What the console's commands do.

use super::super::door::{Door, cancel_client};
use super::super::reload::{preview, reload};
use super::super::run::Asked;
use super::{cancelled, shown};
use crate::admin::{Command, Outcome, Shutdown, Value};
use crate::config::Change;
use crate::fault::{Fault, Side};
use crate::metrics::EventKind;
use crate::session::card::{Card, Order};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often a command that waits looks again.
const LOOK: Duration = Duration::from_millis(20);

/// Does what a client of the console, who has this card, has asked for.
pub(super) async fn carry_out(door: &Rc<Door>, command: &Command, own: &Card) -> Outcome {
    let result = match command {
        Command::Show(view) => Ok(Outcome::Rows(shown::rows(door, *view))),
        Command::Pause(database) => pause(door, database.as_deref(), own).await,
        Command::Resume(database) => resume(door, database.as_deref()),
        Command::Reconnect(database) => reconnect(door, database.as_deref()),
        Command::KillClient(id) => find(door, *id).map(|card| {
            card.order(Order::Stop);
            Outcome::Done
        }),
        Command::Cancel(id) => match find(door, *id) {
            Ok(card) => {
                cancel_client(door, &card).await;
                Ok(Outcome::Done)
            }
            Err(fault) => Err(fault),
        },
        Command::Reload { check: true } => changed(preview(door)),
        Command::Reload { check: false } => changed(reload(door)),
        Command::ResetQueries => {
            door.common.queries.reset();
            Ok(Outcome::Done)
        }
        Command::Shutdown(how) => Ok(shutdown(door, *how)),
        // The console answers these itself.
        Command::Harmless(_) => Ok(Outcome::Done),
    };
    result.unwrap_or_else(Outcome::Refused)
}

fn refused(code: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::query(Side::Operator, code, message)
}

/// A database that a command names has to be there.
fn check(door: &Door, database: Option<&str>) -> Result<(), Fault> {
    let Some(name) = database else { return Ok(()) };
    if super::is_meant(name) {
        return Err(refused("0A000", "the console cannot be paused or reconnected"));
    }
    let known = door.now().config.database(name).is_some();
    if known { Ok(()) } else { Err(refused("3D000", format!("no such database: {name}"))) }
}

/// Answers when no server is out any more. A cancel request ends the pause.
async fn pause(door: &Rc<Door>, database: Option<&str>, own: &Card) -> Result<Outcome, Fault> {
    check(door, database)?;
    if !door.routes.borrow_mut().pause(database) {
        return Err(refused("55000", "already suspended/paused"));
    }
    let what = format!("paused {}", database.unwrap_or("all databases"));
    door.happened(("info", EventKind::Pause), (database.unwrap_or_default(), ""), &what);
    tracing::info!("{what}");
    let settled = async {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            look.tick().await;
            let pools = door.routes.borrow().pools_of(database);
            let snapshot = door.common.pools.snapshot();
            let of = snapshot.iter().filter(|one| pools.contains(&one.pool));
            if of.map(|one| one.leased + one.granted + one.opening).sum::<u32>() == 0 {
                break;
            }
        }
    };
    let ended = tokio::select! {
        () = settled => Ok(Outcome::Done),
        () = cancelled(own) => {
            door.routes.borrow_mut().resume(database);
            Err(refused("57014", "canceling statement due to user request")
                .hint("What was paused has been resumed."))
        }
    };
    own.unlinks();
    ended
}

fn resume(door: &Door, database: Option<&str>) -> Result<Outcome, Fault> {
    check(door, database)?;
    if door.routes.borrow_mut().resume(database) {
        let what = format!("resumed {}", database.unwrap_or("all databases"));
        door.happened(("info", EventKind::Pause), (database.unwrap_or_default(), ""), &what);
        tracing::info!("{what}");
        return Ok(Outcome::Done);
    }
    Err(match database {
        Some(name) => refused("55000", format!("database {name} is not paused")),
        None => refused("55000", "pooler is not paused/suspended"),
    })
}

fn reconnect(door: &Door, database: Option<&str>) -> Result<Outcome, Fault> {
    check(door, database)?;
    let pools = door.routes.borrow().pools_of(database);
    pools.into_iter().for_each(|pool| door.common.pools.reconnect(pool));
    Ok(Outcome::Done)
}

/// A client of a database; those of the console are not listed, and obey no orders.
fn find(door: &Door, id: u64) -> Result<Arc<Card>, Fault> {
    let is_it = |card: &Arc<Card>| card.id == id && card.about.route.is_some();
    let found = door.common.clients.list().into_iter().find(is_it);
    found.ok_or_else(|| refused("22023", "client not found").hint("SHOW CLIENTS has their ids."))
}

fn changed(changes: Result<Vec<Change>, Vec<String>>) -> Result<Outcome, Fault> {
    let changes = changes.map_err(|reasons| {
        refused("F0000", "RELOAD failed, see logs for additional details").hint(reasons.join("\n"))
    })?;
    let row = |change: Change| {
        let Change { key, old, new, applies } = change;
        [key, old, new, applies.to_string()].map(Value::Text).into()
    };
    Ok(Outcome::Rows(changes.into_iter().map(row).collect()))
}

fn shutdown(door: &Door, how: Shutdown) -> Outcome {
    let asked = match how {
        Shutdown::Now => Asked::Stop,
        Shutdown::WaitForServers => Asked::Drain,
        Shutdown::WaitForClients => Asked::Wait,
    };
    match door.asked.try_send(asked) {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Refused(refused("57P03", "pooler is shutting down")),
    }
}
