//! Scenes of real clusters, and random ones.

use super::*;
use crate::cluster::NodeId;
use crate::cluster::health::Reach;
use crate::cluster::history::History;
use crate::cluster::moment::Moment;
use crate::cluster::report::Report;
use crate::cluster::tests::{primary, replica};
use proptest::prelude::*;
use std::time::Duration;

/// A node as the tests set it up.
#[derive(Clone, Debug)]
struct Node {
    id: NodeId,
    report: Option<Report>,
    reach: Reach,
    history: Option<History>,
    fixed: FixedRole,
    verdict: Option<bool>,
    heard: Moment,
    is_down_for: Duration,
}

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const D: NodeId = NodeId(4);

fn node(id: NodeId, report: Report) -> Node {
    let (reach, fixed) = (Reach::Answers, FixedRole::Auto);
    let (heard, is_down_for) = (Moment(1), Duration::ZERO);
    Node {
        id,
        report: Some(report),
        reach,
        history: None,
        fixed,
        verdict: None,
        heard,
        is_down_for,
    }
}

/// A primary of `timeline`, with its history.
fn claims(id: NodeId, timeline: u32, ancestors: &[u32]) -> Node {
    let lines: String = ancestors.iter().map(|one| format!("{one}\t0/{one}00\t\n")).collect();
    let history = History::parse(lines.as_bytes()).expect("a history");
    Node { history: Some(history), ..node(id, primary(timeline, 100, 100)) }
}

fn follows(id: NodeId, timeline: u32) -> Node {
    node(id, replica(Some(timeline), 90))
}

fn fails(node: Node) -> Node {
    Node { reach: Reach::Fails, ..node }
}

fn decide(roles: &mut Roles, nodes: &[Node]) -> Vec<Event> {
    let sightings: Vec<_> = nodes
        .iter()
        .map(|node| Sighting {
            node: node.id,
            report: node.report.as_ref(),
            heard: node.heard,
            reach: node.reach,
            is_down_for: node.is_down_for,
            history: node.history.as_ref(),
            fixed: node.fixed,
            verdict: node.verdict,
        })
        .collect();
    roles.decide(&sightings)
}

/// A is the primary of timeline 1, the others follow.
fn settled() -> Roles {
    let mut roles = Roles::new(None);
    let nodes = [claims(A, 1, &[]), follows(B, 1), follows(C, 1), follows(D, 1)];
    decide(&mut roles, &nodes);
    assert_eq!((roles.primary(), roles.standing(B)), (Some(A), Standing::Replica));
    assert_eq!(decide(&mut roles, &nodes), [], "nothing is told twice");
    roles
}

fn promoted(node: NodeId, timeline: u32, from: NodeId) -> Event {
    Event::Promoted { node, timeline, from: Some(from) }
}

fn disputed(node: NodeId, doubt: Doubt, held_by: Option<NodeId>) -> Event {
    Event::Disputed { node, doubt, held_by }
}

#[test]
fn a_cluster_is_found_without_any_role() {
    let mut roles = Roles::new(None);
    assert_eq!(
        decide(&mut roles, &[follows(B, 1), claims(A, 1, &[])]),
        [Event::Joined(A), Event::Joined(B), Event::Promoted { node: A, timeline: 1, from: None }]
    );
    assert_eq!(decide(&mut roles, &[claims(A, 1, &[])]), [Event::Left(B)]);
    assert_eq!(roles.standing(B), Standing::Unknown);
}

#[test]
fn a_promotion_behind_a_primary_that_died_is_believed() {
    let mut roles = settled();
    let dead = fails(claims(A, 1, &[]));
    let others = [follows(C, 1), follows(D, 1)];
    let nodes = [&[dead.clone(), follows(B, 1)][..], &others].concat();
    assert_eq!(decide(&mut roles, &nodes), [Event::NoPrimary(A)]);
    assert_eq!((roles.primary(), roles.standing(A)), (None, Standing::Unknown));
    let nodes = [&[dead, claims(B, 2, &[1])][..], &others].concat();
    assert_eq!(decide(&mut roles, &nodes), [promoted(B, 2, A)]);
    assert_eq!(roles.primary(), Some(B));
    // The old one returns, in the middle of the night.
    let nodes = [&[claims(A, 1, &[]), claims(B, 2, &[1])][..], &others].concat();
    assert_eq!(decide(&mut roles, &nodes), [disputed(A, Doubt::OldTimeline, Some(B))]);
    assert_eq!((roles.primary(), roles.standing(A)), (Some(B), Standing::Fenced));
    // The new one dies: still nobody writes to the old one.
    let nodes = [&[claims(A, 1, &[]), fails(claims(B, 2, &[1]))][..], &others].concat();
    assert_eq!(decide(&mut roles, &nodes), [Event::NoPrimary(B)]);
    let nodes = [&[follows(A, 2), claims(B, 2, &[1])][..], &others].concat();
    assert_eq!(decide(&mut roles, &nodes), [Event::Restored(B), Event::Settled]);
    assert_eq!(roles.standing(A), Standing::Replica);
}

