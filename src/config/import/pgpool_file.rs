//! The grammar of Pgpool-II's file.
//!
//! A line is `name = value` or `name value`; `#` begins a comment outside quotes; a text stands in
//! single quotes, in which `''` or `\'` is one quote. Names have no case, and a later line wins.

use std::collections::BTreeMap;

use super::ini::Place;

/// A setting with its place.
pub(super) struct Given {
    pub(super) value: String,
    pub(super) place: Place,
}

/// The settings of a file by their names.
pub(super) type Settings = BTreeMap<String, Given>;

/// Name and value of a line, if it is a setting. The error is about the quotes.
pub(super) fn setting(line: &str) -> Option<Result<(String, String), String>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    if name.is_empty() || (rest.is_empty()) {
        return Some(Err("expected name = value".to_owned()));
    }
    let value = match value.strip_prefix('\'') {
        Some(quoted) => unquote(quoted),
        None => Some(value.split('#').next().unwrap_or_default().trim_end().to_owned()),
    };
    let value = value.ok_or_else(|| "the single quotes are not closed".to_owned());
    Some(value.map(|value| (name.to_lowercase(), value)))
}

fn unquote(text: &str) -> Option<String> {
    let mut string = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.next_if_eq(&'\'').is_some() => string.push('\''),
            '\'' => return Some(string),
            '\\' => string.push(chars.next()?),
            c => string.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let read = |line| match setting(line) {
            Some(Ok((name, value))) => format!("{name}={value}"),
            Some(Err(_)) => "error".to_owned(),
            None => "none".to_owned(),
        };
        for (line, expected) in [
            ("port = 9999 # c", "port=9999"),
            ("  PORT 9999", "port=9999"),
            ("a = 'it''s # \\'x\\''  # c", "a=it's # 'x'"),
            ("a = ''", "a="),
            ("# a = 1", "none"),
            ("", "none"),
            ("a = 'x", "error"),
            ("= 1", "error"),
            ("a", "error"),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }
}
