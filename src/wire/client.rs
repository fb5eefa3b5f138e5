//! What clients send: tags, encoders, and views of the few bodies that are opened.

use super::frame::sized;

/// Bind.
pub const BIND: u8 = b'B';
/// Close.
pub const CLOSE: u8 = b'C';
/// CopyData, in both directions.
pub const COPY_DATA: u8 = b'd';
/// CopyDone, in both directions.
pub const COPY_DONE: u8 = b'c';
/// CopyFail.
pub const COPY_FAIL: u8 = b'f';
/// Describe.
pub const DESCRIBE: u8 = b'D';
/// Execute.
pub const EXECUTE: u8 = b'E';
/// Flush.
pub const FLUSH: u8 = b'H';
/// FunctionCall.
pub const FUNCTION_CALL: u8 = b'F';
/// Parse.
pub const PARSE: u8 = b'P';
/// PasswordMessage and the SASL responses.
pub const PASSWORD: u8 = b'p';
/// Query.
pub const QUERY: u8 = b'Q';
/// Sync.
pub const SYNC: u8 = b'S';
/// Terminate.
pub const TERMINATE: u8 = b'X';

/// Appends Query.
pub fn query(out: &mut Vec<u8>, sql: &[u8]) {
    sized(out, QUERY, |out| {
        out.extend_from_slice(sql);
        out.push(0);
    });
}

/// Appends Parse; `types` is the count and the OIDs exactly as they came from a client.
pub fn parse(out: &mut Vec<u8>, name: &[u8], sql: &[u8], types: &[u8]) {
    sized(out, PARSE, |out| {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(sql);
        out.push(0);
        out.extend_from_slice(types);
    });
}

/// Appends the first `announced` bytes' header of a Bind and its two names; the caller sends
/// the `rest` bytes of the body that follow them.
pub fn bind_head(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest: usize) {
    let body = portal.len().saturating_add(statement.len()).saturating_add(2);
    let length = body.saturating_add(rest).saturating_add(4);
    out.push(BIND);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(portal);
    out.push(0);
    out.extend_from_slice(statement);
    out.push(0);
}

/// Appends Describe (`tag` `DESCRIBE`) or Close (`tag` `CLOSE`) of a statement or portal.
pub fn target(out: &mut Vec<u8>, tag: u8, kind: u8, name: &[u8]) {
    sized(out, tag, |out| {
        out.push(kind);
        out.extend_from_slice(name);
        out.push(0);
    });
}

/// Appends Execute of a portal, with all its rows.
pub fn execute(out: &mut Vec<u8>, portal: &[u8]) {
    sized(out, EXECUTE, |out| {
        out.extend_from_slice(portal);
        out.extend_from_slice(&[0; 5]);
    });
}

/// Appends a message without a body: Sync, Flush, Terminate, CopyDone.
pub fn bare(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 4]);
}

/// Appends CopyFail with its reason.
pub fn copy_fail(out: &mut Vec<u8>, reason: &str) {
    sized(out, COPY_FAIL, |out| {
        out.extend_from_slice(reason.as_bytes());
        out.push(0);
    });
}

/// Appends PasswordMessage or a SASL response with this body.
pub fn password(out: &mut Vec<u8>, body: &[u8]) {
    sized(out, PASSWORD, |out| out.extend_from_slice(body));
}

/// A Parse message's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty is the unnamed statement.
    pub name: &'a [u8],
    /// The statement's text.
    pub sql: &'a [u8],
    /// The count of parameter types and their OIDs, as sent.
    pub types: &'a [u8],
}

/// Opens the body of a Parse; `None` when it is malformed.
pub fn read_parse(body: &[u8]) -> Option<Parse<'_>> {
    let (name, rest) = super::cstring(body)?;
    let (sql, types) = super::cstring(rest)?;
    let (count, oids) = types.split_first_chunk::<2>()?;
    let expected = usize::from(u16::from_be_bytes(*count)).checked_mul(4)?;
    (oids.len() == expected).then_some(Parse { name, sql, types })
}

/// A Bind message's names, which stand first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// Bytes of the body that the two names and their terminators take.
    pub names_len: usize,
}

/// Opens the start of a Bind's body; `None` when the two names are not whole in `start`.
pub fn read_bind(start: &[u8]) -> Option<Bind<'_>> {
    let (portal, rest) = super::cstring(start)?;
    let (statement, rest) = super::cstring(rest)?;
    Some(Bind { portal, statement, names_len: start.len().checked_sub(rest.len())? })
}

/// What a Describe or Close names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// `S` for a statement, `P` for a portal; anything else is the server's to refuse.
    pub kind: u8,
    /// The name.
    pub name: &'a [u8],
}

/// Opens the body of a Describe or Close; `None` when it is malformed.
pub fn read_target(body: &[u8]) -> Option<Target<'_>> {
    let (&kind, rest) = body.split_first()?;
    let (name, rest) = super::cstring(rest)?;
    rest.is_empty().then_some(Target { kind, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_is_read_back() {
        let mut out = Vec::new();
        parse(&mut out, b"s1", b"SELECT $1", &[0, 1, 0, 0, 0, 23]);
        let view = read_parse(&out[5..]).unwrap();
        assert_eq!((view.name, view.sql), (&b"s1"[..], &b"SELECT $1"[..]));
        assert_eq!(view.types, [0, 1, 0, 0, 0, 23]);
    }

    #[test]
    fn parse_with_a_wrong_count_is_malformed() {
        assert_eq!(read_parse(b"s\0SELECT 1\0\0\x02\0\0\0\x17"), None);
        assert_eq!(read_parse(b"s\0SELECT 1\0"), None);
        assert_eq!(read_parse(b"s\0SELECT 1"), None);
    }

    #[test]
    fn bind_head_and_rest_make_the_message() {
        let mut out = Vec::new();
        bind_head(&mut out, b"p", b"s", 6);
        out.extend_from_slice(&[0; 6]);
        assert_eq!(out.len(), 1 + usize::from(out[4]));
        let names = read_bind(&out[5..]).unwrap();
        assert_eq!((names.portal, names.statement, names.names_len), (&b"p"[..], &b"s"[..], 4));
    }

    proptest! {
        #[test]
        fn views_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (read_parse(&body), read_bind(&body), read_target(&body));
        }
    }
}
