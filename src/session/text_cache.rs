//! What a worker knows of the texts that its clients send.
//!
//! Owns, for texts that come again, what running them may do to the session and which statement they
//! are. A text is known as it is, or by its skeleton: values may differ then, and what is told of it
//! must not depend on them. Texts are compared whole, never by their hashes alone. Bounded: when it
//! is full it begins anew.

use super::effects::{Effects, Found, effects_of};
use super::read_rules::ReadRules;
use crate::catalog::Catalog;
use crate::metrics::{Cost, Queries, Recorder, Run};
use crate::routing::{Reason, Unread, Verdict, hint, read_text};
use crate::sql::{self, Lexer, NoVocabulary, Rules};
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a text that tell statements apart.
const READ_MAX: usize = 64 * 1024;
/// Characters of a statement that are shown.
const SHOWN_MAX: usize = 1000;
/// Texts that are known at a time, and their bytes in all.
const KNOWN_MAX: usize = 8 * 1024;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Stands for texts that pass without being read.
const UNREAD: &[u8] = b"(a statement too long to be read)";

impl std::fmt::Debug for Known {
    /// Without its text, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("form", &self.form).field("run", &self.run).finish()
    }
}

/// Which texts an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// This very text, whatever `standard_conforming_strings` is.
    Text,
    /// This very text under that setting.
    TextUnder(bool),
    /// Every text of this skeleton, which has values in it.
    Skeleton,
}

impl Form {
    fn is_text(self, conforming: bool) -> bool {
        matches!(self, Self::Text) || self == Self::TextUnder(conforming)
    }
}

struct Known {
    hash: u64,
    form: Form,
    text: Box<[u8]>,
    database: Box<str>,
    /// What running it may do, once that was asked for, if that is all there is to say of every such
    /// text; and for which generation of the database's catalog that was said.
    effects: Option<(Effects, u64)>,
    /// Where it may run, under the same conditions, and by which rules that was said.
    verdict: Option<(Rc<Verdict>, u64, Arc<ReadRules>)>,
    run: Option<Run>,
}

/// A text and what else its meaning depends on.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// The database that the client asked for.
    pub database: &'a str,
    /// By which rules it is read.
    pub rules: Rules,
    /// What the database's names mean; nothing where that has just changed.
    pub catalog: Option<&'a Catalog>,
    /// The text, which may be masked.
    pub sql: &'a [u8],
}

impl Text<'_> {
    #[inline]
    fn generation(&self) -> u64 {
        self.catalog.map_or(0, Catalog::generation)
    }

    fn verdict(&self, rules: &ReadRules) -> Verdict {
        let policy = rules.policy();
        match self.catalog.and_then(Catalog::snapshot) {
            Some(snapshot) => read_text(self.sql, self.rules, policy, &*snapshot),
            None => read_text(self.sql, self.rules, policy, &Unread),
        }
    }

    fn found(&self, custom: &mut dyn FnMut(&str) -> bool) -> Found {
        match self.catalog.and_then(Catalog::snapshot) {
            Some(snapshot) => effects_of(self.sql, self.rules, &*snapshot, custom),
            None => effects_of(self.sql, self.rules, &NoVocabulary, custom),
        }
    }
}

/// Whether another value in the text may let it run elsewhere: that of an option, a setting, or the name
/// of a setting.
fn depends_on_values(sql: &[u8]) -> bool {
    const QUERIES: [&[u8]; 7] =
        [b"select", b"with", b"values", b"table", b"insert", b"update", b"delete"];
    let mut tokens = Lexer::new(sql, true).filter(|token| token.is_significant());
    let first = tokens.find(|token| token.kind != sql::Kind::OpenParen);
    let is_query = first.is_some_and(|token| {
        QUERIES.iter().any(|word| token.bytes(sql).eq_ignore_ascii_case(word))
    });
    !is_query || tokens.any(|token| token.bytes(sql).eq_ignore_ascii_case(b"current_setting"))
}

