//! What stands before a parenthesis: a function that is called, or a keyword, a type, a table, an
//! alias.
//!
//! Knows by name which functions of `pg_catalog` leave nothing behind (`functions.txt`, printed
//! by `functions.sql`) and which have an effect of their own. Any other call taints.

use super::command::Command;
use super::facts::PinSet;
use super::lex::{Kind, Token};
use super::scan::{Mode, Scan};
use super::scan_state::{ConfigCall, bit};
use super::vocabulary::Use;
use super::words::{Stored, Words};

static FUNCTIONS: Words<4096> = Words::new(include_bytes!("functions.txt"));

/// Whether a function of `pg_catalog` with this name leaves nothing behind in a session.
pub fn is_harmless_builtin(name: &[u8]) -> bool {
    FUNCTIONS.contains(name)
}

/// Whether a function of `pg_catalog` with this name has a rule: those that leave nothing behind, and
/// those of [`Scan::judge`].
pub(super) fn is_judged(name: &[u8]) -> bool {
    let lock = || {
        let name = name.strip_suffix(b"_shared").unwrap_or(name);
        matches!(
            name,
            b"pg_advisory_lock"
                | b"pg_try_advisory_lock"
                | b"pg_advisory_unlock"
                | b"pg_advisory_unlock_all"
        )
    };
    is_harmless_builtin(name)
        || matches!(name, b"set_config" | b"nextval" | b"setval" | b"currval" | b"lastval")
        || matches!(name, b"pg_cancel_backend" | b"pg_terminate_backend")
        || leaves_state(name)
        || lock()
}

/// Functions that leave something in the session that nobody can ask for or undo.
pub const LEAVING_STATE: [&[u8]; 10] = [
    b"setseed",
    b"pg_backup_start",
    b"pg_start_backup",
    b"pg_replication_origin_session_setup",
    b"pg_create_physical_replication_slot",
    b"pg_create_logical_replication_slot",
    b"pg_copy_physical_replication_slot",
    b"pg_copy_logical_replication_slot",
    b"dblink_connect",
    b"dblink_connect_u",
];

/// Whether a function leaves something in the session that nobody can ask for.
pub fn leaves_state(name: &[u8]) -> bool {
    LEAVING_STATE.contains(&name)
}

/// What may precede a parenthesis without being a call: PostgreSQL's reserved words and those
/// that cannot name a function (manual, appendix "SQL Key Words"), types that take a modifier,
/// and a few words that are nothing else in practice.
static KEYWORDS: Words<512> = Words::new(
    b"all\nanalyse\nanalyze\nand\nany\narray\nas\nasc\nasymmetric\nboth\ncase\ncast\ncheck\n\
    collate\ncolumn\nconstraint\ncreate\ndefault\ndeferrable\ndesc\ndistinct\ndo\nelse\nend\n\
    except\nfetch\nfor\nforeign\nfrom\ngrant\ngroup\nhaving\nin\ninitially\nintersect\ninto\n\
    lateral\nleading\nlimit\nlocaltime\nlocaltimestamp\ncurrent_time\ncurrent_timestamp\nnot\n\
    null\noffset\non\nonly\nor\norder\nplacing\nprimary\nreferences\nreturning\nselect\nsome\n\
    symmetric\ntable\nthen\nto\ntrailing\nunion\nunique\nusing\nvariadic\nwhen\nwhere\nwindow\n\
    with\nbetween\nbigint\nbit\nboolean\nchar\ncharacter\ncoalesce\ndec\ndecimal\nexists\n\
    extract\nfloat\ngreatest\ngrouping\ninout\nint\ninteger\ninterval\nleast\nnational\nnchar\n\
    none\nnormalize\nnullif\nnumeric\nout\noverlay\nposition\nprecision\nreal\nrow\nsetof\n\
    smallint\nsubstring\ntime\ntimestamp\ntreat\ntrim\nvalues\nvarchar\nxmlattributes\n\
    xmlconcat\nxmlelement\nxmlexists\nxmlforest\nxmlnamespaces\nxmlparse\nxmlpi\nxmlroot\n\
    xmlserialize\nxmltable\njson\njson_array\njson_arrayagg\njson_exists\njson_object\n\
    json_objectagg\njson_query\njson_scalar\njson_serialize\njson_table\njson_value\n\
    merge_action\nby\ncube\nilike\nis\njoin\nlike\nrollup\nset\nsimilar\nvarying\nfilter\nover\n\
    \nuser\nsession_user\ncurrent_user\ncurrent_catalog\ncurrent_role\ncurrent_date\n",
);

