//! What the prober and the sessions of a cluster share.
//!
//! Owns the *view*: what the nodes are now, replaced as a whole by the prober and read by sessions
//! without a lock; the count of what each node runs for us; and what sessions ask of the prober. Never
//! asks a node, never chooses one.

use super::NodeId;
use super::failover::Statements;
use super::floors::Floors;
use super::health::Failure;
use super::moment::Moment;
use super::progress::Sight;
use super::waiters::{Waiters, Wanted, Wish};
use crate::backend::login::boot_nanos;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// What one node is, for those who read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// It is in recovery, and answers.
    pub is_replica: bool,
    /// Reads may go there: it is well, of this cluster, and answers as the primary would.
    pub may_read: bool,
    /// It is taken only if nothing better is there.
    pub is_suspect: bool,
    /// It does not answer, and is given up: whoever has a server there leaves it.
    pub is_down: bool,
    /// It is in our own zone.
    pub is_near: bool,
    /// Its weight among the replicas; zero for none of the reads.
    pub weight: u32,
    /// Thousandths of its weight that it has while it starts.
    pub share: u32,
    /// How far it is.
    pub sight: Option<Sight>,
}

/// What the nodes are, each at its number's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Where writes go, if that is known.
    pub primary: Option<NodeId>,
    /// The timeline of the primary, or of the last one.
    pub timeline: Option<u32>,
    /// All of them.
    pub nodes: Box<[NodeView]>,
    /// What replicas need to catch up, if that is known.
    pub catch_up: Option<Duration>,
}

impl NodeView {
    /// Whether it may serve reads if it is fresh enough.
    #[must_use]
    pub fn serves_reads(&self) -> bool {
        self.is_replica && self.may_read && self.weight > 0
    }

    /// All but how far it is.
    fn is_as(&self, other: &Self) -> bool {
        self.serves_reads() == other.serves_reads() && self.sight.is_some() == other.sight.is_some()
    }
}

impl View {
    /// Whether some replica may serve reads.
    #[must_use]
    pub fn has_replica(&self) -> bool {
        self.nodes.iter().any(NodeView::serves_reads)
    }

    /// How far the best replica is.
    fn reached(&self) -> Option<Moment> {
        let replicas = self.nodes.iter().filter(|node| node.serves_reads());
        replicas.filter_map(|node| node.sight?.horizon.insert).max()
    }

    fn has_nodes_of(&self, other: &Self) -> bool {
        self.primary == other.primary
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|(one, other)| one.is_as(other))
    }
}

/// What sessions ask of the prober.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Somebody wants to read, and no replica is known to be far enough.
    pub is_awaited: bool,
    /// Somebody has written: what is known of the nodes is not enough for a read of the same session.
    pub has_written: bool,
    /// Servers of these nodes have failed so.
    pub failures: Vec<(NodeId, Failure)>,
    /// Servers of these nodes say that they are in recovery, or are not any more.
    pub role_changes: Vec<NodeId>,
}

/// One cluster, for as long as its list of nodes is the same.
#[derive(Debug)]
pub struct Cluster {
    view: ArcSwap<View>,
    outstanding: Box<[AtomicU32]>,
    reads: Box<[AtomicU64]>,
    last_write: AtomicU64,
    changed: Notify,
    /// The timeline of the primary; zero while none was seen.
    timeline: AtomicU32,
    /// Sessions that wait for a primary, or in line at a node, by their clients.
    waiting: Mutex<HashMap<u64, Waker>>,
    /// Of each kind, in the order of [`StatementKind`].
    statements: [AtomicU64; 4],
    /// Sessions that wait for a replica.
    waiters: Waiters,
    is_awaited: AtomicBool,
    has_written: AtomicBool,
    incidents: Mutex<Requests>,
    wake: Notify,
    /// The last writes of causal groups. Only who is in one takes the lock.
    groups: Mutex<Floors<Box<str>>>,
}

/// Groups whose last writes are remembered by themselves.
const GROUPS_MAX: usize = 8192;

/// Failures that are kept until the prober takes them: the rest say nothing new.
const FAILURES_MAX: usize = 64;

