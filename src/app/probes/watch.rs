//! The tasks of one cluster.
//!
//! Owns when a node is asked: when its health says so; soon when a session has written or wants to read;
//! at once when the connection ends.

use super::hook::run_hooks;
use super::link::{Link, Obstacle, Trouble};
use super::news::take_in;
use super::tell;
use super::verdict::ask_whether_primary;
use super::watched::{Desk, LastError, Watched};
use crate::app::pooler::Pooler;
use crate::cluster::health::Failure;
use crate::cluster::held_up::Look;
use crate::cluster::questions;
use crate::cluster::shared::{Requests, now};
use crate::cluster::survey::{FeaturesByDatabase, News};
use crate::cluster::urgency::{MISSED, WRITTEN};
use crate::cluster::{Moment, NodeId};
use std::rc::Rc;
use std::time::{Duration, SystemTime};
use tokio::time::sleep;

/// Longest wait on the server for what sessions wait for. A probe of the node's health waits as long.
const WAIT_ON_SERVER: Duration = Duration::from_millis(20);

/// Begins the tasks of each cluster that comes.
pub(in crate::app) async fn probe_clusters(pooler: Rc<Pooler>) {
    loop {
        for watched in pooler.probes.next().await {
            let hear = hear_sessions(Rc::clone(&pooler), Rc::clone(&watched));
            watched.keep(tokio::task::spawn_local(hear));
            let hooks = run_hooks(Rc::clone(&pooler), Rc::clone(&watched));
            watched.keep(tokio::task::spawn_local(hooks));
            for node in (0..).map(NodeId).take(watched.nodes.len()) {
                let task = probe_node(Rc::clone(&pooler), Rc::clone(&watched), node);
                watched.keep(tokio::task::spawn_local(task));
                let task = ask_whether_primary(Rc::clone(&pooler), Rc::clone(&watched), node);
                watched.keep(tokio::task::spawn_local(task));
            }
        }
    }
}

/// Takes in what sessions have met and ask for.
async fn hear_sessions(pooler: Rc<Pooler>, watched: Rc<Watched>) {
    let mut hearing = Hearing::default();
    loop {
        let requests = hearing.next(&watched).await;
        let news = watched.survey.borrow_mut().told(&requests, now());
        take_in(&pooler, &watched, &news);
        if !news.is_empty() {
            watched.publish(&pooler.current().config);
        }
        let (view, primary) = (watched.cluster.view(), watched.survey.borrow().primary());
        let seen = (0..).map(NodeId).zip(&view.nodes);
        for ((node, seen), desk) in seen.zip(&watched.desks) {
            // Nobody waits for a node that serves nothing.
            let is_useful = primary == Some(node) || seen.may_read;
            desk.is_missed.set(desk.is_missed.get() || requests.is_awaited && is_useful);
            desk.has_written.set(desk.has_written.get() || requests.has_written && is_useful);
            desk.wake.notify_one();
        }
    }
}

/// What sessions ask for with every statement is heard once in its time, however many they are.
#[derive(Debug, Default)]
struct Hearing {
    /// When reads were heard last, if they are not heard now.
    reads: Option<Moment>,
    /// The same for writes.
    writes: Option<Moment>,
}

