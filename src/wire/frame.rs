//! The five bytes in front of every message after startup: a tag and a length.

use thiserror::Error;

/// Bytes in a frame's header: the tag and a big-endian length that counts itself but not the tag.
pub const HEADER_LEN: usize = 5;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message type.
    pub tag: u8,
    /// Bytes in the body, the header not counted.
    pub body: usize,
}

impl Header {
    /// Bytes in the whole frame.
    pub fn total(&self) -> usize {
        self.body.saturating_add(HEADER_LEN)
    }
}

/// A length that no peer may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("invalid message length {length} for message type {tag:#04X}")]
pub struct MalformedFrame {
    /// The message type.
    pub tag: u8,
    /// The length as announced.
    pub length: i32,
}

/// The header at the start of `bytes`; `None` when fewer than five bytes are there.
///
/// Looks, and consumes nothing. `max` bounds the announced length.
///
/// # Errors
/// When the length is below four, negative, or above `max`.
#[inline]
pub fn header(bytes: &[u8], max: usize) -> Result<Option<Header>, MalformedFrame> {
    let Some((&[tag, a, b, c, d], _)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(n) if n >= 4 && n <= max => Ok(Some(Header { tag, body: n.saturating_sub(4) })),
        Ok(_) | Err(_) => Err(MalformedFrame { tag, length }),
    }
}

/// Appends a frame: the tag, a length that is patched when the body is known, and the body.
pub(super) fn sized(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(slot) = out.get_mut(start..start.saturating_add(4)) {
        slot.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_needs_five_bytes() {
        assert_eq!(header(b"Q\0\0\0", 100), Ok(None));
        assert_eq!(header(b"Q\0\0\0\x04", 100), Ok(Some(Header { tag: b'Q', body: 0 })));
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        for length in [0i32, 3, -1, i32::MIN, 101] {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert_eq!(header(&bytes, 100), Err(MalformedFrame { tag: b'Q', length }));
        }
    }

    /// Splits a stream into frames the way the relay does, whatever the chunks.
    fn frames(chunks: &[Vec<u8>]) -> Vec<(u8, usize)> {
        let (mut held, mut out) = (Vec::new(), Vec::new());
        for chunk in chunks {
            held.extend_from_slice(chunk);
            while let Ok(Some(found)) = header(&held, 1 << 20) {
                if held.len() < found.total() {
                    break;
                }
                out.push((found.tag, found.body));
                held.drain(..found.total());
            }
        }
        assert!(held.is_empty());
        out
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            bodies in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cuts in prop::collection::vec(1usize..30, 0..60),
        ) {
            let mut stream = Vec::new();
            for (tag, body) in &bodies {
                stream.push(*tag);
                stream.extend((body.len() as i32 + 4).to_be_bytes());
                stream.extend(body);
            }
            let whole = frames(std::slice::from_ref(&stream));
            let (mut chunks, mut rest) = (Vec::new(), &stream[..]);
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                chunks.push(head.to_vec());
                rest = tail;
            }
            chunks.push(rest.to_vec());
            prop_assert_eq!(&whole, &frames(&chunks));
            let expected: Vec<_> = bodies.iter().map(|(tag, body)| (*tag, body.len())).collect();
            prop_assert_eq!(whole, expected);
        }
    }
}
