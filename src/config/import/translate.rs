//! Files of others as a `howdah.toml`, for `howdah import`.

use super::convert::Ground;
use super::draft::{Item, quoted};
use super::finding::{Fate, Finding, Source};
use super::ini::Place;
use super::pgbouncer::Import;
use super::run::is_pgbouncer;
use super::{hba, pgpool};
use crate::auth::Users;
use crate::config::error::{ConfigError, ConfigErrors, Origin};
use crate::config::files::{Disk, Files};
use crate::config::keys::Section;
use crate::config::raw::Scope;
use std::path::Path;

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
    translate_with(sources, ground, &Disk)
}

pub(super) fn translate_with(
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
    let secret = draft.entries().any(|(scope, _)| draft.get(scope, "password").is_some())
        || draft.get(&Scope::section(Section::Routing), "probe_password").is_some();
    Ok(Translation { toml: draft.write(&head).text, findings, secret })
}
