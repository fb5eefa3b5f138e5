//! Who holds which server, and when.

pub mod admission;
pub mod core;
