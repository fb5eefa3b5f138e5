//! Where a unit of the client's messages may run: pure.
//!
//! A unit is a Query, or a batch up to its Sync. PostgreSQL runs it in one transaction if nothing in it
//! says otherwise (manual, "Pipelining"), so that one node takes it whole. It is looked at before there
//! is a server, outside of a transaction; what comes behind a BEGIN goes where the BEGIN went. Every
//! message and every text of a unit has to be a read for a replica; whatever cannot be seen whole is the
//! primary's.

use super::read_transaction::{ReadTransaction, stays};
use crate::routing::{Access, Isolation, Mode, Modes, Reason, Verdict};
use crate::wire::{self, HEADER_LEN, client};
use smallvec::SmallVec;
use std::rc::Rc;

/// Types below this number are PostgreSQL's own.
const FIRST_USER_OID: u32 = 16_384;

/// What is in front of what a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front<'a> {
    /// A unit.
    Whole(&'a [u8]),
    /// A part of one, these messages: the rest is still to come.
    Open(&'a [u8]),
    /// Something whose end cannot be waited for: the client asks for an answer before it, or it is too
    /// long to be held.
    Endless,
}

/// Finds the unit in front. It is held while it is shorter than `max`.
pub(super) fn front(data: &[u8], max: usize) -> Front<'_> {
    let mut at = 0;
    while let Some(rest) = data.get(at..) {
        let Ok(header) = wire::header(rest, max) else { return Front::Endless };
        let Some(header) = header.filter(|header| at + header.total() <= max) else {
            return if rest.len() < HEADER_LEN && at + HEADER_LEN <= max {
                Front::Open(data.get(..at).unwrap_or_default())
            } else {
                Front::Endless
            };
        };
        let end = at + header.total();
        if !is_of_unit(header.tag) {
            return Front::Endless;
        }
        let Some(unit) = data.get(..end) else {
            return Front::Open(data.get(..at).unwrap_or_default());
        };
        if matches!(header.tag, client::SYNC | client::QUERY) {
            return Front::Whole(unit);
        }
        at = end;
    }
    Front::Open(data)
}

/// Finds what is there of the unit in front before its end, or before the client asks for an answer.
pub(super) fn begun(data: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(rest) = data.get(at..) {
        let Ok(Some(header)) = wire::header(rest, usize::MAX) else { break };
        if !is_of_unit(header.tag) || rest.len() < header.total() {
            break;
        }
        at += header.total();
        if matches!(header.tag, client::SYNC | client::QUERY) {
            break;
        }
    }
    data.get(..at).unwrap_or_default()
}

fn is_of_unit(tag: u8) -> bool {
    matches!(
        tag,
        client::QUERY
            | client::PARSE
            | client::BIND
            | client::DESCRIBE
            | client::EXECUTE
            | client::CLOSE
            | client::SYNC
    )
}

/// How a session's transactions begin that do not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TransactionDefaults {
    /// `default_transaction_read_only` is on.
    pub(super) is_read_only: bool,
    /// `default_transaction_isolation` is `serializable`, which no standby has.
    pub(super) is_serializable: bool,
    /// `default_transaction_isolation` is `repeatable read`.
    pub(super) is_repeatable: bool,
}

/// What is known of texts and statements.
pub(super) trait Judge {
    /// Of a text.
    fn text(&mut self, sql: &[u8]) -> Rc<Verdict>;
    /// Whether values of the type with this OID may be read on a standby; it is none of PostgreSQL's own.
    fn parameter(&mut self, oid: u32) -> Result<(), Reason>;
    /// Of a statement that the session has prepared. The empty name is the unnamed one.
    fn statement(&mut self, name: &[u8]) -> Rc<Verdict>;
}

/// Where a unit may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// On any node that is fresh enough.
    AnyNode,
    /// On the primary.
    Primary(Reason),
}

/// A unit while it is read.
struct Reading<'a> {
    judge: &'a mut dyn Judge,
    defaults: TransactionDefaults,
    /// A transaction that is read only has begun.
    transaction: Option<ReadTransaction>,
    /// It began before this unit, and runs on a replica.
    is_continued: bool,
    /// What it has prepared by itself.
    parsed: SmallVec<[(&'a [u8], Rc<Verdict>); 4]>,
}

/// Says where a whole unit may run.
pub(super) fn plan<'a>(
    unit: &'a [u8],
    defaults: TransactionDefaults,
    judge: &'a mut dyn Judge,
) -> Plan {
    plan_and_follow(unit, defaults, judge).0
}

