//! Texts that mention prepared statements: PREPARE, EXECUTE, DEALLOCATE and DISCARD ALL, in a Query or
//! in a statement of the extended protocol.

use super::link::{Link, harmless};
use super::named::significant;
use super::rewrite::Rewrite;
use super::{ParseContext, SERIALS, Statements};
use crate::backend::note::{Change, Named, Note, Original, TextChanges};
use crate::backend::server::Server;
use crate::backend::state::{Kind, Reply};
use crate::backend::statements::{Key, Statement};
use crate::fault::{Fault, Side};
use crate::session::effects::Effects;
use crate::sql::{Mention, Name};
use crate::wire::{self, client};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A text of the extended protocol with the server's names in it.
pub(super) struct Resolved {
    /// The text for the server.
    pub sql: Vec<u8>,
    /// The client's.
    pub original: Arc<Original>,
}

/// A Query's text with the server's names in it.
pub(in crate::session) struct QueryText {
    /// The text for the server.
    pub sql: Vec<u8>,
    /// What it changes.
    pub changes: TextChanges,
    /// What the statements that it executes may do.
    pub effects: Effects,
}

fn name_is_cut(uncut: &[u8], cut: &[u8]) -> Fault {
    let (uncut, cut) = (String::from_utf8_lossy(uncut), String::from_utf8_lossy(cut));
    let text = format!("identifier \"{uncut}\" will be truncated to \"{cut}\"");
    Fault::query(Side::Client, "42622", text).origin("scansup.c", "truncate_identifier")
}

/// A name as it stands in a text.
fn quoted(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for &byte in name {
        if byte == b'"' {
            quoted.push(byte);
        }
        quoted.push(byte);
    }
    quoted.push(b'"');
    quoted
}

/// Whether a name stands in a text in small letters, as a word of its own. A quote in it is written twice,
/// or four times in a string.
fn stands_in(folded: &[u8], name: &[u8]) -> bool {
    if name.contains(&b'"') || name.contains(&b'\'') {
        return true;
    }
    let is_part = |byte: Option<&u8>| {
        byte.is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || b"_$".contains(byte) || *byte >= 128
        })
    };
    let name = name.to_ascii_lowercase();
    memchr::memmem::find_iter(folded, &name).any(|at| {
        let before = at.checked_sub(1).and_then(|at| folded.get(at));
        !is_part(before) && !is_part(folded.get(at.saturating_add(name.len())))
    })
}

/// A name that no server has, as it stands in a text.
fn quoted_harmless(name: &[u8]) -> Option<Vec<u8>> {
    harmless(name).map(|name| quoted(&name))
}

/// The statement that `PREPARE name [(types)] AS query` makes.
fn prepared_by_text(
    context: &ParseContext<'_>,
    sql: &[u8],
    types: Option<&Range<usize>>,
    (query, effects): (&Range<usize>, Effects),
) -> Arc<Statement> {
    let sql_types = types.and_then(|types| sql.get(types.clone()));
    let query = sql.get(query.clone()).unwrap_or_default();
    let (read_under, settings) = (context.read_under, context.settings);
    let key = Key { sql: query, types: &[0, 0], read_under, settings };
    context.table.private(key, sql_types, effects.bits())
}

impl Statements {
    /// A text of the extended protocol; `None` when it mentions nothing.
    pub(super) fn resolve(&self, sql: &[u8], context: &ParseContext<'_>) -> Option<Resolved> {
        if context.mentions.is_empty() {
            return None;
        }
        let mut effects = context.prepared.iter();
        let prepares = context.mentions.iter().filter_map(|mention| {
            let Mention::Prepare { types, query, .. } = mention else { return None };
            let effects = effects.next().copied().unwrap_or(Effects::UNSEEN);
            Some(prepared_by_text(context, sql, types.as_ref(), (query, effects)))
        });
        let original = Original {
            sql: sql.into(),
            prepares: prepares.collect(),
            mentions: context.mentions.to_vec(),
        };
        let sql = self.resolved_text(&original);
        Some(Resolved { sql, original: Arc::new(original) })
    }

