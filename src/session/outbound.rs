//! From the server to the client: bytes.
//!
//! Each frame's header is looked at once. Runs of frames that pass unchanged leave in one write,
//! straight from the scratch; rows are never opened and never held whole. What a frame means is
//! said in `frames`.

use super::bound::Bound;
use super::client::{Client, Presence};
use super::flow::{End, Flow, Leave, Stop};
use super::gate::Gate;
use super::held_read::HeldRead;
use super::pieces::Pieces;
use super::statements::opened_by_statements;
use crate::backend::note::Note;
use crate::backend::state::{Kind, OutOfStep, Reply};
use crate::fault::{Fault, Side};
use crate::wire::{self, Header, server};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Longest message that a server may announce.
const FRAME_MAX: usize = i32::MAX as usize;
/// Bytes of an error that are looked at: its code, and its message if that is not very long. The rest
/// of a longer one passes by length.
const ERROR_HEAD: usize = 16 * 1024;
/// Bytes of a read's answer that may be held back: it says no more than what rows look like.
const ANSWER_MAX: usize = 64 * 1024;
/// Longest frame of the other kinds that are opened. PostgreSQL's own are shorter: a row has at most
/// 1,664 columns, and an answer to a question of ours a few thousand settings.
const OPENED_MAX: usize = 4 * 1024 * 1024;

