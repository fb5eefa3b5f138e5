//! A client's prepared statements, on whatever server it is given.
//!
//! Owns the client's names and its unnamed statement, and turns Parse, Bind, Describe and Close
//! into what the leased server has to be told. Never reads or writes a socket. Keeps the invariant
//! that a name means the same to the client as it would on a server of its own: PostgreSQL itself
//! produces each error, because a message that must fail is sent so that it fails there.
//!
//! Changes are made when a message is sent and undone when its answer does not come: the notes in
//! the server's queue say how.

use super::card::Card;
use super::link::{Link, UNKNOWN_MARK};
use super::named::NamedStatements;
use super::settings::TIES;
use crate::backend::server::{Named, Note, Server, Unnamed};
use crate::backend::settings::Settings;
use crate::backend::state::{Kind, Reply};
use crate::backend::statements::{Key, NAME_PREFIX, StatementTable};
use crate::fault::{Fault, Side};
use crate::sql;
use crate::wire::server::RowShape;
use crate::wire::{self, client};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a statement's name that count: PostgreSQL cuts it there (`NAMEDATALEN` - 1).
const NAME_MAX: usize = 63;
/// Bytes of a buffer that an idle client may keep.
const SPARE_MAX: usize = 512;

/// No client's unnamed statement has this serial; a server that may hold any has it.
const UNCERTAIN: u64 = u64::MAX;

static SERIALS: AtomicU64 = AtomicU64::new(1);

/// Whether a message has been dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Told {
    /// The server has been told what it has to be told.
    All,
    /// The server was asked something first: try again when it owes nothing.
    AskedFirst,
}

/// What became of a Bind.
pub(super) enum Bound {
    /// It was sent; running its statement may do this.
    Sent(Effects),
    /// The server was asked something first: try again when it owes nothing.
    Later,
    /// Something that fails was sent in its place.
    Refused,
}

/// What running a statement may do to the session: bits that only the session reads.
pub(super) type Effects = u32;

/// One client's prepared statements.
#[derive(Debug)]
pub(super) struct Names {
    named: NamedStatements,
    unnamed: Option<Unnamed>,
    /// The buffer of the unnamed statement before this one, to be used again.
    spare: Vec<u8>,
    /// Changes to names that are not acknowledged yet.
    unacknowledged: u32,
    /// The statement that a DEALLOCATE on its way names.
    deallocating: Option<Box<[u8]>>,
    /// The statement that the unnamed portal runs, if its client has not been told yet what its
    /// rows look like.
    bound: Option<u64>,
}

fn significant(name: &[u8]) -> &[u8] {
    name.get(..NAME_MAX).unwrap_or(name)
}

/// A name the client may use that no server has: one that looks like ours gets a mark.
fn harmless(name: &[u8]) -> Option<Vec<u8>> {
    let rest = name.strip_prefix(NAME_PREFIX.as_bytes())?;
    Some([NAME_PREFIX.as_bytes(), &[UNKNOWN_MARK], rest].concat())
}

/// `session_state_policy = "error"`.
pub(super) fn ties_refused() -> Fault {
    let text = "statement would leave session state on a pooled server";
    Fault::query(Side::Operator, "0A000", text).hint(
        "session_state_policy refuses temporary tables, session locks, WITH HOLD cursors, LISTEN, \
         PREPARE and LOAD in transaction pooling.",
    )
}

fn changed_result() -> Fault {
    Fault::query(Side::Server, "0A000", "cached plan must not change result type")
        .origin("plancache.c", "RevalidateCachedQuery")
}

impl Names {
    /// Of the client with this card, who has none yet.
    pub(super) fn new(card: &Arc<Card>) -> Self {
        Self {
            named: NamedStatements::new(card),
            unnamed: None,
            spare: Vec::new(),
            unacknowledged: 0,
            deallocating: None,
            bound: None,
        }
    }

    /// Whether a change to a name may still fail that belongs to an earlier batch: what comes now
    /// is not skipped with it, so it must know. Within one batch, what follows a failure is skipped.
    pub(super) fn are_in_doubt(&self, server: &Server) -> bool {
        let changes =
            |note: &Note| matches!(note, Note::Parse { name: Some(_), .. } | Note::Close { .. });
        self.unacknowledged > 0 && server.replies.spans_ready(changes)
    }

