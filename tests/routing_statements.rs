//! Statements and the node that each has to run on, through the real program, on a real primary and its
//! replica.
//!
//! The tables in `tests/routing` have a statement in each row, where it belongs, what came before it, and why. Each
//! row is asked about by EXPLAIN ROUTE and then run, by both protocols, in a session of its own. Where it ran is what
//! the nodes themselves say: both write every statement into their log. A statement that a replica refused and
//! that the primary ran then is in both logs, and is wrong here.
//!
//! `HOWDAH_ROUTING=FOLDER` takes tables, contexts and a schema of one's own in the place of those. Without a
//! fifth column only the target counts.

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use support::behaviour::{client, eventually};
use support::console::{console, shows};
use support::howdah::Howdah;
use support::messages::{self, Bind};
use support::pair::{PROBE, Pair, await_node, of_nodes};
use support::postgres::{Options, Postgres, RIDER};
use support::transcript::Frame;
use support::wire::{Wire, lines};

/// A row of a table.
#[derive(Clone, Debug)]
struct Row {
    place: String,
    sql: String,
    /// `replica` or `primary`.
    target: String,
    context: String,
    /// `must: …`, `safe: …`, `policy: …` or `hidden: …`.
    note: String,
    /// What EXPLAIN ROUTE names as the reason.
    reason: Option<String>,
}

impl Row {
    fn is(&self, tag: &str) -> bool {
        self.note.split(':').next() == Some(tag)
    }
}

fn unfold(text: &str) -> String {
    text.replace('⏎', "\n").replace('⇥', "\t")
}

fn folder() -> PathBuf {
    let own = std::env::var_os("HOWDAH_ROUTING").map(PathBuf::from);
    own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/routing"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_else(|error| unreachable!("{}: {error}", path.display()))
}

/// The rows of a table, whose first line names the columns.
fn rows(path: &Path) -> Vec<Row> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let table = read(path);
    let lines = table.lines().enumerate().skip(1).filter(|(_, line)| !line.starts_with('#'));
    let row = |(number, line): (usize, &str)| {
        let columns: Vec<&str> = line.split('\t').collect();
        let place = format!("{name}:{}", number + 1);
        let [sql, target, context, note, rest @ ..] = &columns[..] else {
            unreachable!("{place}: no row: {line}");
        };
        Row {
            place,
            sql: unfold(sql),
            target: (*target).to_owned(),
            context: (*context).to_owned(),
            note: (*note).to_owned(),
            reason: rest.first().map(|reason| (*reason).to_owned()),
        }
    };
    lines.map(row).collect()
}

fn all_rows() -> Vec<Row> {
    let entries = std::fs::read_dir(folder()).expect("the folder of the tables");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "tsv"));
    paths.sort();
    paths.iter().flat_map(|path| rows(path)).collect()
}

/// What each context is: texts that run before, by their names.
fn contexts() -> HashMap<String, Vec<String>> {
    let text = read(&folder().join("contexts.txt"));
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let context = |line: &str| {
        let (name, steps) = line.split_once('\t').unwrap_or((line, ""));
        let steps = steps.split(" ;; ").filter(|step| !step.is_empty());
        (name.to_owned(), steps.map(unfold).collect())
    };
    lines.map(context).collect()
}

