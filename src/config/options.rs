//! The checked configuration: what the rest of the program reads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use super::address::{ListenAddress, NodeAddress};
use super::log_settings::{LogFormat, LogLevel};
use super::node::NodeOptions;
use super::raw::{Setting, SettingId};
use super::redirect::RedirectOptions;
use super::secret::{LoadedFile, Secret};
use crate::auth::Method;
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::policy::{CatalogReads, ForeignReads, RouteReads};
pub use crate::net::TcpOptions;
use crate::net::{ClientSslMode, SslMode};
use crate::routing::FunctionPattern;
use crate::session::route::{Mode, StatePolicy};

/// A count that may be without limit (0 in the file).
pub type Limit = Option<NonZeroU32>;

/// A duration after which something ends, or never (0 in the file).
pub type Timeout = Option<Duration>;

/// `[howdah]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HowdahOptions {
    /// Addresses to listen on; empty = no TCP. `Any` stands alone.
    pub listen_addr: Vec<ListenAddress>,
    /// Port of TCP and of the Unix socket's name.
    pub listen_port: u16,
    /// Backlog of listen(2).
    pub listen_backlog: u32,
    /// Directory of the Unix socket.
    pub unix_socket_dir: Option<PathBuf>,
    /// Permission bits of the socket.
    pub unix_socket_mode: u32,
    /// Group that owns it, a name or a number.
    pub unix_socket_group: Option<String>,
    /// `SO_REUSEPORT` on the listeners.
    pub so_reuseport: bool,
    /// Number among the peers; zero = none.
    pub peer_id: u16,
    /// Reload when a file of the configuration changes.
    pub watch: bool,
    /// Worker threads.
    pub workers: NonZeroUsize,
    /// Clients of the process.
    pub max_client_conn: NonZeroU32,
    /// Users who may do everything on the console.
    pub admin_users: Vec<String>,
    /// Users who may look.
    pub stats_users: Vec<String>,
    /// Largest message, in bytes.
    pub max_packet_size: u64,
    /// Statements of each worker that figures are kept of; 0 = none.
    pub max_tracked_queries: usize,
    /// Socket options of connections to clients and servers.
    pub tcp: TcpOptions,
    /// Deadline of a drain.
    pub shutdown_timeout: Timeout,
    /// Age at which a node's name is resolved again.
    pub dns_max_ttl: Duration,
}

/// `[pool]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolOptions {
    /// When servers go back.
    pub pool_mode: Mode,
    /// Servers of a pool.
    pub default_pool_size: Limit,
    /// Servers kept open.
    pub min_pool_size: u32,
    /// Servers beyond the size.
    pub reserve_pool_size: u32,
    /// Wait before the reserve is used; None = the reserve is never used.
    pub reserve_pool_timeout: Timeout,
    /// Servers of a database on a node.
    pub max_db_connections: Limit,
    /// Servers of a user on a node.
    pub max_user_connections: Limit,
    /// Clients of a database.
    pub max_db_client_connections: Limit,
    /// Clients of a user.
    pub max_user_client_connections: Limit,
    /// Prepared statements of a server; 0 = passed through.
    pub max_prepared_statements: u32,
    /// What unshareable session state does.
    pub session_state_policy: StatePolicy,
    /// Cleans a server in session mode.
    pub server_reset_query: Option<String>,
    /// Tests an idle server.
    pub server_check_query: CheckQuery,
    /// Idle time before a test; zero = always.
    pub server_check_delay: Duration,
    /// How often a database's catalog is asked whether it has changed.
    pub catalog_refresh: Timeout,
    /// Startup parameters to drop, in lower case.
    pub ignore_startup_parameters: Vec<String>,
    /// Append the client's address to application_name.
    pub application_name_add_host: bool,
}

/// `server_check_query`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckQuery {
    /// No test.
    Off,
    /// An empty query: answered without a transaction.
    Empty,
    /// This one.
    Sql(String),
}

/// `[timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeoutOptions {
    /// Longest wait for a server.
    pub query_wait_timeout: Timeout,
    /// Longest statement.
    pub query_timeout: Timeout,
    /// Longest transaction.
    pub transaction_timeout: Timeout,
    /// Longest silence in a transaction.
    pub idle_transaction_timeout: Timeout,
    /// Longest login of a client.
    pub client_login_timeout: Timeout,
    /// Longest silence outside transactions.
    pub client_idle_timeout: Timeout,
    /// Longest connect and login of a server.
    pub server_connect_timeout: Timeout,
    /// Pause after a failed one.
    pub server_login_retry: Duration,
    /// Longest life of an undelivered cancel request.
    pub cancel_wait_timeout: Timeout,
    /// Longest time that a statement that may write still runs when its client is gone.
    pub abandoned_query_timeout: Timeout,
    /// Longest idleness of a server.
    pub server_idle_timeout: Timeout,
    /// Age at which a free server is closed; zero = after one use.
    pub server_lifetime: Duration,
    /// Longest idleness of a route that the configuration does not name.
    pub autodb_idle_timeout: Timeout,
}

