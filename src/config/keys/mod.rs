//! The table of keys: parsing, defaults, the reference, the sample, environment variables and the
//! reload difference all come from it.

mod entries;
mod howdah;
mod http;
mod pool;
mod routing;
mod row;
mod security;
mod timeouts;

pub use row::{Applies, DefaultValue, Key};

/// A section of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// `[howdah]`: listening, sockets, the process.
    Howdah,
    /// `[pool]`: pooling, for every database and user.
    Pool,
    /// `[timeouts]`.
    Timeouts,
    /// `[routing]`: databases with several nodes.
    Routing,
    /// `[auth]`: who may connect.
    Auth,
    /// `[tls.client]`: TLS towards clients.
    TlsClient,
    /// `[tls.server]`: TLS towards PostgreSQL.
    TlsServer,
    /// `[log]`.
    Log,
    /// `[http]`: figures over HTTP.
    Http,
    /// `[databases.NAME]`.
    Database,
    /// `[users.NAME]`.
    User,
    /// `[peers.NUMBER]`.
    Peer,
}

impl Section {
    /// Every section, in the order of the file.
    pub const ALL: &'static [Self] = &[
        Self::Howdah,
        Self::Pool,
        Self::Timeouts,
        Self::Routing,
        Self::Auth,
        Self::TlsClient,
        Self::TlsServer,
        Self::Log,
        Self::Http,
        Self::Database,
        Self::User,
        Self::Peer,
    ];

    /// Its name in the file; that of `databases` and `users` is followed by an entry's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Howdah => "howdah",
            Self::Pool => "pool",
            Self::Timeouts => "timeouts",
            Self::Routing => "routing",
            Self::Auth => "auth",
            Self::TlsClient => "tls.client",
            Self::TlsServer => "tls.server",
            Self::Log => "log",
            Self::Http => "http",
            Self::Database => "databases",
            Self::User => "users",
            Self::Peer => "peers",
        }
    }

    /// Its header in the reference.
    pub fn header(self) -> &'static str {
        match self {
            Self::Database => "databases.NAME",
            Self::User => "users.NAME",
            Self::Peer => "peers.NUMBER",
            Self::Howdah
            | Self::Pool
            | Self::Timeouts
            | Self::Routing
            | Self::Auth
            | Self::TlsClient
            | Self::TlsServer
            | Self::Log
            | Self::Http => self.name(),
        }
    }

    /// Whether its tables are entries with names of their own.
    pub fn has_entries(self) -> bool {
        matches!(self, Self::Database | Self::User | Self::Peer)
    }

    /// Its rows of the table.
    pub fn keys(self) -> &'static [Key] {
        match self {
            Self::Howdah => howdah::KEYS,
            Self::Pool => pool::KEYS,
            Self::Timeouts => timeouts::KEYS,
            Self::Routing => routing::KEYS,
            Self::Auth => security::AUTH,
            Self::TlsClient => security::TLS_CLIENT,
            Self::TlsServer => security::TLS_SERVER,
            Self::Log => security::LOG,
            Self::Http => http::KEYS,
            Self::Database => entries::DATABASE,
            Self::User => entries::USER,
            Self::Peer => entries::PEER,
        }
    }

    /// What the section is about, for the reference and the sample.
    pub fn description(self) -> &'static str {
        match self {
            Self::Howdah => "Listening, sockets and the process.",
            Self::Pool => "Pooling, where neither a database nor a user says otherwise.",
            Self::Timeouts => {
                "Durations after which something ends. 0 = never, unless a key says otherwise."
            }
            Self::Routing => {
                "Databases with several nodes: writes go to the primary, reads to replicas. With one node \
                 nothing of it counts."
            }
            Self::Auth => "Who may connect.",
            Self::TlsClient => "TLS towards clients.",
            Self::TlsServer => "TLS towards PostgreSQL.",
            Self::Log => "Logging, on standard error.",
            Self::Http => {
                "Figures over HTTP: /metrics for Prometheus, /live and /ready for probes, and a page at /."
            }
            Self::Database => {
                "What clients may connect to: NAME is the database they ask for, \"*\" any other name. \
                 A value here wins over the general one. [databases] without entries = none on purpose."
            }
            Self::User => {
                "Settings of one user: a value here wins over a database's. The sizes of a pool and \
                 max_user_connections belong to the user the servers are logged in as, everything \
                 else to the user the client logged in as."
            }
            Self::Peer => {
                "Processes that share a port with this one, by their peer_id: a cancel request that \
                 reaches the wrong one is passed on. They need howdah.peer_id."
            }
        }
    }

    /// The key of this name.
    pub(super) fn key(self, name: &str) -> Option<&'static Key> {
        self.keys().iter().find(|key| key.name == name)
    }
}
