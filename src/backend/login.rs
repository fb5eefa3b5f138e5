//! Opens a connection to PostgreSQL and logs in.
//!
//! Runs on the control thread only: deriving keys and TLS handshakes never delay a query.

use super::cancel::CancelTarget;
use super::clean::CleanError;
use super::key_cache::{KeyCache, KeyOrigin};
use super::reported_parameters::ReportedParameters;
use super::server::{Reported, Sequences, Server};
use super::settings::{Baseline, Settings};
use super::state::Replies;
use super::statements::Prepared;
use crate::auth::{
    AuthRequest, Credential, KeyRequest, LoginError, LoginStep, ScramKeys, ServerLogin,
};
use crate::fault::{Fault, MessageStyle, Side};
use crate::net::{
    FrameError, Framed, NodeAddress, NodeHost, Resolver, ServerTls, SslMode, Stream, TcpOptions,
    dial, handshake, tls_server_end_point,
};
use crate::sql;
use crate::wire::{self, client, server};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Longest message that a server may send before it is ready.
const LOGIN_FRAME_MAX: usize = 1 << 20;
/// ParameterStatus messages that are remembered.
const REPORTED_MAX: usize = 256;

/// Where and as whom to log in.
#[derive(Debug)]
pub struct Account {
    /// The node.
    pub address: NodeAddress,
    /// The user on the server.
    pub user: Box<str>,
    /// The database on the server.
    pub dbname: Box<str>,
    /// What proves it. Replaced when a client's login gives better keys.
    pub credential: Mutex<Credential>,
    /// Run once on each new connection.
    pub connect_query: Option<Box<str>>,
    /// What a server without settings of ours has.
    pub neutral: Arc<Settings>,
    /// The parameters that its servers report, by settings.
    pub reported_parameters: ReportedParameters,
    /// Told when another account has taken its place: nobody wants a server of this one any more.
    pub replaced: Notify,
}

/// Nanoseconds of a clock that counts while the machine sleeps.
pub fn boot_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Distinct sets of reported parameters that are looked for.
const REPORTED_SHARED_MAX: usize = 64;

/// What servers have reported at login: the same from most of them, and kept once. Belongs to one
/// thread.
#[derive(Debug, Default)]
pub struct SharedReports(RefCell<Vec<Weak<Reported>>>);

impl SharedReports {
    /// The same report, if one is in use already.
    fn share(&self, reported: Reported) -> Arc<Reported> {
        let mut known = self.0.borrow_mut();
        known.retain(|report| report.strong_count() > 0);
        let same = |report: &Weak<Reported>| report.upgrade().filter(|it| **it == reported);
        if let Some(found) = known.iter().find_map(same) {
            return found;
        }
        if known.len() >= REPORTED_SHARED_MAX {
            known.remove(0);
        }
        let reported = Arc::new(reported);
        known.push(Arc::downgrade(&reported));
        reported
    }
}

/// What all logins share.
#[derive(Debug)]
pub struct LoginContext {
    /// What servers have reported at login.
    pub reports: SharedReports,
    /// Resolves names.
    pub resolver: Resolver,
    /// Socket options.
    pub tcp: TcpOptions,
    /// `server_connect_timeout`; `None` is no limit.
    pub connect_timeout: Option<Duration>,
    /// Keys that were derived from passwords.
    pub keys: KeyCache,
    /// Encryption towards servers.
    pub tls: ServerTls,
}

/// Why there is no server.
#[derive(Clone, Debug, Error)]
pub enum LoginFailure {
    /// The server refused, with its own words: SQLSTATE and the whole body of its error.
    #[error("{message} ({code})")]
    Refused {
        /// SQLSTATE.
        code: String,
        /// The primary message, for the log.
        message: String,
        /// The body of the ErrorResponse.
        body: Arc<[u8]>,
    },
    /// It cannot be reached.
    #[error("could not connect to server at {address}: {reason}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// It takes longer than `server_connect_timeout`.
    #[error("timed out connecting to server at {0} (server_connect_timeout)")]
    TimedOut(String),
    /// We and the server do not agree on how to log in.
    #[error("server login failed: {0}")]
    Password(#[from] LoginError),
    /// Encryption cannot be agreed upon.
    #[error("no encrypted connection to server at {address}: {reason}")]
    Tls {
        /// Where it is.
        address: String,
        /// Why not.
        reason: String,
    },
    /// It does not speak the protocol.
    #[error("server at {address} broke the protocol: {reason}")]
    Protocol {
        /// Where it is.
        address: String,
        /// How.
        reason: String,
    },
}

/// Whether it helps to try again although nobody has changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It does not: a wrong password, no such database, TLS refused.
    Lasting,
    /// Nobody answers there: down, no route, no such name. It may come back.
    Unreachable,
    /// The server answers, and will take us soon: it starts, stops, recovers, or is full.
    Passing,
}

