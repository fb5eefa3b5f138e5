//! One client of the console: the protocol on one side, commands and tables on the other.
//!
//! Owns the client's prepared statements and portals and the state of its "transaction", which
//! exists because drivers open one. Keeps PostgreSQL's rules: an error in a batch discards what
//! follows up to Sync, and every Query and Sync ends with one ReadyForQuery (manual, "Message Flow").
//!
//! ```text
//!   take(message) ──▶ Wait | Leave | Run(command) ──▶ (carried out elsewhere) ──▶ answer(outcome)
//! ```

mod batch;
mod portal;

use super::command::{Command, Harmless};
use super::table::{self, Value, framed};
use crate::fault::{Fault, MessageStyle, Side};
use crate::sql;
use crate::wire::{self, client, server};
use portal::Portal;
use std::collections::{HashMap, VecDeque};

/// What a client is told at login: ParameterStatus by name.
pub const LOGIN_PARAMETERS: &[(&str, &str)] = &[
    ("server_version", concat!(env!("CARGO_PKG_VERSION"), "/howdah")),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
];

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the next message.
    Wait,
    /// Carry this out, then call [`Console::answer`].
    Run(Command),
    /// Close the connection.
    Leave,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Its rows, in the columns that [`Command::columns`] says.
    Rows(Vec<Vec<Value>>),
    /// It was refused.
    Refused(Fault),
}

/// The command that is being carried out, and who asked.
#[derive(Debug)]
enum Running {
    /// One of a Query's, with those behind it.
    Query(Command, VecDeque<Command>),
    /// A portal's, which is to give at most so many rows (zero: all).
    Portal(Box<[u8]>, Command, u32),
}

/// One client of the console.
#[derive(Debug)]
pub struct Console {
    may_order: bool,
    style: MessageStyle,
    statements: HashMap<Box<[u8]>, Option<Command>>,
    portals: HashMap<Box<[u8]>, Portal>,
    running: Option<Running>,
    skipping: bool,
    status: u8,
}

impl Console {
    /// A client that may only look, or also order.
    pub fn new(may_order: bool, style: MessageStyle) -> Self {
        Self {
            may_order,
            style,
            statements: HashMap::new(),
            portals: HashMap::new(),
            running: None,
            skipping: false,
            status: wire::IDLE,
        }
    }

