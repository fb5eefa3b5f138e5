//! A fake PostgreSQL: enough of the protocol's rules to tell a server at rest from one that is not.

use howdah::wire::{self, client, server};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Characters of a text that are logged.
const LOGGED: usize = 80;

/// What one server process has done, as the tests see it.
#[derive(Debug)]
pub(crate) struct State {
    /// `I`, `T` or `E`.
    pub(crate) status: u8,
    /// Messages since the last Sync that ask for one.
    pub(crate) batch: bool,
    pub(crate) copying: bool,
    sleeping: bool,
    skipping: bool,
    /// The connection stands.
    pub(crate) open: bool,
    /// Texts, in order, cut short.
    pub(crate) log: Vec<String>,
    /// Cancel requests that came for it.
    pub(crate) cancels: usize,
    /// Bytes written.
    pub(crate) written: usize,
    /// The process dies when it has written this many bytes.
    pub(crate) dies_at: usize,
    /// The process ends in an orderly way behind this many answers: its last words come in one piece
    /// with the last of them.
    pub(crate) ends_behind: Option<usize>,
    /// Reads once more and then nothing while this is set.
    pub(crate) deaf: bool,
    /// Is `deaf` from the end of its copy on.
    pub(crate) deaf_behind_copy: bool,
    /// How long a question what the session has takes.
    pub(crate) checks_take: Duration,
    /// So many texts that give it settings are cut off by the `statement_timeout` that it has.
    pub(crate) cuts_off: usize,
    /// What it says when it ends.
    last_words: &'static str,
    /// The time zone that it is going to tell of.
    reports: Option<&'static str>,
    /// Settings of the session: those of its `connect_query`, and what texts made of them.
    pub(crate) settings: BTreeMap<String, String>,
}

impl State {
    /// What the statements of a text do to settings: `SET a = b`, `RESET "a"` and our own
    /// `set_config('a','b',false)`, without quotes inside.
    fn apply(&mut self, sql: &str) {
        for statement in sql.split(';') {
            if statement.starts_with("SET LOCAL ") {
                continue;
            }
            if let Some((name, value)) =
                statement.strip_prefix("SET ").and_then(|rest| rest.split_once(" = "))
            {
                self.settings.insert(name.to_owned(), value.to_owned());
            } else if matches!(statement, "RESET ALL" | "DISCARD ALL") {
                self.settings.clear();
            } else if let Some(name) = statement.strip_prefix("RESET ") {
                self.settings.remove(name.trim_matches('"'));
            }
            for call in statement.split("set_config(").skip(1) {
                let mut quoted = call.split('\'');
                let (name, value) = (quoted.nth(1), quoted.nth(1));
                let pair = name.zip(value).expect("two constants");
                self.settings.insert(pair.0.to_owned(), pair.1.to_owned());
            }
        }
    }
}

/// How the question begins what the session has.
const CHECK: &str = "SELECT pg_catalog.encode(";

/// What PostgreSQL says when an administrator ends it.
pub(crate) const ORDERED: &str = "terminating connection due to administrator command";

/// The same as a message.
pub(crate) fn last_words(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = format!("SFATAL\0VFATAL\0C57P01\0M{text}\0\0");
    framed(&mut out, server::ERROR, fields.as_bytes());
    out
}

/// One server process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) state: Rc<RefCell<State>>,
    wake: Rc<Notify>,
    end: Rc<Notify>,
}

impl Process {
    pub(crate) fn new(dies_at: usize) -> Self {
        let state = State {
            status: wire::IDLE,
            batch: false,
            copying: false,
            sleeping: false,
            skipping: false,
            open: true,
            log: Vec::new(),
            cancels: 0,
            written: 0,
            dies_at,
            ends_behind: None,
            deaf: false,
            deaf_behind_copy: false,
            checks_take: Duration::ZERO,
            cuts_off: 0,
            last_words: "",
            reports: None,
            settings: BTreeMap::new(),
        };
        Self { state: Rc::new(RefCell::new(state)), wake: Rc::default(), end: Rc::default() }
    }

