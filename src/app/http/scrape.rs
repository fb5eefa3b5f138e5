//! `/metrics`: what is counted, in Prometheus' format.
//!
//! A pool has series of its own if the configuration names its database and its user. All others,
//! which clients may make up by the thousand, are one.

use crate::admin::{Exposition, Label, Measure};
use crate::app::known_pools::PoolView;
use crate::app::pooler::Pooler;
use crate::app::routes::is_named;
use crate::app::show::{Node, decisions, handles, nodes, snapshots};
use crate::metrics::{Distribution, Family, Reading, Registry, Totals};
use crate::pool::{PoolId, PoolSnapshot};
use crate::session::client_handle::ClientState;
use std::collections::HashMap;
use std::time::SystemTime;

/// What stands for the database and the user of pools that the configuration does not name.
const OTHERS: &str = "(others)";

/// One pool, or all that have no series of their own.
struct Series {
    database: String,
    user: String,
    size: Option<u64>,
    totals: Totals,
    clients_active: u64,
    clients_waiting: u64,
    servers_active: u64,
    servers_idle: u64,
    servers_login: u64,
    opened: u64,
    failed: u64,
    oldest_wait: u64,
    is_paused: bool,
}

impl Series {
    fn new(database: &str, user: &str) -> Self {
        Self {
            database: database.to_owned(),
            user: user.to_owned(),
            size: None,
            totals: Totals::default(),
            clients_active: 0,
            clients_waiting: 0,
            servers_active: 0,
            servers_idle: 0,
            servers_login: 0,
            opened: 0,
            failed: 0,
            oldest_wait: 0,
            is_paused: false,
        }
    }

    fn add<'a>(
        &mut self,
        view: &PoolView,
        counts: impl Iterator<Item = &'a PoolSnapshot>,
        clients: (u64, u64),
    ) {
        self.totals.merge(&view.totals);
        self.clients_active += clients.0;
        self.clients_waiting += clients.1;
        for counts in counts {
            self.servers_active += u64::from(counts.leased + counts.granted);
            self.servers_idle += u64::from(counts.idle);
            self.servers_login += u64::from(counts.opening);
            self.opened += counts.stats.openings;
            self.failed += counts.stats.failures;
            self.oldest_wait = self.oldest_wait.max(counts.oldest_wait);
            self.is_paused |= counts.paused;
        }
    }
}

/// Clients of each pool: those that do not wait, and those that do.
fn clients(pooler: &Pooler) -> HashMap<PoolId, (u64, u64)> {
    let mut clients = HashMap::<PoolId, (u64, u64)>::new();
    for handle in handles(pooler) {
        let Some(route) = &handle.info.route else { continue };
        let (active, waiting) = clients.entry(route.pool).or_default();
        *(if matches!(handle.state(), ClientState::Waiting) { waiting } else { active }) += 1;
    }
    clients
}

fn series(pooler: &Pooler) -> Vec<Series> {
    let (now, counts, clients) = (pooler.current(), snapshots(pooler), clients(pooler));
    let routes = pooler.routes.borrow();
    let mut all = Vec::new();
    let mut others = Series::new(OTHERS, OTHERS);
    others.totals.merge(&routes.known().gone());
    for view in routes.pools() {
        let here = |of: fn(&(u64, u64)) -> u64| -> u64 {
            view.pools.iter().filter_map(|pool| clients.get(pool)).map(of).sum()
        };
        let here = (here(|(active, _)| *active), here(|(_, waiting)| *waiting));
        let counts = view.pools.iter().filter_map(|pool| counts.get(pool));
        if is_named(&now.config, now.users.as_ref(), &view) {
            let mut one = Series::new(&view.database, &view.user);
            one.size = view.options.pool_size.map(|size| u64::from(size.get()));
            one.add(&view, counts, here);
            all.push(one);
        } else {
            others.add(&view, counts, here);
        }
    }
    all.push(others);
    all
}

/// A family with a whole number for each pool.
type Whole = (&'static str, Measure, &'static str, fn(&Series) -> u64);

