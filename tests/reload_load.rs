//! Reloads of each kind, and broken files, while pgbench works: no statement of anybody's fails.
//! With the real binary and a real PostgreSQL behind.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use support::behaviour::{eventually, hint, last_words, servers, settings, the_error, told};
use support::console::{Row, rows, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::load::{Loads, Who};
use support::messages;
use support::postgres::{Postgres, RIDER};
use support::tls::{self, Certificates};
use support::wire::{Wire, lines};

const PASSWORD: &str = "gallop";

/// A process with two pgbenches at work, and a console.
struct Bench {
    howdah: Howdah,
    console: Wire,
    loads: Loads,
    database: &'static str,
}

impl Bench {
    fn start(howdah: Howdah, database: &'static str, sslmode: &str) -> Self {
        let mut console = own_console(&howdah);
        let who = Who { user: RIDER, password: PASSWORD, database, sslmode };
        let loads = Loads::start(&howdah, &who, &mut console);
        Self { howdah, console, loads, database }
    }

    /// How often the log says this.
    fn count(&self, what: &str) -> usize {
        self.howdah.log().matches(what).count()
    }

    /// Makes it read its configuration again, and waits until it has. These keys change, in this
    /// order, and no client notices.
    fn reload(&mut self, trigger: Trigger, keys: &[&str]) {
        let shown = |rows: Vec<Vec<String>>| -> Vec<String> {
            rows.into_iter().map(|mut row| row.remove(0)).collect()
        };
        let before = self.everything();
        assert_eq!(shown(self.console.rows("RELOAD CHECK")), keys);
        assert_eq!(self.everything(), before, "RELOAD CHECK has changed something");
        match trigger {
            Trigger::Hangup => {
                let done = self.count("configuration reloaded: ");
                self.howdah.signal(Signal::HUP);
                eventually("the reload", || self.count("configuration reloaded: ") > done);
            }
            Trigger::Command => assert_eq!(shown(self.console.rows("RELOAD")), keys),
        }
        let none: [&str; 0] = [];
        assert_eq!(shown(self.console.rows("RELOAD CHECK")), none, "after {trigger:?}");
        self.loads.go_on(&mut self.console);
    }

    /// Writes the configuration and has it read.
    fn apply(&mut self, trigger: Trigger, settings: &Settings, keys: &[&str]) {
        self.howdah.configure(settings);
        self.reload(trigger, keys);
    }

    /// The settings and databases as the console shows them.
    fn everything(&mut self) -> String {
        let config = rows(&mut self.console, "config");
        // How many connections there are now is no setting.
        let setting = |row: &Row| {
            ["name", "host", "port", "database", "pool_size", "pool_mode"].map(|c| row.get(c))
        };
        let databases: Vec<_> = rows(&mut self.console, "databases").iter().map(setting).collect();
        format!("{config:?} {databases:?}")
    }

    fn setting(&mut self, key: &str, value: &str) {
        shows(&mut self.console, &[("key", key)], &[("config.value", value)]);
    }

    /// A file that is broken changes nothing, and both ways of reading it again say why.
    fn refuses(&mut self, what: &str) {
        let (before, done) = (self.everything(), self.count("configuration reloaded: "));
        for _ in 0..2 {
            let told_of = |log: &str| {
                let is_it = |line: &&str| line.contains("not reloaded: ") && line.contains(what);
                log.lines().filter(is_it).count()
            };
            let said = told_of(&self.howdah.log());
            self.howdah.signal(Signal::HUP);
            eventually(what, || told_of(&self.howdah.log()) > said);
        }
        for command in ["RELOAD", "RELOAD CHECK"] {
            let error = the_error(&self.console.query(command));
            // PgBouncer has one code for all errors.
            let is_pgbouncer = self.howdah.log().contains("process up: PgBouncer");
            let code = if is_pgbouncer { "08P01" } else { "F0000" };
            let text = format!("ERROR {code} RELOAD failed, see logs for additional details");
            assert_eq!(told(&error), text, "{what}");
            assert!(hint(&error).contains(what), "{command}: {} for {what}", hint(&error));
        }
        assert_eq!(self.everything(), before, "{what}");
        assert_eq!(self.count("configuration reloaded: "), done, "{what}");
        self.loads.go_on(&mut self.console);
    }

    /// Waits until none of the servers that were there `before` is left.
    fn awaits_other_servers(&self, before: &[String]) {
        let mut admin = Postgres::shared().admin("postgres");
        eventually("all servers are others", || {
            let now = servers(&mut admin, self.database);
            !now.is_empty() && now.iter().all(|pid| !before.contains(pid))
        });
    }

    fn servers(&self) -> Vec<String> {
        servers(&mut Postgres::shared().admin("postgres"), self.database)
    }
}

/// How a process is told that its configuration has changed.
#[derive(Clone, Copy, Debug)]
enum Trigger {
    Hangup,
    Command,
}

/// A console for whoever runs the process.
fn own_console(howdah: &Howdah) -> Wire {
    let socket = howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port()));
    let mut console = Wire::unix(&socket);
    console.start(&[("user", "pgbouncer"), ("database", "pgbouncer")], "");
    console
}

