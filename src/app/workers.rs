//! The worker threads, and how clients get to them.

use crate::net::{Resolver, TcpOptions};
use crate::pool::WorkerId;
use crate::session::client_handle::{ClientHandle, ClientState, Order};
use crate::session::common::Common;
use crate::session::route::Mode;
use crate::session::worker::Worker;
use crate::session::{SessionStart, run};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::MissedTickBehavior;

/// Clients on their way to a worker.
const QUEUE: usize = 1024;
/// How coarse time-outs are.
const TICK: Duration = Duration::from_millis(50);

/// How clients are told to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dismissal {
    /// All of them get this order.
    All(Order),
    /// As PgBouncer's WAIT_FOR_SERVERS: a client of session mode that has a server keeps it until it
    /// leaves by itself, one that waits for a server is refused, and all others leave when their
    /// transactions end.
    WaitForServers,
}

impl Dismissal {
    /// The order for one client, if it gets any.
    fn order(self, handle: &ClientHandle) -> Option<Order> {
        match self {
            Self::All(order) => return Some(order),
            Self::WaitForServers => {}
        }
        let route = handle.info.route.as_ref();
        let is_session = route.is_some_and(|route| route.options().0.mode == Mode::Session);
        match handle.state() {
            ClientState::Active(_) if is_session => None,
            ClientState::Waiting => Some(Order::Stop),
            ClientState::Active(_) | ClientState::Idle => Some(Order::Drain),
        }
    }
}

/// A message to a worker.
enum Message {
    Client(Box<SessionStart>),
    Dismiss(Dismissal),
}

/// One worker thread, seen from outside.
struct WorkerHandle {
    sender: Sender<Message>,
    /// Clients that it has, or that are on their way to it.
    clients: Arc<AtomicUsize>,
    /// Its ticks.
    beats: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// The worker threads.
pub(super) struct Workers {
    handles: Vec<WorkerHandle>,
}

/// What a worker thread starts with.
struct Start {
    id: WorkerId,
    common: Arc<Common>,
    clients: Arc<AtomicUsize>,
    beats: Arc<AtomicU64>,
    dns_max_ttl: Duration,
    tcp: TcpOptions,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system refuses a thread or its runtime.
    pub(super) fn start(
        count: u8,
        common: &Arc<Common>,
        dns_max_ttl: Duration,
        tcp: TcpOptions,
    ) -> io::Result<Self> {
        let handles = (0..count).map(|number| {
            let (sender, receiver) = channel(QUEUE);
            let (clients, beats) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
            let start = Start {
                id: WorkerId(number),
                common: Arc::clone(common),
                clients: Arc::clone(&clients),
                beats: Arc::clone(&beats),
                dns_max_ttl,
                tcp,
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || serve(start, receiver))?;
            Ok(WorkerHandle { sender, clients, beats, thread: Some(thread) })
        });
        Ok(Self { handles: handles.collect::<io::Result<_>>()? })
    }

    /// Assigns a client to the worker with the fewest clients. Waits while its queue is full. Not
    /// cancel safe: the client would be lost.
    pub(super) async fn assign(&self, session_start: SessionStart) {
        let least = self.handles.iter().min_by_key(|handle| handle.clients.load(Ordering::Relaxed));
        let Some(handle) = least else { return };
        handle.clients.fetch_add(1, Ordering::Relaxed);
        if handle.sender.send(Message::Client(Box::new(session_start))).await.is_err() {
            handle.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Orders clients to leave.
    pub(super) async fn dismiss(&self, dismissal: Dismissal) {
        for handle in &self.handles {
            // A worker that has ended has no clients.
            drop(handle.sender.send(Message::Dismiss(dismissal)).await);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u8 {
        u8::try_from(self.handles.len()).unwrap_or(u8::MAX)
    }

    /// How often each worker has looked at its clock: a number that stands still is a worker that
    /// does not come back to it.
    pub(super) fn beats(&self) -> Vec<u64> {
        self.handles.iter().map(|handle| handle.beats.load(Ordering::Relaxed)).collect()
    }

    /// Clients of all workers.
    pub(super) fn clients(&self) -> usize {
        self.handles.iter().map(|handle| handle.clients.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for handle in std::mem::take(&mut self.handles) {
            let WorkerHandle { sender, thread, .. } = handle;
            drop(sender);
            // A worker that panicked has said so in the log.
            drop(thread.map(JoinHandle::join));
        }
    }
}

fn serve(start: Start, receiver: Receiver<Message>) {
    let runtime: io::Result<LocalRuntime> = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(work(start, receiver)),
        Err(error) => tracing::error!("worker {} cannot start: {error}", start.id.0),
    }
}

/// A worker's life: ends when nobody can send it clients any more.
async fn work(start: Start, mut receiver: Receiver<Message>) {
    let reach = (Resolver::new(start.dns_max_ttl), start.tcp);
    let worker = Rc::new(Worker::new(start.id, start.common, reach));
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased; // Time-outs first: a stream of new clients must not hold them up.
            _ = tick.tick() => {
                worker.tick();
                start.beats.fetch_add(1, Ordering::Relaxed);
            }
            message = receiver.recv() => match message {
                None => return,
                Some(Message::Dismiss(dismissal)) => {
                    worker.dismiss(|handle| dismissal.order(handle));
                }
                Some(Message::Client(mut session_start)) => {
                    let counted = Counted(Arc::clone(&start.clients));
                    session_start.guard = Box::new((session_start.guard, counted));
                    tokio::task::spawn_local(run(*session_start, Rc::clone(&worker)));
                }
            },
        }
    }
}

/// Counts a client for as long as its session lives, however it ends.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
