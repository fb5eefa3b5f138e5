//! `[routing]`: databases with several nodes.

use std::time::Duration;

use super::super::value::Kind;
use super::row::Applies::NextTransaction;
use super::row::{DefaultValue, Key, duration, text, unset, word};
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::policy::{CatalogReads, ForeignReads, RouteReads};

/// A share of a hundred.
pub(super) const PERCENT: Kind = Kind::Count { min: 0, max: 100 };

/// A probe takes a round trip.
const PROBE: Kind = Kind::Duration { min: Duration::from_millis(10), unit_required: false };

/// The rows of `[routing]`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "route",
        word(RouteReads::WORDS),
        DefaultValue::Toml("\"on\""),
        "Where reads go: on = to replicas that are fresh enough, off = to the primary, with \
         everything else, advise = to the primary, and SHOW ADVICE says what could have gone to \
         replicas.",
    )
    .applies(NextTransaction),
    Key::new(
        "route_percent",
        PERCENT,
        DefaultValue::Toml("100"),
        "What share of the reads that a replica may have goes there, in percent: for a careful \
         beginning. It is drawn for each read; the others go to the primary.",
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
    Key::new(
        "foreign_reads",
        word(ForeignReads::WORDS),
        DefaultValue::Toml("\"primary\""),
        "Where reads of foreign tables go: primary, or replica = where other reads go. Each node \
         asks the foreign server for its present, however late the node is.",
    )
    .applies(NextTransaction),
    Key::new(
        "read_only_functions",
        Kind::Functions,
        DefaultValue::Toml("[]"),
        "Functions that only read although they are volatile: name, schema.name or a pattern with *. \
         They add to what the catalog says.",
    )
    .applies(NextTransaction),
    Key::new(
        "write_functions",
        Kind::Functions,
        DefaultValue::Toml("[]"),
        "Functions that never run on a replica, whatever the catalog says: name, schema.name or a \
         pattern with *.",
    )
    .applies(NextTransaction),
    Key::new(
        "redirects",
        Kind::Redirects,
        DefaultValue::Toml("[]"),
        "Where the reads of some clients go, as [[routing.redirects]] or a list: database, user, \
         application = patterns with *, to = \"primary\", \"replica\" or a list of nodes, percent = \
         the share of these clients, otherwise = \"replica\" or \"primary\" while no named node can \
         take them. The first that matches counts.",
    )
    .applies(NextTransaction),
    Key::new(
        "verify_reads",
        Kind::Fraction,
        DefaultValue::Toml("0"),
        "What share of the reads on replicas is run again on both and compared, one at a time. \
         Functions whose answers differ are kept off the replicas and reported.",
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
    text(
        "role_hook",
        "\"\"",
        "A program that is run, without a shell, when a node's role changes, and by SWITCHOVER. What has \
         happened is in its environment: HOWDAH_EVENT, HOWDAH_NODE and others. \"\" = none.",
    ),
    Key::new(
        "role_hook_timeout",
        Kind::Duration { min: Duration::from_millis(100), unit_required: false },
        DefaultValue::Toml("\"30s\""),
        "Longest run of role_hook; then it is killed, with all that it has started.",
    ),
    Key::new(
        "switchover_timeout",
        Kind::Duration { min: Duration::from_millis(100), unit_required: false },
        DefaultValue::Toml("\"10s\""),
        "How long SWITCHOVER waits for the transactions that run and for the replica, and behind role_hook \
         for the new primary. Then all is as before.",
    ),
    Key::new(
        "allow_differences",
        Kind::Names,
        DefaultValue::Toml("[]"),
        "Differences from the primary in spite of which a node serves reads: names as SHOW NODES has them, such \
         as \"TimeZone\", or the kinds setting, fixed, collation, extension, tablespace.",
    ),
    text(
        "primary_check",
        "\"\"",
        "An address that says of each node whether it is the primary, such as Patroni's \
         http://{host}:8008/primary: 200 = yes, another status = no, no answer = nothing. {host} and {port} are the \
         node's. Who is the primary is decided by it then. \"\" = by the nodes alone.",
    ),
];
