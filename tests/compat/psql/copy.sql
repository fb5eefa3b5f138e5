-- COPY from and to the client, in every format, with errors in the middle.
CREATE TABLE goods (id int, name text, price numeric);
\copy goods from stdin
1	apple	1.5
2	\N	2.5
3	tab\there	-1
\.
\copy goods from stdin csv
4,"comma, quote "" and
newline",4
5,,5
\.
\copy goods (id, name) from stdin delimiter '|'
6|six
\.
COPY goods FROM stdin;
7	seven	7
\.
TABLE goods ORDER BY id;
\copy goods from stdin
8	eight	8
nine	nine	9
\.
\copy goods from stdin
10	too	few	columns	no
\.
SELECT count(*) FROM goods;
\copy (SELECT * FROM goods ORDER BY id) to stdout csv header
\copy (SELECT i, md5(i::text) FROM generate_series(1, 50000) i) to 'rows.txt'
CREATE TABLE many (i int, m text);
\copy many from 'rows.txt'
SELECT count(*), sum(i), md5(string_agg(m, '' ORDER BY i)) FROM many;
\copy (SELECT * FROM many ORDER BY i) to 'rows.bin' binary
TRUNCATE many;
\copy many from 'rows.bin' binary
SELECT count(*), sum(i) FROM many;
\copy many from 'missing.txt'
\copy many from program 'seq 3 | sed "s/$/\tx/"'
SELECT count(*) FROM many;
\copy nowhere from 'rows.txt'
\copy (SELECT 1/(i - 3) FROM generate_series(1, 5) i) to stdout
BEGIN;
COPY goods FROM stdin;
11	eleven	11
\.
COPY goods TO stdout WITH (FORMAT csv, FORCE_QUOTE *);
ROLLBACK;
SELECT count(*) FROM goods; COPY (SELECT 1) TO stdout; SELECT 'after';
DROP TABLE goods, many;
