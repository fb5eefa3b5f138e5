//! What the server gets of each message of the client's.
//!
//! A message is opened only if its name or text matters; everything else passes by length. Texts are
//! read by the session's own rules.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::effects::Effects;
use super::flow::End;
use super::gate::Gate;
use super::pieces::Pieces;
use super::route::StatePolicy;
use super::state_check::Pin;
use super::statements::{Link, ties_refused};
use super::text_cache::Text;
use super::unbound::{HOLD_MAX, is_due};
use crate::backend::note::Note;
use crate::backend::state::{Kind, Reply, kind_of};
use crate::fault::{Fault, Side};
use crate::metrics::{Run, Traffic};
use crate::sql::{self, Readable, Rules};
use crate::wire::{self, HEADER_LEN, Header, client};

/// What became of a message.
pub(super) enum Taken {
    /// This many of its bytes; the rest passes by length.
    Bytes(usize),
    /// More of it has to be there.
    Incomplete,
    /// It has to wait behind this gate.
    Later(Gate),
}

/// What is known of a text.
pub(super) struct ReadText<'a> {
    /// What running it may do.
    pub(super) effects: Effects,
    /// Which statement it is, for the figures.
    pub(super) run: Option<Run>,
    /// The text as it was read; `None` where the rules are not known.
    pub(super) readable: Option<Readable<'a>>,
}

/// A transaction that is read only runs on a replica, and wants to leave something there.
fn left_on_replica() -> Fault {
    let text = "statement would leave session state on a replica";
    Fault::query(Side::Proxy, "0A000", text).hint(
        "Begin the transaction without READ ONLY, or with /* howdah: primary */ in front, so that it \
         runs on the primary.",
    )
}

/// Whether the message may be `EXPLAIN ROUTE`. Nearly no text begins so.
#[inline]
fn may_ask_for_route(header: Header, body: &[u8]) -> bool {
    let text = client::text_in_front(header.tag, body).map(<[u8]>::trim_ascii_start);
    text.and_then(<[u8]>::first).is_some_and(|first| first.eq_ignore_ascii_case(&b'e'))
}