/// A file of users and their passwords.
fn write_users(file: &Path, users: &[(&str, &str)]) {
    let line = |(user, password): &(&str, &str)| format!("\"{user}\" \"{password}\"\n");
    fs::write(file, users.iter().map(line).collect::<String>()).expect("a writable folder");
}

/// A folder with such a file, and settings of a small pool that asks for these passwords.
fn guarded(database: &str) -> (TempDir, Settings) {
    let folder = tempfile::tempdir().expect("a folder");
    let users = folder.path().join("users.txt");
    write_users(&users, &[(RIDER, PASSWORD)]);
    let settings = settings(database, "transaction")
        .set("auth.auth_type", "scram-sha-256")
        .set("auth.auth_file", users.to_str().expect("UTF-8"))
        .set("pool.default_pool_size", 4);
    (folder, settings)
}

/// A session that has logged in, or the error that it was refused with.
fn log_in(howdah: &Howdah, user: &str, password: &str, database: &str) -> Result<Wire, String> {
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(&[("user", user), ("database", database)], password);
    match frames.iter().find(|frame| frame.tag == b'E') {
        Some(error) => Err(told(error)),
        None => {
            assert!(frames.last().is_some_and(|last| last.tag == b'Z'), "{}", lines(&frames));
            Ok(wire)
        }
    }
}

/// Creates a user of PostgreSQL's without a password.
fn create_user(name: &str) {
    let mut admin = Postgres::shared().admin("postgres");
    admin.run(&format!("CREATE ROLE {name} LOGIN"));
}

#[test]
fn limits_time_outs_and_log_levels_change_under_load() {
    let (_folder, base) = guarded("load_limits");
    let mut bench = Bench::start(Howdah::start(&base), "load_limits", "disable");
    for trigger in [Trigger::Hangup, Trigger::Command] {
        let keys = ["pool.default_pool_size", "timeouts.query_timeout"];
        let size = |size: i64| base.clone().set("pool.default_pool_size", size);
        let limit = size(9).set("timeouts.query_timeout", "70s");
        bench.apply(trigger, &limit, &keys);
        bench.setting("query_timeout", "70s");
        let key = [("name", "load_limits")];
        shows(&mut bench.console, &key, &[("databases.pool_size", "9")]);
        // Those beyond the smaller size go when they come free.
        bench.apply(trigger, &size(2), &keys);
        shows(&mut bench.console, &key, &[("databases.pool_size", "2")]);
        eventually("two servers", || bench.servers().len() <= 2);
        let verbose = size(2).set("log.level", "debug");
        bench.apply(trigger, &verbose, &["log.level"]);
        let quiet = bench.count("ended before its startup packet");
        Wire::tcp(bench.howdah.address()).disconnect();
        eventually("a debug line", || bench.count("ended before its startup packet") > quiet);
        bench.apply(trigger, &base, &["pool.default_pool_size", "log.level"]);
        shows(&mut bench.console, &key, &[("databases.pool_size", "4")]);
        // SET holds until the next reload.
        bench.console.run("SET default_pool_size = 3");
        shows(&mut bench.console, &key, &[("databases.pool_size", "3")]);
        bench.console.run("SET query_timeout = '80s'");
        bench.setting("query_timeout", "80s");
        bench.loads.go_on(&mut bench.console);
        bench.reload(trigger, &keys);
        shows(&mut bench.console, &key, &[("databases.pool_size", "4")]);
    }
    bench.loads.finish();
}

