//! What clients meet when nodes of their database's cluster fail.
#![expect(clippy::print_stdout, reason = "a drill tells its figures")]

#[path = "../support/mod.rs"]
mod support;

mod drills;
mod riders;
mod sessions;
