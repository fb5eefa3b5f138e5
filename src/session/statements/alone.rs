//! What becomes of a client's statements while it has no server: in a transaction block that was lost, and in a
//! batch that is sent again.

use super::{Named, ParseContext, SERIALS, Statements, Unnamed};
use crate::backend::statements::Key;
use crate::wire::client;
use std::sync::atomic::Ordering;

impl Statements {
    /// A Parse that no server has seen: that of a statement which PostgreSQL prepares in a transaction
    /// block that has failed. False if its name is taken.
    pub(in crate::session) fn parse_without_server(
        &mut self,
        body: &[u8],
        context: &ParseContext<'_>,
    ) -> bool {
        let Some(view) = client::read_parse(body) else { return true };
        let effects = context.effects.bits();
        if view.name.is_empty() {
            let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
            let (original, run) = (None, context.run);
            let (body, reading) = (body.to_vec(), context.reading);
            self.unnamed = Some(Unnamed { body, serial, effects, reading, original, run });
            return true;
        }
        if self.named.get(view.name).is_some() {
            return false;
        }
        let (read_under, settings) = (context.read_under, context.settings);
        let key = Key { sql: view.sql, types: view.types, read_under, settings };
        let statement = context.table.intern(key, || effects);
        let serial = self.named.next_serial();
        let (told, original, run, is_of_sql) = (None, None, context.run, false);
        self.named.insert(view.name, Named { serial, statement, told, original, run, is_of_sql });
        true
    }

    /// A Close that no server has seen.
    pub(in crate::session) fn close_without_server(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(name);
        }
    }

    /// The batch that prepared this is sent again from its beginning, to another server.
    pub(in crate::session) fn forget(&mut self, name: &[u8]) {
        self.named.remove(name);
    }
}
