//! The account of each change of the primary.
//!
//! Owns what is said of it afterwards: how long there was no primary, what became of statements
//! meanwhile, and which acknowledged writes may be lost. The last is found from the log of the old
//! primary and from where the new timeline left the old one: a write that was acknowledged before a
//! moment whose position lies before that point is kept. Keeps the last [`ACCOUNTS_MAX`] accounts.
//!
//! Never says that nothing is lost without a reason.

use super::NodeId;
use super::history::History;
use super::lsn::Lsn;
use super::moment::Moment;
use super::primary_log::{Pair, PrimaryLog};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Most accounts that are kept.
pub const ACCOUNTS_MAX: usize = 32;

/// What became of statements while the primary changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statements {
    /// They failed.
    pub failed: u64,
    /// They waited for the new primary, and ran there.
    pub waited: u64,
    /// They were reads that were repeated elsewhere.
    pub repeated: u64,
    /// They were writes whose answer was lost: nobody knows whether they were done.
    pub in_doubt: u64,
}

/// Which acknowledged writes may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is not known: the history of the new timeline has not been read.
    Unknown,
    /// None.
    Nothing(Kept),
    /// Those that were acknowledged from `after` to `until`. They need not be: the moments are those of
    /// probes.
    Possible {
        /// What was acknowledged before is kept. `None`: no probe is so old.
        after: Option<Moment>,
        /// The last write of the old primary that was acknowledged to a client of ours.
        until: Moment,
        /// So many bytes of the log, at least, are not in the new timeline. Not all of it was
        /// acknowledged.
        bytes: u64,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "which writes are lost is not known: the new timeline's history was not read",
            ),
            Self::Nothing(Kept::Unwritten) => f.write_str("no acknowledged write is lost"),
            Self::Nothing(Kept::Synchronous) => {
                f.write_str("no acknowledged write is lost: replication was synchronous")
            }
            Self::Nothing(Kept::SamePrimary) => {
                f.write_str("only asynchronous writes may be lost: the primary is the same")
            }
            Self::Possible { bytes: 0, .. } => f.write_str(
                "nothing that the last probe saw is gone; writes acknowledged behind it may be lost",
            ),
            Self::Possible { bytes, .. } => write!(
                f,
                "acknowledged writes may be lost: at least {bytes} byte(s) of the log are gone"
            ),
        }
    }
}

/// Why nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// No client of ours was told of a write behind the moment up to which everything is kept.
    Unwritten,
    /// The old primary acknowledged nothing that its standbys did not have. True for sessions that did
    /// not turn `synchronous_commit` down, if the new primary was one of these standbys.
    Synchronous,
    /// The primary is the same as before. Only asynchronous commits may be lost.
    SamePrimary,
}

/// One change of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// When the old primary was lost.
    pub began: Moment,
    /// When the new one was found; `None` while there is none.
    pub ended: Option<Moment>,
    /// The old primary and its timeline.
    pub from: (NodeId, u32),
    /// The new primary and its timeline.
    pub to: Option<(NodeId, u32)>,
    /// The last that was heard of the old primary's log.
    pub last_pair: Option<Pair>,
    /// Where the new timeline left the old one.
    pub switch: Option<Lsn>,
    /// Which acknowledged writes may be lost.
    pub loss: Loss,
    /// What became of statements.
    pub statements: Statements,
}

impl Account {
    /// How long there was no primary; up to now, if there is none.
    #[must_use]
    pub fn gap(&self, now: Moment) -> Duration {
        self.ended.unwrap_or(now).since(self.began)
    }
}

/// What is known of the old primary.
#[derive(Clone, Debug, Default)]
pub struct OldPrimary {
    /// Its log, as it was before the new primary's began.
    pub log: PrimaryLog,
    /// When the last write was acknowledged to a client.
    pub last_acknowledged: Option<Moment>,
    /// Whether it had synchronous standbys.
    pub is_synchronous: bool,
}

/// The accounts of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Failovers {
    accounts: VecDeque<Account>,
    /// Of the last account, as long as its loss is not known.
    old: Option<OldPrimary>,
}

impl Failovers {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The primary is lost. If it already was, nothing changes.
    pub fn lost(&mut self, from: (NodeId, u32), now: Moment) {
        if self.is_open() {
            return;
        }
        if self.accounts.len() == ACCOUNTS_MAX {
            self.accounts.pop_front();
        }
        self.old = None;
        self.accounts.push_back(Account {
            began: now,
            ended: None,
            from,
            to: None,
            last_pair: None,
            switch: None,
            loss: Loss::Unknown,
            statements: Statements::default(),
        });
    }

    /// Another node, or another timeline, has the office. Begins an account if none is open.
    pub fn replaced(
        &mut self,
        from: (NodeId, u32),
        to: (NodeId, u32),
        old: OldPrimary,
        now: Moment,
    ) {
        self.lost(from, now);
        let Some(account) = self.accounts.back_mut() else { return };
        account.ended = Some(now);
        account.to = Some(to);
        account.last_pair = old.log.last();
        if old.is_synchronous {
            account.loss = Loss::Nothing(Kept::Synchronous);
        }
        self.old = Some(old);
    }

    /// The same primary is there again, on the same timeline.
    pub fn restored(&mut self, now: Moment) {
        if self.is_open()
            && let Some(account) = self.accounts.back_mut()
        {
            account.ended = Some(now);
            account.to = Some(account.from);
            account.loss = Loss::Nothing(Kept::SamePrimary);
        }
    }

