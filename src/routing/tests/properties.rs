//! Random reads, and what they become when something is put into them.

use super::{Schema, is_kept_from_standbys, verdict};
use crate::routing::{Policy, Verdict, read_text};
use crate::sql::{Kind, Lexer, Rules};
use proptest::prelude::*;

/// An expression, with `@` at places where another may be put.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "'x'",
        "a",
        "t.b",
        "$1",
        "now()",
        "NULL",
        "true",
        "\"Q\"",
        "current_date",
        "1.5",
        "@",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone().prop_map(|(a, b)| format!("{a} + {b}")),
            two.clone().prop_map(|(a, b)| format!("({a} = {b})")),
            two.clone().prop_map(|(a, b)| format!("coalesce({a}, {b})")),
            two.clone().prop_map(|(a, b)| format!("CASE WHEN {a} THEN {b} ELSE @ END")),
            two.clone().prop_map(|(a, b)| format!("ARRAY[{a}, {b}]")),
            two.clone().prop_map(|(a, b)| format!("({a} IN ({b}, @))")),
            two.clone().prop_map(|(a, b)| format!("concat({a}, {b}, @)")),
            two.prop_map(|(a, b)| format!("sum({a}) FILTER (WHERE {b}) OVER (ORDER BY @)")),
            inner.clone().prop_map(|a| format!("({a})::text")),
            inner.clone().prop_map(|a| format!("CAST({a} AS int)")),
            inner.clone().prop_map(|a| format!("(SELECT {a} FROM u WHERE @ LIMIT 1)")),
            inner.clone().prop_map(|a| format!("EXISTS (SELECT FROM u WHERE {a})")),
            inner.prop_map(|a| format!("substring({a} FROM @)")),
        ]
    })
}

/// What FROM reads.
fn source() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("t".to_owned()),
        Just("t AS z (a, b)".to_owned()),
        Just("ONLY public.t".to_owned()),
        expression().prop_map(|e| format!("(SELECT {e} AS a) z")),
        expression().prop_map(|e| format!("generate_series(1, {e}) WITH ORDINALITY AS z (a)")),
        expression().prop_map(|e| format!("(t JOIN u ON {e})")),
        expression().prop_map(|e| format!("t LEFT JOIN LATERAL (SELECT {e}) z ON @")),
    ]
}

/// A read, with `@` where an expression may be put.
fn read() -> impl Strategy<Value = String> {
    let select =
        (expression(), source(), expression(), any::<u8>()).prop_map(|(e, from, w, more)| {
            let mut text = format!("SELECT {e}, @ AS x FROM {from} WHERE {w}");
            if more & 1 > 0 {
                text.push_str(" GROUP BY @ HAVING @");
            }
            if more & 2 > 0 {
                text.push_str(" ORDER BY @ DESC");
            }
            if more & 4 > 0 {
                text.push_str(" LIMIT (@)");
            }
            text
        });
    let select = select.boxed();
    (select.clone(), select, 0..6_u8).prop_map(|(one, two, form)| match form {
        0 => format!("({one}) UNION ALL ({two})"),
        1 => format!("WITH q AS ({one}) SELECT @ FROM q"),
        2 => format!("WITH RECURSIVE q (a) AS MATERIALIZED ({one}) {two}"),
        3 => format!("VALUES (({one}), @)"),
        4 => format!("EXPLAIN (ANALYZE) {one}"),
        _ => one,
    })
}

/// The text with `what` at one of its places, and something harmless at the others.
fn put(text: &str, at: usize, what: &str) -> String {
    let mut places = text.split('@');
    let mut put = places.next().unwrap_or_default().to_owned();
    let count = text.matches('@').count().max(1);
    for (place, rest) in places.enumerate() {
        put.push_str(if place == at % count { what } else { "2" });
        put.push_str(rest);
    }
    put
}

fn harmless(text: &str) -> String {
    text.replace('@', "2")
}

const CALLS: &[&str] = &[
    "write_fn()",
    "nextval('s')",
    "public.myfunc(1)",
    "\"pg_catalog\" . \"setval\" ('s', 1)",
    "pg_advisory_lock /* c */ (1)",
    "unknown_fn(1)",
    "(t).compute",
    "(1 ### 2)",
    "'(1)'::mytype",
    "(SELECT last_value FROM s)",
    "(WITH w AS (DELETE FROM t RETURNING a) SELECT a FROM w)",
    "(SELECT a FROM u FOR UPDATE)",
    "(SELECT a FROM u FOR\nNO KEY UPDATE)",
    "(SELECT a INTO z FROM u)",
    "txid_current()",
    "current_setting('transaction_read_only')",
    "my_agg(1)",
    "(SELECT pg_notify('a', 'b'))",
    "query_to_xml('SELECT write_fn()', true, true, '')",
    "(TABLE unlogged_t)",
    "mytype '(1)'",
    "CAST(1 AS public.mytype)",
    "(SELECT 1 FROM unknown_table)",
    "set_config('a.b', 'c', false)",
];

