//! Lines of the log and events for logins, in our words or in PgBouncer's.

use crate::app::current::Current;
use crate::app::logging::as_one_word;
use crate::app::pooler::Pooler;
use crate::fault::{Fault, MessageStyle};
use crate::metrics::{EventKind, counted};
use crate::net::Peer;
use crate::session::startup_request::StartupRequest;
use tokio::time::Instant;

/// Somebody has logged in: one line of the log, if it tells of connections. `how`: the method,
/// and TLS version and cipher.
pub(in crate::app) fn log_login(
    pooler: &Pooler,
    who: (u64, &Peer),
    startup: &StartupRequest,
    (method, tls): (&str, &str),
) {
    if !pooler.current().config.log.log_connections {
        return;
    }
    let ((id, peer), StartupRequest { user, database, .. }) = (who, startup);
    match pooler.common.message_style {
        MessageStyle::Postgres => tracing::info!(
            client = id, %peer, user, database, method, tls = !tls.is_empty(),
            tls_version = tls, "login attempt succeeded"
        ),
        MessageStyle::PgBouncer => log_attempt(who, startup, tls),
    }
}

/// A login failed: one line of the log, and an event. `cause`: what the client is not told.
pub(in crate::app) fn log_failed_login(
    pooler: &Pooler,
    (id, peer, since): (u64, &Peer, Instant),
    startup: &StartupRequest,
    connection: (&Current, &str),
    (fault, cause): (&Fault, Option<&str>),
) {
    if pooler.common.message_style == MessageStyle::Postgres {
        counted::fault(fault.code);
    }
    let kind = if fault.code == "53300" { EventKind::Limit } else { EventKind::Login };
    let message = match cause {
        Some(cause) => format!("{}: {cause}", fault.message),
        None => fault.message.clone().into_owned(),
    };
    pooler.record_event(("warn", kind), (&startup.database, &startup.user), &message);
    match pooler.common.message_style {
        MessageStyle::Postgres => tracing::warn!(
            client = id, %peer, user = startup.user, database = startup.database,
            method = connection.0.config.auth.auth_type.as_str(), tls = !connection.1.is_empty(),
            tls_version = connection.1,
            code = fault.code, "login failed: {message}"
        ),
        MessageStyle::PgBouncer => {
            if pooler.current().config.log.log_connections {
                log_attempt((id, peer), startup, connection.1);
            }
            log_refusal(pooler, (id, peer, since), (&startup.database, &startup.user), fault);
            if let Some(cause) = cause {
                tracing::debug!(client = id, %peer, "login failed: {cause}");
            }
        }
    }
}

/// A client that has not been let in is told something: the lines that PgBouncer writes.
pub(in crate::app) fn log_refusal(
    pooler: &Pooler,
    (id, peer, since): (u64, &Peer, Instant),
    names: (&str, &str),
    fault: &Fault,
) {
    counted::fault(fault.code);
    let ((database, user), age) = (names, since.elapsed().as_secs());
    let (said, log) =
        (fault.clone().in_style(pooler.common.message_style), &pooler.current().config.log);
    if log.log_disconnections {
        tracing::info!(
            client = id, %peer, user, database, age, "closing because: {}", said.message
        );
    }
    if log.log_pooler_errors {
        tracing::warn!(client = id, %peer, user, database, "pooler error: {}", said.message);
    }
}

/// PgBouncer's line for a login, whatever becomes of it.
fn log_attempt((id, peer): (u64, &Peer), startup: &StartupRequest, tls: &str) {
    let StartupRequest { user, database, .. } = startup;
    let replication = startup.extras.iter().find(|(name, _)| name == "replication");
    let replication = replication.map_or("no", |(_, value)| value.as_str());
    let tls = if tls.is_empty() { "no" } else { tls };
    let (db, name) = (as_one_word(database), as_one_word(user));
    let replication = as_one_word(replication);
    tracing::info!(
        client = id, %peer, user, database,
        "login attempt: db={db} user={name} tls={tls} replication={replication}"
    );
}
