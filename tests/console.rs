//! The console, as psql, drivers and scripts use it.

mod support;

use futures_util::FutureExt;
use rustix::process::Signal;
use support::behaviour::{client, eventually, last_words, server_of, settings, the_error, told};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::wire::Wire;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const VIEWS: &[&str] = &[
    "active_sockets",
    "capacity",
    "clients",
    "config",
    "databases",
    "dns_hosts",
    "dns_zones",
    "events",
    "help",
    "latency",
    "lists",
    "mem",
    "peer_pools",
    "peers",
    "pools",
    "queries",
    "servers",
    "sockets",
    "state",
    "stats",
    "stats_averages",
    "stats_totals",
    "totals",
    "users",
    "version",
];

/// Those that have no rows without a period of figures, names to resolve, or peers.
const MAYBE_EMPTY: &[&str] =
    &["active_sockets", "capacity", "dns_hosts", "dns_zones", "peer_pools", "peers"];

fn howdah(database: &str, change: impl FnOnce(Settings) -> Settings) -> Howdah {
    let settings = settings(database, "transaction").set("howdah.admin_users", vec![RIDER]);
    Howdah::start(&change(settings))
}

fn console(howdah: &Howdah) -> Wire {
    Wire::login(howdah.address(), RIDER, "pgbouncer")
}

/// The one row of a view in which `column` is `value`, by column.
fn row(howdah: &Howdah, view: &str, column: &str, value: &str) -> Vec<(String, Option<String>)> {
    let rows = view_of(howdah, view);
    let is_it = |row: &&Vec<(String, Option<String>)>| {
        row.iter().any(|(name, found)| name == column && found.as_deref() == Some(value))
    };
    let found: Vec<_> = rows.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{view} {column} {value}: {rows:?}");
    found[0].clone()
}

fn field(row: &[(String, Option<String>)], column: &str) -> String {
    let found = row.iter().find(|(name, _)| name == column);
    assert!(found.is_some(), "no {column} in {row:?}");
    found.and_then(|(_, value)| value.clone()).unwrap_or_default()
}

/// All rows of a view, over the simple protocol of a driver.
fn view_of(howdah: &Howdah, view: &str) -> Vec<Vec<(String, Option<String>)>> {
    let address = howdah.address();
    drive(async {
        let client = connect(address).await;
        let messages = client.simple_query(&format!("SHOW {view}")).await.expect("rows");
        let rows = messages.iter().filter_map(|message| {
            if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None }
        });
        let cells = |row: &tokio_postgres::SimpleQueryRow| {
            let columns = row.columns().iter().enumerate();
            columns.map(|(at, c)| (c.name().to_owned(), row.get(at).map(str::to_owned))).collect()
        };
        rows.map(cells).collect()
    })
}

fn drive<F: Future>(work: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limited = async { tokio::time::timeout(support::PATIENCE, work).await };
    tokio::task::LocalSet::new().block_on(&runtime, limited).expect("an end in time")
}

async fn connect(address: std::net::SocketAddr) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(address.port()).user(RIDER).dbname("howdah");
    let (client, connection) = config.connect(NoTls).await.expect("a login");
    tokio::task::spawn_local(connection.map(|ended| ended.expect("a connection without errors")));
    client
}

#[test]
fn every_view_over_both_protocols() {
    let howdah = howdah("views", |s| s);
    let mut busy = client(&howdah, "views");
    busy.run("SELECT 1");
    // The client, and whoever reads the catalog, is done with its server.
    eventually("nothing is active", || view_of(&howdah, "active_sockets").is_empty());
    let address = howdah.address();
    drive(async {
        let client = connect(address).await;
        for view in VIEWS {
            let sql = format!("SHOW {view}");
            // The driver asks for the binary format and decodes by type.
            let rows = client.query(&sql, &[]).await.expect(view);
            let simple = client.simple_query(&sql).await.expect("rows");
            let simple = simple.iter().filter(|m| matches!(m, SimpleQueryMessage::Row(_))).count();
            // What is shown may come and go between the two.
            assert!(rows.len().abs_diff(simple) <= 1, "{view}: {} {simple}", rows.len());
            assert!(!rows.is_empty() || MAYBE_EMPTY.contains(view), "{view}");
            for row in &rows {
                for (at, column) in row.columns().iter().enumerate() {
                    match column.type_().name() {
                        "text" => drop(row.get::<_, Option<&str>>(at)),
                        "int4" => drop(row.get::<_, Option<i32>>(at)),
                        "int8" => drop(row.get::<_, Option<i64>>(at)),
                        "float8" => drop(row.get::<_, Option<f64>>(at)),
                        other => assert_eq!(other, "numeric", "{view}"),
                    }
                }
            }
        }
        let version = client.query_one("SHOW VERSION", &[]).await.expect("a row");
        assert!(version.get::<_, &str>(0).starts_with("howdah "));
    });
}

