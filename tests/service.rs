//! Under a service manager: what systemd is told, the sockets that it hands over, and a configuration
//! that is watched. With the real binary and a real PostgreSQL behind.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;

use support::behaviour::{client, eventually, settings, value};
use support::howdah::Howdah;
use support::postgres::{Postgres, RIDER};
use support::wire::Wire;

const BINARY: &str = env!("CARGO_BIN_EXE_howdah");

/// A configuration of one database for the binary, in a file.
fn configuration(folder: &Path, port: u16, database: &str) -> std::path::PathBuf {
    Postgres::shared().create_database(database);
    let file = folder.join("howdah.toml");
    let text = format!(
        "[howdah]\nlisten_addr = [\"127.0.0.1\"]\nlisten_port = {port}\nunix_socket_dir = {folder:?}\n\
         [auth]\nauth_type = \"trust\"\n[databases.{database}]\nnodes = [\"{}\"]\n",
        Postgres::shared().address()
    );
    fs::write(&file, text).expect("a writable folder");
    file
}

/// What a service manager was told, one message after the other.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> (Self, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        (Self { socket, _folder: folder }, path.to_str().expect("UTF-8").to_owned())
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).expect("a message in time");
        String::from_utf8_lossy(&bytes[..n]).trim_end().to_owned()
    }

    /// The next message that says this.
    fn hears(&self, what: &str) -> String {
        loop {
            let said = self.next();
            if said.lines().any(|line| line.starts_with(what)) {
                return said;
            }
        }
    }
}

#[test]
fn systemd_is_told_of_start_reload_life_and_end() {
    let (manager, socket) = Manager::new();
    let mut howdah = Howdah::start_with(&|folder, port| {
        let mut command = Command::new(BINARY);
        command.arg("run").arg(configuration(folder, port, "told"));
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
        command
    });
    assert_eq!(manager.next(), "READY=1");
    let mut client = client(&howdah, "told");
    assert_eq!(value(&mut client, "SELECT 1"), "1");
    manager.hears("STATUS=1 client(s)");
    manager.hears("WATCHDOG=1");
    howdah.signal(Signal::HUP);
    // Type=notify-reload wants to know when.
    let said = manager.hears("RELOADING=1");
    assert!(said.contains("MONOTONIC_USEC="), "{said}");
    manager.hears("READY=1");
    drop(client);
    howdah.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert!(howdah.wait().success());
}

/// The sockets at descriptors 3 and 4, as `systemd.socket` hands them over.
fn activated(folder: &Path, port: u16) -> Command {
    let tcp = OwnedFd::from(TcpListener::bind(("127.0.0.1", port)).expect("a free port"));
    let path = folder.join(format!(".s.PGSQL.{port}"));
    let unix = OwnedFd::from(UnixListener::bind(path).expect("a free path"));
    let mut command = Command::new("bash");
    let script = format!(
        "exec 3<&{} 4<&{}; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" run \"$1\"",
        tcp.as_raw_fd(),
        unix.as_raw_fd()
    );
    // The configuration's own addresses are not to be used: there is nothing to listen on.
    command.args(["-c", &script, BINARY]).arg(configuration(folder, 1, "activated"));
    for socket in [tcp, unix] {
        fcntl_setfd(&socket, FdFlags::empty()).expect("a descriptor");
        // The child inherits it.
        _ = socket.into_raw_fd();
    }
    command
}

#[test]
fn sockets_of_the_service_manager_are_served() {
    let mut howdah = Howdah::start_with(&|folder, port| activated(folder, port));
    let mut client = Wire::login(howdah.address(), RIDER, "activated");
    assert_eq!(value(&mut client, "SELECT current_database()"), "activated");
    assert!(howdah.log().contains("2 socket(s) of the service manager"), "{}", howdah.log());
    drop(client);
    howdah.signal(Signal::TERM);
    assert!(howdah.wait().success());
    let path = howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port()));
    assert!(path.exists(), "the file of the socket is not ours to remove");
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
    Postgres::shared().create_database("watched");
    let watching = || settings("watched", "transaction").set("howdah.watch", true);
    let howdah = Howdah::start(&watching());
    let reloads = || howdah.log().matches("configuration reloaded").count();
    howdah.configure(&watching().set("pool.default_pool_size", 3));
    eventually("the reload", || howdah.log().contains("pool.default_pool_size changed"));
    // Its last line, which comes after that of the change.
    eventually("the end of the reload", || reloads() > 0);
    let before = reloads();
    fs::write(howdah.folder().join("howdah.toml"), "[pool]\npool_mode = 1\n").expect("writable");
    eventually("the refusal", || howdah.log().contains("configuration not reloaded"));
    assert_eq!(reloads(), before);
    let mut client = client(&howdah, "watched");
    assert_eq!(value(&mut client, "SELECT 1"), "1");
}

/// As in a volume of Kubernetes: the file is a link, which is moved to another one.
#[test]
fn a_link_that_moves_is_a_change() {
    let howdah = Howdah::start_with(&|folder, port| {
        let first = configuration(folder, port, "linked");
        let text = fs::read_to_string(&first).expect("the file");
        let watched = text.replace("[howdah]\n", "[howdah]\nwatch = true\n");
        fs::write(&first, &watched).expect("writable");
        let second = folder.join("second.toml");
        fs::write(&second, watched + "pool_size = 4\n").expect("writable");
        let link = folder.join("link.toml");
        symlink(&first, &link).expect("a link");
        let mut command = Command::new(BINARY);
        command.arg("run").arg(link);
        command
    });
    let folder = howdah.folder();
    symlink(folder.join("second.toml"), folder.join("new")).expect("a link");
    fs::rename(folder.join("new"), folder.join("link.toml")).expect("one move");
    eventually("the reload", || howdah.log().contains("databases.linked.pool_size changed"));
}
