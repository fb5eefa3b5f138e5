//! From the configuration to pools: who logs in where, and how the sessions behave.

mod about_reads;
mod derived_options;
mod members;
mod node_pools;
mod reads;

use self::derived_options::{pool_options, session_options};
use self::reads::Reads;
use super::database_catalogs::DatabaseCatalogs;
use super::known_pools::{KnownPools, PoolView, PoolsByName};
use super::numbers::Numbers;
use super::probes::Probes;
use crate::auth::{Credential, MockKey, Password, ScramKeys, Secret, Users, Verifier};
use crate::backend::login::Account;
use crate::backend::reported_parameters::ReportedParameters;
use crate::backend::settings::Settings;
use crate::catalog::Newcomers;
use crate::cluster::shared::now;
use crate::config::{Config, EffectiveOptions};
use crate::metrics::{PoolTraffic, Totals};
use crate::net::{NodeAddress, NodeHost};
use crate::pool::{DatabaseId, NodeId, PoolId, PoolKey, UserId};
use crate::session::common::Common;
use crate::session::route::{NodePool, Options, Route, RouteNodes};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Routes that clients may make up at a time: each is one or two KiB.
const INVENTED_MAX: usize = 10_000;

/// Database and user.
type Names = (String, String);

/// All routes of the process. Belongs to the control thread.
#[derive(Debug)]
pub(super) struct Routes {
    common: Arc<Common>,
    neutral: Arc<Settings>,
    /// Who knows what the nodes are of databases that have several.
    probes: Option<Rc<Probes>>,
    databases: Numbers<String>,
    users: Numbers<String>,
    routes: HashMap<Names, Arc<Route>>,
    /// Those that the configuration does not name, and when each was last seen in use.
    invented: HashMap<Names, Instant>,
    /// How many of them there may be.
    invented_max: usize,
    accounts: HashMap<PoolId, Arc<Account>>,
    workers: u8,
    /// Databases of which nobody gets a server.
    paused: Paused,
    /// Databases that let nobody in.
    disabled: HashSet<String>,
    /// The verifier of each user whose secret is a password.
    verifiers: HashMap<Vec<u8>, KnownVerifier>,
    /// The pools that the console shows.
    known: KnownPools,
    /// What is said and counted of the reads of databases with several nodes.
    reads: Reads,
    /// What is known of each database, as long as a route leads to it.
    catalogs: DatabaseCatalogs,
    /// Routes that were replaced while sessions still use them.
    retired: Vec<(Names, Weak<Route>)>,
}

/// A verifier under what it was derived from; its salt follows from the user.
#[derive(Clone, Debug)]
struct KnownVerifier {
    secret: Secret,
    iterations: u32,
    verifier: Verifier,
}

/// Which databases are paused.
#[derive(Debug, Default)]
pub(super) struct Paused {
    /// All of them.
    pub all: bool,
    /// These, one by one.
    pub databases: HashSet<String>,
}

/// What a login needs to know of a database and user.
#[derive(Debug)]
pub(super) struct Destination {
    /// The route.
    pub route: Arc<Route>,
    /// What counts.
    pub options: EffectiveOptions,
    /// Its database, for the limits.
    pub database: DatabaseId,
    /// Its user, for the limits.
    pub user: UserId,
}

impl Routes {
    /// No routes yet.
    pub(super) fn new(common: Arc<Common>, workers: u8, probes: Option<Rc<Probes>>) -> Self {
        let neutral = common.settings.intern([]);
        Self {
            common,
            neutral,
            probes,
            databases: Numbers::default(),
            users: Numbers::default(),
            routes: HashMap::new(),
            invented: HashMap::new(),
            invented_max: INVENTED_MAX,
            accounts: HashMap::new(),
            workers,
            paused: Paused::default(),
            disabled: HashSet::new(),
            verifiers: HashMap::new(),
            known: KnownPools::default(),
            reads: Reads::default(),
            catalogs: DatabaseCatalogs::default(),
            retired: Vec::new(),
        }
    }

    /// Where catalogs go that nobody looks after.
    pub(super) fn newcomers(&self) -> Arc<Newcomers> {
        self.catalogs.newcomers()
    }

    /// A pool whose servers can be asked for the catalog of a database: rather one that is in use.
    pub(super) fn pool_for(&self, database: &str) -> Option<PoolId> {
        let pools = || self.catalogs.pools(database);
        let used = pools().find(|pool| !self.common.pools.is_unused(*pool));
        used.or_else(|| pools().next())
    }

