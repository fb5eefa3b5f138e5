//! Plays scripts against an address and writes down what the client saw.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::look_again;
use super::messages::{self, Bind};
use super::noise::Noise;
use super::postgres::{Postgres, RIDER};
use super::script::{Script, Split, Step, Until, bytes};
use super::transcript::{Frame, brief, escape};
use super::wire::{Received, Wire, lines};

/// What was seen: lines to compare, and for each read its place in the file and its brief.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Every message of every connection, in the order of the steps.
    pub(crate) lines: Vec<String>,
    /// (line in the script, brief of what came, what the script says) of each read.
    pub(crate) briefs: Vec<(usize, String, Option<String>)>,
    /// What made the conversation end too early.
    pub(crate) trouble: Option<String>,
}

/// How long a script waits for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long silence is listened to. Only scripts that expect an answer to be withheld do it.
const SILENCE: Duration = Duration::from_millis(40);

/// A place to play scripts at: an address, a database, and a way to PostgreSQL behind it.
pub(crate) struct Stage {
    address: SocketAddr,
    socket: PathBuf,
    database: String,
    admin: Wire,
    crowd: Option<Crowd>,
    noise: Option<Noise>,
}

impl Stage {
    /// Plays on `address`, whose `database` is that of `postgres`. The Unix socket with the same
    /// port number is in `socket_dir`.
    pub(crate) fn new(
        postgres: &Postgres,
        (address, socket_dir): (SocketAddr, &Path),
        database: &str,
    ) -> Self {
        let socket = socket_dir.join(format!(".s.PGSQL.{}", address.port()));
        let mut admin = postgres.admin(database);
        admin.run("SET lock_timeout = '5s'; SET client_min_messages = 'error'");
        Self { address, socket, database: database.to_owned(), admin, crowd: None, noise: None }
    }

    /// From now on other clients come between the steps and take the server that the script's
    /// client has just used.
    pub(crate) fn with_crowd(mut self) -> Self {
        self.crowd = Some(Crowd::new(self.address, &self.database));
        self
    }

    /// From now on eight other clients change their own state between the steps.
    pub(crate) fn with_noise(mut self, postgres: &Postgres) -> Self {
        self.noise = Some(Noise::new(postgres, self.address, &self.database));
        self
    }

    /// Plays one script on an empty schema.
    pub(crate) fn play(&mut self, script: &Script) -> Seen {
        if let Some(noise) = &mut self.noise {
            noise.begin(&script.name);
        }
        let mut play = Play {
            stage: self,
            script,
            wires: BTreeMap::new(),
            busy: BTreeSet::new(),
            seen: Seen::default(),
        };
        if let Err(trouble) = play.run() {
            play.seen.lines.push(format!("trouble: {trouble}"));
            play.seen.trouble = Some(trouble);
        }
        play.seen
    }

    fn admin(&mut self, sql: &str) -> Result<Vec<Frame>, String> {
        let frames = self.admin.query(&sql.replace("@db", &self.database));
        match frames.iter().any(|frame| frame.tag == b'E') {
            true => Err(format!("{sql}: {}", lines(&frames))),
            false => Ok(frames),
        }
    }
}

struct Play<'a> {
    stage: &'a mut Stage,
    script: &'a Script,
    wires: BTreeMap<char, Wire>,
    /// Connections that hold a server, as far as a client can tell.
    busy: BTreeSet<char>,
    seen: Seen,
}

