//! The control thread: listeners, logins of both sides, upkeep and signals.

use super::cancels::Cancels;
use super::console;
use super::current::Current;
use super::door::{Door, receive};
use super::http;
use super::listen::listen;
use super::logging::Logging;
use super::reload::reload;
use super::routes::Routes;
use super::service;
use super::signals::{Asked, Signals};
use super::version;
use super::watch::watch;
use super::workers::Workers;
use super::{AppError, Prepared, Start, prepare};
use crate::auth::MockKey;
use crate::backend::card::ServerCard;
use crate::backend::life::{Life, Name};
use crate::backend::login::{Account, open};
use crate::backend::server::Server;
use crate::backend::statements::StatementTable;
use crate::config::Config;
use crate::fault::Words;
use crate::metrics::{EventKind, Totals};
use crate::net::Listener;
use crate::pool::admission::{Admission, AdmissionOptions};
use crate::pool::core::Opening;
use crate::pool::{PoolId, Pools, WorkerId};
use crate::session::card::{Clients, Order};
use crate::session::route::Common;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::{JoinHandle, unconstrained};
use tokio::time::{Instant, MissedTickBehavior};

/// How often pools are looked after.
const UPKEEP: Duration = Duration::from_millis(100);
/// So many in a second.
const UPKEEPS_A_SECOND: u64 = 10;
/// Orders of the console for the whole process that may wait: one is enough to end it.
const ASKED_MAX: usize = 16;
/// Longest time between the first and the last packet that open a connection.
const HANDSHAKE: Duration = Duration::from_millis(300);
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
        words: if config.process.is_pgbouncer { Words::PgBouncer } else { Words::default() },
        suspended: false.into(),
        events: crate::metrics::Events::default(),
        queries: Arc::new(crate::metrics::Queries::new(
            usize::from(count),
            config.howdah.max_tracked_queries,
        )),
    });
    common.clients.set_peer_id(config.howdah.peer_id);
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
        suspended_by: Cell::default(),
        cancels: Cancels::default(),
        period: RefCell::default(),
        started: SystemTime::now(),
        ending: Cell::new(false),
        tells_of_servers: Arc::new(config.log.log_disconnections.into()),
    })
}

