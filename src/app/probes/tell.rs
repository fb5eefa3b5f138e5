//! What an operator hears of nodes: lines of the log, and events.

use super::link::{Obstacle, Trouble};
use super::watched::Watched;
use crate::app::pooler::Pooler;
use crate::cluster::NodeId;
use crate::cluster::failover::{Account, Statements};
use crate::cluster::health::{Change, Condition, Refusal};
use crate::cluster::held_up::HeldUp;
use crate::cluster::roles::{Doubt, Event};
use crate::cluster::shared::now;
use crate::cluster::survey::News;
use crate::config::Config;
use crate::metrics::EventKind;

/// What is said of a change, and as what.
pub(super) fn described(watched: &Watched, news: &News) -> (&'static str, String) {
    match news {
        News::Role(event) => of_role(watched, *event),
        News::Health(node, change) => of_health(watched, *node, *change),
        News::Differs(node, difference, true) => {
            let name = watched.name(*node);
            ("info", format!("node {name} differs, which allow_differences allows: {difference}"))
        }
        News::Differs(node, difference, false) => {
            let (name, remedy) = (watched.name(*node), difference.remedy());
            ("warn", format!("node {name} serves no reads: {difference}; {remedy}"))
        }
        News::Fits(node) => (
            "info",
            format!(
                "node {} serves reads: it answers as the primary does, or its differences are allowed",
                watched.name(*node)
            ),
        ),
        News::Accounted(account) => ("warn", of_account(watched, account)),
        News::Counted(account) => ("warn", of_statements(watched, account)),
    }
}

/// What to do about a probe user that is kept out.
pub(super) fn remedy(config: &Config, obstacle: Obstacle) -> String {
    let user = &config.routing.probe_user;
    match obstacle {
        Obstacle::Login => format!(
            "on the primary: CREATE ROLE {user} LOGIN PASSWORD '…'; GRANT pg_monitor TO {user}; let it in \
             by pg_hba.conf; and set routing.probe_password"
        ),
        Obstacle::NoDatabase | Obstacle::Database => format!(
            "set routing.probe_dbname to a database that is there, and that {user} may connect to"
        ),
    }
}

/// What to do about a probe user that sees too little.
pub(super) fn grant(config: &Config) -> String {
    let user = &config.routing.probe_user;
    format!("on the primary: GRANT pg_monitor TO {user}")
}

/// The node does not let the probe user in.
pub(super) fn locked_out(pooler: &Pooler, watched: &Watched, node: NodeId, trouble: &Trouble) {
    let Some(obstacle) = trouble.obstacle else { return };
    let said = format!(
        "node {} cannot be probed: {}; reads and writes of its databases need that; {}",
        watched.name(node),
        trouble.text,
        remedy(&pooler.current().config, obstacle)
    );
    say(pooler, watched, "error", &said);
}

/// The probe user sees too little.
pub(super) fn lacks_rights(pooler: &Pooler, watched: &Watched, node: NodeId) {
    let config = &pooler.current().config;
    let said = format!(
        "role {} does not have the rights of pg_monitor on node {}, so nobody knows which timeline \
         replicas follow, and they serve reads only with consistency = \"eventual\"; {}",
        config.routing.probe_user,
        watched.name(node),
        grant(config)
    );
    say(pooler, watched, "error", &said);
}

/// A read keeps a replica from replaying.
pub(super) fn held_up(pooler: &Pooler, watched: &Watched, node: NodeId, read: &HeldUp) {
    let said = format!("the replay of node {} is held up by {read}", watched.name(node));
    say(pooler, watched, "warn", &said);
}

/// A probe has failed in another way than the last one.
pub(super) fn trouble(pooler: &Pooler, watched: &Watched, node: NodeId, text: &str) {
    say(pooler, watched, "warn", &format!("probe of node {} failed: {text}", watched.name(node)));
}

/// What a fail-over has cost is not known.
pub(super) fn no_history(pooler: &Pooler, watched: &Watched, node: NodeId, text: &str) {
    let user = &pooler.current().config.routing.probe_user;
    let said = format!(
        "node {} does not tell the history of its timeline, so nobody knows which writes were lost: \
         {text}; ALTER ROLE {user} REPLICATION, and let it in by pg_hba.conf, for the next time",
        watched.name(node)
    );
    say(pooler, watched, "warn", &said);
}

/// A node could not be compared with the primary in a database.
pub(super) fn not_compared(
    pooler: &Pooler,
    watched: &Watched,
    (node, database): (NodeId, &str),
    trouble: &Trouble,
) {
    let user = &pooler.current().config.routing.probe_user;
    let mut said = format!(
        "node {} cannot be compared with others in database {database} and serves no reads: {}",
        watched.name(node),
        trouble.text
    );
    if trouble.obstacle == Some(Obstacle::Database) {
        said.push_str(&format!("; GRANT CONNECT ON DATABASE {database} TO {user}"));
    }
    say(pooler, watched, "warn", &said);
}

/// The primary cannot be made to write its log out.
pub(super) fn not_nudged(pooler: &Pooler, watched: &Watched, node: NodeId, text: &str) {
    let said = format!(
        "node {} cannot be made to write its log out, so that an open transaction may keep reads off \
         the replicas while nobody commits: {text}; the probe user needs EXECUTE on \
         pg_logical_emit_message",
        watched.name(node)
    );
    say(pooler, watched, "warn", &said);
}