#[test]
fn databases_and_users_come_and_go_under_load() {
    let (folder, base) = guarded("load_names");
    let postgres = Postgres::shared();
    postgres.create_database("load_extra");
    create_user("newcomer");
    let mut bench = Bench::start(Howdah::start(&base), "load_names", "disable");
    let users = folder.path().join("users.txt");
    for trigger in [Trigger::Command, Trigger::Hangup] {
        let more = base.clone().database("load_extra", postgres.address());
        bench.apply(trigger, &more, &["databases.load_extra"]);
        let mut guest = log_in(&bench.howdah, RIDER, PASSWORD, "load_extra").expect("it is there");
        guest.run("SELECT 1");
        bench.apply(trigger, &base, &["databases.load_extra"]);
        guest.send(&messages::query("SELECT 1"));
        let error = told(&last_words(&mut guest));
        assert_eq!(error, "FATAL 57P01 database removed from the configuration");
        let error = log_in(&bench.howdah, RIDER, PASSWORD, "load_extra").expect_err("it is gone");
        assert!(error.starts_with("FATAL 3D000 "), "{error}");

        let refused = log_in(&bench.howdah, "newcomer", "trot", "load_names");
        assert!(refused.expect_err("nobody knows them").starts_with("FATAL 28P01 "));
        write_users(&users, &[(RIDER, PASSWORD), ("newcomer", "trot")]);
        bench.reload(trigger, &["auth.auth_file"]);
        let mut newcomer = log_in(&bench.howdah, "newcomer", "trot", "load_names").expect("known");
        assert_eq!(newcomer.rows("SELECT current_user"), [["newcomer"]]);
        write_users(&users, &[(RIDER, PASSWORD)]);
        bench.reload(trigger, &["auth.auth_file"]);
        let refused = log_in(&bench.howdah, "newcomer", "trot", "load_names");
        assert!(refused.expect_err("forgotten").starts_with("FATAL 28P01 "));
    }
    bench.loads.finish();
}

#[test]
fn servers_move_and_certificates_are_replaced_under_load() {
    let (_folder, base) = guarded("load_moved");
    let postgres = Postgres::shared();
    let (one, two) = (Certificates::new(&["localhost"]), Certificates::new(&["localhost"]));
    let with = |settings: &Settings, certificates: &Certificates| {
        settings
            .clone()
            .set("tls.client.sslmode", "require")
            .set("tls.client.cert_file", certificates.text("leaf.crt"))
            .set("tls.client.key_file", certificates.text("leaf.key"))
    };
    let settings = with(&base, &one);
    let mut bench = Bench::start(Howdah::start(&settings), "load_moved", "require");
    let port = postgres.port();
    let socket = format!("{}:{port}", postgres.socket_dir().display());
    let at = |node: &str| settings.clone().set("databases.load_moved.nodes", vec![node]);
    let here = postgres.address().to_string();
    // A Unix socket has no host's name.
    for (trigger, node, host) in [
        (Trigger::Hangup, &format!("localhost:{port}"), "localhost"),
        (Trigger::Command, &socket, ""),
        (Trigger::Hangup, &here, "127.0.0.1"),
        (Trigger::Command, &format!("localhost:{port}"), "localhost"),
        (Trigger::Command, &here, "127.0.0.1"),
    ] {
        let before = bench.servers();
        bench.apply(trigger, &at(node), &["databases.load_moved.nodes"]);
        let key = [("name", "load_moved")];
        shows(&mut bench.console, &key, &[("databases.host", host)]);
        bench.awaits_other_servers(&before);
    }
    // Settings of the connection itself replace the servers as well.
    let before = bench.servers();
    let plain = settings.clone().set("tls.server.sslmode", "disable");
    bench.apply(Trigger::Hangup, &plain, &["tls.server.sslmode"]);
    bench.awaits_other_servers(&before);
    let serves = |bench: &Bench, certificates: &Certificates| {
        let ca = certificates.path("ca.crt");
        let mut wire = tls::begin(Wire::tcp(bench.howdah.address()), &ca, "localhost");
        let frames = wire.start(&[("user", RIDER), ("database", "load_moved")], PASSWORD);
        frames.last().is_some_and(|last| last.tag == b'Z')
    };
    for (trigger, old, new) in [(Trigger::Hangup, &one, &two), (Trigger::Command, &two, &one)] {
        assert!(serves(&bench, old) && !serves(&bench, new));
        let keys = ["tls.client.cert_file", "tls.client.key_file"];
        bench.apply(trigger, &with(&plain, new), &keys);
        assert!(serves(&bench, new) && !serves(&bench, old));
    }
    bench.loads.finish();
}

