//! What is shipped beside the binary speaks of things that exist: metrics, keys, time-outs.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use support::behaviour::eventually;
use support::console::console;
use support::free_port;
use support::howdah::Howdah;
use support::pair::{Pair, node_row};
use support::postgres::RIDER;

fn contrib(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| unreachable!("{}: {error}", path.display()))
}

/// Words of the text that begin like this.
fn words(text: &str, start: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let split = text.split(|c| !is_part(c));
    split.filter(|word| word.starts_with(start)).map(str::to_owned).collect()
}

#[test]
fn dashboards_and_alerts_ask_for_metrics_that_exist() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let pair = Pair::start();
    let set = pair.settings().set("http.listen", address.to_string());
    // A pool that is there before anybody comes: a family without samples is not written.
    let set = set.set("databases.app.user", RIDER);
    let howdah = Howdah::start(&set);
    // A node that nobody has asked yet has no lag.
    let mut console = console(&howdah);
    eventually("the lag is known", || {
        !node_row(&mut console, &pair.replica).get("lag_ms").is_empty()
    });
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).expect("an answer");
    let known: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned))
        .collect();
    let asked = words(&(contrib("alerts.yaml") + &contrib("grafana/howdah.json")), "howdah_");
    assert!(asked.len() > 10, "{asked:?}");
    for metric in asked {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| metric.strip_suffix(end));
        let family = family.unwrap_or(&metric);
        assert!(known.contains(family), "no metric {metric} among {known:?}");
    }
}

/// The variables of the manifest make a configuration that loads, but for what is mounted.
#[test]
fn the_manifest_sets_variables_that_exist() {
    let text = contrib("kubernetes/sidecar.yaml");
    let mut lines = text.lines().map(str::trim);
    let mut variables = Vec::new();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("- name: HOWDAH_") {
            let value = lines.next().and_then(|line| line.strip_prefix("value: "));
            let value = value.expect("a value").trim_matches('"');
            variables.push((format!("HOWDAH_{name}"), value.to_owned()));
        }
    }
    assert!(variables.len() >= 6, "{variables:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| -> PathBuf {
        fs::write(folder.path().join(name), text).expect("a writable folder");
        folder.path().join(name)
    };
    let mounted = [
        ("/run/secrets/database/url", file("url", "postgres://app:secret@db:5432/app")),
        ("/run/secrets/http/token", file("token", "some token of many bytes")),
    ];
    let environment: Vec<_> = variables
        .into_iter()
        .map(|(name, value)| {
            let here = mounted.iter().find(|(path, _)| *path == value);
            (name.into(), here.map_or(value.clone().into(), |(_, path)| path.clone().into()))
        })
        .collect();
    let config = howdah::config::load_from(&howdah::config::Source::Environment, &environment);
    let config = config.unwrap_or_else(|errors| unreachable!("{errors}"));
    assert!(config.howdah.watch && config.databases.contains_key("app"));
    assert_eq!(config.files().len(), 2, "both are watched: {:?}", config.files());
}

/// systemd kills nobody who still has time, and neither does the kubelet.
#[test]
fn there_is_time_to_drain() {
    let config = howdah::config::parse_bytes(
        b"[auth]\nauth_type = \"trust\"\n[databases.a]\nnodes = [\"h\"]\n",
    );
    let drain = config.expect("loads").howdah.shutdown_timeout.expect("a limit").as_secs();
    let number = |text: &str, key: &str| -> u64 {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(key));
        found.and_then(|value| value.trim().parse().ok()).expect(key)
    };
    assert!(number(&contrib("systemd/howdah.service"), "TimeoutStopSec=") > drain);
    let manifest = contrib("kubernetes/sidecar.yaml");
    let before = number(&manifest, "seconds:");
    assert!(number(&manifest, "terminationGracePeriodSeconds:") > drain + before);
}
