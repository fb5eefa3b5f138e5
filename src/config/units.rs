//! Durations and sizes: the text of a configuration file to values and back.

use std::time::Duration;

/// Longest accepted duration (ten years): so that adding one to a clock cannot overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

const DURATION_UNITS: &[(&str, u64)] = &[
    ("d", 24 * 3_600_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];
const SIZE_UNITS: &[(&str, u64)] =
    &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Splits "1.5s" into its number and its unit.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// `number` (digits, perhaps a fraction) times `scale`, rounded down, but never to zero: that
/// would turn a very short time into none.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.len() > 20 {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(18)];
    let whole: u128 = whole.parse().ok()?;
    let part: u128 = fraction.parse().ok()?;
    let unit = u128::from(scale);
    let total = whole * unit + part * unit / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let vanished = total == 0 && number.bytes().any(|b| (b'1'..=b'9').contains(&b));
    u64::try_from(total).ok().filter(|_| !vanished)
}

/// A duration from "15s", "250ms", "1.5h" or a bare number of seconds; None if it is not one or
/// is longer than [`MAX_DURATION`]. Microseconds are the smallest unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text.trim());
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, scale) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
    let duration = Duration::from_micros(scaled(number, *scale)?);
    (duration <= MAX_DURATION).then_some(duration)
}

/// Whether a duration's text is a number other than zero without a unit.
pub(super) fn is_bare_number(text: &str) -> bool {
    let (number, unit) = split_unit(text.trim());
    unit.is_empty() && number.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

/// A number of bytes from "64KiB", "1GiB" or a bare number; None if it is not one.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text.trim());
    let unit = if unit.is_empty() { "B" } else { unit };
    let (_, scale) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    scaled(number, *scale)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, scale)| amount.is_multiple_of(*scale)) {
        Some((name, scale)) if amount > 0 => format!("{}{name}", amount / scale),
        _ => "0".to_owned(),
    }
}

/// The shortest text that [`parse_duration`] reads as `duration` (whole microseconds).
pub fn show_duration(duration: Duration) -> String {
    // A value that was parsed fits: MAX_DURATION is far below 2^64 microseconds.
    show(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), DURATION_UNITS)
}

/// The shortest text that [`parse_size`] reads as `bytes`.
pub fn show_size(bytes: u64) -> String {
    let text = show(bytes, SIZE_UNITS);
    text.strip_suffix("B")
        .filter(|t| t.bytes().all(|b| b.is_ascii_digit()))
        .map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let us = |n| Some(Duration::from_micros(n));
        for (text, expected) in [
            ("15s", us(15_000_000)),
            ("250ms", us(250_000)),
            ("1h", us(3_600_000_000)),
            ("10m", us(600_000_000)),
            ("2d", us(172_800_000_000)),
            ("7us", us(7)),
            ("0", us(0)),
            ("1.5", us(1_500_000)),
            ("0.25s", us(250_000)),
            (" 3 s ", us(3_000_000)),
            ("3650d", us(10 * 365 * 24 * 3_600_000_000)),
            ("3651d", None),
            ("0.0000001s", None),
            ("0.000", us(0)),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1 hour", None),
            ("1h30m", None),
            ("1.", None),
            (".5s", None),
            ("1..5s", None),
            ("99999999999999999999", None),
            ("1e3", None),
            ("5S", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("64KiB", Some(65_536)),
            ("1GiB", Some(1 << 30)),
            ("1.5KiB", Some(1536)),
            ("2147483647", Some(2_147_483_647)),
            ("10B", Some(10)),
            ("64kB", None),
            ("64K", None),
            ("KiB", None),
            ("17179869184GiB", None),
        ] {
            assert_eq!(parse_size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn shown_in_the_largest_fitting_unit() {
        let shown = |us| show_duration(Duration::from_micros(us));
        assert_eq!(
            [
                shown(0),
                shown(90_000_000),
                shown(600_000_000),
                shown(1_500_000),
                shown(86_400_000_000)
            ],
            ["0", "90s", "10m", "1500ms", "1d"].map(String::from)
        );
        assert_eq!(
            [show_size(0), show_size(65_536), show_size(2_147_483_647), show_size(1 << 30)],
            ["0", "64KiB", "2147483647", "1GiB"].map(String::from)
        );
    }

    #[test]
    fn bare_numbers() {
        assert!(is_bare_number("10000") && is_bare_number("0.5"));
        assert!(!is_bare_number("0") && !is_bare_number("10s") && !is_bare_number("0.0"));
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(us in 0..=10 * 365 * 24 * 3_600_000_000_u64) {
            let duration = Duration::from_micros(us);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn a_shown_size_reads_back(bytes: u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn any_text_is_a_value_or_none(text: String) {
            if let Some(duration) = parse_duration(&text) {
                prop_assert!(duration <= MAX_DURATION);
            }
            parse_size(&text);
        }

        #[test]
        fn fractions_agree_with_smaller_units(ms in 0..1_000_000_u64) {
            let seconds = format!("{}.{:03}s", ms / 1000, ms % 1000);
            prop_assert_eq!(parse_duration(&seconds), parse_duration(&format!("{ms}ms")));
        }
    }
}
