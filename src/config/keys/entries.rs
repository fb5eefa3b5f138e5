//! `[databases.NAME]`, `[users.NAME]` and `[peers.NUMBER]`.

use std::time::Duration;

use super::super::value::Kind;
use super::routing::PERCENT;
use super::row::Applies::{NextConnect, NextTransaction};
use super::row::{Key, unset, word};
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::policy::RouteReads;
use crate::session::route::Mode;

/// A lifetime in a database: PgBouncer reads 0 here as "use the general one".
const LIFETIME: Kind = Kind::Duration { min: Duration::from_micros(1), unit_required: false };

/// The rows of `[databases.NAME]`.
pub(super) const DATABASE: &[Key] = &[
    unset("dbname", Kind::Text, "NAME", "Name of the database on the server.").example("\"app\""),
    unset(
        "nodes",
        Kind::Nodes,
        "required",
        "The PostgreSQL server, or the primary and its replicas in any order: each \"host\", \
         \"host:port\", \"/directory/of/socket\" or { host = \"10.0.0.1\", port = 5432, \
         role = \"auto\", weight = 1, zone = \"a\" }. role: auto = found out, primary, replica. \
         weight: the share of the reads, 0 = none.",
    )
    .sample("[\"127.0.0.1:5432\"]"),
    unset(
        "route",
        word(RouteReads::WORDS),
        "[routing] route",
        "Where reads of this database go: on = to replicas, off = to the primary, advise = to the \
         primary, with advice.",
    )
    .applies(NextTransaction)
    .example("\"off\""),
    unset(
        "consistency",
        word(Level::WORDS),
        "[routing] consistency",
        "What a read of this database on a replica may rely on.",
    )
    .applies(NextTransaction)
    .example("\"global\""),
    unset(
        "max_lag",
        Kind::DURATION,
        "[routing] max_lag",
        "A replica that is further behind serves no reads of this database. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"1m\""),
    unset(
        "route_percent",
        PERCENT,
        "[routing] route_percent",
        "What share of the reads of this database that a replica may have goes there, in percent.",
    )
    .applies(NextTransaction)
    .example("10"),
    unset(
        "read_only_functions",
        Kind::Functions,
        "none",
        "Functions of this database that only read, beside those of [routing].",
    )
    .applies(NextTransaction)
    .example("[\"reports.*\"]"),
    unset(
        "write_functions",
        Kind::Functions,
        "none",
        "Functions of this database that never run on a replica, beside those of [routing].",
    )
    .applies(NextTransaction)
    .example("[\"audit.*\"]"),
    unset(
        "no_replica",
        word(Fallback::WORDS),
        "[routing] no_replica",
        "What happens to a read of this database for which no replica is fresh enough.",
    )
    .applies(NextTransaction)
    .example("\"wait\""),
    unset(
        "replica_wait",
        Kind::DURATION,
        "[routing] replica_wait",
        "Longest wait of a read of this database until a replica is fresh enough. 0 = no read waits.",
    )
    .applies(NextTransaction)
    .example("\"1s\""),
    unset(
        "user",
        Kind::Text,
        "the client's user",
        "User that servers are logged in as, for every client of this database.",
    )
    .example("\"app\""),
    unset("password", Kind::Secret, "the secret in auth_file", "Password of that user.")
        .example("\"secret\""),
    unset(
        "pool_mode",
        word(Mode::WORDS),
        "[pool] pool_mode",
        "When a server goes back to its pool.",
    )
    .applies(NextConnect)
    .example("\"session\""),
    unset(
        "pool_size",
        Kind::COUNT,
        "[pool] default_pool_size",
        "Server connections of a pool of this database. 0 = no limit.",
    )
    .example("20"),
    unset(
        "min_pool_size",
        Kind::COUNT,
        "[pool] min_pool_size",
        "Server connections that a pool of this database keeps open.",
    )
    .example("2"),
    unset(
        "reserve_pool_size",
        Kind::COUNT,
        "[pool] reserve_pool_size",
        "Server connections beyond pool_size for clients that wait too long.",
    )
    .example("5"),
    unset(
        "max_db_connections",
        Kind::COUNT,
        "[pool] max_db_connections",
        "Server connections of this database on each node. 0 = no limit.",
    )
    .example("50"),
    unset(
        "max_db_client_connections",
        Kind::COUNT,
        "[pool] max_db_client_connections",
        "Client connections of this database. 0 = no limit.",
    )
    .example("1000"),
    unset(
        "connect_query",
        Kind::Text,
        "none",
        "SQL that each new server connection runs before its first client.",
    )
    .applies(NextConnect)
    .example("\"SET search_path = app\""),
    unset(
        "query_wait_timeout",
        Kind::DURATION,
        "[timeouts] query_wait_timeout",
        "Longest wait of a client for a server. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"30s\""),
    unset(
        "server_lifetime",
        LIFETIME,
        "[timeouts] server_lifetime",
        "Age at which a server is closed when it is free.",
    )
    .example("\"30m\""),
    unset(
        "client_encoding",
        Kind::Text,
        "the server's",
        "client_encoding of sessions that do not ask for one.",
    )
    .applies(NextConnect)
    .example("\"UTF8\""),
    unset(
        "datestyle",
        Kind::Text,
        "the server's",
        "DateStyle of sessions that do not ask for one.",
    )
    .applies(NextConnect)
    .example("\"ISO, MDY\""),
    unset("timezone", Kind::Text, "the server's", "TimeZone of sessions that do not ask for one.")
        .applies(NextConnect)
        .example("\"UTC\""),
    unset(
        "application_name",
        Kind::Text,
        "the server's",
        "application_name of sessions that do not ask for one.",
    )
    .applies(NextConnect)
    .example("\"app\""),
];

