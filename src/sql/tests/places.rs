//! Where texts use names, and whether the database has them.

use super::EveryName;
use crate::sql::{Facts, Meaning, NoVocabulary, Use, Vocabulary, facts};
use proptest::prelude::*;

/// A shop whose names do nothing.
struct Shop;

impl Vocabulary for Shop {
    fn is_known(&self) -> bool {
        true
    }

    fn has(&self, name: &[u8], used_as: Use) -> bool {
        match used_as {
            Use::Function => matches!(name, b"price" | b"Price"),
            Use::Relation => {
                matches!(
                    name,
                    b"orders" | b"items" | b"users" | b"auth_user" | b"Order" | b"django_session"
                )
            }
            Use::Type => matches!(name, b"mood" | b"_mood" | b"orders" | b"Mood"),
            Use::Operator => name == b"===",
        }
    }

    fn word(&self, name: &[u8]) -> Meaning {
        EveryName.word(name)
    }

    fn operator(&self, symbol: &[u8]) -> Meaning {
        EveryName.operator(symbol)
    }

    fn unreadable_word(&self) -> Meaning {
        EveryName.unreadable_word()
    }

    fn definition(&self) -> Meaning {
        EveryName.definition()
    }

    fn maintenance(&self) -> Meaning {
        EveryName.maintenance()
    }
}

fn shop(text: &str) -> Facts {
    facts(text.as_bytes(), true, &Shop)
}

