//! Reads that were answered by a replica and are to be compared with the primary.
//!
//! Owns the one place where such a read waits: sessions put one there, and the control thread takes it. While one
//! waits or is compared, no other is taken. Never runs anything.

use super::client::Client;
use super::route::Route;
use crate::backend::settings::Settings;
use crate::cluster::NodeId;
use crate::sql::Rules;
use crate::wire::{self, HEADER_LEN, client};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A read that took longer is not run again.
const READ_MAX: Duration = Duration::from_secs(1);
/// Millionths in a whole.
const WHOLE: u64 = 1_000_000;

/// A read, with all that its answer depends on.
#[derive(Debug)]
pub struct Sample {
    /// Of the session.
    pub route: Arc<Route>,
    /// What the session had set.
    pub settings: Arc<Settings>,
    /// The replica that has answered it.
    pub node: NodeId,
    /// Every text in it, and the rules by which it is read.
    pub texts: Vec<(Box<[u8]>, Rules)>,
    /// The client's messages, and a Parse in front for each statement that was there before.
    pub unit: Vec<u8>,
}

/// A sample while it runs.
#[derive(Debug)]
pub(super) struct Sampled {
    sample: Sample,
    began: Instant,
}

/// Where samples wait.
#[derive(Debug, Default)]
pub struct Checks {
    waiting: Mutex<Option<Box<Sample>>>,
    is_busy: AtomicBool,
    wake: Notify,
}

impl Checks {
    /// The next sample. Cancel safe. Others are taken when [`Self::done`] was called.
    pub async fn next(&self) -> Box<Sample> {
        loop {
            if let Some(sample) = self.waiting.lock().take() {
                return sample;
            }
            self.wake.notified().await;
        }
    }

    /// The next one may come.
    pub fn done(&self) {
        self.is_busy.store(false, Ordering::Release);
    }

    fn is_free(&self) -> bool {
        !self.is_busy.load(Ordering::Acquire)
    }

    fn put(&self, sample: Sample) {
        if !self.is_busy.swap(true, Ordering::AcqRel) {
            *self.waiting.lock() = Some(Box::new(sample));
            self.wake.notify_one();
        }
    }
}

impl Client {
    fn checks(&self) -> Option<&Checks> {
        Some(&self.route.nodes.as_ref()?.checks)
    }

    /// The read in front goes to a replica: perhaps it is one of those that are compared.
    pub(super) fn draw_sample(&self, unit: &[u8]) -> Option<Box<Sampled>> {
        let share = u64::from(self.options.routing.verify);
        if share == 0 || self.worker.random() % WHOLE >= share {
            return None;
        }
        let is_free = self.checks().is_some_and(Checks::is_free);
        let sample = if is_free { self.sample(unit) } else { None }?;
        Some(Box::new(Sampled { sample, began: Instant::now() }))
    }

    /// A sample was answered.
    pub(super) fn put_sample(&self, sampled: Box<Sampled>) {
        if sampled.began.elapsed() <= READ_MAX
            && let Some(checks) = self.checks()
        {
            checks.put(sampled.sample);
        }
    }

    /// A replica has refused a read: that says something of what it calls, too.
    pub(super) fn put_refused(&self, unit: &[u8]) {
        let Some(checks) = self.checks().filter(|checks| checks.is_free()) else { return };
        if self.options.routing.verify == 0 {
            return;
        }
        if let Some(sample) = self.sample(unit) {
            checks.put(sample);
        }
    }

    fn sample(&self, unit: &[u8]) -> Option<Sample> {
        let mut collected = Collected { client: self, texts: Vec::new(), unit: Vec::new(), own: Vec::new() };
        let mut rest = unit;
        while !rest.is_empty() {
            let header = wire::header(rest, unit.len()).ok().flatten()?;
            collected.message(header.tag, rest.get(HEADER_LEN..header.total())?)?;
            rest = rest.get(header.total()..)?;
        }
        collected.unit.extend_from_slice(unit);
        Some(Sample {
            route: Arc::clone(&self.route),
            settings: Arc::clone(&self.state.settings),
            node: self.target.node?,
            texts: collected.texts,
            unit: collected.unit,
        })
    }
}

/// What a unit needs beside itself.
struct Collected<'a> {
    client: &'a Client,
    texts: Vec<(Box<[u8]>, Rules)>,
    unit: Vec<u8>,
    /// The names that are prepared here.
    own: Vec<Box<[u8]>>,
}

impl Collected<'_> {
    fn message(&mut self, tag: u8, body: &[u8]) -> Option<()> {
        match tag {
            client::QUERY => self.text(body.strip_suffix(&[0])?),
            client::PARSE => {
                let view = client::read_parse(body)?;
                self.own.push(view.name.into());
                self.text(view.sql)
            }
            client::BIND => self.prepared(client::read_bind(body)?.statement),
            client::DESCRIBE | client::CLOSE if body.first() == Some(&b'S') => {
                self.prepared(body.get(1..)?.strip_suffix(&[0])?)
            }
            client::DESCRIBE | client::EXECUTE | client::CLOSE | client::SYNC => Some(()),
            _ => None,
        }
    }

    fn text(&mut self, sql: &[u8]) -> Option<()> {
        let readable = self.client.state.reading.read(sql)?;
        self.texts.push(((&*readable.text).into(), readable.rules));
        Some(())
    }

    /// A statement that was prepared before is prepared in front.
    fn prepared(&mut self, name: &[u8]) -> Option<()> {
        if self.own.iter().any(|own| **own == *name) {
            return Some(());
        }
        let (sql, types) = self.client.state.statements.text_and_types_of(name)?;
        self.own.push(name.into());
        client::parse(&mut self.unit, name, sql, types);
        self.text(sql)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let checks = Checks::default();
        assert!(checks.is_free());
        assert!(!checks.is_busy.swap(true, Ordering::AcqRel));
        assert!(!checks.is_free());
        checks.done();
        assert!(checks.is_free());
    }
}
