//! Without a configuration file: a connection URL, or the environment alone, with the real binary and a
//! real PostgreSQL behind.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use support::behaviour::{eventually, refusal, succeeded, value};
use support::howdah::Howdah;
use support::postgres::{APP, PASSWORD, Postgres, RIDER};
use support::wire::Wire;

const BINARY: &str = env!("CARGO_BIN_EXE_howdah");

/// `howdah run` in a folder, on a port, with nothing but these variables.
fn run(folder: &Path, port: u16, variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("run").env_clear();
    command.env("HOWDAH_HOWDAH__LISTEN_PORT", port.to_string());
    command.env("HOWDAH_HOWDAH__UNIX_SOCKET_DIR", folder);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

fn url(password: &str, database: &str) -> String {
    let encoded: String = password.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let port = Postgres::shared().port();
    format!("postgres://{APP}:{encoded}@127.0.0.1:{port}/{database}?sslmode=disable")
}

fn login(howdah: &Howdah, user: &str, database: &str, password: &str) -> Wire {
    let mut client = Wire::tcp(howdah.address());
    let told = client.start(&[("user", user), ("database", database)], password);
    assert!(succeeded(&told), "{told:?}");
    client
}

#[test]
fn a_url_lets_in_whom_the_server_lets_in() {
    let howdah = Howdah::start_with(&|folder, port| {
        let mut command = run(folder, port, &[]);
        command.arg("--database-url").arg(url(PASSWORD, "app"));
        command
    });
    let mut client = login(&howdah, APP, "app", PASSWORD);
    assert_eq!(value(&mut client, "SELECT current_user || '@' || current_database()"), "app@app");
    for (user, database, password, code) in [
        (APP, "app", "wrong", "28P01"),
        (RIDER, "app", PASSWORD, "28P01"),
        (APP, "x", PASSWORD, "3D000"),
    ] {
        let mut stranger = Wire::tcp(howdah.address());
        let error = refusal(&mut stranger, &[("user", user), ("database", database)], password);
        assert_eq!(
            support::behaviour::told(&error).split(' ').nth(1),
            Some(code),
            "{user} {database}"
        );
    }
    assert!(!howdah.log().contains(PASSWORD), "{}", howdah.log());
}

#[test]
fn a_url_in_a_file_is_read_again_by_a_reload() {
    let path = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&path, format!("{}\n", url(PASSWORD, "app"))).expect("writable");
    let file = path.path().to_str().expect("UTF-8").to_owned();
    let howdah = Howdah::start_with(&|folder, port| {
        run(folder, port, &[("HOWDAH_DATABASE_URL_FILE", file.clone())])
    });
    login(&howdah, APP, "app", PASSWORD);
    Postgres::shared().create_database("moved");
    fs::write(&path, url(PASSWORD, "moved")).expect("writable");
    howdah.signal(Signal::HUP);
    eventually("the reload", || howdah.log().contains("configuration reloaded"));
    login(&howdah, APP, "moved", PASSWORD);
    fs::write(&path, "mysql://a:secret@b").expect("writable");
    howdah.signal(Signal::HUP);
    eventually("the refusal", || howdah.log().contains("configuration not reloaded"));
    assert!(!howdah.log().contains("secret"), "{}", howdah.log());
    login(&howdah, APP, "moved", PASSWORD);
}

#[test]
fn variables_alone_are_enough() {
    let nodes = format!("127.0.0.1:{}", Postgres::shared().port());
    let howdah = Howdah::start_with(&|folder, port| {
        let variables = [
            ("HOWDAH_DATABASES__APP__NODES", nodes.clone()),
            ("HOWDAH_AUTH__AUTH_TYPE", "trust".to_owned()),
            ("HOWDAH_POOL__DEFAULT_POOL_SIZE", "2".to_owned()),
        ];
        run(folder, port, &variables)
    });
    let mut client = Wire::login(howdah.address(), RIDER, "app");
    assert_eq!(value(&mut client, "SELECT 1"), "1");
}

#[test]
fn nothing_to_run_is_said() {
    let output = Command::new(BINARY).arg("run").env_clear().output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("HOWDAH_DATABASE_URL"), "{said}");
}
