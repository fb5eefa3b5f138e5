//! Session mode over several nodes: a session has one server of the primary and one of a replica, and what it
//! has done on one of them is true on the other.

mod support;

use std::sync::OnceLock;
use support::behaviour::{
    client, eventually, kill_server, last_words, server_of, succeeded, the_error, told, value,
};
use support::console::{console, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::messages::{self, Bind};
use support::pair::{Pair, await_node};
use support::postgres::{Postgres, RIDER};
use support::wire::{Wire, lines};

/// What reads see: the replica stands still at one value, and the primary has the other.
const ON_REPLICA: &str = "1";
const ON_PRIMARY: &str = "2";

const READ: &str = "SELECT value FROM counter";

/// A primary and a replica with a table of one row.
fn with_table() -> Pair {
    let pair = Pair::start();
    let mut admin = pair.primary.admin("app");
    admin.run("CREATE TABLE public.counter AS SELECT 1 AS value");
    admin.run("GRANT ALL ON public.counter TO public");
    pair.await_replay();
    pair
}

/// The pair that most tests share. The replica stands still.
fn apart() -> &'static Pair {
    static APART: OnceLock<Pair> = OnceLock::new();
    APART.get_or_init(|| {
        let pair = with_table();
        let mut admin = pair.primary.admin("app");
        admin.run(
            "CREATE ROLE chief; GRANT chief TO rider; GRANT CREATE ON SCHEMA public TO public",
        );
        admin.run("CREATE SCHEMA other; CREATE TABLE other.counter AS SELECT 10 AS value");
        admin.run("GRANT USAGE ON SCHEMA other TO public; GRANT ALL ON other.counter TO public");
        admin.run("CREATE SEQUENCE public.numbers; GRANT ALL ON SEQUENCE public.numbers TO public");
        admin.run(
            "CREATE FUNCTION public.lock_unseen() RETURNS void LANGUAGE plpgsql AS $f$ BEGIN \
             EXECUTE 'SELECT pg_adv' || 'isory_lock(12)'; END $f$",
        );
        pair.await_replay();
        pair.replica.admin("app").run("SELECT pg_wal_replay_pause()");
        admin.run("UPDATE counter SET value = 2; UPDATE other.counter SET value = 20");
        pair
    })
}

fn in_mode(pair: &Pair, mode: &str) -> Settings {
    pair.settings().set("pool.pool_mode", mode).set("routing.consistency", "eventual")
}

/// Howdah, once both nodes are known and the replica serves reads.
fn start(pair: &Pair, settings: &Settings) -> Howdah {
    let howdah = Howdah::start(settings);
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    let replica = pair.replica.address().to_string();
    shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
    howdah
}

fn session_mode() -> Howdah {
    start(apart(), &in_mode(apart(), "session"))
}

/// The process that ran a statement with this mark last.
fn ran(node: &Postgres, mark: &str) -> String {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE '%{mark}%' AND pid <> pg_backend_pid()"
    );
    value(&mut node.admin("app"), &sql)
}

/// The process of the session's server on the replica.
fn replica_server(client: &mut Wire, mark: &str) -> String {
    assert_eq!(value(client, &format!("SELECT value AS {mark} FROM counter")), ON_REPLICA);
    ran(&apart().replica, mark)
}

fn row(client: &mut Wire, sql: &str) -> Vec<String> {
    let mut rows = client.rows(sql);
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0)
}

#[test]
fn a_session_has_one_server_of_the_primary_and_one_of_a_replica() {
    let howdah = session_mode();
    let (mut one, mut two) = (client(&howdah, "app"), client(&howdah, "app"));
    let (primary, replica) = (server_of(&mut one), replica_server(&mut one, "one_first"));
    for (sql, expected) in [
        (READ, ON_REPLICA),
        ("SELECT value FROM counter FOR UPDATE", ON_PRIMARY),
        ("SELECT max(value) FROM counter", ON_REPLICA),
    ] {
        assert_eq!(value(&mut one, sql), expected, "{sql}");
    }
    one.run("BEGIN");
    assert_eq!(value(&mut one, READ), ON_PRIMARY);
    one.run("COMMIT");
    one.run("BEGIN READ ONLY");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    assert_eq!(ran(&apart().replica, "FROM counter"), replica, "only this session has read there");
    one.run("COMMIT");
    // Others have servers of their own, and these are still the session's.
    assert_ne!(server_of(&mut two), primary);
    assert_ne!(replica_server(&mut two, "two_first"), replica);
    assert_eq!((server_of(&mut one), replica_server(&mut one, "one_last")), (primary, replica));
}

