//! What a text of the console asks for.
//!
//! The words are PgBouncer's; `SELECT pools` is `SHOW pools`. Statements that drivers and monitors
//! send by themselves are answered and do nothing.

use crate::fault::{Fault, Side};
use crate::sql::{Kind, Lexer, Token};

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the word of its SHOW command")]
pub enum View {
    ActiveSockets,
    Advice,
    AdviceByCalls,
    Capacity,
    Clients,
    Config,
    Databases,
    DnsHosts,
    DnsZones,
    Fds,
    Events,
    Failovers,
    Help,
    Latency,
    Lists,
    Mem,
    Nodes,
    PeerPools,
    Peers,
    Pools,
    Queries,
    Routes,
    Servers,
    Sockets,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    Totals,
    Users,
    Version,
}

/// Every command, and what it does: for SHOW HELP.
pub const HELP: &[(&str, &str)] = &[
    ("SHOW ACTIVE_SOCKETS", "every connection that has something to do"),
    (
        "SHOW ADVICE",
        "where route is advise: what could go to replicas, what cannot, and what to do",
    ),
    (
        "SHOW ADVICE_BY_CALLS",
        "the same, with the most frequent statements in the place of the costliest",
    ),
    (
        "SHOW CAPACITY",
        "load, waits and recommended size of each pool, over the last period of figures",
    ),
    ("SHOW CLIENTS", "every client"),
    ("SHOW CONFIG", "every setting"),
    ("SHOW DATABASES", "every database of the configuration, and those in use"),
    ("SHOW DNS_HOSTS", "names of nodes and their addresses, as long as they are remembered"),
    ("SHOW DNS_ZONES", "DNS zones: none is watched"),
    ("SHOW FDS", "file descriptors: they are not handed over"),
    ("SHOW EVENTS", "what has happened lately: reloads, limits, failed logins, lost servers, …"),
    ("SHOW FAILOVERS", "every change of a primary: how long it took, and what may be lost"),
    ("SHOW LATENCY", "how long waits, queries and transactions took, by pool"),
    ("SHOW LISTS", "how many there are of everything"),
    ("SHOW MEM", "how many objects of each kind there are, and their size"),
    ("SHOW NODES", "the nodes of databases that have several: role, state, lag"),
    ("SHOW PEERS", "other processes that cancel requests are passed to"),
    ("SHOW PEER_POOLS", "cancel requests that are being passed to them"),
    ("SHOW POOLS", "clients and servers of each pool"),
    ("SHOW QUERIES", "what each statement costs, those first that took longest in all"),
    ("RESET QUERIES", "begin those figures anew"),
    ("SHOW ROUTES", "where statements of databases with several nodes went, and why"),
    ("EXPLAIN ROUTE [IN db] [AS user] sql", "where a statement would go now, and why"),
    ("SHOW SERVERS", "every connection to PostgreSQL"),
    ("SHOW SOCKETS", "every connection, of clients and to PostgreSQL"),
    ("SHOW STATE", "whether the pooler is paused or suspended"),
    ("SHOW STATS", "totals, and averages of the last period, of each database"),
    ("SHOW STATS_AVERAGES", "the averages alone"),
    ("SHOW STATS_TOTALS", "the totals alone"),
    ("SHOW TOTALS", "totals and averages of the whole process"),
    ("SHOW USERS", "every user of the configuration, and those connected"),
    ("SHOW VERSION", "the version"),
    ("PAUSE [db]", "give out no server, and wait until none is out"),
    ("RESUME [db]", "end a pause, what KILL has paused, or SUSPEND"),
    ("RECONNECT [db]", "replace every server when it is free"),
    ("WAIT_CLOSE [db]", "wait until those that are to be replaced are closed"),
    ("DISABLE db", "refuse new clients of a database"),
    ("ENABLE db", "let them in again"),
    ("KILL [db]", "end all sessions and servers of a database, and pause it"),
    ("SUSPEND", "write what is to be written, then read nothing more until RESUME"),
    ("SET key = value", "change a setting until the next reload"),
    ("KILL_CLIENT id", "end a client's session"),
    ("CANCEL id", "cancel what a client runs"),
    ("RELOAD [CHECK]", "read the configuration again, or only say what that would change"),
    ("SHUTDOWN", "end at once"),
    ("SHUTDOWN WAIT_FOR_SERVERS", "end when all servers are released"),
    ("SHUTDOWN WAIT_FOR_CLIENTS", "end when all clients have left"),
];