/// The same, and which transaction it leaves behind on a replica.
pub(super) fn plan_and_follow<'a>(
    unit: &'a [u8],
    defaults: TransactionDefaults,
    judge: &'a mut dyn Judge,
) -> (Plan, Option<ReadTransaction>) {
    if defaults.is_serializable {
        return (Plan::Primary(Reason::Serializable), None);
    }
    let parsed = SmallVec::new();
    let mut reading = Reading { judge, defaults, transaction: None, is_continued: false, parsed };
    match reading.unit(unit) {
        Ok(()) => (Plan::AnyNode, reading.transaction),
        Err(reason) => (Plan::Primary(reason), None),
    }
}

/// Says whether a unit may stay with its transaction on a replica, and what becomes of that there.
pub(super) fn plan_inside<'a>(
    unit: &'a [u8],
    transaction: ReadTransaction,
    defaults: TransactionDefaults,
    judge: &'a mut dyn Judge,
) -> (Plan, Option<ReadTransaction>) {
    let (transaction, parsed) = (Some(transaction), SmallVec::new());
    let mut reading = Reading { judge, defaults, transaction, is_continued: true, parsed };
    match reading.unit(unit) {
        Ok(()) => (Plan::AnyNode, reading.transaction),
        Err(reason) => (Plan::Primary(reason), reading.transaction),
    }
}

impl<'a> Reading<'a> {
    fn unit(&mut self, unit: &'a [u8]) -> Result<(), Reason> {
        let mut rest = unit;
        while !rest.is_empty() {
            let header = wire::header(rest, unit.len()).ok().flatten();
            let header = header.ok_or(Reason::Malformed)?;
            let body = rest.get(HEADER_LEN..header.total()).ok_or(Reason::Malformed)?;
            self.message(header.tag, body)?;
            rest = rest.get(header.total()..).unwrap_or_default();
        }
        Ok(())
    }

    fn message(&mut self, tag: u8, body: &'a [u8]) -> Result<(), Reason> {
        match tag {
            client::QUERY => {
                let sql = body.strip_suffix(&[0]).ok_or(Reason::Malformed)?;
                let verdict = self.judge.text(sql);
                self.run(&verdict)
            }
            client::PARSE => {
                let parse = client::read_parse(body).ok_or(Reason::Malformed)?;
                let verdict = self.judge.text(parse.sql);
                let judge = &mut *self.judge;
                let verdict = match parameters(parse.types, &mut |oid| judge.parameter(oid)) {
                    Ok(()) => verdict,
                    Err(reason) => Rc::new(Verdict::Primary(reason)),
                };
                self.parsed.push((parse.name, Rc::clone(&verdict)));
                self.look_at(&verdict)
            }
            client::BIND => {
                let bind = client::read_bind(body).ok_or(Reason::Malformed)?;
                if !has_sound_parameters(body, bind.names_len) {
                    return Err(Reason::Malformed);
                }
                let verdict = self.statement(bind.statement);
                self.run(&verdict)
            }
            client::DESCRIBE => {
                let target = client::read_target(body).ok_or(Reason::Malformed)?;
                match target.kind {
                    b'P' => Ok(()),
                    b'S' => {
                        let statement = self.statement(target.name);
                        self.look_at(&statement)
                    }
                    _ => Err(Reason::Malformed),
                }
            }
            // A portal is of this unit, or there is none.
            client::EXECUTE => match wire::cstring(body) {
                Some((_, limit)) if limit.len() == 4 => Ok(()),
                Some(_) | None => Err(Reason::Malformed),
            },
            // A statement that is closed runs nothing.
            client::CLOSE => match client::read_target(body) {
                Some(target) if matches!(target.kind, b'P' | b'S') => Ok(()),
                Some(_) | None => Err(Reason::Malformed),
            },
            client::SYNC => Ok(()),
            _ => Err(Reason::Malformed),
        }
    }

    fn statement(&mut self, name: &[u8]) -> Rc<Verdict> {
        let own = self.parsed.iter().rev().find(|(parsed, _)| *parsed == name);
        own.map_or_else(|| self.judge.statement(name), |(_, verdict)| Rc::clone(verdict))
    }

