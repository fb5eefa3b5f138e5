//! Values by key to the typed configuration.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::{NodeAddress, ReadNode};
use super::keys::Section;
use super::log_settings::{LogFormat, LogLevel};
use super::options::{
    AuthOptions, CheckQuery, ClientTlsOptions, Config, DatabaseOptions, HowdahOptions, HttpOptions,
    Identity, Limit, LogOptions, PoolOptions, ProcessOptions, RoutingOptions, ServerTlsOptions,
    SessionSettings, Source, TcpOptions, Timeout, TimeoutOptions, UserOptions,
};
use super::raw::{Raw, Scope};
use super::secret::{LoadedFile, Secret};
use super::value::Value;
use crate::auth::Method;
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::policy::{CatalogReads, ForeignReads, RouteReads};
use crate::net::{ClientSslMode, SslMode};
use crate::routing::FunctionPattern;
use crate::session::route::{Mode, StatePolicy};
use crate::word::Word;

/// The name of the entry that stands for every other database.
pub(super) const WILDCARD: &str = "*";

/// Most worker threads that are started when nobody says how many.
const MOST_DEFAULT_WORKERS: usize = 4;

/// Reads one table. A key without a value (its own was refused, or it has no default) gives zero,
/// none or the fallback; a refused value is an error already, so no such table is ever used.
struct Table<'a> {
    raw: &'a Raw,
    scope: Scope,
}

impl<'a> Table<'a> {
    fn section(raw: &'a Raw, section: Section) -> Self {
        Self { raw, scope: Scope::section(section) }
    }

    fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.raw.get(&self.scope, name).map(|setting| &setting.value)
    }

    fn names(&self, name: &'static str) -> Vec<String> {
        if let Some(Value::Names(names)) = self.get(name) { names.clone() } else { Vec::new() }
    }

    fn functions(&self, name: &'static str) -> Vec<FunctionPattern> {
        if let Some(Value::Functions(list)) = self.get(name) { list.clone() } else { Vec::new() }
    }

    fn maybe_percent(&self, name: &'static str) -> Option<u8> {
        self.maybe_count(name).and_then(|count| u8::try_from(count).ok())
    }

    fn flag(&self, name: &'static str) -> bool {
        matches!(self.get(name), Some(Value::Flag(true)))
    }

    fn maybe_count(&self, name: &'static str) -> Option<u32> {
        if let Some(Value::Count(count)) = self.get(name) { Some(*count) } else { None }
    }

    fn count(&self, name: &'static str) -> u32 {
        self.maybe_count(name).unwrap_or(0)
    }

    fn at_least_one(&self, name: &'static str) -> NonZeroU32 {
        NonZeroU32::new(self.count(name)).unwrap_or(NonZeroU32::MIN)
    }

    fn limit(&self, name: &'static str) -> Limit {
        NonZeroU32::new(self.count(name))
    }

    fn maybe_limit(&self, name: &'static str) -> Option<Limit> {
        self.maybe_count(name).map(NonZeroU32::new)
    }

    fn maybe_duration(&self, name: &'static str) -> Option<Duration> {
        if let Some(Value::Duration(duration)) = self.get(name) { Some(*duration) } else { None }
    }

    fn duration(&self, name: &'static str) -> Duration {
        self.maybe_duration(name).unwrap_or(Duration::ZERO)
    }

    fn timeout(&self, name: &'static str) -> Timeout {
        self.maybe_duration(name).filter(|duration| !duration.is_zero())
    }

    fn maybe_timeout(&self, name: &'static str) -> Option<Timeout> {
        self.maybe_duration(name).map(|duration| (!duration.is_zero()).then_some(duration))
    }

    /// A text; an empty one is none.
    fn text(&self, name: &'static str) -> Option<String> {
        match self.get(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        }
    }

    fn maybe_word<T: Word>(&self, name: &'static str) -> Option<T> {
        if let Some(Value::Word(word)) = self.get(name) { T::from_word(word) } else { None }
    }

    fn word<T: Word>(&self, name: &'static str, fallback: T) -> T {
        self.maybe_word(name).unwrap_or(fallback)
    }

    fn secret(&self, name: &'static str) -> Option<Secret> {
        if let Some(Value::Secret(secret)) = self.get(name) { Some(secret.clone()) } else { None }
    }

    fn file(&self, name: &'static str) -> Option<LoadedFile> {
        if let Some(Value::File(file)) = self.get(name) { Some(file.clone()) } else { None }
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity { cert_file: self.file("cert_file")?, key_file: self.file("key_file")? })
    }
}