/// Both nodes write every statement into their log.
fn logging() -> Vec<(String, String)> {
    [
        ("log_statement", "all"),
        ("log_min_messages", "error"),
        ("log_min_error_statement", "error"),
        ("max_prepared_transactions", "10"),
        ("wal_writer_delay", "10ms"),
        ("wal_retrieve_retry_interval", "100ms"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

struct Course {
    pair: Pair,
    howdah: Howdah,
    contexts: HashMap<String, Vec<String>>,
}

impl Course {
    fn start() -> Self {
        let hba = vec!["host replication all 127.0.0.1/32 trust".to_owned()];
        let primary = Postgres::start(&Options { hba, settings: logging() });
        let mut admin = primary.admin("app");
        admin.run(&format!("CREATE ROLE {PROBE} LOGIN REPLICATION; GRANT pg_monitor TO {PROBE}"));
        admin.run(
            "ALTER SCHEMA public OWNER TO rider; CREATE ROLE app_user; GRANT app_user TO rider",
        );
        admin.run(&format!("SET SESSION AUTHORIZATION {RIDER}"));
        let schema = read(&folder().join("schema.sql"));
        for statement in statements(&schema) {
            admin.run(&statement);
        }
        let replica = primary.start_replica(&Options { hba: vec![], settings: logging() });
        let pair = Pair { primary, replica };
        let settings = of_nodes(pair.nodes()).set("routing.consistency", "eventual");
        let howdah = Howdah::start(&settings);
        let mut console = console(&howdah);
        await_node(&mut console, &pair.primary, "primary", "up");
        await_node(&mut console, &pair.replica, "replica", "up");
        let replica = pair.replica.address().to_string();
        shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
        let course = Self { pair, howdah, contexts: contexts() };
        let table = schema.split("CREATE TABLE ").nth(1).and_then(|rest| rest.split(' ').next());
        let known = format!("TABLE {}", table.expect("a table"));
        let mut one = course.client();
        eventually("the catalog is known", || course.asked(&mut one, &known)[0] == "replica");
        course
    }

    fn client(&self) -> Wire {
        client(&self.howdah, "app")
    }

    /// What EXPLAIN ROUTE says: target and reason.
    fn asked(&self, wire: &mut Wire, sql: &str) -> [String; 2] {
        let mut row = wire.rows(&format!("EXPLAIN ROUTE {sql}")).remove(0);
        row.truncate(2);
        row.try_into().expect("two columns")
    }

    /// The same by the extended protocol.
    fn asked_extended(&self, wire: &mut Wire, sql: &str) -> [String; 2] {
        // The answer has no parameters.
        let run = [messages::bind(&Bind::default()), messages::execute("", 0)].concat();
        let question = messages::parse("", &format!("EXPLAIN ROUTE {sql}"), &[]);
        wire.send(&[question, run, messages::sync()].concat());
        let frames = until_ready(wire);
        let row = frames.iter().find(|frame| frame.tag == b'D').and_then(Frame::columns);
        let row = row.unwrap_or_else(|| unreachable!("{sql}: {}", lines(&frames)));
        let text = |value: &Option<Vec<u8>>| {
            String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
        };
        [text(&row[0]), text(&row[1])]
    }

    /// A session in which what the context says has happened.
    fn session(&self, row: &Row) -> Wire {
        let mut wire = self.client();
        let steps = self.contexts.get(&row.context);
        let steps =
            steps.unwrap_or_else(|| unreachable!("{}: no context {}", row.place, row.context));
        for step in steps {
            let frames = match step.split_once(' ') {
                Some(("!fails", sql)) => {
                    let frames = wire.query(sql);
                    assert!(frames.iter().any(|frame| frame.tag == b'E'), "{sql} does not fail");
                    continue;
                }
                // Its place in a batch is the row's.
                Some(("!front", _)) => continue,
                Some(("!parse", sql)) => parse_and_run(&mut wire, sql),
                _ => wire.query(step),
            };
            let failed = frames.iter().any(|frame| frame.tag == b'E');
            assert!(!failed, "{}: {step}: {}", row.context, lines(&frames));
        }
        wire
    }

    fn front(&self, row: &Row) -> Option<&str> {
        let steps = self.contexts.get(&row.context)?;
        steps.iter().find_map(|step| step.strip_prefix("!front "))
    }
}

/// Statements of a file that ends each in the last column of a line.
fn statements(text: &str) -> Vec<String> {
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with("--"))
        .fold(String::new(), |text, line| text + line + "\n");
    text.split(";\n").map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// How many parameters a text has.
fn parameters(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).filter_map(|rest| {
        let digits = rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse::<usize>().ok()
    });
    numbers.max().unwrap_or_default()
}

fn until_ready(wire: &mut Wire) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let frame = match wire.next(support::deadline()) {
            support::wire::Received::Frame(frame) => frame,
            other @ (support::wire::Received::Closed | support::wire::Received::Silence) => {
                unreachable!("{other:?} behind {}", lines(&frames))
            }
        };
        let tag = frame.tag;
        frames.push(frame);
        match tag {
            b'Z' => return frames,
            b'G' => wire.send(&[messages::copy_fail("no data"), messages::sync()].concat()),
            _ => {}
        }
    }
}

