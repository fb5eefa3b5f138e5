//! What a session says about its own routing: howdah's own settings, the kind of server that it asks for
//! at its login, notices, and causal groups.

mod support;

use support::behaviour::{client, eventually, settings, told, value};
use support::console::{console, shows};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::pair::{Pair, await_node};
use support::postgres::{Postgres, RIDER};
use support::transcript::Frame;
use support::wire::{Wire, lines};

/// The types of some frames.
fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}

/// The messages of an unnamed statement, without a Sync.
fn statement(sql: &str) -> Vec<u8> {
    let bind = messages::Bind::default();
    let describe = messages::describe(b'P', "");
    [messages::parse("", sql, &[]), messages::bind(&bind), describe, messages::execute("", 0)]
        .concat()
}

/// Runs a batch of unnamed statements.
fn batch(wire: &mut Wire, statements: &[&str]) -> Vec<Frame> {
    let mut bytes: Vec<u8> = statements.iter().flat_map(|sql| statement(sql)).collect();
    bytes.extend(messages::sync());
    wire.send(&bytes);
    wire.until(b'Z')
}

/// The error in an answer.
fn error(frames: &[Frame]) -> String {
    let error = frames.iter().find(|frame| frame.tag == b'E');
    assert!(error.is_some(), "no error: {}", lines(frames));
    told(error.expect("it was there"))
}

/// The status in ReadyForQuery.
fn status(frames: &[Frame]) -> char {
    frames.last().map_or('?', |ready| char::from(ready.body[0]))
}

fn of(wire: &mut Wire, name: &str) -> String {
    value(wire, &format!("SHOW howdah.{name}"))
}

/// Somebody has the only server of a pool of one node.
struct Busy {
    howdah: Howdah,
    holder: Wire,
}

impl Busy {
    fn start(database: &str, mode: &str) -> Self {
        let settings = settings(database, mode).set("pool.default_pool_size", 1);
        let howdah = Howdah::start(&settings);
        let mut holder = client(&howdah, database);
        holder.run("BEGIN");
        Self { howdah, holder }
    }
}

#[test]
fn own_settings_are_answered_without_a_server() {
    let busy = Busy::start("own_without_server", "transaction");
    let mut one = client(&busy.howdah, "own_without_server");
    for (name, shown) in
        [("consistency", "session"), ("route", "auto"), ("group", ""), ("notice", "off")]
    {
        let frames = one.query(&format!("SHOW howdah.{name}"));
        assert_eq!(tags(&frames), "TDCZ", "{}", lines(&frames));
        assert_eq!(of(&mut one, name), shown);
    }
    for (sql, name, shown) in [
        ("SET howdah.consistency = 'eventual'", "consistency", "eventual"),
        ("set session Howdah.Route to primary;", "route", "primary"),
        ("SET howdah.group = 'cart-42'", "group", "cart-42"),
        ("/* why */ SET howdah.notice = on", "notice", "on"),
        ("SET howdah.notice TO DEFAULT", "notice", "off"),
        ("RESET howdah.route", "route", "auto"),
    ] {
        assert_eq!(tags(&one.query(sql)), "CZ", "{sql}");
        assert_eq!(of(&mut one, name), shown, "{sql}");
    }
    let several = one.query("SET howdah.route = 'primary'; SHOW howdah.route; RESET howdah.route");
    assert_eq!(tags(&several), "CTDCCZ");
    let local = one.query("SET LOCAL howdah.route = 'primary'");
    assert_eq!(tags(&local), "NCZ", "{}", lines(&local));
    assert_eq!(local[0].field(b'C').as_deref(), Some("25P01"));
    assert_eq!(of(&mut one, "route"), "auto");
    // The extended protocol, with names and without.
    assert_eq!(tags(&batch(&mut one, &["SET howdah.route = 'primary'"])), "12nCZ");
    assert_eq!(tags(&batch(&mut one, &["SHOW howdah.route", "RESET howdah.route"])), "12TDC12nCZ");
    one.send(&[messages::parse("s", "SHOW howdah.group", &[]), messages::sync()].concat());
    assert_eq!(tags(&one.until(b'Z')), "1Z");
    let binary = messages::Bind {
        statement: "s".into(),
        portal: "p".into(),
        results: vec![1],
        ..Default::default()
    };
    let run = [
        messages::describe(b'S', "s"),
        messages::bind(&binary),
        messages::describe(b'P', "p"),
        messages::execute("p", 0),
        messages::close(b'P', "p"),
        messages::sync(),
    ];
    one.send(&run.concat());
    let frames = one.until(b'Z');
    assert_eq!(tags(&frames), "tT2TDC3Z", "{}", lines(&frames));
    assert_eq!(frames[4].columns().expect("a row"), [Some(b"cart-42".to_vec())]);
    one.send(&[messages::close(b'S', "s"), messages::sync()].concat());
    assert_eq!(tags(&one.until(b'Z')), "3Z");
    drop(busy.holder);
}