/// `[routing]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutingOptions {
    /// Whether reads go to replicas.
    pub route: RouteReads,
    /// What a read may rely on.
    pub consistency: Level,
    /// How far behind a replica may be.
    pub max_lag: Timeout,
    /// What happens to a read for which no replica is eligible.
    pub no_replica: Fallback,
    /// Longest wait of a read for a replica.
    pub replica_wait: Duration,
    /// Where reads of the catalog go.
    pub catalog_reads: CatalogReads,
    /// Where reads of foreign tables go.
    pub foreign_reads: ForeignReads,
    /// What share of the reads goes to replicas, of a hundred.
    pub route_percent: u8,
    /// Functions that only read.
    pub read_only_functions: Vec<FunctionPattern>,
    /// Functions that write.
    pub write_functions: Vec<FunctionPattern>,
    /// What share of the reads on replicas is compared with the primary, in millionths.
    pub verify_reads: u32,
    /// Where the reads of some clients go; the first that matches counts.
    pub redirects: Vec<RedirectOptions>,
    /// Where this process stands.
    pub zone: Option<String>,
    /// Between probes of a node.
    pub probe_interval: Duration,
    /// Longest probe.
    pub probe_timeout: Duration,
    /// Whom probes log in as. Never empty where a database has several nodes.
    pub probe_user: String,
    /// Its password; without it, auth_file has the secret.
    pub probe_password: Option<Secret>,
    /// The database that probes log in to.
    pub probe_dbname: String,
    /// How long a write waits for a primary.
    pub primary_wait: Duration,
    /// The program that is run on changes of roles.
    pub role_hook: Option<PathBuf>,
    /// Its longest run.
    pub role_hook_timeout: Duration,
    /// How long a switchover waits before its hook, and behind it.
    pub switchover_timeout: Duration,
    /// Differences in spite of which a node serves reads.
    pub allow_differences: Vec<String>,
    /// The address that says of a node whether it is the primary, with `{host}` and `{port}`.
    pub primary_check: Option<String>,
}

/// `[auth]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthOptions {
    /// How clients prove who they are.
    pub auth_type: Method,
    /// Users and secrets, read but not parsed. Present unless `auth_type` is trust.
    pub auth_file: Option<LoadedFile>,
    /// Iterations of verifiers made from plain secrets.
    pub scram_iterations: NonZeroU32,
}

/// A certificate chain and its private key, both PEM.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// `cert_file`.
    pub cert_file: LoadedFile,
    /// `key_file`.
    pub key_file: LoadedFile,
}

/// `[tls.client]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientTlsOptions {
    /// Which clients get TLS.
    pub sslmode: ClientSslMode,
    /// Present unless `sslmode` is disable.
    pub identity: Option<Identity>,
}

/// `[tls.server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerTlsOptions {
    /// As in libpq.
    pub sslmode: SslMode,
    /// Roots, PEM. Present for verify-ca and verify-full.
    pub ca_file: Option<LoadedFile>,
    /// What howdah shows to servers that ask.
    pub identity: Option<Identity>,
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogOptions {
    /// Least important lines.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
    /// Log logins.
    pub log_connections: bool,
    /// Log disconnections.
    pub log_disconnections: bool,
    /// Log errors of our own to clients.
    pub log_pooler_errors: bool,
    /// Log statements that take so long; zero = all.
    pub log_min_duration: Option<Duration>,
    /// Log figures.
    pub log_stats: bool,
    /// How often, and what averages cover.
    pub stats_period: Duration,
}

/// `[http]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpOptions {
    /// Where figures are served; None = nowhere.
    pub listen: Option<SocketAddr>,
    /// The bearer token, with the white space around it. Present unless `listen` is loopback.
    pub token_file: Option<LoadedFile>,
}

/// `[databases.NAME]`. None in an override = what `[pool]` or `[timeouts]` says.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseOptions {
    /// Name on the server; None = the name the client asked for.
    pub dbname: Option<String>,
    /// Where it is: one, or a primary and its replicas in any order.
    pub nodes: Vec<NodeOptions>,
    /// Override.
    pub route: Option<RouteReads>,
    /// Override.
    pub consistency: Option<Level>,
    /// Override.
    pub max_lag: Option<Timeout>,
    /// Override.
    pub route_percent: Option<u8>,
    /// Beside those of `[routing]`.
    pub read_only_functions: Vec<FunctionPattern>,
    /// Beside those of `[routing]`.
    pub write_functions: Vec<FunctionPattern>,
    /// Override.
    pub no_replica: Option<Fallback>,
    /// Override.
    pub replica_wait: Option<Duration>,
    /// Forced server user.
    pub user: Option<String>,
    /// Its password. Never without `user`.
    pub password: Option<Secret>,
    /// Override.
    pub pool_mode: Option<Mode>,
    /// Override.
    pub pool_size: Option<Limit>,
    /// Override.
    pub min_pool_size: Option<u32>,
    /// Override.
    pub reserve_pool_size: Option<u32>,
    /// Override.
    pub max_db_connections: Option<Limit>,
    /// Override.
    pub max_db_client_connections: Option<Limit>,
    /// Run on each new server connection.
    pub connect_query: Option<String>,
    /// Override.
    pub query_wait_timeout: Option<Timeout>,
    /// Override.
    pub server_lifetime: Option<Duration>,
    /// Settings of sessions that do not ask for their own.
    pub session_settings: SessionSettings,
}

