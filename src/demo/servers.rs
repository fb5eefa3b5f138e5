//! The demo's PostgreSQL servers and its howdah: files, ports, start, questions, stop.
//!
//! Owns one temporary folder and every process that runs in it. `stop` ends them in order and removes the
//! folder; dropping without it (a panic) kills them and removes the folder all the same.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, process};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::ports::{Ports, Reserved};
use super::programs::Programs;

/// The size of pgbench's tables: 500,000 accounts.
const SCALE: u32 = 5;

pub(super) const DATABASE: &str = "demo";
pub(super) const USER: &str = "postgres";

/// What the writers fill.
const TABLE: &str = "CREATE TABLE orders (writer int, number int, PRIMARY KEY (writer, number))";
/// Whom howdah asks the nodes as.
const PROBE_USER: &str = "CREATE ROLE howdah LOGIN REPLICATION; GRANT pg_monitor TO howdah";

const START_LIMIT: Duration = Duration::from_secs(60);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
/// Lines of a log shown when a server does not start.
const LOG_LINES: usize = 15;
/// Throw-away data needs no disk: nothing here outlives the demo.
const SETTINGS: [&str; 7] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "max_connections=60",
    "wal_level=replica",
    "hot_standby=on",
    "wal_receiver_status_interval=1",
];

/// A child that serves until it is stopped.
#[derive(Debug)]
struct Server {
    name: &'static str,
    child: Child,
}

/// A row of the console's, by the names of its columns.
#[derive(Debug)]
pub(super) struct Row(HashMap<String, String>);

impl Row {
    /// A column as text; empty for NULL.
    pub(super) fn get(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }
}

/// Everything the demo has started.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) programs: Programs,
    pub(super) ports: Ports,
    reserved: Reserved,
    running: Vec<Server>,
    folder: Folder, // last, because fields drop in order: the processes go before their files
}

impl Servers {
    /// An empty folder and four free ports.
    pub(super) fn new(programs: Programs) -> Result<Self> {
        let folder = Folder::new(&programs)?;
        let (ports, reserved) = Ports::reserve()?;
        Ok(Self { programs, ports, reserved, running: Vec::new(), folder })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// initdb, start, and pgbench's tables.
    pub(super) async fn start_primary(&mut self) -> Result<()> {
        let data = self.folder().join("primary").display().to_string();
        let how = ["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"];
        self.run("initdb", &[&["-D", &data][..], &how[..]].concat()).await?;
        self.start_postgres("primary", self.ports.primary).await?;
        self.ask(self.ports.primary, "postgres", &format!("CREATE DATABASE {DATABASE}")).await?;
        self.ask(self.ports.primary, DATABASE, TABLE).await?;
        self.ask(self.ports.primary, "postgres", PROBE_USER).await?;
        let (port, scale) = (self.ports.primary.to_string(), SCALE.to_string());
        let to = ["-h", "127.0.0.1", "-p", &port, "-U", USER, DATABASE];
        self.run("pgbench", &[&["-i", "-q", "-s", &scale][..], &to[..]].concat()).await?;
        Ok(())
    }

    pub(super) async fn start_replica(&mut self) -> Result<()> {
        self.copy(self.ports.primary, "replica").await?;
        self.start_postgres("replica", self.ports.replica).await
    }

    /// A replica of the replica.
    pub(super) async fn start_cascade(&mut self) -> Result<()> {
        self.copy(self.ports.replica, "cascade").await?;
        self.start_postgres("cascade", self.ports.cascade).await
    }

    /// This very program, as `run FILE`.
    pub(super) async fn start_howdah(&mut self, pool_size: u32) -> Result<()> {
        let file = self.folder().join("howdah.toml");
        fs::write(&file, configuration(self.ports, pool_size))
            .with_context(|| format!("could not write {}", file.display()))?;
        let binary = env::current_exe().context("could not find our own binary")?;
        let mut command = Command::new(binary);
        command.arg("run").arg(&file).current_dir(self.folder()).process_group(0);
        self.spawn("howdah", self.ports.howdah, command)?;
        let until = Instant::now() + START_LIMIT;
        // A question that only a howdah answers.
        while self.ask(self.ports.howdah, "howdah", "SHOW VERSION").await.is_err() {
            self.still_starting("howdah", until).await?;
        }
        Ok(())
    }

    /// Waits until howdah says of all three nodes that they serve, as what they are.
    pub(super) async fn nodes_are_known(&mut self) -> Result<()> {
        let until = Instant::now() + START_LIMIT;
        loop {
            let nodes = self.console("SHOW NODES").await?;
            let up = |role| {
                nodes
                    .iter()
                    .filter(|row| row.get("role") == role && row.get("state") == "up")
                    .count()
            };
            if up("primary") == 1 && up("replica") == 2 {
                return Ok(());
            }
            self.still_starting("howdah", until).await?;
        }
    }

    /// The rows that howdah's console answers with.
    pub(super) async fn console(&self, command: &str) -> Result<Vec<Row>> {
        let port = self.ports.howdah.to_string();
        let to = ["-h", "127.0.0.1", "-p", &port, "-U", USER, "-c", command, "howdah"];
        let how = ["-X", "-q", "-A", "-P", "footer=off", "-v", "ON_ERROR_STOP=1"];
        let text = self.run("psql", &[&how[..], &to[..]].concat()).await?;
        let mut lines = text.lines().map(|line| line.split('|').map(str::to_owned));
        let names: Vec<String> = lines.next().into_iter().flatten().collect();
        Ok(lines.map(|cells| Row(names.iter().cloned().zip(cells).collect())).collect())
    }

    /// How many connections of clients the node with the most of them has in the demo's database.
    pub(super) async fn most_server_connections(&self) -> Result<u32> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{DATABASE}' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        );
        let mut most = 0;
        for (name, port) in self.ports.nodes() {
            if self.running.iter().all(|server| server.name != name) {
                continue;
            }
            let count = self.ask(port, "postgres", &sql).await?;
            most = most.max(count.parse().with_context(|| format!("{count:?} is not a count"))?);
        }
        Ok(most)
    }

