//! What SHOW shows, from counters, cards and the pools' own counts.

use super::super::door::Door;
use super::super::routes::PoolView;
use super::insight;
use crate::admin::{HELP, Load, Value, View};
use crate::config::{Applies, EffectiveOptions, Limit};
use crate::metrics::{Distribution, Totals};
use crate::net::{NodeHost, Peer};
use crate::pool::PoolSnapshot;
use crate::session::card::{Card, Doing};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

type Row = Vec<Value>;

/// The rows of a view.
pub(in crate::app) fn rows(door: &Door, view: View) -> Vec<Row> {
    match view {
        View::Capacity => capacity(door),
        View::Clients => clients(door),
        View::Config => config(door),
        View::Databases => databases(door),
        View::Events => insight::events(door),
        View::Help => {
            HELP.iter().map(|(command, text)| vec![(*command).into(), (*text).into()]).collect()
        }
        View::Latency => latency(door),
        View::Lists => lists(door),
        View::Pools => pools(door),
        View::Queries => insight::queries(door),
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
        View::Totals => all_totals(door),
        View::Users => users(door),
        View::Version => vec![vec![concat!("howdah ", env!("CARGO_PKG_VERSION")).into()]],
    }
}

fn limit(limit: Limit) -> Value {
    Value::count(limit.map_or(0, std::num::NonZeroU32::get))
}

