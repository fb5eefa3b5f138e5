//! The read that holds up what a replica replays.
//!
//! Owns when a replica is to be asked for it, and the meaning of the answer. A replica that has received more
//! than it replays, and replays nothing for a while, mostly waits for a read in whose snapshot rows are that are
//! to go (manual, "Handling Query Conflicts"): until `max_standby_streaming_delay` cancels the read.

use super::lsn::Lsn;
use super::moment::Moment;
use super::report::{BadAnswer, ReplicaStand, Row};
use std::fmt;
use std::time::Duration;

/// So long a replay has to stand still before it is asked why, and so long between two questions.
const STILL: Duration = Duration::from_millis(500);

/// Whether a replica's replay stands still although there is more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standstill {
    since: Option<(Lsn, Moment)>,
    asked: Option<Moment>,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// Nothing: it replays, or has nothing to replay.
    #[default]
    Moves,
    /// It is not known yet, or was asked a moment ago.
    Wait,
    /// The replica is to be asked for the read.
    Ask,
}

impl Standstill {
    /// A probe has told this.
    pub fn look(&mut self, stand: &ReplicaStand, now: Moment) -> Look {
        let Some(replayed) = stand.replayed.filter(|replayed| stand.received > Some(*replayed))
        else {
            *self = Self::default();
            return Look::Moves;
        };
        let since = match self.since {
            Some((lsn, since)) if lsn == replayed => since,
            Some(_) | None => {
                *self = Self { since: Some((replayed, now)), asked: None };
                return Look::Moves;
            }
        };
        let is_due = self.asked.is_none_or(|asked| asked.after(STILL) <= now);
        if since.after(STILL) > now || !is_due {
            return Look::Wait;
        }
        self.asked = Some(now);
        Look::Ask
    }
}

/// A session on a replica that its replay waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldUp {
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub user: Box<str>,
    /// Its database.
    pub database: Box<str>,
    /// What its application calls itself.
    pub application: Box<str>,
    /// How long its transaction runs.
    pub runs: Duration,
    /// What it runs, or ran last, as it was sent: not to be shown with its values.
    pub query: Box<[u8]>,
}

impl HeldUp {
    /// Reads the row of [`HELD_UP`](super::questions::HELD_UP).
    ///
    /// # Errors
    /// Names the column that makes no sense.
    pub fn parse(row: Row<'_>) -> Result<Self, BadAnswer> {
        let bytes = |column: usize| row.get(column).copied().flatten().unwrap_or_default();
        let text = |column| String::from_utf8_lossy(bytes(column)).into_owned();
        let pid = text(0).parse().map_err(|_| BadAnswer("pid"))?;
        let millis = text(4).parse().map_err(|_| BadAnswer("xact_start"))?;
        Ok(Self {
            pid,
            user: text(1).into(),
            database: text(2).into(),
            application: text(3).into(),
            runs: Duration::from_millis(millis),
            query: bytes(5).into(),
        })
    }
}

/// Who it is, without what it runs.
impl fmt::Display for HeldUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, user, database, application, runs, query: _ } = self;
        write!(f, "process {pid} of user {user} in database {database}")?;
        if !application.is_empty() {
            write!(f, " ({application})")?;
        }
        write!(f, ", whose transaction runs for {} s", runs.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(received: u64, replayed: u64) -> ReplicaStand {
        let (received, replayed) = (Some(Lsn(received)), Some(Lsn(replayed)));
        ReplicaStand { received, replayed, ..ReplicaStand::default() }
    }

    #[test]
    fn a_replay_that_stands_still_with_more_to_do_is_asked_for_now_and_then() {
        let mut still = Standstill::default();
        let at = |millis: u64| Moment(millis * 1_000_000);
        assert_eq!(still.look(&stand(10, 10), at(0)), Look::Moves);
        assert_eq!(still.look(&stand(20, 10), at(1)), Look::Moves, "it may just begin");
        assert_eq!(still.look(&stand(20, 10), at(500)), Look::Wait);
        assert_eq!(still.look(&stand(30, 10), at(501)), Look::Ask);
        assert_eq!(still.look(&stand(30, 10), at(1000)), Look::Wait);
        assert_eq!(still.look(&stand(30, 10), at(1001)), Look::Ask);
        assert_eq!(still.look(&stand(30, 12), at(1002)), Look::Moves);
        assert_eq!(still.look(&stand(30, 12), at(1500)), Look::Wait);
        assert_eq!(still.look(&stand(30, 30), at(3000)), Look::Moves);
        let unknown = ReplicaStand::default();
        assert_eq!(still.look(&unknown, at(9000)), Look::Moves);
    }

    #[test]
    fn the_read_is_named_without_what_it_runs() {
        let row = ["77", "ann", "app", "psql", "61500", "SELECT 'secret'"];
        let row: Vec<_> = row.iter().map(|value| Some(value.as_bytes())).collect();
        let read = HeldUp::parse(&row).expect("a read");
        let said = "process 77 of user ann in database app (psql), whose transaction runs for 61 s";
        assert_eq!(read.to_string(), said);
        assert_eq!(HeldUp::parse(&row[1..]), Err(BadAnswer("pid")));
    }
}
