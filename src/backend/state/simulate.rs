//! Random schedules of a client, [`Replies`] between two queues, and the [`Model`] of a server:
//! what may never happen is asserted after each step.

use super::model::{Frame, Message, Model, Statement};
use super::{Expected, Kind, Replies, Reply, Rest};
use crate::wire::server;
use std::collections::VecDeque;

/// Where decisions come from.
#[derive(Debug)]
pub(super) enum Choice<'a> {
    /// A generator and its seed.
    #[cfg_attr(not(test), expect(dead_code, reason = "a fuzzer brings its own bytes"))]
    Seeded(u64),
    /// One byte a decision, then zeros.
    Bytes(&'a [u8]),
}

impl Choice<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        match self {
            Self::Seeded(state) => {
                // splitmix64
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (((mixed ^ (mixed >> 31)) >> 32) as u32) % bound
            }
            Self::Bytes(bytes) => {
                let Some((first, rest)) = bytes.split_first() else { return 0 };
                *bytes = rest;
                u32::from(*first) % bound
            }
        }
    }

    fn one_in(&mut self, bound: u32) -> bool {
        self.below(bound) == bound - 1
    }
}

/// Runs one schedule made of `bytes`: for fuzzing.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    run(Choice::Bytes(bytes));
}

/// What a schedule came to, so that a run of many can tell that it covered what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) died: bool,
    pub(super) doubt: bool,
    pub(super) proven: bool,
    pub(super) ignored: bool,
    pub(super) stuck: bool,
}

/// Runs one schedule.
pub(super) fn run(choice: Choice<'_>) -> Outcome {
    let mut world = World::new(choice);
    let steps = 10 + world.choice.below(60);
    let weights = [0; 3].map(|_| 1 + world.choice.below(8));
    for _ in 0..steps {
        let roll = world.choice.below(weights.iter().sum());
        if roll < weights[0] {
            world.client_acts();
            world.asks();
        } else if roll < weights[0] + weights[1] {
            world.server_reads();
        } else {
            world.deliver();
        }
        world.check();
    }
    world.finish();
    let World { doubted: doubt, proven, ignored, stuck, .. } = world;
    Outcome { died: world.model.dead, doubt, proven, ignored, stuck }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Out,
    Settled,
    Dropped,
}

#[derive(Debug)]
struct Sent {
    kind: Option<Kind>,
    reply: Reply,
    fate: Fate,
}

#[derive(Debug)]
struct World<'a> {
    choice: Choice<'a>,
    replies: Replies<u32>,
    model: Model,
    /// Reads everything at once, what is made up included: its answers are what is right.
    ideal: Model,
    to_server: VecDeque<(Message, u32)>,
    sent: Vec<Sent>,
    seen: Vec<(u8, u32)>,
    /// Copies that the client believes it has to end, and which message they belong to.
    copies: u32,
    copying: u32,
    both: bool,
    /// The client sends what must not be sent during a copy, and servers are terminated.
    rude: bool,
    mixed: bool,
    /// What the server says cannot be told apart for now.
    doubt: bool,
    /// It could not at some time.
    doubted: bool,
    /// An answer ended the doubt.
    proven: bool,
    ignored: bool,
    fatal: bool,
    stuck: bool,
}

impl<'a> World<'a> {
    fn new(mut choice: Choice<'a>) -> Self {
        let keeps_block = choice.below(2) == 0;
        let (mixed, rude) = (choice.below(2) == 0, choice.one_in(8));
        Self {
            choice,
            replies: Replies::default(),
            model: Model::new(keeps_block),
            ideal: Model::new(keeps_block),
            to_server: VecDeque::new(),
            sent: Vec::new(),
            seen: Vec::new(),
            copies: 0,
            copying: 0,
            both: false,
            rude,
            mixed,
            doubt: false,
            doubted: false,
            proven: false,
            ignored: false,
            fatal: false,
            stuck: false,
        }
    }

    // The client.