/// The typed configuration of `raw`, complete only if no error was collected.
pub(super) fn config(path: &Path, raw: Raw) -> Config {
    let entries = |section: Section| {
        raw.entries
            .keys()
            .filter(move |scope| scope.section == section)
            .filter_map(|scope| Some((scope.entry.clone()?, scope.clone())))
    };
    let table = |scope| Table { raw: &raw, scope };
    let mut config = Config {
        source: Source::File(path.to_owned()),
        howdah: howdah(&Table::section(&raw, Section::Howdah)),
        pool: pool(&Table::section(&raw, Section::Pool)),
        timeouts: timeouts(&Table::section(&raw, Section::Timeouts)),
        routing: routing(&Table::section(&raw, Section::Routing)),
        auth: auth(&Table::section(&raw, Section::Auth)),
        tls_client: tls_client(&Table::section(&raw, Section::TlsClient)),
        tls_server: tls_server(&Table::section(&raw, Section::TlsServer)),
        log: log(&Table::section(&raw, Section::Log)),
        http: http(&Table::section(&raw, Section::Http)),
        databases: entries(Section::Database)
            .map(|(name, scope)| (name, database(&table(scope))))
            .collect(),
        wildcard: None,
        users: entries(Section::User).map(|(name, scope)| (name, user(&table(scope)))).collect(),
        peers: entries(Section::Peer)
            .filter_map(|(name, scope)| Some((name.parse().ok()?, peer(&table(scope))?)))
            .collect(),
        process: ProcessOptions::default(),
        warnings: Vec::new(),
        files: Vec::new(),
        settings: std::collections::BTreeMap::new(),
    };
    config.wildcard = config.databases.remove(WILDCARD);
    config.settings = raw.settings;
    config.files = raw.files;
    config
}

fn howdah(table: &Table<'_>) -> HowdahOptions {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = table
        .maybe_count("workers")
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or_else(|| cores().min(MOST_DEFAULT_WORKERS));
    HowdahOptions {
        listen_addr: match table.get("listen_addr") {
            Some(Value::Listen(addresses)) => addresses.clone(),
            _ => Vec::new(),
        },
        listen_port: u16::try_from(table.count("listen_port")).unwrap_or(0),
        listen_backlog: table.count("listen_backlog"),
        unix_socket_dir: match table.get("unix_socket_dir") {
            Some(Value::Path(path)) if !path.is_empty() => Some(PathBuf::from(path)),
            _ => None,
        },
        unix_socket_mode: match table.get("unix_socket_mode") {
            Some(Value::Mode(mode)) => *mode,
            _ => 0,
        },
        unix_socket_group: table.text("unix_socket_group"),
        so_reuseport: table.flag("so_reuseport"),
        peer_id: u16::try_from(table.count("peer_id")).unwrap_or(0),
        watch: table.flag("watch"),
        workers: NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN),
        max_client_conn: table.at_least_one("max_client_conn"),
        max_packet_size: match table.get("max_packet_size") {
            Some(Value::Size(size)) => *size,
            _ => 0,
        },
        tcp: TcpOptions {
            keepalive: table.flag("tcp_keepalive"),
            keepidle: table.timeout("tcp_keepidle"),
            keepintvl: table.timeout("tcp_keepintvl"),
            keepcnt: table.limit("tcp_keepcnt"),
            user_timeout: table.timeout("tcp_user_timeout"),
        },
        max_tracked_queries: table.count("max_tracked_queries") as usize,
        admin_users: table.names("admin_users"),
        stats_users: table.names("stats_users"),
        shutdown_timeout: table.timeout("shutdown_timeout"),
        dns_max_ttl: table.duration("dns_max_ttl"),
    }
}