impl Play<'_> {
    fn run(&mut self) -> Result<(), String> {
        self.stage.admin("RESET ROLE; DROP SCHEMA IF EXISTS public CASCADE")?;
        self.stage
            .admin(&format!("CREATE SCHEMA public AUTHORIZATION {RIDER}; SET ROLE {RIDER}"))?;
        for sql in &self.script.setup {
            self.stage.admin(sql)?;
        }
        if !self.script.setup.is_empty() {
            self.announce()?;
        }
        for step in &self.script.steps {
            self.step(step)?;
        }
        self.part()
    }

    /// Changes the catalog in the place that is tried, so that it reads the catalog again. It hears
    /// from elsewhere only after a while that there are other objects than those of the script before.
    fn announce(&self) -> Result<(), String> {
        let mut wire = Wire::login(self.stage.address, RIDER, &self.stage.database);
        for sql in ["CREATE SEQUENCE announcement", "DROP SEQUENCE announcement"] {
            let frames = wire.query(sql);
            if frames.iter().any(|frame| frame.tag == b'E') {
                return Err(format!("{sql}: {}", lines(&frames)));
            }
        }
        wire.disconnect();
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Connect(conn, parameters) => self.connect(*conn, parameters)?,
            Step::Open(conn, unix) => {
                let wire = match unix {
                    true => Wire::unix(&self.stage.socket),
                    false => Wire::tcp(self.stage.address),
                };
                self.wires.insert(*conn, wire);
            }
            Step::Send(conn, split, messages) => self.send(*conn, *split, messages)?,
            Step::Read(conn, until, expected, line) => {
                self.read(*conn, *until, (*line, expected.clone()))?;
            }
            Step::Cancel(conn, right) => self.cancel(*conn, *right)?,
            Step::Disconnect(conn) => self.take(*conn)?.disconnect(),
            Step::Abort(conn) => self.take(*conn)?.abort(),
            Step::Finish(conn) => self.wire(*conn)?.finish_sending(),
            Step::Sql(sql) => {
                self.stage.admin(sql)?;
            }
            Step::Super(sql) => {
                self.stage.admin("RESET ROLE")?;
                self.stage.admin(sql)?;
                self.stage.admin(&format!("SET ROLE {RIDER}"))?;
                if sql.starts_with("CREATE EVENT TRIGGER") {
                    self.announce()?;
                }
            }
            Step::Wait(sql) => self.wait(sql)?,
        }
        Ok(())
    }

    fn take(&mut self, conn: char) -> Result<Wire, String> {
        self.busy.remove(&conn);
        self.wires.remove(&conn).ok_or_else(|| format!("no connection {conn}"))
    }

    fn wire(&mut self, conn: char) -> Result<&mut Wire, String> {
        if !self.wires.contains_key(&conn) {
            self.connect(conn, &[])?;
        }
        self.wires.get_mut(&conn).ok_or_else(|| format!("no connection {conn}"))
    }

    fn connect(&mut self, conn: char, more: &[(String, String)]) -> Result<(), String> {
        let database = self.stage.database.clone();
        let mut parameters = vec![("user", RIDER), ("database", database.as_str())];
        let filled =
            |(name, value): &(String, String)| (name.clone(), value.replace("@db", &database));
        let more: Vec<(String, String)> = more.iter().map(filled).collect();
        for (name, value) in &more {
            parameters.retain(|(known, _)| known != name);
            parameters.push((name, value));
        }
        let mut wire = Wire::tcp(self.stage.address);
        let mut frames = wire.start(&parameters, "");
        sort_statuses(&mut frames);
        self.note(conn, "login", &frames);
        let end = frames.last().map(|frame| frame.tag);
        self.wires.insert(conn, wire);
        match end {
            Some(b'Z' | b'E') => Ok(()),
            _ => Err(format!("{conn} got no answer to its startup packet")),
        }
    }

    fn note(&mut self, conn: char, what: &str, frames: &[Frame]) {
        self.seen.lines.push(format!("{conn} {what}"));
        self.seen.lines.extend(frames.iter().map(|frame| format!("  {}", frame.line())));
    }

    fn send(&mut self, conn: char, split: Split, messages: &[String]) -> Result<(), String> {
        let database = self.stage.database.clone();
        let mut all = Vec::new();
        for message in messages {
            all.extend(bytes(message, &database)?);
        }
        let mut random = Random::new(&self.script.name);
        self.busy.insert(conn);
        let wire = self.wire(conn)?;
        match split {
            Split::Whole => wire.send(&all),
            Split::Bytes => wire.send_chunks(all.chunks(1)),
            Split::Chunks => {
                let mut rest = all.as_slice();
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at(random.below(rest.len().min(24)) + 1);
                    wire.send_chunks(std::iter::once(chunk));
                    rest = after;
                }
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        conn: char,
        until: Until,
        (line, expected): (usize, Option<String>),
    ) -> Result<(), String> {
        if let Until::Raw(count) = until {
            let raw = self.wire(conn)?.raw(count, Instant::now() + ANSWER_WITHIN);
            self.seen.lines.push(format!("{conn} raw '{}'", escape(&raw)));
            self.seen.briefs.push((line, escape(&raw), expected));
            return Ok(());
        }
        let (mut frames, end) = self.collect(conn, until)?;
        if until == Until::End {
            frames.clear();
        }
        sort_statuses(&mut frames);
        self.note(conn, &format!("reads until {until:?}"), &frames);
        let closed = end == Some(Received::Closed);
        if closed {
            let rest = if until == Until::End {
                String::new()
            } else {
                escape(self.wire(conn)?.leftover())
            };
            self.seen.lines.push(format!("  closed {rest}"));
        }
        self.seen.briefs.push((line, brief(&frames, closed), expected));
        if end == Some(Received::Silence) && until != Until::Idle {
            let rest = escape(self.wire(conn)?.leftover());
            return Err(format!("{conn} waits in vain for {until:?}; unread: '{rest}'"));
        }
        self.others_come(conn, frames.last())
    }

    /// The other clients' move, behind a ReadyForQuery of `conn`'s.
    fn others_come(&mut self, conn: char, last: Option<&Frame>) -> Result<(), String> {
        let ready = last.filter(|last| last.tag == b'Z');
        let idle = ready.is_some_and(|last| last.body == b"I");
        if idle {
            self.busy.remove(&conn);
        }
        if self.script.tags.iter().any(|tag| tag == "calm") {
            return Ok(());
        }
        match (&mut self.stage.crowd, &mut self.stage.noise) {
            (Some(crowd), _) if idle => crowd.pass(),
            (_, Some(noise)) if ready.is_some() => noise.pass(self.busy.len()),
            _ => Ok(()),
        }
    }

    /// Frames until the goal is reached (`None`), or the silence or end that came first.
    fn collect(
        &mut self,
        conn: char,
        until: Until,
    ) -> Result<(Vec<Frame>, Option<Received>), String> {
        let patience = if until == Until::Idle { SILENCE } else { ANSWER_WITHIN };
        let end = Instant::now() + patience;
        let wire = self.wire(conn)?;
        let mut frames: Vec<Frame> = Vec::new();
        loop {
            let reached = match until {
                Until::Tag(tag, times) => {
                    frames.last().is_some_and(|last| last.tag == tag)
                        && frames.iter().filter(|frame| frame.tag == tag).count() == times
                }
                Until::Frames(count) => frames.len() == count,
                Until::Closed | Until::End | Until::Idle | Until::Raw(_) => false,
            };
            if reached {
                return Ok((frames, None));
            }
            match wire.next(end) {
                Received::Frame(frame) => frames.push(frame),
                end @ (Received::Closed | Received::Silence) => return Ok((frames, Some(end))),
            }
        }
    }

    fn cancel(&mut self, conn: char, right: bool) -> Result<(), String> {
        let address = self.stage.address;
        let mut key = self.wire(conn)?.key().ok_or("no key to cancel with")?.to_vec();
        if let (false, Some(last)) = (right, key.last_mut()) {
            *last ^= 1;
        }
        let mut wire = Wire::tcp(address);
        wire.send(&messages::cancel_request(&key));
        // PostgreSQL answers nothing and closes when it has sent the signal.
        match wire.next(Instant::now() + ANSWER_WITHIN) {
            Received::Closed => Ok(()),
            other @ (Received::Frame(_) | Received::Silence) => {
                Err(format!("a cancel request was answered: {other:?}"))
            }
        }
    }

    fn wait(&mut self, sql: &str) -> Result<(), String> {
        let end = Instant::now() + ANSWER_WITHIN;
        loop {
            let frames = self.stage.admin(sql)?;
            let value = frames.iter().find(|frame| frame.tag == b'D').and_then(Frame::columns);
            if value.is_some_and(|columns| columns.first() == Some(&Some(b"t".to_vec()))) {
                return Ok(());
            }
            if !look_again(end) {
                return Err(format!("never became true: {sql}"));
            }
        }
    }

    /// Every connection says goodbye, and must have been sent nothing that nobody asked for.
    fn part(&mut self) -> Result<(), String> {
        let conns: Vec<char> = self.wires.keys().copied().collect();
        for conn in conns {
            self.wire(conn)?.send(&messages::terminate());
            let (frames, end) = self.collect(conn, Until::Closed)?;
            self.note(conn, "leaves", &frames);
            if end == Some(Received::Silence) {
                return Err(format!("{conn} said goodbye, but the connection stays open"));
            }
        }
        Ok(())
    }
}