/// One worker's texts and statements.
pub struct TextCache {
    queries: Arc<Queries>,
    recorder: Recorder,
    seed: foldhash::fast::RandomState,
    known: Vec<Known>,
    places: HashTable<usize>,
    bytes: usize,
    scratch: Vec<u8>,
    judged: Judged,
}

/// The text that was judged last, which is mostly the next to be read.
#[derive(Default)]
struct Judged {
    text: Vec<u8>,
    is_conforming: bool,
    place: Option<usize>,
}

impl std::fmt::Debug for TextCache {
    /// Without what was read last, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").field("known", &self.known).finish_non_exhaustive()
    }
}

impl TextCache {
    /// Of this thread, without any.
    pub fn new(queries: &Arc<Queries>, thread: usize) -> Self {
        Self {
            queries: Arc::clone(queries),
            recorder: Recorder::new(queries, thread),
            seed: foldhash::fast::RandomState::default(),
            known: Vec::new(),
            places: HashTable::new(),
            bytes: 0,
            scratch: Vec::new(),
            judged: Judged::default(),
        }
    }

    /// What running a text may do to the session. `custom` is told each setting that it names, and
    /// says whether it can be asked for.
    pub fn effects(&mut self, text: Text<'_>, custom: &mut dyn FnMut(&str) -> bool) -> Effects {
        if text.sql.len() > READ_MAX {
            return text.found(custom).effects;
        }
        // In this order: what is remembered of an older generation is looked up in vain.
        let generation = text.generation();
        let place = self.place(text);
        let known = self.known.get(place);
        if let Some((effects, known)) = known.and_then(|known| known.effects)
            && known == generation
        {
            return effects;
        }
        let found = text.found(custom);
        if let Some(known) = self.known.get_mut(place) {
            let lasts = !found.by_name && (!found.by_value || known.form != Form::Skeleton);
            known.effects = lasts.then_some((found.effects, generation));
        }
        found.effects
    }

    /// Where a text may run.
    pub fn judge(&mut self, text: Text<'_>, rules: &Arc<ReadRules>) -> Rc<Verdict> {
        // Texts that differ in comments only are one here.
        if let Some(reason) = hint(text.sql) {
            return Rc::new(Verdict::Primary(reason));
        }
        self.judge_without_hint(text, rules)
    }

    /// The same, whatever a comment in front of it asks for.
    pub fn judge_without_hint(&mut self, text: Text<'_>, rules: &Arc<ReadRules>) -> Rc<Verdict> {
        if text.sql.len() > READ_MAX {
            return Rc::new(Verdict::Primary(Reason::TooLong));
        }
        let generation = text.generation();
        let place = self.place_of_any(text);
        self.judged.text.clear();
        self.judged.text.extend_from_slice(text.sql);
        (self.judged.is_conforming, self.judged.place) = (text.rules.are_conforming(), Some(place));
        let known = self.known.get(place);
        if let Some((verdict, known, by)) = known.and_then(|known| known.verdict.as_ref())
            && *known == generation
            && Arc::ptr_eq(by, rules)
        {
            return Rc::clone(verdict);
        }
        let verdict = Rc::new(text.verdict(rules));
        if let Some(known) = self.known.get_mut(place)
            && (known.form != Form::Skeleton || !depends_on_values(text.sql))
        {
            known.verdict = Some((Rc::clone(&verdict), generation, Arc::clone(rules)));
        }
        verdict
    }

    /// Both of a Query's text: what running it may do, and the statement that it is.
    #[inline]
    pub fn read(
        &mut self,
        text: Text<'_>,
        custom: &mut dyn FnMut(&str) -> bool,
    ) -> (Effects, Option<Run>) {
        if self.queries.is_on() && text.sql.len() <= READ_MAX {
            let place = self.judged_place(text).unwrap_or_else(|| self.place_of_any(text));
            if let Some(&Known { effects: Some((effects, generation)), run: Some(run), .. }) =
                self.known.get(place)
                && generation == text.generation()
                && self.recorder.has(run)
            {
                return (effects, Some(run));
            }
        }
        (self.effects(text, custom), self.run(text))
    }

