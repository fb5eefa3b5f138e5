//! A configuration from where it comes: a file of ours or of PgBouncer's, a URL, the environment.

use super::error::{Collector, ConfigErrors, Origin};
use super::files::{Disk, Files};
use super::options::{Config, Source};
use super::parse::parse;
use super::{import, url};
use std::ffi::OsString;
use std::path::Path;

/// Reads and checks the file at `path`, every file it names, and `environment` (name and value;
/// see [`process_environment`]), which wins over the file. A file whose name ends in `.ini`, or that has
/// a section `[pgbouncer]`, is PgBouncer's.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(path: &Path, environment: &[(OsString, OsString)]) -> Result<Config, ConfigErrors> {
    match Disk.read(path) {
        Ok(text) if import::is_pgbouncer(path, &text) => {
            import::pgbouncer(path, &text, environment, &Disk)
        }
        Ok(text) => parse(path, &text, environment, &Disk),
        Err(error) => {
            let mut errors = Collector::new(path);
            errors.add(&Origin::File, "", format!("cannot read the configuration: {error}"));
            Err(errors.fail())
        }
    }
}

/// Reads and checks what `source` says, and `environment`, which wins over it.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load_from(
    source: &Source,
    environment: &[(OsString, OsString)],
) -> Result<Config, ConfigErrors> {
    match source {
        Source::File(path) => load(path, environment),
        Source::Url(url) => Ok(Config { source: source.clone(), ..url::load(url, environment)? }),
        Source::Environment => {
            let mut config = match url::in_environment(environment)? {
                Some(url) => url::load(&url, environment)?,
                None => parse(Path::new("the environment"), b"", environment, &Disk)?,
            };
            config.files.extend(url::file_in_environment(environment));
            Ok(Config { source: Source::Environment, ..config })
        }
    }
}
