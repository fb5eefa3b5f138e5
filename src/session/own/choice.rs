//! Where a session's statements go if it has said so itself, and what it is told of that.

use super::Wish;
use super::terms::UnitTerms;
use crate::cluster::Moment;
use crate::cluster::choice::Fallback;
use crate::cluster::freshness::Level;
use crate::cluster::policy::RouteReads;
use crate::cluster::shared::{View, now};
use crate::fault::{Fault, Side};
use crate::routing::Reason;
use crate::session::bound::Bound;
use crate::session::client::Client;
use crate::session::decision::Decision;
use crate::session::effects::Effects;
use crate::session::flow::{End, Flow, Stop};
use crate::session::node_choice::{Chosen, Sought};
use crate::session::route::RouteNodes;
use crate::session::target::{AwaitedRead, Target};
use crate::session::unit::Plan;
use crate::wire;
use std::sync::Arc;
use std::task::Context;

/// The code of what a session that insists on replicas is refused: PostgreSQL's for a write there.
pub(in crate::session) const REFUSED: &str = "25006";

/// Why a session that insists on replicas cannot have this done, if it is known to be refused there or
/// to be asked of the wrong node.
fn refusal(wish: Wish, reason: Reason) -> Option<Fault> {
    let writes = matches!(
        reason,
        Reason::Write
            | Reason::Lock
            | Reason::Into
            | Reason::Definition
            | Reason::Maintenance
            | Reason::Notification
            | Reason::TwoPhase
    );
    let says_otherwise = matches!(reason, Reason::Hint | Reason::UnknownHint);
    let is_refused = match wish {
        Wish::Replica => writes || says_otherwise,
        Wish::Standby => says_otherwise,
        Wish::Auto | Wish::Primary | Wish::PreferStandby => false,
    };
    is_refused.then(|| {
        let text = format!("cannot run this statement on a replica: {}", reason.explanation());
        Fault::query(Side::Client, REFUSED, text).hint(format!(
            "howdah.route is {wish} in this session; SET howdah.route = auto lets it go to the primary."
        ))
    })
}

/// No replica may serve a session that insists on one.
pub(in crate::session) fn no_replica() -> Fault {
    Fault::query(Side::Proxy, "55000", "no replica is well and shows enough for this session").hint(
        "SHOW NODES says how far each is. A lower howdah.consistency asks for less, and \
         SET howdah.route = auto lets the primary serve it.",
    )
}

impl Client {
    /// Where the session wants its statements to go.
    #[inline]
    pub(in crate::session) fn wish(&self) -> Wish {
        let own = self.state.own.as_ref();
        own.and_then(|own| own.scope.now().route).unwrap_or(Wish::Auto)
    }

    /// Where it says so itself, beyond what the configuration says.
    pub(in crate::session) fn choose_as_wished(
        &self,
        wish: Wish,
        nodes: &RouteNodes,
        view: &Arc<View>,
        (data, awaited): (&[u8], Option<AwaitedRead>),
    ) -> Chosen {
        if wish == Wish::Primary {
            return self.primary_target().map_or(Chosen::AwaitPrimary, Chosen::Target);
        }
        let Some((plan, terms)) = self.plan_front(data) else { return Chosen::Hold };
        if let Plan::Primary(reason) = plan
            && let Some(fault) = refusal(wish, reason)
        {
            return Chosen::Refuse(Box::new(fault));
        }
        if self.is_unserved {
            return Chosen::Refuse(Box::new(no_replica()));
        }
        let fallback =
            if wish.insists() { Fallback::Error } else { self.options.routing.no_replica };
        match self.seek_replica(nodes, view, (data, awaited), (&terms, fallback)) {
            // A read that was refused once is told the next time.
            Sought::Found(target) if plan == Plan::AnyNode && !self.is_refused => {
                Chosen::Target(target)
            }
            Sought::Found(target) => Chosen::Unrepeated(target),
            Sought::Otherwise(Chosen::Refuse(_)) if wish.insists() => {
                Chosen::Refuse(Box::new(no_replica()))
            }
            Sought::Otherwise(chosen) => chosen,
            Sought::Primary => self.primary_target().map_or(Chosen::AwaitPrimary, Chosen::Target),
        }
    }

    /// Why a session that says so itself gets this target.
    pub(in crate::session) fn wished_decision(&self, target: &Target) -> Decision {
        match self.wish() {
            _ if target.read.is_some() => Decision::WishedReplica,
            Wish::PreferStandby => Decision::NoReplica,
            Wish::Auto | Wish::Primary | Wish::Replica | Wish::Standby => Decision::WishedPrimary,
        }
    }

