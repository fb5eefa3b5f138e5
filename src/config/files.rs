//! Access to the files that a configuration names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file a configuration may name: a user list of a hundred thousand users fits.
pub(super) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// How files are read: from the disk, or not at all.
pub(super) trait Files {
    /// The contents of `path`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The file system.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::other("is a directory"));
        }
        let mut contents = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other("is larger than 16 MiB"));
        }
        Ok(contents)
    }
}

/// Every file is missing: text that comes from anywhere may not make this process open files.
pub(super) struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::Error::from(io::ErrorKind::NotFound))
    }
}
