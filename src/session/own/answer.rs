//! How statements about howdah's own settings are answered.
//!
//! Without a server they are answered at once. With one they wait until it owes nothing, so that the state
//! of the transaction is known, and are answered by made-up answers in their place. What must fail fails
//! on the server too, where a transaction or a batch has to fail with it.

use super::hinted::Group;
use super::registry::{Message, already_exists, of_text};
use super::statement::{Statement, may_be_own};
use super::steps::steps;
use super::values::{Name, Wish};
use super::{Own, is_own_name};
use crate::backend::note::Note;
use crate::backend::state::{Kind, Reply, kind_of};
use crate::fault::{Fault, Side};
use crate::routing::hints;
use crate::session::bound::Bound;
use crate::session::client::Client;
use crate::session::effects::Effects;
use crate::session::flow::{End, Flow, Stop};
use crate::session::forward::Taken;
use crate::session::pieces::Pieces;
use crate::wire::{self, Header, client, server};
use std::task::Context;

/// The answer to a message without its ReadyForQuery, or what is wrong with it.
type Answer = Result<Vec<u8>, Fault>;

/// Where the session stands when a statement is run.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// The status of its transaction.
    status: u8,
    /// It has a server that it keeps beyond the transaction.
    is_kept: bool,
}

/// Without a server.
const FREE: Standing = Standing { status: wire::IDLE, is_kept: false };

/// How a statement is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// As all of a Query.
    Alone,
    /// As one of several in a Query.
    Among,
    /// By Execute.
    Portal,
}

/// A text sets one of our settings beside other things.
pub(in crate::session) fn not_alone() -> Fault {
    Fault::query(
        Side::Client,
        "0A000",
        "settings of howdah cannot be set together with other statements, nor by set_config",
    )
    .hint("Send SET howdah.… as a Query of its own. In a transaction SET LOCAL is possible.")
}

fn in_failed_transaction() -> Fault {
    let text = "current transaction is aborted, commands ignored until end of transaction block";
    Fault::query(Side::Client, "25P02", text)
}

fn in_copy() -> Fault {
    let text = "settings of howdah cannot be set while the server waits for the data of a COPY";
    Fault::query(Side::Client, "55000", text).hint("Send CopyDone or CopyFail before.")
}

fn one_node() -> Fault {
    Fault::query(Side::Client, "55000", "this database has one node, and no replica of it is known")
        .hint("Databases get replicas with the key nodes in the configuration.")
}

/// What a SET says that has no effect, or none yet.
fn warn(out: &mut Vec<u8>, (name, is_local): (Name, bool), way: Way, standing: Standing) {
    let in_block = standing.status != wire::IDLE;
    if is_local && !in_block && way != Way::Among {
        let text = "SET LOCAL can only be used in transaction blocks";
        wire::warning(out, &Fault::query(Side::Client, "25P01", text));
    } else if is_local && in_block && name != Name::Group {
        let text =
            format!("SET LOCAL {} has no effect in a transaction that has begun", name.full());
        let hint = "Where a transaction runs is decided at its BEGIN: set it before that.";
        wire::warning(out, &Fault::query(Side::Client, "01000", text).hint(hint));
    } else if standing.is_kept && matches!(name, Name::Route | Name::Consistency) {
        let text = format!("{} has no effect while the session keeps its server", name.full());
        let hint = "It counts for the next server that the session takes.";
        wire::warning(out, &Fault::query(Side::Client, "01000", text).hint(hint));
    }
}

impl Client {
    /// What this session has of it, from now on.
    pub(super) fn own_mut(&mut self) -> &mut Own {
        self.state.own.get_or_insert_default()
    }

    /// The message, if it is about our own settings.
    fn own_message(&self, tag: u8, body: &[u8]) -> Option<Message> {
        if let Some(own) = self.state.own.as_ref().filter(|own| !own.registry.is_empty())
            && let Some(message) = own.registry.message(tag, body)
        {
            return Some(message);
        }
        of_text(tag, body)
    }

