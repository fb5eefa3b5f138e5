//! Prepared statements that many sessions and many servers share.
//!
//! Owns one text for each distinct statement ([`StatementTable`]) and the list of those that one
//! server knows ([`Prepared`]). A server knows a statement by a name of ours; each session keeps its
//! own names. Two texts share a statement only if the text, the declared types, the rules by which
//! the text is read and the settings under which it was prepared are the same, because PostgreSQL
//! reads literals such as dates when it prepares, not when it executes.

use super::settings::Settings;
use crate::metrics::Cell;
use crate::sql::ReadUnder;
use crate::wire::server::RowShape;
use hashbrown::hash_table::{Entry, HashTable};
use parking_lot::Mutex;
use slab::Slab;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

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
    /// The types in SQL, with their parentheses, if PREPARE has declared them.
    pub sql_types: Option<Box<[u8]>>,
    /// Its text is too long to be kept: it is on one server only.
    pub is_long: bool,
    /// What running it may do to the session, decided once from the text; the caller's meaning.
    pub effects: u32,
    /// The parameter types that a server has found, as in Parse. Other servers are told these, so
    /// that a client's parameters mean the same there.
    parameters: OnceLock<Box<[u8]>>,
    read_under: Option<ReadUnder>,
    settings: Arc<Settings>,
    hash: u64,
    table: Weak<StatementTable>,
}

impl Statement {
    /// The parameter types that a server has found, once it was asked.
    pub fn parameters(&self) -> Option<&[u8]> {
        self.parameters.get().map(|types| &**types)
    }

    /// A server has found these parameter types. False when another had found others: the
    /// statement means something else now.
    pub fn learn_parameters(&self, types: &[u8]) -> bool {
        **self.parameters.get_or_init(|| types.into()) == *types
    }

    /// The parameter types with which it is to be prepared.
    pub fn known_types(&self) -> &[u8] {
        self.parameters().unwrap_or(&self.types)
    }

    /// How its text was read, if that is known.
    pub fn read_under(&self) -> Option<ReadUnder> {
        self.read_under
    }