    /// Who logs in to the servers of a pool.
    pub(super) fn account(&self, pool: PoolId) -> Option<Arc<Account>> {
        self.accounts.get(&pool).cloned()
    }

    /// The pools whose nodes are known by name.
    pub(super) fn pools_by_name(&self) -> PoolsByName {
        let mut pools = PoolsByName::new();
        for (pool, account) in &self.accounts {
            if let NodeHost::Name(name) = &account.address.host {
                pools.entry(name.clone()).or_default().push(*pool);
            }
        }
        pools
    }

    /// Every server of a node is replaced when it is free.
    pub(super) fn reconnect_node(&self, address: &NodeAddress) {
        for (pool, account) in &self.accounts {
            if account.address == *address {
                self.common.pools.reconnect(*pool);
            }
        }
    }

    /// The database of a pool, and the user that its servers are logged in as.
    pub(super) fn names(&self, pool: PoolId) -> Option<(&str, &str)> {
        self.known.names(pool)
    }

    /// Every pool that has clients or servers, or could have, by database and user.
    pub(super) fn pools(&self) -> Vec<PoolView> {
        self.known.views(|pool| self.accounts.contains_key(&pool))
    }

    /// The pools that the console shows.
    pub(super) fn known(&self) -> &KnownPools {
        &self.known
    }

    /// What this process counts of a pool.
    pub(super) fn traffic(&self, pool: PoolId) -> Option<&Arc<PoolTraffic>> {
        self.known.traffic(pool)
    }

    /// Which databases are paused.
    pub(super) fn paused(&self) -> &Paused {
        &self.paused
    }

    /// Whether a database lets nobody in.
    pub(super) fn is_disabled(&self, database: &str) -> bool {
        self.disabled.contains(database)
    }

    /// The database refuses logins from now on.
    pub(super) fn disable(&mut self, database: &str) {
        self.disabled.insert(database.to_owned());
    }

    /// Clients may log in to the database again.
    pub(super) fn enable(&mut self, database: &str) {
        self.disabled.remove(database);
    }

    /// Pauses one database, or all. False when that is so already.
    pub(super) fn pause(&mut self, database: Option<&str>) -> bool {
        let is_new = match database {
            Some(name) => !self.paused.all && self.paused.databases.insert(name.to_owned()),
            None => !std::mem::replace(&mut self.paused.all, true),
        };
        for pool in self.pools_of(database) {
            self.common.pools.pause(pool);
        }
        is_new
    }

    /// Ends the pause of one database, or that of all. False when there was none.
    pub(super) fn resume(&mut self, database: Option<&str>) -> bool {
        let was = match database {
            Some(name) => self.paused.databases.remove(name),
            None => std::mem::take(&mut self.paused.all),
        };
        for route in self.routes.values() {
            let paused = self.paused.all || self.paused.databases.contains(&*route.database);
            if !paused {
                route.pools().for_each(|pool| {
                    self.common.pools.resume(pool);
                });
            }
        }
        was
    }

    /// The pools of one database, or all; those too that newcomers do not use any more.
    pub(super) fn pools_of(&self, database: Option<&str>) -> HashSet<PoolId> {
        self.known.of(database).collect()
    }

