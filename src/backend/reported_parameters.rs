//! The parameters that the servers of one account report at login.

use super::server::{Reported, Server};
use super::settings::Settings;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// Entries: one for each distinct set of settings.
const ENTRIES_MAX: usize = 256;

/// ParameterStatus by settings. One short lock, taken at logins.
#[derive(Debug, Default)]
pub struct ReportedParameters(Mutex<Vec<(Arc<Settings>, Arc<Reported>)>>);

impl ReportedParameters {
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<Settings>, Arc<Reported>)>> {
        self.0.lock()
    }

    /// The parameters for a client with these settings, if a server has reported them.
    pub fn find(&self, settings: &Arc<Settings>) -> Option<Arc<Reported>> {
        let reported_parameters = self.lock();
        let found = reported_parameters.iter().find(|(known, _)| Arc::ptr_eq(known, settings));
        found.map(|(_, reported)| Arc::clone(reported))
    }

    /// Stores what a server with these settings has reported.
    pub fn remember(&self, server: &Server) {
        let mut reported_parameters = self.lock();
        let known =
            reported_parameters.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &server.settings));
        match known {
            Some((_, reported)) => *reported = Arc::clone(&server.reported),
            None => {
                if reported_parameters.len() >= ENTRIES_MAX {
                    // The first is that of a server without settings of ours: what RESET returns to.
                    reported_parameters.remove(1);
                }
                reported_parameters
                    .push((Arc::clone(&server.settings), Arc::clone(&server.reported)));
            }
        }
    }

    /// A server has logged in. If it reports other parameters than earlier servers, for instance
    /// after an upgrade, the earlier ones are dropped.
    pub fn logged_in(&self, server: &Server) {
        let same =
            self.find(&server.settings).is_some_and(|reported| *reported == *server.reported);
        if !same {
            self.lock().clear();
            self.remember(server);
        }
    }
}
