//! One server connection: login, expected replies, alignment, reset and cancel.
//!
//! Never knows pools or clients.

pub mod cancel;
pub mod card;
pub mod clean;
pub mod key_cache;
pub mod life;
pub mod login;
pub mod note;
pub mod server;
pub mod settings;
pub mod state;
pub mod statements;
pub mod welcome;
