//! What is counted in the registry: all names, labels and helps.

use metrics::{Counter, counter, describe_counter, describe_histogram, histogram};
use std::time::Duration;

const FAULTS: &str = "howdah_faults_total";
const CHECKS: &str = "howdah_checks_total";
const CANCELS: &str = "howdah_cancel_requests_total";
const READ_CHECKS: &str = "howdah_read_checks_total";
const READINGS: &str = "howdah_catalog_readings_total";
const READING_DURATION: &str = "howdah_catalog_reading_duration_seconds";

/// What became of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// A server was told.
    Delivered,
    /// The statement had not reached a server, and failed there.
    Refused,
    /// There was nothing to cancel.
    Late,
    /// Nobody has its key.
    Unknown,
}

impl CancelOutcome {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Late => "late",
            Self::Unknown => "unknown",
        }
    }
}

/// How the comparison of a read on a replica with the primary ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadCheck {
    /// Both answer alike.
    Same,
    /// They do not.
    Different,
    /// The read writes.
    Writes,
    /// The primary itself does not answer the same twice, or something came in between.
    Unstable,
    /// The replica is too far behind.
    Late,
    /// Its answers cannot be compared.
    Skipped,
    /// A node could not be asked.
    Failed,
}

impl ReadCheck {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Writes => "writes",
            Self::Unstable => "unstable",
            Self::Late => "late",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// Says what each of them is. To be called once, when the recorder stands.
pub fn describe() {
    describe_counter!(FAULTS, "Errors of howdah's own that clients were told of, by SQLSTATE.");
    describe_counter!(CHECKS, "Questions to a server what a transaction has left of the session.");
    describe_counter!(CANCELS, "Cancel requests, by what became of them.");
    describe_counter!(
        READ_CHECKS,
        "Reads of replicas compared with the primary, by how they ended."
    );
    describe_counter!(READINGS, "Questions about a database's catalog, by how they ended.");
    describe_histogram!(READING_DURATION, "How long those took that were answered.");
}

/// A client is told of an error of our own.
pub fn fault(sqlstate: &'static str) {
    counter!(FAULTS, "sqlstate" => sqlstate).increment(1);
}

/// The counter of questions to a server what a transaction has left of the session: to be kept by whoever
/// asks often.
pub fn checks() -> Counter {
    counter!(CHECKS)
}

/// A cancel request came to this end.
pub fn cancel_request(outcome: CancelOutcome) {
    counter!(CANCELS, "outcome" => outcome.as_str()).increment(1);
}

/// A read on a replica was compared with the primary.
pub fn read_check(outcome: ReadCheck) {
    counter!(READ_CHECKS, "outcome" => outcome.as_str()).increment(1);
}

/// A catalog was asked about. `took` is `None` where there was no answer; `is_new`: it has changed.
pub fn catalog_reading(took: Option<Duration>, is_new: bool) {
    let result = match took {
        None => "failed",
        Some(_) if is_new => "read",
        Some(_) => "unchanged",
    };
    counter!(READINGS, "result" => result).increment(1);
    if let Some(took) = took {
        histogram!(READING_DURATION).record(took);
    }
}