    fn is(&self, key: &Key<'_>) -> bool {
        *self.sql == *key.sql
            && *self.types == *key.types
            && self.read_under == key.read_under
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
    /// How the server read it; `None` when that is not known.
    pub read_under: Option<ReadUnder>,
    /// The session's settings.
    pub settings: &'a Arc<Settings>,
}

/// How a statement is made.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    /// By a Parse.
    Parse,
    /// By PREPARE, which has declared these types.
    Prepare(&'a [u8]),
    /// By a Parse that passes by length.
    Long,
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
                let statement = self.statement(hash, &key, Form::Parse, effects());
                vacant.insert((hash, statement.id, Arc::downgrade(&statement)));
                found = Some(statement);
            }
        }
        drop(known);
        drop(losers);
        found.unwrap_or_else(|| self.statement(hash, &key, Form::Parse, 0))
    }

    /// A statement that nobody else gets, whatever they prepare. `sql_types`: the types that
    /// PREPARE has declared.
    pub fn private(
        self: &Arc<Self>,
        key: Key<'_>,
        sql_types: Option<&[u8]>,
        effects: u32,
    ) -> Arc<Statement> {
        let form = sql_types.map_or(Form::Parse, Form::Prepare);
        self.statement(0, &key, form, effects)
    }

    /// A statement whose text is too long to be kept.
    pub fn long(self: &Arc<Self>, settings: &Arc<Settings>, effects: u32) -> Arc<Statement> {
        let key = Key { sql: b"", types: &[0, 0], read_under: None, settings };
        self.statement(0, &key, Form::Long, effects)
    }

    /// From now on nobody else gets this statement: what it means has changed.
    pub fn retire(&self, statement: &Statement) {
        self.forget(statement.hash, statement.id);
    }

    fn statement(
        self: &Arc<Self>,
        hash: u64,
        key: &Key<'_>,
        form: Form<'_>,
        effects: u32,
    ) -> Arc<Statement> {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        Arc::new(Statement {
            id,
            name: format!("{NAME_PREFIX}{id}").into_bytes().into(),
            sql: key.sql.into(),
            types: key.types.into(),
            sql_types: if let Form::Prepare(types) = form { Some(types.into()) } else { None },
            is_long: matches!(form, Form::Long),
            effects,
            parameters: OnceLock::new(),
            read_under: key.read_under,
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

    /// Statements in use by all who prepare the same.
    pub fn len(&self) -> usize {
        self.known.lock().len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes of a text that is kept as long as a server knows it.
const KEPT_MAX: usize = 64 * 1024;

/// A statement as one server knows it.
#[derive(Debug)]
pub struct Known {
    /// Which statement.
    id: u64,
    /// Its name on the server.
    pub name: Box<[u8]>,
    /// Keeps it for those who prepare the same later, unless it is very long.
    _statement: Option<Arc<Statement>>,
    /// What its rows look like there, once the server was asked.
    pub shape: Option<RowShape>,
    /// Nobody can tell whether the server still has it: it is closed before it is prepared again.
    is_doubtful: bool,
    /// It cannot be prepared again.
    is_long: bool,
}

/// A place in the order of use; both ends refer to nothing.
#[derive(Debug)]
struct Place {
    known: Known,
    newer: Option<usize>,
    older: Option<usize>,
}

/// The statements that one server has prepared, in the order of their last use.
#[derive(Debug, Default)]
pub struct Prepared {
    places: Slab<Place>,
    by_id: hashbrown::HashMap<u64, usize, foldhash::fast::FixedState>,
    newest: Option<usize>,
    oldest: Option<usize>,
    /// How many there are, for other threads.
    count: Arc<Cell>,
}

impl Prepared {
    /// The server's own record of the statement, if it certainly is there; it counts as used.
    pub fn find(&mut self, id: u64) -> Option<&mut Known> {
        let at = *self.by_id.get(&id)?;
        if self.newest != Some(at) {
            self.unlink(at);
            self.link_newest(at);
        }
        self.places.get_mut(at).map(|place| &mut place.known).filter(|known| !known.is_doubtful)
    }

    /// The server said what the statement's rows look like there.
    pub fn set_shape(&mut self, id: u64, shape: Option<RowShape>) {
        let at = self.by_id.get(&id);
        if let Some(place) = at.and_then(|at| self.places.get_mut(*at)) {
            place.known.shape = shape;
        }
    }

    /// Whether the server may know it by its name.
    pub fn has(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The server is going to know it.
    pub fn insert(&mut self, statement: &Arc<Statement>) {
        let kept = (statement.sql.len() <= KEPT_MAX).then(|| Arc::clone(statement));
        self.restore(Known {
            id: statement.id,
            name: statement.name.clone(),
            _statement: kept,
            shape: None,
            is_doubtful: false,
            is_long: statement.is_long,
        });
    }

    /// Puts back what [`Prepared::remove`] took, as the one used last.
    pub fn restore(&mut self, known: Known) {
        let id = known.id;
        self.remove(id);
        let at = self.places.insert(Place { known, newer: None, older: None });
        self.by_id.insert(id, at);
        self.link_newest(at);
        self.publish_count();
    }

    /// The server no longer knows it.
    pub fn remove(&mut self, id: u64) -> Option<Known> {
        let at = self.by_id.remove(&id)?;
        self.unlink(at);
        let place = self.places.try_remove(at);
        self.publish_count();
        place.map(|place| place.known)
    }

    /// Takes the one to close when there are more than `max`: the one whose last use is longest
    /// ago.
    pub fn evict(&mut self, max: usize) -> Option<Known> {
        if self.by_id.len() <= max.max(1) {
            return None;
        }
        // Those that cannot be prepared again stay: they are few, and their session is here.
        for _ in 0..self.by_id.len() {
            let at = self.oldest?;
            let known = &self.places.get(at)?.known;
            if !known.is_long {
                let id = known.id;
                return self.remove(id);
            }
            self.unlink(at);
            self.link_newest(at);
        }
        None
    }

    /// The server dropped all of them; gives what it knew.
    pub fn take_all(&mut self) -> Vec<Known> {
        let all = std::mem::take(&mut self.places);
        self.by_id.clear();
        (self.newest, self.oldest) = (None, None);
        self.publish_count();
        all.into_iter().map(|(_, place)| place.known).collect()
    }

    /// The server dropped all of them.
    pub fn clear(&mut self) {
        drop(self.take_all());
    }

    /// Nobody can tell which of them the server still has.
    pub fn doubt_all(&mut self) {
        self.places.iter_mut().for_each(|(_, place)| place.known.is_doubtful = true);
    }

    /// Nobody can tell whether the server still has this one.
    pub fn doubt(&mut self, id: u64) {
        let at = self.by_id.get(&id);
        if let Some(place) = at.and_then(|at| self.places.get_mut(*at)) {
            place.known.is_doubtful = true;
        }
    }

    fn link_newest(&mut self, at: usize) {
        let before = self.newest.replace(at);
        if let Some(place) = self.places.get_mut(at) {
            (place.newer, place.older) = (None, before);
        }
        match before.and_then(|before| self.places.get_mut(before)) {
            Some(before) => before.newer = Some(at),
            None => self.oldest = Some(at),
        }
    }

    fn unlink(&mut self, at: usize) {
        let Some(place) = self.places.get(at) else { return };
        let (newer, older) = (place.newer, place.older);
        match newer.and_then(|newer| self.places.get_mut(newer)) {
            Some(newer) => newer.older = older,
            None => self.newest = older,
        }
        match older.and_then(|older| self.places.get_mut(older)) {
            Some(older) => older.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn publish_count(&self) {
        self.count.set(self.by_id.len() as u64);
    }

    /// How many the server knows, for threads that do not have it.
    pub fn count(&self) -> Arc<Cell> {
        Arc::clone(&self.count)
    }

    /// How many the server knows.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::SettingsTable;
    use super::*;
    use crate::sql::Rules;

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
        let read_under = Some(ReadUnder::STANDARD);
        table.intern(Key { sql: sql.as_bytes(), types, read_under, settings: set }, || 0)
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
    fn rules_make_a_statement_and_private_ones_are_nobody_elses() {
        let (table, none, _) = fixture();
        let key =
            |read_under| Key { sql: b"SELECT 1", types: &[0, 0], read_under, settings: &none };
        let standard = ReadUnder::STANDARD;
        let known = table.intern(key(Some(standard)), || 0);
        let backslashes =
            table.intern(key(Some(ReadUnder { rules: Rules::safe(false), ..standard })), || 0);
        let unknown = table.intern(key(None), || 0);
        let private = table.private(key(Some(standard)), None, 0);
        let all = [&known, &backslashes, &unknown, &private].map(|statement| statement.id);
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        table.retire(&known);
        assert_ne!(table.intern(key(Some(standard)), || 0).id, known.id);
    }

    #[test]
    fn found_parameter_types_are_kept_and_others_are_noticed() {
        let (table, none, _) = fixture();
        let statement = intern(&table, "SELECT $1", &[0, 0], &none);
        assert_eq!(statement.known_types(), [0, 0]);
        assert!(statement.learn_parameters(&[0, 1, 0, 0, 0, 23]));
        assert!(statement.learn_parameters(&[0, 1, 0, 0, 0, 23]));
        assert!(!statement.learn_parameters(&[0, 1, 0, 0, 0, 25]));
        assert_eq!(statement.known_types(), [0, 1, 0, 0, 0, 23]);
    }

    #[test]
    fn the_statement_that_was_used_longest_ago_is_evicted() {
        let (table, none, _) = fixture();
        let all: Vec<_> =
            (0..4).map(|n| intern(&table, &format!("SELECT {n}"), &[0, 0], &none)).collect();
        let mut prepared = Prepared::default();
        all.iter().for_each(|statement| prepared.insert(statement));
        assert!(prepared.find(all[0].id).is_some());
        assert_eq!(prepared.evict(3).unwrap().id, all[1].id);
        assert!(prepared.evict(3).is_none());
        assert!(prepared.find(all[2].id).is_some());
        assert_eq!(prepared.evict(0).unwrap().id, all[3].id);
        assert_eq!(prepared.evict(0).unwrap().id, all[0].id);
        assert!(prepared.evict(0).is_none(), "the last one is in use");
        assert_eq!(prepared.take_all().len(), 1);
        assert!(prepared.is_empty());
    }

    #[test]
    fn a_doubtful_statement_has_to_be_prepared_again() {
        let (table, none, _) = fixture();
        let statement = intern(&table, "SELECT 1", &[0, 0], &none);
        let mut prepared = Prepared::default();
        prepared.insert(&statement);
        assert!(prepared.find(statement.id).is_some());
        prepared.doubt_all();
        assert!(prepared.find(statement.id).is_none());
        assert!(prepared.has(statement.id));
        prepared.insert(&statement);
        assert!(prepared.find(statement.id).is_some());
    }

    proptest::proptest! {
        /// The order of use is that of a list, and nothing is lost.
        #[test]
        fn the_order_of_use_is_kept(steps in proptest::collection::vec((0usize..8, 0u8..4), 0..60)) {
            let (table, none, _) = fixture();
            let all: Vec<_> =
                (0..8).map(|n| intern(&table, &format!("SELECT {n}"), &[0, 0], &none)).collect();
            let (mut prepared, mut model) = (Prepared::default(), Vec::<usize>::new());
            for (n, step) in steps {
                let was_there = model.contains(&n);
                match step {
                    0 | 1 => {
                        prepared.insert(&all[n]);
                        model.retain(|other| *other != n);
                        model.push(n);
                    }
                    2 => {
                        proptest::prop_assert_eq!(prepared.find(all[n].id).is_some(), was_there);
                        if was_there {
                            model.retain(|other| *other != n);
                            model.push(n);
                        }
                    }
                    _ => {
                        proptest::prop_assert_eq!(prepared.remove(all[n].id).is_some(), was_there);
                        model.retain(|other| *other != n);
                    }
                }
                proptest::prop_assert_eq!(prepared.len(), model.len());
            }
            while model.len() > 1 {
                let evicted = prepared.evict(model.len() - 1).unwrap().id;
                proptest::prop_assert_eq!(evicted, all[model.remove(0)].id);
            }
        }
    }
}
