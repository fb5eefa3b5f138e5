//! The operator's program that hears of changes of roles (`role_hook`).
//!
//! Owns the queue of one cluster, in which calls stand in the order of what has happened, and the run of the
//! program: without a shell, one at a time for each cluster, for `role_hook_timeout` at most. What has happened is in
//! its environment, from which our own configuration is taken out. Never decides about a role: nothing that the
//! program does or answers changes what is known of a node.

use super::calls::{CALLS_MAX, Call, Variables};
use super::tell;
use super::watched::{Watched, wall_time};
use crate::app::pooler::Pooler;
use crate::cluster::NodeId;
use crate::cluster::failover::{Account, Loss};
use crate::cluster::roles::Event;
use crate::cluster::shared::now;
use crate::cluster::survey::News;
use crate::config::PREFIX;
use rustix::process::{Pid, Signal, kill_process_group};
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

/// So much of what the program says on standard error is logged.
const SAID_MAX: usize = 2_000;
/// How long the rest of it is waited for when the program has ended: what it has started may live on.
const REST: Duration = Duration::from_millis(100);

/// Has the program run for a piece of news, if it is about roles. `text`: as the log has it.
pub(super) fn call(pooler: &Pooler, watched: &Watched, news: &News, text: String) {
    if pooler.current().config.routing.role_hook.is_none() {
        return;
    }
    let Some((event, mut variables)) = described(watched, news) else { return };
    variables.push(("HOWDAH_MESSAGE", text));
    enqueue(pooler, watched, Call { event, variables, done: None });
}

/// Has the program run for a switchover, and waits for its end.
///
/// # Errors
/// Why it has failed.
pub(super) async fn switch_over(
    pooler: &Pooler,
    watched: &Watched,
    (from, to): (NodeId, NodeId),
) -> Result<(), String> {
    let variables = vec![
        ("HOWDAH_NODE", watched.name(to)),
        ("HOWDAH_OLD_PRIMARY", watched.name(from)),
        ("HOWDAH_NEW_PRIMARY", watched.name(to)),
    ];
    let (done, ended) = oneshot::channel();
    enqueue(pooler, watched, Call { event: "switchover", variables, done: Some(done) });
    ended
        .await
        .unwrap_or_else(|_| Err("it was not run: too much has happened meanwhile".to_owned()))
}

fn enqueue(pooler: &Pooler, watched: &Watched, call: Call) {
    if let Some(event) = watched.calls.push(call) {
        let said = format!("role_hook is not run for {event}: {CALLS_MAX} later runs wait already");
        tell::say(pooler, watched, "error", &said);
    }
}

/// The word of an event, and what goes with it.
fn described(watched: &Watched, news: &News) -> Option<(&'static str, Variables)> {
    let name = |node| watched.name(node);
    let of = |event, node| (event, vec![("HOWDAH_NODE", name(node))]);
    Some(match news {
        News::Role(Event::Promoted { node, timeline, from }) => {
            let (event, mut variables) = of("promoted", *node);
            variables.push(("HOWDAH_OLD_PRIMARY", from.map(name).unwrap_or_default()));
            variables.push(("HOWDAH_NEW_PRIMARY", name(*node)));
            variables.push(("HOWDAH_TIMELINE", timeline.to_string()));
            (event, variables)
        }
        News::Role(Event::Restored(node)) => of("restored", *node),
        News::Role(Event::Demoted(node)) => of("demoted", *node),
        News::Role(Event::NoPrimary(node)) => of("no_primary", *node),
        News::Role(Event::Disputed { node, .. }) => of("disputed", *node),
        News::Role(Event::Settled) => ("settled", Vec::new()),
        News::Role(Event::Refused { node, .. }) => of("refused", *node),
        News::Role(Event::Admitted(node)) => of("admitted", *node),
        News::Accounted(account) | News::Counted(account) => {
            let mut variables = vec![("HOWDAH_OLD_PRIMARY", name(account.from.0))];
            let to = account.to.map(|(node, _)| name(node)).unwrap_or_default();
            variables.push(("HOWDAH_NEW_PRIMARY", to));
            variables.extend(figures(account));
            let is_counted = matches!(news, News::Counted(_));
            (if is_counted { "counted" } else { "accounted" }, variables)
        }
        News::Role(Event::Joined(_) | Event::Left(_))
        | News::Health(..)
        | News::Differs(..)
        | News::Fits(_) => return None,
    })
}

/// What a change of the primary has cost.
fn figures(account: &Account) -> Variables {
    let at = |moment| {
        let since = wall_time(moment).duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        format!("{}.{:06}", since.as_secs(), since.subsec_micros())
    };
    let statements = account.statements;
    let mut figures = vec![
        ("HOWDAH_FAILOVER_BEGAN", at(account.began)),
        ("HOWDAH_FAILOVER_GAP_MS", account.gap(now()).as_millis().to_string()),
        ("HOWDAH_FAILOVER_FAILED", statements.failed.to_string()),
        ("HOWDAH_FAILOVER_WAITED", statements.waited.to_string()),
        ("HOWDAH_FAILOVER_REPEATED", statements.repeated.to_string()),
        ("HOWDAH_FAILOVER_IN_DOUBT", statements.in_doubt.to_string()),
        ("HOWDAH_FAILOVER_LOSS", account.loss.to_string()),
    ];
    let switch = account.switch.map(|lsn| lsn.to_string()).unwrap_or_default();
    figures.push(("HOWDAH_FAILOVER_SWITCH_LSN", switch));
    if let Loss::Possible { after, until, bytes } = account.loss {
        figures.push(("HOWDAH_FAILOVER_LOST_BYTES", bytes.to_string()));
        figures.push(("HOWDAH_FAILOVER_LOST_AFTER", after.map(at).unwrap_or_default()));
        figures.push(("HOWDAH_FAILOVER_LOST_UNTIL", at(until)));
    }
    figures
}

