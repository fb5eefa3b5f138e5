//! Databases with several nodes: what the prober finds out, and what it says of it.

mod support;

use howdah::config::HIDDEN;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use support::behaviour::{client, eventually, last_words, told};
use support::console::{console, exceeds, rows, rows_with, shows, the_row};
use support::free_port;
use support::howdah::{Howdah, Settings, binary};
use support::pair::{PROBE, Pair, await_node, node_row, of_nodes, start_primary};
use support::postgres::{APP, PASSWORD};
use support::relay::{Manner, Relay};
use support::wire::Wire;

fn await_log(howdah: &Howdah, text: &str) {
    eventually(text, || howdah.log().contains(text));
}

fn has_event(wire: &mut Wire, text: &str) -> bool {
    let events = rows_with(wire, "events", &[("kind", "node")]);
    events.iter().any(|event| event.get("message").contains(text))
}

#[test]
fn show_nodes_tells_the_primary_from_its_replica_and_how_far_it_is() {
    let pair = Pair::start();
    let howdah = Howdah::start(&pair.settings());
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    let replica = pair.replica.address().to_string();
    let it = [("node", replica.as_str())];
    let serves = [
        ("nodes.database", "app"),
        ("nodes.role", "replica"),
        ("nodes.state", "up"),
        ("nodes.may_read", "1"),
        ("nodes.weight", "1"),
        ("nodes.share", "1"),
        ("nodes.outstanding", "0"),
        ("nodes.reads", "0"),
        ("nodes.suspect", "0"),
        ("nodes.lag_bytes", "0"),
        ("nodes.differs", ""),
        ("nodes.last_error", ""),
        ("nodes.last_error_time", ""),
    ];
    shows(&mut console, &it, &serves);
    // "nodes.node", "nodes.since", "nodes.lag_ms"
    let row = node_row(&mut console, &pair.replica);
    assert!(row.number("lag_ms") < 10_000.0 && !row.get("since").is_empty(), "{row:?}");
    assert_eq!(node_row(&mut console, &pair.primary).get("lag_ms"), "");
    assert!(has_event(&mut console, "is the primary, on timeline 1"));
    // It stands still: its horizon grows old while the primary goes on.
    let mut standing = pair.replica.admin("app");
    standing.run("SELECT pg_wal_replay_pause()");
    let mut writer = pair.primary.admin("app");
    writer.run("CREATE TABLE written AS SELECT generate_series(1, 1000)");
    exceeds(&mut console, &it, "nodes.lag_bytes", 1000.0);
    exceeds(&mut console, &it, "nodes.lag_ms", 300.0);
    exceeds(&mut console, &it, "nodes.horizon_age_ms", 300.0);
    standing.run("SELECT pg_wal_replay_resume()");
    shows(&mut console, &it, &[("nodes.lag_bytes", "0")]);
    // The probes are seen there under their own name, over one connection.
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'howdah probe'";
    eventually("one probe", || writer.rows(sql) == [["1"]]);
}

/// The answer to `GET path`.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn figures_and_the_page_have_the_nodes_and_where_statements_went() {
    let pair = Pair::start();
    let port = free_port();
    let settings = pair
        .settings()
        .set("routing.consistency", "eventual")
        .set("http.listen", format!("127.0.0.1:{port}"));
    let howdah = Howdah::start(&settings);
    let replica = pair.replica.address().to_string();
    let serves = [("nodes.role", "replica"), ("nodes.may_read", "1")];
    shows(&mut console(&howdah), &[("node", &replica)], &serves);
    let mut reader = client(&howdah, "app");
    let figure = |series: &str| {
        let metrics = get(port, "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix(series).map(str::to_owned));
        line.map_or(0.0, |value| value.trim().parse::<f64>().expect("a number"))
    };
    let of_node = |name: &str| format!("howdah_node_{name}{{database=\"app\",node=\"{replica}\"}}");
    eventually("a read there", || {
        reader.rows("SELECT 1");
        figure(&of_node("reads_total")) > 0.0
    });
    let routed = |target: &str, reason: &str| {
        let labels = format!("database=\"app\",target=\"{target}\",reason=\"{reason}\"");
        figure(&format!("howdah_routed_total{{{labels}}}"))
    };
    assert!(routed("replica", "read") > 0.0, "{}", get(port, "/metrics"));
    assert!(routed("primary", "definition") < 1.0);
    reader.run("CREATE TABLE public.made ()");
    assert!(routed("primary", "definition") > 0.0, "{}", get(port, "/metrics"));
    assert!(figure(&of_node("may_read")) > 0.0);
    let data = get(port, "/data.json");
    assert!(data.contains(&format!("\"node\":\"{replica}\",\"role\":\"replica\"")), "{data}");
    assert!(get(port, "/").contains("<div id=\"nodes\">"));
}

