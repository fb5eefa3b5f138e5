//! What the answers of a node depend on beside its data.
//!
//! Owns the meaning of the rows that [`features`](super::questions::features) asks for. Never compares.

use super::report::{BadAnswer, Row};
use std::collections::BTreeMap;

/// Most rows that are taken: a node that has more is not understood.
const ROWS_MAX: usize = 10_000;

/// One database of one node, as far as nodes with the same data may differ in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Settings as a new session finds them, that a session may set.
    pub settings: BTreeMap<Box<str>, Box<str>>,
    /// What no session may set.
    pub fixed: BTreeMap<Box<str>, Box<str>>,
    /// Versions of the collations in use; empty where the node's library tells none.
    pub collations: BTreeMap<Box<str>, Box<str>>,
    /// Extensions whose files the node has, and the version of the files.
    pub extensions: BTreeMap<Box<str>, Extension>,
    /// Tablespaces of the catalog, and whether the node has anything in them.
    pub tablespaces: BTreeMap<Box<str>, bool>,
}

/// The files of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The version that they would install.
    pub version: Box<str>,
    /// Whether the database has it.
    pub is_installed: bool,
}

impl Features {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one row: kind, name, value.
    ///
    /// # Errors
    /// If it is no such row, or there are more than 10,000.
    pub fn add(&mut self, row: Row<'_>) -> Result<(), BadAnswer> {
        let text = |column: usize| {
            let bytes = row.get(column).copied().flatten().unwrap_or_default();
            std::str::from_utf8(bytes).map_err(|_| BadAnswer("text"))
        };
        let (kind, name, value) = (text(0)?, Box::from(text(1)?), text(2)?);
        if self.len() >= ROWS_MAX {
            return Err(BadAnswer("bounded number of rows"));
        }
        match kind {
            "setting" => drop(self.settings.insert(name, value.into())),
            "fixed" => drop(self.fixed.insert(name, value.into())),
            "collation" => drop(self.collations.insert(name, value.into())),
            "extension" | "available" => {
                let is_installed = kind == "extension";
                self.extensions.insert(name, Extension { version: value.into(), is_installed });
            }
            "tablespace" => drop(self.tablespaces.insert(name, value == "used")),
            _ => return Err(BadAnswer("kind")),
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.settings.len()
            + self.fixed.len()
            + self.collations.len()
            + self.extensions.len()
            + self.tablespaces.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_each_kind_are_taken() {
        let mut features = Features::new();
        for row in [
            ["setting", "TimeZone", "UTC"],
            ["fixed", "server_encoding", "UTF8"],
            ["collation", "database default", ""],
            ["extension", "hstore", "1.8"],
            ["available", "cube", "1.5"],
            ["tablespace", "fast", "used"],
            ["tablespace", "slow", "empty"],
        ] {
            let row = row.map(|value| (!value.is_empty()).then_some(value.as_bytes()));
            features.add(&row).expect("a row");
        }
        assert_eq!(features.settings["TimeZone"], "UTC".into());
        assert_eq!(features.collations["database default"], "".into());
        assert!(features.extensions["hstore"].is_installed);
        assert!(!features.extensions["cube"].is_installed);
        assert!(features.tablespaces["fast"] && !features.tablespaces["slow"]);
        assert_eq!(features.len(), 7);
        let unknown = [Some(&b"colour"[..]), Some(b"x"), None];
        assert_eq!(features.add(&unknown), Err(BadAnswer("kind")));
        assert!(features.add(&[Some(b"setting"), Some(b"\xFF"), None]).is_err());
    }

    #[test]
    fn rows_are_bounded() {
        let mut features = Features::new();
        let added = (0..20_000).take_while(|number: &u32| {
            let name = number.to_string();
            features.add(&[Some(b"setting"), Some(name.as_bytes()), None]).is_ok()
        });
        assert_eq!(added.count(), ROWS_MAX);
    }
}
