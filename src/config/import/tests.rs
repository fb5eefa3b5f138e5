//! Whole files through the tables and the loader.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::super::files::Files;

/// Files of a test.
pub(super) struct Folder(BTreeMap<PathBuf, Vec<u8>>);

impl Folder {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        Self(files.iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec())).collect())
    }
}

impl Files for Folder {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
