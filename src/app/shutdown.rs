//! Carries out signals and orders of the console until the process is to end, and then ends its
//! sessions.

use super::console;
use super::pooler::Pooler;
use super::reload::reload;
use super::service;
use super::signals::{ProcessOrder, Signals};
use super::workers::Dismissal;
use crate::fault::MessageStyle;
use crate::session::client_handle::Order;
use std::time::Duration;
use tokio::time::Instant;

/// How often the process checks whether the last client has left.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for clients that were told to leave at once.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// Serves until the process is to end. Returns how it ends, and the start of the log line about it.
pub(super) async fn serve_until_end(
    pooler: &Pooler,
    signals: &mut Signals,
) -> (ProcessOrder, &'static str) {
    loop {
        match signals.next().await {
            // What is wrong is in the log.
            (ProcessOrder::Reload, by) => {
                if pooler.common.message_style == MessageStyle::PgBouncer {
                    tracing::info!("{by}re-reading config");
                }
                service::reloading();
                drop(reload(pooler));
                service::ready();
            }
            (ProcessOrder::Pause, _) => console::pause_all(pooler),
            (ProcessOrder::Resume, _) => console::resume_all(pooler),
            asked @ (
                ProcessOrder::Drain
                | ProcessOrder::WaitForServers
                | ProcessOrder::Wait
                | ProcessOrder::Stop
                | ProcessOrder::Quit,
                _,
            ) => return asked,
        }
    }
}

/// Ends all sessions. The listeners are closed before the first client is told to leave.
pub(super) async fn end_sessions(
    pooler: &Pooler,
    signals: &mut Signals,
    (asked, by): (ProcessOrder, &'static str),
) {
    let style = pooler.common.message_style;
    let log = |ours: &str, others: &str| tracing::info!("{by}{}", style.choose(ours, others));
    let dropped = |what: &str| {
        if style == MessageStyle::PgBouncer && !has_clients(pooler) {
            tracing::info!("{what} connections dropped, exiting");
        }
    };
    match asked {
        ProcessOrder::Drain => {
            log(
                "shutting down, waiting for clients to end their transactions",
                "shutting down, waiting for all servers connections to be released",
            );
            pooler.workers.dismiss(Dismissal::All(Order::Drain)).await;
            let limit = pooler.current().config.howdah.shutdown_timeout;
            drain(pooler, signals, limit, has_clients).await;
            dropped("server");
        }
        ProcessOrder::WaitForServers => {
            log(
                "shutting down, waiting for servers to be released",
                "shutting down, waiting for all servers connections to be released",
            );
            pooler.workers.dismiss(Dismissal::WaitForServers).await;
            drain(pooler, signals, None, has_clients).await;
            dropped("server");
        }
        ProcessOrder::Wait => {
            log(
                "shutting down, waiting for clients to leave",
                "shutting down, waiting for all clients disconnect",
            );
            // Every client that was admitted is served to its end.
            drain(pooler, signals, None, Pooler::has_clients_or_logins).await;
            dropped("client");
        }
        ProcessOrder::Stop | ProcessOrder::Reload | ProcessOrder::Pause | ProcessOrder::Resume => {
            log("shutting down", "shutting down immediately");
        }
        ProcessOrder::Quit => return log("fast exit", "fast exit"),
    }
    pooler.workers.dismiss(Dismissal::All(Order::Stop)).await;
    until_empty(pooler, Some(LAST_MOMENT), has_clients).await;
}

fn has_clients(pooler: &Pooler) -> bool {
    pooler.workers.clients() > 0
}

/// Waits until the last client has left, the deadline, or a second signal.
async fn drain(
    pooler: &Pooler,
    signals: &mut Signals,
    limit: Option<Duration>,
    is_there: fn(&Pooler) -> bool,
) {
    let another = async {
        loop {
            let (asked, by) = signals.next().await;
            if !matches!(asked, ProcessOrder::Reload | ProcessOrder::Pause | ProcessOrder::Resume) {
                break by;
            }
            let said = "while shutting down, ignoring";
            tracing::warn!("{}{said}", by.replace(',', ""));
        }
    };
    tokio::select! {
        () = until_empty(pooler, limit, is_there) => {}
        by = another => tracing::info!("{}while shutting down, fast exit", by.replace(',', "")),
    }
}

async fn until_empty(pooler: &Pooler, limit: Option<Duration>, is_there: fn(&Pooler) -> bool) {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut tick = tokio::time::interval(LOOK);
    while is_there(pooler) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            tracing::warn!("{} client(s) did not leave in time", pooler.workers.clients());
            return;
        }
        tick.tick().await;
    }
}
