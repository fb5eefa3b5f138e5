//! `EXPLAIN ROUTE` on the console: where a statement would go, without a client that sends it.

use super::waits::{check, refused};
use crate::admin::{Outcome, Value};
use crate::app::pooler::Pooler;
use crate::fault::Fault;
use crate::session::explain_alone::Question;
use std::hash::{BuildHasher, RandomState};

/// Where `statement` would go in this database, if one is named.
pub(super) fn explain(
    pooler: &Pooler,
    database: Option<&str>,
    user: Option<&str>,
    statement: &[u8],
) -> Result<Outcome, Fault> {
    check(pooler, database, "explain routes of")?;
    let config = &pooler.current().config;
    let database = match database {
        Some(name) => name,
        None => only_one(config.databases.iter().filter(|(_, one)| one.nodes.len() > 1))?,
    };
    let user = user.unwrap_or_default();
    let missing = || refused("3D000", format!("no such database: {database}"));
    let effective = config.effective(database, user).ok_or_else(missing)?;
    let several = effective.nodes.len() > 1;
    let cluster = several.then(|| pooler.probes.cluster(&effective.nodes));
    let (options, catalog) = {
        let routes = pooler.routes.borrow();
        (routes.session_options(config, &effective, database), routes.catalog(database))
    };
    let snapshot = catalog.and_then(|catalog| catalog.snapshot());
    let found = Question {
        statement,
        names: (database, user),
        options: &options,
        snapshot: snapshot.as_deref(),
        cluster: cluster.as_deref(),
        random: RandomState::new().hash_one(statement),
    }
    .destination();
    let node = found.node.map_or(0, |node| node.0 as usize);
    let is_known = found.node.is_some() || !several;
    let node = effective.nodes.get(node).filter(|_| is_known).map(|node| node.address.to_string());
    Ok(Outcome::Rows(vec![vec![
        found.target.into(),
        found.reason.into(),
        Value::maybe(node),
        effective.consistency.as_str().into(),
        format!("{:016x}", found.fingerprint).into(),
    ]]))
}

/// The one database that can be meant.
fn only_one<'a, T>(mut several: impl Iterator<Item = (&'a String, T)>) -> Result<&'a str, Fault> {
    let (first, second) = (several.next(), several.next());
    match (first, second) {
        (Some((name, _)), None) => Ok(name),
        _ => Err(refused("42601", "which database?").hint("EXPLAIN ROUTE IN database statement.")),
    }
}
