//! Composition: bind, spawn, signals, drain.

pub mod cli;
mod console;
mod current;
mod door;
mod figures;
pub mod limits;
pub mod logging;
mod numbers;
mod reload;
mod repeats;
mod routes;
mod run;
mod workers;

pub use run::run;

use std::io;

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
    /// A thread, a runtime, or a signal handler.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// A part of the configuration that only shows its faults when it is used.
    #[error("{0}")]
    Setup(String),
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
