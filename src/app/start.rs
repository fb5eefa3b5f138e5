//! What comes before the first socket: the user, the limit of open files, the pid file, the log.

use super::error::AppError;
use super::limits;
use super::logging::{self, Destination, Lines, Logging};
use super::process;
use crate::config::Config;

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
    pub(super) pid_file: Option<process::PidFile>,
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
    Ok(Prepared { logging, pid_file })
}