#[test]
fn wrong_words_are_told_with_those_that_are_right() {
    let busy = Busy::start("own_wrong_words", "transaction");
    let mut one = client(&busy.howdah, "own_wrong_words");
    for (sql, expected) in [
        (
            "SET howdah.consistency = 'strong'",
            "ERROR 22023 invalid value for parameter \"howdah.consistency\": \"strong\"",
        ),
        (
            "SET howdah.route = 'replicas'",
            "ERROR 22023 invalid value for parameter \"howdah.route\": \"replicas\"",
        ),
        (
            "SET howdah.notice = 'maybe'",
            "ERROR 22023 parameter \"howdah.notice\" requires a Boolean value",
        ),
        (
            "SHOW howdah.colour",
            "ERROR 42704 unrecognized configuration parameter \"howdah.colour\"",
        ),
        ("SET howdah.route", "ERROR 42601 syntax error at end of input"),
    ] {
        let simple = one.query(sql);
        assert_eq!((error(&simple).as_str(), status(&simple)), (expected, 'I'), "{sql}");
        let extended = batch(&mut one, &[sql, "SET howdah.route = 'primary'"]);
        assert_eq!((error(&extended).as_str(), status(&extended)), (expected, 'I'), "{sql}");
        assert_eq!(of(&mut one, "route"), "auto", "what follows an error is not run");
    }
    let frames = one.query("SET howdah.consistency = 'strong'");
    let hint = frames[0].field(b'H').expect("a hint");
    assert!(hint.contains("eventual, bounded, session, monotonic, global, strict, primary"));
    // One Query is all or nothing.
    let both = one.query("SET howdah.group = 'a'; SET howdah.route = 'x'");
    assert_eq!(tags(&both), "EZ", "{}", lines(&both));
    assert_eq!(of(&mut one, "group"), "");
    // So is a batch.
    let both = batch(&mut one, &["SET howdah.group = 'a'", "SET howdah.route = 'x'"]);
    assert_eq!(tags(&both), "12nC12nEZ", "{}", lines(&both));
    assert_eq!(of(&mut one, "group"), "");
    // There is no replica to insist on.
    assert!(error(&one.query("SET howdah.route = 'replica'")).starts_with("ERROR 55000"));
}

#[test]
fn they_follow_transactions_and_savepoints() {
    for mode in ["transaction", "session"] {
        let database = format!("own_transactions_{mode}");
        let howdah = Howdah::start(&settings(&database, mode));
        let mut one = client(&howdah, &database);
        let group = |one: &mut Wire| of(one, "group");
        one.run("SET howdah.group = 'a'");
        for (end, expected) in [("ROLLBACK", "a"), ("COMMIT", "b")] {
            one.run("BEGIN");
            let frames = one.query("SET howdah.group = 'b'");
            assert_eq!((tags(&frames).as_str(), status(&frames)), ("CZ", 'T'));
            one.run("SET LOCAL howdah.group = 'c'");
            assert_eq!(group(&mut one), "c");
            one.run(end);
            assert_eq!(group(&mut one), expected, "{mode} {end}");
        }
        one.run("BEGIN");
        one.run("SAVEPOINT before");
        one.run("SET howdah.group = 'c'");
        one.run("SAVEPOINT \"Behind\"");
        one.run("SET howdah.group = 'd'");
        assert_eq!(error(&one.query("SELECT 1/0")), "ERROR 22012 division by zero");
        let aborted = one.query("SHOW howdah.group");
        assert!(error(&aborted).starts_with("ERROR 25P02"), "{}", lines(&aborted));
        assert_eq!(status(&aborted), 'E');
        assert!(error(&batch(&mut one, &["SHOW howdah.group"])).starts_with("ERROR 25P02"));
        batch(&mut one, &["ROLLBACK TO \"Behind\""]);
        assert_eq!(group(&mut one), "c");
        one.run("ROLLBACK TO before");
        assert_eq!(group(&mut one), "b");
        // A wrong word fails its transaction.
        let wrong = one.query("SET howdah.route = 'x'");
        assert_eq!((tags(&wrong).as_str(), status(&wrong)), ("EZ", 'E'));
        one.run("ROLLBACK");
        one.run("BEGIN");
        let wrong = batch(&mut one, &["SET howdah.group = 'e'", "SET howdah.route = 'x'"]);
        assert_eq!(status(&wrong), 'E', "{}", lines(&wrong));
        assert!(error(&wrong).starts_with("ERROR 22023"));
        assert_eq!(tags(&one.query("COMMIT")), "CZ");
        assert_eq!(group(&mut one), "b");
        // A batch without a block is a transaction.
        let failing = batch(&mut one, &["SET howdah.group = 'f'", "SELECT 1/0"]);
        assert!(error(&failing).starts_with("ERROR 22012"), "{}", lines(&failing));
        assert_eq!(group(&mut one), "b");
        let failing = batch(&mut one, &["SELECT 1", "SET howdah.group = 'f'", "SELECT 1/0"]);
        assert!(error(&failing).starts_with("ERROR 22012"), "{}", lines(&failing));
        assert_eq!(group(&mut one), "b");
        let good = batch(&mut one, &["SELECT 1", "SET howdah.group = 'f'", "SELECT 2"]);
        assert_eq!(tags(&good), "12TDC12nC12TDCZ", "{}", lines(&good));
        assert_eq!(group(&mut one), "f");
        one.run("RESET work_mem");
        assert_eq!(group(&mut one), "f");
        for reset in ["RESET ALL", "DISCARD ALL", "RESET howdah.group"] {
            one.run("SET howdah.group = 'g'");
            one.run(reset);
            assert_eq!(group(&mut one), "", "{mode} {reset}");
        }
        one.run("SET howdah.group = 'g'");
        batch(&mut one, &["RESET ALL"]);
        assert_eq!(group(&mut one), "");
    }
}

