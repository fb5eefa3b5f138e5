//! What a reload changes, and what the console shows.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Applies, DefaultValue, Key, Section};
use super::options::Config;
use super::raw::{Scope, Setting, SettingId, default_value};
use super::value::Value;

/// One key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key as `section.key`, or `databases.NAME` for an entry that came or went.
    pub key: String,
    /// The value before; secrets as `***`.
    pub old: String,
    /// The value after.
    pub new: String,
    /// When it comes to bear.
    pub applies: Applies,
}

/// A key as `SHOW CONFIG` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownSetting {
    /// PgBouncer's name.
    pub name: &'static str,
    /// The value; secrets as `***`.
    pub value: String,
    /// The default.
    pub default: String,
    /// When a reload applies a change.
    pub applies: Applies,
}

/// Everything that differs between two configurations, in the order of the file.
pub fn difference(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = entries(old, new);
    let present = |config: &Config, scope: &Scope| {
        !scope.section.has_entries() || config.entries().any(|entry| entry == *scope)
    };
    let ids: BTreeSet<&SettingId> = old.settings.keys().chain(new.settings.keys()).collect();
    for id in ids {
        if !present(old, &id.scope) || !present(new, &id.scope) {
            continue;
        }
        let (before, after) = (value(&old.settings, id), value(&new.settings, id));
        if before == after {
            continue;
        }
        let Some(key) = id.scope.section.key(id.name) else { continue };
        changes.push(Change {
            key: id.scope.key(id.name),
            old: shown(key, before),
            new: shown_after(key, before, after),
            applies: key.applies,
        });
    }
    changes
}

fn value<'a>(settings: &'a BTreeMap<SettingId, Setting>, id: &SettingId) -> Option<&'a Value> {
    settings.get(id).map(|setting| &setting.value)
}

fn shown(key: &Key, value: Option<&Value>) -> String {
    match (value, key.default) {
        (Some(value), _) => value.to_string(),
        (None, DefaultValue::Words(words)) => format!("({words})"),
        (None, DefaultValue::Toml(toml)) => toml.to_owned(),
    }
}

/// Two values that differ may look the same: another secret, new contents of a file.
fn shown_after(key: &Key, before: Option<&Value>, after: Option<&Value>) -> String {
    let (old, new) = (shown(key, before), shown(key, after));
    match after {
        Some(Value::File(_)) if old == new => format!("{new} (new contents)"),
        Some(Value::Secret(_)) if old == new => format!("{new} (changed)"),
        _ => new,
    }
}

/// Entries that came or went.
fn entries(old: &Config, new: &Config) -> Vec<Change> {
    let (before, after): (BTreeSet<Scope>, BTreeSet<Scope>) =
        (old.entries().collect(), new.entries().collect());
    let word = |present: bool| if present { "present" } else { "absent" }.to_owned();
    before
        .symmetric_difference(&after)
        .map(|scope| Change {
            key: scope.text(),
            old: word(before.contains(scope)),
            new: word(after.contains(scope)),
            applies: if scope.section == Section::User {
                Applies::NextConnect
            } else {
                Applies::Now
            },
        })
        .collect()
}

impl Config {
    /// Its entries for databases, users and peers, as tables of a file.
    pub(super) fn entries(&self) -> impl Iterator<Item = Scope> {
        let databases = self.databases.keys().map(|name| Scope::entry(Section::Database, name));
        let wildcard = self.wildcard.as_ref().map(|_| Scope::entry(Section::Database, "*"));
        let users = self.users.keys().map(|name| Scope::entry(Section::User, name));
        let peers =
            self.peers.keys().map(|number| Scope::entry(Section::Peer, &number.to_string()));
        databases.chain(wildcard).chain(users).chain(peers)
    }

    /// The general sections as `SHOW CONFIG` lists them, by name.
    pub fn shown(&self) -> Vec<ShownSetting> {
        let mut shown: Vec<ShownSetting> = Section::ALL
            .iter()
            .filter(|section| !section.has_entries())
            .flat_map(|section| section.keys().iter().map(move |key| (section, key)))
            .map(|(section, key)| {
                let id = SettingId { scope: Scope::section(*section), name: key.name };
                let text = |value: Option<&Value>| value.map_or(String::new(), Value::to_string);
                ShownSetting {
                    name: key.console,
                    value: match (key.name, value(&self.settings, &id)) {
                        ("workers", None) => self.howdah.workers.to_string(),
                        (_, value) => text(value),
                    },
                    default: text(default_value(key).as_ref()),
                    applies: key.applies,
                }
            })
            .collect();
        shown.sort_by_key(|setting| setting.name);
        shown
    }
}
