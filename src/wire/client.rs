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

/// What the protocol says of a message type (manual, "Message Formats").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageType {
    /// Whether its body may be large: PostgreSQL takes others up to 10,000 bytes only.
    pub is_large: bool,
    /// Whether the server has to see it to answer it. A Sync needs one only when a batch is open.
    pub needs_server: bool,
    /// Whether ReadyForQuery ends its answer.
    pub ends_with_ready: bool,
    /// Whether it belongs to a batch: behind an error the server skips it up to the next Sync.
    pub is_extended: bool,
}

/// The message type of this tag; `None` when no client may send it after startup.
pub fn message_type(tag: u8) -> Option<MessageType> {
    let of = |is_large, needs_server, ends_with_ready, is_extended| {
        Some(MessageType { is_large, needs_server, ends_with_ready, is_extended })
    };
    match tag {
        PARSE | BIND => of(true, true, false, true),
        DESCRIBE | EXECUTE | CLOSE => of(false, true, false, true),
        FLUSH => of(false, false, false, true),
        SYNC => of(false, false, true, false),
        QUERY | FUNCTION_CALL => of(true, true, true, false),
        COPY_DATA => of(true, false, false, false),
        COPY_DONE | COPY_FAIL | TERMINATE => of(false, false, false, false),
        _ => None,
    }
}

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

/// Appends the header of a Parse and its name; the caller sends the `rest` bytes of the body that
/// follow them.
pub fn parse_head(out: &mut Vec<u8>, name: &[u8], rest: usize) {
    let length = name.len().saturating_add(1).saturating_add(rest).saturating_add(4);
    out.push(PARSE);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(name);
    out.push(0);
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

/// The text in the body of a Query or a Parse, whole or not, with what stands behind it. Mostly a Parse has no
/// name.
#[inline]
pub fn text_in_front(tag: u8, body: &[u8]) -> Option<&[u8]> {
    match (tag, body) {
        (QUERY, text) | (PARSE, [0, text @ ..]) => Some(text),
        (PARSE, body) => super::cstring(body).map(|(_, text)| text),
        _ => None,
    }
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

/// Calls `value` with each parameter of a Bind's body, in whatever format, but for NULL. `None` when
/// the body makes no sense or is not whole.
pub fn parameters<'a>(body: &'a [u8], value: impl FnMut(&'a [u8])) -> Option<()> {
    let names = read_bind(body)?;
    values(body.get(names.names_len..)?, value)
}

/// The same with each argument of a FunctionCall's body, which begins with the function's OID.
pub fn arguments<'a>(body: &'a [u8], value: impl FnMut(&'a [u8])) -> Option<()> {
    values(body.get(4..)?, value)
}

/// Formats and values, as Bind and FunctionCall have them.
fn values<'a>(mut rest: &'a [u8], mut value: impl FnMut(&'a [u8])) -> Option<()> {
    let mut take = |n: usize| {
        let (taken, behind) = rest.split_at_checked(n)?;
        rest = behind;
        Some(taken)
    };
    let number = |bytes: &[u8]| Some(u16::from_be_bytes(*bytes.first_chunk::<2>()?));
    let formats = number(take(2)?)?;
    take(usize::from(formats).checked_mul(2)?)?;
    for _ in 0..number(take(2)?)? {
        let length = i32::from_be_bytes(*take(4)?.first_chunk::<4>()?);
        if let Ok(length) = usize::try_from(length) {
            value(take(length)?);
        }
    }
    Some(())
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
    fn parameters_are_read() {
        let mut all = Vec::new();
        let body = b"\0s\0\0\x01\0\x01\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\0\0";
        assert!(parameters(body, |value| all.push(value)).is_some());
        assert_eq!(all, [&b"ab"[..], b""]);
        assert!(parameters(&body[..12], |_| ()).is_none());
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

    #[test]
    fn every_message_type() {
        let table: Vec<String> = (0..=255u8)
            .filter_map(|tag| {
                let found = message_type(tag)?;
                let sign = |yes, sign: &'static str| if yes { sign } else { "" };
                Some(format!(
                    "{}{}{}{}{}",
                    char::from(tag),
                    sign(found.is_large, " large"),
                    sign(found.needs_server, " server"),
                    sign(found.ends_with_ready, " ready"),
                    sign(found.is_extended, " batch"),
                ))
            })
            .collect();
        let expected = "B large server batch,C server batch,D server batch,E server batch,\
            F large server ready,H batch,P large server batch,Q large server ready,S ready,X,c,d large,f";
        assert_eq!(table.join(","), expected);
    }

    proptest! {
        #[test]
        fn views_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (read_parse(&body), read_bind(&body), read_target(&body), parameters(&body, |_| ()));
            for tag in 0..=255 {
                let _ = message_type(tag);
            }
        }
    }
}
