//! Values that look like the names of custom settings.

use super::lex::{Kind, Lexer};
use super::rules::Rules;

/// Longest name that is looked for.
const NAME_MAX: usize = 127;

/// The value as a custom setting's name in lower case, if it looks like one: identifiers with dots
/// between them (manual, "Customized Options").
pub fn custom_setting_name(value: &[u8]) -> Option<String> {
    if value.len() > NAME_MAX || !value.contains(&b'.') {
        return None;
    }
    let is_identifier = |part: &[u8]| {
        let mut bytes = part.iter();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
    };
    if !value.split(|byte| *byte == b'.').all(is_identifier) {
        return None;
    }
    Some(std::str::from_utf8(value).ok()?.to_ascii_lowercase())
}

/// Calls `found` with each string of the text that looks like the name of a custom setting.
pub fn setting_names(text: &[u8], rules: Rules, found: &mut dyn FnMut(&str)) {
    for token in Lexer::new(text, rules.are_conforming()) {
        let bytes = token.bytes(text);
        let value = match token.kind {
            Kind::Text => bytes.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'")),
            Kind::EscapeText => bytes.get(2..bytes.len().saturating_sub(1)),
            Kind::DollarText => bytes.strip_prefix(b"$$").and_then(|rest| rest.strip_suffix(b"$$")),
            _ => None,
        };
        if let Some(name) = value.and_then(custom_setting_name) {
            found(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_custom_settings() {
        for (value, expected) in [
            ("app.tenant", Some("app.tenant")),
            ("App.Tenant_1.x$", Some("app.tenant_1.x$")),
            ("work_mem", None),
            (".a", None),
            ("a.", None),
            ("1.5", None),
            ("a.b c", None),
            ("", None),
        ] {
            assert_eq!(custom_setting_name(value.as_bytes()).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn strings_are_looked_through() {
        let mut all = Vec::new();
        let text = b"SELECT f('a.b', E'c.d', $$e.f$$, \"g.h\", i.j, 'k')";
        setting_names(text, Rules::STANDARD, &mut |name| all.push(name.to_owned()));
        assert_eq!(all, ["a.b", "c.d", "e.f"]);
    }
}
