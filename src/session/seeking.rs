//! A read looks for a replica: it finds one, waits for one, or goes without.
//!
//! Owns what becomes of a read for which no replica is fresh enough: by its level, by what the operator or the
//! session says, and by what it usually takes. Never takes a server.

use super::client::Client;
use super::decision::Decision;
use super::node_choice::{Chosen, Sought};
use super::own::UnitTerms;
use super::route::RouteNodes;
use super::target::AwaitedRead;
use crate::cluster::choice::Fallback;
use crate::cluster::shared::{View, now};
use crate::cluster::waiters::Wish;
use crate::cluster::waiting::{Lack, Resort};
use crate::fault::{Fault, Side};
use std::sync::Arc;
use std::time::Duration;

/// Of a read for which the primary is no resort.
fn no_replica() -> Fault {
    Fault::query(Side::Server, "57P03", "no replica is fresh enough and well").hint(
        "The read waited for replica_wait; SHOW NODES says how far each node is. no_replica = \
         \"primary\" lets the primary serve such reads.",
    )
}

impl Client {
    /// A replica that is fresh enough for what is in front of `data`, or what happens without one, by
    /// `fallback`. `awaited`: it has waited for a replica.
    pub(super) fn seek_replica(
        &self,
        nodes: &RouteNodes,
        view: &Arc<View>,
        (data, awaited): (&[u8], Option<AwaitedRead>),
        (terms, fallback): (&UnitTerms, Fallback),
    ) -> Sought {
        let now = now();
        let arrived = awaited.map_or(now, |awaited| awaited.arrived);
        let waits_until = awaited.map(|awaited| awaited.until);
        let missing = match self.choose_replica(nodes, view, (arrived, now), terms) {
            Ok(replica) => return Sought::Found(replica.waiting_until(waits_until)),
            // It goes to the primary anyway.
            Err(_) if self.is_advising() => return Sought::Primary,
            Err(missing) => missing,
        };
        let lack = Lack {
            level: self.level(terms),
            fallback,
            replica_wait: self.options.routing.replica_wait,
            has_replica: view.has_replica(),
            catch_up: view.catch_up,
        };
        match lack.resort((arrived, now), waits_until, || self.usual_time(data)) {
            Resort::Wait(until) => Sought::Otherwise(Chosen::AwaitReplica(
                AwaitedRead { arrived, until },
                Wish { beyond: missing.beyond, until },
                Arc::clone(view),
            )),
            Resort::Primary => Sought::Primary,
            Resort::Refuse => {
                self.count(Decision::NoReplica);
                Sought::Otherwise(Chosen::Refuse(Box::new(no_replica())))
            }
        }
    }

    /// The replica's server is not known to show enough: whether the read waits until one is, which the next
    /// probe will tell.
    pub(super) fn wait_for_server(&self) -> Option<(AwaitedRead, Wish, Arc<View>)> {
        let nodes = self.route.nodes.as_ref()?;
        let routing = &self.options.routing;
        let terms = self.target.read?;
        let now = now();
        let is_patient = routing.no_replica != Fallback::Primary || self.wish().insists();
        let limit = if is_patient { routing.replica_wait } else { Duration::ZERO };
        let arrived = terms.arrived;
        let until = terms.until.unwrap_or(arrived.after(limit));
        let view = nodes.cluster.view();
        let may_wait = now < until && view.has_replica();
        let wish = Wish { beyond: None, until };
        may_wait.then_some((AwaitedRead { arrived, until }, wish, view))
    }

    /// Whether a session that waits for a replica, and was woken, has to choose again: the view is another,
    /// or its time is over.
    pub(super) fn must_look_again(&self, read: &AwaitedRead, seen: &Arc<View>) -> bool {
        let nodes = self.route.nodes.as_ref();
        nodes.is_none_or(|nodes| !Arc::ptr_eq(&nodes.cluster.view(), seen)) || now() >= read.until
    }
}
