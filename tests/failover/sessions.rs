//! What one session sees when its server ends, where its database has several nodes.

use crate::support::behaviour::{
    await_statement, client, eventually, hint, kill_server, last_words, servers, settle, the_error,
    told, until_closed, value,
};
use crate::support::console::{console, shows, the_row};
use crate::support::howdah::{Howdah, Settings};
use crate::support::messages;
use crate::support::pair::{Pair, await_node, of_nodes};
use crate::support::postgres::Postgres;
use crate::support::relay::{Manner, Relay};
use crate::support::transcript::Frame;
use crate::support::wire::{Wire, lines};
use std::sync::OnceLock;
use tokio::time::Instant;

/// The pair of all tests that end only servers of their own.
fn shared() -> &'static Pair {
    static SHARED: OnceLock<Pair> = OnceLock::new();
    SHARED.get_or_init(Pair::start)
}

/// A database on a primary and its replica, and howdah between. One worker, so that what one client was
/// answered says that earlier bytes were read.
struct Stage {
    howdah: Howdah,
    database: &'static str,
    admin: Wire,
    replica: Wire,
}

impl Stage {
    /// With a database of the test's own on the shared pair.
    fn start(database: &'static str) -> Self {
        Self::start_with(shared(), database, |settings| settings)
    }

    fn start_with(
        pair: &Pair,
        database: &'static str,
        change: impl Fn(Settings) -> Settings,
    ) -> Self {
        pair.primary.create_database(database);
        let mut admin = pair.primary.admin(database);
        admin.run("CREATE TABLE written (id int PRIMARY KEY)");
        admin.run("GRANT ALL ON written TO public");
        pair.await_replay();
        let replica = pair.replica.admin(database);
        let settings = pair.settings().set(&format!("databases.{database}.nodes"), pair.nodes());
        let howdah = Howdah::start(&change(settings.set("howdah.workers", 1)));
        let mut console = console(&howdah);
        await_node(&mut console, &pair.primary, "primary", "up");
        await_node(&mut console, &pair.replica, "replica", "up");
        let name = pair.replica.address().to_string();
        shows(&mut console, &[("node", &name)], &[("nodes.may_read", "1")]);
        Self { howdah, database, admin, replica }
    }

    fn client(&self) -> Wire {
        client(&self.howdah, self.database)
    }

    /// Ends every server on the primary that somebody has in the test's database.
    fn end_servers(&mut self) {
        for pid in servers(&mut self.admin, self.database) {
            kill_server(&mut self.admin, &pid);
        }
    }

    /// Waits until a statement with this text runs on the primary.
    fn await_statement(&mut self, text: &str) {
        await_statement(&mut self.admin, self.database, text);
    }

    /// Howdah has seen what happened to its servers.
    fn settle(&self) {
        settle(&mut self.client());
    }

    fn ids(&mut self) -> String {
        value(
            &mut self.admin,
            "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM written",
        )
    }
}

/// The tags of an answer, with codes of errors, tags of commands and the status.
fn brief(frames: &[Frame]) -> String {
    let said = frames.iter().map(|frame| match frame.tag {
        b'E' => format!("E:{}", frame.field(b'C').unwrap_or_default()),
        b'C' => format!("C:{}", String::from_utf8_lossy(&frame.body[..frame.body.len() - 1])),
        b'Z' => format!("Z:{}", char::from(frame.body[0])),
        tag => char::from(tag).to_string(),
    });
    said.collect::<Vec<_>>().join(" ")
}

fn ask(wire: &mut Wire, sql: &str) -> String {
    brief(&wire.query(sql))
}

#[test]
fn an_idle_transaction_fails_with_the_next_statement_and_the_session_goes_on() {
    let mut stage = Stage::start("lost_idle");
    let mut client = stage.client();
    client.run("SET application_name = 'mine'");
    client.run("BEGIN");
    client.run("INSERT INTO written VALUES (1)");
    stage.end_servers();
    let frames = client.query("SELECT 1");
    assert_eq!(brief(&frames), "E:08006 Z:E");
    let error = the_error(&frames);
    assert_eq!(told(&error), "ERROR 08006 the transaction was lost with its server");
    assert!(hint(&error).contains("Roll it back"), "{}", hint(&error));
    assert_eq!(ask(&mut client, "SELECT 1"), "E:25P02 Z:E");
    assert_eq!(ask(&mut client, "SAVEPOINT a"), "E:25P02 Z:E");
    assert_eq!(ask(&mut client, "ROLLBACK TO a"), "E:25P02 Z:E");
    assert_eq!(ask(&mut client, ""), "I Z:E");
    assert_eq!(ask(&mut client, "COMMIT"), "C:ROLLBACK Z:I");
    assert_eq!(value(&mut client, "SHOW application_name"), "mine");
    assert_eq!(ask(&mut client, "INSERT INTO written VALUES (2)"), "C:INSERT 0 1 Z:I");
    assert_eq!(stage.ids(), "2");
}

