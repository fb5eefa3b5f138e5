//! Which node takes what a client has sent: the part of it that knows the session.
//!
//! Owns what the session has done and seen ([`Floor`]) and the target of its next server. What a unit asks
//! for is decided by [`unit`](super::unit), what is fresh and who is chosen by [`cluster`](crate::cluster).
//! Without replicas all of this is one question whether there are several nodes.

use super::client::Client;
use super::decision::Decision;
use super::effects::Effects;
use super::own::{UnitTerms, Wish};
use super::read_transaction::Move;
use super::route::RouteNodes;
use super::run::Waiting;
use super::target::{AwaitedRead, ReadTerms, Target};
use super::text_cache::Text;
use super::unbound::HOLD_MAX;
use super::unit::{
    Front, Judge, Plan, TransactionDefaults, begun, front, parameters, plan, plan_and_follow,
    plan_inside,
};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::cluster::choice::{Candidate, choose};
use crate::cluster::freshness::{Circumstances, Demand, Level};
use crate::cluster::shared::{NodeView, RunningRead, View, now};
use crate::cluster::waiters;
use crate::cluster::{Moment, NodeId};
use crate::fault::Fault;
use crate::routing::{Reason, Verdict, hints};
use crate::sql::{self, ReadUnder, Readable};
use crate::wire::{self, client};
use smallvec::SmallVec;
use std::rc::Rc;
use std::sync::Arc;

/// Nodes that are looked at without an allocation.
const NODES_INLINE: usize = 8;

/// What is to be done with what is in front.
#[derive(Clone, Debug)]
pub(super) enum Chosen {
    /// Take a server of this.
    Target(Target),
    /// The same of the primary, for a read, which can be repeated.
    PrimaryRead(Target),
    /// The same of a replica, whose errors are the client's.
    Unrepeated(Target),
    /// It is refused.
    Refuse(Box<Fault>),
    /// The rest of it is to come.
    Hold,
    /// There is no primary.
    AwaitPrimary,
    /// No replica is fresh enough yet.
    AwaitReplica(AwaitedRead, waiters::Wish, Arc<View>),
}

/// What becomes of a read that would like to go to a replica.
#[derive(Clone, Debug)]
pub(super) enum Sought {
    /// It goes to this one.
    Found(Target),
    /// It goes to the primary.
    Primary,
    /// It waits, or is refused.
    Otherwise(Chosen),
}

/// A read for which no replica is fresh enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Later than this a replica's horizon has to be, if it is a moment that is missing.
    pub(super) beyond: Option<Moment>,
}

/// Whom a server suits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suits {
    /// This session, for its target.
    Yes,
    /// Others now, and this session once it is known what the server shows.
    NotYet,
    /// Others: it goes back.
    Others,
    /// Nobody: what its node is has changed since it was opened.
    Nobody,
}

/// How transactions begin under these settings.
pub(super) fn transaction_defaults(settings: &Settings) -> TransactionDefaults {
    let is = |name: &str, words: &[&str]| {
        settings.value(name).is_some_and(|value| words.contains(&value))
    };
    TransactionDefaults {
        is_read_only: is("default_transaction_read_only", &["on"]),
        is_serializable: is("default_transaction_isolation", &["serializable"]),
        is_repeatable: is("default_transaction_isolation", &["repeatable read"]),
    }
}

/// What the session knows of its texts and statements.
pub(super) struct ClientJudge<'a> {
    client: &'a Client,
    /// What comments in front of the texts say that it was asked about.
    pub(super) terms: UnitTerms,
}

impl<'a> ClientJudge<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, terms: UnitTerms::default() }
    }

    /// Whose texts they are.
    pub(super) fn client(&self) -> &'a Client {
        self.client
    }

    fn of(&mut self, readable: &Readable<'_>) -> Rc<Verdict> {
        let client = self.client;
        self.terms.add(&hints(&readable.text));
        let (database, catalog) = (&*client.route.database, Some(&*client.route.catalog));
        let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
        client.worker.texts.borrow_mut().judge(text, &client.options.routing.rules)
    }
}

impl ClientJudge<'_> {
    /// Of a text whose bytes mean what they meant when it was prepared.
    fn read_under(&mut self, sql: &[u8], rules: Option<ReadUnder>) -> Rc<Verdict> {
        let Some(rules) = rules else { return self.text(sql) };
        let encoding = sql::Encoding::of(rules.encoding.as_bytes());
        match sql::make_readable(sql, encoding, rules.rules.are_conforming()) {
            Some(readable) => self.of(&readable),
            None => Rc::new(Verdict::Primary(Reason::UnknownPrepared)),
        }
    }

    /// Of the statement that a PREPARE names.
    fn prepared(&mut self, prepare: &[u8], rules: Option<ReadUnder>) -> Rc<Verdict> {
        let unknown = Err(Reason::UnknownPrepared);
        let statement = match &*self.read_under(prepare, rules) {
            Verdict::Prepare { statement, .. } => *statement,
            Verdict::Primary(reason) => Err(*reason),
            Verdict::Read
            | Verdict::Begin(_)
            | Verdict::End(_)
            | Verdict::Savepoint
            | Verdict::SetTransaction(_)
            | Verdict::SetDefaults { .. }
            | Verdict::Setting
            | Verdict::Execute { .. }
            | Verdict::Deallocate
            | Verdict::Declare { .. }
            | Verdict::LockTable
            | Verdict::Cursor { .. } => unknown,
        };
        Rc::new(statement.map_or_else(Verdict::Primary, |()| Verdict::Read))
    }
}

