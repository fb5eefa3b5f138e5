//! From the client to the server.
//!
//! Each message's header is looked at once. A message is opened only if its name or text matters;
//! everything else passes by length. Without a server, [`super::state`] says what a message means.

use super::gate::Gate;
use super::link::Link;
use super::names::{Bound, Context as Reading, Told};
use super::outbound::Pieces;
use super::route::{Mode, Options, StatePolicy};
use super::run::{Clock, End, Passing, Phase, Session};
use super::settings;
use super::state::{HOLD_MAX, Step, unbound};
use super::texts::Text;
use crate::backend::server::{Note, Server};
use crate::backend::state::{Kind, Reply, kind_of};
use crate::fault::Fault;
use crate::metrics::Traffic;
use crate::wire::{self, HEADER_LEN, Header, client, server};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Longest message of the kinds that carry data, and of the others: PostgreSQL's own limits.
const LARGE_MAX: usize = 0x3fff_ffff;
const SMALL_MAX: usize = 10_000;
/// How long a client that has left is still served, in case it reads: a query that takes longer is
/// cancelled.
const PARTING: Duration = Duration::from_millis(200);

/// What became of a message.
enum Taken {
    /// This many of its bytes; the rest passes by length.
    Bytes(usize),
    /// More of it has to be there.
    Incomplete,
    /// The server has to answer something first.
    Later,
}

