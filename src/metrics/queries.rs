//! What each statement costs, for the statements that are run most.
//!
//! A statement is known by its normal form, which has no values in it. Each thread keeps a bounded
//! number of them and writes figures that any may read; where one more is needed, those go that were
//! used least. A handle of one that is gone counts nothing.

use super::{Cell, Distribution, Histogram};
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// The part of the statements that makes room at a time.
const EVICTED_PART: usize = 16;

/// What one thread counts of a statement.
#[derive(Debug)]
struct Entry {
    database: Box<str>,
    text: Box<str>,
    fingerprint: u64,
    calls: Cell,
    rows: Cell,
    bytes: Cell,
    errors: Cell,
    waited: Cell,
    time: Histogram,
}

/// What was counted of a statement, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryTotals {
    /// The database that its clients asked for.
    pub database: String,
    /// Its normal form, to be read by people.
    pub text: String,
    /// A number that is the same wherever and whenever the statement is seen.
    pub fingerprint: u64,
    /// Times that it was run.
    pub calls: u64,
    /// Rows that it gave or changed.
    pub rows: u64,
    /// Bytes that servers sent for it.
    pub bytes: u64,
    /// Times that it failed.
    pub errors: u64,
    /// Microseconds that clients waited for a server to run it.
    pub waited: u64,
    /// How long it ran.
    pub time: Distribution,
}

impl Entry {
    fn add_to(&self, totals: &mut QueryTotals) {
        totals.calls += self.calls.get();
        totals.rows += self.rows.get();
        totals.bytes += self.bytes.get();
        totals.errors += self.errors.get();
        totals.waited += self.waited.get();
        self.time.add_to(&mut totals.time);
    }
}

/// The statements of all threads.
#[derive(Debug)]
pub struct Queries {
    limit: AtomicUsize,
    /// Raised when every thread is to begin anew.
    epoch: AtomicU64,
    evicted: AtomicU64,
    threads: Box<[Mutex<Vec<Arc<Entry>>>]>,
}

fn lock(entries: &Mutex<Vec<Arc<Entry>>>) -> MutexGuard<'_, Vec<Arc<Entry>>> {
    entries.lock()
}

impl Queries {
    /// For so many threads, with at most `limit` statements on each; zero: nothing is counted.
    pub fn new(threads: usize, limit: usize) -> Self {
        Self {
            limit: AtomicUsize::new(limit),
            epoch: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            threads: (0..threads.max(1)).map(|_| Mutex::default()).collect(),
        }
    }

    /// Whether anything is counted. Cheap: asked for each message.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.limit.load(Ordering::Relaxed) != 0
    }

    /// Another limit; when it differs, everybody begins anew.
    pub fn set_limit(&self, limit: usize) {
        if self.limit.swap(limit, Ordering::Relaxed) != limit {
            self.reset();
        }
    }

    /// Everybody begins anew.
    pub fn reset(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
        self.threads.iter().for_each(|entries| lock(entries).clear());
    }

    /// Statements that made room for others since the start, on all threads.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The sums of all threads, those first that took longest in all; not more than the limit.
    pub fn totals(&self) -> Vec<QueryTotals> {
        let mut all = std::collections::HashMap::<(u64, Box<str>), QueryTotals>::new();
        for entries in &self.threads {
            // The lock is for the list; what is counted is read without it.
            let entries = lock(entries).clone();
            for entry in entries {
                let key = (entry.fingerprint, entry.database.clone());
                let totals = all.entry(key).or_insert_with(|| QueryTotals {
                    database: entry.database.clone().into(),
                    text: entry.text.clone().into(),
                    fingerprint: entry.fingerprint,
                    ..QueryTotals::default()
                });
                entry.add_to(totals);
            }
        }
        let mut all: Vec<_> = all.into_values().filter(|one| one.calls > 0).collect();
        all.sort_unstable_by(|a, b| {
            let names = || (&a.database, a.fingerprint).cmp(&(&b.database, b.fingerprint));
            b.time.sum.cmp(&a.time.sum).then_with(names)
        });
        all.truncate(self.limit.load(Ordering::Relaxed));
        all
    }
}

/// A statement that is being run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    slot: u32,
    generation: u32,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Microseconds that it ran.
    pub micros: u64,
    /// Microseconds that it waited for a server.
    pub waited: u64,
    /// Rows that it gave or changed.
    pub rows: u64,
    /// Bytes that the server sent.
    pub bytes: u64,
    /// Whether it failed.
    pub failed: bool,
}

#[derive(Debug)]
struct Slot {
    entry: Arc<Entry>,
    generation: u32,
    /// How much it was used lately.
    used: u32,
    /// What it is found by: its normal form and database.
    form: u64,
}

