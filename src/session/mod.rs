//! One client: hello, login, decide, relay, goodbye.
//!
//! Owns a client's session from its first byte to its last. Never opens server sockets and never
//! edits a pool's counters.

pub mod card;
mod gate;
mod goodbye;
pub mod hello;
mod inbound;
mod insight;
mod link;
pub mod login;
mod loss;
mod named;
mod names;
mod outbound;
pub mod peers;
mod resets;
pub mod route;
mod run;
mod settings;
pub mod startup;
pub mod state;
mod suspended;
pub mod texts;
mod timing;
pub mod worker;

pub use run::{Arrival, SESSION_BYTES, run};
