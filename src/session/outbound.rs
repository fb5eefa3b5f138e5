//! From the server to the client.
//!
//! Each frame's header is looked at once. Runs of frames that pass unchanged leave in one write,
//! straight from the scratch; rows are never opened and never held whole.

use super::gate::Gate;
use super::names::shape_of;
use super::route::Mode;
use super::run::{Clock, End, Phase, Session};
use super::settings;
use super::worker::Worker;
use crate::backend::server::{Note, Server};
use crate::backend::state::{Expected, Kind, OutOfStep, Reply, Rest};
use crate::fault::{Fault, Side};
use crate::wire::{self, Header, server};
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Longest message that a server may announce.
const FRAME_MAX: usize = i32::MAX as usize;

/// Bytes for one write: runs of what was read, and pieces put in between.
pub(super) struct Pieces<'a> {
    data: &'a [u8],
    run: Range<usize>,
    assembly: &'a mut Vec<u8>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(data: &'a [u8], assembly: &'a mut Vec<u8>) -> Self {
        Worker::trim(assembly);
        Self { data, run: 0..0, assembly }
    }

    /// Bytes of the data as they are.
    #[inline]
    pub(super) fn keep(&mut self, range: Range<usize>) {
        if range.start == self.run.end {
            self.run.end = range.end;
        } else {
            self.cut();
            self.run = range;
        }
    }

    fn cut(&mut self) {
        self.assembly.extend_from_slice(self.data.get(self.run.clone()).unwrap_or_default());
        self.run = 0..0;
    }

    /// A place for other bytes, behind all that came before.
    pub(super) fn insert(&mut self) -> &mut Vec<u8> {
        self.cut();
        self.assembly
    }

    /// All of it.
    pub(super) fn finish(mut self) -> &'a [u8] {
        if !self.assembly.is_empty() {
            self.cut();
            return self.assembly;
        }
        self.data.get(self.run).unwrap_or_default()
    }
}

