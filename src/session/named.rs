//! A client's prepared statements by its names for them.
//!
//! Owns nothing else; keeps the invariant that the client's card says how many there are.

use super::card::Card;
use crate::backend::server::Named;
use hashbrown::HashMap;
use std::ops::Deref;
use std::sync::Arc;

type Map = HashMap<Box<[u8]>, Named, foldhash::fast::RandomState>;

/// A client's named statements.
#[derive(Debug)]
pub(super) struct NamedStatements {
    map: Map,
    card: Arc<Card>,
}

impl Deref for NamedStatements {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

impl NamedStatements {
    /// None yet, of the client with this card.
    pub(super) fn new(card: &Arc<Card>) -> Self {
        Self { map: Map::default(), card: Arc::clone(card) }
    }

    fn tell(&self) {
        self.card.prepared.set(self.map.len() as u64);
    }

    pub(super) fn insert(&mut self, name: Box<[u8]>, named: Named) {
        self.map.insert(name, named);
        self.tell();
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<(Box<[u8]>, Named)> {
        let removed = self.map.remove_entry(name);
        self.tell();
        removed
    }

    pub(super) fn clear(&mut self) {
        self.map.clear();
        self.tell();
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut Named> {
        self.map.get_mut(name)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Named> {
        self.map.values_mut()
    }
}