/// More of them in statements that define something, and in the options of COPY and EXPLAIN.
static DEFINITION_WORDS: Words<64> = Words::new(
    b"include\ninherits\noptions\nrange\nlist\nhash\nkey\ngenerated\nexclude\ngist\ngin\nbrin\n\
    btree\nspgist\nbernoulli\nforce_quote\nforce_null\nforce_not_null\n",
);

/// Parameters that name settings and are told apart; beyond one, the names count as unknown.
const PARAMETERS_MAX: usize = 2;

/// Functions of `pg_catalog` that run a text, a type's input or a script that is not in the
/// statement, or that leave state behind which no other rule knows.
fn has_hidden_effects(name: &[u8]) -> bool {
    let starts = |prefix: &[u8]| name.starts_with(prefix);
    memchr::memmem::find(name, b"to_xml").is_some()
        || matches!(
            name,
            b"ts_stat"
                | b"ts_rewrite"
                | b"pg_extension_config_dump"
                | b"pg_start_backup"
                | b"pg_stop_backup"
                | b"pg_import_system_collations"
                | b"pg_stop_making_pinned_objects"
                | b"pg_input_is_valid"
                | b"pg_input_error_info"
        )
        || starts(b"pg_backup_")
        || starts(b"pg_replication_origin_session_")
        || starts(b"pg_create_")
        || starts(b"pg_copy_")
        || starts(b"pg_logical_slot_")
        || starts(b"binary_upgrade_")
}