fn pool(table: &Table<'_>) -> PoolOptions {
    PoolOptions {
        pool_mode: table.word("pool_mode", Mode::Transaction),
        default_pool_size: table.limit("default_pool_size"),
        min_pool_size: table.count("min_pool_size"),
        reserve_pool_size: table.count("reserve_pool_size"),
        reserve_pool_timeout: table.timeout("reserve_pool_timeout"),
        max_db_connections: table.limit("max_db_connections"),
        max_user_connections: table.limit("max_user_connections"),
        max_db_client_connections: table.limit("max_db_client_connections"),
        max_user_client_connections: table.limit("max_user_client_connections"),
        max_prepared_statements: table.count("max_prepared_statements"),
        session_state_policy: table.word("session_state_policy", StatePolicy::Pin),
        server_reset_query: table.text("server_reset_query"),
        server_check_query: match table.text("server_check_query").as_deref() {
            None => CheckQuery::Off,
            Some("<empty>") => CheckQuery::Empty,
            Some(sql) => CheckQuery::Sql(sql.to_owned()),
        },
        server_check_delay: table.duration("server_check_delay"),
        catalog_refresh: table.timeout("catalog_refresh"),
        ignore_startup_parameters: table
            .names("ignore_startup_parameters")
            .iter()
            .map(|name| name.to_lowercase())
            .collect(),
        application_name_add_host: table.flag("application_name_add_host"),
    }
}

fn timeouts(table: &Table<'_>) -> TimeoutOptions {
    TimeoutOptions {
        query_wait_timeout: table.timeout("query_wait_timeout"),
        query_timeout: table.timeout("query_timeout"),
        transaction_timeout: table.timeout("transaction_timeout"),
        idle_transaction_timeout: table.timeout("idle_transaction_timeout"),
        client_login_timeout: table.timeout("client_login_timeout"),
        client_idle_timeout: table.timeout("client_idle_timeout"),
        server_connect_timeout: table.timeout("server_connect_timeout"),
        server_login_retry: table.duration("server_login_retry"),
        cancel_wait_timeout: table.timeout("cancel_wait_timeout"),
        abandoned_query_timeout: table.timeout("abandoned_query_timeout"),
        server_idle_timeout: table.timeout("server_idle_timeout"),
        server_lifetime: table.duration("server_lifetime"),
        autodb_idle_timeout: table.timeout("autodb_idle_timeout"),
    }
}

fn routing(table: &Table<'_>) -> RoutingOptions {
    RoutingOptions {
        route: table.word("route", RouteReads::On),
        consistency: table.word("consistency", Level::Session),
        max_lag: table.timeout("max_lag"),
        no_replica: table.word("no_replica", Fallback::Primary),
        replica_wait: table.duration("replica_wait"),
        catalog_reads: table.word("catalog_reads", CatalogReads::Primary),
        foreign_reads: table.word("foreign_reads", ForeignReads::Primary),
        route_percent: table.maybe_percent("route_percent").unwrap_or(100),
        read_only_functions: table.functions("read_only_functions"),
        write_functions: table.functions("write_functions"),
        verify_reads: match table.get("verify_reads") {
            Some(Value::Fraction(share)) => *share,
            _ => 0,
        },
        redirects: match table.get("redirects") {
            Some(Value::Redirects(redirects)) => redirects.clone(),
            _ => Vec::new(),
        },
        zone: table.text("zone"),
        probe_interval: table.duration("probe_interval"),
        probe_timeout: table.duration("probe_timeout"),
        probe_user: table.text("probe_user").unwrap_or_default(),
        probe_password: table.secret("probe_password"),
        probe_dbname: table.text("probe_dbname").unwrap_or_default(),
        primary_wait: table.duration("primary_wait"),
        role_hook: table.text("role_hook").map(Into::into),
        role_hook_timeout: table.duration("role_hook_timeout"),
        switchover_timeout: table.duration("switchover_timeout"),
        allow_differences: table.names("allow_differences"),
        primary_check: table.text("primary_check"),
    }
}

fn auth(table: &Table<'_>) -> AuthOptions {
    AuthOptions {
        auth_type: table.word("auth_type", Method::ScramSha256),
        auth_file: table.file("auth_file"),
        scram_iterations: table.at_least_one("scram_iterations"),
    }
}

