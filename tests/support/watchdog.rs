//! Ends a child process when the test process ends, however it ends.
//!
//! A shell waits on a pipe whose other end only the test process holds. End of file means that the
//! test process is gone, even by SIGKILL, and the shell cleans up. Dropping the guard after the
//! child was waited for sends it away instead.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `$1` pid, `$2` signal, `$3` folder to remove, or empty.
const GUARD: &str = r#"
if read -r word; then exit 0; fi
kill -s "$2" "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
if [ -n "$3" ]; then rm -rf -- "$3"; fi
"#;

/// The guard of one child. Keep it as long as the child.
pub(crate) struct Watchdog(Child);

/// The unprivileged identity that a child runs with, when the tests run as root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Numeric user.
    pub(crate) uid: u32,
    /// Numeric group.
    pub(crate) gid: u32,
}

impl Identity {
    /// Makes `command` run as this user, without root's supplementary groups.
    pub(crate) fn apply(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

impl Watchdog {
    /// Guards process `pid`: `signal` it when this process ends, then remove `folder`.
    pub(crate) fn start(
        pid: u32,
        signal: &str,
        folder: Option<&Path>,
        identity: Option<Identity>,
    ) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "watchdog", &pid.to_string(), signal]);
        command.arg(folder.unwrap_or(Path::new("")));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A Ctrl-C in the terminal must reach the tests, not the guard that cleans up after them.
        command.current_dir("/").process_group(0);
        if let Some(identity) = identity {
            identity.apply(&mut command);
        }
        Self(command.spawn().expect("a shell to guard the child"))
    }

    /// Does what happens when the test process dies, and waits until the guard has cleaned up.
    pub(crate) fn abandon(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().ok();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            // A guard that is already gone needs no dismissal.
            pipe.write_all(b"dismissed\n").ok();
        }
        self.0.wait().ok();
    }
}
