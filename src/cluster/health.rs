//! Whether one node is well, and when it is probed next.
//!
//! Owns the condition of a node as it follows from its probes and from what sessions meet there:
//!
//! ```text
//!            probe ok                          failures in a row
//! Untried ─────────────▶ Up ◀─────▶ Suspect ─────────────────────▶ Down
//!                        ▲  suspicion, answer                       │ ▲
//!                        └──── good probes in a row, caught up ─────┘ │ other failures
//!                        └───────────────────────────────────── Starting (57P03)
//! ```
//!
//! From anywhere a node may be refused, until it is admitted again. Only a connection that breaks, a
//! time-out and 57P03 raise suspicion. Whatever else a node answers shows that it lives.
//! Pure: it is given the time.

use super::moment::Moment;
use super::pace::Jitter;
use std::time::Duration;

/// Least time between the outcome of a probe and one that is asked for in a hurry.
const HURRY: Duration = Duration::from_millis(20);
/// First pause behind a failure. It doubles with each that follows.
const RETRY: Duration = Duration::from_millis(100);
/// Every so many good probes one goes over a new connection: a postmaster that hangs is not seen over
/// an old one.
const NEW_CONNECTION_EVERY: u32 = 30;
/// What share of its weight a node has at the beginning of a slow start, in thousandths.
const FIRST_SHARE: u64 = 100;

/// How patient the judgement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Between probes of a node that is well.
    pub interval: Duration,
    /// Longest pause between probes of one that is down.
    pub interval_max: Duration,
    /// So many suspicious failures in a row and it is down.
    pub failures: u32,
    /// So many good probes in a row and it is back.
    pub successes: u32,
    /// How long a replica that is back takes to get its whole share of reads.
    pub slow_start: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            interval_max: Duration::from_secs(15),
            failures: 3,
            successes: 2,
            slow_start: Duration::from_secs(10),
        }
    }
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing was heard of it yet.
    Untried,
    /// It is well.
    Up,
    /// Something failed. It is taken if nothing better is there.
    Suspect,
    /// It does not answer.
    Down,
    /// It answers that it does not take sessions: it starts, stops, or recovers.
    Starting,
    /// It answers and must not be used.
    Refused(Refusal),
}

/// Why a node that answers must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It belongs to another cluster.
    OtherSystem,
    /// It takes writes and is not the primary.
    Fenced,
}

/// Why a probe has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// The connection broke, or the network did.
    Lost,
    /// No answer in time, the login included.
    TimedOut,
    /// 57P03: it starts, stops, recovers, or takes no sessions while in recovery.
    NotAccepting,
    /// 53300: all its connections are taken.
    Full,
    /// 28xxx, 3D000: it does not let the probe in. The configuration is wrong, not the node.
    Configuration,
    /// Any other error, and an answer that makes no sense.
    Other,
}

impl Failure {
    /// Of an error that ended the login or the session of the probe, or that it was answered with.
    #[must_use]
    pub fn from_sqlstate(code: &str) -> Self {
        match code {
            "57P03" => Self::NotAccepting,
            "53300" => Self::Full,
            // An administrator or a crash has ended the connection: a new one will tell.
            "57P01" | "57P02" | "57P05" => Self::Lost,
            "3D000" => Self::Configuration,
            _ if code.starts_with("28") => Self::Configuration,
            _ if code.starts_with("08") => Self::Lost,
            _ => Self::Other,
        }
    }

    /// Whether it may mean that the node is ill.
    #[must_use]
    pub fn is_suspicious(self) -> bool {
        match self {
            Self::Refused | Self::Lost | Self::TimedOut | Self::NotAccepting => true,
            Self::Full | Self::Configuration | Self::Other => false,
        }
    }
}

/// Whether a node answers its probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The last one was answered.
    Answers,
    /// Something has failed, which may mean nothing.
    Doubtful,
    /// It is down, or it does not take sessions.
    Fails,
}

