//! A cluster whose log is simulated, to prove the promises of the levels.
//!
//! Sessions write and read, with the clock of the process standing still between some of the steps.
//! Probes of the primary and of replicas are under way while everything else happens. The simulation knows
//! what each replica has applied, so a read that was called fresh is held against what it must show.

use super::NodeId;
use super::floors::Floors;
use super::freshness::{Circumstances, Demand, Floor, Level};
use super::lsn::{Lsn, WalLayout};
use super::moment::Moment;
use super::primary_log::PrimaryLog;
use super::progress::Progress;
use super::report::{PrimaryStand, ReplicaStand, Report, Stand};
use super::tests::SYSTEM;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Small, so that pages and segments end all the time.
const LAYOUT: WalLayout = WalLayout { page: 128, segment: 1024 };
const REPLICAS: usize = 3;
const SESSIONS: usize = 2;
const TABLES: u32 = 2;
/// The levels that promise something about writes.
const LEVELS: [Level; 4] = [Level::Session, Level::Monotonic, Level::Global, Level::Strict];

/// A record of the log, by its end.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    end: u64,
    id: usize,
    is_commit: bool,
}

/// A commit that its session was told of.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    id: usize,
    session: usize,
    table: u32,
}

#[derive(Clone, Debug)]
struct Replica {
    wal: Vec<Record>,
    /// What its receiver shows.
    timeline: Option<u32>,
    started: i64,
    /// When the server was opened that sessions read by.
    opened: Moment,
    progress: Progress,
    /// A probe that is under way, and its answer if the node has given it.
    probe: Option<(Moment, Option<Report>)>,
}

#[derive(Clone, Debug, Default)]
struct Session {
    floor: Floor,
    /// What its last read on a replica has shown.
    shown: BTreeSet<usize>,
    /// What its reads on the primary have shown.
    shown_by_primary: BTreeSet<usize>,
}

#[derive(Debug)]
struct World {
    now: Moment,
    wal: Vec<Record>,
    flushed: usize,
    timeline: u32,
    address: String,
    log: PrimaryLog,
    probe: Option<(Moment, Option<Report>)>,
    replicas: Vec<Replica>,
    sessions: Vec<Session>,
    tables: Floors<u32>,
    acknowledged: Vec<Acknowledged>,
    records: usize,
    /// How often a read was called fresh at each level, so that the proof is not empty.
    fresh: [usize; 4],
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Tick(u64),
    Write {
        session: usize,
        table: u32,
        len: u64,
        is_synchronous: bool,
    },
    /// An open transaction writes; nobody flushes it.
    OpenWriter(u64),
    Flush,
    SwitchWal,
    Replay {
        replica: usize,
        records: usize,
    },
    ProbePrimary,
    ProbeReplica(usize),
    /// The replica replays everything, and both are probed.
    CatchUp(usize),
    Read {
        session: usize,
        replica: usize,
        table: u32,
        level: Level,
    },
    /// What `strict` does: both probes, then the read.
    StrictRead {
        session: usize,
        replica: usize,
    },
    ReadOnPrimary(usize),
    CrashPrimary,
    CrashReplica {
        replica: usize,
        lost: usize,
    },
    Rebuild {
        replica: usize,
        lost: usize,
    },
    OpenServer(usize),
    Promote(usize),
}

/// Where the record behind this end begins: behind the header of a page.
fn insert_position(end: u64) -> u64 {
    match (end % u64::from(LAYOUT.segment), end % u64::from(LAYOUT.page)) {
        (0, _) => end + 40,
        (_, 0) => end + 24,
        _ => end,
    }
}

fn end_of(wal: &[Record]) -> u64 {
    // The first page of a log is never used.
    wal.last().map_or(u64::from(LAYOUT.segment), |record| record.end)
}

impl World {
    fn new() -> Self {
        let replica = |_| Replica {
            wal: Vec::new(),
            timeline: Some(1),
            started: 1,
            opened: Moment(1),
            progress: Progress::new(),
            probe: None,
        };
        Self {
            now: Moment(1),
            wal: Vec::new(),
            flushed: 0,
            timeline: 1,
            address: "p1".into(),
            log: PrimaryLog::new(),
            probe: None,
            replicas: (0..REPLICAS).map(replica).collect(),
            sessions: vec![Session::default(); SESSIONS],
            tables: Floors::new(2),
            acknowledged: Vec::new(),
            records: 0,
            fresh: [0; 4],
        }
    }

