//! Pgpool-II's file: its grammar, and the draft of ours.
//!
//! A line is `name = value` or `name value`; `#` begins a comment outside quotes; a text stands in
//! single quotes, in which `''` or `\'` is one quote. Names have no case, and a later line wins.

use std::collections::BTreeMap;

use super::super::keys::Section;
use super::super::nearest::nearest;
use super::super::raw::Scope;
use super::convert::Converted;
use super::draft::{Item, list};
use super::finding::{Fate, Source};
use super::ini::Place;
use super::pgbouncer::Import;
use super::pgpool_table::{DEFAULTS, Fated, GROUPS, Group, REPLICAS};

/// Values that switch a setting off.
const OFF: &[&str] = &["off", "false", "no", "0", "", "none", "0s"];

/// Name and value of a line, if it is a setting. The error is about the quotes.
fn setting(line: &str) -> Option<Result<(String, String), String>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    if name.is_empty() || (rest.is_empty()) {
        return Some(Err("expected name = value".to_owned()));
    }
    let value = match value.strip_prefix('\'') {
        Some(quoted) => unquote(quoted),
        None => Some(value.split('#').next().unwrap_or_default().trim_end().to_owned()),
    };
    let value = value.ok_or_else(|| "the single quotes are not closed".to_owned());
    Some(value.map(|value| (name.to_lowercase(), value)))
}

fn unquote(text: &str) -> Option<String> {
    let mut string = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' if chars.next_if_eq(&'\'').is_some() => string.push('\''),
            '\'' => return Some(string),
            '\\' => string.push(chars.next()?),
            c => string.push(c),
        }
    }
    None
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

/// A setting with its place.
struct Given {
    value: String,
    place: Place,
}

/// Adds what `source` says. Beside a file of PgBouncer's it counts only for databases that lead to
/// Pgpool-II itself: they get its backend.
pub(super) fn import(import: &mut Import<'_>, source: &Source, beside: bool) {
    let settings = read(import, source);
    let node = node(&settings);
    if beside {
        instead_of_itself(import, &settings, node.as_ref());
    }
    let mut listed: Vec<(&String, &Given)> = settings.iter().collect();
    listed.sort_by_key(|(_, given)| given.place.line);
    for (name, given) in listed {
        // Read by `read` only if there is a row.
        let Some(group) = find(name) else { continue };
        if beside {
            let why = "PgBouncer's file counts".to_owned();
            import.find(&given.place, name, Fate::Needless(why));
        } else if is_another_backend(name, node.as_ref()) {
            import.find(&given.place, name, Fate::Missing(REPLICAS.to_owned()));
        } else {
            one(import, group, name, given);
        }
    }
    if !beside {
        together(import, &settings, source, node);
    }
}

/// Every setting, the later line of two; with errors for what is unknown.
fn read(import: &mut Import<'_>, source: &Source) -> BTreeMap<String, Given> {
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
    let off = OFF.iter().any(|off| off.eq_ignore_ascii_case(&given.value));
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

/// The backend that is taken for the primary: the one with ALWAYS_PRIMARY, or else the first.
fn node(settings: &BTreeMap<String, Given>) -> Option<Item> {
    let mut numbers: Vec<u32> = settings
        .keys()
        .filter_map(|name| name.strip_prefix("backend_hostname")?.parse().ok())
        .collect();
    numbers.sort_unstable();
    let always = |number: &&u32| {
        let flag = settings.get(&format!("backend_flag{number}"));
        flag.is_some_and(|flag| flag.value.to_uppercase().contains("ALWAYS_PRIMARY"))
    };
    let number = numbers.iter().find(always).or(numbers.first())?;
    let host = settings.get(&format!("backend_hostname{number}"))?;
    let port = settings.get(&format!("backend_port{number}"));
    let port = port.map_or("5432", |port| port.value.as_str());
    let name = match host.value.as_str() {
        "" => "/tmp".to_owned(),
        name if name.contains(':') => format!("[{name}]"),
        name => name.to_owned(),
    };
    let toml = list([format!("{name}:{port}").as_str()]);
    let setting = format!("backend_hostname{number}");
    Some(Item { toml, place: Some(host.place.clone()), setting })
}

/// Whether a setting is about another backend than `node`.
fn is_another_backend(name: &str, node: Option<&Item>) -> bool {
    let Some(chosen) = node.and_then(|item| item.setting.strip_prefix("backend_hostname")) else {
        return false;
    };
    let stems = ["backend_hostname", "backend_port", "backend_flag"];
    stems.iter().any(|stem| name.strip_prefix(stem).is_some_and(|number| number != chosen))
}

/// Databases of PgBouncer's file that lead to Pgpool-II's own port get its backend.
fn instead_of_itself(
    import: &mut Import<'_>,
    settings: &BTreeMap<String, Given>,
    node: Option<&Item>,
) {
    let Some(node) = node else { return };
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
    for (scope, place) in scopes {
        let (toml, setting) = (node.toml.clone(), node.setting.clone());
        import.draft.set(&scope, "nodes", Item { toml, place: node.place.clone(), setting });
        let how = "Pgpool-II's backend instead of Pgpool-II".to_owned();
        import.find(&place, &scope.text(), Fate::Carried(scope.key("nodes"), how));
    }
}

/// What several settings say together, and what is Pgpool-II's default.
fn together(
    import: &mut Import<'_>,
    settings: &BTreeMap<String, Given>,
    source: &Source,
    node: Option<Item>,
) {
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
    fn lines() {
        let read = |line| match setting(line) {
            Some(Ok((name, value))) => format!("{name}={value}"),
            Some(Err(_)) => "error".to_owned(),
            None => "none".to_owned(),
        };
        for (line, expected) in [
            ("port = 9999 # c", "port=9999"),
            ("  PORT 9999", "port=9999"),
            ("a = 'it''s # \\'x\\''  # c", "a=it's # 'x'"),
            ("a = ''", "a="),
            ("# a = 1", "none"),
            ("", "none"),
            ("a = 'x", "error"),
            ("= 1", "error"),
            ("a", "error"),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }

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
