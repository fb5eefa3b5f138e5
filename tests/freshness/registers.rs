//! Clients who write and read at once what they have written, while somebody makes trouble.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::Instant;

use crate::support::console::{console, rows_with};
use crate::support::howdah::Howdah;
use crate::support::pair::Pair;
use crate::support::postgres::{Postgres, RIDER};
use crate::support::wire::{Received, Wire, lines};
use crate::support::{PATIENCE, deadline, look_again, messages};

/// Registers that a test may use.
const REGISTERS: usize = 16;

/// Makes the registers, each with the value 0.
pub(crate) fn create(primary: &Postgres) {
    let mut admin = primary.admin("app");
    admin.run("CREATE TABLE public.registers (id int PRIMARY KEY, value bigint NOT NULL)");
    admin.run("CREATE TABLE public.noise (value text)");
    admin.run("GRANT ALL ON public.registers, public.noise TO public");
    admin.run(&format!(
        "INSERT INTO public.registers SELECT id, 0 FROM generate_series(0, {REGISTERS}) AS id"
    ));
}

/// The rows of a statement; `None` if it failed, or the connection has ended.
pub(crate) fn ask(wire: &mut Wire, sql: &str) -> Option<Vec<Vec<String>>> {
    wire.send(&messages::query(sql));
    let (mut rows, mut has_failed) = (Vec::new(), false);
    let end = Instant::now() + 4 * PATIENCE;
    loop {
        match wire.next(end) {
            Received::Frame(frame) => match frame.tag {
                b'D' => {
                    let columns = frame.columns().expect("a row").into_iter();
                    let text = |value: Option<Vec<u8>>| {
                        String::from_utf8(value.unwrap_or_default()).expect("text")
                    };
                    rows.push(columns.map(text).collect());
                }
                b'E' => has_failed = true,
                b'Z' => return (!has_failed).then_some(rows),
                _ => {}
            },
            Received::Closed => return None,
            Received::Silence => unreachable!("no answer to {sql}"),
        }
    }
}

/// How a client of the load writes and reads.
pub(crate) struct Client {
    /// Where it writes.
    pub(crate) writer: SocketAddr,
    /// Where it reads, by a session of its own; `None`: by the one that has written.
    pub(crate) reader: Option<SocketAddr>,
    /// Its register, which nobody else writes.
    pub(crate) register: usize,
    /// A statement may fail, and a connection may end.
    pub(crate) is_tolerant: bool,
}

fn login(address: SocketAddr, is_tolerant: bool) -> Wire {
    if !is_tolerant {
        return Wire::login(address, RIDER, "app");
    }
    let end = deadline();
    loop {
        let mut wire = Wire::tcp(address);
        let frames = wire.start(&[("user", RIDER), ("database", "app")], "");
        if frames.last().is_some_and(|frame| frame.tag == b'Z') {
            return wire;
        }
        assert!(look_again(end), "no login: {}", lines(&frames));
    }
}

impl Client {
    /// Writes and reads so often; each read shows what was written just before. Gives the number of reads.
    fn run(&self, rounds: usize, going: &Going<'_>) -> usize {
        let open = || {
            let reader = self.reader.map(|address| login(address, self.is_tolerant));
            (login(self.writer, self.is_tolerant), reader)
        };
        let (mut writer, mut reader) = open();
        let mut reads = 0;
        for round in (1..=rounds).take_while(|_| going.goes_on()) {
            let write = format!(
                "UPDATE registers SET value = greatest(value, {round}) WHERE id = {}",
                self.register
            );
            let read = format!("SELECT value FROM registers WHERE id = {}", self.register);
            if !self.is_tolerant && round % 16 == 1 {
                // What is acknowledged before it is on disk comes later to replicas.
                let commit = if round % 32 == 1 { "on" } else { "off" };
                writer.run(&format!("SET synchronous_commit = {commit}"));
            }
            let has_written = ask(&mut writer, &write).is_some();
            let seen =
                if has_written { ask(reader.as_mut().unwrap_or(&mut writer), &read) } else { None };
            going.progress.fetch_add(1, Ordering::SeqCst);
            match seen {
                Some(seen) => {
                    assert_eq!(seen, [[round.to_string()]], "a stale read of {}", self.register);
                    reads += 1;
                }
                None => {
                    assert!(self.is_tolerant, "round {round} of register {} failed", self.register);
                    (writer, reader) = open();
                }
            }
        }
        reads
    }
}

