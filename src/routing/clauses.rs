//! The reader's FROM and WITH: where names of relations stand.

use super::group::{Call, Clause, From, Holds, With};
use super::names::Qualified;
use super::reader::Reader;
use super::spelling::Spell;
use super::verdict::Reason;
use crate::sql::Kind;

impl Reader<'_> {
    /// FROM of a query, of IS DISTINCT FROM, or of EXTRACT and its like.
    pub(super) fn from(&mut self) -> Result<(), Reason> {
        let distinct = self.previous();
        let is = distinct.checked_sub(1).unwrap_or(self.tokens.len());
        let is_comparison = self.tokens.is(distinct, b"distinct")
            && (self.tokens.is(is, b"is") || self.tokens.is(is, b"not"));
        if is_comparison {
            return self.judge.operator(Qualified { schema: None, name: b"=" });
        }
        match (self.clause(), self.group().holds) {
            (Clause::Select, _) => self.set_clause(Clause::From(From::Item)),
            (_, Holds::Arguments(Call::Words)) => {}
            _ => return Err(Reason::Unparsed),
        }
        Ok(())
    }

    /// What FROM reads: a relation or a call, whose name ends at `last`. Takes it.
    pub(super) fn item(&mut self, last: usize) -> Result<(), Reason> {
        self.set_clause(Clause::From(From::Behind));
        let behind = last.saturating_add(1);
        if self.tokens.kind(behind) == Some(Kind::OpenParen) {
            self.has_call_in_from = true;
            return self.call(last);
        }
        if last == self.at && self.is_value(last) {
            self.has_call_in_from = true;
            // The parser takes it for a relation.
            self.spelling.set(last, Spell::As("now()"));
            self.skip(1);
            return Ok(());
        }
        self.ask(last, |read| {
            let is_entry = read.schema.is_none()
                && self.entries.iter().any(|entry| entry.bytes() == read.name);
            if is_entry { Ok(()) } else { self.judge.relation(read) }
        })?;
        self.at = behind;
        if self.tokens.bytes(behind) == b"*" {
            // With its descendants, which is so anyway.
            self.leave_out(1);
        }
        Ok(())
    }

    /// `ONLY relation`, which may stand in parentheses.
    pub(super) fn only(&mut self) -> Result<(), Reason> {
        self.leave_out(1);
        if self.kind_behind(0) != Some(Kind::OpenParen) {
            return Ok(());
        }
        let last = self.end_of_chain(self.at.saturating_add(1));
        if !self.tokens.is_name(self.at.saturating_add(1))
            || self.tokens.kind(last.saturating_add(1)) != Some(Kind::CloseParen)
        {
            return Err(Reason::Unparsed);
        }
        self.leave_out(1);
        self.item(last)?;
        self.leave_out(1);
        Ok(())
    }

    /// `ROWS FROM (f(…), g(…))`.
    pub(super) fn rows_from(&mut self) -> Result<(), Reason> {
        if self.kind_behind(2) != Some(Kind::OpenParen) {
            return Err(Reason::Unparsed);
        }
        self.leave_out(2);
        self.spelling.set(self.at, Spell::With("SELECT"));
        self.set_clause(Clause::From(From::Behind));
        self.next_holds = Some(Holds::Calls);
        Ok(())
    }

    /// `TABLESAMPLE method (…)`.
    pub(super) fn tablesample(&mut self) -> Result<(), Reason> {
        let method = self.at.saturating_add(1);
        let last = self.end_of_chain(method);
        if self.tokens.kind(last.saturating_add(1)) != Some(Kind::OpenParen) {
            return Err(Reason::Unparsed);
        }
        let is_own = last == method
            && [&b"bernoulli"[..], b"system"].iter().any(|word| self.tokens.is(method, word));
        self.skip(1);
        if is_own {
            self.judge.syntax(self.tokens.name(method).bytes())?;
        } else {
            self.ask(last, |called| self.judge.function(called))?;
        }
        self.at = last.saturating_add(1);
        Ok(())
    }

    /// AS with the columns of a record, but without an alias.
    pub(super) fn column_definitions(&mut self) -> Result<(), Reason> {
        let is_call_list = self.group().holds == Holds::Calls;
        self.spelling.set(self.at, if is_call_list { Spell::Nothing } else { Spell::As("AS zz") });
        self.skip(1);
        let end = self.tokens.behind_group(self.at);
        for at in self.at..end {
            self.spelling.set(at, Spell::Nothing);
        }
        self.next_holds = Some(Holds::Columns);
        self.open()
    }

    /// In a list of columns, which may have types.
    pub(super) fn column_step(&mut self) -> Result<(), Reason> {
        match self.kind_behind(0) {
            Some(Kind::Comma | Kind::Number | Kind::OpenBracket | Kind::CloseBracket) => {
                self.skip(1);
                Ok(())
            }
            Some(Kind::OpenParen) if self.is_behind_type() => {
                self.next_holds = Some(Holds::Modifiers);
                self.open()
            }
            Some(Kind::CloseParen) => self.close(),
            Some(Kind::Word | Kind::QuotedName) => self.column_or_type(),
            _ => Err(Reason::Unparsed),
        }
    }

    /// Whether two names are right before: a column's and its type's.
    fn is_behind_type(&self) -> bool {
        let last = self.previous();
        self.tokens.is_name(last)
            && last.checked_sub(1).is_some_and(|before| {
                self.tokens.is_name(before) || self.tokens.kind(before) == Some(Kind::Dot)
            })
    }

    fn column_or_type(&mut self) -> Result<(), Reason> {
        const MORE: [&[u8]; 8] =
            [b"precision", b"varying", b"with", b"without", b"time", b"zone", b"array", b"collate"];
        let last = self.end_of_chain(self.at);
        let is_type = self.tokens.is_name(self.previous())
            && !MORE.iter().any(|word| self.tokens.is(self.at, word))
            && !self.tokens.is(self.previous(), b"collate");
        if is_type {
            let is_bare = last == self.at && self.tokens.kind(last) == Some(Kind::Word);
            self.ask(last, |used| self.judge.type_name(used, is_bare))?;
        } else if last != self.at {
            return Err(Reason::Unparsed);
        }
        self.at = last.saturating_add(1);
        Ok(())
    }

    /// In a WITH list.
    pub(super) fn with_step(&mut self, step: With) -> Result<(), Reason> {
        let kind = self.kind_behind(0);
        match (step, kind) {
            (With::Name, Some(Kind::Word | Kind::QuotedName)) => {
                let at = self.at;
                self.group_mut(|group| {
                    group.entry = at;
                    group.clause = Clause::With(With::Head);
                });
            }
            (With::Head, Some(Kind::OpenParen)) => {
                self.next_holds = Some(Holds::Columns);
                return self.open();
            }
            (With::Head, _) if self.tokens.is(self.at, b"as") => {
                self.set_clause(Clause::With(With::Body));
            }
            (With::Body, Some(Kind::OpenParen)) => {
                self.next_holds = Some(Holds::Entry);
                return self.open();
            }
            (With::Body, _)
                if self.tokens.is(self.at, b"not") || self.tokens.is(self.at, b"materialized") => {}
            (With::Tail, Some(Kind::Comma)) => self.set_clause(Clause::With(With::Name)),
            (With::Tail, Some(Kind::OpenParen)) => {
                self.set_clause(Clause::Other);
                return Ok(());
            }
            (With::Tail, _) if self.begins_query(self.at) => {
                self.set_clause(Clause::Other);
                return Ok(());
            }
            (With::Tail, Some(Kind::Word)) => return self.behind_entry(),
            _ => return Err(Reason::Unparsed),
        }
        self.skip(1);
        Ok(())
    }

    /// Behind the query of an entry: SEARCH and CYCLE, or the statement that uses the list.
    fn behind_entry(&mut self) -> Result<(), Reason> {
        if !self.tokens.is(self.at, b"search") && !self.tokens.is(self.at, b"cycle") {
            return Err(Reason::Unparsed);
        }
        // Names of columns and constants, up to the next entry or the query.
        loop {
            let ends_here = match self.kind_behind(0) {
                Some(Kind::Word | Kind::QuotedName) => self.begins_query(self.at),
                Some(Kind::Comma) => {
                    let behind = self.at.saturating_add(2);
                    self.tokens.is(behind, b"as")
                        || self.tokens.kind(behind) == Some(Kind::OpenParen)
                }
                Some(Kind::Text | Kind::Number) => false,
                _ => true,
            };
            if ends_here {
                return Ok(());
            }
            self.leave_out(1);
        }
    }
}
