//! A client's prepared statements, on whatever server it is given.
//!
//! Owns the client's names and its unnamed statement, and turns Parse, Bind, Describe, Close and the
//! texts that mention prepared statements into what the leased server has to be told. Names made by
//! Parse and by SQL's PREPARE are one namespace, as on a server. Never reads or writes a socket. Keeps the
//! invariant that a name means the same to the client as it would on a server of its own:
//! PostgreSQL itself produces each error, because a message that must fail is sent so that it fails
//! there.
//!
//! Changes are made when a message is sent and undone when its answer does not come: the notes in
//! the server's queue say how. A Parse of the client's is always parsed by the server, so that it
//! means what the tables look like now; what is shared is the work of preparing a statement again on
//! other servers.

mod alone;
mod answers;
mod errors;
mod link;
mod named;
mod rewrite;
mod sql_commands;

pub(super) use answers::opened_by_statements;
pub(super) use link::Link;

use super::client_handle::ClientHandle;
use super::effects::Effects;
use super::state_check::Pin;
use crate::backend::note::{Named, Note, Original, Unnamed};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::backend::state::{Kind, Reply};
use crate::backend::statements::{Key, StatementTable};
use crate::fault::{Fault, Side};
use crate::metrics::Run;
use crate::sql::{Mention, ReadUnder};
use crate::wire::client;
use link::harmless;
use named::{NamedStatements, significant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a buffer that an idle client may keep.
const SPARE_MAX: usize = 512;

/// No client's unnamed statement has this serial; a server that may hold any has it.
const UNCERTAIN: u64 = u64::MAX;

static SERIALS: AtomicU64 = AtomicU64::new(1);

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Outcome {
    /// The server has been told what it has to be told; running what was bound may do this.
    Sent(Effects),
    /// The server was asked something first: try again when it owes nothing.
    AskedFirst,
    /// Something that fails was sent in its place.
    Refused,
}

/// What a Parse, or a text that mentions prepared statements, is read under.
#[derive(Debug)]
pub(super) struct ParseContext<'a> {
    /// All statements of the process.
    pub table: &'a Arc<StatementTable>,
    /// The client's settings that matter to a plan.
    pub settings: &'a Arc<Settings>,
    /// How the server reads the text; `None` when that is not known.
    pub read_under: Option<ReadUnder>,
    /// What it mentions.
    pub mentions: &'a [Mention],
    /// What the queries may do that it prepares, in their order.
    pub prepared: &'a [Effects],
    /// What running the text may do.
    pub effects: Effects,
    /// Something was set that lasts no longer than the transaction, or is not known yet: what is
    /// prepared now is nobody else's.
    pub is_private: bool,
    /// Which statement it is, for the figures.
    pub run: Option<Run>,
    /// The sign of the rules by which it was read.
    pub reading: u8,
}

/// One client's prepared statements.
#[derive(Debug)]
pub(super) struct Statements {
    named: NamedStatements,
    unnamed: Option<Unnamed>,
    /// The buffer of the unnamed statement before this one, to be used again.
    spare: Vec<u8>,
    /// Changes to names that are not acknowledged yet.
    unacknowledged: u32,
    /// The statement that the unnamed portal runs, if its client has not been told yet what its
    /// rows look like.
    bound: Option<u64>,
    /// The statement whose rows a server has just been asked about, for the message that comes next.
    asked: Option<u64>,
    /// The last statement that could not be prepared in front of a Query that needs it, and why.
    failed: Option<(u64, Box<[u8]>)>,
    /// Portals whose texts mention prepared statements.
    portals: Vec<(Box<[u8]>, Arc<Original>)>,
}

/// `session_state_policy = "error"`.
pub(super) fn ties_refused() -> Fault {
    let text = "statement would leave session state on a pooled server";
    Fault::query(Side::Operator, "0A000", text).hint(
        "session_state_policy refuses temporary tables, session locks, WITH HOLD cursors, LISTEN \
         and LOAD in transaction pooling.",
    )
}

fn changed_result() -> Fault {
    Fault::query(Side::Server, "0A000", "cached plan must not change result type")
        .origin("plancache.c", "RevalidateCachedQuery")
}

impl Statements {
    /// Of the client with this handle, who has none yet.
    pub(super) fn new(handle: &Arc<ClientHandle>) -> Self {
        Self {
            named: NamedStatements::new(handle),
            unnamed: None,
            spare: Vec::new(),
            unacknowledged: 0,
            bound: None,
            asked: None,
            failed: None,
            portals: Vec::new(),
        }
    }

