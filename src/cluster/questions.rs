//! What a node is asked, from PostgreSQL 11 on.
//!
//! Owns the texts. Each is one round trip, is answered in recovery as well as out of it, and needs no
//! more than `pg_monitor`. [`report`](super::report) and [`features`](super::features) read the answers.

use super::lsn::Lsn;
use std::time::Duration;

/// What a node is and how far it is: one row for [`Report::parse`](super::report::Report::parse).
///
/// Whether the node is in recovery is asked once, so that a promotion in the middle makes no row that
/// is half of each. A role without `pg_monitor` gets NULL for what the receiver of the log knows.
/// The LSNs are the answers of the moment, so the timeline part of the file name is right behind a
/// promotion at once, which the control file is not; the file's number is not looked at.
pub const REPORT: &str = "\
SELECT n.is_in_recovery, \
(SELECT system_identifier FROM pg_catalog.pg_control_system()), \
pg_catalog.current_setting('server_version_num'), \
(EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint, \
pg_catalog.current_setting('wal_block_size'), \
pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')), \
CASE WHEN n.is_in_recovery THEN NULL \
ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END, \
CASE WHEN n.is_in_recovery THEN NULL ELSE pg_catalog.pg_current_wal_flush_lsn() END, \
CASE WHEN n.is_in_recovery THEN NULL ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
CASE WHEN n.is_in_recovery THEN NULL \
ELSE pg_catalog.current_setting('synchronous_standby_names') <> '' END, \
CASE WHEN n.is_in_recovery THEN pg_catalog.pg_last_wal_replay_lsn() END, \
CASE WHEN n.is_in_recovery THEN pg_catalog.pg_last_wal_receive_lsn() END, \
w.received_tli, w.sender_host, w.sender_port \
FROM (SELECT pg_catalog.pg_is_in_recovery() AS is_in_recovery OFFSET 0) AS n \
LEFT JOIN pg_catalog.pg_stat_wal_receiver AS w ON n.is_in_recovery";

/// Whether the role may see everything that [`REPORT`] asks for: on a replica, whom it receives from and
/// on which timeline. `pg_monitor` has that right, and so has a superuser.
pub const RIGHTS: &str = "\
SELECT pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')";

/// Settings that change what a statement answers and that a session may set.
const SETTINGS: &[&str] = &[
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "DateStyle",
    "default_text_search_config",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "IntervalStyle",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "quote_all_identifiers",
    "row_security",
    "search_path",
    "standard_conforming_strings",
    "TimeZone",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmlbinary",
    "xmloption",
];

/// What the answers of a node depend on beside its data: rows of kind, name, value for
/// [`Features::add`](super::features::Features::add).
///
/// Only what can differ between nodes with the same data: settings as a new session finds them,
/// the versions of collations in the node's libraries, the extensions whose files it has, whether its
/// tablespaces have a directory. `version` is the node's `server_version_num`. A tablespace without a
/// directory makes a warning, which is to be skipped.
pub fn features(version: u32) -> String {
    let settings: Vec<String> =
        SETTINGS.iter().map(|name| format!("'{}'", name.to_ascii_lowercase())).collect();
    // The database's own collation has no row in pg_collation. Before 15 it is always one of the C
    // library, whose version any of its collations has.
    let database = if version >= 150_000 {
        "pg_catalog.pg_database_collation_actual_version(d.oid)"
    } else {
        "(SELECT pg_catalog.pg_collation_actual_version(c.oid) FROM pg_catalog.pg_collation AS c \
         WHERE c.collprovider = 'c' AND c.collcollate = d.datcollate \
         AND c.collencoding IN (-1, d.encoding) LIMIT 1)"
    };
    format!(
        "SELECT 'setting', name, reset_val FROM pg_catalog.pg_settings \
         WHERE pg_catalog.lower(name) IN ({}) \
         UNION ALL SELECT 'fixed', 'server_encoding', pg_catalog.current_setting('server_encoding') \
         UNION ALL SELECT 'collation', 'database default', {database} \
         FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database() \
         UNION ALL SELECT 'collation', n.nspname || '.' || c.collname, \
         pg_catalog.pg_collation_actual_version(c.oid) \
         FROM pg_catalog.pg_collation AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.collnamespace \
         WHERE c.collprovider IN ('c', 'i') AND c.collcollate IS DISTINCT FROM 'C' \
         AND c.collcollate IS DISTINCT FROM 'POSIX' AND c.oid IN (\
         SELECT a.attcollation FROM pg_catalog.pg_attribute AS a WHERE a.attcollation > 100) \
         UNION ALL SELECT CASE WHEN installed_version IS NULL THEN 'available' ELSE 'extension' END, \
         name::text, default_version FROM pg_catalog.pg_available_extensions \
         UNION ALL SELECT 'tablespace', spcname::text, CASE WHEN EXISTS (\
         SELECT FROM pg_catalog.pg_tablespace_databases(t.oid)) THEN 'used' ELSE 'empty' END \
         FROM pg_catalog.pg_tablespace AS t WHERE t.oid >= 16384",
        settings.join(", ")
    )
}

/// Asks a server that was opened with `replication=true` for its system identifier and timeline, for
/// [`Identity::parse`](super::report::Identity::parse). The role needs REPLICATION.
pub const IDENTIFY: &str = "IDENTIFY_SYSTEM";

/// Asks such a server for the history of a timeline, whose second column is for
/// [`History::parse`](super::history::History::parse). Timeline 1 has none.
pub fn timeline_history(timeline: u32) -> String {
    format!("TIMELINE_HISTORY {timeline}")
}

/// Gets everything that was inserted into the log written out, without a transaction id and without
/// any right: for those who wait on a quiet primary with an open writer. Before 17, which has an
/// argument for that, it takes up to `wal_writer_delay`.
pub fn nudge(version: u32) -> &'static str {
    if version >= 170_000 {
        "SELECT pg_catalog.pg_logical_emit_message(false, 'howdah', '', true)"
    } else {
        "SELECT pg_catalog.pg_logical_emit_message(false, 'howdah', '')"
    }
}

/// Waits on a replica of 19 or later until it has replayed a position, at most this long: without an error
/// and without any right. Older ones cannot be asked to wait.
pub fn wait_for(lsn: Lsn, limit: Duration, version: u32) -> Option<String> {
    let millis = limit.as_millis();
    (version >= 190_000).then(|| {
        format!("WAIT FOR LSN '{lsn}' WITH (MODE 'standby_replay', TIMEOUT '{millis}ms', NO_THROW)")
    })
}

/// Which session the replay of a replica waits for: a row for
/// [`HeldUp::parse`](super::held_up::HeldUp::parse), or none. The role needs `pg_monitor` to see what others
/// run. From PostgreSQL 14 on the replay says what it waits for; of those that may be meant, the one with the
/// oldest transaction is told.
pub const HELD_UP: &str = "\
SELECT a.pid, a.usename, a.datname, a.application_name, \
(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start) * 1000)::bigint, a.query \
FROM pg_catalog.pg_stat_activity AS a \
WHERE a.backend_type = 'client backend' AND a.xact_start IS NOT NULL \
AND a.pid <> pg_catalog.pg_backend_pid() \
AND EXISTS (SELECT FROM pg_catalog.pg_stat_activity AS s WHERE s.backend_type = 'startup' \
AND (s.wait_event LIKE 'RecoveryConflict%' OR s.wait_event_type IN ('Lock', 'BufferPin'))) \
ORDER BY a.backend_xmin IS NULL, a.xact_start LIMIT 1";
