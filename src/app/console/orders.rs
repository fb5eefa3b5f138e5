//! What the console's commands do.

use super::explain::explain;
use super::waits::{self, check, refused};
use crate::admin::{Command, Outcome, Shutdown, Value, View};
use crate::app::cancel;
use crate::app::cancel_requests::Requester;
use crate::app::pooler::Pooler;
use crate::app::reload::{Unset, preview, reload, set};
use crate::app::show::rows;
use crate::app::signals::ProcessOrder;
use crate::config::{Change, Unchangeable};
use crate::fault::Fault;
use crate::metrics::EventKind;
use crate::session::client_handle::{ClientHandle, Order};
use std::rc::Rc;
use std::sync::Arc;

/// Does what a client of the console, who has this handle, has asked for.
pub(super) async fn carry_out(
    pooler: &Rc<Pooler>,
    command: &Command,
    own: &ClientHandle,
) -> Outcome {
    let result = match command {
        Command::Show(View::Fds) => Err(no_descriptors()),
        Command::Show(view) => Ok(Outcome::Rows(rows(pooler, *view))),
        Command::Pause(database) => waits::pause(pooler, database.as_deref(), own).await,
        Command::Suspend => waits::suspend(pooler, own).await,
        Command::WaitClose(database) => waits::wait_close(pooler, database.as_deref(), own).await,
        Command::Disable(database) => switch(pooler, database, false),
        Command::Enable(database) => switch(pooler, database, true),
        Command::Kill(database) => kill(pooler, database.as_deref()),
        Command::Set { key, value } => changed_one(key, set(pooler, key, value)),
        Command::Resume(database) => resume(pooler, database.as_deref()),
        Command::Reconnect(database) => reconnect(pooler, database.as_deref()),
        Command::KillClient(id) => find(pooler, *id).map(|handle| {
            handle.order(Order::Stop);
            Outcome::Done
        }),
        Command::Cancel(id) => match find(pooler, *id) {
            Ok(handle) => {
                cancel::deliver(pooler, &handle, asker(own)).await;
                Ok(Outcome::Done)
            }
            Err(fault) => Err(fault),
        },
        Command::Reload { check: true } => changed(preview(pooler)),
        Command::Reload { check: false } => {
            tracing::info!("RELOAD command issued");
            changed(reload(pooler))
        }
        Command::ExplainRoute { database, user, statement } => {
            explain(pooler, database.as_deref(), user.as_deref(), statement)
        }
        Command::ResetQueries => {
            pooler.common.queries.reset();
            Ok(Outcome::Done)
        }
        Command::Shutdown(how) => Ok(shutdown(pooler, *how)),
        // The console answers these itself.
        Command::Harmless(_) => Ok(Outcome::Done),
    };
    result.unwrap_or_else(Outcome::Refused)
}

/// The console as one that asks for a cancel request.
fn asker(own: &ClientHandle) -> Requester {
    Requester { id: own.id, ends: own.info.ends.clone(), tls: own.info.tls.clone() }
}

/// PgBouncer hands its sockets to a newer process over a Unix socket, and to nobody else.
fn no_descriptors() -> Fault {
    refused("0A000", "file descriptors are not handed over").hint(
        "For a restart without a gap start the new process beside this one, with so_reuseport.",
    )
}

fn resume(pooler: &Pooler, database: Option<&str>) -> Result<Outcome, Fault> {
    check(pooler, database, "resume")?;
    let suspended = database.is_none() && pooler.resume();
    if pooler.routes.borrow_mut().resume(database) || suspended {
        let what = format!("resumed {}", database.unwrap_or("all databases"));
        pooler.record_event(("info", EventKind::Pause), (database.unwrap_or_default(), ""), &what);
        tracing::info!("{what}");
        return Ok(Outcome::Done);
    }
    Err(match database {
        Some(name) => refused("55000", format!("database {name} is not paused")),
        None => refused("55000", "pooler is not paused/suspended"),
    })
}