    /// Whether a change to a name may still fail that belongs to an earlier batch: what comes now
    /// is not skipped with it, so it must know. Within one batch, what follows a failure is skipped.
    pub(super) fn are_in_doubt(&self, server: &Server) -> bool {
        let changes =
            |note: &Note| matches!(note, Note::Parse { .. } | Note::Close { .. } | Note::Texts(_));
        server.replies.may_be_skipped_alone(server.prepared_by)
            || (self.unacknowledged > 0 && server.replies.spans_ready(changes))
    }

    /// Whether the server may still skip what was to make it know the unnamed statement, without
    /// skipping what is sent now.
    #[inline]
    pub(super) fn unnamed_is_in_doubt(server: &Server) -> bool {
        server.replies.may_be_skipped_alone(server.unnamed_by)
    }

    /// Parse.
    pub(super) fn parse(&mut self, link: &mut Link<'_>, body: &[u8], context: &ParseContext<'_>) {
        let Some(view) = client::read_parse(body) else {
            link.frame(client::PARSE, body);
            link.sent(Kind::Parse, Reply::Forward, None);
            return;
        };
        context.mentions.iter().for_each(|mention| self.tell_of_cut(link, mention));
        let resolved = self.resolve(view.sql, context);
        let (sql, original) = match &resolved {
            Some(resolved) => (&*resolved.sql, Some(Arc::clone(&resolved.original))),
            None => (view.sql, None),
        };
        if let Some(original) = &original {
            // The rows of EXECUTE are those that its statement has at this moment.
            self.need_in_batch(link, original);
        }
        if view.name.is_empty() {
            return self.parse_unnamed(link, (sql, view.types), original, context);
        }
        if let Some(named) = self.named.get(view.name) {
            let statement = Arc::clone(&named.statement);
            if link.server.prepared.find(statement.id).is_none() {
                link.prepare(&statement);
            }
            client::parse(link.out, &statement.name, sql, view.types);
            let note = Note::Duplicate(view.name.into());
            link.sent(Kind::Parse, Reply::Forward, Some(note));
            return;
        }
        let (read_under, settings) = (context.read_under, context.settings);
        let key = Key { sql, types: view.types, read_under, settings };
        let effects = context.effects.bits();
        let statement = if context.is_private || original.is_some() {
            context.table.private(key, None, effects)
        } else {
            context.table.intern(key, || effects)
        };
        let serial = self.named.next_serial();
        let (told, run, is_of_sql) = (None, context.run, false);
        let named = Named { serial, statement, told, original, run, is_of_sql };
        self.parse_named(link, view.name, named);
    }

    fn parse_named(&mut self, link: &mut Link<'_>, name: &[u8], named: Named) {
        let statement = &named.statement;
        // Somebody else's may be there, from a time when the tables looked otherwise.
        link.close(statement.id);
        client::parse(link.out, &statement.name, &statement.sql, &statement.types);
        self.unacknowledged += 1;
        let note = Note::Parse { name: significant(name).into(), on_server: statement.id };
        link.sent(Kind::Parse, Reply::Forward, Some(note));
        link.record(statement);
        if statement.parameters().is_some() {
            // Those who share it rely on the types that they know.
            client::target(link.out, client::DESCRIBE, b'S', &statement.name);
            let note = Note::Parameters(named.serial);
            link.sent(Kind::DescribeStatement, Reply::Swallow, Some(note));
        }
        self.named.insert(name, named);
    }

    /// Parse of the unnamed statement with the very text that it has already, as drivers send it
    /// again and again. Its bytes pass as they are. `None` for any other Parse.
    #[inline]
    pub(super) fn parse_again(
        &mut self,
        server: &mut Server,
        body: &[u8],
        reading: u8,
    ) -> Option<()> {
        let is_it = |unnamed: &&Unnamed| unnamed.reading == reading && unnamed.body == body;
        let unnamed = self.unnamed.as_ref().filter(is_it)?;
        if unnamed.original.is_some() || reading == u8::MAX || Self::unnamed_is_in_doubt(server) {
            return None;
        }
        drop(server.replies.sent(Kind::Parse, Reply::Forward, Some(Note::Again(unnamed.serial))));
        set_unnamed(server, unnamed.serial);
        Some(())
    }

