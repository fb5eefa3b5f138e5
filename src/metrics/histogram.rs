//! How durations are distributed, in buckets that grow with them.
//!
//! Four buckets for each power of two: a bound is never more than a quarter above the one below, so
//! that a quantile read from it is off by an eighth at most.

use super::Cell;
use std::sync::OnceLock;

/// Buckets for each power of two, as a power of two.
const STEPS_LOG: u32 = 2;
const STEPS: u64 = 1 << STEPS_LOG;
/// Number of buckets: up to more than an hour, in microseconds; the last takes all above.
pub const BUCKETS: usize = 128;

/// The bucket of a duration.
#[inline]
fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return usize::try_from(micros).unwrap_or(0);
    }
    let power = micros.ilog2();
    let step = (micros >> (power - STEPS_LOG)) & (STEPS - 1);
    let index = u64::from(power - STEPS_LOG + 1) * STEPS + step;
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The smallest duration of a bucket.
fn lower(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    if bucket < STEPS {
        return bucket;
    }
    let (power, step) = (bucket / STEPS - 1, bucket % STEPS);
    (STEPS + step) << power
}

/// Durations, counted by one thread.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Made for the first duration: most pools have threads that never see some kinds.
    counts: OnceLock<Box<[Cell; BUCKETS]>>,
    sum: Cell,
    max: Cell,
}

impl Histogram {
    /// Counts a duration in microseconds.
    #[inline]
    pub fn record(&self, micros: u64) {
        let make = || Box::new(std::array::from_fn(|_| Cell::default()));
        if let Some(count) = self.counts.get_or_init(make).get(bucket(micros)) {
            count.add(1);
        }
        self.sum.add(micros);
        self.max.raise(micros);
    }

    /// Adds what was counted to a distribution.
    pub fn add_to(&self, distribution: &mut Distribution) {
        let Some(counts) = self.counts.get() else { return };
        for (total, count) in distribution.counts.iter_mut().zip(counts.iter()) {
            *total += count.get();
        }
        distribution.sum += self.sum.get();
        distribution.max = distribution.max.max(self.max.get());
    }
}

/// Durations of any number of threads, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    counts: [u64; BUCKETS],
    /// Microseconds of all durations together.
    pub sum: u64,
    /// Microseconds of the longest.
    pub max: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum: 0, max: 0 }
    }
}

impl Distribution {
    /// How many durations there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their mean in microseconds; zero without any.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count()).unwrap_or(0)
    }

    /// The duration in microseconds that `per_mille` thousandths of them do not exceed; zero
    /// without any. Between a bucket's bounds it is estimated by rank.
    pub fn quantile(&self, per_mille: u64) -> u64 {
        let count = self.count();
        let rank = count.saturating_mul(per_mille).div_ceil(1000).max(1);
        let mut below = 0;
        for (index, &here) in self.counts.iter().enumerate() {
            if here > 0 && below + here >= rank {
                let (from, to) = (lower(index), lower(index + 1).min(self.max + 1));
                let width = to.saturating_sub(from).saturating_sub(1);
                return (from + width * (rank - below) / here).min(self.max);
            }
            below += here;
        }
        0
    }

    /// How many took at most so many microseconds, where that is a bucket's bound; else those of
    /// the whole buckets below it.
    pub fn at_most(&self, micros: u64) -> u64 {
        let whole = (0..BUCKETS).take_while(|&index| lower(index + 1) <= micros.saturating_add(1));
        whole.filter_map(|index| self.counts.get(index)).sum()
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (total, count) in self.counts.iter_mut().zip(other.counts) {
            *total += count;
        }
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// What was counted since an earlier moment; the longest is that of all times.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (now, then) in counts.iter_mut().zip(earlier.counts) {
            *now = now.saturating_sub(then);
        }
        Self { counts, sum: self.sum.saturating_sub(earlier.sum), max: self.max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(durations: &[u64]) -> Distribution {
        let histogram = Histogram::default();
        durations.iter().for_each(|&micros| histogram.record(micros));
        let mut distribution = Distribution::default();
        histogram.add_to(&mut distribution);
        distribution
    }

    #[test]
    fn buckets_follow_one_another() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(lower(index)), index);
            assert_eq!(bucket(lower(index + 1) - 1), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        // An hour has a bucket of its own.
        assert!(bucket(3_600_000_000) < BUCKETS - 1);
    }

    #[test]
    fn nothing_counted() {
        let none = of(&[]);
        assert_eq!((none.count(), none.mean(), none.quantile(500), none.at_most(10)), (0, 0, 0, 0));
    }

    #[test]
    fn differences() {
        let (one, two) = (of(&[5, 7]), of(&[5, 7, 7, 100]));
        let since = two.since(&one);
        assert_eq!((since.count(), since.sum), (2, 107));
    }

    proptest! {
        #[test]
        fn quantiles_are_off_by_a_quarter_at_most(
            mut durations in prop::collection::vec(0u64..1 << 30, 1..200), per_mille in 1u64..=1000,
        ) {
            let found = of(&durations).quantile(per_mille);
            durations.sort_unstable();
            let rank = (durations.len() as u64 * per_mille).div_ceil(1000).max(1);
            let exact = durations[rank as usize - 1];
            prop_assert!(found.abs_diff(exact) <= exact / 4 + 1, "{} for {}", found, exact);
        }

        #[test]
        fn shares_below_a_bound_grow(durations in prop::collection::vec(0u64..1 << 20, 1..100), bound in 0u64..1 << 20) {
            let all = of(&durations);
            let exact = durations.iter().filter(|&&micros| micros <= bound).count() as u64;
            prop_assert!(all.at_most(bound) <= exact);
            prop_assert!(all.at_most(bound) <= all.at_most(bound + 1));
            prop_assert_eq!(all.at_most(u64::MAX - 1), all.count() - all.counts[BUCKETS - 1]);
        }
    }
}