    fn client_acts(&mut self) {
        let message = match self.copies {
            0 => self.message(),
            _ if self.rude && self.choice.one_in(10) => self.message(),
            _ => self.copy_message(),
        };
        let may_fake = self.copies == 0
            && matches!(message, Message::Extended(Kind::Parse | Kind::Close, true));
        let reply = match self.choice.below(8) {
            0 if self.mixed => Reply::Swallow,
            1..=4 if self.mixed && may_fake => Reply::Fake,
            _ => Reply::Forward,
        };
        self.send(message, reply);
    }

    /// We ask on our own account whether the server is at rest.
    fn asks(&mut self) {
        if self.doubt && self.replies.may_ask() && self.choice.below(2) == 0 {
            if self.choice.below(2) == 0 {
                return self.send(Message::Query(vec![Statement::Rows]), Reply::Swallow);
            }
            for kind in [Kind::Parse, Kind::Bind] {
                self.send(Message::Extended(kind, true), Reply::Swallow);
            }
            self.send(Message::Execute(Statement::Rows), Reply::Swallow);
            self.send(Message::Sync(true), Reply::Swallow);
        }
    }

    fn message(&mut self) -> Message {
        let succeeds = !self.choice.one_in(12);
        match self.choice.below(20) {
            0..=2 => Message::Extended(Kind::Parse, succeeds),
            3..=4 => Message::Extended(Kind::Bind, succeeds),
            5 => Message::Extended(Kind::DescribeStatement, succeeds),
            6 => Message::Extended(Kind::DescribePortal, succeeds),
            7 => Message::Extended(Kind::Close, true),
            8..=10 => {
                let statement = self.statement();
                self.expect_copies(&[statement]);
                Message::Execute(statement)
            }
            11..=14 => Message::Sync(succeeds),
            15 => Message::Flush,
            16..=17 => {
                let count = self.choice.below(4);
                let mut statements: Vec<_> = (0..count).map(|_| self.statement()).collect();
                if self.copies == 0 && self.choice.one_in(30) {
                    statements = vec![Statement::CopyBoth];
                }
                self.expect_copies(&statements);
                Message::Query(statements)
            }
            18 => Message::FunctionCall(succeeds),
            _ => match self.choice.below(3) {
                0 => Message::CopyData,
                1 => Message::CopyDone,
                _ => Message::CopyFail,
            },
        }
    }

    fn statement(&mut self) -> Statement {
        match self.choice.below(16) {
            0..=2 => Statement::Rows,
            3 => Statement::Suspends,
            4 => Statement::Empty,
            5 => Statement::Command,
            6 => Statement::Begin,
            7 => Statement::Commit,
            8 => Statement::Rollback,
            9 => Statement::Fails,
            10 => Statement::CopyOut,
            11 => Statement::CopyInFailsAtEnd,
            12..=13 => Statement::CopyIn(Some(self.choice.below(4) as u8)),
            _ => Statement::CopyIn(None),
        }
    }

    fn expect_copies(&mut self, statements: &[Statement]) {
        self.both = statements.contains(&Statement::CopyBoth);
        let copies = statements.iter().filter(|statement| {
            matches!(
                statement,
                Statement::CopyIn(_) | Statement::CopyInFailsAtEnd | Statement::CopyBoth
            )
        });
        self.copies = copies.count() as u32;
        self.copying = self.sent.len() as u32;
    }

    fn copy_message(&mut self) -> Message {
        match self.choice.below(10) {
            4..=5 if !self.both => Message::Sync(!self.choice.one_in(4)),
            6 if !self.both => Message::Flush,
            7..=8 => {
                self.copies -= 1;
                Message::CopyDone
            }
            9 if !self.both => {
                self.copies -= 1;
                Message::CopyFail
            }
            _ => Message::CopyData,
        }
    }

