//! A client that speaks raw protocol over a blocking socket.
//!
//! It adds nothing and hides nothing: what it sends are the caller's bytes, what it gives back are
//! frames. Every read has a deadline, so that a silent server fails a test instead of hanging it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use postgres_protocol::authentication::{md5_hash, sasl};
use tokio::time::Instant;

use super::messages::{self, PROTOCOL_3_0};
use super::transcript::{Frame, brief, escape};
use super::{PATIENCE, deadline};

const AUTHENTICATION_OK: u32 = 0;
const AUTHENTICATION_CLEARTEXT: u32 = 3;
const AUTHENTICATION_MD5: u32 = 5;
const AUTHENTICATION_SASL: u32 = 10;
const AUTHENTICATION_SASL_CONTINUE: u32 = 11;
const AUTHENTICATION_SASL_FINAL: u32 = 12;

/// What a read came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A whole message.
    Frame(Frame),
    /// The server closed the connection, orderly or not.
    Closed,
    /// Nothing (more) came before the deadline.
    Silence,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    inbox: Vec<u8>,
    consumed: usize,
    closed: bool,
    key: Option<Vec<u8>>,
}

impl Socket {
    fn set_blocking(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(timeout.is_none())?;
                socket.set_read_timeout(timeout)
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(timeout.is_none())?;
                socket.set_read_timeout(timeout)
            }
            // The TLS layer needs whole writes: what tests send through it is short.
            Self::Tls(stream) => {
                stream.sock.set_nonblocking(false)?;
                stream.sock.set_read_timeout(timeout.or(Some(PATIENCE)))
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Unix(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }
}

impl Wire {
    /// Opens a TCP connection and sends nothing.
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)
            .expect("a listener at the address under test");
        socket.set_nodelay(true).expect("a TCP option");
        Self::over(Socket::Tcp(socket))
    }

    /// Opens a Unix connection and sends nothing.
    pub(crate) fn unix(path: &Path) -> Self {
        let socket = UnixStream::connect(path).expect("a listener at the path under test");
        Self::over(Socket::Unix(socket))
    }

    /// Encrypts a TCP connection whose server has just agreed to it.
    pub(crate) fn encrypt(self, connection: rustls::ClientConnection) -> Self {
        let Socket::Tcp(socket) = self.socket else { unreachable!("TLS is spoken over TCP") };
        Self::over(Socket::Tls(Box::new(rustls::StreamOwned::new(connection, socket))))
    }

    fn over(socket: Socket) -> Self {
        Self { socket, inbox: Vec::new(), consumed: 0, closed: false, key: None }
    }

    /// A TCP connection that is logged in, without a password, and idle.
    pub(crate) fn login(address: SocketAddr, user: &str, database: &str) -> Self {
        let mut wire = Self::tcp(address);
        let parameters = [("user", user), ("database", database)];
        let frames = wire.start(&parameters, "");
        let ready = frames.last().is_some_and(|frame| frame.tag == b'Z');
        assert!(ready, "{user} cannot log in to {database}: {}", lines(&frames));
        wire
    }

    /// Sends a startup packet and does the authentication that is asked for. Gives every frame up
    /// to ReadyForQuery, or up to the error that ended it.
    pub(crate) fn start(&mut self, parameters: &[(&str, &str)], password: &str) -> Vec<Frame> {
        self.send(&messages::startup(PROTOCOL_3_0, parameters));
        let user = parameters.iter().find(|(name, _)| *name == "user").map_or("", |pair| pair.1);
        let mut frames = Vec::new();
        let mut scram = None;
        while let Received::Frame(frame) = self.next(deadline()) {
            let request = frame.tag == b'R';
            let done = matches!(frame.tag, b'Z' | b'E');
            if request {
                self.authenticate(&frame.body, (user, password), &mut scram);
            }
            frames.push(frame);
            if done {
                break;
            }
        }
        frames
    }

    fn authenticate(
        &mut self,
        body: &[u8],
        (user, password): (&str, &str),
        scram: &mut Option<sasl::ScramSha256>,
    ) {
        let (kind, rest) = body.split_at(4);
        let answer = match u32::from_be_bytes(kind.try_into().expect("four bytes")) {
            AUTHENTICATION_OK => return,
            AUTHENTICATION_CLEARTEXT => zero_terminated(password.as_bytes()),
            AUTHENTICATION_MD5 => {
                let salt = rest.try_into().expect("a salt of four bytes");
                zero_terminated(md5_hash(user.as_bytes(), password.as_bytes(), salt).as_bytes())
            }
            AUTHENTICATION_SASL => {
                let binding = sasl::ChannelBinding::unsupported();
                let exchange = sasl::ScramSha256::new(password.as_bytes(), binding);
                let mut answer = zero_terminated(sasl::SCRAM_SHA_256.as_bytes());
                let first = exchange.message();
                answer.extend(i32::try_from(first.len()).expect("short").to_be_bytes());
                answer.extend(first);
                *scram = Some(exchange);
                answer
            }
            AUTHENTICATION_SASL_CONTINUE => {
                let exchange = scram.as_mut().expect("SASL has begun");
                exchange.update(rest).expect("a valid server-first-message");
                exchange.message().to_vec()
            }
            AUTHENTICATION_SASL_FINAL => {
                let exchange = scram.as_mut().expect("SASL has begun");
                exchange.finish(rest).expect("a server that knows the password too");
                return;
            }
            other => unreachable!("no test asks for authentication method {other}"),
        };
        self.send(&messages::password(&answer));
    }

    /// Sends all of `bytes`. What the server sends meanwhile is kept for later reads, so that two
    /// full socket buffers cannot block the test. Bytes for a closed connection are dropped.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let end = deadline();
        let mut rest = bytes;
        while !rest.is_empty() && !self.closed {
            self.socket.set_blocking(None).expect("a socket option");
            match self.socket.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.fill(Instant::now() + Duration::from_millis(20));
                    assert!(Instant::now() < end, "the server stopped reading what the test sends");
                }
                // The read that follows tells what the server said before it closed.
                Err(_) => return,
            }
        }
    }

    /// Sends each chunk of `bytes` by its own write, so that it tends to be its own segment.
    pub(crate) fn send_chunks<'a>(&mut self, chunks: impl Iterator<Item = &'a [u8]>) {
        for chunk in chunks {
            self.send(chunk);
            std::thread::yield_now();
        }
    }

    /// Reads once. False: nothing came before the deadline.
    fn fill(&mut self, deadline: Instant) -> bool {
        let mut buffer = [0; 65_536];
        loop {
            // A time-out of zero would mean none at all.
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            self.socket.set_blocking(Some(left)).expect("a socket option");
            match self.socket.read(&mut buffer) {
                Ok(0) => self.closed = true,
                Ok(count) => {
                    self.inbox.drain(..self.consumed);
                    self.consumed = 0;
                    self.inbox.extend(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return false;
                }
                // A reset: the other side closed while bytes of ours were under way.
                Err(_) => self.closed = true,
            }
            return true;
        }
    }

    /// The next message.
    pub(crate) fn next(&mut self, deadline: Instant) -> Received {
        loop {
            if let Some(frame) = self.take_frame() {
                if frame.tag == b'K' {
                    self.key = Some(frame.body.clone());
                }
                return Received::Frame(frame);
            }
            if self.closed {
                return Received::Closed;
            }
            if !self.fill(deadline) {
                return Received::Silence;
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let waiting = &self.inbox[self.consumed..];
        let length = u32::from_be_bytes(waiting.get(1..5)?.try_into().ok()?);
        let end = usize::try_from(length).ok()?.checked_add(1)?;
        let body = waiting.get(5..end)?.to_vec();
        let tag = waiting[0];
        self.consumed += end;
        Some(Frame { tag, body })
    }

    /// Exactly `count` bytes that are no message, as in the answer to SSLRequest; fewer if the
    /// connection is closed or silent before.
    pub(crate) fn raw(&mut self, count: usize, deadline: Instant) -> Vec<u8> {
        while self.inbox.len() - self.consumed < count && !self.closed {
            if !self.fill(deadline) {
                break;
            }
        }
        let end = self.inbox.len().min(self.consumed + count);
        let bytes = self.inbox[self.consumed..end].to_vec();
        self.consumed = end;
        bytes
    }

    /// Bytes that have come but are no whole message yet.
    pub(crate) fn leftover(&self) -> &[u8] {
        &self.inbox[self.consumed..]
    }

    /// Every message up to and including the first with `tag`. Silence or the end of the
    /// connection fails the test.
    pub(crate) fn until(&mut self, tag: u8) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let got = self.next(deadline());
            let Received::Frame(frame) = got else {
                let wanted = char::from(tag);
                unreachable!("{got:?} instead of {wanted} after: {}", lines(&frames));
            };
            let found = frame.tag == tag;
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    /// Process id and secret from BackendKeyData, once it was read.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Runs `sql` by a Query and gives all frames of the answer.
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Frame> {
        self.send(&messages::query(sql));
        self.until(b'Z')
    }

    /// Runs `sql`, which must succeed.
    pub(crate) fn run(&mut self, sql: &str) {
        let frames = self.query(sql);
        let failed = frames.iter().any(|frame| frame.tag == b'E');
        assert!(!failed, "{sql}: {}", lines(&frames));
    }

    /// The rows of `sql`, which must succeed; NULL reads as an empty string.
    pub(crate) fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let frames = self.query(sql);
        let failed = frames.iter().any(|frame| frame.tag == b'E');
        assert!(!failed, "{sql}: {}", lines(&frames));
        let text = |value: Option<Vec<u8>>| {
            value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        let rows = frames.iter().filter(|frame| frame.tag == b'D').filter_map(Frame::columns);
        rows.map(|columns| columns.into_iter().map(text).collect()).collect()
    }

    /// Closes the connection in an orderly way, without a Terminate.
    pub(crate) fn disconnect(self) {
        match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Both).ok(),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Both).ok(),
            Socket::Tls(stream) => stream.sock.shutdown(Shutdown::Both).ok(),
        };
    }

    /// Closes the sending side only.
    pub(crate) fn finish_sending(&self) {
        match &self.socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write).ok(),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write).ok(),
            Socket::Tls(stream) => stream.sock.shutdown(Shutdown::Write).ok(),
        };
    }

    /// Breaks a TCP connection by a reset, as a crashed client does. A Unix one just closes.
    pub(crate) fn abort(self) {
        if let Socket::Tcp(socket) = &self.socket {
            let socket = socket2::SockRef::from(socket);
            socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
        }
    }
}

fn zero_terminated(bytes: &[u8]) -> Vec<u8> {
    [bytes, &[0]].concat()
}

/// Frames for an assertion's message.
pub(crate) fn lines(frames: &[Frame]) -> String {
    let lines: Vec<String> = frames.iter().map(Frame::line).collect();
    format!("[{}]\n  {}", brief(frames, false), lines.join("\n  "))
}

/// Bytes for an assertion's message.
pub(crate) fn printable(bytes: &[u8]) -> String {
    escape(bytes)
}