impl Session {
    /// Reads the server once; whether there was anything.
    pub(super) fn read_server(&mut self, cx: &mut Context<'_>) -> ControlFlow<End, bool> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(false) };
        let server = lease.server();
        match server.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => return ControlFlow::Continue(false),
            Poll::Ready(Ok(n)) if n > 0 => {
                let data = scratch.get(..n).unwrap_or_default();
                if server.held.is_empty() {
                    self.relay(cx, data)?;
                } else {
                    let mut whole = std::mem::take(&mut server.held);
                    whole.extend_from_slice(data);
                    self.relay(cx, &whole)?;
                }
            }
            Poll::Ready(Ok(_) | Err(_)) => {
                drop(scratch);
                self.server_lost(cx)?;
                return ControlFlow::Continue(true);
            }
        }
        drop(scratch);
        self.after_server(cx)?;
        ControlFlow::Continue(true)
    }

    fn relay(&mut self, cx: &mut Context<'_>, data: &[u8]) -> ControlFlow<End> {
        let worker = Rc::clone(&self.worker);
        let mut assembly = worker.assembly.borrow_mut();
        let mut pieces = Pieces::new(data, &mut assembly);
        let digested = self.digest(data, &mut pieces);
        let bytes = pieces.finish();
        if !bytes.is_empty() {
            self.tell(cx, bytes)?;
        }
        match digested {
            Ok(used) => {
                if let (Some(lease), Some(rest)) = (&mut self.lease, data.get(used..)) {
                    lease.server().held.extend_from_slice(rest);
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                tracing::error!(client = self.card.id, "{error}; closing both connections");
                self.closes_server("bad packet");
                let fault =
                    Fault::session(Side::Server, "08P01", "server sent an unexpected message");
                ControlFlow::Break(End::Fault(fault))
            }
        }
    }

    /// Takes in as many frames as are there; how many bytes that was.
    fn digest(&mut self, data: &[u8], pieces: &mut Pieces<'_>) -> Result<usize, OutOfStep> {
        let mut at = 0;
        let forwarding = self.mid_frame;
        if let Some(lease) = &mut self.lease {
            let server = lease.server();
            at = server.rest_of_frame.min(data.len());
            server.rest_of_frame -= at;
            if forwarding {
                pieces.keep(0..at);
                self.mid_frame = server.rest_of_frame > 0;
            }
        }
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            if self.owes_fake() {
                self.fakes(pieces);
            }
            let header = match wire::header(rest, FRAME_MAX) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(malformed) => return Err(OutOfStep { tag: malformed.tag }),
            };
            let there = header.total().min(rest.len());
            if there < header.total() && self.must_be_whole(header.tag) {
                break;
            }
            let body = rest.get(wire::HEADER_LEN..there).unwrap_or_default();
            self.insight.position += header.total() as u64;
            let reply = self.frame(header, body, pieces)?;
            if reply == Reply::Forward {
                pieces.keep(at..at + there);
            }
            at += there;
            let left = header.total() - there;
            if let Some(lease) = &mut self.lease {
                lease.server().rest_of_frame = left;
            }
            self.mid_frame = left > 0 && reply == Reply::Forward;
        }
        if self.owes_fake() {
            self.fakes(pieces);
        }
        Ok(at)
    }

    /// Whether the turn of a made-up answer has come. The frame that goes on with the next read
    /// comes first.
    #[inline]
    pub(super) fn owes_fake(&mut self) -> bool {
        self.lease.as_mut().is_some_and(|lease| {
            let server = lease.server();
            server.replies.front_reply() == Reply::Fake && server.rest_of_frame == 0
        })
    }

    /// Made-up answers whose turn has come.
    pub(super) fn fakes(&mut self, pieces: &mut Pieces<'_>) {
        let Some(lease) = &mut self.lease else { return };
        let server = lease.server();
        while let Some(fake) = server.replies.take_fake() {
            let closes = fake.kind == Kind::Close;
            let tag = if closes { server::CLOSE_COMPLETE } else { server::PARSE_COMPLETE };
            server::bare(pieces.insert(), tag);
            if let Some(note) = fake.note {
                self.names.commit(server, note, None);
            }
        }
    }

    /// Whether the frame's body is going to be opened.
    fn must_be_whole(&mut self, tag: u8) -> bool {
        match tag {
            server::READY | server::ERROR | server::COMMAND_COMPLETE | server::PARAMETER_STATUS => {
                true
            }
            server::ROW_DESCRIPTION => {
                let front = self.lease.as_mut().and_then(|lease| lease.server().replies.front());
                front.is_some_and(|front| front.note.is_some())
            }
            server::DATA_ROW => matches!(self.gate, Some(Gate::Probe(_))),
            _ => false,
        }
    }

    /// Takes in one frame. `Forward`: its bytes go on as they are.
    fn frame(
        &mut self,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Result<Reply, OutOfStep> {
        let Some(lease) = &mut self.lease else { return Err(OutOfStep { tag: header.tag }) };
        let server = lease.server();
        match header.tag {
            server::READY => {
                let status = body.first().copied().unwrap_or(0);
                let received = server.replies.ready(status)?;
                if received.reply != Reply::Forward {
                    return Ok(received.reply);
                }
                self.ends_query(status, received.settled.and_then(|settled| settled.note));
                self.begins_anew(status);
                let withheld = self.withholds_ready(status);
                return Ok(if withheld { Reply::Swallow } else { Reply::Forward });
            }
            server::ERROR => return Ok(self.error(body, pieces)),
            server::COMMAND_COMPLETE => self.completed(body),
            server::PARAMETER_STATUS => return Ok(self.heard_of(body)),
            // A client that is being welcomed hears what its settings gave rise to.
            server::NOTICE if self.greeting => return Ok(Reply::Forward),
            server::NOTIFICATION => return Ok(Reply::Forward),
            server::DATA_ROW => {
                if let Some(Gate::Probe(answer)) = &mut self.gate {
                    answer.rows.extend(server::columns(body));
                }
            }
            _ => {}
        }
        let Some(lease) = &mut self.lease else { return Err(OutOfStep { tag: header.tag }) };
        let server = lease.server();
        let received = server.replies.received(header.tag)?;
        if let Some(Expected { note: Some(note), .. }) = received.settled {
            if let Note::Run(run) = note {
                self.executed(run);
            } else {
                self.names.commit(server, note, shape_of(header.tag, body));
            }
        }
        Ok(received.reply)
    }

    /// CommandComplete: statements that SQL has dropped.
    fn completed(&mut self, body: &[u8]) {
        let front = self.lease.as_mut().map(|lease| lease.server().replies.front_reply());
        if front == Some(Reply::Forward) {
            self.counts_rows(body);
        }
        if self.options.mode == Mode::Session || body.first() != Some(&b'D') {
            return;
        }
        let Some(lease) = &mut self.lease else { return };
        let server = lease.server();
        match body {
            b"DEALLOCATE ALL\0" | b"DISCARD ALL\0" => self.names.forget_named(server),
            b"DEALLOCATE\0" => self.names.deallocated(server),
            _ => {}
        }
    }

    /// ErrorResponse.
    fn error(&mut self, body: &[u8], pieces: &mut Pieces<'_>) -> Reply {
        let fields = wire::error_fields(body);
        // A server that dies now is nobody's, or it was asked nothing of the client's.
        let unnoticed = fields.is_fatal() && (self.only_we_ask() || self.has_nothing_there());
        let Some(lease) = &mut self.lease else { return Reply::Swallow };
        let server = lease.server();
        server.is_closing |= fields.is_fatal();
        if unnoticed {
            return Reply::Swallow;
        }
        self.server_said |= fields.is_fatal();
        let traffic = self.route.traffic.of(usize::from(self.worker.id.0));
        traffic.errors.add(u64::from(server.replies.front_reply() == Reply::Forward));
        self.names.not_deallocated();
        if self.worker.common.queries.is_on() {
            self.fails_statement(fields.is_fatal());
        }
        let Some(lease) = &mut self.lease else { return Reply::Swallow };
        let server = lease.server();
        let note = server.replies.front().and_then(|front| front.note.as_ref());
        let (gate, mut timed_out) = (self.gate.as_mut(), false);
        let reply = if let (Some(answer), false) = (gate.and_then(Gate::answer), fields.is_fatal())
        {
            let mut error = Vec::new();
            wire::with_message(&mut error, body, fields.message);
            answer.error = Some(error);
            Reply::Swallow
        } else if let (Some(Note::Try(_)), false) = (note, fields.is_fatal()) {
            Reply::Swallow
        } else if let Some(Note::Refuse(fault)) = note {
            let said = fault.as_ref().clone().in_words(self.worker.common.words);
            wire::fault(pieces.insert(), &said);
            Reply::Swallow
        } else if self.clock == Clock::Cancelled && fields.code == b"57014" {
            let said = query_timeout().in_words(self.worker.common.words);
            wire::fault(pieces.insert(), &said);
            timed_out = true;
            Reply::Swallow
        } else if let Some(message) = self.names.translate(fields.message, note) {
            wire::with_message(pieces.insert(), body, &message);
            Reply::Swallow
        } else {
            Reply::Forward
        };
        if matches!(fields.code, b"26000" | b"42P05") {
            self.names.heal(server, fields.message);
        }
        if fields.code == b"0A000" && fields.message.starts_with(b"cached plan must not") {
            self.names.outdate();
        }
        undo(server, &mut self.names);
        if timed_out {
            self.log_fault(&query_timeout());
        }
        reply
    }

    /// Whatever the server's bytes have changed.
    fn after_server(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(()) };
        if lease.server().is_closing {
            // What it answered before it said so must not open a gate.
            return self.server_lost(cx);
        }
        let replies = &lease.server().replies;
        match &self.gate {
            None => self.settle(cx),
            Some(_) if replies.outstanding() == 0 => self.gate_opens(cx),
            Some(Gate::Batch) if replies.awaits_copy_end() => {
                // The batch goes on with what the client sends.
                self.gate = None;
                self.process_held(cx)
            }
            Some(_) => ControlFlow::Continue(()),
        }
    }

    /// Gives the server back if nothing holds it, and sets the clock.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if self.gate.is_some() {
            return ControlFlow::Continue(());
        }
        let keeps_server = self.keeps_server();
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(()) };
        let server = lease.server();
        let status = server.replies.status();
        if self.options.mode == Mode::Statement
            && status != wire::IDLE
            && server.replies.outstanding() == 0
        {
            return ControlFlow::Break(End::Fault(no_transactions()));
        }
        match server.rest() {
            Rest::AtRest => {
                self.transaction_since = None;
                self.set_clock(Clock::Idle, self.options.client_idle_timeout);
                self.give_back(cx)
            }
            Rest::Unprovable if !keeps_server && server.may_ask() && self.passing == 0 => {
                // What the client has sent into a copy may have ended behind it.
                self.probe(cx)
            }
            Rest::Unprovable if !keeps_server => {
                self.closes_server("unclean server");
                self.card.unlinks();
                self.unbind(cx)
            }
            Rest::Unprovable if self.owes_ready && self.passing == 0 => self.probe(cx),
            Rest::Busy | Rest::Unprovable => {
                if server.replies.rest() == Rest::AtRest {
                    // Only a cancel request on its way, or bytes that wait, hold it.
                    if !server.cancel.wake_when_clear(cx.waker()) {
                        cx.waker().wake_by_ref();
                    }
                    self.unsettled = true;
                } else if server.replies.outstanding() == 0 {
                    self.set_transaction_clock();
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// Whether the server stays until the client leaves.
    pub(super) fn keeps_server(&self) -> bool {
        self.options.mode == Mode::Session || self.dedicated
    }

    fn give_back(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if self.passing > 0 {
            return ControlFlow::Continue(());
        }
        if self.keeps_server() {
            return match self.effects & settings::RESETS {
                0 => ControlFlow::Continue(()),
                _ => self.probe(cx),
            };
        }
        if self.effects & !settings::NO_STATE != 0 {
            return self.probe(cx);
        }
        if self.pinned {
            return ControlFlow::Continue(());
        }
        self.lost_in_a_row = 0;
        self.card.unlinks();
        let Some(lease) = self.lease.take() else { return ControlFlow::Continue(()) };
        if let Err(mut lease) = lease.try_return_at(self.moments.known) {
            // A cancel request began at the last moment.
            let target = std::sync::Arc::clone(&lease.server().cancel);
            self.card.links(&target);
            self.lease = Some(lease);
            self.unsettled = true;
            if !target.wake_when_clear(cx.waker()) {
                cx.waker().wake_by_ref();
            }
            return ControlFlow::Continue(());
        }
        self.unbind(cx)
    }

    /// The session has no server any more.
    pub(super) fn unbind(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        self.phase = Phase::Idle;
        if self.held.is_empty() {
            return ControlFlow::Continue(());
        }
        self.process_held(cx)
    }
}

/// Takes back what the messages noted that are not going to be answered.
fn undo(server: &mut Server, names: &mut super::names::Names) {
    let mut dropped = Vec::new();
    server.replies.failed(|entry| dropped.push(entry.note));
    let last = dropped.len().saturating_sub(1);
    for (index, note) in dropped.into_iter().enumerate() {
        if let Some(note) = note {
            names.undo(server, note, index == last);
        }
    }
}

fn query_timeout() -> Fault {
    Fault::query(Side::Operator, "57014", "canceling statement due to query timeout")
        .pgbouncer("query timeout")
        .hint("The statement took longer than query_timeout.")
}

fn no_transactions() -> Fault {
    Fault::session(
        Side::Client,
        "0A000",
        "transaction blocks not allowed in statement pooling mode",
    )
    .hint("Set pool_mode = \"transaction\" for this database or user.")
}
