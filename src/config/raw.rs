//! What the file and the environment say, key by key: kinds checked, meaning not yet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::error::{Collector, Origin};
use super::files::Files;
use super::keys::{DefaultValue, Key, Section};
use super::nearest::nearest;
use super::secret::{LoadedFile, Secret};
use super::tree::{self, Entry, Given};
use super::value::{Kind, Value};

/// A table of the file: a section, or one entry of `databases` or `users`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    pub(super) section: Section,
    pub(super) entry: Option<String>,
}

impl Scope {
    pub(super) fn section(section: Section) -> Self {
        Self { section, entry: None }
    }

    pub(super) fn entry(section: Section, name: &str) -> Self {
        Self { section, entry: Some(name.to_owned()) }
    }

    /// As a file writes it: `pool`, `databases.app`, `databases."*"`.
    pub(super) fn text(&self) -> String {
        let section = self.section.name();
        match &self.entry {
            None => section.to_owned(),
            Some(name) => {
                let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if !name.is_empty() && name.chars().all(bare) {
                    format!("{section}.{name}")
                } else {
                    format!("{section}.{name:?}")
                }
            }
        }
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.text())
    }
}

/// One key in one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SettingId {
    pub(super) scope: Scope,
    pub(super) name: &'static str,
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Every value that could be read.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) settings: BTreeMap<SettingId, Setting>,
    /// The entries of `databases` and `users`.
    pub(super) entries: BTreeMap<Scope, Origin>,
    /// The files that were read because a key names them.
    pub(super) files: Vec<PathBuf>,
    /// The file has `[databases]` and nothing in it: there are none on purpose.
    pub(super) no_databases: bool,
    /// Keys whose value was refused: they have no value, and no rule may complain about that.
    bad: BTreeSet<SettingId>,
}

impl Raw {
    pub(super) fn get(&self, scope: &Scope, name: &'static str) -> Option<&Setting> {
        self.settings.get(&SettingId { scope: scope.clone(), name })
    }

    pub(super) fn is_bad(&self, scope: &Scope, name: &'static str) -> bool {
        self.bad.contains(&SettingId { scope: scope.clone(), name })
    }

    /// Gives every absent key of the sections its default; a refused one stays without a value.
    pub(super) fn fill_defaults(&mut self) {
        for section in Section::ALL.iter().filter(|section| !section.has_entries()) {
            for key in section.keys() {
                let id = SettingId { scope: Scope::section(*section), name: key.name };
                if let Some(value) = default_value(key)
                    && !self.settings.contains_key(&id)
                    && !self.bad.contains(&id)
                {
                    self.settings.insert(id, Setting { value, origin: Origin::Default });
                }
            }
        }
    }
}

/// The value of TOML text for `key`: a default or an example of the table.
pub(super) fn toml_value(key: &Key, toml: &str) -> Result<Value, String> {
    let (tree, errors) = tree::parse(&format!("v = {toml}"));
    match tree.first() {
        Some(entry) if errors.is_empty() => key.kind.read(&entry.given),
        _ => Err(format!("{toml} is not TOML")),
    }
}

/// The default of `key`, if it has a value of its own.
pub(super) fn default_value(key: &Key) -> Option<Value> {
    match key.default {
        // A test reads every default, so that none is lost here.
        DefaultValue::Toml(toml) => toml_value(key, toml).ok(),
        DefaultValue::Words(_) => None,
    }
}

/// Reads a tree and the environment into [`Raw`].
pub(super) struct Loader<'a> {
    pub(super) raw: Raw,
    pub(super) errors: Collector,
    directory: PathBuf,
    files: &'a dyn Files,
}

impl<'a> Loader<'a> {
    pub(super) fn new(path: &Path, files: &'a dyn Files) -> Self {
        Self {
            raw: Raw::default(),
            errors: Collector::new(path),
            directory: path.parent().map(Path::to_owned).unwrap_or_default(),
            files,
        }
    }

