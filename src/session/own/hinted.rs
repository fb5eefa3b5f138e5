//! The groups that comments in front of a session's texts name: what the texts write, they have to see.
//!
//! Owns which prepared statements have such a comment, as their Bind does not show it. Bounded: beyond, every
//! statement is taken to be in every group.

use crate::routing::hints;
use crate::session::client::Client;
use crate::wire::{self, Header, client};
use std::collections::HashMap;

/// Prepared statements with such a comment.
const MAX: usize = 4096;

/// The groups of prepared statements, by their names; the empty name is the unnamed one.
#[derive(Debug, Default)]
pub(super) struct Hinted {
    groups: HashMap<Box<[u8]>, Box<str>, foldhash::fast::RandomState>,
    /// There were more.
    has_more: bool,
}

/// The groups of one statement.
#[derive(Debug, PartialEq, Eq)]
enum Group<'a> {
    None,
    One(&'a str),
    All,
}

impl Hinted {
    fn prepare(&mut self, name: &[u8], group: Option<&str>) {
        match group {
            None => _ = self.groups.remove(name),
            Some(group) if self.groups.len() < MAX || self.groups.contains_key(name) => {
                self.groups.insert(name.into(), group.into());
            }
            Some(_) => self.has_more = true,
        }
    }

    fn of(&self, name: &[u8]) -> Group<'_> {
        match self.groups.get(name) {
            Some(group) => Group::One(group),
            None if self.has_more => Group::All,
            None => Group::None,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_in_the_group_of_their_last_text() {
        let mut hinted = Hinted::default();
        hinted.prepare(b"s", Some("a"));
        hinted.prepare(b"", Some("b"));
        assert_eq!((hinted.of(b"s"), hinted.of(b"")), (Group::One("a"), Group::One("b")));
        hinted.prepare(b"", None);
        hinted.prepare(b"s", Some("c"));
        assert_eq!((hinted.of(b"s"), hinted.of(b"")), (Group::One("c"), Group::None));
    }

    #[test]
    fn what_is_not_remembered_is_in_every_group() {
        let mut hinted = Hinted::default();
        for number in 0..=MAX {
            hinted.prepare(number.to_string().as_bytes(), Some("a"));
        }
        assert_eq!(hinted.groups.len(), MAX);
        assert_eq!(hinted.of(b"0"), Group::One("a"));
        assert_eq!(hinted.of(MAX.to_string().as_bytes()), Group::All);
    }
}
