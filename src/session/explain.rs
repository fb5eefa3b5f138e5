//! `EXPLAIN ROUTE statement`: where a statement would go now, and why.
//!
//! PostgreSQL has no such statement. The server gets a SELECT of the answer in its place, so that it has its
//! place in a pipeline, a transaction and a batch as any other. A statement that is prepared keeps the answer
//! of the moment at which it was parsed.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::decision::Decision;
use super::forward::Taken;
use super::node_choice::ClientJudge;
use super::pieces::Pieces;
use super::route::Mode;
use super::unit::{Plan, plan};
use crate::cluster::Moment;
use crate::cluster::freshness::Level;
use crate::cluster::shared::now;
use crate::metrics::fingerprint;
use crate::sql;
use crate::wire::{self, HEADER_LEN, Header, client};

/// The statement that is asked about, if the text is such a question.
pub(super) fn asked(text: &[u8]) -> Option<&[u8]> {
    let rest = word(text.trim_ascii_start(), b"explain")?;
    word(rest.trim_ascii_start(), b"route")
}

/// What stands behind this word.
fn word<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = text.split_at_checked(word.len())?;
    let ends = rest.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'(');
    (ends && front.eq_ignore_ascii_case(word)).then_some(rest)
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    target: &'static str,
    reason: &'static str,
    node: Option<String>,
    consistency: &'static str,
    fingerprint: u64,
}

impl Answer {
    fn select(&self) -> String {
        let quoted = |text: &str| format!("'{}'::pg_catalog.text", text.replace('\'', "''"));
        let node = self.node.as_deref().map_or("NULL::pg_catalog.text".to_owned(), quoted);
        format!(
            "SELECT {} AS target, {} AS reason, {node} AS node, {} AS consistency, {} AS fingerprint",
            quoted(self.target),
            quoted(self.reason),
            quoted(self.consistency),
            quoted(&format!("{:016x}", self.fingerprint)),
        )
    }
}

impl Client {
    /// The message with which the server answers in the place of this one, if it asks where a statement goes.
    #[cold]
    pub(super) fn explain_route(
        &self,
        bound: &mut Bound,
        header: Header,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        if body.len() < header.body {
            return None;
        }
        let mut out = Vec::new();
        if header.tag == client::QUERY {
            let statement = asked(body.strip_suffix(&[0])?)?;
            client::query(&mut out, self.answer(bound, statement).select().as_bytes());
            return Some(out);
        }
        let view = client::read_parse(body)?;
        let select = self.answer(bound, asked(view.sql)?).select();
        client::parse(&mut out, view.name, select.as_bytes(), view.types);
        Some(out)
    }

    fn answer(&self, bound: &mut Bound, statement: &[u8]) -> Answer {
        let in_transaction = bound.server().replies.status() != wire::IDLE;
        let (target, reason, node) = if in_transaction {
            let target = if bound.reading.is_some() { "replica" } else { "primary" };
            (target, "transaction", self.name_of(self.target.node))
        } else {
            self.destination(statement)
        };
        let mut normal = Vec::new();
        sql::normalise(statement, true, &mut normal);
        Answer {
            target,
            reason,
            node,
            consistency: self.options.routing.consistency.as_str(),
            fingerprint: fingerprint(&normal),
        }
    }

    fn destination(&self, statement: &[u8]) -> (&'static str, &'static str, Option<String>) {
        let Some(nodes) = &self.route.nodes else {
            return ("primary", "one_node", Some(self.route.account.address.to_string()));
        };
        let view = nodes.cluster.view();
        let primary = || self.name_of(view.primary);
        if !self.options.routing.is_on {
            return ("primary", "route_off", primary());
        }
        if self.options.mode == Mode::Session || self.is_dedicated() {
            return ("primary", "keeps_server", primary());
        }
        let mut unit = Vec::new();
        client::query(&mut unit, statement);
        let defaults = self.transaction_defaults();
        match plan(&unit, defaults, &mut ClientJudge(self)) {
            Plan::Primary(reason) => ("primary", reason.word(), primary()),
            Plan::AnyNode => {
                let now = now();
                // A strict read is told where it goes when it has waited.
                let is_strict = self.options.routing.consistency == Level::Strict;
                let arrived = if is_strict { Moment::default() } else { now };
                match self.choose_replica(nodes, &view, (arrived, now)) {
                    Ok(target) => ("replica", Decision::Replica.word(), self.name_of(target.node)),
                    Err(_) => ("primary", Decision::NoReplica.word(), primary()),
                }
            }
        }
    }

    fn name_of(&self, node: Option<crate::cluster::NodeId>) -> Option<String> {
        let nodes = self.route.nodes.as_ref()?;
        let node = nodes.pools.get(usize::try_from(node?.0).ok()?)?;
        Some(node.account.address.to_string())
    }

    /// The server gets `own` in the place of a message.
    pub(super) fn take_instead(
        &mut self,
        bound: &mut Bound,
        header: Header,
        own: &[u8],
        pieces: &mut Pieces<'_>,
    ) -> Taken {
        let Ok(Some(own_header)) = wire::header(own, usize::MAX) else { return Taken::Incomplete };
        let body = own.get(HEADER_LEN..).unwrap_or_default();
        let taken = self.take_read(bound, own_header, body, pieces);
        let Taken::Bytes(used) = taken else { return taken };
        if used == 0 && self.pipe.pass == Passing::Forward {
            pieces.insert().extend_from_slice(own);
        }
        (self.pipe.pass, self.pipe.passing) = (Passing::Drop, header.total());
        Taken::Bytes(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_about() {
        for (text, expected) in [
            ("EXPLAIN ROUTE SELECT 1", Some(" SELECT 1")),
            ("  explain\n route\t(SELECT 1)", Some("\t(SELECT 1)")),
            ("EXPLAIN ROUTE", Some("")),
            ("EXPLAIN ROUTES SELECT 1", None),
            ("EXPLAIN SELECT 1", None),
            ("EXPLAINROUTE SELECT 1", None),
            ("E", None),
        ] {
            assert_eq!(asked(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn an_answer_is_one_row_of_text() {
        let answer = Answer {
            target: "primary",
            reason: "lock",
            node: Some("it's:5432".into()),
            consistency: "session",
            fingerprint: 0xab,
        };
        assert_eq!(
            answer.select(),
            "SELECT 'primary'::pg_catalog.text AS target, 'lock'::pg_catalog.text AS reason, \
             'it''s:5432'::pg_catalog.text AS node, 'session'::pg_catalog.text AS consistency, \
             '00000000000000ab'::pg_catalog.text AS fingerprint"
        );
        assert!(Answer { node: None, ..answer }.select().contains("NULL::pg_catalog.text AS node"));
    }
}