#[test]
fn a_switchover_is_told_as_one() {
    let mut roles = settled();
    let nodes = [follows(A, 1), follows(B, 1)];
    let events = decide(&mut roles, &nodes);
    assert_eq!(events[events.len() - 2..], [Event::Demoted(A), Event::NoPrimary(A)]);
    let nodes = [follows(A, 1), claims(B, 2, &[1])];
    assert_eq!(decide(&mut roles, &nodes), [promoted(B, 2, A)]);
    // Both steps between two probes.
    let nodes = [claims(A, 3, &[1, 2]), follows(B, 2)];
    assert_eq!(decide(&mut roles, &nodes), [Event::Demoted(B), promoted(A, 3, B)]);
}

/// What becomes of the office when A still answers, or not, and B claims it.
#[test]
fn a_claim_needs_a_reason() {
    let unproven = node(B, primary(5, 100, 100));
    let mut behind = claims(B, 1, &[]);
    behind.report = Some(primary(1, 99, 99));
    let same = claims(B, 1, &[]);
    let proven = claims(B, 2, &[1]);
    let doubtful = Node { reach: Reach::Doubtful, ..claims(A, 1, &[]) };
    let (well, dead) = (claims(A, 1, &[]), fails(claims(A, 1, &[])));
    let gone = follows(A, 1);
    let (two, four) = (follows(C, 2), follows(D, 2));
    let (old, lost) = (follows(D, 1), fails(follows(D, 1)));
    for (what, a, b, others, primary, doubt) in [
        ("split brain", &well, &proven, [&two, &old], Some(A), Some(Doubt::Contested)),
        ("the primary is slow", &doubtful, &proven, [&two, &old], Some(A), Some(Doubt::Contested)),
        ("most follow the new one", &well, &proven, [&two, &four], Some(B), None),
        ("of those that answer", &well, &proven, [&two, &lost], Some(B), None),
        ("the primary died", &dead, &proven, [&old, &old], Some(B), None),
        ("the primary was demoted", &gone, &proven, [&old, &old], Some(B), None),
        ("seen following", &dead, &node(B, primary(2, 1, 1)), [&old, &old], Some(B), None),
        ("another history", &dead, &claims(B, 5, &[3]), [&old, &old], None, Some(Doubt::Diverged)),
        (
            "another history, followed",
            &well,
            &claims(B, 2, &[]),
            [&two, &four],
            Some(A),
            Some(Doubt::Diverged),
        ),
        ("the first timeline", &dead, &unproven, [&old, &old], Some(B), None),
        ("the same timeline", &well, &same, [&old, &old], Some(A), Some(Doubt::SameTimeline)),
        ("the storage has moved", &dead, &same, [&old, &old], Some(B), None),
        ("an old copy", &dead, &behind, [&old, &old], None, Some(Doubt::Behind)),
        ("it cannot be reached", &dead, &fails(proven.clone()), [&old, &old], None, None),
    ] {
        let mut roles = settled();
        let nodes = [a, b, others[0], others[1]].map(Clone::clone);
        decide(&mut roles, &nodes);
        assert_eq!(roles.primary(), primary, "{what}");
        let doubts: Vec<_> = roles.disputes().filter(|(node, _)| *node == B).collect();
        assert_eq!(doubts, Vec::from_iter(doubt.map(|doubt| (B, doubt))), "{what}");
        assert_eq!(decide(&mut roles, &nodes), [], "{what}: nothing is told twice");
    }
}

