//! What a session has sent and got no answer to yet, and what becomes of it when its server is lost. Pure.
//!
//! Owns, for databases that have several nodes, what each Query and each batch may do that is on its way,
//! in the order in which they were sent. Says of each whether it has certainly not happened, or whether
//! nobody can know that, and where it leaves the client's transaction block. Errs on the side of doubt.

use super::effects::Effects;
use crate::wire;
use std::collections::VecDeque;

/// What the Queries and batches may do that are on their way.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    whole: VecDeque<Effects>,
    open: Effects,
}

/// What is told of one Query or batch whose server is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// It may have happened.
    pub(super) is_in_doubt: bool,
    /// Whether the client is in a transaction block behind it, which has failed.
    pub(super) is_in_block: bool,
}

impl InFlight {
    /// A message that is being sent may do this.
    pub(super) fn add(&mut self, effects: Effects) {
        let block = Effects::OPENS_BLOCK | Effects::CLOSES_BLOCK;
        if effects.intersects(block) {
            self.open -= block;
        }
        self.open |= effects;
    }

    /// It was the last one of a Query or batch.
    pub(super) fn end(&mut self) {
        let whole = std::mem::take(&mut self.open);
        self.whole.push_back(whole);
    }

    /// The one in front is answered.
    pub(super) fn answered(&mut self) {
        self.whole.pop_front();
    }

    /// Nothing is on its way.
    pub(super) fn clear(&mut self) {
        self.whole.clear();
        self.open = Effects::empty();
    }

    /// What each of the `count` Queries and batches may do that are on their way whole, and what the batch
    /// may do that is not whole yet. Where a copy has made the server ignore Syncs, their number is not
    /// known, and each may do what all may.
    fn effects(&self, count: usize) -> impl Iterator<Item = Effects> {
        let all = self.whole.iter().fold(self.open, |all, effects| all | *effects);
        let is_known = self.whole.len() == count;
        (0..count).map(move |at| match self.whole.get(at) {
            Some(effects) if is_known => *effects,
            Some(_) | None => all,
        })
    }

    /// What is told of each of the `count` that are on their way whole, the first of which began under this
    /// status of ReadyForQuery; and of the batch behind them that is not whole. `copies`: the first of them
    /// all waits for the client's rows, so that it is not committed by itself.
    pub(super) fn losses(&self, status: u8, count: usize, copies: bool) -> (Vec<Loss>, Loss) {
        let mut block = match status {
            wire::IDLE => Block::None,
            wire::FAILED => Block::Failed,
            _ => Block::Open,
        };
        let mut waits = copies;
        let mut lose = |effects: Effects| {
            let writes =
                if std::mem::take(&mut waits) { Effects::WRITES } else { Effects::empty() };
            block.lose(effects - writes)
        };
        let whole = self.effects(count).map(&mut lose).collect();
        (whole, lose(self.open))
    }
}

/// The client's transaction block, as it was on the lost server for all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    None,
    /// It may be open.
    Open,
    /// The server has said that it has failed: nothing of it is ever committed.
    Failed,
}

