//! HBA rules. There are none here: they are listed, and say at most which method clients know.

use super::super::keys::Section;
use super::super::raw::Scope;
use super::draft::{Item, quoted};
use super::finding::{Fate, Source};
use super::ini::Place;
use super::pgbouncer::Import;

/// First words of a rule.
const KINDS: &[&str] = &["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"];

/// Whether a line is a rule.
pub(super) fn is_rule(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| KINDS.contains(&word))
}

/// The method of a rule: behind the address, of which a local one has none, and its mask.
fn method(line: &str) -> Option<&str> {
    let words: Vec<&str> =
        line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    let index = if words.first() == Some(&"local") { 3 } else { 4 };
    let word = *words.get(index)?;
    let is_mask = index == 4 && word.parse::<std::net::IpAddr>().is_ok();
    if is_mask { words.get(5).copied() } else { Some(word) }
}

/// Lists every rule. Where no file says how clients log in, they do so by the strictest method that
/// all rules allow; never without a password, because a rule's limits are lost.
pub(super) fn import(import: &mut Import<'_>, source: &Source) {
    let text = String::from_utf8_lossy(&source.text);
    let mut first = None;
    let mut scram = true;
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| is_rule(line)) {
        let place = Place { file: source.path.clone(), line: number };
        let method = method(line).unwrap_or_default();
        scram &= method == "scram-sha-256" || method == "reject";
        let what = "there are no HBA rules: auth_type counts for everybody; limit by listen_addr \
                    or a firewall from where clients come";
        import.find(&place, &format!("rule {}", method.escape_debug()), Fate::Guard(what.into()));
        first.get_or_insert(place);
    }
    let scope = Scope::section(Section::Auth);
    let left_to_rules = import.findings.iter().any(|finding| {
        finding.setting == "[pgbouncer] auth_type" && matches!(finding.fate, Fate::Guard(_))
    });
    let decided = import.draft.get(&scope, "auth_type");
    let open = left_to_rules || decided.is_none_or(|item| item.place.is_none());
    if let Some(place) = first.filter(|_| open) {
        let toml = quoted(if scram { "scram-sha-256" } else { "md5" });
        let setting = "the methods of the rules".to_owned();
        import.draft.set(&scope, "auth_type", Item { toml, place: Some(place), setting });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for (line, expected) in [
            ("local all all trust", Some("trust")),
            ("host all all 127.0.0.1/32 md5 # c", Some("md5")),
            ("hostssl a b 10.0.0.0 255.0.0.0 scram-sha-256", Some("scram-sha-256")),
            ("host all all", None),
        ] {
            assert!(is_rule(line));
            assert_eq!(method(line), expected, "{line}");
        }
        assert!(!is_rule("# local") && !is_rule("localx"));
    }
}