const WHOLE: &[Whole] = &[
    (
        "howdah_server_assignments_total",
        Measure::Counter,
        "Times a client was given a server.",
        |one| one.totals.assignments,
    ),
    ("howdah_received_bytes_total", Measure::Counter, "Bytes received from clients.", |one| {
        one.totals.received
    }),
    ("howdah_sent_bytes_total", Measure::Counter, "Bytes sent to clients.", |one| one.totals.sent),
    (
        "howdah_client_parses_total",
        Measure::Counter,
        "Prepared statements that clients made, by name.",
        |one| one.totals.client_parses,
    ),
    (
        "howdah_server_parses_total",
        Measure::Counter,
        "Prepared statements that servers were given.",
        |one| one.totals.server_parses,
    ),
    (
        "howdah_binds_total",
        Measure::Counter,
        "Prepared statements that clients ran, by name.",
        |one| one.totals.binds,
    ),
    ("howdah_client_logins_total", Measure::Counter, "Logins of clients that succeeded.", |one| {
        one.totals.logins
    }),
    (
        "howdah_errors_total",
        Measure::Counter,
        "Errors of servers that clients were told of.",
        |one| one.totals.errors,
    ),
    (
        "howdah_server_openings_total",
        Measure::Counter,
        "Server connections that were begun.",
        |one| one.opened,
    ),
    (
        "howdah_server_opening_failures_total",
        Measure::Counter,
        "Server connections that could not be opened.",
        |one| one.failed,
    ),
    ("howdah_pool_paused", Measure::Gauge, "Whether the pool is paused: 1 or 0.", |one| {
        u64::from(one.is_paused)
    }),
];

/// A family with a distribution for each pool.
type Spread = (&'static str, &'static str, fn(&Series) -> &Distribution);

const SPREAD: &[Spread] = &[
    (
        "howdah_wait_duration_seconds",
        "How long clients waited for a server, at each transaction.",
        |one| &one.totals.wait,
    ),
    (
        "howdah_query_duration_seconds",
        "Statements and batches, from the first byte sent to a server to ReadyForQuery.",
        |one| &one.totals.query,
    ),
    (
        "howdah_transaction_duration_seconds",
        "Transactions, from the first byte sent to a server to the ReadyForQuery that ends them.",
        |one| &one.totals.transaction,
    ),
    (
        "howdah_server_connect_duration_seconds",
        "Openings of server connections that succeeded, with the login.",
        |one| &one.totals.connect,
    ),
];

fn pools(text: &mut Exposition, all: &[Series]) {
    fn labels(one: &Series) -> [Label<'_>; 2] {
        [("database", &one.database), ("user", &one.user)]
    }
    for (name, measure, help, value) in WHOLE {
        text.family(name, *measure, help);
        all.iter().for_each(|one| text.value(&labels(one), value(one)));
    }
    for (name, help, value) in SPREAD {
        text.family(name, Measure::Histogram, help);
        all.iter().for_each(|one| text.distribution(&labels(one), value(one)));
    }
    let mut states = |name, help, of: fn(&Series) -> Vec<(&'static str, u64)>| {
        text.family(name, Measure::Gauge, help);
        for one in all {
            for (state, count) in of(one) {
                let [database, user] = labels(one);
                text.value(&[database, user, ("state", state)], count);
            }
        }
    };
    states("howdah_pool_clients", "Clients of the pool: waiting for a server, or not.", |one| {
        vec![("active", one.clients_active), ("waiting", one.clients_waiting)]
    });
    states("howdah_pool_servers", "Server connections of the pool.", |one| {
        vec![
            ("active", one.servers_active),
            ("idle", one.servers_idle),
            ("login", one.servers_login),
        ]
    });
    let help = "How long the client that has waited longest has waited so far.";
    text.family("howdah_pool_oldest_wait_seconds", Measure::Gauge, help);
    all.iter().for_each(|one| text.duration(&labels(one), one.oldest_wait));
    let help = "Server connections that the pool may have; absent where there is no limit.";
    text.family("howdah_pool_size", Measure::Gauge, help);
    for one in all {
        if let Some(size) = one.size {
            text.value(&labels(one), size);
        }
    }
}

