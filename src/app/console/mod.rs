//! The console: its clients' logins and messages, and what their commands do.

mod database;
mod explain;
mod orders;
mod visit;
mod waits;

pub(super) use database::is_console;
pub(super) use orders::{pause_all, resume_all};
pub(super) use visit::{ConsoleLogin, enter, serve};
