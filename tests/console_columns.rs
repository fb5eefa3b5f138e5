//! Every column of every SHOW: it changes when the thing changes that it is about.
//!
//! A column is named here as `"view.column"` where a test looks at it, before and after; the last
//! test fails for one that is not.

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use howdah::admin::VIEWS;
use rustix::process::Signal;
use support::behaviour::{client, eventually, server_of, settings, until_closed, value};
use support::console::{Row, console, exceeds, rows, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::messages;
use support::postgres::{Options, Postgres, RIDER, SUPERUSER};
use support::relay::{Manner, Relay};
use support::tls::{self, Certificates};
use support::wire::{Wire, lines};

/// Columns that never change, and why.
const CONSTANT: &[(&str, &str)] = &[
    ("active_sockets.", "as in SHOW SOCKETS"),
    ("help.", "a list"),
    ("version.", "one value"),
    ("pools.load_balance_hosts", "a database has one node"),
    ("databases.load_balance_hosts", "a database has one node"),
    ("mem.free", "what is free is given back"),
    ("mem.size", "a type's own size"),
    ("sockets.recv_pos", "a connection owns no buffer"),
    ("sockets.pkt_pos", "a connection owns no buffer"),
    ("sockets.pkt_remain", "a connection owns no buffer"),
    ("sockets.send_pos", "a connection owns no buffer"),
    ("sockets.send_remain", "a connection owns no buffer"),
    ("sockets.pkt_avail", "a connection owns no buffer"),
    ("sockets.send_avail", "a connection owns no buffer"),
    ("dns_zones.", "no zone is watched"),
    ("fds.", "refused: no_descriptors_are_handed_over"),
    ("peers.pool_size", "each request has a connection of its own"),
    ("peer_pools.cl_waiting_cancel_req", "none waits"),
    ("peer_pools.sv_login", "there is no login"),
];

fn admin_settings(database: &str) -> Settings {
    settings(database, "transaction").set("howdah.admin_users", vec![RIDER])
}

fn start_as(howdah: &Howdah, parameters: &[(&str, &str)]) -> Wire {
    let mut wire = Wire::tcp(howdah.address());
    let frames = wire.start(parameters, "");
    assert!(frames.last().is_some_and(|frame| frame.tag == b'Z'), "{}", lines(&frames));
    wire
}

fn reload(howdah: &Howdah, settings: &Settings) {
    let before = howdah.log().matches("configuration reloaded").count();
    howdah.configure(settings);
    howdah.signal(Signal::HUP);
    eventually("a reload", || howdah.log().matches("configuration reloaded").count() > before);
}

/// The time of the day, as the console writes it.
fn today() -> String {
    let sql = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS \"UTC\"')";
    value(&mut Postgres::shared().admin("postgres"), sql)
}

/// One with a named statement, `BEGIN` and its server, and both rows.
fn linked(wire: &mut Wire, console: &mut Wire, database: &str) -> (Row, Row) {
    wire.run("BEGIN");
    let pid = server_of(wire);
    let server = the_row(console, "servers", &[("remote_pid", &pid)]);
    (the_row(console, "clients", &[("database", database), ("state", "active")]), server)
}

fn an_idle_client(console: &mut Wire, key: &[(&str, &str)], howdah: SocketAddr) {
    let port = howdah.port().to_string();
    let idle = [
        ("clients.type", "C"),
        ("clients.user", RIDER),
        ("clients.database", "seen"),
        ("clients.replication", "none"),
        ("clients.state", "idle"),
        ("clients.addr", "127.0.0.1"),
        ("clients.local_addr", "127.0.0.1"),
        ("clients.local_port", &port),
        ("clients.link", ""),
        ("clients.remote_pid", ""),
        ("clients.tls", ""),
        ("clients.application_name", "first"),
        ("clients.prepared_statements", "0"),
        ("clients.close_needed", "0"),
        ("clients.wait", "0"),
        ("clients.wait_us", "0"),
    ];
    shows(console, key, &idle);
}

fn an_active_server(console: &mut Wire, key: &[(&str, &str)], server: &Row) {
    let node = Postgres::shared().address();
    let pid = server.get("remote_pid");
    let active = [
        ("servers.type", "S"),
        ("servers.user", RIDER),
        ("servers.database", "seen"),
        ("servers.state", "active"),
        ("servers.addr", "127.0.0.1"),
        ("servers.port", &node.port().to_string()),
        ("servers.local_addr", "127.0.0.1"),
        ("servers.local_port", &server.get("local_port")),
        ("servers.remote_pid", &pid),
        ("servers.application_name", "second"),
        ("servers.prepared_statements", "1"),
        ("servers.close_needed", "0"),
        ("servers.tls", ""),
        ("servers.replication", "none"),
    ];
    shows(console, key, &active);
}

/// SHOW SOCKETS has both as the other two have them.
fn sockets_are_the_same(console: &mut Wire, (own, server): (&Row, &Row)) {
    for (kind, state) in [("C", "cl_active"), ("S", "sv_active")] {
        let row = the_row(console, "sockets", &[("database", "seen"), ("type", kind)]);
        let same = if kind == "C" { own } else { server };
        let columns = [
            "user",
            "database",
            "replication",
            "addr",
            "port",
            "local_addr",
            "local_port",
            "connect_time",
            "request_time",
            "wait",
            "wait_us",
            "close_needed",
            "ptr",
            "link",
            "remote_pid",
            "tls",
            "application_name",
            "prepared_statements",
            "id",
        ];
        columns.iter().for_each(|column| assert_eq!(row.get(column), same.get(column), "{column}"));
        assert_eq!((row.get("type"), row.get("state")), (kind.to_owned(), state.to_owned()));
    }
}

#[test]
fn connections_as_they_are() {
    let howdah = Howdah::start(&admin_settings("seen"));
    let mut console = console(&howdah);
    let before = today();
    let who = [("user", RIDER), ("database", "seen"), ("application_name", "first")];
    let mut wire = start_as(&howdah, &who);
    let key = [("database", "seen")];
    an_idle_client(&mut console, &key, howdah.address());
    wire.run("SET application_name = 'second'");
    wire.send(&[messages::parse("s", "SELECT 1", &[]), messages::sync()].concat());
    wire.until(b'Z');
    let after = [("clients.application_name", "second"), ("clients.prepared_statements", "1")];
    shows(&mut console, &key, &after);
    let (own, server) = linked(&mut wire, &mut console, "seen");
    let moments = [
        own.get("connect_time"),    // "clients.connect_time"
        own.get("request_time"),    // "clients.request_time"
        server.get("connect_time"), // "servers.connect_time"
        server.get("request_time"), // "servers.request_time"
    ];
    let after = today();
    assert!(moments.iter().all(|at| before <= *at && *at <= after), "{before} {moments:?} {after}");
    // "clients.ptr", "clients.link", "servers.ptr", "servers.link"
    assert_eq!((own.get("link"), server.get("link")), (server.get("ptr"), own.get("ptr")));
    assert_eq!(wire_port(&mut wire), server.get("local_port"));
    an_active_server(&mut console, &key, &server);
    sockets_are_the_same(&mut console, (&own, &server));
    console.run("RECONNECT seen");
    shows(&mut console, &key, &[("servers.close_needed", "1")]);
    wire.run("COMMIT");
    eventually("it is closed", || rows_with(&mut console, "servers", &key).is_empty());
    shows(&mut console, &key, &[("clients.state", "idle"), ("clients.link", "")]);
    wire.send(&[messages::close(b'S', "s"), messages::sync()].concat());
    wire.until(b'Z');
    shows(&mut console, &key, &[("clients.prepared_statements", "0")]);
    let state = [("servers.state", "idle"), ("servers.link", ""), ("servers.close_needed", "0")];
    shows(&mut console, &key, &state);
    assert_ne!(the_row(&mut console, "servers", &key).get("id"), server.get("id"), "servers.id");
    wire.run("BEGIN");
    let mut other = support::console::console(&howdah);
    other.send(&messages::query("SHUTDOWN WAIT_FOR_SERVERS"));
    shows(&mut console, &key, &[("clients.close_needed", "1")]);
}

/// The port of howdah's own end of the connection to the server.
fn wire_port(wire: &mut Wire) -> String {
    value(wire, "SELECT inet_client_port()")
}

#[test]
fn connections_of_other_kinds() {
    let postgres = Postgres::start(&Options {
        hba: vec!["host replication all 127.0.0.1/32 trust".to_owned()],
        ..Options::default()
    });
    let settings = Settings::new("transaction")
        .database("app", postgres.address())
        .set("howdah.admin_users", vec![RIDER]);
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let path = howdah.folder().join(format!(".s.PGSQL.{}", howdah.address().port()));
    let mut unix = Wire::unix(&path);
    unix.start(&[("user", RIDER), ("database", "app")], "");
    let own = std::process::id().to_string();
    let local = [
        ("clients.addr", "unix"),
        ("clients.port", "0"),
        ("clients.local_addr", "unix"),
        ("clients.local_port", "0"),
        ("clients.remote_pid", &own),
    ];
    shows(&mut console, &[("database", "app")], &local);
    let first = the_row(&mut console, "clients", &[("database", "app")]);
    unix.disconnect();
    eventually("it has left", || rows_with(&mut console, "clients", &[]).is_empty());
    for (value, shown) in [("database", "logical"), ("true", "physical")] {
        let who = [("user", SUPERUSER), ("database", "app"), ("replication", value)];
        let mut wire = start_as(&howdah, &who);
        let key = [("user", SUPERUSER)];
        shows(&mut console, &key, &[("clients.replication", shown), ("clients.user", SUPERUSER)]);
        let row = the_row(&mut console, "clients", &key);
        assert_ne!(row.get("id"), first.get("id"), "clients.id");
        assert_ne!(row.get("port"), "0", "clients.port");
        wire.send(&messages::query("IDENTIFY_SYSTEM"));
        wire.until(b'Z');
        let servers = [("servers.replication", shown), ("servers.user", SUPERUSER)];
        shows(&mut console, &key, &servers);
        wire.disconnect();
        eventually("it has left", || rows_with(&mut console, "servers", &key).is_empty());
    }
}

#[test]
fn connections_with_tls() {
    let postgres = Postgres::start(&Options::default());
    let certificates = Certificates::new(&["localhost"]);
    let data = postgres.socket_dir().join("data");
    let owner = std::fs::metadata(&data).expect("its folder");
    for (from, to) in [("leaf.crt", "server.crt"), ("leaf.key", "server.key")] {
        let path = data.join(to);
        std::fs::copy(certificates.path(from), &path).expect("a writable folder");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("an owner");
    }
    let mut admin = postgres.admin("postgres");
    admin.run("ALTER SYSTEM SET ssl = on");
    admin.run("SELECT pg_reload_conf()");
    eventually("TLS", || tls::ask(&mut Wire::tcp(postgres.address())) == b"S");
    let settings = Settings::new("transaction")
        .database("app", postgres.address())
        .set("howdah.admin_users", vec![RIDER])
        .set("tls.client.sslmode", "prefer")
        .set("tls.client.cert_file", certificates.text("leaf.crt"))
        .set("tls.client.key_file", certificates.text("leaf.key"))
        .set("tls.server.sslmode", "require");
    let howdah = Howdah::start(&settings);
    let mut wire =
        tls::begin(Wire::tcp(howdah.address()), &certificates.path("ca.crt"), "localhost");
    wire.start(&[("user", RIDER), ("database", "app")], "");
    wire.run("SELECT 1");
    let mut console = console(&howdah);
    for view in ["clients", "servers"] {
        // "clients.tls" and "servers.tls"
        let shown = the_row(&mut console, view, &[("database", "app")]).get("tls");
        assert!(shown.starts_with("TLSv1.3/TLS13_AES_"), "{view}: {shown}");
    }
}

#[test]
fn pools_as_clients_wait_and_servers_are_opened() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    let base = admin_settings("pooled")
        .set("databases.pooled.nodes", vec![relay.address().to_string()])
        .set("pool.default_pool_size", 1)
        .set("pool.server_check_delay", "1h");
    let howdah = Howdah::start(&base);
    let mut console = console(&howdah);
    let key = [("database", "pooled")];
    let (mut one, mut two) = (client(&howdah, "pooled"), client(&howdah, "pooled"));
    let none = [
        ("pools.database", "pooled"),
        ("pools.user", RIDER),
        ("pools.cl_active", "2"),
        ("pools.cl_waiting", "0"),
        ("pools.sv_active", "0"),
        ("pools.sv_idle", "1"),
        ("pools.sv_used", "0"),
        ("pools.sv_tested", "0"),
        ("pools.sv_login", "0"),
        ("pools.maxwait", "0"),
        ("pools.maxwait_us", "0"),
        ("pools.pool_mode", "transaction"),
    ];
    shows(&mut console, &key, &none);
    one.run("BEGIN");
    two.send(&messages::query("SELECT 1"));
    let waiting = [
        ("pools.cl_active", "1"),
        ("pools.cl_waiting", "1"),
        ("pools.sv_active", "1"),
        ("pools.sv_idle", "0"),
        ("pools.maxwait", "1"),
    ];
    shows(&mut console, &key, &waiting);
    exceeds(&mut console, &key, "pools.maxwait_us", 0.0);
    let client_key = [("database", "pooled"), ("state", "waiting")];
    exceeds(&mut console, &client_key, "clients.wait", 0.0);
    exceeds(&mut console, &client_key, "clients.wait_us", 0.0);
    one.run("COMMIT");
    two.until(b'Z');
    // One that has idled for the delay has to be asked first.
    reload(
        &howdah,
        &base.clone().set("pool.server_check_delay", "0s").set("pool.pool_mode", "session"),
    );
    let used = [("pools.sv_used", "1"), ("pools.sv_idle", "0"), ("pools.pool_mode", "session")];
    // Another mode: the server is a new one.
    two.run("SELECT 1");
    shows(&mut console, &key, &used);
    shows(&mut console, &key, &[("servers.state", "used")]);
    let slow = base
        .set("pool.server_check_delay", "0s")
        .set("pool.server_check_query", "SELECT pg_sleep(3)");
    reload(&howdah, &slow);
    two.run("SELECT 1");
    two.send(&messages::query("SELECT 1"));
    shows(&mut console, &key, &[("pools.sv_tested", "1"), ("pools.cl_waiting", "1")]);
    shows(&mut console, &key, &[("servers.state", "tested")]);
    two.until(b'Z');
    // One that does not answer while it is opened.
    relay.set(Manner::Silence);
    relay.cut();
    one.send(&messages::query("SELECT 1"));
    shows(&mut console, &key, &[("pools.sv_login", "1")]);
    let opening = [("database", "pooled"), ("state", "new")];
    exceeds(&mut console, &opening, "servers.wait", 0.0);
    exceeds(&mut console, &opening, "servers.wait_us", 0.0);
}

