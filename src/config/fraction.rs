//! Shares written as numbers from 0 to 1.

/// Millionths in a whole.
pub const WHOLE: u32 = 1_000_000;

/// Reads a number from 0 to 1 with at most six digits behind its dot, in millionths.
pub(super) fn parse(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || part.len() > 6 || !digits(whole) || !digits(part) {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let part: u32 = if part.is_empty() { 0 } else { format!("{part:0<6}").parse().ok()? };
    whole.checked_mul(WHOLE)?.checked_add(part).filter(|share| *share <= WHOLE)
}

/// As [`parse`] reads it.
pub(super) fn show(share: u32) -> String {
    let text = format!("{}.{:06}", share / WHOLE, share % WHOLE);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_shown() {
        for (text, share, shown) in [
            ("0", 0, "0"),
            ("1", WHOLE, "1"),
            ("0.001", 1000, "0.001"),
            ("0.000001", 1, "0.000001"),
            ("0.10", 100_000, "0.1"),
            ("1.000000", WHOLE, "1"),
        ] {
            assert_eq!(parse(text), Some(share), "{text}");
            assert_eq!(show(share), shown);
        }
        for text in ["", ".", ".5", "-0.1", "1.1", "2", "0.0000001", "1e-3", "0.x", "99999999999"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
