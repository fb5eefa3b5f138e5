//! A planned change of the primary (`SWITCHOVER`).
//!
//! Owns which replica may become the primary, and the *hold*: while it lasts, sessions find no primary and
//! no server of it is given out, so that writes wait as they do in a fail-over. Whoever drops the hold lets
//! them go on, wherever the primary is then. Never promotes or demotes a node: that is what `role_hook` does.

use super::hook;
use super::news::take_in;
use super::tell;
use super::watched::Watched;
use crate::app::pooler::Pooler;
use crate::cluster::health::Condition;
use crate::cluster::roles::{FixedRole, Standing};
use crate::cluster::shared::now;
use crate::cluster::{Moment, NodeId};
use crate::config::NodeOptions;
use crate::pool::PoolId;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, interval};

/// How often is looked whether the new primary is seen.
const LOOK: Duration = Duration::from_millis(5);

/// The two nodes of a switchover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) struct Change {
    /// The primary.
    pub(in crate::app) from: NodeId,
    /// The replica that is to follow it.
    pub(in crate::app) to: NodeId,
}

impl Watched {
    /// The primary, and the replica that is to follow it: the one of this name, or the one that is least
    /// behind among those that serve reads.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::app) fn plan(&self, name: Option<&str>) -> Result<Change, String> {
        let survey = self.survey.borrow();
        let from =
            survey.primary().ok_or("there is no primary now; SHOW NODES says how each node is")?;
        let ids = || (0..).map(NodeId).zip(&self.nodes);
        if let Some(name) = name {
            let is_it = |one: &NodeOptions| {
                one.address.to_string() == name || one.address.host.to_string() == name
            };
            let mut found = ids().filter(|(_, one)| is_it(one));
            let (Some((to, options)), None) = (found.next(), found.next()) else {
                let names: Vec<String> = ids().map(|(_, one)| one.address.to_string()).collect();
                return Err(format!("node \"{name}\" is not one of {}", names.join(", ")));
            };
            if to == from {
                return Err(format!("node {} is the primary already", self.name(to)));
            }
            return match self.unsuitable(to, options) {
                Some(why) => Err(format!("node {} {why}", self.name(to))),
                None => Ok(Change { from, to }),
            };
        }
        let view = self.cluster.view();
        let may_read = |node: NodeId| {
            let index = usize::try_from(node.0).unwrap_or(usize::MAX);
            view.nodes.get(index).is_some_and(|node| node.may_read)
        };
        let suitable = ids().filter(|(node, one)| {
            *node != from && may_read(*node) && self.unsuitable(*node, one).is_none()
        });
        let behind = |node| {
            let lag = survey.state(node, now()).and_then(|state| state.lag);
            lag.and_then(|lag| lag.bytes).unwrap_or(u64::MAX)
        };
        let best = suitable.min_by_key(|(node, _)| behind(*node));
        let (to, _) =
            best.ok_or("no replica is up and fit to follow the primary; see SHOW NODES")?;
        Ok(Change { from, to })
    }

    /// Why a node cannot become the primary.
    fn unsuitable(&self, node: NodeId, options: &NodeOptions) -> Option<String> {
        let survey = self.survey.borrow();
        let state = survey.state(node, now())?;
        if options.role == FixedRole::Replica {
            return Some("has role = \"replica\" in the configuration".to_owned());
        }
        if state.standing != Standing::Replica || state.condition != Condition::Up {
            return Some("is no replica that is up; see SHOW NODES".to_owned());
        }
        let is_known = state.lag.and_then(|lag| lag.bytes).is_some();
        (!is_known).then(|| "does not tell how far it is behind".to_owned())
    }

    /// Whether the node shows everything that was written before this moment. Has it asked again.
    pub(in crate::app) fn shows(&self, node: NodeId, written: Moment) -> bool {
        self.hurry();
        let survey = self.survey.borrow();
        let horizon = survey.state(node, now()).and_then(|state| state.horizon);
        horizon.and_then(|horizon| horizon.insert).is_some_and(|insert| insert > written)
    }
}

