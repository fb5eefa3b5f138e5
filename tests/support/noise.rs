//! Noisy neighbours: eight clients that share a pool with the clients of a script.
//!
//! They move between the steps of the script, one after the other, and a step waits until their
//! move is done. They change the settings, roles, encodings, statements and temporary tables that
//! scripts change too, and never an object of the script's schema. Each neighbour knows what its
//! session looks like and looks at it before it moves, so the noise hears what leaks from a script
//! as well. The same name of a script gives the same moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::deadline;
use super::messages::{self, Bind};
use super::postgres::{CREW, Postgres, RIDER};
use super::stage::Random;
use super::transcript::Frame;
use super::wire::{Received, Wire, lines};

/// How many neighbours there are; each has its own kind of moves.
const NEIGHBOURS: usize = 8;
/// Passes of a script in which all neighbours move; in later ones only some do.
const FULL_PASSES: usize = 5;
/// Servers that a script and its neighbours share.
const SERVERS: usize = 2;
/// Passes that the neighbours leave out once they have found no server.
const REST: usize = 4;

/// Settings that neighbours change, with values that differ from the defaults. Scripts change them
/// too.
const SETTINGS: &[(&str, [&str; 2])] = &[
    ("work_mem", ["11MB", "12MB"]),
    ("maintenance_work_mem", ["21MB", "22MB"]),
    ("application_name", ["noise one", "noise two"]),
    ("DateStyle", ["SQL, DMY", "German, DMY"]),
    ("TimeZone", ["Asia/Kathmandu", "America/Lima"]),
    ("IntervalStyle", ["sql_standard", "postgres_verbose"]),
    ("extra_float_digits", ["0", "-2"]),
    ("bytea_output", ["escape", "escape"]),
    ("search_path", ["pg_catalog", "noise"]),
    ("statement_timeout", ["1h", "2h"]),
    ("lock_timeout", ["3h", "4h"]),
    ("enable_seqscan", ["off", "off"]),
    ("random_page_cost", ["2.5", "3.5"]),
    ("array_nulls", ["off", "off"]),
    ("transform_null_equals", ["on", "on"]),
    ("default_transaction_isolation", ["serializable", "repeatable read"]),
    ("client_min_messages", ["warning", "error"]),
    ("standard_conforming_strings", ["off", "off"]),
    ("escape_string_warning", ["off", "off"]),
    ("app.tenant", ["noise tenant", "noise guest"]),
    ("app.y", ["noise y", "noise z"]),
    ("myapp.tenant", ["noise mine", "noise other"]),
];

/// Encodings, each with a string constant that holds a character whose last byte is a backslash,
/// where the encoding has one.
const ENCODINGS: &[(&str, &[u8])] = &[
    ("SJIS", b"E'\x95\x5c'"),
    ("BIG5", b"E'\xa5\x5c'"),
    ("GBK", b"E'\x81\x5c'"),
    ("GB18030", b"E'\x81\x5c'"),
    ("UHC", b"E'\xb0\xa1'"),
    ("LATIN1", b"E'\xe9'"),
    ("UTF8", b"E'\xc3\xa9'"),
];

/// Names of statements; scripts use them too.
const NAMES: &[&str] = &["s1", "s2", "s3", "p", "a", "b", "one", "two", "st0", "howdah_1"];
/// Names of temporary tables; scripts use them too.
const TABLES: &[&str] = &["t", "tmp", "v"];

/// Why a neighbour could not do what it wanted.
enum Trouble {
    /// No server was free for it.
    NoServer,
    /// It was not answered as on a connection of its own.
    Wrong(String),
}

/// The neighbours of the scripts that are played in one database.
pub(crate) struct Noise {
    neighbours: Vec<Neighbour>,
    random: Random,
    passes: usize,
    rest: usize,
    /// The clients of the script keep a server between their transactions.
    is_narrow: bool,
}

