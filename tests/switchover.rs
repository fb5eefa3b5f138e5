//! Changes of roles that an operator has a hand in: `role_hook`, and SWITCHOVER.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use support::behaviour::{client, eventually, hint, succeeded, the_error, told, value};
use support::console::{console, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::pair::{Pair, await_node, node_row};
use support::postgres::{Postgres, bin_dir};
use support::wire::{Wire, lines};
use tempfile::TempDir;
use tokio::time::Instant;

/// A program for `role_hook`, which writes down its environment first.
struct Hook {
    folder: TempDir,
}

impl Hook {
    fn new(text: &str) -> Self {
        let hook = Self { folder: tempfile::tempdir().expect("a folder") };
        let seen = hook.folder.path().join("seen");
        let text = format!(
            "#!/bin/sh\nenv | grep ^HOWDAH_ | sort | tr '\\n' ' ' >> {0}\necho >> {0}\n{text}\n",
            seen.display()
        );
        fs::write(hook.path(), text).expect("a writable folder");
        fs::set_permissions(hook.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        hook
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hook")
    }

    /// One line for each run.
    fn seen(&self) -> String {
        fs::read_to_string(self.folder.path().join("seen")).unwrap_or_default()
    }

    fn settings(&self, settings: Settings) -> Settings {
        settings.set("routing.role_hook", self.path().to_str().expect("a UTF-8 path"))
    }
}

/// Lines of a script that stop a node as `pg_ctl stop -m fast` does, and wait for its end.
fn stop(node: &Postgres) -> String {
    let pid_file = node.socket_dir().join("data/postmaster.pid");
    let pid_file = pid_file.display();
    format!("kill -INT $(head -n 1 {pid_file}); while [ -e {pid_file} ]; do sleep 0.01; done")
}

fn promote(node: &Postgres) -> String {
    let psql = bin_dir().join("psql");
    format!(
        "{} -qAt -h 127.0.0.1 -p {} -U postgres -c 'SELECT pg_promote()' postgres >&2 || exit 1",
        psql.display(),
        node.port()
    )
}

fn start(pair: &Pair, hook: &Hook) -> Howdah {
    start_with(pair, hook.settings(pair.settings()))
}

fn start_with(pair: &Pair, settings: Settings) -> Howdah {
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    let replica = pair.replica.address().to_string();
    shows(&mut console, &[("node", &replica)], &[("nodes.may_read", "1")]);
    howdah
}

fn with_table() -> Pair {
    let pair = Pair::start();
    let mut admin = pair.primary.admin("app");
    admin.run("CREATE TABLE public.counter (client int, value int)");
    admin.run("GRANT ALL ON public.counter TO public");
    pair.await_replay();
    pair
}

/// Clients that write and read until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Client>>,
}

/// What one client has met.
struct Client {
    errors: Vec<String>,
    writes: usize,
    longest: Duration,
}

impl Load {
    fn start(howdah: &Howdah, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..clients).map(|number| {
            let (wire, stop) = (client(howdah, "app"), Arc::clone(&stop));
            std::thread::spawn(move || work(wire, number, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    fn finish(self) -> Vec<Client> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    }
}

fn work(mut wire: Wire, number: usize, stop: &AtomicBool) -> Client {
    let mut seen = Client { errors: Vec::new(), writes: 0, longest: Duration::ZERO };
    let mut run = |sql: &str, seen: &mut Client| {
        let began = Instant::now();
        let frames = wire.query(sql);
        seen.longest = seen.longest.max(began.elapsed());
        if !succeeded(&frames) {
            seen.errors.push(format!("{sql}: {}", lines(&frames)));
        }
    };
    while !stop.load(Ordering::SeqCst) {
        run(&format!("INSERT INTO counter VALUES ({number}, 1)"), &mut seen);
        run("BEGIN", &mut seen);
        run(&format!("INSERT INTO counter VALUES ({number}, 2)"), &mut seen);
        run("COMMIT", &mut seen);
        run(&format!("SELECT count(*) FROM counter WHERE client = {number}"), &mut seen);
        seen.writes += 2;
    }
    seen
}

fn writes_of(load: Vec<Client>) -> usize {
    for client in &load {
        assert!(client.errors.is_empty(), "{:?}", client.errors);
    }
    load.iter().map(|client| client.writes).sum()
}

#[test]
fn a_switchover_costs_no_client_an_error_and_loses_nothing() {
    let pair = with_table();
    let hook = Hook::new(&format!(
        "[ $HOWDAH_EVENT = switchover ] || exit 0\n{}\n{}",
        stop(&pair.primary),
        promote(&pair.replica)
    ));
    let howdah = start(&pair, &hook);
    let (old, new) = (pair.primary.address().to_string(), pair.replica.address().to_string());
    let load = Load::start(&howdah, 8);
    let mut admin = pair.primary.admin("app");
    eventually("the load runs", || value(&mut admin, "SELECT count(*) > 100 FROM counter") == "t");
    drop(admin);
    let mut console = console(&howdah);
    let frames = console.query(&format!("SWITCHOVER app TO {new}"));
    assert!(succeeded(&frames), "{}\n{}", lines(&frames), howdah.log());
    await_node(&mut console, &pair.replica, "primary", "up");
    let mut writer = client(&howdah, "app");
    writer.run("INSERT INTO counter VALUES (-1, 0)");
    let written = writes_of(load.finish());
    let sql = "SELECT count(*) FROM counter WHERE client >= 0";
    assert_eq!(value(&mut pair.replica.admin("app"), sql), written.to_string());
    assert!(
        howdah.log().contains(&format!("switched over from {old} to {new}: writes waited for"))
    );
    let events = rows_with(&mut console, "events", &[("kind", "node")]);
    assert!(events.iter().any(|event| event.get("message").contains("switched over from")));
    let seen = hook.seen();
    let call = seen.lines().find(|line| line.contains("HOWDAH_EVENT=switchover")).expect("a run");
    for variable in [
        "HOWDAH_DATABASES=app ".to_owned(),
        format!("HOWDAH_NODE={new} "),
        format!("HOWDAH_OLD_PRIMARY={old} "),
        format!("HOWDAH_NEW_PRIMARY={new} "),
    ] {
        assert!(call.contains(&variable), "{variable}: {call}");
    }
}

#[test]
fn a_primary_that_the_hook_left_alone_gets_no_write_behind_a_switchover() {
    let pair = with_table();
    let hook =
        Hook::new(&format!("[ $HOWDAH_EVENT = switchover ] || exit 0\n{}", promote(&pair.replica)));
    let howdah = start(&pair, &hook);
    let load = Load::start(&howdah, 2);
    let mut console = console(&howdah);
    // The one replica is the best one.
    let frames = console.query("SWITCHOVER app");
    assert!(succeeded(&frames), "{}\n{}", lines(&frames), howdah.log());
    let sql = "SELECT count(*) FROM counter";
    let left = value(&mut pair.primary.admin("app"), sql);
    await_node(&mut console, &pair.primary, "fenced", "refused");
    let mut writer = client(&howdah, "app");
    writer.run("INSERT INTO counter VALUES (-1, 0)");
    let written = writes_of(load.finish());
    assert_eq!(value(&mut pair.primary.admin("app"), sql), left);
    assert_eq!(value(&mut pair.replica.admin("app"), sql), (written + 1).to_string());
}

/// The error of a switchover that fails, and what it hints at.
fn refused(console: &mut Wire, sql: &str) -> (String, String) {
    let error = the_error(&console.query(sql));
    (told(&error).trim_start_matches("ERROR ").to_owned(), hint(&error))
}

#[test]
fn a_switchover_that_fails_leaves_everything_as_it_was() {
    let pair = with_table();
    let hook = Hook::new("[ $HOWDAH_EVENT = switchover ] || exit 0\necho not today >&2\nexit 3");
    let settings = hook.settings(pair.settings()).set("routing.switchover_timeout", "500ms");
    let howdah = start_with(&pair, settings);
    let (old, new) = (pair.primary.address().to_string(), pair.replica.address().to_string());
    let goes_on = format!("Writes go on, to node {old}.");
    let mut console = console(&howdah);
    // A transaction that does not end.
    let mut open = client(&howdah, "app");
    open.run("BEGIN");
    open.run("INSERT INTO counter VALUES (0, 0)");
    let (said, hint) = refused(&mut console, "SWITCHOVER app");
    assert!(said.starts_with("57014 1 server(s) of the primary did not come free"), "{said}");
    assert_eq!(hint, goes_on);
    open.run("COMMIT");
    // A replica that stands still.
    pair.replica.admin("app").run("SELECT pg_wal_replay_pause()");
    open.run("INSERT INTO counter VALUES (0, 0)");
    let (said, _) = refused(&mut console, &format!("SWITCHOVER app TO {new}"));
    let late = format!("57014 node {new} did not replay all that was written within 500 ms");
    assert!(said.starts_with(&late), "{said}");
    pair.replica.admin("app").run("SELECT pg_wal_replay_resume()");
    // A hook that fails.
    open.run("INSERT INTO counter VALUES (0, 0)");
    let (said, hint) = refused(&mut console, &format!("SWITCHOVER app TO {new}"));
    assert_eq!(said, "58000 exit status: 3: not today");
    assert_eq!(hint, goes_on);
    open.run("INSERT INTO counter VALUES (0, 0)");
    await_node(&mut console, &pair.primary, "primary", "up");
    assert_eq!(hook.seen().matches("HOWDAH_EVENT=switchover").count(), 1);
    let log = howdah.log();
    assert!(
        log.contains(&format!("not switched over from {old} to {new}: exit status: 3: not today"))
    );
    // A hook that says it has done it, and has not.
    fs::write(hook.path(), "#!/bin/sh\nexit 0\n").expect("a writable folder");
    let (said, hint) = refused(&mut console, "SWITCHOVER app");
    assert!(
        said.contains(&format!("node {new} was not seen as the primary within 500 ms")),
        "{said}"
    );
    assert_eq!(hint, goes_on);
    open.run("INSERT INTO counter VALUES (0, 0)");
    assert_eq!(value(&mut open, "SELECT count(*) FROM counter"), "5");
}

#[test]
fn what_cannot_be_switched_over_is_refused_and_a_cancel_request_ends_the_wait() {
    let pair = with_table();
    let hook = Hook::new("exit 0");
    let nodes = pair.nodes();
    let settings = pair.settings().set("databases.single.nodes", vec![nodes[0].clone()]);
    let howdah = start_with(&pair, settings.clone());
    let (old, new) = (nodes[0].clone(), nodes[1].clone());
    let mut console = console(&howdah);
    let (said, hint) = refused(&mut console, "SWITCHOVER app");
    assert_eq!(said, "55000 no program is there that promotes the replica");
    assert!(hint.starts_with("Set routing.role_hook"), "{hint}");
    howdah.configure(&hook.settings(settings.clone()));
    console.run("RELOAD");
    for (sql, expected) in [
        ("SWITCHOVER nowhere".to_owned(), "3D000 no such database: nowhere".to_owned()),
        ("SWITCHOVER single".to_owned(), "55000 database single has one node".to_owned()),
        (
            "SWITCHOVER app TO 10.0.0.1:1".to_owned(),
            format!("55000 cannot switch over: node \"10.0.0.1:1\" is not one of {old}, {new}"),
        ),
        (
            format!("SWITCHOVER app TO {old}"),
            format!("55000 cannot switch over: node {old} is the primary already"),
        ),
    ] {
        assert_eq!(refused(&mut console, &sql).0, expected);
    }
    console.run("PAUSE app");
    assert_eq!(refused(&mut console, "SWITCHOVER app").0, "55000 already suspended/paused");
    console.run("RESUME app");
    let mut open = client(&howdah, "app");
    open.run("BEGIN");
    open.run("INSERT INTO counter VALUES (0, 0)");
    console.send(&messages::query("SWITCHOVER app"));
    let mut waiting = client(&howdah, "app");
    waiting.send(&messages::query("INSERT INTO counter VALUES (1, 1)"));
    let mut other = support::console::console(&howdah);
    eventually("a second one is refused", || {
        refused(&mut other, "SWITCHOVER app").0
            == "55000 the nodes of this database are being switched over already"
    });
    let key = console.key().expect("a key").to_vec();
    Wire::tcp(howdah.address()).send(&messages::cancel_request(&key));
    let error = the_error(&console.until(b'Z'));
    assert_eq!(error.field(b'C').as_deref(), Some("57014"));
    assert!(succeeded(&waiting.until(b'Z')), "who waited goes on");
    open.run("COMMIT");
}

#[test]
fn the_hook_hears_of_a_fail_over_and_of_its_account() {
    let pair = with_table();
    let hook = Hook::new("echo heard >&2\n[ $HOWDAH_EVENT != no_primary ] || sleep 600");
    let settings = hook.settings(pair.settings()).set("routing.role_hook_timeout", "300ms");
    let howdah = start_with(&pair, settings.clone());
    let (old, new) = (pair.primary.address().to_string(), pair.replica.address().to_string());
    let mut writer = client(&howdah, "app");
    writer.run("INSERT INTO counter VALUES (0, 0)");
    drop(pair.primary);
    pair.replica.admin("app").run("SELECT pg_promote()");
    eventually("the account", || hook.seen().contains("HOWDAH_EVENT=accounted"));
    let seen = hook.seen();
    let at = |text: &str| seen.find(text).unwrap_or_else(|| panic!("{text}: {seen}"));
    let first = format!("HOWDAH_EVENT=promoted HOWDAH_MESSAGE=node {old} is the primary");
    let promoted =
        format!("HOWDAH_EVENT=promoted HOWDAH_MESSAGE=node {new} is the primary instead of {old}");
    assert!(at(&first) < at("HOWDAH_EVENT=no_primary"), "{seen}");
    assert!(at("HOWDAH_EVENT=no_primary") < at(&promoted), "{seen}");
    assert!(at(&promoted) < at("HOWDAH_EVENT=accounted"), "{seen}");
    let account = seen.lines().find(|line| line.contains("=accounted")).expect("a run");
    for name in ["BEGAN", "GAP_MS", "FAILED", "WAITED", "IN_DOUBT", "REPEATED", "LOSS"] {
        assert!(account.contains(&format!("HOWDAH_FAILOVER_{name}=")), "{name}: {account}");
    }
    // Our own configuration is not for it.
    assert!(!seen.contains("HOWDAH_ROUTING"), "{seen}");
    eventually("its end is logged", || {
        let log = howdah.log();
        log.contains("has failed for no_primary: it did not end within 300 ms (role_hook_timeout)")
            && log.contains("was run for accounted")
            && log.contains("ms: heard")
    });
}

#[test]
fn a_hook_that_is_no_program_is_refused_at_start_and_at_a_reload() {
    let pair = with_table();
    let hook = Hook::new("exit 0");
    let howdah = start(&pair, &hook);
    let mut console = console(&howdah);
    let refused = |console: &mut Wire, path: &Path| {
        let path = path.to_str().expect("a UTF-8 path");
        howdah.configure(&pair.settings().set("routing.role_hook", path));
        hint(&the_error(&console.query("RELOAD")))
    };
    let hinted = refused(&mut console, Path::new("/nonexistent/hook"));
    assert!(hinted.contains("routing.role_hook: /nonexistent/hook cannot be run"), "{hinted}");
    let hinted = refused(&mut console, Path::new("hook"));
    assert!(hinted.contains("is no absolute path"), "{hinted}");
    let hinted = refused(&mut console, hook.folder.path());
    assert!(hinted.contains("is not a program"), "{hinted}");
    let shown = the_row(&mut console, "config", &[("key", "role_hook")]);
    assert_eq!(shown.get("value"), hook.path().to_str().expect("UTF-8"));
    assert_eq!(node_row(&mut console, &pair.primary).get("role"), "primary");
}