/// What goes on while clients write and read.
pub(crate) struct Going<'a> {
    progress: &'a AtomicUsize,
    is_over: &'a AtomicBool,
}

impl Going<'_> {
    /// Whether clients are still at it.
    pub(crate) fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    /// Lets clients do so many rounds more, or come to their end.
    pub(crate) fn for_rounds(&self, rounds: usize) {
        let goal = self.progress.load(Ordering::SeqCst) + rounds;
        let end = Instant::now() + 6 * PATIENCE;
        while self.goes_on() && self.progress.load(Ordering::SeqCst) < goal {
            assert!(look_again(end), "clients do not get on");
        }
    }
}

/// Runs all clients, and `trouble` beside them. Gives the number of reads.
pub(crate) fn run(clients: &[Client], rounds: usize, trouble: impl FnOnce(&Going<'_>)) -> usize {
    let (progress, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let is_over = &is_over;
    let going = Going { progress: &progress, is_over };
    // Nobody goes on alone, whoever fails.
    let over = || Over(is_over);
    std::thread::scope(|scope| {
        let all: Vec<_> = clients
            .iter()
            .map(|client| {
                scope.spawn(|| {
                    let _over = over();
                    client.run(rounds, &going)
                })
            })
            .collect();
        let watcher = scope.spawn(move || {
            let ends: Vec<_> = all.into_iter().map(|one| one.join()).collect();
            is_over.store(true, Ordering::SeqCst);
            ends.into_iter().map(|end| end.unwrap_or_else(|e| std::panic::resume_unwind(e))).sum()
        });
        let _over = over();
        trouble(&going);
        watcher.join().unwrap_or_else(|error| std::panic::resume_unwind(error))
    })
}

/// Ends the load when its owner fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Holds the replica up in every way, one after the other, as long as clients are at it.
pub(crate) fn hold_up(pair: &Pair, going: &Going<'_>) {
    let [mut primary, mut other] = [(); 2].map(|()| pair.primary.admin("app"));
    let mut replica = pair.replica.admin("app");
    while going.goes_on() {
        replica.run("SELECT pg_wal_replay_pause()");
        going.for_rounds(7);
        replica.run("SELECT pg_wal_replay_resume()");
        going.for_rounds(7);
        replica.run("ALTER SYSTEM SET recovery_min_apply_delay = '30ms'");
        replica.run("SELECT pg_reload_conf()");
        going.for_rounds(7);
        replica.run("ALTER SYSTEM RESET recovery_min_apply_delay");
        replica.run("SELECT pg_reload_conf()");
        primary.run("BEGIN");
        primary.run("INSERT INTO noise SELECT 'open' FROM generate_series(1, 100)");
        going.for_rounds(7);
        other.run("SELECT pg_switch_wal()");
        going.for_rounds(7);
        primary.run("ROLLBACK");
        other.run("TRUNCATE noise");
        going.for_rounds(7);
    }
}

/// How often each decision about the database was taken, by its word.
pub(crate) fn decisions(howdah: &Howdah) -> BTreeMap<String, u64> {
    let rows = rows_with(&mut console(howdah), "routes", &[("database", "app")]);
    let count = |text: String| text.parse::<u64>().expect("a number");
    rows.iter().map(|row| (row.get("reason"), count(row.get("count")))).collect()
}

/// How many reads went to replicas.
pub(crate) fn on_replicas(howdah: &Howdah) -> u64 {
    decisions(howdah).get("read").copied().unwrap_or_default()
}
