//! One server connection: login, expected replies, alignment, reset and cancel.

pub mod state;
