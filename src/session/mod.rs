//! One client: hello, login, decide, relay, goodbye.
//!
//! Owns a client's session from its first byte to its last. Never opens server sockets and never
//! edits a pool's counters.

mod acquire;
mod batch;
mod bound;
mod cancel;
pub mod card;
mod check;
mod client;
mod clock;
pub mod common;
mod custom;
mod defaults;
mod departure;
pub mod effects;
mod ending;
mod flow;
mod forward;
mod frames;
mod gate;
pub mod hello;
mod inbound;
pub mod login;
mod loss;
mod outbound;
pub mod peers;
mod pieces;
mod query_stats;
mod questions;
mod reading;
mod resetting;
pub mod route;
mod run;
mod running;
mod sequences;
mod settle;
pub mod startup;
pub mod state;
mod statements;
pub mod texts;
mod timing;
pub mod worker;

pub use run::{Arrival, SESSION_BYTES, run};