    /// Every table of the file.
    pub(super) fn file(&mut self, tree: &[Entry]) {
        for entry in tree {
            match entry.name.as_str() {
                "tls" => self.tls(entry),
                name => match Section::ALL.iter().find(|section| section.name() == name) {
                    Some(section) if section.has_entries() => self.entries(*section, entry),
                    Some(section) => self.table(&Scope::section(*section), entry),
                    None => self.unknown_section(entry),
                },
            }
        }
    }

    fn unknown_section(&mut self, entry: &Entry) {
        let message = if let Given::Table(_) = entry.given {
            let names = Section::ALL.iter().map(|section| section.name());
            match nearest(&entry.name, names) {
                Some(name) => format!("unknown section; did you mean [{name}]?"),
                None => "unknown section; `howdah config reference` lists the sections".to_owned(),
            }
        } else {
            let home = home_of(&entry.name).unwrap_or_else(|| "a section".to_owned());
            format!("a key outside any section; it belongs in {home}")
        };
        self.errors.add(&Origin::Line(entry.line), &entry.name, message);
    }

    fn tls(&mut self, entry: &Entry) {
        let Given::Table(tables) = &entry.given else {
            return self.not_a_table(entry, "tls", "[tls.client] and [tls.server]");
        };
        for table in tables {
            match table.name.as_str() {
                "client" => self.table(&Scope::section(Section::TlsClient), table),
                "server" => self.table(&Scope::section(Section::TlsServer), table),
                name => self.errors.add(
                    &Origin::Line(table.line),
                    format!("tls.{name}"),
                    "unknown; the sections are [tls.client] and [tls.server]",
                ),
            }
        }
    }

    fn not_a_table(&mut self, entry: &Entry, key: &str, expected: &str) {
        let message = format!("expected {expected}, found {}", entry.given.describe_type());
        self.errors.add(&Origin::Line(entry.line), key, message);
    }

    fn entries(&mut self, section: Section, entry: &Entry) {
        let Given::Table(tables) = &entry.given else {
            return self.not_a_table(entry, section.name(), &format!("[{}]", section.header()));
        };
        self.raw.no_databases |= section == Section::Database && tables.is_empty();
        for table in tables {
            let scope = Scope::entry(section, &table.name);
            let Given::Table(keys) = &table.given else {
                let expected = format!("a table [{}]", scope.text());
                self.not_a_table(table, &scope.text(), &expected);
                continue;
            };
            // The header of a table is where its first key is when it is written with dots.
            let line = keys.first().map_or(table.line, |first| table.line.min(first.line));
            self.raw.entries.insert(scope.clone(), Origin::Line(line));
            self.table(&scope, table);
        }
    }

    fn table(&mut self, scope: &Scope, entry: &Entry) {
        let Given::Table(keys) = &entry.given else {
            return self.not_a_table(
                entry,
                &scope.text(),
                &format!("a section [{}]", scope.text()),
            );
        };
        for key in keys {
            self.set(scope, &key.name, &Origin::Line(key.line), &key.given);
        }
    }

    /// One key. What the environment has set is not overridden.
    pub(super) fn set(&mut self, scope: &Scope, name: &str, origin: &Origin, given: &Given) {
        let Some((key, from_file)) = find(scope.section, name) else {
            self.errors.add(origin, scope.key(name), unknown_key(scope.section, name));
            return;
        };
        let id = SettingId { scope: scope.clone(), name: key.name };
        match self.raw.settings.get(&id).map(|setting| &setting.origin) {
            Some(Origin::Environment(_)) if matches!(origin, Origin::Line(_)) => return,
            Some(_) => {
                let message = format!("set either {0} or {0}_file, not both", key.name);
                self.errors.add(origin, scope.key(name), message);
                return;
            }
            None => {}
        }
        let value = if from_file { self.secret(given) } else { self.value(key, given) };
        match value {
            Ok(Some(value)) => {
                self.raw.settings.insert(id, Setting { value, origin: origin.clone() });
            }
            Ok(None) => {}
            Err(message) => {
                self.errors.add(origin, scope.key(name), message);
                self.raw.bad.insert(id);
            }
        }
    }