impl Block {
    /// What has these effects is lost.
    fn lose(&mut self, effects: Effects) -> Loss {
        let is_in_doubt = match self {
            // Its own transaction is committed at its end, unless it becomes a block.
            Self::None if effects.contains(Effects::OPENS_BLOCK) => {
                effects.contains(Effects::COMMITS)
            }
            Self::None => effects.intersects(Effects::WRITES | Effects::COMMITS),
            Self::Open => effects.contains(Effects::COMMITS),
            // ROLLBACK may be followed by something else.
            Self::Failed => {
                let ends = Effects::CLOSES_BLOCK | Effects::OPENS_BLOCK;
                effects.intersects(ends) && effects.contains(Effects::WRITES)
            }
        };
        let opens = effects.contains(Effects::OPENS_BLOCK);
        let closes = effects.contains(Effects::CLOSES_BLOCK);
        *self = match self {
            Self::None if opens => Self::Open,
            Self::None => Self::None,
            Self::Open | Self::Failed if closes => Self::None,
            Self::Failed if opens => Self::Open,
            Self::Open => Self::Open,
            Self::Failed => Self::Failed,
        };
        Loss { is_in_doubt, is_in_block: *self != Self::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::effects::effects_of;
    use crate::sql::{EveryName, Rules};

    fn effects(sql: &str) -> Effects {
        effects_of(sql.as_bytes(), Rules::STANDARD, &EveryName, &mut |_| true).effects
    }

    /// `?` for what may have happened, `-` for what has not; `B` for a client that is in a block behind it.
    fn told(status: u8, whole: &[&str], open: &str) -> String {
        let mut sent = InFlight::default();
        for sql in whole {
            sent.add(effects(sql));
            sent.end();
        }
        sent.add(effects(open));
        let (whole, open) = sent.losses(status, whole.len(), false);
        let say = |loss: &Loss| {
            let doubt = if loss.is_in_doubt { "?" } else { "-" };
            format!("{doubt}{}", if loss.is_in_block { "B" } else { "" })
        };
        whole.iter().chain([&open]).map(say).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_told_of_what_was_on_its_way() {
        let (idle, open, failed) = (wire::IDLE, wire::IN_TRANSACTION, wire::FAILED);
        for (status, whole, rest, expected) in [
            (idle, &["SELECT 1"][..], "", "- -"),
            (idle, &["UPDATE t SET a = 1"], "", "? -"),
            (idle, &["SELECT own()"], "", "? -"),
            (idle, &[], "INSERT INTO t VALUES (1)", "?"),
            (idle, &["UPDATE t SET a = 1", "SELECT 1", "DELETE FROM t"], "", "? - ? -"),
            (idle, &["BEGIN"], "", "-B -B"),
            (idle, &["BEGIN; UPDATE t SET a = 1"], "", "-B -B"),
            (idle, &["BEGIN; UPDATE t SET a = 1; COMMIT"], "", "? -"),
            (idle, &["BEGIN", "UPDATE t SET a = 1", "COMMIT", "SELECT 1"], "", "-B -B ? - -"),
            (idle, &["BEGIN", "UPDATE t SET a = 1", "ROLLBACK"], "UPDATE t SET a = 1", "-B -B - ?"),
            (open, &["UPDATE t SET a = 1"], "", "-B -B"),
            (open, &[], "UPDATE t SET a = 1", "-B"),
            (open, &["COMMIT"], "", "? -"),
            (open, &["COMMIT AND CHAIN"], "", "?B -B"),
            (open, &["PREPARE TRANSACTION 'a'"], "", "? -"),
            (open, &["ROLLBACK"], "", "- -"),
            (open, &["ROLLBACK TO a"], "", "-B -B"),
            // It may be followed by something else.
            (failed, &["COMMIT"], "", "? -"),
            (failed, &["SELECT 1"], "", "-B -B"),
            (failed, &["ROLLBACK; UPDATE t SET a = 1"], "", "? -"),
        ] {
            let said = told(status, whole, rest);
            assert_eq!(said, expected, "{} {whole:?} {rest}", char::from(status));
        }
    }

    #[test]
    fn a_copy_that_waits_for_rows_is_not_committed() {
        let mut sent = InFlight::default();
        for sql in ["COPY t FROM STDIN", "COPY t FROM STDIN"] {
            sent.add(effects(sql));
            sent.end();
        }
        let (whole, _) = sent.losses(wire::IDLE, 2, true);
        assert_eq!(whole.iter().map(|loss| loss.is_in_doubt).collect::<Vec<_>>(), [false, true]);
        let mut sent = InFlight::default();
        sent.add(effects("UPDATE t SET a = 1; COMMIT; COPY t FROM STDIN"));
        sent.end();
        assert!(sent.losses(wire::IDLE, 1, true).0[0].is_in_doubt);
    }

    #[test]
    fn a_number_that_is_not_known_makes_all_of_them_doubtful() {
        let mut sent = InFlight::default();
        for sql in ["SELECT 1", "UPDATE t SET a = 1", "SELECT 1"] {
            sent.add(effects(sql));
            sent.end();
        }
        let (whole, _) = sent.losses(wire::IDLE, 2, false);
        assert!(whole.len() == 2 && whole.iter().all(|loss| loss.is_in_doubt));
        sent.answered();
        let (whole, _) = sent.losses(wire::IDLE, 2, false);
        assert_eq!(whole.iter().map(|loss| loss.is_in_doubt).collect::<Vec<_>>(), [true, false]);
        sent.clear();
        let (whole, open) = sent.losses(wire::IN_TRANSACTION, 1, false);
        assert_eq!((whole[0], open), (open, Loss { is_in_doubt: false, is_in_block: true }));
    }
}