#[test]
fn a_promotion_changes_roles_and_has_an_account() {
    let pair = Pair::start();
    let howdah = Howdah::start(&pair.settings());
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    assert!(rows(&mut console, "failovers").is_empty());
    let (old, new) = (pair.primary.address().to_string(), pair.replica.address().to_string());
    drop(pair.primary);
    shows(&mut console, &[("node", &old)], &[("nodes.state", "down")]);
    let gone = the_row(&mut console, "nodes", &[("node", &old)]);
    assert!(!gone.get("last_error").is_empty() && !gone.get("last_error_time").is_empty());
    await_log(&howdah, "there is no primary");
    pair.replica.admin("app").run("SELECT pg_promote()");
    await_node(&mut console, &pair.replica, "primary", "up");
    await_log(&howdah, &format!("node {new} is the primary instead of {old}, on timeline 2"));
    let account = [
        ("failovers.database", "app"),
        ("failovers.from_node", old.as_str()),
        ("failovers.from_timeline", "1"),
        ("failovers.to_node", new.as_str()),
        ("failovers.to_timeline", "2"),
        ("failovers.lost_bytes", "0"),
        ("failovers.failed", "0"),
        ("failovers.waited", "0"),
        ("failovers.repeated", "0"),
        ("failovers.in_doubt", "0"),
    ];
    shows(&mut console, &[], &account);
    // "failovers.switch_lsn", "failovers.loss", "failovers.lost_after", "failovers.lost_until"
    let row = the_row(&mut console, "failovers", &[]);
    assert!(row.get("switch_lsn").starts_with("0/") && row.get("loss").contains("may be lost"));
    assert!(!row.get("lost_after").is_empty() && !row.get("lost_until").is_empty(), "{row:?}");
    // "failovers.began", "failovers.ended", "failovers.gap_ms"
    assert!(row.get("began") <= row.get("ended") && row.number("gap_ms") > 0.0, "{row:?}");
    assert!(has_event(&mut console, "fail-over from"));
}

#[test]
fn a_node_that_is_down_or_frozen_is_said_so_and_comes_back() {
    let pair = Pair::start();
    let settings = pair.settings().set("routing.probe_timeout", "300ms");
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    await_node(&mut console, &pair.replica, "replica", "up");
    let name = pair.replica.address().to_string();
    // A postmaster that stands still lets its old servers answer, and no new one in.
    let postmaster = Pid::from_raw(pair.replica.pid().cast_signed()).expect("a pid");
    kill_process(postmaster, Signal::STOP).expect("a process of our own");
    let backends = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE application_name = 'howdah probe'";
    let frozen = "no answer within 300 ms (probe_timeout)";
    shows(&mut console, &[("node", &name)], &[("nodes.state", "down"), ("nodes.may_read", "0")]);
    await_log(&howdah, frozen);
    kill_process(postmaster, Signal::CONT).expect("a process of our own");
    await_node(&mut console, &pair.replica, "replica", "up");
    // A connection that ends is made anew at once.
    pair.replica.admin("app").run(backends);
    await_node(&mut console, &pair.replica, "replica", "up");
    drop(pair.replica);
    shows(&mut console, &[("node", &name)], &[("nodes.state", "down")]);
    await_log(&howdah, &format!("node {name} is down"));
}

