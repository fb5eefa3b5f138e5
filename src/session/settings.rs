//! A session's state on a server: which settings it has there, and what else it has left behind.
//!
//! The text of a statement says that something may have changed; the server is then asked what.

use super::names::Effects;
use crate::backend::settings::{Settings, SettingsTable, ask_listed, read_listed};
use crate::sql;
use crate::wire::client;
use std::sync::Arc;

/// The statement may have changed settings.
pub(super) const SETTINGS: Effects = 1;
/// The statement may have returned settings to their defaults.
pub(super) const RESETS: Effects = 1 << 1;
/// The statement may have left something on the server, taken it away, or done what its text does
/// not show.
pub(super) const POSSESSIONS: Effects = 1 << 2;
/// The statement changed what no query can ask for: the server stays with the session.
pub(super) const PINS_FOR_GOOD: Effects = 1 << 3;

/// The text does not show which settings it may have changed.
pub(super) const UNKNOWN: Effects = 1 << 4;

/// The text leaves something behind that ties the session to its server.
pub(super) const TIES: Effects = 1 << 6;
/// The statement drops prepared statements.
pub(super) const FORGETS: Effects = 1 << 5;
/// Effects of the connection itself, not of its state on the server.
pub(super) const NO_STATE: Effects = PINS_FOR_GOOD | FORGETS | TIES;

/// Custom settings that a session has named. PostgreSQL lists no setting that no extension has
/// defined, so the session has to remember which to ask for.
#[derive(Debug, Default)]
pub(super) struct Custom(Vec<Box<str>>);

impl Custom {
    /// More than fit into a startup packet.
    const MAX: usize = 2048;

    /// Remembers a custom setting's name; others are listed by the server. False when there are too
    /// many to be remembered.
    pub(super) fn note(&mut self, name: &str) -> bool {
        if !name.contains('.') || self.0.iter().any(|known| **known == *name) {
            return true;
        }
        let fits = self.0.len() < Self::MAX;
        if fits {
            self.0.push(name.into());
        }
        fits
    }
}

/// The prepared statements of a session-mode client whose text may reset settings; the unnamed one
/// has no name.
#[derive(Debug, Default)]
pub(super) struct Resetting(Vec<Box<[u8]>>);

impl Resetting {
    /// A statement was prepared, which replaces the one of that name.
    pub(super) fn prepared(&mut self, name: &[u8], resets: bool) {
        let known = self.0.iter().position(|known| **known == *name);
        match (known, resets) {
            (None, true) => self.0.push(name.into()),
            (Some(place), false) => drop(self.0.swap_remove(place)),
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Whether a Bind with this start of a body may be of one of them.
    pub(super) fn is_bound(&self, start: &[u8]) -> bool {
        !self.0.is_empty()
            && client::read_bind(start)
                .is_none_or(|bind| self.0.iter().any(|name| **name == *bind.statement))
    }
}

/// What running a text may do to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub effects: Effects,
    /// It names settings, which are to be remembered.
    pub by_name: bool,
    /// Something was read out of a string.
    pub by_value: bool,
}

/// What running a text may do to the session. `custom` is told each setting that it names, and says
/// whether it can be asked for.
pub(super) fn effects_of(
    text: &[u8],
    standard_conforming_strings: bool,
    custom: &mut dyn FnMut(&str) -> bool,
) -> Found {
    let facts = sql::facts(text, standard_conforming_strings, &sql::NoVocabulary);
    let mut effects = 0;
    match &facts.settings {
        sql::Settings::Names(names) => {
            for name in names {
                // What it is called depends on the client's encoding.
                if !custom(name) || !name.is_ascii() {
                    effects |= UNKNOWN;
                }
            }
        }
        sql::Settings::Unknown => effects |= UNKNOWN,
        sql::Settings::Unchanged => {}
    }
    if facts.taint {
        effects |= UNKNOWN;
    }
    if facts.settings != sql::Settings::Unchanged || facts.taint {
        effects |= SETTINGS;
    }
    if !facts.reset.is_empty() || facts.reset_all || facts.discard_all {
        effects |= SETTINGS | RESETS;
    }
    let invisible = sql::PinSet::SEQUENCE | sql::PinSet::SEED;
    let left = facts.pins.difference(invisible | sql::PinSet::LOAD);
    if !left.is_empty() || !facts.releases.is_empty() || facts.taint {
        effects |= POSSESSIONS;
    }
    if !facts.pins.difference(invisible).is_empty() {
        effects |= TIES;
    }
    if facts.releases.contains(sql::PinSet::PREPARED) {
        effects |= FORGETS;
    }
    if facts.pins.contains(sql::PinSet::LOAD) {
        effects |= PINS_FOR_GOOD;
    }
    let by_name = matches!(facts.settings, sql::Settings::Names(_));
    Found { effects, by_name, by_value: facts.by_value }
}

/// What a statement whose text was not seen may do.
pub(super) const UNSEEN: Effects = SETTINGS | POSSESSIONS | UNKNOWN;

/// Asks, behind the settings, whether the session has anything else. What the temporary schema holds
/// depends on it; 2615 is `pg_namespace`.
const POSSESSED: &[u8] = b"\
 UNION ALL SELECT NULL, 'pinned' WHERE \
EXISTS (SELECT 1 FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) \
OR EXISTS (SELECT 1 FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
OR EXISTS (SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable) \
OR EXISTS (SELECT 1 FROM pg_catalog.pg_listening_channels()) \
OR EXISTS (SELECT 1 FROM pg_catalog.pg_prepared_statements WHERE from_sql)";

/// The query that asks for all of it. Custom settings that the server's `connect_query` has made
/// are asked for as well: the session may have changed or undone them.
pub(super) fn probe(custom: &Custom, baseline: &Settings) -> Vec<u8> {
    let own = custom.0.iter().map(|name| &**name);
    let others = baseline.iter().map(|(name, _)| name);
    let others = others.filter(|name| name.contains('.') && !own.clone().any(|own| own == *name));
    ask_listed(own.clone().chain(others), POSSESSED)
}

/// A session's state on a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Settings that the server got since it logged in.
    pub settings: Vec<(String, String)>,
    /// Whether there is anything else.
    pub pinned: bool,
}

