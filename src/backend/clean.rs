//! Brings a server back to rest after a client left it in the middle of something.
//!
//! Cancels what runs, reads what is owed, rolls back, and runs a reset query. Every step must
//! succeed; otherwise the caller closes the connection.

use super::note::{Change, Note};
use super::server::{Sequences, Server};
use super::settings::{self, Baseline, Settings};
use super::state::{Kind, OutOfStep, Reply, Rest};
use crate::net::{Resolver, TcpOptions};
use crate::wire::{self, MalformedFrame, client, server};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;

/// Bytes read at a time.
const CHUNK: usize = 8 * 1024;
/// A cancelled query that has not ended by then is cancelled again.
const CANCEL_AGAIN: Duration = Duration::from_millis(500);

/// Bytes that are read of answers that nobody wants: what is on its way, and some more.
const ABANDONED_MAX: usize = 16 * 1024 * 1024;
/// No server has a statement of this name.
const NO_STATEMENT: &[u8] = b"howdah_?";

/// Why a server could not be brought back to rest.
#[derive(Debug, Error)]
pub enum CleanError {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The connection ended.
    #[error("the server closed the connection")]
    Closed,
    /// A frame that makes no sense.
    #[error("{0}")]
    Malformed(#[from] MalformedFrame),
    /// A frame that answers nothing.
    #[error("{0}")]
    OutOfStep(#[from] OutOfStep),
    /// It goes on sending what nobody wants.
    #[error("the server goes on with its answer although it was cancelled")]
    Endless,
    /// Nobody can tell what the server still owes.
    #[error("what the server still owes cannot be known")]
    Unprovable,
    /// ROLLBACK or the reset query failed with this SQLSTATE.
    #[error("a reset query failed with SQLSTATE {0}")]
    Refused(String),
}

/// Columns of a row.
pub type Row = Vec<Option<Vec<u8>>>;

/// What was heard of a server's answers.
#[derive(Debug, Default)]
pub struct Heard {
    /// SQLSTATE of the last error.
    pub failed: Option<String>,
    /// The rows, for who wants to see them.
    pub rows: Option<Vec<Row>>,
    /// What their columns are called, as far as the rows are wanted.
    pub columns: Vec<String>,
    /// Bytes that were read.
    bytes: usize,
}

/// What is needed to reach the server a second time.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// Resolves its name.
    pub resolver: &'a Resolver,
    /// Socket options.
    pub tcp: &'a TcpOptions,
}

impl Server {
    /// Brings the server back to rest and runs `reset` on it. Not cancel safe: drop the server
    /// with the future. Takes as long as the server takes; the caller sets the deadline.
    ///
    /// # Errors
    /// When any step fails: the connection must be closed then.
    pub async fn clean(&mut self, reach: Reach<'_>, reset: Option<&str>) -> Result<(), CleanError> {
        self.finish_batch(reach).await?;
        if self.replies.rest() == Rest::Unprovable {
            if !self.may_ask() {
                return Err(CleanError::Unprovable);
            }
            self.run("").await?;
        }
        // What is asked from here on is not meant by any of them.
        self.cancels_done().await;
        if self.replies.status() != wire::IDLE {
            self.run("ROLLBACK").await?;
        }
        if let Some(sql) = reset {
            self.run(sql).await?;
            self.prepared.clear();
            self.unnamed = 0;
        }
        if self.rest() == Rest::AtRest { Ok(()) } else { Err(CleanError::Unprovable) }
    }

    /// Runs one of our own statements and waits for its end. Not cancel safe.
    ///
    /// # Errors
    /// When it fails, or the connection does.
    pub async fn run(&mut self, sql: &str) -> Result<(), CleanError> {
        self.ask(sql.as_bytes(), Heard::default()).await.map(drop)
    }

