//! Which node takes what a client has sent: the part of it that knows the session.
//!
//! Owns what the session has done and seen ([`Floor`]) and the target of its next server. What a unit asks
//! for is decided by [`unit`](super::unit), what is fresh and who is chosen by [`cluster`](crate::cluster).
//! Without replicas all of this is one question whether there are several nodes.

use super::client::Client;
use super::decision::Decision;
use super::effects::Effects;
use super::route::{Mode, RouteNodes};
use super::target::{AwaitedRead, ReadTerms, Target};
use super::text_cache::Text;
use super::unbound::HOLD_MAX;
use super::unit::{Front, Judge, Plan, TransactionDefaults, front, plan};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::cluster::choice::{Candidate, Fallback, choose};
use crate::cluster::freshness::{Circumstances, Demand, Level};
use crate::cluster::shared::{RunningRead, View, now};
use crate::cluster::waiters::Wish;
use crate::cluster::waiting::{Lack, Resort};
use crate::cluster::{Moment, NodeId};
use crate::routing::{Reason, Verdict};
use crate::sql::{self, Readable};
use crate::wire;
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// Nodes that are looked at without an allocation.
const NODES_INLINE: usize = 8;

/// What is to be done with what is in front.
#[derive(Clone, Debug)]
pub(super) enum Chosen {
    /// Take a server of this.
    Target(Target),
    /// The rest of it is to come.
    Hold,
    /// There is no primary.
    AwaitPrimary,
    /// No replica is fresh enough yet.
    AwaitReplica(AwaitedRead, Wish, Arc<View>),
    /// No replica is, and nobody else may serve it.
    Refuse,
}

/// Whom a server suits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suits {
    /// This session, for its target.
    Yes,
    /// Others: it goes back.
    Others,
    /// Nobody: what its node is has changed since it was opened.
    Nobody,
}

/// A read for which no replica is fresh enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Later than this a replica's horizon has to be, if it is a moment that is missing.
    pub(super) beyond: Option<Moment>,
}

/// How transactions begin under these settings.
pub(super) fn transaction_defaults(settings: &Settings) -> TransactionDefaults {
    let is = |name: &str, words: &[&str]| {
        settings.value(name).is_some_and(|value| words.contains(&value))
    };
    TransactionDefaults {
        is_read_only: is("default_transaction_read_only", &["on"]),
        is_serializable: is("default_transaction_isolation", &["serializable"]),
    }
}

/// What the session knows of its texts and statements.
pub(super) struct ClientJudge<'a>(pub(super) &'a Client);

impl ClientJudge<'_> {
    fn of(&self, readable: &Readable<'_>) -> Rc<Verdict> {
        let client = self.0;
        let (database, catalog) = (&*client.route.database, Some(&*client.route.catalog));
        let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
        client.worker.texts.borrow_mut().judge(text, client.options.routing.policy)
    }
}

impl Judge for ClientJudge<'_> {
    fn text(&mut self, sql: &[u8]) -> Rc<Verdict> {
        match self.0.state.reading.read(sql) {
            Some(readable) => self.of(&readable),
            None => Rc::new(Verdict::Primary(Reason::Unreadable)),
        }
    }

    fn statement(&mut self, name: &[u8]) -> Rc<Verdict> {
        let unknown = || Rc::new(Verdict::Primary(Reason::UnknownPrepared));
        let Some((sql, rules)) = self.0.state.statements.text_and_rules_of(name) else {
            return unknown();
        };
        // Its bytes mean what they meant when it was prepared.
        match rules {
            Some(rules) => {
                let encoding = sql::Encoding::of(rules.encoding.as_bytes());
                let readable = sql::make_readable(sql, encoding, rules.rules.are_conforming());
                readable.map_or_else(unknown, |readable| self.of(&readable))
            }
            None => self.text(sql),
        }
    }
}

impl Client {
    /// Where what is in front of `data` goes; `None` with a single node.
    #[inline]
    pub(super) fn choose_target(&mut self, data: &[u8]) -> Option<Chosen> {
        self.route.nodes.as_ref()?;
        let awaited = self.awaited.take();
        self.route.nodes.as_ref().map(|nodes| self.choose_among(nodes, data, awaited))
    }

