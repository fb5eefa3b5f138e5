//! Figures of what happens seldom, counted by the handles of the `metrics` crate.
//!
//! Owns the process's recorder: one atomic number for each name and set of labels, and the help of
//! each name. What happens at each transaction has cells of its own, which are cheaper ([`Cell`]).
//!
//! [`Cell`]: super::Cell

use super::{Distribution, Histogram};
use metrics::{Counter, Gauge, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One figure.
#[derive(Clone, Debug)]
enum Figure {
    Counter(Arc<AtomicU64>),
    Gauge(Arc<AtomicU64>),
    /// Durations, which are recorded in seconds.
    Histogram(Arc<Durations>),
}

/// A distribution that any thread records into.
#[derive(Debug, Default)]
struct Durations(Mutex<Histogram>);

impl HistogramFn for Durations {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float that is too large or negative becomes the nearest number"
    )]
    fn record(&self, seconds: f64) {
        self.0.lock().record((seconds * 1e6) as u64);
    }
}

/// What a figure is at this moment.
#[derive(Clone, Debug)]
pub enum Reading {
    /// It only grows.
    Counter(u64),
    /// It goes up and down.
    Gauge(f64),
    /// Durations in microseconds.
    Histogram(Box<Distribution>),
}

/// All figures of one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// What it is; empty if nobody has said it.
    pub help: String,
    /// Each set of labels, and what it is.
    pub samples: Vec<(Vec<(String, String)>, Reading)>,
}

#[derive(Debug, Default)]
struct Figures {
    by_name: BTreeMap<String, BTreeMap<Key, Figure>>,
    help: BTreeMap<String, String>,
}

/// All figures. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Mutex<Figures>>);

impl Registry {
    /// Makes this the recorder of the process.
    ///
    /// # Errors
    /// When the process has one.
    pub fn install(&self) -> Result<(), metrics::SetRecorderError<Self>> {
        metrics::set_global_recorder(self.clone())
    }

    /// All families by name, those without samples left out.
    pub fn families(&self) -> Vec<Family> {
        let figures = self.0.lock();
        let family = |(name, samples): (&String, &BTreeMap<Key, Figure>)| Family {
            name: name.clone(),
            help: figures.help.get(name).cloned().unwrap_or_default(),
            samples: samples.iter().map(|(key, figure)| (labels(key), figure.read())).collect(),
        };
        figures.by_name.iter().map(family).collect()
    }

    fn figure(&self, key: &Key, new: impl FnOnce() -> Figure) -> Figure {
        let mut figures = self.0.lock();
        let samples = figures.by_name.entry(key.name().to_owned()).or_default();
        samples.entry(key.clone()).or_insert_with(new).clone()
    }

    fn describe(&self, name: &KeyName, help: &SharedString) {
        self.0.lock().help.insert(name.as_str().to_owned(), help.to_string());
    }
}

fn labels(key: &Key) -> Vec<(String, String)> {
    key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect()
}

impl Figure {
    fn read(&self) -> Reading {
        match self {
            Self::Counter(value) => Reading::Counter(value.load(Ordering::Relaxed)),
            Self::Gauge(value) => Reading::Gauge(f64::from_bits(value.load(Ordering::Relaxed))),
            Self::Histogram(durations) => {
                let mut all = Distribution::default();
                durations.0.lock().add_to(&mut all);
                Reading::Histogram(Box::new(all))
            }
        }
    }
}

impl metrics::Recorder for Registry {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(&name, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match self.figure(key, || Figure::Counter(Arc::default())) {
            Figure::Counter(value) => Counter::from_arc(value),
            // The name is another kind's: a mistake of ours, which the tests see.
            Figure::Gauge(_) | Figure::Histogram(_) => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        match self.figure(key, || Figure::Gauge(Arc::default())) {
            Figure::Gauge(value) => Gauge::from_arc(value),
            Figure::Counter(_) | Figure::Histogram(_) => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        match self.figure(key, || Figure::Histogram(Arc::default())) {
            Figure::Histogram(durations) => metrics::Histogram::from_arc(durations),
            Figure::Counter(_) | Figure::Gauge(_) => metrics::Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::counted;
    use super::*;
    use metrics::{gauge, with_local_recorder};
    use std::time::Duration;

    #[test]
    fn figures_have_their_help_their_labels_and_their_kind() {
        let registry = Registry::default();
        with_local_recorder(&registry, || {
            counted::describe();
            for code in ["53300", "08006", "53300"] {
                counted::fault(code);
            }
            counted::catalog_reading(Some(Duration::from_millis(3)), true);
            gauge!("howdah_warmth").set(1.5);
        });
        let shown: Vec<String> = registry
            .families()
            .iter()
            .flat_map(|family| family.samples.iter().map(move |sample| (family, sample)))
            .map(|(family, (labels, reading))| {
                let value = match reading {
                    Reading::Counter(value) => format!("counter {value}"),
                    Reading::Gauge(value) => format!("gauge {value}"),
                    Reading::Histogram(all) => format!("{} of {} us", all.count(), all.sum),
                };
                format!("{} ({}) {labels:?}: {value}", family.name, !family.help.is_empty())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "howdah_catalog_reading_duration_seconds (true) []: 1 of 3000 us",
                "howdah_catalog_readings_total (true) [(\"result\", \"read\")]: counter 1",
                "howdah_faults_total (true) [(\"sqlstate\", \"08006\")]: counter 1",
                "howdah_faults_total (true) [(\"sqlstate\", \"53300\")]: counter 2",
                "howdah_warmth (false) []: gauge 1.5",
            ]
        );
    }
}