/// B is promoted beside A, which writes on and then fails.
#[test]
fn a_node_that_was_promoted_beside_the_primary_does_not_get_its_place_at_once() {
    let at = |moment, node: Node| Node { heard: Moment(moment), ..node };
    let (well, fork) = (claims(A, 1, &[]), claims(B, 2, &[1]));
    let down = |seconds| Node {
        is_down_for: Duration::from_secs(seconds),
        ..at(4, fails(claims(A, 1, &[])))
    };
    // It has all that A had on disk: B's timeline left A's at 0/100, which is 256.
    let written = |flush| at(4, node(A, primary(1, flush, flush)));
    let (old, new, lost) = (follows(C, 1), follows(C, 2), fails(follows(C, 1)));
    for (what, answered, flush, a, c, primary, doubt) in [
        ("A starts again", 4, 300, down(0), &old, None, Some(Doubt::Forked)),
        ("a replica follows A", 4, 300, down(60), &old, None, Some(Doubt::Forked)),
        (
            "nobody follows A, which may come back",
            4,
            300,
            down(19),
            &lost,
            None,
            Some(Doubt::Forked),
        ),
        ("nobody follows A, which does not", 4, 300, down(20), &lost, Some(B), None),
        ("the replica follows B", 4, 300, down(0), &new, Some(B), None),
        ("A has written nothing more", 4, 256, down(0), &old, Some(B), None),
        ("A is a replica", 4, 300, at(5, follows(A, 1)), &lost, Some(B), None),
        ("A was not heard behind B's promotion", 2, 300, down(0), &old, Some(B), None),
    ] {
        let mut roles = settled();
        decide(&mut roles, &[at(2, well.clone()), at(3, fork.clone()), old.clone()]);
        let goes_on = Node { heard: Moment(answered), ..written(flush) };
        decide(&mut roles, &[goes_on, at(3, fork.clone()), old.clone()]);
        assert_eq!(roles.primary(), Some(A), "{what}");
        decide(&mut roles, &[a, at(6, fork.clone()), c.clone()]);
        assert_eq!(roles.primary(), primary, "{what}");
        let doubts: Vec<_> = roles.disputes().filter(|(node, _)| *node == B).collect();
        assert_eq!(doubts, Vec::from_iter(doubt.map(|doubt| (B, doubt))), "{what}");
    }
}

#[test]
fn without_a_history_only_a_node_that_followed_the_last_primary_is_believed() {
    for (followed, doubt) in [(7, None), (6, Some(Doubt::Unproven))] {
        let mut roles = Roles::new(None);
        decide(&mut roles, &[node(A, primary(7, 9, 9)), follows(B, followed)]);
        assert_eq!(roles.primary(), Some(A));
        decide(&mut roles, &[fails(node(A, primary(7, 9, 9))), node(B, primary(8, 9, 9))]);
        assert_eq!(roles.primary(), doubt.is_none().then_some(B));
        assert_eq!(roles.disputes().map(|(_, doubt)| doubt).next(), doubt);
    }
}

#[test]
fn two_that_were_promoted_at_once_get_nothing() {
    let mut roles = settled();
    let dead = fails(claims(A, 1, &[]));
    let nodes = [dead.clone(), claims(B, 2, &[1]), claims(C, 2, &[1]), follows(D, 2)];
    decide(&mut roles, &nodes);
    assert_eq!(roles.primary(), None);
    let doubts: Vec<_> = roles.disputes().collect();
    assert_eq!(doubts, [(B, Doubt::SameTimeline), (C, Doubt::SameTimeline)]);
    let nodes = [dead, claims(B, 2, &[1]), claims(C, 3, &[1, 2]), follows(D, 3)];
    decide(&mut roles, &nodes);
    assert_eq!((roles.primary(), roles.standing(B)), (Some(C), Standing::Fenced));
}

#[test]
fn at_the_start_one_of_several_claims_has_to_win_against_all() {
    let (old, new) = (claims(A, 1, &[]), claims(B, 2, &[1]));
    for (others, primary) in [
        ([follows(C, 2), follows(D, 2)], Some(B)),
        ([follows(C, 2), follows(D, 1)], None),
        ([fails(follows(C, 2)), fails(follows(D, 2))], None),
    ] {
        let mut roles = Roles::new(None);
        decide(&mut roles, &[&[old.clone(), new.clone()][..], &others].concat());
        assert_eq!(roles.primary(), primary, "{others:?}");
    }
    let mut roles = Roles::new(None);
    decide(&mut roles, &[fails(old), new, follows(C, 1), follows(D, 1)]);
    assert_eq!(roles.primary(), Some(B), "one that fails claims nothing");
}

