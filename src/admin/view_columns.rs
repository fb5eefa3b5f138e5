//! The columns of every SHOW command: PgBouncer's first, in its order, then ours.

use super::command::{Command, Harmless, View};
use super::table::{Column, Type};

macro_rules! columns {
    ($($kind:ident $name:literal),* $(,)?) => {
        &[$(Column { name: $name, kind: Type::$kind }),*]
    };
}

/// Of clients and of servers.
const CLIENTS: &[Column] = columns![
    Text "type", Text "user", Text "database", Text "replication", Text "state", Text "addr", Int4 "port",
    Text "local_addr", Int4 "local_port", Text "connect_time", Text "request_time", Int4 "wait", Int4 "wait_us",
    Int4 "close_needed", Text "ptr", Text "link", Int4 "remote_pid", Text "tls", Text "application_name",
    Int4 "prepared_statements", Int8 "id",
];

const SOCKETS: &[Column] = columns![
    Text "type", Text "user", Text "database", Text "replication", Text "state", Text "addr", Int4 "port",
    Text "local_addr", Int4 "local_port", Text "connect_time", Text "request_time", Int4 "wait", Int4 "wait_us",
    Int4 "close_needed", Text "ptr", Text "link", Int4 "remote_pid", Text "tls", Text "application_name",
    Int4 "prepared_statements", Int8 "id", Int4 "recv_pos", Int4 "pkt_pos", Int4 "pkt_remain", Int4 "send_pos",
    Int4 "send_remain", Int4 "pkt_avail", Int4 "send_avail",
];

const FDS: &[Column] = columns![
    Int4 "fd", Text "task", Text "user", Text "database", Text "addr", Int4 "port", Int8 "cancel", Int4 "link",
    Text "client_encoding", Text "std_strings", Text "datestyle", Text "timezone", Text "password",
    Text "scram_client_key", Text "scram_server_key",
];

const DATABASES: &[Column] = columns![
    Text "name", Text "host", Int4 "port", Text "database", Text "force_user", Int4 "pool_size",
                Int4 "min_pool_size", Int4 "reserve_pool_size", Int4 "server_lifetime", Text "pool_mode",
                Text "load_balance_hosts", Int4 "max_connections", Int4 "current_connections",
                Int4 "max_client_connections", Int4 "current_client_connections", Int4 "paused", Int4 "disabled",
];

const POOLS: &[Column] = columns![
    Text "database", Text "user", Int4 "cl_active", Int4 "cl_waiting", Int4 "cl_active_cancel_req",
                Int4 "cl_waiting_cancel_req", Int4 "sv_active", Int4 "sv_active_cancel", Int4 "sv_being_canceled",
                Int4 "sv_idle", Int4 "sv_used", Int4 "sv_tested", Int4 "sv_login", Int4 "maxwait", Int4 "maxwait_us",
                Text "pool_mode", Text "load_balance_hosts",
];

const STATS: &[Column] = columns![
    Text "database", Numeric "total_server_assignment_count", Numeric "total_xact_count",
                Numeric "total_query_count", Numeric "total_received", Numeric "total_sent", Numeric "total_xact_time",
                Numeric "total_query_time", Numeric "total_wait_time", Numeric "total_client_parse_count",
                Numeric "total_server_parse_count", Numeric "total_bind_count", Numeric "total_client_login_count",
                Numeric "avg_server_assignment_count", Numeric "avg_xact_count", Numeric "avg_query_count",
                Numeric "avg_recv", Numeric "avg_sent", Numeric "avg_xact_time", Numeric "avg_query_time",
                Numeric "avg_wait_time", Numeric "avg_client_parse_count", Numeric "avg_server_parse_count",
                Numeric "avg_bind_count", Numeric "avg_client_login_count",
];

const STATS_AVERAGES: &[Column] = columns![
    Text "database", Numeric "server_assignment_count", Numeric "xact_count", Numeric "query_count",
                Numeric "bytes_received", Numeric "bytes_sent", Numeric "xact_time", Numeric "query_time",
                Numeric "wait_time", Numeric "avg_client_parse_count", Numeric "avg_server_parse_count",
                Numeric "avg_bind_count", Numeric "avg_client_login_count",
];

