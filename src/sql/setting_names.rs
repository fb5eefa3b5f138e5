//! Values that look like the names of custom settings.

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
}