pub(super) fn say(pooler: &Pooler, watched: &Watched, level: &'static str, text: &str) {
    let databases = watched.databases(&pooler.current().config).join(",");
    match level {
        "error" => tracing::error!(database = %databases, "{text}"),
        "warn" => tracing::warn!(database = %databases, "{text}"),
        _ => tracing::info!(database = %databases, "{text}"),
    }
    pooler.record_event((level, EventKind::Node), (&databases, ""), text);
}

fn of_role(watched: &Watched, event: Event) -> (&'static str, String) {
    let name = |node| watched.name(node);
    match event {
        Event::Promoted { node, timeline, from } => {
            let before = from.filter(|from| *from != node);
            let before = before.map(|from| format!(" instead of {}", name(from)));
            let before = before.unwrap_or_default();
            let level = if from.is_some() { "warn" } else { "info" };
            (level, format!("node {} is the primary{before}, on timeline {timeline}", name(node)))
        }
        Event::Demoted(node) => {
            ("warn", format!("node {}, the primary, is in recovery", name(node)))
        }
        Event::NoPrimary(node) => {
            ("error", format!("there is no primary: it was node {}; writes wait", name(node)))
        }
        Event::Restored(node) => ("info", format!("node {} is the primary again", name(node))),
        Event::Refused { node, expected, found } => (
            "error",
            format!(
                "node {} belongs to another cluster and is not used: its system identifier is {found}, \
                 that of the others {expected}",
                name(node)
            ),
        ),
        Event::Admitted(node) => ("info", format!("node {} belongs to the cluster", name(node))),
        Event::Disputed { node, doubt, held_by } => {
            let level = if doubt == Doubt::OldTimeline { "warn" } else { "error" };
            let held = held_by.map_or_else(
                || "there is no primary".to_owned(),
                |by| format!("writes go to node {}", name(by)),
            );
            (level, format!("node {} {}; {held}", name(node), of_doubt(doubt)))
        }
        Event::Settled => ("info", "no claim to be the primary is disputed any more".to_owned()),
        Event::Joined(node) => ("info", format!("node {} is new", name(node))),
        Event::Left(node) => ("info", format!("node {} is gone", name(node))),
    }
}

fn of_doubt(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::OldTimeline => "was replaced as the primary and takes writes: it gets none",
        Doubt::SameTimeline => "takes writes on the timeline of the primary, which answers",
        Doubt::Behind => "takes writes but lacks some that the last primary had",
        Doubt::Diverged => "takes writes on a timeline that does not come from the primary's",
        Doubt::Unproven => {
            "takes writes, and nobody can tell where its timeline comes from: the probe user needs \
             REPLICATION"
        }
        Doubt::Contested => "takes writes, but so does the primary, which most replicas follow",
        Doubt::Forked => {
            "was promoted beside the primary, which wrote on and fails now: what it wrote would be lost. Start \
             the old primary again, or set role = \"primary\" for the new one; where no replica follows the \
             old one, the new one is believed when the old one is down for 20 s"
        }
        Doubt::Several => "is one of several that should be the primary",
        Doubt::FixedReplica => "takes writes, and the configuration says role = \"replica\"",
        Doubt::FixedPrimary => "is in recovery, and the configuration says role = \"primary\"",
    }
}

fn of_health(watched: &Watched, node: NodeId, change: Change) -> (&'static str, String) {
    let name = watched.name(node);
    let why = watched.last_error(node).map(|error| format!(": {}", error.text)).unwrap_or_default();
    match change.to {
        Condition::Up => ("info", format!("node {name} is up")),
        Condition::Untried => ("info", format!("node {name} was not tried yet")),
        Condition::Suspect => ("warn", format!("node {name} is suspect{why}")),
        Condition::Starting => ("warn", format!("node {name} takes no sessions yet{why}")),
        Condition::Refused(Refusal::OtherSystem) => {
            ("error", format!("node {name} is refused: it belongs to another cluster"))
        }
        Condition::Refused(Refusal::Fenced) => {
            ("warn", format!("node {name} is fenced: it takes writes and is not the primary"))
        }
        Condition::Down if matches!(change.from, Condition::Refused(_)) => {
            ("info", format!("node {name} is no longer refused, and tried again"))
        }
        Condition::Down => ("warn", format!("node {name} is down{why}")),
    }
}

fn of_statements(watched: &Watched, account: &Account) -> String {
    let Statements { failed, waited, repeated, in_doubt } = account.statements;
    let to = account.to.map_or_else(|| "none".to_owned(), |(node, _)| watched.name(node));
    let from = watched.name(account.from.0);
    format!(
        "fail-over from {from} to {to}: of the statements {failed} failed, {in_doubt} may have been done \
         or not, {waited} waited for the new primary, {repeated} were repeated"
    )
}

fn of_account(watched: &Watched, account: &Account) -> String {
    let gap = account.gap(now()).as_millis();
    let to = account.to.map_or_else(|| "none".to_owned(), |(node, _)| watched.name(node));
    let from = watched.name(account.from.0);
    format!("fail-over from {from} to {to}: no primary for {gap} ms; {}", account.loss)
}
