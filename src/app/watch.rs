//! `watch`: the configuration is read again when one of its files changes.
//!
//! The files are looked at once a second rather than subscribed to: that sees a file that is
//! replaced, a link of Kubernetes that is moved, and a change on a network file system alike. What
//! has changed is read when it is the same twice, so that nobody reads a file that is being written.

use super::pooler::Pooler;
use super::reload::{preview, reload};
use super::service;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const PERIOD: Duration = Duration::from_secs(1);

/// What tells a file from what it was: device, inode, size, and the time of its last change.
type Look = Option<(u64, u64, u64, i64, i64)>;

fn look(path: &Path) -> Look {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

fn look_at(files: Vec<PathBuf>) -> Vec<(PathBuf, Look)> {
    files
        .into_iter()
        .map(|path| {
            let seen = look(&path);
            (path, seen)
        })
        .collect()
}

/// Reloads as long as the configuration says so.
pub(super) async fn watch(pooler: Rc<Pooler>) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // Whether they changed between being read and being looked at here, only their contents tell.
    let mut loaded = None;
    let mut before = Vec::new();
    loop {
        tick.tick().await;
        let now = look_at(pooler.current().config.files());
        let settled = now == before;
        before.clone_from(&now);
        if !pooler.current().config.howdah.watch {
            loaded = None;
        } else if settled && loaded.as_ref() != Some(&now) {
            let first = loaded.replace(now).is_none();
            if first && preview(&pooler).is_ok_and(|changes| changes.is_empty()) {
                continue;
            }
            tracing::info!("a file of the configuration has changed, reloading");
            service::reloading();
            if reload(&pooler).is_ok() {
                // It may name others.
                before = look_at(pooler.current().config.files());
                loaded = Some(before.clone());
            }
            service::ready();
        }
    }
}
