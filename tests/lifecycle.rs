//! The process: how it starts, what it logs, how it ends.

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use support::behaviour::{
    A_MOMENT, await_statement, client, eventually, is_silent, last_words, server_of, settings,
    settle, succeeded, told, until_closed,
};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::wire::{Wire, lines};
use support::{PATIENCE, free_port};

const BEGIN: &str = "BEGIN; SELECT 1";
const GOODBYE: &str = "FATAL 57P01 terminating connection due to administrator command";

#[test]
fn sigterm_lets_everybody_end_the_transaction() {
    let settings = settings("drain", "transaction").set("pool.default_pool_size", 2);
    let mut howdah = Howdah::start(&settings);
    let mut idle = client(&howdah, "drain");
    let mut inside = client(&howdah, "drain");
    let mut running = client(&howdah, "drain");
    let mut waiting = client(&howdah, "drain");
    inside.run(BEGIN);
    running.send(&messages::query("SELECT pg_sleep(0.5)"));
    await_statement(&mut Postgres::shared().admin("postgres"), "drain", "pg_sleep");
    waiting.send(&messages::query("SELECT 1"));
    settle(&mut idle);
    howdah.signal(Signal::TERM);
    assert_eq!(told(&last_words(&mut idle)), GOODBYE);
    let refused = TcpStream::connect_timeout(&howdah.address(), PATIENCE);
    assert!(refused.is_err(), "nobody new is let in");
    for wire in [&mut running, &mut waiting] {
        let frames = wire.until(b'Z');
        assert!(succeeded(&frames), "{}", lines(&frames));
        assert_eq!(told(&last_words(wire)), GOODBYE);
    }
    inside.run("SELECT 1");
    assert!(howdah.ended().is_none());
    inside.run("COMMIT");
    assert_eq!(told(&last_words(&mut inside)), GOODBYE);
    assert!(howdah.wait().success());
    eventually("both lines", || {
        let log = howdah.log();
        log.contains("got SIGTERM") && log.contains("process down")
    });
}

#[test]
fn a_session_mode_client_leaves_when_its_transaction_is_over() {
    let mut howdah = Howdah::start(&settings("drain_session", "session"));
    let mut wire = client(&howdah, "drain_session");
    wire.run(BEGIN);
    howdah.signal(Signal::TERM);
    eventually("the signal is seen", || howdah.log().contains("got SIGTERM"));
    wire.run("COMMIT");
    assert_eq!(told(&last_words(&mut wire)), GOODBYE);
    assert!(howdah.wait().success());
}

/// Settings of session mode with one server for everybody, and the administrator `boss`.
fn session_mode(database: &str) -> Settings {
    settings(database, "session")
        .set("pool.default_pool_size", 1)
        .set("howdah.shutdown_timeout", "100ms")
        .set("howdah.admin_users", vec!["boss"])
}

/// In session mode a server is released when its client leaves, and not before.
#[test]
fn shutdown_wait_for_servers_waits_for_the_clients_of_session_mode() {
    let mut howdah = Howdah::start(&session_mode("wait_for_servers"));
    let mut holder = client(&howdah, "wait_for_servers");
    holder.run("SELECT 1");
    let mut idle = client(&howdah, "wait_for_servers");
    let mut waiting = client(&howdah, "wait_for_servers");
    let mut console = Wire::login(howdah.address(), "boss", "howdah");
    waiting.send(&messages::query("SELECT 1"));
    eventually("it waits", || {
        let rows = console.rows("SHOW CLIENTS");
        rows.iter().any(|row| row.iter().any(|value| value == "waiting"))
    });
    console.run("SHUTDOWN WAIT_FOR_SERVERS");
    assert_eq!(told(&last_words(&mut idle)), GOODBYE);
    assert_eq!(told(&last_words(&mut waiting)), GOODBYE);
    // Longer than shutdown_timeout, which is for SIGTERM.
    for statement in ["SELECT pg_sleep(0.3)", "BEGIN", "SELECT 1", "COMMIT", "SELECT 1"] {
        holder.run(statement);
        assert!(howdah.ended().is_none(), "{}", howdah.log());
    }
    holder.disconnect();
    assert!(howdah.wait().success());
}

