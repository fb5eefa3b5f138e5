//! The process as PgBouncer's own file and command line want it: its user, its pid file, and its
//! leave of the terminal.

use super::error::AppError;
use crate::config::Config;
use rustix::fs::Mode;
use rustix::process::{Gid, Pid, Uid, getegid, geteuid, getpid, test_kill_process};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The byte that the process writes to standard output when clients may connect, if its parent
/// waits for it.
pub(super) const UP: u8 = b'+';

/// A pid file of this process. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it. One that a dead process left is replaced.
    ///
    /// # Errors
    /// The process that it names lives, or it cannot be written.
    pub(super) fn create(path: &Path) -> Result<Self, AppError> {
        let failed = |error: io::Error| {
            AppError::Setup(format!("cannot write the pid file {}: {error}", path.display()))
        };
        check_pid_file(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        // Two that start at once do not both succeed.
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        writeln!(file, "{}", getpid().as_raw_nonzero()).map_err(failed)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may be gone; nobody needs to know.
        _ = fs::remove_file(&self.0);
    }
}

/// Refuses a pid file that names a process that lives.
fn check_pid_file(path: &Path) -> Result<(), AppError> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    match pid.filter(|pid| *pid != getpid()) {
        Some(pid) if test_kill_process(pid) != Err(rustix::io::Errno::SRCH) => {
            Err(AppError::Setup(format!(
                "process {} of the pid file {} is running",
                pid.as_raw_nonzero(),
                path.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Number, group and further groups of a user.
struct Account {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// The user `name` in the texts of `/etc/passwd` and `/etc/group`.
    fn find(name: &str, users: &str, groups: &str) -> Option<Self> {
        let own = |line: &&str| line.split(':').next() == Some(name);
        let mut fields = users.lines().find(own)?.split(':').skip(2);
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let member = |line: &str| {
            let mut fields = line.split(':').skip(2);
            let number = fields.next()?.parse().ok()?;
            fields.next()?.split(',').any(|member| member.trim() == name).then_some(number)
        };
        let mut all: Vec<u32> = groups.lines().filter_map(member).collect();
        if !all.contains(&gid) {
            all.push(gid);
        }
        Some(Self { uid, gid, groups: all })
    }
}

/// Makes this process, which root has started, one of user `name`. Threads that are started
/// afterwards belong to that user too; there must be none yet.
///
/// # Errors
/// There is no such user, or the process is not root's and not that user's.
pub(super) fn become_user(name: &str) -> Result<(), AppError> {
    let failed = |reason: &str| AppError::Setup(format!("cannot become user {name}: {reason}"));
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|error| failed(&format!("cannot read {path}: {error}")))
    };
    let account = Account::find(name, &read("/etc/passwd")?, &read("/etc/group")?)
        .ok_or_else(|| failed("it is not in /etc/passwd"))?;
    if !geteuid().is_root() {
        let same = geteuid().as_raw() == account.uid && getegid().as_raw() == account.gid;
        return if same { Ok(()) } else { Err(failed("only a process of root's can")) };
    }
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups)
        .and_then(|()| set_thread_gid(Gid::from_raw(account.gid)))
        .and_then(|()| set_thread_uid(Uid::from_raw(account.uid)))
        .map_err(|error| failed(&error.to_string()))
}

/// Refuses to run as root, as PgBouncer does.
///
/// # Errors
/// The process is root's and no user is named.
pub fn refuse_root(config: &Config) -> Result<(), AppError> {
    if geteuid().is_root() && config.process.user.is_none() {
        let what = "will not run as root: name a user with -u, or with user in the file";
        return Err(AppError::Setup(what.to_owned()));
    }
    Ok(())
}

/// Starts this program again as `pgbouncer` with `arguments`, and waits until it is up: there it
/// calls [`leave_terminal`] and announces itself.
///
/// # Errors
/// There is no pid file to find it by, or the process ended before it was up.
pub fn detach(config: &Config, arguments: &[OsString]) -> Result<(), AppError> {
    let Some(pid_file) = &config.process.pid_file else {
        return Err(AppError::Setup("-d needs a pidfile in the file".to_owned()));
    };
    check_pid_file(pid_file)?;
    let failed = |error| AppError::Setup(format!("cannot start in the background: {error}"));
    let started = std::env::current_exe().and_then(|program| {
        Command::new(program)
            .arg0("pgbouncer")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    });
    let mut child = started.map_err(failed)?;
    let mut up = [0];
    let said = child.stdout.as_mut().map(|stdout| stdout.read(&mut up));
    if matches!(said, Some(Ok(1))) && up == [UP] {
        return Ok(());
    }
    let output = child.wait_with_output().map_err(failed)?;
    Err(AppError::Setup(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()))
}

/// Gives this process a session of its own, so that it outlives the terminal.
///
/// # Errors
/// The process leads a group already.
pub fn leave_terminal() -> Result<(), AppError> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let failed = |error| AppError::Setup(format!("cannot leave the terminal: {error}"));
    rustix::process::setsid().map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts() {
        let users = "root:x:0:0::/:/bin/sh\npostgres:x:101:103::/:/bin/sh\nbroken\n";
        let groups = "root:x:0:\nssl:x:109:a,postgres\npostgres:x:103:\nother:x:5:postgresx\n";
        let found = Account::find("postgres", users, groups).expect("it is there");
        assert_eq!((found.uid, found.gid, found.groups), (101, 103, vec![109, 103]));
        assert!(Account::find("nobody", users, groups).is_none());
        assert!(Account::find("broken", users, groups).is_none());
    }

    #[test]
    fn a_pid_file_is_written_refused_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pid");
        let file = PidFile::create(&path).expect("a new file");
        let text = fs::read_to_string(&path).expect("it was written");
        assert_eq!(text.trim(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
        // A process that lives, whose it is not ours to signal perhaps: the first of all.
        fs::write(&path, "1\n").expect("writable");
        let error = PidFile::create(&path).expect_err("process 1 lives").to_string();
        assert!(error.starts_with("process 1 of the pid file"), "{error}");
        assert!(path.exists());
        // No process has so large a number.
        fs::write(&path, "2147483646\n").expect("writable");
        drop(PidFile::create(&path).expect("nobody's"));
        fs::write(&path, "rubbish").expect("writable");
        drop(PidFile::create(&path).expect("nobody's"));
    }
}
