//! Clients under load: they write, begin transactions and read, and keep account of what they are told.

use crate::support::messages;
use crate::support::postgres::RIDER;
use crate::support::transcript::Frame;
use crate::support::wire::{Received, Wire};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(40);

/// What a client was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Answers without an error.
    pub(crate) succeeded: u64,
    /// Errors by what failed and by SQLSTATE.
    pub(crate) failed: BTreeMap<(&'static str, String), u64>,
    /// The longest wait for the answer to something that succeeded.
    pub(crate) longest: BTreeMap<&'static str, Duration>,
    /// What was acknowledged, and when the answer was there.
    pub(crate) acknowledged: Vec<(u64, SystemTime)>,
    /// What may have been done or not.
    pub(crate) doubtful: Vec<u64>,
    /// Connections that ended.
    pub(crate) disconnected: u64,
}

impl Figures {
    pub(crate) fn failures(&self, code: &str) -> u64 {
        self.failed.iter().filter(|((_, told), _)| told == code).map(|(_, count)| count).sum()
    }

    pub(crate) fn failures_of(&self, what: &str) -> u64 {
        self.failed.iter().filter(|((failed, _), _)| *failed == what).map(|(_, n)| n).sum()
    }

    /// Failures of anything but reads.
    pub(crate) fn failed_writes(&self) -> u64 {
        self.failed.iter().filter(|((what, _), _)| !what.contains("read")).map(|(_, n)| n).sum()
    }

    pub(crate) fn longest(&self, what: &str) -> Duration {
        self.longest.get(what).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.disconnected += other.disconnected;
        self.acknowledged.extend(other.acknowledged);
        self.doubtful.extend(other.doubtful);
        for (key, count) in other.failed {
            *self.failed.entry(key).or_default() += count;
        }
        for (what, time) in other.longest {
            let longest = self.longest.entry(what).or_default();
            *longest = (*longest).max(time);
        }
    }

    pub(crate) fn print(&self, drill: &str) {
        println!(
            "{drill}: {} answers, failed {:?}, longest {:?}, {} writes acknowledged, {} in doubt, {} \
             disconnected",
            self.succeeded,
            self.failed,
            self.longest,
            self.acknowledged.len(),
            self.doubtful.len(),
            self.disconnected
        );
    }
}

/// Clients at work.
pub(crate) struct Riders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Figures>>,
}

impl Riders {
    /// Clients that write and read.
    pub(crate) fn start(address: SocketAddr, count: u64) -> Self {
        Self::of(1..=count, move |number, stop| Rider::new(address, number).ride(stop))
    }

    /// Clients that only read, each for a while at a time.
    pub(crate) fn start_readers(address: SocketAddr, count: u64) -> Self {
        Self::of(1..=count, move |number, stop| Rider::new(address, number).look(stop))
    }

