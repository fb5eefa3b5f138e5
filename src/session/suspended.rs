//! A session that reads nothing, because all are suspended, and how it goes on.

use super::card::Order;
use super::run::{Clock, End, Session};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::task::Context;

impl Session {
    /// All sessions were suspended, or may go on.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        let was = std::mem::replace(
            &mut self.suspended,
            self.worker.common.suspended.load(Ordering::Acquire),
        );
        if !was || self.suspended {
            return ControlFlow::Continue(());
        }
        self.card.rests(false);
        if !self.card.take(Order::Alarm) {
            return ControlFlow::Continue(());
        }
        match self.clock {
            // Nobody has listened: the silence begins anew.
            Clock::Idle => {
                self.set_clock(Clock::Idle, self.options.client_idle_timeout);
                ControlFlow::Continue(())
            }
            Clock::IdleTransaction => {
                self.set_transaction_clock();
                ControlFlow::Continue(())
            }
            Clock::Off
            | Clock::Wait
            | Clock::Query
            | Clock::Cancelled
            | Clock::Parting
            | Clock::Gate => self.alarm(cx),
        }
    }

    /// Writes what is to be written, and nothing else.
    pub(super) fn hold_still(&mut self, cx: &mut Context<'_>) -> ControlFlow<End, bool> {
        self.flush(cx)?;
        let server = self.lease.as_mut().is_some_and(|lease| lease.server().stream.is_blocked());
        self.card.rests(!server && !self.client.is_blocked());
        ControlFlow::Continue(false)
    }
}