    /// The history of the new primary's timeline has been read.
    pub fn explained(&mut self, history: &History) {
        let (Some(account), Some(old)) = (self.accounts.back_mut(), &self.old) else { return };
        let Some(switch) = history.switch_from(account.from.1) else { return };
        account.switch = Some(switch);
        if !old.is_synchronous {
            account.loss = loss(old, switch);
        }
        self.old = None;
    }

    /// Statements of the change that goes on, or was the last; `None` if there was none.
    pub fn statements(&mut self) -> Option<&mut Statements> {
        self.accounts.back_mut().map(|account| &mut account.statements)
    }

    /// Whether there is no primary, and an account is being taken of that.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.accounts.back().is_some_and(|account| account.ended.is_none())
    }

    /// Whether the history of the new primary's timeline is wanted.
    #[must_use]
    pub fn wants_history(&self) -> bool {
        self.old.is_some()
    }

    /// The accounts, the oldest first.
    pub fn accounts(&self) -> impl ExactSizeIterator<Item = &Account> {
        self.accounts.iter()
    }
}

fn loss(old: &OldPrimary, switch: Lsn) -> Loss {
    let after = old.log.safe_until(switch);
    let Some(until) = old.last_acknowledged.filter(|until| Some(*until) >= after) else {
        return Loss::Nothing(Kept::Unwritten);
    };
    let bytes = old.log.last().map_or(0, |last| last.insert.bytes_since(switch));
    Loss::Possible { after, until, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::primary;

    const A: (NodeId, u32) = (NodeId(1), 1);
    const B: (NodeId, u32) = (NodeId(2), 2);

    fn old(last_acknowledged: Option<u64>) -> OldPrimary {
        let mut log = PrimaryLog::new();
        for (at, lsn) in [(10, 0x100), (20, 0x200), (30, 0x300)] {
            log.record("a", Moment(at), &primary(1, lsn, lsn));
        }
        let last_acknowledged = last_acknowledged.map(Moment);
        OldPrimary { log, last_acknowledged, is_synchronous: false }
    }

    fn history(switch: &str) -> History {
        History::parse(format!("1\t0/{switch}\tpromoted\n").as_bytes()).expect("a history")
    }

    fn loss_of(old: OldPrimary, switch: &str) -> Loss {
        let mut failovers = Failovers::new();
        failovers.lost(A, Moment(40));
        failovers.replaced(A, B, old, Moment(90));
        failovers.explained(&history(switch));
        let account = *failovers.accounts().last().expect("an account");
        assert_eq!(account.gap(Moment(999)), Duration::from_nanos(50));
        assert_eq!(account.switch.map(|lsn| lsn.to_string()), Some(format!("0/{switch}")));
        account.loss
    }

    #[test]
    fn the_writes_that_may_be_lost_are_those_behind_the_last_probe_that_is_kept() {
        let possible = |after: Option<u64>, until, bytes| Loss::Possible {
            after: after.map(Moment),
            until: Moment(until),
            bytes,
        };
        for (acknowledged, switch, expected) in [
            (Some(35), "250", possible(Some(20), 35, 0xB0)),
            (Some(35), "300", possible(Some(30), 35, 0)),
            (Some(35), "FFF", possible(Some(30), 35, 0)),
            (Some(20), "250", possible(Some(20), 20, 0xB0)),
            (Some(19), "250", Loss::Nothing(Kept::Unwritten)),
            (None, "250", Loss::Nothing(Kept::Unwritten)),
            (Some(35), "80", possible(None, 35, 0x280)),
        ] {
            assert_eq!(loss_of(old(acknowledged), switch), expected, "{acknowledged:?} {switch}");
        }
        let mut synchronous = old(Some(35));
        synchronous.is_synchronous = true;
        assert_eq!(loss_of(synchronous, "250"), Loss::Nothing(Kept::Synchronous));
    }

    #[test]
    fn without_the_history_the_loss_is_unknown() {
        let mut failovers = Failovers::new();
        failovers.replaced(A, B, old(None), Moment(50));
        let other = History::parse(b"7\t0/1\t").expect("a history");
        failovers.explained(&other);
        assert!(failovers.wants_history());
        let account = *failovers.accounts().last().expect("an account");
        assert_eq!((account.loss, account.gap(Moment(99))), (Loss::Unknown, Duration::ZERO));
        assert_eq!(account.last_pair.map(|pair| pair.at), Some(Moment(30)));
    }

    #[test]
    fn a_primary_that_comes_back_ends_its_account() {
        let mut failovers = Failovers::new();
        assert!(failovers.statements().is_none());
        failovers.restored(Moment(1));
        failovers.lost(A, Moment(10));
        failovers.lost(A, Moment(20));
        failovers.statements().expect("an account").failed += 2;
        assert!(failovers.is_open());
        failovers.restored(Moment(30));
        let accounts: Vec<_> = failovers.accounts().copied().collect();
        assert_eq!(accounts.len(), 1);
        assert_eq!(accounts[0].gap(Moment(99)), Duration::from_nanos(20));
        assert_eq!(accounts[0].loss, Loss::Nothing(Kept::SamePrimary));
        assert_eq!(accounts[0].statements.failed, 2);
        assert!(!failovers.is_open() && !failovers.wants_history());
    }

    #[test]
    fn the_accounts_are_bounded() {
        let mut failovers = Failovers::new();
        for at in 0..100 {
            failovers.lost(A, Moment(at));
            failovers.restored(Moment(at));
        }
        assert_eq!(failovers.accounts().len(), ACCOUNTS_MAX);
        assert_eq!(failovers.accounts().next().map(|account| account.began), Some(Moment(68)));
    }
}
