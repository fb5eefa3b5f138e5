//! Pools with real sockets: what a lease is told of servers that end.

use super::*;
use crate::auth::Credential;
use crate::backend::login::{Account, assemble};
use crate::backend::server::Reported;
use crate::backend::server_handle::ServerHandle;
use crate::backend::settings::SettingsTable;
use crate::net::{NodeAddress, NodeHost, Socket, Stream};
use std::io::Read;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::UnixStream;

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

/// A pool, and the far ends of its servers' connections.
struct Stage {
    pools: Arc<Pools>,
    pool: PoolId,
    far: Vec<UnixStream>,
}

impl Stage {
    fn new(pool_size: u32) -> Self {
        let pools = Arc::new(Pools::new(1, 7));
        let key = PoolKey { database: DatabaseId(1), node: NodeId(0), user: UserId(1) };
        let pool = pools.add(key, &PoolOptions { pool_size, ..PoolOptions::default() });
        Self { pools, pool, far: Vec::new() }
    }

    fn ask(&self, place: Option<Place>) -> Outcome {
        let line = Line { pool: self.pool, worker: HERE, is_login: false, place, preferred: None };
        self.pools.checkout(line, None, &no_waker())
    }

    fn wait(&self) -> Waiter {
        let answer = self.ask(None);
        if let Outcome::Waiting(waiter) = answer {
            return waiter;
        }
        panic!("expected to wait: {answer:?}")
    }

    fn take(&self) -> Lease {
        let answer = self.ask(None);
        if let Outcome::Leased(lease) = answer {
            return lease;
        }
        panic!("expected a server: {answer:?}")
    }

    /// Opens what is ordered.
    async fn open(&mut self) {
        for opening in self.pools.openings().await {
            let (near, far) = UnixStream::pair().unwrap();
            let stream = Stream::new(Socket::Unix(near));
            let server = assemble(&account(), stream, Reported::new(), &[0; 8]);
            self.far.push(far);
            let handle = Arc::new(ServerHandle::new(1));
            self.pools.introduce(opening.slot, &handle);
            handle.set_logged_in(&server);
            self.pools.opened(opening.slot, server, HERE);
        }
    }

    /// So many idle servers.
    async fn fill(&mut self, servers: usize) {
        let mut waiters: Vec<_> = (0..servers).map(|_| self.wait()).collect();
        while self.far.len() < servers {
            self.open().await;
        }
        let leases: Vec<_> = waiters.iter_mut().map(served).collect();
        leases.into_iter().for_each(|lease| lease.try_return().unwrap());
    }
}

fn no_waker() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn served(waiter: &mut Waiter) -> Lease {
    let answer = waiter.poll(&mut no_waker());
    if let Poll::Ready(Ok(lease)) = answer {
        return lease;
    }
    panic!("expected a server: {answer:?}")
}

#[tokio::test(start_paused = true)]
async fn servers_that_died_while_the_worker_was_busy_are_all_found_dead_and_the_place_is_kept() {
    let mut stage = Stage::new(10);
    stage.fill(10).await;
    let idle = Duration::from_secs(1);
    tokio::time::advance(idle).await;
    // From here on the worker is busy: its event loop hears of nothing.
    stage.far.clear();
    let mut lease = stage.take();
    assert!(lease.server().is_alive(&mut no_waker()), "as far as the event loop knows");
    let mut dead = 0;
    let mut waiter = loop {
        assert!(!lease.is_alive(&mut no_waker()), "the kernel knows better");
        dead += 1;
        let place = lease.place();
        drop(lease);
        match stage.ask(Some(place)) {
            Outcome::Leased(next) => lease = next,
            Outcome::Waiting(waiter) => break waiter,
            Outcome::Refused(refused) => panic!("{refused:?}"),
        }
    };
    assert_eq!(dead, 10);
    let late = stage.wait();
    stage.open().await;
    let mut lease = served(&mut waiter);
    assert!(lease.is_alive(&mut no_waker()));
    drop((late, lease));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_rested_for_a_moment_only_is_not_asked_about() {
    let mut stage = Stage::new(1);
    stage.fill(1).await;
    tokio::time::advance(KERNEL_ASKED_AFTER - Duration::from_millis(1)).await;
    let mut lease = stage.take();
    assert!(lease.is_alive(&mut no_waker()));
    lease.try_return().unwrap();
    tokio::time::advance(KERNEL_ASKED_AFTER).await;
    stage.far.clear();
    assert!(!stage.take().is_alive(&mut no_waker()));
}

#[tokio::test(start_paused = true)]
async fn idle_servers_of_a_database_that_is_to_be_dropped_are_told_to_end() {
    let mut stage = Stage::new(3);
    let node = account().address;
    stage.pools.set_origin(stage.pool, &node, "app");
    stage.fill(3).await;
    let busy = stage.take();
    assert_eq!(stage.pools.close_idle_servers_of("other", Some(&node)), 0);
    assert_eq!(stage.pools.close_idle_servers_of("app", Some(&node)), 2);
    let mut told = 0;
    for far in &mut stage.far {
        let mut bytes = [0; 8];
        far.writable().await.unwrap();
        match far.try_io(tokio::io::Interest::WRITABLE, || {
            (&*socket2::SockRef::from(&*far)).read(&mut bytes)
        }) {
            Ok(5) => {
                assert_eq!(bytes[..5], *b"X\0\0\0\x04");
                told += 1;
            }
            other => assert!(other.is_err(), "{other:?}"),
        }
    }
    assert_eq!(told, 2);
    busy.try_return().expect("it is at rest");
    assert_eq!(stage.pools.pool_snapshot(stage.pool).expect("a pool").idle, 0, "it is told too");
    tokio::time::advance(Duration::from_secs(7)).await;
    let mut waiter = stage.wait();
    stage.open().await;
    served(&mut waiter).try_return().expect("it is at rest");
    assert_eq!(stage.pools.pool_snapshot(stage.pool).expect("a pool").idle, 1, "it is over");
}
