-- Wherever an expression may stand: @@ is one.
SELECT @@
SELECT 1, @@ FROM t
SELECT DISTINCT ON (@@) a FROM t
SELECT * FROM t WHERE a = @@
SELECT * FROM t GROUP BY @@
SELECT * FROM t GROUP BY GROUPING SETS ((a), (@@))
SELECT * FROM t GROUP BY ROLLUP (a, @@)
SELECT * FROM t GROUP BY CUBE (@@)
SELECT count(*) FROM t HAVING count(*) > @@
SELECT * FROM t ORDER BY @@ DESC NULLS LAST
SELECT * FROM t LIMIT (@@)
SELECT * FROM t OFFSET (@@)
SELECT sum(a) OVER (PARTITION BY @@) FROM t
SELECT sum(a) OVER (ORDER BY @@) FROM t
SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN @@ PRECEDING AND CURRENT ROW) FROM t
SELECT sum(a) OVER w FROM t WINDOW w AS (PARTITION BY @@)
SELECT count(*) FILTER (WHERE @@ > 0) FROM t
SELECT string_agg(v, ',' ORDER BY @@) FROM t
SELECT count(DISTINCT @@) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY @@) FROM t
SELECT CASE WHEN @@ > 0 THEN 1 END
SELECT CASE @@ WHEN 1 THEN 2 ELSE 3 END
SELECT CASE WHEN true THEN 1 ELSE @@ END
SELECT coalesce(a, @@) FROM t
SELECT greatest(1, @@), least(2, 3)
SELECT nullif(1, @@)
SELECT ARRAY[1, @@]
SELECT ARRAY(SELECT @@)
SELECT ROW(1, @@)
SELECT (1, @@)
SELECT (ARRAY[1, 2])[@@]
SELECT (ARRAY[1, 2])[1:@@]
SELECT a IN (1, @@) FROM t
SELECT a IN (SELECT @@) FROM t
SELECT a = ANY (ARRAY[@@]) FROM t
SELECT a BETWEEN 1 AND @@ FROM t
SELECT EXISTS (SELECT @@)
SELECT EXISTS (SELECT FROM t WHERE a = @@)
SELECT -@@
SELECT NOT (@@ = 1)
SELECT @@ IS NULL
SELECT (@@) ISNULL
SELECT @@ IS DISTINCT FROM 1
SELECT @@::text
SELECT CAST(@@ AS text)
SELECT (@@)::text COLLATE "C"
SELECT now() AT TIME ZONE (@@)::text
SELECT extract(epoch FROM now() + @@ * interval '1 day')
SELECT substring('abc' FROM @@ FOR 1)
SELECT substring('abc', @@)
SELECT trim(BOTH 'x' FROM (@@)::text)
SELECT overlay('abc' PLACING 'x' FROM @@)
SELECT position((@@)::text IN 'abc')
SELECT make_date(year => 2000, month => @@, day => 1)
SELECT make_date(year := 2000, month := @@, day := 1)
SELECT format('%s', VARIADIC ARRAY[@@])
SELECT lower((@@)::text)
SELECT abs(abs(abs(@@)))
SELECT generate_series(1, @@)
SELECT * FROM generate_series(1, @@) AS g
SELECT * FROM generate_series(1, @@) WITH ORDINALITY AS g(n, o)
SELECT * FROM ROWS FROM (generate_series(1, @@), generate_series(1, 2)) AS g
SELECT * FROM t, LATERAL (SELECT @@) AS x
SELECT * FROM t JOIN u ON t.a = @@
SELECT * FROM t LEFT JOIN LATERAL (SELECT @@) x ON true
SELECT * FROM (SELECT @@) AS x
SELECT * FROM (t JOIN u ON t.a = @@)
SELECT * FROM t TABLESAMPLE BERNOULLI (@@)
SELECT * FROM unnest(ARRAY[@@]) AS x
VALUES (@@)
VALUES (1, 2), (3, @@)
WITH x AS (SELECT @@) SELECT * FROM x
WITH x AS (VALUES (@@)) TABLE x
WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT @@ FROM x) SELECT * FROM x
SELECT 1 UNION SELECT @@
(SELECT @@) INTERSECT (SELECT 1)
SELECT 1 EXCEPT ALL SELECT @@
((SELECT @@))
SELECT (SELECT (SELECT @@))
SELECT 'a' LIKE (@@)::text
SELECT 'a' NOT ILIKE (@@)::text ESCAPE 'x'
SELECT 'a' SIMILAR TO (@@)::text
SELECT (1, 2) = (1, @@)
SELECT xmlelement(name a, @@)
SELECT xmlforest(@@ AS a)
SELECT xmlconcat(xmlelement(name a, xmlattributes(@@ AS b)))
SELECT json_build_object('a', @@)
SELECT JSON_ARRAY(1, @@)
SELECT JSON_ARRAY(SELECT @@)
SELECT jsonb_path_query('{}', '$.a', jsonb_build_object('x', @@))
SELECT * FROM jsonb_to_record(jsonb_build_object('a', @@)) AS x(a int, b text)
SELECT * FROM json_to_recordset('[]') AS (a int, b text) WHERE a = @@
EXPLAIN ANALYZE SELECT @@
COPY (SELECT @@) TO STDOUT
SELECT 1; SELECT @@