/// The protocol sets no order among the ParameterStatus of a login.
fn sort_statuses(frames: &mut [Frame]) {
    let login = frames.iter().any(|frame| frame.tag == b'R');
    if login {
        for run in frames.chunk_by_mut(|a, b| a.tag == b'S' && b.tag == b'S') {
            run.sort_by(|a, b| a.body.cmp(&b.body));
        }
    }
}

/// Two clients that hold a server in turn. Whoever comes takes the server that was returned last,
/// so the script's client finds another one at each step. They leave settings and statements
/// behind that the script must not see.
struct Crowd {
    holder: Interloper,
    other: Interloper,
}

impl Crowd {
    fn new(address: SocketAddr, database: &str) -> Self {
        let mut holder = Interloper::new(address, database);
        holder.hold().expect("a server for the first client of the crowd");
        Self { holder, other: Interloper::new(address, database) }
    }

    fn pass(&mut self) -> Result<(), String> {
        self.other.hold()?;
        self.holder.release()?;
        std::mem::swap(&mut self.holder, &mut self.other);
        Ok(())
    }
}

struct Interloper(Wire);

impl Interloper {
    fn new(address: SocketAddr, database: &str) -> Self {
        let mut wire = Wire::login(address, RIDER, database);
        wire.run("SET application_name = 'interloper'");
        wire.run("SET DateStyle = 'SQL, DMY'");
        wire.run("SET TimeZone = 'Asia/Kathmandu'");
        wire.run("SET search_path = pg_catalog");
        wire.run("SET extra_float_digits = 0");
        for name in ["s1", "s2"] {
            wire.send(&messages::parse(name, "SELECT 'interloper'", &[]));
        }
        wire.send(&messages::sync());
        wire.until(b'Z');
        Self(wire)
    }

