//! From a client that has proved who it is to the worker that serves it.

use super::authenticate::{prove, tls_of};
use super::guards::{CardGuard, ClientGuard, LoginGuard};
use super::lines::log_login;
use super::refusals::{Ended, disabled, refused, too_many_names};
use crate::app::current::Current;
use crate::app::pooler::Pooler;
use crate::app::routes::Destination;
use crate::backend::settings::Settings;
use crate::fault::{Fault, Side};
use crate::net::{Framed, Peer};
use crate::pool::admission::Candidate;
use crate::session::Arrival;
use crate::session::card::{About, Replication};
use crate::session::startup::Wish;
use crate::wire::server;
use std::sync::Arc;
use std::time::SystemTime;

/// Lets a client in, or says why not. `begun`: what counted when the connection began.
pub(in crate::app) async fn admit(
    (pooler, begun): (&Pooler, &Current),
    framed: &mut Framed,
    wish: &Wish,
    guard: &mut LoginGuard,
) -> Result<(Destination, ClientGuard), Ended> {
    let proof = prove(pooler, begun, framed, wish).await?;
    let now = pooler.current();
    let names = (wish.database.as_str(), wish.user.as_str());
    if pooler.routes.borrow().is_disabled(&wish.database) {
        return Err(Ended::Refused(disabled(&wish.database)));
    }
    if !pooler.routes.borrow_mut().has_room(&now.config, now.users.as_ref(), names) {
        return Err(Ended::Refused(too_many_names()));
    }
    let destination =
        pooler.routes.borrow_mut().find(&now.config, now.users.as_ref(), names, proof.keys);
    let Some(destination) = destination else {
        let text = format!("database \"{}\" does not exist", wish.database);
        let fault = Fault::session(Side::Client, "3D000", text)
            .hint("The configuration has no [databases] entry for it.")
            .pgbouncer(format!("no such database: {}", wish.database));
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
    wish: Wish,
    admitted: (Destination, ClientGuard),
) {
    let (destination, client) = admitted;
    let mut ok = Vec::new();
    server::authentication(&mut ok, 0, b"");
    if let Err(error) = framed.send(&ok).await {
        return tracing::debug!(client = who.0, "client left: {error}");
    }
    let about = About {
        route: Some(Arc::clone(&destination.route)),
        peer: who.1.clone(),
        since: SystemTime::now(),
        tls: framed.stream().tls_words(),
        ends: framed.stream().endpoints(),
        replication: replication(&wish),
    };
    let card = match pooler.common.clients.register(who.0, about) {
        Ok(card) => card,
        Err(error) => return tracing::error!(client = who.0, "no randomness: {error}"),
    };
    // This thread counts behind the workers.
    destination.route.traffic.of(usize::from(pooler.workers.count())).logins.add(1);
    let listed = CardGuard { common: Arc::clone(&pooler.common), card: Arc::clone(&card) };
    let (tls, now) = (tls_of(&mut framed), pooler.current());
    let how = (now.config.auth.auth_type.as_str(), &*tls);
    log_login(pooler, (who.0, &who.1), &wish, how);
    let settings = session_settings(pooler, &destination, &wish, &who.1);
    let mut extras: Vec<_> = wish.extras.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
    if !extras.is_empty() {
        // A walsender takes settings in its startup packet only.
        extras.extend(settings.iter().map(|(name, value)| (name.into(), value.into())));
    }
    let (stream, held) = framed.into_parts();
    let arrival = Arrival {
        stream,
        held,
        card,
        route: destination.route,
        settings,
        extras: (!extras.is_empty()).then(|| Arc::new(extras)),
        guard: Box::new((client, listed)),
    };
    pooler.workers.hand(arrival).await;
}

/// How the client replicates, by what its startup packet said.
fn replication(wish: &Wish) -> Replication {
    match wish.extras.iter().find(|(name, _)| name == "replication") {
        None => Replication::None,
        Some((_, value)) if value == "database" => Replication::Logical,
        Some(_) => Replication::Physical,
    }
}

fn session_settings(
    pooler: &Pooler,
    destination: &Destination,
    wish: &Wish,
    peer: &Peer,
) -> Arc<Settings> {
    let own = destination.options.session_settings.iter();
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut all: Vec<(String, String)> = own.chain(wish.settings.iter().cloned()).collect();
    if pooler.current().config.pool.application_name_add_host {
        let name = all.iter().rev().find(|(name, _)| name == "application_name");
        let name = name.map_or("app", |(_, value)| value.as_str());
        all.push(("application_name".to_owned(), format!("{name} - {peer}")));
    }
    pooler.common.settings.intern(all)
}