impl Scan<'_> {
    /// After `(` was taken.
    pub(super) fn open(&mut self) {
        let bit = bit(self.boundary.depth());
        let heading = std::mem::take(&mut self.here.heading);
        if !heading {
            self.called();
        }
        let name = self.recent(2);
        if self.is(name, b"on") {
            self.here.on_groups |= bit;
        } else {
            self.here.on_groups &= !bit;
        }
        self.here.with_lists &= !bit;
    }

    fn called(&mut self) {
        let Some(name) = self.recent(2).filter(is_name) else { return };
        let qualified = self.recent(3).is_some_and(|token| token.kind == Kind::Dot);
        let before = self.recent(if qualified { 5 } else { 3 });
        if before.is_some_and(|token| token.kind == Kind::Dot) {
            return self.unknown_call();
        }
        if self.is_declared(before) || (!qualified && self.is_syntax(name, before)) {
            return;
        }
        let schema = self.recent(4).filter(|_| qualified);
        match schema.map(|schema| (self.fold(schema), schema.kind)) {
            Some((schema, kind)) if schema.bytes() != b"pg_catalog" => {
                // The vocabulary does not know what is temporary.
                let may_be_temp =
                    kind == Kind::UnicodeName || schema.bytes().starts_with(b"pg_temp");
                // Those of information_schema are in SQL, and read only (`_pg_expandarray`).
                let is_postgresqls = schema.bytes() == b"information_schema"
                    && self.fold(name).bytes().starts_with(b"_pg_");
                if may_be_temp || !(is_postgresqls || self.is_function(name)) {
                    self.unknown_call();
                }
            }
            _ => self.judge(name),
        }
    }

    /// A function is called, or a name used, that may do anything.
    pub(super) fn unknown_call(&mut self) {
        self.facts.taint = true;
        self.facts.may_hide_ddl = true;
        self.facts.may_move_sequence = true;
        self.facts.local_settings = true;
    }

    /// Whether the word before a name shows that no call follows: a table, type, alias, or a
    /// function that is only named.
    fn is_declared(&self, before: Option<Token>) -> bool {
        let Some(before) = before else { return false };
        match before.kind {
            Kind::Cast => true,
            Kind::Word => {
                let word = self.fold(before);
                matches!(
                    word.bytes(),
                    b"into" | b"references" | b"as" | b"with" | b"recursive" | b"only" | b"execute"
                        | b"ordinality" | b"function" | b"procedure" | b"routine" | b"aggregate"
                        | b"table" | b"view"
                        // IF NOT EXISTS name: EXISTS itself takes a parenthesis.
                        | b"exists"
                )
            }
            _ => false,
        }
    }

    /// Whether an unqualified name is a keyword, a type, or an alias with columns.
    fn is_syntax(&self, name: Token, before: Option<Token>) -> bool {
        let outer = self.boundary.depth().saturating_sub(1);
        match before.map(|token| token.kind) {
            // `FROM f(1) AS …` aside, a name after a group is an alias, unless the group is that
            // of DISTINCT ON.
            Some(Kind::CloseParen) if self.here.on_groups & bit(outer + 1) == 0 => return true,
            Some(Kind::Comma) if self.here.with_lists & bit(outer) != 0 => return true,
            _ => {}
        }
        if self.here.places.is_alias(name) {
            return true;
        }
        if name.kind != Kind::Word {
            return false;
        }
        let word = self.fold(name);
        match word.bytes() {
            b"over" | b"filter" => false,
            b"conflict" => self.is(before, b"on"),
            b"key" => self.is(before, b"primary") || self.is(before, b"foreign"),
            b"sets" => self.is(before, b"grouping"),
            b"materialized" => self.is(before, b"as") || self.is(before, b"not"),
            b"insert" => self.is(before, b"then"),
            b"copy" => before.is_none(),
            b"operator" => before.is_some_and(|token| self.ends_operand(token)),
            b"bernoulli" | b"system" => self.is(before, b"tablesample"),
            b"stdin" | b"stdout" if self.here.command == Command::Copy => {
                self.is(before, b"from") || self.is(before, b"to")
            }
            b"columns" => before.is_some_and(|token| token.kind == Kind::Text),
            word => {
                KEYWORDS.contains(word) || (self.is_definition() && DEFINITION_WORDS.contains(word))
            }
        }
    }

    /// Whether an operator may follow.
    fn ends_operand(&self, token: Token) -> bool {
        match token.kind {
            Kind::Word => !is_keyword(self.fold(token).bytes()),
            Kind::QuotedName
            | Kind::UnicodeName
            | Kind::Text
            | Kind::Number
            | Kind::Parameter
            | Kind::CloseParen
            | Kind::CloseBracket => true,
            _ => false,
        }
    }

    fn is_definition(&self) -> bool {
        matches!(self.here.command, Command::Create | Command::Alter | Command::Copy)
    }

    fn judge(&mut self, name: Token) {
        let folded = self.fold(name);
        match folded.bytes() {
            // They run the input function of a type that a string names.
            b"pg_input_is_valid" | b"pg_input_error_info" if self.is_known => self.unknown_call(),
            known if FUNCTIONS.contains(known) => {}
            b"set_config" => self.config_call(),
            b"nextval" | b"setval" => self.pin(PinSet::SEQUENCE),
            b"currval" | b"lastval" => self.facts.currval = true,
            b"setseed" => self.pin(PinSet::STATE),
            // It may be for this very server, which ends a moment later: it is asked something before
            // somebody else gets it.
            b"pg_cancel_backend" | b"pg_terminate_backend" => {
                self.facts.releases |= PinSet::STATE;
            }
            name if leaves_state(name) => {
                self.pin(PinSet::STATE);
                self.unknown_call();
            }
            b"pg_advisory_lock"
            | b"pg_advisory_lock_shared"
            | b"pg_try_advisory_lock"
            | b"pg_try_advisory_lock_shared" => self.pin(PinSet::ADVISORY_LOCK),
            b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
                self.facts.releases |= PinSet::ADVISORY_LOCK;
            }
            // The vocabulary has been asked for what it does.
            other if !has_hidden_effects(other) && self.is_function(name) => {}
            _ => self.unknown_call(),
        }
    }

    /// Whether the database has a function with this name, or a type that a call casts to.
    fn is_function(&self, name: Token) -> bool {
        let name = Stored::of(name, self.text);
        [Use::Function, Use::Type].iter().any(|used_as| self.vocabulary.has(name.bytes(), *used_as))
    }

    fn config_call(&mut self) {
        self.facts.by_value = true;
        if self.here.mode == Mode::Plan {
            return;
        }
        if self.here.config.is_some() {
            return self.unknown_setting();
        }
        let depth = self.boundary.depth();
        self.here.config =
            Some(ConfigCall { depth, argument: 0, tokens: 0, name: None, local: None });
    }

    /// A token was taken inside the arguments of `set_config`.
    pub(super) fn config_step(&mut self, token: Token) {
        let depth = self.boundary.depth();
        let Some(call) = &mut self.here.config else { return };
        if depth < call.depth {
            return self.config_end();
        }
        if token.kind == Kind::Comma && depth == call.depth {
            call.argument = call.argument.saturating_add(1);
            call.tokens = 0;
            return;
        }
        call.tokens = call.tokens.saturating_add(1);
        let only = (call.tokens == 1).then_some(token);
        match call.argument {
            0 => call.name = only,
            2 => call.local = only,
            _ => {}
        }
    }

    fn config_end(&mut self) {
        let Some(call) = self.here.config.take() else { return };
        match call.local.filter(|_| call.argument == 2).and_then(|token| self.boolean(token)) {
            Some(true) => self.facts.local_settings = true,
            Some(false) => match call.name.and_then(|token| self.parameter(token)) {
                Some(number) => {
                    if !self.parameters.contains(&number) && self.parameters.len() < PARAMETERS_MAX
                    {
                        self.parameters.push(number);
                    }
                }
                None => {
                    let name = call.name.and_then(|token| self.literal(token));
                    match name {
                        Some(name) => self.change(Some(name), false),
                        None => self.unknown_setting(),
                    }
                }
            },
            None => {
                self.facts.local_settings = true;
                self.unknown_setting();
            }
        }
    }

    fn boolean(&self, token: Token) -> Option<bool> {
        match token.kind {
            Kind::Word if self.is(Some(token), b"true") => Some(true),
            Kind::Word if self.is(Some(token), b"false") => Some(false),
            Kind::Text => match self.literal(token)?.as_str() {
                "t" | "true" => Some(true),
                "f" | "false" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn parameter(&self, token: Token) -> Option<u16> {
        let digits = token.bytes(self.text).strip_prefix(b"$")?;
        let is_parameter = token.kind == Kind::Parameter;
        is_parameter.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
    }

    /// The value of a string, in lower case, if it is written plainly.
    pub(super) fn literal(&self, token: Token) -> Option<String> {
        let bytes = token.bytes(self.text);
        let value = match token.kind {
            Kind::Text => bytes.strip_prefix(b"'")?.strip_suffix(b"'")?,
            Kind::DollarText => bytes.strip_prefix(b"$$")?.strip_suffix(b"$$")?,
            _ => return None,
        };
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if value.is_empty() || !value.iter().all(plain) {
            return None;
        }
        Some(std::str::from_utf8(value).ok()?.to_ascii_lowercase())
    }
}

pub(super) fn is_name(token: &Token) -> bool {
    matches!(token.kind, Kind::Word | Kind::QuotedName | Kind::UnicodeName)
}

/// Whether a lower-case word may stand before a parenthesis without being a function's name.
pub fn is_keyword(word: &[u8]) -> bool {
    KEYWORDS.contains(word) || matches!(word, b"over" | b"filter" | b"materialized" | b"key")
}
