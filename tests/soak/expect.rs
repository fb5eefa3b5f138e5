//! What a client expects to be answered, message by message.

use super::support::transcript::Frame;
use super::support::wire::printable;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// A message of which only the type matters.
    Tag(u8),
    /// RowDescription with these names.
    Columns(Vec<String>),
    /// ParameterDescription with these types.
    Parameters(Vec<u32>),
    /// DataRow with exactly these values.
    Row(Vec<Option<Vec<u8>>>),
    /// CommandComplete with this tag.
    Complete(String),
    /// ReadyForQuery with this status.
    Ready(u8),
    /// ErrorResponse with this SQLSTATE that leaves the session alive.
    Error(&'static str),
    /// CopyData.
    Data(Vec<u8>),
    /// FunctionCallResponse.
    Value(Vec<u8>),
}

/// A row of texts.
pub(crate) fn row(values: &[&str]) -> Expect {
    Expect::Row(values.iter().map(|value| Some(value.as_bytes().to_vec())).collect())
}

/// RowDescription.
pub(crate) fn columns(names: &[&str]) -> Expect {
    Expect::Columns(names.iter().map(|name| (*name).to_owned()).collect())
}

/// CommandComplete.
pub(crate) fn complete(tag: impl Into<String>) -> Expect {
    Expect::Complete(tag.into())
}

impl Expect {
    /// Whether `frame` is what was expected.
    pub(crate) fn matches(&self, frame: &Frame) -> bool {
        match self {
            Self::Tag(tag) => frame.tag == *tag,
            Self::Columns(names) => frame.tag == b'T' && column_names(&frame.body) == *names,
            Self::Parameters(types) => frame.tag == b't' && parameter_types(&frame.body) == *types,
            Self::Row(values) => frame.tag == b'D' && frame.columns().as_ref() == Some(values),
            Self::Complete(tag) => {
                frame.tag == b'C' && frame.body.strip_suffix(&[0]) == Some(tag.as_bytes())
            }
            Self::Ready(status) => frame.tag == b'Z' && frame.body == [*status],
            Self::Error(code) => {
                frame.tag == b'E'
                    && frame.field(b'C').as_deref() == Some(*code)
                    && frame.field(b'V').as_deref() == Some("ERROR")
            }
            Self::Data(data) => frame.tag == b'd' && frame.body == *data,
            Self::Value(value) => {
                frame.tag == b'V'
                    && frame.body.get(..4)
                        == Some(&u32::try_from(value.len()).unwrap_or(0).to_be_bytes())
                    && frame.body.get(4..) == Some(value)
            }
        }
    }

    /// Shortened, for people.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Tag(tag) => char::from(*tag).to_string(),
            Self::Columns(names) => format!("T {names:?}"),
            Self::Parameters(types) => format!("t {types:?}"),
            Self::Row(values) => {
                let show = |value: &Option<Vec<u8>>| match value {
                    None => "null".to_owned(),
                    Some(value) => format!("'{}' ({})", short(value), value.len()),
                };
                format!("D {}", values.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            Self::Complete(tag) => format!("C {tag}"),
            Self::Ready(status) => format!("Z {}", char::from(*status)),
            Self::Error(code) => format!("E ERROR {code}"),
            Self::Data(data) => format!("d '{}' ({})", short(data), data.len()),
            Self::Value(value) => format!("V '{}'", short(value)),
        }
    }
}

fn short(value: &[u8]) -> String {
    printable(&value[..value.len().min(40)])
}

/// The types in a ParameterDescription.
fn parameter_types(body: &[u8]) -> Vec<u32> {
    let types = body.get(2..).unwrap_or_default().chunks_exact(4);
    types.map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]])).collect()
}

/// The names in a RowDescription: each is followed by 18 bytes about its type.
fn column_names(body: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = rest.get(end + 19..).unwrap_or_default();
    }
    names
}