    /// What all clients did since the start.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = self.known.gone();
        self.known.by_pool().for_each(|(_, one)| totals.merge(&one));
        totals
    }

    /// The verifier of a plain secret, derived once and off this thread.
    pub(super) async fn verifier(
        routes: &std::cell::RefCell<Self>,
        user: &[u8],
        secret: &Secret,
        terms: (&MockKey, u32),
    ) -> Option<Verifier> {
        let (salt, iterations) = (terms.0.salt(user), terms.1);
        let known = routes.borrow().verifiers.get(user).cloned();
        // A login that began before a reload has another secret than one that began behind it.
        let known = known.filter(|one| one.iterations == iterations && one.secret == *secret);
        if let Some(known) = known {
            return Some(known.verifier);
        }
        let (secret, asked) = (secret.clone(), secret.clone());
        let derive = move || asked.to_verifier(iterations, &salt);
        let verifier = tokio::task::spawn_blocking(derive).await.ok()??;
        let known = KnownVerifier { secret, iterations, verifier: verifier.clone() };
        routes.borrow_mut().verifiers.insert(user.to_vec(), known);
        Some(verifier)
    }

    /// Where a client goes that asks for this database as this user; `None` when no entry of the
    /// configuration answers for the database. `keys`: what the client's own login gave us.
    pub(super) fn find(
        &mut self,
        config: &Config,
        users: Option<&Users>,
        names: (&str, &str),
        keys: Option<ScramKeys>,
    ) -> Option<Destination> {
        let (database, user) = names;
        let options = config.effective(database, user)?;
        let database_id = DatabaseId(self.databases.of(database.to_owned()));
        let user_id = UserId(self.users.of(user.to_owned()));
        let key = (database.to_owned(), user.to_owned());
        let known = self.routes.get(&key).cloned();
        let route = match known {
            Some(route) => route,
            None => {
                let route = self.add(config, &options, names, database_id)?;
                if is_invented(config, users, names) {
                    self.invented.insert(key.clone(), Instant::now());
                }
                self.routes.insert(key, Arc::clone(&route));
                route
            }
        };
        // A client's own keys open the server only as the client itself.
        let keys = keys.filter(|_| options.server_user == user);
        for account in route.accounts() {
            let mut held = account.credential.lock();
            *held = credential(&options, users, keys.clone(), &held);
        }
        // In session mode a server is cleaned whatever was done.
        if !route.options().0.keep_one_server() {
            route.catalog.record_use();
        }
        Some(Destination { route, options, database: database_id, user: user_id })
    }

    /// Whether one more route may be found that has these names: when clients have made up too many,
    /// those that nobody uses have to go first.
    pub(super) fn has_room(
        &mut self,
        config: &Config,
        users: Option<&Users>,
        names: (&str, &str),
    ) -> bool {
        let is_full = self.invented.len() >= self.invented_max;
        if !is_full || !is_invented(config, users, names) {
            return true;
        }
        let key = (names.0.to_owned(), names.1.to_owned());
        if self.routes.contains_key(&key) {
            return true;
        }
        // A part of them, so that most newcomers find room without a search.
        let now = Instant::now();
        self.see_which_are_used(now);
        let idle = self.invented.iter().filter(|(_, since)| **since < now);
        let mut oldest: Vec<_> = idle.map(|(key, since)| (*since, key)).collect();
        oldest.sort_unstable();
        let unused = oldest.into_iter().map(|(_, key)| key).filter(|key| self.is_unused(key));
        let unused = unused.take(self.invented_max.div_ceil(4)).cloned().collect();
        self.forget(config, &unused);
        self.invented.len() < self.invented_max
    }

    /// Forgets the routes that clients have made up and nobody has used for
    /// `autodb_idle_timeout`; to be called about every second.
    pub(super) fn forget_unused(&mut self, config: &Config, now: Instant) {
        self.prune(config);
        let Some(limit) = config.timeouts.autodb_idle_timeout else { return };
        if self.invented.is_empty() {
            return;
        }
        self.see_which_are_used(now);
        let is_due = |since: &Instant| now.saturating_duration_since(*since) >= limit;
        let due = self.invented.iter().filter(|(_, since)| is_due(since)).map(|(key, _)| key);
        let unused: HashSet<Names> = due.filter(|key| self.is_unused(key)).cloned().collect();
        if !unused.is_empty() {
            tracing::info!("forgetting {} route(s): autodb_idle_timeout", unused.len());
            self.forget(config, &unused);
        }
    }

    /// Notes which of the routes that clients have made up have clients now.
    fn see_which_are_used(&mut self, now: Instant) {
        self.retired.retain(|(_, route)| route.strong_count() > 0);
        let retired: HashSet<&Names> = self.retired.iter().map(|(key, _)| key).collect();
        for (key, since) in &mut self.invented {
            // Only logins and sessions have one beside ours.
            let route = self.routes.get(key);
            if route.is_some_and(|route| Arc::strong_count(route) > 1) || retired.contains(key) {
                *since = now;
            }
        }
    }

    /// Whether the route, which no retired one stands for, has neither clients nor servers.
    fn is_unused(&self, key: &Names) -> bool {
        let Some(route) = self.routes.get(key) else { return true };
        let mut pools = route.pools();
        Arc::strong_count(route) == 1 && pools.all(|pool| self.common.pools.is_unused(pool))
    }

    /// Forgets these routes, and the pools and numbers that no other route needs.
    fn forget(&mut self, config: &Config, unused: &HashSet<Names>) {
        self.routes.retain(|key, _| !unused.contains(key));
        self.invented.retain(|key, _| !unused.contains(key));
        let retired: Vec<_> =
            self.retired.iter().filter_map(|(_, route)| route.upgrade()).collect();
        let routes = || self.routes.values().chain(&retired);
        let kept: HashSet<PoolId> = routes().flat_map(|route| route.pools()).collect();
        let pools = &self.common.pools;
        self.accounts.retain(|pool, _| {
            let stays = kept.contains(pool);
            if !stays {
                pools.remove(*pool);
            }
            stays
        });
        let databases: HashSet<&str> = routes().map(|route| &*route.database).collect();
        self.databases.retain(|name| databases.contains(name.as_str()));
        let clients = routes().map(|route| &*route.user);
        let servers = self.accounts.values().map(|account| &*account.user);
        let users: HashSet<&str> = clients.chain(servers).collect();
        self.users.retain(|name| users.contains(name.as_str()));
        drop(retired);
        self.prune(config);
    }

    /// Brings a changed configuration to bear on sessions and pools. Sessions keep the mode they
    /// logged in with, and are at a database's new address from their next transaction on; a
    /// database that is gone takes its sessions with it then, and so does a list of several nodes that is
    /// another one now. `reconnect`: every server is to be
    /// replaced when it is free.
    pub(super) fn reload(&mut self, config: &Config, users: Option<&Users>, reconnect: bool) {
        self.verifiers.clear();
        self.invented.clear();
        self.reads.renew(config);
        // One that comes back some day is as good as new.
        self.disabled.retain(|name| config.database(name).is_some());
        self.paused.databases.retain(|name| config.database(name).is_some());
        let known = std::mem::take(&mut self.routes);
        self.retired.extend(known.into_iter().map(|(key, route)| (key, Arc::downgrade(&route))));
        let mut kept = HashSet::new();
        for ((database, user), route) in std::mem::take(&mut self.retired) {
            let Some(found) = self.find(config, users, (&database, &user), None) else { continue };
            let fresh = found.route;
            kept.extend(fresh.pools());
            let Some(route) = route.upgrade() else { continue };
            if !route.has_nodes_of(&fresh) {
                route.end();
            }
            let (old, new) = (route.options().0, fresh.options().0);
            if old.mode != new.mode {
                // Statements are not kept alike in all modes.
                fresh.pools().for_each(|pool| {
                    self.common.pools.reconnect(pool);
                });
            }
            route.set_options(Arc::new(Options {
                mode: old.mode,
                max_prepared_statements: old.max_prepared_statements,
                max_packet_size: old.max_packet_size,
                ..(*new).clone()
            }));
            self.retired.push(((database, user), Arc::downgrade(&route)));
        }
        self.dismiss_sessions_of_ended_routes();
        self.warm(config, users);
        kept.extend(self.routes.values().flat_map(|route| route.pools()));
        let pools = &self.common.pools;
        self.accounts.retain(|pool, _| {
            let stays = kept.contains(pool);
            if !stays {
                pools.remove(*pool);
            } else if reconnect {
                pools.reconnect(*pool);
            }
            stays
        });
        self.prune(config);
    }

    /// Forgets pools that nobody uses or can come to use.
    fn prune(&mut self, config: &Config) {
        self.known.prune(
            &self.common.pools,
            |pool| self.accounts.contains_key(&pool),
            |database| config.databases.contains_key(database),
        );
        self.reads.prune();
        self.catalogs.prune(|pool| self.accounts.contains_key(&pool));
    }

    fn add(
        &mut self,
        config: &Config,
        options: &EffectiveOptions,
        names: (&str, &str),
        database: DatabaseId,
    ) -> Option<Arc<Route>> {
        let user = UserId(self.users.of(options.server_user.clone()));
        let mut pools = Vec::with_capacity(options.nodes.len());
        for (number, node) in (0u32..).zip(&options.nodes) {
            // A node is its place in the list, not its address: who is in the pool stays there when
            // the database moves.
            let key = PoolKey { database, node: NodeId(number), user };
            pools.push(self.add_pool(config, options, (names.0, key), &node.address));
        }
        let (first, traffic) = pools.first()?;
        let (pool, account, traffic) =
            (first.pool, Arc::clone(&first.account), Arc::clone(traffic));
        let cluster = self.probes.as_ref().filter(|_| pools.len() > 1);
        let cluster = cluster.map(|probes| probes.cluster(&options.nodes));
        let lead = pools.iter().map(|(node, _)| node.pool);
        let catalog = self.catalogs.of(names.0, lead, cluster.as_ref(), &account);
        let mut session = session_options(config, options);
        let writes = self.common.last_writes.of(&options.dbname, cluster.is_some(), now());
        let Some(cluster) = cluster else {
            let accounts = (account, catalog);
            let route = Route::new(names, (pool, traffic), accounts, Arc::new(session));
            return Some(Arc::new(route.sharing(writes)));
        };
        let threads = usize::from(self.workers) + 1;
        let reads = self.reads.of(config, names.0, &options.nodes, threads);
        session.routing.rules = Arc::clone(&reads.rules);
        let route = Route::new(names, (pool, traffic), (account, catalog), Arc::new(session));
        let route = route.sharing(writes);
        let pools = pools.into_iter().map(|(node, _)| node).collect();
        let (decisions, advice) = (Arc::clone(&reads.decisions), Arc::clone(&reads.advice));
        let checks = self.reads.checks();
        Some(Arc::new(route.over(RouteNodes { cluster, pools, decisions, advice, checks })))
    }

    /// A pool of one node, and what is counted of it.
    fn add_pool(
        &mut self,
        config: &Config,
        options: &EffectiveOptions,
        (database, key): (&str, PoolKey),
        address: &NodeAddress,
    ) -> (NodePool, Arc<PoolTraffic>) {
        let pool = self.common.pools.add(key, &pool_options(config, options));
        if self.paused.all || self.paused.databases.contains(database) {
            self.common.pools.pause(pool);
        }
        let account = self.account_of(pool, address.clone(), options);
        let threads = usize::from(self.workers) + 1;
        let traffic = self.known.traffic(pool).cloned();
        let traffic = traffic.unwrap_or_else(|| Arc::new(PoolTraffic::new(threads)));
        self.known.note(pool, database, options, &traffic);
        (NodePool { pool, account }, traffic)
    }

    /// Where and as whom servers of this pool log in from now on. Servers at another address, of
    /// another database or with another `connect_query` are replaced when they are free.
    fn account_of(
        &mut self,
        pool: PoolId,
        address: NodeAddress,
        options: &EffectiveOptions,
    ) -> Arc<Account> {
        let mut credential = Credential::None;
        if let Some(known) = self.accounts.get(&pool) {
            if known.address == address
                && *known.dbname == *options.dbname
                && known.connect_query.as_deref() == options.connect_query.as_deref()
            {
                return Arc::clone(known);
            }
            credential = known.credential.lock().clone();
            self.common.pools.reconnect(pool);
            known.replaced.notify_waiters();
        }
        let account = Arc::new(Account {
            address,
            user: options.server_user.as_str().into(),
            dbname: options.dbname.as_str().into(),
            credential: Mutex::new(credential),
            connect_query: options.connect_query.as_deref().map(Into::into),
            neutral: Arc::clone(&self.neutral),
            reported_parameters: ReportedParameters::default(),
            replaced: Notify::new(),
        });
        self.common.pools.set_origin(pool, &account.address, &account.dbname);
        self.accounts.insert(pool, Arc::clone(&account));
        account
    }
}

