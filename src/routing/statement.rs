//! The verdict over a text: which statement it is, by its first words.

use super::commands;
use super::hint::hint;
use super::names::{Judge, Names, Policy};
use super::query::{begins_query, query, reason_of};
use super::settings;
use super::tokens::{Tokens, cut};
use super::verdict::{Reason, Verdict};
use crate::sql::{Kind, Rules};

/// Where a text may run. `rules` are those of the session, and the text is one that can be read (see
/// [`crate::sql::make_readable`]). Of several statements that are not all reads the first decides why
/// they need the primary.
pub fn read_text(text: &[u8], rules: Rules, policy: Policy<'_>, names: &dyn Names) -> Verdict {
    if let Some(reason) = hint(text) {
        return Verdict::Primary(reason);
    }
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
        b"lock" => commands::lock(rest),
        word => Verdict::Primary(reason_of(word)),
    }
}
