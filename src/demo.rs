//! `howdah demo`: a throw-away primary, a replica and a cascaded replica, howdah in front, and traffic.
//!
//! Owns every process and file of the demo, and removes them however it ends: by itself, by a failure, by
//! Ctrl-C, SIGTERM or SIGHUP. Never touches a PostgreSQL server that it did not start. Each child runs in a
//! process group of its own, so that Ctrl-C reaches us alone and things stop in a sensible order.

mod ports;
mod programs;
mod servers;
mod traffic;

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::programs::Programs;
use self::servers::{DATABASE, Servers};
use self::traffic::{Load, Totals};

/// Client connections of the load.
const CLIENTS: u32 = 20;
/// Server connections howdah may open: few, so that the summary shows what pooling does.
const POOL_SIZE: u32 = 5;
const LOAD: Duration = Duration::from_secs(15);
/// Runs the demo in a runtime of its own, hence must be called outside of one.
///
/// With `once` it ends by itself when the load is done; otherwise everything stays up until Ctrl-C.
///
/// # Errors
/// PostgreSQL's programs are missing, a server does not start, a transaction failed, a replica fell behind for
/// good, or (with `once`) a signal came before the end. All processes and files are gone by then.
pub fn run(once: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the demo's runtime")?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        let programs = Programs::find()?;
        let mut servers = Servers::new(programs)?;
        let outcome = unless(&mut stop, play(&mut servers, once)).await;
        // A terminal that is gone (SIGHUP) must not keep us from cleaning up.
        say("stopping the servers and removing their files").ok();
        servers.stop().await;
        match outcome {
            Some(result) => result,
            None if once => bail!("stopped by a signal before the demo had ended"),
            None => Ok(()),
        }
    })
}

/// The demo itself, from an empty folder to a summary.
async fn play(servers: &mut Servers, once: bool) -> Result<()> {
    say(&format!(
        "howdah demo: PostgreSQL {} from {}, files in {}",
        servers.programs.version(),
        servers.programs.folder().display(),
        servers.folder().display()
    ))?;
    servers.start_primary().await?;
    say(&format!("  primary           127.0.0.1:{}", servers.ports.primary))?;
    servers.start_replica().await?;
    say(&format!("  replica           127.0.0.1:{}  (of the primary)", servers.ports.replica))?;
    servers.start_cascade().await?;
    say(&format!("  cascaded replica  127.0.0.1:{}  (of the replica)", servers.ports.cascade))?;
    servers.start_howdah(POOL_SIZE).await?;
    say(&format!(
        "  howdah            127.0.0.1:{}  (transaction mode, {POOL_SIZE} server connections)",
        servers.ports.howdah
    ))?;
    let (totals, most_servers) = traffic(servers).await?;
    summary(servers, &totals, most_servers).await?;
    ensure!(totals.failed == 0, "{} transactions failed", totals.failed);
    ensure!(totals.transactions > 0, "no transaction ran");
    if !once {
        by_hand(servers)?;
        servers.until_one_ends().await?;
    }
    Ok(())
}

/// pgbench through howdah with a line a second; also how many server connections the primary saw at most.
async fn traffic(servers: &mut Servers) -> Result<(Totals, u32)> {
    say(&format!(
        "\n{CLIENTS} clients for {} s: prepared statements, nine reads to one write",
        LOAD.as_secs()
    ))?;
    let mut load = Load::start(servers, CLIENTS, LOAD)?;
    let mut most = 0;
    while let Some(line) = load.next_line().await? {
        say(&format!("  {line}"))?;
        most = most.max(servers.server_connections().await?);
    }
    Ok((load.finish().await?, most))
}

async fn summary(servers: &mut Servers, totals: &Totals, most_servers: u32) -> Result<()> {
    let lines = [
        "\nWhat happened".to_owned(),
        format!("  transactions        {} ({} failed)", totals.transactions, totals.failed),
        format!("  a second            {:.0}", totals.per_second),
        format!("  latency             {:.2} ms on average", totals.latency_ms),
        format!("  connections         {CLIENTS} clients shared {most_servers} server connections"),
    ];
    for line in lines {
        say(&line)?;
    }
    let history = servers.rows_of_history(servers.ports.primary).await?;
    say(&format!("  writes              {history} rows of pgbench_history on the primary"))?;
    for (name, port) in [("replica", servers.ports.replica), ("cascaded", servers.ports.cascade)] {
        let replayed = servers.caught_up(port).await?;
        let rows = servers.rows_of_history(port).await?;
        say(&format!("  {name:20}replayed up to {replayed}, {rows} rows"))?;
        ensure!(rows == history, "the {name} has {rows} rows where the primary has {history}");
    }
    Ok(())
}

fn by_hand(servers: &Servers) -> Result<()> {
    let psql = servers.programs.path("psql");
    say(&format!(
        "\nTry it by hand:\n  {} -h 127.0.0.1 -p {} -U postgres {DATABASE}\n\
         howdah's configuration and log are in {}\nCtrl-C stops and removes everything.",
        psql.display(),
        servers.ports.howdah,
        servers.folder().display()
    ))
}

/// A line on standard output, at once.
fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("could not write to standard output")
}

/// The signals that end the demo.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Cancel safe.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// What `work` came to, or nothing if a signal came first; `work` is then dropped where it waits.
async fn unless<T>(stop: &mut Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased; // a signal wins, or a busy demo could not be stopped
        () = stop.wait() => None,
        result = work => Some(result),
    }
}
