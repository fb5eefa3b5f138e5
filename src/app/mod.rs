//! Composition: bind, spawn, signals, drain.

pub mod cli;
pub mod limits;
pub mod logging;
mod repeats;

use std::sync::Arc;

use crate::config::Config;

/// Why the program ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The command is known but not in this build.
    #[error("`howdah {0}` is not available in this version")]
    Unavailable(&'static str),
}

/// Runs the pooler until a signal ends it.
///
/// # Errors
/// What kept it from starting.
pub fn run(_config: Arc<Config>) -> Result<(), AppError> {
    Err(AppError::Unavailable("run"))
}
