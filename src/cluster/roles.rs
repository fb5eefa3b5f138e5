//! Which node is the primary.
//!
//! Owns the office of the primary: who holds it, or who held it last. A node *claims* it by not being in
//! recovery. Who gets it is decided by `rules`; this file remembers what that needs and tells
//! what has changed, once.
//!
//! Never promotes anybody, and never gives the office to two. Once a timeline had it, no lower one gets
//! it, unless by hand or by an external verdict: a primary that was replaced and returns is not written
//! to. A node of another cluster counts for nothing. When the claims leave a doubt, writes stay where they
//! were and an alarm is raised.

mod rules;
#[cfg(test)]
mod tests;
mod types;

use super::NodeId;
use super::health::Reach;
use super::moment::Moment;
use super::report::Stand;
use rules::{Claim, Outcome, Scene, elect};
use std::collections::{BTreeMap, BTreeSet};
use types::Held;
pub use types::{Doubt, Event, FixedRole, Sighting, Standing};

#[derive(Clone, Copy, Debug)]
struct Member {
    standing: Standing,
    /// The other cluster that it belongs to.
    refused: Option<u64>,
    /// The timeline that it was on last, as a replica or in office.
    followed: Option<u32>,
}

/// A claim against the last primary.
#[derive(Clone, Copy, Debug)]
struct Rival {
    timeline: u32,
    /// When it was asked for first.
    seen: Moment,
    /// The primary has answered a later question as one.
    is_fork: bool,
}

/// The roles of a cluster's nodes.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    system: Option<u64>,
    last: Option<Held>,
    is_in_office: bool,
    members: BTreeMap<NodeId, Member>,
    rivals: BTreeMap<NodeId, Rival>,
    disputes: BTreeSet<(NodeId, Doubt)>,
}

impl Roles {
    /// Nobody is the primary yet. `system`: the identifier of the cluster, if it is known; else it is that
    /// of most nodes at the first decision that finds a primary.
    #[must_use]
    pub fn new(system: Option<u64>) -> Self {
        Self { system, ..Self::default() }
    }

