//! Statements that are no queries and yet need not run on the primary: of transactions, prepared
//! statements and cursors, EXPLAIN and COPY.

use super::names::{Judge, Qualified};
use super::query::{arguments, begins_query, inner, query};
use super::settings::{boolean, boxed, modes};
use super::tokens::Tokens;
use super::verdict::{End, Reason, Verdict};
use crate::sql::{Kind, Stored};

/// Behind BEGIN or START.
pub(super) fn begin(tokens: Tokens<'_>) -> Verdict {
    let has_word = tokens.is(0, b"work") || tokens.is(0, b"transaction");
    modes(tokens.from(usize::from(has_word))).map_or_else(Verdict::Primary, Verdict::Begin)
}

/// Behind COMMIT, END, ROLLBACK or ABORT.
pub(super) fn end(tokens: Tokens<'_>, commits: bool) -> Verdict {
    if tokens.is(0, b"prepared") {
        return Verdict::Primary(Reason::TwoPhase);
    }
    let has_word = tokens.is(0, b"work") || tokens.is(0, b"transaction");
    let rest = tokens.from(usize::from(has_word));
    if !commits && rest.is(0, b"to") {
        return Verdict::Savepoint;
    }
    if rest.len() == 0 || rest.are(0, &[b"and", b"no", b"chain"]) {
        Verdict::End(End { commits, chains: false })
    } else if rest.are(0, &[b"and", b"chain"]) {
        Verdict::End(End { commits, chains: true })
    } else {
        Verdict::Primary(Reason::Unparsed)
    }
}

/// Behind PREPARE.
pub(super) fn prepare(tokens: Tokens<'_>, judge: Judge<'_>) -> Verdict {
    if tokens.is(0, b"transaction") && !tokens.is(1, b"as") {
        return Verdict::Primary(Reason::TwoPhase);
    }
    if !tokens.is_name(0) {
        return Verdict::Primary(Reason::Unparsed);
    }
    let name = boxed(&tokens.name(0));
    let has_types = tokens.kind(1) == Some(Kind::OpenParen);
    let behind = if has_types { tokens.behind_group(1) } else { 1 };
    if !tokens.is(behind, b"as") {
        return Verdict::Primary(Reason::Unparsed);
    }
    let types = if has_types { types(tokens.to(behind).from(2), judge) } else { Ok(()) };
    let statement = types.and_then(|()| inner(tokens.from(behind.saturating_add(1)), judge));
    Verdict::Prepare { name, statement }
}

/// The types of parameters: what is executed with casts to them.
fn types(tokens: Tokens<'_>, judge: Judge<'_>) -> Result<(), Reason> {
    let mut begins = true;
    for at in 0..tokens.len() {
        if begins && tokens.is_name(at) {
            let is_qualified = tokens.kind(at.saturating_add(1)) == Some(Kind::Dot);
            let schema = is_qualified.then(|| tokens.name(at));
            let name = if is_qualified { at.saturating_add(2) } else { at };
            let is_bare = !is_qualified && tokens.kind(at) == Some(Kind::Word);
            let stored = tokens.name(name);
            let schema = schema.as_ref().map(Stored::bytes);
            judge.type_name(Qualified { schema, name: stored.bytes() }, is_bare)?;
        }
        begins = tokens.kind(at) == Some(Kind::Comma);
    }
    Ok(())
}

/// Behind EXECUTE.
pub(super) fn execute(tokens: Tokens<'_>, judge: Judge<'_>) -> Verdict {
    if !tokens.is_name(0) {
        return Verdict::Primary(Reason::Unparsed);
    }
    let given = tokens.from(1);
    let harmless = if given.len() == 0 { Ok(()) } else { arguments(given, judge) };
    match harmless {
        Ok(()) => Verdict::Execute { name: boxed(&tokens.name(0)) },
        Err(reason) => Verdict::Primary(reason),
    }
}

/// Behind DECLARE.
pub(super) fn declare(tokens: Tokens<'_>, judge: Judge<'_>) -> Verdict {
    let mut at = 1;
    while [&b"binary"[..], b"asensitive", b"insensitive", b"no", b"scroll"]
        .iter()
        .any(|word| tokens.is(at, word))
    {
        at = at.saturating_add(1);
    }
    if !tokens.is_name(0) || !tokens.is(at, b"cursor") {
        return Verdict::Primary(Reason::Unparsed);
    }
    at = at.saturating_add(1);
    if tokens.are(at, &[b"with", b"hold"]) {
        return Verdict::Primary(Reason::Hold);
    }
    if tokens.are(at, &[b"without", b"hold"]) {
        at = at.saturating_add(2);
    }
    if !tokens.is(at, b"for") {
        return Verdict::Primary(Reason::Unparsed);
    }
    let query = inner(tokens.from(at.saturating_add(1)), judge);
    Verdict::Declare { name: boxed(&tokens.name(0)), query }
}

/// Behind FETCH, MOVE or CLOSE: the cursor's name is the last word.
pub(super) fn cursor(tokens: Tokens<'_>) -> Verdict {
    let last = tokens.len().saturating_sub(1);
    if !tokens.is_name(last) {
        return Verdict::Primary(Reason::Unparsed);
    }
    let is_all = tokens.len() == 1 && tokens.is(0, b"all");
    Verdict::Cursor { name: (!is_all).then(|| boxed(&tokens.name(last))) }
}

