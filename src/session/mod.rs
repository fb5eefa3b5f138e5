//! One client: first packet, login, decisions, relay, end.
//!
//! Owns a client's session from its first byte to its last. Never opens server sockets and never
//! edits a pool's counters.

mod acquire;
pub mod advice;
mod advising;
mod batch;
mod bound;
mod cancel;
pub mod checks;
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
pub mod explain_alone;
pub mod first_packet;
mod flow;
mod forward;
mod frames;
mod gate;
mod held_read;
mod in_flight;
mod inbound;
mod keeping;
mod kept;
mod lost_block;
mod node_choice;
mod outbound;
mod outlive;
pub mod own;
pub mod peers;
mod pieces;
mod query_stats;
mod questions;
pub mod read_rules;
mod read_transaction;
mod reading;
mod redirecting;
mod resetting;
pub mod route;
mod run;
mod running;
mod sampling;
mod sequences;
mod server_lost;
mod settle;
pub mod startup_request;
mod state_check;
mod statements;
mod target;
pub mod text_cache;
mod timing;
pub mod unbound;
mod unit;
mod waiting;
pub mod worker;

pub use run::{SESSION_BYTES, SessionStart, run};
