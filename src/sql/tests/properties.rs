//! Properties that hold for any text. `inspect` is also what a fuzzer calls.

use proptest::prelude::*;

use super::facts;
use crate::sql::{Command, Lexer, statements};

/// Runs everything on a text and checks what must hold for any text.
fn inspect(text: &[u8], standard_conforming_strings: bool) {
    let mut at = 0;
    for token in Lexer::new(text, standard_conforming_strings) {
        assert_eq!(token.start, at, "a gap or an overlap");
        assert!(token.end > at, "an empty token");
        at = token.end;
    }
    assert_eq!(at, text.len());
    let facts = facts(text, standard_conforming_strings);
    let mut last = 0;
    let mut count = 0;
    for range in statements(text, standard_conforming_strings) {
        assert!(range.start >= last && range.end > range.start && range.end <= text.len());
        last = range.end;
        count += 1;
    }
    assert_eq!(facts.statements, count);
    assert_eq!(facts.first == Command::Empty, count == 0);
    assert!(!facts.broken || facts.taint);
}

/// Pieces of text that hold no semicolon of their own, whatever stands beside them.
fn piece() -> impl Strategy<Value = String> {
    let inner = "[a-z;'\"$ \\n-]{0,8}";
    prop_oneof![
        "[a-z_][a-z0-9_$]{0,6}",
        "[0-9]{1,4}",
        inner.prop_map(|s| format!("'{}'", s.replace('\'', "''"))),
        inner.prop_map(|s| format!("\"x{}\"", s.replace('"', "\"\""))),
        inner.prop_map(|s| format!("$q${}$q$", s.replace('$', ""))),
        inner.prop_map(|s| format!("E'{}\\''", s.replace('\'', "\\'"))),
        inner.prop_map(|s| format!("/* {} /* nested; */ */", s)),
        inner.prop_map(|s| format!("--{}\n", s.replace('\n', ""))),
        "[-+*/<>=~!@#%^&|?]{1,2}".prop_map(|s| s.replace("--", "-").replace("/*", "/")),
        Just("(a, b)".to_owned()),
        Just("'a'\n'b;'".to_owned()),
        Just("\u{e9};".replace(';', "")),
    ]
}

fn is_empty(pieces: &[String]) -> bool {
    pieces.iter().all(|piece| piece.starts_with("/*") || piece.starts_with("--"))
}

proptest! {
    #[test]
    fn any_bytes(text in proptest::collection::vec(any::<u8>(), 0..200), conforming: bool) {
        inspect(&text, conforming);
    }

    #[test]
    fn any_bytes_that_matter(
        text in "[aeEnNuUxX&'\"$\\\\/*;()\\[\\] \\n.:=1_-]{0,60}",
        conforming: bool,
    ) {
        inspect(text.as_bytes(), conforming);
    }

    #[test]
    fn any_words(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "SET", "LOCAL", "SESSION", "x", ".", "=", "TO", "DEFAULT", "SELECT", "set_config",
            "(", ")", ",", "'a'", "true", "false", "$1", ";", "CREATE", "FUNCTION", "OR",
            "REPLACE", "BEGIN", "ATOMIC", "CASE", "END", "TEMP", "TABLE", "INTO", "WITH", "AS",
            "EXPLAIN", "ANALYZE", "DECLARE", "HOLD", "FOR", "COPY", "PREPARE", "TRANSACTION",
            "ROLLBACK", "RESET", "ALL", "pg_temp", "\"q\"", "'", "/*", "*/", "--", "\n", "$$",
        ]), 0..40),
    ) {
        inspect(words.join(" ").as_bytes(), true);
        inspect(words.concat().as_bytes(), false);
    }

    #[test]
    fn the_count_is_the_constructed_one(
        parts in proptest::collection::vec(proptest::collection::vec(piece(), 0..6), 0..6),
    ) {
        let text = parts.iter().map(|pieces| pieces.join(" ")).collect::<Vec<_>>().join(";");
        inspect(text.as_bytes(), true);
        let wanted = parts.iter().filter(|pieces| !is_empty(pieces)).count();
        let facts = facts(text.as_bytes(), true);
        prop_assert_eq!(facts.statements as usize, wanted, "{}", text);
        prop_assert!(!facts.broken, "{}", text);
    }

    #[test]
    fn a_set_after_anything_whole_is_seen(
        pieces in proptest::collection::vec(piece(), 0..6), trivia in "(/\\*;\\*/|--x\n| ){0,3}",
    ) {
        let text = format!("SELECT {} ;{trivia}SET myapp.x = 1", pieces.join(" "));
        let facts = facts(text.as_bytes(), true);
        prop_assert_eq!(facts.statements, 2);
        let names = match facts.settings {
            crate::sql::Settings::Names(names) => names,
            other => return Err(TestCaseError::fail(format!("{other:?} {text}"))),
        };
        prop_assert!(names.iter().any(|name| &**name == "myapp.x"));
    }
}

/// A text whose cost grew with its square would take minutes, not a fraction of a second: each
/// token is counted once, and none is looked at a second time beyond its neighbour.
#[test]
fn a_megabyte_of_anything_takes_linear_time() {
    for unit in [
        "(",
        ")",
        "+",
        "-+",
        "@+",
        "+-*",
        "$",
        "$a",
        "$a$b",
        "$$ $",
        "'",
        "''",
        "'a'\n",
        "' ",
        "'\n--\n",
        "/*",
        "/",
        "*/",
        "/*/",
        "--\n",
        "\"",
        "E'\\",
        "U&",
        "1e",
        "1_",
        "0x",
        "1.",
        "a.",
        "f(",
        "set_config(",
        "WITH a(",
        ";",
        "(;",
        "BEGIN ATOMIC ",
        "CASE ",
        "\\",
        "a\u{e9}",
        ",",
        "::",
        "SET x=1;",
        "set_config('x',y,false),",
    ] {
        inspect(unit.repeat((1 << 20) / unit.len()).as_bytes(), true);
        let text = unit.repeat((1 << 14) / unit.len());
        for prefix in ["CREATE FUNCTION f() BEGIN ATOMIC ", "$a", "$aaa$", "SELECT ", "EXPLAIN ("] {
            inspect(format!("{prefix}{text}").as_bytes(), true);
            inspect(format!("{prefix}{text}").as_bytes(), false);
        }
    }
    let names: String = (0..80_000).map(|n| format!("SET a{n}=1;")).collect();
    inspect(names.as_bytes(), true);
    inspect(names.replace("SET ", "RESET ").replace("=1", "").as_bytes(), true);
    // One long tag that almost matches, again and again.
    let tag = format!("${}", "a".repeat(1 << 19));
    inspect(format!("{tag}${tag}b{tag}").as_bytes(), true);
}
