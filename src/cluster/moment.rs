//! A point in time, as everything in this module counts it.

use std::time::Duration;

/// Nanoseconds of a monotonic clock that goes on while the machine sleeps (`CLOCK_BOOTTIME`): a
/// replica does not become fresh because the machine was suspended.
///
/// The promises of [`freshness`](super::freshness) hold only for moments that were read at the right
/// time and not taken from a tick of the event loop: of a probe *before* its question is written, of
/// an acknowledgement *after* the read that brought it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The time since an earlier moment; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment that is so much later.
    #[must_use]
    pub fn after(self, pause: Duration) -> Self {
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}