impl Noise {
    /// Neighbours that log in at `address`. Their own objects are in schema `noise`.
    pub(crate) fn new(postgres: &Postgres, address: SocketAddr, database: &str) -> Self {
        let mut admin = postgres.admin(database);
        admin.run(&format!(
            "SET client_min_messages = error; CREATE SCHEMA IF NOT EXISTS noise AUTHORIZATION {RIDER}; \
             CREATE SEQUENCE IF NOT EXISTS noise.q; ALTER SEQUENCE noise.q OWNER TO {RIDER}; \
             GRANT ALL ON SCHEMA noise TO {CREW}; GRANT ALL ON SEQUENCE noise.q TO {CREW}"
        ));
        let mut direct = Wire::login(postgres.address(), RIDER, database);
        let fresh = direct.rows(&audit()).remove(0);
        let neighbour = |number| {
            let place = (address, database.to_owned());
            let (wire, reported) = log_in(&place);
            Neighbour {
                number,
                place,
                wire,
                fresh: fresh.clone(),
                changed: BTreeMap::new(),
                reported,
                statements: BTreeMap::new(),
                last_step: "nothing".to_owned(),
            }
        };
        Self {
            neighbours: (0..NEIGHBOURS).map(neighbour).collect(),
            random: Random::new(database),
            passes: 0,
            rest: 0,
            is_narrow: false,
        }
    }

    /// A script begins.
    pub(crate) fn begin(&mut self, script: &str) {
        self.random = Random::new(script);
        (self.passes, self.rest, self.is_narrow) = (0, 0, false);
    }

    /// The neighbours' move between two steps of a script, whose clients hold `busy` servers.
    pub(crate) fn pass(&mut self, busy: usize) -> Result<(), String> {
        if self.rest > 0 || busy >= SERVERS {
            self.rest = self.rest.saturating_sub(1);
            return Ok(());
        }
        self.passes += 1;
        let mut order: Vec<usize> = (0..NEIGHBOURS).collect();
        for last in (1..NEIGHBOURS).rev() {
            order.swap(last, self.random.below(last + 1));
        }
        if self.passes > FULL_PASSES {
            order.truncate(3);
        }
        match self.move_all(&order, busy) {
            Ok(()) => Ok(()),
            Err(Trouble::NoServer) => {
                (self.is_narrow, self.rest) = (true, REST);
                Ok(())
            }
            Err(Trouble::Wrong(what)) => Err(what),
        }
    }

    /// Where two servers are free, the first neighbour holds one while the next ones use the other.
    fn move_all(&mut self, order: &[usize], busy: usize) -> Result<(), Trouble> {
        let holder = order[0];
        let holds = busy == 0 && !self.is_narrow;
        let middle = if holds { order.len() / 2 } else { 0 };
        if holds {
            self.neighbours[holder].hold()?;
        }
        for number in &order[1..=middle] {
            let moved = self.neighbours[*number].act(&mut self.random);
            if moved.is_err() {
                self.neighbours[holder].release()?;
                return moved;
            }
        }
        if holds {
            self.neighbours[holder].release()?;
        }
        for number in &order[middle + 1..] {
            self.neighbours[*number].act(&mut self.random)?;
        }
        self.neighbours[holder].act(&mut self.random)
    }
}

/// One row with everything that a neighbour can see of its session.
fn audit() -> String {
    let setting =
        |(name, _): &(&str, [&str; 2])| format!("coalesce(current_setting('{name}', true), '')");
    let settings: Vec<String> = SETTINGS.iter().map(setting).collect();
    format!(
        "SELECT current_user, session_user, current_setting('client_encoding'), \
         (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()), \
         (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
         (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors), {}",
        settings.join(", ")
    )
}

/// A new connection of a neighbour's, and what it is told of its settings.
fn log_in((address, database): &(SocketAddr, String)) -> (Wire, BTreeMap<String, String>) {
    let mut wire = Wire::tcp(*address);
    let frames = wire.start(&[("user", RIDER), ("database", database)], "");
    let is_ready = frames.last().is_some_and(|frame| frame.tag == b'Z');
    assert!(is_ready, "a neighbour cannot log in: {}", lines(&frames));
    (wire, frames.iter().filter_map(reported_setting).collect())
}

/// Name and value of a ParameterStatus.
fn reported_setting(frame: &Frame) -> Option<(String, String)> {
    let mut texts = frame.body.split(|byte| *byte == 0);
    let mut text = || texts.next().map(|text| String::from_utf8_lossy(text).into_owned());
    Some((text()?, text()?)).filter(|_| frame.tag == b'S')
}

