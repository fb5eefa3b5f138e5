//! From the client: messages are cut, and go to the server or are answered without one.
//!
//! Each message's header is looked at once. Without a server, [`super::state`] says what a message
//! means; with one, `forward` says what the server gets.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::flow::{End, Flow, Stop};
use super::forward::Taken;
use super::gate::Gate;
use super::pieces::Pieces;
use super::run::{Phase, Session};
use super::unbound::{Step, unbound};
use crate::fault::Fault;
use crate::wire::{self, Header, client, server};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Longest message of the kinds that carry data, and of the others: PostgreSQL's own limits.
const LARGE_MAX: usize = 0x3fff_ffff;
const SMALL_MAX: usize = 10_000;
/// Bytes that a buffer of held bytes may keep.
const HELD_KEPT: usize = 16 * 1024;

impl Session {
    /// Reads the client, until nothing more has come; whether another round has to follow.
    pub(super) fn read_client(&mut self, cx: &mut Context<'_>) -> Flow<bool> {
        let had_server = matches!(self.phase, Phase::Bound(_));
        // Whoever sends without end comes again in the next round.
        let is_full = self.read_client_once(cx)?;
        let Some(false) = is_full else { return Ok(is_full.is_some()) };
        if self.must_go_on(had_server) {
            return Ok(true);
        }
        if !self.reads_client(cx) {
            return Ok(false);
        }
        // Nearly always there is nothing, and the event loop knows then that more is awaited.
        Ok(self.read_client_once(cx)?.is_some())
    }

    /// Whether a step that took messages has to be followed by a round: a server that was taken is to
    /// be read, and the session may end.
    fn must_go_on(&self, had_server: bool) -> bool {
        self.ending.is_some() || matches!(self.phase, Phase::Bound(_)) && !had_server
    }

    /// Reads the client once: whether there may be more at once, or `None` if nothing has come.
    pub(super) fn read_client_once(&mut self, cx: &mut Context<'_>) -> Flow<Option<bool>> {
        let worker = Rc::clone(&self.client.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let n = match self.client.pipe.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => return Ok(None),
            Poll::Ready(Ok(0)) => {
                drop(scratch);
                self.client_closed(cx)?;
                return Ok(Some(true));
            }
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => {
                drop(scratch);
                self.client_is_gone(error)?;
                return Ok(Some(true));
            }
        };
        let is_full = n == scratch.len();
        self.client.traffic().received.add(n as u64);
        let data = scratch.get(..n).unwrap_or_default();
        if !self.client.pipe.held.is_empty() || matches!(self.phase, Phase::Waiting(_)) {
            self.client.pipe.held.extend_from_slice(data);
            drop(scratch);
            self.process_held(cx)?;
            return Ok(Some(is_full));
        }
        let used = self.process(cx, data)?;
        if let Some(rest) = data.get(used..).filter(|rest| !rest.is_empty()) {
            debug_assert!(self.client.pipe.held.is_empty(), "held bytes come first");
            self.client.pipe.held = rest.to_vec();
        }
        self.client.put_instead(cx);
        Ok(Some(is_full))
    }

    /// Goes on with what is held; whether another round has to follow.
    pub(super) fn process_held(&mut self, cx: &mut Context<'_>) -> Flow<bool> {
        if self.client.pipe.held.is_empty() || !self.can_process(cx) {
            return Ok(false);
        }
        let had_server = matches!(self.phase, Phase::Bound(_));
        let mut held = std::mem::take(&mut self.client.pipe.held);
        let used = self.process(cx, &held)?;
        debug_assert!(self.client.pipe.held.is_empty(), "what is processed comes from here");
        held.drain(..used);
        if held.capacity() > HELD_KEPT && held.capacity() > 2 * held.len() {
            held.shrink_to_fit();
        }
        self.client.pipe.held = held;
        self.client.put_instead(cx);
        Ok(self.must_go_on(had_server))
    }

    /// Takes as many messages as can be taken now; how many bytes that was.
    fn process(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Flow<usize> {
        let mut at = 0;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let used = match &mut self.phase {
                Phase::Bound(bound) => {
                    if bound.gate.is_some() || Client::awaits_cancel(bound, cx) {
                        break;
                    }
                    self.client.process_bound(bound, cx, rest, &mut self.ending)?
                }
                Phase::Idle if !self.client.is_logging_in => match self.client.unbound(cx, rest)? {
                    Some(used) if self.client.pipe.instead.is_some() => return Ok(at + used),
                    Some(used) => used,
                    None => {
                        let was_skipping = self.client.pipe.skipping;
                        if self.acquire_for(cx, rest)? && self.is_served_or_refused(was_skipping) {
                            continue;
                        }
                        break;
                    }
                },
                Phase::Idle | Phase::Waiting(_) => break,
            };
            if used == 0 {
                break;
            }
            at += used;
            if self.ending.is_some() {
                // Nothing that it sends is looked at any more.
                return Ok(data.len());
            }
        }
        Ok(at)
    }
}

