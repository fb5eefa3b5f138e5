//! The same bytes sent to PostgreSQL and to howdah must be answered by the same bytes.
//!
//! The conversations are in `tests/scripts/`; `support/script.rs` describes how they are written.
//! `HOWDAH_SCRIPTS=copy_in cargo test --test differential` plays only the scripts whose names hold
//! that text, and shows differences in full.
//! `HOWDAH_ANNOTATE=1 cargo test --test differential scripts_say` fills in what PostgreSQL answers
//! where a script does not say it yet.
//! `HOWDAH_BIN=/path/of/howdah` plays them through another build of howdah.

mod support;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::behaviour::eventually;
use support::console::{console, shows};
use support::howdah::{Howdah, Settings};
use support::pair::Pair;
use support::postgres::{Postgres, RIDER};
use support::script::{Script, Step, load_all};
use support::stage::{Seen, Stage};

/// Scripts that are played at the same time, each in a database of its own.
const LANES: usize = 4;
/// Longer answers are compared, but not written down.
const LONGEST_ANNOTATION: usize = 100;

/// Plays `scripts` on a few lanes; `lane` makes the player of one, from the name of its database.
fn on_lanes<P>(name: &str, scripts: &[Script], lane: impl Fn(&str) -> P + Sync) -> Vec<String>
where
    P: FnMut(&Script) -> Option<String>,
{
    let next = AtomicUsize::new(0);
    let failures: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for number in 0..LANES {
            let (next, failures, lane) = (&next, &failures, &lane);
            scope.spawn(move || {
                let database = format!("{name}{number}");
                Postgres::shared().create_database(&database);
                let mut play = lane(&database);
                let fetch = || scripts.get(next.fetch_add(1, Ordering::Relaxed));
                let mut failed = Vec::new();
                while let Some(script) = fetch() {
                    let failure = play(script);
                    failed.extend(failure.map(|failure| format!("{}: {failure}", script.name)));
                }
                failures.lock().extend(failed);
            });
        }
    });
    failures.into_inner()
}

fn only() -> Option<String> {
    std::env::var("HOWDAH_SCRIPTS").ok().filter(|text| !text.is_empty())
}

/// All scripts, or those that were asked for.
fn chosen() -> Vec<Script> {
    let mut scripts = load_all();
    if let Some(text) = only() {
        scripts.retain(|script| script.name.contains(&text));
        assert!(!scripts.is_empty(), "HOWDAH_SCRIPTS={text} names no script");
    }
    scripts
}

fn report(failures: &[String], scripts: usize) {
    let names: Vec<&str> =
        failures.iter().filter_map(|failure| failure.split(':').next()).collect();
    assert!(
        failures.is_empty(),
        "\n{}\n{} of {scripts} scripts failed:\n{}\n",
        failures.join("\n"),
        failures.len(),
        names.join("\n")
    );
}

/// The first difference, with some of what came before it.
fn difference(script: &Script, direct: &Seen, other: &Seen) -> Option<String> {
    let codes = script.tags.iter().any(|tag| tag == "codes");
    let own = script.tags.iter().any(|tag| tag == "own");
    let equal = match (codes, own) {
        (true, _) => direct.briefs == other.briefs,
        (false, true) => direct
            .lines
            .iter()
            .map(|line| unplaced(line))
            .eq(other.lines.iter().map(|line| unplaced(line))),
        (false, false) => direct.lines == other.lines,
    };
    if equal && direct.trouble == other.trouble {
        return None;
    }
    let same = direct.lines.iter().zip(&other.lines).take_while(|(a, b)| a == b).count();
    let whole = codes || only().is_some();
    let (from, count) = if whole { (0, usize::MAX) } else { (same.saturating_sub(6), 14) };
    let show = |lines: &[String]| {
        let shown: Vec<&str> = lines.iter().skip(from).take(count).map(String::as_str).collect();
        shown.join("\n    ")
    };
    let (expected, got) = (show(&direct.lines), show(&other.lines));
    Some(format!("\n  PostgreSQL:\n    {expected}\n  instead:\n    {got}\n"))
}

/// A line without the place in PostgreSQL's source that ends an error.
fn unplaced(line: &str) -> &str {
    line.split(" F=").next().unwrap_or(line)
}

/// What a script says that PostgreSQL answers, and it does not.
fn untrue(seen: &Seen) -> Option<String> {
    if let Some(trouble) = &seen.trouble {
        return Some(format!("{trouble}\n    {}", seen.lines.join("\n    ")));
    }
    seen.briefs.iter().find_map(|(line, came, expected)| {
        let expected = expected.as_ref()?;
        let true_of_some_version = expected.split(" | ").any(|version| version == came);
        (!true_of_some_version).then(|| format!("line {line} says {expected:?}, but {came:?} came"))
    })
}

type Annotations = Mutex<BTreeMap<PathBuf, BTreeMap<usize, String>>>;