    /// Runs a query; the names of its columns, and its rows. Not cancel safe.
    ///
    /// # Errors
    /// When it fails, or the connection does.
    pub async fn table(&mut self, sql: &str) -> Result<(Vec<String>, Vec<Row>), CleanError> {
        let heard = Heard { rows: Some(Vec::new()), ..Heard::default() };
        let heard = self.ask(sql.as_bytes(), heard).await?;
        Ok((heard.columns, heard.rows.unwrap_or_default()))
    }

    async fn ask(&mut self, sql: &[u8], mut heard: Heard) -> Result<Heard, CleanError> {
        let mut out = Vec::new();
        client::query(&mut out, sql);
        let discarded = self.replies.sent(Kind::Query, Reply::Swallow, None);
        debug_assert!(discarded.is_none());
        self.unnamed = 0;
        self.send(&out).await?;
        self.drain(&mut heard).await?;
        match heard.failed {
            None => Ok(heard),
            Some(code) => Err(CleanError::Refused(code)),
        }
    }

    /// Takes the settings that the server has now, those called `custom` included, for its
    /// baseline. Not cancel safe.
    ///
    /// # Errors
    /// When the server does not say which it has.
    pub async fn learn_baseline(&mut self, custom: &[Box<str>]) -> Result<(), CleanError> {
        let sql = settings::ask_listed(custom.iter().map(|name| &**name), b"");
        let heard = self.ask(&sql, Heard { rows: Some(Vec::new()), ..Heard::default() }).await?;
        let pairs = heard.rows.unwrap_or_default().into_iter().map(|row| {
            let [name, value] = <[_; 2]>::try_from(row).ok()?;
            settings::read_listed(&name?, value.as_deref())
        });
        let pairs: Option<Vec<_>> = pairs.collect();
        let all = Settings::of(pairs.ok_or(CleanError::Unprovable)?);
        self.baseline = Baseline::new(Arc::new(all));
        Ok(())
    }

    /// Takes the role that the login has given (`ALTER ROLE … SET role`), if any, for the server's
    /// baseline. Not cancel safe.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn learn_role(&mut self) -> Result<(), CleanError> {
        let (_, rows) = self.table("SELECT pg_catalog.current_setting('role')").await?;
        let role = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        let role = role.and_then(|role| String::from_utf8(role).ok());
        if let Some(role) = role.filter(|role| role != "none") {
            let all = Settings::of([("role".to_owned(), role)]);
            self.baseline = Baseline::new(Arc::new(all));
        }
        Ok(())
    }

    /// Behind a DISCARD ALL: the server is as it was at login. Not cancel safe.
    ///
    /// # Errors
    /// When what `connect_query` has set cannot be made again.
    pub async fn renewed(&mut self, neutral: &Arc<Settings>) -> Result<(), CleanError> {
        self.settings = Arc::clone(neutral);
        self.sequences = Sequences::None;
        self.tainted_by = None;
        self.baseline.undone();
        let sql = self.baseline.alignment(neutral, neutral, false).join(&b';');
        if !sql.is_empty() {
            self.ask(&sql, Heard::default()).await?;
            self.baseline.restored();
        }
        Ok(())
    }

    /// Cancels what runs, ends a copy, closes the batch, and reads until nothing is owed.
    async fn finish_batch(&mut self, reach: Reach<'_>) -> Result<(), CleanError> {
        let mut out = Vec::new();
        if self.replies.has_work() {
            self.cancel.begin().deliver(reach.resolver, reach.tcp).await?;
        }
        self.end_copy(&mut out);
        if self.replies.has_open_batch() && !self.replies.is_skipping() {
            // Nobody has sent the Sync that would commit what the batch has done: it must fail.
            client::target(&mut out, client::DESCRIBE, b'S', NO_STATEMENT);
            drop(self.replies.sent(Kind::DescribeStatement, Reply::Swallow, None));
        }
        if self.replies.has_open_batch() || self.replies.is_skipping() {
            client::bare(&mut out, client::SYNC);
            drop(self.replies.sent(Kind::Sync, Reply::Swallow, None));
        }
        self.send(&out).await?;
        // PostgreSQL ignores a signal that comes before it has begun with the query, and the query
        // would then run on without anybody who waits for it. Of several in a row, a signal ends
        // one.
        let mut heard = Heard::default();
        loop {
            match tokio::time::timeout(CANCEL_AGAIN, self.drain(&mut heard)).await {
                Ok(drained) => break drained?,
                Err(_) => self.cancel.begin().deliver(reach.resolver, reach.tcp).await?,
            }
        }
        if self.replies.is_skipping() {
            // The Sync was sent into a copy that ignored it.
            out.clear();
            client::bare(&mut out, client::SYNC);
            drop(self.replies.sent(Kind::Sync, Reply::Swallow, None));
            self.send(&out).await?;
            self.drain(&mut heard).await?;
        }
        Ok(())
    }

