//! Session, backend and pool together, over in-memory pipes and in paused time: a scripted client
//! on one side, a fake PostgreSQL on the other. Real (Unix) sockets are used by cancel requests, and
//! where it matters what the runtime has heard of a socket.
//!
//! Time moves by itself when nothing else can: a test that waits for what never comes ends at once
//! with [`stage::PATIENCE`].

mod baseline;
mod cancels;
mod counts;
mod deaths;
mod flow;
mod goodbyes;
mod postgres;
mod stage;
mod timeouts;
