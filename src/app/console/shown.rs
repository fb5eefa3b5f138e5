//! What SHOW shows, from counters, cards and the pools' own counts.

mod figures;
mod memory;
mod sockets;

use super::super::door::Door;
use super::super::known::PoolView;
use super::super::version;
use super::insight;
use crate::admin::{HELP, Value, View};
use crate::config::{Applies, EffectiveOptions, Limit};
use crate::fault::Words;
use crate::net::{NodeAddress, NodeHost};
use crate::pool::PoolSnapshot;
use crate::session::card::Card;
pub(super) use figures::millis;
use figures::{averages, stats, totals};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

type Row = Vec<Value>;

/// The rows of a view.
pub(in crate::app) fn rows(door: &Door, view: View) -> Vec<Row> {
    match view {
        View::ActiveSockets => sockets::sockets(door, true),
        View::Capacity => figures::capacity(door),
        View::Clients => sockets::clients(door),
        View::Config => config(door),
        View::Databases => databases(door),
        View::DnsHosts => dns_hosts(door),
        // Zones are not asked for their serials, and what is refused has no rows.
        View::DnsZones | View::Fds => Vec::new(),
        View::PeerPools => peer_pools(door),
        View::Peers => peers(door),
        View::Events => insight::events(door),
        View::Help => {
            HELP.iter().map(|(command, text)| vec![(*command).into(), (*text).into()]).collect()
        }
        View::Latency => figures::latency(door),
        View::Lists => lists(door),
        View::Mem => memory::rows(door),
        View::Pools => sockets::pools(door),
        View::Queries => insight::queries(door),
        View::Servers => sockets::servers(door),
        View::Sockets => sockets::sockets(door, false),
        View::State => state(door),
        View::Stats => stats(door, |name, all, period| {
            let mut row = vec![name.into()];
            row.extend(totals(all));
            row.extend(averages(period));
            row
        }),
        View::StatsAverages => stats(door, |name, _, period| {
            std::iter::once(name.into()).chain(averages(period)).collect()
        }),
        View::StatsTotals => {
            stats(door, |name, all, _| std::iter::once(name.into()).chain(totals(all)).collect())
        }
        View::Totals => figures::all_totals(door),
        View::Users => users(door),
        View::Version => {
            vec![vec![door.common.words.choose(version::HOWDAH, version::PGBOUNCER).into()]]
        }
    }
}

fn limit(limit: Limit) -> Value {
    Value::count(limit.map_or(0, std::num::NonZeroU32::get))
}

fn views(door: &Door) -> Vec<PoolView> {
    door.routes.borrow().pools()
}

pub(in crate::app) fn snapshots(door: &Door) -> HashMap<crate::pool::PoolId, PoolSnapshot> {
    door.common.pools.snapshot().into_iter().map(|one| (one.pool, one)).collect()
}

/// The clients of databases; those of the console are not among them.
pub(in crate::app) fn cards(door: &Door) -> Vec<Arc<Card>> {
    let mut all = door.common.clients.list();
    all.retain(|card| card.about.route.is_some());
    all
}

fn config(door: &Door) -> Vec<Row> {
    let now = door.now();
    let row = |shown: crate::config::ShownSetting| {
        let changeable = if shown.applies == Applies::Restart { "no" } else { "yes" };
        vec![shown.name.into(), shown.value.into(), shown.default.into(), changeable.into()]
    };
    now.config.shown().into_iter().map(row).collect()
}

fn state(door: &Door) -> Vec<Row> {
    let (paused, suspended) = (door.routes.borrow().paused().all, door.is_suspended());
    let word = |is: bool| Value::from(if is { "yes" } else { "no" });
    vec![
        vec!["active".into(), word(!paused && !suspended)],
        vec!["paused".into(), word(paused)],
        vec!["suspended".into(), word(suspended)],
    ]
}

