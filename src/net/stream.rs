//! One connected socket, plain or TLS, as both sides use it.
//!
//! Owns the socket, the TLS connection and the bytes that could not be written yet. Never keeps a
//! read buffer: callers read into a scratch that belongs to their thread, so an idle connection
//! holds none. Keeps the invariant that bytes leave in the order in which they were written.

use super::socket::Socket;
use super::tls::TlsLayer;
use bytes::{Buf, BytesMut};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tokio::task::coop::has_budget_remaining;

/// A connected socket.
#[derive(Debug)]
pub struct Stream {
    socket: Option<Socket>,
    tls: Option<Box<TlsLayer>>,
    /// Accepted by [`Stream::write`], not yet by the kernel. Empty without an allocation at rest,
    /// and always when there is TLS.
    unsent: BytesMut,
    /// The task that found the socket empty when it read last, and is woken when that changes; zero
    /// for none. See [`Stream::poll_read_plain`].
    awaited_by: usize,
    /// The kernel has said that there is something to read.
    asks_kernel: bool,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket could not be moved to this thread")
}

impl Stream {
    /// Wraps a connected socket.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket: Some(socket),
            tls: None,
            unsent: BytesMut::new(),
            awaited_by: 0,
            asks_kernel: false,
        }
    }

    /// Starts TLS over it; the handshake runs with [`handshake`] or the reads and writes that
    /// follow. What was written before still leaves in the clear.
    ///
    /// The peer's first TLS byte must still be in the socket. A caller that has read beyond
    /// SSLRequest must refuse the connection: an attacker may have inserted those bytes.
    pub fn start_tls(&mut self, connection: rustls::Connection) {
        self.start_direct_tls(connection, Vec::new());
    }

    /// Starts TLS with a client that began with it: `hello` is what was read to find that out.
    pub fn start_direct_tls(&mut self, connection: rustls::Connection, hello: Vec<u8>) {
        let before = std::mem::take(&mut self.unsent);
        self.tls = Some(Box::new(TlsLayer::new(connection, before, hello)));
    }

    /// The TLS connection, when there is one.
    pub fn tls(&self) -> Option<&rustls::Connection> {
        self.tls.as_deref().map(TlsLayer::connection)
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
        self.awaited_by = 0;
        Ok(())
    }

    /// Reads plaintext into `buf`; zero is end of file. Cancel safe.
    ///
    /// An end of the connection without TLS's close_notify is an end of file too, as PostgreSQL
    /// itself ends connections so; in the middle of a record or of the handshake it is an error.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(gone())) };
        match &mut self.tls {
            None => self.poll_read_plain(cx, buf),
            Some(tls) => tls.poll_read(socket, cx, buf),
        }
    }

    /// A session asks both its sockets whenever one of them wakes it. To be told "nothing yet" by
    /// the runtime costs a lock and a waker each time, so it is asked only once: a task that it has
    /// told so stays registered until something comes, and nothing has come while the socket's
    /// readiness, which only a read takes back, is not set. The task's address cannot be another
    /// task's meanwhile: the registration keeps its memory.
    #[inline]
    fn poll_read_plain(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.is_awaited_by(cx) {
            return Poll::Pending;
        }
        let task = cx.waker().data().addr();
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(gone())) };
        let done = socket.poll_read_fresh(cx, buf, &mut self.asks_kernel);
        // Without a budget the runtime says "nothing yet" and registers nothing.
        let registered = done.is_pending() && has_budget_remaining();
        self.awaited_by = if registered { task } else { 0 };
        done
    }

    /// Whether this task has found the socket empty, nothing has come since, and the task is woken when
    /// something does. Never known of a stream with TLS.
    #[inline]
    pub fn is_awaited_by(&self, cx: &Context<'_>) -> bool {
        let Some(socket) = &self.socket else { return false };
        let task = cx.waker().data().addr();
        self.awaited_by == task && !self.asks_kernel && !socket.may_be_readable()
    }

    /// The same as far as anybody can tell: a task without budget is woken anyway, TLS does not say, and
    /// neither does a stream in memory.
    pub fn may_be_awaited_by(&self, cx: &Context<'_>) -> bool {
        let is_silent = self.tls.is_some() || matches!(self.socket, Some(Socket::Memory(_)));
        is_silent || !has_budget_remaining() || self.is_awaited_by(cx)
    }

    /// Writes `bytes`, at once as far as the kernel takes them; the rest is kept and goes first
    /// next time. Callers stop producing while [`Stream::is_blocked`].
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub fn write(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.write(bytes)?;
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
            return tls.send(socket, cx);
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

    /// Whether nothing waits inside: no unsent bytes, no partial record, no unread plaintext, no
    /// unfinished handshake, no end of file seen by TLS. Only then may the connection be parked or
    /// moved: whatever comes next makes the socket readable.
    pub fn is_quiet(&self) -> bool {
        self.unsent.is_empty() && self.tls.as_ref().is_none_or(|tls| tls.is_quiet())
    }

    /// Whether there is anything to read from a quiet stream, its end included. Takes nothing, and
    /// asks the kernel only if the socket's runtime has heard of something; any thread may ask.
    pub fn has_spoken(&self) -> bool {
        self.socket.as_ref().is_none_or(Socket::is_readable)
    }

    /// Whether the kernel has anything to read for a quiet stream, its end included: asked of the
    /// kernel itself, where [`Stream::has_spoken`] and reads rely on what the event loop has heard.
    /// Takes nothing. If there is something, the next reads get it, whatever the event loop knows. A
    /// stream in memory always says yes: a read tells.
    pub fn kernel_has_input(&mut self) -> bool {
        let has_input = self.socket.as_ref().is_none_or(Socket::kernel_has_input);
        match &mut self.tls {
            Some(tls) => tls.set_asks_kernel(has_input),
            None => self.asks_kernel = has_input,
        }
        has_input
    }

    /// Whether the connection must be replaced soon: a TLS 1.2 connection cannot change its keys
    /// and is closed for good after 16.7 million records.
    pub fn is_worn(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_worn())
    }

    /// Sends what waits and closes the sending side, so that the peer reads all of it.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            tls.close();
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

/// Runs the TLS handshake until both sides may send and nothing of it waits; without TLS it sends
/// what waits. Cancel safe: everything is kept in the stream. The caller sets the deadline.
///
/// # Errors
/// When the connection ends or TLS cannot be agreed upon; the source of an
/// [`io::ErrorKind::InvalidData`] is the `rustls` error.
pub async fn handshake(stream: &mut Stream) -> io::Result<()> {
    poll_fn(|cx| {
        if let (Some(tls), Some(socket)) = (&mut stream.tls, &mut stream.socket) {
            return tls.poll_handshake(socket, cx);
        }
        stream.flush(cx)?;
        if stream.is_blocked() { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await
}

#[cfg(test)]
mod tests;