fn views(door: &Door) -> Vec<PoolView> {
    let now = door.now();
    door.routes.borrow().pools(&now.config)
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
    let paused = door.routes.borrow().paused().all;
    let word = |is: bool| Value::from(if is { "yes" } else { "no" });
    vec![
        vec!["active".into(), word(!paused)],
        vec!["paused".into(), word(paused)],
        vec!["suspended".into(), word(false)],
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
            .filter_map(|view| counts.get(&view.pool))
            .map(|one| one.opening + one.idle + one.granted + one.leased)
            .sum();
        let is_here = |card: &&Arc<Card>| {
            card.about.route.as_ref().is_some_and(|route| *route.database == *name)
        };
        let clients = cards.iter().filter(is_here).count();
        let paused = routes.paused().all || routes.paused().databases.contains(&name);
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
            false.into(),
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

fn pools(door: &Door) -> Vec<Row> {
    let (counts, cards) = (snapshots(door), cards(door));
    let row = |view: PoolView| {
        let one = counts.get(&view.pool)?;
        let of = |card: &&Arc<Card>| {
            card.about.route.as_ref().is_some_and(|route| route.pool == view.pool)
        };
        let here: Vec<_> = cards.iter().filter(of).collect();
        let waiting = here.iter().filter(|card| card.doing() == Doing::Waiting).count();
        let numbers = [
            here.len() - waiting,
            waiting,
            0,
            0,
            (one.leased + one.granted) as usize,
            0,
            0,
            one.idle as usize,
            0,
            0,
            one.opening as usize,
        ];
        let mut row = vec![view.database.into(), view.user.into()];
        row.extend(numbers.map(Value::count));
        row.extend([
            Value::count(one.oldest_wait / 1_000_000),
            Value::count(one.oldest_wait % 1_000_000),
            view.options.pool_mode.as_str().into(),
            Value::Null,
        ]);
        Some(row)
    };
    views(door).into_iter().filter_map(row).collect()
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

fn clients(door: &Door) -> Vec<Row> {
    let now = door.common.pools.now();
    let row = |card: Arc<Card>| {
        let about = &card.about;
        let route = about.route.as_ref()?;
        let doing = card.doing();
        let waited = if doing == Doing::Waiting { now.since(card.requested()) } else { 0 };
        let ago = Duration::from_micros(now.since(card.requested()));
        let requested = (card.requested().0 > 0)
            .then(|| SystemTime::now().checked_sub(ago).map(moment))
            .flatten();
        let (address, port) = match &about.peer {
            Peer::Tcp(address) => (address.ip().to_string(), Value::count(address.port())),
            Peer::Unix => ("unix".to_owned(), Value::count(0)),
        };
        let state = match doing {
            Doing::Idle => "idle",
            Doing::Waiting => "waiting",
            Doing::Active(_) => "active",
        };
        let server = match doing {
            Doing::Active(pid) => pid.to_string(),
            Doing::Idle | Doing::Waiting => String::new(),
        };
        Some(vec![
            "C".into(),
            (&*route.user).into(),
            (&*route.database).into(),
            if about.replicates { "logical" } else { "none" }.into(),
            state.into(),
            address.into(),
            port,
            Value::Null,
            Value::Null,
            Value::maybe(Some(moment(about.since))),
            Value::maybe(requested),
            Value::count(waited / 1_000_000),
            Value::count(waited % 1_000_000),
            false.into(),
            format!("{:#x}", card.id).into(),
            server.into(),
            Value::Null,
            about.tls.as_deref().unwrap_or_default().into(),
            Value::Null,
            Value::Null,
            Value::count(card.id),
        ])
    };
    cards(door).into_iter().filter_map(row).collect()
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
            .filter_map(|view| counts.get(&view.pool))
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

fn lists(door: &Door) -> Vec<Row> {
    let now = door.now();
    let (views, counts) = (views(door), snapshots(door));
    let logins = door.admission.lock().unwrap_or_else(PoisonError::into_inner).counts().logins;
    let idle: u32 = counts.values().map(|one| one.idle).sum();
    let used: u32 = counts.values().map(|one| one.opening + one.granted + one.leased).sum();
    let items: [(&str, usize); 7] = [
        ("databases", now.config.databases.len()),
        ("users", now.config.users.len()),
        ("pools", views.len()),
        ("used_clients", cards(door).len()),
        ("login_clients", logins as usize),
        ("free_servers", idle as usize),
        ("used_servers", used as usize),
    ];
    items.map(|(name, items)| vec![name.into(), Value::count(items)]).into()
}

/// A row for each database, from its totals and those of the last period.
fn stats(door: &Door, row: impl Fn(&str, &Totals, (&Totals, u64)) -> Row) -> Vec<Row> {
    let totals: BTreeMap<_, _> = door.routes.borrow().by_database().into_iter().collect();
    let (period, none) = (door.period.borrow(), Totals::default());
    let seconds = period.length.as_secs().max(1);
    let one = |(name, all): (&String, &Totals)| {
        row(name, all, (period.databases.get(name).unwrap_or(&none), seconds))
    };
    totals.iter().map(one).collect()
}

fn totals(all: &Totals) -> [Value; 12] {
    [
        all.assignments,
        all.transaction.count(),
        all.query.count(),
        all.received,
        all.sent,
        all.transaction.sum,
        all.query.sum,
        all.wait.sum,
        all.client_parses,
        all.server_parses,
        all.binds,
        all.logins,
    ]
    .map(Value::count)
}

fn averages((happened, seconds): (&Totals, u64)) -> [Value; 12] {
    [
        happened.assignments / seconds,
        happened.transaction.count() / seconds,
        happened.query.count() / seconds,
        happened.received / seconds,
        happened.sent / seconds,
        happened.transaction.mean(),
        happened.query.mean(),
        happened.wait.mean(),
        happened.client_parses / seconds,
        happened.server_parses / seconds,
        happened.binds / seconds,
        happened.logins / seconds,
    ]
    .map(Value::count)
}

fn all_totals(door: &Door) -> Vec<Row> {
    const NAMES: [&str; 12] = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_bytes",
        "server_bytes",
        "xact_time",
        "query_time",
        "wait_time",
        "ps_client_parse_count",
        "ps_server_parse_count",
        "ps_bind_count",
        "client_login_count",
    ];
    let all = door.routes.borrow().totals();
    let period = door.period.borrow();
    let mut happened = Totals::default();
    period.databases.values().for_each(|one| happened.merge(one));
    let averages = averages((&happened, period.length.as_secs().max(1)));
    let total =
        NAMES.iter().zip(totals(&all)).map(|(name, value)| (format!("total_{name}"), value));
    let average = NAMES.iter().zip(averages).map(|(name, value)| (format!("avg_{name}"), value));
    total.chain(average).map(|(name, value)| vec![name.into(), value]).collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds to be read by people")]
pub(super) fn millis(micros: u64) -> Value {
    Value::Float(micros as f64 / 1000.0)
}

fn latency(door: &Door) -> Vec<Row> {
    let of = |view: &PoolView| {
        let row = |(what, all): (&str, &Distribution)| {
            vec![
                view.database.as_str().into(),
                view.user.as_str().into(),
                what.into(),
                Value::count(all.count()),
                millis(all.quantile(500)),
                millis(all.quantile(950)),
                millis(all.quantile(990)),
                millis(all.max),
            ]
        };
        let Totals { wait, query, transaction, .. } = &view.totals;
        [("wait", wait), ("query", query), ("transaction", transaction)].map(row)
    };
    views(door).iter().flat_map(of).collect()
}

/// Longest p99 of waits that a recommended size allows, in seconds.
const TARGET: f64 = 0.001;

#[expect(clippy::cast_precision_loss, reason = "rates and times to be read by people")]
fn capacity(door: &Door) -> Vec<Row> {
    let period = door.period.borrow();
    let seconds = period.length.as_secs_f64().max(1.0);
    let row = |view: PoolView| {
        let happened = period.pools.get(&view.pool)?;
        let size = view.options.pool_size.map_or(u32::MAX, std::num::NonZeroU32::get);
        let load = Load {
            arrivals: happened.assignments as f64 / seconds,
            service: happened.transaction.mean() as f64 / 1e6,
        };
        let predicted = |quantile| Value::Float(load.wait(size, quantile) * 1000.0);
        Some(vec![
            view.database.into(),
            view.user.into(),
            Value::Float(load.arrivals),
            Value::Float(load.service * 1000.0),
            Value::Float(load.offered()),
            Value::count(size),
            Value::Float(load.utilisation(size)),
            millis(happened.wait.quantile(500)),
            millis(happened.wait.quantile(990)),
            predicted(0.5),
            predicted(0.99),
            Value::count(load.size_for(TARGET)),
        ])
    };
    views(door).into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
