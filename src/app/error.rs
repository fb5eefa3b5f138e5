//! Why the program ends with exit code 1.

use super::limits::TooFewFiles;
use super::logging::LoggingError;
use std::io;

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
