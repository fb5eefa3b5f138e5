//! The verdict over a text: which statement it is, by its first words.

use super::commands;
use super::names::{Judge, Names, Policy};
use super::settings;
use super::tokens::{Tokens, cut};
use super::verdict::{Reason, Verdict};
use super::{reader, tree};
use crate::sql::{Kind, Rules};

/// Where a text may run. `rules` are those of the session, and the text is one that can be read (see
/// [`crate::sql::make_readable`]). Of several statements that are not all reads the first decides why
/// they need the primary.
pub fn read_text(text: &[u8], rules: Rules, policy: Policy, names: &dyn Names) -> Verdict {
    let list = match cut(text, rules) {
        Ok(list) => list,
        Err(reason) => return Verdict::Primary(reason),
    };
    let judge = Judge { names, policy };
    let tokens = Tokens::new(text, &list);
    let mut statements = tokens.statements();
    let Some(first) = statements.next() else { return Verdict::Read };
    let Some(second) = statements.next() else { return statement(first, judge) };
    for one in [first, second].into_iter().chain(statements) {
        match statement(one, judge) {
            Verdict::Read => {}
            Verdict::Primary(reason) => return Verdict::Primary(reason),
            _ => return Verdict::Primary(Reason::Several),
        }
    }
    Verdict::Read
}

fn statement(tokens: Tokens<'_>, judge: Judge<'_>) -> Verdict {
    if begins_query(tokens) {
        return match query(tokens, judge) {
            Ok(()) => Verdict::Read,
            Err(reason) => Verdict::Primary(reason),
        };
    }
    if tokens.kind(0) != Some(Kind::Word) {
        return Verdict::Primary(Reason::Unparsed);
    }
    let rest = tokens.from(1);
    match tokens.name(0).bytes() {
        b"begin" => commands::begin(rest),
        b"start" if rest.is(0, b"transaction") => commands::begin(rest),
        b"commit" | b"end" => commands::end(rest, true),
        b"rollback" | b"abort" => commands::end(rest, false),
        b"savepoint" | b"release" => Verdict::Savepoint,
        b"set" => settings::set(rest),
        b"reset" => settings::reset(rest),
        b"show" => settings::show(rest),
        b"prepare" => commands::prepare(rest, judge),
        b"execute" => commands::execute(rest, judge),
        b"deallocate" => Verdict::Deallocate,
        b"declare" => commands::declare(rest, judge),
        b"fetch" | b"move" => commands::cursor(rest),
        b"close" => commands::cursor(rest),
        b"explain" => commands::explain(rest, judge),
        b"copy" => commands::copy(rest, judge),
        word => Verdict::Primary(reason_of(word)),
    }
}

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
fn reason_of(word: &[u8]) -> Reason {
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
