//! Where clients come in: TCP addresses and a Unix socket.

use super::dial::TcpOptions;
use super::socket::Socket;
use super::stream::Stream;
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Type};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// How long accepting rests when the process is out of descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// How listeners are opened.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// Backlog of listen(2).
    pub backlog: u32,
    /// Several processes may share the port.
    pub reuse_port: bool,
    /// Options of accepted connections.
    pub tcp: TcpOptions,
}

/// One open door.
#[derive(Debug)]
pub enum Listener {
    /// A TCP address.
    Tcp(TcpListener, TcpOptions),
    /// A Unix socket, removed with its listener if that has made it.
    Unix(UnixListener, Option<PathBuf>),
}

/// Where a client comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Its address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Listener {
    /// Listens on a TCP address. Must be called on the runtime that accepts.
    ///
    /// # Errors
    /// What the system says.
    pub fn tcp(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        Ok(Self::Tcp(TcpListener::from_std(socket.into())?, options.tcp))
    }

    /// Listens on a Unix socket that belongs to `group` (by number; `None` is the process's own)
    /// and has these permission bits, in the place of one that nobody listens on any more.
    ///
    /// # Errors
    /// What the system says; `AddrInUse` when somebody listens there.
    pub fn unix(path: &Path, mode: u32, group: Option<u32>, backlog: u32) -> io::Result<Self> {
        if path.exists() {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            std::fs::remove_file(path)?;
        }
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        if group.is_some() {
            std::os::unix::fs::chown(path, None, group)?;
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let listener = std::os::unix::net::UnixListener::from(socket);
        Ok(Self::Unix(UnixListener::from_std(listener)?, Some(path.to_owned())))
    }

    /// Takes over a TCP socket that listens already.
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited_tcp(listener: std::net::TcpListener, options: TcpOptions) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(TcpListener::from_std(listener)?, options))
    }

    /// Takes over a Unix socket that listens already. The process that made the file removes it.
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(UnixListener::from_std(listener)?, None))
    }

    /// Lets nobody new in, while those who are about to be connected still are: the kernel drops
    /// the packets that open a connection, clients send them again a second later, and then they
    /// reach another process on the port. Without this, the kernel resets connections that are not
    /// accepted when the listener is closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn turn_away(&self) -> io::Result<()> {
        // In a TCP header, the flags, and the one that all packets but the first have.
        let (flags, ack) = (13, 0x10);
        // Load a byte; jump if a bit is set; return so many bytes of the packet.
        let (load, jump_if_set, keep) = (0x30, 0x45, 0x06);
        let Self::Tcp(listener, _) = self else { return Ok(()) };
        SockRef::from(listener).attach_filter(&[
            SockFilter::new(load, 0, 0, flags),
            SockFilter::new(jump_if_set, 0, 1, ack),
            SockFilter::new(keep, 0, 0, u32::MAX),
            SockFilter::new(keep, 0, 0, 0),
        ])
    }

    /// The next client. Errors that concern one connection, or that pass, are waited out: a
    /// listener never ends by itself. Cancel safe.
    pub async fn accept(&self) -> (Stream, Peer) {
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    let one_connection = matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::InvalidInput
                    );
                    if !one_connection {
                        tracing::error!("cannot accept connections for the moment: {error}");
                        tokio::time::sleep(EXHAUSTED).await;
                    }
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener, options) => {
                let (socket, address) = listener.accept().await?;
                options.apply(&socket)?;
                Ok((Stream::new(Socket::Tcp(socket)), Peer::Tcp(address)))
            }
            Self::Unix(listener, _) => {
                let (socket, _) = listener.accept().await?;
                Ok((Stream::new(Socket::Unix(socket)), Peer::Unix))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, Some(path)) = self {
            // Gone already is as good.
            drop(std::fs::remove_file(path));
        }
    }
}