#[test]
fn cancel_requests_on_their_way() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    let settings = admin_settings("cancelling")
        .set("databases.cancelling.nodes", vec![relay.address().to_string()]);
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let key = [("database", "cancelling")];
    let mut wire = client(&howdah, "cancelling");
    wire.run("BEGIN");
    let cancel = messages::cancel_request(wire.key().expect("a key"));
    let mut lock = Postgres::shared().admin("cancelling");
    lock.run("SELECT pg_advisory_lock(1)");
    wire.run("COMMIT");
    wire.send(&messages::query("SELECT pg_advisory_xact_lock(1)"));
    shows(&mut console, &key, &[("clients.state", "active")]);
    let nothing = [
        ("pools.cl_active_cancel_req", "0"),
        ("pools.cl_waiting_cancel_req", "0"),
        ("pools.sv_active_cancel", "0"),
        ("pools.sv_being_canceled", "0"),
    ];
    shows(&mut console, &key, &nothing);
    // The request is taken, and never answered.
    relay.set(Manner::Silence);
    let mut asking = Wire::tcp(howdah.address());
    asking.send(&cancel);
    let underway = [
        ("pools.cl_active_cancel_req", "1"),
        ("pools.sv_active_cancel", "1"),
        ("pools.sv_active", "1"),
        ("pools.sv_being_canceled", "0"),
    ];
    shows(&mut console, &key, &underway);
    let asks = the_row(&mut console, "clients", &[("state", "active_cancel_req")]);
    let carries = the_row(&mut console, "servers", &[("state", "active_cancel")]);
    assert_eq!((asks.get("link"), carries.get("link")), (carries.get("ptr"), asks.get("ptr")));
    assert_eq!(carries.get("port"), relay.address().port().to_string());
    // What it runs ends by itself, and nobody else may have it before the request is through.
    lock.run("SELECT pg_advisory_unlock(1)");
    wire.until(b'Z');
    shows(&mut console, &key, &[("pools.sv_being_canceled", "1"), ("pools.sv_active", "0")]);
    let held = the_row(&mut console, "servers", &[("state", "being_canceled")]);
    assert_eq!(held.get("database"), "cancelling");
    relay.cut();
    until_closed(&mut asking);
    let over = [("pools.cl_active_cancel_req", "0"), ("pools.sv_being_canceled", "0")];
    shows(&mut console, &key, &over);
}

