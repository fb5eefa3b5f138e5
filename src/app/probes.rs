//! Asks the nodes of clusters what they are and how far they are.
//!
//! Owns one [`Watched`] for each distinct list of several nodes that the configuration has, shared by the
//! databases that have it and kept over a reload that leaves the list as it is; a task for each of its
//! nodes, and one that hears what sessions ask for. Never decides what an answer means: that is
//! `cluster::survey`. A database with one node is not asked anything.

mod calls;
pub(super) mod check;
mod hook;
mod link;
pub(super) mod news;
pub(super) mod switchover;
mod tell;
mod urges;
mod verdict;
pub(super) mod watch;
mod watched;

use crate::cluster::health;
use crate::cluster::shared::Cluster;
use crate::cluster::survey::{self, News};
use crate::config::{Config, NodeOptions};
pub(super) use link::failure_of;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;
pub(super) use watched::{Watched, wall_time};

/// All clusters of the process. Belongs to the control thread.
#[derive(Debug)]
pub(super) struct Probes {
    clusters: RefCell<Vec<Rc<Watched>>>,
    /// Those that no task looks after yet.
    newcomers: RefCell<Vec<Rc<Watched>>>,
    arrived: Notify,
    options: RefCell<survey::Options>,
    seed: u64,
}

impl Probes {
    /// Of the databases of this configuration that have several nodes. `seed` spreads the probes.
    pub(super) fn new(config: &Config, seed: u64) -> Self {
        let probes = Self {
            clusters: RefCell::default(),
            newcomers: RefCell::default(),
            arrived: Notify::new(),
            options: RefCell::new(options(config)),
            seed,
        };
        lists(config).for_each(|nodes| drop(probes.cluster(nodes)));
        probes
    }

    /// What is known of the cluster with these nodes: sessions read its view and ask for probes. It is
    /// probed from now on, until no database has this list any more, and no session.
    pub(super) fn cluster(&self, nodes: &[NodeOptions]) -> Arc<Cluster> {
        let known = self.clusters.borrow().iter().find(|one| one.nodes == nodes).cloned();
        if let Some(known) = known {
            return Arc::clone(&known.cluster);
        }
        let watched = Rc::new(Watched::new(nodes, self.options.borrow().clone(), self.seed));
        let cluster = Arc::clone(&watched.cluster);
        self.clusters.borrow_mut().push(Rc::clone(&watched));
        self.newcomers.borrow_mut().push(watched);
        self.arrived.notify_one();
        cluster
    }

    /// Brings a changed configuration to bear: lists come and go, and connections are made anew.
    pub(super) fn reload(&self, config: &Config) -> Vec<(Rc<Watched>, Vec<News>)> {
        self.options.replace(options(config));
        self.prune(config);
        lists(config).for_each(|nodes| drop(self.cluster(nodes)));
        let renewed = self.list().into_iter().map(|one| {
            let news = one.renew(self.options.borrow().clone());
            one.publish(config);
            (one, news)
        });
        renewed.collect()
    }

    /// Ends the probes of lists that no database has any more and no session: one that began before the list
    /// was changed goes on with it, and has to hear of a fail-over.
    pub(super) fn prune(&self, config: &Config) {
        self.clusters.borrow_mut().retain(|one| {
            let is_used = Arc::strong_count(&one.cluster) > 1;
            let stays = is_used || lists(config).any(|nodes| one.nodes == nodes);
            if !stays {
                one.stop();
            }
            stays
        });
    }

    /// Every cluster that is probed.
    pub(super) fn list(&self) -> Vec<Rc<Watched>> {
        self.clusters.borrow().clone()
    }

    /// The cluster of these nodes, if they are several.
    pub(super) fn watched(&self, nodes: &[NodeOptions]) -> Option<Rc<Watched>> {
        self.clusters.borrow().iter().find(|one| one.nodes == nodes).cloned()
    }

    /// Probes nobody any more.
    pub(super) fn stop(&self) {
        self.clusters.borrow().iter().for_each(|one| one.stop());
    }

    /// Those that no task looks after yet, as soon as there are some. Cancel safe.
    async fn next(&self) -> Vec<Rc<Watched>> {
        loop {
            let found = std::mem::take(&mut *self.newcomers.borrow_mut());
            if !found.is_empty() {
                return found;
            }
            self.arrived.notified().await;
        }
    }
}

/// The lists of several nodes.
fn lists(config: &Config) -> impl Iterator<Item = &[NodeOptions]> {
    let entries = config.databases.values().chain(&config.wildcard);
    entries.map(|entry| entry.nodes.as_slice()).filter(|nodes| nodes.len() > 1)
}

fn options(config: &Config) -> survey::Options {
    let interval = config.routing.probe_interval;
    let usual = health::Options::default();
    let interval_max = usual.interval_max.max(interval);
    let health = health::Options { interval, interval_max, ..usual };
    let allowed = config.routing.allow_differences.clone();
    survey::Options { health, max_lag: config.routing.max_lag, allowed }
}
