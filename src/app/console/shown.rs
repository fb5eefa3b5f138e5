//! What SHOW shows, from counters, cards and the pools' own counts.

mod figures;
mod memory;
mod sockets;

use super::super::door::Door;
use super::super::known::PoolView;
use super::insight;
use crate::admin::{HELP, Value, View};
use crate::config::{Applies, EffectiveOptions, Limit};
use crate::net::{NodeAddress, NodeHost};
use crate::pool::PoolSnapshot;
use crate::session::card::Card;
pub(super) use figures::millis;
use figures::{averages, stats, totals};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
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
        View::Version => vec![vec![concat!("howdah ", env!("CARGO_PKG_VERSION")).into()]],
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
    names.into_iter().filter_map(row).collect()
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

/// A moment in UTC, as PgBouncer writes moments.
pub(super) fn moment(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (since / 86_400, since % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Year, month and day of a day since 1970: years begin in March here, so that the leap day is the
/// last of them.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
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
    let logins = door.admission.lock().unwrap_or_else(PoisonError::into_inner).counts().logins;
    let idle: u32 = counts.values().map(|one| one.idle).sum();
    let used: u32 = counts.values().map(|one| one.opening + one.granted + one.leased).sum();
    let resolver = &now.context.resolver;
    let of_console = door.common.clients.len().saturating_sub(cards(door).len());
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
        ("console_clients", of_console),
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
            assert_eq!(moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}