/// SQLSTATEs, or their classes, of servers that refuse only for now: 53 insufficient resources, 08
/// connection exceptions, 57P01 to 57P03 shutdown and start, 57014 authentication_timeout.
const PASSING_CODES: [&str; 6] = ["53", "08", "57P01", "57P02", "57P03", "57014"];

impl LoginFailure {
    /// Whether trying again may help although nobody has changed anything.
    pub fn outlook(&self) -> Outlook {
        match self {
            Self::Refused { code, .. } if PASSING_CODES.iter().any(|it| code.starts_with(it)) => {
                Outlook::Passing
            }
            Self::TimedOut(_) => Outlook::Passing,
            Self::Unreachable { .. } => Outlook::Unreachable,
            Self::Refused { .. } | Self::Password(_) | Self::Tls { .. } | Self::Protocol { .. } => {
                Outlook::Lasting
            }
        }
    }

    /// The failure for the log, in this style. PgBouncer's lines quote the server's message.
    pub fn in_style(&self, style: MessageStyle) -> String {
        match (style, self) {
            (MessageStyle::PgBouncer, Self::Refused { message, .. }) => format!("FATAL {message}"),
            (MessageStyle::PgBouncer | MessageStyle::Postgres, _) => self.to_string(),
        }
    }

    /// Appends the error as a client is told it: the server's own words where there are any. A password
    /// that the server refuses is the configuration's, never the client's, and the text says so.
    pub fn encode(&self, out: &mut Vec<u8>, style: MessageStyle) {
        let hint = "Check the database's nodes and the server's log.";
        let cached = |what: &str| {
            format!("server login has been failing, cached error: {what} (server_login_retry)")
        };
        let fault = match self {
            Self::Refused { body, .. } => {
                let fields = wire::error_fields(body);
                if style == MessageStyle::Postgres && fields.code == b"28P01" {
                    let message = [POOLER_REFUSED.as_bytes(), b": ", fields.message].concat();
                    return wire::with_texts(out, body, &message, ASK_THE_OPERATOR.as_bytes());
                }
                return wire::with_message(out, body, fields.message);
            }
            Self::Unreachable { .. } => {
                unreachable().hint(hint).pgbouncer(cached("connect failed"))
            }
            Self::TimedOut(_) => unreachable().hint(hint).pgbouncer(cached("connect timeout")),
            Self::Password(_) => not_let_in().pgbouncer("server login failed: wrong password type"),
            Self::Tls { .. } => not_let_in().pgbouncer(cached("TLS startup failed")),
            Self::Protocol { .. } => {
                Fault::session(Side::Server, "08P01", "server login failed").hint(hint)
            }
        };
        wire::fault(out, &fault.in_style(style));
    }
}

/// What a client is told when the pooler, and not the client, has failed to prove who it is.
const POOLER_REFUSED: &str = "the pooler could not log in to the server";
const ASK_THE_OPERATOR: &str = "This is not your password: it is the one that the configuration of \
    howdah has for the server. Ask the administrator of howdah to correct it.";
const REASON_IN_THE_LOG: &str = "The reason is in the log of howdah. Ask its administrator.";

fn unreachable() -> Fault {
    Fault::session(Side::Server, "08006", "server connection failed")
}

fn not_let_in() -> Fault {
    Fault::session(Side::Operator, "28000", POOLER_REFUSED).hint(REASON_IN_THE_LOG)
}

