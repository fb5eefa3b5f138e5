//! The prepared statements and portals of a session that are about howdah's own settings. Pure.
//!
//! No server has them. Owns them by the client's names, and says which messages are about one of them.
//! Bounded.

use super::statement::{Statement, may_be_own, own_statements};
use super::steps::deallocated;
use crate::fault::{Fault, Side};
use crate::wire::{self, client};
use std::collections::HashMap;
use std::rc::Rc;

/// Statements and portals of one session, at most.
const MAX: usize = 1000;

/// A statement with its parameters, of which there are none, and the format of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Portal {
    /// What it runs.
    pub(in crate::session) statement: Rc<Statement>,
    /// Its row is wanted in the binary format.
    pub(in crate::session) is_binary: bool,
}

/// A message that is answered without a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) enum Message {
    /// A Query of these.
    Query(Vec<Statement>),
    /// A Query that drops this statement of ours.
    Deallocate(Box<[u8]>),
    /// A Parse.
    Parse {
        /// The client's name for it.
        name: Box<[u8]>,
        /// What it prepares.
        statement: Rc<Statement>,
    },
    /// A Parse of whatever under a name of ours.
    Duplicate(Box<[u8]>),
    /// A Bind.
    Bind {
        /// The portal's name.
        name: Box<[u8]>,
        /// What it becomes, or what is wrong with the message.
        portal: Result<Portal, Box<Fault>>,
    },
    /// Describe of a statement.
    DescribeStatement(Rc<Statement>),
    /// Describe of a portal.
    DescribePortal(Portal),
    /// Execute.
    Execute(Portal),
    /// Close of a statement.
    CloseStatement(Box<[u8]>),
    /// Close of a portal.
    ClosePortal(Box<[u8]>),
}

type Map<T> = HashMap<Box<[u8]>, T, foldhash::fast::RandomState>;

/// Statements and portals by their names.
#[derive(Debug, Default)]
pub(in crate::session) struct Registry {
    /// The empty name is the unnamed statement.
    statements: Map<Rc<Statement>>,
    portals: Map<Portal>,
}

/// What a text prepares; `None` if it is not about our settings.
fn prepared(text: &[u8]) -> Option<Statement> {
    let mut statements = own_statements(text)?;
    let first = statements.pop()?;
    if statements.is_empty() {
        return Some(first);
    }
    let text = "cannot insert multiple commands into a prepared statement";
    Some(Statement::Malformed(Box::new(Fault::query(Side::Client, "42601", text))))
}

/// The message that is in a Query or Parse, if it is about our settings.
pub(in crate::session) fn of_text(tag: u8, body: &[u8]) -> Option<Message> {
    match tag {
        client::QUERY => {
            let text = body.strip_suffix(&[0])?;
            let own = may_be_own(text).then(|| own_statements(text)).flatten()?;
            Some(Message::Query(own))
        }
        client::PARSE => {
            let (_, rest) = wire::cstring(body)?;
            if !may_be_own(rest) {
                return None;
            }
            let view = client::read_parse(body)?;
            let statement = Rc::new(prepared(view.sql)?);
            Some(Message::Parse { name: view.name.into(), statement })
        }
        _ => None,
    }
}

