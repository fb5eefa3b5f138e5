//! What the servers of one account say when somebody logs in.

use super::server::{Reported, Server};
use super::settings::Settings;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// Welcomes that are remembered: one for each distinct set of settings.
const WELCOMES_MAX: usize = 256;

/// ParameterStatus by settings. One short lock, taken at logins.
#[derive(Debug, Default)]
pub struct Welcomes(Mutex<Vec<(Arc<Settings>, Arc<Reported>)>>);

impl Welcomes {
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Settings>, Arc<Reported>)>> {
        self.0.lock()
    }

    /// What a client with these settings is told, if a server has said it.
    pub fn find(&self, settings: &Arc<Settings>) -> Option<Arc<Reported>> {
        let welcomes = self.lock();
        let found = welcomes.iter().find(|(known, _)| Arc::ptr_eq(known, settings));
        found.map(|(_, reported)| Arc::clone(reported))
    }

    /// A server with these settings said this.
    pub fn remember(&self, server: &Server) {
        let mut welcomes = self.lock();
        let known = welcomes.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &server.settings));
        match known {
            Some((_, reported)) => *reported = Arc::clone(&server.reported),
            None => {
                if welcomes.len() >= WELCOMES_MAX {
                    // The first is that of a server without settings of ours: what RESET returns to.
                    welcomes.remove(1);
                }
                welcomes.push((Arc::clone(&server.settings), Arc::clone(&server.reported)));
            }
        }
    }

    /// A server logged in: what earlier ones said no longer counts if it says something else, for
    /// instance after an upgrade.
    pub fn logged_in(&self, server: &Server) {
        let same =
            self.find(&server.settings).is_some_and(|reported| *reported == *server.reported);
        if !same {
            self.lock().clear();
            self.remember(server);
        }
    }
}