#[test]
fn what_is_set_on_the_primary_is_so_on_the_replica() {
    let howdah = session_mode();
    let mut client = Wire::tcp(howdah.address());
    client.start(
        &[("user", RIDER), ("database", "app"), ("DateStyle", "German"), ("app.start", "begun")],
        "",
    );
    let set = "current_setting('app.start'), current_setting('DateStyle')";
    let read = format!("SELECT value, {set} FROM counter");
    let default = row(&mut client, &read)[2].clone();
    assert!(default.starts_with("German"), "{default}");
    client.run("SET work_mem = '77MB'; SET app.tenant = 'forty two'; SET TimeZone = 'Asia/Tokyo'");
    client.run("SELECT set_config('app.other', 'x', false)");
    client.run("BEGIN; SET LOCAL app.local = 'gone'; COMMIT");
    let settings = "current_setting('work_mem'), current_setting('app.tenant'), \
        current_setting('TimeZone'), current_setting('app.other'), \
        coalesce(current_setting('app.local', true), '')";
    let read = format!("SELECT value, {settings} FROM counter");
    let expected = [ON_REPLICA, "77MB", "forty two", "Asia/Tokyo", "x", ""];
    assert_eq!(row(&mut client, &read), expected);
    // What is undone is undone there.
    client.run("RESET work_mem; RESET app.tenant");
    let read =
        "SELECT value, current_setting('work_mem'), current_setting('app.tenant') FROM counter";
    assert_eq!(row(&mut client, read), [ON_REPLICA, "4MB", ""]);
    client.run("BEGIN; SET app.tenant = 'never'; ROLLBACK");
    assert_eq!(row(&mut client, read), [ON_REPLICA, "4MB", ""]);
    client.run("SET search_path = other");
    assert_eq!(value(&mut client, READ), "10");
    client.run("SET ROLE chief");
    assert_eq!(row(&mut client, "SELECT value, current_user FROM public.counter")[1], "chief");
    client.run("DISCARD ALL");
    let read = "SELECT value, current_user, current_setting('DateStyle') FROM counter";
    assert_eq!(row(&mut client, read), [ON_REPLICA, RIDER, &default]);
}

/// A batch that binds and runs this statement, prepared before if there is a text.
fn run_prepared(
    client: &mut Wire,
    name: &str,
    sql: Option<&str>,
) -> Vec<support::transcript::Frame> {
    let mut batch = sql.map(|sql| messages::parse(name, sql, &[])).unwrap_or_default();
    batch.extend(messages::bind(&Bind { statement: name.into(), ..Default::default() }));
    batch.extend(messages::execute("", 0));
    batch.extend(messages::sync());
    client.send(&batch);
    client.until(b'Z')
}

fn prepared_value(client: &mut Wire, name: &str, sql: Option<&str>) -> String {
    let frames = run_prepared(client, name, sql);
    let row = frames.iter().find(|frame| frame.tag == b'D').and_then(|frame| frame.columns());
    let mut row = row.unwrap_or_else(|| unreachable!("{}", lines(&frames)));
    String::from_utf8(row.remove(0).expect("no NULL")).expect("a number")
}

#[test]
fn statements_are_prepared_wherever_they_run() {
    let howdah = session_mode();
    let mut client = client(&howdah, "app");
    let lock = "SELECT value FROM counter FOR UPDATE";
    assert_eq!(prepared_value(&mut client, "read", Some(READ)), ON_REPLICA);
    assert_eq!(prepared_value(&mut client, "lock", Some(lock)), ON_PRIMARY);
    client.run("BEGIN");
    assert_eq!(prepared_value(&mut client, "read", None), ON_PRIMARY);
    client.run("COMMIT");
    assert_eq!(prepared_value(&mut client, "read", None), ON_REPLICA);
    client.run("PREPARE of_sql AS SELECT value FROM counter");
    assert_eq!(value(&mut client, "EXECUTE of_sql"), ON_REPLICA);
    assert_eq!(prepared_value(&mut client, "of_sql", None), ON_REPLICA);
    client.run("BEGIN");
    assert_eq!(value(&mut client, "EXECUTE of_sql"), ON_PRIMARY);
    client.run("COMMIT");
    // What the session drops is dropped everywhere, and a name is taken everywhere.
    client.run("DEALLOCATE read");
    let gone = the_error(&run_prepared(&mut client, "read", None));
    assert_eq!(told(&gone), "ERROR 26000 prepared statement \"read\" does not exist");
    let taken = the_error(&run_prepared(&mut client, "of_sql", Some(READ)));
    assert_eq!(told(&taken), "ERROR 42P05 prepared statement \"of_sql\" already exists");
    client.run("DEALLOCATE ALL");
    assert_eq!(prepared_value(&mut client, "read", Some(READ)), ON_REPLICA);
    let gone = the_error(&client.query("EXECUTE of_sql"));
    assert_eq!(told(&gone), "ERROR 26000 prepared statement \"of_sql\" does not exist");
}

