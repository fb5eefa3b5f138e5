//! What servers send: tags, encoders, and views of the few bodies that are opened.

use super::frame::sized;

use std::hash::{BuildHasher, Hasher};

/// Authentication, any kind.
pub const AUTHENTICATION: u8 = b'R';
/// BackendKeyData.
pub const BACKEND_KEY: u8 = b'K';
/// BindComplete.
pub const BIND_COMPLETE: u8 = b'2';
/// CloseComplete.
pub const CLOSE_COMPLETE: u8 = b'3';
/// CommandComplete.
pub const COMMAND_COMPLETE: u8 = b'C';
/// CopyBothResponse, of a replication connection.
pub const COPY_BOTH: u8 = b'W';
/// CopyInResponse.
pub const COPY_IN: u8 = b'G';
/// CopyOutResponse.
pub const COPY_OUT: u8 = b'H';
/// CopyData.
pub const COPY_DATA: u8 = b'd';
/// CopyDone.
pub const COPY_DONE: u8 = b'c';
/// DataRow.
pub const DATA_ROW: u8 = b'D';
/// EmptyQueryResponse.
pub const EMPTY_QUERY: u8 = b'I';
/// ErrorResponse.
pub const ERROR: u8 = b'E';
/// FunctionCallResponse.
pub const FUNCTION_RESULT: u8 = b'V';
/// NegotiateProtocolVersion.
pub const NEGOTIATE: u8 = b'v';
/// NoData.
pub const NO_DATA: u8 = b'n';
/// NoticeResponse.
pub const NOTICE: u8 = b'N';
/// NotificationResponse.
pub const NOTIFICATION: u8 = b'A';
/// ParameterDescription.
pub const PARAMETER_DESCRIPTION: u8 = b't';
/// ParameterStatus.
pub const PARAMETER_STATUS: u8 = b'S';
/// ParseComplete.
pub const PARSE_COMPLETE: u8 = b'1';
/// PortalSuspended.
pub const PORTAL_SUSPENDED: u8 = b's';
/// ReadyForQuery.
pub const READY: u8 = b'Z';
/// RowDescription.
pub const ROW_DESCRIPTION: u8 = b'T';

/// Appends a message without a body: ParseComplete, BindComplete, CloseComplete.
pub fn bare(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 4]);
}

/// Appends ReadyForQuery.
pub fn ready(out: &mut Vec<u8>, status: u8) {
    out.extend_from_slice(&[READY, 0, 0, 0, 5, status]);
}

/// Appends ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    sized(out, PARAMETER_STATUS, |out| {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    });
}

/// Appends BackendKeyData.
pub fn backend_key(out: &mut Vec<u8>, key: [u8; 8]) {
    sized(out, BACKEND_KEY, |out| out.extend_from_slice(&key));
}

/// Appends RowDescription of one column of type `text`, in the binary format or as text.
pub fn text_column(out: &mut Vec<u8>, name: &[u8], is_binary: bool) {
    const TEXT: u32 = 25;
    sized(out, ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&1u16.to_be_bytes());
        out.extend_from_slice(name);
        // No table, and no column of it.
        out.extend_from_slice(&[0; 1 + 4 + 2]);
        out.extend_from_slice(&TEXT.to_be_bytes());
        // Of any length, without a modifier.
        out.extend_from_slice(&[0xff; 2 + 4]);
        out.extend_from_slice(&u16::from(is_binary).to_be_bytes());
    });
}

/// Appends DataRow with one value, which is text: it is the same in both formats.
pub fn text_row(out: &mut Vec<u8>, value: &[u8]) {
    sized(out, DATA_ROW, |out| {
        out.extend_from_slice(&1u16.to_be_bytes());
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    });
}

/// Appends CommandComplete with this tag.
pub fn command_complete(out: &mut Vec<u8>, tag: &[u8]) {
    sized(out, COMMAND_COMPLETE, |out| {
        out.extend_from_slice(tag);
        out.push(0);
    });
}

/// Appends ParameterDescription of a statement without parameters.
pub fn no_parameters(out: &mut Vec<u8>) {
    sized(out, PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0; 2]));
}

/// Appends an Authentication message of this kind (manual, "Message Formats") and its body.
pub fn authentication(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    sized(out, AUTHENTICATION, |out| {
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(body);
    });
}

