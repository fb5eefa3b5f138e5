//! Composition: bind, spawn, signals, drain.

mod cancels;
mod catalogs;
pub mod cli;
mod compare;
mod console;
mod current;
mod database_catalogs;
mod door;
mod figures;
mod http;
mod known;
pub mod limits;
mod listen;
pub mod logging;
mod moves;
mod numbers;
mod process;
mod reload;
mod repeats;
mod routes;
mod run;
mod service;
mod signals;
mod version;
mod watch;
mod workers;

pub use compare::check_against;
pub use process::{detach, leave_terminal, refuse_root};
pub use run::run;
pub use version::{HOWDAH, PGBOUNCER};

use std::io;

use crate::config::Config;

use limits::TooFewFiles;
use logging::{Destination, Lines, Logging, LoggingError};

/// Why the program ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// As PgBouncer ends when it is told to end while it is suspended.
    #[error("ended by a signal while suspended")]
    Suspended,
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

/// What [`Start::announce`] writes.
const UP: u8 = b'+';

/// How a process is started, beside its configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// Nothing is logged on standard error.
    pub quiet: bool,
    /// A byte on standard output says that clients may come.
    pub announce: bool,
}

/// What is kept until the process ends.
pub struct Prepared {
    /// The running log.
    pub logging: Logging,
    /// Removes the pid file.
    _pid_file: Option<process::PidFile>,
}

/// What comes before the first socket: the user, the limit of open files, the pid file, then the
/// log. Nothing may have started a thread yet. Keep what is returned until the end.
///
/// # Errors
/// What kept it from starting.
pub fn prepare(config: &Config, start: Start) -> Result<Prepared, AppError> {
    if let Some(user) = &config.process.user {
        process::become_user(user)?;
    }
    let limit = limits::raise_open_files().map_err(AppError::RaiseOpenFiles)?;
    limits::check_open_files(config, limit)?;
    let pid_file = config.process.pid_file.as_deref().map(process::PidFile::create).transpose()?;
    let destination = Destination { file: config.process.log_file.as_deref(), quiet: start.quiet };
    let lines =
        if config.process.is_pgbouncer { Lines::PgBouncer } else { Lines::Own(config.log.format) };
    let logging = logging::start(config.log.level, lines, destination)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(Prepared { logging, _pid_file: pid_file })
}