#[test]
fn only_who_is_named_comes_in_and_only_admins_order() {
    let howdah = howdah("who", |s| {
        s.set("howdah.admin_users", vec!["boss"]).set("howdah.stats_users", vec!["watcher"])
    });
    let mut stranger = Wire::tcp(howdah.address());
    let frames = stranger.start(&[("user", RIDER), ("database", "pgbouncer")], "");
    let refusal = told(&the_error(&frames));
    assert_eq!(refusal, format!("FATAL 42501 user \"{RIDER}\" may not use the console"));
    let mut watcher = Wire::login(howdah.address(), "watcher", "howdah");
    watcher.run("SHOW POOLS");
    let frames = watcher.query("PAUSE");
    assert_eq!(told(&the_error(&frames)), "ERROR 42501 admin access needed");
    Wire::login(howdah.address(), "boss", "howdah").run("RECONNECT");
    // Who runs the process needs no password, and no name in the lists.
    let sockets = howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port()));
    let mut own = Wire::unix(&sockets);
    own.start(&[("user", "pgbouncer"), ("database", "pgbouncer")], "");
    own.run("RECONNECT");
    // From elsewhere that name is one like all others.
    let mut far = Wire::tcp(howdah.address());
    let frames = far.start(&[("user", "pgbouncer"), ("database", "pgbouncer")], "");
    assert!(told(&the_error(&frames)).starts_with("FATAL 42501"), "no password, no way in");
}

#[test]
fn the_console_takes_no_client_s_place() {
    let howdah = howdah("places", |s| s.set("howdah.max_client_conn", 1));
    let mut one = client(&howdah, "places");
    let mut consoles: Vec<Wire> = (0..3).map(|_| console(&howdah)).collect();
    consoles.iter_mut().for_each(|console| console.run("SHOW LISTS"));
    one.run("SELECT 1");
}

#[test]
fn pause_waits_for_transactions_and_holds_the_next_until_resume() {
    let howdah = howdah("paused", |s| s);
    let (mut busy, mut next) = (client(&howdah, "paused"), client(&howdah, "paused"));
    busy.run("BEGIN");
    let mut pausing = console(&howdah);
    pausing.send(&messages::query("PAUSE paused"));
    eventually("it is paused", || {
        field(&row(&howdah, "databases", "name", "paused"), "paused") == "1"
    });
    next.send(&messages::query("SELECT 1"));
    eventually("it waits", || {
        field(&row(&howdah, "pools", "database", "paused"), "cl_waiting") == "1"
    });
    busy.run("SELECT 2");
    busy.run("COMMIT");
    pausing.until(b'Z');
    assert_eq!(field(&row(&howdah, "pools", "database", "paused"), "sv_active"), "0");
    let mut other = console(&howdah);
    assert_eq!(
        told(&the_error(&other.query("PAUSE paused"))),
        "ERROR 55000 already suspended/paused"
    );
    other.run("RESUME paused");
    next.until(b'Z');
    let error = told(&the_error(&other.query("RESUME paused")));
    assert_eq!(error, "ERROR 55000 database paused is not paused");
    let error = told(&the_error(&other.query("PAUSE nowhere")));
    assert_eq!(error, "ERROR 3D000 no such database: nowhere");
}

#[test]
fn a_cancelled_pause_is_resumed() {
    let howdah = howdah("unpaused", |s| s);
    let mut busy = client(&howdah, "unpaused");
    busy.run("BEGIN");
    let mut pausing = console(&howdah);
    pausing.send(&messages::query("PAUSE"));
    let paused = || field(&row(&howdah, "state", "key", "paused"), "value") == "yes";
    eventually("it is paused", paused);
    let key = pausing.key().expect("a key").to_vec();
    Wire::tcp(howdah.address()).send(&messages::cancel_request(&key));
    let error = told(&the_error(&pausing.until(b'Z')));
    assert_eq!(error, "ERROR 57014 canceling statement due to user request");
    assert!(!paused(), "still paused");
    busy.run("COMMIT");
    client(&howdah, "unpaused").run("SELECT 1");
}

