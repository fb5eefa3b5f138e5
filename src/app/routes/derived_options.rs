//! What pools and sessions get of the configuration. Pure.

use crate::cluster::policy::RouteReads;
use crate::config::{CheckQuery, Config, EffectiveOptions};
use crate::pool::PoolOptions;
use crate::session::route::{Options, RoutingOptions};
use std::sync::Arc;
use std::time::Duration;

fn count(limit: Option<std::num::NonZeroU32>) -> u32 {
    limit.map_or(0, std::num::NonZeroU32::get)
}

/// How a pool behaves.
pub(super) fn pool_options(config: &Config, options: &EffectiveOptions) -> PoolOptions {
    PoolOptions {
        pool_size: count(options.pool_size),
        min_pool_size: options.min_pool_size,
        reserve_pool_size: if config.pool.reserve_pool_timeout.is_some() {
            options.reserve_pool_size
        } else {
            0
        },
        reserve_pool_timeout: config.pool.reserve_pool_timeout.unwrap_or_default(),
        max_db_connections: count(options.max_db_connections),
        max_user_connections: count(options.max_user_connections),
        server_idle_timeout: config.timeouts.server_idle_timeout.unwrap_or_default(),
        server_lifetime: options.server_lifetime.max(Duration::from_micros(1)),
        server_login_retry: config.timeouts.server_login_retry,
        max_parallel_openings: 4,
        keep_warm: options.forced_user,
    }
}

/// How the sessions of a route behave.
pub(super) fn session_options(config: &Config, options: &EffectiveOptions) -> Options {
    let timeouts = &config.timeouts;
    Options {
        mode: options.pool_mode,
        state_policy: config.pool.session_state_policy,
        max_prepared_statements: config.pool.max_prepared_statements as usize,
        max_packet_size: usize::try_from(config.howdah.max_packet_size).unwrap_or(usize::MAX),
        server_reset_query: config.pool.server_reset_query.as_deref().map(Into::into),
        server_check_query: match &config.pool.server_check_query {
            CheckQuery::Off => None,
            CheckQuery::Empty => Some("".into()),
            CheckQuery::Sql(sql) => Some(sql.as_str().into()),
        },
        server_check_delay: config.pool.server_check_delay,
        query_wait_timeout: options.query_wait_timeout,
        query_timeout: options.query_timeout,
        transaction_timeout: options.transaction_timeout,
        idle_transaction_timeout: options.idle_transaction_timeout,
        client_idle_timeout: options.client_idle_timeout,
        cancel_wait_timeout: timeouts.cancel_wait_timeout,
        abandoned_query_timeout: timeouts.abandoned_query_timeout,
        log_pooler_errors: config.log.log_pooler_errors,
        log_disconnections: config.log.log_disconnections,
        log_min_duration: config.log.log_min_duration,
        routing: RoutingOptions {
            route: if options.nodes.len() > 1 { options.route } else { RouteReads::Off },
            percent: options.route_percent,
            verify: config.routing.verify_reads,
            consistency: options.consistency,
            max_lag: options.max_lag,
            no_replica: options.no_replica,
            replica_wait: options.replica_wait,
            // Those of the database, where it has several nodes.
            rules: Arc::default(),
            primary_wait: Some(config.routing.primary_wait),
        },
    }
}
