//! The words behind which a statement uses a name: FROM, JOIN, INTO, TABLE and the like.
//!
//! Owns what each of them means where it stands, and where a list of relations ends. Reserved words are
//! believed everywhere but behind a dot or AS; others only where no name can stand. Never looks at the
//! name itself.

use super::command::Command;
use super::lex::{Kind, Token};
use super::place_state::{Declaration, Place};
use super::scan::Scan;
use super::scan_state::Language;
use super::scan_state::bit;

/// What a word says of the names behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placing {
    Nothing,
    From,
    Join,
    Using,
    As,
    With,
    Into,
    Set,
    View,
    Table,
    /// UPDATE or COPY: one relation.
    Update,
    /// TRUNCATE or LOCK: a list of them.
    Truncate,
    Returning,
    /// It ends a list of relations.
    Clause,
    /// It ends a list in PL/pgSQL.
    Branch,
    /// It ends a WITH list.
    Verb,
}

/// Of a word in lower case. It is asked for every word of a text: the first letter tells most apart.
#[inline]
fn of_word(word: &[u8]) -> Placing {
    let Some(first) = word.first() else { return Placing::Nothing };
    match first {
        b'a' if word == b"as" => Placing::As,
        b'c' if word == b"copy" => Placing::Update,
        b'd' if word == b"delete" => Placing::Verb,
        b'e' if word == b"except" => Placing::Clause,
        b'e' if word == b"else" => Placing::Branch,
        b'f' if word == b"from" => Placing::From,
        b'f' if matches!(word, b"for" | b"fetch") => Placing::Clause,
        b'g' if word == b"group" => Placing::Clause,
        b'h' if word == b"having" => Placing::Clause,
        b'i' if word == b"into" => Placing::Into,
        b'i' if word == b"insert" => Placing::Verb,
        b'i' if word == b"intersect" => Placing::Clause,
        b'j' if word == b"join" => Placing::Join,
        b'l' if word == b"limit" => Placing::Clause,
        b'l' if word == b"lock" => Placing::Truncate,
        b'l' if word == b"loop" => Placing::Branch,
        b'm' if word == b"merge" => Placing::Verb,
        b'o' if matches!(word, b"order" | b"offset") => Placing::Clause,
        b'r' if word == b"returning" => Placing::Returning,
        b's' if word == b"select" => Placing::Verb,
        b's' if word == b"set" => Placing::Set,
        b't' => of_word_with_t(word),
        b'u' if word == b"using" => Placing::Using,
        b'u' if word == b"update" => Placing::Update,
        b'u' if word == b"union" => Placing::Clause,
        b'v' if word == b"values" => Placing::Verb,
        b'v' if word == b"view" => Placing::View,
        b'w' if matches!(word, b"where" | b"window") => Placing::Clause,
        b'w' if word == b"with" => Placing::With,
        _ => Placing::Nothing,
    }
}

fn of_word_with_t(word: &[u8]) -> Placing {
    match word {
        b"table" => Placing::Table,
        b"truncate" => Placing::Truncate,
        b"then" => Placing::Branch,
        _ => Placing::Nothing,
    }
}

