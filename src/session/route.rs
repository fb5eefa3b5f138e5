//! What the sessions of one database and user share.

use super::advice::Advice;
use super::checks::Checks;
use super::read_rules::ReadRules;
use crate::backend::login::Account;
use crate::catalog::Catalog;
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::last_writes::LastWrite;
use crate::cluster::policy::RouteReads;
use crate::cluster::shared::Cluster;
use crate::metrics::{KindCounts, PoolTraffic};
use crate::pool::PoolId;
use crate::word::word_enum;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

word_enum! {
    /// When a server goes back to its pool.
    pub Mode {
        /// When the client leaves.
        Session = "session",
        /// When the transaction ends.
        Transaction = "transaction",
        /// When the statement ends; transactions of several statements are refused.
        Statement = "statement",
    }
}

word_enum! {
    /// What happens to session state that cannot be replayed, in transaction and statement mode.
    pub StatePolicy {
        /// The client keeps its server while the cause lasts.
        Pin = "pin",
        /// The statement is refused.
        Error = "error",
        /// Nothing: the state is lost with the server, as in PgBouncer.
        Ignore = "ignore",
    }
}

/// How sessions behave. A session reads its copy at the beginning of each transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// When a server goes back.
    pub mode: Mode,
    /// What session state that cannot be replayed does.
    pub state_policy: StatePolicy,
    /// Statements that a server may keep for us.
    pub max_prepared_statements: usize,
    /// Longest message of a client.
    pub max_packet_size: usize,
    /// Run when a session-mode client leaves.
    pub server_reset_query: Option<Box<str>>,
    /// Run on a server that was idle for `server_check_delay`; empty is an empty query.
    pub server_check_query: Option<Box<str>>,
    /// See above.
    pub server_check_delay: Duration,
    /// Longest wait for a server.
    pub query_wait_timeout: Option<Duration>,
    /// Longest statement.
    pub query_timeout: Option<Duration>,
    /// Longest transaction.
    pub transaction_timeout: Option<Duration>,
    /// Longest silence in a transaction.
    pub idle_transaction_timeout: Option<Duration>,
    /// Longest silence outside.
    pub client_idle_timeout: Option<Duration>,
    /// Longest time that a statement of a client that is gone may still run, if it may write.
    pub abandoned_query_timeout: Option<Duration>,
    /// Longest clean-up of a server whose client left.
    pub cancel_wait_timeout: Option<Duration>,
    /// Whether errors of our own are logged.
    pub log_pooler_errors: bool,
    /// Statements that take so long are logged.
    pub log_min_duration: Option<Duration>,
    /// Whether disconnections are logged.
    pub log_disconnections: bool,
    /// How reads are routed, where there are several nodes.
    pub routing: RoutingOptions,
}

impl Options {
    /// Whether a session that begins now has one server for as long as its client is there, and knows
    /// nothing of what is done there.
    pub fn keep_one_server(&self) -> bool {
        self.mode == Mode::Session && !self.routing.is_on()
    }
}

/// How the reads of a session are routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingOptions {
    /// Whether they may go to replicas.
    pub route: RouteReads,
    /// What share of those that may go there does, of a hundred.
    pub percent: u8,
    /// What share of those is compared with the primary, in millionths.
    pub verify: u32,
    /// What they have to show.
    pub consistency: Level,
    /// The oldest state that they may show.
    pub max_lag: Option<Duration>,
    /// What happens to a read for which no replica is eligible.
    pub no_replica: Fallback,
    /// Longest wait of a read for a replica.
    pub replica_wait: Duration,
    /// Which texts are reads, and whose reads go elsewhere: the same of all routes of the database.
    pub rules: Arc<ReadRules>,
    /// Longest wait of a statement while there is no primary.
    pub primary_wait: Option<Duration>,
}

impl RoutingOptions {
    /// Whether texts are looked at.
    pub fn is_on(&self) -> bool {
        self.route != RouteReads::Off
    }
}

impl Default for RoutingOptions {
    fn default() -> Self {
        Self {
            route: RouteReads::Off,
            percent: 100,
            verify: 0,
            consistency: Level::Session,
            max_lag: None,
            no_replica: Fallback::Primary,
            replica_wait: Duration::ZERO,
            rules: Arc::default(),
            primary_wait: None,
        }
    }
}

/// Statements that move a sequence, after which nobody is expected to ask what it gave.
const UNREAD_MOVES: u32 = 10_000;

/// Whether the clients of a route ask for what `nextval` gave them (`currval`, `lastval`).
///
/// PostgreSQL remembers that by connection, for all clients that have used it. Where it is asked for, a
/// server forgets what others have done before a client moves a sequence there. That costs a statement,
/// so it is given up where many sequences were moved and nobody has asked.
#[derive(Debug, Default)]
pub struct SequenceUse {
    was_read: AtomicBool,
    moves: AtomicU32,
}

