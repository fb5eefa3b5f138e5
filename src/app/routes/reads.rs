//! What is said and counted of the reads of each database with several nodes.
//!
//! Owns, by the name that clients ask for, the rules that all its routes share, and the counts. Rules are made
//! anew with each configuration; counts stay as long as a route leads to the database. Belongs to the control
//! thread.

use crate::cluster::NodeId;
use crate::cluster::policy::{CatalogReads, ForeignReads};
use crate::cluster::redirect::{Pattern, Redirect, Target};
use crate::config::{Config, NodeOptions, RedirectOptions, RedirectTo};
use crate::metrics::KindCounts;
use crate::routing::Functions;
use crate::session::advice::Advice;
use crate::session::checks::Checks;
use crate::session::decision::DECISIONS;
use crate::session::read_rules::ReadRules;
use std::collections::HashMap;
use std::sync::Arc;

/// Of all databases.
#[derive(Debug, Default)]
pub(super) struct Reads {
    databases: HashMap<String, DatabaseReads>,
    /// Reads that are to be compared.
    checks: Arc<Checks>,
}

/// Names of a database that are kept off its replicas.
const DISTRUSTED_MAX: usize = 100;

/// Of one.
#[derive(Debug)]
pub(super) struct DatabaseReads {
    /// By which rules, by the configuration that counts now.
    pub(super) rules: Arc<ReadRules>,
    /// Where units went.
    pub(super) decisions: Arc<KindCounts>,
    /// Where they would go.
    pub(super) advice: Arc<Advice>,
}

impl Reads {
    /// Of a database with these nodes, for so many threads.
    pub(super) fn of(
        &mut self,
        config: &Config,
        database: &str,
        nodes: &[NodeOptions],
        threads: usize,
    ) -> &DatabaseReads {
        self.databases.entry(database.to_owned()).or_insert_with(|| DatabaseReads {
            rules: Arc::new(rules(config, database, nodes)),
            decisions: Arc::new(KindCounts::new(DECISIONS, threads)),
            advice: Arc::new(Advice::new(threads)),
        })
    }

    /// Where reads wait that are to be compared.
    pub(super) fn checks(&self) -> Arc<Checks> {
        Arc::clone(&self.checks)
    }

    /// Another configuration counts. What the self-check has found is looked for anew.
    pub(super) fn renew(&mut self, config: &Config) {
        for (database, reads) in &mut self.databases {
            let nodes = config.database(database).map_or(&[][..], |entry| &entry.nodes);
            reads.rules = Arc::new(rules(config, database, nodes));
        }
    }

    /// Keeps functions and relations of a database off its replicas until another configuration counts, as far
    /// as there is room for them. Its rules are new then.
    pub(super) fn distrust(
        &mut self,
        database: &str,
        names: &[Box<[u8]>],
    ) -> Option<(Arc<ReadRules>, bool)> {
        let reads = self.databases.get_mut(database)?;
        let mut rules = ReadRules::clone(&reads.rules);
        let mut all = rules.functions.distrusted.into_vec();
        for name in names {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        let has_room = all.len() <= DISTRUSTED_MAX;
        all.truncate(DISTRUSTED_MAX);
        rules.functions.distrusted = all.into();
        reads.rules = Arc::new(rules);
        Some((Arc::clone(&reads.rules), has_room))
    }

    /// What is said and counted of each database.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &DatabaseReads)> {
        self.databases.iter().map(|(database, reads)| (database.as_str(), reads))
    }

    /// By which rules the routes of a database judge, if there are some.
    pub(super) fn rules(&self, database: &str) -> Option<Arc<ReadRules>> {
        self.databases.get(database).map(|reads| Arc::clone(&reads.rules))
    }

    /// Forgets what no route leads to.
    pub(super) fn prune(&mut self) {
        self.databases.retain(|_, reads| Arc::strong_count(&reads.decisions) > 1);
    }
}

/// What the configuration says of the reads of a database.
pub(super) fn rules(config: &Config, database: &str, nodes: &[NodeOptions]) -> ReadRules {
    let (routing, entry) = (&config.routing, config.database(database));
    let reads = entry.map_or(&[][..], |entry| &entry.read_only_functions);
    let writes = entry.map_or(&[][..], |entry| &entry.write_functions);
    let redirects = routing.redirects.iter().filter_map(|one| redirect(one, database, nodes));
    ReadRules {
        catalog_reads: routing.catalog_reads == CatalogReads::Replica,
        foreign_reads: routing.foreign_reads == ForeignReads::Replica,
        functions: Functions {
            reads: routing.read_only_functions.iter().chain(reads).cloned().collect(),
            writes: routing.write_functions.iter().chain(writes).cloned().collect(),
            distrusted: Box::default(),
        },
        redirects: redirects.collect(),
    }
}