/// Passes one connection on, and then takes none any more until it is told to.
struct Crowded {
    listener: TcpListener,
    address: SocketAddr,
}

impl Crowded {
    fn bind() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        // The kernel keeps one more than this for whoever does not accept.
        socket.listen(0).expect("a listener");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("an address");
        Self { listener, address }
    }

    fn pass_one(&self) {
        let (from, _) = self.listener.accept().expect("howdah comes");
        let to = TcpStream::connect(Postgres::shared().address()).expect("PostgreSQL");
        for (mut from, mut to) in [
            (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor")),
            (to, from),
        ] {
            std::thread::spawn(move || std::io::copy(&mut from, &mut to).ok());
        }
    }

    /// Fills what the kernel keeps; the next one has to wait for a place.
    fn fill(&self) -> Vec<TcpStream> {
        let moment = std::time::Duration::from_millis(300);
        let mut all = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&self.address, moment) {
            all.push(stream);
            assert!(all.len() < 10, "it never fills");
        }
        all
    }
}

#[test]
fn a_cancel_request_that_has_not_reached_the_server_yet() {
    let crowded = Crowded::bind();
    let settings = admin_settings("crowded")
        .set("databases.crowded.nodes", vec![crowded.address.to_string()])
        .set("tls.server.sslmode", "disable");
    let howdah = Howdah::start(&settings);
    let mut wire = Wire::tcp(howdah.address());
    wire.send(&messages::startup(196_608, &[("user", RIDER), ("database", "crowded")]));
    crowded.pass_one();
    wire.until(b'Z');
    let cancel = messages::cancel_request(wire.key().expect("a key"));
    wire.send(&messages::query("SELECT pg_sleep(600)"));
    let mut console = console(&howdah);
    let key = [("database", "crowded")];
    shows(&mut console, &key, &[("pools.sv_active", "1"), ("pools.cl_waiting_cancel_req", "0")]);
    let others = crowded.fill();
    let mut asking = Wire::tcp(howdah.address());
    asking.send(&cancel);
    shows(
        &mut console,
        &key,
        &[("pools.cl_waiting_cancel_req", "1"), ("pools.sv_active_cancel", "0")],
    );
    shows(
        &mut console,
        &[("state", "waiting_cancel_req")],
        &[("clients.database", "crowded"), ("clients.link", "")],
    );
    drop(others);
    std::thread::spawn(move || while crowded.listener.accept().is_ok() {});
    until_closed(&mut asking);
    shows(&mut console, &key, &[("pools.cl_waiting_cancel_req", "0")]);
}

