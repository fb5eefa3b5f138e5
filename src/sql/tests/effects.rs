//! What statements do to the session.

use super::facts;
use super::{check, check_harmless};
use crate::sql::Command;

#[test]
fn settings_of_the_session() {
    check(&[
        ("SET search_path TO a, b", "1 Set set=search_path"),
        ("set Search_Path = a", "1 Set set=search_path"),
        ("SET SESSION statement_timeout = 5", "1 Set set=statement_timeout"),
        ("SET myapp.tenant = '7'", "1 Set set=myapp.tenant"),
        ("SET \"MyApp\".\"Tenant\" = '7'", "1 Set set=myapp.tenant"),
        ("SET a.b.c = '7'", "1 Set set=a.b.c"),
        ("SET \"a\"\"b\" = 1", "1 Set set=?"),
        ("SET U&\"a\" = 1", "1 Set set=?"),
        ("SET TIME ZONE 'UTC'", "1 Set set=timezone"),
        ("SET SESSION TIME ZONE LOCAL", "1 Set set=timezone reset=timezone"),
        ("SET TimeZone TO DEFAULT", "1 Set set=timezone reset=timezone"),
        ("SET NAMES 'LATIN1'", "1 Set set=client_encoding"),
        ("SET NAMES", "1 Set set=client_encoding reset=client_encoding"),
        ("SET SCHEMA 'x'", "1 Set set=search_path"),
        ("SET XML OPTION DOCUMENT", "1 Set set=xmloption"),
        ("SET ROLE bob", "1 Set set=role"),
        ("SET ROLE NONE", "1 Set set=role"),
        ("SET SESSION ROLE bob", "1 Set set=role"),
        ("SET role TO bob", "1 Set set=role"),
        ("SET SESSION AUTHORIZATION bob", "1 Set set=session_authorization,role"),
        ("SET SESSION SESSION AUTHORIZATION bob", "1 Set set=session_authorization,role"),
        (
            "SET SESSION AUTHORIZATION DEFAULT",
            "1 Set set=session_authorization,role reset=session_authorization",
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
            "1 Set set=default_transaction_isolation,default_transaction_read_only",
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION NOT DEFERRABLE",
            "1 Set set=default_transaction_deferrable",
        ),
        ("SET local.x = 1", "1 Set set=local.x"),
        ("SET session.x = 1", "1 Set set=session.x"),
        ("SET SESSION session.x = 1", "1 Set set=session.x"),
        ("SET transaction.x TO 1", "1 Set set=transaction.x"),
        ("SET role.x = 1", "1 Set set=role.x"),
        ("SET time.x = 1", "1 Set set=time.x"),
        ("SET names.x = 1", "1 Set set=names.x"),
        ("SET x FROM CURRENT", "1 Set set=x"),
        ("SET sort_mem = 64", "1 Set set=work_mem"),
        ("SET seed = 0.5", "1 Set pins=[\"STATE\"]"),
        ("/* a */ -- b\n SET /* c */ x /* d */ = 1", "1 Set set=x"),
        ("SET a = 1; SELECT 1; set b = 2; SET a = 3", "4 Set set=a,b"),
        ("SELECT ';'; SET x = 1", "2 Select set=x"),
        ("RESET x", "1 Reset set=x reset=x"),
        ("RESET myapp.x", "1 Reset set=myapp.x reset=myapp.x"),
        ("RESET TIME ZONE", "1 Reset set=timezone reset=timezone"),
        (
            "RESET SESSION AUTHORIZATION",
            "1 Reset set=session_authorization,role reset=session_authorization",
        ),
        ("RESET ROLE", "1 Reset set=role reset=role"),
        ("RESET ALL", "1 Reset reset-all"),
        // What is set behind it has a name.
        ("RESET ALL; SET app.x = '1'", "2 Reset set=app.x reset-all"),
        ("DISCARD ALL; SELECT set_config('app.x', '1', false)", "2 Discard set=app.x discard-all"),
        ("SET a = 1; RESET ALL", "2 Set set=a reset-all"),
        ("RESET ALL; SELECT set_config('a' || 'b', '1', false)", "2 Reset set=? reset-all"),
        ("DISCARD ALL", "1 Discard discard-all"),
    ]);
}

