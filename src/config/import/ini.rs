//! PgBouncer's ini grammar: sections, settings, `%include`, and connection strings.
//!
//! Comments are lines of their own that begin with `;` or `#`. A key is made of letters, digits and
//! `_.-*`, or stands in double quotes with `""` for one. A value goes to the end of its line, less
//! the blanks around it. `%include FILE` is read in place, in the section that is open, and may
//! change it. Relative paths start at the working directory.

use std::path::{Path, PathBuf};

use super::super::error::{ConfigError, Origin};
use super::super::files::Files;

/// Deepest nesting of `%include`, as in PgBouncer.
const MAX_DEPTH: usize = 10;

/// A line of a file that was read, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

impl Place {
    /// An error at this place.
    pub(super) fn error(&self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            origin: Origin::Line(self.line),
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// What a file says, in its order.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// `[name]`.
    Section { name: String, place: Place },
    /// `key = value`.
    Setting { key: String, value: String, place: Place },
}

/// Everything that `text`, the file at `path`, says, and what cannot be read of it.
pub(super) fn read(path: &Path, text: &[u8], files: &dyn Files) -> (Vec<Event>, Vec<ConfigError>) {
    let mut reader = Reader { files, events: Vec::new(), errors: Vec::new() };
    reader.file(path, text, 0);
    (reader.events, reader.errors)
}

struct Reader<'a> {
    files: &'a dyn Files,
    events: Vec<Event>,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, text: &[u8], depth: usize) {
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let place = Place { file: path.to_owned(), line: number };
            match std::str::from_utf8(line) {
                Ok(line) => self.line(&place, line.trim_matches(blank), depth),
                Err(_) => self.errors.push(place.error("", "not text in UTF-8")),
            }
        }
    }

    fn line(&mut self, place: &Place, mut line: &str, depth: usize) {
        // A setting may follow a header on its line.
        while let Some(rest) = line.strip_prefix('[') {
            let Some((name, after)) = rest.split_once(']') else {
                return self.errors.push(place.error("", "the ] of the section is missing"));
            };
            self.events.push(Event::Section { name: name.to_owned(), place: place.clone() });
            line = after.trim_start_matches(blank);
        }
        if line.is_empty() || line.starts_with([';', '#']) {
            return;
        }
        if let Some(rest) = line.strip_prefix('%') {
            return self.include(place, rest, depth);
        }
        match setting(line) {
            Some((key, value)) => {
                self.events.push(Event::Setting { key, value, place: place.clone() });
            }
            None => self.errors.push(place.error(
                "",
                "expected key = value; a name with other characters than letters, digits and \
                 _.-* stands in double quotes",
            )),
        }
    }

    fn include(&mut self, place: &Place, directive: &str, depth: usize) {
        let path = directive.strip_prefix("include").filter(|rest| rest.starts_with(blank));
        let Some(path) = path.map(|path| path.trim_matches(blank)) else {
            return self.errors.push(place.error("", "expected %include FILE"));
        };
        if depth + 1 > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} files include one another");
            return self.errors.push(place.error("%include", message));
        }
        let path = PathBuf::from(path);
        match self.files.read(&path) {
            Ok(text) => self.file(&path, &text, depth + 1),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.errors.push(place.error("%include", message));
            }
        }
    }
}

/// C's `isspace`, less the line break.
fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

/// Key and value of a line without blanks around it.
fn setting(line: &str) -> Option<(String, String)> {
    let (key, rest) = if let Some(quoted) = line.strip_prefix('"') {
        unquote(quoted, '"')?
    } else {
        let known = |c: char| c.is_ascii_alphanumeric() || "_.-*".contains(c);
        let end = line.find(|c| !known(c)).unwrap_or(line.len());
        let (key, rest) = line.split_at(end);
        (key.to_owned(), rest)
    };
    let value = rest.trim_start_matches([' ', '\t']).strip_prefix('=')?;
    (!key.is_empty()).then(|| (key, value.trim_start_matches([' ', '\t']).to_owned()))
}