/// The same with other values of everything that the two views show.
fn otherwise(before: Settings, node: &str) -> Settings {
    before
        .set("databases.based.nodes", vec![format!("localhost:{node}")])
        .set("databases.based.dbname", "app")
        .set("databases.based.user", RIDER)
        .set("databases.based.pool_size", 7)
        .set("databases.based.reserve_pool_size", 3)
        .set("databases.based.server_lifetime", "77s")
        .set("databases.based.pool_mode", "session")
        .set("databases.based.max_db_connections", 5)
        .set("databases.based.max_db_client_connections", 4)
        .set("databases.second.nodes", vec!["127.0.0.1:1"])
        .set("databases.second.min_pool_size", 2)
        .set(&format!("users.{RIDER}.max_user_connections"), 9)
        .set(&format!("users.{RIDER}.max_user_client_connections"), 8)
        .set(&format!("users.{RIDER}.pool_mode"), "statement")
        .set("users.other.pool_size", 6)
        .set("users.other.reserve_pool_size", 5)
}

#[test]
fn databases_and_users_as_they_are_configured_and_used() {
    let before = admin_settings("based");
    let howdah = Howdah::start(&before);
    let mut console = console(&howdah);
    let (database, user) = ([("name", "based")], [("name", RIDER)]);
    let mut wire = client(&howdah, "based");
    wire.run("SELECT 1");
    let node = Postgres::shared().port().to_string();
    let at_first = [
        ("databases.name", "based"),
        ("databases.host", "127.0.0.1"),
        ("databases.port", &node),
        ("databases.database", "based"),
        ("databases.force_user", ""),
        ("databases.pool_size", "20"),
        ("databases.min_pool_size", "0"),
        ("databases.reserve_pool_size", "0"),
        ("databases.server_lifetime", "3600"),
        ("databases.pool_mode", ""),
        ("databases.max_connections", "0"),
        ("databases.current_connections", "1"),
        ("databases.max_client_connections", "0"),
        ("databases.current_client_connections", "1"),
        ("databases.paused", "0"),
        ("databases.disabled", "0"),
    ];
    shows(&mut console, &database, &at_first);
    let user_at_first = [
        ("users.name", RIDER),
        ("users.pool_size", ""),
        ("users.reserve_pool_size", ""),
        ("users.pool_mode", ""),
        ("users.max_user_connections", "0"),
        ("users.current_connections", "1"),
        ("users.max_user_client_connections", "0"),
        ("users.current_client_connections", "1"),
    ];
    shows(&mut console, &user, &user_at_first);
    drop(wire);
    shows(&mut console, &database, &[("databases.current_client_connections", "0")]);
    eventually("nobody has it", || rows_with(&mut console, "users", &user).is_empty());
    reload(&howdah, &otherwise(before, &node));
    console.run("PAUSE based");
    console.run("DISABLE based");
    let changed = [
        ("databases.host", "localhost"),
        ("databases.database", "app"),
        ("databases.force_user", RIDER),
        ("databases.pool_size", "7"),
        ("databases.reserve_pool_size", "3"),
        ("databases.server_lifetime", "77"),
        ("databases.pool_mode", "session"),
        ("databases.max_connections", "5"),
        ("databases.current_connections", "0"),
        ("databases.max_client_connections", "4"),
        ("databases.paused", "1"),
        ("databases.disabled", "1"),
    ];
    shows(&mut console, &database, &changed);
    let second = [("databases.port", "1"), ("databases.min_pool_size", "2")];
    shows(&mut console, &[("name", "second")], &second);
    let changed = [
        ("users.max_user_connections", "9"),
        ("users.max_user_client_connections", "8"),
        ("users.pool_mode", "statement"),
        ("users.current_connections", "0"),
        ("users.current_client_connections", "0"),
    ];
    shows(&mut console, &user, &changed);
    let other = [("users.pool_size", "6"), ("users.reserve_pool_size", "5")];
    shows(&mut console, &[("name", "other")], &other);
}

