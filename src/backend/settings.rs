//! The settings by which a session differs from a server that has just logged in.
//!
//! Owns their names and values, shared between all sessions that have the same ones, so that
//! "does this server need anything?" is a comparison of two pointers. Never knows where a value
//! came from. Names are kept in lower case, sorted, each once.

use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// Settings of one session or server. Equal settings are the same allocation while the
/// [`SettingsTable`] that made them lives.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Settings {
    entries: Box<[(Box<str>, Box<str>)]>,
}

impl Settings {
    /// These pairs; a later pair of the same name wins. Belongs to no table.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut entries: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.to_ascii_lowercase().into(), value.into());
            match entries.binary_search_by(|(n, _)| n.cmp(&name)) {
                Ok(at) => entries[at].1 = value,
                Err(at) => entries.insert(at, (name, value)),
            }
        }
        Self { entries: entries.into() }
    }

    /// Name and value pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of `name`, which is in lower case.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.entries.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        self.entries.get(found).map(|(_, value)| &**value)
    }

    /// These, and those of `base` that they do not name.
    pub fn over(&self, base: &Self) -> Self {
        let others = base.entries.iter().filter(|(name, _)| self.value(name).is_none());
        let mut entries: Vec<_> = self.entries.iter().chain(others).cloned().collect();
        entries.sort_unstable();
        Self { entries: entries.into() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether a server that has just logged in has the same.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// All distinct settings in use. One short lock, taken at login and when a session's settings
/// change, never on the way of a query.
#[derive(Debug, Default)]
pub struct SettingsTable {
    known: Mutex<Vec<Weak<Settings>>>,
}

impl SettingsTable {
    /// How many there are.
    pub fn len(&self) -> usize {
        let known = self.known.lock();
        known.iter().filter(|one| one.strong_count() > 0).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shared form of these pairs; a later pair of the same name wins.
    pub fn intern(&self, pairs: impl IntoIterator<Item = (String, String)>) -> Arc<Settings> {
        let wanted = Settings::of(pairs);
        let mut known = self.known.lock();
        // Sorted by content; entries that nobody uses any more are found and dropped on the way.
        known.retain(|weak| weak.strong_count() > 0);
        let found = known.binary_search_by(|weak| {
            weak.upgrade().map_or(std::cmp::Ordering::Less, |settings| (*settings).cmp(&wanted))
        });
        match found.ok().and_then(|at| known.get(at)).and_then(Weak::upgrade) {
            Some(shared) => shared,
            None => {
                let shared = Arc::new(wanted);
                let at = found.unwrap_or_else(|at| at).min(known.len());
                known.insert(at, Arc::downgrade(&shared));
                shared
            }
        }
    }
}

/// Appends `text` as a string constant that means the same whatever
/// `standard_conforming_strings` says (manual 4.1.2.2).
pub fn quote_literal(out: &mut Vec<u8>, text: &str) {
    let escaped = text.contains('\\');
    out.extend_from_slice(if escaped { b" E'" } else { b"'" });
    for &byte in text.as_bytes() {
        if byte == b'\'' || byte == b'\\' {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
}

/// Appends `text` as an expression that means it whatever `client_encoding` the server has at the
/// time: only ASCII is the same in all of them.
fn quote_unicode(out: &mut Vec<u8>, text: &str) {
    if text.is_ascii() {
        return quote_literal(out, text);
    }
    out.extend_from_slice(b"pg_catalog.convert_from(pg_catalog.decode('");
    for byte in text.bytes() {
        let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        out.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    out.extend_from_slice(b"','hex'),'UTF8')");
}

/// Settings that decide what the session may set: undone before all others, set behind them.
const IDENTITY: &[&str] = &["session_authorization", "role"];

/// The statements that turn a server with settings `from` into one with settings `to`; none when it
/// has them already. `unlisted`: there may be others, which are reset. They are ASCII: the server may
/// have another `client_encoding` when it reads them than when it runs the last of them.
///
/// Every value goes through `set_config`, which takes it as `current_setting` gives it, lists such
/// as `search_path` included.
pub fn alignment(from: &Settings, to: &Settings, unlisted: bool) -> Vec<Vec<u8>> {
    statements(from, to, unlisted, false)
}

/// See [`alignment`]. `retakes`: the identity is left and taken again even if it stays, because
/// what is set may need more rights than it has.
fn statements(from: &Settings, to: &Settings, unlisted: bool, retakes: bool) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let is_identity = |name: &str| IDENTITY.contains(&name);
    // RESET ALL leaves the identity alone (manual, "RESET").
    let gone = |name: &str| to.value(name).is_none() && (!unlisted || is_identity(name));
    let changed = |name: &str| from.value(name) != to.value(name);
    let moves = |name: &str| retakes || changed(name);
    let is_left = |name: &str| unlisted || (from.value(name).is_some() && moves(name));
    for name in IDENTITY.iter().rev().filter(|name| is_left(name)) {
        all.push(reset(name));
    }
    if unlisted {
        all.push(b"RESET ALL".to_vec());
    }
    for (name, _) in from.iter().filter(|(name, _)| gone(name) && !is_identity(name)) {
        all.push(reset(name));
    }
    let differs = |name: &str, value: &str| unlisted || from.value(name) != Some(value);
    let others = to.iter().filter(|(name, value)| !is_identity(name) && differs(name, value));
    let identity = IDENTITY.iter().filter(|name| unlisted || moves(name));
    let identity = identity.filter_map(|name| Some((*name, to.value(name)?)));
    let mut sql = Vec::new();
    for (name, value) in others.chain(identity) {
        sql.extend_from_slice(if sql.is_empty() { b"SELECT " } else { b"," });
        sql.extend_from_slice(b"pg_catalog.set_config(");
        quote_unicode(&mut sql, name);
        sql.push(b',');
        quote_unicode(&mut sql, value);
        sql.extend_from_slice(b",false)");
    }
    if !sql.is_empty() {
        all.push(sql);
    }
    all
}

fn reset(name: &str) -> Vec<u8> {
    let mut sql = Vec::new();
    if !name.is_ascii() {
        sql.extend_from_slice(b"SELECT pg_catalog.set_config(");
        quote_unicode(&mut sql, name);
        // As RESET does.
        sql.extend_from_slice(b",NULL,false)");
        return sql;
    }
    sql.extend_from_slice(b"RESET ");
    quote_name(&mut sql, name);
    sql
}

/// Appends a setting's name; one with a dot is two identifiers.
fn quote_name(out: &mut Vec<u8>, name: &str) {
    for (index, part) in name.split('.').enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.push(b'"');
        for &byte in part.as_bytes() {
            if byte == b'"' {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}

/// What `connect_query` has set on a server: every session finds it there, none of them owns it.
///
/// The settings of servers and sessions are counted from here on. Whatever undoes a part of it for
/// somebody (RESET, DISCARD ALL) is noticed, and the part made again with the next alignment.
#[derive(Debug)]
pub struct Baseline {
    all: Arc<Settings>,
    /// What is left of it, when a part was undone.
    left: Option<Settings>,
}

impl Baseline {
    /// All of it is there.
    pub fn new(all: Arc<Settings>) -> Self {
        Self { all, left: None }
    }

    /// Whether nothing of it was undone.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.left.is_none()
    }

    /// All of it.
    pub fn settings(&self) -> &Settings {
        &self.all
    }

    /// All settings of the server have returned to their defaults.
    pub fn undone(&mut self) {
        self.left = (!self.all.is_empty()).then(|| Settings { entries: Box::default() });
    }

    /// It was made again.
    pub fn restored(&mut self) {
        self.left = None;
    }

    /// Takes from what the server has `listed` (names in lower case) what is not the session's
    /// own, and notes what is missing. A session that has asked for the very same value keeps it.
    pub fn take_from(
        &mut self,
        listed: &mut Vec<(String, String)>,
        session: &Settings,
        resets: bool,
    ) {
        if self.all.is_empty() {
            return;
        }
        let has_role = listed.iter().any(|(name, _)| name == "role");
        if self.all.value("role").is_some() && !has_role && !resets {
            // The login has given a role, which the session has left. What RESET leaves is restored.
            listed.push(("role".to_owned(), "none".to_owned()));
        }
        let is_there = |name: &str| listed.iter().any(|(listed, _)| listed == name);
        let there = self.all.entries.iter().filter(|(name, _)| is_there(name));
        let left = Settings { entries: there.cloned().collect() };
        self.left = (left.len() < self.all.len()).then_some(left);
        listed.retain(|(name, value)| {
            let value = Some(value.as_str());
            self.all.value(name) != value || session.value(name) == value
        });
    }

    /// As [`alignment`], for settings counted from this baseline.
    pub fn alignment(&self, from: &Settings, to: &Settings, unlisted: bool) -> Vec<Vec<u8>> {
        if self.all.is_empty() {
            return alignment(from, to, unlisted);
        }
        let left = self.left.as_ref().unwrap_or(&self.all);
        statements(&from.over(left), &to.over(&self.all), unlisted, !self.is_whole())
    }
}

/// Settings that differ from what the server gave its session at login, but for custom ones.
///
/// Names and operators are qualified: the session's `search_path` must not be able to answer.
/// `role` and `session_authorization` are not listed in `pg_settings`.
const LISTED: &[u8] = b"\
SELECT name, setting FROM pg_catalog.pg_settings \
WHERE source OPERATOR(pg_catalog.=) 'session' \
AND name OPERATOR(pg_catalog.!~~) 'transaction\\_%' \
UNION ALL SELECT 'role', pg_catalog.current_setting('role') \
WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' \
UNION ALL SELECT 'session_authorization', pg_catalog.current_setting('session_authorization') \
WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a \
JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.usesysid \
WHERE r.rolname OPERATOR(pg_catalog.<>) pg_catalog.current_setting('session_authorization'))";

/// Asks for names and values that are read by [`read_listed`]: the settings that differ from what
/// the server gave its session at login, those custom ones, of which PostgreSQL keeps no list, and
/// whatever `more` (two columns, behind UNION ALL) adds. The answer is ASCII, as any
/// `client_encoding` gives it.
pub fn ask_listed<'a>(custom: impl Iterator<Item = &'a str>, more: &[u8]) -> Vec<u8> {
    let mut sql = b"SELECT pg_catalog.encode(pg_catalog.convert_to(n,'UTF8'),'escape'),\
        pg_catalog.encode(pg_catalog.convert_to(v,'UTF8'),'escape') FROM ("
        .to_vec();
    sql.extend_from_slice(LISTED);
    sql.extend_from_slice(more);
    custom.for_each(|name| ask_custom(&mut sql, name));
    sql.extend_from_slice(b") AS s (n, v)");
    sql
}

fn ask_custom(sql: &mut Vec<u8>, name: &str) {
    let mut value = b"pg_catalog.current_setting(".to_vec();
    quote_unicode(&mut value, name);
    value.extend_from_slice(b",true)");
    sql.extend_from_slice(b" UNION ALL SELECT ");
    quote_unicode(sql, name);
    sql.push(b',');
    sql.extend_from_slice(&value);
    sql.extend_from_slice(b" WHERE ");
    sql.extend_from_slice(&value);
    // Once named, a setting stays known to the server; reset, it is empty.
    sql.extend_from_slice(b" OPERATOR(pg_catalog.<>) ''");
}

/// One row of the answer to [`ask_listed`], the name in lower case; `None` when it makes no sense.
pub fn read_listed(name: &[u8], value: Option<&[u8]>) -> Option<(String, String)> {
    Some((unescape(name)?.to_ascii_lowercase(), unescape(value?)?))
}

/// Undoes `encode(…, 'escape')` (manual, "Binary Data Types").
fn unescape(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'\\', [b'\\', behind @ ..]) => {
                bytes.push(b'\\');
                rest = behind;
            }
            (b'\\', [high @ b'0'..=b'3', mid @ b'0'..=b'7', low @ b'0'..=b'7', behind @ ..]) => {
                bytes.push((high - b'0') << 6 | (mid - b'0') << 3 | (low - b'0'));
                rest = behind;
            }
            (b'\\', _) => return None,
            (byte, _) if byte.is_ascii() => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> SettingsTable {
        SettingsTable::default()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn equal_settings_are_one_allocation() {
        let table = table();
        let a = table.intern(pairs(&[("TimeZone", "UTC"), ("datestyle", "ISO")]));
        let b =
            table.intern(pairs(&[("datestyle", "x"), ("DateStyle", "ISO"), ("timezone", "UTC")]));
        let c = table.intern(pairs(&[("timezone", "CET")]));
        assert!(Arc::ptr_eq(&a, &b));
        assert!(!Arc::ptr_eq(&a, &c));
    }

    #[test]
    fn settings_nobody_uses_are_forgotten() {
        let table = table();
        drop(table.intern(pairs(&[("a", "1")])));
        let kept = table.intern(pairs(&[("b", "1")]));
        assert_eq!(table.known.lock().len(), 1);
        assert_eq!(kept.value("b"), Some("1"));
    }

    #[test]
    fn alignment_resets_what_is_gone_and_sets_what_differs() {
        let table = table();
        let from = table.intern(pairs(&[("a.b", "1"), ("timezone", "UTC"), ("same", "x")]));
        let to = table.intern(pairs(&[("timezone", "O'Brien\\"), ("same", "x")]));
        let sql = text(alignment(&from, &to, false));
        assert_eq!(
            sql,
            r#"RESET "a"."b";SELECT pg_catalog.set_config('timezone', E'O''Brien\\',false)"#
        );
        assert!(alignment(&to, &to, false).is_empty());
    }

    #[test]
    fn the_role_is_left_first_and_taken_last() {
        let table = table();
        let from = table.intern(pairs(&[("role", "a"), ("x", "1")]));
        let to = table.intern(pairs(&[("role", "b"), ("x", "2")]));
        let sql = text(alignment(&from, &to, false));
        let sets =
            "SELECT pg_catalog.set_config('x','2',false),pg_catalog.set_config('role','b',false)";
        assert_eq!(sql, format!("RESET \"role\";{sets}"));
        let all = text(alignment(&from, &from, true));
        let resets = "RESET \"role\";RESET \"session_authorization\";RESET ALL;SELECT";
        assert!(all.starts_with(resets), "{all}");
        assert!(
            all.ends_with("set_config('role', 'a',false)")
                || all.ends_with("set_config('role','a',false)"),
            "{all}"
        );
    }

    #[test]
    fn questions_and_answers_are_ascii() {
        let table = table();
        let from = table.intern(pairs(&[("app.ä", "1")]));
        let to = table.intern(pairs(&[("app.x", "é'€")]));
        let sql = text(alignment(&from, &to, false));
        let name = "pg_catalog.convert_from(pg_catalog.decode('6170702ec3a4','hex'),'UTF8')";
        let value = "pg_catalog.convert_from(pg_catalog.decode('c3a927e282ac','hex'),'UTF8')";
        assert_eq!(
            sql,
            format!(
                "SELECT pg_catalog.set_config({name},NULL,false);\
                 SELECT pg_catalog.set_config('app.x',{value},false)"
            )
        );
        assert!(ask_listed(["app.ä"].into_iter(), b"").is_ascii());
        let read = |text: &str| read_listed(b"App.X", Some(text.as_bytes()));
        let pair = |value: &str| Some(("app.x".to_owned(), value.to_owned()));
        assert_eq!(read(r"\303\251 a\\b"), pair(r"é a\b"));
        assert_eq!(read(""), pair(""));
        for wrong in [r"\", r"\30", r"\400", r"\x", r"\303", "é\\"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read_listed(b"a", None), None);
    }

    fn baseline(table: &SettingsTable) -> Baseline {
        Baseline::new(table.intern(pairs(&[("work_mem", "64MB"), ("app.x", "1")])))
    }

    fn text(sql: Vec<Vec<u8>>) -> String {
        String::from_utf8(sql.join(&b';')).unwrap()
    }

    #[test]
    fn what_the_baseline_has_is_nobodys() {
        let table = table();
        let mut baseline = baseline(&table);
        let none = table.intern([]);
        let mut listed = pairs(&[("work_mem", "64MB"), ("app.x", "1"), ("timezone", "UTC")]);
        baseline.take_from(&mut listed, &none, false);
        assert_eq!(listed, pairs(&[("timezone", "UTC")]));
        assert!(baseline.is_whole());
        let own = table.intern(pairs(&[("app.x", "1")]));
        let mut listed = pairs(&[("work_mem", "1MB"), ("app.x", "1")]);
        baseline.take_from(&mut listed, &own, false);
        assert_eq!(listed, pairs(&[("work_mem", "1MB"), ("app.x", "1")]));
        assert!(baseline.is_whole(), "a part that is overlaid is not undone");
    }

    #[test]
    fn leaving_a_setting_returns_to_the_baseline() {
        let table = table();
        let from = table.intern(pairs(&[("work_mem", "1MB"), ("timezone", "UTC")]));
        let sql = text(baseline(&table).alignment(&from, &table.intern([]), false));
        let set = "SELECT pg_catalog.set_config('work_mem','64MB',false)";
        assert_eq!(sql, format!("RESET \"timezone\";{set}"));
    }

    #[test]
    fn what_was_undone_is_made_again_and_no_more() {
        let table = table();
        let mut baseline = baseline(&table);
        let none = table.intern([]);
        baseline.take_from(&mut pairs(&[("app.x", "1")]), &none, false);
        assert!(!baseline.is_whole());
        let sql = text(baseline.alignment(&none, &none, false));
        assert_eq!(sql, "SELECT pg_catalog.set_config('work_mem','64MB',false)");
        baseline.undone();
        let both = "SELECT pg_catalog.set_config('app.x','1',false),\
            pg_catalog.set_config('work_mem','64MB',false)";
        assert_eq!(text(baseline.alignment(&none, &none, false)), both);
        assert_eq!(
            text(baseline.alignment(&none, &none, true)).split("RESET ALL;").last(),
            Some(both)
        );
        baseline.restored();
        assert!(baseline.alignment(&none, &none, false).is_empty());
    }

    #[test]
    fn a_role_of_the_baseline_is_left_to_make_the_rest_again() {
        let table = table();
        let mut baseline =
            Baseline::new(table.intern(pairs(&[("role", "app"), ("log_duration", "on")])));
        let none = table.intern([]);
        baseline.take_from(&mut pairs(&[("role", "app")]), &none, false);
        let sql = text(baseline.alignment(&none, &none, false));
        let sets = "SELECT pg_catalog.set_config('log_duration','on',false),\
            pg_catalog.set_config('role','app',false)";
        assert_eq!(sql, format!("RESET \"role\";{sets}"));
    }
}
