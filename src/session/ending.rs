//! The end of a session: what the client is told, and what becomes of its server.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::client_handle::Order;
use super::effects::Effects;
use super::flow::End;
use super::gate::Gate;
use super::kept::Aside;
use super::route::Mode;
use super::run::{Phase, Session};
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

/// How long the last message waits for a client that does not read.
const LAST_WRITE_MAX: Duration = Duration::from_secs(5);

/// Why a server is closed whose client an administrator has ended.
const KILLED: &str = "admin forced disconnect";

/// An id that no client has.
const NO_CLIENT: u64 = u64::MAX;

impl Session {
    /// The end of a session: the client is told why, and its server is cleaned for the next one.
    pub(super) async fn finish(&mut self, end: End) {
        let client = &mut self.client;
        client.handle.set_alarm(None);
        // From here on no cancel request of this client reaches the server, which others get next.
        client.handle.end();
        client.handle.clear_server();
        let is_killed = client.handle.take_order(Order::Kill);
        if let Phase::Bound(bound) = std::mem::replace(&mut self.phase, Phase::Idle) {
            if is_killed {
                client.kill(*bound);
            } else {
                client.release(*bound);
            }
        }
        for aside in self.kept.iter_mut().flat_map(|kept| kept.take_all()) {
            client.let_go(aside, if is_killed { Some(KILLED) } else { None });
        }
        let reason = client.disconnect(end).await;
        if client.options.log_disconnections {
            let info = &client.handle.info;
            tracing::info!(
                client = client.handle.id, peer = %info.peer, user = %client.route.user,
                database = %client.route.database, age = age(info.since),
                "closing because: {reason}"
            );
        }
    }
}

/// What is to be done with a server before others get it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Release {
    /// It is closed, for this reason.
    Close(&'static str),
    /// It goes back if it is at rest, else it is brought to rest.
    Return,
    /// It runs this first.
    Reset(String),
}

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
struct Left<'a> {
    is_dedicated: bool,
    has_sent_fatal: bool,
    /// A question of ours is not answered.
    is_asked: bool,
    /// It waits for the rest of a message that nobody is going to send.
    is_mid_message: bool,
    leaves_state: bool,
    /// The session may have left something that the next one must not find.
    has_left: bool,
    mode: Mode,
    reset_query: Option<&'a str>,
}

impl Left<'_> {
    fn release(self) -> Release {
        if self.is_dedicated {
            return Release::Close("replication client was closed");
        }
        if self.has_sent_fatal {
            return Release::Close("server closed the connection");
        }
        if self.is_asked {
            return Release::Close("client disconnect while server was not ready");
        }
        if self.is_mid_message {
            return Release::Close("client disconnect before everything was sent to the server");
        }
        if self.leaves_state {
            return Release::Close("its session left state that cannot be undone");
        }
        let reset = match self.mode {
            Mode::Session => self.reset_query,
            Mode::Transaction | Mode::Statement => self.has_left.then_some(DISCARD_ALL),
        };
        reset.map_or(Release::Return, |reset| Release::Reset(reset.to_owned()))
    }
}

impl Client {
    async fn disconnect(&mut self, end: End) -> String {
        let (mut unsent, style) = (None, self.message_style());
        let reason = match end {
            End::Left => "client close request".to_owned(),
            End::ClientLost(error) => {
                let lost = format!("client connection lost: {error}");
                return style.choose(lost, "client unexpected eof".to_owned());
            }
            End::ProtocolError(reason) => reason.into(),
            End::ServerSentFatal => {
                style.choose("server closed the connection", "server conn crashed?").to_owned()
            }
            End::Fault(fault) => {
                self.log_fault(&fault);
                debug_assert_eq!(fault.scope, Scope::Session);
                let (mut out, said) = (Vec::new(), fault.in_style(style));
                wire::fault(&mut out, &said);
                unsent = Some(out);
                said.message.into_owned()
            }
            End::ServerError(error) => {
                unsent = Some(error.message);
                error.reason
            }
        };
        // In the middle of a message nothing can be said any more.
        unsent = unsent.filter(|_| !self.pipe.mid_frame);
        let stream = &mut self.pipe.stream;
        let closed = poll_fn(|cx| {
            if let Some(out) = unsent.take() {
                stream.write(cx, &out)?;
            }
            stream.poll_close(cx)
        });
        // A client that does not read what it is told is not waited for.
        drop(tokio::time::timeout(LAST_WRITE_MAX, closed).await);
        reason
    }

