//! The catalogs of all databases, by the name that clients ask for.
//!
//! Owns which catalog belongs to which database, and which pools lead to it. A catalog lives as long as
//! a route of its database does: nothing here keeps one alive. Belongs to the control thread.

use crate::backend::login::Account;
use crate::catalog::{Catalog, Newcomers};
use crate::cluster::shared::Cluster;
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
    /// What its nodes are, if there are several.
    cluster: Option<Arc<Cluster>>,
    leads: Vec<Lead>,
}

/// The pools of one user, each at its node's place.
type Lead = Box<[PoolId]>;

impl Entry {
    /// The place of the primary among the nodes.
    fn primary(&self) -> Option<usize> {
        let Some(cluster) = &self.cluster else { return Some(0) };
        usize::try_from(cluster.view().primary?.0).ok()
    }
}

impl DatabaseCatalogs {
    /// Where catalogs go that nobody looks after.
    pub(super) fn newcomers(&self) -> Arc<Newcomers> {
        Arc::clone(&self.newcomers)
    }

    /// The catalog of a database to which these pools lead, one for each of its nodes; several have a
    /// cluster. What is known of it is stale if the database is another one now, or elsewhere.
    pub(super) fn of(
        &mut self,
        database: &str,
        lead: impl IntoIterator<Item = PoolId>,
        cluster: Option<&Arc<Cluster>>,
        account: &Account,
    ) -> Arc<Catalog> {
        let lead: Lead = lead.into_iter().collect();
        if let Some(entry) = self.entries.get_mut(database)
            && let Some(catalog) = entry.catalog.upgrade()
        {
            if entry.address != account.address || entry.dbname != account.dbname {
                catalog.record_ddl();
                entry.address = account.address.clone();
                entry.dbname = account.dbname.clone();
            }
            entry.cluster = cluster.cloned();
            if !entry.leads.contains(&lead) {
                entry.leads.push(lead);
            }
            return catalog;
        }
        let catalog = Catalog::new(database, &self.newcomers);
        let entry = Entry {
            catalog: Arc::downgrade(&catalog),
            address: account.address.clone(),
            dbname: account.dbname.clone(),
            cluster: cluster.cloned(),
            leads: vec![lead],
        };
        self.entries.insert(database.to_owned(), entry);
        catalog
    }

    /// The pools that lead to the primary of a database; none while it is not known who that is. A replica
    /// may not have what the primary has.
    pub(super) fn pools(&self, database: &str) -> impl Iterator<Item = PoolId> {
        let entry = self.entries.get(database);
        let primary = entry.and_then(Entry::primary);
        let leads = entry.map_or(&[][..], |entry| &entry.leads);
        leads.iter().filter_map(move |lead| lead.get(primary?).copied())
    }

    /// The catalog of a database, if a route leads to it.
    pub(super) fn get(&self, database: &str) -> Option<Arc<Catalog>> {
        self.entries.get(database)?.catalog.upgrade()
    }

    /// Forgets what no route leads to.
    pub(super) fn prune(&mut self, is_kept: impl Fn(PoolId) -> bool) {
        self.entries.retain(|_, entry| {
            entry.leads.retain(|lead| lead.iter().all(|pool| is_kept(*pool)));
            entry.catalog.strong_count() > 0
        });
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