/// Session settings that a database gives to sessions that do not set them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionSettings {
    /// `client_encoding`.
    pub client_encoding: Option<String>,
    /// `DateStyle`.
    pub datestyle: Option<String>,
    /// `TimeZone`.
    pub timezone: Option<String>,
    /// `application_name`.
    pub application_name: Option<String>,
}

impl SessionSettings {
    /// Those that are set, under PostgreSQL's names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("client_encoding", &self.client_encoding),
            ("DateStyle", &self.datestyle),
            ("TimeZone", &self.timezone),
            ("application_name", &self.application_name),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// `[users.NAME]`. None = what the database or the general sections say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UserOptions {
    /// Override.
    pub route: Option<RouteReads>,
    /// Override.
    pub consistency: Option<Level>,
    /// Override.
    pub max_lag: Option<Timeout>,
    /// Override.
    pub pool_mode: Option<Mode>,
    /// Override.
    pub pool_size: Option<Limit>,
    /// Override.
    pub reserve_pool_size: Option<u32>,
    /// Override.
    pub max_user_connections: Option<Limit>,
    /// Override.
    pub max_user_client_connections: Option<Limit>,
    /// Override.
    pub query_timeout: Option<Timeout>,
    /// Override.
    pub query_wait_timeout: Option<Timeout>,
    /// Override.
    pub idle_transaction_timeout: Option<Timeout>,
    /// Override.
    pub transaction_timeout: Option<Timeout>,
    /// Override.
    pub client_idle_timeout: Option<Timeout>,
}

/// Options of the process in PgBouncer's own file. Howdah's own file has none of them: the service
/// manager sets them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessOptions {
    /// `logfile`: lines go there as well as to standard error.
    pub log_file: Option<PathBuf>,
    /// `pidfile`.
    pub pid_file: Option<PathBuf>,
    /// `user`: whom a process of root's becomes.
    pub user: Option<String>,
    /// The configuration is PgBouncer's own file: the process behaves as its users expect.
    pub is_pgbouncer: bool,
}

impl ProcessOptions {
    /// The path that a setting of PgBouncer's names.
    pub(super) fn file(&mut self, setting: &str) -> Option<&mut Option<PathBuf>> {
        match setting {
            "logfile" => Some(&mut self.log_file),
            "pidfile" => Some(&mut self.pid_file),
            _ => None,
        }
    }
}

/// Where a configuration comes from, the environment aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A connection URL.
    Url(Secret),
    /// The environment says everything: `HOWDAH_DATABASE_URL`, or key by key.
    Environment,
}

impl Config {
    /// Every file that it was read from.
    pub fn files(&self) -> Vec<PathBuf> {
        let own = match &self.source {
            Source::File(path) => Some(path.clone()),
            Source::Url(_) | Source::Environment => None,
        };
        own.into_iter().chain(self.files.iter().cloned()).collect()
    }
}

/// The checked configuration. Immutable: share it in an `Arc`, and replace the whole on reload.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it came from, and a reload reads it again.
    pub source: Source,
    /// `[howdah]`.
    pub howdah: HowdahOptions,
    /// `[pool]`.
    pub pool: PoolOptions,
    /// `[timeouts]`.
    pub timeouts: TimeoutOptions,
    /// `[routing]`.
    pub routing: RoutingOptions,
    /// `[auth]`.
    pub auth: AuthOptions,
    /// `[tls.client]`.
    pub tls_client: ClientTlsOptions,
    /// `[tls.server]`.
    pub tls_server: ServerTlsOptions,
    /// `[log]`.
    pub log: LogOptions,
    /// `[http]`.
    pub http: HttpOptions,
    /// `[databases.NAME]`, without the wildcard.
    pub databases: BTreeMap<String, DatabaseOptions>,
    /// `[databases."*"]`.
    pub wildcard: Option<DatabaseOptions>,
    /// `[users.NAME]`.
    pub users: BTreeMap<String, UserOptions>,
    /// `[peers.NUMBER]`.
    pub peers: BTreeMap<u16, NodeAddress>,
    /// Of PgBouncer's own file only.
    pub process: ProcessOptions,
    /// What PgBouncer's own file asks for and does not get, each with its place.
    pub warnings: Vec<String>,
    /// The files that it names.
    pub(super) files: Vec<PathBuf>,
    /// Every value by key, for the difference and the console.
    pub(super) settings: BTreeMap<SettingId, Setting>,
}
