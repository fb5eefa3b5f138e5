//! Nodes whose names move to other addresses.
//!
//! Resolves the names of nodes again when their answers have grown old, and retires the servers at
//! addresses that a name no longer has. A name that cannot be resolved keeps its servers.

use super::known_pools::PoolsByName;
use super::pooler::Pooler;
use crate::net::Resolver;
use crate::pool::Pools;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, timeout};

/// How often the names are looked at; they are resolved when `dns_max_ttl` is over.
const LOOK: Duration = Duration::from_secs(1);
/// Longest wait for one answer: names are resolved one after the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// Follows the names for as long as the process runs.
pub(super) async fn follow_names(pooler: Rc<Pooler>) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = HashMap::new();
    loop {
        tick.tick().await;
        let named = pooler.routes.borrow().pools_by_name();
        retire_moved(&pooler.current().context.resolver, &pooler.common.pools, named, &mut seen)
            .await;
    }
}

/// Retires the servers of these pools that are at addresses which their names no longer have. How many
/// were closed now. `seen`: the addresses that each name had before.
async fn retire_moved(
    resolver: &Resolver,
    pools: &Pools,
    mut named: PoolsByName,
    seen: &mut HashMap<String, Arc<[IpAddr]>>,
) -> usize {
    named.values_mut().for_each(|its| its.retain(|pool| !pools.is_unused(*pool)));
    named.retain(|_, its| !its.is_empty());
    seen.retain(|name, _| named.contains_key(name));
    let mut current = HashMap::new();
    for (name, its) in named {
        // Without an answer nothing is known about the servers.
        let Ok(Ok(mut found)) = timeout(PATIENCE, resolver.addresses(&name)).await else {
            continue;
        };
        if found.is_empty() {
            continue;
        }
        found.sort_unstable();
        let found: Arc<[IpAddr]> = found.into();
        current.extend(its.into_iter().map(|pool| (pool, Arc::clone(&found))));
        let before = seen.insert(name.clone(), Arc::clone(&found));
        if before.is_some_and(|before| before != found) {
            tracing::info!("{name} has other addresses: servers at others are closed when free");
        }
    }
    if current.is_empty() { 0 } else { pools.retire_moved(&current) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credential;
    use crate::backend::login::{Account, assemble};
    use crate::backend::server::Reported;
    use crate::backend::server_handle::ServerHandle;
    use crate::backend::settings::SettingsTable;
    use crate::net::{NodeAddress, NodeHost, Socket, Stream};
    use crate::pool::{
        DatabaseId, Line, NodeId, Outcome, PoolId, PoolKey, PoolOptions, UserId, WorkerId,
    };
    use std::task::{Context, Poll, Waker};
    use tokio::net::{TcpListener, TcpStream};

    const HERE: WorkerId = WorkerId(0);

    fn account() -> Account {
        Account {
            address: NodeAddress { host: NodeHost::Name("db".to_owned()), port: 5432 },
            user: "rider".into(),
            dbname: "app".into(),
            credential: Credential::None.into(),
            connect_query: None,
            neutral: SettingsTable::default().intern([]),
            reported_parameters: Default::default(),
            replaced: tokio::sync::Notify::new(),
        }
    }

    /// A pool with one idle server at 127.0.0.1, and its far end.
    async fn pool_of_one() -> (Arc<Pools>, PoolId, TcpStream) {
        let pools = Arc::new(Pools::new(1, 7));
        let key = PoolKey { database: DatabaseId(1), node: NodeId(0), user: UserId(1) };
        let pool = pools.add(key, &PoolOptions::default());
        let line = Line { pool, worker: HERE, is_login: false, place: None, preferred: None };
        let mut cx = Context::from_waker(Waker::noop());
        let Outcome::Waiting(mut waiter) = pools.checkout(line, None, &cx) else {
            panic!("there is no server yet")
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let far = listener.accept().await.unwrap().0;
        let slot = pools.openings().await[0].slot;
        let stream = Stream::new(Socket::Tcp(near));
        let server = assemble(&account(), stream, Reported::new(), &[0; 8]);
        let handle = Arc::new(ServerHandle::new(1));
        pools.introduce(slot, &handle);
        handle.set_logged_in(&server);
        pools.opened(slot, server, HERE);
        let Poll::Ready(Ok(lease)) = waiter.poll(&mut cx) else { panic!("it is opened") };
        lease.try_return().unwrap();
        (pools, pool, far)
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn servers_at_an_address_that_the_name_no_longer_has_are_closed() {
        let (pools, pool, _far) = pool_of_one().await;
        let resolver = Resolver::new(Duration::from_secs(3600));
        let mut seen = HashMap::new();
        let named = || PoolsByName::from([("db".to_owned(), vec![pool])]);
        resolver.set_known("db", addresses(&["127.0.0.2", "127.0.0.1"]));
        assert_eq!(retire_moved(&resolver, &pools, named(), &mut seen).await, 0, "still listed");
        resolver.set_known("db", addresses(&[]));
        assert_eq!(retire_moved(&resolver, &pools, named(), &mut seen).await, 0, "no answer");
        resolver.set_known("db", addresses(&["127.0.0.2"]));
        resolver.set_known("other", addresses(&["127.0.0.1"]));
        let others = PoolsByName::from([("other".to_owned(), vec![pool])]);
        assert_eq!(retire_moved(&resolver, &pools, others, &mut seen).await, 0, "another name");
        assert_eq!(retire_moved(&resolver, &pools, named(), &mut seen).await, 1);
        assert!(pools.is_unused(pool));
        assert_eq!(retire_moved(&resolver, &pools, named(), &mut seen).await, 0);
        assert!(seen.is_empty(), "names without servers are forgotten");
    }
}
