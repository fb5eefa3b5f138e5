//! The pools that the console shows, from the first login to the last client and server.
//!
//! A reload may put another pool in the place of one; until its last client and its last server are
//! gone the old one is shown in the same row. Belongs to the control thread.

use crate::config::EffectiveOptions;
use crate::metrics::{PoolTraffic, Totals};
use crate::pool::{PoolId, Pools};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The pools of each name of a node.
pub(super) type PoolsByName = HashMap<String, Vec<PoolId>>;

/// A pool, or one and those that it took the place of, as the console shows it.
#[derive(Debug)]
pub(super) struct PoolView {
    /// The one that newcomers use; without one, any of them.
    pub pool: PoolId,
    /// All of them.
    pub pools: Vec<PoolId>,
    /// The database that its clients ask for.
    pub database: String,
    /// Who its servers are logged in as.
    pub user: String,
    /// What counts for it.
    pub options: EffectiveOptions,
    /// What its clients did.
    pub totals: Totals,
}

/// What is known of one pool.
#[derive(Debug)]
struct Known {
    database: String,
    options: EffectiveOptions,
    traffic: Arc<PoolTraffic>,
}

/// All pools that have clients or servers, or could have, and what was counted of others.
#[derive(Debug, Default)]
pub(super) struct KnownPools {
    pools: HashMap<PoolId, Box<Known>>,
    /// What was counted of pools that are gone, by database; of databases that the configuration
    /// names.
    gone: HashMap<String, Totals>,
    /// The same of all others together.
    others: Totals,
}

impl KnownPools {
    /// A route leads to this pool, which has these options from here on.
    pub(super) fn note(
        &mut self,
        pool: PoolId,
        database: &str,
        options: &EffectiveOptions,
        traffic: &Arc<PoolTraffic>,
    ) {
        let (database, options) = (database.to_owned(), options.clone());
        let known = Known { database, options, traffic: Arc::clone(traffic) };
        self.pools.insert(pool, Box::new(known));
    }

    /// What is counted of a pool.
    pub(super) fn traffic(&self, pool: PoolId) -> Option<&Arc<PoolTraffic>> {
        self.pools.get(&pool).map(|known| &known.traffic)
    }

    /// Forgets those that nobody can see any more, but for what was counted of them. `is_current`:
    /// newcomers may use it; `is_named`: the configuration has an entry for the database.
    pub(super) fn prune(
        &mut self,
        pools: &Pools,
        is_current: impl Fn(PoolId) -> bool,
        is_named: impl Fn(&str) -> bool,
    ) {
        let is_over = |pool: PoolId, known: &Known| {
            // A route that is in use has the traffic too.
            !is_current(pool) && Arc::strong_count(&known.traffic) == 1 && !pools.has_pool(pool)
        };
        for (_, known) in self.pools.extract_if(|pool, known| is_over(*pool, known)) {
            let name = known.database;
            self.gone.entry(name).or_default().merge(&known.traffic.totals());
        }
        for (_, totals) in self.gone.extract_if(|database, _| !is_named(database)) {
            self.others.merge(&totals);
        }
    }

    /// What the clients of each database did; of pools that are gone too.
    pub(super) fn by_database(&self) -> HashMap<String, Totals> {
        let mut totals = self.gone.clone();
        for known in self.pools.values() {
            let name = known.database.clone();
            totals.entry(name).or_default().merge(&known.traffic.totals());
        }
        totals
    }

    /// What the clients of each pool did.
    pub(super) fn by_pool(&self) -> impl Iterator<Item = (PoolId, Totals)> {
        self.pools.iter().map(|(pool, known)| (*pool, known.traffic.totals()))
    }

    /// What was counted of pools that are gone.
    pub(super) fn gone(&self) -> Totals {
        let mut totals = self.others.clone();
        self.gone.values().for_each(|one| totals.merge(one));
        totals
    }

    /// A row for each database and user of servers.
    pub(super) fn views(&self, is_current: impl Fn(PoolId) -> bool) -> Vec<PoolView> {
        let mut views = BTreeMap::<(String, String), PoolView>::new();
        for (pool, known) in &self.pools {
            let user = known.options.server_user.clone();
            let key = (known.database.clone(), user.clone());
            let totals = known.traffic.totals();
            let Some(view) = views.get_mut(&key) else {
                let (pool, pools, database) = (*pool, vec![*pool], known.database.clone());
                let options = known.options.clone();
                views.insert(key, PoolView { pool, pools, database, user, options, totals });
                continue;
            };
            view.pools.push(*pool);
            view.totals.merge(&totals);
            if is_current(*pool) {
                view.pool = *pool;
                view.options = known.options.clone();
            }
        }
        views.into_values().collect()
    }

    /// The database of a pool, and the user that its servers are logged in as.
    pub(super) fn names(&self, pool: PoolId) -> Option<(&str, &str)> {
        let known = self.pools.get(&pool)?;
        Some((&known.database, &known.options.server_user))
    }

    /// The pools of one database, or all: those too that newcomers do not use any more.
    pub(super) fn of(&self, database: Option<&str>) -> impl Iterator<Item = PoolId> {
        let is_its = move |known: &Known| database.is_none_or(|name| known.database == name);
        self.pools.iter().filter(move |(_, known)| is_its(known)).map(|(pool, _)| *pool)
    }
}
