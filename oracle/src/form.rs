//! The normal form: it leaves out the values, the way of writing, and nothing else.
//!
//! *Nothing else*: with the values and the shortened lists of a text put back, its normal form must have the tokens of the
//! text, to PostgreSQL's scanner, and libpg_query's fingerprint. So two texts of one normal form, given the same
//! values, are the same statement. What it merges on purpose, and is therefore put back or not looked at:
//!
//! * values: strings of all kinds, numbers and parameters are one mark each;
//! * lists of values (`, ...`), which take up the items of the text again as they stand;
//! * the case of unquoted words, comments, space, semicolons at the end.
//!
//! Left out: texts that hold the byte of the mark, which PostgreSQL refuses outside of literals; and texts with lists that
//! the grammar refuses, because what an item is in `(1 (2` is nobody's business.
//!
//! *The values*: every literal that PostgreSQL's scanner finds is replaced by another one; the form must stay.

use crate::sql::{Kind, Token, normalise};

use crate::compare::Difference;
use crate::postgres::{self, Scan, Scanned};

/// howdah's mark of a value.
const VALUE: char = '\u{1}';
const MORE: &str = ", ...";

fn normal(text: &str) -> String {
    let mut out = Vec::new();
    normalise(text.as_bytes(), true, &mut out);
    String::from_utf8(out)
        .unwrap_or_else(|error| panic!("a cut character in the form of {text:?}: {error}"))
}

fn is_value(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Text
            | Kind::EscapeText
            | Kind::BitText
            | Kind::UnicodeText
            | Kind::DollarText
            | Kind::Number
            | Kind::Parameter
    )
}

fn significant(theirs: &[Scanned]) -> Vec<Token> {
    theirs.iter().map(|scanned| scanned.token).filter(|token| token.kind != Kind::Comment).collect()
}

/// Puts values and lists back, and compares.
pub fn readable_again(text: &str, theirs: &[Scanned], is_parsed: bool) -> Result<(), Difference> {
    let differ = |detail| Err(Difference { check: "normal form", detail });
    let form = normal(text);
    let tokens = significant(theirs);
    if text.contains(VALUE) || (form.contains(MORE) && !is_parsed) {
        return Ok(());
    }
    let Some(again) = put_back(&form, text, &tokens) else {
        return differ(format!("the values of the text do not fit into {form:?}"));
    };
    let Scan::Tokens(found) = postgres::scan(&again) else {
        return differ(format!("PostgreSQL does not read {again:?}"));
    };
    let mut tokens = &tokens[..];
    while let [before @ .., Token { kind: Kind::Semicolon, .. }] = tokens {
        tokens = before;
    }
    let pieces = |text: &str, tokens: &[Token]| -> Vec<String> {
        let piece = |token: &Token| {
            let piece = text.get(token.start..token.end).unwrap_or_default();
            if token.kind == Kind::Word { piece.to_ascii_lowercase() } else { piece.to_owned() }
        };
        tokens.iter().map(piece).collect()
    };
    let (expected, found) = (pieces(text, tokens), pieces(&again, &significant(&found)));
    if expected != found {
        return differ(format!("{again:?} has the tokens {found:?}, not {expected:?}"));
    }
    if is_parsed && postgres::fingerprint(text) != postgres::fingerprint(&again) {
        return differ(format!("{again:?} has another fingerprint"));
    }
    Ok(())
}

/// The normal form with the values of the text in the place of its marks.
fn put_back(form: &str, text: &str, tokens: &[Token]) -> Option<String> {
    let mut out = String::with_capacity(2 * text.len());
    let piece = |token: &Token| text.get(token.start..token.end);
    // The token behind the last value; closing parentheses of the form since then.
    let (mut next, mut closed) = (0, 0);
    let mut rest = form;
    while let Some(mark) = rest.chars().next() {
        if mark == VALUE {
            next += tokens.get(next..)?.iter().position(|token| is_value(token.kind))?;
            out.push(' ');
            out.push_str(piece(tokens.get(next)?)?);
            out.push(' ');
            (next, closed) = (next + 1, 0);
            rest = &rest[1..];
        } else if let Some(behind) = rest.strip_prefix(MORE) {
            let is_group = closed > 0;
            next += closed;
            closed = 0;
            while let Some(end) = item_behind_comma(tokens, next, is_group) {
                for token in tokens.get(next..end)? {
                    out.push(' ');
                    out.push_str(piece(token)?);
                    out.push(' ');
                }
                next = end;
            }
            rest = behind;
        } else if let Some(length) = rest.strip_prefix('"').and_then(|name| name.find('"')) {
            // A name may look like anything.
            let (name, behind) = rest.split_at(length + 2);
            out.push_str(name);
            rest = behind;
        } else {
            closed += usize::from(mark == ')');
            out.push(mark);
            rest = &rest[mark.len_utf8()..];
        }
    }
    // All values have found their place.
    tokens.get(next..)?.iter().all(|token| !is_value(token.kind)).then_some(out)
}

/// Where the item ends whose comma is at `from`.
fn item_behind_comma(tokens: &[Token], from: usize, is_group: bool) -> Option<usize> {
    let kind = |at: usize| tokens.get(at).map(|token| token.kind);
    if kind(from)? != Kind::Comma {
        return None;
    }
    if !is_group {
        return is_value(kind(from + 1)?).then_some(from + 2);
    }
    let mut depth = 0;
    let mut has_value = false;
    for at in from + 1.. {
        match kind(at)? {
            Kind::OpenParen => depth += 1,
            Kind::CloseParen => depth -= 1,
            Kind::Comma if depth > 0 => {}
            kind if is_value(kind) && depth > 0 => has_value = true,
            _ => return None,
        }
        if depth == 0 {
            return has_value.then_some(at + 1);
        }
    }
    None
}

/// Other strings and numbers in the places of those there are.
pub fn other_values(
    text: &str,
    theirs: &[Scanned],
    other: &mut impl FnMut(usize) -> usize,
) -> Result<(), Difference> {
    const STRINGS: &[&str] = &[
        "E'a\\'b'",
        "e'\\\\'",
        "U&'\\0061'",
        "$q$ it's $q$",
        "$$;$$",
        "x'1f'",
        "B'01'",
        "E''",
        "E'\\n''--'",
        "$é$ /* $é$",
    ];
    const NUMBERS: &[&str] =
        &["7", "1.5", ".5", "2.", "1e10", "1.5E-3", "0xff", "0b1", "0o17", "1_000", "$3"];
    let mut changed = String::with_capacity(2 * text.len());
    let mut at = 0;
    for Token { kind, start, end } in theirs.iter().map(|scanned| scanned.token) {
        let choices = match kind {
            Kind::Number | Kind::Parameter => NUMBERS,
            kind if is_value(kind) => STRINGS,
            _ => continue,
        };
        changed.push_str(text.get(at..start).unwrap_or_default());
        changed.push(' ');
        changed.push_str(choices[other(choices.len())]);
        changed.push(' ');
        at = end;
    }
    changed.push_str(text.get(at..).unwrap_or_default());
    let (before, after) = (normal(text), normal(&changed));
    if before != after {
        let detail = format!("{before:?}, but {after:?} of {changed:?}");
        return Err(Difference { check: "other values", detail });
    }
    Ok(())
}