#[test]
fn what_only_the_primary_can_have_keeps_reads_there_as_long_as_it_lasts() {
    for mode in ["session", "transaction"] {
        let howdah = start(apart(), &in_mode(apart(), mode));
        let mut client = client(&howdah, "app");
        let kept = [
            ("CREATE TEMP TABLE counter AS SELECT 3 AS value", "DROP TABLE pg_temp.counter", "3"),
            ("SELECT pg_advisory_lock(10)", "SELECT pg_advisory_unlock(10)", ON_PRIMARY),
            ("LISTEN bell", "UNLISTEN *", ON_PRIMARY),
            ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE ALL", ON_PRIMARY),
        ];
        for (takes, gives, seen) in kept {
            // Behind DDL the catalog is read again first.
            eventually("a read on the replica", || value(&mut client, READ) == ON_REPLICA);
            client.run(takes);
            assert_eq!(value(&mut client, READ), seen, "{mode} {takes}");
            let server = server_of(&mut client);
            assert_eq!(
                row(&mut client, &format!("EXPLAIN ROUTE {READ}"))[..2],
                ["primary", "keeps_server"]
            );
            assert_eq!(server_of(&mut client), server, "{mode} {takes}");
            client.run(gives);
        }
        eventually("a read on the replica", || value(&mut client, READ) == ON_REPLICA);
        client.run("SELECT setseed(0.5)");
        assert_eq!(
            value(&mut client, READ),
            ON_PRIMARY,
            "{mode}: nobody can tell what it has done"
        );
    }
}

#[test]
fn a_session_that_listens_hears_at_once() {
    let howdah = session_mode();
    let mut client = client(&howdah, "app");
    assert_eq!(value(&mut client, READ), ON_REPLICA);
    client.run("LISTEN gong");
    apart().primary.admin("app").run("NOTIFY gong, 'now'");
    let heard = client.until(b'A');
    assert_eq!(heard.len(), 1, "{}", lines(&heard));
}

#[test]
fn settings_that_nobody_can_name_keep_reads_on_the_primary_until_all_is_discarded() {
    let howdah = session_mode();
    let mut client = client(&howdah, "app");
    let read = "SELECT value, coalesce(current_setting('app.hidden', true), '') FROM counter";
    assert_eq!(row(&mut client, read), [ON_REPLICA, ""]);
    let hide = "DO $$BEGIN PERFORM set_config('ap' || 'p.' || 'hid' || 'den', 'yes', false); END$$";
    client.run(hide);
    assert_eq!(row(&mut client, read), [ON_PRIMARY, "yes"]);
    let explain = row(&mut client, &format!("EXPLAIN ROUTE {READ}"));
    assert_eq!(explain[..2], ["primary", "keeps_server"]);
    // One that fails discards nothing.
    client.run("BEGIN");
    assert!(!succeeded(&client.query("DISCARD ALL")));
    client.run("ROLLBACK");
    assert_eq!(row(&mut client, read), [ON_PRIMARY, "yes"]);
    client.run("DISCARD ALL");
    // The block may have changed the catalog, which is read again first.
    eventually("a read on the replica", || row(&mut client, read) == [ON_REPLICA, ""]);
}

