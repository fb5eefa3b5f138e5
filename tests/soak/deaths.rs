//! Ends of sessions at chosen moments, and cancel requests.

use tokio::time::Instant;

use super::coverage::{Coverage, Moment, Victim};
use super::evil::{Act, Plan};
use super::expect::{Expect, columns, complete, row};
use super::model::Unnamed;
use super::rider::{ANSWER_WITHIN, Mode, Rider, Trouble};
use super::support::messages::{self, Bind, PROTOCOL_3_0};
use super::support::postgres::RIDER;
use super::support::transcript::Frame;
use super::support::wire::{Received, Wire};

/// Ways to die.
pub(crate) const DEATHS: usize = 14;
const CANCEL_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);

impl Rider<'_> {
    /// Somebody dies. Gives whether the session is over, so that the client has to log in again.
    pub(crate) fn die(&mut self, way: usize) -> Result<bool, Trouble> {
        let run = self.run;
        let _seat = run.evil.spare();
        if way.is_multiple_of(DEATHS) {
            self.client_ends_at_login();
            self.run.evil.end_next_login();
            return Ok(false);
        }
        if self.run.mode != Mode::Statement && self.random.once_in(3) {
            self.push(&messages::query("BEGIN"));
            self.model.unnamed = Unnamed::Absent;
            self.want(complete("BEGIN"));
            self.want(Expect::Ready(b'T'));
            self.play("begins what it will not end")?;
            self.model.begin();
        }
        match way % DEATHS {
            1 => self.server_ends_at_parse(Act::CutAtParse),
            2 => self.server_ends_at_parse(Act::CutAtParseComplete),
            3 => self.server_ends_in_row(),
            4 => self.server_ends_in_copy_in(),
            5 => self.server_ends_in_copy_out(),
            6 => self.server_ends_before_ready(),
            7 => self.server_ends_at_cancel(),
            8 => self.server_is_terminated(),
            9 => self.client_ends_at_parse(),
            10 => self.client_ends_in_row(),
            11 => self.client_ends_in_copy(),
            12 => self.client_ends_before_ready(),
            _ => self.client_ends_at_cancel(),
        }?;
        Ok(true)
    }

    /// Waits until the relay has seen the plan's statement, or the client was turned away.
    fn reach(&mut self, plan: &Plan, otherwise: &str) -> Result<(), Trouble> {
        let end = Instant::now() + ANSWER_WITHIN;
        while !plan.reached.wait() {
            match self.wire.next(Instant::now()) {
                Received::Frame(frame) if frame.tag == b'E' => return Err(self.bad_luck(&frame)),
                Received::Frame(frame) => self.early.push_back(frame),
                Received::Silence if Instant::now() < end => {}
                Received::Silence | Received::Closed => return Err(self.wrong(otherwise)),
            }
        }
        if plan.is_void() { Err(self.is_told()) } else { Ok(()) }
    }

    /// Its statement came to a server that had been ended: it must hear of that.
    fn is_told(&mut self) -> Trouble {
        let end = Instant::now() + ANSWER_WITHIN;
        loop {
            match self.wire.next(end) {
                Received::Frame(frame) if frame.tag == b'E' => return self.bad_luck(&frame),
                Received::Frame(_) => {}
                other @ (Received::Closed | Received::Silence) => {
                    return self.wrong(&format!("{other:?}, but its server has ended"));
                }
            }
        }
    }

    fn counted(&self, moment: Moment) {
        self.run.coverage.killed(moment, Victim::Client);
    }

    /// An unnamed statement with the marker, up to `end`.
    fn marked_batch(&mut self, marker: &str, end: &[u8]) {
        let text = self.unique();
        self.push(&messages::parse("", &format!("{marker} SELECT $1::text"), &[]));
        let values = vec![Some(text.as_bytes().to_vec())];
        self.push(&messages::bind(&Bind { values, ..Bind::default() }));
        self.push(&messages::execute("", 0));
        self.push(end);
        self.want(Expect::Tag(b'1'));
        self.want(Expect::Tag(b'2'));
        self.want(row(&[&text]));
        self.want(complete("SELECT 1"));
    }

    // ----- servers

    fn server_ends_at_parse(&mut self, act: Act) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(act);
        let end = if self.random.once_in(2) { messages::sync() } else { messages::flush() };
        self.marked_batch(&plan.marker(), &end);
        self.want(Expect::Ready(self.model.status));
        self.expect_end("waits for ParseComplete", false)
    }

    fn server_ends_in_row(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::CutInRow);
        let (text, times) = (self.unique(), self.random.between(1, 30_000));
        let sql = format!("SELECT repeat('{text}', {times})");
        let wants = vec![
            columns(&["repeat"]),
            Expect::Row(vec![Some(text.repeat(times).into_bytes())]),
            complete("SELECT 1"),
        ];
        self.marked(&sql, &plan.marker(), wants);
        self.expect_end("reads a row", true)
    }

    fn server_ends_in_copy_in(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::CutInCopyIn);
        self.marked("COPY landing FROM STDIN WHERE false", &plan.marker(), Vec::new());
        self.want(Expect::Tag(b'G'));
        self.pause();
        for number in 0..self.random.between(1, 60) {
            let line = format!("{}\t{number}\t{}\n", self.id, "x".repeat(number));
            self.push(&messages::copy_data(line.as_bytes()));
        }
        self.push(&messages::copy_done());
        self.want(complete("COPY 0"));
        self.expect_end("copies in", false)
    }

    fn server_ends_in_copy_out(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::CutInCopyOut);
        let text = self.unique();
        let sql = format!("COPY (SELECT '{text}') TO STDOUT");
        let wants = vec![
            Expect::Tag(b'H'),
            Expect::Data(format!("{text}\n").into_bytes()),
            Expect::Tag(b'c'),
        ];
        self.marked(&sql, &plan.marker(), wants);
        self.expect_end("copies out", true)
    }

    fn server_ends_before_ready(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::CutBeforeReady);
        if self.random.once_in(2) {
            self.marked_batch(&plan.marker(), &messages::sync());
        } else {
            let text = self.unique();
            let wants = vec![columns(&["?column?"]), row(&[&text]), complete("SELECT 1")];
            self.marked(&format!("SELECT '{text}'"), &plan.marker(), wants);
        }
        self.want(Expect::Ready(self.model.status));
        self.expect_end("waits for ReadyForQuery", false)
    }

    fn server_ends_at_cancel(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::CutAtCancel);
        // PostgreSQL notices neither the end of the connection nor a signal that comes too early.
        self.marked("SELECT pg_sleep(3)", &plan.marker(), Vec::new());
        self.send_only("sleeps, and its server is ended when it cancels");
        self.reach(&plan, "its query never came to PostgreSQL")?;
        self.cancel()?;
        self.want(columns(&["pg_sleep"]));
        self.want(row(&[""]));
        self.expect_end("has cancelled", false)
    }

    fn server_is_terminated(&mut self) -> Result<(), Trouble> {
        let sql = "SELECT pg_terminate_backend(pg_backend_pid())";
        let wants = vec![
            columns(&["pg_terminate_backend"]),
            row(&["t"]),
            complete("SELECT 1"),
            Expect::Ready(self.model.status),
        ];
        self.marked(sql, "", wants);
        // PostgreSQL may answer before it looks at the signal.
        self.marked("SELECT 1", "", vec![columns(&["?column?"]), row(&["1"])]);
        self.expect_end("terminates its server", false)?;
        Coverage::count(&self.run.coverage.terminated);
        Ok(())
    }

    // ----- clients

    fn client_ends_at_parse(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::HoldParseComplete);
        let end = if self.random.once_in(2) { messages::sync() } else { messages::flush() };
        self.marked_batch(&plan.marker(), &end);
        self.send_only("leaves before its Parse is answered");
        self.reach(&plan, "its Parse was never answered")?;
        self.vanish();
        plan.released.set();
        self.counted(Moment::Parse);
        Ok(())
    }

    /// Reads so many bytes of an answer.
    fn get_part(&mut self, bytes: usize) -> Result<(), Trouble> {
        let came = self.wire.raw(bytes, Instant::now() + ANSWER_WITHIN);
        match came.first() {
            Some(b'E') => Err(self.bad_luck(&Frame { tag: b'E', body: came[5..].to_vec() })),
            _ if came.len() < bytes => Err(self.wrong("got no answer to leave in the middle of")),
            _ => Ok(()),
        }
    }

    fn client_ends_in_row(&mut self) -> Result<(), Trouble> {
        let (text, times) = (self.unique(), self.random.between(20_000, 300_000));
        let rows = self.random.between(1, 5);
        let sql = format!("SELECT repeat('{text}', {times}) FROM generate_series(1, {rows})");
        self.marked(&sql, "", Vec::new());
        self.send_only("leaves in the middle of a row");
        let part = self.random.between(60, 5_000);
        self.get_part(part)?;
        self.vanish();
        self.counted(Moment::Row);
        Ok(())
    }

    fn client_ends_in_copy(&mut self) -> Result<(), Trouble> {
        if self.random.once_in(2) {
            let sql = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 3000)) TO STDOUT";
            self.marked(sql, "", Vec::new());
            self.send_only("leaves in the middle of a copy out");
            self.get_part(2_000)?;
        } else {
            self.marked("COPY landing FROM STDIN", "", Vec::new());
            self.send_only("leaves in the middle of a copy in");
            let frame = self.next()?;
            if frame.tag != b'G' {
                return Err(self.bad_luck(&frame));
            }
            let line = format!("{}\t1\t{}\n", self.id, "y".repeat(500));
            let mut data = messages::copy_data(line.as_bytes());
            data.extend(&messages::copy_data(line.as_bytes())[..self.random.between(1, 300)]);
            self.wire.send(&data);
        }
        self.vanish();
        self.counted(Moment::Copy);
        Ok(())
    }

    fn client_ends_before_ready(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::HoldReady);
        self.marked_batch(&plan.marker(), &messages::sync());
        self.send_only("leaves before ReadyForQuery");
        self.reach(&plan, "its query was never completed")?;
        // All of it has been sent on, and so it must arrive.
        loop {
            let frame = self.next()?;
            match frame.tag {
                b'C' => break,
                b'E' => return Err(self.bad_luck(&frame)),
                _ => {}
            }
        }
        self.vanish();
        plan.released.set();
        self.counted(Moment::Ready);
        Ok(())
    }

    fn client_ends_at_cancel(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::Announce);
        self.marked("SELECT pg_sleep(60)", &plan.marker(), Vec::new());
        self.send_only("cancels and leaves");
        self.reach(&plan, "its query never came to PostgreSQL")?;
        let request = self.cancel_request()?;
        let mut wire = Wire::tcp(self.run.howdah);
        wire.send(&request);
        self.vanish();
        if wire.next(Instant::now() + ANSWER_WITHIN) != Received::Closed {
            return Err(self.wrong("its cancel request hangs"));
        }
        self.counted(Moment::Cancel);
        Ok(())
    }

    /// A second connection that never becomes a session.
    fn client_ends_at_login(&mut self) {
        let parameters = [("user", RIDER), ("database", self.run.database.as_str())];
        let packet = messages::startup(PROTOCOL_3_0, &parameters);
        let mut wire = Wire::tcp(self.run.howdah);
        let part = match self.random.once_in(2) {
            true => packet.len(),
            false => self.random.between(1, packet.len() - 1),
        };
        wire.send(&packet[..part]);
        if self.random.once_in(2) {
            wire.abort();
        } else {
            wire.disconnect();
        }
        self.counted(Moment::Login);
    }

    // ----- cancel requests

    fn cancel_request(&self) -> Result<Vec<u8>, Trouble> {
        let key = self.wire.key().ok_or_else(|| self.wrong("it has no key"))?;
        Ok(messages::cancel_request(key))
    }

    /// Cancels what it runs, and waits until the request has been delivered.
    fn cancel(&mut self) -> Result<(), Trouble> {
        let mut wire = Wire::tcp(self.run.howdah);
        wire.send(&self.cancel_request()?);
        match wire.next(Instant::now() + ANSWER_WITHIN) {
            Received::Closed => Ok(()),
            other @ (Received::Frame(_) | Received::Silence) => {
                Err(self.wrong(&format!("its cancel request was answered: {other:?}")))
            }
        }
    }

    /// A request while nothing runs changes nothing.
    pub(crate) fn cancel_nothing(&mut self) -> Result<(), Trouble> {
        self.cancel()?;
        Coverage::count(&self.run.coverage.stray_cancels);
        let text = self.unique();
        let wants = vec![columns(&["?column?"]), row(&[&text]), complete("SELECT 1")];
        self.marked(&format!("SELECT '{text}'"), "", wants);
        self.want_ready();
        self.play("after a cancel request for nothing")
    }

    /// A request while a query runs ends that query only.
    pub(crate) fn cancel_a_query(&mut self) -> Result<(), Trouble> {
        let plan = self.run.evil.plan(Act::Announce);
        self.marked("SELECT pg_sleep(60)", &plan.marker(), Vec::new());
        self.send_only("sleeps until it is cancelled");
        self.reach(&plan, "its query never came to PostgreSQL")?;
        // PostgreSQL ignores a signal that comes before it has begun with the query.
        let end = Instant::now() + ANSWER_WITHIN;
        let first = loop {
            self.cancel()?;
            match self.wire.next(Instant::now() + CANCEL_AGAIN) {
                Received::Frame(frame) if frame.tag == b'S' => {}
                Received::Frame(frame) => break frame,
                Received::Closed => return Err(self.wrong("was closed by its own cancel request")),
                Received::Silence if Instant::now() < end => {}
                Received::Silence => return Err(self.wrong("its cancel request has no effect")),
            }
        };
        let mut frame = first;
        if frame.tag == b'T' {
            frame = self.next()?;
        }
        if !Expect::Error("57014").matches(&frame) {
            return Err(self.bad_luck(&frame));
        }
        let frame = self.next()?;
        if !Expect::Ready(b'I').matches(&frame) {
            return Err(self.wrong(&format!("{} after 57014", frame.line())));
        }
        Coverage::count(&self.run.coverage.cancelled);
        Ok(())
    }
}
