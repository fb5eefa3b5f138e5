//! What becomes of every setting of PgBouncer: one row each, in the order of its documentation.

use super::super::keys::Section;
use super::convert::{
    Convert, auth_type, client_sslmode, count, directory, file, flag, iterations, listen,
    milliseconds, mode, names, own_count, own_lifetime, packet_size, period, pool_mode, seconds,
    server_sslmode, text, verbose, whole_seconds,
};

/// What becomes of a setting.
#[derive(Clone, Copy)]
pub(super) enum Becomes {
    /// This key, and how the value is converted.
    Key(Section, &'static str, Convert),
    /// Part of `nodes`, of which a database has one.
    Node,
    /// Nothing in a file of ours; a process that runs PgBouncer's file itself does it.
    Process,
    /// Nothing: howdah needs no such setting.
    Needless,
    /// Nothing like it, unless the value is one of these, which say what howdah does anyway.
    Missing(&'static [&'static str]),
}

/// One setting.
#[derive(Clone, Copy)]
pub(super) struct Row {
    /// Its name in the other program.
    pub(super) name: &'static str,
    /// What counts there when it is absent; none = nothing does.
    pub(super) default: Option<&'static str>,
    /// What becomes of it.
    pub(super) becomes: Becomes,
    /// Why it is not needed, what to do instead, or how it differs; a sentence without its stop.
    pub(super) note: &'static str,
    /// A value that somebody may have set.
    pub(super) sample: &'static str,
}