#[test]
fn shutdown_wait_for_clients_waits_for_all_clients_of_session_mode() {
    let mut howdah = Howdah::start(&session_mode("wait_for_clients"));
    let mut holder = client(&howdah, "wait_for_clients");
    holder.run("SELECT 1");
    let mut idle = client(&howdah, "wait_for_clients");
    Wire::login(howdah.address(), "boss", "howdah").run("SHUTDOWN WAIT_FOR_CLIENTS");
    holder.run("SELECT pg_sleep(0.3)");
    holder.disconnect();
    idle.run("SELECT 1");
    assert!(howdah.ended().is_none(), "{}", howdah.log());
    idle.disconnect();
    assert!(howdah.wait().success());
}

#[test]
fn shutdown_timeout_ends_what_does_not_end() {
    let settings = settings("deadline", "transaction").set("howdah.shutdown_timeout", "300ms");
    let mut howdah = Howdah::start(&settings);
    let mut wire = client(&howdah, "deadline");
    wire.run(BEGIN);
    howdah.signal(Signal::TERM);
    assert_eq!(told(&last_words(&mut wire)), GOODBYE);
    assert!(howdah.wait().success());
    eventually("a line in the log", || howdah.log().contains("did not leave in time"));
}

#[test]
fn a_second_sigterm_or_a_sigint_stops_at_once() {
    for signals in [&[Signal::TERM, Signal::TERM][..], &[Signal::TERM, Signal::INT], &[Signal::INT]]
    {
        let mut howdah = Howdah::start(&settings("stop", "transaction"));
        let mut wire = client(&howdah, "stop");
        wire.run(BEGIN);
        for (index, signal) in signals.iter().enumerate() {
            if index > 0 {
                eventually("the first is seen", || howdah.log().contains("got SIGTERM"));
                assert!(is_silent(&mut wire));
            }
            howdah.signal(*signal);
        }
        assert_eq!(told(&last_words(&mut wire)), GOODBYE);
        assert!(howdah.wait().success());
        let socket = howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port()));
        assert!(!socket.exists(), "the Unix socket is left behind");
    }
}

#[test]
fn a_health_check_is_not_worth_a_line() {
    for (level, worth) in [("info", false), ("debug", true)] {
        let settings = settings("health", "transaction").set("log.level", level);
        let howdah = Howdah::start(&settings);
        // The start of the process has such checks too, so the lines are counted.
        let count = || howdah.log().matches("ended before its startup packet").count();
        let before = count();
        for _ in 0..3 {
            Wire::tcp(howdah.address()).disconnect();
        }
        client(&howdah, "health").run("SELECT 1");
        if worth {
            eventually("a line for each", || count() >= before + 3);
        } else {
            eventually("the login is logged", || howdah.log().contains("login attempt succeeded"));
            assert_eq!(count(), 0, "{}", howdah.log());
            assert!(!howdah.log().contains("WARN"), "{}", howdah.log());
        }
    }
}

#[test]
fn a_line_in_json_has_fields() {
    let settings = settings("json", "transaction").set("log.format", "json");
    let howdah = Howdah::start(&settings);
    let mut wire = client(&howdah, "json");
    wire.run("SELECT 1");
    wire.send(&messages::terminate());
    eventually("the end is logged", || howdah.log().contains("client close request"));
    let log = howdah.log();
    for line in log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(line.contains("\"level\":") && line.contains("\"message\":"), "{line}");
    }
    for wanted in ["login attempt succeeded", "client close request"] {
        let line = log.lines().find(|line| line.contains(wanted)).expect("a line");
        for part in ["\"client\":", "\"user\":\"rider\"", "\"database\":\"json\""] {
            assert!(line.contains(part), "{part} is missing: {line}");
        }
    }
}

