//! A session that begins with a wish: what its server has to be, and what the client is told at its login.

use super::Wish;
use super::choice::no_replica;
use super::terms::UnitTerms;
use crate::backend::server::Reported;
use crate::cluster::freshness::Level;
use crate::cluster::shared::now;
use crate::fault::{Fault, Scope, Side};
use crate::session::client::Client;
use crate::session::flow::{End, Flow, Stop};
use crate::session::run::Session;
use crate::session::target::Target;
use std::task::Context;

fn as_libpq(text: &'static str, hint: &'static str) -> Fault {
    Fault::session(Side::Client, "55000", text).hint(hint)
}

fn is_no_standby() -> Fault {
    as_libpq(
        "server is not in hot standby mode",
        "The database has no replica that is well: SHOW NODES names each and what is wrong with it. \
         prefer-standby takes the primary then.",
    )
}

impl Client {
    /// Whether its login, too, is a replica's: then the client is told what a replica says.
    pub(in crate::session) fn logs_in_to_replica(&self) -> bool {
        self.route.nodes.is_some() && self.wish().is_for_replicas()
    }

    fn login_replica(&self) -> Option<Target> {
        let nodes = self.route.nodes.as_ref()?;
        let terms = UnitTerms { consistency: Some(Level::Eventual), ..UnitTerms::default() };
        let now = now();
        self.choose_replica(nodes, &nodes.cluster.view(), (now, now), &terms).ok()
    }

    /// Why a server that reports this is none for the session, in libpq's words.
    pub(in crate::session) fn login_refusal(&self, reported: &Reported) -> Option<Fault> {
        let wish = self.state.own.as_ref().and_then(|own| own.scope.now().route)?;
        let value = reported.iter().find(|(name, _)| **name == *b"in_hot_standby");
        let in_recovery = value.map(|(_, value)| **value == *b"on");
        match (wish, in_recovery) {
            (Wish::Primary, Some(true)) => Some(as_libpq(
                "server is in hot standby mode",
                "target_session_attrs or howdah.route asks for a primary.",
            )),
            (Wish::Replica | Wish::Standby, Some(false)) => Some(is_no_standby()),
            (Wish::Primary | Wish::Replica | Wish::Standby, None) if self.route.nodes.is_none() => {
                Some(as_libpq(
                    "server does not say whether it is in hot standby mode",
                    "PostgreSQL does so since version 14. Name the database's nodes with the key \
                     nodes, or leave out target_session_attrs and howdah.route.",
                ))
            }
            _ => None,
        }
    }
}

impl Session {
    /// Takes a server of a replica for the login.
    pub(in crate::session) fn acquire_for_login(&mut self, cx: &mut Context<'_>) -> Flow {
        if std::mem::take(&mut self.client.is_unserved) {
            let fault = Fault { scope: Scope::Session, ..no_replica() };
            return Err(Stop::End(End::fault(fault)));
        }
        match self.client.login_replica() {
            Some(target) => {
                self.client.target = target;
                self.client.unit = None;
                self.acquire(cx, &[])
            }
            None if self.client.wish().insists() => Err(Stop::End(End::fault(is_no_standby()))),
            None => self.acquire_of_primary(cx),
        }
    }
}