    /// The text that the server gets at this moment.
    fn resolved_text(&self, original: &Original) -> Vec<u8> {
        let mut rewrite = Rewrite::new(&original.sql);
        let mut prepares = original.prepares.iter();
        for mention in &original.mentions {
            match mention {
                Mention::Prepare { name, .. } => {
                    let new = prepares.next();
                    let named = self.named.get(&name.bytes).map(|named| &named.statement);
                    if let Some(statement) = named.or(new) {
                        rewrite.replace(&name.place, &statement.name);
                    }
                }
                Mention::Execute(name) | Mention::Deallocate(name) => {
                    self.replace_name(&mut rewrite, name);
                }
                Mention::DeallocateAll | Mention::DiscardAll => {}
            }
        }
        rewrite.finish().map_or_else(|| original.sql.to_vec(), |(sql, _)| sql)
    }

    fn replace_name(&self, rewrite: &mut Rewrite<'_>, name: &Name) {
        if let Some(named) = self.named.get(&name.bytes) {
            rewrite.replace(&name.place, &named.statement.name);
        } else if let Some(safe) = quoted_harmless(&name.bytes) {
            rewrite.replace(&name.place, &safe);
        }
    }

    /// Statements of SQL's PREPARE whose names stand anywhere in a text, in its strings too: a function
    /// may execute what it is given. Each with the text that makes it under the client's own name.
    pub(in crate::session) fn named_anywhere(&self, sql: &[u8]) -> Vec<(Box<[u8]>, Vec<u8>)> {
        let mut all = self.named.iter().filter(|(_, named)| named.is_of_sql).peekable();
        if all.peek().is_none() {
            return Vec::new();
        }
        let folded = sql.to_ascii_lowercase();
        all.filter(|(name, _)| stands_in(&folded, name))
            .map(|(name, named)| {
                let types = named.statement.sql_types.as_deref().unwrap_or_default();
                let quoted = quoted(name);
                let text = [b"PREPARE ", &quoted[..], types, b" AS ", &*named.statement.sql];
                (name.into(), text.concat())
            })
            .collect()
    }

    /// The client binds its statement of this name: what that mentions may mean something else than
    /// when it was parsed. Gives its text if it mentions anything.
    pub(super) fn settle_original(
        &mut self,
        name: &[u8],
        context: &ParseContext<'_>,
    ) -> Option<Arc<Original>> {
        if name.is_empty() {
            let original = Arc::clone(self.unnamed.as_ref()?.original.as_ref()?);
            let sql = self.resolved_text(&original);
            let unnamed = self.unnamed.as_mut()?;
            let view = client::read_parse(&unnamed.body)?;
            if view.sql != sql {
                let mut body = vec![0];
                body.extend_from_slice(&sql);
                body.push(0);
                body.extend_from_slice(view.types);
                unnamed.body = body;
                unnamed.serial = SERIALS.fetch_add(1, Ordering::Relaxed);
            }
            return Some(original);
        }
        let original = Arc::clone(self.named.get(name)?.original.as_ref()?);
        let sql = self.resolved_text(&original);
        let named = self.named.get_mut(name)?;
        if *named.statement.sql != *sql {
            let old = &named.statement;
            let (read_under, settings) = (context.read_under, context.settings);
            let key = Key { sql: &sql, types: &old.types, read_under, settings };
            named.statement = context.table.private(key, None, old.effects);
        }
        Some(original)
    }

    /// In front of a Bind: makes known to the server what the text mentions. Gives what the
    /// statements that it executes may do.
    pub(super) fn need_in_batch(&mut self, link: &mut Link<'_>, original: &Original) -> Effects {
        let mut effects = Effects::empty();
        for mention in &original.mentions {
            let name = match mention {
                Mention::Prepare { name, .. } | Mention::Deallocate(name) => name,
                Mention::Execute(name) => {
                    effects |= self.effects_of_execute(name);
                    name
                }
                Mention::DeallocateAll | Mention::DiscardAll => continue,
            };
            if let Some(named) = self.named.get(&name.bytes)
                && link.server.prepared.find(named.statement.id).is_none()
            {
                link.prepare(&named.statement);
            }
        }
        effects
    }

