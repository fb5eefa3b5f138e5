//! The pools of one node, whatever database and user they are of.
//!
//! Owns nothing but the way to them: a switchover pauses them, and ends only a pause of its own.

use super::Routes;
use crate::cluster::NodeId;
use crate::cluster::shared::Cluster;
use crate::pool::PoolId;
use crate::session::route::Route;
use std::collections::HashSet;
use std::sync::Arc;

impl Routes {
    /// The pools of one node of a cluster, of all its databases and users.
    pub(in crate::app) fn pools_of_node(
        &self,
        cluster: &Arc<Cluster>,
        node: NodeId,
    ) -> Vec<PoolId> {
        let retired = self.retired.iter().filter_map(|(_, route)| route.upgrade());
        let routes = self.routes.values().cloned().chain(retired);
        let own = |route: Arc<Route>| {
            let nodes =
                route.nodes.as_ref().filter(|nodes| Arc::ptr_eq(&nodes.cluster, cluster))?;
            Some(nodes.pools.get(usize::try_from(node.0).ok()?)?.pool)
        };
        let pools: HashSet<PoolId> = routes.filter_map(own).collect();
        pools.into_iter().collect()
    }

    /// Whether the pool belongs to a database that is paused.
    pub(in crate::app) fn is_pool_paused(&self, pool: PoolId) -> bool {
        let mut paused = self.paused.databases.iter();
        self.paused.all || paused.any(|name| self.known.of(Some(name)).any(|one| one == pool))
    }
}
