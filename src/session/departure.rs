//! A client that sends nothing more: what becomes of its statements, and whether it still reads.
//!
//! What was received whole is run, as PostgreSQL does. For a client that is gone a read, or anything
//! inside of an open transaction, is cancelled at once: nothing of it would last. An autocommit
//! statement that may write runs to its end. A client that has closed its sending side only gets its
//! answers; whether it has, shows when it is written to: a closed socket answers with a reset.

use super::bound::Bound;
use super::client::{Client, Presence};
use super::clock::Clock;
use super::effects::Effects;
use super::flow::{End, Flow, Stop};
use super::gate::Gate;
use super::run::{Phase, Session};
use super::text_cache::Text;
use crate::wire::{self, client, server};
use std::io;
use std::task::Context;
use std::time::Duration;

/// How long answers are awaited before the client is written to.
const SILENCE: Duration = Duration::from_millis(300);
/// How long a reset may take to come back.
const RESET_MAX: Duration = Duration::from_millis(100);
/// How often a client that is silent is written to.
const LOOKS_MAX: u8 = 2;
/// How long what a client has asked for still runs when it made no sense in the end.
const ENDING_MAX: Duration = Duration::from_secs(5);

/// What becomes of a session whose client sends nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It goes on.
    GoOn,
    /// It goes on for a limited time.
    Limit,
    /// It ends.
    End,
}

/// What the decision rests on.
#[derive(Clone, Copy, Debug)]
struct Departure {
    /// The client's connection is known to be broken.
    is_gone: bool,
    /// Something is asked on our own account.
    asks: bool,
    /// Answers are awaited that come without another message of the client's.
    awaits_answers: bool,
    /// Messages are held that may still be taken.
    has_more: bool,
    /// What is on its way, or waits for a server, may be seen by others when it is done.
    may_last: bool,
}

impl Departure {
    fn step(self) -> Step {
        if self.asks {
            return Step::GoOn;
        }
        if !self.awaits_answers && !self.has_more {
            return Step::End;
        }
        match (self.is_gone, self.may_last) {
            (false, _) => Step::GoOn,
            (true, true) => Step::Limit,
            (true, false) => Step::End,
        }
    }
}

impl Session {
    /// The client has closed its sending side.
    pub(super) fn client_closed(&mut self, cx: &mut Context<'_>) -> Flow {
        self.client.pipe.presence = Presence::Silent(0);
        let is_idle = matches!(self.phase, Phase::Idle) && self.client.pipe.held.is_empty();
        if is_idle {
            return Err(Stop::End(End::Left));
        }
        self.await_silence(SILENCE);
        self.end_if_departed(cx)
    }

    /// The client's connection is broken.
    pub(super) fn client_is_gone(&mut self, error: io::Error) -> Flow {
        let is_idle = match &mut self.phase {
            Phase::Idle => true,
            Phase::Waiting(_) => false,
            Phase::Bound(bound) => !bound.may_last(),
        };
        self.client.pipe.presence = Presence::Gone;
        if is_idle { Err(Stop::End(End::ClientLost(error))) } else { Ok(()) }
    }

    /// Writes to a client that is silent, to find out whether it hears.
    pub(super) fn look_for_client(&mut self, cx: &mut Context<'_>) -> Flow {
        let Presence::Silent(looks) = self.client.pipe.presence else { return Ok(()) };
        if looks >= LOOKS_MAX {
            // It hears. Its statements have the time-outs that others have.
            return Ok(());
        }
        self.client.pipe.presence = Presence::Silent(looks + 1);
        if !self.client.pipe.mid_frame {
            let mut out = Vec::new();
            let name = self.client.handle.application_name();
            server::parameter_status(&mut out, b"application_name", name.as_bytes());
            if let Err(error) = self.client.send_to_client(cx, &out) {
                self.client_is_gone(error)?;
            }
        }
        self.await_silence(RESET_MAX);
        self.end_if_departed(cx)
    }

    /// Ends the session if nothing is left to do for its client, or nobody would hear of it.
    pub(super) fn end_if_departed(&mut self, cx: &mut Context<'_>) -> Flow {
        if !matches!(self.ending, None | Some(End::Left)) {
            return Ok(());
        }
        // What could be taken was taken before in this round.
        let has_more =
            self.ending.is_none() && !self.client.pipe.held.is_empty() && !self.can_process(cx);
        let is_gone = self.client.is_gone();
        let departure = match &mut self.phase {
            Phase::Idle => Departure {
                is_gone,
                asks: self.client.is_logging_in,
                awaits_answers: false,
                has_more: false,
                may_last: false,
            },
            Phase::Waiting(_) => Departure {
                is_gone,
                asks: self.client.is_logging_in,
                awaits_answers: true,
                has_more: true,
                may_last: self.client.held_may_last(),
            },
            Phase::Bound(bound) => Departure {
                is_gone,
                asks: bound.gate.as_ref().is_some_and(Gate::is_ours) || bound.owes_ready,
                awaits_answers: bound.awaits_answers(),
                has_more,
                may_last: bound.may_last(),
            },
        };
        match departure.step() {
            Step::GoOn => Ok(()),
            Step::End => Err(Stop::End(End::Left)),
            Step::Limit => {
                if self.client.timer.clock != Clock::Abandoned
                    && matches!(self.phase, Phase::Bound(_))
                {
                    let limit = self.client.options.abandoned_query_timeout;
                    self.client.set_clock(Clock::Abandoned, limit);
                }
                Ok(())
            }
        }
    }
}

