//! Composition: bind, spawn, signals, drain.
//!
//! `pooler` is what all rooms of the control thread share. Above it are the rooms: `accept` and
//! `login`, `console`, `http`, `reload`, `openings`, `upkeep`. `run` starts them and `shutdown` ends
//! them. No file imports itself through others.

mod accept;
mod cancel;
mod cancel_requests;
mod catalogs;
pub mod cli;
mod compare;
mod console;
mod current;
mod database_catalogs;
mod error;
mod http;
mod known_pools;
pub mod limits;
mod listen;
pub mod logging;
mod login;
mod moves;
mod numbers;
mod openings;
mod pooler;
mod probes;
mod process;
mod reload;
mod repeats;
mod role_check;
mod routes;
mod run;
mod service;
mod show;
mod shutdown;
mod signals;
mod start;
mod stats_periods;
mod upkeep;
mod verify;
mod version;
mod watch;
mod workers;

pub use compare::check_against;
pub use error::AppError;
pub use probes::check::probe_user_notes;
pub use process::{detach, leave_terminal, refuse_root};
pub use run::run;
pub use start::{Prepared, Start, prepare};
pub use version::{HOWDAH, PGBOUNCER};
