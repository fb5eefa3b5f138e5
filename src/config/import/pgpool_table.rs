//! What becomes of every documented setting of Pgpool-II. Settings that share their fate share a row.

use super::super::keys::Section;
use super::convert::{Convert, Converted, Ground, count, duration, file, flag, listen, mode, text};
use super::draft::quoted;

use super::pgpool_routing::{balance, consistency, interval};

use Section::{Auth, Howdah, Log, Pool, Routing, Timeouts, TlsClient};

/// What becomes of settings.
#[derive(Clone, Copy)]
pub(super) enum Fated {
    /// This key.
    Key(Section, &'static str, Convert),
    /// Something that takes several settings together; the code is in `pgpool`.
    Together,
    /// Nothing: howdah needs no such setting.
    Needless,
    /// Nothing like it, unless it is off.
    Missing,
}

/// Settings that share their fate. A name that ends in `N` stands for `…0`, `…1` and so on, and one
/// that ends in `[N]` for those and the name alone.
pub(super) struct Group {
    pub(super) names: &'static [&'static str],
    pub(super) fate: Fated,
    /// Why, what to do instead, or how it differs.
    pub(super) note: &'static str,
    /// A value for the conversion.
    pub(super) sample: &'static str,
}

const fn key(
    name: &'static [&'static str],
    target: (Section, &'static str, Convert),
    sample: &'static str,
) -> Group {
    Group { names: name, fate: Fated::Key(target.0, target.1, target.2), note: "", sample }
}

const fn group(names: &'static [&'static str], fate: Fated, note: &'static str) -> Group {
    Group { names, fate, note, sample: "on" }
}

const fn sampled(
    names: &'static [&'static str],
    fate: Fated,
    note: &'static str,
    sample: &'static str,
) -> Group {
    Group { names, fate, note, sample }
}

/// A time in a number of `base` microseconds, or with one of PostgreSQL's units.
fn time(text: &str, base: u128) -> Result<Converted, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = match unit.trim() {
        "" => base,
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => 0,
    };
    let number: Option<u32> = number.parse().ok();
    match number.filter(|_| scale > 0) {
        Some(number) => Ok(duration(u128::from(number) * scale)),
        None => Err(format!("expected a time such as 30, 5min or 500ms, found {text:?}")),
    }
}

fn seconds(text: &str, _: &Ground) -> Result<Converted, String> {
    time(text, 1_000_000)
}

fn milliseconds(text: &str, _: &Ground) -> Result<Converted, String> {
    time(text, 1000)
}

/// `health_check_timeout`.
fn patience(text: &str, ground: &Ground) -> Result<Converted, String> {
    let made = seconds(text, ground)?;
    if made == Converted::Same("0".to_owned()) {
        let why = "0, no limit: a probe has one, probe_timeout";
        return Ok(Converted::Needless(why.to_owned()));
    }
    if let Converted::Same(toml) = made {
        let how = "a node that does not answer a probe for so long is suspected";
        return Ok(Converted::Near(toml, how.to_owned()));
    }
    Ok(made)
}

/// `log_min_messages`.
fn level(text: &str, _: &Ground) -> Result<Converted, String> {
    let level = match text.to_lowercase().as_str() {
        "debug5" | "debug4" | "debug3" | "debug2" => "trace",
        "debug1" | "debug" => "debug",
        // The line that says that the process is up has no higher level.
        "info" | "notice" | "log" | "warning" => "info",
        "error" | "fatal" | "panic" => "error",
        _ => return Err(format!("expected a level such as warning, found {text:?}")),
    };
    Ok(Converted::Same(quoted(level)))
}

/// `ssl`: clients may ask for it.
fn ssl(text: &str, ground: &Ground) -> Result<Converted, String> {
    let on = flag(text, ground)? == Converted::Same("true".to_owned());
    Ok(Converted::Same(quoted(if on { "prefer" } else { "disable" })))
}

