//! Pgpool-II's backends as nodes, and who asks them.
//!
//! Owns `nodes`, and `probe_user` with its password: each is made of several settings, whose fates are
//! said here too. Which backends are copies of one another is what the clustering mode says.

use std::collections::BTreeMap;

use super::draft::{Item, quoted};
use super::finding::Fate;
use super::pgpool_file::{Given, Settings};
use crate::config::error::ConfigError;
use crate::config::node::WEIGHT_MAX;

const NODES: &str = "databases.*.nodes";
const WEIGHT: &str = "a share among the replicas; the primary serves reads while no replica can";
const ALONE: &str = "there is one node";
const FLAG: &str =
    "a node that fails serves nothing until it is well again; nobody has to attach it";
const ROLE: &str = "probes log in as one role, probe_user";
const RIGHTS: &str = "GRANT pg_monitor TO this role; with REPLICATION it can also say which writes a \
    fail-over may have lost";
const ENCRYPTED: &str = "it is encrypted: write the password into probe_password_file";

/// What the backends come to.
#[derive(Default)]
pub(super) struct Backends {
    /// `nodes`; none if there is no backend.
    pub(super) nodes: Option<Item>,
    /// The nodes by the numbers of their backends, each as `host:port`.
    pub(super) addresses: BTreeMap<u32, String>,
    /// `probe_user` and its password.
    pub(super) probe: Vec<(&'static str, Item)>,
    /// What becomes of the settings that were looked at.
    pub(super) fates: BTreeMap<String, Fate>,
    pub(super) errors: Vec<ConfigError>,
}

/// One backend.
struct Backend<'a> {
    number: u32,
    host: &'a Given,
    port: u16,
    weight: f64,
    is_primary: bool,
}

impl Backends {
    pub(super) fn of(settings: &Settings) -> Self {
        let mut made = Self::default();
        let found = made.backends(settings);
        let stranger = strangers(settings);
        let primary = found.iter().find(|one| one.is_primary).or(found.first());
        let Some(first) = primary.map(|one| one.number) else { return made };
        let (used, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|one| stranger.is_none() || one.number == first);
        for (backend, name) in others.iter().flat_map(|one| names(one.number).map(|n| (one, n))) {
            let why = stranger.unwrap_or_default().to_owned();
            if settings.contains_key(&name) && backend.number != first {
                made.fates.insert(name, Fate::Missing(why));
            }
        }
        made.weights_and_flags(settings, &used);
        made.write(&used, first);
        let has_others = made.addresses.len() > 1;
        if has_others {
            made.probes(settings);
        }
        for name in settings.keys().filter(|name| is_of_probes(name)) {
            let why = if has_others { ROLE } else { ALONE };
            made.fates.entry(name.clone()).or_insert(Fate::Needless(why.to_owned()));
        }
        made
    }

