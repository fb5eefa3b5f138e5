//! What becomes of a server that has answered something: pure.
//!
//! ```text
//!                 ┌─ in a transaction, or something is owed ──▶ Stay
//!  answered ──────┼─ something may be left of the session ────▶ Check, and then again
//!                 ├─ and is on a replica, for good ───────────▶ LeaveBehind
//!                 ├─ nothing is ──────────────────────────────▶ GiveBack, or Replace
//!                 └─ nobody can tell what it owes ────────────▶ Close
//! ```

use super::effects::Effects;
use super::state_check::Pin;
use crate::backend::state::Rest;

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// What the server owes.
    pub(super) rest: Rest,
    /// The queue of expected replies alone.
    pub(super) owed: Rest,
    /// Answers are outstanding.
    pub(super) is_answering: bool,
    /// A question asked now is answered.
    pub(super) may_ask: bool,
    /// The status byte says that no transaction is open.
    pub(super) is_idle: bool,
    /// The pool mode gives the server back with each statement.
    pub(super) by_statement: bool,
    /// The server stays until the client leaves.
    pub(super) keeps_server: bool,
    /// A part of a message of the client's is on its way.
    pub(super) is_passing: bool,
    /// ReadyForQuery is withheld from the client.
    pub(super) owes_ready: bool,
    /// The server's TLS connection is going to end for good.
    pub(super) is_worn: bool,
    pub(super) effects: Effects,
    pub(super) pin: Option<Pin>,
    /// The server is a replica's, and a transaction that was read only has left something there that
    /// would keep the session.
    pub(super) is_left_on_replica: bool,
}

/// What to do with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    /// The client keeps it, in a transaction or because something is owed.
    Stay,
    /// The same, and the client is between transactions.
    StayIdle,
    /// The client keeps it, silent in a transaction.
    StayInTransaction,
    /// Only a cancel request on its way, or bytes that wait, hold it.
    Wait,
    /// Ask what the session has there.
    Check,
    /// It goes back.
    GiveBack,
    /// It is closed.
    Close,
    /// It is closed, with what the session has left there: nobody can write through it.
    LeaveBehind,
    /// It is closed, because its connection would end soon.
    Replace,
    /// The client has begun a transaction where none is allowed.
    RefuseTransaction,
}

/// Decides. To be asked when nothing is asked on our own account.
pub(super) fn settle(now: Situation) -> Settle {
    if now.by_statement && !now.is_idle && !now.is_answering {
        return Settle::RefuseTransaction;
    }
    match now.rest {
        Rest::AtRest if now.is_passing => Settle::StayIdle,
        Rest::AtRest if now.keeps_server => {
            if now.effects.contains(Effects::RESETS) {
                Settle::Check
            } else {
                Settle::StayIdle
            }
        }
        Rest::AtRest if now.effects.intersects(Effects::CHECKED) => Settle::Check,
        Rest::AtRest if now.is_left_on_replica => Settle::LeaveBehind,
        Rest::AtRest if now.pin.is_some() => Settle::StayIdle,
        Rest::AtRest if now.is_worn => Settle::Replace,
        Rest::AtRest => Settle::GiveBack,
        // What the client has sent into a copy may have ended behind it.
        Rest::Unprovable if !now.keeps_server && now.may_ask && !now.is_passing => Settle::Check,
        Rest::Unprovable if !now.keeps_server => Settle::Close,
        Rest::Unprovable if now.owes_ready && !now.is_passing => Settle::Check,
        Rest::Busy | Rest::Unprovable if now.owed == Rest::AtRest => Settle::Wait,
        Rest::Busy | Rest::Unprovable if !now.is_answering => Settle::StayInTransaction,
        Rest::Busy | Rest::Unprovable => Settle::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Situation = Situation {
        rest: Rest::AtRest,
        owed: Rest::AtRest,
        is_answering: false,
        may_ask: true,
        is_idle: true,
        by_statement: false,
        keeps_server: false,
        is_passing: false,
        owes_ready: false,
        is_worn: false,
        effects: Effects::empty(),
        pin: None,
        is_left_on_replica: false,
    };

    #[test]
    fn every_situation() {
        let busy = Situation { rest: Rest::Busy, owed: Rest::Busy, ..CALM };
        let unprovable =
            Situation { rest: Rest::Unprovable, owed: Rest::Unprovable, may_ask: false, ..CALM };
        let in_transaction = Situation { is_idle: false, ..busy };
        let (set, locks) = (Effects::SETTINGS, Some(Pin::AdvisoryLock));
        for (situation, expected) in [
            (CALM, Settle::GiveBack),
            (Situation { is_worn: true, ..CALM }, Settle::Replace),
            (Situation { is_worn: true, effects: set, ..CALM }, Settle::Check),
            (Situation { is_worn: true, pin: Some(Pin::Listen), ..CALM }, Settle::StayIdle),
            (Situation { effects: set, ..CALM }, Settle::Check),
            (Situation { effects: Effects::WRITES | Effects::SETS, ..CALM }, Settle::GiveBack),
            (Situation { pin: Some(Pin::Listen), ..CALM }, Settle::StayIdle),
            (Situation { pin: Some(Pin::Listen), effects: set, ..CALM }, Settle::Check),
            (Situation { pin: locks, is_left_on_replica: true, ..CALM }, Settle::LeaveBehind),
            (
                Situation { pin: locks, is_left_on_replica: true, effects: set, ..CALM },
                Settle::Check,
            ),
            (Situation { is_passing: true, ..CALM }, Settle::StayIdle),
            (Situation { keeps_server: true, effects: set, ..CALM }, Settle::StayIdle),
            (Situation { keeps_server: true, effects: Effects::RESETS, ..CALM }, Settle::Check),
            (Situation { rest: Rest::Busy, ..CALM }, Settle::Wait),
            (in_transaction, Settle::StayInTransaction),
            (Situation { is_answering: true, ..busy }, Settle::Stay),
            (Situation { by_statement: true, ..in_transaction }, Settle::RefuseTransaction),
            (Situation { by_statement: true, is_answering: true, ..in_transaction }, Settle::Stay),
            (unprovable, Settle::Close),
            (Situation { may_ask: true, ..unprovable }, Settle::Check),
            (Situation { may_ask: true, is_passing: true, ..unprovable }, Settle::Close),
            (Situation { keeps_server: true, ..unprovable }, Settle::StayInTransaction),
            (Situation { keeps_server: true, owes_ready: true, ..unprovable }, Settle::Check),
        ] {
            assert_eq!(settle(situation), expected, "{situation:?}");
        }
    }
}
