//! ErrorResponse and NoticeResponse: their fields, and how ours are written.

use super::frame::sized;
use crate::fault::Fault;

/// The fields of an error or notice that are looked at (manual, "Error and Notice Message Fields").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// `V`, the severity that is never localised (`S` before PostgreSQL 9.6).
    pub severity: &'a [u8],
    /// `C`, SQLSTATE.
    pub code: &'a [u8],
    /// `M`, the primary message.
    pub message: &'a [u8],
    /// `R`, the function of the server that reports it. No text of a user's can choose it.
    pub routine: &'a [u8],
}

impl ErrorFields<'_> {
    /// Whether the server closes the connection after it.
    pub fn is_fatal(&self) -> bool {
        self.severity == b"FATAL" || self.severity == b"PANIC"
    }
}

fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (&kind, after) = rest.split_first().filter(|(kind, _)| **kind != 0)?;
        let (text, after) = super::cstring(after)?;
        rest = after;
        Some((kind, text))
    })
}

/// Opens the body of an error or notice; missing fields are empty.
pub fn error_fields(body: &[u8]) -> ErrorFields<'_> {
    let (mut found, mut localised) = (ErrorFields::default(), &b""[..]);
    for (kind, text) in fields(body) {
        match kind {
            b'V' => found.severity = text,
            b'S' => localised = text,
            b'C' => found.code = text,
            b'M' => found.message = text,
            b'R' => found.routine = text,
            _ => {}
        }
    }
    if found.severity.is_empty() {
        found.severity = localised;
    }
    found
}

fn field(out: &mut Vec<u8>, kind: u8, text: &[u8]) {
    out.push(kind);
    out.extend_from_slice(text);
    out.push(0);
}

fn response(out: &mut Vec<u8>, tag: u8, severity: &str, fault: &Fault) {
    sized(out, tag, |out| {
        field(out, b'S', severity.as_bytes());
        field(out, b'V', severity.as_bytes());
        field(out, b'C', fault.code.as_bytes());
        field(out, b'M', fault.message.as_bytes());
        if !fault.hint.is_empty() {
            field(out, b'H', fault.hint.as_bytes());
        }
        if let Some((file, routine)) = fault.origin {
            field(out, b'F', file.as_bytes());
            field(out, b'R', routine.as_bytes());
        }
        out.push(0);
    });
}

/// Appends ErrorResponse.
pub fn fault(out: &mut Vec<u8>, fault: &Fault) {
    response(out, super::server::ERROR, fault.severity(), fault);
}

/// Appends NoticeResponse with severity NOTICE.
pub fn notice(out: &mut Vec<u8>, notice: &Fault) {
    response(out, super::server::NOTICE, "NOTICE", notice);
}

/// Appends NoticeResponse with severity WARNING.
pub fn warning(out: &mut Vec<u8>, warning: &Fault) {
    response(out, super::server::NOTICE, "WARNING", warning);
}

/// Appends the error in `body` with another message: for a statement that the client knows by
/// another name. Other fields stay as the server sent them.
pub fn with_message(out: &mut Vec<u8>, body: &[u8], message: &[u8]) {
    with_fields(out, body, |kind, _| (kind == b'M').then(|| message.to_vec()));
}

/// Appends the error in `body` with other values for those fields for which `replace` gives one.
pub fn with_fields(
    out: &mut Vec<u8>,
    body: &[u8],
    mut replace: impl FnMut(u8, &[u8]) -> Option<Vec<u8>>,
) {
    sized(out, super::server::ERROR, |out| {
        for (kind, text) in fields(body) {
            match replace(kind, text) {
                Some(other) => field(out, kind, &other),
                None => field(out, kind, text),
            }
        }
        out.push(0);
    });
}

/// Appends the error in `body` without this field.
pub fn without_field(out: &mut Vec<u8>, body: &[u8], kind: u8) {
    sized(out, super::server::ERROR, |out| {
        fields(body).filter(|(other, _)| *other != kind).for_each(|(kind, text)| {
            field(out, kind, text);
        });
        out.push(0);
    });
}

/// Appends the error in `body` with another message and another hint.
pub fn with_texts(out: &mut Vec<u8>, body: &[u8], message: &[u8], hint: &[u8]) {
    sized(out, super::server::ERROR, |out| {
        for (kind, text) in fields(body).filter(|(kind, _)| *kind != b'H') {
            field(out, kind, if kind == b'M' { message } else { text });
        }
        field(out, b'H', hint);
        out.push(0);
    });
}

/// The error in `body` as one that ends the session.
pub fn as_fatal(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sized(&mut out, super::server::ERROR, |out| {
        for (kind, text) in fields(body) {
            field(out, kind, if matches!(kind, b'S' | b'V') { b"FATAL" } else { text });
        }
        out.push(0);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Side;
    use proptest::prelude::*;

    #[test]
    fn an_error_is_read_back() {
        let mut out = Vec::new();
        let sent = Fault::session(Side::Proxy, "53300", "too many").hint("Raise max_client_conn.");
        fault(&mut out, &sent);
        let seen = error_fields(&out[5..]);
        assert!(seen.is_fatal());
        assert_eq!((seen.code, seen.message), (&b"53300"[..], &b"too many"[..]));
        let length = u32::from_be_bytes([out[1], out[2], out[3], out[4]]);
        assert_eq!(out.len(), 1 + length as usize);
    }

    #[test]
    fn a_message_is_replaced_and_the_rest_kept() {
        let mut out = Vec::new();
        with_texts(&mut out, b"SFATAL\0C28P01\0Mold\0Hold hint\0Fauth.c\0\0", b"new", b"hint");
        assert_eq!(out.split_off(0)[5..], *b"SFATAL\0C28P01\0Mnew\0Fauth.c\0Hhint\0\0");
        with_message(&mut out, b"SERROR\0C26000\0Mold\0F prepare.c\0\0", b"new");
        assert_eq!(&out[5..], b"SERROR\0C26000\0Mnew\0F prepare.c\0\0");
    }

    proptest! {
        #[test]
        fn fields_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = error_fields(&body);
        }
    }
}
