//! One server connection: login, expected replies, alignment, reset and cancel.
//!
//! Never knows pools or clients.

pub mod cancel;
pub mod clean;
pub mod connection_log;
pub mod key_cache;
pub mod login;
pub mod note;
pub mod reported_parameters;
pub mod server;
pub mod server_handle;
pub mod settings;
pub mod state;
pub mod statements;