/// Connects and logs in. Startup parameters beyond user and database are `extra`. Cancel safe:
/// dropping it closes the connection.
///
/// # Errors
/// Why there is no server.
pub async fn open(
    account: &Account,
    context: &LoginContext,
    extra: &[(Box<str>, Box<str>)],
) -> Result<Box<Server>, LoginFailure> {
    let login = log_in(account, context, extra);
    match context.connect_timeout {
        None => login.await,
        Some(limit) => match timeout(limit, login).await {
            Ok(done) => done,
            Err(_) => Err(LoginFailure::TimedOut(account.address.to_string())),
        },
    }
}

/// The order in which libpq tries encryption (manual, "SSL Mode Descriptions").
async fn log_in(
    account: &Account,
    context: &LoginContext,
    extra: &[(Box<str>, Box<str>)],
) -> Result<Box<Server>, LoginFailure> {
    let (first, second) = match (context.tls.mode(), &account.address.host) {
        (SslMode::Disable, _) | (_, NodeHost::SocketDir(_)) => (false, None),
        (SslMode::Allow, _) => (false, Some(true)),
        (SslMode::Prefer, _) => (true, Some(false)),
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, _) => (true, None),
    };
    let outcome = log_in_once(account, context, extra, first).await;
    match (outcome, second) {
        (Err(LoginFailure::Refused { code, .. }), Some(second)) if code == "28000" => {
            log_in_once(account, context, extra, second).await
        }
        (Err(LoginFailure::Tls { .. }), Some(second)) => {
            log_in_once(account, context, extra, second).await
        }
        (outcome, _) => outcome,
    }
}

/// Asks for encryption and begins it (manual, "SSL Session Encryption").
async fn encrypt(
    mut stream: Stream,
    account: &Account,
    tls: &ServerTls,
) -> Result<Stream, LoginFailure> {
    let failed =
        |reason: String| LoginFailure::Tls { address: account.address.to_string(), reason };
    let mut framed = Framed::new(stream);
    let mut out = Vec::new();
    wire::ssl_request(&mut out);
    framed.send(&out).await.map_err(|error| unreachable_node(account, &error))?;
    let answer = framed.peek(1).await.map_err(|error| lost(account, error))?.first().copied();
    drop(framed.consume(1));
    if framed.has_more() {
        return Err(broke(account, "received unencrypted data after SSL response".to_owned()));
    }
    stream = framed.into_parts().0;
    match answer {
        Some(b'S') => {}
        Some(b'N') if !tls.mode().requires_tls() => return Ok(stream),
        Some(b'N') => {
            return Err(failed(
                "the server does not support SSL, but sslmode requires it".to_owned(),
            ));
        }
        _ => return Err(broke(account, "unexpected answer to SSLRequest".to_owned())),
    }
    let connection =
        tls.connection(&account.address.host).map_err(|error| failed(error.to_string()))?;
    stream.start_tls(connection);
    handshake(&mut stream).await.map_err(|error| failed(error.to_string()))?;
    Ok(stream)
}

