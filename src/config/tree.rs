//! TOML text to a tree of values that know their lines. Nothing below this file knows TOML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given {
    Text(String),
    Integer(i64),
    /// A number with a fraction, or one too large for an integer, as text.
    Number(String),
    Flag(bool),
    Date,
    List(Vec<Located>),
    Table(Vec<Entry>),
}

impl Given {
    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_list(&self) -> Option<&[Located]> {
        if let Self::List(values) = self { Some(values) } else { None }
    }

    pub(super) fn as_table(&self) -> Option<&[Entry]> {
        if let Self::Table(entries) = self { Some(entries) } else { None }
    }

    /// What it is, for "found …" in a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(text) => {
                let short: String = text.chars().take(40).collect();
                let more = if short.len() < text.len() { "…" } else { "" };
                format!("the text {short:?}{more}")
            }
            Self::Integer(number) => format!("the number {number}"),
            Self::Number(number) => {
                let short: String = number.chars().take(40).collect();
                format!("the number {short}")
            }
            Self::Flag(flag) => flag.to_string(),
            Self::Date | Self::List(_) | Self::Table(_) => self.describe_type().to_owned(),
        }
    }

    /// What type it is, for "found …" in a message about a secret.
    pub(super) fn describe_type(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// A value and its line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Located {
    pub(super) line: u32,
    pub(super) given: Given,
}

/// A key, the line it stands on, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) line: u32,
    pub(super) given: Given,
}

/// A mistake in the TOML itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SyntaxError {
    pub(super) line: u32,
    pub(super) message: String,
}

/// Most mistakes in the TOML itself that are told: a file of another kind has one a line.
const MAX_SYNTAX_ERRORS: usize = 100;

/// Offsets of line starts.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect())
    }

    fn of(&self, offset: usize) -> u32 {
        let before = self.0.partition_point(|newline| *newline < offset);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }
}

/// The tree of `text`, as far as it can be read, and every mistake in it.
pub(super) fn parse(text: &str) -> (Vec<Entry>, Vec<SyntaxError>) {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<SyntaxError> = errors
        .iter()
        .map(|error| SyntaxError {
            line: lines.of(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })
        .collect();
    errors.sort_by_key(|error| error.line);
    errors.dedup();
    if errors.len() > MAX_SYNTAX_ERRORS {
        let line = errors[MAX_SYNTAX_ERRORS].line;
        let more = errors.len() - MAX_SYNTAX_ERRORS;
        errors.truncate(MAX_SYNTAX_ERRORS);
        let message = format!("{more} more mistakes from here on; is this a TOML file?");
        errors.push(SyntaxError { line, message });
        return (Vec::new(), errors);
    }
    (entries(table.get_ref(), &lines), errors)
}

fn entries(table: &DeTable<'_>, lines: &Lines) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            name: key.get_ref().to_string(),
            line: lines.of(key.span().start),
            given: given(value, lines),
        })
        .collect();
    entries.sort_by_key(|entry| entry.line);
    entries
}

fn given(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Given {
    match value.get_ref() {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Given::Number(number.to_string()), Given::Integer),
        DeValue::Float(number) => Given::Number(plain_number(number.as_str())),
        DeValue::Boolean(flag) => Given::Flag(*flag),
        DeValue::Datetime(_) => Given::Date,
        DeValue::Array(values) => Given::List(
            values
                .iter()
                .map(|value| Located {
                    line: lines.of(value.span().start),
                    given: given(value, lines),
                })
                .collect(),
        ),
        DeValue::Table(table) => Given::Table(entries(table, lines)),
    }
}

/// Writes an exponent out, so that `1e3` is read as 1000 by those who read digits.
fn plain_number(text: &str) -> String {
    if !text.contains(['e', 'E']) {
        return text.to_owned();
    }
    text.parse::<f64>().map_or_else(|_| text.to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines() {
        let (tree, errors) = parse("a = 1\n\n[b]\nc = [\n  \"x\",\n  2.5,\n]\nd = 1e3\ne = 0x10\n");
        assert_eq!(errors, []);
        assert_eq!(tree[0], Entry { name: "a".into(), line: 1, given: Given::Integer(1) });
        let Given::Table(b) = &tree[1].given else { panic!("a table") };
        assert_eq!((tree[1].line, b[0].line, b[1].line), (3, 4, 8));
        assert_eq!(
            b[0].given,
            Given::List(vec![
                Located { line: 5, given: Given::Text("x".into()) },
                Located { line: 6, given: Given::Number("2.5".into()) }
            ])
        );
        assert_eq!(b[1].given, Given::Number("1000".into()));
        assert_eq!(b[2].given, Given::Integer(16));
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let (_, errors) = parse("a = \nb = 1\nb = 2\nc = \"open\nd = 3\n[x\ne = 1\n");
        let lines: Vec<u32> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 3, 4, 6], "{errors:?}");
        assert!(errors.iter().all(|error| !error.message.contains("open")), "{errors:?}");
    }

    #[test]
    fn a_file_of_another_kind_is_not_told_line_by_line() {
        let (tree, errors) = parse(&"no toml here\n".repeat(5000));
        assert_eq!((tree.len(), errors.len()), (0, MAX_SYNTAX_ERRORS + 1));
        let last = errors.last().expect("many");
        assert!(last.message.ends_with("more mistakes from here on; is this a TOML file?"));
    }

    #[test]
    fn long_texts_are_cut_in_messages() {
        assert_eq!(
            Given::Text("é".repeat(50)).describe(),
            format!("the text \"{}\"…", "é".repeat(40))
        );
    }
}
