//! What becomes of each setting that a file has.

use super::ini::Place;
use crate::config::options::ProcessOptions;
use std::fmt;
use std::path::PathBuf;

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

/// A file for [`translate`].
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub text: Vec<u8>,
}

/// What only a process that runs PgBouncer's own file obeys.
pub(super) type Process = ProcessOptions;
