//! Which reads are compared with the primary, and what has to be known of them.
//!
//! Owns the draw, and the step from the client's messages to a [`Sample`], which stands alone: a statement that was
//! prepared before is prepared in it. Never runs anything.

use super::checks::{Checks, Sample, Sampled};
use super::client::Client;
use crate::sql::Rules;
use crate::wire::{self, HEADER_LEN, client};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A read that took longer is not run again.
const READ_MAX: Duration = Duration::from_secs(1);
/// Millionths in a whole.
const WHOLE: u64 = 1_000_000;

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
    pub(super) fn put_sample(&self, sampled: Sampled) {
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
        let mut collected =
            Collected { client: self, texts: Vec::new(), unit: Vec::new(), own: Vec::new() };
        let mut rest = unit;
        while !rest.is_empty() {
            let header = wire::header(rest, unit.len()).ok().flatten()?;
            collected.message(header.tag, rest.get(HEADER_LEN..header.total())?)?;
            rest = rest.get(header.total()..)?;
        }
        collected.unit.extend_from_slice(unit);
        Some(Sample {
            names: (self.route.database.clone(), self.route.user.clone()),
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
