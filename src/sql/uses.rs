//! What becomes of the names that a statement uses: whether the database has them.
//!
//! Owns the verdict of a statement. A name that the vocabulary does not have may be anything, because
//! somebody else may have created it since the vocabulary was read. So a statement that runs and uses
//! one is opaque, unless WITH declares it. What a name does that is there is not asked here.

use super::builtins;
use super::calls::is_name;
use super::command::Command;
use super::lex::{Kind, Token};
use super::place_state::{NAMES_MAX, Part, Place, State};
use super::scan::Scan;
use super::scan_state::Language;
use super::vocabulary::Use;
use super::words::Stored;

impl Scan<'_> {
    /// A word of a database that nobody knows: it may be a column, or anything else.
    pub(super) fn foreign_word(&mut self, word: &[u8]) {
        // Behind these words a session's own name comes.
        let is_own = self.is_second()
            && [&b"prepare"[..], b"execute", b"declare"]
                .iter()
                .any(|first| self.is(self.recent(1), first));
        self.here.places.is_unknown |= !is_own && !builtins::is_word(word);
    }

    /// Uses a name as a relation.
    pub(super) fn use_relation(&mut self, part: Part) {
        let name = Stored::of(part.name, self.text);
        let schema = part.schema.map(|schema| Stored::of(schema, self.text));
        let is_own = match schema.as_ref().map(Stored::bytes) {
            None | Some(b"pg_catalog") => builtins::is_relation(name.bytes()),
            Some(b"information_schema") => builtins::is_in_information_schema(name.bytes()),
            Some(_) => false,
        };
        if is_own || self.vocabulary.has(name.bytes(), Use::Relation) {
            return;
        }
        let places = &mut self.here.places;
        if schema.is_none() && places.missing.len() < NAMES_MAX {
            places.missing.push(part.name);
        } else {
            places.is_unknown = true;
        }
    }

    /// Uses a name as a type.
    pub(super) fn use_type(&mut self, part: Part) {
        let name = Stored::of(part.name, self.text);
        let schema = part.schema.map(|schema| Stored::of(schema, self.text));
        let is_own = match schema.as_ref().map(Stored::bytes) {
            None => builtins::is_type(name.bytes(), part.name.kind == Kind::Word),
            Some(b"pg_catalog") => builtins::is_type(name.bytes(), false),
            Some(b"information_schema") => builtins::is_in_information_schema(name.bytes()),
            Some(_) => false,
        };
        let is_known = is_own || self.vocabulary.has(name.bytes(), Use::Type);
        self.here.places.is_unknown |= !is_known;
    }

    /// `type 'value'`
    pub(super) fn place_literal(&mut self) {
        let Some(name) = self.recent(1).filter(is_name) else { return };
        let is_qualified = self.recent(2).is_some_and(|token| token.kind == Kind::Dot);
        let is_bare = name.kind == Kind::Word && !is_qualified;
        if is_bare && builtins::leads_literal(Stored::of(name, self.text).bytes()) {
            return;
        }
        self.use_type(Part { name, schema: self.recent(3).filter(|_| is_qualified) });
    }

    /// At the end of a statement: whether it runs and uses something that may do anything.
    pub(super) fn end_places(&mut self) -> bool {
        if let State::Named(place, part) = std::mem::take(&mut self.here.places.state) {
            match place {
                Place::Type => self.use_type(part),
                _ => self.use_relation(part),
            }
        }
        if !self.runs() {
            return false;
        }
        let places = &self.here.places;
        let is_declared = |name: &Token| {
            let name = Stored::of(*name, self.text);
            let same = |other: &Token| Stored::of(*other, self.text).bytes() == name.bytes();
            places.declared.iter().any(same)
        };
        places.is_unknown || !places.missing.iter().all(is_declared)
    }

    /// Whether the statement runs expressions, or triggers.
    fn runs(&self) -> bool {
        match self.here.command {
            Command::Select
            | Command::Values
            | Command::Table
            | Command::Insert
            | Command::Update
            | Command::Delete
            | Command::Merge
            | Command::Copy
            | Command::Declare
            | Command::Prepare
            | Command::Execute
            | Command::Explain
            | Command::Create
            | Command::Alter
            | Command::Call
            | Command::Refresh
            | Command::Truncate
            | Command::Lock
            | Command::Other => true,
            // Their names are not in a position of their own, and the vocabulary has an answer for all.
            Command::Vacuum | Command::Analyze | Command::Cluster | Command::Reindex => {
                !self.is_known
            }
            Command::Empty => self.language == Language::PlPgSql,
            Command::Begin
            | Command::Commit
            | Command::Rollback
            | Command::RollbackTo
            | Command::Savepoint
            | Command::Release
            | Command::PrepareTransaction
            | Command::CommitPrepared
            | Command::RollbackPrepared
            | Command::Set
            | Command::Reset
            | Command::Show
            | Command::Discard
            | Command::Deallocate
            | Command::Listen
            | Command::Unlisten
            | Command::Notify
            | Command::Close
            | Command::Fetch
            | Command::Move
            | Command::Load
            | Command::Do
            | Command::Drop
            | Command::Comment
            | Command::Grant
            | Command::Revoke
            | Command::Checkpoint
            | Command::Reassign
            | Command::Import
            | Command::Security => false,
        }
    }
}
