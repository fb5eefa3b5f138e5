//! The connection to one node that its probes use.
//!
//! Owns the connection, which is kept from probe to probe, and what its errors mean for the node's health.
//! Each question has `probe_timeout`, the login included; a connection whose question was not answered in
//! time is closed. Never sends a setting but `application_name`.

use crate::app::current::Current;
use crate::app::pooler::Pooler;
use crate::auth::{Credential, Password};
use crate::backend::clean::{CleanError, Row};
use crate::backend::login::{Account, LoginFailure, open};
use crate::backend::reported_parameters::ReportedParameters;
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::cluster::Moment;
use crate::cluster::features::Features;
use crate::cluster::health::Failure;
use crate::cluster::held_up::HeldUp;
use crate::cluster::history::History;
use crate::cluster::questions;
use crate::cluster::report::{Identity, Report};
use crate::cluster::shared::now;
use crate::net::NodeAddress;
use parking_lot::Mutex;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Why a question has no answer.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What it means for the node.
    pub(super) failure: Failure,
    /// What went wrong.
    pub(super) text: String,
    /// What the operator has to do, if that is known.
    pub(super) obstacle: Option<Obstacle>,
}

/// What keeps the probe user out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// There is no such role, it may not log in, or its password is another.
    Login,
    /// The database that it asks for is not there.
    NoDatabase,
    /// It may not connect to it.
    Database,
}

/// A node's answer to a probe.
#[derive(Debug)]
pub(super) struct Answer {
    /// Read before the question was written.
    pub(super) asked: Moment,
    /// The address that was reached.
    pub(super) address: String,
    /// What the node says.
    pub(super) report: Report,
    /// Whether the probe user may see what probes ask for.
    pub(super) has_rights: bool,
}

/// The connection to a node, if there is one.
#[derive(Debug)]
pub(super) struct Link {
    address: NodeAddress,
    neutral: Arc<Settings>,
    server: Option<Box<Server>>,
    /// Asked for once on each connection.
    has_rights: bool,
    /// A connection of the replication protocol, where only that tells the timeline.
    walsender: Option<Box<Server>>,
    /// When it could not be asked last.
    unidentified: Option<Moment>,
}

/// How often a node is asked again for a timeline that it did not tell.
const SELDOM: Duration = Duration::from_secs(60);

impl Link {
    pub(super) fn new(address: &NodeAddress, pooler: &Pooler) -> Self {
        let neutral = pooler.common.settings.intern([]);
        Self {
            address: address.clone(),
            neutral,
            server: None,
            has_rights: true,
            walsender: None,
            unidentified: None,
        }
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        for server in self.server.take().into_iter().chain(self.walsender.take()) {
            server.terminate("the node is probed over a new connection");
        }
    }

