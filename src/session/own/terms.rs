//! What comments in front of the texts of one unit say about its reads. Pure.

use super::scope::Groups;
use crate::cluster::freshness::Level;
use crate::routing::Hints;
use crate::word::Word;

/// What a unit says for itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct UnitTerms {
    /// The groups whose writes it has to see.
    pub(super) groups: Groups,
    /// What it may rely on, in the place of what its session says.
    pub(super) consistency: Option<Level>,
}

impl UnitTerms {
    /// A text of it has these hints. Of several levels the one that promises most counts.
    #[inline]
    pub(in crate::session) fn add(&mut self, hints: &Hints<'_>) {
        if hints.group.is_some() || hints.consistency.is_some() {
            self.add_both(hints);
        }
    }

    fn add_both(&mut self, hints: &Hints<'_>) {
        if let Some(group) = hints.group {
            self.groups.add(group);
        }
        let place = |level: Level| Level::WORDS.iter().position(|word| *word == level.as_str());
        let level = hints.consistency.and_then(Level::from_word);
        self.consistency = match (self.consistency, level) {
            (Some(one), Some(other)) if place(one) >= place(other) => Some(one),
            (one, other) => other.or(one),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{CONSISTENCY_WORDS, hints};

    #[test]
    fn comments_know_the_words_of_the_setting() {
        assert_eq!(CONSISTENCY_WORDS, Level::WORDS);
    }

    #[test]
    fn the_texts_of_a_unit_add_up() {
        let mut terms = UnitTerms::default();
        for text in [
            "SELECT 1",
            "/* howdah: group=a consistency=session */ SELECT 1",
            "/* howdah: group=b */ SELECT 1",
            "/* howdah: consistency=eventual */ SELECT 1",
        ] {
            terms.add(&hints(text.as_bytes()));
        }
        assert_eq!(terms.consistency, Some(Level::Session));
        assert_eq!(terms.groups.names.as_slice(), [Box::from("a"), Box::from("b")]);
        terms.add(&hints(b"/* howdah: consistency=strict */ SELECT 1"));
        assert_eq!(terms.consistency, Some(Level::Strict));
    }
}
