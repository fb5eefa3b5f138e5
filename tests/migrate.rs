//! PgBouncer's file, imported and as it is, and PgBouncer's command line: with the real binary and a
//! real PostgreSQL behind.

mod support;

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use support::behaviour::{eventually, value};
use support::free_port;
use support::howdah::Howdah;
use support::postgres::{Postgres, RIDER, unprivileged};
use support::watchdog::Watchdog;
use support::wire::Wire;

const BINARY: &str = env!("CARGO_BIN_EXE_howdah");

/// A file of PgBouncer's for `database`, with `more` below `[pgbouncer]`.
fn ini(folder: &Path, port: u16, database: &str, more: &str) -> PathBuf {
    let postgres = Postgres::shared();
    postgres.create_database(database);
    let users = folder.join("users.txt");
    fs::write(&users, format!("\"{RIDER}\" \"\"\n")).expect("a writable folder");
    let text = format!(
        "; the databases\n[databases]\n{database} = host=127.0.0.1 port={} connect_query='SET \
         work_mem = ''7MB'''\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir = {}\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
         query_wait_notify = 2\n{more}",
        postgres.port(),
        folder.display(),
        users.display(),
    );
    let file = folder.join("pgbouncer.ini");
    fs::write(&file, text).expect("a writable folder");
    file
}

fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], folder: &Path) -> Output {
    Command::new(program).args(arguments).current_dir(folder).output().expect("it starts")
}

/// What `psql` prints for a statement.
fn psql(howdah: &Howdah, database: &str, sql: &str) -> String {
    let port = howdah.address().port().to_string();
    let arguments = ["-h", "127.0.0.1", "-p", &port, "-U", RIDER, "-d", database, "-Atc", sql];
    Postgres::shared().tool("psql", &arguments).trim().to_owned()
}

#[test]
fn a_file_of_pgbouncers_runs_as_it_is_and_is_reloaded() {
    let howdah = Howdah::start_with(&|folder, port| {
        let mut command = Command::new(BINARY);
        command.arg("run").arg(ini(folder, port, "as_it_is", ""));
        command
    });
    assert_eq!(psql(&howdah, "as_it_is", "SHOW work_mem"), "7MB");
    let file = howdah.folder().join("pgbouncer.ini");
    let warning = format!("{}:12: [pgbouncer] query_wait_notify: no equivalent: ", file.display());
    assert!(howdah.log().contains(&warning), "{}", howdah.log());
    // A reload reads PgBouncer's file again.
    ini(howdah.folder(), howdah.address().port(), "as_it_is", "default_pool_size = 3\n");
    howdah.signal(Signal::HUP);
    let changed = "pool.default_pool_size changed from 20 to 3";
    eventually("the reload", || howdah.log().contains(changed));
    assert_eq!(psql(&howdah, "as_it_is", "SELECT 1"), "1");
    // A mistake names its line, and changes nothing.
    ini(howdah.folder(), howdah.address().port(), "as_it_is", "defalt_pool_size = 4\n");
    howdah.signal(Signal::HUP);
    let mistake = "pgbouncer.ini:13: [pgbouncer] defalt_pool_size: unknown setting; did you mean \
                   default_pool_size?";
    eventually("the mistake", || howdah.log().contains(mistake));
    assert_eq!(psql(&howdah, "as_it_is", "SELECT 2"), "2");
}

