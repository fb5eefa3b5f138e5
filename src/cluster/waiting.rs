//! What a read does for which no replica is fresh enough.
//!
//! Owns the decision between waiting, the primary and an error. Pure: what the statement usually takes and
//! how soon replicas catch up are passed in. A wait always has an end.
//!
//! Where the primary may serve it, a read waits only if that is cheaper: if a replica is likely to be fresh
//! sooner than the statement usually takes, the wait is at most what the statement costs anyway, and the
//! primary is spared it. A read of the level `strict` finds no replica fresh without a wait, or that
//! level would be another name for `primary`: it waits a little even if it is short.

use super::choice::Fallback;
use super::freshness::Level;
use super::moment::Moment;
use std::time::Duration;

/// What a wait of a `strict` read may cost at least: a few round trips of probes.
const STRICT: Duration = Duration::from_millis(10);

/// The longest time that counts as what replicas usually need.
const USUAL_MAX: Duration = Duration::from_secs(1);

/// A read without a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What it relies on.
    pub level: Level,
    /// What the operator wants.
    pub fallback: Fallback,
    /// Longest wait.
    pub replica_wait: Duration,
    /// Some replica is well and fits: it may become fresh.
    pub has_replica: bool,
    /// What replicas need to catch up, lately, if that is known.
    pub catch_up: Option<Duration>,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resort {
    /// It waits for a replica until then.
    Wait(Moment),
    /// The primary serves it.
    Primary,
    /// It fails.
    Refuse,
}

impl Lack {
    /// Of a read that came at `arrived`, and waits until the moment that was said then, if it has waited.
    /// `usual` is what the statement usually takes, if anybody knows.
    #[must_use]
    pub fn resort(
        &self,
        (arrived, now): (Moment, Moment),
        waits_until: Option<Moment>,
        usual: impl FnOnce() -> Option<Duration>,
    ) -> Resort {
        let until = waits_until.unwrap_or_else(|| arrived.after(self.limit(usual)));
        let may_wait = self.has_replica || self.fallback == Fallback::Error;
        match self.fallback {
            _ if may_wait && now < until => Resort::Wait(until),
            Fallback::Primary | Fallback::Wait => Resort::Primary,
            Fallback::Error => Resort::Refuse,
        }
    }

    fn limit(&self, usual: impl FnOnce() -> Option<Duration>) -> Duration {
        match self.fallback {
            Fallback::Wait | Fallback::Error => self.replica_wait,
            Fallback::Primary if self.replica_wait.is_zero() || !self.has_replica => Duration::ZERO,
            Fallback::Primary => self.price(usual).min(self.replica_wait),
        }
    }

    /// What a wait may cost where the primary is there as well.
    fn price(&self, usual: impl FnOnce() -> Option<Duration>) -> Duration {
        let least = if self.level == Level::Strict { STRICT } else { Duration::ZERO };
        // What nobody has seen yet is tried.
        let catch_up = self.catch_up.unwrap_or_default();
        if catch_up < least {
            return least;
        }
        usual().filter(|usual| catch_up < *usual).unwrap_or_default()
    }
}

/// What replicas need to catch up with a moment, as it was seen lately.
///
/// One moment is followed at a time: from when somebody asked to when a replica was seen to show it. While
/// that lasts longer than usual, it is what is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    usual: Option<Duration>,
    followed: Option<Moment>,
}

impl CatchUp {
    /// A read misses a replica, so that the nodes are asked until one is there.
    pub fn asked(&mut self, now: Moment) {
        self.followed = self.followed.or(Some(now));
    }

    /// A replica shows everything up to there; seen now.
    pub fn reached(&mut self, horizon: Moment, now: Moment) {
        let Some(since) = self.followed.filter(|since| horizon > *since) else { return };
        // One that stood still for long is soon as quick as before: what is bounded is soon forgotten.
        let took = now.since(since).min(USUAL_MAX);
        self.usual = Some(self.usual.map_or(took, |usual| (usual + took) / 2));
        self.followed = None;
    }

    /// There is no replica that could.
    pub fn is_over(&mut self) {
        self.followed = None;
    }

