//! Sessions that wait for a replica.
//!
//! Owns who waits, for which moment, and until when. A session is woken when a replica has reached its
//! moment, when what the nodes are has changed, or when its time is over; nobody polls. Each looks again
//! by itself, and leaves when it waits no more.

use super::moment::Moment;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

/// What one session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// A horizon later than this; `None` for anything that changes.
    pub beyond: Option<Moment>,
    /// No longer than until then.
    pub until: Moment,
}

/// The moments that are wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What the first of them needs.
    pub first: Moment,
    /// What all of them need.
    pub last: Moment,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    wish: Wish,
    waker: Waker,
}

/// Those of one cluster.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    list: Mutex<Vec<Entry>>,
    /// How many there are: nobody takes the lock to learn that there are none.
    count: AtomicUsize,
    /// Numbers that were given.
    given: AtomicU64,
}

impl Waiters {
    /// A session waits for this. Its number, by which it leaves.
    pub(super) fn add(&self, wish: Wish, waker: &Waker) -> u64 {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let mut list = self.list.lock();
        list.push(Entry { number, wish, waker: waker.clone() });
        self.count.store(list.len(), Ordering::SeqCst);
        number
    }

    /// It waits no more.
    pub(super) fn remove(&self, number: u64) {
        if self.is_empty() {
            return;
        }
        let mut list = self.list.lock();
        list.retain(|entry| entry.number != number);
        self.count.store(list.len(), Ordering::SeqCst);
    }

    /// Wakes everybody whose wish is fulfilled by `reached`, or whose time is over; all if anything else
    /// has changed.
    pub(super) fn wake(&self, reached: Option<Moment>, is_other: bool, now: Moment) {
        if self.is_empty() {
            return;
        }
        let mut woken = Vec::new();
        let mut list = self.list.lock();
        list.retain(|Entry { wish, waker, .. }| {
            let is_due = is_other
                || wish.until <= now
                || wish.beyond.is_none_or(|beyond| reached > Some(beyond));
            if is_due {
                woken.push(waker.clone());
            }
            !is_due
        });
        self.count.store(list.len(), Ordering::SeqCst);
        drop(list);
        woken.into_iter().for_each(Waker::wake);
    }

    /// What is wished for.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        if self.is_empty() {
            return None;
        }
        let list = self.list.lock();
        let moments = || list.iter().filter_map(|entry| entry.wish.beyond);
        Some(Wanted { first: moments().min()?, last: moments().max()? })
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn wish(beyond: u64) -> Wish {
        Wish { beyond: Some(Moment(beyond)), until: Moment(1000) }
    }

    #[test]
    fn each_is_woken_once_and_only_for_what_it_waits_for() {
        let waiters = Waiters::default();
        let bells: Vec<Arc<Bell>> = (0..4).map(|_| Arc::default()).collect();
        let wakers: Vec<Waker> = bells.iter().map(|bell| Arc::clone(bell).into()).collect();
        let rung = || bells.iter().map(|bell| bell.0.load(Ordering::SeqCst)).collect::<Vec<_>>();
        let gone = waiters.add(wish(5), &wakers[0]);
        waiters.remove(gone);
        waiters.add(wish(10), &wakers[0]);
        waiters.add(wish(20), &wakers[1]);
        waiters.add(Wish { until: Moment(30), ..wish(90) }, &wakers[2]);
        assert_eq!(waiters.wanted(), Some(Wanted { first: Moment(10), last: Moment(90) }));
        waiters.wake(Some(Moment(10)), false, Moment(0));
        assert_eq!(rung(), [0, 0, 0, 0], "the comparison is strict");
        waiters.wake(Some(Moment(11)), false, Moment(0));
        assert_eq!(rung(), [1, 0, 0, 0]);
        waiters.wake(None, false, Moment(30));
        assert_eq!(rung(), [1, 0, 1, 0], "its time is over");
        waiters.add(Wish { beyond: None, until: Moment(1000) }, &wakers[3]);
        assert_eq!(waiters.wanted(), Some(Wanted { first: Moment(20), last: Moment(20) }));
        waiters.wake(None, false, Moment(30));
        assert_eq!(rung(), [1, 0, 1, 1], "whatever changes");
        waiters.wake(None, true, Moment(30));
        assert_eq!(rung(), [1, 1, 1, 1]);
        assert!(waiters.is_empty());
        waiters.wake(Some(Moment(99)), true, Moment(99));
        assert_eq!(rung(), [1, 1, 1, 1]);
    }
}
