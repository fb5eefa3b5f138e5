//! Real PostgreSQL servers in temporary folders.
//!
//! Each server listens on a free loopback port and on a Unix socket in its folder, runs without
//! fsync, as user `postgres` (or `nobody`) when the tests run as root, and disappears with the test
//! process. The binaries are those of `HOWDAH_TEST_PG_BIN`, else the newest below
//! `/usr/lib/postgresql`, else those that `pg_config` names.

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock, mpsc};

use tempfile::TempDir;

use super::watchdog::{Identity, Watchdog};
use super::wire::Wire;
use super::{PATIENCE, free_port};

/// The superuser; no password is asked.
pub(crate) const SUPERUSER: &str = "postgres";
/// An ordinary user, owner of database `app`; no password is asked.
pub(crate) const RIDER: &str = "rider";
/// A role that cannot log in; [`RIDER`] is a member and may `SET ROLE` to it.
pub(crate) const CREW: &str = "crew";
/// An ordinary user that logs in by SCRAM-SHA-256.
pub(crate) const APP: &str = "app";
/// An ordinary user that logs in by MD5.
pub(crate) const APP_MD5: &str = "app_md5";
/// An ordinary user that sends its password in clear.
pub(crate) const APP_PLAIN: &str = "app_plain";
/// The password of every user that has one. The characters need quoting in most syntaxes.
pub(crate) const PASSWORD: &str = "p4ss'w\"o;r\\d";

/// The first match counts (manual: "The pg_hba.conf File").
const HBA: &str = "\
local all postgres trust
local all app scram-sha-256
local all app_md5 md5
local all app_plain password
local all all trust
host all app 127.0.0.1/32 scram-sha-256
host all app_md5 127.0.0.1/32 md5
host all app_plain 127.0.0.1/32 password
host all all 127.0.0.1/32 trust
";

const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("max_connections", "200"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "64MB"),
    ("autovacuum", "off"),
    ("jit", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // An error of 64 MB is written here before its client gets it.
    ("log_min_messages", "log"),
    ("log_min_error_statement", "panic"),
    ("lc_messages", "C"),
];

/// What a server of one's own differs in from the usual one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Lines put before the usual `pg_hba.conf`, so that they win.
    pub(crate) hba: Vec<String>,
    /// Settings beside the usual ones, or instead of them.
    pub(crate) settings: Vec<(String, String)>,
}

/// A running server. Dropping it stops it at once and removes its folder.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    identity: Option<Identity>,
    options: Options,
    // Dropped in this order, after the child was waited for.
    _watchdog: Watchdog,
    folder: TempDir,
}

