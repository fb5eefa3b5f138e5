//! What the console and the self-check ask of the routes, and what the self-check changes there.

use super::Routes;
use super::derived_options::session_options;
use super::reads::rules;
use crate::catalog::Catalog;
use crate::config::{Config, EffectiveOptions};
use crate::session::advice::Counted;
use crate::session::checks::Checks;
use crate::session::route::{Options, Route};
use std::sync::Arc;

impl Routes {
    /// How the sessions of a database behave that has these options.
    pub(in crate::app) fn session_options(
        &self,
        config: &Config,
        options: &EffectiveOptions,
        database: &str,
    ) -> Options {
        let mut session = session_options(config, options);
        let known = self.reads.rules(database);
        session.routing.rules =
            known.unwrap_or_else(|| Arc::new(rules(config, database, &options.nodes)));
        session
    }

    /// What the names of a database mean, if a route leads there.
    pub(in crate::app) fn catalog(&self, database: &str) -> Option<Arc<Catalog>> {
        self.catalogs.get(database)
    }

    /// Where reads wait that are to be compared.
    pub(in crate::app) fn checks(&self) -> Arc<Checks> {
        self.reads.checks()
    }

    /// Whether nobody gets a server of the database.
    pub(in crate::app) fn is_paused(&self, database: &str) -> bool {
        self.paused.all || self.paused.databases.contains(database)
    }

    /// The route of a database and a user.
    pub(in crate::app) fn route(&self, database: &str, user: &str) -> Option<Arc<Route>> {
        self.routes.get(&(database.to_owned(), user.to_owned())).cloned()
    }

    /// Keeps functions and relations of a database off its replicas until the next reload. False when there is
    /// no place for all of them.
    pub(in crate::app) fn distrust(&mut self, database: &str, names: &[Box<[u8]>]) -> bool {
        let Some((rules, has_room)) = self.reads.distrust(database, names) else { return false };
        let retired: Vec<_> = self.retired.iter().filter_map(|(_, one)| one.upgrade()).collect();
        let routes = self.routes.values().chain(&retired);
        for route in routes.filter(|route| *route.database == *database) {
            let mut options = Options::clone(&route.options().0);
            options.routing.rules = Arc::clone(&rules);
            route.set_options(Arc::new(options));
        }
        has_room
    }

    /// What is kept off the replicas of each database.
    pub(in crate::app) fn distrusted(&self) -> impl Iterator<Item = (&str, &[Box<[u8]>])> {
        self.reads.iter().map(|(database, one)| (database, &*one.rules.functions.distrusted))
    }

    /// Where the units of each database with several nodes went, by the database.
    pub(in crate::app) fn decisions(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.reads.iter().map(|(database, one)| (database, one.decisions.totals()))
    }

    /// What would go to replicas, by the database.
    pub(in crate::app) fn advice(&self) -> impl Iterator<Item = (&str, Counted)> {
        self.reads.iter().map(|(database, one)| (database, one.advice.counted()))
    }
}
