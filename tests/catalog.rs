//! What the catalog of a real PostgreSQL says about texts: everything that can carry an effect on the
//! session, each with every kind of effect, and ordinary schemas, which carry none.

mod support;

use howdah::auth::Credential;
use howdah::backend::key_cache::KeyCache;
use howdah::backend::login::{Account, LoginContext, SharedReports, open};
use howdah::backend::reported_parameters::ReportedParameters;
use howdah::backend::server::Server;
use howdah::backend::settings::SettingsTable;
use howdah::backend::state::Rest;
use howdah::catalog::load::{Fingerprint, read};
use howdah::catalog::{AskError, Snapshot};
use howdah::net::{NodeAddress, NodeHost, Resolver, ServerTls, SslMode, TcpOptions};
use howdah::sql::{Facts, facts};
use std::time::Duration;
use support::howdah::{Howdah, Settings};
use support::postgres::{Postgres, RIDER};
use support::wire::Wire;
use support::{PATIENCE, deadline, look_again};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(20);

/// Every kind of thing that a session keeps beyond its transaction, as a statement of PL/pgSQL.
const EFFECTS: &[(&str, &str)] = &[
    ("setting", "PERFORM set_config('statement_timeout', '100', false);"),
    ("custom", "PERFORM set_config('app.tenant', 'alice', false);"),
    ("set", "SET work_mem = '77MB';"),
    ("temp", "CREATE TEMP TABLE IF NOT EXISTS hidden (a int);"),
    ("lock", "PERFORM pg_advisory_lock(1);"),
    ("listen", "LISTEN a;"),
    ("role", "SET ROLE crew;"),
    ("dynamic", "EXECUTE 'SET work_mem = ' || 1000;"),
];

