//! Howdah: a PostgreSQL connection pooler and router.
//!
//! `ARCHITECTURE.md` is the map: the layers, the life of a query, and every task, lock and channel.
//! Modules are listed lowest layer first; a module imports only from modules above it in this list,
//! and `tests/tidy` fails the build when one does not.

pub mod fault;
pub mod metrics;
pub mod wire;
pub mod word;

pub mod sql;

pub mod auth;
pub mod net;
pub mod routing;

pub mod backend;

pub mod catalog;
pub mod cluster;

pub mod pool;

pub mod session;

pub mod admin;

pub mod config;

pub mod app;
pub mod demo;
