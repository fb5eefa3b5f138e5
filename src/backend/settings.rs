//! The settings by which a session differs from a server that has just logged in.
//!
//! Owns their names and values, shared between all sessions that have the same ones, so that
//! "does this server need anything?" is a comparison of two pointers. Never knows where a value
//! came from. Names are kept in lower case, sorted, each once.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Settings of one session or server. Equal settings are the same allocation while the
/// [`SettingsTable`] that made them lives.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Settings {
    entries: Box<[(Box<str>, Box<str>)]>,
}

impl Settings {
    /// Name and value pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of `name`, which is in lower case.
    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.entries.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        self.entries.get(found).map(|(_, value)| &**value)
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
    /// The shared form of these pairs; a later pair of the same name wins.
    pub fn intern(&self, pairs: impl IntoIterator<Item = (String, String)>) -> Arc<Settings> {
        let mut entries: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.to_ascii_lowercase().into(), value.into());
            match entries.binary_search_by(|(n, _)| n.cmp(&name)) {
                Ok(at) => entries[at].1 = value,
                Err(at) => entries.insert(at, (name, value)),
            }
        }
        let wanted = Settings { entries: entries.into() };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Settings that decide what the session may set: undone before all others, set behind them.
const IDENTITY: &[&str] = &["session_authorization", "role"];

/// The query that turns a server with settings `from` into one with settings `to`; `None` when it
/// has them already. `unlisted`: there may be others, which are reset.
///
/// Every value goes through `set_config`, which takes it as `current_setting` gives it, lists such
/// as `search_path` included.
pub fn alignment(from: &Settings, to: &Settings, unlisted: bool) -> Option<Vec<u8>> {
    let mut sql = Vec::new();
    let is_identity = |name: &str| IDENTITY.contains(&name);
    // RESET ALL leaves the identity alone (manual, "RESET").
    let gone = |name: &str| to.value(name).is_none() && (!unlisted || is_identity(name));
    let changed = |name: &str| from.value(name) != to.value(name);
    let is_left = |name: &str| unlisted || (from.value(name).is_some() && changed(name));
    for name in IDENTITY.iter().rev().filter(|name| is_left(name)) {
        reset(&mut sql, name);
    }
    if unlisted {
        sql.extend_from_slice(b"RESET ALL;");
    }
    for (name, _) in from.iter().filter(|(name, _)| gone(name) && !is_identity(name)) {
        reset(&mut sql, name);
    }
    let differs = |name: &str, value: &str| unlisted || from.value(name) != Some(value);
    let others = to.iter().filter(|(name, value)| !is_identity(name) && differs(name, value));
    let identity = IDENTITY.iter().filter(|name| unlisted || changed(name));
    let identity = identity.filter_map(|name| Some((*name, to.value(name)?)));
    let mut first = true;
    for (name, value) in others.chain(identity) {
        sql.extend_from_slice(if first { b"SELECT " } else { b"," });
        first = false;
        sql.extend_from_slice(b"pg_catalog.set_config(");
        quote_literal(&mut sql, name);
        sql.push(b',');
        quote_literal(&mut sql, value);
        sql.extend_from_slice(b",false)");
    }
    (!sql.is_empty()).then_some(sql)
}

fn reset(sql: &mut Vec<u8>, name: &str) {
    sql.extend_from_slice(b"RESET ");
    quote_name(sql, name);
    sql.push(b';');
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
        assert_eq!(table.known.lock().unwrap().len(), 1);
        assert_eq!(kept.value("b"), Some("1"));
    }

    #[test]
    fn alignment_resets_what_is_gone_and_sets_what_differs() {
        let table = table();
        let from = table.intern(pairs(&[("a.b", "1"), ("timezone", "UTC"), ("same", "x")]));
        let to = table.intern(pairs(&[("timezone", "O'Brien\\"), ("same", "x")]));
        let sql = String::from_utf8(alignment(&from, &to, false).unwrap()).unwrap();
        assert_eq!(
            sql,
            r#"RESET "a"."b";SELECT pg_catalog.set_config('timezone', E'O''Brien\\',false)"#
        );
        assert_eq!(alignment(&to, &to, false), None);
    }

    #[test]
    fn the_role_is_left_first_and_taken_last() {
        let table = table();
        let from = table.intern(pairs(&[("role", "a"), ("x", "1")]));
        let to = table.intern(pairs(&[("role", "b"), ("x", "2")]));
        let sql = String::from_utf8(alignment(&from, &to, false).unwrap()).unwrap();
        let sets =
            "SELECT pg_catalog.set_config('x','2',false),pg_catalog.set_config('role','b',false)";
        assert_eq!(sql, format!("RESET \"role\";{sets}"));
        let all = String::from_utf8(alignment(&from, &from, true).unwrap()).unwrap();
        let resets = "RESET \"role\";RESET \"session_authorization\";RESET ALL;SELECT";
        assert!(all.starts_with(resets), "{all}");
        assert!(
            all.ends_with("set_config('role', 'a',false)")
                || all.ends_with("set_config('role','a',false)"),
            "{all}"
        );
    }
}