/// What Django, SQLAlchemy, Hibernate, drivers and people send.
const ORDINARY: &[&str] = &[
    r#"SELECT "auth_user"."id", "auth_user"."name" FROM "auth_user" WHERE "auth_user"."id" = 1 LIMIT 21"#,
    r#"SELECT COUNT(*) AS "__count" FROM "orders" INNER JOIN "items" ON ("orders"."id" = "items"."order_id")"#,
    r#"SELECT T3."id" FROM "orders" LEFT OUTER JOIN "items" T3 ON ("orders"."item_id" = T3."id") ORDER BY T3."id" ASC"#,
    r#"SELECT "orders"."id", (SELECT U0."total" FROM "items" U0 WHERE U0."id" = ("orders"."id") LIMIT 1) AS "x" FROM "orders""#,
    r#"SELECT 1 AS "a" FROM "orders" WHERE EXISTS(SELECT 1 AS "a" FROM "items" U0 WHERE U0."x" IN (1, 2)) LIMIT 1"#,
    r#"INSERT INTO "orders" ("a", "b") VALUES ('x', NULL), ('y', 2) RETURNING "orders"."id""#,
    r#"UPDATE "orders" SET "a" = 'x', "b" = ("orders"."b" + 1) WHERE "orders"."id" = 1"#,
    r#"DELETE FROM "django_session" WHERE "django_session"."session_key" IN ('a', 'b')"#,
    r#"SELECT EXTRACT('year' FROM "orders"."at" AT TIME ZONE 'UTC') AS "y" FROM "orders" GROUP BY 1 ORDER BY 1"#,
    r#"SELECT DATE_TRUNC('day', "orders"."at" AT TIME ZONE 'Europe/Berlin'), SUM("orders"."x") FROM "orders" GROUP BY 1"#,
    r#"INSERT INTO "items" ("a") VALUES (1) ON CONFLICT ("a") DO UPDATE SET "a" = EXCLUDED."a", "b" = 2"#,
    r#"SELECT "orders"."id" FROM "orders" WHERE UPPER("orders"."a"::text) LIKE UPPER('%x%') FOR UPDATE"#,
    r#"SELECT "orders"."a" FROM "orders" WHERE "orders"."j" -> 'a' ->> 'b' = '1' AND "orders"."t" @> '{}'::jsonb"#,
    r#"(SELECT "orders"."id" FROM "orders") UNION ALL (SELECT "items"."id" FROM "items") ORDER BY 1"#,
    r#"SELECT ROW_NUMBER() OVER (PARTITION BY "orders"."a" ORDER BY "orders"."b" DESC) AS "n" FROM "orders""#,
    r#"SELECT "a"::varchar(10), "b"::numeric(1, 2)[], "c"::timestamp with time zone FROM "orders""#,
    r#"SELECT CASE WHEN "orders"."a" = 1 THEN 'x' ELSE 'y' END AS "k" FROM "orders", "items""#,
    r#"SELECT "orders"."a" FROM "orders" WHERE "orders"."at" >= (NOW() - INTERVAL '1 day') FOR UPDATE OF "orders" SKIP LOCKED"#,
    r#"SELECT CAST("orders"."a" AS integer), CAST('x' AS double precision) FROM "orders""#,
    "SELECT orders.id AS orders_id, orders.a AS orders_a \nFROM orders \nWHERE orders.id = $1::INTEGER",
    "SELECT anon_1.id FROM (SELECT orders.id AS id FROM orders LIMIT 3) AS anon_1 JOIN items AS items_1 ON items_1.id = anon_1.id",
    "INSERT INTO orders (a, b) SELECT p0::VARCHAR, p1::INTEGER FROM (VALUES ($1, $2, 0)) AS imp_sen(p0, p1, sen_counter) ORDER BY sen_counter RETURNING orders.id, orders.id AS id__1",
    "WITH RECURSIVE cte(id, n) AS (SELECT orders.id AS id, 1 AS n FROM orders UNION ALL SELECT o.id, cte.n + 1 FROM orders AS o, cte WHERE o.parent = cte.id) SELECT cte.id FROM cte",
    "WITH a AS (SELECT 1), b AS MATERIALIZED (SELECT * FROM a), c (x, y) AS NOT MATERIALIZED (SELECT 1, 2 FROM b) SELECT * FROM a, b, c",
    "WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT 1) TABLE a",
    "WITH d AS (DELETE FROM orders WHERE x = 1 RETURNING id) INSERT INTO items SELECT id FROM d",
    "SELECT CAST(sum(orders.a) AS NUMERIC(10, 2)) AS s FROM orders GROUP BY orders.b HAVING count(*) > 1",
    "UPDATE orders SET a=items.a FROM items, users WHERE orders.id = items.id",
    "DELETE FROM orders USING items, users AS u WHERE orders.id = items.id",
    "SELECT orders.a FROM orders JOIN items USING (id, a) JOIN users USING (b)",
    "SELECT DISTINCT ON (orders.a) orders.a FROM orders ORDER BY orders.a, orders.b NULLS LAST",
    "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'",
    "SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid = pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname = $1::VARCHAR AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p'])",
    "select pg_catalog.version()",
    "select current_schema()",
    "show standard_conforming_strings",
    "select o1_0.id,o1_0.name from orders o1_0 where o1_0.id=$1",
    "select o1_0.id,i1_0.id from orders o1_0 left join items i1_0 on o1_0.id=i1_0.order_id where o1_0.id=$1 fetch first $2 rows only",
    "select count(o1_0.id) from orders o1_0 where o1_0.a like $1 escape ''",
    "insert into orders (a,b,id) values ($1,$2,default)",
    "select next_val as id_val from users for update",
    "select o.a from orders o cross join items i where o.id between 1 and 2 offset $1 rows",
    "SELECT NULL AS TABLE_CAT, n.nspname, result.A_ATTNUM FROM (SELECT i.indkey, (information_schema._pg_expandarray(i.indkey)).n AS A_ATTNUM, n.nspname FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_index i ON (ct.oid = i.indrelid), pg_catalog.pg_namespace n) result",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
    "SELECT c.column_name::information_schema.sql_identifier FROM information_schema.columns AS c",
    "SELECT * FROM generate_series(1, 3) WITH ORDINALITY AS g(a, n), LATERAL (SELECT * FROM orders o WHERE o.id = g.a) x, items",
    "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS r(a, b), orders",
    "SELECT * FROM orders TABLESAMPLE system (10) REPEATABLE (1), items",
    "SELECT * FROM ONLY orders, ONLY (items), (orders AS a JOIN items b ON true)",
    "SELECT substring('abc' from 2 for 1), trim(both 'x' from a), overlay(a placing 'b' from 1), position('a' in b) FROM orders",
    "SELECT a IS DISTINCT FROM b, a IS NOT DISTINCT FROM c FROM orders",
    "SELECT sum(a) FILTER (WHERE b > 1), lag(a, 1) OVER w FROM orders WINDOW w AS (ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), v AS (w)",
    "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), GROUPING(a) FROM orders GROUP BY GROUPING SETS ((a), (b), ()), ROLLUP (a)",
    "SELECT price(1), public.price(a), \"Price\"(2), orders.id FROM shop.orders, db.shop.items WHERE a === b AND a OPERATOR(shop.===) 1",
    "SELECT 'sad'::mood, mood 'ok', CAST(a AS shop.mood[]), '{}'::\"Mood\"[], NULL::orders FROM \"Order\"",
    "SELECT DATE '2020-01-01', TIMESTAMP WITH TIME ZONE '2020-01-01', INTERVAL '1' DAY, double precision '1', character varying 'x'",
    "COPY orders (a, b) FROM STDIN (FORMAT csv, DELIMITER ',', NULL '')",
    "COPY orders FROM STDIN WITH CSV QUOTE '\"' ESCAPE '\\' ENCODING 'utf8'",
    "COPY (SELECT a, b FROM orders, items) TO STDOUT",
    "TRUNCATE TABLE orders, ONLY items RESTART IDENTITY CASCADE",
    "LOCK TABLE orders, items IN ACCESS EXCLUSIVE MODE",
    "MERGE INTO orders o USING items i ON o.id = i.id WHEN MATCHED AND i.a = 1 THEN UPDATE SET a = 1, b = 2 WHEN NOT MATCHED THEN INSERT (a, b) VALUES (1, 2)",
    "MERGE INTO orders USING (SELECT 1 AS id, 2 AS a) AS s ON s.id = orders.id WHEN MATCHED THEN DELETE",
    "EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM orders",
    "EXPLAIN ANALYZE UPDATE orders SET a = 1",
    "PREPARE p (int) AS SELECT * FROM orders WHERE id = $1",
    "DECLARE c NO SCROLL CURSOR FOR SELECT * FROM orders, items",
    "SELECT json_value('{}'::jsonb, '$.a' RETURNING int), JSON_QUERY(a, '$') FROM orders",
    "SELECT x.* FROM orders, JSON_TABLE(a, '$[*]' COLUMNS (b int PATH '$.b', c text)) AS x, items",
    "SELECT array_agg(a ORDER BY b), ARRAY(SELECT id FROM items), a[1:2] FROM orders o, unnest(o.tags) AS t (tag), items",
    "SELECT a FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(x)$' COLLATE pg_catalog.default",
    "SELECT * FROM orders WHERE (a, b) IN (SELECT c, d FROM items) AND a NOT LIKE 'x' AND b ILIKE 'y' AND c SIMILAR TO 'z'",
    "SELECT a AS \"from\", b AS order, c FROM orders o(x, y)",
    "SELECT * FROM orders UNION SELECT a, b FROM items INTERSECT SELECT c, d FROM users EXCEPT VALUES (1, 2), (3, 4)",
    "SELECT a, b INTO new_table FROM orders, items",
    "CREATE TABLE new_table AS SELECT * FROM orders",
    "CREATE INDEX new_index ON orders USING gin (a, b)",
    "CREATE TABLE new_table PARTITION OF orders FOR VALUES FROM (1) TO (2)",
    "ALTER TABLE orders ALTER COLUMN a TYPE int USING a::int",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY orders",
    "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM orders, items LOOP RAISE NOTICE 'x %, %', r.a, r.b; END LOOP; UPDATE orders SET a = 1; RAISE EXCEPTION 'x' USING errcode = '1'; END $$",
    "FETCH 10 FROM new_cursor",
    "REVOKE ALL ON orders FROM new_role",
    "COMMENT ON TABLE new_table IS 'x'",
];

