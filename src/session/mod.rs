//! One client: first packet, login, decisions, relay, end.
//!
//! Owns a client's session from its first byte to its last. Never opens server sockets and never
//! edits a pool's counters.

mod acquire;
mod batch;
mod bound;
mod cancel;
mod client;
pub mod client_auth;
pub mod client_handle;
mod clock;
pub mod common;
mod custom_settings;
pub mod decision;
mod defaults;
mod departure;
pub mod effects;
mod ending;
mod explain;
pub mod first_packet;
mod flow;
mod forward;
mod frames;
mod gate;
mod held_read;
mod inbound;
mod node_choice;
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
mod server_lost;
mod settle;
pub mod startup_request;
mod state_check;
mod statements;
mod target;
pub mod text_cache;
mod timing;
mod told_writes;
pub mod unbound;
mod unit;
mod usual_time;
pub mod worker;

pub use run::{SESSION_BYTES, SessionStart, run};
