//! The transport below a stream: TCP, a Unix socket, or memory for tests.

use socket2::SockRef;
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
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
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        let done = match self {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, &mut buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, &mut buf),
            Self::Memory(socket) => Pin::new(socket).poll_read(cx, &mut buf),
        };
        done.map_ok(|()| buf.filled().len())
    }

    /// As [`Socket::poll_read`]; while `asks_kernel`, the kernel is asked first, which may have more
    /// than the event loop has heard of. That ends when the kernel has nothing.
    #[inline]
    pub(super) fn poll_read_fresh(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        asks_kernel: &mut bool,
    ) -> Poll<io::Result<usize>> {
        if *asks_kernel {
            let read = match self {
                Self::Tcp(socket) => (&*SockRef::from(&*socket)).read(buf),
                Self::Unix(socket) => (&*SockRef::from(&*socket)).read(buf),
                Self::Memory(_) => Err(io::ErrorKind::WouldBlock.into()),
            };
            if !read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return Poll::Ready(read);
            }
            *asks_kernel = false;
        }
        self.poll_read(cx, buf)
    }

    /// Asks the kernel whether a read would give anything, its end included. One system call.
    pub(super) fn kernel_has_input(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        // The sockets don't block.
        let peeked = match self {
            Self::Tcp(socket) => SockRef::from(socket).peek(&mut byte),
            Self::Unix(socket) => SockRef::from(socket).peek(&mut byte),
            // Nobody can tell without reading.
            Self::Memory(_) => Ok(0),
        };
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether a read would go as far as the kernel: false only when nothing has come since a read
    /// last came back empty. Costs one atomic load, and wakes nobody later.
    #[inline]
    pub(super) fn may_be_readable(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Memory(_) => true,
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Memory(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    pub(super) fn poll_write_vectored(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Memory(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Memory(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }

    /// Whether a read would give anything, its end included.
    pub(super) fn is_readable(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match self {
            Self::Tcp(socket) => socket
                .try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut byte).map(drop)),
            Self::Unix(socket) => socket
                .try_io(Interest::READABLE, || SockRef::from(socket).peek(&mut byte).map(drop)),
            // Nobody can tell without reading.
            Self::Memory(_) => Ok(()),
        };
        !peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Registers the socket with the runtime of the calling thread.
    pub(super) fn rehomed(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket.into_std()?)?),
            Self::Unix(socket) => Self::Unix(UnixStream::from_std(socket.into_std()?)?),
            memory @ Self::Memory(_) => memory,
        })
    }
}
