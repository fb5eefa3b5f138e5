//! Messages of the extended protocol: their names are the client's own.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::effects::Effects;
use super::forward::{ReadText, Taken};
use super::gate::Gate;
use super::own::not_alone;
use super::pieces::Pieces;
use super::route::StatePolicy;
use super::statements::{Link, Outcome, ParseContext, Statements, ties_refused};
use super::text_cache::Text;
use super::unbound::PARSE_MAX;
use crate::backend::note::Note;
use crate::backend::server::Server;
use crate::backend::state::{Kind, Reply, kind_of};
use crate::sql::{self, Mention, Readable};
use crate::wire::{self, HEADER_LEN, Header, client};
use std::rc::Rc;
use std::sync::Arc;

/// Whether the text means another moment each time that it is parsed.
fn names_moment(text: &Readable<'_>) -> bool {
    sql::names_moment(&text.text, text.rules)
}

/// Whether this is a Bind or Describe of the unnamed statement, which the server may not have been told
/// of after all. A copy waits for more of the client's, so that nothing can be waited for behind it.
fn uses_doubtful_unnamed(server: &Server, tag: u8, body: &[u8]) -> bool {
    if !Statements::unnamed_is_in_doubt(server) || server.replies.awaits_copy_end() {
        return false;
    }
    match tag {
        client::BIND => client::read_bind(body).is_some_and(|bind| bind.statement.is_empty()),
        client::DESCRIBE => client::read_target(body)
            .is_some_and(|target| target.kind == b'S' && target.name.is_empty()),
        _ => false,
    }
}

impl Client {
    /// Parse, Bind, Describe, Execute and Close.
    pub(super) fn take_of_batch(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        if self.must_await_names(bound) || uses_doubtful_unnamed(bound.server(), header.tag, body) {
            return Self::wait_for_answers(bound, pieces);
        }
        match header.tag {
            client::PARSE => self.take_parse(bound, header, body, pieces),
            client::BIND => self.take_bind(bound, header, body, pieces),
            client::EXECUTE => self.take_execute(bound, header, body, pieces),
            _ => self.take_target(bound, header, body, pieces),
        }
    }

    fn take_parse(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let reading = self.state.reading.sign();
        let is_named = body.first() != Some(&0);
        if header.total() > PARSE_MAX {
            return self.take_long_parse(bound, header, body, pieces);
        }
        let server = bound.lease.server();
        if !is_named && self.state.statements.parse_again(server, body, reading).is_some() {
            return self.pass(Passing::Forward, header);
        }
        let Some(view) = client::read_parse(body) else {
            // The server says what is wrong with it.
            drop(server.replies.sent(Kind::Parse, Reply::Forward, None));
            return self.pass(Passing::Forward, header);
        };
        let Ok(mut text) = self.read_text(bound, view.sql) else {
            return Self::wait_for_answers(bound, pieces);
        };
        if text.effects.contains(Effects::NAMES_OWN) {
            self.link(bound, pieces).refuse(not_alone());
            return Taken::Bytes(header.total());
        }
        if self.may_reach_session(view.types) {
            text.effects |= Effects::UNSEEN;
        }
        let mentions = match &text.readable {
            Some(readable) if text.effects.contains(Effects::NAMES) => {
                sql::mentions(&readable.text, readable.rules)
            }
            _ => Vec::new(),
        };
        self.traffic().client_parses.add(u64::from(is_named));
        self.with_statements(bound, pieces, (&text, &mentions), |statements, link, context| {
            statements.parse(link, body, context);
        });
        Taken::Bytes(header.total())
    }

    /// A Parse that is too long to be kept passes by length behind its name.
    fn take_long_parse(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        match wire::cstring(body) {
            Some((b"", _)) => self.state.statements.parse_long(bound.server()),
            Some((name, _)) => {
                let head = name.len() + 1;
                let rest = header.body - head;
                let text = ReadText { effects: Effects::UNSEEN, run: None, readable: None };
                self.with_statements(bound, pieces, (&text, &[]), |statements, link, context| {
                    statements.parse_long_named(link, name, rest, context);
                });
                (self.pipe.pass, self.pipe.passing) = (Passing::Forward, rest);
                return Taken::Bytes(HEADER_LEN + head);
            }
            // The server says that it does not end.
            None => drop(bound.server().replies.sent(Kind::Parse, Reply::Forward, None)),
        }
        self.pass(Passing::Forward, header)
    }

