//! What a client's bytes mean without a server: bytes that come later never take back a decision.
#![no_main]

use howdah::session::unbound::{HOLD_MAX, Step, unbound};
use howdah::wire::{HEADER_LEN, header};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 1 << 20;

fn follow(data: &[u8], skipping: bool) {
    let Ok(Some(found)) = header(data, MAX) else { return };
    let mut decided = None;
    for end in HEADER_LEN..=data.len() {
        let step = unbound(found, &data[..end], skipping);
        if let Some(before) = decided {
            assert_eq!(step, before, "at {end}");
        } else if step != Step::Hold {
            decided = Some(step);
        } else {
            assert!(end < found.total() && end < HOLD_MAX, "held for good");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    follow(data, false);
    follow(data, true);
    let mut rest = data;
    while let Ok(Some(found)) = header(rest, MAX) {
        let asks = !matches!(found.tag, b'S' | b'H');
        if asks && matches!(unbound(found, rest, true), Step::Acquire | Step::Hold) {
            panic!("a server was taken for what is to be skipped");
        }
        rest = rest.get(found.total()..).unwrap_or_default();
    }
});
