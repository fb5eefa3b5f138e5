//! Every connection by itself, and the pools: from the handles of clients and servers.

use super::inputs::{OWN, Row, console_clients, handles, moment, snapshots, views};
use crate::admin::Value;
use crate::app::cancel_requests::CancelRequest;
use crate::app::known_pools::PoolView;
use crate::app::pooler::Pooler;
use crate::backend::cancel::CancelTarget;
use crate::backend::server::Reported;
use crate::config::CheckQuery;
use crate::fault::MessageStyle;
use crate::net::Endpoints;
use crate::pool::core::Tick;
use crate::pool::{PoolId, ServerSnapshot, Stand};
use crate::session::client_handle::{ClientHandle, ClientState, Replication};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Where a connection stands, in PgBouncer's word, and the word of SHOW SOCKETS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(&'static str, &'static str);

const CLIENT_ACTIVE: State = State("active", "cl_active");
/// PgBouncer has clients without a request in its list of active ones.
const CLIENT_IDLE: State = State("idle", "cl_active");
const CLIENT_WAITING: State = State("waiting", "cl_waiting");
const CANCEL_WAITING: State = State("waiting_cancel_req", "cl_waiting_cancel_req");
const CANCEL_ACTIVE: State = State("active_cancel_req", "cl_active_cancel_req");
const SERVER_ACTIVE: State = State("active", "sv_active");
const SERVER_IDLE: State = State("idle", "sv_idle");
const SERVER_USED: State = State("used", "sv_used");
/// It runs a query of ours: a check, an alignment, a probe, a clean-up.
const SERVER_TESTED: State = State("tested", "sv_tested");
const SERVER_NEW: State = State("new", "sv_login");
const SERVER_CANCELS: State = State("active_cancel", "sv_active_cancel");
/// Its client is done with it, and a cancel request for it is on its way.
const SERVER_CANCELED: State = State("being_canceled", "sv_being_canceled");

/// States in which nothing happens, whether the client is active or not.
const AT_REST: [State; 3] = [CLIENT_IDLE, SERVER_IDLE, SERVER_USED];

/// A connection.
struct Line {
    kind: &'static str,
    user: String,
    database: String,
    replication: Replication,
    state: State,
    ends: [(Value, Value); 2],
    since: SystemTime,
    requested: Option<SystemTime>,
    /// Microseconds that it has waited.
    wait: u64,
    close_needed: bool,
    link: Option<u64>,
    pid: Option<i64>,
    tls: String,
    application_name: String,
    prepared: u64,
    id: u64,
}

impl Line {
    fn row(self) -> Row {
        let [(address, port), (local_address, local_port)] = self.ends;
        let pointer = |id: u64| format!("{id:#x}");
        vec![
            self.kind.into(),
            self.user.into(),
            self.database.into(),
            match self.replication {
                Replication::None => "none",
                Replication::Logical => "logical",
                Replication::Physical => "physical",
            }
            .into(),
            self.state.0.into(),
            address,
            port,
            local_address,
            local_port,
            moment(self.since).into(),
            Value::maybe(self.requested.map(moment)),
            Value::count(self.wait / 1_000_000),
            Value::count(self.wait % 1_000_000),
            self.close_needed.into(),
            pointer(self.id).into(),
            self.link.map(pointer).unwrap_or_default().into(),
            self.pid.map_or(Value::Null, Value::Number),
            self.tls.into(),
            self.application_name.into(),
            Value::count(self.prepared),
            Value::count(self.id),
        ]
    }
}

/// The other end and our own, as PgBouncer writes addresses.
fn ends(ends: &Endpoints) -> [(Value, Value); 2] {
    let one = |address: Option<std::net::SocketAddr>| match address {
        Some(address) => (address.ip().to_string().into(), Value::count(address.port())),
        None => ("unix".into(), Value::count(0)),
    };
    [one(ends.remote), one(ends.local)]
}

/// Turns moments of the pools' clock into moments of the day.
struct Clock {
    now: Tick,
    today: SystemTime,
}