/// Writes of one cluster wait. Dropping it lets them go on.
pub(in crate::app) struct Hold {
    pooler: Rc<Pooler>,
    watched: Rc<Watched>,
    pools: Vec<PoolId>,
    began: Instant,
}

impl Hold {
    /// Makes writes wait; `None` if they do already.
    pub(in crate::app) fn begin(
        pooler: &Rc<Pooler>,
        watched: &Rc<Watched>,
        from: NodeId,
    ) -> Option<Self> {
        if watched.is_held.replace(true) {
            return None;
        }
        watched.publish(&pooler.current().config);
        let pools = pooler.routes.borrow().pools_of_node(&watched.cluster, from);
        for pool in &pools {
            pooler.common.pools.pause(*pool);
        }
        let (pooler, watched) = (Rc::clone(pooler), Rc::clone(watched));
        Some(Self { pooler, watched, pools, began: Instant::now() })
    }

    /// How many servers of the primary are out.
    pub(in crate::app) fn servers_out(&self) -> u32 {
        let snapshot = self.pooler.common.pools.snapshot();
        let counts: HashMap<_, _> = snapshot.iter().map(|one| (one.pool, one)).collect();
        let own = self.pools.iter().filter_map(|pool| counts.get(pool));
        own.map(|one| one.leased + one.granted + one.opening).sum()
    }

    /// Has the program of `role_hook` make the change, and waits until probes see the new primary.
    ///
    /// # Errors
    /// What did not happen.
    pub(in crate::app) async fn change(
        &self,
        change: Change,
        limit: Duration,
    ) -> Result<(), String> {
        let (pooler, watched) = (&self.pooler, &self.watched);
        hook::switch_over(pooler, watched, (change.from, change.to)).await?;
        let successor = Successor::name(pooler, watched, change.to);
        let end = Instant::now() + limit;
        let mut look = interval(LOOK);
        while watched.survey.borrow().primary() != Some(change.to) {
            if Instant::now() >= end {
                return Err(format!(
                    "role_hook has succeeded, but node {} was not seen as the primary within {} ms \
                     (switchover_timeout)",
                    watched.name(change.to),
                    limit.as_millis()
                ));
            }
            watched.hurry();
            look.tick().await;
        }
        drop(successor);
        Ok(())
    }

    /// Says how it has ended.
    pub(in crate::app) fn tell(&self, change: Change, failed: Option<&str>) {
        let (from, to) = (self.watched.name(change.from), self.watched.name(change.to));
        let took = self.began.elapsed().as_millis();
        match failed {
            None => {
                let said =
                    format!("switched over from {from} to {to}: writes waited for {took} ms");
                tell::say(&self.pooler, &self.watched, "info", &said);
            }
            Some(why) => {
                let said = format!("not switched over from {from} to {to}: {why}");
                tell::say(&self.pooler, &self.watched, "error", &said);
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let routes = self.pooler.routes.borrow();
        for pool in &self.pools {
            if !routes.is_pool_paused(*pool) {
                self.pooler.common.pools.resume(*pool);
            }
        }
        drop(routes);
        self.watched.is_held.set(false);
        self.watched.publish(&self.pooler.current().config);
    }
}

/// The claim of a node to be the primary is believed as long as this lives.
struct Successor<'a>(&'a Pooler, &'a Watched);

impl<'a> Successor<'a> {
    fn name(pooler: &'a Pooler, watched: &'a Watched, node: NodeId) -> Self {
        let news = watched.survey.borrow_mut().set_successor(Some(node), now());
        take_in(pooler, watched, &news);
        Self(pooler, watched)
    }
}

impl Drop for Successor<'_> {
    fn drop(&mut self) {
        let news = self.1.survey.borrow_mut().set_successor(None, now());
        take_in(self.0, self.1, &news);
    }
}
