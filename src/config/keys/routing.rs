//! `[routing]`: databases with several nodes.

use std::time::Duration;

use super::super::value::Kind;
use super::row::Applies::NextTransaction;
use super::row::{DefaultValue, Key, duration, text, unset, word};
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::policy::{CatalogReads, RouteReads};

/// A probe takes a round trip.
const PROBE: Kind = Kind::Duration { min: Duration::from_millis(10), unit_required: false };

/// The rows of `[routing]`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "route",
        word(RouteReads::WORDS),
        DefaultValue::Toml("\"on\""),
        "Where reads go: on = to replicas that are fresh enough, off = to the primary, with \
         everything else.",
    )
    .applies(NextTransaction),
    Key::new(
        "consistency",
        word(Level::WORDS),
        DefaultValue::Toml("\"session\""),
        "What a read on a replica may rely on: eventual = nothing, bounded = all that is older than \
         max_lag, session = the session's own writes, monotonic = and all that it has read, \
         global = and the writes of all clients here, strict = everything, primary = no read goes \
         to a replica.",
    )
    .applies(NextTransaction),
    duration(
        "max_lag",
        "\"10s\"",
        "A replica that is further behind serves no reads, but for the level eventual. 0 = no \
         limit.",
    )
    .applies(NextTransaction),
    Key::new(
        "no_replica",
        word(Fallback::WORDS),
        DefaultValue::Toml("\"primary\""),
        "What happens to a read for which no replica is fresh enough: primary = the primary serves it, \
         but for one that usually takes longer than a replica needs to catch up: that waits for the \
         replica; wait = it waits up to replica_wait, then the primary serves it; error = it waits as \
         long, then it fails.",
    )
    .applies(NextTransaction),
    duration(
        "replica_wait",
        "\"200ms\"",
        "Longest wait of a read until a replica is fresh enough. 0 = no read waits.",
    )
    .applies(NextTransaction),
    Key::new(
        "catalog_reads",
        word(CatalogReads::WORDS),
        DefaultValue::Toml("\"primary\""),
        "Where reads of PostgreSQL's own catalog go: primary, or replica = where other reads go.",
    )
    .applies(NextTransaction),
    text(
        "zone",
        "\"\"",
        "Where this process stands: nodes with the same zone serve its reads first. \"\" = nowhere.",
    ),
    Key::new(
        "probe_interval",
        PROBE,
        DefaultValue::Toml("\"1s\""),
        "How often each node is asked what it is and how far it is. Whoever waits for the answer has \
         it asked at once.",
    ),
    Key::new(
        "probe_timeout",
        PROBE,
        DefaultValue::Toml("\"2s\""),
        "Longest probe, with the login where it needs one.",
    ),
    text(
        "probe_user",
        "\"howdah\"",
        "The role that probes log in as: CREATE ROLE howdah LOGIN PASSWORD '…'; GRANT pg_monitor TO \
         howdah. With REPLICATION it can also say which writes a fail-over may have lost.",
    ),
    unset("probe_password", Kind::Secret, "the secret in auth_file", "Password of probe_user.")
        .example("\"secret\""),
    text("probe_dbname", "\"postgres\"", "The database that probes log in to."),
    duration(
        "primary_wait",
        "\"30s\"",
        "How long a write waits while there is no primary. 0 = not at all.",
    )
    .applies(NextTransaction),
];
