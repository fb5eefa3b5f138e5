//! The table of keys: parsing, defaults, the reference, the sample, environment variables and the
//! reload difference all come from it.

mod entries;
mod howdah;
mod http;
mod pool;
mod security;
mod timeouts;

use std::fmt;
use std::time::Duration;

use super::value::Kind;

/// A section of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// `[howdah]`: listening, sockets, the process.
    Howdah,
    /// `[pool]`: pooling, for every database and user.
    Pool,
    /// `[timeouts]`.
    Timeouts,
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

/// When a reload brings a changed value to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Applies {
    /// At once.
    Now,
    /// A session sees it from its next transaction on.
    NextTransaction,
    /// Connections that are made afterwards see it.
    NextConnect,
    /// Only a new process sees it.
    Restart,
}

impl fmt::Display for Applies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Now => "now",
            Self::NextTransaction => "next transaction",
            Self::NextConnect => "next connect",
            Self::Restart => "restart",
        })
    }
}

/// What counts when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// This value, as TOML.
    Toml(&'static str),
    /// No value: this says, in words, what counts instead.
    Words(&'static str),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Its name in the file, PgBouncer's where PgBouncer has it.
    pub name: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// What counts when it is absent.
    pub default: DefaultValue,
    /// Unit of a bare number; empty where there is none.
    pub unit: &'static str,
    /// What it does, in sentences.
    pub description: &'static str,
    /// When a reload applies it.
    pub applies: Applies,
    /// Its name on the console (PgBouncer's).
    pub console: &'static str,
    /// A value for the sample, as TOML, where the default cannot serve.
    pub example: Option<&'static str>,
    /// Whether the sample sets it.
    pub in_sample: bool,
}

impl Key {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: DefaultValue,
        description: &'static str,
    ) -> Self {
        let unit = if matches!(kind, Kind::Duration { unit_required: false, .. }) {
            "seconds"
        } else if matches!(kind, Kind::Size { .. }) {
            "bytes"
        } else {
            ""
        };
        Self {
            name,
            kind,
            default,
            unit,
            description,
            applies: Applies::Now,
            console: name,
            example: None,
            in_sample: false,
        }
    }

    const fn applies(mut self, applies: Applies) -> Self {
        self.applies = applies;
        self
    }

    const fn console(mut self, name: &'static str) -> Self {
        self.console = name;
        self
    }

    const fn example(mut self, toml: &'static str) -> Self {
        self.example = Some(toml);
        self
    }

    /// Set in the sample, to this.
    const fn sample(mut self, toml: &'static str) -> Self {
        self.example = Some(toml);
        self.in_sample = true;
        self
    }
}

const fn flag(name: &'static str, default: &'static str, description: &'static str) -> Key {
    Key::new(name, Kind::Flag, DefaultValue::Toml(default), description)
}

const fn count(name: &'static str, default: &'static str, description: &'static str) -> Key {
    Key::new(name, Kind::COUNT, DefaultValue::Toml(default), description)
}

const fn duration(name: &'static str, default: &'static str, description: &'static str) -> Key {
    Key::new(name, Kind::DURATION, DefaultValue::Toml(default), description)
}

const fn text(name: &'static str, default: &'static str, description: &'static str) -> Key {
    Key::new(name, Kind::Text, DefaultValue::Toml(default), description)
}

/// A key without a value of its own: `words` say what counts instead.
const fn unset(
    name: &'static str,
    kind: Kind,
    words: &'static str,
    description: &'static str,
) -> Key {
    Key::new(name, kind, DefaultValue::Words(words), description)
}

const fn word(words: &'static [&'static str]) -> Kind {
    Kind::Word { words, refused: &[] }
}

const SECOND: Duration = Duration::from_secs(1);
