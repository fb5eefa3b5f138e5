//! The text of a file of ours, and the environment, as a checked configuration.

use super::error::{ConfigErrors, Origin};
use super::files::{Files, NoFiles};
use super::options::Config;
use super::raw::Loader;
use super::{build, check, environment, tree};
use std::ffi::OsString;
use std::path::Path;

/// Checks the text of a file without touching the disk: files that it names count as missing.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn parse_bytes(text: &[u8]) -> Result<Config, ConfigErrors> {
    parse(Path::new("howdah.toml"), text, &[], &NoFiles)
}

/// Checks the text of the file at `path`, every file that it names, and `environment`.
pub(super) fn parse(
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