    fn of(
        numbers: RangeInclusive<u64>,
        ride: impl Fn(u64, &AtomicBool) -> Figures + Copy + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = numbers.map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || ride(number, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Each ends what it has begun.
    pub(crate) fn stop(self) -> Figures {
        self.stop.store(true, Ordering::SeqCst);
        let mut figures = Figures::default();
        for thread in self.threads {
            figures.add(thread.join().expect("a rider that did not panic"));
        }
        figures
    }
}

struct Rider {
    wire: Wire,
    number: u64,
    figures: Figures,
}

/// The connection is gone.
struct Gone;

impl Rider {
    fn new(address: SocketAddr, number: u64) -> Self {
        let wire = Wire::login(address, RIDER, "app");
        Self { wire, number, figures: Figures::default() }
    }

    fn ride(mut self, stop: &AtomicBool) -> Figures {
        let mut serial = 0;
        while !stop.load(Ordering::SeqCst) {
            serial += 1;
            let id = self.number * 1_000_000 + serial;
            let done = match serial % 4 {
                0 => self.write(id),
                1 => self.transaction(id),
                2 => self.read(),
                _ => self.read_only(),
            };
            if done.is_err() {
                self.figures.disconnected += 1;
                break;
            }
        }
        self.figures
    }

    fn look(mut self, stop: &AtomicBool) -> Figures {
        while !stop.load(Ordering::SeqCst) {
            let sql = "SELECT one FROM steady WHERE pg_sleep(0.05) IS NOT NULL";
            if self.ask("slow read", &messages::query(sql), b'I').is_err() {
                self.figures.disconnected += 1;
                break;
            }
        }
        self.figures
    }

    /// An autocommit write, in the extended protocol.
    fn write(&mut self, id: u64) -> Result<(), Gone> {
        let sql = format!("INSERT INTO written VALUES ({id})");
        let batch = [
            messages::parse("", &sql, &[]),
            messages::bind(&messages::Bind::default()),
            messages::execute("", 0),
            messages::sync(),
        ];
        let code = self.ask("write", &batch.concat(), b'I')?;
        self.note_write(id, code.as_deref());
        Ok(())
    }

    fn transaction(&mut self, id: u64) -> Result<(), Gone> {
        if self.ask("begin", &messages::query("BEGIN"), b'T')?.is_some() {
            return self.roll_back();
        }
        let sql = format!("INSERT INTO written VALUES ({id})");
        if self.ask("in transaction", &messages::query(&sql), b'T')?.is_some() {
            return self.roll_back();
        }
        let code = self.ask("commit", &messages::query("COMMIT"), b'I')?;
        self.note_write(id, code.as_deref());
        Ok(())
    }

    fn note_write(&mut self, id: u64, code: Option<&str>) {
        match code {
            None => self.figures.acknowledged.push((id, SystemTime::now())),
            Some("08007") => self.figures.doubtful.push(id),
            Some(_) => {}
        }
    }

    fn read(&mut self) -> Result<(), Gone> {
        let sql = "SELECT count(*) FROM generate_series(1, 10000)";
        self.ask("read", &messages::query(sql), b'I').map(drop)
    }

    fn read_only(&mut self) -> Result<(), Gone> {
        if self.ask("read only begin", &messages::query("BEGIN READ ONLY"), b'T')?.is_some() {
            return self.roll_back();
        }
        if self.ask("read in transaction", &messages::query("TABLE steady"), b'T')?.is_some() {
            return self.roll_back();
        }
        if self.ask("read only commit", &messages::query("COMMIT"), b'I')?.is_some() {
            return self.roll_back();
        }
        Ok(())
    }

    /// Behind an error; a block that was never begun is no error.
    fn roll_back(&mut self) -> Result<(), Gone> {
        let code = self.ask("rollback", &messages::query("ROLLBACK"), b'I')?;
        assert_eq!(code, None, "ROLLBACK always succeeds");
        Ok(())
    }

    /// Sends something and gives the error, if there is one: ERROR, never FATAL. `status`: what ReadyForQuery
    /// says if there is none.
    fn ask(
        &mut self,
        what: &'static str,
        bytes: &[u8],
        status: u8,
    ) -> Result<Option<String>, Gone> {
        let begun = Instant::now();
        self.wire.send(bytes);
        let (mut error, mut said) = (None, Vec::new());
        loop {
            match self.wire.next(begun + ANSWER_MAX) {
                Received::Frame(frame) if frame.tag == b'Z' => {
                    if error.is_none() {
                        assert_eq!(frame.body, [status], "{what}");
                    }
                    break;
                }
                Received::Frame(frame) => {
                    if frame.tag == b'E' {
                        error = frame.field(b'C');
                    }
                    said.push(frame);
                }
                Received::Closed => {
                    println!(
                        "disconnected in {what}: {:?}",
                        said.iter().map(Frame::line).collect::<Vec<_>>()
                    );
                    return Err(Gone);
                }
                Received::Silence => unreachable!("no answer to {what} in {ANSWER_MAX:?}"),
            }
        }
        match &error {
            None => {
                self.figures.succeeded += 1;
                let longest = self.figures.longest.entry(what).or_default();
                *longest = (*longest).max(begun.elapsed());
            }
            Some(code) => *self.figures.failed.entry((what, code.clone())).or_default() += 1,
        }
        Ok(error)
    }
}
