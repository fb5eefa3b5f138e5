//! A session that goes on although its server is lost, where the database has other nodes.
//!
//! What was not answered fails as if the server itself had said so: the errors pass through the same
//! steps as a server's, so that whatever the messages noted is taken back. A transaction block is lost
//! from there on ([`lost_block`](super::lost_block)) until the client ends it. Never says that something
//! has happened of which that is not known, and repeats nothing.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::clock::Clock;
use super::effects::Effects;
use super::flow::{End, Flow, Stop};
use super::in_flight::Loss;
use super::lost_block::{Done, LostBlock, Texts, lost_transaction};
use super::reading::Reading;
use super::route::StatePolicy;
use super::run::Session;
use super::server_lost::Verdict;
use super::statements::ParseContext;
use crate::backend::state::Reply;
use crate::cluster::health::Failure;
use crate::cluster::shared::StatementKind;
use crate::fault::{Fault, Side};
use crate::sql::{FirstStatement, Rules, first_statement};
use crate::wire::{self, HEADER_LEN, Header, client, server};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

/// The severity FATAL of a server that ends because its node does, or that is in the way of what a replica
/// replays; not what ends a session for what its client does, as a time-out.
fn is_loss(code: &[u8]) -> bool {
    // What the client has sent is no message: that is its own fault, and the end of its session.
    let is_of_connection = code.starts_with(b"08") && code != b"08P01";
    matches!(code, b"57P01" | b"57P02" | b"57P03" | CONFLICT) || is_of_connection
}

/// What a replica says that cannot both replay and serve a read.
const CONFLICT: &[u8] = b"40001";

fn in_doubt() -> Fault {
    let text = "the server was lost before it said whether this is done";
    Fault::query(Side::Server, "08007", text).hint(
        "It may have been done, or not: nobody here can know. Look, before it is done once more.",
    )
}

fn lost_statement() -> Fault {
    Fault::query(Side::Server, "08006", "the statement was lost with its server")
        .hint("It has changed nothing and may be run again.")
}

fn conflict() -> Fault {
    let text = "canceling statement due to conflict with recovery";
    Fault::query(Side::Server, "40001", text)
        .hint("The replica replays what the read stood in the way of. Run it again.")
}

/// What the session knows of its texts and statements.
struct Own<'a>(&'a Client);

impl Texts for Own<'_> {
    fn first(&self, sql: &[u8]) -> Option<FirstStatement> {
        match self.0.state.reading.read(sql) {
            Some(readable) => first_statement(&readable.text, readable.rules),
            // What ends a block has nothing in it that is read in two ways.
            None => first_statement(sql, Rules::STANDARD),
        }
    }

    fn prepared(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.state.statements.text_of(name)
    }
}

impl Client {
    /// Whether the session goes on when its server ends with an error of this code.
    pub(super) fn outlives(&self, bound: &mut Bound, code: &[u8]) -> bool {
        let outlives = is_loss(code) && self.lost_server(bound).verdict() == Verdict::Fail;
        bound.is_in_conflict |= outlives && code == CONFLICT;
        outlives
    }

    /// ReadyForQuery goes to the client. `awaits_more`: something else is on its way.
    pub(super) fn note_answer(&mut self, bound: &mut Bound, status: u8, awaits_more: bool) {
        if let Some(in_flight) = &mut self.in_flight {
            if awaits_more { in_flight.answered() } else { in_flight.clear() }
        }
        bound.has_failed = false;
        if status == wire::IDLE && !awaits_more {
            bound.reported_before = None;
        }
        // What is made in a transaction block is undone with it, but for what OBJECTS stands for.
        let lasting = if status == wire::IDLE { Effects::CHECKED } else { Effects::OBJECTS };
        bound.acknowledged |= bound.effects & lasting;
    }

    /// Whether something is lost with the server that nobody can make again, or the client cannot be told
    /// an error.
    pub(super) fn is_tied(&self, bound: &Bound, has_pin: bool) -> bool {
        let ignored = match self.options.state_policy {
            StatePolicy::Ignore => Effects::OBJECTS,
            StatePolicy::Pin | StatePolicy::Error => Effects::empty(),
        };
        let known = bound.acknowledged - ignored;
        let knows =
            known.intersects(Effects::CHECKED) || bound.effects.intersects(Effects::KEEPS_SERVER);
        let cannot_hear = self.pipe.mid_frame || self.pipe.is_broken || self.is_gone();
        self.keeps_server()
            || has_pin
            || bound.owes_ready
            || knows
            || cannot_hear
            || self.is_logging_in
    }

