//! How large a pool has to be: A·S < W made a tool.
//!
//! Clients arrive at rate A, hold a server for S on average, and share W servers. If both times are
//! random without memory, the share of clients that wait is Erlang's C formula, and a wait is longer
//! than t with probability C·e^(−(W−A·S)·t/S). Real traffic is rarely so kind; the prediction stands
//! beside what was measured, so that everybody sees how far it holds.

/// Work that a pool is given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// A: clients a second that get a server.
    pub arrivals: f64,
    /// A·S: how many servers are busy on average. It, not S, is what can be measured in any period:
    /// a client may keep its server for many.
    pub offered: f64,
}

/// Largest pool that is thought about.
const SIZE_MAX: u32 = 100_000;

impl Load {
    /// S: seconds that a client keeps a server, on average. Unknown when nobody came and those who
    /// have one keep it.
    pub fn service(self) -> Option<f64> {
        if self.arrivals > 0.0 {
            return Some(self.offered / self.arrivals);
        }
        (self.offered == 0.0).then_some(0.0)
    }

    /// A·S/W: the part of the time that a server of the pool is busy; above one the line grows
    /// without end.
    pub fn utilisation(self, size: u32) -> f64 {
        self.offered / f64::from(size.max(1))
    }

    /// The share of clients that find no server free.
    pub fn waiting_share(self, size: u32) -> f64 {
        let offered = self.offered;
        if offered >= f64::from(size) {
            return 1.0;
        }
        let servers = usize::try_from(size).unwrap_or(usize::MAX);
        let Some(blocked) = blocked(offered).nth(servers.saturating_sub(1)) else { return 0.0 };
        let utilisation = self.utilisation(size);
        blocked / (1.0 - utilisation * (1.0 - blocked))
    }

    /// Seconds that a share `quantile` of the clients does not wait longer than. Infinite when the
    /// pool is too small for the load, and when those who have a server keep it.
    pub fn wait(self, size: u32, quantile: f64) -> f64 {
        let share = self.waiting_share(size);
        if share >= 1.0 {
            return f64::INFINITY;
        }
        let longer = 1.0 - quantile;
        if share <= longer {
            return 0.0;
        }
        let service = self.service().unwrap_or(f64::INFINITY);
        service / (f64::from(size) - self.offered) * (share / longer).ln()
    }

    /// The smallest pool in which 99 of 100 clients wait no longer than `target` seconds.
    pub fn size_for(self, target: f64) -> u32 {
        let enough = |size: &u32| self.wait(*size, 0.99) <= target;
        let (mut low, mut high) = (1, 1);
        while !enough(&high) && high < SIZE_MAX {
            low = high + 1;
            high = high.saturating_mul(2).min(SIZE_MAX);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if enough(&middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        high
    }
}

/// Erlang's B for one server, two, three and so on, by its recursion, which neither overflows nor
/// loses digits. Ends where it has vanished: a pool may have no limit at all.
fn blocked(offered: f64) -> impl Iterator<Item = f64> {
    let (mut blocked, mut servers) = (1.0, 0.0);
    std::iter::from_fn(move || {
        servers += 1.0;
        let carried = offered * blocked;
        blocked = carried / (servers + carried);
        (blocked >= f64::MIN_POSITIVE).then_some(blocked)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// So many clients a second, each of whom keeps a server for so many seconds.
    fn load(arrivals: f64, service: f64) -> Load {
        Load { arrivals, offered: arrivals * service }
    }

    /// Random numbers that are the same each time.
    struct Random(u64);

    impl Random {
        /// From an exponential distribution of this mean.
        fn exponential(&mut self, mean: f64) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let unit = ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -mean * unit.ln()
        }
    }

    /// Waits of a first-come-first-served line in front of `size` servers, sorted.
    fn simulate(load: Load, size: u32, clients: usize) -> Vec<f64> {
        let mut random = Random(7);
        let mut free_at = vec![0.0f64; size as usize];
        let (mut now, mut waits) = (0.0, Vec::with_capacity(clients));
        for _ in 0..clients {
            now += random.exponential(1.0 / load.arrivals);
            let next = free_at.iter_mut().min_by(|a, b| a.total_cmp(b)).expect("a server");
            let start = next.max(now);
            waits.push(start - now);
            *next = start + random.exponential(load.service().expect("somebody comes"));
        }
        waits.sort_by(f64::total_cmp);
        waits
    }

    #[test]
    fn a_simulation_agrees() {
        for (arrivals, service, size) in
            [(50.0, 0.1, 6), (50.0, 0.1, 8), (900.0, 0.01, 10), (30.0, 0.02, 1), (1500.0, 0.01, 16)]
        {
            let load = load(arrivals, service);
            let waits = simulate(load, size, 400_000);
            let share =
                waits.iter().filter(|wait| **wait > 0.0).count() as f64 / waits.len() as f64;
            assert!((share - load.waiting_share(size)).abs() < 0.02, "{load:?} {size}: {share}");
            let p99 = waits[waits.len() * 99 / 100];
            let predicted = load.wait(size, 0.99);
            assert!(
                (p99 - predicted).abs() <= 0.1 * predicted + 1e-4,
                "{load:?} {size}: {p99} {predicted}"
            );
        }
    }

    #[test]
    fn known_values() {
        // Tables of the Erlang C formula: ten servers, eight erlangs.
        let load = load(8.0, 1.0);
        assert!((load.waiting_share(10) - 0.4092).abs() < 0.0001);
        assert!(load.wait(8, 0.99).is_infinite());
        assert_eq!(Load { arrivals: 0.0, offered: 0.0 }.size_for(0.01), 1);
    }

    #[test]
    fn who_keeps_a_server_is_waited_for_without_end() {
        let kept = Load { arrivals: 0.0, offered: 2.0 };
        assert_eq!((kept.service(), kept.utilisation(4)), (None, 0.5));
        assert!(kept.wait(2, 0.5).is_infinite() && kept.wait(3, 0.99).is_infinite());
        let size = kept.size_for(0.001);
        assert!(kept.wait(size, 0.99) == 0.0 && kept.wait(size - 1, 0.99).is_infinite(), "{size}");
    }

    #[test]
    fn a_pool_without_a_limit_is_not_counted_through() {
        assert!(blocked(200.0).take(10_000).count() < 10_000);
        let load = load(2000.0, 0.1);
        assert_eq!((load.waiting_share(u32::MAX), load.wait(u32::MAX, 0.99)), (0.0, 0.0));
    }

    proptest! {
        #[test]
        fn a_larger_pool_waits_less(arrivals in 0.1f64..5000.0, service in 0.0001f64..1.0, size in 1u32..500) {
            let load = load(arrivals, service);
            prop_assert!(load.wait(size + 1, 0.99) <= load.wait(size, 0.99));
            prop_assert!((0.0..=1.0).contains(&load.waiting_share(size)));
        }

        #[test]
        fn the_size_is_the_smallest(arrivals in 0.1f64..2000.0, service in 0.0001f64..0.2, target in 0.0001f64..0.1) {
            let load = load(arrivals, service);
            let size = load.size_for(target);
            prop_assert!(load.wait(size, 0.99) <= target);
            prop_assert!(size == 1 || load.wait(size - 1, 0.99) > target);
        }
    }
}
