//! What of a text is the same when only its values change, found at a glance.
//!
//! A statement is known by its normal form; to make one takes a lexer. Most texts come again and
//! again with other numbers and strings in the same places, and that can be told by skipping those:
//! two texts with the same skeleton have the same normal form. Where that is not certain there is no
//! skeleton.

/// Stands for a number, and for a string: two of the one side by side may be read as one value, two
/// of the other may not.
const NUMBER: u8 = 1;
const STRING: u8 = 2;
/// Stands for a comment: up to the end of its line, and between its own marks.
const REMARK: u8 = 3;
const COMMENT: u8 = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    /// Passes as it is.
    Plain,
    /// May be a part of a name.
    Name,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    /// The first byte of a comment, if the second follows.
    Comment,
    /// No skeleton has it.
    Strange,
}

#[expect(clippy::indexing_slicing, reason = "runs in the compiler, which reports it")]
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Name,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'-' | b'/' => Class::Comment,
            b'\\' | 0..=8 => Class::Strange,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Strange)
}

/// Whether a byte may go on with a name, or a number that runs into one.
fn joins(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| matches!(class(*byte), Class::Name | Class::Digit | Class::Dollar))
}

/// Bytes that are looked at together.
const BLOCK: usize = 16;

/// Whether a byte may have to be looked at: at least all that are neither plain nor part of a name.
#[inline]
const fn may_stop(byte: u8) -> bool {
    (byte >= b'"' && byte <= b'9') | (byte == b'\\') | (byte <= 8)
}

/// How many bytes pass as they are, without a look at what stands beside them. Most do.
#[inline]
fn passing(text: &[u8]) -> usize {
    let mut at = 0;
    // Without a branch for each byte, so that the compiler compares a block at a time.
    for block in text.chunks_exact(BLOCK) {
        if block.iter().fold(false, |stops, byte| stops | may_stop(*byte)) {
            break;
        }
        at += BLOCK;
    }
    let stops = |byte: &u8| !matches!(class(*byte), Class::Plain | Class::Name);
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(stops).unwrap_or(rest.len())
}

fn digits(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// What became of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skeleton {
    /// It is its own: nothing was left out.
    Whole,
    /// Something was left out.
    Bare,
    /// It has none, and what was appended means nothing.
    None,
}

/// Appends the skeleton of a text.
pub fn skeleton(text: &[u8], out: &mut Vec<u8>) -> Skeleton {
    let (mut at, mut kept) = (0, 0);
    loop {
        at += passing(text.get(at..).unwrap_or_default());
        let Some(&byte) = text.get(at) else { break };
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        let (mark, end) = match class(byte) {
            // The rest of a name, too.
            Class::Plain | Class::Name => (None, Some(at + 1)),
            Class::Digit | Class::Dollar if joins(before) => (None, Some(at + 1)),
            Class::Digit => (Some(NUMBER), number(text, at, before)),
            Class::Quote => (Some(STRING), string(text, at, before)),
            Class::DoubleQuote => (None, behind(text, at + 1, b"\"")),
            Class::Dollar => (None, parameter(text, at)),
            Class::Comment if text.get(at..at + 2) == Some(b"--") => {
                (Some(REMARK), Some(end_of_line(text, at)))
            }
            Class::Comment if text.get(at..at + 2) == Some(b"/*") => {
                (Some(COMMENT), comment(text, at))
            }
            Class::Comment => (None, Some(at + 1)),
            Class::Strange => return Skeleton::None,
        };
        let Some(end) = end else { return Skeleton::None };
        if let Some(mark) = mark {
            out.extend_from_slice(text.get(kept..at).unwrap_or_default());
            out.push(mark);
            kept = end;
        }
        at = end;
    }
    out.extend_from_slice(text.get(kept..).unwrap_or_default());
    if kept == 0 { Skeleton::Whole } else { Skeleton::Bare }
}

/// Where what is looked for ends, from `from` on.
fn behind(text: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    Some(from + memchr::memmem::find(text.get(from..)?, wanted)? + wanted.len())
}

/// Where the parameter ends that begins here. `None` if it is a dollar quote.
fn parameter(text: &[u8], at: usize) -> Option<usize> {
    let end = digits(text, at + 1);
    (end > at + 1 && !joins(text.get(end))).then_some(end)
}

fn end_of_line(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len())
}

/// Where the comment ends that begins here. `None` if others are nested in it.
fn comment(text: &[u8], at: usize) -> Option<usize> {
    let end = behind(text, at + 2, b"*/")?;
    behind(text.get(..end - 1)?, at + 2, b"/*").is_none().then_some(end)
}

/// Where the number ends that begins here. `None` for all but the plainest.
fn number(text: &[u8], at: usize, before: Option<&u8>) -> Option<usize> {
    if before == Some(&b'.') {
        return None;
    }
    let mut end = digits(text, at);
    if text.get(end) == Some(&b'.') {
        let fraction = digits(text, end + 1);
        end = (fraction > end + 1).then_some(fraction)?;
    }
    let next = text.get(end);
    (next != Some(&b'.') && !joins(next)).then_some(end)
}

