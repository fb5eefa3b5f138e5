//! What all sessions of one database share of its catalog.
//!
//! Owns the current snapshot, the numbers by which others know whether something they remember still holds,
//! and the requests of sessions. A stale snapshot is never handed out: from the moment at which a session has
//! changed the catalog there is none until it is read again. Never reads the catalog: the maintenance task in
//! `app` does.

use super::Snapshot;
use super::load::Fingerprint;
use arc_swap::ArcSwapOption;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::Notify;

/// Numbers of snapshots; no two that differ have the same, of whatever database. 0 is none.
static GENERATIONS: AtomicU64 = AtomicU64::new(1);

/// Catalogs that nobody looks after yet.
#[derive(Debug, Default)]
pub struct Newcomers {
    waiting: Mutex<Vec<Weak<Catalog>>>,
    wake: Notify,
}

impl Newcomers {
    /// Those that have come to be used. Each stands here at most once. Cancel safe.
    pub async fn next(&self) -> Vec<Arc<Catalog>> {
        loop {
            let due: Vec<_> = self.take().into_iter().filter_map(|one| one.upgrade()).collect();
            if !due.is_empty() {
                return due;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Vec<Weak<Catalog>> {
        std::mem::take(&mut *self.waiting.lock())
    }

    fn push(&self, catalog: Weak<Catalog>) {
        self.waiting.lock().push(catalog);
        self.wake.notify_one();
    }
}

/// What was read last, stale or not.
#[derive(Debug, Default)]
struct Kept {
    snapshot: Option<Arc<Snapshot>>,
    generation: u64,
    fingerprint: Option<Fingerprint>,
    /// How often a session of ours has changed the catalog.
    changes: u64,
    is_requested: bool,
    is_suspected: bool,
    /// It was asked for since somebody began to look after it, whatever came of that.
    has_answered: bool,
}

/// What sessions ask of the task that maintains the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatalogRequests {
    /// The catalog has changed.
    pub changed: bool,
    /// The catalog may have changed.
    pub suspected: bool,
}

/// The catalog of one database.
#[derive(Debug)]
pub struct Catalog {
    database: Box<str>,
    snapshot: ArcSwapOption<Snapshot>,
    generation: AtomicU64,
    epoch: AtomicU64,
    is_used: AtomicBool,
    is_looked_after: AtomicBool,
    kept: Mutex<Kept>,
    wake: Arc<Notify>,
    answered: Notify,
    newcomers: Arc<Newcomers>,
    me: Weak<Self>,
}

impl Catalog {
    /// Of this database, which nobody has used yet.
    pub fn new(database: &str, newcomers: &Arc<Newcomers>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            database: database.into(),
            snapshot: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            is_used: AtomicBool::new(false),
            is_looked_after: AtomicBool::new(false),
            kept: Mutex::default(),
            wake: Arc::default(),
            answered: Notify::new(),
            newcomers: Arc::clone(newcomers),
            me: me.clone(),
        })
    }

    /// Of this database, as if its catalog had been read: for tests of what asks it.
    pub fn with_snapshot(database: &str, snapshot: Snapshot) -> Arc<Self> {
        let catalog = Self::new(database, &Arc::default());
        let mut kept = catalog.kept();
        kept.generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        kept.snapshot = Some(Arc::new(snapshot));
        catalog.show(&kept);
        drop(kept);
        catalog
    }