impl Session {
    /// Whether what was in front has got a server, or an error in the place of one.
    fn is_served_or_refused(&self, was_skipping: bool) -> bool {
        let pipe = &self.client.pipe;
        let is_refused = pipe.passing > 0 || pipe.skipping && !was_skipping;
        matches!(self.phase, Phase::Bound(_)) || is_refused
    }
}

impl Client {
    /// One message without a server; `None` if it needs one.
    fn unbound(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Flow<Option<usize>> {
        if self.pipe.passing > 0 {
            let n = self.pipe.passing.min(data.len());
            self.pipe.passing -= n;
            return Ok(Some(n));
        }
        let Some(header) = self.header(data)? else { return Ok(Some(0)) };
        let body = data.get(wire::HEADER_LEN..).unwrap_or_default();
        if self.lost_block.is_none()
            && self.may_be_about_own(header, body)
            && let Some(used) = self.answer_own(cx, header, data)?
        {
            return Ok(Some(used));
        }
        match unbound(header, data, self.pipe.skipping) {
            Step::Acquire if self.lost_block.is_some() => {
                self.answer_in_lost_block(cx, header, data)?;
            }
            Step::Acquire => return Ok(None),
            Step::Hold => return Ok(Some(0)),
            Step::Drop => {}
            Step::AnswerReady => {
                self.pipe.skipping = false;
                self.end_own_unit();
                let mut out = Vec::new();
                server::ready(&mut out, self.status_without_server());
                self.send_to_client(cx, &out).map_err(End::ClientLost)?;
            }
            Step::Leave => return Err(Stop::End(End::Left)),
            Step::Refuse => return Err(Stop::End(invalid_type(header.tag))),
        }
        let there = header.total().min(data.len());
        self.pipe.pass = Passing::Drop;
        self.pipe.passing = header.total() - there;
        Ok(Some(there))
    }

    /// The header in front. Lengths that PostgreSQL would not take are refused here: it answers
    /// them by closing the connection, which would cost us a server.
    fn header(&self, data: &[u8]) -> Result<Option<Header>, End> {
        let Some(&tag) = data.first() else { return Ok(None) };
        let Some(kind) = client::message_type(tag) else { return Err(invalid_type(tag)) };
        let max =
            if kind.is_large { self.options.max_packet_size.min(LARGE_MAX) } else { SMALL_MAX };
        wire::header(data, max).map_err(|error| {
            let is_sane = usize::try_from(error.length).is_ok_and(|n| (4..=LARGE_MAX).contains(&n));
            if kind.is_large && is_sane {
                let fault = Fault::protocol("message is too long")
                    .hint("A message may not be longer than max_packet_size.");
                return End::fault(fault);
            }
            // PostgreSQL says nothing either: the other side does not speak the protocol.
            End::ProtocolError(error.to_string().into())
        })
    }

    /// As many messages as can be taken, with a server; how many bytes that was. A client that
    /// leaves, or makes no sense, leaves the reason in `ending`.
    fn process_bound(
        &mut self,
        bound: &mut Bound,
        cx: &mut Context<'_>,
        data: &[u8],
        ending: &mut Option<End>,
    ) -> Flow<usize> {
        if bound.held_read.is_some() && bound.is_used && bound.reading.is_none() {
            self.release_held(bound, cx)?;
        }
        self.begin_query(bound);
        let worker = Rc::clone(&self.worker);
        let mut assembly = worker.assembly.borrow_mut();
        let mut pieces = Pieces::new(data, &mut assembly);
        let taken = self.take_messages(bound, data, &mut pieces);
        let bytes = pieces.finish();
        if !bytes.is_empty() {
            (bound.is_used, bound.has_served) = (true, true);
            if bound.server().stream.write(cx, bytes).is_err() {
                // What the server said last, its reason perhaps, is still to be read.
                cx.waker().wake_by_ref();
            }
        }
        drop(assembly);
        let used = match taken {
            Ok(used) => used,
            Err(end) => {
                *ending = Some(self.end_with_server(bound, cx, end)?);
                return Ok(data.len());
            }
        };
        if let Some(held) = &mut bound.held_read {
            held.take(used);
        }
        self.emit_fakes(bound, cx)?;
        debug_assert!(
            bound.gate.is_none() || bound.server().replies.outstanding() > 0,
            "an answer opens the gate"
        );
        if used > 0 {
            bound.settle_is_due = true;
            if bound.server().replies.outstanding() > 0 && !bound.asks() {
                self.set_query_clock();
            }
        }
        Ok(used)
    }

    /// More is sent to the primary behind a read: it is not repeated any more.
    #[cold]
    fn release_held(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        let Some(mut held) = bound.held_read.take() else { return Ok(()) };
        let sent = self.send_to_client(cx, held.answer());
        sent.map_err(|error| Stop::End(End::ClientLost(error)))
    }

    fn take_messages(
        &mut self,
        bound: &mut Bound,
        data: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Result<usize, End> {
        let mut at = 0;
        while at < data.len() {
            if self.pipe.passing > 0 {
                let n = self.pipe.passing.min(data.len() - at);
                if self.pipe.pass == Passing::Forward {
                    pieces.keep(at..at + n);
                }
                self.pipe.passing -= n;
                at += n;
                continue;
            }
            if bound.gate.is_some() {
                break;
            }
            if bound.reads_to_the_end() {
                bound.gate = Some(Gate::Answers);
                break;
            }
            let rest = data.get(at..).unwrap_or_default();
            if bound.reading.is_some() && !self.stays_on_replica(bound, rest) {
                break;
            }
            let header = match self.header(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(end) => return Err(self.malformed_frame(bound, rest, pieces, end)),
            };
            match self.take_message(bound, header, rest, pieces)? {
                Taken::Bytes(n) => at += n,
                Taken::Incomplete => break,
                Taken::Later(gate) => {
                    bound.gate = Some(gate);
                    break;
                }
            }
        }
        Ok(at)
    }

    /// Whether what is in front is whole and may run in the transaction that a replica has. What may not goes to
    /// the primary with the transaction.
    fn stays_on_replica(&mut self, bound: &mut Bound, data: &[u8]) -> bool {
        if self.moving.is_some() {
            return false;
        }
        let replies = &bound.server().replies;
        let is_between = replies.outstanding() == 0 && !replies.has_open_batch();
        if !is_between || replies.status() != wire::IN_TRANSACTION {
            return true;
        }
        match self.plan_inside(data) {
            None => false,
            Some(None) => true,
            Some(Some(moving)) => {
                self.moving = Some(Box::new(moving));
                bound.settle_is_due = true;
                false
            }
        }
    }

    /// A frame that no client may send. Inside of a copy PostgreSQL says more than one thing about it
    /// before it closes the connection: it gets the header.
    fn malformed_frame(
        &mut self,
        bound: &mut Bound,
        rest: &[u8],
        pieces: &mut Pieces<'_>,
        end: End,
    ) -> End {
        self.pipe.malformed = rest.get(..wire::HEADER_LEN).unwrap_or(rest).to_vec();
        if bound.server().replies.is_copying_in() {
            self.pass_malformed(pieces.insert());
        }
        end
    }

    /// The server gets the header of the client's malformed frame, and says what is wrong.
    pub(super) fn pass_malformed(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.pipe.malformed);
        self.pipe.is_broken = true;
    }

    /// Made-up answers with nothing in front of them.
    fn emit_fakes(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        if !bound.owes_fake() {
            return Ok(());
        }
        let worker = Rc::clone(&self.worker);
        let mut assembly = worker.assembly.borrow_mut();
        let mut pieces = Pieces::new(&[], &mut assembly);
        self.fakes(bound, &mut pieces);
        let bytes = pieces.finish();
        self.send_to_client(cx, bytes).map_err(|error| Stop::End(End::ClientLost(error)))
    }
}

impl Bound {
    /// Whether a replica has got all of a read. Where the next one goes is decided when it is known
    /// whether a transaction has begun there.
    #[inline]
    fn reads_to_the_end(&mut self) -> bool {
        self.reading.is_some() && {
            let replies = &self.server().replies;
            replies.outstanding() > 0 && !replies.has_open_batch()
        }
    }

    /// Whether a question of ours is on its way.
    fn asks(&self) -> bool {
        self.gate.as_ref().is_some_and(Gate::is_ours)
    }
}

/// PostgreSQL's own words for a message that no client may send.
fn invalid_type(tag: u8) -> End {
    let fault = Fault::protocol(format!("invalid frontend message type {tag}"));
    End::fault(fault.pgbouncer("unknown pkt"))
}