#[test]
fn they_have_their_place_in_a_pipeline() {
    let howdah = Howdah::start(&settings("own_pipeline", "transaction"));
    let mut one = client(&howdah, "own_pipeline");
    let units = [
        "SELECT 'one'",
        "SET howdah.group = 'a'",
        "SHOW howdah.group",
        "SELECT 'two'",
        "BEGIN",
        "SELECT 'three'",
        "SET howdah.group = 'b'",
        "SHOW howdah.group",
        "SELECT 1/0",
        "SHOW howdah.group",
        "ROLLBACK",
        "SHOW howdah.group",
    ];
    let bytes: Vec<u8> = units.iter().flat_map(|sql| messages::query(sql)).collect();
    one.send(&bytes);
    let mut seen = Vec::new();
    for _ in units {
        let frames = one.until(b'Z');
        let rows = frames.iter().filter_map(Frame::columns).flatten().flatten();
        let rows: Vec<String> = rows.map(|row| String::from_utf8(row).unwrap()).collect();
        seen.push(format!("{}{}{}", tags(&frames), status(&frames), rows.concat()));
    }
    let expected = [
        "TDCZIone",
        "CZI",
        "TDCZIa",
        "TDCZItwo",
        "CZT",
        "TDCZTthree",
        "CZT",
        "TDCZTb",
        "EZE",
        "EZE",
        "CZI",
        "TDCZIa",
    ];
    let seen: Vec<&str> =
        seen.iter().map(|one| one.strip_prefix("TEZE").map_or(one.as_str(), |_| "EZE")).collect();
    assert_eq!(seen, expected);
    // A Query ends a batch that has no Sync, as PostgreSQL says.
    let mut bytes = statement("SELECT 'in a batch'");
    bytes.extend(messages::query("SHOW howdah.group"));
    bytes.extend(messages::sync());
    one.send(&bytes);
    assert_eq!(tags(&one.until(b'Z')), "12TDCTDCZ");
    assert_eq!(tags(&one.until(b'Z')), "Z");
    // A Flush brings what was answered.
    one.send(&[statement("SHOW howdah.group"), messages::flush()].concat());
    assert_eq!(tags(&one.until(b'C')), "12TDC");
    one.send(&messages::sync());
    assert_eq!(tags(&one.until(b'Z')), "Z");
}

#[test]
fn names_of_statements_and_portals_are_one_namespace() {
    let howdah = Howdah::start(&settings("own_names", "transaction"));
    let mut one = client(&howdah, "own_names");
    let prepare = |one: &mut Wire, name: &str, sql: &str| {
        one.send(&[messages::parse(name, sql, &[]), messages::sync()].concat());
        one.until(b'Z')
    };
    let run = |one: &mut Wire, name: &str| {
        let bind = messages::Bind { statement: name.into(), ..Default::default() };
        let run = [messages::bind(&bind), messages::execute("", 0), messages::sync()];
        one.send(&run.concat());
        one.until(b'Z')
    };
    assert_eq!(tags(&prepare(&mut one, "ours", "SHOW howdah.route")), "1Z");
    assert_eq!(tags(&prepare(&mut one, "theirs", "SELECT 1")), "1Z");
    for (name, sql) in [("ours", "SELECT 1"), ("theirs", "SHOW howdah.route")] {
        let frames = prepare(&mut one, name, sql);
        let expected = format!("ERROR 42P05 prepared statement \"{name}\" already exists");
        assert_eq!(error(&frames), expected);
    }
    assert_eq!(tags(&run(&mut one, "ours")), "2DCZ");
    assert_eq!(tags(&run(&mut one, "theirs")), "2DCZ");
    // The unnamed statement is whatever was parsed last.
    prepare(&mut one, "", "SHOW howdah.route");
    prepare(&mut one, "", "SELECT 'theirs'");
    assert_eq!(run(&mut one, "")[1].columns().unwrap(), [Some(b"theirs".to_vec())]);
    prepare(&mut one, "", "SHOW howdah.route");
    assert_eq!(run(&mut one, "")[1].columns().unwrap(), [Some(b"auto".to_vec())]);
    // And so is the unnamed portal, inside of one batch.
    let bind = |name: &str| messages::Bind { statement: name.into(), ..Default::default() };
    let both = [
        messages::bind(&bind("ours")),
        messages::bind(&bind("theirs")),
        messages::execute("", 0),
        messages::bind(&bind("ours")),
        messages::execute("", 0),
        messages::sync(),
    ];
    one.send(&both.concat());
    let frames = one.until(b'Z');
    assert_eq!(tags(&frames), "22DC2DCZ", "{}", lines(&frames));
    assert_eq!(frames[2].columns().unwrap(), [Some(b"1".to_vec())]);
    assert_eq!(frames[5].columns().unwrap(), [Some(b"auto".to_vec())]);
    // A portal is gone with its transaction.
    one.send(&[messages::execute("", 0), messages::sync()].concat());
    assert!(error(&one.until(b'Z')).starts_with("ERROR 34000"));
    for drop in ["DEALLOCATE ours", "DEALLOCATE ALL", "DISCARD ALL"] {
        one.run(drop);
        assert!(error(&run(&mut one, "ours")).starts_with("ERROR 26000"), "{drop}");
        assert_eq!(tags(&prepare(&mut one, "ours", "SHOW howdah.route")), "1Z");
    }
    let values = messages::Bind {
        statement: "ours".into(),
        values: vec![Some(b"1".to_vec())],
        ..Default::default()
    };
    one.send(&[messages::bind(&values), messages::sync()].concat());
    assert!(error(&one.until(b'Z')).starts_with("ERROR 08P01"));
}

