//! What all sessions of the process share.

use super::card::Clients;
use crate::backend::settings::SettingsTable;
use crate::backend::statements::StatementTable;
use crate::fault::Words;
use crate::metrics::{Events, Queries};
use crate::pool::Pools;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What all sessions of the process share.
#[derive(Debug)]
pub struct Common {
    /// All pools.
    pub pools: Arc<Pools>,
    /// All prepared statements.
    pub statements: Arc<StatementTable>,
    /// All settings.
    pub settings: SettingsTable,
    /// What statements cost.
    pub queries: Arc<Queries>,
    /// What happened that an operator should know.
    pub events: Events,
    /// All clients.
    pub clients: Clients,
    /// Whose words errors are in.
    pub words: Words,
    /// Sessions read nothing. Whoever changes it gives each of them [`Order::Look`].
    ///
    /// [`Order::Look`]: super::card::Order::Look
    pub suspended: AtomicBool,
}
