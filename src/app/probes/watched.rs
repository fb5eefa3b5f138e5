//! One cluster that is probed.
//!
//! Owns the survey of its nodes, what wakes the task of each, and the last error of each, as text. Stops its
//! tasks when nobody needs it any more.

use super::calls::Calls;
use crate::cluster::held_up::{HeldUp, Look, Standstill};
use crate::cluster::report::Report;
use crate::cluster::roles::FixedRole;
use crate::cluster::shared::{Cluster, now};
use crate::cluster::survey::{News, Options, Part, Survey};
use crate::cluster::{Moment, NodeId};
use crate::config::{Config, NodeOptions};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// One cluster.
#[derive(Debug)]
pub(in crate::app) struct Watched {
    /// Its nodes, each at its number's place.
    pub(in crate::app) nodes: Vec<NodeOptions>,
    /// What sessions see of it.
    pub(in crate::app) cluster: Arc<Cluster>,
    /// What is known of it.
    pub(in crate::app) survey: RefCell<Survey>,
    /// How each node stands with its task.
    pub(super) desks: Vec<Desk>,
    /// What `role_hook` is still to be run for.
    pub(super) calls: Calls,
    /// Writes wait: sessions are told that there is no primary.
    pub(super) is_held: Cell<bool>,
    /// The probe user could not log in, and the operator was told.
    pub(super) is_locked_out: Cell<bool>,
    /// It sees too little, and the operator was told.
    pub(super) lacks_rights: Cell<bool>,
    /// When a read missed a replica last.
    pub(super) missed: Cell<Option<Moment>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

/// What a node's task is told, and tells.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) wake: Notify,
    /// A read has missed a replica since its last probe began.
    pub(super) is_missed: Cell<bool>,
    /// Somebody has written since its last probe began.
    pub(super) has_written: Cell<bool>,
    /// Probes since somebody asked for one.
    pub(super) tries: Cell<u32>,
    /// It cannot be made to write its log out.
    pub(super) is_unmoved: Cell<bool>,
    /// The configuration has changed: the connection is made anew.
    pub(super) is_stale: Cell<bool>,
    /// Something has changed: `primary_check` is asked again.
    pub(super) check: Notify,
    pub(super) last_error: RefCell<Option<LastError>>,
    /// Whether its replay stands still.
    pub(super) standstill: Cell<Standstill>,
    /// What is to be done about that.
    pub(super) look: Cell<Look>,
    /// The session that its replay waits for.
    pub(super) held_up: RefCell<Option<HeldUp>>,
    /// The node could not be compared, or would not tell a history, and that was said.
    pub(super) is_mute: Cell<bool>,
}

/// The last error of a node.
#[derive(Clone, Debug)]
pub(in crate::app) struct LastError {
    /// What went wrong.
    pub(in crate::app) text: String,
    /// When it did so last.
    pub(in crate::app) at: SystemTime,
}

impl Desk {
    /// Its node has answered this.
    pub(super) fn look_at(&self, report: &Report) {
        let mut standstill = self.standstill.get();
        let look = report.replica().map_or(Look::Moves, |stand| standstill.look(stand, now()));
        self.standstill.set(standstill);
        self.look.set(look);
    }
}

impl Watched {
    pub(super) fn new(nodes: &[NodeOptions], options: Options, seed: u64) -> Self {
        let fixed: Vec<FixedRole> = nodes.iter().map(|node| node.role).collect();
        Self {
            nodes: nodes.to_vec(),
            cluster: Cluster::new(nodes.len()),
            survey: RefCell::new(Survey::new(&fixed, options, seed, now())),
            desks: nodes.iter().map(|_| Desk::default()).collect(),
            calls: Calls::default(),
            is_held: Cell::new(false),
            is_locked_out: Cell::new(false),
            lacks_rights: Cell::new(false),
            missed: Cell::new(None),
            tasks: RefCell::default(),
        }
    }

    /// The node's address.
    pub(in crate::app) fn name(&self, node: NodeId) -> String {
        self.node(node).map_or_else(|| "?".to_owned(), |node| node.address.to_string())
    }

    pub(super) fn node(&self, node: NodeId) -> Option<&NodeOptions> {
        self.nodes.get(usize::try_from(node.0).ok()?)
    }

    pub(super) fn desk(&self, node: NodeId) -> Option<&Desk> {
        self.desks.get(usize::try_from(node.0).ok()?)
    }

    /// The databases of the configuration that have these nodes.
    pub(in crate::app) fn databases(&self, config: &Config) -> Vec<String> {
        let wildcard = config.wildcard.iter().map(|entry| ("*", entry));
        let named = config.databases.iter().map(|(name, entry)| (name.as_str(), entry));
        let own = named.chain(wildcard).filter(|(_, entry)| entry.nodes == self.nodes);
        own.map(|(name, _)| name.to_owned()).collect()
    }

    /// What databases of the configuration that have these nodes are called there. The one of probes is the
    /// first.
    pub(super) fn names_on_servers(&self, config: &Config) -> Vec<String> {
        let own = config.databases.iter().filter(|(_, entry)| entry.nodes == self.nodes);
        let own = own.map(|(name, entry)| entry.dbname.as_ref().unwrap_or(name).clone());
        let probed = config.routing.probe_dbname.clone();
        let others: BTreeSet<String> = own.filter(|name| *name != probed).collect();
        std::iter::once(probed).chain(others).collect()
    }

    /// The last error of a node, if there was one.
    pub(in crate::app) fn last_error(&self, node: NodeId) -> Option<LastError> {
        self.desk(node)?.last_error.borrow().clone()
    }

    /// The session that a node's replay waits for.
    pub(in crate::app) fn held_up(&self, node: NodeId) -> Option<HeldUp> {
        self.desk(node)?.held_up.borrow().clone()
    }

    /// Lets sessions see what is known now.
    pub(super) fn publish(&self, config: &Config) {
        let zone = config.routing.zone.as_deref();
        let part = |node: &NodeOptions| Part {
            weight: node.weight,
            is_near: zone.is_none() || zone == node.zone.as_deref(),
        };
        let parts: Vec<Part> = self.nodes.iter().map(part).collect();
        let mut view = self.survey.borrow().view(&parts, now());
        if self.is_held.get() {
            view.primary = None;
        }
        self.cluster.set_view(view);
    }

    /// Has every node asked now.
    pub(super) fn hurry(&self) {
        for desk in &self.desks {
            desk.is_missed.set(true);
            desk.wake.notify_one();
        }
    }

    pub(super) fn keep(&self, task: JoinHandle<()>) {
        self.tasks.borrow_mut().push(task);
    }

    pub(super) fn stop(&self) {
        self.tasks.borrow_mut().drain(..).for_each(|task| task.abort());
    }

    /// The configuration has changed.
    pub(super) fn renew(&self, options: Options) -> Vec<News> {
        let news = self.survey.borrow_mut().set_options(options);
        self.is_locked_out.set(false);
        self.lacks_rights.set(false);
        for desk in &self.desks {
            desk.is_stale.set(true);
            desk.is_unmoved.set(false);
            desk.wake.notify_one();
        }
        news
    }
}

/// When a moment was, by the clock on the wall.
pub(in crate::app) fn wall_time(moment: Moment) -> SystemTime {
    let passed = now().since(moment);
    SystemTime::now().checked_sub(passed).unwrap_or(SystemTime::UNIX_EPOCH)
}