#[test]
fn what_is_logged_can_be_chosen() {
    let base = settings("logs", "transaction")
        .set("pool.default_pool_size", 1)
        .set("timeouts.query_wait_timeout", "200ms")
        .set("log.stats_period", "1s");
    let lines = ["login attempt succeeded", "closing because", "no server connection", "stats:"];
    let keys = ["log_connections", "log_disconnections", "log_pooler_errors", "log_stats"];
    let produce = |howdah: &Howdah| {
        let (mut one, mut two) = (client(howdah, "logs"), client(howdah, "logs"));
        one.run(BEGIN);
        two.query("SELECT 1");
        one.run("COMMIT");
        two.send(&messages::terminate());
        until_closed(&mut two);
    };
    let all = Howdah::start(&base);
    produce(&all);
    for line in lines {
        eventually(line, || all.log().contains(line));
    }
    let none = keys.iter().fold(base, |settings, key| settings.set(&format!("log.{key}"), false));
    let none = Howdah::start(&none);
    produce(&none);
    // As long as the other one took to log its figures a second time.
    eventually("two periods", || all.log().matches("stats:").count() >= 3);
    for line in lines {
        assert!(!none.log().contains(line), "{line} in {}", none.log());
    }
    let quiet = Howdah::start(&settings("logs", "transaction").set("log.level", "error"));
    produce_nothing(&quiet);
}

/// Standard error is the journal's if it is the file that JOURNAL_STREAM names.
#[test]
fn lines_for_the_journal_carry_their_priorities() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let text = || std::fs::read_to_string(&path).expect("the log");
    for (named, start) in [(true, "<6>"), (false, "20")] {
        let journal = std::fs::File::create(&path).expect("a file");
        let about = journal.metadata().expect("about the file");
        let inode = if named { about.ino() } else { about.ino() + 1 };
        let settings = settings("journal", "transaction")
            .set("howdah.listen_port", i64::from(free_port()))
            .set("howdah.unix_socket_dir", "");
        let file = folder.path().join("howdah.toml");
        std::fs::write(&file, settings.text()).expect("a writable folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_howdah"))
            .arg("run")
            .arg(&file)
            .env("JOURNAL_STREAM", format!("{}:{inode}", about.dev()))
            .stdin(Stdio::null())
            .stderr(journal)
            .spawn()
            .expect("the binary under test");
        eventually("it is up", || text().contains("process up"));
        child.kill().expect("a child of our own");
        child.wait().expect("its end");
        let text = text();
        assert!(text.lines().all(|line| line.starts_with(start)), "{start}: {text}");
    }
}

fn produce_nothing(howdah: &Howdah) {
    client(howdah, "logs").run("SELECT 1");
    assert_eq!(howdah.log(), "");
}

/// A process started by hand, with a configuration that need not work.
struct Raw {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Raw {
    fn start(settings: &Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("howdah.toml");
        std::fs::write(&file, settings.text()).expect("a writable folder");
        let child = Command::new(env!("CARGO_BIN_EXE_howdah"))
            .arg("run")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test");
        Self { child, _folder: folder }
    }

    /// Exit code and what it said; it must end by itself.
    fn fails(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        (self.child.wait().expect("a child").code(), said)
    }

