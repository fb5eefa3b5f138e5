//! Drills: nodes are killed, frozen, promoted and returned while clients work.

use crate::riders::{Figures, Riders};
use crate::support::behaviour::eventually;
use crate::support::console::{Row, console, rows, rows_with, shows, the_row};
use crate::support::howdah::Howdah;
use crate::support::pair::{Pair, Trio, await_node, cut_off, follow};
use crate::support::postgres::{Postgres, RIDER};
use crate::support::wire::Wire;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

const RIDERS: u64 = 6;

/// Tables that riders use.
fn prepare(primary: &Postgres) {
    let mut admin = primary.admin("app");
    admin.run("CREATE TABLE written (id bigint)");
    admin.run("CREATE TABLE steady AS SELECT 1 AS one");
    admin.run("GRANT ALL ON written, steady TO public");
}

fn await_trio(console: &mut Wire, trio: &Trio) {
    await_node(console, &trio.primary, "primary", "up");
    for replica in &trio.replicas {
        await_reader(console, replica);
    }
}

/// Waits until a replica serves reads.
fn await_reader(console: &mut Wire, replica: &Postgres) {
    await_node(console, replica, "replica", "up");
    let name = replica.address().to_string();
    shows(console, &[("node", &name)], &[("nodes.may_read", "1")]);
}

/// Waits until so many writes are in a table, so that the riders have gone on.
fn await_writes(admin: &mut Wire, more: u64) {
    let count = |admin: &mut Wire| -> u64 {
        admin.rows("SELECT count(*) FROM written")[0][0].parse().expect("a number")
    };
    let before = count(admin);
    eventually("riders write", || count(admin) >= before + more);
}

fn written(admin: &mut Wire) -> BTreeSet<u64> {
    let rows = admin.rows("SELECT id FROM written");
    rows.into_iter().map(|mut row| row.remove(0).parse().expect("a number")).collect()
}

/// What was acknowledged and is not there.
fn lost(figures: &Figures, admin: &mut Wire) -> Vec<SystemTime> {
    let kept = written(admin);
    let acknowledged = figures.acknowledged.iter();
    acknowledged.filter(|(id, _)| !kept.contains(id)).map(|(_, at)| *at).collect()
}

/// The account of the fail-over to this node, when nothing more is counted in it.
fn account(howdah: &Howdah, console: &mut Wire, to: &Postgres) -> Row {
    let to = to.address().to_string();
    let line = format!("to {to}: of the statements");
    eventually("the account is closed", || howdah.log().contains(&line));
    let account = the_row(console, "failovers", &[("to_node", &to)]);
    println!("account: {account:?}");
    account
}

/// Reads that were repeated because a node refused them or was lost.
fn repeated(console: &mut Wire) -> u64 {
    let refused = rows_with(console, "routes", &[("reason", "refused")]);
    refused.iter().map(|row| row.get("count").parse::<u64>().expect("a number")).sum()
}

fn only_these(figures: &Figures, codes: &[&str]) {
    for ((what, code), count) in &figures.failed {
        assert!(codes.contains(&code.as_str()), "{count} x {code} in {what}");
    }
    assert_eq!(figures.disconnected, 0, "nobody was pinned");
}