impl Cluster {
    /// Of so many nodes, of which nothing is known.
    pub fn new(nodes: usize) -> Arc<Self> {
        let nodes_unknown = vec![NodeView::default(); nodes].into();
        let view = View { primary: None, timeline: None, nodes: nodes_unknown, catch_up: None };
        Arc::new(Self {
            view: ArcSwap::from_pointee(view),
            outstanding: (0..nodes).map(|_| AtomicU32::new(0)).collect(),
            reads: (0..nodes).map(|_| AtomicU64::new(0)).collect(),
            last_write: AtomicU64::new(0),
            changed: Notify::new(),
            timeline: AtomicU32::new(0),
            waiting: Mutex::default(),
            statements: Default::default(),
            waiters: Waiters::default(),
            is_awaited: AtomicBool::new(false),
            has_written: AtomicBool::new(false),
            incidents: Mutex::default(),
            wake: Notify::new(),
            groups: Mutex::new(Floors::new(GROUPS_MAX)),
        })
    }

    /// What the nodes are now.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The nodes are this now. Wakes everybody who waits for [`Self::changed`], and whoever waits in a line
    /// that leads nowhere any more.
    pub fn set_view(&self, view: View) {
        let view = Arc::new(view);
        if let Some(timeline) = view.timeline {
            self.timeline.store(timeline, Ordering::Release);
        }
        let before = self.view.swap(Arc::clone(&view));
        self.changed.notify_waiters();
        let mut nodes = before.nodes.iter().zip(&view.nodes);
        let is_lost = |(before, now): (&NodeView, &NodeView)| before.may_read && !now.may_read;
        if view.primary != before.primary || nodes.any(is_lost) {
            self.waiting.lock().values().for_each(Waker::wake_by_ref);
        }
        self.waiters.wake(view.reached(), !view.has_nodes_of(&before), now());
    }

    /// A session waits for a replica: it is woken when it should look again, which it has to do once
    /// at once, in case that was so already. The nodes are asked all the while.
    pub fn wake_for(self: &Arc<Self>, wish: Wish, waker: &Waker) -> WaitingRead {
        let number = self.waiters.add(wish, waker);
        // Each has a moment of its own, for which a probe that is under way may have begun too early.
        self.wake.notify_one();
        WaitingRead { cluster: Arc::clone(self), number }
    }

    /// What sessions wait for.
    pub fn wanted(&self) -> Option<Wanted> {
        self.waiters.wanted()
    }