    fn parse_unnamed(
        &mut self,
        link: &mut Link<'_>,
        (sql, types): (&[u8], &[u8]),
        original: Option<Arc<Original>>,
        context: &ParseContext<'_>,
    ) {
        let mut body = std::mem::take(&mut self.spare);
        body.clear();
        body.push(0);
        body.extend_from_slice(sql);
        body.push(0);
        body.extend_from_slice(types);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        link.frame(client::PARSE, &body);
        let (effects, run, reading) = (context.effects.bits(), context.run, context.reading);
        let now = Unnamed { body, serial, effects, reading, original, run };
        let before = self.unnamed.replace(now).map(Box::new);
        link.sent(Kind::Parse, Reply::Forward, Some(Note::Unnamed { serial, before }));
        set_unnamed(link.server, serial);
    }

    /// A Parse of the unnamed statement that is too long to be kept: its bytes pass as they are, and
    /// the session stays with the server that has it.
    pub(super) fn parse_long(&mut self, server: &mut Server) {
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let effects = Effects::UNSEEN.bits();
        let (body, original, run) = (Vec::new(), None, None);
        let now = Unnamed { body, serial, effects, reading: u8::MAX, original, run };
        let before = self.unnamed.replace(now).map(Box::new);
        let note = Note::Unnamed { serial, before };
        drop(server.replies.sent(Kind::Parse, Reply::Forward, Some(note)));
        set_unnamed(server, serial);
    }

    /// A Parse with a name that is too long to be kept: `rest` bytes of its body behind the name pass as
    /// they are.
    pub(super) fn parse_long_named(
        &mut self,
        link: &mut Link<'_>,
        name: &[u8],
        rest: usize,
        context: &ParseContext<'_>,
    ) {
        let statement = match self.named.get(name) {
            Some(named) => Arc::clone(&named.statement),
            None => context.table.long(context.settings, Effects::UNSEEN.bits()),
        };
        client::parse_head(link.out, &statement.name, rest);
        if self.named.get(name).is_some() {
            let note = Note::Duplicate(name.into());
            return link.sent(Kind::Parse, Reply::Forward, Some(note));
        }
        self.unacknowledged += 1;
        let note = Note::Parse { name: significant(name).into(), on_server: statement.id };
        link.sent(Kind::Parse, Reply::Forward, Some(note));
        link.record(&statement);
        let serial = self.named.next_serial();
        let (told, original, run, is_of_sql) = (None, None, None, false);
        self.named.insert(name, Named { serial, statement, told, original, run, is_of_sql });
    }

    /// Why the session has to stay with its server.
    pub(super) fn pin(&self) -> Option<Pin> {
        let is_long = self.unnamed.as_ref().is_some_and(|unnamed| unnamed.body.is_empty());
        (is_long || self.named.has_long()).then_some(Pin::LongStatement)
    }

    /// Whether a Bind of the unnamed statement finds the client's own on the server: its bytes
    /// pass as they are then. Gives what running it may do, and which statement it is.
    #[inline]
    pub(super) fn bind_as_is(
        &mut self,
        server: &Server,
        view: &client::Bind<'_>,
    ) -> Option<(Effects, Option<Run>)> {
        self.bound = None;
        let unnamed = self.unnamed.as_ref().filter(|_| view.statement.is_empty())?;
        let is_there = unnamed.serial == server.unnamed && unnamed.original.is_none();
        is_there.then(|| (Effects::from_bits_retain(unnamed.effects), unnamed.run))
    }

    /// What running the statement of this name may do, as far as its text shows.
    pub(super) fn effects_of(&self, name: &[u8]) -> Effects {
        let bits = if name.is_empty() {
            self.unnamed.as_ref().map_or(0, |unnamed| unnamed.effects)
        } else {
            self.named.get(name).map_or(0, |named| named.statement.effects)
        };
        Effects::from_bits_retain(bits)
    }

    /// Which statement the client's statement of this name is, for the figures.
    pub(super) fn run_of(&self, name: &[u8]) -> Option<Run> {
        if name.is_empty() {
            self.unnamed.as_ref().and_then(|unnamed| unnamed.run)
        } else {
            self.named.get(name).and_then(|named| named.run)
        }
    }

    /// The same, as it is known now.
    pub(super) fn set_run(&mut self, name: &[u8], run: Option<Run>) {
        if name.is_empty() {
            self.unnamed.iter_mut().for_each(|unnamed| unnamed.run = run);
        } else {
            self.named.get_mut(name).into_iter().for_each(|named| named.run = run);
        }
    }

