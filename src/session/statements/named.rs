//! A client's prepared statements by its names for them.
//!
//! Owns nothing else; keeps the invariant that the client's handle says how many there are.

use crate::backend::note::Named;
use crate::session::client_handle::ClientHandle;
use hashbrown::HashMap;
use std::sync::Arc;

type Map = HashMap<Box<[u8]>, Named, foldhash::fast::RandomState>;

/// Bytes of a statement's name that count: PostgreSQL cuts it there (`NAMEDATALEN` - 1).
const NAME_MAX: usize = 63;

/// The part of a statement's name that counts.
pub(super) fn significant(name: &[u8]) -> &[u8] {
    name.get(..NAME_MAX).unwrap_or(name)
}

/// A client's named statements. Names are looked up as PostgreSQL cuts them.
#[derive(Debug)]
pub(super) struct NamedStatements {
    map: Map,
    last_serial: u32,
    /// How many have a text that is too long to be kept.
    long: u32,
    handle: Arc<ClientHandle>,
}

impl NamedStatements {
    /// None yet, of the client with this handle.
    pub(super) fn new(handle: &Arc<ClientHandle>) -> Self {
        Self { map: Map::default(), last_serial: 0, long: 0, handle: Arc::clone(handle) }
    }

    fn publish_count(&self) {
        self.handle.prepared.set(self.map.len() as u64);
    }

    /// A serial that no statement of this client has had, as far as it can be remembered.
    pub(super) fn next_serial(&mut self) -> u32 {
        self.last_serial = self.last_serial.wrapping_add(1);
        self.last_serial
    }

    #[inline]
    pub(super) fn get(&self, name: &[u8]) -> Option<&Named> {
        self.map.get(significant(name))
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut Named> {
        self.map.get_mut(significant(name))
    }

    /// The statement with this serial, and its name. Looks at all: for answers that are rare.
    pub(super) fn by_serial(&mut self, serial: u32) -> Option<(&[u8], &mut Named)> {
        let mut all = self.map.iter_mut();
        all.find(|(_, named)| named.serial == serial).map(|(name, named)| (&**name, named))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Named)> {
        self.map.iter().map(|(name, named)| (&**name, named))
    }

    pub(super) fn insert(&mut self, name: &[u8], named: Named) {
        self.long += u32::from(named.statement.is_long);
        self.map.insert(significant(name).into(), named);
        self.publish_count();
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Named> {
        let removed = self.map.remove(significant(name));
        let was_long = removed.as_ref().is_some_and(|named| named.statement.is_long);
        self.long = self.long.saturating_sub(u32::from(was_long));
        self.publish_count();
        removed
    }

    /// Whether one of them is on its server only.
    #[inline]
    pub(super) fn has_long(&self) -> bool {
        self.long > 0
    }

    /// Takes all of them.
    pub(super) fn take_all(&mut self) -> Vec<(Box<[u8]>, Named)> {
        let all = self.map.drain().collect();
        self.long = 0;
        self.publish_count();
        all
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Named> {
        self.map.values_mut()
    }
}
