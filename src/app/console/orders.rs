//! What the console's commands do.

use super::super::cancels::{self, Asker};
use super::super::door::Door;
use super::super::reload::{Unset, preview, reload, set};
use super::super::signals::Asked;
use super::shown;
use super::waits::{self, check, refused};
use crate::admin::{Command, Outcome, Shutdown, Value, View};
use crate::config::{Change, Unchangeable};
use crate::fault::Fault;
use crate::metrics::EventKind;
use crate::session::card::{Card, Order};
use std::rc::Rc;
use std::sync::Arc;

/// Does what a client of the console, who has this card, has asked for.
pub(super) async fn carry_out(door: &Rc<Door>, command: &Command, own: &Card) -> Outcome {
    let result = match command {
        Command::Show(View::Fds) => Err(no_descriptors()),
        Command::Show(view) => Ok(Outcome::Rows(shown::rows(door, *view))),
        Command::Pause(database) => waits::pause(door, database.as_deref(), own).await,
        Command::Suspend => waits::suspend(door, own).await,
        Command::WaitClose(database) => waits::wait_close(door, database.as_deref(), own).await,
        Command::Disable(database) => switch(door, database, false),
        Command::Enable(database) => switch(door, database, true),
        Command::Kill(database) => kill(door, database.as_deref()),
        Command::Set { key, value } => changed_one(key, set(door, key, value)),
        Command::Resume(database) => resume(door, database.as_deref()),
        Command::Reconnect(database) => reconnect(door, database.as_deref()),
        Command::KillClient(id) => find(door, *id).map(|card| {
            card.order(Order::Stop);
            Outcome::Done
        }),
        Command::Cancel(id) => match find(door, *id) {
            Ok(card) => {
                cancels::deliver(door, &card, asker(own)).await;
                Ok(Outcome::Done)
            }
            Err(fault) => Err(fault),
        },
        Command::Reload { check: true } => changed(preview(door)),
        Command::Reload { check: false } => {
            tracing::info!("RELOAD command issued");
            changed(reload(door))
        }
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

/// The console as one that asks for a cancel request.
fn asker(own: &Card) -> Asker {
    Asker { id: own.id, ends: own.about.ends.clone(), tls: own.about.tls.clone() }
}

/// PgBouncer hands its sockets to a newer process over a Unix socket, and to nobody else.
fn no_descriptors() -> Fault {
    refused("0A000", "file descriptors are not handed over").hint(
        "For a restart without a gap start the new process beside this one, with so_reuseport.",
    )
}

pub(super) fn resume(door: &Door, database: Option<&str>) -> Result<Outcome, Fault> {
    check(door, database, "resume")?;
    let suspended = database.is_none() && door.go_on();
    if door.routes.borrow_mut().resume(database) || suspended {
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
    check(door, database, "reconnect")?;
    let pools = door.routes.borrow().pools_of(database);
    pools.into_iter().for_each(|pool| door.common.pools.reconnect(pool));
    Ok(Outcome::Done)
}

/// Lets nobody into a database any more, or lets them in again.
fn switch(door: &Door, database: &str, on: bool) -> Result<Outcome, Fault> {
    check(door, Some(database), if on { "enable" } else { "disable" })?;
    let mut routes = door.routes.borrow_mut();
    if on {
        routes.enable(database)
    } else {
        routes.disable(database)
    }
    let what = format!("{} database {database}", if on { "enabled" } else { "disabled" });
    door.happened(("info", EventKind::Pause), (database, ""), &what);
    tracing::info!("{what}");
    Ok(Outcome::Done)
}

/// Ends all sessions of one database, or of each, and closes their servers. It is paused then, each
/// for itself.
fn kill(door: &Door, database: Option<&str>) -> Result<Outcome, Fault> {
    check(door, database, "kill")?;
    if door.routes.borrow().paused().all || door.is_suspended() {
        return Err(refused("55000", "already suspended/paused"));
    }
    let now = door.now();
    let mut names: Vec<String> = match database {
        Some(name) => vec![name.to_owned()],
        None => now.config.databases.keys().cloned().collect(),
    };
    if database.is_none() {
        names.extend(door.routes.borrow().pools().into_iter().map(|view| view.database));
    }
    for name in &names {
        door.routes.borrow_mut().pause(Some(name));
    }
    let is_theirs = |card: &&Arc<Card>| {
        let route = card.about.route.as_ref();
        route.is_some_and(|route| database.is_none_or(|name| *route.database == *name))
    };
    let clients = door.common.clients.list();
    clients.iter().filter(is_theirs).for_each(|card| card.order(Order::Kill));
    let what = format!("killed {}", database.unwrap_or("all databases"));
    door.happened(("info", EventKind::Pause), (database.unwrap_or_default(), ""), &what);
    tracing::info!("{what}");
    Ok(Outcome::Done)
}

/// A client of a database; those of the console obey no orders.
fn find(door: &Door, id: u64) -> Result<Arc<Card>, Fault> {
    let found = door.common.clients.list().into_iter().find(|card| card.id == id);
    match found {
        Some(card) if card.about.route.is_some() => Ok(card),
        Some(_) => Err(refused("22023", format!("client {id} is a client of the console"))
            .hint("Only clients of databases are killed or cancelled.")),
        None => Err(refused("22023", "client not found").hint("SHOW CLIENTS has their ids.")),
    }
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

fn changed_one(key: &str, changed: Result<Vec<Change>, Unset>) -> Result<Outcome, Fault> {
    let invalid = |reasons: &str| {
        refused("22023", format!("invalid value for parameter \"{key}\"")).hint(reasons.to_owned())
    };
    match changed {
        Ok(_) => Ok(Outcome::Done),
        Err(Unset::Setup(reasons)) => Err(invalid(&reasons.join("\n"))),
        Err(Unset::Config(why)) => Err(match &why {
            Unchangeable::Unknown(near) => {
                let text = format!("unrecognized configuration parameter \"{key}\"");
                let hint = near.map_or("SHOW CONFIG has all of them.".to_owned(), |near| {
                    format!("Perhaps you meant \"{near}\".")
                });
                refused("42704", text).hint(hint)
            }
            Unchangeable::NeedsRestart => {
                let text = format!("parameter \"{key}\" cannot be changed now");
                refused("55P02", text).hint("Change it in the configuration, and restart.")
            }
            Unchangeable::Invalid(errors) => invalid(&errors.to_string()),
        }),
    }
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