    /// Whether sessions wait for a replica.
    pub fn is_waited_for(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// The timeline of the primary, or of the last one; zero while none was seen. A server of a lower one
    /// is never written to.
    pub fn timeline(&self) -> u32 {
        self.timeline.load(Ordering::Acquire)
    }

    /// Wakes a client's session when another node becomes the primary, or one is not read from any more,
    /// until the watch is dropped. Look at the view behind it.
    pub fn watch(self: &Arc<Self>, client: u64, waker: &Waker) -> Watch {
        self.waiting.lock().insert(client, waker.clone());
        Watch { cluster: Arc::clone(self), client }
    }

    /// A statement met a change of the primary like this: it counts in the account of that.
    pub fn count_statement(&self, kind: StatementKind) {
        let [failed, waited, repeated, in_doubt] = &self.statements;
        let count = match kind {
            StatementKind::Failed => failed,
            StatementKind::Waited => waited,
            StatementKind::Repeated => repeated,
            StatementKind::InDoubt => in_doubt,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since this was called last.
    pub fn take_statements(&self) -> Statements {
        let [failed, waited, repeated, in_doubt] =
            self.statements.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
        Statements { failed, waited, repeated, in_doubt }
    }

    /// The next change of the view. Make it before the view is looked at.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// What a node runs for us: statements and transactions of reads.
    pub fn outstanding(&self, node: NodeId) -> u32 {
        self.count(node).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// A read begins at a node, and is over when this is dropped.
    pub fn begin_read(self: &Arc<Self>, node: NodeId) -> RunningRead {
        if let Some(count) = self.count(node) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(reads) = usize::try_from(node.0).ok().and_then(|at| self.reads.get(at)) {
            reads.fetch_add(1, Ordering::Relaxed);
        }
        RunningRead { cluster: Arc::clone(self), node }
    }

    /// How many reads it has got as a replica.
    pub fn reads(&self, node: NodeId) -> u64 {
        let reads = usize::try_from(node.0).ok().and_then(|at| self.reads.get(at));
        reads.map_or(0, |reads| reads.load(Ordering::Relaxed))
    }

    fn count(&self, node: NodeId) -> Option<&AtomicU32> {
        self.outstanding.get(usize::try_from(node.0).ok()?)
    }

    /// A write was acknowledged to a client at this moment. Asks for a probe of all nodes, which is heard
    /// once until [`Self::hear_writes`], and counts in the account of a fail-over.
    pub fn record_write(&self, acknowledged: Moment) {
        self.last_write.fetch_max(acknowledged.0, Ordering::SeqCst);
        self.request(&self.has_written);
    }

    /// When the last write was acknowledged to a client; `None` if none was told.
    pub fn last_write(&self) -> Option<Moment> {
        Some(Moment(self.last_write.load(Ordering::SeqCst))).filter(|moment| moment.0 > 0)
    }

    /// The last write in any of these groups; `are_all`: in whichever.
    pub fn group_floor<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        are_all: bool,
    ) -> Option<Moment> {
        let groups = self.groups.lock();
        if are_all { groups.of_all() } else { groups.of(names) }
    }

    /// What these groups, or all, have to see from now on was acknowledged. To be told before the client is.
    pub fn raise_groups(&self, names: &[Box<str>], are_all: bool, acknowledged: Moment) {
        if names.is_empty() && !are_all {
            return;
        }
        let mut groups = self.groups.lock();
        if are_all {
            groups.raise_all(acknowledged);
        }
        names.iter().for_each(|name| groups.raise(name.clone(), acknowledged));
    }

    /// A read finds no replica that is far enough: the nodes are asked soon. It is heard once until
    /// [`Self::hear_reads`].
    pub fn request_probe(&self) {
        self.request(&self.is_awaited);
    }

    fn request(&self, flag: &AtomicBool) {
        // It is mostly set already, and who only looks takes it from nobody.
        if !flag.load(Ordering::SeqCst) && !flag.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// [`Self::request_probe`] is heard again.
    pub fn hear_reads(&self) {
        self.is_awaited.store(false, Ordering::SeqCst);
    }

    /// Writes are heard again, and at once if there was one behind this moment.
    pub fn hear_writes(&self, heard: Moment) {
        self.has_written.store(false, Ordering::SeqCst);
        if self.last_write().is_some_and(|last| last >= heard) {
            self.request(&self.has_written);
        }
    }

    /// A server of the node has failed.
    pub fn record_failure(&self, node: NodeId, failure: Failure) {
        let mut requests = self.incidents.lock();
        if requests.failures.len() < FAILURES_MAX {
            requests.failures.push((node, failure));
        }
        drop(requests);
        self.wake.notify_one();
    }

    /// A server of the node says that it is in recovery where it was not, or the other way round.
    pub fn record_role_change(&self, node: NodeId) {
        let mut requests = self.incidents.lock();
        if !requests.role_changes.contains(&node) {
            requests.role_changes.push(node);
        }
        drop(requests);
        self.wake.notify_one();
    }

    /// What was met since this was called last, and what is asked for.
    pub fn take_requests(&self) -> Requests {
        let incidents = std::mem::take(&mut *self.incidents.lock());
        Requests {
            is_awaited: self.is_awaited.load(Ordering::SeqCst),
            has_written: self.has_written.load(Ordering::SeqCst),
            ..incidents
        }
    }

    /// Waits until something is asked. Cancel safe; one task at a time.
    pub async fn requested(&self) {
        self.wake.notified().await;
    }
}

/// How a statement met a change of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// It failed.
    Failed,
    /// It waited for the new primary, and ran there.
    Waited,
    /// It was a read that is repeated elsewhere.
    Repeated,
    /// Nobody knows whether it was done.
    InDoubt,
}

/// A session waits: it is woken when its line leads nowhere any more.
#[derive(Debug)]
pub struct Watch {
    cluster: Arc<Cluster>,
    client: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.cluster.waiting.lock().remove(&self.client);
    }
}

/// A read that waits for a replica, until this is dropped.
#[derive(Debug)]
pub struct WaitingRead {
    cluster: Arc<Cluster>,
    number: u64,
}

impl Drop for WaitingRead {
    fn drop(&mut self) {
        self.cluster.waiters.remove(self.number);
    }
}

/// A read that a node runs.
#[derive(Debug)]
pub struct RunningRead {
    cluster: Arc<Cluster>,
    node: NodeId,
}

impl Drop for RunningRead {
    fn drop(&mut self) {
        if let Some(count) = self.cluster.count(self.node) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// This moment, by the clock of [`Moment`].
pub fn now() -> Moment {
    Moment(boot_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_wake_the_prober_and_a_new_view_wakes_those_who_wait() {
        let cluster = Cluster::new(2);
        let changed = cluster.changed();
        cluster.request_probe();
        cluster.request_probe();
        cluster.record_role_change(NodeId(1));
        cluster.record_role_change(NodeId(1));
        cluster.record_failure(NodeId(0), Failure::Lost);
        cluster.requested().await;
        let requests = cluster.take_requests();
        assert!(requests.is_awaited && !requests.has_written);
        assert_eq!(requests.role_changes, [NodeId(1)]);
        assert_eq!(requests.failures, [(NodeId(0), Failure::Lost)]);
        cluster.hear_reads();
        assert_eq!(cluster.take_requests(), Requests::default());
        let view = View { primary: Some(NodeId(0)), ..View::clone(&cluster.view()) };
        cluster.set_view(view);
        changed.await;
        assert_eq!(cluster.view().primary, Some(NodeId(0)));
    }

    #[tokio::test]
    async fn a_write_behind_the_one_that_was_heard_is_heard_when_its_time_comes() {
        let cluster = Cluster::new(2);
        cluster.record_write(Moment(10));
        cluster.requested().await;
        assert!(cluster.take_requests().has_written);
        cluster.record_write(Moment(20));
        // Heard at 15.
        cluster.hear_writes(Moment(15));
        cluster.requested().await;
        assert!(cluster.take_requests().has_written);
        cluster.hear_writes(Moment(25));
        assert!(!cluster.take_requests().has_written);
        assert_eq!(cluster.last_write(), Some(Moment(20)));
    }

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl std::task::Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn who_waits_is_woken_when_its_line_leads_nowhere() {
        let (cluster, wakes) = (Cluster::new(2), Arc::new(Wakes::default()));
        let watch = cluster.watch(7, &Waker::from(Arc::clone(&wakes)));
        let show = |primary: Option<u32>, may_read: bool| {
            let node = NodeView { may_read, ..NodeView::default() };
            let nodes = vec![node.clone(), node].into();
            cluster.set_view(View {
                primary: primary.map(NodeId),
                timeline: Some(3),
                nodes,
                catch_up: None,
            });
            wakes.0.load(Ordering::SeqCst)
        };
        assert_eq!(show(Some(0), true), 1, "there is a primary");
        assert_eq!(show(Some(0), true), 1, "nothing is new");
        assert_eq!(show(Some(0), false), 2, "nobody reads there any more");
        assert_eq!(show(Some(0), true), 2, "what is better wakes nobody");
        assert_eq!(show(Some(1), true), 3, "another is the primary");
        drop(watch);
        assert_eq!((show(None, true), cluster.timeline()), (3, 3));
    }

    #[test]
    fn statements_are_counted_until_they_are_taken() {
        let cluster = Cluster::new(2);
        for kind in [StatementKind::Failed, StatementKind::Waited, StatementKind::Failed] {
            cluster.count_statement(kind);
        }
        cluster.count_statement(StatementKind::InDoubt);
        let expected = Statements { failed: 2, waited: 1, repeated: 0, in_doubt: 1 };
        assert_eq!(cluster.take_statements(), expected);
        assert_eq!(cluster.take_statements(), Statements::default());
    }

    #[test]
    fn what_a_node_runs_is_counted() {
        let cluster = Cluster::new(1);
        let reads = [cluster.begin_read(NodeId(0)), cluster.begin_read(NodeId(0))];
        let elsewhere = cluster.begin_read(NodeId(7));
        assert_eq!((cluster.outstanding(NodeId(0)), cluster.outstanding(NodeId(7))), (2, 0));
        drop((reads, elsewhere));
        assert_eq!(cluster.outstanding(NodeId(0)), 0);
        assert_eq!((cluster.reads(NodeId(0)), cluster.reads(NodeId(7))), (2, 0));
    }

    #[test]
    fn members_of_a_group_find_its_last_write() {
        let cluster = Cluster::new(1);
        let floor = |names: &[&str]| cluster.group_floor(names.iter().copied(), false);
        assert_eq!(floor(&["a"]), None);
        cluster.raise_groups(&["a".into(), "b".into()], false, Moment(7));
        cluster.raise_groups(&["b".into()], false, Moment(9));
        cluster.raise_groups(&[], false, Moment(20));
        assert_eq!((floor(&["a"]), floor(&["a", "b"])), (Some(Moment(7)), Some(Moment(9))));
        assert_eq!((floor(&["c"]), floor(&[])), (None, None));
        cluster.raise_groups(&["a".into()], true, Moment(11));
        assert_eq!(floor(&["c"]), Some(Moment(11)));
        assert_eq!(cluster.group_floor(std::iter::empty(), true), Some(Moment(11)));
    }

    #[test]
    fn the_clock_goes_on() {
        let before = now();
        assert!(before.0 > 0 && now() >= before);
    }
}
