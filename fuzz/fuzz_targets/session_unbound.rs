//! What a client's bytes mean without a server: bytes that come later never take back a decision.
#![no_main]

use howdah::session::state::{HOLD_MAX, Step, unbound};
use howdah::wire::{HEADER_LEN, header};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 1 << 20;

fn follow(data: &[u8], skipping: bool) {
    let mut decided = None;
    for end in HEADER_LEN..=data.len() {
        let step = unbound(&data[..end], skipping, MAX);
        if let Some(before) = decided {
            assert_eq!(step, before, "at {end}");
        } else if step != Step::Hold {
            decided = Some(step);
        }
    }
    // A client that sends on is never held for good.
    if decided.is_none() && data.len() >= HEADER_LEN {
        let mut more = data.to_vec();
        more.resize(HOLD_MAX, 0);
        assert_eq!(unbound(&more, skipping, MAX), Step::Acquire);
    }
}

fuzz_target!(|data: &[u8]| {
    follow(data, false);
    follow(data, true);
    let mut rest = data;
    while let Ok(Some(found)) = header(rest, MAX) {
        if matches!(unbound(rest, true, MAX), Step::Acquire | Step::Hold) {
            panic!("a server was taken for what is to be skipped");
        }
        rest = rest.get(found.total()..).unwrap_or_default();
    }
});