#[test]
fn an_imported_file_is_accepted_and_runs() {
    let howdah = Howdah::start_with(&|folder, port| {
        ini(folder, port, "imported", "query_timeout = 5\nlogfile = log\n");
        let made = run(BINARY, &["import", "pgbouncer.ini", "-o", "howdah.toml"], folder);
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        let list = String::from_utf8_lossy(&made.stdout).into_owned();
        for line in [
            "pgbouncer.ini:10: [pgbouncer] auth_file: carried over to auth.auth_file",
            "pgbouncer.ini:12: [pgbouncer] query_wait_notify: no equivalent: ",
            "pgbouncer.ini:14: [pgbouncer] logfile: no equivalent: ",
        ] {
            assert!(list.contains(line), "{list}");
        }
        let checked = run(BINARY, &["check", "howdah.toml"], folder);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        let checked = run(BINARY, &["check", "pgbouncer.ini"], folder);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
        assert!(
            String::from_utf8_lossy(&checked.stderr).contains("query_wait_notify: no equivalent")
        );
        // It does not overwrite, and writes to standard output when nothing else is said.
        let again = run(BINARY, &["import", "pgbouncer.ini", "-o", "howdah.toml"], folder);
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        let shown = run(BINARY, &["import", "pgbouncer.ini"], folder);
        let written = fs::read(folder.join("howdah.toml")).expect("it was written");
        assert_eq!(String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&written));
        assert!(String::from_utf8_lossy(&shown.stderr).contains("auth_file: carried over"));
        let mut command = Command::new(BINARY);
        command.args(["run", "howdah.toml"]);
        command
    });
    assert_eq!(psql(&howdah, "imported", "SHOW work_mem"), "7MB");
}

/// The binary under the name `pgbouncer`, in a folder that a server's user may write to.
fn pgbouncer(folder: &Path) -> Command {
    let link = folder.join("pgbouncer");
    symlink(BINARY, &link).expect("a writable folder");
    let mut command = Command::new(link);
    if let Some(identity) = unprivileged() {
        chown(folder, Some(identity.uid), Some(identity.gid)).expect("root may give it away");
        command.args(["-u", &user_of(identity.uid)]);
    }
    command
}

/// The name of a user.
fn user_of(uid: u32) -> String {
    let accounts = fs::read_to_string("/etc/passwd").expect("a readable /etc/passwd");
    let own = |line: &&str| line.split(':').nth(2) == Some(&uid.to_string());
    let line = accounts.lines().find(own).expect("a user with a name");
    line.split(':').next().unwrap_or_default().to_owned()
}

#[test]
fn as_pgbouncer_it_has_a_log_file_a_pid_file_and_an_exit_code() {
    let mut howdah = Howdah::start_with(&|folder, port| {
        let mut command = pgbouncer(folder);
        let file = ini(folder, port, "as_pgbouncer", "logfile = log.txt\npidfile = pid.txt\n");
        command.arg("-q").arg(file);
        command
    });
    assert_eq!(psql(&howdah, "as_pgbouncer", "SHOW work_mem"), "7MB");
    let (log, pid) = (howdah.folder().join("log.txt"), howdah.folder().join("pid.txt"));
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    assert_eq!(read(&pid).trim(), howdah.pid().to_string());
    eventually("the log is in its file", || read(&log).contains("process up"));
    assert_eq!(howdah.log(), "", "nothing on standard error");
    let status = read(Path::new(&format!("/proc/{}/status", howdah.pid())));
    if let Some(identity) = unprivileged() {
        let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}", identity.uid);
        assert!(status.contains(&uids), "{status}");
        assert!(status.contains(&format!("Gid:\t{0}\t{0}\t{0}\t{0}", identity.gid)), "{status}");
    }
    // A second one with the same pid file does not start.
    let link = howdah.folder().join("pgbouncer");
    let user = unprivileged().map(|identity| user_of(identity.uid));
    let user: Vec<&str> = user.iter().flat_map(|user| ["-u", user]).collect();
    let second = run(&link, &[&user[..], &["pgbouncer.ini"]].concat(), howdah.folder());
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("is running"), "{second:?}");
    // Its log may be moved away.
    let moved = howdah.folder().join("old.txt");
    fs::rename(&log, &moved).expect("a file of ours");
    howdah.signal(Signal::HUP);
    eventually("a new log", || read(&log).contains("configuration reloaded"));
    // SIGINT lets a transaction end.
    let mut wire = Wire::login(howdah.address(), RIDER, "as_pgbouncer");
    wire.run("BEGIN");
    howdah.signal(Signal::INT);
    eventually("the signal is seen", || read(&log).contains("got SIGINT, shutting down, waiting"));
    assert_eq!(value(&mut wire, "SELECT 7"), "7");
    wire.run("COMMIT");
    assert_eq!(howdah.wait().code(), Some(0));
    assert!(!pid.exists(), "the pid file is gone");
}

