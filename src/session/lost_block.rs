//! A transaction block that was lost with its server: what the client is answered until it ends it. Pure.
//!
//! The block has failed, as after any error in it (manual, "Transactions"): whatever the client sends gets
//! 25P02, and what ends the block is answered with ROLLBACK, without a server. A client that was not told
//! yet is told with the next error, and never that it has committed. In the extended protocol a Parse or a
//! Bind of what ends the block is taken, as PostgreSQL does. Savepoints are gone with the server.

use crate::fault::{Fault, Side};
use crate::sql::{Control, FirstStatement};
use crate::wire::{self, client, server};

/// Portals that end the block. One ends it, so that nobody needs many.
const PORTALS_MAX: usize = 16;

/// A transaction block that was lost with its server.
#[derive(Debug)]
pub(super) struct LostBlock {
    /// The client knows that its transaction has failed.
    is_told: bool,
    /// The portals that run what ends it.
    portals: Vec<(Box<[u8]>, Control)>,
}

/// What texts and statements of the client's are.
pub(super) trait Texts {
    /// The first statement of a text.
    fn first(&self, sql: &[u8]) -> Option<FirstStatement>;
    /// The text of a prepared statement.
    fn prepared(&self, name: &[u8]) -> Option<&[u8]>;
}

/// What follows from a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Nothing: the block is still there.
    Answered,
    /// The client's Parse has prepared what it says.
    Prepared,
    /// The client has closed this statement.
    Closed(Box<[u8]>),
    /// It has failed: what follows is dropped until Sync. `ends_block`: the block is over.
    Failed {
        /// See above.
        ends_block: bool,
    },
    /// The block is over. `rest`: a Query with what is still to be run.
    Ended {
        /// See above.
        rest: Option<Vec<u8>>,
    },
}

/// What a message asks for that cannot be had.
struct Refusal {
    fault: Fault,
    ends_block: bool,
}

/// The transaction is lost: what a client is told first.
pub(super) fn lost_transaction() -> Fault {
    Fault::query(Side::Server, "08006", "the transaction was lost with its server")
        .hint("Nothing of it is committed. Roll it back and run it again.")
}

fn aborted() -> Fault {
    let text = "current transaction is aborted, commands ignored until end of transaction block";
    Fault::query(Side::Client, "25P02", text)
}

impl LostBlock {
    /// `is_told`: the client knows that it has failed.
    pub(super) fn new(is_told: bool) -> Self {
        Self { is_told, portals: Vec::new() }
    }

    /// Answers a message that needs a server. `body`: as much of it as is there, which is all of a short one.
    pub(super) fn answer(
        &mut self,
        (tag, body): (u8, &[u8]),
        texts: &dyn Texts,
        out: &mut Vec<u8>,
    ) -> Done {
        let done = match tag {
            client::QUERY => self.query(body.strip_suffix(&[0]).unwrap_or(body), texts, out),
            client::PARSE => self.parse(body, texts, out),
            client::BIND => self.bind(body, texts, out),
            client::DESCRIBE => self.describe(body, texts, out),
            client::EXECUTE => {
                self.execute(wire::cstring(body).map_or(body, |(name, _)| name), out)
            }
            client::CLOSE => Ok(self.close(body, out)),
            _ => Err(self.refuse(None)),
        };
        match done {
            Ok(done) => done,
            Err(refusal) => {
                wire::fault(out, &refusal.fault);
                if matches!(tag, client::QUERY | client::FUNCTION_CALL) {
                    let is_over = refusal.ends_block;
                    server::ready(out, if is_over { wire::IDLE } else { wire::FAILED });
                    return if is_over { Done::Ended { rest: None } } else { Done::Answered };
                }
                Done::Failed { ends_block: refusal.ends_block }
            }
        }
    }

