//! A stand-in for a PostgreSQL server: it passes everything on, refuses, or says nothing, as the
//! test tells it, and remembers when somebody came.

use parking_lot::{Mutex, MutexGuard};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use tokio::time::Instant;

use super::messages;

/// What happens to those who come from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// They talk to the real server.
    Pass,
    /// They talk to this server.
    Other(SocketAddr),
    /// They are told that the server is starting up (57P03).
    StartingUp,
    /// They are told that their password is wrong (28P01).
    WrongPassword,
    /// Their connections are closed without a word.
    Refuse,
    /// Their bytes are taken and never answered.
    Silence,
    /// They are sent away without a word.
    Close,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    came: Vec<Instant>,
    open: Vec<TcpStream>,
}

/// A listener on a port of its own.
#[derive(Debug)]
pub(crate) struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock()
}

impl Relay {
    /// In front of the server at `target`.
    pub(crate) fn start(target: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let state = State { manner, came: Vec::new(), open: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = lock(&shared);
                state.came.push(Instant::now());
                state.open.push(stream.try_clone().expect("a descriptor"));
                let manner = state.manner;
                drop(state);
                std::thread::spawn(move || serve(stream, target, manner));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Treats those who come from now on otherwise.
    pub(crate) fn set(&self, manner: Manner) {
        lock(&self.state).manner = manner;
    }

    /// When each connection came.
    pub(crate) fn came(&self) -> Vec<Instant> {
        lock(&self.state).came.clone()
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        for stream in lock(&self.state).open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn serve(mut stream: TcpStream, target: SocketAddr, manner: Manner) {
    let target = if let Manner::Other(other) = manner { other } else { target };
    match manner {
        Manner::Pass | Manner::Other(_) => {
            let Ok(server) = TcpStream::connect(target) else { return };
            let back = (server.try_clone(), stream.try_clone());
            if let (Ok(from), Ok(to)) = back {
                std::thread::spawn(move || pump(from, to));
            }
            pump(stream, server);
        }
        Manner::Refuse => _ = stream.shutdown(Shutdown::Both),
        Manner::StartingUp | Manner::WrongPassword => {
            let mut packet = [0; 1024];
            let mut read = stream.read(&mut packet);
            // SSLRequest: a server that starts up answers it as usual.
            if matches!(read, Ok(8)) && stream.write_all(b"N").is_ok() {
                read = stream.read(&mut packet);
            }
            if read.is_ok() {
                let starting = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
                let wrong = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0";
                let body = if manner == Manner::StartingUp { &starting[..] } else { &wrong[..] };
                stream.write_all(&messages::message(b'E', body)).ok();
            }
        }
        Manner::Silence => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).ok();
        }
        Manner::Close => {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
}