#[test]
fn reload_says_what_changes_and_its_check_changes_nothing() {
    let settings = settings("reloaded", "transaction").set("howdah.admin_users", vec![RIDER]);
    let howdah = Howdah::start(&settings);
    howdah.configure(&settings.clone().set("pool.default_pool_size", 7));
    let mut console = console(&howdah);
    let expected = [["pool.default_pool_size", "20", "7", "now"]];
    assert_eq!(console.rows("RELOAD CHECK"), expected);
    let size = || field(&row(&howdah, "config", "key", "default_pool_size"), "value");
    assert_eq!(size(), "20");
    assert_eq!(console.rows("RELOAD"), expected);
    assert_eq!(size(), "7");
    howdah.configure(&settings.set("pool.default_pool_size", "many"));
    let error = told(&the_error(&console.query("RELOAD")));
    assert_eq!(error, "ERROR F0000 RELOAD failed, see logs for additional details");
    assert_eq!(size(), "7");
}

#[test]
fn clients_are_listed_killed_and_cancelled_by_their_id() {
    let howdah = howdah("listed", |s| s);
    let mut idle = client(&howdah, "listed");
    let mine = row(&howdah, "clients", "database", "listed");
    assert_eq!(
        (field(&mine, "user"), field(&mine, "state")),
        (RIDER.to_owned(), "idle".to_owned())
    );
    assert_eq!(
        (field(&mine, "addr"), field(&mine, "type")),
        ("127.0.0.1".to_owned(), "C".to_owned())
    );
    idle.run("BEGIN");
    let pid = server_of(&mut idle);
    let active = row(&howdah, "clients", "database", "listed");
    let server = row(&howdah, "servers", "ptr", &field(&active, "link"));
    assert_eq!((field(&active, "state"), field(&server, "remote_pid")), ("active".to_owned(), pid));
    assert_eq!(field(&server, "link"), field(&active, "ptr"));
    idle.send(&messages::query("SELECT pg_sleep(60)"));
    let id = field(&active, "id");
    let mut console = console(&howdah);
    // A request that comes before the query has nothing to cancel.
    let mut admin = Postgres::shared().admin("listed");
    support::behaviour::await_statement(&mut admin, "listed", "pg_sleep");
    console.run(&format!("CANCEL {id}"));
    let error = told(&the_error(&idle.until(b'Z')));
    assert_eq!(error, "ERROR 57014 canceling statement due to user request");
    console.run(&format!("KILL_CLIENT {id}"));
    let error = told(&last_words(&mut idle));
    assert_eq!(error, "FATAL 57P01 terminating connection due to administrator command");
    eventually("it is gone", || {
        let frames = console.query(&format!("KILL SESSION {id}"));
        let error = frames.iter().find(|frame| frame.tag == b'E').map(told);
        error.is_some_and(|error| error == "ERROR 22023 client not found")
    });
}

#[test]
fn reconnect_replaces_servers_once() {
    let howdah = howdah("replaced", |s| s);
    let mut client = client(&howdah, "replaced");
    let before = server_of(&mut client);
    console(&howdah).run("RECONNECT replaced");
    let after = server_of(&mut client);
    assert_ne!(before, after);
    assert_eq!(server_of(&mut client), after);
}

#[test]
fn statistics_count_what_clients_do() {
    let howdah = howdah("counted", |s| s.set("log.stats_period", "1s"));
    let mut client = client(&howdah, "counted");
    let number = |column: &str| -> u64 {
        field(&row(&howdah, "stats", "database", "counted"), column).parse().expect("a number")
    };
    let before =
        ["total_xact_count", "total_query_count", "total_server_assignment_count"].map(number);
    client.run("SELECT 1");
    client.run("BEGIN");
    client.run("SELECT pg_sleep(0.1)");
    client.run("COMMIT");
    let after =
        ["total_xact_count", "total_query_count", "total_server_assignment_count"].map(number);
    assert_eq!([0, 1, 2].map(|at| after[at] - before[at]), [2, 4, 2]);
    assert!(number("total_query_time") >= 100_000 && number("total_xact_time") >= 100_000);
    assert!(number("total_received") > 50 && number("total_sent") > 100);
    assert_eq!(number("total_client_login_count"), 1);
    let longest = view_of(&howdah, "latency");
    let query = longest.iter().find(|row| field(row, "what") == "query").expect("queries");
    assert!(field(query, "max_ms").parse::<f64>().expect("a number") >= 100.0);
    eventually("a period in which something happened", || {
        client.run("SELECT 1");
        view_of(&howdah, "capacity")
            .iter()
            .any(|row| field(row, "arrival_rate").parse::<f64>().expect("a number") > 0.0)
    });
}

