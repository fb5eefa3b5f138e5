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

/// Buckets that are made together.
const CHUNK: usize = 16;
type Chunk = OnceLock<Box<[Cell; CHUNK]>>;

/// Durations, counted by one thread.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Made for the first duration: most pools have threads that never see some kinds. Of the buckets
    /// only those are made, with their neighbours, that have counted: most pools are small.
    counts: OnceLock<Box<[Chunk; BUCKETS / CHUNK]>>,
    sum: Cell,
    max: Cell,
}

impl Histogram {
    /// Counts a duration in microseconds.
    #[inline]
    pub fn record(&self, micros: u64) {
        let bucket = bucket(micros);
        if let Some(chunk) = self.counts.get_or_init(Box::default).get(bucket / CHUNK)
            && let Some(count) = chunk.get_or_init(Box::default).get(bucket % CHUNK)
        {
            count.add(1);
        }
        self.sum.add(micros);
        self.max.raise(micros);
    }

    /// All durations together, in microseconds.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }

    /// Adds what was counted to a distribution.
    pub fn add_to(&self, distribution: &mut Distribution) {
        let Some(counts) = self.counts.get() else { return };
        for (chunk, cells) in (0..).step_by(CHUNK).zip(counts.iter()) {
            let cells = cells.get().into_iter().flat_map(|cells| cells.iter());
            (chunk..).zip(cells).for_each(|(bucket, cell)| distribution.add(bucket, cell.get()));
        }
        distribution.sum += self.sum.get();
        distribution.max = distribution.max.max(self.max.get());
    }
}

/// Durations of any number of threads, at one moment. Takes the memory of the buckets from the first
/// to the last that has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// The first bucket that has counted.
    first: usize,
    /// From there to the last one that has; neither is zero.
    counts: Vec<u64>,
    /// Microseconds of all durations together.
    pub sum: u64,
    /// Microseconds of the longest.
    pub max: u64,
}

impl Distribution {
    /// Adds durations to a bucket.
    fn add(&mut self, bucket: usize, count: u64) {
        if count == 0 {
            return;
        }
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            self.counts.splice(0..0, std::iter::repeat_n(0, self.first - bucket));
            self.first = bucket;
        }
        let place = bucket - self.first;
        if place >= self.counts.len() {
            self.counts.reserve_exact(place + 1 - self.counts.len());
            self.counts.resize(place + 1, 0);
        }
        if let Some(total) = self.counts.get_mut(place) {
            *total += count;
        }
    }

    /// Each bucket that may have counted, and its durations.
    fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        (self.first..).zip(self.counts.iter().copied())
    }

    fn of_bucket(&self, bucket: usize) -> u64 {
        let place = bucket.checked_sub(self.first);
        place.and_then(|place| self.counts.get(place)).copied().unwrap_or(0)
    }

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
        for (index, here) in self.buckets() {
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
        let is_whole = |index| index < BUCKETS && lower(index + 1) <= micros.saturating_add(1);
        self.buckets().take_while(|&(index, _)| is_whole(index)).map(|(_, count)| count).sum()
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        // The last one first, so that there is room for all.
        let last = other.buckets().last();
        let others = other.buckets().take(other.counts.len().saturating_sub(1));
        last.into_iter().chain(others).for_each(|(bucket, count)| self.add(bucket, count));
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// What was counted since an earlier moment; the longest is that of all times.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since =
            Self { sum: self.sum.saturating_sub(earlier.sum), max: self.max, ..Self::default() };
        for (bucket, count) in self.buckets() {
            since.add(bucket, count.saturating_sub(earlier.of_bucket(bucket)));
        }
        since
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
    fn a_distribution_takes_memory_for_what_it_has_counted() {
        let (mut one, other) = (of(&[100]), of(&[1, 3_600_000_000]));
        assert_eq!(one.counts.capacity(), 1);
        let nothing = one.since(&one);
        assert_eq!((nothing.counts.capacity(), nothing.count()), (0, 0));
        one.merge(&other);
        assert_eq!(one, of(&[3_600_000_000, 100, 1]));
        assert_eq!((one.count(), one.at_most(100)), (3, 1), "the last bucket below 100");
        assert!(one.counts.len() < BUCKETS);
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
            prop_assert_eq!(all.at_most(u64::MAX - 1), all.count() - all.of_bucket(BUCKETS - 1));
        }
    }
}
