//! The rules by which a claim to be the primary is believed.
//!
//! Owns the election, as a function of what was seen. The order of the rules:
//!
//! 1. What the configuration fixes.
//! 2. What an external check says, if it names one node.
//! 3. A claim against the last primary needs a higher timeline that comes from the primary's own, and
//!    either a primary that fails its probes, or most replicas on the new timeline.
//!    One that was made while the primary went on has to have all that the primary had on disk, or most
//!    replicas; else the primary has to be down for [`FORK_PATIENCE`], and no replica may follow it.
//! 4. A claim on the *same* timeline (the storage of the primary was given to another machine) needs a
//!    primary that fails, and everything that the primary had on disk.
//! 5. Where nobody was the primary yet, a single claim is believed; of several, one that wins against
//!    every other by rule 3.

use super::types::{Doubt, FixedRole, Held};
use crate::cluster::NodeId;
use crate::cluster::health::Reach;
use crate::cluster::history::History;
use crate::cluster::lsn::Lsn;
use std::time::Duration;

/// A primary that wrote on beside a node that was promoted is given up when it is down for so long: it may
/// just be started again.
const FORK_PATIENCE: Duration = Duration::from_secs(20);

/// A node that is not in recovery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) node: NodeId,
    pub(super) timeline: u32,
    pub(super) flush: Lsn,
    pub(super) reach: Reach,
    pub(super) is_down_for: Duration,
    /// It was made while the last primary went on.
    pub(super) is_fork: bool,
    pub(super) history: Option<&'a History>,
    pub(super) followed: Option<u32>,
    pub(super) fixed: FixedRole,
    pub(super) verdict: Option<bool>,
}

/// Everything that the rules look at. Nodes of other clusters are not in it.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    last: Option<Held>,
    is_in_office: bool,
    pub(super) claims: Vec<Claim<'a>>,
    /// All replicas that answer, with their timelines.
    pub(super) followed: Vec<(NodeId, Option<u32>)>,
    /// Nodes in recovery that should be the primary.
    pub(super) fixed_in_recovery: Vec<NodeId>,
}

/// What becomes of the office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This node has it.
    Elect(Held),
    /// Nothing changes.
    Stay,
    /// Nobody has it.
    Vacate,
}

type Disputes = Vec<(NodeId, Doubt)>;

impl Scene<'_> {
    pub(super) fn new(last: Option<Held>, is_in_office: bool) -> Self {
        let (claims, followed, fixed_in_recovery) = Default::default();
        Self { last, is_in_office, claims, followed, fixed_in_recovery }
    }

    /// The claim of the last primary to go on.
    fn incumbent<'a>(&'a self, claims: &'a [Claim<'a>]) -> Option<&'a Claim<'a>> {
        claims.iter().find(|claim| claim.is_of(self.last))
    }

    /// If no other claim is believed.
    fn keep(&self, claims: &[Claim<'_>]) -> Outcome {
        match self.incumbent(claims).map(|claim| (claim.reach, claim)) {
            Some((Reach::Answers, claim)) => Outcome::Elect(claim.held(self.last)),
            Some((Reach::Doubtful, _)) if self.is_in_office => Outcome::Stay,
            Some((Reach::Doubtful | Reach::Fails, _)) | None => Outcome::Vacate,
        }
    }

    fn followers(&self, timeline: u32) -> impl Iterator<Item = NodeId> {
        let on_it = move |(_, followed): &&(_, Option<u32>)| *followed == Some(timeline);
        self.followed.iter().filter(on_it).map(|(node, _)| *node)
    }

    /// Whether more than half of the replicas are on the claim's timeline.
    fn is_followed_by_most(&self, claim: &Claim<'_>) -> bool {
        let followers = self.followers(claim.timeline).count();
        followers * 2 > self.followed.len()
    }

    fn challenge(&self, last: Held, rival: &Claim<'_>, is_defended: bool) -> Result<(), Doubt> {
        if rival.timeline < last.timeline {
            return Err(Doubt::OldTimeline);
        }
        if rival.timeline == last.timeline {
            return match (is_defended, rival.flush < last.flush) {
                (true, _) => Err(Doubt::SameTimeline),
                (false, true) => Err(Doubt::Behind),
                (false, false) => Ok(()),
            };
        }
        rival.descends_from(last.timeline)?;
        if is_defended && !self.is_followed_by_most(rival) {
            return Err(Doubt::Contested);
        }
        if rival.is_fork && !self.is_given_up(last, rival) {
            return Err(Doubt::Forked);
        }
        Ok(())
    }

    /// Whether the last primary is given up for a node that was promoted beside it.
    fn is_given_up(&self, last: Held, rival: &Claim<'_>) -> bool {
        let switch = rival.history.and_then(|history| history.switch_from(last.timeline));
        let has_all = switch.is_some_and(|switch| switch >= last.flush);
        let incumbent = self.claims.iter().find(|claim| claim.is_of(Some(last)));
        let is_patient = incumbent.is_none_or(|claim| claim.is_down_for >= FORK_PATIENCE);
        let is_alone = self.followers(last.timeline).all(|node| node == last.node);
        has_all || self.is_followed_by_most(rival) || is_patient && is_alone
    }
}