#[test]
fn ordinary_texts_over_known_tables_taint_nothing() {
    assert!(ORDINARY.len() >= 60);
    let tainted: Vec<_> = ORDINARY.iter().filter(|text| shop(text).taint).collect();
    assert!(tainted.is_empty(), "{tainted:#?}");
}

/// Texts that use something that the database does not have, each in another place.
const STRANGE: &[&str] = &[
    "SELECT new_function(1)",
    "SELECT shop.new_function()",
    "SELECT orders(1, 2), items(3)",
    "SELECT operator(1) FROM orders WHERE operator(a)",
    "SELECT * FROM copy(1)",
    "SELECT * FROM orders x, new_function(1)",
    "CALL new_procedure()",
    "TABLE strange",
    "(TABLE strange)",
    "SELECT 1 UNION TABLE strange",
    "SELECT * FROM strange",
    "SELECT * FROM \"strange\"",
    "SELECT * FROM U&\"strange\"",
    "SELECT * FROM shop.strange",
    "SELECT * FROM orders.strange AS orders",
    "SELECT * FROM a.b.strange",
    "SELECT * FROM pg_catalog.strange",
    "SELECT * FROM public.tables",
    "SELECT * FROM public.pg_class",
    "SELECT * FROM tables",
    "SELECT * FROM action",
    "SELECT * FROM now",
    "SELECT * FROM orders, strange",
    "SELECT * FROM orders o, items AS i, strange",
    "SELECT * FROM orders AS set, strange",
    "SELECT * FROM orders JOIN items ON orders.offset = items.where, strange",
    "SELECT * FROM orders JOIN items ON a IS DISTINCT FROM b, strange",
    "SELECT * FROM orders JOIN items ON extract(year FROM a) = 1, strange",
    "SELECT * FROM orders JOIN items USING (id), strange",
    "SELECT * FROM (SELECT 1 WHERE true) x, strange",
    "SELECT * FROM (VALUES (1), (2)) AS v (a), strange",
    "SELECT * FROM generate_series(1, 2) AS g, strange",
    "SELECT * FROM ROWS FROM (unnest(a)) x, strange",
    "SELECT * FROM orders NATURAL JOIN strange",
    "SELECT * FROM orders CROSS JOIN LATERAL strange",
    "SELECT * FROM (orders JOIN strange ON true)",
    "SELECT * FROM ((strange JOIN orders ON true) JOIN items ON true)",
    "SELECT * FROM ONLY strange",
    "SELECT * FROM ONLY (strange)",
    "SELECT extract(year FROM (SELECT a FROM strange))",
    "SELECT substring((SELECT a FROM strange) FROM 1)",
    "SELECT (SELECT 1 FROM strange)",
    "INSERT INTO strange VALUES (1)",
    "INSERT INTO strange (a) VALUES (1)",
    "INSERT INTO orders SELECT * FROM strange",
    "WITH a AS (SELECT 1) INSERT INTO strange TABLE a",
    "UPDATE strange SET a = 1",
    "UPDATE ONLY strange SET a = 1",
    "UPDATE ONLY (strange) SET a = 1",
    "UPDATE orders SET a = 1 FROM items, strange",
    "WITH u AS (UPDATE strange SET a = 1 RETURNING 1) SELECT * FROM u",
    "DELETE FROM strange",
    "DELETE FROM orders USING strange",
    "DELETE FROM orders USING items, strange",
    "DELETE FROM orders USING (SELECT 1) x, strange",
    "DELETE FROM orders USING (strange JOIN items ON true)",
    "DELETE FROM orders USING ((items JOIN orders ON true) JOIN strange ON true)",
    "DELETE FROM orders USING (items JOIN orders ON true), strange",
    "MERGE INTO strange USING items ON true WHEN MATCHED THEN DELETE",
    "MERGE INTO orders USING strange ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE strange",
    "TRUNCATE TABLE orders, strange",
    "LOCK strange",
    "LOCK TABLE orders, ONLY strange IN SHARE MODE",
    "COPY strange FROM STDIN",
    "COPY strange (a) TO STDOUT",
    "COPY (SELECT * FROM strange) TO STDOUT",
    "REFRESH MATERIALIZED VIEW strange",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY shop.strange",
    "EXPLAIN ANALYZE TABLE strange",
    "EXPLAIN (ANALYZE) UPDATE strange SET a = 1",
    "PREPARE p AS UPDATE strange SET a = 1",
    "DECLARE c CURSOR FOR SELECT * FROM strange",
    "CREATE TABLE t AS TABLE strange",
    "CREATE TABLE t AS SELECT * FROM strange",
    "DO $$ BEGIN IF true THEN UPDATE strange SET a = 1; END IF; END $$",
    "DO $$ BEGIN PERFORM * FROM strange; END $$",
    "SELECT 1; SELECT * FROM strange; SELECT 2",
    // Declared elsewhere, or not by WITH.
    "WITH strange AS (SELECT 1) SELECT 2; SELECT * FROM strange",
    "WITH a AS (SELECT 1) SELECT * FROM strange",
    "WITH a AS (SELECT 1) SELECT * FROM shop.a",
    "SELECT a::timestamp with time zone FROM strange WINDOW w AS (), strange AS ()",
    "SELECT * FROM generate_series(1, 2) WITH ORDINALITY AS strange, strange",
    "SELECT 1::strange",
    "SELECT '1'::\"integer\"",
    "SELECT 1::int::strange",
    "SELECT 1::shop.strange",
    "SELECT 1::strange[]",
    "SELECT 1::strange(3)",
    "SELECT CAST(1 AS strange)",
    "SELECT CAST((SELECT 1 AS a) AS shop.strange)",
    "SELECT strange '1'",
    "SELECT shop.strange '1'",
    "SELECT shop.zone '1'",
    "SELECT \"zone\" '1'",
    "SELECT strange E'1'",
    "SELECT strange $$1$$",
    "SELECT JSON_VALUE(a, '$' RETURNING strange)",
    "SELECT 1 <=> 2",
    "SELECT 1 OPERATOR(shop.<=>) 2",
    "INSERT INTO orders VALUES (1 <=> 2)",
];

