//! One client: its connection, its model, and the batch it is about to send.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::coverage::Coverage;
use super::evil::{Evil, lock};
use super::expect::Expect;
use super::losses::Session;
use super::model::Model;
use super::random::Random;
use super::servers;
use super::shapes::Shapes;
use super::support::console::rows;
use super::support::postgres::{Postgres, RIDER};
use super::support::transcript::Frame;
use super::support::wire::{Received, Wire};
use super::support::{look_again, messages};

/// How long a client waits for any message. Reaching it is a hang.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a client that lost its server waits to be told.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(5);
const REMEMBERED: usize = 6;

/// How servers are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Transaction,
    Session,
    Statement,
}

/// What all clients of a run share.
pub(crate) struct Run {
    pub(crate) howdah: SocketAddr,
    pub(crate) database: String,
    pub(crate) mode: Mode,
    pub(crate) evil: Evil,
    /// What is done now and then; see `deeds.rs`.
    pub(crate) deeds: Vec<&'static str>,
    /// What a table that clients change is like.
    pub(crate) shapes: Shapes,
    pub(crate) coverage: Arc<Coverage>,
    /// Batches of each client.
    pub(crate) batches: usize,
    pub(crate) failures: Mutex<Vec<String>>,
    pub(crate) failed: AtomicBool,
}

impl Run {
    /// Where all clients and servers stand, for a failure.
    fn standing(&self) -> String {
        let mut console = Wire::login(self.howdah, RIDER, "pgbouncer");
        let mut text = String::new();
        for view in ["CLIENTS", "SERVERS"] {
            for row in rows(&mut console, view) {
                text += &format!("  {view} {row:?}\n");
            }
        }
        for row in servers(&mut Postgres::shared().admin("postgres"), &self.database) {
            text += &format!("  PostgreSQL {row:?}\n");
        }
        text + &self.evil.standing()
    }

    pub(crate) fn fail(&self, failure: String) {
        self.failed.store(true, Ordering::Relaxed);
        lock(&self.failures).push(failure);
    }
}

/// Why a batch was not answered as it should.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The client was given a server that was just being ended.
    Unlucky,
    /// A defect.
    Wrong(String),
}

/// Bytes that are sent together, and what has to come before more is sent.
#[derive(Clone, Debug, Default)]
struct Stage {
    bytes: Vec<u8>,
    wants: Vec<Expect>,
}

/// A client.
pub(crate) struct Rider<'a> {
    pub(crate) run: &'a Run,
    pub(crate) id: usize,
    pub(crate) random: Random,
    pub(crate) model: Model,
    pub(crate) wire: Wire,
    pub(crate) sequence: u64,
    /// The first number of the session that runs.
    begun: u64,
    stages: Vec<Stage>,
    history: VecDeque<String>,
    reported_name: String,
    /// Batches that were answered.
    pub(crate) answered: usize,
    /// Messages that came while the client waited for something else.
    pub(crate) early: VecDeque<Frame>,
    /// What was committed is known.
    certain: bool,
    /// Messages of the batch that were compared.
    compared: usize,
}

impl<'a> Rider<'a> {
    /// A client that is logged in.
    pub(crate) fn new(run: &'a Run, id: usize, seed: u64) -> Result<Self, String> {
        let random = Random::new(seed, u64::try_from(id).expect("few clients"));
        let mut rider = Self {
            run,
            id,
            random,
            model: Model::new("", 0),
            wire: Wire::tcp(run.howdah),
            sequence: 0,
            begun: 0,
            stages: Vec::new(),
            history: VecDeque::new(),
            reported_name: String::new(),
            answered: 0,
            early: VecDeque::new(),
            certain: false,
            compared: 0,
        };
        rider.log_in()?;
        Ok(rider)
    }

    /// Begins a new session, on a new connection.
    pub(crate) fn log_in(&mut self) -> Result<(), String> {
        self.stages.clear();
        self.early.clear();
        let end = Instant::now() + ANSWER_WITHIN;
        while look_again(end) {
            let name = self.unique();
            self.begun = self.sequence;
            self.wire = Wire::tcp(self.run.howdah);
            let parameters = [
                ("user", RIDER),
                ("database", &self.run.database),
                ("application_name", &name),
                ("TimeZone", "UTC"),
            ];
            self.wire.send(&messages::startup(messages::PROTOCOL_3_0, &parameters));
            self.reported_name.clone_from(&name);
            match self.welcome() {
                Ok(()) => {}
                Err(Trouble::Unlucky) => continue,
                Err(Trouble::Wrong(what)) => return Err(what),
            }
            Coverage::count(&self.run.coverage.sessions);
            match self.introduce(&name) {
                Err(Trouble::Unlucky) => {}
                Err(Trouble::Wrong(what)) => return Err(what),
                Ok(()) => return Ok(()),
            }
        }
        Err("no login was lucky".to_owned())
    }

