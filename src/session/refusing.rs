//! What a client is told when what it has sent gets no server.
//!
//! Owns the errors in the place of an answer: a Query gets ReadyForQuery behind it, and a batch is dropped until its
//! Sync, as PostgreSQL does. The session goes on, but for a client that is still logging in.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::clock::Clock;
use super::flow::{End, Flow, Stop};
use super::run::{Phase, Session};
use crate::fault::{Fault, MessageStyle, Side};
use crate::pool::Refused;
use crate::wire::{self, server};
use std::task::Context;

impl Session {
    /// The statement is answered with the server's error, and the server, which has a part of the
    /// settings, is closed. A client that is still logging in cannot be.
    pub(super) fn alignment_failed(
        &mut self,
        cx: &mut Context<'_>,
        bound: Box<Bound>,
        error: &[u8],
    ) -> Flow {
        let owes_ready = bound.owes_ready;
        self.client.close_server(bound, "var change failed");
        if self.client.is_logging_in || owes_ready || self.client.pipe.held.is_empty() {
            let body = error.get(wire::HEADER_LEN..).unwrap_or_default();
            let message = wire::error_fields(body).message;
            let reason = String::from_utf8_lossy(message).into_owned();
            return Err(Stop::End(End::server_error(wire::as_fatal(body), reason)));
        }
        self.answer_batch(cx, error.to_vec())
    }

    /// An error of ours in the place of the answer to what is held. The session goes on.
    pub(super) fn refuse_batch(&mut self, cx: &mut Context<'_>, fault: &Fault) -> Flow {
        let mut out = Vec::new();
        wire::fault(&mut out, &fault.clone().in_style(self.client.message_style()));
        self.client.log_fault(fault);
        self.answer_batch(cx, out)
    }

    /// An error of ours in the place of the answer to what is in front of `data`, which no server gets.
    pub(super) fn refuse_front(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        fault: &Fault,
    ) -> Flow {
        let mut out = Vec::new();
        wire::fault(&mut out, fault);
        self.client.log_fault(fault);
        let client = &mut self.client;
        (client.is_refused, client.is_unserved) = (false, false);
        let front = wire::header(data, client.options.max_packet_size).ok().flatten();
        client.drop_batch(front, &mut out);
        client.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))
    }

    /// Answers the message in front of what is held with the error in `out`, as PostgreSQL would:
    /// a Query gets ReadyForQuery as well, a batch is dropped until its Sync.
    pub(super) fn answer_batch(&mut self, cx: &mut Context<'_>, mut out: Vec<u8>) -> Flow {
        self.phase = Phase::Idle;
        let client = &mut self.client;
        (client.place, client.awaits_primary) = (None, false);
        client.handle.clear_server();
        // Its transaction is over: the client is told so.
        client.moving = None;
        client.set_clock(Clock::Off, None);
        if client.is_logging_in {
            let text = "no server connection available for login";
            let fault = Fault::session(Side::Proxy, "57P03", text);
            return Err(Stop::End(End::fault(fault.pgbouncer("query_wait_timeout"))));
        }
        let front = wire::header(&client.pipe.held, client.options.max_packet_size).ok().flatten();
        client.drop_batch(front, &mut out);
        client.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))
    }
}

impl Client {
    pub(super) fn refused(&self, refused: &Refused) -> End {
        match refused {
            Refused::Removed => End::fault(
                Fault::session(Side::Operator, "57P01", "database removed from the configuration")
                    .hint("Reconnect to a database that the configuration has.")
                    .pgbouncer("database removed"),
            ),
            Refused::Failing(failure) => {
                let mut out = Vec::new();
                failure.encode(&mut out, self.message_style());
                let body = out.get(wire::HEADER_LEN..).unwrap_or_default();
                let said = String::from_utf8_lossy(wire::error_fields(body).message).into_owned();
                if self.options.log_pooler_errors && self.message_style() == MessageStyle::PgBouncer
                {
                    self.log_pooler_error("08P01", &said);
                }
                let reason = self.message_style().choose(failure.to_string(), said);
                End::server_error(out, reason)
            }
        }
    }

    /// The message in front has failed, without a server: a Query gets ReadyForQuery, and the rest of a
    /// batch is dropped until its Sync.
    pub(super) fn drop_batch(&mut self, front: Option<wire::Header>, out: &mut Vec<u8>) {
        if let Some(own) = &mut self.state.own {
            own.failed();
        }
        let answers = [wire::client::QUERY, wire::client::FUNCTION_CALL];
        match front.filter(|front| answers.contains(&front.tag)) {
            Some(front) => {
                (self.pipe.pass, self.pipe.passing) = (Passing::Drop, front.total());
                self.end_own_unit();
                server::ready(out, wire::IDLE);
            }
            None => self.pipe.skipping = true,
        }
    }
}
