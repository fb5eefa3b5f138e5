//! One server connection: login, expected replies, alignment, reset and cancel.

pub mod settings;
pub mod state;
pub mod statements;
