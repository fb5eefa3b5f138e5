//! One connected socket, plain or TLS, as both sides use it.
//!
//! Owns the socket, the TLS connection and the bytes that could not be written yet. Never keeps a
//! read buffer: callers read into a scratch that belongs to their thread, so an idle connection
//! holds none. Keeps the invariant that bytes leave in the order in which they were written.

use bytes::{Buf, BytesMut};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Bytes of a thread's scratch: what one poll reads at most.
pub const SCRATCH: usize = 64 * 1024;

/// The transport below.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// In memory, for tests.
    Memory(DuplexStream),
}

impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let done = match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, &mut buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, &mut buf),
            Self::Memory(socket) => Pin::new(socket).poll_read(cx, &mut buf),
        };
        done.map_ok(|()| buf.filled().len())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Memory(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Memory(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }

    /// Registers the socket with the runtime of the calling thread.
    fn rehomed(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket.into_std()?)?),
            Self::Unix(socket) => Self::Unix(UnixStream::from_std(socket.into_std()?)?),
            memory @ Self::Memory(_) => memory,
        })
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Stream {
    socket: Option<Socket>,
    tls: Option<Box<rustls::Connection>>,
    /// Accepted by [`Stream::write`], not yet by the kernel. Empty without an allocation at rest.
    unsent: BytesMut,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket could not be moved to this thread")
}

impl Stream {
    /// Wraps a connected socket.
    pub fn new(socket: Socket) -> Self {
        Self { socket: Some(socket), tls: None, unsent: BytesMut::new() }
    }

    /// Starts TLS over it; the handshake runs with the reads and writes that follow.
    pub fn start_tls(&mut self, connection: rustls::Connection) {
        self.tls = Some(Box::new(connection));
    }

    /// The TLS connection, when there is one.
    pub fn tls(&self) -> Option<&rustls::Connection> {
        self.tls.as_deref()
    }

    /// The transport, unless moving it between threads failed.
    pub fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// Moves the socket to the runtime of the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses to register it; the stream is useless then.
    pub fn rehome(&mut self) -> io::Result<()> {
        let socket = self.socket.take().ok_or_else(gone)?;
        self.socket = Some(socket.rehomed()?);
        Ok(())
    }

    /// Reads plaintext into `buf`; zero is end of file. Cancel safe.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(gone())) };
        match &mut self.tls {
            None => socket.poll_read(cx, buf),
            Some(tls) => poll_read_tls(socket, tls, cx, buf),
        }
    }

    /// Writes `bytes`, at once as far as the kernel takes them; the rest is kept and goes first
    /// next time. Callers stop producing while [`Stream::is_blocked`].
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub fn write(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            return self.flush(cx);
        }
        let socket = self.socket.as_mut().ok_or_else(gone)?;
        if self.unsent.is_empty() {
            while !bytes.is_empty() {
                match socket.poll_write(cx, bytes) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(n)) => bytes = bytes.get(n..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        self.unsent.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether bytes wait for the kernel.
    #[inline]
    pub fn is_blocked(&self) -> bool {
        !self.unsent.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Tries to send what waits.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let socket = self.socket.as_mut().ok_or_else(gone)?;
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut Sink { socket, cx }) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        while !self.unsent.is_empty() {
            match socket.poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => self.unsent.advance(n),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        // A large remainder must not stay allocated for the life of the connection.
        self.unsent = BytesMut::new();
        Ok(())
    }

    /// Whether nothing waits inside: no unsent bytes, no partial record, no unread plaintext.
    pub fn is_quiet(&self) -> bool {
        !self.is_blocked() && self.tls.as_ref().is_none_or(|tls| tls.wants_read())
    }

    /// Sends what waits and closes the sending side, so that the peer reads all of it.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush(cx)?;
        if self.is_blocked() {
            return Poll::Pending;
        }
        match &mut self.socket {
            Some(socket) => socket.poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// A blocking writer's view of the socket, for `rustls`.
struct Sink<'a, 'b, 'c> {
    socket: &'a mut Socket,
    cx: &'b mut Context<'c>,
}

impl Write for Sink<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.poll_write(self.cx, bytes) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A blocking reader's view of the socket, for `rustls`.
struct Source<'a, 'b, 'c> {
    socket: &'a mut Socket,
    cx: &'b mut Context<'c>,
}

impl Read for Source<'_, '_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.socket.poll_read(self.cx, buf) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

fn poll_read_tls(
    socket: &mut Socket,
    tls: &mut rustls::Connection,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        match tls.reader().read(buf) {
            Ok(n) => return Poll::Ready(Ok(n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
        match tls.read_tls(&mut Source { socket, cx }) {
            Ok(0) => return Poll::Ready(Ok(0)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
        let state = tls.process_new_packets();
        // An alert or a handshake message may have to go out, above all when this failed.
        while tls.wants_write() {
            if tls.write_tls(&mut Sink { socket, cx }).is_err() {
                break;
            }
        }
        if let Err(error) = state {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
        }
    }
}
