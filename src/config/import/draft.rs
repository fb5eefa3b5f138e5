//! A `howdah.toml` in the making: values by key, each with the place it came from.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::keys::Section;
use super::super::raw::Scope;
use super::ini::Place;

/// One value.
#[derive(Debug)]
pub(super) struct Item {
    /// As TOML.
    pub(super) toml: String,
    /// The line it came from; none for a default of the other program.
    pub(super) place: Option<Place>,
    /// The setting there, or where the value comes from otherwise.
    pub(super) setting: String,
}

/// Values by table and key.
#[derive(Debug, Default)]
pub(super) struct Draft {
    tables: BTreeMap<Scope, BTreeMap<&'static str, Item>>,
    /// Where the entries of `databases` and `users` stand.
    entries: BTreeMap<Scope, Place>,
}

/// The text of a draft, and where its lines come from.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) text: String,
    /// Line of the text to place and setting.
    pub(super) sources: BTreeMap<u32, (Place, String)>,
}

impl Written {
    /// Adds a line; a line break in it would shift those that follow.
    fn line(&mut self, line: &str, source: Option<(Place, String)>) {
        if let Some(source) = source {
            let number = self.text.bytes().filter(|byte| *byte == b'\n').count() + 1;
            self.sources.insert(u32::try_from(number).unwrap_or(u32::MAX), source);
        }
        self.text.push_str(line);
        self.text.push('\n');
    }
}

impl Draft {
    /// Makes sure that an entry exists, empty and new.
    pub(super) fn entry(&mut self, scope: &Scope, place: &Place) {
        self.tables.insert(scope.clone(), BTreeMap::new());
        self.entries.insert(scope.clone(), place.clone());
    }

    pub(super) fn set(&mut self, scope: &Scope, key: &'static str, item: Item) {
        self.tables.entry(scope.clone()).or_default().insert(key, item);
    }

    pub(super) fn get(&self, scope: &Scope, key: &str) -> Option<&Item> {
        self.tables.get(scope)?.get(key)
    }

    pub(super) fn remove(&mut self, scope: &Scope, key: &str) -> Option<Item> {
        self.tables.get_mut(scope)?.remove(key)
    }

    /// A value as a whole number.
    pub(super) fn count(&self, scope: &Scope, key: &str) -> Option<u32> {
        self.get(scope, key)?.toml.parse().ok()
    }

    /// The tables of entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&Scope, &Place)> {
        self.entries.iter()
    }

    /// The file: `head` as comments, then every table in the order of the reference.
    pub(super) fn write(&self, head: &[String]) -> Written {
        let mut written = Written::default();
        for line in head {
            let line = format!("# {}", printable(line));
            written.line(line.trim_end(), None);
        }
        let none = self.entries.keys().all(|scope| scope.section != Section::Database);
        if none {
            // PgBouncer runs without any; the loader wants to be told that there are none.
            written.line("", None);
            written.line("[databases]  # none yet: write [databases.NAME]", None);
        }
        for (scope, items) in self
            .tables
            .iter()
            .filter(|(scope, items)| !items.is_empty() || scope.section.has_entries())
        {
            written.line("", None);
            let source = self.entries.get(scope).map(|place| (place.clone(), scope.text()));
            written.line(&format!("[{}]", header(scope)), source);
            for key in scope.section.keys() {
                let Some(item) = items.get(key.name) else { continue };
                let comment = match &item.place {
                    Some(place) => format!("{place} {}", item.setting),
                    None => item.setting.clone(),
                };
                let line = format!("{} = {}  # {}", key.name, item.toml, printable(&comment));
                let source = item.place.clone().map(|place| (place, item.setting.clone()));
                written.line(&line, source);
            }
        }
        written
    }
}

/// `text` for a comment, which TOML wants without control characters.
fn printable(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// The header of a table; the name of an entry is quoted as TOML wants it.
fn header(scope: &Scope) -> String {
    match &scope.entry {
        Some(name) => format!("{}.{}", scope.section.name(), quoted(name)),
        None => scope.section.name().to_owned(),
    }
}

/// `text` as a TOML string on one line.
pub(in crate::config) fn quoted(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for c in text.chars() {
        match c {
            '"' => string.push_str("\\\""),
            '\\' => string.push_str("\\\\"),
            c if c.is_control() => _ = write!(string, "\\U{:08X}", u32::from(c)),
            c => string.push(c),
        }
    }
    string.push('"');
    string
}

/// Texts as a TOML list.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::tree;
    use super::*;

    proptest! {
        #[test]
        fn any_text_reads_back(text in "(\\PC|[\"\\\\\n\t\u{7f}\u{85}#']){0,20}") {
            let (tree, errors) = tree::parse(&format!("{} = {}", quoted(&text), quoted(&text)));
            prop_assert_eq!(&errors, &[]);
            prop_assert_eq!(tree[0].given.as_text(), Some(text.as_str()));
            prop_assert_eq!(&tree[0].name, &text);
        }
    }
}
