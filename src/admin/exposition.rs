//! Figures in Prometheus' text format, version 0.0.4, which the `prometheus` crate writes.
//!
//! A family is opened with its type and help, then given its samples. A family without samples is not
//! written. Durations are counted in microseconds and shown in seconds.

use crate::metrics::Distribution;
use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

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
pub type Label<'a> = (&'a str, &'a str);

/// All families, as they are collected.
#[derive(Debug, Default)]
pub struct Exposition {
    done: Vec<MetricFamily>,
    open: MetricFamily,
    samples: Vec<Metric>,
}

impl Exposition {
    /// Opens a family of samples.
    pub fn family(&mut self, name: &str, measure: Measure, help: &str) {
        self.close();
        self.open.set_name(name.to_owned());
        self.open.set_help(help.to_owned());
        self.open.set_field_type(match measure {
            Measure::Counter => MetricType::COUNTER,
            Measure::Gauge => MetricType::GAUGE,
            Measure::Histogram => MetricType::HISTOGRAM,
        });
    }

    fn close(&mut self) {
        let mut family = std::mem::take(&mut self.open);
        if !self.samples.is_empty() {
            family.set_metric(std::mem::take(&mut self.samples));
            self.done.push(family);
        }
    }

    /// A whole number of the open family.
    #[expect(clippy::cast_precision_loss, reason = "every figure of Prometheus is a float")]
    pub fn value(&mut self, labels: &[Label<'_>], value: u64) {
        self.number(labels, value as f64);
    }

    /// A duration of the open family.
    pub fn duration(&mut self, labels: &[Label<'_>], micros: u64) {
        self.number(labels, seconds(micros));
    }

    /// A number of the open family.
    pub fn number(&mut self, labels: &[Label<'_>], value: f64) {
        let mut metric = sample(labels);
        if self.open.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.samples.push(metric);
    }

    /// A distribution of the open family.
    pub fn distribution(&mut self, labels: &[Label<'_>], all: &Distribution) {
        let buckets = BOUNDS.map(|power| {
            let bound = 1u64 << power;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(seconds(bound));
            // Durations are cut to whole microseconds: what is less is at most one less.
            bucket.set_cumulative_count(all.at_most(bound - 1));
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_sum(seconds(all.sum));
        histogram.set_sample_count(all.count());
        let mut metric = sample(labels);
        metric.set_histogram(histogram);
        self.samples.push(metric);
    }

    /// All of it as text.
    ///
    /// # Errors
    /// A family without a name.
    pub fn finish(mut self) -> prometheus::Result<String> {
        self.close();
        TextEncoder::new().encode_to_string(&self.done)
    }
}

/// A sample with these labels.
fn sample(labels: &[Label<'_>]) -> Metric {
    let pair = |(name, value): &Label<'_>| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "every figure of Prometheus is a float")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn a_family_with_labels() {
        let mut text = Exposition::default();
        text.family("howdah_x_total", Measure::Counter, "What.");
        text.value(&[("database", "a\"b\\c\nd")], 7);
        text.value(&[], 8);
        text.duration(&[], 9);
        text.family("howdah_none", Measure::Gauge, "Nothing.");
        assert_eq!(
            text.finish().expect("families"),
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
        let text = text.finish().expect("families");
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
