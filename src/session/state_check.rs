//! The question that a server is asked before it goes back: which settings the session has there, and
//! what else it has left behind.
//!
//! Pure: the text of the question, and its answer read. The text of a client's statement says that
//! something may have changed; the server is then asked what.

use super::custom_settings::CustomSettings;
use crate::backend::settings::{Settings, SettingsTable, ask_listed, read_listed};
use std::sync::Arc;

/// Why a session keeps its server between transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    TemporaryObject,
    AdvisoryLock,
    HoldCursor,
    Listen,
    /// A prepared statement under a name that was not understood.
    PreparedStatement,
    /// A loaded library.
    Library,
    /// What nobody can ask for: the state of `random()`, a backup, a replication origin, ….
    State,
    /// A custom setting whose name was computed.
    CustomSetting,
    /// A text may have made custom settings whose names nobody knows. Only where the server stays with the
    /// session anyway.
    UnknownSettings,
    /// It reads what `nextval` gave it, and has moved a sequence.
    Sequence,
    /// An unnamed statement that is too long to be kept.
    LongStatement,
}

impl Pin {
    /// In words, for the log and the console.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::TemporaryObject => "temporary object",
            Self::AdvisoryLock => "advisory lock",
            Self::HoldCursor => "cursor with hold",
            Self::Listen => "listen",
            Self::PreparedStatement => "prepared statement",
            Self::Library => "loaded library",
            Self::State => "state that cannot be asked for",
            Self::CustomSetting => "custom setting",
            Self::UnknownSettings => "settings that nobody can name",
            Self::Sequence => "sequence",
            Self::LongStatement => "long statement",
        }
    }

    /// Whether no question finds out that its cause is gone.
    pub(super) fn is_for_good(self) -> bool {
        matches!(self, Self::Sequence | Self::CustomSetting | Self::UnknownSettings)
    }

    fn of(sign: &[u8]) -> Option<Self> {
        Some(match sign {
            b"t" => Self::TemporaryObject,
            b"a" => Self::AdvisoryLock,
            b"c" => Self::HoldCursor,
            b"l" => Self::Listen,
            b"p" => Self::PreparedStatement,
            _ => return None,
        })
    }
}

/// Asks, behind the settings, whether the session has anything else, and how many statements of ours
/// the server has. What the temporary schema holds depends on it; 2615 is `pg_namespace`.
const OBJECTS: &[u8] = b"\
 UNION ALL SELECT NULL, 't' WHERE \
EXISTS (SELECT 1 FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
UNION ALL SELECT NULL, 'a' WHERE \
EXISTS (SELECT 1 FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
UNION ALL SELECT NULL, 'c' WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable) \
UNION ALL SELECT NULL, 'l' WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_listening_channels()) \
UNION ALL SELECT NULL, CASE o WHEN true THEN 'n' ELSE 'p' END \
OPERATOR(pg_catalog.||) pg_catalog.count(*)::pg_catalog.text FROM \
(SELECT pg_catalog.left(name, 7) OPERATOR(pg_catalog.=) 'howdah_' \
FROM pg_catalog.pg_prepared_statements) AS p (o) GROUP BY o";

/// Custom settings that functions name which were made last. A catalog that was read before does not
/// know them.
const OF_NEW_FUNCTIONS: &[u8] = b" \
UNION ALL SELECT n, pg_catalog.current_setting(n, true) FROM (SELECT DISTINCT pg_catalog.lower(m[1]) \
FROM (SELECT prosrc FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>=) 16384 \
ORDER BY oid DESC LIMIT 1000) AS p, \
pg_catalog.regexp_matches(prosrc, '([A-Za-z_][A-Za-z0-9_]*[.][A-Za-z_][A-Za-z0-9_]*)', 'g') AS m \
WHERE prosrc OPERATOR(pg_catalog.~*) 'set_config|SET' AND pg_catalog.length(m[1]) OPERATOR(pg_catalog.<) 64) \
AS f (n) WHERE pg_catalog.current_setting(n, true) OPERATOR(pg_catalog.<>) ''";