/// The places in the row of [`audit`] that are no settings of [`SETTINGS`].
const AUDITED: &[&str] = &[
    "current_user",
    "session_user",
    "client_encoding",
    "temporary tables",
    "advisory locks",
    "channels",
    "cursors",
];

struct Neighbour {
    number: usize,
    place: (SocketAddr, String),
    wire: Wire,
    /// What a session looks like that has changed nothing.
    fresh: Vec<String>,
    /// What this one has changed.
    changed: BTreeMap<&'static str, String>,
    /// What the server has told of its settings.
    reported: BTreeMap<String, String>,
    /// The text that each statement gives.
    statements: BTreeMap<&'static str, String>,
    last_step: String,
}

impl Neighbour {
    fn wrong(&self, what: &str) -> Trouble {
        Trouble::Wrong(format!("neighbour {}, after {:?}: {what}", self.number, self.last_step))
    }

    /// Everything up to `times` ReadyForQuery.
    fn answers(&mut self, times: usize) -> Result<Vec<Frame>, Trouble> {
        let mut frames: Vec<Frame> = Vec::new();
        while frames.iter().filter(|frame| frame.tag == b'Z').count() < times {
            match self.wire.next(deadline()) {
                Received::Frame(frame) => frames.push(frame),
                end @ (Received::Closed | Received::Silence) => {
                    return Err(self.wrong(&format!("{end:?} after {}", lines(&frames))));
                }
            }
        }
        self.reported.extend(frames.iter().filter_map(reported_setting));
        let code = frames.iter().find(|frame| frame.tag == b'E').and_then(|f| f.field(b'C'));
        match code.as_deref() {
            Some("53300") => Err(Trouble::NoServer),
            _ => Ok(frames),
        }
    }

    /// Runs `sql`, which must succeed, and gives its first row.
    fn run(&mut self, sql: &str) -> Result<Vec<String>, Trouble> {
        self.send(&messages::query(sql), sql)
    }

