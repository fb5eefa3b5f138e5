//! A connection to one node over which samples are run again.
//!
//! Owns the connection, which no client has and no pool counts, and the limits of what is read over it. Every
//! transaction on it is READ ONLY. Dropped in the middle of anything it ends.

use super::compare::Answer;
use crate::app::current::Current;
use crate::backend::clean::CleanError;
use crate::backend::login::{Account, LoginFailure, open};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::cluster::lsn::Lsn;
use crate::wire::{self, HEADER_LEN, server};
use std::future::poll_fn;
use std::io;
use std::task::Poll;
use thiserror::Error;

/// Rows of an answer, and bytes of one.
const ROWS_MAX: usize = 10_000;
const BYTES_MAX: usize = 1024 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// Both nodes are to work alike, and not for long. Whatever the session has set counts otherwise.
const LIMITS: &str = "SET application_name = 'howdah check'; SET statement_timeout = '5s'; \
                      SET lock_timeout = '1s'; SET max_parallel_workers_per_gather = 0; \
                      SET synchronize_seqscans = off";

/// Why a sample has no answer.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Login(#[from] LoginFailure),
    #[error("{0}")]
    Question(#[from] CleanError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("an answer is larger than {} KiB or {ROWS_MAX} rows", BYTES_MAX / 1024)]
    TooLarge,
    #[error("an answer makes no sense")]
    Malformed,
}

#[derive(Debug)]
pub(super) struct Link {
    server: Box<Server>,
}

impl Link {
    /// Logs in as the session's servers are, with what the session has set.
    pub(super) async fn open(
        account: &Account,
        current: &Current,
        settings: &Settings,
    ) -> Result<Self, Trouble> {
        let mut server = open(account, &current.context, &[]).await?;
        let nothing = Settings::of([]);
        for sql in server.baseline.alignment(&nothing, settings, false) {
            server.run(&String::from_utf8_lossy(&sql)).await?;
        }
        server.run(LIMITS).await?;
        Ok(Self { server })
    }

    /// Closes the connection.
    pub(super) fn close(self) {
        self.server.terminate("the check is over");
    }

    /// One value.
    pub(super) async fn value(&mut self, sql: &str) -> Result<String, Trouble> {
        let (_, rows) = self.server.table(sql).await?;
        let value = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        String::from_utf8(value.ok_or(Trouble::Malformed)?).map_err(|_| Trouble::Malformed)
    }

    /// A position in the log.
    pub(super) async fn lsn(&mut self, sql: &str) -> Result<Lsn, Trouble> {
        self.value(sql).await?.parse().map_err(|_| Trouble::Malformed)
    }

    /// Whether the node is in recovery.
    pub(super) async fn is_in_recovery(&mut self) -> Result<bool, Trouble> {
        Ok(self.value("SELECT pg_catalog.pg_is_in_recovery()").await? == "t")
    }

    /// Begins a transaction, runs the messages in it, and leaves it open.
    pub(super) async fn begin(&mut self, unit: &[u8]) -> Result<Answer, Trouble> {
        self.server.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        self.answer(unit).await
    }

    /// Ends the transaction, and forgets what the messages have prepared.
    pub(super) async fn end(&mut self) -> Result<(), Trouble> {
        self.server.run("ROLLBACK").await?;
        Ok(self.server.run("DEALLOCATE ALL").await?)
    }

    /// Sends messages up to a Query or Sync, and reads their answer.
    async fn answer(&mut self, unit: &[u8]) -> Result<Answer, Trouble> {
        let mut unsent = Some(unit);
        poll_fn(|cx| {
            if let Some(bytes) = unsent.take() {
                self.server.stream.write(cx, bytes)?;
            }
            self.server.stream.flush(cx)?;
            if self.server.stream.is_blocked() { Poll::Pending } else { Poll::Ready(Ok::<_, io::Error>(())) }
        })
        .await?;
        let (mut rows, mut error, mut bytes) = (Vec::new(), None, 0);
        let mut whole = Vec::new();
        loop {
            let mut at = 0;
            while let Some(rest) = whole.get(at..)
                && let Some(header) = wire::header(rest, BYTES_MAX).map_err(|_| Trouble::TooLarge)?
                && let Some(body) = rest.get(HEADER_LEN..header.total())
            {
                match header.tag {
                    server::DATA_ROW | server::COPY_DATA => rows.push(body.into()),
                    server::ERROR => {
                        let code = String::from_utf8_lossy(wire::error_fields(body).code);
                        error = Some(code.into());
                    }
                    server::READY if rest.len() == header.total() => {
                        return Ok(Answer::new(rows, error));
                    }
                    server::READY | server::COPY_IN => return Err(Trouble::Malformed),
                    _ => {}
                }
                if rows.len() > ROWS_MAX {
                    return Err(Trouble::TooLarge);
                }
                at += header.total();
            }
            whole.drain(..at);
            let mut chunk = [0u8; CHUNK];
            let n = poll_fn(|cx| self.server.stream.poll_read(cx, &mut chunk)).await?;
            bytes += n;
            if n == 0 {
                return Err(Trouble::Question(CleanError::Closed));
            }
            if bytes > BYTES_MAX {
                return Err(Trouble::TooLarge);
            }
            whole.extend_from_slice(chunk.get(..n).unwrap_or_default());
        }
    }
}
