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

/// A login in progress; to be given to `admit` or `abandon`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a login stays counted until it is admitted or abandoned"]
pub struct Login(());

/// A client that is in; to be given to `release`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a client stays counted until it is released"]
pub struct Admitted(DatabaseId, UserId);

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionCounts {
    /// Clients that are logged in; operators at the console are none.
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
        Ok(Admitted(database, user))
    }

    /// The client is gone.
    pub fn release(&mut self, client: Admitted) {
        let Admitted(database, user) = client;
        self.counts.clients -= 1;
        leave(&mut self.databases, database);
        leave(&mut self.users, user);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONS: AdmissionOptions =
        AdmissionOptions { max_client_conn: 5, max_unfinished_logins: 3 };

    fn candidate(database: u32, user: u32) -> Candidate {
        Candidate {
            database: DatabaseId(database),
            database_limit: 3,
            user: UserId(user),
            user_limit: 2,
        }
    }

    fn admit(admission: &mut Admission, who: Candidate) -> Result<Admitted, Refused> {
        let login = admission.begin_login()?;
        admission.admit(login, who)
    }

    #[test]
    fn each_limit_refuses_under_its_own_name_and_counts_nothing() {
        let mut admission = Admission::new(OPTIONS);
        let mut inside = vec![
            admit(&mut admission, candidate(1, 1)),
            admit(&mut admission, candidate(1, 1)),
            admit(&mut admission, candidate(1, 2)),
        ];
        assert_eq!(admit(&mut admission, candidate(2, 1)), Err(Refused::User));
        assert_eq!(admit(&mut admission, candidate(1, 3)), Err(Refused::Database));
        inside.push(admit(&mut admission, candidate(2, 3)));
        inside.push(admit(&mut admission, candidate(2, 3)));
        assert_eq!(admit(&mut admission, candidate(9, 9)), Err(Refused::Clients));
        assert_eq!(admission.counts(), AdmissionCounts { clients: 5, logins: 0 });
        assert_eq!(admission.database_clients(DatabaseId(9)), 0);
        for client in inside {
            admission.release(client.expect("it was admitted"));
        }
        assert_eq!(admission.counts(), AdmissionCounts::default());
        assert!(admission.databases.is_empty() && admission.users.is_empty());
    }

    #[test]
    fn strangers_cannot_occupy_more_than_the_unfinished_logins() {
        let mut admission = Admission::new(OPTIONS);
        let mut logins: Vec<_> = (0..3).map(|_| admission.begin_login()).collect();
        assert_eq!(admission.begin_login(), Err(Refused::Logins));
        let gone = logins.pop().expect("one of three").expect("it was let in");
        admission.abandon(gone);
        assert!(admission.begin_login().is_ok());
    }

    fn clients(inside: &[(Admitted, Candidate)]) -> u32 {
        u32::try_from(inside.len()).unwrap_or(u32::MAX)
    }

    proptest! {
        #[test]
        fn counts_are_exact_after_any_course(
            steps in proptest::collection::vec((0u8..5, 0u32..4, any::<prop::sample::Index>()), 0..300),
        ) {
            let mut admission = Admission::new(OPTIONS);
            let (mut logins, mut inside) = (Vec::new(), Vec::new());
            for (step, who, index) in steps {
                match step {
                    0 => match admission.begin_login() {
                        Ok(login) => logins.push(login),
                        Err(refused) => {
                            prop_assert_eq!((refused, logins.len()), (Refused::Logins, 3));
                        }
                    },
                    1 if !logins.is_empty() => {
                        let login = logins.swap_remove(index.index(logins.len()));
                        let who = candidate(who & 1, who >> 1);
                        match admission.admit(login, who) {
                            Ok(client) => inside.push((client, who)),
                            Err(_) => prop_assert!(clients(&inside) >= 2),
                        }
                    }
                    2 if !logins.is_empty() => {
                        admission.abandon(logins.swap_remove(index.index(logins.len())));
                    }
                    _ if !inside.is_empty() => {
                        let (client, _) = inside.swap_remove(index.index(inside.len()));
                        admission.release(client);
                    }
                    _ => {}
                }
                let of = |matches: &dyn Fn(&Candidate) -> bool| {
                    let who = inside.iter().map(|(_, who)| who);
                    u32::try_from(who.filter(|who| matches(who)).count()).unwrap_or(u32::MAX)
                };
                let counted = AdmissionCounts {
                    clients: clients(&inside),
                    logins: u32::try_from(logins.len()).unwrap_or(u32::MAX),
                };
                prop_assert_eq!(admission.counts(), counted);
                for id in 0..2 {
                    let database = of(&|who| who.database == DatabaseId(id));
                    let user = of(&|who| who.user == UserId(id));
                    prop_assert_eq!(admission.database_clients(DatabaseId(id)), database);
                    prop_assert_eq!(admission.user_clients(UserId(id)), user);
                    prop_assert!(database <= 3 && user <= 2);
                }
            }
        }
    }
}