fn process(text: &mut Exposition, pooler: &Pooler) {
    let now = pooler.current();
    text.family("howdah_build_info", Measure::Gauge, "The version; always 1.");
    text.value(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let since = pooler.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let help = "When the process started, in seconds since 1970.";
    text.family("howdah_start_time_seconds", Measure::Gauge, help);
    text.duration(&[], u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    let logins = pooler.admission.lock().counts().logins;
    let paused = pooler.routes.borrow().paused().all;
    let gauges = [
        ("howdah_clients", "Clients of all databases.", handles(pooler).len() as u64),
        ("howdah_clients_in_login", "Clients whose login is in progress.", u64::from(logins)),
        (
            "howdah_clients_max",
            "Clients that are let in: max_client_conn.",
            u64::from(now.config.howdah.max_client_conn.get()),
        ),
        (
            "howdah_databases",
            "Databases that the configuration names.",
            now.config.databases.len() as u64,
        ),
        ("howdah_users", "Users that the configuration names.", now.config.users.len() as u64),
        ("howdah_pools", "Pools.", snapshots(pooler).len() as u64),
        ("howdah_paused", "Whether everything is paused: 1 or 0.", u64::from(paused)),
    ];
    for (name, help, value) in gauges {
        text.family(name, Measure::Gauge, help);
        text.value(&[], value);
    }
    let help = "What happened that an operator should know, as in SHOW EVENTS.";
    text.family("howdah_events_total", Measure::Counter, help);
    for (kind, count) in pooler.common.events.totals() {
        text.value(&[("kind", kind.as_str())], count);
    }
    let help = "Statements that made room for others in SHOW QUERIES.";
    text.family("howdah_queries_evicted_total", Measure::Counter, help);
    text.value(&[], pooler.common.queries.evicted());
    let help = "Lines of the log that were lost because standard error was too slow.";
    text.family("howdah_log_lines_lost_total", Measure::Counter, help);
    text.value(&[], pooler.logging.dropped_lines());
}

/// The nodes of databases that have several.
fn of_nodes(text: &mut Exposition, pooler: &Pooler) {
    let nodes = nodes(pooler);
    let mut family = |name, help, value: fn(&Node) -> Option<f64>| {
        text.family(name, Measure::Gauge, help);
        for node in &nodes {
            if let Some(value) = value(node) {
                text.number(&[("database", &node.databases), ("node", &node.name)], value);
            }
        }
    };
    family("howdah_node_up", "Whether the node is well: 1 or 0.", |node| {
        Some(f64::from(u8::from(node.state == "up" || node.state == "suspect")))
    });
    family("howdah_node_may_read", "Whether it serves reads: 1 or 0.", |node| {
        Some(f64::from(u8::from(node.view.may_read)))
    });
    family("howdah_node_lag_seconds", "How old what a replica shows is.", |node| {
        node.lag_time.map(|lag| lag.as_secs_f64())
    });
    #[expect(clippy::cast_precision_loss, reason = "every figure of Prometheus is a float")]
    family("howdah_node_lag_bytes", "Bytes of the log that a replica has not replayed.", |node| {
        node.lag_bytes.map(|lag| lag as f64)
    });
    family("howdah_node_outstanding", "Statements that it runs for us.", |node| {
        Some(f64::from(node.outstanding))
    });
    let help = "Reads that the node has got as a replica.";
    text.family("howdah_node_reads_total", Measure::Counter, help);
    for node in &nodes {
        text.value(&[("database", &node.databases), ("node", &node.name)], node.reads);
    }
    let help =
        "Where statements and batches of databases with several nodes went, as in SHOW ROUTES.";
    text.family("howdah_routed_total", Measure::Counter, help);
    for (database, decision, count) in decisions(pooler) {
        let (target, reason) = (decision.target(), decision.word());
        text.value(&[("database", &database), ("target", target), ("reason", reason)], count);
    }
    text.family("howdah_node_role", Measure::Gauge, "What the node counts as; always 1.");
    for node in &nodes {
        let labels = [("database", &*node.databases), ("node", &*node.name), ("role", node.role)];
        text.value(&labels, 1);
    }
}

/// What is counted in the registry.
fn registered(text: &mut Exposition, registry: &Registry) {
    for Family { name, help, samples } in registry.families() {
        for (at, (labels, reading)) in samples.iter().enumerate() {
            let labels: Vec<Label<'_>> = labels.iter().map(|(n, v)| (&**n, &**v)).collect();
            let measure = match reading {
                Reading::Counter(_) => Measure::Counter,
                Reading::Gauge(_) => Measure::Gauge,
                Reading::Histogram(_) => Measure::Histogram,
            };
            if at == 0 {
                text.family(&name, measure, &help);
            }
            match reading {
                Reading::Counter(value) => text.value(&labels, *value),
                Reading::Gauge(value) => text.number(&labels, *value),
                Reading::Histogram(all) => text.distribution(&labels, all),
            }
        }
    }
}

/// All of it.
///
/// # Errors
/// When it cannot be written.
pub(super) fn metrics(pooler: &Pooler) -> prometheus::Result<String> {
    let mut text = Exposition::default();
    process(&mut text, pooler);
    pools(&mut text, &series(pooler));
    of_nodes(&mut text, pooler);
    registered(&mut text, &pooler.registry);
    text.finish()
}