    /// What the client is told in the place of an answer.
    fn refuse(&mut self, control: Option<Control>) -> Box<Refusal> {
        let ends_block = matches!(control, Some(Control::Commit | Control::Prepare));
        if !std::mem::replace(&mut self.is_told, true) {
            return Box::new(Refusal { fault: lost_transaction(), ends_block });
        }
        let fault = match control {
            Some(Control::RollbackTo) => {
                aborted().hint("The savepoint was lost with its server. ROLLBACK ends the block.")
            }
            Some(Control::Chain) => aborted()
                .hint("The block was lost with its server. ROLLBACK without CHAIN ends it."),
            Some(Control::Begin | Control::Commit | Control::Rollback | Control::Prepare)
            | None => aborted(),
        };
        Box::new(Refusal { fault, ends_block: false })
    }

    /// Ends the block, if this does and the client is not deceived by that.
    fn run(&mut self, control: Option<Control>, out: &mut Vec<u8>) -> Result<(), Box<Refusal>> {
        let ends = match control {
            Some(Control::Rollback) => true,
            Some(Control::Commit | Control::Prepare) => self.is_told,
            Some(Control::Begin | Control::Chain | Control::RollbackTo) | None => false,
        };
        if !ends {
            return Err(self.refuse(control));
        }
        server::command_complete(out, b"ROLLBACK");
        Ok(())
    }

    fn query(
        &mut self,
        sql: &[u8],
        texts: &dyn Texts,
        out: &mut Vec<u8>,
    ) -> Result<Done, Box<Refusal>> {
        let Some(first) = texts.first(sql) else {
            server::bare(out, server::EMPTY_QUERY);
            server::ready(out, wire::FAILED);
            return Ok(Done::Answered);
        };
        self.run(first.control, out)?;
        if !first.is_followed {
            server::ready(out, wire::IDLE);
            return Ok(Done::Ended { rest: None });
        }
        // What follows is run where it stands, so that positions in its errors are right.
        let (mut text, mut rest) = (sql.to_vec(), Vec::new());
        if let Some(done) = text.get_mut(first.start..first.end) {
            done.fill(b' ');
        }
        client::query(&mut rest, &text);
        Ok(Done::Ended { rest: Some(rest) })
    }

    fn parse(
        &mut self,
        body: &[u8],
        texts: &dyn Texts,
        out: &mut Vec<u8>,
    ) -> Result<Done, Box<Refusal>> {
        let first = client::read_parse(body).map(|view| texts.first(view.sql));
        // An empty statement runs nothing.
        if first.is_some_and(|first| first.is_none_or(|first| ending(first).is_some())) {
            server::bare(out, server::PARSE_COMPLETE);
            return Ok(Done::Prepared);
        }
        Err(self.refuse(None))
    }

    fn bind(
        &mut self,
        body: &[u8],
        texts: &dyn Texts,
        out: &mut Vec<u8>,
    ) -> Result<Done, Box<Refusal>> {
        let Some(view) = client::read_bind(body) else { return Err(self.refuse(None)) };
        self.portals.retain(|(portal, _)| **portal != *view.portal);
        match prepared(texts, view.statement) {
            Some(control) if self.portals.len() < PORTALS_MAX => {
                self.portals.push((view.portal.into(), control));
                server::bare(out, server::BIND_COMPLETE);
                Ok(Done::Answered)
            }
            Some(_) | None => Err(self.refuse(None)),
        }
    }

    fn describe(
        &mut self,
        body: &[u8],
        texts: &dyn Texts,
        out: &mut Vec<u8>,
    ) -> Result<Done, Box<Refusal>> {
        let target = client::read_target(body);
        let is_known = target.is_some_and(|target| match target.kind {
            b'S' => prepared(texts, target.name).is_some(),
            _ => self.portal(target.name).is_some(),
        });
        if !is_known {
            return Err(self.refuse(None));
        }
        if target.is_some_and(|target| target.kind == b'S') {
            server::no_parameters(out);
        }
        server::bare(out, server::NO_DATA);
        Ok(Done::Answered)
    }

    fn execute(&mut self, portal: &[u8], out: &mut Vec<u8>) -> Result<Done, Box<Refusal>> {
        let control = self.portal(portal);
        self.run(control, out)?;
        Ok(Done::Ended { rest: None })
    }