#[test]
fn a_node_of_another_cluster_is_refused_by_name() {
    let pair = Pair::start();
    let stranger = start_primary();
    stranger.admin("app").run(&format!("CREATE ROLE {PROBE} LOGIN; GRANT pg_monitor TO {PROBE}"));
    let mut nodes = pair.nodes();
    nodes.push(stranger.address().to_string());
    let howdah = Howdah::start(&of_nodes(nodes));
    let mut console = console(&howdah);
    await_node(&mut console, &stranger, "refused", "refused");
    await_node(&mut console, &pair.primary, "primary", "up");
    let said = format!("node {} belongs to another cluster and is not used", stranger.address());
    await_log(&howdah, &said);
    assert!(has_event(&mut console, &said));
}

/// What a process with these settings says that does not start.
fn refused_start(settings: &Settings) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("howdah.toml");
    let socket = folder.path().to_str().expect("a UTF-8 path");
    let settings = settings.clone().set("howdah.listen_port", i64::from(free_port()));
    let text = settings.set("howdah.unix_socket_dir", socket).text();
    std::fs::write(&file, text).expect("a writable folder");
    let output = Command::new(binary()).arg("run").arg(&file).output().expect("the binary");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_a_probe_user_the_process_does_not_start_and_says_what_to_do() {
    let pair = Pair::of(start_primary());
    let settings = pair.settings();
    let said = refused_start(&settings);
    let remedy = "CREATE ROLE howdah LOGIN PASSWORD '…'; GRANT pg_monitor TO howdah";
    assert!(said.contains("routing.probe_user: ") && said.contains(remedy), "{said}");
    let said = refused_start(&settings.clone().set("routing.probe_dbname", "nowhere"));
    assert!(said.contains(remedy), "who is not let in is not told of databases: {said}");
    let mut admin = pair.primary.admin("app");
    admin.run(&format!("CREATE ROLE {PROBE} LOGIN"));
    pair.await_replay();
    let said = refused_start(&settings);
    assert!(said.contains("; on the primary: GRANT pg_monitor TO howdah"), "{said}");
    admin.run(&format!("GRANT pg_monitor TO {PROBE}"));
    pair.await_replay();
    let said = refused_start(&settings.clone().set("routing.probe_dbname", "nowhere"));
    assert!(said.contains("set routing.probe_dbname to a database that is there"), "{said}");
    await_node(&mut console(&Howdah::start(&settings)), &pair.replica, "replica", "up");
}

#[test]
fn where_no_node_answers_yet_the_process_starts_and_keeps_trying() {
    let pair = Pair::start();
    let relays =
        [&pair.primary, &pair.replica].map(|node| Relay::start(node.address(), Manner::Refuse));
    let nodes = relays.iter().map(|relay| relay.address().to_string()).collect();
    let howdah = Howdah::start(&of_nodes(nodes));
    await_log(&howdah, "no node can be probed yet");
    relays.iter().for_each(|relay| relay.set(Manner::Pass));
    let name = relays[1].address().to_string();
    shows(&mut console(&howdah), &[("node", &name)], &[("nodes.role", "replica")]);
}

#[test]
fn a_probe_user_that_loses_its_right_or_its_password_is_said_so() {
    let pair = Pair::start();
    let settings = pair.settings();
    let howdah = Howdah::start(&settings);
    await_node(&mut console(&howdah), &pair.replica, "replica", "up");
    let mut admin = pair.primary.admin("app");
    admin.run(&format!("REVOKE pg_monitor FROM {PROBE}"));
    pair.await_replay();
    howdah.signal(Signal::HUP);
    await_log(&howdah, "; on the primary: GRANT pg_monitor TO howdah");
    howdah.configure(&settings.set("routing.probe_user", "nobody_at_all"));
    howdah.signal(Signal::HUP);
    await_log(&howdah, "CREATE ROLE nobody_at_all LOGIN PASSWORD '…'");
    assert_eq!(howdah.log().matches("cannot be probed").count(), 1, "{}", howdah.log());
}