    /// A cancel request came.
    pub(crate) fn cancel(&self) {
        let mut state = self.state.borrow_mut();
        state.cancels += 1;
        if state.sleeping {
            self.wake.notify_one();
        }
    }

    /// Reads again.
    pub(crate) fn listen(&self) {
        self.state.borrow_mut().deaf = false;
        self.wake.notify_one();
    }

    /// Ends by an administrator's command, or without a word.
    pub(crate) fn end(&self, last_words: &'static str) {
        self.state.borrow_mut().last_words = last_words;
        self.end.notify_one();
    }

    /// Says that a parameter has a new value, as after a reload of the configuration.
    pub(crate) fn reports(&self, value: &'static str) {
        self.state.borrow_mut().reports = Some(value);
        self.end.notify_one();
    }

    /// Whether somebody else may have it: nothing runs, nothing is open.
    pub(crate) fn is_clean(&self) -> bool {
        let state = self.state.borrow();
        state.status == wire::IDLE && !state.batch && !state.copying && !state.sleeping
    }

    /// Whether it ended without being told to.
    pub(crate) fn has_died(&self) -> bool {
        let state = self.state.borrow();
        state.written == state.dies_at
    }

    /// Serves the connection to its end.
    pub(crate) async fn serve(self, pipe: impl AsyncRead + AsyncWrite + Unpin) {
        let mut wires = Wires {
            process: self.clone(),
            pipe,
            inbox: Vec::new(),
            statements: HashMap::new(),
            portal: String::new(),
        };
        loop {
            let ended = tokio::select! {
                stepped = wires.step() => stepped.is_none(),
                () = self.end.notified() => wires.speak().await.is_none(),
            };
            if ended {
                break;
            }
        }
        self.state.borrow_mut().open = false;
    }
}

struct Wires<P> {
    process: Process,
    pipe: P,
    inbox: Vec<u8>,
    statements: HashMap<Vec<u8>, String>,
    portal: String,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn framed(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
}

fn complete(out: &mut Vec<u8>, tag: &str) {
    framed(out, server::COMMAND_COMPLETE, format!("{tag}\0").as_bytes());
}

const COLUMNS: &[u8] = b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";

impl<P: AsyncRead + AsyncWrite + Unpin> Wires<P> {
    /// Reads more; `None` at the end.
    async fn fill(&mut self) -> Option<()> {
        let n = self.pipe.read_buf(&mut self.inbox).await.ok()?;
        while self.process.state.borrow().deaf {
            self.process.wake.notified().await;
        }
        (n > 0).then_some(())
    }

    /// Writes, as far as the process lives.
    async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        for chunk in bytes.chunks(4096) {
            let left = {
                let state = self.process.state.borrow();
                state.dies_at - state.written
            };
            let chunk = &chunk[..chunk.len().min(left)];
            self.pipe.write_all(chunk).await.ok()?;
            self.process.state.borrow_mut().written += chunk.len();
            if chunk.len() == left {
                return None;
            }
        }
        Some(())
    }

    async fn step(&mut self) -> Option<()> {
        let header = loop {
            let header = wire::header(&self.inbox, 1 << 24).expect("a valid length");
            match header {
                Some(header) if self.inbox.len() >= header.total() => break header,
                Some(_) | None => self.fill().await?,
            }
        };
        let frame: Vec<u8> = self.inbox.drain(..header.total()).collect();
        let mut out = Vec::new();
        self.answer(header.tag, &frame[wire::HEADER_LEN..], &mut out).await?;
        let is_last = self.is_last_answer(header.tag);
        if is_last {
            out.extend(last_words(ORDERED));
        }
        self.write(&out).await?;
        (!is_last).then_some(())
    }

