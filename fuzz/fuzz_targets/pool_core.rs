//! Operations on the pools' core made of the bytes; its accounts are proved after each.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| howdah::pool::core::fuzz_ops(data));
