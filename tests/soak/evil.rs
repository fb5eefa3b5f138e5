//! A relay between howdah and PostgreSQL that understands frames and ends connections at exactly
//! the moment it was asked for.
//!
//! A client makes a [`Plan`] and puts its marker, a comment, into the text of a statement. The
//! relay sees the text pass, and knows by it which connection is meant: only the client whose
//! statement it was may notice anything.

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::coverage::{Coverage, Moment, Victim};
use super::link;
use super::losses::Losses;

/// How long something is withheld at most. Whoever made the plan fails meanwhile.
const PLAN_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at a plan.
const A_WHILE: Duration = Duration::from_millis(100);
const CANCEL_REQUEST: u32 = 80_877_102;
const MARKER: &[u8] = b"/*evil:";

/// What is done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ends it instead of passing the Parse on.
    CutAtParse,
    /// Ends it when PostgreSQL has answered the Parse.
    CutAtParseComplete,
    /// Ends it in the middle of a DataRow.
    CutInRow,
    /// Ends it in the middle of a CopyData to PostgreSQL.
    CutInCopyIn,
    /// Ends it in the middle of a CopyData from PostgreSQL.
    CutInCopyOut,
    /// Ends it after CommandComplete.
    CutBeforeReady,
    /// Ends it when a cancel request for it comes by.
    CutAtCancel,
    /// Withholds ParseComplete until it is released.
    HoldParseComplete,
    /// Withholds ReadyForQuery after CommandComplete until it is released.
    HoldReady,
    /// Only says that the statement has been passed on.
    Announce,
}

/// Something that happens once.
#[derive(Debug, Default)]
pub(crate) struct Event(Mutex<bool>, Condvar);

impl Event {
    pub(crate) fn set(&self) {
        *lock(&self.0) = true;
        self.1.notify_all();
    }

    /// Waits a while; whether it has happened.
    pub(crate) fn wait(&self) -> bool {
        let mut happened = lock(&self.0);
        self.1.wait_while_for(&mut happened, |happened| !*happened, A_WHILE);
        *happened
    }

    /// Waits until it has happened, or for good.
    pub(crate) fn wait_long(&self) {
        let mut happened = lock(&self.0);
        self.1.wait_while_for(&mut happened, |happened| !*happened, PLAN_WITHIN);
    }
}

/// One act to come.
#[derive(Debug)]
pub(crate) struct Plan {
    id: u64,
    pub(crate) act: Act,
    /// The moment has come: it was cut, is held, or was passed on.
    pub(crate) reached: Event,
    /// What is held may go on.
    pub(crate) released: Event,
    void: AtomicBool,
}

impl Plan {
    /// The statement came to a connection that was ended already.
    pub(crate) fn cannot_be(&self) {
        self.void.store(true, Ordering::Relaxed);
        self.reached.set();
    }

    /// Whether it cannot be carried out.
    pub(crate) fn is_void(&self) -> bool {
        self.void.load(Ordering::Relaxed)
    }

