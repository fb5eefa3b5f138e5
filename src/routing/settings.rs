//! `SET`, `RESET` and `SHOW`; and the modes of transactions, which are settings too.

use super::names::is_session_setting;
use super::tokens::Tokens;
use super::verdict::{Access, Isolation, Mode, Modes, Reason, Verdict};
use crate::sql::{Kind, Stored};

/// Modes in a list: `ISOLATION LEVEL …`, `READ ONLY`, `DEFERRABLE`, in any order, with or without
/// commas. The last of a kind counts.
pub(super) fn modes(tokens: Tokens<'_>) -> Result<Modes, Reason> {
    let mut modes = Modes::default();
    let mut at = 0;
    while at < tokens.len() {
        let rest = tokens.from(at);
        let taken = if rest.are(0, &[b"isolation", b"level"]) {
            let (level, words) = isolation_words(rest.from(2)).ok_or(Reason::Unparsed)?;
            modes.isolation = Some(Mode::To(level));
            words.saturating_add(2)
        } else if rest.are(0, &[b"read", b"only"]) {
            modes.access = Some(Mode::To(Access::ReadOnly));
            2
        } else if rest.are(0, &[b"read", b"write"]) {
            modes.access = Some(Mode::To(Access::ReadWrite));
            2
        } else if rest.are(0, &[b"not", b"deferrable"]) {
            modes.deferrable = Some(Mode::To(false));
            2
        } else if rest.is(0, b"deferrable") {
            modes.deferrable = Some(Mode::To(true));
            1
        } else if at > 0 && rest.kind(0) == Some(Kind::Comma) && rest.len() > 1 {
            1
        } else {
            return Err(Reason::Unparsed);
        };
        at = at.saturating_add(taken);
    }
    Ok(modes)
}

fn isolation_words(tokens: Tokens<'_>) -> Option<(Isolation, usize)> {
    if tokens.is(0, b"serializable") {
        Some((Isolation::Serializable, 1))
    } else if tokens.are(0, &[b"repeatable", b"read"]) {
        Some((Isolation::RepeatableRead, 2))
    } else if tokens.are(0, &[b"read", b"committed"]) {
        Some((Isolation::ReadCommitted, 2))
    } else if tokens.are(0, &[b"read", b"uncommitted"]) {
        Some((Isolation::ReadUncommitted, 2))
    } else {
        None
    }
}

fn isolation(value: &[u8]) -> Option<Isolation> {
    Some(match value.to_ascii_lowercase().as_slice() {
        b"serializable" => Isolation::Serializable,
        b"repeatable read" => Isolation::RepeatableRead,
        b"read committed" => Isolation::ReadCommitted,
        b"read uncommitted" => Isolation::ReadUncommitted,
        _ => return None,
    })
}

/// A Boolean as PostgreSQL reads it: any beginning of a word that no other shares.
pub(super) fn boolean(value: &[u8]) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &[u8], least: usize| value.len() >= least && word.starts_with(&value);
    if value == b"1" || begins(b"true", 1) || begins(b"yes", 1) || begins(b"on", 2) {
        Some(true)
    } else if value == b"0" || begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2) {
        Some(false)
    } else {
        None
    }
}

/// A name of one word, or of several with dots.
fn setting_name(tokens: Tokens<'_>) -> Option<(Vec<u8>, usize)> {
    let mut name = Vec::new();
    let mut at = 0;
    loop {
        if !tokens.is_name(at) {
            return None;
        }
        name.extend_from_slice(&tokens.name(at).bytes().to_ascii_lowercase());
        at = at.saturating_add(1);
        if tokens.kind(at) != Some(Kind::Dot) {
            return Some((name, at));
        }
        name.push(b'.');
        at = at.saturating_add(1);
    }
}

/// `SET …`, behind its first word.
pub(super) fn set(tokens: Tokens<'_>) -> Verdict {
    let is_local = tokens.is(0, b"local");
    if tokens.are(0, &[b"session", b"characteristics", b"as", b"transaction"]) {
        return match modes(tokens.from(4)) {
            Ok(modes) => Verdict::SetDefaults { modes, is_local: false },
            Err(reason) => Verdict::Primary(reason),
        };
    }
    // SESSION AUTHORIZATION is a setting of its own.
    let has_scope = is_local || (tokens.is(0, b"session") && !tokens.is(1, b"authorization"));
    let tokens = tokens.from(usize::from(has_scope));
    if tokens.is(0, b"transaction") {
        if tokens.is(1, b"snapshot") {
            return Verdict::Primary(Reason::Snapshot);
        }
        return modes(tokens.from(1)).map_or_else(Verdict::Primary, Verdict::SetTransaction);
    }
    if tokens.is(0, b"constraints") {
        // What is deferred is checked where rows are written.
        return Verdict::Primary(Reason::Write);
    }
    let words: [&[&[u8]]; 6] = [
        &[b"time", b"zone"],
        &[b"session", b"authorization"],
        &[b"names"],
        &[b"schema"],
        &[b"xml", b"option"],
        &[b"role"],
    ];
    if words.iter().any(|words| tokens.are(0, words)) {
        return Verdict::Setting;
    }
    let Some((name, behind)) = setting_name(tokens) else {
        return Verdict::Primary(Reason::Unparsed);
    };
    let is_assigned = tokens.is(behind, b"to") || tokens.bytes(behind) == b"=";
    if !is_assigned && !tokens.are(behind, &[b"from", b"current"]) {
        return Verdict::Primary(Reason::Unparsed);
    }
    let value = tokens.from(behind.saturating_add(1));
    assign(&name, value, is_local).unwrap_or_else(Verdict::Primary)
}

