//! The statements of PostgreSQL's own regression tests that may run on a replica, run on one.
//!
//! The files build their database on the primary, as far as they can without psql. What EXPLAIN ROUTE
//! sends to the replica then is run there, each statement by itself: a refusal because of the recovery is a fault
//! of the verdict. The files are those of `make oracle`, which runs this test; `HOWDAH_CORPUS` names their folder.

mod support;

use std::path::{Path, PathBuf};

use howdah::sql;
use support::behaviour::{client, eventually};
use support::console::{console, shows};
use support::howdah::Howdah;
use support::messages;
use support::pair::{Pair, await_node};
use support::transcript::Frame;
use support::wire::{Received, Wire};

/// What a standby says only because it is one. Some codes are used for much else.
fn is_refusal(code: &str, message: &str) -> bool {
    code == "25006" || (matches!(code, "0A000" | "55000") && message.contains("recovery"))
}

/// Statements that end the server, wait for somebody, or change who is asked.
const LEFT_OUT: &[&str] = &[
    "pg_terminate_backend",
    "pg_promote",
    "alter system",
    "session_authorization",
    "pg_sleep",
    "create database",
    "create tablespace",
    "pg_switch_wal",
];

fn folder() -> PathBuf {
    let named = std::env::var_os("HOWDAH_CORPUS").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/oracle/corpus"))
}

/// The folder `sql` of the regression tests below another.
fn regress(below: &Path) -> Option<PathBuf> {
    if below.ends_with("src/test/regress/sql") {
        return Some(below.to_owned());
    }
    let entries = std::fs::read_dir(below).ok()?;
    let mut folders =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    folders.find_map(|folder| regress(&folder))
}

/// The statements of each file, in the order in which they stand. What psql itself takes is left out.
fn files() -> Vec<Vec<String>> {
    let folder = regress(&folder()).expect("the sources of PostgreSQL: run `make oracle`");
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    // Others use what the set-up makes.
    paths.sort_by_key(|path| (!path.ends_with("test_setup.sql"), path.clone()));
    let texts = paths.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.map(|text| of_file(&text)).collect()
}

fn of_file(text: &str) -> Vec<String> {
    let mut is_data = false;
    let kept = text.lines().filter(|line| {
        let was_data = is_data;
        let lower = line.to_ascii_lowercase();
        is_data = if is_data { *line != "\\." } else { lower.contains("from stdin;") };
        !was_data && !is_data && !line.starts_with('\\')
    });
    let text = kept.collect::<Vec<_>>().join("\n");
    let ranges = sql::statements(text.as_bytes(), true);
    let statements = ranges.filter_map(|range| Some(text.get(range)?.to_owned()));
    let is_left_out = |sql: &String| {
        let lower = sql.to_ascii_lowercase();
        LEFT_OUT.iter().any(|word| lower.contains(word))
    };
    statements.filter(|sql| !is_left_out(sql)).collect()
}

/// The answer to a text, whatever it is; `None` if the connection ended.
fn run(wire: &mut Wire, sql: &str) -> Option<Vec<Frame>> {
    wire.send(&messages::query(sql));
    let mut frames = Vec::new();
    let end = tokio::time::Instant::now() + 6 * support::PATIENCE;
    loop {
        let Received::Frame(frame) = wire.next(end) else { return None };
        let tag = frame.tag;
        frames.push(frame);
        match tag {
            b'Z' => return Some(frames),
            b'G' => wire.send(&messages::copy_fail("no data")),
            _ => {}
        }
    }
}

const LIMITS: &str = "SET statement_timeout = '3s'; SET lock_timeout = '3s'";

fn load(pair: &Pair, files: &[Vec<String>]) {
    for statements in files {
        let mut admin = pair.primary.admin("app");
        admin.run(LIMITS);
        for sql in statements {
            if run(&mut admin, sql).is_none() {
                admin = pair.primary.admin("app");
                admin.run(LIMITS);
            }
        }
    }
}

#[test]
#[ignore = "needs the sources of PostgreSQL; `make oracle` runs it"]
fn what_may_run_on_a_replica_is_refused_by_none() {
    let files = files();
    let pair = Pair::start();
    load(&pair, &files);
    pair.primary.admin("app").run("CREATE TABLE loaded (n int); GRANT ALL ON loaded TO public");
    pair.await_replay();
    let howdah = Howdah::start(&pair.settings().set("routing.consistency", "eventual"));
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    let replica = pair.replica.address().to_string();
    shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
    let mut asking = client(&howdah, "app");
    eventually("the catalog is known", || goes_to_replica(&mut asking, "TABLE loaded"));
    let mut standing = pair.replica.admin("app");
    standing.run(LIMITS);
    let (mut asked, mut ran, mut succeeded, mut refused) = (0, 0, 0, Vec::new());
    for sql in files.iter().flatten() {
        asked += 1;
        if !goes_to_replica(&mut asking, sql) {
            continue;
        }
        ran += 1;
        let Some(frames) = run(&mut standing, sql) else {
            standing = pair.replica.admin("app");
            standing.run(LIMITS);
            continue;
        };
        match frames.iter().find(|frame| frame.tag == b'E') {
            None => succeeded += 1,
            Some(error) => {
                let field = |code| error.field(code).unwrap_or_default();
                let (code, message) = (field(b'C'), field(b'M'));
                if is_refusal(&code, &message) {
                    refused.push(format!("{code} {message}: {sql}"));
                }
            }
        }
        if frames.last().is_some_and(|ready| ready.body != b"I") {
            standing.run("ROLLBACK");
        }
    }
    eprintln!("{asked} asked, {ran} may run on the replica, {succeeded} did without an error");
    assert!(refused.is_empty(), "{} are refused:\n{}", refused.len(), refused.join("\n"));
    assert!(ran > 3000, "{ran} of {asked}");
}

fn goes_to_replica(wire: &mut Wire, sql: &str) -> bool {
    let frames = run(wire, &format!("EXPLAIN ROUTE {sql}")).expect("an answer");
    let row = frames.iter().find(|frame| frame.tag == b'D').and_then(Frame::columns);
    row.is_some_and(|row| row[0].as_deref() == Some(b"replica"))
}
