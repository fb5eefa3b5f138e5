//! The body of a PL/pgSQL function or of a DO statement, read for what it may do to the session.
//!
//! Never parses PL/pgSQL. It is enough to know where a statement may begin: behind a semicolon and
//! behind the few words that open a block or a branch. A statement that begins like a command of SQL
//! is read as one; everything else is looked through for calls and names. `EXECUTE` runs a text that
//! nobody can see, so it may do anything.

use super::command::Command;
use super::facts::{Facts, Settings};
use super::lex::{Kind, Token};
use super::scan::{Scan, read};
use super::scan_state::Language;
use super::vocabulary::Vocabulary;

/// What a PL/pgSQL body may do to the session, in one pass.
///
/// `standard_conforming_strings` as for [`super::facts`].
pub fn routine_facts(
    body: &[u8],
    standard_conforming_strings: bool,
    vocabulary: &dyn Vocabulary,
) -> Facts {
    read(body, standard_conforming_strings, vocabulary, Language::PlPgSql)
}

impl Scan<'_> {
    /// After the first token of a PL/pgSQL statement was taken: takes the rest up to the semicolon.
    pub(super) fn routine(&mut self, first: Token) {
        let mut start = Some(first);
        while let Some(token) = start {
            start = self.routine_statement(token);
        }
    }

    /// The token with which the next statement begins, if one begins before the semicolon.
    fn routine_statement(&mut self, first: Token) -> Option<Token> {
        if self.opens_statement(first) {
            return self.next();
        }
        if self.is(Some(first), b"execute") {
            self.opaque();
            return self.routine_rest();
        }
        let folded = self.fold(first);
        let command = match first.kind {
            Kind::Word => Command::of_first_word(folded.bytes()),
            _ => Command::Other,
        };
        match command {
            Command::Set
            | Command::Reset
            | Command::Discard
            | Command::Prepare
            | Command::Deallocate
            | Command::Listen
            | Command::Unlisten
            | Command::Copy
            | Command::Load
            | Command::Do
            | Command::Create
            | Command::Alter
            | Command::Drop
            | Command::Truncate
            | Command::Comment
            | Command::Grant
            | Command::Revoke
            | Command::Analyze
            | Command::Cluster
            | Command::Reindex
            | Command::Reassign
            | Command::Import
            | Command::Security => {
                self.here.command = command;
                self.body(command);
                None
            }
            _ => {
                if self.is(Some(first), b"with") {
                    self.here.with_lists = super::scan_state::bit(self.boundary.depth());
                }
                self.routine_rest()
            }
        }
    }

    fn opens_statement(&self, token: Token) -> bool {
        [&b"begin"[..], b"then", b"else", b"loop", b"declare", b"exception"]
            .iter()
            .any(|word| self.is(Some(token), word))
    }

    /// Looks for calls up to the semicolon, or up to a word behind which a statement begins; takes the
    /// first token of that.
    fn routine_rest(&mut self) -> Option<Token> {
        while let Some(token) = self.next() {
            if self.here.config.is_some() {
                self.config_step(token);
            }
            match token.kind {
                Kind::Word if self.opens_statement(token) => return self.next(),
                // FOR … IN EXECUTE, RETURN QUERY EXECUTE, OPEN … FOR EXECUTE.
                Kind::Word if self.is(Some(token), b"execute") => self.opaque(),
                Kind::Word => self.word(token),
                Kind::OpenParen => self.open(),
                _ => {}
            }
        }
        None
    }

    /// It runs a text that nobody can see.
    pub(super) fn opaque(&mut self) {
        self.facts.taint = true;
        self.facts.runs_text = true;
        self.facts.may_hide_ddl = true;
        self.facts.may_move_sequence = true;
        self.facts.local_settings = true;
        self.facts.computes_setting = true;
    }

    /// Behind DO: its body is read like a function's, unless another language or a second body makes
    /// it uncertain.
    pub(super) fn anonymous_block(&mut self) {
        let is_nested = self.language == Language::PlPgSql;
        let body = self.peek().filter(|token| is_plain_body(*token, self.text));
        let mut others = 0;
        while self.next().is_some() {
            others += 1;
        }
        let Some(body) = body.filter(|_| !is_nested && others == 1) else {
            self.facts.by_value = true;
            return self.opaque();
        };
        self.facts.by_value |= body.kind == Kind::Text;
        let bytes = inside(body, self.text).replace_quotes();
        let found = routine_facts(&bytes, self.standard_conforming_strings, self.vocabulary);
        self.adopt(&found);
        self.facts.taint |= !self.is_known;
    }

    fn adopt(&mut self, found: &Facts) {
        let facts = &mut self.facts;
        match (&found.settings, &found.reset) {
            (Settings::Unchanged, _) => {}
            (Settings::Names(names), _) => names.iter().for_each(|name| facts.change(name)),
            (Settings::Unknown, _) => facts.settings = Settings::Unknown,
        }
        found.reset.iter().for_each(|name| facts.reset(name));
        facts.reset_all |= found.reset_all;
        facts.pins |= found.pins;
        facts.releases |= found.releases;
        facts.currval |= found.currval;
        facts.taint |= found.taint || found.broken || found.discard_all || found.executes;
        facts.ddl |= found.ddl;
        facts.removes |= found.removes;
        facts.may_hide_ddl |= found.may_hide_ddl;
        facts.runs_text |= found.runs_text;
        facts.may_move_sequence |= found.may_move_sequence;
        facts.local_settings |= found.local_settings;
        facts.computes_setting |= found.computes_setting;
        for name in &found.custom_settings {
            self.literal_setting(name);
        }
        // A parameter cannot stand in a body: its name is a variable's.
        self.mentions.writes |= found.writes;
    }
}

/// The body of a string, and whether quotes in it are doubled.
struct Inside<'a> {
    bytes: &'a [u8],
    doubled: bool,
}

impl<'a> Inside<'a> {
    fn replace_quotes(&self) -> std::borrow::Cow<'a, [u8]> {
        if !self.doubled || memchr::memchr(b'\'', self.bytes).is_none() {
            return self.bytes.into();
        }
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut bytes = self.bytes.iter();
        while let Some(&byte) = bytes.next() {
            out.push(byte);
            if byte == b'\'' {
                bytes.next();
            }
        }
        out.into()
    }
}

fn is_plain_body(token: Token, text: &[u8]) -> bool {
    match token.kind {
        Kind::DollarText => true,
        Kind::Text => {
            let bytes = token.bytes(text);
            // With a backslash it depends on a setting; a second line may be a second string.
            bytes.first() == Some(&b'\'')
                && !bytes.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
        }
        _ => false,
    }
}

fn inside(token: Token, text: &[u8]) -> Inside<'_> {
    let bytes = token.bytes(text);
    let doubled = token.kind == Kind::Text;
    let mark = if doubled {
        1
    } else {
        memchr::memchr(b'$', bytes.get(1..).unwrap_or_default()).map_or(0, |at| at + 2)
    };
    let bytes = bytes.get(mark..bytes.len().saturating_sub(mark)).unwrap_or_default();
    Inside { bytes, doubled }
}
