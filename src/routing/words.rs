//! The reader's words: what a bare word means where it stands.

use super::group::{Call, Clause, From, Holds, With};
use super::names::Qualified;
use super::reader::Reader;
use super::spelling::Spell;
use super::verdict::Reason;
use crate::sql::{self, Kind};

/// Words that are written `(` without being a function's name, and have words between their arguments.
const WITH_WORDS: [&[u8]; 6] =
    [b"extract", b"substring", b"trim", b"overlay", b"position", b"normalize"];
/// Values that are written like columns.
const VALUES: [&[u8]; 12] = [
    b"current_date",
    b"current_time",
    b"current_timestamp",
    b"localtime",
    b"localtimestamp",
    b"current_role",
    b"current_user",
    b"session_user",
    b"system_user",
    b"user",
    b"current_catalog",
    b"current_schema",
];

impl Reader<'_> {
    /// Takes a bare word, or what begins with it.
    pub(super) fn word(&mut self) -> Result<(), Reason> {
        let name = self.tokens.name(self.at);
        match name.bytes() {
            b"for"
                if self.next_is(b"read") && self.tokens.is(self.at.saturating_add(2), b"only") =>
            {
                self.leave_out(3);
                return Ok(());
            }
            b"for" => {}
            b"select" => self.select(),
            b"values" => self.set_clause(Clause::Other),
            b"table" => {
                self.spelling.set(self.at, Spell::As("SELECT * FROM"));
                self.set_clause(Clause::From(From::Item));
            }
            b"with" => return self.with(),
            b"from" => self.from()?,
            b"join" => match self.clause() {
                Clause::From(_) => self.set_clause(Clause::From(From::Item)),
                _ => return Err(Reason::Unparsed),
            },
            b"on" if self.clause() == Clause::From(From::Behind) => {
                self.set_clause(Clause::From(From::On));
            }
            b"on" => {}
            b"using" => return self.using(),
            b"left" | b"right" if self.kind_behind(1) == Some(Kind::OpenParen) => {
                return self.chain();
            }
            b"natural" if matches!(self.clause(), Clause::From(_)) => {
                self.judge.operator(Qualified { schema: None, name: b"=" })?;
            }
            b"left" | b"right" | b"full" | b"inner" | b"outer" | b"cross"
                if matches!(self.clause(), Clause::From(_)) => {}
            b"where" | b"having" | b"window" | b"order" | b"limit" | b"offset" | b"fetch"
            | b"union" | b"intersect" | b"except" => self.set_clause(Clause::Other),
            b"group" => return self.group_by(),
            b"lateral" => {}
            b"only" if self.clause() == Clause::From(From::Item) => return self.only(),
            b"rows" if self.next_is(b"from") && self.clause() == Clause::From(From::Item) => {
                return self.rows_from();
            }
            b"tablesample" => return self.tablesample(),
            b"repeatable" if self.kind_behind(1) == Some(Kind::OpenParen) => {}
            b"as" => return self.alias(),
            b"current" if self.next_is(b"of") => return Err(Reason::Unparsed),
            word => {
                let is_bare = !matches!(self.clause(), Clause::From(From::Item | From::Behind));
                return if is_bare { self.word_of_expression(word) } else { self.chain() };
            }
        }
        self.skip(1);
        Ok(())
    }

    fn select(&mut self) {
        self.set_clause(Clause::Select);
        let next = self.at.saturating_add(1);
        const ENDS: [&[u8]; 9] = [
            b"from",
            b"where",
            b"group",
            b"having",
            b"order",
            b"limit",
            b"union",
            b"intersect",
            b"except",
        ];
        let is_empty = match self.tokens.kind(next) {
            None | Some(Kind::CloseParen) => true,
            Some(Kind::Word) => ENDS.iter().any(|word| self.tokens.is(next, word)),
            _ => false,
        };
        if is_empty {
            self.spelling.set(self.at, Spell::With("1"));
        }
    }

    fn group_by(&mut self) -> Result<(), Reason> {
        if !self.next_is(b"by") {
            // WITHIN GROUP, EXCLUDE GROUP.
            self.skip(1);
            return Ok(());
        }
        self.set_clause(Clause::Group);
        self.skip(2);
        if self.tokens.is(self.at, b"distinct") {
            self.leave_out(1);
        }
        Ok(())
    }

    /// AS: an alias, a type, or a label.
    fn alias(&mut self) -> Result<(), Reason> {
        let group = self.group();
        let next = self.at.saturating_add(1);
        if group.clause == Clause::From(From::Behind) {
            if self.tokens.kind(next) == Some(Kind::OpenParen) {
                return self.column_definitions();
            }
            self.skip(1);
            return Ok(());
        }
        match group.holds {
            Holds::Arguments(Call::Cast) => {
                self.skip(1);
                return self.cast_to();
            }
            Holds::Arguments(Call::Labels) if self.tokens.is_name(next) => {
                self.leave_out(2);
                return Ok(());
            }
            _ => {}
        }
        if self.tokens.kind(next) == Some(Kind::OpenParen) {
            // A window: WINDOW name AS (…).
            self.skip(1);
            return Ok(());
        }
        let is_label = self.tokens.is_name(next) && self.kind_behind(2) != Some(Kind::OpenParen);
        if !is_label {
            return Err(Reason::Unparsed);
        }
        self.skip(2);
        Ok(())
    }

    /// USING of a join or of ORDER BY.
    fn using(&mut self) -> Result<(), Reason> {
        if let Clause::From(_) = self.clause() {
            if self.kind_behind(1) != Some(Kind::OpenParen) {
                return Err(Reason::Unparsed);
            }
            self.judge.operator(Qualified { schema: None, name: b"=" })?;
            self.set_clause(Clause::From(From::Behind));
            self.next_holds = Some(Holds::Columns);
            self.skip(1);
            return Ok(());
        }
        if self.kind_behind(1) != Some(Kind::Operator) {
            return Err(Reason::Unparsed);
        }
        let symbol = self.tokens.bytes(self.at.saturating_add(1));
        self.judge.operator(Qualified { schema: None, name: symbol })?;
        self.leave_out(2);
        Ok(())
    }

    /// A word where a value, an operator or a column may be.
    fn word_of_expression(&mut self, word: &[u8]) -> Result<(), Reason> {
        let operator = |name: &'static [u8]| self.judge.operator(Qualified { schema: None, name });
        match word {
            b"like" => operator(b"~~")?,
            b"ilike" => operator(b"~~*")?,
            b"in" => operator(b"=")?,
            // `CASE value WHEN` and NULLIF compare.
            b"case" | b"nullif" if !self.next_is(b"when") => {
                operator(b"=")?;
                return self.chain();
            }
            b"between" => return self.between(),
            b"similar" | b"escape" if self.group().holds == Holds::Arguments(Call::Words) => {
                self.spelling.set(self.at, Spell::As(","));
            }
            b"overlaps" if self.kind_behind(1) == Some(Kind::OpenParen) => {
                self.spelling.set(self.at, Spell::As("="));
            }
            b"similar" if self.next_is(b"to") => {
                operator(b"~")?;
                self.spelling.set(self.at, Spell::As("LIKE"));
                self.skip(1);
                self.leave_out(1);
                return Ok(());
            }
            b"isnull" => self.spelling.set(self.at, Spell::As("IS NULL")),
            b"notnull" => self.spelling.set(self.at, Spell::As("IS NOT NULL")),
            b"variadic" => {
                self.leave_out(1);
                return Ok(());
            }
            b"uescape" if self.tokens.is_text(self.at.saturating_add(1)) => {
                self.leave_out(2);
                return Ok(());
            }
            b"at" if self.next_is(b"local") => {
                self.spelling.set(self.at, Spell::As("AT TIME ZONE ''"));
                self.skip(1);
                self.leave_out(1);
                return Ok(());
            }
            b"operator" if self.kind_behind(1) == Some(Kind::OpenParen) => {
                return self.qualified_operator();
            }
            b"collate" if self.tokens.is_name(self.at.saturating_add(1)) => {
                self.skip(1);
                self.at = self.end_of_chain(self.at).saturating_add(1);
                return Ok(());
            }
            b"exclude" => return self.exclude(),
            b"collation" if self.next_is(b"for") => return self.collation_for(),
            b"name" | b"document" | b"content" if self.begins_argument() => {
                // XMLELEMENT(NAME …), XMLSERIALIZE(DOCUMENT …). XMLPARSE is the parser's too.
                let call = self.at.checked_sub(2).unwrap_or(self.tokens.len());
                let count = usize::from(!self.tokens.is(call, b"xmlparse"));
                self.leave_out(count);
                self.skip(1_usize.saturating_sub(count));
                return Ok(());
            }
            b"document" if self.tokens.is(self.previous(), b"is") => {
                self.spelling.set(self.at, Spell::As("NULL"));
            }
            word if VALUES.contains(&word) => {}
            _ => return self.chain(),
        }
        self.skip(1);
        Ok(())
    }

    /// BETWEEN, with or without SYMMETRIC.
    fn between(&mut self) -> Result<(), Reason> {
        for name in [&b">="[..], b"<="] {
            self.judge.operator(Qualified { schema: None, name })?;
        }
        self.skip(1);
        if self.tokens.is(self.at, b"symmetric") || self.tokens.is(self.at, b"asymmetric") {
            self.leave_out(1);
        }
        Ok(())
    }

    /// Whether the word here is right behind a parenthesis, and an argument follows it.
    fn begins_argument(&self) -> bool {
        let next = self.at.saturating_add(1);
        self.tokens.kind(self.previous()) == Some(Kind::OpenParen)
            && (self.tokens.is_name(next) || self.tokens.is_text(next))
    }

    /// `COLLATION FOR (…)`, which calls a function.
    fn collation_for(&mut self) -> Result<(), Reason> {
        if self.kind_behind(2) != Some(Kind::OpenParen) {
            return Err(Reason::Unparsed);
        }
        self.judge.function(Qualified { schema: None, name: b"pg_collation_for" })?;
        self.spelling.set(self.at, Spell::As("pg_collation_for"));
        self.skip(1);
        self.leave_out(1);
        self.next_holds = Some(Holds::Arguments(Call::Function));
        Ok(())
    }

    /// EXCLUDE of a window's frame.
    fn exclude(&mut self) -> Result<(), Reason> {
        let next = self.at.saturating_add(1);
        let count = if self.tokens.is(next, b"group") || self.tokens.is(next, b"ties") {
            2
        } else if self.tokens.are(next, &[b"current", b"row"])
            || self.tokens.are(next, &[b"no", b"others"])
        {
            3
        } else {
            return self.chain();
        };
        self.leave_out(count);
        Ok(())
    }

    /// `OPERATOR(schema.symbol)`.
    fn qualified_operator(&mut self) -> Result<(), Reason> {
        let name = self.at.saturating_add(2);
        let is_qualified = self.tokens.is_name(name)
            && self.tokens.kind(name.saturating_add(1)) == Some(Kind::Dot);
        let symbol = if is_qualified { name.saturating_add(2) } else { name };
        let end = symbol.saturating_add(1);
        if self.tokens.kind(symbol) != Some(Kind::Operator)
            || self.tokens.kind(end) != Some(Kind::CloseParen)
        {
            return Err(Reason::Unparsed);
        }
        let schema = is_qualified.then(|| self.tokens.name(name));
        let schema = schema.as_ref().map(sql::Stored::bytes);
        self.judge.operator(Qualified { schema, name: self.tokens.bytes(symbol) })?;
        self.spelling.set(self.at, Spell::As("-"));
        self.spell_operator(self.at, b"operator", end.saturating_add(1));
        self.skip(1);
        let count = end.saturating_add(1).saturating_sub(self.at);
        self.leave_out(count);
        Ok(())
    }

    /// Whether the word here, before a parenthesis, is the grammar's; and whether it calls something.
    pub(super) fn syntax(&mut self) -> Option<Option<Call>> {
        if self.tokens.kind(self.at) != Some(Kind::Word) {
            return None;
        }
        let name = self.tokens.name(self.at);
        let word = name.bytes();
        let before = self.previous();
        let follows = |words: &[&[u8]]| words.iter().any(|word| self.tokens.is(before, word));
        let follows_group = self.tokens.kind(before) == Some(Kind::CloseParen);
        let is_syntax = match word {
            b"by" => follows(&[b"group", b"order", b"partition"]),
            b"filter" | b"over" => follows_group,
            b"cube" | b"rollup" => matches!(self.clause(), Clause::Group | Clause::Grouping),
            b"sets" => follows(&[b"grouping"]),
            b"varying" => follows(&[b"character", b"char", b"bit", b"nchar"]),
            b"first" | b"next" => follows(&[b"fetch"]),
            b"second" => follows(&[b"to", b"interval"]) || self.tokens.is_text(before),
            b"zone" => follows(&[b"time"]),
            b"columns" => self.group().holds == Holds::Arguments(Call::Table),
            b"key" | b"set" | b"materialized" | b"xmltable" | b"json_table" => false,
            _ => sql::is_keyword(word),
        };
        let is_table = self.clause() == Clause::From(From::Behind)
            && matches!(word, b"xmltable" | b"json_table");
        if !is_syntax && !is_table {
            return None;
        }
        let is_json_query = word == b"json_array" && self.begins_query(self.at.saturating_add(2));
        if is_json_query {
            self.spelling.set(self.at, Spell::As("ARRAY"));
        }
        let is_nested_set =
            self.clause() == Clause::Grouping && matches!(word, b"cube" | b"rollup" | b"sets");
        if is_nested_set {
            self.spelling.set(self.at, Spell::Nothing);
            if word == b"sets" {
                self.spelling.set(before, Spell::Nothing);
            }
        }
        if word == b"xmlserialize" {
            self.spelling.set(self.at, Spell::As("CAST"));
        }
        Some(match word {
            b"cast" | b"treat" | b"xmlserialize" => Some(Call::Cast),
            b"xmlattributes" | b"xmlforest" => Some(Call::Labels),
            b"xmltable" | b"json_table" | b"columns" => Some(Call::Table),
            word if WITH_WORDS.contains(&word) => Some(Call::Words),
            _ => None,
        })
    }

    /// Whether what is before a string is no type but a word of the grammar.
    pub(super) fn leads_text(&self, first: usize, last: usize) -> bool {
        first == last
            && self.tokens.kind(first) == Some(Kind::Word)
            && sql::leads_literal(self.tokens.name(first).bytes())
            && !matches!(self.tokens.name(first).bytes(), b"key" | b"set" | b"language" | b"log")
    }

    /// Whether a value is written here like a relation.
    pub(super) fn is_value(&self, at: usize) -> bool {
        self.tokens.kind(at) == Some(Kind::Word) && VALUES.contains(&self.tokens.name(at).bytes())
    }

    fn with(&mut self) -> Result<(), Reason> {
        let next = self.at.saturating_add(1);
        const OTHERS: [&[u8]; 7] =
            [b"ties", b"time", b"unique", b"without", b"conditional", b"unconditional", b"wrapper"];
        if self.tokens.is(next, b"ordinality") {
            self.leave_out(2);
            return Ok(());
        }
        if OTHERS.iter().any(|word| self.tokens.is(next, word))
            && !self.tokens.is(next.saturating_add(1), b"as")
        {
            self.skip(2);
            return Ok(());
        }
        let is_recursive = self.tokens.is(next, b"recursive");
        self.group_mut(|group| {
            group.is_recursive = is_recursive;
            group.clause = Clause::With(With::Name);
        });
        self.skip(if is_recursive { 2 } else { 1 });
        Ok(())
    }
}