    /// A text that names one of the client's statements, with our name for it in the place of the
    /// client's.
    pub(super) fn rewrite(&mut self, link: &mut Link<'_>, text: &[u8]) -> Option<Vec<u8>> {
        let found = sql::named_statement(text)?;
        let statement = Arc::clone(&self.named.get(significant(&found.name))?.statement);
        let is_there = link.server.prepared.has(statement.id);
        match found.verb {
            sql::Verb::Deallocate => {
                if !is_there {
                    // Anything does that cannot fail, not even in a failed transaction.
                    link.try_parse(&statement, b"", &[0, 0]);
                }
                self.deallocating = Some(significant(&found.name).into());
            }
            sql::Verb::Execute if !is_there => {
                link.try_parse(&statement, &statement.sql, &statement.types);
            }
            sql::Verb::Execute => {}
        }
        let (before, after) = (text.get(..found.place.start)?, text.get(found.place.end..)?);
        Some([before, &*statement.name, after].concat())
    }

    /// DEALLOCATE of one statement was done.
    pub(super) fn deallocated(&mut self, server: &mut Server) {
        let Some(name) = self.deallocating.take() else { return };
        if let Some((_, named)) = self.named.remove(&name) {
            server.prepared.remove(named.statement.id);
        }
    }

    /// Something failed: it may have been the DEALLOCATE.
    pub(super) fn not_deallocated(&mut self) {
        self.deallocating = None;
    }

    /// Parse. `can_fake`: the server would certainly accept a statement it knows already.
    pub(super) fn parse(
        &mut self,
        link: &mut Link<'_>,
        body: &[u8],
        context: &mut Context<'_>,
        can_fake: bool,
    ) -> Effects {
        let Some(view) = client::read_parse(body) else {
            link.frame(client::PARSE, body);
            link.sent(Kind::Parse, Reply::Forward, None);
            return 0;
        };
        let effects = (context.effects_of)(view.sql);
        if view.name.is_empty() {
            match self.rewrite(link, view.sql) {
                None => self.parse_unnamed(link, body, effects),
                Some(sql) => {
                    let mut rewritten = vec![0];
                    rewritten.extend_from_slice(&sql);
                    rewritten.push(0);
                    rewritten.extend_from_slice(view.types);
                    self.parse_unnamed(link, &rewritten, effects);
                }
            }
            return effects;
        }
        let name = significant(view.name);
        if let Some(named) = self.named.get(name) {
            let statement = Arc::clone(&named.statement);
            if link.server.prepared.find(&statement).is_none() {
                link.prepare(&statement);
            }
            client::parse(link.out, &statement.name, view.sql, view.types);
            link.sent(Kind::Parse, Reply::Forward, Some(Note::Duplicate(view.name.into())));
            return effects;
        }
        let key = Key { sql: view.sql, types: view.types, settings: context.settings };
        let statement = context.table.intern(key, || effects);
        let known = link.server.prepared.find(&statement).is_some();
        let on_server = if known && can_fake {
            self.unacknowledged += 1;
            link.sent(Kind::Parse, Reply::Fake, Some(parse_note(name, None)));
            self.named.insert(name.into(), Named { statement, told: None });
            return effects;
        } else {
            link.close_outdated(statement.id);
            client::parse(link.out, &statement.name, view.sql, view.types);
            Some(statement.id)
        };
        self.unacknowledged += 1;
        link.sent(Kind::Parse, Reply::Forward, Some(parse_note(name, on_server)));
        link.record(&statement);
        self.named.insert(name.into(), Named { statement, told: None });
        effects
    }

    /// Parse of the unnamed statement with the very text that it has already, as drivers send it
    /// again and again. Its bytes pass as they are. `None` for any other Parse.
    pub(super) fn parse_again(&mut self, server: &mut Server, body: &[u8]) -> Option<()> {
        let unnamed = self.unnamed.as_ref().filter(|unnamed| unnamed.body == body)?;
        server.unnamed = unnamed.serial;
        drop(server.replies.sent(Kind::Parse, Reply::Forward, Some(Note::Again(unnamed.serial))));
        Some(())
    }

    /// Whether a Bind of the unnamed statement finds the client's own on the server: its bytes
    /// pass as they are then, and running it may do this.
    pub(super) fn bind_as_is(
        &mut self,
        server: &Server,
        view: &client::Bind<'_>,
    ) -> Option<Effects> {
        self.bound = None;
        let unnamed = self.unnamed.as_ref().filter(|_| view.statement.is_empty())?;
        (unnamed.serial == server.unnamed).then_some(unnamed.effects)
    }