impl Client {
    /// One message for the server. Its bytes that pass as they are, pass by length.
    pub(super) fn take_message(
        &mut self,
        bound: &mut Bound,
        header: Header,
        data: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Result<Taken, End> {
        let replies = &bound.server().replies;
        match header.tag {
            client::TERMINATE => return Err(End::Left),
            client::SYNC => {}
            _ if replies.is_skipping() => return Ok(self.pass(Passing::Drop, header)),
            _ => {}
        }
        if !is_due(header, data) {
            return Ok(Taken::Incomplete);
        }
        let body = data.get(HEADER_LEN..header.total().min(data.len())).unwrap_or_default();
        if header.tag == client::FLUSH && header.body > 0 && !replies.is_copying_in() {
            // The server answers with an error, and skips what follows: as it does behind a Close.
            drop(bound.server().replies.sent(Kind::Close, Reply::Forward, None));
            return Ok(self.pass(Passing::Forward, header));
        }
        let taken = self.take_whole(bound, header, body, pieces);
        let ends = client::message_type(header.tag).is_some_and(|kind| kind.ends_with_ready);
        if ends && matches!(taken, Taken::Bytes(_)) {
            bound.end_batch();
            if let Some(in_flight) = &mut self.in_flight {
                in_flight.end();
            }
        }
        Ok(taken)
    }

    /// A message of which enough is there.
    fn take_whole(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        if self.may_be_ours(header, body)
            && let Some(taken) = self.take_ours(bound, header, body, pieces)
        {
            return taken;
        }
        self.take_read(bound, header, body, pieces)
    }

    /// Whether a message may be answered by us in the place of the server. Nearly none is.
    #[inline]
    fn may_be_ours(&self, header: Header, body: &[u8]) -> bool {
        self.may_be_about_own(header, body) || may_ask_for_route(header, body)
    }

    #[cold]
    fn take_ours(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Option<Taken> {
        if self.may_be_about_own(header, body)
            && let Some(taken) = self.take_own(bound, header, body, pieces)
        {
            return Some(taken);
        }
        let own = self.explain_route(bound, header, body)?;
        Some(self.take_instead(bound, header, &own, pieces))
    }

    /// A message that a server understands.
    #[inline]
    pub(super) fn take_read(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        if self.keeps_server() {
            return self.take_any(bound, header, body, pieces);
        }
        match header.tag {
            client::QUERY => self.take_query(bound, header, body, pieces),
            client::PARSE | client::BIND | client::DESCRIBE | client::CLOSE | client::EXECUTE => {
                self.take_of_batch(bound, header, body, pieces)
            }
            tag => {
                if tag == client::FUNCTION_CALL {
                    self.note_arguments(body);
                    self.record_effects(bound, Effects::UNSEEN);
                }
                if let Some(kind) = kind_of(tag, 0) {
                    drop(bound.server().replies.sent(kind, Reply::Forward, None));
                }
                if tag == client::SYNC && header.body == 0 {
                    self.hold_what_follows(bound);
                }
                self.pass(Passing::Forward, header)
            }
        }
    }

    /// Arguments of a FunctionCall may be names of settings.
    fn note_arguments(&mut self, body: &[u8]) {
        let custom = &mut self.state.custom;
        _ = client::arguments(body, |value| {
            if let Some(name) = sql::custom_setting_name(value) {
                custom.add(&name);
            }
        });
    }

    #[inline]
    pub(super) fn pass(&mut self, pass: Passing, header: Header) -> Taken {
        self.pipe.pass = pass;
        self.pipe.passing = header.total();
        Taken::Bytes(0)
    }

    /// The server's side of a translation.
    pub(super) fn link<'a>(&'a self, bound: &'a mut Bound, pieces: &'a mut Pieces<'_>) -> Link<'a> {
        let traffic: &Traffic = self.traffic();
        let max = self.options.max_prepared_statements;
        let now = self.state.reading.now();
        let read_under = now;
        Link { server: bound.lease.server(), out: pieces.insert(), max, traffic, read_under }
    }

    /// A message of a session that keeps its server: nothing is translated.
    fn take_any(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let (run, effects) = self.inspect_passing(bound, header, body);
        if let Some(taken) = self.follow_own(bound, (header, body), effects, pieces) {
            return taken;
        }
        if effects.contains(Effects::VACATES_DATABASE) {
            let view = client::read_parse(body).filter(|_| header.tag == client::PARSE);
            let query = body.strip_suffix(&[0]).unwrap_or(body);
            self.vacate_databases(view.map_or(query, |view| view.sql));
        }
        let target = body.first().copied().unwrap_or(0);
        if let Some(kind) = kind_of(header.tag, target) {
            let runs = matches!(kind, Kind::Query | Kind::Execute);
            let note = run.filter(|_| runs).map(Note::Run);
            drop(bound.server().replies.sent(kind, Reply::Forward, note));
        }
        self.record_resets(bound, (header.tag, body), effects);
        self.state.reading.sent(effects);
        Self::set_lasting_if_writing(bound, effects);
        bound.effects |= effects
            & (Effects::REDEFINES | Effects::REMOVES | Effects::KEEPS_SERVER | Effects::WRITES);
        let is_whole = body.len() == header.body;
        if is_whole && matches!(header.tag, client::QUERY | client::SYNC) {
            self.hold_what_follows(bound);
        }
        self.pass(Passing::Forward, header)
    }

    /// A message of a session that keeps its server: the statement, for the figures, and what it may
    /// do.
    fn inspect_passing(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
    ) -> (Option<Run>, Effects) {
        let is_whole = body.len() == header.body;
        let running = &mut bound.running;
        match header.tag {
            client::QUERY => {
                let sql = body.strip_suffix(&[0]).filter(|_| is_whole);
                self.read_passing(sql)
            }
            client::PARSE => {
                let view = client::read_parse(body).filter(|_| is_whole);
                let (run, effects) = self.read_passing(view.map(|view| view.sql));
                if let Some(view) = view {
                    running.record_prepare(view.name, run);
                }
                // They are those of its Execute as well: a Parse alone is rare.
                (run, effects)
            }
            client::BIND => {
                if let Some(view) = client::read_bind(body) {
                    let run = running.run_of(view.statement);
                    running.record_bind(view.portal, run);
                }
                (None, Effects::empty())
            }
            // Which statement it runs may not be known.
            client::EXECUTE => (running.executed_by(body), Effects::WRITES),
            client::FUNCTION_CALL => (None, Effects::UNSEEN),
            _ => (None, Effects::empty()),
        }
    }

    fn read_passing(&mut self, sql: Option<&[u8]>) -> (Option<Run>, Effects) {
        let database = &self.route.database;
        let catalog = Some(&*self.route.catalog);
        let readable = sql.and_then(|sql| self.state.reading.read(sql));
        let mut texts = self.worker.texts.borrow_mut();
        let Some(readable) = readable else {
            return (texts.run_unread(database), Effects::UNSEEN);
        };
        let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
        let custom = &mut self.state.custom;
        let (effects, run) = texts.read(text, &mut |name| custom.add(name));
        drop(texts);
        (run, self.with_hidden_writes(effects, Some(&readable)))
    }

    /// Reads a text. `Err`: what is on its way decides how.
    pub(super) fn read_text<'a>(
        &mut self,
        bound: &mut Bound,
        sql: &'a [u8],
    ) -> Result<ReadText<'a>, ()> {
        // Nobody knows what a transaction that has changed the catalog has made of it.
        let effects = bound.effects;
        let server = bound.server();
        let readable = self.state.reading.read(sql);
        // A copy waits for more of the client's, so that nothing can be waited for behind it.
        let can_wait = !server.replies.awaits_copy_end();
        if readable.is_none() && can_wait && server.replies.awaits_ready() {
            return Err(());
        }
        let database = &self.route.database;
        let catalog = (!effects.intersects(Effects::REDEFINES)).then_some(&*self.route.catalog);
        let mut texts = self.worker.texts.borrow_mut();
        let (effects, run) = match &readable {
            Some(readable) => {
                let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
                let custom = &mut self.state.custom;
                texts.read(text, &mut |name| custom.add(name))
            }
            None => {
                // Under whatever rules it is read: these are settings that it may name.
                for rules in [Rules::safe(true), Rules::safe(false)] {
                    let text = Text { database, rules, catalog, sql };
                    let custom = &mut self.state.custom;
                    texts.effects(text, &mut |name| custom.add(name));
                }
                (Effects::UNSEEN, texts.run_unread(database))
            }
        };
        drop(texts);
        let effects = self.with_hidden_writes(effects, readable.as_ref());
        Ok(ReadText { effects, run, readable })
    }