    /// A server of the node was lost: it is probed soon.
    pub(super) fn note_lost_server(&self) {
        if let (Some(nodes), Some(node)) = (&self.route.nodes, self.target.node) {
            nodes.cluster.record_failure(node, Failure::Lost);
        }
    }

    /// The primary refuses a write, as a standby would: the nodes are asked what they are.
    pub(super) fn note_read_only(&self) {
        if let Some(nodes) = self.route.nodes.as_ref().filter(|_| self.target.read.is_none()) {
            nodes.cluster.request_probe();
        }
    }

    /// Counts a statement in the account of a fail-over, if it was the primary's.
    pub(super) fn count_lost(&self, kind: StatementKind) {
        if let Some(nodes) = self.route.nodes.as_ref().filter(|_| self.target.read.is_none()) {
            nodes.cluster.count_statement(kind);
        }
    }

    fn fault_of(&self, loss: Loss, is_in_conflict: bool) -> Fault {
        // Nothing is done on a replica.
        let is_in_doubt = loss.is_in_doubt && self.target.read.is_none();
        let fault = if is_in_doubt {
            in_doubt()
        } else if is_in_conflict {
            conflict()
        } else if loss.is_in_block {
            lost_transaction()
        } else {
            lost_statement()
        };
        self.log_fault(&fault);
        let kind = if is_in_doubt { StatementKind::InDoubt } else { StatementKind::Failed };
        self.count_lost(kind);
        fault
    }

    /// What the server would have to say so that everything fails that it has not answered; and whether the
    /// client is in a transaction block then, which it knows to have failed if anything was said.
    fn last_words(&self, bound: &mut Bound) -> (Vec<u8>, Option<LostBlock>) {
        let (has_failed, is_in_conflict) = (bound.has_failed, bound.is_in_conflict);
        let replies = &bound.server().replies;
        let ours = replies.replies_with_ready().filter(|reply| *reply == Reply::Swallow).count();
        let count = replies.replies_with_ready().count() - ours;
        let mut status = replies.status();
        let mut was_told = has_failed || status == wire::FAILED;
        let in_flight = self.in_flight.as_deref();
        let copies = replies.awaits_copy_end();
        let losses = in_flight.map(|it| it.losses(status, count, copies));
        let (whole, open) = losses.unwrap_or_default();
        let (mut whole, mut out) = (whole.into_iter(), Vec::new());
        let mut is_told_already = has_failed;
        for reply in replies.replies_with_ready() {
            let fault = if reply == Reply::Swallow {
                lost_statement()
            } else {
                let Some(loss) = whole.next() else { continue };
                status = if loss.is_in_block { wire::FAILED } else { wire::IDLE };
                if reply == Reply::Fake {
                    continue;
                }
                was_told = true;
                if std::mem::take(&mut is_told_already) {
                    server::ready(&mut out, status);
                    continue;
                }
                self.fault_of(loss, is_in_conflict)
            };
            wire::fault(&mut out, &fault.in_style(self.message_style()));
            server::ready(&mut out, status);
        }
        if replies.has_open_batch() {
            was_told = true;
            let fault = self.fault_of(open, is_in_conflict);
            wire::fault(&mut out, &fault.in_style(self.message_style()));
        }
        if open.is_in_block && !was_told {
            // It is told with what it sends next.
            self.count_lost(StatementKind::Failed);
        }
        (out, open.is_in_block.then(|| LostBlock::new(was_told)))
    }

    /// The client hears of the parameters that the lost transaction has set: they are what they were.
    fn restore_parameters(&mut self, bound: &mut Bound, cx: &mut Context<'_>) -> Flow {
        let Some(known) = bound.reported_before.take() else { return Ok(()) };
        let (lost, mut out) = (Arc::clone(&bound.server().reported), Vec::new());
        for (name, value) in known.iter() {
            let was = lost.iter().find(|(other, _)| other == name);
            if was.is_some_and(|(_, was)| was != value && **name != *b"in_hot_standby") {
                server::parameter_status(&mut out, name, value);
            }
        }
        self.state.reading = Reading::of(|name| {
            known.iter().find(|(other, _)| **other == *name).map(|(_, value)| &**value)
        });
        self.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))
    }
}

impl Bound {
    /// Keeps what the server reports, before something is sent that may change it.
    pub(super) fn note_reported(&mut self, effects: Effects) {
        let sets = effects.intersects(Effects::SETS | Effects::SETTINGS);
        if sets && self.reported_before.is_none() {
            self.reported_before = Some(Arc::clone(&self.lease.server().reported));
        }
    }
}

