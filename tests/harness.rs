//! The tests' own tools do what they say: servers log people in as configured and leave nothing
//! behind.

mod support;

use std::process::{Command, Stdio};

use support::postgres::{APP, APP_MD5, APP_PLAIN, Options, PASSWORD, Postgres, RIDER, SUPERUSER};
use support::watchdog::Watchdog;
use support::wire::{Wire, lines};

/// The authentication requests of a login, and whether it got as far as ReadyForQuery.
fn log_in(user: &str, password: &str) -> (Vec<u8>, bool) {
    let mut wire = Wire::tcp(Postgres::shared().address());
    let frames = wire.start(&[("user", user), ("database", "app")], password);
    let requests = frames.iter().filter(|frame| frame.tag == b'R');
    let ready = frames.last().is_some_and(|frame| frame.tag == b'Z');
    (requests.map(|frame| frame.body[3]).collect(), ready)
}

#[test]
fn each_user_logs_in_by_its_own_method() {
    assert_eq!(log_in(SUPERUSER, ""), (vec![0], true));
    assert_eq!(log_in(RIDER, ""), (vec![0], true));
    assert_eq!(log_in(APP_PLAIN, PASSWORD), (vec![3, 0], true));
    assert_eq!(log_in(APP_MD5, PASSWORD), (vec![5, 0], true));
    assert_eq!(log_in(APP, PASSWORD), (vec![10, 11, 12, 0], true));
}

#[test]
fn a_wrong_password_is_refused() {
    for user in [APP_PLAIN, APP_MD5, APP] {
        let (_, ready) = log_in(user, "wrong");
        assert!(!ready, "{user} got in with a wrong password");
    }
}

#[test]
fn a_unix_socket_serves_the_same_database() {
    let postgres = Postgres::shared();
    let path = postgres.socket_dir().join(format!(".s.PGSQL.{}", postgres.port()));
    let mut wire = Wire::unix(&path);
    let frames = wire.start(&[("user", RIDER), ("database", "app")], "");
    assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'), "{}", lines(&frames));
    assert_eq!(wire.rows("SELECT current_user, NULL"), [["rider", ""]]);
}

#[test]
fn a_server_of_ones_own_has_its_settings_and_is_gone_after_drop() {
    let options = Options {
        settings: vec![("max_connections".to_owned(), "7".to_owned())],
        hba: vec!["host all app 127.0.0.1/32 trust".to_owned()],
    };
    let postgres = Postgres::start(&options);
    let mut wire = Wire::login(postgres.address(), APP, "app");
    assert_eq!(wire.rows("SHOW max_connections"), [["7"]]);
    let (address, folder) = (postgres.address(), postgres.socket_dir().to_owned());
    drop(postgres);
    assert!(std::net::TcpStream::connect(address).is_err(), "the server still listens");
    assert!(!folder.exists(), "its folder is still there");
}

#[test]
fn a_watchdog_ends_its_child_when_the_tests_die() {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let mut child =
        Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("a child");
    let watchdog = Watchdog::start(child.id(), "KILL", Some(&folder), None);
    // The child is waited for by this process, so it must be reaped for the guard to see it gone.
    let reaper = std::thread::spawn(move || child.wait().expect("a child to wait for"));
    watchdog.abandon();
    assert!(!reaper.join().expect("a reaper").success(), "the child ended by itself");
    assert!(!folder.exists(), "its folder is still there");
}