    fn close(&mut self, body: &[u8], out: &mut Vec<u8>) -> Done {
        server::bare(out, server::CLOSE_COMPLETE);
        match client::read_target(body) {
            Some(target) if target.kind == b'S' => Done::Closed(target.name.into()),
            Some(target) => {
                self.portals.retain(|(portal, _)| **portal != *target.name);
                Done::Answered
            }
            None => Done::Answered,
        }
    }

    fn portal(&self, name: &[u8]) -> Option<Control> {
        let found = self.portals.iter().find(|(portal, _)| **portal == *name);
        found.map(|(_, control)| *control)
    }
}

/// How a prepared statement ends a block, if it does.
fn prepared(texts: &dyn Texts, name: &[u8]) -> Option<Control> {
    ending(texts.first(texts.prepared(name)?)?)
}

/// How a text of one statement ends a block, if PostgreSQL lets it be prepared in one that has failed.
fn ending(first: FirstStatement) -> Option<Control> {
    let control = first.control.filter(|_| !first.is_followed)?;
    (control != Control::Begin).then_some(control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Rules, first_statement};
    use std::collections::HashMap;

    #[derive(Default)]
    struct Known(HashMap<Vec<u8>, Vec<u8>>);

    impl Texts for Known {
        fn first(&self, sql: &[u8]) -> Option<FirstStatement> {
            first_statement(sql, Rules::STANDARD)
        }

        fn prepared(&self, name: &[u8]) -> Option<&[u8]> {
            self.0.get(name).map(|sql| &**sql)
        }
    }

    /// A conversation with a lost block: what is answered, in short.
    struct Talk {
        block: LostBlock,
        known: Known,
    }

    impl Talk {
        fn new(is_told: bool) -> Self {
            Self { block: LostBlock::new(is_told), known: Known::default() }
        }

        fn send(&mut self, message: &[u8]) -> (String, Done) {
            let mut out = Vec::new();
            let (tag, body) = (message[0], &message[wire::HEADER_LEN..]);
            let done = self.block.answer((tag, body), &self.known, &mut out);
            if done == Done::Prepared {
                let view = client::read_parse(body).expect("a Parse");
                self.known.0.insert(view.name.to_vec(), view.sql.to_vec());
            }
            let (mut said, mut rest) = (String::new(), &out[..]);
            while let Ok(Some(header)) = wire::header(rest, 1 << 20) {
                let body = &rest[wire::HEADER_LEN..header.total()];
                said.push(char::from(header.tag));
                match header.tag {
                    server::ERROR => {
                        said += std::str::from_utf8(wire::error_fields(body).code).expect("ASCII");
                    }
                    server::READY => said.push(char::from(body[0])),
                    server::COMMAND_COMPLETE => assert_eq!(body, b"ROLLBACK\0"),
                    _ => {}
                }
                rest = &rest[header.total()..];
            }
            (said, done)
        }

        fn query(&mut self, sql: &str) -> (String, Done) {
            let mut out = Vec::new();
            client::query(&mut out, sql.as_bytes());
            self.send(&out)
        }

        fn parse(&mut self, name: &str, sql: &str) -> (String, Done) {
            let mut out = Vec::new();
            client::parse(&mut out, name.as_bytes(), sql.as_bytes(), &[0, 0]);
            self.send(&out)
        }

        fn bind(&mut self, portal: &str, name: &str) -> (String, Done) {
            let mut out = Vec::new();
            client::bind_head(&mut out, portal.as_bytes(), name.as_bytes(), 6);
            out.extend([0; 6]);
            self.send(&out)
        }

        fn execute(&mut self, portal: &str) -> (String, Done) {
            let mut out = Vec::new();
            client::execute(&mut out, portal.as_bytes());
            self.send(&out)
        }

        fn target(&mut self, tag: u8, kind: u8, name: &str) -> (String, Done) {
            let mut out = Vec::new();
            client::target(&mut out, tag, kind, name.as_bytes());
            self.send(&out)
        }
    }

    fn ended() -> Done {
        Done::Ended { rest: None }
    }

    fn said(text: &str, done: Done) -> (String, Done) {
        (text.to_owned(), done)
    }

    #[test]
    fn everything_fails_until_the_block_is_ended() {
        let mut talk = Talk::new(true);
        let refused = || said("E25P02ZE", Done::Answered);
        for sql in ["SELECT 1", "BEGIN", "SAVEPOINT a", "ROLLBACK TO a", "COMMIT AND CHAIN"] {
            assert_eq!(talk.query(sql), refused(), "{sql}");
        }
        assert_eq!(talk.query(" ; "), said("IZE", Done::Answered));
        assert_eq!(talk.query("COMMIT"), said("CZI", ended()));
        assert_eq!(Talk::new(true).query("ROLLBACK"), said("CZI", ended()));
        assert_eq!(Talk::new(true).query("PREPARE TRANSACTION 'a'"), said("CZI", ended()));
    }

    #[test]
    fn a_client_that_was_not_told_is_told_first_and_never_that_it_has_committed() {
        let mut talk = Talk::new(false);
        assert_eq!(talk.query("SELECT 1"), said("E08006ZE", Done::Answered));
        assert_eq!(talk.query("SELECT 1"), said("E25P02ZE", Done::Answered));
        assert_eq!(Talk::new(false).query("COMMIT"), said("E08006ZI", ended()));
        assert_eq!(Talk::new(false).query("ROLLBACK"), said("CZI", ended()));
        let mut talk = Talk::new(false);
        assert_eq!(talk.parse("", "COMMIT"), said("1", Done::Prepared));
        assert_eq!(talk.bind("", ""), said("2", Done::Answered));
        assert_eq!(talk.execute(""), said("E08006", Done::Failed { ends_block: true }));
    }

    #[test]
    fn what_follows_the_end_of_the_block_is_run_where_it_stands() {
        let (text, done) = Talk::new(true).query("ROLLBACK; SELECT 1");
        assert_eq!(text, "C");
        let mut rest = Vec::new();
        client::query(&mut rest, b"        ; SELECT 1");
        assert_eq!(done, Done::Ended { rest: Some(rest) });
        assert_eq!(Talk::new(true).query("SELECT 1; ROLLBACK").0, "E25P02ZE");
    }

    #[test]
    fn the_extended_protocol_takes_what_ends_the_block() {
        let mut talk = Talk::new(true);
        let failed = || said("E25P02", Done::Failed { ends_block: false });
        assert_eq!(talk.parse("s", "SELECT 1"), failed());
        assert_eq!(talk.parse("e", ""), said("1", Done::Prepared));
        assert_eq!(talk.parse("r", "ROLLBACK"), said("1", Done::Prepared));
        talk.known.0.insert(b"read".to_vec(), b"SELECT 1".to_vec());
        assert_eq!(talk.bind("", "read"), failed());
        assert_eq!(talk.bind("", "unknown"), failed());
        assert_eq!(talk.target(client::DESCRIBE, b'S', "read"), failed());
        assert_eq!(talk.target(client::DESCRIBE, b'S', "r"), said("tn", Done::Answered));
        assert_eq!(talk.execute("p"), failed());
        assert_eq!(talk.bind("p", "r"), said("2", Done::Answered));
        assert_eq!(talk.target(client::DESCRIBE, b'P', "p"), said("n", Done::Answered));
        assert_eq!(talk.target(client::CLOSE, b'P', "p"), said("3", Done::Answered));
        assert_eq!(talk.execute("p"), failed());
        let closed = Done::Closed((*b"read").into());
        assert_eq!(talk.target(client::CLOSE, b'S', "read"), said("3", closed));
        assert_eq!(talk.bind("p", "r"), said("2", Done::Answered));
        assert_eq!(talk.execute("p"), said("C", ended()));
    }
}
