//! The way of a client from its first byte to its worker. Runs on the control thread.

use super::cancels::{self, Asker, Cancels};
use super::console;
use super::current::Current;
use super::figures::Period;
use super::logging::Logging;
use super::routes::{Destination, Routes};
use super::signals::Asked;
use super::workers::Workers;
use crate::auth::{Account, Credential, Method, MockKey, Secret, Terms, UnknownShape, Users};
use crate::fault::{Fault, Side, Words};
use crate::metrics::EventKind;
use crate::net::{Framed, Peer, Stream};
use crate::pool::admission::{Admission, Admitted, Candidate, Login, Refused};
use crate::session::Arrival;
use crate::session::card::{About, Card, Order, Replication};
use crate::session::hello::{Hello, hello};
use crate::session::login::{LoginEnd, Proof, authenticate};
use crate::session::route::Common;
use crate::session::startup::Wish;
use crate::wire::{self, server};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

/// Longest good-bye to a stranger.
const FAREWELL: Duration = Duration::from_secs(2);

/// Everything that a login needs.
pub(super) struct Door {
    /// The configuration and what is made from it.
    pub current: RefCell<Rc<Current>>,
    /// Salts for the unknown.
    pub mock: MockKey,
    /// Where clients go.
    pub routes: RefCell<Routes>,
    /// Who is let in.
    pub admission: Arc<Mutex<Admission>>,
    /// The worker threads.
    pub workers: Workers,
    /// What all sessions share.
    pub common: Arc<Common>,
    /// The log.
    pub logging: Logging,
    /// What the console asks of the whole process.
    pub asked: Sender<Asked>,
    /// The client of the console that has suspended everything.
    pub suspended_by: Cell<Option<u64>>,
    /// Cancel requests on their way.
    pub cancels: Cancels,
    /// What each database did in the last period of figures.
    pub period: RefCell<Period>,
    /// When the process started.
    pub started: SystemTime,
    /// No new client is let in any more.
    pub ending: Cell<bool>,
    /// Whether the ends of servers are logged (`log_disconnections`).
    pub tells_of_servers: Arc<AtomicBool>,
}

impl Door {
    /// The configuration that counts now.
    pub(super) fn now(&self) -> Rc<Current> {
        Rc::clone(&self.current.borrow())
    }

    /// Whether a client is there, or is about to log in.
    pub(super) fn has_visitors(&self) -> bool {
        let counts = self.admission.lock().counts();
        counts.clients > 0 || counts.logins > 0 || self.workers.clients() > 0
    }

    /// No session reads anything from here on, until [`Door::go_on`]. `by`: the client of the
    /// console that wants it so.
    pub(super) fn stand_still(&self, by: u64) {
        self.suspended_by.set(Some(by));
        self.make_all_look(true);
    }

    /// Ends that. False when it was not so.
    pub(super) fn go_on(&self) -> bool {
        let was = self.suspended_by.take().is_some();
        if was {
            self.make_all_look(false);
        }
        was
    }

    /// Whether sessions read nothing.
    pub(super) fn is_suspended(&self) -> bool {
        self.suspended_by.get().is_some()
    }

    /// Whether this client of the console wants it so.
    pub(super) fn is_suspended_by(&self, console: u64) -> bool {
        self.suspended_by.get() == Some(console)
    }

    /// A session that begins later reads the flag itself.
    fn make_all_look(&self, suspended: bool) {
        self.common.suspended.store(suspended, Ordering::Release);
        let clients = self.common.clients.list();
        let sessions = clients.iter().filter(|card| card.about.route.is_some());
        sessions.for_each(|card| card.order(Order::Look));
    }