impl View {
    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Capacity => columns![
                Text "database", Text "user", Float8 "arrival_rate", Float8 "service_time_ms", Float8 "offered_load",
                Int4 "pool_size", Float8 "utilisation", Float8 "wait_p50_ms", Float8 "wait_p99_ms",
                Float8 "predicted_p50_ms", Float8 "predicted_p99_ms", Int4 "recommended_size",
            ],
            Self::Clients | Self::Servers => CLIENTS,
            Self::ActiveSockets | Self::Sockets => SOCKETS,
            Self::Config => columns![Text "key", Text "value", Text "default", Text "changeable"],
            Self::Databases => DATABASES,
            Self::DnsHosts => columns![Text "hostname", Int8 "ttl", Text "addrs"],
            Self::DnsZones => columns![Text "zonename", Text "serial", Int4 "count"],
            Self::Fds => FDS,
            Self::Mem => columns![
                Text "name", Int4 "size", Int4 "used", Int4 "free", Int8 "memtotal",
            ],
            Self::PeerPools => columns![
                Int4 "peer_id", Int4 "cl_active_cancel_req", Int4 "cl_waiting_cancel_req", Int4 "sv_active_cancel",
                Int4 "sv_login",
            ],
            Self::Peers => columns![Int4 "peer_id", Text "host", Int4 "port", Int4 "pool_size"],
            Self::Events => columns![
                Text "time", Text "level", Text "kind", Int8 "count", Text "database", Text "user", Text "message",
            ],
            Self::Failovers => columns![
                Text "database", Text "began", Text "ended", Float8 "gap_ms", Text "from_node", Int4 "from_timeline",
                Text "to_node", Int4 "to_timeline", Text "switch_lsn", Int8 "failed", Int8 "waited", Int8 "repeated",
                Int8 "in_doubt", Text "loss", Text "lost_after", Text "lost_until", Int8 "lost_bytes",
            ],
            Self::Nodes => columns![
                Text "database", Text "node", Text "role", Text "state", Text "since", Int8 "lag_bytes",
                Float8 "lag_ms", Float8 "horizon_age_ms", Int4 "may_read", Int4 "near", Int4 "weight",
                Float8 "share", Int4 "outstanding", Int4 "suspect", Text "last_error", Text "last_error_time", Text "differs",
                Text "held_up_by",
            ],
            Self::Advice | Self::AdviceByCalls => columns![
                Text "database", Text "target", Text "reason", Int8 "calls", Float8 "calls_percent",
                Float8 "time_ms", Float8 "time_percent", Text "fingerprint", Text "query", Text "remedy",
            ],
            Self::Help => columns![Text "command", Text "description"],
            Self::Latency => columns![
                Text "database", Text "user", Text "what", Int8 "count", Float8 "p50_ms", Float8 "p95_ms",
                Float8 "p99_ms", Float8 "max_ms",
            ],
            Self::Lists => columns![Text "list", Int4 "items"],
            Self::Pools => POOLS,
            Self::Queries => columns![
                Text "database", Text "fingerprint", Int8 "calls", Int8 "rows", Int8 "bytes", Int8 "errors",
                Float8 "total_time_ms", Float8 "p50_ms", Float8 "p95_ms", Float8 "p99_ms", Float8 "max_ms",
                Float8 "wait_time_ms", Text "query",
            ],
            Self::Routes => columns![
                Text "database", Text "target", Text "reason", Int8 "count", Text "explanation", Text "remedy",
            ],
            Self::State => columns![Text "key", Text "value"],
            Self::Stats => STATS,
            Self::StatsAverages => STATS_AVERAGES,
            Self::StatsTotals => columns![
                Text "database", Numeric "server_assignment_count", Numeric "xact_count", Numeric "query_count",
                Numeric "bytes_received", Numeric "bytes_sent", Numeric "xact_time", Numeric "query_time",
                Numeric "wait_time", Numeric "client_parse_count", Numeric "server_parse_count", Numeric "bind_count",
                Numeric "client_login_count",
            ],
            Self::Totals => columns![Text "name", Numeric "value"],
            Self::Users => columns![
                Text "name", Text "pool_size", Text "reserve_pool_size", Text "pool_mode", Int4 "max_user_connections",
                Int4 "current_connections", Int4 "max_user_client_connections", Int4 "current_client_connections",
            ],
            Self::Version => columns![Text "version"],
        }
    }
}

impl Command {
    /// The columns of its answer; `None` when it has no rows.
    pub fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Show(view) => Some(view.columns()),
            Self::Reload { .. } => {
                Some(columns![Text "key", Text "old", Text "new", Text "applies"])
            }
            Self::ExplainRoute { .. } => Some(columns![
                Text "target", Text "reason", Text "node", Text "consistency", Text "fingerprint",
            ]),
            Self::Harmless(Harmless::Number(_)) => Some(columns![Int4 "?column?"]),
            Self::Harmless(Harmless::Setting(name, _)) => Some(setting_column(name)),
            Self::Pause(_)
            | Self::Resume(_)
            | Self::Reconnect(_)
            | Self::Disable(_)
            | Self::Enable(_)
            | Self::Kill(_)
            | Self::Suspend
            | Self::WaitClose(_)
            | Self::Set { .. }
            | Self::KillClient(_)
            | Self::Cancel(_)
            | Self::Shutdown(_)
            | Self::ResetQueries
            | Self::Harmless(Harmless::Begin(_) | Harmless::End(_) | Harmless::Nothing(_)) => None,
        }
    }
}

/// The one column of SHOW for a setting that drivers ask for is called as the setting is.
fn setting_column(name: &str) -> &'static [Column] {
    match name {
        "application_name" => columns![Text "application_name"],
        "client_encoding" => columns![Text "client_encoding"],
        "datestyle" => columns![Text "DateStyle"],
        "default_transaction_isolation" => columns![Text "default_transaction_isolation"],
        "extra_float_digits" => columns![Text "extra_float_digits"],
        "server_version" => columns![Text "server_version"],
        "standard_conforming_strings" => columns![Text "standard_conforming_strings"],
        "statement_timeout" => columns![Text "statement_timeout"],
        "timezone" => columns![Text "TimeZone"],
        "transaction_isolation" => columns![Text "transaction_isolation"],
        _ => columns![Text "setting"],
    }
}
