//! What the answers to a client's messages change of its prepared statements.

use super::{Statements, UNCERTAIN};
use crate::backend::note::{Change, Note, TextChanges, Unnamed};
use crate::backend::server::{Sequences, Server};
use crate::backend::settings::Settings;
use crate::backend::statements::{Key, StatementTable};
use crate::wire::server;
use std::sync::Arc;

/// Whether the body of this answer is opened here.
pub(in crate::session) fn opened_by_statements(tag: u8, note: Option<&Note>) -> bool {
    match tag {
        server::ROW_DESCRIPTION => {
            matches!(note, Some(Note::Describe { .. } | Note::DescribePortal(_) | Note::Shape(_)))
        }
        server::PARAMETER_DESCRIPTION => {
            matches!(note, Some(Note::Describe { .. } | Note::Parameters(_)))
        }
        _ => false,
    }
}

/// The shape of the rows that an answer promises.
fn shape_of(tag: u8, body: &[u8]) -> Option<server::RowShape> {
    match tag {
        server::ROW_DESCRIPTION => server::read_row_shape(body),
        server::NO_DATA => Some(server::RowShape::NO_DATA),
        _ => None,
    }
}

/// The unnamed statement of this serial has not come about: a message that is still to be answered, and
/// has replaced it, has replaced what was `before` it.
fn replace_before(server: &mut Server, serial: u64, before: Option<Box<Unnamed>>) {
    let followed = server.replies.notes_mut().find_map(|note| {
        let Note::Unnamed { before: followed, .. } = note else { return None };
        followed.as_ref().is_some_and(|before| before.serial == serial).then_some(followed)
    });
    if let Some(followed) = followed {
        *followed = before;
    }
}

/// Takes the change that this command's tag confirms.
fn confirmed(texts: &mut TextChanges, tag: &[u8]) -> Option<Change> {
    let is_it = matches!(
        (texts.changes.front()?, tag),
        (Change::Prepare { .. }, b"PREPARE\0")
            | (Change::Deallocate { .. }, b"DEALLOCATE\0")
            | (Change::All { .. }, b"DEALLOCATE ALL\0" | b"DISCARD ALL\0")
    );
    if is_it { texts.changes.pop_front() } else { None }
}

