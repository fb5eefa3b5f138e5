//! The last writes by group of sessions.
//!
//! Owns a bounded map from a key to the moment of the last write. What has to make room is not forgotten
//! but remembered for all keys together, so a floor is never lower than what was told. Never knows what
//! its keys stand for.
//!
//! A key is the group's name, raised by the writes of its sessions, and by their reads as well if they ask for
//! `monotonic`.

use super::moment::Moment;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The last write by key.
#[derive(Clone, Debug)]
pub struct Floors<K> {
    by_key: HashMap<K, Moment>,
    /// The last write that may concern every key.
    all: Option<Moment>,
    /// The last write to a key that made room.
    rest: Option<Moment>,
    capacity: usize,
}

impl<K: Eq + Hash> Floors<K> {
    /// For at most `capacity` keys, at least two.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { by_key: HashMap::new(), all: None, rest: None, capacity: capacity.max(2) }
    }

    /// A write to this key was acknowledged. To be told before the client is.
    pub fn raise(&mut self, key: K, acknowledged: Moment) {
        if self.by_key.len() >= self.capacity && !self.by_key.contains_key(&key) {
            self.make_room();
        }
        // A key without a floor may be one that made room, with a later write than this.
        let before = self.rest.unwrap_or_default();
        let floor = self.by_key.entry(key).or_insert(before);
        *floor = acknowledged.max(*floor);
    }

    /// A write was acknowledged that may concern any key.
    pub fn raise_all(&mut self, acknowledged: Moment) {
        self.all = self.all.max(Some(acknowledged));
    }

    /// The last write to any of these keys.
    #[must_use]
    pub fn of<'a, Q>(&self, keys: impl IntoIterator<Item = &'a Q>) -> Option<Moment>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized + 'a,
    {
        let of_key = |key| self.by_key.get(key).copied().or(self.rest);
        keys.into_iter().map(of_key).fold(self.all, Option::max)
    }

    /// The last write to whatever, for a read whose tables are not known.
    #[must_use]
    pub fn of_all(&self) -> Option<Moment> {
        let last = self.by_key.values().max().copied();
        self.all.max(self.rest).max(last)
    }

    /// How many keys have a floor of their own.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The older half goes. Half, so that the search is paid for once in many writes.
    fn make_room(&mut self) {
        let mut moments: Vec<Moment> = self.by_key.values().copied().collect();
        let middle = moments.len() / 2;
        let (_, median, _) = moments.select_nth_unstable(middle);
        let (median, mut rest) = (*median, self.rest);
        // Where most have the moment of the median, they all go.
        self.by_key.retain(|_, moment| {
            let stays = *moment > median;
            if !stays {
                rest = rest.max(Some(*moment));
            }
            stays
        });
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_read_waits_for_writes_to_what_it_reads() {
        let mut floors = Floors::new(10);
        assert_eq!((floors.of(&[1, 2]), floors.of_all()), (None, None));
        floors.raise(1, Moment(10));
        floors.raise(2, Moment(20));
        floors.raise(2, Moment(15));
        assert_eq!(floors.of(&[1]), Some(Moment(10)));
        assert_eq!(floors.of(&[1, 2]), Some(Moment(20)));
        assert_eq!(floors.of(&[3]), None);
        floors.raise_all(Moment(12));
        assert_eq!(floors.of(&[1]), Some(Moment(12)));
        assert_eq!(floors.of(&[]), Some(Moment(12)));
        assert_eq!(floors.of_all(), Some(Moment(20)));
    }

    #[test]
    fn groups_are_found_by_their_names() {
        let mut floors: Floors<Box<str>> = Floors::new(10);
        floors.raise("cart-42".into(), Moment(3));
        assert_eq!(floors.of(["cart-42"]), Some(Moment(3)));
    }

    #[test]
    fn a_key_that_made_room_comes_back_with_its_floor() {
        let mut floors = Floors::new(2);
        for (key, moment) in [(1, 50), (2, 60), (3, 70), (1, 40)] {
            floors.raise(key, Moment(moment));
        }
        assert!(floors.of(&[1]) >= Some(Moment(50)));
        assert_eq!(floors.len(), 2);
    }

    proptest! {
        #[test]
        fn a_floor_is_never_lower_than_what_was_told_and_the_map_is_bounded(
            writes in prop::collection::vec((0u32..40, 0u64..100), 1..400),
            capacity in 2usize..20,
        ) {
            let (mut floors, mut model) = (Floors::new(capacity), HashMap::new());
            for (key, moment) in writes {
                floors.raise(key, Moment(moment));
                let known = model.entry(key).or_insert(Moment(moment));
                *known = Moment(moment).max(*known);
                prop_assert!(floors.len() <= capacity);
            }
            for (key, moment) in &model {
                prop_assert!(floors.of([key]) >= Some(*moment));
            }
            prop_assert_eq!(floors.of_all(), model.values().max().copied());
        }
    }
}
