//! Logins of clients: proof, admission, and what is told to those who are refused.

pub(super) mod admit;
pub(super) mod authenticate;
pub(super) mod guards;
pub(super) mod lines;
pub(super) mod refusals;
