//! Headers: what is accepted is in bounds, and any chunking of the bytes gives the same frames.
#![no_main]

use howdah::wire::{HEADER_LEN, header};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 1 << 16;

/// Splits `stream`, which arrives in chunks of `step` bytes, as the relay does. The end of it says
/// whether a malformed header stopped it.
fn frames(stream: &[u8], step: usize) -> (Vec<(u8, usize)>, bool) {
    let (mut held, mut found) = (Vec::new(), Vec::new());
    for chunk in stream.chunks(step) {
        held.extend_from_slice(chunk);
        loop {
            match header(&held, MAX) {
                Err(error) => {
                    assert!(error.length < 4 || error.length as usize > MAX);
                    return (found, true);
                }
                Ok(Some(header)) if held.len() >= header.total() => {
                    assert!(header.body <= MAX - 4);
                    assert_eq!(header.total(), header.body + HEADER_LEN);
                    found.push((header.tag, header.body));
                    held.drain(..header.total());
                }
                Ok(_) => break,
            }
        }
    }
    (found, false)
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, stream)) = data.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    assert_eq!(whole, frames(stream, usize::from(step).max(1)));
    assert_eq!(whole, frames(stream, 1));
});
