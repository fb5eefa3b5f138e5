//! PostgreSQL's message loop (`PostgresMain` and the reading half of COPY) in miniature: what it
//! answers, discards and ignores. How each statement ends is written in the message, so that two
//! models that get the same messages give the same answers.

use super::Kind;
use crate::wire::{self, server};
use std::collections::VecDeque;

/// What one statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statement {
    Rows,
    /// A portal with a row limit that is reached.
    Suspends,
    Empty,
    Command,
    Begin,
    Commit,
    Rollback,
    /// Fails, in the extended protocol after a row.
    Fails,
    CopyOut,
    /// Copies from the client, and fails after that many messages if it gets so far.
    CopyIn(Option<u8>),
    /// Fails when CopyDone is read.
    CopyInFailsAtEnd,
    /// Replication, simple protocol only.
    CopyBoth,
}

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Parse, Bind, Describe or Close, and whether it succeeds.
    Extended(Kind, bool),
    Execute(Statement),
    /// Whether the commit it stands for succeeds, if there is something to commit.
    Sync(bool),
    Query(Vec<Statement>),
    FunctionCall(bool),
    Flush,
    CopyData,
    CopyDone,
    CopyFail,
}

impl Message {
    /// As the queue of expected replies knows it.
    pub(super) fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Extended(kind, _) => *kind,
            Self::Execute(_) => Kind::Execute,
            Self::Sync(_) => Kind::Sync,
            Self::Query(_) => Kind::Query,
            Self::FunctionCall(_) => Kind::FunctionCall,
            Self::CopyDone | Self::CopyFail => Kind::CopyEnd,
            Self::Flush | Self::CopyData => return None,
        })
    }
}

/// A message from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) tag: u8,
    /// Of ReadyForQuery.
    pub(super) status: u8,
    /// Which message it answers; none for what comes unasked.
    pub(super) serial: Option<u32>,
    /// Nothing further answers that message.
    pub(super) last: bool,
    /// Of an error: the place of the copy from the client that failed among those of its message.
    pub(super) failed_copy: Option<usize>,
    pub(super) fatal: bool,
}

#[derive(Debug)]
struct CopyIn {
    serial: u32,
    extended: bool,
    both: bool,
    fails_after: Option<u8>,
    fails_at_end: bool,
    /// Copies of the same message before this one.
    place: usize,
    /// The statements of the same Query that follow.
    rest: Vec<Statement>,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) out: VecDeque<Frame>,
    /// PostgreSQL 18 keeps the implicit block of a pipeline open over a single-statement Query.
    keeps_block: bool,
    pub(super) dead: bool,
    copy: Option<CopyIn>,
    ignore_till_sync: bool,
    /// A transaction was started by a message of the extended protocol.
    implicit: bool,
    pipelined: bool,
    implicit_block: bool,
    explicit: bool,
    failed: bool,
    multiple: bool,
}

impl Model {
    pub(super) fn new(keeps_block: bool) -> Self {
        Self { keeps_block, ..Self::default() }
    }

    /// It waits for a message, and only for one that begins something.
    pub(super) fn is_idle(&self) -> bool {
        !self.dead
            && self.copy.is_none()
            && !self.ignore_till_sync
            && !self.implicit
            && self.status() == wire::IDLE
    }

    pub(super) fn is_copying(&self) -> bool {
        !self.dead && self.copy.is_some()
    }

    pub(super) fn read(&mut self, message: &Message, serial: u32) {
        if self.dead {
            return;
        }
        if let Some(copy) = self.copy.take() {
            self.read_in_copy(copy, message);
            return;
        }
        if self.ignore_till_sync && !matches!(message, Message::Sync(_)) {
            return;
        }
        match message {
            Message::Extended(kind, succeeds) => self.extended(*kind, *succeeds, serial),
            Message::Execute(statement) => self.execute(*statement, serial),
            Message::Sync(commits) => self.sync(*commits, serial),
            Message::Query(statements) => {
                self.begins();
                self.multiple = statements.len() > 1;
                if statements.is_empty() {
                    self.answer(server::EMPTY_QUERY, serial, false);
                }
                self.statements(statements, serial, 0);
            }
            Message::FunctionCall(succeeds) => {
                self.begins();
                self.multiple = false;
                if *succeeds && !self.failed {
                    self.answer(server::FUNCTION_RESULT, serial, false);
                    self.query_ends(serial);
                } else {
                    self.fails(serial, false, None);
                }
            }
            Message::Flush | Message::CopyData | Message::CopyDone | Message::CopyFail => {}
        }
    }

