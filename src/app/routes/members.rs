//! Which node of which cluster a pool's servers are of.

use super::Routes;
use crate::cluster::NodeId;
use crate::cluster::shared::Cluster;
use crate::pool::PoolId;
use std::sync::Arc;

impl Routes {
    /// The cluster of a pool whose database has several nodes, and the pool's node. Looks at all routes: for
    /// what is seldom, as an opening is.
    pub(in crate::app) fn member(&self, pool: PoolId) -> Option<(Arc<Cluster>, NodeId)> {
        let mut clusters = self.routes.values().filter_map(|route| route.nodes.as_ref());
        clusters.find_map(|nodes| {
            let mut numbered = (0..).map(NodeId).zip(&nodes.pools);
            let (node, _) = numbered.find(|(_, node)| node.pool == pool)?;
            Some((Arc::clone(&nodes.cluster), node))
        })
    }
}