    fn effects_of_execute(&self, name: &Name) -> Effects {
        let named = self.named.get(&name.bytes);
        named.map_or(Effects::UNSEEN, |named| Effects::from_bits_retain(named.statement.effects))
    }

    /// A portal was bound to a statement whose text mentions others, or to another one.
    pub(super) fn remember_portal(&mut self, portal: &[u8], original: Option<Arc<Original>>) {
        if original.is_none() && self.portals.is_empty() {
            return;
        }
        self.portals.retain(|(known, _)| **known != *portal);
        self.portals.extend(original.map(|original| (portal.into(), original)));
    }

    /// No portal outlives its transaction.
    #[inline]
    pub(in crate::session) fn forget_portals(&mut self) {
        self.portals.clear();
    }

    /// Whether a portal runs a text that mentions prepared statements.
    #[inline]
    pub(in crate::session) fn has_portals(&self) -> bool {
        !self.portals.is_empty()
    }

    /// An Execute of this portal is sent: what its text changes.
    pub(in crate::session) fn execute(
        &mut self,
        link: &mut Link<'_>,
        portal: &[u8],
    ) -> Option<TextChanges> {
        let (_, original) = self.portals.iter().find(|(known, _)| **known == *portal)?;
        let original = Arc::clone(original);
        let mut changes = TextChanges::default();
        let mut prepares = original.prepares.iter();
        for mention in &original.mentions {
            match mention {
                Mention::Prepare { name, .. } => {
                    let statement = prepares.next();
                    if let (Some(statement), None) = (statement, self.named.get(&name.bytes)) {
                        self.register(name, statement, &mut changes);
                        link.record(statement);
                    } else {
                        self.note_name(name, &mut changes);
                    }
                }
                Mention::Execute(name) => self.note_name(name, &mut changes),
                Mention::Deallocate(name) => self.deallocate(link.server, name, &mut changes),
                Mention::DeallocateAll | Mention::DiscardAll => {
                    self.deallocate_all(link.server, &mut changes);
                }
            }
        }
        Some(changes)
    }

    /// A Query's text that mentions prepared statements.
    pub(in crate::session) fn query_text(
        &mut self,
        link: &mut Link<'_>,
        sql: &[u8],
        context: &ParseContext<'_>,
    ) -> QueryText {
        let mut rewrite = Rewrite::new(sql);
        let mut changes = TextChanges { run: context.run, ..TextChanges::default() };
        let mut effects = Effects::empty();
        let mut prepared = context.prepared.iter();
        for mention in context.mentions {
            self.tell_of_cut(link, mention);
            match mention {
                Mention::Prepare { name, types, query } => {
                    let own = prepared.next().copied().unwrap_or(Effects::UNSEEN);
                    if self.named.get(&name.bytes).is_some() {
                        self.need(link, name, &mut changes);
                        self.replace_name(&mut rewrite, name);
                    } else {
                        let types = types.as_ref();
                        let statement = prepared_by_text(context, sql, types, (query, own));
                        rewrite.replace(&name.place, &statement.name);
                        self.register(name, &statement, &mut changes);
                        link.server.prepared.insert(&statement);
                    }
                }
                Mention::Execute(name) => {
                    effects |= self.effects_of_execute(name);
                    self.need(link, name, &mut changes);
                    self.replace_name(&mut rewrite, name);
                }
                Mention::Deallocate(name) => {
                    if let Some(named) = self.named.get(&name.bytes)
                        && link.server.prepared.find(named.statement.id).is_none()
                    {
                        link.stand_in_before_query(&named.statement);
                    }
                    self.replace_name(&mut rewrite, name);
                    self.keep_namesakes(name, context);
                    self.deallocate(link.server, name, &mut changes);
                }
                Mention::DeallocateAll | Mention::DiscardAll => {
                    self.deallocate_all(link.server, &mut changes);
                }
            }
        }
        link.make_room_before_query(context.mentions.len());
        let sql = match rewrite.finish() {
            Some((sql, edits)) => {
                changes.edits = edits;
                sql
            }
            None => sql.to_vec(),
        };
        QueryText { sql, changes, effects }
    }

