//! The demo's reads: pgbench as a child, its progress and its report as numbers.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use super::servers::{DATABASE, Servers, USER};

/// A running pgbench.
#[derive(Debug)]
pub(super) struct Load {
    child: Child,
    progress: Lines<BufReader<ChildStderr>>,
    complaints: Vec<String>,
}

/// One second of pgbench.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Second {
    /// Which, counted from 1.
    pub(super) number: f64,
    /// How many reads.
    pub(super) reads: f64,
    /// Their latency on average.
    pub(super) latency_ms: f64,
}

/// pgbench's final report.
#[derive(Debug, PartialEq)]
pub(super) struct Totals {
    pub(super) transactions: u64,
    pub(super) failed: u64,
    pub(super) per_second: f64,
    pub(super) latency_ms: f64,
}

impl Load {
    pub(super) fn start(servers: &Servers, clients: u32, length: Duration) -> Result<Self> {
        let mut command = servers.programs.command("pgbench", servers.folder());
        command
            .args(["-n", "-M", "prepared", "-P", "1"])
            .args(["-b", "select-only"])
            // A thread for each client: pgbench prepares with a call that blocks its thread. One that waits
            // for a server would keep those in transactions, of the same thread, from giving theirs back.
            .args(["-c", &clients.to_string(), "-j", &clients.to_string()])
            .args(["-T", &length.as_secs().to_string()])
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &servers.ports.howdah.to_string(),
                "-U",
                USER,
                DATABASE,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("could not start pgbench")?;
        let progress = child.stderr.take().context("pgbench has no standard error")?;
        Ok(Self { child, progress: BufReader::new(progress).lines(), complaints: Vec::new() })
    }

    /// The next second of the load, or none when pgbench is done.
    pub(super) async fn next_second(&mut self) -> Result<Option<Second>> {
        while let Some(line) =
            self.progress.next_line().await.context("could not read pgbench's progress")?
        {
            if let Some(second) = second(&line) {
                return Ok(Some(second));
            }
            if !line.starts_with("pgbench (") {
                self.complaints.push(line);
            }
        }
        Ok(None)
    }

    /// The report, after the last line of progress.
    ///
    /// # Errors
    /// pgbench failed; the text holds what it said.
    pub(super) async fn finish(mut self) -> Result<Totals> {
        let mut report = String::new();
        if let Some(out) = self.child.stdout.as_mut() {
            out.read_to_string(&mut report).await.context("could not read pgbench's report")?;
        }
        let status = self.child.wait().await.context("could not wait for pgbench")?;
        if !status.success() {
            bail!("pgbench ended with {status}:\n{}", self.complaints.join("\n"));
        }
        totals(&report).with_context(|| format!("pgbench's report is not understood:\n{report}"))
    }
}

/// `progress: 3.0 s, 12345.6 tps, lat 1.620 ms stddev 0.812, 0 failed`.
fn second(line: &str) -> Option<Second> {
    let mut parts = line.strip_prefix("progress: ")?.split(", ");
    Some(Second {
        number: parts.next()?.strip_suffix(" s")?.parse().ok()?,
        reads: parts.next()?.strip_suffix(" tps")?.parse().ok()?,
        latency_ms: parts.next()?.strip_prefix("lat ")?.split(' ').next()?.parse().ok()?,
    })
}

/// Versions before 15 have no line of failed transactions: there a failure ends pgbench with an error.
fn totals(report: &str) -> Option<Totals> {
    let after = |start: &str| {
        let rest = report.lines().find_map(|line| line.strip_prefix(start))?;
        rest.split([' ', '/']).next()
    };
    Some(Totals {
        transactions: after("number of transactions actually processed: ")?.parse().ok()?,
        failed: after("number of failed transactions: ").unwrap_or("0").parse().ok()?,
        per_second: after("tps = ")?.parse().ok()?,
        latency_ms: after("latency average = ")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_old_and_new_versions_is_read() {
        let expected = Second { number: 3.0, reads: 12_345.6, latency_ms: 1.62 };
        let new = "progress: 3.0 s, 12345.6 tps, lat 1.620 ms stddev 0.812, 0 failed";
        assert_eq!(second(new), Some(expected));
        let old = "progress: 3.0 s, 12345.6 tps, lat 1.620 ms stddev 0.812";
        assert_eq!(second(old), Some(expected));
        assert_eq!(second("pgbench: error: client 3 aborted"), None);
    }

    #[test]
    fn the_report_becomes_numbers() {
        let report = "transaction type: multiple scripts\n\
            number of transactions actually processed: 123456\n\
            number of failed transactions: 2 (0.002%)\n\
            latency average = 2.429 ms\n\
            initial connection time = 12.345 ms\n\
            tps = 8230.123456 (without initial connection time)\n\
            SQL script 1: <builtin: select only>\n - 2 transactions (90.0% of total, tps = 1.0)\n";
        let wanted = Totals {
            transactions: 123_456,
            failed: 2,
            per_second: 8_230.123_456,
            latency_ms: 2.429,
        };
        assert_eq!(totals(report), Some(wanted));
        assert_eq!(totals("nothing of the kind"), None);
        let old = report.replace("number of failed transactions: 2 (0.002%)\n", "");
        assert_eq!(totals(&old).unwrap().failed, 0);
    }
}