#[test]
fn a_probe_logs_in_with_its_own_user_password_and_database() {
    let primary = start_primary();
    primary.admin("app").run(&format!("GRANT pg_monitor TO {APP}"));
    let pair = Pair::of(primary);
    let wrong = pair
        .settings()
        .set("routing.probe_user", APP)
        .set("routing.probe_dbname", "app")
        .set("routing.probe_password", "not it");
    let said = refused_start(&wrong);
    assert!(said.contains("cannot be probed: password authentication failed"), "{said}");
    assert!(!said.contains("not it"), "{said}");
    let right = wrong.set("routing.probe_password", PASSWORD);
    let howdah = Howdah::start(&right);
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    let sql = "SELECT DISTINCT usename, datname FROM pg_stat_activity \
               WHERE application_name = 'howdah probe'";
    assert_eq!(pair.primary.admin("app").rows(sql), [[APP, "app"]]);
    let shown = the_row(&mut console, "config", &[("key", "probe_password")]);
    assert_eq!(shown.get("value"), HIDDEN);
    assert!(!howdah.log().contains(PASSWORD) && !howdah.log().contains("not it"));
}

#[test]
fn a_list_that_changes_is_probed_anew_and_one_that_does_not_goes_on() {
    let pair = Pair::start();
    let before = pair.settings();
    let howdah = Howdah::start(&before);
    let mut console = console(&howdah);
    await_node(&mut console, &pair.replica, "replica", "up");
    let name = pair.replica.address().to_string();
    shows(&mut console, &[("node", &name)], &[("nodes.near", "1")]);
    let promotions = || howdah.log().matches("is the primary, on timeline 1").count();
    let reload = |settings: &Settings| {
        let before = howdah.log().matches("configuration reloaded").count();
        howdah.configure(settings);
        howdah.signal(Signal::HUP);
        eventually("the reload", || {
            howdah.log().matches("configuration reloaded").count() > before
        });
    };
    // None of the nodes is where this process stands.
    let before = before.set("routing.zone", "a");
    reload(&before.clone().set("databases.other.nodes", pair.nodes()));
    let both = [("database", "app,other"), ("role", "replica")];
    eventually("both databases", || rows_with(&mut console, "nodes", &both).len() == 1);
    shows(&mut console, &[("node", &name)], &[("nodes.near", "0")]);
    assert_eq!(promotions(), 1, "the list is the same");
    reload(&before.clone().set("databases.app.nodes", vec![pair.primary.address().to_string()]));
    assert!(rows(&mut console, "nodes").is_empty(), "one node is not probed");
    reload(&before);
    await_node(&mut console, &pair.replica, "replica", "up");
    eventually("the new list has its own primary", || promotions() == 2);
}

#[test]
fn sessions_end_behind_their_transaction_when_their_database_gets_other_nodes() {
    let pair = Pair::start();
    let settings = pair.settings();
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    await_node(&mut console, &pair.replica, "replica", "up");
    let (mut idle, mut busy) = (client(&howdah, "app"), client(&howdah, "app"));
    idle.run("SELECT 1");
    busy.run("BEGIN");
    busy.run("CREATE TABLE public.made ()");
    // The same nodes in another order: another list.
    let turned: Vec<String> = pair.nodes().into_iter().rev().collect();
    howdah.configure(&settings.set("databases.app.nodes", turned));
    howdah.signal(Signal::HUP);
    eventually("the reload", || howdah.log().contains("configuration reloaded"));
    assert!(told(&last_words(&mut idle)).starts_with("FATAL 57P01"));
    busy.run("COMMIT");
    assert!(told(&last_words(&mut busy)).starts_with("FATAL 57P01"));
    eventually("the new list has its own primary", || {
        howdah.log().matches("is the primary, on timeline 1").count() == 2
    });
    client(&howdah, "app").run("TABLE made");
}
