//! The pause between attempts to open a server, and the small random numbers of the core.

use std::sync::Arc;

use super::types::{FailureClass, Tick};

const FIRST_PAUSE: u64 = 250_000;
/// A retry time of 0 would hammer a node that is down.
const LEAST_RETRY: u64 = 100_000;

/// Xorshift: spreads closings and attempts, decides nothing that must be secret.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        // Zero is the one state xorshift never leaves.
        Self(seed ^ 0x9E37_79B9_7F4A_7C15 | 1)
    }

    /// Evenly from 900 to 1100.
    pub(super) fn permille(&mut self) -> u16 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        900 + u16::try_from((self.0 >> 32) % 201).unwrap_or(100)
    }
}

/// `micros` times `permille` / 1000, without overflow.
fn scaled(micros: u64, permille: u16) -> u64 {
    let wide = u128::from(micros) * u128::from(permille) / 1000;
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[derive(Debug)]
pub(super) struct Failed<F> {
    pub(super) failure: Arc<F>,
    pub(super) class: FailureClass,
}

/// Remembers failures in a row. After each pause one attempt is made; its success ends the series.
#[derive(Debug)]
pub(super) struct Backoff<F> {
    failures: u32,
    failed_at: Tick,
    retry_at: Tick,
    last: Option<Failed<F>>,
}

impl<F> Default for Backoff<F> {
    fn default() -> Self {
        Self { failures: 0, failed_at: Tick(0), retry_at: Tick(0), last: None }
    }
}

impl<F> Backoff<F> {
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn may_try(&self, now: Tick) -> bool {
        self.failures == 0 || now >= self.retry_at
    }

    pub(super) fn last(&self) -> Option<&Failed<F>> {
        self.last.as_ref()
    }

    pub(super) fn succeed(&mut self) {
        if self.failures > 0 {
            *self = Self::default();
        }
    }

    /// `started`: when the attempt began. Attempts that were in flight together fail together and
    /// count once, or a crowd would jump to the longest pause at the first outage.
    pub(super) fn fail(&mut self, what: Failed<F>, started: Tick, pause: Pause) {
        self.last = Some(what);
        if self.failures > 0 && started <= self.failed_at {
            return;
        }
        let longest = pause.retry.max(LEAST_RETRY);
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(30));
        self.failures = self.failures.saturating_add(1);
        self.failed_at = pause.now;
        self.retry_at = pause.now.after(scaled(doubled.min(longest), pause.permille));
    }
}

/// What the length of a pause depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) now: Tick,
    pub(super) retry: u64,
    pub(super) permille: u16,
}
