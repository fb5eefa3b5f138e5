//! Texts that nobody wrote: pieces strung together, and statements with something changed.

/// Random numbers (splitmix64): the same seed, the same texts.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// What the rules of the scanner turn on.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "'", "''", "\"", "\"\"", "\\", "\\'", "\\\\", "$", "$$", "$a$", "$A$", "$1", "$12", "$é$", "$_1$", "E'", "e'", "N'", "n'",
    "B'", "b'0'", "X'", "x'f'", "U&'", "u&'", "U&\"", "u&\"x\"", "U&", "UESCAPE", "--", "--\n", "-- c\r", "/*", "*/", "/**/",
    "/* ' */", "/*/*", "*/*/", ";", ";;", "(", ")", "[", "]", ",", ".", "..", "...", ":", "::", ":=", "=>", "->>", "<>", "!=", "<=",
    "+", "-", "+-", "-+", "*-", "@-", "@", "~", "!", "#", "^", "&", "|", "`", "?", "%", "*", "/", "<", ">", "=", "0", "1", "0x", "0xF",
    "0b1", "0o7", "1_0", "1e", "1e5", "1E-3", "1.", ".5", "1.5", "_", "_1", "a", "A1", "é", "ß", "İ", "\u{a0}", "\u{3000}", "😀", "\n", "\r",
    "\t", "\x0b", "\x0c", " ", "  ", "\x01", "\x7f", "{", "}", "select", "SELECT", "BEGIN", "begin", "ATOMIC", "atomic", "END", "end",
    "CASE", "case", "WHEN", "THEN", "create", "CREATE", "OR", "REPLACE", "FUNCTION", "procedure", "f()", "returns int", "LANGUAGE sql", "as",
    "AS", "return 1", "RULE", "DO", "ALSO", "'a'", "'a'\n'b'", "'a' -- c\n 'b'", "'a' /* \n */ 'b'", "E'\\''", "E'\\x41'", "E'\\u0041'",
    "B'01'\n'1'", "IN (1, 2)", "VALUES (1, 2), (3, 4)", "array[1, 2]", "row(1)", "$q$ ; $q$", "\"a;b\"", "from t", "where a = 1", "null",
];

/// Whole functions, which tests have few of.
const BODIES: &[&str] = &[
    "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a; SELECT CASE WHEN a > 1 THEN 2 ELSE 3 END; END",
    "create or replace procedure p() begin atomic insert into t values (1, 'a'), (2, 'b'); end",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; SELECT t.case FROM t; SELECT (CASE 1 WHEN 1 THEN 2 END); END",
    "CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2)",
    "CREATE FUNCTION f() RETURNS int RETURN 1",
    "CREATE SCHEMA s CREATE TABLE t (a int) CREATE VIEW v AS SELECT 1",
    "begin; commit; END",
    "SELECT U&'\\0441\\+000061', U&\"d!0061\" UESCAPE '!', N'x', b'1', X'1F', E'a\\'b', $f$ $g$ ' $g$ $f$",
];

/// Texts longer than this are cut to a part of it before they are changed.
const LONGEST: usize = 600;

/// A text made of `corpus`, which is not empty.
pub fn text(random: &mut Random, corpus: &[String]) -> String {
    if random.below(5) == 0 {
        let count = 1 + random.below(12);
        return (0..count).map(|_| piece(random)).collect();
    }
    let mut text = base(random, corpus);
    if random.below(4) == 0 {
        // A script: most of these the grammar takes.
        for _ in 0..1 + random.below(3) {
            text.push_str(random.one(&[";", ";\n", "; -- c\n", " ;; ", "/* ; */;"]));
            text.push_str(&base(random, corpus));
        }
        if random.below(3) == 0 {
            return text;
        }
    }
    for _ in 0..1 + random.below(4) {
        change(random, &mut text, corpus);
    }
    text
}

fn piece(random: &mut Random) -> &'static str {
    random.one(PIECES)
}

fn base(random: &mut Random, corpus: &[String]) -> String {
    if random.below(12) == 0 {
        return random.one(BODIES).to_owned();
    }
    let text = &corpus[random.below(corpus.len())];
    if text.len() <= LONGEST {
        return text.clone();
    }
    let from = text.floor_char_boundary(random.below(text.len()));
    let to = text.floor_char_boundary((from + LONGEST).min(text.len()));
    text[from..to].to_owned()
}

/// A range of at most `longest` bytes, on the edges of characters.
fn range(random: &mut Random, text: &str, longest: usize) -> std::ops::Range<usize> {
    let from = text.floor_char_boundary(random.below(text.len() + 1));
    let to = text.ceil_char_boundary((from + random.below(longest + 1)).min(text.len()));
    from..to
}

fn change(random: &mut Random, text: &mut String, corpus: &[String]) {
    let here = range(random, text, 8);
    match random.below(9) {
        0 | 1 => text.insert_str(here.start, piece(random)),
        2 => text.replace_range(here, ""),
        3 => text.replace_range(here, piece(random)),
        4 => {
            let again = text[here.clone()].to_owned();
            text.insert_str(here.end, &again);
        }
        5 => {
            let other = base(random, corpus);
            let part = range(random, &other, 60);
            text.insert_str(here.start, &other[part]);
        }
        6 => {
            // Another way to part two tokens.
            if let Some(at) = text[here.start..].find([' ', '\n']) {
                let blank = random.one(&[
                    "\n",
                    "\t",
                    "\r",
                    "\x0b",
                    "/**/",
                    "/* ; ' */",
                    "-- '\n",
                    "--\r",
                    "",
                    " \n ",
                ]);
                text.replace_range(here.start + at..here.start + at + 1, blank);
            }
        }
        7 => {
            let there = range(random, text, 40);
            let turned: String = text[there.clone()]
                .chars()
                .map(|c| {
                    if c.is_ascii_uppercase() {
                        c.to_ascii_lowercase()
                    } else {
                        c.to_ascii_uppercase()
                    }
                })
                .collect();
            text.replace_range(there, &turned);
        }
        _ => {
            // At a quote, a comment or the like, where one byte decides.
            if let Some(at) =
                text[here.start..].find(['\'', '"', '$', '\\', '-', '/', ';', '.', '&'])
            {
                let at = here.start + at;
                if random.below(2) == 0 {
                    text.insert_str(at + random.below(2), piece(random));
                } else {
                    text.replace_range(at..at + 1, piece(random));
                }
            }
        }
    }
}
