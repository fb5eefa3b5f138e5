//! Rows of the console, as PostgreSQL sends rows.
//!
//! A column's type is fixed, and each value is what its type says: drivers ask for either format
//! (manual, "Formats and Format Codes") and decode by the type's OID.

use crate::wire::server;

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `text`.
    Text,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `numeric`; only whole numbers.
    Numeric,
    /// `float8`.
    Float8,
}

impl Type {
    /// Its OID in `pg_type`.
    pub fn oid(self) -> u32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
            Self::Float8 => 701,
        }
    }

    fn length(self) -> i16 {
        match self {
            Self::Text | Self::Numeric => -1,
            Self::Int4 => 4,
            Self::Int8 | Self::Float8 => 8,
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
}

/// One value. A number is encoded by its column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// A number.
    Float(f64),
}

impl Value {
    /// The text, or NULL.
    pub fn maybe(text: Option<impl Into<String>>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(text.into()))
    }

    /// A count; what does not fit is the largest number there is.
    pub fn count(count: impl TryInto<i64>) -> Self {
        Self::Number(count.try_into().unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    /// As PgBouncer shows flags: 0 or 1.
    fn from(flag: bool) -> Self {
        Self::Number(i64::from(flag))
    }
}

/// The format that a client asked for a column in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

/// The formats of all columns, as a Bind says it: none for text, one for all, or one for each.
pub(super) fn format_of(formats: &[Format], column: usize) -> Format {
    match formats {
        [] => Format::Text,
        [all] => *all,
        each => each.get(column).copied().unwrap_or(Format::Text),
    }
}

/// Appends RowDescription.
pub(super) fn describe(out: &mut Vec<u8>, columns: &[Column], formats: &[Format]) {
    framed(out, server::ROW_DESCRIPTION, |out| {
        out.extend(u16::try_from(columns.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (index, column) in columns.iter().enumerate() {
            out.extend(column.name.as_bytes());
            out.push(0);
            // From no table: its OID and the number of the column there.
            out.extend([0; 6]);
            out.extend(column.kind.oid().to_be_bytes());
            out.extend(column.kind.length().to_be_bytes());
            // No type modifier.
            out.extend((-1i32).to_be_bytes());
            out.extend([0, u8::from(format_of(formats, index) == Format::Binary)]);
        }
    });
}

/// Appends DataRow.
pub(super) fn row(out: &mut Vec<u8>, columns: &[Column], row: &[Value], formats: &[Format]) {
    framed(out, server::DATA_ROW, |out| {
        out.extend(u16::try_from(columns.len()).unwrap_or(u16::MAX).to_be_bytes());
        for (index, column) in columns.iter().enumerate() {
            let at = out.len();
            out.extend((-1i32).to_be_bytes());
            let value = row.get(index).unwrap_or(&Value::Null);
            let there = match format_of(formats, index) {
                Format::Text => text(out, value),
                Format::Binary => binary(out, column.kind, value),
            };
            if there {
                let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
                out.splice(at..at + 4, length.to_be_bytes());
            }
        }
    });
}

/// Appends the value as text; false for NULL.
fn text(out: &mut Vec<u8>, value: &Value) -> bool {
    match value {
        Value::Null => return false,
        Value::Text(text) => out.extend(text.as_bytes()),
        Value::Number(number) => out.extend(number.to_string().as_bytes()),
        Value::Float(number) => out.extend(float(*number).as_bytes()),
    }
    true
}

/// As PostgreSQL writes a `float8`.
fn float(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    // Rust's word for what is not a number is PostgreSQL's too.
    number.to_string()
}

/// Appends the value as its type's `send` function would; false for NULL.
fn binary(out: &mut Vec<u8>, kind: Type, value: &Value) -> bool {
    let whole = match value {
        Value::Null => return false,
        Value::Text(text) => {
            out.extend(text.as_bytes());
            return true;
        }
        Value::Number(number) => *number,
        Value::Float(number) => {
            out.extend(number.to_be_bytes());
            return true;
        }
    };
    match kind {
        Type::Text => out.extend(whole.to_string().as_bytes()),
        Type::Int4 => {
            let bound = i64::from(i32::MIN)..=i64::from(i32::MAX);
            let fits = whole.clamp(*bound.start(), *bound.end());
            out.extend(i32::try_from(fits).unwrap_or(i32::MAX).to_be_bytes());
        }
        Type::Int8 => out.extend(whole.to_be_bytes()),
        Type::Numeric => numeric(out, whole),
        #[expect(clippy::cast_precision_loss, reason = "what float8 holds of it")]
        Type::Float8 => out.extend((whole as f64).to_be_bytes()),
    }
    true
}

/// `numeric` in binary: digits to the base of ten thousand, most significant first.
fn numeric(out: &mut Vec<u8>, whole: i64) {
    const BASE: u64 = 10_000;
    const NEGATIVE: u16 = 0x4000;
    let (mut left, mut digits) = (whole.unsigned_abs(), Vec::new());
    while left > 0 {
        digits.push(u16::try_from(left % BASE).unwrap_or(0));
        left /= BASE;
    }
    let weight = u16::try_from(digits.len().saturating_sub(1)).unwrap_or(0);
    // Zeros behind the last digit that counts are not sent.
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    digits.reverse();
    out.extend(u16::try_from(digits.len()).unwrap_or(0).to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(if whole < 0 { NEGATIVE } else { 0 }.to_be_bytes());
    // No digits behind the point.
    out.extend([0, 0]);
    digits.iter().for_each(|digit| out.extend(digit.to_be_bytes()));
}

/// Appends a message with this tag, its body written by `body`.
pub(super) fn framed(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([tag, 0, 0, 0, 0]);
    body(out);
    let length = u32::try_from(out.len() - at - 1).unwrap_or(u32::MAX);
    out.splice(at + 1..at + 5, length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_as_postgresql_sends_it() {
        // From numeric_send of PostgreSQL: digits, weight, sign, scale, then the digits.
        for (number, bytes) in [
            (0, &[0, 0, 0, 0, 0, 0, 0, 0][..]),
            (1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
            (-9999, &[0, 1, 0, 0, 0x40, 0, 0, 0, 0x27, 0x0f]),
            (10_000, &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
            (123_456, &[0, 2, 0, 1, 0, 0, 0, 0, 0, 12, 0x0d, 0x80]),
        ] {
            let mut out = Vec::new();
            numeric(&mut out, number);
            assert_eq!(out, bytes, "{number}");
        }
    }

    #[test]
    fn floats_as_postgresql_writes_them() {
        for (number, text) in [
            (0.5, "0.5"),
            (-2.0, "-2"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn a_row_in_both_formats() {
        const COLUMNS: &[Column] = &[
            Column { name: "a", kind: Type::Text },
            Column { name: "b", kind: Type::Int4 },
            Column { name: "c", kind: Type::Int8 },
        ];
        let values = [Value::Null, Value::Number(7), Value::Number(-1)];
        let mut out = Vec::new();
        row(&mut out, COLUMNS, &values, &[Format::Text]);
        assert_eq!(out, b"D\0\0\0\x15\0\x03\xff\xff\xff\xff\0\0\0\x017\0\0\0\x02-1");
        out.clear();
        row(&mut out, COLUMNS, &values, &[Format::Binary]);
        let minus_one = [0xff; 8];
        let expected =
            [&b"D\0\0\0\x1e\0\x03\xff\xff\xff\xff\0\0\0\x04\0\0\0\x07\0\0\0\x08"[..], &minus_one];
        assert_eq!(out, expected.concat());
    }
}
