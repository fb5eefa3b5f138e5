//! The rows of each view.

use super::inputs::Row;
use super::{advice, figures, lists, memory, nodes, queries_and_events, sockets};
use crate::admin::{HELP, View};
use crate::app::pooler::Pooler;
use crate::app::version;
use figures::{averages, stats, totals};

/// The rows of a view.
pub(in crate::app) fn rows(pooler: &Pooler, view: View) -> Vec<Row> {
    match view {
        View::ActiveSockets => sockets::sockets(pooler, true),
        View::Advice => advice::rows(pooler, false),
        View::AdviceByCalls => advice::rows(pooler, true),
        View::Capacity => figures::capacity(pooler),
        View::Clients => sockets::clients(pooler),
        View::Config => lists::config(pooler),
        View::Databases => lists::databases(pooler),
        View::DnsHosts => lists::dns_hosts(pooler),
        // Zones are not asked for their serials, and what is refused has no rows.
        View::DnsZones | View::Fds => Vec::new(),
        View::PeerPools => lists::peer_pools(pooler),
        View::Peers => lists::peers(pooler),
        View::Events => queries_and_events::events(pooler),
        View::Failovers => nodes::failovers(pooler),
        View::Nodes => nodes::rows(pooler),
        View::Help => {
            HELP.iter().map(|(command, text)| vec![(*command).into(), (*text).into()]).collect()
        }
        View::Latency => figures::latency(pooler),
        View::Lists => lists::lists(pooler),
        View::Mem => memory::rows(pooler),
        View::Pools => sockets::pools(pooler),
        View::Queries => queries_and_events::queries(pooler),
        View::Routes => nodes::routes(pooler),
        View::Servers => sockets::servers(pooler),
        View::Sockets => sockets::sockets(pooler, false),
        View::State => lists::state(pooler),
        View::Stats => stats(pooler, |name, all, period| {
            let mut row = vec![name.into()];
            row.extend(totals(all));
            row.extend(averages(period));
            row
        }),
        View::StatsAverages => stats(pooler, |name, _, period| {
            std::iter::once(name.into()).chain(averages(period)).collect()
        }),
        View::StatsTotals => {
            stats(pooler, |name, all, _| std::iter::once(name.into()).chain(totals(all)).collect())
        }
        View::Totals => figures::all_totals(pooler),
        View::Users => lists::users(pooler),
        View::Version => {
            vec![vec![
                pooler.common.message_style.choose(version::HOWDAH, version::PGBOUNCER).into(),
            ]]
        }
    }
}
