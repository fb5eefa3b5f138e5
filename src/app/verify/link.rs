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
            if self.server.stream.is_blocked() {
                Poll::Pending
            } else {
                Poll::Ready(Ok::<_, io::Error>(()))
            }
        })
        .await?;
        let (mut reading, mut chunk) = (Reading::default(), vec![0u8; CHUNK]);
        loop {
            let n = poll_fn(|cx| self.server.stream.poll_read(cx, &mut chunk)).await?;
            if n == 0 {
                return Err(Trouble::Question(CleanError::Closed));
            }
            if let Some(answer) = reading.take(chunk.get(..n).unwrap_or_default())? {
                return Ok(answer);
            }
        }
    }
}

/// An answer while it comes.
#[derive(Debug, Default)]
struct Reading {
    rows: Vec<Box<[u8]>>,
    error: Option<Box<str>>,
    /// Of the message that is not whole yet.
    held: Vec<u8>,
    bytes: usize,
}

impl Reading {
    /// More of it has come; all of it, if that ends it.
    fn take(&mut self, data: &[u8]) -> Result<Option<Answer>, Trouble> {
        self.bytes += data.len();
        if self.bytes > BYTES_MAX {
            return Err(Trouble::TooLarge);
        }
        self.held.extend_from_slice(data);
        let (whole, mut at) = (std::mem::take(&mut self.held), 0);
        while let Some(rest) = whole.get(at..)
            && let Some(header) = wire::header(rest, BYTES_MAX).map_err(|_| Trouble::TooLarge)?
            && let Some(body) = rest.get(HEADER_LEN..header.total())
        {
            match header.tag {
                server::DATA_ROW | server::COPY_DATA => self.rows.push(body.into()),
                server::ERROR => {
                    let code = String::from_utf8_lossy(wire::error_fields(body).code);
                    self.error = Some(code.into());
                }
                server::READY if rest.len() == header.total() => {
                    let rows = std::mem::take(&mut self.rows);
                    return Ok(Some(Answer::new(rows, self.error.take())));
                }
                server::READY | server::COPY_IN => return Err(Trouble::Malformed),
                _ => {}
            }
            if self.rows.len() > ROWS_MAX {
                return Err(Trouble::TooLarge);
            }
            at += header.total();
        }
        self.held = whole.get(at..).unwrap_or_default().to_vec();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend((body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn an_answer_comes_in_pieces() {
        let answer = [
            message(b'T', b"x"),
            message(b'D', b"2"),
            message(b'D', b"1"),
            message(b'C', b"SELECT 2\0"),
        ];
        let whole = [answer.concat(), message(b'Z', b"T")].concat();
        let expected = Answer::new(vec![b"1"[..].into(), b"2"[..].into()], None);
        for cut in 0..whole.len() {
            let mut reading = Reading::default();
            assert!(reading.take(&whole[..cut]).expect("well formed").is_none());
            assert_eq!(reading.take(&whole[cut..]).expect("well formed").as_ref(), Some(&expected));
        }
        let failed = [message(b'E', b"C22012\0\0"), message(b'Z', b"E")].concat();
        let failed = Reading::default().take(&failed).expect("well formed");
        assert_eq!(failed, Some(Answer::new(Vec::new(), Some("22012".into()))));
    }

    #[test]
    fn what_is_too_large_or_unexpected_is_no_answer() {
        let rows = message(b'D', b"1").repeat(ROWS_MAX + 1);
        assert!(matches!(Reading::default().take(&rows), Err(Trouble::TooLarge)));
        let long = vec![0; BYTES_MAX + 1];
        assert!(matches!(Reading::default().take(&long), Err(Trouble::TooLarge)));
        let copy = message(b'G', b"\0\0\0");
        assert!(matches!(Reading::default().take(&copy), Err(Trouble::Malformed)));
        let more = [message(b'Z', b"I"), message(b'D', b"")].concat();
        assert!(matches!(Reading::default().take(&more), Err(Trouble::Malformed)));
    }
}
