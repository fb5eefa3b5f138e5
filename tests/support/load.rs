//! pgbench as clients who must not notice what happens meanwhile.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::behaviour::eventually;
use super::console::the_row;
use super::howdah::Howdah;
use super::postgres::bin_dir;
use super::watchdog::Watchdog;
use super::wire::Wire;

/// Clients of each pgbench.
const CLIENTS: &str = "4";

/// A pgbench at work, until [`Load::finish`]. Dropping it kills it.
struct Load {
    child: Child,
    _watchdog: Watchdog,
    folder: TempDir,
}

impl Load {
    /// Runs `script` again and again.
    fn start(howdah: &Howdah, who: &Who<'_>, arguments: &[&str], script: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, output) = (folder.path().join("script"), folder.path().join("output"));
        fs::write(&file, script).expect("a writable folder");
        let said = File::create(output).expect("a writable folder");
        let mut command = Command::new(bin_dir().join("pgbench"));
        // A thread for each client, because pgbench prepares with a call that blocks its thread.
        command.args(["-n", "-T", "100000", "-c", CLIENTS, "-j", CLIENTS]).args(arguments);
        command.arg("-f").arg(file).args(["-h", "127.0.0.1", "-U", who.user]);
        command.args(["-p", &howdah.address().port().to_string(), who.database]);
        command.env("PGPASSWORD", who.password).env("PGSSLMODE", who.sslmode);
        command.env("PGGSSENCMODE", "disable").current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(said.try_clone().expect("a descriptor")).stderr(said);
        let child = command.spawn().expect("pgbench");
        let watchdog = Watchdog::start(child.id(), "KILL", None, None);
        Self { child, _watchdog: watchdog, folder }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).expect("its output")
    }

    /// Whether it still runs; it ends by itself when all of its clients have failed.
    fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Lets every client end its transaction. None may have failed before; gives how many there
    /// were.
    fn finish(mut self) -> u64 {
        // What its own clock sends when the time of -T is over.
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid");
        if self.runs() {
            kill_process(pid, Signal::ALARM).expect("a process of our own");
        }
        eventually("pgbench ends", || !self.runs());
        let (status, said) = (self.child.wait().expect("a child"), self.said());
        assert!(status.success(), "{status}: {said}");
        assert!(said.contains("number of failed transactions: 0 (0.000%)"), "{said}");
        assert!(!said.contains("error"), "{said}");
        let count = said.split("actually processed: ").nth(1).and_then(|rest| rest.lines().next());
        count.and_then(|count| count.parse().ok()).expect("a number of transactions")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// As whom, and how, pgbench logs in.
pub(crate) struct Who<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    pub(crate) database: &'a str,
    /// libpq's word.
    pub(crate) sslmode: &'a str,
}

/// What grows as long as each of the two works.
const GROWING: [&str; 2] = ["total_client_login_count", "total_ps_bind_count"];

/// Two pgbenches: one with a connection for each transaction, one with prepared statements in
/// transactions of several, and outside.
pub(crate) struct Loads([Load; 2]);

impl Loads {
    /// Starts both, and waits until both are at work. `console` is one of the process.
    pub(crate) fn start(howdah: &Howdah, who: &Who<'_>, console: &mut Wire) -> Self {
        let connecting = Load::start(howdah, who, &["-C"], "SELECT 1;\n");
        let script = "\\set x random(1, 1000)\nSELECT :x + 1;\nBEGIN;\nSELECT :x::text || 'a';\n\
                      SELECT count(*) FROM generate_series(1, :x);\nEND;\n";
        // Not as fast as it can: the machine has other things to do.
        let prepared = Load::start(howdah, who, &["-M", "prepared", "-R", "200"], script);
        let mut loads = Self([connecting, prepared]);
        loads.go_on(console);
        loads
    }

    /// Waits until both have done something more.
    pub(crate) fn go_on(&mut self, console: &mut Wire) {
        let now = |console: &mut Wire| {
            GROWING.map(|name| the_row(console, "totals", &[("name", name)]).number("value"))
        };
        let before = now(console);
        eventually("the load goes on", || {
            for load in &mut self.0 {
                assert!(load.runs(), "it gave up: {}", load.said());
            }
            now(console).iter().zip(before).all(|(now, before)| *now >= before + 8.0)
        });
    }

    /// Ends both; no transaction may have failed.
    pub(crate) fn finish(self) {
        for load in self.0 {
            assert!(load.finish() > 0);
        }
    }
}
