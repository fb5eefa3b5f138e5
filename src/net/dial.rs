//! Connects to servers: name resolution, socket options, Unix sockets.

use super::address::{NodeAddress, NodeHost};
use super::socket::Socket;
use super::stream::Stream;
use socket2::{SockRef, TcpKeepalive};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

/// `tcp_…` settings; `None` leaves the system's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TcpOptions {
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
    /// `TCP_KEEPIDLE`, whole seconds.
    pub keepidle: Option<Duration>,
    /// `TCP_KEEPINTVL`, whole seconds.
    pub keepintvl: Option<Duration>,
    /// `TCP_KEEPCNT`.
    pub keepcnt: Option<NonZeroU32>,
    /// `TCP_USER_TIMEOUT`.
    pub user_timeout: Option<Duration>,
}

impl TcpOptions {
    /// Sets them, and `TCP_NODELAY`, on a connected socket.
    ///
    /// # Errors
    /// When the system refuses one.
    pub fn apply(&self, socket: &impl AsFd) -> io::Result<()> {
        let socket = SockRef::from(socket);
        socket.set_tcp_nodelay(true)?;
        if self.keepalive {
            let mut keepalive = TcpKeepalive::new();
            if let Some(idle) = self.keepidle {
                keepalive = keepalive.with_time(idle);
            }
            if let Some(interval) = self.keepintvl {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(count) = self.keepcnt {
                keepalive = keepalive.with_retries(count.get());
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        Ok(())
    }
}

/// Resolves names and remembers the answers for a while. Belongs to one thread.
#[derive(Debug)]
pub struct Resolver {
    ttl: Duration,
    known: RefCell<HashMap<String, (Instant, Vec<IpAddr>)>>,
    pending: Cell<usize>,
}

/// One name that is being resolved.
struct Pending<'a>(&'a Cell<usize>);

impl<'a> Pending<'a> {
    fn begin(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Resolver {
    /// Answers are asked for again after `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, known: RefCell::default(), pending: Cell::default() }
    }

    /// What is known: each name, for how long still, and its addresses; by name.
    pub fn known(&self) -> Vec<(String, Duration, Vec<IpAddr>)> {
        let now = Instant::now();
        let known = self.known.borrow();
        let mut all: Vec<_> = known
            .iter()
            .map(|(name, (at, found))| {
                (name.clone(), self.ttl.saturating_sub(now.duration_since(*at)), found.clone())
            })
            .filter(|(_, left, _)| !left.is_zero())
            .collect();
        all.sort_unstable();
        all
    }

    /// Names that are being resolved.
    pub fn pending(&self) -> usize {
        self.pending.get()
    }

    /// Takes a name as resolved now.
    #[cfg(test)]
    pub(crate) fn set_known(&self, name: &str, addresses: Vec<IpAddr>) {
        self.known.borrow_mut().insert(name.to_owned(), (Instant::now(), addresses));
    }

    /// The addresses of a name, from memory until `ttl` is over. Cancel safe.
    ///
    /// # Errors
    /// Why the name could not be resolved.
    pub async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let now = Instant::now();
        let fresh = |(at, found): &(Instant, Vec<IpAddr>)| {
            (now.duration_since(*at) < self.ttl).then(|| found.clone())
        };
        if let Some(found) = self.known.borrow().get(name).and_then(fresh) {
            return Ok(found);
        }
        let _pending = Pending::begin(&self.pending);
        let found: Vec<IpAddr> =
            tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect();
        let mut known = self.known.borrow_mut();
        // Only names of the configuration come here; what it no longer has goes with its age.
        known.retain(|_, (at, _)| now.duration_since(*at) < self.ttl);
        known.insert(name.to_owned(), (now, found.clone()));
        Ok(found)
    }
}

/// Connects to a server, trying each address of a name in turn. Cancel safe: dropping it closes
/// what it opened. Takes as long as the system takes; the caller sets the deadline.
///
/// # Errors
/// The last address's error, or why the name could not be resolved.
pub async fn dial(
    address: &NodeAddress,
    resolver: &Resolver,
    options: &TcpOptions,
) -> io::Result<Stream> {
    let addresses = match &address.host {
        NodeHost::SocketDir(directory) => {
            let path = directory.join(format!(".s.PGSQL.{}", address.port));
            return Ok(Stream::new(Socket::Unix(UnixStream::connect(path).await?)));
        }
        NodeHost::Ip(ip) => vec![*ip],
        NodeHost::Name(name) => resolver.addresses(name).await?,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for ip in addresses {
        match TcpStream::connect(SocketAddr::new(ip, address.port)).await {
            Ok(socket) => {
                options.apply(&socket)?;
                return Ok(Stream::new(Socket::Tcp(socket)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
