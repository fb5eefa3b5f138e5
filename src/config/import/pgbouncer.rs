//! PgBouncer's file to a draft of ours: every setting goes through its row of the table.

use std::path::Path;

use super::super::error::ConfigError;
use super::super::files::Files;
use super::super::keys::Section;
use super::super::nearest::nearest;
use super::super::raw::{Scope, default_value, toml_value};
use super::convert::{Convert, Converted, Ground, parts};
use super::draft::{Draft, Item, list, quoted};
use super::finding::{Fate, Finding, Process};
use super::ini::{self, Event, Place, connection_string};
use super::pgbouncer_table::{Becomes, DATABASES, PEERS, PGBOUNCER, Row, USERS};

/// The sections of the file.
const SECTIONS: &[&str] = &["pgbouncer", "databases", "users", "peers"];

/// A file in translation.
pub(super) struct Import<'a> {
    pub(super) ground: &'a Ground,
    pub(super) draft: Draft,
    pub(super) findings: Vec<Finding>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) process: Process,
}

/// The rows that count at a place of the file.
struct Table<'a> {
    rows: &'static [Row],
    scope: &'a Scope,
    title: &'a str,
}

/// A setting on its way.
struct Met<'a> {
    scope: &'a Scope,
    row: &'static Row,
    value: &'a str,
    place: &'a Place,
    /// How it is called in the listing.
    title: &'a str,
}

impl<'a> Import<'a> {
    pub(super) fn new(ground: &'a Ground) -> Self {
        Self {
            ground,
            draft: Draft::default(),
            findings: Vec::new(),
            errors: Vec::new(),
            process: Process::default(),
        }
    }

    /// Reads the file at `path`, and what is absent from it counts as in PgBouncer.
    pub(super) fn pgbouncer(&mut self, path: &Path, text: &[u8], files: &dyn Files) {
        let (events, errors) = ini::read(path, text, files);
        self.errors.extend(errors);
        let mut section = None;
        for event in events {
            match event {
                Event::Section { name, place } => section = self.section(name, &place),
                Event::Setting { key, value, place } => {
                    self.setting(section.as_deref(), &key, &value, &place);
                }
            }
        }
        self.defaults();
        self.agree();
    }

    fn section(&mut self, name: String, place: &Place) -> Option<String> {
        if !SECTIONS.contains(&name.as_str()) {
            let near = nearest(&name, SECTIONS.iter().copied());
            let near = near.map_or(String::new(), |near| format!("; did you mean [{near}]?"));
            self.errors.push(place.error("", format!("unknown section [{name}]{near}")));
        }
        if name == "pgbouncer" {
            self.start_anew(place);
        }
        Some(name)
    }

    /// PgBouncer gives every setting that has a default its default again at each `[pgbouncer]`.
    fn start_anew(&mut self, place: &Place) {
        for row in PGBOUNCER.iter().filter(|row| row.default.is_some()) {
            let mut lost = match row.becomes {
                Becomes::Key(section, key, _) => {
                    self.draft.remove(&Scope::section(section), key).is_some()
                }
                Becomes::Node | Becomes::Process | Becomes::Needless | Becomes::Missing(_) => false,
            };
            lost |= self.process.file(row.name).is_some_and(|slot| slot.take().is_some());
            if lost {
                let what = format!("[pgbouncer] {} was set above", row.name);
                let why = "[pgbouncer] begins anew here, which sets it back to its default: have \
                           that section once";
                self.find(place, &what, Fate::Missing(why.to_owned()));
            }
        }
    }

    fn setting(&mut self, section: Option<&str>, key: &str, value: &str, place: &Place) {
        match section {
            None => {
                let message = "a setting outside any section; it belongs below [pgbouncer]";
                self.errors.push(place.error(key, message));
            }
            Some("pgbouncer") => {
                let scope = Scope::section(Section::Howdah);
                let table = Table { rows: PGBOUNCER, scope: &scope, title: "[pgbouncer]" };
                self.one(&table, (key, value), place);
            }
            Some("databases") => self.database(key, value, place),
            Some("users") => {
                let scope = Scope::entry(Section::User, key);
                self.draft.entry(&scope, place);
                self.words(USERS, &scope, value, place);
            }
            Some("peers") => {
                let scope = Scope::entry(Section::Peer, key);
                self.draft.entry(&scope, place);
                self.words(PEERS, &scope, value, place);
            }
            // Told at its header.
            Some(_) => {}
        }
    }

