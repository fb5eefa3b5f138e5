//! What real nodes answer, and what follows from it: a primary, a replica, a promotion.

mod support;

use howdah::cluster::difference::{Compared, Kind, differences, is_fit};
use howdah::cluster::failover::{Failovers, Loss, OldPrimary};
use howdah::cluster::features::Features;
use howdah::cluster::freshness::{Circumstances, Demand, Floor, Level};
use howdah::cluster::health::Reach;
use howdah::cluster::history::History;
use howdah::cluster::lsn::Lsn;
use howdah::cluster::primary_log::{PrimaryLog, Recorded};
use howdah::cluster::progress::Progress;
use howdah::cluster::questions;
use howdah::cluster::report::{Identity, Report};
use howdah::cluster::roles::{Event, FixedRole, Roles, Sighting, Standing};
use howdah::cluster::{Moment, NodeId};
use std::time::Duration;
use support::postgres::{Options, Postgres, RIDER, SUPERUSER};
use support::wire::Wire;
use support::{deadline, look_again};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
/// A role with `pg_monitor`, as the documentation asks for.
const PROBE: &str = "howdah";

/// Nanoseconds since the test began.
fn now(begin: tokio::time::Instant) -> Moment {
    Moment(u64::try_from(begin.elapsed().as_nanos()).expect("a short test"))
}

fn columns(wire: &mut Wire, sql: &str) -> Vec<Vec<Option<Vec<u8>>>> {
    let frames = wire.query(sql);
    let failed = frames.iter().find(|frame| frame.tag == b'E');
    assert!(failed.is_none(), "{sql}: {failed:?}");
    frames.iter().filter(|frame| frame.tag == b'D').filter_map(|frame| frame.columns()).collect()
}

fn row(values: &[Option<Vec<u8>>]) -> Vec<Option<&[u8]>> {
    values.iter().map(Option::as_deref).collect()
}

fn report(wire: &mut Wire) -> Report {
    let rows = columns(wire, questions::REPORT);
    assert_eq!(rows.len(), 1);
    Report::parse(&row(&rows[0])).expect("a report")
}

fn features(wire: &mut Wire, version: u32) -> Features {
    let mut features = Features::new();
    for values in columns(wire, &questions::features(version)) {
        features.add(&row(&values)).expect("a feature");
    }
    features
}

fn replication(node: &Postgres) -> Wire {
    let mut wire = Wire::tcp(node.address());
    wire.start(&[("user", SUPERUSER), ("replication", "true")], "");
    wire
}

/// Waits until the node says this.
fn until(wire: &mut Wire, is_there: impl Fn(&Report) -> bool) -> Report {
    let deadline = deadline();
    loop {
        let report = report(wire);
        if is_there(&report) {
            return report;
        }
        assert!(look_again(deadline), "still {report:?}");
    }
}

struct Pair {
    primary: Postgres,
    replica: Postgres,
}

impl Pair {
    fn start() -> Self {
        let settings = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
        };
        // Asynchronous commits reach the replica within three of these.
        let quick = [("wal_writer_delay", "10ms")];
        let hba = vec!["host replication all 127.0.0.1/32 trust".to_owned()];
        let primary = Postgres::start(&Options { hba, settings: settings(&quick) });
        let mut admin = primary.admin("app");
        admin.run(&format!("CREATE ROLE {PROBE} LOGIN; GRANT pg_monitor TO {PROBE}"));
        admin.run("CREATE TABLE written (id int)");
        let retry = [("wal_retrieve_retry_interval", "100ms"), ("timezone", "Asia/Tokyo")];
        let replica = primary.start_replica(&Options { hba: vec![], settings: settings(&retry) });
        Self { primary, replica }
    }

    fn probes(&self, user: &str) -> [Wire; 2] {
        [&self.primary, &self.replica].map(|node| Wire::login(node.address(), user, "app"))
    }
}

#[test]
fn nodes_say_what_they_are_and_where_they_differ() {
    let pair = Pair::start();
    let [mut primary, mut replica] = pair.probes(PROBE);
    let (of_primary, of_replica) =
        (report(&mut primary), until(&mut replica, |r| r.timeline().is_some()));
    assert_eq!((of_primary.timeline(), of_replica.timeline()), (Some(1), Some(1)));
    assert_eq!(of_primary.system, of_replica.system);
    let stand = of_replica.replica().expect("it is in recovery");
    assert_eq!(stand.upstream.as_ref().map(|one| one.port), Some(pair.primary.port()));
    assert!(stand.replayed.is_some() && stand.received.is_some());

    // An ordinary role learns all but the timeline of the replica, which IDENTIFY_SYSTEM knows.
    let [mut plain, mut plain_replica] = pair.probes(RIDER);
    assert_eq!(report(&mut plain).timeline(), Some(1));
    let mut blind = report(&mut plain_replica);
    assert_eq!(blind.timeline(), None);
    let identity = columns(&mut replication(&pair.replica), questions::IDENTIFY);
    blind.complete(Identity::parse(&row(&identity[0])).expect("an identity"));
    assert_eq!(blind.timeline(), Some(1));

    let (ours, theirs) =
        (features(&mut primary, of_primary.version), features(&mut replica, of_replica.version));
    assert!(ours.extensions["plpgsql"].is_installed && ours.settings.len() > 15, "{ours:?}");
    let found = differences(
        Compared { report: &of_primary, features: &ours },
        Compared { report: &of_replica, features: &theirs },
    );
    let names: Vec<_> = found.iter().map(|one| (one.kind, &*one.name)).collect();
    assert_eq!(names, [(Kind::Setting, "TimeZone")]);
    assert!(!is_fit(&found, &[]) && is_fit(&found, &["timezone".to_owned()]));
}

