//! Prepared statements that many sessions and many servers share.
//!
//! Owns one text per distinct statement ([`StatementTable`]) and the list of those that one server
//! knows ([`Prepared`]). A server knows a statement by a name of ours; each session keeps its own
//! names. Two texts share a statement only if the text, the declared types and the settings under
//! which it was prepared are the same, because PostgreSQL reads literals such as dates when it
//! prepares, not when it executes.

use super::settings::Settings;
use crate::metrics::Cell;
use crate::wire::server::RowShape;
use hashbrown::hash_table::{Entry, HashTable};
use parking_lot::Mutex;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// What the statements that we prepare are called on servers.
pub const NAME_PREFIX: &str = "howdah_";

/// One statement, whoever uses it.
#[derive(Debug)]
pub struct Statement {
    /// Unique in this process.
    pub id: u64,
    /// Its name on servers.
    pub name: Box<[u8]>,
    /// Its text.
    pub sql: Box<[u8]>,
    /// Declared parameter types, as in Parse.
    pub types: Box<[u8]>,
    /// What running it may do to the session, decided once from the text; the caller's meaning.
    pub effects: u32,
    /// Raised when a server found its plan out of date: every server prepares it again.
    generation: AtomicU32,
    settings: Arc<Settings>,
    hash: u64,
    table: Weak<StatementTable>,
}

impl Statement {
    /// Raised by [`Statement::outdate`].
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// What servers have prepared of it no longer counts.
    pub fn outdate(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    fn is(&self, key: &Key<'_>) -> bool {
        *self.sql == *key.sql
            && *self.types == *key.types
            && Arc::ptr_eq(&self.settings, key.settings)
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            table.forget(self.hash, self.id);
        }
    }
}

/// What makes two statements the same.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The text.
    pub sql: &'a [u8],
    /// Declared parameter types, as in Parse.
    pub types: &'a [u8],
    /// The session's settings.
    pub settings: &'a Arc<Settings>,
}

/// All statements in use. One short lock, taken when a client sends Parse with a name.
#[derive(Debug, Default)]
pub struct StatementTable {
    known: Mutex<HashTable<(u64, u64, Weak<Statement>)>>,
    /// Clients choose the texts, so the seed is random.
    seed: foldhash::fast::RandomState,
    last: AtomicU64,
}

impl StatementTable {
    fn hash(&self, key: &Key<'_>) -> u64 {
        let mut hasher = self.seed.build_hasher();
        key.sql.hash(&mut hasher);
        key.types.hash(&mut hasher);
        hasher.write_usize(Arc::as_ptr(key.settings).addr());
        hasher.finish()
    }

    /// The shared statement; `effects` is asked for when the text is new.
    pub fn intern(self: &Arc<Self>, key: Key<'_>, effects: impl FnOnce() -> u32) -> Arc<Statement> {
        let hash = self.hash(&key);
        let mut known = self.known.lock();
        // A strong reference made while looking must not be dropped under the lock: dropping the
        // last one takes it again.
        let mut found = None;
        let mut losers = smallvec::SmallVec::<[Arc<Statement>; 2]>::new();
        let same = |(h, _, weak): &(u64, u64, Weak<Statement>)| {
            if *h != hash {
                return false;
            }
            let Some(candidate) = weak.upgrade() else { return false };
            let same = candidate.is(&key);
            if same {
                found = Some(candidate);
            } else {
                losers.push(candidate);
            }
            same
        };
        match known.entry(hash, same, |(h, _, _)| *h) {
            Entry::Occupied(_) => {}
            Entry::Vacant(vacant) => {
                let statement = self.statement(hash, &key, effects());
                vacant.insert((hash, statement.id, Arc::downgrade(&statement)));
                found = Some(statement);
            }
        }
        drop(known);
        drop(losers);
        found.unwrap_or_else(|| self.statement(hash, &key, 0))
    }

