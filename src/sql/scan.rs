//! One pass over a text: a token of look-ahead, a few tokens of memory, no recursion.
//!
//! Owns the position and what is remembered of the statement at hand. Which statement it is and
//! what its first words say is `statement.rs`; what a parenthesis calls is `calls.rs`.
//!
//! Every semicolon begins anew here, even one inside parentheses or a function body, where it
//! only does not count: should [`Boundary`] take a statement for part of a body, its effects are
//! seen all the same.

use super::boundary::Boundary;
use super::command::Command;
use super::facts::{Facts, PinSet, Settings};
use super::lex::{Kind, Lexer, Token};
use super::place_state::Places;
use super::scan_state::{ConfigCall, Language, Mentions};
use super::vocabulary::{Meaning, Vocabulary};
use super::words::{Folded, is_word};
use smallvec::SmallVec;

/// What `text` may do to the session, in one pass.
///
/// `standard_conforming_strings` is the session's setting when the text is sent. The text must
/// be in an encoding whose trail bytes are never ASCII: not SJIS, BIG5, GBK, UHC, GB18030, JOHAB.
/// `vocabulary` says what the names mean in the database that runs the text.
pub fn facts(text: &[u8], standard_conforming_strings: bool, vocabulary: &dyn Vocabulary) -> Facts {
    read(text, standard_conforming_strings, vocabulary, Language::Sql)
}

/// The same of a text in either language.
pub(super) fn read(
    text: &[u8],
    standard_conforming_strings: bool,
    vocabulary: &dyn Vocabulary,
    language: Language,
) -> Facts {
    let mut scan = Scan::new(text, standard_conforming_strings, vocabulary, language);
    while scan.statement() {}
    scan.finish()
}

/// How much of what a statement says takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// It runs.
    #[default]
    Run,
    /// It is planned only (EXPLAIN): functions that claim to be immutable run.
    Plan,
}

/// Tokens remembered: enough for `context db.schema.name (`.
const MEMORY: usize = 8;

pub(super) struct Scan<'a> {
    pub(super) text: &'a [u8],
    pub(super) language: Language,
    pub(super) standard_conforming_strings: bool,
    pub(super) vocabulary: &'a dyn Vocabulary,
    /// What the vocabulary says of itself: asked for each token.
    pub(super) is_known: bool,
    pub(super) mentions: Mentions,
    /// It creates something whose effects it does not show, such as a function.
    pub(super) hides_effects: bool,
    /// Parameters that name settings.
    pub(super) parameters: SmallVec<[u16; 2]>,
    lexer: Lexer<'a>,
    current: Option<Token>,
    pub(super) boundary: Boundary,
    recent: [Token; MEMORY],
    taken: usize,
    pub(super) here: Here,
    pub(super) facts: Facts,
}

/// What is remembered of the statement at hand.
#[derive(Default)]
pub(super) struct Here {
    pub(super) command: Command,
    pub(super) mode: Mode,
    /// The next group is a column list or the like, not arguments.
    pub(super) heading: bool,
    /// It creates something temporary.
    pub(super) temp: bool,
    /// What it defines, event triggers see.
    pub(super) defines: bool,
    /// A bit for each depth: in a WITH list whose main verb is still to come.
    pub(super) with_lists: u64,
    /// A bit for each depth: the last group opened there followed ON.
    pub(super) on_groups: u64,
    /// Inside the arguments of `set_config`.
    pub(super) config: Option<ConfigCall>,
    /// Where it uses names, and whether the database has them.
    pub(super) places: Places,
}

impl<'a> Scan<'a> {
    fn new(
        text: &'a [u8],
        standard_conforming_strings: bool,
        vocabulary: &'a dyn Vocabulary,
        language: Language,
    ) -> Self {
        let none = Token { kind: Kind::Other, start: 0, end: 0 };
        let mut scan = Self {
            text,
            language,
            standard_conforming_strings,
            vocabulary,
            is_known: vocabulary.is_known(),
            mentions: Mentions::default(),
            hides_effects: false,
            parameters: SmallVec::new(),
            lexer: Lexer::new(text, standard_conforming_strings),
            current: None,
            boundary: Boundary::default(),
            recent: [none; MEMORY],
            taken: 0,
            here: Here::default(),
            facts: Facts::default(),
        };
        scan.load();
        scan
    }

    #[inline]
    fn load(&mut self) {
        self.current = self.lexer.find(Token::is_significant);
    }

    /// The next token of this statement, without taking it.
    #[inline]
    pub(super) fn peek(&self) -> Option<Token> {
        self.current.filter(|token| token.kind != Kind::Semicolon)
    }