    /// Something happened that an operator should know, about this database and user.
    pub(super) fn happened(
        &self,
        what: (&'static str, EventKind),
        names: (&str, &str),
        message: &str,
    ) {
        self.common.events.note(SystemTime::now(), what, names, message);
    }

    /// Somebody has logged in: one line of the log, if it tells of connections. `how`: the method,
    /// and TLS version and cipher.
    pub(super) fn logged_in(&self, who: (u64, &Peer), wish: &Wish, (method, tls): (&str, &str)) {
        if !self.now().config.log.log_connections {
            return;
        }
        let ((id, peer), Wish { user, database, .. }) = (who, wish);
        match self.common.words {
            Words::PostgreSql => tracing::info!(
                client = id, %peer, user, database, method, tls = !tls.is_empty(),
                tls_version = tls, "login attempt succeeded"
            ),
            Words::PgBouncer => attempted(who, wish, tls),
        }
    }

    /// A login failed: one line of the log, and an event. `cause`: what the client is not told.
    pub(super) fn login_failed(
        &self,
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
        self.happened(("warn", kind), (&wish.database, &wish.user), &message);
        match self.common.words {
            Words::PostgreSql => tracing::warn!(
                client = id, %peer, user = wish.user, database = wish.database,
                method = connection.0.config.auth.auth_type.as_str(), tls = !connection.1.is_empty(),
                tls_version = connection.1,
                code = fault.code, "login failed: {message}"
            ),
            Words::PgBouncer => {
                if self.now().config.log.log_connections {
                    attempted((id, peer), wish, connection.1);
                }
                self.refused_aloud((id, peer, since), (&wish.database, &wish.user), fault);
                if let Some(cause) = cause {
                    tracing::debug!(client = id, %peer, "login failed: {cause}");
                }
            }
        }
    }

    /// A client that has not been let in is told something: the lines that PgBouncer writes.
    fn refused_aloud(
        &self,
        (id, peer, since): (u64, &Peer, Instant),
        names: (&str, &str),
        fault: &Fault,
    ) {
        let ((database, user), age) = (names, since.elapsed().as_secs());
        let (said, log) = (fault.clone().in_words(self.common.words), &self.now().config.log);
        if log.log_disconnections {
            tracing::info!(
                client = id, %peer, user, database, age, "closing because: {}", said.message
            );
        }
        if log.log_pooler_errors {
            tracing::warn!(client = id, %peer, user, database, "pooler error: {}", said.message);
        }
    }
}

/// PgBouncer's line for a login, whatever becomes of it.
fn attempted((id, peer): (u64, &Peer), wish: &Wish, tls: &str) {
    let Wish { user, database, .. } = wish;
    let replication = wish.extras.iter().find(|(name, _)| name == "replication");
    let replication = replication.map_or("no", |(_, value)| value.as_str());
    let tls = if tls.is_empty() { "no" } else { tls };
    tracing::info!(
        client = id, %peer, user, database,
        "login attempt: db={database} user={user} tls={tls} replication={replication}"
    );
}

/// Counts a login as long as it is in progress.
struct LoginGuard {
    admission: Arc<Mutex<Admission>>,
    login: Option<Login>,
}

impl Drop for LoginGuard {
    fn drop(&mut self) {
        if let Some(login) = self.login.take() {
            self.admission.lock().abandon(login);
        }
    }
}

/// Counts a client as long as it is there.
struct ClientGuard {
    admission: Arc<Mutex<Admission>>,
    admitted: Option<Admitted>,
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            self.admission.lock().release(admitted);
        }
    }
}

/// Lists a client by its cancel key as long as it is there.
pub(super) struct CardGuard {
    /// Where it is listed.
    pub common: Arc<Common>,
    /// Its card.
    pub card: Arc<Card>,
}

impl Drop for CardGuard {
    fn drop(&mut self) {
        self.common.clients.forget(&self.card);
    }
}

pub(super) enum Ended {
    Left(String),
    Refused(Fault),
    /// With the cause, which the client is not told.
    Denied(Box<Fault>, String),
}

impl From<LoginEnd> for Ended {
    fn from(end: LoginEnd) -> Self {
        match end {
            LoginEnd::Left(reason) => Self::Left(reason),
            LoginEnd::Refused(fault) => Self::Refused(fault),
            LoginEnd::Denied(fault, cause) => Self::Denied(fault, cause),
        }
    }
}

fn refused(refused: &Refused) -> Fault {
    let key = match refused {
        Refused::Clients => "max_client_conn",
        Refused::Database => "max_db_client_connections",
        Refused::User => "max_user_client_connections",
        Refused::Logins => "max_client_conn",
    };
    let others = match refused {
        Refused::Clients | Refused::Logins => "no more connections allowed (max_client_conn)",
        Refused::Database => "client connections exceeded (max_db_client_connections)",
        Refused::User => "client connections exceeded (max_user_client_connections)",
    };
    Fault::session(Side::Proxy, "53300", refused.to_string())
        .hint(format!("Raise {key}, or close connections."))
        .pgbouncer(others)
}

fn too_many_names() -> Fault {
    Fault::session(Side::Proxy, "53300", "too many databases and users in use").hint(
        "There is a limit for those that the configuration does not name: give them entries of \
         their own.",
    )
}