/// One thread's statements.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Queries>,
    thread: usize,
    epoch: u64,
    slots: Vec<Slot>,
    by_form: HashMap<u64, u32, foldhash::fast::FixedState>,
    generation: u32,
}

impl Recorder {
    /// Of this thread.
    pub fn new(shared: &Arc<Queries>, thread: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            thread: thread.min(shared.threads.len().saturating_sub(1)),
            epoch: 0,
            slots: Vec::new(),
            by_form: HashMap::default(),
            generation: 0,
        }
    }

    fn limit(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Obeys [`Queries::reset`].
    fn refresh(&mut self) {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.slots.clear();
            self.by_form.clear();
        }
    }

    /// Whether a statement still has its place.
    #[inline]
    pub fn has(&mut self, run: Run) -> bool {
        self.refresh();
        self.slot(run).is_some()
    }

    fn slot(&mut self, run: Run) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(usize::try_from(run.slot).ok()?)?;
        (slot.generation == run.generation).then_some(slot)
    }

    /// The statement of this normal form in this database, whose text for people is asked for when
    /// it is new. `None` when nothing is counted.
    pub fn add(
        &mut self,
        database: &str,
        normal: &[u8],
        text: impl FnOnce() -> String,
    ) -> Option<Run> {
        let limit = self.limit();
        if limit == 0 {
            return None;
        }
        self.refresh();
        let fingerprint = fingerprint(normal);
        let form = fingerprint ^ hash(database.as_bytes()).rotate_left(1);
        let slot = match self.by_form.get(&form) {
            Some(&slot) => slot,
            None => self.insert(form, fingerprint, database, text().into())?,
        };
        let generation = self.slots.get(usize::try_from(slot).ok()?)?.generation;
        Some(Run { slot, generation })
    }

    fn insert(
        &mut self,
        form: u64,
        fingerprint: u64,
        database: &str,
        text: Box<str>,
    ) -> Option<u32> {
        let entry = Arc::new(Entry {
            database: database.into(),
            text,
            fingerprint,
            calls: Cell::default(),
            rows: Cell::default(),
            bytes: Cell::default(),
            errors: Cell::default(),
            waited: Cell::default(),
            time: Histogram::default(),
        });
        if self.slots.len() >= self.limit() {
            self.evict();
        }
        self.generation = self.generation.wrapping_add(1);
        let slot = Slot { entry, generation: self.generation, used: 0, form };
        let index = u32::try_from(self.slots.len()).ok()?;
        let mut published = lock(self.shared.threads.get(self.thread)?);
        if self.shared.epoch.load(Ordering::Acquire) == self.epoch {
            published.push(Arc::clone(&slot.entry));
        }
        drop(published);
        self.slots.push(slot);
        self.by_form.insert(form, index);
        Some(index)
    }

    /// Those go that were used least; for the others it begins to fade.
    fn evict(&mut self) {
        let count = self.slots.len().div_ceil(EVICTED_PART).max(1);
        let mut by_use: Vec<(u32, usize)> =
            self.slots.iter().enumerate().map(|(index, slot)| (slot.used, index)).collect();
        by_use.sort_unstable();
        let mut gone: Vec<usize> = by_use.iter().take(count).map(|(_, index)| *index).collect();
        gone.sort_unstable_by(|a, b| b.cmp(a));
        // From behind, so that what takes a place has been looked at.
        for index in gone {
            let slot = self.slots.swap_remove(index);
            self.by_form.remove(&slot.form);
            if let (Some(moved), Ok(place)) = (self.slots.get_mut(index), u32::try_from(index)) {
                self.generation = self.generation.wrapping_add(1);
                moved.generation = self.generation;
                self.by_form.insert(moved.form, place);
            }
        }
        self.slots.iter_mut().for_each(|slot| slot.used /= 2);
        self.shared.evicted.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        if let Some(published) = self.shared.threads.get(self.thread) {
            *lock(published) = self.slots.iter().map(|slot| Arc::clone(&slot.entry)).collect();
        }
    }

    /// Counts what a statement cost.
    #[inline]
    pub fn record(&mut self, run: Run, cost: &Cost) {
        let Some(slot) = self.slot(run) else { return };
        slot.used = slot.used.saturating_add(1);
        let entry = &slot.entry;
        entry.calls.add(1);
        entry.rows.add(cost.rows);
        entry.bytes.add(cost.bytes);
        entry.errors.add(u64::from(cost.failed));
        entry.waited.add(cost.waited);
        entry.time.record(cost.micros);
    }

    /// What the statement took on the average, if it has run.
    pub fn usual_time(&mut self, run: Run) -> Option<Duration> {
        let entry = &self.slot(run)?.entry;
        let micros = entry.time.sum().checked_div(entry.calls.get())?;
        Some(Duration::from_micros(micros))
    }

    /// The statement's text for people.
    pub fn text(&mut self, run: Run) -> Option<&str> {
        self.slot(run).map(|slot| &*slot.entry.text)
    }
}