    /// Takes one message of the client's; answers go to `out`. Not to be called while a command
    /// runs.
    pub fn take(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Step {
        let done = match tag {
            client::TERMINATE => return Step::Leave,
            client::SYNC => {
                self.skipping = false;
                if self.status == wire::IDLE {
                    self.portals.clear();
                }
                server::ready(out, self.status);
                return Step::Wait;
            }
            client::QUERY => return self.query(body, out),
            client::FLUSH | client::COPY_DATA | client::COPY_DONE | client::COPY_FAIL => {
                return Step::Wait;
            }
            client::PARSE | client::BIND | client::DESCRIBE | client::EXECUTE | client::CLOSE
                if self.skipping =>
            {
                return Step::Wait;
            }
            client::PARSE => self.parse(body, out),
            client::BIND => self.bind(body, out),
            client::DESCRIBE => self.describe(body, out),
            client::CLOSE => self.close(body, out),
            client::EXECUTE => return self.execute(body, out),
            client::FUNCTION_CALL => {
                let fault = Fault::query(Side::Client, "0A000", "the console has no functions");
                self.fail(out, &fault);
                server::ready(out, self.status);
                return Step::Wait;
            }
            other => {
                let text = format!("invalid frontend message type {other}");
                wire::fault(out, &Fault::protocol(text));
                return Step::Leave;
            }
        };
        if let Err(fault) = done {
            self.fail(out, &fault);
            self.skipping = true;
        }
        Step::Wait
    }

    /// The command of the last [`Step::Run`] has been carried out.
    pub fn answer(&mut self, outcome: Outcome, out: &mut Vec<u8>) -> Step {
        match self.running.take() {
            Some(Running::Query(command, rest)) => {
                if self.answer_query(&command, outcome, out) {
                    return self.run_next(rest, out);
                }
                server::ready(out, self.status);
            }
            Some(Running::Portal(name, command, max)) => {
                self.answer_portal((&name, max), &command, outcome, out);
            }
            None => {}
        }
        Step::Wait
    }

    fn fail(&mut self, out: &mut Vec<u8>, fault: &Fault) {
        if self.status == wire::IN_TRANSACTION {
            self.status = wire::FAILED;
        }
        // PgBouncer's console has one code, too, and ours has its texts. What to do stays.
        let said = fault.clone().pgbouncer(fault.message.clone()).in_style(self.style);
        let said = said.hint(fault.hint.clone());
        wire::fault(out, &said);
    }

    fn query(&mut self, body: &[u8], out: &mut Vec<u8>) -> Step {
        self.skipping = false;
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        let read = body.strip_suffix(&[0]).ok_or_else(|| Fault::protocol("invalid message format"));
        let read = read.and_then(|text| {
            let texts = sql::statements(text, true);
            texts.map(|range| Command::read(text.get(range).unwrap_or_default())).collect()
        });
        match read {
            Ok(commands) => {
                let commands: VecDeque<Command> = commands;
                if commands.is_empty() {
                    server::bare(out, server::EMPTY_QUERY);
                }
                self.run_next(commands, out)
            }
            Err(fault) => {
                self.fail(out, &fault);
                server::ready(out, self.status);
                Step::Wait
            }
        }
    }

    /// The next of a Query's commands.
    fn run_next(&mut self, mut commands: VecDeque<Command>, out: &mut Vec<u8>) -> Step {
        while let Some(command) = commands.pop_front() {
            if let Err(fault) = self.permit(&command) {
                self.fail(out, &fault);
                break;
            }
            let Command::Harmless(harmless) = &command else {
                self.running = Some(Running::Query(command.clone(), commands));
                return Step::Run(command);
            };
            let outcome = self.answer_harmless(harmless);
            self.answer_query(&command, outcome, out);
        }
        server::ready(out, self.status);
        Step::Wait
    }

    /// Answers one of a Query's commands; whether the next may run.
    fn answer_query(&mut self, command: &Command, outcome: Outcome, out: &mut Vec<u8>) -> bool {
        match outcome {
            Outcome::Refused(fault) => {
                self.fail(out, &fault);
                return false;
            }
            Outcome::Rows(rows) => {
                let columns = command.columns().unwrap_or_default();
                table::describe(out, columns, &[]);
                rows.iter().for_each(|row| table::row(out, columns, row, &[]));
            }
            Outcome::Done => {}
        }
        complete(out, command);
        true
    }

    /// Whether the command may run here and now.
    fn permit(&self, command: &Command) -> Result<(), Fault> {
        let ends = matches!(command, Command::Harmless(Harmless::End(_)));
        if self.status == wire::FAILED && !ends {
            let text =
                "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Fault::query(Side::Client, "25P02", text));
        }
        if self.may_order || command.only_looks() {
            return Ok(());
        }
        Err(Fault::query(Side::Client, "42501", "admin access needed")
            .hint("Users in admin_users may do this; those in stats_users may only SHOW."))
    }

    /// Answers a statement that does nothing.
    fn answer_harmless(&mut self, harmless: &Harmless) -> Outcome {
        match harmless {
            Harmless::Begin(_) => self.status = wire::IN_TRANSACTION,
            Harmless::End(_) => self.status = wire::IDLE,
            Harmless::Nothing(_) => {}
            Harmless::Setting(_, value) => return Outcome::Rows(vec![vec![Value::from(*value)]]),
            Harmless::Number(number) => {
                return Outcome::Rows(vec![vec![Value::count(*number)]]);
            }
        }
        Outcome::Done
    }
}

fn complete(out: &mut Vec<u8>, command: &Command) {
    framed(out, server::COMMAND_COMPLETE, |out| {
        out.extend(command.tag().as_bytes());
        out.push(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::View;
    use proptest::prelude::*;

    fn brief(out: &[u8]) -> String {
        let mut all = Vec::new();
        let mut rest = out;
        while let Ok(Some(header)) = wire::header(rest, 1 << 30) {
            let body = &rest[wire::HEADER_LEN..header.total()];
            let text = String::from_utf8_lossy(body).replace('\0', "");
            all.push(match header.tag {
                server::ERROR => {
                    let fields = wire::error_fields(body);
                    format!("E{}", String::from_utf8_lossy(fields.code))
                }
                server::READY | server::COMMAND_COMPLETE => {
                    format!("{}:{text}", char::from(header.tag))
                }
                tag => char::from(tag).to_string(),
            });
            rest = &rest[header.total()..];
        }
        all.join(" ")
    }

    /// Takes messages as they stand behind one another, answering each command with one row.
    fn talk(console: &mut Console, bytes: &[u8]) -> String {
        let (mut rest, mut out) = (bytes, Vec::new());
        while let Ok(Some(header)) = wire::header(rest, 1 << 30) {
            let body = &rest[wire::HEADER_LEN..header.total()];
            let mut step = console.take(header.tag, body, &mut out);
            while let Step::Run(command) = step {
                let outcome = match command.columns() {
                    Some(columns) => Outcome::Rows(vec![vec![Value::Null; columns.len()]; 3]),
                    None => Outcome::Done,
                };
                step = console.answer(outcome, &mut out);
            }
            rest = &rest[header.total()..];
        }
        brief(&out)
    }

    fn ask(console: &mut Console, sql: &str) -> String {
        let mut bytes = Vec::new();
        client::query(&mut bytes, sql.as_bytes());
        talk(console, &bytes)
    }

    fn batch(sql: &str, formats: &[u8], max: u32) -> Vec<u8> {
        let mut out = Vec::new();
        client::parse(&mut out, b"", sql.as_bytes(), &[0, 0]);
        let rest = [&[0, 0, 0, 0][..], formats].concat();
        client::bind_head(&mut out, b"", b"", rest.len());
        out.extend(rest);
        client::target(&mut out, client::DESCRIBE, b'P', b"");
        framed(&mut out, client::EXECUTE, |out| {
            out.push(0);
            out.extend(max.to_be_bytes());
        });
        client::bare(&mut out, client::SYNC);
        out
    }

    #[test]
    fn queries_one_or_several() {
        let console = &mut Console::new(true, MessageStyle::default());
        assert_eq!(ask(console, "SHOW POOLS"), "T D D D C:SHOW Z:I");
        assert_eq!(ask(console, "SHOW POOLS; PAUSE;"), "T D D D C:SHOW C:PAUSE Z:I");
        assert_eq!(ask(console, ""), "I Z:I");
        assert_eq!(ask(console, "PAUSE; NONSENSE"), "E42601 Z:I");
        assert_eq!(ask(console, "SELECT 1"), "T D C:SELECT 1 Z:I");
    }

    #[test]
    fn batches() {
        let console = &mut Console::new(true, MessageStyle::default());
        let all = talk(console, &batch("SHOW POOLS", &[0, 0], 0));
        assert_eq!(all, "1 2 T D D D C:SHOW Z:I");
        assert_eq!(talk(console, &batch("SHOW POOLS", &[0, 1, 0, 1], 2)), "1 2 T D D s Z:I");
        assert_eq!(talk(console, &batch("PAUSE", &[0, 0], 0)), "1 2 n C:PAUSE Z:I");
        assert_eq!(talk(console, &batch("NONSENSE", &[0, 0], 0)), "E42601 Z:I");
        assert_eq!(talk(console, &batch("SHOW POOLS", &[0, 2, 0, 1, 0, 1], 0)), "1 E08P01 Z:I");
        assert_eq!(talk(console, &batch("", &[0, 0], 0)), "1 2 n I Z:I");
    }

    #[test]
    fn a_transaction_that_only_the_driver_needs() {
        let console = &mut Console::new(true, MessageStyle::default());
        assert_eq!(ask(console, "BEGIN"), "C:BEGIN Z:T");
        assert_eq!(ask(console, "NONSENSE"), "E42601 Z:E");
        assert_eq!(ask(console, "SHOW POOLS"), "E25P02 Z:E");
        assert_eq!(ask(console, "ROLLBACK"), "C:ROLLBACK Z:I");
    }

    #[test]
    fn who_may_only_look_orders_nothing() {
        let console = &mut Console::new(false, MessageStyle::default());
        assert_eq!(ask(console, "SHOW POOLS"), "T D D D C:SHOW Z:I");
        assert_eq!(ask(console, "PAUSE"), "E42501 Z:I");
        assert_eq!(talk(console, &batch("RELOAD", &[0, 0], 0)), "1 2 T E42501 Z:I");
    }

    #[test]
    fn what_is_refused_ends_the_query() {
        let mut console = Console::new(true, MessageStyle::default());
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        client::query(&mut bytes, b"PAUSE; SHOW STATE");
        let body = &bytes[wire::HEADER_LEN..];
        let step = console.take(client::QUERY, body, &mut out);
        assert_eq!(step, Step::Run(Command::Pause(None)));
        let fault = Fault::query(Side::Operator, "55000", "already suspended/paused");
        assert_eq!(console.answer(Outcome::Refused(fault), &mut out), Step::Wait);
        assert_eq!(brief(&out), "E55000 Z:I");
    }

    #[test]
    fn names_as_postgresql_knows_them() {
        let console = &mut Console::new(true, MessageStyle::default());
        let mut bytes = Vec::new();
        client::parse(&mut bytes, b"a", b"SHOW POOLS", &[0, 0]);
        client::target(&mut bytes, client::DESCRIBE, b'S', b"a");
        client::parse(&mut bytes, b"a", b"SHOW POOLS", &[0, 0]);
        client::target(&mut bytes, client::DESCRIBE, b'S', b"a");
        client::bare(&mut bytes, client::SYNC);
        assert_eq!(talk(console, &bytes), "1 t T E42P05 Z:I");
        let mut bytes = Vec::new();
        client::target(&mut bytes, client::CLOSE, b'S', b"a");
        client::target(&mut bytes, client::DESCRIBE, b'S', b"a");
        client::bare(&mut bytes, client::SYNC);
        assert_eq!(talk(console, &bytes), "3 E26000 Z:I");
    }

    #[test]
    fn every_view_has_columns() {
        assert_eq!(View::Pools.columns().len(), 17);
        assert_eq!(View::Clients.columns().len(), 21);
        assert_eq!(View::Stats.columns().len(), 25);
    }

    proptest! {
        #[test]
        fn any_messages(messages in prop::collection::vec(
            (prop::sample::select(&b"PBDECSQHXFd"[..]), prop_oneof![
                prop::collection::vec(any::<u8>(), 0..24),
                "[a-z]{0,3}\0(SHOW|SELECT|PAUSE|SET)? ?[a-z_0-9 =';]{0,12}\0\0\0".prop_map(String::into_bytes),
            ]), 0..12,
        )) {
            crate::admin::fuzz::fuzz(&messages);
        }
    }
}
