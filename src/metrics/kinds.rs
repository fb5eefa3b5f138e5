//! How often each of many kinds of things happened.

use super::Cell;
use std::sync::OnceLock;

/// A count for each kind, by thread. A thread that never counted costs a pointer.
#[derive(Debug)]
pub struct KindCounts {
    kinds: usize,
    threads: Box<[OnceLock<Box<[Cell]>>]>,
}

impl KindCounts {
    /// For so many kinds and threads.
    pub fn new(kinds: usize, threads: usize) -> Self {
        Self { kinds, threads: (0..threads.max(1)).map(|_| OnceLock::new()).collect() }
    }

    /// One more of this kind, by this thread. A number beyond the last is not counted.
    #[inline]
    pub fn count(&self, thread: usize, kind: usize) {
        let cells = self.threads.get(thread).map(|one| {
            one.get_or_init(|| std::iter::repeat_with(Cell::default).take(self.kinds).collect())
        });
        if let Some(cell) = cells.and_then(|cells| cells.get(kind)) {
            cell.add(1);
        }
    }

    /// The sums of all threads, one for each kind.
    pub fn totals(&self) -> Vec<u64> {
        let mut totals = vec![0; self.kinds];
        for cells in self.threads.iter().filter_map(OnceLock::get) {
            totals.iter_mut().zip(cells.iter()).for_each(|(total, cell)| *total += cell.get());
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_added_up_and_nothing_else_is_counted() {
        let counts = KindCounts::new(3, 2);
        for (thread, kind) in [(0, 1), (1, 1), (1, 2), (2, 0), (0, 3)] {
            counts.count(thread, kind);
        }
        assert_eq!(counts.totals(), [0, 2, 1]);
    }
}
