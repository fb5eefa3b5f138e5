//! What an operator says of reads: by whom, to where, how many, and whether they are right.

mod support;

use support::behaviour::{client, eventually};
use support::console::{console, rows, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::pair::{Pair, await_node};
use support::postgres::RIDER;
use support::wire::{Wire, lines};

/// Both nodes are known, and the replica serves reads.
fn start(pair: &Pair, settings: &Settings) -> Howdah {
    let howdah = Howdah::start(settings);
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    let replica = pair.replica.address().to_string();
    shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
    howdah
}

const READ: &str = "SELECT value FROM counter";
const ON_REPLICA: &str = "1";
const ON_PRIMARY: &str = "2";

/// The replica stands still at 1, and the primary has 2.
struct Apart {
    pair: Pair,
    howdah: Howdah,
}

impl Apart {
    fn start(sql: &str, change: impl Fn(Settings, &Pair) -> Settings) -> Self {
        let pair = Pair::start();
        let mut admin = pair.primary.admin("app");
        admin.run("CREATE TABLE public.counter AS SELECT 1 AS value");
        admin.run("GRANT ALL ON public.counter TO public");
        if !sql.is_empty() {
            admin.run(sql);
        }
        pair.await_replay();
        let settings = pair.settings().set("routing.consistency", "eventual");
        let howdah = start(&pair, &change(settings, &pair));
        pair.replica.admin("app").run("SELECT pg_wal_replay_pause()");
        admin.run("UPDATE counter SET value = 2");
        Self { pair, howdah }
    }

    fn client(&self) -> Wire {
        client(&self.howdah, "app")
    }
}

fn one(wire: &mut Wire, sql: &str) -> String {
    wire.rows(sql).remove(0).remove(0)
}

fn strings(texts: &[&str]) -> toml::Value {
    texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().into()
}

#[test]
fn lists_of_functions_add_to_what_the_catalog_says() {
    let function = |name: &str, volatility: &str| {
        format!(
            "CREATE FUNCTION {name}() RETURNS int LANGUAGE sql {volatility} AS 'SELECT value FROM counter';"
        )
    };
    let sql = [
        "CREATE SCHEMA reports;".to_owned(),
        function("get_total", "VOLATILE"),
        function("\"Get\"", "VOLATILE"),
        function("reports.total", "VOLATILE"),
        function("audited", "STABLE"),
        function("other", "VOLATILE"),
        "GRANT USAGE ON SCHEMA reports TO public".to_owned(),
    ];
    let apart = Apart::start(&sql.concat(), |settings, _| {
        settings
            .set("routing.read_only_functions", strings(&["GET_*", "reports.*"]))
            .set("databases.app.read_only_functions", strings(&["\"Get\""]))
            .set("routing.write_functions", strings(&["audited"]))
            .set("databases.app.write_functions", strings(&["get_total_of_writes"]))
    });
    let mut client = apart.client();
    for (sql, expected) in [
        ("SELECT get_total()", ON_REPLICA),
        ("SELECT public.get_total()", ON_REPLICA),
        ("SELECT \"Get\"()", ON_REPLICA),
        ("SELECT reports.total()", ON_REPLICA),
        ("SELECT other()", ON_PRIMARY),
        ("SELECT audited()", ON_PRIMARY),
        // What the text itself locks stays so.
        ("SELECT get_total() FROM counter FOR UPDATE", ON_PRIMARY),
    ] {
        assert_eq!(one(&mut client, sql), expected, "{sql}");
    }
    client.run("SET search_path = reports, public");
    assert_eq!(one(&mut client, "SELECT total()"), ON_PRIMARY, "another schema's may be meant");
    client.run("RESET search_path");
    // A reload brings other lists to bear, on texts that are known too.
    let settings = apart.pair.settings().set("routing.consistency", "eventual");
    apart.howdah.configure(&settings.set("routing.read_only_functions", strings(&["other"])));
    console(&apart.howdah).query("RELOAD");
    for (sql, expected) in [
        ("SELECT get_total()", ON_PRIMARY),
        ("SELECT other()", ON_REPLICA),
        ("SELECT audited()", ON_REPLICA),
    ] {
        assert_eq!(one(&mut client, sql), expected, "{sql}");
    }
}

#[test]
fn foreign_tables_and_the_catalog_are_read_on_a_replica_where_the_operator_says_so() {
    let sql = "CREATE EXTENSION postgres_fdw; CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw; \
               CREATE FOREIGN TABLE far (a int) SERVER elsewhere; GRANT ALL ON far TO public; \
               CREATE VIEW locking AS SELECT a FROM far, counter FOR UPDATE";
    let catalog = "SELECT relname FROM pg_class WHERE relname = 'far'";
    let explain = |howdah: &Howdah, sql: &str| {
        let mut client = client(howdah, "app");
        let mut row = client.rows(&format!("EXPLAIN ROUTE {sql}")).remove(0);
        row.truncate(2);
        row.join(" ")
    };
    let usual = Apart::start(sql, |settings, _| settings);
    assert_eq!(explain(&usual.howdah, "SELECT a FROM far"), "primary foreign");
    assert_eq!(explain(&usual.howdah, catalog), "primary catalog");
    let allowed = Apart::start(sql, |settings, _| {
        settings.set("routing.foreign_reads", "replica").set("routing.catalog_reads", "replica")
    });
    assert_eq!(explain(&allowed.howdah, "SELECT a FROM far"), "replica read");
    assert_eq!(explain(&allowed.howdah, "SELECT a FROM locking"), "primary lock");
    assert_eq!(explain(&allowed.howdah, catalog), "replica read");
    assert_eq!(explain(&allowed.howdah, "SELECT * FROM pg_stat_activity"), "primary node");
}

fn redirect(pairs: &[(&str, toml::Value)]) -> toml::Value {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect::<toml::Table>()
        .into()
}

#[test]
fn redirects_send_clients_elsewhere() {
    let apart = Apart::start("", |settings, pair| {
        let replica = pair.replica.address().to_string();
        let primary = pair.primary.address().to_string();
        let redirects = vec![
            redirect(&[("application", "on primary*".into()), ("to", "primary".into())]),
            redirect(&[("application", "named".into()), ("to", strings(&[&primary]))]),
            redirect(&[
                ("application", "both".into()),
                ("user", RIDER.into()),
                ("to", strings(&[&replica, &primary])),
            ]),
            redirect(&[
                ("application", "half".into()),
                ("to", "primary".into()),
                ("percent", 50.into()),
            ]),
        ];
        settings.set("routing.redirects", redirects)
    });
    let mut client = apart.client();
    assert_eq!(one(&mut client, READ), ON_REPLICA);
    for (application, expected) in [
        ("on primary 7", ON_PRIMARY),
        ("something", ON_REPLICA),
        ("named", ON_PRIMARY),
        ("both", ON_REPLICA),
    ] {
        client.run(&format!("SET application_name = '{application}'"));
        assert_eq!(one(&mut client, READ), expected, "{application}");
    }
    shows(&mut console(&apart.howdah), &[("reason", "redirect")], &[("routes.target", "primary")]);
    // One draw for a session.
    let mut places = Vec::new();
    for _ in 0..24 {
        let mut client = apart.client();
        client.run("SET application_name = 'half'");
        let place = one(&mut client, READ);
        assert!((0..4).all(|_| one(&mut client, READ) == place));
        places.push(place);
    }
    assert!(
        places.iter().any(|place| place == ON_REPLICA)
            && places.iter().any(|place| place == ON_PRIMARY)
    );
}

#[test]
fn a_replica_that_has_no_share_serves_those_that_are_redirected_to_it() {
    let apart = Apart::start("", |settings, pair| {
        let replica = pair.replica.address();
        let (host, port) = (replica.ip().to_string(), i64::from(replica.port()));
        let idle = redirect(&[("host", host.into()), ("port", port.into()), ("weight", 0.into())]);
        let analysts = redirect(&[
            ("application", "analyst".into()),
            ("to", strings(&[&replica.to_string()])),
        ]);
        settings
            .set("databases.app.nodes", vec![pair.primary.address().to_string().into(), idle])
            .set("routing.redirects", vec![analysts])
    });
    let mut client = apart.client();
    assert_eq!(one(&mut client, READ), ON_PRIMARY);
    client.run("SET application_name = 'analyst'");
    assert_eq!(one(&mut client, READ), ON_REPLICA);
    client.run("SET application_name = ''");
    assert_eq!(one(&mut client, READ), ON_PRIMARY);
}

#[test]
fn a_redirect_to_a_node_that_is_not_fresh_goes_to_others_or_to_the_primary() {
    for (otherwise, expected) in [("replica", "replica"), ("primary", "primary")] {
        let pair = Pair::start();
        let late = pair.primary.start_replica(&support::postgres::Options {
            hba: vec![],
            settings: vec![("recovery_min_apply_delay".into(), "1h".into())],
        });
        let nodes = [&pair.primary, &pair.replica, &late].map(|node| node.address().to_string());
        let late_one = late.address().to_string();
        let rule = redirect(&[
            ("database", "a*".into()),
            ("to", strings(&[&late_one])),
            ("otherwise", otherwise.into()),
        ]);
        let settings = support::pair::of_nodes(nodes.to_vec());
        let howdah = start(&pair, &settings.set("routing.redirects", vec![rule]));
        let mut client = client(&howdah, "app");
        await_node(&mut console(&howdah), &late, "replica", "up");
        client.run("CREATE TABLE public.written (a int)");
        eventually("what was written is on one replica", || {
            client.rows("EXPLAIN ROUTE SELECT a FROM written")[0][0] == expected
        });
        let place = client.rows("EXPLAIN ROUTE SELECT a FROM written").remove(0);
        let other = if expected == "replica" { &pair.replica } else { &pair.primary };
        assert_eq!(place[2], other.address().to_string());
    }
}

#[test]
fn a_user_wins_over_the_database_and_that_over_all() {
    let apart = Apart::start("", |settings, _| {
        settings
            .set("routing.route", "off")
            .set("databases.app.route", "on")
            .set("databases.app.consistency", "bounded")
            .set("databases.app.max_lag", "1us")
            .set(&format!("users.{RIDER}.max_lag"), "1h")
            .set("users.postgres.consistency", "eventual")
            .set("users.nobody.route", "off")
    });
    let mut client = apart.client();
    // A server that was opened behind the last probe has to wait for the next one.
    eventually("a read on the replica", || one(&mut client, READ) == ON_REPLICA);
    let explain = |user: &str| {
        let sql = format!("EXPLAIN ROUTE IN app AS {user} SELECT 1");
        let row = console(&apart.howdah).rows(&sql).remove(0);
        [row[0].clone(), row[1].clone(), row[3].clone()].join(" ")
    };
    assert_eq!(explain(RIDER), "replica read bounded");
    assert_eq!(explain("postgres"), "replica read eventual");
    assert_eq!(explain("nobody"), "primary route_off bounded");
    assert_eq!(explain("other"), "primary no_replica bounded", "an hour is the user's, not its");
}

#[test]
fn a_share_of_the_reads_goes_to_replicas() {
    let apart = Apart::start("", |settings, _| {
        settings.set("routing.route_percent", 0).set("databases.app.route_percent", 30)
    });
    let mut client = apart.client();
    let on_replica = (0..300).filter(|_| one(&mut client, READ) == ON_REPLICA).count();
    assert!((50..140).contains(&on_replica), "{on_replica} of 300");
    let mut console = console(&apart.howdah);
    let withheld = the_row(&mut console, "routes", &[("reason", "route_percent")]).number("count");
    assert_eq!(withheld as usize, 300 - on_replica);
    assert_eq!(client.rows(&format!("EXPLAIN ROUTE {READ}"))[0][..2], ["any", "read"]);
    let settings = apart.pair.settings().set("routing.route_percent", 0);
    apart.howdah.configure(&settings.set("routing.consistency", "eventual"));
    console.query("RELOAD");
    assert!((0..50).all(|_| one(&mut client, READ) == ON_PRIMARY));
    assert_eq!(client.rows(&format!("EXPLAIN ROUTE {READ}"))[0][..2], ["primary", "route_percent"]);
}

#[test]
fn advice_says_what_could_go_to_replicas_and_what_to_do_about_the_rest() {
    let apart = Apart::start("", |settings, _| settings.set("databases.app.route", "advise"));
    let mut client = apart.client();
    for _ in 0..6 {
        assert_eq!(one(&mut client, READ), ON_PRIMARY);
    }
    for value in 0..3 {
        client.run(&format!("SELECT value FROM counter WHERE value = {value} FOR UPDATE"));
    }
    client.send(
        &[
            messages::parse("s", "SELECT value FROM counter WHERE value = $1 FOR UPDATE", &[23]),
            messages::bind(&messages::Bind {
                statement: "s".into(),
                values: vec![Some(b"1".to_vec())],
                ..Default::default()
            }),
            messages::execute("", 0),
            messages::sync(),
        ]
        .concat(),
    );
    let frames = client.until(b'Z');
    assert!(frames.iter().all(|frame| frame.tag != b'E'), "{}", lines(&frames));
    client.run("BEGIN");
    client.run("SELECT pg_sleep(0.2)");
    client.run("COMMIT");
    let mut console = console(&apart.howdah);
    let all = || [("database", "app")];
    let first = rows_with(&mut console, "advice", &all()).remove(0);
    assert_eq!((first.get("target"), first.get("reason")), ("replica".into(), "advise".into()));
    // "advice.calls", "advice.calls_percent", "advice.time_ms", "advice.time_percent"
    assert_eq!(first.number("calls"), 6.0);
    assert!((first.number("calls_percent") - 600.0 / 11.0).abs() < 0.01, "{first:?}");
    assert_eq!(first.get("remedy"), "route = \"on\"");
    // "advice.fingerprint", "advice.query", "advice.target", "advice.reason", "advice.database"
    let lock = the_row(&mut console, "advice", &[("reason", "lock")]);
    assert_eq!(lock.number("calls"), 4.0, "one statement, whatever its values are: {lock:?}");
    assert!(!lock.get("query").contains('3') && lock.get("query").contains("for update"));
    // "advice.remedy"
    assert!(lock.get("remedy").contains("FOR UPDATE"), "{lock:?}");
    let names: Vec<String> =
        rows(&mut console, "advice").iter().map(|row| row.get("reason")).collect();
    assert_eq!(names, ["advise", "transaction", "lock"], "those first that took longest");
    let by_calls = rows(&mut console, "advice_by_calls");
    let names: Vec<String> = by_calls.iter().map(|row| row.get("reason")).collect();
    assert_eq!(names, ["advise", "lock", "transaction"]);
    for row in &by_calls {
        let same = the_row(&mut console, "advice", &[("reason", &row.get("reason"))]);
        assert_eq!(format!("{row:?}"), format!("{same:?}"));
    }
    let transaction = the_row(&mut console, "advice", &[("reason", "transaction")]);
    assert!(transaction.number("time_ms") > 150.0, "{transaction:?}");
    assert!(transaction.number("time_percent") > 50.0, "{transaction:?}");
    shows(
        &mut console,
        &[("reason", "advise")],
        &[("routes.target", "primary"), ("routes.count", "6")],
    );
    assert_eq!(client.rows(&format!("EXPLAIN ROUTE {READ}"))[0][..2], ["primary", "advise"]);
}

#[test]
fn the_console_explains_routes_without_a_client() {
    let apart = Apart::start("", |settings, _| settings);
    let (primary, replica) = (apart.pair.primary.address(), apart.pair.replica.address());
    // Somebody has to have used the database, so that its names are known.
    apart.client().run(READ);
    let mut console = console(&apart.howdah);
    let mut explain = |sql: &str| console.rows(&format!("EXPLAIN ROUTE {sql}")).remove(0);
    let read = explain(READ);
    assert_eq!(read[..4], ["replica", "read", &replica.to_string(), "eventual"]);
    let through = apart.client().rows(&format!("EXPLAIN ROUTE {READ}")).remove(0);
    assert_eq!(read[..], through[..5]);
    let lock = explain("IN app SELECT value FROM counter FOR UPDATE");
    assert_eq!(lock[..4], ["primary", "lock", &primary.to_string(), "eventual"]);
    assert_eq!(explain("/* howdah: primary */ SELECT 1")[..2], ["primary", "hint"]);
    let missing = console.query("EXPLAIN ROUTE IN nothing SELECT 1");
    assert!(lines(&missing).contains("no such database: nothing"), "{}", lines(&missing));
}

/// Functions whose declared volatility is right, and some whose is not.
const FUNCTIONS: &str = "\
CREATE FUNCTION honest(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 1'; \
CREATE FUNCTION clocked() RETURNS text LANGUAGE plpgsql STABLE AS \
$$ DECLARE a text; BEGIN EXECUTE 'SELECT clock_time' || 'stamp()' INTO a; RETURN a; END $$; \
CREATE FUNCTION place() RETURNS text LANGUAGE plpgsql IMMUTABLE AS \
$$ DECLARE a text; BEGIN EXECUTE 'SELECT pg_is_in_rec' || 'overy()' INTO a; RETURN a; END $$; \
CREATE FUNCTION port(a int) RETURNS int LANGUAGE plpgsql STABLE AS \
$$ DECLARE b int; BEGIN EXECUTE 'SELECT inet_server_po' || 'rt()' INTO b; RETURN b + a; END $$; \
CREATE TABLE noted (a int); GRANT ALL ON noted TO public; \
CREATE FUNCTION note() RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO noted VALUES (1) RETURNING a'; \
CREATE FUNCTION writer() RETURNS int LANGUAGE plpgsql STABLE AS \
$$ DECLARE b int; BEGIN EXECUTE 'SELECT no' || 'te()' INTO b; RETURN b; END $$; \
CREATE VIEW seen AS SELECT value, place() FROM counter; GRANT ALL ON seen TO public";

/// A pair whose reads are all compared, and whose nodes show the same.
fn compared() -> (Pair, Howdah) {
    let pair = Pair::start();
    let mut admin = pair.primary.admin("app");
    admin.run("CREATE TABLE public.counter AS SELECT 1 AS value");
    admin.run("GRANT ALL ON public.counter TO public");
    admin.run(FUNCTIONS);
    pair.await_replay();
    let settings = pair.settings().set("routing.verify_reads", 1).set("log.level", "debug");
    let howdah = start(&pair, &settings);
    (pair, howdah)
}

/// Repeats a read until the self-check keeps this name off the replicas.
fn await_distrusted(howdah: &Howdah, name: &str, mut read: impl FnMut()) {
    let mut console = console(howdah);
    let keys = [("database", "app"), ("reason", "distrusted"), ("query", name)];
    eventually(&format!("{name} is found out"), || {
        read();
        !rows_with(&mut console, "advice", &keys).is_empty()
    });
}

fn distrusted(howdah: &Howdah) -> Vec<String> {
    let found = rows_with(&mut console(howdah), "advice", &[("reason", "distrusted")]);
    found.iter().map(|row| row.get("query")).collect()
}

#[test]
fn a_function_whose_volatility_lies_is_found_kept_off_the_replicas_and_reported() {
    let (pair, howdah) = compared();
    let mut client = client(&howdah, "app");
    let read = "SELECT place(), honest(1) FROM counter";
    let explain =
        |client: &mut Wire, sql: &str| client.rows(&format!("EXPLAIN ROUTE {sql}")).remove(0);
    let is_read = |client: &mut Wire, sql: &str| {
        eventually(&format!("{sql} goes to the replica"), || {
            explain(client, sql)[..2] == ["replica", "read"]
        });
    };
    is_read(&mut client, read);
    await_distrusted(&howdah, "place", || drop(client.rows(read)));
    // Nobody can tell which of them it is.
    assert_eq!(distrusted(&howdah), ["honest", "place"]);
    assert_eq!(explain(&mut client, "SELECT place()")[..2], ["primary", "distrusted"]);
    assert_eq!(client.rows("SELECT place()"), [["false"]]);
    is_read(&mut client, "SELECT value FROM counter");
    let event = the_row(&mut console(&howdah), "events", &[("kind", "check")]);
    let replica = pair.replica.address().to_string();
    for part in [&replica, "honest, place is kept off the replicas until RELOAD", "volatility"] {
        assert!(event.get("message").contains(part), "{event:?}");
        assert!(howdah.log().contains(part), "{part}");
    }
    // A view hides its functions.
    is_read(&mut client, "SELECT * FROM seen");
    await_distrusted(&howdah, "seen", || drop(client.rows("SELECT * FROM seen")));
    assert_eq!(explain(&mut client, "SELECT * FROM seen")[..2], ["primary", "distrusted"]);
    // After a reload it is looked for anew.
    console(&howdah).query("RELOAD");
    assert_eq!(distrusted(&howdah), Vec::<String>::new());
    is_read(&mut client, "SELECT honest(1)");
}

#[test]
fn a_prepared_read_is_compared_with_its_values() {
    let (_pair, howdah) = compared();
    let mut client = client(&howdah, "app");
    client.send(
        &[messages::parse("s", "SELECT port($1) FROM counter", &[23]), messages::sync()].concat(),
    );
    client.until(b'Z');
    await_distrusted(&howdah, "port", || {
        let bind = messages::Bind {
            statement: "s".into(),
            values: vec![Some(b"7".to_vec())],
            results: vec![1],
            ..Default::default()
        };
        client.send(&[messages::bind(&bind), messages::execute("", 0), messages::sync()].concat());
        let frames = client.until(b'Z');
        assert!(frames.iter().any(|frame| frame.tag == b'D'), "{}", lines(&frames));
    });
}

#[test]
fn a_read_that_writes_is_found_by_its_refusal() {
    let (pair, howdah) = compared();
    let mut client = client(&howdah, "app");
    await_distrusted(&howdah, "writer", || {
        let frames = client.query("SELECT writer()");
        let row = frames.iter().find(|frame| frame.tag == b'D');
        assert!(row.is_some(), "the primary has repeated it: {}", lines(&frames));
    });
    let before = pair.primary.admin("app").rows("SELECT count(*) FROM noted");
    assert_ne!(
        before,
        [["0"]],
        "what the client wrote is there, and the check's is not in addition"
    );
    assert!(howdah.log().contains("writes: writer"), "{}", howdah.log());
}

#[test]
fn what_answers_alike_or_differs_by_nature_is_not_accused() {
    let (pair, howdah) = compared();
    let mut client = client(&howdah, "app");
    let said = |client: &mut Wire, sql: &str, outcome: &str| {
        let says = format!("a read was compared with the primary: {outcome}");
        let count = |howdah: &Howdah| howdah.log().matches(&says).count();
        let before = count(&howdah);
        eventually(&format!("{sql}: {outcome}"), || {
            client.rows(sql);
            count(&howdah) > before
        });
    };
    said(&mut client, "SELECT honest(value) FROM counter ORDER BY 1", "same");
    said(&mut client, "SELECT clocked() FROM counter", "unstable");
    said(&mut client, "SELECT random(), value FROM counter", "unstable");
    said(&mut client, "SELECT value FROM counter LIMIT 1", "skipped");
    // Writes in between change what both show.
    let mut writer = pair.primary.admin("app");
    for value in 2..30 {
        writer.run(&format!("UPDATE counter SET value = {value}"));
        client.rows("SELECT honest(value) FROM counter");
    }
    said(&mut client, "SELECT honest(value) AS again FROM counter", "same");
    // A replica that does not follow is not accused of what it cannot know.
    let mut standing = pair.replica.admin("app");
    standing.run("SELECT pg_wal_replay_pause()");
    writer.run("UPDATE counter SET value = 77");
    let late = "a read was compared with the primary: late";
    eventually("the replica is too late", || {
        client.rows("SELECT honest(value) AS late FROM counter");
        howdah.log().contains(late)
    });
    assert_eq!(distrusted(&howdah), Vec::<String>::new());
}