#[test]
fn shutdown_as_gentle_as_it_was_asked_for() {
    for (how, ends_client) in [
        ("SHUTDOWN", true),
        ("SHUTDOWN WAIT_FOR_SERVERS", true),
        ("SHUTDOWN WAIT_FOR_CLIENTS", false),
    ] {
        let mut howdah = howdah("shut", |s| s);
        let mut client = client(&howdah, "shut");
        client.run("SELECT 1");
        console(&howdah).send(&messages::query(how));
        if ends_client {
            assert!(told(&last_words(&mut client)).starts_with("FATAL 57P01"), "{how}");
        } else {
            eventually("the doors are closed", || {
                std::net::TcpStream::connect(howdah.address()).is_err()
            });
            client.run("SELECT 2");
            assert!(howdah.ended().is_none(), "{how}");
            client.disconnect();
        }
        assert!(howdah.wait().success(), "{how}");
    }
}

#[test]
fn psql_asks_and_is_answered() {
    let howdah = howdah("asked", |s| s);
    let port = howdah.address().port().to_string();
    let at = ["-X", "-h", "127.0.0.1", "-p", &port, "-U", RIDER, "-d", "pgbouncer", "-A", "-t"];
    let ask = |sql: &str| Postgres::shared().tool("psql", &[&at[..], &["-c", sql]].concat());
    assert_eq!(ask("SHOW STATE").trim(), "active|yes\npaused|no\nsuspended|no");
    assert!(ask("show help").contains("RELOAD [CHECK]|"));
    howdah.signal(Signal::HUP);
    eventually("the reload", || howdah.log().contains("configuration reloaded"));
}

/// A Bind with parameters as text.
fn bind(portal: &str, statement: &str, parameters: &[&str]) -> Vec<u8> {
    let values = parameters.iter().map(|text| Some(text.as_bytes().to_vec())).collect();
    messages::bind(&messages::Bind {
        portal: portal.to_owned(),
        statement: statement.to_owned(),
        values,
        ..messages::Bind::default()
    })
}

/// The rows of SHOW QUERIES of one database, by statement.
fn statement(howdah: &Howdah, query: &str) -> Vec<(String, Option<String>)> {
    row(howdah, "queries", "query", query)
}

fn figures(row: &[(String, Option<String>)]) -> [u64; 3] {
    ["calls", "rows", "errors"].map(|column| field(row, column).parse().expect("a number"))
}

#[test]
fn queries_are_counted_by_their_form_in_both_protocols_and_all_modes() {
    for mode in ["transaction", "session"] {
        let database = format!("queries_{mode}");
        let howdah = howdah(&database, |s| s.set("pool.pool_mode", mode));
        let mut one = client(&howdah, &database);
        one.run("CREATE TABLE t (a int, b text)");
        one.run("INSERT INTO t VALUES (1, 'hunter2'), (2, 'x')");
        one.run("INSERT INTO t VALUES (3, 'y'), (4, 'z'), (5, 'w')");
        for n in 1..=3 {
            one.run(&format!("SELECT * FROM t WHERE a = {n}"));
        }
        one.query("SELECT 1 / 0");
        one.run(&format!("SELECT length('{}')", "hunter2".repeat(10_000)));
        // Unnamed and named statements, two in one batch, and one that fails when it is bound.
        let batch = [
            messages::parse("", "SELECT * FROM t WHERE a < $1", &[]),
            bind("", "", &["3"]),
            messages::execute("", 0),
            messages::parse("s", "SELECT b FROM t", &[]),
            bind("p", "s", &[]),
            messages::execute("p", 0),
            messages::sync(),
        ];
        one.send(&batch.concat());
        one.until(b'Z');
        let again = [bind("", "s", &[]), messages::execute("", 0), messages::sync()];
        one.send(&again.concat());
        one.until(b'Z');
        let wrong = [
            messages::parse("", "SELECT * FROM t WHERE a < $1", &[]),
            bind("", "", &["x"]),
            messages::execute("", 0),
            messages::sync(),
        ];
        one.send(&wrong.concat());
        one.until(b'Z');
        // What fails before it runs is not the fault of what is sent behind it.
        let behind = messages::query("SELECT 1 + 2");
        one.send(&[messages::parse("", "SELECT no_such", &[]), messages::sync(), behind].concat());
        one.until(b'Z');
        one.until(b'Z');
        for (query, expected) in [
            ("select * from t where a = $1", [3, 3, 0]),
            ("insert into t values ($1, ...), ...", [2, 5, 0]),
            ("select $1 / $2", [1, 0, 1]),
            ("select $1 + $2", [1, 1, 0]),
            ("select * from t where a < $1", [2, 2, 1]),
            ("select b from t", [2, 10, 0]),
            ("(a statement too long to be read)", [1, 1, 0]),
        ] {
            let row = statement(&howdah, query);
            assert_eq!(figures(&row), expected, "{mode} {query}");
            assert_eq!(field(&row, "database"), database);
            assert_ne!(field(&row, "bytes"), "0", "{row:?}");
        }
        let all = format!("{:?}", view_of(&howdah, "queries"));
        assert!(!all.contains("hunter2"), "{all}");
        console(&howdah).run("RESET QUERIES");
        let left = view_of(&howdah, "queries");
        assert!(left.is_empty(), "{left:?}");
        one.run("SELECT 7");
        assert_eq!(figures(&statement(&howdah, "select $1")), [1, 1, 0]);
    }
}