impl Scan<'_> {
    /// Takes a word that may say what the next name is.
    #[inline]
    pub(super) fn place_word(&mut self, word: &[u8]) {
        let meaning = of_word(word);
        if meaning != Placing::Nothing {
            self.place_keyword(meaning);
        }
    }

    fn place_keyword(&mut self, word: Placing) {
        let depth = self.boundary.depth();
        let before = self.recent(1);
        // A column, or a name for one.
        let is_label =
            before.is_some_and(|token| token.kind == Kind::Dot) || self.is(before, b"as");
        let casts = self.here.places.cast_groups & bit(depth) != 0;
        match word {
            Placing::From
            | Placing::Join
            | Placing::Using
            | Placing::Returning
            | Placing::Clause
                if is_label => {}
            Placing::From => self.place_from(),
            Placing::Join => self.here.places.await_name(Place::Source),
            Placing::Using => self.place_using(),
            Placing::As | Placing::Returning if casts => self.here.places.await_name(Place::Type),
            Placing::Returning | Placing::Clause => self.here.places.close_list(depth),
            Placing::With => self.here.places.declaration = Declaration::Begins,
            // ON CONFLICT DO UPDATE SET, WHEN MATCHED THEN UPDATE SET.
            Placing::Set if self.is(before, b"update") && self.follows_action() => {
                self.here.places.close_list(depth);
            }
            Placing::Branch if self.language == Language::PlPgSql => {
                self.here.places.close_list(depth);
            }
            Placing::Verb => self.here.places.with_lists &= !bit(depth),
            Placing::Into => {
                // SELECT INTO creates a relation.
                if self.is(before, b"insert") || self.is(before, b"merge") {
                    self.here.places.await_name(Place::Target);
                }
            }
            Placing::View => {
                if self.here.command == Command::Refresh {
                    self.here.places.await_name(Place::Target);
                }
            }
            Placing::Table if !self.is_part_of_name(before) => self.place_target(false),
            Placing::Update if self.begins_statement(before) => self.place_target(false),
            Placing::Truncate if self.begins_statement(before) => self.place_target(true),
            Placing::As
            | Placing::Set
            | Placing::Branch
            | Placing::Table
            | Placing::Update
            | Placing::Truncate
            | Placing::Nothing => {}
        }
    }

    /// A verb whose relation follows, or a list of them.
    fn place_target(&mut self, is_list: bool) {
        let depth = self.boundary.depth();
        self.here.places.with_lists &= !bit(depth);
        self.here.places.await_name(Place::Target);
        if is_list {
            self.here.places.open_list(depth);
        }
    }

    fn follows_action(&self) -> bool {
        self.is(self.recent(2), b"do") || self.is(self.recent(2), b"then")
    }

    fn place_from(&mut self) {
        let depth = self.boundary.depth();
        if self.here.places.syntax_groups & bit(depth) != 0 {
            self.here.places.syntax_groups &= !bit(depth);
            return;
        }
        // IS [NOT] DISTINCT FROM.
        let is_negated = self.is(self.recent(2), b"not") && self.is(self.recent(3), b"is");
        let compares =
            self.is(self.recent(1), b"distinct") && (is_negated || self.is(self.recent(2), b"is"));
        // COPY … FROM 'file', FOR VALUES FROM (…).
        let copies = self.here.command == Command::Copy && depth == 0;
        if compares || copies || self.is(self.recent(1), b"values") {
            return;
        }
        self.here.places.open_list(depth);
        self.here.places.await_name(Place::Source);
    }

    /// Of a DELETE or MERGE, of a join, or of a definition, where it names an access method.
    fn place_using(&mut self) {
        let is_outer = self.boundary.depth() == 0 || self.is(self.recent(1), b"exclude");
        let defines = match self.here.command {
            Command::Create => is_outer,
            Command::Alter => true,
            _ => false,
        };
        if !defines {
            self.here.places.await_name(Place::Using);
        }
    }

    /// CREATE TABLE and the like: TABLE is not a query.
    fn is_part_of_name(&self, before: Option<Token>) -> bool {
        before.is_some_and(|token| token.kind == Kind::Dot)
            || [
                &b"create"[..],
                b"temp",
                b"temporary",
                b"unlogged",
                b"foreign",
                b"alter",
                b"drop",
                b"into",
                b"truncate",
                b"lock",
                b"on",
            ]
            .iter()
            .any(|word| self.is(before, word))
    }

    /// Whether a statement may begin behind this token. `FOR UPDATE`, `DO UPDATE` and columns do not.
    fn begins_statement(&self, before: Option<Token>) -> bool {
        let Some(token) = before else { return true };
        match token.kind {
            Kind::OpenParen | Kind::CloseParen => true,
            Kind::Word if self.language == Language::PlPgSql => {
                ![&b"for"[..], b"key", b"do", b"on"].iter().any(|word| self.is(before, word))
            }
            Kind::Word => [&b"as"[..], b"explain", b"analyze", b"analyse", b"verbose"]
                .iter()
                .any(|word| self.is(before, word)),
            _ => false,
        }
    }
}
