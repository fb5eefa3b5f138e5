//! `EXPLAIN ROUTE statement`: where a statement would go now, and why.
//!
//! PostgreSQL has no such statement. The server gets a SELECT of the answer in its place, so that it has its
//! place in a pipeline, a transaction and a batch as any other. A statement that is prepared keeps the answer
//! of the moment at which it was parsed.

use super::bound::Bound;
use super::client::{Client, Passing};
use super::decision::Decision;
use super::forward::Taken;
use super::node_choice::Chosen;
use super::node_choice::ClientJudge;
use super::own::{REFUSED, UnitTerms, Wish};
use super::pieces::Pieces;
use super::route::RouteNodes;
use super::unit::{Plan, plan};
use crate::cluster::Moment;
use crate::cluster::freshness::Level;
use crate::cluster::policy::RouteReads;
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
    route: &'static str,
}

impl Answer {
    fn select(&self) -> String {
        let quoted = |text: &str| format!("'{}'::pg_catalog.text", text.replace('\'', "''"));
        let node = self.node.as_deref().map_or("NULL::pg_catalog.text".to_owned(), quoted);
        format!(
            "SELECT {} AS target, {} AS reason, {node} AS node, {} AS consistency, {} AS fingerprint, \
             {} AS route",
            quoted(self.target),
            quoted(self.reason),
            quoted(self.consistency),
            quoted(&format!("{:016x}", self.fingerprint)),
            quoted(self.route),
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
        let is_pinned = bound.pin.is_some() || self.state.statements.pin().is_some();
        let here = |reason: &'static str| {
            let target = if bound.reading.is_some() { "replica" } else { "primary" };
            (target, reason, self.name_of(self.target.node))
        };
        let mut terms = UnitTerms::default();
        let (target, reason, node) = match self.route.nodes {
            Some(_) if in_transaction => {
                self.destination_of_move(statement).unwrap_or_else(|| here("transaction"))
            }
            Some(_) if is_pinned => here("keeps_server"),
            _ => self.destination(statement, &mut terms),
        };
        let mut normal = Vec::new();
        sql::normalise(statement, true, &mut normal);
        Answer {
            target,
            reason,
            node,
            consistency: self.level(&terms).as_str(),
            fingerprint: fingerprint(&normal),
            route: self.wish().as_str(),
        }
    }

    /// Where a statement takes the transaction that is on a replica, if anywhere.
    fn destination_of_move(
        &self,
        statement: &[u8],
    ) -> Option<(&'static str, &'static str, Option<String>)> {
        let mut unit = Vec::new();
        client::query(&mut unit, statement);
        let before = self.read_transaction.get();
        let planned = self.plan_inside(&unit);
        self.read_transaction.set(before);
        let moving = planned.flatten()?;
        let primary = self.route.nodes.as_ref()?.cluster.view().primary;
        Some(("primary", moving.reason.word(), self.name_of(primary)))
    }

    fn destination(
        &self,
        statement: &[u8],
        terms: &mut UnitTerms,
    ) -> (&'static str, &'static str, Option<String>) {
        let Some(nodes) = &self.route.nodes else {
            return ("primary", "one_node", Some(self.route.account.address.to_string()));
        };
        let view = nodes.cluster.view();
        let primary = || self.name_of(view.primary);
        let mut unit = Vec::new();
        client::query(&mut unit, statement);
        let mut judge = ClientJudge::new(self);
        let planned = plan(&unit, self.transaction_defaults(), &mut judge);
        *terms = judge.terms;
        if self.wish() != Wish::Auto {
            return self.wished_destination(nodes, planned, &unit);
        }
        if self.options.routing.route == RouteReads::Off {
            return ("primary", "route_off", primary());
        }
        if self.keeps_server() {
            return ("primary", "keeps_server", primary());
        }
        match planned {
            Plan::Primary(reason) => ("primary", reason.word(), primary()),
            Plan::AnyNode if self.is_redirected() => {
                ("primary", Decision::Redirected.word(), primary())
            }
            Plan::AnyNode => {
                let now = now();
                // A strict read is told where it goes when it has waited.
                let is_strict = self.level(terms) == Level::Strict;
                let arrived = if is_strict { Moment::default() } else { now };
                match self.choose_replica(nodes, &view, (arrived, now), terms) {
                    Ok(target) => {
                        let (place, decision) = self.place_of_reads();
                        let node = if place == "primary" { view.primary } else { target.node };
                        (place, decision.word(), self.name_of(node))
                    }
                    Err(_) => ("primary", Decision::NoReplica.word(), primary()),
                }
            }
        }
    }

    /// Where it goes in a session that has said so itself.
    fn wished_destination(
        &self,
        nodes: &RouteNodes,
        planned: Plan,
        unit: &[u8],
    ) -> (&'static str, &'static str, Option<String>) {
        let wish = self.wish();
        let view = nodes.cluster.view();
        match self.choose_as_wished(wish, nodes, &view, (unit, None)) {
            Chosen::Target(target) | Chosen::PrimaryRead(target) | Chosen::Unrepeated(target) => {
                let decision = self.wished_decision(&target);
                (decision.target(), decision.word(), self.name_of(target.node))
            }
            Chosen::Refuse(fault) => match planned {
                Plan::Primary(reason) if fault.code == REFUSED => ("replica", reason.word(), None),
                Plan::Primary(_) | Plan::AnyNode => ("replica", Decision::NoReplica.word(), None),
            },
            Chosen::AwaitReplica(..) => ("replica", Decision::WishedReplica.word(), None),
            Chosen::Hold | Chosen::AwaitPrimary => {
                ("primary", Decision::WishedPrimary.word(), None)
            }
        }
    }

    pub(super) fn name_of(&self, node: Option<crate::cluster::NodeId>) -> Option<String> {
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
            route: "auto",
        };
        assert_eq!(
            answer.select(),
            "SELECT 'primary'::pg_catalog.text AS target, 'lock'::pg_catalog.text AS reason, \
             'it''s:5432'::pg_catalog.text AS node, 'session'::pg_catalog.text AS consistency, \
             '00000000000000ab'::pg_catalog.text AS fingerprint, \
             'auto'::pg_catalog.text AS route"
        );
        assert!(Answer { node: None, ..answer }.select().contains("NULL::pg_catalog.text AS node"));
    }
}