#[test]
fn what_a_sequence_gave_is_there_for_the_whole_session() {
    let howdah = session_mode();
    let (mut one, mut two) = (client(&howdah, "app"), client(&howdah, "app"));
    assert_eq!(value(&mut one, "SELECT nextval('numbers')"), "1");
    assert_eq!(value(&mut one, READ), ON_REPLICA);
    assert_eq!(value(&mut two, "SELECT nextval('numbers')"), "2");
    for _ in 0..2 {
        assert_eq!(value(&mut one, "SELECT currval('numbers')"), "1");
        assert_eq!(value(&mut one, READ), ON_REPLICA);
    }
}

#[test]
fn nothing_stays_behind_on_a_replica() {
    for mode in ["session", "transaction"] {
        let howdah = start(apart(), &in_mode(apart(), mode));
        let mut client = client(&howdah, "app");
        for sql in [
            "SELECT pg_advisory_lock(11)",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "SELECT setseed(0.5)",
        ] {
            // Its snapshot holds on that node only, so that it cannot go to the primary.
            client.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            assert_eq!(value(&mut client, READ), ON_REPLICA);
            let refused = the_error(&client.query(sql));
            let text = "ERROR 0A000 statement would leave session state on a replica";
            assert_eq!(told(&refused), text, "{sql}");
            client.run("ROLLBACK");
            assert_eq!(value(&mut client, "SELECT value FROM counter FOR UPDATE"), ON_PRIMARY);
            // On the primary it may.
            client.run("BEGIN");
            client.run(sql);
            client.run("ROLLBACK");
            client.run("SELECT pg_advisory_unlock_all()");
            if sql.contains("setseed") {
                break;
            }
            assert_eq!(value(&mut client, READ), ON_REPLICA, "{sql}");
        }
    }
}

#[test]
fn a_lock_that_no_text_shows_is_left_behind_with_its_server() {
    let howdah = session_mode();
    let mut client = client(&howdah, "app");
    client.run("SET app.kept = 'still'");
    // Its snapshot holds on that node only, so that it cannot go to the primary.
    client.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    assert_eq!(value(&mut client, READ), ON_REPLICA);
    client.run("SELECT lock_unseen()");
    client.run("COMMIT");
    let write = "SELECT value, current_setting('app.kept') FROM counter FOR UPDATE";
    assert_eq!(row(&mut client, write), [ON_PRIMARY, "still"]);
    assert_eq!(value(&mut client, READ), ON_REPLICA);
    let locks = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'";
    let mut replica = apart().replica.admin("app");
    eventually("the lock is gone", || replica.rows(locks).is_empty());
    assert!(howdah.log().contains("advisory lock"), "{}", howdah.log());
}

#[test]
fn a_cancel_request_reaches_the_server_that_runs_the_statement() {
    let howdah = session_mode();
    let mut client = client(&howdah, "app");
    assert_eq!(value(&mut client, READ), ON_REPLICA);
    server_of(&mut client);
    let nodes = [&apart().replica, &apart().primary];
    for (node, lock) in nodes.into_iter().zip(["", "FOR UPDATE"]) {
        let mark = if lock.is_empty() { "asleep_there" } else { "asleep_here" };
        let sql = format!("SELECT value AS {mark} FROM counter WHERE pg_sleep(600) IS NULL {lock}");
        client.send(&messages::query(&sql));
        let mut admin = node.admin("app");
        let runs = format!(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%{mark}%' AND wait_event = 'PgSleep'"
        );
        eventually("it runs", || !admin.rows(&runs).is_empty());
        let key = client.key().expect("a key").to_vec();
        Wire::tcp(howdah.address()).send(&messages::cancel_request(&key));
        let frames = client.until(b'Z');
        let expected = "ERROR 57014 canceling statement due to user request";
        assert_eq!(told(&the_error(&frames)), expected, "{mark}");
    }
    // What comes behind is not meant.
    assert_eq!(value(&mut client, READ), ON_REPLICA);
    assert_eq!(value(&mut client, "SELECT value FROM counter FOR UPDATE"), ON_PRIMARY);
}