    /// Every backend that has a host, by number.
    fn backends<'a>(&mut self, settings: &'a Settings) -> Vec<Backend<'a>> {
        let mut found = Vec::new();
        for (name, host) in settings {
            let Some(number) = name.strip_prefix("backend_hostname") else { continue };
            let Ok(number) = number.parse() else { continue };
            let get = |stem: &str| settings.get(&format!("{stem}{number}"));
            let port = get("backend_port").map_or(Some(5432), |given| {
                let port = given.value.parse().ok().filter(|port| *port > 0);
                if port.is_none() {
                    let message = "expected a port; write it as in backend_port0 = 5432";
                    self.errors.push(given.place.error(&format!("backend_port{number}"), message));
                }
                port
            });
            let weight = get("backend_weight").map_or(Some(1.0), |given| {
                let weight = given.value.parse().ok().filter(|w: &f64| w.is_finite() && *w >= 0.0);
                if weight.is_none() {
                    let message = "expected a number; write it as in backend_weight0 = 1";
                    self.errors
                        .push(given.place.error(&format!("backend_weight{number}"), message));
                }
                weight
            });
            let flag = get("backend_flag").map(|given| given.value.to_uppercase());
            let is_primary = flag.is_some_and(|flag| flag.contains("ALWAYS_PRIMARY"));
            if let (Some(port), Some(weight)) = (port, weight) {
                found.push(Backend { number, host, port, weight, is_primary });
            }
        }
        found.sort_by_key(|one| one.number);
        found
    }

    fn weights_and_flags(&mut self, settings: &Settings, used: &[Backend<'_>]) {
        let carried = |how: &str| Fate::Carried(NODES.to_owned(), how.to_owned());
        for (name, given) in settings {
            let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let number = name[stem.len()..].parse().ok();
            let is_used =
                number.is_some_and(|number: u32| used.iter().any(|one| one.number == number));
            let fate = match stem {
                _ if self.fates.contains_key(name) => continue,
                "backend_hostname" | "backend_port" if is_used => carried(""),
                "backend_port" => Fate::Needless("its backend has no host".to_owned()),
                "backend_weight" | "backend_flag" if !is_used => {
                    Fate::Needless("its backend has no host".to_owned())
                }
                "backend_weight" if used.len() < 2 => Fate::Needless(ALONE.to_owned()),
                "backend_weight" => carried(WEIGHT),
                "backend_flag" if given.value.to_uppercase().contains("ALWAYS_PRIMARY") => {
                    carried("role = \"primary\", which is not found out")
                }
                "backend_flag" => Fate::Needless(FLAG.to_owned()),
                _ => continue,
            };
            self.fates.insert(name.clone(), fate);
        }
    }

    fn write(&mut self, used: &[Backend<'_>], primary: u32) {
        let largest = f64::from(WEIGHT_MAX);
        let whole = |one: &Backend<'_>| one.weight.fract() == 0.0 && one.weight <= largest;
        let most = used.iter().map(|one| one.weight).fold(0.0, f64::max);
        let scale = if used.iter().all(whole) { 1.0 } else { largest / most };
        let mut nodes = Vec::new();
        for one in used {
            let address = address(&one.host.value, one.port);
            if self.addresses.values().any(|other| *other == address) {
                let name = format!("backend_hostname{}", one.number);
                let message = format!("{address} is another backend already");
                self.errors.push(one.host.place.error(&name, message));
            }
            nodes.push(node(one, used.len() > 1, scale));
            self.addresses.insert(one.number, address);
        }
        let place = used.iter().find(|one| one.number == primary).map(|one| one.host.place.clone());
        let setting = match used {
            [one] => format!("backend_hostname{}", one.number),
            _ => format!("and {} more, their roles are found out", used.len().saturating_sub(1)),
        };
        self.nodes = Some(Item { toml: format!("[{}]", nodes.join(", ")), place, setting });
    }

    /// Probes log in as who checks the replication, or else as who checks the health.
    fn probes(&mut self, settings: &Settings) {
        let health = |what: &str| {
            let stem = format!("health_check_{what}");
            settings.iter().find(|(name, given)| {
                let number = name.strip_prefix(&stem);
                let is_one = number.is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
                is_one && !given.value.is_empty()
            })
        };
        let check = |what: &str| {
            settings.get_key_value(&format!("sr_check_{what}")).filter(|(_, g)| !g.value.is_empty())
        };
        let Some((name, user)) = check("user").or_else(|| health("user")) else {
            let setting =
                "create it: CREATE ROLE howdah LOGIN PASSWORD '…'; GRANT pg_monitor TO howdah";
            let item = Item { toml: quoted("howdah"), place: None, setting: setting.to_owned() };
            return self.probe.push(("probe_user", item));
        };
        let of = |name: &str, given: &Given, text: &str| {
            let place = Some(given.place.clone());
            Item { toml: quoted(text), place, setting: name.to_owned() }
        };
        let carried =
            |key: &str, how: &str| Fate::Carried(format!("routing.{key}"), how.to_owned());
        self.probe.push(("probe_user", of(name, user, &user.value)));
        self.fates.insert(name.clone(), carried("probe_user", RIGHTS));
        let is_check = name.starts_with("sr_check");
        let password = if is_check { check("password") } else { health("password") };
        if let Some((name, given)) = password {
            let fate = if given.value.starts_with("AES") {
                Fate::Missing(ENCRYPTED.to_owned())
            } else {
                let text = given.value.strip_prefix("TEXT").unwrap_or(&given.value);
                self.probe.push(("probe_password", of(name, given, text)));
                carried("probe_password", "")
            };
            self.fates.insert(name.clone(), fate);
        }
    }
}

/// Whether a setting says who asks the nodes.
fn is_of_probes(name: &str) -> bool {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    ["sr_check_user", "sr_check_password", "health_check_user", "health_check_password"]
        .contains(&stem)
}

/// The settings of one backend that say where it is, and what it is worth.
fn names(number: u32) -> [String; 4] {
    ["hostname", "port", "weight", "flag"].map(|what| format!("backend_{what}{number}"))
}

/// Why the backends are no copies of one another, if the clustering mode says so.
fn strangers(settings: &Settings) -> Option<&'static str> {
    let word = |name: &str| settings.get(name).map(|given| given.value.to_lowercase());
    let mode = word("backend_clustering_mode").or_else(|| {
        let is_on = |name: &str| {
            word(name).is_some_and(|word| ["on", "true", "yes", "1"].contains(&word.as_str()))
        };
        if is_on("replication_mode") {
            return Some("native_replication".to_owned());
        }
        word("master_slave_sub_mode").filter(|_| is_on("master_slave_mode"))
    });
    match mode?.as_str() {
        "native_replication" | "snapshot_isolation" => Some(
            "statements are not copied to several servers: make this one a streaming replica, and \
             list it in nodes",
        ),
        "logical_replication" | "logical" | "slony" => Some(
            "a server that has only some tables of another is no replica: give it a database of \
             its own",
        ),
        "raw" => Some("in raw mode one backend is used: if this is its replica, list it in nodes"),
        _ => None,
    }
}