/// A redirect as it counts in one database: nodes by their places there. `None`: it does not.
fn redirect(one: &RedirectOptions, database: &str, nodes: &[NodeOptions]) -> Option<Redirect> {
    let pattern = |text: &Option<String>| text.as_deref().map(Pattern::new);
    let is_its = pattern(&one.database).is_none_or(|pattern| pattern.is_match(database));
    let target = match &one.to {
        RedirectTo::Primary => Target::Primary,
        RedirectTo::Replica => Target::Replica,
        RedirectTo::Nodes { nodes: named, otherwise } => {
            let places = (0u32..).map(NodeId).zip(nodes);
            let is_named = |(_, node): &(NodeId, &NodeOptions)| named.contains(&node.address);
            let nodes: Box<[NodeId]> = places.filter(is_named).map(|(place, _)| place).collect();
            if nodes.is_empty() {
                return None;
            }
            Target::Nodes { nodes, otherwise: *otherwise }
        }
    };
    is_its.then(|| Redirect {
        database: None,
        user: pattern(&one.user),
        application: pattern(&one.application),
        target,
        share: u16::from(one.percent) * 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::policy::Otherwise;
    use crate::config::parse_bytes;

    #[test]
    fn what_is_distrusted_is_bounded_and_forgotten_with_the_configuration() {
        let text = "[auth]\nauth_type = \"trust\"\n[databases.one]\nnodes = [\"n1\", \"n2\"]\n";
        let config = parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let name = |number: usize| -> Box<[u8]> { format!("f{number}").as_bytes().into() };
        let mut reads = Reads::default();
        reads.of(&config, "one", &config.databases["one"].nodes, 1);
        assert!(reads.distrust("other", &[name(0)]).is_none());
        for number in 0..DISTRUSTED_MAX {
            let (_, has_room) = reads.distrust("one", &[name(number), name(0)]).expect("known");
            assert!(has_room, "{number}");
        }
        let (rules, has_room) = reads.distrust("one", &[name(DISTRUSTED_MAX)]).expect("known");
        assert!(!has_room && rules.functions.distrusted.len() == DISTRUSTED_MAX);
        reads.renew(&config);
        assert_eq!(reads.rules("one").map(|rules| rules.functions.distrusted.len()), Some(0));
    }

    #[test]
    fn a_database_has_the_rules_of_all_and_its_own() {
        let text = "[auth]\nauth_type = \"trust\"\n\
            [routing]\nread_only_functions = [\"a\"]\nforeign_reads = \"replica\"\n\
            [[routing.redirects]]\nuser = \"u\"\nto = [\"n2\", \"m1\"]\notherwise = \"primary\"\n\
            [[routing.redirects]]\ndatabase = \"one\"\nto = \"primary\"\npercent = 30\n\
            [databases.one]\nnodes = [\"n1\", \"n2\"]\nread_only_functions = [\"b\"]\n\
            [databases.two]\nnodes = [\"m1\", \"m2\"]\nwrite_functions = [\"c\"]\n\
            [databases.three]\nnodes = [\"o1\", \"o2\"]\n";
        let config = parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
        let of = |database: &str| rules(&config, database, &config.databases[database].nodes);
        let (one, two, three) = (of("one"), of("two"), of("three"));
        assert!(one.foreign_reads && !one.catalog_reads);
        assert_eq!((one.functions.reads.len(), one.functions.writes.len()), (2, 0));
        assert_eq!((two.functions.reads.len(), two.functions.writes.len()), (1, 1));
        let nodes = |place: u32| Target::Nodes {
            nodes: [NodeId(place)].into(),
            otherwise: Otherwise::Primary,
        };
        let targets = |rules: &ReadRules| -> Vec<(Target, u16)> {
            rules.redirects.iter().map(|one| (one.target.clone(), one.share)).collect()
        };
        assert_eq!(targets(&one), [(nodes(1), 1000), (Target::Primary, 300)]);
        assert_eq!(targets(&two), [(nodes(0), 1000)]);
        assert_eq!(targets(&three), [], "none of the named nodes is its own");
    }
}