    /// The statement that a text is, if statements are counted.
    pub fn run(&mut self, text: Text<'_>) -> Option<Run> {
        if !self.queries.is_on() {
            return None;
        }
        let text = Text { sql: text.sql.get(..READ_MAX).unwrap_or(text.sql), ..text };
        let place = self.place(text);
        let known = self.known.get(place).and_then(|known| known.run);
        if let Some(run) = known.filter(|run| self.recorder.has(*run)) {
            return Some(run);
        }
        self.scratch.clear();
        sql::normalise(text.sql, text.rules.are_conforming(), &mut self.scratch);
        let run = self.recorder.add(text.database, &self.scratch, || shown(&self.scratch));
        if let Some(known) = self.known.get_mut(place) {
            known.run = run;
        }
        run
    }

    /// What running a text usually takes, if that was counted.
    pub(super) fn usual_time(&mut self, text: Text<'_>) -> Option<Duration> {
        let run = self.run(text)?;
        self.recorder.usual_time(run)
    }

    /// Whether this is still the number of a statement.
    #[inline]
    pub(super) fn has(&mut self, run: Run) -> bool {
        self.recorder.has(run)
    }

    /// The statement that stands for texts which were not read.
    pub fn run_unread(&mut self, database: &str) -> Option<Run> {
        self.run(Text { database, rules: Rules::STANDARD, catalog: None, sql: UNREAD })
    }

    /// Counts what a statement cost.
    #[inline]
    pub fn record(&mut self, run: Run, cost: &Cost) {
        self.recorder.record(run, cost);
    }

    /// The statement's text for people.
    pub fn shown(&mut self, run: Run) -> Option<&str> {
        self.recorder.text(run)
    }

    fn hash(&self, database: &str, text: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(text);
        hasher.write(database.as_bytes());
        hasher.finish()
    }

    /// Where a text is known that was just judged. Told once.
    #[inline]
    fn judged_place(&mut self, text: Text<'_>) -> Option<usize> {
        let place = self.judged.place.take()?;
        let is_it = self.judged.text == text.sql
            && self.judged.is_conforming == text.rules.are_conforming()
            && self.known.get(place).is_some_and(|known| *known.database == *text.database);
        is_it.then_some(place)
    }

    /// Where a text is known, which is likely to come as it is; if it is new, from now on.
    fn place(&mut self, text: Text<'_>) -> usize {
        let hash = self.hash(text.database, text.sql);
        let known = self.find(hash, text, |form| form.is_text(text.rules.are_conforming()));
        known.unwrap_or_else(|| self.place_of_any(text))
    }

    /// The same of a text that is likely to come with other values each time.
    #[inline]
    fn place_of_any(&mut self, text: Text<'_>) -> usize {
        let mut bones = std::mem::take(&mut self.scratch);
        bones.clear();
        let (form, sql) = match sql::skeleton(text.sql, &mut bones) {
            sql::Skeleton::Whole => (Form::Text, text.sql),
            sql::Skeleton::None => (Form::TextUnder(text.rules.are_conforming()), text.sql),
            sql::Skeleton::Bare => (Form::Skeleton, &bones[..]),
        };
        let (hash, text) = (self.hash(text.database, sql), Text { sql, ..text });
        let known = self.find(hash, text, |other| other == form);
        let place = known.unwrap_or_else(|| self.learn(hash, text, form));
        self.scratch = bones;
        place
    }

    fn find(&self, hash: u64, text: Text<'_>, is_form: impl Fn(Form) -> bool) -> Option<usize> {
        let is_it = |place: &usize| {
            self.known.get(*place).is_some_and(|known| {
                *known.text == *text.sql && is_form(known.form) && *known.database == *text.database
            })
        };
        self.places.find(hash, is_it).copied()
    }

    #[cold]
    fn learn(&mut self, hash: u64, text: Text<'_>, form: Form) -> usize {
        let size = text.sql.len() + text.database.len() + size_of::<Known>();
        if self.known.len() >= KNOWN_MAX || self.bytes + size > BYTES_MAX {
            self.known.clear();
            self.places.clear();
            self.bytes = 0;
            self.judged.place = None;
        }
        self.bytes += size;
        let place = self.known.len();
        self.known.push(Known {
            hash,
            form,
            text: text.sql.into(),
            database: text.database.into(),
            effects: None,
            verdict: None,
            run: None,
        });
        let hash_of = |place: &usize| self.known.get(*place).map_or(0, |known| known.hash);
        self.places.insert_unique(hash, place, hash_of);
        place
    }
}

