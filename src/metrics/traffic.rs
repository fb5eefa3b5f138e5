//! What the clients of one pool did.

use super::{Cell, Distribution, Histogram};
use std::sync::OnceLock;

/// What one thread counts of a pool.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Times a client was given a server.
    pub assignments: Cell,
    /// Bytes from clients.
    pub received: Cell,
    /// Bytes to clients.
    pub sent: Cell,
    /// Parse of a name by clients.
    pub client_parses: Cell,
    /// Parse sent to servers.
    pub server_parses: Cell,
    /// Bind of a name by clients.
    pub binds: Cell,
    /// Logins of clients.
    pub logins: Cell,
    /// Errors that clients were told of.
    pub errors: Cell,
    /// Waits for a server, those without a wait too.
    pub wait: Histogram,
    /// Statements and batches: from the first byte sent to a server to ReadyForQuery.
    pub query: Histogram,
    /// Transactions, from the same byte to the ReadyForQuery that ends them.
    pub transaction: Histogram,
    /// Openings of servers that succeeded, from the first packet to the end of the login.
    pub connect: Histogram,
}

/// What all threads count of a pool. Those that never served it cost a pointer.
#[derive(Debug)]
pub struct PoolTraffic(Box<[OnceLock<Box<Traffic>>]>);

impl PoolTraffic {
    /// For so many threads.
    pub fn new(threads: usize) -> Self {
        Self((0..threads.max(1)).map(|_| OnceLock::new()).collect())
    }

    /// What this thread counts. A number that is too large is the last thread's.
    #[inline]
    #[expect(
        clippy::indexing_slicing,
        reason = "there is one thread at least, and none beyond the last"
    )]
    pub fn of(&self, thread: usize) -> &Traffic {
        self.0[thread.min(self.0.len() - 1)].get_or_init(Box::default)
    }

    /// The sums of all threads.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.0.iter().filter_map(OnceLock::get).for_each(|one| totals.add(one));
        totals
    }
}

/// Sums over threads, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in Traffic")]
pub struct Totals {
    pub assignments: u64,
    pub received: u64,
    pub sent: u64,
    pub client_parses: u64,
    pub server_parses: u64,
    pub binds: u64,
    pub logins: u64,
    pub errors: u64,
    pub wait: Distribution,
    pub query: Distribution,
    pub transaction: Distribution,
    pub connect: Distribution,
}

impl Totals {
    fn add(&mut self, one: &Traffic) {
        self.assignments += one.assignments.get();
        self.received += one.received.get();
        self.sent += one.sent.get();
        self.client_parses += one.client_parses.get();
        self.server_parses += one.server_parses.get();
        self.binds += one.binds.get();
        self.logins += one.logins.get();
        self.errors += one.errors.get();
        one.wait.add_to(&mut self.wait);
        one.query.add_to(&mut self.query);
        one.transaction.add_to(&mut self.transaction);
        one.connect.add_to(&mut self.connect);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.assignments += other.assignments;
        self.received += other.received;
        self.sent += other.sent;
        self.client_parses += other.client_parses;
        self.server_parses += other.server_parses;
        self.binds += other.binds;
        self.logins += other.logins;
        self.errors += other.errors;
        self.wait.merge(&other.wait);
        self.query.merge(&other.query);
        self.transaction.merge(&other.transaction);
        self.connect.merge(&other.connect);
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let counts = self.assignments + self.received + self.sent + self.client_parses;
        let others = self.server_parses + self.binds + self.logins + self.errors;
        let times = [&self.wait, &self.query, &self.transaction, &self.connect];
        counts == 0 && others == 0 && times.iter().all(|times| times.count() == 0)
    }

    /// What happened since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            assignments: self.assignments.saturating_sub(earlier.assignments),
            received: self.received.saturating_sub(earlier.received),
            sent: self.sent.saturating_sub(earlier.sent),
            client_parses: self.client_parses.saturating_sub(earlier.client_parses),
            server_parses: self.server_parses.saturating_sub(earlier.server_parses),
            binds: self.binds.saturating_sub(earlier.binds),
            logins: self.logins.saturating_sub(earlier.logins),
            errors: self.errors.saturating_sub(earlier.errors),
            wait: self.wait.since(&earlier.wait),
            query: self.query.since(&earlier.query),
            transaction: self.transaction.since(&earlier.transaction),
            connect: self.connect.since(&earlier.connect),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_threads_and_differences() {
        let traffic = PoolTraffic::new(3);
        traffic.of(0).assignments.add(2);
        traffic.of(2).assignments.add(3);
        traffic.of(2).wait.record(10);
        traffic.of(9).sent.add(1);
        let before = traffic.totals();
        assert_eq!((before.assignments, before.sent, before.wait.count()), (5, 1, 1));
        traffic.of(1).query.record(7);
        let since = traffic.totals().since(&before);
        assert_eq!((since.assignments, since.query.count(), since.query.sum), (0, 1, 7));
        let mut both = before.clone();
        both.merge(&since);
        assert_eq!(both, traffic.totals());
    }
}