/// What a text may have done that no question finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Nothing: all its names are known.
    Nothing,
    /// It may have set custom settings.
    Settings,
    /// It may have called `setseed` as well: the server gets this seed, which nobody knows.
    SettingsAndSeed(i32),
}

/// The query that asks for all of it. Custom settings that the server's `connect_query` has made
/// are asked for as well: the session may have changed or undone them. `others`: names that the
/// database's functions know. `unknown`: names of the text are not known, so that it may have done more
/// than can be asked for.
pub(super) fn query<'a>(
    custom: &'a CustomSettings,
    baseline: &'a Settings,
    others: &'a [Box<str>],
    unknown: Unknown,
) -> Vec<u8> {
    let own = custom.names();
    let of_baseline = baseline.iter().map(|(name, _)| name).filter(|name| name.contains('.'));
    let more = of_baseline.chain(others.iter().map(|name| &**name));
    let mut seen: Vec<&str> = own.clone().collect();
    let mut all: Vec<&str> = own.collect();
    for name in more {
        if !seen.contains(&name) {
            seen.push(name);
            all.push(name);
        }
    }
    let (news, seed) = match unknown {
        Unknown::Nothing => (&b""[..], None),
        Unknown::Settings => (OF_NEW_FUNCTIONS, None),
        Unknown::SettingsAndSeed(seed) => (OF_NEW_FUNCTIONS, Some(seed)),
    };
    let mut more = [OBJECTS, news].concat();
    if let Some(seed) = seed {
        let value = f64::from(seed) / (f64::from(i32::MAX) + 1.0);
        let set =
            format!(" UNION ALL SELECT NULL, NULL WHERE pg_catalog.setseed({value:.12}) IS NULL");
        more.extend_from_slice(set.as_bytes());
    }
    ask_listed(all.into_iter(), &more)
}

/// The same when the session's `statement_timeout` is too short for it: in a transaction of its own,
/// in which that is off. Its value comes first.
pub(super) fn without_limits(query: Vec<u8>) -> Vec<Vec<u8>> {
    let before = [&b"BEGIN"[..], b"SHOW statement_timeout", b"SET LOCAL statement_timeout = 0"];
    let before = before.into_iter().map(<[u8]>::to_vec);
    before.chain([query, b"COMMIT".to_vec()]).collect()
}

/// Statements of ours that need no answer, under the same circumstances.
pub(super) fn without_limit(sql: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let before = [b"BEGIN".to_vec(), b"SET LOCAL statement_timeout = 0".to_vec()];
    before.into_iter().chain(sql).chain([b"COMMIT".to_vec()]).collect()
}

/// A session's state on a server.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Settings that the server got since it logged in.
    pub settings: Vec<(String, String)>,
    /// What else there is, if anything.
    pub pin: Option<Pin>,
    /// Statements of ours that the server has.
    pub statements: usize,
}

/// Reads the answer to [`query`]; `None` when it cannot be understood.
pub(super) fn read(rows: Vec<Vec<Option<Vec<u8>>>>) -> Option<State> {
    let mut state = State::default();
    let mut statement_timeout = None;
    for row in rows {
        let (name, value) = match <[_; 2]>::try_from(row) {
            Ok([name, value]) => (name, value),
            Err(row) => {
                let [value] = <[_; 1]>::try_from(row).ok()?;
                statement_timeout = Some(String::from_utf8(value?).ok()?);
                continue;
            }
        };
        let Some(name) = name else {
            state.take_sign(&value?)?;
            continue;
        };
        let setting = read_listed(&name, value.as_deref())?;
        // A function may name one that the session has named.
        if !state.settings.contains(&setting) {
            state.settings.push(setting);
        }
    }
    if let Some(value) = statement_timeout {
        state.settings.retain(|(name, _)| name != "statement_timeout");
        state.settings.push(("statement_timeout".to_owned(), value));
    }
    Some(state)
}