fn annotate(annotations: &Annotations, script: &Script, seen: &Seen) {
    let mut annotations = annotations.lock();
    for (line, came, expected) in &seen.briefs {
        if *line > 0 && expected.is_none() && came.len() <= LONGEST_ANNOTATION {
            annotations.entry(script.file.clone()).or_default().insert(*line, came.clone());
        }
    }
}

fn write_annotations(annotations: Annotations) {
    for (file, lines) in annotations.into_inner() {
        let text = fs::read_to_string(&file).expect("the script that was just played");
        let mut out = String::new();
        for (index, line) in text.lines().enumerate() {
            out.push_str(line);
            if let Some(came) = lines.get(&(index + 1)).filter(|came| !came.is_empty()) {
                out.push_str(" = ");
                out.push_str(came);
            }
            out.push('\n');
        }
        fs::write(&file, out).expect("a writable script");
    }
}

/// Two direct connections see the same: a difference elsewhere is a difference, not chance.
#[test]
fn scripts_say_what_postgresql_answers_and_it_always_does() {
    let scripts = chosen();
    let postgres = Postgres::shared();
    let annotations = Annotations::default();
    let failures = on_lanes("direct", &scripts, |database| {
        let mut stage = Stage::new(postgres, postgres.place(), database);
        let annotations = &annotations;
        move |script: &Script| {
            let (first, second) = (stage.play(script), stage.play(script));
            annotate(annotations, script, &first);
            untrue(&first).or_else(|| difference(script, &first, &second))
        }
    });
    if std::env::var_os("HOWDAH_ANNOTATE").is_some() {
        write_annotations(annotations);
    }
    report(&failures, scripts.len());
}

/// Who shares the pool with a script's clients, and how large it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    /// Nobody, and each client has a server if it wants.
    None,
    /// Two clients take the script's server in turn.
    Crowd,
    /// Nobody, but there is one server for all.
    OneServer,
    /// Eight clients do as the script does, on two servers.
    Noise,
}

impl Company {
    fn servers(self) -> i64 {
        match self {
            Self::None => 20,
            Self::Crowd => 5,
            Self::OneServer => 1,
            Self::Noise => 2,
        }
    }

    /// Whether a script can be played in this company at all.
    fn suits(self, script: &Script) -> bool {
        let has = |name: &str| script.tags.iter().any(|tag| tag == name);
        match self {
            Self::None | Self::Crowd => true,
            Self::OneServer => has("turns"),
            Self::Noise => !has("calm"),
        }
    }
}

/// A howdah of its own for each lane, one worker, so that the others meet the script's servers.
fn howdah_for(mode: &str, company: Company, database: &str) -> Howdah {
    let settings = Settings::new(mode)
        .set("howdah.workers", 1)
        .set("pool.default_pool_size", company.servers())
        .database(database, Postgres::shared().address())
        .database(&format!("{database}_other"), Postgres::shared().address());
    Howdah::start(&match company {
        Company::OneServer => settings.set("timeouts.query_wait_timeout", "4s"),
        // Neighbours that find no server must not wait for long.
        Company::Noise => settings.set("timeouts.query_wait_timeout", "1500ms"),
        Company::None | Company::Crowd => settings,
    })
}

fn howdah_answers_like_postgresql(mode: &str, company: Company) {
    let mut scripts = chosen();
    scripts.retain(|script| script.modes.iter().any(|known| known == mode));
    scripts.retain(|script| company.suits(script));
    if company == Company::Noise {
        // Which message raises an error depends on what the server already knows of its neighbours.
        scripts.iter_mut().for_each(|script| script.tags.push("own".to_owned()));
    }
    let postgres = Postgres::shared();
    let lanes = format!("{mode}_{company:?}_").to_lowercase();
    let failures = on_lanes(&lanes, &scripts, |database| {
        let database = database.to_owned();
        let mut direct = Stage::new(postgres, postgres.place(), &database);
        let stage = move || {
            let howdah = howdah_for(mode, company, &database);
            let stage = Stage::new(postgres, howdah.place(), &database);
            let stage = match company {
                Company::None | Company::OneServer => stage,
                Company::Crowd => stage.with_crowd(),
                Company::Noise => stage.with_noise(postgres),
            };
            (stage, howdah)
        };
        let mut proxied = stage();
        move |script: &Script| {
            let expected = direct.play(script);
            let difference = difference(script, &expected, &proxied.0.play(script))?;
            let log = proxied.1.log();
            // What went wrong here must not spoil the scripts that follow.
            proxied = stage();
            Some(format!("{difference}  howdah said:\n{log}"))
        }
    });
    report(&failures, scripts.len());
}

#[test]
fn howdah_answers_like_postgresql_session() {
    howdah_answers_like_postgresql("session", Company::None);
}

#[test]
fn howdah_answers_like_postgresql_transaction() {
    howdah_answers_like_postgresql("transaction", Company::Crowd);
}