/// The text up to the closing quote, two of which stand for one, and what follows it.
fn unquote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut string = String::new();
    let mut rest = text;
    loop {
        let (chunk, tail) = rest.split_once(quote)?;
        string.push_str(chunk);
        match tail.strip_prefix(quote) {
            Some(after) => {
                string.push(quote);
                rest = after;
            }
            None => return Some((string, tail)),
        }
    }
}

/// The pairs of a connection string: `host=localhost connect_query='SELECT 1'`.
///
/// # Errors
/// What is wrong, without any of the text: it may hold a password.
pub(super) fn connection_string(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches(' ');
    while !rest.is_empty() {
        let number = pairs.len() + 1;
        let end = rest.find(['=', ' ']).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let value = after.trim_start_matches(' ').strip_prefix('=');
        let Some(value) = value.filter(|_| !key.is_empty()) else {
            return Err(format!(
                "expected key=value words separated by spaces; word {number} is \
                none (a value with spaces stands in single quotes)"
            ));
        };
        let value = value.trim_start_matches(' ');
        let (value, after) = match value.strip_prefix('\'') {
            Some(quoted) => unquote(quoted, '\'')
                .filter(|(_, after)| after.is_empty() || after.starts_with(' '))
                .ok_or_else(|| format!("the single quotes of {key} are not closed"))?,
            None => {
                let end = value.find(' ').unwrap_or(value.len());
                let (value, after) = value.split_at(end);
                (value.to_owned(), after)
            }
        };
        if value.is_empty() {
            return Err(format!("{key} has no value; leave it out instead"));
        }
        pairs.push((key.to_owned(), value));
        rest = after.trim_start_matches(' ');
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;

    fn shown(text: &str, files: &[(&str, &str)]) -> Vec<String> {
        let (events, errors) = read(Path::new("a.ini"), text.as_bytes(), &Folder::new(files));
        let events = events.into_iter().map(|event| match event {
            Event::Section { name, place } => format!("{place} [{name}]"),
            Event::Setting { key, value, place } => format!("{place} {key}={value}"),
        });
        events.chain(errors.iter().map(|error| format!("error {error}"))).collect()
    }

    #[test]
    fn lines() {
        let text = "; c\n  # c\n[databases] a = b ; no comment\r\n\t\"x y\"\"z\"=h\n* = d  \n\
            e =\n[ s p ]\n";
        assert_eq!(
            shown(text, &[]),
            [
                "a.ini:3 [databases]",
                "a.ini:3 a=b ; no comment",
                "a.ini:4 x y\"z=h",
                "a.ini:5 *=d",
                "a.ini:6 e=",
                "a.ini:7 [ s p ]",
            ]
        );
    }

    #[test]
    fn what_is_no_line() {
        for text in ["a b = c", "a", "= b", "\"a = b", "[x", "%incl x", "%includex"] {
            let shown = shown(text, &[]);
            assert!(shown.len() == 1 && shown[0].starts_with("error a.ini:1: "), "{shown:?}");
        }
    }

    #[test]
    fn includes_are_read_in_place() {
        let files = [("b.ini", "c = 2\n[other]\nd = 3\n"), ("loop.ini", "%include loop.ini\n")];
        assert_eq!(
            shown("[s]\n%include  b.ini \ne = 4\n", &files),
            ["a.ini:1 [s]", "b.ini:1 c=2", "b.ini:2 [other]", "b.ini:3 d=3", "a.ini:3 e=4"]
        );
        assert_eq!(
            shown("%include loop.ini", &files),
            ["error loop.ini:1: %include: more than 10 files include one another"]
        );
        assert!(shown("%include none.ini", &files)[0].contains("cannot read none.ini"));
    }

    #[test]
    fn connection_strings() {
        let pairs = |text| connection_string(text).expect(text);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs(""), []);
        assert_eq!(
            pairs(" host=a  connect_query = 'SELECT ''x''' port=1 "),
            [pair("host", "a"), pair("connect_query", "SELECT 'x'"), pair("port", "1")]
        );
        for text in ["host", "=a", "host=", "host=''", "host='a", "host='a'b=c", "a b=c"] {
            let error = connection_string(text).expect_err(text);
            assert!(!error.contains("'a"), "{error}");
        }
    }
}