impl Clock {
    fn of(pooler: &Pooler) -> Self {
        Self { now: pooler.common.pools.now(), today: SystemTime::now() }
    }

    /// Nothing for zero, which is no moment.
    fn moment(&self, at: Tick) -> Option<SystemTime> {
        let ago = Duration::from_micros(self.now.since(at));
        (at.0 > 0).then(|| self.today.checked_sub(ago)).flatten()
    }
}

/// One server and the client that has it.
struct Seen {
    server: ServerSnapshot<Arc<Reported>>,
    state: State,
    client: Option<Arc<ClientHandle>>,
}

/// Every server, and where it stands.
fn seen(pooler: &Pooler, clients: &[Arc<ClientHandle>]) -> Vec<Seen> {
    let of = |handle: &Arc<ClientHandle>| {
        let handle = Arc::clone(handle);
        handle.servers().map(move |target| (Arc::as_ptr(&target), Arc::clone(&handle)))
    };
    let linked: HashMap<*const CancelTarget, Arc<ClientHandle>> =
        clients.iter().flat_map(of).collect();
    let (now, config) = (pooler.common.pools.now(), &pooler.current().config.pool);
    let is_checked = config.server_check_query != CheckQuery::Off;
    let delay = u64::try_from(config.server_check_delay.as_micros()).unwrap_or(u64::MAX);
    let one = |server: ServerSnapshot<Arc<Reported>>| {
        let target = server.handle.login().map(|login| &login.cancel);
        let client = target.and_then(|target| linked.get(&Arc::as_ptr(target))).cloned();
        let state = match server.stand {
            Stand::Opening => SERVER_NEW,
            Stand::Granted => SERVER_ACTIVE,
            Stand::Idle if is_checked && now.since(server.since) >= delay => SERVER_USED,
            Stand::Idle => SERVER_IDLE,
            Stand::Leased if target.is_some_and(|target| target.is_awaited()) => SERVER_CANCELED,
            Stand::Leased if client.is_some() => SERVER_ACTIVE,
            Stand::Leased => SERVER_TESTED,
        };
        // A client may still show as linked to a server that it has just given back.
        let client = client.filter(|_| server.stand == Stand::Leased);
        Seen { server, state, client }
    };
    pooler.common.pools.servers().into_iter().map(one).collect()
}

fn client_lines(pooler: &Pooler) -> Vec<Line> {
    let clients = handles(pooler);
    let clock = Clock::of(pooler);
    let servers: HashMap<*const CancelTarget, u64> = pooler
        .common
        .pools
        .servers()
        .iter()
        .filter_map(|one| Some((Arc::as_ptr(&one.handle.login()?.cancel), one.handle.id)))
        .collect();
    let line = |handle: Arc<ClientHandle>| {
        let info = &handle.info;
        let route = info.route.as_ref()?;
        let (state, link) = match handle.state() {
            ClientState::Idle => (CLIENT_IDLE, None),
            ClientState::Waiting => (CLIENT_WAITING, None),
            ClientState::Active(target) => {
                (CLIENT_ACTIVE, servers.get(&Arc::as_ptr(&target)).copied())
            }
        };
        let waits = state == CLIENT_WAITING;
        Some(Line {
            kind: "C",
            user: route.user.to_string(),
            database: route.database.to_string(),
            replication: info.replication,
            state,
            ends: ends(&info.ends),
            since: info.since,
            requested: clock.moment(handle.requested()),
            wait: if waits { clock.now.since(handle.requested()) } else { 0 },
            close_needed: handle.is_leaving(),
            link,
            pid: info.ends.process.map(i64::from),
            tls: info.tls.as_deref().unwrap_or_default().to_owned(),
            application_name: handle.application_name(),
            prepared: handle.prepared.get(),
            id: handle.id,
        })
    };
    let asking = pooler.cancels.list().into_iter().map(|one| cancel_line(&one, true));
    clients.into_iter().filter_map(line).chain(asking).collect()
}