/// As `nodes` has it.
fn address(host: &str, port: u16) -> String {
    match host {
        "" => format!("/tmp:{port}"),
        name if name.contains(':') => format!("[{name}]:{port}"),
        name => format!("{name}:{port}"),
    }
}

/// One node as TOML, with what is not the default.
fn node(one: &Backend<'_>, has_others: bool, scale: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the largest weight"
    )]
    let weight = ((one.weight * scale).round() as u32).max(u32::from(one.weight > 0.0));
    let role = if one.is_primary { ", role = \"primary\"" } else { "" };
    if !has_others || (role.is_empty() && weight == 1) {
        return quoted(&address(&one.host.value, one.port));
    }
    let host = if one.host.value.is_empty() { "/tmp" } else { &one.host.value };
    let weight = if weight == 1 { String::new() } else { format!(", weight = {weight}") };
    format!("{{ host = {}, port = {}{role}{weight} }}", quoted(host), one.port)
}

#[cfg(test)]
mod tests {
    use super::super::pgpool_file::setting;
    use super::*;
    use crate::config::import::Place;

    fn made(text: &str) -> Backends {
        let mut settings = Settings::new();
        for line in text.lines() {
            let (name, value) = setting(line).expect("a setting").expect("a good one");
            let place = Place { file: "p".into(), line: 1 };
            settings.insert(name, Given { value, place });
        }
        Backends::of(&settings)
    }

    fn nodes(text: &str) -> String {
        made(text).nodes.expect("nodes").toml
    }

    const TWO: &str = "backend_hostname0 = 'a'\nbackend_hostname1 = 'b'\n";

    #[test]
    fn weights_are_whole_numbers() {
        for (weights, expected) in [
            ("", r#"["a:5432", "b:5432"]"#),
            (
                "backend_weight0 = 0\nbackend_weight1 = 3",
                r#"[{ host = "a", port = 5432, weight = 0 }, { host = "b", port = 5432, weight = 3 }]"#,
            ),
            (
                "backend_weight0 = 0.5",
                r#"[{ host = "a", port = 5432, weight = 500 }, { host = "b", port = 5432, weight = 1000 }]"#,
            ),
            (
                "backend_weight0 = 0.0001\nbackend_weight1 = 2000",
                r#"["a:5432", { host = "b", port = 5432, weight = 1000 }]"#,
            ),
        ] {
            assert_eq!(nodes(&format!("{TWO}{weights}")), expected, "{weights}");
        }
        for wrong in ["backend_weight1 = -1", "backend_weight1 = x", "backend_port1 = 0"] {
            assert_eq!(made(&format!("{TWO}{wrong}")).errors.len(), 1, "{wrong}");
        }
        assert_eq!(made("backend_hostname0 = 'a'\nbackend_hostname1 = 'a'").errors.len(), 1);
    }

    #[test]
    fn only_streaming_replicas_are_nodes_of_one_list() {
        for mode in ["raw", "logical_replication", "native_replication", "snapshot_isolation"] {
            let made = made(&format!("{TWO}backend_clustering_mode = '{mode}'"));
            assert_eq!(made.nodes.expect("nodes").toml, r#"["a:5432"]"#, "{mode}");
            assert!(matches!(made.fates["backend_hostname1"], Fate::Missing(_)), "{mode}");
            assert!(made.probe.is_empty(), "{mode}");
        }
        let old = "master_slave_mode = on\nmaster_slave_sub_mode = ";
        assert_eq!(nodes(&format!("{TWO}{old}'slony'")), r#"["a:5432"]"#);
        assert_eq!(nodes(&format!("{TWO}{old}'stream'")), r#"["a:5432", "b:5432"]"#);
        let flag = "backend_clustering_mode = 'raw'\nbackend_flag1 = 'ALWAYS_PRIMARY'";
        assert_eq!(nodes(&format!("{TWO}{flag}")), r#"["b:5432"]"#);
    }

    #[test]
    fn probes_log_in_as_who_checks() {
        let probe = |text: &str| {
            let probe = made(&format!("{TWO}{text}")).probe;
            let keys = probe.iter().map(|(key, item)| format!("{key} = {}", item.toml));
            keys.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(probe(""), r#"probe_user = "howdah""#);
        for (text, expected) in [
            ("sr_check_user = 'u'\nsr_check_password = 'TEXTp'", r#""u", probe_password = "p""#),
            ("sr_check_user = 'u'\nsr_check_password = 'AESp'", r#""u""#),
            ("sr_check_user = 'u'\nhealth_check_user = 'v'\nhealth_check_password = 'p'", r#""u""#),
            ("sr_check_user = ''\nhealth_check_user0 = 'v'", r#""v""#),
            (
                "health_check_user = 'v'\nhealth_check_password = 'p'",
                r#""v", probe_password = "p""#,
            ),
        ] {
            assert_eq!(probe(text), format!("probe_user = {expected}"), "{text}");
        }
        let debug = format!(
            "{:?}",
            made(&format!("{TWO}sr_check_user = 'u'\nsr_check_password = 'TEXTp'")).fates
        );
        assert!(!debug.contains("TEXTp"), "{debug}");
    }
}