    /// An open batch keeps the server in every pool mode.
    fn hold(&mut self) -> Result<(), String> {
        let bind = Bind { statement: "s1".to_owned(), ..Bind::default() };
        self.0.send(&messages::bind(&bind));
        self.0.send(&messages::execute("", 0));
        self.0.send(&messages::flush());
        let mut frames = Vec::new();
        while let Received::Frame(frame) = self.0.next(Instant::now() + ANSWER_WITHIN) {
            frames.push(frame);
            if frames.last().is_some_and(|frame| matches!(frame.tag, b'C' | b'E')) {
                break;
            }
        }
        let row = frames.iter().find(|frame| frame.tag == b'D').and_then(Frame::columns);
        match row.is_some_and(|row| row == [Some(b"interloper".to_vec())]) {
            true => Ok(()),
            false => Err(format!("another client got the wrong answer: {}", lines(&frames))),
        }
    }

    fn release(&mut self) -> Result<(), String> {
        self.0.send(&messages::sync());
        let answer = self.0.next(Instant::now() + ANSWER_WITHIN);
        match &answer {
            Received::Frame(frame) if frame.tag == b'Z' => Ok(()),
            Received::Frame(_) | Received::Closed | Received::Silence => {
                Err(format!("another client got {answer:?} for its Sync"))
            }
        }
    }
}

/// Small and repeatable: the same name gives the same numbers.
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of `name`.
    pub(crate) fn new(name: &str) -> Self {
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed | 1)
    }

    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}