impl Hearing {
    async fn next(&mut self, watched: &Watched) -> Requests {
        let cluster = &watched.cluster;
        loop {
            let now = now();
            let written = if watched.was_missed_lately(now) { MISSED } else { WRITTEN };
            let is_over =
                |heard: Option<Moment>, pause| heard.filter(|heard| heard.after(pause) <= now);
            if is_over(self.reads, MISSED).is_some() {
                self.reads = None;
                cluster.hear_reads();
            }
            if let Some(heard) = is_over(self.writes, written) {
                self.writes = None;
                cluster.hear_writes(heard);
            }
            let reads = self.reads.map(|heard| heard.after(MISSED));
            let writes = self.writes.map(|heard| heard.after(written));
            let pause = reads.into_iter().chain(writes).min().map(|due| due.since(now));
            tokio::select! {
                () = cluster.requested() => return self.take(watched),
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
    }

    fn take(&mut self, watched: &Watched) -> Requests {
        // Before the look: what comes behind it is heard again.
        let now = now();
        let mut requests = watched.cluster.take_requests();
        if requests.is_awaited || watched.cluster.is_waited_for() {
            watched.record_miss(now);
        }
        requests.is_awaited &= self.reads.is_none();
        requests.has_written &= self.writes.is_none();
        self.reads = self.reads.or(requests.is_awaited.then_some(now));
        self.writes = self.writes.or(requests.has_written.then_some(now));
        requests
    }
}

/// Asks one node, again and again.
async fn probe_node(pooler: Rc<Pooler>, watched: Rc<Watched>, node: NodeId) {
    let (Some(options), Some(desk)) = (watched.node(node), watched.desk(node)) else { return };
    let mut link = Link::new(&options.address, &pooler);
    let mut last = Moment::default();
    loop {
        wait(&watched, (node, desk), &mut link, last).await;
        watched.begin_probe(desk);
        last = now();
        let next = watched.survey.borrow().next_probe(node);
        if desk.is_stale.take() || next.is_some_and(|next| next.needs_new_connection) {
            link.close();
        }
        wait_on_server(&pooler, &watched, node, &mut link).await;
        probe(&pooler, &watched, (node, desk), &mut link).await;
        watched.publish(&pooler.current().config);
        if watched.survey.borrow().primary() == Some(node) {
            // Now it is known what the others have to replay.
            watched.desks.iter().for_each(|desk| desk.wake.notify_one());
        }
        nudge(&pooler, &watched, (node, desk), &mut link).await;
        look_at_replay(&pooler, &watched, (node, desk), &mut link).await;
        ask_further(&pooler, &watched, (node, desk), &mut link).await;
    }
}

/// Waits until the node is to be asked.
async fn wait(watched: &Watched, (node, desk): (NodeId, &Desk), link: &mut Link, last: Moment) {
    loop {
        let Some(next) = watched.survey.borrow().next_probe(node) else { return };
        let now = now();
        let due = if desk.is_stale.get() {
            Moment::default()
        } else {
            let urgent = watched.urgency((node, desk), now).due(last);
            urgent.map_or(next.at, |urgent| urgent.min(next.at))
        };
        if due <= now {
            return;
        }
        tokio::select! {
            () = desk.wake.notified() => {}
            () = sleep(due.since(now)) => {}
            // Why it has ended, a new one will tell.
            () = link.ended() => return,
        }
    }
}

/// Lets a replica that can wait do so for those who wait for it: its next answer comes when it is there.
async fn wait_on_server(pooler: &Pooler, watched: &Watched, node: NodeId, link: &mut Link) {
    let goal = watched.survey.borrow().goal(node, watched.cluster.wanted());
    let sql = goal.and_then(|(lsn, version)| questions::wait_for(lsn, WAIT_ON_SERVER, version));
    if let Some(sql) = sql {
        // Whatever comes of it, the probe behind it tells how far the replica is.
        link.run(&pooler.current(), &sql).await.ok();
    }
}

/// Makes the primary write its log out if that is all that somebody waits for.
async fn nudge(pooler: &Pooler, watched: &Watched, (node, desk): (NodeId, &Desk), link: &mut Link) {
    if watched.survey.borrow().primary() != Some(node) {
        return;
    }
    let now = now();
    let is_missed = watched.cluster.is_waited_for() || watched.was_missed_lately(now);
    let is_missed = is_missed && !desk.is_unmoved.get();
    let due = watched.survey.borrow_mut().take_nudge_due(is_missed, now);
    let Some(version) = due else { return };
    if let Err(trouble) = link.run(&pooler.current(), questions::nudge(version)).await {
        // Until the configuration changes.
        desk.is_unmoved.set(true);
        tell::not_nudged(pooler, watched, node, &trouble.text);
    }
}

async fn probe(pooler: &Pooler, watched: &Watched, (node, desk): (NodeId, &Desk), link: &mut Link) {
    let answer = link.report(&pooler.current()).await;
    watched.survey.borrow_mut().set_last_write(watched.cluster.last_write());
    let mut news = match answer {
        Ok(answer) => {
            if !answer.has_rights && !watched.lacks_rights.replace(true) {
                tell::lacks_rights(pooler, watched, node);
            }
            desk.look_at(&answer.report);
            let place = (node, answer.address.as_str());
            let moments = (answer.asked, now());
            watched.survey.borrow_mut().answered(place, moments, answer.report)
        }
        Err(trouble) => {
            let failure = trouble.failure;
            note(pooler, watched, (node, desk), trouble);
            watched.survey.borrow_mut().failed(node, failure, now())
        }
    };
    let counted = watched.survey.borrow_mut().count(watched.cluster.take_statements(), now());
    news.extend(counted);
    take_in(pooler, watched, &news);
    if news.iter().any(|one| matches!(one, News::Role(_))) {
        // Where one role has changed, others may have too.
        let all = (0..).map(NodeId).take(watched.nodes.len());
        let role_changes = all.filter(|other| *other != node).collect();
        let requests = Requests { role_changes, ..Requests::default() };
        watched.survey.borrow_mut().told(&requests, now());
        watched.desks.iter().for_each(|desk| desk.wake.notify_one());
    }
}

/// A replica whose replay stands still is asked which read holds it up.
async fn look_at_replay(
    pooler: &Pooler,
    watched: &Watched,
    (node, desk): (NodeId, &Desk),
    link: &mut Link,
) {
    let found = match desk.look.replace(Look::Wait) {
        Look::Wait => return,
        Look::Moves => None,
        // Whatever is wrong with the connection, the next probe will tell.
        Look::Ask => link.held_up(&pooler.current()).await.ok().flatten(),
    };
    let before = desk.held_up.replace(found.clone());
    if let Some(read) = found.filter(|read| before.is_none_or(|before| before.pid != read.pid)) {
        tell::held_up(pooler, watched, node, &read);
    }
}

/// Remembers an error, and says it if it is another one.
fn note(pooler: &Pooler, watched: &Watched, (node, desk): (NodeId, &Desk), trouble: Trouble) {
    let before = desk.last_error.borrow().as_ref().map(|error| error.text.clone());
    if trouble.obstacle.is_some() && !watched.is_locked_out.replace(true) {
        tell::locked_out(pooler, watched, node, &trouble);
    } else if before.as_ref() != Some(&trouble.text) {
        tell::trouble(pooler, watched, node, &trouble.text);
    }
    *desk.last_error.borrow_mut() = Some(LastError { text: trouble.text, at: SystemTime::now() });
}

/// Asks what is asked seldom.
async fn ask_further(
    pooler: &Pooler,
    watched: &Watched,
    (node, desk): (NodeId, &Desk),
    link: &mut Link,
) {
    let due = watched.survey.borrow_mut().take_history_due(node, now());
    if let Some(timeline) = due {
        match link.history(&pooler.current(), timeline).await {
            Ok(history) => {
                let news = watched.survey.borrow_mut().explained(node, timeline, history, now());
                take_in(pooler, watched, &news);
            }
            Err(trouble) => tell::no_history(pooler, watched, node, &trouble.text),
        }
    }
    let due = watched.survey.borrow_mut().take_features_due(node, now());
    if let Some(version) = due {
        compare(pooler, watched, (node, desk), link, version).await;
    }
}

/// Asks what the answers of a node depend on, in each database.
async fn compare(
    pooler: &Pooler,
    watched: &Watched,
    (node, desk): (NodeId, &Desk),
    link: &mut Link,
    version: u32,
) {
    let mut found = FeaturesByDatabase::new();
    for database in watched.names_on_servers(&pooler.current().config) {
        match link.features(&pooler.current(), version, &database).await {
            Ok(features) => drop(found.insert(database.into(), features)),
            // What is not there has no answers.
            Err(trouble) if trouble.obstacle == Some(Obstacle::NoDatabase) => {}
            Err(trouble) => {
                // The next probe will tell more of a connection that is lost.
                if trouble.failure != Failure::Lost && !desk.is_mute.replace(true) {
                    tell::not_compared(pooler, watched, (node, &database), &trouble);
                }
                return;
            }
        }
    }
    desk.is_mute.set(false);
    let news = watched.survey.borrow_mut().compared(node, found);
    take_in(pooler, watched, &news);
    watched.publish(&pooler.current().config);
}
