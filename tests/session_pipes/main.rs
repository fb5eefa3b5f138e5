//! Session, backend and pool together, over in-memory pipes and in paused time: a scripted client
//! on one side, a fake PostgreSQL on the other. Only cancel requests use a real (Unix) socket.
//!
//! Time moves by itself when nothing else can: a test that waits for what never comes ends at once
//! with [`stage::PATIENCE`].

mod baseline;
mod cancels;
mod deaths;
mod flow;
mod postgres;
mod stage;
mod timeouts;
