//! Why logging did not start.

use std::io;
use std::path::PathBuf;

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The writer's thread could not be started.
    #[error("cannot start the log writer: {0}")]
    Thread(#[from] io::Error),
    /// The file cannot be opened.
    #[error("cannot open the log {}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Something in this process logs already.
    #[error("logging is set up already")]
    Twice(#[from] tracing::dispatcher::SetGlobalDefaultError),
}
