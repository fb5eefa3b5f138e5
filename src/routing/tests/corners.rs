//! Statements of every syntactic corner, one a line: what is a read, and what must not be one.

use super::{Schema, is_primary, verdict, verdict_in, word};
use crate::routing::{
    Access, End, Isolation, Mode, Modes, Policy, Reason, Standing, Verdict, read_text,
};
use crate::sql::Rules;

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("--"))
}

#[test]
fn reads_are_reads() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for text in lines(include_str!("reads.sql")) {
        count += 1;
        let verdict = verdict(text);
        if verdict != Verdict::Read {
            wrong.push(format!("{}: {text}", word(&verdict)));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} are no reads:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 150, "{count}");
}

#[test]
fn what_is_no_read_is_none() {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for text in lines(include_str!("others.sql")) {
        count += 1;
        if verdict(text) == Verdict::Read {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "{} of {count} are reads:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 150, "{count}");
}

#[test]
fn a_volatile_call_is_found_wherever_an_expression_may_stand() {
    for text in lines(include_str!("places.sql")) {
        let harmless = text.replace("@@", "abs(1)");
        assert_eq!(verdict(&harmless), Verdict::Read, "{harmless}");
        for call in [
            "write_fn()",
            "nextval('s')",
            "(SELECT write_fn())",
            "(1).compute",
            "1 ### 2",
            "1::mytype",
        ] {
            // Where a name is needed only the calls fit; the others are then refused all the same.
            let text = text.replace("@@", call);
            assert_ne!(verdict(&text), Verdict::Read, "{text}");
        }
    }
}

#[test]
fn begin_says_its_modes() {
    let modes = |access, isolation, deferrable| {
        Verdict::Begin(Modes {
            access: Option::map(access, Mode::To),
            isolation: Option::map(isolation, Mode::To),
            deferrable: Option::map(deferrable, Mode::To),
        })
    };
    use Access::{ReadOnly, ReadWrite};
    use Isolation::{ReadCommitted, ReadUncommitted, RepeatableRead, Serializable};
    assert_eq!(verdict("begin"), modes(None, None, None));
    assert_eq!(verdict("BEGIN WORK;"), modes(None, None, None));
    assert_eq!(verdict("START TRANSACTION READ ONLY"), modes(Some(ReadOnly), None, None));
    assert_eq!(
        verdict("BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE NOT DEFERRABLE"),
        modes(Some(ReadWrite), Some(RepeatableRead), Some(false))
    );
    assert_eq!(
        verdict("BEGIN TRANSACTION DEFERRABLE ISOLATION LEVEL READ UNCOMMITTED"),
        modes(None, Some(ReadUncommitted), Some(true))
    );
    assert_eq!(
        verdict("BEGIN READ ONLY, READ WRITE, ISOLATION LEVEL SERIALIZABLE"),
        modes(Some(ReadWrite), Some(Serializable), None),
        "the last of a kind"
    );
    assert_eq!(
        verdict("START TRANSACTION ISOLATION LEVEL READ COMMITTED"),
        modes(None, Some(ReadCommitted), None)
    );
    is_primary("BEGIN READ", Reason::Unparsed);
    is_primary("BEGIN READ ONLY,", Reason::Unparsed);
    is_primary("BEGIN ,READ ONLY", Reason::Unparsed);
    is_primary("START", Reason::UnknownStatement);
}

#[test]
fn ends_of_transactions() {
    let end = |commits, chains| Verdict::End(End { commits, chains });
    for text in ["COMMIT", "END", "commit work", "END TRANSACTION", "COMMIT AND NO CHAIN"] {
        assert_eq!(verdict(text), end(true, false), "{text}");
    }
    assert_eq!(verdict("COMMIT AND CHAIN"), end(true, true));
    for text in ["ROLLBACK", "ABORT", "rollback transaction", "ABORT AND NO CHAIN"] {
        assert_eq!(verdict(text), end(false, false), "{text}");
    }
    assert_eq!(verdict("ROLLBACK WORK AND CHAIN"), end(false, true));
    for text in [
        "SAVEPOINT a",
        "RELEASE a",
        "RELEASE SAVEPOINT a",
        "ROLLBACK TO a",
        "ROLLBACK WORK TO SAVEPOINT a",
    ] {
        assert_eq!(verdict(text), Verdict::Savepoint, "{text}");
    }
    is_primary("PREPARE TRANSACTION 'x'", Reason::TwoPhase);
    is_primary("COMMIT PREPARED 'x'", Reason::TwoPhase);
    is_primary("COMMIT NOW", Reason::Unparsed);
}

#[test]
fn settings_of_transactions_are_recognised() {
    let isolation = |mode| Modes { isolation: Some(mode), ..Modes::default() };
    let access = |mode| Modes { access: Some(mode), ..Modes::default() };
    let defaults = |modes, is_local| Verdict::SetDefaults { modes, is_local };
    let serializable = isolation(Mode::To(Isolation::Serializable));
    for text in [
        "SET default_transaction_isolation = serializable",
        "SET SESSION default_transaction_isolation TO 'SERIALIZABLE'",
        "SET \"default_transaction_isolation\" = $$serializable$$",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ] {
        assert_eq!(verdict(text), defaults(serializable, false), "{text}");
    }
    assert_eq!(
        verdict("SET LOCAL default_transaction_isolation = 'repeatable read'"),
        defaults(isolation(Mode::To(Isolation::RepeatableRead)), true)
    );
    assert_eq!(
        verdict("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        Verdict::SetTransaction(serializable)
    );
    assert_eq!(
        verdict("SET transaction_isolation = 'serializable'"),
        Verdict::SetTransaction(serializable)
    );
    for (text, mode) in [
        ("SET transaction_read_only = off", Mode::To(Access::ReadWrite)),
        ("SET LOCAL transaction_read_only TO 'n'", Mode::To(Access::ReadWrite)),
        ("SET TRANSACTION_READ_ONLY = 1", Mode::To(Access::ReadOnly)),
        ("SET LOCAL TRANSACTION READ ONLY", Mode::To(Access::ReadOnly)),
        ("RESET transaction_read_only", Mode::Default),
    ] {
        assert_eq!(verdict(text), Verdict::SetTransaction(access(mode)), "{text}");
    }
    assert_eq!(
        verdict("RESET default_transaction_read_only"),
        defaults(access(Mode::Default), false)
    );
    assert_eq!(
        verdict("SET default_transaction_read_only TO DEFAULT"),
        defaults(access(Mode::Default), false)
    );
    assert!(
        matches!(verdict("RESET ALL"), Verdict::SetDefaults { modes, .. } if modes.access.is_some())
    );
    is_primary("SET transaction_read_only = maybe", Reason::Value);
    is_primary("SET default_transaction_isolation = 'ser' 'ial'", Reason::Value);
    is_primary("SET TRANSACTION SNAPSHOT 'x'", Reason::Snapshot);
    is_primary("SET", Reason::Unparsed);
}

#[test]
fn settings_do_not_decide() {
    for text in [
        "SET search_path TO a, b",
        "SET LOCAL work_mem = '64MB'",
        "SET SESSION statement_timeout = 0",
        "SET myapp.tenant = 'x'",
        "SET TIME ZONE LOCAL",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET ROLE NONE",
        "SET NAMES 'LATIN1'",
        "SET SCHEMA 'x'",
        "SET XML OPTION DOCUMENT",
        "RESET work_mem",
        "RESET TIME ZONE",
        "SET work_mem FROM CURRENT",
    ] {
        assert_eq!(verdict(text), Verdict::Setting, "{text}");
    }
    for text in [
        "SHOW work_mem",
        "SHOW TIME ZONE",
        "show DateStyle",
        "SHOW transaction_isolation",
        "SHOW server_version",
        "SHOW app.x",
    ] {
        assert_eq!(verdict(text), Verdict::Read, "{text}");
    }
    for text in [
        "SHOW transaction_read_only",
        "SHOW in_hot_standby",
        "SHOW ALL",
        "SHOW data_directory",
        "SHOW default_transaction_read_only",
        "SHOW primary_conninfo",
        "SHOW port",
    ] {
        is_primary(text, Reason::Node);
    }
}

#[test]
fn prepared_statements_are_followed() {
    let prepared = |text: &str| match verdict(text) {
        Verdict::Prepare { name, statement } => {
            (String::from_utf8(name.into()).unwrap(), statement)
        }
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(prepared("PREPARE P AS SELECT * FROM t"), ("p".into(), Ok(())));
    assert_eq!(prepared("PREPARE \"P\" (int, text) AS SELECT $1"), ("P".into(), Ok(())));
    assert_eq!(prepared("PREPARE p AS INSERT INTO t VALUES (1)").1, Err(Reason::Write));
    assert_eq!(prepared("PREPARE p(mytype) AS SELECT 1").1, Err(Reason::Type));
    assert_eq!(prepared("PREPARE p(int, public.mytype) AS SELECT 1").1, Err(Reason::Type));
    assert_eq!(prepared("PREPARE p AS SELECT write_fn()").1, Err(Reason::Function));
    assert_eq!(prepared("PREPARE transaction AS SELECT 1"), ("transaction".into(), Ok(())));
    let execute = |name: &[u8]| Verdict::Execute { name: name.into() };
    assert_eq!(verdict("EXECUTE p"), execute(b"p"));
    assert_eq!(verdict("EXECUTE \"P\"(1, 'x', abs(2))"), execute(b"P"));
    assert_eq!(verdict("EXPLAIN (ANALYZE, BUFFERS) EXECUTE p(1)"), execute(b"p"));
    is_primary("EXECUTE p(nextval('s'))", Reason::Function);
    is_primary("EXECUTE p((SELECT write_fn()))", Reason::Function);
    is_primary("EXECUTE p(1) x", Reason::Unparsed);
    is_primary("EXPLAIN EXECUTE p(write_fn())", Reason::Function);
    assert_eq!(verdict("DEALLOCATE ALL"), Verdict::Deallocate);
}

#[test]
fn cursors_are_followed() {
    let declared = |text: &str| match verdict(text) {
        Verdict::Declare { query, .. } => query,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(declared("DECLARE c CURSOR FOR SELECT 1"), Ok(()));
    assert_eq!(
        declared("DECLARE c BINARY INSENSITIVE NO SCROLL CURSOR WITHOUT HOLD FOR VALUES (1)"),
        Ok(())
    );
    assert_eq!(declared("DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE"), Err(Reason::Lock));
    is_primary("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Reason::Hold);
    let cursor = |name: Option<&[u8]>| Verdict::Cursor { name: name.map(Into::into) };
    for text in ["FETCH c", "FETCH NEXT FROM C", "FETCH ALL IN c", "MOVE 10 \"c\"", "CLOSE c"] {
        assert_eq!(verdict(text), cursor(Some(b"c")), "{text}");
    }
    assert_eq!(verdict("CLOSE ALL"), cursor(None));
}

#[test]
fn explain_is_of_its_statement() {
    for text in [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN (SELECT 1)",
        "EXPLAIN VERBOSE TABLE t",
        "EXPLAIN ANALYZE VERBOSE SELECT 1",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
        "EXPLAIN (COSTS off) ((SELECT 1))",
    ] {
        assert_eq!(verdict(text), Verdict::Read, "{text}");
    }
    is_primary("EXPLAIN (COSTS write_fn()) SELECT 1", Reason::Unparsed);
    is_primary("EXPLAIN DELETE FROM t", Reason::PlanOfWrite);
    is_primary("EXPLAIN (VERBOSE) UPDATE t SET a = 1", Reason::PlanOfWrite);
    is_primary("EXPLAIN (ANALYZE off) UPDATE t SET a = 1", Reason::PlanOfWrite);
    is_primary("EXPLAIN SELECT * FROM t FOR UPDATE", Reason::PlanOfWrite);
    is_primary("EXPLAIN CREATE TABLE x AS SELECT 1", Reason::PlanOfWrite);
    for text in [
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN ANALYSE DELETE FROM t",
        "EXPLAIN (ANALYZE) DELETE FROM t",
        "EXPLAIN (COSTS off, ANALYZE on) DELETE FROM t",
        "EXPLAIN (ANALYZE 'true') DELETE FROM t",
        "EXPLAIN (\"analyze\" 1) DELETE FROM t",
        "EXPLAIN (analyze yes) DELETE FROM t",
    ] {
        is_primary(text, Reason::Write);
    }
}

#[test]
fn the_catalog_is_read_where_it_is_allowed() {
    let allowed = Policy { catalog_reads: true, ..Policy::default() };
    let read =
        |text: &str| read_text(text.as_bytes(), Rules::STANDARD, allowed, &Schema::default());
    for text in [
        "SELECT * FROM pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
        "SELECT * FROM information_schema.columns",
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = 't'::regclass",
    ] {
        assert_eq!(read(text), Verdict::Read, "{text}");
        is_primary(text, Reason::Catalog);
    }
    for text in [
        "SELECT * FROM pg_stat_activity",
        "SELECT * FROM pg_catalog.pg_locks",
        "SELECT * FROM pg_settings",
        "SELECT * FROM pg_cursors",
        "SELECT * FROM pg_prepared_statements",
        "SELECT * FROM pg_sequences",
        "SELECT * FROM pg_stat_statements",
        "SELECT * FROM pg_stat_replication",
        "SELECT * FROM pg_replication_slots",
    ] {
        assert_eq!(read(text), Verdict::Primary(Reason::Node), "{text}");
        is_primary(text, Reason::Node);
    }
}

#[test]
fn a_temporary_table_hides_others() {
    let schema = Schema { temporary: Some("t") };
    for text in [
        "SELECT * FROM t",
        "SELECT * FROM u JOIN T ON true",
        "TABLE \"t\"",
        "WITH t AS (SELECT * FROM t) SELECT * FROM t",
        "SELECT 't'::regclass",
        "SELECT pg_relation_size('t')",
        "SELECT (WITH t AS (SELECT 1) SELECT 1 FROM t), 1 FROM t",
        "COPY t TO STDOUT",
        "SELECT EXISTS (SELECT FROM t)",
        "SELECT * FROM (u CROSS JOIN t)",
    ] {
        assert_eq!(verdict_in(&schema, text), Verdict::Primary(Reason::Temporary), "{text}");
    }
    for text in [
        "SELECT t FROM u",
        "WITH t AS (SELECT 1) SELECT * FROM t",
        "SELECT 1 AS t",
        "SELECT * FROM u AS t",
    ] {
        assert_eq!(verdict_in(&schema, text), Verdict::Read, "{text}");
    }
}

#[test]
fn entries_of_with_are_known_where_postgresql_knows_them() {
    for text in [
        "WITH q AS (SELECT 1) SELECT * FROM q",
        "WITH q AS (SELECT 1), r AS (SELECT * FROM q) SELECT * FROM r, q",
        "WITH RECURSIVE q AS (SELECT 1 UNION ALL SELECT * FROM q) SELECT * FROM q",
        "SELECT (WITH q AS (SELECT 1) SELECT count(*) FROM q)",
        "WITH q AS (SELECT 1) SELECT (SELECT count(*) FROM q)",
        "WITH q(a, b) AS NOT MATERIALIZED (VALUES (1, 2)) SELECT a FROM q",
        "WITH RECURSIVE q AS (SELECT 1 UNION SELECT * FROM q) SEARCH DEPTH FIRST BY a SET o SELECT * FROM q",
        "WITH RECURSIVE q AS (SELECT 1 UNION SELECT * FROM q) CYCLE a SET c USING p SELECT * FROM q",
        "WITH RECURSIVE q AS (SELECT 1 UNION SELECT * FROM q) SEARCH BREADTH FIRST BY a, b SET o CYCLE a, b SET c TO 'y' DEFAULT 'n' USING p, r AS (SELECT 1) SELECT * FROM q, r",
    ] {
        assert_eq!(verdict(text), Verdict::Read, "{text}");
    }
    for text in [
        "WITH q AS (SELECT * FROM q) SELECT * FROM q",
        "WITH q AS (SELECT * FROM r), r AS (SELECT 1) SELECT * FROM q",
        "SELECT (WITH q AS (SELECT 1) SELECT 1 FROM q) FROM q",
        "WITH q AS (SELECT 1) SELECT * FROM public.q",
    ] {
        is_primary(text, Reason::UnknownRelation);
    }
    is_primary(
        "WITH RECURSIVE q AS (SELECT 1) SEARCH DEPTH FIRST BY a SET o INSERT INTO t SELECT * FROM q",
        Reason::Write,
    );
}

#[test]
fn what_is_too_much_is_not_read() {
    let list = "1,".repeat(9000);
    is_primary(&format!("SELECT * FROM t WHERE a IN ({list}1)"), Reason::TooLong);
    let deep = format!("SELECT {}1{}", "(".repeat(64), ")".repeat(64));
    is_primary(&deep, Reason::TooDeep);
    is_primary(&format!("SELECT 1{}", "+1".repeat(257)), Reason::TooDeep);
    is_primary(&format!("SELECT 1{}", " AND 1".repeat(257)), Reason::TooDeep);
    is_primary(&format!("SELECT 1{}", " UNION SELECT 1".repeat(257)), Reason::TooDeep);
    assert_eq!(verdict(&format!("SELECT 1{}", "+1".repeat(250))), Verdict::Read);
    assert_eq!(verdict(&format!("SELECT a{} FROM t", "::int".repeat(250))), Verdict::Read);
    assert_eq!(verdict(&format!("SELECT 1{}", " UNION SELECT 1".repeat(250))), Verdict::Read);
    assert_eq!(
        verdict(&format!("SELECT * FROM t WHERE a IN ({}1)", "1,".repeat(6000))),
        Verdict::Read
    );
    for (open, close) in [
        ("(", ")"),
        ("abs(", ")"),
        ("ARRAY[", "]"),
        ("(SELECT ", ")"),
        ("NOT ", ""),
        ("- ", ""),
        ("CASE WHEN true THEN ", " END"),
    ] {
        for depth in [10, 30, 50, 63, 100, 250] {
            // A verdict, whichever, and no end of the stack.
            let _ = verdict(&format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth)));
        }
    }
}

#[test]
fn a_text_is_cut_by_the_rules_of_its_session() {
    let read = |text: &str, conforming| {
        read_text(text.as_bytes(), Rules::safe(conforming), Policy::default(), &Schema::default())
    };
    let text = r"SELECT '\'; DELETE FROM t; --'";
    assert_eq!(read(text, false), Verdict::Read);
    assert_eq!(read(text, true), Verdict::Primary(Reason::Write));
    let text = r"SELECT '\', nextval('s')";
    assert_eq!(read(text, true), Verdict::Primary(Reason::Function));
    let latin1 = b"SELECT * FROM t WHERE v = 'na\xefve'";
    assert_eq!(
        read_text(latin1, Rules::STANDARD, Policy::default(), &Schema::default()),
        Verdict::Read
    );
    let latin1 = b"SELECT na\xefve FROM t";
    assert_eq!(
        read_text(latin1, Rules::STANDARD, Policy::default(), &Schema::default()),
        Verdict::Primary(Reason::Unparsed)
    );
}

#[test]
fn an_operator_is_asked_for_behind_the_name_of_a_type() {
    struct Multiplies;
    impl crate::routing::Names for Multiplies {
        fn function(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
            Standing::Unknown
        }
        fn relation(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
            Standing::Read
        }
        fn operator(&self, _: Option<&[u8]>, symbol: &[u8]) -> Standing {
            let is_volatile = matches!(symbol, b"*" | b"<>");
            if is_volatile { Standing::Primary(Reason::Operator) } else { Standing::Unknown }
        }
        fn type_name(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
            Standing::Unknown
        }
    }
    let read =
        |text: &str| read_text(text.as_bytes(), Rules::STANDARD, Policy::default(), &Multiplies);
    for text in ["SELECT a::bigint*2", "SELECT a * b FROM t", "SELECT 1 != 2", "SELECT NULL*1"] {
        assert_eq!(read(text), Verdict::Primary(Reason::Operator), "{text}");
    }
    for text in ["SELECT * FROM t", "SELECT count(*), t.*, * FROM t", "SELECT DISTINCT * FROM t *"]
    {
        assert_eq!(read(text), Verdict::Read, "{text}");
    }
}