/// Runs the program for one call after the other.
pub(super) async fn run_hooks(pooler: Rc<Pooler>, watched: Rc<Watched>) {
    loop {
        let mut call = watched.calls.next().await;
        let config = Rc::clone(&pooler.current()).config.clone();
        let Some(path) = &config.routing.role_hook else { continue };
        let databases = watched.databases(&config).join(",");
        call.variables.push(("HOWDAH_EVENT", call.event.to_owned()));
        call.variables.push(("HOWDAH_DATABASES", databases));
        let limit = config.routing.role_hook_timeout;
        let began = Instant::now();
        let ended = run(path, &call.variables, limit).await;
        let (shown, took) = (path.display(), began.elapsed().as_millis());
        let result = match ended {
            Ok(said) => {
                let said =
                    format!("role_hook {shown} was run for {} in {took} ms{said}", call.event);
                tell::say(&pooler, &watched, "info", &said);
                Ok(())
            }
            Err(why) => {
                let said = format!("role_hook {shown} has failed for {}: {why}", call.event);
                tell::say(&pooler, &watched, "error", &said);
                Err(why)
            }
        };
        if let Some(done) = call.done {
            // Who waited may have left.
            _ = done.send(result);
        }
    }
}

/// The program's process, and all that it starts. They are killed if this is dropped before it has ended.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // It may have ended just now.
            _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs the program. What it has said on standard error, to be put behind a sentence.
async fn run(path: &Path, variables: &Variables, limit: Duration) -> Result<String, String> {
    let own = std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with(PREFIX));
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs(own)
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("it cannot be run: {error}"))?;
    let errors = child.stderr.take();
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let mut running = Running { child, group: id.and_then(Pid::from_raw) };
    let mut said = Vec::new();
    let end = Instant::now() + limit;
    let status = {
        let reading = read(errors, &mut said);
        tokio::pin!(reading);
        let waiting = timeout_at(end, running.child.wait());
        tokio::pin!(waiting);
        let mut has_read = false;
        let status = loop {
            tokio::select! {
                status = &mut waiting => break status,
                () = &mut reading, if !has_read => has_read = true,
            }
        };
        if !has_read && status.is_ok() {
            // What it has started may keep standard error open.
            _ = timeout(REST, &mut reading).await;
        }
        status
    };
    let said = shown(&said);
    match status {
        Err(_) => Err(format!(
            "it did not end within {} ms (role_hook_timeout) and was killed{said}",
            limit.as_millis()
        )),
        Ok(status) => {
            running.group = None;
            match status {
                Ok(status) if status.success() => Ok(said),
                Ok(status) => Err(format!("{status}{said}")),
                Err(error) => Err(format!("nobody knows how it ended: {error}")),
            }
        }
    }
}

/// Reads to the end, so that nobody has to wait for us, and keeps the beginning.
async fn read(errors: Option<ChildStderr>, said: &mut Vec<u8>) {
    let Some(mut errors) = errors else { return };
    let mut piece = [0; 512];
    while let Ok(count) = errors.read(&mut piece).await {
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { return };
        let room = SAID_MAX.saturating_sub(said.len());
        said.extend(read.iter().take(room));
    }
}

fn shown(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::super::calls::Calls;
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn program(folder: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = folder.path().join("hook");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("ours");
        path
    }

    async fn ran(text: &str, limit: Duration) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = program(&folder, text);
        let variables = vec![("HOWDAH_EVENT", "promoted".to_owned())];
        // Another thread of this program may be between fork and exec, with the file open.
        loop {
            match run(&path, &variables, limit).await {
                Err(why) if why.contains("busy") => tokio::task::yield_now().await,
                ended => return ended,
            }
        }
    }

    #[tokio::test]
    async fn what_it_says_and_how_it_ends_is_told() {
        let long = Duration::from_secs(60);
        let said = ran("echo \"got $HOWDAH_EVENT\" >&2; echo unseen", long).await;
        assert_eq!(said.as_deref(), Ok(": got promoted"));
        assert_eq!(ran("exit 3", long).await, Err("exit status: 3".to_owned()));
        let said =
            ran("head -c 100000 /dev/zero | tr '\\0' x >&2", long).await.expect("it succeeds");
        assert_eq!(said.len(), SAID_MAX + 2);
        // Something that it has started goes on, and nobody waits for that.
        assert_eq!(ran("sleep 60 & exit 0", long).await.as_deref(), Ok(""));
    }

    #[tokio::test]
    async fn it_is_killed_with_what_it_has_started_when_its_time_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid = folder.path().join("pid");
        let text = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let why = ran(&text, Duration::from_millis(500)).await.expect_err("it does not end");
        assert!(why.contains("within 500 ms (role_hook_timeout) and was killed"), "{why}");
        let child = std::fs::read_to_string(&pid).expect("it was started");
        let child = child.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
        while rustix::process::test_kill_process(child).is_ok() && !is_zombie(child) {
            tokio::task::yield_now().await;
        }
    }

    /// Nobody may have waited for it yet.
    fn is_zombie(pid: Pid) -> bool {
        let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
        std::fs::read_to_string(path).is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn calls_are_bounded_and_the_oldest_goes() {
        let calls = Calls::default();
        let call = |event| Call { event, variables: Vec::new(), done: None };
        assert_eq!(calls.push(call("first")), None);
        for _ in 1..CALLS_MAX {
            assert_eq!(calls.push(call("next")), None);
        }
        assert_eq!(calls.push(call("last")), Some("first"));
    }
}
