//! A PgBouncer that runs, beside a configuration of ours.
//!
//! What its console shows is written as a file of PgBouncer's, goes the way of every such file, and the
//! two configurations are compared key by key.

use super::super::difference::{Change, difference};
use super::super::files::Files;
use super::super::options::Config;
use super::convert::Ground;
use super::finding::{Fate, Finding};
use super::pgbouncer::Import;
use super::pgbouncer_table::{Becomes, PGBOUNCER};
use super::run::at_home;
use crate::config::error::ConfigErrors;
use crate::config::parse::parse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// What stands in errors for the console.
const CONSOLE: &str = "SHOW CONFIG";

/// A row of the console: values by column; NULL is absent.
pub type Shown = BTreeMap<String, String>;

/// What was found.
#[derive(Debug)]
pub struct Comparison {
    /// Keys that differ: `old` is PgBouncer's value, `new` is ours.
    pub changes: Vec<Change>,
    /// What PgBouncer has set and howdah has nothing like.
    pub without_equivalent: Vec<String>,
    /// Settings that this version does not know.
    pub unknown: Vec<String>,
}

/// Files that PgBouncer names are its own, perhaps on another machine: only their names are compared.
struct Unseen;

impl Files for Unseen {
    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// What differs between a PgBouncer with these rows of `SHOW CONFIG` and `SHOW DATABASES`, and `ours`.
///
/// # Errors
/// When its values make no configuration.
pub fn compare(
    config: &[Shown],
    databases: &[Shown],
    ours: &Config,
) -> Result<Comparison, ConfigErrors> {
    let ground = Ground::of_process();
    let (text, unknown) = as_file(config, databases);
    let mut import = Import::new(&ground);
    import.pgbouncer(Path::new(CONSOLE), text.as_bytes(), &Unseen);
    let Import { draft, findings, errors, .. } = import;
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors));
    }
    let written = draft.write(&[]);
    let theirs = parse(Path::new(CONSOLE), written.text.as_bytes(), &[], &Unseen)
        .map_err(|errors| at_home(&errors, &written))?;
    let mut changes = difference(&theirs, ours);
    let names_users = |row: &Shown| row.get("key").is_some_and(|key| key == "auth_file");
    let users = config.iter().any(names_users);
    changes.retain(|change| !is_unseen(change, ours) && (users || change.key != "auth.auth_file"));
    let missing = |finding: &&Finding| matches!(finding.fate, Fate::Missing(_) | Fate::Guard(_));
    let told = |finding: &Finding| match &finding.fate {
        Fate::Missing(what) | Fate::Guard(what) => format!("{}: {what}", finding.setting),
        Fate::Carried(..) | Fate::Process(_) | Fate::Needless(_) => finding.setting.clone(),
    };
    let without_equivalent = findings.iter().filter(missing).map(told).collect();
    Ok(Comparison { changes, without_equivalent, unknown })
}

/// What only seems to differ: contents of files, which were not looked at, and databases that one side
/// has under `*`, which PgBouncer's console does not show.
fn is_unseen(change: &Change, ours: &Config) -> bool {
    let contents = change.new.strip_suffix(" (new contents)") == Some(&*change.old);
    let wildcard = change.key.starts_with("databases.\"*\"")
        || (ours.wildcard.is_some()
            && change.key.starts_with("databases.")
            && change.new == "absent");
    contents || wildcard
}

/// The rows as PgBouncer would read them from a file, and the settings that are not known.
fn as_file(config: &[Shown], databases: &[Shown]) -> (String, Vec<String>) {
    let (mut text, mut unknown) = ("[databases]\n".to_owned(), Vec::new());
    let general = |key: &str| {
        let row = config.iter().find(|row| row.get("key").is_some_and(|known| known == key));
        row.and_then(|row| row.get("value"))
    };
    // Its columns, their names in a file, and the setting whose value they have if nobody set them.
    let columns = [
        ("host", "host", ""),
        ("port", "port", ""),
        ("database", "dbname", ""),
        ("force_user", "user", ""),
        ("pool_size", "pool_size", "default_pool_size"),
        ("min_pool_size", "min_pool_size", "min_pool_size"),
        ("reserve_pool_size", "reserve_pool_size", "reserve_pool_size"),
        ("reserve_pool", "reserve_pool_size", "reserve_pool_size"),
        ("pool_mode", "pool_mode", ""),
        ("max_connections", "max_db_connections", "max_db_connections"),
        ("max_client_connections", "max_db_client_connections", "max_db_client_connections"),
        ("server_lifetime", "server_lifetime", "server_lifetime"),
    ];
    let own = |row: &&Shown| row.get("name").is_some_and(|name| name != "pgbouncer");
    for row in databases.iter().filter(own) {
        let name = row.get("name").map(|name| name.replace('"', "\"\"")).unwrap_or_default();
        _ = write!(text, "\"{name}\" =");
        for (column, key, general_key) in columns {
            let Some(value) = row.get(column).filter(|value| !value.is_empty()) else { continue };
            if key == "dbname" && row.get("name") == Some(value)
                || general(general_key) == Some(value)
            {
                continue;
            }
            _ = write!(text, " {key}='{}'", value.replace('\'', "''"));
        }
        text.push('\n');
    }
    // Without one, nothing but trust makes a configuration of ours.
    text.push_str("[pgbouncer]\nauth_file = unknown\n");
    for row in config {
        let Some(key) = row.get("key") else { continue };
        let Some(known) = PGBOUNCER.iter().find(|known| known.name == key) else {
            unknown.push(key.clone());
            continue;
        };
        let value = row.get("value").map_or("", |value| value.as_str());
        // What nobody has set is not missed.
        let untouched =
            matches!(known.becomes, Becomes::Missing(_)) && row.get("value") == row.get("default");
        // An empty value is no value, but for a folder that there is not to be.
        if !untouched && (!value.is_empty() || key == "unix_socket_dir") {
            _ = writeln!(text, "{key} = {}", value.replace('\n', " "));
        }
    }
    (text, unknown)
}

