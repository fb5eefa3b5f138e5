-- psql's own language: variables, conditions, results into variables, formats, generated statements.
\pset null '(null)'
\set name 'O''Reilly'
SELECT :'name' AS quoted, :"name" FROM (SELECT 1 AS "O'Reilly") t;
SELECT 1 AS one, 'two' AS two \gset got_
\echo :got_one :got_two
SELECT NULL, 1.50::numeric, '{1,2}'::int[], 'a	b', E'line\nbreak', true;
\x
SELECT 1 AS a, NULL AS b, repeat('long ', 20) AS c;
\x
\if :{?got_one}
    SELECT 'condition holds';
\else
    SELECT 'condition fails';
\endif
SELECT format('SELECT %s AS made', i) FROM generate_series(1, 3) i \gexec
SELECT 1 \; SELECT 2 \; SELECT 3;
SELECT i % 2 AS r, i % 3 AS c, count(*) FROM generate_series(1, 12) i GROUP BY 1, 2 \crosstabview
SELECT 1 AS a, 'x'::text AS b, now() AS c \gdesc
SELECT 1/0;
\echo :ERROR :SQLSTATE :LAST_ERROR_MESSAGE
\errverbose
SELECT * FROM missing_table;
\echo :SQLSTATE
SELEC 1;
\echo :SQLSTATE :ROW_COUNT
\encoding LATIN1
SELECT 'é'::bytea, convert_to('é', 'UTF8');
\encoding UTF8
\echo :ENCODING
SELECT 'umlaut ä', length('ä');
DO $$ BEGIN RAISE NOTICE 'noticed'; RAISE WARNING 'warned' USING HINT = 'a hint'; END $$;
\set VERBOSITY verbose
DROP TABLE IF EXISTS missing_table;
\set VERBOSITY default
\timing off
\pset format csv
SELECT 1 AS a, 'x,y' AS b;
\pset format unaligned
TABLE (SELECT 1) UNION ALL SELECT 2;
VALUES (1, 'a'), (2, 'b');
\warn on standard error
\! echo from the shell