#[test]
fn no_server_ever_gets_them() {
    for mode in ["transaction", "session"] {
        let database = format!("own_no_server_{mode}");
        let settings = settings(&database, mode).set("pool.default_pool_size", 1);
        let howdah = Howdah::start(&settings);
        let mut one = client(&howdah, &database);
        one.run("SET howdah.group = 'a'");
        one.run("BEGIN");
        one.run("SET howdah.group = 'b'");
        batch(&mut one, &["SET LOCAL howdah.group = 'c'"]);
        let stored = "SELECT current_setting('howdah.group', true) IS NULL";
        assert_eq!(value(&mut one, stored), "t");
        one.run("COMMIT");
        for sql in [
            "SET howdah.group = 'd'; SELECT 1",
            "BEGIN; SET LOCAL howdah.group = 'd'; COMMIT",
            "SELECT set_config('howdah.group', 'd', false)",
            "SELECT set_config('howdah.group', 'd', true)",
        ] {
            let frames = one.query(sql);
            assert!(error(&frames).starts_with("ERROR 0A000"), "{sql}: {}", lines(&frames));
            assert_eq!(status(&frames), 'I', "{sql}");
        }
        let call = "SELECT set_config('howdah.group', 'd', false)";
        assert!(error(&batch(&mut one, &[call])).starts_with("ERROR 0A000"));
        one.run("SELECT set_config('app.group', 'd', false)");
        assert_eq!(of(&mut one, "group"), "b");
        assert_eq!(value(&mut one, stored), "t");
        if mode == "session" {
            continue;
        }
        let named = messages::parse("", "SELECT set_config($1, 'd', false)", &[]);
        for (name, expected) in [("howdah.group", "1EZ"), ("app.group", "12DCZ")] {
            let values = vec![Some(name.as_bytes().to_vec())];
            let bind = messages::bind(&messages::Bind { values, ..Default::default() });
            let run = [named.clone(), bind, messages::execute("", 0), messages::sync()];
            one.send(&run.concat());
            let frames = one.until(b'Z');
            assert_eq!(tags(&frames), expected, "{}", lines(&frames));
        }
        assert_eq!(value(&mut one, stored), "t");
    }
}

fn login(howdah: &Howdah, database: &str, more: &[(&str, &str)]) -> (Wire, Vec<Frame>) {
    let mut wire = Wire::tcp(howdah.address());
    let parameters = [&[("user", RIDER), ("database", database)], more].concat();
    let frames = wire.start(&parameters, "");
    (wire, frames)
}

#[test]
fn a_startup_packet_sets_them() {
    let howdah = Howdah::start(&settings("own_startup", "transaction"));
    let options = "-c howdah.consistency=bounded --howdah.group=a";
    let (mut one, frames) = login(&howdah, "own_startup", &[("options", options)]);
    assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'), "{}", lines(&frames));
    assert_eq!(
        (of(&mut one, "consistency"), of(&mut one, "group")),
        ("bounded".into(), "a".into())
    );
    one.run("SET howdah.group = 'b'");
    one.run("RESET howdah.group");
    assert_eq!(of(&mut one, "group"), "a");
    one.run("SET howdah.consistency = 'eventual'");
    one.run("DISCARD ALL");
    assert_eq!(of(&mut one, "consistency"), "bounded");
    let (mut other, _) = login(&howdah, "own_startup", &[("howdah.notice", "on")]);
    assert_eq!(of(&mut other, "notice"), "on");
    for (name, word) in [
        ("howdah.consistency", "strong"),
        ("target_session_attrs", "primry"),
        ("options", "-c howdah.target_session_attrs=slave"),
    ] {
        let (_, frames) = login(&howdah, "own_startup", &[(name, word)]);
        assert!(error(&frames).starts_with("FATAL 22023 invalid value"), "{}", lines(&frames));
    }
    let (_, frames) = login(&howdah, "own_startup", &[("howdah.colour", "red")]);
    assert!(error(&frames).starts_with("FATAL 42704"), "{}", lines(&frames));
}

const READ: &str = "SELECT value FROM counter";
const ON_REPLICA: &str = "1";
const ON_PRIMARY: &str = "2";

/// A primary and a replica, whose only row tells them apart while the replica stands still.
struct Apart {
    pair: Pair,
    howdah: Howdah,
}

impl Apart {
    fn start(change: impl Fn(Settings) -> Settings) -> Self {
        Self::start_with(|settings, _| change(settings))
    }