/// Reads the answer to [`probe`]; `None` when it cannot be understood.
pub(super) fn read_probe(rows: Vec<Vec<Option<Vec<u8>>>>) -> Option<State> {
    let mut state = State { settings: Vec::new(), pinned: false };
    for row in rows {
        let [name, value] = <[_; 2]>::try_from(row).ok()?;
        match name {
            None => state.pinned = true,
            Some(name) => state.settings.push(read_listed(&name, value.as_deref())?),
        }
    }
    Some(state)
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

    fn effects(text: &str) -> Effects {
        effects_of(text.as_bytes(), true, &mut |_| true).effects
    }

    #[test]
    fn harmless_texts_cost_nothing() {
        for text in ["SELECT 1", "BEGIN", "UPDATE t SET a = 1", "SET LOCAL x = 1", "COMMIT"] {
            assert_eq!(effects(text), 0, "{text}");
        }
    }

    #[test]
    fn texts_that_reach_beyond_their_transaction() {
        assert_eq!(effects("SET work_mem = '1MB'"), SETTINGS);
        assert_eq!(effects("RESET work_mem"), SETTINGS | RESETS);
        assert_eq!(effects("SET app.ä = '1'"), SETTINGS | UNKNOWN);
        assert_eq!(effects("LISTEN a"), POSSESSIONS | TIES);
        assert_eq!(effects("UNLISTEN a"), POSSESSIONS);
        assert_eq!(effects("LOAD 'x'") & PINS_FOR_GOOD, PINS_FOR_GOOD);
        assert_eq!(effects("DO $$BEGIN END$$"), SETTINGS | POSSESSIONS | UNKNOWN);
    }

    #[test]
    fn what_is_set_behind_a_reset_of_all_is_told_of() {
        for text in ["RESET ALL; SET app.x = '1'", "DISCARD ALL; SET app.x TO 1"] {
            let mut names = Vec::new();
            let mut note = |name: &str| {
                names.push(name.to_owned());
                true
            };
            let found = effects_of(text.as_bytes(), true, &mut note);
            assert_eq!(found.effects & (SETTINGS | RESETS | UNKNOWN), SETTINGS | RESETS, "{text}");
            assert_eq!(names, ["app.x"]);
        }
        let computed = "RESET ALL; SELECT set_config('app.' || 'x', '1', false)";
        assert_ne!(effects(computed) & UNKNOWN, 0);
    }

    #[test]
    fn names_beyond_those_that_are_remembered_make_a_text_unknown() {
        let mut custom = Custom::default();
        assert!((0..Custom::MAX).all(|n| custom.note(&format!("app.x{n}"))));
        assert!(custom.note("app.x7") && custom.note("work_mem") && !custom.note("app.more"));
        let found = effects_of(b"SET app.more = '1'", true, &mut |name| custom.note(name));
        assert_eq!(found.effects, SETTINGS | UNKNOWN);
    }

    #[test]
    fn a_probe_is_read() {
        let text = |t: &str| Some(t.as_bytes().to_vec());
        let rows = vec![vec![text("work_mem"), text("4096")], vec![None, text("pinned")]];
        let state = read_probe(rows).unwrap();
        assert_eq!(state.settings, [("work_mem".to_owned(), "4096".to_owned())]);
        assert!(state.pinned);
        assert_eq!(read_probe(vec![vec![text("a")]]), None);
        assert_eq!(read_probe(vec![vec![text("a"), None]]), None);
    }

    #[test]
    fn statements_that_reset_are_known_by_name() {
        let mut resetting = Resetting::default();
        assert!(!resetting.is_bound(b"\0r\0"));
        resetting.prepared(b"r", true);
        resetting.prepared(b"", true);
        assert!(resetting.is_bound(b"portal\0r\0\0\0") && resetting.is_bound(b"\0\0"));
        assert!(!resetting.is_bound(b"\0other\0"));
        assert!(resetting.is_bound(b"a name that is not whole"));
        resetting.prepared(b"", false);
        assert!(!resetting.is_bound(b"\0\0") && resetting.is_bound(b"\0r\0"));
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