    /// Bind: everything but the `rest` bytes of the body that follow its two names.
    pub(super) fn bind(
        &mut self,
        link: &mut Link<'_>,
        view: &client::Bind<'_>,
        rest: usize,
        context: &ParseContext<'_>,
    ) -> Outcome {
        let original = self.settle_original(view.statement, context);
        let mut effects = self.effects_of(view.statement);
        if let Some(original) = &original {
            effects |= self.need_in_batch(link, original);
        }
        self.remember_portal(view.portal, original);
        if view.statement.is_empty() {
            self.offer_unnamed(link);
            client::bind_head(link.out, view.portal, b"", rest);
            link.sent(Kind::Bind, Reply::Forward, None);
            return Outcome::Sent(effects);
        }
        let Some(named) = self.named.get(view.statement) else {
            let name = harmless(view.statement);
            let name = name.as_deref().unwrap_or(view.statement);
            client::bind_head(link.out, view.portal, name, rest);
            link.sent(Kind::Bind, Reply::Forward, None);
            return Outcome::Sent(Effects::empty());
        };
        match offer(link, named, &mut self.asked) {
            Offer::Asked => Outcome::AskedFirst,
            Offer::Changed => {
                link.refuse(changed_result());
                Outcome::Refused
            }
            Offer::Known => {
                client::bind_head(link.out, view.portal, &named.statement.name, rest);
                link.sent(Kind::Bind, Reply::Forward, Some(Note::Bind(named.serial)));
                let is_new = named.told.is_none() && view.portal.is_empty();
                self.bound = is_new.then_some(named.statement.id);
                Outcome::Sent(effects)
            }
        }
    }

    /// The text of the client's statement of this name.
    pub(super) fn text_of(&self, name: &[u8]) -> Option<&[u8]> {
        if name.is_empty() {
            let unnamed = self.unnamed.as_ref()?;
            return client::read_parse(&unnamed.body).map(|view| view.sql);
        }
        self.named.get(name).map(|named| &*named.statement.sql)
    }

    /// The types of its parameters, as its Parse declares them or its PREPARE writes them in parentheses.
    pub(super) fn types_of(&self, name: &[u8]) -> (&[u8], Option<&[u8]>) {
        if name.is_empty() {
            let view = self.unnamed.as_ref().and_then(|one| client::read_parse(&one.body));
            return (view.map_or(&[], |view| view.types), None);
        }
        self.named.get(name).map_or((&[], None), |named| {
            (&named.statement.types, named.statement.sql_types.as_deref())
        })
    }

    /// The same, with the types of its parameters as in Parse, if it was prepared by one.
    pub(super) fn text_and_types_of(&self, name: &[u8]) -> Option<(&[u8], &[u8])> {
        if name.is_empty() {
            let view = client::read_parse(&self.unnamed.as_ref()?.body)?;
            return Some((view.sql, view.types));
        }
        let named = self.named.get(name)?;
        let is_of_parse = !named.is_of_sql && !named.statement.is_long;
        is_of_parse.then(|| (&*named.statement.sql, named.statement.known_types()))
    }

    /// The same, and how its bytes are read, if that is known.
    pub(super) fn text_and_rules_of(&self, name: &[u8]) -> Option<(&[u8], Option<ReadUnder>)> {
        if name.is_empty() {
            return Some((self.text_of(name)?, None));
        }
        let statement = &self.named.get(name)?.statement;
        (!statement.is_long).then(|| (&*statement.sql, statement.read_under()))
    }

    /// Describe of a statement.
    pub(super) fn describe(
        &mut self,
        link: &mut Link<'_>,
        name: &[u8],
        context: &ParseContext<'_>,
    ) -> Outcome {
        if let Some(original) = self.settle_original(name, context) {
            self.need_in_batch(link, &original);
        }
        if name.is_empty() {
            self.offer_unnamed(link);
            client::target(link.out, client::DESCRIBE, b'S', b"");
            link.sent(Kind::DescribeStatement, Reply::Forward, None);
            return Outcome::Sent(Effects::empty());
        }
        let Some(named) = self.named.get(name) else {
            let safe = harmless(name);
            client::target(link.out, client::DESCRIBE, b'S', safe.as_deref().unwrap_or(name));
            link.sent(Kind::DescribeStatement, Reply::Forward, None);
            return Outcome::Sent(Effects::empty());
        };
        match offer(link, named, &mut self.asked) {
            Offer::Asked => return Outcome::AskedFirst,
            Offer::Changed => {
                link.refuse(changed_result());
                return Outcome::Refused;
            }
            Offer::Known => {
                let statement = &named.statement;
                client::target(link.out, client::DESCRIBE, b'S', &statement.name);
                let note = Note::Describe { serial: named.serial, id: statement.id };
                link.sent(Kind::DescribeStatement, Reply::Forward, Some(note));
            }
        }
        Outcome::Sent(Effects::empty())
    }

