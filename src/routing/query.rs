//! Queries, on which both readers have to agree.

use super::names::Judge;
use super::tokens::Tokens;
use super::verdict::Reason;
use super::{reader, tree};
use crate::sql::Kind;

/// Whether a statement is a query, by its first word.
pub(super) fn begins_query(tokens: Tokens<'_>) -> bool {
    let mut at = 0;
    while tokens.kind(at) == Some(Kind::OpenParen) {
        at = at.saturating_add(1);
    }
    [&b"select"[..], b"values", b"with", b"table"].iter().any(|word| tokens.is(at, word))
}

/// Whether a query is a read: both readers agree.
pub(super) fn query(tokens: Tokens<'_>, judge: Judge<'_>) -> Result<(), Reason> {
    let spelling = reader::read(tokens, judge)?;
    tree::agree(&spelling.render(tokens)?, judge)
}

/// Whether expressions in parentheses, without any column, are harmless.
pub(super) fn arguments(tokens: Tokens<'_>, judge: Judge<'_>) -> Result<(), Reason> {
    if tokens.kind(0) != Some(Kind::OpenParen) || tokens.behind_group(0) != tokens.len() {
        return Err(Reason::Unparsed);
    }
    let spelling = reader::read(tokens, judge)?;
    tree::agree(&format!("SELECT ROW {}", spelling.render(tokens)?), judge)
}

/// Whether a statement that is prepared, planned or opened as a cursor is a read.
pub(super) fn inner(tokens: Tokens<'_>, judge: Judge<'_>) -> Result<(), Reason> {
    if begins_query(tokens) { query(tokens, judge) } else { Err(reason_of(tokens.name(0).bytes())) }
}

/// Why a statement that begins so needs the primary.
pub(super) fn reason_of(word: &[u8]) -> Reason {
    match word {
        b"insert" | b"update" | b"delete" | b"merge" | b"truncate" => Reason::Write,
        b"lock" => Reason::Lock,
        b"create" | b"alter" | b"drop" | b"comment" | b"grant" | b"revoke" | b"security"
        | b"import" | b"reassign" | b"refresh" => Reason::Definition,
        b"vacuum" | b"analyze" | b"analyse" | b"cluster" | b"reindex" | b"repack"
        | b"checkpoint" => Reason::Maintenance,
        b"do" | b"call" => Reason::Procedure,
        b"listen" | b"unlisten" | b"notify" => Reason::Notification,
        b"load" | b"discard" => Reason::Session,
        _ => Reason::UnknownStatement,
    }
}