    /// Sends `bytes`, which must be answered with success by one ReadyForQuery.
    fn send(&mut self, bytes: &[u8], what: &str) -> Result<Vec<String>, Trouble> {
        self.wire.send(bytes);
        let frames = self.answers(1)?;
        if frames.iter().any(|frame| frame.tag == b'E') {
            return Err(self.wrong(&format!("{what}: {}", lines(&frames))));
        }
        if what != audit() {
            what.clone_into(&mut self.last_step);
        }
        let row = frames.iter().find(|frame| frame.tag == b'D').and_then(Frame::columns);
        let text = |value: Option<Vec<u8>>| {
            value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        Ok(row.unwrap_or_default().into_iter().map(text).collect())
    }

    /// Runs `sql`, whose first value must be `expected`.
    fn gives(&mut self, sql: &str, expected: &str) -> Result<(), Trouble> {
        let row = self.run(sql)?;
        match row.first().is_some_and(|value| value == expected) {
            true => Ok(()),
            false => Err(self.wrong(&format!("{sql} gives {row:?}, not {expected:?}"))),
        }
    }

    /// Looks whether the session is as this neighbour has left it.
    fn check(&mut self) -> Result<(), Trouble> {
        let seen = self.run(&audit())?;
        let names = AUDITED.iter().copied().chain(SETTINGS.iter().map(|(name, _)| *name));
        for ((name, seen), fresh) in names.zip(&seen).zip(&self.fresh) {
            let expected = self.changed.get(name).unwrap_or(fresh);
            if seen != expected {
                return Err(self.wrong(&format!("{name} is {seen:?}, not {expected:?}")));
            }
            if let Some(told) = self.reported.get(name).filter(|told| *told != seen) {
                return Err(self.wrong(&format!("{name} is {seen:?}, and told is {told:?}")));
            }
        }
        Ok(())
    }

    /// Takes a server and keeps it, in an open transaction that will have changed nothing.
    fn hold(&mut self) -> Result<(), Trouble> {
        self.run("BEGIN; SET LOCAL work_mem = '99MB'; SET LOCAL TimeZone = 'Asia/Tokyo'").map(drop)
    }

    fn release(&mut self) -> Result<(), Trouble> {
        self.run("ROLLBACK").map(drop)
    }

    /// One move of this neighbour's kind.
    fn act(&mut self, random: &mut Random) -> Result<(), Trouble> {
        self.check()?;
        match self.number {
            0 => (0..3).try_for_each(|_| self.change_a_setting(random)),
            1 => self.change_the_encoding(random),
            2 => self.change_the_role(random),
            3 => self.prepare_by_protocol(random),
            4 => self.prepare_by_sql(random),
            5 => self.fill_the_session(random),
            6 => self.draw_from_a_sequence(),
            _ => self.roll_back(random),
        }
    }

    fn change_a_setting(&mut self, random: &mut Random) -> Result<(), Trouble> {
        let (name, values) = SETTINGS[random.below(SETTINGS.len())];
        let value = values[random.below(2)];
        let list = ["search_path", "DateStyle"].contains(&name);
        let sql = match random.below(5) {
            0 => format!("RESET {name}"),
            1 => format!("SELECT set_config('{name}', '{value}', false)"),
            2 => format!("DO $$BEGIN PERFORM set_config('{name}', '{value}', false); END$$"),
            _ if list => format!("SET {name} = {value}"),
            _ => format!("SET {name} = '{value}'"),
        };
        self.run(&sql)?;
        match sql.starts_with("RESET") {
            true => self.changed.remove(name),
            false => self.changed.insert(name, value.to_owned()),
        };
        Ok(())
    }

    fn change_the_encoding(&mut self, random: &mut Random) -> Result<(), Trouble> {
        let (name, constant) = ENCODINGS[random.below(ENCODINGS.len())];
        match random.below(3) {
            0 => {
                self.run(&format!("BEGIN; SET client_encoding = '{name}'"))?;
                self.run("ROLLBACK").map(drop)
            }
            1 => {
                self.run("RESET client_encoding")?;
                self.changed.remove("client_encoding");
                Ok(())
            }
            _ => {
                self.run(&format!("SET client_encoding = '{name}'"))?;
                self.changed.insert("client_encoding", name.to_owned());
                let text = [b"SELECT 1 AS one, ", constant, b", '--'\0"].concat();
                let row = self.send(&messages::message(b'Q', &text), name)?;
                match row.first().is_some_and(|value| value == "1") {
                    true => Ok(()),
                    false => Err(self.wrong(&format!("a text in {name} gives {row:?}"))),
                }
            }
        }
    }

    fn change_the_role(&mut self, random: &mut Random) -> Result<(), Trouble> {
        match random.below(4) {
            0 => {
                self.run(&format!("SET ROLE {CREW}"))?;
                self.changed.insert("current_user", CREW.to_owned());
                self.gives("SELECT current_user", CREW)
            }
            1 => {
                self.run("RESET ROLE")?;
                self.changed.remove("current_user");
                self.gives("SELECT current_user", RIDER)
            }
            2 => {
                self.run(&format!("SELECT set_config('role', '{CREW}', false)"))?;
                self.changed.insert("current_user", CREW.to_owned());
                Ok(())
            }
            _ => {
                self.run(&format!("BEGIN; SET LOCAL ROLE {CREW}"))?;
                self.gives("SELECT current_user", CREW)?;
                self.run("COMMIT").map(drop)
            }
        }
    }

    fn prepare_by_protocol(&mut self, random: &mut Random) -> Result<(), Trouble> {
        if random.below(6) == 0 {
            self.run("DEALLOCATE ALL")?;
            self.statements.clear();
        }
        let name = NAMES[random.below(NAMES.len())];
        let text = format!("noise {}", random.below(1000));
        let made = [
            messages::close(b'S', name),
            messages::parse(name, &format!("SELECT '{text}'"), &[]),
            messages::parse("", "SELECT 'unnamed noise'", &[]),
            messages::sync(),
        ];
        self.send(&made.concat(), name)?;
        self.statements.insert(name, text);
        for (name, text) in self.statements.clone() {
            let bind = Bind { statement: name.to_owned(), ..Bind::default() };
            let used = [messages::bind(&bind), messages::execute("", 0), messages::sync()].concat();
            let row = self.send(&used, name)?;
            if row.first() != Some(&text) {
                return Err(self.wrong(&format!("statement {name} gives {row:?}, not {text:?}")));
            }
        }
        Ok(())
    }

    fn prepare_by_sql(&mut self, random: &mut Random) -> Result<(), Trouble> {
        let name = NAMES[random.below(NAMES.len())];
        let text = format!("noise {}", random.below(1000));
        self.run(&format!("PREPARE {name} AS SELECT '{text}'"))?;
        self.gives(&format!("EXECUTE {name}"), &text)?;
        match random.below(3) {
            0 => self.run("DEALLOCATE ALL"),
            1 => self.run(&format!("DEALLOCATE PREPARE {name}")),
            _ => self.run("DISCARD ALL"),
        }
        .map(drop)
    }

    /// Leaves nothing behind: what keeps a server would keep it from the script.
    fn fill_the_session(&mut self, random: &mut Random) -> Result<(), Trouble> {
        let table = TABLES[random.below(TABLES.len())];
        let key = 900_000 + random.below(1000);
        self.run(&format!("BEGIN; CREATE TEMP TABLE {table} AS SELECT 'noise' AS a"))?;
        self.run(&format!("SELECT pg_advisory_lock({key})"))?;
        self.run("LISTEN noise; DECLARE c CURSOR WITH HOLD FOR SELECT 'noise'; COMMIT")?;
        self.gives(&format!("SELECT a FROM {table}"), "noise")?;
        self.gives("FETCH c", "noise")?;
        self.run(&format!("SET ROLE {CREW}; SET app.tenant = 'noise left'"))?;
        match random.below(3) {
            0 => self.run("DISCARD ALL").map(drop),
            1 => {
                self.run("RESET ROLE; RESET app.tenant; CLOSE c; UNLISTEN *")?;
                self.run(&format!("DROP TABLE {table}"))?;
                self.run(&format!("SELECT pg_advisory_unlock({key})")).map(drop)
            }
            _ => self.come_anew(),
        }
    }

    /// Leaves without a word, and logs in again.
    fn come_anew(&mut self) -> Result<(), Trouble> {
        let (wire, reported) = log_in(&self.place);
        self.reported = reported;
        std::mem::replace(&mut self.wire, wire).disconnect();
        "come anew".clone_into(&mut self.last_step);
        Ok(())
    }

    /// Comes anew at the end: a session that asks for what it has drawn may keep its server.
    fn draw_from_a_sequence(&mut self) -> Result<(), Trouble> {
        if let Some(value) = self.last_value()? {
            return Err(self.wrong(&format!("lastval() is {value}, and nothing was drawn")));
        }
        self.run("BEGIN")?;
        let drawn = self.run("SELECT nextval('noise.q'), setseed(0.25)")?.remove(0);
        self.gives("SELECT currval('noise.q')", &drawn)?;
        self.gives("SELECT lastval()", &drawn)?;
        self.run("COMMIT")?;
        match self.last_value()? {
            Some(value) if value != drawn => {
                Err(self.wrong(&format!("lastval() is {value}, not {drawn}")))
            }
            Some(_) | None => self.come_anew(),
        }
    }

    /// What `lastval()` gives, if it is not an error.
    fn last_value(&mut self) -> Result<Option<String>, Trouble> {
        self.wire.send(&messages::query("SELECT lastval()"));
        let frames = self.answers(1)?;
        let row = frames.iter().find(|frame| frame.tag == b'D').and_then(Frame::columns);
        let value = row.and_then(|mut row| row.remove(0));
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn roll_back(&mut self, random: &mut Random) -> Result<(), Trouble> {
        match random.below(3) {
            0 => {
                self.run(&format!(
                    "BEGIN; SET work_mem = '13MB'; SET ROLE {CREW}; SAVEPOINT a; \
                     SET client_encoding = 'SJIS'; SET app.tenant = 'noise undone'"
                ))?;
                self.run("ROLLBACK TO a; SET standard_conforming_strings = off")?;
                self.run("CREATE TEMP TABLE tmp (a int); LISTEN noise")?;
                self.run("ROLLBACK").map(drop)
            }
            1 => {
                self.wire.send(&messages::query("BEGIN; SET work_mem = '13MB'; SELECT 1/0"));
                let failed = self.answers(1)?;
                if !failed.iter().any(|frame| frame.tag == b'E') {
                    return Err(self.wrong(&format!("no error: {}", lines(&failed))));
                }
                self.run("ROLLBACK").map(drop)
            }
            _ => {
                self.run("SET work_mem = '14MB'; SET app.y = 'noise'; SET TimeZone = 'CET'")?;
                self.run("DISCARD ALL").map(drop)
            }
        }
    }
}
