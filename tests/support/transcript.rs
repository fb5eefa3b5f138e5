//! Frames from a server, as lines a person can read.
//!
//! The rendering loses nothing but what no two connections share: keys, process ids, and the
//! object ids of what a test has just made. Long values are shortened to their length and a digest.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A message from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The message type.
    pub(crate) tag: u8,
    /// What follows the length.
    pub(crate) body: Vec<u8>,
}

/// Objects made after initdb have greater ids (manual: "System Catalog Initial Data").
const FIRST_NORMAL_OID: u32 = 16_384;
const LONGEST_VALUE: usize = 160;

impl Frame {
    /// One line for people and for comparison.
    pub(crate) fn line(&self) -> String {
        let rest = self.detail().unwrap_or_else(|| format!("malformed {}", escape(&self.body)));
        format!("{} {rest}", char::from(self.tag)).trim_end().to_owned()
    }

    /// The tag with what matters most: the SQLSTATE of an error, the transaction status, the name
    /// of a parameter.
    pub(crate) fn brief(&self) -> String {
        let tag = char::from(self.tag);
        match self.tag {
            b'E' | b'N' => format!("{tag}:{}", self.field(b'C').unwrap_or_default()),
            b'Z' => format!("Z:{}", escape(&self.body)),
            b'S' => {
                let name = self.body.split(|byte| *byte == 0).next().unwrap_or_default();
                format!("S:{}", escape(name))
            }
            _ => tag.to_string(),
        }
    }

    /// A field of an ErrorResponse or NoticeResponse.
    pub(crate) fn field(&self, code: u8) -> Option<String> {
        let mut reader = Reader(&self.body);
        loop {
            let found = reader.byte()?;
            let value = reader.text()?;
            if found == code {
                return Some(value);
            }
        }
    }

    /// The columns of a DataRow.
    pub(crate) fn columns(&self) -> Option<Vec<Option<Vec<u8>>>> {
        let mut reader = Reader(&self.body);
        let count = reader.int16()?;
        (0..count).map(|_| reader.value()).collect()
    }

    fn detail(&self) -> Option<String> {
        let mut reader = Reader(&self.body);
        let detail = match self.tag {
            b'K' => {
                reader.take(self.body.len())?;
                format!("a key of {} bytes", self.body.len())
            }
            b'S' => format!("{}={}", reader.text()?, reader.text()?),
            b'Z' => escape(reader.take(1)?),
            b'C' => reader.text()?,
            b'E' | b'N' => reader.fields()?,
            b'T' => reader.row_description()?,
            b't' => reader.parameter_description()?,
            b'D' => reader.row()?,
            b'V' => show(reader.value()?.as_deref()),
            b'A' => {
                reader.take(4)?;
                format!("{} {}", reader.text()?, reader.text()?)
            }
            b'G' | b'H' | b'W' => reader.copy_formats()?,
            b'd' => show(Some(reader.take(self.body.len())?)),
            _ => escape(reader.take(self.body.len())?),
        };
        reader.0.is_empty().then_some(detail)
    }
}

/// Printable ASCII stays, everything else becomes an escape.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The briefs of `frames` in one line: `1 2 D*3 C Z:I`.
pub(crate) fn brief(frames: &[Frame], closed: bool) -> String {
    let mut runs: Vec<(String, usize)> = Vec::new();
    for brief in frames.iter().map(Frame::brief).chain(closed.then(|| "closed".to_owned())) {
        match runs.last_mut() {
            Some((last, times)) if *last == brief => *times += 1,
            _ => runs.push((brief, 1)),
        }
    }
    let run = |(brief, times): (String, usize)| match times {
        1 => brief,
        _ => format!("{brief}*{times}"),
    };
    runs.into_iter().map(run).collect::<Vec<_>>().join(" ")
}

fn show(value: Option<&[u8]>) -> String {
    match value {
        None => "null".to_owned(),
        Some(bytes) if bytes.len() <= LONGEST_VALUE => format!("'{}'", escape(bytes)),
        Some(bytes) => {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let start = escape(&bytes[..20]);
            format!("'{start}…' ({} bytes, digest {:016x})", bytes.len(), hasher.finish())
        }
    }
}

fn object_id(oid: u32) -> String {
    if oid < FIRST_NORMAL_OID { oid.to_string() } else { "new".to_owned() }
}

/// Reads a body from its start; `None` means that it ended too early.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn int16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn int32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn oid(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = escape(self.take(end)?);
        self.take(1)?;
        Some(text)
    }

    fn value(&mut self) -> Option<Option<Vec<u8>>> {
        match usize::try_from(self.int32()?) {
            Err(_) => Some(None),
            Ok(length) => Some(Some(self.take(length)?.to_vec())),
        }
    }

    fn fields(&mut self) -> Option<String> {
        let mut fields = Vec::new();
        loop {
            match self.byte()? {
                0 => return Some(fields.join(" ")),
                code => fields.push(format!("{}={}", char::from(code), self.text()?)),
            }
        }
    }

    fn row_description(&mut self) -> Option<String> {
        let count = self.int16()?;
        let columns: Option<Vec<String>> = (0..count).map(|_| self.column()).collect();
        Some(columns?.join(" "))
    }

    fn column(&mut self) -> Option<String> {
        let name = self.text()?;
        let (table, number) = (object_id(self.oid()?), self.int16()?);
        let (kind, size) = (object_id(self.oid()?), self.int16()?);
        let (modifier, format) = (self.int32()?, self.int16()?);
        Some(format!("{name}({table}.{number} {kind} {size} {modifier} {format})"))
    }

    fn parameter_description(&mut self) -> Option<String> {
        let count = self.int16()?;
        let kinds: Option<Vec<String>> = (0..count).map(|_| self.oid().map(object_id)).collect();
        Some(kinds?.join(" "))
    }

    fn row(&mut self) -> Option<String> {
        let count = self.int16()?;
        let values: Option<Vec<String>> =
            (0..count).map(|_| self.value().map(|value| show(value.as_deref()))).collect();
        Some(values?.join(" "))
    }

    fn copy_formats(&mut self) -> Option<String> {
        let overall = self.byte()?;
        let count = self.int16()?;
        let formats: Option<Vec<String>> =
            (0..count).map(|_| self.int16().map(|format| format.to_string())).collect();
        Some(format!("{overall}: {}", formats?.join(" ")))
    }
}
