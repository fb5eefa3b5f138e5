//! Whether a replica answers as the primary does.
//!
//! Owns the comparison of two nodes where their answers would differ although their data is the same,
//! and what follows from each difference: it forbids reads until it is right or allowed. What a replica
//! has not replayed yet is no difference.

use super::features::Features;
use super::report::Report;
use crate::word::word_enum;
use std::collections::BTreeMap;
use std::fmt;

word_enum! {
    /// What two nodes differ in.
    pub Kind {
        /// The cluster.
        System = "system_identifier",
        /// The major version of PostgreSQL.
        Version = "version",
        /// What no session may set: the encoding.
        Fixed = "fixed",
        /// A setting that sessions may set.
        Setting = "setting",
        /// The version of a collation in the node's libraries: order and indexes depend on it.
        Collation = "collation",
        /// The files of an extension that the database has.
        Extension = "extension",
        /// The folder of a tablespace.
        Tablespace = "tablespace",
    }
}

/// What follows from a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The node serves no reads, unless the operator allows this.
    Forbid,
    /// The node serves nothing, whatever is allowed.
    Refuse,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What kind of thing differs.
    pub kind: Kind,
    /// Its name.
    pub name: Box<str>,
    /// What the primary has.
    pub primary: Box<str>,
    /// What the node has; `None` if it lacks the thing.
    pub node: Option<Box<str>>,
    /// The database in which it differs, if it is not the same in all.
    pub database: Option<Box<str>>,
}

impl Difference {
    /// What follows from it.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self.kind {
            Kind::System | Kind::Version => Effect::Refuse,
            Kind::Setting | Kind::Fixed | Kind::Collation | Kind::Extension | Kind::Tablespace => {
                Effect::Forbid
            }
        }
    }

    /// Whether one of these words, each a kind or a name, allows it.
    #[must_use]
    pub fn is_allowed(&self, allowed: &[String]) -> bool {
        let is_it = |word: &String| {
            word.eq_ignore_ascii_case(&self.name) || word.as_str() == self.kind.as_str()
        };
        self.effect() == Effect::Forbid && allowed.iter().any(is_it)
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let allow = format!("or allow_differences = [\"{}\"]", self.name);
        match self.kind {
            Kind::System | Kind::Version => "take it off the list of nodes".to_owned(),
            Kind::Setting => format!(
                "set {} = '{}' in its postgresql.conf and reload it, {allow}",
                self.name, self.primary
            ),
            Kind::Fixed | Kind::Tablespace => format!("build it anew from the primary, {allow}"),
            Kind::Collation => {
                format!("give both nodes the same version of the C library or ICU, {allow}")
            }
            Kind::Extension => format!("install the same version's files there, {allow}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &str| if value.is_empty() { "no value" } else { value }.to_owned();
        let node = self.node.as_deref().map_or_else(|| "nothing".to_owned(), shown);
        write!(f, "{} \"{}\"", self.kind, self.name)?;
        if let Some(database) = &self.database {
            write!(f, " in database {database}")?;
        }
        write!(f, ": the primary has {}, this node has {node}", shown(&self.primary))
    }
}

/// A node as it is compared.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// What it says of itself.
    pub report: &'a Report,
    /// What its answers depend on.
    pub features: &'a Features,
}

/// Where `node` would answer otherwise than `primary`.
#[must_use]
pub fn differences(primary: Compared<'_>, node: Compared<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut compare = |kind, name: &str, of_primary: &str, of_node: Option<&str>| {
        if of_node != Some(of_primary) {
            let node = of_node.map(Box::from);
            let (name, primary) = (name.into(), of_primary.into());
            found.push(Difference { kind, name, primary, node, database: None });
        }
    };
    let system = |one: Compared<'_>| one.report.system.to_string();
    compare(Kind::System, "system_identifier", &system(primary), Some(&system(node)));
    let major = |one: Compared<'_>| (one.report.version / 10_000).to_string();
    compare(Kind::Version, "server_version", &major(primary), Some(&major(node)));
    let (ours, theirs) = (primary.features, node.features);
    for (kind, ours, theirs) in [
        (Kind::Fixed, &ours.fixed, &theirs.fixed),
        (Kind::Setting, &ours.settings, &theirs.settings),
    ] {
        for (name, value) in ours {
            compare(kind, name, value, theirs.get(name).map(|value| &**value));
        }
    }
    // A collation that the node does not use yet will come with its column.
    for (name, version, other) in both(&ours.collations, &theirs.collations) {
        compare(Kind::Collation, name, version, Some(other));
    }
    for (name, extension) in ours.extensions.iter().filter(|(_, one)| one.is_installed) {
        let other = theirs.extensions.get(name).map(|one| &*one.version);
        compare(Kind::Extension, name, &extension.version, other);
    }
    for (name, is_used, is_used_there) in both(&ours.tablespaces, &theirs.tablespaces) {
        if *is_used && !is_used_there {
            compare(Kind::Tablespace, name, "files", None);
        }
    }
    found
}

