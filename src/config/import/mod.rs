//! Files of PgBouncer and Pgpool-II as ours.
//!
//! `ini` reads PgBouncer's grammar and `pgpool_file` that of Pgpool-II; `pgbouncer_table` and `pgpool_table`
//! say what becomes of each setting, `convert` how its value is written, `pgbouncer` and `pgpool` apply
//! the rows (`pgpool_nodes` and `pgpool_routing` where several settings say one thing), and `draft` holds the result until it is written as TOML. What is written goes through the same
//! loader as a file of ours, so that it is checked by the same rules: `run` for a process
//! that runs PgBouncer's own file, [`translate`] for `howdah import`.

mod compare;
mod convert;
mod draft;
mod finding;
mod hba;
mod ini;
mod pgbouncer;
mod pgbouncer_table;
mod pgpool;
mod pgpool_file;
mod pgpool_nodes;
mod pgpool_routing;
mod pgpool_table;
mod run;
#[cfg(test)]
pub(super) mod tests;
mod translate;

pub use compare::{Comparison, Shown, compare};
pub use convert::Ground;
pub(super) use draft::quoted;
pub use finding::{Fate, Finding, Source};
pub use ini::Place;
pub(super) use run::{is_pgbouncer, pgbouncer};
pub use translate::{Translation, translate};
