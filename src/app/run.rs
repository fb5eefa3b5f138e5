//! Starts the rooms of the control thread, and ends them.

use super::accept::Entrance;
use super::cancel_requests::CancelRequests;
use super::catalogs::maintain_catalogs;
use super::current::Current;
use super::error::AppError;
use super::http;
use super::limits::admission_options;
use super::listen::listen;
use super::logging::Logging;
use super::moves::follow_names;
use super::openings::open_servers;
use super::pooler::Pooler;
use super::probes::Probes;
use super::probes::check::check_probe_user;
use super::probes::watch::probe_clusters;
use super::process::UP;
use super::routes::Routes;
use super::service;
use super::shutdown::{end_sessions, serve_until_end};
use super::signals::{ProcessOrder, Signals};
use super::start::{Prepared, Start, prepare};
use super::upkeep::{maintain, report};
use super::verify::verify_reads;
use super::version;
use super::watch::watch;
use super::workers::Workers;
use crate::auth::MockKey;
use crate::backend::settings::SettingsTable;
use crate::backend::statements::StatementTable;
use crate::cluster::last_writes::LastWrites;
use crate::config::Config;
use crate::fault::MessageStyle;
use crate::metrics::{EventKind, Events, Queries, Registry, counted};
use crate::pool::Pools;
use crate::pool::admission::Admission;
use crate::session::client_handle::Clients;
use crate::session::common::Common;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;
use tokio::sync::mpsc::{Sender, channel};

/// Orders of the console for the whole process that may wait: one is enough to end it.
const ORDERS_MAX: usize = 16;

/// Runs the pooler until a signal ends it.
///
/// # Errors
/// What kept it from starting.
pub fn run(config: Arc<Config>, start: Start) -> Result<(), AppError> {
    // The pid file is removed at the end.
    let Prepared { logging, pid_file: _pid_file } = prepare(&config, start)?;
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

/// The pooler of this configuration, with its workers.
fn pooler(
    config: &Arc<Config>,
    logging: Logging,
    orders: Sender<ProcessOrder>,
) -> Result<Pooler, AppError> {
    let current = Current::new(config)?;
    let registry = Registry::default();
    registry.install().map_err(|error| AppError::Setup(format!("cannot count: {error}")))?;
    counted::describe();
    let count = u8::try_from(config.howdah.workers.get()).unwrap_or(u8::MAX - 1);
    let pools = Arc::new(Pools::new(count, u64::from_ne_bytes(random()?)));
    let common = Arc::new(Common {
        pools,
        statements: Arc::new(StatementTable::default()),
        settings: SettingsTable::default(),
        clients: Clients::default(),
        last_writes: LastWrites::default(),
        message_style: if config.process.is_pgbouncer {
            MessageStyle::PgBouncer
        } else {
            MessageStyle::default()
        },
        suspended: false.into(),
        events: Events::default(),
        queries: Arc::new(Queries::new(usize::from(count), config.howdah.max_tracked_queries)),
    });
    common.clients.set_peer_id(config.howdah.peer_id);
    let workers = Workers::start(count, &common, config.howdah.dns_max_ttl, config.howdah.tcp)
        .map_err(AppError::Runtime)?;
    let probes = Rc::new(Probes::new(config, u64::from_ne_bytes(random()?)));
    Ok(Pooler {
        current: RefCell::new(Rc::new(current)),
        mock: MockKey::new(random()?),
        routes: RefCell::new(Routes::new(Arc::clone(&common), count, Some(Rc::clone(&probes)))),
        probes,
        admission: Arc::new(Mutex::new(Admission::new(admission_options(config)))),
        workers,
        common,
        logging,
        orders,
        suspended_by: Cell::default(),
        cancels: CancelRequests::default(),
        period: RefCell::default(),
        registry,
        started: SystemTime::now(),
        is_shutting_down: Cell::new(false),
        logs_server_ends: Arc::new(config.log.log_disconnections.into()),
    })
}

/// Listens for requests of figures, if the configuration says so.
fn figures_listener(config: &Config) -> Result<Option<tokio::net::TcpListener>, AppError> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let listener = http::listen(address).map_err(|error| {
        AppError::Setup(format!("http.listen: cannot listen on {address}: {error}"))
    })?;
    tracing::info!("figures at http://{address}/");
    Ok(Some(listener))
}

async fn control(config: Arc<Config>, logging: Logging, start: Start) -> Result<(), AppError> {
    let (sender, receiver) = channel(ORDERS_MAX);
    let is_pgbouncer = config.process.is_pgbouncer;
    let mut signals = Signals::new(receiver, is_pgbouncer)?;
    let pooler = Rc::new(pooler(&config, logging, sender)?);
    check_probe_user(&pooler).await?;
    let http = figures_listener(&config)?;
    let entrance = Entrance::open(&pooler, listen(&config).await?);
    pooler.routes.borrow_mut().warm(&config, pooler.current().users.as_ref());
    let checks = pooler.routes.borrow().checks();
    let tasks = [
        tokio::task::spawn_local(open_servers(Rc::clone(&pooler))),
        tokio::task::spawn_local(maintain(Rc::clone(&pooler))),
        tokio::task::spawn_local(report(Rc::clone(&pooler))),
        tokio::task::spawn_local(watch(Rc::clone(&pooler))),
        tokio::task::spawn_local(maintain_catalogs(Rc::clone(&pooler))),
        tokio::task::spawn_local(probe_clusters(Rc::clone(&pooler))),
        tokio::task::spawn_local(follow_names(Rc::clone(&pooler))),
        tokio::task::spawn_local(verify_reads(Rc::clone(&pooler), checks)),
        tokio::task::spawn_local(service::notify_watchdog(Rc::clone(&pooler))),
    ];
    let http =
        http.map(|listener| tokio::task::spawn_local(http::serve(Rc::clone(&pooler), listener)));
    tracing::info!(
        port = config.howdah.listen_port,
        workers = config.howdah.workers.get(),
        "process up: {}",
        pooler.common.message_style.choose(version::HOWDAH, version::PGBOUNCER_UP)
    );
    service::ready();
    pooler.record_event(("info", EventKind::Start), ("", ""), "process up");
    if start.announce {
        // The process that waits for this byte may have ended.
        _ = io::stdout().write_all(&[UP]).and_then(|()| io::stdout().flush());
    }
    let end = serve_until_end(&pooler, &mut signals).await;
    let by_signal = !end.1.is_empty() && end.0.is_gentle();
    if is_pgbouncer && pooler.is_suspended() && by_signal {
        pooler.logs_server_ends.store(false, Ordering::Relaxed);
        tracing::error!("{}suspend was in progress, going down immediately", end.1);
        return Err(AppError::Suspended);
    }
    pooler.is_shutting_down.set(true);
    pooler.record_event(
        ("info", EventKind::Shutdown),
        ("", ""),
        &format!("{}shutting down", end.1),
    );
    service::stopping();
    // A suspended client cannot end its transaction.
    pooler.resume();
    entrance.close(end.0.is_gentle() && config.howdah.so_reuseport).await;
    end_sessions(&pooler, &mut signals, end).await;
    // Those that are left go with the process.
    pooler.logs_server_ends.store(false, Ordering::Relaxed);
    pooler.probes.stop();
    for task in tasks.into_iter().chain(http) {
        task.abort();
    }
    tracing::info!("process down: {} client(s) left", pooler.workers.clients());
    Ok(())
}
