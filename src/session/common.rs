//! What all sessions of the process share.

use super::client_handle::Clients;
use crate::backend::settings::SettingsTable;
use crate::backend::statements::StatementTable;
use crate::cluster::last_writes::LastWrites;
use crate::fault::MessageStyle;
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
    /// The last write to each database.
    pub last_writes: LastWrites,
    /// The style of error messages.
    pub message_style: MessageStyle,
    /// Sessions read nothing while it is set. The thread that changes it gives every session
    /// [`Order::SuspendChanged`].
    ///
    /// [`Order::SuspendChanged`]: super::handle::Order::SuspendChanged
    pub suspended: AtomicBool,
}