/// `reset_query_list`. ABORT is for transactions that are open, which howdah ends by itself.
fn reset(text: &str, _: &Ground) -> Result<Converted, String> {
    let statements = text.split(';').map(str::trim).filter(|text| !text.is_empty());
    let rest: Vec<&str> =
        statements.filter(|statement| !statement.eq_ignore_ascii_case("abort")).collect();
    match rest.as_slice() {
        [] => Ok(Converted::Same(quoted(""))),
        [one] => Ok(Converted::Same(quoted(one))),
        _ => Ok(Converted::Near(
            quoted("DISCARD ALL"),
            "one statement cleans a server, and this one cleans everything".to_owned(),
        )),
    }
}

const LAG: &str = "each node is asked itself how far it is";
const COPY: &str = "servers are not rebuilt here, and nothing needs to know their folders";
const TABLES: &str = "what a session wrote counts for all tables, or with consistency = \"global\" by the \
    tables that the catalog knows to depend on one another";
const PATTERNS: &str = "texts are not compared with patterns: begin such a statement with \
    /* howdah: primary */, list the functions it calls in write_functions, or give its user, \
    database or application a rule in routing.redirects";
const PROBES: &str = "every node is asked each probe_interval, suspects more often, and one that is well \
    again serves again";
const PROMOTION: &str = "promotion is left to a tool such as Patroni; howdah finds the new primary, and role_hook \
    names a program that it runs then";
const WATCHDOG: &str = "processes need not know each other: run several behind a load balancer or \
    under a service manager, with so_reuseport on one machine";
const RECOVERY: &str = "servers are not rebuilt: use a tool such as Patroni or repmgr";
const CACHE: &str = "results are not cached";
const COPIES: &str = "statements are not copied to several servers: use PostgreSQL's replication";
const CHILDREN: &str = "clients need no processes of their own";
const LOGGING: &str = "the log goes to standard error: let the service manager write, rotate and \
    pass it on";
const STATEMENTS: &str = "statements and messages are not logged: PostgreSQL does that";
const TLS: &str = "TLS is 1.2 or 1.3 with the cipher suites of rustls, all of them strong";
const PCP: &str = "there is no port of its own for administration";
const CATALOG: &str =
    "each database's catalog is read and kept, and read again when it has changed";