#[test]
fn set_config_is_read_from_its_arguments() {
    check(&[
        ("SELECT set_config('search_path', 'a', false)", "1 Select set=search_path"),
        ("SELECT pg_catalog.set_config('Work_Mem', $1, 'f')", "1 Select set=work_mem"),
        ("SELECT \"set_config\" ('x', f.a || (1, 2)::text, FALSE) FROM f", "1 Select set=x"),
        ("SELECT set_config($$x$$, 'a', false), set_config('y', 'b', false)", "1 Select set=x,y"),
        ("SELECT set_config('x', 'a', true)", "1 Select"),
        ("SELECT set_config($1, $2, true)", "1 Select"),
        ("SELECT set_config($1, 'a', false)", "1 Select set=?"),
        ("SELECT set_config('x', 'a', $1)", "1 Select set=?"),
        ("SELECT set_config('x', 'a', not true)", "1 Select set=?"),
        ("SELECT set_config('x' || 'y', 'a', false)", "1 Select set=?"),
        ("SELECT set_config(E'\\x78', 'a', false)", "1 Select set=?"),
        ("SELECT set_config('x', array['a', true, 'b'], false)", "1 Select set=?"),
        ("SELECT set_config('x', set_config('y', 'a', true), true)", "1 Select set=?"),
        ("SELECT set_config('x', 'a', false", "1 Select set=? taint broken"),
        ("SELECT public.set_config('x', 'a', true)", "1 Select taint"),
        ("WITH s AS (SELECT set_config('x', 'a', false)) SELECT 1", "1 Select set=x"),
        ("EXPLAIN SELECT set_config('x', 'a', false)", "1 Explain"),
        ("EXPLAIN ANALYZE SELECT set_config('x', 'a', false)", "1 Explain set=x"),
        ("EXPLAIN (ANALYZE, VERBOSE) SELECT set_config('x', 'a', false)", "1 Explain set=x"),
        ("EXPLAIN ANALYZE (SELECT set_config('x', 'a', false))", "1 Explain set=x"),
        (
            "SELECT set_config('session_authorization', 'a', false)",
            "1 Select set=session_authorization,role",
        ),
        ("SELECT set_config('transaction_read_only', 'on', false)", "1 Select"),
        ("SELECT 'set_config(''x'', ''a'', false)' -- set_config('y','a',false)", "1 Select"),
    ]);
}

#[test]
fn what_only_looks_like_a_setting() {
    check_harmless(&[
        "SET LOCAL x = 1",
        "SET LOCAL ROLE bob",
        "SET LOCAL SESSION AUTHORIZATION bob",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET transaction_isolation = 'serializable'",
        "RESET TRANSACTION ISOLATION LEVEL",
        "UPDATE t SET search_path = 'x'",
        "UPDATE t SET (a, b) = (1, 2) WHERE c = 3",
        "ALTER ROLE bob SET search_path = a",
        "ALTER DATABASE d SET search_path = a",
        "ALTER SYSTEM SET work_mem = '1GB'",
        "ALTER FUNCTION f(int) SET search_path = a",
        "ALTER TABLE t SET (fillfactor = 70)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = a AS $$ SELECT 1 $$",
        "CREATE FUNCTION f() RETURNS void AS $x$ BEGIN SET a = 1; END $x$ LANGUAGE plpgsql",
        "SELECT 1 AS set; SELECT 2",
        "SELECT * FROM set; SHOW x",
    ]);
}

