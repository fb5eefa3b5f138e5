//! The look at idle servers' sockets.

use super::core::At;
use super::lease::Lease;
use super::pools::Pools;
use std::sync::Arc;
use std::task::{Context, Waker};

/// Calls of [`Pools::sweep`] that pass all servers once.
const SWEEPS: u32 = 10;

impl Pools {
    /// Goes on with looking for idle servers that have died: called every 100 ms, it asks each one
    /// about once a second. What a server says while nobody uses it is taken in, and one that is of
    /// no use any more goes. Not to be called in a task with a budget: a socket that may not be
    /// read now counts as alive.
    pub fn sweep(self: &Arc<Self>) {
        let calls = self.lock().calls_per_sweep().div_ceil(SWEEPS);
        for _ in 0..calls {
            let now = self.now();
            let suspects =
                self.with(|core| core.suspects(now, |server| server.stream.has_spoken()));
            for suspect in suspects {
                let at = At { worker: suspect.was_home, now };
                self.examine(Lease::new(self, at, suspect));
            }
        }
    }

    fn examine(&self, mut lease: Lease) {
        if lease.server().is_alive(&mut Context::from_waker(Waker::noop())) {
            // One that cannot be given back, because it has said that it ends, is closed.
            drop(lease.try_return());
        }
    }
}
