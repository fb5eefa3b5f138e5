//! The console's clients: their login and their messages.
//!
//! Runs on the control thread, so that it answers however busy the workers are, and takes nothing
//! from the limits for clients. The protocol is [`crate::admin`]'s.

use super::database::{is_console, name};
use super::orders;
use crate::admin::{Console, LOGIN_PARAMETERS, Step};
use crate::app::current::Current;
use crate::app::login::authenticate::{prove, tls_of};
use crate::app::login::guards::HandleGuard;
use crate::app::login::lines::{log_failed_login, log_login};
use crate::app::login::refusals::{Ended, dismiss};
use crate::app::pooler::Pooler;
use crate::app::version::PGBOUNCER_SERVER;
use crate::fault::{Fault, MessageStyle, Side};
use crate::net::{FrameError, Framed, Peer, Socket};
use crate::session::client_handle::{ClientHandle, ClientInfo, Replication};
use crate::session::startup_request::StartupRequest;
use crate::wire::{self, client, server};
use std::rc::Rc;
use std::sync::Arc;
use tokio::time::Instant;

/// Longest message of a client.
const MESSAGE_MAX: usize = 64 * 1024;

/// A client of the console that logs in.
pub(in crate::app) struct ConsoleLogin {
    /// Its number, in the log.
    pub id: u64,
    /// Its end of the connection.
    pub peer: Peer,
    /// When it came.
    pub since: Instant,
    /// Its startup packet.
    pub startup: StartupRequest,
}

/// A client of the console that is logged in.
pub(in crate::app) struct ConsoleSession {
    framed: Framed,
    method: &'static str,
    console: Console,
    listed: HandleGuard,
    user: String,
}

/// Logs the client in, or refuses it. The caller sets the deadline.
pub(in crate::app) async fn enter(
    (pooler, now): (&Rc<Pooler>, &Current),
    mut framed: Framed,
    who: ConsoleLogin,
) -> Option<ConsoleSession> {
    let fault = match admit(pooler, now, &mut framed, &who).await {
        Ok(may_order) => match complete_login(pooler, &mut framed, &who).await {
            Ok(listed) => {
                let (console, user) =
                    (Console::new(may_order, pooler.common.message_style), who.startup.user);
                let method = now.config.auth.auth_type.as_str();
                return Some(ConsoleSession { framed, method, console, listed, user });
            }
            Err(reason) => {
                tracing::debug!(client = who.id, "client left during login: {reason}");
                return None;
            }
        },
        Err(Ended::Refused(fault)) => (fault, None),
        Err(Ended::Denied(fault, cause)) => (*fault, Some(cause)),
        Err(Ended::Left(reason)) => {
            tracing::debug!(client = who.id, "client left during login: {reason}");
            return None;
        }
    };
    let tls = tls_of(&mut framed);
    let (fault, cause) = fault;
    let told = (&fault, cause.as_deref());
    log_failed_login(pooler, (who.id, &who.peer, who.since), &who.startup, (now, &tls), told);
    dismiss(pooler, framed, fault).await;
    None
}

/// Whether the visitor may order, or only look.
async fn admit(
    pooler: &Pooler,
    now: &Current,
    framed: &mut Framed,
    who: &ConsoleLogin,
) -> Result<bool, Ended> {
    let user = &who.startup.user;
    if is_console(user) && is_our_own(framed) {
        return Ok(true);
    }
    prove(pooler, now, framed, &who.startup).await?;
    let options = &now.config.howdah;
    if options.admin_users.contains(user) {
        return Ok(true);
    }
    if options.stats_users.contains(user) {
        return Ok(false);
    }
    let text = format!("user \"{user}\" may not use the console");
    let fault = Fault::session(Side::Client, "42501", text)
        .hint("The users in admin_users and stats_users may.")
        .pgbouncer("not allowed");
    Err(Ended::Refused(fault))
}