    fn start_with(change: impl Fn(Settings, Vec<String>) -> Settings) -> Self {
        let pair = Pair::start();
        let mut admin = pair.primary.admin("app");
        admin.run("CREATE TABLE public.counter AS SELECT 1 AS value");
        admin.run("GRANT ALL ON public.counter TO public");
        pair.await_replay();
        let settings = pair.settings().set("routing.consistency", "eventual");
        let howdah = Howdah::start(&change(settings, pair.nodes()));
        let mut console = console(&howdah);
        await_node(&mut console, &pair.primary, "primary", "up");
        await_node(&mut console, &pair.replica, "replica", "up");
        let replica = pair.replica.address().to_string();
        shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
        let apart = Self { pair, howdah };
        apart.stand_still();
        apart.pair.primary.admin("app").run("UPDATE counter SET value = 2");
        apart
    }

    fn stand_still(&self) {
        self.pair.replica.admin("app").run("SELECT pg_wal_replay_pause()");
    }

    fn go_on(&self) {
        self.pair.replica.admin("app").run("SELECT pg_wal_replay_resume()");
    }

    fn client(&self) -> Wire {
        client(&self.howdah, "app")
    }

    fn login(&self, more: &[(&str, &str)]) -> (Wire, Vec<Frame>) {
        login(&self.howdah, "app", more)
    }
}