fn databases(door: &Door) -> Vec<Row> {
    let now = door.now();
    let (views, counts, cards) = (views(door), snapshots(door), cards(door));
    let known = now.config.databases.keys().cloned();
    let used = views.iter().map(|view| view.database.clone());
    let names: BTreeSet<String> = known.chain(used).collect();
    let routes = door.routes.borrow();
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
        let is_here = |card: &&Arc<Card>| {
            card.about.route.as_ref().is_some_and(|route| *route.database == *name)
        };
        let clients = cards.iter().filter(is_here).count();
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
    if door.common.words == Words::PgBouncer {
        rows.insert(own.min(rows.len()), own_database(door));
    }
    rows
}

/// What PgBouncer calls the database of its console.
const OWN: &str = "pgbouncer";

/// The console as a database, which PgBouncer's tools expect among the others.
fn own_database(door: &Door) -> Row {
    let options = &door.now().config;
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
        Value::count(of_console(door)),
        false.into(),
        false.into(),
    ]
}

/// How many clients the console has.
fn of_console(door: &Door) -> usize {
    door.common.clients.len().saturating_sub(cards(door).len())
}

/// The console as a pool.
fn own_pool(door: &Door) -> Row {
    let mut row = vec![OWN.into(), OWN.into(), Value::count(of_console(door))];
    row.extend((0..12).map(|_| Value::count(0)));
    row.extend(["statement".into(), Value::Null]);
    row
}

/// Host, port, database and forced user.
fn place(options: &EffectiveOptions) -> [Value; 4] {
    let node = options.nodes.first();
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
fn dns_hosts(door: &Door) -> Vec<Row> {
    let row = |(name, left, found): (String, std::time::Duration, Vec<std::net::IpAddr>)| {
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        vec![name.into(), Value::count(left.as_secs()), found.join(",").into()]
    };
    door.now().context.resolver.known().into_iter().map(row).collect()
}

/// A moment, as PgBouncer writes moments: in the time zone of the system.
pub(super) fn moment(time: SystemTime) -> String {
    moment_in(time, TimeZone::system())
}

fn moment_in(time: SystemTime, zone: TimeZone) -> String {
    let moment = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned_datetime(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

fn users(door: &Door) -> Vec<Row> {
    let now = door.now();
    let (views, counts, cards) = (views(door), snapshots(door), cards(door));
    let used =
        cards.iter().filter_map(|card| card.about.route.as_ref()).map(|r| r.user.to_string());
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
        let is_own =
            |card: &&Arc<Card>| card.about.route.as_ref().is_some_and(|route| *route.user == *name);
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
            Value::count(cards.iter().filter(is_own).count()),
        ]
    };
    names.into_iter().map(row).collect()
}

fn peers(door: &Door) -> Vec<Row> {
    let peer = |(number, address): (&u16, &NodeAddress)| {
        let (host, port) = (address.host.to_string(), Value::count(address.port));
        // Each request that is passed on has a connection of its own: there is no pool.
        vec![Value::count(*number), host.into(), port, Value::Null]
    };
    door.now().config.peers.iter().map(peer).collect()
}

fn peer_pools(door: &Door) -> Vec<Row> {
    let passed = door.cancels.passed_on();
    let peer = |number: &u16| {
        let underway = passed.iter().filter(|to| *to == number).count();
        let (underway, none) = (Value::count(underway), || Value::count(0));
        vec![Value::count(*number), underway.clone(), none(), underway, none()]
    };
    door.now().config.peers.keys().map(peer).collect()
}

fn lists(door: &Door) -> Vec<Row> {
    let now = door.now();
    let (views, counts) = (views(door), snapshots(door));
    let logins = door.admission.lock().counts().logins;
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
        ("used_clients", cards(door).len()),
        ("login_clients", logins as usize),
        ("free_servers", idle as usize),
        ("used_servers", used as usize),
        ("dns_names", resolver.known().len()),
        ("dns_zones", 0),
        ("dns_queries", resolver.pending()),
        ("dns_pending", 0),
        ("console_clients", of_console(door)),
    ];
    items.map(|(name, items)| vec![name.into(), Value::count(items)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_calendar_days() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(moment_in(time, TimeZone::UTC), text);
        }
    }
}