#[test]
fn howdah_answers_like_postgresql_statement() {
    howdah_answers_like_postgresql("statement", Company::Crowd);
}

#[test]
fn howdah_answers_like_postgresql_where_one_server_serves_all_clients_in_turn() {
    howdah_answers_like_postgresql("transaction", Company::OneServer);
}

#[test]
fn howdah_answers_like_postgresql_under_the_noise_of_eight_neighbours() {
    howdah_answers_like_postgresql("transaction", Company::Noise);
}

/// Databases of two nodes, whose replica serves what reads it is fresh enough for.
fn howdah_answers_like_postgresql_with_a_replica(mode: &str) {
    let mut scripts = chosen();
    scripts.retain(|script| script.modes.iter().any(|known| known == mode));
    // In either mode the session is followed. Who looks for what runs, looks on the primary.
    scripts.retain(|script| {
        let looks =
            script.steps.iter().any(|step| matches!(step, Step::Cancel(..) | Step::Wait(_)));
        script.modes.iter().any(|known| known == "transaction") && !looks
    });
    let pair = Pair::start();
    // What a script's setup and its other clients have done is there when its client reads.
    let mut admin = pair.primary.admin("app");
    admin.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    admin.run("SELECT pg_reload_conf()");
    admin.run("ALTER ROLE ALL SET synchronous_commit = 'remote_apply'");
    let applied = [["remote_apply"]];
    eventually("it is so", || pair.primary.admin("app").rows("SHOW synchronous_commit") == applied);
    let lanes = format!("pair_{mode}_");
    let failures = on_lanes(&lanes, &scripts, |database| {
        let (pair, database) = (&pair, database.to_owned());
        pair.primary.create_database(&database);
        pair.primary.create_database(&format!("{database}_other"));
        pair.await_replay();
        let mut direct = Stage::new(&pair.primary, pair.primary.place(), &database);
        let stage = move || {
            let settings = Settings::new(mode)
                .set("howdah.workers", 1)
                .set("howdah.admin_users", vec![RIDER])
                .set("routing.probe_interval", "50ms")
                .set("routing.catalog_reads", "replica")
                .set(&format!("databases.{database}.nodes"), pair.nodes())
                .database(&format!("{database}_other"), pair.primary.address());
            let howdah = Howdah::start(&settings);
            let replica = pair.replica.address().to_string();
            let keys = [("database", &*database), ("node", &*replica)];
            shows(&mut console(&howdah), &keys, &[("nodes.may_read", "1")]);
            (Stage::new(&pair.primary, howdah.place(), &database), howdah)
        };
        let mut proxied = stage();
        move |script: &Script| {
            let expected = direct.play(script);
            let difference = difference(script, &expected, &proxied.0.play(script))?;
            let log = proxied.1.log();
            proxied = stage();
            Some(format!("{difference}  howdah said:\n{log}"))
        }
    });
    report(&failures, scripts.len());
}

#[test]
fn howdah_answers_like_postgresql_session_with_a_replica() {
    howdah_answers_like_postgresql_with_a_replica("session");
}

#[test]
fn howdah_answers_like_postgresql_transaction_with_a_replica() {
    howdah_answers_like_postgresql_with_a_replica("transaction");
}

/// A difference under noise is howdah's, because PostgreSQL itself shows none: neither to the
/// scripts nor to the neighbours.
#[test]
fn the_noise_of_neighbours_changes_nothing_on_postgresql_itself() {
    let mut scripts = chosen();
    scripts.retain(|script| {
        script.modes.iter().any(|mode| mode == "transaction") && Company::Noise.suits(script)
    });
    let postgres = Postgres::shared();
    let failures = on_lanes("noisy", &scripts, |database| {
        let database = database.to_owned();
        let mut quiet = Stage::new(postgres, postgres.place(), &database);
        let mut noisy = Stage::new(postgres, postgres.place(), &database).with_noise(postgres);
        move |script: &Script| {
            let expected = quiet.play(script);
            let difference = difference(script, &expected, &noisy.play(script))?;
            noisy = Stage::new(postgres, postgres.place(), &database).with_noise(postgres);
            Some(difference)
        }
    });
    report(&failures, scripts.len());
}

#[test]
fn scripts_are_named_once_and_there_are_enough() {
    let scripts = load_all();
    let mut names: Vec<&str> = scripts.iter().map(|script| script.name.as_str()).collect();
    names.sort_unstable();
    let twice: Vec<&str> =
        names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "names used twice: {twice:?}");
    assert!(names.len() >= 1000, "only {} scripts", names.len());
    let modes = ["session", "transaction", "statement"];
    for script in &scripts {
        assert!(!script.steps.is_empty(), "{} does nothing", script.name);
        assert!(!script.modes.is_empty(), "{} is never compared", script.name);
        for mode in &script.modes {
            assert!(modes.contains(&mode.as_str()), "{}: no pool mode {mode}", script.name);
        }
    }
}