    fn statement(self: &Arc<Self>, hash: u64, key: &Key<'_>, effects: u32) -> Arc<Statement> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        Arc::new(Statement {
            id,
            name: format!("{NAME_PREFIX}{id}").into_bytes().into(),
            sql: key.sql.into(),
            types: key.types.into(),
            effects,
            generation: AtomicU32::new(0),
            settings: Arc::clone(key.settings),
            hash,
            table: Arc::downgrade(self),
        })
    }

    fn forget(&self, hash: u64, id: u64) {
        let mut known = self.known.lock();
        if let Ok(entry) = known.find_entry(hash, |(_, other, _)| *other == id) {
            entry.remove();
        }
    }

    /// Statements in use.
    pub fn len(&self) -> usize {
        self.known.lock().len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A statement as one server knows it.
#[derive(Debug)]
pub struct Known {
    /// The statement.
    pub statement: Arc<Statement>,
    /// What its rows look like there, once the server was asked.
    pub shape: Option<RowShape>,
    generation: u32,
    used: u64,
}

/// The statements that one server has prepared, least recently used first to go.
#[derive(Debug, Default)]
pub struct Prepared {
    known: hashbrown::HashMap<u64, Known, foldhash::fast::FixedState>,
    clock: u64,
    batch_began: u64,
    /// How many there are, for other threads.
    count: Arc<Cell>,
}

impl Prepared {
    /// A batch begins: what it uses stays until the next one begins.
    pub fn begin_batch(&mut self) {
        self.clock = self.clock.saturating_add(1);
        self.batch_began = self.clock;
    }

    /// The server's own record of the statement, if it is there and up to date; it counts as used.
    pub fn find(&mut self, statement: &Statement) -> Option<&mut Known> {
        let clock = self.clock;
        let known = self.known.get_mut(&statement.id)?;
        known.used = clock;
        (known.generation == statement.generation()).then_some(known)
    }

    /// The server said what the statement's rows look like there.
    pub fn set_shape(&mut self, id: u64, shape: Option<RowShape>) {
        if let Some(known) = self.known.get_mut(&id) {
            known.shape = shape;
        }
    }

    /// Whether the server knows it by name, up to date or not.
    pub fn has(&self, id: u64) -> bool {
        self.known.contains_key(&id)
    }

    /// The server is going to know it.
    pub fn insert(&mut self, statement: &Arc<Statement>) {
        let known = Known {
            statement: Arc::clone(statement),
            shape: None,
            generation: statement.generation(),
            used: self.clock,
        };
        self.known.insert(statement.id, known);
        self.tell();
    }

    /// Puts back what [`Prepared::remove`] took.
    pub fn restore(&mut self, known: Known) {
        self.known.insert(known.statement.id, known);
        self.tell();
    }

    /// The server no longer knows it.
    pub fn remove(&mut self, id: u64) -> Option<Known> {
        let removed = self.known.remove(&id);
        self.tell();
        removed
    }

    /// Takes the one to close when there are more than `max`: the least recently used one that
    /// the running batch does not use.
    pub fn evict(&mut self, max: usize) -> Option<Known> {
        if self.known.len() <= max {
            return None;
        }
        let oldest = self.known.values().min_by_key(|known| known.used)?;
        if oldest.used >= self.batch_began {
            return None;
        }
        let id = oldest.statement.id;
        self.remove(id)
    }

    /// The server dropped all of them.
    pub fn clear(&mut self) {
        self.known.clear();
        self.tell();
    }

    fn tell(&self) {
        self.count.set(self.known.len() as u64);
    }

    /// How many the server knows, for threads that do not have it.
    pub fn count(&self) -> Arc<Cell> {
        Arc::clone(&self.count)
    }

    /// How many the server knows.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::SettingsTable;
    use super::*;

    fn fixture() -> (Arc<StatementTable>, Arc<Settings>, Arc<Settings>) {
        let settings = SettingsTable::default();
        let none = settings.intern([]);
        let german = settings.intern([("datestyle".to_owned(), "German".to_owned())]);
        (Arc::new(StatementTable::default()), none, german)
    }

    fn intern(
        table: &Arc<StatementTable>,
        sql: &str,
        types: &[u8],
        set: &Arc<Settings>,
    ) -> Arc<Statement> {
        table.intern(Key { sql: sql.as_bytes(), types, settings: set }, || 0)
    }

    #[test]
    fn text_types_and_settings_make_a_statement() {
        let (table, none, german) = fixture();
        let a = intern(&table, "SELECT 1", &[0, 0], &none);
        assert!(Arc::ptr_eq(&a, &intern(&table, "SELECT 1", &[0, 0], &none)));
        assert_ne!(a.id, intern(&table, "SELECT 2", &[0, 0], &none).id);
        assert_ne!(a.id, intern(&table, "SELECT 1", &[0, 1, 0, 0, 0, 23], &none).id);
        assert_ne!(a.id, intern(&table, "SELECT 1", &[0, 0], &german).id);
    }

    #[test]
    fn a_statement_nobody_uses_is_forgotten() {
        let (table, none, _) = fixture();
        for n in 0..1000 {
            drop(intern(&table, &format!("SELECT {n}"), &[0, 0], &none));
        }
        assert!(table.is_empty());
    }

    #[test]
    fn eviction_spares_the_running_batch() {
        let (table, none, _) = fixture();
        let all: Vec<_> =
            (0..4).map(|n| intern(&table, &format!("SELECT {n}"), &[0, 0], &none)).collect();
        let mut prepared = Prepared::default();
        prepared.begin_batch();
        prepared.insert(&all[0]);
        prepared.begin_batch();
        prepared.insert(&all[1]);
        prepared.insert(&all[2]);
        assert_eq!(prepared.evict(2).unwrap().statement.id, all[0].id);
        prepared.insert(&all[3]);
        assert!(prepared.evict(2).is_none(), "the batch uses all that are left");
        prepared.begin_batch();
        assert!(prepared.evict(2).is_some());
        assert!(prepared.evict(2).is_none());
    }

    #[test]
    fn an_outdated_statement_has_to_be_prepared_again() {
        let (table, none, _) = fixture();
        let statement = intern(&table, "SELECT 1", &[0, 0], &none);
        let mut prepared = Prepared::default();
        prepared.insert(&statement);
        assert!(prepared.find(&statement).is_some());
        statement.outdate();
        assert!(prepared.find(&statement).is_none());
        assert!(prepared.has(statement.id));
    }
}