#[test]
fn what_the_database_does_not_have_may_do_anything() {
    let trusted: Vec<_> = STRANGE.iter().filter(|text| !shop(text).taint).collect();
    assert!(trusted.is_empty(), "{trusted:#?}");
    let facts = shop("SELECT * FROM strange");
    assert!(facts.may_move_sequence && facts.local_settings && facts.may_hide_ddl);
    // Nothing of it is strange to a database that has every name.
    for text in STRANGE {
        assert!(!super::super::facts(text.as_bytes(), true, &EveryName).broken, "{text}");
    }
}

#[test]
fn more_parentheses_than_are_remembered_taint() {
    let deep = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
    assert!(!shop(&deep(63)).taint && shop(&deep(64)).taint);
}

#[test]
fn without_a_vocabulary_only_postgresqls_own_names_are_harmless() {
    let unknown = |text: &str| facts(text.as_bytes(), true, &NoVocabulary);
    for text in [
        "SELECT 1",
        "SELECT now()",
        "SELECT $1::int + 1",
        "SELECT CAST($1 AS numeric(1, 2)), 'x'::pg_catalog.text || lower('A')",
        "SELECT count(*) FROM pg_catalog.pg_class",
        "VALUES (1, 'x'), (2, DATE '2020-01-01')",
        "BEGIN; COMMIT",
        "SET LOCAL app.x = 'y'",
        "SHOW work_mem",
        "SAVEPOINT a; RELEASE a; ROLLBACK TO a",
        "NOTIFY a, 'x'",
        "DECLARE c CURSOR FOR SELECT 1",
        "FETCH 1 FROM c; CLOSE c",
        "EXPLAIN SELECT 1",
        "SELECT pg_advisory_xact_lock(1)",
    ] {
        let facts = unknown(text);
        assert!(facts.is_harmless(), "{text} {facts:?}");
    }
    assert!(!unknown("PREPARE p AS SELECT $1").taint && !unknown("EXECUTE p(1)").taint);
    assert!(!unknown("SELECT set_config('app.x', 'y', false)").taint);
    assert!(!unknown("SELECT pg_try_advisory_lock_shared(1), nextval('s')").taint);
    for text in [
        "TABLE v",
        "SELECT * FROM t",
        "SELECT a",
        "SELECT 1 AS \"x\"",
        "SELECT U&\"x\"",
        "SELECT 1 === 2",
        "SELECT (ROW(1)).f",
        "SELECT '1'::dom",
        "INSERT INTO t DEFAULT VALUES",
        "COPY t FROM STDIN",
        "SELECT * FROM action",
        "SELECT value '1'",
        "SELECT * FROM information_schema.strange",
        "PREPARE p AS SELECT a",
        "EXECUTE p(a)",
        "DECLARE c CURSOR FOR TABLE v",
        "EXPLAIN ANALYZE TABLE v",
        "CREATE TABLE t (a int)",
        "CREATE TABLE t AS SELECT 1",
        "DROP TABLE t",
        "TRUNCATE t",
        "REFRESH MATERIALIZED VIEW v",
        "ANALYZE t",
        "CALL p()",
        "DO $$ BEGIN PERFORM a; END $$",
        "CREATE TEMP TABLE t (a int)",
    ] {
        let facts = unknown(text);
        assert!(facts.taint && facts.local_settings, "{text} {facts:?}");
    }
}