impl Judge for ClientJudge<'_> {
    fn text(&mut self, sql: &[u8]) -> Rc<Verdict> {
        self.client.note_judged(sql);
        match self.client.state.reading.read(sql) {
            Some(readable) => self.of(&readable),
            None => Rc::new(Verdict::Primary(Reason::Unreadable)),
        }
    }

    fn parameter(&mut self, oid: u32) -> Result<(), Reason> {
        match self.client.route.catalog.snapshot() {
            Some(snapshot) if snapshot.type_needs_primary(oid) => Err(Reason::Type),
            Some(_) => Ok(()),
            None => Err(Reason::UnknownType),
        }
    }

    fn statement(&mut self, name: &[u8]) -> Rc<Verdict> {
        let unknown = || Rc::new(Verdict::Primary(Reason::UnknownPrepared));
        let client = self.client;
        let statements = &client.state.statements;
        let Some((sql, rules)) = statements.text_and_rules_of(name) else { return unknown() };
        client.note_judged(sql);
        let (types, sql_types) = statements.types_of(name);
        if let Err(reason) = parameters(types, &mut |oid| self.parameter(oid)) {
            return Rc::new(Verdict::Primary(reason));
        }
        if let Some(types) = sql_types {
            // What is executed with casts to these types.
            return self.prepared(&[b"PREPARE x ", types, b" AS ", sql].concat(), rules);
        }
        self.read_under(sql, rules)
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
        if let Some(moving) = &self.moving {
            self.count(Decision::Primary(moving.reason));
            return self.primary_target().map_or(Chosen::AwaitPrimary, Chosen::Target);
        }
        let mut is_read = false;
        self.routed.set(None);
        let view = nodes.cluster.view();
        let wish = self.wish();
        if wish != Wish::Auto {
            let chosen = self.choose_as_wished(wish, nodes, &view, (data, awaited));
            if let Chosen::Target(target) = &chosen
                && target.read.is_none()
            {
                self.count(self.wished_decision(target));
            }
            return chosen;
        }
        if self.options.routing.is_on() && !self.keeps_server() {
            let (mut decision, replica) = match self.plan_front(data) {
                None => return Chosen::Hold,
                Some((Plan::Primary(reason), _)) => (Decision::Primary(reason), None),
                Some((Plan::AnyNode, _)) if self.is_refused => (Decision::Refused, None),
                Some((Plan::AnyNode, _)) if self.is_redirected() => (Decision::Redirected, None),
                Some((Plan::AnyNode, _)) if awaited.is_none() && self.is_withheld() => {
                    (Decision::Withheld, None)
                }
                Some((Plan::AnyNode, terms)) => {
                    let fallback = self.options.routing.no_replica;
                    match self.seek_replica(nodes, &view, (data, awaited), (&terms, fallback)) {
                        Sought::Found(replica) => (Decision::Replica, Some(replica)),
                        Sought::Primary => (Decision::NoReplica, None),
                        Sought::Otherwise(chosen) => return chosen,
                    }
                }
            };
            match replica {
                Some(_) if self.is_advising() => decision = Decision::Advised,
                Some(replica) => return Chosen::Target(replica),
                None => {}
            }
            self.advise(nodes, decision);
            self.count(decision);
            is_read = matches!(decision, Decision::NoReplica | Decision::Refused);
        }
        let target = self.primary_target();
        let chosen = if is_read { Chosen::PrimaryRead } else { Chosen::Target };
        target.map_or(Chosen::AwaitPrimary, chosen)
    }

    /// One more unit went there.
    pub(super) fn count(&self, decision: Decision) {
        self.routed.set(Some(decision));
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
        let extras = self.extras.as_deref().map_or(&[][..], Vec::as_slice);
        // A walsender is asked nothing, and writes nothing.
        let is_walsender = extras.iter().any(|(name, _)| **name == *"replication");
        if !is_read && server.timeline < nodes.cluster.timeline() && !is_walsender {
            // It was opened before its node was promoted, or when nobody knew that it was.
            return Suits::Nobody;
        }
        match self.target.read {
            Some(terms) if !terms.are_met(node, Moment(server.opened)) => {
                // The next probe says it of this server too.
                nodes.cluster.request_probe();
                Suits::NotYet
            }
            Some(_) | None => Suits::Yes,
        }
    }

    /// Whether nothing is going to come of what the session waits for, or something better is there.
    pub(super) fn waits_in_vain(&self, waiting: &Waiting) -> bool {
        if self.route.is_over() {
            return true;
        }
        let Some(nodes) = &self.route.nodes else { return false };
        let view = nodes.cluster.view();
        match (waiting, self.target.node) {
            (Waiting::Primary(_), _) => view.primary.is_some(),
            (Waiting::Server(..), Some(node)) if self.target.read.is_some() => {
                !view.nodes.get(node.0 as usize).is_some_and(|node| node.may_read)
            }
            (Waiting::Server(..), Some(node)) => view.primary != Some(node),
            (Waiting::Server(..), None) | (Waiting::Replica { .. }, _) => false,
        }
    }

    /// Whether the node of the session's server was given up, or is not the primary any more that it was
    /// taken for.
    pub(super) fn is_node_given_up(&self) -> bool {
        let (Some(nodes), Some(node)) = (&self.route.nodes, self.target.node) else { return false };
        let view = nodes.cluster.view();
        let is_down = view.nodes.get(node.0 as usize).is_some_and(|node| node.is_down);
        let is_replaced = view.primary.is_some_and(|primary| primary != node);
        is_down || is_replaced && self.target.read.is_none()
    }

    /// What the unit in front asks for, and what it says for itself; `None` while that depends on what is
    /// still to come. What the primary has to be told goes there at once: its client may wait for the error.
    pub(super) fn plan_front(&self, data: &[u8]) -> Option<(Plan, UnitTerms)> {
        let defaults = self.transaction_defaults();
        let mut judge = ClientJudge::new(self);
        let plan = match front(data, HOLD_MAX) {
            Front::Whole(unit) => {
                let (plan, transaction) = plan_and_follow(unit, defaults, &mut judge);
                self.read_transaction.set(transaction);
                plan
            }
            Front::Open(part) => Some(plan(part, defaults, &mut judge))
                .filter(|plan| !part.is_empty() && *plan != Plan::AnyNode)?,
            Front::Endless => Plan::Primary(Reason::Endless),
        };
        Some((plan, judge.terms))
    }

    /// What is in front, inside of a transaction on a replica: the move to the primary that it needs, if that can
    /// be; `None` while that depends on what is still to come.
    pub(super) fn plan_inside(&self, data: &[u8]) -> Option<Option<Move>> {
        let Some(transaction) = self.read_transaction.get() else { return Some(None) };
        let (unit, is_open) = match front(data, HOLD_MAX) {
            Front::Whole(unit) => (unit, false),
            Front::Open(part) => (part, true),
            Front::Endless => (begun(data), false),
        };
        let (defaults, judge) = (self.transaction_defaults(), &mut ClientJudge::new(self));
        let (plan, after) = match data.first() {
            // Nothing of it says what it does.
            Some(&client::FUNCTION_CALL) => (Plan::Primary(Reason::Function), Some(transaction)),
            _ => plan_inside(unit, transaction, defaults, judge),
        };
        Some(match plan {
            Plan::AnyNode if is_open => return None,
            Plan::Primary(reason) if transaction.may_move() => {
                Some(Move { begin: transaction.statement(), reason })
            }
            Plan::Primary(_) | Plan::AnyNode => {
                self.read_transaction.set(after);
                None
            }
        })
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
        terms: &UnitTerms,
    ) -> Result<Target, Missing> {
        let routing = &self.options.routing;
        let level = self.level(terms);
        // A write that was told later than the read came is not waited for: that might have no end.
        let others = (level == Level::Global).then(|| self.route.writes.last()).flatten();
        let others = others.map(|others| others.min(arrived));
        let group = self.group_floor(nodes, terms);
        let around = Circumstances { arrived, group, others };
        let demand = Demand::new(level, &self.state.floor, &around, routing.max_lag);
        let is_fresh = |node: NodeId, one: &NodeView| {
            demand.is_fresh(node, &one.sight.unwrap_or_default().horizon, now)
        };
        let allowed = self.allowed(view, is_fresh);
        let may_serve = |node: &NodeId| {
            view.nodes.get(node.0 as usize).is_some_and(|one| allowed.weight(*node, one) > 0)
        };
        let only = self.keeping.only_replica(view).filter(may_serve);
        let mut candidates = SmallVec::<[Candidate; NODES_INLINE]>::new();
        for (node, one) in (0u32..).map(NodeId).zip(&view.nodes) {
            let weight = allowed.weight(node, one);
            let is_eligible = one.is_replica
                && one.may_read
                && weight > 0
                && only.is_none_or(|only| only == node)
                && is_fresh(node, one);
            candidates.push(Candidate {
                node,
                is_eligible,
                is_suspect: one.is_suspect,
                is_near: one.is_near,
                weight,
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

    /// Counts a read on a replica, until its server is given back.
    pub(super) fn begin_read(&self) -> Option<RunningRead> {
        let node = self.target.node.filter(|_| self.target.read.is_some())?;
        let is_wished = self.wish().is_for_replicas();
        self.count(if is_wished { Decision::WishedReplica } else { Decision::Replica });
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
