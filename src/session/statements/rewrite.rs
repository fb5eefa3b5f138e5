//! A text that mentions prepared statements, as the server has to get it: with our names for the
//! client's statements.
//!
//! Pure. Owns the text that grows; keeps the invariant that an error's position in it can be told
//! in the client's text.

use crate::backend::note::Edit;
use std::ops::Range;

/// Characters of a piece of text; bytes where it is not UTF-8.
fn characters(text: &[u8]) -> usize {
    std::str::from_utf8(text).map_or(text.len(), |text| text.chars().count())
}

/// A text that is being rewritten, from its start to its end.
#[derive(Debug)]
pub(super) struct Rewrite<'a> {
    text: &'a [u8],
    taken: usize,
    out: Vec<u8>,
    characters: usize,
    edits: Vec<Edit>,
}

impl<'a> Rewrite<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, taken: 0, out: Vec::new(), characters: 0, edits: Vec::new() }
    }

    /// Puts `with`, which is ASCII, in the place of a piece behind all others so far.
    pub(super) fn replace(&mut self, place: &Range<usize>, with: &[u8]) {
        let before = self.text.get(self.taken..place.start).unwrap_or_default();
        let original = self.text.get(place.clone()).unwrap_or_default();
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(with);
        self.characters = self.characters.saturating_add(characters(before));
        let (at, sent) = (self.characters, with.len());
        self.edits.push(Edit { at, sent, original: characters(original) });
        self.characters = self.characters.saturating_add(sent);
        self.taken = place.end;
    }

    /// The text for the server, and where it differs; `None` when it does not.
    pub(super) fn finish(mut self) -> Option<(Vec<u8>, Vec<Edit>)> {
        if self.edits.is_empty() {
            return None;
        }
        self.out.extend_from_slice(self.text.get(self.taken..).unwrap_or_default());
        Some((self.out, self.edits))
    }
}

/// Where in the client's text a position of the server's text is. Both count characters from 1.
pub(super) fn original_position(edits: &[Edit], position: usize) -> usize {
    let index = position.saturating_sub(1);
    let (mut added, mut removed) = (0_usize, 0_usize);
    for edit in edits.iter().take_while(|edit| edit.at < index) {
        if index < edit.at.saturating_add(edit.sent) {
            // Inside of the piece.
            return edit.at.saturating_add(1).saturating_add(removed).saturating_sub(added);
        }
        added = added.saturating_add(edit.sent);
        removed = removed.saturating_add(edit.original);
    }
    position.saturating_add(removed).saturating_sub(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_replaced_and_positions_found_again() {
        let text = "EXECUTE ä; EXECUTE longer_name; oops".as_bytes();
        let mut rewrite = Rewrite::new(text);
        rewrite.replace(&(8..10), b"howdah_1");
        rewrite.replace(&(20..31), b"howdah_2");
        let (sent, edits) = rewrite.finish().unwrap();
        assert_eq!(sent, b"EXECUTE howdah_1; EXECUTE howdah_2; oops");
        for (sent, original) in [(1, 1), (9, 9), (12, 9), (19, 12), (27, 20), (30, 20), (37, 33)] {
            assert_eq!(original_position(&edits, sent), original, "{sent}");
        }
    }

    #[test]
    fn a_text_without_pieces_is_not_copied() {
        assert!(Rewrite::new(b"SELECT 1").finish().is_none());
    }
}
