//! Every key of the configuration has a test of its behaviour.

use std::fs;
use std::path::Path;

use howdah::config::Section;

/// The files whose tests start the real binary.
const FILES: &[&str] = &[
    "catalog.rs",
    "pooling.rs",
    "timeouts.rs",
    "doors.rs",
    "lifecycle.rs",
    "reload.rs",
    "console.rs",
    "service.rs",
    "peers.rs",
    "http.rs",
    "nodes.rs",
    "routing.rs",
    "advise.rs",
    "switchover.rs",
    "primary_check.rs",
    "differences.rs",
    "freshness.rs",
];

/// How a key is written in a test: `section.key`, or `databases.NAME.key`.
fn is_set(text: &str, section: Section, key: &str) -> bool {
    let start = format!("\"{}.", section.name());
    let strings = text.match_indices(&start).map(|(at, _)| &text[at + 1..]);
    strings.filter_map(|rest| rest.split_once('"')).any(|(path, _)| {
        let path = path.strip_prefix(section.name()).unwrap_or_default();
        let mut words = path.trim_start_matches('.').split('.');
        if section.has_entries() {
            words.next();
        }
        words.next() == Some(key) && words.next().is_none()
    })
}

/// Keys that the tests' own tools set for every test, or that are set by a loop over names.
const ELSEWHERE: &[(&str, &str)] = &[
    ("howdah.listen_addr", "support/howdah.rs"),
    ("databases.nodes", "support/howdah.rs"),
    ("pool.pool_mode", "support/howdah.rs"),
    ("log.log_connections", "lifecycle.rs"),
    ("log.log_disconnections", "lifecycle.rs"),
    ("log.log_pooler_errors", "lifecycle.rs"),
    ("log.log_stats", "lifecycle.rs"),
];

/// Keys that only sessions will use: their tests come with reads on replicas.
const LATER: &[&str] = &["routing.max_lag", "routing.primary_wait"];

#[test]
fn every_key_is_set_by_a_test_of_its_behaviour() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let text: String = FILES.iter().map(|name| read(name)).collect();
    let missing: Vec<String> = Section::ALL
        .iter()
        .flat_map(|section| section.keys().iter().map(move |key| (*section, key.name)))
        .filter(|(section, key)| !is_set(&text, *section, key))
        .map(|(section, key)| format!("{}.{key}", section.name()))
        .filter(|name| !LATER.contains(&name.as_str()))
        .filter(|name| {
            let elsewhere = ELSEWHERE.iter().find(|(known, _)| known == name);
            let key = name.rsplit('.').next().unwrap_or_default();
            !elsewhere.is_some_and(|(_, file)| read(file).contains(key))
        })
        .collect();
    assert!(missing.is_empty(), "no test sets {}", missing.join(", "));
}

#[test]
fn a_key_that_is_only_mentioned_does_not_count() {
    assert!(is_set("x.set(\"pool.pool_mode\", 1)", Section::Pool, "pool_mode"));
    assert!(is_set("(\"databases.a.pool_mode\", 1)", Section::Database, "pool_mode"));
    assert!(!is_set("\"databases.a.pool_mode\"", Section::Pool, "pool_mode"));
    assert!(!is_set("\"pool.pool_mode_2\" pool_mode", Section::Pool, "pool_mode"));
}