/// Something that has happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A probe was answered, by a primary or by a replica that has caught up.
    Answered,
    /// A probe was answered by a replica that lags too much to come back.
    AnsweredLate,
    /// A probe has failed.
    Failed(Failure),
    /// A session has lost a server there, or could not log in in time.
    ServerLost,
    /// A server said by `in_hot_standby` that the node's role is another now.
    RoleFlipped,
    /// It must not be used.
    Refused(Refusal),
    /// The reason for that is gone.
    Admitted,
}

/// A condition that was replaced by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The condition before.
    pub from: Condition,
    /// The condition now.
    pub to: Condition,
}

/// When a node is to be probed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextProbe {
    /// Not before.
    pub at: Moment,
    /// Over a connection of its own, not the one that is kept.
    pub needs_new_connection: bool,
}

/// One node's health.
#[derive(Clone, Debug)]
pub struct Health {
    options: Options,
    condition: Condition,
    since: Moment,
    last_failure: Option<(Failure, Moment)>,
    failures: u32,
    successes: u32,
    /// When it came back from being down.
    returned: Option<Moment>,
    answered_at: Moment,
    next: NextProbe,
    jitter: Jitter,
}

impl Health {
    /// Of a node that was not probed yet; it is to be at once. `seed` spreads the probes.
    #[must_use]
    pub fn new(options: Options, seed: u64, now: Moment) -> Self {
        Self {
            options,
            condition: Condition::Untried,
            since: now,
            last_failure: None,
            failures: 0,
            successes: 0,
            returned: None,
            answered_at: Moment(0),
            next: NextProbe { at: now, needs_new_connection: true },
            jitter: Jitter::new(seed),
        }
    }

    /// Takes in what has happened. Returns a change of the condition.
    pub fn on(&mut self, event: Event, now: Moment) -> Option<Change> {
        let before = self.condition;
        match event {
            Event::Answered => self.answered(true, now),
            Event::AnsweredLate => self.answered(false, now),
            Event::Failed(failure) => self.failed(failure, now),
            Event::ServerLost => {
                self.hurry(now);
                self.next.needs_new_connection = true;
                if self.condition == Condition::Up {
                    self.condition = Condition::Suspect;
                }
            }
            Event::RoleFlipped => self.hurry(now),
            Event::Refused(refusal) => self.condition = Condition::Refused(refusal),
            Event::Admitted => {
                if matches!(self.condition, Condition::Refused(_)) {
                    self.successes = 0;
                    self.condition = Condition::Down;
                    self.hurry(now);
                }
            }
        }
        if before == self.condition {
            return None;
        }
        self.since = now;
        Some(Change { from: before, to: self.condition })
    }

    /// How it is.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Since when it is so.
    #[must_use]
    pub fn since(&self) -> Moment {
        self.since
    }

    /// The last failure, and when it was seen.
    #[must_use]
    pub fn last_failure(&self) -> Option<(Failure, Moment)> {
        self.last_failure
    }

    /// Whether it answers, for the decision about [`roles`](super::roles): whatever its condition, the
    /// last probe counts.
    #[must_use]
    pub fn reach(&self) -> Reach {
        match self.condition {
            Condition::Suspect => Reach::Doubtful,
            _ if self.successes > 0 => Reach::Answers,
            Condition::Up => Reach::Doubtful,
            Condition::Refused(_) if self.failures < self.options.failures => Reach::Doubtful,
            Condition::Untried | Condition::Down | Condition::Starting | Condition::Refused(_) => {
                Reach::Fails
            }
        }
    }

    /// When it is to be probed.
    #[must_use]
    pub fn next_probe(&self) -> NextProbe {
        self.next
    }

    /// The share of its weight that it has, in thousandths: less while it has just come back.
    #[must_use]
    pub fn share(&self, now: Moment) -> u32 {
        let (Some(returned), slow) = (self.returned, self.options.slow_start.as_nanos()) else {
            return 1000;
        };
        let passed = now.since(returned).as_nanos();
        if passed >= slow {
            return 1000;
        }
        let first = u128::from(FIRST_SHARE);
        u32::try_from(first + (1000 - first) * passed / slow).unwrap_or(1000)
    }