/// Every setting.
pub(super) const GROUPS: &[Group] = &[
    key(&["listen_addresses"], (Howdah, "listen_addr", listen), "localhost"),
    key(&["port"], (Howdah, "listen_port", count), "9998"),
    key(
        &["socket_dir", "unix_socket_directories"],
        (Howdah, "unix_socket_dir", first_directory),
        "/var/run/postgresql",
    ),
    key(&["unix_socket_group"], (Howdah, "unix_socket_group", text), "postgres"),
    key(&["unix_socket_permissions"], (Howdah, "unix_socket_mode", mode), "0770"),
    key(&["authentication_timeout"], (Timeouts, "client_login_timeout", seconds), "1min"),
    key(&["client_idle_limit"], (Timeouts, "client_idle_timeout", seconds), "300"),
    key(&["connection_life_time"], (Timeouts, "server_idle_timeout", seconds), "1h"),
    key(&["connect_timeout[N]"], (Timeouts, "server_connect_timeout", milliseconds), "10000"),
    key(&["reset_query_list"], (Pool, "server_reset_query", reset), "ABORT; DISCARD ALL"),
    key(&["log_connections"], (Log, "log_connections", flag), "on"),
    key(&["log_disconnections"], (Log, "log_disconnections", flag), "on"),
    key(&["log_min_messages"], (Log, "level", level), "warning"),
    key(&["ssl"], (TlsClient, "sslmode", ssl), "off"),
    key(&["ssl_key"], (TlsClient, "key_file", file), "/etc/pgpool2/server.key"),
    key(&["ssl_cert"], (TlsClient, "cert_file", file), "/etc/pgpool2/server.crt"),
    group(
        &["num_init_children", "reserved_connections", "listen_backlog_multiplier"],
        Fated::Together,
        "max_client_conn, and as many servers, because each client of Pgpool-II has its own",
    ),
    group(
        &["enable_pool_hba", "pool_passwd", "allow_clear_text_frontend_auth"],
        Fated::Missing,
        "write the users and their secrets into auth_file: a password, an MD5 hash or a SCRAM \
         verifier each; with a verifier howdah logs in to servers as the client did",
    ),
    sampled(
        &["backend_hostnameN", "backend_portN"],
        Fated::Together,
        "databases.*.nodes, the nodes of every database",
        "5432",
    ),
    sampled(&["backend_weightN"], Fated::Together, "databases.*.nodes", "1"),
    sampled(&["backend_flagN"], Fated::Needless, "its backend has no host", "ALLOW_TO_FAILOVER"),
    sampled(
        &["backend_clustering_mode", "master_slave_mode", "master_slave_sub_mode"],
        Fated::Together,
        "databases.*.nodes: which node is the primary is found out",
        "streaming_replication",
    ),
    group(&["backend_data_directoryN"], Fated::Needless, COPY),
    group(&["backend_application_nameN"], Fated::Needless, LAG),
    key(&["load_balance_mode"], (Routing, "route", balance), "on"),
    key(&["disable_load_balance_on_write"], (Routing, "consistency", consistency), "transaction"),
    key(&["delay_threshold_by_time"], (Routing, "max_lag", milliseconds), "10000"),
    sampled(
        &["delay_threshold"],
        Fated::Missing,
        "a lag is a time here: set max_lag, such as \"10s\", beyond which a replica serves no reads",
        "10000000",
    ),
    key(&["sr_check_period"], (Routing, "probe_interval", interval), "10"),
    key(&["sr_check_database"], (Routing, "probe_dbname", text), "postgres"),
    key(&["health_check_timeout[N]"], (Routing, "probe_timeout", patience), "20"),
    sampled(
        &["sr_check_user", "sr_check_password", "health_check_user[N]", "health_check_password[N]"],
        Fated::Together,
        "routing.probe_user and its password",
        "u",
    ),
    group(
        &["health_check_database[N]"],
        Fated::Needless,
        "probes log in to one database, probe_dbname",
    ),
    sampled(
        &["read_only_function_list", "white_function_list"],
        Fated::Together,
        "routing.read_only_functions",
        "get_.*",
    ),
    sampled(
        &["write_function_list", "black_function_list"],
        Fated::Together,
        "routing.write_functions",
        "set_.*",
    ),
    sampled(
        &[
            "user_redirect_preference_list",
            "database_redirect_preference_list",
            "app_name_redirect_preference_list",
        ],
        Fated::Together,
        "routing.redirects",
        "postgres:primary",
    ),
    group(
        &["primary_routing_query_pattern_list", "black_query_pattern_list"],
        Fated::Missing,
        PATTERNS,
    ),
    group(
        &["statement_level_load_balance"],
        Fated::Missing,
        "with pool_mode = \"transaction\" a node is chosen for each transaction and each statement \
         outside of one; with \"session\" a client keeps the replica it has",
    ),
    group(
        &["allow_sql_comments", "ignore_leading_white_space"],
        Fated::Needless,
        "comments and blanks in front of a statement change nothing, but for hints such as \
         /* howdah: primary */",
    ),
    group(
        &["prefer_lower_delay_standby"],
        Fated::Needless,
        "a read goes to any replica that is fresh enough, and to the primary if there is none",
    ),
    group(&["dml_adaptive_object_relationship_list"], Fated::Needless, TABLES),
    group(
        &[
            "track_table_mutation_ttl_factor",
            "track_table_mutation_max_staleness",
            "track_table_mutation_cold_start_duration",
            "track_table_mutation_table_buckets",
            "track_table_mutation_table_size",
        ],
        Fated::Needless,
        TABLES,
    ),
    group(
        &["replication_delay_source_cmd", "replication_delay_source_timeout"],
        Fated::Missing,
        LAG,
    ),
    group(
        &["log_standby_delay"],
        Fated::Needless,
        "SHOW NODES and /metrics have the lag of each node",
    ),
    group(
        &[
            "relcache_expire",
            "relcache_size",
            "enable_shared_relcache",
            "relcache_query_target",
            "check_temp_table",
            "check_unlogged_table",
        ],
        Fated::Needless,
        CATALOG,
    ),
    group(
        &[
            "health_check_period[N]",
            "health_check_max_retries[N]",
            "health_check_retry_delay[N]",
            "health_check_test",
            "failover_on_backend_error",
            "fail_over_on_backend_error",
            "failover_on_backend_shutdown",
            "detach_false_primary",
            "auto_failback",
            "auto_failback_interval",
        ],
        Fated::Needless,
        PROBES,
    ),
    group(
        &["search_primary_node_timeout"],
        Fated::Needless,
        "a primary is looked for without end, and a write waits for it up to primary_wait",
    ),
    group(
        &[
            "failover_command",
            "failback_command",
            "follow_primary_command",
            "follow_master_command",
        ],
        Fated::Missing,
        PROMOTION,
    ),
    group(
        &[
            "recovery_user",
            "recovery_password",
            "recovery_database",
            "recovery_1st_stage_command",
            "recovery_2nd_stage_command",
            "recovery_timeout",
            "client_idle_limit_in_recovery",
        ],
        Fated::Missing,
        RECOVERY,
    ),
    group(
        &[
            "use_watchdog",
            "trusted_servers",
            "trusted_server_command",
            "ping_path",
            "hostnameN",
            "wd_portN",
            "pgpool_portN",
            "wd_hostname",
            "wd_port",
            "wd_listen_address",
            "wd_priority",
            "wd_authkey",
            "wd_ipc_socket_dir",
            "wd_ipc_socket_group",
            "wd_ipc_socket_permissions",
            "delegate_ip",
            "if_cmd_path",
            "if_up_cmd",
            "if_down_cmd",
            "arping_path",
            "arping_cmd",
            "clear_memqcache_on_escalation",
            "wd_escalation_command",
            "wd_de_escalation_command",
            "failover_when_quorum_exists",
            "failover_require_consensus",
            "allow_multiple_failover_requests_from_node",
            "enable_consensus_with_half_votes",
            "wd_remove_shutdown_nodes",
            "wd_lost_node_removal_timeout",
            "wd_no_show_node_removal_timeout",
            "wd_monitoring_interfaces_list",
            "wd_lifecheck_method",
            "wd_interval",
            "heartbeat_hostnameN",
            "heartbeat_portN",
            "heartbeat_deviceN",
            "wd_heartbeat_keepalive",
            "wd_heartbeat_deadtime",
            "wd_heartbeat_port",
            "heartbeat_destinationN",
            "heartbeat_destination_portN",
            "other_pgpool_hostnameN",
            "other_pgpool_portN",
            "other_wd_portN",
            "wd_life_point",
            "wd_lifecheck_query",
            "wd_lifecheck_dbname",
            "wd_lifecheck_user",
            "wd_lifecheck_password",
        ],
        Fated::Missing,
        WATCHDOG,
    ),
    group(
        &[
            "memory_cache_enabled",
            "memqcache_method",
            "memqcache_memcached_host",
            "memqcache_memcached_port",
            "memqcache_total_size",
            "memqcache_max_num_cache",
            "memqcache_expire",
            "memqcache_auto_cache_invalidation",
            "memqcache_maxcache",
            "memqcache_cache_block_size",
            "memqcache_oiddir",
            "cache_safe_memqcache_table_list",
            "cache_unsafe_memqcache_table_list",
            "white_memqcache_table_list",
            "black_memqcache_table_list",
        ],
        Fated::Missing,
        CACHE,
    ),
    group(
        &[
            "replication_mode",
            "replicate_select",
            "insert_lock",
            "lobj_lock_table",
            "replication_stop_on_mismatch",
            "failover_if_affected_tuples_mismatch",
        ],
        Fated::Missing,
        COPIES,
    ),
    group(
        &[
            "process_management_mode",
            "process_management_strategy",
            "min_spare_children",
            "max_spare_children",
            "child_life_time",
            "child_max_connections",
            "serialize_accept",
            "max_pool",
            "connection_cache",
        ],
        Fated::Needless,
        CHILDREN,
    ),
    group(
        &[
            "log_destination",
            "log_line_prefix",
            "log_hostname",
            "syslog_facility",
            "syslog_ident",
            "log_error_verbosity",
            "logging_collector",
            "log_directory",
            "log_filename",
            "log_file_mode",
            "log_truncate_on_rotation",
            "log_rotation_age",
            "log_rotation_size",
            "logdir",
            "work_dir",
            "pid_file_name",
        ],
        Fated::Missing,
        LOGGING,
    ),
    group(
        &[
            "log_statement",
            "log_per_node_statement",
            "notice_per_node_statement",
            "log_client_messages",
            "log_backend_messages",
            "client_min_messages",
            "log_pcp_processes",
        ],
        Fated::Missing,
        STATEMENTS,
    ),
    group(
        &["ssl_ca_cert", "ssl_ca_cert_dir", "ssl_crl_file", "ssl_passphrase_command"],
        Fated::Missing,
        "certificates of clients are not asked for; those of servers are checked with \
         tls.server.ca_file; private keys are not encrypted",
    ),
    group(
        &["ssl_ciphers", "ssl_prefer_server_ciphers", "ssl_ecdh_curve", "ssl_dh_params_file"],
        Fated::Missing,
        TLS,
    ),
    group(&["pcp_listen_addresses", "pcp_port", "pcp_socket_dir"], Fated::Missing, PCP),
];