#[test]
fn a_client_that_commits_what_was_lost_is_told_and_one_that_rolls_back_need_not_be() {
    let mut stage = Stage::start("lost_commits");
    let mut client = stage.client();
    for (end, expected) in [
        ("COMMIT", "E:08006 Z:I"),
        ("END", "E:08006 Z:I"),
        ("ROLLBACK", "C:ROLLBACK Z:I"),
        ("ABORT", "C:ROLLBACK Z:I"),
        // What follows runs on another server.
        ("ROLLBACK; SELECT 1", "C:ROLLBACK T D C:SELECT 1 Z:I"),
        ("ROLLBACK; BEGIN", "C:ROLLBACK C:BEGIN Z:T"),
    ] {
        client.run("BEGIN");
        client.run("INSERT INTO written VALUES (1)");
        stage.end_servers();
        assert_eq!(ask(&mut client, end), expected, "{end}");
    }
    client.run("COMMIT");
    assert_eq!(stage.ids(), "");
}

#[test]
fn what_runs_fails_and_is_in_doubt_only_if_it_may_have_been_done() {
    let mut stage = Stage::start("lost_runs");
    let mut client = stage.client();
    let sleep = "pg_sleep(600)";
    for (before, sql, expected) in [
        ("", format!("INSERT INTO written SELECT 1 FROM {sleep}"), "E:08007 Z:I"),
        ("", format!("/* howdah: primary */ SELECT id, {sleep} FROM written"), "T E:08006 Z:I"),
        ("", format!("BEGIN; SELECT {sleep}"), "C:BEGIN T E:08006 Z:E"),
        ("BEGIN", format!("INSERT INTO written SELECT 1 FROM {sleep}"), "E:08006 Z:E"),
        ("BEGIN", format!("SELECT {sleep}; COMMIT"), "T E:08007 Z:I"),
    ] {
        stage.admin.run("INSERT INTO written VALUES (0)");
        if !before.is_empty() {
            client.run(before);
        }
        client.send(&messages::query(&sql));
        stage.await_statement("pg_sleep");
        stage.end_servers();
        let frames = client.until(b'Z');
        // A row description may have been on its way, or not.
        assert_eq!(
            brief(&frames).trim_start_matches("T "),
            expected.trim_start_matches("T "),
            "{sql}"
        );
        assert!(told(&the_error(&frames)).starts_with("ERROR "), "{sql}");
        if expected.ends_with('E') {
            assert_eq!(ask(&mut client, "SELECT 1"), "E:25P02 Z:E");
            assert_eq!(ask(&mut client, "COMMIT"), "C:ROLLBACK Z:I");
        }
        assert_eq!(value(&mut client, "SELECT 1 FOR UPDATE"), "1");
        assert_eq!(stage.ids(), "0");
        stage.admin.run("DELETE FROM written");
    }
}

#[test]
fn in_a_pipeline_each_unit_has_its_own_answer() {
    let mut stage = Stage::start("lost_pipeline");
    let mut client = stage.client();
    let slow = "/* howdah: primary */ SELECT pg_sleep(600)";
    let units = [slow, "INSERT INTO written VALUES (1)", "BEGIN", "INSERT INTO written VALUES (2)"];
    let units = units.into_iter().chain(["COMMIT", "SELECT 1"]);
    let bytes: Vec<u8> = units.flat_map(messages::query).collect();
    client.send(&bytes);
    stage.await_statement("pg_sleep");
    settle(&mut stage.client());
    stage.end_servers();
    let mut said = Vec::new();
    for _ in 0..6 {
        said.push(brief(&client.until(b'Z')).trim_start_matches("T ").to_owned());
    }
    let expected =
        ["E:08006 Z:I", "E:08007 Z:I", "E:08006 Z:E", "E:08006 Z:E", "E:08007 Z:I", "E:08006 Z:I"];
    assert_eq!(said, expected);
    assert_eq!(stage.ids(), "");
    client.run("INSERT INTO written VALUES (3)");
    assert_eq!(stage.ids(), "3");
}

/// Parse, Bind, Describe of the portal and Execute of one text.
fn steps(sql: &str) -> Vec<u8> {
    let steps = [
        messages::parse("", sql, &[]),
        messages::bind(&messages::Bind::default()),
        messages::describe(b'P', ""),
        messages::execute("", 0),
    ];
    steps.concat()
}