impl Claim<'_> {
    fn is_of(&self, held: Option<Held>) -> bool {
        held.is_some_and(|held| (held.node, held.timeline) == (self.node, self.timeline))
    }

    /// What is remembered of it. What a primary had on disk is never forgotten, even if it falls.
    fn held(&self, last: Option<Held>) -> Held {
        let before = last.filter(|_| self.is_of(last)).map(|held| held.flush).unwrap_or_default();
        Held { node: self.node, timeline: self.timeline, flush: self.flush.max(before) }
    }

    /// Whether its timeline comes from `timeline`. Without its history: if the node was a replica on that
    /// timeline when it was last one. Every timeline comes from the first.
    fn descends_from(&self, timeline: u32) -> Result<(), Doubt> {
        match self.history {
            Some(history) if history.switch_from(timeline).is_some() => Ok(()),
            Some(_) => Err(Doubt::Diverged),
            None if timeline == 1 || self.followed == Some(timeline) => Ok(()),
            None => Err(Doubt::Unproven),
        }
    }
}

/// Who is the primary, and which claims are not believed.
pub(super) fn elect(scene: &Scene<'_>) -> (Outcome, Disputes) {
    let fixed: Vec<_> = scene.claims.iter().filter(|one| one.fixed == FixedRole::Primary).collect();
    let mut disputes: Disputes =
        scene.fixed_in_recovery.iter().map(|node| (*node, Doubt::FixedPrimary)).collect();
    if !fixed.is_empty() || !disputes.is_empty() {
        return (by_hand(scene, &fixed, &mut disputes), disputes);
    }
    let by_hand = scene.claims.iter().filter(|one| one.fixed == FixedRole::Replica);
    disputes.extend(by_hand.map(|one| (one.node, Doubt::FixedReplica)));
    let claims: Vec<Claim<'_>> = scene
        .claims
        .iter()
        .filter(|one| one.fixed == FixedRole::Auto && one.verdict != Some(false))
        .copied()
        .collect();
    let approved: Vec<_> = claims
        .iter()
        .filter(|one| one.verdict == Some(true) && one.reach == Reach::Answers)
        .collect();
    let outcome = match (approved.as_slice(), scene.last) {
        ([only], _) => {
            // Whoever else claims is against the verdict.
            let others = scene.claims.iter().filter(|one| one.node != only.node);
            let doubt = |one: &Claim<'_>| {
                if one.timeline < only.timeline { Doubt::OldTimeline } else { Doubt::Contested }
            };
            let others = others.filter(|one| one.reach == Reach::Answers);
            disputes.extend(others.map(|one| (one.node, doubt(one))));
            Outcome::Elect(only.held(scene.last))
        }
        ([_, ..], last) => {
            let rivals = approved.iter().filter(|one| !one.is_of(last));
            disputes.extend(rivals.map(|one| (one.node, Doubt::Several)));
            scene.keep(&claims)
        }
        ([], None) => first(scene, &claims, &mut disputes),
        ([], Some(last)) => next(scene, last, &claims, &mut disputes),
    };
    (outcome, disputes)
}