/// Appends NegotiateProtocolVersion: the newest version we speak, 3.0, in the form in which
/// PostgreSQL sends it, and the `_pq_.` options that were not understood.
pub fn negotiate(out: &mut Vec<u8>, unknown: &[&[u8]]) {
    sized(out, NEGOTIATE, |out| {
        out.extend_from_slice(&[0, 3, 0, 0]);
        let count = u32::try_from(unknown.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for name in unknown {
            out.extend_from_slice(name);
            out.push(0);
        }
    });
}

/// Opens a ParameterStatus: name and value.
pub fn read_parameter_status(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, rest) = super::cstring(body)?;
    let (value, _) = super::cstring(rest)?;
    Some((name, value))
}

/// Opens a CommandComplete: its tag, such as `INSERT 0 1`.
pub fn read_command_tag(body: &[u8]) -> Option<&[u8]> {
    Some(super::cstring(body)?.0)
}

/// Opens a ParameterDescription: the types of a statement's parameters, as Parse declares them.
pub fn read_parameter_types(body: &[u8]) -> Option<Vec<u8>> {
    let (count, types) = body.split_first_chunk::<2>()?;
    let expected = usize::from(u16::from_be_bytes(*count)).checked_mul(4)?;
    (types.len() == expected).then(|| body.to_vec())
}

/// A digest of what a RowDescription promises: the names and types of its columns.
///
/// PostgreSQL compares the same things before it says that a cached plan must not change its
/// result type; the table's OID and column number are left out, as they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape(u64);

impl RowShape {
    /// The shape of a statement that returns no rows.
    pub const NO_DATA: Self = Self(0);
}

/// Digests the body of a RowDescription; `None` when it is malformed.
pub fn read_row_shape(body: &[u8]) -> Option<RowShape> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let seed = foldhash::fast::FixedState::with_seed(7);
    let mut hasher = seed.build_hasher();
    hasher.write(count);
    for _ in 0..u16::from_be_bytes(*count) {
        let (name, after) = super::cstring(rest)?;
        let (field, after) = after.split_first_chunk::<18>()?;
        let (_table_and_column, types) = field.split_at(6);
        hasher.write(name);
        hasher.write(types.get(..10)?);
        rest = after;
    }
    Some(RowShape(hasher.finish() | 1))
}

/// Reads the names of a RowDescription; `None` when it is malformed.
pub fn column_names(body: &[u8]) -> Option<Vec<String>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (name, after) = super::cstring(rest)?;
        names.push(String::from_utf8_lossy(name).into_owned());
        rest = after.get(18..)?;
    }
    Some(names)
}

/// Reads the columns of a DataRow; `None` when it is malformed.
pub fn columns(body: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                columns.push(Some(after.get(..length)?.to_vec()));
                rest = after.get(length..)?;
            }
            Err(_) => {
                columns.push(None);
                rest = after;
            }
        }
    }
    Some(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(name: &str, table: u32, oid: u32) -> Vec<u8> {
        let mut body = vec![0, 1];
        body.extend(name.as_bytes());
        body.push(0);
        body.extend(table.to_be_bytes());
        body.extend([0, 1]);
        body.extend(oid.to_be_bytes());
        body.extend([0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        body
    }

    #[test]
    fn a_shape_is_names_and_types_not_tables() {
        assert_eq!(read_row_shape(&row("a", 1, 23)), read_row_shape(&row("a", 2, 23)));
        assert_ne!(read_row_shape(&row("a", 1, 23)), read_row_shape(&row("a", 1, 20)));
        assert_ne!(read_row_shape(&row("a", 1, 23)), read_row_shape(&row("b", 1, 23)));
        assert_ne!(read_row_shape(&row("a", 1, 23)), Some(RowShape::NO_DATA));
    }

    #[test]
    fn encoders_agree_with_the_client_library() {
        use postgres_protocol::message::backend::Message;
        let mut out = Vec::new();
        parameter_status(&mut out, b"TimeZone", b"UTC");
        ready(&mut out, b'T');
        bare(&mut out, PARSE_COMPLETE);
        let mut bytes = bytes::BytesMut::from(&out[..]);
        let first = Message::parse(&mut bytes).unwrap().unwrap();
        let Message::ParameterStatus(s) = first else { panic!("not a ParameterStatus") };
        assert_eq!((s.name().unwrap(), s.value().unwrap()), ("TimeZone", "UTC"));
        assert!(
            matches!(Message::parse(&mut bytes), Ok(Some(Message::ReadyForQuery(z))) if z.status() == b'T')
        );
        assert!(matches!(Message::parse(&mut bytes), Ok(Some(Message::ParseComplete))));
    }

    proptest! {
        #[test]
        fn views_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (read_parameter_status(&body), read_command_tag(&body), read_row_shape(&body));
        }
    }
}