#[test]
fn a_batch_is_dropped_until_its_sync_and_what_ends_the_block_is_taken() {
    let mut stage = Stage::start("lost_batch");
    let mut client = stage.client();
    client.send(&[messages::parse("end", "ROLLBACK", &[]), messages::sync()].concat());
    client.until(b'Z');
    // A batch that is not whole.
    client.run("BEGIN");
    client.send(&[steps("SELECT pg_sleep(600)"), messages::flush()].concat());
    stage.await_statement("pg_sleep");
    stage.end_servers();
    let frames = client.until(b'E');
    assert_eq!(brief(&frames), "1 2 T E:08006");
    client.send(&steps("INSERT INTO written VALUES (1)"));
    client.send(&messages::sync());
    assert_eq!(brief(&client.until(b'Z')), "Z:E");
    client.send(&[steps("SELECT 1"), messages::sync()].concat());
    assert_eq!(brief(&client.until(b'Z')), "E:25P02 Z:E");
    // A statement that was prepared before, and what follows the end of the block in the same batch.
    let end = [
        messages::bind(&messages::Bind { statement: "end".into(), ..Default::default() }),
        messages::describe(b'P', ""),
        messages::execute("", 0),
        steps("INSERT INTO written VALUES (2)"),
        messages::sync(),
    ];
    client.send(&end.concat());
    assert_eq!(brief(&client.until(b'Z')), "2 n C:ROLLBACK 1 2 n C:INSERT 0 1 Z:I");
    // One that is prepared while there is no server.
    client.run("BEGIN");
    stage.end_servers();
    let end = [messages::parse("new", "rollback", &[]), messages::describe(b'S', "new")].concat();
    let run = [
        messages::bind(&messages::Bind { statement: "new".into(), ..Default::default() }),
        messages::execute("", 0),
        messages::sync(),
    ];
    client.send(&[end, run.concat()].concat());
    assert_eq!(brief(&client.until(b'Z')), "1 t n 2 C:ROLLBACK Z:I");
    client.run("BEGIN");
    client.send(&run.concat());
    assert_eq!(brief(&client.until(b'Z')), "2 C:ROLLBACK Z:I", "a server knows it too");
    assert_eq!(stage.ids(), "2");
}

#[test]
fn a_copy_that_waits_for_rows_has_changed_nothing() {
    let mut stage = Stage::start("lost_copies");
    let mut client = stage.client();
    client.send(&messages::query("COPY written FROM STDIN"));
    client.until(b'G');
    client.send(&messages::copy_data(b"1\n"));
    settle(&mut stage.client());
    stage.end_servers();
    assert_eq!(brief(&client.until(b'Z')), "E:08006 Z:I");
    // It has sent more before it heard of that.
    client.send(&[messages::copy_data(b"2\n"), messages::copy_done()].concat());
    assert_eq!(ask(&mut client, "INSERT INTO written VALUES (3)"), "C:INSERT 0 1 Z:I");
    // The extended protocol: everything is dropped until Sync.
    client.run("BEGIN");
    client.send(&[steps("COPY written FROM STDIN"), messages::flush()].concat());
    client.until(b'G');
    stage.end_servers();
    assert_eq!(brief(&client.until(b'E')), "E:08006");
    client.send(&[messages::copy_data(b"4\n"), messages::copy_done(), messages::sync()].concat());
    assert_eq!(brief(&client.until(b'Z')), "Z:E");
    assert_eq!(ask(&mut client, "ROLLBACK"), "C:ROLLBACK Z:I");
    assert_eq!(stage.ids(), "3");
}

#[test]
fn settings_of_the_lost_transaction_are_gone_and_others_stay() {
    let mut stage = Stage::start("lost_settings");
    let mut client = stage.client();
    client.run("SET TimeZone = 'Asia/Tokyo'");
    client.run("SET work_mem = '7MB'");
    client.run("BEGIN");
    client.run("SET TimeZone = 'Europe/Berlin'");
    client.run("SET work_mem = '8MB'");
    stage.end_servers();
    let frames = client.query("SELECT 1");
    assert_eq!(brief(&frames), "S E:08006 Z:E", "{}", lines(&frames));
    assert!(frames[0].line().contains("Asia/Tokyo"), "{}", frames[0].line());
    client.run("ROLLBACK");
    assert_eq!(value(&mut client, "SHOW TimeZone"), "Asia/Tokyo");
    assert_eq!(value(&mut client, "SHOW work_mem"), "7MB");
}