impl Session {
    /// Looks for the client if nothing else has happened by then.
    fn await_silence(&mut self, time: Duration) {
        let may_last = match &mut self.phase {
            Phase::Bound(bound) => bound.may_last(),
            Phase::Idle | Phase::Waiting(_) => false,
        };
        self.client.await_silence(time, may_last);
    }
}

impl Bound {
    /// Whether answers come although the client sends nothing more.
    fn awaits_answers(&mut self) -> bool {
        let replies = &self.server().replies;
        let waits_for_client = replies.awaits_copy_end()
            || (replies.has_open_batch() && !replies.awaits_ready())
            || replies.is_skipping();
        replies.outstanding() > 0 && !waits_for_client
    }
}

impl Client {
    /// Looks for the client if nothing else has happened by then. What may last runs on without
    /// that.
    fn await_silence(&mut self, time: Duration, may_last: bool) {
        let clock = self.timer.clock;
        if matches!(clock, Clock::Off | Clock::Idle | Clock::IdleTransaction | Clock::Query) {
            let time = if may_last { self.options.abandoned_query_timeout } else { Some(time) };
            self.set_clock(Clock::Departed, time);
        }
    }

    /// Whether the message in front of what is held may change what others see.
    fn held_may_last(&mut self) -> bool {
        let held = &self.pipe.held;
        let Ok(Some(header)) = wire::header(held, self.options.max_packet_size) else {
            return false;
        };
        let body = held.get(wire::HEADER_LEN..header.total()).unwrap_or_default();
        let sql = match header.tag {
            client::QUERY => body.strip_suffix(&[0]),
            client::PARSE => client::read_parse(body).map(|view| view.sql),
            _ => return true,
        };
        let readable = sql.and_then(|sql| self.state.reading.read(sql));
        let Some(readable) = readable else { return true };
        let (database, catalog) = (&self.route.database, Some(&*self.route.catalog));
        let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
        let custom = &mut self.state.custom;
        let effects = self.worker.texts.borrow_mut().effects(text, &mut |name| custom.add(name));
        effects.intersects(Effects::WRITES | Effects::NAMES)
    }

    /// The session ends for this reason, as soon as what it asked is answered; at once if nobody
    /// would notice.
    pub(super) fn end_with_server(
        &mut self,
        bound: &mut Bound,
        cx: &mut Context<'_>,
        end: End,
    ) -> Flow<End> {
        if matches!(end, End::Left) {
            // Terminate: it sends nothing more, and may hear its answers.
            self.pipe.presence = Presence::Silent(0);
            if !bound.awaits_answers() {
                return Err(Stop::End(end));
            }
            self.await_silence(SILENCE, bound.may_last());
            return Ok(end);
        }
        if !bound.server().replies.is_copying_in() && bound.server().replies.has_open_batch() {
            let mut flush = Vec::new();
            client::bare(&mut flush, client::FLUSH);
            if bound.server().stream.write(cx, &flush).is_err() {
                cx.waker().wake_by_ref();
            }
        }
        let limit = if bound.may_last() { self.options.abandoned_query_timeout } else { None };
        self.set_clock(Clock::Ending, Some(limit.unwrap_or(ENDING_MAX)));
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_departure() {
        let running = Departure {
            is_gone: true,
            asks: false,
            awaits_answers: true,
            has_more: false,
            may_last: false,
        };
        for (departure, expected) in [
            (running, Step::End),
            (Departure { may_last: true, ..running }, Step::Limit),
            (Departure { is_gone: false, ..running }, Step::GoOn),
            (Departure { asks: true, ..running }, Step::GoOn),
            (Departure { awaits_answers: false, may_last: true, ..running }, Step::End),
            (Departure { awaits_answers: false, is_gone: false, ..running }, Step::End),
            (
                Departure { awaits_answers: false, has_more: true, is_gone: false, ..running },
                Step::GoOn,
            ),
        ] {
            assert_eq!(departure.step(), expected, "{departure:?}");
        }
    }
}