    /// Whether a message has to be looked at. Nearly none has: few sessions have such settings, and few
    /// texts begin as a statement about one.
    #[inline]
    pub(in crate::session) fn may_be_about_own(&self, header: Header, body: &[u8]) -> bool {
        self.state.own.is_some() || client::text_in_front(header.tag, body).is_some_and(may_be_own)
    }

    /// Without a server: answers the message in front if it is about our own settings. How many bytes it
    /// has.
    #[cold]
    pub(in crate::session) fn answer_own(
        &mut self,
        cx: &mut Context<'_>,
        header: Header,
        data: &[u8],
    ) -> Flow<Option<usize>> {
        let Some(body) = data.get(wire::HEADER_LEN..header.total()) else { return Ok(None) };
        if self.pipe.skipping {
            return Ok(None);
        }
        let Some(message) = self.own_message(header.tag, body) else { return Ok(None) };
        let answer = self.perform(message, FREE);
        let is_query = header.tag == client::QUERY;
        let mut out = Vec::new();
        match answer {
            Ok(bytes) => out = bytes,
            Err(fault) => {
                self.own_mut().failed();
                self.pipe.skipping = !is_query;
                wire::fault(&mut out, &fault);
            }
        }
        if is_query {
            self.end_own_unit();
            server::ready(&mut out, wire::IDLE);
        }
        self.set_idle_clock();
        self.send_to_client(cx, &out).map_err(|error| Stop::End(End::ClientLost(error)))?;
        Ok(Some(header.total()))
    }

    /// A Query or a batch without a server is over.
    pub(in crate::session) fn end_own_unit(&mut self) {
        if let Some(own) = &mut self.state.own {
            own.ready(wire::IDLE);
            _ = own.scope.groups();
        }
    }