#[test]
fn who_has_something_on_the_server_that_nobody_can_make_again_is_disconnected() {
    let mut stage = Stage::start("lost_pins");
    for pin in ["CREATE TEMP TABLE own AS SELECT 1", "LISTEN own", "SELECT pg_advisory_lock(1)"] {
        let mut client = stage.client();
        client.run(pin);
        client.run("BEGIN");
        stage.end_servers();
        let error = last_words(&mut client);
        assert!(told(&error).starts_with("FATAL 57P01"), "{pin}: {}", told(&error));
    }
    // A session that keeps its one server: that has state that was never looked at.
    let in_session_mode =
        |settings: Settings| settings.set("pool.pool_mode", "session").set("routing.route", "off");
    let mut session = Stage::start_with(shared(), "lost_session", in_session_mode);
    let mut client = session.client();
    client.run("BEGIN");
    session.end_servers();
    assert!(told(&last_words(&mut client)).starts_with("FATAL"));
}

#[test]
fn an_idle_session_in_transaction_that_its_server_is_tired_of_ends() {
    let stage = Stage::start("lost_tired");
    let mut client = stage.client();
    client.run("BEGIN");
    client.run("SET LOCAL idle_in_transaction_session_timeout = 50");
    let frames = until_closed(&mut client);
    assert!(told(&the_error(&frames)).starts_with("FATAL 25P03"), "{}", lines(&frames));
}

#[test]
fn a_read_only_transaction_on_a_replica_that_ends_fails_and_the_session_goes_on() {
    let mut stage = Stage::start("lost_reads");
    let mut client = stage.client();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost_reads' \
               AND pid <> pg_backend_pid() AND state <> 'idle'";
    eventually("a transaction on the replica ends", || {
        client.run("BEGIN READ ONLY");
        client.run("TABLE written");
        let ended = !stage.replica.rows(end).is_empty();
        if !ended {
            client.run("COMMIT");
        }
        ended
    });
    stage.settle();
    assert_eq!(ask(&mut client, "TABLE written"), "E:08006 Z:E");
    assert_eq!(ask(&mut client, "COMMIT"), "C:ROLLBACK Z:I");
    let seen = "SELECT 1 FROM pg_stat_activity WHERE datname = 'lost_reads' \
                AND query = 'TABLE written'";
    eventually("the replica is read from again", || {
        client.run("TABLE written");
        !stage.replica.rows(seen).is_empty()
    });
    // Rows that have reached the client cannot be taken back: an error follows them.
    let rows = "SELECT repeat('x', 20), CASE WHEN i > 1000 THEN pg_sleep(1) END \
                FROM generate_series(1, 2000) i";
    client.send(&messages::query(rows));
    let first = client.until(b'D');
    assert_eq!(brief(&first), "T D");
    eventually("the read on the replica is ended", || !stage.replica.rows(end).is_empty());
    let rest = client.until(b'Z');
    let said = brief(&rest);
    assert!(
        said.ends_with("E:08006 Z:I"),
        "{}",
        said.get(said.len().saturating_sub(50)..).unwrap_or_default()
    );
    client.run("INSERT INTO written VALUES (1)");
}

#[test]
fn a_write_that_waits_for_a_primary_in_vain_is_told_so_in_its_time() {
    let mut pair = Pair::start();
    let short = |settings: Settings| settings.set("routing.primary_wait", "1s");
    let stage = Stage::start_with(&pair, "app", short);
    let mut client = stage.client();
    pair.primary.crash();
    let mut console = console(&stage.howdah);
    let old = pair.primary.address().to_string();
    shows(&mut console, &[("node", &old)], &[("nodes.state", "down")]);
    let begun = Instant::now();
    let frames = client.query("INSERT INTO written VALUES (1)");
    assert_eq!(brief(&frames), "E:57P03 Z:I");
    let waited = begun.elapsed();
    assert!((0.9..5.0).contains(&waited.as_secs_f64()), "{waited:?}");
    let error = the_error(&frames);
    assert_eq!(told(&error), "ERROR 57P03 no node of the database is the primary");
    assert!(hint(&error).contains("primary_wait"), "{}", hint(&error));
    // The same node may come back.
    client.send(&messages::query("INSERT INTO written VALUES (2)"));
    pair.primary.start_again();
    let frames = client.until(b'Z');
    if brief(&frames) != "C:INSERT 0 1 Z:I" {
        assert_eq!(brief(&frames), "E:57P03 Z:I", "it came too late");
    }
    await_node(&mut console, &pair.primary, "primary", "up");
    client.run("INSERT INTO written VALUES (3)");
}

