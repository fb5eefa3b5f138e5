//! What lists of functions and policies add to the catalog, and what they do not.

use super::*;
use crate::routing::{FunctionPattern, Functions, Names, Standing};

fn patterns(texts: &[&str]) -> Box<[FunctionPattern]> {
    let parse =
        |text: &&str| FunctionPattern::parse(text).unwrap_or_else(|error| panic!("{error}"));
    texts.iter().map(parse).collect()
}

fn under(functions: &Functions, text: &str) -> Verdict {
    let policy = Policy { functions: Some(functions), ..Policy::default() };
    read_text(text.as_bytes(), Rules::STANDARD, policy, &Schema::default())
}

#[test]
fn a_function_that_only_reads_is_read_although_it_is_volatile() {
    let functions = Functions {
        reads: patterns(&["write_*", "missing", "app.f", "*"]),
        writes: patterns(&["my_stable_fn"]),
        distrusted: [b"my_immutable_fn"[..].into(), b"orders"[..].into()].into(),
    };
    for text in [
        "SELECT write_fn() FROM t",
        "SELECT missing(1)",
        "SELECT app.f(), (SELECT write_fn())",
        "WITH w AS (SELECT write_fn() AS a) SELECT a FROM w",
        "EXPLAIN ANALYZE SELECT write_fn()",
        "COPY (SELECT write_fn()) TO STDOUT",
        "SELECT (x).write_fn FROM x",
    ] {
        assert_eq!(under(&functions, text), Verdict::Read, "{text}");
        assert!(is_kept_from_standbys(&verdict(text)), "{text}");
    }
    for (text, reason) in [
        // What the text itself locks or writes, and what PostgreSQL's own functions do.
        ("SELECT write_fn() FROM t FOR SHARE", Reason::Lock),
        ("INSERT INTO t SELECT write_fn()", Reason::Write),
        ("WITH d AS (DELETE FROM t RETURNING a) SELECT write_fn() FROM d", Reason::Write),
        ("CREATE TABLE v AS SELECT write_fn()", Reason::Definition),
        ("SELECT write_fn() INTO v", Reason::Into),
        ("CALL write_fn()", Reason::Procedure),
        ("SELECT write_fn(), nextval('s')", Reason::Function),
        ("SELECT pg_advisory_lock(1)", Reason::Function),
        ("SELECT pg_catalog.txid_current()", Reason::Function),
        ("SELECT pg_temp.write_fn()", Reason::Temporary),
        // The other lists win.
        ("SELECT my_stable_fn()", Reason::Listed),
        ("SELECT any_schema.my_stable_fn()", Reason::Listed),
        ("SELECT (t).my_stable_fn FROM t", Reason::Listed),
        ("SELECT my_immutable_fn()", Reason::Distrusted),
        ("SELECT * FROM orders", Reason::Distrusted),
        ("SELECT * FROM t, public.orders", Reason::Distrusted),
    ] {
        assert_eq!(under(&functions, text), Verdict::Primary(reason), "{text}");
    }
}

/// Everything is what it is called.
struct Called;

impl Called {
    fn standing(name: &[u8]) -> Standing {
        match name {
            b"foreign" => Standing::Primary(Reason::Foreign),
            b"unlogged" => Standing::Primary(Reason::Unlogged),
            b"locks" => Standing::Primary(Reason::Lock),
            b"t" => Standing::Read,
            _ => Standing::Unknown,
        }
    }
}

impl Names for Called {
    fn function(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        Self::standing(name)
    }

    fn relation(&self, _: Option<&[u8]>, name: &[u8]) -> Standing {
        Self::standing(name)
    }

    fn operator(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
        Standing::Unknown
    }

    fn type_name(&self, _: Option<&[u8]>, _: &[u8]) -> Standing {
        Standing::Unknown
    }
}

#[test]
fn what_a_standby_cannot_do_no_list_allows() {
    let functions = Functions { reads: patterns(&["*"]), ..Functions::default() };
    let read = |text: &str, foreign_reads: bool| {
        let policy = Policy { foreign_reads, functions: Some(&functions), ..Policy::default() };
        read_text(text.as_bytes(), Rules::STANDARD, policy, &Called)
    };
    for foreign_reads in [false, true] {
        assert_eq!(read("SELECT unlogged()", foreign_reads), Verdict::Primary(Reason::Unlogged));
        assert_eq!(read("SELECT locks()", foreign_reads), Verdict::Primary(Reason::Lock));
        assert_eq!(read("TABLE unlogged", foreign_reads), Verdict::Primary(Reason::Unlogged));
        let foreign = if foreign_reads { Verdict::Read } else { Verdict::Primary(Reason::Foreign) };
        for text in
            ["SELECT * FROM foreign_table", "SELECT * FROM t, \"foreign\"", "SELECT \"foreign\"()"]
        {
            let expected = if text.contains("foreign_table") {
                Verdict::Primary(Reason::UnknownRelation)
            } else {
                foreign.clone()
            };
            assert_eq!(read(text, foreign_reads), expected, "{text}");
        }
    }
}