/// Whether the configuration names the pool: clients cannot make up any number of such pools.
pub(super) fn is_named(config: &Config, users: Option<&Users>, pool: &PoolView) -> bool {
    let has_user =
        pool.options.forced_user || !is_invented(config, users, (&pool.database, &pool.user));
    config.databases.contains_key(&pool.database) && has_user
}

/// Whether the configuration does not name both, the database and the user: whoever may log in may make
/// up any number of them.
fn is_invented(config: &Config, users: Option<&Users>, (database, user): (&str, &str)) -> bool {
    let is_user = config.users.contains_key(user)
        || users.is_some_and(|users| users.secret(user.as_bytes()).is_some());
    !is_user || !config.databases.contains_key(database)
}

/// What we log in to servers with: what the configuration says now. Behind a SCRAM verifier these are
/// the keys that a client's login has shown, as long as they are that verifier's.
fn credential(
    options: &EffectiveOptions,
    users: Option<&Users>,
    shown: Option<ScramKeys>,
    held: &Credential,
) -> Credential {
    if let Some(password) = &options.password {
        return Credential::Password(Password::new(password.expose().as_bytes()));
    }
    let secret = users.and_then(|users| users.secret(options.server_user.as_bytes()));
    let Some(secret) = secret else { return Credential::None };
    let Secret::Scram(verifier) = secret else { return Credential::from_secret(secret) };
    let held = match held {
        Credential::Keys(keys) => Some(keys.clone()),
        Credential::None | Credential::Password(_) | Credential::Md5(_) => None,
    };
    let is_its_own = |keys: &ScramKeys| keys.belong_to(verifier);
    let keys = shown.filter(is_its_own).or_else(|| held.filter(is_its_own));
    keys.map_or(Credential::None, Credential::Keys)
}

#[cfg(test)]
mod tests;