#[test]
fn d_leaves_a_process_behind() {
    let folder = tempfile::Builder::new().prefix("howdah-run-").tempdir().expect("a folder");
    let mut command = pgbouncer(folder.path());
    let port = free_port();
    let file = ini(folder.path(), port, "in_background", "logfile = log\npidfile = pid\n");
    let done = command.arg("-d").arg(&file).current_dir(folder.path()).output().expect("starts");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    // It is up when the first process ends.
    let pid = read("pid").trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
    let number = u32::try_from(pid.as_raw_nonzero().get()).expect("a process id");
    let watchdog = Watchdog::start(number, "KILL", None, None);
    let address = ([127, 0, 0, 1], port).into();
    let mut wire = Wire::login(address, RIDER, "in_background");
    assert_eq!(value(&mut wire, "SHOW work_mem"), "7MB");
    // Its session is its own: the terminal's end does not end it.
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).expect("it runs");
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    assert_eq!(session, Some(number.to_string().as_str()), "{stat}");
    eventually("the log is in its file", || read("log").contains("process up"));
    // What keeps it from coming up is told by the first process.
    fs::remove_file(folder.path().join("pid")).expect("it was written");
    let mut command = Command::new(folder.path().join("pgbouncer"));
    if let Some(identity) = unprivileged() {
        command.args(["-u", &user_of(identity.uid)]);
    }
    let second = command.arg("-d").arg(&file).current_dir(folder.path()).output().expect("starts");
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(String::from_utf8_lossy(&second.stderr).contains("cannot listen on"), "{second:?}");
    // SIGTERM waits for clients to leave.
    wire.disconnect();
    kill_process(pid, Signal::TERM).expect("a process of ours");
    eventually("it has ended", || test_kill_process(pid).is_err() || is_dead(number));
    drop(watchdog);
    assert!(!folder.path().join("pid").exists(), "the pid file is gone");
}

/// Whether a process has ended and nobody has asked how.
fn is_dead(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[test]
fn exit_codes_of_pgbouncer() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("pgbouncer");
    symlink(BINARY, &link).expect("a writable folder");
    fs::write(folder.path().join("bad.ini"), "[pgbouncer]\nlisten_prot = 1\n").expect("writable");
    let version = run(&link, &["-V"], folder.path());
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    assert_eq!(text.lines().next(), Some("PgBouncer 1.25.2"));
    let good = ini(folder.path(), 6432, "exit_codes", "");
    let good = good.to_str().expect("UTF-8");
    for (arguments, code, said) in [
        (&["--version"][..], 0, ""),
        (&["-h"], 0, ""),
        (&[], 1, "CONFIG_FILE"),
        (&["-z", "x.ini"], 1, "-z"),
        (&["none.ini"], 1, "none.ini: cannot read the configuration"),
        (
            &["bad.ini"],
            1,
            "bad.ini:2: [pgbouncer] listen_prot: unknown setting; did you mean \
            listen_port?",
        ),
        (&["-R", good], 1, "so_reuseport"),
        (&["-d", "-u", "nobody", good], 1, "-d needs a pidfile"),
        (&["-u", "no such user", good], 1, "cannot become user no such user"),
    ] {
        let output = run(&link, arguments, folder.path());
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(said), "{arguments:?} {errors}");
    }
    if unprivileged().is_some() {
        let output = run(&link, &[good], folder.path());
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("will not run as root"));
    }
}
