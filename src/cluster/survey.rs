//! All nodes of one cluster, as their probes have left them.
//!
//! Owns what follows from an answer or a failure of one node for all of them: health, roles, the primary's
//! log and the replicas' progress, in the right order, and the account of a change of the primary. Tells
//! what has changed as [`News`], once each, and what to ask next. Decides about roles only after every
//! node has answered or failed once. A node that was not compared with the primary serves no reads.
//!
//! Never asks anybody. Pure: moments are passed in.

mod member;
mod wants;

use super::NodeId;
use super::difference::{Difference, is_fit};
use super::failover::{Account, Failovers, OldPrimary, Statements};
use super::features::Features;
use super::health::{self, Change, Condition, Failure, Health, NextProbe, Reach, Refusal};
use super::history::History;
use super::lsn::Lsn;
use super::moment::Moment;
use super::primary_log::{Horizon, PrimaryLog};
use super::progress::{Lag, Progress};
use super::report::Report;
use super::roles::{self, FixedRole, Roles, Sighting, Standing};
use super::shared::{NodeView, Requests, View};
use super::waiting::CatchUp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a node is asked what its answers depend on, and for a history that it did not give.
const SELDOM: Duration = Duration::from_secs(60);

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The roles.
    Role(roles::Event),
    /// The condition of a node.
    Health(NodeId, Change),
    /// A node would answer otherwise than the primary. Unless that is allowed, it serves no reads.
    Differs(NodeId, Difference, Allowed),
    /// A node that has differed does not any more.
    Fits(NodeId),
    /// It is known what a change of the primary has cost.
    Accounted(Account),
    /// It is known what became of the statements that met it.
    Counted(Account),
}

/// Whether the operator allows a difference.
pub type Allowed = bool;

/// What nodes are compared in: features by database.
pub type FeaturesByDatabase = BTreeMap<Box<str>, Features>;

/// What counts for the whole survey.
#[derive(Clone, Debug)]
pub struct Options {
    /// How patient the judgement of a node's health is.
    pub health: health::Options,
    /// A replica that is known to be further behind does not come back yet.
    pub max_lag: Option<Duration>,
    /// Differences in spite of which a node serves reads: kinds or names.
    pub allowed: Vec<String>,
}

/// What the configuration says of a node's reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its weight among the replicas.
    pub weight: u32,
    /// It is in our own zone.
    pub is_near: bool,
}

/// One node, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState<'a> {
    /// What it counts as.
    pub standing: Standing,
    /// How it is.
    pub condition: Condition,
    /// Since when.
    pub since: Moment,
    /// How far it is behind; of a replica.
    pub lag: Option<Lag>,
    /// What is visible there; of a replica.
    pub horizon: Option<Horizon>,
    /// Thousandths of its weight that it has while it starts.
    pub share: u32,
    /// Where it would answer otherwise than the primary: why it serves no reads, unless that is allowed.
    pub differences: &'a [Difference],
}

#[derive(Debug)]
struct Member {
    fixed: FixedRole,
    health: Health,
    was_heard: bool,
    report: Option<Report>,
    /// The address that it came from, and when it was asked for.
    heard: Option<(Box<str>, Moment)>,
    progress: Progress,
    features: FeaturesByDatabase,
    features_asked: Option<Moment>,
    /// `None` if nothing was compared yet.
    differences: Option<Vec<Difference>>,
    /// The history of a timeline.
    history: Option<(u32, History)>,
    history_asked: Option<(u32, Moment)>,
    /// What `primary_check` says of it.
    verdict: Option<bool>,
}

/// The nodes of one cluster.
#[derive(Debug)]
pub struct Survey {
    options: Options,
    members: Vec<Member>,
    roles: Roles,
    log: PrimaryLog,
    failovers: Failovers,
    is_synchronous: bool,
    /// When the last write was acknowledged to a client of ours.
    last_write: Option<Moment>,
    has_begun: bool,
    /// The node that an operator has made the primary just now.
    successor: Option<NodeId>,
    catch_up: CatchUp,
    /// The end of the log that was not on disk, and when that was seen first.
    unwritten: Option<(Lsn, Moment)>,
    nudged: Option<Moment>,
}