/// Every view and its word.
pub const VIEWS: &[(&str, View)] = &[
    ("active_sockets", View::ActiveSockets),
    ("advice", View::Advice),
    ("advice_by_calls", View::AdviceByCalls),
    ("capacity", View::Capacity),
    ("clients", View::Clients),
    ("config", View::Config),
    ("databases", View::Databases),
    ("dns_hosts", View::DnsHosts),
    ("dns_zones", View::DnsZones),
    ("events", View::Events),
    ("failovers", View::Failovers),
    ("fds", View::Fds),
    ("help", View::Help),
    ("latency", View::Latency),
    ("lists", View::Lists),
    ("mem", View::Mem),
    ("nodes", View::Nodes),
    ("peer_pools", View::PeerPools),
    ("peers", View::Peers),
    ("pools", View::Pools),
    ("queries", View::Queries),
    ("routes", View::Routes),
    ("servers", View::Servers),
    ("sockets", View::Sockets),
    ("state", View::State),
    ("stats", View::Stats),
    ("stats_averages", View::StatsAverages),
    ("stats_totals", View::StatsTotals),
    ("totals", View::Totals),
    ("users", View::Users),
    ("version", View::Version),
];

/// How to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// At once.
    Now,
    /// When no server is leased any more; clients that begin something new are told.
    WaitForServers,
    /// When the last client has left.
    WaitForClients,
}