/// The rows of `[users.NAME]`.
pub(super) const USER: &[Key] = &[
    unset(
        "route",
        word(RouteReads::WORDS),
        "the database's route",
        "Where reads of this user go: on = to replicas, off = to the primary, advise = to the \
         primary, with advice.",
    )
    .applies(NextTransaction)
    .example("\"off\""),
    unset(
        "consistency",
        word(Level::WORDS),
        "the database's consistency",
        "What a read of this user on a replica may rely on.",
    )
    .applies(NextTransaction)
    .example("\"eventual\""),
    unset(
        "max_lag",
        Kind::DURATION,
        "the database's max_lag",
        "A replica that is further behind serves no reads of this user. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"1h\""),
    unset(
        "pool_mode",
        word(Mode::WORDS),
        "the database's pool_mode",
        "When a server goes back to its pool.",
    )
    .applies(NextConnect)
    .example("\"session\""),
    unset(
        "pool_size",
        Kind::COUNT,
        "the database's pool_size",
        "Server connections of this user's pools. 0 = no limit.",
    )
    .example("5"),
    unset(
        "reserve_pool_size",
        Kind::COUNT,
        "the database's reserve_pool_size",
        "Server connections beyond pool_size for clients that wait too long.",
    )
    .example("1"),
    unset(
        "max_user_connections",
        Kind::COUNT,
        "[pool] max_user_connections",
        "Server connections of this user on each node. 0 = no limit.",
    )
    .example("10"),
    unset(
        "max_user_client_connections",
        Kind::COUNT,
        "[pool] max_user_client_connections",
        "Client connections of this user. 0 = no limit.",
    )
    .example("100"),
    unset(
        "query_timeout",
        Kind::DURATION,
        "[timeouts] query_timeout",
        "Longest run of a statement. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"5m\""),
    unset(
        "query_wait_timeout",
        Kind::DURATION,
        "the database's query_wait_timeout",
        "Longest wait of a client for a server. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"30s\""),
    unset(
        "idle_transaction_timeout",
        Kind::DURATION,
        "[timeouts] idle_transaction_timeout",
        "Longest silence inside a transaction. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"1m\""),
    unset(
        "transaction_timeout",
        Kind::DURATION,
        "[timeouts] transaction_timeout",
        "Longest transaction. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"10m\""),
    unset(
        "client_idle_timeout",
        Kind::DURATION,
        "[timeouts] client_idle_timeout",
        "Longest silence outside a transaction. 0 = no limit.",
    )
    .applies(NextTransaction)
    .example("\"1h\""),
];

/// The rows of `[peers.NUMBER]`.
pub(super) const PEER: &[Key] = &[
    unset(
        "host",
        Kind::Text,
        "required",
        "Where the process itself can be reached: an address or the directory of its Unix socket.",
    )
    .sample("\"10.0.1.2\""),
    unset(
        "port",
        Kind::Count { min: 1, max: 65_535 },
        "6432",
        "The port that it listens on there.",
    )
    .example("6432"),
];