#[test]
fn a_replica_that_is_called_fresh_shows_the_write() {
    let pair = Pair::start();
    let [mut primary, mut replica] = pair.probes(PROBE);
    let (mut writer, mut reader) = (pair.primary.admin("app"), pair.replica.admin("app"));
    let begin = tokio::time::Instant::now();
    let (mut log, mut progress) = (PrimaryLog::new(), Progress::new());
    let opened = now(begin);
    // Waits until a read behind `floor` is fresh.
    let mut wait = |floor: &Floor| {
        let deadline = deadline();
        loop {
            let at = now(begin);
            assert_ne!(log.record("a", at, &report(&mut primary)), Recorded::Ignored);
            let asked = now(begin);
            progress.observe(asked, &report(&mut replica), &log);
            let around = Circumstances { arrived: at, group: None, others: None };
            let demand = Demand::new(Level::Session, floor, &around, Some(Duration::from_secs(5)));
            let sight = progress.sight().filter(|sight| demand.is_fresh_on(B, sight, opened));
            if sight.is_some_and(|sight| demand.is_fresh(B, &sight.horizon, now(begin))) {
                return;
            }
            assert!(look_again(deadline), "{floor:?} {progress:?} {log:?}");
        }
    };
    let mut floor = Floor::default();
    for id in 0..300 {
        if id % 3 == 0 {
            writer.run("SET synchronous_commit = on");
        } else if id % 3 == 1 {
            writer.run("SET synchronous_commit = off");
        }
        if id % 50 == 49 {
            writer.run("SELECT pg_switch_wal()");
        }
        writer.run(&format!("INSERT INTO written VALUES ({id})"));
        floor.wrote(now(begin));
        wait(&floor);
        let rows = reader.rows(&format!("SELECT count(*) FROM written WHERE id = {id}"));
        assert_eq!(rows, [["1"]], "write {id}");
    }
    // An idle primary behind a switch of the log, whose insert position no replica reaches.
    writer.run("CHECKPOINT");
    writer.run("SELECT pg_switch_wal()");
    floor.wrote(now(begin));
    wait(&floor);
    // An open writer on a quiet primary.
    writer.run("BEGIN; INSERT INTO written SELECT generate_series(1000, 2000)");
    let mut other = pair.primary.admin("app");
    other.run(questions::nudge(150_000));
    floor.wrote(now(begin));
    wait(&floor);
}

#[test]
fn a_promotion_is_found_with_its_history() {
    let pair = Pair::start();
    let [mut primary, mut replica] = pair.probes(PROBE);
    let begin = tokio::time::Instant::now();
    let (mut roles, mut failovers) = (Roles::new(None), Failovers::new());
    let (of_a, of_b) = (report(&mut primary), until(&mut replica, |r| r.timeline().is_some()));
    let mut log = PrimaryLog::new();
    log.record("a", now(begin), &of_a);
    let sighting = |node, report, reach, history| Sighting {
        node,
        report: Some(report),
        heard: Moment::default(),
        reach,
        is_down_for: Duration::ZERO,
        history,
        fixed: FixedRole::Auto,
        verdict: None,
    };
    roles.decide(&[
        sighting(A, &of_a, Reach::Answers, None),
        sighting(B, &of_b, Reach::Answers, None),
    ]);
    assert_eq!((roles.primary(), roles.standing(B)), (Some(A), Standing::Replica));
    pair.primary.admin("app").run("INSERT INTO written VALUES (1)");
    let acknowledged = now(begin);
    drop(pair.primary);
    until(&mut replica, |report| report.timeline().is_none());
    pair.replica.admin("app").run("SELECT pg_promote()");
    let promoted = until(&mut replica, |report| report.primary().is_some());
    assert_eq!(promoted.timeline(), Some(2), "at once, before any checkpoint");
    assert_eq!(promoted.started, of_b.started, "sessions go on");
    let file = columns(&mut replication(&pair.replica), &questions::timeline_history(2));
    let content = file[0][1].as_deref().expect("the content");
    let history = History::parse(content).expect("a history");
    let switch = history.switch_from(1).expect("an ancestor");
    assert!(switch > Lsn(0) && Some(switch) <= promoted.primary().map(|stand| stand.insert));
    let events = roles.decide(&[
        sighting(A, &of_a, Reach::Fails, None),
        sighting(B, &promoted, Reach::Answers, Some(&history)),
    ]);
    assert_eq!(events, [Event::Promoted { node: B, timeline: 2, from: Some(A) }]);
    let old = OldPrimary { log, last_acknowledged: Some(acknowledged), is_synchronous: false };
    failovers.replaced((A, 1), (B, 2), old, now(begin));
    failovers.explained(&history);
    let account = failovers.accounts().next().expect("an account");
    assert_eq!(account.switch, Some(switch));
    assert!(matches!(account.loss, Loss::Possible { after: Some(_), .. }), "{account:?}");
}
