//! A stream under partial writes, small buffers, ends of every kind, and TLS.

use super::*;
use crate::net::SCRATCH;
use crate::net::tls::certificates::GOOD;
use crate::net::{ClientSslMode, ClientTls, NodeHost, ServerTls, SslMode};
use std::sync::Arc;
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream, UnixStream};

/// A reproducible stream of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

fn pattern(at: usize) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn no_waker() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

async fn drained(stream: &mut Stream) -> io::Result<()> {
    poll_fn(|cx| {
        stream.flush(cx)?;
        if stream.is_blocked() { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await
}

async fn read(stream: &mut Stream, buf: &mut [u8]) -> io::Result<usize> {
    poll_fn(|cx| stream.poll_read(cx, buf)).await
}

async fn read_exact(stream: &mut Stream, count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    let mut have = 0;
    while have < count {
        let n = read(stream, &mut all[have..]).await.unwrap();
        assert_ne!(n, 0, "ended after {have} of {count}");
        have += n;
    }
    all
}

fn memory(size: usize) -> (Stream, Stream) {
    let (near, far) = duplex(size);
    (Stream::new(Socket::Memory(near)), Stream::new(Socket::Memory(far)))
}

async fn tcp() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Stream::new(Socket::Tcp(near.unwrap())), Stream::new(Socket::Tcp(far.unwrap().0)))
}

fn start(near: &mut Stream, far: &mut Stream) {
    let issued = GOOD.self_signed();
    let clients = ClientTls::new(ClientSslMode::Require, Some(issued.identity())).unwrap();
    let servers = ServerTls::new(SslMode::Require, None, None).unwrap();
    near.start_tls(servers.connection(&NodeHost::Name("db".to_owned())).unwrap());
    far.start_tls(clients.connection().unwrap());
}

async fn secured((mut near, mut far): (Stream, Stream)) -> (Stream, Stream) {
    start(&mut near, &mut far);
    let (a, b) = tokio::join!(handshake(&mut near), handshake(&mut far));
    a.unwrap();
    b.unwrap();
    (near, far)
}

/// Both ends limited to TLS 1.2.
async fn secured_1_2((mut near, mut far): (Stream, Stream)) -> (Stream, Stream) {
    let issued = GOOD.self_signed();
    let servers = ServerTls::new(SslMode::Require, None, None).unwrap();
    near.start_tls(servers.connection(&NodeHost::Name("db".to_owned())).unwrap());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(
        rcgen::KeyPair::from_pem(&issued.key_pem).unwrap().serialize_der(),
    );
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert_der.into()], key.unwrap())
        .unwrap();
    let server = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    far.start_tls(rustls::Connection::Server(server));
    let (a, b) = tokio::join!(handshake(&mut near), handshake(&mut far));
    a.unwrap();
    b.unwrap();
    (near, far)
}

/// Where the protocol can do that.
fn change_keys(stream: &mut Stream) {
    let Some(tls) = &mut stream.tls else { return };
    if tls.connection().protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
        tls.connection_mut().refresh_traffic_keys().unwrap();
    }
}

/// Sends the pattern and reads the peer's at once, in pieces of random size; slowly when told.
/// Keys change now and then, and nothing is produced while the socket is blocked.
async fn exchange(stream: &mut Stream, count: usize, seed: u64, max_read: usize) {
    let mut random = Random(seed);
    let mut buf = vec![0; max_read];
    let (mut sent, mut received, mut turns) = (0, 0, 0);
    poll_fn(|cx| {
        loop {
            stream.flush(cx)?;
            let mut moved = false;
            if sent < count && !stream.is_blocked() {
                let n = (1 + random.below(SCRATCH)).min(count - sent);
                let bytes: Vec<u8> = (sent..sent + n).map(pattern).collect();
                stream.write(cx, &bytes)?;
                sent += n;
                moved = true;
                turns += 1;
                if turns % 16 == 0 {
                    change_keys(stream);
                }
            }
            let room = 1 + random.below(max_read);
            if received < count
                && let Poll::Ready(n) = stream.poll_read(cx, &mut buf[..room])?
            {
                assert_ne!(n, 0, "ended after {received}");
                for (at, byte) in buf[..n].iter().enumerate() {
                    assert_eq!(*byte, pattern(received + at), "at {}", received + at);
                }
                received += n;
                moved = true;
            }
            if sent == count && received == count && !stream.is_blocked() {
                return Poll::Ready(Ok::<_, io::Error>(()));
            }
            if !moved {
                return Poll::Pending;
            }
        }
    })
    .await
    .unwrap();
}

