//! When a database's catalog is asked about.
//!
//! Owns the pace of one database: at once when it is first used and when a session has changed the
//! catalog, then at an interval while it is used, slower when it takes long or fails. Pure: it is given
//! the time. Keeps the invariant that questions to one database never overlap, and take at most a second
//! and a twentieth of the time.

use std::time::Duration;

/// What answers took beyond [`BURST`], this many times over, passes before the next question.
const PACE: u32 = 20;
/// So much may be taken at once, so that a change is asked about while those who made it still watch.
const BURST: Duration = Duration::from_secs(1);
/// Longest pause behind an answer that took long.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// First pause behind a failure; it doubles with each that follows.
const RETRY: Duration = Duration::from_secs(1);
/// Longest pause behind failures.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Between an answer and a question that a mere suspicion asks for.
const SUSPICION: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask now, and tell how it went.
    Ask,
    /// Nothing until then, or until something is wished; `None`: until something is wished.
    WaitUntil(Option<Duration>),
    /// Nobody uses the database: what is known of it is stale from here on, and nothing is done until it
    /// is used.
    Rest,
}

/// The pace of one database. Times count from any fixed moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Schedule {
    is_requested: bool,
    next: Option<Duration>,
    not_before: Duration,
    /// What answers took and was not made up for by the time that has passed.
    debt: Duration,
    failures: u32,
    answered: Option<Duration>,
}

impl Schedule {
    /// A new one, that asks at once.
    pub fn new() -> Self {
        Self { is_requested: true, ..Self::default() }
    }

    /// The catalog has changed: ask as soon as the pace allows.
    pub fn request(&mut self) {
        self.is_requested = true;
    }

    /// The catalog may have changed: ask soon.
    pub fn suspect(&mut self) {
        let Some(answered) = self.answered else { return };
        let soon = (answered + SUSPICION).max(self.not_before);
        self.next = Some(self.next.map_or(soon, |next| next.min(soon)));
    }

    /// What is to be done now. `is_used` says whether the database was used since it was asked last.
    pub fn step(&mut self, now: Duration, is_used: impl FnOnce() -> bool) -> Step {
        let due = if self.is_requested { Some(self.not_before) } else { self.next };
        match due {
            Some(due) if due > now => Step::WaitUntil(Some(due)),
            Some(_) if self.is_requested || is_used() => {
                self.is_requested = false;
                Step::Ask
            }
            Some(_) => Step::Rest,
            None => Step::WaitUntil(None),
        }
    }

    /// An answer came. `interval`: how often to ask; `None` for never unless it is wished.
    pub fn answered(&mut self, now: Duration, took: Duration, interval: Option<Duration>) {
        self.failures = 0;
        let passed = now.saturating_sub(self.answered.unwrap_or(now));
        self.answered = Some(now);
        self.debt = self.debt.saturating_sub(passed / PACE).saturating_add(took);
        let excess = self.debt.saturating_sub(BURST);
        self.not_before = now.saturating_add(excess.saturating_mul(PACE).min(PAUSE_MAX));
        self.next = interval.map(|interval| now.saturating_add(interval).max(self.not_before));
    }

    /// There is no answer.
    pub fn failed(&mut self, now: Duration) {
        let pause = RETRY.saturating_mul(1 << self.failures.min(6)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(pause);
        self.next = Some(self.not_before);
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_database_in_use_is_asked_at_the_interval_and_an_unused_one_rests() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.step(seconds(0), || true), Step::Ask);
        schedule.answered(seconds(0), Duration::from_millis(50), Some(seconds(10)));
        assert_eq!(schedule.step(seconds(9), || true), Step::WaitUntil(Some(seconds(10))));
        assert_eq!(schedule.step(seconds(10), || true), Step::Ask);
        schedule.answered(seconds(10), Duration::ZERO, Some(seconds(10)));
        assert_eq!(schedule.step(seconds(20), || false), Step::Rest);
    }

    #[test]
    fn a_change_is_asked_about_at_once_but_not_faster_than_the_pace() {
        let mut schedule = Schedule::new();
        schedule.answered(seconds(100), seconds(3), None);
        schedule.is_requested = false;
        assert_eq!(schedule.step(seconds(100), || true), Step::WaitUntil(None));
        schedule.request();
        assert_eq!(schedule.step(seconds(101), || false), Step::WaitUntil(Some(seconds(140))));
        assert_eq!(schedule.step(seconds(140), || false), Step::Ask);
        schedule.answered(seconds(140), Duration::from_millis(10), None);
        schedule.request();
        assert_eq!(schedule.step(seconds(141), || false), Step::Ask);
    }

    #[test]
    fn changes_one_behind_the_other_are_asked_about_at_once_until_a_second_is_spent() {
        let (mut schedule, mut now, mut asked) = (Schedule::new(), seconds(50), 0);
        let took = Duration::from_millis(100);
        while schedule.step(now, || true) == Step::Ask {
            now += took;
            schedule.answered(now, took, None);
            schedule.request();
            asked += 1;
        }
        assert_eq!(asked, 11, "a second, and what was made up for meanwhile");
        let Step::WaitUntil(Some(due)) = schedule.step(now, || true) else { panic!("it waits") };
        assert!(due > now && due < now + seconds(2), "{:?}", due - now);
        let later = now + seconds(60);
        assert_eq!(schedule.step(later, || true), Step::Ask);
    }

    #[test]
    fn a_suspicion_brings_the_next_question_forward() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.step(seconds(0), || true), Step::Ask);
        schedule.suspect();
        schedule.answered(seconds(0), Duration::ZERO, Some(seconds(10)));
        schedule.suspect();
        assert_eq!(schedule.step(seconds(0), || true), Step::WaitUntil(Some(seconds(1))));
        assert_eq!(schedule.step(seconds(1), || true), Step::Ask);
    }

    #[test]
    fn failures_are_paced() {
        let mut schedule = Schedule::new();
        let (mut now, mut pauses) = (seconds(0), Vec::new());
        for _ in 0..9 {
            assert_eq!(schedule.step(now, || true), Step::Ask);
            schedule.failed(now);
            let Step::WaitUntil(Some(due)) = schedule.step(now, || true) else {
                panic!("no pause")
            };
            schedule.request();
            assert_eq!(schedule.step(now, || true), Step::WaitUntil(Some(due)));
            pauses.push((due - now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        schedule.answered(now, Duration::ZERO, None);
        assert_eq!(schedule.failures(), 0);
    }
}