    fn run(&mut self, verdict: &Verdict) -> Result<(), Reason> {
        match verdict {
            Verdict::Read => {
                self.transaction.iter_mut().for_each(ReadTransaction::record_read);
                Ok(())
            }
            Verdict::Primary(_) => self.look_at(verdict),
            Verdict::Begin(modes) => self.begin(*modes),
            Verdict::Execute { name } => {
                let statement = self.judge.statement(name);
                // An EXECUTE of an EXECUTE is none.
                if !matches!(*statement, Verdict::Read | Verdict::Primary(_)) {
                    return Err(Reason::UnknownPrepared);
                }
                self.run(&statement)
            }
            Verdict::End(_)
            | Verdict::Savepoint
            | Verdict::SetTransaction(_)
            | Verdict::SetDefaults { .. }
            | Verdict::Setting
            | Verdict::Prepare { .. }
            | Verdict::Deallocate
            | Verdict::Declare { .. }
            | Verdict::LockTable
            | Verdict::Cursor { .. } => match self.transaction {
                Some(transaction) => self.run_in_transaction(verdict, transaction),
                None => Err(outside(verdict)),
            },
        }
    }

    /// The transaction is read only, and runs on one replica whole.
    fn run_in_transaction(
        &mut self,
        verdict: &Verdict,
        mut transaction: ReadTransaction,
    ) -> Result<(), Reason> {
        match verdict {
            Verdict::SetTransaction(modes) if self.is_read_only(*modes) => {
                transaction = transaction.with(*modes);
            }
            // It fails behind a read, wherever that is.
            Verdict::SetTransaction(_) if self.is_continued && transaction.has_read() => {}
            Verdict::SetTransaction(_) => return Err(Reason::Transaction),
            Verdict::End(end) if end.chains && self.is_continued => {
                transaction = transaction.again();
            }
            Verdict::End(end) if end.chains => return Err(Reason::Transaction),
            Verdict::End(_) => {
                self.transaction = None;
                return Ok(());
            }
            Verdict::Declare { query, .. } => {
                (*query)?;
                transaction.record_read();
                transaction.record_left();
            }
            Verdict::Savepoint | Verdict::Cursor { .. } => transaction.record_left(),
            Verdict::LockTable => {}
            Verdict::SetDefaults { .. } | Verdict::Setting if self.is_continued => {
                transaction.record_left();
            }
            Verdict::Prepare { .. } | Verdict::Deallocate if self.is_continued => {}
            Verdict::Read
            | Verdict::Begin(_)
            | Verdict::Primary(_)
            | Verdict::Execute { .. }
            | Verdict::SetDefaults { .. }
            | Verdict::Setting
            | Verdict::Prepare { .. }
            | Verdict::Deallocate => return Err(Reason::Session),
        }
        self.transaction = Some(transaction);
        Ok(())
    }

    fn begin(&mut self, modes: Modes) -> Result<(), Reason> {
        if !self.is_read_only(modes) {
            return Err(Reason::Transaction);
        }
        let is_repeatable = self.defaults.is_repeatable;
        let begun = || ReadTransaction::begin(modes, is_repeatable);
        let running = self.transaction.map(|transaction| transaction.with(modes));
        self.transaction = Some(running.unwrap_or_else(begun));
        Ok(())
    }

    fn is_read_only(&self, modes: Modes) -> bool {
        let reads_only = match modes.access {
            Some(Mode::To(access)) => access == Access::ReadOnly,
            Some(Mode::Default) | None => self.transaction.is_some() || self.defaults.is_read_only,
        };
        let is_serializable = modes.isolation == Some(Mode::To(Isolation::Serializable));
        reads_only && !is_serializable
    }

    /// Parsing and describing run nothing, but ask for what the statement names.
    fn look_at(&self, verdict: &Verdict) -> Result<(), Reason> {
        let Verdict::Primary(reason) = verdict else { return Ok(()) };
        if self.is_continued && stays(*reason) { Ok(()) } else { Err(*reason) }
    }
}

/// Whether a Bind's parameters are whole, and their formats as many as PostgreSQL takes.
fn has_sound_parameters(body: &[u8], names_len: usize) -> bool {
    let number = |at: usize| {
        let bytes = body.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    };
    let formats = number(names_len).unwrap_or_default();
    let count = number(names_len + 2 + 2 * formats);
    client::parameters(body, |_| {}).is_some() && (formats <= 1 || count == Some(formats))
}

/// The types that a Parse declares: their input runs with each Bind. `judge` is asked for a database's own.
pub(super) fn parameters(
    types: &[u8],
    judge: &mut dyn FnMut(u32) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let oids = types.get(2..).unwrap_or_default().as_chunks::<4>().0;
    let mut oids = oids.iter().map(|oid| u32::from_be_bytes(*oid));
    oids.try_for_each(|oid| if oid < FIRST_USER_OID { Ok(()) } else { judge(oid) })
}

