//! Opens the servers that the pools ask for.

use super::pooler::Pooler;
use super::probes::failure_of;
use super::role_check::check_role;
use crate::backend::connection_log::{ConnectionLog, ServerName};
use crate::backend::login::{Account, LoginFailure, open};
use crate::backend::server::Server;
use crate::backend::server_handle::ServerHandle;
use crate::metrics::EventKind;
use crate::pool::core::Opening;
use crate::pool::{PoolId, WorkerId};
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// Opens the servers that the pools ask for.
pub(super) async fn open_servers(pooler: Rc<Pooler>) {
    let pools = Arc::clone(&pooler.common.pools);
    loop {
        for opening in pools.openings().await {
            tokio::task::spawn_local(open_server(Rc::clone(&pooler), opening));
        }
    }
}

async fn open_server(pooler: Rc<Pooler>, opening: Opening) {
    let pools = &pooler.common.pools;
    let Some(account) = pooler.routes.borrow().account(opening.pool) else {
        return pools.abandon(opening.slot);
    };
    let extras = opening.waiter.and_then(|waiter| pools.extras_of(waiter));
    let extras = extras.as_deref().map_or(&[][..], Vec::as_slice);
    let begun = Instant::now();
    let handle = Arc::new(ServerHandle::new(pooler.common.clients.next_id()));
    pools.introduce(opening.slot, &handle);
    let opened = tokio::select! {
        opened = open_and_check(&pooler, (opening.pool, &account), extras) => opened,
        // It may be on its way to a node that does not answer.
        () = account.replaced.notified() => return pools.abandon(opening.slot),
    };
    match opened {
        Ok(mut server) => {
            if let Some(traffic) = pooler.routes.borrow().traffic(opening.pool) {
                // This thread counts behind the workers.
                let here = traffic.of(usize::from(pooler.workers.count()));
                here.connect.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            server.connection_log = Some(Box::new(begin_connection_log(
                &pooler,
                opening.pool,
                (handle.id, &account),
                &server,
            )));
            if extras.is_empty() {
                account.reported_parameters.logged_in(&server);
            }
            handle.set_logged_in(&server);
            let here = WorkerId(pooler.workers.count());
            pools.opened(opening.slot, server, here);
        }
        Err(failure) => {
            let said = failure.in_style(pooler.common.message_style);
            tracing::warn!(
                user = %account.user, database = %account.dbname, "server login failed: {said}"
            );
            let what = format!("server login failed: {failure}");
            let names = (&*account.dbname, &*account.user);
            pooler.record_event(("warn", EventKind::Server), names, &what);
            pools.open_failed(opening.slot, Arc::new(failure));
        }
    }
}

/// Logs in. A new server of the primary of several nodes has to say that it is that.
async fn open_and_check(
    pooler: &Pooler,
    (pool, account): (PoolId, &Account),
    extras: &[(Box<str>, Box<str>)],
) -> Result<Box<Server>, LoginFailure> {
    let opened = open(account, &pooler.current().context, extras).await;
    let member = pooler.routes.borrow().member(pool);
    let Some((cluster, node)) = member else { return opened };
    let mut server = opened.inspect_err(|failure| {
        cluster.record_failure(node, failure_of(failure));
    })?;
    // A walsender of the physical kind answers no such question, and no writes go there.
    if extras.iter().all(|(name, _)| **name != *"replication") {
        let address = account.address.to_string();
        check_role(pooler, (&cluster, node), &mut server, &address).await?;
    }
    Ok(server)
}

/// The log entry of the server connection.
fn begin_connection_log(
    pooler: &Pooler,
    pool: PoolId,
    (id, account): (u64, &Account),
    server: &Server,
) -> ConnectionLog {
    let routes = pooler.routes.borrow();
    let names = routes.names(pool);
    let (database, user) = names.unwrap_or((&account.dbname, &account.user));
    let address = account.address.to_string();
    let pid = server.cancel.process_id();
    let name = ServerName { id, pid, database, user, address: &address };
    let local = server.stream.endpoints().local;
    let local = local.map_or_else(|| "unix".to_owned(), |local| local.to_string());
    let told = (pooler.current().config.log.log_connections, &pooler.logs_server_ends);
    ConnectionLog::begin(&name, &local, told)
}