async fn exchange_both((mut near, mut far): (Stream, Stream), count: usize) {
    tokio::join!(exchange(&mut near, count, 1, SCRATCH), exchange(&mut far, count, 2, 700));
    assert!(near.is_quiet() && far.is_quiet());
}

const MANY: usize = 10_000_000;

#[tokio::test]
async fn ten_megabytes_each_way_with_a_slow_reader() {
    exchange_both(tcp().await, MANY).await;
    exchange_both(secured(tcp().await).await, MANY).await;
}

#[tokio::test]
async fn records_larger_than_the_socket_arrive_whole() {
    for size in [1, 7, 100, 5000] {
        let count = if size < 10 { 50_000 } else { 1_000_000 };
        exchange_both(memory(size), count).await;
        exchange_both(secured(memory(size)).await, count).await;
    }
    exchange_both(secured_1_2(memory(3000)).await, 1_000_000).await;
}

#[tokio::test]
async fn a_blocked_stream_keeps_the_order() {
    let (mut near, mut far) = memory(8);
    for piece in [&b"0123"[..], b"456789", b"abc", b""] {
        near.write(&mut no_waker(), piece).unwrap();
    }
    assert!(near.is_blocked() && !near.is_quiet());
    let (done, all) = tokio::join!(drained(&mut near), read_exact(&mut far, 13));
    done.unwrap();
    assert_eq!(all, b"0123456789abc");
    assert!(!near.is_blocked() && near.is_quiet());
    assert_eq!(near.unsent.capacity(), 0);
}

#[tokio::test]
async fn a_large_write_is_taken_whole_while_the_peer_reads_nothing() {
    let (mut near, mut far) = secured(memory(1000)).await;
    let bytes: Vec<u8> = (0..4 * SCRATCH).map(pattern).collect();
    for piece in bytes.chunks(SCRATCH) {
        near.write(&mut no_waker(), piece).unwrap();
    }
    assert!(near.is_blocked());
    let (done, all) = tokio::join!(drained(&mut near), read_exact(&mut far, bytes.len()));
    done.unwrap();
    assert!(all == bytes && near.is_quiet() && far.is_quiet());
}

#[tokio::test]
async fn plain_bytes_written_before_tls_leave_before_it() {
    let (mut near, peer) = duplex(1);
    near.write_all(b"x").await.unwrap();
    let (mut near, mut far) =
        (Stream::new(Socket::Memory(near)), Stream::new(Socket::Memory(peer)));
    let issued = GOOD.self_signed();
    let clients = ClientTls::new(ClientSslMode::Require, Some(issued.identity())).unwrap();
    let servers = ServerTls::new(SslMode::Require, None, None).unwrap();
    // The socket is full, and the side that begins has its ClientHello ready at once.
    near.write(&mut no_waker(), b"S").unwrap();
    assert!(near.is_blocked());
    near.start_tls(servers.connection(&NodeHost::Name("db".to_owned())).unwrap());
    let peer = async {
        assert_eq!(read_exact(&mut far, 2).await, b"xS");
        far.start_tls(clients.connection().unwrap());
        handshake(&mut far).await
    };
    let (a, b) = tokio::join!(handshake(&mut near), peer);
    a.unwrap();
    b.unwrap();
}

#[tokio::test]
async fn plaintext_beyond_a_small_buffer_waits_and_is_not_quiet() {
    let (mut near, mut far) = secured(memory(SCRATCH)).await;
    let bytes: Vec<u8> = (0..40_000).map(pattern).collect();
    near.write(&mut no_waker(), &bytes).unwrap();
    assert!(near.is_quiet());
    let mut found = Vec::new();
    let mut buf = [0; 11];
    while found.len() < bytes.len() {
        let n = read(&mut far, &mut buf).await.unwrap();
        found.extend_from_slice(&buf[..n]);
        let inside = far.tls.as_ref().is_some_and(|tls| tls.is_quiet());
        assert_eq!(inside, far.is_quiet());
        if found.len() == 11 {
            assert!(!far.is_quiet());
        }
    }
    assert!(found == bytes && far.is_quiet());
}

