//! `[pool]`: pooling.

use super::super::value::Kind;
use super::row::Applies::{NextConnect, NextTransaction};
use super::row::{DefaultValue, Key, count, duration, flag, text, word};
use crate::session::route::{Mode, StatePolicy};

/// The rows of `[pool]`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "pool_mode",
        word(Mode::WORDS),
        DefaultValue::Toml("\"transaction\""),
        "When a server goes back to its pool: session = when the client leaves, transaction = when \
         the transaction ends, statement = after each statement.",
    )
    .applies(NextConnect),
    count(
        "default_pool_size",
        "20",
        "Server connections of one pool (database, server user and node). 0 = no limit.",
    ),
    count("min_pool_size", "0", "Server connections that a pool in use keeps open."),
    count(
        "reserve_pool_size",
        "0",
        "Server connections beyond the pool's size, for clients that have waited for \
         reserve_pool_timeout.",
    ),
    duration(
        "reserve_pool_timeout",
        "\"5s\"",
        "Time a client waits before the reserve is used. 0 = the reserve is never used.",
    ),
    count(
        "max_db_connections",
        "0",
        "Server connections of one database on each node, all users together. 0 = no limit.",
    ),
    count(
        "max_user_connections",
        "0",
        "Server connections of one user on each node, all databases together. 0 = no limit.",
    ),
    count("max_db_client_connections", "0", "Client connections of one database. 0 = no limit."),
    count("max_user_client_connections", "0", "Client connections of one user. 0 = no limit."),
    Key::new(
        "max_prepared_statements",
        Kind::Count { min: 0, max: 1_000_000 },
        DefaultValue::Toml("200"),
        "Prepared statements that one server connection keeps; the least recently used go first. \
         0 = named statements are passed through, which is right in session mode only.",
    )
    .applies(NextConnect),
    Key::new(
        "session_state_policy",
        word(StatePolicy::WORDS),
        DefaultValue::Toml("\"pin\""),
        "What a temporary table, a session lock or a cursor WITH HOLD does in transaction mode: \
         pin = the client keeps its server meanwhile, error = the statement is refused, \
         ignore = the state is lost with the server.",
    )
    .applies(NextTransaction),
    text(
        "server_reset_query",
        "\"DISCARD ALL\"",
        "SQL that cleans a server when a client in session mode leaves. \"\" = none.",
    ),
    text(
        "server_check_query",
        "\"<empty>\"",
        "SQL that tests an idle server before it is used again. \"<empty>\" = an empty query, \
         \"\" = no test.",
    ),
    duration(
        "server_check_delay",
        "\"30s\"",
        "Idle time after which a server is tested before it is used. 0 = always tested.",
    ),
    duration(
        "catalog_refresh",
        "\"10s\"",
        "How often a database in use is asked whether its functions, triggers or views have changed. \
         What they may do to a session is read from its catalog. 0 = only after a change that passes \
         through here.",
    ),
    Key::new(
        "ignore_startup_parameters",
        Kind::Names,
        DefaultValue::Toml("[]"),
        "Startup parameters that are accepted and dropped. All others take effect.",
    )
    .applies(NextConnect)
    .example("[\"extra_float_digits\"]"),
    flag(
        "application_name_add_host",
        "false",
        "The client's address and port are appended to its application_name.",
    )
    .applies(NextConnect),
];