#[test]
fn a_replica_that_dies_or_is_silent_costs_no_write_and_no_connection() {
    let mut trio = Trio::start();
    prepare(&trio.primary);
    let settings = trio.settings().set("routing.probe_timeout", "300ms");
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    await_trio(&mut console, &trio);
    let mut admin = trio.primary.admin("app");

    let riders = Riders::start(howdah.address(), RIDERS);
    let readers = Riders::start_readers(howdah.address(), RIDERS);
    await_writes(&mut admin, 50);
    trio.replicas[0].crash();
    let name = trio.replicas[0].address().to_string();
    shows(&mut console, &[("node", &name)], &[("nodes.state", "down")]);
    await_writes(&mut admin, 50);
    trio.replicas[0].start_again();
    await_reader(&mut console, &trio.replicas[0]);
    await_writes(&mut admin, 50);
    let figures = riders.stop();
    figures.print("replica killed with -9 and brought back");
    only_these(&figures, &["08006"]);
    assert_eq!(figures.failed_writes(), 0);
    assert_eq!(figures.failures_of("read"), 0, "what was not answered is repeated");
    let figures = readers.stop();
    figures.print("the same, who only reads");
    only_these(&figures, &[]);
    let repeated = repeated(&mut console);
    assert!(repeated > 0, "nobody read from the replica that was killed");

    let riders = Riders::start(howdah.address(), RIDERS);
    let readers = Riders::start_readers(howdah.address(), RIDERS);
    await_writes(&mut admin, 50);
    trio.replicas[1].freeze();
    let name = trio.replicas[1].address().to_string();
    shows(&mut console, &[("node", &name)], &[("nodes.state", "down")]);
    await_writes(&mut admin, 50);
    trio.replicas[1].thaw();
    await_reader(&mut console, &trio.replicas[1]);
    await_writes(&mut admin, 50);
    let figures = riders.stop();
    figures.print("replica frozen by SIGSTOP");
    only_these(&figures, &["08006"]);
    assert_eq!(figures.failed_writes(), 0);
    assert_eq!(figures.failures_of("read"), 0, "what was not answered is repeated");
    let figures = readers.stop();
    figures.print("the same, who only reads");
    only_these(&figures, &[]);
    // Three time-outs of 300 ms and the pauses between them, on a machine with other work.
    let longest = figures.longest("slow read");
    let given_up = Duration::from_millis(500)..Duration::from_secs(5);
    assert!(given_up.contains(&longest), "{longest:?}");
    assert!(self::repeated(&mut console) > repeated, "nobody read from the frozen replica");
}

#[test]
fn the_primary_is_killed_another_promoted_and_the_old_one_returns() {
    let mut trio = Trio::start();
    prepare(&trio.primary);
    let howdah = Howdah::start(&trio.settings());
    let mut console = console(&howdah);
    await_trio(&mut console, &trio);
    let riders = Riders::start(howdah.address(), RIDERS);
    await_writes(&mut trio.primary.admin("app"), 50);
    trio.primary.crash();
    let old = trio.primary.address().to_string();
    shows(&mut console, &[("node", &old)], &[("nodes.state", "down")]);
    let promoted = &trio.replicas[0];
    promoted.promote();
    await_node(&mut console, promoted, "primary", "up");
    follow(&trio.replicas[1], promoted);
    let mut admin = promoted.admin("app");
    await_writes(&mut admin, 50);
    await_reader(&mut console, &trio.replicas[1]);

    // It returns, and takes itself for the primary.
    trio.primary.start_again();
    await_node(&mut console, &trio.primary, "fenced", "refused");
    let mut returned = trio.primary.admin("app");
    let before = written(&mut returned);
    await_writes(&mut admin, 100);
    assert_eq!(written(&mut returned), before, "nobody writes to the node that returned");
    let figures = riders.stop();
    assert_eq!(written(&mut returned), before);
    figures.print("primary killed with -9, a replica promoted, the old primary returned");
    only_these(&figures, &["08006", "08007"]);

    let account = account(&howdah, &mut console, promoted);
    let number = |column| account.get(column).parse::<u64>().expect("a number");
    assert_eq!(number("in_doubt"), figures.failures("08007"), "{account:?}");
    assert!(number("failed") <= figures.failures("08006"), "{account:?}");
    assert!(number("waited") > 0, "{account:?}");
    assert_in_account(&figures, &account, &mut admin);
    // What is in doubt was done once or not at all.
    let twice = admin.rows("SELECT id FROM written GROUP BY id HAVING count(*) > 1");
    assert_eq!(twice, Vec::<Vec<String>>::new(), "nothing is repeated");
}