impl Session {
    /// What was not answered fails, and a transaction block is lost. The session goes on without a server.
    pub(super) fn outlive(&mut self, cx: &mut Context<'_>, mut bound: Box<Bound>) -> Flow {
        let client = &mut self.client;
        client.set_clock(Clock::Off, None);
        bound.gate = None;
        bound.withheld.clear();
        // Nothing is asked any more, and no ReadyForQuery waits for that.
        bound.effects -= Effects::CHECKED;
        let server = bound.server();
        (server.held, server.rest_of_frame, server.is_closing) = (Vec::new(), 0, true);
        server.set_close_reason("its node does not answer, or has closed it");
        let (words, block) = client.last_words(&mut bound);
        client.relay(&mut bound, cx, &words)?;
        client.restore_parameters(&mut bound, cx)?;
        client.pipe.skipping |= bound.server().replies.is_skipping();
        if client.pipe.passing > 0 {
            client.pipe.pass = Passing::Drop;
        }
        client.state.statements.forget_portals();
        if let Some(in_flight) = &mut client.in_flight {
            in_flight.clear();
        }
        client.set_idle_clock();
        if block.is_some() {
            client.lost_block = block.map(Box::new);
            client.set_transaction_clock();
        }
        Ok(())
    }
}

impl Client {
    /// The status of ReadyForQuery of a session that has no server.
    pub(super) fn status_without_server(&self) -> u8 {
        if self.lost_block.is_some() { wire::FAILED } else { wire::IDLE }
    }

    /// A message of a client whose transaction block was lost.
    pub(super) fn answer_in_lost_block(
        &mut self,
        cx: &mut Context<'_>,
        header: Header,
        data: &[u8],
    ) -> Flow {
        let Some(mut block) = self.lost_block.take() else { return Ok(()) };
        let body = data.get(HEADER_LEN..header.total().min(data.len())).unwrap_or_default();
        // Of a text that is not all there nobody knows what it ends with.
        let is_text = matches!(header.tag, client::QUERY | client::PARSE);
        let body = if is_text && body.len() < header.body { &b"?"[..] } else { body };
        let mut out = Vec::new();
        let mut done = block.answer((header.tag, body), &Own(self), &mut out);
        if done == Done::Prepared && !self.prepare_without_server(body) {
            out.clear();
            wire::fault(&mut out, &duplicate_statement());
            done = Done::Failed { ends_block: false };
        }
        let is_over = match done {
            Done::Answered | Done::Prepared => false,
            Done::Closed(name) => {
                self.state.statements.close_without_server(&name);
                false
            }
            Done::Failed { ends_block } => {
                self.pipe.skipping = true;
                ends_block
            }
            Done::Ended { rest } => {
                self.pipe.instead = rest;
                true
            }
        };
        if is_over {
            self.set_idle_clock();
        } else {
            self.lost_block = Some(block);
            self.set_transaction_clock();
        }
        self.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))
    }

    /// The client's Parse of a statement that ends its block. False if its name is taken.
    fn prepare_without_server(&mut self, body: &[u8]) -> bool {
        let worker = Rc::clone(&self.worker);
        let settings = Arc::clone(&self.state.plan_settings);
        let context = ParseContext {
            table: &worker.common.statements,
            settings: &settings,
            read_under: self.state.reading.now(),
            mentions: &[],
            prepared: &[],
            effects: Effects::CLOSES_BLOCK | Effects::COMMITS,
            is_private: false,
            run: None,
            reading: u8::MAX,
        };
        self.state.statements.parse_without_server(body, &context)
    }

    /// What is to be run in the place of a message that was taken stands in front of what is held.
    #[inline]
    pub(super) fn put_instead(&mut self, cx: &Context<'_>) {
        if let Some(instead) = self.pipe.instead.take() {
            self.pipe.held.splice(0..0, instead);
            cx.waker().wake_by_ref();
        }
    }
}

fn duplicate_statement() -> Fault {
    Fault::query(Side::Client, "42P05", "prepared statement already exists")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_loss_of_the_node_and_what_is_the_clients_own() {
        for code in ["57P01", "57P02", "57P03", "40001", "08006"] {
            assert!(is_loss(code.as_bytes()), "{code}");
        }
        for code in ["25P03", "25P04", "57P05", "57P04", "57014", "28000", "53200", "08P01", ""] {
            assert!(!is_loss(code.as_bytes()), "{code}");
        }
    }

    #[test]
    fn what_is_told_leaves_the_session_alive() {
        for fault in [in_doubt(), lost_statement(), conflict(), lost_transaction()] {
            assert_eq!(fault.severity(), "ERROR");
            assert!(!fault.hint.is_empty());
        }
    }
}
