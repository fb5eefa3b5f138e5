//! A replica that would answer otherwise than its primary: each difference is named before the first read.

mod support;

use std::fs;

use support::behaviour::{client, eventually, value};
use support::console::{console, rows_with, shows, the_row};
use support::howdah::{Howdah, Settings};
use support::pair::{PROBE, of_nodes, start_primary};
use support::postgres::{Options, Postgres};
use support::wire::Wire;

/// What is planted in the replica's configuration, and the value that the primary has.
const PLANTED: &[(&str, &str, &str)] = &[
    ("TimeZone", "Asia/Tokyo", "UTC"),
    ("DateStyle", "SQL, DMY", "ISO, MDY"),
    ("IntervalStyle", "iso_8601", "postgres"),
    ("search_path", "pg_catalog", "\"$user\", public"),
    ("default_text_search_config", "pg_catalog.simple", "pg_catalog.english"),
    ("default_transaction_isolation", "repeatable read", "read committed"),
    ("default_transaction_read_only", "on", "off"),
    ("bytea_output", "escape", "hex"),
    ("extra_float_digits", "0", "1"),
    ("xmlbinary", "hex", "base64"),
    ("xmloption", "document", "content"),
    ("array_nulls", "off", "on"),
    ("transform_null_equals", "on", "off"),
    ("quote_all_identifiers", "on", "off"),
    ("standard_conforming_strings", "off", "on"),
];

/// A primary with tablespaces in its own folder, and a table that a read shows to be one of a replica.
fn primary() -> Postgres {
    let primary = start_primary();
    let mut admin = primary.admin("app");
    admin.run(&format!("CREATE ROLE {PROBE} LOGIN REPLICATION; GRANT pg_monitor TO {PROBE}"));
    admin.run("ALTER SYSTEM SET default_text_search_config = 'pg_catalog.english'");
    admin.run("SELECT pg_reload_conf()");
    eventually("the setting", || {
        value(&mut admin, "SHOW default_text_search_config") == "pg_catalog.english"
    });
    primary
}

fn replica_of(primary: &Postgres, planted: &[(&str, &str, &str)]) -> Postgres {
    let quick = [("wal_retrieve_retry_interval", "100ms")];
    let planted = planted.iter().map(|(name, here, _)| (*name, *here));
    let settings = planted.chain(quick).map(|(name, value)| (name.to_owned(), value.to_owned()));
    primary.start_replica(&Options { hba: Vec::new(), settings: settings.collect() })
}

fn settings(nodes: [&Postgres; 2]) -> Settings {
    of_nodes(nodes.map(|node| node.address().to_string()).to_vec())
        .set("routing.consistency", "eventual")
}

fn serves(console: &mut Wire, node: &Postgres, may_read: &str) {
    let name = node.address().to_string();
    let columns = [("nodes.role", "replica"), ("nodes.state", "up"), ("nodes.may_read", may_read)];
    shows(console, &[("node", &name)], &columns);
}

#[test]
fn each_planted_difference_is_named_and_no_read_goes_there_until_it_is_right_or_allowed() {
    let primary = primary();
    let replica = replica_of(&primary, PLANTED);
    let name = replica.address().to_string();
    let settings = settings([&primary, &replica]);
    let howdah = Howdah::start(&settings);
    let mut console = console(&howdah);
    eventually("all are named", || {
        let row = the_row(&mut console, "nodes", &[("node", &name)]);
        PLANTED.iter().all(|(setting, ..)| row.get("differs").contains(&format!("\"{setting}\"")))
    });
    serves(&mut console, &replica, "0");
    let row = the_row(&mut console, "nodes", &[("node", &name)]);
    for (setting, here, there) in PLANTED {
        let said = format!("setting \"{setting}\": the primary has {there}, this node has {here}");
        assert!(row.get("differs").contains(&said), "{said}: {row:?}");
        let remedy =
            format!("{said}; set {setting} = '{there}' in its postgresql.conf and reload it");
        let logged = format!("node {name} serves no reads: {remedy}");
        eventually(&logged, || howdah.log().contains(&logged));
    }
    let events = rows_with(&mut console, "events", &[("kind", "node")]);
    let named = events.iter().filter(|event| event.get("message").contains("serves no reads: "));
    assert_eq!(named.count(), PLANTED.len());
    // Reads answer as the primary does.
    let mut reader = client(&howdah, "app");
    for _ in 0..20 {
        assert_eq!(
            value(&mut reader, "SELECT '2026-11-28 12:00+00'::timestamptz"),
            "2026-11-28 12:00:00+00"
        );
    }
    // All but one are allowed: that one forbids reads.
    let most: Vec<String> = PLANTED[1..].iter().map(|(name, ..)| (*name).to_owned()).collect();
    howdah.configure(&settings.clone().set("routing.allow_differences", most));
    console.run("RELOAD");
    serves(&mut console, &replica, "0");
    let allowed = "differs, which allow_differences allows: setting \"xmlbinary\"";
    eventually(allowed, || howdah.log().contains(allowed));
    howdah.configure(&settings.set("routing.allow_differences", vec!["setting"]));
    console.run("RELOAD");
    serves(&mut console, &replica, "1");
    let row = the_row(&mut console, "nodes", &[("node", &name)]);
    assert!(row.get("differs").contains("TimeZone"), "what is allowed is still shown: {row:?}");
    assert!(howdah.log().contains("serves reads: it answers as the primary does, or"));
}

#[test]
fn a_tablespace_whose_files_a_replica_lacks_is_named() {
    let primary = primary();
    let mut admin = primary.admin("app");
    admin.run("SET allow_in_place_tablespaces = on");
    admin.run("CREATE TABLESPACE fast LOCATION ''");
    admin.run("CREATE TABLE public.kept (id int) TABLESPACE fast");
    let oid = value(&mut admin, "SELECT oid FROM pg_tablespace WHERE spcname = 'fast'");
    let replica = replica_of(&primary, &[("allow_in_place_tablespaces", "on", "off")]);
    let folder = replica.socket_dir().join("data/pg_tblspc").join(oid);
    fs::remove_dir_all(&folder).expect("it was copied");
    let howdah = Howdah::start(&settings([&primary, &replica]));
    let mut console = console(&howdah);
    let name = replica.address().to_string();
    let said = "tablespace \"fast\": the primary has files, this node has nothing";
    shows(&mut console, &[("node", &name)], &[("nodes.differs", said)]);
    serves(&mut console, &replica, "0");
    assert!(
        howdah
            .log()
            .contains("; build it anew from the primary, or allow_differences = [\"fast\"]")
    );
}

#[test]
fn a_database_that_the_probe_user_may_not_enter_cannot_be_compared() {
    let primary = primary();
    primary.admin("app").run("REVOKE CONNECT ON DATABASE app FROM public");
    primary.admin("app").run("GRANT CONNECT ON DATABASE app TO rider");
    let replica = replica_of(&primary, &[]);
    let howdah = Howdah::start(&settings([&primary, &replica]));
    let said = "cannot be compared with others in database app and serves no reads";
    eventually(said, || howdah.log().contains(said));
    assert!(howdah.log().contains("GRANT CONNECT ON DATABASE app TO howdah"));
    serves(&mut console(&howdah), &replica, "0");
}
