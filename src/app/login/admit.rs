//! From a client that has proved who it is to the worker that serves it.

use super::authenticate::{prove, tls_of};
use super::guards::{ClientGuard, HandleGuard, LoginGuard};
use super::lines::log_login;
use super::refusals::{Ended, disabled, refused, too_many_names};
use crate::app::current::Current;
use crate::app::pooler::Pooler;
use crate::app::routes::Destination;
use crate::backend::settings::Settings;
use crate::fault::{Fault, Side};
use crate::net::{Framed, Peer};
use crate::pool::admission::Candidate;
use crate::session::SessionStart;
use crate::session::client_handle::{ClientInfo, Replication};
use crate::session::route::Mode;
use crate::session::startup_request::StartupRequest;
use crate::wire::server;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a client that logs in waits for the catalog of its database.
const CATALOG_WAIT: Duration = Duration::from_secs(2);

/// Lets a client in, or says why not. `begun`: what counted when the connection began.
pub(in crate::app) async fn admit(
    (pooler, begun): (&Pooler, &Current),
    framed: &mut Framed,
    startup: &StartupRequest,
    guard: &mut LoginGuard,
) -> Result<(Destination, ClientGuard), Ended> {
    let proof = prove(pooler, begun, framed, startup).await?;
    let now = pooler.current();
    let names = (startup.database.as_str(), startup.user.as_str());
    if pooler.routes.borrow().is_disabled(&startup.database) {
        return Err(Ended::Refused(disabled(&startup.database)));
    }
    if !pooler.routes.borrow_mut().has_room(&now.config, now.users.as_ref(), names) {
        return Err(Ended::Refused(too_many_names()));
    }
    let destination =
        pooler.routes.borrow_mut().find(&now.config, now.users.as_ref(), names, proof.keys);
    let Some(destination) = destination else {
        let text = format!("database \"{}\" does not exist", startup.database);
        let fault = Fault::session(Side::Client, "3D000", text)
            .hint("The configuration has no [databases] entry for it.")
            .pgbouncer(format!("no such database: {}", startup.database));
        // PostgreSQL too says so only to those whom it has let in.
        let mut ok = Vec::new();
        server::authentication(&mut ok, 0, b"");
        framed.send(&ok).await.map_err(|error| Ended::Left(error.to_string()))?;
        return Err(Ended::Refused(fault));
    };
    let limit = |limit: Option<std::num::NonZeroU32>| limit.map_or(0, |limit| limit.get());
    let candidate = Candidate {
        database: destination.database,
        database_limit: limit(destination.options.max_db_client_connections),
        user: destination.user,
        user_limit: limit(destination.options.max_user_client_connections),
    };
    let Some(login) = guard.login.take() else {
        return Err(Ended::Left("login counted twice".to_owned()));
    };
    let admitted = pooler.admission.lock().admit(login, candidate);
    let admitted = admitted.map_err(|limit| Ended::Refused(refused(&limit)))?;
    let client = ClientGuard { admission: Arc::clone(&pooler.admission), admitted: Some(admitted) };
    Ok((destination, client))
}

/// Hands a client that was let in to a worker.
pub(in crate::app) async fn hand_over(
    pooler: &Pooler,
    who: (u64, Peer),
    mut framed: Framed,
    startup: StartupRequest,
    admitted: (Destination, ClientGuard),
) {
    let (destination, client) = admitted;
    let mut ok = Vec::new();
    server::authentication(&mut ok, 0, b"");
    if let Err(error) = framed.send(&ok).await {
        return tracing::debug!(client = who.0, "client left: {error}");
    }
    let came_first = await_catalog(&destination, &startup).await;
    let info = ClientInfo {
        route: Some(Arc::clone(&destination.route)),
        peer: who.1.clone(),
        since: SystemTime::now(),
        tls: framed.stream().tls_words(),
        ends: framed.stream().endpoints(),
        replication: replication(&startup),
    };
    let handle = match pooler.common.clients.register(who.0, info) {
        Ok(handle) => handle,
        Err(error) => return tracing::error!(client = who.0, "no randomness: {error}"),
    };
    // This thread counts behind the workers.
    destination.route.traffic.of(usize::from(pooler.workers.count())).logins.add(1);
    let listed = HandleGuard { common: Arc::clone(&pooler.common), handle: Arc::clone(&handle) };
    let (tls, now) = (tls_of(&mut framed), pooler.current());
    let how = (now.config.auth.auth_type.as_str(), &*tls);
    log_login(pooler, (who.0, &who.1), &startup, how);
    let settings = session_settings(pooler, &destination, &startup, &who.1);
    let mut extras: Vec<_> =
        startup.extras.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
    if !extras.is_empty() {
        // A walsender takes settings in its startup packet only.
        extras.extend(settings.iter().map(|(name, value)| (name.into(), value.into())));
    }
    let (stream, held) = framed.into_parts();
    let session_start = SessionStart {
        stream,
        held,
        handle,
        route: destination.route,
        settings,
        own: startup.own,
        came_first,
        extras: (!extras.is_empty()).then(|| Arc::new(extras)),
        guard: Box::new((client, listed)),
    };
    pooler.workers.assign(session_start).await;
}

/// The first clients of a database wait until it is known what its names mean, or that nobody can tell.
/// Whether this is one of them.
async fn await_catalog(destination: &Destination, startup: &StartupRequest) -> bool {
    let catalog = &destination.route.catalog;
    let keeps_server = destination.options.pool_mode == Mode::Session || !startup.extras.is_empty();
    if keeps_server || !catalog.is_awaited() {
        return false;
    }
    // Whoever comes too early has each of its texts checked.
    _ = tokio::time::timeout(CATALOG_WAIT, catalog.first_answer()).await;
    true
}

/// How the client replicates, by what its startup packet said.
fn replication(startup: &StartupRequest) -> Replication {
    match startup.extras.iter().find(|(name, _)| name == "replication") {
        None => Replication::None,
        Some((_, value)) if value == "database" => Replication::Logical,
        Some(_) => Replication::Physical,
    }
}

fn session_settings(
    pooler: &Pooler,
    destination: &Destination,
    startup: &StartupRequest,
    peer: &Peer,
) -> Arc<Settings> {
    let own = destination.options.session_settings.iter();
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut all: Vec<(String, String)> = own.chain(startup.settings.iter().cloned()).collect();
    if pooler.current().config.pool.application_name_add_host {
        let name = all.iter().rev().find(|(name, _)| name == "application_name");
        let name = name.map_or("app", |(_, value)| value.as_str());
        all.push(("application_name".to_owned(), format!("{name} - {peer}")));
    }
    pooler.common.settings.intern(all)
}