impl Survey {
    /// Of nodes with these roles, which are to be probed at once. `seed` spreads the probes.
    #[must_use]
    pub fn new(fixed: &[FixedRole], options: Options, seed: u64, now: Moment) -> Self {
        let patience = options.health;
        let member = |(at, fixed): (u64, &FixedRole)| Member {
            fixed: *fixed,
            health: Health::new(patience, seed.wrapping_add(at), now),
            was_heard: false,
            report: None,
            heard: None,
            progress: Progress::new(),
            features: FeaturesByDatabase::new(),
            features_asked: None,
            differences: None,
            history: None,
            history_asked: None,
            verdict: None,
        };
        Self {
            options,
            members: (0..).zip(fixed).map(member).collect(),
            roles: Roles::new(None),
            log: PrimaryLog::new(),
            failovers: Failovers::new(),
            is_synchronous: false,
            last_write: None,
            has_begun: false,
            successor: None,
            catch_up: CatchUp::default(),
            unwritten: None,
            nudged: None,
        }
    }

    /// `primary_check` says whether the node is the primary; `None`: it says nothing.
    pub fn judged(&mut self, node: NodeId, verdict: Option<bool>, now: Moment) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(member) = self.member_mut(node).filter(|member| member.verdict != verdict) {
            member.verdict = verdict;
            self.decide(now, &mut news);
        }
        news
    }

    /// An operator has made this node the primary, or `None`: the command is over. Its claim is believed,
    /// although the old primary may still answer.
    pub fn set_successor(&mut self, node: Option<NodeId>, now: Moment) -> Vec<News> {
        let mut news = Vec::new();
        self.successor = node;
        self.decide(now, &mut news);
        news
    }

    /// Judges by these from now on.
    pub fn set_options(&mut self, options: Options) -> Vec<News> {
        let (health, before) = (options.health, std::mem::replace(&mut self.options, options));
        let mut news = Vec::new();
        for (node, member) in (0..).map(NodeId).zip(&mut self.members) {
            member.health.set_options(health);
            let found = member.differences.as_deref().unwrap_or_default();
            let (now, was) = (&self.options.allowed, &before.allowed);
            let changed = found.iter().filter(|one| one.is_allowed(now) != one.is_allowed(was));
            news.extend(changed.map(|one| News::Differs(node, one.clone(), one.is_allowed(now))));
            if is_fit(found, now) && !is_fit(found, was) {
                news.push(News::Fits(node));
            }
        }
        news
    }

    fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(usize::try_from(node.0).ok()?)
    }

    fn member_mut(&mut self, node: NodeId) -> Option<&mut Member> {
        self.members.get_mut(usize::try_from(node.0).ok()?)
    }

    fn nodes(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        (0..).map(NodeId).zip(&self.members)
    }

    /// The node at `address` has answered a probe; `asked` was read before the question was written.
    pub fn answered(
        &mut self,
        (node, address): (NodeId, &str),
        (asked, now): (Moment, Moment),
        report: Report,
    ) -> Vec<News> {
        let index = usize::try_from(node.0).unwrap_or(usize::MAX);
        let Some(member) = self.members.get_mut(index) else { return Vec::new() };
        member.was_heard = true;
        member.progress.observe(asked, &report, &self.log);
        let lag = member.progress.lag(&self.log, now).time;
        let is_late = lag.zip(self.options.max_lag).is_some_and(|(lag, max)| lag > max);
        member.report = Some(report);
        member.heard = Some((address.into(), asked));
        let event = if is_late { health::Event::AnsweredLate } else { health::Event::Answered };
        let change = member.health.on(event, now);
        if change.is_some_and(|change| matches!(change.from, Condition::Down | Condition::Starting))
        {
            // It may have been built anew meanwhile.
            member.features_asked = None;
            member.differences = None;
        }
        let mut news: Vec<News> =
            change.map(|change| News::Health(node, change)).into_iter().collect();
        self.decide(now, &mut news);
        if self.roles.primary() == Some(node) {
            self.record_primary();
        }
        self.follow_catch_up(now);
        news
    }

    /// A probe of the node has failed.
    pub fn failed(&mut self, node: NodeId, failure: Failure, now: Moment) -> Vec<News> {
        let Some(member) = self.member_mut(node) else { return Vec::new() };
        member.was_heard = true;
        if matches!(failure, Failure::Refused | Failure::Lost | Failure::NotAccepting) {
            // None of its servers is there any more.
            member.progress.clear();
        }
        let change = member.health.on(health::Event::Failed(failure), now);
        let mut news = change.map(|change| News::Health(node, change)).into_iter().collect();
        self.decide(now, &mut news);
        news
    }

    /// When the last write was acknowledged to a client of ours; `None` if nobody counts them.
    pub fn set_last_write(&mut self, acknowledged: Option<Moment>) {
        self.last_write = acknowledged;
    }

    /// These statements have met the loss of a server since this was called last.
    pub fn count(&mut self, statements: Statements, now: Moment) -> Option<News> {
        self.failovers.count(statements, now).map(News::Counted)
    }

    /// Sessions have met this.
    pub fn told(&mut self, requests: &Requests, now: Moment) -> Vec<News> {
        if requests.is_awaited {
            self.catch_up.asked(now);
        }
        let failed = requests.failures.iter().filter(|(_, failure)| failure.is_suspicious());
        let lost = failed.map(|(node, _)| (*node, health::Event::ServerLost));
        let flipped = requests.role_changes.iter().map(|node| (*node, health::Event::RoleFlipped));
        let events: Vec<_> = lost.chain(flipped).collect();
        let mut news = Vec::new();
        for (node, event) in events {
            let Some(member) = self.member_mut(node) else { continue };
            news.extend(member.health.on(event, now).map(|change| News::Health(node, change)));
        }
        news
    }

    /// When the node is to be probed, and how.
    #[must_use]
    pub fn next_probe(&self, node: NodeId) -> Option<NextProbe> {
        self.member(node).map(|member| member.health.next_probe())
    }

    /// The version of a node that is to be asked for its features.
    pub fn take_features_due(&mut self, node: NodeId, now: Moment) -> Option<u32> {
        let member = self.member_mut(node)?;
        if member.features_asked.is_some_and(|asked| now.since(asked) < SELDOM) {
            return None;
        }
        if member.health.reach() != Reach::Answers {
            return None;
        }
        let version = member.report.as_ref()?.version;
        member.features_asked = Some(now);
        Some(version)
    }

    /// The node has these features.
    pub fn compared(&mut self, node: NodeId, features: FeaturesByDatabase) -> Vec<News> {
        let Some(member) = self.member_mut(node) else { return Vec::new() };
        member.features = features;
        self.compare()
    }

    /// The timeline whose history the node is to be asked for.
    pub fn take_history_due(&mut self, node: NodeId, now: Moment) -> Option<u32> {
        let claims = self.members.iter().filter(|member| member.timeline_of_primary().is_some());
        let is_wanted = claims.count() > 1
            || (self.failovers.wants_history() && self.roles.primary() == Some(node));
        let member = self.member_mut(node)?;
        let timeline =
            member.timeline_of_primary().filter(|timeline| is_wanted && *timeline > 1)?;
        let is_known = member.history.as_ref().is_some_and(|(known, _)| *known == timeline);
        let was_asked = member
            .history_asked
            .is_some_and(|(known, asked)| known == timeline && now.since(asked) < SELDOM);
        if is_known || was_asked || member.health.reach() != Reach::Answers {
            return None;
        }
        member.history_asked = Some((timeline, now));
        Some(timeline)
    }

    /// The node has told the history of a timeline.
    pub fn explained(
        &mut self,
        node: NodeId,
        timeline: u32,
        history: History,
        now: Moment,
    ) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(member) = self.member_mut(node) {
            member.history = Some((timeline, history));
        }
        self.decide(now, &mut news);
        self.account(&mut news);
        news
    }

    /// What sessions see of the nodes. `parts` holds what the configuration says of each.
    #[must_use]
    pub fn view(&self, parts: &[Part], now: Moment) -> View {
        let of = |((node, member), part): ((NodeId, &Member), &Part)| {
            let standing = self.roles.standing(node);
            let condition = member.health.condition();
            let is_well = matches!(condition, Condition::Up | Condition::Suspect);
            NodeView {
                is_replica: standing == Standing::Replica,
                may_read: is_well
                    && match standing {
                        Standing::Primary => true,
                        Standing::Replica => {
                            let found = member.differences.as_ref();
                            found.is_some_and(|found| is_fit(found, &self.options.allowed))
                        }
                        Standing::Unknown | Standing::Fenced | Standing::Refused => false,
                    },
                is_suspect: condition == Condition::Suspect,
                is_down: condition == Condition::Down,
                is_near: part.is_near,
                weight: part.weight,
                share: member.health.share(now),
                sight: member.progress.sight().copied(),
            }
        };
        View {
            primary: self.roles.primary(),
            timeline: self.roles.last_primary().map(|(_, timeline)| timeline),
            nodes: self.nodes().zip(parts).map(of).collect(),
            catch_up: self.catch_up.expected(now),
        }
    }

    /// One node, to be shown.
    #[must_use]
    pub fn state(&self, node: NodeId, now: Moment) -> Option<NodeState<'_>> {
        let member = self.member(node)?;
        let standing = self.roles.standing(node);
        let is_replica = standing == Standing::Replica;
        Some(NodeState {
            standing,
            condition: member.health.condition(),
            since: member.health.since(),
            lag: is_replica.then(|| member.progress.lag(&self.log, now)),
            horizon: is_replica.then(|| member.progress.horizon()),
            share: member.health.share(now),
            differences: member.differences.as_deref().unwrap_or_default(),
        })
    }

    /// The primary.
    #[must_use]
    pub fn primary(&self) -> Option<NodeId> {
        self.roles.primary()
    }

    /// What changes of the primary have cost.
    #[must_use]
    pub fn failovers(&self) -> &Failovers {
        &self.failovers
    }

    fn decide(&mut self, now: Moment, news: &mut Vec<News>) {
        self.has_begun = self.has_begun || self.members.iter().all(|member| member.was_heard);
        if !self.has_begun {
            return;
        }
        let before = self.roles.last_primary();
        let sighting = |(node, member): (u32, &Member)| -> (NodeId, Reach) {
            (NodeId(node), member.health.reach())
        };
        let reaches: Vec<_> = (0..).zip(&self.members).map(sighting).collect();
        let sightings: Vec<Sighting<'_>> = reaches
            .iter()
            .zip(&self.members)
            .map(|((node, reach), member)| Sighting {
                node: *node,
                report: member.report.as_ref(),
                heard: member.heard.as_ref().map(|(_, asked)| *asked).unwrap_or_default(),
                reach: *reach,
                is_down_for: member.down_for(now),
                history: member.history_of_report(),
                fixed: member.fixed,
                verdict: member.verdict.or_else(|| (self.successor == Some(*node)).then_some(true)),
            })
            .collect();
        let events = self.roles.decide(&sightings);
        let mut accounts = Vec::new();
        if let Some(before) = before {
            events.iter().for_each(|event| self.take_account(*event, before, now, &mut accounts));
        }
        let is_change = !events.is_empty();
        // That the nodes of the list are there is no news.
        let told = events.into_iter().filter(|event| !matches!(event, roles::Event::Joined(_)));
        news.extend(told.map(News::Role));
        news.extend(accounts);
        self.admit_or_refuse(now, news);
        if is_change {
            // It may have answered before anybody knew what it is.
            self.record_primary();
            news.extend(self.compare());
        }
    }

    fn take_account(
        &mut self,
        event: roles::Event,
        before: (NodeId, u32),
        now: Moment,
        news: &mut Vec<News>,
    ) {
        if let roles::Event::NoPrimary(_) = event {
            self.failovers.lost(before, now);
        } else if let roles::Event::Restored(_) = event {
            self.failovers.restored(now);
            news.extend(self.failovers.accounts().last().copied().map(News::Accounted));
        } else if let roles::Event::Promoted { node, timeline, .. } = event {
            let began = self.failovers.accounts().last().filter(|one| one.ended.is_none());
            // Where nobody counts writes, there may be one up to the last moment.
            let until = began.map_or(now, |account| account.began);
            let old = OldPrimary {
                log: self.log.clone(),
                last_acknowledged: self.last_write.or(Some(until)),
                is_synchronous: self.is_synchronous,
            };
            self.failovers.replaced(before, (node, timeline), old, now);
            self.account(news);
            if self.failovers.wants_history() {
                news.extend(self.failovers.accounts().last().copied().map(News::Accounted));
            }
        }
    }

    /// Says what the last change has cost, if the history of the new timeline is there.
    fn account(&mut self, news: &mut Vec<News>) {
        if !self.failovers.wants_history() {
            return;
        }
        let primary = self.roles.primary().and_then(|node| self.member(node));
        let Some(history) = primary.and_then(|member| member.history_of_report().cloned()) else {
            return;
        };
        self.failovers.explained(&history);
        if !self.failovers.wants_history() {
            news.extend(self.failovers.accounts().last().copied().map(News::Accounted));
        }
    }

    /// Brings the condition of each node in line with what it counts as.
    fn admit_or_refuse(&mut self, now: Moment, news: &mut Vec<News>) {
        for (node, member) in (0..).map(NodeId).zip(&mut self.members) {
            let event = match self.roles.standing(node) {
                Standing::Refused => health::Event::Refused(Refusal::OtherSystem),
                Standing::Fenced => health::Event::Refused(Refusal::Fenced),
                Standing::Primary | Standing::Replica | Standing::Unknown => {
                    health::Event::Admitted
                }
            };
            let answers = member.health.reach() == Reach::Answers;
            let before = member.health.condition();
            if member.health.on(event, now).is_some()
                && event == health::Event::Admitted
                && answers
                && self.roles.standing(node) == Standing::Primary
            {
                // It was kept from writes by a doubt that is gone, and has answered all the while.
                for _ in 0..self.options.health.successes {
                    member.health.on(health::Event::Answered, now);
                }
            }
            let to = member.health.condition();
            if before != to {
                news.push(News::Health(node, Change { from: before, to }));
            }
        }
    }

    /// Takes in what the primary has said last.
    fn record_primary(&mut self) {
        let index = self.roles.primary().and_then(|node| usize::try_from(node.0).ok());
        let (log, members) = (&mut self.log, &mut self.members);
        let Some(member) = index.and_then(|index| members.get_mut(index)) else { return };
        member.progress.clear();
        let (Some(report), Some((address, asked))) = (&member.report, &member.heard) else {
            return;
        };
        if let Some(stand) = report.primary() {
            self.is_synchronous = stand.is_synchronous;
        }
        log.record(address, *asked, report);
        members.iter_mut().for_each(|member| member.progress.refresh(log));
    }

    /// Compares every node with the primary.
    fn compare(&mut self) -> Vec<News> {
        let Some(primary) = self.roles.primary() else { return Vec::new() };
        let found: Vec<(NodeId, Vec<Difference>)> = {
            let Some(ours) = self.member(primary).filter(|member| member.is_known()) else {
                return Vec::new();
            };
            let others = self.nodes().filter(|(node, _)| *node != primary);
            let others = others.filter(|(_, member)| member.is_known());
            others.map(|(node, member)| (node, member.differences_from(ours))).collect()
        };
        if let Some(member) = self.member_mut(primary) {
            member.differences = Some(Vec::new());
        }
        let mut news = Vec::new();
        for (node, found) in found {
            let index = usize::try_from(node.0).unwrap_or(usize::MAX);
            let (allowed, members) = (&self.options.allowed, &mut self.members);
            let Some(member) = members.get_mut(index) else { continue };
            let known = member.differences.as_deref().unwrap_or_default();
            let new = found.iter().filter(|one| !known.contains(one)).cloned();
            news.extend(new.map(|one| {
                let is_allowed = one.is_allowed(allowed);
                News::Differs(node, one, is_allowed)
            }));
            if is_fit(&found, allowed) && !is_fit(known, allowed) {
                news.push(News::Fits(node));
            }
            member.differences = Some(found);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::failover::Loss;
    use crate::cluster::tests::{primary, replica};

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);
    const PARTS: [Part; 2] = [Part { weight: 1, is_near: true }; 2];

    const fn ms(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn survey() -> Survey {
        let health = health::Options::default();
        let options = Options { health, max_lag: None, allowed: vec!["hstore".to_owned()] };
        Survey::new(&[FixedRole::Auto; 2], options, 1, ms(0))
    }

    fn hear(survey: &mut Survey, node: NodeId, at: u64, report: Report) -> Vec<News> {
        survey.answered((node, ["a", "b"][node.0 as usize]), (ms(at), ms(at + 1)), report)
    }

    fn pair() -> Survey {
        let mut survey = survey();
        assert_eq!(hear(&mut survey, B, 1, replica(Some(1), 100)).len(), 1);
        assert_eq!(survey.primary(), None);
        let news = hear(&mut survey, A, 2, primary(1, 100, 100));
        let promoted = roles::Event::Promoted { node: A, timeline: 1, from: None };
        assert!(news.contains(&News::Role(promoted)), "{news:?}");
        survey
    }

    fn features(collation: &str) -> FeaturesByDatabase {
        let mut features = Features::new();
        let row = [Some(&b"collation"[..]), Some(b"database default"), Some(collation.as_bytes())];
        features.add(&row).expect("a row");
        FeaturesByDatabase::from([("app".into(), features)])
    }

    #[test]
    fn nobody_is_the_primary_before_every_node_was_heard_of() {
        let mut survey = survey();
        hear(&mut survey, A, 1, primary(1, 100, 100));
        assert_eq!(survey.primary(), None);
        survey.failed(B, Failure::Refused, ms(2));
        assert_eq!(survey.primary(), Some(A));
    }

    #[test]
    fn a_replica_is_read_from_when_it_was_compared_and_its_horizon_rises() {
        let mut survey = pair();
        hear(&mut survey, B, 3, replica(Some(1), 100));
        assert!(!survey.view(&PARTS, ms(4)).nodes[1].may_read, "nothing was compared");
        assert_eq!(survey.compared(A, features("2.36")), []);
        assert_eq!(survey.compared(B, features("2.36")), []);
        let view = survey.view(&PARTS, ms(4));
        assert_eq!(view.primary, Some(A));
        assert!(view.nodes[1].may_read && view.nodes[1].is_replica && !view.nodes[0].is_replica);
        let sight = view.nodes[1].sight.expect("it has answered");
        assert_eq!((sight.horizon.insert, sight.asked), (Some(ms(2)), ms(3)));
        assert!(survey.take_features_due(B, ms(5)).is_some());
        assert!(survey.take_features_due(B, ms(6)).is_none());
    }

    #[test]
    fn a_node_that_differs_is_named_once_and_serves_no_reads() {
        let mut survey = pair();
        survey.compared(A, features("2.36"));
        let news = survey.compared(B, features("2.31"));
        assert!(matches!(&news[..], [News::Differs(B, _, false)]), "{news:?}");
        assert_eq!(survey.compared(B, features("2.31")), []);
        assert!(!survey.view(&PARTS, ms(4)).nodes[1].may_read);
        assert_eq!(survey.compared(B, features("2.36")), [News::Fits(B)]);
        assert!(survey.view(&PARTS, ms(4)).nodes[1].may_read);
    }

    #[test]
    fn a_difference_that_is_allowed_is_named_and_forbids_nothing() {
        let with = |version: &str| {
            let mut features = Features::new();
            let row = [Some(&b"extension"[..]), Some(b"hstore"), Some(version.as_bytes())];
            features.add(&row).expect("a row");
            FeaturesByDatabase::from([("app".into(), features), ("other".into(), Features::new())])
        };
        let mut survey = pair();
        hear(&mut survey, B, 3, replica(Some(1), 100));
        survey.compared(A, with("1.8"));
        let news = survey.compared(B, with("1.7"));
        let [News::Differs(B, found, true)] = &news[..] else { unreachable!("{news:?}") };
        let said = "extension \"hstore\" in database app: the primary has 1.8, this node has 1.7";
        assert_eq!(found.to_string(), said);
        assert!(survey.view(&PARTS, ms(4)).nodes[1].may_read);
        assert_eq!(survey.state(B, ms(4)).expect("a node").differences.len(), 1);
    }

    #[test]
    fn a_change_of_the_primary_has_an_account() {
        let mut survey = pair();
        for at in 10..13 {
            survey.failed(A, Failure::Refused, ms(at));
        }
        assert_eq!(survey.primary(), None);
        assert!(survey.failovers().is_open());
        hear(&mut survey, B, 20, primary(2, 120, 120));
        assert_eq!(survey.primary(), Some(B));
        assert_eq!(survey.take_history_due(B, ms(21)), Some(2));
        assert_eq!(survey.take_history_due(B, ms(22)), None);
        let history = History::parse(b"1\t0/64\tpromoted\n").expect("a history");
        let news = survey.explained(B, 2, history, ms(23));
        let [News::Accounted(account)] = &news[..] else { unreachable!("{news:?}") };
        assert_eq!((account.from, account.to), ((A, 1), Some((B, 2))));
        assert!(matches!(account.loss, Loss::Possible { bytes: 0, .. }), "{account:?}");
        // It returns, and is not written to.
        let news = hear(&mut survey, A, 30, primary(1, 140, 140));
        assert!(news.iter().any(|one| matches!(one, News::Role(roles::Event::Disputed { .. }))));
        assert_eq!(survey.primary(), Some(B));
        let state = survey.state(A, ms(31)).expect("a node");
        assert_eq!(state.condition, Condition::Refused(Refusal::Fenced));
    }

    #[test]
    fn a_foreign_node_is_refused() {
        let mut survey = pair();
        let mut foreign = replica(Some(1), 100);
        foreign.system += 1;
        let news = hear(&mut survey, B, 5, foreign);
        assert!(news.iter().any(|one| matches!(one, News::Role(roles::Event::Refused { .. }))));
        let state = survey.state(B, ms(6)).expect("a node");
        assert_eq!(state.condition, Condition::Refused(Refusal::OtherSystem));
        assert!(!survey.view(&PARTS, ms(6)).nodes[1].may_read);
    }
}
