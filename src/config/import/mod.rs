//! Files of PgBouncer and Pgpool-II as ours.
//!
//! `ini` reads PgBouncer's grammar and `pgpool` that of Pgpool-II; `table` and `pgpool_table` say what
//! becomes of each setting, `convert` how its value is written, `pgbouncer` applies the rows, and
//! `draft` holds the result until it is written as TOML. What is written goes through the same
//! loader as a file of ours, so that it is checked by the same rules: [`pgbouncer`] for a process
//! that runs PgBouncer's own file, [`translate`] for `howdah import`.

mod compare;
mod convert;
mod draft;
mod hba;
mod ini;
mod pgbouncer;
mod pgpool;
mod pgpool_table;
mod table;
#[cfg(test)]
pub(super) mod tests;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

pub use compare::{Comparison, Shown, compare};
pub use convert::Ground;
pub use ini::Place;

use super::error::{ConfigError, ConfigErrors, Origin};
use super::files::Files;
use super::keys::Section;
use super::options::{Config, ProcessOptions};
use super::raw::Scope;
use crate::auth::Users;
pub(super) use draft::quoted;
use draft::{Item, Written};
use pgbouncer::Import;

/// What becomes of a setting that a file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is this key now; how it differs there, or nothing.
    Carried(String, String),
    /// A process that runs PgBouncer's file itself obeys it; what to do otherwise.
    Process(String),
    /// It is not needed; why.
    Needless(String),
    /// There is nothing like it; what to do.
    Missing(String),
    /// The same, and without it clients would be let in that the file keeps out.
    Guard(String),
}

/// A setting that a file has, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it stands.
    pub place: Place,
    /// Its name. Never its value, which may be a secret.
    pub setting: String,
    /// What becomes of it.
    pub fate: Fate,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.place, self.setting)?;
        match &self.fate {
            Fate::Carried(key, how) if how.is_empty() => write!(f, "carried over to {key}"),
            Fate::Carried(key, how) => write!(f, "carried over to {key} ({how})"),
            Fate::Process(what) | Fate::Missing(what) | Fate::Guard(what) => {
                write!(f, "no equivalent: {what}")
            }
            Fate::Needless(why) => write!(f, "not needed: {why}"),
        }
    }
}

/// Whether the file at `path` is PgBouncer's: by its name, or by its `[pgbouncer]`.
pub(super) fn is_pgbouncer(path: &Path, text: &[u8]) -> bool {
    let named = |extension: &str| path.extension().is_some_and(|own| own == extension);
    let has_section = || {
        let mut lines = text.split(|byte| *byte == b'\n');
        lines.any(|line| line.trim_ascii_start().starts_with(b"[pgbouncer]"))
    };
    named("ini") || (!named("toml") && has_section())
}

/// The configuration that PgBouncer's file `text` at `path` describes, with PgBouncer's defaults.
///
/// # Errors
/// Everything that is wrong, and every setting without which clients would be let in that it keeps
/// out, at its place in PgBouncer's files.
pub(super) fn pgbouncer(
    path: &Path,
    text: &[u8],
    environment: &[(OsString, OsString)],
    files: &dyn Files,
) -> Result<Config, ConfigErrors> {
    let ground = Ground::of_process();
    let mut import = Import::new(&ground);
    import.pgbouncer(path, text, files);
    let Import { draft, findings, mut errors, process, .. } = import;
    for Finding { place, setting, fate } in &findings {
        if let Fate::Guard(what) = fate {
            errors.push(place.error(setting, what));
        }
    }
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors));
    }
    let written = draft.write(&[]);
    let mut config = super::parse(path, written.text.as_bytes(), environment, files)
        .map_err(|errors| at_home(&errors, &written))?;
    for setting in config.settings.values_mut() {
        setting.origin = origin(&setting.origin, &written);
    }
    config.process = Process { is_pgbouncer: true, ..process };
    let missing = findings.iter().filter(|finding| matches!(finding.fate, Fate::Missing(_)));
    config.warnings = missing.map(ToString::to_string).collect();
    Ok(config)
}

/// Where a line of what was written comes from.
fn source(origin: &Origin, written: &Written) -> Option<(Place, String)> {
    let Origin::Line(line) = origin else { return None };
    written.sources.get(line).cloned()
}

fn origin(origin: &Origin, written: &Written) -> Origin {
    match (source(origin, written), origin) {
        (Some((place, _)), _) => Origin::Line(place.line),
        (None, Origin::Line(_)) => Origin::Default,
        (None, other) => other.clone(),
    }
}

/// Errors in what was written, at the places it comes from.
fn at_home(errors: &ConfigErrors, written: &Written) -> ConfigErrors {
    let moved = errors.errors().iter().map(|error| match source(&error.origin, written) {
        Some((place, setting)) => {
            let key = if setting.is_empty() { &error.key } else { &setting };
            place.error(key, error.message.clone())
        }
        None => ConfigError { origin: origin(&error.origin, written), ..error.clone() },
    });
    ConfigErrors::new(moved.collect())
}

/// A file for [`translate`].
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub text: Vec<u8>,
}

