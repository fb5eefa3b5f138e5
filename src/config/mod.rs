//! The configuration: a TOML file and the environment to a checked [`Config`], and the difference
//! between two of them.
//!
//! `tree` knows TOML, `keys` is the table of everything that may be set, `raw` and `environment`
//! collect values by key, `check` has the rules that need more than one value, `build` makes the
//! typed [`Config`]. `import` makes one of PgBouncer's own file. Every error is collected and carries its place, key and remedy.

mod address;
mod build;
mod change;
mod check;
mod difference;
mod effective;
mod environment;
mod error;
mod files;
pub mod import;
mod keys;
mod nearest;
mod options;
mod raw;
mod reference;
mod secret;
mod tree;
mod units;
mod url;
mod value;
mod words;

use std::ffi::OsString;
use std::path::Path;

pub use address::{DEFAULT_PORT, ListenAddress, NodeAddress, NodeHost};
pub use change::Unchangeable;
pub use difference::{Change, ShownSetting, difference};
pub use effective::EffectiveOptions;
pub use environment::process_environment;
pub use error::{ConfigError, ConfigErrors, Origin};
pub use keys::{Applies, DefaultValue, Key, Section};
pub use options::{
    AuthOptions, CheckQuery, ClientTlsOptions, Config, DatabaseOptions, HowdahOptions, HttpOptions,
    Identity, Limit, LogOptions, PoolOptions, ProcessOptions, ServerTlsOptions, SessionSettings,
    Source, TcpOptions, Timeout, TimeoutOptions, UserOptions,
};
pub use reference::{markdown, sample};
pub use secret::{HIDDEN, LoadedFile, Secret};
pub use units::{MAX_DURATION, parse_duration, parse_size, show_duration, show_size};
pub use url::{ConsoleUrl, console_of};
pub use value::{Kind, Value};
pub use words::{
    AuthType, ClientSslMode, LogFormat, LogLevel, PoolMode, ServerSslMode, SessionStatePolicy,
};

use files::{Disk, Files, NoFiles};
use raw::Loader;

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
            let mut errors = error::Collector::new(path);
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

/// Checks the text of a file without touching the disk: files that it names count as missing.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse_bytes(text: &[u8]) -> Result<Config, ConfigErrors> {
    parse(Path::new("howdah.toml"), text, &[], &NoFiles)
}

fn parse(
    path: &Path,
    text: &[u8],
    environment: &[(OsString, OsString)],
    files: &dyn Files,
) -> Result<Config, ConfigErrors> {
    let mut loader = Loader::new(path, files);
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let before = text.iter().take(error.valid_up_to());
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            let origin = Origin::Line(u32::try_from(line).unwrap_or(u32::MAX));
            loader.errors.add(&origin, "", "not text in UTF-8");
            return Err(loader.errors.fail());
        }
    };
    let (tree, syntax) = tree::parse(text);
    let readable = syntax.is_empty();
    let readable_headers = !syntax.iter().any(|error| is_header(text, error.line));
    loader.errors.add_broken(syntax.into_iter().map(|error| (error.line, error.message)));
    environment::apply(&mut loader, environment, &tree);
    // Below a broken header keys would be taken for those of another section.
    if readable_headers {
        loader.file(&tree);
    }
    loader.raw.fill_defaults();
    // What is missing from a file that could not be read whole may be in the unread part.
    if readable {
        check::check(&loader.raw, &mut loader.errors);
    }
    let config = build::config(path, loader.raw);
    loader.errors.finish(config)
}

/// Whether a line begins the way the header of a table does.
fn is_header(text: &str, line: u32) -> bool {
    let index = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    text.lines().nth(index).is_some_and(|line| line.trim_start().starts_with('['))
}

#[cfg(test)]
mod tests;