fn run_of(statement: &str, sql: &str) -> Vec<u8> {
    let bind = Bind {
        statement: statement.to_owned(),
        values: vec![None; parameters(sql)],
        ..Bind::default()
    };
    [messages::bind(&bind), messages::describe(b'P', ""), messages::execute("", 0)].concat()
}

/// Runs a text as the unnamed statement.
fn extended(wire: &mut Wire, sql: &str) -> Vec<Frame> {
    let batch = [messages::parse("", sql, &[]), run_of("", sql), messages::sync()];
    wire.send(&batch.concat());
    until_ready(wire)
}

/// Prepares a text under the name `named`, and runs it.
fn parse_and_run(wire: &mut Wire, sql: &str) -> Vec<Frame> {
    let batch = [messages::parse("named", sql, &[]), run_of("named", sql), messages::sync()];
    wire.send(&batch.concat());
    until_ready(wire)
}

fn simple(wire: &mut Wire, sql: &str) -> Vec<Frame> {
    wire.send(&messages::query(sql));
    // Behind a COPY from the client came a Sync, which is answered too.
    let frames = until_ready(wire);
    if frames.iter().any(|frame| frame.tag == b'G') {
        wire.until(b'Z');
    }
    frames
}

/// A run of a row that its marker finds in the logs.
struct Run<'a> {
    row: &'a Row,
    marker: String,
    asked: Option<[String; 2]>,
    /// There was no statement, so that no node has logged one.
    is_empty: bool,
}

const PROTOCOLS: [&str; 2] = ["simple", "extended"];

impl Course {
    /// What EXPLAIN ROUTE says of a row in its place.
    fn answer(&self, row: &Row, protocol: &str, wire: &mut Wire) -> Option<[String; 2]> {
        // What failed is asked nothing more, a part of a batch nothing by itself, and the answer is a read that
        // takes the one snapshot.
        let is_not_asked =
            ["failed", "repeatable"].iter().any(|word| row.context.starts_with(word));
        if is_not_asked || self.front(row).is_some() {
            return None;
        }
        let mut ask = || match protocol {
            "simple" => self.asked(wire, &row.sql),
            _ => self.asked_extended(wire, &row.sql),
        };
        let wanted = row.reason.as_ref().map(|reason| [row.target.clone(), reason.clone()]);
        let mut said = ask();
        let end = support::deadline();
        // What the row before has defined may be unknown still.
        while wanted.as_ref().is_some_and(|wanted| *wanted != said) && support::look_again(end) {
            said = ask();
        }
        Some(said)
    }

    fn run<'a>(&self, row: &'a Row, number: usize, protocol: &str) -> Run<'a> {
        let mut wire = self.session(row);
        let asked = self.answer(row, protocol, &mut wire);
        let marker = format!("marker {number} {protocol} ");
        let marked = format!("/* {marker}*/ {}", row.sql);
        let frames = match (protocol, self.front(row)) {
            ("extended", _) if row.context == "ext_portal_suspended" => {
                portal_in_two(&mut wire, &marked)
            }
            ("extended", Some(front)) => {
                let parts = [front, &marked]
                    .map(|sql| [messages::parse("", sql, &[]), run_of("", sql)].concat());
                wire.send(&[parts.concat(), messages::sync()].concat());
                until_ready(&mut wire)
            }
            ("extended", None) => extended(&mut wire, &marked),
            _ => simple(&mut wire, &marked),
        };
        let is_empty = frames.iter().any(|frame| frame.tag == b'I');
        Run { row, marker, asked, is_empty }
    }
}

