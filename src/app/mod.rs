//! Composition: bind, spawn, signals, drain.

pub mod cli;
pub mod limits;
pub mod logging;
mod repeats;

use std::io;
use std::sync::Arc;

use crate::config::Config;

use limits::TooFewFiles;
use logging::{Logging, LoggingError};

/// Why the program ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The log.
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The limit of open files could not be raised.
    #[error("cannot raise the limit of open files: {0}")]
    RaiseOpenFiles(#[source] io::Error),
    /// It is too low.
    #[error(transparent)]
    TooFewFiles(#[from] TooFewFiles),
    /// The command is known but not in this build.
    #[error("`howdah {0}` is not available in this version")]
    Unavailable(&'static str),
}

/// What comes before the first socket: the limit of open files, then the log. Keep what is
/// returned until the end.
///
/// # Errors
/// What kept it from starting.
pub fn prepare(config: &Config) -> Result<Logging, AppError> {
    let limit = limits::raise_open_files().map_err(AppError::RaiseOpenFiles)?;
    limits::check_open_files(config, limit)?;
    Ok(logging::start(config.log.level, config.log.format)?)
}

/// Runs the pooler until a signal ends it.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: Arc<Config>) -> Result<(), AppError> {
    let _logging = prepare(&config)?;
    Err(AppError::Unavailable("run"))
}
