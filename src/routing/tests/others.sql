-- What must not be a read: writes, locks, volatile calls, unknown names, and what is no statement.
INSERT INTO t DEFAULT VALUES
INSERT INTO t (a) VALUES (1) RETURNING id
INSERT INTO t TABLE u
INSERT INTO t OVERRIDING SYSTEM VALUE VALUES (1)
insert into t select 1
UPDATE t SET (a, b) = (1, 2)
UPDATE t SET a = DEFAULT WHERE CURRENT OF c
DELETE FROM ONLY t USING u WHERE true RETURNING *
MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DO NOTHING
TRUNCATE t
TRUNCATE ONLY t, u RESTART IDENTITY
WITH x1 AS (SELECT 1) DELETE FROM t
WITH x1 AS (SELECT 1) MERGE INTO t USING x1 ON true WHEN MATCHED THEN DELETE
WITH x1 AS (INSERT INTO t VALUES (1)) SELECT 1
WITH x1 AS (SELECT 1), y1 AS (UPDATE t SET a = 1 RETURNING a) SELECT * FROM x1, y1
WITH x1 AS NOT MATERIALIZED (DELETE FROM t RETURNING *) TABLE x1
WITH x1 AS (MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE RETURNING *) SELECT * FROM x1
WITH x1 AS (WITH y1 AS (SELECT 1) INSERT INTO t SELECT * FROM y1 RETURNING *) SELECT * FROM x1
WITH RECURSIVE x1 AS (DELETE FROM t RETURNING *) SELECT * FROM x1
WITH x1 AS (dElEtE FROM t) SELECT 1
WITH x1 AS (/* c */ DELETE /* d */ FROM t) SELECT 1
((WITH x1 AS (DELETE FROM t) SELECT 1))
SELECT * FROM (WITH x1 AS (DELETE FROM t RETURNING *) SELECT * FROM x1) y1
SELECT a INTO x1 FROM t
SELECT a INTO TABLE x1 FROM t
SELECT a INTO UNLOGGED x1 FROM t
SELECT a INTO TEMPORARY TABLE x1 FROM t
SELECT * INTO x1 FROM t
SELECT 1 INTO x1
SELECT a FROM t INTO x1
SELECT a INTO/**/x1 FROM t
(SELECT a INTO x1 FROM t)
WITH y1 AS (SELECT 1) SELECT * INTO x1 FROM y1
SELECT * FROM t FOR UPDATE
SELECT * FROM t FOR NO KEY UPDATE
SELECT * FROM t FOR SHARE
SELECT * FROM t FOR KEY SHARE
SELECT * FROM t FOR UPDATE NOWAIT
SELECT * FROM t FOR UPDATE OF t SKIP LOCKED
SELECT * FROM t for update limit 1
SELECT * FROM t FOR SHARE OF t FOR UPDATE OF u
TABLE t FOR UPDATE
SELECT * FROM (SELECT * FROM t FOR UPDATE) x1
SELECT * FROM t WHERE a IN (SELECT a FROM u FOR KEY SHARE)
(SELECT * FROM t) FOR UPDATE
(SELECT * FROM t FOR UPDATE)
SELECT * FROM t FOR READ ONLY FOR UPDATE
WITH x1 AS (SELECT * FROM t FOR NO KEY UPDATE) SELECT 1
VALUES (1) FOR UPDATE
LOCK t
LOCK TABLE ONLY t IN SHARE MODE
SELECT nextval('s'::regclass)
SELECT currval('s'), lastval()
SELECT setval('s', 1, false)
SELECT ('s'::regclass).nextval
SELECT (('s')::regclass).nextval
SELECT (to_regclass('s')).nextval
SELECT (ARRAY['s'::regclass])[1].nextval
SELECT $1.nextval
SELECT x.nextval FROM to_regclass('s') x
SELECT "x"."nextval" FROM to_regclass('s') AS x
SELECT x.nextval FROM unnest(ARRAY['s'::regclass]) x
SELECT x.pg_advisory_lock FROM generate_series(1, 2) x
SELECT (1).pg_advisory_lock
SELECT (1::bigint).pg_sleep, (5).lo_unlink
SELECT t.compute FROM t
SELECT (t).compute FROM t
SELECT (t.*).compute FROM t
SELECT public.t.compute FROM t
SELECT "t"."compute" FROM t
SELECT * FROM t WHERE t.compute > 1
SELECT write_fn()
SELECT Write_Fn()
SELECT "write_fn"()
SELECT write_fn /* c */ ()
SELECT public.write_fn()
SELECT public . write_fn ( )
SELECT "public"."write_fn"()
SELECT db.public.write_fn()
SELECT pg_temp.f()
SELECT myschema.now()
SELECT unknown_fn()
SELECT public.lower('a')
SELECT other.unknown_fn(1)
SELECT "Lower"('a')
SELECT U&"write_fn"()
SELECT U&"writ\0065_fn"()
SELECT * FROM U&"t"
SELECT overloaded(1)
SELECT my_stable_calls_volatile(1)
SELECT my_agg(a) FROM t
SELECT my_agg(a) OVER (ORDER BY b) FROM t
SELECT * FROM write_fn()
SELECT * FROM t, write_fn()
SELECT * FROM t JOIN write_fn() w ON true
SELECT * FROM LATERAL write_fn()
SELECT * FROM (write_fn() CROSS JOIN t)
SELECT * FROM ROWS FROM (write_fn())
SELECT * FROM write_fn() WITH ORDINALITY
SELECT * FROM write_fn() AS (a int)
SELECT * FROM t nextval('s')
SELECT * FROM t AS x(write_fn())
SELECT * FROM t TABLESAMPLE my_method (1)
SELECT * FROM t ORDER BY a USING ###
SELECT a ### b FROM t
SELECT a OPERATOR(public.###) b FROM t
SELECT a OPERATOR(###) b FROM t
SELECT ### a FROM t
SELECT a ### ANY (ARRAY[1]) FROM t
SELECT a <=>> b FROM t
SELECT a OPERATOR(pg_temp.+) b FROM t
SELECT a OPERATOR(other.+) b FROM t
SELECT a::mytype FROM t
SELECT a::public.mytype FROM t
SELECT a::"mytype" FROM t
SELECT a::mytype[] FROM t
SELECT CAST(a AS mytype) FROM t
SELECT cast(a as public.mytype) FROM t
SELECT mytype '(1)'
SELECT public.mytype '(1)'
SELECT "mytype" '(1)'
SELECT mytype(a) FROM t
SELECT a::unknown_type FROM t
SELECT a::other.mood FROM t
SELECT a::"integer" FROM t
SELECT * FROM json_to_record('{}') AS x(a mytype)
SELECT * FROM json_to_record('{}') AS (a mytype)
SELECT * FROM json_to_record('{}') AS x(a int, b public.mytype)
SELECT * FROM ROWS FROM (json_to_record('{}') AS (a mytype))
SELECT * FROM JSON_TABLE('[]', '$' COLUMNS (a mytype PATH '$')) j
SELECT JSON_VALUE('1', '$' RETURNING mytype)
SELECT JSON_TABLE(write_fn(), '$')
SELECT XMLSERIALIZE(CONTENT a AS mytype) FROM t
SELECT last_value FROM s
SELECT * FROM public.s
SELECT * FROM unlogged_t
SELECT * FROM v_over_unlogged
SELECT * FROM parent_with_unlogged_child
SELECT * FROM v_for_update
SELECT * FROM v_nextval
SELECT * FROM t JOIN v_calls_volatile ON true
SELECT * FROM t_with_rls
SELECT * FROM unknown_table
SELECT * FROM other.t
SELECT * FROM pg_temp.t
SELECT * FROM pg_temp_3.t
SELECT * FROM pg_toast.pg_toast_1255
SELECT * FROM "T"
SELECT * FROM t, unknown_table
SELECT * FROM t CROSS JOIN unknown_table
SELECT * FROM (t JOIN unknown_table USING (a))
SELECT * FROM t WHERE a IN (TABLE unknown_table)
SELECT * FROM ONLY (unknown_table)
SELECT (SELECT 1 FROM unknown_table)
SELECT EXISTS (SELECT FROM unknown_table)
SELECT ARRAY(SELECT a FROM unknown_table)
SELECT JSON_ARRAY(SELECT a FROM unknown_table)
TABLE unknown_table
TABLE ONLY s
WITH x1 AS (TABLE unknown_table) SELECT 1
SELECT 1 UNION TABLE unknown_table
SELECT 1 FROM t UNION (SELECT 1 FROM unknown_table)
COPY unknown_table TO STDOUT
COPY s TO STDOUT
COPY t FROM STDIN
COPY t (a) FROM STDIN WITH (FORMAT csv)
COPY BINARY t FROM STDIN
COPY t TO PROGRAM 'cat'
COPY (SELECT 1) TO '/tmp/x'
COPY (SELECT * FROM t FOR UPDATE) TO STDOUT
COPY (SELECT write_fn()) TO STDOUT
COPY (SELECT 1) FROM STDIN
COPY t FROM STDIN; SELECT 1
COPY t TO STDOUT; DELETE FROM t
SELECT txid_current(), pg_current_xact_id()
SELECT pg_current_xact_id_if_assigned()
SELECT pg_is_in_recovery()
SELECT pg_backend_pid(), inet_server_addr(), inet_server_port()
SELECT pg_listening_channels()
SELECT pg_current_wal_lsn(), pg_last_wal_replay_lsn()
SELECT pg_advisory_xact_lock(1)
SELECT pg_try_advisory_lock_shared(1, 2)
SELECT pg_notify('a', 'b')
SELECT set_config('search_path', 'x', true)
SELECT current_setting('transaction_read_only')
SELECT current_setting('in_hot_standby')
SELECT current_setting('search' || '_path')
SELECT current_setting('search_path' || 'x')
SELECT current_setting($1)
SELECT current_setting(v) FROM t
SELECT current_setting('data_directory')
SELECT pg_catalog.current_setting('port')
SELECT setseed(0.5)
SELECT pg_export_snapshot()
SELECT pg_stat_get_activity(1), pg_stat_get_numscans(1)
SELECT pg_stat_reset(), pg_reload_conf(), pg_promote(), pg_switch_wal()
SELECT pg_ls_dir('.'), pg_read_file('x'), pg_read_binary_file('x'), pg_stat_file('x')
SELECT lo_import('/x'), lo_export(1, '/x'), lo_creat(-1), lo_open(1, 1), lo_put(1, 0, 'x')
SELECT query_to_xml('DELETE FROM t', true, true, '')
SELECT query_to_xmlschema('SELECT 1', true, true, '')
SELECT table_to_xml('t', true, true, ''), cursor_to_xml('c', 1, true, true, '')
SELECT schema_to_xml('public', true, true, ''), database_to_xml(true, true, '')
SELECT query_to_xml_and_xmlschema('SELECT 1', true, true, '')
SELECT * FROM ts_stat('SELECT write_fn()')
SELECT ts_rewrite('a'::tsquery, 'SELECT write_fn(), 1')
SELECT * FROM dblink('x', 'y') AS (a int)
SELECT dblink_exec('DELETE FROM t')
SELECT crosstab('SELECT 1')
SELECT pg_input_is_valid('x', 'mytype')
SELECT pg_cancel_backend(1), pg_terminate_backend(1)
SELECT pg_logical_emit_message(true, 'a', 'b')
SELECT pg_create_restore_point('x')
SELECT pg_sequence_last_value('s')
SELECT brin_summarize_new_values('i')
SELECT pg_show_all_settings(), pg_lock_status(), pg_cursor(), pg_prepared_statement()
SELECT pg_import_system_collations('pg_catalog')
CALL p()
DO 'BEGIN END'
CREATE TABLE x1 (a int)
CREATE TABLE x1 AS SELECT 1
CREATE TEMP TABLE x1 AS TABLE t
ALTER TABLE t ADD COLUMN z int
DROP TABLE t
GRANT SELECT ON t TO u
REVOKE ALL ON t FROM u
COMMENT ON TABLE t IS 'x'
REFRESH MATERIALIZED VIEW matview
VACUUM t
ANALYZE t
REINDEX TABLE t
CLUSTER t
CHECKPOINT
LISTEN a
NOTIFY a, 'b'
UNLISTEN *
LOAD 'x'
DISCARD ALL
DISCARD TEMP
PREPARE TRANSACTION 'x'
REASSIGN OWNED BY a TO b
SECURITY LABEL ON TABLE t IS 'x'
SELECT 1; INSERT INTO t VALUES (1)
SELECT 1; SELECT write_fn()
BEGIN; SELECT 1; COMMIT
BEGIN READ ONLY; SELECT 1; COMMIT
SELECT 1; SET search_path = x
SELECT 1; LISTEN a
SELECT x'\'; DELETE FROM t; --'
SELECT 'a'; DELETE FROM t; --'
SELECT $a$ $b$ $a$; DELETE FROM t -- $b$
SELECT 1 /* a /* b */ */; DELETE FROM t
SELECT 'unterminated
SELECT "unterminated
SELECT $$unterminated
SELECT (1
SELECT 1)
SELECT 1 +
SELECT FROM FROM t
SELECT a b c FROM t
SELECT * FROM
SELECT * FROM t WHERE
SELECT * FROM t,
SELECT TOP 5 * FROM t
SELECT * FROM t QUALIFY row_number() OVER () = 1
SELECT * FROM t LATERAL VIEW explode(a) x1
SHOW TABLES
USE db
KILL 5
PRAGMA x
DESCRIBE t
SELECT `a` FROM t
SELECT [a] FROM t
SELECT a FROM t WHERE CURRENT OF c
WITH x1 AS SELECT 1
WITH SELECT 1
EXPLAIN ANALYZE INSERT INTO t VALUES (1)
EXPLAIN ANALYZE SELECT write_fn()
EXPLAIN (ANALYZE) SELECT * FROM t FOR UPDATE
EXPLAIN (ANALYZE true, VERBOSE) CREATE TABLE x1 AS SELECT 1
EXPLAIN DECLARE c CURSOR FOR SELECT 1
EXPLAIN EXPLAIN SELECT 1
EXPLAIN
EXPLAIN (ANALYZE)
SELECT * FROM ONLY (SELECT 1)
SELECT * FROM ONLY (unlogged_t)
SELECT * FROM ONLY (t, u)
SELECT * FROM ONLY (write_fn())
SELECT COLLATION FOR (write_fn())
SELECT COLLATION FOR v FROM t