    fn database(&mut self, name: &str, value: &str, place: &Place) {
        let scope = Scope::entry(Section::Database, name);
        self.draft.entry(&scope, place);
        let pairs = self.words(DATABASES, &scope, value, place);
        let last = |name: &str| {
            pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let (host, port) = (last("host"), last("port"));
        let first = host.and_then(|host| parts(host).next());
        let item = Item {
            toml: node(first, port.unwrap_or("5432")),
            place: Some(place.clone()),
            setting: if host.is_some() { "host" } else { "no host: the Unix socket" }.to_owned(),
        };
        self.draft.set(&scope, "nodes", item);
    }

    /// The settings of a connection string; the pairs.
    fn words(
        &mut self,
        rows: &'static [Row],
        scope: &Scope,
        text: &str,
        place: &Place,
    ) -> Vec<(String, String)> {
        let title = scope.section.name();
        let name = scope.entry.as_deref().unwrap_or_default();
        let title = format!("[{title}] {}", name.escape_debug());
        let pairs = connection_string(text).unwrap_or_else(|message| {
            self.errors.push(place.error(&title, message));
            Vec::new()
        });
        for (key, value) in &pairs {
            self.one(&Table { rows, scope, title: &title }, (key, value), place);
        }
        pairs
    }

    fn one(&mut self, table: &Table<'_>, (name, value): (&str, &str), place: &Place) {
        let Table { rows, scope, title } = *table;
        let Some(row) = rows.iter().find(|row| row.name == name) else {
            let near = nearest(name, rows.iter().map(|row| row.name));
            let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
            let key = format!("{title} {}", name.escape_debug());
            return self.errors.push(place.error(&key, format!("unknown setting{near}")));
        };
        let title = format!("{title} {name}");
        self.met(&Met { scope, row, value, place, title: &title });
    }

    fn met(&mut self, met: &Met<'_>) {
        let Met { row, value, place, .. } = *met;
        let note = row.note.to_owned();
        let fate = match row.becomes {
            Becomes::Key(section, key, convert) => {
                let scope =
                    if section.has_entries() { met.scope.clone() } else { Scope::section(section) };
                return self.carry(&scope, key, convert, met);
            }
            Becomes::Node if row.name == "host" && parts(value).count() > 1 => Fate::Missing(note),
            Becomes::Node => Fate::Carried(met.scope.key("nodes"), String::new()),
            Becomes::Process => {
                self.process(met);
                Fate::Process(note)
            }
            Becomes::Needless => Fate::Needless(note),
            Becomes::Missing(harmless)
                if harmless.iter().any(|known| known.eq_ignore_ascii_case(value)) =>
            {
                Fate::Needless("it says what howdah does anyway".to_owned())
            }
            Becomes::Missing(_) => Fate::Missing(note),
        };
        self.find(place, met.title, fate);
    }

    /// Keeps what only a process that runs the file itself obeys.
    fn process(&mut self, met: &Met<'_>) {
        if met.row.name == "user" {
            self.process.user = (!met.value.is_empty()).then(|| met.value.to_owned());
            return;
        }
        match self.ground.path(met.value) {
            Ok(path) => {
                if let Some(slot) = self.process.file(met.row.name) {
                    *slot = (!met.value.is_empty()).then_some(path);
                }
            }
            Err(message) => self.errors.push(met.place.error(met.title, message)),
        }
    }

    /// Carries a value over to `key`.
    fn carry(&mut self, scope: &Scope, key: &'static str, convert: Convert, met: &Met<'_>) {
        let (place, note) = (met.place, met.row.note.to_owned());
        let converted = match convert(met.value, self.ground) {
            Ok(converted) => converted,
            Err(message) => {
                let message =
                    format!("{message}; write it as in {} = {}", met.row.name, met.row.sample);
                return self.errors.push(place.error(met.title, message));
            }
        };
        let carried = |why| Fate::Carried(scope.key(key), why);
        let (toml, fate) = match converted {
            Converted::Same(toml) => (Some(toml), carried(note)),
            Converted::Near(toml, why) => (Some(toml), carried(why)),
            Converted::Needless(why) => (None, Fate::Needless(why)),
            Converted::Missing(toml, what) => (toml, Fate::Missing(what)),
            Converted::Guard(toml, what) => (toml, Fate::Guard(what)),
        };
        // A later line wins, also one that says nothing.
        self.draft.remove(scope, key);
        if let Some(toml) = toml {
            let setting = met.row.name.to_owned();
            self.draft.set(scope, key, Item { toml, place: Some(place.clone()), setting });
        }
        self.find(place, met.title, fate);
    }

    pub(super) fn find(&mut self, place: &Place, setting: &str, fate: Fate) {
        let setting = setting.to_owned();
        self.findings.push(Finding { place: place.clone(), setting, fate });
    }

    /// Writes PgBouncer's default wherever ours is another.
    fn defaults(&mut self) {
        for row in PGBOUNCER {
            let (Becomes::Key(section, name, convert), Some(default)) = (row.becomes, row.default)
            else {
                continue;
            };
            let scope = Scope::section(section);
            let Some(key) = section.key(name).filter(|_| self.draft.get(&scope, name).is_none())
            else {
                continue;
            };
            let Ok(Converted::Same(toml)) = convert(default, self.ground) else { continue };
            if toml_value(key, &toml).ok() != default_value(key) {
                let item = Item { toml, place: None, setting: "PgBouncer's default".to_owned() };
                self.draft.set(&scope, name, item);
            }
        }
        // Its SIGTERM waits for clients without a limit.
        let item =
            Item { toml: "0".to_owned(), place: None, setting: "PgBouncer's default".to_owned() };
        self.draft.set(&Scope::section(Section::Howdah), "shutdown_timeout", item);
    }

    /// What PgBouncer accepts in silence and we do not.
    fn agree(&mut self) {
        self.keepalive();
        let general = Scope::section(Section::Pool);
        self.minimum(&general, "default_pool_size", 20);
        let size = self.draft.count(&general, "default_pool_size").unwrap_or(20);
        let socket = self.draft.get(&Scope::section(Section::Howdah), "unix_socket_dir");
        let socket = socket.and_then(|item| unquoted(&item.toml)).unwrap_or("/tmp".to_owned());
        let scopes: Vec<(Scope, Place)> =
            self.draft.entries().map(|(scope, place)| (scope.clone(), place.clone())).collect();
        for (scope, place) in scopes {
            if scope.section != Section::Database {
                continue;
            }
            self.minimum(&scope, "pool_size", size);
            if self.draft.get(&scope, "user").is_none()
                && self.draft.remove(&scope, "password").is_some()
            {
                let why = "without user PgBouncer does not use it".to_owned();
                self.find(&place, &scope.key("password"), Fate::Needless(why));
            }
            self.socket(&scope, &socket);
        }
    }

    /// Details of keepalive have no effect where it is off.
    fn keepalive(&mut self) {
        let scope = Scope::section(Section::Howdah);
        if self.draft.get(&scope, "tcp_keepalive").is_none_or(|item| item.toml != "false") {
            return;
        }
        for key in ["tcp_keepidle", "tcp_keepintvl", "tcp_keepcnt"] {
            if let Some(Item { place: Some(place), setting, .. }) = self.draft.remove(&scope, key) {
                let why = "tcp_keepalive is off".to_owned();
                self.find(&place, &format!("[pgbouncer] {setting}"), Fate::Needless(why));
            }
        }
    }

    /// A pool keeps no more servers than it may have.
    fn minimum(&mut self, scope: &Scope, size_key: &str, general: u32) {
        let pool = Scope::section(Section::Pool);
        let size = self.draft.count(scope, size_key).unwrap_or(general);
        let min = self.draft.count(scope, "min_pool_size");
        let min = min.or_else(|| self.draft.count(&pool, "min_pool_size")).unwrap_or(0);
        if size == 0 || min <= size {
            return;
        }
        let item = self.draft.remove(scope, "min_pool_size");
        let place = item.and_then(|item| item.place);
        if let Some(place) = &place {
            let why = format!("a pool keeps no more than its size, {size}");
            self.find(
                place,
                &scope.key("min_pool_size"),
                Fate::Carried(scope.key("min_pool_size"), why),
            );
        }
        let setting = "min_pool_size, at most the size".to_owned();
        self.draft.set(scope, "min_pool_size", Item { toml: size.to_string(), place, setting });
    }

    /// A database without a host is on the Unix socket in the folder of our own.
    fn socket(&mut self, scope: &Scope, directory: &str) {
        let Some(mut item) = self.draft.remove(scope, "nodes") else { return };
        if let Some(port) = item.toml.strip_prefix(":") {
            let directory = if directory.is_empty() { "/tmp" } else { directory };
            item.toml = list([format!("{directory}:{port}").as_str()]);
        }
        self.draft.set(scope, "nodes", item);
    }
}

/// A node as TOML, or `:port` where there is no host yet.
fn node(host: Option<&str>, port: &str) -> String {
    match host {
        Some(host) if host.contains(':') && !host.starts_with('[') => {
            list([format!("[{host}]:{port}").as_str()])
        }
        Some(host) => list([format!("{host}:{port}").as_str()]),
        None => format!(":{port}"),
    }
}

/// The text of a TOML string that [`quoted`] wrote, if nothing in it had to be escaped.
fn unquoted(toml: &str) -> Option<String> {
    let text = toml.strip_prefix('"')?.strip_suffix('"')?;
    (quoted(text) == toml).then(|| text.to_owned())
}