/// A normal form to be read by people, in one line.
pub(super) fn shown(normal: &[u8]) -> String {
    let text = sql::readable(normal.get(..4 * SHOWN_MAX).unwrap_or(normal));
    let one_line = |sign: char| if sign.is_control() { ' ' } else { sign };
    text.chars().take(SHOWN_MAX).map(one_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts() -> TextCache {
        TextCache::new(&Arc::new(Queries::new(1, 100)), 0)
    }

    fn text(sql: &str) -> Text<'_> {
        Text { database: "shop", rules: Rules::STANDARD, catalog: None, sql: sql.as_bytes() }
    }

    fn effects(texts: &mut TextCache, sql: &str) -> (Effects, Vec<String>) {
        let mut names = Vec::new();
        let mut note = |name: &str| {
            names.push(name.to_owned());
            true
        };
        (texts.effects(text(sql), &mut note) & Effects::CHECKED, names)
    }

    #[test]
    fn one_statement_whatever_its_values_are() {
        let mut texts = texts();
        let mut run = |sql: &str| texts.run(text(sql)).expect("it is counted");
        let first = run("SELECT a FROM t WHERE b = 1 AND c = 'x'");
        assert_eq!(run("SELECT a FROM t WHERE b = 27 AND c = 'it''s'"), first);
        assert_eq!(run("select a  from t where b = $1 and c = E'\\n'"), first);
        assert_eq!(run("SELECT a FROM t WHERE b = 1 AND c = 'x' /* 17 */"), first);
        assert_ne!(run("SELECT a FROM t WHERE b = 1 AND d = 'x'"), first);
        let elsewhere =
            Text { database: "other", ..text("SELECT a FROM t WHERE b = 1 AND c = 'x'") };
        assert_ne!(texts.run(elsewhere), Some(first));
    }

    #[test]
    fn what_is_read_out_of_a_value_is_read_each_time() {
        let mut texts = texts();
        for _ in 0..3 {
            for (sql, expected, names) in [
                ("SELECT set_config('work_mem', '1', false)", Effects::SETTINGS, &["work_mem"][..]),
                ("SELECT set_config('app.x', '1', false)", Effects::SETTINGS, &["app.x"]),
                ("SELECT set_config('app.x', '1', true)", Effects::empty(), &[]),
                ("SELECT set_config('app.x', '1', 'f')", Effects::SETTINGS, &["app.x"]),
                ("SELECT set_config('app.x', '1', 't')", Effects::empty(), &[]),
                ("SET app.y = '1'", Effects::SETTINGS, &["app.y"]),
                ("SELECT 'a'", Effects::empty(), &[]),
                ("DO 'a'", Effects::SETTINGS | Effects::OBJECTS | Effects::UNKNOWN_SETTINGS, &[]),
            ] {
                let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
                assert_eq!(effects(&mut texts, sql), (expected, names), "{sql}");
            }
        }
    }

    #[test]
    fn other_rules_judge_anew() {
        let mut texts = texts();
        let reading = |name: &str| {
            let pattern = crate::routing::FunctionPattern::parse(name).expect("a name");
            let mut rules = ReadRules::default();
            rules.functions.reads = [pattern].into();
            Arc::new(rules)
        };
        let (without, with) = (Arc::new(ReadRules::default()), reading("f"));
        for _ in 0..2 {
            let judged = |texts: &mut TextCache, rules| texts.judge(text("SELECT f()"), rules);
            let unknown = Verdict::Primary(Reason::UnknownFunction);
            assert_eq!(*judged(&mut texts, &without), unknown);
            assert_eq!(*judged(&mut texts, &with), Verdict::Read);
            assert!(Rc::ptr_eq(&judged(&mut texts, &with), &judged(&mut texts, &with)));
        }
    }

    #[test]
    fn a_text_is_not_taken_for_a_skeleton_nor_for_itself_under_another_setting() {
        let mut texts = texts();
        let bare = texts.place(text("SELECT 5"));
        assert_ne!(texts.place(text("SELECT \u{1}")), bare);
        assert_eq!(texts.place(text("SELECT 6")), bare);
        let sql = "SELECT '\\', set_config('app.x', '1', false), '\\'";
        let (mut here, mut there) = (Effects::empty(), Effects::empty());
        for _ in 0..2 {
            here = effects(&mut texts, sql).0;
            let other = Text { rules: Rules::safe(false), ..text(sql) };
            there = texts.effects(other, &mut |_| true);
        }
        assert_eq!(here, Effects::SETTINGS);
        assert_ne!(there, here, "there the call is inside of a string that does not end");
    }

    #[test]
    fn many_texts_take_a_bounded_place() {
        let mut texts = texts();
        let long = "x".repeat(READ_MAX / 2);
        for n in 0..3 * KNOWN_MAX {
            let sql = if n % 97 == 0 { format!("SHOW {long}{n}y") } else { format!("SHOW a{n}") };
            assert_eq!(effects(&mut texts, &sql).0, Effects::empty());
            assert!(texts.run(text(&sql)).is_some());
            assert!(texts.known.len() <= KNOWN_MAX && texts.bytes <= BYTES_MAX);
            assert_eq!(texts.known.len(), texts.places.len());
        }
        let most = Text { sql: long.repeat(3).leak().as_bytes(), ..text("") };
        assert_ne!(texts.effects(most, &mut |_| true), Effects::empty(), "an unknown command");
        assert!(texts.run(most).is_some());
    }

    #[test]
    fn a_statement_that_is_gone_is_found_anew_and_none_is_when_none_are_counted() {
        let queries = Arc::new(Queries::new(1, 100));
        let mut texts = TextCache::new(&queries, 0);
        let first = texts.run(text("SELECT 1")).expect("it is counted");
        queries.reset();
        let again = texts.run(text("SELECT 2")).expect("it is counted");
        texts.record(first, &Cost::default());
        assert_eq!(queries.totals().len(), usize::from(first == again));
        texts.record(again, &Cost::default());
        assert_eq!(queries.totals().len(), 1);
        queries.set_limit(0);
        assert_eq!(texts.run(text("SELECT 1")), None);
    }

    #[test]
    fn what_is_shown_is_one_line_of_some_length() {
        assert_eq!(shown(b"select \"a\nb\" = \x01"), "select \"a b\" = $1");
        assert_eq!(shown(&[b'x'; 9000]).len(), SHOWN_MAX);
    }

    proptest! {
        /// Whatever came before, a text's effects are those that reading it gives.
        #[test]
        fn remembering_changes_nothing(
            pieces in prop::collection::vec(
                prop::collection::vec(prop::sample::select(vec![
                    "SELECT", "set_config", "(", ")", ",", "1", "2", "'a'", "'app.x'", "'app.y'", "true", "'t'", "false",
                    "'f'", ";", "SET", "app.x", "=", "RESET", "ALL", "LISTEN", "x", "CREATE", "FUNCTION", "LANGUAGE",
                    "'c'", "'sql'", "E'\\n'", "'\\'", "/* 1 */", "-- 2\n", "$1", "f", "INTO", "TEMP",
                ]), 1..9),
                1..40,
            ),
            conforming in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut texts = texts();
            for (pieces, conforming) in pieces.iter().zip(conforming) {
                let sql = pieces.join(" ");
                let (mut one, mut two) = (Vec::new(), Vec::new());
                let found = effects_of(sql.as_bytes(), Rules::safe(conforming), &NoVocabulary, &mut |name| { one.push(name.to_owned()); true });
                let known = texts.effects(Text { rules: Rules::safe(conforming), ..text(&sql) }, &mut |name| { two.push(name.to_owned()); true });
                prop_assert_eq!((found.effects, one), (known, two), "{}", sql);
            }
        }
    }
}
