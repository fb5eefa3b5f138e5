//! Reads a query token by token, and asks for every name in it.
//!
//! Owns what each kind of token means where it stands; words are `words.rs`, FROM and WITH are
//! `clauses.rs`. It accepts more than PostgreSQL does, because the parser behind it does not, and
//! less where it cannot tell what a name is. It never looks back further than a token or two, and
//! visits each token once.

use super::group::{Call, Clause, From, Group, Holds, With};
use super::names::{Judge, Qualified, Standing, is_own_primary_attribute, is_session_setting};
use super::spelling::{Spell, Spelling};
use super::tokens::Tokens;
use super::verdict::Reason;
use crate::sql::{Kind, Stored};

/// Operators that the parser knows, both before and between operands.
const PLAIN: [&[u8]; 13] =
    [b"+", b"-", b"*", b"/", b"%", b"=", b"<", b">", b"<=", b">=", b"<>", b"!=", b"||"];
/// Those that may compare with ANY and ALL.
const COMPARING: [&[u8]; 7] = [b"=", b"<", b">", b"<=", b">=", b"<>", b"!="];

/// Functions whose strings name relations begin like this.
const REGCLASS: [&[u8]; 5] = [b"pg_", b"to_reg", b"has_", b"col_description", b"obj_description"];

pub(super) struct Reader<'a> {
    pub(super) tokens: Tokens<'a>,
    pub(super) judge: Judge<'a>,
    pub(super) spelling: Spelling,
    pub(super) at: usize,
    groups: Vec<Group>,
    /// Names of WITH lists that are known here.
    pub(super) entries: Vec<Stored>,
    /// What the next parenthesis holds.
    pub(super) next_holds: Option<Holds>,
    /// A function stands in FROM: its alias may be a plain value.
    pub(super) has_call_in_from: bool,
    /// Attributes that would call a function of PostgreSQL's if what they follow were a plain value.
    has_doubtful_attribute: bool,
}

/// Refuses every word that writes, locks, or creates a table, wherever it stands: only behind a dot or
/// AS is it a name. This holds whatever anybody makes of the rest.
fn refuse_effects(tokens: Tokens<'_>) -> Result<(), Reason> {
    for at in 0..tokens.len() {
        if tokens.kind(at) != Some(Kind::Word) {
            continue;
        }
        let before = at.checked_sub(1).unwrap_or(tokens.len());
        if tokens.kind(before) == Some(Kind::Dot) || tokens.is(before, b"as") {
            continue;
        }
        let next = at.saturating_add(1);
        let is = |words: &[&[u8]], at| words.iter().any(|word| tokens.is(at, word));
        if is(&[b"insert", b"update", b"delete", b"merge", b"truncate"], at) {
            let is_lock = is(&[b"for", b"key"], before);
            return Err(if is_lock { Reason::Lock } else { Reason::Write });
        }
        if tokens.is(at, b"into") {
            return Err(Reason::Into);
        }
        if tokens.is(at, b"for") && is(&[b"no", b"share", b"key", b"update"], next) {
            return Err(Reason::Lock);
        }
    }
    Ok(())
}

/// Whether a query is a read, as far as its tokens say; and how to spell it for the parser.
pub(super) fn read<'a>(tokens: Tokens<'a>, judge: Judge<'a>) -> Result<Spelling, Reason> {
    refuse_effects(tokens)?;
    let mut reader = Reader {
        tokens,
        judge,
        spelling: Spelling::new(tokens.len()),
        at: 0,
        groups: vec![Group::default()],
        entries: Vec::new(),
        next_holds: None,
        has_call_in_from: false,
        has_doubtful_attribute: false,
    };
    while reader.at < tokens.len() {
        reader.step()?;
    }
    if reader.groups.len() != 1 || reader.next_holds.is_some() {
        return Err(Reason::Unparsed);
    }
    if reader.has_call_in_from && reader.has_doubtful_attribute {
        return Err(Reason::Function);
    }
    Ok(reader.spelling)
}

impl<'a> Reader<'a> {
    pub(super) fn group(&self) -> Group {
        self.groups.last().copied().unwrap_or_default()
    }

    pub(super) fn group_mut(&mut self, change: impl FnOnce(&mut Group)) {
        if let Some(group) = self.groups.last_mut() {
            change(group);
        }
    }

    pub(super) fn clause(&self) -> Clause {
        self.group().clause
    }