    fn answered(&mut self, has_caught_up: bool, now: Moment) {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        self.answered_at = now;
        match self.condition {
            Condition::Untried if has_caught_up => self.condition = Condition::Up,
            Condition::Suspect => self.condition = Condition::Up,
            Condition::Untried | Condition::Down | Condition::Starting => {
                if has_caught_up && self.successes >= self.options.successes {
                    // A node that was never up before has no cold start behind it.
                    let is_return = self.condition != Condition::Untried;
                    self.returned = is_return.then_some(now);
                    self.condition = Condition::Up;
                }
            }
            Condition::Up | Condition::Refused(_) => {}
        }
        // Writes may wait for it to come back.
        let is_returning = matches!(self.condition, Condition::Down | Condition::Starting);
        let pause = if is_returning && has_caught_up {
            RETRY.min(self.options.interval)
        } else {
            self.options.interval
        };
        let pause = self.jitter.spread(pause);
        let is_due = self.successes.is_multiple_of(NEW_CONNECTION_EVERY);
        self.next = NextProbe { at: now.after(pause), needs_new_connection: is_due };
    }

    fn failed(&mut self, failure: Failure, now: Moment) {
        self.last_failure = Some((failure, now));
        self.successes = 0;
        self.answered_at = now;
        if failure.is_suspicious() {
            self.failures = self.failures.saturating_add(1);
            self.condition = self.suspected(failure);
        } else {
            self.failures = 0;
            if self.condition == Condition::Suspect {
                self.condition = Condition::Up;
            }
        }
        let pause = self.pause(failure);
        let pause = self.jitter.spread(pause);
        self.next = NextProbe { at: now.after(pause), needs_new_connection: true };
    }

    fn suspected(&self, failure: Failure) -> Condition {
        match self.condition {
            Condition::Refused(_) => self.condition,
            _ if failure == Failure::NotAccepting => Condition::Starting,
            Condition::Up | Condition::Suspect if self.failures < self.options.failures => {
                Condition::Suspect
            }
            Condition::Up
            | Condition::Suspect
            | Condition::Untried
            | Condition::Down
            | Condition::Starting => Condition::Down,
        }
    }

    fn pause(&self, failure: Failure) -> Duration {
        if !failure.is_suspicious() {
            return self.options.interval;
        }
        // A node that says that it starts may be there at any moment.
        let longest = match self.condition {
            Condition::Starting | Condition::Suspect => self.options.interval,
            Condition::Untried | Condition::Up | Condition::Down | Condition::Refused(_) => {
                self.options.interval_max
            }
        };
        let doublings = self.failures.saturating_sub(1).min(20);
        RETRY.saturating_mul(1 << doublings).min(longest)
    }

