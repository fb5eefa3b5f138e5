//! Orders for the whole process, from signals and from the console.

use super::error::AppError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;

/// What somebody asks of the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessOrder {
    /// To end when the clients have ended their transactions.
    Drain,
    /// To end when all servers are released: in session mode when their clients have left.
    WaitForServers,
    /// To end when the clients have left by themselves.
    Wait,
    /// To end at once; clients are told.
    Stop,
    /// To end at once, whatever happens to anybody.
    Quit,
    /// To read the configuration again.
    Reload,
    /// To pause everything.
    Pause,
    /// To end that.
    Resume,
}

impl ProcessOrder {
    /// Whether the process ends only when its clients are ready.
    pub(super) fn is_gentle(self) -> bool {
        match self {
            Self::Drain | Self::WaitForServers | Self::Wait => true,
            Self::Stop | Self::Quit | Self::Reload | Self::Pause | Self::Resume => false,
        }
    }
}

/// The signals that the process obeys, and the console.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
    /// SIGTERM waits for clients, and SIGINT drains.
    as_pgbouncer: bool,
    console: Receiver<ProcessOrder>,
}

impl Signals {
    /// Catches them from here on.
    ///
    /// # Errors
    /// When the system refuses one.
    pub(super) fn new(
        console: Receiver<ProcessOrder>,
        as_pgbouncer: bool,
    ) -> Result<Self, AppError> {
        let catch = |kind| signal(kind).map_err(AppError::Runtime);
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            hup: catch(SignalKind::hangup())?,
            usr1: catch(SignalKind::user_defined1())?,
            usr2: catch(SignalKind::user_defined2())?,
            console,
            as_pgbouncer,
        })
    }

    /// What is asked, and how the log begins to tell of it.
    pub(super) async fn next(&mut self) -> (ProcessOrder, &'static str) {
        tokio::select! {
            _ = self.term.recv() => {
                let asked = if self.as_pgbouncer { ProcessOrder::Wait } else { ProcessOrder::Drain };
                (asked, "got SIGTERM, ")
            }
            _ = self.int.recv() => {
                let asked = if self.as_pgbouncer { ProcessOrder::WaitForServers } else { ProcessOrder::Stop };
                (asked, "got SIGINT, ")
            }
            _ = self.quit.recv() => (ProcessOrder::Quit, "got SIGQUIT, "),
            _ = self.hup.recv() => (ProcessOrder::Reload, "got SIGHUP, "),
            _ = self.usr1.recv() => (ProcessOrder::Pause, "got SIGUSR1, "),
            _ = self.usr2.recv() => (ProcessOrder::Resume, "got SIGUSR2, "),
            Some(asked) = self.console.recv() => (asked, ""),
        }
    }
}
