//! A client of the console: any messages give whole answers, and any text a command or an error.
#![no_main]

use howdah::admin::{Command, fuzz};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    drop(Command::read(data));
    // Messages: a tag, a length of one byte, a body.
    let (mut rest, mut messages) = (data, Vec::new());
    while let [tag, length, more @ ..] = rest {
        let (body, behind) = more.split_at(more.len().min(usize::from(*length)));
        messages.push((*tag, body.to_vec()));
        rest = behind;
    }
    fuzz(&messages);
});