    /// Gives the server back, at once if it is at rest and clean, else by a task that cleans it first.
    /// Whatever cannot be cleaned is closed.
    pub(super) fn release(&self, bound: Bound) {
        let options = &self.options;
        let checked = bound.effects.intersects(Effects::CHECKED | Effects::KEEPS_SERVER);
        let is_pinned = bound.pin.is_some() || self.state.statements.pin().is_some();
        let left = Left {
            is_dedicated: self.is_dedicated(),
            has_sent_fatal: bound.has_sent_fatal,
            is_asked: bound.gate.as_ref().is_some_and(Gate::is_ours),
            is_mid_message: self.pipe.is_broken
                || (self.pipe.passing > 0 && self.pipe.pass == Passing::Forward),
            leaves_state: bound.effects.intersects(Effects::KEEPS_SERVER),
            has_left: checked || is_pinned || bound.gate.is_some(),
            mode: options.mode,
            reset_query: options.server_reset_query.as_deref(),
        };
        self.carry_out(left.release(), bound.lease);
    }

    /// Gives a server back that the session had aside, cleaned; or closes it, if there is a reason.
    pub(super) fn let_go(&self, aside: Aside, close: Option<&'static str>) {
        let left = Left {
            is_dedicated: false,
            has_sent_fatal: false,
            is_asked: false,
            is_mid_message: false,
            leaves_state: false,
            has_left: false,
            mode: self.options.mode,
            reset_query: self.options.server_reset_query.as_deref(),
        };
        self.carry_out(close.map_or_else(|| left.release(), Release::Close), aside.lease);
    }

    fn carry_out(&self, release: Release, mut lease: Lease) {
        let reset = match release {
            Release::Close(reason) => return lease.server().set_close_reason(reason),
            Release::Return => None,
            Release::Reset(reset) => Some(reset),
        };
        if self.options.mode == Mode::Session && reset.as_deref() != Some(DISCARD_ALL) {
            // The session may have changed any setting, and only DISCARD ALL is understood.
            lease.server().tainted_by = Some(NO_CLIENT);
        }
        let Err(lease) = (if reset.is_none() { lease.try_return() } else { Err(lease) }) else {
            return;
        };
        self.clean(lease, reset);
    }

    /// Cleans a server in a task of its own, for a limited time.
    fn clean(&self, mut lease: Lease, reset: Option<String>) {
        let worker = Rc::clone(&self.worker);
        let limit = self.options.cancel_wait_timeout.unwrap_or(LONGEST).min(LONGEST);
        let neutral = Arc::clone(&self.route.account.neutral);
        tokio::task::spawn_local(async move {
            let reach = Reach { resolver: &worker.resolver, tcp: &worker.tcp };
            let server = lease.server();
            let cleaning = clean(server, reach, reset.as_deref(), &neutral);
            match tokio::time::timeout(limit, cleaning).await {
                Ok(Ok(())) => {
                    if let Err(mut lease) = lease.try_return() {
                        lease
                            .server()
                            .set_close_reason("client disconnect while server was not ready");
                    }
                }
                Ok(Err(error)) => server.set_close_reason(format!("reset query failed: {error}")),
                Err(_) => server.set_close_reason("client disconnected with query in progress"),
            }
        });
    }

    /// Closes the server, and cancels what it runs: PostgreSQL itself would find out only when it has
    /// something to say.
    fn kill(&self, mut bound: Bound) {
        if bound.server().rest() != Rest::AtRest {
            self.deliver_cancel(&mut bound);
        }
        bound.server().set_close_reason(KILLED);
    }
}

/// Whole seconds since then.
fn age(since: SystemTime) -> u64 {
    since.elapsed().unwrap_or_default().as_secs()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release() {
        let left = Left {
            is_dedicated: false,
            has_sent_fatal: false,
            is_asked: false,
            is_mid_message: false,
            leaves_state: false,
            has_left: false,
            mode: Mode::Transaction,
            reset_query: Some("RESET ALL"),
        };
        let reset = |sql: &str| Release::Reset(sql.to_owned());
        assert_eq!(left.release(), Release::Return);
        assert_eq!(Left { has_left: true, ..left }.release(), reset(DISCARD_ALL));
        let session = Left { mode: Mode::Session, ..left };
        assert_eq!(session.release(), reset("RESET ALL"));
        assert_eq!(Left { reset_query: None, ..session }.release(), Release::Return);
        for closed in [
            Left { is_dedicated: true, ..left },
            Left { has_sent_fatal: true, ..left },
            Left { is_asked: true, ..left },
            Left { is_mid_message: true, ..left },
            Left { leaves_state: true, ..left },
        ] {
            assert!(matches!(closed.release(), Release::Close(_)), "{closed:?}");
        }
    }
}
