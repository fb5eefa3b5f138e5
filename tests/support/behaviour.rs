//! What the tests of a running pooler ask again and again.

use std::time::Duration;

use tokio::time::Instant;

use super::howdah::{Howdah, Settings};
use super::messages;
use super::postgres::{Postgres, RIDER};
use super::transcript::Frame;
use super::wire::{Received, Wire, lines};
use super::{deadline, look_again};

/// Long enough to notice what must not happen, short enough to be waited for.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(200);

/// The shared server with an empty database of the test's own, and settings of `pool_mode` for it.
/// One worker, so that what one client was answered says that earlier bytes were read.
pub(crate) fn settings(database: &str, pool_mode: &str) -> Settings {
    let postgres = Postgres::shared();
    postgres.create_database(database);
    Settings::new(pool_mode).set("howdah.workers", 1).database(database, postgres.address())
}

/// A client of [`RIDER`]'s.
pub(crate) fn client(howdah: &Howdah, database: &str) -> Wire {
    Wire::login(howdah.address(), RIDER, database)
}

/// Waits for something that gives no event.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = deadline();
    while !condition() {
        assert!(look_again(end), "it never happened: {what}");
    }
}

/// The process ids of the servers that somebody has in `database`, oldest first.
pub(crate) fn servers(admin: &mut Wire, database: &str) -> Vec<String> {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = '{database}' \
         AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start"
    );
    admin.rows(&sql).into_iter().map(|mut row| row.remove(0)).collect()
}

/// Ends a server and waits until it is gone.
pub(crate) fn kill_server(admin: &mut Wire, pid: &str) {
    admin.run(&format!("SELECT pg_terminate_backend({pid})"));
    let gone = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}");
    eventually("a terminated server is gone", || admin.rows(&gone).is_empty());
}

/// Waits until some server of `database` runs a statement that contains `text`.
pub(crate) fn await_statement(admin: &mut Wire, database: &str, text: &str) {
    let sql = format!(
        "SELECT 1 FROM pg_stat_activity WHERE datname = '{database}' AND state = 'active' \
         AND query LIKE '%{text}%' AND pid <> pg_backend_pid()"
    );
    eventually("the statement runs", || !admin.rows(&sql).is_empty());
}

/// One value of one row.
pub(crate) fn value(wire: &mut Wire, sql: &str) -> String {
    let mut rows = wire.rows(sql);
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0).remove(0)
}

/// The process id of the server that answers now.
pub(crate) fn server_of(wire: &mut Wire) -> String {
    value(wire, "SELECT pg_backend_pid()")
}

/// Severity, SQLSTATE and message of an ErrorResponse: `FATAL 53300 sorry`.
pub(crate) fn told(frame: &Frame) -> String {
    assert_eq!(frame.tag, b'E', "{}", frame.line());
    let field = |code| plain(frame, code);
    assert_eq!(field(b'S'), field(b'V'), "{}", frame.line());
    format!("{} {} {}", field(b'S'), field(b'C'), field(b'M'))
}

/// The hint of an ErrorResponse.
pub(crate) fn hint(frame: &Frame) -> String {
    plain(frame, b'H')
}

/// The one error in the answer to a query.
pub(crate) fn the_error(frames: &[Frame]) -> Frame {
    let mut errors = frames.iter().filter(|frame| frame.tag == b'E');
    let (first, second) = (errors.next(), errors.next());
    assert!(first.is_some() && second.is_none(), "one error, not: {}", lines(frames));
    first.expect("checked").clone()
}

/// Whether the answer to a query has no error.
pub(crate) fn succeeded(frames: &[Frame]) -> bool {
    frames.iter().all(|frame| frame.tag != b'E')
}

/// Everything up to the end of the connection.
pub(crate) fn until_closed(wire: &mut Wire) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        match wire.next(deadline()) {
            Received::Frame(frame) => frames.push(frame),
            Received::Closed => return frames,
            Received::Silence => unreachable!("not closed after: {}", lines(&frames)),
        }
    }
}

/// The error that a connection ends with.
pub(crate) fn last_words(wire: &mut Wire) -> Frame {
    let frames = until_closed(wire);
    let last = frames.last();
    assert!(last.is_some_and(|frame| frame.tag == b'E'), "no last words: {}", lines(&frames));
    last.expect("checked").clone()
}

/// Nothing comes for a moment.
pub(crate) fn is_silent(wire: &mut Wire) -> bool {
    wire.next(Instant::now() + A_MOMENT) == Received::Silence
}

/// Whatever was sent through the only worker before has been read by it when this returns.
pub(crate) fn settle(bystander: &mut Wire) {
    for _ in 0..2 {
        bystander.send(&messages::sync());
        bystander.until(b'Z');
    }
}

/// Starts a login and gives the error that refuses it.
pub(crate) fn refusal(wire: &mut Wire, parameters: &[(&str, &str)], password: &str) -> Frame {
    let frames = wire.start(parameters, password);
    let error = the_error(&frames);
    assert_eq!(wire.next(deadline()), Received::Closed, "open after {}", error.line());
    error
}

/// How many of `count` clients get a server for a transaction at the same time; the others get
/// 53300 after `query_wait_timeout`, which must be short.
pub(crate) fn capacity(howdah: &Howdah, who: &[(&str, &str)], count: usize) -> usize {
    let login = |index: usize| {
        let (user, database) = who[index % who.len()];
        Wire::login(howdah.address(), user, database)
    };
    let mut clients: Vec<Wire> = (0..count).map(login).collect();
    for client in &mut clients {
        client.send(&messages::query("BEGIN; SELECT 1"));
    }
    let mut served = 0;
    for client in &mut clients {
        let frames = client.until(b'Z');
        if succeeded(&frames) {
            served += 1;
        } else {
            assert_eq!(the_error(&frames).field(b'C').as_deref(), Some("53300"));
        }
    }
    for client in &mut clients {
        client.send(&messages::terminate());
        until_closed(client);
    }
    served
}

/// A field of an error, with its quotes as they came.
fn plain(frame: &Frame, code: u8) -> String {
    frame.field(code).unwrap_or_default().replace("\\\"", "\"").replace("\\'", "'")
}