fn disabled(database: &str) -> Fault {
    let text = format!("database \"{database}\" is disabled");
    Fault::session(Side::Operator, "55000", text.clone())
        .hint("ENABLE on the console lets clients in.")
        .pgbouncer(text)
}

fn too_late() -> Fault {
    Fault::session(Side::Client, "57014", "canceling authentication due to timeout")
        .hint("The login took longer than client_login_timeout.")
        .pgbouncer("client_login_timeout")
}

/// Serves one accepted connection until it is handed to a worker, or over.
pub(super) async fn receive(door: Rc<Door>, stream: Stream, peer: Peer) {
    let (id, since) = (door.common.clients.next_id(), Instant::now());
    let begun = door.admission.lock().begin_login();
    let mut guard = match begun {
        Ok(login) => LoginGuard { admission: Arc::clone(&door.admission), login: Some(login) },
        Err(limit) => {
            let fault = refused(&limit);
            door.refused_aloud((id, &peer, since), ("", ""), &fault);
            door.happened(("warn", EventKind::Limit), ("", ""), &fault.message);
            dismiss(&door, Framed::new(stream), fault).await;
            return;
        }
    };
    let now = door.now();
    let limit = now.config.timeouts.client_login_timeout.unwrap_or(Duration::MAX);
    let deadline = since.checked_add(limit);
    let first = hello(stream, &now.tls, &now.config.pool.ignore_startup_parameters);
    let first = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, first).await,
        None => Ok(first.await),
    };
    match first {
        Ok(Hello::Nothing) => {}
        // Who has not even said who it is gets no answer.
        Err(_) => tracing::debug!(client = id, %peer, "closing because: client_login_timeout"),
        Ok(Hello::Cancel(connection, key)) => cancel(&door, id, connection, &key).await,
        Ok(Hello::Refused(framed, fault)) => {
            door.refused_aloud((id, &peer, since), ("", ""), &fault);
            dismiss(&door, framed, fault).await;
        }
        Ok(Hello::Session(framed, wish)) if console::is_meant(&wish.database) => {
            let who = console::Visitor { id, peer, since, wish };
            let login = console::enter((&door, &now), framed, who);
            let entered = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, login).await,
                None => Ok(login.await),
            };
            drop(guard);
            if let Ok(Some(visit)) = entered {
                console::serve(&door, visit).await;
            }
        }
        Ok(Hello::Session(mut framed, wish)) => {
            let admitted = admit((&door, &now), &mut framed, &wish, &mut guard);
            let admitted = match deadline {
                Some(deadline) => tokio::time::timeout_at(deadline, admitted).await,
                None => Ok(admitted.await),
            };
            let ended = match admitted {
                Ok(Ok((destination, client))) => {
                    hand_over(&door, (id, peer), framed, wish, (destination, client)).await;
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
            door.login_failed((id, &peer, since), &wish, (&now, &tls), told);
            dismiss(&door, framed, fault).await;
        }
    }
}

/// Tells a stranger why and closes, without waiting for somebody who does not read.
pub(super) async fn dismiss(door: &Door, mut framed: Framed, fault: Fault) {
    let mut out = Vec::new();
    wire::fault(&mut out, &fault.in_words(door.common.words));
    let told = async {
        framed.send(&out).await?;
        std::future::poll_fn(|cx| framed.stream().poll_close(cx)).await
    };
    drop(tokio::time::timeout(FAREWELL, told).await);
}

async fn cancel(door: &Door, id: u64, mut connection: Framed, key: &[u8]) {
    let stream = connection.stream();
    let asker = Asker { id, ends: stream.endpoints(), tls: stream.tls_words() };
    cancels::by_key(door, key, asker).await;
    close(connection).await;
}

/// Closes in order, for TLS too, without waiting for somebody who does not.
async fn close(mut framed: Framed) {
    let closed = std::future::poll_fn(|cx| framed.stream().poll_close(cx));
    drop(tokio::time::timeout(FAREWELL, closed).await);
}

fn method(now: &Current) -> Result<Method, Ended> {
    Method::from_name(now.config.auth.auth_type.as_str()).ok_or_else(|| {
        Ended::Refused(Fault::session(Side::Operator, "XX000", "auth_type is not available"))
    })
}

