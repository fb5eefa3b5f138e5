//! The control thread: listeners, logins of both sides, upkeep and signals.

use super::current::Current;
use super::door::{Door, receive};
use super::http;
use super::logging::Logging;
use super::reload::reload;
use super::routes::Routes;
use super::workers::Workers;
use super::{AppError, Prepared, Start, prepare};
use crate::auth::MockKey;
use crate::backend::login::open;
use crate::backend::statements::StatementTable;
use crate::config::{Config, ListenAddress};
use crate::metrics::{EventKind, Totals};
use crate::net::{ListenOptions, Listener};
use crate::pool::admission::{Admission, AdmissionOptions};
use crate::pool::core::Opening;
use crate::pool::{Pools, WorkerId};
use crate::session::card::{Clients, Order};
use crate::session::route::Common;
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior};

/// How often pools are looked after.
const UPKEEP: Duration = Duration::from_millis(100);
/// So many in a second.
const UPKEEPS_A_SECOND: u64 = 10;
/// Orders of the console for the whole process that may wait: one is enough to end it.
const ASKED_MAX: usize = 16;
/// Longest wait for clients that were told to leave at once.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// Runs the pooler until a signal ends it.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: Arc<Config>, start: Start) -> Result<(), AppError> {
    // The pid file is removed at the end.
    let Prepared { logging, _pid_file } = prepare(&config, start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(AppError::Runtime)?;
    runtime.block_on(control(config, logging, start))
}

fn random<const N: usize>() -> Result<[u8; N], AppError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AppError::Setup(error.to_string()))?;
    Ok(bytes)
}

fn door(config: &Arc<Config>, logging: Logging, asked: Sender<Asked>) -> Result<Door, AppError> {
    let current = Current::new(config)?;
    let count = u8::try_from(config.howdah.workers.get()).unwrap_or(u8::MAX - 1);
    let pools = Arc::new(Pools::new(count, u64::from_ne_bytes(random()?)));
    let common = Arc::new(Common {
        pools,
        statements: Arc::new(StatementTable::default()),
        settings: crate::backend::settings::SettingsTable::default(),
        clients: Clients::default(),
        events: crate::metrics::Events::default(),
        queries: Arc::new(crate::metrics::Queries::new(
            usize::from(count),
            config.howdah.max_tracked_queries,
        )),
    });
    let workers = Workers::start(count, &common, config.howdah.dns_max_ttl, config.howdah.tcp)
        .map_err(AppError::Runtime)?;
    Ok(Door {
        current: RefCell::new(Rc::new(current)),
        mock: MockKey::new(random()?),
        routes: RefCell::new(Routes::new(Arc::clone(&common), count)),
        admission: Arc::new(Mutex::new(Admission::new(limits_of_clients(config)))),
        workers,
        common,
        logging,
        asked,
        period: RefCell::default(),
        started: SystemTime::now(),
        ending: Cell::new(false),
    })
}

/// Over all clients. Strangers may occupy as much as clients may.
pub(super) fn limits_of_clients(config: &Config) -> AdmissionOptions {
    let max_client_conn = config.howdah.max_client_conn.get();
    AdmissionOptions { max_client_conn, max_unfinished_logins: max_client_conn }
}

async fn addresses(config: &Config) -> Result<Vec<SocketAddr>, AppError> {
    let port = config.howdah.listen_port;
    let mut all = Vec::new();
    for address in &config.howdah.listen_addr {
        match address {
            ListenAddress::Any => {
                all.push(SocketAddr::from(([0u8; 4], port)));
                all.push(SocketAddr::from(([0u16; 8], port)));
            }
            ListenAddress::Ip(ip) => all.push(SocketAddr::new(*ip, port)),
            ListenAddress::Name(name) => {
                let found = tokio::net::lookup_host((name.as_str(), port)).await;
                all.extend(found.map_err(|error| {
                    AppError::Setup(format!("howdah.listen_addr: cannot resolve {name}: {error}"))
                })?);
            }
        }
    }
    Ok(all)
}

/// The number of a group, which may be given as such, as in PostgreSQL's `unix_socket_group`.
fn group_id(name: &str) -> Result<u32, AppError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let wrong = |reason: &str| {
        AppError::Setup(format!("howdah.unix_socket_group: cannot find group {name}: {reason}"))
    };
    let groups = std::fs::read_to_string("/etc/group").map_err(|e| wrong(&e.to_string()))?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    number.ok_or_else(|| {
        wrong("it is not in /etc/group; a group from elsewhere is given by its number")
    })
}