/// What the columns of statistics count, in the order of PgBouncer's.
const TOTALS: [&str; 12] = [
    "stats.total_server_assignment_count",
    "stats.total_xact_count",
    "stats.total_query_count",
    "stats.total_received",
    "stats.total_sent",
    "stats.total_xact_time",
    "stats.total_query_time",
    "stats.total_wait_time",
    "stats.total_client_parse_count",
    "stats.total_server_parse_count",
    "stats.total_bind_count",
    "stats.total_client_login_count",
];
const AVERAGES: [&str; 12] = [
    "stats.avg_server_assignment_count",
    "stats.avg_xact_count",
    "stats.avg_query_count",
    "stats.avg_recv",
    "stats.avg_sent",
    "stats.avg_xact_time",
    "stats.avg_query_time",
    "stats.avg_wait_time",
    "stats.avg_client_parse_count",
    "stats.avg_server_parse_count",
    "stats.avg_bind_count",
    "stats.avg_client_login_count",
];
const STATS_TOTALS: [&str; 12] = [
    "stats_totals.server_assignment_count",
    "stats_totals.xact_count",
    "stats_totals.query_count",
    "stats_totals.bytes_received",
    "stats_totals.bytes_sent",
    "stats_totals.xact_time",
    "stats_totals.query_time",
    "stats_totals.wait_time",
    "stats_totals.client_parse_count",
    "stats_totals.server_parse_count",
    "stats_totals.bind_count",
    "stats_totals.client_login_count",
];
const STATS_AVERAGES: [&str; 12] = [
    "stats_averages.server_assignment_count",
    "stats_averages.xact_count",
    "stats_averages.query_count",
    "stats_averages.bytes_received",
    "stats_averages.bytes_sent",
    "stats_averages.xact_time",
    "stats_averages.query_time",
    "stats_averages.wait_time",
    "stats_averages.avg_client_parse_count",
    "stats_averages.avg_server_parse_count",
    "stats_averages.avg_bind_count",
    "stats_averages.avg_client_login_count",
];
const TOTAL_ROWS: [&str; 12] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

/// One transaction of everything that is counted, while another client waits for its server.
fn everything(howdah: &Howdah, holder: &mut Wire, database: &str) {
    let mut newcomer = client(howdah, database);
    holder.run("BEGIN");
    newcomer.send(&messages::query("SELECT pg_sleep(0.01)"));
    let all = [
        messages::parse("named", "SELECT $1::int4", &[]),
        messages::bind(&messages::Bind {
            statement: "named".to_owned(),
            values: vec![Some(b"1".to_vec())],
            ..Default::default()
        }),
        messages::execute("", 0),
        messages::close(b'S', "named"),
        messages::sync(),
    ];
    holder.send(&all.concat());
    holder.until(b'Z');
    holder.run("COMMIT");
    newcomer.until(b'Z');
    newcomer.send(&messages::terminate());
    until_closed(&mut newcomer);
}

