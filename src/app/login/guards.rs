//! What is counted or listed as long as a client is there, however it leaves.

use crate::pool::admission::{Admission, Admitted, Login};
use crate::session::client_handle::ClientHandle;
use crate::session::common::Common;
use parking_lot::Mutex;
use std::sync::Arc;

/// Counts a login as long as it is in progress.
pub(in crate::app) struct LoginGuard {
    /// Where it is counted.
    pub admission: Arc<Mutex<Admission>>,
    /// Its place in the count; none once it is a client.
    pub login: Option<Login>,
}

impl Drop for LoginGuard {
    fn drop(&mut self) {
        if let Some(login) = self.login.take() {
            self.admission.lock().abandon(login);
        }
    }
}

/// Counts a client as long as it is there.
pub(in crate::app) struct ClientGuard {
    /// Where it is counted.
    pub admission: Arc<Mutex<Admission>>,
    /// Its place in the count.
    pub admitted: Option<Admitted>,
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            self.admission.lock().release(admitted);
        }
    }
}

/// Lists a client by its cancel key as long as it is there.
pub(in crate::app) struct HandleGuard {
    /// Where it is listed.
    pub common: Arc<Common>,
    /// Its handle.
    pub handle: Arc<ClientHandle>,
}

impl Drop for HandleGuard {
    fn drop(&mut self) {
        self.common.clients.forget(&self.handle);
    }
}