/// Behind LOCK: a standby gives only what reads and writes of rows take (manual, "Hot Standby").
pub(super) fn lock(tokens: Tokens<'_>) -> Verdict {
    const MODES: [&[&[u8]]; 3] = [
        &[b"in", b"access", b"share", b"mode"],
        &[b"in", b"row", b"share", b"mode"],
        &[b"in", b"row", b"exclusive", b"mode"],
    ];
    let last = tokens.len().saturating_sub(1);
    let end = tokens.len().saturating_sub(usize::from(tokens.is(last, b"nowait")));
    let mode = tokens.to(end).from(end.saturating_sub(4));
    if MODES.iter().any(|words| mode.are(0, words)) {
        Verdict::LockTable
    } else {
        Verdict::Primary(Reason::Lock)
    }
}

/// Behind EXPLAIN.
pub(super) fn explain(tokens: Tokens<'_>, judge: Judge<'_>) -> Verdict {
    if tokens.is(0, b"route") {
        // A question to the pooler, which runs nothing.
        return Verdict::Read;
    }
    let has_options = tokens.kind(0) == Some(Kind::OpenParen) && !begins_query(tokens);
    let (statement, runs) = if has_options {
        let behind = tokens.behind_group(0);
        let options = tokens.to(behind);
        if !are_options(options) {
            return Verdict::Primary(Reason::Unparsed);
        }
        (tokens.from(behind), analyzes(options))
    } else {
        let runs = tokens.is(0, b"analyze") || tokens.is(0, b"analyse");
        let rest = tokens.from(usize::from(runs));
        (rest.from(usize::from(rest.is(0, b"verbose"))), runs)
    };
    if statement.is(0, b"execute") {
        return execute(statement.from(1), judge);
    }
    match inner(statement, judge) {
        Ok(()) => Verdict::Read,
        Err(Reason::Write | Reason::Into | Reason::Lock | Reason::Definition) if !runs => {
            Verdict::Primary(Reason::PlanOfWrite)
        }
        Err(reason) => Verdict::Primary(reason),
    }
}

/// Whether a parenthesis holds nothing but names of options, each with one value at most.
fn are_options(tokens: Tokens<'_>) -> bool {
    let last = tokens.len().saturating_sub(1);
    let mut taken = 0_usize;
    (1..last).all(|at| match tokens.kind(at) {
        Some(Kind::Comma) => {
            taken = 0;
            true
        }
        Some(Kind::Word | Kind::QuotedName | Kind::Text | Kind::Number) => {
            taken = taken.saturating_add(1);
            taken <= 2
        }
        _ => false,
    })
}

/// Whether options in parentheses have EXPLAIN run its statement.
fn analyzes(options: Tokens<'_>) -> bool {
    (1..options.len()).any(|at| {
        let begins =
            matches!(options.kind(at.saturating_sub(1)), Some(Kind::OpenParen | Kind::Comma));
        let is_option = begins
            && options.is_name(at)
            && matches!(options.name(at).bytes(), b"analyze" | b"analyse");
        let value = at.saturating_add(1);
        let value = match options.kind(value) {
            Some(Kind::Word | Kind::QuotedName) => boolean(options.name(value).bytes()),
            Some(Kind::Number) => boolean(options.bytes(value)),
            Some(Kind::Text) => options.plain_text(value).and_then(boolean),
            _ => None,
        };
        is_option && value != Some(false)
    })
}

/// Behind COPY.
pub(super) fn copy(tokens: Tokens<'_>, judge: Judge<'_>) -> Verdict {
    match copied(tokens, judge) {
        Ok(()) => Verdict::Read,
        Err(reason) => Verdict::Primary(reason),
    }
}

fn copied(tokens: Tokens<'_>, judge: Judge<'_>) -> Result<(), Reason> {
    let is_query = tokens.kind(0) == Some(Kind::OpenParen);
    let name: usize = if tokens.kind(1) == Some(Kind::Dot) { 2 } else { 0 };
    let behind_name = name.saturating_add(1);
    let behind = if is_query {
        tokens.behind_group(0)
    } else if tokens.kind(behind_name) == Some(Kind::OpenParen) {
        tokens.behind_group(behind_name)
    } else {
        behind_name
    };
    if tokens.is(behind, b"from") && !is_query {
        return Err(Reason::Write);
    }
    if !tokens.is(behind, b"to") {
        return Err(Reason::Unparsed);
    }
    if is_query {
        let inside = tokens.to(behind.saturating_sub(1)).from(1);
        if !begins_query(inside) {
            return inner(inside, judge);
        }
        query(inside, judge)?;
    } else {
        if !tokens.is_name(name) {
            return Err(Reason::Unparsed);
        }
        let schema = (name > 0).then(|| tokens.name(0));
        let schema = schema.as_ref().map(Stored::bytes);
        judge.relation(Qualified { schema, name: tokens.name(name).bytes() })?;
    }
    let target = behind.saturating_add(1);
    if tokens.is(target, b"stdout") { Ok(()) } else { Err(Reason::File) }
}