    fn append(&mut self, len: u64, is_commit: bool) -> usize {
        let mut at = insert_position(end_of(&self.wal));
        let mut left = len;
        loop {
            let page_end = at - at % u64::from(LAYOUT.page) + u64::from(LAYOUT.page);
            let room = page_end - at;
            if left <= room {
                at += left;
                break;
            }
            left -= room;
            at = insert_position(page_end);
        }
        self.records += 1;
        self.wal.push(Record { end: at, id: self.records, is_commit });
        self.records
    }

    fn report_of_primary(&self) -> Report {
        let flushed = self.wal.get(..self.flushed).unwrap_or_default();
        let insert = Lsn(insert_position(end_of(&self.wal))).before_header(LAYOUT);
        self.report(
            1,
            Stand::Primary(PrimaryStand {
                timeline: self.timeline,
                insert,
                flush: Lsn(end_of(flushed)),
                is_synchronous: false,
            }),
        )
    }

    fn report_of_replica(&self, index: usize) -> Report {
        let replica = &self.replicas[index];
        let stand = ReplicaStand {
            timeline: replica.timeline,
            replayed: Some(Lsn(end_of(&replica.wal))),
            ..ReplicaStand::default()
        };
        self.report(replica.started, Stand::Replica(stand))
    }

    fn report(&self, started: i64, stand: Stand) -> Report {
        Report { system: SYSTEM, version: 150_000, started, layout: LAYOUT, stand }
    }

    /// A probe is written, answered by the node, and taken in, one step each time.
    fn step_primary_probe(&mut self) {
        match self.probe.take() {
            None => self.probe = Some((self.now, None)),
            Some((at, None)) => self.probe = Some((at, Some(self.report_of_primary()))),
            Some((at, Some(report))) => {
                self.log.record(&self.address, at, &report);
                for replica in &mut self.replicas {
                    replica.progress.refresh(&self.log);
                }
            }
        }
    }

    fn step_replica_probe(&mut self, index: usize) {
        match self.replicas[index].probe.take() {
            None => self.replicas[index].probe = Some((self.now, None)),
            Some((at, None)) => {
                let report = self.report_of_replica(index);
                self.replicas[index].probe = Some((at, Some(report)));
            }
            Some((at, Some(report))) => {
                self.replicas[index].progress.observe(at, &report, &self.log);
            }
        }
    }

    fn write(&mut self, session: usize, table: u32, len: u64, is_synchronous: bool) {
        let id = self.append(len, true);
        if is_synchronous {
            self.flushed = self.wal.len();
        }
        self.sessions[session].floor.wrote(self.now);
        self.tables.raise(table, self.now);
        self.acknowledged.push(Acknowledged { id, session, table });
    }

    fn replay(&mut self, index: usize, records: usize) {
        let is_prefix = self.wal.starts_with(&self.replicas[index].wal);
        let replica = &mut self.replicas[index];
        if !is_prefix {
            // Its history has gone another way: the receiver ends.
            replica.timeline = None;
            return;
        }
        replica.timeline = Some(self.timeline);
        let until = self.flushed.min(replica.wal.len().saturating_add(records));
        if let Some(new) = self.wal.get(replica.wal.len()..until) {
            replica.wal.extend_from_slice(new);
        }
    }

    fn restart_replica(&mut self, index: usize) {
        let now = self.now;
        let replica = &mut self.replicas[index];
        replica.opened = now;
        if let Some((_, None)) = replica.probe {
            replica.probe = None;
        }
    }

    /// Not of a node that has gone another way: `roles` does not believe it.
    fn promote(&mut self, index: usize) {
        if !self.wal.starts_with(&self.replicas[index].wal) {
            return;
        }
        self.wal = self.replicas[index].wal.clone();
        self.timeline += 1;
        self.address = format!("p{}", self.timeline);
        self.append(16, false);
        self.flushed = self.wal.len();
        self.probe = None;
        // The machine of the old primary becomes a replica in the place of the promoted one.
        self.replicas[index].started += 1;
        self.replicas[index].timeline = None;
        self.restart_replica(index);
        self.replicas[index].probe = None;
    }

    fn commits(wal: &[Record]) -> BTreeSet<usize> {
        wal.iter().filter(|record| record.is_commit).map(|record| record.id).collect()
    }