async fn log_in_once(
    account: &Account,
    context: &LoginContext,
    extra: &[(Box<str>, Box<str>)],
    encrypted: bool,
) -> Result<Box<Server>, LoginFailure> {
    let mut stream = dial(&account.address, &context.resolver, &context.tcp)
        .await
        .map_err(|error| unreachable_node(account, &error))?;
    if encrypted {
        stream = encrypt(stream, account, &context.tls).await?;
    }
    let mut framed = Framed::new(stream);
    let own = [("user", &*account.user), ("database", &*account.dbname)];
    let is_walsender = extra.iter().any(|(name, _)| **name == *"replication");
    let extra = extra.iter().map(|(name, value)| (&**name, &**value));
    let parameters = own.into_iter().chain(extra);
    let mut out = Vec::new();
    wire::startup_message(&mut out, parameters.map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    framed.send(&out).await.map_err(|error| unreachable_node(account, &error))?;
    authenticate(&mut framed, account, context).await?;
    let (reported, key) = read_login_messages(&mut framed, account).await?;
    let (stream, held) = framed.into_parts();
    let reported = context.reports.share(reported);
    let mut server = assemble(account, stream, Vec::clone(&reported), &key);
    server.reported = reported;
    server.held = held;
    let done = match &account.connect_query {
        Some(query) => prepare(&mut server, query, is_walsender).await,
        None if is_walsender => Ok(()),
        None => server.learn_role().await,
    };
    done.map_err(|error| connect_query_failed(account, &error))?;
    Ok(server)
}

/// Runs `connect_query`. The settings that it makes belong to the baseline, for every client. A
/// walsender may not be able to report them, but it serves one client only.
async fn prepare(server: &mut Server, query: &str, is_walsender: bool) -> Result<(), CleanError> {
    server.run(query).await?;
    if is_walsender {
        return Ok(());
    }
    let conforming = server.reported_parameter(b"standard_conforming_strings") != Some(b"off");
    let custom = match sql::facts(query.as_bytes(), conforming, &sql::NoVocabulary).settings {
        sql::Settings::Names(names) => names,
        sql::Settings::Unchanged | sql::Settings::Unknown => sql::Names::new(),
    };
    let custom: Vec<_> = custom.into_iter().filter(|name| name.contains('.')).collect();
    server.learn_baseline(&custom).await
}

/// A server that has just logged in: also the start of tests that bring their own stream.
#[doc(hidden)]
pub fn assemble(account: &Account, stream: Stream, reported: Reported, key: &[u8]) -> Box<Server> {
    Box::new(Server {
        stream,
        replies: Replies::default(),
        prepared: Prepared::default(),
        unnamed: 0,
        unnamed_by: 0,
        prepared_by: 0,
        opened: boot_nanos(),
        timeline: 0,
        sequences_by: 0,
        settings: Arc::clone(&account.neutral),
        baseline: Baseline::new(Arc::clone(&account.neutral)),
        tainted_by: None,
        sequences: Sequences::default(),
        is_closing: false,
        held: Vec::new(),
        rest_of_frame: 0,
        cancel: Arc::new(CancelTarget::new(account.address.clone(), key)),
        reported: Arc::new(reported),
        connection_log: None,
    })
}

fn unreachable_node(account: &Account, error: &io::Error) -> LoginFailure {
    let path = match &account.address.host {
        NodeHost::SocketDir(_) => " (Unix socket)",
        NodeHost::Ip(_) | NodeHost::Name(_) => "",
    };
    let address = format!("{}{path}", account.address);
    LoginFailure::Unreachable { address, reason: error.to_string() }
}

/// A server that goes away meanwhile comes back; a query that fails does so again.
fn connect_query_failed(account: &Account, error: &CleanError) -> LoginFailure {
    let reason = match account.connect_query {
        Some(_) => format!("connect_query: {error}"),
        None => error.to_string(),
    };
    match error {
        CleanError::Io(_) | CleanError::Closed => {
            LoginFailure::Unreachable { address: account.address.to_string(), reason }
        }
        CleanError::Malformed(_)
        | CleanError::OutOfStep(_)
        | CleanError::Unprovable
        | CleanError::Endless
        | CleanError::Refused(_) => broke(account, reason),
    }
}

fn broke(account: &Account, reason: String) -> LoginFailure {
    LoginFailure::Protocol { address: account.address.to_string(), reason }
}

fn lost(account: &Account, error: FrameError) -> LoginFailure {
    match error {
        FrameError::Closed => {
            let reason = "it closed the connection during login".to_owned();
            LoginFailure::Unreachable { address: account.address.to_string(), reason }
        }
        // A server that does not accept our certificate says so behind the handshake.
        FrameError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            LoginFailure::Tls { address: account.address.to_string(), reason: error.to_string() }
        }
        FrameError::Io(error) => unreachable_node(account, &error),
        FrameError::Malformed(error) => broke(account, error.to_string()),
    }
}

fn refused(body: &[u8]) -> LoginFailure {
    let fields = wire::error_fields(body);
    LoginFailure::Refused {
        code: String::from_utf8_lossy(fields.code).into_owned(),
        message: String::from_utf8_lossy(fields.message).into_owned(),
        body: body.into(),
    }
}

/// Opens the body of an Authentication message.
fn request(body: &[u8]) -> Option<AuthRequest<'_>> {
    let (code, data) = body.split_first_chunk::<4>()?;
    Some(match u32::from_be_bytes(*code) {
        0 => AuthRequest::Ok,
        3 => AuthRequest::Cleartext,
        5 => AuthRequest::Md5(*data.first_chunk()?),
        10 => AuthRequest::Sasl(data),
        11 => AuthRequest::SaslContinue(data),
        12 => AuthRequest::SaslFinal(data),
        other => AuthRequest::Other(other),
    })
}

