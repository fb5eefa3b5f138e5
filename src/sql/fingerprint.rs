//! One text for all statements that differ only in their values.
//!
//! Literals and parameters become one mark each, lists of them shrink to one mark, comments and the
//! choice of space and of case in keywords disappear. What a statement does to its session must not
//! be read from this: literals matter to that, and are gone.

use super::lex::{Kind, Lexer, Token};

/// Stands for a value: no byte that a statement can hold outside a literal.
const VALUE: u8 = 1;
/// Stands for "and more of the same", behind an item of a list.
const MORE: &[u8] = b", ...";

/// Appends the normal form of a text to `out`. Two texts of the same normal form have the same
/// tokens but for values, and lists of values of other lengths.
pub fn normalise(text: &[u8], standard_conforming_strings: bool, out: &mut Vec<u8>) {
    let mut form = Form { out, open: Vec::new(), list: List::default(), before: Before::Start };
    for token in Lexer::new(text, standard_conforming_strings).filter(Token::is_significant) {
        form.add(token.kind, token.bytes(text));
    }
    form.end();
}

/// A normal form to be read by people: values are numbered as parameters are.
pub fn readable(normal: &[u8]) -> String {
    let mut out = Vec::with_capacity(normal.len());
    let mut number = 0;
    for &byte in normal {
        if byte == VALUE {
            number += 1;
            out.extend(format!("${number}").bytes());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What stands in front of the next token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Start,
    /// A value, or a parenthesis around values only.
    Item,
    Comma,
    /// IN, VALUES and what else a parenthesis may follow without being a call.
    ListWord,
    /// `(`, `[` or `.`: no space behind it.
    Tight,
    Other,
}

/// What is known of the innermost list of values.
#[derive(Clone, Copy, Default)]
struct List {
    /// Where its last item ends, if items and commas are all that came since.
    item_end: Option<usize>,
    /// That item was a parenthesis.
    of_groups: bool,
    /// It has been shortened.
    shortened: bool,
    /// Something else stands in it.
    mixed: bool,
}

/// An open parenthesis.
struct Open {
    start: usize,
    outer: List,
    /// It may be an item of a list: no function's name stands in front of it.
    is_item: bool,
}

struct Form<'a> {
    out: &'a mut Vec<u8>,
    open: Vec<Open>,
    list: List,
    before: Before,
}

/// Deeper parentheses are not looked into for lists.
const DEPTH: usize = 64;

impl Form<'_> {
    fn add(&mut self, kind: Kind, bytes: &[u8]) {
        match kind {
            Kind::Text
            | Kind::EscapeText
            | Kind::BitText
            | Kind::UnicodeText
            | Kind::DollarText
            | Kind::Number
            | Kind::Parameter
            // It may be a string: nothing of it may be shown.
            | Kind::Unterminated => self.value(),
            Kind::Comma => {
                self.out.push(b',');
                self.before = Before::Comma;
            }
            Kind::OpenParen => self.open(),
            Kind::CloseParen => self.close(),
            Kind::Word => self.word(bytes),
            Kind::Dot => self.tight(bytes, Before::Tight),
            Kind::OpenBracket => self.tight(bytes, Before::Tight),
            Kind::CloseBracket | Kind::Semicolon => self.tight(bytes, Before::Other),
            _ => self.other(bytes),
        }
    }

    fn space(&mut self) {
        if !matches!(self.before, Before::Start | Before::Tight) {
            self.out.push(b' ');
        }
    }

    fn value(&mut self) {
        self.space();
        let start = self.out.len();
        self.out.push(VALUE);
        self.item(start, false);
    }

    /// An item that begins at `start` is whole.
    fn item(&mut self, start: usize, is_group: bool) {
        let follows = self.list.item_end.filter(|_| self.list.of_groups == is_group);
        if let (Some(end), true) = (follows, self.is_behind_comma(start)) {
            self.out.truncate(end);
            if !self.list.shortened {
                self.out.extend_from_slice(MORE);
            }
            self.list.item_end = Some(self.out.len());
            self.list.shortened = true;
        } else {
            let end = Some(self.out.len());
            self.list = List { item_end: end, of_groups: is_group, shortened: false, ..self.list };
        }
        self.before = Before::Item;
    }

    /// Whether only a comma stands between the last item and `start`.
    fn is_behind_comma(&self, start: usize) -> bool {
        let between = self.list.item_end.and_then(|end| self.out.get(end..start));
        matches!(between, Some(b"," | b", "))
    }

    fn open(&mut self) {
        let is_item = !matches!(self.before, Before::Other | Before::Item);
        if is_item {
            self.space();
        }
        if self.open.len() < DEPTH {
            let (start, outer) = (self.out.len(), std::mem::take(&mut self.list));
            self.open.push(Open { start, outer, is_item });
        } else {
            self.list = List { mixed: true, ..List::default() };
        }
        self.out.push(b'(');
        self.before = Before::Tight;
    }

    fn close(&mut self) {
        self.out.push(b')');
        self.before = Before::Other;
        let Some(Open { start, outer, is_item }) = self.open.pop() else { return };
        let of_values = self.list.item_end.is_some() && !self.list.mixed;
        self.list = outer;
        if is_item && of_values {
            self.item(start, true);
        } else {
            self.mix();
        }
    }

    fn mix(&mut self) {
        self.list.mixed = true;
        self.list.item_end = None;
    }

    fn word(&mut self, bytes: &[u8]) {
        self.space();
        let start = self.out.len();
        self.out.extend(bytes.iter().map(u8::to_ascii_lowercase));
        self.mix();
        let lists = [&b"in"[..], b"values", b"any", b"all", b"some", b"row", b"array"];
        let word = self.out.get(start..).unwrap_or_default();
        self.before = if lists.contains(&word) { Before::ListWord } else { Before::Other };
    }

    fn tight(&mut self, bytes: &[u8], before: Before) {
        self.part_dots(bytes);
        self.out.extend_from_slice(bytes);
        self.mix();
        self.before = before;
    }

    /// Two dots are not one sign of two, and three no mark of a list.
    fn part_dots(&mut self, bytes: &[u8]) {
        if bytes.first() == Some(&b'.') && self.out.last() == Some(&b'.') {
            self.out.push(b' ');
        }
    }

    fn other(&mut self, bytes: &[u8]) {
        self.space();
        self.part_dots(bytes);
        self.out.extend_from_slice(bytes);
        self.mix();
        self.before = Before::Other;
    }

    /// A semicolon at the end says nothing.
    fn end(&mut self) {
        while self.out.last() == Some(&b';') {
            self.out.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> String {
        let mut out = Vec::new();
        normalise(text.as_bytes(), true, &mut out);
        String::from_utf8_lossy(&out).replace('\u{1}', "?")
    }

    #[test]
    fn values_and_the_way_of_writing_disappear() {
        for (text, expected) in [
            ("SELECT  abalance\nFROM t WHERE aid=17;", "select abalance from t where aid = ?"),
            (
                "select abalance from t /* why */ where aid = $1 -- so",
                "select abalance from t where aid = ?",
            ),
            ("SELECT 'it''s', E'\\n', B'1', $$x$$, \"Mixed\"", "select ?, ..., \"Mixed\""),
            ("SELECT a.b, f(x, 1) FROM s.t", "select a.b, f(x, ?) from s.t"),
            ("SELECT a::int, b[1]", "select a :: int, b[?]"),
            ("BEGIN; COMMIT;", "begin; commit"),
            ("ALTER ROLE a PASSWORD 'hunter2'", "alter role a password ?"),
            ("ALTER ROLE a PASSWORD 'hunter2", "alter role a password ?"),
            ("ALTER ROLE a PASSWORD $x$hunter2", "alter role a password ?"),
            ("a . . b", "a. .b"),
            ("a . .. b", "a. .. b"),
            ("1, ... b", "?, .. .b"),
            ("", ""),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    #[test]
    fn lists_of_values_shrink() {
        for (text, expected) in [
            ("x IN (1)", "x in (?)"),
            ("x IN (1, 2)", "x in (?, ...)"),
            ("x IN ($1,$2,  'c', 4.5)", "x in (?, ...)"),
            ("x IN (1, y, 2, 3)", "x in (?, y, ?, ...)"),
            ("VALUES (1, 'a')", "values (?, ...)"),
            ("VALUES (1, 'a'), (2, 'b'), (3, 'c')", "values (?, ...), ..."),
            ("VALUES (1, now()), (2, now())", "values (?, now()), (?, now())"),
            ("(a, b) IN ((1, 2), (3, 4))", "(a, b) in ((?, ...), ...)"),
            ("f(1), (2)", "f(?), (?)"),
            ("ARRAY[1,2,3]", "array[?, ...]"),
            ("f(1, 2, 3)", "f(?, ...)"),
            ("-1, -2", "- ?, - ?"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
    }

    #[test]
    fn people_read_numbered_values() {
        let mut out = Vec::new();
        normalise(b"UPDATE t SET a = 1 WHERE b IN (2, 3)", true, &mut out);
        assert_eq!(readable(&out), "update t set a = $1 where b in ($2, ...)");
    }

    proptest! {
        /// The normal form of a normal form is itself.
        #[test]
        fn normal_forms_stay(text in "[a-z0-9 '\"(),;.=$*/-]{0,60}") {
            let once = readable_of(text.as_bytes());
            prop_assume!(!once.contains("..."));
            prop_assert_eq!(readable_of(once.as_bytes()), once);
        }

        #[test]
        fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            normalise(&text, true, &mut out);
            // Each token gives at most itself and a space, or the mark of a list.
            prop_assert!(out.len() <= 6 * text.len() + 1);
        }

        /// Only values differ: the form does not.
        #[test]
        fn other_values_same_form(a in 0u32.., b in "[a-z]{0,8}", list in prop::collection::vec(0u32.., 2..9)) {
            let list: Vec<_> = list.iter().map(u32::to_string).collect();
            let text = format!("SELECT x FROM t WHERE a = {a} AND b = '{b}' AND c IN ({})", list.join(","));
            prop_assert_eq!(normal(&text), "select x from t where a = ? and b = ? and c in (?, ...)");
        }
    }

    fn readable_of(text: &[u8]) -> String {
        let mut out = Vec::new();
        normalise(text, true, &mut out);
        readable(&out)
    }
}
