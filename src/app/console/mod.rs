//! The console: its clients' logins and messages, and what their commands do.

mod names;
mod orders;
mod visit;
mod waits;

pub(super) use names::is_console;
pub(super) use orders::{pause_all, resume_all};
pub(super) use visit::{Visitor, enter, serve};