    fn value(&mut self, key: &Key, given: &Given) -> Result<Option<Value>, String> {
        let value = key.kind.read(given)?;
        match (key.kind, value) {
            (Kind::File, Value::Path(path)) if path.is_empty() => Ok(None),
            (Kind::File, Value::Path(path)) => self.read(&path).map(|f| Some(Value::File(f))),
            (Kind::Directory, Value::Path(path)) if path.is_empty() || path.starts_with('@') => {
                Ok(Some(Value::Path(path)))
            }
            (Kind::Directory, Value::Path(path)) => {
                Ok(Some(Value::Path(self.directory.join(path).display().to_string())))
            }
            (Kind::Secret, Value::Secret(secret)) if secret.expose().is_empty() => {
                Err("is empty; leave the key out instead".to_owned())
            }
            (_, value) => Ok(Some(value)),
        }
    }

    /// A secret from the file that `…_file` names: its text without the last line break.
    fn secret(&mut self, given: &Given) -> Result<Option<Value>, String> {
        let Value::Path(path) = Kind::File.read(given)? else { return Ok(None) };
        let file = self.read(&path)?;
        let shown = file.path().display();
        let text = std::str::from_utf8(file.contents())
            .map_err(|_| format!("{shown} is not text in UTF-8"))?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(format!("{shown} is empty"));
        }
        if text.contains(['\n', '\0']) {
            return Err(format!("{shown} holds more than one line; expected the secret alone"));
        }
        Ok(Some(Value::Secret(Secret::new(text.to_owned()))))
    }

    fn read(&mut self, path: &str) -> Result<LoadedFile, String> {
        let full = self.directory.join(path);
        self.raw.files.push(full.clone());
        match self.files.read(&full) {
            Ok(contents) => Ok(LoadedFile::new(full, contents)),
            Err(error) => {
                let start = if Path::new(path).is_relative() {
                    "; relative paths start at the directory of the configuration file"
                } else {
                    ""
                };
                Err(format!("cannot read {}: {error}{start}", full.display()))
            }
        }
    }
}

/// The row of `name` in `section`, and whether `name` is its `…_file` form.
pub(super) fn find(section: Section, name: &str) -> Option<(&'static Key, bool)> {
    if let Some(key) = section.key(name) {
        return Some((key, false));
    }
    let key = section.key(name.strip_suffix("_file")?)?;
    (key.kind == Kind::Secret).then_some((key, true))
}

/// The section where a key of this name belongs, `[tls.client] sslmode` for a console name.
fn home_of(name: &str) -> Option<String> {
    let sections = || Section::ALL.iter().filter(|section| !section.has_entries());
    let found = sections().find(|section| section.key(name).is_some());
    if let Some(section) = found {
        return Some(format!("[{}]", section.name()));
    }
    sections()
        .flat_map(|section| section.keys().iter().map(move |key| (section, key)))
        .find(|(_, key)| key.console == name)
        .map(|(section, key)| format!("[{}] as {}", section.name(), key.name))
}

/// What to say about a key that nobody knows.
fn unknown_key(section: Section, name: &str) -> String {
    if section == Section::Database && matches!(name, "host" | "port") {
        return "unknown key; write nodes = [\"host:port\"]".to_owned();
    }
    if let Some(home) = home_of(name) {
        return format!("unknown key in [{}]; it belongs in {home}", section.header());
    }
    match nearest(name, known_names(section).iter().map(String::as_str)) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => format!(
            "unknown key in [{}]; `howdah config reference` lists the keys",
            section.header()
        ),
    }
}

/// Every name a section accepts, `…_file` forms included.
pub(super) fn known_names(section: Section) -> Vec<String> {
    let keys = section.keys().iter();
    keys.flat_map(|key| {
        let file = (key.kind == Kind::Secret).then(|| format!("{}_file", key.name));
        std::iter::once(key.name.to_owned()).chain(file)
    })
    .collect()
}