    /// The name that clients ask for.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What the names mean. `None` when that is not known: not read yet, not readable, or stale.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// Changes with every verdict that may have changed; 0 while nothing is known. Two databases have the
    /// same only when it is 0. Read it before the snapshot: what is remembered under a number that is
    /// older than the snapshot is only looked up in vain.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Rises when the meaning of prepared statements may have changed.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock()
    }

    /// The database is used. Cheap: one load, nearly always.
    #[inline]
    pub fn record_use(&self) {
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
            self.want_care();
        }
    }

    /// A session has changed the catalog, or it is another database now: nothing is known until it is read
    /// again.
    pub fn record_ddl(&self) {
        let mut kept = self.kept();
        kept.changes += 1;
        kept.is_requested = true;
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.forget_snapshot();
        drop(kept);
        self.want_care();
    }

    /// A session has taken something out of the catalog. What is known still holds for every other name, and
    /// no name means more than before: only prepared statements may mean something else. It is read again
    /// all the same.
    pub fn record_removal(&self) {
        let mut kept = self.kept();
        kept.is_requested = true;
        self.epoch.fetch_add(1, Ordering::Relaxed);
        drop(kept);
        self.want_care();
    }

    /// A session has run something that may have changed the catalog without showing it: it is asked about
    /// soon.
    pub fn record_possible_ddl(&self) {
        let mut kept = self.kept();
        if std::mem::replace(&mut kept.is_suspected, true) {
            return;
        }
        drop(kept);
        self.want_care();
    }

    fn want_care(&self) {
        if self.is_looked_after.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        } else {
            self.newcomers.push(self.me.clone());
        }
    }

    /// Called with `kept` locked, as everything that stores both.
    fn forget_snapshot(&self) {
        self.generation.store(0, Ordering::Relaxed);
        self.snapshot.store(None);
    }

    fn show(&self, kept: &Kept) {
        if let Some(snapshot) = &kept.snapshot {
            self.snapshot.store(Some(Arc::clone(snapshot)));
            self.generation.store(kept.generation, Ordering::Relaxed);
        }
    }

    /// Whether nobody knows yet whether the catalog can be read: clients that log in wait for it.
    pub fn is_awaited(&self) -> bool {
        !self.kept().has_answered
    }

    /// Waits until the catalog has been asked for once since the database came to be used. Cancel safe.
    pub async fn first_answer(&self) {
        self.record_use();
        loop {
            let answered = self.answered.notified();
            if !self.is_awaited() {
                return;
            }
            answered.await;
        }
    }

    /// Called with `kept` locked.
    fn set_answered(&self, kept: &mut Kept) {
        kept.has_answered = true;
        self.answered.notify_waiters();
    }

    /// How often a session has changed the catalog: to be asked before it is read.
    pub fn changes(&self) -> u64 {
        self.kept().changes
    }

    /// The fingerprint of what is known, to be compared by the server.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.kept().fingerprint.clone()
    }

    /// The catalog was read when there had been so many `changes`. `read` is `None` when the fingerprint
    /// is the one that is known. False when a session has changed the catalog meanwhile: it has to be read
    /// again.
    pub fn take_answer(
        &self,
        changes: u64,
        fingerprint: Fingerprint,
        read: Option<Snapshot>,
    ) -> bool {
        let mut kept = self.kept();
        if let Some(read) = read {
            if kept.fingerprint.as_ref().is_some_and(|known| *known != fingerprint) {
                self.epoch.fetch_add(1, Ordering::Relaxed);
            }
            kept.fingerprint = Some(fingerprint);
            if kept.snapshot.as_deref() != Some(&read) {
                kept.generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
                kept.snapshot = Some(Arc::new(read));
            }
        }
        let is_current = kept.changes == changes;
        if is_current {
            self.show(&kept);
        }
        self.set_answered(&mut kept);
        is_current
    }

    /// The catalog cannot be read: what was known may be stale.
    pub fn take_failure(&self) {
        let mut kept = self.kept();
        self.forget_snapshot();
        self.set_answered(&mut kept);
    }

    /// Whether it was used since this was asked last.
    pub fn take_use(&self) -> bool {
        self.is_used.swap(false, Ordering::Relaxed)
    }

    /// What sessions have wished since this was asked last.
    pub fn take_requests(&self) -> CatalogRequests {
        let mut kept = self.kept();
        CatalogRequests {
            changed: std::mem::take(&mut kept.is_requested),
            suspected: std::mem::take(&mut kept.is_suspected),
        }
    }

    /// Rung when something is wished, and when the catalog is dropped.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Nobody looks after it any more, until it is used again: what is known is stale. False if it has
    /// been used in this moment: whoever asks goes on.
    pub fn rest(&self) -> bool {
        let mut kept = self.kept();
        self.forget_snapshot();
        kept.has_answered = false;
        self.is_looked_after.store(false, Ordering::Release);
        let is_wanted =
            kept.is_requested || kept.is_suspected || self.is_used.load(Ordering::Acquire);
        !is_wanted || self.is_looked_after.swap(true, Ordering::AcqRel)
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Builder;
    use super::super::load::Fingerprint;
    use super::super::rows::{FunctionRow, NameRow, Object, PROC};
    use super::*;
    use crate::sql::Meaning;
    use std::task::{Context, Waker};

    fn snapshot(names: u32) -> Snapshot {
        let mut builder = Builder::default();
        for oid in 0..names {
            let (name, object) =
                (format!("function_of_some_length_{oid}"), Object { class: PROC, oid });
            builder.name(&NameRow { object, name: name.as_bytes(), meaning: Meaning::empty() });
            let source = b"SELECT set_config('app.tenant', $1, false)";
            let (language, extension, name) = (&b"sql"[..], &b""[..], &b""[..]);
            builder.function(&FunctionRow { oid, language, extension, name, source });
        }
        builder.finish()
    }

    fn catalog() -> (Arc<Newcomers>, Arc<Catalog>) {
        let newcomers = Arc::<Newcomers>::default();
        let catalog = Catalog::new("shop", &newcomers);
        (newcomers, catalog)
    }

    #[test]
    fn the_same_content_keeps_its_generation_and_other_content_gets_another() {
        let (_newcomers, catalog) = catalog();
        assert!(catalog.snapshot().is_none() && catalog.generation() == 0);
        assert!(catalog.take_answer(0, Fingerprint::of("a"), Some(snapshot(1))));
        let (first, epoch) = (catalog.generation(), catalog.epoch());
        assert!(first > 0 && catalog.snapshot().is_some());
        assert!(catalog.take_answer(0, Fingerprint::of("b"), Some(snapshot(1))));
        assert_eq!((catalog.generation(), catalog.epoch()), (first, epoch + 1));
        assert!(catalog.take_answer(0, Fingerprint::of("c"), Some(snapshot(2))));
        assert!(catalog.generation() > first);
    }

    #[test]
    fn a_change_of_our_own_is_seen_at_once_and_a_reading_that_began_before_it_is_not_believed() {
        let (_newcomers, catalog) = catalog();
        assert!(catalog.take_answer(0, Fingerprint::of("a"), Some(snapshot(1))));
        let (generation, epoch, before) =
            (catalog.generation(), catalog.epoch(), catalog.changes());
        catalog.record_ddl();
        assert!(catalog.snapshot().is_none() && catalog.generation() == 0);
        assert!(catalog.epoch() > epoch);
        assert!(!catalog.take_answer(before, Fingerprint::of("a"), None));
        assert!(catalog.snapshot().is_none());
        let now = catalog.changes();
        assert!(catalog.take_answer(now, Fingerprint::of("b"), Some(snapshot(1))));
        assert_eq!(catalog.generation(), generation);
        assert_eq!(catalog.take_requests(), CatalogRequests { changed: true, suspected: false });
        assert_eq!(catalog.take_requests(), CatalogRequests::default());
    }

    #[tokio::test]
    async fn first_use_asks_for_care_once_and_rest_ends_it() {
        let (newcomers, catalog) = catalog();
        (0..3).for_each(|_| catalog.record_use());
        assert_eq!(newcomers.next().await.len(), 1);
        assert!(catalog.take_use() && !catalog.take_use());
        catalog.record_use();
        assert!(newcomers.waiting.lock().is_empty(), "somebody looks after it");
        assert!(!catalog.rest(), "it is in use");
        assert!(catalog.take_use() && catalog.rest());
        catalog.record_use();
        assert_eq!(newcomers.next().await.len(), 1);
    }

    #[tokio::test]
    async fn the_first_answer_is_awaited_whatever_it_is_and_again_behind_a_rest() {
        let (newcomers, catalog) = catalog();
        for fails in [false, true] {
            let mut waiting = std::pin::pin!(catalog.first_answer());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            assert_eq!(newcomers.next().await.len(), 1);
            assert!(catalog.is_awaited() && waiting.as_mut().poll(&mut cx).is_pending());
            if fails {
                catalog.take_failure();
            } else {
                catalog.take_answer(0, Fingerprint::of("a"), Some(snapshot(1)));
            }
            assert!(waiting.poll(&mut cx).is_ready());
            catalog.first_answer().await;
            catalog.record_ddl();
            assert!(!catalog.is_awaited(), "those who log in do not wait for a change");
            assert!(catalog.take_use() && catalog.take_requests().changed && catalog.rest());
        }
    }

    #[test]
    fn what_rests_is_stale_until_the_fingerprint_is_found_to_be_the_same() {
        let (_newcomers, catalog) = catalog();
        assert!(catalog.take_answer(0, Fingerprint::of("a"), Some(snapshot(1))));
        let generation = catalog.generation();
        assert!(catalog.rest() && catalog.snapshot().is_none());
        assert!(catalog.take_answer(0, Fingerprint::of("a"), None));
        assert_eq!(catalog.generation(), generation);
        catalog.take_failure();
        assert!(catalog.snapshot().is_none() && catalog.generation() == 0);
    }

    #[test]
    fn ten_thousand_databases_take_little_memory() {
        let newcomers = Arc::<Newcomers>::default();
        let catalogs: Vec<_> =
            (0..10_000).map(|n| Catalog::new(&format!("database_{n}"), &newcomers)).collect();
        let read = snapshot(50);
        let mut total = 0;
        for catalog in &catalogs {
            catalog.record_use();
            assert!(catalog.take_answer(0, Fingerprint::of("a"), Some(read.clone())));
            let held = catalog.snapshot().expect("it was read");
            total += size_of_val(&**catalog) + held.size();
        }
        assert!(total < 10_000 * 4096, "{} bytes each", total / 10_000);
        drop(catalogs);
        let waiting = newcomers.waiting.lock();
        assert!(waiting.iter().all(|catalog| catalog.upgrade().is_none()));
    }
}