impl Session {
    /// Reads the client once; whether there was anything.
    pub(super) fn read_client(&mut self, cx: &mut Context<'_>) -> ControlFlow<End, bool> {
        let worker = Rc::clone(&self.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let n = match self.client.poll_read(cx, &mut scratch) {
            Poll::Pending => return ControlFlow::Continue(false),
            Poll::Ready(Ok(0)) => {
                drop(scratch);
                self.part_from(cx, End::Left)?;
                return ControlFlow::Continue(true);
            }
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => return ControlFlow::Break(End::ClientLost(error)),
        };
        self.traffic().received.add(n as u64);
        let data = scratch.get(..n).unwrap_or_default();
        if !self.held.is_empty() || matches!(self.phase, Phase::Waiting(_)) {
            self.held.extend_from_slice(data);
            drop(scratch);
            if !matches!(self.phase, Phase::Waiting(_)) {
                self.process_held(cx)?;
            }
            return ControlFlow::Continue(true);
        }
        let used = self.process(cx, data)?;
        if let Some(rest) = data.get(used..).filter(|rest| !rest.is_empty()) {
            debug_assert!(self.held.is_empty(), "held bytes come first");
            self.held = rest.to_vec();
        }
        ControlFlow::Continue(true)
    }

    /// Goes on with what is held.
    pub(super) fn process_held(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        let waits = self.gate.is_some() || matches!(self.phase, Phase::Waiting(_));
        if self.held.is_empty() || waits || self.parting.is_some() {
            return ControlFlow::Continue(());
        }
        let mut held = std::mem::take(&mut self.held);
        let used = self.process(cx, &held)?;
        if used < held.len() {
            held.drain(..used);
            // Nothing else is held: what is processed comes from here.
            debug_assert!(self.held.is_empty());
            self.held = held;
        }
        ControlFlow::Continue(())
    }

    /// Takes as many messages as can be taken now; how many bytes that was.
    fn process(&mut self, cx: &mut Context<'_>, data: &[u8]) -> ControlFlow<End, usize> {
        let mut at = 0;
        while at < data.len() {
            let before = (at, self.lease.is_some());
            at += if self.lease.is_some() {
                if self.gate.is_some() || self.awaits_cancel(cx) {
                    break;
                }
                self.process_bound(cx, data.get(at..).unwrap_or_default())?
            } else if matches!(self.phase, Phase::Idle) && !self.greeting {
                self.process_unbound(cx, data.get(at..).unwrap_or_default())?
            } else {
                break;
            };
            if before == (at, self.lease.is_some()) {
                break;
            }
        }
        ControlFlow::Continue(at)
    }

    /// One message without a server.
    fn process_unbound(&mut self, cx: &mut Context<'_>, data: &[u8]) -> ControlFlow<End, usize> {
        if self.passing > 0 {
            let n = self.passing.min(data.len());
            self.passing -= n;
            return ControlFlow::Continue(n);
        }
        let Some(header) = self.header(data)? else { return ControlFlow::Continue(0) };
        match unbound(header, data, self.skipping) {
            Step::Acquire => {
                self.acquire(cx)?;
                return ControlFlow::Continue(0);
            }
            Step::Hold => return ControlFlow::Continue(0),
            Step::Drop => {}
            Step::AnswerReady => {
                self.skipping = false;
                let mut out = Vec::new();
                server::ready(&mut out, wire::IDLE);
                self.tell(cx, &out)?;
            }
            Step::Leave => return ControlFlow::Break(End::Left),
            Step::Refuse => return ControlFlow::Break(invalid_type(header.tag)),
        }
        let there = header.total().min(data.len());
        self.pass = Passing::Drop;
        self.passing = header.total() - there;
        ControlFlow::Continue(there)
    }

    /// The header in front. Lengths that PostgreSQL would not take are refused here: it answers
    /// them by closing the connection, which would cost us a server.
    fn header(&self, data: &[u8]) -> ControlFlow<End, Option<Header>> {
        let Some(&tag) = data.first() else { return ControlFlow::Continue(None) };
        let large = matches!(
            tag,
            client::QUERY
                | client::PARSE
                | client::BIND
                | client::FUNCTION_CALL
                | client::COPY_DATA
        );
        let max = if large { self.options.max_packet_size.min(LARGE_MAX) } else { SMALL_MAX };
        match wire::header(data, max) {
            Ok(header) => ControlFlow::Continue(header),
            Err(_) if !is_client_tag(tag) => ControlFlow::Break(invalid_type(tag)),
            Err(error)
                if large
                    && usize::try_from(error.length)
                        .is_ok_and(|n| (4..=LARGE_MAX).contains(&n)) =>
            {
                ControlFlow::Break(End::Fault(
                    Fault::protocol("message is too long")
                        .hint("A message may not be longer than max_packet_size."),
                ))
            }
            // PostgreSQL says nothing either: the other side does not speak the protocol.
            Err(error) => ControlFlow::Break(End::Quietly(error.to_string())),
        }
    }

    /// As many messages as can be taken, with a server.
    fn process_bound(&mut self, cx: &mut Context<'_>, data: &[u8]) -> ControlFlow<End, usize> {
        self.begins_query();
        let worker = Rc::clone(&self.worker);
        let mut assembly = worker.assembly.borrow_mut();
        let mut pieces = Pieces::new(data, &mut assembly);
        let taken = self.take_messages(data, &mut pieces);
        let bytes = pieces.finish();
        let mut lost = false;
        if let Some(lease) = &mut self.lease
            && !bytes.is_empty()
        {
            self.touched = true;
            lost = lease.server().stream.write(cx, bytes).is_err();
        }
        drop(assembly);
        let at = match taken {
            ControlFlow::Continue(at) => at,
            ControlFlow::Break(end) => {
                if !lost {
                    self.part_from(cx, end)?;
                }
                return ControlFlow::Continue(data.len());
            }
        };
        if lost {
            // What the server said last, its reason perhaps, is still to be read.
            cx.waker().wake_by_ref();
            return ControlFlow::Continue(at);
        }
        self.emit_fakes(cx)?;
        let asks = matches!(self.gate, None | Some(Gate::Shape | Gate::Batch));
        if asks && at > 0 {
            let idle = self.lease.as_mut().is_some_and(|l| l.server().replies.outstanding() == 0);
            if idle {
                self.settle(cx)?;
            } else if self.parting.is_none() {
                self.set_query_clock();
            }
        }
        ControlFlow::Continue(at)
    }

    /// The session is going to end. What the client asked before is answered first, as PostgreSQL
    /// does, which reads one message at a time.
    fn part_from(&mut self, cx: &mut Context<'_>, end: End) -> ControlFlow<End> {
        self.emit_fakes(cx)?;
        let Some(lease) = &mut self.lease else { return ControlFlow::Break(end) };
        let server = lease.server();
        let replies = &server.replies;
        let unanswered = match end {
            // Who leaves in the middle of a batch does not wait for it.
            End::Left => replies.awaits_ready(),
            End::ClientLost(_)
            | End::Quietly(_)
            | End::Fault(_)
            | End::Told(..)
            | End::ServerSaid => replies.outstanding() > 0,
        };
        if !unanswered || self.gate.is_some() {
            return ControlFlow::Break(end);
        }
        let mut flush = Vec::new();
        client::bare(&mut flush, client::FLUSH);
        if !server.replies.is_copying_in() && server.stream.write(cx, &flush).is_err() {
            return ControlFlow::Break(end);
        }
        if matches!(end, End::Left) {
            self.set_clock(Clock::Parting, Some(PARTING));
        }
        self.parting = Some(end);
        ControlFlow::Continue(())
    }

    /// Made-up answers with nothing in front of them.
    fn emit_fakes(&mut self, cx: &mut Context<'_>) -> ControlFlow<End> {
        if !self.owes_fake() {
            return ControlFlow::Continue(());
        }
        let worker = Rc::clone(&self.worker);
        let mut assembly = worker.assembly.borrow_mut();
        let mut pieces = Pieces::new(&[], &mut assembly);
        self.fakes(&mut pieces);
        let bytes = pieces.finish();
        self.tell(cx, bytes)
    }

    fn take_messages(&mut self, data: &[u8], pieces: &mut Pieces<'_>) -> ControlFlow<End, usize> {
        let mut at = 0;
        while at < data.len() {
            if self.gate.is_some() && self.passing == 0 {
                break;
            }
            if self.passing > 0 {
                let n = self.passing.min(data.len() - at);
                if self.pass == Passing::Forward {
                    pieces.keep(at..at + n);
                }
                self.passing -= n;
                at += n;
                continue;
            }
            let rest = data.get(at..).unwrap_or_default();
            let Some(header) = self.header(rest)? else { break };
            match self.take_message(header, rest, pieces)? {
                Taken::Bytes(n) => at += n,
                Taken::Incomplete => break,
                Taken::Later => {
                    self.gate = Some(Gate::Shape);
                    break;
                }
            }
        }
        ControlFlow::Continue(at)
    }

    /// One message for the server. Its bytes that pass as they are, pass by length.
    fn take_message(
        &mut self,
        header: Header,
        data: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> ControlFlow<End, Taken> {
        let whole = data.len() >= header.total();
        // Whether a text resets anything, and which statement it is, can only be read when it is
        // whole.
        let must_be_whole = !whole
            && header.total() <= HOLD_MAX
            && (self.worker.common.queries.is_on() || self.has_defaults());
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(Taken::Later) };
        let server = lease.server();
        let (conforming, replies) = (server.conforming, &mut server.replies);
        match header.tag {
            client::TERMINATE => return ControlFlow::Break(End::Left),
            // In a copy PostgreSQL says more than one thing about it before it closes.
            tag if !is_client_tag(tag) && !replies.is_copying_in() => {
                return ControlFlow::Break(invalid_type(tag));
            }
            client::SYNC => {}
            _ if replies.is_skipping() => return self.pass(Passing::Drop, header),
            _ => {}
        }
        match header.tag {
            client::FLUSH | client::COPY_DATA => {}
            client::QUERY | client::PARSE if must_be_whole => {
                return ControlFlow::Continue(Taken::Incomplete);
            }
            _ if self.options.mode == Mode::Session || self.dedicated => {
                let Some(&target) = data.get(HEADER_LEN).or((header.body == 0).then_some(&0))
                else {
                    return ControlFlow::Continue(Taken::Incomplete);
                };
                let body = data.get(HEADER_LEN..header.total().min(data.len()));
                let message = (header.tag, body.unwrap_or_default());
                let database = &self.route.database;
                let note = self.insight.sees(&self.worker, database, message, conforming);
                if let Some(kind) = kind_of(header.tag, target) {
                    drop(replies.sent(kind, Reply::Forward, note));
                }
                self.note_resets(header, data);
                if whole && matches!(header.tag, client::QUERY | client::SYNC) {
                    self.holds_what_follows();
                }
            }
            client::QUERY if !whole && header.total() <= HOLD_MAX => {
                return ControlFlow::Continue(Taken::Incomplete);
            }
            client::QUERY => return self.take_query(header, data, pieces),
            client::PARSE | client::DESCRIBE | client::CLOSE if !whole => {
                return ControlFlow::Continue(Taken::Incomplete);
            }
            client::PARSE | client::BIND | client::DESCRIBE | client::CLOSE => {
                return self.take_named(header, data, pieces);
            }
            tag => {
                if tag == client::FUNCTION_CALL {
                    self.effects |= settings::UNSEEN;
                }
                let executes = tag == client::EXECUTE;
                let body = data.get(HEADER_LEN..header.total().min(data.len()));
                let body = body.filter(|_| executes);
                let note = body.and_then(|body| self.insight.executes(body));
                if let Some(kind) = kind_of(tag, 0) {
                    drop(replies.sent(kind, Reply::Forward, note));
                }
                if tag == client::SYNC {
                    self.holds_what_follows();
                }
            }
        }
        self.pass(Passing::Forward, header)
    }

    fn pass(&mut self, pass: Passing, header: Header) -> ControlFlow<End, Taken> {
        self.pass = pass;
        self.passing = header.total();
        ControlFlow::Continue(Taken::Bytes(0))
    }

    fn take_query(
        &mut self,
        header: Header,
        data: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> ControlFlow<End, Taken> {
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(Taken::Later) };
        let server = lease.server();
        let text = data.get(HEADER_LEN..header.total().saturating_sub(1));
        let traffic = self.route.traffic.of(usize::from(self.worker.id.0));
        let (database, conforming) = (&self.route.database, server.conforming);
        let (mut texts, custom) = (self.worker.texts.borrow_mut(), &mut self.custom);
        let (effects, run) = match text.map(|sql| Text { database, conforming, sql }) {
            Some(text) => texts.read(text, &mut |name| custom.note(name)),
            None => (settings::UNSEEN, texts.run_unread(database)),
        };
        drop(texts);
        self.effects |= effects;
        if self.effects & settings::TIES != 0 {
            self.effects &= !settings::TIES;
            if self.options.state_policy == StatePolicy::Error {
                let mut link = link(server, pieces, (&self.options, traffic));
                link.refuse_query(super::names::ties_refused());
                return ControlFlow::Continue(Taken::Bytes(header.total()));
            }
        }
        self.names.query(server);
        let note = run.map(Note::Run);
        let mut link = link(server, pieces, (&self.options, traffic));
        if let Some(sql) = text.and_then(|text| self.names.rewrite(&mut link, text)) {
            client::query(link.out, &sql);
            drop(link.server.replies.sent(Kind::Query, Reply::Forward, note));
            self.gate = Some(Gate::Shape);
            return ControlFlow::Continue(Taken::Bytes(header.total()));
        }
        drop(server.replies.sent(Kind::Query, Reply::Forward, note));
        if data.len() >= header.total() {
            self.holds_what_follows();
        }
        self.pass(Passing::Forward, header)
    }

    /// Parse, Bind, Describe and Close: their names are the client's own.
    fn take_named(
        &mut self,
        header: Header,
        data: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> ControlFlow<End, Taken> {
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(Taken::Later) };
        let server = lease.server();
        if self.names.are_in_doubt(server) {
            return ControlFlow::Continue(Taken::Later);
        }
        let there = data.len().min(header.total());
        let body = data.get(HEADER_LEN..there).unwrap_or_default();
        match header.tag {
            client::PARSE => self.take_parse(header, body, pieces),
            client::BIND => self.take_bind(header, body, pieces),
            _ => self.take_target(header, body, pieces),
        }
    }

    fn take_parse(
        &mut self,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> ControlFlow<End, Taken> {
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(Taken::Later) };
        let server = lease.server();
        if body.first() == Some(&0) && self.names.parse_again(server, body).is_some() {
            return self.pass(Passing::Forward, header);
        }
        let conforming = server.conforming;
        let can_fake = server.replies.status() != wire::FAILED && !server.replies.awaits_ready();
        let (database, custom) = (&self.route.database, &mut self.custom);
        let mut reading = Reading {
            table: &self.worker.common.statements,
            settings: &self.plan_settings,
            effects_of: &mut |sql| {
                let text = Text { database, conforming, sql };
                self.worker.texts.borrow_mut().effects(text, &mut |name| custom.note(name))
            },
        };
        let traffic = self.route.traffic.of(usize::from(self.worker.id.0));
        let mut link = link(server, pieces, (&self.options, traffic));
        link.traffic.client_parses.add(u64::from(body.first() != Some(&0)));
        self.names.parse(&mut link, body, &mut reading, can_fake);
        ControlFlow::Continue(Taken::Bytes(header.total()))
    }

    fn take_bind(
        &mut self,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> ControlFlow<End, Taken> {
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(Taken::Later) };
        let server = lease.server();
        let Some(view) = client::read_bind(body) else {
            if body.len() < header.body && body.len() < HOLD_MAX {
                return ControlFlow::Continue(Taken::Incomplete);
            }
            drop(server.replies.sent(Kind::Bind, Reply::Forward, None));
            return self.pass(Passing::Forward, header);
        };
        let refuses = self.options.state_policy == StatePolicy::Error && self.names.unnamed_ties();
        if let (Some(effects), false) = (self.names.bind_as_is(server, &view), refuses) {
            self.effects |= effects & !settings::TIES;
            drop(server.replies.sent(Kind::Bind, Reply::Forward, None));
            let conforming = server.conforming;
            self.sees_bind(&view, conforming);
            return self.pass(Passing::Forward, header);
        }
        let conforming = server.conforming;
        self.passing = header.body - view.names_len;
        let traffic = self.route.traffic.of(usize::from(self.worker.id.0));
        let mut link = link(server, pieces, (&self.options, traffic));
        link.traffic.binds.add(u64::from(!view.statement.is_empty()));
        match self.names.bind(&mut link, &view, self.passing) {
            Bound::Later => {
                self.passing = 0;
                return ControlFlow::Continue(Taken::Later);
            }
            Bound::Sent(effects) => {
                self.effects |= effects & !settings::TIES;
                self.pass = Passing::Forward;
                self.sees_bind(&view, conforming);
            }
            Bound::Refused => self.pass = Passing::Drop,
        }
        ControlFlow::Continue(Taken::Bytes(HEADER_LEN + view.names_len))
    }

    /// Describe and Close.
    fn take_target(
        &mut self,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> ControlFlow<End, Taken> {
        let Some(lease) = &mut self.lease else { return ControlFlow::Continue(Taken::Later) };
        let server = lease.server();
        let Some(target) = client::read_target(body).filter(|target| target.kind == b'S') else {
            if let Some(kind) = kind_of(header.tag, body.first().copied().unwrap_or(0)) {
                let portal = client::read_target(body).filter(|_| kind == Kind::DescribePortal);
                let note = portal.and_then(|portal| self.names.describe_portal(portal.name));
                drop(server.replies.sent(kind, Reply::Forward, note));
            }
            return self.pass(Passing::Forward, header);
        };
        let traffic = self.route.traffic.of(usize::from(self.worker.id.0));
        let mut link = link(server, pieces, (&self.options, traffic));
        if header.tag == client::CLOSE {
            self.names.close(&mut link, target.name);
        } else if self.names.describe(&mut link, target.name) == Told::AskedFirst {
            return ControlFlow::Continue(Taken::Later);
        }
        ControlFlow::Continue(Taken::Bytes(header.total()))
    }
}

/// The server's side of a translation.
fn link<'a>(
    server: &'a mut Server,
    pieces: &'a mut Pieces<'_>,
    (options, traffic): (&Options, &'a Traffic),
) -> Link<'a> {
    Link {
        server,
        out: pieces.insert(),
        max: options.max_prepared_statements,
        refuses_ties: options.state_policy == StatePolicy::Error,
        traffic,
    }
}

fn is_client_tag(tag: u8) -> bool {
    matches!(
        tag,
        client::BIND
            | client::CLOSE
            | client::COPY_DATA
            | client::COPY_DONE
            | client::COPY_FAIL
            | client::DESCRIBE
            | client::EXECUTE
            | client::FLUSH
            | client::FUNCTION_CALL
            | client::PARSE
            | client::QUERY
            | client::SYNC
            | client::TERMINATE
    )
}

/// PostgreSQL's own words for a message that no client may send.
fn invalid_type(tag: u8) -> End {
    let fault = Fault::protocol(format!("invalid frontend message type {tag}"));
    End::Fault(fault.pgbouncer("unknown pkt"))
}