#[tokio::test]
async fn a_part_of_a_record_is_not_quiet_and_its_end_an_error() {
    let (mut near, mut far) = secured(memory(SCRATCH)).await;
    near.write(&mut no_waker(), b"first").unwrap();
    assert_eq!(read_exact(&mut far, 5).await, b"first");
    assert!(far.is_quiet());
    // Four bytes of a record's header, then its rest but for the last byte.
    let Some(Socket::Memory(raw)) = &mut near.socket else { panic!("no socket") };
    raw.write_all(&[23, 3, 3, 0]).await.unwrap();
    let mut buf = [0; 10];
    assert!(far.poll_read(&mut no_waker(), &mut buf).is_pending());
    assert!(!far.is_quiet());
    drop(near);
    for _ in 0..2 {
        let error = read(&mut far, &mut buf).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
    assert!(!far.is_quiet());
}

#[tokio::test]
async fn the_end_is_reported_after_the_last_bytes_with_and_without_close_notify() {
    for polite in [true, false] {
        let (mut near, mut far) = secured(memory(SCRATCH)).await;
        near.write(&mut no_waker(), b"last words").unwrap();
        if polite {
            poll_fn(|cx| near.poll_close(cx)).await.unwrap();
            poll_fn(|cx| near.poll_close(cx)).await.unwrap();
        }
        drop(near);
        assert_eq!(read_exact(&mut far, 10).await, b"last words");
        let mut buf = [0; 10];
        assert_eq!(read(&mut far, &mut buf).await.unwrap(), 0);
        assert_eq!(read(&mut far, &mut buf).await.unwrap(), 0);
        assert!(!far.is_quiet(), "an ended connection is not to be parked");
    }
}

#[tokio::test]
async fn closing_sends_what_waits_first() {
    for with_tls in [false, true] {
        let pair = memory(100);
        let (mut near, mut far) = if with_tls { secured(pair).await } else { pair };
        let bytes: Vec<u8> = (0..SCRATCH).map(pattern).collect();
        near.write(&mut no_waker(), &bytes).unwrap();
        let closing = poll_fn(|cx| near.poll_close(cx));
        let (closed, all) = tokio::join!(closing, async {
            let all = read_exact(&mut far, bytes.len()).await;
            assert_eq!(read(&mut far, &mut [0; 1]).await.unwrap(), 0);
            all
        });
        closed.unwrap();
        assert!(all == bytes);
    }
}

#[tokio::test]
async fn a_forged_record_is_an_error_that_stays_and_tells_the_peer() {
    let (mut near, mut far) = secured(memory(SCRATCH)).await;
    near.write(&mut no_waker(), b"good").unwrap();
    let Some(Socket::Memory(raw)) = &mut near.socket else { panic!("no socket") };
    raw.write_all(&[23, 3, 3, 0, 20]).await.unwrap();
    raw.write_all(&[0; 20]).await.unwrap();
    assert_eq!(read_exact(&mut far, 4).await, b"good");
    for _ in 0..2 {
        let error = read(&mut far, &mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
    assert!(!far.is_quiet());
    let alert = read(&mut near, &mut [0; 10]).await.unwrap_err();
    assert!(alert.to_string().contains("alert"), "{alert}");
}

#[tokio::test]
async fn a_handshake_that_is_cut_or_not_tls_fails() {
    let (mut near, mut far) = memory(SCRATCH);
    start(&mut near, &mut far);
    drop(near);
    let error = handshake(&mut far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

    let (mut near, mut far) = memory(SCRATCH);
    let (mut unused, _) = memory(1);
    start(&mut unused, &mut far);
    near.write(&mut no_waker(), b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let error = handshake(&mut far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    // The alert says so in the clear.
    let Some(Socket::Memory(raw)) = &mut near.socket else { panic!("no socket") };
    assert_eq!(raw.read_u8().await.unwrap(), 21);
}

#[tokio::test]
async fn a_dropped_handshake_goes_on_where_it_was() {
    let (mut near, mut far) = memory(50);
    start(&mut near, &mut far);
    // Each attempt is dropped at its first wait.
    let mut cx = no_waker();
    let mut done = (false, false);
    for _ in 0..10_000 {
        done.0 |= Box::pin(handshake(&mut near)).as_mut().poll(&mut cx).is_ready();
        done.1 |= Box::pin(handshake(&mut far)).as_mut().poll(&mut cx).is_ready();
        // Renews the runtime's budget of polls.
        tokio::task::yield_now().await;
    }
    assert_eq!(done, (true, true));
    exchange_both((near, far), 10_000).await;
}

#[tokio::test]
async fn what_follows_the_handshake_in_one_piece_is_not_lost() {
    let (mut near, mut far) = memory(1 << 20);
    start(&mut near, &mut far);
    let mut cx = no_waker();
    let bytes: Vec<u8> = (0..100_000).map(pattern).collect();
    let mut is_sent = false;
    while far.tls().is_some_and(|tls| tls.is_handshaking()) {
        if !is_sent && !near.tls().is_some_and(|tls| tls.is_handshaking()) {
            near.write(&mut cx, &bytes).unwrap();
            is_sent = true;
        }
        drop(Box::pin(handshake(&mut near)).as_mut().poll(&mut cx));
        if is_sent || near.tls().is_some_and(|tls| tls.is_handshaking()) {
            drop(Box::pin(handshake(&mut far)).as_mut().poll(&mut cx));
        }
    }
    assert!(!far.is_quiet());
    assert!(read_exact(&mut far, bytes.len()).await == bytes);
}

#[test]
fn a_secured_stream_moves_to_another_thread() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (near, mut far) = first.block_on(async {
        let (mut near, mut far) = secured(tcp().await).await;
        near.write(&mut no_waker(), b"question").unwrap();
        assert_eq!(read_exact(&mut far, 8).await, b"question");
        // On its way while nobody is registered.
        far.write(&mut no_waker(), b"answer").unwrap();
        (near, far)
    });
    assert!(near.is_quiet());
    let moved = std::thread::spawn(move || {
        runtime().block_on(async move {
            let mut near = near;
            near.rehome().unwrap();
            assert_eq!(read_exact(&mut near, 6).await, b"answer");
            near.write(&mut no_waker(), b"thanks").unwrap();
            drained(&mut near).await.unwrap();
        });
    });
    let thanks = first.block_on(read_exact(&mut far, 6));
    moved.join().unwrap();
    assert_eq!(thanks, b"thanks");
}

#[tokio::test]
async fn only_tls_1_2_wears_out() {
    let (mut old, _far) = secured_1_2(memory(SCRATCH)).await;
    let (mut new, _far) = secured(memory(SCRATCH)).await;
    assert!(!old.is_worn() && !new.is_worn());
    for stream in [&mut old, &mut new] {
        stream.tls.as_mut().unwrap().pretend_written(1 << 24);
    }
    assert!(old.is_worn() && !new.is_worn());
}

/// Waits until there is something to read: the runtime hears of it in its own time.
async fn hears(stream: &Stream) {
    let spoken = async {
        while !stream.has_spoken() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), spoken).await.unwrap();
}

#[tokio::test]
async fn whether_a_silent_stream_has_spoken_is_seen_without_reading_and_from_any_thread() {
    let (near, far) = UnixStream::pair().unwrap();
    let unix = (Stream::new(Socket::Unix(near)), Stream::new(Socket::Unix(far)));
    for (mut near, mut far) in [unix, tcp().await] {
        assert!(!near.has_spoken());
        far.write(&mut no_waker(), b"xy").unwrap();
        hears(&near).await;
        assert!(near.has_spoken(), "looking takes nothing away");
        assert!(std::thread::scope(|scope| scope.spawn(|| near.has_spoken()).join().unwrap()));
        assert_eq!(read_exact(&mut near, 2).await, b"xy");
        assert!(!near.has_spoken());
        drop(far);
        hears(&near).await;
        assert_eq!(read(&mut near, &mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn what_the_event_loop_has_not_heard_of_is_asked_of_the_kernel_and_read() {
    let (near, far) = UnixStream::pair().unwrap();
    let unix = (Stream::new(Socket::Unix(near)), Stream::new(Socket::Unix(far)));
    for (mut near, mut far) in [unix, tcp().await, secured(tcp().await).await] {
        let (mut cx, mut buf) = (no_waker(), [0; 8]);
        far.flush(&mut cx).unwrap();
        assert!(near.poll_read(&mut cx, &mut buf).is_pending(), "but for what TLS says itself");
        assert!(!near.kernel_has_input());
        // From here on nothing awaits, so the event loop hears of nothing.
        far.write(&mut cx, b"xy").unwrap();
        assert!(!near.has_spoken());
        assert!(near.poll_read(&mut cx, &mut buf).is_pending());
        assert!(near.kernel_has_input() && near.kernel_has_input(), "asking takes nothing");
        assert!(matches!(near.poll_read(&mut cx, &mut buf), Poll::Ready(Ok(2))));
        assert!(!near.kernel_has_input());
        assert!(near.poll_read(&mut cx, &mut buf).is_pending());
        drop(far);
        assert!(near.poll_read(&mut cx, &mut buf).is_pending());
        assert!(near.kernel_has_input());
        assert!(matches!(near.poll_read(&mut cx, &mut buf), Poll::Ready(Ok(0))));
    }
}
