//! `howdah demo` as a person runs it: real PostgreSQL servers, howdah in front, traffic, and nothing left behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder for the demo's files that the unprivileged account may enter.
fn place() -> TempDir {
    let place = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))
        .expect("the folder is ours");
    place
}

fn demo(place: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_howdah"));
    command.arg("demo").env("TMPDIR", place.path()).stdin(Stdio::null());
    command
}

/// No file, and no process whose command line names the folder.
fn assert_nothing_left(place: &Path) {
    let files: Vec<_> = fs::read_dir(place).expect("the folder is there").collect();
    assert!(files.is_empty(), "files left behind: {files:?}");
    let name = place.file_name().expect("a folder with a name").as_encoded_bytes();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        // A process may end while we look.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let left = line.windows(name.len()).any(|part| part == name);
        assert!(!left, "left running: {}", String::from_utf8_lossy(&line));
    }
}

#[test]
fn once_survives_a_promotion_and_leaves_nothing() {
    let place = place();
    let out = demo(&place).arg("--once").output().unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{said}\n{errors}");
    assert!(said.contains(" (0 failed)"), "{said}");
    assert!(said.contains("connections  at most 5 to a node"), "{said}");
    // The demo itself fails if a row is missing on the primary or on the replica.
    assert!(said.contains(" acknowledged, and "), "{said}");
    assert!(said.contains(" times, 0 of them too old"), "{said}");
    assert!(said.contains("  replica  "), "{said}");
    assert!(said.contains(" took over from 127.0.0.1:"), "{said}");
    assert_nothing_left(place.path());
}

#[test]
fn sigterm_in_the_middle_leaves_nothing() {
    let place = place();
    let mut child = demo(&place).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let traffic = lines.by_ref().map(Result::unwrap).any(|line| line.starts_with("   1 s"));
    assert!(traffic, "the demo ended before its first line of traffic");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success(), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("stopping")), "{rest:?}");
    assert_nothing_left(place.path());
}
