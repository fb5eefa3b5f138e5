//! What names mean, and what the facts make of it.

use crate::sql::{
    Facts, Meaning, NoVocabulary, PinSet, Settings, Use, Vocabulary, facts, routine_facts,
};
use proptest::prelude::*;

/// Has every name but those that begin with `new_`. Knows `evil`, a name with a quote in it, the operator `===` and a few more.
struct Known;

impl Vocabulary for Known {
    fn is_known(&self) -> bool {
        true
    }

    fn has(&self, name: &[u8], _: Use) -> bool {
        !name.starts_with(b"new_")
    }

    fn word(&self, name: &[u8]) -> Meaning {
        match name {
            b"evil" | b"Evil" | b"e\"vil" => Meaning::TOUCHES,
            b"cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut" => Meaning::TOUCHES,
            b"cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cu" => Meaning::empty(),
            b"cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_" => Meaning::empty(),
            b"serial_table" => Meaning::MOVES_SEQUENCE_ON_WRITE,
            b"next_number" => Meaning::MOVES_SEQUENCE,
            b"last_number" => Meaning::READS_SEQUENCE,
            b"seeder" => Meaning::LEAVES_STATE,
            b"local_setter" => Meaning::SETS_LOCAL,
            b"maker" => Meaning::CHANGES_CATALOG,
            name if !name.is_ascii() => Meaning::TOUCHES,
            _ => Meaning::empty(),
        }
    }

    fn operator(&self, symbol: &[u8]) -> Meaning {
        if symbol == b"===" { Meaning::TOUCHES } else { Meaning::empty() }
    }

    fn unreadable_word(&self) -> Meaning {
        Meaning::TOUCHES
    }

    fn definition(&self) -> Meaning {
        Meaning::empty()
    }

    fn maintenance(&self) -> Meaning {
        Meaning::TOUCHES
    }
}

fn known(text: &str) -> Facts {
    facts(text.as_bytes(), true, &Known)
}

fn unknown(text: &str) -> Facts {
    facts(text.as_bytes(), true, &NoVocabulary)
}

fn routine(text: &str) -> Facts {
    routine_facts(text.as_bytes(), true, &Known)
}

#[test]
fn a_function_that_is_known_to_be_harmless_taints_nothing() {
    for text in [
        "SELECT price(1), shop.price(2) FROM t",
        "CALL refresh_totals(1)",
        "DO $$ BEGIN PERFORM price(1); UPDATE t SET a = 1; END $$",
        "DO 'BEGIN PERFORM price(''x''); END'",
        "INSERT INTO t DEFAULT VALUES",
        "SELECT \"nothing\", a.b::money FROM t",
    ] {
        assert!(known(text).is_harmless(), "{text}");
    }
    for text in ["SELECT price(1)", "SELECT shop.price(1)", "CALL p()", "DO $$ BEGIN END $$"] {
        assert!(unknown(text).taint, "{text}");
    }
}

#[test]
fn a_name_that_touches_the_session_taints_wherever_it_stands() {
    for text in [
        "SELECT evil()",
        "TABLE evil",
        "SELECT * FROM shop.EVIL",
        "SELECT (row).evil FROM t",
        "SELECT t.evil FROM t",
        "SELECT 'x'::evil",
        "SELECT evil 'x'",
        "COPY evil FROM STDIN",
        "SELECT \"Evil\"(1)",
        "SELECT \"e\"\"vil\"",
        "SELECT U&\"\\0065vil\"",
        "SELECT \u{e9}vil",
        "SELECT 1 === 2",
        "SELECT 1 OPERATOR(shop.===) 2",
        "CALL evil()",
        "DO $x$ BEGIN PERFORM evil(); END $x$",
        "DO 'BEGIN PERFORM evil(''x''); END'",
        "DO $$ BEGIN END $$ LANGUAGE plperl",
        "DO E'BEGIN END'",
        "LOCK TABLE evil",
        "REFRESH MATERIALIZED VIEW evil",
        "ANALYZE",
        "SELECT pg_temp.f()",
        "SELECT query_to_xml('x', true, true, '')",
        "SELECT cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_cut_and_more",
    ] {
        assert!(known(text).taint, "{text}");
    }
    for text in
        ["SELECT 'evil' AS x", "SELECT evilest()", "SELECT 1 = 2 -- evil", "SELECT \"EVIL\""]
    {
        assert!(!known(text).taint, "{text}");
    }
}

/// The vocabulary knows what was there before the text.
#[test]
fn what_a_text_creates_and_may_use_taints() {
    for text in [
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT f()",
        "CREATE VIEW v AS SELECT set_config('a', 'b', false); TABLE v",
        "CREATE TRIGGER t BEFORE INSERT ON x EXECUTE FUNCTION f(); INSERT INTO x VALUES (1)",
        "DO $$ BEGIN CREATE VIEW v AS SELECT set_config('a', 'b', false); PERFORM * FROM v; END $$",
    ] {
        assert!(known(text).taint, "{text}");
    }
    for text in ["CREATE VIEW v AS SELECT 1", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)"] {
        assert!(!known(text).taint, "{text}");
    }
}