    /// Appends the end of a copy that still wants data.
    fn end_copy(&mut self, out: &mut Vec<u8>) {
        if self.replies.awaits_copy_end() {
            client::copy_fail(out, "the client left");
            drop(self.replies.sent(Kind::CopyEnd, Reply::Swallow, None));
        }
    }

    async fn cancels_done(&self) {
        poll_fn(|cx| {
            if self.cancel.wake_when_clear(cx.waker()) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut unsent = Some(bytes);
        poll_fn(|cx| {
            if let Some(bytes) = unsent.take() {
                self.stream.write(cx, bytes)?;
            }
            self.stream.flush(cx)?;
            if self.stream.is_blocked() { Poll::Pending } else { Poll::Ready(Ok(())) }
        })
        .await
    }

    /// Reads until nothing is owed.
    async fn drain(&mut self, heard: &mut Heard) -> Result<(), CleanError> {
        while self.replies.outstanding() > 0 || self.rest_of_frame > 0 || !self.held.is_empty() {
            let mut chunk = [0u8; CHUNK];
            let n = poll_fn(|cx| {
                self.stream.flush(cx)?;
                self.stream.poll_read(cx, &mut chunk)
            })
            .await?;
            if n == 0 {
                return Err(CleanError::Closed);
            }
            heard.bytes = heard.bytes.saturating_add(n);
            if heard.bytes > ABANDONED_MAX && heard.rows.is_none() {
                return Err(CleanError::Endless);
            }
            self.absorb(chunk.get(..n).unwrap_or_default(), heard)?;
            let mut out = Vec::new();
            self.end_copy(&mut out);
            if !out.is_empty() {
                self.send(&out).await?;
            }
        }
        Ok(())
    }

    /// As [`Server::is_alive`], of a server in the idle list, but the kernel is asked instead of the
    /// event loop, which may not have heard of the end yet. If the kernel has nothing, nothing is
    /// read.
    pub fn is_alive_in_kernel(&mut self, cx: &mut Context<'_>) -> bool {
        if self.stream.kernel_has_input() {
            return self.is_alive(cx);
        }
        !self.is_closing && self.held.is_empty() && self.rest_of_frame == 0
    }

    /// Takes in what an idle server has said; false when it is of no use any more.
    pub fn is_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut heard = Heard::default();
        if self.is_closing || !self.held.is_empty() && self.absorb(&[], &mut heard).is_err() {
            return false;
        }
        loop {
            let mut chunk = [0u8; 256];
            match self.stream.poll_read(cx, &mut chunk) {
                Poll::Pending => return self.held.is_empty() && self.rest_of_frame == 0,
                Poll::Ready(Ok(n)) if n > 0 => {
                    if self.absorb(chunk.get(..n).unwrap_or_default(), &mut heard).is_err() {
                        return false;
                    }
                }
                Poll::Ready(Ok(_) | Err(_)) => return false,
            }
        }
    }

    /// Takes in what the server sent when nobody wants to see it. What statements it has prepared
    /// stays right.
    ///
    /// # Errors
    /// When the bytes make no sense, or the server says that it goes away.
    pub fn absorb(&mut self, data: &[u8], heard: &mut Heard) -> Result<(), CleanError> {
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(data);
        let mut rest = &whole[..];
        loop {
            let skipped = self.rest_of_frame.min(rest.len());
            rest = rest.get(skipped..).unwrap_or_default();
            self.rest_of_frame = self.rest_of_frame.saturating_sub(skipped);
            let Some(header) = wire::header(rest, i32::MAX as usize)? else { break };
            let opened =
                matches!(header.tag, server::ERROR | server::READY | server::PARAMETER_STATUS)
                    || (matches!(header.tag, server::DATA_ROW | server::ROW_DESCRIPTION)
                        && heard.rows.is_some());
            if opened && rest.len() < header.total() {
                break;
            }
            let body = rest.get(wire::HEADER_LEN..header.total().min(rest.len()));
            self.take_in(header.tag, body.unwrap_or_default(), heard)?;
            self.rest_of_frame = header.total();
        }
        self.held = rest.to_vec();
        Ok(())
    }

    fn take_in(&mut self, tag: u8, body: &[u8], heard: &mut Heard) -> Result<(), CleanError> {
        while self.replies.take_fake().is_some() {}
        match tag {
            server::READY => {
                self.replies.ready(body.first().copied().unwrap_or(0))?;
            }
            server::ERROR => {
                let fields = wire::error_fields(body);
                if fields.is_fatal() {
                    return Err(CleanError::Closed);
                }
                heard.failed = Some(String::from_utf8_lossy(fields.code).into_owned());
                let mut dropped = Vec::new();
                self.replies.failed(|entry| dropped.extend(entry.note));
                dropped.iter_mut().for_each(|note| self.undo(note));
            }
            server::PARAMETER_STATUS => self.report(body),
            _ => {
                match (tag, &mut heard.rows) {
                    (server::DATA_ROW, Some(rows)) => rows.extend(server::columns(body)),
                    (server::ROW_DESCRIPTION, Some(_)) => {
                        heard.columns = server::column_names(body).unwrap_or_default();
                    }
                    _ => {}
                }
                self.replies.received(tag)?;
            }
        }
        while self.replies.take_fake().is_some() {}
        Ok(())
    }

    /// Remembers a ParameterStatus.
    pub fn report(&mut self, body: &[u8]) {
        let Some((name, value)) = server::read_parameter_status(body) else { return };
        let reported = Arc::make_mut(&mut self.reported);
        match reported.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, known)) => *known = value.into(),
            None => reported.push((name.into(), value.into())),
        }
    }

    /// The server's part of a note whose answer does not come.
    pub fn undo(&mut self, note: &mut Note) {
        match note {
            Note::Parse { on_server: id, .. } | Note::Prepare(id) | Note::Try(id) => {
                self.prepared.remove(*id);
            }
            Note::Evict(_) => {
                if let Note::Evict(known) = std::mem::replace(note, Note::OfferUnnamed) {
                    self.prepared.restore(*known);
                }
            }
            Note::Unnamed { .. } | Note::Again(_) | Note::OfferUnnamed => self.unnamed = u64::MAX,
            Note::ForgetSequences { .. } => self.sequences = Sequences::Mixed,
            Note::Texts(texts) => {
                texts.changes.iter_mut().rev().for_each(|change| self.undo_change(change));
            }
            Note::Duplicate(_)
            | Note::Close { .. }
            | Note::Bind(_)
            | Note::Describe { .. }
            | Note::DescribePortal(_)
            | Note::Shape(_)
            | Note::Parameters(_)
            | Note::Run(_)
            | Note::Refuse(_)
            | Note::Answer(_) => {}
        }
    }

    /// The server's part of a change that does not come about.
    pub fn undo_change(&mut self, change: &mut Change) {
        match change {
            Change::Prepare { id, .. } => drop(self.prepared.remove(*id)),
            Change::Deallocate { known, .. } => {
                known.take().into_iter().for_each(|known| self.prepared.restore(*known));
            }
            Change::All { known, .. } => {
                std::mem::take(known).into_iter().for_each(|known| self.prepared.restore(known));
            }
        }
    }
}