    /// Stops the primary as an administrator would, and promotes its replica. Everything that was
    /// acknowledged has reached the replica by then: a primary waits for that when it stops.
    pub(super) async fn promote(&mut self) -> Result<()> {
        let place = self.running.iter().position(|server| server.name == "primary");
        let mut primary = self.running.remove(place.context("the primary does not run")?);
        primary.stop().await;
        self.ask(self.ports.replica, "postgres", "SELECT pg_promote()").await?;
        Ok(())
    }

    /// How many rows the writers have written, but for those in `except`, as the node at `port` shows it.
    pub(super) async fn orders(&self, port: u16, except: &[(u32, u32)]) -> Result<u64> {
        let pairs: Vec<String> =
            except.iter().map(|(writer, number)| format!("({writer},{number})")).collect();
        let filter = if pairs.is_empty() {
            String::new()
        } else {
            format!(" WHERE (writer, number) NOT IN ({})", pairs.join(","))
        };
        let count =
            self.ask(port, DATABASE, &format!("SELECT count(*) FROM orders{filter}")).await?;
        count.parse().with_context(|| format!("{count:?} is not a count"))
    }

    /// Waits until the replica at `port` has replayed all that the primary at `primary` has written by now.
    pub(super) async fn caught_up(&self, port: u16, primary: u16) -> Result<()> {
        let written = self.ask(primary, "postgres", "SELECT pg_current_wal_lsn()").await?;
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        let until = Instant::now() + CATCH_UP_LIMIT;
        loop {
            let answer = self.ask(port, "postgres", &sql).await?;
            if answer == "t" {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "the replica at port {port} has not replayed {written} after {} s: {answer}",
                CATCH_UP_LIMIT.as_secs()
            );
            sleep(POLL).await;
        }
    }

    /// Returns only with the error that a server has ended. Cancel safe.
    pub(super) async fn until_one_ends(&mut self) -> Result<()> {
        loop {
            for index in 0..self.running.len() {
                self.check_running(index)?;
            }
            sleep(POLL * 4).await;
        }
    }

    /// Ends all of them, replicas before what they replicate, and removes the folder.
    pub(super) async fn stop(mut self) {
        while let Some(mut server) = self.running.pop() {
            server.stop().await;
        }
    }

