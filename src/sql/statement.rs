//! Which command a statement is, and what its own grammar says about the session.

use super::calls::is_name;
use super::command::Command;
use super::facts::PinSet;
use super::lex::{Kind, Token};
use super::scan::{Mode, Scan};
use super::scan_state::Language;
use super::scan_state::bit;

impl Scan<'_> {
    /// After the first token of a statement was taken: takes the rest of it.
    pub(super) fn begin(&mut self, first: Token) {
        self.here.command = self.command(first);
        if self.here.command == Command::Explain {
            self.explain();
        } else {
            self.body(self.here.command);
        }
    }

    fn command(&mut self, first: Token) -> Command {
        match first.kind {
            Kind::OpenParen => Command::Select,
            Kind::Word => {
                if self.is(Some(first), b"with") {
                    self.here.with_lists = bit(self.boundary.depth());
                }
                Command::of_first_word(self.fold(first).bytes())
            }
            _ => Command::Other,
        }
    }

    /// `EXPLAIN [(options)] [ANALYZE] [VERBOSE] statement`
    fn explain(&mut self) {
        let mut mode = Mode::Plan;
        let base = self.boundary.depth();
        let mut options = self.peek().is_some_and(|token| token.kind == Kind::OpenParen);
        while let Some(token) = self.next() {
            if token.kind == Kind::OpenParen && options && self.at_query() {
                self.here.mode = mode;
                return self.rest();
            }
            if self.is(Some(token), b"analyze") || self.is(Some(token), b"analyse") {
                mode = Mode::Run;
            } else if options {
                options = self.boundary.depth() > base;
            } else if !self.is(Some(token), b"verbose") {
                self.here.mode = mode;
                // A second parenthesis begins the query: `EXPLAIN (ANALYZE) (SELECT …)`.
                let command = self.command(token);
                self.body(command);
                return;
            }
        }
    }

    /// Whether a query follows, not an option.
    fn at_query(&self) -> bool {
        let token = self.peek();
        token.is_some_and(|token| token.kind == Kind::OpenParen)
            || [b"select".as_slice(), b"with", b"values", b"table"]
                .iter()
                .any(|keyword| self.is(token, keyword))
    }

    pub(super) fn body(&mut self, command: Command) {
        self.define(command);
        match command {
            Command::Select
            | Command::Values
            | Command::Table
            | Command::Insert
            | Command::Update
            | Command::Delete
            | Command::Merge
            | Command::Other => self.rest(),
            Command::Set => self.set(),
            Command::Reset => self.reset(),
            Command::Commit | Command::Rollback => self.transaction(command),
            Command::Prepare => self.prepare(),
            Command::Declare => self.declare(),
            Command::Copy => self.copy(),
            Command::Create => self.create(),
            Command::Alter => self.alter(),
            Command::Do => self.anonymous_block(),
            Command::Call => self.call(),
            Command::Execute => {
                self.facts.executes = true;
                self.rest();
            }
            Command::Discard => self.discard(),
            Command::Listen => self.only(PinSet::LISTEN, PinSet::empty()),
            Command::Load => self.only(PinSet::LOAD, PinSet::empty()),
            Command::Unlisten => self.only(PinSet::empty(), PinSet::LISTEN),
            Command::Deallocate => self.only(PinSet::empty(), PinSet::PREPARED),
            Command::Close => self.only(PinSet::empty(), PinSet::HOLD_CURSOR),
            Command::Drop => self.only(PinSet::empty(), PinSet::TEMP_TABLE),
            Command::Empty
            | Command::Begin
            | Command::RollbackTo
            | Command::Savepoint
            | Command::Release
            | Command::PrepareTransaction
            | Command::CommitPrepared
            | Command::RollbackPrepared
            | Command::Show
            | Command::Notify
            | Command::Fetch
            | Command::Move
            | Command::Lock
            | Command::Explain
            | Command::Truncate
            | Command::Comment
            | Command::Grant
            | Command::Revoke
            | Command::Vacuum
            | Command::Analyze
            | Command::Cluster
            | Command::Reindex
            | Command::Refresh
            | Command::Checkpoint
            | Command::Reassign
            | Command::Import
            | Command::Security => self.skip(),
        }
    }

    /// Notes that a statement changes the catalog; `create` decides for itself.
    fn define(&mut self, command: Command) {
        let defines = matches!(
            command,
            Command::Alter
                | Command::Drop
                | Command::Truncate
                | Command::Comment
                | Command::Grant
                | Command::Revoke
                | Command::Cluster
                | Command::Reindex
                | Command::Reassign
                | Command::Import
                | Command::Security
        );
        self.here.defines |= defines || matches!(command, Command::Create | Command::Refresh);
        // These change no meaning of a name.
        let keeps_meanings = matches!(
            command,
            Command::Truncate
                | Command::Comment
                | Command::Grant
                | Command::Revoke
                | Command::Cluster
                | Command::Reindex
                | Command::Security
        );
        let removes = command == Command::Drop;
        self.facts.removes |= removes;
        self.facts.ddl |= defines && !keeps_meanings && !removes;
        if matches!(
            command,
            Command::Vacuum | Command::Analyze | Command::Cluster | Command::Reindex
        ) {
            self.mentions.meaning |= self.vocabulary.maintenance();
        }
    }

    /// `CALL procedure(arguments)`: a procedure is known or unknown as a function is.
    fn call(&mut self) {
        self.facts.may_hide_ddl = true;
        if !self.is_known {
            self.opaque();
        }
        self.rest();
    }

    fn only(&mut self, pins: PinSet, releases: PinSet) {
        self.pin(pins);
        self.facts.releases |= releases;
        self.skip();
    }

    /// Looks for calls and for what else an expression or query may do.
    fn rest(&mut self) {
        while let Some(token) = self.next() {
            if self.here.config.is_some() {
                self.config_step(token);
            }
            match token.kind {
                Kind::Word => self.word(token),
                Kind::OpenParen => self.open(),
                _ => {}
            }
        }
    }

    #[inline]
    pub(super) fn word(&mut self, token: Token) {
        let word = token.bytes(self.text);
        match (word.len(), word.first().map(|b| b | 0x20)) {
            (4, Some(b'i')) if self.is(Some(token), b"into") => self.into(),
            (4, Some(b'w'))
                if self.is(Some(token), b"with")
                    && self.recent(2).is_none_or(|before| before.kind == Kind::OpenParen) =>
            {
                self.here.with_lists |= bit(self.boundary.depth());
            }
            (4, Some(b'd'))
                if self.here.temp
                    && self.is(Some(token), b"drop")
                    && self.is(self.recent(2), b"commit")
                    && self.is(self.recent(3), b"on") =>
            {
                self.here.temp = false;
            }
            (2, Some(b'a')) if self.is(Some(token), b"as") => {
                self.here.heading = false;
                if self.here.command != Command::Select && self.is(self.peek(), b"execute") {
                    self.facts.executes = true;
                }
            }
            (5..=6, _) if self.here.with_lists != 0 => self.end_with_list(token),
            _ => {}
        }
    }

    /// The main verb ends a WITH list, and says what `WITH …` is.
    fn end_with_list(&mut self, token: Token) {
        let command = Command::of_first_word(self.fold(token).bytes());
        let is_verb = matches!(
            command,
            Command::Select
                | Command::Values
                | Command::Table
                | Command::Insert
                | Command::Update
                | Command::Delete
                | Command::Merge
        );
        let depth = self.boundary.depth();
        if is_verb && self.here.with_lists & bit(depth) != 0 {
            self.here.with_lists &= !bit(depth);
            if self.here.command == Command::Other {
                self.here.command = command;
            }
        }
    }

    /// `SELECT … INTO [LOCAL | GLOBAL] TEMP x`, `SELECT … INTO pg_temp.x`
    fn into(&mut self) {
        let before = self.recent(2);
        if self.is(before, b"insert") || self.is(before, b"merge") {
            return;
        }
        let Some(target) = self.peek() else { return };
        let word = self.fold(target);
        if matches!(word.bytes(), b"temp" | b"temporary" | b"local" | b"global")
            || self.may_be_temp_schema(target)
        {
            self.here.defines = true;
            self.pin(PinSet::TEMP_TABLE);
        } else if self.language == Language::Sql {
            // In PL/pgSQL it names a variable.
            self.here.defines = true;
            self.facts.ddl |= self.here.mode == Mode::Run;
        }
    }

    fn may_be_temp_schema(&self, token: Token) -> bool {
        token.kind == Kind::UnicodeName || self.fold(token).bytes().starts_with(b"pg_temp")
    }

    fn transaction(&mut self, command: Command) {
        let is_rollback = command == Command::Rollback;
        while let Some(token) = self.next() {
            if self.is(Some(token), b"prepared") {
                self.here.command =
                    if is_rollback { Command::RollbackPrepared } else { Command::CommitPrepared };
                // Nobody remembers what the transaction has done.
                self.facts.ddl |= !is_rollback;
            } else if is_rollback && self.is(Some(token), b"to") {
                self.here.command = Command::RollbackTo;
            }
        }
    }

    /// `PREPARE TRANSACTION 'x'`, or `PREPARE name [(types)] AS statement`, which does not run.
    fn prepare(&mut self) {
        let word = self.next();
        let is_literal = self.peek().is_some_and(|token| {
            matches!(
                token.kind,
                Kind::Text | Kind::EscapeText | Kind::UnicodeText | Kind::DollarText
            )
        });
        if self.is(word, b"transaction") && is_literal {
            self.here.command = Command::PrepareTransaction;
        } else {
            self.pin(PinSet::PREPARED);
        }
        self.skip();
    }

    /// `DECLARE name … CURSOR [WITH HOLD] FOR query`
    fn declare(&mut self) {
        self.next();
        while let Some(token) = self.next() {
            if self.is(Some(token), b"hold") && self.is(self.recent(2), b"with") {
                self.pin(PinSet::HOLD_CURSOR);
            } else if self.is(Some(token), b"for") {
                break;
            }
        }
        if self.is(self.peek(), b"with") {
            self.next();
            self.here.with_lists = bit(self.boundary.depth());
        }
        self.rest();
    }

    /// `COPY [BINARY] table [(columns)] …` or `COPY (query) TO …`
    fn copy(&mut self) {
        self.accept(b"binary");
        while self.peek().filter(is_name).is_some() {
            self.next();
            if self.peek().is_none_or(|token| token.kind != Kind::Dot) {
                self.here.heading = self.peek().is_some_and(|t| t.kind == Kind::OpenParen);
                break;
            }
            self.next();
        }
        self.rest();
    }

    fn discard(&mut self) {
        if self.accept(b"all") {
            self.facts.discard_all = true;
            self.facts.releases = PinSet::all();
        } else if self.accept(b"temp") || self.accept(b"temporary") {
            self.facts.releases |= PinSet::TEMP_TABLE;
        } else if self.accept(b"sequences") {
            self.facts.releases |= PinSet::SEQUENCE;
        }
        self.skip();
    }

    /// Only tables, materialized views and indexes run expressions when they are created.
    fn create(&mut self) {
        let (mut runs, mut is_private) = (false, false);
        while let Some(token) = self.next() {
            let word = self.fold(token);
            match word.bytes() {
                b"or" | b"replace" | b"unlogged" | b"unique" | b"recursive" | b"foreign"
                | b"constraint" | b"event" | b"trusted" | b"procedural" | b"default" | b"text"
                | b"search" | b"access" | b"global" | b"local" => {}
                b"temp" | b"temporary" => self.here.temp = true,
                b"materialized" => runs = true,
                b"table" | b"index" => {
                    is_private = self.here.temp;
                    runs = true;
                    break;
                }
                b"extension" | b"language" => {
                    // Runs a script, or loads a library.
                    self.facts.taint = true;
                    break;
                }
                _ => break,
            }
        }
        self.facts.ddl |= !is_private && self.here.mode == Mode::Run;
        self.created_name();
        if runs {
            self.here.heading = true;
            self.rest();
        } else {
            self.rest_of_definition();
        }
    }

    /// `[CONCURRENTLY] [IF NOT EXISTS] [schema.]name`
    fn created_name(&mut self) {
        for keyword in [b"concurrently".as_slice(), b"if", b"not", b"exists"] {
            self.accept(keyword);
        }
        let Some(name) = self.peek().filter(is_name) else { return };
        if self.is(Some(name), b"on") {
            return;
        }
        self.next();
        if self.peek().is_some_and(|token| token.kind == Kind::Dot) {
            self.here.temp |= self.may_be_temp_schema(name);
            self.next();
            self.next();
        }
    }

    /// What is created runs later, if at all; but a function in C is loaded at once.
    fn rest_of_definition(&mut self) {
        self.hides_effects = true;
        while let Some(token) = self.next() {
            if self.is(self.recent(2), b"language") {
                self.facts.by_value = true;
                let language = token.bytes(self.text);
                let is_c = matches!(language, b"c" | b"C" | b"'c'" | b"'C'" | b"\"c\"");
                // Written in one of these ways it may be any.
                let may_be_c = matches!(
                    token.kind,
                    Kind::EscapeText | Kind::UnicodeText | Kind::DollarText | Kind::UnicodeName
                );
                if is_c || may_be_c {
                    self.pin(PinSet::LOAD);
                }
            }
        }
    }

    fn alter(&mut self) {
        if self.is(self.peek(), b"extension") {
            self.facts.taint = true;
        }
        self.rest();
    }
}
