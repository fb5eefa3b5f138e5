//! Compares howdah's lexer, statement boundaries, normal form and reads with PostgreSQL's own scanner and grammar.
//!
//!     cargo run --release -- FOLDER…    every .sql file below, and every .txt file of tests/scripts
//!
//! `ORACLE_RUNS` changed texts follow (100000 if it is not set), from the seed `ORACLE_SEED`. Ends with 1 if there is a
//! difference; each is shown on as short a text as was found. What counts as one: `compare.rs`, `form.rs`, `route.rs`.

mod compare;
mod corpus;
mod form;
mod mutate;
mod postgres;
mod route;
/// The same.
#[path = "../../src/routing/mod.rs"]
#[allow(dead_code, unused_imports, unfulfilled_lint_expectations, reason = "howdah uses all of it")]
mod routing;
/// The module itself, and not howdah, which takes minutes to build.
#[path = "../../src/sql/mod.rs"]
#[allow(dead_code, unused_imports, unfulfilled_lint_expectations, reason = "howdah uses all of it")]
mod sql;
mod squawk;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use compare::{Difference, Verdict, compare, skeleton_and_form};
use corpus::Corpus;
use mutate::Random;

/// Differences shown before it gives up.
const ENOUGH: usize = 20;
/// Skeletons remembered.
const SKELETONS: usize = 400_000;

struct Oracle {
    random: Random,
    forms: HashMap<Vec<u8>, Vec<u8>>,
    verdicts: BTreeMap<Verdict, usize>,
    texts: usize,
    differences: usize,
    /// Texts that may run on a standby.
    reads: usize,
    /// Of them those that squawk takes too.
    seen_by_squawk: usize,
}

impl Oracle {
    fn look_at(&mut self, text: &str) {
        self.texts += 1;
        match self.judge(text) {
            Ok(verdict) => *self.verdicts.entry(verdict).or_default() += 1,
            Err(difference) => self.report(text, &difference),
        }
    }

    fn judge(&mut self, text: &str) -> Result<Verdict, Difference> {
        let random = &mut self.random;
        let verdict = compare(text, &mut |bound| random.below(bound))?;
        if route::check(text)? {
            self.reads += 1;
            self.seen_by_squawk += usize::from(squawk::check(text)?);
        }
        if let Some((bones, form)) = skeleton_and_form(text) {
            let is_room = self.forms.len() < SKELETONS;
            if let Some(known) = self.forms.get(&bones) {
                if *known != form {
                    let show = |form: &[u8]| String::from_utf8_lossy(form).into_owned();
                    let detail =
                        format!("the same skeleton for {:?} and {:?}", show(known), show(&form));
                    return Err(Difference { check: "skeleton", detail });
                }
            } else if is_room {
                self.forms.insert(bones, form);
            }
        }
        Ok(verdict)
    }

    fn report(&mut self, text: &str, difference: &Difference) {
        self.differences += 1;
        let least = self.least(text, difference.check);
        let detail = match self.judge(&least) {
            Err(again) if again.check == difference.check => again.detail,
            _ => difference.detail.clone(),
        };
        println!("DIFFERENCE in {}\n  text: {least:?}\n  {detail}", difference.check);
    }

    /// A shorter text with the same difference, if there is one.
    fn least(&mut self, text: &str, check: &str) -> String {
        let mut least = text.to_owned();
        let mut size = least.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < least.len() {
                let from = least.floor_char_boundary(at);
                let to = least.ceil_char_boundary((from + size).min(least.len()));
                let mut less = least.clone();
                less.replace_range(from..to, "");
                if self.judge(&less).is_err_and(|difference| difference.check == check) {
                    least = less;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
        least
    }

    fn summary(&self, what: &str) {
        let verdicts: Vec<_> =
            self.verdicts.iter().map(|(verdict, count)| format!("{verdict:?} {count}")).collect();
        println!(
            "{what}: {} texts so far ({}; {} reads, {} of them by squawk), {} differences",
            self.texts,
            verdicts.join(", "),
            self.reads,
            self.seen_by_squawk,
            self.differences
        );
    }
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| format!("{name}={value:?} is not a number")),
        Err(_) => Ok(default),
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let (runs, seed) = (number("ORACLE_RUNS", 100_000)?, number("ORACLE_SEED", 1)?);
    let mut corpus = Corpus::default();
    for folder in std::env::args().skip(1) {
        corpus.read(Path::new(&folder)).with_context(|| format!("cannot read {folder}"))?;
    }
    anyhow::ensure!(
        !corpus.statements.is_empty(),
        "no statements found: name folders with .sql files"
    );
    println!(
        "{} files ({} more are not UTF-8), {} pieces, {} statements and bodies",
        corpus.files.len(),
        corpus.skipped,
        corpus.pieces.len(),
        corpus.statements.len(),
    );
    let mut oracle = Oracle {
        random: Random(seed),
        forms: HashMap::new(),
        verdicts: BTreeMap::new(),
        texts: 0,
        differences: 0,
        reads: 0,
        seen_by_squawk: 0,
    };
    for (what, texts) in
        [("files", &corpus.files), ("pieces", &corpus.pieces), ("statements", &corpus.statements)]
    {
        for text in texts {
            if oracle.differences < ENOUGH {
                oracle.look_at(text);
            }
        }
        oracle.summary(what);
    }
    let mut random = Random(seed ^ 0x5eed);
    for run in 1..=runs {
        if oracle.differences >= ENOUGH {
            println!("{ENOUGH} differences are enough");
            break;
        }
        let text = mutate::text(&mut random, &corpus.statements);
        oracle.look_at(&text);
        if run % 200_000 == 0 || run == runs {
            oracle.summary(&format!("changed texts, seed {seed}"));
        }
    }
    Ok(if oracle.differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