impl Registry {
    /// Whether there is nothing.
    pub(in crate::session) fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.portals.is_empty()
    }

    /// What a message is that names a statement or portal of ours.
    pub(in crate::session) fn message(&self, tag: u8, body: &[u8]) -> Option<Message> {
        match tag {
            client::QUERY => {
                let name = deallocated(body.strip_suffix(&[0])?)?;
                self.statements.contains_key(&name).then_some(Message::Deallocate(name))
            }
            client::PARSE => {
                let (name, _) = wire::cstring(body)?;
                let is_taken = !name.is_empty() && self.statements.contains_key(name);
                is_taken.then(|| Message::Duplicate(name.into()))
            }
            client::BIND => {
                let bind = client::read_bind(body)?;
                let statement = Rc::clone(self.statements.get(bind.statement)?);
                let portal = format(body, &bind).map(|is_binary| Portal { statement, is_binary });
                Some(Message::Bind { name: bind.portal.into(), portal: portal.map_err(Box::new) })
            }
            client::DESCRIBE | client::CLOSE => {
                let target = client::read_target(body)?;
                let is_close = tag == client::CLOSE;
                if target.kind == b'P' {
                    let portal = self.portals.get(target.name)?;
                    return Some(match is_close {
                        true => Message::ClosePortal(target.name.into()),
                        false => Message::DescribePortal(portal.clone()),
                    });
                }
                let statement = self.statements.get(target.name)?;
                Some(match is_close {
                    true => Message::CloseStatement(target.name.into()),
                    false => Message::DescribeStatement(Rc::clone(statement)),
                })
            }
            client::EXECUTE => {
                let (name, _) = wire::cstring(body)?;
                Some(Message::Execute(self.portals.get(name)?.clone()))
            }
            _ => None,
        }
    }

    /// A message of the client's goes to the server: a name may stand for something there now.
    pub(in crate::session) fn passes(&mut self, tag: u8, body: &[u8]) {
        match tag {
            client::QUERY => {
                self.statements.remove(&b""[..]);
                self.portals.remove(&b""[..]);
            }
            client::PARSE if body.first() == Some(&0) => {
                self.statements.remove(&b""[..]);
            }
            client::BIND => {
                if let Some((portal, _)) = wire::cstring(body) {
                    self.portals.remove(portal);
                }
            }
            _ => {}
        }
    }

    /// A statement has this name.
    ///
    /// # Errors
    /// If another has it, or there are too many.
    pub(in crate::session) fn prepare(
        &mut self,
        name: Box<[u8]>,
        statement: Rc<Statement>,
    ) -> Result<(), Fault> {
        if let Statement::Malformed(fault) = &*statement {
            return Err(Fault::clone(fault));
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(already_exists(&name));
        }
        if self.statements.len() >= MAX {
            return Err(too_many("prepared statements"));
        }
        self.statements.insert(name, statement);
        Ok(())
    }

    /// A portal has this name.
    ///
    /// # Errors
    /// If there are too many.
    pub(in crate::session) fn bind(
        &mut self,
        name: Box<[u8]>,
        portal: Portal,
    ) -> Result<(), Fault> {
        if self.portals.len() >= MAX && !self.portals.contains_key(&name) {
            return Err(too_many("portals"));
        }
        self.portals.insert(name, portal);
        Ok(())
    }

    /// A statement is closed.
    pub(in crate::session) fn close_statement(&mut self, name: &[u8]) {
        self.statements.remove(name);
    }

    /// A portal is closed.
    pub(in crate::session) fn close_portal(&mut self, name: &[u8]) {
        self.portals.remove(name);
    }

    /// The transaction is over, and with it its portals.
    pub(in crate::session) fn forget_portals(&mut self) {
        self.portals.clear();
    }

    /// DEALLOCATE ALL or DISCARD ALL.
    pub(in crate::session) fn forget_statements(&mut self) {
        self.statements.clear();
    }
}

/// As PostgreSQL says it of a name that is taken.
pub(in crate::session) fn already_exists(name: &[u8]) -> Fault {
    let name = String::from_utf8_lossy(name);
    let text = format!("prepared statement \"{name}\" already exists");
    Fault::query(Side::Client, "42P05", text)
}

fn too_many(what: &str) -> Fault {
    let text = format!("too many {what} of SET, SHOW and RESET of howdah's own settings");
    Fault::query(Side::Client, "54000", text).hint("Close those that are not needed.")
}