/// What a ParameterStatus said.
fn reported(frames: &[Frame], name: &str) -> Option<String> {
    let front = [name.as_bytes(), &[0]].concat();
    let found = frames.iter().find(|frame| frame.tag == b'S' && frame.body.starts_with(&front))?;
    let value = found.body.get(front.len()..found.body.len() - 1)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[test]
fn a_session_says_where_its_statements_go() {
    let apart = Apart::start(|settings| settings);
    let mut one = apart.client();
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    one.run("SET howdah.route = 'primary'");
    assert_eq!(value(&mut one, READ), ON_PRIMARY);
    one.run("BEGIN READ ONLY");
    assert_eq!(value(&mut one, READ), ON_PRIMARY);
    one.run("COMMIT");
    one.run("SET howdah.route = 'replica'");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    // Everything else goes there too.
    one.run("BEGIN");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    let write = one.query("UPDATE counter SET value = 3");
    assert!(error(&write).starts_with("ERROR 25006"), "{}", lines(&write));
    one.run("ROLLBACK");
    one.run("SET work_mem = '77MB'");
    assert_eq!(value(&mut one, "SHOW work_mem"), "77MB");
    assert_eq!(value(&mut one, "SELECT pg_is_in_recovery()"), "t");
    // What is known to write is refused without a replica.
    for sql in ["UPDATE counter SET value = 3", "SELECT value FROM counter FOR UPDATE"] {
        for frames in [one.query(sql), batch(&mut one, &[sql])] {
            let said = error(&frames);
            assert!(said.starts_with("ERROR 25006 cannot run this"), "{}", lines(&frames));
            let refused = frames.iter().find(|frame| frame.tag == b'E').unwrap();
            assert!(refused.field(b'H').unwrap().contains("SET howdah.route = auto"));
        }
    }
    let hinted = one.query("/* howdah: primary */ SELECT value FROM counter");
    assert!(error(&hinted).starts_with("ERROR 25006"), "{}", lines(&hinted));
    // The session goes on, also in the middle of a pipeline.
    let units = [READ, "DELETE FROM counter", READ];
    one.send(&units.iter().flat_map(|sql| messages::query(sql)).collect::<Vec<u8>>());
    let seen = units.map(|_| tags(&one.until(b'Z')));
    assert_eq!(seen, ["TDCZ", "EZ", "TDCZ"]);
    one.run("SET howdah.route = 'auto'");
    one.run("UPDATE counter SET value = 2");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    // In a batch it counts from there on.
    let both = batch(&mut one, &["SET howdah.route = 'primary'", READ]);
    let row = both.iter().find(|frame| frame.tag == b'D').expect("a row");
    assert_eq!(row.columns().unwrap(), [Some(ON_PRIMARY.as_bytes().to_vec())]);
    // What comes too late is told.
    one.run("BEGIN");
    let late = one.query("SET LOCAL howdah.route = 'primary'");
    assert_eq!(tags(&late), "NCZ", "{}", lines(&late));
    assert_eq!(late[0].field(b'C').as_deref(), Some("01000"));
    assert_eq!(tags(&one.query("SET howdah.route = 'primary'")), "CZ");
    one.run("ROLLBACK");
    one.run("SELECT pg_advisory_lock(1)");
    let pinned = one.query("SET howdah.route = 'replica'");
    assert_eq!(tags(&pinned), "NCZ", "{}", lines(&pinned));
    assert!(pinned[0].field(b'M').unwrap().contains("keeps its server"), "{}", lines(&pinned));
    one.run("SELECT pg_advisory_unlock(1)");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    // It overrides the configuration.
    let off = Apart::start(|settings| settings.set("routing.route", "off"));
    let mut one = off.client();
    assert_eq!(value(&mut one, READ), ON_PRIMARY);
    one.run("SET howdah.route = 'replica'");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
}

#[test]
fn a_session_says_what_its_reads_may_rely_on() {
    let apart = Apart::start(|settings| settings);
    let mut one = apart.client();
    one.run("UPDATE counter SET value = 2");
    assert_eq!(value(&mut one, READ), ON_REPLICA, "eventual, as configured");
    one.run("SET howdah.consistency = 'session'");
    assert_eq!(value(&mut one, READ), ON_PRIMARY);
    one.run("RESET howdah.consistency");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    let hinted = "/* howdah: consistency=session */ SELECT value FROM counter";
    assert_eq!(value(&mut one, hinted), ON_PRIMARY);
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    let frames = batch(&mut one, &[hinted]);
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    assert_eq!(row.columns().unwrap(), [Some(ON_PRIMARY.as_bytes().to_vec())]);
    // Who insists on a replica, and on more than it shows, is told.
    one.run("SET howdah.route = 'replica'");
    one.run("SET howdah.consistency = 'primary'");
    let frames = one.query(READ);
    assert!(error(&frames).starts_with("ERROR 55000"), "{}", lines(&frames));
    assert!(frames[0].field(b'H').unwrap().contains("SHOW NODES"));
}

#[test]
fn explain_route_shows_what_the_session_has_set() {
    let apart = Apart::start(|settings| settings);
    let (primary, replica) = (apart.pair.primary.address(), apart.pair.replica.address());
    let (primary, replica) = (primary.to_string(), replica.to_string());
    let mut one = apart.client();
    let explain = |one: &mut Wire, sql: &str| {
        let row = one.rows(&format!("EXPLAIN ROUTE {sql}")).remove(0);
        [&row[..4], &row[5..]].concat()
    };
    assert_eq!(explain(&mut one, READ), ["replica", "read", &replica, "eventual", "auto"]);
    let hinted = "/* howdah: consistency=bounded */ SELECT value FROM counter";
    assert_eq!(explain(&mut one, hinted)[3], "bounded");
    one.run("SET howdah.route = 'primary'; SET howdah.consistency = 'monotonic'");
    let expected = ["primary", "session_primary", &primary, "monotonic", "primary"];
    assert_eq!(explain(&mut one, READ), expected);
    one.run("SET howdah.route = 'replica'; RESET howdah.consistency");
    let expected = ["replica", "session_replica", &replica, "eventual", "replica"];
    assert_eq!(explain(&mut one, READ), expected);
    assert_eq!(explain(&mut one, "BEGIN"), expected);
    let refused = explain(&mut one, "DELETE FROM counter");
    assert_eq!(refused, ["replica", "write", "", "eventual", "replica"]);
}

#[test]
fn target_session_attrs_says_which_server_a_session_has() {
    let apart = Apart::start(|settings| settings);
    for (name, word) in [
        ("target_session_attrs", "standby"),
        ("target_session_attrs", "read-only"),
        ("target_session_attrs", "prefer-standby"),
        ("options", "-c howdah.target_session_attrs=standby"),
    ] {
        let (mut one, frames) = apart.login(&[(name, word)]);
        assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'), "{}", lines(&frames));
        assert_eq!(reported(&frames, "in_hot_standby").as_deref(), Some("on"), "{word}");
        assert_eq!(value(&mut one, "SHOW in_hot_standby"), "on");
        assert_eq!(value(&mut one, "SHOW transaction_read_only"), "on");
        assert_eq!(value(&mut one, READ), ON_REPLICA);
        one.run("BEGIN");
        assert_eq!(value(&mut one, READ), ON_REPLICA);
        one.run("COMMIT");
        let write = one.query("UPDATE counter SET value = 3");
        let expected = "ERROR 25006 cannot execute UPDATE in a read-only transaction";
        assert_eq!(error(&write), expected);
        let write = batch(&mut one, &["UPDATE counter SET value = 3"]);
        assert_eq!(error(&write), expected);
    }
    for word in ["primary", "read-write"] {
        let (mut one, frames) = apart.login(&[("target_session_attrs", word)]);
        assert_eq!(reported(&frames, "in_hot_standby").as_deref(), Some("off"), "{word}");
        assert_eq!(value(&mut one, READ), ON_PRIMARY);
        one.run("UPDATE counter SET value = 2");
    }
    let (mut any, frames) = apart.login(&[("target_session_attrs", "any")]);
    assert_eq!(reported(&frames, "in_hot_standby").as_deref(), Some("off"));
    assert_eq!(value(&mut any, READ), ON_REPLICA);
    assert_eq!(value(&mut any, "SHOW howdah.route"), "auto");
}

#[test]
fn without_a_replica_a_standby_is_refused_as_by_libpq() {
    let pair = Pair::start();
    let Pair { primary, replica } = pair;
    let howdah = Howdah::start(&support::pair::of_nodes(
        [&primary, &replica].map(|node| node.address().to_string()).to_vec(),
    ));
    // A database of one node is what its node is.
    let one = Howdah::start(&Settings::new("transaction").database("app", replica.address()));
    let (mut standby, frames) = login(&one, "app", &[("target_session_attrs", "standby")]);
    assert_eq!(reported(&frames, "in_hot_standby").as_deref(), Some("on"), "{}", lines(&frames));
    assert_eq!(value(&mut standby, "SELECT pg_is_in_recovery()"), "t");
    let (_, frames) = login(&one, "app", &[("target_session_attrs", "read-write")]);
    assert_eq!(error(&frames), "FATAL 55000 server is in hot standby mode");
    let mut console = console(&howdah);
    await_node(&mut console, &primary, "primary", "up");
    let name = replica.address().to_string();
    drop(replica);
    shows(&mut console, &[("node", &name)], &[("nodes.state", "down")]);
    for word in ["standby", "read-only"] {
        let (_, frames) = login(&howdah, "app", &[("target_session_attrs", word)]);
        let expected = "FATAL 55000 server is not in hot standby mode";
        assert_eq!(error(&frames), expected, "{}", lines(&frames));
    }
    let (mut one, frames) = login(&howdah, "app", &[("target_session_attrs", "prefer-standby")]);
    assert_eq!(reported(&frames, "in_hot_standby").as_deref(), Some("off"));
    one.run("CREATE TABLE t (a int)");
    let database = "own_one_node";
    let single = Howdah::start(&settings(database, "transaction"));
    let (_, frames) = login(&single, database, &[("target_session_attrs", "standby")]);
    assert_eq!(error(&frames), "FATAL 55000 server is not in hot standby mode");
    for word in ["primary", "any", "prefer-standby"] {
        let (mut one, _) = login(&single, database, &[("target_session_attrs", word)]);
        assert_eq!(value(&mut one, "SELECT 1"), "1");
    }
}

/// The messages of the notices in an answer, which stand in front of everything else.
fn notices(frames: &[Frame]) -> Vec<String> {
    let said: Vec<String> = frames
        .iter()
        .take_while(|frame| frame.tag == b'N')
        .map(|frame| {
            assert_eq!(frame.field(b'S').as_deref(), Some("NOTICE"));
            assert_eq!(frame.field(b'C').as_deref(), Some("00000"));
            frame.field(b'M').expect("a message").replace("\\'", "'")
        })
        .collect();
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'N').count(), said.len());
    said
}

