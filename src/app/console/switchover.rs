//! SWITCHOVER: a planned change of the primary, of which clients notice a pause.
//!
//! Owns the order of its steps: writes are held, what runs on the primary ends, the replica replays
//! everything, `role_hook` makes the change, probes see it, writes go on. Whatever fails, and whoever
//! leaves, writes go on where the primary is then, and the answer says what has not happened.

use super::waits::{check, refused, until};
use crate::admin::Outcome;
use crate::app::pooler::Pooler;
use crate::app::probes::Watched;
use crate::app::probes::switchover::Hold;
use crate::cluster::shared::now;
use crate::fault::Fault;
use crate::session::client_handle::ClientHandle;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Makes another node the primary of a database: the one that is named, or the best.
pub(super) async fn switch_over(
    pooler: &Rc<Pooler>,
    (database, node): (&str, Option<&str>),
    own: &ClientHandle,
) -> Result<Outcome, Fault> {
    let watched = cluster(pooler, database)?;
    let change =
        watched.plan(node).map_err(|why| refused("55000", format!("cannot switch over: {why}")))?;
    let Some(hold) = Hold::begin(pooler, &watched, change.from) else {
        return Err(refused("55000", "the nodes of this database are being switched over already"));
    };
    let limit = pooler.current().config.routing.switchover_timeout;
    let done = match settled(&hold, (&watched, change.to), limit, own).await {
        Ok(()) => hold.change(change, limit).await.map_err(|why| refused("58000", why)),
        Err(fault) => Err(fault),
    };
    let failed = done.as_ref().err().map(|fault| fault.message.clone());
    hold.tell(change, failed.as_deref());
    drop(hold);
    match done {
        Ok(()) => Ok(Outcome::Done),
        Err(fault) => {
            let primary = watched.survey.borrow().primary().map(|node| watched.name(node));
            Err(fault.hint(match primary {
                Some(name) => format!("Writes go on, to node {name}."),
                None => "There is no primary now; SHOW NODES says how each node is.".to_owned(),
            }))
        }
    }
}

/// The nodes of the database, if they can be switched over.
fn cluster(pooler: &Pooler, database: &str) -> Result<Rc<Watched>, Fault> {
    check(pooler, Some(database), "switch over")?;
    let current = pooler.current();
    let nodes = current.config.database(database).map(|entry| entry.nodes.as_slice());
    let watched = nodes.and_then(|nodes| pooler.probes.watched(nodes));
    let watched = watched.ok_or_else(|| {
        refused("55000", format!("database {database} has one node"))
            .hint("A switchover needs a replica among its nodes.")
    })?;
    if current.config.routing.role_hook.is_none() {
        return Err(refused("55000", "no program is there that promotes the replica").hint(
            "Set routing.role_hook to one that does so, and demotes the primary, when HOWDAH_EVENT \
             is switchover.",
        ));
    }
    let routes = pooler.routes.borrow();
    let names = watched.databases(&current.config);
    let is_paused = |name: &String| routes.paused().databases.contains(name);
    if routes.paused().all || pooler.is_suspended() || names.iter().any(is_paused) {
        return Err(refused("55000", "already suspended/paused"));
    }
    drop(routes);
    Ok(watched)
}

/// Waits until nothing runs on the primary any more, and the replica shows all that it has done.
async fn settled(
    hold: &Hold,
    (watched, to): (&Watched, crate::cluster::NodeId),
    limit: Duration,
    own: &ClientHandle,
) -> Result<(), Fault> {
    let end = Instant::now() + limit;
    let late = |what: String| {
        own.clear_server();
        refused("57014", format!("{what} within {} ms (switchover_timeout)", limit.as_millis()))
    };
    let Ok(drained) = timeout_at(end, until(own, || hold.servers_out() == 0)).await else {
        let out = hold.servers_out();
        return Err(late(format!(
            "{out} server(s) of the primary did not come free: transactions run there, or clients are \
             pinned (SHOW CLIENTS)"
        )));
    };
    drained?;
    let written = now();
    match timeout_at(end, until(own, || watched.shows(to, written))).await {
        Ok(shown) => shown,
        Err(_) => {
            Err(late(format!("node {} did not replay all that was written", watched.name(to))))
        }
    }
}