    /// The next probe is due now, if none has just been answered.
    fn hurry(&mut self, now: Moment) {
        self.next.at = self.next.at.min(now.max(self.answered_at.after(HURRY)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn health() -> Health {
        Health::new(Options::default(), 1, ms(0))
    }

    fn up() -> Health {
        let mut health = health();
        health.on(Event::Answered, ms(0));
        assert_eq!(health.condition(), Condition::Up);
        health
    }

    fn after(events: &[Event]) -> Condition {
        let mut health = up();
        for (index, event) in (1..).zip(events) {
            health.on(*event, ms(index * 1000));
        }
        health.condition()
    }

    const LOST: Event = Event::Failed(Failure::Lost);
    const NOT_ACCEPTING: Event = Event::Failed(Failure::NotAccepting);

    #[test]
    fn events_change_the_condition() {
        use Event::*;
        let fenced = Refused(Refusal::Fenced);
        for (events, condition) in [
            (&[LOST][..], Condition::Suspect),
            (&[ServerLost], Condition::Suspect),
            (&[ServerLost, Answered], Condition::Up),
            (&[LOST, Failed(Failure::Configuration)], Condition::Up),
            (&[LOST, LOST], Condition::Suspect),
            (&[LOST, LOST, Failed(Failure::TimedOut)], Condition::Down),
            (&[LOST, Answered, LOST, LOST], Condition::Suspect),
            (&[NOT_ACCEPTING], Condition::Starting),
            (&[NOT_ACCEPTING, Failed(Failure::Refused)], Condition::Down),
            (&[NOT_ACCEPTING, Answered], Condition::Starting),
            (&[NOT_ACCEPTING, Answered, Answered], Condition::Up),
            (&[NOT_ACCEPTING, Answered, LOST, Answered], Condition::Down),
            (&[NOT_ACCEPTING, AnsweredLate, AnsweredLate, AnsweredLate], Condition::Starting),
            (&[NOT_ACCEPTING, AnsweredLate, Answered], Condition::Up),
            (&[Failed(Failure::Full); 9], Condition::Up),
            (&[Failed(Failure::Configuration); 9], Condition::Up),
            (&[Failed(Failure::Other); 9], Condition::Up),
            (&[RoleFlipped], Condition::Up),
            (&[fenced, LOST, Answered, ServerLost], Condition::Refused(Refusal::Fenced)),
            (&[fenced, Admitted, Answered], Condition::Down),
            (&[fenced, Admitted, Answered, Answered], Condition::Up),
            (&[Admitted], Condition::Up),
        ] {
            assert_eq!(after(events), condition, "{events:?}");
        }
        let mut health = health();
        health.on(LOST, ms(1));
        assert_eq!(health.condition(), Condition::Down, "one that never answered is down at once");
    }

    #[test]
    fn a_change_is_told_once_with_its_time() {
        let mut health = up();
        let change = health.on(LOST, ms(5));
        assert_eq!(change, Some(Change { from: Condition::Up, to: Condition::Suspect }));
        assert_eq!(health.on(LOST, ms(6)), None);
        assert_eq!(health.since(), ms(5));
        assert_eq!(health.last_failure(), Some((Failure::Lost, ms(6))));
    }

    #[test]
    fn pauses_grow_while_a_node_is_down_and_are_short_while_it_starts() {
        let pauses = |event, count| {
            let (mut health, mut now) = (up(), ms(0));
            let mut pauses = Vec::new();
            for _ in 0..count {
                health.on(event, now);
                pauses.push(health.next_probe().at.since(now).as_secs_f32());
                now = health.next_probe().at;
            }
            pauses
        };
        let nearly = |pauses: Vec<f32>, expected: &[f32]| {
            let is_near = |(got, expected): (&f32, &f32)| (got / expected - 1.0).abs() <= 0.11;
            assert!(pauses.iter().zip(expected).all(is_near), "{pauses:?}");
        };
        nearly(pauses(LOST, 9), &[0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0]);
        nearly(pauses(NOT_ACCEPTING, 6), &[0.1, 0.2, 0.4, 0.8, 1.0, 1.0]);
        nearly(pauses(Event::Answered, 3), &[1.0; 3]);
        nearly(pauses(Event::Failed(Failure::Full), 3), &[1.0; 3]);
    }

    #[test]
    fn what_sessions_meet_asks_for_a_probe_at_once_but_not_for_a_storm() {
        for event in [Event::ServerLost, Event::RoleFlipped] {
            let mut health = up();
            health.on(event, ms(500));
            assert_eq!(health.next_probe().at, ms(500));
            health.on(Event::Answered, ms(501));
            health.on(event, ms(502));
            assert_eq!(health.next_probe().at, ms(521), "{event:?}");
        }
    }

    #[test]
    fn whether_a_node_answers_is_what_its_last_probe_says() {
        use Event::*;
        let fenced = Refused(Refusal::Fenced);
        for (events, reach) in [
            (&[][..], Reach::Answers),
            (&[ServerLost], Reach::Doubtful),
            (&[LOST], Reach::Doubtful),
            (&[LOST, LOST, LOST], Reach::Fails),
            (&[LOST, LOST, LOST, Answered], Reach::Answers),
            (&[NOT_ACCEPTING], Reach::Fails),
            (&[NOT_ACCEPTING, AnsweredLate], Reach::Answers),
            (&[Failed(Failure::Configuration)], Reach::Doubtful),
            (&[fenced], Reach::Answers),
            (&[fenced, LOST], Reach::Doubtful),
            (&[fenced, LOST, LOST, LOST], Reach::Fails),
        ] {
            let mut health = up();
            for event in events {
                health.on(*event, ms(1));
            }
            assert_eq!(health.reach(), reach, "{events:?}");
        }
        assert_eq!(health().reach(), Reach::Fails);
    }

    #[test]
    fn a_node_that_comes_back_is_not_waited_for_longer_than_it_takes() {
        let mut health = up();
        health.on(NOT_ACCEPTING, ms(0));
        health.on(Event::Answered, ms(100));
        assert!(health.next_probe().at < ms(300));
        health.on(Event::Answered, ms(200));
        assert!(health.next_probe().at > ms(900));
    }

    #[test]
    fn a_new_connection_is_used_behind_failures_and_now_and_then() {
        let mut health = up();
        let mut new = 0;
        for second in 0..90 {
            health.on(Event::Answered, ms(second * 1000));
            new += u32::from(health.next_probe().needs_new_connection);
        }
        assert_eq!(new, 3);
        health.on(Event::Failed(Failure::TimedOut), ms(100_000));
        assert!(health.next_probe().needs_new_connection);
    }

    #[test]
    fn a_replica_that_comes_back_starts_slowly() {
        let mut health = up();
        assert_eq!(health.share(ms(0)), 1000, "not at the beginning");
        for event in [NOT_ACCEPTING, Event::Answered, Event::Answered] {
            health.on(event, ms(1000));
        }
        let shares = [1_000, 2_000, 6_000, 10_999, 11_000, 99_000].map(|at| health.share(ms(at)));
        assert_eq!(shares, [100, 190, 550, 999, 1000, 1000]);
    }

    #[test]
    fn codes_are_told_apart() {
        for (code, failure, is_suspicious) in [
            ("57P03", Failure::NotAccepting, true),
            ("53300", Failure::Full, false),
            ("28P01", Failure::Configuration, false),
            ("28000", Failure::Configuration, false),
            ("3D000", Failure::Configuration, false),
            ("57P01", Failure::Lost, true),
            ("08006", Failure::Lost, true),
            ("40001", Failure::Other, false),
            ("XX000", Failure::Other, false),
            ("", Failure::Other, false),
        ] {
            assert_eq!(Failure::from_sqlstate(code), failure, "{code}");
            assert_eq!(failure.is_suspicious(), is_suspicious, "{code}");
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        use Failure::*;
        prop::sample::select(vec![
            Event::Answered,
            Event::AnsweredLate,
            Event::Failed(Lost),
            Event::Failed(Refused),
            Event::Failed(TimedOut),
            Event::Failed(NotAccepting),
            Event::Failed(Full),
            Event::Failed(Configuration),
            Event::Failed(Other),
            Event::ServerLost,
            Event::RoleFlipped,
            Event::Refused(Refusal::OtherSystem),
            Event::Admitted,
        ])
    }

    proptest! {
        #[test]
        fn only_suspicious_events_take_a_node_away_and_the_next_probe_is_never_far(
            events in prop::collection::vec((event(), 1u64..5_000), 1..80),
        ) {
            let (mut health, mut now) = (up(), 0);
            for (event, pause) in events {
                now += pause;
                let before = health.condition();
                let change = health.on(event, ms(now));
                prop_assert_eq!(change.map(|change| change.to), (before != health.condition()).then(|| health.condition()));
                let is_suspicious = match event {
                    Event::Failed(failure) => failure.is_suspicious(),
                    Event::ServerLost | Event::Refused(_) => true,
                    Event::Answered
                    | Event::AnsweredLate
                    | Event::RoleFlipped
                    | Event::Admitted => false,
                };
                if before == Condition::Up && !is_suspicious {
                    prop_assert_eq!(health.condition(), Condition::Up);
                }
                if matches!(before, Condition::Down | Condition::Starting) && event == Event::AnsweredLate {
                    prop_assert_ne!(health.condition(), Condition::Up);
                }
                let pause = health.next_probe().at.since(ms(now));
                prop_assert!(pause <= Options::default().interval_max.mul_f64(1.1));
                prop_assert!((100..=1000).contains(&health.share(ms(now))));
            }
        }
    }
}
