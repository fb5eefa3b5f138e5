-- Reads, as applications, their libraries and the manual write them.
SELECT abalance FROM pgbench_accounts WHERE aid = 4711
SELECT abalance FROM pgbench_accounts WHERE aid = $1;
SELECT "t"."id", "t"."v" AS "t_v" FROM "t" WHERE ("t"."a" = 1 AND "t"."v" LIKE 'x%') ORDER BY "t"."id" ASC LIMIT 21
SELECT COUNT(*) AS "__count" FROM "t"
SELECT 1 AS one FROM "users" WHERE "users"."name" = $1 LIMIT $2
SELECT "users".* FROM "users" WHERE "users"."id" = $1 LIMIT 1 OFFSET 0
SELECT (1) AS "a" FROM "users" WHERE "users"."id" = 1 LIMIT 1
SELECT count(*) FROM (SELECT 1 FROM t WHERE a > 3 LIMIT 10) AS sub
SELECT * FROM orders o, items i WHERE o.id = i.id
SELECT * FROM orders AS o INNER JOIN items AS i USING (id)
SELECT * FROM orders NATURAL JOIN items
SELECT * FROM orders NATURAL LEFT OUTER JOIN items
SELECT * FROM orders CROSS JOIN items
SELECT * FROM orders FULL OUTER JOIN items ON orders.id = items.id
SELECT * FROM orders RIGHT JOIN items ON (orders.id = items.id)
SELECT * FROM (orders JOIN items ON orders.id = items.id) JOIN t ON true
SELECT * FROM (orders JOIN items USING (id)) AS x
SELECT * FROM ((SELECT 1) UNION (SELECT 2)) AS x
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (n, s)
SELECT * FROM (VALUES (1)) v
SELECT n FROM (SELECT 1) AS x (n)
SELECT * FROM t AS x (a, b, c)
SELECT * FROM t x (a, b, c), u y
SELECT * FROM public.t
SELECT * FROM t *
SELECT * FROM ONLY t
TABLE t
TABLE t ORDER BY a DESC LIMIT 3
TABLE public.t
(TABLE t)
TABLE t UNION ALL TABLE u
VALUES (1)
VALUES (1, 2), (3, 4) ORDER BY 1 LIMIT 1
SELECT
SELECT FROM t
SELECT WHERE true
SELECT ALL a FROM t
SELECT DISTINCT a, b FROM t
SELECT DISTINCT ON (a, b) * FROM t ORDER BY a, b
SELECT a FROM t WHERE a ISNULL
SELECT a FROM t WHERE a NOTNULL AND b ISNULL
SELECT a IS NULL, a IS NOT NULL, a IS TRUE, a IS NOT UNKNOWN FROM t
SELECT a IS DISTINCT FROM b FROM t
SELECT a IS NOT DISTINCT FROM NULL FROM t
SELECT * FROM t WHERE a IS DISTINCT FROM 3 AND b = 2
SELECT * FROM t WHERE v SIMILAR TO '(a|b)%'
SELECT * FROM t WHERE v NOT SIMILAR TO 'x' ESCAPE '!'
SELECT * FROM t WHERE v ILIKE '%x%' OR v NOT LIKE 'y'
SELECT * FROM t WHERE v ~* '^a' AND v !~ 'b' AND v !~~ 'c'
SELECT * FROM t WHERE v LIKE ANY (ARRAY['a%', 'b%'])
SELECT * FROM t WHERE v ~ ANY (ARRAY['a', 'b'])
SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4))
SELECT * FROM t WHERE (a, b) > (1, 2)
SELECT * FROM t WHERE a BETWEEN SYMMETRIC 3 AND 1
SELECT * FROM t WHERE a = ALL (SELECT b FROM u)
SELECT * FROM t WHERE a <> SOME (ARRAY[1, 2])
SELECT * FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.id)
SELECT * FROM t WHERE data @> '{"a": 1}' AND data ? 'b' AND data ?| array['c'] AND data #>> '{a,b}' = 'x'
SELECT data -> 'a' ->> 'b', data #> '{a}', data - 'a' FROM t
SELECT data['a']['b'] FROM t
SELECT data @? '$.a[*] ? (@ > 2)', data @@ '$.a > 1' FROM t
SELECT jsonb_path_exists(data, '$.a')
SELECT '[1,2]'::jsonb || '[3]', '{1,2}'::int[] && '{2}'::int[]
SELECT ts + interval '1 day', ts - '1 hour'::interval, ts::date FROM t
SELECT date '2020-01-01', time '10:00', timestamp '2020-01-01', timestamptz '2020-01-01 UTC'
SELECT timestamp with time zone '2020-01-01', timestamp(3) without time zone '2020-01-01'
SELECT interval '1' day, interval '1 2:03' day to minute, interval(3) '1.5 s'
SELECT inet '10.0.0.1', cidr '10.0.0.0/8', macaddr '08:00:2b:01:02:03'
SELECT box '((0,0),(1,1))' && box '((0,0),(2,2))', point '(1,2)' <-> point '(3,4)'
SELECT int4range '[1,2)', numrange(1, 2) @> 1.5, '[1,2]'::int8range -|- '[3,4]'::int8range
SELECT bytea '\x00', '\xdead'::bytea, E'\\x00'::bytea
SELECT bool 't', int '1', float8 '1.5', numeric(10, 2) '1.5'
SELECT "char" 'a', 'a'::"char", 'a'::char(3), 'b'::character varying(10), 'c'::varchar
SELECT 1::bigint, 2::double precision, 3::numeric(10,2), 4::int4, 5::real, 6::decimal
SELECT CAST(a AS numeric(10, 2)), CAST(v AS timestamp(3) with time zone) FROM t
SELECT CAST('{1}' AS int[]), '{{1}}'::int[][], '{}'::text[3], '{}'::int array
SELECT 'happy'::mood, CAST('sad' AS public.mood), mood 'sad'
SELECT 'POINT(1 2)'::geometry(Point, 4326)
SELECT ts AT TIME ZONE 'UTC', ts AT LOCAL FROM t
SELECT now() AT TIME ZONE 'Europe/Berlin'
SELECT current_date, current_time, current_timestamp(3), localtime, localtimestamp
SELECT current_user, session_user, user, current_role, current_catalog, current_schema
SELECT current_database(), current_schemas(true), version(), current_schema()
SELECT * FROM current_date
SELECT * FROM now() AS n
SELECT extract(year FROM ts), extract('epoch' from now()), date_part('year', ts) FROM t
SELECT substring(v FROM 1 FOR 2), substring(v FROM '[a-z]+'), substring(v, 2) FROM t
SELECT substring(v SIMILAR 'a' ESCAPE '#') FROM t
SELECT trim(v), trim(BOTH FROM v), trim(LEADING 'x' FROM v), trim(both 'x' from v) FROM t
SELECT position('a' IN v), overlay(v PLACING 'x' FROM 2 FOR 1), strpos(v, 'a') FROM t
SELECT left(v, 2), right(v, 2) FROM t
SELECT * FROM t JOIN u ON left(t.v, 2) = right(u.v, 2)
SELECT normalize('a', NFC), 'a' IS NORMALIZED, 'a' IS NFC NORMALIZED
SELECT coalesce(a, 0), nullif(a, 0), greatest(1, 2), least(1, 2) FROM t
SELECT CASE a WHEN 1 THEN 'x' WHEN 2 THEN 'y' ELSE 'z' END FROM t
SELECT CASE WHEN a > 1 THEN CASE WHEN b > 1 THEN 1 END END FROM t
SELECT ARRAY[1, 2, 3], ARRAY[[1], [2]], (ARRAY[1, 2])[1], (ARRAY[1,2,3])[1:2], ARRAY(SELECT a FROM t)
SELECT a[1], a[1:2], a[:2], a[1:] FROM t
SELECT ROW(1, 2), (1, 2), ROW(t.*) FROM t
SELECT t.*, u.a FROM t, u
SELECT t FROM t
SELECT (t).a, (t).* FROM t
SELECT (row_to_json(t)).* FROM t
SELECT (jsonb_each(data)).key FROM t
SELECT (jsonb_each(data)).* FROM t
SELECT (SELECT x FROM (SELECT 1) AS x).*
SELECT $1, $2::int, $1.a
SELECT count(*), count(DISTINCT a), sum(a) FILTER (WHERE b > 1) FROM t
SELECT string_agg(v, ',' ORDER BY v DESC), array_agg(DISTINCT a ORDER BY a) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), mode() WITHIN GROUP (ORDER BY b) FROM t
SELECT rank() OVER (ORDER BY a), row_number() OVER (), lag(a, 1) OVER w FROM t WINDOW w AS (PARTITION BY b ORDER BY c)
SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW) FROM t
SELECT sum(a) OVER (ORDER BY a RANGE BETWEEN '1 day' PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM t
SELECT sum(a) OVER (w GROUPS 2 PRECEDING EXCLUDE GROUP), sum(b) OVER (w ROWS 1 PRECEDING EXCLUDE NO OTHERS) FROM t WINDOW w AS (ORDER BY a)
SELECT a, sum(b) FROM t GROUP BY a HAVING sum(b) > 1 ORDER BY 2 DESC NULLS LAST
SELECT a, b, grouping(a, b) FROM t GROUP BY GROUPING SETS ((a, b), (a), ())
SELECT a, b FROM t GROUP BY ROLLUP (a, b), CUBE (c, d)
SELECT a, b FROM t GROUP BY DISTINCT ROLLUP (a, b)
SELECT a, b FROM t GROUP BY GROUPING SETS (a, ROLLUP (b, c))
SELECT a FROM t GROUP BY ()
SELECT a FROM t UNION SELECT b FROM u UNION ALL SELECT c FROM x EXCEPT SELECT 1 INTERSECT ALL SELECT 2
(SELECT a FROM t ORDER BY a LIMIT 1) UNION ALL (SELECT b FROM u ORDER BY b LIMIT 1) ORDER BY 1
SELECT a FROM t ORDER BY a USING >
SELECT a FROM t ORDER BY v COLLATE "C" ASC NULLS FIRST
SELECT v COLLATE pg_catalog."default" FROM t
SELECT a FROM t LIMIT ALL OFFSET 5
SELECT a FROM t OFFSET 5 ROWS FETCH NEXT 10 ROWS ONLY
SELECT a FROM t ORDER BY a FETCH FIRST 5 ROWS WITH TIES
SELECT a FROM t FETCH FIRST ROW ONLY
SELECT * FROM t TABLESAMPLE SYSTEM (10)
SELECT * FROM t TABLESAMPLE bernoulli (5) REPEATABLE (42)
SELECT * FROM t AS x TABLESAMPLE system (10) WHERE a = 1
SELECT * FROM generate_series(1, 10)
SELECT * FROM generate_series(1, 10) WITH ORDINALITY
SELECT * FROM generate_series(1, 10) WITH ORDINALITY AS g (n, o)
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) AS x (n, s)
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS x (a, b)
SELECT * FROM ROWS FROM (json_to_recordset('[]') AS (a int, b text), generate_series(1, 3)) WITH ORDINALITY AS x
SELECT * FROM json_to_recordset('[{"a":1}]') AS x (a int, b text)
SELECT * FROM jsonb_to_record('{}') AS (a numeric(10,2), b timestamp with time zone, c text[])
SELECT * FROM json_to_record('{}') AS x (m mood)
SELECT * FROM t, LATERAL (SELECT * FROM u WHERE u.id = t.id) AS x
SELECT * FROM t CROSS JOIN LATERAL jsonb_array_elements(t.data) AS e
SELECT * FROM t, jsonb_array_elements_text(data -> 'x') WITH ORDINALITY AS e (v, n)
SELECT * FROM t LEFT JOIN LATERAL unnest(ARRAY[1]) AS e ON true
SELECT * FROM regexp_split_to_table('a b', ' ') w, string_to_table('a,b', ',') s
SELECT JSON_ARRAY(1, 2, NULL NULL ON NULL), JSON_ARRAY(), JSON_ARRAY(SELECT a FROM t)
SELECT JSON_OBJECT('a': 1, 'b': 2), JSON_OBJECT('{a,1}')
SELECT JSON_VALUE(data, '$.a'), JSON_QUERY(data, '$.b'), JSON_EXISTS(data, '$.c') FROM t
SELECT * FROM JSON_TABLE('[]', '$[*]' COLUMNS (a int PATH '$.a', b text PATH '$.b')) AS j
SELECT '1' IS JSON, '{}' IS JSON OBJECT, '1' IS NOT JSON ARRAY
SELECT xmlelement(name foo, xmlattributes('a' AS b, c), 'text') FROM t
SELECT xmlforest(a, b AS c), xmlconcat('<a/>', '<b/>') FROM t
SELECT xmlparse(content '<a/>') FROM t
SELECT xmlserialize(content data AS text) FROM t
SELECT xmlpi(name php, 'x') FROM t
SELECT xpath('/a', '<a/>'::xml), xml_is_well_formed('<a/>'), xmlagg(data) FROM t
SELECT a OPERATOR(pg_catalog.+) b FROM t
SELECT a OPERATOR(=) b, a OPERATOR(pg_catalog.=) ANY (ARRAY[1]) FROM t
SELECT @ -5, |/ 25, ||/ 27, ~ 1, - 1, + 1
SELECT 5 % 2, 2 ^ 3, 7 # 3, 7 & 3, 7 | 3, 1 << 2, 8 >> 1
SELECT 'a' || 'b' || 1, 'x' ^@ 'y'
SELECT to_tsvector('english', v) @@ to_tsquery('a & b'), ts_rank(to_tsvector(v), plainto_tsquery('x')) FROM t
SELECT ts_headline(v, websearch_to_tsquery('x')) FROM docs
SELECT (ts, ts) OVERLAPS (now(), interval '1 day') FROM t
SELECT U&'\0041' UESCAPE '!', U&'d\0061t'
SELECT $$a$$, $x$b$x$, E'c\n', B'1', X'ff', N'n'
SELECT 0x1F, 0b11, 0o17, 1_000, 1e5, 1.5e-3, .5
SELECT a AS "select", b AS from, c AS into, d AS update FROM t
SELECT a value, b name, c type, d key FROM t
SELECT t.select, t.for, t.delete FROM t
SELECT "into", "for update", "nextval" FROM t
SELECT my_immutable_fn(1), public.my_stable_fn(2), similarity('a', 'b')
SELECT pg_catalog.lower('A'), pg_catalog.now(), "pg_catalog"."upper"('a')
SELECT pg_size_pretty(pg_total_relation_size('t')), pg_relation_size('public.t'), pg_table_size('t'::regclass)
SELECT to_regclass('t'), 't'::regclass::oid, 'int4'::regtype, 'now()'::regprocedure
SELECT has_table_privilege('t', 'select'), has_schema_privilege(current_user, 'public', 'USAGE')
SELECT obj_description('t'::regclass, 'pg_class'), col_description('t'::regclass, 1)
SELECT current_setting('search_path'), current_setting('app.tenant', true), current_setting('TimeZone')
SELECT random(), random_normal(), gen_random_uuid(), uuidv4(), uuidv7(), clock_timestamp(), timeofday(), pg_sleep(0)
SELECT txid_current_if_assigned(), pg_typeof(1), pg_column_size(1), pg_get_userbyid(10)
SELECT make_interval(days => 10), make_interval(days := 10)
SELECT concat(VARIADIC ARRAY['a', 'b']), format('%s %I', 'a', 'b')
SELECT regexp_replace(v, 'a', 'b', 'g'), regexp_matches(v, 'x'), translate(v, 'a', 'b') FROM t
SELECT width_bucket(a, 1, 10, 5), round(a::numeric, 2), ceil(1.5), floor(1.5), mod(5, 2), power(2, 3) FROM t
SELECT md5('a'), sha256('a'), encode('a', 'hex'), decode('00', 'hex'), crc32('a')
SELECT hashtext('a'), pg_client_encoding(), quote_ident('a'), quote_literal(1), chr(65), ascii('a')
SELECT age(ts), date_trunc('day', ts, 'UTC'), date_bin('1 hour', ts, ts), to_char(ts, 'YYYY'), to_date('2020', 'YYYY') FROM t
SELECT isfinite(ts), justify_days(interval '40 days'), statement_timestamp(), transaction_timestamp() FROM t
SELECT lower(int4range(1, 2)), upper_inf(int4range(1, 2)), range_merge(int4range(1,2), int4range(3,4))
SELECT array_length(ARRAY[1], 1), cardinality(ARRAY[1]), array_append(ARRAY[1], 2), array_position(ARRAY[1], 1), trim_array(ARRAY[1], 1)
SELECT lo_get(1), lo_get(1, 0, 10)
WITH a1 AS (SELECT 1), b1 AS (SELECT 2) SELECT * FROM a1, b1
WITH x1(n) AS (SELECT 1) SELECT n FROM x1
WITH x1 AS (WITH y1 AS (SELECT 1) SELECT * FROM y1) SELECT * FROM x1
WITH x1 AS MATERIALIZED (TABLE t) TABLE x1
WITH RECURSIVE tree AS (SELECT id, a FROM t WHERE a IS NULL UNION ALL SELECT t.id, t.a FROM t JOIN tree ON t.a = tree.id) SELECT * FROM tree
(WITH x1 AS (SELECT 1) SELECT * FROM x1) UNION SELECT 2
SELECT * FROM (WITH x1 AS (SELECT 1) SELECT * FROM x1) y1
SELECT * FROM t WHERE id IN (WITH x1 AS (SELECT 1 AS id) SELECT id FROM x1)
SELECT * FROM "Mixed" WHERE "Mixed"."Column" = 1
SELECT * FROM T, Public.U
SELECT 1; SELECT 2;; SELECT 3;
;;
COPY t TO STDOUT
COPY public.t (a, b) TO STDOUT WITH (FORMAT csv, HEADER true, DELIMITER ',')
COPY (SELECT * FROM t WHERE a = 1) TO STDOUT CSV HEADER
COPY (VALUES (1)) TO STDOUT (FORMAT binary)
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM t
SHOW search_path
SELECT emp.name, dept.name FROM emp JOIN dept ON emp.id = dept.id WHERE dept.name IN ('a', 'b') GROUP BY emp.name, dept.name
SELECT * FROM t FOR READ ONLY
SELECT * FROM ONLY (t)
SELECT * FROM ONLY (public.t) AS z, ONLY (u) JOIN a ON true
SELECT COLLATION FOR (v), collation for ('x' COLLATE "C") FROM t