    /// `awaited`: it has waited for a replica.
    fn choose_among(
        &self,
        nodes: &RouteNodes,
        data: &[u8],
        awaited: Option<AwaitedRead>,
    ) -> Chosen {
        let view = nodes.cluster.view();
        let reads = self.options.routing.is_on && self.options.mode != Mode::Session;
        if reads && !self.is_dedicated() {
            let (decision, replica) = match self.plan_front(data) {
                None => return Chosen::Hold,
                Some(Plan::Primary(reason)) => (Decision::Primary(reason), None),
                Some(Plan::AnyNode) if self.is_refused => (Decision::Refused, None),
                Some(Plan::AnyNode) => {
                    let now = now();
                    let arrived = awaited.map_or(now, |awaited| awaited.arrived);
                    match self.choose_replica(nodes, &view, (arrived, now)) {
                        Ok(replica) => {
                            let until = awaited.map(|awaited| awaited.until);
                            (Decision::Replica, Some(replica.waiting_until(until)))
                        }
                        Err(missing) => match self.resort(data, &view, (arrived, now), awaited) {
                            Resort::Wait(until) => {
                                return Chosen::AwaitReplica(
                                    AwaitedRead { arrived, until },
                                    Wish { beyond: missing.beyond, until },
                                    view,
                                );
                            }
                            Resort::Primary => (Decision::NoReplica, None),
                            Resort::Refuse => return Chosen::Refuse,
                        },
                    }
                }
            };
            if let Some(replica) = replica {
                return Chosen::Target(replica);
            }
            self.count(decision);
        }
        self.primary_target().map_or(Chosen::AwaitPrimary, Chosen::Target)
    }

    /// One more unit went there.
    pub(super) fn count(&self, decision: Decision) {
        if let Some(nodes) = &self.route.nodes {
            nodes.decisions.count(usize::from(self.worker.id.0), decision.index());
        }
    }

    /// The primary's pool, if it is known who that is.
    pub(super) fn primary_target(&self) -> Option<Target> {
        let Some(nodes) = &self.route.nodes else {
            return Some(Target { pool: self.route.pool, node: None, read: None });
        };
        let node = nodes.cluster.view().primary?;
        let pool = nodes.pools.get(node.0 as usize)?.pool;
        Some(Target { pool, node: Some(node), read: None })
    }

    /// Whom a server suits that was taken for the target: whether it is in recovery shows in what it
    /// reports (PostgreSQL 14 and later), and whether a replica's shows enough, in its age.
    pub(super) fn suits(&self, server: &Server) -> Suits {
        let (Some(nodes), Some(node)) = (&self.route.nodes, self.target.node) else {
            return Suits::Yes;
        };
        let in_recovery = server.reported_parameter(b"in_hot_standby").map(|value| value == b"on");
        let is_read = self.target.read.is_some();
        if in_recovery.is_some_and(|in_recovery| in_recovery != is_read) {
            nodes.cluster.record_role_change(node);
            return if is_read { Suits::Others } else { Suits::Nobody };
        }
        match self.target.read {
            Some(terms) if !terms.are_met(node, Moment(server.opened)) => {
                // The next probe says it of this server too.
                nodes.cluster.request_probe();
                Suits::Others
            }
            Some(_) | None => Suits::Yes,
        }
    }