/// Two parts of the rows, each by an Execute with a Sync of its own.
fn portal_in_two(wire: &mut Wire, sql: &str) -> Vec<Frame> {
    let bind = Bind { portal: "part".to_owned(), ..Bind::default() };
    let first = [messages::parse("", sql, &[]), messages::bind(&bind)].concat();
    let part = [messages::execute("part", 10), messages::sync()].concat();
    wire.send(&[first, part.clone()].concat());
    for tag in [b's', b'D'] {
        let frames = until_ready(wire);
        assert!(frames.iter().any(|frame| frame.tag == tag), "{sql}: {}", lines(&frames));
        wire.send(&part);
    }
    until_ready(wire)
}

/// What is wrong with a run, if anything is.
fn fault(run: &Run<'_>, primary: &str, replica: &str) -> Option<String> {
    let ran = match (primary.contains(&run.marker), replica.contains(&run.marker)) {
        (true, false) => "primary",
        (false, true) => "replica",
        (true, true) => "both",
        (false, false) if run.is_empty => &run.row.target,
        (false, false) => "none",
    };
    let row = run.row;
    let is_right = |target: &str| target == row.target;
    let asked = run.asked.as_ref();
    let is_reason = match (&row.reason, asked) {
        (Some(reason), Some([_, said])) => reason == said,
        _ => true,
    };
    if is_right(ran) && asked.is_none_or(|[target, _]| is_right(target)) && is_reason {
        return None;
    }
    let asked = asked.map_or("nothing".to_owned(), |asked| asked.join(" "));
    let wanted = row.reason.as_deref().unwrap_or_default();
    Some(format!(
        "{}\t{}wanted {} {wanted}\tsaid {asked}\tran on {ran}\t{}\t{}\t{}",
        row.place,
        run.marker.trim_start_matches("marker"),
        row.target,
        row.note,
        row.context,
        row.sql.replace('\n', "⏎").replace('\t', "⇥")
    ))
}

/// Reads first: what changes the catalog makes its names unknown for a while, and definitions may take away what
/// others name.
fn in_order(rows: &[Row]) -> Vec<(usize, &Row)> {
    let mut rows: Vec<(usize, &Row)> = rows.iter().enumerate().collect();
    let defines = |row: &Row| matches!(row.reason.as_deref(), Some("definition" | "into"));
    rows.sort_by_key(|(_, row)| (row.target == "primary", defines(row)));
    rows
}

#[test]
fn statements_go_where_they_must_by_both_protocols() {
    let rows = all_rows();
    let course = Course::start();
    let mut runs = Vec::new();
    for (number, row) in in_order(&rows) {
        for protocol in PROTOCOLS {
            if protocol == "extended" || !row.context.starts_with("ext_") {
                runs.push(course.run(row, number, protocol));
            }
        }
    }
    let logs = [&course.pair.primary, &course.pair.replica].map(|node| {
        node.admin("app").run("SELECT 'end of the rows'");
        eventually("all is in the log", || node.log().contains("end of the rows"));
        node.log()
    });
    let faults: Vec<_> =
        runs.iter().filter_map(|run| Some((run.row, fault(run, &logs[0], &logs[1])?))).collect();
    for (_, fault) in &faults {
        eprintln!("{fault}");
    }
    let count = |tag: &str| rows.iter().filter(|row| row.is(tag)).count();
    eprintln!(
        "{} rows, {} runs; must {}, safe {}, policy {}, hidden {}; {} faults",
        rows.len(),
        runs.len(),
        count("must"),
        count("safe"),
        count("policy"),
        count("hidden"),
        faults.len()
    );
    assert!(faults.is_empty(), "{} of {} runs", faults.len(), runs.len());
}
