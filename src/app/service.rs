//! What a service manager hears: `Type=notify` and the watchdog of systemd.
//!
//! Without `NOTIFY_SOCKET` in the environment nobody is told anything.

use super::pooler::Pooler;
use sd_notify::NotifyState;
use std::rc::Rc;
use std::time::Duration;

/// How often the state is told when no watchdog waits for it.
const STATUS: Duration = Duration::from_secs(10);

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot reach the service manager: {error}");
    }
}

/// Clients may come, and what was reloaded counts.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot read the clock for the service manager: {error}"),
    }
}

/// No client is let in any more.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the state from time to time, and that the process is alive, as long as every worker is.
pub(super) async fn notify_watchdog(pooler: Rc<Pooler>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // Twice in the time that it waits, as sd_watchdog_enabled(3) asks for.
    let mut tick = tokio::time::interval(watchdog.map_or(STATUS, |limit| limit / 2));
    let mut before = pooler.workers.beats();
    // The first comes at once.
    tick.tick().await;
    loop {
        tick.tick().await;
        let beats = pooler.workers.beats();
        let stuck = beats.iter().zip(&before).position(|(now, before)| now == before);
        before = beats;
        match stuck {
            None if watchdog.is_some() => tell(&[NotifyState::Watchdog]),
            None => {}
            Some(worker) => tracing::error!("worker {worker} does not answer"),
        }
        tell(&[NotifyState::Status(&status(&pooler))]);
    }
}

fn status(pooler: &Pooler) -> String {
    let clients = pooler.workers.clients();
    let paused = if pooler.routes.borrow().paused().all { ", paused" } else { "" };
    format!("{clients} client(s){paused}")
}
