//! Servers that end while a session has them.
//!
//! Decides whether the client loses anything by it. If nothing of the client's has reached the
//! server since its last transaction, and the session is as it was, another server does as well and
//! the client never knows; otherwise it is told, once. Never opens a server.

use super::gate::Gate;
use super::run::{Clock, End, Phase, Session};
use super::settings::NO_STATE;
use crate::backend::state::Rest;
use crate::fault::{Fault, Side};
use crate::wire;
use std::ops::ControlFlow;
use std::task::Context;

/// Servers that may fail their test one after the other before the client is told.
const LOST_MAX: u32 = 3;

fn lost() -> Fault {
    Fault::session(Side::Server, "08006", "server closed the connection unexpectedly")
        .pgbouncer("server conn crashed?")
}

impl Session {
    /// The connection to the server ended while it was leased, or is said to.
    pub(super) fn server_lost(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        let (is_ours, over) = (self.only_we_ask(), self.has_nothing_there());
        let place = self.lease.take().map(|lease| lease.place());
        self.card.unlinks();
        if self.server_said {
            return ControlFlow::Break(End::ServerSaid);
        }
        if is_ours {
            self.place = place;
            return self.try_another(cx);
        }
        if over {
            self.gate = None;
            self.transaction_since = None;
            self.set_clock(Clock::Idle, self.options.client_idle_timeout);
            return self.unbind(cx);
        }
        ControlFlow::Break(End::Fault(lost()))
    }

    /// Whether a question of ours is all that the server was ever asked for this client.
    pub(super) fn only_we_ask(&self) -> bool {
        let ours = matches!(self.gate, Some(Gate::Check(_) | Gate::Align(_)));
        ours && !self.owes_ready && !self.touched
    }

    /// Whether the client loses nothing with its server: it was sent nothing of the client's, or it
    /// is outside a transaction and may go to anybody else.
    pub(super) fn has_nothing_there(&mut self) -> bool {
        if self.owes_ready || self.mid_frame {
            return false;
        }
        let (touched, free) = (self.touched, self.is_free());
        match &self.gate {
            // It is asked whether it owes anything, and not what the client has there.
            Some(Gate::Probe(_)) if free => true,
            Some(gate) if gate.is_ours() => false,
            Some(_) | None => self.lease.as_mut().is_some_and(|lease| {
                !touched || free && lease.server().replies.rest() == Rest::AtRest
            }),
        }
    }

    /// Whether nothing but a transaction ties the client to its server.
    pub(super) fn is_free(&self) -> bool {
        !self.keeps_server() && !self.pinned && self.passing == 0 && self.effects & !NO_STATE == 0
    }

    /// Nothing of the client's has been sent to the server that is gone: another one does as well.
    pub(super) fn try_another(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        self.gate = None;
        self.server_said = false;
        self.phase = Phase::Idle;
        self.acquire(cx)?;
        self.process_held(cx)
    }

    /// The server has failed its test. A test that fails on every server says nothing about them.
    pub(super) fn test_failed(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        self.closes_server("test query failed");
        self.lost_in_a_row += 1;
        if self.lost_in_a_row > LOST_MAX {
            return ControlFlow::Break(End::Fault(lost()));
        }
        self.try_another(cx)
    }

    /// A transaction is over. What the client has sent since then may have gone no further: until
    /// it does, the server can be replaced again.
    pub(super) fn begins_anew(&mut self, status: u8) {
        if status == wire::IDLE
            && self.is_free()
            && let Some(lease) = &mut self.lease
            && lease.server().replies.are_made_up()
        {
            self.touched = false;
        }
    }
}
