//! Random messages to the console.

use super::console::{Console, Outcome, Step};
use super::table::Value;
use crate::wire;

/// Any messages give well-formed answers and no panic.
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "for the fuzz target"))]
pub fn fuzz(messages: &[(u8, Vec<u8>)]) {
    let mut console = Console::new(true, Default::default());
    for (tag, body) in messages {
        let mut out = Vec::new();
        let mut step = console.take(*tag, body, &mut out);
        while let Step::Run(command) = step {
            let outcome = match command.columns() {
                Some(columns) => Outcome::Rows(vec![vec![Value::Null; columns.len()]]),
                None => Outcome::Done,
            };
            step = console.answer(outcome, &mut out);
        }
        let mut rest = &out[..];
        while let Ok(Some(header)) = wire::header(rest, 1 << 30) {
            rest = rest.get(header.total()..).expect("a whole message");
        }
        assert!(rest.is_empty(), "bytes left over");
    }
}