    fn send(&mut self, message: Message, reply: Reply) {
        let serial = self.sent.len() as u32;
        let kind = message.kind();
        self.ideal.read(&message, serial);
        let fate = if kind.is_some() { Fate::Out } else { Fate::Dropped };
        self.sent.push(Sent { kind, reply, fate });
        if reply != Reply::Fake {
            self.to_server.push_back((message, serial));
        }
        if let Some(kind) = kind {
            if let Some(back) = self.replies.sent(kind, reply, Some(serial)) {
                assert_eq!(back, serial, "another message's note came back");
                self.meets(serial, Fate::Dropped);
            }
            self.take_fakes();
        }
    }

    fn meets(&mut self, serial: u32, fate: Fate) {
        let sent = &mut self.sent[serial as usize];
        assert_eq!(sent.fate, Fate::Out, "the note of {serial} came back twice");
        sent.fate = fate;
    }

    fn take_fakes(&mut self) {
        while let Some(entry) = self.replies.take_fake() {
            assert_eq!(entry.reply, Reply::Fake, "what is asked of the server is not made up");
            let serial = entry.note.expect("each has a note");
            self.meets(serial, Fate::Settled);
            let close = entry.kind == Kind::Close;
            let tag = if close { server::CLOSE_COMPLETE } else { server::PARSE_COMPLETE };
            self.seen.push((tag, serial));
        }
    }

    // The server.

    fn server_reads(&mut self) {
        if let Some((message, serial)) = self.to_server.pop_front() {
            self.model.read(&message, serial);
        }
        if self.choice.one_in(20) {
            let tags = [server::NOTICE, server::NOTIFICATION, server::PARAMETER_STATUS];
            let tag = tags[self.choice.below(3) as usize];
            self.model.unasked(tag);
        }
        if self.rude && self.choice.one_in(80) {
            self.model.terminate();
        }
    }

    fn deliver(&mut self) {
        let Some(frame) = self.model.out.pop_front() else { return };
        let Some(serial) = frame.serial else { return self.deliver_unasked(frame) };
        if !self.doubt {
            let front = self.replies.front().and_then(|front| front.note);
            assert_eq!(front, Some(serial), "{frame:?} answers another message");
        }
        let (reply, settled) = match frame.tag {
            server::ERROR => (self.deliver_error(frame, serial), None),
            server::READY => {
                let received = self.replies.ready(frame.status).expect("in step");
                (received.reply, received.settled)
            }
            tag => {
                let received = self.replies.received(tag).expect("in step");
                (received.reply, received.settled)
            }
        };
        self.account(frame, serial, (reply, settled));
        while let Some(entry) = self.replies.take_ignored() {
            assert_eq!(entry.kind, Kind::Sync, "only Syncs are ignored");
            self.ignored = true;
            self.meets(entry.note.expect("each has a note"), Fate::Dropped);
        }
        self.take_fakes();
    }

    fn deliver_unasked(&mut self, frame: Frame) {
        if frame.fatal {
            let mut dropped = Vec::new();
            self.replies.failed(|entry| dropped.extend(entry.note));
            dropped.into_iter().for_each(|serial| self.meets(serial, Fate::Dropped));
            self.fatal = true;
        } else {
            let received = self.replies.received(frame.tag).expect("may come at any time");
            assert_eq!(received.settled, None, "answers nothing");
            if frame.tag == server::NOTIFICATION {
                assert_eq!(received.reply, Reply::Forward, "a notification is the client's");
            }
        }
    }

    fn deliver_error(&mut self, frame: Frame, serial: u32) -> Reply {
        if let Some(place) = frame.failed_copy {
            self.doubt |= self.sync_was_sent_during(serial, place);
            self.doubted |= self.doubt;
        }
        let mut dropped = Vec::new();
        let reply = self.replies.failed(|entry| dropped.push(entry));
        let serials: Vec<_> = dropped.iter().filter_map(|entry| entry.note).collect();
        assert!(serials.is_sorted_by(|a, b| a > b), "newest first: {serials:?}");
        for entry in dropped {
            assert_ne!(entry.kind, Kind::Sync, "a Sync is always answered");
            let dropped = entry.note.expect("each has a note");
            assert!(self.doubt || dropped >= serial, "{dropped} was answered before {serial}");
            self.meets(dropped, Fate::Dropped);
        }
        if serial == self.copying && reply == Reply::Forward && self.choice.below(2) == 0 {
            self.copies = 0;
        }
        reply
    }

