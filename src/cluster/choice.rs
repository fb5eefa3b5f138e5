//! Which of several nodes serves a read.
//!
//! Owns the choice among candidates that others have found eligible. Suspects come last, nodes of the
//! own zone first; among the rest two are drawn by weight, and the one with less to do for its weight
//! is taken. Pure, without an allocation: random numbers are passed in.
//!
//! Two draws, not the least of all: many proxies that see the same least would all go there.

use super::NodeId;
use crate::word::word_enum;

word_enum! {
    /// What happens to a read for which no replica is eligible.
    pub Fallback {
        /// The primary serves it.
        Primary = "primary",
        /// It waits for a replica.
        Wait = "wait",
        /// It fails.
        Error = "error",
    }
}

/// A node that might serve a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Whether it is well, fits, and is fresh enough.
    pub is_eligible: bool,
    /// Whether something has failed there.
    pub is_suspect: bool,
    /// Whether it is in our zone.
    pub is_near: bool,
    /// Its share of the reads, as configured. Zero: none.
    pub weight: u32,
    /// What it gets of that while it starts slowly, in thousandths.
    pub share: u32,
    /// Statements that it has not answered yet.
    pub outstanding: u32,
}

impl Candidate {
    fn effective_weight(&self) -> u64 {
        if self.weight == 0 || !self.is_eligible {
            return 0;
        }
        // A node whose share is rounded to nothing would never warm up.
        (u64::from(self.weight) * u64::from(self.share)).max(1)
    }

    fn rank(&self) -> u8 {
        u8::from(self.is_suspect) * 2 + u8::from(!self.is_near)
    }

    /// Whether it would have no more to do for its weight, with this read, than another has without.
    ///
    /// The read itself counts, or a small node would get as much as a large one while there is little
    /// to do.
    fn has_less_to_do(&self, other: &Self) -> bool {
        let load = |outstanding: u64, weight: u64| u128::from(outstanding) * u128::from(weight);
        load(u64::from(self.outstanding) + 1, other.effective_weight())
            <= load(u64::from(other.outstanding), self.effective_weight())
    }
}

/// The candidate that serves a read; `None` if no one is eligible. `random`: two numbers of all 64
/// bits.
#[must_use]
pub fn choose(candidates: &[Candidate], random: [u64; 2]) -> Option<NodeId> {
    let eligible = candidates.iter().filter(|one| one.effective_weight() > 0);
    let rank = eligible.map(Candidate::rank).min()?;
    let first = draw(candidates, rank, None, random[0])?;
    let second = draw(candidates, rank, Some(first.node), random[1]);
    Some(second.filter(|second| second.has_less_to_do(first)).unwrap_or(first).node)
}

