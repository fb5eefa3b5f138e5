//! Pgpool-II's file as a draft of ours: every setting goes through its row of the table.

use std::collections::BTreeMap;

use super::super::keys::Section;
use super::super::nearest::nearest;
use super::super::raw::Scope;
use super::convert::Converted;
use super::draft::Item;
use super::finding::{Fate, Source};
use super::ini::Place;
use super::pgbouncer::Import;
use super::pgpool_file::{Given, Settings, setting};
use super::pgpool_nodes::Backends;
use super::pgpool_routing::{Of, functions, redirects};
use super::pgpool_table::{DEFAULTS, Fated, GROUPS, Group};
use crate::routing::is_primary_builtin;

/// Values that switch a setting off.
const OFF: &[&str] = &["off", "false", "no", "0", "", "none", "0s"];

fn is_off(value: &str) -> bool {
    OFF.iter().any(|off| off.eq_ignore_ascii_case(value))
}

/// Whether a line may be one of Pgpool-II's.
pub(super) fn is_setting(line: &str) -> bool {
    matches!(setting(line), Some(Ok((name, _))) if find(&name).is_some())
}

/// The row of a setting.
fn find(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.names.iter().any(|pattern| covers(pattern, name)))
}

/// Whether the name of a row stands for `name`.
fn covers(pattern: &str, name: &str) -> bool {
    let numbered = |stem: &str| {
        let number = name.strip_prefix(stem).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(stem) = pattern.strip_suffix("[N]") {
        name == stem || numbered(stem)
    } else if let Some(stem) = pattern.strip_suffix('N') {
        numbered(stem)
    } else {
        pattern == name
    }
}

/// Adds what `source` says. Beside a file of PgBouncer's it counts only for databases that lead to
/// Pgpool-II itself: they get its backends, and its routing.
pub(super) fn import(import: &mut Import<'_>, source: &Source, beside: bool) {
    let settings = read(import, source);
    let mut backends = Backends::of(&settings);
    let probe = std::mem::take(&mut backends.probe);
    import.errors.append(&mut backends.errors);
    let mut fates = std::mem::take(&mut backends.fates);
    let is_used = !beside || instead_of_itself(import, &settings, &backends);
    if is_used {
        lists(import, &settings, &backends, &mut fates);
    }
    let mut listed: Vec<(&String, &Given)> = settings.iter().collect();
    listed.sort_by_key(|(_, given)| given.place.line);
    for (name, given) in listed {
        // Read by `read` only if there is a row.
        let Some(group) = find(name) else { continue };
        let is_of_routing =
            fates.contains_key(name) || matches!(group.fate, Fated::Key(Section::Routing, ..));
        if beside && !(is_used && is_of_routing) {
            let why = "PgBouncer's file counts".to_owned();
            import.find(&given.place, name, Fate::Needless(why));
        } else if let Some(fate) = fates.remove(name) {
            import.find(&given.place, name, fate);
        } else {
            one(import, group, name, given);
        }
    }
    if is_used {
        routing(import, &settings, &backends, probe);
    }
    if !beside {
        together(import, &settings, source, backends.nodes);
    }
}

/// Every setting, the later line of two; with errors for what is unknown.
fn read(import: &mut Import<'_>, source: &Source) -> Settings {
    let mut settings = BTreeMap::new();
    let text = String::from_utf8_lossy(&source.text);
    for (number, line) in (1..).zip(text.lines()) {
        let place = Place { file: source.path.clone(), line: number };
        match setting(line) {
            None => {}
            Some(Err(message)) => import.errors.push(place.error("", message)),
            Some(Ok((name, _))) if find(&name).is_none() => {
                let stems = GROUPS.iter().flat_map(|group| group.names);
                let stems = stems.map(|name| name.trim_end_matches("[N]").trim_end_matches('N'));
                let near = nearest(&name, stems);
                let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                import.errors.push(place.error(&name, format!("unknown setting{near}")));
            }
            Some(Ok((name, value))) => {
                settings.insert(name, Given { value, place });
            }
        }
    }
    settings
}

fn one(import: &mut Import<'_>, group: &'static Group, name: &str, given: &Given) {
    let note = group.note.to_owned();
    let off = is_off(&given.value);
    let fate = match group.fate {
        Fated::Key(section, key, convert) => {
            let scope = Scope::section(section);
            let carried = |how| Fate::Carried(scope.key(key), how);
            let (toml, fate) = match convert(&given.value, import.ground) {
                Ok(Converted::Same(toml)) => (Some(toml), carried(note)),
                Ok(Converted::Near(toml, how)) => (Some(toml), carried(how)),
                Ok(Converted::Needless(why)) => (None, Fate::Needless(why)),
                Ok(Converted::Missing(toml, what)) => (toml, Fate::Missing(what)),
                Ok(Converted::Guard(toml, what)) => (toml, Fate::Guard(what)),
                Err(message) => {
                    let message = format!("{message}; write it as in {name} = '{}'", group.sample);
                    return import.errors.push(given.place.error(name, message));
                }
            };
            if let Some(toml) = toml {
                let place = Some(given.place.clone());
                import.draft.set(&scope, key, Item { toml, place, setting: name.to_owned() });
            }
            fate
        }
        Fated::Together => Fate::Carried(note, String::new()),
        Fated::Missing if off => Fate::Needless("it is off".to_owned()),
        Fated::Needless => Fate::Needless(note),
        Fated::Missing => Fate::Missing(note),
    };
    import.find(&given.place, name, fate);
}

/// Lists of functions and of redirects: each may hold something that has no equivalent.
fn lists(
    import: &mut Import<'_>,
    settings: &Settings,
    backends: &Backends,
    fates: &mut BTreeMap<String, Fate>,
) {
    let scope = Scope::section(Section::Routing);
    let left_out = |strange: &[String], key: &str, how: &str| match strange {
        [] => Fate::Carried(scope.key(key), how.to_owned()),
        strange => Fate::Missing(format!(
            "names have only * for any characters: write what these mean into {}: {}",
            scope.key(key),
            strange.join(", ")
        )),
    };
    for (names, key) in [
        (["read_only_function_list", "white_function_list"], "read_only_functions"),
        (["write_function_list", "black_function_list"], "write_functions"),
    ] {
        for name in names {
            let Some(given) = settings.get(name).filter(|given| !given.value.is_empty()) else {
                continue;
            };
            let (toml, strange) = functions(&given.value, |name| {
                is_primary_builtin(name.rsplit('.').next().unwrap_or_default().as_bytes())
            });
            let how = "added to what the catalog says; others count by their volatility, and PostgreSQL's own \
                       that need the primary are left out";
            fates.insert(name.to_owned(), left_out(&strange, key, how));
            set(import, key, toml, (name, given));
        }
    }
    // As in Pgpool-II, an application's comes before a database's, and that before a user's.
    let mut rules = Vec::new();
    let mut first = None;
    for (name, of) in [
        ("app_name_redirect_preference_list", Of::Application),
        ("database_redirect_preference_list", Of::Database),
        ("user_redirect_preference_list", Of::User),
    ] {
        let Some(given) = settings.get(name).filter(|given| !given.value.is_empty()) else {
            continue;
        };
        if backends.addresses.len() < 2 {
            fates.insert(name.to_owned(), Fate::Needless("there is one node".to_owned()));
            continue;
        }
        let address = |number| backends.addresses.get(&number).cloned();
        match redirects(&given.value, of, address) {
            Ok((mut more, strange)) => {
                let how = "upper and lower case differ, unlike in Pgpool-II";
                fates.insert(name.to_owned(), left_out(&strange, "redirects", how));
                rules.append(&mut more);
                first = first.or(Some((name, given)));
            }
            Err(message) => import.errors.push(given.place.error(name, message)),
        }
    }
    if let Some(from) = first.filter(|_| !rules.is_empty()) {
        set(import, "redirects", format!("[{}]", rules.join(", ")), from);
    }
}

/// A key of `[routing]`.
fn set(import: &mut Import<'_>, key: &'static str, toml: String, from: (&str, &Given)) {
    let item = Item { toml, place: Some(from.1.place.clone()), setting: from.0.to_owned() };
    import.draft.set(&Scope::section(Section::Routing), key, item);
}

/// Who asks the nodes, and Pgpool-II's defaults; without several nodes nothing of it is needed.
fn routing(
    import: &mut Import<'_>,
    settings: &Settings,
    backends: &Backends,
    probe: Vec<(&'static str, Item)>,
) {
    let scope = Scope::section(Section::Routing);
    for (key, item) in probe {
        import.draft.set(&scope, key, item);
    }
    let has_limit = settings.get("delay_threshold").is_some_and(|given| !is_off(&given.value));
    let is_set = import.draft.get(&scope, "max_lag").is_some();
    if backends.addresses.len() > 1 && !has_limit && !is_set {
        let setting = "Pgpool-II's default".to_owned();
        import.draft.set(&scope, "max_lag", Item { toml: "0".to_owned(), place: None, setting });
    }
}

/// Databases of PgBouncer's file that lead to Pgpool-II's own port get its backends. Whether there are
/// any.
fn instead_of_itself(import: &mut Import<'_>, settings: &Settings, backends: &Backends) -> bool {
    let Some(node) = &backends.nodes else { return false };
    let port = settings.get("port").map_or("9999", |given| given.value.as_str());
    let end = format!(":{port}\"]");
    let scopes: Vec<(Scope, Place)> = import
        .draft
        .entries()
        .map(|(scope, place)| (scope.clone(), place.clone()))
        .filter(|(scope, _)| {
            import.draft.get(scope, "nodes").is_some_and(|item| item.toml.ends_with(&end))
        })
        .collect();
    for (scope, place) in &scopes {
        let (toml, setting) = (node.toml.clone(), node.setting.clone());
        import.draft.set(scope, "nodes", Item { toml, place: node.place.clone(), setting });
        let how = "Pgpool-II's backends instead of Pgpool-II".to_owned();
        import.find(place, &scope.text(), Fate::Carried(scope.key("nodes"), how));
    }
    !scopes.is_empty()
}

/// What several settings say together, and what is Pgpool-II's default.
fn together(import: &mut Import<'_>, settings: &Settings, source: &Source, node: Option<Item>) {
    let number = |name: &str, default: u32| {
        settings.get(name).and_then(|given| given.value.parse().ok()).unwrap_or(default)
    };
    for name in ["num_init_children", "reserved_connections", "listen_backlog_multiplier"] {
        if let Some(given) = settings.get(name)
            && given.value.parse::<u32>().is_err()
        {
            import.errors.push(given.place.error(name, "expected a whole number"));
        }
    }
    let children = number("num_init_children", 32);
    let clients = children.saturating_sub(number("reserved_connections", 0)).max(1);
    let backlog = children.saturating_mul(number("listen_backlog_multiplier", 2)).clamp(1, 65535);
    let place = settings.get("num_init_children").map(|given| given.place.clone());
    let mut set = |section, key: &'static str, number: u32, setting: &str| {
        let item =
            Item { toml: number.to_string(), place: place.clone(), setting: setting.to_owned() };
        import.draft.set(&Scope::section(section), key, item);
    };
    if place.is_some() {
        set(Section::Howdah, "max_client_conn", clients, "num_init_children");
        set(Section::Howdah, "listen_backlog", backlog, "num_init_children");
        set(Section::Pool, "default_pool_size", clients, "num_init_children");
    }
    for (section, key, toml) in DEFAULTS {
        let scope = Scope::section(*section);
        if import.draft.get(&scope, key).is_none() {
            let setting = "Pgpool-II's default".to_owned();
            import.draft.set(&scope, key, Item { toml: (*toml).to_owned(), place: None, setting });
        }
    }
    let client = import.draft.get(&Scope::section(Section::TlsClient), "sslmode");
    let plain = client.is_none_or(|item| item.toml == "\"disable\"");
    if plain {
        let (toml, setting) = ("\"disable\"".to_owned(), "ssl is off in Pgpool-II".to_owned());
        let scope = Scope::section(Section::TlsServer);
        import.draft.set(&scope, "sslmode", Item { toml, place: None, setting });
    }
    let scope = Scope::entry(Section::Database, "*");
    match node {
        Some(node) => {
            let place = node.place.clone();
            let place = place.unwrap_or(Place { file: source.path.clone(), line: 1 });
            import.draft.entry(&scope, &place);
            import.draft.set(&scope, "nodes", node);
        }
        None => {
            let place = Place { file: source.path.clone(), line: 1 };
            import.errors.push(place.error("backend_hostname0", "there is no backend"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names() {
        assert!(
            covers("backend_portN", "backend_port12") && !covers("backend_portN", "backend_port")
        );
        assert!(covers("connect_timeout[N]", "connect_timeout"));
        assert!(covers("connect_timeout[N]", "connect_timeout3"));
        assert!(!covers("port", "port1"));
    }
}
