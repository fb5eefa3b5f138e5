//! What a frame of the server's means for its session.

use super::bound::Bound;
use super::client::Client;
use super::clock::{Clock, Moments};
use super::effects::Effects;
use super::gate::Gate;
use super::pieces::Pieces;
use super::query_stats::run_of;
use super::state_check::Pin;
use crate::backend::note::Note;
use crate::backend::state::{Expected, OutOfStep, Reply};
use crate::cluster::shared::now;
use crate::fault::{Fault, Side};
use crate::wire::{self, ErrorFields, Header, server};

impl Client {
    /// Takes in one frame. `Forward`: its bytes go on as they are.
    // Its one caller calls it for each frame: a call is a tenth of its cost.
    #[inline(always)]
    pub(super) fn frame(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Result<Reply, OutOfStep> {
        match header.tag {
            server::READY => return self.ready(bound, body),
            server::ERROR => {
                let is_whole = body.len() == header.body;
                return Ok(self.error(bound, (body, is_whole), pieces));
            }
            server::COMMAND_COMPLETE => self.completed(bound, body),
            server::PARAMETER_STATUS => return Ok(self.handle_parameter_status(bound, body)),
            // A client that is being welcomed hears what its settings gave rise to.
            server::NOTICE if self.is_logging_in => return Ok(Reply::Forward),
            server::NOTIFICATION => return Ok(Reply::Forward),
            server::PARAMETER_DESCRIPTION => {
                let known = (&self.worker.common.statements, &self.state.plan_settings);
                self.state.statements.parameters(bound.lease.server(), body, known);
            }
            server::DATA_ROW => {
                if let Some(Gate::Check(answer)) = &mut bound.gate {
                    answer.rows.extend(server::columns(body));
                }
            }
            _ => {}
        }
        let server = bound.lease.server();
        let received = server.replies.received(header.tag)?;
        if let Some(Expected { note: Some(note), .. }) = received.settled {
            if let Some(run) = run_of(&note) {
                self.executed(bound, run);
            }
            if !matches!(note, Note::Run(_)) {
                let server = bound.lease.server();
                self.state.statements.commit(server, note, (header.tag, body));
            }
        }
        Ok(received.reply)
    }

    /// ReadyForQuery.
    fn ready(&mut self, bound: &mut Bound, body: &[u8]) -> Result<Reply, OutOfStep> {
        let status = body.first().copied().unwrap_or(0);
        let server = bound.lease.server();
        let received = server.replies.ready(status)?;
        if bound.held_read.as_ref().is_some_and(|held| held.is_refused()) {
            return Ok(Reply::Swallow);
        }
        let is_settled = received.settled.is_some();
        let note = received.settled.and_then(|settled| settled.note);
        let is_answered = server.replies.outstanding() == 0;
        if is_answered {
            let server = &*server;
            self.state
                .reading
                .answered(status == wire::IDLE, |name| server.reported_parameter(name));
        }
        if received.reply != Reply::Forward {
            if let Some(note) = note {
                self.state.statements.commit(bound.lease.server(), note, (server::READY, body));
            }
            return Ok(received.reply);
        }
        if self.in_flight.is_some() {
            self.note_answer(bound, status, is_settled && !is_answered);
        }
        self.end_query(bound, status, note.as_ref().and_then(run_of));
        if let Some(note @ Note::Texts(_)) = note {
            self.state.statements.commit(bound.lease.server(), note, (server::READY, body));
        }
        self.end_transaction(bound, status);
        if let Some(own) = &mut self.state.own {
            own.ready(status);
        }
        let withheld = self.withhold_ready(bound, status);
        Ok(if withheld { Reply::Swallow } else { Reply::Forward })
    }

    /// ReadyForQuery came for the client. What is behind it in a pipeline begins now.
    fn end_query(&mut self, bound: &mut Bound, status: u8, run: Option<crate::metrics::Run>) {
        let now = self.worker.common.pools.now();
        if self.worker.common.queries.is_on() {
            self.end_statement(bound, run, now);
        }
        let before = bound.moments;
        bound.moments = Moments { query: now, known: now, ..before };
        self.traffic().query.record(now.since(before.query));
        if status == wire::IDLE {
            self.traffic().transaction.record(now.since(before.transaction));
            bound.moments.transaction = now;
        }
    }

    /// A transaction may be over. What the client has sent since then may have gone no further: until
    /// it does, the server can be replaced again.
    fn end_transaction(&mut self, bound: &mut Bound, status: u8) {
        if status != wire::IDLE {
            return;
        }
        let is_over = bound.server().replies.outstanding() == 0;
        if self.state.own.is_some() {
            self.raise_groups(bound.effects, now(), is_over);
        }
        if is_over {
            self.tell_catalog(bound.effects);
            self.record_answer(bound.effects);
            bound.effects &= Effects::CHECKED | Effects::KEEPS_SERVER | Effects::COMPUTES_SETTING;
        }
        if self.lost_server(bound).is_free && bound.server().replies.are_made_up() {
            bound.is_used = false;
        }
    }

    /// A transaction that has done this is over.
    fn tell_catalog(&self, effects: Effects) {
        if effects.contains(Effects::DEFINES) {
            self.route.catalog.record_ddl();
        } else {
            if effects.contains(Effects::REMOVES) {
                self.route.catalog.record_removal();
            }
            if effects.contains(Effects::MAY_DEFINE) {
                self.route.catalog.record_possible_ddl();
            }
        }
    }

    /// CommandComplete.
    fn completed(&mut self, bound: &mut Bound, body: &[u8]) {
        if bound.server().replies.front_reply() == Reply::Forward {
            self.count_rows(bound, body);
            if let (Some(own), Some(tag)) = (&mut self.state.own, server::read_command_tag(body)) {
                own.completed(tag);
            }
        }
        if !self.keeps_server() {
            self.state.statements.completed(bound.lease.server(), body);
        }
        if self.keeping.is_each() && body == b"DISCARD ALL\0" {
            // Outside of a transaction, or it would have failed.
            bound.pin.take_if(|pin| *pin == Pin::CustomSetting || *pin == Pin::UnknownSettings);
        }
    }

    /// ErrorResponse; of a long one only the head.
    fn error(
        &mut self,
        bound: &mut Bound,
        (body, is_whole): (&[u8], bool),
        pieces: &mut Pieces<'_>,
    ) -> Reply {
        let fields = wire::error_fields(body);
        let is_fatal = fields.is_fatal();
        if self.is_refusal(bound, fields) {
            bound.server().is_closing |= is_fatal;
            self.state.statements.query_failed(bound.lease.server());
            self.undo(bound);
            return Reply::Swallow;
        }
        // The client loses nothing if the server ends now: the server runs nothing of the client's. Or
        // it loses no more than what the error says that it gets instead.
        let unnoticed = is_fatal
            && (bound.only_we_ask()
                || self.lost_server(bound).loses_nothing()
                || self.outlives(bound, fields.code));
        bound.server().is_closing |= is_fatal;
        if unnoticed {
            return Reply::Swallow;
        }
        if is_fatal && self.options.log_pooler_errors {
            self.log_end_by_server(bound, fields);
        }
        bound.has_sent_fatal |= is_fatal;
        let is_clients = bound.server().replies.front_reply() == Reply::Forward;
        bound.has_failed |= is_clients;
        if fields.code == b"25006" {
            self.note_read_only();
        }
        if let Some(own) = self.state.own.as_mut().filter(|_| is_clients) {
            own.failed();
        }
        self.traffic().errors.add(u64::from(is_clients));
        if self.worker.common.queries.is_on() {
            self.fail_statement(bound, is_fatal);
        }
        let is_unexplained = bound.server().replies.outstanding() == 0;
        let reply = self.answer_to_error(bound, (body, is_whole), fields, pieces);
        self.state.statements.heal(bound.lease.server(), fields);
        self.state.statements.query_failed(bound.lease.server());
        self.undo(bound);
        if is_unexplained && !is_fatal && !self.keeps_server() {
            // Whatever it was, the server skips what follows.
            self.pipe.skipping = true;
        }
        reply
    }

    /// Whether a replica refuses a read that the primary can get; then that is noted.
    fn is_refusal(&self, bound: &mut Bound, fields: ErrorFields<'_>) -> bool {
        let is_clients = bound.server().replies.front_reply() == Reply::Forward;
        let Some(held) = bound.held_read.as_mut().filter(|_| is_clients) else { return false };
        let is_refusal = held.is_refusal(fields.code);
        if is_refusal {
            held.set_refused();
        }
        is_refusal
    }

    /// The server's last words go to the client: what ties the client to it.
    fn log_end_by_server(&self, bound: &mut Bound, fields: ErrorFields<'_>) {
        let (lost, effects) = (self.lost_server(bound), bound.effects & Effects::CHECKED);
        let message = String::from_utf8_lossy(fields.message);
        tracing::warn!(
            client = self.handle.id, peer = %self.handle.info.peer, user = %self.route.user,
            database = %self.route.database, pin = ?bound.pin, asked = ?lost.asked,
            in_transaction = !lost.is_at_rest, unasked = ?effects, passing = self.pipe.passing,
            "server ended the session: {message}"
        );
    }

    /// What the client gets in the place of an error.
    fn answer_to_error(
        &mut self,
        bound: &mut Bound,
        (body, is_whole): (&[u8], bool),
        fields: ErrorFields<'_>,
        pieces: &mut Pieces<'_>,
    ) -> Reply {
        let is_fatal = fields.is_fatal();
        if let (Some(answer), false) = (bound.gate.as_mut().and_then(Gate::answer), is_fatal) {
            let mut error = Vec::new();
            wire::with_message(&mut error, body, fields.message);
            answer.error = Some(error);
            return Reply::Swallow;
        }
        let style = self.worker.common.message_style;
        let note = bound.lease.server().replies.front().and_then(|front| front.note.as_ref());
        match note {
            Some(Note::Try(id)) if !is_fatal => {
                self.state.statements.cannot_be_prepared(*id, body, is_whole);
                return Reply::Swallow;
            }
            Some(Note::Answer(_) | Note::ForgetSequences { is_told: false }) if !is_fatal => {
                return Reply::Swallow;
            }
            Some(Note::Refuse(fault)) => {
                wire::fault(pieces.insert(), &fault.as_ref().clone().in_style(style));
                return Reply::Swallow;
            }
            _ => {}
        }
        if self.timer.clock == Clock::Cancelled && fields.code == b"57014" {
            wire::fault(pieces.insert(), &query_timeout().in_style(style));
            self.log_fault(&query_timeout());
            return Reply::Swallow;
        }
        if !is_whole || self.keeps_server() {
            return Reply::Forward;
        }
        match self.state.statements.translate(body, fields, note) {
            Some(translated) => {
                pieces.insert().extend_from_slice(&translated);
                Reply::Swallow
            }
            None => Reply::Forward,
        }
    }

    /// Takes back what the messages noted that are not going to be answered.
    fn undo(&mut self, bound: &mut Bound) {
        let server = bound.lease.server();
        let mut dropped = Vec::new();
        server.replies.failed(|entry| dropped.push(entry.note));
        let last = dropped.len().saturating_sub(1);
        for (index, note) in dropped.into_iter().enumerate() {
            if let Some(note) = note {
                self.state.statements.undo(server, note, index == last);
            }
        }
    }
}

fn query_timeout() -> Fault {
    Fault::query(Side::Operator, "57014", "canceling statement due to query timeout")
        .pgbouncer("query timeout")
        .hint("The statement took longer than query_timeout.")
}
