//! SASLprep (RFC 4013) in the order PostgreSQL applies it, falling back to the raw bytes.
//!
//! PostgreSQL looks for prohibited, unassigned and bidirectional characters *before* it normalises,
//! where the RFC and `stringprep::saslprep` look afterwards. A password with U+0340, which is
//! prohibited but normalises to a harmless U+0300, has another key in each reading; ours must be the
//! one of PostgreSQL and libpq, or the login fails.

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The bytes that PBKDF2 is given for `password`.
pub(super) fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = match std::str::from_utf8(password) {
        Ok(text) if !text.is_ascii() => map_and_normalise(text),
        Ok(_) | Err(_) => None,
    };
    prepared.unwrap_or_else(|| Zeroizing::new(password.to_vec()))
}

/// `None` when PostgreSQL would refuse to prepare the text and use it as it is.
fn map_and_normalise(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    // Room for every character at once: a string that grows would leave copies behind.
    let mut mapped = Zeroizing::new(String::with_capacity(text.len()));
    for c in text.chars() {
        if tables::non_ascii_space_character(c) {
            mapped.push(' ');
        } else if !tables::commonly_mapped_to_nothing(c) {
            mapped.push(c);
        }
    }
    if mapped.is_empty() || mapped.chars().any(is_refused) || breaks_direction_rule(&mapped) {
        return None;
    }
    Some(Zeroizing::new(mapped.nfkc().collect::<String>().into_bytes()))
}

/// RFC 4013 sections 2.3 and 2.5.
fn is_refused(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

/// RFC 3454 section 6.
fn breaks_direction_rule(text: &str) -> bool {
    if !text.contains(tables::bidi_r_or_al) {
        return false;
    }
    text.contains(tables::bidi_l)
        || !text.starts_with(tables::bidi_r_or_al)
        || !text.ends_with(tables::bidi_r_or_al)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &[u8], expect: &[u8]) {
        assert_eq!(prepare(password).as_slice(), expect, "{password:x?}");
    }

    #[test]
    fn ascii_is_left_alone() {
        check(b"secret \x01\x7f", b"secret \x01\x7f");
    }

    #[test]
    fn spaces_and_compatibility_forms_are_folded() {
        check("a\u{a0}b".as_bytes(), b"a b");
        check("I\u{ad}X".as_bytes(), b"IX");
        check("\u{2168}".as_bytes(), b"IX");
        check("\u{aa}".as_bytes(), b"a");
    }

    #[test]
    fn what_cannot_be_prepared_is_used_raw() {
        for raw in [
            b"\xff\xfe".as_slice(),
            "\u{ad}".as_bytes(),
            "\u{e000}x".as_bytes(),
            "\u{627}1".as_bytes(),
            "\u{627}a\u{628}".as_bytes(),
            "\u{221}".as_bytes(),
            "\x07\u{aa}".as_bytes(),
        ] {
            check(raw, raw);
        }
    }

    #[test]
    fn prohibited_before_normalisation_is_raw_as_in_postgresql() {
        check("a\u{340}".as_bytes(), "a\u{340}".as_bytes());
    }
}