/// A setting of transactions, or another.
fn assign(name: &[u8], value: Tokens<'_>, is_local: bool) -> Result<Verdict, Reason> {
    let (kind, is_default) = match name.strip_prefix(b"default_") {
        Some(kind) => (kind, true),
        None => (name, false),
    };
    if !matches!(
        kind,
        b"transaction_isolation" | b"transaction_read_only" | b"transaction_deferrable"
    ) {
        return Ok(Verdict::Setting);
    }
    let text = value_text(value).ok_or(Reason::Value)?;
    // FROM CURRENT keeps what is there, and DEFAULT is a word only without quotes.
    let resets = value.is(0, b"default");
    let flag = || boolean(&text).map(Mode::To).ok_or(Reason::Value);
    let mut modes = Modes::default();
    match kind {
        b"transaction_isolation" if resets => modes.isolation = Some(Mode::Default),
        b"transaction_isolation" => {
            modes.isolation = Some(Mode::To(isolation(&text).ok_or(Reason::Value)?));
        }
        b"transaction_read_only" => {
            let access = |on| if on { Access::ReadOnly } else { Access::ReadWrite };
            modes.access = Some(match if resets { Mode::Default } else { flag()? } {
                Mode::To(on) => Mode::To(access(on)),
                Mode::Default => Mode::Default,
            });
        }
        _ => modes.deferrable = Some(if resets { Mode::Default } else { flag()? }),
    }
    Ok(verdict(modes, is_default, is_local))
}

fn verdict(modes: Modes, is_default: bool, is_local: bool) -> Verdict {
    if is_default {
        Verdict::SetDefaults { modes, is_local }
    } else {
        Verdict::SetTransaction(modes)
    }
}

/// A value of one token, written plainly.
fn value_text(value: Tokens<'_>) -> Option<Vec<u8>> {
    if value.len() != 1 {
        return None;
    }
    match value.kind(0)? {
        Kind::Text | Kind::DollarText => value.plain_text(0).map(<[u8]>::to_vec),
        Kind::Word | Kind::QuotedName => Some(value.name(0).bytes().to_vec()),
        Kind::Number => Some(value.bytes(0).to_vec()),
        _ => None,
    }
}

/// `RESET …`, behind its first word.
pub(super) fn reset(tokens: Tokens<'_>) -> Verdict {
    const ALL: Modes = Modes {
        access: Some(Mode::Default),
        isolation: Some(Mode::Default),
        deferrable: Some(Mode::Default),
    };
    if tokens.len() == 1 && tokens.is(0, b"all") {
        return Verdict::SetDefaults { modes: ALL, is_local: false };
    }
    if tokens.are(0, &[b"transaction", b"isolation", b"level"]) {
        return Verdict::SetTransaction(Modes {
            isolation: Some(Mode::Default),
            ..Modes::default()
        });
    }
    if tokens.are(0, &[b"time", b"zone"]) || tokens.are(0, &[b"session", b"authorization"]) {
        return Verdict::Setting;
    }
    let Some((name, behind)) = setting_name(tokens) else {
        return Verdict::Primary(Reason::Unparsed);
    };
    if behind != tokens.len() {
        return Verdict::Primary(Reason::Unparsed);
    }
    let mut modes = Modes::default();
    let is_default = name.starts_with(b"default_");
    match name.strip_prefix(b"default_").unwrap_or(&name) {
        b"transaction_isolation" => modes.isolation = Some(Mode::Default),
        b"transaction_read_only" => modes.access = Some(Mode::Default),
        b"transaction_deferrable" => modes.deferrable = Some(Mode::Default),
        _ => return Verdict::Setting,
    }
    verdict(modes, is_default, false)
}

/// `SHOW …`, behind its first word.
pub(super) fn show(tokens: Tokens<'_>) -> Verdict {
    let words: [&[&[u8]]; 3] = [
        &[b"time", b"zone"],
        &[b"transaction", b"isolation", b"level"],
        &[b"session", b"authorization"],
    ];
    if words.iter().any(|words| tokens.are(0, words) && tokens.len() == words.len()) {
        return Verdict::Read;
    }
    match setting_name(tokens) {
        Some((name, behind)) if behind == tokens.len() && is_session_setting(&name) => {
            Verdict::Read
        }
        Some(_) => Verdict::Primary(Reason::Node),
        None => Verdict::Primary(Reason::Unparsed),
    }
}

/// What a name of a statement or cursor is stored as.
pub(super) fn boxed(name: &Stored) -> Box<[u8]> {
    name.bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_read_as_postgresql_reads_them() {
        for on in ["1", "t", "TR", "tru", "true", "y", "ye", "yes", "on", "ON"] {
            assert_eq!(boolean(on.as_bytes()), Some(true), "{on}");
        }
        for off in ["0", "f", "fal", "false", "n", "no", "of", "off"] {
            assert_eq!(boolean(off.as_bytes()), Some(false), "{off}");
        }
        for neither in ["", "o", "2", "onn", "truee", "x"] {
            assert_eq!(boolean(neither.as_bytes()), None, "{neither}");
        }
    }
}