/// Why what belongs into a transaction needs the primary outside of one.
fn outside(verdict: &Verdict) -> Reason {
    match verdict {
        Verdict::End(_) | Verdict::Savepoint | Verdict::SetTransaction(_) => Reason::Transaction,
        Verdict::Declare { .. } | Verdict::Cursor { .. } => Reason::Cursor,
        Verdict::LockTable => Reason::Lock,
        Verdict::Primary(reason) => *reason,
        Verdict::SetDefaults { .. }
        | Verdict::Setting
        | Verdict::Prepare { .. }
        | Verdict::Deallocate
        | Verdict::Read
        | Verdict::Begin(_)
        | Verdict::Execute { .. } => Reason::Session,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::End;
    use std::collections::HashMap;

    /// Texts are their own verdicts.
    struct Words(HashMap<&'static str, Verdict>);

    impl Words {
        fn new() -> Self {
            let read_only = Modes { access: Some(Mode::To(Access::ReadOnly)), ..Modes::default() };
            let serializable =
                Modes { isolation: Some(Mode::To(Isolation::Serializable)), ..read_only };
            let end = End { commits: true, chains: false };
            Self(HashMap::from([
                ("read", Verdict::Read),
                ("write", Verdict::Primary(Reason::Write)),
                ("begin", Verdict::Begin(Modes::default())),
                ("begin read only", Verdict::Begin(read_only)),
                ("begin serializable", Verdict::Begin(serializable)),
                ("commit", Verdict::End(end)),
                ("chain", Verdict::End(End { chains: true, ..end })),
                ("set", Verdict::Setting),
                ("savepoint", Verdict::Savepoint),
                ("execute known", Verdict::Execute { name: (*b"known").into() }),
                ("execute other", Verdict::Execute { name: (*b"other").into() }),
            ]))
        }
    }

    impl Judge for Words {
        fn text(&mut self, sql: &[u8]) -> Rc<Verdict> {
            Rc::new(self.0[std::str::from_utf8(sql).expect("a word")].clone())
        }

        fn parameter(&mut self, oid: u32) -> Result<(), Reason> {
            if oid == 20_000 { Ok(()) } else { Err(Reason::Type) }
        }

        fn statement(&mut self, name: &[u8]) -> Rc<Verdict> {
            Rc::new(match name {
                b"known" => Verdict::Read,
                _ => Verdict::Primary(Reason::UnknownPrepared),
            })
        }
    }

    fn query(sql: &str) -> Vec<u8> {
        let mut out = Vec::new();
        client::query(&mut out, sql.as_bytes());
        out
    }

    /// A batch: `name=text` is a Parse, `name` a Bind and its Execute.
    fn batch(steps: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for step in steps {
            match step.split_once('=') {
                Some((name, sql)) => {
                    client::parse(&mut out, name.as_bytes(), sql.as_bytes(), &[0, 0])
                }
                None => {
                    client::bind_head(&mut out, b"", step.as_bytes(), 6);
                    out.extend_from_slice(&[0; 6]);
                    client::execute(&mut out, b"");
                }
            }
        }
        client::bare(&mut out, client::SYNC);
        out
    }

    fn of(unit: &[u8], defaults: TransactionDefaults) -> Plan {
        plan(unit, defaults, &mut Words::new())
    }

    #[test]
    fn every_text_and_every_statement_of_a_unit_has_to_be_a_read() {
        let default = TransactionDefaults::default();
        for (unit, expected) in [
            (query("read"), Plan::AnyNode),
            (query("write"), Plan::Primary(Reason::Write)),
            (query("set"), Plan::Primary(Reason::Session)),
            (query("execute known"), Plan::AnyNode),
            (query("execute other"), Plan::Primary(Reason::UnknownPrepared)),
            (batch(&["=read", ""]), Plan::AnyNode),
            (batch(&["known"]), Plan::AnyNode),
            (batch(&["known", "other"]), Plan::Primary(Reason::UnknownPrepared)),
            (batch(&["a=read", "b=write", "a"]), Plan::Primary(Reason::Write)),
            (batch(&["other=read", "other"]), Plan::AnyNode),
            (batch(&["known=write"]), Plan::Primary(Reason::Write)),
            (batch(&[]), Plan::AnyNode),
        ] {
            assert_eq!(of(&unit, default), expected, "{}", String::from_utf8_lossy(&unit));
        }
    }

    #[test]
    fn a_transaction_that_is_read_only_goes_to_a_replica_whole() {
        let default = TransactionDefaults::default();
        let read_only = TransactionDefaults { is_read_only: true, ..default };
        let serializable = TransactionDefaults { is_serializable: true, ..default };
        for (unit, defaults, expected) in [
            (query("begin read only"), default, Plan::AnyNode),
            (query("begin"), default, Plan::Primary(Reason::Transaction)),
            (query("begin"), read_only, Plan::AnyNode),
            (query("begin serializable"), read_only, Plan::Primary(Reason::Transaction)),
            (query("read"), serializable, Plan::Primary(Reason::Serializable)),
            (query("commit"), default, Plan::Primary(Reason::Transaction)),
            (batch(&["=begin read only", "", "=read", ""]), default, Plan::AnyNode),
            (batch(&["=begin read only", "", "=set", ""]), default, Plan::Primary(Reason::Session)),
            (
                batch(&["=begin read only", "", "=savepoint", "", "=commit", ""]),
                default,
                Plan::AnyNode,
            ),
            (
                batch(&["=begin read only", "", "=commit", "", "=savepoint", ""]),
                default,
                Plan::Primary(Reason::Transaction),
            ),
            (
                batch(&["=begin read only", "", "=chain", ""]),
                default,
                Plan::Primary(Reason::Transaction),
            ),
            (batch(&["=begin", "", "=read", ""]), default, Plan::Primary(Reason::Transaction)),
        ] {
            assert_eq!(of(&unit, defaults), expected, "{}", String::from_utf8_lossy(&unit));
        }
    }

    #[test]
    fn the_types_of_parameters_count() {
        for (types, expected) in [
            (&[0, 1, 0, 0, 0, 23][..], Plan::AnyNode),
            (&[0, 2, 0, 0, 0, 23, 0, 0, 0x4e, 0x20], Plan::AnyNode),
            (&[0, 2, 0, 0, 0, 23, 0, 0, 0x4e, 0x21], Plan::Primary(Reason::Type)),
        ] {
            let mut unit = Vec::new();
            client::parse(&mut unit, b"", b"read", types);
            client::bare(&mut unit, client::SYNC);
            assert_eq!(of(&unit, TransactionDefaults::default()), expected, "{types:?}");
        }
    }

    #[test]
    fn a_unit_ends_with_its_query_or_sync() {
        let (one, two) = (query("read"), batch(&["=read", ""]));
        let both = [two.clone(), one.clone()].concat();
        assert_eq!(front(&both, 1000), Front::Whole(&two));
        assert_eq!(front(&one, 1000), Front::Whole(&one));
        let sync = two.len() - 5;
        for cut in 0..two.len() {
            let Front::Open(part) = front(&two[..cut], 1000) else { panic!("{cut}") };
            assert!(two.starts_with(part) && part.len() <= cut);
            assert!(cut < sync || part == &two[..sync], "{cut}");
        }
        assert_eq!(front(&two, two.len() - 1), Front::Endless);
        assert_eq!(front(&two, two.len()), Front::Whole(&two));
        let mut flushed = two[..two.len() - 5].to_vec();
        client::bare(&mut flushed, client::FLUSH);
        assert_eq!(front(&flushed, 1000), Front::Endless);
    }

    #[test]
    fn a_message_that_its_server_refuses_is_the_primarys_whatever_comes_behind() {
        let message = |tag: u8, body: &[u8]| {
            let mut out = vec![tag];
            out.extend((body.len() as u32 + 4).to_be_bytes());
            out.extend_from_slice(body);
            out
        };
        for (tag, body, is_sound) in [
            (client::BIND, &b"\0known\0\0\0\0\0\0\0"[..], true),
            (client::BIND, b"\0known\0\0\x02\0\0\0\0\0\0\0\0", false),
            (client::BIND, b"\0known\0\0\0\0\x01\0\0\0\x09x", false),
            (client::BIND, b"\0known", false),
            (client::EXECUTE, b"\0\0\0\0\0", true),
            (client::EXECUTE, b"\0", false),
            (client::EXECUTE, b"", false),
            (client::CLOSE, b"Sknown\0", true),
            (client::CLOSE, b"Xknown\0", false),
            (client::CLOSE, b"S", false),
            (client::DESCRIBE, b"Sknown\0", true),
            (client::DESCRIBE, b"Xknown\0", false),
        ] {
            let expected = if is_sound { Plan::AnyNode } else { Plan::Primary(Reason::Malformed) };
            let part = message(tag, body);
            assert_eq!(of(&part, TransactionDefaults::default()), expected, "{tag} {body:?}");
            assert_eq!(front(&part, 1000), Front::Open(&part));
        }
    }

    #[test]
    fn a_unit_that_would_be_too_long_is_not_waited_for() {
        let mut long = Vec::new();
        client::query(&mut long, &[b'x'; 100]);
        assert_eq!(front(&long[..5], 50), Front::Endless);
        assert_eq!(front(&long[..4], 50), Front::Open(b""));
    }
}