    /// What is to be expected now.
    #[must_use]
    pub fn expected(&self, now: Moment) -> Option<Duration> {
        let lasts = self.followed.map(|since| now.since(since));
        self.usual.map(|usual| lasts.map_or(usual, |lasts| lasts.max(usual))).or(lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const CAME: Moment = Moment(1_000_000_000);

    fn lack(fallback: Fallback, level: Level) -> Lack {
        let replica_wait = 100 * MS;
        Lack { level, fallback, replica_wait, has_replica: true, catch_up: Some(2 * MS) }
    }

    fn first(lack: Lack, usual: Option<Duration>) -> Resort {
        lack.resort((CAME, CAME), None, || usual)
    }

    fn waits(pause: Duration) -> Resort {
        Resort::Wait(CAME.after(pause))
    }

    #[test]
    fn where_the_primary_may_serve_it_a_read_waits_only_if_that_is_cheaper() {
        let read = lack(Fallback::Primary, Level::Session);
        assert_eq!(first(read, Some(MS)), Resort::Primary);
        assert_eq!(first(read, Some(2 * MS)), Resort::Primary, "no gain");
        assert_eq!(first(read, Some(30 * MS)), waits(30 * MS));
        assert_eq!(first(read, Some(3000 * MS)), waits(100 * MS));
        assert_eq!(first(read, None), Resort::Primary, "nobody knows what it takes");
        assert_eq!(first(Lack { catch_up: None, ..read }, Some(30 * MS)), waits(30 * MS));
        assert_eq!(first(Lack { has_replica: false, ..read }, Some(30 * MS)), Resort::Primary);
        let never = Lack { replica_wait: Duration::ZERO, ..read };
        assert_eq!(first(never, Some(30 * MS)), Resort::Primary);
    }

    #[test]
    fn a_strict_read_waits_a_little_even_if_it_is_short() {
        let read = lack(Fallback::Primary, Level::Strict);
        assert_eq!(first(read, None), waits(STRICT));
        assert_eq!(first(Lack { catch_up: None, ..read }, None), waits(STRICT));
        let late = Lack { catch_up: Some(50 * MS), ..read };
        assert_eq!(first(late, Some(10 * MS)), Resort::Primary);
        assert_eq!(first(late, Some(60 * MS)), waits(60 * MS));
    }

    #[test]
    fn a_wait_ends_as_the_operator_wants() {
        let until = CAME.after(100 * MS);
        for (fallback, end) in [
            (Fallback::Primary, Resort::Primary),
            (Fallback::Wait, Resort::Primary),
            (Fallback::Error, Resort::Refuse),
        ] {
            let read = lack(fallback, Level::Session);
            assert_eq!(first(read, Some(300 * MS)), waits(100 * MS));
            let later = |now| read.resort((CAME, now), Some(until), || unreachable!("it is known"));
            assert_eq!(later(CAME.after(99 * MS)), waits(100 * MS));
            assert_eq!(later(until), end);
        }
        // Where no replica is well, only a read that would fail waits for one.
        for (fallback, expected) in
            [(Fallback::Wait, Resort::Primary), (Fallback::Error, waits(100 * MS))]
        {
            let none = Lack { has_replica: false, ..lack(fallback, Level::Session) };
            assert_eq!(first(none, None), expected);
        }
    }

    #[test]
    fn what_replicas_need_is_what_they_needed_and_more_while_it_lasts() {
        let mut catch_up = CatchUp::default();
        assert_eq!(catch_up.expected(CAME), None);
        catch_up.asked(CAME);
        catch_up.asked(CAME.after(MS));
        assert_eq!(catch_up.expected(CAME.after(3 * MS)), Some(3 * MS));
        catch_up.reached(CAME, CAME.after(3 * MS));
        assert_eq!(catch_up.expected(CAME.after(4 * MS)), Some(4 * MS), "that is not behind it");
        catch_up.reached(CAME.after(MS), CAME.after(4 * MS));
        assert_eq!(catch_up.expected(CAME.after(900 * MS)), Some(4 * MS));
        catch_up.asked(CAME);
        assert_eq!(catch_up.expected(CAME.after(2 * MS)), Some(4 * MS));
        assert_eq!(catch_up.expected(CAME.after(9 * MS)), Some(9 * MS));
        catch_up.reached(CAME.after(MS), CAME.after(8 * MS));
        assert_eq!(catch_up.expected(CAME), Some(6 * MS));
        catch_up.asked(CAME);
        assert_eq!(catch_up.expected(CAME.after(9000 * MS)), Some(9000 * MS));
        catch_up.is_over();
        assert_eq!(catch_up.expected(CAME.after(9000 * MS)), Some(6 * MS));
        catch_up.asked(CAME);
        catch_up.reached(CAME.after(MS), CAME.after(9000 * MS));
        assert_eq!(catch_up.expected(CAME), Some(503 * MS), "the longest counts as a second");
    }
}