    fn is_last_answer(&self, tag: u8) -> bool {
        let mut state = self.process.state.borrow_mut();
        if let (client::QUERY | client::SYNC, Some(left)) = (tag, &mut state.ends_behind) {
            *left -= 1;
            return *left == 0;
        }
        false
    }

    /// What it says unasked; `None` at the end.
    async fn speak(&mut self) -> Option<()> {
        let (report, words) = {
            let mut state = self.process.state.borrow_mut();
            (state.reports.take(), state.last_words)
        };
        let mut out = Vec::new();
        if let Some(zone) = report {
            framed(&mut out, server::PARAMETER_STATUS, format!("TimeZone\0{zone}\0").as_bytes());
            return self.write(&out).await;
        }
        if !words.is_empty() {
            self.write(&last_words(words)).await?;
        }
        None
    }

    fn ready(&self, out: &mut Vec<u8>) {
        let mut state = self.process.state.borrow_mut();
        state.batch = false;
        server::ready(out, state.status);
    }

    fn fail(&self, out: &mut Vec<u8>, code: &str, message: &str) {
        framed(out, server::ERROR, format!("SERROR\0VERROR\0C{code}\0M{message}\0\0").as_bytes());
        let mut state = self.process.state.borrow_mut();
        if state.status == wire::IN_TRANSACTION {
            state.status = wire::FAILED;
        }
    }

    async fn answer(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (copying, skipping) = {
            let state = self.process.state.borrow();
            (state.copying, state.skipping)
        };
        match tag {
            client::TERMINATE => return None,
            client::COPY_DATA => {}
            client::COPY_DONE | client::COPY_FAIL if copying => {
                {
                    let mut state = self.process.state.borrow_mut();
                    state.copying = false;
                    state.deaf |= state.deaf_behind_copy;
                }
                if tag == client::COPY_DONE {
                    complete(out, "COPY 1");
                } else {
                    self.fail(out, "57014", "COPY from stdin failed");
                }
                self.ready(out);
            }
            // In a copy they are ignored, outside they belong to one that has failed.
            client::SYNC | client::FLUSH | client::COPY_DONE | client::COPY_FAIL if copying => {}
            client::COPY_DONE | client::COPY_FAIL | client::FLUSH => {}
            client::SYNC => {
                self.process.state.borrow_mut().skipping = false;
                self.ready(out);
            }
            client::QUERY => {
                assert!(!copying, "a Query in a copy");
                let sql = text(body.strip_suffix(&[0]).expect("a terminator"));
                self.run(&sql, true, out).await?;
                if !self.process.state.borrow().copying {
                    self.ready(out);
                }
            }
            _ if skipping => {}
            _ => self.extended(tag, body, out).await?,
        }
        Some(())
    }

    async fn extended(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        self.process.state.borrow_mut().batch = true;
        match tag {
            client::PARSE => {
                let view = client::read_parse(body).expect("a Parse");
                self.statements.insert(view.name.to_vec(), text(view.sql));
                server::bare(out, server::PARSE_COMPLETE);
            }
            client::BIND => {
                let view = client::read_bind(body).expect("a Bind");
                match self.statements.get(view.statement) {
                    Some(sql) => self.portal.clone_from(sql),
                    None => {
                        self.fail(out, "26000", "prepared statement does not exist");
                        self.process.state.borrow_mut().skipping = true;
                        return Some(());
                    }
                }
                server::bare(out, server::BIND_COMPLETE);
            }
            client::DESCRIBE => {
                if body[0] == b'S' {
                    framed(out, server::PARAMETER_DESCRIPTION, &[0, 0]);
                }
                framed(out, server::ROW_DESCRIPTION, COLUMNS);
            }
            client::EXECUTE => {
                let sql = self.portal.clone();
                let before = out.len();
                self.run(&sql, false, out).await?;
                if out.get(before) == Some(&server::ERROR) {
                    self.process.state.borrow_mut().skipping = true;
                }
            }
            _ => {
                assert_eq!(tag, client::CLOSE, "an unexpected message");
                server::bare(out, server::CLOSE_COMPLETE);
            }
        }
        Some(())
    }

