//! What counts for one client: user over database over general.

use std::time::Duration;

use super::node::NodeOptions;
use super::options::{Config, DatabaseOptions, Limit, SessionSettings, Timeout, UserOptions};
use super::secret::Secret;
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::policy::RouteReads;
use crate::session::route::Mode;

/// Everything that depends on the database and the user, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveOptions {
    /// Name of the database on the server.
    pub dbname: String,
    /// Where it is: one, or a primary and its replicas in any order.
    pub nodes: Vec<NodeOptions>,
    /// Whether reads go to replicas, if there are several nodes.
    pub route: RouteReads,
    /// What a read may rely on.
    pub consistency: Level,
    /// How far behind a replica may be.
    pub max_lag: Timeout,
    /// What share of its reads goes to replicas, of a hundred.
    pub route_percent: u8,
    /// What happens to a read for which no replica is eligible.
    pub no_replica: Fallback,
    /// Longest wait of a read for a replica.
    pub replica_wait: Duration,
    /// User that servers are logged in as: the forced one, or the client's.
    pub server_user: String,
    /// Whether that user is forced.
    pub forced_user: bool,
    /// Password of the forced user; without it, auth_file has the secret.
    pub password: Option<Secret>,
    /// When servers go back.
    pub pool_mode: Mode,
    /// Servers of the pool.
    pub pool_size: Limit,
    /// Servers kept open, never more than the size.
    pub min_pool_size: u32,
    /// Servers beyond the size.
    pub reserve_pool_size: u32,
    /// Servers of the database on a node.
    pub max_db_connections: Limit,
    /// Clients of the database.
    pub max_db_client_connections: Limit,
    /// Servers of the server user on a node.
    pub max_user_connections: Limit,
    /// Clients of the client's user.
    pub max_user_client_connections: Limit,
    /// Run on each new server connection.
    pub connect_query: Option<String>,
    /// Age at which a free server is closed; zero = after one use.
    pub server_lifetime: Duration,
    /// Longest wait for a server.
    pub query_wait_timeout: Timeout,
    /// Longest statement.
    pub query_timeout: Timeout,
    /// Longest transaction.
    pub transaction_timeout: Timeout,
    /// Longest silence in a transaction.
    pub idle_transaction_timeout: Timeout,
    /// Longest silence outside transactions.
    pub client_idle_timeout: Timeout,
    /// Settings of sessions that do not ask for their own.
    pub session_settings: SessionSettings,
}

impl Config {
    /// The entry that answers for `database`: its own, or the wildcard.
    pub fn database(&self, database: &str) -> Option<&DatabaseOptions> {
        self.databases.get(database).or(self.wildcard.as_ref())
    }

    /// What counts for a client that logs in as `user` to `database`; None when no entry answers
    /// for the database (3D000).
    ///
    /// As in PgBouncer, the pool's own settings look at the user of the *server*, everything about
    /// the client at the user of the client.
    pub fn effective(&self, database: &str, user: &str) -> Option<EffectiveOptions> {
        let entry = self.database(database)?;
        let server_user = entry.user.as_deref().unwrap_or(user);
        let none = UserOptions::default();
        let of_server = self.users.get(server_user).unwrap_or(&none);
        let of_client = self.users.get(user).unwrap_or(&none);
        let (pool, timeouts) = (&self.pool, &self.timeouts);
        let pool_size = of_server.pool_size.or(entry.pool_size).unwrap_or(pool.default_pool_size);
        let min_pool_size = entry.min_pool_size.unwrap_or(pool.min_pool_size);
        Some(EffectiveOptions {
            dbname: entry.dbname.as_deref().unwrap_or(database).to_owned(),
            nodes: entry.nodes.clone(),
            route: of_client.route.or(entry.route).unwrap_or(self.routing.route),
            consistency: of_client
                .consistency
                .or(entry.consistency)
                .unwrap_or(self.routing.consistency),
            max_lag: of_client.max_lag.or(entry.max_lag).unwrap_or(self.routing.max_lag),
            route_percent: entry.route_percent.unwrap_or(self.routing.route_percent),
            no_replica: entry.no_replica.unwrap_or(self.routing.no_replica),
            replica_wait: entry.replica_wait.unwrap_or(self.routing.replica_wait),
            server_user: server_user.to_owned(),
            forced_user: entry.user.is_some(),
            password: entry.password.clone(),
            pool_mode: of_server.pool_mode.or(entry.pool_mode).unwrap_or(pool.pool_mode),
            pool_size,
            min_pool_size: pool_size.map_or(min_pool_size, |size| min_pool_size.min(size.get())),
            reserve_pool_size: of_server
                .reserve_pool_size
                .or(entry.reserve_pool_size)
                .unwrap_or(pool.reserve_pool_size),
            max_db_connections: entry.max_db_connections.unwrap_or(pool.max_db_connections),
            max_db_client_connections: entry
                .max_db_client_connections
                .unwrap_or(pool.max_db_client_connections),
            max_user_connections: of_server
                .max_user_connections
                .unwrap_or(pool.max_user_connections),
            max_user_client_connections: of_client
                .max_user_client_connections
                .unwrap_or(pool.max_user_client_connections),
            connect_query: entry.connect_query.clone(),
            server_lifetime: entry.server_lifetime.unwrap_or(timeouts.server_lifetime),
            query_wait_timeout: of_client
                .query_wait_timeout
                .or(entry.query_wait_timeout)
                .unwrap_or(timeouts.query_wait_timeout),
            query_timeout: of_client.query_timeout.unwrap_or(timeouts.query_timeout),
            transaction_timeout: of_client
                .transaction_timeout
                .unwrap_or(timeouts.transaction_timeout),
            idle_transaction_timeout: of_client
                .idle_transaction_timeout
                .unwrap_or(timeouts.idle_transaction_timeout),
            client_idle_timeout: of_client
                .client_idle_timeout
                .unwrap_or(timeouts.client_idle_timeout),
            session_settings: entry.session_settings.clone(),
        })
    }
}
