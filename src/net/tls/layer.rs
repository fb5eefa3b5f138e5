//! One TLS connection over a non-blocking socket.
//!
//! Owns the `rustls` state and the few bytes it could not take yet. Reads from the socket into a
//! scratch of the thread, so that an idle connection keeps none. Keeps the invariants that bytes
//! leave in the order in which they were written and that the end of the connection is reported
//! only after everything before it was read.

use super::records::RecordCursor;
use crate::net::socket::{SCRATCH, Socket};
use bytes::{Buf, BytesMut};
use rustls::Connection;
use std::cell::RefCell;
use std::io::{self, IoSlice, Read, Write};
use std::task::{Context, Poll, ready};

/// Bytes asked of the socket at least, however small the caller's buffer is.
const CHUNK: usize = 4096;
/// Writes after which a TLS 1.2 connection is to be replaced. `rustls` closes one whose AES-GCM key
/// has sealed 2^24 records, for TLS 1.2 cannot change keys; this leaves room for a last transaction.
const TLS12_RECORDS: u64 = (1 << 24) - (1 << 20);
const RECORD: usize = 16 * 1024;

thread_local! {
    /// Ciphertext on its way from a socket into `rustls`; borrowed within one poll.
    static CIPHERTEXT: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// How the incoming direction ended.
#[derive(Debug)]
enum End {
    Eof,
    Tls(rustls::Error),
    Io(io::ErrorKind, String),
}

/// A TLS connection and what belongs to it.
#[derive(Debug)]
pub(in crate::net) struct TlsLayer {
    connection: Connection,
    /// Plain bytes accepted before TLS began; they leave first.
    before: BytesMut,
    /// Read from the socket, but the caller's buffer was full.
    undigested: Vec<u8>,
    records: RecordCursor,
    end: Option<End>,
    written_records: u64,
    /// The kernel has said that there is something to read.
    asks_kernel: bool,
}

impl TlsLayer {
    /// `before` was accepted for sending before TLS began, `hello` read from the peer as the
    /// beginning of TLS.
    pub(in crate::net) fn new(
        mut connection: Connection,
        before: BytesMut,
        hello: Vec<u8>,
    ) -> Self {
        // Callers stop producing while the socket is blocked, so what they have produced by then
        // is always taken whole; the default would refuse the rest of a write in its middle.
        connection.set_buffer_limit(None);
        Self {
            connection,
            before,
            undigested: hello,
            records: RecordCursor::default(),
            end: None,
            written_records: 0,
            asks_kernel: false,
        }
    }

    /// Whether the next reads ask the kernel, whatever the event loop has heard.
    pub(in crate::net) fn set_asks_kernel(&mut self, asks_kernel: bool) {
        self.asks_kernel = asks_kernel;
    }

    /// The state of `rustls`.
    pub(in crate::net) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The same, for key updates.
    #[cfg(test)]
    pub(in crate::net) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// As if so many records had been written.
    #[cfg(test)]
    pub(in crate::net) fn pretend_written(&mut self, records: u64) {
        self.written_records = records;
    }

    /// Reads plaintext; zero is end of file, again and again.
    pub(in crate::net) fn poll_read(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send_replies(socket, cx);
        let held = std::mem::take(&mut self.undigested);
        let mut filled = self.digest(&held, buf);
        CIPHERTEXT.with_borrow_mut(|scratch| {
            let mut is_more_likely = true;
            while filled < buf.len() && self.end.is_none() && (filled == 0 || is_more_likely) {
                let room = buf.get_mut(filled..).unwrap_or_default();
                let want = room.len().clamp(CHUNK, scratch.len());
                let scratch = scratch.get_mut(..want).unwrap_or_default();
                let got = socket.poll_read_fresh(cx, scratch, &mut self.asks_kernel);
                let Poll::Ready(got) = got else { break };
                is_more_likely = self.on_read(got, scratch, |this, bytes| {
                    filled += this.digest(bytes, room);
                });
                self.send_replies(socket, cx);
            }
        });
        self.shrink();
        match &self.end {
            _ if filled > 0 => Poll::Ready(Ok(filled)),
            None => Poll::Pending,
            Some(end) => Poll::Ready(end.report()),
        }
    }

    /// Runs the handshake and sends the last of it. Ends before it reads what follows, except for
    /// what came in one piece with the last of the handshake, which the next read gives.
    pub(in crate::net) fn poll_handshake(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            // Failures are left to the reading side: the peer's alert says more than a reset.
            let sent = self.send(socket, cx);
            if !self.connection.is_handshaking() {
                sent?;
                return if self.wants_write() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            if let Some(end) = &self.end {
                return Poll::Ready(end.report().map(|_| ()));
            }
            let held = std::mem::take(&mut self.undigested);
            if !held.is_empty() {
                self.digest_handshake(&held);
                continue;
            }
            let mut chunk = [0; CHUNK];
            let got = ready!(socket.poll_read(cx, &mut chunk));
            self.on_read(got, &chunk, |this, bytes| this.digest_handshake(bytes));
        }
    }

    /// Seals all of `bytes`.
    pub(in crate::net) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written_records += bytes.len().div_ceil(RECORD) as u64;
        self.connection.writer().write_all(bytes)
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(in crate::net) fn send(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let mut sink = Sink { socket, cx };
        while self.wants_write() {
            let sent = if self.before.is_empty() {
                self.connection.write_tls(&mut sink)
            } else {
                sink.write(&self.before).inspect(|n| self.before.advance(*n))
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.before = BytesMut::new();
        Ok(())
    }

    /// Whether bytes wait for the kernel.
    pub(in crate::net) fn wants_write(&self) -> bool {
        !self.before.is_empty() || self.connection.wants_write()
    }

    /// Whether nothing at all waits inside and nothing has ended.
    pub(in crate::net) fn is_quiet(&self) -> bool {
        !self.wants_write()
            && !self.connection.is_handshaking()
            && self.undigested.is_empty()
            && self.records.is_between()
            && self.end.is_none()
            // False while plaintext is unread, and after close_notify.
            && self.connection.wants_read()
    }

    /// Whether the connection nears the end of its keys.
    pub(in crate::net) fn is_worn(&self) -> bool {
        self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_2)
            && self.written_records >= TLS12_RECORDS
    }

    /// Queues close_notify, once.
    pub(in crate::net) fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// What a read of the socket gave. Whether it filled its buffer, so that more is likely there.
    fn on_read(
        &mut self,
        got: io::Result<usize>,
        buf: &[u8],
        digest: impl FnOnce(&mut Self, &[u8]),
    ) -> bool {
        let is_full = matches!(got, Ok(n) if n == buf.len());
        match got {
            Ok(0) => self.end = Some(self.end_of_file()),
            Ok(n) => digest(self, buf.get(..n).unwrap_or_default()),
            Err(error) => self.end = Some(End::Io(error.kind(), error.to_string())),
        }
        is_full
    }

    /// PostgreSQL ends connections without close_notify, and so do many drivers: on a record's
    /// boundary this is an end like any other. Messages carry their lengths, so a cut cannot pass
    /// for a whole answer.
    fn end_of_file(&self) -> End {
        let broken = if self.connection.is_handshaking() {
            "the connection was closed during the TLS handshake"
        } else if !self.records.is_between() {
            "the connection was closed in the middle of a TLS record"
        } else {
            return End::Eof;
        };
        End::Io(io::ErrorKind::UnexpectedEof, broken.to_owned())
    }

    /// Opens `ciphertext` into `buf`; keeps what does not fit. How much plaintext there is.
    fn digest(&mut self, mut ciphertext: &[u8], buf: &mut [u8]) -> usize {
        let mut filled = self.take_plaintext(buf);
        while !ciphertext.is_empty() && self.end.is_none() {
            // `rustls` takes no more while it holds a record's worth of plaintext: never fill it.
            if filled == buf.len() {
                self.undigested.extend_from_slice(ciphertext);
                break;
            }
            self.open(&mut ciphertext);
            filled += self.take_plaintext(buf.get_mut(filled..).unwrap_or_default());
        }
        filled
    }

    fn digest_handshake(&mut self, mut ciphertext: &[u8]) {
        while !ciphertext.is_empty() && self.end.is_none() && self.connection.is_handshaking() {
            self.open(&mut ciphertext);
        }
        self.undigested.extend_from_slice(ciphertext);
    }

    /// Hands `rustls` one mouthful of `ciphertext`.
    fn open(&mut self, ciphertext: &mut &[u8]) {
        let all = *ciphertext;
        match self.connection.read_tls(ciphertext) {
            // After close_notify everything is ignored (RFC 8446 section 6.1).
            Ok(0) => {
                *ciphertext = &[];
                self.end = Some(End::Eof);
                return;
            }
            Ok(n) => self.records.advance(all.get(..n).unwrap_or_default()),
            Err(error) => {
                self.end = Some(End::Io(error.kind(), error.to_string()));
                return;
            }
        }
        if let Err(error) = self.connection.process_new_packets() {
            self.end = Some(End::Tls(error));
        }
    }

    fn take_plaintext(&mut self, buf: &mut [u8]) -> usize {
        if buf.is_empty() {
            return 0;
        }
        match self.connection.reader().read(buf) {
            Ok(0) => {
                // Nothing is left and close_notify was received.
                self.end.get_or_insert(End::Eof);
                0
            }
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                self.end.get_or_insert(End::Io(error.kind(), error.to_string()));
                0
            }
        }
    }

    /// Sends alerts and handshake messages. A failure shows itself where it matters: reading meets
    /// the end of the connection, and before that whatever the peer still had to say.
    fn send_replies(&mut self, socket: &mut Socket, cx: &mut Context<'_>) {
        if self.wants_write() {
            self.send(socket, cx).ok();
        }
    }

    /// `rustls` keeps a buffer of up to 18 KiB after a large record until it reads again.
    fn shrink(&mut self) {
        if self.records.is_between() && self.undigested.is_empty() && self.connection.wants_read() {
            // Always `WouldBlock`: only the preparation of the buffer is wanted.
            self.connection.read_tls(&mut Nothing).ok();
        }
    }
}

impl End {
    fn report(&self) -> io::Result<usize> {
        match self {
            Self::Eof => Ok(0),
            Self::Tls(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())),
            Self::Io(kind, text) => Err(io::Error::new(*kind, text.clone())),
        }
    }
}

/// A socket with nothing to read.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _buf: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// A blocking writer's view of the socket, for `rustls`.
struct Sink<'a, 'b, 'c> {
    socket: &'a mut Socket,
    cx: &'b mut Context<'c>,
}

fn or_would_block(done: Poll<io::Result<usize>>) -> io::Result<usize> {
    match done {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Write for Sink<'_, '_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.socket.poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(self.socket.poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