    /// The backend is told to go away.
    pub(super) fn terminate(&mut self) {
        if !self.dead {
            self.unasked(server::ERROR);
            if let Some(frame) = self.out.back_mut() {
                frame.fatal = true;
            }
            self.dead = true;
        }
    }

    /// A notice, notification or changed parameter.
    pub(super) fn unasked(&mut self, tag: u8) {
        if !self.dead {
            self.answer(tag, 0, false);
            if let Some(frame) = self.out.back_mut() {
                frame.serial = None;
            }
        }
    }

    fn status(&self) -> u8 {
        match (self.failed, self.explicit || self.implicit_block) {
            (true, _) => wire::FAILED,
            (false, true) => wire::IN_TRANSACTION,
            (false, false) => wire::IDLE,
        }
    }

    fn answer(&mut self, tag: u8, serial: u32, last: bool) {
        let status = self.status();
        let serial = Some(serial);
        self.out.push_back(Frame { tag, status, serial, last, failed_copy: None, fatal: false });
    }

    /// `start_xact_command`.
    fn begins(&mut self) {
        self.implicit_block |= self.keeps_block && self.pipelined && !self.explicit;
    }

    fn block_ends(&mut self) {
        (self.implicit, self.pipelined, self.implicit_block) = (false, false, false);
    }

    fn fails(&mut self, serial: u32, extended: bool, failed_copy: Option<usize>) {
        self.answer(server::ERROR, serial, false);
        if let Some(frame) = self.out.back_mut() {
            frame.failed_copy = failed_copy;
        }
        self.failed = self.explicit;
        self.block_ends();
        self.ignore_till_sync = extended;
        if !extended {
            self.answer(server::READY, serial, true);
        }
    }

    fn extended(&mut self, kind: Kind, succeeds: bool, serial: u32) {
        self.begins();
        if !succeeds {
            if kind == Kind::DescribeStatement {
                self.answer(server::PARAMETER_DESCRIPTION, serial, false);
            }
            self.fails(serial, true, None);
            return;
        }
        self.implicit = true;
        match kind {
            Kind::Parse => self.answer(server::PARSE_COMPLETE, serial, true),
            Kind::Bind => self.answer(server::BIND_COMPLETE, serial, true),
            Kind::Close => self.answer(server::CLOSE_COMPLETE, serial, true),
            Kind::DescribePortal => self.answer(server::ROW_DESCRIPTION, serial, true),
            Kind::DescribeStatement => {
                self.answer(server::PARAMETER_DESCRIPTION, serial, false);
                self.answer(server::NO_DATA, serial, true);
            }
            Kind::Execute | Kind::Sync | Kind::Query | Kind::FunctionCall | Kind::CopyEnd => {
                unreachable!("{kind:?} has a message of its own")
            }
        }
    }

    fn sync(&mut self, commits: bool, serial: u32) {
        self.ignore_till_sync = false;
        if self.pipelined && !self.explicit && !commits {
            self.fails(serial, false, None);
        } else {
            self.block_ends();
            self.answer(server::READY, serial, true);
        }
    }

    fn execute(&mut self, statement: Statement, serial: u32) {
        self.begins();
        self.implicit = true;
        match self.run(statement, serial, true) {
            Run::Fails => self.fails(serial, true, None),
            Run::Copies(copy) => self.copy_begins(copy),
            Run::Ends(tag) => {
                self.answer(tag, serial, true);
                self.pipelined = self.implicit;
            }
        }
    }

    fn statements(&mut self, statements: &[Statement], serial: u32, place: usize) {
        for (index, statement) in statements.iter().enumerate() {
            match self.run(*statement, serial, false) {
                Run::Fails => return self.fails(serial, false, None),
                Run::Ends(tag) => self.answer(tag, serial, false),
                Run::Copies(copy) => {
                    let rest = statements.iter().skip(index + 1).copied().collect();
                    return self.copy_begins(CopyIn { place, rest, ..copy });
                }
            }
        }
        self.query_ends(serial);
    }

