//! Tables as JSON, for the page. `serde_json` writes it.

use super::table::{Column, Value};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::ser::{CompactFormatter, Formatter};
use std::io::{self, Write};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
            // JSON has no word for what is not finite: it becomes null.
            Self::Float(number) => serializer.serialize_f64(*number),
        }
    }
}

/// Rows as a list of objects, one for each row.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The names of the values.
    pub columns: &'a [Column],
    /// The values. One that is missing at the end of a row is null.
    pub rows: &'a [Vec<Value>],
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { columns, rows } = self;
        serializer.collect_seq(rows.iter().map(|row| Row { columns, row }))
    }
}

struct Row<'a> {
    columns: &'a [Column],
    row: &'a [Value],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.len()))?;
        for (at, column) in self.columns.iter().enumerate() {
            object.serialize_entry(column.name, self.row.get(at).unwrap_or(&Value::Null))?;
        }
        object.end()
    }
}

/// The value as compact JSON. Signs that mean something to HTML are escaped, wherever the JSON may end
/// up.
///
/// # Errors
/// What the value's own `Serialize` says; tables have nothing to say.
pub fn to_vec(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, HtmlSafe))?;
    Ok(out)
}

/// Compact JSON without a sign that means something to HTML.
struct HtmlSafe;

impl Formatter for HtmlSafe {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let means_something =
            |sign: char| matches!(sign, '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}');
        for part in fragment.split_inclusive(means_something) {
            let last = part.chars().next_back().filter(|sign| means_something(*sign));
            let plain = part.trim_end_matches(means_something);
            CompactFormatter.write_string_fragment(writer, plain)?;
            if let Some(sign) = last {
                write!(writer, "\\u{:04x}", u32::from(sign))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Type;
    use super::*;
    use proptest::prelude::*;

    fn text(value: &impl Serialize) -> String {
        String::from_utf8(to_vec(value).expect("JSON")).expect("UTF-8")
    }

    #[test]
    fn rows_are_objects() {
        const COLUMNS: &[Column] = &[
            Column { name: "a", kind: Type::Text },
            Column { name: "b", kind: Type::Float8 },
            Column { name: "c", kind: Type::Int8 },
        ];
        let first = vec![Value::from("x\"</script>\n\\é"), Value::Float(0.5), Value::Number(-1)];
        let second = vec![Value::Null, Value::Float(f64::INFINITY)];
        assert_eq!(
            text(&Rows { columns: COLUMNS, rows: &[first, second] }),
            r#"[{"a":"x\"\u003c/script\u003e\n\\é","b":0.5,"c":-1},{"a":null,"b":null,"c":null}]"#
        );
        assert_eq!(text(&Rows { columns: COLUMNS, rows: &[] }), "[]");
    }

    proptest! {
        #[test]
        fn a_text_is_read_back_and_means_nothing_to_html(value in any::<String>()) {
            let written = text(&value);
            let is_safe = !written.contains(['<', '>', '&', '\u{2028}', '\n']);
            prop_assert!(is_safe, "{}", written);
            prop_assert_eq!(serde_json::from_str::<String>(&written).expect("JSON"), value);
        }
    }
}
