//! Which node of which cluster a pool's servers are of, and whose sessions are told to end; the pools that are
//! there before anybody comes.

use super::Routes;
use crate::auth::Users;
use crate::cluster::NodeId;
use crate::cluster::shared::Cluster;
use crate::config::Config;
use crate::pool::PoolId;
use crate::session::client_handle::Order;
use std::sync::Arc;

impl Routes {
    /// The cluster of a pool whose database has several nodes, and the pool's node. Looks at all routes: for
    /// what is seldom, as an opening is.
    pub(in crate::app) fn member(&self, pool: PoolId) -> Option<(Arc<Cluster>, NodeId)> {
        let retired = self.retired.iter().filter_map(|(_, route)| route.upgrade());
        self.routes.values().cloned().chain(retired).find_map(|route| {
            let nodes = route.nodes.as_ref()?;
            let mut numbered = (0..).map(NodeId).zip(&nodes.pools);
            let (node, _) = numbered.find(|(_, node)| node.pool == pool)?;
            Some((Arc::clone(&nodes.cluster), node))
        })
    }

    /// Tells the sessions of routes that are over to end when their transaction does.
    pub(super) fn dismiss_sessions_of_ended_routes(&self) {
        for client in self.common.clients.list() {
            if client.info.route.as_ref().is_some_and(|route| route.is_over()) {
                client.order(Order::Drain);
            }
        }
    }

    /// Makes the pools whose user is known before anybody comes, so that their `min_pool_size` is
    /// there at once.
    pub(in crate::app) fn warm(&mut self, config: &Config, users: Option<&Users>) {
        for (database, entry) in &config.databases {
            let Some(user) = &entry.user else { continue };
            self.find(config, users, (database, user), None);
        }
    }
}