#[test]
fn statistics_of_what_clients_do() {
    let settings =
        admin_settings("stated").set("pool.default_pool_size", 1).set("log.stats_period", "1s");
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let mut holder = client(&howdah, "stated");
    let key = [("database", "stated")]; // "stats.database", "stats_totals.database", "stats_averages.database"
    holder.run("SELECT 1");
    let total = |row: &Row, path: &str| row.number(path.split_once('.').expect("a path").1);
    let before =
        (the_row(&mut console, "stats", &key), the_row(&mut console, "stats_totals", &key));
    everything(&howdah, &mut holder, "stated");
    let after = (the_row(&mut console, "stats", &key), the_row(&mut console, "stats_totals", &key));
    for path in TOTALS {
        assert!(total(&after.0, path) > total(&before.0, path), "{path}: {before:?} {after:?}");
    }
    for path in STATS_TOTALS {
        assert!(total(&after.1, path) > total(&before.1, path), "{path}: {before:?} {after:?}");
    }
    // Averages are of the last period: it has to be one of work, as often as a second needs.
    for paths in [AVERAGES, STATS_AVERAGES] {
        let view = paths[0].split_once('.').expect("a path").0;
        let mut seen = BTreeSet::<&str>::new();
        eventually("an average of each", || {
            everything(&howdah, &mut holder, "stated");
            let row = the_row(&mut console, view, &key);
            seen.extend(paths.iter().filter(|path| total(&row, path) > 0.0));
            seen.len() == paths.len()
        });
    }
    // "totals.name", "totals.value"
    for name in TOTAL_ROWS {
        let total = the_row(&mut console, "totals", &[("name", &format!("total_{name}"))]);
        assert!(total.number("value") > 0.0, "{name}");
        assert_eq!(rows_with(&mut console, "totals", &[("name", &format!("avg_{name}"))]).len(), 1);
    }
    for name in ["wait", "query", "transaction"] {
        // "latency.database", "latency.user", "latency.what"
        let keys = [("database", "stated"), ("user", RIDER), ("what", name)];
        exceeds(&mut console, &keys, "latency.count", 1.0);
        for path in ["latency.p50_ms", "latency.p95_ms", "latency.p99_ms", "latency.max_ms"] {
            if name != "wait" || path == "latency.max_ms" {
                exceeds(&mut console, &keys, path, 0.0);
            }
        }
    }
}

#[test]
fn capacity_of_a_pool_at_work() {
    let settings =
        admin_settings("sized").set("pool.default_pool_size", 1).set("log.stats_period", "1s");
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let mut holder = client(&howdah, "sized");
    holder.run("SELECT 1");
    let key = [("database", "sized"), ("user", RIDER)]; // "capacity.database", "capacity.user"
    let paths = [
        "capacity.arrival_rate",
        "capacity.service_time_ms",
        "capacity.offered_load",
        "capacity.pool_size",
        "capacity.utilisation",
        "capacity.wait_p50_ms",
        "capacity.wait_p99_ms",
        "capacity.predicted_p50_ms",
        "capacity.predicted_p99_ms",
        "capacity.recommended_size",
    ];
    let mut seen = BTreeSet::<&str>::new();
    let mut clients: Vec<Wire> = (0..3).map(|_| client(&howdah, "sized")).collect();
    eventually("a busy period", || {
        clients.iter_mut().for_each(|one| one.send(&messages::query("SELECT pg_sleep(0.02)")));
        clients.iter_mut().for_each(|one| drop(one.until(b'Z')));
        let found = rows_with(&mut console, "capacity", &key);
        for path in paths {
            let value = |row: &Row| row.number(path.split_once('.').expect("a path").1);
            if found.first().is_some_and(|row| value(row) > 0.0) {
                seen.insert(path);
            }
        }
        seen.len() == paths.len()
    });
    console.run("SET default_pool_size = 9");
    shows(&mut console, &key, &[("capacity.pool_size", "9")]);
}

#[test]
fn lists_state_settings_and_memory() {
    let node = format!("localhost:{}", Postgres::shared().port());
    let howdah = Howdah::start(&admin_settings("listed").set("databases.listed.nodes", vec![node]));
    let mut console = console(&howdah);
    let items = |console: &mut Wire, list: &str, items: &str| {
        shows(console, &[("list", list)], &[("lists.list", list), ("lists.items", items)]);
    };
    for list in
        ["pools", "used_clients", "login_clients", "free_servers", "used_servers", "dns_names"]
    {
        items(&mut console, list, "0");
    }
    assert!(rows(&mut console, "dns_hosts").is_empty());
    let memory = |console: &mut Wire| the_row(console, "mem", &[("name", "client_cache")]);
    let before = memory(&mut console);
    assert_eq!((before.get("used"), before.get("memtotal")), ("0".to_owned(), "0".to_owned()));
    let _stranger = Wire::tcp(howdah.address());
    items(&mut console, "login_clients", "1");
    let mut wire = client(&howdah, "listed");
    for (list, count) in
        [("pools", "1"), ("used_clients", "1"), ("free_servers", "1"), ("dns_names", "1")]
    {
        items(&mut console, list, count);
    }
    wire.run("BEGIN");
    items(&mut console, "used_servers", "1");
    items(&mut console, "free_servers", "0");
    items(&mut console, "console_clients", "1");
    let after = memory(&mut console);
    assert_eq!(after.get("used"), "1", "mem.used");
    // "mem.name", "mem.size", "mem.used", "mem.memtotal"
    assert_eq!(after.get("memtotal"), after.get("size"));
    let host = the_row(&mut console, "dns_hosts", &[("hostname", "localhost")]); // "dns_hosts.hostname"
    assert!(host.get("addrs").split(',').any(|ip| ip == "127.0.0.1"), "dns_hosts.addrs: {host:?}");
    let ttl = host.number("ttl"); // "dns_hosts.ttl", "dns_hosts.addrs"
    eventually("time passes", || {
        the_row(&mut console, "dns_hosts", &[("hostname", "localhost")]).number("ttl") < ttl
    });
    wire.run("COMMIT");
    shows(&mut console, &[("key", "paused")], &[("state.key", "paused"), ("state.value", "no")]);
    console.run("PAUSE");
    shows(&mut console, &[("key", "paused")], &[("state.value", "yes")]);
    shows(&mut console, &[("key", "active")], &[("state.value", "no")]);
    let key = [("key", "default_pool_size")];
    let at_first = [
        ("config.key", "default_pool_size"),
        ("config.value", "20"),
        ("config.default", "20"),
        ("config.changeable", "yes"),
    ];
    shows(&mut console, &key, &at_first);
    console.run("SET default_pool_size = 7");
    shows(&mut console, &key, &[("config.value", "7"), ("config.default", "20")]);
    let fixed = [("config.changeable", "no"), ("config.default", "6432")];
    shows(&mut console, &[("key", "listen_port")], &fixed);
}