    /// Whether a Sync was sent between the message that began the copy, or what ended the copy
    /// before it in the same message, and what was to end this one.
    fn sync_was_sent_during(&self, serial: u32, place: usize) -> bool {
        let mut ends = 0usize;
        self.sent.iter().skip(serial as usize + 1).any(|sent| {
            ends += usize::from(sent.kind == Some(Kind::CopyEnd));
            ends == place && sent.kind == Some(Kind::Sync)
        })
    }

    fn account(&mut self, frame: Frame, serial: u32, got: (Reply, Option<Expected<u32>>)) {
        let (reply, settled) = got;
        let settled = settled.and_then(|entry| entry.note);
        if !self.doubt {
            assert_eq!(reply, self.sent[serial as usize].reply, "{frame:?}");
            assert_eq!(settled, frame.last.then_some(serial), "{frame:?}");
        }
        if let Some(settled) = settled {
            self.meets(settled, Fate::Settled);
        }
        assert_ne!(reply, Reply::Fake, "{frame:?} is real");
        if reply == Reply::Forward {
            self.seen.push((frame.tag, serial));
        }
    }

    // What must hold.

    fn check(&mut self) {
        if self.doubt && self.replies.rest() == Rest::AtRest {
            (self.doubt, self.proven) = (false, true);
        }
        match self.replies.rest() {
            Rest::Busy => {}
            Rest::Unprovable => assert!(self.doubt || self.fatal, "nothing is in doubt"),
            Rest::AtRest => {
                assert!(!self.doubt && !self.fatal, "{self:?}");
                let unread = self.to_server.iter().filter_map(|(message, _)| message.kind());
                assert!(unread.into_iter().all(|kind| kind == Kind::CopyEnd), "{self:?}");
                assert!(self.model.out.iter().all(|frame| frame.serial.is_none()), "{self:?}");
                assert!(self.model.is_idle() || self.model.dead, "{self:?}");
            }
        }
    }

    fn settle_down(&mut self) {
        while let Some((message, serial)) = self.to_server.pop_front() {
            self.model.read(&message, serial);
        }
        while !self.model.out.is_empty() {
            self.deliver();
            self.check();
        }
    }

    fn finish(&mut self) {
        self.settle_down();
        while self.model.is_copying() {
            self.send(Message::CopyDone, Reply::Forward);
            self.settle_down();
        }
        self.send(Message::Sync(true), Reply::Forward);
        self.settle_down();
        if !self.model.is_idle() {
            self.send(Message::Query(vec![Statement::Rollback]), Reply::Forward);
            self.settle_down();
        }
        let sent = &self.sent;
        let right = self.ideal.out.iter().filter_map(|frame| Some((frame.tag, frame.serial?)));
        let right: Vec<_> =
            right.filter(|(_, serial)| sent[*serial as usize].reply != Reply::Swallow).collect();
        if self.model.dead {
            assert_ne!(self.replies.rest(), Rest::AtRest, "{self:?}");
            assert!(self.doubted || right.starts_with(&self.seen), "{right:?} {self:?}");
            return;
        }
        if self.doubt {
            self.stuck = self.replies.rest() == Rest::Busy;
        } else {
            assert_eq!(self.replies.rest(), Rest::AtRest, "{self:?}");
        }
        if !self.doubted {
            assert!(sent.iter().all(|sent| sent.fate != Fate::Out), "{self:?}");
        }
        if !self.doubted || !self.mixed {
            assert_eq!(self.seen, right, "{self:?}");
        }
    }
}
