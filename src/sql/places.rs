//! Where a statement uses a name as a relation, a type or an operator.
//!
//! Owns the positions of names: where one begins and where it ends. Which words one follows is
//! `place_words.rs`; what becomes of it is `uses.rs`; calls are in `calls.rs`. Never parses: what is
//! taken for a use of a name by mistake only makes the statement opaque. Keeps a bit for each depth of
//! parentheses and a few tokens, whatever the text is.

use super::builtins;
use super::calls::is_name;
use super::command::Command;
use super::lex::{Kind, Token};
use super::place_state::{DEPTH_MAX, Declaration, NAMES_MAX, Part, Place, State};
use super::scan::Scan;
use super::scan_state::Language;
use super::scan_state::bit;
use super::vocabulary::Use;
use super::words::Stored;

impl Scan<'_> {
    /// Takes the next token, before it is remembered. `word` is what it says: a name as it is stored,
    /// or an operator's symbol.
    #[inline]
    pub(super) fn place(&mut self, token: Token, word: &[u8]) {
        if !self.here.places.is_idle() && self.continue_place(token, word) {
            return;
        }
        match token.kind {
            Kind::Word => self.place_word(word),
            Kind::Comma => self.place_comma(),
            Kind::OpenParen => self.place_group(),
            Kind::Cast => self.here.places.await_name(Place::Type),
            Kind::Operator => {
                let is_known =
                    builtins::is_operator(word) || self.vocabulary.has(word, Use::Operator);
                self.here.places.is_unknown |= !is_known;
            }
            Kind::Text | Kind::DollarText | Kind::EscapeText | Kind::UnicodeText => {
                self.place_literal();
            }
            Kind::UnicodeName => self.here.places.is_unknown = true,
            _ => {}
        }
    }

    /// Where something is awaited; true if the token belongs to it.
    fn continue_place(&mut self, token: Token, word: &[u8]) -> bool {
        if !matches!(self.here.places.declaration, Declaration::None) {
            self.declare_name(token, word);
        }
        match std::mem::take(&mut self.here.places.state) {
            State::Idle => false,
            State::Awaits(place) => self.begin_name(place, token, word),
            State::Named(place, part) => self.end_name(place, part, token),
            State::Dotted(place, schema) => {
                let is_part = is_name(&token);
                if is_part {
                    let part = Part { name: token, schema: Some(schema) };
                    self.here.places.state = State::Named(place, part);
                }
                is_part
            }
        }
    }

    /// Where a name is awaited; true if the token belongs to it.
    fn begin_name(&mut self, place: Place, token: Token, word: &[u8]) -> bool {
        let depth = self.boundary.depth();
        match token.kind {
            Kind::Word if self.is_before_name(place, word) => {
                if place == Place::Using {
                    self.here.places.open_list(depth);
                    self.here.places.await_name(Place::Source);
                } else {
                    self.here.places.await_name(place);
                }
                true
            }
            Kind::Word if place != Place::Type && self.begins_query(word) => {
                self.here.places.close_list(depth);
                if place == Place::UsingGroup {
                    self.here.places.open_list(depth.saturating_sub(1));
                }
                false
            }
            Kind::Word | Kind::QuotedName => {
                let place = if place == Place::Using {
                    self.here.places.open_list(depth);
                    Place::Source
                } else {
                    place
                };
                let part = Part { name: token, schema: None };
                self.here.places.state = State::Named(place, part);
                true
            }
            Kind::OpenParen => {
                self.place_group();
                match place {
                    Place::Source => {
                        self.here.places.open_list(depth);
                        self.here.places.await_name(Place::Source);
                    }
                    Place::Target if self.is(self.recent(1), b"only") => {
                        self.here.places.await_name(Place::Target);
                    }
                    Place::Using => self.here.places.await_name(Place::UsingGroup),
                    Place::UsingGroup => {
                        self.here.places.open_list(depth);
                        self.here.places.open_list(depth.saturating_sub(2));
                        self.here.places.await_name(Place::Source);
                    }
                    Place::Target | Place::Type => {}
                }
                true
            }
            _ => false,
        }
    }

    /// Whether a word only stands before a name.
    fn is_before_name(&self, place: Place, word: &[u8]) -> bool {
        match word {
            b"only" | b"lateral" => place != Place::Type,
            b"setof" => place == Place::Type,
            b"table" => matches!(self.here.command, Command::Truncate | Command::Lock),
            b"binary" => self.here.command == Command::Copy && place == Place::Target,
            b"concurrently" => self.here.command == Command::Refresh,
            _ => false,
        }
    }

    fn begins_query(&self, word: &[u8]) -> bool {
        matches!(word, b"select" | b"with" | b"values" | b"table")
            && self.recent(1).is_some_and(|before| before.kind == Kind::OpenParen)
    }

    /// Behind a name; true if the token goes on with it.
    fn end_name(&mut self, place: Place, part: Part, token: Token) -> bool {
        if token.kind == Kind::Dot {
            self.here.places.state = State::Dotted(place, part.name);
            return true;
        }
        let is_group = token.kind == Kind::OpenParen;
        match place {
            Place::Type => self.use_type(part),
            // RAISE … USING name = value.
            Place::Source
                if self.language == Language::PlPgSql
                    && (token.kind == Kind::Assign || token.bytes(self.text) == b"=") => {}
            // A call, or ROWS FROM (calls).
            Place::Source if is_group => {}
            Place::Source if self.is(Some(part.name), b"rows") && self.is(Some(token), b"from") => {
            }
            Place::UsingGroup if matches!(token.kind, Kind::Comma | Kind::CloseParen) => {}
            Place::UsingGroup => {
                let depth = self.boundary.depth().saturating_sub(u32::from(is_group));
                self.here.places.open_list(depth);
                self.here.places.open_list(depth.saturating_sub(1));
                if !is_group {
                    self.use_relation(part);
                }
            }
            Place::Source | Place::Target | Place::Using => {
                self.here.places.alias = Some(token.start);
                self.use_relation(part);
            }
        }
        false
    }

    fn place_comma(&mut self) {
        let depth = self.boundary.depth();
        if self.here.places.lists & bit(depth) != 0 {
            self.here.places.await_name(Place::Source);
        } else if self.here.places.with_lists & bit(depth) != 0 {
            self.here.places.declaration = Declaration::Begins;
        }
    }

    /// A parenthesis opens a group, about which nothing is known yet.
    fn place_group(&mut self) {
        let depth = self.boundary.depth();
        let places = &mut self.here.places;
        let rest = !bit(depth);
        places.lists &= rest;
        places.with_lists &= rest;
        places.syntax_groups &= rest;
        places.cast_groups &= rest;
        places.is_unknown |= depth >= DEPTH_MAX;
        let Some(before) = self.recent(1).filter(|token| token.kind == Kind::Word) else { return };
        let word = Stored::of(before, self.text);
        let places = &mut self.here.places;
        match word.bytes() {
            b"extract" | b"substring" | b"trim" | b"overlay" | b"position" => {
                places.syntax_groups |= bit(depth);
            }
            b"cast" | b"treat" | b"xmlserialize" => places.cast_groups |= bit(depth),
            word if word.starts_with(b"json_") => places.cast_groups |= bit(depth),
            _ => {}
        }
    }

    /// Inside of a declaration of WITH.
    fn declare_name(&mut self, token: Token, word: &[u8]) {
        let depth = self.boundary.depth();
        let places = &mut self.here.places;
        places.declaration = match std::mem::take(&mut places.declaration) {
            Declaration::Begins if token.kind == Kind::Word && word == b"recursive" => {
                Declaration::Begins
            }
            Declaration::Begins if is_name(&token) => Declaration::Named(token, depth),
            // Its columns.
            Declaration::Named(name, outer)
                if depth > outer || token.kind == Kind::CloseParen && depth == outer =>
            {
                Declaration::Named(name, outer)
            }
            Declaration::Named(name, outer)
                if depth == outer && token.kind == Kind::Word && word == b"as" =>
            {
                Declaration::As(name, outer)
            }
            Declaration::As(name, outer)
                if token.kind == Kind::OpenParen
                    || token.kind == Kind::Word && matches!(word, b"not" | b"materialized") =>
            {
                if places.declared.len() < NAMES_MAX {
                    places.declared.push(name);
                } else {
                    places.is_unknown = true;
                }
                places.with_lists |= bit(outer);
                Declaration::None
            }
            _ => Declaration::None,
        };
    }
}