fn reconnect(pooler: &Pooler, database: Option<&str>) -> Result<Outcome, Fault> {
    check(pooler, database, "reconnect")?;
    let pools = pooler.routes.borrow().pools_of(database);
    pools.into_iter().for_each(|pool| pooler.common.pools.reconnect(pool));
    Ok(Outcome::Done)
}

/// Lets nobody into a database any more, or lets them in again.
fn switch(pooler: &Pooler, database: &str, on: bool) -> Result<Outcome, Fault> {
    check(pooler, Some(database), if on { "enable" } else { "disable" })?;
    let mut routes = pooler.routes.borrow_mut();
    if on {
        routes.enable(database)
    } else {
        routes.disable(database)
    }
    let what = format!("{} database {database}", if on { "enabled" } else { "disabled" });
    pooler.record_event(("info", EventKind::Pause), (database, ""), &what);
    tracing::info!("{what}");
    Ok(Outcome::Done)
}

/// Ends all sessions of one database, or of each, and closes their servers. It is paused then, each
/// for itself.
fn kill(pooler: &Pooler, database: Option<&str>) -> Result<Outcome, Fault> {
    check(pooler, database, "kill")?;
    if pooler.routes.borrow().paused().all || pooler.is_suspended() {
        return Err(refused("55000", "already suspended/paused"));
    }
    let now = pooler.current();
    let mut names: Vec<String> = match database {
        Some(name) => vec![name.to_owned()],
        None => now.config.databases.keys().cloned().collect(),
    };
    if database.is_none() {
        names.extend(pooler.routes.borrow().pools().into_iter().map(|view| view.database));
    }
    for name in &names {
        pooler.routes.borrow_mut().pause(Some(name));
    }
    let is_theirs = |handle: &&Arc<ClientHandle>| {
        let route = handle.info.route.as_ref();
        route.is_some_and(|route| database.is_none_or(|name| *route.database == *name))
    };
    let clients = pooler.common.clients.list();
    clients.iter().filter(is_theirs).for_each(|handle| handle.order(Order::Kill));
    let what = format!("killed {}", database.unwrap_or("all databases"));
    pooler.record_event(("info", EventKind::Pause), (database.unwrap_or_default(), ""), &what);
    tracing::info!("{what}");
    Ok(Outcome::Done)
}

/// A client of a database; those of the console obey no orders.
fn find(pooler: &Pooler, id: u64) -> Result<Arc<ClientHandle>, Fault> {
    let found = pooler.common.clients.list().into_iter().find(|handle| handle.id == id);
    match found {
        Some(handle) if handle.info.route.is_some() => Ok(handle),
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

fn shutdown(pooler: &Pooler, how: Shutdown) -> Outcome {
    let asked = match how {
        Shutdown::Now => ProcessOrder::Stop,
        Shutdown::WaitForServers => ProcessOrder::WaitForServers,
        Shutdown::WaitForClients => ProcessOrder::Wait,
    };
    match pooler.orders.try_send(asked) {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Refused(refused("57P03", "pooler is shutting down")),
    }
}

/// SIGUSR1: as PAUSE, without waiting.
pub(in crate::app) fn pause_all(pooler: &Pooler) {
    if waits::begin_pause(pooler, None) {
        tracing::info!("got SIGUSR1, pausing all activity");
    } else {
        tracing::info!("got SIGUSR1, but already paused/suspended");
    }
}

/// SIGUSR2: as RESUME.
pub(in crate::app) fn resume_all(pooler: &Pooler) {
    let paused = if pooler.is_suspended() { "SUSPEND" } else { "PAUSE" };
    match resume(pooler, None) {
        Ok(_) => tracing::info!("got SIGUSR2, continuing from {paused}"),
        Err(_) => tracing::info!("got SIGUSR2, but not paused/suspended"),
    }
}