/// Whether the answer is wanted in the binary format.
fn format(body: &[u8], bind: &client::Bind<'_>) -> Result<bool, Fault> {
    let mut rest = body.get(bind.names_len..).unwrap_or_default();
    let mut number = || {
        let (number, behind) = rest.split_first_chunk::<2>()?;
        rest = behind;
        Some(u16::from_be_bytes(*number))
    };
    let malformed = || Fault::query(Side::Client, "08P01", "invalid message format");
    let formats = number().ok_or_else(malformed)?;
    for _ in 0..formats {
        number().ok_or_else(malformed)?;
    }
    let parameters = number().ok_or_else(malformed)?;
    if parameters != 0 {
        let name = String::from_utf8_lossy(bind.statement);
        let text = format!(
            "bind message supplies {parameters} parameters, but prepared statement \"{name}\" \
             requires 0"
        );
        return Err(Fault::query(Side::Client, "08P01", text));
    }
    let results = number().ok_or_else(malformed)?;
    Ok(results > 0 && number().ok_or_else(malformed)? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, sql: &str) -> Vec<u8> {
        [name.as_bytes(), b"\0", sql.as_bytes(), b"\0\0\0"].concat()
    }

    fn bind(portal: &str, statement: &str, rest: &[u8]) -> Vec<u8> {
        [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0", rest].concat()
    }

    fn with(name: &str) -> Registry {
        let mut registry = Registry::default();
        let Some(Message::Parse { name, statement }) =
            of_text(client::PARSE, &parse(name, "SHOW howdah.route"))
        else {
            panic!("a Parse of ours")
        };
        registry.prepare(name, statement).expect("the first");
        registry
    }

    #[test]
    fn texts_are_told_by_what_they_say() {
        assert!(matches!(
            of_text(client::QUERY, b"SET howdah.route = auto\0"),
            Some(Message::Query(_))
        ));
        assert_eq!(of_text(client::QUERY, b"SELECT 1\0"), None);
        assert_eq!(of_text(client::PARSE, &parse("", "SELECT 1")), None);
        assert_eq!(of_text(client::EXECUTE, b"\0\0\0\0\0"), None);
        let two = of_text(client::PARSE, &parse("", "SHOW howdah.route; SHOW howdah.route"));
        let Some(Message::Parse { statement, .. }) = two else { panic!("ours") };
        assert!(matches!(&*statement, Statement::Malformed(fault) if fault.code == "42601"));
    }

    #[test]
    fn names_stand_for_ours_until_the_client_uses_them_otherwise() {
        let mut registry = with("");
        let message = bind("p", "", &[0, 0, 0, 0, 0, 1, 0, 1]);
        let Some(Message::Bind { name, portal }) = registry.message(client::BIND, &message) else {
            panic!("ours")
        };
        let portal = portal.expect("a portal");
        assert!(portal.is_binary);
        registry.bind(name, portal.clone()).expect("the first");
        let execute = registry.message(client::EXECUTE, b"p\0\0\0\0\0");
        assert_eq!(execute, Some(Message::Execute(portal)));
        registry.passes(client::BIND, &bind("p", "theirs", &[0; 6]));
        assert_eq!(registry.message(client::EXECUTE, b"p\0\0\0\0\0"), None);
        assert!(registry.message(client::DESCRIBE, b"S\0").is_some());
        registry.passes(client::PARSE, &parse("", "SELECT 1"));
        assert_eq!(registry.message(client::DESCRIBE, b"S\0"), None);
        assert!(registry.is_empty());
        let mut other = with("");
        other.passes(client::QUERY, b"SELECT 1\0");
        assert!(other.is_empty());
    }

    #[test]
    fn named_statements_stay_and_their_names_are_taken() {
        let mut registry = with("s");
        registry.passes(client::QUERY, b"SELECT 1\0");
        let again = registry.message(client::PARSE, &parse("s", "SELECT 1"));
        assert_eq!(again, Some(Message::Duplicate(Box::from(*b"s"))));
        let statement = Rc::new(Statement::Reset("howdah.route".into()));
        assert_eq!(registry.prepare(Box::from(*b"s"), statement).unwrap_err().code, "42P05");
        let deallocate = registry.message(client::QUERY, b"DEALLOCATE s\0");
        assert_eq!(deallocate, Some(Message::Deallocate(Box::from(*b"s"))));
        assert_eq!(registry.message(client::QUERY, b"DEALLOCATE t\0"), None);
        let close = registry.message(client::CLOSE, b"Ss\0");
        assert_eq!(close, Some(Message::CloseStatement(Box::from(*b"s"))));
        registry.close_statement(b"s");
        assert!(registry.is_empty());
    }

    #[test]
    fn a_bind_with_parameters_is_refused() {
        let registry = with("s");
        for (rest, code) in [
            (&[0, 0, 0, 1, 0, 0, 0, 1, b'x', 0, 0][..], "08P01"),
            (&[0, 1][..], "08P01"),
            (&[0, 0, 0, 0][..], "08P01"),
        ] {
            let message = registry.message(client::BIND, &bind("", "s", rest));
            let Some(Message::Bind { portal: Err(fault), .. }) = message else { panic!("ours") };
            assert_eq!(fault.code, code);
        }
    }

    #[test]
    fn there_is_a_limit() {
        let mut registry = Registry::default();
        let statement = Rc::new(Statement::Reset("howdah.route".into()));
        for number in 0..MAX {
            let name = number.to_string().into_bytes().into();
            registry.prepare(name, Rc::clone(&statement)).expect("there is room");
        }
        assert_eq!(registry.prepare(Box::from(*b"more"), statement).unwrap_err().code, "54000");
    }
}