/// Whether a Unix socket's other end belongs to the user that we run as: it could do anything to
/// this process without the console.
fn is_our_own(framed: &mut Framed) -> bool {
    let Some(Socket::Unix(socket)) = framed.stream().socket() else { return false };
    let own = rustix::process::geteuid().as_raw();
    socket.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

async fn complete_login(
    pooler: &Pooler,
    framed: &mut Framed,
    who: &ConsoleLogin,
) -> Result<HandleGuard, String> {
    let info = ClientInfo {
        route: None,
        peer: who.peer.clone(),
        since: std::time::SystemTime::now(),
        tls: framed.stream().tls_words(),
        ends: framed.stream().endpoints(),
        replication: Replication::None,
    };
    let handle = pooler.common.clients.register(who.id, info).map_err(|error| error.to_string())?;
    // It goes too when the login ends here, by an error or by its deadline.
    let listed = HandleGuard { common: Arc::clone(&pooler.common), handle };
    let mut out = Vec::new();
    server::authentication(&mut out, 0, b"");
    for (name, value) in LOGIN_PARAMETERS {
        let is_version =
            *name == "server_version" && pooler.common.message_style == MessageStyle::PgBouncer;
        let value = if is_version { PGBOUNCER_SERVER } else { value };
        server::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    server::backend_key(&mut out, listed.handle.key());
    server::ready(&mut out, wire::IDLE);
    framed.send(&out).await.map_err(|error| error.to_string())?;
    Ok(listed)
}

/// Serves a client of the console to its end.
pub(in crate::app) async fn serve(pooler: &Rc<Pooler>, session: ConsoleSession) {
    let ConsoleSession { mut framed, method, mut console, listed, user } = session;
    let handle = &listed.handle;
    let tls = tls_of(&mut framed);
    let database = name(pooler.common.message_style).to_owned();
    let startup = StartupRequest { user, database, ..StartupRequest::default() };
    log_login(pooler, (handle.id, &handle.info.peer), &startup, (method, &tls));
    let reason = converse(pooler, &mut framed, &mut console, handle).await;
    if pooler.is_suspended_by(handle.id) {
        pooler.resume();
        tracing::info!(client = handle.id, "resumed: the console that suspended has left");
    }
    if pooler.current().config.log.log_disconnections {
        let info = &handle.info;
        let age = info.since.elapsed().unwrap_or_default().as_secs();
        tracing::info!(
            client = handle.id, peer = %info.peer, user = startup.user, database = startup.database, age,
            "closing because: {reason}"
        );
    }
}

async fn converse(
    pooler: &Rc<Pooler>,
    framed: &mut Framed,
    console: &mut Console,
    handle: &ClientHandle,
) -> String {
    let mut out = Vec::new();
    loop {
        // Answers to a batch leave together, behind its Sync.
        let frame = match framed.frame(MESSAGE_MAX).await {
            Ok(frame) => frame,
            Err(FrameError::Malformed(error)) => {
                wire::fault(&mut out, &Fault::protocol(error.to_string()));
                drop(framed.send(&out).await);
                return error.to_string();
            }
            Err(error) => return error.to_string(),
        };
        let mut step = console.take(frame.tag, &frame.body, &mut out);
        while let Step::Run(command) = step {
            if let Err(error) = send(framed, &mut out).await {
                return error;
            }
            let outcome = tokio::select! {
                biased; // What is done at once is done, whoever leaves meanwhile.
                outcome = orders::carry_out(pooler, &command, handle) => outcome,
                error = framed.ended(MESSAGE_MAX) => return error.to_string(),
            };
            step = console.answer(outcome, &mut out);
        }
        let is_end = matches!(
            frame.tag,
            client::QUERY | client::SYNC | client::FLUSH | client::FUNCTION_CALL
        );
        if (is_end || step == Step::Leave)
            && let Err(error) = send(framed, &mut out).await
        {
            return error;
        }
        if step == Step::Leave {
            return "client close request".to_owned();
        }
    }
}

async fn send(framed: &mut Framed, out: &mut Vec<u8>) -> Result<(), String> {
    framed.send(out).await.map_err(|error| error.to_string())?;
    out.clear();
    Ok(())
}