impl SequenceUse {
    /// A text is sent that may do this.
    pub(super) fn count(&self, reads: bool, moves: bool) {
        if reads {
            self.was_read.store(true, Ordering::Relaxed);
        } else if moves && self.moves.load(Ordering::Relaxed) < UNREAD_MOVES {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a server has to forget what others have done.
    pub(super) fn must_be_exact(&self) -> bool {
        self.was_read.load(Ordering::Relaxed) || self.moves.load(Ordering::Relaxed) < UNREAD_MOVES
    }
}

/// One node of a route whose database has several.
#[derive(Debug)]
pub struct NodePool {
    /// Its pool of the route's database and server user.
    pub pool: PoolId,
    /// Where and as whom servers of it log in.
    pub account: Arc<Account>,
}

/// The nodes of a route whose database has several.
#[derive(Debug)]
pub struct RouteNodes {
    /// What they are.
    pub cluster: Arc<Cluster>,
    /// Each at its number's place.
    pub pools: Box<[NodePool]>,
    /// How often each [`Decision`](super::decision::Decision) was taken in this database.
    pub decisions: Arc<KindCounts>,
    /// What would go to replicas, where the route is `advise`.
    pub advice: Arc<Advice>,
    /// Reads that are to be compared: of all databases.
    pub checks: Arc<Checks>,
}

/// One database and user.
#[derive(Debug)]
pub struct Route {
    /// The name that clients ask for.
    pub database: Box<str>,
    /// The user that clients log in as.
    pub user: Box<str>,
    /// Its pool.
    pub pool: PoolId,
    /// Where and as whom its servers log in.
    pub account: Arc<Account>,
    /// What is counted of its pool.
    pub traffic: Arc<PoolTraffic>,
    /// Whether its clients ask what `nextval` gave them.
    pub sequences: SequenceUse,
    /// What the database's names mean.
    pub catalog: Arc<Catalog>,
    /// The last write to the database.
    pub writes: Arc<LastWrite>,
    /// Its nodes, if there are several; `pool` and `account` are then those of the first.
    pub nodes: Option<RouteNodes>,
    options: ArcSwap<Options>,
    /// How often `options` was replaced.
    version: AtomicU32,
    is_over: AtomicBool,
}

impl Route {
    /// Of a database and a user.
    pub fn new(
        names: (&str, &str),
        pool: (PoolId, Arc<PoolTraffic>),
        (account, catalog): (Arc<Account>, Arc<Catalog>),
        options: Arc<Options>,
    ) -> Self {
        Self {
            database: names.0.into(),
            user: names.1.into(),
            pool: pool.0,
            traffic: pool.1,
            account,
            sequences: SequenceUse::default(),
            catalog,
            writes: Arc::default(),
            nodes: None,
            options: ArcSwap::new(options),
            version: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// The same over these nodes, of which its pool is that of the first.
    #[must_use]
    pub fn over(self, nodes: RouteNodes) -> Self {
        Self { nodes: Some(nodes), ..self }
    }

    /// The same, whose last write is shared with others.
    #[must_use]
    pub fn sharing(self, writes: Arc<LastWrite>) -> Self {
        Self { writes, ..self }
    }

    /// Where and as whom servers of its pools log in.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        let others = self.nodes.iter().flat_map(|nodes| nodes.pools.iter().skip(1));
        std::iter::once(&self.account).chain(others.map(|node| &node.account))
    }

    /// All its pools.
    pub fn pools(&self) -> impl Iterator<Item = PoolId> {
        let others = self.nodes.iter().flat_map(|nodes| nodes.pools.iter().skip(1));
        std::iter::once(self.pool).chain(others.map(|node| node.pool))
    }

    /// How its sessions behave, and the version of that.
    pub fn options(&self) -> (Arc<Options>, u32) {
        // In this order an old version may come with new options, which are then fetched again.
        let version = self.version.load(Ordering::Acquire);
        (self.options.load_full(), version)
    }

    /// Whether this is still the version. Cheap: asked before each transaction.
    #[inline]
    pub fn is_current(&self, version: u32) -> bool {
        self.version.load(Ordering::Acquire) == version
    }

    /// The database has other nodes now: its sessions end, each when its transaction is over, as what they know
    /// of the nodes is not so any more.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether its sessions may go on with the nodes of the other.
    pub fn has_nodes_of(&self, other: &Self) -> bool {
        match (&self.nodes, &other.nodes) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(&own.cluster, &other.cluster),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Whether its sessions are to end.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Its sessions behave so from their next transaction on.
    pub fn set_options(&self, options: Arc<Options>) {
        self.options.store(options);
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}
