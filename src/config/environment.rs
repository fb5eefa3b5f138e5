//! `HOWDAH_<SECTION>__<KEY>`: settings from the environment, which win over the file.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::Origin;
use super::keys::Section;
use super::nearest::nearest;
use super::raw::{Loader, Scope, find, known_names};
use super::tree::Entry;
use super::value::Kind;

/// Our variables of the environment begin with this.
pub const PREFIX: &str = "HOWDAH_";
const SEPARATOR: &str = "__";

/// The settings among the variables of this process.
pub fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)).collect()
}

/// Variable names of a section start with this.
fn variable_prefix(section: Section) -> String {
    format!("{PREFIX}{}{SEPARATOR}", section.name().to_uppercase().replace('.', SEPARATOR))
}

/// Sets what the environment says. `tree` tells the spelling of the names of its entries.
pub(super) fn apply(loader: &mut Loader<'_>, variables: &[(OsString, OsString)], tree: &[Entry]) {
    // Sorted, so that errors come in the same order each time.
    let variables: BTreeMap<&OsString, &OsString> =
        variables.iter().map(|(name, value)| (name, value)).collect();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| rest.contains(SEPARATOR)) else {
            continue;
        };
        let origin = Origin::Environment(name.to_owned());
        let Some(value) = value.to_str() else {
            loader.errors.add(&origin, "", "the value is not text in UTF-8");
            continue;
        };
        match locate(rest, tree) {
            Ok((scope, key)) => set(loader, &scope, &key, &origin, value),
            Err(message) => loader.errors.add(&origin, "", message),
        }
    }
}

fn set(loader: &mut Loader<'_>, scope: &Scope, name: &str, origin: &Origin, value: &str) {
    let Some((key, from_file)) = find(scope.section, name) else {
        let near = nearest(name, known_names(scope.section).iter().map(String::as_str))
            .map(|near| variable(scope, near));
        loader.errors.add(origin, "", unknown(near));
        return;
    };
    let kind = if from_file { Kind::File } else { key.kind };
    let given = kind.given_in_environment(value);
    if scope.section.has_entries() {
        loader.raw.entries.entry(scope.clone()).or_insert_with(|| origin.clone());
    }
    loader.set(scope, name, origin, &given);
}

fn variable(scope: &Scope, key: &str) -> String {
    let entry = scope.entry.as_ref().map_or(String::new(), |name| format!("{name}{SEPARATOR}"));
    format!("{}{entry}{}", variable_prefix(scope.section), key).to_uppercase()
}

fn unknown(near: Option<String>) -> String {
    match near {
        Some(name) => format!("unknown setting; did you mean {name}?"),
        None => "unknown setting; the name is HOWDAH_<SECTION>__<KEY>, and \
                 `howdah config reference` lists the keys"
            .to_owned(),
    }
}

/// The table and the key that a variable names.
fn locate(rest: &str, tree: &[Entry]) -> Result<(Scope, String), String> {
    let name = format!("{PREFIX}{rest}").to_uppercase();
    let section = Section::ALL.iter().find(|s| name.starts_with(&variable_prefix(**s)));
    let Some(section) = section else {
        let (given, key) = rest.rsplit_once(SEPARATOR).unwrap_or((rest, ""));
        let prefixes: Vec<String> = Section::ALL
            .iter()
            .filter(|section| !section.has_entries())
            .map(|section| section.name().to_uppercase().replace('.', SEPARATOR))
            .collect();
        let near = nearest(&given.to_uppercase(), prefixes.iter().map(String::as_str))
            .map(|near| format!("{PREFIX}{near}{SEPARATOR}{key}").to_uppercase());
        return Err(unknown(near));
    };
    // The prefix is ASCII, so the offset is the same in the name as it was written.
    let rest = &rest[variable_prefix(*section).len() - PREFIX.len()..];
    if !section.has_entries() {
        return Ok((Scope::section(*section), rest.to_lowercase()));
    }
    let Some((entry, key)) = rest.rsplit_once(SEPARATOR).filter(|(entry, _)| !entry.is_empty())
    else {
        return Err(format!(
            "a name is missing; write {}<NAME>{SEPARATOR}{rest}",
            variable_prefix(*section)
        ));
    };
    Ok((Scope::entry(*section, &spelling(*section, entry, tree)?), key.to_lowercase()))
}

/// The name of an entry as the file spells it: variables are upper case by custom.
fn spelling(section: Section, name: &str, tree: &[Entry]) -> Result<String, String> {
    let tables = tree.iter().filter(|entry| entry.name == section.name());
    let names: Vec<&str> = tables
        .filter_map(|entry| entry.given.as_table())
        .flatten()
        .map(|entry| entry.name.as_str())
        .collect();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    let alike: Vec<&str> =
        names.into_iter().filter(|known| known.eq_ignore_ascii_case(name)).collect();
    match alike.as_slice() {
        [] if name.chars().any(char::is_lowercase) => Ok(name.to_owned()),
        [] => Ok(name.to_lowercase()),
        [one] => Ok((*one).to_owned()),
        several => Err(format!("{name} may be any of {}: spell it as it is", several.join(", "))),
    }
}
