//! What a text does to its transaction and to the server, in the roughest outline.
//!
//! Errs on the side of more: a text that is said to write may turn out to read.

use super::block::{Block, block_of};
use super::boundary::statements;
use super::lex::{Kind, Lexer, Token};
use super::rules::Rules;
use super::words::is_word;

/// What a text does, in outline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// It may change what others see once its transaction is committed, or send them something.
    pub writes: bool,
    /// It may commit a transaction block.
    pub commits: bool,
    /// What the last statement that begins or ends a transaction block leaves.
    pub block: Option<Block>,
    /// It may set something, for the session or for the transaction.
    pub sets: bool,
    /// It is a COPY … TO, perhaps among others.
    pub copies_out: bool,
    /// It does not run in a transaction block (VACUUM, CREATE DATABASE and the like).
    pub is_alone: bool,
    /// It may change by which [`Rules`] the texts behind it are read.
    pub changes_rules: bool,
}

/// First words of statements that only read, unless one of [`WRITING`] stands in them.
const READING: &[&[u8]] = &[
    b"select",
    b"with",
    b"values",
    b"table",
    b"show",
    b"fetch",
    b"move",
    b"close",
    b"begin",
    b"start",
    b"copy",
    b"set",
    b"reset",
    b"savepoint",
    b"release",
    b"rollback",
    b"abort",
    b"discard",
];

/// Words that make any statement one that may write.
const WRITING: &[&[u8]] = &[
    b"insert",
    b"update",
    b"delete",
    b"merge",
    b"into",
    b"nextval",
    b"setval",
    b"pg_notify",
    b"pg_logical_emit_message",
    b"txid_current",
    b"pg_current_xact_id",
];

/// Values of date and time types that mean the moment in which they are read (manual, "Special
/// Values").
const MOMENTS: &[&[u8]] = &[b"now", b"today", b"tomorrow", b"yesterday"];

/// Reads a text's outline.
pub fn outline(text: &[u8], rules: Rules) -> Outline {
    let mut outline = Outline::default();
    for place in statements(text, rules.are_conforming()) {
        let own = text.get(place).unwrap_or_default();
        let mut tokens = Lexer::new(own, rules.are_conforming()).filter(Token::is_significant);
        let Some(first) = tokens.find(|token| token.kind != Kind::OpenParen) else { continue };
        outline.begin(first.bytes(own));
        outline.block = block_of(own, rules).or(outline.block);
        let (mut transaction, mut copies_out, mut depth) = (false, false, 0_u32);
        let mut before: Option<Token> = None;
        for token in tokens {
            let word = token.bytes(own);
            if before.is_none() {
                outline.is_alone |= is_alone(first.bytes(own), word);
            }
            match token.kind {
                Kind::OpenParen => {
                    depth = depth.saturating_add(1);
                    outline.writes |= before.is_some_and(|name| may_be_own_function(name, own));
                }
                Kind::CloseParen => depth = depth.saturating_sub(1),
                Kind::Word => {
                    transaction |= is_word(word, b"transaction");
                    copies_out |= depth == 0 && is_word(word, b"to");
                }
                _ => {}
            }
            outline.token(token, word);
            before = Some(token);
        }
        let copies = is_word(first.bytes(own), b"copy");
        outline.writes |= copies && !copies_out;
        outline.copies_out |= copies && copies_out;
        // Also PREPARE TRANSACTION.
        outline.commits |= transaction && is_word(first.bytes(own), b"prepare");
    }
    outline.changes_rules &= outline.sets;
    outline
}

/// Whether a statement that begins with these words does not run in a transaction block.
fn is_alone(first: &[u8], second: &[u8]) -> bool {
    let is = |word: &[u8], list: &[&[u8]]| list.iter().any(|known| is_word(word, known));
    is(first, &[b"vacuum", b"reindex", b"cluster"])
        || (is(first, &[b"create", b"drop", b"alter"])
            && is(
                second,
                &[b"database", b"tablespace", b"index", b"unique", b"subscription", b"system"],
            ))
}

impl Outline {
    fn begin(&mut self, first: &[u8]) {
        let is = |word: &&[u8]| is_word(first, word);
        self.writes |= !READING.iter().any(is);
        self.commits |= is_word(first, b"commit") || is_word(first, b"end");
        self.sets |= is_word(first, b"set") || is_word(first, b"reset");
        if is_word(first, b"discard") || is_word(first, b"do") || is_word(first, b"call") {
            self.sets = true;
            self.changes_rules = true;
        }
    }