/// Opens all doors. An address family that this machine does not have is no error while another
/// address works.
async fn listen(config: &Config) -> Result<Vec<Listener>, AppError> {
    let options = ListenOptions {
        backlog: config.howdah.listen_backlog,
        reuse_port: config.howdah.so_reuseport,
        tcp: config.howdah.tcp,
    };
    let (mut listeners, mut missing) = (Vec::new(), None);
    for address in addresses(config).await? {
        match Listener::tcp(address, &options) {
            Ok(listener) => listeners.push(listener),
            Err(error)
                if address.is_ipv6()
                    && (error.kind() == io::ErrorKind::AddrNotAvailable
                        || error.raw_os_error() == Some(97)) =>
            {
                missing = Some(format!("cannot listen on {address}: {error}"));
            }
            Err(error) => {
                return Err(AppError::Setup(format!("cannot listen on {address}: {error}")));
            }
        }
    }
    if let Some(directory) = &config.howdah.unix_socket_dir {
        let path = directory.join(format!(".s.PGSQL.{}", config.howdah.listen_port));
        let group = config.howdah.unix_socket_group.as_deref().map(group_id).transpose()?;
        let mode = config.howdah.unix_socket_mode;
        let opened = Listener::unix(&path, mode, group, options.backlog);
        listeners.push(opened.map_err(|error| {
            AppError::Setup(format!("cannot listen on unix socket {}: {error}", path.display()))
        })?);
    }
    match (listeners.is_empty(), missing) {
        (true, Some(reason)) => Err(AppError::Setup(reason)),
        (_, Some(reason)) => {
            tracing::info!("{reason}");
            Ok(listeners)
        }
        (_, None) => Ok(listeners),
    }
}

/// Opens the door for figures, if there is to be one.
fn figures_door(config: &Config) -> Result<Option<tokio::net::TcpListener>, AppError> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let listener = http::listen(address).map_err(|error| {
        AppError::Setup(format!("http.listen: cannot listen on {address}: {error}"))
    })?;
    tracing::info!("figures at http://{address}/");
    Ok(Some(listener))
}

/// The signals that the process obeys.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    /// SIGINT drains.
    gentle_interrupt: bool,
    /// What the console asks.
    console: Receiver<Asked>,
}

/// What somebody asks of the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To end when the clients have ended their transactions.
    Drain,
    /// To end when the clients have left by themselves.
    Wait,
    /// To end at once.
    Stop,
    /// To read the configuration again.
    Reload,
}

impl Signals {
    fn new(console: Receiver<Asked>, gentle_interrupt: bool) -> Result<Self, AppError> {
        let catch = |kind| signal(kind).map_err(AppError::Runtime);
        Ok(Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            hup: catch(SignalKind::hangup())?,
            console,
            gentle_interrupt,
        })
    }

    /// What is asked, and how the log begins to tell of it.
    async fn next(&mut self) -> (Asked, &'static str) {
        tokio::select! {
            _ = self.term.recv() => (Asked::Drain, "got SIGTERM, "),
            _ = self.int.recv() => {
                let asked = if self.gentle_interrupt { Asked::Drain } else { Asked::Stop };
                (asked, "got SIGINT, ")
            }
            _ = self.hup.recv() => (Asked::Reload, "got SIGHUP, "),
            Some(asked) = self.console.recv() => (asked, ""),
        }
    }
}

async fn control(config: Arc<Config>, logging: Logging, start: Start) -> Result<(), AppError> {
    let (sender, receiver) = channel(ASKED_MAX);
    let mut signals = Signals::new(receiver, start.gentle_interrupt)?;
    let door = Rc::new(door(&config, logging, sender)?);
    let listeners = listen(&config).await?;
    let http = figures_door(&config)?;
    let listeners: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::task::spawn_local(accept(Rc::clone(&door), listener)))
        .collect();
    door.routes.borrow_mut().warm(&config, door.now().users.as_ref());
    let opener = tokio::task::spawn_local(open_servers(Rc::clone(&door)));
    let upkeep = tokio::task::spawn_local(look_after(Rc::clone(&door)));
    let figures = tokio::task::spawn_local(report(Rc::clone(&door)));
    let http =
        http.map(|listener| tokio::task::spawn_local(http::serve(Rc::clone(&door), listener)));
    tracing::info!(
        port = config.howdah.listen_port,
        workers = config.howdah.workers.get(),
        "process up: howdah {}",
        env!("CARGO_PKG_VERSION")
    );
    door.happened(("info", EventKind::Start), ("", ""), "process up");
    if start.announce {
        // Whoever wanted to know may be gone.
        _ = io::stdout().write_all(&[super::UP]).and_then(|()| io::stdout().flush());
    }
    let (asked, by) = loop {
        match signals.next().await {
            // What is wrong is in the log.
            (Asked::Reload, _) => drop(reload(&door)),
            asked @ (Asked::Drain | Asked::Wait | Asked::Stop, _) => break asked,
        }
    };
    door.ending.set(true);
    door.happened(("info", EventKind::Shutdown), ("", ""), &format!("{by}shutting down"));
    for listener in listeners {
        listener.abort();
        // The door is closed before the first client is told to leave.
        drop(listener.await);
    }
    match asked {
        Asked::Drain => {
            tracing::info!("{by}shutting down, waiting for clients to end their transactions");
            door.workers.dismiss(Order::Drain).await;
            let limit = door.now().config.howdah.shutdown_timeout;
            drain(&door, &mut signals, limit).await;
        }
        Asked::Wait => {
            tracing::info!("{by}shutting down, waiting for clients to leave");
            drain(&door, &mut signals, None).await;
        }
        Asked::Stop | Asked::Reload => tracing::info!("{by}shutting down"),
    }
    door.workers.dismiss(Order::Stop).await;
    until_empty(&door, Some(LAST_MOMENT)).await;
    for task in [opener, upkeep, figures].into_iter().chain(http) {
        task.abort();
    }
    tracing::info!("process down: {} client(s) left", door.workers.clients());
    Ok(())
}