impl Postgres {
    /// The one server that all tests of this binary share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&Options::default()))
    }

    /// Starts a server of one's own.
    pub(crate) fn start(options: &Options) -> Self {
        let identity = unprivileged();
        let folder = new_folder(identity);
        initdb(folder.path(), identity);
        let hba = format!("{}\n{HBA}", options.hba.join("\n"));
        fs::write(folder.path().join("data/pg_hba.conf"), hba).expect("a writable pg_hba.conf");
        let server = launch(folder, identity, options);
        server.create_users();
        server
    }

    /// Starts a replica of this server, which has to let the superuser replicate from 127.0.0.1.
    pub(crate) fn start_replica(&self, options: &Options) -> Self {
        let folder = new_folder(self.identity);
        let mut command = Command::new(bin_dir().join("pg_basebackup"));
        command.args(["--host=127.0.0.1", "--username", SUPERUSER, "--port"]);
        command.arg(self.port.to_string()).args(["--checkpoint=fast", "--no-sync"]);
        command.args(["--write-recovery-conf", "--pgdata"]).arg(folder.path().join("data"));
        command.current_dir(folder.path());
        run_to_end(command, self.identity, Some(folder.path()));
        launch(folder, self.identity, options)
    }

    /// Kills every process of the server at once, as a crash of its machine does.
    pub(crate) fn crash(&mut self) {
        // Stopped first, so that it starts no other child meanwhile.
        self.signal(Signal::STOP);
        for child in self.children() {
            kill_process(child, Signal::KILL).ok();
        }
        self.signal(Signal::KILL);
        self.child.wait().ok();
    }

    /// Starts a server again that has ended, at its old port, and waits until it takes connections.
    pub(crate) fn start_again(&mut self) {
        let (child, watchdog) = spawn(self.folder.path(), self.identity, &self.options, self.port);
        self.child = child;
        self._watchdog = watchdog;
        let errors = self.child.stderr.take().expect("the log was piped");
        assert!(became_ready(errors, &self.log), "it did not start again:\n{}", self.log());
    }

    /// Stops every process of the server where it stands: the node is silent.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        for child in self.children() {
            kill_process(child, Signal::STOP).ok();
        }
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        for child in self.children() {
            kill_process(child, Signal::CONT).ok();
        }
        self.signal(Signal::CONT);
    }

    /// Makes a replica the primary.
    pub(crate) fn promote(&self) {
        let data = self.folder.path().join("data");
        self.tool("pg_ctl", &["promote", "-w", "-D", data.to_str().expect("a UTF-8 path")]);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        kill_process(pid, signal).ok();
    }

    /// The processes that the postmaster has started.
    fn children(&self) -> Vec<Pid> {
        let path = format!("/proc/{0}/task/{0}/children", self.child.id());
        let listed = fs::read_to_string(path).unwrap_or_default();
        let pids = listed.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.filter_map(Pid::from_raw).collect()
    }

    /// The loopback port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The loopback address.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The loopback address and the folder of the Unix socket.
    pub(crate) fn place(&self) -> (SocketAddr, &Path) {
        (self.address(), self.socket_dir())
    }

    /// The folder that holds `.s.PGSQL.PORT`.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The process id of the postmaster.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// A superuser's connection to `database`.
    pub(crate) fn admin(&self, database: &str) -> Wire {
        Wire::login(self.address(), SUPERUSER, database)
    }

    /// Makes an empty database that belongs to [`RIDER`], unless it exists.
    pub(crate) fn create_database(&self, name: &str) {
        let mut admin = self.admin("postgres");
        let known = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
        if admin.rows(&known).is_empty() {
            admin.run(&format!("CREATE DATABASE \"{name}\" OWNER {RIDER}"));
        }
    }

    /// Runs one of the server's own programs and gives what it printed.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(bin_dir().join(program));
        command.args(arguments).current_dir(self.folder.path());
        run_to_end(command, self.identity, None)
    }

    fn create_users(&self) {
        let mut admin = self.admin("postgres");
        let secret = PASSWORD.replace('\'', "''");
        admin.run(&format!("CREATE ROLE {RIDER} LOGIN"));
        admin.run(&format!("CREATE ROLE {CREW}; GRANT {CREW} TO {RIDER}"));
        admin.run(&format!("CREATE ROLE {APP} LOGIN PASSWORD '{secret}'"));
        admin.run(&format!("CREATE ROLE {APP_PLAIN} LOGIN PASSWORD '{secret}'"));
        admin.run("SET password_encryption = 'md5'");
        admin.run(&format!("CREATE ROLE {APP_MD5} LOGIN PASSWORD '{secret}'"));
        self.create_database("app");
    }
}

impl Postgres {
    /// Stops it at once, as if its machine were gone.
    pub(crate) fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            // Its number may be another's by now.
            return;
        }
        // SIGQUIT is "immediate shutdown": the children go too and shared memory is freed.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::QUIT).ok();
            // Frozen ones hear it when they go on.
            self.thaw();
        }
        self.child.wait().ok();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where the server's programs are.
pub(crate) fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("HOWDAH_TEST_PG_BIN") {
        return PathBuf::from(dir);
    }
    newest_installed()
        .or_else(from_pg_config)
        .expect("no PostgreSQL server: install one, or name its bin folder in HOWDAH_TEST_PG_BIN")
}

fn newest_installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let bin = path.join("bin");
            bin.join("postgres").exists().then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let bin = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    bin.join("postgres").exists().then_some(bin)
}