/// Every acknowledged write that is lost lies in the time that the account names; gives how many are lost.
fn assert_in_account(figures: &Figures, account: &Row, admin: &mut Wire) -> usize {
    let lost = lost(figures, admin);
    println!("{} acknowledged writes are lost", lost.len());
    let mut seconds = |column| {
        let text = account.get(column);
        let sql = format!("SELECT extract(epoch FROM timestamptz '{text}')");
        (!text.is_empty()).then(|| admin.rows(&sql)[0][0].parse::<f64>().expect("a number"))
    };
    let (after, until) = (seconds("lost_after"), seconds("lost_until"));
    for at in &lost {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let until = until.expect("the account says until when");
        // What is shown has whole seconds.
        assert!(after.is_none_or(|after| at >= after - 1.0), "{at} is before {after:?}");
        assert!(at <= until + 2.0, "{at} is behind {until}");
    }
    lost.len()
}

#[test]
fn acknowledged_writes_that_are_lost_are_in_the_account() {
    let Pair { mut primary, replica } = Pair::start();
    prepare(&primary);
    let nodes = [&primary, &replica].map(|node| node.address().to_string());
    let howdah = Howdah::start(&crate::support::pair::of_nodes(nodes.to_vec()));
    let mut console = console(&howdah);
    await_node(&mut console, &primary, "primary", "up");
    await_reader(&mut console, &replica);
    let riders = Riders::start(howdah.address(), RIDERS);
    let mut admin = primary.admin("app");
    await_writes(&mut admin, 20);
    // From here on every write is lost with the primary.
    cut_off(&replica);
    await_writes(&mut admin, 50);
    primary.crash();
    let old = primary.address().to_string();
    shows(&mut console, &[("node", &old)], &[("nodes.state", "down")]);
    replica.promote();
    await_node(&mut console, &replica, "primary", "up");
    let mut admin = replica.admin("app");
    await_writes(&mut admin, 20);
    let figures = riders.stop();
    figures.print("the primary is lost with what its replica did not get");
    only_these(&figures, &["08006", "08007"]);
    let account = account(&howdah, &mut console, &replica);
    let lost = assert_in_account(&figures, &account, &mut admin);
    // Each rider may have died with one write that was there and was not acknowledged.
    assert!(lost >= 50 - usize::try_from(RIDERS).expect("few"), "{lost}");
    assert!(account.get("loss").contains("may be lost"), "{account:?}");
    assert!(account.number("lost_bytes") > 0.0, "{account:?}");
}

#[test]
fn with_synchronous_standbys_no_acknowledged_write_is_lost() {
    let Pair { mut primary, replica } = Pair::start();
    prepare(&primary);
    let mut admin = primary.admin("app");
    // The server's command line turns it off.
    admin.run(&format!("ALTER ROLE {RIDER} SET synchronous_commit = on"));
    admin.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    admin.run("SELECT pg_reload_conf()");
    eventually("the replica is synchronous", || {
        admin.rows("SELECT sync_state FROM pg_stat_replication") == [["sync"]]
    });
    let nodes = [&primary, &replica].map(|node| node.address().to_string());
    let howdah = Howdah::start(&crate::support::pair::of_nodes(nodes.to_vec()));
    let mut console = console(&howdah);
    await_node(&mut console, &primary, "primary", "up");
    await_reader(&mut console, &replica);
    let riders = Riders::start(howdah.address(), RIDERS);
    await_writes(&mut admin, 100);
    primary.crash();
    let old = primary.address().to_string();
    shows(&mut console, &[("node", &old)], &[("nodes.state", "down")]);
    // It would wait for a standby of its own.
    replica.admin("app").run("ALTER SYSTEM SET synchronous_standby_names = ''");
    replica.promote();
    await_node(&mut console, &replica, "primary", "up");
    let mut admin = replica.admin("app");
    await_writes(&mut admin, 50);
    let figures = riders.stop();
    figures.print("the primary is lost, with a synchronous standby");
    only_these(&figures, &["08006", "08007"]);
    assert_eq!(lost(&figures, &mut admin).len(), 0, "acknowledged and lost");
    let account = account(&howdah, &mut console, &replica);
    assert!(account.get("loss").starts_with("no acknowledged write is lost"), "{account:?}");
    assert_eq!(rows(&mut console, "failovers").len(), 1);
}