#[test]
fn a_promotion_that_no_probe_has_seen_is_noticed_by_a_servers_own_answer() {
    let pair = Pair::start();
    let seldom = |settings: Settings| {
        settings.set("routing.probe_interval", "1h").set("routing.consistency", "eventual")
    };
    let mut stage = Stage::start_with(&pair, "app", seldom);
    let mut client = stage.client();
    let seen = "SELECT 1 FROM pg_stat_activity WHERE datname = 'app' AND query = 'TABLE written'";
    let mut console = console(&stage.howdah);
    client.run("TABLE written");
    assert_eq!(stage.replica.rows(seen).len(), 1, "it was read on the replica");
    pair.replica.promote();
    // Two primaries: writes stay where they were, and nobody reads from the other.
    eventually("the replica is no replica any more", || {
        client.run("TABLE written");
        let name = pair.replica.address().to_string();
        the_row(&mut console, "nodes", &[("node", &name)]).get("role") == "fenced"
    });
    client.run("INSERT INTO written VALUES (1)");
    assert_eq!(stage.ids(), "1");
    assert_eq!(stage.replica.rows("TABLE written"), Vec::<Vec<String>>::new());
}

#[test]
fn a_new_server_of_an_old_primary_is_never_written_to() {
    let Pair { mut primary, replica } = Pair::start();
    primary.admin("app").run("CREATE TABLE written (id int); GRANT ALL ON written TO public");
    let relay = Relay::start(replica.address(), Manner::Pass);
    let nodes = vec![primary.address().to_string(), relay.address().to_string()];
    // Slow enough to believe for a while what it has seen.
    let howdah = Howdah::start(&of_nodes(nodes).set("routing.probe_interval", "300ms"));
    let mut console = console(&howdah);
    await_node(&mut console, &primary, "primary", "up");
    let mut client = client(&howdah, "app");
    client.run("INSERT INTO written VALUES (1)");
    let (mut standby, reads) = (replica.admin("app"), "SELECT count(*) FROM written");
    eventually("the replica has the row", || standby.rows(reads) == [["1"]]);
    primary.crash();
    client.send(&messages::query("INSERT INTO written VALUES (2)"));
    replica.promote();
    let said = brief(&client.until(b'Z'));
    assert_eq!(said, "C:INSERT 0 1 Z:I");
    // Behind the address of the new primary there is the old one now, for who comes now.
    primary.start_again();
    relay.set(Manner::Other(primary.address()));
    console.run("RECONNECT");
    client.send(&messages::query("INSERT INTO written VALUES (3)"));
    eventually("a new server is found to be an old primary's", || {
        howdah.log().contains("is an old primary: it is on timeline 1, and the primary on 2")
    });
    relay.set(Manner::Pass);
    relay.cut();
    assert_eq!(brief(&client.until(b'Z')), "C:INSERT 0 1 Z:I");
    let ids = |node: &Postgres| {
        value(&mut node.admin("app"), "SELECT string_agg(id::text, ' ' ORDER BY id) FROM written")
    };
    assert_eq!((ids(&primary), ids(&replica)), ("1".into(), "1 2 3".into()));
}

#[test]
fn writes_on_a_frozen_primary_are_in_doubt_when_it_is_given_up() {
    let pair = Pair::start();
    let mut stage = Stage::start_with(&pair, "app", |settings| {
        settings.set("routing.probe_timeout", "300ms").set("routing.primary_wait", "60s")
    });
    let (mut writer, mut idle, mut late) = (stage.client(), stage.client(), stage.client());
    idle.run("BEGIN");
    idle.run("INSERT INTO written VALUES (1)");
    writer.send(&messages::query("INSERT INTO written SELECT 2 FROM pg_sleep(600)"));
    stage.await_statement("pg_sleep");
    pair.primary.freeze();
    late.send(&messages::query("INSERT INTO written VALUES (3)"));
    assert_eq!(brief(&writer.until(b'Z')), "E:08007 Z:I");
    assert_eq!(ask(&mut idle, "COMMIT"), "E:08006 Z:I");
    // What was sent to it before it was given up is in doubt, what was not waits.
    pair.replica.promote();
    let said = brief(&late.until(b'Z'));
    assert!(["C:INSERT 0 1 Z:I", "E:08007 Z:I"].contains(&said.as_str()), "{said}");
    writer.run("INSERT INTO written VALUES (4)");
    pair.primary.thaw();
    let mut console = console(&stage.howdah);
    await_node(&mut console, &pair.primary, "fenced", "refused");
    let ids = value(
        &mut pair.replica.admin("app"),
        "SELECT string_agg(id::text, ' ' ORDER BY id) FROM written",
    );
    assert!(ids.ends_with('4') && !ids.contains('1'), "{ids}");
}