#[test]
fn what_a_reload_has_replaced_is_shown_while_it_is_used() {
    let relay = Relay::start(Postgres::shared().address(), Manner::Pass);
    let before = admin_settings("moved");
    let howdah = Howdah::start(&before);
    let mut console = console(&howdah);
    let mut old = client(&howdah, "moved");
    old.run("BEGIN");
    let pid = server_of(&mut old);
    // The same database elsewhere.
    reload(
        &howdah,
        &before.clone().set("databases.moved.nodes", vec![relay.address().to_string()]),
    );
    let mut new = client(&howdah, "moved");
    new.run("BEGIN");
    let both = [("pools.cl_active", "2"), ("pools.sv_active", "2")];
    shows(&mut console, &[("database", "moved")], &both);
    let replaced = [("servers.state", "active"), ("servers.close_needed", "1")];
    shows(&mut console, &[("remote_pid", &pid)], &replaced);
    old.run("COMMIT");
    eventually("it is closed", || {
        rows_with(&mut console, "servers", &[("remote_pid", &pid)]).is_empty()
    });
    drop(old);
    let one = [("pools.cl_active", "1"), ("pools.sv_active", "1")];
    shows(&mut console, &[("database", "moved")], &one);
    // Removed, and there again: another pool.
    let postgres = Postgres::shared();
    postgres.create_database("stays");
    let stays = before.database("stays", postgres.address());
    let without = Settings::new("transaction")
        .set("howdah.workers", 1)
        .set("howdah.admin_users", vec![RIDER]);
    reload(&howdah, &without.database("stays", postgres.address()));
    reload(&howdah, &stays);
    let mut newest = client(&howdah, "moved");
    newest.run("BEGIN");
    shows(&mut console, &[("database", "moved")], &both);
}

#[test]
fn active_sockets_are_those_that_do_something() {
    let howdah = Howdah::start(&admin_settings("active"));
    let mut console = console(&howdah);
    let (mut busy, mut idle) = (client(&howdah, "active"), client(&howdah, "active"));
    idle.run("SELECT 1");
    busy.run("BEGIN");
    let states = |console: &mut Wire, view: &str| -> Vec<String> {
        rows_with(console, view, &[("database", "active")])
            .iter()
            .map(|row| row.get("state"))
            .collect()
    };
    assert_eq!(states(&mut console, "sockets"), ["cl_active", "cl_active", "sv_active"]);
    assert_eq!(states(&mut console, "active_sockets"), ["cl_active", "sv_active"]);
    busy.run("COMMIT");
    eventually("all is quiet", || states(&mut console, "active_sockets").is_empty());
}

#[test]
fn no_descriptors_are_handed_over() {
    let settings = admin_settings("fds").set("howdah.stats_users", vec!["watcher"]);
    let howdah = Howdah::start(&settings);
    for (user, says) in [
        (RIDER, "ERROR 0A000 file descriptors are not handed over"),
        ("watcher", "ERROR 42501 admin access needed"),
    ] {
        let mut wire = Wire::login(howdah.address(), user, "pgbouncer");
        let error = support::behaviour::the_error(&wire.query("SHOW FDS"));
        assert_eq!(support::behaviour::told(&error), says);
    }
}

