//! The text of a line: its message and its fields, so that no name can pass for something else.
//!
//! A client chooses its user, database and application name. Whatever is in them, the line stays one
//! line, moves no cursor, and has no field that we have not written: a value that is not plain is
//! quoted, and so is a message that holds a control character or something like a field.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes message and fields of text lines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TextFields;

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Fields { writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct Fields<'writer> {
    writer: Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl Fields<'_> {
    fn write(&mut self, name: &str, value: &str) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        if name == "message" {
            return self.writer.write_str(value);
        }
        let name = name.trim_start_matches("r#");
        if self.writer.has_ansi_escapes() {
            write!(self.writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{value}")
        } else {
            write!(self.writer, "{name}={value}")
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.record_debug(field, &format_args!("{value}"));
        }
        // A text is quoted, plain or not.
        if self.result.is_ok() {
            self.result = self.write(field.name(), &format!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_ok() {
            let text = format!("{value:?}");
            let is_message = field.name() == "message";
            let text = if is_message { message(text) } else { quoted(text) };
            self.result = self.write(field.name(), &text);
        }
    }
}

/// A value as it is, or in quotes if anybody could take it for more than one value.
pub(super) fn quoted(text: String) -> String {
    let is_plain = |sign: char| sign.is_alphanumeric() || ".:-_/+*%,;@[]()<>#&!?".contains(sign);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("{text:?}") }
}

/// A message as it is, or in quotes if a part of it could be taken for a field.
fn message(text: String) -> String {
    if text.chars().any(moves_text) || has_field(&text) { format!("{text:?}") } else { text }
}

/// Whether a sign ends a line, moves a cursor, or turns the direction of what follows.
fn moves_text(sign: char) -> bool {
    let turns =
        matches!(sign, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    sign.is_control() || turns
}

/// Whether there is something like ` name=`.
fn has_field(text: &str) -> bool {
    text.match_indices('=').any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        before.ends_with(|sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '.' | '"'))
    })
}

/// A name for lines of PgBouncer's, which put names side by side: signs that would end a name are
/// written as their codes.
pub(in crate::app) fn as_one_word(name: &str) -> String {
    let mut word = String::with_capacity(name.len());
    for sign in name.chars() {
        if moves_text(sign) || sign.is_whitespace() || matches!(sign, '/' | '@' | '=' | '\\' | '"')
        {
            let mut bytes = [0; 4];
            for byte in sign.encode_utf8(&mut bytes).bytes() {
                // Writing into a text does not fail.
                _ = write!(word, "\\x{byte:02x}");
            }
        } else {
            word.push(sign);
        }
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_values_stay_as_they_are() {
        for text in ["127.0.0.1:5432", "[::1]:6432", "bob", "0.5", "app-1_x", "müller"] {
            assert_eq!(quoted(text.to_owned()), text);
        }
        for (text, expected) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("peer=1.2.3.4", r#""peer=1.2.3.4""#),
            ("\u{1b}[2J", r#""\u{1b}[2J""#),
            ("x\"y", r#""x\"y""#),
            ("x\ny", r#""x\ny""#),
        ] {
            assert_eq!(quoted(text.to_owned()), expected);
        }
    }

    #[test]
    fn messages_without_anything_like_a_field_stay_as_they_are() {
        for text in ["login failed: role \"x\" does not exist", "a = b", "x >= 3", "50%"] {
            assert_eq!(message(text.to_owned()), text);
        }
        let forged = "role \"x\" peer=9.9.9.9 \" does not exist";
        assert_eq!(message(forged.to_owned()), format!("{forged:?}"));
        assert_eq!(message("\u{1b}[2J".to_owned()), r#""\u{1b}[2J""#);
    }

    proptest! {
        #[test]
        fn a_name_is_one_word_whatever_is_in_it(name in any::<String>()) {
            let word = as_one_word(&name);
            prop_assert!(!word.contains(|c: char| c.is_whitespace() || c.is_control() || "/@=\"".contains(c)));
            let other = as_one_word(&format!("{name} "));
            prop_assert_ne!(word, other);
        }

        #[test]
        fn a_value_is_one_word_or_one_quoted_text(value in any::<String>()) {
            let text = quoted(value.clone());
            prop_assert!(!text.contains(char::is_control));
            let is_quoted = text.starts_with('"') && text == format!("{value:?}");
            prop_assert!(is_quoted || text == value && !text.contains([' ', '=', '"']));
        }
    }
}