/// The text with every space another one, and every bare word in another case.
fn dressed(text: &str, spaces: &[usize]) -> String {
    const SPACES: [&str; 6] = [" ", "\n", "\t  ", " /* x */ ", " -- y\n", "/* ' \" $$ */\r\n"];
    let mut dressed = String::new();
    let mut next = spaces.iter().cycle();
    for token in Lexer::new(text.as_bytes(), true) {
        let bytes = String::from_utf8_lossy(token.bytes(text.as_bytes())).into_owned();
        let choice = next.next().copied().unwrap_or_default();
        match token.kind {
            Kind::Space => dressed.push_str(SPACES[choice % SPACES.len()]),
            Kind::Word if choice % 3 == 0 => dressed.push_str(&bytes.to_ascii_uppercase()),
            Kind::Word if choice % 3 == 1 => dressed.push_str(&bytes.to_ascii_lowercase()),
            _ => dressed.push_str(&bytes),
        }
    }
    dressed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_reads_are_reads(text in read()) {
        let text = harmless(&text);
        prop_assert_eq!(verdict(&text), Verdict::Read, "{}", text);
    }

    #[test]
    fn what_is_put_into_a_read_is_found(
        text in read(),
        at in any::<prop::sample::Index>(),
        call in prop::sample::select(CALLS),
    ) {
        let text = put(&text, at.index(1 << 20), call);
        prop_assert_ne!(verdict(&text), Verdict::Read, "{}", text);
    }

    #[test]
    fn a_lock_behind_a_read_is_found(
        text in read(),
        lock in prop::sample::select(vec!["FOR UPDATE", "for share", "FOR NO KEY UPDATE OF t NOWAIT", "FOR KEY SHARE", "FOR /**/ UPDATE"]),
    ) {
        let text = format!("{} {lock}", harmless(&text));
        prop_assert_ne!(verdict(&text), Verdict::Read, "{}", text);
    }

    /// At any token, not only where an expression may stand: the text may be no SQL at all then.
    #[test]
    fn what_is_put_anywhere_is_found(
        text in read(),
        at in any::<prop::sample::Index>(),
        what in prop::sample::select(vec![" write_fn() ", " FOR UPDATE ", " , nextval('s') ", "; DELETE FROM t;", " INTO z ", " ### "]),
    ) {
        let text = harmless(&text);
        let ends: Vec<_> = Lexer::new(text.as_bytes(), true).map(|token| token.end).collect();
        let (before, behind) = text.split_at(ends[at.index(ends.len())]);
        let text = format!("{before}{what}{behind}");
        // Behind a semicolon the rest is a text of its own, and no prefix hides what was put.
        prop_assert_ne!(verdict(&text), Verdict::Read, "{}", text);
    }

    #[test]
    fn spaces_comments_and_case_do_not_matter(
        text in read(),
        at in any::<prop::sample::Index>(),
        call in prop::sample::select(vec!["2", "write_fn()", "nextval('s')", "abs(1)"]),
        spaces in prop::collection::vec(any::<usize>(), 1..20),
    ) {
        let text = put(&text, at.index(1 << 20), call);
        prop_assert_eq!(verdict(&dressed(&text, &spaces)), verdict(&text), "{}", text);
    }

    #[test]
    fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200), conforming in any::<bool>()) {
        let _ = read_text(&text, Rules::safe(conforming), Policy::default(), &Schema::default());
    }

    /// Words of SQL in any order.
    #[test]
    fn no_row_of_words_panics(words in prop::collection::vec(prop::sample::select(vec![
        "SELECT", "FROM", "t", "(", ")", "[", "]", ",", ".", "*", "WITH", "AS", "x", "RECURSIVE", "1", "'a'", "::", "int",
        "JOIN", "ON", "USING", "WHERE", "GROUP", "BY", "GROUPING", "SETS", "ROLLUP", "UNION", "VALUES", "TABLE", "ONLY",
        "LATERAL", "ROWS", "TABLESAMPLE", "abs", "write_fn", "current_setting", "CAST", "EXPLAIN", "ANALYZE", "COPY", "TO",
        "STDOUT", "EXECUTE", "PREPARE", "DECLARE", "CURSOR", "FOR", "SET", "=", "OPERATOR", "+", "UESCAPE", "XMLELEMENT",
        "NAME", "CASE", "WHEN", "END", "IS", "NOT", "NULL", "BETWEEN", "AND", "EXCLUDE", "TIES", "SEARCH", "CYCLE", ";",
        "BEGIN", "READ", "ONLY", "INSERT", "INTO", "DELETE", "UPDATE",
    ]), 0..40)) {
        let text = words.join(" ");
        let verdict = verdict(&text);
        let has_call = text.contains("write_fn (");
        prop_assert!(!has_call || is_kept_from_standbys(&verdict), "{} {:?}", text, verdict);
    }
}
