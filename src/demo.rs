//! `howdah demo`: a throw-away primary, a replica and a cascaded replica, howdah in front, traffic, and a promotion.
//!
//! Owns every process and file of the demo, and removes them however it ends: by itself, by a failure, by
//! Ctrl-C, SIGTERM or SIGHUP. Never touches a PostgreSQL server that it did not start. Each child runs in a
//! process group of its own, so that Ctrl-C reaches us alone and things stop in a sensible order.

mod ports;
mod programs;
mod servers;
mod traffic;
mod writers;

use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use self::programs::Programs;
use self::servers::{DATABASE, Servers};
use self::traffic::{Load, Totals};
use self::writers::{Tally, Writers};

/// Clients that read.
const READERS: u32 = 20;
/// Clients that write, and read what they have written.
const WRITERS: u32 = 4;
/// Server connections howdah may open on each node: few, so that the summary shows what pooling does.
const POOL_SIZE: u32 = 5;
const LOAD: Duration = Duration::from_secs(15);
/// The second after which the primary stops.
const PROMOTE_AT: f64 = 5.0;

/// Runs the demo in a runtime of its own, hence must be called outside of one.
///
/// With `once` it ends by itself when the load is done; otherwise everything stays up until Ctrl-C.
///
/// # Errors
/// PostgreSQL's programs are missing, a server does not start, a read failed or was too old, a row was lost, a replica fell behind for
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
        "  howdah            127.0.0.1:{}  (transaction mode, {POOL_SIZE} server connections a node)",
        servers.ports.howdah
    ))?;
    servers.nodes_are_known().await?;
    let seen = traffic(servers).await?;
    summary(servers, &seen).await?;
    if !once {
        by_hand(servers)?;
        servers.until_one_ends().await?;
    }
    Ok(())
}

/// What the clients have seen.
struct Seen {
    reads: Totals,
    writes: Tally,
    most_servers: u32,
}

/// Reads and writes through howdah with a line a second, and a promotion in the middle.
async fn traffic(servers: &mut Servers) -> Result<Seen> {
    say(&format!(
        "\n{READERS} clients read, {WRITERS} write and read it back, for {} s\n\n\
         {:>6}{:>12}{:>12}{:>12}",
        LOAD.as_secs(),
        "",
        "reads/s",
        "latency",
        "writes/s"
    ))?;
    let mut load = Load::start(servers, READERS, LOAD)?;
    let writers = Writers::start(servers, WRITERS, Instant::now() + LOAD);
    let (mut most_servers, mut is_promoted) = (0, false);
    while let Some(second) = load.next_second().await? {
        say(&format!(
            "{:4.0} s{:12.0}{:9.2} ms{:12}",
            second.number,
            second.reads,
            second.latency_ms,
            writers.take_count()
        ))?;
        most_servers = most_servers.max(servers.most_server_connections().await?);
        if second.number >= PROMOTE_AT && !is_promoted {
            is_promoted = true;
            say("        the primary stops, and the replica is promoted")?;
            servers.promote().await?;
        }
    }
    ensure!(is_promoted, "the load ended before the promotion");
    Ok(Seen { reads: load.finish().await?, writes: writers.finish().await?, most_servers })
}

async fn summary(servers: &mut Servers, seen: &Seen) -> Result<()> {
    let Seen { reads, writes, most_servers } = seen;
    let (primary, replica) = (servers.ports.replica, servers.ports.cascade);
    let rows = servers.orders(primary, &writes.unknown).await?;
    servers.caught_up(replica, primary).await?;
    let copied = servers.orders(replica, &writes.unknown).await?;
    let clients = READERS + WRITERS;
    for line in [
        "\nWhat happened".to_owned(),
        format!("  reads        {} ({} failed)", reads.transactions, reads.failed),
        format!("  writes       {} acknowledged, and {rows} are there", writes.acknowledged),
        format!("               {} not acknowledged{}", writes.unknown.len(), told(writes)),
        format!("  read back    {} times, {} of them too old", writes.reads, writes.stale),
        format!("  clients      {clients}, {} disconnected", writes.lost),
        format!("  connections  at most {most_servers} to a node"),
    ] {
        say(&line)?;
    }
    nodes(servers).await?;
    account(servers).await?;
    ensure!(reads.failed == 0 && writes.failed_reads == 0, "reads failed{}", told(writes));
    ensure!(reads.transactions > 0 && writes.reads > 0, "nothing was read");
    ensure!(writes.stale == 0, "{} reads did not show what their client had written", writes.stale);
    ensure!(
        rows == writes.acknowledged,
        "{} rows were acknowledged, {rows} are there",
        writes.acknowledged
    );
    ensure!(copied == rows, "the replica has {copied} rows where the primary has {rows}");
    // Each of them had at most one on its way.
    ensure!(writes.unknown.len() <= WRITERS as usize, "writes failed{}", told(writes));
    Ok(())
}

/// What the writers were told of their errors.
fn told(writes: &Tally) -> String {
    if writes.complaints.is_empty() {
        return String::new();
    }
    format!(" ({})", writes.complaints.join("; "))
}

/// Where statements went, and what each node is now.
async fn nodes(servers: &Servers) -> Result<()> {
    say("\nWhere statements went (SHOW ROUTES)")?;
    for row in servers.console("SHOW ROUTES").await? {
        let of = |column| row.get(column);
        say(&format!("  {:9}{:>10}  {}", of("target"), of("count"), of("explanation")))?;
    }
    say("\nNodes (SHOW NODES)")?;
    for row in servers.console("SHOW NODES").await? {
        let of = |column| row.get(column);
        say(&format!("  {:17}{:9}{}", of("node"), of("role"), of("state")))?;
    }
    Ok(())
}

/// The fail-over account.
async fn account(servers: &Servers) -> Result<()> {
    say("\nThe fail-over (SHOW FAILOVERS)")?;
    let accounts = servers.console("SHOW FAILOVERS").await?;
    ensure!(
        accounts.len() == 1,
        "one primary followed another, and there are {} accounts",
        accounts.len()
    );
    for row in accounts {
        let of = |column| row.get(column);
        let (from, to) = (of("from_node"), of("to_node"));
        say(&format!("  {to} took over from {from} after {:.0} ms", of("gap_ms").parse::<f64>()?))?;
        let (failed, waited, repeated) = (of("failed"), of("waited"), of("repeated"));
        let doubt = of("in_doubt");
        say(&format!(
            "  statements: {failed} failed, {waited} waited, {repeated} repeated, {doubt} in doubt\n  {}",
            of("loss")
        ))?;
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