    /// Describe of a portal, which passes as it is: most drivers learn of a statement's rows in this
    /// way only, and rely on them as long as they run it.
    pub(super) fn describe_portal(&mut self, name: &[u8]) -> Option<Note> {
        self.bound.take().filter(|_| name.is_empty()).map(Note::DescribePortal)
    }

    /// Close of a statement.
    pub(super) fn close(&mut self, link: &mut Link<'_>, name: &[u8]) {
        if name.is_empty() {
            client::target(link.out, client::CLOSE, b'S', b"");
            let note = Note::Unnamed { serial: 0, before: self.unnamed.take().map(Box::new) };
            link.sent(Kind::Close, Reply::Forward, Some(note));
            set_unnamed(link.server, 0);
            return;
        }
        match self.named.remove(name) {
            Some(named) => {
                self.unacknowledged += 1;
                let note = Note::Close { name: significant(name).into(), named: Box::new(named) };
                link.sent(Kind::Close, Reply::Fake, Some(note));
            }
            // The server does not know it either, and says what it says of all of them.
            None => {
                let safe = harmless(name);
                client::target(link.out, client::CLOSE, b'S', safe.as_deref().unwrap_or(name));
                link.sent(Kind::Close, Reply::Forward, None);
            }
        }
    }

    /// A Query drops the unnamed statement.
    #[inline]
    pub(super) fn query(&mut self, server: &mut Server) {
        // In a batch it is skipped if the batch fails.
        server.unnamed = if server.replies.has_open_batch() { UNCERTAIN } else { 0 };
        if let Some(unnamed) = self.unnamed.take() {
            self.reuse(unnamed.body);
        }
    }

    fn reuse(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_MAX {
            self.spare = buffer;
        }
    }

    /// Gives the server the client's unnamed statement, or takes away somebody else's.
    fn offer_unnamed(&self, link: &mut Link<'_>) {
        match &self.unnamed {
            Some(unnamed) if link.server.unnamed != unnamed.serial => {
                link.frame(client::PARSE, &unnamed.body);
                link.sent(Kind::Parse, Reply::Swallow, Some(Note::OfferUnnamed));
                set_unnamed(link.server, unnamed.serial);
            }
            None if link.server.unnamed != 0 => {
                client::target(link.out, client::CLOSE, b'S', b"");
                link.sent(Kind::Close, Reply::Swallow, Some(Note::OfferUnnamed));
                set_unnamed(link.server, 0);
            }
            Some(_) | None => {}
        }
    }
}

/// The message that was entered last makes the server hold this unnamed statement.
#[inline]
fn set_unnamed(server: &mut Server, serial: u64) {
    server.unnamed = serial;
    server.unnamed_by = server.replies.last_serial();
}

enum Offer {
    /// The server has it, with the rows the client was told of.
    Known,
    /// The server has to answer first.
    Asked,
    /// Its rows are not what the client was told.
    Changed,
}

fn offer(link: &mut Link<'_>, named: &Named, asked: &mut Option<u64>) -> Offer {
    let statement = &named.statement;
    let known = link.server.prepared.find(statement.id).map(|known| known.shape);
    let was_asked = asked.take() == Some(statement.id);
    let offer = match (known, named.told) {
        (Some(Some(shape)), Some(told)) if shape != told && was_asked => Offer::Changed,
        (Some(Some(shape)), Some(told)) if shape != told => {
            // The server may have learned this before the table became what it is.
            link.prepare(statement);
            link.ask_shape(statement);
            Offer::Asked
        }
        (Some(Some(_)), Some(_)) | (Some(_), None) => Offer::Known,
        (Some(None), Some(_)) => {
            link.ask_shape(statement);
            Offer::Asked
        }
        (None, None) => {
            link.prepare(statement);
            Offer::Known
        }
        (None, Some(_)) => {
            link.prepare(statement);
            link.ask_shape(statement);
            Offer::Asked
        }
    };
    *asked = matches!(offer, Offer::Asked).then_some(statement.id);
    offer
}