    fn query_ends(&mut self, serial: u32) {
        if self.multiple || !self.implicit_block {
            self.block_ends();
        }
        self.answer(server::READY, serial, true);
    }

    fn run(&mut self, statement: Statement, serial: u32, extended: bool) -> Run {
        let ends = matches!(statement, Statement::Commit | Statement::Rollback | Statement::Empty);
        if self.failed && !ends {
            return Run::Fails;
        }
        let (mut fails_after, mut fails_at_end) = (None, false);
        match statement {
            Statement::Rows | Statement::Suspends => {
                if !extended {
                    self.answer(server::ROW_DESCRIPTION, serial, false);
                }
                self.answer(server::DATA_ROW, serial, false);
                if extended && statement == Statement::Suspends {
                    return Run::Ends(server::PORTAL_SUSPENDED);
                }
            }
            Statement::Empty if extended => return Run::Ends(server::EMPTY_QUERY),
            Statement::Empty | Statement::Command => {}
            Statement::Begin => self.explicit = true,
            Statement::Commit | Statement::Rollback => {
                (self.explicit, self.failed) = (false, false);
                self.block_ends();
                // What follows in the same batch is a new transaction until Sync.
                self.implicit = extended;
            }
            Statement::Fails => {
                if extended {
                    self.answer(server::DATA_ROW, serial, false);
                }
                return Run::Fails;
            }
            Statement::CopyOut => {
                self.answer(server::COPY_OUT, serial, false);
                self.answer(server::COPY_DATA, serial, false);
                self.answer(server::COPY_DONE, serial, false);
            }
            Statement::CopyIn(after) => fails_after = after,
            Statement::CopyInFailsAtEnd => fails_at_end = true,
            Statement::CopyBoth => {}
        }
        let both = statement == Statement::CopyBoth && !extended;
        if both || matches!(statement, Statement::CopyIn(_) | Statement::CopyInFailsAtEnd) {
            let (place, rest) = (0, Vec::new());
            let copy = CopyIn { serial, extended, both, fails_after, fails_at_end, place, rest };
            return Run::Copies(copy);
        }
        Run::Ends(server::COMMAND_COMPLETE)
    }

    fn copy_begins(&mut self, copy: CopyIn) {
        let tag = if copy.both { server::COPY_BOTH } else { server::COPY_IN };
        self.answer(tag, copy.serial, false);
        if copy.fails_after == Some(0) {
            self.fails(copy.serial, copy.extended, Some(copy.place));
        } else {
            self.copy = Some(copy);
        }
    }

    /// `CopyGetData`: Flush and Sync are ignored, and what does not belong costs the connection.
    fn read_in_copy(&mut self, mut copy: CopyIn, message: &Message) {
        match message {
            Message::CopyDone if !copy.fails_at_end => self.copy_ends(copy),
            Message::CopyDone | Message::CopyFail if !copy.both => {
                self.fails(copy.serial, copy.extended, Some(copy.place));
            }
            Message::CopyData | Message::Sync(_) | Message::Flush
                if !copy.both || *message == Message::CopyData =>
            {
                copy.fails_after = copy.fails_after.map(|left| left.saturating_sub(1));
                if copy.fails_after == Some(0) {
                    self.fails(copy.serial, copy.extended, Some(copy.place));
                } else {
                    self.copy = Some(copy);
                }
            }
            Message::CopyData
            | Message::CopyDone
            | Message::CopyFail
            | Message::Sync(_)
            | Message::Flush
            | Message::Extended(..)
            | Message::Execute(_)
            | Message::Query(_)
            | Message::FunctionCall(_) => {
                self.answer(server::ERROR, copy.serial, false);
                self.terminate();
            }
        }
    }

    fn copy_ends(&mut self, copy: CopyIn) {
        if copy.both {
            self.answer(server::COPY_DONE, copy.serial, false);
        }
        self.answer(server::COMMAND_COMPLETE, copy.serial, copy.extended);
        if copy.extended {
            self.pipelined = self.implicit;
        } else {
            self.statements(&copy.rest, copy.serial, copy.place.saturating_add(1));
        }
    }
}

enum Run {
    Fails,
    Copies(CopyIn),
    /// With this message.
    Ends(u8),
}