/// Objects that carry the effect of `effect(int)`.
const CARRIERS: &str = "
    CREATE FUNCTION effect_trigger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM effect(1); RETURN NULL; END $$;
    CREATE FUNCTION effect2(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT effect($2)';
    CREATE TABLE plain (a int);
    CREATE VIEW a_view AS SELECT effect(1);
    CREATE VIEW over_view AS SELECT * FROM a_view;
    CREATE TABLE ruled (a int);
    CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT effect(1);
    CREATE TABLE inserted (a int);
    CREATE TRIGGER t BEFORE INSERT ON inserted FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE updated (a int);
    CREATE TRIGGER t AFTER UPDATE ON updated FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE deleted (a int);
    CREATE TRIGGER t AFTER DELETE ON deleted FOR EACH STATEMENT EXECUTE FUNCTION effect_trigger();
    CREATE TABLE truncated (a int);
    CREATE TRIGGER t AFTER TRUNCATE ON truncated FOR EACH STATEMENT EXECUTE FUNCTION effect_trigger();
    CREATE TABLE deferred (a int);
    CREATE CONSTRAINT TRIGGER t AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE when_clause (a int);
    CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER t BEFORE INSERT ON when_clause FOR EACH ROW WHEN (effect(NEW.a) > 0) EXECUTE FUNCTION nothing();
    CREATE VIEW instead AS SELECT 1 AS a;
    CREATE TRIGGER t INSTEAD OF INSERT ON instead FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE defaulted (a int DEFAULT effect(1), b int);
    CREATE TABLE checked (a int CHECK (effect(a) > 0));
    CREATE DOMAIN dom AS int CHECK (effect(VALUE) > 0);
    CREATE DOMAIN domdom AS dom;
    CREATE DOMAIN defaulting AS int DEFAULT effect(2);
    CREATE TABLE of_default (a defaulting);
    CREATE TABLE of_domain (a dom);
    CREATE TABLE of_array (a dom[]);
    CREATE TYPE holder AS (a dom);
    CREATE TABLE of_holder (a holder);
    CREATE FUNCTION takes_dom(dom) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = effect2);
    CREATE FUNCTION by_operator() RETURNS int LANGUAGE sql AS 'SELECT 1 === 2';
    CREATE TYPE pair AS (a int, b int);
    CREATE FUNCTION to_pair(int) RETURNS pair LANGUAGE sql AS 'SELECT ROW(effect($1), 1)::pair';
    CREATE CAST (int AS pair) WITH FUNCTION to_pair(int) AS ASSIGNMENT;
    CREATE TABLE of_pair (p pair);
    CREATE TABLE secured (a int);
    ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON secured USING (effect(a) > 0);
    CREATE FUNCTION by_row(plain) RETURNS int LANGUAGE sql AS 'SELECT effect(1)';
    CREATE TABLE generated_column (a int, b int GENERATED ALWAYS AS (effect(a)) STORED);
    CREATE TABLE indexed (a int);
    CREATE INDEX ON indexed (effect(a));
    CREATE TABLE partly_indexed (a int);
    CREATE INDEX ON partly_indexed (a) WHERE effect(a) > 0;
    CREATE TABLE counted (a int);
    CREATE STATISTICS s ON (effect(a)) FROM counted;
    CREATE AGGREGATE summed(int) (SFUNC = effect2, STYPE = int);
    CREATE AGGREGATE finished(int) (SFUNC = int4pl, STYPE = int, FINALFUNC = effect);
    CREATE FUNCTION caller() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN effect(1); END $$;
    CREATE FUNCTION caller_of_caller() RETURNS int LANGUAGE sql AS 'SELECT caller()';
    CREATE FUNCTION round_a() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN round_b(); END $$;
    CREATE FUNCTION round_b() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM round_a(); RETURN effect(1); END $$;
    CREATE FUNCTION atomic() RETURNS int BEGIN ATOMIC SELECT effect(1); END;
    CREATE FUNCTION with_default(a int DEFAULT effect(1)) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE proc() LANGUAGE plpgsql AS $$ BEGIN PERFORM effect(1); END $$;
    CREATE MATERIALIZED VIEW mat AS SELECT effect(1) WITH NO DATA;
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE);
    CREATE TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE grandparent (id int PRIMARY KEY);
    CREATE TABLE middle (id int PRIMARY KEY REFERENCES grandparent ON UPDATE SET NULL);
    CREATE TABLE grandchild (id int REFERENCES middle ON UPDATE CASCADE);
    CREATE TRIGGER t AFTER UPDATE ON grandchild FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE referenced (id int PRIMARY KEY);
    CREATE TABLE referring (id int REFERENCES referenced);
    CREATE TRIGGER t AFTER INSERT ON referring FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE parted (a int) PARTITION BY RANGE (a);
    CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (9);
    CREATE TRIGGER t BEFORE INSERT ON part1 FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TABLE keyed (a int) PARTITION BY RANGE (effect(a));
    CREATE TABLE ancestor (a int);
    CREATE TABLE heir () INHERITS (ancestor);
    CREATE TRIGGER t AFTER UPDATE ON heir FOR EACH ROW EXECUTE FUNCTION effect_trigger();
    CREATE TYPE span AS RANGE (SUBTYPE = int);
    CREATE FUNCTION compare_pairs(pair, pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT effect(1)';
";

/// Texts that reach the effect.
const REACHING: &[&str] = &[
    "SELECT effect(1)",
    "TABLE a_view",
    "SELECT * FROM over_view",
    "INSERT INTO ruled VALUES (1)",
    "INSERT INTO inserted VALUES (1)",
    "COPY inserted FROM STDIN",
    "UPDATE updated SET a = 1",
    "DELETE FROM deleted",
    "TRUNCATE truncated",
    "INSERT INTO deferred VALUES (1)",
    "INSERT INTO when_clause VALUES (1)",
    "INSERT INTO instead VALUES (1)",
    "INSERT INTO defaulted (b) VALUES (1)",
    "INSERT INTO checked VALUES (1)",
    "SELECT '1'::dom",
    "SELECT dom '1'",
    "SELECT CAST(a AS domdom) FROM plain",
    "INSERT INTO of_default DEFAULT VALUES",
    "INSERT INTO of_domain VALUES (1)",
    "INSERT INTO of_array VALUES ('{1}')",
    "SELECT '{1}'::dom[]",
    "INSERT INTO of_holder VALUES (ROW(1))",
    "SELECT takes_dom(1)",
    "SELECT 1 === 2",
    "SELECT 1 OPERATOR(public.===) 2",
    "SELECT by_operator()",
    "INSERT INTO of_pair VALUES (1)",
    "SELECT 1::pair",
    "SELECT * FROM secured",
    "SELECT (plain).by_row FROM plain",
    "SELECT plain.by_row FROM plain",
    "INSERT INTO generated_column (a) VALUES (1)",
    "INSERT INTO indexed VALUES (1)",
    "INSERT INTO partly_indexed VALUES (1)",
    "ANALYZE counted",
    "ANALYZE",
    "SELECT summed(a) FROM plain",
    "SELECT finished(a) FROM plain",
    "SELECT summed(a) OVER () FROM plain",
    "SELECT caller()",
    "SELECT caller_of_caller()",
    "SELECT round_a()",
    "SELECT atomic()",
    "SELECT with_default()",
    "CALL proc()",
    "DO $$ BEGIN PERFORM caller(); END $$",
    "REFRESH MATERIALIZED VIEW mat",
    "DELETE FROM parent",
    "UPDATE grandparent SET id = 2",
    "INSERT INTO referring VALUES (1)",
    "INSERT INTO parted VALUES (1)",
    "INSERT INTO keyed VALUES (1)",
    "UPDATE ancestor SET a = 1",
    "PREPARE p AS SELECT effect(1)",
    "DECLARE c CURSOR FOR TABLE a_view",
    "EXPLAIN ANALYZE SELECT caller()",
];

/// Texts that do not, beside all of these.
const NOT_REACHING: &[&str] = &[
    "SELECT * FROM plain",
    "INSERT INTO plain VALUES (1)",
    "DELETE FROM referenced",
    "SELECT lower('A'), count(*) FROM plain WHERE a = 1 AND a IN (1, 2) ORDER BY a",
    "SELECT '[1,2)'::span",
    "COPY plain FROM STDIN",
];

struct Database {
    server: Box<Server>,
}

impl Database {
    async fn open(postgres: &Postgres, name: &str) -> Self {
        let host = NodeHost::Name("127.0.0.1".into());
        let account = Account {
            address: NodeAddress { host, port: postgres.port() },
            user: RIDER.into(),
            dbname: name.into(),
            credential: parking_lot::Mutex::new(Credential::None),
            connect_query: None,
            neutral: SettingsTable::default().intern([]),
            reported_parameters: ReportedParameters::default(),
            replaced: tokio::sync::Notify::new(),
        };
        let tcp = TcpOptions {
            keepalive: false,
            keepidle: None,
            keepintvl: None,
            keepcnt: None,
            user_timeout: None,
        };
        let context = LoginContext {
            resolver: Resolver::new(PATIENCE),
            tcp,
            connect_timeout: Some(PATIENCE),
            keys: KeyCache::default(),
            reports: SharedReports::default(),
            tls: ServerTls::new(SslMode::Disable, None, None).expect("no TLS"),
        };
        let server = open(&account, &context, &[]).await.expect("a login");
        Self { server }
    }

    async fn snapshot(&mut self) -> Snapshot {
        let (_, builder) = read(&mut self.server, None, LIMIT).await.expect("an answer");
        assert_eq!(self.server.rest(), Rest::AtRest);
        builder.expect("it was read").finish()
    }

    async fn changed(&mut self, known: &Fingerprint) -> Option<Fingerprint> {
        let answer = read(&mut self.server, Some(known), LIMIT).await.expect("an answer");
        answer.1.map(|_| answer.0)
    }
}

fn play(test: impl AsyncFnOnce(&'static Postgres)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(test(Postgres::shared()));
}

/// A new database with these objects.
fn database(postgres: &Postgres, name: &str, objects: &str) -> Wire {
    postgres.create_database(name);
    let mut admin = postgres.admin(name);
    admin.run(objects);
    admin
}

fn of(text: &str, snapshot: &Snapshot) -> Facts {
    facts(text.as_bytes(), true, snapshot)
}

fn check(texts: &[&str], snapshot: &Snapshot, reaches: bool, what: &str) {
    let wrong: Vec<_> = texts.iter().filter(|text| of(text, snapshot).taint != reaches).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:#?}");
}

#[test]
fn every_carrier_of_every_effect_taints_the_text_that_mentions_it() {
    play(async |postgres| {
        for (name, effect) in EFFECTS {
            let function = format!(
                "CREATE FUNCTION effect(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
                 $$ BEGIN {effect} RETURN $1; END $$; {CARRIERS}"
            );
            let name = format!("effect_{name}");
            database(postgres, &name, &function);
            let snapshot = Database::open(postgres, &name).await.snapshot().await;
            check(REACHING, &snapshot, true, &name);
            check(NOT_REACHING, &snapshot, false, &name);
            let custom = snapshot.custom_settings();
            assert_eq!(custom.iter().any(|name| &**name == "app.tenant"), name == "effect_custom");
            assert_eq!(snapshot.has_unknown_custom_settings(), name == "effect_dynamic");
        }
    });
}

#[test]
fn the_same_objects_without_an_effect_taint_nothing() {
    play(async |postgres| {
        let function = format!(
            "CREATE FUNCTION effect(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
             $$ BEGIN PERFORM set_config('app.x', 'y', true); SET LOCAL work_mem = '1MB'; RETURN $1; END $$; \
             {CARRIERS}"
        );
        database(postgres, "effect_none", &function);
        let snapshot = Database::open(postgres, "effect_none").await.snapshot().await;
        check(REACHING, &snapshot, false, "no effect");
        check(NOT_REACHING, &snapshot, false, "no effect");
        assert!(of("TABLE over_view", &snapshot).local_settings);
    });
}

/// PostgreSQL records no dependency on its own functions.
#[test]
fn functions_of_postgresql_are_found_in_expressions() {
    play(async |postgres| {
        let objects = "
            CREATE VIEW v AS SELECT set_config('app.Hidden', '1', false);
            CREATE VIEW v_local AS SELECT set_config('app.local', '1', true);
            CREATE VIEW v_lock AS SELECT pg_try_advisory_lock(1);
            CREATE TABLE d (a text DEFAULT set_config('app.d', '1', false), b int);
            CREATE TABLE c (a int CHECK (pg_try_advisory_lock(a)));
            CREATE DOMAIN dom AS int CHECK (pg_try_advisory_lock(VALUE));
            CREATE TABLE p (a int);
            ALTER TABLE p ENABLE ROW LEVEL SECURITY;
            CREATE POLICY p ON p USING (pg_try_advisory_lock(a));
            CREATE TABLE r (a int);
            CREATE RULE r AS ON DELETE TO r DO INSTEAD SELECT set_config('app.r', '1', false);
            CREATE FUNCTION body() RETURNS text BEGIN ATOMIC SELECT set_config('app.body', '1', false); END;
            CREATE AGGREGATE setting(text, boolean) (SFUNC = set_config, STYPE = text);
            CREATE OPERATOR |=| (LEFTARG = int, RIGHTARG = int, FUNCTION = pg_try_advisory_lock);
            CREATE VIEW my_settings AS SELECT name, setting FROM pg_settings;
            CREATE VIEW xml AS SELECT query_to_xml('SELECT 1', true, true, '');
            CREATE SEQUENCE s;
            CREATE VIEW numbers AS SELECT nextval('s');
            CREATE TABLE serials (id serial, a int);
            CREATE TABLE identities (id int GENERATED ALWAYS AS IDENTITY, a int);
            CREATE VIEW last AS SELECT lastval();
            CREATE VIEW seed AS SELECT setseed(0.5)::text;
            CREATE FUNCTION into_serials() RETURNS void LANGUAGE sql AS 'INSERT INTO serials (a) VALUES (1)';
            CREATE FUNCTION from_serials() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM serials';
            CREATE FUNCTION on_settings() RETURNS void LANGUAGE sql AS 'UPDATE pg_settings SET setting = ''1'' WHERE name = ''work_mem''';
            ALTER DATABASE builtins SET app.from_database = 'x';
        ";
        database(postgres, "builtins", objects);
        let snapshot = Database::open(postgres, "builtins").await.snapshot().await;
        let reaching = [
            "TABLE v",
            "TABLE v_lock",
            "INSERT INTO d (b) VALUES (1)",
            "INSERT INTO c VALUES (1)",
            "SELECT '1'::dom",
            "TABLE p",
            "DELETE FROM r",
            "SELECT body()",
            "SELECT setting('a', true)",
            "SELECT 1 |=| 2",
            "UPDATE my_settings SET setting = '1'",
            "TABLE xml",
            "SELECT on_settings()",
        ];
        check(&reaching, &snapshot, true, "builtins");
        let others =
            ["TABLE v_local", "TABLE numbers", "INSERT INTO serials (a) VALUES (1)", "TABLE last"];
        check(&others, &snapshot, false, "builtins");
        let custom: Vec<_> = snapshot.custom_settings().iter().map(|name| &**name).collect();
        assert_eq!(custom, ["app.body", "app.d", "app.from_database", "app.hidden", "app.r"]);
        let moves = |text| of(text, &snapshot).may_move_sequence;
        for text in [
            "TABLE numbers",
            "INSERT INTO serials (a) VALUES (1)",
            "COPY serials FROM STDIN",
            "INSERT INTO identities (a) VALUES (1)",
            "SELECT into_serials()",
        ] {
            assert!(moves(text), "{text}");
        }
        for text in
            ["TABLE serials", "SELECT from_serials()", "INSERT INTO r VALUES (1)", "TABLE last"]
        {
            assert!(!moves(text), "{text}");
        }
        assert!(of("TABLE last", &snapshot).currval && !of("TABLE numbers", &snapshot).currval);
        assert!(of("TABLE seed", &snapshot).pins.contains(howdah::sql::PinSet::STATE));
    });
}

#[test]
fn with_an_event_trigger_every_definition_taints() {
    play(async |postgres| {
        let objects = "
            CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM set_config('app.ddl', 'x', false); END $$;
            CREATE TABLE t (a int);
            CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION on_ddl();
        ";
        database(postgres, "event", objects);
        let snapshot = Database::open(postgres, "event").await.snapshot().await;
        let reaching = [
            "CREATE TABLE x (a int)",
            "DROP TABLE x",
            "CREATE TEMP TABLE x (a int)",
            "SELECT 1 INTO x",
        ];
        check(&reaching, &snapshot, true, "event");
        check(&["SELECT 1", "INSERT INTO t VALUES (1)"], &snapshot, false, "event");
    });
}

#[test]
fn extensions_that_postgresql_ships_are_harmless_and_their_exceptions_are_not() {
    play(async |postgres| {
        let objects = "
            CREATE EXTENSION pgcrypto; CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION pg_trgm;
            CREATE EXTENSION \"uuid-ossp\"; CREATE EXTENSION btree_gist; CREATE EXTENSION btree_gin;
            CREATE EXTENSION ltree; CREATE EXTENSION intarray; CREATE EXTENSION cube; CREATE EXTENSION earthdistance;
            CREATE EXTENSION fuzzystrmatch; CREATE EXTENSION tablefunc; CREATE EXTENSION unaccent;
            CREATE EXTENSION pg_stat_statements; CREATE EXTENSION dblink; CREATE EXTENSION isn; CREATE EXTENSION seg;
            CREATE EXTENSION postgres_fdw;
            CREATE TABLE t (a citext, b hstore, c ltree, d uuid DEFAULT gen_random_uuid(), e uuid DEFAULT uuid_generate_v4());
            CREATE INDEX ON t USING gin (a gin_trgm_ops);
            CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
            CREATE FOREIGN TABLE far (a int) SERVER elsewhere;
        ";
        database(postgres, "extensions", objects);
        let snapshot = Database::open(postgres, "extensions").await.snapshot().await;
        let harmless = [
            "SELECT a = 'x', b -> 'k', c <@ 'top' FROM t",
            "INSERT INTO t (a) VALUES ('x')",
            "SELECT digest('x', 'sha256'), similarity('a', 'b'), uuid_generate_v4(), levenshtein('a', 'b')",
            "SELECT a % 'x' FROM t ORDER BY a",
            "TABLE far",
            "SELECT unaccent('x'), normal_rand(1, 2, 3)",
            "SELECT count(*) FROM pg_stat_statements",
            "SELECT a IN ('x', 'y') FROM t",
        ];
        check(&harmless, &snapshot, false, "extensions");
        let reaching = [
            "SELECT * FROM crosstab('SELECT 1')",
            "SELECT set_limit(0.5)",
            "SELECT dblink_connect('x')",
            "SELECT isn_weak(true)",
        ];
        check(&reaching, &snapshot, true, "extensions");
    });
}

#[test]
fn ordinary_schemas_are_harmless() {
    play(async |postgres| {
        postgres.create_database("bench");
        let port = postgres.port().to_string();
        postgres
            .tool("pgbench", &["-i", "-q", "-h", "127.0.0.1", "-p", &port, "-U", RIDER, "bench"]);
        let mut admin = postgres.admin("bench");
        for n in 0..50 {
            admin.run(&format!(
                "CREATE TABLE t{n} (id bigserial PRIMARY KEY, a text, updated_at timestamptz DEFAULT now());
                 CREATE FUNCTION touch{n}() RETURNS trigger LANGUAGE plpgsql AS $$
                   BEGIN NEW.updated_at := clock_timestamp();
                   IF TG_OP = 'UPDATE' AND (OLD.a IS DISTINCT FROM NEW.a) THEN RAISE DEBUG 'x %', NEW.a; END IF;
                   RETURN NEW; END $$;
                 CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t{n} FOR EACH ROW EXECUTE FUNCTION touch{n}();
                 CREATE FUNCTION total{n}(p_min int DEFAULT 0) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
                   DECLARE r record; n bigint := 0;
                   BEGIN FOR r IN SELECT * FROM t{n} WHERE id > p_min LOOP n := n + 1; END LOOP;
                   PERFORM pg_notify('a', n::text); RETURN n; EXCEPTION WHEN others THEN RETURN -1; END $$"
            ));
        }
        let snapshot = Database::open(postgres, "bench").await.snapshot().await;
        let texts = [
            "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2",
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP)",
            "INSERT INTO t1 (a) VALUES ('x') RETURNING id",
            "SELECT total2(1), public.total3()",
            "UPDATE t4 SET a = 'y'",
            "SELECT t.id FROM t5 AS t JOIN t6 USING (id) WHERE t.a LIKE 'x%' ORDER BY 1",
        ];
        check(&texts, &snapshot, false, "bench");
        assert!(
            of(texts[2], &snapshot).may_move_sequence && !of(texts[0], &snapshot).may_move_sequence
        );
        assert!(!snapshot.has_unknown_custom_settings() && snapshot.custom_settings().is_empty());
    });
}

#[test]
fn reading_leaves_the_server_as_it_was() {
    play(async |postgres| {
        database(postgres, "clean", "CREATE TABLE t (a int)");
        let mut one = Database::open(postgres, "clean").await;
        let all = "SELECT name, setting FROM pg_settings ORDER BY 1";
        one.server.run("SET work_mem = '3MB'; SET search_path = x").await.expect("settings");
        let before = one.server.table(all).await.expect("settings");
        one.snapshot().await;
        assert_eq!(one.server.table(all).await.expect("settings"), before);
        // A question that is refused leaves no transaction open either.
        let mut admin = postgres.admin("clean");
        admin.run("REVOKE SELECT ON pg_catalog.pg_operator FROM PUBLIC");
        let refused = read(&mut one.server, None, LIMIT).await.map(|_| ());
        assert!(
            matches!(&refused, Err(AskError::Refused { code, .. }) if code == "42501"),
            "{refused:?}"
        );
        assert_eq!(one.server.rest(), Rest::AtRest);
        assert_eq!(one.server.table(all).await.expect("settings"), before);
    });
}

/// Somebody creates a thing of each kind; before the catalog is read again a text uses it.
#[test]
fn a_thing_that_was_created_since_taints_until_it_is_known() {
    play(async |postgres| {
        let mut admin = database(postgres, "since", "CREATE TABLE t (a int, \"Ä\" int)");
        let mut one = Database::open(postgres, "since").await;
        let before = one.snapshot().await;
        check(&["SELECT a FROM t", "SELECT \"Ä\" FROM public.t AS x"], &before, false, "before");
        admin.run(
            "CREATE FUNCTION add(int, int) RETURNS int LANGUAGE sql AS 'SELECT $1 + $2';
             CREATE PROCEDURE work() LANGUAGE sql AS 'SELECT 1';
             CREATE VIEW v AS SELECT 1; CREATE TABLE \"Ö\" (a int);
             CREATE DOMAIN dom AS int; CREATE TYPE mood AS ENUM ('ok');
             CREATE OPERATOR ===> (LEFTARG = int, RIGHTARG = int, FUNCTION = add)",
        );
        let texts = [
            "SELECT add(1, 2)",
            "CALL work()",
            "TABLE v",
            "SELECT * FROM t, v",
            "INSERT INTO t SELECT 1 FROM \"Ö\"",
            "SELECT 1::dom",
            "SELECT CAST('ok' AS mood)",
            "SELECT mood 'ok'",
            "SELECT 1 ===> 2",
        ];
        check(&texts, &before, true, "before");
        check(&texts, &one.snapshot().await, false, "after");
    });
}

#[test]
fn a_change_by_somebody_else_is_noticed() {
    play(async |postgres| {
        let mut admin = database(
            postgres,
            "foreign",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        );
        let mut one = Database::open(postgres, "foreign").await;
        let (mut known, _) = read(&mut one.server, None, LIMIT).await.expect("an answer");
        for (sql, at_once) in [
            ("CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'", true),
            ("CREATE VIEW v AS SELECT 1", true),
            ("CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'", false),
            ("CREATE TABLE t (a int)", true),
            ("ALTER TABLE t ALTER a TYPE text", false),
            ("DROP FUNCTION g()", false),
        ] {
            admin.run(sql);
            // A session that ends reports its counters.
            admin.disconnect();
            admin = postgres.admin("foreign");
            let end = deadline();
            loop {
                let changed = one.changed(&known).await;
                if let Some(changed) = changed {
                    known = changed;
                    break;
                }
                assert!(!at_once && look_again(end), "{sql} was not noticed");
            }
        }
        // The counters of what happened last may still be on their way.
        let end = deadline();
        let mut quiet = 0;
        while quiet < 5 {
            match one.changed(&known).await {
                Some(changed) => (known, quiet) = (changed, 0),
                None => quiet += 1,
            }
            assert!(look_again(end), "nothing changes, and yet it is read again");
        }
    });
}

#[test]
fn many_functions_are_read_in_a_short_time() {
    play(async |postgres| {
        const MANY: i64 = 5_000;
        let objects = format!(
            "CREATE TABLE t (a int, b int);
             DO $$ BEGIN FOR n IN 1..{MANY} LOOP EXECUTE format('CREATE FUNCTION f%s(a int) RETURNS int \
             LANGUAGE plpgsql AS %L', n, 'BEGIN UPDATE t SET b = a WHERE t.a = 1; RETURN f' || n + 1 || '(a); END'); \
             END LOOP; END $$;
             CREATE FUNCTION f{}(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            MANY + 1
        );
        database(postgres, "many", &objects);
        let mut one = Database::open(postgres, "many").await;
        let begun = Instant::now();
        let snapshot = one.snapshot().await;
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert!(snapshot.is_empty());
        let end = "CREATE OR REPLACE FUNCTION f5001(a int) RETURNS int LANGUAGE sql AS 'SELECT pg_advisory_lock(1); SELECT 1'";
        postgres.admin("many").run(end);
        assert!(one.snapshot().await.may_touch_session(b"f1"));
    });
}

/// Waits for a line of the log.
fn await_log(howdah: &Howdah, wanted: &str) {
    let end = deadline();
    while !howdah.log().contains(wanted) {
        assert!(look_again(end), "no line \"{wanted}\":\n{}", howdah.log());
    }
}

#[test]
fn a_database_that_is_used_is_read_by_the_process_and_again_when_it_changes() {
    let postgres = Postgres::shared();
    let mut admin =
        database(postgres, "process", "CREATE VIEW v AS SELECT set_config('app.x', '1', false)");
    let settings = Settings::new("transaction")
        .set("log.level", "debug")
        .set("pool.default_pool_size", 1)
        .set("pool.catalog_refresh", "100ms")
        .database("process", postgres.address());
    let howdah = Howdah::start(&settings);
    let mut client = Wire::login(howdah.address(), RIDER, "process");
    client.run("SELECT 1");
    // The view, and the array of its rows.
    await_log(&howdah, "2 name(s) matter");
    admin.run("CREATE VIEW w AS TABLE v");
    // Only a database that is used is asked again.
    let end = deadline();
    while !howdah.log().contains("4 name(s) matter") {
        Wire::login(howdah.address(), RIDER, "process").disconnect();
        assert!(look_again(end), "{}", howdah.log());
    }
    client.run("SELECT 1");
}

/// Until the catalog is read every text is checked, so that its reader does not wait for an idle server.
#[test]
fn a_catalog_that_nobody_knows_is_read_while_all_servers_are_busy() {
    let postgres = Postgres::shared();
    database(postgres, "busy", "CREATE VIEW v AS SELECT set_config('app.x', '1', false)");
    let settings = Settings::new("transaction")
        .set("log.level", "debug")
        .set("pool.default_pool_size", 2)
        .database("busy", postgres.address());
    let howdah = Howdah::start(&settings);
    let begun = Instant::now();
    let mut client = Wire::login(howdah.address(), RIDER, "busy");
    client.run("BEGIN");
    await_log(&howdah, "2 name(s) matter");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    client.run("COMMIT");
}

#[test]
fn a_catalog_that_cannot_be_read_is_told_of_once() {
    let postgres = Postgres::shared();
    let mut admin =
        database(postgres, "forbidden", "REVOKE SELECT ON pg_catalog.pg_rewrite FROM PUBLIC");
    let settings = Settings::new("transaction")
        .set("pool.default_pool_size", 1)
        .database("forbidden", postgres.address());
    let howdah = Howdah::start(&settings);
    let mut client = Wire::login(howdah.address(), RIDER, "forbidden");
    let told = "the catalog cannot be read: permission denied for table pg_rewrite";
    await_log(&howdah, told);
    client.run("SELECT 1");
    let logins =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'forbidden' AND usename = 'rider'";
    assert_eq!(admin.rows(logins), [["1"]], "the server went back to its pool");
    assert_eq!(howdah.log().matches("cannot be read").count(), 1);
}
