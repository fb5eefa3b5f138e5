//! The rules by which the server cuts a client's text into tokens.
//!
//! They depend on two settings of the session: `standard_conforming_strings`, and `client_encoding`,
//! because in some encodings a part of a character looks like an ASCII character such as `\` or `'`
//! (manual, "Character Set Support"). A text in such an encoding is read from a copy in which these
//! bytes are masked. Where the rules are not known there are no [`Rules`], and nothing is read.

use std::borrow::Cow;

/// Stands for a byte inside of a character.
const MASK: u8 = 0xff;

/// How the characters of a `client_encoding` are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// No part of a character of several bytes is an ASCII character.
    #[default]
    Safe,
    /// SJIS.
    Sjis,
    /// BIG5, GBK and UHC: a high byte takes the next byte along.
    TwoBytes,
    /// GB18030: two or four bytes.
    Gb18030,
    /// JOHAB, as PostgreSQL reads it.
    Johab,
    /// An ASCII byte may stand for another character, or the encoding is not known.
    Unknown,
}

impl Encoding {
    /// By the name that the server reports.
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"SJIS" => Self::Sjis,
            b"BIG5" | b"GBK" | b"UHC" => Self::TwoBytes,
            b"GB18030" => Self::Gb18030,
            b"JOHAB" => Self::Johab,
            b"SHIFT_JIS_2004" => Self::Unknown,
            // All others that PostgreSQL has are safe.
            _ => Self::Safe,
        }
    }

    /// Bytes of the character that begins with `first`, which is not ASCII, and goes on with `next`.
    fn length(self, first: u8, next: u8) -> usize {
        match self {
            Self::Sjis if (0xa1..=0xdf).contains(&first) => 1,
            Self::Gb18030 if next.is_ascii_digit() => 4,
            Self::Johab if first == 0x8f => 3,
            Self::Safe | Self::Unknown => 1,
            Self::Sjis | Self::TwoBytes | Self::Gb18030 | Self::Johab => 2,
        }
    }

    /// The text with nothing in it that only looks like ASCII; `None` when that cannot be told. No
    /// byte changes its place.
    fn masked(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Safe => return Some(Cow::Borrowed(text)),
            Self::Unknown => {
                let plain = text.is_ascii() && memchr::memchr2(b'\\', b'~', text).is_none();
                return plain.then_some(Cow::Borrowed(text));
            }
            Self::Sjis | Self::TwoBytes | Self::Gb18030 | Self::Johab if text.is_ascii() => {
                return Some(Cow::Borrowed(text));
            }
            Self::Sjis | Self::TwoBytes | Self::Gb18030 | Self::Johab => {}
        }
        let mut masked = text.to_vec();
        let mut at = 0;
        while let Some(&first) = text.get(at) {
            let next = text.get(at.saturating_add(1)).copied().unwrap_or_default();
            let length = if first.is_ascii() { 1 } else { self.length(first, next) };
            let end = at.saturating_add(length).min(text.len());
            let rest = masked.get_mut(at.saturating_add(1)..end).unwrap_or_default();
            rest.iter_mut().filter(|byte| byte.is_ascii()).for_each(|byte| *byte = MASK);
            at = end;
        }
        Some(Cow::Owned(masked))
    }
}

/// How to read a text in which no part of a character looks like ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    conforming: bool,
}

impl Rules {
    /// The rules under `standard_conforming_strings = on` in a safe encoding.
    pub const STANDARD: Self = Self { conforming: true };

    /// The rules under this `standard_conforming_strings` in a safe encoding.
    pub fn safe(standard_conforming_strings: bool) -> Self {
        Self { conforming: standard_conforming_strings }
    }

    /// `standard_conforming_strings`.
    #[inline]
    pub fn are_conforming(self) -> bool {
        self.conforming
    }
}

/// What the bytes of a text mean to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadUnder {
    /// How it is cut into tokens.
    pub rules: Rules,
    /// The name of its `client_encoding`.
    pub encoding: &'static str,
}

impl ReadUnder {
    /// Under `standard_conforming_strings = on`, in UTF-8.
    pub const STANDARD: Self = Self { rules: Rules::STANDARD, encoding: "UTF8" };

