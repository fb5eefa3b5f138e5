//! Where a statement would go that no session has sent: for the console.
//!
//! Owns the question. As of a session that has just logged in, has set nothing, and has written and seen
//! nothing. Takes no server and changes no count.

use super::decision::Decision;
use super::read_rules::Redirected;
use super::route::{Mode, Options};
use super::unit::{Judge, Plan, TransactionDefaults, plan};
use crate::backend::settings::Settings;
use crate::catalog::Snapshot;
use crate::cluster::choice::{Candidate, choose};
use crate::cluster::freshness::{Circumstances, Demand, Floor};
use crate::cluster::policy::RouteReads;
use crate::cluster::shared::{Cluster, NodeView, View, now};
use crate::cluster::{Moment, NodeId};
use crate::metrics::fingerprint;
use crate::routing::{Reason, Unread, Verdict, read_text};
use crate::sql::{self, Rules};
use crate::wire::client;
use std::rc::Rc;
use std::sync::Arc;

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The statement.
    pub statement: &'a [u8],
    /// The database and the user of the session that would send it.
    pub names: (&'a str, &'a str),
    /// How it would behave.
    pub options: &'a Options,
    /// What the database's names mean, if that is known.
    pub snapshot: Option<&'a Snapshot>,
    /// The nodes, if there are several.
    pub cluster: Option<&'a Cluster>,
    /// A number at random.
    pub random: u64,
}

/// Where it would go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// `primary`, `replica`, or `any` where `route_percent` decides.
    pub target: &'static str,
    /// Why, in a word.
    pub reason: &'static str,
    /// To which of several nodes, if that is known.
    pub node: Option<NodeId>,
    /// The number of its normal form.
    pub fingerprint: u64,
}

struct AloneJudge<'a>(Question<'a>);

impl Judge for AloneJudge<'_> {
    fn text(&mut self, sql: &[u8]) -> Rc<Verdict> {
        let policy = self.0.options.routing.rules.policy();
        Rc::new(match self.0.snapshot {
            Some(snapshot) => read_text(sql, Rules::STANDARD, policy, snapshot),
            None => read_text(sql, Rules::STANDARD, policy, &Unread),
        })
    }

    fn parameter(&mut self, oid: u32) -> Result<(), Reason> {
        match self.0.snapshot {
            Some(snapshot) if snapshot.type_needs_primary(oid) => Err(Reason::Type),
            Some(_) => Ok(()),
            None => Err(Reason::UnknownType),
        }
    }

    fn statement(&mut self, _: &[u8]) -> Rc<Verdict> {
        Rc::new(Verdict::Primary(Reason::UnknownPrepared))
    }
}

impl Question<'_> {
    /// Where it would go now.
    pub fn destination(self) -> Destination {
        let mut normal = Vec::new();
        sql::normalise(self.statement, true, &mut normal);
        let primary = self.cluster.and_then(|cluster| cluster.view().primary);
        let (target, reason, node) = self.place(primary);
        Destination { target, reason, node, fingerprint: fingerprint(&normal) }
    }

    fn place(self, primary: Option<NodeId>) -> (&'static str, &'static str, Option<NodeId>) {
        let Some(cluster) = self.cluster else { return ("primary", "one_node", None) };
        let routing = &self.options.routing;
        if routing.route == RouteReads::Off {
            return ("primary", "route_off", primary);
        }
        if self.options.mode == Mode::Session {
            return ("primary", "keeps_server", primary);
        }
        let mut unit = Vec::new();
        client::query(&mut unit, self.statement);
        let of_primary = |decision: Decision| ("primary", decision.word(), primary);
        match plan(&unit, TransactionDefaults::default(), &mut AloneJudge(self)) {
            Plan::Primary(reason) => return of_primary(Decision::Primary(reason)),
            Plan::AnyNode => {}
        }
        let settings = Arc::new(Settings::of([]));
        let redirected = Redirected::new(&routing.rules, &settings, self.names, self.random);
        if redirected.is_to_primary() {
            return of_primary(Decision::Redirected);
        }
        match (self.replica(cluster, &redirected), routing.route, routing.percent) {
            (None, ..) => of_primary(Decision::NoReplica),
            (Some(_), RouteReads::Advise, _) => of_primary(Decision::Advised),
            (Some(_), _, 0) => of_primary(Decision::Withheld),
            (node, _, 1..100) => ("any", Decision::Replica.word(), node),
            (node, ..) => ("replica", Decision::Replica.word(), node),
        }
    }

    fn replica(self, cluster: &Cluster, redirected: &Redirected) -> Option<NodeId> {
        let (routing, view, now) = (&self.options.routing, cluster.view(), now());
        // As of a read that has waited long enough for a strict one.
        let around = Circumstances { arrived: Moment::default(), group: None, others: None };
        let demand = Demand::new(routing.consistency, &Floor::default(), &around, routing.max_lag);
        let is_fresh = |node: NodeId, one: &NodeView| {
            demand.is_fresh(node, &one.sight.unwrap_or_default().horizon, now)
        };
        let allowed = redirected.allowed(&view, is_fresh);
        let candidate = |(node, one): (NodeId, &NodeView)| {
            let weight = allowed.weight(node, one);
            Candidate {
                node,
                is_eligible: one.is_replica && one.may_read && weight > 0 && is_fresh(node, one),
                is_suspect: one.is_suspect,
                is_near: one.is_near,
                weight,
                share: one.share,
                outstanding: cluster.outstanding(node),
            }
        };
        let nodes = |view: &View| -> Vec<Candidate> {
            (0u32..).map(NodeId).zip(&view.nodes).map(candidate).collect()
        };
        choose(&nodes(&view), [self.random, self.random.rotate_left(32)])
    }
}