impl State {
    fn take_sign(&mut self, sign: &[u8]) -> Option<()> {
        if let Some(count) = sign.strip_prefix(b"n") {
            self.statements = std::str::from_utf8(count).ok()?.parse().ok()?;
            return Some(());
        }
        let kind = sign.get(..1)?;
        self.pin = self.pin.or(Some(Pin::of(kind)?));
        Some(())
    }
}

/// The settings, and the startup value of those that have returned to their defaults: a client's
/// own startup packet says what its RESET returns to (manual, "Parameter Interaction via the
/// Startup Message").
pub(super) fn with_startup(
    table: &SettingsTable,
    now: &Settings,
    startup: &Settings,
) -> Arc<Settings> {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    table.intern(startup.iter().map(own).chain(now.iter().map(own)))
}

/// Settings that do not change what a text means.
const HARMLESS: &[&str] = &[
    "application_name",
    "client_min_messages",
    "deadlock_timeout",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
    "work_mem",
];

/// The settings that matter to a plan: those under which a text is read.
pub(super) fn for_plans(table: &SettingsTable, settings: &Arc<Settings>) -> Arc<Settings> {
    if settings.iter().all(|(name, _)| !HARMLESS.contains(&name)) {
        return Arc::clone(settings);
    }
    let kept = settings.iter().filter(|(name, _)| !HARMLESS.contains(name));
    table.intern(kept.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Option<Vec<u8>> {
        Some(t.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_is_read() {
        let rows = vec![
            vec![text("work_mem"), text("4096")],
            vec![None, text("a")],
            vec![None, text("n17")],
            vec![None, text("p1")],
        ];
        let state = read(rows).unwrap();
        assert_eq!(state.settings, [("work_mem".to_owned(), "4096".to_owned())]);
        assert_eq!((state.pin, state.statements), (Some(Pin::AdvisoryLock), 17));
        for wrong in [
            vec![vec![]],
            vec![vec![text("a"), None]],
            vec![vec![None, text("x")]],
            vec![vec![None, text("nx")]],
            vec![vec![text("a"), text("b"), text("c")]],
        ] {
            assert_eq!(read(wrong), None);
        }
    }

    #[test]
    fn a_statement_timeout_that_was_off_for_the_question_is_what_it_was() {
        let rows = vec![vec![text("1ms")], vec![text("statement_timeout"), text("0")]];
        let state = read(rows).unwrap();
        assert_eq!(state.settings, [("statement_timeout".to_owned(), "1ms".to_owned())]);
    }

    #[test]
    fn each_name_is_asked_for_once() {
        let mut custom = CustomSettings::default();
        custom.add("app.a");
        let pair = |name: &str| (name.to_owned(), "1".to_owned());
        let baseline = Settings::of([pair("app.a"), pair("app.b"), pair("work_mem")]);
        let others: [Box<str>; 2] = ["app.b".into(), "app.c".into()];
        let sql = String::from_utf8(query(
            &custom,
            &baseline,
            &others,
            Unknown::SettingsAndSeed(i32::MIN),
        ))
        .unwrap();
        for name in ["app.a", "app.b", "app.c"] {
            assert_eq!(sql.matches(&format!("SELECT '{name}'")).count(), 1, "{sql}");
        }
    }

    #[test]
    fn reset_returns_to_the_startup_value() {
        let table = SettingsTable::default();
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let startup = table.intern([pair("a", "1"), pair("b", "1")]);
        let now = table.intern([pair("b", "2"), pair("c", "3")]);
        let wanted = with_startup(&table, &now, &startup);
        let all: Vec<_> = wanted.iter().collect();
        assert_eq!(all, [("a", "1"), ("b", "2"), ("c", "3")]);
    }
}
