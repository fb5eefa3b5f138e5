//! Words and names: folding to lower case, quotes off, and sets of known words.

use super::lex::{Kind, Token};

/// PostgreSQL cuts identifiers after this many bytes (NAMEDATALEN - 1).
pub(super) const NAME_MAX: usize = 63;

/// Whether an unquoted word is the given lower-case keyword.
#[inline]
pub fn is_word(word: &[u8], keyword: &[u8]) -> bool {
    word.len() == keyword.len() && word.eq_ignore_ascii_case(keyword)
}

/// A name as PostgreSQL compares it, or empty if it cannot be one that we know.
pub(super) struct Folded {
    bytes: [u8; NAME_MAX],
    len: usize,
}

impl Folded {
    /// Folds an unquoted word; takes the quotes off a quoted name. A name that holds a quote or
    /// a Unicode escape, or that PostgreSQL would cut, comes out empty: no word we know looks
    /// like that.
    pub(super) fn of(token: Token, text: &[u8]) -> Self {
        let bytes = token.bytes(text);
        match token.kind {
            Kind::Word => {
                let mut folded = Self::copy(bytes);
                folded.bytes.make_ascii_lowercase();
                folded
            }
            Kind::QuotedName => {
                let inner = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
                if memchr::memchr(b'"', inner).is_some() {
                    return Self::copy(b"");
                }
                Self::copy(inner)
            }
            _ => Self::copy(b""),
        }
    }

    fn copy(from: &[u8]) -> Self {
        let mut folded = Self { bytes: [0; NAME_MAX], len: 0 };
        if let Some(to) = folded.bytes.get_mut(..from.len()) {
            to.copy_from_slice(from);
            folded.len = from.len();
        }
        folded
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A name as PostgreSQL stores it: folded, without quotes, cut. Empty if it is written with `U&`.
pub struct Stored {
    bytes: [u8; NAME_MAX],
    len: usize,
}

impl Stored {
    /// Of a token that is a name.
    #[inline]
    pub fn of(token: Token, text: &[u8]) -> Self {
        let bytes = token.bytes(text);
        match token.kind {
            Kind::Word => Self::of_word(bytes),
            Kind::QuotedName => {
                Self::of_quoted(bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default())
            }
            _ => Self { bytes: [0; NAME_MAX], len: 0 },
        }
    }

    /// Of a word without quotes.
    #[inline]
    pub fn of_word(word: &[u8]) -> Self {
        let mut name = Self { bytes: [0; NAME_MAX], len: word.len().min(NAME_MAX) };
        for (to, from) in name.bytes.iter_mut().zip(word) {
            *to = from.to_ascii_lowercase();
        }
        name
    }

    /// Of what lies between the quotes.
    pub fn of_quoted(inner: &[u8]) -> Self {
        let mut name = Self { bytes: [0; NAME_MAX], len: 0 };
        let mut inner = inner.iter();
        while let (Some(&byte), Some(to)) = (inner.next(), name.bytes.get_mut(name.len)) {
            *to = byte;
            name.len += 1;
            if byte == b'"' {
                inner.next();
            }
        }
        name
    }

    /// The name.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A set of lower-case words, hashed at compile time. `N` is a power of two above their number.
pub struct Words<const N: usize> {
    /// One word a line.
    list: &'static [u8],
    /// Offset and length of a word (`offset << 8 | length`), or 0.
    slots: [u32; N],
}

impl<const N: usize> Words<N> {
    /// Of a list with one word a line.
    #[expect(clippy::indexing_slicing, reason = "runs in the compiler, which reports it")]
    pub const fn new(list: &'static [u8]) -> Self {
        let mut slots = [0; N];
        let (mut start, mut at) = (0, 0);
        let mut hash = HASH_START;
        while at < list.len() {
            if list[at] != b'\n' {
                hash = hash_step(hash, list[at]);
                at += 1;
                continue;
            }
            if at > start {
                let mut slot = hash_end(hash) & (N - 1);
                while slots[slot] != 0 {
                    slot = (slot + 1) & (N - 1);
                }
                slots[slot] = ((start as u32) << 8) | (at - start) as u32;
            }
            at += 1;
            start = at;
            hash = HASH_START;
        }
        Self { list, slots }
    }

    /// Whether the word is one of them.
    pub fn contains(&self, word: &[u8]) -> bool {
        let hash = word.iter().fold(HASH_START, |hash, byte| hash_step(hash, *byte));
        let mut slot = hash_end(hash) & (N - 1);
        while let Some(&packed) = self.slots.get(slot).filter(|packed| **packed != 0) {
            let (start, len) = ((packed >> 8) as usize, (packed & 0xff) as usize);
            if self.list.get(start..start + len) == Some(word) {
                return true;
            }
            slot = (slot + 1) & (N - 1);
        }
        false
    }
}

const HASH_START: u32 = 0x811c_9dc5;

const fn hash_step(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as u32).wrapping_mul(0x0100_0193)
}

const fn hash_end(hash: u32) -> usize {
    (hash ^ (hash >> 15)) as usize
}
