//! Everything of a session that lives as long as it has a server.
//!
//! Owns the lease, and with it what was sent, what is asked on our own account, and what the running
//! transaction may have done to the session. Keeps the invariant that none of it is left when the
//! server is given back.

use super::advice;
use super::checks::Sampled;
use super::clock::Moments;
use super::effects::Effects;
use super::gate::Gate;
use super::held_read::HeldRead;
use super::resetting::ResettingStatements;
use super::running::Running;
use super::state_check::Pin;
use crate::backend::server::{Reported, Server};
use crate::cluster::shared::RunningRead;
use crate::pool::Lease;
use std::sync::Arc;

/// A parameter's name and what the client knew of it.
pub(super) type Withheld = (Box<[u8]>, Option<Box<[u8]>>);

/// What was sent that others may see once it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    None,
    /// Something of the batch or Query that is being sent.
    Open,
    /// The entry of the server's queue with this serial ends it.
    Until(u64),
}

/// A session with a server.
pub(super) struct Bound {
    pub(super) lease: Lease,
    /// It is a read on a replica.
    pub(super) reading: Option<RunningRead>,
    /// That read, as long as the primary can get it instead.
    pub(super) held_read: Option<Box<HeldRead>>,
    /// It is to be compared with the primary's.
    pub(super) sampled: Option<Box<Sampled>>,
    /// What is counted of it where the route is `advise`.
    pub(super) advised: Option<Box<advice::Running>>,
    /// What the server is asked on our own account.
    pub(super) gate: Option<Gate>,
    /// The server has been sent something of the client's, since the last transaction ended.
    pub(super) is_used: bool,
    /// It has been sent something of the client's at all.
    pub(super) has_served: bool,
    /// What was sent may have changed: the question whether the server may go back is due.
    pub(super) settle_is_due: bool,
    /// What the running transaction may have done to the session.
    pub(super) effects: Effects,
    /// What of that the client was told, and the server was not asked about yet.
    pub(super) acknowledged: Effects,
    /// The client has got an error for what is being answered.
    pub(super) has_failed: bool,
    /// Why the server stays with the session, between transactions too.
    pub(super) pin: Option<Pin>,
    /// The replica has ended in conflict with what it replays.
    pub(super) is_in_conflict: bool,
    /// What was sent that others may see once it is answered, even if the client is gone.
    lasting: Lasting,
    /// Parameters of which the client was not told the server's default: what it knew before.
    pub(super) withheld: Vec<Withheld>,
    /// What the server has reported before the running transaction set something.
    pub(super) reported_before: Option<Arc<Reported>>,
    /// ReadyForQuery is due to the client when the server has been given its settings.
    pub(super) owes_ready: bool,
    /// The server has said to the client that it closes the connection.
    pub(super) has_sent_fatal: bool,
    /// A cancel request came for the statement that waits behind a question of ours.
    pub(super) is_cancelled: bool,
    /// A cancel request was delivered for what the entry with this serial ends, and so often again.
    pub(super) cancelled: Option<(u64, u8)>,
    /// Times that a question of ours was cut off by the `statement_timeout` that the server had.
    pub(super) cut_off: u8,
    /// A check that failed for another reason was asked again.
    pub(super) has_checked_again: bool,
    /// Prepared statements that the server has under the client's own names too, until the transaction
    /// ends.
    pub(super) lent: Vec<Box<[u8]>>,
    /// In session mode: its statements that reset settings.
    pub(super) resetting: ResettingStatements,
    pub(super) moments: Moments,
    /// What its portals run, for the figures.
    pub(super) running: Running,
}

impl Bound {
    /// With a server of which nothing was asked yet.
    pub(super) fn new(lease: Lease) -> Self {
        Self {
            moments: Moments::at(lease.since()),
            running: Running::new(lease.waited()),
            lease,
            reading: None,
            held_read: None,
            sampled: None,
            advised: None,
            gate: None,
            is_used: false,
            has_served: false,
            settle_is_due: false,
            effects: Effects::empty(),
            acknowledged: Effects::empty(),
            has_failed: false,
            is_in_conflict: false,
            pin: None,
            lasting: Lasting::None,
            withheld: Vec::new(),
            reported_before: None,
            owes_ready: false,
            has_sent_fatal: false,
            is_cancelled: false,
            cancelled: None,
            cut_off: 0,
            has_checked_again: false,
            lent: Vec::new(),
            resetting: ResettingStatements::default(),
        }
    }

    #[inline]
    pub(super) fn server(&mut self) -> &mut Server {
        self.lease.server()
    }

    /// Other sessions may see the effect of what is being sent.
    #[inline]
    pub(super) fn set_lasting(&mut self) {
        self.lasting = Lasting::Open;
    }

    /// A message was sent that ends a batch, or is one.
    #[inline]
    pub(super) fn end_batch(&mut self) {
        if self.lasting == Lasting::Open {
            self.lasting = Lasting::Until(self.lease.server().replies.last_serial());
        }
    }

    /// Whether something is on its way that others may see once it is answered.
    pub(super) fn may_last(&mut self) -> bool {
        match self.lasting {
            Lasting::None | Lasting::Open => false,
            Lasting::Until(serial) => self.lease.server().replies.awaits(serial),
        }
    }

    /// Whether a question of ours is all that the server was ever asked for this client.
    pub(super) fn only_we_ask(&self) -> bool {
        let ours = matches!(self.gate, Some(Gate::Alive(_) | Gate::Align(_) | Gate::Begin(_)));
        ours && !self.owes_ready && !self.is_used
    }
}