const fn key(
    name: &'static str,
    default: &'static str,
    target: (Section, &'static str, Convert),
    sample: &'static str,
) -> Row {
    let becomes = Becomes::Key(target.0, target.1, target.2);
    Row { name, default: Some(default), becomes, note: "", sample }
}

/// A key that has no default in the other program.
const fn own(
    name: &'static str,
    target: (Section, &'static str, Convert),
    sample: &'static str,
) -> Row {
    let becomes = Becomes::Key(target.0, target.1, target.2);
    Row { name, default: None, becomes, note: "", sample }
}

const fn needless(name: &'static str, default: &'static str, note: &'static str) -> Row {
    Row { name, default: Some(default), becomes: Becomes::Needless, note, sample: default }
}

const fn missing(
    name: &'static str,
    harmless: &'static [&'static str],
    note: &'static str,
    sample: &'static str,
) -> Row {
    Row { name, default: None, becomes: Becomes::Missing(harmless), note, sample }
}

impl Row {
    const fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

use Section::{Auth, Database, Howdah, Log, Peer, Pool, Timeouts, TlsClient, TlsServer, User};

const AUTH_QUERY: &str = "secrets are not looked up in a database: put the users into auth_file \
    (a SELECT of rolname and rolpassword from pg_authid writes it)";
const SYSLOG: &str = "the log goes to standard error: let the service manager pass it on";
const CIPHERS: &str = "TLS is 1.2 or 1.3 with the cipher suites of rustls, all of them strong";
const ALL_CIPHERS: &[&str] = &["", "default", "secure", "HIGH:!aNULL"];

/// `[pgbouncer]`.
pub(super) const PGBOUNCER: &[Row] = &[
    Row {
        name: "logfile",
        default: Some(""),
        becomes: Becomes::Process,
        note: "a howdah.toml logs to standard error: let the service manager write the file",
        sample: "/var/log/pgbouncer.log",
    },
    Row {
        name: "pidfile",
        default: Some(""),
        becomes: Becomes::Process,
        note: "a howdah.toml has no pid file: the service manager knows the process",
        sample: "/run/pgbouncer.pid",
    },
    Row {
        name: "user",
        default: None,
        becomes: Becomes::Process,
        note: "a howdah.toml changes no user: let the service manager start it as that user",
        sample: "postgres",
    },
    needless("job_name", "pgbouncer", "it is the name of a Windows service"),
    needless("service_name", "pgbouncer", "it is the name of a Windows service"),
    needless("conffile", "", "the file is the one on the command line"),
    key("verbose", "0", (Log, "level", verbose), "1"),
    missing("syslog", &["0", "off", "no", "false"], SYSLOG, "1"),
    missing("syslog_ident", &["pgbouncer"], SYSLOG, "pool"),
    missing("syslog_facility", &["daemon"], SYSLOG, "local0"),
    key("log_connections", "1", (Log, "log_connections", flag), "0"),
    key("log_disconnections", "1", (Log, "log_disconnections", flag), "0"),
    key("log_pooler_errors", "1", (Log, "log_pooler_errors", flag), "0"),
    key("log_stats", "1", (Log, "log_stats", flag), "0"),
    key("stats_period", "60", (Log, "stats_period", period), "30"),
    key("listen_addr", "", (Howdah, "listen_addr", listen), "127.0.0.1, ::1"),
    key("listen_port", "6432", (Howdah, "listen_port", count), "6433"),
    key("listen_backlog", "128", (Howdah, "listen_backlog", count), "256"),
    key("unix_socket_dir", "/tmp", (Howdah, "unix_socket_dir", directory), "/var/run/postgresql"),
    key("unix_socket_mode", "0777", (Howdah, "unix_socket_mode", mode), "0770"),
    key("unix_socket_group", "", (Howdah, "unix_socket_group", text), "postgres"),
    key("so_reuseport", "0", (Howdah, "so_reuseport", flag), "1")
        .note("one process uses several cores: see workers"),
    key("peer_id", "0", (Howdah, "peer_id", count), "1"),
    needless("tcp_defer_accept", "1", "a client that sends nothing costs next to nothing"),
    key("pool_mode", "session", (Pool, "pool_mode", pool_mode), "transaction"),
    key("max_client_conn", "100", (Howdah, "max_client_conn", count), "5000"),
    key("default_pool_size", "20", (Pool, "default_pool_size", count), "50"),
    key("min_pool_size", "0", (Pool, "min_pool_size", count), "5"),
    key("reserve_pool_size", "0", (Pool, "reserve_pool_size", count), "3"),
    key("reserve_pool_timeout", "5", (Pool, "reserve_pool_timeout", seconds), "2.5"),
    key("max_db_connections", "0", (Pool, "max_db_connections", count), "60"),
    key("max_db_client_connections", "0", (Pool, "max_db_client_connections", count), "600"),
    key("max_user_connections", "0", (Pool, "max_user_connections", count), "70"),
    key("max_user_client_connections", "0", (Pool, "max_user_client_connections", count), "700"),
    missing(
        "server_round_robin",
        &["0", "off", "no", "false"],
        "the server that was used last is used next, so that those beyond the need grow idle and \
         close",
        "1",
    ),
    key("max_prepared_statements", "200", (Pool, "max_prepared_statements", count), "100"),
    needless(
        "track_extra_parameters",
        "IntervalStyle",
        "every setting of a session follows its client",
    ),
    key(
        "ignore_startup_parameters",
        "",
        (Pool, "ignore_startup_parameters", names),
        "extra_float_digits, options",
    )
    .note("without it they take effect, as on a connection of one's own"),
    missing(
        "disable_pqexec",
        &["0", "off", "no", "false"],
        "simple queries cannot be refused",
        "1",
    ),
    key("application_name_add_host", "0", (Pool, "application_name_add_host", flag), "1"),
    key("max_packet_size", "2147483647", (Howdah, "max_packet_size", packet_size), "1048576"),
    key("auth_type", "md5", (Auth, "auth_type", auth_type), "scram-sha-256"),
    own("auth_file", (Auth, "auth_file", file), "/etc/pgbouncer/userlist.txt"),
    missing(
        "auth_hba_file",
        &[""],
        "there are no HBA rules: limit by listen_addr or a firewall from where clients come",
        "/etc/pgbouncer/hba.conf",
    ),
    missing("auth_ident_file", &[""], "there are no maps of user names", "/etc/pgbouncer/ident"),
    missing("auth_query", &[""], AUTH_QUERY, "SELECT * FROM user_search($1)"),
    missing("auth_user", &[""], AUTH_QUERY, "lookup"),
    missing("auth_dbname", &[""], AUTH_QUERY, "postgres"),
    missing("auth_ldap_options", &[""], "LDAP is not asked: put the users into auth_file", "ldap"),
    key("scram_iterations", "4096", (Auth, "scram_iterations", iterations), "10000"),
    key("admin_users", "", (Howdah, "admin_users", names), "admin, root"),
    key("stats_users", "", (Howdah, "stats_users", names), "stats"),
    key("server_reset_query", "DISCARD ALL", (Pool, "server_reset_query", text), "RESET ALL"),
    needless(
        "server_reset_query_always",
        "0",
        "in transaction mode a server is cleaned whenever a client left something on it",
    ),
    key("server_check_query", "<empty>", (Pool, "server_check_query", text), "SELECT 1"),
    key("server_check_delay", "30", (Pool, "server_check_delay", seconds), "10"),
    missing(
        "server_fast_close",
        &["0", "off", "no", "false"],
        "servers are replaced as they come free",
        "1",
    ),
    key("server_lifetime", "3600", (Timeouts, "server_lifetime", seconds), "0"),
    key("server_idle_timeout", "600", (Timeouts, "server_idle_timeout", seconds), "0"),
    missing(
        "pool_idle_timeout",
        &["0"],
        "only pools that the configuration does not name are forgotten: see autodb_idle_timeout",
        "600",
    ),
    key("autodb_idle_timeout", "3600", (Timeouts, "autodb_idle_timeout", seconds), "60"),
    key("server_connect_timeout", "15", (Timeouts, "server_connect_timeout", seconds), "3.25"),
    key("server_login_retry", "15", (Timeouts, "server_login_retry", seconds), "1"),
    key("client_login_timeout", "60", (Timeouts, "client_login_timeout", seconds), "10"),
    key("client_idle_timeout", "0", (Timeouts, "client_idle_timeout", seconds), "900"),
    key("query_timeout", "0", (Timeouts, "query_timeout", seconds), "30")
        .note("the statement is cancelled, and the session goes on"),
    key("query_wait_timeout", "120", (Timeouts, "query_wait_timeout", seconds), "30")
        .note("the statement fails, and the session goes on"),
    missing("query_wait_notify", &["0", "5"], "clients that wait get no notice", "2"),
    key("idle_transaction_timeout", "0", (Timeouts, "idle_transaction_timeout", seconds), "60"),
    key("transaction_timeout", "0", (Timeouts, "transaction_timeout", seconds), "600"),
    key("cancel_wait_timeout", "10", (Timeouts, "cancel_wait_timeout", seconds), "5"),
    needless("suspend_timeout", "10", "SUSPEND waits ten seconds"),
    missing("login_notify_message", &[""], "clients get no notice at login", "hello"),
    key("client_tls_sslmode", "disable", (TlsClient, "sslmode", client_sslmode), "disable"),
    key("client_tls_key_file", "", (TlsClient, "key_file", file), "/etc/pgbouncer/client.key"),
    key("client_tls_cert_file", "", (TlsClient, "cert_file", file), "/etc/pgbouncer/client.crt"),
    missing(
        "client_tls_ca_file",
        &[""],
        "certificates of clients are not asked for",
        "/etc/pgbouncer/ca.crt",
    ),
    missing("client_tls_protocols", &["secure", "tlsv1.2,tlsv1.3"], CIPHERS, "all"),
    missing("client_tls_ciphers", ALL_CIPHERS, CIPHERS, "AES256-SHA"),
    missing("client_tls13_ciphers", &[""], CIPHERS, "TLS_AES_256_GCM_SHA384"),
    missing("client_tls_ecdhcurve", &["auto"], CIPHERS, "prime256v1"),
    needless("client_tls_dheparams", "auto", CIPHERS),
    key("server_tls_sslmode", "prefer", (TlsServer, "sslmode", server_sslmode), "require"),
    key("server_tls_key_file", "", (TlsServer, "key_file", file), "/etc/pgbouncer/server.key"),
    key("server_tls_cert_file", "", (TlsServer, "cert_file", file), "/etc/pgbouncer/server.crt"),
    key("server_tls_ca_file", "", (TlsServer, "ca_file", file), "/etc/pgbouncer/root.crt"),
    missing("server_tls_protocols", &["secure", "tlsv1.2,tlsv1.3"], CIPHERS, "all"),
    missing("server_tls_ciphers", ALL_CIPHERS, CIPHERS, "AES256-SHA"),
    missing("server_tls13_ciphers", &[""], CIPHERS, "TLS_AES_256_GCM_SHA384"),
    key("dns_max_ttl", "15", (Howdah, "dns_max_ttl", seconds), "60"),
    needless(
        "dns_nxdomain_ttl",
        "15",
        "a name that is not found counts as a failed connection, after which server_login_retry \
         is the pause",
    ),
    missing("dns_zone_check_period", &["0"], "zones are not watched: see dns_max_ttl", "30"),
    missing("resolv_conf", &[""], "the system's resolver is asked", "/etc/pgbouncer/resolv.conf"),
    needless("pkt_buf", "4096", "a connection has no buffer of its own to read into"),
    needless("sbuf_loopcnt", "5", "clients of a worker take turns after each piece read"),
    key("tcp_keepalive", "1", (Howdah, "tcp_keepalive", flag), "1"),
    key("tcp_keepcnt", "0", (Howdah, "tcp_keepcnt", count), "4"),
    key("tcp_keepidle", "0", (Howdah, "tcp_keepidle", whole_seconds), "60"),
    key("tcp_keepintvl", "0", (Howdah, "tcp_keepintvl", whole_seconds), "10"),
    key("tcp_user_timeout", "0", (Howdah, "tcp_user_timeout", milliseconds), "12500"),
    missing("tcp_socket_buffer", &["0"], "the system sizes the buffers of sockets", "65536"),
];

/// `[databases]`.
pub(super) const DATABASES: &[Row] = &[
    own("dbname", (Database, "dbname", text), "app"),
    Row {
        name: "host",
        default: None,
        becomes: Becomes::Node,
        note: "a database has one node: of several hosts only the first is used",
        sample: "10.0.0.1",
    },
    Row { name: "port", default: Some("5432"), becomes: Becomes::Node, note: "", sample: "5433" },
    own("user", (Database, "user", text), "app"),
    own("password", (Database, "password", text), "secret"),
    missing("auth_user", &[], AUTH_QUERY, "lookup"),
    missing("auth_query", &[], AUTH_QUERY, "'SELECT 1'"),
    missing("auth_dbname", &[], AUTH_QUERY, "postgres"),
    own("pool_size", (Database, "pool_size", own_count), "7"),
    own("min_pool_size", (Database, "min_pool_size", own_count), "2"),
    own("reserve_pool_size", (Database, "reserve_pool_size", own_count), "3"),
    own("reserve_pool", (Database, "reserve_pool_size", own_count), "3"),
    own("max_db_connections", (Database, "max_db_connections", own_count), "9"),
    own("max_db_client_connections", (Database, "max_db_client_connections", own_count), "90"),
    own("pool_mode", (Database, "pool_mode", pool_mode), "statement"),
    own("connect_query", (Database, "connect_query", text), "'SET search_path = app'"),
    own("query_wait_timeout", (Database, "query_wait_timeout", seconds), "20"),
    own("server_lifetime", (Database, "server_lifetime", own_lifetime), "1800"),
    missing(
        "load_balance_hosts",
        &[],
        "a database has one node: of several hosts only the first is used",
        "disable",
    ),
    own("client_encoding", (Database, "client_encoding", text), "UTF8"),
    own("datestyle", (Database, "datestyle", text), "ISO"),
    own("timezone", (Database, "timezone", text), "UTC"),
    own("application_name", (Database, "application_name", text), "app"),
];

/// `[users]`.
pub(super) const USERS: &[Row] = &[
    own("pool_mode", (User, "pool_mode", pool_mode), "session"),
    own("pool_size", (User, "pool_size", own_count), "5"),
    own("reserve_pool_size", (User, "reserve_pool_size", own_count), "2"),
    own("max_user_connections", (User, "max_user_connections", own_count), "10"),
    own("max_user_client_connections", (User, "max_user_client_connections", own_count), "20"),
    own("query_timeout", (User, "query_timeout", seconds), "30"),
    own("query_wait_timeout", (User, "query_wait_timeout", seconds), "10"),
    own("idle_transaction_timeout", (User, "idle_transaction_timeout", seconds), "40"),
    own("transaction_timeout", (User, "transaction_timeout", seconds), "50"),
    own("client_idle_timeout", (User, "client_idle_timeout", seconds), "60"),
];

/// `[peers]`.
pub(super) const PEERS: &[Row] = &[
    own("host", (Peer, "host", text), "/tmp/pgbouncer1"),
    own("port", (Peer, "port", count), "6433"),
    needless("pool_size", "5", "each request that is passed on has a connection of its own"),
];