/// What [`translate`] makes.
#[derive(Debug)]
pub struct Translation {
    /// The `howdah.toml`.
    pub toml: String,
    /// Every setting that was met, in the order of the files.
    pub findings: Vec<Finding>,
    /// Whether the text holds passwords.
    pub secret: bool,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FileKind {
    Pgpool,
    Pgbouncer,
    Users,
    Hba,
}

impl FileKind {
    /// By the name, and if that says nothing by what it holds.
    fn of(path: &Path, text: &[u8]) -> Option<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
        let name = name.unwrap_or_default();
        if is_pgbouncer(path, text) {
            return Some(Self::Pgbouncer);
        }
        let named = [("hba", Self::Hba), ("userlist", Self::Users), ("pgpool", Self::Pgpool)];
        if let Some((_, kind)) = named.iter().find(|(part, _)| name.contains(part)) {
            return Some(*kind);
        }
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines().map(str::trim);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']))?;
        if first.starts_with('"') {
            Some(Self::Users)
        } else if hba::is_rule(first) {
            Some(Self::Hba)
        } else {
            pgpool::is_setting(first).then_some(Self::Pgpool)
        }
    }
}

/// A `howdah.toml` that does what `sources` say: PgBouncer's file, Pgpool-II's, a list of users, HBA
/// rules, told apart by name or content, one of each at most.
///
/// # Errors
/// Everything in them that cannot be read.
pub fn translate(sources: &[Source], ground: &Ground) -> Result<Translation, ConfigErrors> {
    translate_with(sources, ground, &super::files::Disk)
}

fn translate_with(
    sources: &[Source],
    ground: &Ground,
    files: &dyn Files,
) -> Result<Translation, ConfigErrors> {
    let mut import = Import::new(ground);
    let mut kinds: Vec<(FileKind, &Source)> = Vec::new();
    for source in sources {
        let whole = |message: &str| ConfigError {
            file: source.path.clone(),
            origin: Origin::File,
            key: String::new(),
            message: message.to_owned(),
        };
        match FileKind::of(&source.path, &source.text) {
            None => import
                .errors
                .push(whole("neither pgbouncer.ini nor pgpool.conf, a list of users or HBA rules")),
            Some(kind) if kinds.iter().any(|(known, _)| *known == kind) => {
                import.errors.push(whole("the second file of its kind; give one of each"));
            }
            Some(kind) => kinds.push((kind, source)),
        }
    }
    let of = |kind| kinds.iter().find(|(known, _)| *known == kind).map(|(_, source)| *source);
    let (bouncer, pgpool) = (of(FileKind::Pgbouncer), of(FileKind::Pgpool));
    if bouncer.is_none() && pgpool.is_none() && import.errors.is_empty() {
        import.errors.push(ConfigError {
            file: sources.first().map(|source| source.path.clone()).unwrap_or_default(),
            origin: Origin::File,
            key: String::new(),
            message: "no pgbouncer.ini and no pgpool.conf among the files".to_owned(),
        });
    }
    if let Some(source) = bouncer {
        import.pgbouncer(&source.path, &source.text, files);
    }
    if let Some(source) = pgpool {
        pgpool::import(&mut import, source, bouncer.is_some());
    }
    if let Some(source) = of(FileKind::Hba) {
        hba::import(&mut import, source);
    }
    users(&mut import, of(FileKind::Users));
    finish(import, sources)
}

/// The list of users: the one that was given, or else the one that a file names.
fn users(import: &mut Import<'_>, source: Option<&Source>) {
    let scope = Scope::section(Section::Auth);
    if let Some(source) = source {
        for error in Users::parse(&source.text).err().unwrap_or_default() {
            let line = u32::try_from(error.line).unwrap_or(u32::MAX);
            let place = Place { file: source.path.clone(), line };
            import.errors.push(place.error("", error.fault.to_string()));
        }
        let path = import.ground.directory.join(&source.path);
        let toml = quoted(&path.to_string_lossy());
        let setting = source.path.to_string_lossy().escape_debug().to_string();
        let place = Place { file: source.path.clone(), line: 1 };
        import.draft.set(&scope, "auth_file", Item { toml, place: Some(place.clone()), setting });
        let how = "instead of what another file says".to_owned();
        import.find(&place, "users", Fate::Carried("auth.auth_file".to_owned(), how));
        return;
    }
    let open = import.draft.get(&scope, "auth_type").is_some_and(|item| item.toml == "\"trust\"");
    if !open && import.draft.get(&scope, "auth_file").is_none() {
        let setting = "write it: one line for each user, \"name\" \"secret\"".to_owned();
        let item = Item { toml: quoted("userlist.txt"), place: None, setting };
        import.draft.set(&scope, "auth_file", item);
    }
}

fn finish(import: Import<'_>, sources: &[Source]) -> Result<Translation, ConfigErrors> {
    let Import { draft, findings, errors, .. } = import;
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors));
    }
    let names: Vec<String> =
        sources.iter().map(|source| source.path.display().to_string()).collect();
    let mut head = vec![
        format!("Written by howdah import from {}.", names.join(", ")),
        "Keys that are not here have howdah's defaults, which behave as before.".to_owned(),
        "`howdah config reference` explains every key.".to_owned(),
    ];
    let left: Vec<&Finding> = findings
        .iter()
        .filter(|finding| {
            matches!(finding.fate, Fate::Missing(_) | Fate::Guard(_) | Fate::Process(_))
        })
        .collect();
    if !left.is_empty() {
        head.push(String::new());
        head.push("Not carried over:".to_owned());
        head.extend(left.iter().map(|finding| format!("  {finding}")));
    }
    let secret = draft.entries().any(|(scope, _)| draft.get(scope, "password").is_some());
    Ok(Translation { toml: draft.write(&head).text, findings, secret })
}

/// What only a process that runs PgBouncer's own file obeys.
pub(super) type Process = ProcessOptions;
