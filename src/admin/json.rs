//! Tables as JSON, for the page.

use super::table::{Column, Value};
use std::fmt::Write;

/// Appends rows as a list of objects, one for each row.
pub fn rows(out: &mut String, columns: &[Column], rows: &[Vec<Value>]) {
    out.push('[');
    for (index, row) in rows.iter().enumerate() {
        out.push_str(if index == 0 { "{" } else { ",{" });
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            text(out, column.name);
            out.push(':');
            value(out, row.get(at).unwrap_or(&Value::Null));
        }
        out.push('}');
    }
    out.push(']');
}

fn value(out: &mut String, value: &Value) {
    match value {
        Value::Text(found) => text(out, found),
        // Writing to a String cannot fail. JSON has no word for what is not finite.
        Value::Number(number) => _ = write!(out, "{number}"),
        Value::Float(number) if number.is_finite() => _ = write!(out, "{number}"),
        Value::Null | Value::Float(_) => out.push_str("null"),
    }
}

/// Appends a text. Signs that mean something to HTML are escaped as well, wherever the JSON may end
/// up.
pub fn text(out: &mut String, text: &str) {
    out.push('"');
    for one in text.chars() {
        match one {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' | '<' | '>' | '&' | '\u{7f}' | '\u{2028}' | '\u{2029}' => {
                _ = write!(out, "\\u{:04x}", u32::from(one));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::table::Type;
    use super::*;

    #[test]
    fn rows_are_objects() {
        const COLUMNS: &[Column] = &[
            Column { name: "a", kind: Type::Text },
            Column { name: "b", kind: Type::Float8 },
            Column { name: "c", kind: Type::Int8 },
        ];
        let mut out = String::new();
        let first = vec![Value::from("x\"</script>\n\\é"), Value::Float(0.5), Value::Number(-1)];
        let second = vec![Value::Null, Value::Float(f64::INFINITY)];
        rows(&mut out, COLUMNS, &[first, second]);
        assert_eq!(
            out,
            r#"[{"a":"x\"\u003c/script\u003e\u000a\\é","b":0.5,"c":-1},{"a":null,"b":null,"c":null}]"#
        );
        out.clear();
        rows(&mut out, COLUMNS, &[]);
        assert_eq!(out, "[]");
    }
}