#[test]
fn an_external_verdict_decides() {
    let verdict = |node: Node, verdict| Node { verdict: Some(verdict), ..node };
    let (a, b) = (claims(A, 1, &[]), claims(B, 2, &[7]));
    for (what, nodes, primary) in [
        ("against the rules", [verdict(a.clone(), false), verdict(b.clone(), true)], Some(B)),
        ("for the old one", [verdict(a.clone(), true), verdict(b.clone(), false)], Some(A)),
        ("against both", [verdict(a.clone(), false), verdict(b.clone(), false)], None),
        ("for both", [verdict(a.clone(), true), verdict(b.clone(), true)], Some(A)),
        ("of one only", [a.clone(), verdict(b.clone(), true)], Some(B)),
        ("for a replica", [verdict(a, true), verdict(follows(B, 1), true)], Some(A)),
        ("too early", [fails(claims(A, 1, &[])), verdict(follows(B, 1), true)], None),
    ] {
        let mut roles = settled();
        decide(&mut roles, &nodes);
        assert_eq!(roles.primary(), primary, "{what}");
    }
}

#[test]
fn what_the_configuration_fixes_comes_first() {
    let fixed = |node: Node, fixed| Node { fixed, ..node };
    let by_hand = fixed(claims(A, 1, &[]), FixedRole::Primary);
    let mut roles = settled();
    decide(&mut roles, &[by_hand.clone(), claims(B, 2, &[1]), follows(C, 2)]);
    assert_eq!((roles.primary(), roles.standing(B)), (Some(A), Standing::Fenced));
    decide(&mut roles, &[fails(by_hand), claims(B, 2, &[1]), follows(C, 2)]);
    assert_eq!(roles.primary(), None);
    let in_recovery = fixed(follows(A, 1), FixedRole::Primary);
    let events = decide(&mut roles, &[in_recovery, claims(B, 2, &[1])]);
    assert!(events.contains(&disputed(A, Doubt::FixedPrimary, None)), "{events:?}");
    assert_eq!(roles.primary(), None);
    let never = fixed(claims(A, 2, &[1]), FixedRole::Replica);
    decide(&mut roles, &[never, follows(B, 1)]);
    assert_eq!(roles.disputes().next(), Some((A, Doubt::FixedReplica)));
    assert_eq!((roles.primary(), roles.standing(A)), (None, Standing::Fenced));
}

#[test]
fn a_node_of_another_cluster_is_refused_and_admitted_again() {
    let mut foreign = claims(B, 9, &[1]);
    let system = foreign.report.as_ref().expect("a report").system;
    foreign.report.as_mut().expect("a report").system = 7;
    let mut roles = settled();
    let nodes = [fails(claims(A, 1, &[])), foreign, follows(C, 1), follows(D, 1)];
    assert_eq!(
        decide(&mut roles, &nodes),
        [Event::Refused { node: B, expected: system, found: 7 }, Event::NoPrimary(A)]
    );
    assert_eq!(roles.standing(B), Standing::Refused);
    let nodes = [claims(A, 1, &[]), follows(B, 1), follows(C, 1), follows(D, 1)];
    assert_eq!(decide(&mut roles, &nodes), [Event::Admitted(B), Event::Restored(A)]);
}

#[test]
fn most_nodes_say_which_cluster_this_is_until_a_primary_was_found() {
    let mut foreign = claims(A, 9, &[]);
    foreign.report.as_mut().expect("a report").system = 7;
    let mut roles = Roles::new(None);
    decide(&mut roles, &[foreign.clone(), claims(B, 1, &[]), follows(C, 1)]);
    assert_eq!((roles.primary(), roles.standing(A)), (Some(B), Standing::Refused));
    decide(&mut roles, &[foreign.clone()]);
    assert_eq!(roles.primary(), None);
    roles.forget();
    decide(&mut roles, &[foreign]);
    assert_eq!((roles.primary(), roles.system()), (Some(A), Some(7)));
}

