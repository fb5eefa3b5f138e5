//! One text, by howdah's `sql` and by PostgreSQL.
//!
//! Where the two may differ, and what is done about it:
//!
//! * `N'x'` is a keyword and a string to PostgreSQL's scanner and one literal to howdah: joined
//!   (`postgres.rs`). Everything else must have the same kind, the same beginning and the same end.
//! * PostgreSQL's scanner ends at the first error and does not say where. If the error is that something is
//!   unterminated, howdah has to say so too; for others (`1a`, `""`, `0x`, `U&'\'` …) there is nothing to compare.
//! * Statements are compared with those of the grammar. A text that the grammar refuses is compared with
//!   libpg_query's split by tokens, which knows no `BEGIN ATOMIC`, loses count when parentheses do not match, and drops
//!   statements without a keyword: texts with the first two are left out, and so are such statements.

use std::ops::Range;

use crate::sql::{
    Kind, Lexer, NoVocabulary, Skeleton, Token, facts, normalise, skeleton, statements,
};

use crate::form;
use crate::postgres::{self, Scan, Scanned};

/// How PostgreSQL took a text that both agree upon.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// Its grammar accepts it.
    Parsed,
    /// Its scanner accepts it.
    Scanned,
    /// It ends in the middle of a token.
    Unterminated,
    /// Its scanner refuses it.
    Refused,
}

/// What the two do not agree upon.
pub struct Difference {
    pub check: &'static str,
    pub detail: String,
}

type Outcome<T = ()> = Result<T, Difference>;

fn differ<T>(check: &'static str, detail: String) -> Outcome<T> {
    Err(Difference { check, detail })
}

/// Compares everything there is to compare. `other` is where other values come from.
pub fn compare(text: &str, other: &mut impl FnMut(usize) -> usize) -> Outcome<Verdict> {
    let verdict = match postgres::scan(text) {
        Scan::Refused => Verdict::Refused,
        Scan::Unterminated => {
            let last = Lexer::new(text.as_bytes(), true).last();
            if last.is_none_or(|token| token.kind != Kind::Unterminated) {
                return differ("unterminated", format!("howdah's last token: {last:?}"));
            }
            if !facts(text.as_bytes(), true, &NoVocabulary).broken {
                return differ(
                    "unterminated",
                    "howdah's facts do not say that it is broken".to_owned(),
                );
            }
            Verdict::Unterminated
        }
        Scan::Tokens(theirs) => {
            tokens("tokens", text, true, theirs.iter().map(|scanned| scanned.token))?;
            let parsed = boundaries(text, &theirs)?;
            form::readable_again(text, &theirs, parsed)?;
            form::other_values(text, &theirs, other)?;
            if parsed { Verdict::Parsed } else { Verdict::Scanned }
        }
    };
    backslashes(text)?;
    Ok(verdict)
}

fn tokens(
    check: &'static str,
    text: &str,
    conforming: bool,
    theirs: impl IntoIterator<Item = Token>,
) -> Outcome {
    let ours = Lexer::new(text.as_bytes(), conforming).filter(|token| token.kind != Kind::Space);
    same_tokens(check, text, ours, theirs)
}

/// Both sequences, up to the first that differs.
pub fn same_tokens(
    check: &'static str,
    text: &str,
    ours: impl IntoIterator<Item = Token>,
    theirs: impl IntoIterator<Item = Token>,
) -> Outcome {
    let (mut ours, mut theirs) = (ours.into_iter(), theirs.into_iter());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Ok(()),
            (one, two) if one == two => {}
            (one, two) => {
                let show = |token: Option<Token>| match token {
                    Some(Token { kind, start, end }) => {
                        format!("{kind:?} {:?} at {start}", text.get(start..end))
                    }
                    None => "the end".to_owned(),
                };
                return differ(check, format!("howdah {}, PostgreSQL {}", show(one), show(two)));
            }
        }
    }
}

/// Compares the statements; says whether the grammar accepts the text.
fn boundaries(text: &str, theirs: &[Scanned]) -> Outcome<bool> {
    let tokens: Vec<Scanned> =
        theirs.iter().filter(|scanned| scanned.token.kind != Kind::Comment).copied().collect();
    let ours: Vec<Range<usize>> = statements(text.as_bytes(), true).collect();
    let parsed = postgres::parsed_statements(text);
    if let Some(parsed) = &parsed {
        let expected: Vec<_> = parsed.iter().filter_map(|range| trimmed(range, &tokens)).collect();
        same_ranges("statements by the grammar", text, &ours, &expected)?;
    } else if may_be_split_by_tokens(text, &tokens)
        && let Some(scanned) = postgres::scanned_statements(text)
    {
        let expected: Vec<_> = scanned.iter().filter_map(|range| trimmed(range, &tokens)).collect();
        let ours: Vec<_> = ours.into_iter().filter(|range| has_keyword(range, &tokens)).collect();
        same_ranges("statements by tokens", text, &ours, &expected)?;
    }
    Ok(parsed.is_some())
}