/// The first of several directories: howdah has one Unix socket.
fn first_directory(text: &str, ground: &Ground) -> Result<Converted, String> {
    let mut all = super::convert::parts(text);
    let first = all.next().unwrap_or_default();
    let converted = super::convert::directory(first, ground)?;
    if let (Converted::Same(toml), Some(_)) = (&converted, all.next()) {
        let why = "the first of several: there is one Unix socket".to_owned();
        return Ok(Converted::Near(toml.clone(), why));
    }
    Ok(converted)
}

/// Pgpool-II's defaults that differ from ours, and what its way of pooling means.
pub(super) const DEFAULTS: &[(Section, &str, &str)] = &[
    (Howdah, "listen_addr", "[\"localhost\"]"),
    (Howdah, "listen_port", "9999"),
    (Howdah, "max_client_conn", "32"),
    (Pool, "pool_mode", "\"session\""),
    (Pool, "default_pool_size", "32"),
    (Timeouts, "server_connect_timeout", "\"10s\""),
    (Timeouts, "server_idle_timeout", "0"),
    (Timeouts, "query_wait_timeout", "0"),
    (Auth, "auth_type", "\"md5\""),
    (Log, "log_connections", "false"),
    (Log, "log_disconnections", "false"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let ground = Ground { directory: "/".into(), home: None };
        let same = |convert: Convert, text: &str| match convert(text, &ground) {
            Ok(Converted::Same(toml)) => toml,
            other => format!("{other:?}"),
        };
        for (text, expected) in
            [("30", "\"30s\""), ("5min", "\"5m\""), ("1 d", "\"1d\""), ("0", "0")]
        {
            assert_eq!(same(seconds, text), expected);
        }
        assert_eq!(same(milliseconds, "10000"), "\"10s\"");
        assert!(seconds("1week", &ground).is_err() && seconds("min", &ground).is_err());
        assert_eq!(same(reset, "ABORT; DISCARD ALL"), "\"DISCARD ALL\"");
        assert_eq!(same(reset, "abort;"), "\"\"");
        assert!(matches!(reset("ABORT; RESET ALL; X", &ground), Ok(Converted::Near(..))));
        assert_eq!(same(level, "WARNING"), "\"info\"");
        assert_eq!(same(ssl, "on"), "\"prefer\"");
    }
}