    /// The session waits for a server of the primary, or for a primary: it is woken when that is another.
    pub(super) fn watch_primary(&self, cx: &Context<'_>) {
        if let Some(nodes) = self.route.nodes.as_ref().filter(|_| self.target.read.is_none()) {
            nodes.cluster.wake_on_change_of_primary(cx.waker());
            if nodes.cluster.view().primary != self.target.node {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Whether the primary is another than the one that is waited for.
    pub(super) fn has_other_primary(&self, cx: &Context<'_>) -> bool {
        let Some(nodes) = self.route.nodes.as_ref().filter(|_| self.target.read.is_none()) else {
            return false;
        };
        let primary = nodes.cluster.view().primary;
        if primary.is_some() && primary != self.target.node {
            return true;
        }
        nodes.cluster.wake_on_change_of_primary(cx.waker());
        false
    }

    /// Whether a session that waits for a replica, and was woken, has to choose again: the view is another,
    /// or its time is over.
    pub(super) fn must_look_again(&self, read: &AwaitedRead, seen: &Arc<View>) -> bool {
        let nodes = self.route.nodes.as_ref();
        nodes.is_none_or(|nodes| !Arc::ptr_eq(&nodes.cluster.view(), seen)) || now() >= read.until
    }

    /// What the unit in front asks for; `None` while it is not whole.
    fn plan_front(&self, data: &[u8]) -> Option<Plan> {
        let unit = match front(data, HOLD_MAX) {
            Front::Whole(unit) => unit,
            Front::Open => return None,
            Front::Endless => return Some(Plan::Primary(Reason::Endless)),
        };
        Some(plan(unit, self.transaction_defaults(), &mut ClientJudge(self)))
    }

    /// How its transactions begin.
    pub(super) fn transaction_defaults(&self) -> TransactionDefaults {
        transaction_defaults(&self.state.settings)
    }

    /// A replica that is fresh enough now, for a read that came at `arrived`.
    pub(super) fn choose_replica(
        &self,
        nodes: &RouteNodes,
        view: &View,
        (arrived, now): (Moment, Moment),
    ) -> Result<Target, Missing> {
        let routing = &self.options.routing;
        let is_global = routing.consistency == Level::Global;
        // A write that was told later than the read came is not waited for: that might have no end.
        let others = is_global.then(|| self.route.writes.last()).flatten();
        let others = others.map(|others| others.min(arrived));
        let around = Circumstances { arrived, group: None, others };
        let demand = Demand::new(routing.consistency, &self.state.floor, &around, routing.max_lag);
        let mut candidates = SmallVec::<[Candidate; NODES_INLINE]>::new();
        for (node, one) in (0u32..).map(NodeId).zip(&view.nodes) {
            let sight = one.sight.unwrap_or_default();
            candidates.push(Candidate {
                node,
                is_eligible: one.serves_reads() && demand.is_fresh(node, &sight.horizon, now),
                is_suspect: one.is_suspect,
                is_near: one.is_near,
                weight: one.weight,
                share: one.share,
                outstanding: nodes.cluster.outstanding(node),
            });
        }
        let random = [self.worker.random(), self.worker.random()];
        let place = choose(&candidates, random).and_then(|node| {
            let at = node.0 as usize;
            Some((node, nodes.pools.get(at)?.pool, view.nodes.get(at)?.sight.unwrap_or_default()))
        });
        let Some((node, pool, sight)) = place else {
            if view.has_replica() {
                nodes.cluster.request_probe();
            }
            return Err(Missing { beyond: demand.moment() });
        };
        Ok(Target {
            pool,
            node: Some(node),
            read: Some(ReadTerms { demand, sight, arrived, until: None }),
        })
    }

    /// What a read does for which no replica is fresh enough.
    fn resort(
        &self,
        data: &[u8],
        view: &View,
        moments: (Moment, Moment),
        awaited: Option<AwaitedRead>,
    ) -> Resort {
        let routing = &self.options.routing;
        let lack = Lack {
            level: routing.consistency,
            fallback: routing.no_replica,
            replica_wait: routing.replica_wait,
            has_replica: view.has_replica(),
            catch_up: view.catch_up,
        };
        lack.resort(moments, awaited.map(|awaited| awaited.until), || self.usual_time(data))
    }

    /// The replica's server is not known to show enough: whether the read waits until one is, which the next
    /// probe will tell.
    pub(super) fn wait_for_server(&self) -> Option<(AwaitedRead, Wish, Arc<View>)> {
        let nodes = self.route.nodes.as_ref()?;
        let routing = &self.options.routing;
        let terms = self.target.read?;
        let now = now();
        let is_patient = routing.no_replica != Fallback::Primary;
        let limit = if is_patient { routing.replica_wait } else { Duration::ZERO };
        let arrived = terms.arrived;
        let until = terms.until.unwrap_or(arrived.after(limit));
        let view = nodes.cluster.view();
        let may_wait = now < until && view.has_replica();
        let wish = Wish { beyond: None, until };
        may_wait.then_some((AwaitedRead { arrived, until }, wish, view))
    }

    /// Counts a read on a replica, until its server is given back.
    pub(super) fn begin_read(&self) -> Option<RunningRead> {
        let node = self.target.node.filter(|_| self.target.read.is_some())?;
        self.count(Decision::Replica);
        Some(self.route.nodes.as_ref()?.cluster.begin_read(node))
    }

    /// The answers to everything that was sent have come, at the end of a transaction that has done this.
    pub(super) fn record_answer(&mut self, effects: Effects) {
        let Some(node) = self.target.node else { return };
        // Behind the read that brought the answer.
        let answered = now();
        if self.target.read.is_some() {
            self.state.floor.read(node, answered);
            return;
        }
        if effects.contains(Effects::WRITES) {
            self.state.floor.wrote(answered);
            if let Some(nodes) = &self.route.nodes {
                nodes.cluster.record_write(answered);
            }
        }
        self.state.floor.observed(answered);
    }

    /// Whether a parameter that the server reports says what its node is: the client is told what the
    /// primary says, wherever its reads go.
    pub(super) fn is_of_node(&self, body: &[u8]) -> bool {
        let (Some(nodes), Some(node)) = (&self.route.nodes, self.target.node) else { return false };
        let is_it = wire::server::read_parameter_status(body)
            .is_some_and(|(name, _)| name == b"in_hot_standby");
        if is_it {
            nodes.cluster.record_role_change(node);
        }
        is_it
    }
}