proptest! {
    /// A relation that is not known is seen wherever a FROM list goes on.
    #[test]
    fn a_strange_relation_in_a_list_is_seen(
        items in prop::collection::vec(prop::sample::select(vec![
            "orders", "items AS a", "shop.orders o (x, y)", "ONLY users", "(SELECT a, b FROM items WHERE c) s",
            "LATERAL (VALUES (1, 2)) v", "generate_series(1, 2) g", "orders JOIN items USING (a, b)",
            "orders JOIN items ON (a, b) = (1, 2)", "orders LEFT JOIN (users CROSS JOIN items) ON a.limit = 1",
            "orders JOIN items ON extract(year FROM a) IS NOT DISTINCT FROM b", "\"auth_user\" \"T3\"",
            "orders JOIN items ON CASE WHEN a THEN 1 ELSE 2 END = 1", "orders TABLESAMPLE system (1)",
            "ROWS FROM (unnest(a), unnest(b)) WITH ORDINALITY r",
        ]), 0..6),
        at in 0usize..6,
    ) {
        let list = items.join(", ");
        let text = format!("SELECT a, b FROM {} WHERE true", if list.is_empty() { "orders" } else { &list });
        prop_assert!(!shop(&text).taint, "{}", text);
        let mut items = items;
        items.insert(at.min(items.len()), "strange");
        let text = format!("SELECT a, b FROM {} WHERE true", items.join(", "));
        prop_assert!(shop(&text).taint, "{}", text);
    }
}
