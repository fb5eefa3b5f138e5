//! Positions in the write-ahead log.
//!
//! Owns their text and their arithmetic. Never knows which timeline a position is on.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Length of the header of a page of the log (`SizeOfXLogShortPHD`).
const PAGE_HEADER: u64 = 24;
/// Length of the header of the first page of a segment (`SizeOfXLogLongPHD`).
const SEGMENT_HEADER: u64 = 40;

/// A position in the log: PostgreSQL's `pg_lsn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// A text that is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a position in the log looks like 16/B374D848")]
pub struct BadLsn;

/// The sizes of the log, in bytes. All nodes of a cluster have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WalLayout {
    /// `wal_block_size`.
    pub page: u32,
    /// `wal_segment_size`.
    pub segment: u32,
}

impl Default for WalLayout {
    fn default() -> Self {
        Self { page: 8192, segment: 16 * 1024 * 1024 }
    }
}

impl Lsn {
    /// The bytes of the log from an earlier position to here; zero if that is later.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The end of the last record before this insert position.
    ///
    /// PostgreSQL names as its insert position where the next record *begins*. Behind a full page, and
    /// behind a switch of the segment, that is the first byte after a header which nobody has written
    /// yet. No replica replays up to there until another record follows, so the start of the page is
    /// what has to be replayed.
    #[must_use]
    pub fn before_header(self, layout: WalLayout) -> Self {
        let offset_in = |size: u32| self.0.checked_rem(u64::from(size));
        if offset_in(layout.segment) == Some(SEGMENT_HEADER) {
            return Self(self.0 - SEGMENT_HEADER);
        }
        let is_behind_header = offset_in(layout.page) == Some(PAGE_HEADER)
            && offset_in(layout.segment) != Some(PAGE_HEADER);
        if is_behind_header { Self(self.0 - PAGE_HEADER) } else { self }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = BadLsn;

    fn from_str(text: &str) -> Result<Self, BadLsn> {
        let half = |digits: &str| {
            // The parser of Rust takes a sign, PostgreSQL does not.
            let is_hex = (1..=8).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let (high, low) = text.split_once('/').ok_or(BadLsn)?;
        Ok(Self(half(high).ok_or(BadLsn)? << 32 | half(low).ok_or(BadLsn)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lsn(text: &str) -> Lsn {
        text.parse().expect("a position")
    }

    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        for (text, value) in [
            ("0/0", 0),
            ("0/50334B0", 0x0503_34B0),
            ("16/b374d848", 0x16_B374_D848),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
            ("00000001/00000002", 0x1_0000_0002),
        ] {
            assert_eq!(text.parse(), Ok(Lsn(value)), "{text}");
        }
        for text in
            ["", "/", "0", "0/", "/0", "G/0", "0/0/0", "+1/0", "0/-1", "123456789/0", " 0/0"]
        {
            assert_eq!(text.parse::<Lsn>(), Err(BadLsn), "{text}");
        }
        assert_eq!(Lsn(0x16_0000_0048).to_string(), "16/48");
    }

    #[test]
    fn a_distance_counts_across_four_gigabytes() {
        assert_eq!(lsn("1/10").bytes_since(lsn("0/FFFFFFF0")), 0x20);
        assert_eq!(lsn("0/10").bytes_since(lsn("1/0")), 0);
    }

    #[test]
    fn an_insert_position_behind_a_header_is_rounded_down() {
        let layout = WalLayout::default();
        for (insert, end) in [
            ("0/3000028", "0/3000000"),
            ("0/3002018", "0/3002000"),
            ("0/3002028", "0/3002028"),
            ("0/3000018", "0/3000018"),
            ("0/3002019", "0/3002019"),
            ("0/3000000", "0/3000000"),
        ] {
            assert_eq!(lsn(insert).before_header(layout), lsn(end), "{insert}");
        }
        let small = WalLayout { page: 8192, segment: 1024 * 1024 };
        assert_eq!(lsn("0/3100028").before_header(small), lsn("0/3100000"));
        assert_eq!(lsn("0/3100028").before_header(layout), lsn("0/3100028"));
        assert_eq!(Lsn(24).before_header(WalLayout { page: 0, segment: 0 }), Lsn(24));
    }

    proptest! {
        #[test]
        fn a_text_names_its_position(value: u64) {
            prop_assert_eq!(Lsn(value).to_string().parse(), Ok(Lsn(value)));
        }

        #[test]
        fn rounding_skips_a_header_at_most(value: u64) {
            let rounded = Lsn(value).before_header(WalLayout::default());
            prop_assert!(Lsn(value).bytes_since(rounded) <= SEGMENT_HEADER && rounded <= Lsn(value));
        }
    }
}