fn by_hand(scene: &Scene<'_>, fixed: &[&Claim<'_>], disputes: &mut Disputes) -> Outcome {
    let others = scene.claims.iter().filter(|one| one.fixed != FixedRole::Primary);
    let others = others.filter(|one| one.reach == Reach::Answers);
    disputes.extend(others.map(|one| (one.node, Doubt::Contested)));
    match fixed {
        [only] if only.reach == Reach::Answers => Outcome::Elect(only.held(scene.last)),
        [only] => scene.keep(&[**only]),
        several => {
            disputes.extend(several.iter().map(|one| (one.node, Doubt::Several)));
            let claims: Vec<Claim<'_>> = several.iter().map(|one| **one).collect();
            scene.keep(&claims)
        }
    }
}

/// Nobody was the primary yet.
fn first(scene: &Scene<'_>, claims: &[Claim<'_>], disputes: &mut Disputes) -> Outcome {
    let present: Vec<_> = claims.iter().filter(|one| one.reach == Reach::Answers).collect();
    match winner(&present, |top| scene.is_followed_by_most(top)) {
        Ok(top) => Outcome::Elect(top.held(None)),
        Err(doubt) => {
            disputes.extend(present.iter().map(|one| (one.node, doubt)));
            Outcome::Vacate
        }
    }
}

/// Somebody was.
fn next(scene: &Scene<'_>, last: Held, claims: &[Claim<'_>], disputes: &mut Disputes) -> Outcome {
    let incumbent = scene.incumbent(claims);
    let is_defended = incumbent.is_some_and(|claim| claim.reach != Reach::Fails);
    let mut believed = Vec::new();
    for rival in claims.iter().filter(|one| !one.is_of(Some(last)) && one.reach == Reach::Answers) {
        match scene.challenge(last, rival, is_defended) {
            Ok(()) => believed.push(rival),
            Err(doubt) => disputes.push((rival.node, doubt)),
        }
    }
    if believed.is_empty() {
        return scene.keep(claims);
    }
    match winner(&believed, |_| true) {
        Ok(top) => {
            let old = incumbent.filter(|claim| claim.reach == Reach::Answers);
            disputes.extend(old.map(|claim| (claim.node, Doubt::OldTimeline)));
            let others = believed.iter().filter(|one| one.node != top.node);
            disputes.extend(others.map(|one| (one.node, Doubt::OldTimeline)));
            Outcome::Elect(top.held(Some(last)))
        }
        Err(doubt) => {
            disputes.extend(believed.iter().map(|one| (one.node, doubt)));
            scene.keep(claims)
        }
    }
}

/// The claim of the highest timeline, if that comes from the timeline of each other claim.
/// `has_support` is asked only if there is another.
fn winner<'a>(
    claims: &[&'a Claim<'a>],
    has_support: impl FnOnce(&Claim<'_>) -> bool,
) -> Result<&'a Claim<'a>, Doubt> {
    let top = claims.iter().max_by_key(|one| one.timeline).ok_or(Doubt::Unproven)?;
    let mut others = claims.iter().filter(|one| one.node != top.node).peekable();
    if others.peek().is_none() {
        return Ok(top);
    }
    for other in others {
        if other.timeline == top.timeline {
            return Err(Doubt::SameTimeline);
        }
        top.descends_from(other.timeline)?;
    }
    if has_support(top) { Ok(top) } else { Err(Doubt::Contested) }
}