#[test]
fn a_server_that_is_lost_while_it_is_aside_is_replaced() {
    let howdah = session_mode();
    let mut client = client(&howdah, "app");
    client.run("SET app.kept = 'still'; PREPARE p AS SELECT value FROM counter");
    let primary = server_of(&mut client);
    let shown = "current_setting('app.kept')";
    let read = format!("SELECT value, {shown} AS aside FROM counter");
    assert_eq!(row(&mut client, &read), [ON_REPLICA, "still"]);
    for round in 0..2 {
        kill_server(&mut apart().replica.admin("app"), &ran(&apart().replica, "AS aside"));
        assert_eq!(row(&mut client, &read), [ON_REPLICA, "still"], "{round}");
    }
    assert_eq!(value(&mut client, "EXECUTE p"), ON_REPLICA);
    kill_server(&mut apart().primary.admin("app"), &primary);
    let write = format!("SELECT value, {shown} FROM counter FOR UPDATE");
    assert_eq!(row(&mut client, &write), [ON_PRIMARY, "still"]);
    assert_ne!(server_of(&mut client), primary);
    // What is lost with a server is told.
    client.run("CREATE TEMP TABLE precious (i int)");
    let primary = server_of(&mut client);
    kill_server(&mut apart().primary.admin("app"), &primary);
    let expected = "FATAL 57P01 terminating connection due to administrator command";
    assert_eq!(told(&last_words(&mut client)), expected);
}

#[test]
fn who_has_a_server_of_the_primary_does_not_wait_for_one_of_a_full_replica() {
    let settings = in_mode(apart(), "session").set("pool.default_pool_size", 2);
    let howdah = start(apart(), &settings);
    // The first one takes a server of the primary at its login, the others know the parameters.
    let mut both = client(&howdah, "app");
    assert_eq!(value(&mut both, READ), ON_REPLICA);
    let mut reader = client(&howdah, "app");
    assert_eq!(value(&mut reader, READ), ON_REPLICA);
    let mut third = client(&howdah, "app");
    for _ in 0..3 {
        assert_eq!(value(&mut third, READ), ON_PRIMARY, "the replica's pool is full");
    }
    // The primary's is full too: who waits there gets what comes free.
    reader.send(&messages::query("SELECT value FROM counter FOR UPDATE"));
    let mut console = console(&howdah);
    shows(&mut console, &[("database", "app"), ("user", RIDER)], &[("pools.cl_waiting", "1")]);
    assert_eq!(value(&mut third, READ), ON_PRIMARY);
    both.disconnect();
    assert!(succeeded(&reader.until(b'Z')));
    eventually("a read on the replica", || value(&mut third, READ) == ON_REPLICA);
    assert_eq!(value(&mut reader, READ), ON_REPLICA);
}

#[test]
fn the_console_shows_both_servers_and_an_end_cleans_both() {
    let howdah = session_mode();
    let mut one = client(&howdah, "app");
    one.run("SET app.of_one = 'mine'; SELECT pg_advisory_lock(13)");
    one.run("SELECT pg_advisory_unlock(13)");
    let replica = replica_server(&mut one, "shown");
    let primary = server_of(&mut one);
    let mut console = console(&howdah);
    let servers = |console: &mut Wire, state: &str| {
        let keys = [("database", "app"), ("user", RIDER), ("state", state)];
        let mut pids: Vec<_> =
            rows_with(console, "servers", &keys).iter().map(|row| row.get("remote_pid")).collect();
        pids.sort();
        pids
    };
    let mut expected = vec![primary.clone(), replica.clone()];
    expected.sort();
    assert_eq!(servers(&mut console, "active"), expected);
    let its = the_row(&mut console, "clients", &[("database", "app"), ("state", "active")]);
    let linked = rows_with(&mut console, "servers", &[("link", &its.get("ptr"))]);
    assert_eq!(linked.len(), 2, "{linked:?}");
    assert!(linked.iter().any(|server| server.get("ptr") == its.get("link")), "{its:?}");
    one.disconnect();
    eventually("both are given back", || servers(&mut console, "idle") == expected);
    // The same servers, and nothing of the first one's.
    let mut two = client(&howdah, "app");
    let read =
        "SELECT value AS clean, coalesce(current_setting('app.of_one', true), '') FROM counter";
    assert_eq!(row(&mut two, read), [ON_REPLICA, ""]);
    assert_eq!(ran(&apart().replica, "AS clean"), replica);
    assert_eq!(server_of(&mut two), primary);
    assert_eq!(value(&mut two, "SELECT coalesce(current_setting('app.of_one', true), '')"), "");
    // An administrator who ends clients with their servers ends both.
    console.run("KILL app");
    last_words(&mut two);
    eventually("both are closed", || {
        servers(&mut console, "active").is_empty() && servers(&mut console, "idle").is_empty()
    });
}