    fn read(
        &mut self,
        session: usize,
        index: usize,
        table: u32,
        (level, arrived): (Level, Moment),
    ) {
        let around = Circumstances { arrived, group: None, others: self.tables.of([&table]) };
        let (replica, node) = (&self.replicas[index], NodeId(index as u32));
        let demand = Demand::new(level, &self.sessions[session].floor, &around, None);
        let Some(sight) = replica.progress.sight() else { return };
        if !demand.is_fresh(node, &sight.horizon, self.now)
            || !demand.is_fresh_on(node, sight, replica.opened)
        {
            return;
        }
        // What a promotion or a crash has lost is nowhere, so nobody can be shown it.
        let (kept, shown) = (Self::commits(&self.wal), Self::commits(&replica.wal));
        let owes = |write: &&Acknowledged| match level {
            Level::Global => write.session == session || write.table == table,
            Level::Strict => true,
            Level::Session | Level::Monotonic => write.session == session,
            Level::Eventual | Level::Bounded | Level::Primary => false,
        };
        let mut owed: BTreeSet<usize> =
            self.acknowledged.iter().filter(owes).map(|write| write.id).collect();
        let reader = &self.sessions[session];
        owed.extend(&reader.shown);
        if matches!(level, Level::Monotonic | Level::Strict) {
            owed.extend(&reader.shown_by_primary);
        }
        let missing: Vec<_> = owed.intersection(&kept).filter(|id| !shown.contains(id)).collect();
        assert!(missing.is_empty(), "a read at {level} on {index} misses {missing:?}: {self:#?}");
        self.fresh[LEVELS.iter().position(|one| *one == level).expect("a level")] += 1;
        let now = self.now;
        let reader = &mut self.sessions[session];
        reader.shown = shown;
        reader.floor.read(node, now);
    }

    fn probe_both(&mut self, index: usize) {
        self.now.0 += 1;
        self.probe = None;
        self.replicas[index].probe = None;
        (0..3).for_each(|_| self.step_primary_probe());
        (0..3).for_each(|_| self.step_replica_probe(index));
    }

