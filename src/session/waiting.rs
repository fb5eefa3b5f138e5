//! How a session waits: in line for a server, for a primary, or for a replica.
//!
//! Owns the limits of a wait, and how it ends when nothing is going to come of it: the session keeps its
//! place among all who wait, and chooses again. Never takes a server.

use super::client::Client;
use super::clock::Clock;
use super::flow::{Flow, Leave, Stop};
use super::run::{Phase, Session, Waiting};
use super::target::AwaitedRead;
use crate::cluster::shared::{View, Watch, now};
use crate::cluster::waiters::Wish;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

impl Session {
    /// Waits for a primary, with the place in line that it has or takes now.
    pub(super) fn await_primary(&mut self, cx: &Context<'_>) {
        let client = &mut self.client;
        client.awaits_primary = true;
        // What it has read before is over.
        (client.target.node, client.target.read) = (None, None);
        let pools = &client.worker.common.pools;
        let place = *client.place.get_or_insert_with(|| pools.new_place());
        let waited = Duration::from_micros(pools.now().since(place.since()));
        client.handle.set_requested(place.since());
        client.handle.set_waiting();
        let limit = client.options.routing.primary_wait;
        client.set_clock(Clock::Wait, limit.map(|limit| limit.saturating_sub(waited)));
        self.wait(cx, Waiting::Primary);
    }

    /// Waits until a replica may be fresh enough. What is in front stays there, and is chosen for again.
    pub(super) fn await_replica(
        &mut self,
        cx: &Context<'_>,
        (read, wish): (AwaitedRead, Wish),
        seen: Arc<View>,
    ) {
        let client = &mut self.client;
        let Some(nodes) = &client.route.nodes else { return };
        let place = nodes.cluster.wake_for(wish, cx.waker());
        client.handle.set_waiting();
        if client.must_look_again(&read, &seen) {
            cx.waker().wake_by_ref();
        }
        client.set_clock(Clock::Wait, Some(wish.until.since(now())));
        self.phase = Phase::Waiting(Waiting::Replica { read, seen, _place: place });
    }

    /// The server of a replica is of no use: the read waits for another, or goes to the primary. Who insists on
    /// a replica and cannot wait is refused.
    pub(super) fn acquire_instead(&mut self, cx: &mut Context<'_>) -> Flow {
        let insists = self.client.wish().insists();
        if self.client.is_logging_in && insists {
            self.client.choose_again();
            cx.waker().wake_by_ref();
            return Ok(());
        }
        // Who has a server of the primary waits for none of a full pool.
        let waits =
            if self.kept.is_none() || insists { self.client.wait_for_server() } else { None };
        match waits {
            None if insists => {
                self.client.is_unserved = true;
                cx.waker().wake_by_ref();
                Ok(())
            }
            Some((read, wish, seen)) => {
                self.client.unit = None;
                self.client.sampled = None;
                self.await_replica(cx, (read, wish), seen);
                Ok(())
            }
            None => self.acquire_of_primary(cx),
        }
    }

    /// Waits, and is woken when that is in vain.
    pub(super) fn wait(&mut self, cx: &Context<'_>, of: impl FnOnce(Option<Watch>) -> Waiting) {
        let client = &self.client;
        let nodes = client.route.nodes.as_ref();
        let watch = nodes.map(|nodes| nodes.cluster.watch(client.handle.id, cx.waker()));
        let waiting = of(watch);
        // What has changed before it was watched wakes nobody.
        if client.waits_in_vain(&waiting) {
            cx.waker().wake_by_ref();
        }
        self.phase = Phase::Waiting(waiting);
    }

    /// It leaves its line and chooses again, with the place that it has; what it has waited for is still in
    /// front.
    pub(super) fn leave_line(&mut self) {
        let client = &mut self.client;
        if let Phase::Waiting(Waiting::Server(waiter, _)) = &self.phase {
            client.place = waiter.place();
            client.awaits_primary |= client.target.read.is_none();
        }
        self.phase = Phase::Idle;
        client.set_clock(Clock::Off, None);
    }

    /// A node was given up: a session that has a server of it leaves that.
    pub(super) fn leave_lost_node(&mut self) -> Flow {
        let is_bound = matches!(self.phase, Phase::Bound(_));
        if is_bound && self.client.is_node_given_up() {
            return Err(Stop::Leave(Leave::Lost));
        }
        Ok(())
    }
}

impl Client {
    /// Longest wait in line. Who waits for a primary does so for `primary_wait` before.
    pub(super) fn line_limit(&self) -> Option<Duration> {
        let limit = self.options.query_wait_timeout?;
        match (&self.route.nodes, self.options.routing.primary_wait) {
            (None, _) => Some(limit),
            (Some(_), primary) => Some(limit.max(primary?)),
        }
    }
}