#[test]
fn a_session_is_told_where_its_units_went() {
    let apart = Apart::start(|settings| settings);
    let replica = format!("routed to replica {}: ", apart.pair.replica.address());
    let primary = format!("routed to primary {}: ", apart.pair.primary.address());
    let mut one = apart.client();
    one.run("SET howdah.notice = on");
    let lock = "SELECT value FROM counter FOR UPDATE";
    let cases = [
        (READ, format!("{replica}it only reads")),
        (lock, format!("{primary}it takes locks, which have to be the primary's")),
    ];
    for (sql, expected) in &cases {
        let frames = one.query(sql);
        assert_eq!(notices(&frames), [expected.as_str()], "{}", lines(&frames));
        assert_eq!(tags(&frames), "NTDCZ");
        let frames = batch(&mut one, &[sql]);
        assert_eq!(notices(&frames), [expected.as_str()], "{}", lines(&frames));
        assert_eq!(tags(&frames), "N12TDCZ");
    }
    // A transaction is told once, and own settings are not routed.
    let begin = one.query("BEGIN READ ONLY");
    assert_eq!(notices(&begin), [format!("{replica}it only reads")]);
    assert_eq!(tags(&one.query(READ)), "TDCZ");
    assert_eq!(tags(&one.query("COMMIT")), "CZ");
    assert_eq!(tags(&one.query("SHOW howdah.notice")), "TDCZ");
    // In a pipeline each unit has its own, in front of its answer.
    let units = [READ, lock, READ];
    one.send(&units.iter().flat_map(|sql| messages::query(sql)).collect::<Vec<u8>>());
    let said: Vec<Vec<String>> = units.iter().map(|_| notices(&one.until(b'Z'))).collect();
    assert_eq!(said[0], [cases[0].1.as_str()]);
    assert_eq!(said[1], [cases[1].1.as_str()]);
    // What comes while the primary answers goes there too, and is no unit of its own.
    assert!(said[2].is_empty() || said[2] == [cases[0].1.as_str()], "{:?}", said[2]);
    // A read that is refused by its replica is told of once: where it was answered.
    let mut replica_admin = apart.pair.replica.admin("app");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let sleeping = "SELECT value FROM counter WHERE value = 2 OR pg_sleep(600) IS NULL";
    one.send(&messages::query(sleeping));
    eventually("the read runs on the replica", || replica_admin.rows(end) == [["t"]]);
    let frames = one.until(b'Z');
    let refused = format!("{primary}a replica refused it, or was lost before it answered");
    assert_eq!(notices(&frames), [refused], "{}", lines(&frames));
    assert_eq!(tags(&frames), "NTDCZ");
    one.run("SET howdah.route = 'primary'");
    let asked = format!("{primary}its session asks for it with howdah.route");
    assert_eq!(notices(&one.query(READ)), [asked]);
    one.run("SET howdah.notice = off");
    assert_eq!(tags(&one.query(READ)), "TDCZ");
    let single = Howdah::start(&settings("own_notice", "transaction"));
    let mut one = client(&single, "own_notice");
    one.run("SET howdah.notice = on");
    let node = Postgres::shared().address();
    let expected = format!("routed to primary {node}: the database has one node");
    assert_eq!(notices(&one.query("SELECT 1")), [expected]);
}