/// A cancel request: the connection that asks, or the one that carries it to the server.
fn cancel_line(one: &CancelRequest, asks: bool) -> Line {
    let route = one.client.info.route.as_ref();
    let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
    let state = match (asks, &one.carried) {
        (false, _) => SERVER_CANCELS,
        (true, Some(_)) => CANCEL_ACTIVE,
        (true, None) => CANCEL_WAITING,
    };
    let carried = one.carried.clone().unwrap_or_default();
    let age = one.since.elapsed().unwrap_or_default();
    let (id, link) = (one.id, one.carried.is_some().then_some(one.carrier));
    Line {
        kind: if asks { "C" } else { "S" },
        user: name(route.map(|route| if asks { &*route.user } else { &*route.account.user })),
        database: name(route.map(|route| &*route.database)),
        replication: Replication::None,
        state,
        ends: if asks { ends(&one.asker) } else { ends(&carried) },
        since: one.since,
        requested: Some(one.since),
        wait: u64::try_from(age.as_micros()).unwrap_or(u64::MAX),
        // Either ends when the server has closed the connection that carries it.
        close_needed: true,
        link: if asks { link } else { Some(id) },
        pid: one.asker.process.filter(|_| asks).map(i64::from),
        tls: one.tls.as_deref().filter(|_| asks).unwrap_or_default().to_owned(),
        application_name: String::new(),
        prepared: 0,
        id: if asks { id } else { one.carrier },
    }
}

fn server_lines(pooler: &Pooler) -> Vec<Line> {
    let clock = Clock::of(pooler);
    let routes = pooler.routes.borrow();
    let line = |one: Seen| {
        let Seen { server, state, client } = one;
        let (database, user) = routes.known().names(server.pool)?;
        let login = server.handle.login();
        let is_opening = server.stand == Stand::Opening;
        let connecting = || {
            let account = routes.account(server.pool);
            let node = account.map(|account| account.address.clone());
            let host = Value::maybe(node.as_ref().map(|node| node.host.to_string()));
            let port = node.map_or(Value::Null, |node| Value::count(node.port));
            [(host, port), (Value::Null, Value::Null)]
        };
        let rests = |at: Tick| clock.moment(at).filter(|_| !is_opening);
        let reported = server.seen.iter().flat_map(|reported| reported.iter());
        let mut named = reported.filter(|(name, _)| **name == *b"application_name");
        let reported = named.next().map(|(_, name)| String::from_utf8_lossy(name).into_owned());
        Some(Line {
            kind: "S",
            user: user.to_owned(),
            database: database.to_owned(),
            replication: client
                .as_ref()
                .map_or(Replication::None, |handle| handle.info.replication),
            state,
            ends: login.map_or_else(connecting, |login| ends(&login.ends)),
            since: server.handle.since,
            requested: match &client {
                Some(handle) => clock.moment(handle.requested()),
                None => rests(server.since),
            },
            wait: if is_opening { clock.now.since(server.since) } else { 0 },
            close_needed: server.is_outdated,
            link: client.as_ref().map(|handle| handle.id),
            pid: login.map(|login| i64::from(login.cancel.process_id())),
            tls: login.and_then(|login| login.tls.as_deref()).unwrap_or_default().to_owned(),
            application_name: match &client {
                Some(handle) => handle.application_name(),
                None => reported.unwrap_or_default(),
            },
            prepared: login.map_or(0, |login| login.prepared.get()),
            id: server.handle.id,
        })
    };
    let carrying = pooler.cancels.list().into_iter().filter(|one| one.carried.is_some());
    let carrying = carrying.map(|one| cancel_line(&one, false));
    seen(pooler, &handles(pooler)).into_iter().filter_map(line).chain(carrying).collect()
}

pub(super) fn clients(pooler: &Pooler) -> Vec<Row> {
    client_lines(pooler).into_iter().map(Line::row).collect()
}