/// Statements that drivers send by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harmless {
    /// Begin, with its tag.
    Begin(&'static str),
    /// The end of a transaction, with its tag.
    End(&'static str),
    /// A statement without an effect here, with its tag.
    Nothing(&'static str),
    /// `SHOW` of a setting that a session has: its name and value.
    Setting(&'static str, &'static str),
    /// `SELECT` of a whole number.
    Number(i32),
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `SHOW …`.
    Show(View),
    /// `PAUSE`, of all or of one database.
    Pause(Option<String>),
    /// `RESUME`, of all or of one database.
    Resume(Option<String>),
    /// `RECONNECT`, of all or of one database.
    Reconnect(Option<String>),
    /// `DISABLE` a database.
    Disable(String),
    /// `ENABLE` a database.
    Enable(String),
    /// `KILL`, of all or of one database.
    Kill(Option<String>),
    /// `SUSPEND`.
    Suspend,
    /// `WAIT_CLOSE`, of all or of one database.
    WaitClose(Option<String>),
    /// `SET key = value`.
    Set {
        /// As SHOW CONFIG calls it.
        key: String,
        /// Without quotes.
        value: String,
    },
    /// `KILL_CLIENT id` and `KILL SESSION id`.
    KillClient(u64),
    /// `CANCEL id`: what that client runs.
    Cancel(u64),
    /// `SHUTDOWN`.
    Shutdown(Shutdown),
    /// `RELOAD`; with `check`, only what it would do.
    Reload {
        /// `RELOAD CHECK`.
        check: bool,
    },
    /// `EXPLAIN ROUTE`.
    ExplainRoute {
        /// `IN database`.
        database: Option<String>,
        /// `AS user`.
        user: Option<String>,
        /// The statement.
        statement: Vec<u8>,
    },
    /// `RESET QUERIES`.
    ResetQueries,
    /// What a driver says.
    Harmless(Harmless),
}

/// Settings that drivers ask for or set, and what they are here.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("extra_float_digits", "1"),
    ("server_version", env!("CARGO_PKG_VERSION")),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
];

impl Command {
    /// Reads one statement without its semicolon.
    ///
    /// # Errors
    /// When it is none of the console's commands, or its arguments are wrong.
    pub fn read(text: &[u8]) -> Result<Self, Fault> {
        let words = Words::of(text);
        let unknown = || {
            let shown = String::from_utf8_lossy(text);
            syntax(format!("invalid command '{}', use SHOW HELP;", shorten(shown.trim())))
        };
        let keyword = words.keyword(0).ok_or_else(unknown)?;
        match keyword.as_str() {
            "explain" if words.is(1, "route") => words.explain_route(text),
            "show" | "select" => Self::read_show(&words).ok_or_else(unknown),
            "set" => Self::read_set(text, &words).ok_or_else(unknown),
            "pause" => words.optional().map(Self::Pause),
            "resume" => words.optional().map(Self::Resume),
            "reconnect" => words.optional().map(Self::Reconnect),
            "kill"
                if words.keyword(1).is_some_and(|word| word == "session") && words.len() == 3 =>
            {
                words.id(2).map(Self::KillClient)
            }
            "kill" => words.optional().map(Self::Kill),
            "disable" => words.database().map(Self::Disable),
            "enable" => words.database().map(Self::Enable),
            "suspend" if words.len() == 1 => Ok(Self::Suspend),
            "suspend" => Err(arguments("SUSPEND takes nothing")),
            "wait_close" => words.optional().map(Self::WaitClose),
            "kill_client" => words.id(1).map(Self::KillClient),
            "cancel" => words.id(1).map(Self::Cancel),
            "shutdown" => match (words.len(), words.keyword(1).as_deref()) {
                (1, _) => Ok(Self::Shutdown(Shutdown::Now)),
                (2, Some("wait_for_servers")) => Ok(Self::Shutdown(Shutdown::WaitForServers)),
                (2, Some("wait_for_clients")) => Ok(Self::Shutdown(Shutdown::WaitForClients)),
                _ => Err(arguments("SHUTDOWN takes WAIT_FOR_SERVERS, WAIT_FOR_CLIENTS or nothing")),
            },
            "reload" => match (words.len(), words.keyword(1).as_deref()) {
                (1, _) => Ok(Self::Reload { check: false }),
                (2, Some("check")) => Ok(Self::Reload { check: true }),
                _ => Err(arguments("RELOAD takes CHECK or nothing")),
            },
            "reset" if words.len() == 2 && words.is(1, "queries") => Ok(Self::ResetQueries),
            other => harmless(other, &words).map(Self::Harmless).ok_or_else(unknown),
        }
    }

    fn read_show(words: &Words) -> Option<Self> {
        if words.len() == 2
            && let Some((_, view)) = VIEWS.iter().find(|(word, _)| words.is(1, word))
        {
            return Some(Self::Show(*view));
        }
        if words.is(0, "select") {
            let number = words.text(1)?.parse().ok().filter(|_| words.len() == 2)?;
            return Some(Self::Harmless(Harmless::Number(number)));
        }
        let name = match words.len() {
            2 => words.keyword(1)?,
            // The two settings that SQL spells with spaces.
            3 if words.is(1, "time") && words.is(2, "zone") => "timezone".to_owned(),
            4 if words.is(1, "transaction") && words.is(2, "isolation") => {
                "transaction_isolation".to_owned()
            }
            _ => return None,
        };
        let (name, value) = SETTINGS.iter().find(|(known, _)| *known == name)?;
        Some(Self::Harmless(Harmless::Setting(name, value)))
    }

    fn read_set(text: &[u8], words: &Words) -> Option<Self> {
        let session = usize::from(words.is(1, "session") || words.is(1, "local"));
        let key = words.keyword(1 + session)?;
        let driver = SETTINGS.iter().any(|(known, _)| *known == key);
        let spelled = ["names", "time", "transaction", "characteristics"].contains(&&*key);
        if driver || spelled {
            return Some(Self::Harmless(Harmless::Nothing("SET")));
        }
        let assigns = session == 0 && (words.is(2, "=") || words.is(2, "to"));
        let value = if assigns { words.value(3, text) } else { None }?;
        Some(Self::Set { key, value })
    }

    /// Whether who may only look may do this.
    pub fn only_looks(&self) -> bool {
        let gives_away = *self == Self::Show(View::Fds);
        let looks = matches!(self, Self::Show(_) | Self::ExplainRoute { .. } | Self::Harmless(_));
        looks && !gives_away
    }

    /// What CommandComplete says of it.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Show(_) => "SHOW",
            Self::ExplainRoute { .. } => "EXPLAIN",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Reconnect(_) => "RECONNECT",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Kill(_) => "KILL",
            Self::Suspend => "SUSPEND",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Set { .. } => "SET",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Cancel(_) => "CANCEL",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Reload { .. } => "RELOAD",
            Self::ResetQueries => "RESET",
            Self::Harmless(harmless) => match harmless {
                Harmless::Begin(tag) | Harmless::End(tag) | Harmless::Nothing(tag) => tag,
                Harmless::Setting(..) => "SHOW",
                Harmless::Number(_) => "SELECT 1",
            },
        }
    }
}

/// Statements of drivers, pools and monitors that change nothing here.
fn harmless(keyword: &str, words: &Words) -> Option<Harmless> {
    Some(match keyword {
        "begin" => Harmless::Begin("BEGIN"),
        "start" if words.is(1, "transaction") => Harmless::Begin("START TRANSACTION"),
        "commit" | "end" => Harmless::End("COMMIT"),
        "rollback" | "abort" => Harmless::End("ROLLBACK"),
        "reset" => Harmless::Nothing("RESET"),
        "discard" if words.is(1, "all") => Harmless::Nothing("DISCARD ALL"),
        "deallocate" if words.is(1, "all") => Harmless::Nothing("DEALLOCATE ALL"),
        "close" if words.is(1, "all") => Harmless::Nothing("CLOSE CURSOR ALL"),
        "unlisten" => Harmless::Nothing("UNLISTEN"),
        _ => return None,
    })
}