#[test]
fn broken_files_change_nothing_under_load() {
    let (folder, base) = guarded("load_broken");
    let mut bench = Bench::start(Howdah::start(&base), "load_broken", "disable");
    let users = folder.path().join("users.txt");
    let missing = |name: &str| folder.path().join(name).display().to_string();
    let file = bench.howdah.file();
    let name = file.display().to_string();
    // Each has a change that would be good by itself.
    let other = base.clone().set("pool.default_pool_size", 7);
    let text_of = |settings: &Settings| bench.howdah.text(settings);
    let with = |key: &str, value: &str| text_of(&other.clone().set(key, value));
    let broken = [
        ("[pool\n".to_owned(), format!("{name}:1: ")),
        (with("pool.poll_mode", "session"), "pool.poll_mode: ".to_owned()),
        (with("timeouts.query_timeout", "soon"), "timeouts.query_timeout: ".to_owned()),
        (with("timeouts.query_timeout", "-1s"), "timeouts.query_timeout: ".to_owned()),
        (with("auth.auth_file", &missing("absent.txt")), missing("absent.txt")),
        (with("tls.client.sslmode", "require"), "tls.client".to_owned()),
        (with("databases.load_broken.nodes", "127.0.0.1:x"), "databases.load_broken".to_owned()),
        (String::new(), "databases".to_owned()),
    ];
    for (text, what) in &broken {
        fs::write(&file, text).expect("writable");
        bench.refuses(what);
    }
    fs::remove_file(&file).expect("it was there");
    bench.refuses(&format!("{name}: cannot read the configuration"));
    bench.howdah.configure(&other);
    fs::write(&users, "\"rider\n").expect("writable");
    bench.refuses(&users.display().to_string());
    fs::remove_file(&users).expect("it was there");
    bench.refuses(&users.display().to_string());
    // Once nothing is wrong, what was good all the time comes to bear.
    write_users(&users, &[(RIDER, PASSWORD)]);
    bench.reload(Trigger::Hangup, &["pool.default_pool_size"]);
    bench.loads.finish();
}

#[test]
fn a_watched_file_is_replaced_and_written_in_place_under_load() {
    let (folder, base) = guarded("load_watched");
    let base = base.set("howdah.watch", true);
    let mut bench = Bench::start(Howdah::start(&base), "load_watched", "disable");
    let file = bench.howdah.file();
    let size = |bench: &Bench, size: i64| {
        bench.howdah.text(&base.clone().set("databases.load_watched.pool_size", size))
    };
    let changed = |bench: &mut Bench, size: &str| {
        let key = [("name", "load_watched")];
        shows(&mut bench.console, &key, &[("databases.pool_size", size)]);
        bench.loads.go_on(&mut bench.console);
    };
    // Another file under its name.
    let new = bench.howdah.folder().join("new.toml");
    fs::write(&new, size(&bench, 5)).expect("a writable folder");
    fs::rename(&new, &file).expect("one folder");
    changed(&mut bench, "5");
    // The same file, which somebody is slow to write.
    let text = size(&bench, 6);
    let (first, rest) = text.split_at(text.find("\nauth_type").expect("a key") + 8);
    File::create(&file).and_then(|mut file| file.write_all(first.as_bytes())).expect("writable");
    eventually("half a file is refused", || bench.count("not reloaded: ") > 0);
    shows(&mut bench.console, &[("name", "load_watched")], &[("databases.pool_size", "5")]);
    let end = OpenOptions::new().append(true).open(&file);
    end.and_then(|mut end| end.write_all(rest.as_bytes())).expect("writable");
    changed(&mut bench, "6");
    // A file that it names.
    create_user("watchman");
    write_users(&folder.path().join("users.txt"), &[(RIDER, PASSWORD), ("watchman", "halt")]);
    let done = bench.count("auth.auth_file changed");
    eventually("the users' file is read", || bench.count("auth.auth_file changed") > done);
    log_in(&bench.howdah, "watchman", "halt", "load_watched").expect("known").run("SELECT 1");
    // Gone, and there again.
    let said = bench.count("cannot read the configuration");
    fs::remove_file(&file).expect("it was there");
    eventually("the refusal", || bench.count("cannot read the configuration") > said);
    bench.loads.go_on(&mut bench.console);
    fs::write(&file, size(&bench, 8)).expect("writable");
    changed(&mut bench, "8");
    bench.loads.finish();
}