    /// Whether running the unnamed statement ties the session to its server.
    pub(super) fn unnamed_ties(&self) -> bool {
        self.unnamed.as_ref().is_some_and(|unnamed| unnamed.effects & TIES != 0)
    }

    fn parse_unnamed(&mut self, link: &mut Link<'_>, body: &[u8], effects: Effects) {
        let mut kept = std::mem::take(&mut self.spare);
        kept.clear();
        kept.extend_from_slice(body);
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        let before = self.unnamed.replace(Unnamed { body: kept, serial, effects }).map(Box::new);
        link.server.unnamed = serial;
        link.frame(client::PARSE, body);
        link.sent(Kind::Parse, Reply::Forward, Some(Note::Unnamed { serial, before }));
    }

    /// Bind: everything but the `rest` bytes of the body that follow its two names.
    /// Gives what running the statement may do.
    pub(super) fn bind(
        &mut self,
        link: &mut Link<'_>,
        view: &client::Bind<'_>,
        rest: usize,
    ) -> Bound {
        if view.statement.is_empty() {
            let effects = self.unnamed.as_ref().map_or(0, |unnamed| unnamed.effects);
            if link.refuses_ties && effects & TIES != 0 {
                link.refuse(ties_refused());
                return Bound::Refused;
            }
            self.offer_unnamed(link);
            client::bind_head(link.out, view.portal, b"", rest);
            link.sent(Kind::Bind, Reply::Forward, None);
            return Bound::Sent(effects);
        }
        let Some(named) = self.named.get(significant(view.statement)) else {
            let name = harmless(view.statement);
            let name = name.as_deref().unwrap_or(view.statement);
            client::bind_head(link.out, view.portal, name, rest);
            link.sent(Kind::Bind, Reply::Forward, None);
            return Bound::Sent(0);
        };
        let effects = named.statement.effects;
        if link.refuses_ties && effects & TIES != 0 {
            link.refuse(ties_refused());
            return Bound::Refused;
        }
        match offer(link, named) {
            Offer::Asked => Bound::Later,
            Offer::Changed => {
                link.refuse(changed_result());
                Bound::Refused
            }
            Offer::Known => {
                client::bind_head(link.out, view.portal, &named.statement.name, rest);
                link.sent(Kind::Bind, Reply::Forward, None);
                let is_new = named.told.is_none() && view.portal.is_empty();
                self.bound = is_new.then_some(named.statement.id);
                Bound::Sent(effects)
            }
        }
    }

    /// The text of the client's statement of this name.
    pub(super) fn text_of(&self, name: &[u8]) -> Option<&[u8]> {
        if name.is_empty() {
            let unnamed = self.unnamed.as_ref()?;
            return client::read_parse(&unnamed.body).map(|view| view.sql);
        }
        self.named.get(significant(name)).map(|named| &*named.statement.sql)
    }

    /// Describe of a statement.
    pub(super) fn describe(&mut self, link: &mut Link<'_>, name: &[u8]) -> Told {
        if name.is_empty() {
            self.offer_unnamed(link);
            client::target(link.out, client::DESCRIBE, b'S', b"");
            link.sent(Kind::DescribeStatement, Reply::Forward, None);
            return Told::All;
        }
        let Some(named) = self.named.get(significant(name)) else {
            let safe = harmless(name);
            client::target(link.out, client::DESCRIBE, b'S', safe.as_deref().unwrap_or(name));
            link.sent(Kind::DescribeStatement, Reply::Forward, None);
            return Told::All;
        };
        match offer(link, named) {
            Offer::Asked => return Told::AskedFirst,
            Offer::Changed => link.refuse(changed_result()),
            Offer::Known => {
                let statement = &named.statement;
                client::target(link.out, client::DESCRIBE, b'S', &statement.name);
                let note = Note::Describe { name: significant(name).into(), id: statement.id };
                link.sent(Kind::DescribeStatement, Reply::Forward, Some(note));
            }
        }
        Told::All
    }

    /// Describe of a portal, which passes as it is: most drivers learn of a statement's rows in this
    /// way only, and rely on them as long as they run it.
    pub(super) fn describe_portal(&mut self, name: &[u8]) -> Option<Note> {
        self.bound.take().filter(|_| name.is_empty()).map(Note::DescribePortal)
    }

