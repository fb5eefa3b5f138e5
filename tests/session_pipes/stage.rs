//! The pieces of the process that a session needs, without the process.

use crate::postgres::{ORDERED, Process, last_words};
use howdah::auth::Credential;
use howdah::backend::login::{Account, assemble};
use howdah::backend::reported_parameters::ReportedParameters;
use howdah::backend::server::Server;
use howdah::backend::settings::{Baseline, Settings, SettingsTable};
use howdah::backend::statements::StatementTable;
use howdah::catalog::rows::{NameRow, Object, RELATION};
use howdah::catalog::{Builder, Catalog, Snapshot};
use howdah::cluster::last_writes::LastWrites;
use howdah::metrics::{PoolTraffic, Totals};
use howdah::net::{Endpoints, NodeAddress, NodeHost, Peer, Resolver, Socket, Stream, TcpOptions};
use howdah::pool::{
    DatabaseId, NodeId, PoolKey, PoolOptions, PoolSnapshot, Pools, UserId, WorkerId,
};
use howdah::session::client_handle::{ClientHandle, ClientInfo, Clients, Replication};
use howdah::session::common::Common;
use howdah::session::route::{Mode, Options, Route, RoutingOptions, StatePolicy};
use howdah::session::worker::Worker;
use howdah::session::{SessionStart, run};
use howdah::sql::Meaning;
use howdah::wire::{self, First, server};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, spawn_local, unconstrained};
use tokio::time::{interval, timeout};

/// Virtual time after which a test has failed: nothing happens any more.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);

/// Bytes in a pipe, unless a test says otherwise.
const PIPE: usize = 64 * 1024;

/// What a test may choose.
pub(crate) struct Setup {
    pub(crate) pool_size: u32,
    pub(crate) min_pool_size: u32,
    pub(crate) options: Options,
    pub(crate) server_pipe: usize,
    pub(crate) client_pipe: usize,
    /// What `connect_query` sets on each server.
    pub(crate) baseline: &'static [(&'static str, &'static str)],
    /// Servers are reached by real sockets, of which the runtime knows only what it has been told.
    pub(crate) sockets: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let options = Options {
            mode: Mode::Transaction,
            state_policy: StatePolicy::Pin,
            max_prepared_statements: 100,
            max_packet_size: 1 << 24,
            server_reset_query: Some("DISCARD ALL".into()),
            server_check_query: None,
            server_check_delay: Duration::from_secs(30),
            query_wait_timeout: None,
            query_timeout: None,
            transaction_timeout: None,
            idle_transaction_timeout: None,
            client_idle_timeout: None,
            cancel_wait_timeout: Some(Duration::from_secs(10)),
            abandoned_query_timeout: Some(Duration::from_secs(60)),
            log_pooler_errors: false,
            log_disconnections: false,
            log_min_duration: None,
            routing: RoutingOptions::default(),
        };
        Self {
            pool_size: 2,
            min_pool_size: 0,
            options,
            server_pipe: PIPE,
            client_pipe: PIPE,
            baseline: &[],
            sockets: false,
        }
    }
}

/// All of it.
pub(crate) struct Stage {
    pub(crate) setup: Setup,
    common: Arc<Common>,
    pub(crate) worker: Rc<Worker>,
    route: Arc<Route>,
    /// Every server process that was ever started.
    pub(crate) processes: RefCell<Vec<Process>>,
    /// Second handles of their sockets, if they have any.
    sockets: RefCell<Vec<std::os::unix::net::UnixStream>>,
    /// When the next process dies: see `State::dies_at`.
    pub(crate) next_dies_at: Cell<usize>,
    _directory: TempDir,
}

/// Takes a client's key off the list when its session is over, as the process does.
struct Listed(Arc<Common>, Arc<ClientHandle>);

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.clients.forget(&self.1);
    }
}

/// Runs a test on a thread as a worker's, in paused time.
pub(crate) fn play(setup: Setup, test: impl AsyncFnOnce(Rc<Stage>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async {
        let stage = Stage::new(setup);
        timeout(PATIENCE, test(stage)).await.expect("nothing happens any more");
    });
}

/// A database with one table, `t`, that does nothing to a session.
fn snapshot() -> Snapshot {
    let mut builder = Builder::default();
    let (object, meaning) = (Object { class: RELATION, oid: 20_000 }, Meaning::empty());
    builder.name(&NameRow { object, name: b"t", meaning });
    builder.finish()
}

