//! Databases with several nodes: where statements run, and what a read may miss.

mod support;

use support::behaviour::{client, eventually};
use support::console::{console, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::pair::{Pair, await_node};
use support::postgres::RIDER;
use support::wire::{Wire, lines};

/// Both nodes are known, and the replica serves reads.
fn await_both(howdah: &Howdah, pair: &Pair) {
    let mut console = console(howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    let replica = pair.replica.address().to_string();
    shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
}

fn start(pair: &Pair, consistency: &str) -> Howdah {
    start_with(pair, &pair.settings().set("routing.consistency", consistency))
}

fn start_with(pair: &Pair, settings: &Settings) -> Howdah {
    let howdah = Howdah::start(settings);
    await_both(&howdah, pair);
    howdah
}

/// A table with one row, that both nodes have.
fn with_table() -> Pair {
    let pair = Pair::start();
    let mut admin = pair.primary.admin("app");
    admin.run("CREATE TABLE public.counter AS SELECT 1 AS value");
    admin.run("GRANT ALL ON public.counter TO public");
    pair.await_replay();
    pair
}

const READ: &str = "SELECT value FROM counter";

fn value(wire: &mut Wire) -> String {
    wire.rows(READ).remove(0).remove(0)
}

#[test]
fn an_eventual_read_sees_what_the_replica_has_and_a_sessions_read_its_own_writes() {
    let pair = with_table();
    let eventual = start(&pair, "eventual");
    let session = start(&pair, "session");
    let mut standing = pair.replica.admin("app");
    standing.run("SELECT pg_wal_replay_pause()");
    let mut one = client(&eventual, "app");
    one.run("UPDATE counter SET value = 2");
    assert_eq!(value(&mut one), "1", "the replica stands still");
    let mut other = client(&session, "app");
    // A server that was opened behind the last probe has to wait for the next one.
    eventually("a read on the replica: it has written nothing", || value(&mut other) == "1");
    other.run("UPDATE counter SET value = 3");
    assert_eq!(value(&mut other), "3", "what it has written is there");
    standing.run("SELECT pg_wal_replay_resume()");
    eventually("the replica shows it", || value(&mut one) == "3");
    assert_eq!(value(&mut other), "3");
}

/// The value that statements see while the replica stands still at 1 and the primary has 2.
struct Apart {
    pair: Pair,
    howdah: Howdah,
}

const ON_REPLICA: &str = "1";
const ON_PRIMARY: &str = "2";

impl Apart {
    fn start(change: impl Fn(Settings) -> Settings) -> Self {
        let pair = with_table();
        let settings = pair.settings().set("routing.consistency", "eventual");
        let howdah = start_with(&pair, &change(settings));
        pair.replica.admin("app").run("SELECT pg_wal_replay_pause()");
        pair.primary.admin("app").run("UPDATE counter SET value = 2");
        Self { pair, howdah }
    }

    fn client(&self) -> Wire {
        client(&self.howdah, "app")
    }
}

#[test]
fn statements_go_where_they_must() {
    let apart = Apart::start(|settings| settings);
    let mut admin = apart.pair.primary.admin("app");
    admin.run(
        "CREATE FUNCTION public.volatile() RETURNS int LANGUAGE sql AS 'SELECT value FROM counter'",
    );
    let mut client = apart.client();
    let of = |client: &mut Wire, sql: &str| client.rows(sql).remove(0).remove(0);
    assert_eq!(value(&mut client), ON_REPLICA);
    assert_eq!(of(&mut client, "SELECT max(value) FROM counter"), ON_REPLICA);
    assert_eq!(
        of(&mut client, "WITH c AS (SELECT value FROM counter) SELECT * FROM c"),
        ON_REPLICA
    );
    assert_eq!(of(&mut client, "SELECT value FROM counter FOR UPDATE"), ON_PRIMARY);
    assert_eq!(of(&mut client, "SELECT volatile()"), ON_PRIMARY);
    let updating = "WITH u AS (UPDATE counter SET value = value RETURNING value) SELECT * FROM u";
    assert_eq!(of(&mut client, updating), ON_PRIMARY);
    client.run("BEGIN");
    assert_eq!(value(&mut client), ON_PRIMARY);
    client.run("COMMIT");
    client.run("BEGIN READ ONLY");
    assert_eq!(value(&mut client), ON_REPLICA);
    client.run("COMMIT");
    assert_eq!(value(&mut client), ON_REPLICA);
    // What the session has set is so on each node.
    client.run("SET work_mem = '77MB'");
    assert_eq!(
        of(&mut client, "SELECT value + 0 * length(current_setting('work_mem')) FROM counter"),
        ON_REPLICA
    );
    assert_eq!(of(&mut client, "SHOW work_mem"), "77MB");
}

#[test]
fn prepared_statements_go_where_they_must() {
    let apart = Apart::start(|settings| settings);
    let mut client = apart.client();
    let mut read = |name: &str, sql: Option<&str>| {
        let mut batch = Vec::new();
        if let Some(sql) = sql {
            batch.extend(messages::parse(name, sql, &[]));
        }
        batch.extend(messages::bind(&messages::Bind {
            statement: name.into(),
            ..Default::default()
        }));
        batch.extend(messages::execute("", 0));
        batch.extend(messages::sync());
        client.send(&batch);
        let frames = client.until(b'Z');
        let row = frames
            .iter()
            .find(|frame| frame.tag == b'D')
            .unwrap_or_else(|| panic!("{}", lines(&frames)));
        let value = row.columns().expect("a row").remove(0).expect("no NULL");
        String::from_utf8(value).expect("a number")
    };
    assert_eq!(read("a", Some(READ)), ON_REPLICA);
    assert_eq!(read("a", None), ON_REPLICA);
    assert_eq!(read("b", Some("SELECT value FROM counter FOR UPDATE")), ON_PRIMARY);
    assert_eq!(read("b", None), ON_PRIMARY);
    assert_eq!(read("a", None), ON_REPLICA);
}

#[test]
fn nothing_is_read_on_a_replica_where_the_route_is_off() {
    let off = Apart::start(|settings| settings.set("routing.route", "off"));
    assert_eq!(value(&mut off.client()), ON_PRIMARY);
}

#[test]
fn a_promotion_moves_what_waits_to_the_new_primary() {
    let pair = with_table();
    let howdah = start(&pair, "session");
    let mut one = client(&howdah, "app");
    one.run("UPDATE counter SET value = 2");
    pair.await_replay();
    let Pair { primary, replica } = pair;
    let old = primary.address().to_string();
    drop(primary);
    let mut console = console(&howdah);
    shows(&mut console, &[("node", &old)], &[("nodes.state", "down")]);
    one.send(&messages::query("UPDATE counter SET value = value + 1"));
    replica.admin("app").run("SELECT pg_promote()");
    let frames = one.until(b'Z');
    assert!(frames.iter().all(|frame| frame.tag != b'E'), "{}", lines(&frames));
    assert_eq!(value(&mut one), "3");
}

#[test]
fn what_a_session_has_written_is_soon_read_on_the_replica() {
    let pair = with_table();
    let howdah = start_with(&pair, &pair.settings().set("routing.probe_interval", "1h"));
    let mut one = client(&howdah, "app");
    let mut replica = pair.replica.admin("app");
    for round in 2..12 {
        one.run(&format!("UPDATE counter SET value = {round}"));
        let read = format!("SELECT value AS of_round_{round} FROM counter");
        let seen = format!("SELECT 1 FROM pg_stat_activity WHERE query = '{read}'");
        // Nobody asks the nodes but because of the write, and of the reads that would like to go there.
        eventually("a read on the replica", || {
            assert_eq!(one.rows(&read), [[round.to_string()]]);
            !replica.rows(&seen).is_empty()
        });
    }
}

#[test]
fn a_write_behind_a_read_in_a_pipeline_goes_to_the_primary() {
    let apart = Apart::start(|settings| settings);
    let mut client = apart.client();
    let reads = "SELECT 'read', value FROM counter";
    let units = [
        reads,
        "UPDATE counter SET value = value RETURNING 'write', value",
        reads,
        "BEGIN READ ONLY",
        reads,
        "COMMIT",
        "SELECT 'lock', value FROM counter FOR UPDATE",
        reads,
        reads,
    ];
    let bytes: Vec<u8> = units.iter().flat_map(|sql| messages::query(sql)).collect();
    client.send(&bytes);
    let mut seen = Vec::new();
    for _ in units {
        let frames = client.until(b'Z');
        assert!(frames.iter().all(|frame| frame.tag != b'E'), "{}", lines(&frames));
        for row in frames.iter().filter(|frame| frame.tag == b'D') {
            let columns = row.columns().expect("a row").into_iter();
            let texts = columns.map(|value| String::from_utf8(value.unwrap()).unwrap());
            seen.push(texts.collect::<Vec<_>>().join(" "));
        }
    }
    // What comes while the primary answers goes there too.
    let expected = ["read 1", "write 2", "read 2", "read 2", "lock 2", "read 2", "read 2"];
    assert_eq!(seen, expected);
}

#[test]
fn a_read_that_its_replica_does_not_answer_is_answered_by_the_primary() {
    let apart = Apart::start(|settings| settings);
    let mut replica = apart.pair.replica.admin("app");
    let mut client = apart.client();
    // On the replica it sleeps.
    let read = "SELECT value FROM counter WHERE value = 2 OR pg_sleep(600) IS NULL";
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let mut ended = |client: &mut Wire| {
        eventually("the read runs on the replica", || replica.rows(end) == [["t"]]);
        let frames = client.until(b'Z');
        let tags: String = frames.iter().map(|frame| char::from(frame.tag)).collect();
        let row = frames
            .iter()
            .find(|frame| frame.tag == b'D')
            .unwrap_or_else(|| panic!("{}", lines(&frames)));
        assert_eq!(row.columns().expect("a row"), [Some(ON_PRIMARY.as_bytes().to_vec())]);
        tags
    };
    client.send(&messages::query(read));
    assert_eq!(ended(&mut client), "TDCZ");
    let run = [
        messages::bind(&messages::Bind { statement: "s".into(), ..Default::default() }),
        messages::describe(b'P', ""),
        messages::execute("", 0),
        messages::sync(),
    ];
    let prepare = messages::parse("s", read, &[]);
    client.send(&[prepare, run.concat()].concat());
    assert_eq!(ended(&mut client), "12TDCZ");
    client.send(&run.concat());
    assert_eq!(ended(&mut client), "2TDCZ");
    assert_eq!(value(&mut client), ON_REPLICA);
}

#[test]
fn show_routes_says_where_statements_went_and_why() {
    let apart = Apart::start(|settings| settings);
    let mut client = apart.client();
    for sql in [READ, READ, "SELECT value FROM counter FOR UPDATE", "BEGIN", "COMMIT"] {
        client.run(sql);
    }
    let mut console = console(&apart.howdah);
    let read = [("routes.database", "app"), ("routes.target", "replica"), ("routes.count", "2")];
    shows(&mut console, &[("reason", "read")], &read);
    let lock = [("reason", "lock")];
    shows(&mut console, &lock, &[("routes.target", "primary"), ("routes.count", "1")]);
    // "routes.reason", "routes.explanation", "routes.remedy"
    let row = the_row(&mut console, "routes", &lock);
    assert!(row.get("explanation").contains("locks"), "{row:?}");
    assert!(row.get("remedy").contains("FOR UPDATE"), "{row:?}");
    shows(&mut console, &[("reason", "transaction")], &[("routes.count", "1")]);
}

#[test]
fn explain_route_says_where_a_statement_would_go_and_why() {
    let apart = Apart::start(|settings| settings);
    let (primary, replica) = (apart.pair.primary.address(), apart.pair.replica.address());
    let (primary, replica) = (primary.to_string(), replica.to_string());
    let mut client = apart.client();
    let explain =
        |client: &mut Wire, sql: &str| client.rows(&format!("EXPLAIN ROUTE {sql}")).remove(0);
    let read = explain(&mut client, READ);
    assert_eq!(read[..4], ["replica", "read", replica.as_str(), "eventual"]);
    let lock = explain(&mut client, "SELECT value FROM counter FOR UPDATE");
    assert_eq!(lock[..4], ["primary", "lock", primary.as_str(), "eventual"]);
    assert!(lock[4].len() == 16 && lock[4] != read[4], "{read:?} {lock:?}");
    assert_eq!(explain(&mut client, "DELETE FROM counter")[..2], ["primary", "write"]);
    assert_eq!(explain(&mut client, "BEGIN READ ONLY")[0], "replica");
    client.run("BEGIN");
    assert_eq!(explain(&mut client, READ)[..3], ["primary", "transaction", primary.as_str()]);
    client.run("COMMIT");
    client.run("BEGIN READ ONLY");
    assert_eq!(explain(&mut client, READ)[..3], ["replica", "transaction", replica.as_str()]);
    client.run("COMMIT");
    assert_eq!(value(&mut client), ON_REPLICA, "nothing was deleted");
    // The extended protocol.
    let batch = [
        messages::parse("", &format!("explain route {READ}"), &[]),
        messages::bind(&messages::Bind::default()),
        messages::describe(b'P', ""),
        messages::execute("", 0),
        messages::sync(),
    ];
    client.send(&batch.concat());
    let frames = client.until(b'Z');
    let tags: String = frames.iter().map(|frame| char::from(frame.tag)).collect();
    assert_eq!(tags, "12TDCZ", "{}", lines(&frames));
    assert_eq!(frames[3].columns().expect("a row")[0].as_deref(), Some(&b"replica"[..]));
    // A session that has a server of its own, and a database whose route is off.
    let mut own = Wire::tcp(apart.howdah.address());
    own.start(&[("user", RIDER), ("database", "app"), ("ignore_system_indexes", "off")], "");
    assert_eq!(explain(&mut own, READ)[..2], ["primary", "keeps_server"]);
    let off = Apart::start(|settings| settings.set("routing.route", "off"));
    assert_eq!(explain(&mut off.client(), READ)[..2], ["primary", "route_off"]);
}

#[test]
fn execute_is_described_on_the_node_that_runs_it() {
    let apart = Apart::start(|settings| settings);
    let mut client = apart.client();
    client.run(&format!("PREPARE one AS {READ}"));
    let batch = [
        messages::parse("", "EXECUTE one", &[]),
        messages::describe(b'S', ""),
        messages::bind(&messages::Bind::default()),
        messages::execute("", 0),
        messages::sync(),
    ];
    client.send(&batch.concat());
    let frames = client.until(b'Z');
    let tags: String = frames.iter().map(|frame| char::from(frame.tag)).collect();
    assert_eq!(tags, "1tT2DCZ", "{}", lines(&frames));
    assert_eq!(frames[4].columns().expect("a row")[0].as_deref(), Some(ON_REPLICA.as_bytes()));
}

#[test]
fn a_transaction_that_reads_goes_to_the_primary_when_it_needs_it() {
    let apart = Apart::start(|settings| settings);
    let mut client = apart.client();
    let lock = "SELECT pg_try_advisory_xact_lock(7)";
    let is_locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    let mut nodes = [&apart.pair.primary, &apart.pair.replica].map(|node| node.admin("app"));
    client.run("BEGIN READ ONLY");
    assert_eq!(value(&mut client), ON_REPLICA);
    assert_eq!(client.rows(lock), [["t"]]);
    assert_eq!(nodes[0].rows(is_locked), [["1"]]);
    assert_eq!(nodes[1].rows(is_locked), [["0"]]);
    assert_eq!(value(&mut client), ON_PRIMARY, "the rest of it is there too");
    assert_eq!(client.rows("SHOW transaction_read_only"), [["on"]]);
    client.run("COMMIT");
    assert_eq!(nodes[0].rows(is_locked), [["0"]], "it ended with its transaction");
    assert_eq!(value(&mut client), ON_REPLICA);
    // By the extended protocol, and with one snapshot that nothing has been read with.
    client.run("BEGIN READ ONLY, ISOLATION LEVEL REPEATABLE READ");
    let batch = [
        messages::parse("", lock, &[]),
        messages::bind(&messages::Bind::default()),
        messages::execute("", 0),
        messages::sync(),
    ];
    client.send(&batch.concat());
    let frames = client.until(b'Z');
    assert_eq!(frames.last().expect("ready").body, b"T", "{}", lines(&frames));
    assert_eq!(nodes[0].rows(is_locked), [["1"]]);
    assert_eq!(client.rows("SHOW transaction_isolation"), [["repeatable read"]]);
    client.run("ROLLBACK");
    // With one that has been read with it stays.
    client.run("BEGIN READ ONLY, ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(value(&mut client), ON_REPLICA);
    client.run("SELECT pg_current_snapshot()");
    assert_eq!(value(&mut client), ON_REPLICA);
    client.run("COMMIT");
    let mut console = console(&apart.howdah);
    shows(&mut console, &[("reason", "function")], &[("routes.count", "2")]);
}

#[test]
fn the_type_of_a_parameter_counts() {
    let pair = with_table();
    let mut admin = pair.primary.admin("app");
    admin.run("CREATE FUNCTION public.busy(int) RETURNS bool LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(1) IS NULL OR true'");
    admin.run("CREATE DOMAIN public.calm AS int CHECK (VALUE > 0)");
    admin.run("CREATE DOMAIN public.busied AS int CHECK (public.busy(VALUE))");
    let oid = |admin: &mut Wire, name: &str| -> u32 {
        let row = admin.rows(&format!("SELECT 'public.{name}'::regtype::oid")).remove(0).remove(0);
        row.parse().expect("a number")
    };
    let (calm, busied) = (oid(&mut admin, "calm"), oid(&mut admin, "busied"));
    pair.await_replay();
    let howdah = start(&pair, "eventual");
    let mut client = client(&howdah, "app");
    let mut run = |name: &str, oid: Option<u32>| {
        let parse =
            oid.map(|oid| messages::parse(name, "SELECT value, $1 IS NULL FROM counter", &[oid]));
        let bind = messages::bind(&messages::Bind {
            statement: name.into(),
            values: vec![Some(b"1".to_vec())],
            ..Default::default()
        });
        let rest = [bind, messages::execute("", 0), messages::sync()].concat();
        client.send(&[parse.unwrap_or_default(), rest].concat());
        let frames = client.until(b'Z');
        assert!(frames.iter().any(|frame| frame.tag == b'D'), "{}", lines(&frames));
    };
    run("calm", Some(calm));
    run("calm", None);
    run("busied", Some(busied));
    run("busied", None);
    let mut console = console(&howdah);
    shows(&mut console, &[("reason", "read")], &[("routes.count", "2")]);
    shows(&mut console, &[("reason", "type")], &[("routes.count", "2")]);
}

#[test]
fn a_read_that_holds_up_the_replay_of_a_replica_is_shown() {
    let pair = with_table();
    let howdah = start(&pair, "session");
    let mut console = console(&howdah);
    let mut reader = pair.replica.admin("app");
    reader.run("SET application_name = 'analyst'");
    reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    reader.run("SELECT value, 'secret' FROM counter");
    let mut admin = pair.primary.admin("app");
    admin.run("DELETE FROM counter");
    admin.run("VACUUM counter");
    let node = pair.replica.address().to_string();
    // "nodes.held_up_by"
    let mut held_up = || the_row(&mut console, "nodes", &[("node", &node)]).get("held_up_by");
    eventually("the read is shown", || !held_up().is_empty());
    let row = held_up();
    assert!(row.contains("(analyst)"), "{row}");
    assert!(row.ends_with(": select value, $1 from counter"), "{row}");
    reader.run("ROLLBACK");
    eventually("the replica replays again", || held_up().is_empty());
}