    /// The comment that marks a statement.
    pub(crate) fn marker(&self) -> String {
        format!("/*evil:{}*/", self.id)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// What all connections share.
pub(crate) struct Shared {
    node: SocketAddr,
    pub(crate) coverage: Arc<Coverage>,
    plans: Mutex<HashMap<u64, Arc<Plan>>>,
    pub(crate) links: Mutex<HashMap<u32, Arc<link::Link>>>,
    pub(crate) losses: Losses,
    /// Cancel requests by process id.
    cancels: Mutex<HashMap<u32, u32>>,
    /// Logins to be ended; odd and even ones at different moments.
    logins: AtomicU64,
    last: AtomicU64,
    stopping: AtomicBool,
    /// Held by clients that sit on an idle server.
    spared: RwLock<()>,
}

impl Shared {
    /// The plan whose marker is in this statement.
    pub(crate) fn plan_in(&self, body: &[u8]) -> Option<Arc<Plan>> {
        let start = memchr::memmem::find(body, MARKER)? + MARKER.len();
        let digits: Vec<u8> =
            body[start..].iter().copied().take_while(u8::is_ascii_digit).collect();
        let id = std::str::from_utf8(&digits).ok()?.parse().ok()?;
        lock(&self.plans).remove(&id)
    }

    fn takes_login(&self) -> Option<u64> {
        let less = |left: u64| left.checked_sub(1);
        self.logins.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(self.last.fetch_add(1, Ordering::Relaxed))
    }
}

/// The relay.
pub(crate) struct Evil {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Evil {
    /// Stands before the server at `node`.
    pub(crate) fn start(node: SocketAddr, coverage: Arc<Coverage>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            node,
            coverage,
            plans: Mutex::default(),
            links: Mutex::default(),
            losses: Losses::default(),
            cancels: Mutex::default(),
            logins: AtomicU64::new(0),
            last: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            spared: RwLock::new(()),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                if own.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&own);
                let socket = socket.expect("a connection of howdah");
                std::thread::spawn(move || serve(&shared, socket));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Something that will happen to the connection that carries the plan's marker.
    pub(crate) fn plan(&self, act: Act) -> Arc<Plan> {
        let id = self.shared.last.fetch_add(1, Ordering::Relaxed);
        let plan = Arc::new(Plan {
            id,
            act,
            reached: Event::default(),
            released: Event::default(),
            void: AtomicBool::new(false),
        });
        lock(&self.shared.plans).insert(id, Arc::clone(&plan));
        plan
    }

    /// No idle server is ended as long as somebody keeps this.
    pub(crate) fn spare(&self) -> RwLockReadGuard<'_, ()> {
        self.shared.spared.read()
    }

    /// Ends a server that nobody uses, if there is one.
    pub(crate) fn end_idle(&self, choice: usize) -> bool {
        let Some(_nobody_sits) = self.shared.spared.try_write() else { return false };
        let mut links: Vec<(u32, Arc<link::Link>)> =
            lock(&self.shared.links).iter().map(|(pid, link)| (*pid, Arc::clone(link))).collect();
        links.sort_by_key(|(pid, _)| *pid);
        let middle = choice % links.len().max(1);
        links.rotate_left(middle);
        let ended = links.iter().any(|(_, link)| link.end_if_idle(&self.shared.losses));
        if ended {
            Coverage::count(&self.shared.coverage.idle);
        }
        ended
    }

    /// Who must be told of the end of an idle server.
    pub(crate) fn losses(&self) -> &Losses {
        &self.shared.losses
    }

    /// What is known of each connection, for a failure.
    pub(crate) fn standing(&self) -> String {
        let links = lock(&self.shared.links);
        links.iter().map(|(pid, link)| format!("  relay {pid} {}\n", link.standing())).collect()
    }

    /// How many cancel requests came for which process.
    pub(crate) fn cancels(&self) -> HashMap<u32, u32> {
        lock(&self.shared.cancels).clone()
    }

    /// The next login of a server is ended.
    pub(crate) fn end_next_login(&self) {
        self.shared.logins.fetch_add(1, Ordering::Relaxed);
    }

    /// No login is ended any more.
    pub(crate) fn forgive_logins(&self) {
        self.shared.logins.store(0, Ordering::Relaxed);
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes the listener, which then ends.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(shared: &Arc<Shared>, mut howdah: TcpStream) {
    let Some(packet) = startup_packet(&mut howdah) else { return };
    let code = packet.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
    if code == Some(CANCEL_REQUEST) {
        cancel(shared, &packet);
        return;
    }
    let login = shared.takes_login();
    if login.is_some_and(|number| number % 2 == 0) {
        shared.coverage.killed(Moment::Login, Victim::Server);
        return;
    }
    let Ok(mut node) = TcpStream::connect(shared.node) else { return };
    if node.write_all(&packet).is_ok() {
        link::relay(shared, howdah, node, login.is_some());
    }
}

fn startup_packet(howdah: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    howdah.read_exact(&mut length).ok()?;
    let mut packet = vec![0; usize::try_from(u32::from_be_bytes(length)).ok()?];
    packet[..4].copy_from_slice(&length);
    howdah.read_exact(&mut packet[4..]).ok()?;
    Some(packet)
}

/// Passes a cancel request on. PostgreSQL closes when it has sent the signal; so does this.
fn cancel(shared: &Shared, packet: &[u8]) {
    let pid = packet.get(8..12).and_then(|pid| pid.try_into().ok()).map(u32::from_be_bytes);
    if let Some(pid) = pid {
        *lock(&shared.cancels).entry(pid).or_default() += 1;
    }
    let link = pid.and_then(|pid| lock(&shared.links).get(&pid).cloned());
    if let Some(link) = link
        && link.planned(Act::CutAtCancel).is_some()
    {
        link.cut();
        shared.coverage.killed(Moment::Cancel, Victim::Server);
    }
    let Ok(mut node) = TcpStream::connect(shared.node) else { return };
    if node.write_all(packet).is_ok() {
        node.shutdown(Shutdown::Write).ok();
        // The end of the connection is the answer.
        std::io::copy(&mut node, &mut std::io::sink()).ok();
    }
}
