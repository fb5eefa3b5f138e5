//! At which moments somebody died, and how often.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::evil::lock;

/// When it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A Parse was sent and not answered.
    Parse,
    /// A part of a DataRow was sent.
    Row,
    /// A part of a CopyData was sent, in or out.
    Copy,
    /// CommandComplete was sent, ReadyForQuery was not.
    Ready,
    /// A startup packet was (partly) sent, ReadyForQuery was not.
    Login,
    /// A cancel request was on its way.
    Cancel,
}

/// Whose connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    /// An application's.
    Client,
    /// PostgreSQL's.
    Server,
}

const MOMENTS: [(Moment, &str); 6] = [
    (Moment::Parse, "before Parse is answered"),
    (Moment::Row, "in mid-DataRow"),
    (Moment::Copy, "in mid-COPY"),
    (Moment::Ready, "between CommandComplete and ReadyForQuery"),
    (Moment::Login, "during login"),
    (Moment::Cancel, "during cancel"),
];

/// Counts of what a run has done.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    killed: [[AtomicU64; 2]; 6],
    /// Servers ended by `pg_terminate_backend` under a statement.
    pub(crate) terminated: AtomicU64,
    /// Idle servers ended.
    pub(crate) idle: AtomicU64,
    /// Idle servers that were ended when something of a client's was on its way to them.
    pub(crate) crossed: AtomicU64,
    /// Idle servers that were sent something of a client's when they had just been ended: howdah
    /// looked a moment too early.
    pub(crate) late: AtomicU64,
    /// Clients that were told of the end of an idle server.
    pub(crate) unlucky: AtomicU64,
    /// Clients that were turned away because a server could not be opened.
    pub(crate) refused: AtomicU64,
    /// Queries that were cancelled.
    pub(crate) cancelled: AtomicU64,
    /// Cancel requests that came too late to cancel anything.
    pub(crate) stray_cancels: AtomicU64,
    /// How often each of the things was done that not every batch has.
    deeds: Mutex<BTreeMap<&'static str, u64>>,
    /// Batches that were answered.
    pub(crate) batches: AtomicU64,
    /// Messages that were compared.
    pub(crate) frames: AtomicU64,
    /// Sessions that were begun.
    pub(crate) sessions: AtomicU64,
}

impl Coverage {
    pub(crate) fn killed(&self, moment: Moment, victim: Victim) {
        Self::count(&self.killed[moment as usize][victim as usize]);
    }

    /// How often that has happened.
    pub(crate) fn times(&self, moment: Moment, victim: Victim) -> u64 {
        self.killed[moment as usize][victim as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Somebody has done this.
    pub(crate) fn did(&self, deed: &'static str) {
        *lock(&self.deeds).entry(deed).or_default() += 1;
    }

    /// What must not be zero and is, `deeds` among it.
    pub(crate) fn missing(&self, deeds: &[&'static str]) -> Vec<String> {
        let done = lock(&self.deeds);
        let undone = deeds.iter().filter(|deed| !done.contains_key(*deed));
        let mut missing: Vec<String> = undone.map(|deed| format!("nobody did: {deed}")).collect();
        for (moment, name) in MOMENTS {
            for victim in [Victim::Client, Victim::Server] {
                if self.times(moment, victim) == 0 {
                    missing.push(format!("no {victim:?} was killed {name}"));
                }
            }
        }
        let counters = [
            (&self.terminated, "no server was terminated"),
            (&self.cancelled, "no query was cancelled"),
        ];
        for (counter, complaint) in counters {
            if counter.load(Ordering::Relaxed) == 0 {
                missing.push(complaint.to_owned());
            }
        }
        missing
    }

    /// All of it, for people.
    pub(crate) fn table(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut table = format!(
            "{} batches, {} messages compared, {} sessions\n",
            get(&self.batches),
            get(&self.frames),
            get(&self.sessions)
        );
        for (moment, name) in MOMENTS {
            let [clients, servers] = &self.killed[moment as usize];
            let (clients, servers) = (get(clients), get(servers));
            table += &format!("  killed {name:<42} {clients:>7} clients {servers:>7} servers\n");
        }
        table += &format!(
            "  servers terminated by PostgreSQL {}, idle servers ended {} (statements crossed \
             the end of {}, came to {} behind it; {} clients told), {} clients turned away\n",
            get(&self.terminated),
            get(&self.idle),
            get(&self.crossed),
            get(&self.late),
            get(&self.unlucky),
            get(&self.refused)
        );
        table += &format!(
            "  queries cancelled {}, cancel requests for nothing {}\n",
            get(&self.cancelled),
            get(&self.stray_cancels)
        );
        let deeds = lock(&self.deeds);
        let deeds: Vec<String> =
            deeds.iter().map(|(deed, times)| format!("{deed} {times}")).collect();
        table + "  " + &deeds.join(", ")
    }
}
