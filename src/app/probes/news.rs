//! What follows from a change that the survey of a cluster has found.
//!
//! Owns the order: the operator hears of it, `role_hook` is run for it, and servers of a node that is given up are
//! closed. Never finds a change.

use super::hook;
use super::tell;
use super::watched::Watched;
use crate::app::pooler::Pooler;
use crate::cluster::health::{Change, Condition};
use crate::cluster::survey::News;
use crate::session::client_handle::Order;
use std::sync::Arc;

/// Says what has changed, and does what follows from it.
pub(in crate::app) fn take_in(pooler: &Pooler, watched: &Watched, news: &[News]) {
    for one in news {
        let (level, text) = tell::described(watched, one);
        tell::say(pooler, watched, level, &text);
        hook::call(pooler, watched, one, text);
    }
    if !news.is_empty() {
        watched.desks.iter().for_each(|desk| desk.check.notify_one());
    }
    let mut given_up = Vec::new();
    for one in news {
        match one {
            // What its servers were opened for is not so any more.
            News::Role(event) => given_up.extend(event.changed_nodes()),
            News::Health(node, Change { to: Condition::Down, .. }) => given_up.push(*node),
            News::Health(..)
            | News::Differs(..)
            | News::Fits(_)
            | News::Accounted(_)
            | News::Counted(_) => {}
        }
    }
    if given_up.is_empty() {
        return;
    }
    for options in given_up.iter().filter_map(|node| watched.node(*node)) {
        pooler.routes.borrow().reconnect_node(&options.address);
    }
    // Sessions look at the view when they hear the order.
    watched.publish(&pooler.current().config);
    for client in pooler.common.clients.list() {
        let nodes = client.info.route.as_ref().and_then(|route| route.nodes.as_ref());
        if nodes.is_some_and(|nodes| Arc::ptr_eq(&nodes.cluster, &watched.cluster)) {
            client.order(Order::NodeLost);
        }
    }
}
