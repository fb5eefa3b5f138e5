//! What would go to replicas if reads did, and what keeps the rest on the primary.
//!
//! Owns, for one database whose route is `advise`, how often each statement was in front of a unit, how long its
//! server was kept, and why no replica could have had it. Each thread has a table of its own, which nobody else
//! holds but while it is shown. Bounded: a full table forgets the statements that cost least, and keeps the sum
//! of what it has forgotten. Holds statements in their normal form, without values. Decides nothing.

use super::decision::Decision;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Statements of one thread's table.
const STATEMENTS_MAX: usize = 256;

/// How often, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Units.
    pub calls: u64,
    /// Time for which they had their server.
    pub time: Duration,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.time = self.time.saturating_add(other.time);
    }
}

/// One statement that stays on the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advised {
    /// Of its normal form.
    pub fingerprint: u64,
    /// Its normal form, as people read it.
    pub text: Box<str>,
    /// Why it stays.
    pub decision: Decision,
    /// How often, and how long.
    pub sum: Sum,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// What replicas could have had.
    pub reads: Sum,
    /// What stays on the primary because of what it is, those first that took longest.
    pub statements: Vec<Advised>,
    /// What was counted and has no place any more.
    pub others: Sum,
}

#[derive(Debug, Default)]
struct Table {
    reads: Sum,
    statements: HashMap<(u64, Decision), (Box<str>, Sum)>,
    others: Sum,
}

impl Table {
    fn record(&mut self, unit: &Unit, time: Duration) {
        let sum = Sum { calls: 1, time };
        let Some((fingerprint, text)) = &unit.statement else {
            let all =
                if unit.decision == Decision::Advised { &mut self.reads } else { &mut self.others };
            return all.add(sum);
        };
        let key = (*fingerprint, unit.decision);
        if let Some((_, known)) = self.statements.get_mut(&key) {
            return known.add(sum);
        }
        if self.statements.len() >= STATEMENTS_MAX {
            self.forget_half();
        }
        self.statements.insert(key, (text.clone(), sum));
    }

    fn forget_half(&mut self) {
        let mut times: Vec<Duration> = self.statements.values().map(|(_, sum)| sum.time).collect();
        times.sort_unstable();
        let limit = times.get(times.len() / 2).copied().unwrap_or_default();
        // Many may have taken the same time.
        let mut ties = times.iter().filter(|time| **time > limit).count();
        let others = &mut self.others;
        self.statements.retain(|_, (_, sum)| {
            let is_tie = sum.time == limit && ties < STATEMENTS_MAX / 2;
            ties += usize::from(is_tie);
            let stays = sum.time > limit || is_tie;
            if !stays {
                others.add(*sum);
            }
            stays
        });
    }
}

/// Of one database.
#[derive(Debug)]
pub struct Advice {
    threads: Box<[Mutex<Table>]>,
}

impl Advice {
    /// Of so many threads.
    pub fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| Mutex::default()).collect() }
    }

    /// What all threads have counted.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        let mut statements = HashMap::<(u64, Decision), (Box<str>, Sum)>::new();
        for table in &self.threads {
            let table = table.lock();
            counted.reads.add(table.reads);
            counted.others.add(table.others);
            for (key, (text, sum)) in &table.statements {
                statements
                    .entry(*key)
                    .or_insert_with(|| (text.clone(), Sum::default()))
                    .1
                    .add(*sum);
            }
        }
        let statements = statements.into_iter();
        counted.statements = statements
            .map(|((fingerprint, decision), (text, sum))| Advised {
                fingerprint,
                text,
                decision,
                sum,
            })
            .collect();
        counted.statements.sort_by(|a, b| {
            (b.sum.time, b.sum.calls, b.fingerprint).cmp(&(a.sum.time, a.sum.calls, a.fingerprint))
        });
        counted
    }

    fn record(&self, thread: usize, unit: &Unit, time: Duration) {
        if let Some(table) = self.threads.get(thread) {
            table.lock().record(unit, time);
        }
    }
}

/// A unit that was looked at, and what it was found to be.
#[derive(Debug)]
pub(super) struct Unit {
    /// Where it would go: [`Decision::Advised`] for a replica.
    pub(super) decision: Decision,
    /// What keeps it on the primary: its fingerprint and its normal form.
    pub(super) statement: Option<(u64, Box<str>)>,
}

/// A unit that waits for its server, or has it: counted when this is dropped, if it has had one.
#[derive(Debug)]
pub(super) struct Running {
    advice: Arc<Advice>,
    thread: usize,
    unit: Unit,
    began: Option<Instant>,
}

impl Running {
    /// Of a unit without a server.
    pub(super) fn new(advice: &Arc<Advice>, thread: usize, unit: Unit) -> Box<Self> {
        Box::new(Self { advice: Arc::clone(advice), thread, unit, began: None })
    }

    /// It has its server.
    pub(super) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(began) = self.began {
            self.advice.record(self.thread, &self.unit, began.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Reason;

    fn unit(number: u64) -> Unit {
        let statement = Some((number, format!("select {number}").into()));
        Unit { decision: Decision::Primary(Reason::Lock), statement }
    }

    #[test]
    fn statements_of_all_threads_are_one() {
        let advice = Advice::new(2);
        for thread in [0, 1, 1] {
            advice.record(thread, &unit(7), Duration::from_millis(2));
        }
        advice.record(0, &unit(8), Duration::from_millis(7));
        let read = Unit { decision: Decision::Advised, statement: None };
        advice.record(1, &read, Duration::from_millis(1));
        let counted = advice.counted();
        let of = |calls, millis| Sum { calls, time: Duration::from_millis(millis) };
        assert_eq!((counted.reads, counted.others), (of(1, 1), Sum::default()));
        let found: Vec<_> =
            counted.statements.iter().map(|one| (one.fingerprint, &*one.text, one.sum)).collect();
        assert_eq!(found, [(8, "select 8", of(1, 7)), (7, "select 7", of(3, 6))]);
    }

    #[test]
    fn a_full_table_forgets_what_costs_least_and_keeps_the_sum() {
        let advice = Advice::new(1);
        for number in 0..4 * STATEMENTS_MAX as u64 {
            let time = if number == 3 { 1_000_000 } else { number };
            advice.record(0, &unit(number), Duration::from_micros(time));
            assert!(advice.threads[0].lock().statements.len() <= STATEMENTS_MAX);
        }
        let counted = advice.counted();
        assert_eq!(counted.statements[0].fingerprint, 3);
        let calls: u64 = counted.statements.iter().map(|one| one.sum.calls).sum();
        assert_eq!(calls + counted.others.calls, 4 * STATEMENTS_MAX as u64);
    }

    #[test]
    fn a_unit_that_never_had_a_server_is_not_counted() {
        let advice = Arc::new(Advice::new(1));
        drop(Running::new(&advice, 0, unit(1)));
        assert_eq!(advice.counted(), Counted::default());
        let mut running = Running::new(&advice, 0, unit(1));
        running.begin();
        drop(running);
        assert_eq!(advice.counted().statements.len(), 1);
    }
}
