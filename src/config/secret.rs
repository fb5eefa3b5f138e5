//! Values that must not be seen, and files whose contents belong to the configuration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

/// What a secret looks like wherever it is shown.
pub const HIDDEN: &str = "***";

/// A password. Shown as `***`, wiped when the last copy is dropped, cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The secret itself: only for the exchange that needs it, never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// A file that a key names, read when the configuration was read, so that a reload notices new
/// contents under an old name. Shows its path, never its contents.
#[derive(Clone, PartialEq, Eq)]
pub struct LoadedFile {
    path: PathBuf,
    contents: Arc<Zeroizing<Vec<u8>>>,
}

impl LoadedFile {
    /// The file at `path` with these contents.
    pub fn new(path: PathBuf, contents: Vec<u8>) -> Self {
        Self { path, contents: Arc::new(Zeroizing::new(contents)) }
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it held: keys and passwords, so never for a message.
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }
}

impl fmt::Debug for LoadedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadedFile({}, {} bytes)", self.path.display(), self.contents.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_nothing_of_itself() {
        let secret = Secret::new("hunter2".into());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_file_shows_its_path_only() {
        let file = LoadedFile::new("/etc/users".into(), b"hunter2".to_vec());
        assert_eq!(format!("{file:?}"), "LoadedFile(/etc/users, 7 bytes)");
    }
}