#[test]
fn members_of_a_group_see_each_others_writes() {
    let apart = Apart::start(|settings| {
        settings.set("routing.consistency", "session").set("howdah.workers", 2)
    });
    let on_replica = |one: &mut Wire| {
        eventually("a read on the replica", || value(one, READ) == ON_REPLICA);
    };
    let (mut writer, mut member, mut other) = (apart.client(), apart.client(), apart.client());
    on_replica(&mut member);
    writer.run("SET howdah.group = 'cart-42'");
    member.run("SET howdah.group = 'cart-42'");
    on_replica(&mut member);
    writer.run("UPDATE counter SET value = 2");
    assert_eq!(value(&mut member, READ), ON_PRIMARY);
    on_replica(&mut other);
    // By a comment, in both protocols, and prepared before.
    let hinted = "/* howdah: group=cart-42 */ SELECT value FROM counter";
    assert_eq!(value(&mut other, hinted), ON_PRIMARY);
    let frames = batch(&mut other, &[hinted]);
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    assert_eq!(row.columns().unwrap(), [Some(ON_PRIMARY.as_bytes().to_vec())]);
    let prepared = messages::Bind { statement: "s".into(), ..Default::default() };
    let run = [messages::bind(&prepared), messages::execute("", 0), messages::sync()].concat();
    other.send(&[messages::parse("s", hinted, &[]), messages::sync()].concat());
    other.until(b'Z');
    other.send(&run);
    let frames = other.until(b'Z');
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    assert_eq!(row.columns().unwrap(), [Some(ON_PRIMARY.as_bytes().to_vec())]);
    on_replica(&mut other);
    // A write with a comment, in the middle of a transaction too.
    let mut third = apart.client();
    third.run("SET howdah.group = 'cart-43'");
    on_replica(&mut third);
    writer.run("RESET howdah.group");
    writer.run("BEGIN");
    writer.run("/* howdah: group=cart-43 */ UPDATE counter SET value = 2");
    on_replica(&mut third);
    writer.run("COMMIT");
    assert_eq!(value(&mut third, READ), ON_PRIMARY);
    let mut fourth = apart.client();
    fourth.run("SET howdah.group = 'cart-44'");
    on_replica(&mut fourth);
    let write = "/* howdah: group=cart-44 */ UPDATE counter SET value = 2";
    writer.send(&[messages::parse("w", write, &[]), messages::sync()].concat());
    writer.until(b'Z');
    on_replica(&mut fourth);
    let prepared = messages::Bind { statement: "w".into(), ..Default::default() };
    let run = [messages::bind(&prepared), messages::execute("", 0), messages::sync()].concat();
    writer.send(&run);
    writer.until(b'Z');
    assert_eq!(value(&mut fourth, READ), ON_PRIMARY);
    // Only for the transaction.
    let mut fifth = apart.client();
    fifth.run("SET howdah.group = 'cart-45'");
    writer.run("BEGIN");
    writer.run("SET LOCAL howdah.group = 'cart-45'");
    writer.run("UPDATE counter SET value = 2");
    on_replica(&mut fifth);
    writer.run("COMMIT");
    assert_eq!(value(&mut fifth, READ), ON_PRIMARY);
    apart.go_on();
    eventually("the replica shows it", || value(&mut other, READ) == ON_PRIMARY);
}

#[test]
fn a_session_that_keeps_its_server_writes_for_its_group_too() {
    let apart = Apart::start_with(|settings, nodes| {
        settings
            .set("routing.consistency", "session")
            .set("databases.kept.nodes", nodes)
            .set("databases.kept.dbname", "app")
            .set("databases.kept.pool_mode", "session")
    });
    let mut writer = client(&apart.howdah, "kept");
    let mut reader = apart.client();
    let mut primary = apart.pair.primary.admin("app");
    for group in ["named", "unnamed", "query"] {
        let name = if group == "unnamed" { "" } else { group };
        reader.run(&format!("SET howdah.group = '{group}'"));
        let write = format!("/* howdah: group={group} */ UPDATE counter SET value = value + 1");
        if group != "query" {
            writer.send(&[messages::parse(name, &write, &[]), messages::sync()].concat());
            writer.until(b'Z');
        }
        // A Parse counts as a write here, as what runs it may not be known.
        apart.go_on();
        let explain = format!("EXPLAIN ROUTE {READ}");
        eventually("a read may go to the replica", || reader.rows(&explain)[0][0] == "replica");
        apart.pair.await_replay();
        apart.stand_still();
        if group == "query" {
            writer.run(&write);
        } else {
            let bind = messages::Bind { statement: name.into(), ..Default::default() };
            let run = [messages::bind(&bind), messages::execute("", 0), messages::sync()].concat();
            writer.send(&run);
            writer.until(b'Z');
        }
        assert_eq!(value(&mut reader, READ), value(&mut primary, READ), "{group}");
    }
}

#[test]
fn reads_on_the_primary_count_for_a_group_that_asks_for_monotonic() {
    let apart = Apart::start(|settings| {
        settings.set("routing.consistency", "session").set("routing.max_lag", 0)
    });
    let (mut one, mut other) = (apart.client(), apart.client());
    let replica = |one: &mut Wire| {
        eventually("a read on the replica", || value(one, READ) == ON_REPLICA);
    };
    let on_primary = "/* howdah: primary */ SELECT value FROM counter";
    for (level, is_counted) in [("session", false), ("monotonic", true)] {
        for session in [&mut one, &mut other] {
            session.run(&format!("SET howdah.group = '{level}'"));
        }
        one.run(&format!("SET howdah.consistency = '{level}'"));
        replica(&mut other);
        assert_eq!(value(&mut one, on_primary), ON_PRIMARY);
        if is_counted {
            assert_eq!(value(&mut other, READ), ON_PRIMARY);
        } else {
            replica(&mut other);
        }
    }
}