    /// The server does not see the client's names: says in its place that it cuts one.
    pub(super) fn tell_of_cut(&self, link: &mut Link<'_>, mention: &Mention) {
        let (Mention::Prepare { name, .. } | Mention::Execute(name) | Mention::Deallocate(name)) =
            mention
        else {
            return;
        };
        let Some(uncut) = &name.uncut else { return };
        let is_ours = self.named.get(&name.bytes).is_some();
        if !is_ours && !matches!(mention, Mention::Prepare { .. }) {
            return;
        }
        let mut notice = Vec::new();
        wire::notice(&mut notice, &name_is_cut(uncut, &name.bytes));
        link.sent(Kind::Close, Reply::Fake, Some(Note::Answer(notice.into())));
    }

    /// Makes known to the server what a Query is going to mention.
    fn need(&mut self, link: &mut Link<'_>, name: &Name, changes: &mut TextChanges) {
        self.note_name(name, changes);
        if let Some(named) = self.named.get(&name.bytes)
            && link.server.prepared.find(named.statement.id).is_none()
        {
            link.prepare_before_query(&named.statement);
        }
    }

    fn note_name(&self, name: &Name, changes: &mut TextChanges) {
        if let Some(named) = self.named.get(&name.bytes) {
            let client = significant(&name.bytes);
            changes.names.push((named.statement.name.clone(), client.into()));
        }
    }

    fn register(&mut self, name: &Name, statement: &Arc<Statement>, changes: &mut TextChanges) {
        let serial = self.named.next_serial();
        let statement = Arc::clone(statement);
        let id = statement.id;
        changes.names.push((statement.name.clone(), significant(&name.bytes).into()));
        self.named.insert(
            &name.bytes,
            Named { serial, statement, told: None, original: None, run: None, is_of_sql: true },
        );
        self.unacknowledged += 1;
        changes.changes.push_back(Change::Prepare { name: significant(&name.bytes).into(), id });
    }

    /// Other names of the client's for the statement that this text drops get one of their own: the
    /// text may go on to execute them.
    fn keep_namesakes(&mut self, name: &Name, context: &ParseContext<'_>) {
        let Some(named) = self.named.get(&name.bytes) else { return };
        let (serial, id) = (named.serial, named.statement.id);
        let all = self.named.values_mut();
        for other in all.filter(|other| other.statement.id == id && other.serial != serial) {
            let old = &other.statement;
            let (read_under, settings) = (old.read_under(), context.settings);
            let key = Key { sql: &old.sql, types: old.known_types(), read_under, settings };
            other.statement = context.table.private(key, old.sql_types.as_deref(), old.effects);
        }
    }

    fn deallocate(&mut self, server: &mut Server, name: &Name, changes: &mut TextChanges) {
        self.note_name(name, changes);
        let Some(named) = self.named.remove(&name.bytes) else { return };
        let known = server.prepared.remove(named.statement.id).map(Box::new);
        let (name, named) = (significant(&name.bytes).into(), Box::new(named));
        self.unacknowledged += 1;
        changes.changes.push_back(Change::Deallocate { name, named, known });
    }

    fn deallocate_all(&mut self, server: &mut Server, changes: &mut TextChanges) {
        self.unacknowledged += 1;
        let (named, known) = (self.named.take_all(), server.prepared.take_all());
        changes.changes.push_back(Change::All { named, known });
    }
}