    /// Whether the text means the same under both.
    pub fn reads_alike(self, other: Self, text: &[u8]) -> bool {
        let quoting = self.rules == other.rules || !text.contains(&b'\\');
        let encoding = self.encoding == other.encoding || text.is_ascii();
        quoting && encoding
    }
}

/// The client encodings of PostgreSQL (manual, "Character Set Support").
const ENCODINGS: &[&str] = &[
    "UTF8",
    "SQL_ASCII",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN866",
    "WIN874",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
    "KOI8R",
    "KOI8U",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "EUC_JP",
    "EUC_JIS_2004",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "MULE_INTERNAL",
    "SJIS",
    "SHIFT_JIS_2004",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
];

/// The name of a client encoding as PostgreSQL reports it; empty for one that it does not have.
pub fn encoding_name(reported: &[u8]) -> &'static str {
    ENCODINGS.iter().find(|name| name.as_bytes() == reported).copied().unwrap_or("")
}

/// A text that can be read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable<'a> {
    /// The text; bytes inside of characters may be masked, and no byte has changed its place.
    pub text: Cow<'a, [u8]>,
    /// How to read it.
    pub rules: Rules,
}

/// Makes a text readable; `None` when it cannot be read in this encoding.
pub fn make_readable(
    text: &[u8],
    encoding: Encoding,
    standard_conforming_strings: bool,
) -> Option<Readable<'_>> {
    let rules = Rules::safe(standard_conforming_strings);
    Some(Readable { text: encoding.masked(text)?, rules })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(name: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        make_readable(text, Encoding::of(name), true).map(|readable| readable.text.into_owned())
    }

    #[test]
    fn a_part_of_a_character_is_no_backslash_and_no_quote() {
        assert_eq!(masked(b"SJIS", b"E'\x95\\'"), Some(b"E'\x95\xff'".to_vec()));
        assert_eq!(masked(b"SJIS", b"'\xb1'"), Some(b"'\xb1'".to_vec()), "a character of one byte");
        assert_eq!(masked(b"BIG5", b"\xa5\\ \\"), Some(b"\xa5\xff \\".to_vec()));
        assert_eq!(masked(b"GBK", b"\x81|"), Some(b"\x81\xff".to_vec()));
        assert_eq!(masked(b"UHC", b"\x81A'"), Some(b"\x81\xff'".to_vec()));
        assert_eq!(masked(b"GB18030", b"\x810\x810'"), Some(b"\x81\xff\x81\xff'".to_vec()));
        assert_eq!(masked(b"GB18030", b"\x81\\'"), Some(b"\x81\xff'".to_vec()));
        assert_eq!(masked(b"JOHAB", b"\x8f\\\\'"), Some(b"\x8f\xff\xff'".to_vec()));
    }

    #[test]
    fn other_encodings_pass_as_they_are() {
        for name in [&b"UTF8"[..], b"LATIN1", b"EUC_JP", b"SQL_ASCII", b"WIN1252"] {
            assert_eq!(masked(name, b"\x95\\'"), Some(b"\x95\\'".to_vec()));
        }
    }

    #[test]
    fn where_ascii_may_be_another_character_only_plain_text_is_read() {
        assert_eq!(masked(b"SHIFT_JIS_2004", b"SELECT 1"), Some(b"SELECT 1".to_vec()));
        assert_eq!(masked(b"SHIFT_JIS_2004", b"'\\'"), None);
        assert_eq!(masked(b"SHIFT_JIS_2004", b"\x95\\"), None);
    }

    proptest! {
        #[test]
        fn masking_keeps_places_and_plain_text(
            text in prop::collection::vec(any::<u8>(), 0..60),
            name in prop::sample::select(vec!["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "UTF8"]),
        ) {
            let masked = masked(name.as_bytes(), &text).unwrap();
            prop_assert_eq!(masked.len(), text.len());
            for (old, new) in text.iter().zip(&masked) {
                prop_assert!(old == new || (old.is_ascii() && *new == MASK));
            }
            if text.is_ascii() {
                prop_assert_eq!(masked, text);
            }
        }
    }
}
