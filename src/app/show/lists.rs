//! Views of the configuration and of what it names: databases, users, peers, settings.

use super::inputs::{OWN, Row, console_clients, handles, limit, snapshots, views};
use crate::admin::Value;
use crate::app::known_pools::PoolView;
use crate::app::pooler::Pooler;
use crate::config::{Applies, EffectiveOptions, ShownSetting};
use crate::fault::MessageStyle;
use crate::net::{NodeAddress, NodeHost};
use crate::session::client_handle::ClientHandle;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) fn config(pooler: &Pooler) -> Vec<Row> {
    let now = pooler.current();
    let row = |shown: ShownSetting| {
        let changeable = if shown.applies == Applies::Restart { "no" } else { "yes" };
        vec![shown.name.into(), shown.value.into(), shown.default.into(), changeable.into()]
    };
    now.config.shown().into_iter().map(row).collect()
}

pub(super) fn state(pooler: &Pooler) -> Vec<Row> {
    let (paused, suspended) = (pooler.routes.borrow().paused().all, pooler.is_suspended());
    let word = |is: bool| Value::from(if is { "yes" } else { "no" });
    vec![
        vec!["active".into(), word(!paused && !suspended)],
        vec!["paused".into(), word(paused)],
        vec!["suspended".into(), word(suspended)],
    ]
}

pub(super) fn databases(pooler: &Pooler) -> Vec<Row> {
    let now = pooler.current();
    let (views, counts, handles) = (views(pooler), snapshots(pooler), handles(pooler));
    let known = now.config.databases.keys().cloned();
    let used = views.iter().map(|view| view.database.clone());
    let names: BTreeSet<String> = known.chain(used).collect();
    let routes = pooler.routes.borrow();
    let row = |name: String| {
        let options = now.config.effective(&name, "")?;
        let of = |view: &&PoolView| view.database == name;
        let servers: u32 = views
            .iter()
            .filter(of)
            .flat_map(|view| &view.pools)
            .filter_map(|pool| counts.get(pool))
            .map(|one| one.opening + one.idle + one.granted + one.leased)
            .sum();
        let is_here = |handle: &&Arc<ClientHandle>| {
            handle.info.route.as_ref().is_some_and(|route| *route.database == *name)
        };
        let clients = handles.iter().filter(is_here).count();
        let paused = routes.paused().all || routes.paused().databases.contains(&name);
        let disabled = routes.is_disabled(&name);
        let mode = now.config.database(&name).and_then(|entry| entry.pool_mode);
        let mut row = vec![Value::from(name)];
        row.extend(place(&options));
        row.extend([
            limit(options.pool_size),
            Value::count(options.min_pool_size),
            Value::count(options.reserve_pool_size),
            Value::count(options.server_lifetime.as_secs()),
            Value::maybe(mode.map(|mode| mode.as_str())),
            Value::Null,
            limit(options.max_db_connections),
            Value::count(servers),
            limit(options.max_db_client_connections),
            Value::count(clients),
            paused.into(),
            disabled.into(),
        ]);
        Some(row)
    };
    let own = names.iter().take_while(|name| name.as_str() < OWN).count();
    let mut rows: Vec<Row> = names.into_iter().filter_map(row).collect();
    if pooler.common.message_style == MessageStyle::PgBouncer {
        rows.insert(own.min(rows.len()), own_database(pooler));
    }
    rows
}

/// The console as a database, which PgBouncer's tools expect among the others.
fn own_database(pooler: &Pooler) -> Row {
    let options = &pooler.current().config;
    let lifetime = options.timeouts.server_lifetime.as_secs();
    let zero = || Value::count(0);
    vec![
        OWN.into(),
        Value::Null,
        Value::count(options.howdah.listen_port),
        OWN.into(),
        OWN.into(),
        Value::count(2),
        zero(),
        zero(),
        Value::count(lifetime),
        "statement".into(),
        Value::Null,
        zero(),
        zero(),
        zero(),
        Value::count(console_clients(pooler)),
        false.into(),
        false.into(),
    ]
}

/// Host, port, database and forced user.
fn place(options: &EffectiveOptions) -> [Value; 4] {
    let node = options.nodes.first().map(|node| &node.address);
    let host = node.and_then(|node| match &node.host {
        NodeHost::SocketDir(_) => None,
        NodeHost::Ip(ip) => Some(ip.to_string()),
        NodeHost::Name(name) => Some(name.to_string()),
    });
    let user = options.forced_user.then(|| options.server_user.clone());
    let port = node.map_or(Value::Null, |node| Value::count(node.port));
    [Value::maybe(host), port, options.dbname.as_str().into(), Value::maybe(user)]
}