#[test]
fn pins() {
    check(&[
        ("CREATE TEMP TABLE t (a int)", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE LOCAL TEMPORARY TABLE t (a int)", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE GLOBAL TEMP TABLE IF NOT EXISTS t (a)", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE TEMP TABLE t AS SELECT 1", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE TEMP TABLE t (a int) ON COMMIT DROP", "1 Create"),
        ("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1", "1 Create"),
        ("CREATE TEMP TABLE t (a int) ON COMMIT DELETE ROWS", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE TEMP RECURSIVE VIEW v (a) AS SELECT 1", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE TEMPORARY SEQUENCE s", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE TABLE pg_temp.t (a int)", "1 Create pins=[\"TEMP_TABLE\"]"),
        ("CREATE TABLE IF NOT EXISTS \"pg_temp\".t (a int)", "1 Create pins=[\"TEMP_TABLE\"]"),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS ''",
            "1 Create pins=[\"TEMP_TABLE\"]",
        ),
        ("SELECT 1 INTO TEMP t", "1 Select pins=[\"TEMP_TABLE\"]"),
        ("SELECT a INTO LOCAL TEMPORARY TABLE t FROM x", "1 Select pins=[\"TEMP_TABLE\"]"),
        ("SELECT a INTO pg_temp.t FROM x", "1 Select pins=[\"TEMP_TABLE\"]"),
        ("EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", "1 Explain pins=[\"TEMP_TABLE\"]"),
        ("INSERT INTO temp (a) VALUES (1)", "1 Insert"),
        ("SELECT pg_advisory_lock(1)", "1 Select pins=[\"ADVISORY_LOCK\"]"),
        ("SELECT pg_try_advisory_lock_shared(1, 2)", "1 Select pins=[\"ADVISORY_LOCK\"]"),
        ("SELECT pg_advisory_xact_lock(1)", "1 Select"),
        ("SELECT pg_advisory_unlock(1)", "1 Select releases=[\"ADVISORY_LOCK\"]"),
        ("SELECT pg_advisory_unlock_all()", "1 Select releases=[\"ADVISORY_LOCK\"]"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "1 Declare pins=[\"HOLD_CURSOR\"]"),
        ("DECLARE c BINARY CURSOR WITHOUT HOLD FOR SELECT 1", "1 Declare"),
        (
            "DECLARE c CURSOR FOR WITH a(x) AS (SELECT 1), hold(y) AS (SELECT 2) SELECT 3",
            "1 Declare",
        ),
        ("SELECT pg_terminate_backend(1)", "1 Select releases=[\"STATE\"]"),
        ("CLOSE c", "1 Close releases=[\"HOLD_CURSOR\"]"),
        ("LISTEN a", "1 Listen pins=[\"LISTEN\"]"),
        ("UNLISTEN *", "1 Unlisten releases=[\"LISTEN\"]"),
        ("PREPARE p (int) AS SELECT evil($1)", "1 Prepare pins=[\"PREPARED\"]"),
        ("PREPARE transaction AS SELECT 1", "1 Prepare pins=[\"PREPARED\"]"),
        ("DEALLOCATE p", "1 Deallocate releases=[\"PREPARED\"]"),
        ("LOAD 'auto_explain'", "1 Load pins=[\"LOAD\"]"),
        ("CREATE FUNCTION f() RETURNS int AS 'lib', 'f' LANGUAGE C", "1 Create pins=[\"LOAD\"]"),
        ("CREATE FUNCTION f() AS 'lib' LANGUAGE $$c$$", "1 Create pins=[\"LOAD\"]"),
        ("CREATE FUNCTION f() AS 'lib' LANGUAGE E'\\x63'", "1 Create pins=[\"LOAD\"]"),
        ("SELECT nextval('s')", "1 Select pins=[\"SEQUENCE\"]"),
        ("SELECT currval('s'), lastval()", "1 Select currval"),
        ("SELECT setseed(0.5)", "1 Select pins=[\"STATE\"]"),
        ("DROP TABLE t", "1 Drop releases=[\"TEMP_TABLE\"]"),
        ("DISCARD TEMP", "1 Discard releases=[\"TEMP_TABLE\"]"),
        ("DISCARD SEQUENCES", "1 Discard releases=[\"SEQUENCE\"]"),
        ("DISCARD PLANS", "1 Discard"),
    ]);
}

#[test]
fn taints() {
    check(&[
        ("DO $$ BEGIN PERFORM 1; END $$", "1 Do"),
        ("CALL p(1)", "1 Call taint"),
        ("EXECUTE p(1)", "1 Execute executes"),
        ("EXPLAIN EXECUTE p", "1 Explain executes"),
        ("EXPLAIN SELECT evil()", "1 Explain taint"),
        ("EXPLAIN (SELECT evil())", "1 Explain taint"),
        ("CREATE TABLE t AS EXECUTE p", "1 Create executes"),
        ("CREATE TABLE t AS SELECT evil()", "1 Create taint"),
        ("CREATE INDEX ON t (evil(a))", "1 Create taint"),
        ("CREATE EXTENSION postgis", "1 Create taint"),
        ("ALTER EXTENSION postgis UPDATE", "1 Alter taint"),
        ("ALTER TABLE t ALTER a TYPE int USING evil(a)", "1 Alter taint"),
        ("COPY t FROM STDIN WHERE evil(a)", "1 Copy taint copy"),
        ("COPY (SELECT evil()) TO STDOUT", "1 Copy taint copy"),
        ("SELECT evil(1)", "1 Select taint"),
        ("SELECT evil /* x */ (1)", "1 Select taint"),
        ("SELECT \"lower\"('A'), \"Lower\"('A')", "1 Select taint"),
        ("SELECT \"in\"(1)", "1 Select taint"),
        ("SELECT public.lower('A')", "1 Select taint"),
        ("SELECT d.pg_catalog.lower('A')", "1 Select taint"),
        ("SELECT U&\"\\0061bs\"(1)", "1 Select taint"),
        ("SELECT * FROM evil(1) WITH ORDINALITY, evil(2)", "1 Select taint"),
        ("SELECT DISTINCT ON (a) evil(b) FROM t", "1 Select taint"),
        ("WITH a AS (SELECT 1), b(x) AS (SELECT 2) SELECT c, evil(3)", "1 Select taint"),
        ("SELECT query_to_xml('select 1', true, true, '')", "1 Select taint"),
        ("SELECT pg_backup_start('x')", "1 Select pins=[\"STATE\"] taint"),
        ("INSERT INTO t (a) VALUES (evil(1)) ON CONFLICT (a) DO NOTHING", "1 Insert taint"),
        ("DECLARE c CURSOR FOR SELECT evil()", "1 Declare taint"),
        ("FROBNICATE x", "1 Other taint"),
        ("WITH x AS (SELECT 1)", "1 Other taint"),
    ]);
}