fn tls_client(table: &Table<'_>) -> ClientTlsOptions {
    ClientTlsOptions {
        sslmode: table.word("sslmode", ClientSslMode::Disable),
        identity: table.identity(),
    }
}

fn tls_server(table: &Table<'_>) -> ServerTlsOptions {
    ServerTlsOptions {
        sslmode: table.word("sslmode", SslMode::Prefer),
        ca_file: table.file("ca_file"),
        identity: table.identity(),
    }
}

fn log(table: &Table<'_>) -> LogOptions {
    LogOptions {
        level: table.word("level", LogLevel::Info),
        format: table.word("format", LogFormat::Text),
        log_connections: table.flag("log_connections"),
        log_disconnections: table.flag("log_disconnections"),
        log_pooler_errors: table.flag("log_pooler_errors"),
        log_min_duration: table.maybe_duration("log_min_duration"),
        log_stats: table.flag("log_stats"),
        stats_period: table.duration("stats_period"),
    }
}

fn http(table: &Table<'_>) -> HttpOptions {
    HttpOptions {
        listen: table.text("listen").and_then(|text| text.parse().ok()),
        token_file: table.file("token_file"),
    }
}

fn database(table: &Table<'_>) -> DatabaseOptions {
    DatabaseOptions {
        dbname: table.text("dbname"),
        nodes: match table.get("nodes") {
            Some(Value::Nodes(nodes)) => nodes.clone(),
            _ => Vec::new(),
        },
        user: table.text("user"),
        route: table.maybe_word("route"),
        consistency: table.maybe_word("consistency"),
        max_lag: table.maybe_timeout("max_lag"),
        route_percent: table.maybe_percent("route_percent"),
        read_only_functions: table.functions("read_only_functions"),
        write_functions: table.functions("write_functions"),
        no_replica: table.maybe_word("no_replica"),
        replica_wait: table.maybe_duration("replica_wait"),
        password: table.secret("password"),
        pool_mode: table.maybe_word("pool_mode"),
        pool_size: table.maybe_limit("pool_size"),
        min_pool_size: table.maybe_count("min_pool_size"),
        reserve_pool_size: table.maybe_count("reserve_pool_size"),
        max_db_connections: table.maybe_limit("max_db_connections"),
        max_db_client_connections: table.maybe_limit("max_db_client_connections"),
        connect_query: table.text("connect_query"),
        query_wait_timeout: table.maybe_timeout("query_wait_timeout"),
        server_lifetime: table.maybe_duration("server_lifetime"),
        session_settings: SessionSettings {
            client_encoding: table.text("client_encoding"),
            datestyle: table.text("datestyle"),
            timezone: table.text("timezone"),
            application_name: table.text("application_name"),
        },
    }
}

/// Port of a peer that does not say: our own default.
const PEER_PORT: u16 = 6432;

fn peer(table: &Table<'_>) -> Option<NodeAddress> {
    let Some(Value::Text(host)) = table.get("host") else { return None };
    let port = table.maybe_count("port").and_then(|port| port.try_into().ok());
    Some(NodeAddress { host: NodeAddress::parse_host(host).ok()?, port: port.unwrap_or(PEER_PORT) })
}

fn user(table: &Table<'_>) -> UserOptions {
    UserOptions {
        route: table.maybe_word("route"),
        consistency: table.maybe_word("consistency"),
        max_lag: table.maybe_timeout("max_lag"),
        pool_mode: table.maybe_word("pool_mode"),
        pool_size: table.maybe_limit("pool_size"),
        reserve_pool_size: table.maybe_count("reserve_pool_size"),
        max_user_connections: table.maybe_limit("max_user_connections"),
        max_user_client_connections: table.maybe_limit("max_user_client_connections"),
        query_timeout: table.maybe_timeout("query_timeout"),
        query_wait_timeout: table.maybe_timeout("query_wait_timeout"),
        idle_transaction_timeout: table.maybe_timeout("idle_transaction_timeout"),
        transaction_timeout: table.maybe_timeout("transaction_timeout"),
        client_idle_timeout: table.maybe_timeout("client_idle_timeout"),
    }
}