    /// One query by psql; the answer unaligned, without a header.
    async fn ask(&self, port: u16, database: &str, sql: &str) -> Result<String> {
        let port = port.to_string();
        let args =
            ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port];
        let answer =
            self.run("psql", &[&args[..], &["-U", USER, "-c", sql, database]].concat()).await?;
        Ok(answer.trim().to_owned())
    }

    async fn copy(&self, from: u16, name: &str) -> Result<()> {
        let (port, to) = (from.to_string(), self.folder().join(name).display().to_string());
        let source = ["-h", "127.0.0.1", "-p", &port, "-U", USER, "-D", &to];
        let how = ["-R", "-X", "stream", "-c", "fast", "--no-sync"];
        self.run("pg_basebackup", &[&source[..], &how[..]].concat()).await.map(drop)
    }

    /// Runs a program of PostgreSQL's to its end; the error holds what it said.
    async fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let out = self
            .programs
            .command(program, self.folder())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .await
            .with_context(|| format!("could not run {program}"))?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            bail!("{program} ended with {}:\n{}", out.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    async fn start_postgres(&mut self, name: &'static str, port: u16) -> Result<()> {
        let mut command = self.programs.command("postgres", self.folder());
        command.arg("-D").arg(self.folder().join(name)).args(["-p", &port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        self.spawn(name, port, command)?;
        let until = Instant::now() + START_LIMIT;
        // Its own word: another server may answer at the port.
        let pid_file = self.folder().join(name).join("postmaster.pid");
        while !fs::read_to_string(&pid_file).is_ok_and(|text| is_ready(&text)) {
            self.still_starting(name, until).await?;
        }
        Ok(())
    }

    fn spawn(&mut self, name: &'static str, port: u16, mut command: Command) -> Result<()> {
        self.reserved.release(port);
        let log = self.log(name);
        let out =
            File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
        let err = out.try_clone().context("could not share a log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        self.running.push(Server { name, child });
        Ok(())
    }

    /// Waits a moment, unless `name`, the youngest child, has ended or took too long.
    async fn still_starting(&mut self, name: &str, until: Instant) -> Result<()> {
        self.check_running(self.running.len().saturating_sub(1))?;
        if Instant::now() >= until {
            bail!(
                "{name} does not answer after {} s:\n{}",
                START_LIMIT.as_secs(),
                self.last_words(name)
            );
        }
        sleep(POLL).await;
        Ok(())
    }

    fn check_running(&mut self, index: usize) -> Result<()> {
        let Some(server) = self.running.get_mut(index) else { return Ok(()) };
        let name = server.name;
        let Some(status) =
            server.child.try_wait().with_context(|| format!("could not watch {name}"))?
        else {
            return Ok(());
        };
        bail!("{name} ended with {status}:\n{}", self.last_words(name))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.log"))
    }

    fn last_words(&self, name: &str) -> String {
        let text = fs::read_to_string(self.log(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Server {
    /// Asks politely (for PostgreSQL SIGINT is a fast shutdown), and ends it by force after a while.
    async fn stop(&mut self) {
        // No pid: it has ended and was waited for. A failed kill: it has just ended, and the wait sees it.
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, Signal::INT).ok();
        }
        if timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            self.child.kill().await.ok();
        }
    }
}

/// A temporary folder that goes when this does.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Owned by the account that runs PostgreSQL. A folder that is already there is not taken: it may be someone's trap.
    fn new(programs: &Programs) -> Result<Self> {
        let path = env::temp_dir().join(format!("howdah-demo-{}", process::id()));
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&path)
            .with_context(|| format!("could not create {}", path.display()))?;
        let folder = Self { path };
        if let Some(account) = programs.account() {
            chown(&folder.path, Some(account.uid), Some(account.gid))
                .with_context(|| format!("could not give {} away", folder.path.display()))?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %why, "could not remove the demo's files");
        }
    }
}

/// Whether a postmaster that writes this into its file of the same name accepts connections: that is
/// its eighth line.
fn is_ready(pid_file: &str) -> bool {
    pid_file.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}

fn configuration(ports: Ports, pool_size: u32) -> String {
    format!(
        "# Written by `howdah demo`.\n\
         [howdah]\nlisten_addr = [\"127.0.0.1\"]\nlisten_port = {}\nunix_socket_dir = \"\"\nmax_client_conn = 200\nstats_users = [\"{USER}\"]\n\n\
         [pool]\npool_mode = \"transaction\"\ndefault_pool_size = {pool_size}\n\n\
         [auth]\nauth_type = \"trust\"\n\n\
         [databases.{DATABASE}]\n\
         nodes = [\"127.0.0.1:{}\", \"127.0.0.1:{}\", \"127.0.0.1:{}\"]\n",
        ports.howdah, ports.primary, ports.replica, ports.cascade
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_that_names_all_nodes() {
        let ports = Ports { primary: 1, replica: 2, cascade: 3, howdah: 4 };
        let table: toml::Table = configuration(ports, 5).parse().unwrap();
        assert_eq!(table["howdah"]["listen_port"].as_integer(), Some(4));
        assert_eq!(table["pool"]["default_pool_size"].as_integer(), Some(5));
        let nodes = table["databases"][DATABASE]["nodes"].as_array().unwrap();
        let nodes: Vec<_> = nodes.iter().filter_map(toml::Value::as_str).collect();
        assert_eq!(nodes, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
    }
}
