//! How many clients are let in.
//!
//! Owns the counts of clients: all, per database, per user, and those whose login is not finished.
//! Never knows who they are or closes anything. Keeps: every token handed out is one count, given
//! back exactly once, since tokens cannot be copied and giving back takes them. Console clients are
//! counted but never refused, and cancel requests take no token but the login's: an operator must get
//! in, and queries be cancelled, when all is full.

use std::collections::HashMap;

use super::core::{DatabaseId, UserId};

/// Limits over all clients; 0 means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionOptions {
    /// Clients that are logged in.
    pub max_client_conn: u32,
    /// Connections that have not finished their login. Bounds what strangers can occupy.
    pub max_unfinished_logins: u32,
}

/// Which limit turned a client away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `max_client_conn`.
    #[error("no more connections allowed (max_client_conn)")]
    Clients,
    /// `max_db_client_connections`.
    #[error("client connections exceeded (max_db_client_connections)")]
    Database,
    /// `max_user_client_connections`.
    #[error("client connections exceeded (max_user_client_connections)")]
    User,
    /// Too many unfinished logins.
    #[error("too many unfinished logins (max_unfinished_logins)")]
    Logins,
}

/// Who wants in, and the limits that hold for them now; 0 means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The database entry.
    pub database: DatabaseId,
    /// Its `max_db_client_connections`.
    pub database_limit: u32,
    /// The user.
    pub user: UserId,
    /// Their `max_user_client_connections`.
    pub user_limit: u32,
}

/// A login in progress; to be given to `admit`, `admit_console` or `abandon`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a login stays counted until it is admitted or abandoned"]
pub struct Login(());

/// A client that is in; to be given to `release`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a client stays counted until it is released"]
pub struct Admitted(Option<(DatabaseId, UserId)>);

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionCounts {
    /// Clients that are logged in.
    pub clients: u32,
    /// Logins in progress.
    pub logins: u32,
}

/// The counters.
#[derive(Debug)]
pub struct Admission {
    options: AdmissionOptions,
    counts: AdmissionCounts,
    databases: HashMap<DatabaseId, u32>,
    users: HashMap<UserId, u32>,
}

fn is_full(count: u32, limit: u32) -> bool {
    limit != 0 && count >= limit
}

fn leave<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            // Users and databases come and go; an entry without clients is not kept.
            counts.remove(&key);
        }
    }
}

impl Admission {
    /// Counters at zero.
    #[must_use]
    pub fn new(options: AdmissionOptions) -> Self {
        Self {
            options,
            counts: AdmissionCounts::default(),
            databases: HashMap::new(),
            users: HashMap::new(),
        }
    }

    /// New limits, for those who come from now on.
    pub fn set_options(&mut self, options: AdmissionOptions) {
        self.options = options;
    }

    /// A connection was accepted.
    ///
    /// # Errors
    /// [`Refused::Logins`].
    pub fn begin_login(&mut self) -> Result<Login, Refused> {
        if is_full(self.counts.logins, self.options.max_unfinished_logins) {
            return Err(Refused::Logins);
        }
        self.counts.logins += 1;
        Ok(Login(()))
    }

    /// The connection went away, failed its login, or was a cancel request.
    pub fn abandon(&mut self, login: Login) {
        let Login(()) = login;
        self.counts.logins -= 1;
    }

    /// The client proved who it is. Ends the login whatever the answer.
    ///
    /// # Errors
    /// The first limit that is reached: all clients, the database's, the user's.
    pub fn admit(&mut self, login: Login, candidate: Candidate) -> Result<Admitted, Refused> {
        self.abandon(login);
        let Candidate { database, database_limit, user, user_limit } = candidate;
        if is_full(self.counts.clients, self.options.max_client_conn) {
            return Err(Refused::Clients);
        }
        if is_full(self.database_clients(database), database_limit) {
            return Err(Refused::Database);
        }
        if is_full(self.user_clients(user), user_limit) {
            return Err(Refused::User);
        }
        *self.databases.entry(database).or_default() += 1;
        *self.users.entry(user).or_default() += 1;
        self.counts.clients += 1;
        Ok(Admitted(Some((database, user))))
    }

    /// The client is an operator at the console.
    pub fn admit_console(&mut self, login: Login) -> Admitted {
        self.abandon(login);
        self.counts.clients += 1;
        Admitted(None)
    }

    /// The client is gone.
    pub fn release(&mut self, client: Admitted) {
        self.counts.clients -= 1;
        let Admitted(of) = client;
        if let Some((database, user)) = of {
            leave(&mut self.databases, database);
            leave(&mut self.users, user);
        }
    }

    /// All counts.
    #[must_use]
    pub fn counts(&self) -> AdmissionCounts {
        self.counts
    }

    /// Clients of a database.
    #[must_use]
    pub fn database_clients(&self, database: DatabaseId) -> u32 {
        self.databases.get(&database).copied().unwrap_or(0)
    }

    /// Clients of a user.
    #[must_use]
    pub fn user_clients(&self, user: UserId) -> u32 {
        self.users.get(&user).copied().unwrap_or(0)
    }
}
