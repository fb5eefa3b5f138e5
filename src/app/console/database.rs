//! The database names of the console.

use crate::fault::MessageStyle;

/// The database names of the console.
const NAMES: [&str; 2] = ["howdah", "pgbouncer"];

/// The name of the console's database.
pub(in crate::app) fn name(style: MessageStyle) -> &'static str {
    style.choose("howdah", "pgbouncer")
}

/// Whether this database is the console.
pub(in crate::app) fn is_console(database: &str) -> bool {
    NAMES.contains(&database)
}
