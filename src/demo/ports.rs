//! Ports for the demo's processes.
//!
//! Owns the choice: below the range from which the kernel gives ports to connections and to those who
//! ask for any, so that nobody is given one of them by chance. Each is held until its process starts.

use std::net::TcpListener;
use std::ops::RangeInclusive;

use anyhow::{Context, Result};

/// Most kernels give away 32768 and above (`ip_local_port_range`), and services have numbers below.
const RANGE: RangeInclusive<u16> = 20_000..=31_999;

/// How many are tried before there is none.
const TRIES: u32 = 1_000;

/// One port of 127.0.0.1 for each process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) primary: u16,
    pub(super) replica: u16,
    pub(super) cascade: u16,
    pub(super) howdah: u16,
}

/// Ports that are held for processes that have not started.
#[derive(Debug)]
pub(super) struct Reserved(Vec<TcpListener>);

impl Ports {
    /// Four free ports, which nobody else can have until they are released.
    pub(super) fn reserve() -> Result<(Self, Reserved)> {
        let held = [hold()?, hold()?, hold()?, hold()?];
        let port = |at: usize| {
            held[at].local_addr().map(|addr| addr.port()).context("a port without a number")
        };
        let ports =
            Self { primary: port(0)?, replica: port(1)?, cascade: port(2)?, howdah: port(3)? };
        Ok((ports, Reserved(held.into())))
    }

    /// PostgreSQL's, with the names of the servers.
    pub(super) fn nodes(self) -> [(&'static str, u16); 3] {
        [("primary", self.primary), ("replica", self.replica), ("cascade", self.cascade)]
    }
}

impl Reserved {
    /// The process that the port is for starts now.
    pub(super) fn release(&mut self, port: u16) {
        self.0.retain(|held| held.local_addr().is_ok_and(|address| address.port() != port));
    }
}

fn hold() -> Result<TcpListener> {
    let size = u32::from(RANGE.end() - RANGE.start()) + 1;
    for _ in 0..TRIES {
        let offset = getrandom::u32().context("no random number")? % size;
        let port = RANGE.start() + u16::try_from(offset).unwrap_or_default();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener);
        }
    }
    TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_held_until_they_are_released() {
        let (ports, mut reserved) = Ports::reserve().unwrap();
        let mut all = vec![ports.primary, ports.replica, ports.cascade, ports.howdah];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
        for port in all {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_err(), "{port} is held");
            reserved.release(port);
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "{port} is free again");
        }
    }
}