pub(super) fn servers(pooler: &Pooler) -> Vec<Row> {
    server_lines(pooler).into_iter().map(Line::row).collect()
}

/// All connections; `busy`: those that have something to do.
pub(super) fn sockets(pooler: &Pooler, busy: bool) -> Vec<Row> {
    let row = |mut line: Line| {
        line.state.0 = line.state.1;
        let mut row = line.row();
        // Positions in a buffer: a connection owns none.
        row.extend((0..7).map(|_| Value::Number(0)));
        row
    };
    let all = client_lines(pooler).into_iter().chain(server_lines(pooler));
    all.filter(|line| !busy || !AT_REST.contains(&line.state)).map(row).collect()
}

/// What is counted of a pool's connections.
#[derive(Debug, Default)]
struct Counts {
    clients: HashMap<&'static str, usize>,
    servers: HashMap<&'static str, usize>,
}

fn counts(pooler: &Pooler) -> HashMap<PoolId, Counts> {
    let clients = handles(pooler);
    let mut counts = HashMap::<PoolId, Counts>::new();
    for one in seen(pooler, &clients) {
        let pool = counts.entry(one.server.pool).or_default();
        *pool.servers.entry(one.state.1).or_default() += 1;
    }
    for handle in &clients {
        let Some(route) = &handle.info.route else { continue };
        let waits = matches!(handle.state(), ClientState::Waiting);
        let state = if waits { CLIENT_WAITING } else { CLIENT_ACTIVE };
        *counts.entry(route.pool).or_default().clients.entry(state.1).or_default() += 1;
    }
    for one in pooler.cancels.list() {
        let Some(route) = &one.client.info.route else { continue };
        let pool = counts.entry(route.pool).or_default();
        let state = if one.carried.is_some() { CANCEL_ACTIVE } else { CANCEL_WAITING };
        *pool.clients.entry(state.1).or_default() += 1;
        let carries = usize::from(one.carried.is_some());
        *pool.servers.entry(SERVER_CANCELS.1).or_default() += carries;
    }
    counts
}

pub(super) fn pools(pooler: &Pooler) -> Vec<Row> {
    let (snapshots, counts) = (snapshots(pooler), counts(pooler));
    let row = |view: PoolView| {
        let here = || view.pools.iter().filter_map(|pool| counts.get(pool));
        let clients = |state: State| {
            Value::count(here().filter_map(|one| one.clients.get(state.1)).sum::<usize>())
        };
        let servers = |state: State| {
            Value::count(here().filter_map(|one| one.servers.get(state.1)).sum::<usize>())
        };
        let waits = view.pools.iter().filter_map(|pool| snapshots.get(pool));
        let longest = waits.map(|one| one.oldest_wait).max().unwrap_or(0);
        let mut row = vec![view.database.as_str().into(), view.user.as_str().into()];
        let asked = [CLIENT_ACTIVE, CLIENT_WAITING, CANCEL_ACTIVE, CANCEL_WAITING];
        row.extend(asked.map(clients));
        let had = [
            SERVER_ACTIVE,
            SERVER_CANCELS,
            SERVER_CANCELED,
            SERVER_IDLE,
            SERVER_USED,
            SERVER_TESTED,
            SERVER_NEW,
        ];
        row.extend(had.map(servers));
        row.extend([
            Value::count(longest / 1_000_000),
            Value::count(longest % 1_000_000),
            view.options.pool_mode.as_str().into(),
            Value::Null,
        ]);
        row
    };
    let mut rows: Vec<Row> = views(pooler).into_iter().map(row).collect();
    if pooler.common.message_style == MessageStyle::PgBouncer {
        rows.push(own_pool(pooler));
    }
    rows
}

/// The console as a pool.
fn own_pool(pooler: &Pooler) -> Row {
    let mut row = vec![OWN.into(), OWN.into(), Value::count(console_clients(pooler))];
    row.extend((0..12).map(|_| Value::count(0)));
    row.extend(["statement".into(), Value::Null]);
    row
}
