//! The command line of the built program: output, exit codes.

use std::path::Path;
use std::process::{Command, Output};

fn howdah(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_howdah"))
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config"))
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn check_says_ok() {
    let output = howdah(&["check", "minimal.toml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "minimal.toml: ok, 1 database(s), 0 user(s)\n");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn check_names_what_is_wrong_and_fails() {
    let output = howdah(&["check", "userlist.txt"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).starts_with("userlist.txt:1: "), "{output:?}");
    assert!(!text(&output.stderr).contains("change me"), "{output:?}");
}

#[test]
fn the_environment_is_read() {
    let output = Command::new(env!("CARGO_BIN_EXE_howdah"))
        .args(["check", "minimal.toml"])
        .env("HOWDAH_POOL__POLL_MODE", "session")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config"))
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "HOWDAH_POOL__POLL_MODE: unknown setting; did you mean HOWDAH_POOL__POOL_MODE?\n"
    );
}

#[test]
fn wrong_usage_is_2_and_help_is_0() {
    for (arguments, code) in [
        (&["walk"][..], 2),
        (&["run"], 2),
        (&[], 2),
        (&["--help"], 0),
        (&["--version"], 0),
        (&["config", "reference"], 0),
    ] {
        assert_eq!(howdah(arguments).status.code(), Some(code), "{arguments:?}");
    }
    let version = howdah(&["--version"]);
    assert_eq!(text(&version.stdout), concat!("howdah ", env!("CARGO_PKG_VERSION"), "\n"));
}

/// With a hard limit of 100 files the defaults do not fit: 10,000 clients, 20 servers.
#[test]
fn too_few_open_files_are_an_error_at_start_that_says_the_numbers() {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 100; exec \"$0\" run minimal.toml", env!("CARGO_BIN_EXE_howdah")])
        .env("HOWDAH_HOWDAH__WORKERS", "2")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config"))
        .output()
        .expect("the shell starts");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "howdah.max_client_conn = 10000 needs 10092 open files (10000 clients, 20 servers with one \
         pool for each database, 72 others), but the limit is 100: raise the hard limit (ulimit \
         -Hn, LimitNOFILE= in systemd) or set max_client_conn to 8\n"
    );
}