/// The names of nodes, as the control thread knows them.
pub(super) fn dns_hosts(pooler: &Pooler) -> Vec<Row> {
    let row = |(name, left, found): (String, std::time::Duration, Vec<std::net::IpAddr>)| {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        vec![name.into(), Value::count(left.as_secs()), found.join(",").into()]
    };
    pooler.current().context.resolver.known().into_iter().map(row).collect()
}

pub(super) fn users(pooler: &Pooler) -> Vec<Row> {
    let now = pooler.current();
    let (views, counts, handles) = (views(pooler), snapshots(pooler), handles(pooler));
    let used =
        handles.iter().filter_map(|handle| handle.info.route.as_ref()).map(|r| r.user.to_string());
    let names: BTreeSet<String> = now.config.users.keys().cloned().chain(used).collect();
    let row = |name: String| {
        let own = now.config.users.get(&name).cloned().unwrap_or_default();
        let text = |size: Option<String>| Value::from(size.unwrap_or_default());
        let servers: u32 = views
            .iter()
            .filter(|view| view.user == name)
            .flat_map(|view| &view.pools)
            .filter_map(|pool| counts.get(pool))
            .map(|one| one.opening + one.idle + one.granted + one.leased)
            .sum();
        let is_own = |handle: &&Arc<ClientHandle>| {
            handle.info.route.as_ref().is_some_and(|route| *route.user == *name)
        };
        let size = own.pool_size.map(|size| size.map_or(0, std::num::NonZeroU32::get).to_string());
        vec![
            name.as_str().into(),
            text(size),
            text(own.reserve_pool_size.map(|size| size.to_string())),
            Value::maybe(own.pool_mode.map(|mode| mode.as_str())),
            limit(own.max_user_connections.unwrap_or(now.config.pool.max_user_connections)),
            Value::count(servers),
            limit(
                own.max_user_client_connections
                    .unwrap_or(now.config.pool.max_user_client_connections),
            ),
            Value::count(handles.iter().filter(is_own).count()),
        ]
    };
    names.into_iter().map(row).collect()
}

pub(super) fn peers(pooler: &Pooler) -> Vec<Row> {
    let peer = |(number, address): (&u16, &NodeAddress)| {
        let (host, port) = (address.host.to_string(), Value::count(address.port));
        // Each request that is passed on has a connection of its own: there is no pool.
        vec![Value::count(*number), host.into(), port, Value::Null]
    };
    pooler.current().config.peers.iter().map(peer).collect()
}

pub(super) fn peer_pools(pooler: &Pooler) -> Vec<Row> {
    let passed = pooler.cancels.passed_on();
    let peer = |number: &u16| {
        let underway = passed.iter().filter(|to| *to == number).count();
        let (underway, none) = (Value::count(underway), || Value::count(0));
        vec![Value::count(*number), underway.clone(), none(), underway, none()]
    };
    pooler.current().config.peers.keys().map(peer).collect()
}

pub(super) fn lists(pooler: &Pooler) -> Vec<Row> {
    let now = pooler.current();
    let (views, counts) = (views(pooler), snapshots(pooler));
    let logins = pooler.admission.lock().counts().logins;
    let idle: u32 = counts.values().map(|one| one.idle).sum();
    let used: u32 = counts.values().map(|one| one.opening + one.granted + one.leased).sum();
    let resolver = &now.context.resolver;
    let items: [(&str, usize); 15] = [
        ("databases", now.config.databases.len()),
        ("users", now.config.users.len()),
        ("peers", now.config.peers.len()),
        ("pools", views.len()),
        ("peer_pools", now.config.peers.len()),
        // What is free is given back to the system.
        ("free_clients", 0),
        ("used_clients", handles(pooler).len()),
        ("login_clients", logins as usize),
        ("free_servers", idle as usize),
        ("used_servers", used as usize),
        ("dns_names", resolver.known().len()),
        ("dns_zones", 0),
        ("dns_queries", resolver.pending()),
        ("dns_pending", 0),
        ("console_clients", console_clients(pooler)),
    ];
    items.map(|(name, items)| vec![name.into(), Value::count(items)]).into()
}