#[test]
fn a_reload_that_ends_routing_leaves_sessions_with_what_they_have() {
    let settings = in_mode(apart(), "session");
    let howdah = start(apart(), &settings);
    let mut one = client(&howdah, "app");
    assert_eq!(prepared_value(&mut one, "read", Some(READ)), ON_REPLICA);
    one.run("SET app.kept = 'still'");
    howdah.configure(&settings.clone().set("routing.route", "off"));
    console(&howdah).run("RELOAD");
    assert_eq!(prepared_value(&mut one, "read", None), ON_PRIMARY);
    assert_eq!(value(&mut one, "SELECT current_setting('app.kept')"), "still");
    let mut two = client(&howdah, "app");
    assert_eq!(prepared_value(&mut two, "read", Some(READ)), ON_PRIMARY);
    howdah.configure(&settings);
    console(&howdah).run("RELOAD");
    assert_eq!(prepared_value(&mut one, "read", None), ON_REPLICA);
    assert_eq!(prepared_value(&mut two, "read", None), ON_PRIMARY, "it has one server");
    let mut three = client(&howdah, "app");
    assert_eq!(prepared_value(&mut three, "read", Some(READ)), ON_REPLICA);
}

#[test]
fn a_session_with_a_server_of_its_own_reads_on_the_primary() {
    for mode in ["session", "transaction"] {
        let howdah = start(apart(), &in_mode(apart(), mode));
        let mut client = Wire::tcp(howdah.address());
        client.start(&[("user", RIDER), ("database", "app"), ("ignore_system_indexes", "off")], "");
        assert_eq!(value(&mut client, READ), ON_PRIMARY, "{mode}");
        let server = server_of(&mut client);
        assert_eq!(value(&mut client, READ), ON_PRIMARY, "{mode}");
        assert_eq!(server_of(&mut client), server, "{mode}");
    }
}

#[test]
fn a_session_reads_what_it_has_written_and_goes_on_behind_a_promotion() {
    let pair = with_table();
    let settings = in_mode(&pair, "session").set("routing.consistency", "session");
    let howdah = start(&pair, &settings);
    let mut one = client(&howdah, "app");
    one.run("SET app.kept = 'still'");
    let mut replica = pair.replica.admin("app");
    for round in 2..6 {
        one.run(&format!("UPDATE counter SET value = {round}"));
        let read = format!("SELECT value AS of_round_{round} FROM counter");
        let seen = format!("SELECT 1 FROM pg_stat_activity WHERE query = '{read}'");
        eventually("a read on the replica", || {
            assert_eq!(one.rows(&read), [[round.to_string()]]);
            !replica.rows(&seen).is_empty()
        });
    }
    pair.await_replay();
    let Pair { primary, replica } = pair;
    let old = primary.address().to_string();
    drop(primary);
    let mut console = console(&howdah);
    shows(&mut console, &[("node", &old)], &[("nodes.state", "down")]);
    one.send(&messages::query("UPDATE counter SET value = value + 1"));
    replica.admin("app").run("SELECT pg_promote()");
    let frames = one.until(b'Z');
    assert!(succeeded(&frames), "{}", lines(&frames));
    assert_eq!(
        row(&mut one, "SELECT value, current_setting('app.kept') FROM counter"),
        ["6", "still"]
    );
}

#[test]
fn pg_dump_with_four_connections_gets_one_snapshot() {
    let pair = Pair::start();
    pair.primary.admin("app").run("GRANT CREATE ON SCHEMA public TO public");
    for mode in ["session", "transaction"] {
        let howdah = start(&pair, &in_mode(&pair, mode));
        let mut one = client(&howdah, "app");
        for table in 0..6 {
            one.run(&format!("DROP TABLE IF EXISTS public.t{table}"));
            one.run(&format!(
                "CREATE TABLE public.t{table} AS SELECT generate_series(1, 500) AS i"
            ));
        }
        pair.await_replay();
        // Relative to a folder that belongs to the programs' user.
        let (port, folder) = (howdah.address().port().to_string(), format!("dump-{mode}"));
        let dump =
            ["-h", "127.0.0.1", "-p", &port, "-U", RIDER, "-Fd", "-j4", "-f", &folder, "app"];
        pair.primary.tool("pg_dump", &dump);
        let list = pair.primary.tool("pg_restore", &["--list", &folder]);
        assert_eq!(list.matches("TABLE DATA public t").count(), 6, "{list}");
    }
}