    /// With a server: takes the message if it is about our own settings.
    #[cold]
    pub(in crate::session) fn take_own(
        &mut self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Option<Taken> {
        self.join_hinted(header, body);
        if body.len() < header.body {
            return None;
        }
        match self.own_message(header.tag, body) {
            Some(message) => Some(self.take_own_message(bound, header, message, pieces)),
            None => {
                if let Some(own) = self.state.own.as_mut().filter(|own| !own.registry.is_empty()) {
                    own.registry.passes(header.tag, body);
                }
                None
            }
        }
    }

    fn take_own_message(
        &mut self,
        bound: &mut Bound,
        header: Header,
        message: Message,
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let replies = &mut bound.server().replies;
        let is_query = header.tag == client::QUERY;
        let is_copying = replies.awaits_copy_end();
        if replies.outstanding() > 0 && !replies.are_made_up() && !is_copying {
            return Self::wait_for_answers(bound, pieces);
        }
        if is_query && replies.has_open_batch() && !is_copying {
            // It ends the batch, as any Query does.
            client::bare(pieces.insert(), client::SYNC);
            drop(replies.sent(Kind::Sync, Reply::Swallow, None));
            return Self::wait_for_answers(bound, pieces);
        }
        let status = replies.status();
        let is_kept = self.route.nodes.is_some() && (self.keeps_server() || bound.pin.is_some());
        let closes = matches!(message, Message::CloseStatement(_) | Message::ClosePortal(_));
        let answer = if is_copying {
            Err(in_copy())
        } else if status == wire::FAILED && !closes {
            Err(in_failed_transaction())
        } else {
            self.perform(message, Standing { status, is_kept })
        };
        let first = match answer {
            Ok(bytes) => bytes,
            Err(fault) if is_query && status != wire::IN_TRANSACTION && !is_copying => {
                self.own_mut().failed();
                let mut out = Vec::new();
                wire::fault(&mut out, &fault);
                out
            }
            Err(fault) => {
                let mut link = self.link(bound, pieces);
                if is_query {
                    link.refuse_query(fault)
                } else {
                    link.refuse(fault)
                }
                return Taken::Bytes(header.total());
            }
        };
        let kind = kind_of(header.tag, b'P').unwrap_or(Kind::Close);
        let note = Some(Note::Answer(first.into()));
        drop(bound.server().replies.sent(kind, Reply::Fake, note));
        if is_query && status == wire::IDLE {
            self.end_own_unit();
        }
        Taken::Bytes(header.total())
    }

    /// What a message does, and its answer.
    fn perform(&mut self, message: Message, standing: Standing) -> Answer {
        let mut out = Vec::new();
        match message {
            Message::Query(statements) => {
                let way = if statements.len() == 1 { Way::Alone } else { Way::Among };
                for statement in &statements {
                    self.run_own(&mut out, statement, (way, standing))?;
                }
                self.own_mut().registry.passes(client::QUERY, b"");
            }
            Message::Deallocate(name) => {
                self.own_mut().registry.close_statement(&name);
                server::command_complete(&mut out, b"DEALLOCATE");
            }
            Message::Parse { name, statement } => {
                if !name.is_empty() && self.state.statements.text_of(&name).is_some() {
                    return Err(already_exists(&name));
                }
                self.own_mut().registry.prepare(name, statement)?;
                server::bare(&mut out, server::PARSE_COMPLETE);
            }
            Message::Duplicate(name) => return Err(already_exists(&name)),
            Message::Bind { name, portal } => {
                self.own_mut().registry.bind(name, portal.map_err(|fault| *fault)?)?;
                server::bare(&mut out, server::BIND_COMPLETE);
            }
            Message::DescribeStatement(statement) => {
                server::no_parameters(&mut out);
                describe(&mut out, &statement, false);
            }
            Message::DescribePortal(portal) => {
                describe(&mut out, &portal.statement, portal.is_binary);
            }
            Message::Execute(portal) => {
                self.run_own(&mut out, &portal.statement, (Way::Portal, standing))?;
            }
            Message::CloseStatement(name) => {
                self.own_mut().registry.close_statement(&name);
                server::bare(&mut out, server::CLOSE_COMPLETE);
            }
            Message::ClosePortal(name) => {
                self.own_mut().registry.close_portal(&name);
                server::bare(&mut out, server::CLOSE_COMPLETE);
            }
        }
        Ok(out)
    }

    fn run_own(
        &mut self,
        out: &mut Vec<u8>,
        statement: &Statement,
        (way, standing): (Way, Standing),
    ) -> Result<(), Fault> {
        match statement {
            Statement::Set { name, value, is_local } => {
                let name = Name::of(name)?;
                match value {
                    None => self.own_mut().scope.reset(name, *is_local),
                    Some(value) => self.set_own(name, value, *is_local)?,
                }
                warn(out, (name, *is_local), way, standing);
                server::command_complete(out, b"SET");
            }
            Statement::Reset(name) => {
                self.own_mut().scope.reset(Name::of(name)?, false);
                server::command_complete(out, b"RESET");
            }
            Statement::Show(name) => {
                let name = Name::of(name)?;
                if way != Way::Portal {
                    server::text_column(out, name.full().as_bytes(), false);
                }
                let configured = self.options.routing.consistency;
                let now = &self.own_mut().scope;
                server::text_row(out, now.now().shown(name, configured).as_bytes());
                server::command_complete(out, b"SHOW");
            }
            Statement::Malformed(fault) => return Err(Fault::clone(fault)),
        }
        Ok(())
    }

    fn set_own(&mut self, name: Name, value: &str, is_local: bool) -> Result<(), Fault> {
        let has_replicas = self.route.nodes.is_some();
        if name == Name::Route && !has_replicas {
            let wish = value.to_ascii_lowercase();
            if [Wish::Replica, Wish::Standby].iter().any(|one| one.as_str() == wish) {
                return Err(one_node());
            }
        }
        self.own_mut().scope.set(name, value, is_local)
    }

    /// Whether what a text does to its transaction or to all settings matters to our own.
    #[inline]
    pub(in crate::session) fn follows_steps(&self, effects: Effects) -> bool {
        self.state.own.as_ref().is_some_and(|own| {
            let resets = effects.contains(Effects::RESETS) && own.scope.has_changed();
            resets || own.scope.is_in_transaction()
        })
    }

    /// A text is sent for which [`follows_steps`](Self::follows_steps) is true. It waits until it is known
    /// what those before have done.
    pub(in crate::session) fn follow_steps(
        &mut self,
        bound: &mut Bound,
        sql: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Option<Taken> {
        let steps = steps(sql);
        let replies = &bound.server().replies;
        let may_wait = !replies.awaits_copy_end() && !replies.are_made_up();
        if !steps.is_empty() && may_wait && replies.outstanding() > 0 {
            return Some(Self::wait_for_answers(bound, pieces));
        }
        self.own_mut().scope.expect(steps);
        None
    }

    /// The same for a message with a text that is neither ours nor alone with what is ours.
    #[inline]
    pub(in crate::session) fn follow_own(
        &mut self,
        bound: &mut Bound,
        (header, body): (Header, &[u8]),
        effects: Effects,
        pieces: &mut Pieces<'_>,
    ) -> Option<Taken> {
        if !effects.contains(Effects::NAMES_OWN) && !self.follows_steps(effects) {
            return None;
        }
        let is_query = header.tag == client::QUERY;
        if effects.contains(Effects::NAMES_OWN) {
            let mut link = self.link(bound, pieces);
            if is_query {
                link.refuse_query(not_alone())
            } else {
                link.refuse(not_alone())
            }
            return Some(Taken::Bytes(header.total()));
        }
        let sql = if is_query {
            body.strip_suffix(&[0]).unwrap_or(body)
        } else {
            client::read_parse(body).filter(|_| header.tag == client::PARSE)?.sql
        };
        self.follow_steps(bound, sql, pieces)
    }

    /// The same for the text of a statement that is bound.
    pub(in crate::session) fn follow_steps_of(
        &mut self,
        bound: &mut Bound,
        statement: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Option<Taken> {
        let sql = self.state.statements.text_of(statement)?.to_vec();
        self.follow_steps(bound, &sql, pieces)
    }

    /// Whether one of the parameters of a Bind names a setting of ours, for `set_config`.
    pub(in crate::session) fn names_own_setting(body: &[u8]) -> bool {
        let mut found = false;
        let read = client::parameters(body, |value| {
            found |= std::str::from_utf8(value).is_ok_and(is_own_name);
        });
        read.is_some() && found
    }
}

impl Client {
    /// A message is sent to a server: the transaction is in the groups that it names.
    pub(super) fn join_hinted(&mut self, header: Header, body: &[u8]) {
        if self.route.nodes.is_none() {
            return;
        }
        match header.tag {
            client::QUERY => {
                if let Some(group) = hints(body).group {
                    self.own_mut().scope.join(group);
                }
            }
            client::PARSE => {
                let Some((name, text)) = wire::cstring(body) else { return };
                let group = hints(text).group;
                if group.is_none() && self.state.own.is_none() {
                    return;
                }
                let own = self.own_mut();
                own.hinted.prepare(name, group);
                if let Some(group) = group {
                    own.scope.join(group);
                }
            }
            client::BIND => {
                let Some(own) = &mut self.state.own else { return };
                let Some(bind) = client::read_bind(body) else { return };
                match own.hinted.of(bind.statement) {
                    Group::None => {}
                    Group::One(group) => own.scope.join(group),
                    Group::All => own.scope.join_all(),
                }
            }
            _ => {}
        }
    }
}

fn describe(out: &mut Vec<u8>, statement: &Statement, is_binary: bool) {
    match statement {
        Statement::Show(name) => server::text_column(out, name.as_bytes(), is_binary),
        Statement::Set { .. } | Statement::Reset(_) | Statement::Malformed(_) => {
            server::bare(out, server::NO_DATA);
        }
    }
}
