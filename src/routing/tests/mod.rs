//! Tests of verdicts, over texts with and without a database.

mod cases;
mod corners;
mod lists;
mod properties;
mod schema;

use super::{Policy, Reason, Verdict, read_text};
use crate::sql::Rules;
use schema::Schema;

fn verdict_in(schema: &Schema, text: &str) -> Verdict {
    read_text(text.as_bytes(), Rules::STANDARD, Policy::default(), schema)
}

fn verdict(text: &str) -> Verdict {
    verdict_in(&Schema::default(), text)
}

/// A verdict in one word: its own, or that of the reason.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Read => "read",
        Verdict::Primary(reason) => reason.word(),
        Verdict::Begin(_) => "begin",
        Verdict::End(_) => "end",
        Verdict::Savepoint => "savepoint",
        Verdict::SetTransaction(_) => "set_transaction",
        Verdict::SetDefaults { .. } => "set_defaults",
        Verdict::Setting => "setting",
        Verdict::Prepare { statement: Ok(()), .. } => "prepare_read",
        Verdict::Prepare { statement: Err(reason), .. } => reason.word(),
        Verdict::Execute { .. } => "execute",
        Verdict::Deallocate => "deallocate",
        Verdict::Declare { query: Ok(()), .. } => "declare_read",
        Verdict::Declare { query: Err(reason), .. } => reason.word(),
        Verdict::Cursor { .. } => "cursor",
        Verdict::LockTable => "lock_table",
    }
}

fn is_primary(text: &str, reason: Reason) {
    assert_eq!(verdict(text), Verdict::Primary(reason), "{text}");
}

/// Whether nothing of a text would run on a standby for its own sake.
fn is_kept_from_standbys(verdict: &Verdict) -> bool {
    !matches!(
        verdict,
        Verdict::Read
            | Verdict::Prepare { statement: Ok(()), .. }
            | Verdict::Declare { query: Ok(()), .. }
    )
}
