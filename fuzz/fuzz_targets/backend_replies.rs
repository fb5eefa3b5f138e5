//! The queue of expected replies against a model of PostgreSQL, on schedules made of the bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| howdah::backend::state::fuzz(data));