/// Whether the node may serve reads in spite of these.
#[must_use]
pub fn is_fit(differences: &[Difference], allowed: &[String]) -> bool {
    differences.iter().all(|one| one.is_allowed(allowed))
}

/// What both have under the same name.
fn both<'a, V>(
    ours: &'a BTreeMap<Box<str>, V>,
    theirs: &'a BTreeMap<Box<str>, V>,
) -> impl Iterator<Item = (&'a str, &'a V, &'a V)> {
    ours.iter().filter_map(|(name, value)| theirs.get(name).map(|other| (&**name, value, other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{primary, replica};

    fn features(rows: &[[&str; 3]]) -> Features {
        let mut features = Features::new();
        for row in rows {
            features.add(&row.map(|value| Some(value.as_bytes()))).expect("a row");
        }
        features
    }

    fn found(ours: &[[&str; 3]], theirs: &[[&str; 3]]) -> Vec<Difference> {
        let (report, other) = (primary(1, 1, 1), replica(Some(1), 1));
        differences(
            Compared { report: &report, features: &features(ours) },
            Compared { report: &other, features: &features(theirs) },
        )
    }

    #[test]
    fn each_difference_is_named_with_what_follows_from_it() {
        for (ours, theirs, expected, effect) in [
            (
                ["setting", "TimeZone", "UTC"],
                ["setting", "TimeZone", "Asia/Tokyo"],
                "setting \"TimeZone\": the primary has UTC, this node has Asia/Tokyo",
                Effect::Forbid,
            ),
            (
                ["setting", "search_path", "app, public"],
                ["setting", "search_path", ""],
                "setting \"search_path\": the primary has app, public, this node has no value",
                Effect::Forbid,
            ),
            (
                ["fixed", "server_encoding", "UTF8"],
                ["fixed", "server_encoding", "LATIN1"],
                "fixed \"server_encoding\": the primary has UTF8, this node has LATIN1",
                Effect::Forbid,
            ),
            (
                ["collation", "database default", "2.36"],
                ["collation", "database default", "2.41"],
                "collation \"database default\": the primary has 2.36, this node has 2.41",
                Effect::Forbid,
            ),
            (
                ["collation", "database default", "2.36"],
                ["collation", "database default", ""],
                "collation \"database default\": the primary has 2.36, this node has no value",
                Effect::Forbid,
            ),
            (
                ["extension", "postgis", "3.5"],
                ["available", "postgis", "3.3"],
                "extension \"postgis\": the primary has 3.5, this node has 3.3",
                Effect::Forbid,
            ),
            (
                ["extension", "postgis", "3.5"],
                ["available", "cube", "1.5"],
                "extension \"postgis\": the primary has 3.5, this node has nothing",
                Effect::Forbid,
            ),
            (
                ["tablespace", "fast", "used"],
                ["tablespace", "fast", "empty"],
                "tablespace \"fast\": the primary has files, this node has nothing",
                Effect::Forbid,
            ),
        ] {
            let found = found(&[ours], &[theirs]);
            let texts: Vec<_> = found.iter().map(Difference::to_string).collect();
            assert_eq!(texts, [expected]);
            assert_eq!(found[0].effect(), effect, "{expected}");
            assert!(!is_fit(&found, &[]), "{expected}");
            assert!(is_fit(&found, &[found[0].kind.to_string()]), "{expected}");
            assert!(is_fit(&found, &[found[0].name.to_lowercase()]), "{expected}");
            assert!(!is_fit(&found, &["another".to_owned()]), "{expected}");
            assert!(found[0].remedy().contains("allow_differences"), "{expected}");
        }
    }

    #[test]
    fn what_was_not_replayed_yet_or_is_not_used_is_no_difference() {
        for (ours, theirs) in [
            (vec![["collation", "public.german", "153.14"]], vec![]),
            (vec![["tablespace", "fast", "used"]], vec![]),
            (vec![["tablespace", "fast", "empty"]], vec![["tablespace", "fast", "used"]]),
            (vec![["available", "postgis", "3.5"]], vec![]),
            (vec![["extension", "cube", "1.5"]], vec![["available", "cube", "1.5"]]),
            (vec![], vec![["setting", "new_setting", "on"]]),
        ] {
            assert_eq!(found(&ours, &theirs), [], "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn another_cluster_or_major_version_is_refused_whatever_is_allowed() {
        let ours = primary(1, 1, 1);
        let features = Features::new();
        let all = ["system_identifier", "version", "server_version"].map(str::to_owned);
        let (mut foreign, mut newer, mut minor) =
            (replica(None, 1), replica(None, 1), replica(None, 1));
        foreign.system += 1;
        newer.version = 190_001;
        minor.version = 150_001;
        for (theirs, kinds) in
            [(foreign, vec![Kind::System]), (newer, vec![Kind::Version]), (minor, vec![])]
        {
            let found = differences(
                Compared { report: &ours, features: &features },
                Compared { report: &theirs, features: &features },
            );
            assert_eq!(found.iter().map(|one| one.kind).collect::<Vec<_>>(), kinds);
            assert_eq!(is_fit(&found, &all), kinds.is_empty());
        }
    }
}