    /// What a read of these terms may rely on.
    pub(in crate::session) fn level(&self, terms: &UnitTerms) -> Level {
        let own = self.state.own.as_ref().and_then(|own| own.scope.now().consistency);
        terms.consistency.or(own).unwrap_or(self.options.routing.consistency)
    }

    /// The last write in a group of the session's, or of the read's. Takes no lock for who is in none.
    pub(in crate::session) fn group_floor(
        &self,
        nodes: &RouteNodes,
        terms: &UnitTerms,
    ) -> Option<Moment> {
        let own = self.state.own.as_ref().and_then(|own| own.scope.now().group.as_deref());
        if own.is_none() && terms.groups.names.is_empty() {
            return None;
        }
        let named = terms.groups.names.iter().map(|name| &**name);
        nodes.cluster.group_floor(named.chain(own), terms.groups.are_all)
    }

    /// A transaction that has done this is acknowledged: whoever is in a group with it sees it. `is_over`:
    /// nothing else of the session is being answered.
    pub(in crate::session) fn raise_groups(
        &mut self,
        effects: Effects,
        acknowledged: Moment,
        is_over: bool,
    ) {
        let is_monotonic = self.level(&UnitTerms::default()) == Level::Monotonic;
        let on_primary = self.target.node.is_some() && self.target.read.is_none();
        let Some(own) = &mut self.state.own else { return };
        let groups = own.scope.groups();
        if let Some(nodes) = &self.route.nodes
            && on_primary
            && (effects.contains(Effects::WRITES) || is_monotonic)
        {
            nodes.cluster.raise_groups(&groups.names, groups.are_all, acknowledged);
        }
        if !is_over {
            own.scope.rejoin(groups);
        }
    }

    /// A server was lost that had been sent this: what it may have written counts from now on, and what its
    /// transaction has set is undone.
    pub(in crate::session) fn lose_own(&mut self, effects: Effects, status: u8) {
        if self.state.own.is_none() {
            return;
        }
        self.raise_groups(effects, now(), true);
        if let Some(own) = self.state.own.as_mut().filter(|_| status != wire::IDLE) {
            own.scope.rollback();
        }
    }

    /// The client is told where its unit has gone, if it has asked for that: in front of the answer, and
    /// with it held back as long as another node may answer instead.
    pub(in crate::session) fn tell_route(
        &mut self,
        bound: &mut Bound,
        cx: &mut Context<'_>,
    ) -> Flow {
        let notice = self.state.own.as_ref().and_then(|own| own.scope.now().notice);
        if notice != Some(true) || self.is_logging_in {
            return Ok(());
        }
        let mut out = Vec::new();
        wire::notice(&mut out, &self.route_notice());
        match &mut bound.held_read {
            Some(held) => held.answer().extend_from_slice(&out),
            None => {
                self.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))?;
            }
        }
        Ok(())
    }

    fn route_notice(&self) -> Fault {
        let role = if self.target.read.is_some() { "replica" } else { "primary" };
        let node = self.name_of(self.target.node);
        let node = node.unwrap_or_else(|| self.route.account.address.to_string());
        let why = match self.routed.get() {
            Some(decision) => decision.explanation(),
            None if self.route.nodes.is_none() => "the database has one node",
            None if self.options.routing.route == RouteReads::Off => "reads are not routed",
            None => "the session keeps its server",
        };
        Fault::query(Side::Proxy, "00000", format!("routed to {role} {node}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_that_insists_is_refused() {
        for (wish, reason, expected) in [
            (Wish::Replica, Reason::Write, true),
            (Wish::Replica, Reason::Hint, true),
            (Wish::Replica, Reason::Function, false),
            (Wish::Replica, Reason::Transaction, false),
            (Wish::Replica, Reason::Session, false),
            (Wish::Standby, Reason::Write, false),
            (Wish::Standby, Reason::UnknownHint, true),
            (Wish::PreferStandby, Reason::Write, false),
            (Wish::PreferStandby, Reason::Hint, false),
        ] {
            let fault = refusal(wish, reason);
            assert_eq!(fault.is_some(), expected, "{wish} {reason:?}");
            assert!(fault.is_none_or(|fault| fault.code == "25006" && fault.hint.contains("auto")));
        }
    }
}
