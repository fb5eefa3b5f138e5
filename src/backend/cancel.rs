//! Cancels what a server runs.
//!
//! Owns the server's key and the count of requests on their way. Keeps the invariant that a server
//! is not given to anybody else before PostgreSQL has closed each connection that carried a cancel
//! request for it: by then the signal has been sent (manual, "Canceling Requests in Progress").

use crate::net::{NodeAddress, Resolver, Stream, TcpOptions, dial};
use crate::wire;
use parking_lot::Mutex;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Waker};

/// Where and how to cancel what one server runs.
#[derive(Debug)]
pub struct CancelTarget {
    address: NodeAddress,
    /// Process id and secret, as in BackendKeyData.
    key: Box<[u8]>,
    in_flight: AtomicU32,
    waiting: Mutex<Option<Waker>>,
}

impl CancelTarget {
    /// Of the server at `address` that sent `key`.
    pub fn new(address: NodeAddress, key: &[u8]) -> Self {
        Self { address, key: key.into(), in_flight: AtomicU32::new(0), waiting: Mutex::new(None) }
    }

    /// The server's process id.
    pub fn process_id(&self) -> u32 {
        self.key.first_chunk().map_or(0, |pid| u32::from_be_bytes(*pid))
    }

    /// Whether a cancel request is on its way.
    #[inline]
    pub fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Whether its session is done with it, and waits until no request is on its way.
    pub fn is_awaited(&self) -> bool {
        let waiting = self.waiting.lock();
        self.is_in_flight() && waiting.is_some()
    }

    /// Begins a request: until the answer is dropped the server is not given away.
    pub fn begin(self: &Arc<Self>) -> CancelInFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        CancelInFlight { target: Arc::clone(self) }
    }

    /// Calls `waker` when no request is on its way any more; false when that is so already.
    pub fn wake_when_clear(&self, waker: &Waker) -> bool {
        let mut waiting = self.waiting.lock();
        if !self.is_in_flight() {
            return false;
        }
        *waiting = Some(waker.clone());
        true
    }
}

/// One cancel request on its way.
#[derive(Debug)]
pub struct CancelInFlight {
    target: Arc<CancelTarget>,
}

impl CancelInFlight {
    /// Sends it and waits until PostgreSQL has closed the connection. Dropping the future gives
    /// up; the caller sets the deadline.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn deliver(self, resolver: &Resolver, options: &TcpOptions) -> io::Result<()> {
        let stream = self.dial(resolver, options).await?;
        self.send(stream).await
    }

    /// The first half of [`CancelInFlight::deliver`]: the connection that is to carry it.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn dial(&self, resolver: &Resolver, options: &TcpOptions) -> io::Result<Stream> {
        dial(&self.target.address, resolver, options).await
    }

    /// The second half.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(self, stream: Stream) -> io::Result<()> {
        send(stream, &self.target.key).await
    }
}

impl Drop for CancelInFlight {
    fn drop(&mut self) {
        let waker = {
            let mut waiting = self.target.waiting.lock();
            let before = self.target.in_flight.fetch_sub(1, Ordering::AcqRel);
            if before == 1 { waiting.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Hands a request for somebody else's server to the process at `address`. Returns when that has
/// closed the connection. Dropping the future gives up; the caller sets the deadline.
///
/// # Errors
/// When the process cannot be reached.
pub async fn pass_cancel_on(
    address: &NodeAddress,
    key: &[u8],
    resolver: &Resolver,
    options: &TcpOptions,
) -> io::Result<()> {
    send(dial(address, resolver, options).await?, key).await
}

async fn send(mut stream: Stream, key: &[u8]) -> io::Result<()> {
    let mut request = Vec::new();
    wire::cancel_request(&mut request, key);
    let mut unsent = true;
    poll_fn(|cx| {
        if unsent {
            stream.write(cx, &request)?;
            unsent = false;
        }
        stream.flush(cx)?;
        let mut answer = [0u8; 64];
        loop {
            match stream.poll_read(cx, &mut answer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}
