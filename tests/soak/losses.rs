//! Who is to be told of the end of an idle server, and who was told.
//!
//! A client may be told in two cases only, and the relay sees both. Its bytes came to the server's
//! connection behind the end: they were on their way, and it must be told, since nobody can know
//! what became of them. Or the end came close behind its own transaction, which may have changed
//! the session, so that nobody can know what the session was. Everybody else gets another server.

use parking_lot::{Condvar, Mutex};

use super::evil::lock;
use super::rider::ANSWER_WITHIN;

/// Words that howdah gives a server its settings with.
const ALIGNMENTS: [&[u8]; 2] = [b"SELECT pg_catalog.set_config(", b"RESET \""];
/// How it asks what a transaction has done to the session.
const PROBE: &[u8] = b"SELECT pg_catalog.encode(pg_catalog.convert_to(n,";
/// How it cleans up behind a client that has left, which clients write in small letters, and what it
/// asks a server that has just logged in.
const OWN: [&[u8]; 2] = [b"DISCARD ALL\0", b"SELECT pg_catalog.current_setting('role')\0"];
/// How the catalog is asked for, by a server that has been given back.
const CATALOG: &[u8] = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp;";
/// Beginnings of texts that leave nothing behind in the session, whatever the names of the database
/// mean: behind a change of its tables they may mean anything, even the name of a column.
const HARMLESS: [&[u8]; 7] = [
    b"SELECT $1::text",
    b"SELECT repeat(",
    b"BEGIN",
    b"COMMIT",
    b"ROLLBACK",
    b"SAVEPOINT",
    b"RELEASE",
];

/// The beginning of a text that is one client's own, such as its `application_name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) client: usize,
    number: u64,
}

impl Name {
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_prefix('c')?;
        let mut parts = text.split('.');
        let client = parts.next()?.parse().ok()?;
        Some(Self { client, number: parts.next()?.parse().ok()? })
    }
}

/// One session of a client, by the numbers of its texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) client: usize,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Session {
    fn has(&self, name: Name) -> bool {
        name.client == self.client && (self.first..=self.last).contains(&name.number)
    }
}

/// What a Query or Parse from howdah is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Gives the server the settings of the session of this name, if they include one.
    Alignment(Option<Name>),
    /// Asks what a transaction has done to the session.
    Probe,
    /// Howdah's own, for nobody: it cleans up behind a client, or asks a new server.
    Own,
    /// Asks for the catalog, and leaves the server as it was.
    Catalog,
    /// A client's; whether it may have changed the session.
    Client { harmless: bool },
}

impl Text {
    /// `body` is that of a Query, or of a Parse from its text on.
    pub(crate) fn of(body: &[u8]) -> Self {
        if ALIGNMENTS.iter().any(|start| body.starts_with(start)) {
            let at = memchr::memmem::find(body, b"'application_name','");
            let value = at.and_then(|at| body[at + 20..].split(|byte| *byte == b'\'').next());
            return Self::Alignment(value.and_then(Name::read));
        }
        if body.starts_with(PROBE) {
            return Self::Probe;
        }
        if body.starts_with(CATALOG) {
            return Self::Catalog;
        }
        if OWN.contains(&body) {
            return Self::Own;
        }
        let harmless = HARMLESS.iter().any(|start| body.starts_with(start));
        Self::Client { harmless }
    }
}

/// An idle server that was ended, and might have been somebody's.
#[derive(Debug)]
struct Loss {
    name: Option<Name>,
    must: bool,
    /// Only a session that asks what it has drawn from a sequence has lost it.
    is_kept: bool,
    story: String,
}

#[derive(Debug, Default)]
struct Books {
    losses: Vec<Loss>,
    /// Sessions that have ended, and nobody asks how.
    over: Vec<Session>,
    /// Servers that were ended while they were idle, as the relay knew them.
    ends: Vec<String>,
}

/// The books of it.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<Books>, Condvar);

impl Losses {
    /// The session of this name must be told, or may be told, that its server has ended.
    pub(crate) fn enter(&self, name: Option<Name>, must: bool, story: String) {
        lock(&self.0).losses.push(Loss { name, must, is_kept: false, story });
        self.1.notify_all();
    }

    /// The session of this name may be told if it asks what it has drawn from a sequence.
    pub(crate) fn enter_kept(&self, name: Option<Name>) {
        let loss = Loss { name, must: false, is_kept: true, story: String::new() };
        lock(&self.0).losses.push(loss);
        self.1.notify_all();
    }

    /// An idle server is being ended, of which the relay knows this.
    pub(crate) fn ends(&self, what: String) {
        lock(&self.0).ends.push(what);
    }

    /// All of it, for a failure.
    pub(crate) fn standing(&self) -> String {
        let books = lock(&self.0);
        format!("{:#?}", *books)
    }

    /// A session was told that its server has ended. Whether there is a reason; waits for the
    /// relay, which may come to know of it later than the client.
    /// `asks_sequences`: the session asks what it has drawn.
    pub(crate) fn claim(&self, session: Session, asks_sequences: bool) -> bool {
        let has = |loss: &Loss| {
            let is_own = loss.name.is_some_and(|name| session.has(name));
            is_own && (asks_sequences || !loss.is_kept)
        };
        let none = |books: &mut Books| !books.losses.iter().any(has);
        let mut books = lock(&self.0);
        self.1.wait_while_for(&mut books, none, ANSWER_WITHIN);
        let Some(at) = books.losses.iter().position(has) else { return false };
        books.losses.remove(at);
        books.over.push(session);
        true
    }

    /// The session was ended on purpose: whether it was told of anything else does not matter.
    pub(crate) fn forget(&self, session: Session) {
        lock(&self.0).over.push(session);
    }

    /// Sessions that should have been told and were not.
    pub(crate) fn untold(&self) -> Vec<String> {
        let books = lock(&self.0);
        let is_over = |name: Name| books.over.iter().any(|session| session.has(name));
        let open = |loss: &&Loss| loss.must && !loss.name.is_some_and(is_over);
        books.losses.iter().filter(open).map(|loss| loss.story.clone()).collect()
    }
}