fn any_node(id: u32) -> impl Strategy<Value = Node> {
    let reach = prop::sample::select(vec![
        Reach::Answers,
        Reach::Answers,
        Reach::Answers,
        Reach::Doubtful,
        Reach::Fails,
    ]);
    let ancestors = prop::option::of(prop::collection::btree_set(1u32..4, 0..3));
    let is_foreign = prop::bool::weighted(0.05);
    (1u32..5, any::<bool>(), 1u64..5, reach, ancestors, is_foreign).prop_map(
        move |(timeline, is_primary, lsn, reach, ancestors, is_foreign)| {
            let id = NodeId(id);
            let mut node = if is_primary {
                let own: Option<Vec<u32>> =
                    ancestors.map(|all| all.into_iter().filter(|one| *one < timeline).collect());
                let claim = claims(id, timeline, own.as_deref().unwrap_or_default());
                Node {
                    report: Some(primary(timeline, lsn, lsn)),
                    history: own.and(claim.history),
                    ..claim
                }
            } else {
                follows(id, timeline)
            };
            if let (true, Some(report)) = (is_foreign, &mut node.report) {
                report.system = 7;
            }
            Node { reach, ..node }
        },
    )
}

fn any_cluster() -> impl Strategy<Value = Vec<Node>> {
    (any_node(1), any_node(2), any_node(3), any_node(4))
        .prop_map(|(one, two, three, four)| vec![one, two, three, four])
}

/// Whether the office may pass from `last` to `new` in this scene.
fn is_right(nodes: &[Node], last: (NodeId, u32), new: &Node) -> Result<(), String> {
    let timeline_of = |node: &Node| node.report.as_ref().and_then(Report::timeline);
    let (timeline, old) =
        (timeline_of(new).unwrap_or(0), nodes.iter().find(|one| one.id == last.0));
    let is_defended = old.is_some_and(|old| {
        let is_same = old.report.as_ref().is_some_and(|report| {
            report.primary().is_some_and(|stand| stand.timeline == last.1) && report.system != 7
        });
        is_same && old.reach != Reach::Fails
    });
    let replicas: Vec<_> = nodes
        .iter()
        .filter(|one| one.reach == Reach::Answers)
        .filter(|one| one.report.as_ref().is_some_and(|r| r.replica().is_some() && r.system != 7))
        .collect();
    let followers = replicas.iter().filter(|one| timeline_of(one) == Some(timeline)).count();
    if new.reach != Reach::Answers {
        return Err("it does not answer".into());
    }
    if timeline < last.1 {
        return Err("its timeline is lower".into());
    }
    if timeline > last.1
        && let Some(history) = &new.history
        && history.switch_from(last.1).is_none()
    {
        return Err("its history is another".into());
    }
    if is_defended && (timeline == last.1 || followers * 2 <= replicas.len()) {
        return Err("the last primary answers".into());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_nodes_say_the_office_passes_by_the_rules_only(
        scenes in prop::collection::vec(any_cluster(), 1..25),
    ) {
        let mut roles = Roles::new(Some(crate::cluster::tests::SYSTEM));
        for nodes in scenes {
            let last = roles.last_primary();
            decide(&mut roles, &nodes);
            let primaries: Vec<_> = nodes
                .iter()
                .filter(|node| roles.standing(node.id) == Standing::Primary)
                .map(|node| node.id)
                .collect();
            prop_assert_eq!(&primaries, &Vec::from_iter(roles.primary()), "one office");
            let Some(id) = roles.primary() else {
                prop_assert_eq!(roles.last_primary(), last);
                continue;
            };
            let node = nodes.iter().find(|node| node.id == id).expect("a member");
            let report = node.report.as_ref().expect("a report");
            let stand = report.primary().expect("it claims");
            prop_assert_ne!(report.system, 7);
            prop_assert_ne!(node.reach, Reach::Fails);
            prop_assert_eq!(roles.last_primary(), Some((id, stand.timeline)));
            if let Some(last) = last.filter(|last| Some(*last) != roles.last_primary()) {
                prop_assert_eq!(is_right(&nodes, last, node), Ok(()), "{:?}", nodes);
            }
        }
    }
}
