//! The runs of `role_hook` that are to come.
//!
//! Owns their order and their bound. Never runs anything.

use std::cell::RefCell;
use std::collections::VecDeque;
use tokio::sync::{Notify, oneshot};

/// Calls that may wait. When more come, the oldest is dropped, and that is said.
pub(super) const CALLS_MAX: usize = 64;

/// Names and values.
pub(super) type Variables = Vec<(&'static str, String)>;

/// One run that is to come.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) event: &'static str,
    pub(super) variables: Variables,
    /// Who waits for its end.
    pub(super) done: Option<oneshot::Sender<Result<(), String>>>,
}

/// The runs of one cluster that are to come.
#[derive(Debug, Default)]
pub(in crate::app) struct Calls {
    queue: RefCell<VecDeque<Call>>,
    arrived: Notify,
}

impl Calls {
    /// Puts a call in line. Gives the event of one that had to go.
    pub(super) fn push(&self, call: Call) -> Option<&'static str> {
        let mut queue = self.queue.borrow_mut();
        let is_full = queue.len() >= CALLS_MAX;
        let dropped = if is_full { queue.pop_front().map(|call| call.event) } else { None };
        queue.push_back(call);
        drop(queue);
        self.arrived.notify_one();
        dropped
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&self) -> Call {
        loop {
            let first = self.queue.borrow_mut().pop_front();
            if let Some(call) = first {
                return call;
            }
            self.arrived.notified().await;
        }
    }
}