    /// Takes the next token of this statement.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek()?;
        self.facts.broken |= token.kind == Kind::Unterminated;
        self.boundary.feed(token, self.text);
        // It looks at the tokens before this one.
        self.mention(token);
        if let Some(slot) = self.recent.get_mut(self.taken % MEMORY) {
            *slot = token;
        }
        self.taken += 1;
        self.load();
        Some(token)
    }

    /// The `back`-th last token taken from this statement; 1 is the last.
    pub(super) fn recent(&self, back: usize) -> Option<Token> {
        let index = self.taken.checked_sub(back)?;
        self.recent.get(index % MEMORY).copied()
    }

    /// Whether the token that is being taken is the second of its statement.
    pub(super) fn is_second(&self) -> bool {
        self.taken == 1
    }

    /// Whether a token is the given keyword (lower case), unquoted.
    pub(super) fn is(&self, token: Option<Token>, keyword: &[u8]) -> bool {
        token.is_some_and(|t| t.kind == Kind::Word && is_word(t.bytes(self.text), keyword))
    }

    /// Takes the next token if it is the given keyword.
    pub(super) fn accept(&mut self, keyword: &[u8]) -> bool {
        let found = self.is(self.peek(), keyword);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn fold(&self, token: Token) -> Folded {
        Folded::of(token, self.text)
    }

    /// The rest of the statement says nothing to us.
    pub(super) fn skip(&mut self) {
        while self.next().is_some() {}
    }

    /// Takes one statement; false at the end of the text.
    fn statement(&mut self) -> bool {
        let inside = self.boundary.is_inside();
        self.here = Here::default();
        self.taken = 0;
        if let Some(first) = self.next() {
            match self.language {
                Language::Sql => self.begin(first),
                Language::PlPgSql => self.routine(first),
            }
            self.end(inside);
        }
        let Some(semicolon) = self.current else { return false };
        self.boundary.feed(semicolon, self.text);
        self.load();
        true
    }

    fn end(&mut self, inside: bool) {
        let command = self.here.command;
        if self.here.temp {
            self.pin(PinSet::TEMP_TABLE);
        }
        if self.here.config.take().is_some() {
            self.unknown_setting();
        }
        self.facts.copy |= command == Command::Copy;
        self.facts.transaction |= command.is_transaction_control();
        let uses_unknown = self.end_places();
        if uses_unknown || (command == Command::Other && self.language == Language::Sql) {
            self.unknown_call();
        }
        if self.here.defines {
            self.mentions.meaning |= self.vocabulary.definition();
        }
        if !inside {
            if self.facts.statements == 0 {
                self.facts.first = command;
            }
            self.facts.statements = self.facts.statements.saturating_add(1);
        }
    }

    fn finish(mut self) -> Facts {
        self.facts.broken |= self.boundary.is_inside();
        // What it creates it may use, and the vocabulary does not know it yet.
        let uses_it = self.facts.statements > 1 || self.language == Language::PlPgSql;
        self.facts.taint |= self.is_known && self.hides_effects && uses_it;
        self.take_mentions();
        self.take_parameters();
        if self.facts.broken {
            self.facts.taint = true;
            self.facts.settings = Settings::Unknown;
        }
        self.facts
    }

    /// What the names and strings of the text add.
    fn take_mentions(&mut self) {
        let Mentions { meaning, writes, updates, pg_settings, has_string, literals } =
            std::mem::take(&mut self.mentions);
        if updates && pg_settings {
            // The view has a rule: an UPDATE of it sets.
            self.facts.settings = Settings::Unknown;
            self.facts.computes_setting = true;
        }
        let facts = &mut self.facts;
        facts.writes = writes;
        facts.taint |= meaning.contains(Meaning::TOUCHES) || facts.broken;
        facts.currval |= meaning.contains(Meaning::READS_SEQUENCE);
        facts.local_settings |= meaning.contains(Meaning::SETS_LOCAL);
        facts.ddl |= meaning.contains(Meaning::CHANGES_CATALOG);
        if meaning.contains(Meaning::LEAVES_STATE) {
            facts.pins |= PinSet::STATE;
        }
        facts.may_move_sequence |= facts.pins.contains(PinSet::SEQUENCE)
            || meaning.contains(Meaning::MOVES_SEQUENCE)
            || (writes && meaning.contains(Meaning::MOVES_SEQUENCE_ON_WRITE))
            || (!self.is_known && (writes || facts.taint));
        let may_name = facts.taint || facts.executes || facts.settings == Settings::Unknown;
        if may_name || !self.parameters.is_empty() {
            facts.custom_settings = literals;
            facts.by_value |= has_string;
        }
    }

    /// A single parameter names the only setting that is set, or the name is not known.
    fn take_parameters(&mut self) {
        if self.parameters.is_empty() {
            return;
        }
        let facts = &mut self.facts;
        if let ([number], Settings::Unchanged) = (&self.parameters[..], &facts.settings) {
            facts.setting_named_by_parameter = Some(*number);
        } else {
            facts.computes_setting = true;
        }
        facts.settings = Settings::Unknown;
    }

    pub(super) fn pin(&mut self, pins: PinSet) {
        if self.here.mode == Mode::Run {
            self.facts.pins |= pins;
        }
    }

    pub(super) fn unknown_setting(&mut self) {
        if self.here.mode == Mode::Run {
            self.facts.settings = Settings::Unknown;
            self.facts.computes_setting = true;
        }
    }

    /// The session may set `name`, given as in the text; `None` if the text does not show it.
    pub(super) fn change(&mut self, name: Option<String>, reset: bool) {
        if self.here.mode == Mode::Plan {
            return;
        }
        let Some(name) = name else {
            self.facts.settings = Settings::Unknown;
            return;
        };
        let name = match name.as_str() {
            // The old names that PostgreSQL still takes.
            "sort_mem" => "work_mem",
            "vacuum_mem" => "maintenance_work_mem",
            // Ends with the transaction, however it is set.
            "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => return,
            // Not a value: it sets the state of random().
            "seed" => return self.pin(PinSet::STATE),
            other => other,
        };
        self.facts.change(name);
        if reset {
            self.facts.reset(name);
        }
        if name == "session_authorization" {
            // It sets the role back (manual, SET SESSION AUTHORIZATION).
            self.facts.change("role");
        }
    }
}