fn syntax(message: String) -> Fault {
    Fault::query(Side::Client, "42601", message)
}

fn arguments(hint: &'static str) -> Fault {
    Fault::query(Side::Client, "42601", "bad arguments").hint(format!("{hint}."))
}

/// A text for an error: not more of it than helps.
fn shorten(text: &str) -> &str {
    const MAX: usize = 80;
    text.char_indices().nth(MAX).map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

/// The words of a statement, and where each begins.
struct Words(Vec<(Kind, String, usize)>);

impl Words {
    fn of(text: &[u8]) -> Self {
        let tokens = Lexer::new(text, true).filter(Token::is_significant);
        Self(tokens.map(|token| (token.kind, value_of(&token, text), token.start)).collect())
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn text(&self, index: usize) -> Option<&str> {
        self.0.get(index).map(|(_, text, _)| text.as_str())
    }

    /// The word there, in lower case.
    fn keyword(&self, index: usize) -> Option<String> {
        let (kind, text, _) = self.0.get(index)?;
        (*kind == Kind::Word).then(|| text.to_ascii_lowercase())
    }

    fn is(&self, index: usize, word: &str) -> bool {
        self.text(index).is_some_and(|text| text.eq_ignore_ascii_case(word))
    }

    /// At most one argument: a database.
    fn optional(&self) -> Result<Option<String>, Fault> {
        match self.len() {
            1 => Ok(None),
            2 => Ok(self.text(1).map(str::to_owned)),
            _ => Err(arguments("The command takes one database, quoted if its name needs it")),
        }
    }

    /// The one argument that there must be: a database.
    fn database(&self) -> Result<String, Fault> {
        let missing = || syntax("a database is required".to_owned());
        self.optional()?.ok_or_else(missing)
    }

    /// The rest from this word on: what is in the quotes of one that has some, else the text as it
    /// stands. Nothing is an empty one.
    fn value(&self, index: usize, text: &[u8]) -> Option<String> {
        let Some((kind, value, start)) = self.0.get(index) else { return Some(String::new()) };
        if self.len() == index + 1 && matches!(kind, Kind::Text | Kind::QuotedName) {
            return Some(value.clone());
        }
        let rest = std::str::from_utf8(text.get(*start..)?).ok()?;
        Some(rest.trim().to_owned())
    }

    /// `EXPLAIN ROUTE [IN database] [AS user] statement`.
    fn explain_route(&self, text: &[u8]) -> Result<Command, Fault> {
        let mut at = 2;
        let mut named = |word: &str| {
            let name = self.text(at + 1).filter(|_| self.is(at, word)).map(str::to_owned);
            at += 2 * usize::from(name.is_some());
            name
        };
        let (database, user) = (named("in"), named("as"));
        if self.len() <= at {
            let takes = "EXPLAIN ROUTE takes IN and a database, AS and a user, and a statement";
            return Err(arguments(takes));
        }
        // A comment in front of the statement is a part of it.
        let mut words = Lexer::new(text, true).filter(Token::is_significant);
        let end = words.nth(at - 1).map_or(0, |word| word.start + word.bytes(text).len());
        let statement = text.get(end..).unwrap_or_default().trim_ascii().to_vec();
        Ok(Command::ExplainRoute { database, user, statement })
    }

    /// A client's number.
    fn id(&self, index: usize) -> Result<u64, Fault> {
        let bad = || {
            Fault::query(Side::Client, "22023", "invalid client pointer supplied")
                .hint("Give the id that SHOW CLIENTS has.")
        };
        if self.len() != index + 1 {
            return Err(bad());
        }
        self.text(index).and_then(|text| text.parse().ok()).ok_or_else(bad)
    }
}

/// What a token stands for: quotes taken off.
fn value_of(token: &Token, text: &[u8]) -> String {
    let raw = String::from_utf8_lossy(token.bytes(text)).into_owned();
    let quoted = |quote: char| {
        let inner = raw.strip_prefix(quote)?.strip_suffix(quote)?;
        Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
    };
    quoted('"').or_else(|| quoted('\'')).unwrap_or(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Command {
        Command::read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    fn refused(text: &str) -> String {
        Command::read(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn every_view_by_its_word() {
        for (word, view) in VIEWS {
            assert_eq!(read(&format!("SHOW {word}")), Command::Show(*view));
            assert_eq!(read(&format!("select {}", word.to_uppercase())), Command::Show(*view));
        }
        assert!(VIEWS.is_sorted_by_key(|(word, _)| word));
    }

    #[test]
    fn commands_with_and_without_a_database() {
        let app = || "app".to_owned();
        for (text, command) in [
            ("pause", Command::Pause(None)),
            ("PAUSE app", Command::Pause(Some(app()))),
            ("RESUME \"app\"", Command::Resume(Some(app()))),
            ("RECONNECT", Command::Reconnect(None)),
            ("KILL SESSION 17", Command::KillClient(17)),
            ("KILL app", Command::Kill(Some(app()))),
            ("kill", Command::Kill(None)),
            ("DISABLE app", Command::Disable(app())),
            ("ENABLE \"app\"", Command::Enable(app())),
            ("SUSPEND", Command::Suspend),
            ("WAIT_CLOSE", Command::WaitClose(None)),
            ("WAIT_CLOSE app", Command::WaitClose(Some(app()))),
            ("KILL_CLIENT 17", Command::KillClient(17)),
            ("CANCEL 17", Command::Cancel(17)),
            ("SHUTDOWN", Command::Shutdown(Shutdown::Now)),
            ("SHUTDOWN WAIT_FOR_SERVERS", Command::Shutdown(Shutdown::WaitForServers)),
            ("RELOAD", Command::Reload { check: false }),
            ("reset queries", Command::ResetQueries),
            ("reload check", Command::Reload { check: true }),
        ] {
            assert_eq!(read(text), command, "{text}");
        }
    }

    #[test]
    fn explain_route_takes_a_statement_as_it_stands() {
        for (text, database, user, statement) in [
            ("EXPLAIN ROUTE SELECT 'a''b'", None, None, "SELECT 'a''b'"),
            ("explain route in app SELECT 1", Some("app"), None, "SELECT 1"),
            (
                "EXPLAIN ROUTE IN \"My db\" AS bob (SELECT 1)",
                Some("My db"),
                Some("bob"),
                "(SELECT 1)",
            ),
            (
                "EXPLAIN ROUTE AS bob /* howdah: primary */ TABLE t",
                None,
                Some("bob"),
                "/* howdah: primary */ TABLE t",
            ),
        ] {
            let expected = Command::ExplainRoute {
                database: database.map(str::to_owned),
                user: user.map(str::to_owned),
                statement: statement.into(),
            };
            assert_eq!(read(text), expected, "{text}");
        }
        for text in ["EXPLAIN ROUTE", "EXPLAIN ROUTE IN app", "EXPLAIN ROUTE IN app AS bob"] {
            assert!(refused(text).contains("bad arguments"), "{text}");
        }
        assert!(refused("EXPLAIN SELECT 1").contains("invalid command"));
    }

    #[test]
    fn set_takes_the_rest_as_it_stands() {
        for (text, value) in [
            ("SET a_key = 1", "1"),
            ("set A_KEY to 30s ", "30s"),
            ("SET a_key = 'it''s'", "it's"),
            ("SET a_key=\"x\"", "x"),
            ("SET a_key = one, two", "one, two"),
            ("SET a_key = -1", "-1"),
            ("SET a_key =", ""),
            ("SET a_key = ''", ""),
        ] {
            let (key, value) = ("a_key".to_owned(), value.to_owned());
            assert_eq!(read(text), Command::Set { key, value }, "{text}");
        }
    }

    #[test]
    fn what_drivers_say_does_nothing() {
        for text in [
            "SET client_encoding TO 'UTF8'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "BEGIN",
            "BEGIN TRANSACTION READ ONLY",
            "COMMIT",
            "ROLLBACK",
            "DISCARD ALL",
            "SHOW TIME ZONE",
            "SHOW transaction isolation level",
            "SHOW standard_conforming_strings",
            "SELECT 1",
        ] {
            assert!(matches!(read(text), Command::Harmless(_)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("SET a_key 1", "invalid command 'SET a_key 1', use SHOW HELP;"),
            ("SET a_key", "invalid command 'SET a_key', use SHOW HELP;"),
            ("DISABLE", "a database is required"),
            ("ENABLE a b", "bad arguments"),
            ("SUSPEND app", "bad arguments"),
            ("FOO", "invalid command 'FOO', use SHOW HELP;"),
            ("SHOW nothing", "invalid command 'SHOW nothing', use SHOW HELP;"),
            ("SELECT * FROM pools", "invalid command 'SELECT * FROM pools', use SHOW HELP;"),
            ("PAUSE a b", "bad arguments"),
            ("KILL_CLIENT app", "invalid client pointer supplied"),
            ("SHUTDOWN later", "bad arguments"),
        ] {
            let said = refused(text);
            assert!(said.contains(says), "{text}: {said}");
        }
    }
}