#[test]
fn parentheses_that_call_nothing_of_note() {
    check_harmless(&[
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        "SELECT count(*), lower(a), pg_catalog.upper(b), a::numeric(10,2) FROM t GROUP BY (a)",
        "SELECT coalesce(a, nullif(b, 1)), EXTRACT(year FROM c), CAST(d AS varchar(10)) FROM t",
        "SELECT * FROM t WHERE a IN (1, 2) AND (b OR NOT (c)) AND EXISTS (SELECT 1)",
        "SELECT * FROM t WHERE a = ANY(ARRAY(SELECT 1)) AND x LIKE (y) AND (1, 2) = ROW(1, 2)",
        "SELECT sum(a) FILTER (WHERE b) OVER (PARTITION BY c ORDER BY d) FROM t",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t GROUP BY GROUPING SETS ((a))",
        "INSERT INTO s.t (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET (b) = ROW(3)",
        "INSERT INTO t AS x (a) SELECT 1 RETURNING (a)",
        "MERGE INTO t USING s ON (t.a = s.a) WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
        "WITH RECURSIVE x(a) AS (VALUES (1)), y(b) AS NOT MATERIALIZED (SELECT 1) SELECT * FROM x",
        "SELECT * FROM (VALUES (1, 2)) AS v(a, b), generate_series(1, 2) g(i)",
        "SELECT * FROM unnest(a) WITH ORDINALITY t(x, n) JOIN u USING (x)",
        "SELECT * FROM t JOIN u ON (t.a = u.a) LEFT JOIN (SELECT 1) AS z(a) ON (true)",
        "CREATE TABLE IF NOT EXISTS s.t (a varchar(10), b numeric(1, 2) DEFAULT now(), \
         PRIMARY KEY (a), FOREIGN KEY (b) REFERENCES s.u (c), CHECK (a > 1), UNIQUE (a, b))",
        "CREATE TABLE t (a int) PARTITION BY RANGE (a)",
        "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t USING btree (a, lower(b)) INCLUDE (c)",
        "CREATE VIEW v (a) AS SELECT evil()",
        "CREATE TRIGGER g AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION evil()",
        "ALTER TABLE t ADD COLUMN a varchar(5), ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u(b)",
        "GRANT EXECUTE ON FUNCTION evil(int) TO bob",
        "VACUUM (FULL, ANALYZE) t (a)",
        "ANALYZE t (a, b)",
        "COPY s.t (a, b) FROM STDIN WITH (FORMAT csv, FORCE_NULL (a))",
        "EXPLAIN (COSTS off) SELECT 1",
        "(SELECT 1) UNION (SELECT 2)",
        "NOTIFY x, 'y'",
        "SELECT pg_notify('a', 'b'), current_setting('x'), lo_open(1, 2), random()",
        "SELECT uuidv7(), regexp_like(a, b), jsonb_exists(c, 'd') FROM t",
        "LOCK TABLE t IN SHARE MODE",
    ]);
}

#[test]
fn commands() {
    use Command::*;
    for (text, wanted) in [
        ("", Empty),
        (" ;; /* x */ ; -- y", Empty),
        ("BEGIN", Begin),
        ("start transaction read only", Begin),
        ("END", Commit),
        ("COMMIT AND CHAIN", Commit),
        ("COMMIT PREPARED 'x'", CommitPrepared),
        ("ABORT", Rollback),
        ("ROLLBACK WORK TO SAVEPOINT a", RollbackTo),
        ("ROLLBACK PREPARED 'x'", RollbackPrepared),
        ("SAVEPOINT a", Savepoint),
        ("RELEASE a", Release),
        ("PREPARE TRANSACTION 'x'", PrepareTransaction),
        ("VALUES (1)", Values),
        ("TABLE t", Table),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT 1", Insert),
        ("WITH a AS (DELETE FROM t RETURNING 1) SELECT 1", Select),
        ("((SELECT 1))", Select),
        ("SHOW ALL", Show),
        ("FETCH 1 FROM c", Fetch),
        ("REFRESH MATERIALIZED VIEW v", Refresh),
        ("select", Select),
        ("selectx", Other),
    ] {
        assert_eq!(facts(text.as_bytes(), true).first, wanted, "{text}");
    }
}
