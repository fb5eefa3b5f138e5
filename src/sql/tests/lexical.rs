//! Tokens, and where statements end.

use super::facts;
use crate::sql::Kind::{self, *};
use crate::sql::{Lexer, statements};

fn kinds(text: &str, standard_conforming_strings: bool) -> Vec<(Kind, &str)> {
    Lexer::new(text.as_bytes(), standard_conforming_strings)
        .filter(|token| token.is_significant())
        .map(|token| (token.kind, &text[token.start..token.end]))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of examples")]
fn each_kind_of_token() {
    let table: &[(&str, &[(Kind, &str)])] = &[
        ("a_1$ é", &[(Word, "a_1$"), (Word, "é")]),
        ("'a''b'", &[(Text, "'a''b'")]),
        (r"'a\'b", &[(Text, r"'a\'"), (Word, "b")]),
        (r"E'a\'b' e'\\'", &[(EscapeText, r"E'a\'b'"), (EscapeText, r"e'\\'")]),
        ("N'x' b'0' X'f'", &[(Text, "N'x'"), (BitText, "b'0'"), (BitText, "X'f'")]),
        ("B'0''1'", &[(BitText, "B'0'"), (Text, "'1'")]),
        (r"U&'\' u&'x'", &[(UnicodeText, r"U&'\'"), (UnicodeText, "u&'x'")]),
        (
            "U&\"a\"\"b\" UESCAPE '!'",
            &[(UnicodeName, "U&\"a\"\"b\""), (Word, "UESCAPE"), (Text, "'!'")],
        ),
        ("U& x", &[(Word, "U"), (Operator, "&"), (Word, "x")]),
        ("aE'x'", &[(Word, "aE"), (Text, "'x'")]),
        ("\"a\"\"b;\"", &[(QuotedName, "\"a\"\"b;\"")]),
        ("'a'\n'b'", &[(Text, "'a'\n'b'")]),
        ("'a' -- c\n\t-- d 'x'\n 'b'", &[(Text, "'a' -- c\n\t-- d 'x'\n 'b'")]),
        ("'a' 'b'", &[(Text, "'a'"), (Text, "'b'")]),
        ("'a' /* \n */ 'b'", &[(Text, "'a'"), (Text, "'b'")]),
        ("'a' -- c 'b'", &[(Text, "'a'")]),
        ("E'a'\n'\\'b'", &[(EscapeText, "E'a'\n'\\'b'")]),
        ("$$a'b$$", &[(DollarText, "$$a'b$$")]),
        ("$a$ $b$ $ $a $a$", &[(DollarText, "$a$ $b$ $ $a $a$")]),
        ("$A$ $a$ $A$", &[(DollarText, "$A$ $a$ $A$")]),
        ("x$a$ $a$y$a$", &[(Word, "x$a$"), (DollarText, "$a$y$a$")]),
        ("$12 $1a", &[(Parameter, "$12"), (Parameter, "$1"), (Word, "a")]),
        ("$ $a+", &[(Other, "$"), (Other, "$"), (Word, "a"), (Operator, "+")]),
        (
            "1 1.5 .5 1. 1e5 1.5E-3 1e",
            &[
                (Number, "1"),
                (Number, "1.5"),
                (Number, ".5"),
                (Number, "1."),
                (Number, "1e5"),
                (Number, "1.5E-3"),
                (Number, "1"),
                (Word, "e"),
            ],
        ),
        ("1e'a\\'b'", &[(Number, "1"), (EscapeText, "e'a\\'b'")]),
        (
            "0xFf 0o17 0b01 1_000 0x 1__0",
            &[
                (Number, "0xFf"),
                (Number, "0o17"),
                (Number, "0b01"),
                (Number, "1_000"),
                (Number, "0"),
                (Word, "x"),
                (Number, "1"),
                (Word, "__0"),
            ],
        ),
        ("1..10", &[(Number, "1"), (DotDot, ".."), (Number, "10")]),
        (
            "a.b::c:=:d",
            &[
                (Word, "a"),
                (Dot, "."),
                (Word, "b"),
                (Cast, "::"),
                (Word, "c"),
                (Assign, ":="),
                (Colon, ":"),
                (Word, "d"),
            ],
        ),
        ("a->>'b'", &[(Word, "a"), (Operator, "->>"), (Text, "'b'")]),
        ("1*-2", &[(Number, "1"), (Operator, "*"), (Operator, "-"), (Number, "2")]),
        (
            "@-1 +- 2",
            &[(Operator, "@-"), (Number, "1"), (Operator, "+"), (Operator, "-"), (Number, "2")],
        ),
        (
            "<=+-+1",
            &[(Operator, "<="), (Operator, "+"), (Operator, "-"), (Operator, "+"), (Number, "1")],
        ),
        ("a=--x\nb", &[(Word, "a"), (Operator, "="), (Word, "b")]),
        ("a*/*x*/b", &[(Word, "a"), (Operator, "*"), (Word, "b")]),
        ("/* /* */ */a/*/**/*/b/***/c", &[(Word, "a"), (Word, "b"), (Word, "c")]),
        ("/*/ */a", &[(Word, "a")]),
        ("-- x\ra", &[(Word, "a")]),
        (
            "[1,2](;)",
            &[
                (OpenBracket, "["),
                (Number, "1"),
                (Comma, ","),
                (Number, "2"),
                (CloseBracket, "]"),
                (OpenParen, "("),
                (Semicolon, ";"),
                (CloseParen, ")"),
            ],
        ),
        ("a /* b", &[(Word, "a"), (Unterminated, "/* b")]),
        ("a 'b''", &[(Word, "a"), (Unterminated, "'b''")]),
        ("E'b\\", &[(Unterminated, "E'b\\")]),
        ("\"b", &[(Unterminated, "\"b")]),
        ("$a$ $a", &[(Unterminated, "$a$ $a")]),
    ];
    for (text, wanted) in table {
        assert_eq!(kinds(text, true), *wanted, "{text}");
    }
}

#[test]
fn backslashes_escape_when_strings_do_not_conform() {
    assert_eq!(kinds(r"'a\'b' N'\''", false), [(Text, r"'a\'b'"), (Text, r"N'\''")]);
    assert_eq!(facts(br"SELECT 'a\'; SET x = 1; --'", true).statements, 2);
    assert_eq!(facts(br"SELECT 'a\'; SET x = 1; --'", false).statements, 1);
}

#[test]
fn text_need_not_be_utf8() {
    let text = b"SELECT '\xff;\xfe' AS \xe9t\xe9;\x80";
    assert_eq!(facts(text, true).statements, 2);
    assert_eq!(facts(b"SELECT \xe9(1)", true).statements, 1);
}

#[test]
fn statements_end_at_semicolons() {
    let table: &[(&str, &[&str])] = &[
        ("", &[]),
        (" ; -- x\n;", &[]),
        ("a", &["a"]),
        (" a b /* x */ ; ; -- y\n c ", &["a b", "c"]),
        ("a ';' \";\" $$;$$ /*;*/ b; c", &["a ';' \";\" $$;$$ /*;*/ b", "c"]),
        (
            "CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b); c",
            &["CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b)", "c"],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; c",
            &["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", "c"],
        ),
        (
            "create or replace procedure p() begin atomic \
             select case when a then 1 end, (case when b then 2 end); end; c",
            &[
                "create or replace procedure p() begin atomic \
                 select case when a then 1 end, (case when b then 2 end); end",
                "c",
            ],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end, x.case; END; c",
            &["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end, x.case; END", "c"],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 end, 2 case; SELECT 3 end; END; c",
            &[
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 end, 2 case; SELECT 3 end; END",
                "c",
            ],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT begin atomic; END; c",
            &["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT begin atomic; END", "c"],
        ),
        (
            "CREATE FUNCTION f() BEGIN ATOMIC CREATE PROCEDURE g() BEGIN ATOMIC a; END; END; c",
            &[
                "CREATE FUNCTION f() BEGIN ATOMIC CREATE PROCEDURE g() BEGIN ATOMIC a; END; END",
                "c",
            ],
        ),
        (
            "CREATE FUNCTION f() BEGIN ATOMIC END; CREATE FUNCTION g() BEGIN ATOMIC ; END; c",
            &[
                "CREATE FUNCTION f() BEGIN ATOMIC END",
                "CREATE FUNCTION g() BEGIN ATOMIC ; END",
                "c",
            ],
        ),
        ("CREATE FUNCTION begin() RETURN 1; c", &["CREATE FUNCTION begin() RETURN 1", "c"]),
        ("BEGIN; SELECT 1; END", &["BEGIN", "SELECT 1", "END"]),
        ("BEGIN ATOMIC; c", &["BEGIN ATOMIC", "c"]),
        ("CREATE TABLE t (a int); c", &["CREATE TABLE t (a int)", "c"]),
    ];
    for (text, wanted) in table {
        let got: Vec<&str> = statements(text.as_bytes(), true).map(|range| &text[range]).collect();
        assert_eq!(got, *wanted, "{text}");
        assert_eq!(facts(text.as_bytes(), true).statements as usize, wanted.len(), "{text}");
    }
}

#[test]
fn a_statement_hidden_in_what_looks_like_a_body_is_seen() {
    let text = b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 END; SET x = 1";
    let facts = facts(text, true);
    assert!(facts.broken && facts.taint);
    assert_eq!(facts.settings, crate::sql::Settings::Unknown);
}

#[test]
fn broken_text_is_not_trusted() {
    for text in ["SELECT 'a", "SELECT (1", "/* x", "\"a", "$$a", "E'\\"] {
        let facts = facts(text.as_bytes(), true);
        assert!(facts.broken && facts.taint, "{text}");
    }
}