    /// Records what a message that is being sent may do.
    #[inline]
    pub(super) fn record_effects(&mut self, bound: &mut Bound, effects: Effects) {
        self.state.reading.sent(effects);
        if effects.is_empty() {
            return;
        }
        if self.keeping.is_each() && effects.contains(Effects::UNKNOWN_SETTINGS) {
            self.pin_unknown_settings(bound);
        }
        bound.effects |= effects;
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.add(effects);
            bound.note_reported(effects);
        }
        if bound.pin == Some(Pin::PreparedStatement) && effects.contains(Effects::NAMES) {
            // It may have dropped the one that keeps the server.
            bound.effects |= Effects::OBJECTS;
        }
        Self::set_lasting_if_writing(bound, effects);
        if self.state_policy() != StatePolicy::Ignore {
            if effects.contains(Effects::LOADS) {
                bound.pin = Some(Pin::Library);
            } else if effects.contains(Effects::LEAVES_STATE) {
                bound.pin = Some(Pin::State);
            }
        }
    }

    /// What is being sent may make settings that the session's other server cannot be given. Behind a change
    /// of the catalog any name may do it; that is not held against the session.
    fn pin_unknown_settings(&self, bound: &mut Bound) {
        let is_known = !bound.effects.intersects(Effects::REDEFINES)
            && self.route.catalog.snapshot().is_some();
        if is_known && bound.reading.is_none() {
            bound.pin = Some(Pin::UnknownSettings);
        }
    }

    /// The effects of the client's statement of this name. One that was read when the catalog was not known
    /// is read again, where much depends on it.
    #[inline]
    pub(super) fn effects_of_statement(&mut self, name: &[u8], effects: Effects) -> Effects {
        if self.keeping.is_each() && effects.contains(Effects::UNKNOWN_SETTINGS) {
            self.read_statement_again(name, effects)
        } else {
            effects
        }
    }

    fn read_statement_again(&mut self, name: &[u8], effects: Effects) -> Effects {
        let sql = self.state.statements.text_of(name);
        let Some(readable) = sql.and_then(|sql| self.state.reading.read(sql)) else {
            return effects;
        };
        let (database, catalog) = (&self.route.database, Some(&*self.route.catalog));
        let text = Text { database, rules: readable.rules, catalog, sql: &readable.text };
        let now = self.worker.texts.borrow_mut().effects(text, &mut |_| true);
        if now.contains(Effects::UNKNOWN_SETTINGS) {
            effects
        } else {
            effects - Effects::UNKNOWN_SETTINGS
        }
    }

    /// Why a text that does this is not run, if it is not.
    #[inline]
    pub(super) fn refusal(&self, bound: &Bound, effects: Effects) -> Option<Fault> {
        const LEFT: Effects =
            Effects::TIES.union(Effects::KEEPS_SERVER).union(Effects::COMPUTES_SETTING);
        if effects.intersects(LEFT) { self.refusal_to_leave(bound, effects) } else { None }
    }

    fn refusal_to_leave(&self, bound: &Bound, effects: Effects) -> Option<Fault> {
        if bound.reading.is_some() {
            return Some(left_on_replica());
        }
        let is_refused = self.state_policy() == StatePolicy::Error;
        (effects.contains(Effects::TIES) && is_refused).then(ties_refused)
    }

    fn set_lasting_if_writing(bound: &mut Bound, effects: Effects) {
        let is_idle = bound.lease.server().replies.status() == wire::IDLE;
        if effects.contains(Effects::COMMITS) || (is_idle && effects.contains(Effects::WRITES)) {
            bound.set_lasting();
        }
    }

    /// Whether an answer that is awaited decides what the client's names mean. A copy waits for more
    /// of the client's, so that nothing can be waited for behind it.
    pub(super) fn must_await_names(&self, bound: &mut Bound) -> bool {
        let server = bound.server();
        !server.replies.awaits_copy_end() && self.state.statements.are_in_doubt(server)
    }

    /// Waits until everything that was sent is answered.
    pub(super) fn wait_for_answers(bound: &mut Bound, pieces: &mut Pieces<'_>) -> Taken {
        if bound.server().replies.has_open_batch() {
            client::bare(pieces.insert(), client::FLUSH);
        }
        Taken::Later(Gate::Answers)
    }

    fn take_query(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let is_whole = body.len() == header.body;
        let sql = body.strip_suffix(&[0]).filter(|_| is_whole && header.body <= HOLD_MAX);
        let text = match sql {
            Some(sql) => match self.read_text(bound, sql) {
                Ok(text) => text,
                Err(()) => return Self::wait_for_answers(bound, pieces),
            },
            None => {
                let run = self.worker.texts.borrow_mut().run_unread(&self.route.database);
                ReadText { effects: Effects::UNSEEN, run, readable: None }
            }
        };
        let waits = text.effects.contains(Effects::NAMES) && self.must_await_names(bound);
        if waits || Self::must_await_sequences(bound, text.effects) {
            return Self::wait_for_answers(bound, pieces);
        }
        if let Some(fault) = self.refusal(bound, text.effects) {
            self.link(bound, pieces).refuse_query(fault);
            return Taken::Bytes(HEADER_LEN + body.len());
        }
        if let Some(taken) = self.follow_own(bound, (header, body), text.effects, pieces) {
            return taken;
        }
        if text.effects.contains(Effects::VACATES_DATABASE) {
            self.vacate_databases(sql.unwrap_or_default());
        }
        if text.effects.intersects(Effects::CHECKED | Effects::MAY_DEFINE) {
            self.lend_names(bound, sql.unwrap_or_default(), pieces);
        }
        self.follow_sequences(bound, text.effects, pieces);
        self.state.statements.query(bound.server());
        if text.effects.contains(Effects::NAMES)
            && let (Some(readable), Some(sql)) = (&text.readable, sql)
        {
            let mentions = sql::mentions(&readable.text, readable.rules);
            if !mentions.is_empty() {
                self.send_mentioning(bound, (sql, &text), &mentions, pieces);
                return Taken::Bytes(header.total());
            }
        }
        self.record_effects(bound, text.effects);
        let note = text.run.map(Note::Run);
        drop(bound.server().replies.sent(Kind::Query, Reply::Forward, note));
        if is_whole {
            self.hold_what_follows(bound);
        }
        self.pass(Passing::Forward, header)
    }

    /// In front of a Query that may run a text which nobody sees: prepared statements whose names stand
    /// in it are there under these names too. One that cannot be prepared any more is not; PREPARE is no
    /// part of the transaction, so that a savepoint around it saves only that.
    fn lend_names(&mut self, bound: &mut Bound, sql: &[u8], pieces: &mut Pieces<'_>) {
        let replies = &bound.server().replies;
        let in_transaction = replies.status() == wire::IN_TRANSACTION;
        let is_unknown = replies.has_open_batch() || replies.awaits_ready();
        if self.keeps_server() || is_unknown || replies.status() == wire::FAILED {
            return;
        }
        for (name, text) in self.state.statements.named_anywhere(sql) {
            if bound.lent.contains(&name) {
                continue;
            }
            let mut link = self.link(bound, pieces);
            let nobody = || Note::Answer(Box::default());
            if in_transaction {
                link.run_query(b"SAVEPOINT \"howdah: lent name\"", nobody());
            }
            link.run_query(&text, nobody());
            if in_transaction {
                link.run_query(b"ROLLBACK TO \"howdah: lent name\"", nobody());
                link.run_query(b"RELEASE \"howdah: lent name\"", nobody());
            }
            bound.lent.push(name);
            // They are taken away before the server is asked what else there is.
            bound.effects |= Effects::OBJECTS;
        }
    }

    /// What the queries may do that a text prepares.
    pub(super) fn prepared_effects(
        &mut self,
        bound: &mut Bound,
        text: &ReadText<'_>,
        mentions: &[sql::Mention],
    ) -> Vec<Effects> {
        let Some(readable) = &text.readable else { return Vec::new() };
        let queries = mentions.iter().filter_map(|mention| {
            let sql::Mention::Prepare { query, .. } = mention else { return None };
            readable.text.get(query.clone())
        });
        let database = &self.route.database;
        let catalog =
            (!bound.effects.intersects(Effects::REDEFINES)).then_some(&*self.route.catalog);
        let mut texts = self.worker.texts.borrow_mut();
        queries
            .map(|sql| {
                let text = Text { database, rules: readable.rules, catalog, sql };
                texts.effects(text, &mut |name| self.state.custom.add(name))
            })
            .collect()
    }

    /// A Query whose text mentions prepared statements.
    fn send_mentioning(
        &mut self,
        bound: &mut Bound,
        (sql, text): (&[u8], &ReadText<'_>),
        mentions: &[sql::Mention],
        pieces: &mut Pieces<'_>,
    ) {
        let found = (text, mentions);
        let effects = self.with_statements(bound, pieces, found, |statements, link, context| {
            let query = statements.query_text(link, sql, context);
            client::query(link.out, &query.sql);
            link.sent(Kind::Query, Reply::Forward, Some(Note::Texts(Box::new(query.changes))));
            query.effects
        });
        self.record_effects(bound, text.effects | effects);
        bound.gate = Some(Gate::Answers);
    }

    /// The text fails while anybody is connected to a database that it names, and waits five seconds for
    /// them to leave: servers that nobody uses are closed.
    pub(super) fn vacate_databases(&self, sql: &[u8]) {
        let Some(readable) = self.state.reading.read(sql) else { return };
        let address = &self.route.account.address;
        let names = sql::databases_vacated(&readable.text, readable.rules.are_conforming());
        for name in &names {
            self.worker.common.pools.close_idle_servers_of(name, Some(address));
        }
    }

    /// A batch has been sent whole. What is behind it may use defaults that are still to be restored.
    /// Not of a message whose rest is still to come: behind a gate the client is not read.
    #[inline]
    pub(super) fn hold_what_follows(&mut self, bound: &mut Bound) {
        if bound.effects.contains(Effects::RESETS) && self.has_defaults(bound.lease.server()) {
            bound.gate = Some(Gate::Answers);
        }
    }
}