impl Client {
    /// Reads the server once; whether there was anything.
    pub(super) fn read_server(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow<bool> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let server = bound.lease.server();
        match server.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(n)) if n > 0 => {
                self.tell_others(bound.effects);
                let data = scratch.get(..n).unwrap_or_default();
                if server.held.is_empty() {
                    self.relay(bound, cx, data)?;
                } else {
                    let mut whole = std::mem::take(&mut server.held);
                    whole.extend_from_slice(data);
                    self.relay(bound, cx, &whole)?;
                }
            }
            Poll::Ready(Ok(_) | Err(_)) => return Err(Stop::Leave(Leave::Lost)),
        }
        drop(scratch);
        self.after_server(bound, cx)?;
        Ok(true)
    }

    pub(super) fn relay(&mut self, bound: &mut Bound, cx: &mut Context<'_>, data: &[u8]) -> Flow {
        let worker = Rc::clone(&self.worker);
        let mut assembly = worker.assembly.borrow_mut();
        let mut pieces = Pieces::new(data, &mut assembly);
        if bound.held_read.is_some() {
            bound.release_if_answered(data, &mut pieces);
        }
        let digested = self.digest(bound, data, &mut pieces);
        if let Ok(used) = digested {
            // Kept whatever becomes of the client: the server's next frame begins there.
            bound.server().held.extend_from_slice(data.get(used..).unwrap_or_default());
        }
        if bound.held_read.is_some() {
            bound.hold_back(&mut pieces);
        }
        let bytes = pieces.finish();
        if !bytes.is_empty()
            && let Err(error) = self.send_to_client(cx, bytes)
        {
            if !bound.may_last() {
                return Err(Stop::End(End::ClientLost(error)));
            }
            self.pipe.presence = Presence::Gone;
        }
        match digested {
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::error!(client = self.handle.id, "{error}; closing both connections");
                bound.server().is_closing = true;
                bound.server().set_close_reason("bad packet");
                let fault =
                    Fault::session(Side::Server, "08P01", "server sent an unexpected message");
                Err(Stop::End(End::fault(fault)))
            }
        }
    }

    /// Takes in as many frames as are there; how many bytes that was.
    fn digest(
        &mut self,
        bound: &mut Bound,
        data: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Result<usize, OutOfStep> {
        let server = bound.lease.server();
        let mut at = server.rest_of_frame.min(data.len());
        server.rest_of_frame -= at;
        if self.pipe.mid_frame {
            pieces.keep(0..at);
            self.pipe.mid_frame = server.rest_of_frame > 0;
        }
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            if bound.owes_fake() {
                self.fakes(bound, pieces);
            }
            let header = match wire::header(rest, FRAME_MAX) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(malformed) => return Err(OutOfStep { tag: malformed.tag }),
            };
            let there = header.total().min(rest.len());
            if there < bound.needed(header)? {
                break;
            }
            let body = rest.get(wire::HEADER_LEN..there).unwrap_or_default();
            bound.running.position += header.total() as u64;
            let reply = self.frame(bound, header, body, pieces)?;
            if reply == Reply::Forward {
                pieces.keep(at..at + there);
            }
            at += there;
            let left = header.total() - there;
            bound.server().rest_of_frame = left;
            self.pipe.mid_frame = left > 0 && reply == Reply::Forward;
        }
        if bound.owes_fake() {
            self.fakes(bound, pieces);
        }
        Ok(at)
    }

    /// Made-up answers whose turn has come.
    pub(super) fn fakes(&mut self, bound: &mut Bound, pieces: &mut Pieces<'_>) {
        let server = bound.lease.server();
        while let Some(fake) = server.replies.take_fake() {
            let out = pieces.insert();
            match (fake.kind, fake.note) {
                (_, Some(Note::Answer(bytes))) => out.extend_from_slice(&bytes),
                (Kind::Close, note) => {
                    server::bare(out, server::CLOSE_COMPLETE);
                    if let Some(note) = note {
                        let answer = (server::CLOSE_COMPLETE, &b""[..]);
                        self.state.statements.commit(server, note, answer);
                    }
                }
                (Kind::Parse, _) => server::bare(out, server::PARSE_COMPLETE),
                (Kind::Bind, _) => server::bare(out, server::BIND_COMPLETE),
                _ => {}
            }
            if matches!(fake.kind, Kind::Query | Kind::Sync | Kind::FunctionCall) {
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.answered();
                }
                server::ready(pieces.insert(), server.replies.status());
            }
        }
    }

    /// Whatever the server's bytes have changed.
    fn after_server(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        bound.settle_is_due = true;
        let is_refused = bound.held_read.as_ref().is_some_and(|held| held.is_refused());
        let server = bound.lease.server();
        if is_refused && (server.is_closing || server.replies.outstanding() == 0) {
            return Err(Stop::Leave(Leave::Repeat));
        }
        if server.is_closing {
            // What it answered before it said so must not open a gate.
            return Err(Stop::Leave(Leave::Lost));
        }
        if !self.pipe.malformed.is_empty() && server.replies.awaits_copy_end() {
            let mut out = Vec::new();
            self.pass_malformed(&mut out);
            if server.stream.write(cx, &out).is_err() {
                cx.waker().wake_by_ref();
            }
        }
        let replies = &server.replies;
        match &bound.gate {
            None => Ok(()),
            Some(_) if replies.outstanding() == 0 => self.open_gate(bound, cx),
            Some(Gate::Answers) if replies.awaits_copy_end() => {
                // The batch goes on with what the client sends.
                bound.gate = None;
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }
}

impl Bound {
    /// What was held back of a read's answer goes to the client before `data`, if that begins to answer.
    #[cold]
    fn release_if_answered(&mut self, data: &[u8], pieces: &mut Pieces<'_>) {
        let frames = data.get(self.server().rest_of_frame..).unwrap_or_default();
        // What is asked on our own account in front of the read, without a gate, is answered first.
        let is_ours = self.server().replies.front_reply() == Reply::Swallow;
        // PostgreSQL sends an error at once, and what ends the answer behind it.
        let begins = |held: &HeldRead| !held.is_refused() && held.begins_answer(frames);
        let begins = self.held_read.as_deref().is_some_and(begins);
        if begins && !is_ours && !self.asks_on_own_account() {
            self.release_answer(pieces);
        }
    }

    /// What comes is no answer to the read, which has not been sent yet.
    fn asks_on_own_account(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_ours)
    }

    fn release_answer(&mut self, pieces: &mut Pieces<'_>) {
        if let Some(mut held) = self.held_read.take() {
            pieces.insert_in_front(held.answer());
        }
    }

    /// The client does not get this yet, unless it is the whole answer or very long.
    #[cold]
    fn hold_back(&mut self, pieces: &mut Pieces<'_>) {
        if self.asks_on_own_account() {
            return;
        }
        let Some(held) = &mut self.held_read else { return };
        held.answer().append(&mut pieces.take());
        if !held.is_refused() && (held.is_answered() || held.answer().len() > ANSWER_MAX) {
            self.release_answer(pieces);
        }
    }

    /// Whether the turn of a made-up answer has come. The frame that goes on with the next read
    /// comes first.
    #[inline]
    pub(super) fn owes_fake(&mut self) -> bool {
        let server = self.lease.server();
        server.replies.front_reply() == Reply::Fake && server.rest_of_frame == 0
    }

    /// Bytes of a frame that have to be there before it is taken in.
    #[inline]
    fn needed(&mut self, header: Header) -> Result<usize, OutOfStep> {
        let is_opened = match header.tag {
            server::READY | server::COMMAND_COMPLETE | server::PARAMETER_STATUS => true,
            server::ERROR => return Ok(header.total().min(ERROR_HEAD)),
            server::ROW_DESCRIPTION | server::PARAMETER_DESCRIPTION => {
                let front = self.server().replies.front();
                opened_by_statements(header.tag, front.and_then(|front| front.note.as_ref()))
            }
            server::DATA_ROW => matches!(self.gate, Some(Gate::Check(_))),
            _ => false,
        };
        if !is_opened {
            return Ok(wire::HEADER_LEN);
        }
        // A longer one is no answer of PostgreSQL's.
        if header.total() > OPENED_MAX {
            return Err(OutOfStep { tag: header.tag });
        }
        Ok(header.total())
    }
}