    /// The first batch: what earlier sessions have committed is still there, nothing else is.
    fn introduce(&mut self, name: &str) -> Result<(), Trouble> {
        let committed = self.model.committed();
        self.note("introduces itself");
        let mark = self.unique();
        let sql =
            format!("SELECT n FROM ledger WHERE client = {}; SET soak.mark = '{mark}'", self.id);
        self.wire.send(&messages::query(&sql));
        self.compare(&Expect::Columns(vec!["n".to_owned()]), 0)?;
        let frame = self.next()?;
        let value = frame.columns().and_then(|columns| columns.into_iter().next().flatten());
        let text = value.and_then(|value| String::from_utf8(value).ok());
        let Some(count) = text.and_then(|text| text.parse::<i64>().ok()) else {
            if frame.field(b'V').as_deref() == Some("FATAL") {
                return Err(self.bad_luck(&frame));
            }
            return Err(self.wrong(&format!("instead of its count: {}", frame.line())));
        };
        if self.certain && committed != count {
            return Err(self.wrong(&format!("committed {committed}, but {count} is there")));
        }
        self.certain = true;
        for tag in ["SELECT 1", "SET"] {
            self.compare(&Expect::Complete(tag.to_owned()), 1)?;
        }
        self.compare(&Expect::Ready(b'I'), 3)?;
        self.model = Model::new(name, count);
        self.model.now.settings.insert("soak.mark", mark);
        self.model.ready();
        Ok(())
    }

    /// Part of a batch may have been committed before the connection was lost.
    pub(crate) fn lost_count(&mut self) {
        self.certain = false;
    }