/// PgBouncer's file, with `more` below `[pgbouncer]`, and for its database.
fn ini(folder: &Path, port: u16, more: &str, database: &str) -> String {
    let postgres = Postgres::shared();
    postgres.create_database("load_ini");
    format!(
        "[databases]\nload_ini = host=127.0.0.1 port={} {database}\n\n[pgbouncer]\nlisten_addr = \
         127.0.0.1\nlisten_port = {port}\nunix_socket_dir = {folder}\nauth_type = scram-sha-256\n\
         auth_file = {folder}/users.txt\npool_mode = transaction\nmax_client_conn = 50\n{more}",
        postgres.port(),
        folder = folder.display(),
    )
}

#[test]
fn a_file_of_pgbouncers_is_reloaded_under_load() {
    create_user("late");
    let howdah = Howdah::start_with(&|folder, port| {
        write_users(&folder.join("users.txt"), &[(RIDER, PASSWORD)]);
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, ini(folder, port, "", "")).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_howdah"));
        command.arg("run").arg(file);
        command
    });
    let mut bench = Bench::start(howdah, "load_ini", "disable");
    let file = bench.howdah.folder().join("pgbouncer.ini");
    let users = bench.howdah.folder().join("users.txt");
    let write = |bench: &Bench, more: &str, database: &str| {
        let text = ini(bench.howdah.folder(), bench.howdah.address().port(), more, database);
        fs::write(&file, text).expect("writable");
    };
    let key = [("name", "load_ini")];
    for trigger in [Trigger::Hangup, Trigger::Command] {
        write(&bench, "default_pool_size = 3\nquery_timeout = 70\n", "");
        bench.reload(trigger, &["pool.default_pool_size", "timeouts.query_timeout"]);
        shows(&mut bench.console, &key, &[("databases.pool_size", "3")]);
        bench.setting("query_timeout", "70s");
        // A later line wins.
        let lines = "default_pool_size = 3\nquery_timeout = 70\ndefault_pool_size = 6\n";
        write(&bench, lines, "");
        bench.reload(trigger, &["pool.default_pool_size"]);
        shows(&mut bench.console, &key, &[("databases.pool_size", "6")]);
        // SET values are lost.
        bench.console.run("SET default_pool_size = 2");
        shows(&mut bench.console, &key, &[("databases.pool_size", "2")]);
        bench.reload(trigger, &["pool.default_pool_size"]);
        shows(&mut bench.console, &key, &[("databases.pool_size", "6")]);
        let before = bench.servers();
        write(&bench, lines, "connect_query='SELECT 1'");
        bench.reload(trigger, &["databases.load_ini.connect_query"]);
        bench.awaits_other_servers(&before);
        write_users(&users, &[(RIDER, PASSWORD), ("late", "come")]);
        bench.reload(trigger, &["auth.auth_file"]);
        log_in(&bench.howdah, "late", "come", "load_ini").expect("known").run("SELECT 1");
        write_users(&users, &[(RIDER, PASSWORD)]);
        bench.reload(trigger, &["auth.auth_file"]);
        for (more, what) in [
            ("defalt_pool_size = 4\n", "[pgbouncer] defalt_pool_size: unknown setting"),
            ("query_timeout = soon\n", "[pgbouncer] query_timeout: "),
            ("%include absent.ini\n", "absent.ini"),
            ("no setting\n", "pgbouncer.ini:12: "),
        ] {
            write(&bench, more, "");
            bench.refuses(what);
        }
        fs::remove_file(&file).expect("it was there");
        bench.refuses("pgbouncer.ini: cannot read the configuration");
        write(&bench, "", "");
        let keys = [
            "databases.load_ini.connect_query",
            "pool.default_pool_size",
            "timeouts.query_timeout",
        ];
        let mut shown: Vec<String> =
            bench.console.rows("RELOAD CHECK").into_iter().map(|mut row| row.remove(0)).collect();
        shown.sort_unstable();
        assert_eq!(shown, keys);
        let keys: Vec<String> =
            bench.console.rows("RELOAD CHECK").into_iter().map(|mut row| row.remove(0)).collect();
        bench.reload(trigger, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let current = the_row(&mut bench.console, "databases", &key);
    assert_eq!(current.get("pool_size"), "20");
    assert_eq!(rows_with(&mut bench.console, "databases", &key).len(), 1);
    bench.loads.finish();
}