    /// Decides anew. `sightings` holds every node of the cluster. The first time, every node has
    /// answered or failed: the first that is heard of may not be the primary.
    pub fn decide(&mut self, sightings: &[Sighting<'_>]) -> Vec<Event> {
        let mut events = Vec::new();
        self.call_roll(sightings, &mut events);
        let system = self.system.or_else(|| system_of_most(sightings));
        self.check_systems(sightings, system, &mut events);
        self.remember_followers(sightings);
        self.watch_rivals(sightings);
        let scene = self.scene(sightings);
        let (outcome, disputes) = elect(&scene);
        self.note_demotion(sightings, &mut events);
        self.install(outcome, system, &mut events);
        self.dispute(disputes, &mut events);
        self.assign_standings(sightings);
        events
    }

    /// The primary. `None`: writes wait.
    #[must_use]
    pub fn primary(&self) -> Option<NodeId> {
        self.last.filter(|_| self.is_in_office).map(|held| held.node)
    }

    /// The node that is or was the primary, and its timeline.
    #[must_use]
    pub fn last_primary(&self) -> Option<(NodeId, u32)> {
        self.last.map(|held| (held.node, held.timeline))
    }

    /// The cluster's system identifier, once it is settled.
    #[must_use]
    pub fn system(&self) -> Option<u64> {
        self.system
    }

    /// What a node counts as.
    #[must_use]
    pub fn standing(&self, node: NodeId) -> Standing {
        self.members.get(&node).map_or(Standing::Unknown, |member| member.standing)
    }

    /// The claims that are not believed.
    pub fn disputes(&self) -> impl Iterator<Item = (NodeId, Doubt)> {
        self.disputes.iter().copied()
    }

    /// Forgets who the primary was and which cluster this is, by an operator's command: after the cluster was
    /// restored from a backup, its timeline may be lower than what was seen.
    pub fn forget(&mut self) {
        self.system = None;
        self.last = None;
        self.is_in_office = false;
    }

    fn call_roll(&mut self, sightings: &[Sighting<'_>], events: &mut Vec<Event>) {
        let present: BTreeSet<NodeId> = sightings.iter().map(|sighting| sighting.node).collect();
        self.members.retain(|node, _| {
            let stays = present.contains(node);
            if !stays {
                events.push(Event::Left(*node));
            }
            stays
        });
        for node in present {
            self.members.entry(node).or_insert_with(|| {
                events.push(Event::Joined(node));
                Member { standing: Standing::Unknown, refused: None, followed: None }
            });
        }
    }

    fn check_systems(
        &mut self,
        sightings: &[Sighting<'_>],
        system: Option<u64>,
        events: &mut Vec<Event>,
    ) {
        for sighting in sightings {
            let (Some(report), Some(expected)) = (sighting.report, system) else { continue };
            let Some(member) = self.members.get_mut(&sighting.node) else { continue };
            let (node, found) = (sighting.node, report.system);
            let refused = (found != expected).then_some(found);
            match refused {
                Some(found) if member.refused != refused => {
                    events.push(Event::Refused { node, expected, found });
                }
                None if member.refused.is_some() => events.push(Event::Admitted(node)),
                Some(_) | None => {}
            }
            member.refused = refused;
        }
    }

    /// Only of reports that are news: the last report of a node that fails may be long past.
    fn remember_followers(&mut self, sightings: &[Sighting<'_>]) {
        let last = self.last_primary();
        for sighting in sightings.iter().filter(|one| one.reach == Reach::Answers) {
            let member = self.members.get_mut(&sighting.node);
            let (Some(member), Some(report)) = (member, sighting.report) else { continue };
            let Some(timeline) = report.timeline() else { continue };
            if report.replica().is_some() || last == Some((sighting.node, timeline)) {
                member.followed = Some(timeline);
            }
        }
    }

    /// Notes which claims were made while the primary went on.
    fn watch_rivals(&mut self, sightings: &[Sighting<'_>]) {
        let Some(last) = self.last else { return };
        let claimed = |one: &Sighting<'_>| Some(one.report?.primary()?.timeline);
        let incumbent = sightings.iter().find(|one| {
            one.node == last.node
                && one.reach == Reach::Answers
                && claimed(one) == Some(last.timeline)
        });
        self.rivals.retain(|node, rival| {
            let sighting = sightings.iter().find(|one| one.node == *node);
            sighting.is_some_and(|one| claimed(one) == Some(rival.timeline))
        });
        for sighting in sightings.iter().filter(|one| one.reach == Reach::Answers) {
            let Some(timeline) = claimed(sighting).filter(|timeline| *timeline > last.timeline)
            else {
                continue;
            };
            let new = Rival { timeline, seen: sighting.heard, is_fork: false };
            let rival = self.rivals.entry(sighting.node).or_insert(new);
            rival.is_fork |= incumbent.is_some_and(|primary| primary.heard > rival.seen);
        }
    }

    fn scene<'a>(&self, sightings: &[Sighting<'a>]) -> Scene<'a> {
        let mut scene = Scene::new(self.last, self.is_in_office);
        for sighting in sightings {
            let member = self.members.get(&sighting.node);
            let Some((member, report)) = member.zip(sighting.report) else { continue };
            if member.refused.is_some() {
                continue;
            }
            match &report.stand {
                Stand::Primary(stand) => scene.claims.push(Claim {
                    node: sighting.node,
                    timeline: stand.timeline,
                    flush: stand.flush,
                    reach: sighting.reach,
                    is_down_for: sighting.is_down_for,
                    is_fork: self.rivals.get(&sighting.node).is_some_and(|rival| rival.is_fork),
                    history: sighting.history,
                    followed: member.followed,
                    fixed: sighting.fixed,
                    verdict: sighting.verdict,
                }),
                Stand::Replica(stand) => {
                    if sighting.reach == Reach::Answers {
                        scene.followed.push((sighting.node, stand.timeline));
                    }
                    if sighting.fixed == FixedRole::Primary {
                        scene.fixed_in_recovery.push(sighting.node);
                    }
                }
            }
        }
        scene
    }

    fn note_demotion(&self, sightings: &[Sighting<'_>], events: &mut Vec<Event>) {
        let primary = sightings.iter().find(|one| Some(one.node) == self.primary());
        if let Some(sighting) = primary
            && sighting.report.is_some_and(|report| report.replica().is_some())
        {
            events.push(Event::Demoted(sighting.node));
        }
    }

    fn install(&mut self, outcome: Outcome, system: Option<u64>, events: &mut Vec<Event>) {
        match outcome {
            Outcome::Elect(new) => {
                let from = self.last.map(|held| held.node);
                let is_same = self
                    .last
                    .is_some_and(|last| (last.node, last.timeline) == (new.node, new.timeline));
                let was_in_office = std::mem::replace(&mut self.is_in_office, true);
                self.system = system;
                self.last = Some(new);
                let (node, timeline) = (new.node, new.timeline);
                match (is_same, was_in_office) {
                    (false, _) => events.push(Event::Promoted { node, timeline, from }),
                    (true, false) => events.push(Event::Restored(node)),
                    (true, true) => {}
                }
            }
            Outcome::Stay => {}
            Outcome::Vacate => {
                events.extend(self.primary().map(Event::NoPrimary));
                self.is_in_office = false;
            }
        }
    }

    fn dispute(&mut self, disputes: Vec<(NodeId, Doubt)>, events: &mut Vec<Event>) {
        let disputes = BTreeSet::from_iter(disputes);
        let held_by = self.primary();
        for (node, doubt) in disputes.difference(&self.disputes) {
            events.push(Event::Disputed { node: *node, doubt: *doubt, held_by });
        }
        if disputes.is_empty() && !self.disputes.is_empty() {
            events.push(Event::Settled);
        }
        self.disputes = disputes;
    }

    fn assign_standings(&mut self, sightings: &[Sighting<'_>]) {
        let primary = self.primary();
        for sighting in sightings {
            let Some(member) = self.members.get_mut(&sighting.node) else { continue };
            member.standing = match sighting.report.map(|report| &report.stand) {
                _ if member.refused.is_some() => Standing::Refused,
                Some(Stand::Primary(_)) if Some(sighting.node) == primary => Standing::Primary,
                _ if sighting.reach == Reach::Fails => Standing::Unknown,
                Some(Stand::Primary(_)) => Standing::Fenced,
                Some(Stand::Replica(_)) => Standing::Replica,
                None => Standing::Unknown,
            };
        }
    }
}

/// The identifier that most nodes have; of two with as many nodes, the one that is listed first.
fn system_of_most(sightings: &[Sighting<'_>]) -> Option<u64> {
    let systems = || sightings.iter().filter_map(|one| one.report).map(|report| report.system);
    let count = |system: u64| systems().filter(|other| *other == system).count();
    // The last of equal maxima is taken, so the list is read from its end.
    let listed: Vec<u64> = systems().collect();
    listed.into_iter().rev().max_by_key(|system| count(*system))
}
