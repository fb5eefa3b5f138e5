//! Composition: bind, spawn, signals, drain.