impl Statements {
    /// The answer came that the note was waiting for: a frame with this tag and body.
    pub(in crate::session) fn commit(
        &mut self,
        server: &mut Server,
        note: Note,
        (tag, body): (u8, &[u8]),
    ) {
        let shape = shape_of(tag, body);
        match note {
            Note::Unnamed { before: Some(before), .. } => self.reuse(before.body),
            Note::Describe { serial, id } => {
                let named = self.named.by_serial(serial).map(|(_, named)| named);
                if let Some(named) = named {
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
            Note::Parse { .. } | Note::Close { .. } => self.acknowledge(1),
            // What it has not confirmed by now has not come about.
            Note::Texts(texts) => self.undo_texts(server, *texts),
            Note::Unnamed { before: None, .. }
            | Note::Again(_)
            | Note::OfferUnnamed
            | Note::Duplicate(_)
            | Note::Prepare(_)
            | Note::Try(_)
            | Note::Evict(_)
            | Note::Bind(_)
            | Note::Parameters(_)
            | Note::Run(_)
            | Note::Refuse(_)
            | Note::ForgetSequences { .. }
            | Note::Answer(_) => {}
        }
    }

    fn acknowledge(&mut self, changes: u32) {
        self.unacknowledged = self.unacknowledged.saturating_sub(changes);
    }

    /// CommandComplete of what is in front of the server's queue: confirms what its text changes.
    pub(in crate::session) fn completed(&mut self, server: &mut Server, tag: &[u8]) {
        let all = matches!(tag, b"DEALLOCATE ALL\0" | b"DISCARD ALL\0");
        if !all && !matches!(tag, b"PREPARE\0" | b"DEALLOCATE\0") {
            return;
        }
        let change = match server.replies.front_note_mut() {
            Some(Note::Texts(texts)) => confirmed(texts, tag),
            _ => None,
        };
        if change.is_some() {
            self.acknowledge(1);
        } else if all {
            // A text that was not read has dropped everything.
            drop(self.named.take_all());
            server.prepared.doubt_all();
        }
    }

    /// ParameterDescription, for what is in front of the server's queue.
    pub(in crate::session) fn parameters(
        &mut self,
        server: &mut Server,
        body: &[u8],
        (table, settings): (&Arc<StatementTable>, &Arc<Settings>),
    ) {
        let serial = match server.replies.front().and_then(|front| front.note.as_ref()) {
            Some(Note::Describe { serial, .. } | Note::Parameters(serial)) => *serial,
            _ => return,
        };
        let types = server::read_parameter_types(body);
        let (Some(types), Some((_, named))) = (types, self.named.by_serial(serial)) else { return };
        let old = &named.statement;
        if old.learn_parameters(&types) {
            return;
        }
        // The tables have changed: the statement of those who have prepared it before is another.
        table.retire(old);
        server.prepared.doubt(old.id);
        let key = Key { sql: &old.sql, types: &old.types, read_under: old.read_under(), settings };
        let new = table.intern(key, || old.effects);
        new.learn_parameters(&types);
        named.statement = new;
    }

    /// The answer is not going to come. `failed`: this is the message that failed, and not one
    /// behind it that the server never looked at.
    pub(in crate::session) fn undo(&mut self, server: &mut Server, mut note: Note, failed: bool) {
        if let Note::Texts(texts) = note {
            return self.undo_texts(server, *texts);
        }
        server.undo(&mut note);
        match note {
            Note::Parse { name, on_server } => {
                self.acknowledge(1);
                if self.named.get(&name).is_some_and(|named| named.statement.id == on_server) {
                    self.named.remove(&name);
                }
            }
            Note::Unnamed { serial, before } => {
                server.unnamed = UNCERTAIN;
                // PostgreSQL drops the old one before it looks at the new one.
                let before = before.filter(|_| !failed);
                if self.unnamed.as_ref().map_or(0, |now| now.serial) == serial {
                    self.unnamed = before.map(|before| *before);
                } else {
                    // One that came behind it, in another batch, stays, unless that fails too.
                    replace_before(server, serial, before);
                }
            }
            Note::Again(serial) => {
                self.unnamed.take_if(|now| failed && now.serial == serial);
            }
            Note::Close { name, named } => {
                self.acknowledge(1);
                self.named.insert(&name, *named);
            }
            Note::Prepare(_)
            | Note::Try(_)
            | Note::OfferUnnamed
            | Note::Evict(_)
            | Note::Bind(_)
            | Note::Shape(_)
            | Note::Parameters(_)
            | Note::Describe { .. }
            | Note::DescribePortal(_)
            | Note::Duplicate(_)
            | Note::Run(_)
            | Note::Texts(_)
            | Note::Refuse(_)
            | Note::ForgetSequences { .. }
            | Note::Answer(_) => {}
        }
    }

    /// Changes of a text that do not come about.
    pub(in crate::session) fn undo_texts(&mut self, server: &mut Server, texts: TextChanges) {
        for mut change in texts.changes.into_iter().rev() {
            self.acknowledge(1);
            server.undo_change(&mut change);
            match change {
                Change::Prepare { name, id } => {
                    if self.named.get(&name).is_some_and(|named| named.statement.id == id) {
                        self.named.remove(&name);
                    }
                }
                Change::Deallocate { name, named, .. } => self.named.insert(&name, *named),
                Change::All { named, .. } => {
                    named.into_iter().for_each(|(name, named)| self.named.insert(&name, named));
                }
            }
        }
    }

    /// A Query failed: what its text was still to change does not come about. What came before in
    /// the text has, even if it is rolled back.
    pub(in crate::session) fn query_failed(&mut self, server: &mut Server) {
        match server.replies.front_note_mut() {
            Some(Note::Texts(texts)) => {
                let changes = std::mem::take(&mut texts.changes);
                self.undo_texts(server, TextChanges { changes, ..Default::default() });
            }
            Some(Note::ForgetSequences { .. }) => server.sequences = Sequences::Mixed,
            Some(_) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_confirms_the_change_that_comes_next() {
        let mut texts = TextChanges::default();
        texts.changes.push_back(Change::Prepare { name: (*b"a").into(), id: 1 });
        texts.changes.push_back(Change::All { named: Vec::new(), known: Vec::new() });
        for tag in [&b"SELECT 1\0"[..], b"DEALLOCATE ALL\0", b"DEALLOCATE\0"] {
            assert!(confirmed(&mut texts, tag).is_none(), "{tag:?}");
        }
        assert!(matches!(confirmed(&mut texts, b"PREPARE\0"), Some(Change::Prepare { id: 1, .. })));
        assert!(matches!(confirmed(&mut texts, b"DISCARD ALL\0"), Some(Change::All { .. })));
        assert!(confirmed(&mut texts, b"PREPARE\0").is_none());
    }
}