    /// Which settings the session has.
    fn answer_check(&self, simple: bool, out: &mut Vec<u8>) {
        if simple {
            framed(out, server::ROW_DESCRIPTION, COLUMNS);
        }
        let settings = self.process.state.borrow().settings.clone();
        for (name, value) in &settings {
            let mut row = vec![0, 2];
            for column in [name, value] {
                row.extend((column.len() as u32).to_be_bytes());
                row.extend(column.as_bytes());
            }
            framed(out, server::DATA_ROW, &row);
        }
        complete(out, &format!("SELECT {}", settings.len()));
    }

    fn cuts_off(&self, sql: &str) -> bool {
        let mut state = self.process.state.borrow_mut();
        let is_cut = state.cuts_off > 0 && sql.contains("set_config(");
        state.cuts_off -= usize::from(is_cut);
        is_cut
    }

    async fn run(&mut self, sql: &str, simple: bool, out: &mut Vec<u8>) -> Option<()> {
        let checks_take = self.process.state.borrow().checks_take;
        if sql.starts_with(CHECK) && !checks_take.is_zero() {
            tokio::time::sleep(checks_take).await;
        }
        if self.cuts_off(sql) {
            self.fail(out, "57014", "canceling statement due to statement timeout");
            return Some(());
        }
        let status = {
            let mut state = self.process.state.borrow_mut();
            state.log.push(sql.chars().take(LOGGED).collect());
            state.apply(sql);
            state.status
        };
        let ends = matches!(sql, "COMMIT" | "ROLLBACK");
        if status == wire::FAILED && !ends {
            self.fail(out, "25P02", "current transaction is aborted");
            return Some(());
        }
        match sql {
            "BEGIN" => self.process.state.borrow_mut().status = wire::IN_TRANSACTION,
            "COMMIT" | "ROLLBACK" => self.process.state.borrow_mut().status = wire::IDLE,
            "COPY t FROM STDIN" => {
                framed(out, server::COPY_IN, &[0, 0, 0]);
                self.process.state.borrow_mut().copying = true;
                return Some(());
            }
            "FAIL" => {
                self.fail(out, "22012", "division by zero");
                return Some(());
            }
            "SLEEP" | "SELECT SLEEP" => {
                self.write(out).await?;
                out.clear();
                self.sleep().await?;
                self.fail(out, "57014", "canceling statement due to user request");
                return Some(());
            }
            _ => {}
        }
        if let Some(count) = sql.strip_prefix("ROWS ") {
            let count: usize = count.parse().expect("a number");
            let mut row = vec![0, 1, 0, 0, 4, 0];
            row.resize(6 + 1024, b'x');
            framed(out, server::ROW_DESCRIPTION, COLUMNS);
            for _ in 0..count {
                framed(out, server::DATA_ROW, &row);
                self.write(out).await?;
                out.clear();
            }
            complete(out, &format!("SELECT {count}"));
        } else if sql.starts_with(CHECK) {
            self.answer_check(simple, out);
        } else if sql.starts_with("SELECT") {
            if simple {
                framed(out, server::ROW_DESCRIPTION, COLUMNS);
            }
            framed(out, server::DATA_ROW, b"\0\x01\0\0\0\x011");
            complete(out, "SELECT 1");
        } else {
            complete(out, sql);
        }
        Some(())
    }

    /// Until it is cancelled, or its connection ends.
    async fn sleep(&mut self) -> Option<()> {
        self.process.state.borrow_mut().sleeping = true;
        let process = self.process.clone();
        let cancelled = process.wake.notified();
        tokio::pin!(cancelled);
        let result = loop {
            tokio::select! {
                () = &mut cancelled => break Some(()),
                more = self.fill() => if more.is_none() { break None },
            }
        };
        self.process.state.borrow_mut().sleeping = false;
        result
    }
}
