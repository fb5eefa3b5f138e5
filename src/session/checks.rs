//! Reads that were answered by a replica and are to be compared with the primary.
//!
//! Owns the one place where such a read waits: sessions put one there, and the control thread takes it. While one
//! waits or is compared, no other is taken. Never runs anything.

use crate::backend::settings::Settings;
use crate::cluster::NodeId;
use crate::sql::Rules;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::time::Instant;

/// A read, with all that its answer depends on.
#[derive(Debug)]
pub struct Sample {
    /// The database of the session, and its user.
    pub names: (Box<str>, Box<str>),
    /// What the session had set.
    pub settings: Arc<Settings>,
    /// The replica that has answered it.
    pub node: NodeId,
    /// Every text in it, and the rules by which it is read.
    pub texts: Vec<(Box<[u8]>, Rules)>,
    /// The client's messages, and a Parse in front for each statement that was there before.
    pub unit: Vec<u8>,
}

/// A sample while it runs.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) sample: Sample,
    pub(super) began: Instant,
}

/// Where samples wait.
#[derive(Debug, Default)]
pub struct Checks {
    waiting: Mutex<Option<Box<Sample>>>,
    is_busy: AtomicBool,
    wake: Notify,
}

impl Checks {
    /// The next sample. Cancel safe. Others are taken when [`Self::done`] was called.
    pub async fn next(&self) -> Box<Sample> {
        loop {
            if let Some(sample) = self.waiting.lock().take() {
                return sample;
            }
            self.wake.notified().await;
        }
    }

    /// The next one may come.
    pub fn done(&self) {
        self.is_busy.store(false, Ordering::Release);
    }

    pub(super) fn is_free(&self) -> bool {
        !self.is_busy.load(Ordering::Acquire)
    }

    pub(super) fn put(&self, sample: Sample) {
        if !self.is_busy.swap(true, Ordering::AcqRel) {
            *self.waiting.lock() = Some(Box::new(sample));
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let checks = Checks::default();
        assert!(checks.is_free());
        assert!(!checks.is_busy.swap(true, Ordering::AcqRel));
        assert!(!checks.is_free());
        checks.done();
        assert!(checks.is_free());
    }
}
