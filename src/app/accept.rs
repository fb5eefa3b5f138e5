//! The way of a client from its first byte to its worker or to the console. Runs on the control
//! thread.

use super::cancel;
use super::cancel_requests::Requester;
use super::console;
use super::login::admit::{admit, hand_over};
use super::login::authenticate::tls_of;
use super::login::guards::LoginGuard;
use super::login::lines::{log_failed_login, log_refusal};
use super::login::refusals::{Ended, close, dismiss, refused, too_late};
use super::pooler::Pooler;
use crate::metrics::EventKind;
use crate::net::{Framed, Listener, Peer, Stream};
use crate::session::first_packet::{FirstPacket, read_first_packet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Longest time between the first and the last packet that open a connection.
const HANDSHAKE: Duration = Duration::from_millis(300);

/// The listeners and the tasks that accept clients.
pub(super) struct Entrance {
    listeners: Vec<Rc<Listener>>,
    accepting: Vec<JoinHandle<()>>,
}

impl Entrance {
    /// Accepts from here on.
    pub(super) fn open(pooler: &Rc<Pooler>, listeners: Vec<Listener>) -> Self {
        let listeners: Vec<_> = listeners.into_iter().map(Rc::new).collect();
        let accept = |listener: &Rc<Listener>| {
            tokio::task::spawn_local(accept(Rc::clone(pooler), Rc::clone(listener)))
        };
        Self { accepting: listeners.iter().map(accept).collect(), listeners }
    }

    /// Returns when nobody comes in any more. `to_others`: other processes share the port.
    pub(super) async fn close(self, to_others: bool) {
        if to_others {
            for listener in &self.listeners {
                if let Err(error) = listener.turn_away() {
                    tracing::warn!("clients that connect in this moment may be reset: {error}");
                }
            }
            tokio::time::sleep(HANDSHAKE).await;
        }
        for task in self.accepting {
            task.abort();
            drop(task.await);
        }
    }
}

async fn accept(pooler: Rc<Pooler>, listener: Rc<Listener>) {
    loop {
        let (stream, peer) = listener.accept().await;
        tokio::task::spawn_local(receive(Rc::clone(&pooler), stream, peer));
    }
}

/// Serves one accepted connection until it is handed to a worker, or over.
async fn receive(pooler: Rc<Pooler>, stream: Stream, peer: Peer) {
    let (id, since) = (pooler.common.clients.next_id(), Instant::now());
    let begun = pooler.admission.lock().begin_login();
    let mut guard = match begun {
        Ok(login) => LoginGuard { admission: Arc::clone(&pooler.admission), login: Some(login) },
        Err(limit) => {
            let fault = refused(&limit);
            log_refusal(&pooler, (id, &peer, since), ("", ""), &fault);
            pooler.record_event(("warn", EventKind::Limit), ("", ""), &fault.message);
            dismiss(&pooler, Framed::new(stream), fault).await;
            return;
        }
    };
    let now = pooler.current();
    let limit = now.config.timeouts.client_login_timeout.unwrap_or(Duration::MAX);
    let deadline = since.checked_add(limit);
    let first = read_first_packet(stream, &now.tls, &now.config.pool.ignore_startup_parameters);
    let first = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, first).await,
        None => Ok(first.await),
    };
    match first {
        Ok(FirstPacket::Nothing) => {}
        // A client that has not sent its startup packet gets no answer.
        Err(_) => tracing::debug!(client = id, %peer, "closing because: client_login_timeout"),
        Ok(FirstPacket::Cancel(connection, key)) => {
            pass_cancel_request(&pooler, id, connection, &key).await
        }
        Ok(FirstPacket::Refused(framed, fault)) => {
            log_refusal(&pooler, (id, &peer, since), ("", ""), &fault);
            dismiss(&pooler, framed, fault).await;
        }
        Ok(FirstPacket::Session(framed, startup)) if console::is_console(&startup.database) => {
            let who = console::ConsoleLogin { id, peer, since, startup };
            let login = console::enter((&pooler, &now), framed, who);
            let entered = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, login).await,
                None => Ok(login.await),
            };
            drop(guard);
            if let Ok(Some(session)) = entered {
                console::serve(&pooler, session).await;
            }
        }
        Ok(FirstPacket::Session(mut framed, startup)) => {
            let admitted = admit((&pooler, &now), &mut framed, &startup, &mut guard);
            let admitted = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, admitted).await,
                None => Ok(admitted.await),
            };
            let ended = match admitted {
                Ok(Ok((destination, client))) => {
                    hand_over(&pooler, (id, peer), framed, startup, (destination, client)).await;
                    return;
                }
                Ok(Err(Ended::Left(reason))) => {
                    tracing::debug!(client = id, %peer, "client left during login: {reason}");
                    return;
                }
                Ok(Err(Ended::Refused(fault))) => (fault, None),
                Ok(Err(Ended::Denied(fault, cause))) => (*fault, Some(cause)),
                Err(_) => (too_late(), None),
            };
            let ((fault, cause), tls) = (ended, tls_of(&mut framed));
            let told = (&fault, cause.as_deref());
            log_failed_login(&pooler, (id, &peer, since), &startup, (&now, &tls), told);
            dismiss(&pooler, framed, fault).await;
        }
    }
}

async fn pass_cancel_request(pooler: &Pooler, id: u64, mut connection: Framed, key: &[u8]) {
    let stream = connection.stream();
    let asker = Requester { id, ends: stream.endpoints(), tls: stream.tls_words() };
    cancel::by_key(pooler, key, asker).await;
    close(connection).await;
}
