//! The statements that most clients send most of the time, told at a glance.

/// Whether a text certainly changes nothing of the session: one SELECT without INTO, UPDATE or
/// DELETE that calls nothing, or the plain beginning or end of a transaction.
///
/// Without an opening parenthesis there is no call, and without a semicolon there is no second
/// statement. What it does not recognise is for [`super::facts`].
pub fn is_plain(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end();
    let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let is = |keyword: &[u8]| word.eq_ignore_ascii_case(keyword);
    if rest.is_empty() {
        return is(b"begin") || is(b"commit") || is(b"end") || is(b"rollback");
    }
    match word.len() {
        6 if is(b"select") => is_simple(rest) && !mentions_into(rest),
        6 if is(b"update") || is(b"delete") => is_simple(rest),
        _ => false,
    }
}

fn is_simple(rest: &[u8]) -> bool {
    rest.first().is_some_and(u8::is_ascii_whitespace) && memchr::memchr2(b'(', b';', rest).is_none()
}

/// Any "into", inside a name or a string too: only certainty counts.
fn mentions_into(rest: &[u8]) -> bool {
    memchr::memchr2_iter(b'i', b'I', rest)
        .filter_map(|at| rest.get(at..at.saturating_add(4)))
        .any(|found| found.eq_ignore_ascii_case(b"into"))
}

#[cfg(test)]
mod tests {
    use super::is_plain;
    use crate::sql::facts;
    use proptest::prelude::*;

    #[test]
    fn common_statements_are_plain() {
        for text in [
            "SELECT abalance FROM pgbench_accounts WHERE aid = 1;",
            "UPDATE t SET a = a + 1 WHERE b = 'x'",
            " delete from t ",
            "BEGIN",
            "end;",
            "COMMIT ;",
        ] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_may_do_more_is_not_plain() {
        for text in [
            "SELECT f(1)",
            "SELECT 1; SET x = 1",
            "SELECT 1 INTO TEMP t",
            "SELECT 1 intO t",
            "SET x = 1",
            "BEGIN; SET x = 1",
            "begin work; LISTEN a",
            "LISTEN a",
            "/* */ SELECT 1",
            "",
        ] {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_statements_are_harmless(text in "(SELECT|update|Delete|BEGIN) ?[a-z0-9 '\"$=.,;()*/-]{0,40}") {
            if is_plain(text.as_bytes()) {
                let facts = facts(text.as_bytes(), true);
                // An unfinished string or comment is PostgreSQL's to refuse.
                prop_assert!(facts.broken || facts.is_harmless(), "{:?}", facts);
            }
        }
    }
}