impl Stage {
    fn new(setup: Setup) -> Rc<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let pools = Arc::new(Pools::new(1, 7));
        let common = Arc::new(Common {
            pools: Arc::clone(&pools),
            statements: Arc::new(StatementTable::default()),
            settings: SettingsTable::default(),
            clients: Clients::default(),
            last_writes: LastWrites::default(),
            message_style: howdah::fault::MessageStyle::default(),
            suspended: false.into(),
            events: howdah::metrics::Events::default(),
            queries: Arc::new(howdah::metrics::Queries::new(1, 100)),
        });
        let key = PoolKey { database: DatabaseId(0), node: NodeId(0), user: UserId(0) };
        let options = PoolOptions {
            pool_size: setup.pool_size,
            min_pool_size: setup.min_pool_size,
            keep_warm: setup.min_pool_size > 0,
            ..PoolOptions::default()
        };
        let pool = pools.add(key, &options);
        let host = NodeHost::SocketDir(directory.path().to_owned());
        let account = Arc::new(Account {
            address: NodeAddress { host, port: 5432 },
            user: "bob".into(),
            dbname: "shop".into(),
            credential: Mutex::new(Credential::None),
            connect_query: None,
            neutral: common.settings.intern([]),
            reported_parameters: ReportedParameters::default(),
            replaced: tokio::sync::Notify::new(),
        });
        let (traffic, options) = (Arc::new(PoolTraffic::new(2)), Arc::new(setup.options.clone()));
        let catalog = Catalog::with_snapshot("shop", snapshot());
        let route =
            Arc::new(Route::new(("shop", "bob"), (pool, traffic), (account, catalog), options));
        let tcp = TcpOptions {
            keepalive: false,
            keepidle: None,
            keepintvl: None,
            keepcnt: None,
            user_timeout: None,
        };
        let reach = (Resolver::new(PATIENCE), tcp);
        let worker = Rc::new(Worker::new(WorkerId(0), Arc::clone(&common), reach));
        let socket = directory.path().join(".s.PGSQL.5432");
        let listener = UnixListener::bind(socket).expect("a Unix socket");
        let stage = Rc::new(Self {
            setup,
            common,
            worker,
            route,
            processes: RefCell::default(),
            sockets: RefCell::default(),
            next_dies_at: Cell::new(usize::MAX),
            _directory: directory,
        });
        spawn_local(Rc::clone(&stage).tick());
        spawn_local(Rc::clone(&stage).open());
        spawn_local(Rc::clone(&stage).take_cancels(listener));
        stage
    }

    /// What the worker's and the control thread's clocks do.
    async fn tick(self: Rc<Self>) {
        let mut tick = interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            self.worker.tick();
            unconstrained(async { self.common.pools.sweep() }).await;
            self.common.pools.upkeep();
        }
    }

    /// What the control thread does with openings.
    async fn open(self: Rc<Self>) {
        loop {
            for opening in self.common.pools.openings().await {
                let server = self.start_process();
                self.common.pools.opened(opening.slot, server, WorkerId(1));
            }
        }
    }

    fn start_process(&self) -> Box<Server> {
        let pid = self.processes.borrow().len() as u32 + 1;
        let process = Process::new(self.next_dies_at.replace(usize::MAX));
        self.processes.borrow_mut().push(process.clone());
        let socket = self.connect(process.clone());
        let key = [pid.to_be_bytes(), [0, 0, 0, 7]].concat();
        let reported = vec![(b"TimeZone"[..].into(), b"UTC"[..].into())];
        let stream = Stream::new(socket);
        let mut server = assemble(&self.route.account, stream, reported, &key);
        let baseline = self.setup.baseline.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        process.state.borrow_mut().settings = baseline.clone().collect();
        server.baseline = Baseline::new(Arc::new(Settings::of(baseline)));
        server
    }

    /// Begins to serve; the session's end of the connection.
    fn connect(&self, process: Process) -> Socket {
        if !self.setup.sockets {
            let (ours, theirs) = tokio::io::duplex(self.setup.server_pipe);
            spawn_local(process.serve(theirs));
            return Socket::Memory(ours);
        }
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let theirs = theirs.into_std().expect("a socket");
        self.sockets.borrow_mut().push(theirs.try_clone().expect("a second handle"));
        spawn_local(process.serve(UnixStream::from_std(theirs).expect("a socket")));
        Socket::Unix(ours)
    }

    /// Ends a server process at this moment, before the runtime looks at its sockets again.
    pub(crate) fn end_now(&self, pid: u32) {
        let mut socket = &self.sockets.borrow()[pid as usize - 1];
        socket.write_all(&last_words(ORDERED)).expect("room in the socket");
        socket.shutdown(Shutdown::Both).expect("a connected socket");
    }

    /// PostgreSQL's postmaster: a cancel request's connection is closed when the signal is sent.
    async fn take_cancels(self: Rc<Self>, listener: UnixListener) {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut packet = vec![0; 16];
            if socket.read_exact(&mut packet).await.is_err() {
                continue;
            }
            let first = wire::first(&packet).expect("a first packet");
            assert!(matches!(first, First::Cancel(_)), "{first:?}");
            let First::Cancel(key) = first else { continue };
            let pid = u32::from_be_bytes(*key.first_chunk().expect("a process id"));
            self.process(pid).cancel();
        }
    }

    /// The server process with this number.
    pub(crate) fn process(&self, pid: u32) -> Process {
        self.processes.borrow()[pid as usize - 1].clone()
    }

    /// A client's arrival, and its end of the pipe.
    pub(crate) fn session_start(&self) -> (SessionStart, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(self.setup.client_pipe);
        let id = self.common.clients.next_id();
        let info = ClientInfo {
            route: Some(Arc::clone(&self.route)),
            peer: Peer::Unix,
            since: std::time::SystemTime::UNIX_EPOCH,
            tls: None,
            ends: Endpoints::default(),
            replication: Replication::None,
        };
        let handle = self.common.clients.register(id, info).expect("randomness");
        let guard = Listed(Arc::clone(&self.common), Arc::clone(&handle));
        let session_start = SessionStart {
            stream: Stream::new(Socket::Memory(ours)),
            held: Vec::new(),
            handle,
            route: Arc::clone(&self.route),
            settings: Arc::clone(&self.route.account.neutral),
            own: howdah::session::own::Values::default(),
            came_first: false,
            extras: None,
            guard: Box::new(guard),
        };
        (session_start, theirs)
    }

    /// A client that has been welcomed.
    pub(crate) async fn client(self: &Rc<Self>) -> Client {
        let (session_start, pipe) = self.session_start();
        let task = spawn_local(run(session_start, Rc::clone(&self.worker)));
        let mut client = Client::new(pipe, task);
        assert_eq!(client.answer().await, "S K Z:I");
        client
    }

    /// Such a client with settings of its own, which servers have to be given.
    pub(crate) async fn client_with_settings(self: &Rc<Self>) -> Client {
        let (session_start, pipe) = self.session_start_with_settings();
        let mut client =
            Client::new(pipe, spawn_local(run(session_start, Rc::clone(&self.worker))));
        assert_eq!(client.answer().await, "S K Z:I");
        client
    }

    /// Such an arrival with an `application_name` of its own.
    pub(crate) fn session_start_with_settings(&self) -> (SessionStart, DuplexStream) {
        let (mut session_start, pipe) = self.session_start();
        session_start.settings =
            self.common.settings.intern([("application_name".into(), "own".into())]);
        (session_start, pipe)
    }

    /// Lets everything happen that can happen without the clock.
    pub(crate) async fn breathe(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Servers that stand now are used no more.
    pub(crate) fn reconnect(&self) {
        self.common.pools.reconnect(self.route.pool);
    }

    /// What was counted of the clients.
    pub(crate) fn totals(&self) -> Totals {
        self.route.traffic.totals()
    }

    /// The counts of the only pool.
    pub(crate) fn counts(&self) -> PoolSnapshot {
        let mut all = self.common.pools.snapshot();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// Waits until nobody has a server or wants one, and proves that what idles is clean and that
    /// nothing else is open.
    pub(crate) async fn settle(&self) {
        let mut counts = self.counts();
        for _ in 0..1_000 {
            if (counts.opening, counts.granted, counts.leased, counts.waiting) == (0, 0, 0, 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            counts = self.counts();
        }
        let busy = (counts.opening, counts.granted, counts.leased, counts.waiting);
        assert_eq!(busy, (0, 0, 0, 0), "a slot leaked");
        // Processes see the end of their connections.
        self.breathe().await;
        let processes = self.processes.borrow();
        let open: Vec<_> = processes.iter().filter(|one| one.state.borrow().open).collect();
        // Whoever has just died while idle has not been found out yet.
        let died = processes.iter().filter(|one| one.has_died()).count();
        let idle = open.len()..=open.len() + died;
        assert!(idle.contains(&(counts.idle as usize)), "{idle:?} are open, {counts:?}");
        for process in open {
            assert!(process.is_clean(), "given back dirty: {:?}", process.state.borrow());
        }
    }

    /// Nobody who comes now notices what happened before.
    pub(crate) async fn is_healthy(self: &Rc<Self>) {
        self.next_dies_at.set(usize::MAX);
        let mut client = self.client().await;
        client.query("SELECT 1").await;
        assert_eq!(client.answer().await, "T D C:SELECT 1 Z:I");
        client.leave().await;
        self.settle().await;
        assert_eq!((self.worker.clients(), self.common.clients.len()), (0, 0));
    }
}

/// What a client writes into.
pub(crate) type Writer = WriteHalf<DuplexStream>;

/// The client's side of a session.
pub(crate) struct Client {
    reader: ReadHalf<DuplexStream>,
    writer: Option<Writer>,
    pub(crate) task: JoinHandle<()>,
    inbox: Vec<u8>,
}

/// A whole frame in short: its tag, and what matters of its body.
pub(crate) fn brief(tag: u8, body: &[u8]) -> String {
    let shown = match tag {
        server::READY => String::from_utf8_lossy(body).into_owned(),
        server::COMMAND_COMPLETE => String::from_utf8_lossy(&body[..body.len() - 1]).into_owned(),
        server::ERROR => {
            let fields = wire::error_fields(body);
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            format!("{} {} {}", text(fields.severity), text(fields.code), text(fields.message))
        }
        _ => return char::from(tag).to_string(),
    };
    format!("{}:{shown}", char::from(tag))
}

/// One statement in the extended protocol.
pub(crate) fn batch(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    wire::client::parse(&mut out, b"", sql.as_bytes(), &[0, 0]);
    wire::client::bind_head(&mut out, b"", b"", 6);
    out.extend([0; 6]);
    wire::client::target(&mut out, wire::client::DESCRIBE, b'P', b"");
    out.extend(b"E\0\0\0\x09\0\0\0\0\0");
    wire::client::bare(&mut out, wire::client::SYNC);
    out
}

impl Client {
    pub(crate) fn new(pipe: DuplexStream, task: JoinHandle<()>) -> Self {
        let (reader, writer) = tokio::io::split(pipe);
        Self { reader, writer: Some(writer), task, inbox: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let writer = self.writer.as_mut().expect("the client has not left");
        writer.write_all(bytes).await.expect("the session reads");
    }

    pub(crate) async fn query(&mut self, sql: &str) {
        let mut out = Vec::new();
        wire::client::query(&mut out, sql.as_bytes());
        self.send(&out).await;
    }

    /// The next message; `None` at the end, where nothing may be left over.
    pub(crate) async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let header = wire::header(&self.inbox, 1 << 24).expect("a valid length");
            if let Some(header) = header.filter(|header| self.inbox.len() >= header.total()) {
                let frame: Vec<u8> = self.inbox.drain(..header.total()).collect();
                return Some((header.tag, frame[wire::HEADER_LEN..].to_vec()));
            }
            if self.reader.read_buf(&mut self.inbox).await.expect("a pipe") == 0 {
                assert!(self.inbox.is_empty(), "the end in mid-message");
                return None;
            }
        }
    }

    /// All up to ReadyForQuery, or to the end, in short.
    pub(crate) async fn answer(&mut self) -> String {
        let mut all = Vec::new();
        loop {
            let Some((tag, body)) = self.message().await else {
                all.push("end".to_owned());
                break;
            };
            all.push(brief(tag, &body));
            if tag == server::READY {
                break;
            }
        }
        all.join(" ")
    }

    /// Sends a Query and waits for its answer.
    pub(crate) async fn ask(&mut self, sql: &str) -> String {
        self.query(sql).await;
        self.answer().await
    }

    /// Some bytes; `None` at the end.
    pub(crate) async fn some(&mut self) -> Option<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.inbox);
        let n = self.reader.read_buf(&mut bytes).await.expect("a pipe");
        (n > 0).then_some(bytes)
    }

    /// Sends while the test goes on.
    pub(crate) fn send_in_background(&mut self, bytes: Vec<u8>) -> JoinHandle<Writer> {
        let mut writer = self.writer.take().expect("the client has not left");
        spawn_local(async move {
            writer.write_all(&bytes).await.expect("the session reads");
            writer
        })
    }

    /// Ends what [`Client::send_in_background`] began.
    pub(crate) async fn take_back(&mut self, sent: JoinHandle<Writer>) {
        self.writer = Some(sent.await.expect("all was sent"));
    }

    /// Gives back what the client itself has for what it read.
    pub(crate) fn shrink(&mut self) {
        self.inbox.shrink_to_fit();
    }

    /// Closes the connection without a word, both ways, and waits for the session's end.
    pub(crate) async fn vanish(self) {
        let Self { reader, writer, task, .. } = self;
        drop((reader, writer));
        task.await.expect("the session ended");
    }

    /// Says good-bye.
    pub(crate) async fn leave(mut self) {
        let mut out = Vec::new();
        wire::client::bare(&mut out, wire::client::TERMINATE);
        self.send(&out).await;
        assert_eq!(self.message().await, None);
        self.task.await.expect("the session ended");
    }
}