    fn token(&mut self, token: Token, bytes: &[u8]) {
        match token.kind {
            Kind::Word | Kind::QuotedName => {
                let inner = bytes.strip_prefix(b"\"").and_then(|b| b.strip_suffix(b"\""));
                let word = inner.unwrap_or(bytes);
                self.writes |= WRITING.iter().any(|w| is_word(word, w)) || starts(word, b"lo_");
                self.changes_rules |= is_word(word, b"names") || is_word(word, b"all");
                if is_word(word, b"set_config") {
                    self.sets = true;
                    self.changes_rules = true;
                }
                self.changes_rules |= ends(word, b"conforming_strings") || ends(word, b"encoding");
            }
            Kind::UnicodeName => (self.writes, self.sets, self.changes_rules) = (true, true, true),
            _ => {}
        }
    }
}

/// Whether what stands in front of a parenthesis may be a function that is not PostgreSQL's own.
fn may_be_own_function(name: Token, text: &[u8]) -> bool {
    match name.kind {
        Kind::Word => {
            let word = name.bytes(text).to_ascii_lowercase();
            !super::calls::is_keyword(&word) && !super::is_harmless_builtin(&word)
        }
        Kind::QuotedName | Kind::UnicodeName => true,
        _ => false,
    }
}

/// Whether a string of the text is read as the present moment when the text is parsed.
pub fn names_moment(text: &[u8], rules: Rules) -> bool {
    Lexer::new(text, rules.are_conforming()).any(|token| {
        let is_text = matches!(token.kind, Kind::Text | Kind::EscapeText | Kind::DollarText);
        is_text && MOMENTS.iter().any(|moment| contains(token.bytes(text), moment))
    })
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

fn starts(word: &[u8], with: &[u8]) -> bool {
    word.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

fn ends(word: &[u8], with: &[u8]) -> bool {
    let from = word.len().checked_sub(with.len());
    from.and_then(|from| word.get(from..)).is_some_and(|end| end.eq_ignore_ascii_case(with))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Outline {
        outline(text.as_bytes(), Rules::STANDARD)
    }

    #[test]
    fn reads_only_read() {
        for text in [
            "SELECT 1",
            "(SELECT 1)",
            "WITH a AS (SELECT 1) TABLE a",
            "VALUES (1)",
            "SHOW x",
            "BEGIN",
            "COPY t TO STDOUT",
            "COPY (SELECT a FROM t) TO STDOUT",
            "SELECT 'insert'",
            "FETCH 1 FROM c",
            "SELECT 1; SELECT 2",
            "",
            "ROLLBACK",
            "SELECT count(*) FROM t WHERE a IN (1) AND EXISTS (SELECT 1) AND upper(b) = 'x'",
        ] {
            assert!(!of(text).writes, "{text}");
        }
        for text in [
            "INSERT INTO t VALUES (1)",
            "WITH a AS (DELETE FROM t RETURNING 1) SELECT 1",
            "SELECT 1 INTO t",
            "SELECT 1; UPDATE t SET a = 1",
            "SELECT nextval('s')",
            "SELECT \"pg_notify\"('a', 'b')",
            "CREATE TABLE t ()",
            "COPY t FROM STDIN",
            "COPY t (a) FROM STDIN",
            "COPY (DELETE FROM t RETURNING a) TO STDOUT",
            "EXECUTE a",
            "SELECT lo_create(0)",
            "DO ''",
            "SELECT my_function(1)",
            "SELECT \"f\"()",
        ] {
            assert!(of(text).writes, "{text}");
        }
    }

    #[test]
    fn strings_that_mean_the_moment() {
        for text in
            ["SELECT 'now'::timestamptz", "SELECT E'Today'::date", "SELECT 'allballs tomorrow'"]
        {
            assert!(names_moment(text.as_bytes(), Rules::STANDARD), "{text}");
        }
        assert!(!names_moment(b"SELECT now(), 'x', today", Rules::STANDARD));
    }

    #[test]
    fn what_commits() {
        for text in ["COMMIT", "END", "SELECT 1; commit", "PREPARE TRANSACTION 'x'"] {
            assert!(of(text).commits, "{text}");
        }
        for text in
            ["BEGIN", "ROLLBACK", "SELECT CASE WHEN true THEN 1 END", "PREPARE a AS SELECT 1"]
        {
            assert!(!of(text).commits, "{text}");
        }
    }

    #[test]
    fn what_sets_and_what_changes_the_rules() {
        for text in [
            "SET LOCAL standard_conforming_strings = off",
            "SET client_encoding TO 'SJIS'",
            "SET NAMES 'SJIS'",
            "SELECT set_config('client' || '_encoding', 'SJIS', true)",
            "RESET ALL",
            "DISCARD ALL",
            "DO ''",
            "SET U&\"client\\005fencoding\" = 'SJIS'",
            "RESET client_encoding",
        ] {
            assert!(of(text).sets && of(text).changes_rules, "{text}");
        }
        for text in ["SET work_mem = '1MB'", "SET LOCAL app.x = 1", "SET TRANSACTION READ ONLY"] {
            assert!(of(text).sets && !of(text).changes_rules, "{text}");
        }
        assert!(!of("SELECT encoding, names FROM t").sets);
        assert!(!of("SELECT encoding, names FROM t").changes_rules);
    }
}