    fn welcome(&mut self) -> Result<(), Trouble> {
        self.note("login");
        let end = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.wire.next(end) {
                Received::Frame(frame) if frame.tag == b'Z' => return Ok(()),
                Received::Frame(frame) if frame.tag == b'E' => return Err(self.bad_luck(&frame)),
                Received::Frame(frame) if frame.tag == b'S' => self.status_changed(&frame)?,
                Received::Frame(_) => {}
                other @ (Received::Closed | Received::Silence) => {
                    return Err(self.wrong(&format!("{other:?} during login")));
                }
            }
        }
    }

    /// A server that was ended at the wrong moment, or a defect.
    pub(crate) fn bad_luck(&self, frame: &Frame) -> Trouble {
        let fatal = frame.field(b'V').as_deref() == Some("FATAL");
        let code = frame.field(b'C').unwrap_or_default();
        if fatal && frame.field(b'M').as_deref() == Some("server connection failed") {
            Coverage::count(&self.run.coverage.refused);
            return Trouble::Unlucky;
        }
        if fatal && matches!(code.as_str(), "57P01" | "08006") {
            let asks_sequences = self.model.asks_sequences;
            if !self.run.evil.losses().claim(self.session(), asks_sequences) {
                let books = self.run.evil.losses().standing();
                return self
                    .wrong(&format!("lost nothing, but was told {}\n{books}", frame.line()));
            }
            Coverage::count(&self.run.coverage.unlucky);
            return Trouble::Unlucky;
        }
        self.wrong(&format!("unexpected {}", frame.line()))
    }

    /// The session that runs now.
    pub(crate) fn session(&self) -> Session {
        Session { client: self.id, first: self.begun, last: self.sequence }
    }

    pub(crate) fn wrong(&self, what: &str) -> Trouble {
        let history: Vec<&str> = self.history.iter().map(String::as_str).collect();
        Trouble::Wrong(format!("client {}: {what}\n  it did: {}", self.id, history.join("\n  ")))
    }

    pub(crate) fn note(&mut self, what: &str) {
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        let mut what = what.to_owned();
        if what.len() > 2_000 {
            let end = (0..=2_000).rev().find(|at| what.is_char_boundary(*at)).unwrap_or(0);
            what.truncate(end);
            what.push('…');
        }
        self.history.push_back(what);
    }

    /// A text nobody else has.
    pub(crate) fn unique(&mut self) -> String {
        self.sequence += 1;
        format!("c{}.{}.{:x}", self.id, self.sequence, self.random.next())
    }

    // ----- composing a batch

    fn stage(&mut self) -> &mut Stage {
        if self.stages.is_empty() {
            self.stages.push(Stage::default());
        }
        self.stages.last_mut().expect("it was just made")
    }

    /// Bytes to be sent.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.stage().bytes.extend(bytes);
    }

    /// A message to come, unless the server ignores what was sent.
    pub(crate) fn want(&mut self, expect: Expect) {
        if !self.model.skipping {
            self.stage().wants.push(expect);
        }
    }

    /// What was sent so far has to be answered before more is sent.
    pub(crate) fn pause(&mut self) {
        self.stages.push(Stage::default());
    }

    /// A ReadyForQuery.
    pub(crate) fn want_ready(&mut self) {
        let status = self.model.ready();
        self.want(Expect::Ready(status));
    }

    // ----- running it

    fn send(&mut self, bytes: &[u8]) {
        let (splits, piece) = match (self.random.below(10), bytes.len()) {
            (0, ..400) => (bytes.len(), 1),
            (0, _) => (40, 9_000),
            (1..=3, _) => (8, usize::MAX),
            _ => (1, usize::MAX),
        };
        let mut rest = bytes;
        for _ in 1..splits {
            if rest.is_empty() {
                break;
            }
            let most = rest.len().min(piece);
            let (chunk, after) = rest.split_at(self.random.between(1, most));
            self.wire.send_chunks(std::iter::once(chunk));
            rest = after;
        }
        self.wire.send(rest);
    }

    /// Sends the batch; whoever calls this reads the answer.
    pub(crate) fn send_stages(&mut self) {
        for stage in std::mem::take(&mut self.stages) {
            self.send(&stage.bytes);
        }
    }

    /// Sends the batch and compares every message of the answer.
    pub(crate) fn play(&mut self, name: &str) -> Result<(), Trouble> {
        let stages = std::mem::take(&mut self.stages);
        let lines: Vec<String> =
            stages.iter().flat_map(|stage| &stage.wants).map(Expect::line).take(80).collect();
        self.note(&format!("{name}: {}", lines.join(" · ")));
        self.compared = 0;
        for stage in &stages {
            self.send(&stage.bytes);
            for (position, want) in stage.wants.iter().enumerate() {
                self.compare(want, position)?;
            }
        }
        self.check_reports()?;
        self.counts_as_answered();
        Ok(())
    }

    /// A batch has been answered.
    pub(crate) fn counts_as_answered(&mut self) {
        self.answered += 1;
        let all = Coverage::count(&self.run.coverage.batches);
        self.disturb(all);
    }

    fn compare(&mut self, want: &Expect, position: usize) -> Result<(), Trouble> {
        let frame = self.next()?;
        if want.matches(&frame) {
            self.compared += 1;
            return Ok(());
        }
        if frame.tag == b'E' && frame.field(b'V').as_deref() == Some("FATAL") {
            return Err(self.bad_luck(&frame));
        }
        let (want, got) = (want.line(), shortened(&frame.line()));
        Err(self.wrong(&format!("message {position} should be [{want}], but is [{got}]")))
    }

    /// The next message that is an answer.
    pub(crate) fn next(&mut self) -> Result<Frame, Trouble> {
        let end = Instant::now() + ANSWER_WITHIN;
        if let Some(frame) = self.early.pop_front() {
            return Ok(frame);
        }
        loop {
            match self.wire.next(end) {
                Received::Frame(frame) if frame.tag == b'S' => self.status_changed(&frame)?,
                Received::Frame(frame) => {
                    self.run.coverage.frames.fetch_add(1, Ordering::Relaxed);
                    return Ok(frame);
                }
                Received::Silence => {
                    let standing = self.run.standing();
                    let before = self.compared;
                    return Err(self.wrong(&format!("hangs behind answer {before}\n{standing}")));
                }
                Received::Closed => {
                    return Err(self.wrong("the connection was closed without a word"));
                }
            }
        }
    }

    /// ParameterStatus: nobody may be told about another's settings.
    fn status_changed(&mut self, frame: &Frame) -> Result<(), Trouble> {
        let text = String::from_utf8_lossy(&frame.body).into_owned();
        let mut parts = text.split('\0');
        if let (Some("application_name"), Some(value)) = (parts.next(), parts.next()) {
            if !value.starts_with(&format!("c{}.", self.id)) {
                return Err(self.wrong(&format!("told of a foreign application_name {value}")));
            }
            self.reported_name = value.to_owned();
        }
        Ok(())
    }

    /// At ReadyForQuery a client has been told of every change (manual, "Asynchronous Operations").
    fn check_reports(&self) -> Result<(), Trouble> {
        let name = self.model.now.settings.get("application_name");
        if name.is_some_and(|name| *name != self.reported_name) {
            let reported = &self.reported_name;
            return Err(self.wrong(&format!("told of {reported}, but its name is {name:?}")));
        }
        Ok(())
    }

    /// Every now and then something happens to servers that nobody uses.
    fn disturb(&mut self, batches: u64) {
        if self.run.mode == Mode::Session || !batches.is_multiple_of(101) {
            return;
        }
        if self.run.evil.end_idle(self.random.below(64)) && self.random.once_in(2) {
            self.run.evil.end_next_login();
        }
    }

    // ----- the end of a session

    /// Says goodbye; the connection must be closed and nothing more be said.
    pub(crate) fn leave(&mut self) -> Result<(), Trouble> {
        self.note("leaves");
        self.wire.send(&messages::terminate());
        match self.wire.next(Instant::now() + ANSWER_WITHIN) {
            Received::Closed => Ok(()),
            Received::Frame(frame) if frame.tag == b'E' => match self.bad_luck(&frame) {
                Trouble::Unlucky => Ok(()),
                wrong @ Trouble::Wrong(_) => Err(wrong),
            },
            other @ (Received::Frame(_) | Received::Silence) => {
                Err(self.wrong(&format!("{other:?} after Terminate")))
            }
        }
    }

    /// Sends the batch, of which the server is ended: right answers, then the reason, then the
    /// end. `silent`: the end comes in the middle of a message, so that no reason can be told.
    pub(crate) fn expect_end(&mut self, name: &str, silent: bool) -> Result<(), Trouble> {
        let stages = std::mem::take(&mut self.stages);
        self.note(&format!("{name}, and its server is ended"));
        for stage in stages {
            self.send(&stage.bytes);
            for want in &stage.wants {
                if !self.answer_or_end(want, silent)? {
                    return Ok(());
                }
            }
        }
        Err(self.wrong("its server was ended, but everything was answered"))
    }

    /// False: the end came.
    fn answer_or_end(&mut self, want: &Expect, silent: bool) -> Result<bool, Trouble> {
        let end = Instant::now() + ANSWER_WITHIN;
        let frame = loop {
            match self.wire.next(end) {
                Received::Frame(frame) if frame.tag == b'S' => self.status_changed(&frame)?,
                Received::Frame(frame) => break frame,
                Received::Closed if silent => return Ok(false),
                other @ (Received::Closed | Received::Silence) => {
                    return Err(self.wrong(&format!("{other:?} instead of {}", want.line())));
                }
            }
        };
        if want.matches(&frame) {
            return Ok(true);
        }
        let fatal = frame.tag == b'E' && frame.field(b'V').as_deref() == Some("FATAL");
        let code = frame.field(b'C').unwrap_or_default();
        if !fatal || !matches!(code.as_str(), "57P01" | "08006") {
            let (want, got) = (want.line(), shortened(&frame.line()));
            return Err(self.wrong(&format!("[{got}] instead of [{want}] or a FATAL")));
        }
        match self.wire.next(Instant::now() + END_WITHIN) {
            Received::Closed => Ok(false),
            other @ (Received::Frame(_) | Received::Silence) => {
                Err(self.wrong(&format!("{other:?} after a FATAL")))
            }
        }
    }

    /// Bytes that are sent without looking at the answer.
    pub(crate) fn send_only(&mut self, name: &str) {
        self.note(name);
        for stage in std::mem::take(&mut self.stages) {
            self.wire.send(&stage.bytes);
        }
    }

    /// Leaves without a word, in one of two ways.
    pub(crate) fn vanish(&mut self) {
        let wire = std::mem::replace(&mut self.wire, Wire::tcp(self.run.howdah));
        if self.random.once_in(2) {
            wire.abort();
        } else {
            wire.disconnect();
        }
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(400).collect()
}
