//! What the tests share: PostgreSQL servers of their own, a client that speaks raw protocol, the
//! real `howdah` binary, and scripts that run the same conversation against both.
#![allow(dead_code, reason = "each test binary uses its own part of the support")]

pub(crate) mod behaviour;
pub(crate) mod console;
pub(crate) mod howdah;
pub(crate) mod load;
pub(crate) mod messages;
pub(crate) mod noise;
pub(crate) mod pair;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod script;
pub(crate) mod stage;
pub(crate) mod tls;
pub(crate) mod transcript;
pub(crate) mod watchdog;
pub(crate) mod wire;

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::time::Duration;

/// How long a test waits for anything that should happen at once. Reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A port that nobody listens on at this moment, and that no other caller in this process was
/// given. It lies below the range from which the kernel gives ports to connections. Another process
/// may take it before the caller does, so whoever uses it tries again with another.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock();
    loop {
        // Keyed at random, as no crate for it is among the dependencies of tests.
        let random = RandomState::new().hash_one(given.len()) % 12_000;
        let port = 20_000 + u16::try_from(random).expect("it is below 12,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && given.insert(port) {
            return port;
        }
    }
}

/// Rests a moment between two looks at something that gives no event, then says whether there is
/// time left until `deadline`.
pub(crate) fn look_again(deadline: tokio::time::Instant) -> bool {
    std::thread::park_timeout(Duration::from_millis(5));
    tokio::time::Instant::now() < deadline
}

/// The instant at which a wait of [`PATIENCE`] that begins now has failed.
pub(crate) fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + PATIENCE
}
