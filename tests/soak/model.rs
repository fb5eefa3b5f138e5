//! What one session must be like, as a client knows it.

use std::collections::BTreeMap;

/// The settings that are changed, and what RESET returns them to, but for `application_name`.
pub(crate) const SETTINGS: [(&str, &str); 5] = [
    ("application_name", ""),
    ("soak.mark", ""),
    ("work_mem", "4MB"),
    ("TimeZone", "UTC"),
    ("client_encoding", "UTF8"),
];
/// A setting that only functions name.
pub(crate) const HIDDEN: &str = "soak.hidden";

/// What ROLLBACK undoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volatile {
    /// The client's row of the ledger.
    pub(crate) count: i64,
    pub(crate) settings: BTreeMap<&'static str, String>,
}

/// The unnamed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    /// There is none.
    Absent,
    /// The shared text with this number.
    Known(usize),
    /// Something that is not used again.
    Other,
}

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// Transaction status: `I`, `T` or `E`.
    pub(crate) status: u8,
    pub(crate) now: Volatile,
    base: Volatile,
    savepoints: Vec<(String, Volatile)>,
    /// Named statements by the number of their shared text.
    pub(crate) statements: BTreeMap<String, usize>,
    pub(crate) unnamed: Unnamed,
    /// What the session has drawn last from each sequence, and from any (""). No ROLLBACK undoes it.
    pub(crate) drawn: BTreeMap<&'static str, String>,
    /// It has asked what it has drawn.
    pub(crate) asks_sequences: bool,
    /// An extended error: all is ignored up to the next Sync.
    pub(crate) skipping: bool,
    startup_name: String,
}

impl Model {
    /// Of a session that has just begun.
    pub(crate) fn new(application_name: &str, count: i64) -> Self {
        let mut settings: BTreeMap<&'static str, String> =
            SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        settings.insert("application_name", application_name.to_owned());
        settings.insert(HIDDEN, String::new());
        let now = Volatile { count, settings };
        Self {
            status: b'I',
            base: now.clone(),
            now,
            savepoints: Vec::new(),
            statements: BTreeMap::new(),
            unnamed: Unnamed::Absent,
            drawn: BTreeMap::new(),
            asks_sequences: false,
            skipping: false,
            startup_name: application_name.to_owned(),
        }
    }

    /// DISCARD ALL. What a custom setting is then depends on the server.
    pub(crate) fn discard(&mut self) {
        self.statements.clear();
        self.drawn.clear();
        self.now.settings.insert(HIDDEN, String::new());
        for (name, default) in SETTINGS {
            self.now.settings.insert(name, default.to_owned());
        }
        self.now.settings.insert("application_name", self.startup_name.clone());
    }

    /// The count that outlives the session.
    pub(crate) fn committed(&self) -> i64 {
        self.base.count
    }

    pub(crate) fn begin(&mut self) {
        self.base = self.now.clone();
        self.status = b'T';
    }

    /// COMMIT, which is a ROLLBACK of a failed transaction. Gives the command tag.
    pub(crate) fn commit(&mut self) -> &'static str {
        let failed = self.status == b'E';
        if failed {
            self.now = self.base.clone();
        }
        self.end();
        if failed { "ROLLBACK" } else { "COMMIT" }
    }

    pub(crate) fn rollback(&mut self) {
        self.now = self.base.clone();
        self.end();
    }

    fn end(&mut self) {
        self.base = self.now.clone();
        self.savepoints.clear();
        self.status = b'I';
    }

    pub(crate) fn savepoint(&mut self, name: &str) {
        self.savepoints.push((name.to_owned(), self.now.clone()));
    }

    /// The youngest savepoint.
    pub(crate) fn last_savepoint(&self) -> Option<String> {
        self.savepoints.last().map(|(name, _)| name.clone())
    }

    /// ROLLBACK TO the youngest savepoint, which stays.
    pub(crate) fn rollback_to_last(&mut self) {
        if let Some((_, then)) = self.savepoints.last() {
            self.now = then.clone();
            self.status = b'T';
        }
    }

    pub(crate) fn release_last(&mut self) {
        self.savepoints.pop();
    }

    /// An error in a statement undoes at once what was done since the youngest savepoint.
    pub(crate) fn fail(&mut self) {
        if self.status == b'T' {
            self.status = b'E';
        }
        self.now = self.savepoints.last().map_or(&self.base, |(_, then)| then).clone();
    }

    /// ReadyForQuery: what was not in a transaction block is committed.
    pub(crate) fn ready(&mut self) -> u8 {
        self.skipping = false;
        if self.status == b'I' {
            self.base = self.now.clone();
        }
        self.status
    }
}
