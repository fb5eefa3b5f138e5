//! `[howdah]`: listening, sockets and the process.

use super::super::value::Kind;
use super::row::Applies::{NextConnect, Restart};
use super::row::{DefaultValue, Key, count, duration, flag, text, unset};

/// The rows of `[howdah]`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "listen_addr",
        Kind::Listen,
        DefaultValue::Toml("[\"127.0.0.1\", \"::1\"]"),
        "Addresses that clients connect to. \"*\" = every address, [] = no TCP.",
    )
    .applies(Restart),
    Key::new(
        "listen_port",
        Kind::Count { min: 1, max: 65535 },
        DefaultValue::Toml("6432"),
        "Port that clients connect to, also part of the Unix socket's name.",
    )
    .applies(Restart),
    Key::new(
        "listen_backlog",
        Kind::Count { min: 1, max: 65535 },
        DefaultValue::Toml("128"),
        "Connections that the kernel holds before they are accepted; it allows at most \
         net.core.somaxconn.",
    )
    .applies(Restart),
    Key::new(
        "unix_socket_dir",
        Kind::Directory,
        DefaultValue::Toml("\"/tmp\""),
        "Directory of the Unix socket .s.PGSQL.<listen_port>. \"\" = no Unix socket.",
    )
    .applies(Restart),
    Key::new(
        "unix_socket_mode",
        Kind::Mode,
        DefaultValue::Toml("\"0777\""),
        "Permissions of the Unix socket, in octal digits.",
    )
    .applies(Restart),
    text("unix_socket_group", "\"\"", "Group that owns the Unix socket. \"\" = the process's own.")
        .applies(Restart),
    flag(
        "so_reuseport",
        "false",
        "Several processes may listen on one port, for a restart without a gap.",
    )
    .applies(Restart),
    Key::new(
        "peer_id",
        Kind::Count { min: 0, max: 16_383 },
        DefaultValue::Toml("0"),
        "Number of this process among those of [peers.NUMBER]. 0 = it has no peers.",
    )
    .applies(Restart),
    flag(
        "watch",
        "false",
        "A change of this file, or of one that it names, is a reload. They are looked at once a \
         second.",
    ),
    unset(
        "workers",
        Kind::Count { min: 1, max: 64 },
        "number of cores, at most 4",
        "Threads that serve clients. One core serves tens of thousands of transactions a second.",
    )
    .applies(Restart)
    .example("2"),
    Key::new(
        "max_client_conn",
        Kind::Count { min: 1, max: 1_000_000 },
        DefaultValue::Toml("10000"),
        "Client connections of the whole process. Each needs an open file: howdah refuses to start \
         when the limit of open files is too low.",
    ),
    Key::new(
        "admin_users",
        Kind::Names,
        DefaultValue::Toml("[]"),
        "Users who may do everything on the console, the database \"howdah\" or \"pgbouncer\".",
    )
    .applies(NextConnect)
    .example("[\"postgres\"]"),
    Key::new(
        "stats_users",
        Kind::Names,
        DefaultValue::Toml("[]"),
        "Users who may look at everything on the console, and change nothing.",
    )
    .applies(NextConnect)
    .example("[\"monitor\"]"),
    Key::new(
        "max_tracked_queries",
        Kind::Count { min: 0, max: 100_000 },
        DefaultValue::Toml("1000"),
        "Distinct statements, without their values, that each worker keeps figures of for SHOW \
         QUERIES: some 2 KiB each. Those used least make room for others. 0 = no figures.",
    ),
    Key::new(
        "max_packet_size",
        Kind::Size { min: 10_000, max: 2_147_483_647 },
        DefaultValue::Toml("2147483647"),
        "Largest message accepted from a client or a server. Rows and COPY data pass in pieces and \
         need no memory of this size.",
    )
    .applies(NextConnect),
    flag(
        "tcp_keepalive",
        "true",
        "TCP keepalive on the connections to clients and servers, so that a vanished peer is noticed.",
    )
    .applies(NextConnect),
    duration("tcp_keepidle", "0", "Silence before the first keepalive probe. 0 = the system's value.")
        .applies(NextConnect),
    duration("tcp_keepintvl", "0", "Time between keepalive probes. 0 = the system's value.")
        .applies(NextConnect),
    count("tcp_keepcnt", "0", "Unanswered probes before a peer is given up. 0 = the system's value.")
        .applies(NextConnect),
    Key::new(
        "tcp_user_timeout",
        Kind::Duration { min: std::time::Duration::ZERO, unit_required: true },
        DefaultValue::Toml("0"),
        "Time after which unacknowledged data ends a connection. 0 = the system's value. Needs a \
         unit, because PgBouncer counts milliseconds here.",
    )
    .applies(NextConnect),
    duration(
        "shutdown_timeout",
        "\"25s\"",
        "After SIGTERM, time for transactions in progress; clients that are left get 57P01. \
         0 = no limit.",
    ),
    duration("dns_max_ttl", "\"15s\"", "Time after which the name of a node is resolved again."),
];
