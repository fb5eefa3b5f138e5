//! Views of servers' messages: any body, and what the encoders write is read back.
#![no_main]

use howdah::fault::{Fault, Side};
use howdah::wire::{self, HEADER_LEN, header, server};
use libfuzzer_sys::fuzz_target;

/// The body of the one message in `out`.
fn body(out: &[u8], tag: u8) -> &[u8] {
    let found = header(out, usize::MAX).expect("a valid length").expect("a whole header");
    assert_eq!((found.tag, found.total()), (tag, out.len()));
    &out[HEADER_LEN..]
}

fn errors(data: &[u8]) {
    let seen = wire::error_fields(data);
    let fatal = wire::as_fatal(data);
    let turned = wire::error_fields(body(&fatal, server::ERROR));
    assert_eq!((turned.code, turned.message), (seen.code, seen.message));
    // Without a severity there is nothing to turn.
    assert_eq!(turned.is_fatal(), !turned.severity.is_empty());
    let mut out = Vec::new();
    wire::with_message(&mut out, data, b"other");
    let other = wire::error_fields(body(&out, server::ERROR));
    assert_eq!((other.code, other.severity), (seen.code, seen.severity));
    assert!(other.message == b"other" || (other.message.is_empty() && seen.message.is_empty()));
}

fn read_back(data: &[u8]) {
    let mut pieces = data.splitn(3, |byte| *byte == 0);
    let (name, value) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    let mut out = Vec::new();
    server::parameter_status(&mut out, name, value);
    let seen = server::read_parameter_status(body(&out, server::PARAMETER_STATUS));
    assert_eq!(seen, Some((name, value)));
    out.clear();
    let text = String::from_utf8_lossy(name).into_owned();
    wire::fault(&mut out, &Fault::session(Side::Proxy, "53300", text.clone()).hint("a hint"));
    let seen = wire::error_fields(body(&out, server::ERROR));
    assert_eq!((seen.code, seen.message), (&b"53300"[..], text.as_bytes()));
    assert!(seen.is_fatal());
    out.clear();
    server::negotiate(&mut out, &[name, value]);
    assert_eq!(body(&out, server::NEGOTIATE).len(), 8 + name.len() + value.len() + 2);
}

fuzz_target!(|data: &[u8]| {
    errors(data);
    read_back(data);
    if let Some(tag) = server::read_command_tag(data) {
        assert!(!tag.contains(&0));
    }
    if let Some(shape) = server::read_row_shape(data) {
        assert_ne!(shape, server::RowShape::NO_DATA);
        assert_eq!(server::read_row_shape(data), Some(shape));
    }
});