/// `now`: what counted when the connection began, and encrypted it.
pub(super) async fn prove(
    door: &Door,
    now: &Current,
    framed: &mut Framed,
    wish: &Wish,
) -> Result<Proof, Ended> {
    let method = method(now)?;
    let user = wish.user.as_bytes();
    let stored = now.users.as_ref().and_then(|users| users.secret(user));
    if method == Method::Trust && now.users.is_some() && stored.is_none() {
        let text = format!("role \"{}\" is not in auth_file", wish.user);
        let fault = Fault::session(Side::Client, "28000", text);
        return Err(Ended::Refused(fault.pgbouncer("\"trust\" authentication failed")));
    }
    let iterations = now.config.auth.scram_iterations.get();
    let derived = match stored {
        Some(secret) if method.derives_keys_from(secret) => {
            Routes::verifier(&door.routes, user, secret, (&door.mock, iterations)).await
        }
        Some(_) | None => None,
    };
    let derived = derived.map(Secret::Scram);
    let secret = derived.as_ref().or(stored);
    let binding = framed.stream().tls().and_then(|_| now.tls.end_point());
    let unknown = now.users.as_ref().map_or(UnknownShape::Scram, Users::unknown_shape);
    let terms = Terms { mock: &door.mock, iterations, binding, unknown };
    let mut proof = authenticate(framed, method, Account { user, secret }, &terms).await?;
    if derived.is_some() {
        // Keys for a verifier of our own open no server; the password does.
        proof.keys = None;
    }
    Ok(proof)
}

async fn admit(
    (door, begun): (&Door, &Current),
    framed: &mut Framed,
    wish: &Wish,
    guard: &mut LoginGuard,
) -> Result<(Destination, ClientGuard), Ended> {
    let proof = prove(door, begun, framed, wish).await?;
    let now = door.now();
    let names = (wish.database.as_str(), wish.user.as_str());
    let keys = proof.keys.map(Credential::Keys);
    if door.routes.borrow().is_disabled(&wish.database) {
        return Err(Ended::Refused(disabled(&wish.database)));
    }
    if !door.routes.borrow_mut().has_room(&now.config, now.users.as_ref(), names) {
        return Err(Ended::Refused(too_many_names()));
    }
    let destination = door.routes.borrow_mut().find(&now.config, now.users.as_ref(), names, keys);
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
    let admitted = door.admission.lock().admit(login, candidate);
    let admitted = admitted.map_err(|limit| Ended::Refused(refused(&limit)))?;
    let client = ClientGuard { admission: Arc::clone(&door.admission), admitted: Some(admitted) };
    Ok((destination, client))
}

async fn hand_over(
    door: &Door,
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
    let card = match door.common.clients.register(who.0, about) {
        Ok(card) => card,
        Err(error) => return tracing::error!(client = who.0, "no randomness: {error}"),
    };
    // This thread counts behind the workers.
    destination.route.traffic.of(usize::from(door.workers.count())).logins.add(1);
    let listed = CardGuard { common: Arc::clone(&door.common), card: Arc::clone(&card) };
    let (tls, now) = (tls_of(&mut framed), door.now());
    let how = (now.config.auth.auth_type.as_str(), &*tls);
    door.logged_in((who.0, &who.1), &wish, how);
    let settings = session_settings(door, &destination, &wish, &who.1);
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
    door.workers.hand(arrival).await;
}

/// How the client replicates, by what its startup packet said.
fn replication(wish: &Wish) -> Replication {
    match wish.extras.iter().find(|(name, _)| name == "replication") {
        None => Replication::None,
        Some((_, value)) if value == "database" => Replication::Logical,
        Some(_) => Replication::Physical,
    }
}

/// TLS version and cipher of a connection; empty when it is not encrypted.
pub(super) fn tls_of(framed: &mut Framed) -> String {
    framed.stream().tls_words().unwrap_or_default().into()
}

fn session_settings(
    door: &Door,
    destination: &Destination,
    wish: &Wish,
    peer: &Peer,
) -> Arc<crate::backend::settings::Settings> {
    let own = destination.options.session_settings.iter();
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut all: Vec<(String, String)> = own.chain(wish.settings.iter().cloned()).collect();
    if door.now().config.pool.application_name_add_host {
        let name = all.iter().rev().find(|(name, _)| name == "application_name");
        let name = name.map_or("app", |(_, value)| value.as_str());
        all.push(("application_name".to_owned(), format!("{name} - {peer}")));
    }
    door.common.settings.intern(all)
}
