//! Cancel requests for this client: the session decides what becomes of them.
//!
//! A request is for what the client had sent before it, so that is read first. It must not reach a
//! question of ours, nor a statement that is sent later.

use super::client::Client;
use super::client_handle::Order;
use super::flow::Flow;
use super::gate::Gate;
use super::run::{Phase, Session};
use super::timing::cancelled;
use crate::metrics::counted::{self, CancelOutcome};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// PostgreSQL ignores a cancel request that comes before it has begun with the statement. One that was
/// sent longer ago than this has been begun with.
const BEGUN_AFTER: Duration = Duration::from_secs(1);
/// When a cancel request is sent again to a statement that may not have heard of it.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How often.
const AGAIN_MAX: u8 = 5;
/// Reads before a decision.
const READS_MAX: usize = 8;

/// What becomes of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It comes too late, or too early.
    Nothing,
    /// The statement that waits for a server fails.
    Refuse,
    /// The statement that waits behind a question of ours fails when that is answered.
    RefuseLater,
    /// The server is told.
    Deliver,
}

impl Decision {
    /// What is counted.
    fn outcome(self) -> CancelOutcome {
        match self {
            Self::Nothing => CancelOutcome::Late,
            Self::Refuse | Self::RefuseLater => CancelOutcome::Refused,
            Self::Deliver => CancelOutcome::Delivered,
        }
    }
}

/// Where the client's statement stands.
#[derive(Clone, Copy, Debug)]
enum Standing {
    Idle,
    InLine,
    /// Behind a question of ours; the server has something of the client's or not.
    BehindQuestion {
        is_used: bool,
    },
    /// On the server, which owes answers or not.
    OnServer {
        is_answering: bool,
    },
}

fn decide(standing: Standing) -> Decision {
    match standing {
        Standing::InLine => Decision::Refuse,
        Standing::BehindQuestion { is_used: false } => Decision::RefuseLater,
        Standing::OnServer { is_answering: true } => Decision::Deliver,
        Standing::Idle
        | Standing::BehindQuestion { is_used: true }
        | Standing::OnServer { is_answering: false } => Decision::Nothing,
    }
}

impl Session {
    /// Decides on the cancel requests that have come.
    pub(super) fn decide_cancels(&mut self, cx: &mut Context<'_>) -> Flow {
        self.process_held(cx)?;
        // The event loop may not have heard yet of what was sent before the request.
        for _ in 0..READS_MAX {
            let pipe = &mut self.client.pipe;
            if pipe.is_blocked() || !pipe.stream.kernel_has_input() || !self.reads_client(cx) {
                break;
            }
            if self.read_client_once(cx)?.is_none() {
                break;
            }
        }
        if self.waits_for_earlier_cancel(cx) {
            // What this request is for may come then.
            self.client.handle.postpone(Order::Cancel);
            return Ok(());
        }
        let requests = self.client.handle.take_cancels();
        let decision = decide(self.standing());
        requests.iter().for_each(|_| counted::cancel_request(decision.outcome()));
        match decision {
            Decision::Nothing => {}
            Decision::Refuse => self.refuse_batch(cx, &cancelled())?,
            Decision::RefuseLater => {
                if let Phase::Bound(bound) = &mut self.phase {
                    bound.is_cancelled = true;
                }
            }
            Decision::Deliver => {
                if let Phase::Bound(bound) = &mut self.phase {
                    for request in requests {
                        // The task that asked may have given up. Then the request is dropped and
                        // counts as finished.
                        drop(request.send(Some(bound.server().cancel.begin())));
                    }
                    let now = self.client.worker.common.pools.now();
                    let runs_for = Duration::from_micros(now.since(bound.moments.query));
                    if runs_for < BEGUN_AFTER {
                        let serial = bound.server().replies.serial_of_ready();
                        bound.cancelled = serial.map(|serial| (serial, 0));
                        self.client.order_cancel_again();
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the client is not read until an earlier cancel request is through.
    fn waits_for_earlier_cancel(&mut self, cx: &Context<'_>) -> bool {
        match &mut self.phase {
            Phase::Bound(bound) if bound.gate.is_none() => Client::awaits_cancel(bound, cx),
            Phase::Bound(_) | Phase::Idle | Phase::Waiting(_) => false,
        }
    }

    /// What was to be cancelled may not have begun when the signal came: then it gets another one, a
    /// few times.
    pub(super) fn cancel_again(&mut self) {
        let Phase::Bound(bound) = &mut self.phase else { return };
        let Some((serial, times)) = bound.cancelled.take() else { return };
        let server = bound.server();
        let runs = server.replies.serial_of_ready() == Some(serial);
        if !runs || server.replies.is_skipping() || times >= AGAIN_MAX {
            return;
        }
        let is_in_flight = server.cancel.is_in_flight();
        bound.cancelled = Some((serial, times + u8::from(!is_in_flight)));
        if !is_in_flight {
            self.client.deliver_cancel(bound);
        }
        self.client.order_cancel_again();
    }

    fn standing(&mut self) -> Standing {
        match &mut self.phase {
            Phase::Idle => Standing::Idle,
            Phase::Waiting(_) => Standing::InLine,
            Phase::Bound(bound) => {
                if bound.gate.as_ref().is_some_and(Gate::is_ours) {
                    return Standing::BehindQuestion { is_used: bound.has_served };
                }
                let is_answering = bound.server().replies.outstanding() > 0;
                Standing::OnServer { is_answering }
            }
        }
    }
}

impl Client {
    fn order_cancel_again(&self) {
        let handle = Arc::clone(&self.handle);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(AGAIN_AFTER).await;
            handle.order(Order::CancelAgain);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decision() {
        for (standing, expected) in [
            (Standing::Idle, Decision::Nothing),
            (Standing::InLine, Decision::Refuse),
            (Standing::BehindQuestion { is_used: false }, Decision::RefuseLater),
            (Standing::BehindQuestion { is_used: true }, Decision::Nothing),
            (Standing::OnServer { is_answering: true }, Decision::Deliver),
            (Standing::OnServer { is_answering: false }, Decision::Nothing),
        ] {
            assert_eq!(decide(standing), expected, "{standing:?}");
        }
    }
}
