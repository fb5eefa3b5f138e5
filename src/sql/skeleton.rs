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

/// How many bytes pass as they are, without a look at what stands beside them. Most do.
#[inline]
fn passing(text: &[u8]) -> usize {
    let stops = |byte: &u8| !matches!(class(*byte), Class::Plain | Class::Name);
    text.iter().position(stops).unwrap_or(text.len())
}

fn digits(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Appends the skeleton of a text; false when it has none, and then what was appended means nothing.
pub fn skeleton(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut at, mut kept) = (0, 0);
    loop {
        at += passing(text.get(at..).unwrap_or_default());
        let Some(&byte) = text.get(at) else { break };
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        match class(byte) {
            Class::Plain | Class::Name => at += 1,
            // The rest of a name.
            Class::Digit | Class::Dollar if joins(before) => at += 1,
            Class::Digit => {
                let Some(end) = number(text, at, before) else { return false };
                out.extend_from_slice(text.get(kept..at).unwrap_or_default());
                out.push(NUMBER);
                (at, kept) = (end, end);
            }
            Class::Quote => {
                let Some(end) = string(text, at, before) else { return false };
                out.extend_from_slice(text.get(kept..at).unwrap_or_default());
                out.push(STRING);
                (at, kept) = (end, end);
            }
            Class::DoubleQuote => {
                let rest = text.get(at + 1..).unwrap_or_default();
                let Some(length) = memchr::memchr(b'"', rest) else { return false };
                at += length + 2;
            }
            Class::Dollar => {
                // A parameter, or a dollar quote.
                let end = digits(text, at + 1);
                if end == at + 1 || joins(text.get(end)) {
                    return false;
                }
                at = end;
            }
            Class::Comment if text.get(at + 1) == Some(&if byte == b'-' { b'-' } else { b'*' }) => {
                return false;
            }
            Class::Comment => at += 1,
            Class::Strange => return false,
        }
    }
    out.extend_from_slice(text.get(kept..).unwrap_or_default());
    true
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
    use crate::sql::normalise;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn of(text: &str) -> Option<String> {
        let mut out = Vec::new();
        skeleton(text.as_bytes(), &mut out)
            .then(|| String::from_utf8_lossy(&out).replace('\u{1}', "#").replace('\u{2}', "?"))
    }

    #[test]
    fn values_are_left_out() {
        for (text, expected) in [
            ("SELECT a1 FROM t WHERE b = 17 AND c='it''s'", "SELECT a1 FROM t WHERE b = # AND c=?"),
            ("x IN (1, 2.5,-3)", "x IN (#, #,-#)"),
            ("SELECT $1, \"a 1\"\"b\", a$1 || 'x'", "SELECT $1, \"a 1\"\"b\", a$1 || ?"),
            ("", ""),
        ] {
            assert_eq!(of(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_certain_has_none() {
        for text in [
            "1e5", "1.", "1..2", ".5", "0x1F", "1_000", "1a", "$$x$$", "$a$x$a$", "$1a", "E'x'",
            "U&'x'", "B'1'", "'x\\'", "'x", "\"x", "-- 1", "/* 1 */", "\u{1}", "a\\b",
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
                    "in", "values", "x'", "_", "é", ";", "/", "*", "--", "[", "]", "0x", "%",
                ]), 0..8),
                2..120,
            ),
            conforming: bool,
        ) {
            let mut known = HashMap::<Vec<u8>, Vec<u8>>::new();
            for text in texts {
                let (text, mut bones, mut form) = (text.concat(), Vec::new(), Vec::new());
                if skeleton(text.as_bytes(), &mut bones) {
                    normalise(text.as_bytes(), conforming, &mut form);
                    let before = known.entry(bones).or_insert_with(|| form.clone());
                    prop_assert_eq!(&*before, &form, "{}", text);
                }
            }
        }

        /// Another value in the same place.
        #[test]
        fn other_values(text in "[a-z0-9 '\"(),;.=$*/+&:-]{0,40}", a in 0u32.., b in 0u32.., c in "[a-z ]{0,6}", d in "[a-z ]{0,6}") {
            let with = |number: u32, string: &str| text.replace('7', &number.to_string()).replace("''", &format!("'{string}'"));
            let (one, two) = (with(a, &c), with(b, &d));
            let (mut first, mut second) = (Vec::new(), Vec::new());
            if skeleton(one.as_bytes(), &mut first) && skeleton(two.as_bytes(), &mut second) && first == second {
                let (mut form, mut other) = (Vec::new(), Vec::new());
                normalise(one.as_bytes(), true, &mut form);
                normalise(two.as_bytes(), true, &mut other);
                prop_assert_eq!(form, other);
            }
        }

        #[test]
        fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            if skeleton(&text, &mut out) {
                prop_assert!(out.len() <= text.len());
            }
        }
    }
}
