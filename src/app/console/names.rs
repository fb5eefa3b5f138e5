//! The console's names, as databases.

use crate::fault::Words;

/// The console's names, as databases.
const NAMES: [&str; 2] = ["howdah", "pgbouncer"];

/// What the console's database is called.
pub(in crate::app) fn name(words: Words) -> &'static str {
    words.choose("howdah", "pgbouncer")
}

/// Whether this database is the console.
pub(in crate::app) fn is_console(database: &str) -> bool {
    NAMES.contains(&database)
}
