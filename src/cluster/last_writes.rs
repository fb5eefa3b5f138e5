//! The last write to each database through this process, whoever has written: for the level `global`.
//!
//! Owns one moment for each name that a database has on its servers, whatever clients call it and
//! whichever nodes their entry names: who writes through one entry is seen by who reads through another.
//! One moment for all tables of a database, as a trigger, a rule or a foreign key may carry any write to
//! any of them. Raised and read without a lock. Nothing is counted for databases of one node, until
//! one of the same name has several; what was written before that moment counts as written then.

use super::moment::Moment;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The last write to one database through this process, whoever has written: what the level `global`
/// counts.
#[derive(Debug, Default)]
pub struct LastWrite {
    at: AtomicU64,
    /// Some database of this name has several nodes.
    is_watched: AtomicBool,
}

impl LastWrite {
    /// Writes are told from now on. Nobody has told those before.
    pub fn watch(&self, now: Moment) {
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            self.raise(now);
        }
    }

    /// Whether anybody wants to know.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// A write was acknowledged. To be told before its client is.
    pub fn raise(&self, acknowledged: Moment) {
        self.at.fetch_max(acknowledged.0, Ordering::SeqCst);
    }

    /// When the last one was.
    pub fn last(&self) -> Option<Moment> {
        Some(Moment(self.at.load(Ordering::SeqCst))).filter(|moment| moment.0 > 0)
    }
}

/// Those of all databases.
#[derive(Debug, Default)]
pub struct LastWrites(Mutex<HashMap<Box<str>, Arc<LastWrite>>>);

impl LastWrites {
    /// That of the database with this name on its servers; it is watched if it has several nodes.
    pub fn of(&self, dbname: &str, has_nodes: bool, now: Moment) -> Arc<LastWrite> {
        let mut known = self.0.lock();
        known.retain(|_, writes| Arc::strong_count(writes) > 1);
        let writes = Arc::clone(known.entry(dbname.into()).or_default());
        if has_nodes {
            writes.watch(now);
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_name_the_same_database_share_its_last_write() {
        let all = LastWrites::default();
        let one = all.of("app", false, Moment(10));
        assert!(!one.is_watched());
        let other = all.of("app", true, Moment(20));
        assert!(one.is_watched());
        assert_eq!(one.last(), Some(Moment(20)), "what was written before is not known");
        one.raise(Moment(30));
        one.raise(Moment(25));
        assert_eq!(all.of("app", true, Moment(40)).last(), Some(Moment(30)));
        assert_eq!(other.last(), Some(Moment(30)));
        assert_eq!(all.of("shop", false, Moment(50)).last(), None);
        assert_eq!(all.0.lock().len(), 2);
        drop((one, other));
        assert_eq!(all.of("app", true, Moment(60)).last(), Some(Moment(60)), "it was forgotten");
    }
}
