//! What a text may do to the session that runs it.

use smallvec::SmallVec;

use super::command::Command;

/// Names of settings, in lower case, each once.
pub type Names = SmallVec<[Box<str>; 2]>;

/// A text that sets more than this is [`Settings::Unknown`]: PostgreSQL has some 350 settings, and
/// each name is compared with those before it.
const NAMES_MAX: usize = 64;

/// Settings whose value may differ when the text's transaction has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Settings {
    /// None, as far as the text shows.
    #[default]
    Unchanged,
    /// These at most.
    Names(Names),
    /// Any.
    Unknown,
}

bitflags::bitflags! {
    /// Things a session may own beyond its transaction, other than settings.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PinSet: u16 {
        /// A temporary table, view or sequence, or anything else created in `pg_temp`.
        const TEMP_TABLE = 1;
        /// A session-level advisory lock.
        const ADVISORY_LOCK = 1 << 1;
        /// A cursor declared WITH HOLD.
        const HOLD_CURSOR = 1 << 2;
        /// LISTEN.
        const LISTEN = 1 << 3;
        /// A statement prepared by SQL's PREPARE.
        const PREPARED = 1 << 4;
        /// A loaded library.
        const LOAD = 1 << 5;
        /// What `currval` and `lastval` read, set by `nextval` and `setval`. An INSERT that takes
        /// its default from a sequence sets it too, and the text does not show it.
        const SEQUENCE = 1 << 6;
        /// State that nobody can ask for: that of `random()`, a backup, a replication origin, ….
        const STATE = 1 << 7;
    }
}

/// What the text of a Query or Parse shows about its effect on the session.
///
/// Everything here errs on the side of more: an effect that is listed may not come about (the
/// statement fails, the branch is not taken). What triggers, rules, views, defaults, operators,
/// casts and function overloads in other schemas do is not in the text. It is in the facts if the
/// [`Vocabulary`](super::Vocabulary) has the names that the text uses; if it has not, the text is tainted. That a table goes to `pg_temp` because
/// `search_path` begins with it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// How many statements that are not empty.
    pub statements: u32,
    /// What the first of them is.
    pub first: Command,
    /// What it may set for the session, but for `RESET ALL` and `DISCARD ALL`.
    pub settings: Settings,
    /// Which of them by `RESET x` or `SET x TO DEFAULT`, thus to the session's own default. Complete
    /// unless `settings` is unknown.
    pub reset: Names,
    /// `RESET ALL`: all settings but `role` and `session_authorization` return to their defaults.
    pub reset_all: bool,
    /// `DISCARD ALL`: all settings, and everything else of the session.
    pub discard_all: bool,
    /// What it may leave behind.
    pub pins: PinSet,
    /// What it may take away: the reason to ask whether a pin still holds.
    pub releases: PinSet,
    /// It reads `currval` or `lastval`, which only the server that ran `nextval` can answer.
    pub currval: bool,
    /// It runs something whose effect on the session the text cannot show: EXECUTE, a function that
    /// is not known to be harmless, a name that the vocabulary says touches the session, a DO or CALL
    /// that is not known to be harmless, an unknown command.
    pub taint: bool,
    /// It runs a prepared statement by its name in SQL. What that does is not in the facts.
    pub executes: bool,
    /// It changes the catalog. A temporary table of its own does not count.
    pub ddl: bool,
    /// It takes something out of the catalog: no name means more than before.
    pub removes: bool,
    /// It runs something that may change the catalog without showing it: DO and functions with
    /// EXECUTE, functions that are not known.
    pub may_hide_ddl: bool,
    /// It runs a text that nobody can see: DO and procedures with EXECUTE.
    pub runs_text: bool,
    /// It may run `nextval` or `setval`, by a default, a trigger or a function too.
    pub may_move_sequence: bool,
    /// It has a word that writes: INSERT, UPDATE, DELETE, MERGE, COPY.
    pub writes: bool,
    /// It may set something until the end of the transaction: SET LOCAL, SET TRANSACTION,
    /// `set_config(…, true)`, or a function that does.
    pub local_settings: bool,
    /// Of a text with `taint` or with unknown settings: its strings that look like the name of a
    /// custom setting, in lower case.
    pub custom_settings: Names,
    /// The number of the parameter that names the only setting that the text sets. `settings` is
    /// unknown then.
    pub setting_named_by_parameter: Option<u16>,
    /// It may set a setting whose name neither the text nor a parameter shows.
    pub computes_setting: bool,
    /// One of its statements is COPY.
    pub copy: bool,
    /// One of its statements begins, ends or nests a transaction.
    pub transaction: bool,
    /// Something of this was read out of a string: the text with another value in that place may do
    /// something else.
    pub by_value: bool,
    /// It ends inside a comment, a string, a quoted name, parentheses or a function body.
    /// PostgreSQL refuses such text, or reads it otherwise than we do; hence it also taints, and
    /// its settings are unknown.
    pub broken: bool,
}

impl Facts {
    /// Whether the session is afterwards what it was before, as far as the text shows.
    pub fn is_harmless(&self) -> bool {
        let resets = self.reset_all || self.discard_all;
        !self.taint && self.pins.is_empty() && self.settings == Settings::Unchanged && !resets
    }

    pub(super) fn change(&mut self, name: &str) {
        if self.settings == Settings::Unchanged {
            self.settings = Settings::Names(Names::new());
        }
        let Settings::Names(names) = &mut self.settings else { return };
        insert(names, name);
        if names.len() > NAMES_MAX {
            self.settings = Settings::Unknown;
        }
    }

    pub(super) fn reset(&mut self, name: &str) {
        if self.reset.len() < NAMES_MAX {
            insert(&mut self.reset, name);
        }
    }
}

fn insert(names: &mut Names, name: &str) {
    if !names.iter().any(|known| **known == *name) {
        names.push(name.into());
    }
}
