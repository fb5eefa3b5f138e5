//! Examples and properties of tokens, statement ends and facts.

mod effects;
mod lexical;
mod places;
mod properties;
mod vocabulary;

use super::{EveryName, Facts, Meaning, Settings, Use, Vocabulary};

/// The database has every relation and operator, and no function and type.
struct NoFunctions;

impl Vocabulary for NoFunctions {
    fn is_known(&self) -> bool {
        true
    }

    fn has(&self, _: &[u8], used_as: Use) -> bool {
        matches!(used_as, Use::Relation | Use::Operator)
    }

    fn word(&self, name: &[u8]) -> Meaning {
        EveryName.word(name)
    }

    fn operator(&self, symbol: &[u8]) -> Meaning {
        EveryName.operator(symbol)
    }

    fn unreadable_word(&self) -> Meaning {
        EveryName.unreadable_word()
    }

    fn definition(&self) -> Meaning {
        EveryName.definition()
    }

    fn maintenance(&self) -> Meaning {
        EveryName.maintenance()
    }
}

/// What a text shows by itself: relations do nothing, functions that are not PostgreSQL's may.
fn facts(text: &[u8], standard_conforming_strings: bool) -> Facts {
    super::facts(text, standard_conforming_strings, &NoFunctions)
}

/// What is remarkable about a text, in the order of the fields of [`Facts`].
fn summary(facts: &Facts) -> String {
    let mut words = vec![format!("{} {:?}", facts.statements, facts.first)];
    match &facts.settings {
        Settings::Unchanged => {}
        Settings::Names(names) => words.push(format!("set={}", names.join(","))),
        Settings::Unknown => words.push("set=?".to_owned()),
    }
    if !facts.reset.is_empty() {
        words.push(format!("reset={}", facts.reset.join(",")));
    }
    if !facts.pins.is_empty() {
        words.push(format!("pins={:?}", facts.pins.iter_names().map(|n| n.0).collect::<Vec<_>>()));
    }
    if !facts.releases.is_empty() && !facts.discard_all {
        let names = facts.releases.iter_names().map(|n| n.0).collect::<Vec<_>>();
        words.push(format!("releases={names:?}"));
    }
    for (flag, name) in [
        (facts.reset_all, "reset-all"),
        (facts.discard_all, "discard-all"),
        (facts.currval, "currval"),
        (facts.taint, "taint"),
        (facts.executes, "executes"),
        (facts.copy, "copy"),
        (facts.transaction, "transaction"),
        (facts.broken, "broken"),
    ] {
        if flag {
            words.push(name.to_owned());
        }
    }
    words.join(" ")
}

/// Each text with its summary, all differences at once.
fn check(table: &[(&str, &str)]) {
    let differences: Vec<String> = table
        .iter()
        .map(|(text, wanted)| (text, wanted, summary(&facts(text.as_bytes(), true))))
        .filter(|(_, wanted, got)| got != *wanted)
        .map(|(text, wanted, got)| format!("{text}\n    wanted {wanted}\n    got    {got}"))
        .collect();
    assert!(differences.is_empty(), "\n{}\n", differences.join("\n"));
}

/// Each text, which must leave no mark on the session.
fn check_harmless(texts: &[&str]) {
    for text in texts {
        let facts = facts(text.as_bytes(), true);
        assert!(facts.is_harmless() && !facts.broken, "{text}\n    {}", summary(&facts));
    }
}
