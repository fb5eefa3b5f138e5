//! Several processes on one port: cancel requests find their owner, and processes follow one another
//! without a gap. With the real binary and a real PostgreSQL behind.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use support::behaviour::{await_statement, client, eventually, settings, told};
use support::free_port;
use support::howdah::Howdah;
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::wire::Wire;

fn number(database: &str, number: i64) -> support::howdah::Settings {
    settings(database, "transaction").set("howdah.peer_id", number)
}

/// Asks `howdah` to cancel what the client with this key runs.
fn cancel(howdah: &Howdah, key: &[u8]) {
    Wire::tcp(howdah.address()).send(&messages::cancel_request(key));
}

#[test]
fn a_cancel_request_at_another_process_finds_its_owner() {
    let host = |howdah: &Howdah| i64::from(howdah.address().port());
    let owner = Howdah::start(&number("peers", 300).set("peers.2.host", "127.0.0.1"));
    let door = Howdah::start(
        &number("peers", 2)
            .set("peers.300.host", "127.0.0.1")
            .set("peers.300.port", host(&owner))
            .set("peers.7.host", "127.0.0.1")
            .set("peers.7.port", i64::from(free_port())),
    );
    let mut admin = Postgres::shared().admin("peers");
    let mut client = client(&owner, "peers");
    let key = client.key().expect("a key").to_vec();
    client.send(&messages::query("SELECT pg_sleep(600) /* mine */"));
    await_statement(&mut admin, "peers", "mine");
    cancel(&door, &key);
    let frames = client.until(b'Z');
    let error = frames.iter().find(|frame| frame.tag == b'E').expect("an error");
    assert!(told(error).contains("57014"), "{frames:?}");
    // One for a process that is not there is told of, and does no harm.
    let mut other = key.clone();
    other[1..3].copy_from_slice(&7u16.to_le_bytes());
    cancel(&door, &other);
    eventually("the failure", || door.log().contains("cancel request for peer 7"));
    assert!(support::behaviour::succeeded(&client.query("SELECT 1")));
}

/// One of several processes on a port, with a Unix socket of its own.
struct Process {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Process {
    /// Starts it and waits until clients may come.
    fn start(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings("rolling", "transaction")
            .set("howdah.listen_port", i64::from(port))
            .set("howdah.so_reuseport", true)
            .set("howdah.unix_socket_dir", folder.path().to_str().expect("UTF-8"));
        let file = folder.path().join("howdah.toml");
        std::fs::write(&file, settings.text()).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_howdah"));
        command.arg("run").arg(file).stdin(Stdio::null()).stderr(Stdio::null());
        let process = Self { child: command.spawn().expect("the binary"), folder, port };
        eventually("it is up", || UnixStream::connect(process.socket()).is_ok());
        process
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// Ends when its clients have left.
    fn retire(mut self) {
        let mut console = Wire::unix(&self.socket());
        console.start(&[("user", "pgbouncer"), ("database", "pgbouncer")], "");
        console.run("SHUTDOWN WAIT_FOR_CLIENTS");
        console.disconnect();
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn ten_processes_follow_one_another_and_no_client_notices() {
    let port = free_port();
    let mut current = Process::start(port);
    let postgres = Postgres::shared();
    let script = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile();
    let script = script.expect("a file");
    std::fs::write(&script, "SELECT 1;\n").expect("writable");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut runs = 0;
            while !over.load(Ordering::Relaxed) {
                let (port, file) = (port.to_string(), script.path().to_str().expect("UTF-8"));
                // A connection for each transaction.
                let arguments = [
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "-U",
                    RIDER,
                    "-n",
                    "-C",
                    "-c",
                    "4",
                    "-t",
                    "50",
                    "-f",
                    file,
                    "rolling",
                ];
                let said = postgres.tool("pgbench", &arguments);
                assert!(
                    said.contains("number of transactions actually processed: 200/200"),
                    "{said}"
                );
                runs += 1;
            }
            runs
        });
        for _ in 0..10 {
            let next = Process::start(port);
            std::mem::replace(&mut current, next).retire();
        }
        over.store(true, Ordering::Relaxed);
        assert!(load.join().expect("no transaction failed") > 0);
    });
}