#[test]
fn the_time_that_a_statement_takes_and_waits_is_its_own() {
    let howdah = howdah("queriestime", |s| {
        s.set("pool.default_pool_size", 1).set("log.log_min_duration", "50ms")
    });
    let (mut busy, mut next) = (client(&howdah, "queriestime"), client(&howdah, "queriestime"));
    busy.send(&messages::query("SELECT pg_sleep(0.2)"));
    eventually("it runs", || {
        field(&row(&howdah, "pools", "database", "queriestime"), "sv_active") == "1"
    });
    next.run("SELECT 1");
    busy.until(b'Z');
    let number = |row: &[(String, Option<String>)], column| -> f64 {
        field(row, column).parse().expect("a number")
    };
    let (slow, quick) =
        (statement(&howdah, "select pg_sleep($1)"), statement(&howdah, "select $1"));
    assert!(number(&slow, "max_ms") >= 200.0 && number(&slow, "total_time_ms") >= 200.0);
    assert!(number(&quick, "wait_time_ms") > 0.0 && number(&slow, "wait_time_ms") < 200.0);
    let log = howdah.log();
    let told = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!(told("ms  statement: select pg_sleep($1)"), 1, "{log}");
}

#[test]
fn statements_are_counted_only_where_they_are_to_be() {
    let howdah = howdah("untracked", |s| s.set("howdah.max_tracked_queries", 0));
    client(&howdah, "untracked").run("SELECT 1");
    assert_eq!(view_of(&howdah, "queries"), Vec::<Vec<_>>::new());
}

#[test]
fn events_tell_what_has_happened_and_count_what_repeats() {
    let howdah =
        howdah("events", |s| s.set("howdah.max_client_conn", 2).set("pool.default_pool_size", 1));
    let mut one = client(&howdah, "events");
    for _ in 0..3 {
        let mut lost = Wire::tcp(howdah.address());
        let frames = lost.start(&[("user", RIDER), ("database", "nowhere")], "");
        assert!(told(&the_error(&frames)).starts_with("FATAL 3D000"));
    }
    let _two = client(&howdah, "events");
    let mut third = Wire::tcp(howdah.address());
    third.start(&[("user", RIDER), ("database", "events")], "");
    let mut console = console(&howdah);
    console.run("PAUSE events");
    console.run("RESUME events");
    console.run("RELOAD");
    one.run("BEGIN");
    one.send(&messages::query("SELECT pg_terminate_backend(pg_backend_pid())"));
    let count = |kind: &str, message: &str| {
        let rows = view_of(&howdah, "events");
        let is_it = |row: &&Vec<(String, Option<String>)>| {
            field(row, "kind") == kind && field(row, "message").contains(message)
        };
        let found: Vec<_> = rows.iter().filter(is_it).map(|row| field(row, "count")).collect();
        assert!(found.len() <= 1, "{rows:?}");
        found.first().cloned().unwrap_or_default()
    };
    assert_eq!(count("start", "process up"), "1");
    assert_eq!(count("login", "database \"nowhere\" does not exist"), "3");
    assert_eq!(count("limit", "no more connections allowed"), "1");
    assert_eq!([count("pause", "paused events"), count("pause", "resumed events")], ["1", "1"]);
    assert_eq!(count("reload", "configuration reloaded: 0 change(s)"), "1");
    // Each attempt to log in has one line, with everything about it.
    let log = howdah.log();
    let lines: Vec<_> =
        log.lines().filter(|line| line.contains("login failed: database")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    let success = log.lines().find(|line| line.contains("login attempt succeeded"));
    for line in [lines[0], success.expect("a line")] {
        for part in ["peer=127.0.0.1:", "user=", "database=", "method=\"trust\"", "tls=false"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
