//! `[timeouts]`.

use super::row::Applies::{NextConnect, NextTransaction};
use super::row::{Key, duration};

/// The rows of `[timeouts]`.
pub(super) const KEYS: &[Key] = &[
    duration(
        "query_wait_timeout",
        "\"120s\"",
        "Longest wait of a client for a server; then its statement fails with ERROR 53300 and the \
         session goes on.",
    )
    .applies(NextTransaction),
    duration(
        "query_timeout",
        "0",
        "Longest run of a statement; then it is cancelled with ERROR 57014 and the session goes on.",
    )
    .applies(NextTransaction),
    duration(
        "transaction_timeout",
        "0",
        "Longest transaction; then it is rolled back and the client gets FATAL 25P04.",
    )
    .applies(NextTransaction),
    duration(
        "idle_transaction_timeout",
        "0",
        "Longest silence of a client inside a transaction; then it is rolled back and the client \
         gets FATAL 25P03.",
    )
    .applies(NextTransaction),
    duration("client_login_timeout", "\"60s\"", "Time a client has to log in.")
        .applies(NextConnect),
    duration(
        "client_idle_timeout",
        "0",
        "Longest silence of a client outside a transaction; then it is disconnected.",
    )
    .applies(NextTransaction),
    duration("server_connect_timeout", "\"15s\"", "Time to connect and log in to a server.")
        .applies(NextConnect),
    duration(
        "server_login_retry",
        "\"15s\"",
        "Pause after a failed connection or login to a server. 0 = no pause.",
    ),
    duration(
        "cancel_wait_timeout",
        "\"10s\"",
        "Longest life of a cancel request that could not be delivered yet.",
    ),
    duration(
        "abandoned_query_timeout",
        "\"60s\"",
        "Longest time that a statement may still run whose client is gone, if it may write and no \
         transaction block is open. Reads, and statements in a transaction, are cancelled at once. \
         0 = no limit.",
    )
    .applies(NextTransaction),
    duration("server_idle_timeout", "\"10m\"", "Idle time after which a server is closed."),
    duration(
        "server_lifetime",
        "\"1h\"",
        "Age at which a server is closed when it is free, give or take a tenth so that not all go \
         at once. 0 = every server is used once.",
    ),
    duration(
        "autodb_idle_timeout",
        "\"1h\"",
        "Time after which a database that only \"*\" names, or a user whom nothing names, is \
         forgotten if it has no clients and no servers. 0 = not before there are 10,000 of them.",
    ),
];