#[test]
fn peers_and_requests_for_them() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let set =
        |settings: Settings| settings.set("howdah.peer_id", 1).set("peers.9.host", "127.0.0.1");
    let settings = set(admin_settings("beside")).set("peers.9.port", i64::from(port));
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let key = [("peer_id", "9")];
    let port_text = port.to_string();
    shows(
        &mut console,
        &key,
        &[("peers.peer_id", "9"), ("peers.host", "127.0.0.1"), ("peers.port", &port_text)],
    );
    let quiet = [
        ("peer_pools.peer_id", "9"),
        ("peer_pools.cl_active_cancel_req", "0"),
        ("peer_pools.sv_active_cancel", "0"),
    ];
    shows(&mut console, &key, &quiet);
    // A request for the peer, which does not answer it.
    let mut asking = Wire::tcp(howdah.address());
    asking.send(&messages::cancel_request(&[1, 9, 0, 1, 5, 6, 7, 3]));
    let (taken, _) = silent.accept().expect("the request is passed on");
    let underway = [("peer_pools.cl_active_cancel_req", "1"), ("peer_pools.sv_active_cancel", "1")];
    shows(&mut console, &key, &underway);
    drop(taken);
    eventually("it is through", || {
        the_row(&mut console, "peer_pools", &key).get("cl_active_cancel_req") == "0"
    });
    let moved = set(admin_settings("beside")).set("peers.9.port", 1);
    reload(&howdah, &moved);
    shows(&mut console, &key, &[("peers.port", "1")]);
}

/// The row of the one statement that holds this text.
fn statement(console: &mut Wire, text: &str) -> Row {
    let found = rows(console, "queries");
    let found: Vec<_> = found.into_iter().filter(|row| row.get("query").contains(text)).collect();
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found.into_iter().next().expect("checked")
}

#[test]
fn what_each_statement_costs() {
    let settings = admin_settings("costly").set("pool.default_pool_size", 1);
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let (mut one, mut two) = (client(&howdah, "costly"), client(&howdah, "costly"));
    one.run("SELECT 12 / g AS costs FROM generate_series(1, 3) g");
    let before = statement(&mut console, "costs");
    for (path, value) in [
        ("queries.database", "costly"),
        ("queries.calls", "1"),
        ("queries.rows", "3"),
        ("queries.errors", "0"),
        ("queries.query", "select $1 / g as costs from generate_series($2, ...) g"),
    ] {
        assert_eq!(before.get(path.split_once('.').expect("a path").1), value, "{path}");
    }
    assert!(!before.get("fingerprint").is_empty(), "queries.fingerprint");
    // The other one's transaction makes it wait, and another value makes it fail.
    two.run("BEGIN");
    one.send(&messages::query("SELECT 12 / g AS costs FROM generate_series(0, 3) g"));
    let waiting = [("database", "costly")];
    shows(&mut console, &waiting, &[("pools.cl_waiting", "1")]);
    two.run("COMMIT");
    assert!(one.until(b'Z').iter().any(|frame| frame.tag == b'E'), "0 is no divisor");
    let after = statement(&mut console, "costs");
    assert_eq!((after.get("calls"), after.get("errors")), ("2".to_owned(), "1".to_owned()));
    for path in ["queries.bytes", "queries.total_time_ms", "queries.wait_time_ms"] {
        let column = path.split_once('.').expect("a path").1;
        assert!(after.number(column) > before.number(column), "{path}: {before:?} {after:?}");
    }
    one.run("SELECT pg_sleep(0.05) AS slow");
    let slow = statement(&mut console, "slow");
    for path in ["queries.p50_ms", "queries.p95_ms", "queries.p99_ms", "queries.max_ms"] {
        assert!(slow.number(path.split_once('.').expect("a path").1) >= 40.0, "{path}: {slow:?}");
    }
    assert_ne!(slow.get("fingerprint"), after.get("fingerprint"));
    console.run("RESET QUERIES");
    assert!(rows(&mut console, "queries").is_empty());
}

#[test]
fn what_has_happened() {
    let settings = admin_settings("eventful").set("howdah.max_client_conn", 1);
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    let _first = client(&howdah, "eventful");
    let refused = || {
        let mut wire = Wire::tcp(howdah.address());
        wire.start(&[("user", RIDER), ("database", "eventful")], "");
    };
    refused();
    let limit = [("kind", "limit")];
    let expected = [
        ("events.level", "warn"),
        ("events.kind", "limit"),
        ("events.count", "1"),
        ("events.database", "eventful"),
        ("events.user", RIDER),
    ];
    shows(&mut console, &limit, &expected);
    let row = the_row(&mut console, "events", &limit);
    // "events.time", "events.message"
    assert!(row.get("message").contains("client"), "{row:?}");
    assert!(row.get("time") <= today(), "{row:?}");
    refused();
    shows(&mut console, &limit, &[("events.count", "2")]);
    console.run("PAUSE eventful");
    shows(&mut console, &[("kind", "pause")], &[("events.level", "info"), ("events.count", "1")]);
}

#[test]
fn no_column_is_left_out() {
    let own = concat!(
        include_str!("console_columns.rs"),
        include_str!("nodes.rs"),
        include_str!("routing.rs"),
        include_str!("advise.rs")
    );
    let mut missing = Vec::new();
    for (word, view) in VIEWS {
        for column in view.columns() {
            let path = format!("{word}.{}", column.name);
            let constant = |(known, _): &&(&str, &str)| {
                path == *known || (known.ends_with('.') && path.starts_with(known))
            };
            let is_tested = own.contains(&format!("\"{path}\""));
            // All columns that one of these has too are compared with it.
            let twin = match *word {
                "sockets" => "clients",
                "advice_by_calls" => "advice",
                _ => "",
            };
            let is_compared =
                !twin.is_empty() && own.contains(&format!("\"{twin}.{}\"", column.name));
            if !is_tested && !is_compared && !CONSTANT.iter().any(|one| constant(&one)) {
                missing.push(path);
            }
        }
    }
    assert!(missing.is_empty(), "no test looks at {}", missing.join(", "));
}
