//! Whether probes can work at all: asked before the first client, and of a configuration alone.
//!
//! Owns the refusal to start. A database with several nodes needs a role that probes log in as: without
//! one nobody knows which node is the primary. If no node answers yet, the process starts and keeps
//! trying: the node may be what starts later.

use super::link::{Link, Obstacle, Trouble};
use super::watched::Watched;
use super::{lists, tell};
use crate::app::current::Current;
use crate::app::error::AppError;
use crate::app::pooler::Pooler;
use crate::cluster::NodeId;
use crate::config::Config;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What became of one trial.
#[derive(Debug)]
enum Trial {
    /// The role is let in and sees what it has to.
    Usable,
    /// It is let in and sees too little.
    Weak,
    /// It is kept out, or nothing was found out.
    Failed(Trouble),
}

/// Tries the probe user on every node of the databases that have several.
///
/// # Errors
/// The nodes that answer keep it out, or show it too little: the text says what to do.
pub(in crate::app) async fn check_probe_user(pooler: &Rc<Pooler>) -> Result<(), AppError> {
    let mut wrong = Vec::new();
    for watched in pooler.probes.list() {
        let trials = try_all(pooler, &watched).await;
        wrong.extend(judge(&watched, &pooler.current().config, &trials));
    }
    if wrong.is_empty() { Ok(()) } else { Err(AppError::Setup(wrong.join("\n"))) }
}

async fn try_all(pooler: &Rc<Pooler>, watched: &Watched) -> Vec<(NodeId, Trial)> {
    let tasks: Vec<_> = watched
        .nodes
        .iter()
        .map(|node| {
            let mut link = Link::new(&node.address, pooler);
            let current: Rc<Current> = pooler.current();
            tokio::task::spawn_local(async move {
                let trial = match link.report(&current).await {
                    Ok(answer) if answer.has_rights => Trial::Usable,
                    Ok(_) => Trial::Weak,
                    Err(trouble) => Trial::Failed(trouble),
                };
                link.close();
                trial
            })
        })
        .collect();
    let mut trials = Vec::new();
    for (node, task) in (0..).map(NodeId).zip(tasks) {
        if let Ok(trial) = task.await {
            trials.push((node, trial));
        }
    }
    trials
}

/// What is wrong with the probe user, if anything is known to be.
fn judge(watched: &Watched, config: &Config, trials: &[(NodeId, Trial)]) -> Option<String> {
    if trials.iter().any(|(_, trial)| matches!(trial, Trial::Usable)) {
        return None;
    }
    let (user, databases) = (&config.routing.probe_user, watched.databases(config).join(", "));
    if let Some((node, _)) = trials.iter().find(|(_, trial)| matches!(trial, Trial::Weak)) {
        return Some(format!(
            "routing.probe_user: role {user} does not have the rights of pg_monitor on node {}, and \
             database {databases} has several nodes, which have to be probed; {}",
            watched.name(*node),
            tell::grant(config)
        ));
    }
    let obstacle = |(node, trial): &(NodeId, Trial)| match trial {
        Trial::Failed(trouble) => Some((*node, trouble.obstacle?, trouble.text.clone())),
        Trial::Usable | Trial::Weak => None,
    };
    if let Some((node, obstacle, text)) = trials.iter().find_map(obstacle) {
        return Some(format!(
            "{}: node {} cannot be probed: {text}; database {databases} has several nodes, and which of \
             them is the primary is found by probes; {}",
            key(obstacle),
            watched.name(node),
            tell::remedy(config, obstacle)
        ));
    }
    tracing::warn!(
        database = %databases,
        "no node can be probed yet: nobody knows which is the primary, and statements wait; probes go on"
    );
    None
}

fn key(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Login => "routing.probe_user",
        Obstacle::NoDatabase | Obstacle::Database => "routing.probe_dbname",
    }
}

/// What can be said of the probe user of a configuration without asking a node: one line for each thing
/// that an operator should know.
///
/// # Errors
/// What is wrong in a file that the configuration names.
pub fn probe_user_notes(config: &std::sync::Arc<Config>) -> Result<Vec<String>, AppError> {
    if lists(config).next().is_none() {
        return Ok(Vec::new());
    }
    let current = Current::new(config)?;
    let routing = &config.routing;
    let user = &routing.probe_user;
    let entries = config.databases.iter().map(|(name, entry)| (name.as_str(), entry));
    let several = entries.chain(config.wildcard.iter().map(|entry| ("*", entry)));
    let several = several.filter(|(_, entry)| entry.nodes.len() > 1);
    let names: BTreeSet<&str> = several.map(|(name, _)| name).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let mut notes = vec![format!(
        "database {} has several nodes: probes log in as {user} to database {}; {}",
        names.join(", "),
        routing.probe_dbname,
        tell::remedy(config, Obstacle::Login)
    )];
    let has_secret =
        current.users.as_ref().is_some_and(|users| users.secret(user.as_bytes()).is_some());
    if routing.probe_password.is_none() && !has_secret {
        notes.push(format!(
            "routing.probe_password: not set, and auth_file has no {user}: the nodes have to let it in \
             without a password"
        ));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::health::Failure;
    use crate::config::{Source, load_from};
    use std::ffi::OsString;
    use std::sync::Arc;

    fn config() -> Arc<Config> {
        let variables = [
            ("HOWDAH_DATABASES__APP__NODES", "10.0.0.1,10.0.0.2"),
            ("HOWDAH_AUTH__AUTH_TYPE", "trust"),
        ];
        let variables = variables.map(|(name, value)| (OsString::from(name), value.into()));
        Arc::new(load_from(&Source::Environment, &variables).expect("a configuration"))
    }

    fn failed(failure: Failure, obstacle: Option<Obstacle>) -> Trial {
        Trial::Failed(Trouble { failure, text: "no".to_owned(), obstacle })
    }

    fn refused() -> Trial {
        failed(Failure::Configuration, Some(Obstacle::Login))
    }

    #[tokio::test]
    async fn one_node_that_lets_it_in_is_enough_and_one_that_does_not_answer_says_nothing() {
        let config = config();
        let nodes = &config.databases["app"].nodes;
        let watched = Watched::new(nodes, super::super::options(&config), 1);
        let judge = |one, other| {
            judge(&watched, &config, &[(NodeId(0), one), (NodeId(1), other)]).unwrap_or_default()
        };
        let silent = || failed(Failure::TimedOut, None);
        assert_eq!(judge(Trial::Usable, refused()), "");
        assert_eq!(judge(silent(), silent()), "");
        let said = judge(silent(), refused());
        assert!(
            said.starts_with("routing.probe_user: node 10.0.0.2:5432 cannot be probed"),
            "{said}"
        );
        assert!(said.contains("CREATE ROLE howdah LOGIN PASSWORD '…'; GRANT pg_monitor TO howdah"));
        let said = judge(silent(), Trial::Weak);
        assert!(said.ends_with("on the primary: GRANT pg_monitor TO howdah"), "{said}");
        let said = judge(failed(Failure::Configuration, Some(Obstacle::Database)), silent());
        assert!(said.starts_with("routing.probe_dbname: ") && !said.contains("CREATE"));
    }

    #[test]
    fn a_configuration_alone_tells_whom_probes_log_in_as() {
        let notes = probe_user_notes(&config()).expect("no file is named");
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].starts_with("database app has several nodes: probes log in as howdah"));
        assert!(notes[1].starts_with("routing.probe_password: not set"), "{notes:?}");
    }
}