    /// Reads its log up to a line with `text`.
    fn says(&mut self, text: &str) {
        let mut log = Vec::new();
        let mut errors = self.child.stderr.take().expect("piped");
        let mut byte = [0];
        while !String::from_utf8_lossy(&log).contains(text) {
            let n = errors.read(&mut byte).expect("its log");
            assert!(n > 0, "it ended: {}", String::from_utf8_lossy(&log));
            log.push(byte[0]);
        }
        self.child.stderr = Some(errors);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn by_hand(port: u16) -> Settings {
    Settings::new("transaction")
        .database("app", Postgres::shared().address())
        .set("howdah.listen_port", i64::from(port))
        .set("howdah.unix_socket_dir", "")
}

#[test]
fn a_port_is_shared_only_if_that_is_said() {
    let port = free_port();
    let mut first = Raw::start(&by_hand(port));
    first.says("process up");
    let (code, said) = Raw::start(&by_hand(port)).fails();
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{said}");
    drop(first);
    let shared = by_hand(port).set("howdah.so_reuseport", true);
    let (mut one, mut two) = (Raw::start(&shared), Raw::start(&shared));
    one.says("process up");
    two.says("process up");
}

#[test]
fn a_unix_socket_that_is_in_use_is_not_taken_and_a_dead_one_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let settings = by_hand(port)
        .set("howdah.listen_addr", Vec::<String>::new())
        .set("howdah.unix_socket_dir", folder.path().to_str().expect("UTF-8"));
    let mut first = Raw::start(&settings);
    first.says("process up");
    let (code, said) = Raw::start(&settings).fails();
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot listen on unix socket"), "{said}");
    // Killed, it leaves its socket behind.
    drop(first);
    assert!(folder.path().join(format!(".s.PGSQL.{port}")).exists());
    let mut next = Raw::start(&settings);
    next.says("process up");
    let mut wire = Wire::unix(&folder.path().join(format!(".s.PGSQL.{port}")));
    assert!(succeeded(&wire.start(&[("user", RIDER), ("database", "app")], "")));
    let (code, said) = Raw::start(
        &by_hand(port)
            .set("howdah.unix_socket_group", "no such group")
            .set("howdah.unix_socket_dir", folder.path().to_str().expect("UTF-8")),
    )
    .fails();
    assert_eq!(code, Some(1));
    assert!(said.contains("howdah.unix_socket_group"), "{said}");
}

/// The kernel holds one more than listen_backlog; the next one's SYN is dropped.
#[test]
fn listen_backlog_is_what_the_kernel_holds() {
    let settings = settings("backlog", "transaction").set("howdah.listen_backlog", 2);
    let howdah = Howdah::start(&settings);
    client(&howdah, "backlog").run("SELECT 1");
    howdah.signal(Signal::STOP);
    let connect = || TcpStream::connect_timeout(&howdah.address(), A_MOMENT);
    let held: Vec<_> = (0..6).map_while(|_| connect().ok()).collect();
    howdah.signal(Signal::CONT);
    assert_eq!(held.len(), 3);
}

#[test]
fn clients_are_spread_over_workers() {
    let howdah = Howdah::start(&settings("spread", "transaction").set("howdah.workers", 3));
    // A thread takes its name when it begins to run.
    eventually("three workers", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", howdah.pid())).expect("threads");
        let name = |path: std::path::PathBuf| std::fs::read_to_string(path.join("comm")).ok();
        let names = tasks.filter_map(|task| name(task.ok()?.path()));
        names.filter(|name| name.starts_with("worker-")).count() == 3
    });
    let mut clients: Vec<Wire> = (0..6).map(|_| client(&howdah, "spread")).collect();
    clients.iter_mut().for_each(|wire| wire.run("SELECT 1"));
}

#[test]
fn more_clients_than_open_files_are_an_error_at_start() {
    let settings = by_hand(free_port()).set("howdah.max_client_conn", 1_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("howdah.toml");
    std::fs::write(&file, settings.text()).expect("a writable folder");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 500; exec \"$0\" run \"$1\"", env!("CARGO_BIN_EXE_howdah")])
        .arg(&file)
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("max_client_conn = 1000000") && said.contains("500"), "{said}");
}

#[test]
fn time_outs_do_not_wait_for_traffic() {
    let settings = settings("tick", "transaction").set("timeouts.client_idle_timeout", "300ms");
    let howdah = Howdah::start(&settings);
    let mut wire = client(&howdah, "tick");
    server_of(&mut wire);
    let begun = Instant::now();
    last_words(&mut wire);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
}