#[cfg(test)]
mod tests {
    use super::super::super::parse_bytes;
    use super::*;

    fn row(pairs: &[(&str, &str)]) -> Shown {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn setting(key: &str, value: &str) -> Shown {
        row(&[("key", key), ("value", value), ("default", ""), ("changeable", "yes")])
    }

    fn ours(pool: &str, databases: &str) -> Config {
        let text = format!(
            "[auth]\nauth_type = \"trust\"\n[pool]\n\
             {pool}\n{databases}"
        );
        parse_bytes(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn differing(config: &[Shown], databases: &[Shown], ours: &Config) -> Vec<String> {
        let found = compare(config, databases, ours).expect("values that make a configuration");
        let told = |change: &Change| format!("{} {} {}", change.key, change.old, change.new);
        let of_interest = ["pool.", "databases."];
        let changes = found.changes.iter();
        changes.map(told).filter(|text| of_interest.iter().any(|s| text.starts_with(s))).collect()
    }

    const APP: &[(&str, &str)] = &[
        ("name", "app"),
        ("host", "10.0.0.1"),
        ("port", "5432"),
        ("database", "app"),
        ("pool_size", "20"),
        ("max_connections", "0"),
    ];

    #[test]
    fn equal_settings_are_no_difference() {
        let config = [
            setting("auth_type", "trust"),
            setting("pool_mode", "transaction"),
            setting("default_pool_size", "20"),
            setting("max_db_connections", "0"),
        ];
        let console = row(&[("name", "pgbouncer"), ("database", "pgbouncer")]);
        let ours = ours("reserve_pool_size = 0", "[databases.app]\nnodes = [\"10.0.0.1:5432\"]");
        assert_eq!(differing(&config, &[row(APP), console], &ours), Vec::<String>::new());
    }

    #[test]
    fn what_differs_is_told_key_by_key() {
        let config = [
            setting("auth_type", "trust"),
            setting("pool_mode", "session"),
            setting("default_pool_size", "30"),
        ];
        let mut app = row(APP);
        app.remove("max_connections");
        app.insert("port".into(), "5433".into());
        let other = row(&[("name", "other"), ("host", "h"), ("port", "5432"), ("database", "x")]);
        let ours = ours("", "[databases.app]\nnodes = [\"10.0.0.1:5432\"]\npool_size = 20");
        let told = differing(&config, &[app, other], &ours);
        assert_eq!(
            told,
            [
                "databases.other present absent",
                "pool.default_pool_size 30 20",
                "pool.pool_mode session transaction",
                "databases.app.nodes 10.0.0.1:5433 10.0.0.1:5432",
            ]
        );
    }

    #[test]
    fn what_has_no_equivalent_or_is_not_known_is_told() {
        let config = [
            setting("auth_type", "hba"),
            setting("resolv_conf", "/etc/resolv.conf"),
            setting("from_the_future", "1"),
            row(&[("key", "auth_query"), ("value", "SELECT 1"), ("default", "SELECT 1")]),
        ];
        let ours = ours("", "[databases.\"*\"]\nnodes = [\"h\"]");
        let found = compare(&config, &[row(APP)], &ours).expect("a configuration");
        let told = found.without_equivalent.join("\n");
        assert!(!told.contains("auth_query"), "nobody has set it: {told}");
        assert!(told.contains("auth_type") && told.contains("resolv_conf"), "{told}");
        assert_eq!(found.unknown, ["from_the_future"]);
        let databases = found.changes.iter().find(|change| change.key.starts_with("databases"));
        assert_eq!(databases, None, "ours answers for all of them");
    }
}