/// From the first token that lies in the range to the last, semicolons at its ends left out.
fn trimmed(range: &Range<usize>, tokens: &[Scanned]) -> Option<Range<usize>> {
    let from = tokens.partition_point(|scanned| scanned.token.start < range.start);
    let to = tokens.partition_point(|scanned| scanned.token.end <= range.end);
    let mut within = tokens.get(from..to)?.iter().map(|scanned| scanned.token);
    let first = within.find(|token| token.kind != Kind::Semicolon)?;
    let last = within.rfind(|token| token.kind != Kind::Semicolon).unwrap_or(first);
    Some(first.start..last.end)
}

fn has_keyword(range: &Range<usize>, tokens: &[Scanned]) -> bool {
    let from = tokens.partition_point(|scanned| scanned.token.start < range.start);
    let within = tokens.iter().skip(from).take_while(|scanned| scanned.token.end <= range.end);
    // A name that begins with `n'` is not split by howdah, and is a keyword to PostgreSQL.
    within.into_iter().any(|scanned| scanned.is_keyword)
}

fn may_be_split_by_tokens(text: &str, tokens: &[Scanned]) -> bool {
    let mut depth = 0_usize;
    for Scanned { token, .. } in tokens {
        match token.kind {
            Kind::OpenParen => depth += 1,
            Kind::CloseParen if depth == 0 => return false,
            Kind::CloseParen => depth -= 1,
            Kind::Word if token.bytes(text.as_bytes()).eq_ignore_ascii_case(b"atomic") => {
                return false;
            }
            _ => {}
        }
    }
    depth == 0
}

fn same_ranges(
    check: &'static str,
    text: &str,
    ours: &[Range<usize>],
    theirs: &[Range<usize>],
) -> Outcome {
    if ours == theirs {
        return Ok(());
    }
    let show = |ranges: &[Range<usize>]| {
        let pieces: Vec<_> =
            ranges.iter().map(|range| text.get(range.clone()).unwrap_or("?")).collect();
        format!("{pieces:?}")
    };
    differ(check, format!("howdah {}, PostgreSQL {}", show(ours), show(theirs)))
}

/// With `standard_conforming_strings` off a plain string is what `E'…'` is. PostgreSQL's scanner, which has it on here,
/// must see the tokens that howdah sees once each plain string is given its E.
fn backslashes(text: &str) -> Outcome {
    if !text.contains('\\') {
        return Ok(());
    }
    let mut with_e = String::with_capacity(text.len() + 16);
    let mut expected = Vec::new();
    let mut is_broken = false;
    for Token { kind, start, end } in Lexer::new(text.as_bytes(), false) {
        let Some(piece) = text.get(start..end) else {
            return differ("backslashes", "a cut character".to_owned());
        };
        is_broken |= kind == Kind::Unterminated;
        let plain = piece.strip_prefix(['n', 'N']).unwrap_or(piece);
        let is_plain = matches!(kind, Kind::Text | Kind::Unterminated) && plain.starts_with('\'');
        let from = if is_plain {
            with_e.push_str(" E");
            with_e.push_str(plain);
            with_e.len() - plain.len() - 1
        } else {
            with_e.push_str(piece);
            with_e.len() - piece.len()
        };
        let kind = if kind == Kind::Text { Kind::EscapeText } else { kind };
        expected.push(Token { kind, start: from, end: with_e.len() });
    }
    match postgres::scan(&with_e) {
        Scan::Refused => Ok(()),
        Scan::Unterminated if is_broken => Ok(()),
        Scan::Unterminated => {
            differ("backslashes", format!("only PostgreSQL finds it unterminated: {with_e:?}"))
        }
        Scan::Tokens(theirs) => {
            let ours = expected.into_iter().filter(|token| token.kind != Kind::Space);
            same_tokens("backslashes", &with_e, ours, theirs.iter().map(|scanned| scanned.token))
        }
    }
}

/// A skeleton, and the normal form that every text with it must have.
pub fn skeleton_and_form(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut bones, mut form) = (Vec::new(), Vec::new());
    if skeleton(text.as_bytes(), &mut bones) == Skeleton::None {
        return None;
    }
    normalise(text.as_bytes(), true, &mut form);
    Some((bones, form))
}