    /// Close of a statement.
    pub(super) fn close(&mut self, link: &mut Link<'_>, name: &[u8]) {
        if name.is_empty() {
            link.server.unnamed = 0;
            client::target(link.out, client::CLOSE, b'S', b"");
            let note = Note::Unnamed { serial: 0, before: self.unnamed.take().map(Box::new) };
            link.sent(Kind::Close, Reply::Forward, Some(note));
            return;
        }
        match self.named.remove(significant(name)) {
            Some((name, named)) => {
                self.unacknowledged += 1;
                let named = Box::new(named);
                link.sent(Kind::Close, Reply::Fake, Some(Note::Close { name, named }));
            }
            // One that SQL made, or none: the server knows, and says the same of both.
            None => {
                let safe = harmless(name);
                client::target(link.out, client::CLOSE, b'S', safe.as_deref().unwrap_or(name));
                link.sent(Kind::Close, Reply::Forward, None);
            }
        }
    }

    /// A Query drops the unnamed statement.
    pub(super) fn query(&mut self, server: &mut Server) {
        server.unnamed = 0;
        let unnamed = self.unnamed.take();
        if let Some(unnamed) = unnamed.filter(|unnamed| unnamed.body.capacity() <= SPARE_MAX) {
            self.spare = unnamed.body;
        }
    }

    /// DEALLOCATE ALL or DISCARD ALL was done.
    pub(super) fn forget_named(&mut self, server: &mut Server) {
        self.named.clear();
        server.prepared.clear();
    }

    /// Some plan of this client's is out of date, and the server does not say which.
    pub(super) fn outdate(&self) {
        for named in self.named.values() {
            named.statement.outdate();
        }
    }

    /// Gives the server the client's unnamed statement, or takes away somebody else's.
    fn offer_unnamed(&self, link: &mut Link<'_>) {
        match &self.unnamed {
            Some(unnamed) if link.server.unnamed != unnamed.serial => {
                link.server.unnamed = unnamed.serial;
                link.frame(client::PARSE, &unnamed.body);
                link.sent(Kind::Parse, Reply::Swallow, Some(Note::Shape(UNCERTAIN)));
            }
            None if link.server.unnamed != 0 => {
                link.server.unnamed = 0;
                client::target(link.out, client::CLOSE, b'S', b"");
                link.sent(Kind::Close, Reply::Swallow, Some(Note::Shape(UNCERTAIN)));
            }
            Some(_) | None => {}
        }
    }