    /// Waits until the connection ends; for ever without one. Cancel safe.
    pub(super) async fn ended(&mut self) {
        let Some(server) = &mut self.server else { return pending().await };
        poll_fn(|cx| if server.is_alive(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
        (self.server, self.walsender) = (None, None);
    }

    /// Asks the node what it is.
    pub(super) async fn report(&mut self, current: &Current) -> Result<Answer, Trouble> {
        let limit = current.config.routing.probe_timeout;
        let asking = async {
            let server = self.connected(current).await?;
            let address = server.stream.endpoints().remote.map(|remote| remote.to_string());
            let asked = now();
            let (_, rows) = server.table(questions::REPORT).await.map_err(Trouble::of_question)?;
            Ok((asked, address, rows))
        };
        let asked = timeout(limit, asking).await.unwrap_or_else(|_| Err(Trouble::late(limit)));
        let (asked, address, rows) = asked.inspect_err(|_| self.server = None)?;
        let report = rows.first().map(|row| Report::parse(&columns(row)));
        let report = report.and_then(Result::ok).ok_or_else(|| Trouble::other("what it is"))?;
        let report = self.complete(current, report).await;
        let address = address.unwrap_or_else(|| self.address.to_string());
        Ok(Answer { asked, address, report, has_rights: self.has_rights })
    }

    /// With the timeline of a replica whose receiver does not tell it: it has lost its upstream, it reads an
    /// archive, or the probe user may not see it. A node that follows another timeline from now on has
    /// not left the one before beyond their fork, so that the position asked for before is on both.
    async fn complete(&mut self, current: &Current, mut report: Report) -> Report {
        if report.replica().is_none() || report.timeline().is_some() {
            self.walsender = None;
            return report;
        }
        if self.unidentified.is_some_and(|since| now().since(since) < SELDOM) {
            return report;
        }
        match self.identity(current).await {
            Ok(identity) => {
                self.unidentified = None;
                report.complete(identity);
            }
            Err(trouble) => {
                self.walsender = None;
                if self.unidentified.replace(now()).is_none() {
                    tracing::info!(
                        node = %self.address,
                        "the timeline of a replica without a receiver is not known, so it gets no \
                         fresher; REPLICATION for probe_user would tell it: {}",
                        trouble.text
                    );
                }
            }
        }
        report
    }

    async fn identity(&mut self, current: &Current) -> Result<Identity, Trouble> {
        let limit = current.config.routing.probe_timeout;
        let account = self.account(current);
        let asking = async {
            if self.walsender.is_none() {
                let parameters = [named("replication", "true"), named("application_name", NAME)];
                let opened = open(&account, &current.context, &parameters).await;
                self.walsender = Some(opened.map_err(|failure| Trouble::of_login(&failure))?);
            }
            let server = self.walsender.as_mut();
            let server = server.ok_or_else(|| Trouble::other("a connection"))?;
            server.table(questions::IDENTIFY).await.map_err(Trouble::of_question)
        };
        let asked = timeout(limit, asking).await.unwrap_or_else(|_| Err(Trouble::late(limit)));
        let (_, rows) = asked?;
        let identity = rows.first().map(|row| Identity::parse(&columns(row)));
        identity.and_then(Result::ok).ok_or_else(|| Trouble::other("its timeline"))
    }

    /// Runs a statement whose answer is of no use.
    pub(super) async fn run(&mut self, current: &Current, sql: &str) -> Result<(), Trouble> {
        let limit = current.config.routing.probe_timeout;
        let asking = async {
            let server = self.connected(current).await?;
            server.table(sql).await.map_err(Trouble::of_question)
        };
        let asked = timeout(limit, asking).await.unwrap_or_else(|_| Err(Trouble::late(limit)));
        asked.map(drop).inspect_err(|_| self.server = None)
    }

    /// Asks the node what its answers depend on beside its data: over the connection that is kept, or, if
    /// `database` is another than that of probes, over one of its own.
    pub(super) async fn features(
        &mut self,
        current: &Current,
        version: u32,
        database: &str,
    ) -> Result<Features, Trouble> {
        let limit = current.config.routing.probe_timeout;
        let sql = questions::features(version);
        let is_kept = database == current.config.routing.probe_dbname;
        let asking = async {
            if is_kept {
                let server = self.connected(current).await?;
                return server.table(&sql).await.map_err(Trouble::of_question);
            }
            let account = Account { dbname: database.into(), ..self.account(current) };
            let parameters = [named("application_name", NAME)];
            let opened = open(&account, &current.context, &parameters).await;
            let mut server = opened.map_err(|failure| Trouble::of_login(&failure))?;
            let answer = server.table(&sql).await;
            server.terminate("the node was compared");
            answer.map_err(Trouble::of_question)
        };
        let asked = timeout(limit, asking).await.unwrap_or_else(|_| Err(Trouble::late(limit)));
        if is_kept && asked.is_err() {
            self.server = None;
        }
        let (_, rows) = asked?;
        let mut features = Features::new();
        for row in &rows {
            features.add(&columns(row)).map_err(|error| Trouble::other(&error.to_string()))?;
        }
        Ok(features)
    }

    /// Asks a replica which session its replay waits for.
    pub(super) async fn held_up(&mut self, current: &Current) -> Result<Option<HeldUp>, Trouble> {
        let limit = current.config.routing.probe_timeout;
        let asking = async {
            let server = self.connected(current).await?;
            server.table(questions::HELD_UP).await.map_err(Trouble::of_question)
        };
        let asked = timeout(limit, asking).await.unwrap_or_else(|_| Err(Trouble::late(limit)));
        let (_, rows) = asked.inspect_err(|_| self.server = None)?;
        let read = rows.first().map(|row| HeldUp::parse(&columns(row)));
        read.transpose().map_err(|_| Trouble::other("what holds up its replay"))
    }

    /// Asks the node for the history of a timeline, over a connection of its own.
    pub(super) async fn history(
        &self,
        current: &Current,
        timeline: u32,
    ) -> Result<History, Trouble> {
        let limit = current.config.routing.probe_timeout;
        let account = self.account(current);
        let parameters = [named("replication", "true"), named("application_name", NAME)];
        let asking = async {
            let opened = open(&account, &current.context, &parameters).await;
            let mut server = opened.map_err(|failure| Trouble::of_login(&failure))?;
            let answer = server.table(&questions::timeline_history(timeline)).await;
            server.terminate("the history was read");
            answer.map_err(Trouble::of_question)
        };
        let asked = timeout(limit, asking).await.unwrap_or_else(|_| Err(Trouble::late(limit)));
        let (_, rows) = asked?;
        let content = rows.first().and_then(|row| row.get(1)?.as_deref());
        let history = content.and_then(|content| History::parse(content).ok());
        history.ok_or_else(|| Trouble::other("the history of its timeline"))
    }

    async fn connected(&mut self, current: &Current) -> Result<&mut Box<Server>, Trouble> {
        if self.server.is_none() {
            let account = self.account(current);
            let parameters = [named("application_name", NAME)];
            let opened = open(&account, &current.context, &parameters).await;
            let mut server = opened.map_err(|failure| Trouble::of_login(&failure))?;
            let (_, rows) = server.table(questions::RIGHTS).await.map_err(Trouble::of_question)?;
            let may_see = rows.first().and_then(|row| row.first()?.as_deref());
            self.has_rights = may_see == Some(b"t");
            self.server = Some(server);
        }
        self.server.as_mut().ok_or_else(|| Trouble::other("a connection"))
    }

    /// Who logs in, by the configuration that counts now.
    fn account(&self, current: &Current) -> Account {
        let routing = &current.config.routing;
        let user = routing.probe_user.as_str();
        let secret = || current.users.as_ref()?.secret(user.as_bytes());
        let credential = match &routing.probe_password {
            Some(password) => Credential::Password(Password::new(password.expose().as_bytes())),
            None => secret().map_or(Credential::None, Credential::from_secret),
        };
        Account {
            address: self.address.clone(),
            user: user.into(),
            dbname: routing.probe_dbname.as_str().into(),
            credential: Mutex::new(credential),
            connect_query: None,
            neutral: Arc::clone(&self.neutral),
            reported_parameters: ReportedParameters::default(),
            replaced: Notify::new(),
        }
    }
}

/// What the nodes' administrators see of us.
const NAME: &str = "howdah probe";

fn named(name: &str, value: &str) -> (Box<str>, Box<str>) {
    (name.into(), value.into())
}

fn columns(row: &Row) -> Vec<Option<&[u8]>> {
    row.iter().map(Option::as_deref).collect()
}

/// What a login that failed means for the node.
pub(in crate::app) fn failure_of(failure: &LoginFailure) -> Failure {
    match failure {
        LoginFailure::Refused { code, .. } => Failure::from_sqlstate(code),
        LoginFailure::Unreachable { .. } => Failure::Lost,
        LoginFailure::TimedOut(_) => Failure::TimedOut,
        LoginFailure::Password(_) | LoginFailure::Tls { .. } => Failure::Configuration,
        LoginFailure::Protocol { .. } => Failure::Other,
    }
}

impl Trouble {
    fn late(limit: Duration) -> Self {
        let text = format!("no answer within {} ms (probe_timeout)", limit.as_millis());
        Self { failure: Failure::TimedOut, text, obstacle: None }
    }

    fn other(what: &str) -> Self {
        let text = format!("its answer does not say {what}");
        Self { failure: Failure::Other, text, obstacle: None }
    }

    fn of_login(failure: &LoginFailure) -> Self {
        let obstacle = match failure {
            LoginFailure::Refused { code, .. } if code.starts_with("28") => Some(Obstacle::Login),
            LoginFailure::Refused { code, .. } if code == "3D000" => Some(Obstacle::NoDatabase),
            LoginFailure::Refused { code, .. } if code == "42501" => Some(Obstacle::Database),
            LoginFailure::Password(_) => Some(Obstacle::Login),
            LoginFailure::Refused { .. }
            | LoginFailure::Unreachable { .. }
            | LoginFailure::TimedOut(_)
            | LoginFailure::Tls { .. }
            | LoginFailure::Protocol { .. } => None,
        };
        Self { failure: failure_of(failure), text: failure.to_string(), obstacle }
    }

    fn of_question(error: CleanError) -> Self {
        let failure = match &error {
            CleanError::Io(_) | CleanError::Closed => Failure::Lost,
            CleanError::Refused(code) => Failure::from_sqlstate(code),
            CleanError::Malformed(_)
            | CleanError::OutOfStep(_)
            | CleanError::Endless
            | CleanError::Unprovable => Failure::Other,
        };
        let text = if let CleanError::Refused(code) = error {
            format!("the question failed with SQLSTATE {code}")
        } else {
            error.to_string()
        };
        Self { failure, text, obstacle: None }
    }
}
