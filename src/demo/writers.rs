//! The demo's writes: each writer is a psql that inserts a row, reads back how many it has, and goes on.
//!
//! Owns the count of what was acknowledged. A writer that loses its connection begins another session, and a
//! row whose INSERT was not acknowledged is remembered: it may be there or not.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use super::programs::Programs;
use super::servers::{DATABASE, Servers, USER};

/// Pause between a write, the read of it and the next write, as an application has it.
const PAUSE: Duration = Duration::from_millis(5);

/// What the writers came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Rows whose INSERT was acknowledged.
    pub(super) acknowledged: u64,
    /// Writer and number of the rows whose INSERT was not.
    pub(super) unknown: Vec<(u32, u32)>,
    /// What they were told, once each.
    pub(super) complaints: Vec<String>,
    /// Reads behind an acknowledged INSERT.
    pub(super) reads: u64,
    /// Those that did not show it.
    pub(super) stale: u64,
    /// Reads that failed.
    pub(super) failed_reads: u64,
    /// Sessions that were lost.
    pub(super) lost: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unknown.extend(other.unknown);
        self.reads += other.reads;
        self.stale += other.stale;
        self.failed_reads += other.failed_reads;
        self.lost += other.lost;
        for text in other.complaints {
            self.complain(text);
        }
    }

    fn complain(&mut self, text: String) {
        if !self.complaints.contains(&text) {
            self.complaints.push(text);
        }
    }
}

/// Several writers at work.
#[derive(Debug)]
pub(super) struct Writers {
    tasks: JoinSet<Result<Tally>>,
    written: Arc<AtomicU64>,
}

impl Writers {
    /// Starts as many, which write until then.
    pub(super) fn start(servers: &Servers, count: u32, until: Instant) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for number in 1..=count {
            let writer = Writer {
                number,
                programs: servers.programs.clone(),
                folder: servers.folder().to_owned(),
                port: servers.ports.howdah,
                written: Arc::clone(&written),
                tally: Tally::default(),
            };
            tasks.spawn(writer.run(until));
        }
        Self { tasks, written }
    }

    /// How many rows have been acknowledged since the last question.
    pub(super) fn take_count(&self) -> u64 {
        self.written.swap(0, Ordering::Relaxed)
    }

    /// All of them, when they have ended.
    pub(super) async fn finish(mut self) -> Result<Tally> {
        let mut all = Tally::default();
        while let Some(one) = self.tasks.join_next().await {
            all.add(one.context("a writer ended early")??);
        }
        Ok(all)
    }
}

/// One writer, with what it needs to begin a session.
struct Writer {
    number: u32,
    programs: Programs,
    folder: PathBuf,
    port: u16,
    written: Arc<AtomicU64>,
    tally: Tally,
}

/// What a statement came to: its SQLSTATE, and the message of an error.
struct Ended {
    answer: Vec<String>,
    state: String,
    message: String,
}

impl Writer {
    async fn run(mut self, until: Instant) -> Result<Tally> {
        let mut session = self.session()?;
        let mut order = 0;
        while Instant::now() < until {
            order += 1;
            if !self.write_and_read(&mut session, order).await? {
                self.tally.lost += 1;
                self.tally.complain(session.last_words().await);
                session = self.session()?;
            }
            sleep(PAUSE).await;
        }
        Ok(self.tally)
    }

    fn session(&self) -> Result<Session> {
        let mut command = self.programs.command("psql", &self.folder);
        let port = self.port.to_string();
        command
            .args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", &port, "-U", USER, DATABASE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("could not start psql")?;
        let input = child.stdin.take().context("psql has no standard input")?;
        let output = child.stdout.take().context("psql has no standard output")?;
        Ok(Session { child, input, output: BufReader::new(output).lines() })
    }

    /// Whether the session is still there.
    async fn write_and_read(&mut self, session: &mut Session, order: u32) -> Result<bool> {
        let number = self.number;
        let insert = format!("INSERT INTO orders VALUES ({number}, {order})");
        let Some(ended) = session.run(&insert).await? else {
            self.tally.unknown.push((number, order));
            return Ok(false);
        };
        if ended.state != "00000" {
            self.tally.unknown.push((number, order));
            self.tally.complain(format!("{}: {}", ended.state, ended.message));
            return Ok(true);
        }
        self.tally.acknowledged += 1;
        self.written.fetch_add(1, Ordering::Relaxed);
        sleep(PAUSE).await;
        let select = format!("SELECT count(*) FROM orders WHERE writer = {number}");
        let Some(ended) = session.run(&select).await? else { return Ok(false) };
        if ended.state == "00000" {
            let rows = ended.answer.first().and_then(|count| count.parse::<u64>().ok());
            self.tally.reads += 1;
            self.tally.stale += u64::from(rows.is_none_or(|rows| rows < self.tally.acknowledged));
        } else {
            self.tally.failed_reads += 1;
            self.tally.complain(format!("{}: {}", ended.state, ended.message));
        }
        Ok(true)
    }
}

/// A psql that waits for the next line.
struct Session {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Session {
    /// Runs one statement; none if the session has ended.
    async fn run(&mut self, sql: &str) -> Result<Option<Ended>> {
        let text = format!("{sql};\n\\echo {END}:SQLSTATE :LAST_ERROR_MESSAGE\n");
        if self.input.write_all(text.as_bytes()).await.is_err() {
            return Ok(None);
        }
        let mut answer = Vec::new();
        while let Some(line) = self.output.next_line().await.context("could not read psql")? {
            let Some(rest) = line.strip_prefix(END) else {
                answer.push(line);
                continue;
            };
            let (state, message) = rest.split_once(' ').unwrap_or((rest, ""));
            return Ok(Some(Ended {
                answer,
                state: state.to_owned(),
                message: message.to_owned(),
            }));
        }
        Ok(None)
    }

    /// What psql said before it ended.
    async fn last_words(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            // It is said for people; without it they know less.
            errors.read_to_string(&mut text).await.ok();
        }
        text.lines().last().unwrap_or("psql ended").to_owned()
    }
}

/// Begins the line behind a statement.
const END: &str = "ended ";
