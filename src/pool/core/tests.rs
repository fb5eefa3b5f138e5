//! Tests of the core, by what they are about.

mod bugs;
mod fairness;
mod harness;
mod limits;
mod pins;
mod random;
mod retire;
mod sweep;