/// One of this rank by weight, but not `except`.
fn draw(
    candidates: &[Candidate],
    rank: u8,
    except: Option<NodeId>,
    random: u64,
) -> Option<&Candidate> {
    let drawn =
        || candidates.iter().filter(move |one| one.rank() == rank && Some(one.node) != except);
    let total: u64 = drawn().map(Candidate::effective_weight).fold(0, u64::saturating_add);
    let mut left = random.checked_rem(total)?;
    drawn().find(|one| {
        let weight = one.effective_weight();
        let is_here = left < weight;
        left = left.saturating_sub(weight);
        is_here
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(node: u32, weight: u32) -> Candidate {
        Candidate {
            node: NodeId(node),
            is_eligible: true,
            is_suspect: false,
            is_near: true,
            weight,
            share: 1000,
            outstanding: 0,
        }
    }

    /// Numbers as good as random, the same in every run.
    fn randoms() -> impl FnMut() -> [u64; 2] {
        let mut state = 1u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.wrapping_mul(0x2545_F491_4F6C_DD1D)
        };
        move || [next(), next()]
    }

    /// How often each node is chosen, in thousandths; `open` statements are outstanding all the time.
    fn shares(mut candidates: Vec<Candidate>, open: usize) -> Vec<u32> {
        let (mut random, mut counts) = (randoms(), vec![0; candidates.len()]);
        let mut running = std::collections::VecDeque::new();
        for _ in 0..20_000 {
            let node = choose(&candidates, random()).expect("one is eligible");
            let index = candidates.iter().position(|one| one.node == node).expect("a candidate");
            counts[index] += 1;
            candidates[index].outstanding += 1;
            running.push_back(index);
            if running.len() > open {
                let done = running.pop_front().expect("one runs");
                candidates[done].outstanding -= 1;
            }
        }
        counts.iter().map(|count| count / 20).collect()
    }

    fn assert_near(shares: &[u32], expected: &[u32], tolerance: u32) {
        let is_near =
            shares.iter().zip(expected).all(|(one, other)| one.abs_diff(*other) <= tolerance);
        assert!(is_near, "{shares:?} is not {expected:?}");
    }

    #[test]
    fn reads_are_spread_by_weight_whether_nodes_are_idle_or_not() {
        // While one statement runs at a time, a large node that has it is not full, and a small one is.
        for (open, tolerance) in [(0, 15), (1, 90), (8, 40), (100, 20)] {
            let one_to_three = vec![candidate(1, 1), candidate(2, 3)];
            assert_near(&shares(one_to_three, open), &[250, 750], tolerance);
            let three = vec![candidate(1, 2), candidate(2, 1), candidate(3, 1)];
            assert_near(&shares(three, open), &[500, 250, 250], tolerance);
        }
    }

    #[test]
    fn a_slow_start_takes_its_share_only() {
        let mut fresh = candidate(1, 1);
        fresh.share = 100;
        assert_near(&shares(vec![fresh, candidate(2, 1)], 20), &[91, 909], 40);
    }

    #[test]
    fn the_node_with_less_to_do_for_its_weight_is_taken() {
        let (mut small, mut large) = (candidate(1, 1), candidate(2, 4));
        small.outstanding = 2;
        large.outstanding = 7;
        let mut random = randoms();
        for _ in 0..100 {
            assert_eq!(choose(&[small, large], random()), Some(NodeId(2)));
        }
    }

    #[test]
    fn near_nodes_come_first_and_suspects_last() {
        let (mut far, mut suspect) = (candidate(2, 1), candidate(1, 1));
        far.is_near = false;
        suspect.is_suspect = true;
        let mut near = candidate(3, 1);
        assert_eq!(choose(&[suspect, far, near], [7, 7]), Some(NodeId(3)));
        near.is_eligible = false;
        assert_eq!(choose(&[suspect, far, near], [7, 7]), Some(NodeId(2)));
        assert_eq!(choose(&[suspect, near], [7, 7]), Some(NodeId(1)));
        assert_eq!(choose(&[near, candidate(4, 0)], [7, 7]), None);
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let flags = any::<(bool, bool, bool)>();
        (0u32..8, flags, 0u32..=u32::MAX, 0u32..=1000, any::<u32>()).prop_map(
            |(node, (is_eligible, is_suspect, is_near), weight, share, outstanding)| Candidate {
                node: NodeId(node),
                is_eligible,
                is_suspect,
                is_near,
                weight: weight.saturating_sub(1 << 30),
                share,
                outstanding,
            },
        )
    }

    proptest! {
        #[test]
        fn an_ineligible_node_is_never_chosen_and_an_eligible_one_always_if_there_is_any(
            mut candidates in prop::collection::vec(any_candidate(), 0..8),
            random: [u64; 2],
        ) {
            candidates.sort_by_key(|one| one.node);
            candidates.dedup_by_key(|one| one.node);
            let is_eligible = |one: &Candidate| one.is_eligible && one.weight > 0;
            match choose(&candidates, random) {
                Some(node) => {
                    let chosen = candidates.iter().find(|one| one.node == node);
                    prop_assert!(chosen.is_some_and(is_eligible));
                    let ranks = candidates.iter().filter(|one| is_eligible(one));
                    prop_assert_eq!(ranks.map(Candidate::rank).min(), chosen.map(Candidate::rank));
                }
                None => prop_assert!(!candidates.iter().any(is_eligible)),
            }
        }
    }
}