    /// The answer came that the note was waiting for. `shape` is that of a RowDescription.
    pub(super) fn commit(&mut self, server: &mut Server, note: Note, shape: Option<RowShape>) {
        match note {
            Note::Unnamed { before, .. } => {
                if let Some(before) = before.filter(|before| before.body.capacity() <= SPARE_MAX) {
                    self.spare = before.body;
                }
            }
            Note::Describe { name, id } => {
                if let Some(named) = self.named.get_mut(&name).filter(|n| n.statement.id == id) {
                    named.told = shape;
                }
                server.prepared.set_shape(id, shape);
            }
            Note::DescribePortal(id) => {
                let named = self.named.values_mut().filter(|named| named.statement.id == id);
                named.for_each(|named| named.told = shape);
                server.prepared.set_shape(id, shape);
            }
            Note::Shape(id) => server.prepared.set_shape(id, shape),
            Note::Parse { name: Some(_), .. } | Note::Close { .. } => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
            }
            Note::Parse { name: None, .. }
            | Note::Again(_)
            | Note::Duplicate(_)
            | Note::Evict(_)
            | Note::Try(_)
            | Note::Run(_)
            | Note::Refuse(_) => {}
        }
    }

    /// The answer is not going to come. `failed`: this is the message that failed, and not one
    /// behind it that the server never looked at.
    pub(super) fn undo(&mut self, server: &mut Server, note: Note, failed: bool) {
        match note {
            Note::Parse { name, on_server } => {
                if let Some(name) = name {
                    self.unacknowledged = self.unacknowledged.saturating_sub(1);
                    self.named.remove(&name);
                }
                if let Some(id) = on_server {
                    server.prepared.remove(id);
                }
            }
            Note::Unnamed { serial, before } => {
                server.unnamed = UNCERTAIN;
                // One that came behind it, in another batch, stays. PostgreSQL drops the old one
                // before it looks at the new one.
                if self.unnamed.as_ref().map_or(0, |now| now.serial) == serial {
                    self.unnamed = before.filter(|_| !failed).map(|before| *before);
                }
            }
            Note::Again(serial) => {
                server.unnamed = UNCERTAIN;
                self.unnamed.take_if(|now| failed && now.serial == serial);
            }
            Note::Close { name, named } => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                self.named.insert(name, *named);
            }
            Note::Evict(known) => server.prepared.restore(*known),
            Note::Try(id) => {
                server.prepared.remove(id);
            }
            Note::Shape(UNCERTAIN) => server.unnamed = UNCERTAIN,
            Note::Shape(_)
            | Note::Describe { .. }
            | Note::DescribePortal(_)
            | Note::Duplicate(_)
            | Note::Run(_)
            | Note::Refuse(_) => {}
        }
    }

    /// The server's message with the client's names in the place of ours.
    pub(super) fn translate(&self, message: &[u8], note: Option<&Note>) -> Option<Vec<u8>> {
        let prefix = NAME_PREFIX.as_bytes();
        let mut out = Vec::new();
        let mut rest = message;
        while let Some(at) = memchr::memmem::find(rest, prefix) {
            let (before, found) = rest.split_at(at);
            out.extend_from_slice(before);
            let tail = found.get(prefix.len()..).unwrap_or_default();
            if tail.first() == Some(&UNKNOWN_MARK) {
                out.extend_from_slice(prefix);
                rest = tail.get(1..).unwrap_or_default();
                continue;
            }
            let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, after) = tail.split_at(digits);
            let name = match note {
                Some(Note::Duplicate(name)) => Some(&**name),
                _ => self.name_of(number),
            };
            match name {
                Some(name) => out.extend_from_slice(name),
                None => {
                    out.extend_from_slice(prefix);
                    out.extend_from_slice(number);
                }
            }
            rest = after;
        }
        if rest.len() == message.len() {
            return None;
        }
        out.extend_from_slice(rest);
        Some(out)
    }

    /// The server does not know a statement that it should know, or the other way round: somebody
    /// has used our names in a text that was not understood. Sets right what can be set right.
    pub(super) fn heal(&self, server: &mut Server, message: &[u8]) {
        let Some(at) = memchr::memmem::find(message, NAME_PREFIX.as_bytes()) else { return };
        let tail = message.get(at.saturating_add(NAME_PREFIX.len())..).unwrap_or_default();
        let digits = tail.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = tail.get(..digits).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
        let Some(id) = number else { return };
        let duplicate = server
            .replies
            .front()
            .is_some_and(|front| matches!(front.note, Some(Note::Duplicate(_))));
        if !duplicate && server.prepared.remove(id).is_none() {
            server.is_strange = true;
        }
    }

    fn name_of(&self, number: &[u8]) -> Option<&[u8]> {
        let id: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
        self.named.iter().find(|(_, named)| named.statement.id == id).map(|(name, _)| &**name)
    }
}

fn parse_note(name: &[u8], on_server: Option<u64>) -> Note {
    Note::Parse { name: Some(name.into()), on_server }
}

enum Offer {
    /// The server has it, with the rows the client was told of.
    Known,
    /// The server has to answer first.
    Asked,
    /// Its rows are not what the client was told.
    Changed,
}

fn offer(link: &mut Link<'_>, named: &Named) -> Offer {
    let statement = &named.statement;
    let known = link.server.prepared.find(statement).map(|known| known.shape);
    match (known, named.told) {
        (Some(Some(shape)), Some(told)) if shape != told => Offer::Changed,
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
    }
}

/// What a Parse is interpreted under.
pub(super) struct Context<'a> {
    /// All statements of the process.
    pub table: &'a Arc<StatementTable>,
    /// The client's settings that matter to a plan.
    pub settings: &'a Arc<Settings>,
    /// What running a text may do to the session.
    pub effects_of: &'a mut dyn FnMut(&[u8]) -> Effects,
}

/// The frame's shape, for a note that wants it.
pub(super) fn shape_of(tag: u8, body: &[u8]) -> Option<RowShape> {
    match tag {
        wire::server::ROW_DESCRIPTION => wire::server::read_row_shape(body),
        wire::server::NO_DATA => Some(RowShape::NO_DATA),
        _ => None,
    }
}