/// Over all clients. Strangers may occupy as much as clients may.
pub(super) fn limits_of_clients(config: &Config) -> AdmissionOptions {
    let max_client_conn = config.howdah.max_client_conn.get();
    AdmissionOptions { max_client_conn, max_unfinished_logins: max_client_conn }
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

async fn control(config: Arc<Config>, logging: Logging, start: Start) -> Result<(), AppError> {
    let (sender, receiver) = channel(ASKED_MAX);
    let is_pgbouncer = config.process.is_pgbouncer;
    let mut signals = Signals::new(receiver, is_pgbouncer)?;
    let door = Rc::new(door(&config, logging, sender)?);
    let http = figures_door(&config)?;
    let entrance = Entrance::open(&door, listen(&config).await?);
    door.routes.borrow_mut().warm(&config, door.now().users.as_ref());
    let tasks = [
        tokio::task::spawn_local(open_servers(Rc::clone(&door))),
        tokio::task::spawn_local(look_after(Rc::clone(&door))),
        tokio::task::spawn_local(report(Rc::clone(&door))),
        tokio::task::spawn_local(watch(Rc::clone(&door))),
        tokio::task::spawn_local(service::pulse(Rc::clone(&door))),
    ];
    let http =
        http.map(|listener| tokio::task::spawn_local(http::serve(Rc::clone(&door), listener)));
    tracing::info!(
        port = config.howdah.listen_port,
        workers = config.howdah.workers.get(),
        "process up: {}",
        door.common.words.choose(version::HOWDAH, version::PGBOUNCER_UP)
    );
    service::ready();
    door.happened(("info", EventKind::Start), ("", ""), "process up");
    if start.announce {
        // Whoever wanted to know may be gone.
        _ = io::stdout().write_all(&[super::UP]).and_then(|()| io::stdout().flush());
    }
    let end = until_end(&door, &mut signals).await;
    let by_signal = !end.1.is_empty() && matches!(end.0, Asked::Drain | Asked::Wait);
    if is_pgbouncer && door.is_suspended() && by_signal {
        door.tells_of_servers.store(false, Ordering::Relaxed);
        tracing::error!("{}suspend was in progress, going down immediately", end.1);
        return Err(AppError::Suspended);
    }
    door.ending.set(true);
    door.happened(("info", EventKind::Shutdown), ("", ""), &format!("{}shutting down", end.1));
    service::stopping();
    // Who reads nothing could not end its transaction.
    door.go_on();
    let gently = matches!(end.0, Asked::Drain | Asked::Wait);
    entrance.close(gently && config.howdah.so_reuseport).await;
    wind_up(&door, &mut signals, end).await;
    // Those that are left go with the process.
    door.tells_of_servers.store(false, Ordering::Relaxed);
    for task in tasks.into_iter().chain(http) {
        task.abort();
    }
    tracing::info!("process down: {} client(s) left", door.workers.clients());
    Ok(())
}

/// Where clients come in.
struct Entrance {
    listeners: Vec<Rc<Listener>>,
    accepting: Vec<JoinHandle<()>>,
}

impl Entrance {
    fn open(door: &Rc<Door>, listeners: Vec<Listener>) -> Self {
        let listeners: Vec<_> = listeners.into_iter().map(Rc::new).collect();
        let accept = |listener: &Rc<Listener>| {
            tokio::task::spawn_local(accept(Rc::clone(door), Rc::clone(listener)))
        };
        Self { accepting: listeners.iter().map(accept).collect(), listeners }
    }

    /// Returns when nobody comes in any more. `to_others`: other processes share the port.
    async fn close(self, to_others: bool) {
        if to_others {
            for listener in &self.listeners {
                if let Err(error) = listener.turn_away() {
                    tracing::warn!("clients that connect in this moment may be reset: {error}");
                }
            }
            tokio::time::sleep(HANDSHAKE).await;
        }
        for task in self.accepting {
            task.abort();
            drop(task.await);
        }
    }
}

/// Obeys until the process is to end; how, and how the log begins to tell of it.
async fn until_end(door: &Door, signals: &mut Signals) -> (Asked, &'static str) {
    loop {
        match signals.next().await {
            // What is wrong is in the log.
            (Asked::Reload, by) => {
                if door.common.words == Words::PgBouncer {
                    tracing::info!("{by}re-reading config");
                }
                service::reloading();
                drop(reload(door));
                service::ready();
            }
            (Asked::Pause, _) => console::pause_all(door),
            (Asked::Resume, _) => console::resume_all(door),
            asked @ (Asked::Drain | Asked::Wait | Asked::Stop | Asked::Quit, _) => return asked,
        }
    }
}

/// The end of all sessions. The door is closed before the first client is told to leave.
async fn wind_up(door: &Door, signals: &mut Signals, (asked, by): (Asked, &'static str)) {
    let words = door.common.words;
    let log = |ours: &str, others: &str| tracing::info!("{by}{}", words.choose(ours, others));
    let dropped = |what: &str| {
        if words == Words::PgBouncer && !has_clients(door) {
            tracing::info!("{what} connections dropped, exiting");
        }
    };
    match asked {
        Asked::Drain => {
            log(
                "shutting down, waiting for clients to end their transactions",
                "shutting down, waiting for all servers connections to be released",
            );
            door.workers.dismiss(Order::Drain).await;
            let limit = door.now().config.howdah.shutdown_timeout;
            drain(door, signals, limit, has_clients).await;
            dropped("server");
        }
        Asked::Wait => {
            log(
                "shutting down, waiting for clients to leave",
                "shutting down, waiting for all clients disconnect",
            );
            // Whoever was let in has its turn.
            drain(door, signals, None, Door::has_visitors).await;
            dropped("client");
        }
        Asked::Stop | Asked::Reload | Asked::Pause | Asked::Resume => {
            log("shutting down", "shutting down immediately");
        }
        Asked::Quit => return log("fast exit", "fast exit"),
    }
    door.workers.dismiss(Order::Stop).await;
    until_empty(door, Some(LAST_MOMENT), has_clients).await;
}

fn has_clients(door: &Door) -> bool {
    door.workers.clients() > 0
}

/// Waits until the last client has left, the deadline, or a second signal.
async fn drain(
    door: &Door,
    signals: &mut Signals,
    limit: Option<Duration>,
    is_there: fn(&Door) -> bool,
) {
    let another = async {
        loop {
            let (asked, by) = signals.next().await;
            if !matches!(asked, Asked::Reload | Asked::Pause | Asked::Resume) {
                break by;
            }
            let said = "while shutting down, ignoring";
            tracing::warn!("{}{said}", by.replace(',', ""));
        }
    };
    tokio::select! {
        () = until_empty(door, limit, is_there) => {}
        by = another => tracing::info!("{}while shutting down, fast exit", by.replace(',', "")),
    }
}

async fn until_empty(door: &Door, limit: Option<Duration>, is_there: fn(&Door) -> bool) {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut tick = tokio::time::interval(UPKEEP);
    while is_there(door) {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            tracing::warn!("{} client(s) did not leave in time", door.workers.clients());
            return;
        }
        tick.tick().await;
    }
}

async fn accept(door: Rc<Door>, listener: Rc<Listener>) {
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
    let card = Arc::new(ServerCard::new(door.common.clients.next_id()));
    pools.introduce(opening.slot, &card);
    let now = door.now();
    let opened = tokio::select! {
        opened = open(&account, &now.context, extras) => opened,
        // It may be on its way to a node that does not answer.
        () = account.replaced.notified() => return pools.abandon(opening.slot),
    };
    match opened {
        Ok(mut server) => {
            if let Some(traffic) = door.routes.borrow().traffic(opening.pool) {
                // This thread counts behind the workers.
                let here = traffic.of(usize::from(door.workers.count()));
                here.connect.record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            server.life =
                Some(Box::new(begin_life(&door, opening.pool, (card.id, &account), &server)));
            if extras.is_empty() {
                account.welcomes.logged_in(&server);
            }
            card.logs_in(&server);
            let here = WorkerId(door.workers.count());
            pools.opened(opening.slot, server, here);
        }
        Err(failure) => {
            let said = failure.in_words(door.common.words);
            tracing::warn!(
                user = %account.user, database = %account.dbname, "server login failed: {said}"
            );
            let what = format!("server login failed: {failure}");
            let names = (&*account.dbname, &*account.user);
            door.happened(("warn", EventKind::Server), names, &what);
            pools.open_failed(opening.slot, Arc::new(failure));
        }
    }
}

/// The server's place in the log.
fn begin_life(door: &Door, pool: PoolId, (id, account): (u64, &Account), server: &Server) -> Life {
    let routes = door.routes.borrow();
    let names = routes.names(pool);
    let (database, user) = names.unwrap_or((&account.dbname, &account.user));
    let address = account.address.to_string();
    let pid = server.cancel.process_id();
    let name = Name { id, pid, database, user, address: &address };
    let local = server.stream.endpoints().local;
    let local = local.map_or_else(|| "unix".to_owned(), |local| local.to_string());
    let told = (door.now().config.log.log_connections, &door.tells_of_servers);
    Life::begin(&name, &local, told)
}

/// The periodic line of figures.
async fn report(door: Rc<Door>) {
    let period = door.now().config.log.stats_period;
    if period.is_zero() {
        return;
    }
    let mut tick = tokio::time::interval(period);
    tick.tick().await;
    // A late end is not made up for by a short period.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut began) = (Totals::default(), door.common.pools.now());
    loop {
        tick.tick().await;
        let now = door.routes.borrow().totals();
        let known = door.routes.borrow();
        let totals = (known.known().by_database(), known.known().by_pool());
        drop(known);
        let (ends, held) = door.common.pools.held();
        let length = Duration::from_micros(ends.since(began));
        door.period.borrow_mut().end(length, totals, held);
        if door.now().config.log.log_stats {
            super::figures::log(&now.since(&before), length);
        }
        (before, began) = (now, ends);
    }
}
