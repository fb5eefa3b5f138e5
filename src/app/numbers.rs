//! Numbers for names.

use std::collections::HashMap;

/// Numbers for names. A name keeps its number until it is forgotten; then another may get it.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    given: HashMap<T, u32>,
    free: Vec<u32>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { given: HashMap::new(), free: Vec::new() }
    }
}

impl<T: std::hash::Hash + Eq> Numbers<T> {
    /// The name's number.
    pub(super) fn of(&mut self, name: T) -> u32 {
        let Self { given, free } = self;
        // Numbers are either given or free.
        let next = u32::try_from(given.len() + free.len()).unwrap_or(u32::MAX);
        *given.entry(name).or_insert_with(|| free.pop().unwrap_or(next))
    }

    /// Forgets all other names.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        let Self { given, free } = self;
        given.retain(|name, number| {
            let stays = stays(name);
            if !stays {
                free.push(*number);
            }
            stays
        });
    }

    /// How many names have one.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.given.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_belongs_to_one_name_at_a_time() {
        let mut numbers = Numbers::default();
        assert_eq!(
            [numbers.of("a"), numbers.of("b"), numbers.of("a"), numbers.of("c")],
            [0, 1, 0, 2]
        );
        numbers.retain(|name| *name == "c");
        let (d, e, f) = (numbers.of("d"), numbers.of("e"), numbers.of("f"));
        let mut all = [numbers.of("c"), d, e, f];
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
        assert_eq!(numbers.len(), 4);
    }
}