#[test]
fn what_moves_a_sequence() {
    assert!(known("INSERT INTO serial_table DEFAULT VALUES").may_move_sequence);
    assert!(known("COPY serial_table FROM STDIN").may_move_sequence);
    assert!(known("SELECT next_number()").may_move_sequence);
    assert!(known("SELECT nextval('s')").may_move_sequence);
    assert!(!known("SELECT * FROM serial_table").may_move_sequence);
    assert!(!known("INSERT INTO plain VALUES (1)").may_move_sequence);
    assert!(unknown("INSERT INTO plain VALUES (1)").may_move_sequence);
    assert!(!unknown("SELECT 1").may_move_sequence);
    assert!(unknown("SELECT f()").may_move_sequence);
    assert!(known("SELECT last_number()").currval);
    assert!(known("SELECT seeder()").pins.contains(PinSet::STATE));
}

#[test]
fn what_changes_the_catalog() {
    for text in [
        "CREATE TABLE t (a int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TEMP VIEW v AS SELECT 1",
        "ALTER TABLE t ADD a int",
        "DROP TABLE t",
        "IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
        "REASSIGN OWNED BY a TO b",
        "SELECT a INTO b FROM c",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; DROP VIEW v",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "DO $$ BEGIN CREATE TABLE t (a int); END $$",
        "SELECT maker()",
        "COMMIT PREPARED 'x'",
    ] {
        assert!(known(text).ddl || known(text).removes, "{text}");
    }
    for text in [
        "SELECT 1",
        "CREATE TEMP TABLE t (a int)",
        "INSERT INTO t SELECT 1",
        "SET x = 1",
        "EXPLAIN CREATE TABLE t AS SELECT 1",
        "TRUNCATE t",
        "COMMENT ON TABLE t IS 'x'",
        "GRANT SELECT ON t TO bob",
        "REVOKE SELECT ON t FROM bob",
        "SECURITY LABEL ON TABLE t IS 'x'",
        "REINDEX TABLE t",
        "CLUSTER t",
        "ROLLBACK PREPARED 'x'",
        "DO $$ DECLARE a int; BEGIN SELECT 1 INTO a; END $$",
    ] {
        assert!(!known(text).ddl, "{text}");
    }
    assert!(known("DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$").may_hide_ddl);
    assert!(unknown("SELECT f()").may_hide_ddl && !known("SELECT f()").may_hide_ddl);
}

#[test]
fn what_is_set_for_the_transaction() {
    for text in [
        "SET LOCAL timezone = 'UTC'",
        "SET TRANSACTION READ ONLY",
        "SELECT set_config('timezone', 'UTC', true)",
        "SELECT set_config('timezone', 'UTC', $1)",
        "SELECT local_setter()",
        "DO $$ BEGIN SET LOCAL a = 1; END $$",
    ] {
        assert!(known(text).local_settings, "{text}");
    }
    for text in ["SET timezone = 'UTC'", "SET CONSTRAINTS ALL DEFERRED", "SELECT 1"] {
        assert!(!known(text).local_settings, "{text}");
    }
}

#[test]
fn names_of_custom_settings_are_found_in_strings_of_texts_that_taint() {
    let names = |text: &str| -> Vec<String> {
        let found = known(text).custom_settings;
        found.iter().map(|name| name.to_string()).collect()
    };
    assert_eq!(
        names("SELECT evil('app.tenant', 'App.User', 'x', 'a b.c')"),
        ["app.tenant", "app.user"]
    );
    assert_eq!(names("DO $$ BEGIN EXECUTE format('SET %s = 1', 'app.x'); END $$"), ["app.x"]);
    assert!(names("SELECT price('app.tenant')").is_empty());
    let block = known("DO $$ BEGIN SET app.z = 1; END $$");
    assert_eq!(block.settings, Settings::Names(["app.z".into()].into_iter().collect()));
    assert!(known("SELECT evil('app.tenant')").by_value);
}

#[test]
fn a_parameter_may_name_the_setting() {
    let of = |text: &str| (known(text).setting_named_by_parameter, known(text).computes_setting);
    assert_eq!(of("SELECT set_config($1, $2, false)"), (Some(1), false));
    assert_eq!(of("SELECT set_config($12, 'x', false)"), (Some(12), false));
    assert_eq!(
        of("SELECT set_config($1, $2, false), set_config($1, 'y', false)"),
        (Some(1), false)
    );
    assert_eq!(of("SELECT set_config($1, $2, false), set_config($3, $4, false)"), (None, true));
    assert_eq!(of("SELECT set_config($1, $2, false); SET a = 1"), (None, true));
    assert_eq!(of("SELECT set_config($1 || 'x', $2, false)"), (None, true));
    assert_eq!(of("SELECT set_config($1, $2, true)"), (None, false));
    assert_eq!(known("SELECT set_config($1, $2, false)").settings, Settings::Unknown);
}