    pub(super) fn set_clause(&mut self, clause: Clause) {
        self.group_mut(|group| group.clause = clause);
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Leaves tokens out of the spelling, from here on, and takes them.
    pub(super) fn leave_out(&mut self, count: usize) {
        for _ in 0..count {
            self.spelling.set(self.at, Spell::Nothing);
            self.skip(1);
        }
    }

    pub(super) fn next_is(&self, word: &[u8]) -> bool {
        self.tokens.is(self.at.saturating_add(1), word)
    }

    pub(super) fn kind_behind(&self, offset: usize) -> Option<Kind> {
        self.tokens.kind(self.at.saturating_add(offset))
    }

    pub(super) fn previous(&self) -> usize {
        // Behind the last token there is none, so this is no token.
        self.at.checked_sub(1).unwrap_or(self.tokens.len())
    }

    fn step(&mut self) -> Result<(), Reason> {
        if let Clause::With(step) = self.clause() {
            return self.with_step(step);
        }
        if let Holds::Columns = self.group().holds {
            return self.column_step();
        }
        let kind = self.kind_behind(0).ok_or(Reason::Unparsed)?;
        match kind {
            Kind::Word => return self.word(),
            Kind::QuotedName => return self.chain(),
            Kind::OpenParen | Kind::OpenBracket => return self.open(),
            Kind::CloseParen | Kind::CloseBracket => return self.close(),
            Kind::Operator => return self.operator(),
            Kind::Dot => return self.attribute(),
            Kind::Cast => {
                self.skip(1);
                return self.cast_to();
            }
            Kind::Comma => self.comma()?,
            Kind::Text | Kind::EscapeText | Kind::DollarText | Kind::UnicodeText => self.text()?,
            Kind::Number | Kind::Parameter | Kind::BitText | Kind::Colon | Kind::Assign => {}
            _ => return Err(Reason::Unparsed),
        }
        self.skip(1);
        Ok(())
    }

    /// Takes the parenthesis or bracket that opens here.
    pub(super) fn open(&mut self) -> Result<(), Reason> {
        let parent = self.group();
        let mut group =
            Group { holds: self.next_holds.take().unwrap_or_default(), ..Group::default() };
        let is_subscript = self.kind_behind(0) == Some(Kind::OpenBracket);
        if parent.holds == Holds::Modifiers || (is_subscript && !self.may_subscript()) {
            return Err(Reason::Unparsed);
        }
        if parent.clause == Clause::From(From::Item) {
            self.set_clause(Clause::From(From::Behind));
            let at = self.at.saturating_add(1);
            if !self.begins_query(at) && group.holds == Holds::Values {
                group.clause = Clause::From(From::Item);
            }
        }
        if matches!(parent.clause, Clause::Group | Clause::Grouping) {
            group.clause = Clause::Grouping;
        }
        match group.holds {
            Holds::Calls => group.clause = Clause::From(From::Item),
            Holds::Entry if parent.is_recursive => {
                self.entries.push(self.tokens.name(parent.entry))
            }
            _ => {}
        }
        group.known = self.entries.len();
        self.groups.push(group);
        self.skip(1);
        Ok(())
    }

    /// Whether a bracket may open here: behind what has elements, behind ARRAY, inside of another.
    fn may_subscript(&self) -> bool {
        let before = self.previous();
        self.ends_operand(before)
            || self.tokens.is(before, b"array")
            || (self.tokens.kind(before) == Some(Kind::Word)
                && crate::sql::is_type(self.tokens.name(before).bytes(), true))
            || matches!(self.tokens.kind(before), Some(Kind::OpenBracket | Kind::Comma))
    }

    pub(super) fn close(&mut self) -> Result<(), Reason> {
        let group = self.group();
        if self.groups.len() < 2 || self.next_holds.is_some() {
            return Err(Reason::Unparsed);
        }
        self.groups.pop();
        self.entries.truncate(group.known);
        if group.holds == Holds::Entry {
            let parent = self.group();
            if !parent.is_recursive {
                self.entries.push(self.tokens.name(parent.entry));
            }
            self.set_clause(Clause::With(With::Tail));
        }
        self.skip(1);
        Ok(())
    }

    fn comma(&mut self) -> Result<(), Reason> {
        match self.clause() {
            Clause::From(From::Item) => Err(Reason::Unparsed),
            Clause::From(From::Behind | From::On) => {
                self.set_clause(Clause::From(From::Item));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn begins_query(&self, at: usize) -> bool {
        [&b"select"[..], b"values", b"with", b"table"].iter().any(|word| self.tokens.is(at, word))
    }

    /// A name, with what it is qualified by. Takes it.
    pub(super) fn chain(&mut self) -> Result<(), Reason> {
        let first = self.at;
        let last = self.end_of_chain(first);
        let behind = last.saturating_add(1);
        match self.clause() {
            Clause::From(From::Item) => return self.item(last),
            Clause::From(From::Behind) if last == first => {
                if self.tokens.kind(behind) == Some(Kind::OpenParen) {
                    self.next_holds = Some(Holds::Columns);
                }
                self.at = behind;
                return Ok(());
            }
            Clause::From(From::Behind) => return Err(Reason::Unparsed),
            _ => {}
        }
        if self.group().holds == Holds::Modifiers {
            self.at = behind;
        } else if self.tokens.kind(behind) == Some(Kind::OpenParen) {
            self.call(last)?;
        } else if self.tokens.is_text(behind) && !self.leads_text(first, last) {
            self.typed_text(last)?;
        } else {
            self.column(last)?;
        }
        Ok(())
    }

    pub(super) fn end_of_chain(&self, first: usize) -> usize {
        let mut last = first;
        while self.tokens.kind(last.saturating_add(1)) == Some(Kind::Dot)
            && self.tokens.is_name(last.saturating_add(2))
        {
            last = last.saturating_add(2);
        }
        last
    }

    /// Asks with the last two parts of a chain: what is before them is the database.
    pub(super) fn ask<T>(&self, last: usize, question: impl FnOnce(Qualified<'_>) -> T) -> T {
        let name = self.tokens.name(last);
        let schema = last.checked_sub(2).filter(|schema| *schema >= self.at);
        let schema = schema.map(|schema| self.tokens.name(schema));
        question(Qualified { schema: schema.as_ref().map(Stored::bytes), name: name.bytes() })
    }

    /// A column, perhaps of a row: every part but the first may also be a function of the row.
    fn column(&mut self, last: usize) -> Result<(), Reason> {
        let mut part = self.at.saturating_add(2);
        while part <= last {
            let name = self.tokens.name(part);
            self.judge.attribute(name.bytes(), false)?;
            self.has_doubtful_attribute |= is_own_primary_attribute(name.bytes());
            part = part.saturating_add(2);
        }
        self.at = last.saturating_add(1);
        if self.kind_behind(0) == Some(Kind::Dot)
            && self.tokens.bytes(self.at.saturating_add(1)) == b"*"
        {
            self.skip(2);
        }
        Ok(())
    }

    /// A dot behind something that is no name: `(row).column`, `(row).*`, `$1.column`.
    fn attribute(&mut self) -> Result<(), Reason> {
        let next = self.at.saturating_add(1);
        if self.tokens.bytes(next) == b"*" {
            // The parser has no star behind a parenthesis.
            self.spelling.set(next, Spell::As("a"));
        } else if self.tokens.is_name(next) {
            if self.kind_behind(2) == Some(Kind::OpenParen) {
                return Err(Reason::Unparsed);
            }
            self.judge.attribute(self.tokens.name(next).bytes(), true)?;
        } else {
            return Err(Reason::Unparsed);
        }
        self.skip(2);
        Ok(())
    }

    /// A call of the function whose name ends at `last`. Takes the name.
    pub(super) fn call(&mut self, last: usize) -> Result<(), Reason> {
        if last == self.at
            && let Some(call) = self.syntax()
        {
            self.judge.syntax(self.tokens.name(last).bytes())?;
            self.next_holds = call.map(Holds::Arguments);
        } else {
            let call = self.ask(last, |called| {
                if called.name == b"current_setting"
                    && called.schema.is_none_or(|schema| schema == b"pg_catalog")
                {
                    return self.current_setting(last);
                }
                self.judge.function(called)?;
                let names_relation = REGCLASS.iter().any(|start| called.name.starts_with(start));
                Ok(if names_relation { Call::Regclass } else { Call::Function })
            })?;
            self.next_holds = Some(Holds::Arguments(call));
        }
        self.at = last.saturating_add(1);
        Ok(())
    }

    /// `current_setting('name'…)` of a setting of the session.
    fn current_setting(&self, last: usize) -> Result<Call, Reason> {
        self.judge.syntax(b"current_setting")?;
        let argument = last.saturating_add(2);
        let behind = self.tokens.kind(argument.saturating_add(1));
        let is_whole = matches!(behind, Some(Kind::Comma | Kind::CloseParen));
        let name = self.tokens.plain_text(argument).filter(|_| is_whole);
        if name.is_some_and(is_session_setting) { Ok(Call::Function) } else { Err(Reason::Node) }
    }

    /// `type 'text'`. Takes the name of the type.
    fn typed_text(&mut self, last: usize) -> Result<(), Reason> {
        self.type_name(last)?;
        let word = self.tokens.name(last);
        if word.bytes() == b"regclass" {
            self.names_relation(last.saturating_add(1), true)?;
        }
        let is_parsers = matches!(word.bytes(), b"date" | b"time" | b"timestamp" | b"interval");
        if is_parsers {
            self.at = last.saturating_add(1);
        } else {
            let count = last.saturating_add(1).saturating_sub(self.at);
            self.leave_out(count);
        }
        Ok(())
    }

    fn type_name(&self, last: usize) -> Result<(), Reason> {
        let is_bare = last == self.at && self.tokens.kind(last) == Some(Kind::Word);
        self.ask(last, |used| self.judge.type_name(used, is_bare))
    }

    /// The type behind `::` or AS. Takes its name.
    pub(super) fn cast_to(&mut self) -> Result<(), Reason> {
        if !self.tokens.is_name(self.at) {
            return Err(Reason::Unparsed);
        }
        let last = self.end_of_chain(self.at);
        self.type_name(last)?;
        let cast = self.previous();
        let value = cast.checked_sub(1).filter(|value| self.tokens.is_text(*value));
        if let Some(value) = value.filter(|_| self.tokens.name(last).bytes() == b"regclass") {
            self.names_relation(value, true)?;
        }
        self.at = last.saturating_add(1);
        if self.kind_behind(0) == Some(Kind::OpenParen) {
            self.next_holds = Some(Holds::Modifiers);
        }
        Ok(())
    }

    /// A string that may name a relation. `surely`: it does.
    fn names_relation(&self, at: usize, surely: bool) -> Result<(), Reason> {
        let Some(value) = self.tokens.plain_text(at) else {
            return if surely { Err(Reason::UnknownRelation) } else { Ok(()) };
        };
        let mut parts = value.splitn(2, |byte| *byte == b'.').map(|part| {
            match part.strip_prefix(b"\"").and_then(|part| part.strip_suffix(b"\"")) {
                Some(quoted) => Stored::of_quoted(quoted),
                None => Stored::of_word(part.trim_ascii()),
            }
        });
        let (first, second) = (parts.next(), parts.next());
        let (schema, name) = if second.is_some() { (first, second) } else { (None, first) };
        let Some(name) = name else { return Ok(()) };
        let schema = schema.as_ref().map(Stored::bytes);
        if schema.is_some_and(|schema| schema.starts_with(b"pg_temp")) {
            return Err(Reason::Temporary);
        }
        match self.judge.names.relation(schema, name.bytes()) {
            // Only its name is used, not what it holds.
            Standing::Primary(reason @ (Reason::Temporary | Reason::Unlogged)) => Err(reason),
            _ => Ok(()),
        }
    }

    fn text(&mut self) -> Result<(), Reason> {
        if self.group().holds == Holds::Arguments(Call::Regclass) {
            return self.names_relation(self.at, false);
        }
        Ok(())
    }

    fn operator(&mut self) -> Result<(), Reason> {
        let symbol = self.tokens.bytes(self.at);
        let next = self.at.saturating_add(1);
        if symbol == b"=>" || (symbol == b"*" && self.begins_item()) {
            self.skip(1);
            return Ok(());
        }
        // Two spellings of one operator.
        let name = if symbol == b"!=" { b"<>" } else { symbol };
        self.judge.operator(Qualified { schema: None, name })?;
        self.spell_operator(self.at, symbol, next);
        self.skip(1);
        Ok(())
    }

    /// Whether an item of a list begins here: a star is all columns then, else it multiplies.
    fn begins_item(&self) -> bool {
        let before = self.previous();
        matches!(self.tokens.kind(before), Some(Kind::OpenParen | Kind::Comma))
            || [&b"select"[..], b"distinct", b"all"].iter().any(|word| self.tokens.is(before, word))
    }

    /// An operator of which only the place matters from now on.
    pub(super) fn spell_operator(&mut self, at: usize, symbol: &[u8], next: usize) {
        let compares = [&b"any"[..], b"all", b"some"].iter().any(|word| self.tokens.is(next, word));
        if compares && !COMPARING.contains(&symbol) {
            self.spelling.set(at, Spell::As("="));
        } else if !PLAIN.contains(&symbol) {
            self.spelling.set(at, Spell::As("-"));
        }
    }

    /// Whether an operator behind this token has it as an operand.
    pub(super) fn ends_operand(&self, at: usize) -> bool {
        match self.tokens.kind(at) {
            Some(Kind::Word) => !crate::sql::is_keyword(self.tokens.name(at).bytes()),
            Some(
                Kind::QuotedName
                | Kind::Text
                | Kind::EscapeText
                | Kind::BitText
                | Kind::UnicodeText
                | Kind::DollarText
                | Kind::Parameter
                | Kind::Number
                | Kind::CloseParen
                | Kind::CloseBracket,
            ) => true,
            _ => false,
        }
    }
}