/// Waits until the last client has left, the deadline, or a second signal.
async fn drain(door: &Door, signals: &mut Signals, limit: Option<Duration>) {
    let another = async {
        while let (Asked::Reload, _) = signals.next().await {
            tracing::warn!("got SIGHUP while shutting down: nothing is reloaded");
        }
    };
    tokio::select! {
        () = until_empty(door, limit) => {}
        () = another => tracing::info!("got another signal, stopping at once"),
    }
}

async fn until_empty(door: &Door, limit: Option<Duration>) {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut tick = tokio::time::interval(UPKEEP);
    while door.workers.clients() > 0 {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            tracing::warn!("{} client(s) did not leave in time", door.workers.clients());
            return;
        }
        tick.tick().await;
    }
}

async fn accept(door: Rc<Door>, listener: Listener) {
    loop {
        let (stream, peer) = listener.accept().await;
        tokio::task::spawn_local(receive(Rc::clone(&door), stream, peer));
    }
}

async fn look_after(door: Rc<Door>) {
    let pools = &door.common.pools;
    let mut tick = tokio::time::interval(UPKEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for round in 0u64.. {
        tick.tick().await;
        if round % UPKEEPS_A_SECOND == 0 {
            door.routes.borrow_mut().forget_unused(&door.now().config, Instant::now());
        }
        // First, so that the servers that are missing are opened at once.
        unconstrained(async { pools.sweep() }).await;
        pools.upkeep();
    }
}

/// Opens the servers that the pools ask for.
async fn open_servers(door: Rc<Door>) {
    let pools = Arc::clone(&door.common.pools);
    loop {
        for opening in pools.openings().await {
            tokio::task::spawn_local(open_server(Rc::clone(&door), opening));
        }
    }
}

async fn open_server(door: Rc<Door>, opening: Opening) {
    let pools = &door.common.pools;
    let Some(account) = door.routes.borrow().account(opening.pool) else {
        return pools.abandon(opening.slot);
    };
    let extras = opening.waiter.and_then(|waiter| pools.extras_of(waiter));
    let extras = extras.as_deref().map_or(&[][..], Vec::as_slice);
    let begun = Instant::now();
    match open(&account, &door.now().context, extras).await {
        Ok(server) => {
            if let Some(traffic) = door.routes.borrow().traffic(opening.pool) {
                // This thread counts behind the workers.
                let here = traffic.of(usize::from(door.workers.count()));
                here.connect.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            tracing::debug!(
                pid = server.cancel.process_id(), user = %account.user,
                database = %account.dbname, "new connection to server {}", account.address
            );
            if extras.is_empty() {
                account.welcomes.logged_in(&server);
            }
            let here = WorkerId(door.workers.count());
            pools.opened(opening.slot, server, here);
        }
        Err(failure) => {
            tracing::warn!(
                user = %account.user, database = %account.dbname, "server login failed: {failure}"
            );
            let what = format!("server login failed: {failure}");
            let names = (&*account.dbname, &*account.user);
            door.happened(("warn", EventKind::Server), names, &what);
            pools.open_failed(opening.slot, Arc::new(failure));
        }
    }
}

/// The periodic line of figures.
async fn report(door: Rc<Door>) {
    let period = door.now().config.log.stats_period;
    if period.is_zero() {
        return;
    }
    let mut tick = tokio::time::interval(period);
    tick.tick().await;
    let mut before = Totals::default();
    loop {
        tick.tick().await;
        let now = door.routes.borrow().totals();
        let totals = door.routes.borrow().by_database_and_pool();
        door.period.borrow_mut().end(period, totals);
        if door.now().config.log.log_stats {
            super::figures::log(&now.since(&before), period);
        }
        before = now;
    }
}