/// Where the string ends that begins here. `None` for those that are more than what stands between
/// two quotes.
fn string(text: &[u8], at: usize, before: Option<&u8>) -> Option<usize> {
    if joins(before) || before == Some(&b'&') {
        return None;
    }
    let mut end = at + 1;
    loop {
        end += memchr::memchr2(b'\'', b'\\', text.get(end..)?)?;
        if text.get(end) == Some(&b'\\') {
            return None;
        }
        end += 1;
        if text.get(end) != Some(&b'\'') {
            return Some(end);
        }
        end += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{NoVocabulary, facts, normalise};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn of(text: &str) -> Option<String> {
        let mut out = Vec::new();
        let found = skeleton(text.as_bytes(), &mut out);
        assert!(found != Skeleton::Whole || out == text.as_bytes(), "{text}");
        let marks = [("\u{1}", "#"), ("\u{2}", "?"), ("\u{3}", "--"), ("\u{4}", "/**/")];
        let read = String::from_utf8_lossy(&out);
        let read = marks.iter().fold(read.into_owned(), |text, (from, to)| text.replace(from, to));
        (found != Skeleton::None).then_some(read)
    }

    fn bones(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        (skeleton(text, &mut out) != Skeleton::None).then_some(out)
    }

    #[test]
    fn values_are_left_out() {
        for (text, expected) in [
            ("SELECT a1 FROM t WHERE b = 17 AND c='it''s'", "SELECT a1 FROM t WHERE b = # AND c=?"),
            ("x IN (1, 2.5,-3)", "x IN (#, #,-#)"),
            ("SELECT $1, \"a 1\"\"b\", a$1 || 'x'", "SELECT $1, \"a 1\"\"b\", a$1 || ?"),
            ("a-- it's\nb --", "a--\nb --"),
            ("/*x=1*/a/* it's */-1", "/**/a/**/-#"),
            ("", ""),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_certain_has_none() {
        for text in [
            "1e5",
            "1.",
            "1..2",
            ".5",
            "0x1F",
            "1_000",
            "1a",
            "$$x$$",
            "$a$x$a$",
            "$1a",
            "E'x'",
            "U&'x'",
            "B'1'",
            "'x\\'",
            "'x",
            "\"x",
            "/* 1 ",
            "/*/",
            "/* /* */ */",
            "/* a /*/",
            "\u{1}",
            "a\\b",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    proptest! {
        /// Texts made of pieces: wherever two have the same skeleton, their normal forms are the same.
        #[test]
        fn the_same_skeleton_means_the_same_form(
            texts in prop::collection::vec(
                prop::collection::vec(prop::sample::select(vec![
                    "1", "23", "4.5", "'a'", "'b''c'", "''", "'", "\"", "\"x\"", " ", "\n", ",", "(", ")", ".",
                    "..", "-", "+", "e", "E", "a", "b1", "$1", "$2", "$", "$$", ":", "::", "=", "&", "U", "u&", "N",
                    "in", "values", "x'", "_", "é", ";", "/", "*", "--", "[", "]", "0x", "%", "/*", "*/",
                    "/* 1 */", "/* b */", "-- 1\n", "-- 'b'\n", "\r",
                ]), 0..8),
                2..120,
            ),
            conforming: bool,
        ) {
            let mut known = HashMap::<Vec<u8>, Vec<u8>>::new();
            for text in texts {
                let (text, mut form) = (text.concat(), Vec::new());
                if let Some(bones) = bones(text.as_bytes()) {
                    normalise(text.as_bytes(), conforming, &mut form);
                    let before = known.entry(bones).or_insert_with(|| form.clone());
                    prop_assert_eq!(&*before, &form, "{}", text);
                }
            }
        }

        /// And what they may do is the same, unless it was read out of a value.
        #[test]
        fn the_same_skeleton_means_the_same_facts(
            texts in prop::collection::vec(
                prop::collection::vec(prop::sample::select(vec![
                    "1", "23", "'a'", "'b'", "'c'", "'true'", "'f'", "''", "/* 1 */", "/* b */", "-- 1\n", "-- 'b'\n",
                    "set", "set_config", "(", ")", ",", ";", "select", "create", "function", "language", "prepare", "transaction",
                    "as", "do", "x", "app.x", "=", "to", "into", "temp", "t", "with", "begin", "atomic", "end", "case", "explain",
                    "declare", "listen", "copy", "reset", "discard", "all", "nextval", "f",
                ]), 1..9),
                2..60,
            ),
            conforming: bool,
        ) {
            let mut known = HashMap::new();
            for text in texts {
                let text = text.join(" ");
                let facts = facts(text.as_bytes(), conforming, &NoVocabulary);
                let Some(bones) = bones(text.as_bytes()) else { continue };
                let before = known.entry(bones).or_insert_with(|| facts.clone());
                prop_assert_eq!(before.by_value, facts.by_value, "{}", text);
                if !facts.by_value {
                    prop_assert_eq!(&*before, &facts, "{}", text);
                }
            }
        }

        /// Another value in the same place.
        #[test]
        fn other_values(text in "[a-z0-9 '\"(),;.=$*/+&:-]{0,40}", a in 0u32.., b in 0u32.., c in "[a-z ]{0,6}", d in "[a-z ]{0,6}") {
            let with = |number: u32, string: &str| text.replace('7', &number.to_string()).replace("''", &format!("'{string}'"));
            let (one, two) = (with(a, &c), with(b, &d));
            let first = bones(one.as_bytes());
            if first.is_some() && first == bones(two.as_bytes()) {
                let (mut form, mut other) = (Vec::new(), Vec::new());
                normalise(one.as_bytes(), true, &mut form);
                normalise(two.as_bytes(), true, &mut other);
                prop_assert_eq!(form, other);
            }
        }

        #[test]
        fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(bones(&text).is_none_or(|bones| bones.len() <= text.len()));
        }

        #[test]
        fn every_byte_that_counts_stops(byte: u8) {
            prop_assert!(may_stop(byte) || matches!(class(byte), Class::Plain | Class::Name));
        }
    }
}
