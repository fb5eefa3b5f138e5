//! How a session goes from one of its two servers to the other.
//!
//! In session mode, where reads go to replicas, a server that is at rest is not given back: it is put aside,
//! and taken again when the next statement needs that one. What the session has made elsewhere meanwhile it
//! gets then, as any server gets it from whoever takes it out of a pool. What ties a session to its server
//! keeps it there for as long as it lasts, reads included.

use super::client::Client;
use super::flow::Flow;
use super::kept::{Aside, Keeping, OPENING_MAX};
use super::node_choice::Suits;
use super::run::Session;
use super::target::Purpose;
use crate::backend::state::Rest;
use crate::cluster::NodeId;
use crate::pool::core::Tick;
use crate::pool::{Lease, Waiter};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// What came of the server that a session has aside for its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resumed {
    /// The session has it again.
    Yes,
    /// There is none, or none any more.
    None,
    /// It is there and does not serve this.
    NotThis,
}

impl Session {
    /// Takes the server again that the session has aside for its target.
    #[inline]
    pub(super) fn resume(&mut self, cx: &mut Context<'_>) -> Flow<Resumed> {
        if self.kept.is_none() { Ok(Resumed::None) } else { self.resume_kept(cx) }
    }

    fn resume_kept(&mut self, cx: &mut Context<'_>) -> Flow<Resumed> {
        let (purpose, target_node) = (self.client.target.purpose(), self.client.target.node);
        let Some(kept) = &mut self.kept else { return Ok(Resumed::None) };
        let Some(aside) = kept.take(purpose) else { return Ok(Resumed::None) };
        self.client.forget_aside(purpose);
        if aside.node != target_node {
            // A replica's server may be of use to others.
            let close = (purpose == Purpose::Writes).then_some("its node is not the primary");
            self.client.let_go(aside, close);
            return Ok(Resumed::None);
        }
        let Aside { mut lease, node, since } = aside;
        lease.go_on(since);
        if !lease.is_alive(cx) {
            return Ok(Resumed::None);
        }
        match self.client.suits(lease.server()) {
            Suits::Yes => {
                self.bind(cx, lease)?;
                Ok(Resumed::Yes)
            }
            Suits::NotYet => {
                self.put_aside(purpose, Aside { lease, node, since });
                Ok(Resumed::NotThis)
            }
            Suits::Others | Suits::Nobody => {
                lease.server().set_close_reason(
                    "its node was the primary and is a standby, or the other way round",
                );
                match purpose {
                    Purpose::Writes => {
                        self.client.failed_tests += 1;
                        Ok(Resumed::None)
                    }
                    Purpose::Reads => Ok(Resumed::NotThis),
                }
            }
        }
    }

    /// Gives the server back, or puts it aside if the session keeps it.
    ///
    /// # Errors
    /// Gives the lease back when the server is not at rest.
    #[inline]
    pub(super) fn part_with(&mut self, lease: Lease, now: Tick) -> Result<(), Lease> {
        if self.kept.is_none() { lease.try_return_at(now) } else { self.keep(lease, now) }
    }

    fn keep(&mut self, mut lease: Lease, now: Tick) -> Result<(), Lease> {
        if lease.server().rest() != Rest::AtRest {
            return Err(lease);
        }
        lease.set_pinned(None);
        let (purpose, node) = (self.client.target.purpose(), self.client.target.node);
        self.put_aside(purpose, Aside { lease, node, since: now });
        Ok(())
    }

    fn put_aside(&mut self, purpose: Purpose, mut aside: Aside) {
        let Some(kept) = &mut self.kept else { return };
        self.client.remember_aside(purpose, aside.node);
        let target = Arc::clone(&aside.lease.server().cancel);
        self.client.handle.set_aside(purpose, Some(target));
        kept.put(purpose, aside);
    }

    /// How long the session waits in a line: for a replica's server, if it keeps one of each, only as long as
    /// that is being opened. `None`: not at all.
    pub(super) fn patience(&self, waiter: &Waiter) -> Option<Option<Duration>> {
        let limit = self.client.line_limit();
        let has_choice =
            self.client.target.read.is_some() && self.client.primary_target().is_some();
        let Some(kept) = self.kept.as_ref().filter(|_| has_choice) else { return Some(limit) };
        let now = self.client.worker.common.pools.now();
        let limit = limit.map_or(OPENING_MAX, |limit| limit.min(OPENING_MAX));
        kept.waits(now, waiter.is_served_by_openings()).then_some(Some(limit))
    }

    /// The session has waited in vain for a replica's server, if it was for that.
    pub(super) fn missed_replica(&mut self) -> bool {
        let now = self.client.worker.common.pools.now();
        let reads = self.client.target.read.is_some();
        let Some(kept) = self.kept.as_mut().filter(|_| reads) else { return false };
        kept.record_miss(now);
        true
    }
}

impl Client {
    fn remember_aside(&mut self, purpose: Purpose, node: Option<NodeId>) {
        if let (Keeping::Each { replica }, Purpose::Reads) = (&mut self.keeping, purpose) {
            *replica = node;
        }
    }

    fn forget_aside(&mut self, purpose: Purpose) {
        self.remember_aside(purpose, None);
        self.handle.set_aside(purpose, None);
    }
}
