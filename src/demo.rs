//! `howdah demo`: a throw-away cluster with howdah in front of it.

/// How the demonstration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoOptions {
    /// End after one round instead of waiting for Ctrl-C.
    pub once: bool,
}

/// Why a demonstration ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The command is known but not in this build.
    #[error("`howdah demo` is not available in this version")]
    Unavailable,
}

/// Starts the cluster, a load, and howdah between them.
///
/// # Errors
/// What kept it from starting.
pub fn run(_options: DemoOptions) -> Result<(), DemoError> {
    Err(DemoError::Unavailable)
}
