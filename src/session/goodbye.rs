//! The end of a session: what the client is told, and what becomes of its server.

use super::card::Order;
use super::gate::Gate;
use super::route::Mode;
use super::run::{End, Phase, Session};
use crate::backend::clean::{CleanError, Reach};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::backend::state::Rest;
use crate::fault::Scope;
use crate::pool::Lease;
use crate::wire;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A clean-up takes no longer, whatever `cancel_wait_timeout` says.
const LONGEST: Duration = Duration::from_secs(60);
/// The one reset query after which everything is known.
const DISCARD_ALL: &str = "DISCARD ALL";

/// Longest good-bye to a client that does not read.
const FAREWELL: Duration = Duration::from_secs(5);

/// No client has this number.
const NOBODY: u64 = u64::MAX;

impl Session {
    /// The end of a session: the client is told why, and its server is cleaned for the next one.
    pub(super) async fn farewell(&mut self, end: End) {
        self.card.set_alarm(None);
        // From here on no cancel request of this client reaches the server, who gets it next.
        self.card.unlinks();
        if self.card.take(Order::Kill) {
            kill(self);
        }
        if let Some(lease) = self.lease.take() {
            release(self, lease);
        }
        self.phase = Phase::Idle;
        let reason = self.part(end).await;
        if self.options.log_disconnections {
            let about = &self.card.about;
            tracing::info!(
                client = self.card.id, peer = %about.peer, user = %self.route.user,
                database = %self.route.database, age = age(about.since),
                "closing because: {reason}"
            );
        }
    }

    async fn part(&mut self, end: End) -> String {
        let (mut unsent, words) = (None, self.words());
        let reason = match end {
            End::Left => "client close request".to_owned(),
            End::ClientLost(error) => {
                let lost = format!("client connection lost: {error}");
                return words.choose(lost, "client unexpected eof".to_owned());
            }
            End::Quietly(reason) => reason,
            End::ServerSaid => {
                words.choose("server closed the connection", "server conn crashed?").to_owned()
            }
            End::Fault(fault) => {
                self.log_fault(&fault);
                debug_assert_eq!(fault.scope, Scope::Session);
                let (mut out, said) = (Vec::new(), fault.in_words(words));
                wire::fault(&mut out, &said);
                unsent = Some(out);
                said.message.into_owned()
            }
            End::Told(out, reason) => {
                unsent = Some(out);
                reason
            }
        };
        // In the middle of a message nothing can be said any more.
        unsent = unsent.filter(|_| !self.mid_frame);
        let closed = poll_fn(|cx| {
            if let Some(out) = unsent.take() {
                self.client.write(cx, &out)?;
            }
            self.client.poll_close(cx)
        });
        // A client that does not read what it is told is not waited for.
        drop(tokio::time::timeout(FAREWELL, closed).await);
        reason
    }
}

/// Whole seconds since then.
fn age(since: SystemTime) -> u64 {
    since.elapsed().unwrap_or_default().as_secs()
}

/// Gives the server back, at once if it is at rest and clean, else by a task that cleans it first.
/// Whatever cannot be cleaned is closed.
pub(super) fn release(session: &Session, mut lease: Lease) {
    let options = &session.options;
    let half_asked = session.gate.as_ref().is_some_and(Gate::is_ours);
    if session.dedicated {
        return lease.server().ends("replication client was closed");
    }
    if session.server_said {
        return;
    }
    if half_asked {
        return lease.server().ends("client disconnect while server was not ready");
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
        let server = lease.server();
        return server.ends("client disconnect before everything was sent to the server");
    }
    let reset_all = reset.as_deref() == Some(DISCARD_ALL);
    if whole_session && !reset_all {
        // The session may have changed any setting, and only DISCARD ALL is understood.
        lease.server().tainted_by = Some(NOBODY);
    }
    let Err(lease) = (if reset.is_none() { lease.try_return() } else { Err(lease) }) else {
        return;
    };
    let worker = Rc::clone(&session.worker);
    let limit = options.cancel_wait_timeout.unwrap_or(LONGEST).min(LONGEST);
    let neutral = Arc::clone(&session.route.account.neutral);
    tokio::task::spawn_local(async move {
        let mut lease = lease;
        let reach = Reach { resolver: &worker.resolver, tcp: &worker.tcp };
        let server = lease.server();
        let cleaning = clean(server, reach, reset.as_deref(), &neutral);
        match tokio::time::timeout(limit, cleaning).await {
            Ok(Ok(())) => {
                if let Err(mut lease) = lease.try_return() {
                    lease.server().ends("client disconnect while server was not ready");
                }
            }
            Ok(Err(error)) => server.ends(format!("reset query failed: {error}")),
            Err(_) => server.ends("client disconnected with query in progress"),
        }
    });
}

/// Closes the server, and cancels what it runs: PostgreSQL itself would find out only when it has
/// something to say.
pub(super) fn kill(session: &mut Session) {
    let is_busy = session.lease.as_mut().is_some_and(|lease| lease.server().rest() != Rest::AtRest);
    if is_busy {
        session.deliver_cancel();
    }
    if let Some(mut lease) = session.lease.take() {
        lease.server().ends("admin forced disconnect");
    }
}

/// Brings the server to rest and runs the reset query. One of the operator's own may leave
/// prepared statements behind, ours and the client's: they go as well, since the next session
/// would meet their names.
async fn clean(
    server: &mut Server,
    reach: Reach<'_>,
    reset: Option<&str>,
    neutral: &Arc<Settings>,
) -> Result<(), CleanError> {
    server.clean(reach, reset).await?;
    match reset {
        None => Ok(()),
        Some(DISCARD_ALL) => server.renewed(neutral).await,
        Some(_) => server.run("DEALLOCATE ALL").await,
    }
}