    /// Whether values of one of these declared types may do something to the session when they are
    /// read. Types below this number are PostgreSQL's own.
    fn may_reach_session(&self, types: &[u8]) -> bool {
        const FIRST_USER_OID: u32 = 16_384;
        let mut oids = types
            .get(2..)
            .unwrap_or_default()
            .chunks_exact(4)
            .map(|oid| oid.first_chunk::<4>().map_or(0, |oid| u32::from_be_bytes(*oid)));
        oids.any(|oid| {
            oid >= FIRST_USER_OID
                && self
                    .route
                    .catalog
                    .snapshot()
                    .is_none_or(|snapshot| snapshot.type_may_touch_session(oid))
        })
    }

    /// Runs an operation on the client's statements.
    pub(super) fn with_statements<T>(
        &mut self,
        bound: &mut Bound,
        pieces: &mut Pieces<'_>,
        (text, mentions): (&ReadText<'_>, &[Mention]),
        operation: impl FnOnce(&mut Statements, &mut Link<'_>, &ParseContext<'_>) -> T,
    ) -> T {
        let prepared = if mentions.is_empty() {
            Vec::new()
        } else {
            self.prepared_effects(bound, text, mentions)
        };
        let worker = Rc::clone(&self.worker);
        let settings = Arc::clone(&self.state.plan_settings);
        let sets = bound.effects.intersects(Effects::SETS | Effects::SETTINGS);
        let reading = &self.state.reading;
        let read_under = text.readable.as_ref().map(|readable| reading.read_under(readable.rules));
        let context = ParseContext {
            table: &worker.common.statements,
            settings: &settings,
            read_under,
            mentions,
            prepared: &prepared,
            effects: text.effects,
            is_private: sets || text.readable.as_ref().is_none_or(names_moment),
            run: text.run,
            reading: self.state.reading.sign(),
        };
        let traffic = self.route.traffic.of(usize::from(self.worker.id.0));
        let max = self.options.max_prepared_statements;
        let now = self.state.reading.now();
        let mut link = Link {
            server: bound.lease.server(),
            out: pieces.insert(),
            max,
            traffic,
            read_under: now,
        };
        operation(&mut self.state.statements, &mut link, &context)
    }

    fn take_bind(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let Some(view) = client::read_bind(body) else {
            drop(bound.server().replies.sent(Kind::Bind, Reply::Forward, None));
            return self.pass(Passing::Forward, header);
        };
        let effects = self.state.statements.effects_of(view.statement);
        if Self::must_await_sequences(bound, effects) {
            return Self::wait_for_answers(bound, pieces);
        }
        if effects.contains(Effects::TIES) && self.options.state_policy == StatePolicy::Error {
            self.link(bound, pieces).refuse(ties_refused());
            (self.pipe.pass, self.pipe.passing) = (Passing::Drop, header.total());
            return Taken::Bytes(0);
        }
        if effects.contains(Effects::NAMED_BY_PARAMETER) && Self::names_own_setting(body) {
            self.link(bound, pieces).refuse(not_alone());
            (self.pipe.pass, self.pipe.passing) = (Passing::Drop, header.total());
            return Taken::Bytes(0);
        }
        if self.follows_steps(effects)
            && let Some(taken) = self.follow_steps_of(bound, view.statement, pieces)
        {
            return taken;
        }
        if effects.contains(Effects::VACATES_DATABASE)
            && let Some(sql) = self.state.statements.text_of(view.statement)
        {
            self.vacate_databases(sql);
        }
        self.follow_sequences(bound, effects, pieces);
        let named = Effects::UNKNOWN_SETTINGS | Effects::NAMED_BY_PARAMETER;
        if effects.intersects(named) {
            self.record_settings_of_parameters(bound, body, header.body);
        }
        let as_is = self.state.statements.bind_as_is(bound.lease.server(), &view);
        if let Some((effects, run)) = as_is {
            self.record_effects(bound, effects);
            drop(bound.server().replies.sent(Kind::Bind, Reply::Forward, None));
            self.record_portal(bound, &view, run);
            return self.pass(Passing::Forward, header);
        }
        let rest = header.body - view.names_len;
        self.traffic().binds.add(u64::from(!view.statement.is_empty()));
        let text = ReadText { effects, run: None, readable: None };
        let outcome =
            self.with_statements(bound, pieces, (&text, &[]), |statements, link, context| {
                statements.bind(link, &view, rest, context)
            });
        match outcome {
            Outcome::AskedFirst => return Taken::Later(Gate::Shape),
            Outcome::Refused => self.pipe.pass = Passing::Drop,
            Outcome::Sent(effects) => {
                self.record_effects(bound, effects);
                let run = self.state.statements.run_of(view.statement);
                self.record_portal(bound, &view, run);
                self.pipe.pass = Passing::Forward;
            }
        }
        self.pipe.passing = rest;
        Taken::Bytes(HEADER_LEN + view.names_len)
    }

    /// The statement may set a setting that one of its parameters names.
    fn record_settings_of_parameters(&mut self, bound: &mut Bound, body: &[u8], length: usize) {
        let custom = &mut self.state.custom;
        let mut fits = true;
        let read = client::parameters(body, |value| {
            if let Some(name) = sql::custom_setting_name(value) {
                fits &= custom.add(&name);
            }
        });
        bound.effects |= Effects::SETTINGS;
        if read.is_none() || body.len() < length || !fits {
            bound.effects |= Effects::UNKNOWN_SETTINGS;
        }
    }

    /// A portal runs this statement, for the figures.
    #[inline]
    fn record_portal(
        &mut self,
        bound: &mut Bound,
        view: &client::Bind<'_>,
        run: Option<crate::metrics::Run>,
    ) {
        if !self.worker.common.queries.is_on() {
            return;
        }
        let mut texts = self.worker.texts.borrow_mut();
        let mut run = run.filter(|run| texts.has(*run));
        if run.is_none()
            && let Some(sql) = self.state.statements.text_of(view.statement)
            && let Some(readable) = self.state.reading.read(sql)
        {
            let (database, catalog) = (&self.route.database, None);
            run = texts.run(Text { database, rules: readable.rules, catalog, sql: &readable.text });
            drop(texts);
            self.state.statements.set_run(view.statement, run);
        }
        bound.running.record_bind(view.portal, run);
    }

    fn take_execute(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let run = bound.running.executed_by(body);
        let note = if self.state.statements.has_portals() {
            let portal = wire::cstring(body).map_or(&[][..], |(name, _)| name);
            let text = ReadText { effects: Effects::empty(), run, readable: None };
            let changes =
                self.with_statements(bound, pieces, (&text, &[]), |statements, link, _| {
                    statements.execute(link, portal)
                });
            changes.map(|mut changes| {
                changes.run = run;
                Note::Texts(Box::new(changes))
            })
        } else {
            None
        };
        let note = note.or(run.map(Note::Run));
        drop(bound.server().replies.sent(Kind::Execute, Reply::Forward, note));
        self.pass(Passing::Forward, header)
    }

    /// Describe and Close.
    fn take_target(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let Some(target) = client::read_target(body).filter(|target| target.kind == b'S') else {
            if let Some(kind) = kind_of(header.tag, body.first().copied().unwrap_or(0)) {
                let portal = client::read_target(body).filter(|_| kind == Kind::DescribePortal);
                let statements = &mut self.state.statements;
                let note = portal.and_then(|portal| statements.describe_portal(portal.name));
                drop(bound.server().replies.sent(kind, Reply::Forward, note));
            }
            return self.pass(Passing::Forward, header);
        };
        let text = ReadText { effects: Effects::empty(), run: None, readable: None };
        let is_close = header.tag == client::CLOSE;
        let outcome =
            self.with_statements(bound, pieces, (&text, &[]), |statements, link, context| {
                if is_close {
                    statements.close(link, target.name);
                    return Outcome::Sent(Effects::empty());
                }
                statements.describe(link, target.name, context)
            });
        match outcome {
            Outcome::AskedFirst => Taken::Later(Gate::Shape),
            Outcome::Sent(_) | Outcome::Refused => Taken::Bytes(header.total()),
        }
    }
}