    fn strict_read(&mut self, session: usize, index: usize) {
        let arrived = self.now;
        self.probe_both(index);
        self.read(session, index, 0, (Level::Strict, arrived));
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Tick(nanos) => self.now.0 += nanos,
            Op::Write { session, table, len, is_synchronous } => {
                self.write(session, table, len, is_synchronous);
            }
            Op::OpenWriter(len) => drop(self.append(len, false)),
            Op::Flush => self.flushed = self.wal.len(),
            Op::SwitchWal => {
                let end = end_of(&self.wal);
                let segment = u64::from(LAYOUT.segment);
                if !end.is_multiple_of(segment) {
                    self.records += 1;
                    let end = end - end % segment + segment;
                    self.wal.push(Record { end, id: self.records, is_commit: false });
                }
                self.flushed = self.wal.len();
            }
            Op::Replay { replica, records } => self.replay(replica, records),
            Op::ProbePrimary => self.step_primary_probe(),
            Op::ProbeReplica(index) => self.step_replica_probe(index),
            Op::CatchUp(replica) => {
                self.flushed = self.wal.len();
                self.replay(replica, usize::MAX);
                self.probe_both(replica);
            }
            Op::Read { session, replica, table, level } => {
                self.read(session, replica, table, (level, self.now));
            }
            Op::StrictRead { session, replica } => self.strict_read(session, replica),
            Op::ReadOnPrimary(session) => {
                let now = self.now;
                let reader = &mut self.sessions[session];
                reader.shown_by_primary = Self::commits(&self.wal);
                reader.floor.observed(now);
            }
            Op::CrashPrimary => {
                self.wal.truncate(self.flushed);
                if let Some((_, None)) = self.probe {
                    self.probe = None;
                }
            }
            Op::CrashReplica { replica, lost } => {
                let kept = self.replicas[replica].wal.len().saturating_sub(lost);
                self.replicas[replica].wal.truncate(kept);
                self.restart_replica(replica);
            }
            Op::Rebuild { replica, lost } => {
                let kept = self.flushed.saturating_sub(lost);
                self.replicas[replica].wal = self.wal.get(..kept).unwrap_or_default().to_vec();
                self.replicas[replica].started += 1;
                self.replicas[replica].timeline = None;
                self.restart_replica(replica);
            }
            Op::OpenServer(replica) => self.replicas[replica].opened = self.now,
            Op::Promote(replica) => self.promote(replica),
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let (session, replica) = (0..SESSIONS, 0..REPLICAS);
    let (table, len) = (0..TABLES, prop::sample::select(vec![8u64, 24, 64, 88, 104, 200]));
    let write = (session.clone(), table.clone(), len.clone(), any::<bool>());
    let read = (session.clone(), replica.clone(), table, prop::sample::select(&LEVELS[..3]));
    let replay = (replica.clone(), 1usize..6);
    let lost = (replica.clone(), 0usize..6);
    prop_oneof![
        12 => (0u64..3).prop_map(Op::Tick),
        10 => write.prop_map(|(session, table, len, is_synchronous)| Op::Write {
            session, table, len, is_synchronous
        }),
        2 => len.prop_map(Op::OpenWriter),
        4 => Just(Op::Flush),
        1 => Just(Op::SwitchWal),
        16 => replay.prop_map(|(replica, records)| Op::Replay { replica, records }),
        14 => Just(Op::ProbePrimary),
        24 => replica.clone().prop_map(Op::ProbeReplica),
        8 => replica.clone().prop_map(Op::CatchUp),
        20 => read.prop_map(|(session, replica, table, level)| Op::Read {
            session, replica, table, level
        }),
        6 => (session.clone(), replica.clone())
            .prop_map(|(session, replica)| Op::StrictRead { session, replica }),
        3 => session.prop_map(Op::ReadOnPrimary),
        1 => Just(Op::CrashPrimary),
        1 => lost.clone().prop_map(|(replica, lost)| Op::CrashReplica { replica, lost }),
        1 => lost.prop_map(|(replica, lost)| Op::Rebuild { replica, lost }),
        1 => replica.clone().prop_map(Op::OpenServer),
        1 => replica.prop_map(Op::Promote),
    ]
}

/// A read that is called fresh shows what its level promises; and many reads are.
#[test]
fn no_read_that_is_called_fresh_is_stale() {
    use proptest::test_runner::{Config, TestRunner};
    let fresh = std::cell::RefCell::new([0; 4]);
    let mut runner = TestRunner::new(Config::with_cases(128));
    runner
        .run(&prop::collection::vec(op(), 100..500), |ops| {
            let mut world = World::new();
            ops.into_iter().for_each(|op| world.step(op));
            let mut fresh = fresh.borrow_mut();
            fresh.iter_mut().zip(world.fresh).for_each(|(all, new)| *all += new);
            Ok(())
        })
        .expect("no stale read");
    let fresh = *fresh.borrow();
    assert!(fresh.iter().all(|count| *count > 150), "{fresh:?}");
}

/// A history by hand, in which every hour of a cluster's life has its reason.
#[test]
fn a_quiet_primary_does_not_lose_its_replicas() {
    let mut world = World::new();
    let probe = |world: &mut World| {
        world.probe_both(0);
        world.replicas[0].progress.horizon()
    };
    world.step(Op::Write { session: 0, table: 0, len: 64, is_synchronous: true });
    world.replay(0, 9);
    assert_eq!(probe(&mut world).insert, Some(world.now));
    world.step(Op::SwitchWal);
    world.replay(0, 9);
    assert_eq!(
        probe(&mut world).insert,
        Some(world.now),
        "the header behind the switch is no record"
    );
    let before = world.now;
    world.step(Op::OpenWriter(64));
    let horizon = probe(&mut world);
    assert_eq!((horizon.insert, horizon.flush), (Some(before), Some(world.now)), "an open writer");
    world.step(Op::Flush);
    world.replay(0, 9);
    assert_eq!(probe(&mut world).insert, Some(world.now));
}

/// Its position is behind what the session has seen there, and no write of the session's own is missing.
#[test]
fn a_replica_that_has_crashed_does_not_show_its_readers_less_than_before() {
    let mut world = World::new();
    let read = Op::Read { session: 0, replica: 0, table: 0, level: Level::Session };
    let ops = |world: &mut World, ops: &[Op]| ops.iter().for_each(|op| world.step(*op));
    let write = Op::Write { session: 1, table: 0, len: 64, is_synchronous: true };
    ops(&mut world, &[write, Op::Tick(1), Op::CatchUp(0), write, Op::Tick(1)]);
    ops(&mut world, &[Op::Replay { replica: 0, records: 1 }, read]);
    assert_eq!((world.fresh[0], world.sessions[0].shown.len()), (1, 2));
    ops(&mut world, &[Op::Tick(1), Op::CrashReplica { replica: 0, lost: 1 }, Op::Tick(1), read]);
    (0..3).for_each(|_| world.step_replica_probe(0));
    ops(&mut world, &[read]);
    assert_eq!(world.fresh[0], 1, "it is asked for what it has shown");
    ops(&mut world, &[Op::CatchUp(0), read]);
    assert_eq!(world.fresh[0], 2);
}