/// PostgreSQL refuses to run as root, so root's tests run it as somebody else.
pub(crate) fn unprivileged() -> Option<Identity> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("a readable /etc/passwd");
    let account = |name: &str| {
        let line = accounts.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Identity { uid, gid })
    };
    Some(account("postgres").or_else(|| account("nobody")).expect("a user postgres or nobody"))
}

/// Runs a program; `folder` goes with it if the tests die meanwhile.
fn run_to_end(mut command: Command, identity: Option<Identity>, folder: Option<&Path>) -> String {
    if let Some(identity) = identity {
        identity.apply(&mut command);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("a PostgreSQL program that starts");
    let watchdog = folder.map(|folder| Watchdog::start(child.id(), "KILL", Some(folder), identity));
    let output = child.wait_with_output().expect("a child to wait for");
    drop(watchdog);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn new_folder(identity: Option<Identity>) -> TempDir {
    let folder = tempfile::Builder::new().prefix("howdah-pg-").tempdir().expect("a folder");
    if let Some(identity) = identity {
        std::os::unix::fs::chown(folder.path(), Some(identity.uid), Some(identity.gid))
            .expect("root may give a folder away");
    }
    folder
}

fn initdb(folder: &Path, identity: Option<Identity>) {
    let mut command = Command::new(bin_dir().join("initdb"));
    command.args(["--no-sync", "--auth=trust", "--username", SUPERUSER]);
    command.args(["--encoding=UTF8", "--locale=C", "--pgdata"]).arg(folder.join("data"));
    command.current_dir(folder);
    run_to_end(command, identity, Some(folder));
}

/// Another process may take the port between choosing and binding it, hence the attempts.
fn launch(folder: TempDir, identity: Option<Identity>, options: &Options) -> Postgres {
    for _ in 0..5 {
        let port = chosen_port(options).unwrap_or_else(free_port);
        let (mut child, watchdog) = spawn(folder.path(), identity, options, port);
        let log = Arc::new(Mutex::new(String::new()));
        let errors = child.stderr.take().expect("the log was piped");
        if became_ready(errors, &log) {
            let options = options.clone();
            return Postgres { child, port, log, identity, options, _watchdog: watchdog, folder };
        }
        child.wait().ok();
        let log = log.lock();
        assert!(log.contains("Address already in use"), "PostgreSQL did not start:\n{log}");
    }
    unreachable!("five free ports in a row were taken by others")
}

fn spawn(
    folder: &Path,
    identity: Option<Identity>,
    options: &Options,
    port: u16,
) -> (Child, Watchdog) {
    let mut command = Command::new(bin_dir().join("postgres"));
    command.arg("-D").arg(folder.join("data"));
    command.arg("-p").arg(port.to_string()).arg("-k").arg(folder);
    for (name, value) in SETTINGS {
        command.args(["-c", &format!("{name}={value}")]);
    }
    for (name, value) in &options.settings {
        command.args(["-c", &format!("{name}={value}")]);
    }
    command.current_dir(folder).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(identity) = identity {
        identity.apply(&mut command);
    }
    let child = command.spawn().expect("a server that starts");
    let watchdog = Watchdog::start(child.id(), "QUIT", Some(folder), identity);
    (child, watchdog)
}

/// The port that the settings choose.
fn chosen_port(options: &Options) -> Option<u16> {
    let chosen = options.settings.iter().find(|(name, _)| name == "port");
    chosen.map(|(_, port)| port.parse().expect("a port"))
}

/// Waits for the line that says the server is ready (or the end of its log), while a thread keeps
/// collecting the log until the server ends.
fn became_ready(errors: impl Read + Send + 'static, log: &Arc<Mutex<String>>) -> bool {
    let (announce, ready) = mpsc::sync_channel(1);
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            if line.contains("database system is ready to accept") {
                announce.try_send(()).ok();
            }
            let mut log = log.lock();
            log.push_str(&line);
            log.push('\n');
        }
    });
    // The sender is dropped at the end of the log, which ends this wait as well.
    ready.recv_timeout(PATIENCE * 3).is_ok()
}
