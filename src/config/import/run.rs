//! PgBouncer's own file as the configuration of a process that runs it.

use super::convert::Ground;
use super::draft::Written;
use super::finding::{Fate, Finding, Process};
use super::ini::Place;
use super::pgbouncer::Import;
use crate::config::error::{ConfigError, ConfigErrors, Origin};
use crate::config::files::Files;
use crate::config::options::Config;
use crate::config::parse::parse;
use std::ffi::OsString;
use std::path::Path;

/// Whether the file at `path` is PgBouncer's: by its name, or by its `[pgbouncer]`.
pub(in crate::config) fn is_pgbouncer(path: &Path, text: &[u8]) -> bool {
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
pub(in crate::config) fn pgbouncer(
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
    let mut config = parse(path, written.text.as_bytes(), environment, files)
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
pub(super) fn at_home(errors: &ConfigErrors, written: &Written) -> ConfigErrors {
    let moved = errors.errors().iter().map(|error| match source(&error.origin, written) {
        Some((place, setting)) => {
            let key = if setting.is_empty() { &error.key } else { &setting };
            place.error(key, error.message.clone())
        }
        None => ConfigError { origin: origin(&error.origin, written), ..error.clone() },
    });
    ConfigErrors::new(moved.collect())
}
