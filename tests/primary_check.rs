//! Somebody else says who the primary is: `primary_check`.

mod support;

use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use support::behaviour::{client, eventually, is_silent, succeeded, value};
use support::console::{console, rows_with, shows};
use support::howdah::Howdah;
use support::messages;
use support::pair::{Pair, await_node};

/// Answers `GET /PORT` with the status that it was told for that node.
struct Referee {
    address: SocketAddr,
    statuses: Arc<Mutex<HashMap<String, u16>>>,
}

impl Referee {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let statuses: Arc<Mutex<HashMap<String, u16>>> = Arc::default();
        let shared = Arc::clone(&statuses);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                // Of a node that it was not told of, it says nothing.
                let Some(status) = shared.lock().get(&path).copied() else { continue };
                write!(stream, "HTTP/1.0 {status} said\r\nServer: stub\r\n\r\n{{}}").ok();
            }
        });
        Self { address, statuses }
    }

    fn says(&self, node: SocketAddr, status: u16) {
        self.statuses.lock().insert(format!("/{}", node.port()), status);
    }

    fn url(&self) -> String {
        format!("http://{}/{{port}}", self.address)
    }
}

#[test]
fn where_it_says_no_writes_wait_and_where_it_says_nothing_the_nodes_decide() {
    let pair = Pair::start();
    pair.primary.admin("app").run("CREATE TABLE public.t (id int); GRANT ALL ON t TO public");
    let referee = Referee::start();
    let howdah = Howdah::start(&pair.settings().set("routing.primary_check", referee.url()));
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    eventually("its silence is told", || howdah.log().contains("says nothing: no HTTP"));
    let mut writer = client(&howdah, "app");
    writer.run("INSERT INTO t VALUES (1)");
    referee.says(pair.primary.address(), 503);
    eventually("no primary", || howdah.log().contains("there is no primary"));
    writer.send(&messages::query("INSERT INTO t VALUES (2)"));
    assert!(is_silent(&mut writer), "a write without a primary");
    referee.says(pair.primary.address(), 200);
    await_node(&mut console, &pair.primary, "primary", "up");
    assert!(succeeded(&writer.until(b'Z')));
}

#[test]
fn of_two_that_take_writes_the_one_that_it_names_is_the_primary() {
    let pair = Pair::start();
    pair.primary.admin("app").run("CREATE TABLE public.t (id int); GRANT ALL ON t TO public");
    pair.await_replay();
    let referee = Referee::start();
    referee.says(pair.primary.address(), 200);
    referee.says(pair.replica.address(), 503);
    let howdah = Howdah::start(&pair.settings().set("routing.primary_check", referee.url()));
    let mut console = console(&howdah);
    await_node(&mut console, &pair.primary, "primary", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    // The old one stays what it is.
    pair.replica.admin("app").run("SELECT pg_promote()");
    await_node(&mut console, &pair.replica, "fenced", "refused");
    let mut writer = client(&howdah, "app");
    writer.run("INSERT INTO t VALUES (1)");
    referee.says(pair.primary.address(), 503);
    referee.says(pair.replica.address(), 200);
    await_node(&mut console, &pair.replica, "primary", "up");
    await_node(&mut console, &pair.primary, "fenced", "refused");
    writer.run("INSERT INTO t VALUES (2)");
    let ids = |node: &support::postgres::Postgres| {
        value(&mut node.admin("app"), "SELECT string_agg(id::text, ',') FROM t")
    };
    assert_eq!((ids(&pair.primary), ids(&pair.replica)), ("1".to_owned(), "2".to_owned()));
}

#[test]
fn without_it_a_second_primary_that_nobody_follows_raises_an_alarm_and_gets_no_write() {
    let pair = Pair::start();
    pair.primary.admin("app").run("CREATE TABLE public.t (id int); GRANT ALL ON t TO public");
    // A second replica stays with the old primary.
    let other = pair.primary.start_replica(&Default::default());
    let mut nodes = pair.nodes();
    nodes.push(other.address().to_string());
    let howdah = Howdah::start(&support::pair::of_nodes(nodes));
    let mut console = console(&howdah);
    await_node(&mut console, &other, "replica", "up");
    await_node(&mut console, &pair.replica, "replica", "up");
    pair.replica.admin("app").run("SELECT pg_promote()");
    await_node(&mut console, &pair.replica, "fenced", "refused");
    let mut writer = client(&howdah, "app");
    writer.run("INSERT INTO t VALUES (1)");
    assert_eq!(value(&mut pair.primary.admin("app"), "SELECT count(*) FROM t"), "1");
    let name = pair.replica.address().to_string();
    let said =
        format!("node {name} takes writes, but so does the primary, which most replicas follow");
    let alarm = [("level", "error"), ("kind", "node")];
    eventually("the alarm", || {
        rows_with(&mut console, "events", &alarm)
            .iter()
            .any(|row| row.get("message").contains(&said))
    });
}

#[test]
fn a_role_that_is_fixed_by_hand_is_not_found_out() {
    let pair = Pair::start();
    let nodes = pair.nodes();
    let node = |address: &str, role: &str| {
        let (host, port) = address.split_once(':').expect("a port");
        let port = port.parse::<i64>().expect("a number");
        let mut table = toml::Table::new();
        table.insert("host".to_owned(), host.into());
        table.insert("port".to_owned(), port.into());
        table.insert("role".to_owned(), role.into());
        toml::Value::Table(table)
    };
    let fixed = vec![node(&nodes[0], "primary"), node(&nodes[1], "replica")];
    let howdah = Howdah::start(&pair.settings().set("databases.app.nodes", fixed));
    let mut console = console(&howdah);
    await_node(&mut console, &pair.replica, "replica", "up");
    pair.replica.admin("app").run("SELECT pg_promote()");
    await_node(&mut console, &pair.replica, "fenced", "refused");
    shows(&mut console, &[("node", &nodes[0])], &[("nodes.role", "primary")]);
    drop(pair.primary);
    eventually("no primary", || howdah.log().contains("there is no primary"));
    shows(&mut console, &[("node", &nodes[1])], &[("nodes.role", "fenced")]);
}
