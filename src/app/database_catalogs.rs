//! The catalogs of all databases, by the name that clients ask for.
//!
//! Owns which catalog belongs to which database, and which pools lead to it. A catalog lives as long as
//! a route of its database does: nothing here keeps one alive. Belongs to the control thread.

use crate::backend::login::Account;
use crate::catalog::{Catalog, Newcomers};
use crate::net::NodeAddress;
use crate::pool::PoolId;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// All catalogs.
#[derive(Debug, Default)]
pub(super) struct DatabaseCatalogs {
    entries: HashMap<String, Entry>,
    newcomers: Arc<Newcomers>,
}

#[derive(Debug)]
struct Entry {
    catalog: Weak<Catalog>,
    address: NodeAddress,
    dbname: Box<str>,
    pools: Vec<PoolId>,
}

impl DatabaseCatalogs {
    /// Where catalogs go that nobody looks after.
    pub(super) fn newcomers(&self) -> Arc<Newcomers> {
        Arc::clone(&self.newcomers)
    }

    /// The catalog of a database to which this pool leads. What is known of it is stale if the database is
    /// another one now, or elsewhere.
    pub(super) fn of(&mut self, database: &str, pool: PoolId, account: &Account) -> Arc<Catalog> {
        if let Some(entry) = self.entries.get_mut(database)
            && let Some(catalog) = entry.catalog.upgrade()
        {
            if entry.address != account.address || entry.dbname != account.dbname {
                catalog.record_ddl();
                entry.address = account.address.clone();
                entry.dbname = account.dbname.clone();
            }
            if !entry.pools.contains(&pool) {
                entry.pools.push(pool);
            }
            return catalog;
        }
        let catalog = Catalog::new(database, &self.newcomers);
        let entry = Entry {
            catalog: Arc::downgrade(&catalog),
            address: account.address.clone(),
            dbname: account.dbname.clone(),
            pools: vec![pool],
        };
        self.entries.insert(database.to_owned(), entry);
        catalog
    }

    /// The pools that lead to a database.
    pub(super) fn pools(&self, database: &str) -> &[PoolId] {
        self.entries.get(database).map_or(&[], |entry| &entry.pools)
    }

    /// Forgets what no route leads to.
    pub(super) fn prune(&mut self, is_kept: impl Fn(PoolId) -> bool) {
        self.entries.retain(|_, entry| {
            entry.pools.retain(|pool| is_kept(*pool));
            entry.catalog.strong_count() > 0
        });
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
