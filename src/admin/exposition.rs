//! Figures in Prometheus' text format, version 0.0.4.
//!
//! A family is opened with its type and help, then given its samples. Values are exact: durations are
//! counted in microseconds and written in seconds, without a way through floating point.

use crate::metrics::Distribution;
use std::fmt::Write;

/// The content type that goes with it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The bounds of histograms are powers of two, in microseconds: 64 µs to 67 s. Our own buckets end
/// there, so that no sample is on the wrong side.
const BOUNDS: std::ops::RangeInclusive<u32> = 6..=26;

/// What a family measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Grows only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of durations.
    Histogram,
}

/// A label and its value.
pub type Label<'a> = (&'static str, &'a str);

/// The text, as it grows.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Opens a family of samples.
    pub fn family(&mut self, name: &'static str, measure: Measure, help: &str) {
        let kind = match measure {
            Measure::Counter => "counter",
            Measure::Gauge => "gauge",
            Measure::Histogram => "histogram",
        };
        self.family = name;
        // Writing to a String cannot fail.
        _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A whole number of the open family.
    pub fn value(&mut self, labels: &[Label<'_>], value: u64) {
        self.name("", labels);
        _ = writeln!(self.text, " {value}");
    }

    /// A duration of the open family.
    pub fn duration(&mut self, labels: &[Label<'_>], micros: u64) {
        self.name("", labels);
        _ = writeln!(self.text, " {}", seconds(micros));
    }

    /// A distribution of the open family.
    pub fn distribution(&mut self, labels: &[Label<'_>], all: &Distribution) {
        for power in BOUNDS {
            let bound = 1u64 << power;
            // Durations are cut to whole microseconds: what is less is at most one less.
            self.bucket(labels, &seconds(bound), all.at_most(bound - 1));
        }
        let count = all.count();
        self.bucket(labels, "+Inf", count);
        self.name("_sum", labels);
        _ = writeln!(self.text, " {}", seconds(all.sum));
        self.name("_count", labels);
        _ = writeln!(self.text, " {count}");
    }

    fn bucket(&mut self, labels: &[Label<'_>], bound: &str, count: u64) {
        let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
        self.name("_bucket", &labels);
        _ = writeln!(self.text, " {count}");
    }

    fn name(&mut self, suffix: &str, labels: &[Label<'_>]) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(name);
            self.text.push_str("=\"");
            for one in value.chars() {
                match one {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
    }

    /// All of it.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let (whole, rest) = (micros / 1_000_000, micros % 1_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    let text = format!("{whole}.{rest:06}");
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn seconds_are_exact() {
        for (micros, text) in [
            (0, "0"),
            (64, "0.000064"),
            (1_000_000, "1"),
            (1_500_000, "1.5"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(seconds(micros), text);
        }
    }

    #[test]
    fn a_family_with_labels() {
        let mut text = Exposition::default();
        text.family("howdah_x_total", Measure::Counter, "What.");
        text.value(&[("database", "a\"b\\c\nd")], 7);
        text.value(&[], 8);
        text.duration(&[], 9);
        assert_eq!(
            text.finish(),
            "# HELP howdah_x_total What.\n# TYPE howdah_x_total counter\n\
             howdah_x_total{database=\"a\\\"b\\\\c\\nd\"} 7\nhowdah_x_total 8\n\
             howdah_x_total 0.000009\n"
        );
    }

    #[test]
    fn buckets_hold_what_is_below_their_bounds() {
        let histogram = Histogram::default();
        for micros in [0, 63, 64, 127, 128, 67_108_863, 67_108_864, u64::MAX >> 1] {
            histogram.record(micros);
        }
        let mut all = Distribution::default();
        histogram.add_to(&mut all);
        let mut text = Exposition::default();
        text.family("howdah_d_seconds", Measure::Histogram, "What.");
        text.distribution(&[("database", "a")], &all);
        let text = text.finish();
        let bucket = |le: &str| {
            let start = format!("howdah_d_seconds_bucket{{database=\"a\",le=\"{le}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&start));
            line.and_then(|count| count.parse::<u64>().ok())
                .unwrap_or_else(|| panic!("{le}: {text}"))
        };
        let counts = ["0.000064", "0.000128", "0.000256", "67.108864", "+Inf"].map(bucket);
        assert_eq!(counts, [2, 4, 5, 6, 8]);
        assert!(text.contains("howdah_d_seconds_count{database=\"a\"} 8\n"), "{text}");
    }
}
