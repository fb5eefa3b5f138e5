//! Lines of the log and events for logins, in our words or in PgBouncer's.

use crate::app::current::Current;
use crate::app::logging::as_one_word;
use crate::app::pooler::Pooler;
use crate::fault::{Fault, Words};
use crate::metrics::EventKind;
use crate::net::Peer;
use crate::session::startup::Wish;
use tokio::time::Instant;

/// Somebody has logged in: one line of the log, if it tells of connections. `how`: the method,
/// and TLS version and cipher.
pub(in crate::app) fn log_login(
    pooler: &Pooler,
    who: (u64, &Peer),
    wish: &Wish,
    (method, tls): (&str, &str),
) {
    if !pooler.current().config.log.log_connections {
        return;
    }
    let ((id, peer), Wish { user, database, .. }) = (who, wish);
    match pooler.common.words {
        Words::PostgreSql => tracing::info!(
            client = id, %peer, user, database, method, tls = !tls.is_empty(),
            tls_version = tls, "login attempt succeeded"
        ),
        Words::PgBouncer => log_attempt(who, wish, tls),
    }
}

/// A login failed: one line of the log, and an event. `cause`: what the client is not told.
pub(in crate::app) fn log_failed_login(
    pooler: &Pooler,
    (id, peer, since): (u64, &Peer, Instant),
    wish: &Wish,
    connection: (&Current, &str),
    (fault, cause): (&Fault, Option<&str>),
) {
    let kind = if fault.code == "53300" { EventKind::Limit } else { EventKind::Login };
    let message = match cause {
        Some(cause) => format!("{}: {cause}", fault.message),
        None => fault.message.clone().into_owned(),
    };
    pooler.record_event(("warn", kind), (&wish.database, &wish.user), &message);
    match pooler.common.words {
        Words::PostgreSql => tracing::warn!(
            client = id, %peer, user = wish.user, database = wish.database,
            method = connection.0.config.auth.auth_type.as_str(), tls = !connection.1.is_empty(),
            tls_version = connection.1,
            code = fault.code, "login failed: {message}"
        ),
        Words::PgBouncer => {
            if pooler.current().config.log.log_connections {
                log_attempt((id, peer), wish, connection.1);
            }
            log_refusal(pooler, (id, peer, since), (&wish.database, &wish.user), fault);
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
    let ((database, user), age) = (names, since.elapsed().as_secs());
    let (said, log) = (fault.clone().in_words(pooler.common.words), &pooler.current().config.log);
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
fn log_attempt((id, peer): (u64, &Peer), wish: &Wish, tls: &str) {
    let Wish { user, database, .. } = wish;
    let replication = wish.extras.iter().find(|(name, _)| name == "replication");
    let replication = replication.map_or("no", |(_, value)| value.as_str());
    let tls = if tls.is_empty() { "no" } else { tls };
    let (db, name) = (as_one_word(database), as_one_word(user));
    let replication = as_one_word(replication);
    tracing::info!(
        client = id, %peer, user, database,
        "login attempt: db={db} user={name} tls={tls} replication={replication}"
    );
}
