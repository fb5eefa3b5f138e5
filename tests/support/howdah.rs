//! The real `howdah` binary, started with a configuration of the test's own.

use parking_lot::Mutex;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::watchdog::Watchdog;
use super::{deadline, free_port, look_again};

/// A configuration file in the making: sections with keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings(toml::Table);

impl Settings {
    /// One loopback address, `trust`, and pools of `pool_mode`; no database yet. The port and the
    /// socket folder are chosen at start.
    pub(crate) fn new(pool_mode: &str) -> Self {
        Self::default()
            .set("howdah.listen_addr", vec!["127.0.0.1"])
            .set("pool.pool_mode", pool_mode)
            .set("auth.auth_type", "trust")
    }

    /// Sets a key by its path (`pool.default_pool_size`). A key replaces an earlier value.
    pub(crate) fn set(mut self, path: &str, value: impl Into<toml::Value>) -> Self {
        let (sections, key) = path.rsplit_once('.').expect("a section and a key");
        let mut table = &mut self.0;
        for section in sections.split('.') {
            table = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into())
                .as_table_mut()
                .expect("a section, not a key");
        }
        table.insert(key.to_owned(), value.into());
        self
    }

    /// Writes `howdah.toml` into `folder`, which is for the Unix socket as well.
    fn write(&self, folder: &Path, port: u16) -> PathBuf {
        let file = folder.join("howdah.toml");
        std::fs::write(&file, self.placed(folder, port).text()).expect("a writable folder");
        file
    }

    /// With the port and the folder of the Unix socket.
    fn placed(&self, folder: &Path, port: u16) -> Self {
        self.clone()
            .set("howdah.listen_port", i64::from(port))
            .set("howdah.unix_socket_dir", folder.to_str().expect("a UTF-8 path"))
    }

    /// The file's text as it stands.
    pub(crate) fn text(&self) -> String {
        toml::to_string(&self.0).expect("a table is TOML")
    }

    /// Adds database `name` on the server at `node`.
    pub(crate) fn database(self, name: &str, node: SocketAddr) -> Self {
        self.set(&format!("databases.{name}.nodes"), vec![node.to_string()])
    }
}

/// The binary under test: that of `HOWDAH_BIN`, so that a test can be seen to fail on an older one,
/// else the one that was built with the tests.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("HOWDAH_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_howdah")), PathBuf::from)
}

/// A running proxy. Dropping it kills it.
pub(crate) struct Howdah {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    _watchdog: Watchdog,
    folder: TempDir,
}

impl Howdah {
    /// Starts the binary and waits until it accepts connections.
    pub(crate) fn start(settings: &Settings) -> Self {
        Self::start_with(&|folder, port| {
            let mut command = Command::new(binary());
            command.arg("run").arg(settings.write(folder, port));
            command
        })
    }

    /// Starts what `make` gives for a folder, which is for the Unix socket as well, and a port.
    pub(crate) fn start_with(make: &dyn Fn(&Path, u16) -> Command) -> Self {
        let mut log = String::new();
        // Somebody else may take the port between choosing and binding it.
        for _ in 0..3 {
            match Self::attempt(make) {
                Ok(howdah) => return howdah,
                Err(said) => log = said,
            }
            if !log.contains("in use") {
                break;
            }
        }
        unreachable!("howdah does not accept connections; it said:\n{log}")
    }

    fn attempt(make: &dyn Fn(&Path, u16) -> Command) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("howdah-run-").tempdir().expect("a folder");
        let port = free_port();
        let mut child = make(folder.path(), port)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test");
        let watchdog = Watchdog::start(child.id(), "KILL", Some(folder.path()), None);
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stderr.take().expect("the log was piped"), Arc::clone(&log));
        let mut howdah = Self { child, port, log, _watchdog: watchdog, folder };
        if howdah.accepts() { Ok(howdah) } else { Err(howdah.log()) }
    }

    /// The socket in its own folder proves that it is not somebody else who answers on the port.
    fn accepts(&mut self) -> bool {
        let end = deadline();
        let socket = self.folder().join(format!(".s.PGSQL.{}", self.port));
        loop {
            let own = UnixStream::connect(&socket).is_ok();
            if own && TcpStream::connect(self.address()).is_ok() {
                return true;
            }
            let gone = self.child.try_wait().expect("a child to ask about").is_some();
            if gone || !look_again(end) {
                return false;
            }
        }
    }

    /// Writes its configuration anew, for a reload.
    pub(crate) fn configure(&self, settings: &Settings) {
        settings.write(self.folder(), self.port);
    }

    /// Its configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder().join("howdah.toml")
    }

    /// What [`Self::configure`] writes into its file.
    pub(crate) fn text(&self, settings: &Settings) -> String {
        settings.placed(self.folder(), self.port).text()
    }

    /// The loopback address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The loopback address and the folder of the Unix socket.
    pub(crate) fn place(&self) -> (SocketAddr, &Path) {
        (self.address(), self.folder())
    }

    /// The folder with its `howdah.toml` and `.s.PGSQL.PORT`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id, for signals.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// How it ended, or nothing if it still runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child to ask about")
    }

    /// Sends SIGTERM, SIGINT, SIGHUP, …
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("a process of our own");
    }

    /// Waits until it has ended by itself; it gets the usual patience.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = deadline();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(look_again(end), "howdah does not end; it said:\n{}", self.log());
        }
    }
}

impl Drop for Howdah {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn collect(errors: impl std::io::Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            let mut log = log.lock();
            log.push_str(&line);
            log.push('\n');
        }
    });
}
