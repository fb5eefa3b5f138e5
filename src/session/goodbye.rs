//! What becomes of a server whose client has left.

use super::route::Mode;
use super::run::Session;
use crate::backend::clean::{CleanError, Reach};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::pool::Lease;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A clean-up takes no longer, whatever `cancel_wait_timeout` says.
const LONGEST: Duration = Duration::from_secs(60);
/// The one reset query after which everything is known.
const DISCARD_ALL: &str = "DISCARD ALL";
/// Settings that a server reports and a session may change (manual, "Asynchronous Operations").
const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "datestyle",
    "default_transaction_read_only",
    "intervalstyle",
    "scram_iterations",
    "search_path",
    "standard_conforming_strings",
    "timezone",
];

/// Gives the server back, at once if it is at rest and clean, else by a task that cleans it first.
/// Whatever cannot be cleaned is closed.
pub(super) fn release(session: &Session, mut lease: Lease) {
    let options = &session.options;
    if session.dedicated || session.server_said {
        return;
    }
    let whole_session = options.mode == Mode::Session;
    let left_behind = session.pinned || session.effects != 0 || session.gate.is_some();
    let reset = if whole_session {
        options.server_reset_query.as_deref().map(str::to_owned)
    } else {
        left_behind.then(|| DISCARD_ALL.to_owned())
    };
    if session.passing > 0 && session.pass == super::run::Passing::Forward {
        // It waits for the rest of a message that nobody is going to send.
        return;
    }
    let known = match reset.as_deref() {
        Some(DISCARD_ALL) => Some(Arc::clone(&session.route.account.neutral)),
        Some(_) | None => whole_session.then(|| unsure(session, lease.server())),
    };
    if let (None, Some(known)) = (&reset, &known) {
        lease.server().settings = Arc::clone(known);
    }
    let Err(lease) = (if reset.is_none() { lease.try_return() } else { Err(lease) }) else {
        return;
    };
    let worker = Rc::clone(&session.worker);
    let limit = options.cancel_wait_timeout.unwrap_or(LONGEST).min(LONGEST);
    tokio::task::spawn_local(async move {
        let mut lease = lease;
        let reach = Reach { resolver: &worker.resolver, tcp: &worker.tcp };
        let server = lease.server();
        match tokio::time::timeout(limit, clean(server, reach, reset.as_deref())).await {
            Ok(Ok(())) => {
                if let Some(known) = known {
                    server.settings = known;
                }
                drop(lease.try_return());
            }
            Ok(Err(error)) => log(server.cancel.process_id(), &error),
            Err(_) => log(server.cancel.process_id(), &CleanError::Unprovable),
        }
    });
}

/// Brings the server to rest and runs the reset query. One of the operator's own may leave
/// prepared statements behind, ours and the client's: they go as well, since the next session
/// would meet their names.
async fn clean(
    server: &mut Server,
    reach: Reach<'_>,
    reset: Option<&str>,
) -> Result<(), CleanError> {
    server.clean(reach, reset).await?;
    match reset {
        None | Some(DISCARD_ALL) => Ok(()),
        Some(_) => server.run("DEALLOCATE ALL").await,
    }
}

/// What is known of the server's settings behind a session that may have changed any and was not
/// reset by `DISCARD ALL`: nothing of those that we gave it and those that it reports. They get a
/// value that none can have, so that the next session resets or sets them. Everything else is up
/// to the reset query.
fn unsure(session: &Session, server: &Server) -> Arc<Settings> {
    const NO_VALUE: &str = "\0";
    let account = &session.route.account;
    let fresh = account.welcomes.find(&account.neutral);
    let is_fresh = |name: &[u8], value: &[u8]| {
        fresh.as_ref().is_some_and(|all| all.iter().any(|(n, v)| **n == *name && **v == *value))
    };
    let changed = server.reported.iter().filter(|(name, value)| !is_fresh(name, value));
    let changed = changed.filter_map(|(name, _)| std::str::from_utf8(name).ok());
    let changed = changed.map(str::to_ascii_lowercase).filter(|n| REPORTED.contains(&n.as_str()));
    let given = server.settings.iter().map(|(name, _)| name.to_owned());
    let unknown = given.chain(changed).map(|name| (name, NO_VALUE.to_owned()));
    session.worker.common.settings.intern(unknown)
}

fn log(pid: u32, error: &CleanError) {
    tracing::info!(pid, "closing server: it could not be cleaned: {error}");
}