/// The keys of a password for the salt and count that the server has sent.
async fn derived_keys(
    account: &Account,
    context: &LoginContext,
    credential: &Credential,
    request: KeyRequest,
) -> Option<ScramKeys> {
    let Credential::Password(password) = credential.clone() else { return None };
    let (node, user) = (account.address.clone(), account.user.clone());
    context.keys.keys(KeyOrigin { node, user, request, password }).await
}

async fn authenticate(
    framed: &mut Framed,
    account: &Account,
    context: &LoginContext,
) -> Result<(), LoginFailure> {
    let credential = account.credential.lock().clone();
    let certificate = framed.stream().tls().and_then(|tls| tls.peer_certificates()?.first());
    let binding = certificate.and_then(|leaf| tls_server_end_point(leaf));
    let mut nonce = [0; crate::auth::scram::NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|error| broke(account, format!("no randomness: {error}")))?;
    let mut login =
        ServerLogin::new(account.user.as_bytes(), credential.clone(), nonce, binding.as_deref());
    loop {
        let frame = framed.frame(LOGIN_FRAME_MAX).await.map_err(|error| lost(account, error))?;
        match frame.tag {
            server::ERROR => {
                context.keys.forget(&account.address, &account.user);
                return Err(refused(&frame.body));
            }
            server::NOTICE | server::NEGOTIATE => continue,
            server::AUTHENTICATION => {}
            tag => return Err(broke(account, format!("message type {tag:#04X} during login"))),
        }
        let request =
            request(&frame.body).ok_or_else(|| broke(account, "short message".to_owned()))?;
        let mut step = login.on_request(request)?;
        if let LoginStep::NeedKeys(request) = step {
            let keys = derived_keys(account, context, &credential, request).await;
            let keys = keys.ok_or_else(|| broke(account, "keys not derived".to_owned()))?;
            step = login.supply_keys(&keys)?;
        }
        match step {
            LoginStep::Send(body) => {
                let mut out = Vec::new();
                client::password(&mut out, &body);
                framed.send(&out).await.map_err(|error| unreachable_node(account, &error))?;
            }
            LoginStep::Done => return Ok(()),
            LoginStep::Wait | LoginStep::NeedKeys(_) => {}
        }
    }
}

/// Reads what stands between AuthenticationOk and the first ReadyForQuery.
async fn read_login_messages(
    framed: &mut Framed,
    account: &Account,
) -> Result<(Reported, Vec<u8>), LoginFailure> {
    let (mut reported, mut key) = (Reported::new(), Vec::new());
    loop {
        let frame = framed.frame(LOGIN_FRAME_MAX).await.map_err(|error| lost(account, error))?;
        match frame.tag {
            server::PARAMETER_STATUS => {
                let pair = server::read_parameter_status(&frame.body);
                let (name, value) =
                    pair.ok_or_else(|| broke(account, "malformed ParameterStatus".to_owned()))?;
                if reported.len() < REPORTED_MAX {
                    reported.push((name.into(), value.into()));
                }
            }
            server::BACKEND_KEY => key = frame.body,
            server::ERROR => return Err(refused(&frame.body)),
            server::READY => return Ok((reported, key)),
            // Login triggers and collation warnings speak here.
            server::NOTICE => {}
            tag => return Err(broke(account, format!("message type {tag:#04X} during login"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_is_told_as_the_poolers_but_in_pgbouncers_style() {
        let failure = refused(b"SFATAL\0C28P01\0Mpassword authentication failed\0\0");
        let told = |style| {
            let mut out = Vec::new();
            failure.encode(&mut out, style);
            String::from_utf8_lossy(&out[5..]).into_owned()
        };
        let own = told(MessageStyle::Postgres);
        assert!(own.contains(&format!("\0M{POOLER_REFUSED}: password authentication failed\0")));
        assert!(own.contains("\0C28P01\0") && own.contains(ASK_THE_OPERATOR), "{own:?}");
        let theirs = told(MessageStyle::PgBouncer);
        assert_eq!(theirs, "SFATAL\0C28P01\0Mpassword authentication failed\0\0");
    }
}
