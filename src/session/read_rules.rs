//! What the operator says of the reads of one database, shared by its routes.
//!
//! Owns the rules by which texts are judged, and which clients' reads go elsewhere. Immutable: whoever has the
//! same rules has the same allocation, so that "by which rules was this judged?" is a comparison of pointers.

use crate::backend::settings::Settings;
use crate::cluster::NodeId;
use crate::cluster::policy::Otherwise;
use crate::cluster::redirect::{Client, Redirect, Target, matching};
use crate::cluster::shared::{NodeView, View};
use crate::routing::{Functions, Policy};
use std::sync::Arc;

/// See above.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRules {
    /// Relations of PostgreSQL's own catalog are read where other reads go.
    pub catalog_reads: bool,
    /// Foreign tables too.
    pub foreign_reads: bool,
    /// What is said of functions beside the catalog.
    pub functions: Functions,
    /// Where the reads of some clients go; those of other databases are left out.
    pub redirects: Box<[Redirect]>,
}

impl ReadRules {
    /// As texts are judged by it.
    pub fn policy(&self) -> Policy<'_> {
        Policy {
            catalog_reads: self.catalog_reads,
            foreign_reads: self.foreign_reads,
            functions: (self.functions != Functions::default()).then_some(&self.functions),
        }
    }
}

/// Where a session's reads go, as long as neither the rules nor its `application_name` change.
#[derive(Debug)]
pub(super) struct Redirected {
    rules: Arc<ReadRules>,
    settings: Arc<Settings>,
    /// Drawn once for the session.
    random: u64,
    place: Option<usize>,
}

/// The nodes that a redirect names.
#[derive(Clone, Copy, Debug)]
struct Named<'a> {
    nodes: &'a [NodeId],
    otherwise: Otherwise,
}

/// Which nodes a session's reads may go to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed<'a> {
    /// All, by their weights.
    All,
    /// These, whatever their weights are.
    Named(&'a [NodeId]),
    /// None.
    None,
}

impl Allowed<'_> {
    /// A node's weight for these reads.
    pub(super) fn weight(self, node: NodeId, view: &NodeView) -> u32 {
        match self {
            Self::All => view.weight,
            Self::Named(nodes) if nodes.contains(&node) => view.weight.max(1),
            Self::Named(_) | Self::None => 0,
        }
    }
}

impl Redirected {
    /// Of a session of this database and user.
    pub(super) fn new(
        rules: &Arc<ReadRules>,
        settings: &Arc<Settings>,
        names: (&str, &str),
        random: u64,
    ) -> Self {
        let (rules, settings) = (Arc::clone(rules), Arc::clone(settings));
        let mut redirected = Self { rules, settings, random, place: None };
        redirected.place = redirected.find(names);
        redirected
    }

    /// Brings it up to date. Cheap where nothing has changed.
    #[inline]
    pub(super) fn update(
        &mut self,
        rules: &Arc<ReadRules>,
        settings: &Arc<Settings>,
        names: (&str, &str),
    ) {
        if !Arc::ptr_eq(&self.rules, rules) || !Arc::ptr_eq(&self.settings, settings) {
            *self = Self::new(rules, settings, names, self.random);
        }
    }

    fn find(&self, (database, user): (&str, &str)) -> Option<usize> {
        if self.rules.redirects.is_empty() {
            return None;
        }
        let application = self.settings.value("application_name").unwrap_or_default();
        let client = Client { database, user, application };
        matching(&self.rules.redirects, &client, self.random)
    }

    fn target(&self) -> Option<&Target> {
        self.rules.redirects.get(self.place?).map(|rule| &rule.target)
    }

    /// Whether its reads go to the primary.
    pub(super) fn is_to_primary(&self) -> bool {
        matches!(self.target(), Some(Target::Primary))
    }

    /// The nodes that its reads may go to: those that the redirect names while one of them can take them.
    pub(super) fn allowed(
        &self,
        view: &View,
        is_fresh: impl Fn(NodeId, &NodeView) -> bool,
    ) -> Allowed<'_> {
        let Some(Named { nodes, otherwise }) = self.named() else { return Allowed::All };
        let can_take = |node: &NodeId| {
            let one = usize::try_from(node.0).ok().and_then(|at| view.nodes.get(at));
            one.is_some_and(|one| one.is_replica && one.may_read && is_fresh(*node, one))
        };
        if nodes.iter().any(can_take) {
            return Allowed::Named(nodes);
        }
        let is_primarys = view.primary.is_some_and(|primary| nodes.contains(&primary));
        match otherwise {
            Otherwise::Replica if !is_primarys => Allowed::All,
            Otherwise::Replica | Otherwise::Primary => Allowed::None,
        }
    }

    /// The nodes that its reads go to, if they are named.
    fn named(&self) -> Option<Named<'_>> {
        match self.target()? {
            Target::Nodes { nodes, otherwise } => Some(Named { nodes, otherwise: *otherwise }),
            Target::Primary | Target::Replica => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::redirect::Pattern;

    fn settings(application: &str) -> Arc<Settings> {
        Arc::new(Settings::of([("application_name".to_owned(), application.to_owned())]))
    }

    fn rules(application: &str) -> Arc<ReadRules> {
        let rule = Redirect {
            database: None,
            user: None,
            application: Some(Pattern::new(application)),
            target: Target::Primary,
            share: 1000,
        };
        Arc::new(ReadRules { redirects: [rule].into(), ..ReadRules::default() })
    }

    #[test]
    fn a_new_name_or_new_rules_count_at_once() {
        let (names, reports) = (("app", "bob"), rules("report*"));
        let mut redirected = Redirected::new(&reports, &settings("web"), names, 1);
        assert!(!redirected.is_to_primary());
        redirected.update(&reports, &settings("reporting"), names);
        assert!(redirected.is_to_primary());
        let web = rules("web");
        redirected.update(&web, &settings("reporting"), names);
        assert!(!redirected.is_to_primary());
        redirected.update(&web, &settings("web"), names);
        assert!(redirected.is_to_primary() && redirected.named().is_none());
    }
}