/// The number that SHOW QUERIES shows of the statement with this normal form.
pub fn fingerprint(normal: &[u8]) -> u64 {
    hash(normal)
}

/// A number for bytes, the same in every process.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost { micros: 100, waited: 7, rows: 3, bytes: 50, failed: false };

    fn add(recorder: &mut Recorder, normal: &str) -> Run {
        let text = || normal.to_uppercase();
        recorder.add("shop", normal.as_bytes(), text).expect("it is on")
    }

    #[test]
    fn threads_add_up_and_the_longest_come_first() {
        let queries = Arc::new(Queries::new(2, 10));
        let (mut one, mut two) = (Recorder::new(&queries, 0), Recorder::new(&queries, 1));
        let (a, b) = (add(&mut one, "a"), add(&mut one, "b"));
        one.record(a, &COST);
        one.record(b, &Cost { micros: 1000, failed: true, ..COST });
        let a = add(&mut two, "a");
        two.record(a, &COST);
        assert!(two.has(a));
        let totals = queries.totals();
        let told: Vec<_> = totals.iter().map(|t| (&*t.text, t.calls, t.rows, t.errors)).collect();
        assert_eq!(told, [("B", 1, 3, 1), ("A", 2, 6, 0)]);
        assert_eq!((totals[1].bytes, totals[1].waited, totals[1].time.sum), (100, 14, 200));
    }

    #[test]
    fn the_same_text_elsewhere_is_another_statement() {
        let queries = Arc::new(Queries::new(1, 10));
        let mut one = Recorder::new(&queries, 0);
        let here = add(&mut one, "a");
        let there = one.add("elsewhere", b"a", || "A".to_owned()).expect("it is on");
        assert_ne!(here, there);
        one.record(there, &COST);
        let totals = queries.totals();
        assert_eq!(totals.len(), 1, "what was never run is not shown");
        assert_eq!(totals[0].database, "elsewhere");
    }

    #[test]
    fn a_flood_of_statements_takes_a_bounded_place_and_leaves_those_that_are_used() {
        let queries = Arc::new(Queries::new(1, 100));
        let mut one = Recorder::new(&queries, 0);
        let mut used = add(&mut one, "used");
        for n in 1..10_000u64 {
            if !one.has(used) {
                used = add(&mut one, "used");
            }
            one.record(used, &COST);
            let other = add(&mut one, &format!("other {n}"));
            one.record(other, &COST);
            assert!(one.slots.len() <= 100);
            assert_eq!(one.by_form.len(), one.slots.len());
        }
        let totals = queries.totals();
        assert!(totals.len() <= 100 && queries.evicted() >= 9_800);
        assert_eq!((&*totals[0].text, totals[0].calls), ("USED", 9_999));
        for (form, slot) in &one.by_form {
            assert_eq!(one.slots[*slot as usize].form, *form);
        }
    }

    #[test]
    fn a_handle_of_one_that_is_gone_counts_nothing() {
        let queries = Arc::new(Queries::new(1, 1));
        let mut one = Recorder::new(&queries, 0);
        let a = add(&mut one, "a");
        let b = add(&mut one, "b");
        one.record(a, &COST);
        assert_eq!((one.has(a), one.has(b), one.text(a)), (false, true, None));
        assert_eq!(queries.totals(), []);
    }

    #[test]
    fn what_a_statement_usually_takes() {
        let queries = Arc::new(Queries::new(1, 10));
        let mut one = Recorder::new(&queries, 0);
        let a = add(&mut one, "a");
        assert_eq!(one.usual_time(a), None);
        for micros in [100, 200, 600] {
            one.record(a, &Cost { micros, ..COST });
        }
        assert_eq!(one.usual_time(a), Some(Duration::from_micros(300)));
        queries.reset();
        assert!(!one.has(a));
        assert_eq!(one.usual_time(a), None);
    }

    #[test]
    fn a_reset_and_another_limit_begin_anew() {
        let queries = Arc::new(Queries::new(1, 10));
        let mut one = Recorder::new(&queries, 0);
        let a = add(&mut one, "a");
        one.record(a, &COST);
        queries.reset();
        assert_eq!((queries.totals().len(), one.has(a)), (0, false));
        one.record(a, &COST);
        assert_eq!(queries.totals(), []);
        let a = add(&mut one, "a");
        one.record(a, &COST);
        assert_eq!(queries.totals()[0].calls, 1);
        queries.set_limit(0);
        assert!(!queries.is_on() && queries.totals().is_empty());
        assert_eq!(one.add("shop", b"a", || "A".to_owned()), None);
    }
}