#[test]
fn an_update_of_pg_settings_sets() {
    for text in [
        "UPDATE pg_settings SET setting = '1' WHERE name = 'work_mem'",
        "WITH a AS (UPDATE pg_catalog.\"pg_settings\" SET setting = '1' RETURNING 1) SELECT 1",
        "MERGE INTO pg_settings USING a ON true WHEN MATCHED THEN UPDATE SET setting = '1'",
    ] {
        assert_eq!(unknown(text).settings, Settings::Unknown, "{text}");
        assert!(unknown(text).computes_setting, "{text}");
    }
    assert!(known("SELECT setting FROM pg_settings").is_harmless());
    assert!(known("UPDATE t SET a = 1").is_harmless());
}

#[test]
fn bodies_that_leave_nothing_behind() {
    for text in [
        "BEGIN NEW.updated_at := now(); RETURN NEW; END;",
        "DECLARE n int := 0; r record; c CURSOR (k int) FOR SELECT * FROM t WHERE a = k;
         BEGIN
           FOR r IN SELECT * FROM t LOOP n := n + r.a; END LOOP;
           IF (n > 1) THEN UPDATE t SET a = n WHERE (b); ELSIF (n < 0) THEN RAISE NOTICE 'x %', n;
           ELSE DELETE FROM t; END IF;
           OPEN c(1); FETCH c INTO r; CLOSE c;
           <<again>> WHILE (n > 0) LOOP n := n - 1; EXIT again WHEN (n = 3); END LOOP;
           CASE n WHEN 1 THEN NULL; ELSE PERFORM price(n); END CASE;
           INSERT INTO t (a) VALUES (1) RETURNING a INTO n;
           SET LOCAL work_mem = '1MB';
           PERFORM set_config('app.x', 'y', true);
           RETURN QUERY SELECT 1;
         EXCEPTION WHEN unique_violation THEN RETURN;
         END",
        "#variable_conflict use_column\nBEGIN RETURN; END",
    ] {
        let facts = routine(text);
        assert!(facts.is_harmless() && !facts.broken, "{text}\n{facts:?}");
    }
}

#[test]
fn bodies_that_touch_the_session() {
    for text in [
        "BEGIN SET work_mem = '1MB'; END",
        "BEGIN IF a THEN SET x = 1; END IF; END",
        "BEGIN IF a THEN NULL; ELSE RESET x; END IF; END",
        "BEGIN LOOP LISTEN a; END LOOP; END",
        "DECLARE a int; BEGIN CREATE TEMP TABLE t (a int); END",
        "BEGIN PERFORM set_config('app.x', 'y', false); END",
        "BEGIN x := set_config('app.x', 'y', false); END",
        "BEGIN PERFORM pg_advisory_lock(1); END",
        "BEGIN EXECUTE 'SET x = 1'; END",
        "BEGIN FOR r IN EXECUTE q LOOP NULL; END LOOP; END",
        "BEGIN RETURN QUERY EXECUTE q; END",
        "BEGIN OPEN c FOR EXECUTE q; END",
        "BEGIN DISCARD ALL; END",
        "BEGIN LOAD 'x'; END",
        "BEGIN PERFORM evil(); END",
        "BEGIN UPDATE pg_settings SET setting = '1'; END",
        "BEGIN DO $x$ BEGIN END $x$; END",
        "BEGIN EXCEPTION WHEN others THEN SET x = 1; END",
        "BEGIN 'unterminated",
    ] {
        assert!(!routine(text).is_harmless(), "{text}");
    }
}

proptest! {
    /// No body panics, and a body without an end is never trusted.
    #[test]
    fn any_body(body in "[a-zA-Z_'\"$;:=(), \\n.<>]{0,120}", conforming: bool) {
        let found = routine_facts(body.as_bytes(), conforming, &Known);
        prop_assert!(!found.broken || found.taint);
    }

    /// A statement that touches is seen wherever one may begin.
    #[test]
    fn a_hidden_set_is_seen(
        before in prop::collection::vec(prop::sample::select(vec![
            "BEGIN", "x := 1;", "IF a THEN", "ELSE", "LOOP", "PERFORM f(1);", "<<l>> LOOP", "NULL;", "END IF;",
            "CASE a WHEN 1 THEN", "SELECT 'x;' INTO y;", "-- SET\n", "EXCEPTION WHEN others THEN",
        ]), 1..8),
    ) {
        let body = format!("BEGIN {} ; SET myapp.x = 1; END", before.join(" "));
        let found = routine(&body);
        prop_assert!(matches!(&found.settings, Settings::Names(names) if &*names[0] == "myapp.x"), "{}", body);
    }
}
